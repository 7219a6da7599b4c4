//! The second stage: delta records into [`Merge`] tasks, what they show into `cx.aggregates`, what they know
//! into the changelog.

use super::board::{Board, Condition, MergeStatus};
use super::link::{Assigned, Commit, Link, LinkError, Output, PartitionId, Reader};
use super::stage::{Begun, Fault, Stage};
use crate::aggregate;
use crate::engine::codec::{CodecError, MergeMetadata, decode_delta};
use crate::engine::halt::{Halt, HaltCode};
use crate::engine::plan::Plan;
use crate::engine::publish::Shown;
use crate::engine::stage::{Merge, MergeCommit};
use crate::engine::time::{END_OF_TIME, rfc3339};
use crate::record::Record;
use std::sync::Arc;
use std::time::Instant;

/// Of how many parts of a worker's time snapshots take one, at most.
const SNAPSHOTS_IN: usize = 20;

/// What merging needs to know beyond the plan.
#[derive(Debug, Clone)]
pub struct MergeSettings {
    /// Name of the deltas topic.
    pub deltas: String,
    /// Name of the changelog topic.
    pub changelog: String,
    /// Name of the topic of aggregates.
    pub aggregates: String,
    /// Between two publications of current windows, ms; `None`: finals only.
    pub publish_interval_ms: Option<i64>,
    /// Between two checkpoints, ms; `None`: none.
    pub checkpoint_interval_ms: Option<i64>,
    /// Who writes, for the header `instance`.
    pub instance: String,
    /// Which (set, group-by, window) are shown in /metrics.
    pub exports: Vec<(usize, usize, usize)>,
    /// Between two snapshots for /metrics, ms, at least.
    pub snapshot_interval_ms: i64,
}

/// The merge stage of one worker.
pub struct Merging {
    plan: Arc<Plan>,
    settings: MergeSettings,
    board: Board,
}

/// A merge task and where it is in its restore and its intervals.
pub struct MergeTask {
    merge: Merge,
    restore: Restore,
    /// The first offset that the deltas held when the task began.
    deltas_from: i64,
    published_at: i64,
    checkpoint_at: i64,
    snapshot_after: i64,
    shown_until: Vec<Option<i64>>,
}

impl MergeTask {
    /// The engine's task.
    pub fn merge(&self) -> &Merge {
        &self.merge
    }
}

enum Restore {
    /// Reads the changelog; with what is committed, if anything.
    Changelog {
        committed: Option<(i64, MergeMetadata)>,
        read: bool,
    },
    /// Reads the deltas between the checkpoint and the committed offset.
    Deltas {
        from: Option<i64>,
        offset: i64,
        opened: bool,
    },
    Done,
}

impl Merging {
    /// The stage.
    pub fn new(plan: Arc<Plan>, settings: MergeSettings, board: Board) -> Merging {
        Merging { plan, settings, board }
    }

    /// What a task's commit writes; the record of its watermark behind the windows that it closes, so that who has read it
    /// has read them.
    fn outputs<'a>(
        &'a self,
        task: &'a MergeTask,
        commit: MergeCommit,
        watermark: Option<Output>,
    ) -> impl Iterator<Item = Output> + 'a {
        let shown = task.merge.finals().chain(commit.currents).map(|shown| self.record(task, &shown));
        let stored = commit.checkpoint.into_iter().map(|(key, value)| Output {
            topic: self.settings.changelog.clone(),
            partition: Some(task.merge.partition()),
            key: Some(key),
            value,
            headers: Vec::new(),
        });
        shown.chain(watermark).chain(stored)
    }

    fn record(&self, task: &MergeTask, shown: &Shown) -> Output {
        let mut headers = vec![
            header("revision", task.merge.offset().to_string()),
            header("instance", self.settings.instance.clone()),
        ];
        if shown.covered_from != i64::MIN {
            headers.push(header("covered_from", rfc3339(shown.covered_from)));
        }
        let watermark = task.merge.times()[shown.set].watermark;
        if let Some(watermark) = watermark.filter(|watermark| *watermark != END_OF_TIME) {
            headers.push(header("watermark", rfc3339(watermark)));
        }
        Output {
            topic: self.settings.aggregates.clone(),
            partition: Some(task.merge.partition()),
            key: Some(aggregate::key(&self.plan, shown).into_bytes()),
            value: Some(aggregate::value(&self.plan, shown).into_bytes()),
            headers,
        }
    }

    /// The `_watermark` record, when time has come further since the last one.
    fn watermark(&self, task: &mut MergeTask, publish: bool, finals: bool) -> Option<Output> {
        let times = task.merge.times().to_vec();
        let until: Vec<Option<i64>> = times.iter().map(|time| time.final_until).collect();
        if !(finals || publish) || until.iter().all(Option::is_none) || (!finals && until == task.shown_until) {
            return None;
        }
        task.shown_until = until;
        let owned: Vec<usize> = self.plan.owned(task.merge.partition()).into_iter().map(|(set, _)| set).collect();
        let sets = self.plan.sets.iter().zip(times).enumerate();
        let sets: Vec<_> =
            sets.filter(|(index, _)| owned.contains(index)).map(|(_, (plan, time))| (plan.set.name(), time)).collect();
        let previous = task.merge.published();
        let value = aggregate::watermark_value(task.merge.partition(), task.merge.offset(), previous, &sets);
        Some(Output {
            topic: self.settings.aggregates.clone(),
            partition: Some(task.merge.partition()),
            key: Some(aggregate::WATERMARK_KEY.into()),
            value: Some(value.into_bytes()),
            headers: vec![header("instance", self.settings.instance.clone())],
        })
    }

    /// Posts what is committed of a task, which is one of so many.
    fn snapshot(&self, task: &mut MergeTask, tasks: usize, monotonic: i64) {
        let merge = &task.merge;
        let begun = Instant::now();
        let fresh = monotonic >= task.snapshot_after;
        let rows = fresh.then(|| {
            let mine = self.plan.owned(merge.partition());
            let exports = self.settings.exports.iter().filter(|(set, by, _)| mine.contains(&(*set, *by)));
            Arc::new(exports.flat_map(|(set, by, window)| merge.rows(*set, *by, *window)).collect::<Vec<_>>())
        });
        if fresh {
            let took = begun.elapsed().as_secs_f64() * 1000.0;
            let rest = (took * (SNAPSHOTS_IN * tasks) as f64) as i64;
            task.snapshot_after = monotonic.saturating_add(self.settings.snapshot_interval_ms.max(rest));
        }
        let owned = self.plan.owned(merge.partition());
        let times = merge.times().iter().copied().enumerate();
        let times = times.filter(|(set, _)| owned.iter().any(|(owned, _)| owned == set)).collect();
        self.board.post(|posted| {
            let before = posted.merges.get(&merge.partition()).map(|status| Arc::clone(&status.rows));
            let status = MergeStatus {
                condition: Condition::Live,
                rows: rows.or(before).unwrap_or_default(),
                sizes: merge.sizes(),
                times,
                offset: merge.offset(),
                dropped: merge.dropped(),
                committed_at: monotonic,
            };
            posted.merges.insert(merge.partition(), status);
        });
    }
}

fn header(name: &str, value: String) -> (String, Option<Vec<u8>>) {
    (name.to_string(), Some(value.into_bytes()))
}

/// Whether the state is rebuilt from the deltas alone: an operator has given the changelog up.
fn is_rebuilt(metadata: &MergeMetadata) -> bool {
    metadata.checkpoint == 0 && metadata.accept.is_some()
}

impl Stage for Merging {
    type Task = MergeTask;

    /// The restore table: what is committed against what the changelog holds.
    fn assigned(&mut self, link: &mut dyn Link, assigned: &Assigned, _now: i64) -> Result<Begun<MergeTask>, Fault> {
        if assigned.partitions != self.plan.deltas_partitions {
            let detail = format!(
                "topic {} has {} partitions, configured are {}: their number is fixed for the life of the state",
                self.settings.deltas, assigned.partitions, self.plan.deltas_partitions
            );
            return Err(Fault::Halt(Halt::new(HaltCode::DeltasPartitions, detail)));
        }
        let partition = assigned.id.partition;
        let committed = match &assigned.committed {
            Some((offset, text)) => {
                let metadata = MergeMetadata::decode(text).map_err(|error| {
                    let foreign = matches!(error, CodecError::Damaged(_));
                    let code = if foreign { HaltCode::ForeignOffsets } else { HaltCode::UnknownFormat };
                    Halt::new(code, format!("offset {offset} of the merge group in partition {partition}: {error}"))
                })?;
                Some((*offset, metadata))
            }
            None => None,
        };
        if let Some(lost) = &assigned.lost {
            return Err(Fault::Halt(Halt::new(HaltCode::DeltasLost, lost.clone())));
        }
        let reader = if self.settings.checkpoint_interval_ms.is_some() {
            let reader = link.reader(&self.settings.changelog, partition, None, None);
            Some(reader.map_err(|error| Fault::of(error, HaltCode::ChangelogLost, "the changelog"))?)
        } else {
            None
        };
        let restore = if reader.is_some() { Restore::Changelog { committed, read: false } } else { Restore::Done };
        let sets = self.plan.sets.len();
        let task = MergeTask {
            merge: Merge::new(Arc::clone(&self.plan), partition, assigned.position),
            restore,
            deltas_from: assigned.bounds.0,
            published_at: i64::MIN / 2,
            checkpoint_at: i64::MIN / 2,
            snapshot_after: i64::MIN / 2,
            shown_until: vec![None; sets],
        };
        Ok(Begun { task, reader })
    }

    fn restore(&mut self, task: &mut MergeTask, record: Record<'_>, _now: i64) -> Result<(), Halt> {
        match &mut task.restore {
            Restore::Changelog { read, committed } => {
                *read = true;
                let key = record.key.unwrap_or_default();
                if committed.as_ref().is_some_and(|(_, metadata)| is_rebuilt(metadata)) {
                    task.merge.discard(key, record.value);
                    return Ok(());
                }
                task.merge.restore(key, record.value);
                Ok(())
            }
            Restore::Deltas { .. } | Restore::Done => {
                task.merge.take(record.offset, decode_delta(record.value.unwrap_or_default()));
                task.merge.halted().map_or(Ok(()), |halt| Err(halt.clone().at("while restoring")))
            }
        }
    }

    fn restored(&mut self, link: &mut dyn Link, task: &mut MergeTask) -> Result<Option<Box<dyn Reader>>, Fault> {
        let partition = task.merge.partition();
        match &task.restore {
            Restore::Changelog { committed: None, read: false } | Restore::Done => {
                task.restore = Restore::Done;
                return Ok(None);
            }
            Restore::Changelog { committed: None, read: true } => {
                let detail = format!(
                    "the changelog of partition {partition} holds state, but the merge group has no committed offset"
                );
                return Err(Fault::Halt(Halt::new(HaltCode::OffsetsLost, detail)));
            }
            Restore::Changelog { committed: Some((offset, metadata)), .. } => {
                let (offset, metadata) = (*offset, metadata.clone());
                let checkpoint = task.merge.base_restored(&metadata)?;
                // From its beginning where there is no checkpoint; behind a gap where one was accepted.
                let from = (metadata.checkpoint > 0).then_some(checkpoint);
                let from = from.filter(|from| metadata.accept.is_none() || *from >= task.deltas_from);
                task.restore = Restore::Deltas { from, offset, opened: false };
            }
            Restore::Deltas { offset, opened: true, .. } => {
                task.merge.restored(*offset);
                task.restore = Restore::Done;
                return Ok(None);
            }
            // The log did not answer: asked again.
            Restore::Deltas { .. } => {}
        }
        let Restore::Deltas { from, offset, .. } = task.restore else { return Ok(None) };
        if from.is_some_and(|from| from >= offset) {
            task.restore = Restore::Deltas { from, offset, opened: true };
            return self.restored(link, task);
        }
        let reader = link.reader(&self.settings.deltas, partition, from, Some(offset));
        let reader = reader.map_err(|error| Fault::of(error, HaltCode::DeltasLost, "deltas from the checkpoint on"))?;
        task.restore = Restore::Deltas { from, offset, opened: true };
        Ok(Some(reader))
    }

    fn lost_code(&self, task: &MergeTask) -> HaltCode {
        match task.restore {
            Restore::Changelog { .. } => HaltCode::ChangelogLost,
            Restore::Deltas { .. } | Restore::Done => HaltCode::DeltasLost,
        }
    }

    fn takes(&self, _task: &MergeTask) -> bool {
        true
    }

    fn consult(
        &mut self,
        _link: &mut dyn Link,
        _tasks: &mut [(PartitionId, &mut MergeTask)],
        _monotonic: i64,
    ) -> Result<(), LinkError> {
        Ok(()) // whatever fold says comes in the deltas
    }

    fn take(&mut self, task: &mut MergeTask, record: Record<'_>, _now: i64) {
        task.merge.take(record.offset, decode_delta(record.value.unwrap_or_default()));
    }

    fn heeds_silence(&self) -> bool {
        false
    }

    fn silent(&mut self, _task: &mut MergeTask, _drained_at: i64) {}

    fn offset(&self, task: &MergeTask) -> i64 {
        task.merge.offset()
    }

    fn has_news(&self, task: &MergeTask) -> bool {
        task.merge.has_news()
    }

    fn is_full(&self) -> bool {
        false
    }

    fn halted(&self, task: &MergeTask) -> Option<Halt> {
        task.merge.halted().cloned()
    }

    /// The metadata says that the task is halted, so that no source joins meanwhile. What is not ours stays as it is.
    fn halt_mark(
        &self,
        committed: Option<(i64, String)>,
        task: Option<&MergeTask>,
        halt: &Halt,
    ) -> Option<(i64, String)> {
        let (offset, metadata) = match (task, committed) {
            (Some(task), _) => task.merge.halt_mark(halt),
            (None, Some((offset, text))) => {
                let metadata = MergeMetadata::decode(&text).ok()?;
                (offset, MergeMetadata { halted: Some(halt.code.name().into()), ..metadata })
            }
            (None, None) => return None,
        };
        Some((offset, metadata.encode(self.plan.format)))
    }

    fn prepare<'a>(
        &'a mut self,
        tasks: &'a mut [(PartitionId, &mut MergeTask)],
        _now: i64,
        monotonic: i64,
    ) -> Commit<'a> {
        let merging: &'a Merging = self;
        let (mut prepared, mut offsets) = (Vec::new(), Vec::new());
        for (id, task) in tasks {
            if task.merge.halted().is_some() {
                continue; // it commits nothing: what it took is not to be trusted
            }
            let due = |interval: Option<i64>, at: i64| interval.is_some_and(|interval| monotonic - at >= interval);
            let publish = due(merging.settings.publish_interval_ms, task.published_at);
            let checkpoint =
                due(merging.settings.checkpoint_interval_ms, task.checkpoint_at) && !task.merge.is_pristine();
            if publish {
                task.published_at = monotonic;
            }
            if checkpoint {
                task.checkpoint_at = monotonic;
            }
            let mut made = task.merge.prepare(publish, checkpoint);
            let finals = task.merge.finals().next().is_some();
            let watermark = merging.watermark(task, publish, finals);
            if watermark.is_some() {
                made.metadata.published = Some(made.offset);
            }
            offsets.push((*id, made.offset, made.metadata.encode(merging.plan.format)));
            prepared.push((&**task, watermark, made));
        }
        let outputs =
            prepared.into_iter().flat_map(move |(task, watermark, made)| merging.outputs(task, made, watermark));
        Commit { outputs: Box::new(outputs), offsets }
    }

    fn committed(&mut self, tasks: &mut [(PartitionId, &mut MergeTask)], monotonic: i64) {
        let all = tasks.len();
        for (_, task) in tasks.iter_mut().filter(|(_, task)| task.merge.halted().is_none()) {
            task.merge.committed();
            self.snapshot(task, all, monotonic);
        }
    }

    fn aborted(&mut self, task: &mut MergeTask) {
        task.merge.aborted();
        // What this commit would have published or stored is due again at once.
        task.published_at = i64::MIN / 2;
        task.checkpoint_at = i64::MIN / 2;
        task.shown_until.fill(None);
    }

    fn post(&mut self, id: PartitionId, condition: Condition) {
        self.board.post(|posted| {
            let empty = MergeStatus {
                condition: condition.clone(),
                rows: Arc::default(),
                sizes: Vec::new(),
                times: Vec::new(),
                offset: 0,
                dropped: 0,
                committed_at: i64::MIN / 2,
            };
            posted.merges.entry(id.partition).or_insert(empty).condition = condition;
        });
    }

    fn withdraw(&mut self, id: PartitionId) {
        self.board.post(|posted| _ = posted.merges.remove(&id.partition));
    }

    fn lag(&mut self, _id: PartitionId, _lag: i64) {}
}
