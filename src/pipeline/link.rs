//! The port through which one worker reaches a log: take records, commit a [`Commit`], read back.
//!
//! Kafka (`kafka/`) and the in-memory broker (`memory/`) implement it, with the same semantics: reading
//! is read-committed, a commit makes its outputs and its offsets true together or not at all, and a
//! partition that was just assigned is paused until it is resumed.

use std::time::Duration;

use crate::record::Record;

/// A partition of one of the topics a link was opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartitionId {
    /// Index into the topics the link was opened with.
    pub topic: usize,
    /// The partition's number.
    pub partition: i32,
}

/// Where reading starts in a partition for which the group has committed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// The oldest record that still exists.
    Beginning,
    /// What comes after the partition was first assigned.
    End,
    /// The first record whose timestamp (milliseconds) is this or later.
    Timestamp(i64),
}

/// One topic to take from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Its full name.
    pub topic: String,
    /// Where its partitions start.
    pub start: Start,
}

/// What a link is opened with, whatever the log is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkConfig {
    /// The consumer group.
    pub group: String,
    /// The topics; [`PartitionId::topic`] counts through them.
    pub subscriptions: Vec<Subscription>,
    /// The producer's identity: a newer link under the same one fences this one.
    pub transactional_id: String,
    /// The largest record (key, value and headers) that may be written.
    pub record_bytes_max: usize,
}

/// A partition that has just become ours. It is paused until [`Link::resume`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assigned {
    /// Which partition.
    pub id: PartitionId,
    /// The committed offset and the metadata stored beside it; `None` where nothing is committed.
    /// Bytes that are not UTF-8 count as metadata that is not ours: an empty string.
    pub committed: Option<(i64, String)>,
    /// The first offset that is read after `resume`: the committed one, else the one the link's
    /// start setting gives.
    pub position: i64,
    /// Timestamp of the first record of the log (milliseconds), where the log has one. Looked up only while nothing
    /// is committed.
    pub first_timestamp: Option<i64>,
    /// Set when the log no longer holds `position` (retention passed it, or the topic was re-created): says so with
    /// the offsets that exist. The task halts; such a partition never flows. Also reached from a running partition, as
    /// `Revoked` then `Assigned`.
    pub lost: Option<String>,
    /// How many partitions the topic has.
    pub partitions: i32,
    /// The first offset the log holds, and the offset after its last record.
    pub bounds: (i64, i64),
}

/// A change in what this worker owns, in the order in which it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rebalance {
    /// These became ours.
    Assigned(Vec<Assigned>),
    /// These are no longer ours: whatever was not committed is forgotten. Also used when they were lost.
    Revoked(Vec<PartitionId>),
}

/// One record to be written by a commit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Output {
    /// The topic's full name.
    pub topic: String,
    /// The partition; `None`: by the key's hash.
    pub partition: Option<i32>,
    /// The key; `None` is a null key.
    pub key: Option<Vec<u8>>,
    /// The value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// The headers, in their order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// What becomes true together: outputs, and how far each source was taken in.
pub struct Commit<'a> {
    /// The records to write. Each is made when it is asked for: what lies in memory is what is being written.
    pub outputs: Box<dyn Iterator<Item = Output> + 'a>,
    /// Per partition the next offset to read, and the metadata stored beside it. Without any, nothing is written.
    pub offsets: Vec<(PartitionId, i64, String)>,
}

/// What can go wrong with a commit; each variant is the caller's next step.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// It certainly did not happen: forget the overlay, rewind, go on.
    #[error("commit aborted: {0}")]
    Aborted(String),
    /// It may or may not have happened: drop every task and restore.
    #[error("outcome of a commit unknown: {0}")]
    Unknown(String),
    /// Another process took our place: drop every task, back off, restore.
    #[error("fenced: {0}")]
    Fenced(String),
    /// A record cannot be written at all (too large, topic missing): certain abort, and trying again will not help.
    #[error("cannot be written: {0}")]
    Impossible(String),
}

/// What can go wrong with everything else.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The log cannot be reached now; the link tries again by itself.
    #[error("{0}")]
    Unavailable(String),
    /// What was asked for is not there (offset out of range, topic missing): only a person can mend it.
    #[error("{0}")]
    Lost(String),
    /// The connection is beyond repair: end the process.
    #[error("{0}")]
    Fatal(String),
}

/// Receives each record taken.
pub type Take<'t> = dyn FnMut(PartitionId, Record<'_>) + 't;

/// One worker's connection: a member of one consumer group with a transactional producer.
pub trait Link {
    /// Takes up to `max` records, waiting up to `wait` for the first, and returns the rebalances that
    /// happened. It returns right after a rebalance, before any record that follows it.
    ///
    /// # Errors
    /// See [`LinkError`]; after `Unavailable` simply poll again.
    fn poll(&mut self, max: usize, wait: Duration, take: &mut Take<'_>) -> Result<Vec<Rebalance>, LinkError>;

    /// Lets records of a paused partition flow, from `offset` on.
    ///
    /// # Errors
    /// See [`LinkError`]; `Lost` when `offset` is the one that the partition was handed out as lost with.
    fn resume(&mut self, partition: PartitionId, offset: i64) -> Result<(), LinkError>;

    /// Goes back (after a certain abort) so that the next record taken from `partition` is that at `offset`.
    ///
    /// # Errors
    /// See [`LinkError`].
    fn rewind(&mut self, partition: PartitionId, offset: i64) -> Result<(), LinkError>;

    /// Stops taking records of a partition until it is resumed.
    ///
    /// # Errors
    /// See [`LinkError`].
    fn pause(&mut self, partition: PartitionId) -> Result<(), LinkError>;

    /// Makes `commit` true: all of it or nothing. Commits under the group generation whose rebalances
    /// this worker has been told of, never under a later one.
    ///
    /// # Errors
    /// See [`CommitError`].
    fn commit(&mut self, commit: Commit<'_>) -> Result<(), CommitError>;

    /// After [`CommitError::Unknown`] or [`CommitError::Fenced`]: a new producer under the same identity,
    /// and every owned partition is handed out again as [`Rebalance::Revoked`] then [`Rebalance::Assigned`] by the next polls.
    ///
    /// # Errors
    /// See [`LinkError`].
    fn recycle(&mut self) -> Result<(), LinkError>;

    /// Asks the log freshly: has everything in `partition` up to its present end been taken, given that the
    /// next offset to take is `position`? Control records at the end count as nothing.
    /// The second value is how many offsets lie beyond `position`, at most; 0 when everything was taken.
    ///
    /// # Errors
    /// See [`LinkError`].
    fn drained(&mut self, partition: PartitionId, position: i64) -> Result<(bool, i64), LinkError>;

    /// Where the start setting would put an owned partition now, and the timestamp of the first record of its log.
    ///
    /// # Errors
    /// See [`LinkError`].
    fn start(&mut self, partition: PartitionId) -> Result<(i64, Option<i64>), LinkError>;

    /// Per partition of any topic the offset after its last record, open transactions included.
    ///
    /// # Errors
    /// See [`LinkError`].
    fn ends(&mut self, topic: &str) -> Result<Vec<i64>, LinkError>;

    /// What any group has committed for each partition of a topic: the offset and the metadata beside it. It does not
    /// wait for open transactions: what is in one is not committed yet.
    ///
    /// # Errors
    /// See [`LinkError`].
    fn committed(&mut self, group: &str, topic: &str) -> Result<Vec<Option<(i64, String)>>, LinkError>;

    /// A reader of one partition of any topic, from `from` (`None`: its beginning) until `until` (`None`: its
    /// present end, after waiting until no transaction is open there), independent of the group.
    ///
    /// # Errors
    /// See [`LinkError`]; an offset `from` that no longer exists, or an `until` beyond the end, is `Lost`.
    /// A transaction that stays open for 25 s makes [`Reader::read`] return `Unavailable`.
    fn reader(
        &mut self,
        topic: &str,
        partition: i32,
        from: Option<i64>,
        until: Option<i64>,
    ) -> Result<Box<dyn Reader>, LinkError>;

    /// Leaves the group in good order.
    fn close(&mut self);
}

/// Follows one topic beside any group, read committed, all of its partitions, also those that come later.
pub trait Follower {
    /// Hands over what has come, with its partition, waiting up to `wait` for a first record. Offsets that no longer exist
    /// are stepped over.
    ///
    /// # Errors
    /// See [`LinkError`]; after `Unavailable` simply poll again.
    fn poll(&mut self, wait: Duration, take: &mut dyn FnMut(i32, Record<'_>)) -> Result<(), LinkError>;
}

/// Reads one partition once, in slices, so that the worker can go on polling between them.
pub trait Reader {
    /// Hands over up to `max` records; true when everything was read.
    ///
    /// # Errors
    /// See [`LinkError`].
    fn read(&mut self, max: usize, wait: Duration, take: &mut dyn FnMut(Record<'_>)) -> Result<bool, LinkError>;

    /// How many offsets are left, at most.
    fn remaining(&self) -> i64;
}
