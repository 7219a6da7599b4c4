//! The world of one run: a broker, some processes of both stages, a clock, and what happens to them.
//!
//! One thread drives everything. A process that sleeps in the middle of a call is simulated by letting the others go
//! on inside that call: [`World::sleep`] turns the world until the sleeper's time has come, which is why no worker and
//! no borrow is held while another one steps.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use touchstone::clock::{Clock, ManualClock};
use touchstone::config::Settings;
use touchstone::engine::codec::FoldMetadata;
use touchstone::memory::{Broker, MemoryLink, NewRecord, Producer};
use touchstone::pipeline::link::{Link, LinkConfig, Output};
use touchstone::topics::table;

use crate::faults::{Class, Counts, Fault, StageName};
use crate::node::Node;
use crate::random::Random;
use crate::scenario::{
    Config, IDLE_TIMEOUT, MAX_FUTURE, Made, POLL_INTERVAL, START, Scenario, Sent, TRANSACTION_TIMEOUT, in_transaction,
};
use crate::trace::Trace;
use crate::upheaval::History;

/// The topic that touchpoints come in through.
pub const INPUT: &str = "calls";

/// How many sleepers there may be at once.
const DEPTH_MAX: u32 = 3;

/// The world of one run.
pub struct World {
    pub scenario: Scenario,
    pub settings: RefCell<Rc<Settings>>,
    pub config: Cell<Config>,
    pub clock: ManualClock,
    pub broker: Broker,
    pub nodes: RefCell<Vec<Node>>,
    pub trace: RefCell<Trace>,
    pub counts: RefCell<Counts>,
    /// Deltas partitions whose task may halt, and stages whose letters may be there twice.
    pub grave: RefCell<Grave>,
    pub times: RefCell<Times>,
    pub history: RefCell<History>,
    looks: RefCell<MemoryLink>,
    input: RefCell<InputLog>,
    /// No fault happens any more.
    calm: Cell<bool>,
    next: Cell<(usize, usize)>,
    turn: Cell<u64>,
    depth: Cell<u32>,
}

/// What may have been harmed in a way that nothing is promised about, but never silently.
#[derive(Debug, Default, Clone)]
pub struct Grave {
    /// Deltas partitions whose merge task may halt.
    pub may_halt: BTreeSet<i32>,
    /// Deltas partitions whose final records may be lost or there twice.
    pub torn_finals: BTreeSet<i32>,
    /// Letters may be there twice.
    pub letters_twice: bool,
    /// Sources may halt: their offsets or their log are gone.
    pub folds_may_halt: bool,
}

/// Which watermarks sources may have begun with.
#[derive(Debug, Default)]
pub struct Times {
    /// The greatest watermark that merge has named.
    pub reach: Option<i64>,
    /// Sources that have ever announced themselves.
    pub announced: BTreeSet<i32>,
    /// Sources that have announced themselves and have not begun.
    pub joining: BTreeSet<i32>,
    /// By partition, the greatest that a source can have been given.
    pub joined: BTreeMap<i32, Option<i64>>,
}

struct InputLog {
    open: Vec<OpenTransaction>,
    newest: Vec<i64>,
    last_at: Vec<i64>,
    /// What records hold, by their bytes.
    made: HashMap<Vec<u8>, Made>,
}

struct OpenTransaction {
    producer: Producer,
    until: i64,
    committed: bool,
}

/// The clock of one host: wrong by as much as it was set.
#[derive(Clone)]
pub struct HostClock {
    pub truth: ManualClock,
    pub ahead_ms: Arc<AtomicI64>,
}

impl Clock for HostClock {
    fn now(&self) -> i64 {
        self.truth.now() + self.ahead_ms.load(Ordering::Relaxed)
    }

    fn monotonic(&self) -> i64 {
        self.truth.monotonic()
    }
}

impl World {
    /// The world before anything happens.
    pub fn new(scenario: Scenario, settings: Settings, print: bool) -> Rc<World> {
        let clock = ManualClock::new(START);
        let of_broker = clock.clone();
        let broker = Broker::new(Arc::new(move || of_broker.now()));
        broker.set_timeouts(POLL_INTERVAL, TRANSACTION_TIMEOUT);
        broker.create_topic(INPUT, scenario.partitions);
        table(&settings.layout).iter().skip(settings.inputs.len()).for_each(|topic| broker.create(topic));
        let looks = LinkConfig {
            group: "looks".into(),
            transactional_id: "looks".into(),
            subscriptions: Vec::new(),
            ..settings.fold_link(0)
        };
        let looks = RefCell::new(broker.link(&looks).expect("it takes from nothing"));
        let partitions = usize::try_from(scenario.partitions).expect("a count");
        let made = scenario.records.iter().map(|planned| (planned.what.bytes.clone(), planned.what.made.clone()));
        let (newest, last_at) = (vec![0; partitions], vec![START; partitions]);
        let input = InputLog { open: Vec::new(), newest, last_at, made: made.collect() };
        let world = Rc::new(World {
            clock,
            broker,
            nodes: RefCell::default(),
            trace: RefCell::new(Trace::new(print)),
            counts: RefCell::default(),
            grave: RefCell::default(),
            times: RefCell::default(),
            history: RefCell::default(),
            config: Cell::new(scenario.config),
            looks,
            input: RefCell::new(input),
            calm: Cell::new(false),
            next: Cell::default(),
            turn: Cell::default(),
            depth: Cell::default(),
            scenario,
            settings: RefCell::new(Rc::new(settings)),
        });
        for node in 0..world.scenario.nodes {
            let ahead_ms = world.scenario.skews[node];
            if ahead_ms != 0 {
                world.happened(Class::ClockSkew);
            }
            let born = Node::new(&format!("node-{node}"), &world.clock, ahead_ms);
            world.nodes.borrow_mut().push(born);
        }
        world
    }

    /// What is configured now.
    pub fn settings(&self) -> Rc<Settings> {
        Rc::clone(&self.settings.borrow())
    }

    /// How many partitions the input has now.
    pub fn partitions(&self) -> i32 {
        i32::try_from(self.input.borrow().last_at.len()).expect("few")
    }

    /// The true time.
    pub fn now(&self) -> i64 {
        self.clock.now()
    }

    /// Counts a fault that has really happened.
    pub fn happened(&self, class: Class) {
        *self.counts.borrow_mut().entry(class).or_insert(0) += 1;
    }

    /// Adds a line to the trace.
    pub fn note(&self, line: impl FnOnce() -> String) {
        self.trace.borrow_mut().add(self.now() - START, line);
    }

    /// Whether faults have stopped.
    pub fn is_calm(&self) -> bool {
        self.calm.get()
    }

    /// Lets some time pass: what is due happens, and every process that can takes a step of each stage.
    pub fn tick(self: &Rc<World>) {
        self.clock.advance(if self.is_calm() { self.scenario.tick_ms.max(500) } else { self.scenario.tick_ms });
        self.turn.set(self.turn.get() + 1);
        self.produce();
        self.strike();
        self.end_transactions();
        self.look_at_idle();
        let mut random = Random::at(self.scenario.seed, self.turn.get());
        let count = self.nodes.borrow().len();
        let first = random.index(count);
        for step in 0..count {
            let node = (first + step) % count;
            let merge_first = random.chance(50);
            for merge in [merge_first, !merge_first] {
                if self.is_calm() || !random.chance(self.scenario.sleepy) {
                    let stage = if merge { StageName::Merge } else { StageName::Fold };
                    Node::step(self, node, stage);
                }
            }
        }
    }

    /// The process `node` sleeps for `ms` while the others go on. False where too many sleep already.
    pub fn sleep(self: &Rc<World>, node: usize, ms: i64) -> bool {
        if self.depth.get() >= DEPTH_MAX || self.is_calm() {
            return false;
        }
        let until = self.now() + ms;
        self.note(|| format!("node {node} sleeps for {ms} ms"));
        self.nodes.borrow_mut()[node].sleeps_until = until;
        self.depth.set(self.depth.get() + 1);
        while self.now() < until {
            self.tick();
            if self.is_pending() {
                self.happened(Class::PendingOffsets);
            }
        }
        self.depth.set(self.depth.get() - 1);
        self.note(|| format!("node {node} wakes up"));
        true
    }

    /// Everything that happens once the faults have ended: open transactions end, who is down comes back.
    pub fn become_calm(&self) {
        self.calm.set(true);
        self.note(|| "calm".into());
        for transaction in self.input.borrow_mut().open.drain(..) {
            let _ = transaction.producer.end(transaction.committed);
        }
        let mut nodes = self.nodes.borrow_mut();
        nodes.iter_mut().for_each(Node::become_calm);
    }

    /// Whether everything that was planned has happened.
    pub fn is_over(&self) -> bool {
        let Scenario { records, faults, span_ms, .. } = &self.scenario;
        let (record, fault) = self.next.get();
        (record, fault) == (records.len(), faults.len()) && self.now() >= START + span_ms
    }

    /// Writes the records that are due.
    fn produce(&self) {
        let now = self.now() - START;
        while let Some(planned) = self.scenario.records.get(self.next.get().0).filter(|planned| planned.at <= now) {
            self.next.set((self.next.get().0 + 1, self.next.get().1));
            let sent = &planned.what;
            let partition = Some(sent.partition);
            let record = NewRecord { partition, value: Some(&sent.bytes), key: Some(b"key"), ..NewRecord::default() };
            let Ok((_, offset)) = self.broker.produce(INPUT, &record) else { continue };
            self.note(|| format!("input {}@{offset}: {:?}", sent.partition, sent.class));
            if let Some(class) = sent.class {
                self.happened(class);
            }
            self.look_at_order(sent);
        }
    }

    fn look_at_order(&self, sent: &Sent) {
        let mut input = self.input.borrow_mut();
        let partition = usize::try_from(sent.partition).expect("not negative");
        input.last_at[partition] = self.now();
        let Made::Valid(event) = &sent.made else { return };
        if event.time < input.newest[partition] {
            self.happened(Class::Reordered);
        }
        if event.time <= self.now() + MAX_FUTURE {
            input.newest[partition] = input.newest[partition].max(event.time);
        }
    }

    /// A partition that was silent for longer than its time-out, while others were not.
    fn look_at_idle(&self) {
        let mut input = self.input.borrow_mut();
        let now = self.now();
        let latest = input.last_at.iter().max().copied().unwrap_or(now);
        for last_at in &mut input.last_at {
            if !self.is_calm() && now - *last_at > 2 * IDLE_TIMEOUT && latest > now - IDLE_TIMEOUT {
                self.happened(Class::Idle);
                *last_at = now;
            }
        }
    }

    /// Lets the faults that are due happen.
    fn strike(self: &Rc<World>) {
        let now = self.now() - START;
        while let Some(planned) = self.scenario.faults.get(self.next.get().1).filter(|planned| planned.at <= now) {
            self.next.set((self.next.get().0, self.next.get().1 + 1));
            if !self.is_calm() {
                self.note(|| format!("{:?}", planned.what));
                self.fault(planned.what);
            }
        }
    }

    fn fault(self: &Rc<World>, fault: Fault) {
        match fault {
            Fault::InputTransaction { partition, ms, committed } => self.open_transaction(partition, ms, committed),
            Fault::Blackout(loss) => self.black_out(loss),
            Fault::Redeploy(change) => self.redeploy(change),
            Fault::AddPartition => {
                let count = self.partitions() + 1;
                self.broker.add_partitions(INPUT, count).expect("it exists");
                let mut input = self.input.borrow_mut();
                let now = self.now();
                input.newest.push(0);
                input.last_at.push(now);
                drop(input);
                self.happened(Class::PartitionAdded);
            }
            Fault::Twin { node, ms } => {
                let mut nodes = self.nodes.borrow_mut();
                let mut twin = Node::new(&nodes[node].instance.clone(), &self.clock, 0);
                twin.ends_at = Some(self.now() + ms);
                nodes.push(twin);
                drop(nodes);
                self.happened(Class::Twin);
            }
            of_a_node => Node::fault(self, of_a_node),
        }
    }

    /// Events of its own, in a transaction that stays open for a while.
    fn open_transaction(&self, partition: i32, ms: i64, committed: bool) {
        let now = self.now();
        let mut random = Random::at(self.scenario.seed, now.cast_unsigned());
        let producer = self.broker.producer(&format!("producer-{now}"));
        let class = if committed { Class::InputCommitted } else { Class::InputAborted };
        let sent = in_transaction(&mut random, partition, now);
        let output = |sent: Sent| {
            self.input.borrow_mut().made.insert(sent.bytes.clone(), sent.made);
            let value = Some(sent.bytes);
            Output { topic: INPUT.into(), partition: Some(partition), value, ..Output::default() }
        };
        let outputs: Vec<Output> = sent.into_iter().map(output).collect();
        producer.send(&outputs).expect("it was opened just now");
        self.happened(class);
        self.input.borrow_mut().open.push(OpenTransaction { producer, until: now + ms, committed });
    }

    fn end_transactions(&self) {
        let now = self.now();
        for transaction in self.input.borrow_mut().open.extract_if(.., |open| open.until <= now) {
            // One that took too long has been aborted by the broker.
            let ended = transaction.producer.end(transaction.committed);
            self.note(|| format!("transaction on the input ended: {ended:?}"));
        }
    }

    /// What a record of the input holds.
    pub fn made(&self, bytes: &[u8]) -> Made {
        self.input.borrow().made.get(bytes).expect("nobody else writes to the input").clone()
    }

    /// The newest event time that was written, but for what lies too far ahead.
    pub fn newest_time(&self) -> i64 {
        self.input
            .borrow()
            .made
            .values()
            .filter_map(|made| match made {
                Made::Valid(event) => Some(event.time.min(self.now() + MAX_FUTURE)),
                _ => None,
            })
            .max()
            .unwrap_or(START)
    }

    /// Whether an offset of either group is part of an open transaction.
    fn is_pending(&self) -> bool {
        let settings = self.settings();
        [settings.fold_link(0).group, settings.merge_link(0).group].iter().any(|group| self.broker.holds_offsets(group))
    }

    /// What the fold group has committed, by partition.
    pub fn committed(&self) -> Result<Vec<Option<(i64, FoldMetadata)>>, String> {
        let committed = self.looks.borrow_mut().committed(&self.settings().fold_link(0).group, INPUT);
        let read = |(offset, text): (i64, String)| (offset, FoldMetadata::decode(&text).expect("it is ours"));
        Ok(committed.map_err(|error| error.to_string())?.into_iter().map(|committed| committed.map(read)).collect())
    }

    /// What the merge group has committed for a partition.
    pub fn merge_committed(&self, partition: i32) -> Option<i64> {
        let settings = self.settings();
        let deltas = &settings.layout.names.deltas;
        let committed = self.looks.borrow_mut().committed(&settings.merge_link(0).group, deltas).ok()?;
        committed[usize::try_from(partition).expect("not negative")].as_ref().map(|(offset, _)| *offset)
    }
}
