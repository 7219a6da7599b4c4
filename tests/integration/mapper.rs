//! Mappings in a process of their own: whatever a filter does, one record is rejected and nothing else happens.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use touchstone::engine::section::{Phase, Totals};
use touchstone::mapping::{Mapped, Mapper, Mapping, MappingLimits, Provenance};
use touchstone::touchpoint::{Limits, RejectReason};

use crate::pipeline::{Fault, Pipeline};
use crate::process::{PROGRAM, wait_for};

pub fn tests() -> Vec<Trial> {
    let trial = |name: &str, test: fn() -> Result<(), Failed>| Trial::test(format!("mapper::{name}"), test);
    vec![
        trial("gives_what_the_mapping_gives", same),
        trial("a_filter_that_does_not_end_rejects_its_record_in_bounded_time", endless),
        trial("one_record_in_a_thousand_kills", one_in_a_thousand),
        trial("a_filter_that_spins_leaves_the_rest_for_later", enough),
        trial("killed_from_outside_nothing_is_rejected", killed_from_outside),
        trial("ends_with_its_owner", orphaned),
        trial("a_program_that_is_none_is_named", no_program),
        trial("aborts_and_crashes_change_nothing", through_the_pipeline),
    ]
}

const LIMITS: MappingLimits =
    MappingLimits { input: Limits { record_bytes_max: 100_000 }, outputs_max: 10, output_bytes_max: 100_000 };

const LONG: Duration = Duration::from_secs(600);

fn apart(filter: &str) -> Mapper {
    Mapper::apart(Path::new(PROGRAM), Arc::new(Mapping::compile(filter).unwrap()), LIMITS)
}

fn map(mapper: &mut Mapper, values: &[String], enough: Duration) -> Vec<Mapped> {
    let provenance = |row| Provenance::File { file: "calls.tsv", row };
    let records: Vec<_> = (1..).zip(values).map(|(row, value)| (value.as_bytes(), provenance(row))).collect();
    mapper.map(&records, enough).unwrap()
}

/// Rejections keep their reasons and their words; more than a batch comes back in order.
fn same() -> Result<(), Failed> {
    let filter = "if . == 7 then error(\"no seven\") elif . == 8 then empty elif . == 9 then range(11) else {n: ., r: $record.row} end";
    let mut values: Vec<String> = (0..3_000).map(|n| n.to_string()).collect();
    values.extend(["{".into(), "x".repeat(100_001), "\"".to_owned() + &"y".repeat(90_000) + "\""]);
    values.extend((0..30).map(|n| format!("\"{}\"", n.to_string().repeat(40_000))));
    let mut here = Mapper::here(Arc::new(Mapping::compile(filter).unwrap()), LIMITS);
    let (here, apart) = (map(&mut here, &values, LONG), map(&mut apart(filter), &values, LONG));
    assert!(here == apart && here.len() == values.len());
    let reasons: BTreeMap<&str, usize> =
        here.iter().filter_map(|mapped| mapped.as_ref().err()).fold(BTreeMap::new(), |mut reasons, rejection| {
            *reasons.entry(rejection.reason.name()).or_insert(0) += 1;
            reasons
        });
    assert_eq!(reasons, BTreeMap::from([("mapping_failed", 2), ("not_json", 1), ("too_large", 1)]));
    Ok(())
}

fn endless() -> Result<(), Failed> {
    for (filter, why) in [
        ("def f: f; if . == 1 then f else . end", "more than 1 s of processor time"),
        ("def f: 1 + f; if . == 1 then f else . end", "too much memory or recurses without end"),
        ("if . == 1 then [range(1e12)] else . end", "too much memory or recurses without end"),
        ("def f: . + .; if . == 1 then \"x\" * 1000 | until(false; f) else . end", "too much memory"),
    ] {
        let begun = Instant::now();
        let values: Vec<String> = (0..3).map(|n| n.to_string()).collect();
        let mut mapper = apart(filter);
        let mapped = map(&mut mapper, &values, LONG);
        let rejection = mapped[1].as_ref().expect_err(filter);
        assert_eq!(rejection.reason, RejectReason::MappingFailed, "{filter}");
        assert!(rejection.detail.contains(why), "{filter}: {}", rejection.detail);
        assert_eq!((&mapped[0], &mapped[2]), (&Ok(vec!["0".into()]), &Ok(vec!["2".into()])), "{filter}");
        assert_eq!(mapper.take_deaths().len(), 4, "in the batch, behind others, and twice alone: {filter}");
        // Four times two seconds of processor time, on a machine that is not ours alone.
        assert!(begun.elapsed() < Duration::from_secs(60), "{filter}: {:?}", begun.elapsed());
    }
    Ok(())
}

fn one_in_a_thousand() -> Result<(), Failed> {
    let values: Vec<String> = (0..1_000).map(|n| n.to_string()).collect();
    for (number, kills) in [(0, "[range(1e12)]"), (617, "def f: 1 + f; f"), (999, "[limit(1e12; repeat(1))]")] {
        let mut mapper = apart(&format!("if . == {number} then {kills} else {{n: .}} end"));
        let mapped = map(&mut mapper, &values, LONG);
        let rejected: Vec<usize> = (0..mapped.len()).filter(|index| mapped[*index].is_err()).collect();
        assert_eq!((rejected, mapped.len()), (vec![number], 1_000), "{kills}: {:?}", mapper.take_deaths());
        for (index, mapped) in mapped.iter().enumerate().filter(|(index, _)| *index != number) {
            assert_eq!(mapped, &Ok(vec![format!("{{\"n\":{index}}}")]));
        }
    }
    Ok(())
}

/// Every record spins: a call comes back in time with what it has, and goes on from there.
fn enough() -> Result<(), Failed> {
    let mut mapper = apart("def f: f; f");
    let values: Vec<String> = (0..200).map(|n| n.to_string()).collect();
    let begun = Instant::now();
    let first = map(&mut mapper, &values, Duration::from_millis(100));
    assert_eq!(first.len(), 1, "one is always settled");
    let next = map(&mut mapper, &values[1..], Duration::from_secs(4));
    assert!((1..10).contains(&next.len()), "{}", next.len());
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    // However little time each call has: four mappers, and no more.
    let mut mapper = apart("if . == 150 then def f: f; f else . end");
    let mut mapped = Vec::new();
    while mapped.len() < values.len() {
        mapped.extend(map(&mut mapper, &values[mapped.len()..], Duration::from_millis(1)));
    }
    assert_eq!(mapped.iter().filter(|mapped| mapped.is_err()).count(), 1);
    assert_eq!(mapper.take_deaths().len(), 4);
    // Slow, but within its rights: the child itself stops when it is enough.
    let mut mapper = apart("reduce range(100000) as $n (0; . + $n)");
    let mapped = map(&mut mapper, &values, Duration::from_millis(100));
    assert!((1..200).contains(&mapped.len()) && mapped.iter().all(Result::is_ok), "{}", mapped.len());
    assert_eq!(mapper.take_deaths(), Vec::<String>::new());
    Ok(())
}

/// A program, and what it counts: `replay` of rows that each take a while.
fn replay(directory: &Path, filter: &str, rows: u64) -> Running {
    std::fs::write(directory.join("filter.jq"), filter).unwrap();
    let mut file = std::fs::File::create(directory.join("rows.ndjson")).unwrap();
    (0..rows).for_each(|row| writeln!(file, "{row}").unwrap());
    let mut command = Command::new(PROGRAM);
    command.args(["replay", "rows.ndjson", "--mapping", "filter.jq", "--summary", "summary.json"]);
    Running(command.current_dir(directory).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

/// A process that ends with its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The mapper of a process: its only child.
fn mapper_of(parent: u32) -> Option<u32> {
    let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

fn signal(name: &str, process: u32) {
    // It may have ended by itself: no test minds.
    let _ = Command::new("kill").args([name, &process.to_string()]).stderr(Stdio::null()).status();
}

/// An event that takes about a millisecond.
const SLOW: &str = r#"reduce range(2000) as $n (.; .) | {specversion: "1.0", id: "\(.)", source: "s", type: "cx.interaction.v1",
    time: "2026-01-05T09:00:00Z", data: {kind: "visit"}}"#;

fn killed_from_outside() -> Result<(), Failed> {
    let directory = tempfile::tempdir()?;
    let mut replay = replay(directory.path(), SLOW, 5_000);
    let mut killed = 0;
    while replay.0.try_wait()?.is_none() {
        if let Some(mapper) = mapper_of(replay.0.id()) {
            std::thread::sleep(Duration::from_millis(100));
            signal("-9", mapper);
            killed += 1;
        }
        if killed == 10 {
            break;
        }
    }
    assert!(replay.0.wait()?.success());
    let summary = std::fs::read_to_string(directory.path().join("summary.json"))?;
    assert!(summary.contains("\"accepted\":5000") && summary.contains("\"rejected\":0"), "{summary}");
    assert!(killed >= 3, "it was in the middle: {killed}");
    killed_twice_on_one_record()
}

/// A second mapper dies while it maps its first record: that is not the record's doing either.
fn killed_twice_on_one_record() -> Result<(), Failed> {
    let directory = tempfile::tempdir()?;
    let mut replay = replay(directory.path(), &SLOW.replace("2000", "400000"), 3);
    let mut last = None;
    for _ in 0..2 {
        let next = || mapper_of(replay.0.id()).filter(|mapper| last != Some(*mapper));
        wait_for("the next mapper", Duration::from_secs(20), || next().is_some())?;
        last = next();
        std::thread::sleep(Duration::from_millis(30));
        signal("-9", last.ok_or("it has ended already")?);
    }
    assert!(replay.0.wait()?.success());
    let summary = std::fs::read_to_string(directory.path().join("summary.json"))?;
    assert!(summary.contains("\"accepted\":3") && summary.contains("\"rejected\":0"), "{summary}");
    Ok(())
}

/// Slow, and every answer is short: those of a whole batch fit into the pipe.
const SLOW_AND_SHORT: &str = "reduce range(2000) as $n (.; .) | empty";

/// The owner is killed while its mapper spins, in the middle of a batch, and while it waits for one: no mapper stays
/// behind.
fn orphaned() -> Result<(), Failed> {
    for (filter, waits) in [("def f: f; f", false), (SLOW, false), (SLOW_AND_SHORT, true)] {
        let directory = tempfile::tempdir()?;
        let mut replay = replay(directory.path(), filter, 1_000_000);
        wait_for("a mapper runs", Duration::from_secs(20), || mapper_of(replay.0.id()).is_some())?;
        let mapper = mapper_of(replay.0.id()).ok_or("it has ended already")?;
        std::thread::sleep(Duration::from_millis(300));
        if waits {
            // An owner that stands still sends no further batch.
            signal("-STOP", replay.0.id());
            let stat = Path::new("/proc").join(mapper.to_string()).join("stat");
            let sleeps = || std::fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") S "));
            wait_for("the mapper has answered its batch", Duration::from_secs(20), sleeps)?;
        }
        replay.0.kill()?;
        replay.0.wait()?;
        let status = Path::new("/proc").join(mapper.to_string()).join("cmdline");
        let gone = || std::fs::read_to_string(&status).map_or(true, |line| !line.contains("mapper"));
        wait_for("the mapper ends", Duration::from_secs(20), gone)?;
    }
    Ok(())
}

fn no_program() -> Result<(), Failed> {
    for program in ["/nowhere/touchstone", "/bin/true"] {
        let mut mapper = Mapper::apart(Path::new(program), Arc::new(Mapping::compile(".")?), LIMITS);
        let error = mapper.map(&[(b"1", Provenance::File { file: "f", row: 1 })], LONG).unwrap_err().to_string();
        assert!(error.contains("no mapper process can be had") && error.contains(program), "{error}");
    }
    Ok(())
}

const CONFIG: &str = "
    [service]
    instance = 'test'
    [topics]
    deltas_partitions = 1
    letter_partitions = 1
    replication_factor = 1
    [timing]
    commit_interval = '100ms'
    idle_commit_interval = '300ms'
    batch_items_max = 100
    [slices]
    group_by = ['all', 'channel']
    [[input]]
    name = 'calls'
    topic = 'calls'
    record_bytes_max = 10000
";

const START: i64 = 1_767_600_000_000;

/// Touchpoints of numbers, several of one; the order within a partition shows in which of two copies counts.
const EVENT: &str = r#"range(1 + . % 3) as $i | {specversion: "1.0", id: "\(. / 4 | floor)-\($i)", source: "s",
    type: "cx.interaction.v1", time: (1767600000 + . % 50 | todate), data: {kind: "visit", channel: "c\(. % 7)"}}"#;

/// What a run comes to: what is published, what is rejected, and the counts.
type Outcome = (BTreeMap<String, String>, Vec<(i64, i32)>, Totals);

/// 600 records in two partitions through both stages, with these faults of the fold commits that follow the first record.
fn run(filter: &str, program: Option<&str>, faults: &[(usize, Fault)]) -> Outcome {
    let mut pipeline = Pipeline::new(CONFIG, 2, START);
    pipeline.settings.inputs[0].mapping = Some(Arc::new(Mapping::compile(filter).unwrap()));
    pipeline.mapper = program.map(Into::into);
    pipeline.step_until("both sources are live", |pipeline| {
        pipeline.committed().iter().flatten().filter(|(_, memory)| memory.phase == Phase::Live).count() == 2
    });
    let before = pipeline.fold_orders.borrow().commits;
    pipeline.fold_orders.borrow_mut().faults = faults.iter().map(|(commit, fault)| (before + commit, *fault)).collect();
    (0..600).for_each(|n| pipeline.produce(n % 2, &n.to_string()));
    let names = pipeline.settings.layout.names.clone();
    pipeline.step_until("everything is taken in", |pipeline| {
        let committed = pipeline.committed();
        committed.iter().all(|committed| committed.as_ref().is_some_and(|(offset, _)| *offset == 300))
    });
    pipeline.clock.advance(3 * 86_400_000);
    pipeline.step_until("a day is final", |pipeline| !pipeline.finals().is_empty());
    let mut totals = Totals::default();
    for (_, metadata) in pipeline.committed().into_iter().flatten() {
        totals.accepted += metadata.totals.accepted;
        totals.duplicate += metadata.totals.duplicate;
        totals.conflicting += metadata.totals.conflicting;
        totals.rejected += metadata.totals.rejected;
        totals.records += metadata.totals.records;
    }
    let disturbed = pipeline.fold_orders.borrow().commits;
    assert!(faults.iter().all(|(commit, _)| before + commit < disturbed), "every fault was met: {disturbed} commits");
    let header = |record: &touchstone::memory::OwnedRecord, name: &str| {
        let value = record.headers.iter().find(|(header, _)| header == name).and_then(|(_, value)| value.clone());
        String::from_utf8(value.unwrap_or_default()).unwrap()
    };
    let place = |record: &touchstone::memory::OwnedRecord| {
        assert_eq!(header(record, "touchstone_reason"), "mapping_failed");
        (header(record, "touchstone_offset").parse().unwrap(), header(record, "touchstone_partition").parse().unwrap())
    };
    let mut letters: Vec<(i64, i32)> = pipeline.topic(&names.dead_letter).iter().map(place).collect();
    letters.sort_unstable();
    (pipeline.finals(), letters, totals)
}

/// What kills is rejected as what fails is, and everything around it is judged in its order; also when commits fail
/// and the process dies while records wait.
fn through_the_pipeline() -> Result<(), Failed> {
    let fails = format!("if . == 101 or . == 300 or . == 301 then error else {EVENT} end");
    let kills =
        format!("if . == 101 then [range(1e12)] elif . == 300 or . == 301 then def f: 1 + f; f else {EVENT} end");
    let expected = run(&fails, None, &[]);
    assert_eq!(expected.1, [(50, 1), (150, 0), (150, 1)]);
    assert!(expected.2.duplicate > 100 && expected.2.conflicting > 100 && expected.2.rejected == 3, "{:?}", expected.2);
    assert!(run(&kills, Some(PROGRAM), &[]) == expected, "undisturbed");
    for fault in [Fault::UnknownAfter, Fault::CrashBefore] {
        let faults = [(1, fault), (3, fault)];
        assert!(run(&kills, Some(PROGRAM), &faults) == expected, "{}", fault.name());
    }
    // A filter that spins: what lies behind it still waits when the commit fails.
    let spins = kills.replace("[range(1e12)]", "def f: f; f");
    let aborted: Vec<(usize, Fault)> = (1..16).step_by(2).map(|commit| (commit, Fault::Aborted)).collect();
    assert!(run(&spins, Some(PROGRAM), &aborted) == expected, "aborted while records wait");
    Ok(())
}
