//! The worker: one link (a group member with a transactional producer), one stage, the tasks it owns.
//!
//! It polls, commits on time, and on any trouble forgets and restores (I-6). It runs in steps, so that a
//! thread, `replay` and a simulator can all drive the same loop. A task lives from assignment to revocation;
//! what a revoked task had not committed is gone, and the next owner reads it again.

use super::board::{Board, Condition, WorkerStatus};
use super::link::{Assigned, CommitError, Link, LinkError, PartitionId, Reader, Rebalance};
use super::stage::{Begun, Stage};
use crate::clock::Clock;
use crate::engine::time::SECOND;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

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

/// How many records are taken before it is asked again whether enough is open.
const POLL_PORTION: usize = 256;

enum Slot<T> {
    /// Reads back what it knew.
    Restoring { task: T, reader: Box<dyn Reader> },
    /// Takes records; `asked_at` is when it was last asked whether its log has ended.
    Live { task: T, asked_at: i64, took: bool },
    /// Takes nothing any more.
    Halted,
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
    status: WorkerStatus,
    fenced_at: Vec<i64>,
    waits_until: i64,
    /// The link could not begin anew yet: until it has, it owns partitions that no task stands for.
    to_recycle: bool,
    turned_at: i64,
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
            status: WorkerStatus::default(),
            fenced_at: Vec::new(),
            waits_until: i64::MIN,
            to_recycle: false,
            turned_at: now,
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
        step.restoring = self.restore();
        self.ask_silent_logs();
        self.halt_tasks();
        if self.commit_is_due() {
            step.committed = self.commit()?;
        }
        self.post_status();
        Ok(step)
    }

    /// Takes records in small portions until the step has enough, so that what is open stays bounded.
    fn poll(&mut self, wait: Duration, step: &mut Step) -> Result<Vec<Rebalance>, WorkerError> {
        let restoring = self.slots.values().any(|slot| matches!(slot, Slot::Restoring { .. }));
        let mut wait = if restoring { Duration::ZERO } else { wait };
        loop {
            let before = step.records;
            let rebalances = self.poll_portion(wait, step)?;
            wait = Duration::ZERO;
            let enough = step.records >= self.pace.poll_records_max || self.stage.is_full();
            if enough || !rebalances.is_empty() || step.records - before < POLL_PORTION {
                return Ok(rebalances);
            }
        }
    }

    fn poll_portion(&mut self, wait: Duration, step: &mut Step) -> Result<Vec<Rebalance>, WorkerError> {
        let Worker { link, stage, slots, clock, .. } = self;
        let mut now = clock.now();
        let polled = link.poll(POLL_PORTION, wait, &mut |id, record| {
            // A clock that was read before a long wait would make this record come from the future.
            if record.timestamp > Some(now) {
                now = clock.now();
            }
            if let Some(Slot::Live { task, took, .. }) = slots.get_mut(&id) {
                stage.take(task, record, now);
                *took = true;
                step.records += 1;
            }
        });
        match polled {
            Ok(rebalances) => {
                if self.status.unavailable.take().is_some() {
                    tracing::info!(worker = %self.name, "the log can be reached again");
                }
                Ok(rebalances)
            }
            Err(LinkError::Fatal(reason)) => Err(WorkerError::Fatal(reason)),
            Err(error @ (LinkError::Unavailable(_) | LinkError::Lost(_))) => {
                self.note_unavailable(&error);
                Ok(Vec::new())
            }
        }
    }

    fn note_unavailable(&mut self, error: &LinkError) {
        let reason = error.to_string();
        if self.status.unavailable.as_ref() != Some(&reason) {
            tracing::warn!(worker = %self.name, %error, "the log cannot be reached; trying again");
            self.status.unavailable = Some(reason);
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

    fn begin(&mut self, assigned: &Assigned) {
        let id = assigned.id;
        if let Some(lost) = &assigned.lost {
            return self.halt(id, lost.clone());
        }
        match self.stage.assigned(&mut *self.link, assigned, self.clock.now()) {
            Ok(Begun { task, reader: Some(reader) }) => {
                self.stage.post(id, Condition::Restoring(reader.remaining()));
                self.slots.insert(id, Slot::Restoring { task, reader });
            }
            Ok(Begun { task, reader: None }) => self.go_live(id, task),
            Err(reason) => self.halt(id, reason),
        }
    }

    fn go_live(&mut self, id: PartitionId, task: S::Task) {
        let offset = self.stage.offset(&task);
        match self.link.resume(id, offset) {
            Ok(()) => {
                self.stage.post(id, Condition::Live);
                let asked_at = self.clock.monotonic();
                self.slots.insert(id, Slot::Live { task, asked_at, took: false });
            }
            Err(error) => self.halt(id, error.to_string()),
        }
    }

    fn halt(&mut self, id: PartitionId, reason: String) {
        tracing::error!(worker = %self.name, topic = id.topic, partition = id.partition, %reason, "task halted");
        if let Err(error) = self.link.pause(id) {
            self.note_unavailable(&error);
        }
        self.slots.insert(id, Slot::Halted);
        self.stage.withdraw(id);
        self.stage.post(id, Condition::Halted(reason));
    }

    /// Reads a slice for every restoring task; says whether one is left.
    fn restore(&mut self) -> bool {
        let restoring =
            |(id, slot): (&PartitionId, &Slot<S::Task>)| matches!(slot, Slot::Restoring { .. }).then_some(*id);
        let ids: Vec<PartitionId> = self.slots.iter().filter_map(restoring).collect();
        for id in &ids {
            let Some(Slot::Restoring { task, reader }) = self.slots.remove(id) else { continue };
            match self.restore_slice(*id, task, reader) {
                Ok(None) => {}
                Ok(Some(task)) => self.go_live(*id, task),
                Err(reason) => self.halt(*id, reason),
            }
        }
        !ids.is_empty()
    }

    fn restore_slice(
        &mut self,
        id: PartitionId,
        mut task: S::Task,
        mut reader: Box<dyn Reader>,
    ) -> Result<Option<S::Task>, String> {
        let now = self.clock.now();
        let mut fault = None;
        let stage = &mut self.stage;
        let read = reader.read(16_384, Duration::from_millis(20), &mut |record| {
            if fault.is_none() {
                fault = stage.restore(&mut task, record, now).err();
            }
        });
        if let Some(fault) = fault {
            return Err(fault);
        }
        match read {
            Ok(true) => match self.stage.restored(&mut *self.link, &mut task)? {
                Some(next) => {
                    self.slots.insert(id, Slot::Restoring { task, reader: next });
                }
                None => return Ok(Some(task)),
            },
            Ok(false) => {
                self.stage.post(id, Condition::Restoring(reader.remaining()));
                self.slots.insert(id, Slot::Restoring { task, reader });
            }
            Err(error @ LinkError::Unavailable(_)) => {
                self.note_unavailable(&error);
                self.slots.insert(id, Slot::Restoring { task, reader });
            }
            Err(error) => return Err(error.to_string()),
        }
        Ok(None)
    }

    /// A log that gave nothing for a second is asked whether it has ended; only a fresh answer moves time.
    fn ask_silent_logs(&mut self) {
        let (now, monotonic) = (self.clock.now(), self.clock.monotonic());
        let Worker { link, stage, slots, .. } = self;
        let mut unavailable = None;
        for (id, slot) in slots.iter_mut() {
            let Slot::Live { task, asked_at, took } = slot else { continue };
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

    fn halt_tasks(&mut self) {
        let reason = |slot: &Slot<S::Task>| match slot {
            Slot::Live { task, .. } => self.stage.halted(task),
            _ => None,
        };
        let halted: Vec<_> = self.slots.iter().filter_map(|(id, slot)| Some((*id, reason(slot)?))).collect();
        for (id, reason) in halted {
            self.halt(id, reason);
        }
    }

    fn commit_is_due(&self) -> bool {
        let news = |slot: &Slot<S::Task>| matches!(slot, Slot::Live { task, .. } if self.stage.has_news(task));
        let waited = self.clock.monotonic() - self.committed_at;
        let live = self.slots.values().any(|slot| matches!(slot, Slot::Live { .. }));
        let interval = if self.slots.values().any(news) {
            self.pace.commit_interval_ms
        } else {
            self.pace.idle_commit_interval_ms
        };
        live && (waited >= interval || self.stage.is_full())
    }

    /// Commits what the live tasks have; true when it is certain.
    ///
    /// # Errors
    /// [`WorkerError`]: the process must end.
    pub fn commit(&mut self) -> Result<bool, WorkerError> {
        let (now, monotonic) = (self.clock.now(), self.clock.monotonic());
        self.committed_at = monotonic;
        let Worker { link, stage, slots, .. } = self;
        let mut tasks: Vec<(PartitionId, &mut S::Task)> = slots
            .iter_mut()
            .filter_map(|(id, slot)| match slot {
                Slot::Live { task, .. } => Some((*id, task)),
                _ => None,
            })
            .collect();
        let commit = stage.prepare(&mut tasks, now, monotonic);
        if commit.offsets.is_empty() && commit.outputs.is_empty() {
            return Ok(true);
        }
        let started = Instant::now();
        match link.commit(&commit) {
            Ok(()) => {
                stage.committed(&mut tasks, monotonic);
                self.note_commit(started.elapsed());
                Ok(true)
            }
            Err(error) => {
                self.status.failed_commits += 1;
                tracing::warn!(worker = %self.name, %error, "commit failed");
                self.recover(error)?;
                Ok(false)
            }
        }
    }

    fn recover(&mut self, error: CommitError) -> Result<(), WorkerError> {
        match error {
            CommitError::Aborted(_) => self.rewind(),
            CommitError::Impossible(reason) => {
                // Trying again would fail again: the tasks of this commit stop, by name.
                let live: Vec<PartitionId> = self.live();
                for id in live {
                    self.halt(id, format!("a record cannot be written: {reason}"));
                }
            }
            CommitError::Unknown(_) => self.start_over()?,
            CommitError::Fenced(reason) => {
                let monotonic = self.clock.monotonic();
                self.fenced_at.retain(|at| monotonic - at < 60 * SECOND);
                self.fenced_at.push(monotonic);
                if self.fenced_at.len() >= 3 {
                    return Err(WorkerError::Twin(reason));
                }
                self.waits_until = monotonic + (SECOND << (self.fenced_at.len() - 1));
                self.start_over()?;
            }
        }
        Ok(())
    }

    fn live(&self) -> Vec<PartitionId> {
        let live = |(id, slot): (&PartitionId, &Slot<S::Task>)| matches!(slot, Slot::Live { .. }).then_some(*id);
        self.slots.iter().filter_map(live).collect()
    }

    /// A certain abort: every live task forgets what was open and reads it again.
    fn rewind(&mut self) {
        let mut failed = Vec::new();
        let Worker { link, stage, slots, .. } = self;
        for (id, slot) in slots.iter_mut() {
            let Slot::Live { task, .. } = slot else { continue };
            stage.aborted(task);
            if let Err(error) = link.rewind(*id, stage.offset(task)) {
                failed.push((*id, error.to_string()));
            }
        }
        for (id, reason) in failed {
            self.halt(id, reason);
        }
    }

    /// An unknown outcome: every task is dropped, and begins again from what is certain.
    fn start_over(&mut self) -> Result<(), WorkerError> {
        for id in std::mem::take(&mut self.slots).into_keys() {
            self.stage.withdraw(id);
        }
        self.recycle()
    }

    /// A new producer, and every partition handed out again; tried again by the next steps until it succeeds.
    fn recycle(&mut self) -> Result<(), WorkerError> {
        let recycled = self.link.recycle();
        self.to_recycle = recycled.is_err();
        match recycled {
            Ok(()) => Ok(()),
            Err(LinkError::Fatal(reason)) => Err(WorkerError::Fatal(reason)),
            Err(error) => {
                self.note_unavailable(&error);
                Ok(())
            }
        }
    }

    fn note_commit(&mut self, took: Duration) {
        let milliseconds = took.as_secs_f64() * 1000.0;
        let (sum, count, buckets) = &mut self.status.commits;
        *sum += milliseconds;
        *count += 1;
        if let Some(bucket) = super::board::COMMIT_BUCKETS_MS.iter().position(|bound| milliseconds <= *bound) {
            buckets[bucket] += 1;
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

    /// Commits what is open and leaves the group.
    ///
    /// # Errors
    /// [`WorkerError`] of that last commit; the group is left all the same.
    pub fn stop(&mut self) -> Result<(), WorkerError> {
        let committed = self.commit();
        self.link.close();
        committed.map(drop)
    }

    /// Tells every live task that nothing will ever come, and commits that: the end of a bounded input.
    ///
    /// # Errors
    /// [`WorkerError`]: the process must end.
    pub fn finish(&mut self) -> Result<bool, WorkerError> {
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
