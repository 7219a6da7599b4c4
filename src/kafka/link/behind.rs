//! What lies behind the position of a partition: records, control records alone, or nothing because the log has lost it.

use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;

use super::{KafkaLink, open_aside};
use crate::kafka::assignment::{out_of_range, partition_count, unavailable};
use crate::kafka::clients::ASK;
use crate::kafka::reader::{KafkaReader, Span};
use crate::pipeline::link::{Assigned, Link, LinkError, PartitionId, Reader, Rebalance};

/// How many offsets a partition may be behind for a look whether all of them are control records.
const FAR: i64 = 1_000;

/// After how long without a record that look is taken all the same.
const STANDS: Duration = Duration::from_secs(30);

/// How long the look behind the last record may take.
const TAIL: Duration = Duration::from_secs(2);

impl KafkaLink {
    /// An offset fell out of its log while we read: find the partitions and hand them out again as lost.
    pub(super) fn find_lost(&mut self) -> Result<(), LinkError> {
        let flowing = self.owned.iter().filter(|(_, owned)| owned.flows).map(|(&id, owned)| (id, owned.position));
        for (id, position) in flowing.collect::<Vec<_>>() {
            let (topic, partition) = self.named(id);
            let name = format!("{topic}-{partition}");
            let bounds = self.asking.fetch_watermarks(&topic, partition, ASK);
            let (low, high) = bounds.map_err(|error| unavailable(&name, &error))?;
            if let Some(lost) = out_of_range(&name, position, low, high) {
                self.pause(id)?;
                self.own(id)?.lost = Some(position);
                let partitions = partition_count(&self.asking, &topic)?;
                let group = self.config.group.clone();
                let committed =
                    self.committed(&group, &topic)?.into_iter().nth(usize::try_from(partition).unwrap_or(0));
                let (committed, first_timestamp, lost) = (committed.flatten(), None, Some(lost));
                let bounds = (low, high);
                let assigned = Assigned { id, committed, position, first_timestamp, lost, partitions, bounds };
                self.events.push(Rebalance::Revoked(vec![id]));
                self.events.push(Rebalance::Assigned(vec![assigned]));
            } else {
                // librdkafka has stopped fetching one of them, and its error does not say which.
                self.seek(id, position)?;
            }
        }
        Ok(())
    }

    /// Whether nothing is left behind a position, for certain, and how many offsets lie there.
    pub(super) fn look_behind(&mut self, partition: PartitionId, position: i64) -> Result<(bool, i64), LinkError> {
        let (topic, number) = self.named(partition);
        let name = format!("{topic}-{number}");
        let failed = |error: KafkaError| unavailable(&name, &error);
        let (_, end) = self.asking.fetch_watermarks(&topic, number, ASK).map_err(failed)?;
        if position >= end {
            return Ok((true, 0));
        }
        if self.own(partition)?.empty == Some((position, end)) {
            return Ok((true, 0));
        }
        // So much is hardly all control records. Whoever catches up is behind in many partitions, and looking into them
        // would fetch everything twice.
        if end - position > FAR && self.own(partition)?.stands_since.elapsed() < STANDS {
            return Ok((false, end - position));
        }
        let (_, stable) = self.member()?.fetch_watermarks(&topic, number, ASK).map_err(failed)?;
        if stable < end || !self.is_tail_empty(Span { topic, partition: number, from: position, until: end })? {
            return Ok((false, end - position));
        }
        self.own(partition)?.empty = Some((position, end));
        Ok((true, 0))
    }

    /// Whether a read-committed reader would still be given something in the span.
    fn is_tail_empty(&mut self, span: Span) -> Result<bool, LinkError> {
        let aside = match self.aside.take() {
            Some(aside) => aside,
            None => open_aside(&self.connection, &self.config.group)?,
        };
        let mut reader = KafkaReader::over(aside, span, false);
        let deadline = Instant::now() + TAIL;
        let mut found = false;
        let read = loop {
            match reader.read(1, Duration::from_millis(100), &mut |_| found = true) {
                Ok(done) if done || found => break Ok(done && !found),
                Ok(_) if Instant::now() >= deadline => break Ok(false),
                Ok(_) => {}
                Err(error) => break Err(error),
            }
        };
        self.aside = reader.into_consumer();
        if let Some(aside) = &self.aside {
            aside.unassign().map_err(|error| unavailable("reading aside", &error))?;
        }
        read
    }
}
