//! The ledger: up to where each source has been taken in, and whether the next section follows on.
//!
//! Exactly-once is checked here, at the receiver, not hoped for from the broker (I-3). First match wins:
//! `from` equals what the ledger holds: apply; `to` is not beyond it: drop, it was applied before; anything
//! else is a gap or an overlap, and the task halts.

use super::halt::{Halt, HaltCode};
use super::section::{Phase, Section, SourceId, Standing};
use std::collections::BTreeMap;

/// What the ledger knows of one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Where it is in its life.
    pub phase: Phase,
    /// Up to where it was taken in.
    pub standing: Standing,
    /// It accepts no event before this any more.
    pub horizon: Option<i64>,
    /// How many partitions its input has, as it said last.
    pub partitions: i32,
    /// The newest event time it has accepted.
    pub newest: Option<i64>,
    /// The oldest event time it has accepted.
    pub oldest: Option<i64>,
    /// From when it is covered.
    pub covered_from: i64,
}

impl Entry {
    /// What is known of a source once `section` has been taken in.
    pub fn after(section: &Section<'_>) -> Entry {
        Entry {
            phase: section.phase,
            standing: section.to,
            horizon: section.horizon,
            partitions: section.partitions,
            newest: section.newest,
            oldest: section.oldest,
            covered_from: section.covered_from,
        }
    }
}

/// What to do with a section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It follows on: count it.
    Apply,
    /// It was applied before.
    Drop,
    /// It cannot be: a gap, an overlap, an epoch that has passed, a loss.
    Halt(Halt),
}

/// Every source that was ever heard of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ledger {
    entries: BTreeMap<SourceId, Entry>,
}

impl Ledger {
    /// What to do with `section`; the ledger does not change.
    pub fn judge(&self, section: &Section<'_>) -> Verdict {
        if section.to.offset < section.from.offset || section.to.accepted < section.from.accepted {
            return halt(format!("{}: a section runs backwards", section.source));
        }
        let Some(entry) = self.entries.get(&section.source) else {
            return self.judge_first(section);
        };
        if section.from == entry.standing {
            return match (entry.phase, section.phase) {
                // Its last word was the last: what follows is somebody who did not know.
                (Phase::Retired, Phase::Retired) if section.from == section.to => Verdict::Drop,
                (Phase::Retired, _) => halt(format!("{}: it was retired, or a later epoch has begun", section.source)),
                _ => Verdict::Apply,
            };
        }
        if section.to.offset <= entry.standing.offset && section.from.offset < section.to.offset {
            return Verdict::Drop;
        }
        if section.from.offset == section.to.offset && section.to.accepted <= entry.standing.accepted {
            // An empty section that moves only the watermark, and was overtaken.
            if section.to.offset <= entry.standing.offset && section.to.watermark <= entry.standing.watermark {
                return Verdict::Drop;
            }
        }
        halt(format!(
            "{}: expected a section from {}, got one from {} to {}",
            section.source,
            name(&entry.standing),
            name(&section.from),
            name(&section.to)
        ))
    }

    fn judge_first(&self, section: &Section<'_>) -> Verdict {
        let source = &section.source;
        let later =
            |id: &SourceId| id.input == source.input && id.partition == source.partition && id.epoch > source.epoch;
        if let Some(other) = self.entries.keys().find(|id| later(id)) {
            return halt(format!("{source}: epoch {} of it has begun already", other.epoch));
        }
        if section.from.accepted != 0 || section.from.watermark.is_some() {
            return halt(format!(
                "{source}: the first section seen begins at {}: earlier ones are lost",
                name(&section.from)
            ));
        }
        Verdict::Apply
    }

    /// Takes a section in. It must have been judged [`Verdict::Apply`]. The first one of a new epoch retires the
    /// partition's former one, and those of partitions that the input no longer has.
    pub fn apply(&mut self, section: &Section<'_>) {
        if self.entries.insert(section.source.clone(), Entry::after(section)).is_some() {
            return;
        }
        let SourceId { input, epoch, partition } = &section.source;
        for (id, entry) in &mut self.entries {
            let former = id.input == *input && id.epoch < *epoch;
            if former && (id.partition == *partition || id.partition >= section.partitions) {
                entry.phase = Phase::Retired;
            }
        }
    }

    /// Puts an entry back, as restored from a checkpoint.
    pub fn insert(&mut self, source: SourceId, entry: Entry) {
        self.entries.insert(source, entry);
    }

    /// Every source, sorted.
    pub fn iter(&self) -> impl Iterator<Item = (&SourceId, &Entry)> {
        self.entries.iter()
    }

    /// Whether nothing was ever heard.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The newest event time that any source has accepted.
    pub fn newest(&self) -> Option<i64> {
        self.entries.values().filter_map(|entry| entry.newest).max()
    }

    /// Whether every partition of `input` takes part in time, or did so once.
    pub fn complete(&self, input: &str) -> bool {
        let heard = |(id, entry): &(&SourceId, &Entry)| &*id.input == input && entry.phase != Phase::Left;
        let mut partitions: Vec<i32> = self.entries.iter().filter(heard).map(|(id, _)| id.partition).collect();
        partitions.dedup();
        let named = self.entries.iter().filter(|(id, _)| &*id.input == input);
        // The latest epoch says how many there are now.
        let latest = named.max_by_key(|(id, entry)| (id.epoch, entry.partitions));
        let Some((_, latest)) = latest else { return false };
        (0..latest.partitions).all(|partition| partitions.contains(&partition))
    }
}

fn halt(detail: String) -> Verdict {
    Verdict::Halt(Halt::new(HaltCode::LedgerGap, detail))
}

fn name(standing: &Standing) -> String {
    let watermark = standing.watermark.map_or("none".to_string(), |watermark| watermark.to_string());
    format!("offset {} (watermark {watermark}, {} accepted)", standing.offset, standing.accepted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(from: (i64, Option<i64>, i64), to: (i64, Option<i64>, i64)) -> Section<'static> {
        let standing = |(offset, watermark, accepted)| Standing { offset, watermark, accepted };
        Section {
            source: SourceId { input: "calls".into(), epoch: 1, partition: 0 },
            phase: Phase::Live,
            partitions: 1,
            plan: 0,
            base: 60_000,
            from: standing(from),
            to: standing(to),
            horizon: None,
            newest: None,
            oldest: None,
            covered_from: 0,
            events: vec![],
            groups: vec![],
        }
    }

    fn ledger_at(to: (i64, Option<i64>, i64)) -> Ledger {
        let mut ledger = Ledger::default();
        ledger.apply(&section((0, None, 0), to));
        ledger
    }

    #[test]
    fn a_section_that_follows_on_is_applied_also_when_empty() {
        let ledger = ledger_at((10, Some(5), 7));
        assert_eq!(ledger.judge(&section((10, Some(5), 7), (12, Some(6), 9))), Verdict::Apply);
        assert_eq!(ledger.judge(&section((10, Some(5), 7), (10, Some(8), 7))), Verdict::Apply);
    }

    #[test]
    fn a_section_seen_before_is_dropped() {
        let ledger = ledger_at((10, Some(5), 7));
        assert_eq!(ledger.judge(&section((3, Some(2), 2), (10, Some(5), 7))), Verdict::Drop);
        assert_eq!(ledger.judge(&section((0, None, 0), (3, Some(2), 2))), Verdict::Drop);
    }

    #[test]
    fn gaps_overlaps_and_foreign_states_halt() {
        let ledger = ledger_at((10, Some(5), 7));
        let halts = [
            section((11, Some(5), 7), (12, Some(6), 8)),
            section((9, Some(5), 7), (12, Some(6), 9)),
            section((10, Some(4), 7), (12, Some(6), 9)),
            section((10, Some(5), 6), (12, Some(6), 9)),
            section((12, Some(5), 7), (10, Some(6), 9)),
        ];
        for halt in halts {
            assert!(matches!(ledger.judge(&halt), Verdict::Halt(_)), "{halt:?}");
        }
        let first = Ledger::default();
        assert_eq!(first.judge(&section((4, None, 0), (4, None, 0))), Verdict::Apply);
        assert!(matches!(first.judge(&section((4, Some(1), 0), (5, Some(1), 1))), Verdict::Halt(_)));
    }

    #[test]
    fn an_input_is_complete_when_every_partition_has_reported() {
        let mut ledger = Ledger::default();
        let mut first = section((0, None, 0), (0, None, 0));
        first.partitions = 2;
        ledger.apply(&first);
        assert!(!ledger.complete("calls") && !ledger.complete("chats"));
        first.source.partition = 1;
        ledger.apply(&first);
        assert!(ledger.complete("calls"));
    }

    #[test]
    fn a_new_epoch_retires_the_former_one_and_nothing_follows_it() {
        let mut ledger = ledger_at((10, Some(5), 7));
        let mut other = section((0, None, 0), (3, Some(1), 3));
        (other.source.partition, other.partitions) = (1, 2);
        ledger.apply(&other);
        let mut anew = section((4, None, 0), (4, None, 0));
        (anew.source.epoch, anew.phase, anew.partitions) = (2, Phase::Joining, 1);
        assert_eq!(ledger.judge(&anew), Verdict::Apply);
        ledger.apply(&anew);
        let phases: Vec<Phase> = ledger.iter().map(|(_, entry)| entry.phase).collect();
        // Partition 1 is no longer there.
        assert_eq!(phases, [Phase::Retired, Phase::Retired, Phase::Joining]);
        assert!(matches!(ledger.judge(&section((10, Some(5), 7), (12, Some(6), 9))), Verdict::Halt(_)), "a zombie");
        let mut backwards = section((0, None, 0), (0, None, 0));
        backwards.source.epoch = 0;
        assert!(matches!(ledger.judge(&backwards), Verdict::Halt(_)), "an epoch that was never heard of, too late");
    }

    #[test]
    fn a_source_comes_and_goes() {
        let mut ledger = Ledger::default();
        for phase in [Phase::Joining, Phase::Left, Phase::Joining, Phase::Live, Phase::Retired] {
            let mut said = section((4, None, 0), (4, None, 0));
            said.phase = phase;
            assert_eq!(ledger.judge(&said), Verdict::Apply, "{phase:?}");
            ledger.apply(&said);
            assert_eq!(ledger.complete("calls"), phase != Phase::Left);
        }
        assert!(
            matches!(ledger.judge(&section((4, None, 0), (5, Some(1), 1))), Verdict::Halt(_)),
            "after its last word"
        );
    }
}
