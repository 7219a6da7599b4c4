//! Merge: one task per deltas partition. Takes each section in once, keeps the panes, says which windows
//! are final and what the current ones hold.
//!
//! It checks what it receives (I-3): the ledger decides whether a section follows on, and the cells of
//! every group-by must add up to the accepted events the section names. What cannot be halts the task (I-12).

mod checkpoint;
mod coverage;
mod showing;

use super::store::Series;
use crate::engine::cell::Cell;
use crate::engine::codec::{CodecError, KnownSources, MergeMetadata, SetReach};
use crate::engine::halt::{Halt, HaltCode};
use crate::engine::ledger::{Entry, Ledger, Verdict};
use crate::engine::plan::Plan;
use crate::engine::publish::Shown;
use crate::engine::section::{Group, Phase, Section};
use crate::engine::slice::Values;
use crate::engine::time::END_OF_TIME;
use crate::engine::watermark::minimum;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
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
///
/// The windows that became final are given by [`Merge::finals`], one at a time: there may be many.
#[derive(Debug, Default)]
pub struct MergeCommit {
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
    /// Per series: from when it holds everything under its definitions; `i64::MIN` where nothing is missing.
    series_from: Vec<i64>,
    /// Per metric set and level: from when its panes hold everything; `i64::MIN` where nothing is missing.
    levels_from: Vec<Vec<i64>>,
    checkpoint: i64,
    published: Option<i64>,
    /// Sections in records before this offset that do not follow on become a new beginning: an operator accepted it.
    accept_until: i64,
    /// Keys of the changelog that are of no more use: other definitions, group-bys or levels.
    stale: Vec<(Vec<u8>, u64)>,
    /// Tombstones that the next checkpoint writes: (series, values, level, start), and the hash of what they delete.
    gone: Vec<(usize, Values, usize, i64, u64)>,
    /// The hashes of every pane's record in the changelog, added up.
    contents: u64,
}

/// A current window of a slice: series, window, values.
type WindowOf = (usize, usize, Values);

/// What was last published of it: its start and a hash of its contents.
type LastShown = HashMap<WindowOf, (i64, u64)>;

/// The task of one deltas partition.
pub struct Merge {
    plan: Arc<Plan>,
    plan_id: u32,
    partition: i32,
    series: Vec<Series>,
    state: State,
    committed: State,
    /// What was closed since the last commit.
    closed: Vec<showing::Closing>,
    shown: LastShown,
    shown_now: Vec<(WindowOf, (i64, u64))>,
    looked_at: HashMap<WindowOf, (u64, i64)>,
    checkpointing: bool,
    /// The hashes of the records of this checkpoint's panes, in the order in which they are written.
    storing: Vec<u64>,
    silent: bool,
    halted: Option<Halt>,
    dropped: i64,
    /// What the changelog said at its checkpoint, until the base is restored.
    base: checkpoint::Base,
}

impl Merge {
    /// An empty task that begins at `offset` of its deltas partition.
    pub fn new(plan: Arc<Plan>, partition: i32, offset: i64) -> Merge {
        let levels = plan.geometry.levels().len();
        let series: Vec<Series> =
            plan.owned(partition).into_iter().map(|(set, by)| Series::new(set, by, levels)).collect();
        let state = State {
            offset,
            times: vec![SetTime::default(); plan.sets.len()],
            series_from: vec![i64::MIN; series.len()],
            levels_from: vec![vec![i64::MIN; levels]; plan.sets.len()],
            accept_until: i64::MIN,
            ..State::default()
        };
        Merge {
            plan_id: plan.id(),
            plan,
            partition,
            series,
            committed: state.clone(),
            state,
            closed: Vec::new(),
            shown: LastShown::new(),
            shown_now: Vec::new(),
            looked_at: HashMap::new(),
            checkpointing: false,
            storing: Vec::new(),
            silent: false,
            halted: None,
            dropped: 0,
            base: checkpoint::Base::default(),
        }
    }

    /// Takes in the sections of the delta record at `offset`: all of them, or none.
    pub fn take(&mut self, offset: i64, sections: Result<Vec<Section<'_>>, CodecError>) {
        if self.halted.is_some() {
            return;
        }
        let accepted = offset < self.state.accept_until;
        let taken = match sections {
            Ok(sections) => self.take_in(&sections, accepted),
            Err(_) if accepted => {
                self.uncover_all(self.state.ledger.newest());
                Ok(())
            }
            Err(error) => Err(unreadable(&error, HaltCode::Conservation)),
        };
        match taken {
            Ok(()) => self.state.offset = offset + 1,
            Err(halt) => self.halted = Some(halt.at(format!("delta record at offset {offset}"))),
        }
    }

    fn take_in(&mut self, sections: &[Section<'_>], accepted: bool) -> Result<(), Halt> {
        let mut follow = Vec::new();
        let mut halt = None;
        for section in sections {
            match self.state.ledger.judge(section) {
                Verdict::Apply => follow.push(section),
                Verdict::Drop => {}
                Verdict::Halt(why) => halt = halt.or(Some(why)),
            }
        }
        let before = sections.len() - follow.len();
        // Whose events a cell holds cannot be told: some of them were counted before, others were not.
        let shared = sections.iter().any(|section| !section.groups.is_empty());
        if halt.is_none() && before > 0 && !follow.is_empty() && shared {
            let source = &follow[0].source;
            let detail = format!("{before} of {} sections were taken in before, {source} was not", sections.len());
            halt = Some(Halt::new(HaltCode::LedgerGap, detail));
        }
        let applied = match halt {
            Some(halt) => Err(halt),
            None => {
                self.dropped += i64::try_from(before).expect("a count of sections");
                self.apply(&follow)
            }
        };
        match applied {
            Err(_) if accepted => {
                self.begin_anew(sections);
                Ok(())
            }
            applied => applied,
        }
    }

    /// Sections that do not follow on, where that was accepted: what lies before them is missing or counted already.
    /// Their cells count where none of them can have been counted before.
    fn begin_anew(&mut self, sections: &[Section<'_>]) {
        let is_ahead = |section: &Section<'_>| {
            let before = self.state.ledger.iter().find(|(source, _)| **source == section.source);
            before.is_none_or(|(_, entry)| {
                section.from.offset >= entry.standing.offset && section.from.accepted >= entry.standing.accepted
            })
        };
        let ahead = sections.iter().all(is_ahead);
        let is_new = |section: &&Section<'_>| self.state.ledger.judge(section) != Verdict::Drop;
        let new: Vec<&Section<'_>> = sections.iter().filter(is_new).collect();
        self.uncover_all(sections.iter().filter_map(|section| section.newest).max());
        if !ahead || self.apply(&sections.iter().collect::<Vec<_>>()).is_err() {
            new.iter().for_each(|section| self.state.ledger.apply(section));
            self.advance_all();
        }
    }

    fn advance_all(&mut self) {
        let plan = Arc::clone(&self.plan);
        (0..plan.sets.len()).for_each(|set| self.advance(&plan, set));
    }

    /// Takes sections in: first what all of them have counted, then how far each of them has come. Time moves last, or it
    /// would close windows of those that come later.
    fn apply(&mut self, sections: &[&Section<'_>]) -> Result<(), Halt> {
        for section in sections {
            self.check(section).map_err(|halt| halt.at(&section.source))?;
        }
        let newest = sections.iter().filter_map(|section| section.newest).max();
        for section in sections {
            if section.plan != self.plan_id {
                self.uncover(section, newest);
            }
            section.groups.iter().for_each(|group| self.count(section.base, group));
        }
        sections.iter().for_each(|section| self.state.ledger.apply(section));
        self.advance_all();
        Ok(())
    }

    /// Counts the cells of a group-by in every level that keeps them.
    fn count(&mut self, base: i64, group: &Group<'_>) {
        let plan = Arc::clone(&self.plan);
        let Some(index) = self.series_of(&group.set, &group.group_by) else { return };
        let final_until = self.state.times[self.series[index].set].final_until.unwrap_or(i64::MIN);
        let series = &mut self.series[index];
        if group.definitions != plan.sets[series.set].definitions[series.by] {
            return; // cells of different definitions never merge (I-10)
        }
        let by = &plan.sets[series.set].group_bys[series.by];
        for (values, pane, cell) in &group.cells {
            let levels = plan.geometry.levels().iter().enumerate();
            let wanted = levels.filter(|(level, geometry)| plan.keeps(*level, by) && geometry.holds(base));
            let panes = wanted.map(|(level, geometry)| (level, geometry.pane(*pane).0));
            let kept = panes.filter(|(level, start)| !plan.geometry.expired(*level, *start, final_until));
            series.add(&plan, values, kept, cell);
        }
    }

    /// Conservation: in every group-by we own, the cells add up to the accepted events the section names. Only
    /// somebody with another plan may leave a group-by out.
    fn check(&self, section: &Section<'_>) -> Result<(), Halt> {
        if section.events.is_empty() && section.groups.is_empty() {
            return Ok(());
        }
        let wrong = |detail: String| Err(Halt::new(HaltCode::Conservation, detail));
        for series in &self.series {
            let plan = &self.plan.sets[series.set];
            let (set, by) = (plan.set.name(), &plan.group_bys[series.by].name);
            let named: i64 = section.events.iter().filter(|(name, _)| name == set).map(|(_, events)| events).sum();
            let mut groups = section.groups.iter().filter(|group| group.set == set && group.group_by == *by).peekable();
            if groups.peek().is_none() && section.plan != self.plan_id {
                continue;
            }
            let mut counted = 0;
            for group in groups {
                let ours = plan.definitions[series.by];
                if group.definitions == ours {
                    let (empty, width) = (Cell::new(plan.set.shape()), plan.group_bys[series.by].dimensions.len());
                    let fits =
                        |(values, _, cell): &(Values, i64, Cow<'_, Cell>)| values.len() == width && cell.fits(&empty);
                    if !group.cells.iter().all(fits) {
                        return wrong(format!("{set}/{by} holds a cell of another shape"));
                    }
                } else if section.plan == self.plan_id {
                    let theirs = group.definitions;
                    return wrong(format!("{set}/{by} names definitions {theirs:08x} in place of {ours:08x}"));
                }
                counted += group.cells.iter().map(|(_, _, cell)| cell.events).sum::<i64>();
            }
            if counted != named {
                return wrong(format!("{set}/{by} holds {counted} events, the section names {named}"));
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

    /// How far time has come, by what the ledger holds. A source that joins holds it still; while there is none,
    /// every partition of every input that feeds the set must have announced itself; one that is known by number only
    /// does not turn it back later. An input that is not configured here feeds everything, until it is retired.
    fn time_of(&self, set: usize) -> SetTime {
        let before = self.state.times[set];
        let feeds = |input: &str| self.plan.input(input).is_none_or(|input| self.plan.inputs[input].feeds[set]);
        let fed = self.state.ledger.iter().filter(|(source, _)| feeds(&source.input));
        let taking_part = |entry: &&Entry| matches!(entry.phase, Phase::Live | Phase::Joining);
        let entries: Vec<&Entry> = fed.map(|(_, entry)| entry).filter(taking_part).collect();
        let mut configured = self.plan.inputs.iter().filter(|input| input.feeds[set]);
        let complete = before.watermark.is_some() || configured.all(|input| self.state.ledger.complete(&input.name));
        if !complete || entries.is_empty() || entries.iter().any(|entry| entry.phase == Phase::Joining) {
            return before;
        }
        SetTime {
            watermark: before.watermark.max(minimum(entries.iter().map(|entry| entry.standing.watermark))),
            final_until: before.final_until.max(minimum(entries.iter().map(|entry| entry.horizon))),
            covered_from: entries.iter().map(|entry| entry.covered_from).max().unwrap_or(i64::MIN),
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
                    self.close(index, after, now);
                }
                self.series[index].evict(plan, now, &mut gone);
                let of_series = |(values, level, start, hash)| (index, values, level, start, hash);
                self.state.gone.extend(gone.drain(..).map(of_series));
            }
        }
    }

    /// What the next commit makes true. `publish`: with the current windows that changed; `checkpoint`: with
    /// every pane that changed since the last one.
    pub fn prepare(&mut self, publish: bool, checkpoint: bool) -> MergeCommit {
        let currents = if publish { self.currents() } else { Vec::new() };
        let checkpoint = if checkpoint { self.checkpoint() } else { Vec::new() };
        let metadata = self.metadata(&self.state);
        MergeCommit { currents, checkpoint, offset: self.state.offset, metadata }
    }

    fn metadata(&self, state: &State) -> MergeMetadata {
        // The end of time is no time for anybody to begin with.
        let known = |time: Option<i64>| time.filter(|time| *time != END_OF_TIME);
        let reach = self.plan.sets.iter().zip(&state.times).map(|(plan, time)| {
            let reach = SetReach { watermark: known(time.watermark), final_until: known(time.final_until) };
            (plan.set.name().to_string(), reach)
        });
        let mut known: BTreeMap<String, KnownSources> = BTreeMap::new();
        for (source, _) in state.ledger.iter() {
            // Sorted by epoch: the latest comes last.
            let sources = known.entry(source.input.to_string()).or_default();
            if sources.epoch != source.epoch {
                *sources = KnownSources { epoch: source.epoch, partitions: BTreeSet::new() };
            }
            sources.partitions.insert(source.partition);
        }
        let State { checkpoint, published, accept_until, .. } = *state;
        // A restore takes in again what lies behind the checkpoint.
        let accept = Some(accept_until).filter(|until| *until > checkpoint);
        MergeMetadata { checkpoint, published, reach: reach.collect(), known, halted: None, accept }
    }

    /// What stands committed of this task: the offset, and the metadata that says that it is halted.
    pub fn halt_mark(&self, halt: &Halt) -> (i64, MergeMetadata) {
        let halted = Some(halt.code.name().to_string());
        (self.committed.offset, MergeMetadata { halted, ..self.metadata(&self.committed) })
    }

    /// Remembers that a `_watermark` record naming this offset goes out with the next commit; says which one
    /// went before it.
    pub fn published(&mut self) -> Option<i64> {
        self.state.published.replace(self.state.offset)
    }

    /// The commit made of the last [`Merge::prepare`] is true.
    pub fn committed(&mut self) {
        for (name, shown) in self.shown_now.drain(..) {
            self.shown.insert(name, shown);
        }
        if self.checkpointing {
            self.checkpointing = false;
            self.state.gone.clear();
            self.state.stale.clear();
            let panes = self.series.iter_mut().flat_map(|series| series.slices.values_mut());
            let panes = panes.flat_map(|slice| slice.panes.iter_mut()).flat_map(BTreeMap::values_mut);
            for (pane, hash) in panes.filter(|pane| pane.dirty).zip(self.storing.drain(..)) {
                (pane.stored, pane.dirty) = (Some(hash), false);
            }
            let series = &self.series;
            let lives = |(index, _, values): &WindowOf| series[*index].slices.contains_key(values);
            self.shown.retain(|name, _| lives(name));
            self.looked_at.retain(|name, _| lives(name));
        }
        self.closed.clear();
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
        self.closed.clear();
        self.shown_now.clear();
        self.looked_at.clear();
        self.checkpointing = false;
    }

    /// Why the task takes nothing any more, if so.
    pub fn halted(&self) -> Option<&Halt> {
        self.halted.as_ref()
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

/// A halt over something that cannot be read: of a format that is not known, or `code`.
fn unreadable(error: &CodecError, code: HaltCode) -> Halt {
    let code = if matches!(error, CodecError::Version(_)) { HaltCode::UnknownFormat } else { code };
    Halt::new(code, error.to_string())
}
