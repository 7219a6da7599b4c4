//! The worker: one link (a group member with a transactional producer), one stage, the tasks it owns.
//!
//! It polls, commits on time, and on any trouble forgets and restores (I-6). It runs in steps, so that a
//! thread, `replay` and a simulator can all drive the same loop. A task lives from assignment to revocation;
//! what a revoked task had not committed is gone, and the next owner reads it again.

mod commit;
mod tasks;

use super::board::{Board, WorkerStatus};
use super::link::{Assigned, CommitError, Link, LinkError, PartitionId, Reader, Rebalance};
use super::stage::Stage;
use crate::clock::Clock;
use crate::engine::time::SECOND;
use std::collections::BTreeMap;
use std::mem::Discriminant;
use std::sync::Arc;
use std::time::Duration;

/// How often a worker does what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Between commits while records come, ms.
    pub commit_interval_ms: i64,
    /// Between commits while none come, ms.
    pub idle_commit_interval_ms: i64,
    /// The most records taken in one step.
    pub poll_records_max: usize,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { commit_interval_ms: 250, idle_commit_interval_ms: SECOND, poll_records_max: 4096 }
    }
}

/// After how long without trouble the log counts as reachable again.
const CALM_MS: i64 = 2 * SECOND;

/// How many records are taken before it is asked again whether enough is open.
const POLL_PORTION: usize = 256;

/// How many records a restoring task reads back before the others have their turn.
const RESTORE_PORTION: usize = 16_384;

enum Slot<T> {
    /// Could not begin yet, because the log did not answer.
    Waiting { assigned: Assigned, again_at: i64 },
    /// Reads back what it knew.
    Restoring { task: T, reader: Box<dyn Reader>, committed: Option<(i64, String)> },
    /// Takes records while they flow; `asked_at` is when it was last asked whether its log has ended.
    Live { task: T, asked_at: i64, took: bool, flows: bool },
    /// Takes nothing any more; what its committed offset is still to become.
    Halted { mark: Option<(i64, String)> },
}

/// Why a worker cannot go on at all.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// Another process runs under the same identity.
    #[error("another process runs as this instance: {0}")]
    Twin(String),
    /// The link is beyond repair.
    #[error("{0}")]
    Fatal(String),
}

/// A worker. `name` identifies it on the board and in logs.
pub struct Worker<S: Stage> {
    name: String,
    link: Box<dyn Link>,
    stage: S,
    slots: BTreeMap<PartitionId, Slot<S::Task>>,
    pace: Pace,
    clock: Arc<dyn Clock>,
    board: Board,
    committed_at: i64,
    /// After a commit that cannot be written: each task commits alone, so that only the one to blame halts.
    one_by_one: bool,
    status: WorkerStatus,
    /// When a failed commit was last told, and of which kind it was.
    failure_said: Option<(i64, Discriminant<CommitError>)>,
    /// When the log could not be reached last.
    trouble_at: i64,
    fenced_at: Vec<i64>,
    waits_until: i64,
    /// The link could not begin anew yet: until it has, it owns partitions that no task stands for.
    to_recycle: bool,
    turned_at: i64,
    /// Whether records that were taken still wait to be settled.
    behind: bool,
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Step {
    /// Records taken.
    pub records: usize,
    /// Whether a commit was made.
    pub committed: bool,
    /// Whether a task is still restoring.
    pub restoring: bool,
}

impl<S: Stage> Worker<S> {
    /// A worker that owns nothing yet.
    pub fn new(
        name: impl Into<String>,
        link: Box<dyn Link>,
        stage: S,
        pace: Pace,
        clock: Arc<dyn Clock>,
        board: Board,
    ) -> Worker<S> {
        let now = clock.monotonic();
        Worker {
            name: name.into(),
            link,
            stage,
            slots: BTreeMap::new(),
            pace,
            clock,
            board,
            committed_at: now,
            one_by_one: false,
            status: WorkerStatus::default(),
            failure_said: None,
            trouble_at: i64::MIN / 2,
            fenced_at: Vec::new(),
            waits_until: i64::MIN,
            to_recycle: false,
            turned_at: now,
            behind: false,
        }
    }

    /// One turn of the loop: polls (waiting up to `wait` for a first record), restores, asks silent logs,
    /// commits when it is time.
    ///
    /// # Errors
    /// [`WorkerError`]: the process must end.
    pub fn step(&mut self, wait: Duration) -> Result<Step, WorkerError> {
        let mut step = Step::default();
        let monotonic = self.clock.monotonic();
        // A pause of our own (a stopped process, a sleeping machine) explains a fence.
        if monotonic - self.turned_at > 10 * SECOND {
            self.fenced_at.clear();
        }
        self.turned_at = monotonic;
        if monotonic < self.waits_until {
            std::thread::sleep(Duration::from_millis(50).min(wait));
            self.post_status();
            return Ok(step);
        }
        if self.to_recycle {
            self.recycle()?;
            if self.to_recycle {
                std::thread::sleep(Duration::from_millis(50).min(wait));
                self.post_status();
                return Ok(step);
            }
        }
        let rebalances = self.poll(wait, &mut step)?;
        for rebalance in rebalances {
            self.rebalance(rebalance);
        }
        self.begin_again();
        step.restoring = self.restore()?;
        self.consult();
        self.ask_silent_logs();
        self.halt_tasks();
        self.steer();
        self.take_back_spoiled();
        if self.commit_is_due() {
            step.committed = self.commit()?;
        }
        self.note_calm();
        self.post_status();
        Ok(step)
    }

    /// Takes records in small portions until the step has enough, so that what is open stays bounded.
    fn poll(&mut self, wait: Duration, step: &mut Step) -> Result<Vec<Rebalance>, WorkerError> {
        let restoring = self.slots.values().any(|slot| matches!(slot, Slot::Restoring { .. }));
        let mut wait = if restoring { Duration::ZERO } else { wait };
        loop {
            let before = step.records;
            // Where some still wait, one more keeps the membership alive; what waits stays bounded by its own time.
            let max = if self.behind { 1 } else { POLL_PORTION.min(self.stage.portion()) };
            let rebalances = self.poll_portion(max, wait, step)?;
            self.behind = self.settle()?;
            wait = Duration::ZERO;
            let enough = self.behind || step.records >= self.pace.poll_records_max || self.stage.is_full();
            if enough || !rebalances.is_empty() || step.records - before < max {
                return Ok(rebalances);
            }
        }
    }

    /// Settles what the live tasks have taken; says whether something still waits.
    fn settle(&mut self) -> Result<bool, WorkerError> {
        let Worker { stage, slots, .. } = self;
        stage.settle(&mut live(slots)).map_err(WorkerError::Fatal)
    }

    fn poll_portion(&mut self, max: usize, wait: Duration, step: &mut Step) -> Result<Vec<Rebalance>, WorkerError> {
        let Worker { link, stage, slots, clock, .. } = self;
        let mut now = clock.now();
        let mut refused = Vec::new();
        let polled = link.poll(max, wait, &mut |id, record| {
            let Some(Slot::Live { task, took, flows, .. }) = slots.get_mut(&id) else { return };
            if *flows && !stage.takes(task) {
                // This record and those behind it are read again once it takes records.
                *flows = false;
                refused.push(id);
            }
            // A clock that was read before a long wait would make this record come from the future.
            if record.timestamp > Some(now) {
                now = clock.now();
            }
            if *flows {
                stage.take(task, record, now);
                *took = true;
                step.records += 1;
            }
        });
        let mut unpaused = None;
        for id in refused {
            unpaused = link.pause(id).err().or(unpaused);
        }
        if let Some(error) = unpaused {
            self.note_unavailable(&error);
        }
        match polled {
            Ok(rebalances) => Ok(rebalances),
            Err(LinkError::Fatal(reason)) => Err(WorkerError::Fatal(reason)),
            Err(error @ (LinkError::Unavailable(_) | LinkError::Lost(_))) => {
                self.note_unavailable(&error);
                Ok(Vec::new())
            }
        }
    }

    fn note_unavailable(&mut self, error: &LinkError) {
        self.trouble_at = self.clock.monotonic();
        let reason = error.to_string();
        if self.status.unavailable.as_ref() != Some(&reason) {
            tracing::warn!(worker = %self.name, %error, "the log cannot be reached; trying again");
            self.status.unavailable = Some(reason);
        }
    }

    /// Trouble is over when none was met for a while: one question may be answered while another is not.
    fn note_calm(&mut self) {
        let over = self.clock.monotonic() - self.trouble_at > CALM_MS;
        if over && self.status.unavailable.take().is_some() {
            tracing::info!(worker = %self.name, "the log can be reached again");
        }
    }

    fn rebalance(&mut self, rebalance: Rebalance) {
        match rebalance {
            Rebalance::Revoked(partitions) => {
                for id in &partitions {
                    self.slots.remove(id);
                    self.stage.withdraw(*id);
                }
                // One producer has one transaction: what the others had open goes with it only when they
                // commit next, under their own offsets. Nothing to do for them.
                tracing::info!(worker = %self.name, partitions = partitions.len(), "revoked");
            }
            Rebalance::Assigned(partitions) => {
                tracing::info!(worker = %self.name, partitions = partitions.len(), "assigned");
                self.status.joined = true;
                for assigned in partitions {
                    self.begin(&assigned);
                }
            }
        }
    }

    /// A log that gave nothing for a second is asked whether it has ended; only a fresh answer moves time.
    fn ask_silent_logs(&mut self) {
        let (now, monotonic) = (self.clock.now(), self.clock.monotonic());
        let Worker { link, stage, slots, .. } = self;
        let mut unavailable = None;
        for (id, slot) in slots.iter_mut() {
            let Slot::Live { task, asked_at, took, .. } = slot else { continue };
            if *took {
                (*took, *asked_at) = (false, monotonic);
                continue;
            }
            if monotonic - *asked_at < SECOND {
                continue;
            }
            *asked_at = monotonic;
            match link.drained(*id, stage.offset(task)) {
                Ok((drained, lag)) => {
                    stage.lag(*id, lag);
                    if drained && stage.heeds_silence() {
                        stage.silent(task, now);
                    }
                }
                Err(error) => unavailable = Some(error),
            }
        }
        if let Some(error) = unavailable {
            self.note_unavailable(&error);
        }
    }

    fn post_status(&mut self) {
        self.status.turned_at = self.clock.monotonic();
        let status = self.status.clone();
        let name = &self.name;
        self.board.post(|posted| match posted.workers.get_mut(name) {
            Some(present) => *present = status,
            None => drop(posted.workers.insert(name.clone(), status)),
        });
    }

    /// Commits what is open, and leaves the group once `others` returns: who leaves begins a new generation of it, in
    /// which the last commits of the others would be refused.
    ///
    /// # Errors
    /// [`WorkerError`] of that last commit; the group is left all the same.
    pub fn stop(&mut self, others: impl FnOnce()) -> Result<(), WorkerError> {
        let committed = self.commit();
        others();
        self.link.close();
        committed.map(drop)
    }

    /// Tells every live task that nothing will ever come, and commits that: the end of a bounded input.
    ///
    /// # Errors
    /// [`WorkerError`]: the process must end.
    pub fn finish(&mut self) -> Result<bool, WorkerError> {
        while self.settle()? {
            self.commit()?;
        }
        for slot in self.slots.values_mut() {
            if let Slot::Live { task, .. } = slot {
                self.stage.silent(task, crate::engine::time::END_OF_TIME);
            }
        }
        self.commit()
    }

    /// The stage, for what it has seen.
    pub fn stage(&self) -> &S {
        &self.stage
    }

    /// The live tasks.
    pub fn tasks(&self) -> impl Iterator<Item = &S::Task> {
        self.slots.values().filter_map(|slot| match slot {
            Slot::Live { task, .. } => Some(task),
            _ => None,
        })
    }
}

/// The live tasks, with their partitions.
fn live<T>(slots: &mut BTreeMap<PartitionId, Slot<T>>) -> Vec<(PartitionId, &mut T)> {
    let mut live = Vec::with_capacity(slots.len());
    for (id, slot) in slots {
        if let Slot::Live { task, .. } = slot {
            live.push((*id, task));
        }
    }
    live
}
