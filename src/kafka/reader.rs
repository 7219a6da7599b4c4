//! Reads one partition once, beside the group: an `assign`ed, read-committed consumer.
//!
//! The present end is the high watermark of a read-uncommitted look. What a read-committed consumer calls the end is
//! the last stable offset, which misses a transaction that is just committing (KAFKA-10167). So a reader to the present
//! end first waits until the last stable offset has reached that mark. It has read everything when its position is there
//! or when librdkafka reports the partition's end, for the last offsets are control records that are never delivered.

use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::Connection;
use super::clients::{self, ASK, QuietConsumer, let_go};
use super::error::{consuming, is_out_of_range};
use super::message::with_record;
use crate::pipeline::link::{LinkError, Reader};
use crate::record::Record;

/// How long to wait for open transactions: the coordinator ends them after the transaction's time-out and a scan.
const STABLE_WAIT: Duration = Duration::from_secs(25);

/// Between two looks at the last stable offset.
const STABLE_LOOK: Duration = Duration::from_millis(20);

/// What a reader is to read.
#[derive(Debug, Clone)]
pub(super) struct Span {
    pub topic: String,
    pub partition: i32,
    pub from: i64,
    pub until: i64,
}

/// One pass over a span.
pub(super) struct KafkaReader {
    consumer: Option<QuietConsumer>,
    span: Span,
    position: i64,
    /// Until when open transactions are waited for; `None` once the span is stable.
    wait_until: Option<Instant>,
    assigned: bool,
    done: bool,
}

impl KafkaReader {
    /// A reader of the span; `settle` waits for open transactions first.
    pub fn open(connection: &Connection, group: &str, span: Span, settle: bool) -> Result<Self, LinkError> {
        let mut config = clients::reading(connection, group);
        config.set("enable.partition.eof", "true").set("fetch.wait.max.ms", "10");
        let consumer = clients::quiet(connection, &config)?;
        Ok(Self::over(consumer, span, settle))
    }

    /// A reader with a consumer that exists already.
    pub fn over(consumer: QuietConsumer, span: Span, settle: bool) -> Self {
        let wait_until = settle.then(|| Instant::now() + STABLE_WAIT);
        let (position, done) = (span.from, span.from >= span.until);
        Self { consumer: Some(consumer), span, position, wait_until, assigned: false, done }
    }

    /// Gives the consumer back.
    pub fn into_consumer(mut self) -> Option<QuietConsumer> {
        self.consumer.take()
    }

    fn name(&self) -> String {
        format!("{}-{}", self.span.topic, self.span.partition)
    }

    /// Whether the span is stable; sleeps a little where it is not.
    fn is_stable(&mut self, consumer: &QuietConsumer, wait: Duration) -> Result<bool, LinkError> {
        let Some(deadline) = self.wait_until else { return Ok(true) };
        let asked = consumer.fetch_watermarks(&self.span.topic, self.span.partition, ASK);
        let (_, stable) = asked.map_err(|error| LinkError::Unavailable(format!("{}: {error}", self.name())))?;
        if stable >= self.span.until {
            self.wait_until = None;
            return Ok(true);
        }
        if Instant::now() >= deadline {
            let (name, seconds) = (self.name(), STABLE_WAIT.as_secs());
            let what = format!("a transaction stays open at {name}@{stable} for more than {seconds} s");
            return Err(LinkError::Unavailable(format!("{what}; kafka-transactions.sh find-hanging names it")));
        }
        std::thread::sleep(wait.min(STABLE_LOOK));
        Ok(false)
    }

    fn assign(&mut self, consumer: &QuietConsumer) -> Result<(), LinkError> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.span.topic, self.span.partition, Offset::Offset(self.span.from))
            .and_then(|()| consumer.assign(&list))
            .map_err(|error| LinkError::Unavailable(format!("{}: {error}", self.name())))?;
        self.assigned = true;
        Ok(())
    }

    fn read_from(
        &mut self,
        consumer: &QuietConsumer,
        max: usize,
        wait: Duration,
        take: &mut dyn FnMut(Record<'_>),
    ) -> Result<bool, LinkError> {
        if self.done {
            return Ok(true);
        }
        if !self.is_stable(consumer, wait)? {
            return Ok(false);
        }
        if !self.assigned {
            self.assign(consumer)?;
        }
        let deadline = Instant::now() + wait;
        let mut taken = 0;
        while taken < max && !self.done {
            let left = if taken == 0 { deadline.saturating_duration_since(Instant::now()) } else { Duration::ZERO };
            match consumer.poll(left) {
                None if taken > 0 || Instant::now() >= deadline => break,
                None => {}
                Some(Ok(message)) => {
                    self.position = message.offset() + 1;
                    if message.offset() < self.span.until {
                        with_record(&message, take);
                        taken += 1;
                    }
                    self.done = self.position >= self.span.until;
                }
                Some(Err(KafkaError::PartitionEOF(_))) => self.done = true,
                Some(Err(error)) if is_out_of_range(&error) => {
                    return Err(LinkError::Lost(format!("offset {} of {} is gone", self.position, self.name())));
                }
                Some(Err(error)) => consuming(&error, consumer.context().refusal()).map_or(Ok(()), Err)?,
            }
        }
        if self.done {
            self.position = self.position.max(self.span.until);
        }
        Ok(self.done)
    }
}

impl Reader for KafkaReader {
    fn read(&mut self, max: usize, wait: Duration, take: &mut dyn FnMut(Record<'_>)) -> Result<bool, LinkError> {
        let consumer = self.consumer.take().expect("only `into_consumer` and drop leave a reader without one");
        let result = self.read_from(&consumer, max, wait, take);
        self.consumer = Some(consumer);
        result
    }

    fn remaining(&self) -> i64 {
        (self.span.until - self.position).max(0)
    }
}

impl Drop for KafkaReader {
    fn drop(&mut self) {
        if let Some(consumer) = self.consumer.take() {
            let_go(consumer, ASK);
        }
    }
}
