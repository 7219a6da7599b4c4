//! Cells as protobuf, inside delta records and checkpoints.
//!
//! Format 1 writes every count of a cell. Format 2 writes those that are not 0, each with its place: most cells of a
//! fine slice hold few.

use super::{CodecError, Format};
use crate::engine::accumulator::{Scale, bounds};
use crate::engine::cell::Cell;
use crate::engine::slice::Values;
use prost::Message;

/// A cell; `values` and `pane` stay empty in checkpoints, where the key says them.
#[derive(Clone, PartialEq, Message)]
pub(super) struct CellWire {
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
    /// Format 2: how many counts the cell has, and which of them `counts` holds, rising.
    #[prost(uint32, optional, tag = "9")]
    width: Option<u32>,
    #[prost(uint32, repeated, tag = "10")]
    places: Vec<u32>,
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

/// The most counts that a cell may claim to have: no metric set comes near.
const WIDTH_MAX: u32 = 1_024;

pub(super) fn cell_to_wire(values: &Values, pane: i64, cell: &Cell, format: Format) -> CellWire {
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
    let (width, places, counts) = match format {
        Format::V1 => (None, Vec::new(), cell.counts.to_vec()),
        Format::V2 => {
            let filled = || (0..).zip(cell.counts.iter()).filter(|(_, count)| **count != 0);
            let width = u32::try_from(cell.counts.len()).expect("a shape has few counts");
            (Some(width), filled().map(|(place, _)| place).collect(), filled().map(|(_, count)| *count).collect())
        }
    };
    CellWire {
        values: values.0.iter().map(|value| value.to_string()).collect(),
        pane,
        events: cell.events,
        counts,
        width,
        places,
        squares: cell.squares.iter().flat_map(|square| [(square >> 64) as i64, *square as i64]).collect(),
        histograms: histograms.collect(),
        tallies: tallies.collect(),
        distributions: distributions.collect(),
    }
}

pub(super) fn cell_from_wire(mut wire: CellWire) -> Result<(Values, i64, Cell), CodecError> {
    let damaged = |what: &str| CodecError::Damaged(format!("a cell whose {what} do not fit"));
    if !wire.squares.len().is_multiple_of(2) {
        return Err(damaged("squares"));
    }
    let squares = wire.squares.chunks_exact(2).map(|pair| (i128::from(pair[0]) << 64) | i128::from(pair[1] as u64));
    let mut cell = Cell {
        events: wire.events,
        counts: counts_from_wire(wire.width, &wire.places, std::mem::take(&mut wire.counts))
            .ok_or_else(|| damaged("counts"))?,
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

/// Every count of a cell, those that were left out put back.
fn counts_from_wire(width: Option<u32>, places: &[u32], counts: Vec<i64>) -> Option<Box<[i64]>> {
    let Some(width) = width else { return places.is_empty().then(|| counts.into()) };
    let known = width <= WIDTH_MAX && places.last().is_none_or(|last| *last < width);
    if !known || !fits(places, &counts) {
        return None;
    }
    let mut all = vec![0; width as usize];
    places.iter().zip(counts).for_each(|(place, count)| all[*place as usize] = count);
    Some(all.into())
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
