//! The lines along which a load grows, and what was measured at their points.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use touchstone::engine::cell::Cell;
use touchstone::engine::codec::{Format, PaneKey, encode_pane, encode_pane_key};
use touchstone::engine::stage::Merge;
use touchstone::touchpoint::Item;

use crate::events::{Events, Load};
use crate::picture::{self, Curve};
use crate::{Engine, Figures, peak_memory, read, rows, run};

/// How often a point is measured.
const ROUNDS: usize = 3;

/// A line: its name, what grows, and its points.
type Line = (&'static str, &'static str, &'static [u64]);

const LINES: [Line; 6] = [
    ("queues", "queues, one hour tumbling, two hours of 139 items/s", &[10, 100, 1_000, 10_000, 100_000]),
    ("windows", "windows, by 500 queues", &[1, 2, 4, 7, 12, 20]),
    ("partitions", "partitions of the input", &[1, 3, 12, 64]),
    ("group-bys", "group-bys", &[1, 2, 3, 4, 5, 6]),
    ("copies", "copies, per cent of the items", &[0, 10, 25, 50]),
    ("late", "late items, per cent of the items", &[0, 10, 25, 50]),
];

const RESTORE: Line = ("restore", "panes that are restored", &[10_000, 100_000, 1_000_000]);
const SCRAPE: Line = ("scrape", "series of /metrics", &[1_000, 10_000, 100_000]);

/// The load of a point.
fn load(line: &str, point: u64) -> Load {
    let usual = Load::default();
    match line {
        "queues" => Load { queues: point, windows: vec![(60, 60)], step: 7_200, ..usual },
        "windows" => {
            // Tumbling while they are short; longer ones slide by a twelfth, as the windows that come by default.
            let size = |n: u64| if n < 6 { n } else { 12 * (n - 5) };
            let sizes = (1..=point).map(size);
            Load { windows: sizes.map(|size| (size, if size < 12 { size } else { size / 12 })).collect(), ..usual }
        }
        "partitions" => Load { partitions: i32::try_from(point).expect("a count"), ..usual },
        "group-bys" => {
            let known = ["all", "queue", "channel", "team", "region", "segment"];
            Load { group_bys: known[..usize::try_from(point).expect("a count")].to_vec(), ..usual }
        }
        "copies" => Load { copies: 10 * point, ..usual },
        "late" => Load { late: 10 * point, ..usual },
        other => panic!("there is no line {other}"),
    }
}

/// A point in a process of its own: prints what it measured.
pub fn point(line: &str, point: u64) {
    match line {
        "restore" => println!("{} {}", restore(point), peak_memory()),
        "scrape" => println!("{} {}", scrape(point), peak_memory()),
        _ => {
            let Figures { stages, cells, finals, panes, memory } = run(&load(line, point));
            let stages = stages.map(|(_, ns)| ns.to_string()).join(" ");
            println!("{stages} {cells} {finals} {panes} {memory}");
        }
    }
}

/// The numbers that a point prints, of the round that was fastest.
fn measure(line: &str, point: u64) -> Vec<f64> {
    let this = std::env::current_exe().expect("a program");
    let round = |_| {
        let made = Command::new(&this).args(["--point", line, &point.to_string()]).output().expect("it runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let text = String::from_utf8_lossy(&made.stdout).into_owned();
        text.split_whitespace().map(|number| number.parse().expect("a number")).collect::<Vec<f64>>()
    };
    let time = |numbers: &Vec<f64>| numbers[..numbers.len().min(5)].iter().sum::<f64>();
    let rounds: Vec<Vec<f64>> = (0..ROUNDS).map(round).collect();
    rounds.into_iter().min_by(|one, other| time(one).total_cmp(&time(other))).expect("there are rounds")
}

/// In one sentence.
pub fn describe(figures: &Figures) -> String {
    let stages = figures.stages.map(|(name, ns)| format!("{name} {ns:.0}")).join(", ");
    let all: f64 = figures.stages.iter().map(|(_, ns)| ns).sum();
    let Figures { cells, finals, panes, memory, .. } = figures;
    format!("{stages}: {all:.0} ns an item; {cells} cells, {finals} final windows, {panes} panes, {memory:.0} MiB")
}

/// Measures every line, prints its table and draws it.
pub fn all(directory: &Path) {
    std::fs::create_dir_all(directory).expect("a directory for the pictures");
    let draw = |name: &str, text: String| std::fs::write(directory.join(format!("{name}.svg")), text).expect("written");
    for (name, what, points) in LINES {
        let measured: Vec<(f64, Vec<f64>)> = points.iter().map(|at| (*at as f64, measure(name, *at))).collect();
        println!(
            "\n| {what} | decode | fold | encode | merge | publish | ns an item | cells | final windows | panes | MiB |"
        );
        println!("|---|---|---|---|---|---|---|---|---|---|---|");
        for (at, numbers) in &measured {
            let all: f64 = numbers[..5].iter().sum();
            let stages = numbers[..5].iter().map(|ns| format!("{ns:.0}")).collect::<Vec<_>>().join(" | ");
            println!(
                "| {at} | {stages} | {all:.0} | {} | {} | {} | {:.0} |",
                numbers[5], numbers[6], numbers[7], numbers[8]
            );
        }
        let curve = |name, of: &dyn Fn(&[f64]) -> f64| Curve {
            name,
            points: measured.iter().map(|(at, numbers)| (*at, of(numbers))).collect(),
        };
        let curves = [
            curve("all", &|numbers| numbers[..5].iter().sum()),
            curve("decode", &|numbers| numbers[0]),
            curve("fold", &|numbers| numbers[1]),
            curve("encode and merge", &|numbers| numbers[2] + numbers[3]),
            curve("publish", &|numbers| numbers[4]),
        ];
        draw(name, picture::draw(what, "ns an item", &curves));
        draw(&format!("{name}-memory"), picture::draw(what, "MiB", &[curve("memory", &|numbers| numbers[8])]));
    }
    for ((name, what, points), unit) in [(RESTORE, "ms"), (SCRAPE, "ms")] {
        println!("\n| {what} | {unit} | MiB |\n|---|---|---|");
        let mut points_of = (Vec::new(), Vec::new());
        for at in points {
            let numbers = measure(name, *at);
            println!("| {at} | {:.1} | {:.0} |", numbers[0], numbers[1]);
            points_of.0.push((*at as f64, numbers[0]));
            points_of.1.push((*at as f64, numbers[1]));
        }
        draw(name, picture::draw(what, unit, &[Curve { name, points: points_of.0 }]));
        draw(&format!("{name}-memory"), picture::draw(what, "MiB", &[Curve { name: "memory", points: points_of.1 }]));
    }
}

/// Restores so many panes of a contact set, as a checkpoint holds them, in ms.
fn restore(panes: u64) -> f64 {
    let engine = Engine::new(&Load::default());
    let plan = &engine.plan;
    let ((set, by), cell) = (rows::contacts_by_queue(plan), contact_cell(&engine));
    let owner = plan.partition(plan.sets[set].set.name(), "queue");
    let definitions = plan.sets[set].definitions[by];
    let record = |n: u64| {
        let key = PaneKey {
            set: plan.sets[set].set.name().into(),
            group_by: "queue".into(),
            level: "60000ms".into(),
            start: 60_000 * i64::try_from(n % 20).expect("small"),
            values: rows::values(n / 20),
        };
        (encode_pane_key(&key), encode_pane(&cell, definitions, Format::LATEST))
    };
    let records: Vec<(Vec<u8>, Vec<u8>)> = (0..panes).map(record).collect();
    let mut merge = Merge::new(Arc::clone(plan), owner, 0);
    let begun = Instant::now();
    records.iter().for_each(|(key, value)| merge.restore(key, Some(value)));
    let took = begun.elapsed().as_secs_f64() * 1e3;
    let restored: usize = merge.sizes().iter().map(|(_, _, _, panes, _)| panes).sum();
    assert_eq!(restored as u64, panes, "all of them");
    took
}

/// A page of so many series, in ms.
fn scrape(series: u64) -> f64 {
    let engine = Engine::new(&Load::default());
    let (exporter, each) = rows::exporter(&engine.plan, &contact_cell(&engine), series);
    exporter.metrics();
    let begun = Instant::now();
    let page = exporter.metrics();
    let took = begun.elapsed().as_secs_f64() * 1e3;
    assert!(rows::lines(&page) >= series - each, "all of them");
    took
}

/// A cell of the set `contacts` that 24 events have filled.
fn contact_cell(engine: &Engine) -> Cell {
    let (set, _) = rows::contacts_by_queue(&engine.plan);
    let set = &engine.plan.sets[set].set;
    let mut cell = Cell::new(set.shape());
    let load = Load::default();
    for n in 0..24 {
        let event = Events::new(&load).make(n);
        if let Item::Touchpoint(touchpoint) = read(&event)
            && set.feeds(&touchpoint)
        {
            set.add(&touchpoint, &mut cell);
            cell.events += 1;
        }
    }
    cell
}
