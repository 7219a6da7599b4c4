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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::NewRecord;
    use crate::pipeline::link::Output;

    fn followed(follower: &mut MemoryFollower) -> Vec<String> {
        let mut values = Vec::new();
        let mut take = |_, record: Record<'_>| {
            values.push(String::from_utf8_lossy(record.value.unwrap_or_default()).into_owned());
        };
        follower.poll(Duration::ZERO, &mut take).unwrap();
        values
    }

    #[test]
    fn it_waits_for_an_open_transaction_and_leaves_out_what_was_aborted() {
        let broker = Broker::new(Arc::new(|| 0));
        broker.create_topic("aggregates", 1);
        let mut follower = broker.follow("aggregates", Positions::default()).unwrap();
        let (committed, aborted) = (broker.producer("one"), broker.producer("two"));
        let write = |value: &str| Output {
            topic: "aggregates".into(),
            partition: Some(0),
            key: None,
            value: Some(value.into()),
            headers: Vec::new(),
        };
        committed.send(&[write("committed")]).unwrap();
        aborted.send(&[write("aborted")]).unwrap();
        broker.produce("aggregates", &NewRecord { value: Some(b"behind"), ..NewRecord::default() }).unwrap();
        assert_eq!(followed(&mut follower), [""; 0], "nothing is passed over while it is open");
        aborted.end(false).unwrap();
        assert_eq!(followed(&mut follower), [""; 0]);
        committed.end(true).unwrap();
        assert_eq!(followed(&mut follower), ["committed", "behind"]);
        assert_eq!(followed(&mut follower), [""; 0]);
    }
}
