//! A plain producer, for touchpoints we make ourselves: idempotent, so none is written twice, and in order per key.
//!
//! It has no transaction: what is written before a failure stays. The service never writes through it.

use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};

use super::Connection;
use super::clients;
use super::context::Deliveries;
use crate::pipeline::link::LinkError;

/// How long nothing may be acknowledged while the queue is full, or at the end.
const STALLED: Duration = Duration::from_secs(30);

/// Between two tries while the queue is full.
const LOOK: Duration = Duration::from_millis(1);

/// After how many records the delivery reports are asked for failures.
const CHECK_EVERY: u32 = 1_000;

/// A producer of records for one topic.
pub struct Feed {
    client: ThreadedProducer<Deliveries>,
    topic: String,
    unchecked: u32,
}

impl Feed {
    /// A producer for `topic`, which exists. Nothing is connected to before the first record.
    ///
    /// # Errors
    /// [`LinkError::Fatal`] when librdkafka refuses a setting: the configuration must be mended.
    pub fn open(connection: &Connection, topic: &str) -> Result<Feed, LinkError> {
        let mut config = connection.base();
        for (key, value) in [("compression.type", "lz4"), ("linger.ms", "20")] {
            if config.get(key).is_none() {
                config.set(key, value);
            }
        }
        config
            .set("enable.idempotence", "true")
            .set("partitioner", "murmur2_random")
            .set("queue.buffering.max.messages", "200000")
            .set("message.timeout.ms", STALLED.as_millis().to_string());
        let client = clients::create(&config, Deliveries::new(connection))?;
        Ok(Feed { client, topic: topic.to_owned(), unchecked: 0 })
    }

    /// Hands a record over; waits while the queue is full. The broker gives it its timestamp: with the event's own,
    /// retention would delete history as soon as it is written.
    ///
    /// # Errors
    /// [`LinkError::Unavailable`] when a record was refused or nothing is acknowledged any more.
    pub fn send(&mut self, key: &[u8], value: &[u8]) -> Result<(), LinkError> {
        self.unchecked += 1;
        if self.unchecked >= CHECK_EVERY {
            self.unchecked = 0;
            self.check()?;
        }
        let mut record = BaseRecord::to(&self.topic).key(key).payload(value);
        let mut full_since = None;
        loop {
            match self.client.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), again)) => {
                    self.check()?;
                    if full_since.get_or_insert_with(Instant::now).elapsed() > STALLED {
                        return Err(self.failed(&"nothing is acknowledged any more"));
                    }
                    record = again;
                    std::thread::sleep(LOOK);
                }
                Err((error, _)) => return Err(self.failed(&error)),
            }
        }
    }

    /// Waits until everything is acknowledged.
    ///
    /// # Errors
    /// [`LinkError::Unavailable`], as [`Feed::send`].
    pub fn finish(self) -> Result<(), LinkError> {
        self.client.flush(STALLED).map_err(|error| self.failed(&error))?;
        self.check()
    }

    fn check(&self) -> Result<(), LinkError> {
        let failure = self.client.client().context().take_failure();
        failure.map_or(Ok(()), |(error, _)| Err(self.failed(&error)))
    }

    fn failed(&self, reason: &dyn std::fmt::Display) -> LinkError {
        LinkError::Unavailable(format!("topic {}: {reason}; what was acknowledged before stays", self.topic))
    }
}
