//! The first stage: records into items, items into [`Fold`] tasks, what those count into delta records.
//!
//! A record is decoded, or mapped whole and then decoded, before its first item is judged. Late and rejected
//! items go to their topics in the same commit as the deltas, with the record's own bytes and headers.

use super::alignment::{AlignmentSettings, MergeView, may_take};
use super::board::{Board, Condition, SourceStatus};
use super::link::{Assigned, Commit, Link, LinkError, Output, PartitionId, Reader};
use super::stage::{Begun, Fault, Stage};
use crate::engine::accumulator::OTHER;
use crate::engine::halt::{Halt, HaltCode};
use crate::engine::plan::Plan;
use crate::engine::section::Phase;
use crate::engine::slice::NONE;
use crate::engine::stage::{Fold, Judged};
use crate::mapping::{Mapping, MappingLimits, Provenance};
use crate::record::Record;
use crate::touchpoint::{
    DecodeContext, Dimension, Item, Limits, RejectReason, Rejection, Touchpoint, decode, decode_event,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// One input as its records are read.
#[derive(Clone)]
pub struct InputSettings {
    /// Its topic; empty for files.
    pub topic: String,
    /// Whether its records are rows of files, named by [`FILE_HEADER`] and [`ROW_HEADER`].
    pub from_files: bool,
    /// The filter that makes touchpoints of foreign records.
    pub mapping: Option<Arc<Mapping>>,
    /// How far an event may lie after its record's timestamp, ms.
    pub max_future_ms: i64,
    /// The largest record that is looked at, bytes.
    pub record_bytes_max: usize,
    /// Whether a source without a committed offset begins at the log's beginning.
    pub from_beginning: bool,
    /// Records that are stepped over, as (partition, offset): skipped unread.
    pub skip_offsets: BTreeSet<(i32, i64)>,
}

/// What folding needs to know beyond the plan.
#[derive(Clone)]
pub struct FoldSettings {
    /// Per input of the plan.
    pub inputs: Vec<InputSettings>,
    /// Name of the deltas topic.
    pub deltas: String,
    /// Name of the topic of late items.
    pub late: String,
    /// Name of the topic of rejected items.
    pub dead_letter: String,
    /// The largest record our own topics take, bytes.
    pub output_bytes_max: usize,
    /// The largest delta record, bytes; a commit is made before its time when half of it is open.
    pub delta_bytes_max: usize,
    /// After how many items a commit is made before its time.
    pub batch_items_max: usize,
    /// How sources are announced and held together; `None`: neither.
    pub alignment: Option<AlignmentSettings>,
}

/// The header that names the file a row came from.
pub const FILE_HEADER: &str = "file";

/// The header that holds the row's number.
pub const ROW_HEADER: &str = "row";

/// The header of a row that could not be read: the reason, `|`, the detail.
pub const REJECTION_HEADER: &str = "rejected";

/// The most events that one record may become.
const OUTPUTS_MAX: usize = 1_000;

/// The most channels that the newest event time is told apart by.
const CHANNELS_MAX: usize = 100;

/// After how many bytes of late and dead letters a commit is made before its time.
const LETTER_BYTES_MAX: usize = 8 << 20;

/// The fold stage of one worker.
pub struct Folding {
    pub(super) plan: Arc<Plan>,
    pub(super) settings: FoldSettings,
    pub(super) inputs: Arc<[InputSettings]>,
    board: Board,
    open_items: usize,
    open_letter_bytes: usize,
    open_delta_bytes: usize,
    pub(super) view: MergeView,
    pub(super) looked_at: i64,
    /// Something is open of a source that stands still: merge waits for it.
    pub(super) hurries: bool,
    /// Whether sources say their last word instead of taking records.
    pub(super) retires: bool,
}

/// A fold task and the letters that go out with its next commit.
pub struct FoldTask {
    pub(super) fold: Fold,
    pub(super) input: usize,
    partition: i32,
    letters: Vec<Output>,
    newest_by_channel: BTreeMap<String, i64>,
    /// Where every merge task must have come to, to have heard the announcement.
    pub(super) target: Option<Vec<i64>>,
    /// After an announcement was taken back: when it may be made again.
    pub(super) joins_again_at: i64,
    /// Whether it is near enough to the others to go on.
    pub(super) aligned: bool,
    /// How far its watermark may come.
    pub(super) limit: i64,
    pub(super) halt: Option<Halt>,
}

impl FoldTask {
    pub(super) fn new(fold: Fold, assigned: &Assigned, aligned: bool) -> FoldTask {
        FoldTask {
            fold,
            input: assigned.id.topic,
            partition: assigned.id.partition,
            letters: Vec::new(),
            newest_by_channel: BTreeMap::new(),
            target: None,
            joins_again_at: i64::MIN,
            aligned,
            limit: i64::MAX,
            halt: None,
        }
    }

    /// The engine's task.
    pub fn fold(&self) -> &Fold {
        &self.fold
    }
}

impl Folding {
    /// The stage.
    pub fn new(plan: Arc<Plan>, settings: FoldSettings, board: Board) -> Folding {
        let inputs = settings.inputs.clone().into();
        Folding {
            plan,
            settings,
            inputs,
            board,
            open_items: 0,
            open_letter_bytes: 0,
            open_delta_bytes: 0,
            view: MergeView::default(),
            looked_at: i64::MIN / 2,
            hurries: false,
            retires: false,
        }
    }

    /// The stage in which every source says its last word and takes nothing: how an input is removed.
    pub fn retiring(plan: Arc<Plan>, settings: FoldSettings, board: Board) -> Folding {
        Folding { retires: true, ..Folding::new(plan, settings, board) }
    }

    fn item(&mut self, task: &mut FoldTask, item: &Item<'_>, record: &Record<'_>, index: usize) {
        self.open_items += 1;
        match item {
            Item::Touchpoint(touchpoint) => match task.fold.item(touchpoint, record.offset) {
                Judged::Accepted => newest(&mut task.newest_by_channel, touchpoint),
                Judged::Late => {
                    let behind = task.fold.watermark().unwrap_or(i64::MIN).saturating_sub(touchpoint.time);
                    let detail = format!("event time is {:.3} s behind the watermark", behind as f64 / 1000.0);
                    self.letter(task, record, index, "late", &detail);
                }
                Judged::Duplicate { .. } => {}
            },
            Item::Skipped => task.fold.skipped(),
            Item::Rejected(rejection) => {
                task.fold.rejected(rejection.reason);
                self.letter(task, record, index, rejection.reason.name(), &rejection.detail);
            }
        }
    }

    /// A late item or a dead letter: the record as it came, and why.
    fn letter(&mut self, task: &mut FoldTask, record: &Record<'_>, index: usize, reason: &str, detail: &str) {
        let topic = if reason == "late" { &self.settings.late } else { &self.settings.dead_letter };
        let mut headers: Vec<(String, Option<Vec<u8>>)> =
            record.headers.iter().map(|(name, value)| (name.to_string(), value.map(<[u8]>::to_vec))).collect();
        let mut add =
            |name: &str, value: String| headers.push((format!("touchstone_{name}"), Some(value.into_bytes())));
        add("reason", reason.to_string());
        add("detail", detail.to_string());
        add("topic", self.settings.inputs[task.input].topic.clone());
        add("partition", task.partition.to_string());
        add("offset", record.offset.to_string());
        add("index", index.to_string());
        let own: usize = headers.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, Vec::len) + 16).sum();
        let key_bytes = record.key.map_or(0, <[u8]>::len);
        let room = self.settings.output_bytes_max.saturating_sub(own + key_bytes + 256);
        let value = record.value.map(|value| &value[..value.len().min(room)]);
        if let Some(full) = record.value.filter(|full| full.len() > room) {
            headers.push(("touchstone_truncated".into(), Some(full.len().to_string().into_bytes())));
        }
        self.open_letter_bytes += own + key_bytes + value.map_or(0, <[u8]>::len);
        task.letters.push(Output {
            topic: topic.clone(),
            partition: None,
            key: record.key.map(<[u8]>::to_vec),
            value: value.map(<[u8]>::to_vec),
            headers,
        });
    }

    fn post_source(&self, task: &FoldTask, monotonic: i64) {
        let (totals, rejected) = task.fold.committed_totals();
        let status = SourceStatus {
            condition: Condition::Live,
            phase: task.fold.phase().0,
            held: !task.aligned,
            totals: *totals,
            rejected: rejected.clone(),
            watermark: task.fold.watermark(),
            newest_by_channel: task.newest_by_channel.clone(),
            offset: task.fold.offset(),
            lag: None,
            ids: (task.fold.ids().len(), task.fold.ids().pushed_out()),
            committed_at: monotonic,
        };
        let key = (task.input, task.partition);
        self.board.post(|posted| {
            let lag = posted.sources.get(&key).and_then(|before| before.lag);
            posted.sources.insert(key, SourceStatus { lag, ..status });
        });
    }
}

/// Hands over every item of a record, with its index.
pub fn items(
    input: &InputSettings,
    partition: i32,
    record: &Record<'_>,
    now: i64,
    each: &mut dyn FnMut(&Item<'_>, usize),
) {
    if let Some(rejection) = record.header(REJECTION_HEADER).filter(|_| input.from_files) {
        return each(&Item::Rejected(refused(rejection)), 0);
    }
    let limits = Limits { record_bytes_max: input.record_bytes_max };
    let context = DecodeContext { now, max_future_ms: input.max_future_ms, limits };
    let Some(mapping) = &input.mapping else {
        return each(&decode(record, &context), 0);
    };
    let provenance = match input.from_files {
        true => Provenance::File {
            file: text(record.header(FILE_HEADER)),
            row: text(record.header(ROW_HEADER)).parse().unwrap_or(0),
        },
        false => Provenance::Log { topic: &input.topic, partition, record },
    };
    let bounds = MappingLimits { input: limits, outputs_max: OUTPUTS_MAX, output_bytes_max: input.record_bytes_max };
    let mut events: Vec<String> = Vec::new();
    match mapping.map(record.value.unwrap_or_default(), &provenance, &bounds, &mut |event| events.push(event.into())) {
        Ok(0) => each(&Item::Skipped, 0),
        Ok(_) => {
            for (index, event) in events.iter().enumerate() {
                each(&decode_event(event, record.timestamp, &context), index);
            }
        }
        Err(rejection) => each(&Item::Rejected(rejection), 0),
    }
}

/// What the reader of files has found wrong with a row.
fn refused(header: &[u8]) -> Rejection {
    let (reason, detail) = text(Some(header)).split_once('|').unwrap_or_default();
    Rejection::new(RejectReason::parse(reason).unwrap_or(RejectReason::NotJson), detail)
}

fn text(value: Option<&[u8]>) -> &str {
    value.and_then(|value| std::str::from_utf8(value).ok()).unwrap_or_default()
}

fn newest(newest: &mut BTreeMap<String, i64>, touchpoint: &Touchpoint<'_>) {
    let channel = touchpoint.dimensions.get(Dimension::Channel).unwrap_or(NONE);
    match newest.get_mut(channel) {
        Some(time) => *time = (*time).max(touchpoint.time),
        None => {
            let name = if newest.len() < CHANNELS_MAX { channel } else { OTHER };
            let time = newest.entry(name.to_string()).or_insert(i64::MIN);
            *time = (*time).max(touchpoint.time);
        }
    }
}

impl Stage for Folding {
    type Task = FoldTask;

    fn assigned(&mut self, link: &mut dyn Link, assigned: &Assigned, now: i64) -> Result<Begun<FoldTask>, Fault> {
        self.take_over(link, assigned, now)
    }

    fn restore(&mut self, task: &mut FoldTask, record: Record<'_>, now: i64) -> Result<(), Halt> {
        let FoldTask { fold, input, partition, .. } = task;
        items(&self.inputs[*input], *partition, &record, now, &mut |item, _| {
            if let Item::Touchpoint(touchpoint) = item {
                fold.relearn(touchpoint, record.offset);
            }
        });
        Ok(())
    }

    fn restored(&mut self, _link: &mut dyn Link, task: &mut FoldTask) -> Result<Option<Box<dyn Reader>>, Fault> {
        task.fold.relearned();
        Ok(None)
    }

    fn lost_code(&self, _task: &FoldTask) -> HaltCode {
        HaltCode::InputLost
    }

    fn takes(&self, task: &FoldTask) -> bool {
        task.fold.phase().0 == Phase::Live && task.aligned
    }

    fn consult(
        &mut self,
        link: &mut dyn Link,
        tasks: &mut [(PartitionId, &mut FoldTask)],
        monotonic: i64,
    ) -> Result<(), LinkError> {
        self.look_at_merge(link, tasks, monotonic)
    }

    fn take(&mut self, task: &mut FoldTask, record: Record<'_>, now: i64) {
        let inputs = Arc::clone(&self.inputs);
        let (input, partition) = (&inputs[task.input], task.partition);
        if input.skip_offsets.contains(&(partition, record.offset)) {
            tracing::warn!(topic = input.topic, partition, offset = record.offset, "stepped over, as configured");
            task.fold.skipped();
            return task.fold.record_done(record.offset);
        }
        let open = task.fold.open_bytes();
        items(input, partition, &record, now, &mut |item, index| self.item(task, item, &record, index));
        self.open_delta_bytes += task.fold.open_bytes() - open;
        task.fold.record_done(record.offset);
        task.aligned = may_take(task.fold.watermark(), task.limit);
    }

    fn heeds_silence(&self) -> bool {
        true
    }

    fn silent(&mut self, task: &mut FoldTask, drained_at: i64) {
        task.fold.silent(drained_at);
    }

    fn offset(&self, task: &FoldTask) -> i64 {
        task.fold.offset()
    }

    fn has_news(&self, task: &FoldTask) -> bool {
        task.fold.has_news()
    }

    fn is_full(&self) -> bool {
        self.open_items >= self.settings.batch_items_max
            || self.open_letter_bytes >= LETTER_BYTES_MAX
            || self.open_delta_bytes >= self.settings.delta_bytes_max / 2
            || self.hurries
    }

    fn halted(&self, task: &FoldTask) -> Option<Halt> {
        task.halt.clone()
    }

    fn halt_mark(
        &self,
        _committed: Option<(i64, String)>,
        _task: Option<&FoldTask>,
        _halt: &Halt,
    ) -> Option<(i64, String)> {
        None // nobody goes by it, and what is committed is what the operator's command works on
    }

    fn prepare(&mut self, tasks: &mut [(PartitionId, &mut FoldTask)], _now: i64, monotonic: i64) -> Commit {
        (self.open_items, self.open_letter_bytes, self.open_delta_bytes, self.hurries) = (0, 0, 0, false);
        let mut commit = Commit::default();
        let mut sections = Vec::new();
        for (id, task) in tasks.iter_mut().filter(|(_, task)| task.fold.has_news() && self.may_speak(task)) {
            sections.push(task.fold.section());
            commit.outputs.append(&mut task.letters);
            commit.offsets.push((*id, task.fold.offset(), task.fold.metadata().encode(self.plan.format)));
        }
        if sections.is_empty() {
            // Nothing to say: what is on the board is still true.
            tasks.iter().for_each(|(_, task)| self.post_source(task, monotonic));
        } else {
            super::deltas::records(&self.plan, &self.settings.deltas, sections, &mut commit.outputs);
        }
        commit
    }

    fn committed(&mut self, tasks: &mut [(PartitionId, &mut FoldTask)], monotonic: i64) {
        for (_, task) in tasks.iter_mut() {
            if self.may_speak(task) {
                task.fold.committed();
            }
            self.post_source(task, monotonic);
        }
    }

    fn aborted(&mut self, task: &mut FoldTask) {
        task.fold.aborted();
        task.letters.clear();
        (self.open_items, self.open_letter_bytes, self.open_delta_bytes) = (0, 0, 0);
    }

    fn post(&mut self, id: PartitionId, condition: Condition) {
        self.board.post(|posted| {
            let empty = SourceStatus {
                condition: condition.clone(),
                phase: Phase::default(),
                held: false,
                totals: Default::default(),
                rejected: BTreeMap::new(),
                watermark: None,
                newest_by_channel: BTreeMap::new(),
                offset: 0,
                lag: None,
                ids: (0, 0),
                committed_at: i64::MIN / 2,
            };
            posted.sources.entry((id.topic, id.partition)).or_insert(empty).condition = condition;
        });
    }

    fn withdraw(&mut self, id: PartitionId) {
        self.board.post(|posted| _ = posted.sources.remove(&(id.topic, id.partition)));
    }

    fn lag(&mut self, id: PartitionId, lag: i64) {
        self.board.post(|posted| {
            if let Some(status) = posted.sources.get_mut(&(id.topic, id.partition)) {
                status.lag = Some(lag);
            }
        });
    }
}
