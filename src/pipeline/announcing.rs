//! How a source comes into time, stays with the others, and leaves.
//!
//! ```text
//! first start ----> JOINING: an empty section, repeated; no record is taken, time stands still for it
//!                      |  every merge task has passed it: takes the greatest watermark of any of them
//!                      v
//!                    LIVE: takes records while it is at most max_skew ahead of merge ----> RETIRED: its last word
//!                      ^
//! JOINING -> LEFT -----+  while a merge task is halted nobody joins: the announcement is taken back
//! ```
//!
//! A source that simply began would accept events of windows that are final. One that joins begins with a time that no
//! merge task has passed, so what it accepts always finds its window open (I-4).

use super::alignment::{AlignmentSettings, STANDSTILL_MS, limit, may_take};
use super::folding::{FoldTask, Folding};
use super::link::{Assigned, Link, LinkError, PartitionId};
use super::stage::{Begun, Fault};
use crate::engine::codec::{CodecError, FoldMetadata, format_of};
use crate::engine::halt::{Halt, HaltCode};
use crate::engine::plan::Plan;
use crate::engine::section::Phase;
use crate::engine::stage::Fold;
use std::sync::Arc;

/// Between two looks at merge while nobody waits for it, ms.
const LOOK_MS: i64 = 1_000;

/// Between two looks while somebody does, ms.
const LOOK_WAITING_MS: i64 = 25;

impl Folding {
    /// The task of a partition that became ours: what was committed of it says how it goes on.
    pub(super) fn take_over(
        &self,
        link: &mut dyn Link,
        assigned: &Assigned,
        now: i64,
    ) -> Result<Begun<FoldTask>, Fault> {
        let (input, partition) = (assigned.id.topic, assigned.id.partition);
        let (plan, settings) = (Arc::clone(&self.plan), &self.inputs[input]);
        let remembered = match &assigned.committed {
            None => None,
            Some((offset, text)) => self.remembered(assigned, *offset, text)?.map(|memory| (*offset, memory)),
        };
        let Some((offset, memory)) = remembered else {
            // The first start, or that of a new epoch: what an earlier one has committed no longer counts.
            let (position, first) = match assigned.committed {
                None => (assigned.position, assigned.first_timestamp),
                Some(_) => link.start(assigned.id).map_err(Fault::Unavailable)?,
            };
            let covered_from = first.filter(|_| settings.from_beginning).unwrap_or(now);
            let fold = Fold::first(plan, input, partition, assigned.partitions, position, covered_from);
            return Ok(Begun { task: FoldTask::new(fold, assigned, self.is_alone()), reader: None });
        };
        if self.retires {
            // It says its last word where it stands: it takes nothing, and needs to know no id.
            let (fold, _) = Fold::resumed(plan, input, partition, assigned.partitions, offset, memory);
            return Ok(Begun { task: FoldTask::new(fold, assigned, self.is_alone()), reader: None });
        }
        let (low, high) = assigned.bounds;
        let position = offset.max(memory.gap.unwrap_or(offset));
        if position < low || position > high {
            return Err(Fault::Halt(lost(&plan, assigned, position)));
        }
        // Over a gap that was accepted, what can be learned again is what is still there.
        let least = if memory.gap.is_some() { low } else { i64::MIN };
        let (mut fold, replay_from) = Fold::resumed(plan, input, partition, assigned.partitions, offset, memory);
        let written_as = assigned.committed.as_ref().map_or(0, |(_, text)| format_of(text));
        if written_as != self.plan.format.number() {
            fold.say_again();
        }
        let replay_from = replay_from.max(least);
        let mut reader = None;
        if replay_from < offset {
            let what = format!(
                "the ids of {}/{partition} are learned again from offset {replay_from} on; if that is gone for good, \
                 `touchstone sources accept-gap` goes on without",
                self.plan.inputs[input].name
            );
            let opened = link.reader(&settings.topic, partition, Some(replay_from), Some(offset));
            reader = Some(opened.map_err(|error| Fault::of(error, HaltCode::InputLost, &what))?);
        }
        Ok(Begun { task: FoldTask::new(fold, assigned, self.is_alone()), reader })
    }

    /// What the metadata beside a committed offset says; `None` when it is of an earlier epoch.
    fn remembered(&self, assigned: &Assigned, offset: i64, text: &str) -> Result<Option<FoldMetadata>, Halt> {
        let input = &self.plan.inputs[assigned.id.topic];
        let name = format!("{}/{}", input.name, assigned.id.partition);
        let memory = FoldMetadata::decode(text).map_err(|error| match error {
            CodecError::Version(_) => Halt::new(HaltCode::UnknownFormat, format!("offset {offset} of {name}: {error}")),
            CodecError::Damaged(_) => Halt::new(
                HaltCode::ForeignOffsets,
                format!(
                    "offset {offset} of {name} was not committed by touchstone ({error}); raise the input's epoch, then \
                     `touchstone sources adopt` makes it ours"
                ),
            ),
        })?;
        if memory.epoch > input.epoch {
            let detail = format!(
                "{name} has been taken in under epoch {}, configured is {}: set epoch = {0}",
                memory.epoch, input.epoch
            );
            return Err(Halt::new(HaltCode::EpochBehind, detail));
        }
        if memory.epoch < input.epoch {
            return Ok(None);
        }
        if memory.phase == Phase::Retired && !self.retires {
            let detail = format!(
                "{name} was retired under epoch {}: remove the input, or raise its epoch to take it in again",
                memory.epoch
            );
            return Err(Halt::new(HaltCode::Retired, detail));
        }
        Ok(Some(memory))
    }

    /// Whether there is nobody to be announced to.
    pub(super) fn is_alone(&self) -> bool {
        self.settings.alignment.is_none()
    }

    /// Whether a commit may speak of the source: what it says first is its announcement.
    pub(super) fn may_speak(&self, task: &FoldTask) -> bool {
        self.is_alone() || task.fold.is_registered() || task.fold.phase().0 != Phase::Live
    }

    /// Looks at what merge has committed, often while somebody waits for it, and moves every source on.
    pub(super) fn look_at_merge(
        &mut self,
        link: &mut dyn Link,
        tasks: &mut [(PartitionId, &mut FoldTask)],
        monotonic: i64,
    ) -> Result<(), LinkError> {
        let Some(AlignmentSettings { merge_group, .. }) = &self.settings.alignment else { return Ok(()) };
        let waits = |task: &FoldTask| !task.aligned || task.fold.phase().0 != Phase::Live;
        let waiting = tasks.iter().any(|(_, task)| waits(task));
        let interval = if waiting { LOOK_WAITING_MS } else { LOOK_MS };
        if tasks.is_empty() || monotonic - self.looked_at < interval {
            return Ok(());
        }
        self.looked_at = monotonic;
        self.view.look(link, merge_group, &self.settings.deltas, monotonic)?;
        for (_, task) in tasks.iter_mut() {
            self.guide(task, link, monotonic)?;
        }
        self.hurries = tasks.iter().any(|(_, task)| !task.aligned && task.fold.has_news());
        Ok(())
    }

    fn guide(&self, task: &mut FoldTask, link: &mut dyn Link, monotonic: i64) -> Result<(), LinkError> {
        let Some(AlignmentSettings { max_skew_ms, .. }) = &self.settings.alignment else { return Ok(()) };
        let is_new = !task.fold.is_registered();
        match task.fold.phase() {
            (Phase::Retired, _) => {}
            _ if self.retires => task.fold.retire(),
            (Phase::Live, _) if !is_new => {
                let reach = self.view.reach(&self.plan, task.input).watermark;
                task.limit = limit(reach, *max_skew_ms);
                task.aligned = may_take(task.fold.watermark(), task.limit);
                if task.aligned {
                    task.held_since = None;
                } else if monotonic - *task.held_since.get_or_insert(monotonic) > STANDSTILL_MS {
                    // Merge may have come no further because what this source said last was torn off: it would never
                    // find out from a source that waits for it.
                    task.fold.say_again();
                    task.held_since = Some(monotonic);
                }
            }
            (Phase::Live | Phase::Left, _) => {
                let source = task.fold.source();
                if let Some(epoch) = self.view.knows(&source.input, source.partition).filter(|_| is_new) {
                    task.halt = offsets_lost(&task.fold, epoch);
                }
                if task.halt.is_none() && self.view.is_sound() && monotonic >= task.joins_again_at {
                    task.fold.join();
                }
            }
            (Phase::Joining, committed) => match &task.target {
                None if committed => task.target = Some(link.ends(&self.settings.deltas)?),
                None => {}
                Some(target) if self.view.has_passed(target) => {
                    let reach = self.view.reach(&self.plan, task.input);
                    task.fold.joined(reach.watermark, reach.final_until);
                    task.target = None;
                }
                Some(target) if self.view.is_stuck(target, monotonic) => {
                    let source = task.fold.source();
                    tracing::warn!(%source, "a merge task is halted or stands still: the announcement is taken back");
                    task.fold.leave();
                    task.target = None;
                    task.joins_again_at = monotonic + STANDSTILL_MS;
                }
                Some(_) => {}
            },
        }
        Ok(())
    }
}

/// The log does not hold what comes next.
fn lost(plan: &Plan, assigned: &Assigned, position: i64) -> Halt {
    let name = &plan.inputs[assigned.id.topic].name;
    let (low, high) = assigned.bounds;
    let remedy = if position < low {
        "retention has passed it: `touchstone sources accept-gap` goes on at the first one there is"
    } else {
        "the topic was re-created or cut short: raise the input's epoch"
    };
    let place = format!("{name}/{}", assigned.id.partition);
    Halt::new(
        HaltCode::InputLost,
        format!("offset {position} of {place} is gone, the log holds [{low}, {high}); {remedy}"),
    )
}

/// A source of which nothing is committed, but which merge has heard of under `epoch`.
fn offsets_lost(fold: &Fold, epoch: u32) -> Option<Halt> {
    let source = fold.source();
    if source.epoch > epoch {
        return None; // a new epoch begins
    }
    let detail = format!(
        "nothing is committed for {source}, but merge has taken it in under epoch {epoch}: the group's offsets have \
         expired or were deleted; raise the input's epoch to {} to begin anew at its start",
        epoch + 1
    );
    Some(Halt::new(HaltCode::OffsetsLost, detail))
}
