//! Chance, from a seed: SplitMix64, as small as it can be. Everything a run does by chance comes from here.

/// A sequence of random numbers.
#[derive(Debug, Clone)]
pub struct Random {
    state: u64,
}

impl Random {
    /// The sequence of a seed.
    pub fn new(seed: u64) -> Random {
        Random { state: mix(seed.wrapping_add(0x9e37_79b9_7f4a_7c15)) }
    }

    /// A sequence of its own for one place in a run, so that what happens elsewhere does not shift it.
    pub fn at(seed: u64, place: u64) -> Random {
        Random::new(mix(seed) ^ mix(place))
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: i64) -> i64 {
        let bound = u64::try_from(bound).expect("a bound is positive");
        i64::try_from((self.bits() >> 1) % bound).expect("less than the bound")
    }

    /// A number of `from..until`.
    pub fn between(&mut self, from: i64, until: i64) -> i64 {
        from + self.below(until - from)
    }

    /// An index below `count`.
    pub fn index(&mut self, count: usize) -> usize {
        usize::try_from(self.below(i64::try_from(count).expect("a count"))).expect("not negative")
    }

    /// True so many times in a hundred.
    pub fn chance(&mut self, percent: i64) -> bool {
        self.below(100) < percent
    }

    /// One of the values.
    pub fn one_of<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.index(values.len())]
    }
}

fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
