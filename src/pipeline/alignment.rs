//! What fold sees of merge: how far it has come, whom it has heard of, whether it is halted.
//!
//! The metadata of the merge group's committed offsets is all there is between the stages beside the deltas. From it a
//! source learns when its announcement has been heard and which time it begins with, and how far it may run ahead.

use super::link::{Link, LinkError};
use crate::engine::codec::{KnownSources, MergeMetadata, SetReach};
use crate::engine::plan::Plan;
use std::collections::BTreeMap;

/// How sources are held together; `None` in a service of one process and one source, as `replay` is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlignmentSettings {
    /// The consumer group of the merge stage.
    pub merge_group: String,
    /// How far a source's watermark may run ahead of merge's, ms.
    pub max_skew_ms: i64,
}

/// How long a merge task may stand still while a source waits for it, before the source takes its announcement back: a
/// task that lives commits once a second.
pub(super) const STANDSTILL_MS: i64 = 30_000;

/// What the merge tasks have committed, at the last look.
#[derive(Debug, Clone, Default)]
pub(super) struct MergeView {
    /// Per deltas partition: the committed offset, and since when it has been that.
    offsets: Vec<(Option<i64>, i64)>,
    /// The greatest of any task, by metric set.
    reach: BTreeMap<String, SetReach>,
    known: BTreeMap<String, KnownSources>,
    halted: bool,
}

impl MergeView {
    /// Looks again.
    pub fn look(&mut self, link: &mut dyn Link, group: &str, deltas: &str, monotonic: i64) -> Result<(), LinkError> {
        let committed = link.committed(group, deltas)?;
        self.offsets.resize(committed.len(), (None, monotonic));
        self.halted = false;
        for ((offset, since), committed) in self.offsets.iter_mut().zip(&committed) {
            let now = committed.as_ref().map(|(offset, _)| *offset);
            if *offset != now {
                (*offset, *since) = (now, monotonic);
            }
            // What is not ours halts the merge task that meets it; here it only says nothing.
            let Some(metadata) = committed.as_ref().and_then(|(_, text)| MergeMetadata::decode(text).ok()) else {
                continue;
            };
            self.halted |= metadata.halted.is_some();
            for (set, reach) in metadata.reach {
                let greatest = self.reach.entry(set).or_default();
                greatest.watermark = greatest.watermark.max(reach.watermark);
                greatest.final_until = greatest.final_until.max(reach.final_until);
            }
            for (input, sources) in metadata.known {
                let known = self.known.entry(input).or_default();
                if sources.epoch > known.epoch {
                    *known = sources;
                } else if sources.epoch == known.epoch {
                    known.partitions.extend(sources.partitions);
                }
            }
        }
        Ok(())
    }

    /// Whether every merge task has committed something and none says that it is halted.
    pub fn is_sound(&self) -> bool {
        !self.halted && !self.offsets.is_empty() && self.offsets.iter().all(|(offset, _)| offset.is_some())
    }

    /// Whether some merge task is halted, or has stood still before `target` for too long.
    pub fn is_stuck(&self, target: &[i64], monotonic: i64) -> bool {
        let behind = |((offset, since), target): (&(Option<i64>, i64), &i64)| {
            *offset < Some(*target) && monotonic - since > STANDSTILL_MS
        };
        self.halted || self.offsets.iter().zip(target).any(behind)
    }

    /// Whether every merge task has come to `target`, an offset of each deltas partition.
    pub fn has_passed(&self, target: &[i64]) -> bool {
        self.offsets.len() == target.len()
            && self.offsets.iter().zip(target).all(|((offset, _), target)| *offset >= Some(*target))
    }

    /// How far time has come, at most, for the metric sets that an input feeds.
    pub fn reach(&self, plan: &Plan, input: usize) -> SetReach {
        let fed = plan.sets.iter().zip(&plan.inputs[input].feeds).filter(|(_, feeds)| **feeds);
        let reaches = fed.filter_map(|(set, _)| self.reach.get(set.set.name()));
        reaches.fold(SetReach::default(), |greatest, reach| SetReach {
            watermark: greatest.watermark.max(reach.watermark),
            final_until: greatest.final_until.max(reach.final_until),
        })
    }

    /// The epoch under which merge has heard of a source, if it has.
    pub fn knows(&self, input: &str, partition: i32) -> Option<u32> {
        self.known.get(input).filter(|known| known.partitions.contains(&partition)).map(|known| known.epoch)
    }
}

/// How far a source's watermark may come while merge has come to `reach`. Without a time of merge, the sources that
/// have a watermark already wait for those that have none.
pub(super) fn limit(reach: Option<i64>, max_skew_ms: i64) -> i64 {
    reach.map_or(i64::MIN, |reach| reach.saturating_add(max_skew_ms))
}

/// Whether a source with this watermark may take records up to `limit`.
pub(super) fn may_take(watermark: Option<i64>, limit: i64) -> bool {
    watermark.is_none_or(|watermark| watermark <= limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_without_a_time_goes_first() {
        assert!(may_take(None, limit(None, 10)) && may_take(None, limit(Some(5), 10)));
        assert!(!may_take(Some(5), limit(None, 10)));
        assert!(may_take(Some(15), limit(Some(5), 10)) && !may_take(Some(16), limit(Some(5), 10)));
    }

    #[test]
    fn a_task_that_stands_before_the_target_is_stuck_in_time() {
        let view = MergeView { offsets: vec![(Some(7), 100), (None, 100)], ..MergeView::default() };
        assert!(!view.has_passed(&[7, 1]) && !view.is_sound());
        assert!(!view.is_stuck(&[7, 1], 100 + STANDSTILL_MS) && view.is_stuck(&[7, 1], 101 + STANDSTILL_MS));
        assert!(!view.is_stuck(&[7, 1], 100));
        let view = MergeView { offsets: vec![(Some(7), 0)], ..MergeView::default() };
        assert!(view.has_passed(&[7]) && view.is_sound() && !view.is_stuck(&[7], i64::MAX));
    }
}
