//! The judge: what must have come of a run, by the plainest code that can say it.
//!
//! It reads what a consumer could read: the raw input, the letters, the published records, the committed metadata. Which
//! items were late is taken from the letters as a fact, and each of those decisions must be justified by something that
//! could really have moved time so far. Everything else is computed anew, partition by partition in the order of the log.

use std::collections::{BTreeMap, BTreeSet};

use touchstone::engine::section::Totals;
use touchstone::memory::OwnedRecord;
use touchstone::touchpoint::Touchpoint;

use crate::faults::{Class, StageName};
use crate::oracle;
use crate::scenario::{IDLE_TIMEOUT, LATENESS, MAX_FUTURE, Made, OUT_OF_ORDERNESS, SKEW_MAX};
use crate::world::{INPUT, World};

/// A late or rejected item as its letter tells it.
struct Letter {
    reason: String,
    detail: String,
}

/// What the raw input and the letters say of every partition.
pub struct Facts {
    pub accepted: Vec<Touchpoint<'static>>,
    /// Per partition: the offset after the last record, and the totals.
    pub sources: Vec<(i64, Totals)>,
}

/// Judges a run that has drained.
///
/// # Panics
/// When anything is not as it must be.
pub fn judge(world: &World) {
    let letters = letters(world);
    let facts = facts(world, letters);
    let halted: Vec<(StageName, i32, String)> =
        world.nodes.borrow().iter().filter(|node| node.is_up).flat_map(|node| node.halted()).collect();
    let grave = world.grave.borrow().clone();
    for (stage, partition, reason) in &halted {
        let may = *stage == StageName::Merge && grave.may_halt.contains(partition);
        assert!(may, "{stage:?} {partition} is halted: {reason}");
    }
    let halted: BTreeSet<i32> = halted.into_iter().map(|(_, partition, _)| partition).collect();
    counts(world, &facts);
    ledgers(world, &facts);
    let expected = oracle::finals(&world.settings.plan, &facts.accepted);
    finals(world, &expected, &halted);
}

/// Every letter by (partition, offset).
fn letters(world: &World) -> BTreeMap<(i32, i64), Letter> {
    let names = &world.settings.layout.names;
    let mut letters = BTreeMap::new();
    for (topic, is_late) in [(&names.late, true), (&names.dead_letter, false)] {
        for record in world.broker.read_all(topic).expect("it exists") {
            let header = |name: &str| -> String {
                let found = record.headers.iter().find(|(header, _)| header == name);
                let value = found.and_then(|(_, value)| value.clone()).unwrap_or_else(|| panic!("no header {name}"));
                String::from_utf8(value).expect("UTF-8")
            };
            let number = |name: &str| header(name).parse::<i64>().expect("a number");
            let place = (i32::try_from(number("touchstone_partition")).expect("small"), number("touchstone_offset"));
            let letter = Letter { reason: header("touchstone_reason"), detail: header("touchstone_detail") };
            assert_eq!(number("touchstone_index"), 0, "a record is one item here");
            assert_eq!(is_late, letter.reason == "late", "{place:?} lies in {topic}: {}", letter.reason);
            let twice = letters.insert(place, letter).is_some();
            assert!(!twice || world.grave.borrow().letters_twice, "{place:?} has two letters");
        }
    }
    letters
}

/// Every item went through exactly one door, and through the right one.
fn facts(world: &World, mut letters: BTreeMap<(i32, i64), Letter>) -> Facts {
    let raw = world.broker.read_all(INPUT).expect("it exists");
    let mut facts = Facts { accepted: Vec::new(), sources: Vec::new() };
    for partition in 0..world.scenario.partitions {
        let mut known: BTreeMap<String, Touchpoint<'static>> = BTreeMap::new();
        let mut newest: Option<i64> = None;
        let (mut totals, mut end) = (Totals::default(), 0);
        for record in raw.iter().filter(|record| record.partition == partition) {
            let place = (partition, record.offset);
            let letter = letters.remove(&place);
            end = record.offset + 1;
            totals.records += 1;
            match world.made(record.value.as_deref().unwrap_or_default()) {
                Made::Skipped => {
                    assert!(letter.is_none(), "{place:?} was to be skipped");
                    totals.skipped += 1;
                }
                Made::Rejected(reason) => {
                    let letter = letter.unwrap_or_else(|| panic!("{place:?} has no dead letter"));
                    assert_eq!(letter.reason, reason.name(), "{place:?}: {}", letter.detail);
                    totals.rejected += 1;
                }
                Made::Valid(event) if event.time > record.timestamp + MAX_FUTURE => {
                    let reason = letter.map(|letter| letter.reason);
                    assert_eq!(reason.as_deref(), Some("future_time"), "{place:?}");
                    totals.rejected += 1;
                }
                Made::Valid(event) => match letter {
                    Some(letter) => {
                        assert_eq!(letter.reason, "late", "{place:?}: {}", letter.detail);
                        justified(world, record, &event, newest, &letter.detail);
                        world.happened(Class::Late);
                        totals.late += 1;
                    }
                    None => {
                        let oldest = newest.map(|newest| newest - OUT_OF_ORDERNESS - LATENESS);
                        assert!(Some(event.time) >= oldest, "{place:?} at {} is late, but was let in", event.time);
                        if let Some(first) = known.get(&*event.id) {
                            totals.duplicate += 1;
                            totals.conflicting += i64::from(*first != *event);
                        } else {
                            totals.accepted += 1;
                            newest = newest.max(Some(event.time));
                            known.insert(event.id.to_string(), (*event).clone());
                            facts.accepted.push(*event);
                        }
                    }
                },
            }
        }
        facts.sources.push((end, totals));
    }
    assert!(letters.is_empty(), "letters of what is not in the input: {:?}", letters.keys().collect::<Vec<_>>());
    facts
}

/// A late decision: the watermark that it names lies above the event by more than the lateness, and something could
/// have moved it there: an event accepted before, silence that lasted until this record came, or merge's watermark when
/// the source joined.
fn justified(world: &World, record: &OwnedRecord, event: &Touchpoint<'_>, newest: Option<i64>, detail: &str) {
    let behind = detail.strip_prefix("event time is ").and_then(|rest| rest.split(' ').next());
    let behind: f64 = behind.and_then(|seconds| seconds.parse().ok()).unwrap_or_else(|| panic!("{detail}"));
    let watermark = event.time + (behind * 1000.0).round() as i64;
    let place = (record.partition, record.offset);
    assert!(event.time < watermark - LATENESS, "{place:?} is on time under the watermark {watermark}");
    let by_event = newest.map(|newest| newest - OUT_OF_ORDERNESS);
    // Nothing lay in the log when its end was looked at: this record came later.
    let by_silence = record.timestamp + SKEW_MAX - IDLE_TIMEOUT;
    let by_joining = world.times.borrow().joined.get(&record.partition).copied().flatten();
    let possible = by_event.max(Some(by_silence)).max(by_joining);
    assert!(
        Some(watermark) <= possible,
        "{place:?} is late under the watermark {watermark}, possible was {possible:?}"
    );
}

/// What is committed beside the offsets is what the facts add up to.
fn counts(world: &World, facts: &Facts) {
    let committed = world.committed().expect("nothing is pending in the end");
    for (partition, ((end, totals), committed)) in facts.sources.iter().zip(committed).enumerate() {
        let Some((offset, metadata)) = committed else {
            panic!("nothing is committed for partition {partition}");
        };
        assert!(offset >= *end, "partition {partition} is committed up to {offset}, not {end}");
        assert_eq!(metadata.totals, *totals, "counts of partition {partition}");
    }
}

/// Every ledger is equal to the input.
fn ledgers(world: &World, facts: &Facts) {
    for node in world.nodes.borrow().iter() {
        for task in node.merge.iter().flat_map(|worker| worker.tasks()) {
            let partition = task.merge().partition();
            for (source, entry) in task.merge().ledger().iter() {
                let (end, totals) = facts.sources[usize::try_from(source.partition).expect("not negative")];
                let standing = entry.standing;
                let equal = (standing.offset >= end, standing.accepted) == (true, totals.accepted);
                assert!(
                    equal,
                    "ledger of {partition}: {source} stands at {standing:?}, the input at {end}, {totals:?}"
                );
            }
        }
    }
}

/// Each final record is there once, holds what it must, and nothing follows it.
fn finals(world: &World, expected: &BTreeMap<String, String>, halted: &BTreeSet<i32>) {
    let grave = world.grave.borrow();
    let mut found: BTreeMap<String, (i32, String)> = BTreeMap::new();
    for record in world.broker.read_all(&world.settings.layout.names.aggregates).expect("it exists") {
        let [key, value] = [record.key, record.value].map(|bytes| String::from_utf8(bytes.unwrap_or_default()));
        let (key, value) = (key.expect("UTF-8"), value.expect("UTF-8"));
        if let Some((partition, before)) = found.get(&key) {
            let repeated = grave.torn_finals.contains(partition);
            assert!(repeated && (*before == value || !is_final(&value)), "{key}: after the final record came {value}");
        }
        if is_final(&value) {
            assert_eq!(expected.get(&key), Some(&value), "the final record of {key}");
            found.insert(key, (record.partition, value));
        }
    }
    let plan = &world.settings.plan;
    for key in expected.keys().filter(|key| !found.contains_key(*key)) {
        let mut parts = key.split('|');
        let (set, by) = (parts.next().unwrap_or_default(), parts.nth(2).unwrap_or_default());
        let partition = plan.partition(set, by);
        let excused = halted.contains(&partition) || grave.torn_finals.contains(&partition);
        assert!(excused, "there is no final record of {key}");
    }
}

fn is_final(value: &str) -> bool {
    value.contains("\"state\":\"final\"")
}
