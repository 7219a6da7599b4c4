//! The port to a log, on the in-memory broker.
//!
//! A commit is one transaction in two halves, each under the broker's lock: begin, append, check the group, hold the
//! offsets; then end. What fails in between ends it as aborted, with the gaps in the offsets that this leaves in Kafka
//! too. Records are copied out under the lock and handed over after it is released: the worker may call the broker while
//! it takes them.
//! Dropping a link without [`Link::close`] is a crash: its member stays in the group until it is put out.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::group::Place;
use super::log::{Batch, Log};
use super::state::{End, State};
use super::{Broker, append};
use crate::pipeline::link::{
    Assigned, Commit, CommitError, Link, LinkConfig, LinkError, Output, PartitionId, Reader, Rebalance, Start, Take,
};
use crate::record::Record;

/// How long a reader to the present end waits, by the broker's clock, for open transactions.
const STABLE_WAIT_MS: i64 = 25_000;

/// How many outputs of a commit are made before they are written.
const OUTPUTS: usize = 256;

#[derive(Debug)]
struct Owned {
    place: Place,
    position: i64,
    flows: bool,
    /// The position that the log does not hold.
    lost: Option<i64>,
}

/// A worker's connection to the in-memory broker.
pub struct MemoryLink {
    broker: Broker,
    config: LinkConfig,
    topics: Vec<usize>,
    member: u64,
    epoch: i32,
    owned: BTreeMap<PartitionId, Owned>,
    events: VecDeque<Rebalance>,
    batch: Batch,
    /// The partition from which the next batch is filled first.
    turn: usize,
}

impl MemoryLink {
    pub(super) fn open(broker: Broker, config: LinkConfig) -> Result<Self, LinkError> {
        let (topics, member, epoch) = broker.change(|state| {
            let names = config.subscriptions.iter().map(|subscription| state.index(&subscription.topic));
            let topics = names.collect::<Result<Vec<usize>, LinkError>>()?;
            let epoch = state.init_producer(&config.transactional_id);
            let now = (state.clock)();
            let member =
                state.with_group(&config.group, |group, partitions| group.join(topics.clone(), now, partitions));
            Ok((topics, member, epoch))
        })?;
        let (owned, events, batch) = (BTreeMap::new(), VecDeque::new(), Batch::default());
        Ok(Self { broker, config, topics, member, epoch, owned, events, batch, turn: 0 })
    }

    fn id(&self, (topic, partition): Place) -> PartitionId {
        let topic = self.topics.iter().position(|&own| own == topic).expect("only subscribed topics are assigned");
        PartitionId { topic, partition }
    }

    /// Asks the group what changed and queues it for the worker.
    fn follow_group(&mut self, state: &mut State) {
        let (now, limit) = ((state.clock)(), state.limits.poll_interval_max_ms);
        let member = self.member;
        let changes =
            state.with_group(&self.config.group, |group, partitions| group.poll(member, now, limit, partitions));
        if changes.unknown {
            let gone: Vec<PartitionId> = std::mem::take(&mut self.owned).into_keys().collect();
            if !gone.is_empty() {
                self.events.push_back(Rebalance::Revoked(gone));
            }
            let topics = self.topics.clone();
            self.member = state.with_group(&self.config.group, |group, partitions| group.join(topics, now, partitions));
        }
        if !changes.revoked.is_empty() {
            let revoked: Vec<PartitionId> = changes.revoked.into_iter().map(|place| self.id(place)).collect();
            self.owned.retain(|id, _| !revoked.contains(id));
            self.events.push_back(Rebalance::Revoked(revoked));
        }
        if !changes.assigned.is_empty() {
            let assigned = changes.assigned.into_iter().map(|place| self.take_over(state, place)).collect();
            self.events.push_back(Rebalance::Assigned(assigned));
        }
    }

    /// Works out where a partition starts and counts it as ours, paused.
    fn take_over(&mut self, state: &State, place: Place) -> Assigned {
        let id = self.id(place);
        let log = state.log(place);
        let committed = state.groups.get(&self.config.group).and_then(|group| group.committed(place)).cloned();
        let position = committed.as_ref().map_or_else(|| self.start_in(state, id), |(offset, _)| *offset);
        let first_timestamp = if committed.is_none() { log.first_timestamp() } else { None };
        let lost = out_of_range(state, place, position);
        let gone = lost.as_ref().map(|_| position);
        let bounds = (log.start(), log.end());
        self.owned.insert(id, Owned { place, position, flows: false, lost: gone });
        let partitions = i32::try_from(state.topic(place.0).partitions.len()).expect("counted in i32");
        Assigned { id, committed, position, first_timestamp, lost, partitions, bounds }
    }

    /// Where the start setting puts a partition now.
    fn start_in(&self, state: &State, id: PartitionId) -> i64 {
        let log = state.log((self.topics[id.topic], id.partition));
        match self.config.subscriptions[id.topic].start {
            Start::Beginning => log.start(),
            Start::End => log.last_stable(),
            Start::Timestamp(timestamp) => log.offset_for_time(timestamp),
        }
    }

    /// Fills the batch from the partitions that flow, beginning with another one each time.
    fn fill(&mut self, state: &State, max: usize) {
        self.batch.reset(max);
        let count = self.owned.len();
        self.turn = self.turn.checked_rem(count).unwrap_or(0);
        let mut lost = Vec::new();
        for step in 0..count {
            let index = (self.turn + step) % count;
            let (&id, owned) = self.owned.iter_mut().nth(index).expect("index is below the count");
            if !owned.flows || owned.lost.is_some() {
                continue;
            }
            if out_of_range(state, owned.place, owned.position).is_some() {
                lost.push((id, owned.place));
                continue;
            }
            let log = state.log(owned.place);
            if owned.position < log.last_stable() {
                owned.position = log.read(id, owned.position, log.last_stable(), &mut self.batch);
            }
        }
        self.turn += 1;
        for (id, place) in lost {
            let position = self.owned[&id].position;
            let assigned =
                Assigned { position, lost: out_of_range(state, place, position), ..self.take_over(state, place) };
            self.own(id).expect("taken over just now").lost = Some(position);
            self.events.push_back(Rebalance::Revoked(vec![id]));
            self.events.push_back(Rebalance::Assigned(vec![assigned]));
        }
    }

    fn own(&mut self, id: PartitionId) -> Result<&mut Owned, LinkError> {
        self.owned.get_mut(&id).ok_or_else(|| {
            LinkError::Unavailable(format!("partition {} of topic {} is not owned any more", id.partition, id.topic))
        })
    }

    /// The first half of a commit: everything is written, nothing decided. For a simulator that lets the process die
    /// or sleep here; [`MemoryLink::finish_commit`] is the other half.
    ///
    /// # Errors
    /// As [`Link::commit`]: refused, and the transaction is aborted.
    ///
    /// # Panics
    /// When there are no offsets: outputs alone would not be fenced.
    pub fn begin_commit(&mut self, commit: Commit<'_>) -> Result<(), CommitError> {
        assert!(!commit.offsets.is_empty(), "outputs without offsets are not fenced");
        let Commit { mut outputs, offsets } = commit;
        if let Some((id, ..)) = offsets.iter().find(|(id, ..)| !self.owned.contains_key(id)) {
            return Err(CommitError::Aborted(format!("partition {} is not owned any more", id.partition)));
        }
        loop {
            // Made outside of the lock, and few at a time: there may be very many.
            let portion: Vec<Output> = outputs.by_ref().take(OUTPUTS).collect();
            let last = portion.len() < OUTPUTS;
            self.broker.change(|state| {
                state.begin(&self.config.transactional_id, self.epoch)?;
                let written = self.write(state, &portion, if last { &offsets } else { &[] });
                if written.is_err() {
                    state.end(&self.config.transactional_id, End::Aborted);
                }
                written
            })?;
            if last {
                return Ok(());
            }
        }
    }

    /// The second half of a commit.
    ///
    /// # Errors
    /// [`CommitError::Fenced`]: the transaction took too long, or another process took the identity over.
    pub fn finish_commit(&mut self, end: End<'_>) -> Result<(), CommitError> {
        self.broker.change(|state| {
            state.begin(&self.config.transactional_id, self.epoch)?;
            state.end(&self.config.transactional_id, end);
            Ok(())
        })
    }

    /// The steps of a transaction between begin and end.
    fn write(
        &self,
        state: &mut State,
        outputs: &[Output],
        offsets: &[(PartitionId, i64, String)],
    ) -> Result<(), CommitError> {
        outputs.iter().try_for_each(|output| append(state, &self.config.transactional_id, output))?;
        let group = state.groups.get(&self.config.group);
        let told = group.and_then(|group| group.told(self.member));
        let refused = group.map(|group| group.check(self.member, told.unwrap_or(-1)));
        if let Some(Err(reason)) = refused {
            return Err(CommitError::Aborted(reason));
        }
        for (id, offset, metadata) in offsets {
            let place = (self.topics[id.topic], id.partition);
            state
                .hold_offset(&self.config.transactional_id, &self.config.group, place, *offset, metadata)
                .map_err(CommitError::Aborted)?;
        }
        Ok(())
    }
}

impl Link for MemoryLink {
    fn poll(&mut self, max: usize, wait: Duration, take: &mut Take<'_>) -> Result<Vec<Rebalance>, LinkError> {
        let broker = self.broker.clone();
        let deadline = Instant::now() + wait;
        let mut state = broker.lock();
        loop {
            state.expire_transactions();
            if self.events.is_empty() {
                self.follow_group(&mut state);
            }
            if self.events.is_empty() {
                self.fill(&state, max);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if !self.events.is_empty() || self.batch.len() > 0 || left.is_zero() {
                break;
            }
            state = broker.wait(state, left);
        }
        drop(state);
        self.batch.deliver(take);
        self.batch.reset(0);
        // A position that turned out to be lost queues its events behind records that were read before it.
        Ok(self.events.drain(..).collect())
    }

    fn resume(&mut self, partition: PartitionId, offset: i64) -> Result<(), LinkError> {
        let owned = self.own(partition)?;
        if owned.lost == Some(offset) {
            return Err(LinkError::Lost(format!("offset {offset} of partition {} is gone", partition.partition)));
        }
        (owned.position, owned.flows, owned.lost) = (offset, true, None);
        Ok(())
    }

    fn rewind(&mut self, partition: PartitionId, offset: i64) -> Result<(), LinkError> {
        self.own(partition)?.position = offset;
        Ok(())
    }

    fn pause(&mut self, partition: PartitionId) -> Result<(), LinkError> {
        self.own(partition)?.flows = false;
        Ok(())
    }

    fn commit(&mut self, commit: Commit<'_>) -> Result<(), CommitError> {
        self.begin_commit(commit)?;
        self.finish_commit(End::Committed)
    }

    fn recycle(&mut self) -> Result<(), LinkError> {
        let gone: Vec<PartitionId> = std::mem::take(&mut self.owned).into_keys().collect();
        self.epoch = self.broker.change(|state| {
            let member = self.member;
            state.with_group(&self.config.group, |group, _| group.forget_owned(member));
            state.init_producer(&self.config.transactional_id)
        });
        self.events.clear();
        if !gone.is_empty() {
            self.events.push_back(Rebalance::Revoked(gone));
        }
        Ok(())
    }

    fn drained(&mut self, partition: PartitionId, position: i64) -> Result<(bool, i64), LinkError> {
        let place = (self.topics[partition.topic], partition.partition);
        let state = self.broker.lock();
        let log = state.log(place);
        let left = (log.end() - position).max(0);
        let open = log.last_stable() < log.end();
        if left > 0 && (open || log.has_visible(position)) { Ok((false, left)) } else { Ok((true, 0)) }
    }

    fn start(&mut self, partition: PartitionId) -> Result<(i64, Option<i64>), LinkError> {
        let place = self.own(partition)?.place;
        let state = self.broker.lock();
        Ok((self.start_in(&state, partition), state.log(place).first_timestamp()))
    }

    fn ends(&mut self, topic: &str) -> Result<Vec<i64>, LinkError> {
        let state = self.broker.lock();
        let index = state.index(topic)?;
        Ok(state.topic(index).partitions.iter().map(Log::end).collect())
    }

    fn committed(&mut self, group: &str, topic: &str) -> Result<Vec<Option<(i64, String)>>, LinkError> {
        let state = self.broker.lock();
        let index = state.index(topic)?;
        let group = state.groups.get(group);
        let places = (0..).zip(&state.topic(index).partitions).map(|(partition, _)| (index, partition));
        Ok(places.map(|place| group.and_then(|group| group.committed(place)).cloned()).collect())
    }

    fn reader(
        &mut self,
        topic: &str,
        partition: i32,
        from: Option<i64>,
        until: Option<i64>,
    ) -> Result<Box<dyn Reader>, LinkError> {
        let state = self.broker.lock();
        let place = state.place(topic, partition)?;
        let log = state.log(place);
        let position = from.unwrap_or(log.start());
        let end = until.unwrap_or(log.end());
        for offset in [position, end] {
            if let Some(lost) = out_of_range(&state, place, offset) {
                return Err(LinkError::Lost(lost));
            }
        }
        let deadline = (state.clock)() + STABLE_WAIT_MS;
        let broker = self.broker.clone();
        let stable = until.is_some();
        Ok(Box::new(MemoryReader { broker, place, position, end, stable, deadline, batch: Batch::default() }))
    }

    fn close(&mut self) {
        self.owned.clear();
        let (group, member) = (&self.config.group, self.member);
        self.broker.change(|state| state.with_group(group, |group, partitions| group.leave(member, partitions)));
    }
}

/// Why an offset cannot be read, where it cannot.
fn out_of_range(state: &State, place: Place, offset: i64) -> Option<String> {
    let log = state.log(place);
    let name = &state.topic(place.0).name;
    (offset < log.start() || offset > log.end()).then(|| {
        format!("offset {offset} of {name}-{} is gone: the log holds [{}, {})", place.1, log.start(), log.end())
    })
}

struct MemoryReader {
    broker: Broker,
    place: Place,
    position: i64,
    end: i64,
    stable: bool,
    deadline: i64,
    batch: Batch,
}

impl Reader for MemoryReader {
    fn read(&mut self, max: usize, wait: Duration, take: &mut dyn FnMut(Record<'_>)) -> Result<bool, LinkError> {
        let mut state = self.broker.lock();
        state.expire_transactions();
        let stable_end = if self.stable { self.position + 1 } else { self.end };
        let until_stable = stable_end.min(self.end);
        if state.log(self.place).last_stable() < until_stable {
            if (state.clock)() >= self.deadline {
                let name = &state.topic(self.place.0).name;
                return Err(LinkError::Unavailable(format!("a transaction stays open on {name}-{}", self.place.1)));
            }
            drop(self.broker.wait(state, wait));
            return Ok(false);
        }
        self.stable = true;
        if let Some(lost) = out_of_range(&state, self.place, self.position) {
            return Err(LinkError::Lost(lost));
        }
        self.batch.reset(max);
        let log = state.log(self.place);
        let id = PartitionId { topic: 0, partition: self.place.1 };
        self.position = log.read(id, self.position, self.end.min(log.last_stable()), &mut self.batch);
        drop(state);
        self.batch.deliver(&mut |_, record| take(record));
        Ok(self.position >= self.end)
    }

    fn remaining(&self) -> i64 {
        self.end - self.position
    }
}
