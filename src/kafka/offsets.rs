//! What a group has committed, looked at and set from outside: for the operator's command alone.
//!
//! A broker takes an offset from outside only while the group has no member.

use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::Connection;
use super::assignment::{committed_of, partition_count, unavailable};
use super::clients::reach;
use super::clients::{self, ASK, QuietConsumer};
use super::reader::{KafkaReader, Span};
use crate::pipeline::link::{LinkError, Reader};

/// The offsets of one group.
pub struct Offsets {
    connection: Connection,
    group: String,
    client: QuietConsumer,
}

impl Offsets {
    /// Connects.
    ///
    /// # Errors
    /// [`LinkError::Unavailable`] when no broker answers, naming the address.
    pub fn open(connection: &Connection, group: &str) -> Result<Self, LinkError> {
        let client = clients::quiet(connection, &clients::reading(connection, group))?;
        reach(&client, connection)?;
        Ok(Self { connection: connection.clone(), group: group.to_owned(), client })
    }

    /// Per partition the committed offset and the metadata beside it, after waiting for open transactions.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub fn committed(&self, topic: &str) -> Result<Vec<Option<(i64, String)>>, LinkError> {
        let count = partition_count(&self.client, topic)?;
        let mut list = TopicPartitionList::new();
        list.add_partition_range(topic, 0, count - 1);
        let asked = self.client.committed_offsets(list, ASK).map_err(|error| unavailable(&self.group, &error))?;
        let mut offsets = vec![None; usize::try_from(count).expect("a count is positive")];
        for element in asked.elements() {
            element.error().map_err(|error| unavailable(&format!("{} at {topic}", self.group), &error))?;
            offsets[usize::try_from(element.partition()).expect("asked for from 0")] = committed_of(&element);
        }
        Ok(offsets)
    }

    /// The first offset of a partition, and the one after its last record.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub fn bounds(&self, topic: &str, partition: i32) -> Result<(i64, i64), LinkError> {
        let asked = self.client.fetch_watermarks(topic, partition, ASK);
        asked.map_err(|error| unavailable(&format!("{topic}-{partition}"), &error))
    }

    /// The timestamp of the first record of a partition.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub fn first_timestamp(&self, topic: &str, partition: i32) -> Result<Option<i64>, LinkError> {
        let (from, until) = self.bounds(topic, partition)?;
        let span = Span { topic: topic.to_owned(), partition, from, until };
        let mut reader = KafkaReader::open(&self.connection, &self.group, span, false)?;
        let mut first = None;
        while first.is_none() {
            if reader.read(1, ASK, &mut |record| first = first.or(record.timestamp))? {
                break;
            }
        }
        Ok(first)
    }

    /// The value of the last record under `key` in a partition: reads all of it. `None` where there is none.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub fn last_value(&self, topic: &str, partition: i32, key: &[u8]) -> Result<Option<Vec<u8>>, LinkError> {
        let (from, until) = self.bounds(topic, partition)?;
        let span = Span { topic: topic.to_owned(), partition, from, until };
        let mut reader = KafkaReader::open(&self.connection, &self.group, span, true)?;
        let mut last = None;
        let mut take = |record: crate::record::Record<'_>| {
            if record.key == Some(key) {
                last = record.value.map(<[u8]>::to_vec);
            }
        };
        while !reader.read(10_000, ASK, &mut take)? {}
        Ok(last)
    }

    /// Sets a committed offset and the metadata beside it.
    ///
    /// # Errors
    /// [`LinkError::Lost`] while the group has members: every process of it must be stopped first.
    pub fn set(&self, topic: &str, partition: i32, offset: i64, metadata: &str) -> Result<(), LinkError> {
        let mut list = TopicPartitionList::new();
        let mut element = list.add_partition(topic, partition);
        let place = format!("{topic}-{partition}");
        element.set_offset(Offset::Offset(offset)).map_err(|error| unavailable(&place, &error))?;
        element.set_metadata(metadata);
        self.client.commit(&list, CommitMode::Sync).map_err(|error| match error {
            KafkaError::ConsumerCommit(
                Code::UnknownMemberId | Code::IllegalGeneration | Code::RebalanceInProgress | Code::FencedInstanceId,
            ) => LinkError::Lost(format!(
                "group {} has members, and its offsets cannot be set from outside: stop every process of the service, \
                 wait for the session time-out if one was killed, and run this again",
                self.group
            )),
            error => unavailable(&place, &error),
        })
    }
}
