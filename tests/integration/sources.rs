//! The life of sources: announced before they count, held together, begun anew, retired; what is lost halts one task by
//! name and goes on by an operator's word; and what changed definitions leave uncovered.

use std::collections::{BTreeMap, BTreeSet};

use libtest_mimic::{Failed, Trial};
use touchstone::engine::codec::{FoldMetadata, Format, encode_delta};
use touchstone::engine::section::{Phase, Section, SourceId, Standing as At};
use touchstone::engine::time::{MINUTE, SECOND};
use touchstone::memory::NewRecord;
use touchstone::pipeline::sources::{self, MergeStanding, Standing};
use touchstone::touchpoint::Touchpoint;

use crate::events::{interaction, json};
use crate::oracle;
use crate::pipeline::Pipeline;

pub fn tests() -> Vec<Trial> {
    let trial = |name: &str, test: fn() -> Result<(), Failed>| Trial::test(format!("sources::{name}"), test);
    vec![
        trial("nothing_is_taken_before_merge_has_heard", announced_first),
        trial("a_partition_added_later_loses_nothing", added_later),
        trial("nobody_joins_while_a_merge_task_is_halted", nobody_joins),
        trial("a_source_waits_for_those_behind", waits),
        trial("what_a_source_said_last_and_was_lost_is_found_while_it_waits", last_word_lost),
        trial("a_new_epoch_begins_anew", new_epoch),
        trial("an_epoch_that_has_passed_halts", epoch_behind),
        trial("expired_offsets_halt_one_task", expired),
        trial("foreign_offsets_are_adopted", adopted),
        trial("a_gap_in_the_input_is_accepted", input_gap),
        trial("a_gap_in_the_deltas_is_accepted", deltas_gap),
        trial("lost_offsets_of_merge_are_found_in_its_changelog", merge_offsets),
        trial("a_lost_changelog_is_rebuilt_from_the_deltas", rebuilt),
        trial("a_removed_input_holds_time_until_it_is_retired", removed),
        trial("a_record_is_stepped_over", stepped_over),
        trial("what_cannot_be_written_halts_the_one_to_blame", to_blame),
        trial("lateness_that_is_raised_opens_no_final_window", raised_lateness),
        trial("changed_definitions_say_from_when_they_hold", definitions),
        trial("the_format_may_change_up_and_down", formats),
    ]
}

const START: i64 = 1_700_000_040_000; // a whole minute

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
    publish_interval = '20s'
    checkpoint_interval = '5s'
    [slices]
    group_by = ['all', 'queue']
    [[windows]]
    name = '1m'
    size = '1m'
    [[input]]
    name = 'calls'
    topic = 'calls'
    lateness = '2m'
    out_of_orderness = '10s'
    idle_timeout = '1m'
    max_future = '1m'
";

fn visit(id: &str, time: i64) -> Touchpoint<'static> {
    Touchpoint { id: id.to_string().into(), time, ..interaction() }
}

fn pipeline(partitions: i32) -> Pipeline {
    Pipeline::new(CONFIG, partitions, START)
}

/// So many ticks of ten seconds of the clock, each with a visit in each of these partitions.
fn traffic(pipeline: &mut Pipeline, partitions: &[i32], ticks: i64) -> Vec<Touchpoint<'static>> {
    let mut sent = Vec::new();
    for _ in 0..ticks {
        for partition in partitions {
            let now = touchstone::clock::Clock::now(&pipeline.clock);
            let event = visit(&format!("{partition}-{now}"), now);
            pipeline.produce(*partition, &json(&event));
            sent.push(event);
        }
        (0..5).for_each(|_| pipeline.step());
        pipeline.clock.advance(10 * SECOND - 500);
    }
    sent
}

/// Lets silence close everything; every window is then final.
fn close(pipeline: &mut Pipeline) {
    close_after(pipeline, 10 * MINUTE);
}

fn close_after(pipeline: &mut Pipeline, silence_ms: i64) {
    let now = touchstone::clock::Clock::now(&pipeline.clock);
    (0..20).for_each(|_| pipeline.step());
    pipeline.clock.advance(silence_ms);
    let closed = |pipeline: &Pipeline| {
        let merges = pipeline.board.look().merges;
        let times = merges.values().flat_map(|status| &status.times);
        merges.len() == 2 && times.clone().count() > 0 && times.clone().all(|(_, time)| time.final_until > Some(now))
    };
    pipeline.step_until("every window is final", closed);
}

fn phase(pipeline: &Pipeline, partition: usize) -> Option<Phase> {
    pipeline.committed().get(partition).cloned().flatten().map(|(_, memory)| memory.phase)
}

/// Ids of the events in `cx.late`.
fn late(pipeline: &Pipeline) -> BTreeSet<String> {
    let text = |bytes: Option<Vec<u8>>| String::from_utf8(bytes.unwrap_or_default()).expect("UTF-8");
    let id = |value: String| value.split("\"id\":\"").nth(1).and_then(|rest| rest.split('"').next()).map(String::from);
    let records = pipeline.topic(&pipeline.settings.layout.names.late).into_iter();
    records.filter_map(|record| id(text(record.value))).collect()
}

/// The finals are those of the events that were sent, without the late ones.
fn finals_are(pipeline: &Pipeline, sent: &[Touchpoint<'static>]) {
    let late = late(pipeline);
    let accepted: Vec<_> = sent.iter().filter(|event| !late.contains(&*event.id)).cloned().collect();
    let (found, expected) = (pipeline.finals(), oracle::finals(&pipeline.settings.plan, &accepted));
    for key in found.keys().chain(expected.keys()) {
        assert_eq!(found.get(key), expected.get(key), "{key}");
    }
}

fn announced_first() -> Result<(), Failed> {
    let mut pipeline = pipeline(1);
    pipeline.runs = (true, false);
    pipeline.produce(0, &json(&visit("a", START)));
    (0..50).for_each(|_| pipeline.step());
    assert_eq!(phase(&pipeline, 0), None, "no merge task lives: it does not even announce itself");
    pipeline.runs = (false, true);
    (0..10).for_each(|_| pipeline.step());
    pipeline.runs = (true, false);
    (0..30).for_each(|_| pipeline.step());
    assert_eq!(phase(&pipeline, 0), Some(Phase::Joining), "announced, and nobody has heard it");
    let taken = |pipeline: &Pipeline| pipeline.committed()[0].as_ref().map_or(0, |(_, memory)| memory.totals.records);
    assert_eq!(taken(&pipeline), 0);
    pipeline.runs = (true, true);
    pipeline.step_until("it is heard and takes the event", |pipeline| taken(pipeline) == 1);
    assert_eq!(phase(&pipeline, 0), Some(Phase::Live));
    Ok(())
}

/// Also what is older than windows that are final: it is late, and read back as such.
fn added_later() -> Result<(), Failed> {
    let mut pipeline = pipeline(1);
    let mut sent = traffic(&mut pipeline, &[0], 60);
    let now = touchstone::clock::Clock::now(&pipeline.clock);
    assert!(!pipeline.finals().is_empty());
    pipeline.broker.add_partitions("calls", 2)?;
    for (id, age) in [("old", 9 * MINUTE), ("recent", MINUTE), ("new", 0)] {
        let event = visit(id, now - age);
        pipeline.produce(1, &json(&event));
        sent.push(event);
    }
    sent.extend(traffic(&mut pipeline, &[0, 1], 30));
    close(&mut pipeline);
    assert_eq!(late(&pipeline), ["old".to_string()].into());
    finals_are(&pipeline, &sent);
    Ok(())
}

/// Writes a section into a deltas partition that cannot follow on.
fn inject_gap(pipeline: &Pipeline, partition: i32) -> Result<(), Failed> {
    let at = |offset| At { offset, watermark: Some(START), accepted: offset };
    let section = Section {
        source: SourceId { input: "calls".into(), epoch: 1, partition: 0 },
        phase: Phase::Live,
        partitions: 1,
        plan: pipeline.settings.plan.id(),
        base: MINUTE,
        from: at(1_000_000),
        to: at(1_000_001),
        horizon: None,
        newest: Some(START),
        oldest: Some(START),
        covered_from: 0,
        events: Vec::new(),
        groups: Vec::new(),
    };
    let value = encode_delta(&[section], Format::LATEST);
    let record = NewRecord { partition: Some(partition), value: Some(&value), ..NewRecord::default() };
    pipeline.broker.produce(&pipeline.settings.layout.names.deltas, &record)?;
    Ok(())
}

fn halted(pipeline: &Pipeline) -> BTreeMap<(&'static str, i32), String> {
    let code = |detail: String| detail.split(": ").next().unwrap_or_default().to_string();
    pipeline.halted().into_iter().map(|(task, detail)| (task, code(detail))).collect()
}

fn nobody_joins() -> Result<(), Failed> {
    let mut pipeline = pipeline(1);
    traffic(&mut pipeline, &[0], 20);
    inject_gap(&pipeline, 1)?;
    pipeline.step_until("merge 1 is halted", |pipeline| !pipeline.halted().is_empty());
    assert_eq!(halted(&pipeline), [(("merge", 1), "ledger_gap".to_string())].into());
    traffic(&mut pipeline, &[0], 1);
    assert_eq!(
        pipeline.committed_by_merge()[1].as_ref().and_then(|(_, memory)| memory.halted.clone()),
        Some("ledger_gap".into())
    );
    pipeline.broker.add_partitions("calls", 2)?;
    let before = pipeline.finals().len();
    traffic(&mut pipeline, &[0, 1], 30);
    assert!(matches!(phase(&pipeline, 1), None | Some(Phase::Left)), "{:?}", phase(&pipeline, 1));
    assert!(pipeline.finals().len() > before + 3, "time goes on where nothing is halted");
    // An operator accepts what does not follow on; then it joins.
    pipeline.crash();
    mend_merge(&pipeline, 1, true)?;
    pipeline.clock.advance(5_000);
    pipeline.step_until("it has joined", |pipeline| phase(pipeline, 1) == Some(Phase::Live));
    assert_eq!(halted(&pipeline), BTreeMap::new());
    close(&mut pipeline);
    Ok(())
}

/// What the operator's command does, on this broker. `readable`: whether the changelog can be read.
fn mend_merge(pipeline: &Pipeline, partition: i32, readable: bool) -> Result<i64, Failed> {
    let names = &pipeline.settings.layout.names;
    let index = usize::try_from(partition)?;
    let committed = pipeline.committed_of(&pipeline.settings.group("merge"), &names.deltas).swap_remove(index);
    let ledger = pipeline.topic(&names.changelog).into_iter().rfind(|record| {
        record.partition == partition && record.key.as_deref() == Some(touchstone::engine::codec::LEDGER_KEY)
    });
    let checkpoint = ledger.and_then(|record| record.value);
    let checkpoint = checkpoint.map(|value| touchstone::engine::codec::decode_checkpoint(&value)).transpose()?;
    let checkpoint = if readable { Ok(checkpoint.map(|checkpoint| checkpoint.offset)) } else { Err("damaged".into()) };
    let bounds = pipeline.broker.bounds(&names.deltas, partition)?;
    let standing = MergeStanding { partition, committed, bounds, checkpoint };
    let (offset, text, _) = sources::mend_merge(&standing, Format::LATEST)?;
    let group = pipeline.settings.group("merge");
    pipeline.broker.set_committed(&group, &names.deltas, partition, Some((offset, text)))?;
    Ok(offset)
}

/// A backlog of hours in one partition, little in the other: the first goes no further than the skew allows.
fn waits() -> Result<(), Failed> {
    let config = CONFIG.replace("[timing]", "[timing]\n    max_skew = '10m'");
    let mut pipeline = Pipeline::new(&config, 2, START);
    for minute in 0..180 {
        pipeline.produce(0, &json(&visit(&minute.to_string(), START - 180 * MINUTE + minute * MINUTE)));
    }
    pipeline.produce(1, &json(&visit("one", START - 150 * MINUTE)));
    pipeline.fold_orders.borrow_mut().unproved = Some(crate::pipeline::Unproved::NoAnswer);
    let mut waited = 0;
    for _ in 0..200 {
        pipeline.step();
        let watermark = |of: &Option<(i64, FoldMetadata)>| of.as_ref().and_then(|(_, memory)| memory.watermark);
        let reached = pipeline.committed_by_merge().into_iter().flatten();
        let reached = reached.flat_map(|(_, memory)| memory.reach.into_values()).filter_map(|reach| reach.watermark);
        let (ahead, reached) = (pipeline.committed().first().and_then(watermark), reached.max());
        if let (Some(ahead), Some(reached)) = (ahead, reached) {
            // The event that showed it, and no other, may lie beyond.
            assert!(ahead <= reached + 11 * MINUTE, "{ahead} {reached}");
            waited += 1;
        }
    }
    assert!(waited > 100);
    let sources = pipeline.board.look().sources;
    assert!(sources[&(0, 0)].held && !sources[&(0, 1)].held, "the one ahead is held");
    let taken = |pipeline: &Pipeline| pipeline.committed()[0].as_ref().map_or(0, |(offset, _)| *offset);
    assert!((35..45).contains(&taken(&pipeline)), "{}", taken(&pipeline));
    pipeline.produce(1, &json(&visit("two", START)));
    pipeline.fold_orders.borrow_mut().unproved = None;
    pipeline.step_until("both are taken in", |pipeline| taken(pipeline) == 180);
    Ok(())
}

/// The offset of a record that moves time by hours is committed, its deltas are lost. The source waits for merge, which
/// has not heard of those hours: it says again where it stands, and merge finds the gap.
fn last_word_lost() -> Result<(), Failed> {
    let mut pipeline = Pipeline::new(&CONFIG.replace("[timing]", "[timing]\n    max_skew = '10m'"), 1, START);
    traffic(&mut pipeline, &[0], 12);
    pipeline.crash();
    let (offset, mut memory) = pipeline.committed().swap_remove(0).ok_or("committed")?;
    memory.watermark = memory.watermark.map(|watermark| watermark + 120 * MINUTE);
    (memory.totals.records, memory.totals.accepted) = (memory.totals.records + 1, memory.totals.accepted + 1);
    (0..3).for_each(|index| pipeline.produce(0, &json(&visit(&format!("ahead-{index}"), START + 120 * MINUTE))));
    let group = pipeline.settings.group("fold");
    pipeline.broker.set_committed(&group, "calls", 0, Some((offset + 1, memory.encode(Format::LATEST))))?;
    // Silence moves no time.
    pipeline.fold_orders.borrow_mut().unproved = Some(crate::pipeline::Unproved::NoAnswer);
    pipeline.clock.advance(5_000);
    (0..100).for_each(|_| pipeline.step());
    assert!(pipeline.board.look().sources[&(0, 0)].held && pipeline.halted().is_empty());
    pipeline.step_until("both merge tasks are halted", |pipeline| pipeline.halted().len() == 2);
    let gap = |partition| (("merge", partition), "ledger_gap".to_string());
    assert_eq!(halted(&pipeline), [gap(0), gap(1)].into());
    Ok(())
}

/// The topic is read again under a new epoch: what is late by now is late, the rest counts under the new source.
fn new_epoch() -> Result<(), Failed> {
    let mut pipeline = pipeline(1);
    traffic(&mut pipeline, &[0], 30);
    let before = pipeline.finals();
    pipeline.reconfigure(&CONFIG.replace("name = 'calls'", "name = 'calls'\n    epoch = 2"));
    pipeline.step_until("it has joined anew", |pipeline| {
        pipeline.committed()[0].as_ref().is_some_and(|(offset, memory)| memory.epoch == 2 && *offset == 30)
    });
    let (_, memory) = pipeline.committed().swap_remove(0).ok_or("committed")?;
    assert_eq!(memory.totals.records, 30, "from its beginning");
    assert!(memory.totals.late > 10 && memory.totals.accepted > 0, "{memory:?}");
    assert_eq!(halted(&pipeline), BTreeMap::new());
    let sent = traffic(&mut pipeline, &[0], 10);
    close(&mut pipeline);
    let after = pipeline.finals();
    before.iter().for_each(|(key, value)| assert_eq!(after.get(key), Some(value), "final is final"));
    assert!(after.len() > before.len() && !sent.is_empty());
    Ok(())
}

fn epoch_behind() -> Result<(), Failed> {
    let mut pipeline = Pipeline::new(&CONFIG.replace("name = 'calls'", "name = 'calls'\n    epoch = 2"), 1, START);
    traffic(&mut pipeline, &[0], 10);
    pipeline.reconfigure(CONFIG);
    pipeline.step_until("it is halted", |pipeline| !pipeline.halted().is_empty());
    assert_eq!(halted(&pipeline), [(("fold", 0), "epoch_behind".to_string())].into());
    Ok(())
}

/// Without the offsets a source would begin again under an epoch that merge knows: it halts, and only it.
fn expired() -> Result<(), Failed> {
    let mut pipeline = pipeline(2);
    traffic(&mut pipeline, &[0, 1], 20);
    pipeline.crash();
    pipeline.broker.set_committed(&pipeline.settings.group("fold"), "calls", 1, None)?;
    pipeline.clock.advance(5_000);
    traffic(&mut pipeline, &[0], 5);
    assert_eq!(halted(&pipeline), [(("fold", 1), "offsets_lost".to_string())].into());
    // The remedy that the halt names.
    pipeline.reconfigure(&CONFIG.replace("name = 'calls'", "name = 'calls'\n    epoch = 2"));
    traffic(&mut pipeline, &[0, 1], 5);
    assert_eq!(halted(&pipeline), BTreeMap::new());
    close(&mut pipeline);
    Ok(())
}

fn standing(pipeline: &Pipeline, partition: i32) -> Result<Standing, Failed> {
    let names = &pipeline.settings.layout.names;
    let merged = pipeline.committed_of(&pipeline.settings.group("merge"), &names.deltas);
    let committed =
        pipeline.committed_of(&pipeline.settings.group("fold"), "calls").swap_remove(usize::try_from(partition)?);
    Ok(Standing {
        partition,
        committed,
        bounds: pipeline.broker.bounds("calls", partition)?,
        first_timestamp: None,
        known_epoch: sources::known_epoch(&merged, "calls", partition),
    })
}

fn adopted() -> Result<(), Failed> {
    let mut pipeline = pipeline(1);
    traffic(&mut pipeline, &[0], 20);
    pipeline.crash();
    let group = pipeline.settings.group("fold");
    pipeline.broker.set_committed(&group, "calls", 0, Some((15, String::new())))?;
    pipeline.clock.advance(5_000);
    pipeline.step_until("it is halted", |pipeline| !pipeline.halted().is_empty());
    assert_eq!(halted(&pipeline), [(("fold", 0), "foreign_offsets".to_string())].into());
    pipeline.reconfigure(&CONFIG.replace("name = 'calls'", "name = 'calls'\n    epoch = 2"));
    let adopted = sources::adopt(&pipeline.settings.plan.inputs[0], &standing(&pipeline, 0)?, Format::LATEST, START)?;
    pipeline.broker.set_committed(&group, "calls", 0, Some(adopted))?;
    pipeline.step_until("everything is taken in", |pipeline| {
        pipeline.committed_of(&group, "calls")[0].as_ref().is_some_and(|(offset, _)| *offset == 20)
    });
    let (_, memory) = pipeline.committed().swap_remove(0).ok_or("committed")?;
    assert_eq!((memory.epoch, memory.totals.records), (2, 5), "from where the operator said");
    assert_eq!(halted(&pipeline), BTreeMap::new());
    Ok(())
}

fn input_gap() -> Result<(), Failed> {
    let mut pipeline = pipeline(2);
    traffic(&mut pipeline, &[0, 1], 10);
    pipeline.crash();
    for minute in 0..10 {
        pipeline.produce(1, &json(&visit(&format!("lost-{minute}"), START + 100 * SECOND)));
    }
    pipeline.broker.delete_records("calls", 1, 15)?;
    pipeline.clock.advance(5_000);
    traffic(&mut pipeline, &[0], 3);
    assert_eq!(halted(&pipeline), [(("fold", 1), "input_lost".to_string())].into());
    pipeline.crash();
    let input = &pipeline.settings.plan.inputs[0];
    let now = touchstone::clock::Clock::now(&pipeline.clock);
    let accepted = sources::accept_gap(input, &standing(&pipeline, 1)?, Format::LATEST, now)?;
    pipeline.broker.set_committed(&pipeline.settings.group("fold"), "calls", 1, Some(accepted))?;
    pipeline.clock.advance(5_000);
    pipeline.step_until("it goes on behind the gap", |pipeline| {
        pipeline.committed()[1].as_ref().is_some_and(|(offset, memory)| *offset == 20 && memory.gap.is_none())
    });
    let (_, memory) = pipeline.committed().swap_remove(1).ok_or("committed")?;
    assert_eq!((memory.totals.records, memory.covered_from), (15, now), "five were lost, and it says so");
    assert_eq!(halted(&pipeline), BTreeMap::new());
    traffic(&mut pipeline, &[0, 1], 5);
    close(&mut pipeline);
    Ok(())
}

/// The value of the header `covered_from` of final records, by key.
fn covered(pipeline: &Pipeline) -> BTreeMap<String, String> {
    let text = |bytes: Option<Vec<u8>>| String::from_utf8(bytes.unwrap_or_default()).expect("UTF-8");
    let mut covered = BTreeMap::new();
    for record in pipeline.topic(&pipeline.settings.layout.names.aggregates) {
        let from = record.headers.into_iter().find(|(name, _)| name == "covered_from");
        if let (true, Some((_, from))) = (text(record.value).contains("\"state\":\"final\""), from) {
            covered.insert(text(record.key), text(from));
        }
    }
    covered
}

fn deltas_gap() -> Result<(), Failed> {
    let mut pipeline = pipeline(1);
    traffic(&mut pipeline, &[0], 12);
    let (deltas, before) = (pipeline.settings.layout.names.deltas.clone(), pipeline.finals());
    // Merge stands still for a while, and what it has not taken is deleted.
    pipeline.runs = (true, false);
    traffic(&mut pipeline, &[0], 12);
    pipeline.crash();
    let (_, end) = pipeline.broker.bounds(&deltas, 0)?;
    pipeline.broker.delete_records(&deltas, 0, end - 2)?;
    pipeline.runs = (true, true);
    pipeline.clock.advance(5_000);
    pipeline.step_until("it is halted", |pipeline| !pipeline.halted().is_empty());
    assert_eq!(halted(&pipeline), [(("merge", 0), "deltas_lost".to_string())].into());
    pipeline.crash();
    mend_merge(&pipeline, 0, true)?;
    pipeline.clock.advance(5_000);
    traffic(&mut pipeline, &[0], 20);
    assert_eq!(halted(&pipeline), BTreeMap::new());
    close(&mut pipeline);
    let after = pipeline.finals();
    before.iter().for_each(|(key, value)| assert_eq!(after.get(key), Some(value), "final is final"));
    let covered = covered(&pipeline);
    let parts = |key: &str| key.split('|').map(String::from).collect::<Vec<_>>();
    let late: Vec<&String> = covered.iter().filter(|(key, from)| parts(key)[2] < **from).map(|(key, _)| key).collect();
    assert!(!late.is_empty(), "windows that the gap tore say so: {covered:?}");
    Ok(())
}

fn merge_offsets() -> Result<(), Failed> {
    let mut pipeline = pipeline(1);
    let mut sent = traffic(&mut pipeline, &[0], 30);
    pipeline.crash();
    let (group, deltas) = (pipeline.settings.group("merge"), pipeline.settings.layout.names.deltas.clone());
    pipeline.broker.set_committed(&group, &deltas, 1, None)?;
    pipeline.clock.advance(5_000);
    pipeline.step_until("it is halted", |pipeline| !pipeline.halted().is_empty());
    assert_eq!(halted(&pipeline), [(("merge", 1), "offsets_lost".to_string())].into());
    pipeline.crash();
    mend_merge(&pipeline, 1, true)?;
    pipeline.clock.advance(5_000);
    sent.extend(traffic(&mut pipeline, &[0], 10));
    assert_eq!(halted(&pipeline), BTreeMap::new());
    close(&mut pipeline);
    // What was published after the checkpoint is published again, with the same values.
    let text = |bytes: Option<Vec<u8>>| String::from_utf8(bytes.unwrap_or_default()).expect("UTF-8");
    let mut finals: BTreeMap<String, String> = BTreeMap::new();
    for record in pipeline.topic(&pipeline.settings.layout.names.aggregates) {
        let (key, value) = (text(record.key), text(record.value));
        if value.contains("\"state\":\"final\"") {
            let before = finals.insert(key.clone(), value.clone());
            assert!(before.is_none_or(|before| before == value), "{key}");
        }
    }
    assert_eq!(finals, oracle::finals(&pipeline.settings.plan, &sent));
    Ok(())
}

fn rebuilt() -> Result<(), Failed> {
    for readable in [true, false] {
        let mut pipeline = pipeline(1);
        let mut sent = traffic(&mut pipeline, &[0], 30);
        pipeline.crash();
        let changelog = pipeline.settings.layout.names.changelog.clone();
        let partition = pipeline.settings.plan.partition("contacts", "all");
        if readable {
            let (_, end) = pipeline.broker.bounds(&changelog, partition)?;
            pipeline.broker.delete_records(&changelog, partition, end)?;
        } else {
            let (key, value) = (Some(&b"pane|contacts|all|60000ms|0"[..]), Some(&b"damage"[..]));
            let record = NewRecord { partition: Some(partition), key, value, ..NewRecord::default() };
            pipeline.broker.produce(&changelog, &record)?;
        }
        pipeline.clock.advance(5_000);
        pipeline.step_until("it is halted", |pipeline| !pipeline.halted().is_empty());
        let code = if readable { "changelog_lost" } else { "changelog_damaged" };
        assert_eq!(halted(&pipeline), [(("merge", partition), code.to_string())].into());
        pipeline.crash();
        mend_merge(&pipeline, partition, readable)?;
        pipeline.clock.advance(5_000);
        sent.extend(traffic(&mut pipeline, &[0], 10));
        assert_eq!(halted(&pipeline), BTreeMap::new());
        close(&mut pipeline);
        // The deltas hold everything since their beginning: nothing is missing.
        finals_are(&pipeline, &sent);
        // And the next restart is an ordinary one: what could not be read has been deleted.
        pipeline.crash();
        pipeline.clock.advance(5_000);
        traffic(&mut pipeline, &[0], 3);
        assert_eq!(halted(&pipeline), BTreeMap::new());
    }
    Ok(())
}

const TWO_INPUTS: &str = "
    [[input]]
    name = 'chats'
    topic = 'chats'
    lateness = '2m'
    out_of_orderness = '10s'
    idle_timeout = '1m'
    max_future = '1m'
";

fn removed() -> Result<(), Failed> {
    let both = format!("{CONFIG}{TWO_INPUTS}");
    let mut pipeline = Pipeline::new(&both, 1, START);
    pipeline.broker.create_topic("chats", 1);
    let mut sent = traffic(&mut pipeline, &[0], 10);
    pipeline.reconfigure(CONFIG);
    sent.extend(traffic(&mut pipeline, &[0], 60));
    let until =
        |pipeline: &Pipeline| pipeline.board.look().merges[&0].times.first().and_then(|(_, time)| time.final_until);
    let held = until(&pipeline);
    assert!(held < Some(START + 5 * MINUTE), "the input that is gone holds time: {held:?}");
    // The command: a first stage that takes nothing and says the last word.
    pipeline.retire(&both, "chats")?;
    sent.extend(traffic(&mut pipeline, &[0], 10));
    assert!(until(&pipeline) > Some(START + 8 * MINUTE), "time goes on");
    close(&mut pipeline);
    finals_are(&pipeline, &sent);
    // Under the same epoch it does not come back.
    pipeline.reconfigure(&both);
    pipeline.step_until("it is halted", |pipeline| !pipeline.halted().is_empty());
    assert_eq!(halted(&pipeline).into_values().collect::<Vec<_>>(), ["retired"]);
    Ok(())
}

fn stepped_over() -> Result<(), Failed> {
    let config = CONFIG.replace("topic = 'calls'", "topic = 'calls'\n    skip_offsets = ['0:2']");
    let mut pipeline = Pipeline::new(&config, 1, START);
    let mut sent = traffic(&mut pipeline, &[0], 10);
    close(&mut pipeline);
    sent.remove(2);
    finals_are(&pipeline, &sent);
    let (_, memory) = pipeline.committed().swap_remove(0).ok_or("committed")?;
    assert_eq!((memory.totals.skipped, memory.totals.accepted, memory.totals.records), (1, 9, 10));
    Ok(())
}

/// A topic that takes no letter: the partition with a dead letter halts, its neighbour in the same worker goes on.
fn to_blame() -> Result<(), Failed> {
    let config = CONFIG.replace("[topics]", "[topics]\n    dead_letter = 'nowhere'");
    let mut pipeline = Pipeline::without(&config, 2, START, "nowhere");
    let mut sent = traffic(&mut pipeline, &[0, 1], 5);
    // What came before it in the same commit is not counted until it can be written.
    let now = touchstone::clock::Clock::now(&pipeline.clock);
    let before = visit("just before", now);
    pipeline.produce(1, &json(&before));
    pipeline.produce(1, "no JSON");
    sent.push(before);
    sent.extend(traffic(&mut pipeline, &[0], 10));
    assert_eq!(halted(&pipeline), [(("fold", 1), "cannot_write".to_string())].into());
    let (offset, memory) = pipeline.committed().swap_remove(0).ok_or("committed")?;
    assert_eq!((offset, memory.totals.accepted), (15, 15), "its neighbour goes on");
    // The record is named by the operator, and stepped over.
    pipeline.reconfigure(&config.replace("topic = 'calls'", "topic = 'calls'\n    skip_offsets = ['1:6']"));
    sent.extend(traffic(&mut pipeline, &[0, 1], 5));
    assert_eq!(halted(&pipeline), BTreeMap::new());
    close(&mut pipeline);
    finals_are(&pipeline, &sent);
    Ok(())
}

/// The lateness is raised over a restart: what would reach into windows that are final stays late.
fn raised_lateness() -> Result<(), Failed> {
    let mut pipeline = pipeline(1);
    let mut sent = traffic(&mut pipeline, &[0], 40);
    let now = touchstone::clock::Clock::now(&pipeline.clock);
    pipeline.reconfigure(&CONFIG.replace("lateness = '2m'", "lateness = '20m'"));
    for (id, age) in [("final", 4 * MINUTE), ("open", MINUTE)] {
        let event = visit(id, now - age);
        pipeline.produce(0, &json(&event));
        sent.push(event);
    }
    sent.extend(traffic(&mut pipeline, &[0], 10));
    close_after(&mut pipeline, 30 * MINUTE);
    assert_eq!(late(&pipeline), ["final".to_string()].into());
    finals_are(&pipeline, &sent);
    Ok(())
}

/// A threshold, a group-by and a window are changed over existing state: what the new ones miss is said, what did not
/// change goes on whole. It is known from the deltas that follow the last checkpoint, or, where none does, from that.
fn definitions() -> Result<(), Failed> {
    change_definitions(false)?;
    change_definitions(true)
}

fn change_definitions(behind_a_checkpoint: bool) -> Result<(), Failed> {
    let mut pipeline = pipeline(1);
    let mut sent = traffic(&mut pipeline, &[0], 13);
    if behind_a_checkpoint {
        pipeline.clock.advance(6 * SECOND);
        (0..20).for_each(|_| pipeline.step());
        let merged = pipeline.committed_by_merge();
        assert!(merged.iter().flatten().all(|(offset, memory)| memory.checkpoint == *offset), "{merged:?}");
    }
    let changed = CONFIG.replace("group_by = ['all', 'queue']", "group_by = ['all', 'channel']").replace(
        "[[input]]",
        "[[windows]]\n    name = '5m'\n    size = '5m'\n    [metrics]\n    short_abandon = '9s'\n    [[input]]",
    );
    let newest = sent.last().map(|event| event.time).ok_or("sent")?;
    pipeline.reconfigure(&changed);
    sent.extend(traffic(&mut pipeline, &[0], 40));
    assert_eq!(halted(&pipeline), BTreeMap::new());
    close(&mut pipeline);
    let covered = covered(&pipeline);
    let of = |part: &str| {
        let found: BTreeSet<&String> =
            covered.iter().filter(|(key, _)| key.contains(part)).map(|(_, from)| from).collect();
        found.into_iter().cloned().collect::<Vec<_>>()
    };
    let from = touchstone::engine::time::rfc3339(newest + 1);
    let since_ever = touchstone::engine::time::rfc3339(START); // of the first record
    assert!(of("touchpoints|1m|").contains(&since_ever), "{covered:?}");
    let last = |part: &str| covered.iter().rfind(|(key, _)| key.contains(part)).map(|(_, from)| from.clone());
    // In the panes that were kept already: only the group-by is new there.
    let added = covered.iter().filter(|(key, _)| key.starts_with("touchpoints|1m|") && key.contains("|channel|"));
    let added: BTreeSet<&String> = added.map(|(_, from)| from).collect();
    assert_eq!(added, [&from].into(), "a group-by that was added");
    assert_eq!(
        last("touchpoints|5m|").filter(|of| *of >= from),
        Some(from.clone()),
        "a window over panes that were not kept"
    );
    // What did not change is whole: every event of `all`, minute by minute.
    let finals = pipeline.finals();
    let expected = oracle::finals(&pipeline.settings.plan, &sent);
    let minutes = expected.iter().filter(|(key, _)| key.starts_with("touchpoints|1m|") && key.ends_with("|all"));
    for (key, value) in minutes {
        assert_eq!(finals.get(key), Some(value), "{key}");
    }
    // After one more checkpoint and restart nothing of the old is left to trip over.
    pipeline.crash();
    pipeline.clock.advance(5_000);
    traffic(&mut pipeline, &[0], 3);
    assert_eq!(halted(&pipeline), BTreeMap::new());
    Ok(())
}

fn formats() -> Result<(), Failed> {
    let of = |format: u32| CONFIG.replace("[service]", &format!("[service]\n    format = {format}"));
    let mut pipeline = Pipeline::new(&of(1), 2, START);
    let names = pipeline.settings.layout.names.clone();
    let mut sent = Vec::new();
    for format in [1, 2, 1, 2] {
        let ends = [0, 1].map(|partition| pipeline.broker.bounds(&names.deltas, partition).map_or(0, |(_, end)| end));
        pipeline.reconfigure(&of(format));
        sent.extend(traffic(&mut pipeline, &[0, 1], 12));
        for (stage, topic) in [("fold", "calls"), ("merge", &names.deltas)] {
            let written = pipeline.committed_of(&pipeline.settings.group(stage), topic);
            let magic = format!("touchstone-{stage} {format} ");
            assert!(written.iter().flatten().all(|(_, text)| text.starts_with(&magic)), "{written:?}");
        }
        // Each record of ours begins with the field of its format.
        let is_of = |value: &[u8]| value.starts_with(&[8, u8::try_from(format).expect("1 or 2")]);
        let mut deltas = pipeline.topic(&names.deltas);
        deltas.retain(|record| record.offset >= ends[usize::from(record.partition == 1)]);
        assert!(deltas.len() > 10, "{}", deltas.len());
        assert!(deltas.iter().filter_map(|record| record.value.as_deref()).all(is_of), "in format {format}");
        // Of the changelog what the binary before would read: the last record of each key.
        let changelog = pipeline.topic(&names.changelog).into_iter();
        let kept: BTreeMap<_, _> = changelog.map(|record| ((record.partition, record.key), record.value)).collect();
        let of_another = kept.iter().filter(|(_, value)| value.as_ref().is_some_and(|value| !is_of(value)));
        assert_eq!(of_another.count(), 0, "in format {format}: {kept:?}");
        assert!(kept.len() > 4, "panes of some minutes, and the ledgers: {}", kept.len());
    }
    close(&mut pipeline);
    finals_are(&pipeline, &sent);
    let unknown = FoldMetadata::default().encode(Format::LATEST).replace("touchstone-fold 2", "touchstone-fold 3");
    pipeline.crash();
    pipeline.broker.set_committed(&pipeline.settings.group("fold"), "calls", 0, Some((3, unknown)))?;
    pipeline.clock.advance(5_000);
    pipeline.step_until("it is halted", |pipeline| !pipeline.halted().is_empty());
    assert_eq!(halted(&pipeline), [(("fold", 0), "unknown_format".to_string())].into());
    Ok(())
}
