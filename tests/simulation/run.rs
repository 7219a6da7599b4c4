//! One run: the world turns until everything planned has happened, then faults stop and everything must drain.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::rc::Rc;

use touchstone::config::{Settings, parse};

use crate::faults::Counts;
use crate::judge::judge;
use crate::scenario::{Config, LATENESS, START, Scenario, WINDOW_MAX};
use crate::world::{INPUT, World};

/// How a run ended.
pub struct Outcome {
    pub counts: Counts,
    pub trace: u64,
    /// What was not as it must be.
    pub failure: Option<String>,
}

/// The turns that everything must have drained in once the faults have stopped.
const DRAIN_TURNS: usize = 4_000;

/// Runs a scenario.
pub fn run(scenario: &Scenario, print: bool) -> Outcome {
    let world = World::new(scenario.clone(), settings(scenario.config), print);
    let driven = catch_unwind(AssertUnwindSafe(|| {
        while !world.is_over() {
            world.tick();
        }
        world.become_calm();
        drain(&world);
        judge(&world);
    }));
    let failure = driven.err().map(|_| LAST_PANIC.take().unwrap_or_default());
    let outcome = Outcome { counts: world.counts.borrow().clone(), trace: world.trace.borrow().hash(), failure };
    // The links know the world, which knows the links.
    let nodes = std::mem::take(&mut *world.nodes.borrow_mut());
    drop(nodes);
    outcome
}

/// Everything is taken in and every window is final, or its task is halted.
fn drain(world: &Rc<World>) {
    let newest = world.newest_time();
    let horizon = newest.max(START) + WINDOW_MAX;
    for _ in 0..DRAIN_TURNS {
        for _ in 0..4 {
            world.tick();
        }
        if world.now() > horizon + LATENESS && is_taken_in(world) && is_closed(world, horizon) {
            return;
        }
    }
    let halted: Vec<_> = world.nodes.borrow().iter().flat_map(|node| node.halted()).collect();
    panic!("it does not drain; committed {:?}; halted {halted:?}", world.committed());
}

/// Every record is taken in, if that is possible.
fn is_taken_in(world: &World) -> bool {
    let Ok(committed) = world.committed() else { return false };
    if world.stands_still() {
        return true;
    }
    let mut ends = BTreeMap::new();
    for record in world.broker.read_all(INPUT).expect("it exists") {
        ends.insert(record.partition, record.offset + 1);
    }
    (0..).zip(committed).all(|(partition, committed)| {
        let end = ends.get(&partition).copied().unwrap_or(0);
        committed.is_some_and(|(offset, _)| offset >= end)
    })
}

fn is_closed(world: &World, horizon: i64) -> bool {
    if world.stands_still() {
        return true;
    }
    let mut closed = 0;
    for node in world.nodes.borrow().iter().filter(|node| node.is_up) {
        for (partition, status) in node.board.look().merges {
            let halted = matches!(status.condition, touchstone::pipeline::board::Condition::Halted(_));
            let is_final =
                !status.times.is_empty() && status.times.iter().all(|(_, time)| time.final_until >= Some(horizon));
            closed |= i32::from(halted || is_final) << partition;
        }
    }
    closed == (1 << world.settings().plan.deltas_partitions) - 1
}

/// The settings of a configuration; each is read once.
pub fn settings(config: Config) -> Settings {
    thread_local! {
        static PARSED: RefCell<BTreeMap<Config, Settings>> = RefCell::default();
    }
    PARSED.with_borrow_mut(|parsed| {
        let make = || {
            let raw = parse(&config.text()).unwrap_or_else(|error| panic!("{error}"));
            Settings::new(raw, Path::new(".")).unwrap_or_else(|error| panic!("{error}"))
        };
        parsed.entry(config).or_insert_with(make).clone()
    })
}

thread_local! {
    static LAST_PANIC: std::cell::Cell<Option<String>> = const { std::cell::Cell::new(None) };
}

/// A panic is the end of a run, not of the program: its message is kept for the report.
pub fn keep_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("it panicked");
        let place = panic.location().map(|at| format!("{}:{}", at.file(), at.line())).unwrap_or_default();
        LAST_PANIC.set(Some(format!("{message} ({place})")));
    }));
}
