//! What was counted since the last commit, by sources that commit together.
//!
//! An item counts once for each metric set, in the cell of its pane and of its tuple: the values of all dimensions that a
//! group-by of the set asks for. A commit makes the cells of every group-by of them.

use crate::engine::cell::Cell;
use crate::engine::plan::{Plan, SetPlan};
use crate::engine::section::Group;
use crate::engine::slice::Values;
use crate::touchpoint::Touchpoint;
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

/// What an open tuple is reckoned to take in a delta record, beside its values: most cells take less.
const TUPLE_BYTES: usize = 200;

/// What a name in one of its maps is reckoned to take there, and a score of a scale: the longest of each.
const NAME_BYTES: usize = 144;
const SCORE_BYTES: usize = 40;

/// What is open.
pub struct Open {
    plan: Arc<Plan>,
    sets: Vec<OpenSet>,
    bytes: usize,
}

impl Open {
    /// Nothing is open.
    pub fn new(plan: &Arc<Plan>) -> Open {
        let set = |set| OpenSet { together: group_bys_together(plan, set), ..OpenSet::default() };
        Open { plan: Arc::clone(plan), sets: plan.sets.iter().map(set).collect(), bytes: 0 }
    }

    /// Counts an accepted item in every metric set that it feeds and its input does.
    pub(super) fn add(&mut self, feeds: &[bool], touchpoint: &Touchpoint<'_>) {
        let base = self.plan.geometry.base();
        let pane = touchpoint.time.div_euclid(base).saturating_mul(base);
        for ((plan, open), feeds) in self.plan.sets.iter().zip(&mut self.sets).zip(feeds) {
            if *feeds && plan.set.feeds(touchpoint) {
                self.bytes += open.add(plan, touchpoint, pane);
            }
        }
    }

    /// How many bytes it is reckoned to take in a delta record: an upper estimate.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// A commit has carried it, or it is given up.
    pub fn clear(&mut self) {
        self.sets.iter_mut().for_each(OpenSet::clear);
        self.bytes = 0;
    }
}

/// Counted for one metric set.
#[derive(Default)]
struct OpenSet {
    index: HashTable<usize>,
    tuples: Vec<Tuple>,
    events: i64,
    /// The most of its group-bys that one deltas partition owns.
    together: usize,
}

struct Tuple {
    hash: u64,
    pane: i64,
    values: Box<[Box<str>]>,
    cell: Cell,
}

impl OpenSet {
    /// One look-up: by pane and tuple. By how many bytes what is open grew.
    fn add(&mut self, plan: &SetPlan, touchpoint: &Touchpoint<'_>, pane: i64) -> usize {
        let values = plan.tuple.of(&touchpoint.dimensions);
        let hash = hash(pane, values.clone());
        let tuples = &mut self.tuples;
        let same = |at: &usize| {
            let tuple = &tuples[*at];
            tuple.hash == hash && tuple.pane == pane && values.clone().eq(tuple.values.iter().map(|value| &**value))
        };
        let mut grown = 0;
        let at = match self.index.find(hash, same) {
            Some(at) => *at,
            None => {
                let at = tuples.len();
                let values: Box<[Box<str>]> = values.map(Box::from).collect();
                grown += TUPLE_BYTES + values.iter().map(|value| value.len()).sum::<usize>();
                tuples.push(Tuple { hash, pane, values, cell: Cell::new(plan.set.shape()) });
                self.index.insert_unique(hash, at, |at| tuples[*at].hash);
                at
            }
        };
        let cell = &mut self.tuples[at].cell;
        let before = cell.keys();
        plan.set.add(touchpoint, cell);
        cell.events += 1;
        self.events += 1;
        let keys = cell.keys();
        grown += (keys.0 - before.0) * NAME_BYTES + (keys.1 - before.1) * SCORE_BYTES;
        grown * self.together
    }

    fn clear(&mut self) {
        self.index.clear();
        self.tuples.clear();
        self.events = 0;
    }
}

/// Per metric set how many events are open, and the cells of its group-bys.
pub(super) fn expand(plan: &Plan, open: &[&Open]) -> (Vec<(String, i64)>, Vec<Group>) {
    let (mut events, mut groups) = (Vec::new(), Vec::new());
    for (index, plan) in plan.sets.iter().enumerate() {
        let open: Vec<&OpenSet> = open.iter().map(|open| &open.sets[index]).filter(|open| open.events > 0).collect();
        if !open.is_empty() {
            events.push((plan.set.name().to_string(), open.iter().map(|open| open.events).sum()));
            groups.extend(expand_set(plan, &open));
        }
    }
    (events, groups)
}

/// Every tuple counts in one slice of each group-by.
fn expand_set(plan: &SetPlan, open: &[&OpenSet]) -> Vec<Group> {
    let mut groups = Vec::with_capacity(plan.group_bys.len());
    for (by, group_by) in plan.group_bys.iter().enumerate() {
        let mut index: HashTable<(u64, usize)> = HashTable::new();
        let mut cells: Vec<(Values, i64, Cell)> = Vec::new();
        for tuple in open.iter().flat_map(|open| &open.tuples) {
            let values = || plan.tuple.projected(by, &tuple.values);
            let hash = hash(tuple.pane, values());
            let same = |(other, at): &(u64, usize)| {
                let (have, pane, _) = &cells[*at];
                *other == hash && *pane == tuple.pane && values().eq(have.0.iter().map(|value| &**value))
            };
            match index.find(hash, same) {
                Some((_, at)) => _ = cells[*at].2.merge(&tuple.cell, usize::MAX),
                None => {
                    index.insert_unique(hash, (hash, cells.len()), |(hash, _)| *hash);
                    cells.push((plan.tuple.project(by, &tuple.values), tuple.pane, tuple.cell.clone()));
                }
            }
        }
        cells.sort_unstable_by(|left, right| (&left.0, left.1).cmp(&(&right.0, right.1)));
        groups.push(Group {
            set: plan.set.name().to_string(),
            group_by: group_by.name.clone(),
            definitions: plan.definitions[by],
            cells,
        });
    }
    groups
}

fn group_bys_together(plan: &Plan, set: &SetPlan) -> usize {
    let mut owned: BTreeMap<i32, usize> = BTreeMap::new();
    for group_by in &set.group_bys {
        *owned.entry(plan.partition(set.set.name(), &group_by.name)).or_insert(0) += 1;
    }
    owned.into_values().max().unwrap_or(0)
}

fn hash<'a>(pane: i64, values: impl Iterator<Item = &'a str>) -> u64 {
    let mut hasher = FixedState::default().build_hasher();
    hasher.write_i64(pane);
    for value in values {
        hasher.write(value.as_bytes());
        hasher.write_u8(0xff);
    }
    hasher.finish()
}
