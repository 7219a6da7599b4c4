//! Chance: SplitMix64, written here because its sequence is part of what a seed means and may never change.
//!
//! Everything is integer arithmetic: the same seed gives the same bytes on every machine. The generator is
//! Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators" (OOPSLA 2014).

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// A sequence of random numbers.
#[derive(Debug, Clone)]
pub(super) struct Random {
    state: u64,
}

impl Random {
    /// The sequence of one place: of the `index`-th event in one minute, say. Sequences of different places
    /// have nothing to do with each other.
    pub fn at(seed: u64, minute: i64, index: u32) -> Random {
        let minute = mix(mix(seed.wrapping_add(GOLDEN)) ^ minute.cast_unsigned());
        Random { state: mix(minute ^ u64::from(index).wrapping_mul(GOLDEN)) }
    }

    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN);
        mix(self.state)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u32) -> u32 {
        // The high half times the bound, its high half: no division, and no bias that would show.
        (((self.next() >> 32) * u64::from(bound)) >> 32) as u32
    }

    /// True so many times in ten thousand.
    pub fn chance(&mut self, per_10_000: u32) -> bool {
        self.below(10_000) < per_10_000
    }

    /// One of the values.
    pub fn one_of<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len() as u32) as usize]
    }

    /// A value by its weight, from a table of slots.
    pub fn slot(&mut self, slots: &Slots) -> usize {
        usize::from(slots[(self.next() >> (64 - SLOT_BITS)) as usize])
    }

    /// A length of time around `median` with the long tail that waits and talks have: a log-normal
    /// distribution of sigma 1, cut at 0.05 and 20 times the median.
    pub fn skewed(&mut self, median: u64) -> u64 {
        let bits = self.next();
        let (step, within) = ((bits >> 60) as usize, (bits >> 44) & 0xffff);
        // The last step is the tail: most of it near its beginning.
        let within = if step == 15 { fourth_power(within) } else { within };
        let (low, high) = (SKEW[step], SKEW[step + 1]);
        (median * (low + (((high - low) * within) >> 16))) >> 10
    }
}

/// The quantiles of a log-normal distribution of sigma 1 at 0/16, 1/16, ... 16/16, the median being 1024.
const SKEW: [u64; 17] = [51, 221, 324, 422, 522, 628, 745, 875, 1024, 1198, 1408, 1669, 2010, 2486, 3234, 4748, 20_480];

/// Within 0..65536, as a fraction.
fn fourth_power(within: u64) -> u64 {
    let square = (within * within) >> 16;
    (square * square) >> 16
}

/// The finalizer of SplitMix64 (Stafford's variant 13).
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

const SLOT_BITS: u32 = 12;

/// Values by weight: as many slots as the weight asks for, so that picking one is a single look.
pub(super) type Slots = [u8; 1 << SLOT_BITS];

/// The slots of these weights.
pub(super) const fn slots<const N: usize>(weights: [u32; N]) -> Slots {
    let mut total = 0;
    let mut value = 0;
    while value < N {
        total += weights[value] as usize;
        value += 1;
    }
    let mut slots = [0; 1 << SLOT_BITS];
    let (mut value, mut up_to, mut slot) = (0, weights[0] as usize, 0);
    while slot < slots.len() {
        while slot * total >= up_to * slots.len() {
            value += 1;
            up_to += weights[value] as usize;
        }
        slots[slot] = value as u8;
        slot += 1;
    }
    slots
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sequence of the reference implementation (Vigna, splitmix64.c) from state 1234567.
    #[test]
    fn the_sequence_is_splitmix64() {
        let mut random = Random { state: 1_234_567 };
        let known = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423_u64];
        assert_eq!([random.next(), random.next(), random.next()], known);
    }

    #[test]
    fn places_have_sequences_of_their_own() {
        let first = |seed, minute, index| Random::at(seed, minute, index).next();
        let places = [first(1, 0, 0), first(2, 0, 0), first(1, 1, 0), first(1, 0, 1), first(1, -1, 0)];
        let distinct: std::collections::BTreeSet<u64> = places.into();
        assert_eq!(distinct.len(), places.len());
    }

    #[test]
    fn slots_follow_the_weights() {
        let slots = slots([1, 0, 2, 5]);
        let count = |value| slots.iter().filter(|slot| **slot == value).count();
        assert_eq!([count(0), count(1), count(2), count(3)], [512, 0, 1024, 2560]);
    }

    #[test]
    fn a_skewed_length_has_its_median_in_the_middle_and_its_mean_above() {
        let mut random = Random::at(1, 1, 1);
        let mut lengths: Vec<u64> = (0..100_000).map(|_| random.skewed(10_000)).collect();
        lengths.sort_unstable();
        let mean = lengths.iter().sum::<u64>() / 100_000;
        assert!((9_700..10_300).contains(&lengths[50_000]), "median {}", lengths[50_000]);
        // exp(1/2) times the median.
        assert!((15_800..17_300).contains(&mean), "mean {mean}");
        assert!(lengths[0] >= 498 && lengths[99_999] <= 200_000);
    }
}
