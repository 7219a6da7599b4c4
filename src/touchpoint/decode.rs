//! Placeholder of the decoder; see the module documentation of `touchpoint`.
use super::Item;
use crate::record::Record;

/// Limits that hold before anything is parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest value that is looked at, in bytes.
    pub record_bytes_max: usize,
}

/// What decoding must be told: it reads no clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeContext {
    /// The clock, in milliseconds since the epoch: the start of the command for files.
    pub now: i64,
    /// How far an event may lie after its record's timestamp (in files, after `now`), in milliseconds.
    pub max_future_ms: i64,
    /// See [`Limits`].
    pub limits: Limits,
}

/// Decodes one record.
pub fn decode<'a>(_record: &Record<'a>, _context: &DecodeContext) -> Item<'a> {
    todo!()
}
/// stub
pub fn content_hash(_t: &super::Touchpoint<'_>) -> u64 {
    todo!()
}
/// stub
pub fn identity_hash(_s: &str, _i: &str) -> u128 {
    todo!()
}
