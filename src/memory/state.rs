//! What the in-memory broker knows, behind its one lock: topics, groups, producers and their transactions.
//!
//! A transaction is the same thing here as in Kafka: its records are in the log at once and pending, its offsets are
//! held, and its end makes both true or void and leaves a control record in every partition it touched. An aborted one
//! therefore leaves gaps in the offsets, which readers must bear.

use std::collections::{BTreeMap, HashMap};

use super::Clock;
use super::group::{Group, METADATA_BYTES_MAX, Place};
use super::log::Log;
use crate::pipeline::link::{CommitError, LinkError};
use crate::record::Record;

/// What Kafka adds to a record for its own needs, at most: the batch's head and the lengths.
const RECORD_OVERHEAD_BYTES: usize = 70;

#[derive(Debug)]
pub(super) struct Topic {
    pub name: String,
    pub partitions: Vec<Log>,
    pub append_time: bool,
    pub record_bytes_max: usize,
    pub retention_ms: Option<i64>,
    /// Where the next record without key and partition goes.
    turn: usize,
}

impl Topic {
    pub fn new(name: &str, partitions: i32) -> Self {
        Self {
            name: name.to_owned(),
            partitions: (0..partitions).map(|_| Log::default()).collect(),
            append_time: false,
            record_bytes_max: 1_048_588,
            retention_ms: None,
            turn: 0,
        }
    }

    fn pick(&mut self, key: Option<&[u8]>) -> i32 {
        let count = self.partitions.len();
        let index = match key {
            Some(key) => (murmur2(key) & 0x7fff_ffff) as usize % count,
            None => {
                self.turn = (self.turn + 1) % count;
                self.turn
            }
        };
        i32::try_from(index).expect("partitions are counted in i32")
    }
}

/// Says of a partition written, or with `None` of the offsets, whether it becomes true.
pub type Holds<'a> = dyn Fn(Option<(&str, i32)>) -> bool + 'a;

/// How a transaction ends.
#[derive(Clone, Copy)]
pub enum End<'a> {
    /// All of it becomes true.
    Committed,
    /// None of it.
    Aborted,
    /// Part of it, as brokers with KAFKA-17754 can do.
    Torn(&'a Holds<'a>),
}

impl End<'_> {
    fn holds(&self, part: Option<(&str, i32)>) -> bool {
        match self {
            End::Committed => true,
            End::Aborted => false,
            End::Torn(holds) => holds(part),
        }
    }
}

#[derive(Debug, Default)]
struct Transaction {
    started: i64,
    written: BTreeMap<Place, Vec<i64>>,
    offsets: Vec<(String, Place, i64, String)>,
}

/// One transactional id.
#[derive(Debug, Default)]
struct Producer {
    id: u64,
    epoch: i32,
    open: Option<Transaction>,
}

/// The time-outs a broker enforces, by its own clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub poll_interval_max_ms: i64,
    pub transaction_timeout_ms: i64,
}

/// The broker behind its lock.
pub(super) struct State {
    pub clock: Clock,
    pub limits: Limits,
    topics: Vec<Topic>,
    names: HashMap<String, usize>,
    pub groups: HashMap<String, Group>,
    producers: HashMap<String, Producer>,
    open_transactions: usize,
    /// How many threads wait for a change: waking nobody still costs a system call.
    pub waiting: usize,
}

impl State {
    pub fn new(clock: Clock, limits: Limits) -> Self {
        let (topics, names, groups, producers) = (Vec::new(), HashMap::new(), HashMap::new(), HashMap::new());
        Self { clock, limits, topics, names, groups, producers, open_transactions: 0, waiting: 0 }
    }

    pub fn add_topic(&mut self, topic: Topic) {
        assert!(!self.names.contains_key(&topic.name), "topic {} exists already", topic.name);
        self.names.insert(topic.name.clone(), self.topics.len());
        self.topics.push(topic);
    }

    /// Deletes a topic and creates it again, empty: what groups have committed for it goes, and what open transactions
    /// wrote to it. Whoever reads it keeps its position.
    pub fn recreate(&mut self, name: &str) -> Result<(), LinkError> {
        let index = self.index(name)?;
        self.topics[index].partitions.iter_mut().for_each(|log| *log = Log::default());
        for producer in self.producers.values_mut() {
            let Some(open) = &mut producer.open else { continue };
            open.written.retain(|(topic, _), _| *topic != index);
            for (group, place, ..) in open.offsets.extract_if(.., |(_, (topic, _), ..)| *topic == index) {
                self.groups.entry(group).or_default().release(place, None);
            }
        }
        self.groups.values_mut().for_each(|group| group.forget_topic(index));
        Ok(())
    }

    pub fn index(&self, name: &str) -> Result<usize, LinkError> {
        self.names.get(name).copied().ok_or_else(|| LinkError::Lost(format!("topic {name} does not exist")))
    }

    pub fn topic(&self, index: usize) -> &Topic {
        &self.topics[index]
    }

    pub fn topic_mut(&mut self, index: usize) -> &mut Topic {
        &mut self.topics[index]
    }

    pub fn place(&self, name: &str, partition: i32) -> Result<Place, LinkError> {
        let topic = self.index(name)?;
        let known = usize::try_from(partition).is_ok_and(|index| index < self.topics[topic].partitions.len());
        known.then_some((topic, partition)).ok_or_else(|| LinkError::Lost(format!("{name}-{partition} does not exist")))
    }

    pub fn log(&self, (topic, partition): Place) -> &Log {
        &self.topics[topic].partitions[position(partition)]
    }

    pub fn log_mut(&mut self, (topic, partition): Place) -> &mut Log {
        &mut self.topics[topic].partitions[position(partition)]
    }

    /// Runs `act` on a group, with a way to ask how many partitions a topic has.
    pub fn with_group<T>(&mut self, name: &str, act: impl FnOnce(&mut Group, &dyn Fn(usize) -> i32) -> T) -> T {
        let topics = &self.topics;
        let count = |topic: usize| i32::try_from(topics[topic].partitions.len()).expect("counted in i32");
        act(self.groups.entry(name.to_owned()).or_default(), &count)
    }

    /// Appends a record, as part of the transaction of `producer` where one is given.
    pub fn append(
        &mut self,
        topic: &str,
        partition: Option<i32>,
        record: &Record<'_>,
        producer: Option<&str>,
    ) -> Result<(Place, i64), String> {
        let now = (self.clock)();
        let &index = self.names.get(topic).ok_or_else(|| format!("topic {topic} does not exist"))?;
        let into = &mut self.topics[index];
        let bytes = size_bytes(record);
        if bytes > into.record_bytes_max {
            return Err(format!("a record of {bytes} bytes is larger than {topic} allows ({})", into.record_bytes_max));
        }
        let partition = partition.unwrap_or_else(|| into.pick(record.key));
        let place = (index, partition);
        let append_time = into.append_time;
        let log = usize::try_from(partition).ok().and_then(|partition| into.partitions.get_mut(partition));
        let log = log.ok_or_else(|| format!("{topic}-{partition} does not exist"))?;
        let timestamp = if append_time { now } else { record.timestamp.unwrap_or(now) };
        let producer = producer.map(|id| self.producers.get_mut(id).expect("checked before writing"));
        let offset = log.append(timestamp, producer.as_ref().map(|producer| producer.id), record);
        if let Some(transaction) = producer.and_then(|producer| producer.open.as_mut()) {
            transaction.written.entry(place).or_default().push(offset);
        }
        Ok((place, offset))
    }

    /// Takes a transactional id over: aborts what its predecessor left open and returns the new epoch.
    pub fn init_producer(&mut self, id: &str) -> i32 {
        self.end(id, End::Aborted);
        let next = self.producers.len() as u64 + 1;
        let producer =
            self.producers.entry(id.to_owned()).or_insert_with(|| Producer { id: next, ..Default::default() });
        producer.epoch += 1;
        producer.epoch
    }

    /// Begins a transaction where none is open.
    pub fn begin(&mut self, id: &str, epoch: i32) -> Result<(), CommitError> {
        let now = (self.clock)();
        let producer = self.producers.get_mut(id).filter(|producer| producer.epoch == epoch);
        let producer = producer.ok_or_else(|| CommitError::Fenced(format!("another producer runs as {id}")))?;
        if producer.open.is_none() {
            producer.open = Some(Transaction { started: now, ..Transaction::default() });
            self.open_transactions += 1;
        }
        Ok(())
    }

    /// Adds an offset to the open transaction; the reason where it is refused.
    pub fn hold_offset(
        &mut self,
        id: &str,
        group: &str,
        place: Place,
        offset: i64,
        metadata: &str,
    ) -> Result<(), String> {
        if metadata.len() > METADATA_BYTES_MAX {
            return Err(format!("offset metadata of {} bytes, {METADATA_BYTES_MAX} are allowed", metadata.len()));
        }
        self.groups.entry(group.to_owned()).or_default().hold(place);
        let transaction = self.producers.get_mut(id).and_then(|producer| producer.open.as_mut());
        let transaction = transaction.expect("offsets are added between begin and end");
        transaction.offsets.push((group.to_owned(), place, offset, metadata.to_owned()));
        Ok(())
    }

    /// Ends the open transaction, if there is one.
    pub fn end(&mut self, id: &str, end: End<'_>) {
        let now = (self.clock)();
        let Some(producer) = self.producers.get_mut(id) else { return };
        let Some(transaction) = producer.open.take() else { return };
        let producer_id = producer.id;
        self.open_transactions -= 1;
        for (place, offsets) in &transaction.written {
            let committed = end.holds(Some((&self.topics[place.0].name, place.1)));
            self.log_mut(*place).end_transaction(now, producer_id, offsets, committed);
        }
        for (group, place, offset, metadata) in transaction.offsets {
            let committed = end.holds(None).then_some((offset, metadata));
            self.groups.entry(group).or_default().release(place, committed);
        }
    }

    /// Aborts transactions that have been open for too long and fences their producers, as the coordinator does.
    pub fn expire_transactions(&mut self) {
        if self.open_transactions == 0 {
            return;
        }
        let before = (self.clock)() - self.limits.transaction_timeout_ms;
        let mut expired: Vec<String> = Vec::new();
        for (id, producer) in &mut self.producers {
            if producer.open.as_ref().is_some_and(|transaction| transaction.started < before) {
                producer.epoch += 1;
                expired.push(id.clone());
            }
        }
        expired.sort_unstable();
        expired.iter().for_each(|id| self.end(id, End::Aborted));
    }
}

fn position(partition: i32) -> usize {
    usize::try_from(partition).expect("a place names a partition that exists")
}

fn size_bytes(record: &Record<'_>) -> usize {
    let headers = record.headers.iter().map(|(name, value)| name.len() + value.map_or(0, <[u8]>::len) + 4);
    record.key.map_or(0, <[u8]>::len)
        + record.value.map_or(0, <[u8]>::len)
        + headers.sum::<usize>()
        + RECORD_OVERHEAD_BYTES
}

/// MurmurHash2 with Kafka's seed: the Java client's partitioner, and what we configure in librdkafka.
fn murmur2(bytes: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let length = u32::try_from(bytes.len()).expect("a key is shorter than a record");
    let mut hash = 0x9747_b28c_u32 ^ length;
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !rest.is_empty() {
        let tail = rest.iter().rev().fold(0_u32, |tail, &byte| tail << 8 | u32::from(byte));
        hash = (hash ^ tail).wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ hash >> 15
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of Kafka's own test (`UtilsTest.testMurmur2`).
    #[test]
    fn murmur2_agrees_with_the_java_client() {
        let known = [("21", -973_932_308), ("foobar", -790_332_482), ("a-little-bit-long-string", -985_981_536)];
        for (key, hash) in known {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
    }
}
