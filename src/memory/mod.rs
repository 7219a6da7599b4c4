//! A broker in memory with Kafka's semantics where they matter: transactions, read-committed reading, fencing by
//! producer and by group generation, pending offsets, log start offsets, size limits.
//!
//! `demo`, `replay` and the simulator run the real worker loop on it, so what it gets wrong they cannot find: one
//! conformance suite holds it and a real Kafka to the same behaviour. It knows no time but the clock it is given, and
//! driven from one thread with waits of zero it is deterministic. It never compacts: a compacted topic simply keeps
//! everything until [`Broker::apply_retention`] or [`Broker::delete_records`].

mod follower;
mod group;
mod link;
mod log;
mod state;

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

pub use self::follower::{MemoryFollower, Positions};
use self::group::Group;
pub use self::link::MemoryLink;
use self::log::Batch;
pub use self::state::{End, Holds};
use self::state::{Limits, State, Topic};
use crate::pipeline::link::{CommitError, LinkConfig, LinkError, Output, PartitionId};
use crate::record::{Header, Record};
use crate::topics;

/// Tells the broker the time, in milliseconds since the epoch.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// A record for [`Broker::produce`]; `Default` is a record without anything.
#[derive(Debug, Clone, Copy, Default)]
pub struct NewRecord<'a> {
    /// The partition; `None`: by the key's hash.
    pub partition: Option<i32>,
    /// Its timestamp in milliseconds; `None`: the broker's time, as also for topics with append time.
    pub timestamp: Option<i64>,
    /// The key; `None` is a null key.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The headers, in their order.
    pub headers: &'a [Header<'a>],
}

/// A record as [`Broker::read_all`] returns it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedRecord {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its timestamp in milliseconds.
    pub timestamp: i64,
    /// The key; `None` is a null key.
    pub key: Option<Vec<u8>>,
    /// The value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// The headers, in their order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// The broker; clones are the same broker.
#[derive(Clone)]
pub struct Broker {
    shared: Arc<Shared>,
}

impl Broker {
    /// An empty broker that lives by `clock`.
    pub fn new(clock: Clock) -> Self {
        let limits = Limits { poll_interval_max_ms: 60_000, transaction_timeout_ms: 10_000 };
        let shared = Shared { state: Mutex::new(State::new(clock, limits)), changed: Condvar::new() };
        Self { shared: Arc::new(shared) }
    }

    /// Sets how long a member may go without polling and how long a transaction may stay open.
    pub fn set_timeouts(&self, poll_interval_max_ms: i64, transaction_timeout_ms: i64) {
        self.lock().limits = Limits { poll_interval_max_ms, transaction_timeout_ms };
    }

    /// Creates a topic with a broker's defaults.
    ///
    /// # Panics
    /// When it exists.
    pub fn create_topic(&self, name: &str, partitions: i32) {
        self.change(|state| state.add_topic(Topic::new(name, partitions)));
    }

    /// Creates a topic as the table of topics says.
    ///
    /// # Panics
    /// When it exists.
    pub fn create(&self, topic: &topics::Topic) {
        let mut created = Topic::new(&topic.name, topic.partitions);
        created.append_time = topic.setting("message.timestamp.type") == Some("LogAppendTime");
        created.retention_ms = topic.setting("retention.ms").and_then(|value| value.parse().ok());
        if let Some(bytes) = topic.setting("max.message.bytes").and_then(|value| value.parse().ok()) {
            created.record_bytes_max = bytes;
        }
        self.change(|state| state.add_topic(created));
    }

    /// Deletes a topic and creates it again with as many partitions, all empty. As in Kafka the committed offsets of every
    /// group go with it, and a reader keeps its position, which may or may not lie in the new log.
    ///
    /// # Errors
    /// [`LinkError::Lost`] when the topic does not exist.
    pub fn recreate(&self, topic: &str) -> Result<(), LinkError> {
        self.change(|state| state.recreate(topic))
    }

    /// Adds partitions, so that there are `partitions`; every group that takes the topic rebalances.
    ///
    /// # Errors
    /// [`LinkError::Lost`] when the topic does not exist.
    pub fn add_partitions(&self, topic: &str, partitions: i32) -> Result<(), LinkError> {
        self.change(|state| {
            let index = state.index(topic)?;
            let logs = &mut state.topic_mut(index).partitions;
            let count = usize::try_from(partitions).unwrap_or(0).max(logs.len());
            logs.resize_with(count, Default::default);
            let mut groups: Vec<String> = state.groups.keys().cloned().collect();
            groups.sort_unstable();
            for name in groups {
                state.with_group(&name, |group, partitions| group.rebalance(partitions));
            }
            Ok(())
        })
    }

    /// Opens a link: a member of the group, with a transactional producer that fences its predecessor.
    ///
    /// # Errors
    /// [`LinkError::Lost`] when a topic does not exist.
    pub fn link(&self, config: &LinkConfig) -> Result<MemoryLink, LinkError> {
        MemoryLink::open(self.clone(), config.clone())
    }

    /// A transactional producer without a consumer: for tests that need a transaction to stay open.
    pub fn producer(&self, transactional_id: &str) -> Producer {
        let epoch = self.change(|state| state.init_producer(transactional_id));
        Producer { broker: self.clone(), id: transactional_id.to_owned(), epoch }
    }

    /// Writes a record outside any transaction; returns its partition and offset.
    ///
    /// # Errors
    /// [`CommitError::Impossible`] when the topic or partition does not exist or the record is too large.
    pub fn produce(&self, topic: &str, record: &NewRecord<'_>) -> Result<(i32, i64), CommitError> {
        let new = Record {
            offset: 0,
            timestamp: record.timestamp,
            key: record.key,
            value: record.value,
            headers: record.headers,
        };
        let appended = self.change(|state| state.append(topic, record.partition, &new, None));
        appended.map(|((_, partition), offset)| (partition, offset)).map_err(CommitError::Impossible)
    }

    /// Everything a read-committed reader sees in a topic, by partition and offset.
    ///
    /// # Errors
    /// [`LinkError::Lost`] when the topic does not exist.
    pub fn read_all(&self, topic: &str) -> Result<Vec<OwnedRecord>, LinkError> {
        let state = self.lock();
        let index = state.index(topic)?;
        let mut records = Vec::new();
        let mut batch = Batch::default();
        for (partition, log) in (0..).zip(&state.topic(index).partitions) {
            let mut from = log.start();
            while from < log.last_stable() {
                batch.reset(usize::MAX);
                from = log.read(PartitionId { topic: 0, partition }, from, log.last_stable(), &mut batch);
                batch.deliver(&mut |id, record| records.push(owned(id.partition, &record)));
            }
        }
        Ok(records)
    }

    /// The first offset that exists and the offset after the last record.
    ///
    /// # Errors
    /// [`LinkError::Lost`] when the partition does not exist.
    pub fn bounds(&self, topic: &str, partition: i32) -> Result<(i64, i64), LinkError> {
        let state = self.lock();
        let log = state.log(state.place(topic, partition)?);
        Ok((log.start(), log.end()))
    }

    /// Deletes every record before `offset`.
    ///
    /// # Errors
    /// [`LinkError::Lost`] when the partition does not exist.
    pub fn delete_records(&self, topic: &str, partition: i32, offset: i64) -> Result<(), LinkError> {
        self.change(|state| {
            let place = state.place(topic, partition)?;
            state.log_mut(place).delete_before(offset);
            Ok(())
        })
    }

    /// Deletes what each topic's retention has passed.
    ///
    /// # Errors
    /// [`LinkError::Lost`] when the topic does not exist.
    pub fn apply_retention(&self, topic: &str) -> Result<(), LinkError> {
        self.change(|state| {
            let now = (state.clock)();
            let index = state.index(topic)?;
            let topic = state.topic_mut(index);
            if let Some(retention) = topic.retention_ms {
                for log in &mut topic.partitions {
                    log.delete_before(log.expired_until(now - retention));
                }
            }
            Ok(())
        })
    }

    /// Sets (or removes) a committed offset, as an operator's tool does.
    ///
    /// # Errors
    /// [`LinkError::Lost`] when the partition does not exist.
    pub fn set_committed(
        &self,
        group: &str,
        topic: &str,
        partition: i32,
        offset: Option<(i64, String)>,
    ) -> Result<(), LinkError> {
        self.change(|state| {
            let place = state.place(topic, partition)?;
            state.groups.entry(group.to_owned()).or_default().set_committed(place, offset);
            Ok(())
        })
    }

    /// Whether an open transaction holds an offset of the group: who is to take that partition over has to wait.
    pub fn holds_offsets(&self, group: &str) -> bool {
        self.lock().groups.get(group).is_some_and(Group::holds_offsets)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().expect("nothing panics while it holds the broker's lock")
    }

    /// Changes the broker and wakes whoever waits for news.
    fn change<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        state.expire_transactions();
        let result = act(&mut state);
        let waited_for = state.waiting > 0;
        drop(state);
        if waited_for {
            self.shared.changed.notify_all();
        }
        result
    }

    /// Waits for a change, no longer than `limit`.
    fn wait<'a>(&self, mut state: MutexGuard<'a, State>, limit: Duration) -> MutexGuard<'a, State> {
        state.waiting += 1;
        let waited = self.shared.changed.wait_timeout(state, limit);
        let mut state = waited.expect("nothing panics while it holds the broker's lock").0;
        state.waiting -= 1;
        state
    }
}

/// A transactional producer, step by step. Dropped with a transaction open it leaves it open, as a crash does.
pub struct Producer {
    broker: Broker,
    id: String,
    epoch: i32,
}

impl Producer {
    /// Writes records as part of the open transaction, beginning one where none is open.
    ///
    /// # Errors
    /// [`CommitError::Fenced`], and [`CommitError::Impossible`] where a record cannot be written.
    pub fn send(&self, outputs: &[Output]) -> Result<(), CommitError> {
        self.broker.change(|state| {
            state.begin(&self.id, self.epoch)?;
            outputs.iter().try_for_each(|output| append(state, &self.id, output))
        })
    }

    /// Adds a group's offset to the open transaction, without the checks a member's commit is put through.
    ///
    /// # Errors
    /// [`CommitError::Fenced`], and [`CommitError::Aborted`] where the offset is refused.
    pub fn send_offset(
        &self,
        group: &str,
        topic: &str,
        partition: i32,
        offset: i64,
        metadata: &str,
    ) -> Result<(), CommitError> {
        self.broker.change(|state| {
            state.begin(&self.id, self.epoch)?;
            let place = state.place(topic, partition).map_err(|error| CommitError::Impossible(error.to_string()))?;
            state.hold_offset(&self.id, group, place, offset, metadata).map_err(CommitError::Aborted)
        })
    }

    /// Ends the open transaction.
    ///
    /// # Errors
    /// [`CommitError::Fenced`].
    pub fn end(&self, committed: bool) -> Result<(), CommitError> {
        self.broker.change(|state| {
            state.begin(&self.id, self.epoch)?;
            state.end(&self.id, if committed { End::Committed } else { End::Aborted });
            Ok(())
        })
    }
}

/// Appends an output to the open transaction of `producer`.
fn append(state: &mut State, producer: &str, output: &Output) -> Result<(), CommitError> {
    let headers: Vec<Header<'_>> =
        output.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
    let record = Record {
        offset: 0,
        timestamp: None,
        key: output.key.as_deref(),
        value: output.value.as_deref(),
        headers: &headers,
    };
    state.append(&output.topic, output.partition, &record, Some(producer)).map(|_| ()).map_err(CommitError::Impossible)
}

fn owned(partition: i32, record: &Record<'_>) -> OwnedRecord {
    OwnedRecord {
        partition,
        offset: record.offset,
        timestamp: record.timestamp.unwrap_or_default(),
        key: record.key.map(<[u8]>::to_vec),
        value: record.value.map(<[u8]>::to_vec),
        headers: record.headers.iter().map(|(name, value)| ((*name).to_owned(), value.map(<[u8]>::to_vec))).collect(),
    }
}
