//! How often each score was given, per scale: scales are never mixed.

use crate::touchpoint::Answer;
use std::fmt;

/// A rating scale. Orders by its least score, its greatest, then high-is-best before low-is-best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scale {
    /// The lowest score.
    pub min: i32,
    /// The highest score.
    pub max: i32,
    /// Whether a low score is the good one.
    pub low_is_best: bool,
}

impl fmt::Display for Scale {
    /// `1..5`, or `1..5 low` where low is best.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}{}", self.min, self.max, if self.low_is_best { " low" } else { "" })
    }
}

/// Counts per scale and score, sorted, without zeros.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Distribution {
    counts: Vec<((Scale, i32), i64)>,
    /// Answers on scales beyond the bound: counted, but on no scale.
    other: i64,
}

impl Distribution {
    /// Adds `count` answers.
    pub fn add(&mut self, answer: Answer, count: i64) {
        let scale = Scale { min: answer.scale_min, max: answer.scale_max, low_is_best: answer.low_is_best };
        self.add_to(scale, answer.score, count);
    }

    /// Adds `count` to a score of a scale.
    pub fn add_to(&mut self, scale: Scale, score: i32, count: i64) {
        match self.find((scale, score)) {
            Ok(at) => {
                self.counts[at].1 += count;
                if self.counts[at].1 == 0 {
                    self.counts.remove(at);
                }
            }
            Err(at) if count != 0 => self.counts.insert(at, ((scale, score), count)),
            Err(_) => {}
        }
    }

    fn find(&self, key: (Scale, i32)) -> Result<usize, usize> {
        self.counts.binary_search_by_key(&key, |(have, _)| *have)
    }

    /// Adds to the answers that are on no scale of their own.
    pub fn add_other(&mut self, count: i64) {
        self.other += count;
    }

    /// Adds every count of `other`; a (scale, score) that would be one more than `keys_max` counts as other.
    /// Says how many counts that were.
    pub fn merge(&mut self, other: &Distribution, keys_max: usize) -> i64 {
        let mut overflow = 0;
        for ((scale, score), count) in &other.counts {
            if self.counts.len() >= keys_max && self.find((*scale, *score)).is_err() {
                self.other += count;
                overflow += count;
            } else {
                self.add_to(*scale, *score, *count);
            }
        }
        self.other += other.other;
        overflow
    }

    /// Empties it.
    pub(in crate::engine) fn clear(&mut self) {
        self.counts.clear();
        self.other = 0;
    }

    /// Turns every count into its negative.
    pub fn negate(&mut self) {
        self.counts.iter_mut().for_each(|(_, count)| *count = -*count);
        self.other = -self.other;
    }

    /// (scale, score, count), sorted.
    pub fn iter(&self) -> impl Iterator<Item = (Scale, i32, i64)> {
        self.counts.iter().map(|((scale, score), count)| (*scale, *score, *count))
    }

    /// How many scores of scales are told apart.
    pub fn len(&self) -> usize {
        self.counts.len()
    }

    /// Answers on scales beyond the bound.
    pub fn other(&self) -> i64 {
        self.other
    }

    /// All answers that are on a scale.
    pub fn total(&self) -> i64 {
        self.counts.iter().map(|(_, count)| count).sum()
    }

    /// The scales, sorted.
    pub fn scales(&self) -> Vec<Scale> {
        let mut scales: Vec<Scale> = self.counts.iter().map(|((scale, _), _)| *scale).collect();
        scales.dedup();
        scales
    }

    /// Whether nothing is counted.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty() && self.other == 0
    }
}
