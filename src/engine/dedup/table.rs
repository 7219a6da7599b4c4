//! A hash table of remembered events whose memory follows what it holds.
//!
//! Ids come and go all the time, at a number that hardly changes. A table that marks what was removed must be made anew
//! now and then, and one that doubles takes twice what it needs half of the time. This one has neither: collisions lie
//! in the next free slots (linear probing), removing closes the gap (Knuth, The Art of Computer Programming 3, 6.4,
//! algorithm R), and it grows by a quarter, because a slot is found by scaling the hash, which need not be a power of two.

use super::Remembered;

/// At most three of four slots are taken: a search that finds nothing then looks at 8.5 slots on average (Knuth), which
/// lie side by side.
const FULL: (usize, usize) = (3, 4);

/// Below this share of its slots a table gives memory back.
const SPARSE: (usize, usize) = (2, 5);

/// The least number of slots.
const LEAST: usize = 16;

/// Remembered events, each id at most once.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// Those that hold nothing are [`Remembered::VACANT`].
    slots: Vec<Remembered>,
    len: usize,
}

impl Table {
    pub fn len(&self) -> usize {
        self.len
    }

    #[cfg(test)]
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    pub fn get_mut(&mut self, slot: usize) -> &mut Remembered {
        &mut self.slots[slot]
    }

    /// The slot where the search for a hash begins: the hash as a fraction, times the number of slots.
    fn home(&self, low: u64) -> usize {
        ((u128::from(low) * self.slots.len() as u128) >> 64) as usize
    }

    fn after(&self, slot: usize) -> usize {
        if slot + 1 == self.slots.len() { 0 } else { slot + 1 }
    }

    /// How far `to` lies behind `from`, going round.
    fn distance(&self, from: usize, to: usize) -> usize {
        if to >= from { to - from } else { to + self.slots.len() - from }
    }

    /// The slot of an id, or else the one where [`Table::insert`] may put it.
    pub fn find(&self, id: u128) -> Result<usize, usize> {
        self.search(id as u64, |have| have.is(id))
    }

    /// The first slot that holds what is looked for, or else the vacant one that ends the search.
    fn search(&self, low: u64, is: impl Fn(&Remembered) -> bool) -> Result<usize, usize> {
        let mut slot = self.home(low);
        while let Some(have) = self.slots.get(slot).filter(|have| !have.is_vacant()) {
            if is(have) {
                return Ok(slot);
            }
            slot = self.after(slot);
        }
        Err(slot)
    }

    /// Adds an event whose id is not there, at the slot where the search for it has ended.
    pub fn insert(&mut self, vacant: usize, new: Remembered) {
        if (self.len + 1) * FULL.1 > self.slots.len() * FULL.0 {
            self.rebuild(self.slots.len() * 5 / 4);
            self.put(new);
        } else {
            self.slots[vacant] = new;
        }
        self.len += 1;
    }

    fn put(&mut self, new: Remembered) {
        if let Err(vacant) = self.search(new.low, |_| false) {
            self.slots[vacant] = new;
        }
    }

    fn rebuild(&mut self, slots: usize) {
        let before = std::mem::replace(&mut self.slots, vec![Remembered::VACANT; slots.max(LEAST)]);
        before.into_iter().filter(|have| !have.is_vacant()).for_each(|have| self.put(have));
    }

    /// Empties a slot, and moves those that lie behind it because of it.
    pub fn remove(&mut self, slot: usize) {
        let (mut gap, mut next) = (slot, slot);
        loop {
            next = self.after(next);
            let have = self.slots[next];
            if have.is_vacant() {
                break;
            }
            if self.distance(self.home(have.low), next) >= self.distance(gap, next) {
                (self.slots[gap], gap) = (have, next);
            }
        }
        self.slots[gap] = Remembered::VACANT;
        self.len -= 1;
    }

    /// Removes what lies before a time, and gives memory back where little is left.
    pub fn forget(&mut self, before: i64) {
        let mut slot = 0;
        while slot < self.slots.len() {
            let have = &self.slots[slot];
            if !have.is_vacant() && have.time() < before {
                // What closes the gap is looked at next.
                self.remove(slot);
            } else {
                slot += 1;
            }
        }
        if self.slots.len() > LEAST && self.len * SPARSE.1 < self.slots.len() * SPARSE.0 {
            self.rebuild(self.len * 3 / 2 + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        /// Against a map: hashes that collide, wrap round and repeat; insertions, removals and forgetting in any order.
        #[test]
        fn it_holds_what_a_map_holds(steps in vec((0u8..10, 0u64..60, 0i64..50), 1..400)) {
            let mut table = Table::default();
            let mut map: BTreeMap<u128, i64> = BTreeMap::new();
            for (kind, number, time) in steps {
                // Few home slots, some of them the last ones.
                let low = if number % 3 == 0 { u64::MAX - number } else { (number % 7) << 61 };
                let id = (u128::from(number) << 64) | u128::from(low);
                match (kind, table.find(id)) {
                    (0, _) => {
                        table.forget(time);
                        map.retain(|_, have| *have >= time);
                    }
                    (1..4, Ok(slot)) => {
                        table.remove(slot);
                        prop_assert!(map.remove(&id).is_some());
                    }
                    (_, Err(vacant)) => {
                        prop_assert!(!map.contains_key(&id));
                        if kind >= 4 {
                            table.insert(vacant, Remembered::new(id, time, 0));
                            map.insert(id, time);
                        }
                    }
                    (_, Ok(slot)) => prop_assert_eq!(Some(&table.get_mut(slot).time()), map.get(&id)),
                }
                prop_assert_eq!(table.len(), map.len());
            }
            for id in map.keys() {
                prop_assert!(table.find(*id).is_ok());
            }
        }
    }

    #[test]
    fn memory_follows_what_it_holds() {
        let mut table = Table::default();
        let id = |n: u64| xxhash_rust::xxh3::xxh3_128(&n.to_le_bytes());
        for n in 0..100_000 {
            let vacant = table.find(id(n)).expect_err("each id is new");
            table.insert(vacant, Remembered::new(id(n), n as i64, 0));
            assert!(n < 100 || table.slots() <= 2 * table.len(), "{} slots for {}", table.slots(), table.len());
        }
        table.forget(99_000);
        assert_eq!(table.len(), 1_000);
        assert!(table.slots() < 2_000, "{}", table.slots());
    }
}
