//! The cell: everything one metric set counts for one slice in one pane.
//!
//! A metric set declares its [`Shape`]; the cell holds the accumulators in that order. Merging knows no
//! metric: it adds integers. That is why the laws (merge is a commutative group; encode then decode is the
//! identity) are tested once, for all metric sets.

use super::accumulator::{Distribution, Histogram, Tally};

/// One count of a metric set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// The name in `counts`, in the unit its suffix says.
    pub name: &'static str,
    /// Whether it is published in `counts`; the rest is state that figures and histograms need.
    pub published: bool,
    /// What it counts, for documentation and help texts.
    pub help: &'static str,
}

/// The accumulators a metric set needs, in their order. It never changes for a version of the set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Counts and sums.
    pub counts: &'static [Count],
    /// Sums of squares, of the unit squared that the name says.
    pub squares: &'static [&'static str],
    /// Histograms of durations.
    pub histograms: &'static [&'static str],
    /// Counts per name; the name is the one in `counts`.
    pub tallies: &'static [&'static str],
    /// Counts per scale and score; the name is the one in `counts`.
    pub distributions: &'static [&'static str],
}

/// The accumulators of one metric set for one slice in one pane.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cell {
    /// How many accepted events fed it.
    pub events: i64,
    /// In the order of [`Shape::counts`].
    pub counts: Box<[i64]>,
    /// In the order of [`Shape::squares`].
    pub squares: Box<[i128]>,
    /// In the order of [`Shape::histograms`].
    pub histograms: Box<[Histogram]>,
    /// In the order of [`Shape::tallies`].
    pub tallies: Box<[Tally]>,
    /// In the order of [`Shape::distributions`].
    pub distributions: Box<[Distribution]>,
}

impl Cell {
    /// An empty cell.
    pub fn new(shape: &Shape) -> Cell {
        Cell {
            events: 0,
            counts: vec![0; shape.counts.len()].into(),
            squares: vec![0; shape.squares.len()].into(),
            histograms: vec![Histogram::default(); shape.histograms.len()].into(),
            tallies: vec![Tally::default(); shape.tallies.len()].into(),
            distributions: vec![Distribution::default(); shape.distributions.len()].into(),
        }
    }

    /// What a pane of this shape is reckoned to take in memory, in bytes: in a tree whose nodes are half full, with so
    /// many buckets, names and scores in each of its maps.
    pub fn bytes(shape: &Shape, buckets: usize, names: usize, scores: usize) -> usize {
        const NODE: usize = 2 * (size_of::<Cell>() + 48);
        const ALLOCATION: usize = 16;
        let heap = |bytes: usize| bytes + ALLOCATION;
        // A vector may have grown to twice what it holds; a name is short, and its node half full.
        let histogram = size_of::<Histogram>() + heap(2 * buckets * 16);
        let tally = size_of::<Tally>() + names * (heap(16) + 2 * 24);
        let distribution = size_of::<Distribution>() + heap(2 * scores * 24);
        NODE + heap(8 * shape.counts.len())
            + heap(16 * shape.squares.len())
            + heap(histogram * shape.histograms.len())
            + heap(tally * shape.tallies.len())
            + heap(distribution * shape.distributions.len())
    }

    /// What a pane of it takes in memory, in bytes: in a tree whose nodes are six tenths full, with vectors and names as
    /// long as they are.
    pub fn held_bytes(&self) -> usize {
        const NODE: usize = (size_of::<Cell>() + 48) * 10 / 6;
        let histogram = |histogram: &Histogram| size_of::<Histogram>() + 16 * histogram.buckets().len();
        let tally = |tally: &Tally| {
            size_of::<Tally>() + tally.iter().map(|(name, _)| name.len().next_multiple_of(8) + 24).sum::<usize>()
        };
        let distribution = |of: &Distribution| size_of::<Distribution>() + 24 * of.len();
        NODE + 8 * self.counts.len()
            + 16 * self.squares.len()
            + self.histograms.iter().map(histogram).sum::<usize>()
            + self.tallies.iter().map(tally).sum::<usize>()
            + self.distributions.iter().map(distribution).sum::<usize>()
    }

    /// Adds everything `other` holds. A map keeps at most `keys_max` keys of its own; says how many counts
    /// went under `_other` for that.
    ///
    /// # Panics
    /// When the two are of different shapes, which no caller can bring about from outside.
    pub fn merge(&mut self, other: &Cell, keys_max: usize) -> i64 {
        assert!(self.fits(other), "cells of one metric set have one shape");
        self.events += other.events;
        self.counts.iter_mut().zip(&other.counts).for_each(|(mine, more)| *mine += more);
        self.squares.iter_mut().zip(&other.squares).for_each(|(mine, more)| *mine += more);
        self.histograms.iter_mut().zip(&other.histograms).for_each(|(mine, more)| mine.merge(more));
        let tallies = self.tallies.iter_mut().zip(&other.tallies);
        let overflow: i64 = tallies.map(|(mine, more)| mine.merge(more, keys_max)).sum();
        let distributions = self.distributions.iter_mut().zip(&other.distributions);
        overflow + distributions.map(|(mine, more)| mine.merge(more, keys_max)).sum::<i64>()
    }

    /// A copy whose maps keep at most `keys_max` keys of their own.
    pub(super) fn bounded(&self, keys_max: usize) -> Cell {
        let (names, scores) = self.keys();
        if names.max(scores) <= keys_max {
            return self.clone();
        }
        let mut bounded = self.clone();
        bounded.clear();
        let _ = bounded.merge(self, keys_max);
        bounded
    }

    /// How many keys its maps of names have, and those of scores.
    pub fn keys(&self) -> (usize, usize) {
        (self.tallies.iter().map(Tally::len).sum(), self.distributions.iter().map(Distribution::len).sum())
    }

    /// Empties it, and keeps the room it has taken.
    pub(super) fn clear(&mut self) {
        self.events = 0;
        self.counts.fill(0);
        self.squares.fill(0);
        self.histograms.iter_mut().for_each(Histogram::clear);
        self.tallies.iter_mut().for_each(Tally::clear);
        self.distributions.iter_mut().for_each(Distribution::clear);
    }

    /// Turns every count into its negative, so that merging it takes the cell back.
    pub fn negate(&mut self) {
        self.events = -self.events;
        self.counts.iter_mut().for_each(|count| *count = -*count);
        self.squares.iter_mut().for_each(|square| *square = -*square);
        self.histograms.iter_mut().for_each(Histogram::negate);
        self.tallies.iter_mut().for_each(Tally::negate);
        self.distributions.iter_mut().for_each(Distribution::negate);
    }

    /// Whether both are of the same shape.
    pub fn fits(&self, other: &Cell) -> bool {
        self.counts.len() == other.counts.len()
            && self.squares.len() == other.squares.len()
            && self.histograms.len() == other.histograms.len()
            && self.tallies.len() == other.tallies.len()
            && self.distributions.len() == other.distributions.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Open cells are used again: whatever a commit left in one would count twice.
    #[test]
    fn a_cell_that_was_cleared_is_a_new_one() {
        const SHAPE: Shape = Shape {
            counts: &[Count { name: "n", published: true, help: "all" }],
            squares: &["n2"],
            histograms: &["n"],
            tallies: &["by"],
            distributions: &["of"],
        };
        let mut cell = Cell::new(&SHAPE);
        (cell.events, cell.counts[0], cell.squares[0]) = (3, 3, 9);
        cell.histograms[0].add(1_000, 1);
        cell.tallies[0].add("a", 1);
        cell.distributions[0].add_other(1);
        cell.clear();
        assert_eq!(cell, Cell::new(&SHAPE));
    }
}
