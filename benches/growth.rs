//! What an item costs, and what memory its counts take, against everything that can grow: queues, windows, partitions,
//! group-bys, copies, late items. The whole engine in one thread, from the bytes of an event to those of the records that
//! are published, without Kafka.
//!
//!     cargo bench --bench growth                      one point, the job of the peers, by stage
//!     cargo bench --bench growth -- --pictures DIR    every line, as a table and as an SVG file in DIR
//!
//! Each point is the fastest of three processes of its own.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use touchstone::aggregate;
use touchstone::config::{self, Settings};
use touchstone::engine::codec::{decode_delta, encode_delta};
use touchstone::engine::plan::Plan;
use touchstone::engine::section::{Group, Section};
use touchstone::engine::stage::{Fold, Merge, Open, sections};
use touchstone::record::Record;
use touchstone::touchpoint::{DecodeContext, Item, Limits, decode};

#[path = "growth/events.rs"]
mod events;
#[path = "growth/lines.rs"]
mod lines;
#[path = "growth/picture.rs"]
mod picture;
#[path = "parts/random.rs"]
mod random;
#[path = "parts/rows.rs"]
mod rows;

use events::{Events, Load};

/// As the program has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Items between two commits: what 250 ms hold while a backlog is caught up with.
const COMMIT_ITEMS: u64 = 50_000;

/// Items of one partition that come together.
const PIECE: u64 = 300;

/// Where the time of a run went.
#[derive(Default)]
struct Spent {
    decode: Duration,
    fold: Duration,
    encode: Duration,
    merge: Duration,
    publish: Duration,
}

/// One run of an engine.
struct Engine {
    plan: Arc<Plan>,
    folds: Vec<Fold>,
    open: Open,
    merges: Vec<Merge>,
    offset: i64,
    spent: Spent,
    cells: usize,
    finals: usize,
}

/// What a run gave: where the time of an item went, in ns, and what stood behind it.
struct Figures {
    stages: [(&'static str, f64); 5],
    cells: usize,
    finals: usize,
    panes: usize,
    /// The most memory of the process, MiB.
    memory: f64,
}

impl Engine {
    fn new(load: &Load) -> Engine {
        let raw = config::parse(&load.config()).expect("a configuration of ours");
        let plan = Settings::new(raw, Path::new(".")).expect("a configuration of ours").plan;
        let folds = (0..load.partitions)
            .map(|partition| Fold::first(Arc::clone(&plan), 0, partition, load.partitions, 0, i64::MIN));
        Engine {
            folds: folds.collect(),
            open: Open::new(&plan),
            merges: (0..plan.deltas_partitions).map(|partition| Merge::new(Arc::clone(&plan), partition, 0)).collect(),
            plan,
            offset: 0,
            spent: Spent::default(),
            cells: 0,
            finals: 0,
        }
    }

    /// Takes in a piece of one partition.
    fn take(&mut self, partition: usize, events: &[String]) {
        let begun = Instant::now();
        let items: Vec<Item<'_>> = events.iter().map(|event| read(event)).collect();
        self.spent.decode += begun.elapsed();
        let begun = Instant::now();
        let fold = &mut self.folds[partition];
        for item in &items {
            let Item::Touchpoint(touchpoint) = item else { panic!("{item:?}") };
            let offset = fold.offset();
            fold.item(touchpoint, offset, &mut self.open);
            fold.record_done(offset);
        }
        self.spent.fold += begun.elapsed();
    }

    /// A commit of fold, and what merge makes of it.
    fn commit(&mut self) {
        let begun = Instant::now();
        let folds: Vec<&Fold> = self.folds.iter().collect();
        let records = records(&self.plan, &mut self.cells, sections(&folds, &[&self.open]));
        self.folds.iter_mut().for_each(Fold::committed);
        self.open.clear();
        self.spent.encode += begun.elapsed();
        let begun = Instant::now();
        for (merge, record) in self.merges.iter_mut().zip(&records) {
            merge.take(self.offset, decode_delta(record));
            assert_eq!(merge.halted(), None);
            std::hint::black_box(merge.prepare(false, false));
        }
        self.spent.merge += begun.elapsed();
        self.offset += 1;
        let begun = Instant::now();
        for merge in &mut self.merges {
            for shown in merge.finals() {
                self.finals += 1;
                std::hint::black_box((aggregate::key(&self.plan, &shown), aggregate::value(&self.plan, &shown)));
            }
        }
        self.spent.publish += begun.elapsed();
        let begun = Instant::now();
        self.merges.iter_mut().for_each(Merge::committed);
        self.spent.merge += begun.elapsed();
    }
}

/// What an event holds.
fn read(event: &str) -> Item<'_> {
    let context = DecodeContext { now: i64::MAX / 2, max_future_ms: 0, limits: Limits { record_bytes_max: 1 << 20 } };
    let value = Some(event.as_bytes());
    decode(&Record { offset: 0, timestamp: None, key: None, value, headers: &[] }, &context)
}

/// One record for each deltas partition, as the pipeline writes them.
fn records(plan: &Plan, cells: &mut usize, mut sections: Vec<Section<'_>>) -> Vec<Vec<u8>> {
    let mut owned: BTreeMap<i32, Vec<Group<'_>>> = BTreeMap::new();
    for group in sections[0].groups.drain(..) {
        *cells += group.cells.len();
        owned.entry(plan.partition(&group.set, &group.group_by)).or_default().push(group);
    }
    let record = |partition| {
        sections[0].groups = owned.remove(&partition).unwrap_or_default();
        encode_delta(&sections, plan.format)
    };
    (0..plan.deltas_partitions).map(record).collect()
}

/// Items of a point.
const ITEMS: u64 = 1_000_000;

fn run(load: &Load) -> Figures {
    let mut engine = Engine::new(load);
    let partitions = u64::try_from(load.partitions).expect("a count");
    let events = Events::new(load);
    let mut piece = Vec::new();
    let (mut taken, mut since) = (0, 0);
    // Partitions come in turn, a piece of each: event `n` lies in partition `n % partitions`.
    'all: for round in 0.. {
        for partition in 0..partitions {
            piece.clear();
            piece.extend((0..PIECE).map(|at| events.make((round * PIECE + at) * partitions + partition)));
            engine.take(usize::try_from(partition).expect("a count"), &piece);
            (taken, since) = (taken + PIECE, since + PIECE);
            if since >= COMMIT_ITEMS {
                since = 0;
                engine.commit();
            }
            if taken >= ITEMS {
                break 'all;
            }
        }
    }
    engine.commit();
    let Spent { decode, fold, encode, merge, publish } = engine.spent;
    let stages = [("decode", decode), ("fold", fold), ("encode", encode), ("merge", merge), ("publish", publish)];
    let panes = engine.merges.iter().flat_map(Merge::sizes).map(|(_, _, _, panes, _)| panes).sum();
    Figures {
        stages: stages.map(|(name, spent)| (name, spent.as_secs_f64() * 1e9 / taken as f64)),
        cells: engine.cells,
        finals: engine.finals,
        panes,
        memory: peak_memory(),
    }
}

/// The most memory that this process has had, MiB.
fn peak_memory() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux names it");
    let kib: f64 = line.trim_end_matches("kB").trim().parse().expect("a number");
    kib / 1024.0
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match &arguments[..] {
        [] => println!("{}", lines::describe(&run(&Load::default()))),
        [flag, line, point] if flag == "--point" => lines::point(line, point.parse().expect("a number")),
        [flag, directory] if flag == "--pictures" => lines::all(Path::new(directory)),
        other => panic!("{other:?} is none of the arguments"),
    }
}
