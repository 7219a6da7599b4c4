//! What becomes of the rows of a sample: row in, events out, and why not.

use super::Failure;
use crate::clock::{Clock, SystemClock};
use crate::engine::time::rfc3339;
use crate::files::{FileFormat, InputFile};
use crate::mapping::{Mapping, MappingLimits, Provenance};
use crate::pipeline::input::InputSettings;
use crate::touchpoint::{DecodeContext, Dimension, Item, Limits, Touchpoint, decode_event};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The longest piece of a row or an event that is printed, bytes.
const SHOWN_BYTES_MAX: usize = 400;

/// The most events one record may become, and their bytes, as in the service.
const OUTPUTS_MAX: usize = 1_000;

/// How a sample is read.
pub(super) struct Sample<'a> {
    pub file: &'a str,
    pub rows: usize,
    pub mapping: Option<Arc<Mapping>>,
    pub max_future_ms: i64,
    pub record_bytes_max: usize,
}

impl<'a> Sample<'a> {
    /// A sample that is read as the records of an input are.
    pub fn of(file: &'a str, rows: usize, input: &InputSettings) -> Sample<'a> {
        let (mapping, max_future_ms) = (input.mapping.clone(), input.max_future_ms);
        Sample { file, rows, mapping, max_future_ms, record_bytes_max: input.record_bytes_max }
    }

    /// Prints what becomes of its first rows, and how many went where.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn explain(&self) -> Result<(), Failure> {
        let mut file = InputFile::open(self.file, FileFormat::of_name(self.file), self.record_bytes_max)?;
        let mut ends: BTreeMap<String, usize> = BTreeMap::new();
        let mut rows = 0;
        while rows < self.rows {
            let Some(row) = file.next_row()? else { break };
            rows += 1;
            println!("row {}", row.number);
            let content = match row.content {
                Ok(content) => content,
                Err(rejection) => {
                    told(&mut ends, &Item::Rejected(rejection));
                    continue;
                }
            };
            println!("  in   {}", short(&String::from_utf8_lossy(content)));
            self.row(content, row.number, &mut ends);
        }
        println!("\n{rows} rows:");
        ends.iter().for_each(|(end, count)| println!("  {count} {end}"));
        Ok(())
    }

    fn row(&self, content: &[u8], number: u64, ends: &mut BTreeMap<String, usize>) {
        let limits = Limits { record_bytes_max: self.record_bytes_max };
        let context = DecodeContext { now: SystemClock::new().now(), max_future_ms: self.max_future_ms, limits };
        let Some(mapping) = &self.mapping else {
            let item = std::str::from_utf8(content).map(|event| decode_event(event, None, &context));
            match item {
                Ok(item) => told(ends, &item),
                Err(error) => {
                    println!("  not_utf8: {error}");
                    *ends.entry("rejected: not_utf8".into()).or_insert(0) += 1;
                }
            }
            return;
        };
        let bounds = MappingLimits { input: limits, outputs_max: OUTPUTS_MAX, output_bytes_max: self.record_bytes_max };
        let provenance = Provenance::File { file: self.file, row: number };
        let mapped = mapping.map(content, &provenance, &bounds, &mut |event| {
            println!("  out  {}", short(event));
            told(ends, &decode_event(event, None, &context));
        });
        match mapped {
            Ok(0) => told(ends, &Item::Skipped),
            Ok(_) => {}
            Err(rejection) => told(ends, &Item::Rejected(rejection)),
        }
    }
}

/// Prints what became of an item, and counts it.
fn told(ends: &mut BTreeMap<String, usize>, item: &Item<'_>) {
    let end = match item {
        Item::Touchpoint(touchpoint) => {
            println!("  =    {}", summary(touchpoint));
            "would be counted (unless late or a duplicate)".to_owned()
        }
        Item::Skipped => {
            println!("  =    skipped: the mapping yields nothing, or it is a test");
            "skipped".to_owned()
        }
        Item::Rejected(rejection) => {
            println!("  =    rejected, {}: {}", rejection.reason.name(), rejection.detail);
            format!("rejected: {}", rejection.reason.name())
        }
    };
    *ends.entry(end).or_insert(0) += 1;
}

fn summary(touchpoint: &Touchpoint<'_>) -> String {
    let dimension = |dimension: Dimension| {
        touchpoint.dimensions.get(dimension).map(|value| format!(", {} {value}", dimension.name()))
    };
    let place: String =
        [Dimension::Channel, Dimension::Queue, Dimension::Team].into_iter().filter_map(dimension).collect();
    format!("counts at {}{place}", rfc3339(touchpoint.time))
}

fn short(text: &str) -> String {
    let end = text.floor_char_boundary(SHOWN_BYTES_MAX);
    if end < text.len() { format!("{} … ({} bytes)", &text[..end], text.len()) } else { text.to_owned() }
}
