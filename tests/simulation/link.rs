//! The link of a worker in the simulation: the in-memory broker's, with faults in between.
//!
//! A process that died or fell asleep in the middle of a call comes back to that call: everything checks first whether
//! this life is still the process's.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use touchstone::engine::codec::{FoldMetadata, MergeMetadata};
use touchstone::engine::section::Phase;
use touchstone::memory::{End, MemoryLink};
use touchstone::pipeline::link::{Commit, CommitError, Link, LinkError, Output, PartitionId, Reader, Rebalance, Take};
use touchstone::record::Record;

use crate::faults::{Answer, Class, LinkFault, Moment, StageName};
use crate::node::Node;
use crate::random::Random;
use crate::scenario::{POLL_INTERVAL, TRANSACTION_TIMEOUT};
use crate::world::{INPUT, World};

/// Who makes the call.
#[derive(Clone)]
struct Caller {
    world: Rc<World>,
    node: usize,
    stage: StageName,
    life: u64,
}

impl Caller {
    fn is_dead(&self) -> bool {
        self.world.nodes.borrow()[self.node].life != self.life
    }

    /// Takes the first armed fault that `fits`.
    fn armed(&self, fits: impl Fn(&LinkFault) -> bool) -> Option<LinkFault> {
        if self.world.is_calm() {
            return None;
        }
        let armed = &mut self.world.nodes.borrow_mut()[self.node].armed;
        let at = armed.iter().position(|(stage, fault)| *stage == self.stage && fits(fault))?;
        Some(armed.remove(at).1)
    }

    /// The broker cannot be reached at all, or the process that asks is no more.
    fn reach(&self) -> Result<(), LinkError> {
        if self.is_dead() {
            return Err(LinkError::Unavailable("this process is dead".into()));
        }
        if self.world.nodes.borrow()[self.node].outage_until > self.world.now() {
            self.world.happened(Class::Outage);
            return Err(LinkError::Unavailable("no broker answers".into()));
        }
        Ok(())
    }

    fn reaches_partition(&self, topic: &str, partition: i32) -> bool {
        let now = self.world.now();
        let unreachable = |(of, until): &(i32, i64)| *of == partition && *until > now;
        topic != INPUT || !self.world.nodes.borrow()[self.node].unreachable.iter().any(unreachable)
    }

    fn dies(&self, class: Class) {
        let mut random = Random::at(self.world.scenario.seed, self.world.now().cast_unsigned());
        Node::die(&self.world, self.node, class, random.below(15_000));
    }

    /// Sleeps, where not too many do; true if it is still alive then.
    fn sleeps(&self, ms: i64) -> bool {
        if self.world.sleep(self.node, ms) {
            self.world.happened(Class::Frozen);
        }
        !self.is_dead()
    }

    fn note(&self, line: impl FnOnce() -> String) {
        self.world.note(|| format!("node {} {:?} {}", self.node, self.stage, line()));
    }
}

/// A link with faults.
pub struct FaultyLink {
    link: MemoryLink,
    caller: Caller,
    /// The topics, as partitions name them.
    topics: Vec<String>,
    /// The next offset of each partition that flows.
    positions: BTreeMap<PartitionId, i64>,
    /// Partitions that are held back because their leader is not reached.
    withheld: BTreeSet<PartitionId>,
    /// Records taken since the last commit.
    open: BTreeMap<PartitionId, usize>,
    recycled: bool,
}

impl FaultyLink {
    pub fn new(link: MemoryLink, world: Rc<World>, node: usize, stage: StageName, life: u64) -> FaultyLink {
        let topics = match stage {
            StageName::Fold => vec![INPUT.to_string()],
            StageName::Merge => vec![world.settings().layout.names.deltas.clone()],
        };
        FaultyLink {
            link,
            caller: Caller { world, node, stage, life },
            topics,
            positions: BTreeMap::new(),
            withheld: BTreeSet::new(),
            open: BTreeMap::new(),
            recycled: false,
        }
    }

    fn dead(&self) -> CommitError {
        CommitError::Unknown("this process is dead".into())
    }

    /// What becomes of a commit under a fault that is armed.
    fn disturbed(&mut self, commit: Commit<'_>, fault: LinkFault) -> Result<(), CommitError> {
        let caller = self.caller.clone();
        let happened = |class| caller.world.happened(class);
        match fault {
            LinkFault::Abort => {
                happened(Class::Aborted);
                Err(CommitError::Aborted("on order".into()))
            }
            LinkFault::Unknown { made } => {
                if made {
                    self.link.commit(commit)?;
                }
                happened(if made { Class::UnknownAfter } else { Class::UnknownBefore });
                Err(CommitError::Unknown("on order".into()))
            }
            LinkFault::Crash(moment) => {
                let class = match moment {
                    Moment::Before => Class::CrashBefore,
                    Moment::Open => {
                        self.link.begin_commit(commit)?;
                        Class::CrashOpen
                    }
                    Moment::After => {
                        self.link.commit(commit)?;
                        Class::CrashAfter
                    }
                };
                caller.dies(class);
                Err(self.dead())
            }
            LinkFault::Pause(moment, ms) => self.paused(commit, moment, ms),
            LinkFault::Torn { lost, offsets, answer } => self.torn(commit, lost, offsets, answer),
            LinkFault::CrashRestoring | LinkFault::PauseRestoring(_) | LinkFault::PausePolling(_) => {
                unreachable!("not a commit's")
            }
        }
    }

    fn paused(&mut self, commit: Commit<'_>, moment: Moment, ms: i64) -> Result<(), CommitError> {
        let caller = self.caller.clone();
        let alive = |caller: &Caller| if caller.sleeps(ms) { Ok(()) } else { Err(()) };
        match moment {
            Moment::Before => {
                alive(&caller).map_err(|()| self.dead())?;
                let made = self.link.commit(commit);
                if made.is_err() && ms > POLL_INTERVAL {
                    caller.world.happened(Class::Zombie);
                }
                made
            }
            Moment::Open => {
                self.link.begin_commit(commit)?;
                alive(&caller).map_err(|()| self.dead())?;
                let made = self.link.finish_commit(End::Committed);
                if made.is_err() && ms > TRANSACTION_TIMEOUT {
                    caller.world.happened(Class::TransactionTimeout);
                }
                made
            }
            Moment::After => {
                self.link.commit(commit)?;
                alive(&caller).map_err(|()| self.dead())
            }
        }
    }

    fn torn(&mut self, commit: Commit<'_>, lost: u8, offsets: bool, answer: Answer) -> Result<(), CommitError> {
        let caller = self.caller.clone();
        let names = caller.world.settings().layout.names.clone();
        let touched: Vec<i32> = commit.offsets.iter().map(|(id, ..)| id.partition).collect();
        self.link.begin_commit(commit)?;
        let is_lost = |bit: i32| lost >> bit & 1 == 1;
        let holds = |part: Option<(&str, i32)>| match part {
            None => offsets,
            Some((topic, partition)) if *topic == names.deltas || *topic == names.aggregates => !is_lost(partition),
            Some((topic, partition)) if *topic == names.changelog => !is_lost(4 + partition),
            // Letters go as the offsets do: what an oracle takes as facts cannot be lost.
            Some(_) => offsets || answer == Answer::Committed,
        };
        self.link.finish_commit(End::Torn(&holds))?;
        let mut grave = caller.world.grave.borrow_mut();
        match caller.stage {
            StageName::Fold => {
                grave.may_halt.extend(0..caller.world.settings().plan.deltas_partitions);
                grave.letters_twice = true;
            }
            StageName::Merge => {
                grave.torn_finals.extend(&touched);
                grave.may_halt.extend(touched);
            }
        }
        drop(grave);
        caller.world.happened(match caller.stage {
            StageName::Fold => Class::TornFold,
            StageName::Merge => Class::TornMerge,
        });
        match answer {
            Answer::Committed => Ok(()),
            Answer::Aborted => Err(CommitError::Aborted("torn, on order".into())),
            Answer::Lost => Err(CommitError::Unknown("torn, on order".into())),
        }
    }

    /// Holds partitions back whose leader is not reached, and lets those flow again whose is.
    fn withhold(&mut self) {
        let ids: Vec<PartitionId> = self.positions.keys().copied().collect();
        for id in ids {
            let reached = self.caller.reaches_partition(&self.topics[id.topic], id.partition);
            if !reached && self.withheld.insert(id) {
                let _ = self.link.pause(id);
                self.caller.world.happened(Class::Unreachable);
                if self.caller.world.scenario.catches_up {
                    self.caller.world.happened(Class::SlowPartition);
                }
            }
            if reached && self.withheld.remove(&id) {
                let _ = self.link.resume(id, self.positions[&id]);
            }
        }
    }

    /// Remembers what a source that joins may take as its first watermark: the greatest that merge has named so far.
    fn look_at_joining(&self, offsets: &[(PartitionId, i64, String)]) {
        let mut times = self.caller.world.times.borrow_mut();
        for (id, _, metadata) in offsets {
            match self.caller.stage {
                StageName::Merge => {
                    let metadata = MergeMetadata::decode(metadata).expect("written just now");
                    let reach = metadata.reach.values().filter_map(|reach| reach.watermark).max();
                    times.reach = times.reach.max(reach);
                    let all =
                        (0..self.caller.world.scenario.partitions).all(|source| times.announced.contains(&source));
                    assert!(reach.is_none() || all, "merge names a time before every source has announced itself");
                }
                StageName::Fold => {
                    let phase = FoldMetadata::decode(metadata).expect("written just now").phase;
                    let reach = times.reach;
                    if phase == Phase::Joining {
                        times.announced.insert(id.partition);
                        times.joining.insert(id.partition);
                    } else if times.joining.remove(&id.partition) {
                        let joined = times.joined.entry(id.partition).or_insert(None);
                        *joined = (*joined).max(reach);
                    }
                }
            }
        }
    }

    fn told(&mut self, rebalances: &[Rebalance]) {
        for rebalance in rebalances {
            self.caller.note(|| match rebalance {
                Rebalance::Assigned(list) => {
                    let starts: Vec<_> =
                        list.iter().map(|assigned| (assigned.id.partition, assigned.position)).collect();
                    format!("assigned {starts:?}")
                }
                Rebalance::Revoked(list) => {
                    format!("revoked {:?}", list.iter().map(|id| id.partition).collect::<Vec<_>>())
                }
            });
            let Rebalance::Revoked(list) = rebalance else { continue };
            for id in list {
                self.positions.remove(id);
                self.withheld.remove(id);
                if self.open.remove(id).is_some_and(|open| open > 0) && !self.recycled {
                    self.caller.world.happened(Class::RebalanceInBatch);
                }
            }
            self.recycled = false;
        }
    }
}

impl Link for FaultyLink {
    fn commit(&mut self, commit: Commit<'_>) -> Result<(), CommitError> {
        if let Err(error) = self.caller.reach() {
            self.caller.note(|| format!("not committed: {error}"));
            return Err(CommitError::Unknown(error.to_string()));
        }
        // All at once: a fault is chosen by what is written.
        let Commit { outputs, offsets } = commit;
        let outputs: Vec<Output> = outputs.collect();
        let (written, positions) = (outputs.len(), offsets.iter().map(|(id, offset, _)| (id.partition, *offset)));
        let positions: Vec<(i32, i64)> = positions.collect();
        let changelog = self.caller.world.settings().layout.names.changelog.clone();
        let of_commit = |fault: &LinkFault| match fault {
            LinkFault::CrashRestoring | LinkFault::PauseRestoring(_) | LinkFault::PausePolling(_) => false,
            // One that shall lose a part of the changelog waits for a checkpoint.
            LinkFault::Torn { lost, .. } => lost >> 4 == 0 || outputs.iter().any(|output| output.topic == changelog),
            _ => true,
        };
        self.look_at_joining(&offsets);
        let armed = self.caller.armed(of_commit);
        let commit = Commit { outputs: Box::new(outputs.into_iter()), offsets };
        let result = match armed {
            None => self.link.commit(commit),
            Some(fault) => {
                self.caller.note(|| format!("{fault:?}"));
                self.disturbed(commit, fault)
            }
        };
        if matches!(result, Err(CommitError::Fenced(_))) {
            self.caller.world.happened(Class::Fenced);
        }
        if result.is_ok() {
            self.open.clear();
        }
        self.caller.note(|| match &result {
            Ok(()) => format!("committed {positions:?} with {written} records"),
            Err(error) => format!("not committed {positions:?}: {error}"),
        });
        result
    }

    fn poll(&mut self, max: usize, wait: Duration, take: &mut Take<'_>) -> Result<Vec<Rebalance>, LinkError> {
        self.caller.reach()?;
        if let Some(LinkFault::PausePolling(ms)) =
            self.caller.armed(|fault| matches!(fault, LinkFault::PausePolling(_)))
        {
            self.caller.sleeps(ms);
            self.caller.reach()?;
        }
        self.withhold();
        let (positions, open) = (&mut self.positions, &mut self.open);
        let rebalances = self.link.poll(max, wait, &mut |id, record| {
            positions.insert(id, record.offset + 1);
            *open.entry(id).or_insert(0) += 1;
            take(id, record);
        })?;
        self.told(&rebalances);
        Ok(rebalances)
    }

    fn resume(&mut self, partition: PartitionId, offset: i64) -> Result<(), LinkError> {
        self.caller.reach()?;
        self.positions.insert(partition, offset);
        self.withheld.remove(&partition);
        self.link.resume(partition, offset)
    }

    fn rewind(&mut self, partition: PartitionId, offset: i64) -> Result<(), LinkError> {
        self.caller.reach()?;
        self.positions.insert(partition, offset);
        self.open.remove(&partition);
        self.link.rewind(partition, offset)
    }

    fn pause(&mut self, partition: PartitionId) -> Result<(), LinkError> {
        self.positions.remove(&partition);
        self.withheld.remove(&partition);
        self.link.pause(partition)
    }

    fn recycle(&mut self) -> Result<(), LinkError> {
        self.caller.note(|| "begins again".into());
        self.caller.reach()?;
        self.recycled = true;
        self.positions.clear();
        self.link.recycle()
    }

    fn drained(&mut self, partition: PartitionId, position: i64) -> Result<(bool, i64), LinkError> {
        self.caller.reach()?;
        if self.caller.world.nodes.borrow()[self.caller.node].no_proof_until > self.caller.world.now() {
            self.caller.world.happened(Class::NoProof);
            return Err(LinkError::Unavailable("the leader does not answer".into()));
        }
        if !self.caller.reaches_partition(&self.topics[partition.topic], partition.partition) {
            return Err(LinkError::Unavailable("the leader is not reached".into()));
        }
        self.link.drained(partition, position)
    }

    fn start(&mut self, partition: PartitionId) -> Result<(i64, Option<i64>), LinkError> {
        self.caller.reach()?;
        self.link.start(partition)
    }

    fn ends(&mut self, topic: &str) -> Result<Vec<i64>, LinkError> {
        self.caller.reach()?;
        self.link.ends(topic)
    }

    fn committed(&mut self, group: &str, topic: &str) -> Result<Vec<Option<(i64, String)>>, LinkError> {
        self.caller.reach()?;
        self.link.committed(group, topic)
    }

    fn reader(
        &mut self,
        topic: &str,
        partition: i32,
        from: Option<i64>,
        until: Option<i64>,
    ) -> Result<Box<dyn Reader>, LinkError> {
        self.caller.reach()?;
        if !self.caller.reaches_partition(topic, partition) {
            return Err(LinkError::Unavailable("the leader is not reached".into()));
        }
        let reader = self.link.reader(topic, partition, from, until)?;
        let topic = topic.to_string();
        Ok(Box::new(FaultyReader { reader, caller: self.caller.clone(), topic, partition, interrupted: false }))
    }

    fn close(&mut self) {
        if !self.caller.is_dead() {
            self.link.close();
        }
    }
}

struct FaultyReader {
    reader: Box<dyn Reader>,
    caller: Caller,
    topic: String,
    partition: i32,
    interrupted: bool,
}

impl Reader for FaultyReader {
    fn read(&mut self, max: usize, wait: Duration, take: &mut dyn FnMut(Record<'_>)) -> Result<bool, LinkError> {
        let dead = || LinkError::Unavailable("this process is dead".into());
        match self.caller.armed(|fault| matches!(fault, LinkFault::CrashRestoring | LinkFault::PauseRestoring(_))) {
            Some(LinkFault::CrashRestoring) => {
                self.caller.dies(Class::CrashRestoring);
                return Err(dead());
            }
            Some(LinkFault::PauseRestoring(ms)) => {
                self.interrupted = true;
                if !self.caller.sleeps(ms) {
                    return Err(dead());
                }
            }
            _ => {}
        }
        if let Err(error) = self.caller.reach() {
            self.interrupted = true;
            return Err(error);
        }
        if !self.caller.reaches_partition(&self.topic, self.partition) {
            self.interrupted = true;
            return Err(LinkError::Unavailable("the leader is not reached".into()));
        }
        let done = self.reader.read(max.min(self.caller.world.scenario.read_max), Duration::ZERO.min(wait), take)?;
        if done && std::mem::take(&mut self.interrupted) {
            self.caller.world.happened(Class::RestoreInterrupted);
        }
        Ok(done)
    }

    fn remaining(&self) -> i64 {
        self.reader.remaining()
    }
}
