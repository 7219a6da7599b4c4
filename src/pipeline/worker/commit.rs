//! A worker's commits: when they are due, what they carry, and what follows when one fails.

use super::{Slot, Worker, WorkerError, live};
use crate::engine::halt::{Halt, HaltCode};
use crate::engine::time::SECOND;
use crate::pipeline::board::COMMIT_BUCKETS_MS;
use crate::pipeline::link::{CommitError, LinkError, PartitionId};
use crate::pipeline::stage::Stage;
use std::time::{Duration, Instant};

impl<S: Stage> Worker<S> {
    pub(super) fn commit_is_due(&self) -> bool {
        let news = |slot: &Slot<S::Task>| matches!(slot, Slot::Live { task, .. } if self.stage.has_news(task));
        let waited = self.clock.monotonic() - self.committed_at;
        let says = |slot: &Slot<S::Task>| matches!(slot, Slot::Live { .. } | Slot::Halted { mark: Some(_) });
        let live = self.slots.values().any(says);
        let interval = if self.slots.values().any(news) {
            self.pace.commit_interval_ms
        } else {
            self.pace.idle_commit_interval_ms
        };
        live && (waited >= interval || self.stage.is_full())
    }

    /// Takes every task back where something of one that is gone is open: it is read again by those who own it now.
    pub(super) fn take_back_spoiled(&mut self) {
        let Worker { stage, slots, .. } = self;
        if stage.is_spoiled(&live(slots)) {
            let tasks = self.live();
            self.rewind(&tasks);
        }
    }

    /// Commits what the live tasks have; true when it is certain.
    ///
    /// # Errors
    /// [`WorkerError`]: the process must end.
    pub fn commit(&mut self) -> Result<bool, WorkerError> {
        self.committed_at = self.clock.monotonic();
        if !self.one_by_one {
            return self.commit_of(None);
        }
        for id in self.live() {
            // A task that fell away, or an outcome that is not known, ends the round.
            if self.slots.contains_key(&id) && !self.commit_of(Some(id))? && self.slots.is_empty() {
                return Ok(false);
            }
        }
        self.one_by_one = false;
        self.stage.stand_apart(false);
        Ok(true)
    }

    /// Commits what these live tasks have, one or all, and with them the marks of halted ones.
    fn commit_of(&mut self, only: Option<PartitionId>) -> Result<bool, WorkerError> {
        let (now, monotonic) = (self.clock.now(), self.clock.monotonic());
        let mark = |(id, slot): (&PartitionId, &Slot<S::Task>)| match slot {
            Slot::Halted { mark: Some((offset, metadata)) } => Some((*id, *offset, metadata.clone())),
            _ => None,
        };
        let marks: Vec<(PartitionId, i64, String)> = self.slots.iter().filter_map(mark).collect();
        let Worker { link, stage, slots, .. } = self;
        let mut tasks = live(slots);
        tasks.retain(|(id, _)| only.is_none_or(|only| only == *id));
        let mut commit = stage.prepare(&mut tasks, now, monotonic);
        commit.offsets.extend(marks.iter().cloned());
        if commit.offsets.is_empty() {
            return Ok(true);
        }
        let started = Instant::now();
        match link.commit(commit) {
            Ok(()) => {
                stage.committed(&mut tasks, monotonic);
                for (id, ..) in marks {
                    self.slots.insert(id, Slot::Halted { mark: None });
                }
                self.note_commit(started.elapsed());
                Ok(true)
            }
            Err(error) => {
                let tasks: Vec<PartitionId> = tasks.iter().map(|(id, _)| *id).collect();
                self.status.failed_commits += 1;
                self.note_failed(&error);
                self.recover(error, &tasks)?;
                Ok(false)
            }
        }
    }

    /// Says that a commit failed; during a rebalance one after the other does, for the same reason.
    fn note_failed(&mut self, error: &CommitError) {
        let (monotonic, kind) = (self.clock.monotonic(), std::mem::discriminant(error));
        let said = self.failure_said.is_some_and(|(at, of)| of == kind && monotonic - at < 10 * SECOND);
        if said {
            return tracing::debug!(worker = %self.name, %error, "commit failed");
        }
        self.failure_said = Some((monotonic, kind));
        tracing::warn!(worker = %self.name, %error, "commit failed");
    }

    fn recover(&mut self, error: CommitError, tasks: &[PartitionId]) -> Result<(), WorkerError> {
        match error {
            CommitError::Aborted(_) => self.rewind(tasks),
            CommitError::Impossible(reason) => match tasks {
                [id] => {
                    // Trying again would fail again, and nobody else is to blame.
                    let halt = Halt::new(HaltCode::CannotWrite, reason);
                    let mark = match self.slots.get(id) {
                        Some(Slot::Live { task, .. }) => self.stage.halt_mark(None, Some(task), &halt),
                        _ => None,
                    };
                    self.halt(*id, halt, mark);
                }
                _ => {
                    self.one_by_one = true;
                    self.rewind(tasks);
                    self.stage.stand_apart(true);
                }
            },
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

    /// A certain abort: these tasks forget what was open and read it again.
    fn rewind(&mut self, tasks: &[PartitionId]) {
        let Worker { link, stage, slots, .. } = self;
        let mut unavailable = None;
        for (id, slot) in slots.iter_mut().filter(|(id, _)| tasks.contains(id)) {
            let Slot::Live { task, flows, .. } = slot else { continue };
            stage.aborted(task);
            if !*flows {
                continue;
            }
            if let Err(error) = link.rewind(*id, stage.offset(task)) {
                // It stands still until `steer` can go back.
                *flows = false;
                unavailable = link.pause(*id).err().or(Some(error));
            }
        }
        if let Some(error) = unavailable {
            self.note_unavailable(&error);
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
    pub(super) fn recycle(&mut self) -> Result<(), WorkerError> {
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
        if let Some(bucket) = COMMIT_BUCKETS_MS.iter().position(|bound| milliseconds <= *bound) {
            buckets[bucket] += 1;
        }
    }
}
