//! Cells as protobuf, inside delta records and checkpoints.
//!
//! Format 1 writes every count of a cell. Format 2 writes those that are not 0, each with its place: most cells of a
//! fine slice hold few.

use super::wire::{Fields, Value, once, packed, packed_len, put_bytes, put_message, put_number, put_packed};
use super::wire::{unzigzag, zigzag};
use super::{CodecError, Format};
use crate::engine::accumulator::{Distribution, Histogram, Scale, Tally, bounds};
use crate::engine::cell::Cell;
use crate::engine::slice::Values;

/// The fields of a cell. `VALUES` and `PANE` are absent in checkpoints, where the key says them.
const VALUES: u32 = 1;
const PANE: u32 = 2;
const EVENTS: u32 = 3;
const COUNTS: u32 = 4;
/// Pairs: upper 64 bits, lower 64 bits.
const SQUARES: u32 = 5;
/// Messages: buckets, their counts.
const HISTOGRAMS: u32 = 6;
/// Messages: names, their counts.
const TALLIES: u32 = 7;
/// Messages: fours of least, greatest, low is best (0 or 1), score; their counts; the count of other answers.
const DISTRIBUTIONS: u32 = 8;
/// Format 2: how many counts the cell has, and which of them `COUNTS` holds, rising.
const WIDTH: u32 = 9;
const PLACES: u32 = 10;

/// The fields of the messages inside a cell.
const KEYS: u32 = 1;
const KEY_COUNTS: u32 = 2;
const OTHER: u32 = 3;

/// The most counts that a cell may claim to have: no metric set comes near.
const WIDTH_MAX: u64 = 1_024;

/// Writes the fields of a cell.
pub(super) fn put_cell(into: &mut Vec<u8>, values: &Values, pane: i64, cell: &Cell, format: Format) {
    values.iter().for_each(|value| put_bytes(into, VALUES, value.as_bytes()));
    for (tag, value) in [(PANE, pane), (EVENTS, cell.events)].into_iter().filter(|(_, value)| *value != 0) {
        put_number(into, tag, zigzag(value));
    }
    let filled = || (0..).zip(cell.counts.iter()).filter(|(_, count)| format == Format::V1 || **count != 0);
    put_packed(into, COUNTS, filled().map(|(_, count)| zigzag(*count)));
    let halves = |square: &i128| [zigzag((square >> 64) as i64), zigzag(*square as i64)];
    put_packed(into, SQUARES, cell.squares.iter().flat_map(halves));
    for histogram in &cell.histograms {
        put_message(into, HISTOGRAMS, |into| {
            put_packed(into, KEYS, histogram.buckets().iter().map(|(bucket, _)| u64::from(*bucket)));
            put_packed(into, KEY_COUNTS, histogram.buckets().iter().map(|(_, count)| zigzag(*count)));
        });
    }
    for tally in &cell.tallies {
        put_message(into, TALLIES, |into| {
            tally.iter().for_each(|(name, _)| put_bytes(into, KEYS, name.as_bytes()));
            put_packed(into, KEY_COUNTS, tally.iter().map(|(_, count)| zigzag(count)));
        });
    }
    for distribution in &cell.distributions {
        put_message(into, DISTRIBUTIONS, |into| {
            let four = |(scale, score, _): (Scale, i32, i64)| {
                [scale.min, scale.max, i32::from(scale.low_is_best), score].map(|part| zigzag(i64::from(part)))
            };
            put_packed(into, KEYS, distribution.iter().flat_map(four));
            put_packed(into, KEY_COUNTS, distribution.iter().map(|(_, _, count)| zigzag(count)));
            if distribution.other() != 0 {
                put_number(into, OTHER, zigzag(distribution.other()));
            }
        });
    }
    if format == Format::V2 {
        put_number(into, WIDTH, cell.counts.len() as u64);
        put_packed(into, PLACES, filled().map(|(place, _)| place));
    }
}

/// What a cell is made of, as bytes.
#[derive(Default)]
struct Parts<'b> {
    values: Vec<&'b [u8]>,
    pane: Option<u64>,
    events: Option<u64>,
    counts: Option<&'b [u8]>,
    squares: Option<&'b [u8]>,
    histograms: Vec<&'b [u8]>,
    tallies: Vec<&'b [u8]>,
    distributions: Vec<&'b [u8]>,
    width: Option<u64>,
    places: Option<&'b [u8]>,
}

impl<'b> Parts<'b> {
    fn put(&mut self, tag: u32, value: Value<'b>) -> Option<()> {
        match tag {
            VALUES => self.values.push(value.bytes()?),
            PANE => once(&mut self.pane, value.number())?,
            EVENTS => once(&mut self.events, value.number())?,
            COUNTS => once(&mut self.counts, value.bytes())?,
            SQUARES => once(&mut self.squares, value.bytes())?,
            HISTOGRAMS => self.histograms.push(value.bytes()?),
            TALLIES => self.tallies.push(value.bytes()?),
            DISTRIBUTIONS => self.distributions.push(value.bytes()?),
            WIDTH => once(&mut self.width, value.number())?,
            PLACES => once(&mut self.places, value.bytes())?,
            _ => {}
        }
        Some(())
    }
}

/// Reads the fields of a cell.
///
/// # Errors
/// [`CodecError::Damaged`]: says what does not fit.
pub(super) fn read_cell(bytes: &[u8]) -> Result<(Values, i64, Cell), CodecError> {
    let damaged = |what: &str| CodecError::Damaged(format!("a cell whose {what} do not fit"));
    let mut parts = Parts::default();
    for field in Fields(bytes) {
        field.and_then(|(tag, value)| parts.put(tag, value)).ok_or_else(|| damaged("fields"))?;
    }
    let texts: Option<Vec<&str>> = parts.values.iter().map(|bytes| std::str::from_utf8(bytes).ok()).collect();
    let values = texts.and_then(Values::new).ok_or_else(|| damaged("values"))?;
    let signed = |number: Option<u64>| number.map_or(0, unzigzag);
    let cell = Cell {
        events: signed(parts.events),
        counts: counts(&parts).ok_or_else(|| damaged("counts"))?,
        squares: squares(parts.squares.unwrap_or_default()).ok_or_else(|| damaged("squares"))?,
        histograms: each(&parts.histograms, histogram).ok_or_else(|| damaged("histograms"))?,
        tallies: each(&parts.tallies, tally).ok_or_else(|| damaged("tallies"))?,
        distributions: each(&parts.distributions, distribution).ok_or_else(|| damaged("distributions"))?,
    };
    Ok((values, signed(parts.pane), cell))
}

fn each<T>(parts: &[&[u8]], read: fn(&[u8]) -> Option<T>) -> Option<Box<[T]>> {
    parts.iter().map(|bytes| read(bytes)).collect()
}

/// Every count of a cell, those that were left out put back.
fn counts(parts: &Parts<'_>) -> Option<Box<[i64]>> {
    let counts = packed(parts.counts.unwrap_or_default());
    let Some(width) = parts.width else {
        return if parts.places.is_none() { counts.map(|count| count.map(unzigzag)).collect() } else { None };
    };
    let width = usize::try_from(width).ok().filter(|_| width <= WIDTH_MAX)?;
    let mut all = vec![0; width];
    pairs(packed(parts.places.unwrap_or_default()), counts, |place, count| {
        *all.get_mut(usize::try_from(place).ok()?)? = count;
        Some(())
    })?;
    Some(all.into())
}

fn squares(bytes: &[u8]) -> Option<Box<[i128]>> {
    let mut halves = packed(bytes).map(|half| half.map(unzigzag));
    let mut squares = Vec::with_capacity(packed_len(bytes) / 2);
    while let Some(upper) = halves.next() {
        squares.push(i128::from(upper?) << 64 | i128::from(halves.next()??.cast_unsigned()));
    }
    Some(squares.into())
}

/// The keys and counts of a message whose keys are numbers, and what it holds under [`OTHER`].
#[derive(Default)]
struct Counted<'b> {
    keys: Option<&'b [u8]>,
    counts: Option<&'b [u8]>,
    other: Option<u64>,
}

impl<'b> Counted<'b> {
    fn read(bytes: &'b [u8]) -> Option<Counted<'b>> {
        let mut counted = Counted::default();
        for field in Fields(bytes) {
            match field? {
                (KEYS, keys) => once(&mut counted.keys, keys.bytes())?,
                (KEY_COUNTS, counts) => once(&mut counted.counts, counts.bytes())?,
                (OTHER, other) => once(&mut counted.other, other.number())?,
                _ => {}
            }
        }
        Some(counted)
    }
}

fn histogram(bytes: &[u8]) -> Option<Histogram> {
    let counted = Counted::read(bytes)?;
    let (keys, counts) = (counted.keys.unwrap_or_default(), counted.counts.unwrap_or_default());
    let mut buckets = Vec::with_capacity(packed_len(keys));
    pairs(packed(keys), packed(counts), |bucket, count| {
        buckets.push((u16::try_from(bucket).ok().filter(|bucket| usize::from(*bucket) < bounds().len())?, count));
        Some(())
    })?;
    Some(Histogram::of_buckets(buckets))
}

fn tally(bytes: &[u8]) -> Option<Tally> {
    let (mut names, mut counts) = (Vec::new(), None);
    for field in Fields(bytes) {
        match field? {
            (KEYS, name) => names.push(std::str::from_utf8(name.bytes()?).ok()?),
            (KEY_COUNTS, list) => once(&mut counts, list.bytes())?,
            _ => {}
        }
    }
    let mut tally = Tally::default();
    pairs(names.into_iter().map(Some), packed(counts.unwrap_or_default()), |name, count| {
        tally.add(name, count);
        Some(())
    })?;
    Some(tally)
}

fn distribution(bytes: &[u8]) -> Option<Distribution> {
    let counted = Counted::read(bytes)?;
    let mut parts = packed(counted.keys.unwrap_or_default()).map(|part| i32::try_from(unzigzag(part?)).ok());
    let fours = std::iter::from_fn(|| {
        let first = parts.next()?;
        let four = (|| Some([first?, parts.next()??, parts.next()??, parts.next()??]))();
        Some(four.filter(is_score))
    });
    let mut distribution = Distribution::default();
    pairs(fours, packed(counted.counts.unwrap_or_default()), |[min, max, low_is_best, score], count| {
        distribution.add_to(Scale { min, max, low_is_best: low_is_best != 0 }, score, count);
        Some(())
    })?;
    distribution.add_other(counted.other.map_or(0, unzigzag));
    Some(distribution)
}

/// Hands over each key with its count. `None` unless there is one count for each key, none of them 0, and the keys rise:
/// as accumulators are written. Only then is nothing added up while reading, so that no bytes can make a sum overflow.
fn pairs<K: Ord + Copy>(
    keys: impl Iterator<Item = Option<K>>,
    mut counts: impl Iterator<Item = Option<u64>>,
    mut each: impl FnMut(K, i64) -> Option<()>,
) -> Option<()> {
    let mut last = None;
    for key in keys {
        let (key, count) = (key?, unzigzag(counts.next()??));
        if count == 0 || last.is_some_and(|last| last >= key) {
            return None;
        }
        last = Some(key);
        each(key, count)?;
    }
    counts.next().is_none().then_some(())
}

/// Least, greatest, low is best, score: a score that lies on its scale.
fn is_score(score: &[i32; 4]) -> bool {
    matches!(score, [min, max, 0 | 1, score] if min < max && (min..=max).contains(&score))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;
    use prost::Message;

    /// A cell as prost writes it.
    #[derive(Clone, PartialEq, Message)]
    struct CellMessage {
        #[prost(string, repeated, tag = "1")]
        values: Vec<String>,
        #[prost(sint64, tag = "2")]
        pane: i64,
        #[prost(sint64, tag = "3")]
        events: i64,
        #[prost(sint64, repeated, tag = "4")]
        counts: Vec<i64>,
        #[prost(sint64, repeated, tag = "5")]
        squares: Vec<i64>,
        #[prost(message, repeated, tag = "6")]
        histograms: Vec<HistogramMessage>,
        #[prost(message, repeated, tag = "7")]
        tallies: Vec<TallyMessage>,
        #[prost(message, repeated, tag = "8")]
        distributions: Vec<DistributionMessage>,
        #[prost(uint32, optional, tag = "9")]
        width: Option<u32>,
        #[prost(uint32, repeated, tag = "10")]
        places: Vec<u32>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct HistogramMessage {
        #[prost(uint32, repeated, tag = "1")]
        buckets: Vec<u32>,
        #[prost(sint64, repeated, tag = "2")]
        counts: Vec<i64>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct TallyMessage {
        #[prost(string, repeated, tag = "1")]
        names: Vec<String>,
        #[prost(sint64, repeated, tag = "2")]
        counts: Vec<i64>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct DistributionMessage {
        #[prost(sint32, repeated, tag = "1")]
        scores: Vec<i32>,
        #[prost(sint64, repeated, tag = "2")]
        counts: Vec<i64>,
        #[prost(sint64, tag = "3")]
        other: i64,
    }

    fn message(values: &Values, pane: i64, cell: &Cell, format: Format) -> CellMessage {
        let filled = || (0u32..).zip(cell.counts.iter()).filter(|(_, count)| format == Format::V1 || **count != 0);
        let of_format_2 = format == Format::V2;
        CellMessage {
            values: values.iter().map(str::to_string).collect(),
            pane,
            events: cell.events,
            counts: filled().map(|(_, count)| *count).collect(),
            squares: cell.squares.iter().flat_map(|square| [(square >> 64) as i64, *square as i64]).collect(),
            histograms: (cell.histograms.iter())
                .map(|histogram| HistogramMessage {
                    buckets: histogram.buckets().iter().map(|(bucket, _)| u32::from(*bucket)).collect(),
                    counts: histogram.buckets().iter().map(|(_, count)| *count).collect(),
                })
                .collect(),
            tallies: (cell.tallies.iter())
                .map(|tally| TallyMessage {
                    names: tally.iter().map(|(name, _)| name.to_string()).collect(),
                    counts: tally.iter().map(|(_, count)| count).collect(),
                })
                .collect(),
            distributions: (cell.distributions.iter())
                .map(|distribution| DistributionMessage {
                    scores: distribution
                        .iter()
                        .flat_map(|(scale, score, _)| [scale.min, scale.max, i32::from(scale.low_is_best), score])
                        .collect(),
                    counts: distribution.iter().map(|(_, _, count)| count).collect(),
                    other: distribution.other(),
                })
                .collect(),
            width: of_format_2.then_some(cell.counts.len() as u32),
            places: if of_format_2 { filled().map(|(place, _)| place).collect() } else { Vec::new() },
        }
    }

    fn cell() -> impl Strategy<Value = Cell> {
        let count = || prop_oneof![Just(0i64), -300..300i64, any::<i64>()];
        let counted = || prop_oneof![1..300i64, any::<i64>()].prop_filter("none is empty", |count| *count != 0);
        let histogram = btree_map(0..bounds().len() as u16, counted(), 0..40);
        let histogram = histogram.prop_map(|buckets| Histogram::of_buckets(buckets.into_iter().collect()));
        let tally = btree_map("[a-z_\u{e9}]{0,150}", counted(), 0..4).prop_map(|names| {
            let mut tally = Tally::default();
            names.iter().for_each(|(name, count)| tally.add(name, *count));
            tally
        });
        let scale = (any::<i32>(), any::<i32>(), any::<bool>()).prop_filter("it has two ends", |(a, b, _)| a != b);
        let answer = (scale, any::<prop::sample::Index>(), counted());
        let distribution = (vec(answer, 0..4), count()).prop_map(|(answers, other)| {
            let mut distribution = Distribution::default();
            for ((a, b, low_is_best), place, count) in answers {
                let (min, max) = (a.min(b), a.max(b));
                let width = (i64::from(max) - i64::from(min)) as usize;
                let score = (i64::from(min) + place.index(width + 1) as i64) as i32;
                distribution.add_to(Scale { min, max, low_is_best }, score, count);
            }
            distribution.add_other(other);
            distribution
        });
        let numbers = (count(), vec(count(), 0..40), vec(any::<i128>(), 0..3));
        let maps = (vec(histogram, 0..4), vec(tally, 0..3), vec(distribution, 0..3));
        (numbers, maps).prop_map(|((events, counts, squares), (histograms, tallies, distributions))| Cell {
            events,
            counts: counts.into(),
            squares: squares.into(),
            histograms: histograms.into(),
            tallies: tallies.into(),
            distributions: distributions.into(),
        })
    }

    proptest! {
        /// Builds before this one wrote cells by prost, and read them by it.
        #[test]
        fn a_cell_has_the_bytes_that_prost_writes(
            values in vec(".{0,20}", 0..3),
            pane in any::<i64>(),
            cell in cell(),
            latest in any::<bool>(),
        ) {
            let values = Values::new(values.iter().map(String::as_str)).expect("few and short");
            let format = if latest { Format::V2 } else { Format::V1 };
            let mut bytes = Vec::new();
            put_cell(&mut bytes, &values, pane, &cell, format);
            prop_assert_eq!(&bytes, &message(&values, pane, &cell, format).encode_to_vec());
            prop_assert_eq!(read_cell(&bytes), Ok((values, pane, cell)));
        }
    }
}
