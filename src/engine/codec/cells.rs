//! Delta records and checkpoints as protobuf.

use super::{CodecError, VERSION};
use crate::engine::accumulator::{Scale, bounds};
use crate::engine::cell::Cell;
use crate::engine::ledger::{Entry, Ledger};
use crate::engine::section::{Group, Section, SourceId, Standing};
use crate::engine::slice::Values;
use prost::Message;

#[derive(Clone, PartialEq, Message)]
struct DeltaWire {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(message, repeated, tag = "2")]
    sections: Vec<SectionWire>,
}

#[derive(Clone, PartialEq, Message)]
struct StandingWire {
    #[prost(sint64, tag = "1")]
    offset: i64,
    #[prost(sint64, optional, tag = "2")]
    watermark: Option<i64>,
    #[prost(sint64, tag = "3")]
    accepted: i64,
}

#[derive(Clone, PartialEq, Message)]
struct SectionWire {
    #[prost(string, tag = "1")]
    input: String,
    #[prost(uint32, tag = "2")]
    epoch: u32,
    #[prost(int32, tag = "3")]
    partition: i32,
    #[prost(int32, tag = "4")]
    partitions: i32,
    #[prost(message, optional, tag = "5")]
    from: Option<StandingWire>,
    #[prost(message, optional, tag = "6")]
    to: Option<StandingWire>,
    #[prost(sint64, optional, tag = "7")]
    newest: Option<i64>,
    #[prost(sint64, optional, tag = "8")]
    oldest: Option<i64>,
    #[prost(sint64, tag = "9")]
    covered_from: i64,
    #[prost(message, repeated, tag = "10")]
    events: Vec<EventsWire>,
    #[prost(message, repeated, tag = "11")]
    groups: Vec<GroupWire>,
}

#[derive(Clone, PartialEq, Message)]
struct EventsWire {
    #[prost(string, tag = "1")]
    set: String,
    #[prost(sint64, tag = "2")]
    events: i64,
}

#[derive(Clone, PartialEq, Message)]
struct GroupWire {
    #[prost(string, tag = "1")]
    set: String,
    #[prost(string, tag = "2")]
    group_by: String,
    #[prost(fixed32, tag = "3")]
    definitions: u32,
    #[prost(message, repeated, tag = "4")]
    cells: Vec<CellWire>,
}

/// A cell; `values` and `pane` stay empty in checkpoints, where the key says them.
#[derive(Clone, PartialEq, Message)]
struct CellWire {
    #[prost(string, repeated, tag = "1")]
    values: Vec<String>,
    #[prost(sint64, tag = "2")]
    pane: i64,
    #[prost(sint64, tag = "3")]
    events: i64,
    #[prost(sint64, repeated, tag = "4")]
    counts: Vec<i64>,
    /// Pairs: upper 64 bits, lower 64 bits.
    #[prost(sint64, repeated, tag = "5")]
    squares: Vec<i64>,
    #[prost(message, repeated, tag = "6")]
    histograms: Vec<HistogramWire>,
    #[prost(message, repeated, tag = "7")]
    tallies: Vec<TallyWire>,
    #[prost(message, repeated, tag = "8")]
    distributions: Vec<DistributionWire>,
}

#[derive(Clone, PartialEq, Message)]
struct HistogramWire {
    #[prost(uint32, repeated, tag = "1")]
    buckets: Vec<u32>,
    #[prost(sint64, repeated, tag = "2")]
    counts: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct TallyWire {
    #[prost(string, repeated, tag = "1")]
    names: Vec<String>,
    #[prost(sint64, repeated, tag = "2")]
    counts: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct DistributionWire {
    /// Fours: least, greatest, low is best (0 or 1), score.
    #[prost(sint32, repeated, tag = "1")]
    scores: Vec<i32>,
    #[prost(sint64, repeated, tag = "2")]
    counts: Vec<i64>,
    #[prost(sint64, tag = "3")]
    other: i64,
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
}

#[derive(Clone, PartialEq, Message)]
struct ClosedWire {
    #[prost(string, tag = "1")]
    set: String,
    #[prost(sint64, optional, tag = "2")]
    watermark: Option<i64>,
    #[prost(sint64, optional, tag = "3")]
    final_until: Option<i64>,
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
}

/// One delta record: the sections of one fold commit.
pub fn encode_delta(sections: &[Section]) -> Vec<u8> {
    DeltaWire { version: VERSION, sections: sections.iter().map(section_to_wire).collect() }.encode_to_vec()
}

/// The sections of a delta record.
///
/// # Errors
/// [`CodecError`]: the record is of another version, or is none.
pub fn decode_delta(bytes: &[u8]) -> Result<Vec<Section>, CodecError> {
    let wire = DeltaWire::decode(bytes).map_err(|error| CodecError::Damaged(error.to_string()))?;
    version(wire.version)?;
    wire.sections.into_iter().map(section_from_wire).collect()
}

/// The checkpoint's record.
pub fn encode_checkpoint(checkpoint: &Checkpoint) -> Vec<u8> {
    let sources = checkpoint.ledger.iter().map(|(source, entry)| entry_to_wire(source, entry)).collect();
    let closed = checkpoint.closed.iter().cloned();
    let closed = closed.map(|Closed { set, watermark, final_until }| ClosedWire { set, watermark, final_until });
    LedgerWire { version: VERSION, offset: checkpoint.offset, sources, closed: closed.collect() }.encode_to_vec()
}

/// What a checkpoint's record holds.
///
/// # Errors
/// [`CodecError`]: the record is of another version, or is none.
pub fn decode_checkpoint(bytes: &[u8]) -> Result<Checkpoint, CodecError> {
    let wire = LedgerWire::decode(bytes).map_err(|error| CodecError::Damaged(error.to_string()))?;
    version(wire.version)?;
    let mut ledger = Ledger::default();
    for source in wire.sources {
        let section = section_from_wire(source)?;
        let entry = Entry {
            standing: section.to,
            partitions: section.partitions,
            newest: section.newest,
            oldest: section.oldest,
            covered_from: section.covered_from,
        };
        ledger.insert(section.source, entry);
    }
    let closed = wire.closed.into_iter();
    let closed = closed.map(|ClosedWire { set, watermark, final_until }| Closed { set, watermark, final_until });
    Ok(Checkpoint { offset: wire.offset, ledger, closed: closed.collect() })
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
    for value in key.values.0.iter() {
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
    let mut values: Vec<Box<str>> = Vec::new();
    while !rest.is_empty() {
        let (length, after) = rest.split_once(':')?;
        let length: usize = length.parse().ok()?;
        values.push(after.get(..length)?.into());
        rest = after.get(length..)?;
        rest = rest.strip_prefix('|').unwrap_or(rest);
    }
    Some(PaneKey {
        set: set.into(),
        group_by: group_by.into(),
        level: level.into(),
        start,
        values: Values(values.into()),
    })
}

/// A pane's cell in the changelog, with the definitions it was counted under.
pub fn encode_pane(cell: &Cell, definitions: u32) -> Vec<u8> {
    let group = GroupWire {
        set: String::new(),
        group_by: String::new(),
        definitions,
        cells: vec![cell_to_wire(&Values::default(), 0, cell)],
    };
    group.encode_to_vec()
}

/// The cell of a changelog record and its definitions id.
///
/// # Errors
/// [`CodecError`]: the record is none.
pub fn decode_pane(bytes: &[u8]) -> Result<(Cell, u32), CodecError> {
    let mut wire = GroupWire::decode(bytes).map_err(|error| CodecError::Damaged(error.to_string()))?;
    let cell = wire.cells.pop().ok_or_else(|| CodecError::Damaged("a pane without a cell".into()))?;
    Ok((cell_from_wire(cell)?.2, wire.definitions))
}

fn version(version: u32) -> Result<(), CodecError> {
    if version == VERSION { Ok(()) } else { Err(CodecError::Version(version)) }
}

fn standing_to_wire(standing: &Standing) -> StandingWire {
    StandingWire { offset: standing.offset, watermark: standing.watermark, accepted: standing.accepted }
}

fn standing_from_wire(wire: Option<StandingWire>) -> Result<Standing, CodecError> {
    let wire = wire.ok_or_else(|| CodecError::Damaged("a section without its range".into()))?;
    Ok(Standing { offset: wire.offset, watermark: wire.watermark, accepted: wire.accepted })
}

fn entry_to_wire(source: &SourceId, entry: &Entry) -> SectionWire {
    SectionWire {
        input: source.input.to_string(),
        epoch: source.epoch,
        partition: source.partition,
        partitions: entry.partitions,
        from: Some(standing_to_wire(&entry.standing)),
        to: Some(standing_to_wire(&entry.standing)),
        newest: entry.newest,
        oldest: entry.oldest,
        covered_from: entry.covered_from,
        events: Vec::new(),
        groups: Vec::new(),
    }
}

fn section_to_wire(section: &Section) -> SectionWire {
    SectionWire {
        input: section.source.input.to_string(),
        epoch: section.source.epoch,
        partition: section.source.partition,
        partitions: section.partitions,
        from: Some(standing_to_wire(&section.from)),
        to: Some(standing_to_wire(&section.to)),
        newest: section.newest,
        oldest: section.oldest,
        covered_from: section.covered_from,
        events: section.events.iter().map(|(set, events)| EventsWire { set: set.clone(), events: *events }).collect(),
        groups: section.groups.iter().map(group_to_wire).collect(),
    }
}

fn section_from_wire(wire: SectionWire) -> Result<Section, CodecError> {
    Ok(Section {
        source: SourceId { input: wire.input.into(), epoch: wire.epoch, partition: wire.partition },
        partitions: wire.partitions,
        from: standing_from_wire(wire.from)?,
        to: standing_from_wire(wire.to)?,
        newest: wire.newest,
        oldest: wire.oldest,
        covered_from: wire.covered_from,
        events: wire.events.into_iter().map(|events| (events.set, events.events)).collect(),
        groups: wire.groups.into_iter().map(group_from_wire).collect::<Result<_, _>>()?,
    })
}

fn group_to_wire(group: &Group) -> GroupWire {
    GroupWire {
        set: group.set.clone(),
        group_by: group.group_by.clone(),
        definitions: group.definitions,
        cells: group.cells.iter().map(|(values, pane, cell)| cell_to_wire(values, *pane, cell)).collect(),
    }
}

fn group_from_wire(wire: GroupWire) -> Result<Group, CodecError> {
    Ok(Group {
        set: wire.set,
        group_by: wire.group_by,
        definitions: wire.definitions,
        cells: wire.cells.into_iter().map(cell_from_wire).collect::<Result<_, _>>()?,
    })
}

fn cell_to_wire(values: &Values, pane: i64, cell: &Cell) -> CellWire {
    let histograms = cell.histograms.iter().map(|histogram| HistogramWire {
        buckets: histogram.buckets().iter().map(|(bucket, _)| u32::from(*bucket)).collect(),
        counts: histogram.buckets().iter().map(|(_, count)| *count).collect(),
    });
    let tallies = cell.tallies.iter().map(|tally| TallyWire {
        names: tally.iter().map(|(name, _)| name.to_string()).collect(),
        counts: tally.iter().map(|(_, count)| count).collect(),
    });
    let distributions = cell.distributions.iter().map(|distribution| DistributionWire {
        scores: distribution
            .iter()
            .flat_map(|(scale, score, _)| [scale.min, scale.max, i32::from(scale.low_is_best), score])
            .collect(),
        counts: distribution.iter().map(|(_, _, count)| count).collect(),
        other: distribution.other(),
    });
    CellWire {
        values: values.0.iter().map(|value| value.to_string()).collect(),
        pane,
        events: cell.events,
        counts: cell.counts.to_vec(),
        squares: cell.squares.iter().flat_map(|square| [(square >> 64) as i64, *square as i64]).collect(),
        histograms: histograms.collect(),
        tallies: tallies.collect(),
        distributions: distributions.collect(),
    }
}

fn cell_from_wire(wire: CellWire) -> Result<(Values, i64, Cell), CodecError> {
    let damaged = |what: &str| CodecError::Damaged(format!("a cell whose {what} do not fit"));
    if !wire.squares.len().is_multiple_of(2) {
        return Err(damaged("squares"));
    }
    let squares = wire.squares.chunks_exact(2).map(|pair| (i128::from(pair[0]) << 64) | i128::from(pair[1] as u64));
    let mut cell = Cell {
        events: wire.events,
        counts: wire.counts.into(),
        squares: squares.collect(),
        histograms: vec![Default::default(); wire.histograms.len()].into(),
        tallies: vec![Default::default(); wire.tallies.len()].into(),
        distributions: vec![Default::default(); wire.distributions.len()].into(),
    };
    for (histogram, wire) in cell.histograms.iter_mut().zip(&wire.histograms) {
        let known = wire.buckets.last().is_none_or(|last| (*last as usize) < bounds().len());
        if !known || !fits(&wire.buckets, &wire.counts) {
            return Err(damaged("histograms"));
        }
        for (bucket, count) in wire.buckets.iter().zip(&wire.counts) {
            histogram.add_to_bucket(u16::try_from(*bucket).map_err(|_| damaged("histograms"))?, *count);
        }
    }
    for (tally, wire) in cell.tallies.iter_mut().zip(&wire.tallies) {
        if !fits(&wire.names, &wire.counts) {
            return Err(damaged("tallies"));
        }
        wire.names.iter().zip(&wire.counts).for_each(|(name, count)| tally.add(name, *count));
    }
    for (distribution, wire) in cell.distributions.iter_mut().zip(&wire.distributions) {
        let scores: Vec<&[i32]> = wire.scores.chunks(4).collect();
        if !fits(&scores, &wire.counts) || !scores.iter().all(|score| is_score(score)) {
            return Err(damaged("distributions"));
        }
        for (score, count) in scores.iter().zip(&wire.counts) {
            let scale = Scale { min: score[0], max: score[1], low_is_best: score[2] != 0 };
            distribution.add_to(scale, score[3], *count);
        }
        distribution.add_other(wire.other);
    }
    Ok((Values(wire.values.into_iter().map(String::into_boxed_str).collect()), wire.pane, cell))
}

/// Whether there is one count for each key, none of them 0, and the keys rise: as accumulators are written.
/// Only then is nothing added up while reading, so that no bytes can make a sum overflow.
fn fits<K: Ord>(keys: &[K], counts: &[i64]) -> bool {
    keys.len() == counts.len() && keys.is_sorted_by(|left, right| left < right) && !counts.contains(&0)
}

/// Least, greatest, low is best, score: a score that lies on its scale.
fn is_score(score: &[i32]) -> bool {
    matches!(score, [min, max, 0 | 1, score] if min < max && (min..=max).contains(&score))
}
