//! The judge: what must have come of a run, by the plainest code that can say it.
//!
//! It reads what a consumer could read: the raw input, the letters, the published records, the committed metadata. Which
//! items were late is taken from the letters as a fact, and each of those decisions must be justified by something that
//! could really have moved time so far. Everything else is computed anew, partition by partition in the order of the log.

use std::collections::{BTreeMap, BTreeSet};

use touchstone::engine::codec::FoldMetadata;
use touchstone::engine::plan::Plan;
use touchstone::engine::section::{Phase, Totals};
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

/// What the raw input and the letters say.
pub struct Facts {
    /// Every accepted event, and whether it was taken in before the definitions changed.
    pub accepted: Vec<(Touchpoint<'static>, bool)>,
    /// Per epoch and partition: the offset after the last record that was taken, and the totals.
    pub sources: BTreeMap<(u32, i32), (i64, Totals)>,
}

impl Facts {
    /// Enters what a source made of its records. Of one whose offsets were lost merge still holds what it had come to.
    fn enter(&mut self, epoch: u32, partition: i32, found: (i64, Totals)) {
        let of = self.sources.entry((epoch, partition)).or_insert(found);
        if found.0 > 0 {
            *of = found;
        }
    }
}

/// Judges a run that has drained.
///
/// # Panics
/// When anything is not as it must be.
pub fn judge(world: &World) {
    let grave = world.grave.borrow().clone();
    let halted: Vec<(StageName, i32, String)> =
        world.nodes.borrow().iter().filter(|node| node.is_up).flat_map(|node| node.halted()).collect();
    for (stage, partition, reason) in &halted {
        let may = match stage {
            StageName::Fold => grave.folds_may_halt,
            StageName::Merge => grave.may_halt.contains(partition),
        };
        assert!(may, "{stage:?} {partition} is halted: {reason}");
    }
    let facts = facts(world);
    counts(world, &facts);
    ledgers(world, &facts);
    let excused: BTreeSet<i32> = match world.stands_still() {
        false => halted.iter().filter_map(merge_of).chain(grave.torn_finals.iter().copied()).collect(),
        true => (0..world.settings().plan.deltas_partitions).collect(),
    };
    finals(world, &expected(world, &facts), &excused);
}

impl World {
    /// Whether time stands still for good: a source is halted, or every merge task, or one for which a source waits that
    /// has not joined. Then nobody needs to come to the end.
    pub fn stands_still(&self) -> bool {
        let nodes = self.nodes.borrow();
        let halted: Vec<_> = nodes.iter().filter(|node| node.is_up).flat_map(|node| node.halted()).collect();
        let merges: BTreeSet<i32> = halted.iter().filter_map(merge_of).collect();
        let partitions = usize::try_from(self.settings().plan.deltas_partitions).expect("a count");
        let lives = |of: &Option<(i64, FoldMetadata)>| of.as_ref().is_some_and(|(_, of)| of.phase == Phase::Live);
        halted.iter().any(|(stage, ..)| *stage == StageName::Fold)
            || merges.len() == partitions
            || !merges.is_empty() && !self.committed().unwrap_or_default().iter().all(lives)
    }
}

fn merge_of((stage, partition, _): &(StageName, i32, String)) -> Option<i32> {
    (*stage == StageName::Merge).then_some(*partition)
}

/// Every letter of one epoch by (partition, offset): those behind the first `skip` of late and of dead letters, up to
/// `until`.
fn letters(world: &World, skip: [usize; 2], until: Option<[usize; 2]>) -> BTreeMap<(i32, i64), Letter> {
    let names = world.settings().layout.names.clone();
    let mut letters = BTreeMap::new();
    for (which, topic) in [&names.late, &names.dead_letter].into_iter().enumerate() {
        let until = until.map_or(usize::MAX, |until| until[which]);
        let records = world.broker.read_all(topic).expect("it exists").into_iter();
        for record in records.take(until).skip(skip[which]) {
            let header = |name: &str| -> String {
                let found = record.headers.iter().find(|(header, _)| header == name);
                let value = found.and_then(|(_, value)| value.clone()).unwrap_or_else(|| panic!("no header {name}"));
                String::from_utf8(value).expect("UTF-8")
            };
            let number = |name: &str| header(name).parse::<i64>().expect("a number");
            let place = (i32::try_from(number("touchstone_partition")).expect("small"), number("touchstone_offset"));
            let letter = Letter { reason: header("touchstone_reason"), detail: header("touchstone_detail") };
            assert_eq!(number("touchstone_index"), 0, "a record is one item here");
            assert_eq!(which == 0, letter.reason == "late", "{place:?} lies in {topic}: {}", letter.reason);
            let twice = letters.insert(place, letter).is_some();
            assert!(!twice || world.grave.borrow().letters_twice, "{place:?} has two letters");
        }
    }
    letters
}

/// Every item went through exactly one door, and through the right one, in every epoch of the input.
fn facts(world: &World) -> Facts {
    let history = world.history.borrow();
    let mut facts = Facts { accepted: Vec::new(), sources: BTreeMap::new() };
    let mut letters_before = [0; 2];
    for era in &history.eras {
        let mut letters = letters(world, letters_before, Some(era.letters));
        letters_before = era.letters;
        for (partition, (cut, totals)) in (0..).zip(&era.cuts) {
            let taken = era.raw.iter().filter(|record| record.partition == partition && record.offset < *cut);
            let found = source(world, partition, taken, &mut letters, &mut facts.accepted);
            assert_eq!(found.1, *totals, "counts of partition {partition} at the end of epoch {}", era.epoch);
            facts.enter(era.epoch, partition, found);
        }
        assert!(letters.is_empty(), "letters of what was not taken: {:?}", letters.keys().collect::<Vec<_>>());
    }
    let raw = world.broker.read_all(INPUT).expect("it exists");
    let mut letters = letters(world, letters_before, None);
    let (epoch, stands_still) = (world.config.get().epoch, world.stands_still());
    for (partition, committed) in (0..).zip(world.committed().expect("it answers")) {
        let until = if stands_still { committed.map_or(0, |(offset, _)| offset) } else { i64::MAX };
        let taken = raw.iter().filter(|record| record.partition == partition && record.offset < until);
        let found = source(world, partition, taken, &mut letters, &mut facts.accepted);
        facts.enter(epoch, partition, found);
    }
    assert!(letters.is_empty(), "letters of what was not taken: {:?}", letters.keys().collect::<Vec<_>>());
    facts
}

/// What one source made of its records, in the order of its log.
fn source<'r>(
    world: &World,
    partition: i32,
    records: impl Iterator<Item = &'r OwnedRecord>,
    letters: &mut BTreeMap<(i32, i64), Letter>,
    accepted: &mut Vec<(Touchpoint<'static>, bool)>,
) -> (i64, Totals) {
    let history = world.history.borrow();
    let index = usize::try_from(partition).expect("not negative");
    let cut = history.redefined.as_ref().map_or(0, |redefined| redefined.cuts.get(index).copied().unwrap_or(0));
    let mut known: BTreeMap<String, Touchpoint<'static>> = BTreeMap::new();
    let mut newest: Option<i64> = None;
    let (mut totals, mut end) = (Totals::default(), 0);
    for record in records {
        let place = (partition, record.offset);
        let letter = letters.remove(&place);
        end = record.offset + 1;
        totals.records += 1;
        match (world.made(record.value.as_deref().unwrap_or_default()), letter) {
            (Made::Skipped, letter) => {
                assert!(letter.is_none(), "{place:?} was to be skipped");
                totals.skipped += 1;
            }
            (Made::Rejected(reason), letter) => {
                let letter = letter.unwrap_or_else(|| panic!("{place:?} has no dead letter"));
                assert_eq!(letter.reason, reason.name(), "{place:?}: {}", letter.detail);
                totals.rejected += 1;
            }
            (Made::Valid(event), letter) if event.time > record.timestamp + MAX_FUTURE => {
                let reason = letter.map(|letter| letter.reason);
                assert_eq!(reason.as_deref(), Some("future_time"), "{place:?}");
                totals.rejected += 1;
            }
            (Made::Valid(event), Some(letter)) => {
                assert_eq!(letter.reason, "late", "{place:?}: {}", letter.detail);
                justified(world, record, &event, newest, &letter.detail);
                world.happened(Class::Late);
                totals.late += 1;
            }
            (Made::Valid(event), None) => {
                let oldest = newest.map(|newest| newest - OUT_OF_ORDERNESS - LATENESS);
                assert!(Some(event.time) >= oldest, "{place:?} at {} is late, but was let in", event.time);
                if let Some(first) = known.get(&*event.id) {
                    totals.duplicate += 1;
                    totals.conflicting += i64::from(*first != *event);
                } else {
                    totals.accepted += 1;
                    newest = newest.max(Some(event.time));
                    known.insert(event.id.to_string(), (*event).clone());
                    accepted.push((*event, record.offset < cut));
                }
            }
        }
    }
    (end, totals)
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
    let epoch = world.config.get().epoch;
    for (partition, committed) in (0..).zip(world.committed().expect("it answers")) {
        let (end, totals) = facts.sources[&(epoch, partition)];
        let Some((offset, metadata)) = committed else {
            assert!(world.stands_still(), "nothing is committed for {partition}");
            continue;
        };
        assert!(offset >= end, "partition {partition} is committed up to {offset}, not {end}");
        assert_eq!(metadata.totals, totals, "counts of partition {partition}");
    }
}

/// Every ledger is equal to the input.
fn ledgers(world: &World, facts: &Facts) {
    for node in world.nodes.borrow().iter() {
        for task in node.merge.iter().flat_map(|worker| worker.tasks()) {
            let partition = task.merge().partition();
            for (source, entry) in task.merge().ledger().iter() {
                let (end, totals) = facts.sources[&(source.epoch, source.partition)];
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

/// What every final record must hold. Where definitions changed, a window that was final before holds what was counted
/// under the old ones; one that became final later holds what was counted under those of its own time alone.
fn expected(world: &World, facts: &Facts) -> BTreeMap<String, String> {
    let settings = world.settings();
    let all: Vec<Touchpoint<'static>> = facts.accepted.iter().map(|(event, _)| event.clone()).collect();
    let mut expected = oracle::finals(&settings.plan, &all);
    let history = world.history.borrow();
    let Some(redefined) = &history.redefined else { return expected };
    let after = facts.accepted.iter().filter(|(_, before)| !before).map(|(event, _)| event.clone());
    let mut after = oracle::finals(&settings.plan, &after.collect::<Vec<_>>());
    let before = oracle::finals(&redefined.before.plan, &all);
    expected.retain(|key, _| definitions(&settings.plan, key) == definitions(&redefined.before.plan, key));
    after.retain(|key, _| definitions(&settings.plan, key) != definitions(&redefined.before.plan, key));
    expected.extend(after);
    expected.extend(before.into_iter().filter(|(key, _)| redefined.published.contains(key)));
    expected
}

/// The definitions of the series that a record's key names.
fn definitions(plan: &Plan, key: &str) -> Option<u32> {
    let (set, by) = series(key);
    let of = plan.sets.iter().find(|of| of.set.name() == set)?;
    let at = of.group_bys.iter().position(|group_by| group_by.name == by)?;
    Some(of.definitions[at])
}

/// Metric set and group-by of a record's key.
fn series(key: &str) -> (&str, &str) {
    let mut parts = key.split('|');
    (parts.next().unwrap_or_default(), parts.nth(2).unwrap_or_default())
}

/// Each final record is there once, holds what it must, and nothing follows it.
fn finals(world: &World, expected: &BTreeMap<String, String>, excused: &BTreeSet<i32>) {
    let grave = world.grave.borrow();
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    for (key, partition, value) in world.aggregates() {
        if let Some(before) = found.get(&key) {
            let repeated = grave.torn_finals.contains(&partition);
            assert!(repeated && (*before == value || !is_final(&value)), "{key}: after the final record came {value}");
        }
        if is_final(&value) {
            assert_eq!(expected.get(&key), Some(&value), "the final record of {key}");
            found.insert(key, value);
        }
    }
    let plan = &world.settings().plan;
    for key in expected.keys().filter(|key| !found.contains_key(*key)) {
        let (set, by) = series(key);
        assert!(excused.contains(&plan.partition(set, by)), "there is no final record of {key}");
    }
}

fn is_final(value: &str) -> bool {
    value.contains("\"state\":\"final\"")
}
