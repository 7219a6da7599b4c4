//! The whole pipeline in this process: both stages through the real worker loop on the in-memory broker, a clock that
//! moves only with the steps, and commits that fail or kill their worker on order.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use touchstone::clock::{Clock, ManualClock};
use touchstone::config::{Settings, parse};
use touchstone::engine::codec::{FoldMetadata, MergeMetadata};
use touchstone::engine::plan::Plan;
use touchstone::engine::section::Phase;
use touchstone::memory::{Broker, MemoryLink, NewRecord, OwnedRecord};
use touchstone::pipeline::board::{Board, Condition};
use touchstone::pipeline::folding::{FoldSettings, Folding};
use touchstone::pipeline::link::{
    Commit, CommitError, Link, LinkConfig, LinkError, PartitionId, Reader, Rebalance, Take,
};
use touchstone::pipeline::merging::Merging;
use touchstone::pipeline::stage::Stage;
use touchstone::pipeline::worker::Worker;
use touchstone::topics::{Purpose, Topic, table};

/// The topic that touchpoints come in through.
pub const INPUT: &str = "calls";

/// What shall happen to a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is refused before it took effect.
    Aborted,
    /// Its answer is lost after it took effect.
    UnknownAfter,
    /// Its answer is lost, and it never took effect.
    UnknownBefore,
    /// The process dies before it.
    CrashBefore,
    /// The process dies right after it.
    CrashAfter,
}

impl Fault {
    pub const ALL: [Fault; 5] =
        [Fault::Aborted, Fault::UnknownAfter, Fault::UnknownBefore, Fault::CrashBefore, Fault::CrashAfter];

    pub fn name(self) -> &'static str {
        match self {
            Fault::Aborted => "an_abort",
            Fault::UnknownAfter => "an_answer_lost_after",
            Fault::UnknownBefore => "an_answer_lost_before",
            Fault::CrashBefore => "a_crash_before",
            Fault::CrashAfter => "a_crash_after",
        }
    }
}

/// The faults of one stage: by the number of the commit, counted over restarts.
#[derive(Default)]
pub struct Orders {
    pub faults: BTreeMap<usize, Fault>,
    pub commits: usize,
    /// What the log answers when it is asked whether it has ended, instead of the truth: nothing, or that it has not.
    pub unproved: Option<Unproved>,
    crashed: bool,
}

/// Answers that prove nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unproved {
    NoAnswer,
    MoreToCome,
}

/// A link whose commits fail on order.
struct FaultyLink {
    link: MemoryLink,
    orders: Rc<RefCell<Orders>>,
}

impl Link for FaultyLink {
    fn commit(&mut self, commit: Commit<'_>) -> Result<(), CommitError> {
        let mut orders = self.orders.borrow_mut();
        let fault = orders.faults.get(&orders.commits).copied();
        orders.commits += 1;
        orders.crashed |= matches!(fault, Some(Fault::CrashBefore | Fault::CrashAfter));
        match fault {
            None => self.link.commit(commit),
            Some(Fault::Aborted) => Err(CommitError::Aborted("on order".into())),
            Some(Fault::UnknownBefore | Fault::CrashBefore) => Err(CommitError::Unknown("on order".into())),
            Some(Fault::UnknownAfter | Fault::CrashAfter) => {
                self.link.commit(commit)?;
                Err(CommitError::Unknown("on order".into()))
            }
        }
    }

    fn poll(&mut self, max: usize, wait: Duration, take: &mut Take<'_>) -> Result<Vec<Rebalance>, LinkError> {
        self.link.poll(max, wait, take)
    }

    fn resume(&mut self, partition: PartitionId, offset: i64) -> Result<(), LinkError> {
        self.link.resume(partition, offset)
    }

    fn rewind(&mut self, partition: PartitionId, offset: i64) -> Result<(), LinkError> {
        self.link.rewind(partition, offset)
    }

    fn pause(&mut self, partition: PartitionId) -> Result<(), LinkError> {
        self.link.pause(partition)
    }

    fn recycle(&mut self) -> Result<(), LinkError> {
        self.link.recycle()
    }

    fn drained(&mut self, partition: PartitionId, position: i64) -> Result<(bool, i64), LinkError> {
        match self.orders.borrow().unproved {
            None => self.link.drained(partition, position),
            Some(Unproved::NoAnswer) => Err(LinkError::Unavailable("on order".into())),
            Some(Unproved::MoreToCome) => Ok((false, 1)),
        }
    }

    fn start(&mut self, partition: PartitionId) -> Result<(i64, Option<i64>), LinkError> {
        self.link.start(partition)
    }

    fn ends(&mut self, topic: &str) -> Result<Vec<i64>, LinkError> {
        self.link.ends(topic)
    }

    fn committed(&mut self, group: &str, topic: &str) -> Result<Vec<Option<(i64, String)>>, LinkError> {
        self.link.committed(group, topic)
    }

    fn reader(
        &mut self,
        topic: &str,
        partition: i32,
        from: Option<i64>,
        until: Option<i64>,
    ) -> Result<Box<dyn Reader>, LinkError> {
        self.link.reader(topic, partition, from, until)
    }

    fn close(&mut self) {
        self.link.close();
    }
}

/// Both stages, their broker and their clock.
pub struct Pipeline {
    pub settings: Settings,
    pub broker: Broker,
    pub clock: ManualClock,
    pub board: Board,
    pub fold_orders: Rc<RefCell<Orders>>,
    pub merge_orders: Rc<RefCell<Orders>>,
    /// The program whose mapper process runs the mappings, if one does.
    pub mapper: Option<PathBuf>,
    /// Whether the stages run.
    pub runs: (bool, bool),
    fold: Option<Worker<Folding>>,
    merge: Option<Worker<Merging>>,
}

impl Pipeline {
    /// The pipeline of a configuration, with its input but nothing in it; it starts at `now`.
    pub fn new(config: &str, partitions: i32, now: i64) -> Pipeline {
        Pipeline::without(config, partitions, now, "")
    }

    /// The same, but one topic of our own is not there.
    pub fn without(config: &str, partitions: i32, now: i64, missing: &str) -> Pipeline {
        Pipeline::build(config, partitions, now, missing, 1_048_588)
    }

    /// The same with every topic, and an input that takes records of this size.
    pub fn with_input(config: &str, partitions: i32, now: i64, record_bytes_max: usize) -> Pipeline {
        Pipeline::build(config, partitions, now, "", record_bytes_max)
    }

    fn build(config: &str, partitions: i32, now: i64, missing: &str, record_bytes_max: usize) -> Pipeline {
        let raw = parse(config).unwrap_or_else(|error| panic!("{error}"));
        let settings = Settings::new(raw, Path::new(".")).unwrap_or_else(|error| panic!("{error}"));
        let clock = ManualClock::new(now);
        let of_broker = clock.clone();
        let broker = Broker::new(Arc::new(move || of_broker.now()));
        // Members that are gone are put out soon.
        broker.set_timeouts(1_000, 1_000);
        let setting = ("max.message.bytes", record_bytes_max.to_string());
        broker.create(&Topic {
            name: INPUT.into(),
            purpose: Purpose::Input,
            partitions,
            replication_factor: 1,
            config: vec![setting],
        });
        let own = table(&settings.layout).into_iter().skip(settings.inputs.len());
        own.filter(|topic| topic.name != missing).for_each(|topic| broker.create(&topic));
        let (fold_orders, merge_orders) = Default::default();
        let (board, runs, mapper) = (Board::new(), (true, true), None);
        Pipeline { settings, broker, clock, board, fold_orders, merge_orders, mapper, runs, fold: None, merge: None }
    }

    /// Both stages die, and begin again with another configuration.
    pub fn reconfigure(&mut self, config: &str) {
        self.crash();
        let raw = parse(config).unwrap_or_else(|error| panic!("{error}"));
        self.settings = Settings::new(raw, Path::new(".")).unwrap_or_else(|error| panic!("{error}"));
        self.board = Board::new();
        // Those that died are put out of their groups.
        self.clock.advance(5_000);
    }

    /// Writes one record of the input.
    pub fn produce(&self, partition: i32, value: &str) {
        self.produce_to(INPUT, partition, value);
    }

    /// Writes one record of any topic.
    pub fn produce_to(&self, topic: &str, partition: i32, value: &str) {
        let value = Some(value.as_bytes());
        let record = NewRecord { partition: Some(partition), value, key: Some(b"key"), ..NewRecord::default() };
        self.broker.produce(topic, &record).expect("the input takes every record");
    }

    fn link(&self, config: &LinkConfig, orders: &Rc<RefCell<Orders>>) -> Box<dyn Link> {
        let link = self.broker.link(config).expect("the topics are there");
        Box::new(FaultyLink { link, orders: Rc::clone(orders) })
    }

    /// Lets a tenth of a second pass and each stage take a step; a stage that is not running begins.
    pub fn step(&mut self) {
        self.clock.advance(100);
        if self.runs.0 {
            self.step_fold();
        }
        if self.runs.1 {
            self.step_merge();
        }
    }

    fn step_fold(&mut self) {
        let (pace, clock) = (self.settings.pace, Arc::new(self.clock.clone()));
        let mut fold = self.fold.take().unwrap_or_else(|| {
            let link = self.link(&self.settings.fold_link(0), &self.fold_orders);
            let folding = FoldSettings { mapper: self.mapper.clone(), ..self.settings.folding() };
            let stage = Folding::new(Arc::clone(&self.settings.plan), folding, self.board.clone());
            Worker::new("fold", link, stage, pace, clock, self.board.clone())
        });
        self.fold = turn(&mut fold, &self.fold_orders).then_some(fold);
    }

    fn step_merge(&mut self) {
        let (pace, clock) = (self.settings.pace, Arc::new(self.clock.clone()));
        let mut merge = self.merge.take().unwrap_or_else(|| {
            let link = self.link(&self.settings.merge_link(0), &self.merge_orders);
            let stage = Merging::new(Arc::clone(&self.settings.plan), self.settings.merging(), self.board.clone());
            Worker::new("merge", link, stage, pace, clock, self.board.clone())
        });
        self.merge = turn(&mut merge, &self.merge_orders).then_some(merge);
    }

    /// Steps until something holds.
    pub fn step_until(&mut self, what: &str, holds: impl Fn(&Pipeline) -> bool) {
        for _ in 0..1_000 {
            if holds(self) {
                return;
            }
            self.step();
        }
        panic!("{what}: not within 1000 steps; {:?}", self.conditions());
    }

    /// What `touchstone sources retire` does: a first stage over one input of `config` that says its last word.
    pub fn retire(&self, config: &str, input: &str) -> Result<(), String> {
        let raw = parse(config).map_err(|error| error.to_string())?;
        let settings = Settings::new(raw, Path::new(".")).map_err(|error| error.to_string())?;
        let index = settings.plan.input(input).ok_or("there is no such input")?;
        let plan = Plan { inputs: vec![settings.plan.inputs[index].clone()], ..(*settings.plan).clone() };
        let folding = FoldSettings { inputs: vec![settings.inputs[index].clone()], ..settings.folding() };
        let subscriptions = vec![settings.fold_link(0).subscriptions.swap_remove(index)];
        let link = LinkConfig { subscriptions, transactional_id: "retire".into(), ..settings.fold_link(0) };
        let link = Box::new(self.broker.link(&link).map_err(|error| error.to_string())?);
        let board = Board::new();
        let stage = Folding::retiring(Arc::new(plan), folding, board.clone());
        let clock = Arc::new(self.clock.clone());
        let mut worker = Worker::new("retire", link, stage, settings.pace, clock, board.clone());
        for _ in 0..100 {
            self.clock.advance(100);
            worker.step(Duration::ZERO).map_err(|error| error.to_string())?;
        }
        let retired = board.look().sources.values().filter(|status| status.phase == Phase::Retired).count();
        worker.stop(|| ()).map_err(|error| error.to_string())?;
        if retired == 1 { Ok(()) } else { Err(format!("{retired} partitions are retired")) }
    }

    /// Both stages die.
    pub fn crash(&mut self) {
        (self.fold, self.merge) = (None, None);
    }

    /// What the fold group has committed, by partition: the offset and the metadata.
    pub fn committed(&self) -> Vec<Option<(i64, FoldMetadata)>> {
        let read = |(offset, text): (i64, String)| (offset, FoldMetadata::decode(&text).expect("it is ours"));
        let committed = self.committed_of(&self.settings.group("fold"), INPUT).into_iter();
        committed.map(|committed| committed.map(read)).collect()
    }

    /// What the merge group has committed, by partition: the offset and the metadata.
    pub fn committed_by_merge(&self) -> Vec<Option<(i64, MergeMetadata)>> {
        let read = |(offset, text): (i64, String)| (offset, MergeMetadata::decode(&text).expect("it is ours"));
        let committed =
            self.committed_of(&self.settings.group("merge"), &self.settings.layout.names.deltas).into_iter();
        committed.map(|committed| committed.map(read)).collect()
    }

    /// What any group has committed.
    pub fn committed_of(&self, group: &str, topic: &str) -> Vec<Option<(i64, String)>> {
        let config =
            LinkConfig { group: "looks".into(), transactional_id: "looks".into(), ..self.settings.fold_link(0) };
        let mut link = self.broker.link(&LinkConfig { subscriptions: Vec::new(), ..config }).expect("a link");
        let committed = link.committed(group, topic).expect("the topic exists");
        link.close();
        committed
    }

    /// Everything a topic holds.
    pub fn topic(&self, topic: &str) -> Vec<OwnedRecord> {
        self.broker.read_all(topic).expect("the topic exists")
    }

    /// The final records by key.
    ///
    /// # Panics
    /// When one is there twice, or is followed by another record under its key.
    pub fn finals(&self) -> BTreeMap<String, String> {
        let mut finals = BTreeMap::new();
        for record in self.topic(&self.settings.layout.names.aggregates) {
            let [key, value] = [record.key, record.value].map(|bytes| String::from_utf8(bytes.unwrap_or_default()));
            let (key, value) = (key.expect("UTF-8"), value.expect("UTF-8"));
            assert!(!finals.contains_key(&key), "{key}: after the final record came {value}");
            if value.contains("\"state\":\"final\"") {
                finals.insert(key, value);
            }
        }
        finals
    }

    /// Why tasks are halted: by stage and partition.
    pub fn halted(&self) -> BTreeMap<(&'static str, i32), String> {
        let halted = |condition: Condition| match condition {
            Condition::Halted(halt) => Some(halt.to_string()),
            _ => None,
        };
        self.conditions().into_iter().filter_map(|(task, condition)| Some((task, halted(condition)?))).collect()
    }

    fn conditions(&self) -> BTreeMap<(&'static str, i32), Condition> {
        let posted = self.board.look();
        let folds = posted.sources.into_iter().map(|((_, partition), status)| (("fold", partition), status.condition));
        let merges = posted.merges.into_iter().map(|(partition, status)| (("merge", partition), status.condition));
        folds.chain(merges).collect()
    }
}

/// One step of a worker; false when it died in it.
fn turn<S: Stage>(worker: &mut Worker<S>, orders: &Rc<RefCell<Orders>>) -> bool {
    worker.step(Duration::ZERO).expect("no fault on order ends the process");
    !std::mem::take(&mut orders.borrow_mut().crashed)
}
