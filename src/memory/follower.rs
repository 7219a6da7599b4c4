//! Follows a topic of the in-memory broker.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{Broker, MemoryLink};
use crate::pipeline::link::{Follower, Link, LinkConfig, LinkError};
use crate::record::Record;

/// How many records of a partition are handed over at once.
const PORTION: usize = 4_096;

/// Follows one topic from its beginning.
pub struct MemoryFollower {
    broker: Broker,
    link: MemoryLink,
    topic: String,
    positions: Positions,
}

/// The next offset of each partition that a follower takes, for whoever deletes what has been read.
pub type Positions = Arc<Mutex<Vec<i64>>>;

impl Broker {
    /// Follows a topic, beside any group, from `positions` on, which go on with it.
    ///
    /// # Errors
    /// [`LinkError::Lost`]: there is no such topic.
    pub fn follow(&self, topic: &str, positions: Positions) -> Result<MemoryFollower, LinkError> {
        self.bounds(topic, 0)?;
        // It joins a group of its own in which nothing is ever assigned.
        let name = format!("follows-{topic}");
        let config =
            LinkConfig { group: name.clone(), subscriptions: Vec::new(), transactional_id: name, record_bytes_max: 0 };
        Ok(MemoryFollower { broker: self.clone(), link: self.link(&config)?, topic: topic.to_owned(), positions })
    }
}

impl Follower for MemoryFollower {
    fn poll(&mut self, wait: Duration, take: &mut dyn FnMut(i32, Record<'_>)) -> Result<(), LinkError> {
        let partitions = self.link.ends(&self.topic)?.len();
        let mut positions = self.positions.lock().unwrap_or_else(PoisonError::into_inner).clone();
        positions.resize(partitions, 0);
        let mut came = false;
        for (partition, position) in (0..).zip(&mut positions) {
            let (first, end) = self.broker.bounds(&self.topic, partition)?;
            let from = first.max(*position);
            if from >= end {
                continue;
            }
            // What is deleted while it is read is stepped over by the next look.
            let Ok(mut reader) = self.link.reader(&self.topic, partition, Some(from), None) else { continue };
            let _ = reader.read(PORTION, Duration::ZERO, &mut |record| {
                *position = record.offset + 1;
                came = true;
                take(partition, record);
            });
            *position = (*position).max(end - reader.remaining());
        }
        *self.positions.lock().unwrap_or_else(PoisonError::into_inner) = positions;
        if !came {
            std::thread::sleep(wait);
        }
        Ok(())
    }
}
