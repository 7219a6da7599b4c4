//! What a stage is to the worker: how its tasks begin, restore, take, commit and are taken back.

use super::board::Condition;
use super::link::{Assigned, Commit, Link, LinkError, PartitionId, Reader};
use crate::engine::halt::{Halt, HaltCode};
use crate::record::Record;

/// What a stage does with its tasks; everything that touches the log is the worker's.
pub trait Stage {
    /// The task of one partition.
    type Task;

    /// Begins a task: the task, and what must be read before it goes live.
    ///
    /// # Errors
    /// Why the partition cannot be taken, for good or for now.
    fn assigned(&mut self, link: &mut dyn Link, assigned: &Assigned, now: i64) -> Result<Begun<Self::Task>, Fault>;

    /// One record read back before the task goes live.
    ///
    /// # Errors
    /// Why the task cannot be restored.
    fn restore(&mut self, task: &mut Self::Task, record: Record<'_>, now: i64) -> Result<(), Halt>;

    /// The reader has come to its end: what to read next, `None` to go live.
    ///
    /// # Errors
    /// Why the task cannot be restored.
    fn restored(&mut self, link: &mut dyn Link, task: &mut Self::Task) -> Result<Option<Box<dyn Reader>>, Fault>;

    /// What a task that is restoring has lost, when what it reads is gone.
    fn lost_code(&self, task: &Self::Task) -> HaltCode;

    /// One record of a live task. What it says may wait until [`Stage::settle`].
    fn take(&mut self, task: &mut Self::Task, record: Record<'_>, now: i64);

    /// How many records may be taken, or read back, before they are settled.
    fn portion(&self) -> usize {
        usize::MAX
    }

    /// Settles what was taken or read back: after each portion, before anything else happens to these tasks. Says
    /// whether something still waits; a commit then speaks of what lies before it.
    ///
    /// # Errors
    /// Why nothing can be settled: the process must end.
    fn settle(&mut self, _tasks: &mut [(PartitionId, &mut Self::Task)]) -> Result<bool, String> {
        Ok(false)
    }

    /// Whether records may flow to the task now.
    fn takes(&self, task: &Self::Task) -> bool;

    /// Looks at what the other stage has committed, as often as it needs to.
    ///
    /// # Errors
    /// [`LinkError`]: the log did not answer; it is asked again.
    fn consult(
        &mut self,
        link: &mut dyn Link,
        tasks: &mut [(PartitionId, &mut Self::Task)],
        monotonic: i64,
    ) -> Result<(), LinkError>;

    /// Whether silence moves the time of this stage's tasks.
    fn heeds_silence(&self) -> bool;

    /// It was proved that at `drained_at` the task's log held nothing more.
    fn silent(&mut self, task: &mut Self::Task, drained_at: i64);

    /// The next offset the task settles: what a commit speaks of lies before it.
    fn offset(&self, task: &Self::Task) -> i64;

    /// The next offset the task takes: what waits to be settled lies before it.
    fn position(&self, task: &Self::Task) -> i64 {
        self.offset(task)
    }

    /// Whether a commit would say anything new of the task.
    fn has_news(&self, task: &Self::Task) -> bool;

    /// Whether so much is open that a commit should not wait for its time.
    fn is_full(&self) -> bool;

    /// Why the task takes nothing any more, if so.
    fn halted(&self, task: &Self::Task) -> Option<Halt>;

    /// What a halted partition's committed offset and metadata become, so that the other stage sees the halt; `None` to
    /// leave them. `committed` is what they are, `task` the task if it had begun.
    fn halt_mark(
        &self,
        committed: Option<(i64, String)>,
        task: Option<&Self::Task>,
        halt: &Halt,
    ) -> Option<(i64, String)>;

    /// What the next commit makes true of these tasks. `now` is the wall clock, `monotonic` for intervals.
    fn prepare<'a>(
        &'a mut self,
        tasks: &'a mut [(PartitionId, &mut Self::Task)],
        now: i64,
        monotonic: i64,
    ) -> Commit<'a>;

    /// The commit of the last `prepare` is true for these tasks.
    fn committed(&mut self, tasks: &mut [(PartitionId, &mut Self::Task)], monotonic: i64);

    /// The commit of the last `prepare` certainly did not happen.
    fn aborted(&mut self, task: &mut Self::Task);

    /// Whether what is open holds something of a task that is gone. It cannot be told apart: every task, of which these
    /// are all, must be taken back and take its records again.
    fn is_spoiled(&self, _tasks: &[(PartitionId, &mut Self::Task)]) -> bool {
        false
    }

    /// From now on, when nothing is open, each task commits alone, or all of them together again.
    fn stand_apart(&mut self, _apart: bool) {}

    /// Posts that the task is restoring or halted.
    fn post(&mut self, id: PartitionId, condition: Condition);

    /// Takes down what was posted of a partition.
    fn withdraw(&mut self, id: PartitionId);

    /// Tells how many offsets lie beyond what was taken.
    fn lag(&mut self, id: PartitionId, lag: i64);
}

/// A task that has begun.
pub struct Begun<T> {
    /// The task.
    pub task: T,
    /// What must be read before it goes live.
    pub reader: Option<Box<dyn Reader>>,
}

/// Why a task cannot go on: for good, or until the log answers.
#[derive(Debug)]
pub enum Fault {
    /// What the protocol excludes: the task halts.
    Halt(Halt),
    /// The log does not answer now: it is tried again.
    Unavailable(LinkError),
}

impl From<Halt> for Fault {
    fn from(halt: Halt) -> Fault {
        Fault::Halt(halt)
    }
}

impl Fault {
    /// What an error of the link means where something must be there: lost is a halt of this code.
    pub fn of(error: LinkError, code: HaltCode, what: &str) -> Fault {
        match error {
            LinkError::Lost(reason) => Fault::Halt(Halt::new(code, format!("{what}: {reason}"))),
            error => Fault::Unavailable(error),
        }
    }
}
