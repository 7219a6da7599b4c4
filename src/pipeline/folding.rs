//! The first stage: records into items, items into [`Fold`] tasks, what those count into delta records.
//!
//! A record is decoded, or mapped whole and then decoded, before its first item is judged. Late and rejected
//! items go to their topics in the same commit as the deltas, with the record's own bytes and headers.

use super::alignment::{AlignmentSettings, MergeView, may_take};
use super::board::{Board, Condition, SourceStatus};
use super::input::{InputSettings, items};
use super::letter::{Why, letter};
use super::link::{Assigned, Commit, Link, LinkError, Output, PartitionId, Reader};
use super::stage::{Begun, Fault, Stage};
use super::waiting::{Mappers, Waiting};
use crate::engine::accumulator::OTHER;
use crate::engine::halt::{Halt, HaltCode};
use crate::engine::plan::Plan;
use crate::engine::section::Phase;
use crate::engine::slice::NONE;
use crate::engine::stage::{Fold, Judged, Open, sections};
use crate::mapping::Mapped;
use crate::record::{KeptRecord, Record};
use crate::touchpoint::{Dimension, Item, RejectReason, Touchpoint};
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

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
    /// The program whose mapper process runs the mappings. `None`: they run in this process, and nothing stops one that
    /// does not end.
    pub mapper: Option<PathBuf>,
    /// How sources are announced and held together; `None`: neither.
    pub alignment: Option<AlignmentSettings>,
}

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
    mappers: Mappers,
    /// What the tasks have counted together since the last commit, and how many of them have.
    open: Open,
    opened: usize,
    /// Whether each task counts for itself, because each commits alone.
    apart: bool,
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
    /// Whether it has counted anything since the last commit.
    has_open: bool,
    /// What it has counted for itself.
    own: Option<Open>,
    newest_by_channel: BTreeMap<String, i64>,
    rejected_at: BTreeMap<RejectReason, i64>,
    /// Records whose mapping is still to come.
    waiting: VecDeque<Waiting>,
    /// Whether it learns its ids again.
    restoring: bool,
    /// Where every merge task must have come to, to have heard the announcement.
    pub(super) target: Option<Vec<i64>>,
    /// After an announcement was taken back: when it may be made again.
    pub(super) joins_again_at: i64,
    /// Whether it is near enough to the others to go on.
    pub(super) aligned: bool,
    /// Since when it is not, or has said again where it stands.
    pub(super) held_since: Option<i64>,
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
            has_open: false,
            own: None,
            newest_by_channel: BTreeMap::new(),
            rejected_at: BTreeMap::new(),
            waiting: VecDeque::new(),
            restoring: false,
            target: None,
            joins_again_at: i64::MIN,
            aligned,
            held_since: None,
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
        let mappers = Mappers::new(&settings.inputs, settings.mapper.as_deref());
        let open = Open::new(&plan);
        Folding {
            plan,
            settings,
            inputs,
            board,
            mappers,
            open,
            opened: 0,
            apart: false,
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

    /// A record: its items are judged, or their ids learned again. It waits first where it is to be mapped.
    fn record(&mut self, task: &mut FoldTask, record: &Record<'_>, now: i64) {
        if self.mappers.has(task.input) {
            task.waiting.push_back(Waiting { record: KeptRecord::new(record), now, mapped: None });
        } else {
            self.ready(task, record, now, None);
        }
    }

    fn ready(&mut self, task: &mut FoldTask, record: &Record<'_>, now: i64, mapped: Option<&Mapped>) {
        let inputs = Arc::clone(&self.inputs);
        let input = &inputs[task.input];
        if task.restoring {
            return items(input, record, now, mapped, &mut |item, _| {
                if let Item::Touchpoint(touchpoint) = item {
                    task.fold.relearn(touchpoint, record.offset);
                }
            });
        }
        let partition = task.partition;
        if input.skip_offsets.contains(&(partition, record.offset)) {
            tracing::warn!(topic = input.topic, partition, offset = record.offset, "stepped over, as configured");
            task.fold.skipped();
            return task.fold.record_done(record.offset);
        }
        items(input, record, now, mapped, &mut |item, index| self.item(task, item, record, index));
        task.fold.record_done(record.offset);
        // What waits is judged all the same: it is a portion at most.
        task.aligned = may_take(task.fold.watermark(), task.limit);
    }

    fn item(&mut self, task: &mut FoldTask, item: &Item<'_>, record: &Record<'_>, index: usize) {
        self.open_items += 1;
        match item {
            Item::Touchpoint(touchpoint) => match self.judge(task, touchpoint, record.offset) {
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
                task.rejected_at.insert(rejection.reason, record.offset);
                self.letter(task, record, index, rejection.reason.name(), &rejection.detail);
            }
        }
    }

    fn judge(&mut self, task: &mut FoldTask, touchpoint: &Touchpoint<'_>, offset: i64) -> Judged {
        let open = match self.apart {
            true => task.own.get_or_insert_with(|| Open::new(&self.plan)),
            false => &mut self.open,
        };
        let before = open.bytes();
        let judged = task.fold.item(touchpoint, offset, open);
        if judged == Judged::Accepted {
            self.open_delta_bytes += open.bytes() - before;
            self.opened += usize::from(!task.has_open);
            task.has_open = true;
        }
        judged
    }

    /// Nothing that the task has counted is open any more.
    fn close(&mut self, task: &mut FoldTask) {
        (task.has_open, task.own) = (false, None);
        (self.open_items, self.open_letter_bytes, self.open_delta_bytes, self.opened) = (0, 0, 0, 0);
        self.open.clear();
    }

    /// A late item or a dead letter: the record as it came, and why.
    fn letter(&mut self, task: &mut FoldTask, record: &Record<'_>, index: usize, reason: &str, detail: &str) {
        let to = if reason == "late" { &self.settings.late } else { &self.settings.dead_letter };
        let topic = &self.settings.inputs[task.input].topic;
        let why = Why { reason, detail, topic, partition: task.partition, index };
        let (output, bytes) = letter(to, record, &why, self.settings.output_bytes_max);
        self.open_letter_bytes += bytes;
        task.letters.push(output);
    }

    fn post_source(&self, task: &FoldTask, monotonic: i64) {
        let (totals, rejected) = task.fold.committed_totals();
        let status = SourceStatus {
            condition: Condition::Live,
            phase: task.fold.phase().0,
            held: !task.aligned,
            totals: *totals,
            rejected: rejected.clone(),
            rejected_at: task.rejected_at.clone(),
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
        task.restoring = true;
        self.record(task, &record, now);
        Ok(())
    }

    fn restored(&mut self, _link: &mut dyn Link, task: &mut FoldTask) -> Result<Option<Box<dyn Reader>>, Fault> {
        task.fold.relearned();
        task.restoring = false;
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
        self.record(task, &record, now);
    }

    fn portion(&self) -> usize {
        self.mappers.portion()
    }

    fn settle(&mut self, tasks: &mut [(PartitionId, &mut FoldTask)]) -> Result<bool, String> {
        if tasks.iter().all(|(_, task)| task.waiting.is_empty()) {
            return Ok(false);
        }
        let turn = self.mappers.next_turn() % tasks.len();
        let mut waiting: Vec<&mut FoldTask> = tasks.iter_mut().map(|(_, task)| &mut **task).collect();
        waiting.rotate_left(turn);
        // What is mapped already is judged first, so that no more than one portion lies there mapped.
        if !waiting.iter().any(|task| task.waiting.front().is_some_and(|first| first.mapped.is_some())) {
            for (index, input) in Arc::clone(&self.inputs).iter().enumerate() {
                let theirs = waiting.iter_mut().filter(|task| task.input == index);
                let queues = theirs.map(|task| (task.partition, &mut task.waiting)).collect();
                self.mappers.map(index, input, queues).map_err(|error| error.to_string())?;
            }
        }
        // A record may become a thousand events: what is open stays bounded.
        for task in waiting {
            while let Some(Waiting { record, now, mapped: Some(mapped) }) =
                task.waiting.pop_front_if(|first| first.mapped.is_some())
            {
                self.ready(task, &record.record(&record.headers()), now, Some(&mapped));
                if self.is_full() {
                    break;
                }
            }
            if self.is_full() {
                break;
            }
        }
        Ok(tasks.iter().any(|(_, task)| !task.waiting.is_empty()))
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

    fn position(&self, task: &FoldTask) -> i64 {
        task.waiting.back().map_or(task.fold.offset(), |waiting| waiting.record.offset() + 1)
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

    fn prepare<'a>(
        &'a mut self,
        tasks: &'a mut [(PartitionId, &mut FoldTask)],
        _now: i64,
        monotonic: i64,
    ) -> Commit<'a> {
        (self.open_items, self.open_letter_bytes, self.open_delta_bytes, self.hurries) = (0, 0, 0, false);
        let (mut outputs, mut offsets) = (Vec::new(), Vec::new());
        let speaks = |task: &FoldTask| task.fold.has_news() && self.may_speak(task);
        let speaking: Vec<&FoldTask> = tasks.iter().map(|(_, task)| &**task).filter(|task| speaks(task)).collect();
        let silent_but_open = tasks.iter().any(|(_, task)| task.has_open && !speaks(task));
        assert!(!silent_but_open, "what is open of a source goes out with what the source says");
        let folds: Vec<&Fold> = speaking.iter().map(|task| &task.fold).collect();
        let open: Vec<&Open> = speaking.iter().filter_map(|task| task.own.as_ref()).chain([&self.open]).collect();
        let sections = sections(&folds, &open);
        if sections.is_empty() {
            // Nothing to say: what is on the board is still true.
            tasks.iter().for_each(|(_, task)| self.post_source(task, monotonic));
        } else {
            super::deltas::records(&self.plan, &self.settings.deltas, sections, &mut outputs);
        }
        for (id, task) in tasks.iter_mut().filter(|(_, task)| speaks(task)) {
            outputs.append(&mut task.letters);
            offsets.push((*id, task.fold.offset(), task.fold.metadata().encode(self.plan.format)));
        }
        Commit { outputs: Box::new(outputs.into_iter()), offsets }
    }

    fn committed(&mut self, tasks: &mut [(PartitionId, &mut FoldTask)], monotonic: i64) {
        for (_, task) in tasks.iter_mut() {
            if self.may_speak(task) {
                task.fold.committed();
            }
            self.close(task);
            self.post_source(task, monotonic);
        }
    }

    fn aborted(&mut self, task: &mut FoldTask) {
        task.fold.aborted();
        task.letters.clear();
        task.waiting.clear();
        self.close(task);
    }

    fn is_spoiled(&self, tasks: &[(PartitionId, &mut FoldTask)]) -> bool {
        !self.apart && tasks.iter().filter(|(_, task)| task.has_open).count() != self.opened
    }

    fn stand_apart(&mut self, apart: bool) {
        self.apart = apart;
    }

    fn post(&mut self, id: PartitionId, condition: Condition) {
        self.board.post(|posted| {
            let empty = SourceStatus {
                condition: condition.clone(),
                phase: Phase::default(),
                held: false,
                totals: Default::default(),
                rejected: BTreeMap::new(),
                rejected_at: BTreeMap::new(),
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
