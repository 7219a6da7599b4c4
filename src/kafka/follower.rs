//! Follows a topic of Kafka from a time on: every partition assigned, no group joined, nothing committed.

use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::Connection;
use super::clients::{self, ASK, QuietConsumer, let_go};
use super::error::consuming;
use super::message::with_record;
use crate::pipeline::link::{Follower, LinkError};
use crate::record::Record;

/// The most records of one poll.
const PORTION: usize = 4_096;

/// Between two looks whether partitions were added.
const LOOK: Duration = Duration::from_secs(60);

/// Follows one topic.
pub struct KafkaFollower {
    consumer: Option<QuietConsumer>,
    topic: String,
    /// From which time on, ms since the epoch.
    since: i64,
    /// How many partitions are followed.
    partitions: i32,
    looked_at: Option<Instant>,
}

impl Connection {
    /// Follows `topic` from the first record of `since` (ms since the epoch) on.
    ///
    /// # Errors
    /// [`LinkError::Fatal`] when librdkafka refuses a setting.
    pub fn follow(&self, topic: &str, since: i64) -> Result<KafkaFollower, LinkError> {
        let mut config = clients::reading(self, "follows");
        // What retention has deleted meanwhile is no loss to somebody who looks back a day.
        config.set("auto.offset.reset", "earliest");
        let consumer = Some(clients::quiet(self, &config)?);
        Ok(KafkaFollower { consumer, topic: topic.to_owned(), since, partitions: 0, looked_at: None })
    }
}

impl KafkaFollower {
    /// Assigns the partitions that are not followed yet.
    fn assign(&mut self, consumer: &QuietConsumer) -> Result<(), LinkError> {
        if self.looked_at.is_some_and(|looked| looked.elapsed() < LOOK) {
            return Ok(());
        }
        let unavailable = |error| LinkError::Unavailable(format!("{}: {error}", self.topic));
        let metadata = consumer.fetch_metadata(Some(&self.topic), ASK).map_err(unavailable)?;
        let found = metadata.topics().iter().find(|topic| topic.name() == self.topic);
        let count = found.map_or(0, |topic| i32::try_from(topic.partitions().len()).unwrap_or(i32::MAX));
        if count > self.partitions {
            let mut times = TopicPartitionList::new();
            for partition in self.partitions..count {
                times.add_partition_offset(&self.topic, partition, Offset::Offset(self.since)).map_err(unavailable)?;
            }
            let starts = consumer.offsets_for_times(times, ASK).map_err(unavailable)?;
            consumer.incremental_assign(&starts).map_err(unavailable)?;
            self.partitions = count;
        }
        self.looked_at = Some(Instant::now());
        Ok(())
    }

    fn take(
        &mut self,
        consumer: &QuietConsumer,
        wait: Duration,
        take: &mut dyn FnMut(i32, Record<'_>),
    ) -> Result<(), LinkError> {
        self.assign(consumer)?;
        let mut left = wait;
        for _ in 0..PORTION {
            match consumer.poll(left) {
                None => break,
                Some(Ok(message)) => {
                    let partition = message.partition();
                    with_record(&message, &mut |record| take(partition, record));
                    left = Duration::ZERO;
                }
                Some(Err(error)) => consuming(&error, consumer.context().refusal()).map_or(Ok(()), Err)?,
            }
        }
        Ok(())
    }
}

impl Follower for KafkaFollower {
    fn poll(&mut self, wait: Duration, take: &mut dyn FnMut(i32, Record<'_>)) -> Result<(), LinkError> {
        let consumer = self.consumer.take().expect("only drop leaves a follower without one");
        let outcome = self.take(&consumer, wait, take);
        self.consumer = Some(consumer);
        outcome
    }
}

impl Drop for KafkaFollower {
    fn drop(&mut self) {
        if let Some(consumer) = self.consumer.take() {
            let_go(consumer, ASK);
        }
    }
}
