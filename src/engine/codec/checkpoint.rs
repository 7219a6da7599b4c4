//! The changelog as protobuf: panes under text keys, and one record with what a checkpoint holds beside them.

use super::cells::{put_cell, read_cell};
use super::sections::{SectionWire, section_from_wire, section_to_wire};
use super::{CodecError, Format};
use crate::engine::cell::Cell;
use crate::engine::ledger::{Entry, Ledger};
use crate::engine::section::{Section, SourceId};
use crate::engine::slice::Values;
use prost::Message;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The key of the record that holds a checkpoint's ledger.
pub const LEDGER_KEY: &[u8] = b"ledger";

/// A pane's record.
#[derive(Clone, PartialEq, Message)]
struct PaneWire {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(fixed32, tag = "3")]
    definitions: u32,
    /// The fields of a cell.
    #[prost(bytes = "vec", optional, tag = "4")]
    cell: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct LedgerWire {
    #[prost(uint32, tag = "1")]
    version: u32,
    /// The deltas offset this checkpoint speaks of.
    #[prost(sint64, tag = "2")]
    offset: i64,
    /// Entries, as sections without cells: `to` is the standing.
    #[prost(message, repeated, tag = "3")]
    sources: Vec<SectionWire>,
    #[prost(message, repeated, tag = "4")]
    closed: Vec<ClosedWire>,
    #[prost(message, repeated, tag = "5")]
    series: Vec<SeriesWire>,
    /// Absent in what was written before it was invented.
    #[prost(fixed64, optional, tag = "6")]
    contents: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct ClosedWire {
    #[prost(string, tag = "1")]
    set: String,
    #[prost(sint64, optional, tag = "2")]
    watermark: Option<i64>,
    #[prost(sint64, optional, tag = "3")]
    final_until: Option<i64>,
    #[prost(message, repeated, tag = "4")]
    levels: Vec<LevelWire>,
}

#[derive(Clone, PartialEq, Message)]
struct LevelWire {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(sint64, tag = "2")]
    covered_from: i64,
    #[prost(sint64, tag = "3")]
    kept_from: i64,
}

#[derive(Clone, PartialEq, Message)]
struct SeriesWire {
    #[prost(string, tag = "1")]
    set: String,
    #[prost(string, tag = "2")]
    group_by: String,
    #[prost(fixed32, tag = "3")]
    definitions: u32,
    #[prost(sint64, tag = "4")]
    covered_from: i64,
}

/// How far time was closed for one metric set: the ledger alone does not say it, because a source that joined
/// later holds time still but does not turn it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// The metric set's name.
    pub set: String,
    /// Its watermark.
    pub watermark: Option<i64>,
    /// Windows that end at or before this are final.
    pub final_until: Option<i64>,
    /// Every level of panes that was kept.
    pub levels: Vec<KeptLevel>,
}

/// One level of panes, as it was kept: what windows that are configured later can rely on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptLevel {
    /// The level's name, independent of which other levels there are.
    pub name: String,
    /// From when its panes hold everything.
    pub covered_from: i64,
    /// Panes that start before this were of no more use and have left.
    pub kept_from: i64,
}

/// A group-by of a metric set that was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptSeries {
    /// The metric set's name.
    pub set: String,
    /// The group-by's name.
    pub group_by: String,
    /// Under which definitions it was counted.
    pub definitions: u32,
    /// From when it holds everything under them.
    pub covered_from: i64,
}

/// What a checkpoint holds beside the panes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The deltas offset it speaks of.
    pub offset: i64,
    /// Up to where each source was taken in.
    pub ledger: Ledger,
    /// Per metric set how far time was closed.
    pub closed: Vec<Closed>,
    /// The group-bys that the partition kept.
    pub series: Vec<KeptSeries>,
    /// The sum of [`pane_hash`] over every pane that the changelog holds with this checkpoint, if it was reckoned.
    pub contents: Option<u64>,
}

/// What a pane's record adds to [`Checkpoint::contents`]; its bytes never change their hash.
pub fn pane_hash(key: &[u8], value: &[u8]) -> u64 {
    xxh3_64_with_seed(value, xxh3_64_with_seed(key, 0))
}

/// The checkpoint's record.
pub fn encode_checkpoint(checkpoint: &Checkpoint, format: Format) -> Vec<u8> {
    let sources = checkpoint.ledger.iter().map(|(source, entry)| entry_to_wire(source, entry, format)).collect();
    let level = |level: &KeptLevel| LevelWire {
        name: level.name.clone(),
        covered_from: level.covered_from,
        kept_from: level.kept_from,
    };
    let closed = checkpoint.closed.iter().map(|closed| ClosedWire {
        set: closed.set.clone(),
        watermark: closed.watermark,
        final_until: closed.final_until,
        levels: closed.levels.iter().map(level).collect(),
    });
    let series = checkpoint.series.iter().map(|series| SeriesWire {
        set: series.set.clone(),
        group_by: series.group_by.clone(),
        definitions: series.definitions,
        covered_from: series.covered_from,
    });
    let (closed, series) = (closed.collect(), series.collect());
    let Checkpoint { offset, contents, .. } = *checkpoint;
    LedgerWire { version: format.number(), offset, sources, closed, series, contents }.encode_to_vec()
}

/// What a checkpoint's record holds.
///
/// # Errors
/// [`CodecError`]: the record is of another version, or is none.
pub fn decode_checkpoint(bytes: &[u8]) -> Result<Checkpoint, CodecError> {
    let wire = LedgerWire::decode(bytes).map_err(|error| CodecError::Damaged(error.to_string()))?;
    Format::read(wire.version)?;
    let mut ledger = Ledger::default();
    for source in wire.sources {
        let section = section_from_wire(source)?;
        let entry = Entry::after(&section);
        ledger.insert(section.source, entry);
    }
    let level =
        |level: LevelWire| KeptLevel { name: level.name, covered_from: level.covered_from, kept_from: level.kept_from };
    let closed = wire.closed.into_iter().map(|closed| Closed {
        set: closed.set,
        watermark: closed.watermark,
        final_until: closed.final_until,
        levels: closed.levels.into_iter().map(level).collect(),
    });
    let series = wire.series.into_iter().map(|series| KeptSeries {
        set: series.set,
        group_by: series.group_by,
        definitions: series.definitions,
        covered_from: series.covered_from,
    });
    let (offset, contents) = (wire.offset, wire.contents);
    Ok(Checkpoint { offset, ledger, closed: closed.collect(), series: series.collect(), contents })
}

/// Which pane a changelog record holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaneKey {
    /// The metric set's name.
    pub set: String,
    /// The group-by's name.
    pub group_by: String,
    /// The level: its name, independent of which other levels there are.
    pub level: String,
    /// Where the pane starts.
    pub start: i64,
    /// The slice.
    pub values: Values,
}

/// The key of a pane in the changelog: text fields, separated by a byte that UTF-8 text rarely holds, each
/// preceded by its length so that no value can imitate another.
pub fn encode_pane_key(key: &PaneKey) -> Vec<u8> {
    let mut text = format!("pane|{}|{}|{}|{}", key.set, key.group_by, key.level, key.start);
    for value in key.values.iter() {
        text.push_str(&format!("|{}:{value}", value.len()));
    }
    text.into_bytes()
}

/// The pane that a changelog key names; `None` when it is not a pane's key.
pub fn decode_pane_key(bytes: &[u8]) -> Option<PaneKey> {
    let text = std::str::from_utf8(bytes).ok()?.strip_prefix("pane|")?;
    let mut parts = text.splitn(5, '|');
    let (set, group_by, level) = (parts.next()?, parts.next()?, parts.next()?);
    let start = parts.next()?.parse().ok()?;
    let mut rest = parts.next().unwrap_or("");
    let mut values: Vec<&str> = Vec::new();
    while !rest.is_empty() {
        let (length, after) = rest.split_once(':')?;
        let length: usize = length.parse().ok()?;
        values.push(after.get(..length)?);
        rest = after.get(length..)?;
        rest = rest.strip_prefix('|').unwrap_or(rest);
    }
    Some(PaneKey {
        set: set.into(),
        group_by: group_by.into(),
        level: level.into(),
        start,
        values: Values::new(values)?,
    })
}

/// A pane's cell in the changelog, with the definitions it was counted under.
pub fn encode_pane(cell: &Cell, definitions: u32, format: Format) -> Vec<u8> {
    let mut fields = Vec::new();
    put_cell(&mut fields, &Values::default(), 0, cell, format);
    PaneWire { version: format.number(), definitions, cell: Some(fields) }.encode_to_vec()
}

/// The cell of a changelog record, its definitions id, and the format it is written in.
///
/// # Errors
/// [`CodecError`]: the record is of another version, or is none.
pub fn decode_pane(bytes: &[u8]) -> Result<(Cell, u32, Format), CodecError> {
    let wire = PaneWire::decode(bytes).map_err(|error| CodecError::Damaged(error.to_string()))?;
    let format = Format::read(wire.version)?;
    let cell = wire.cell.ok_or_else(|| CodecError::Damaged("a pane without a cell".into()))?;
    Ok((read_cell(&cell)?.2, wire.definitions, format))
}

fn entry_to_wire(source: &SourceId, entry: &Entry, format: Format) -> SectionWire {
    let section = Section {
        source: source.clone(),
        phase: entry.phase,
        partitions: entry.partitions,
        plan: 0,
        base: 1,
        from: entry.standing,
        to: entry.standing,
        horizon: entry.horizon,
        newest: entry.newest,
        oldest: entry.oldest,
        covered_from: entry.covered_from,
        events: Vec::new(),
        groups: Vec::new(),
    };
    section_to_wire(&section, format)
}
