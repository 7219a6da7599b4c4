//! The section: what one source adds in one commit, and from where to where it speaks.
//!
//! A fold commit writes one delta record to every deltas partition: the same sections everywhere, each
//! partition with the cells it owns. So every ledger hears of every source, also when nothing came (I-3).
//! What sources have counted in one cell is added up before it is written: the first section of a record holds the cells
//! of all of them, and a record is taken in whole or not at all.

use super::cell::Cell;
use super::slice::Values;
use std::borrow::Cow;
use std::sync::Arc;

/// A source of deltas: one partition of one input, in one epoch.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId {
    /// The input's name.
    pub input: Arc<str>,
    /// The input's epoch.
    pub epoch: u32,
    /// The partition.
    pub partition: i32,
}

impl std::fmt::Display for SourceId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{} (epoch {})", self.input, self.partition, self.epoch)
    }
}

/// Where a source is in its life, as its last section says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Phase {
    /// It has announced itself and takes nothing yet: time stands still for it, so that what it will accept finds its
    /// windows open.
    Joining,
    /// It takes records, and its watermark counts.
    #[default]
    Live,
    /// It has taken its joining back; it will announce itself again.
    Left,
    /// It said its last word: time no longer waits for it.
    Retired,
}

impl Phase {
    /// Every phase, in the order of their numbers.
    pub const ALL: [Phase; 4] = [Phase::Joining, Phase::Live, Phase::Left, Phase::Retired];

    /// The name in offset metadata and listings.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Joining => "joining",
            Phase::Live => "live",
            Phase::Left => "left",
            Phase::Retired => "retired",
        }
    }

    /// The phase of that name.
    pub fn parse(name: &str) -> Option<Phase> {
        Phase::ALL.into_iter().find(|phase| phase.name() == name)
    }
}

/// Lifetime counts of one source: the five doors, and the records they came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Records taken.
    pub records: i64,
    /// Items that changed an aggregate.
    pub accepted: i64,
    /// Items older than the watermark minus the lateness.
    pub late: i64,
    /// Items accepted before.
    pub duplicate: i64,
    /// Of those, the ones with other content.
    pub conflicting: i64,
    /// Items that could not be used.
    pub rejected: i64,
    /// Items marked as tests, and records that yield nothing.
    pub skipped: i64,
}

impl Totals {
    /// How many items were consumed: each went through exactly one of the five doors.
    pub fn consumed(&self) -> i64 {
        self.accepted + self.late + self.duplicate + self.rejected + self.skipped
    }
}

/// Where a source stands: what a ledger remembers of it, and what the next section must name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// The next offset to take.
    pub offset: i64,
    /// The watermark that holds there.
    pub watermark: Option<i64>,
    /// Lifetime accepted items there.
    pub accepted: i64,
}

/// What one source adds in one commit. Its cells may still belong to the one who counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section<'c> {
    /// Who speaks.
    pub source: SourceId,
    /// Where the source is in its life from here on.
    pub phase: Phase,
    /// How many partitions the input has.
    pub partitions: i32,
    /// What the cells were counted by: [`crate::engine::plan::Plan::id`] of the one who counted.
    pub plan: u32,
    /// The size of the panes that the cells were counted in, ms.
    pub base: i64,
    /// Where the section begins.
    pub from: Standing,
    /// Where it ends.
    pub to: Standing,
    /// From here on the source accepts no event before this; `None` while it has no watermark.
    pub horizon: Option<i64>,
    /// The newest event time ever accepted from the source.
    pub newest: Option<i64>,
    /// The oldest event time ever accepted from the source.
    pub oldest: Option<i64>,
    /// The time from which the source was taken in without a gap.
    pub covered_from: i64,
    /// Per metric set the number of accepted events that the cells hold.
    pub events: Vec<(String, i64)>,
    /// The cells, per group-by of a metric set: in the first section of a record those of every source in it.
    pub groups: Vec<Group<'c>>,
}

/// The cells of one group-by of one metric set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group<'c> {
    /// The metric set's name.
    pub set: String,
    /// The group-by's name.
    pub group_by: String,
    /// Under which definitions they were counted.
    pub definitions: u32,
    /// (slice, start of the base pane, counts), sorted.
    pub cells: Vec<(Values, i64, Cow<'c, Cell>)>,
}
