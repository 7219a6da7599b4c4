//! What an item costs, and what memory its counts take, against everything that can grow: queues, windows, partitions,
//! group-bys, copies, late items. The whole engine in one thread, from the bytes of an event to those of the records that
//! are published, without Kafka.
//!
//!     cargo bench --bench growth                      one run of the usual load, by stage
//!     cargo bench --bench growth -- --pictures DIR    every line, as tables and as SVG files in DIR

use std::collections::BTreeMap;
use std::fmt::Write;
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
    bytes: usize,
}

/// What a run gave.
struct Figures {
    spent: Spent,
    items: u64,
    cells: usize,
    finals: usize,
    bytes: usize,
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
            bytes: 0,
        }
    }

    /// Takes in a piece of one partition.
    fn take(&mut self, partition: usize, events: &[String]) {
        let limits = Limits { record_bytes_max: 1 << 20 };
        let context = DecodeContext { now: i64::MAX / 2, max_future_ms: 0, limits };
        let begun = Instant::now();
        let items: Vec<Item<'_>> = events
            .iter()
            .map(|event| {
                let value = Some(event.as_bytes());
                decode(&Record { offset: 0, timestamp: None, key: None, value, headers: &[] }, &context)
            })
            .collect();
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
                let (key, value) = (aggregate::key(&self.plan, &shown), aggregate::value(&self.plan, &shown));
                self.finals += 1;
                self.bytes += std::hint::black_box(key).len() + std::hint::black_box(value).len();
            }
        }
        self.spent.publish += begun.elapsed();
        let begun = Instant::now();
        self.merges.iter_mut().for_each(Merge::committed);
        self.spent.merge += begun.elapsed();
    }
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

fn run(load: &Load, items: u64) -> Figures {
    let mut engine = Engine::new(load);
    let partitions = u64::try_from(load.partitions).expect("a count");
    let events = Events::new(load);
    let mut piece = Vec::new();
    let mut taken = 0;
    let mut since = 0;
    // Partitions come in turn, a piece of each: event `n` lies in partition `n % partitions`.
    'all: for round in 0.. {
        for partition in 0..partitions {
            piece.clear();
            piece.extend((0..PIECE).map(|at| events.make((round * PIECE + at) * partitions + partition)));
            engine.take(partition as usize, &piece);
            (taken, since) = (taken + PIECE, since + PIECE);
            if since >= COMMIT_ITEMS {
                since = 0;
                engine.commit();
            }
            if taken >= items {
                break 'all;
            }
        }
    }
    engine.commit();
    Figures { spent: engine.spent, items: taken, cells: engine.cells, finals: engine.finals, bytes: engine.bytes }
}

impl Figures {
    fn line(&self) -> String {
        let mut line = String::new();
        let each = |duration: Duration| duration.as_secs_f64() * 1e9 / self.items as f64;
        let Spent { decode, fold, encode, merge, publish } = self.spent;
        let all = decode + fold + encode + merge + publish;
        let stages = [("decode", decode), ("fold", fold), ("encode", encode), ("merge", merge), ("publish", publish)];
        for (name, duration) in stages {
            let _ = write!(line, "{name} {:.0}, ", each(duration));
        }
        let _ = write!(
            line,
            "all {:.0} ns an item; {:.1} items a cell, {:.1} a final window of {} bytes",
            each(all),
            self.items as f64 / self.cells.max(1) as f64,
            self.items as f64 / self.finals.max(1) as f64,
            self.bytes / self.finals.max(1)
        );
        line
    }
}

fn main() {
    let load = Load::default();
    let items = 1_000_000;
    for _ in 0..3 {
        println!("{}", run(&load, items).line());
    }
}
