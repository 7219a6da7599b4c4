//! Counts per name, for maps inside a cell: touches by channel, customers lost by reason.

/// Where a name beyond the bound is counted.
pub const OTHER: &str = "_other";

/// Counts per name, sorted, without zeros. Most cells hold one or two names: a list takes a tenth of what a tree would.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Tally {
    counts: Vec<(Box<str>, i64)>,
}

impl Tally {
    fn find(&self, name: &str) -> Result<usize, usize> {
        self.counts.binary_search_by(|(have, _)| (**have).cmp(name))
    }

    /// Adds `count` to `name`.
    pub fn add(&mut self, name: &str, count: i64) {
        match self.find(name) {
            Ok(at) => {
                self.counts[at].1 += count;
                if self.counts[at].1 == 0 {
                    self.counts.remove(at);
                }
            }
            Err(at) if count != 0 => self.counts.insert(at, (name.into(), count)),
            Err(_) => {}
        }
    }

    /// Adds every count of `other`; a name that would be one more than `names_max` counts under [`OTHER`].
    /// Says how many counts that were.
    pub fn merge(&mut self, other: &Tally, names_max: usize) -> i64 {
        let mut overflow = 0;
        for (name, count) in &other.counts {
            if self.counts.len() >= names_max && self.find(name).is_err() && &**name != OTHER {
                self.add(OTHER, *count);
                overflow += count;
            } else {
                self.add(name, *count);
            }
        }
        overflow
    }

    /// Empties it, and keeps its room.
    pub(in crate::engine) fn clear(&mut self) {
        self.counts.clear();
    }

    /// Turns every count into its negative.
    pub fn negate(&mut self) {
        self.counts.iter_mut().for_each(|(_, count)| *count = -*count);
    }

    /// (name, count), sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, i64)> {
        self.counts.iter().map(|(name, count)| (&**name, *count))
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.counts.len()
    }

    /// The count of one name.
    pub fn get(&self, name: &str) -> i64 {
        self.find(name).map_or(0, |at| self.counts[at].1)
    }

    /// Whether nothing is counted.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_beyond_the_bound_count_as_other() {
        let mut tally = Tally::default();
        let mut more = Tally::default();
        ["a", "b", "c"].iter().for_each(|name| more.add(name, 2));
        assert_eq!(tally.merge(&more, 2), 2);
        assert_eq!(tally.iter().collect::<Vec<_>>(), vec![("_other", 2), ("a", 2), ("b", 2)]);
        assert_eq!(tally.merge(&more, 2), 2, "kept names go on counting under their own name");
        assert_eq!((tally.get("a"), tally.get(OTHER)), (4, 4));
    }
}
