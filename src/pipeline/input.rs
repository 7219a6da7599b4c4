//! What a record of an input holds, however it came: from the log or as a row of a file, mapped or as it is.

use crate::mapping::{Mapped, Mapping};
use crate::record::Record;
use crate::touchpoint::{DecodeContext, Item, Limits, RejectReason, Rejection, decode, decode_event};
use std::collections::BTreeSet;
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

impl InputSettings {
    /// Rows of files, as they are read where nothing is configured.
    pub fn of_files() -> InputSettings {
        InputSettings {
            topic: String::new(),
            from_files: true,
            mapping: None,
            max_future_ms: 300_000,
            record_bytes_max: 1_048_576,
            from_beginning: true,
            skip_offsets: BTreeSet::new(),
        }
    }
}

/// The header that names the file a row came from.
pub const FILE_HEADER: &str = "file";

/// The header that holds the row's number.
pub const ROW_HEADER: &str = "row";

/// The header of a row that could not be read: the reason, `|`, the detail.
pub const REJECTION_HEADER: &str = "rejected";

/// Hands over every item of a record, with its index. `mapped` is what the input's mapping made of it, where it has one.
pub fn items(
    input: &InputSettings,
    record: &Record<'_>,
    now: i64,
    mapped: Option<&Mapped>,
    each: &mut dyn FnMut(&Item<'_>, usize),
) {
    let limits = Limits { record_bytes_max: input.record_bytes_max };
    let context = DecodeContext { now, max_future_ms: input.max_future_ms, limits };
    match mapped {
        None => match refused(input, record) {
            Some(rejection) => each(&Item::Rejected(rejection), 0),
            None => each(&decode(record, &context), 0),
        },
        Some(Err(rejection)) => each(&Item::Rejected(rejection.clone()), 0),
        Some(Ok(events)) if events.is_empty() => each(&Item::Skipped, 0),
        Some(Ok(events)) => {
            for (index, event) in events.iter().enumerate() {
                each(&decode_event(event, record.timestamp, &context), index);
            }
        }
    }
}

/// What the reader of files has found wrong with a row.
pub(super) fn refused(input: &InputSettings, record: &Record<'_>) -> Option<Rejection> {
    let header = record.header(REJECTION_HEADER).filter(|_| input.from_files)?;
    let (reason, detail) = text(Some(header)).split_once('|').unwrap_or_default();
    Some(Rejection::new(RejectReason::parse(reason).unwrap_or(RejectReason::NotJson), detail))
}

/// A header's text; empty where there is none.
pub(super) fn text(value: Option<&[u8]>) -> &str {
    value.and_then(|value| std::str::from_utf8(value).ok()).unwrap_or_default()
}
