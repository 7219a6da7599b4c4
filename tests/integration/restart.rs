//! A restart changes nothing: whatever commit fails or is the last of its process, the final records, the letters and
//! the counts are those of a run that nothing disturbed; and what cannot be restored halts by name.

use std::collections::{BTreeMap, BTreeSet};

use libtest_mimic::{Failed, Trial};
use proptest::collection::btree_map;
use proptest::prelude::*;
use touchstone::engine::codec::{FoldMetadata, Format, decode_delta, encode_delta};
use touchstone::engine::section::{Section, Totals};
use touchstone::engine::time::{MINUTE, SECOND};
use touchstone::memory::NewRecord;
use touchstone::pipeline::board::MergeStatus;
use touchstone::touchpoint::{RejectReason, Touchpoint};

use crate::checking::holds;
use crate::events::{json, touchpoint};
use crate::oracle;
use crate::pipeline::{Fault, Pipeline};

pub fn tests() -> Vec<Trial> {
    let trial = |name: String, test: Box<dyn FnOnce() -> Result<(), Failed> + Send>| Trial::test(name, test);
    let named = |name: &str, test: fn() -> Result<(), Failed>| trial(format!("restart::{name}"), Box::new(test));
    let at_any_commit = Fault::ALL.into_iter().flat_map(|fault| {
        [Stage::Fold, Stage::Merge].map(|stage| {
            trial(
                format!("restart::{}_at_any_commit_of_{}", fault.name(), stage.name()),
                Box::new(move || at_any_commit(stage, fault)),
            )
        })
    });
    at_any_commit
        .chain([
            named("undisturbed_is_what_the_oracle_says", undisturbed),
            named("many_faults_at_once", many_faults),
            named("offsets_lost", offsets_lost),
            named("changelog_lost", changelog_lost),
            named("deltas_lost", deltas_lost),
            named("foreign_metadata", foreign_metadata),
            named("a_gap_in_the_deltas", a_gap),
            named("a_section_taken_twice_is_dropped", taken_twice),
            named("half_a_record_halts", half_a_record),
            named("a_cell_of_another_shape", another_shape),
        ])
        .collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Fold,
    Merge,
}

impl Stage {
    fn name(self) -> &'static str {
        match self {
            Stage::Fold => "fold",
            Stage::Merge => "merge",
        }
    }
}

const START: i64 = 1_700_000_000_000;
const LATENESS: i64 = 2 * MINUTE;
const OUT_OF_ORDERNESS: i64 = 10 * SECOND;
/// Between two portions of the input.
const PORTION_MS: i64 = 20 * SECOND;

/// Checkpoints come at every third commit or so: a restore runs a base and a replay.
const CONFIG: &str = "
    [service]
    instance = 'test'
    [topics]
    deltas_partitions = 2
    letter_partitions = 1
    replication_factor = 1
    [timing]
    commit_interval = '100ms'
    idle_commit_interval = '300ms'
    publish_interval = '40s'
    checkpoint_interval = '65s'
    [slices]
    group_by = ['all', 'queue']
    [[windows]]
    name = '1m'
    size = '1m'
    [[windows]]
    name = '5m'
    size = '5m'
    slide = '1m'
    [[input]]
    name = 'calls'
    topic = 'calls'
    lateness = '2m'
    out_of_orderness = '10s'
    idle_timeout = '5m'
    max_future = '1m'
";

/// What one record holds.
enum Made {
    Valid(Box<Touchpoint<'static>>),
    Other(String),
}

impl Made {
    fn text(&self) -> String {
        match self {
            Made::Valid(event) => json(event),
            Made::Other(text) => text.clone(),
        }
    }
}

/// The input in portions, each of (partition, record): events up to two minutes old, late ones, copies, copies with
/// other content, tests, and what cannot be read.
fn input() -> Vec<Vec<(i32, Made)>> {
    let mut state = 7u64;
    let mut roll = |sides: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from((state >> 33) % sides).expect("few sides")
    };
    let mut sent: Vec<(i32, Touchpoint<'static>)> = Vec::new();
    let mut portion = |number: i64| {
        let now = START + number * PORTION_MS;
        let mut records = Vec::new();
        for index in 0..6 + roll(5) {
            let partition = i32::try_from(roll(2)).expect("two partitions");
            let bytes = std::array::from_fn(|_| u8::try_from(roll(256)).expect("a byte"));
            let event = touchpoint(&format!("{number}-{index}"), now - roll(120_000), &bytes);
            let copy = sent.get(sent.len().saturating_sub(1 + usize::try_from(roll(40)).expect("few"))).cloned();
            records.push(match (roll(12), copy) {
                (0, Some((partition, copy))) => (partition, Made::Valid(Box::new(copy))),
                (1, Some((partition, copy))) => {
                    let changed = Touchpoint { customer_id: Some("else".into()), ..copy };
                    (partition, Made::Valid(Box::new(changed)))
                }
                (2, _) => (partition, Made::Valid(Box::new(Touchpoint { time: now - 5 * MINUTE, ..event }))),
                (3, _) if number % 2 == 0 => (partition, Made::Other("{\"broken".into())),
                (3, _) => (partition, Made::Other(json(&Touchpoint { time: now + 2 * MINUTE, ..event }))),
                (4, _) => {
                    let text = json(&event).replacen("\"data\":{", "\"data\":{\"test\":true,", 1);
                    (partition, Made::Other(text))
                }
                _ => {
                    sent.push((partition, event.clone()));
                    (partition, Made::Valid(Box::new(event)))
                }
            });
        }
        records
    };
    (0..24).map(&mut portion).collect()
}

/// What came of a run.
#[derive(Debug, PartialEq)]
struct Outcome {
    finals: BTreeMap<String, String>,
    /// Topic, headers that say why and where, value; sorted. One that is there twice shows.
    letters: Vec<(String, BTreeMap<String, String>, String)>,
    counts: Vec<(i64, Totals, BTreeMap<RejectReason, i64>)>,
}

/// Feeds everything, then lets time close every window.
fn run(pipeline: &mut Pipeline) -> Outcome {
    for portion in input() {
        portion.iter().for_each(|(partition, made)| pipeline.produce(*partition, &made.text()));
        pipeline.step();
        doors_add_up(pipeline);
        pipeline.clock.advance(PORTION_MS - 100);
    }
    let everything = |pipeline: &Pipeline| {
        let ends = (0..2).map(|partition| pipeline.broker.bounds("calls", partition).expect("it exists").1);
        let committed = pipeline.committed();
        ends.zip(committed).all(|(end, committed)| committed.is_some_and(|(offset, _)| offset == end))
    };
    pipeline.step_until("everything is taken in", everything);
    pipeline.clock.advance(20 * MINUTE);
    let newest = START + 24 * PORTION_MS;
    let closed = |pipeline: &Pipeline| {
        let merges = pipeline.board.look().merges;
        let closed = |status: &MergeStatus| {
            // A task that was handed out just now has posted no times yet.
            !status.times.is_empty()
                && status.times.iter().all(|(_, time)| time.final_until >= Some(newest + 10 * MINUTE))
        };
        merges.len() == 2 && merges.values().all(closed)
    };
    pipeline.step_until("every window is final", closed);
    doors_add_up(pipeline);
    assert_eq!(pipeline.halted(), BTreeMap::new());
    outcome(pipeline)
}

/// Every item that was consumed went through one of the five doors.
fn doors_add_up(pipeline: &Pipeline) {
    for (offset, metadata) in pipeline.committed().into_iter().flatten() {
        // Each record is one item here.
        assert_eq!((metadata.totals.consumed(), metadata.totals.records), (offset, offset));
    }
}

fn outcome(pipeline: &Pipeline) -> Outcome {
    let names = &pipeline.settings.layout.names;
    let text = |bytes: Option<Vec<u8>>| String::from_utf8(bytes.unwrap_or_default()).expect("UTF-8");
    let mut letters = Vec::new();
    for topic in [&names.late, &names.dead_letter] {
        for record in pipeline.topic(topic) {
            let headers = record.headers.into_iter().map(|(name, value)| (name, text(value)));
            letters.push((topic.clone(), headers.collect(), text(record.value)));
        }
    }
    letters.sort();
    let committed = pipeline.committed().into_iter().flatten();
    let counts = committed.map(|(offset, metadata): (i64, FoldMetadata)| (offset, metadata.totals, metadata.rejected));
    Outcome { finals: pipeline.finals(), letters, counts: counts.collect() }
}

fn pipeline() -> Pipeline {
    Pipeline::new(CONFIG, 2, START)
}

fn undisturbed() -> Result<(), Failed> {
    let mut pipeline = pipeline();
    let outcome = run(&mut pipeline);
    // Judged by the plainest code: per partition in the order of the log.
    let (mut accepted, mut late, mut duplicate, mut conflicting) = (Vec::new(), 0, 0, 0);
    for partition in 0..2 {
        let mut seen: BTreeMap<String, Touchpoint<'_>> = BTreeMap::new();
        let mut newest = i64::MIN / 2;
        for (_, made) in input().into_iter().flatten().filter(|(of, _)| *of == partition) {
            let Made::Valid(event) = made else { continue };
            if event.time < newest - OUT_OF_ORDERNESS - LATENESS {
                late += 1;
            } else if let Some(first) = seen.get(&*event.id) {
                duplicate += 1;
                conflicting += i64::from(*first != *event);
            } else {
                newest = newest.max(event.time);
                seen.insert(event.id.to_string(), (*event).clone());
                accepted.push(*event);
            }
        }
    }
    let sum = |of: fn(&Totals) -> i64| outcome.counts.iter().map(|(_, totals, _)| of(totals)).sum::<i64>();
    let found = [sum(|t| t.accepted), sum(|t| t.late), sum(|t| t.duplicate), sum(|t| t.conflicting)];
    assert_eq!(found, [i64::try_from(accepted.len())?, late, duplicate, conflicting]);
    let reasons: BTreeSet<RejectReason> =
        outcome.counts.iter().flat_map(|(.., reasons)| reasons.keys().copied()).collect();
    assert_eq!(reasons, [RejectReason::NotJson, RejectReason::FutureTime].into());
    assert!(late > 3 && duplicate > 3 && conflicting > 1 && sum(|t| t.skipped) > 3 && sum(|t| t.rejected) > 3);
    assert_eq!(outcome.letters.len(), usize::try_from(late + sum(|t| t.rejected))?);
    assert_eq!(outcome.finals, oracle::finals(&pipeline.settings.plan, &accepted));
    Ok(())
}

/// How many commits a stage makes while nothing disturbs it.
fn commits(stage: Stage) -> (Outcome, usize) {
    let mut pipeline = pipeline();
    let outcome = run(&mut pipeline);
    let orders = if stage == Stage::Fold { &pipeline.fold_orders } else { &pipeline.merge_orders };
    let commits = orders.borrow().commits;
    (outcome, commits)
}

fn at_any_commit(stage: Stage, fault: Fault) -> Result<(), Failed> {
    let (expected, commits) = commits(stage);
    assert!(commits > 20, "{commits} commits");
    for commit in 0..commits {
        let mut pipeline = pipeline();
        let orders = if stage == Stage::Fold { &pipeline.fold_orders } else { &pipeline.merge_orders };
        orders.borrow_mut().faults.insert(commit, fault);
        let outcome = run(&mut pipeline);
        same(&outcome, &expected, &format!("{fault:?} at commit {commit}"));
    }
    Ok(())
}

fn same(outcome: &Outcome, expected: &Outcome, what: &str) {
    for key in outcome.finals.keys().chain(expected.finals.keys()) {
        assert_eq!(outcome.finals.get(key), expected.finals.get(key), "{what}: {key}");
    }
    assert_eq!(outcome.letters, expected.letters, "{what}: letters");
    assert_eq!(outcome.counts, expected.counts, "{what}: counts");
}

fn many_faults() -> Result<(), Failed> {
    let (expected, _) = commits(Stage::Fold);
    let fault = || prop::sample::select(Fault::ALL.to_vec());
    let faults = || btree_map(0..60usize, fault(), 0..12);
    holds(40, (faults(), faults()), |(fold, merge)| {
        let mut pipeline = pipeline();
        pipeline.fold_orders.borrow_mut().faults = fold;
        pipeline.merge_orders.borrow_mut().faults = merge;
        same(&run(&mut pipeline), &expected, "many faults");
    })
}

/// A pipeline in the middle of its work, with state in every topic.
fn in_the_middle() -> Pipeline {
    let mut pipeline = pipeline();
    for portion in input().into_iter().take(15) {
        portion.iter().for_each(|(partition, made)| pipeline.produce(*partition, &made.text()));
        pipeline.step();
        pipeline.clock.advance(PORTION_MS - 100);
    }
    pipeline
}

/// Only `task` is halted, with a reason that says this; the others go on until their windows are final.
fn only_halted(mut pipeline: Pipeline, task: (&'static str, i32), reason: &str) -> Result<(), Failed> {
    pipeline.step_until("a task is halted", |pipeline| !pipeline.halted().is_empty());
    pipeline.clock.advance(20 * MINUTE);
    let (stage, partition) = task;
    let before = pipeline.finals().len();
    if stage == "merge" {
        let other = 1 - partition;
        let closed = |pipeline: &Pipeline| {
            let merges = pipeline.board.look().merges;
            let times = merges.get(&other).map(|status| status.times.clone()).unwrap_or_default();
            !times.is_empty() && times.iter().all(|(_, time)| time.final_until >= Some(START + 15 * MINUTE))
        };
        pipeline.step_until("its neighbour goes on", closed);
        assert!(pipeline.finals().len() > before, "its neighbour publishes");
    }
    let halted = pipeline.halted();
    assert_eq!(halted.keys().copied().collect::<Vec<_>>(), [task], "{halted:?}");
    assert!(halted[&task].contains(reason), "{halted:?}");
    Ok(())
}

fn offsets_lost() -> Result<(), Failed> {
    let mut pipeline = in_the_middle();
    pipeline.crash();
    let (group, deltas) = merge_group(&pipeline);
    pipeline.broker.set_committed(&group, &deltas, 1, None)?;
    only_halted(pipeline, ("merge", 1), "offsets_lost: ")
}

fn merge_group(pipeline: &Pipeline) -> (String, String) {
    (pipeline.settings.merge_link(0).group, pipeline.settings.layout.names.deltas.clone())
}

fn changelog_lost() -> Result<(), Failed> {
    let mut pipeline = in_the_middle();
    pipeline.crash();
    let changelog = pipeline.settings.layout.names.changelog.clone();
    let (_, end) = pipeline.broker.bounds(&changelog, 0)?;
    pipeline.broker.delete_records(&changelog, 0, end)?;
    only_halted(pipeline, ("merge", 0), "changelog_lost: ")
}

fn deltas_lost() -> Result<(), Failed> {
    let mut pipeline = in_the_middle();
    // Something was taken in after the last checkpoint.
    let behind = |pipeline: &Pipeline| {
        let committed = pipeline.committed_by_merge().swap_remove(0);
        committed.is_some_and(|(offset, metadata)| 0 < metadata.checkpoint && metadata.checkpoint + 1 < offset)
    };
    for portion in input().into_iter().skip(15) {
        if behind(&pipeline) {
            break;
        }
        portion.iter().for_each(|(partition, made)| pipeline.produce(*partition, &made.text()));
        pipeline.clock.advance(PORTION_MS);
        (0..5).for_each(|_| pipeline.step());
    }
    assert!(behind(&pipeline), "a commit without a checkpoint");
    let (offset, _) = pipeline.committed_by_merge().swap_remove(0).ok_or("it has committed")?;
    pipeline.crash();
    let (_, deltas) = merge_group(&pipeline);
    pipeline.broker.delete_records(&deltas, 0, offset - 1)?;
    only_halted(pipeline, ("merge", 0), "deltas_lost: deltas from the checkpoint on")
}

fn foreign_metadata() -> Result<(), Failed> {
    for text in ["", "somebody else's", "touchstone-merge 9 checkpoint=0", "touchstone-merge 1"] {
        let mut pipeline = in_the_middle();
        pipeline.crash();
        let (group, deltas) = merge_group(&pipeline);
        pipeline.broker.set_committed(&group, &deltas, 1, Some((3, text.into())))?;
        only_halted(pipeline, ("merge", 1), "offset 3 of the merge group in partition 1")?;
    }
    let mut pipeline = in_the_middle();
    let (offset, metadata) = pipeline.committed().swap_remove(0).ok_or("it has committed")?;
    pipeline.crash();
    let cut = metadata.encode(Format::LATEST).replace("rejected.not_json", "rejected.unheard_of");
    for text in ["", "somebody else's", &cut] {
        let mut pipeline = in_the_middle();
        pipeline.crash();
        pipeline.broker.set_committed(
            &pipeline.settings.fold_link(0).group,
            "calls",
            0,
            Some((offset, text.into())),
        )?;
        only_halted(pipeline, ("fold", 0), "foreign_offsets: ")?;
    }
    Ok(())
}

/// The last record of a deltas partition that holds anything of the source in partition 0 of the input.
fn last_delta(pipeline: &Pipeline, partition: i32) -> Vec<Section<'static>> {
    let (_, deltas) = merge_group(pipeline);
    let records = pipeline.topic(&deltas).into_iter().filter(|record| record.partition == partition);
    let mut sections = records.map(|record| decode_delta(&record.value.unwrap_or_default()).expect("it is ours"));
    let full = |sections: &Vec<Section>| sections.iter().any(|section| !section.groups.is_empty());
    sections.rfind(full).expect("events were accepted")
}

fn inject(pipeline: &Pipeline, partition: i32, sections: &[Section]) -> Result<(), Failed> {
    let value = encode_delta(sections, Format::LATEST);
    let record = NewRecord { partition: Some(partition), value: Some(&value), ..NewRecord::default() };
    pipeline.broker.produce(&merge_group(pipeline).1, &record)?;
    Ok(())
}

fn a_gap() -> Result<(), Failed> {
    let mut pipeline = in_the_middle();
    pipeline.step();
    let mut sections = last_delta(&pipeline, 1);
    sections.truncate(1);
    sections[0].from.offset += 1_000;
    sections[0].to.offset += 1_000;
    inject(&pipeline, 1, &sections)?;
    only_halted(pipeline, ("merge", 1), "expected a section from")
}

fn taken_twice() -> Result<(), Failed> {
    let (expected, _) = commits(Stage::Fold);
    let mut pipeline = in_the_middle();
    pipeline.step();
    inject(&pipeline, 0, &last_delta(&pipeline, 0))?;
    pipeline.step();
    let dropped = pipeline.board.look().merges.get(&0).map(|status| status.dropped);
    assert!(dropped > Some(0), "{dropped:?}");
    for portion in input().into_iter().skip(15) {
        portion.iter().for_each(|(partition, made)| pipeline.produce(*partition, &made.text()));
        pipeline.step();
        pipeline.clock.advance(PORTION_MS - 100);
    }
    pipeline.step();
    pipeline.clock.advance(20 * MINUTE);
    pipeline.step_until("every window is final", |pipeline| pipeline.finals().len() >= expected.finals.len());
    assert_eq!(pipeline.finals(), expected.finals);
    Ok(())
}

/// Of two sections that share their cells one was taken in before, the other was not: what to count cannot be told.
fn half_a_record() -> Result<(), Failed> {
    let mut pipeline = in_the_middle();
    pipeline.step();
    let mut sections = last_delta(&pipeline, 0);
    sections.truncate(1);
    let (_, deltas) = merge_group(&pipeline);
    let records = pipeline.topic(&deltas).into_iter().filter(|record| record.partition == 0);
    let all = records.flat_map(|record| decode_delta(&record.value.unwrap_or_default()).expect("it is ours"));
    let mut other = all.filter(|section| section.source != sections[0].source).last().ok_or("another source")?;
    (other.from, other.events, other.groups) = (other.to, Vec::new(), Vec::new());
    sections.push(other);
    inject(&pipeline, 0, &sections)?;
    only_halted(pipeline, ("merge", 0), "1 of 2 sections were taken in before")
}

/// Not a reason to end the process: the section is refused, and its task halts.
fn another_shape() -> Result<(), Failed> {
    let mut pipeline = in_the_middle();
    pipeline.step();
    let mut sections = last_delta(&pipeline, 0);
    sections.truncate(1);
    let section = &mut sections[0];
    (section.from, section.to) = (section.to, section.to);
    let group = section.groups.first_mut().ok_or("a group")?;
    group.cells[0].2.to_mut().counts = [1, 2].into();
    inject(&pipeline, 0, &sections)?;
    only_halted(pipeline, ("merge", 0), "a cell of another shape")
}
