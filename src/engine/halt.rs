//! Why a task takes nothing any more: what the protocol excludes, by name (I-12).
//!
//! A halt is a value. The code is what alerts and the operator's handbook go by and never changes its meaning; the
//! detail says which offset, which source, and what was expected. A halted task keeps its partition, its neighbours
//! go on.

use std::fmt;

/// What happened, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HaltCode {
    /// A committed offset carries no metadata of ours.
    ForeignOffsets,
    /// The log no longer holds the committed offset: retention has passed it, or the topic was re-created.
    InputLost,
    /// The committed offset is of a later epoch than the configured one.
    EpochBehind,
    /// The source was retired; under this epoch it takes nothing any more.
    Retired,
    /// Something was written in a format that this binary does not read.
    UnknownFormat,
    /// The merge group has no committed offset, but the changelog holds state.
    OffsetsLost,
    /// The changelog is empty or of another checkpoint than the committed offset names.
    ChangelogLost,
    /// A record of the changelog cannot be what was written.
    ChangelogDamaged,
    /// The deltas between the checkpoint and the committed offset, or from the committed offset on, are gone.
    DeltasLost,
    /// A section does not follow on what the ledger holds: a gap, an overlap, an epoch that has passed.
    LedgerGap,
    /// A section's cells do not add up to the events it names, or are of another shape.
    Conservation,
    /// The deltas topic has another number of partitions than is configured.
    DeltasPartitions,
    /// A record cannot be written: too large, or its topic is missing or refused.
    CannotWrite,
}

impl HaltCode {
    /// Every code.
    pub const ALL: [HaltCode; 13] = [
        HaltCode::ForeignOffsets,
        HaltCode::InputLost,
        HaltCode::EpochBehind,
        HaltCode::Retired,
        HaltCode::UnknownFormat,
        HaltCode::OffsetsLost,
        HaltCode::ChangelogLost,
        HaltCode::ChangelogDamaged,
        HaltCode::DeltasLost,
        HaltCode::LedgerGap,
        HaltCode::Conservation,
        HaltCode::DeltasPartitions,
        HaltCode::CannotWrite,
    ];

    /// The name in `touchstone_task_halted`, `/readyz`, logs and the handbook.
    pub fn name(self) -> &'static str {
        match self {
            HaltCode::ForeignOffsets => "foreign_offsets",
            HaltCode::InputLost => "input_lost",
            HaltCode::EpochBehind => "epoch_behind",
            HaltCode::Retired => "retired",
            HaltCode::UnknownFormat => "unknown_format",
            HaltCode::OffsetsLost => "offsets_lost",
            HaltCode::ChangelogLost => "changelog_lost",
            HaltCode::ChangelogDamaged => "changelog_damaged",
            HaltCode::DeltasLost => "deltas_lost",
            HaltCode::LedgerGap => "ledger_gap",
            HaltCode::Conservation => "conservation",
            HaltCode::DeltasPartitions => "deltas_partitions",
            HaltCode::CannotWrite => "cannot_write",
        }
    }
}

/// A halt: its code, and what exactly was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Halt {
    /// What happened, by name.
    pub code: HaltCode,
    /// Which offset, source or record, and what was expected.
    pub detail: String,
}

impl Halt {
    /// A halt.
    pub fn new(code: HaltCode, detail: impl Into<String>) -> Halt {
        Halt { code, detail: detail.into() }
    }

    /// The same halt, with where it was found in front.
    pub fn at(self, place: impl fmt::Display) -> Halt {
        Halt { code: self.code, detail: format!("{place}: {}", self.detail) }
    }
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.name(), self.detail)
    }
}
