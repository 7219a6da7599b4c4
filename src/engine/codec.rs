//! What is written to our own topics, and read back: delta records, checkpoints, offset metadata.
//!
//! Each format carries its number. A binary reads its own and the one before it and writes the one it is told to
//! ([`crate::engine::plan::Plan::format`]); a number it does not know is an error that says so, never a guess (I-11).
//! Delta records and checkpoints are protobuf; offset metadata is short text that a person can read with Kafka's own
//! tools, at most [`METADATA_BYTES_MAX`] long.

mod cells;
mod checkpoint;
mod metadata;
mod sections;
mod wire;

pub use checkpoint::{
    Checkpoint, Closed, KeptLevel, KeptSeries, LEDGER_KEY, PaneKey, decode_checkpoint, decode_pane, decode_pane_key,
    encode_checkpoint, encode_pane, encode_pane_key, pane_hash,
};
pub use metadata::{FoldMetadata, KnownSources, METADATA_BYTES_MAX, MergeMetadata, SetReach, format_of};
pub use sections::{decode_delta, encode_delta};

/// A format of delta records, checkpoints and offset metadata together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// Cells with every count.
    V1,
    /// Cells with the counts that are not 0.
    V2,
}

impl Format {
    /// The one before: what a binary that is about to be replaced by this one writes.
    pub const PREVIOUS: Format = Format::V1;

    /// The one that is written unless configured otherwise.
    pub const LATEST: Format = Format::V2;

    /// Its number in what is written.
    pub fn number(self) -> u32 {
        match self {
            Format::V1 => 1,
            Format::V2 => 2,
        }
    }

    /// The format of a number.
    ///
    /// # Errors
    /// [`CodecError::Version`]: this binary does not read it.
    pub fn read(number: u32) -> Result<Format, CodecError> {
        [Format::PREVIOUS, Format::LATEST]
            .into_iter()
            .find(|format| format.number() == number)
            .ok_or(CodecError::Version(number))
    }
}

/// Why something could not be read back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// A version that this binary does not read.
    #[error("format {0} is not known to this binary, which reads {previous} and {latest}", previous = Format::PREVIOUS.number(), latest = Format::LATEST.number())]
    Version(u32),
    /// Not what it should be.
    #[error("damaged: {0}")]
    Damaged(String),
}
