//! Slices: a group-by and its values. `queue` by channel and queue; `all` by nothing.

use super::accumulator::OTHER;
use crate::touchpoint::{Dimension, Dimensions};
use arrayvec::ArrayVec;
use std::fmt;
use std::sync::Arc;

/// The value of a dimension that an event does not carry.
pub const NONE: &str = "_none";

/// A way of grouping: its name and the dimensions it groups by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupBy {
    /// The name in keys and labels.
    pub name: String,
    /// The dimensions, in the order in which their values are written.
    pub dimensions: Vec<Dimension>,
}

impl GroupBy {
    /// The group-bys that exist, with those that are on by default first (`agent` and `topic` are off).
    pub fn known() -> Vec<GroupBy> {
        use Dimension::{Agent, Channel, Queue, Region, Segment, Team, Topic};
        [
            ("all", &[][..]),
            ("channel", &[Channel]),
            ("queue", &[Channel, Queue]),
            ("team", &[Team]),
            ("region", &[Region]),
            ("segment", &[Segment]),
            ("agent", &[Agent]),
            ("topic", &[Topic]),
        ]
        .into_iter()
        .map(|(name, dimensions)| GroupBy { name: name.into(), dimensions: dimensions.to_vec() })
        .collect()
    }

    /// Whether it has few slices and is followed for ever: `all` and `channel`.
    pub fn is_wide(&self) -> bool {
        matches!(self.dimensions[..], [] | [Dimension::Channel])
    }

    /// The known group-by of that name.
    pub fn parse(name: &str) -> Option<GroupBy> {
        GroupBy::known().into_iter().find(|group_by| group_by.name == name)
    }
}

/// The most dimensions that a group-by may have.
pub const WIDTH_MAX: usize = 4;

/// The values of a slice, in the order of its group-by's dimensions. Cheap to copy: many panes and records name one slice.
///
/// They lie one after the other in one text, so that two of them are compared at one place in memory; their order is that
/// of the texts, and no other.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Values {
    text: Arc<str>,
    /// Where each of them ends.
    ends: ArrayVec<u16, WIDTH_MAX>,
}

impl Values {
    /// These values; `None` where there are more than [`WIDTH_MAX`], or more than 65,535 bytes of them.
    ///
    /// ```
    /// use touchstone::engine::slice::Values;
    /// let values = Values::new(["voice", "billing"]).expect("two short ones");
    /// assert!(values.iter().eq(["voice", "billing"]));
    /// assert_ne!(Values::new(["a", "bc"]), Values::new(["ab", "c"]));
    /// ```
    pub fn new<'a>(values: impl IntoIterator<Item = &'a str>) -> Option<Values> {
        let (mut text, mut ends) = (String::new(), ArrayVec::new());
        for value in values {
            text.push_str(value);
            ends.try_push(u16::try_from(text.len()).ok()?).ok()?;
        }
        Some(Values { text: text.into(), ends })
    }

    /// The values that count what lies beyond the bound: `_other` in every place.
    pub fn other(group_by: &GroupBy) -> Values {
        Values::new(group_by.dimensions.iter().map(|_| OTHER)).expect("a group-by has few dimensions")
    }

    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = &str> + Clone {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.text[usize::from(start)..usize::from(*end)])
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none: the slice of `all`.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
}

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// The dimensions that at least one group-by of a metric set looks at: what events are told apart by
/// while they are counted, before they are expanded into slices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TupleShape {
    /// The dimensions, in the order of [`Dimension`].
    pub dimensions: Vec<Dimension>,
    /// Per group-by the places of its dimensions in the tuple.
    places: Vec<Vec<usize>>,
}

impl TupleShape {
    /// The tuple that these group-bys need.
    pub fn new(group_bys: &[GroupBy]) -> TupleShape {
        let wanted = |dimension: &Dimension| group_bys.iter().any(|by| by.dimensions.contains(dimension));
        let dimensions: Vec<Dimension> = Dimension::ALL.into_iter().filter(wanted).collect();
        let place = |dimension: &Dimension| {
            dimensions.iter().position(|have| have == dimension).expect("every dimension of a group-by is wanted")
        };
        let places = group_bys.iter().map(|by| by.dimensions.iter().map(place).collect()).collect();
        TupleShape { dimensions, places }
    }

    /// The values of an event, `_none` where it carries none.
    pub fn of<'a>(&'a self, dimensions: &'a Dimensions<'_>) -> impl Iterator<Item = &'a str> + Clone {
        self.dimensions.iter().map(|dimension| dimensions.get(*dimension).unwrap_or(NONE))
    }

    /// The values of a tuple in the `group_by`-th group-by, one by one.
    pub fn projected<'a>(&'a self, group_by: usize, tuple: &'a [&'a str]) -> impl Iterator<Item = &'a str> + Clone {
        self.places[group_by].iter().map(|place| tuple[*place])
    }

    /// The values of a tuple in the `group_by`-th group-by.
    pub fn project(&self, group_by: usize, tuple: &[&str]) -> Values {
        Values::new(self.projected(group_by, tuple)).expect("few dimensions, and values of at most 128 bytes")
    }

    /// Whether two tuples that differ also differ in the `group_by`-th group-by.
    pub fn is_whole(&self, group_by: usize) -> bool {
        self.places[group_by].len() == self.dimensions.len()
    }
}
