//! What is written to our own topics, and read back: delta records, checkpoints, offset metadata.
//!
//! Each format carries its version; a version this binary does not know is an error that says so, never a
//! guess (I-11). Delta records and checkpoints are protobuf; offset metadata is short text that a person
//! can read with Kafka's own tools, at most [`METADATA_BYTES_MAX`] long.

mod cells;
mod metadata;

pub use cells::{
    Checkpoint, Closed, PaneKey, decode_checkpoint, decode_delta, decode_pane, decode_pane_key, encode_checkpoint,
    encode_delta, encode_pane, encode_pane_key,
};
pub use metadata::{FoldMetadata, METADATA_BYTES_MAX, MergeMetadata};

/// The version that is written into delta records, checkpoints and offset metadata.
pub const VERSION: u32 = 1;

/// Why something could not be read back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// A version that this binary does not read.
    #[error("format version {0} is not known to this binary (it reads {VERSION})")]
    Version(u32),
    /// Not what it should be.
    #[error("damaged: {0}")]
    Damaged(String),
}
