//! The life of a task in its worker: it begins, restores, goes live, takes records while it may, and can halt.

use super::{RESTORE_PORTION, Slot, Worker, WorkerError, live};
use crate::engine::halt::{Halt, HaltCode};
use crate::engine::time::SECOND;
use crate::pipeline::board::Condition;
use crate::pipeline::link::{Assigned, LinkError, PartitionId, Reader};
use crate::pipeline::stage::{Begun, Fault, Stage};
use std::time::Duration;

/// What a fault while restoring stops.
enum Stop {
    Task(Halt),
    Worker(WorkerError),
}

impl<S: Stage> Worker<S> {
    pub(super) fn begin(&mut self, assigned: &Assigned) {
        let id = assigned.id;
        match self.stage.assigned(&mut *self.link, assigned, self.clock.now()) {
            Ok(Begun { task, reader: Some(reader) }) => {
                self.stage.post(id, Condition::Restoring(reader.remaining()));
                let committed = assigned.committed.clone();
                self.slots.insert(id, Slot::Restoring { task, reader, committed });
            }
            Ok(Begun { task, reader: None }) => self.go_live(id, task),
            Err(Fault::Halt(halt)) => {
                let mark = self.stage.halt_mark(assigned.committed.clone(), None, &halt);
                self.halt(id, halt, mark);
            }
            Err(Fault::Unavailable(error)) => {
                self.note_unavailable(&error);
                self.stage.post(id, Condition::Restoring(0));
                let again_at = self.clock.monotonic() + SECOND / 4;
                self.slots.insert(id, Slot::Waiting { assigned: assigned.clone(), again_at });
            }
        }
    }

    /// Tasks that could not begin try again.
    pub(super) fn begin_again(&mut self) {
        let now = self.clock.monotonic();
        let due = |slot: &Slot<S::Task>| match slot {
            Slot::Waiting { assigned, again_at } if *again_at <= now => Some(assigned.clone()),
            _ => None,
        };
        let waiting: Vec<Assigned> = self.slots.values().filter_map(due).collect();
        waiting.iter().for_each(|assigned| self.begin(assigned));
    }

    fn go_live(&mut self, id: PartitionId, task: S::Task) {
        self.stage.post(id, Condition::Live);
        let asked_at = self.clock.monotonic();
        // It stands still until `steer` lets records flow.
        self.slots.insert(id, Slot::Live { task, asked_at, took: false, flows: false });
    }

    /// Lets records flow to the tasks that take them, and to no others.
    pub(super) fn steer(&mut self) {
        let Worker { link, stage, slots, .. } = self;
        let (mut lost, mut unavailable) = (Vec::new(), None);
        for (id, slot) in slots.iter_mut() {
            let Slot::Live { task, flows, .. } = slot else { continue };
            let takes = stage.takes(task);
            if takes == *flows {
                continue;
            }
            let offset = stage.position(task);
            match if takes { link.resume(*id, offset) } else { link.pause(*id) } {
                Ok(()) => *flows = takes,
                Err(LinkError::Lost(reason)) => lost.push((*id, reason)),
                // The next step tries again; if the partition was lost, the next poll says so.
                Err(error) => unavailable = Some(error),
            }
        }
        for (id, reason) in lost {
            self.halt(id, Halt::new(HaltCode::InputLost, reason), None);
        }
        if let Some(error) = unavailable {
            self.note_unavailable(&error);
        }
    }

    /// Looks at what the other stage has committed.
    pub(super) fn consult(&mut self) {
        let monotonic = self.clock.monotonic();
        let Worker { link, stage, slots, .. } = self;
        if let Err(error) = stage.consult(&mut **link, &mut live(slots), monotonic) {
            self.note_unavailable(&error);
        }
    }

    pub(super) fn halt(&mut self, id: PartitionId, halt: Halt, mark: Option<(i64, String)>) {
        let code = halt.code.name();
        tracing::error!(worker = %self.name, topic = id.topic, partition = id.partition, code, detail = %halt.detail, "task halted");
        if let Err(error) = self.link.pause(id) {
            self.note_unavailable(&error);
        }
        self.slots.insert(id, Slot::Halted { mark });
        self.stage.withdraw(id);
        self.stage.post(id, Condition::Halted(halt));
    }

    /// Reads a slice for every restoring task; says whether one is left.
    pub(super) fn restore(&mut self) -> Result<bool, WorkerError> {
        let restoring =
            |(id, slot): (&PartitionId, &Slot<S::Task>)| matches!(slot, Slot::Restoring { .. }).then_some(*id);
        let ids: Vec<PartitionId> = self.slots.iter().filter_map(restoring).collect();
        for id in &ids {
            let Some(Slot::Restoring { task, reader, committed }) = self.slots.remove(id) else { continue };
            match self.restore_slice(*id, task, reader, &committed) {
                Ok(None) => {}
                Ok(Some(task)) => self.go_live(*id, task),
                Err(Stop::Task(halt)) => {
                    let mark = self.stage.halt_mark(committed, None, &halt);
                    self.halt(*id, halt, mark);
                }
                Err(Stop::Worker(error)) => return Err(error),
            }
        }
        Ok(!ids.is_empty())
    }

    fn restore_slice(
        &mut self,
        id: PartitionId,
        mut task: S::Task,
        mut reader: Box<dyn Reader>,
        committed: &Option<(i64, String)>,
    ) -> Result<Option<S::Task>, Stop> {
        let now = self.clock.now();
        let mut fault = None;
        let stage = &mut self.stage;
        let read = reader.read(RESTORE_PORTION.min(stage.portion()), Duration::from_millis(20), &mut |record| {
            if fault.is_none() {
                fault = stage.restore(&mut task, record, now).err();
            }
        });
        if let Some(halt) = fault {
            return Err(Stop::Task(halt));
        }
        let behind = stage.settle(&mut [(id, &mut task)]).map_err(|reason| Stop::Worker(WorkerError::Fatal(reason)))?;
        let next = match read {
            Ok(true) if !behind => match self.stage.restored(&mut *self.link, &mut task) {
                Ok(Some(next)) => next,
                Ok(None) => return Ok(Some(task)),
                Err(Fault::Halt(halt)) => return Err(Stop::Task(halt)),
                Err(Fault::Unavailable(error)) => {
                    // What comes next cannot be asked for now; the end of this reader is reached again at once.
                    self.note_unavailable(&error);
                    reader
                }
            },
            Ok(_) => reader,
            Err(error @ LinkError::Unavailable(_)) => {
                self.note_unavailable(&error);
                reader
            }
            Err(error) => return Err(Stop::Task(Halt::new(self.stage.lost_code(&task), error.to_string()))),
        };
        self.stage.post(id, Condition::Restoring(next.remaining()));
        self.slots.insert(id, Slot::Restoring { task, reader: next, committed: committed.clone() });
        Ok(None)
    }

    pub(super) fn halt_tasks(&mut self) {
        let halted = |slot: &Slot<S::Task>| match slot {
            Slot::Live { task, .. } => {
                let halt = self.stage.halted(task)?;
                let mark = self.stage.halt_mark(None, Some(task), &halt);
                Some((halt, mark))
            }
            _ => None,
        };
        let halted: Vec<_> = self.slots.iter().filter_map(|(id, slot)| Some((*id, halted(slot)?))).collect();
        for (id, (halt, mark)) in halted {
            self.halt(id, halt, mark);
        }
    }
}
