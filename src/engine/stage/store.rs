//! The panes of one group-by of one metric set, and how a commit that failed is taken back.
//!
//! Of a pane that changes, what was there before the first change since the last commit is kept; one that leaves is
//! kept itself, because windows that became final meanwhile are made of it. A bound on distinct values holds here:
//! past it a value counts under `_other`, decided in the order of the log; a value is freed with its last pane.

use crate::engine::cell::Cell;
use crate::engine::plan::Plan;
use crate::engine::slice::Values;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// A pane and what is to be done with it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pane {
    pub cell: Cell,
    /// The commit in which it was touched last.
    touched: u64,
    /// Whether it changed since the last checkpoint.
    pub dirty: bool,
    /// The hash of its record in the changelog, where a checkpoint holds it: then it needs a tombstone when it leaves.
    pub stored: Option<u64>,
}

/// The panes of one slice, per level.
#[derive(Debug, PartialEq)]
pub(super) struct Slice {
    pub panes: Vec<BTreeMap<i64, Pane>>,
    /// Rises whenever something is counted; tells that the slice must be looked at again.
    pub changes: u64,
}

impl Slice {
    fn new(levels: usize) -> Slice {
        Slice { panes: vec![BTreeMap::new(); levels], changes: 0 }
    }

    fn is_empty(&self) -> bool {
        self.panes.iter().all(BTreeMap::is_empty)
    }

    /// The cell of a window's instance, of the panes that are kept.
    pub fn window(&self, plan: &Plan, window: usize, start: i64) -> Option<Cell> {
        sum(plan, window, start, |level, start| self.panes[level].get(&start))
    }
}

/// The cell of a window's instance: its panes added up. `None` without any event.
fn sum<'p>(plan: &Plan, window: usize, start: i64, pane: impl Fn(usize, i64) -> Option<&'p Pane>) -> Option<Cell> {
    let mut panes = plan.geometry.panes(window, start).filter_map(|(level, start)| pane(level, start));
    let mut sum = panes.next()?.cell.clone();
    panes.for_each(|pane| _ = sum.merge(&pane.cell, plan.values_max));
    Some(sum).filter(|cell| cell.events != 0)
}

/// What there is of a slice to make final windows of: panes that are kept, and those that left since the last commit,
/// which are older.
pub(super) struct Whole<'s> {
    pub values: &'s Values,
    kept: Option<&'s Slice>,
    left: Option<&'s Slice>,
}

impl<'s> Whole<'s> {
    /// The starts of its panes of a level, rising.
    pub fn starts(&self, level: usize) -> impl Iterator<Item = i64> {
        self.parts().flat_map(move |slice| slice.panes[level].keys().copied())
    }

    /// The cell of a window's instance.
    pub fn window(&self, plan: &Plan, window: usize, start: i64) -> Option<Cell> {
        sum(plan, window, start, |level, start| self.parts().find_map(|slice| slice.panes[level].get(&start)))
    }

    fn parts(&self) -> impl Iterator<Item = &'s Slice> + use<'s> {
        self.left.into_iter().chain(self.kept)
    }
}

/// All slices of one group-by of one metric set.
#[derive(Debug)]
pub(super) struct Series {
    /// Index of the metric set in the plan.
    pub set: usize,
    /// Index of the group-by in the metric set.
    pub by: usize,
    pub slices: BTreeMap<Values, Slice>,
    /// The panes that left since the last commit.
    left: BTreeMap<Values, Slice>,
    levels: usize,
    undo: Vec<Undo>,
    commit: u64,
    /// How many events counted under `_other`.
    pub overflow: i64,
    committed_overflow: i64,
}

/// A cell that is about to be added to panes.
struct Counting<'c> {
    plan: &'c Plan,
    commit: u64,
    undo: &'c mut Vec<Undo>,
    cell: &'c Cell,
}

impl Counting<'_> {
    fn add(&mut self, values: &Values, slice: &mut Slice, panes: &mut impl Iterator<Item = (usize, i64)>) {
        let Counting { plan, commit, undo, cell } = self;
        for (level, start) in panes {
            slice.changes += 1;
            match slice.panes[level].entry(start) {
                Entry::Occupied(entry) => {
                    let pane = entry.into_mut();
                    if pane.touched != *commit {
                        undo.push(Undo { values: values.clone(), level, start, before: Some(pane.clone()) });
                    }
                    pane.touched = *commit;
                    pane.dirty = true;
                    let _ = pane.cell.merge(cell, plan.values_max);
                }
                Entry::Vacant(entry) => {
                    undo.push(Undo { values: values.clone(), level, start, before: None });
                    entry.insert(Pane {
                        cell: cell.bounded(plan.values_max),
                        touched: *commit,
                        dirty: true,
                        stored: None,
                    });
                }
            }
        }
    }
}

#[derive(Debug)]
struct Undo {
    values: Values,
    level: usize,
    start: i64,
    before: Option<Pane>,
}

impl Series {
    pub fn new(set: usize, by: usize, levels: usize) -> Series {
        Series {
            set,
            by,
            slices: BTreeMap::new(),
            left: BTreeMap::new(),
            levels,
            undo: Vec::new(),
            commit: 1,
            overflow: 0,
            committed_overflow: 0,
        }
    }

    /// The values under which those of a slice that is not there count beyond the bound on distinct values; `None`: under
    /// their own.
    fn other(&self, plan: &Plan, values: &Values) -> Option<Values> {
        if values.is_empty() {
            return None;
        }
        let other = Values::other(&plan.sets[self.set].group_bys[self.by]);
        let own = self.slices.len() - usize::from(self.slices.contains_key(&other));
        if own < plan.values_max {
            return None;
        }
        Some(other).filter(|other| other != values)
    }

    /// Adds a cell to the panes (level, start) of a slice.
    pub fn add(&mut self, plan: &Plan, values: &Values, panes: impl Iterator<Item = (usize, i64)>, cell: &Cell) {
        let mut panes = panes.peekable();
        let Series { slices, undo, commit, .. } = self;
        if let Some(slice) = slices.get_mut(values) {
            return Counting { plan, commit: *commit, undo, cell }.add(values, slice, &mut panes);
        }
        let other = self.other(plan, values);
        if other.is_some() {
            self.overflow += cell.events;
        }
        if panes.peek().is_none() {
            return; // nobody keeps them
        }
        let values = other.as_ref().unwrap_or(values);
        let Series { slices, undo, levels, commit, .. } = self;
        let slice = slices.entry(values.clone()).or_insert_with(|| Slice::new(*levels));
        Counting { plan, commit: *commit, undo, cell }.add(values, slice, &mut panes);
    }

    /// Puts a pane (values, level, start) back as a checkpoint holds it, under the hash of its record, `dirty` to have
    /// it written again by the next one; the hash of the record it replaces.
    pub fn restore(
        &mut self,
        (values, level, start): (Values, usize, i64),
        cell: Cell,
        hash: u64,
        dirty: bool,
    ) -> Option<u64> {
        let levels = self.levels;
        let slice = self.slices.entry(values).or_insert_with(|| Slice::new(levels));
        slice.changes += 1;
        let pane = Pane { cell, touched: 0, dirty, stored: Some(hash) };
        slice.panes[level].insert(start, pane).and_then(|before| before.stored)
    }

    /// Lets every pane go that is of no more use, and every slice that has none left. Panes that a
    /// checkpoint holds are handed to `gone`, with the hashes of their records.
    pub fn evict(&mut self, plan: &Plan, final_until: i64, gone: &mut Vec<(Values, usize, i64, u64)>) {
        let Series { slices, left, levels, .. } = self;
        slices.retain(|values, slice| {
            for (level, panes) in slice.panes.iter_mut().enumerate() {
                while let Some(entry) = panes.first_entry() {
                    if !plan.geometry.expired(level, *entry.key(), final_until) {
                        break;
                    }
                    let (start, pane) = entry.remove_entry();
                    if let Some(hash) = pane.stored {
                        gone.push((values.clone(), level, start, hash));
                    }
                    let left = left.entry(values.clone()).or_insert_with(|| Slice::new(*levels));
                    left.panes[level].insert(start, pane);
                }
            }
            !slice.is_empty()
        });
    }

    /// Every slice that has panes, or had some at the last commit, sorted.
    pub fn wholes(&self) -> Vec<Whole<'_>> {
        let mut left = self.left.iter().peekable();
        let mut wholes = Vec::with_capacity(self.slices.len());
        for (values, slice) in &self.slices {
            while let Some((values, slice)) = left.next_if(|(older, _)| *older < values) {
                wholes.push(Whole { values, kept: None, left: Some(slice) });
            }
            let left = left.next_if(|(same, _)| *same == values).map(|(_, slice)| slice);
            wholes.push(Whole { values, kept: Some(slice), left });
        }
        wholes.extend(left.map(|(values, slice)| Whole { values, kept: None, left: Some(slice) }));
        wholes
    }

    pub fn committed(&mut self) {
        self.undo.clear();
        self.left.clear();
        self.commit += 1;
        self.committed_overflow = self.overflow;
    }

    pub fn aborted(&mut self) {
        let levels = self.levels;
        for (values, left) in std::mem::take(&mut self.left) {
            let slice = self.slices.entry(values).or_insert_with(|| Slice::new(levels));
            slice.changes += 1;
            for (panes, mut left) in slice.panes.iter_mut().zip(left.panes) {
                panes.append(&mut left);
            }
        }
        while let Some(Undo { values, level, start, before }) = self.undo.pop() {
            let slice = self.slices.entry(values.clone()).or_insert_with(|| Slice::new(levels));
            slice.changes += 1;
            match before {
                Some(pane) => drop(slice.panes[level].insert(start, pane)),
                None => drop(slice.panes[level].remove(&start)),
            }
            if slice.is_empty() {
                self.slices.remove(&values);
            }
        }
        self.commit += 1;
        self.overflow = self.committed_overflow;
    }
}
