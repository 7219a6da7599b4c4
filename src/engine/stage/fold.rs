//! Fold: one task per input partition. Judges each item, once and for ever, and counts the accepted ones.
//!
//! It keeps no aggregate between commits: only the watermark and the remembered ids. What it counts until then lies in an
//! [`Open`]. An item is judged late before it moves the watermark, and late before duplicate (I-4).

use super::open::{Open, expand};
use crate::engine::codec::FoldMetadata;
use crate::engine::dedup::{Ids, Seen};
use crate::engine::plan::{InputPlan, Plan};
use crate::engine::section::{Phase, Section, SourceId, Standing, Totals};
use crate::engine::watermark::Policy;
use crate::touchpoint::{RejectReason, Touchpoint, content_hash, identity_hash};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What became of a valid item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judged {
    /// It changed an aggregate.
    Accepted,
    /// It is older than the watermark minus the lateness.
    Late,
    /// It was accepted before; `conflicting` when its content differs.
    Duplicate {
        /// Whether the content differs from that of the first one.
        conflicting: bool,
    },
}

/// What a commit makes certain.
#[derive(Debug, Clone, PartialEq, Eq)]
struct State {
    phase: Phase,
    standing: Standing,
    /// No event before this is accepted, whatever the watermark says: windows before it are final.
    floor: i64,
    newest: Option<i64>,
    oldest: Option<i64>,
    totals: Totals,
    rejected: BTreeMap<RejectReason, i64>,
    registered: bool,
}

/// The task of one source.
pub struct Fold {
    plan: Arc<Plan>,
    input: usize,
    plan_id: u32,
    source: SourceId,
    partitions: i32,
    covered_from: i64,
    /// Where it goes on behind a gap, until a commit has said so.
    behind_gap: Option<i64>,
    state: State,
    committed: State,
    /// What is committed is to be said again, although nothing is new.
    again: bool,
    ids: Ids,
}

impl Fold {
    /// The task of a source that is taken in for the first time, from `offset` on.
    ///
    /// `covered_from` is the time from which its log holds everything; `partitions` those of its topic.
    pub fn first(
        plan: Arc<Plan>,
        input: usize,
        partition: i32,
        partitions: i32,
        offset: i64,
        covered_from: i64,
    ) -> Fold {
        let settings = &plan.inputs[input];
        let state = State {
            phase: Phase::Live,
            standing: Standing { offset, watermark: None, accepted: 0 },
            floor: i64::MIN,
            newest: None,
            oldest: None,
            totals: Totals::default(),
            rejected: BTreeMap::new(),
            registered: false,
        };
        Fold {
            input,
            plan_id: plan.id(),
            source: SourceId { input: settings.name.clone(), epoch: settings.epoch, partition },
            partitions,
            covered_from,
            behind_gap: None,
            committed: state.clone(),
            state,
            again: false,
            ids: Ids::new(settings.dedup_ids_max, !settings.policy.bounded),
            plan,
        }
    }

    /// The task of a source that goes on from a committed offset and the metadata beside it, which must be of the
    /// configured epoch. Before it takes anything, every record in `[replay_from, offset)` must be shown to
    /// [`Fold::relearn`]; the second value is that `replay_from`. Over a gap that was accepted it goes on behind it.
    pub fn resumed(
        plan: Arc<Plan>,
        input: usize,
        partition: i32,
        partitions: i32,
        offset: i64,
        memory: FoldMetadata,
    ) -> (Fold, i64) {
        let mut fold = Fold::first(plan, input, partition, partitions, offset, memory.covered_from);
        fold.state = State {
            phase: memory.phase,
            standing: Standing { offset, watermark: memory.watermark, accepted: memory.totals.accepted },
            floor: memory.horizon.unwrap_or(i64::MIN),
            newest: memory.newest,
            oldest: memory.oldest,
            totals: memory.totals,
            rejected: memory.rejected,
            registered: true,
        };
        fold.committed = fold.state.clone();
        fold.ids.set_floor(memory.dedup_floor.unwrap_or(i64::MIN));
        let mut replay_from = if fold.settings().dedup { memory.replay_from.min(offset) } else { offset };
        if let Some(gap) = memory.gap {
            // What a gap swallowed cannot be learned again; the section that says so adds nothing.
            replay_from = replay_from.max(gap.min(offset));
            fold.behind_gap = Some(offset.max(gap));
            fold.step_over_gap();
        }
        (fold, replay_from)
    }

    /// Has what is committed said again, although nothing is new: it is written in another format, or merge may not have
    /// heard it.
    pub fn say_again(&mut self) {
        self.again = true;
    }

    fn step_over_gap(&mut self) {
        self.state.standing.offset = self.behind_gap.unwrap_or(self.state.standing.offset);
    }

    /// Announces the source: it takes nothing until [`Fold::joined`].
    pub fn join(&mut self) {
        self.state.phase = Phase::Joining;
        if !self.state.registered {
            // An abort of the announcement must not leave a source behind that never made one.
            self.committed.phase = Phase::Joining;
        }
    }

    /// Takes the announcement back.
    pub fn leave(&mut self) {
        self.state.phase = Phase::Left;
    }

    /// Every merge task has heard the announcement: takes records from now on. The watermark is the greatest of any
    /// merge task, `floor` the time before which windows are final there; `None` where there is no time yet.
    pub fn joined(&mut self, watermark: Option<i64>, floor: Option<i64>) {
        self.state.phase = Phase::Live;
        self.state.standing.watermark = self.state.standing.watermark.max(watermark);
        self.state.floor = self.state.floor.max(floor.unwrap_or(i64::MIN));
    }

    /// Says the last word: time no longer waits for the source, and it takes nothing any more.
    pub fn retire(&mut self) {
        self.state.phase = Phase::Retired;
    }

    /// Whether anything was ever committed of it.
    pub fn is_registered(&self) -> bool {
        self.state.registered
    }

    /// Where the source is in its life, and whether that is committed.
    pub fn phase(&self) -> (Phase, bool) {
        (self.state.phase, self.state.registered && self.committed.phase == self.state.phase)
    }

    /// Learns an id again after a restart, if it was accepted then and still counts.
    pub fn relearn(&mut self, touchpoint: &Touchpoint<'_>, offset: i64) {
        let horizon = self.horizon();
        let counted = touchpoint.time >= horizon && Some(touchpoint.time) <= self.committed.newest;
        if self.settings().dedup && counted {
            let id = identity_hash(&touchpoint.source, &touchpoint.id);
            self.ids.check(id, touchpoint.time, content_hash(touchpoint), offset, horizon);
        }
    }

    /// Every record before the committed offset has been shown to [`Fold::relearn`].
    pub fn relearned(&mut self) {
        self.ids.committed(self.horizon());
    }

    /// Judges a valid item of the record at `offset`, and counts it in `open` if it is accepted.
    ///
    /// # Panics
    /// When the source is not live: what it would accept could find its window final.
    pub fn item(&mut self, touchpoint: &Touchpoint<'_>, offset: i64, open: &mut Open) -> Judged {
        assert_eq!(self.state.phase, Phase::Live, "{}: only a live source takes records", self.source);
        let horizon = self.horizon();
        if touchpoint.time < horizon {
            self.state.totals.late += 1;
            return Judged::Late;
        }
        if self.settings().dedup {
            let id = identity_hash(&touchpoint.source, &touchpoint.id);
            let seen = self.ids.check(id, touchpoint.time, content_hash(touchpoint), offset, horizon);
            if seen != Seen::New {
                let conflicting = seen == Seen::Conflicting;
                self.state.totals.duplicate += 1;
                self.state.totals.conflicting += i64::from(conflicting);
                return Judged::Duplicate { conflicting };
            }
        }
        open.add(&self.plan.inputs[self.input].feeds, touchpoint);
        self.accepted(touchpoint.time);
        Judged::Accepted
    }

    fn accepted(&mut self, time: i64) {
        let state = &mut self.state;
        state.newest = state.newest.max(Some(time));
        state.oldest = Some(state.oldest.map_or(time, |oldest| oldest.min(time)));
        state.totals.accepted += 1;
        state.standing.accepted += 1;
        state.standing.watermark = self.plan.inputs[self.input].policy.after_event(state.standing.watermark, time);
    }

    /// Counts a rejected item.
    pub fn rejected(&mut self, reason: RejectReason) {
        self.state.totals.rejected += 1;
        *self.state.rejected.entry(reason).or_insert(0) += 1;
    }

    /// Counts a skipped item.
    pub fn skipped(&mut self) {
        self.state.totals.skipped += 1;
    }

    /// Every item of the record at `offset` has been judged.
    pub fn record_done(&mut self, offset: i64) {
        self.state.totals.records += 1;
        self.state.standing.offset = offset + 1;
    }

    /// It was proved that at `drained_at` nothing was left to take. [`crate::engine::time::END_OF_TIME`]
    /// says that nothing will ever come.
    pub fn silent(&mut self, drained_at: i64) {
        if self.state.phase != Phase::Live {
            return;
        }
        self.state.standing.watermark = self.policy().after_silence(self.state.standing.watermark, drained_at);
    }

    /// Whether a commit would say anything that the last one did not.
    ///
    /// An announcement is repeated until it has been heard: a merge task commits the offset after a record, and only
    /// a record behind the announcement proves that it has been passed.
    pub fn has_news(&self) -> bool {
        !self.state.registered || self.again || self.state != self.committed || self.state.phase == Phase::Joining
    }

    fn bare_section(&self) -> Section<'static> {
        Section {
            source: self.source.clone(),
            phase: self.state.phase,
            partitions: self.partitions,
            plan: self.plan_id,
            base: self.plan.geometry.base(),
            from: self.committed.standing,
            to: self.state.standing,
            horizon: self.promise(),
            newest: self.state.newest,
            oldest: self.state.oldest,
            covered_from: self.covered_from,
            events: Vec::new(),
            groups: Vec::new(),
        }
    }

    /// The metadata that is stored beside the offset of [`Fold::offset`].
    pub fn metadata(&self) -> FoldMetadata {
        let offset = self.state.standing.offset;
        FoldMetadata {
            epoch: self.source.epoch,
            phase: self.state.phase,
            watermark: self.state.standing.watermark,
            horizon: self.promise(),
            gap: None,
            newest: self.state.newest,
            oldest: self.state.oldest,
            covered_from: self.covered_from,
            replay_from: self.ids.replay_from(self.horizon(), offset),
            dedup_floor: Some(self.ids.floor()).filter(|floor| *floor != i64::MIN),
            totals: self.state.totals,
            rejected: self.state.rejected.clone(),
        }
    }

    /// The commit that carried what [`sections`] said last is true.
    ///
    /// # Panics
    /// When an item went through no door, or through two: a broken rule of our own.
    pub fn committed(&mut self) {
        self.state.registered = true;
        self.again = false;
        self.behind_gap = None;
        self.committed = self.state.clone();
        self.ids.committed(self.horizon());
        let rejected: i64 = self.state.rejected.values().sum();
        let totals = &self.state.totals;
        assert_eq!(rejected, totals.rejected, "{}: reasons add up to the rejected items", self.source);
        assert_eq!(totals.accepted, self.state.standing.accepted, "{}: accepted is counted once", self.source);
    }

    /// The commit certainly did not happen: forgets everything since the last one. The next record to take
    /// is that at [`Fold::offset`].
    pub fn aborted(&mut self) {
        self.state = self.committed.clone();
        self.step_over_gap();
        self.ids.aborted();
    }

    /// The next offset to take.
    pub fn offset(&self) -> i64 {
        self.state.standing.offset
    }

    /// The watermark.
    pub fn watermark(&self) -> Option<i64> {
        self.state.standing.watermark
    }

    /// The newest accepted event time.
    pub fn newest(&self) -> Option<i64> {
        self.state.newest
    }

    /// Lifetime counts that are committed.
    pub fn committed_totals(&self) -> (&Totals, &BTreeMap<RejectReason, i64>) {
        (&self.committed.totals, &self.committed.rejected)
    }

    /// Which source it is.
    pub fn source(&self) -> &SourceId {
        &self.source
    }

    /// The ids it remembers.
    pub fn ids(&self) -> &Ids {
        &self.ids
    }

    fn settings(&self) -> &InputPlan {
        &self.plan.inputs[self.input]
    }

    fn policy(&self) -> &Policy {
        &self.settings().policy
    }

    /// The oldest event time that is not late. It never goes back, also when the lateness is raised.
    fn horizon(&self) -> i64 {
        self.policy().horizon(self.state.standing.watermark).max(self.state.floor)
    }

    /// What merge may rely on: no event before this is accepted from here on.
    fn promise(&self) -> Option<i64> {
        let promised = self.policy().final_until(self.state.standing.watermark);
        promised.max(Some(self.state.floor).filter(|floor| *floor != i64::MIN))
    }
}

/// What sources of one plan add together since the last commit, counted in `open`: the cells of all of them in the first
/// section, as one record carries them.
pub fn sections<'c>(folds: &[&Fold], open: &[&'c Open]) -> Vec<Section<'c>> {
    let mut sections: Vec<Section<'c>> = folds.iter().map(|fold| fold.bare_section()).collect();
    if let (Some(section), Some(fold)) = (sections.first_mut(), folds.first()) {
        (section.events, section.groups) = expand(&fold.plan, open);
    }
    sections
}
