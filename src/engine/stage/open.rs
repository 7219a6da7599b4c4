//! What was counted since the last commit, by sources that commit together.
//!
//! An item counts once for each metric set, in the cell of its pane and of its tuple: the values of all dimensions that a
//! group-by of the set asks for. A commit makes the cells of every group-by of them.

use crate::engine::cell::Cell;
use crate::engine::plan::{Plan, SetPlan};
use crate::engine::section::Group;
use crate::engine::slice::Values;
use crate::touchpoint::{Dimension, Touchpoint};
use arrayvec::ArrayVec;
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::borrow::Cow;
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
    /// Per metric set.
    sets: Vec<OpenSet>,
    tables: Vec<Table>,
    bytes: usize,
}

/// What is open of one metric set.
struct OpenSet {
    events: i64,
    /// Which table holds its cells, and the place of its cell in each tuple there.
    at: (usize, usize),
    /// The most of its group-bys that one deltas partition owns.
    together: usize,
    /// Whether its cells hold maps, which may grow with every event.
    has_maps: bool,
}

/// The tuples of the metric sets that tell events apart by the same dimensions: an event is looked up once for all of them.
#[derive(Default)]
struct Table {
    sets: Vec<usize>,
    index: HashTable<usize>,
    /// Those that are open, and behind them what is left of earlier ones, to be used again.
    tuples: Vec<Tuple>,
    open: usize,
    /// The values of the event that is looked up.
    sought: Key,
}

struct Tuple {
    hash: u64,
    pane: i64,
    key: Key,
    /// For each set of the table; one without events is not open.
    cells: Box<[Option<Cell>]>,
}

/// Values one after the other, and where each ends.
#[derive(Clone, PartialEq, Eq, Default)]
struct Key {
    ends: ArrayVec<u16, { Dimension::ALL.len() }>,
    text: String,
}

impl Key {
    fn set<'a>(&mut self, values: impl Iterator<Item = &'a str>) {
        self.ends.clear();
        self.text.clear();
        for value in values {
            self.text.push_str(value);
            self.ends.push(u16::try_from(self.text.len()).expect("a value has at most 128 bytes"));
        }
    }

    fn values(&self) -> ArrayVec<&str, { Dimension::ALL.len() }> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.text[usize::from(start)..usize::from(*end)]).collect()
    }

    fn hash(&self, pane: i64) -> u64 {
        let mut hasher = FixedState::default().build_hasher();
        hasher.write_i64(pane);
        self.ends.iter().for_each(|end| hasher.write_u16(*end));
        hasher.write(self.text.as_bytes());
        hasher.finish()
    }
}

impl Open {
    /// Nothing is open.
    pub fn new(plan: &Arc<Plan>) -> Open {
        let mut tables: Vec<Table> = Vec::new();
        let mut sets = Vec::with_capacity(plan.sets.len());
        for (index, set) in plan.sets.iter().enumerate() {
            let same = |table: &Table| plan.sets[table.sets[0]].tuple.dimensions == set.tuple.dimensions;
            let at = tables.iter().position(same).unwrap_or_else(|| {
                tables.push(Table::default());
                tables.len() - 1
            });
            let shape = set.set.shape();
            sets.push(OpenSet {
                events: 0,
                at: (at, tables[at].sets.len()),
                together: group_bys_together(plan, set),
                has_maps: !shape.tallies.is_empty() || !shape.distributions.is_empty(),
            });
            tables[at].sets.push(index);
        }
        Open { plan: Arc::clone(plan), sets, tables, bytes: 0 }
    }

    /// Counts an accepted item in every metric set that it feeds and its input does.
    pub(super) fn add(&mut self, feeds: &[bool], touchpoint: &Touchpoint<'_>) {
        let base = self.plan.geometry.base();
        let pane = touchpoint.time.div_euclid(base).saturating_mul(base);
        for table in &mut self.tables {
            let mut found = None;
            for place in 0..table.sets.len() {
                let index = table.sets[place];
                let plan = &self.plan.sets[index];
                if feeds[index] && plan.set.feeds(touchpoint) {
                    let at = *found.get_or_insert_with(|| table.find(plan.tuple.of(&touchpoint.dimensions), pane));
                    let Tuple { key, cells, .. } = &mut table.tuples[at];
                    self.bytes += self.sets[index].add(plan, touchpoint, &mut cells[place], key.text.len());
                }
            }
        }
    }

    /// How many bytes it is reckoned to take in a delta record: an upper estimate.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// A commit has carried it, or it is given up.
    pub fn clear(&mut self) {
        self.tables.iter_mut().for_each(Table::clear);
        self.sets.iter_mut().for_each(|set| set.events = 0);
        self.bytes = 0;
    }
}

impl OpenSet {
    /// Counts an event in its cell. By how many bytes what is open grew.
    fn add(&mut self, plan: &SetPlan, touchpoint: &Touchpoint<'_>, cell: &mut Option<Cell>, values: usize) -> usize {
        let cell = cell.get_or_insert_with(|| Cell::new(plan.set.shape()));
        let mut grown = if cell.events == 0 { TUPLE_BYTES + values } else { 0 };
        let before = if self.has_maps { cell.keys() } else { (0, 0) };
        plan.set.add(touchpoint, cell);
        cell.events += 1;
        self.events += 1;
        if self.has_maps {
            let keys = cell.keys();
            grown += (keys.0 - before.0) * NAME_BYTES + (keys.1 - before.1) * SCORE_BYTES;
        }
        grown * self.together
    }
}

impl Table {
    /// The tuple of a pane and these values, which is made if there is none.
    fn find<'a>(&mut self, values: impl Iterator<Item = &'a str>, pane: i64) -> usize {
        let Table { sets, index, tuples, open, sought } = self;
        sought.set(values);
        let hash = sought.hash(pane);
        let same = |at: &usize| {
            let tuple = &tuples[*at];
            tuple.hash == hash && tuple.pane == pane && tuple.key == *sought
        };
        if let Some(at) = index.find(hash, same) {
            return *at;
        }
        let at = *open;
        match tuples.get_mut(at) {
            Some(tuple) => {
                (tuple.hash, tuple.pane) = (hash, pane);
                tuple.key.clone_from(sought);
            }
            None => {
                let cells = sets.iter().map(|_| None).collect();
                tuples.push(Tuple { hash, pane, key: sought.clone(), cells });
            }
        }
        index.insert_unique(hash, at, |at| tuples[*at].hash);
        *open += 1;
        at
    }

    /// The cells of tuples are emptied and kept: they would be made anew for the next commit. Where fewer are needed than
    /// before, half of the others go.
    fn clear(&mut self) {
        self.index.clear();
        let cells = self.tuples[..self.open].iter_mut().flat_map(|tuple| tuple.cells.iter_mut().flatten());
        cells.for_each(Cell::clear);
        self.tuples.truncate(self.open + (self.tuples.len() - self.open) / 2);
        self.open = 0;
    }

    /// What is open of the set at a place: values, pane, cell.
    fn cells(&self, place: usize) -> impl Iterator<Item = (ArrayVec<&str, { Dimension::ALL.len() }>, i64, &Cell)> {
        let open = self.tuples[..self.open].iter();
        open.filter_map(move |tuple| {
            let cell = tuple.cells[place].as_ref().filter(|cell| cell.events > 0)?;
            Some((tuple.key.values(), tuple.pane, cell))
        })
    }
}

/// Per metric set how many events are open, and the cells of its group-bys.
pub(super) fn expand<'c>(plan: &Plan, open: &[&'c Open]) -> (Vec<(String, i64)>, Vec<Group<'c>>) {
    let (mut events, mut groups) = (Vec::new(), Vec::new());
    for (index, plan) in plan.sets.iter().enumerate() {
        let counted: Vec<(&OpenSet, &'c Vec<Table>)> =
            open.iter().map(|open| (&open.sets[index], &open.tables)).filter(|(set, _)| set.events > 0).collect();
        if !counted.is_empty() {
            events.push((plan.set.name().to_string(), counted.iter().map(|(set, _)| set.events).sum()));
            let tables: Vec<(&'c Table, usize)> =
                counted.iter().map(|(set, tables)| (&tables[set.at.0], set.at.1)).collect();
            groups.extend(expand_set(plan, &tables));
        }
    }
    (events, groups)
}

/// Every tuple counts in one slice of each group-by.
fn expand_set<'c>(plan: &SetPlan, open: &[(&'c Table, usize)]) -> Vec<Group<'c>> {
    // Where no two tuples can fall together none is looked up.
    let apart = |by| open.len() == 1 && plan.tuple.is_whole(by);
    let mut expanded: Vec<Expanded<'c>> =
        (0..plan.group_bys.len()).map(|by| Expanded { apart: apart(by), ..Expanded::default() }).collect();
    for (values, pane, cell) in open.iter().flat_map(|(table, place)| table.cells(*place)) {
        expanded.iter_mut().enumerate().for_each(|(by, expanded)| expanded.add(plan, by, &values, pane, cell));
    }
    let groups = expanded.into_iter().enumerate().map(|(by, Expanded { mut cells, .. })| {
        cells.sort_unstable_by(|left, right| (&left.0, left.1).cmp(&(&right.0, right.1)));
        Group {
            set: plan.set.name().to_string(),
            group_by: plan.group_bys[by].name.clone(),
            definitions: plan.definitions[by],
            cells,
        }
    });
    groups.collect()
}

/// The cells of a group-by: those of one tuple as they are, those of several added up.
#[derive(Default)]
struct Expanded<'c> {
    apart: bool,
    index: HashTable<(u64, usize)>,
    cells: Vec<(Values, i64, Cow<'c, Cell>)>,
}

impl<'c> Expanded<'c> {
    fn add(&mut self, plan: &SetPlan, by: usize, tuple: &[&str], pane: i64, cell: &'c Cell) {
        let Expanded { apart, index, cells } = self;
        if !*apart {
            let values = plan.tuple.projected(by, tuple);
            let hash = hash(pane, values.clone());
            let same = |(other, at): &(u64, usize)| {
                let (have, of, _) = &cells[*at];
                *other == hash && *of == pane && values.clone().eq(have.iter())
            };
            if let Some((_, at)) = index.find(hash, same) {
                let _ = cells[*at].2.to_mut().merge(cell, usize::MAX);
                return;
            }
            index.insert_unique(hash, (hash, cells.len()), |(hash, _)| *hash);
        }
        cells.push((plan.tuple.project(by, tuple), pane, Cow::Borrowed(cell)));
    }
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
