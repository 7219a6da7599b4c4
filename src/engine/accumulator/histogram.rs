//! A histogram of durations in whole milliseconds, with relative error of at most 0.6 %.
//!
//! The buckets are those of an exponential histogram of base 2^(1/64) in seconds (schema 6 of Prometheus
//! native and OpenTelemetry histograms), rounded down to whole milliseconds: a table of integer bounds made
//! with multiplication and square roots alone, the same on every machine. Zero has a bucket of its own.

use std::sync::LazyLock;

/// Upper bounds (inclusive, in ms) of the buckets; the first holds only 0. The last is above one week.
///
/// Source of the base: OpenTelemetry data model, "ExponentialHistogram", scale 6.
pub fn bounds() -> &'static [i64] {
    static BOUNDS: LazyLock<Vec<i64>> = LazyLock::new(make_bounds);
    &BOUNDS
}

fn make_bounds() -> Vec<i64> {
    // roots[i] = 2^(1/2^(i+1)); a square root is exactly rounded by IEEE 754, everywhere.
    let mut roots = [0.0f64; 6];
    let mut root = 2.0f64;
    for slot in &mut roots {
        root = root.sqrt();
        *slot = root;
    }
    let power = |sixty_fourths: i64| -> f64 {
        let mut value = 1000.0f64; // milliseconds
        let whole = sixty_fourths.div_euclid(64);
        for _ in 0..whole.abs() {
            value = if whole < 0 { value / 2.0 } else { value * 2.0 };
        }
        let part = sixty_fourths.rem_euclid(64);
        for (bit, root) in roots.iter().enumerate() {
            if part & (32 >> bit) != 0 {
                value *= root;
            }
        }
        value
    };
    // 2^(-640/64) s is below 1 ms; 2^(1231/64) s is above a week.
    let mut bounds = vec![0];
    for step in -640..=1231 {
        let bound = power(step) as i64;
        if bound > *bounds.last().expect("starts with 0") {
            bounds.push(bound);
        }
    }
    bounds
}

/// How many parts of an octave the first look-up tells apart, as a power of two.
const PARTS: u32 = 7;

/// Per part of an octave the bucket of the least duration that lies in it, so that few bounds are left to look at.
fn first_buckets() -> &'static [u16] {
    static FIRST: LazyLock<Vec<u16>> = LazyLock::new(|| {
        let parts = part_of(*bounds().last().expect("it is not empty")) + 1;
        let bucket = |least: i64| bounds().partition_point(|bound| *bound < least);
        (0..parts).map(|part| u16::try_from(bucket(least_of(part))).expect("fewer than 65,536 buckets")).collect()
    });
    &FIRST
}

/// The part that a duration lies in: each octave is cut into 2^PARTS of them, those below that are parts of their own.
fn part_of(milliseconds: i64) -> usize {
    let value = milliseconds.max(0) as u64;
    let octave = value.max(1).ilog2().saturating_sub(PARTS);
    ((u64::from(octave) << PARTS) + (value >> octave)) as usize
}

/// The least duration of a part.
fn least_of(part: usize) -> i64 {
    let octave = (part >> PARTS).saturating_sub(1);
    i64::try_from((part - (octave << PARTS)) << octave).expect("about a week")
}

/// The bucket of a duration in ms; negative ones count as 0, longer ones than the table in its last bucket.
pub fn bucket(milliseconds: i64) -> u16 {
    let bounds = bounds();
    let Some(first) = first_buckets().get(part_of(milliseconds)) else {
        return u16::try_from(bounds.len() - 1).expect("fewer than 65,536 buckets");
    };
    let beyond = bounds[usize::from(*first)..].iter().take_while(|bound| **bound < milliseconds).count();
    first + u16::try_from(beyond.min(bounds.len() - 1 - usize::from(*first))).expect("fewer than 65,536 buckets")
}

/// Where a histogram has that many times fewer buckets than the one it is added to, each is looked up by itself.
const FEW: usize = 8;

/// Counts per bucket, sorted by bucket, without zeros.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Histogram {
    buckets: Vec<(u16, i64)>,
}

impl Histogram {
    /// Of buckets that rise, none of them empty.
    pub(in crate::engine) fn of_buckets(buckets: Vec<(u16, i64)>) -> Histogram {
        Histogram { buckets }
    }

    /// Adds `count` durations of `milliseconds`.
    pub fn add(&mut self, milliseconds: i64, count: i64) {
        self.add_to_bucket(bucket(milliseconds), count);
    }

    /// Adds `count` to a bucket by its index.
    pub fn add_to_bucket(&mut self, bucket: u16, count: i64) {
        match self.buckets.binary_search_by_key(&bucket, |(index, _)| *index) {
            Ok(at) => {
                self.buckets[at].1 += count;
                if self.buckets[at].1 == 0 {
                    self.buckets.remove(at);
                }
            }
            Err(at) if count != 0 => self.buckets.insert(at, (bucket, count)),
            Err(_) => {}
        }
    }

    /// Adds every count of `other`.
    pub fn merge(&mut self, other: &Histogram) {
        if self.buckets.is_empty() {
            self.buckets.clone_from(&other.buckets);
        } else if other.buckets.len() * FEW < self.buckets.len() {
            other.buckets.iter().for_each(|(bucket, count)| self.add_to_bucket(*bucket, *count));
        } else {
            self.merge_many(other);
        }
    }

    /// Both lists at once, from their ends, so that it can be done in place.
    fn merge_many(&mut self, other: &Histogram) {
        let (mut left, mut right) = (self.buckets.len(), other.buckets.len());
        let mut at = left + self.lacks(other);
        self.buckets.resize(at, (0, 0));
        let mut vanished = false;
        while right > 0 {
            let (bucket, count) = other.buckets[right - 1];
            at -= 1;
            match left.checked_sub(1).map(|last| self.buckets[last]) {
                Some(own) if own.0 > bucket => (self.buckets[at], left) = (own, left - 1),
                Some(own) if own.0 == bucket => {
                    vanished |= own.1 + count == 0;
                    (self.buckets[at], left, right) = ((bucket, own.1 + count), left - 1, right - 1);
                }
                _ => (self.buckets[at], right) = ((bucket, count), right - 1),
            }
        }
        if vanished {
            self.buckets.retain(|(_, count)| *count != 0);
        }
    }

    /// How many buckets of `other` it does not have.
    fn lacks(&self, other: &Histogram) -> usize {
        let mut own = 0;
        let mut lacking = 0;
        for (bucket, _) in &other.buckets {
            while self.buckets.get(own).is_some_and(|(have, _)| have < bucket) {
                own += 1;
            }
            lacking += usize::from(self.buckets.get(own).is_none_or(|(have, _)| have != bucket));
        }
        lacking
    }

    /// Empties it, and keeps its room.
    pub(in crate::engine) fn clear(&mut self) {
        self.buckets.clear();
    }

    /// Turns every count into its negative.
    pub fn negate(&mut self) {
        self.buckets.iter_mut().for_each(|(_, count)| *count = -*count);
    }

    /// (bucket, count), sorted by bucket.
    pub fn buckets(&self) -> &[(u16, i64)] {
        &self.buckets
    }

    /// How many durations were added.
    pub fn total(&self) -> i64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }

    /// The quantile `per_mille` / 1000 in milliseconds: the element of rank ceil(q n), as the geometric
    /// middle of its bucket. `None` without data. 0 is exact; else the relative error is at most 0.6 %.
    ///
    /// ```
    /// use touchstone::engine::accumulator::Histogram;
    /// let mut waits = Histogram::default();
    /// (1..=100).for_each(|second| waits.add(second * 1000, 1));
    /// let p90 = waits.quantile(900).expect("there is data");
    /// assert!((p90 / 90_000.0 - 1.0).abs() < 0.006);
    /// ```
    pub fn quantile(&self, per_mille: i64) -> Option<f64> {
        let total = self.total();
        if total <= 0 {
            return None;
        }
        let rank = (total * per_mille + 999) / 1000;
        let mut seen = 0;
        for (bucket, count) in &self.buckets {
            seen += count;
            if seen >= rank {
                return Some(middle(*bucket));
            }
        }
        None
    }
}

/// The geometric middle of the whole milliseconds that a bucket holds.
fn middle(bucket: u16) -> f64 {
    let bounds = bounds();
    let index = usize::from(bucket);
    if index == 0 {
        return 0.0;
    }
    let least = (bounds[index - 1] + 1) as f64;
    let greatest = bounds[index] as f64;
    (least * greatest).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_rise_and_hold_a_week() {
        assert!(bounds().windows(2).all(|pair| pair[0] < pair[1]));
        assert!(*bounds().last().unwrap() >= 7 * 24 * 3_600_000);
        assert!([1_000, 2_000, 64_000].iter().all(|second| bounds().contains(second)));
    }

    #[test]
    fn merging_is_adding_one_by_one() {
        let mut seed = 7u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        for round in 0..2_000 {
            let made = |size: u64, random: &mut dyn FnMut(u64) -> u64| {
                let mut made = Histogram::default();
                (0..size).for_each(|_| made.add_to_bucket(random(40) as u16, random(5) as i64 - 2));
                made
            };
            let (left, right) = (made(round % 50, &mut random), made(round % 37, &mut random));
            let (mut merged, mut added) = (left.clone(), left);
            merged.merge(&right);
            right.buckets().iter().for_each(|(bucket, count)| added.add_to_bucket(*bucket, *count));
            assert_eq!(merged, added);
        }
    }

    #[test]
    fn the_look_up_finds_what_a_search_finds() {
        let last = *bounds().last().unwrap();
        let near = bounds().iter().flat_map(|bound| bound - 1..=bound + 1);
        let all = (-2..100_000).chain((100_000..last + 5_000_000).step_by(999)).chain(near).chain([i64::MIN, i64::MAX]);
        for value in all {
            let searched = bounds().partition_point(|bound| *bound < value).min(bounds().len() - 1);
            assert_eq!(usize::from(bucket(value)), searched, "{value}");
        }
    }

    #[test]
    fn every_value_is_within_six_tenths_of_a_percent() {
        let mut worst = 0.0f64;
        for value in (1..200_000).chain((200_000..604_800_000).step_by(7_919)) {
            worst = worst.max((middle(bucket(value)) / value as f64 - 1.0).abs());
        }
        assert!(worst <= 0.006, "{worst}");
        assert_eq!(middle(bucket(0)), 0.0);
    }
}
