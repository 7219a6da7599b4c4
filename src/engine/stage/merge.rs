//! Merge: one task per deltas partition. Takes each section in once, keeps the panes, says which windows
//! are final and what the current ones hold.
//!
//! It checks what it receives (I-3): the ledger decides whether a section follows on, and the cells of
//! every group-by must add up to the accepted events the section names. What cannot be halts the task (I-12).

mod checkpoint;

use super::store::Series;
use crate::engine::cell::Cell;
use crate::engine::codec::{CodecError, MergeMetadata};
use crate::engine::ledger::{Ledger, Verdict};
use crate::engine::plan::Plan;
use crate::engine::publish::Shown;
use crate::engine::section::Section;
use crate::engine::slice::Values;
use crate::engine::time::END_OF_TIME;
use crate::engine::watermark::minimum;
use crate::engine::window::WindowKind;
use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;
use std::sync::Arc;

/// How far time has come for one metric set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SetTime {
    /// The minimum over all sources; `None` while one of them has none.
    pub watermark: Option<i64>,
    /// Windows that end at or before this never change again.
    pub final_until: Option<i64>,
    /// The time from which every source was taken in without a gap.
    pub covered_from: i64,
}

/// What a merge commit makes true.
#[derive(Debug, Default)]
pub struct MergeCommit {
    /// Windows that became final.
    pub finals: Vec<Shown>,
    /// Current windows that changed; empty unless asked for.
    pub currents: Vec<Shown>,
    /// Changelog records of a checkpoint: (key, value), `None` a tombstone; empty unless asked for.
    pub checkpoint: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// The deltas offset to commit.
    pub offset: i64,
    /// The metadata beside it.
    pub metadata: MergeMetadata,
}

/// The state beside the panes.
#[derive(Debug, Clone, Default)]
struct State {
    offset: i64,
    ledger: Ledger,
    times: Vec<SetTime>,
    checkpoint: i64,
    published: Option<i64>,
    /// Tombstones that the next checkpoint writes: (series, values, level, start).
    gone: Vec<(usize, Values, usize, i64)>,
}

/// A current window of a slice: series, window, values.
type WindowOf = (usize, usize, Values);

/// What was last published of it: its start and a hash of its contents.
type LastShown = HashMap<WindowOf, (i64, u64)>;

/// The task of one deltas partition.
pub struct Merge {
    plan: Arc<Plan>,
    partition: i32,
    series: Vec<Series>,
    state: State,
    committed: State,
    finals: Vec<Shown>,
    shown: LastShown,
    shown_now: Vec<(WindowOf, (i64, u64))>,
    looked_at: HashMap<WindowOf, (u64, i64)>,
    checkpointing: bool,
    silent: bool,
    halted: Option<String>,
    dropped: i64,
}

impl Merge {
    /// An empty task that begins at `offset` of its deltas partition.
    pub fn new(plan: Arc<Plan>, partition: i32, offset: i64) -> Merge {
        let levels = plan.geometry.levels().len();
        let series = plan.owned(partition).into_iter().map(|(set, by)| Series::new(set, by, levels)).collect();
        let state = State { offset, times: vec![SetTime::default(); plan.sets.len()], ..State::default() };
        Merge {
            plan,
            partition,
            series,
            committed: state.clone(),
            state,
            finals: Vec::new(),
            shown: LastShown::new(),
            shown_now: Vec::new(),
            looked_at: HashMap::new(),
            checkpointing: false,
            silent: false,
            halted: None,
            dropped: 0,
        }
    }

    /// Takes in the sections of the delta record at `offset`.
    pub fn take(&mut self, offset: i64, sections: Result<Vec<Section>, CodecError>) {
        if self.halted.is_some() {
            return;
        }
        let sections = match sections {
            Ok(sections) => sections,
            Err(error) => return self.halt(format!("delta record at offset {offset}: {error}")),
        };
        for section in &sections {
            match self.state.ledger.judge(section) {
                Verdict::Apply => {
                    if let Err(reason) = self.apply(section) {
                        return self.halt(format!("delta record at offset {offset}: {}: {reason}", section.source));
                    }
                }
                Verdict::Drop => self.dropped += 1,
                Verdict::Halt(reason) => return self.halt(format!("delta record at offset {offset}: {reason}")),
            }
        }
        self.state.offset = offset + 1;
    }

    fn apply(&mut self, section: &Section) -> Result<(), String> {
        self.check(section)?;
        let plan = Arc::clone(&self.plan);
        for group in &section.groups {
            let Some(index) = self.series_of(&group.set, &group.group_by) else { continue };
            let final_until = self.state.times[self.series[index].set].final_until.unwrap_or(i64::MIN);
            let series = &mut self.series[index];
            let by = &plan.sets[series.set].group_bys[series.by];
            for (values, pane, cell) in &group.cells {
                let kept = series.keep(&plan, values);
                if kept != *values {
                    series.overflow += cell.events;
                }
                for (level, geometry) in plan.geometry.levels().iter().enumerate() {
                    let (start, _) = geometry.pane(*pane);
                    if plan.keeps(level, by) && !plan.geometry.expired(level, start, final_until) {
                        series.add(&plan, &kept, level, start, cell);
                    }
                }
            }
        }
        self.state.ledger.apply(section);
        for set in 0..plan.sets.len() {
            self.advance(&plan, set);
        }
        Ok(())
    }

    /// Conservation: in every group-by we own, the cells add up to the accepted events the section names.
    fn check(&self, section: &Section) -> Result<(), String> {
        if self.plan.input(&section.source.input).is_none() {
            return Err("its input is not configured here".into());
        }
        for series in &self.series {
            let plan = &self.plan.sets[series.set];
            let (set, by) = (plan.set.name(), &plan.group_bys[series.by].name);
            let named: i64 = section.events.iter().filter(|(name, _)| name == set).map(|(_, events)| events).sum();
            let groups = section.groups.iter().filter(|group| group.set == set && group.group_by == *by);
            let mut counted = 0;
            for group in groups {
                if group.definitions != plan.definitions[series.by] {
                    let (theirs, ours) = (group.definitions, plan.definitions[series.by]);
                    return Err(format!(
                        "{set}/{by} was counted under definitions {theirs:08x}, configured is {ours:08x}"
                    ));
                }
                let (empty, dimensions) = (Cell::new(plan.set.shape()), plan.group_bys[series.by].dimensions.len());
                let fits = |(values, _, cell): &(Values, i64, Cell)| values.0.len() == dimensions && cell.fits(&empty);
                if !group.cells.iter().all(fits) {
                    return Err(format!("{set}/{by} holds a cell of another shape"));
                }
                counted += group.cells.iter().map(|(_, _, cell)| cell.events).sum::<i64>();
            }
            if counted != named {
                return Err(format!("{set}/{by} holds {counted} events, the section names {named}"));
            }
        }
        Ok(())
    }

    fn series_of(&self, set: &str, group_by: &str) -> Option<usize> {
        self.series.iter().position(|series| {
            let plan = &self.plan.sets[series.set];
            plan.set.name() == set && plan.group_bys[series.by].name == group_by
        })
    }

    fn time_of(&self, set: usize) -> SetTime {
        let before = self.state.times[set];
        let feeding = || self.plan.inputs.iter().filter(|input| input.feeds[set]);
        if !feeding().all(|input| self.state.ledger.complete(&input.name)) {
            return before;
        }
        let entries: Vec<_> = feeding()
            .flat_map(|input| {
                let of = self.state.ledger.iter().filter(|(source, _)| source.input == input.name);
                of.map(move |(_, entry)| (input, entry))
            })
            .collect();
        let watermark = minimum(entries.iter().map(|(_, entry)| entry.standing.watermark));
        let final_until = entries.iter().map(|(input, entry)| input.policy.final_until(entry.standing.watermark));
        SetTime {
            watermark: before.watermark.max(watermark),
            final_until: before.final_until.max(minimum(final_until)),
            covered_from: entries.iter().map(|(_, entry)| entry.covered_from).max().unwrap_or(i64::MIN),
        }
    }

    fn advance(&mut self, plan: &Plan, set: usize) {
        let before = self.state.times[set].final_until;
        self.state.times[set] = self.time_of(set);
        let Some(now) = self.state.times[set].final_until else { return };
        let after = before.unwrap_or(i64::MIN);
        let base = plan.geometry.base();
        if before.is_some() && after.div_euclid(base) == now.div_euclid(base) {
            return; // no window has an end in between
        }
        let mut gone = Vec::new();
        for index in 0..self.series.len() {
            if self.series[index].set == set {
                if !self.silent {
                    self.finalize(plan, index, after, now);
                }
                self.series[index].evict(plan, now, &mut gone);
                self.state.gone.extend(gone.drain(..).map(|(values, level, start)| (index, values, level, start)));
            }
        }
    }

    /// Windows that end in `(after, until]` are final now.
    fn finalize(&mut self, plan: &Plan, index: usize, after: i64, until: i64) {
        let series = &self.series[index];
        let covered_from = self.state.times[series.set].covered_from;
        for (window, spec) in plan.geometry.windows().iter().enumerate() {
            let total = spec.kind == WindowKind::Total;
            if spec.kind == WindowKind::Ever || (total && until != END_OF_TIME) {
                continue;
            }
            let anchor = plan.geometry.anchor(window);
            for (values, slice) in &series.slices {
                let mut starts: Vec<i64> = match total {
                    true => vec![i64::MIN],
                    false => slice.panes[anchor]
                        .keys()
                        .flat_map(|pane| plan.geometry.starts(window, *pane, after, until))
                        .collect(),
                };
                starts.sort_unstable();
                starts.dedup();
                for start in starts {
                    let Some(cell) = slice.window(plan, window, start) else { continue };
                    let (start, end) = if total { self.span() } else { (start, plan.geometry.end(window, start)) };
                    let (set, by, values) = (series.set, series.by, values.clone());
                    self.finals.push(Shown { set, by, values, window, start, end, cell, is_final: true, covered_from });
                }
            }
        }
    }

    /// From the oldest to the newest accepted event of all sources.
    fn span(&self) -> (i64, i64) {
        let oldest = self.state.ledger.iter().filter_map(|(_, entry)| entry.oldest).min();
        let newest = self.state.ledger.iter().filter_map(|(_, entry)| entry.newest).max();
        (oldest.unwrap_or(0), newest.map_or(0, |newest| newest + 1))
    }

    /// What the next commit makes true. `publish`: with the current windows that changed; `checkpoint`: with
    /// every pane that changed since the last one.
    pub fn prepare(&mut self, publish: bool, checkpoint: bool) -> MergeCommit {
        let currents = if publish { self.currents() } else { Vec::new() };
        let finals = std::mem::take(&mut self.finals);
        let checkpoint = if checkpoint { self.checkpoint() } else { Vec::new() };
        let watermark = self.state.times.iter().filter_map(|time| time.watermark).max();
        let State { offset, checkpoint: at, published, .. } = self.state;
        let metadata = MergeMetadata { checkpoint: at, watermark, published };
        MergeCommit { finals, currents, checkpoint, offset, metadata }
    }

    /// Remembers that a `_watermark` record naming this offset goes out with the next commit; says which one
    /// went before it.
    pub fn published(&mut self) -> Option<i64> {
        self.state.published.replace(self.state.offset)
    }

    /// The current instance of every published window, where it changed since it was last published.
    fn currents(&mut self) -> Vec<Shown> {
        let plan = Arc::clone(&self.plan);
        let mut currents = Vec::new();
        for (index, series) in self.series.iter().enumerate() {
            let time = self.state.times[series.set];
            let Some(watermark) = time.watermark.filter(|watermark| *watermark != END_OF_TIME) else { continue };
            for (window, spec) in plan.geometry.windows().iter().enumerate() {
                if matches!(spec.kind, WindowKind::Ever | WindowKind::Total) {
                    continue;
                }
                let (start, end) = plan.geometry.current(window, watermark);
                if time.final_until.is_some_and(|until| end <= until) {
                    continue; // it is final: nothing provisional after it
                }
                for (values, slice) in &series.slices {
                    let name = (index, window, values.clone());
                    if self.looked_at.get(&name) == Some(&(slice.changes, start)) {
                        continue;
                    }
                    self.looked_at.insert(name.clone(), (slice.changes, start));
                    let Some(cell) = slice.window(&plan, window, start) else { continue };
                    let hash = contents(&cell);
                    if self.shown.get(&name) == Some(&(start, hash)) {
                        continue;
                    }
                    self.shown_now.push((name, (start, hash)));
                    let (set, by, values) = (series.set, series.by, values.clone());
                    let covered_from = time.covered_from;
                    currents.push(Shown { set, by, values, window, start, end, cell, is_final: false, covered_from });
                }
            }
        }
        currents
    }

    /// What is shown of one window now, per slice: for export. `None` watermark shows nothing, but `ever`.
    pub fn rows(&self, set: usize, by: usize, window: usize) -> Vec<Shown> {
        let Some(series) = self.series.iter().find(|series| series.set == set && series.by == by) else {
            return Vec::new();
        };
        let time = self.state.times[set];
        let ever = self.plan.geometry.windows()[window].kind == WindowKind::Ever;
        let (start, end) = match time.watermark {
            _ if ever => (i64::MIN, i64::MAX),
            Some(watermark) if watermark != END_OF_TIME => self.plan.geometry.current(window, watermark),
            _ => return Vec::new(),
        };
        let is_final = !ever && time.final_until.is_some_and(|until| end <= until);
        let covered_from = time.covered_from;
        let shown = series.slices.iter().filter_map(|(values, slice)| {
            let cell = slice.window(&self.plan, window, start)?;
            Some(Shown { set, by, values: values.clone(), window, start, end, cell, is_final, covered_from })
        });
        shown.collect()
    }

    /// The commit made of the last [`Merge::prepare`] is true.
    pub fn committed(&mut self) {
        for (name, shown) in self.shown_now.drain(..) {
            self.shown.insert(name, shown);
        }
        if self.checkpointing {
            self.checkpointing = false;
            self.state.gone.clear();
            let panes = self.series.iter_mut().flat_map(|series| series.slices.values_mut());
            for pane in panes.flat_map(|slice| slice.panes.iter_mut()).flat_map(BTreeMap::values_mut) {
                pane.stored |= pane.dirty;
                pane.dirty = false;
            }
            let series = &self.series;
            let lives = |(index, _, values): &WindowOf| series[*index].slices.contains_key(values);
            self.shown.retain(|name, _| lives(name));
            self.looked_at.retain(|name, _| lives(name));
        }
        self.commit_state();
    }

    fn commit_state(&mut self) {
        self.series.iter_mut().for_each(Series::committed);
        self.committed = self.state.clone();
    }

    /// The commit certainly did not happen: forgets everything since the last one. The next record to take
    /// is that at [`Merge::offset`].
    pub fn aborted(&mut self) {
        self.series.iter_mut().for_each(Series::aborted);
        self.state = self.committed.clone();
        self.finals.clear();
        self.shown_now.clear();
        self.looked_at.clear();
        self.checkpointing = false;
    }

    fn halt(&mut self, reason: String) {
        self.halted = Some(reason);
    }

    /// Why the task takes nothing any more, if so.
    pub fn halted(&self) -> Option<&str> {
        self.halted.as_deref()
    }

    /// The next deltas offset to take.
    pub fn offset(&self) -> i64 {
        self.state.offset
    }

    /// Whether a commit would say anything that the last one did not.
    pub fn has_news(&self) -> bool {
        self.state.offset != self.committed.offset
    }

    /// The deltas partition.
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// Per metric set how far time has come.
    pub fn times(&self) -> &[SetTime] {
        &self.state.times
    }

    /// How many sections were dropped because they had been applied before.
    pub fn dropped(&self) -> i64 {
        self.dropped
    }

    /// Every source it knows.
    pub fn ledger(&self) -> &Ledger {
        &self.state.ledger
    }

    /// (metric set, group-by, slices, panes, events under `_other`) of what it owns.
    pub fn sizes(&self) -> Vec<(usize, usize, usize, usize, i64)> {
        let sizes = self.series.iter().map(|series| {
            let panes = series.slices.values().flat_map(|slice| &slice.panes).map(BTreeMap::len).sum();
            (series.set, series.by, series.slices.len(), panes, series.overflow)
        });
        sizes.collect()
    }
}

fn contents(cell: &Cell) -> u64 {
    foldhash::fast::FixedState::default().hash_one(cell)
}
