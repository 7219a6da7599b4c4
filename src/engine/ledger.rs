//! The ledger: up to where each source has been taken in, and whether the next section follows on.
//!
//! Exactly-once is checked here, at the receiver, not hoped for from the broker (I-3). First match wins:
//! `from` equals what the ledger holds: apply; `to` is not beyond it: drop, it was applied before; anything
//! else is a gap or an overlap, and the task halts.

use super::section::{Section, SourceId, Standing};
use std::collections::BTreeMap;

/// What the ledger knows of one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Up to where it was taken in.
    pub standing: Standing,
    /// How many partitions its input has, as it said last.
    pub partitions: i32,
    /// The newest event time it has accepted.
    pub newest: Option<i64>,
    /// The oldest event time it has accepted.
    pub oldest: Option<i64>,
    /// From when it is covered.
    pub covered_from: i64,
}

/// What to do with a section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It follows on: count it.
    Apply,
    /// It was applied before.
    Drop,
    /// It cannot be: a gap, an overlap, another epoch, a loss.
    Halt(String),
}

/// Every source that was ever heard of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ledger {
    entries: BTreeMap<SourceId, Entry>,
}

impl Ledger {
    /// What to do with `section`; the ledger does not change.
    pub fn judge(&self, section: &Section) -> Verdict {
        if section.to.offset < section.from.offset || section.to.accepted < section.from.accepted {
            return Verdict::Halt(format!("{}: a section runs backwards", section.source));
        }
        let Some(entry) = self.entries.get(&section.source) else {
            return self.judge_first(section);
        };
        if section.from == entry.standing {
            return Verdict::Apply;
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
        Verdict::Halt(format!(
            "{}: expected a section from {}, got one from {} to {}",
            section.source,
            name(&entry.standing),
            name(&section.from),
            name(&section.to)
        ))
    }

    fn judge_first(&self, section: &Section) -> Verdict {
        let epochs = |id: &SourceId| id.input == section.source.input && id.epoch != section.source.epoch;
        if let Some(other) = self.entries.keys().find(|id| epochs(id)) {
            return Verdict::Halt(format!("{}: the ledger holds epoch {} of this input", section.source, other.epoch));
        }
        if section.from.accepted != 0 || section.from.watermark.is_some() {
            return Verdict::Halt(format!(
                "{}: the first section seen begins at {}: earlier ones are lost",
                section.source,
                name(&section.from)
            ));
        }
        Verdict::Apply
    }

    /// Takes a section in. It must have been judged [`Verdict::Apply`].
    pub fn apply(&mut self, section: &Section) {
        let entry = Entry {
            standing: section.to,
            partitions: section.partitions,
            newest: section.newest,
            oldest: section.oldest,
            covered_from: section.covered_from,
        };
        self.entries.insert(section.source.clone(), entry);
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

    /// Whether every partition of `input` has been heard of.
    pub fn complete(&self, input: &str) -> bool {
        let heard: Vec<&Entry> =
            self.entries.iter().filter(|(id, _)| &*id.input == input).map(|(_, entry)| entry).collect();
        let partitions = heard.iter().map(|entry| entry.partitions).max().unwrap_or(0);
        partitions > 0 && heard.len() >= usize::try_from(partitions).expect("a count of partitions is positive")
    }
}

fn name(standing: &Standing) -> String {
    let watermark = standing.watermark.map_or("none".to_string(), |watermark| watermark.to_string());
    format!("offset {} (watermark {watermark}, {} accepted)", standing.offset, standing.accepted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(from: (i64, Option<i64>, i64), to: (i64, Option<i64>, i64)) -> Section {
        let standing = |(offset, watermark, accepted)| Standing { offset, watermark, accepted };
        Section {
            source: SourceId { input: "calls".into(), epoch: 1, partition: 0 },
            partitions: 1,
            from: standing(from),
            to: standing(to),
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
}
