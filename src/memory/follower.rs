//! Follows a topic of the in-memory broker.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Broker;
use super::log::Batch;
use crate::pipeline::link::{Follower, LinkError, PartitionId};
use crate::record::Record;

/// How many records of a partition are handed over at once.
const PORTION: usize = 4_096;

/// Follows one topic from its beginning.
pub struct MemoryFollower {
    broker: Broker,
    topic: String,
    positions: Positions,
    batch: Batch,
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
        Ok(MemoryFollower { broker: self.clone(), topic: topic.to_owned(), positions, batch: Batch::default() })
    }
}

impl Follower for MemoryFollower {
    fn poll(&mut self, wait: Duration, take: &mut dyn FnMut(i32, Record<'_>)) -> Result<(), LinkError> {
        let mut positions = self.positions.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut came = false;
        for partition in 0.. {
            let state = self.broker.lock();
            // Past its last partition a topic has no place.
            let Ok(place) = state.place(&self.topic, partition) else { break };
            let (log, index) = (state.log(place), place.1 as usize);
            positions.resize(positions.len().max(index + 1), 0);
            self.batch.reset(PORTION);
            let id = PartitionId { topic: 0, partition };
            // What is deleted while it is read is stepped over.
            let from = positions[index].max(log.start());
            positions[index] = log.read(id, from, log.last_stable(), &mut self.batch);
            drop(state);
            came |= self.batch.len() > 0;
            self.batch.deliver(&mut |_, record| take(partition, record));
        }
        *self.positions.lock().unwrap_or_else(PoisonError::into_inner) = positions;
        if !came {
            std::thread::sleep(wait);
        }
        Ok(())
    }
}
