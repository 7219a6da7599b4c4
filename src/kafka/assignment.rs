//! From a rebalance to partitions that stand still at a known offset.
//!
//! librdkafka is told what is assigned only after the committed offset, its metadata and the bounds of the log are
//! known, once, with explicit offsets, and paused. That happens in the worker's poll rather than inside the callback: a
//! predecessor's open transaction may hold an offset back for twenty seconds, and the other partitions go on meanwhile.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList, TopicPartitionListElem};

use super::clients::{ASK, QuietConsumer};
use super::context::{GroupContext, Named};
use super::security::{denied, is_denied};
use crate::pipeline::link::{Assigned, LinkConfig, LinkError, PartitionId, Start};

/// How long the first record of a log may take to arrive.
const FIRST_RECORD: Duration = Duration::from_secs(5);

/// Where partitions that became ours start.
pub(super) struct Placing<'a> {
    pub config: &'a LinkConfig,
    pub member: &'a BaseConsumer<GroupContext>,
    /// Sees beyond open transactions.
    pub asking: &'a QuietConsumer,
    /// Reads beside the group.
    pub aside: &'a QuietConsumer,
}

impl Placing<'_> {
    /// What is to be known about these partitions before they can be assigned; committed offsets are waited for no
    /// longer than `patience`.
    pub fn place(&self, named: &[Named], patience: Duration) -> Result<Vec<Assigned>, LinkError> {
        let mut list = TopicPartitionList::new();
        for (topic, partition) in named {
            list.add_partition(topic, *partition);
        }
        let committed =
            self.member.committed_offsets(list, patience).map_err(|error| unavailable("offsets", &error))?;
        let mut counts: Vec<Option<i32>> = vec![None; self.config.subscriptions.len()];
        let mut assigned = Vec::with_capacity(named.len());
        for element in committed.elements() {
            let name = format!("{}-{}", element.topic(), element.partition());
            element.error().map_err(|error| unavailable(&name, &error))?;
            let topic = self.topic(element.topic())?;
            let partitions = match counts[topic] {
                Some(count) => count,
                None => *counts[topic].insert(self.refresh(element.topic())?),
            };
            let committed = committed_of(&element);
            assigned.push(self.place_one(
                PartitionId { topic, partition: element.partition() },
                committed,
                partitions,
            )?);
        }
        Ok(assigned)
    }

    /// How many partitions a topic has. Every client is told: one that has asked before would deny a partition that was
    /// added since.
    fn refresh(&self, topic: &str) -> Result<i32, LinkError> {
        partition_count(self.member, topic)?;
        partition_count(self.aside, topic)?;
        partition_count(self.asking, topic)
    }

    fn topic(&self, name: &str) -> Result<usize, LinkError> {
        let found = self.config.subscriptions.iter().position(|subscription| subscription.topic == name);
        found.ok_or_else(|| LinkError::Fatal(format!("the group assigned {name}, to which nobody here subscribed")))
    }

    fn place_one(
        &self,
        id: PartitionId,
        committed: Option<(i64, String)>,
        partitions: i32,
    ) -> Result<Assigned, LinkError> {
        let topic = &self.config.subscriptions[id.topic].topic;
        let name = format!("{topic}-{}", id.partition);
        let failed = |error: KafkaError| unavailable(&name, &error);
        let (low, high) = self.asking.fetch_watermarks(topic, id.partition, ASK).map_err(failed)?;
        let (position, first_timestamp) = match &committed {
            Some((offset, _)) => (*offset, None),
            None => self.start(id)?,
        };
        let lost = out_of_range(&name, position, low, high);
        Ok(Assigned { id, committed, position, first_timestamp, lost, partitions, bounds: (low, high) })
    }

    /// Where the start setting puts a partition, and the timestamp of the first record of its log.
    pub fn start(&self, id: PartitionId) -> Result<(i64, Option<i64>), LinkError> {
        let subscription = &self.config.subscriptions[id.topic];
        let topic = &subscription.topic;
        let failed = |error: KafkaError| unavailable(&format!("{topic}-{}", id.partition), &error);
        let (low, high) = self.asking.fetch_watermarks(topic, id.partition, ASK).map_err(failed)?;
        let position = match subscription.start {
            Start::Beginning => low,
            Start::End => self.member.fetch_watermarks(topic, id.partition, ASK).map_err(failed)?.1,
            Start::Timestamp(timestamp) => self.offset_for_time(topic, id.partition, timestamp, high)?,
        };
        Ok((position, self.first_timestamp(topic, id.partition, low, high)?))
    }

    fn offset_for_time(&self, topic: &str, partition: i32, timestamp: i64, high: i64) -> Result<i64, LinkError> {
        let mut list = TopicPartitionList::new();
        let asked = list
            .add_partition_offset(topic, partition, Offset::Offset(timestamp.max(0)))
            .and_then(|()| self.member.offsets_for_times(list, ASK))
            .map_err(|error| unavailable(topic, &error))?;
        let found = asked.find_partition(topic, partition).map(|element| element.offset());
        Ok(if let Some(Offset::Offset(offset)) = found { offset } else { high })
    }

    fn first_timestamp(&self, topic: &str, partition: i32, low: i64, high: i64) -> Result<Option<i64>, LinkError> {
        if low >= high {
            return Ok(None);
        }
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(low))
            .and_then(|()| self.aside.assign(&list))
            .map_err(|error| unavailable(topic, &error))?;
        let deadline = Instant::now() + FIRST_RECORD;
        let mut found = None;
        while found.is_none() && Instant::now() < deadline {
            match self.aside.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => found = message.timestamp().to_millis(),
                Some(Err(KafkaError::PartitionEOF(_))) => break,
                Some(Err(_)) | None => {}
            }
        }
        self.aside.unassign().map_err(|error| unavailable(topic, &error))?;
        Ok(found)
    }
}

/// Why an offset cannot be read, where it cannot.
pub(super) fn out_of_range(name: &str, offset: i64, low: i64, high: i64) -> Option<String> {
    let gone = offset < low || offset > high;
    gone.then(|| format!("offset {offset} of {name} is gone: the log holds [{low}, {high})"))
}

/// How many partitions a topic has.
pub(super) fn partition_count<C: ConsumerContext>(client: &BaseConsumer<C>, topic: &str) -> Result<i32, LinkError> {
    let metadata = client.fetch_metadata(Some(topic), ASK).map_err(|error| unavailable(topic, &error))?;
    let found = metadata.topics().first().and_then(|found| found.error());
    if found.is_some_and(|error| is_denied(error.into())) {
        return Err(LinkError::Fatal(denied(&format!("the topic {topic}"))));
    }
    let count = metadata.topics().first().filter(|found| found.error().is_none()).map_or(0, |t| t.partitions().len());
    if count == 0 {
        return Err(LinkError::Lost(format!(
            "topic {topic} does not exist; `touchstone topics` creates what is missing"
        )));
    }
    Ok(i32::try_from(count).expect("Kafka counts partitions in i32"))
}

/// The committed offset and its metadata.
pub(super) fn committed_of(element: &TopicPartitionListElem<'_>) -> Option<(i64, String)> {
    let Offset::Offset(offset) = element.offset() else { return None };
    // The library panics on bytes that are not UTF-8. Such metadata is not ours, and is treated as none.
    let metadata = catch_unwind(AssertUnwindSafe(|| element.metadata().to_owned())).unwrap_or_default();
    Some((offset, metadata))
}

/// An error that passes.
pub(super) fn unavailable(what: &str, error: &KafkaError) -> LinkError {
    LinkError::Unavailable(format!("{what}: {error}"))
}
