//! The board: what the workers let others see, and nothing uncommitted.
//!
//! Each task posts after its commit; what it posted is taken down when it loses its partition, and counts as
//! withdrawn when it is older than [`Board::STALE_AFTER_MS`]. Export reads it; nobody else writes it.

use crate::engine::halt::Halt;
use crate::engine::publish::Shown;
use crate::engine::section::{Phase, Totals};
use crate::engine::stage::SetTime;
use crate::touchpoint::RejectReason;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

/// What a task is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// Reads back what it knew; so many offsets are left.
    Restoring(i64),
    /// Takes records.
    Live,
    /// Takes nothing any more, for this reason.
    Halted(Halt),
}

/// One input partition as its fold task sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceStatus {
    /// What it is doing.
    pub condition: Condition,
    /// Where the source is in its life.
    pub phase: Phase,
    /// Whether it stands still because it is too far ahead of the others.
    pub held: bool,
    /// Lifetime counts, as committed.
    pub totals: Totals,
    /// Lifetime rejected items by reason.
    pub rejected: BTreeMap<RejectReason, i64>,
    /// The offset of the newest rejected record per reason, this run.
    pub rejected_at: BTreeMap<RejectReason, i64>,
    /// Its watermark.
    pub watermark: Option<i64>,
    /// Newest accepted event time per channel, this run.
    pub newest_by_channel: BTreeMap<String, i64>,
    /// The committed offset.
    pub offset: i64,
    /// How many offsets lie beyond what was taken, at the last look.
    pub lag: Option<i64>,
    /// How many ids are remembered, and how many the bound pushed out.
    pub ids: (usize, i64),
    /// When it committed last, on the monotonic clock.
    pub committed_at: i64,
}

/// One deltas partition as its merge task sees it.
#[derive(Debug, Clone)]
pub struct MergeStatus {
    /// What it is doing.
    pub condition: Condition,
    /// Current windows of what it owns.
    pub rows: Arc<Vec<Shown>>,
    /// Per owned (set, group-by): slices, panes, events under `_other`.
    pub sizes: Vec<(usize, usize, usize, usize, i64)>,
    /// Per metric set how far time has come; only of the sets it owns a group-by of.
    pub times: Vec<(usize, SetTime)>,
    /// The committed deltas offset.
    pub offset: i64,
    /// Sections dropped because they had been applied before.
    pub dropped: i64,
    /// When it committed last, on the monotonic clock.
    pub committed_at: i64,
}

/// How one worker is doing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WorkerStatus {
    /// When its loop went round last, on the monotonic clock.
    pub turned_at: i64,
    /// Whether it has been given its partitions once.
    pub joined: bool,
    /// How long commits took: (sum in ms, count, counts per bucket of [`COMMIT_BUCKETS_MS`]).
    pub commits: (f64, u64, [u64; COMMIT_BUCKETS_MS.len()]),
    /// Commits that were aborted, or whose outcome was unknown.
    pub failed_commits: u64,
    /// Why it cannot reach its log, while it cannot.
    pub unavailable: Option<String>,
}

/// Upper bounds of the buckets in which commit durations are counted.
pub const COMMIT_BUCKETS_MS: [f64; 8] = [5.0, 10.0, 20.0, 50.0, 100.0, 250.0, 1000.0, 5000.0];

/// Everything that is on the board.
#[derive(Debug, Clone, Default)]
pub struct Posted {
    /// By (input index, partition).
    pub sources: BTreeMap<(usize, i32), SourceStatus>,
    /// By deltas partition.
    pub merges: BTreeMap<i32, MergeStatus>,
    /// By worker name.
    pub workers: BTreeMap<String, WorkerStatus>,
}

/// The board itself: cheap to clone, shared by workers and export.
#[derive(Clone, Default)]
pub struct Board {
    posted: Arc<Mutex<Posted>>,
}

impl Board {
    /// After how long without a commit a task's numbers are withdrawn, ms.
    pub const STALE_AFTER_MS: i64 = 30_000;

    /// An empty board.
    pub fn new() -> Board {
        Board::default()
    }

    /// What is on it now.
    pub fn look(&self) -> Posted {
        self.lock().clone()
    }

    /// Changes what is on it.
    pub fn post(&self, change: impl FnOnce(&mut Posted)) {
        change(&mut self.lock());
    }

    fn lock(&self) -> MutexGuard<'_, Posted> {
        // A panic while posting leaves whole entries behind: maps of values that were replaced whole.
        self.posted.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
