//! What the paths that every item takes cost in instructions, which hardly vary from run to run: none may cost 5 % more
//! than was accepted.
//!
//! ```text
//! cargo test --test instructions               compares with tests/instructions.txt
//! cargo test --test instructions -- --accept   writes what it measures there
//! ```
//!
//! Each path runs in a process of its own under valgrind's callgrind, which counts what is done in [`measured`] alone.
//! The code is that of the tests: less optimized than a release, but what makes a release slower shows here too.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected fails there")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use touchstone::aggregate;
use touchstone::config::{self, Settings};
use touchstone::engine::codec::{Format, decode_delta, encode_delta};
use touchstone::engine::plan::Plan;
use touchstone::engine::section::Section;
use touchstone::engine::stage::{Fold, Judged, Merge, Open, sections};
use touchstone::record::Record;
use touchstone::touchpoint::{DecodeContext, Item, Limits, Touchpoint, decode};
use touchstone::workload::Workload;

/// How much more than accepted a path may cost.
const TOLERANCE: f64 = 0.05;

/// Events of the stream that is measured, which lie in two minutes.
const EVENTS: u32 = 4_000;

/// A minute of a Monday's busy hour, counted from the epoch.
const MINUTE: i64 = 29_460_000;

/// A path: what it is called, and how many items, cells or records it takes through.
type Run = fn() -> usize;

const PATHS: [(&str, Run); 6] = [
    ("decode_an_event", decode_events),
    ("fold_an_item", fold_items),
    ("encode_a_cell", encode_cells),
    ("merge_a_cell", merge_cells),
    ("publish_a_window", publish_windows),
    ("restore_a_pane", restore_panes),
];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, flag, name] = &arguments[..]
        && flag == "--path"
    {
        let (_, run) = PATHS.iter().find(|(path, _)| path == name).expect("it is one of ours");
        return println!("{}", run());
    }
    if arguments.iter().any(|argument| argument == "--accept") {
        let counted = PATHS.map(|(name, _)| format!("{name} {}\n", count(name).unwrap()));
        return std::fs::write(accepted_file(), counted.concat()).unwrap();
    }
    let trials = PATHS.map(|(name, _)| Trial::test(format!("instructions::{name}"), || compare(name)));
    libtest_mimic::run(&Arguments::from_iter(arguments), trials.into()).exit();
}

fn accepted_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/instructions.txt")
}

fn compare(name: &str) -> Result<(), Failed> {
    let text = std::fs::read_to_string(accepted_file())?;
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    let accepted: BTreeMap<&str, &str> = lines.collect();
    let accepted: u64 = accepted.get(name).ok_or("tests/instructions.txt does not name it")?.parse()?;
    let counted = count(name)?;
    let more = counted as f64 / accepted as f64 - 1.0;
    println!("    {name}: {counted} instructions, accepted are {accepted} ({:+.1} %)", 100.0 * more);
    if more > TOLERANCE {
        let how = "make it cheaper, or accept it with: cargo test --test instructions -- --accept";
        return Err(format!("{name} costs {:.1} % more than was accepted: {how}", 100.0 * more).into());
    }
    if more < -TOLERANCE {
        println!("    {name} has become cheaper; accept that with: cargo test --test instructions -- --accept");
    }
    Ok(())
}

/// Instructions of a path for each of its items.
fn count(name: &str) -> Result<u64, Failed> {
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no"])
        .arg("--toggle-collect=*instructions*measured*")
        .arg(std::env::current_exe()?)
        .args(["--path", name])
        .output()
        .map_err(|error| format!("valgrind, which counts instructions: {error}"))?;
    let (out, said) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    let collected = said.lines().find_map(|line| line.split_once("Collected : "));
    let (Some((_, collected)), Ok(items)) = (collected, out.trim().parse::<u64>()) else {
        return Err(format!("valgrind says:\n{said}").into());
    };
    let collected: u64 = collected.trim().parse()?;
    if collected == 0 || items == 0 {
        return Err(format!("nothing was measured: {collected} instructions, {items} items").into());
    }
    Ok(collected / items)
}

/// What is counted.
#[inline(never)]
fn measured<T>(work: impl FnOnce() -> T) -> T {
    std::hint::black_box(work())
}

fn plan() -> Arc<Plan> {
    let raw = config::parse("[topics]\ndeltas_partitions = 1\n[[input]]\nname = \"in\"\ntopic = \"in\"\n").unwrap();
    Settings::new(raw, Path::new(".")).unwrap().plan
}

/// The events of a minute.
fn events(minute: i64) -> Vec<Vec<u8>> {
    let workload = Workload { clean: true, ..Workload::new(1) };
    let minute = workload.minute(minute, EVENTS / 2);
    let event = |index| {
        let mut json = Vec::new();
        minute.write(index, &mut json);
        json
    };
    (0..EVENTS / 2).map(event).collect()
}

fn touchpoint(event: &[u8]) -> Touchpoint<'_> {
    let context = DecodeContext { now: i64::MAX / 2, max_future_ms: 0, limits: Limits { record_bytes_max: 1 << 20 } };
    let record = Record { offset: 0, timestamp: None, key: None, value: Some(event), headers: &[] };
    match decode(&record, &context) {
        Item::Touchpoint(touchpoint) => touchpoint,
        other => panic!("{other:?}"),
    }
}

fn decode_events() -> usize {
    let events = events(MINUTE);
    touchpoint(&events[0]);
    measured(|| events.iter().for_each(|event| _ = std::hint::black_box(touchpoint(event))));
    events.len()
}

/// Takes in the events of a minute, from an offset on.
fn take(fold: &mut Fold, open: &mut Open, touchpoints: &[Touchpoint<'_>], from: i64) {
    for (offset, touchpoint) in (from..).zip(touchpoints) {
        assert_eq!(fold.item(touchpoint, offset, open), Judged::Accepted);
        fold.record_done(offset);
    }
}

fn fold_items() -> usize {
    let plan = plan();
    let (mut fold, mut open) = (Fold::first(Arc::clone(&plan), 0, 0, 1, 0, 0), Open::new(&plan));
    let minutes = [MINUTE, MINUTE + 1].map(events);
    let [before, now] = minutes.each_ref().map(|minute| minute.iter().map(|event| touchpoint(event)).collect());
    let (before, now): (Vec<Touchpoint<'_>>, Vec<Touchpoint<'_>>) = (before, now);
    take(&mut fold, &mut open, &before, 0);
    fold.committed();
    open.clear();
    measured(|| take(&mut fold, &mut open, &now, before.len() as i64));
    now.len()
}

/// What a source says of the first two minutes, one commit each, and in the third that they are final.
fn said(plan: &Arc<Plan>) -> Vec<Section<'static>> {
    let (mut fold, mut open) = (Fold::first(Arc::clone(plan), 0, 0, 1, 0, 0), Open::new(plan));
    let mut offset = 0;
    let minutes = [MINUTE, MINUTE + 1].map(events);
    let mut said = Vec::new();
    let record = |sections: &[Section<'_>]| decode_delta(&encode_delta(sections, Format::LATEST)).unwrap();
    for minute in &minutes {
        let touchpoints: Vec<Touchpoint<'_>> = minute.iter().map(|event| touchpoint(event)).collect();
        take(&mut fold, &mut open, &touchpoints, offset);
        offset += touchpoints.len() as i64;
        said.append(&mut record(&sections(&[&fold], &[&open])));
        fold.committed();
        open.clear();
    }
    fold.silent((MINUTE + 2) * 60_000 + 24 * 3_600_000);
    said.append(&mut record(&sections(&[&fold], &[&open])));
    said
}

fn cells(section: &Section<'_>) -> usize {
    section.groups.iter().map(|group| group.cells.len()).sum()
}

fn encode_cells() -> usize {
    let plan = plan();
    let (mut fold, mut open) = (Fold::first(Arc::clone(&plan), 0, 0, 1, 0, 0), Open::new(&plan));
    let minute = events(MINUTE);
    take(&mut fold, &mut open, &minute.iter().map(|event| touchpoint(event)).collect::<Vec<_>>(), 0);
    let encode = || {
        let sections = sections(&[&fold], &[&open]);
        (cells(&sections[0]), encode_delta(&sections, Format::LATEST))
    };
    measured(encode).0
}

fn merge_cells() -> usize {
    let plan = plan();
    let [first, second, _] = &said(&plan)[..] else { panic!("three commits") };
    let [first_bytes, bytes] =
        [first, second].map(|section| encode_delta(std::slice::from_ref(section), Format::LATEST));
    let mut merge = Merge::new(plan, 0, 0);
    merge.take(0, decode_delta(&first_bytes));
    merge.prepare(false, false);
    merge.committed();
    measured(|| {
        merge.take(1, decode_delta(&bytes));
        merge.prepare(false, false);
        merge.committed();
    });
    assert_eq!(merge.halted(), None);
    cells(second)
}

fn publish_windows() -> usize {
    let plan = plan();
    let mut merge = Merge::new(Arc::clone(&plan), 0, 0);
    for (offset, section) in (0..).zip(said(&plan)) {
        merge.take(offset, Ok(vec![section]));
    }
    assert_eq!(merge.halted(), None);
    measured(|| {
        let write = |shown| (aggregate::key(&plan, &shown), aggregate::value(&plan, &shown));
        merge.finals().map(write).inspect(|record| _ = std::hint::black_box(record)).count()
    })
}

fn restore_panes() -> usize {
    let plan = plan();
    let mut merge = Merge::new(Arc::clone(&plan), 0, 0);
    for (offset, section) in (0..2).zip(said(&plan)) {
        merge.take(offset, Ok(vec![section]));
    }
    let made = merge.prepare(false, true);
    let mut reborn = Merge::new(plan, 0, 0);
    measured(|| {
        for (key, value) in &made.checkpoint {
            reborn.restore(key, value.as_deref());
        }
        assert_eq!(reborn.base_restored(&made.metadata), Ok(2));
    });
    made.checkpoint.len()
}
