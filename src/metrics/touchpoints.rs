//! `touchpoints`: how often customers touch the company, and through which channel.
//!
//! Every accepted contact and interaction is a touch, whatever its direction or outcome.

use super::figures::ratio;
use crate::engine::cell::{Cell, Count, Shape};
use crate::engine::plan::{Figure, MetricSet};
use crate::engine::slice::{GroupBy, NONE};
use crate::touchpoint::{Dimension, Kind, Touchpoint};

/// The metric set `touchpoints`.
pub struct Touchpoints;

const SHAPE: Shape = Shape {
    counts: &[Count { name: "touches", published: true, help: "contacts and interactions" }],
    squares: &[],
    histograms: &[],
    tallies: &["touches_by_channel"],
    distributions: &[],
};

impl MetricSet for Touchpoints {
    fn name(&self) -> &'static str {
        "touchpoints"
    }

    fn version(&self) -> u32 {
        1
    }

    fn shape(&self) -> &'static Shape {
        &SHAPE
    }

    fn feeds(&self, touchpoint: &Touchpoint<'_>) -> bool {
        matches!(touchpoint.kind, Kind::Contact | Kind::Interaction)
    }

    fn add(&self, touchpoint: &Touchpoint<'_>, cell: &mut Cell) {
        cell.counts[0] += 1;
        cell.tallies[0].add(touchpoint.dimensions.get(Dimension::Channel).unwrap_or(NONE), 1);
    }

    fn samples(&self, cell: &Cell) -> i64 {
        cell.counts[0]
    }

    /// `channel_share_ratio` per channel = touches of the channel / touches; in slices without channel only.
    fn figures(&self, cell: &Cell, group_by: &GroupBy) -> Vec<Figure> {
        if group_by.dimensions.contains(&Dimension::Channel) {
            return Vec::new();
        }
        let share = |(channel, touches): (&str, i64)| {
            let figure = ratio("channel_share_ratio", touches, cell.counts[0])?;
            Some(Figure { key: Some(("channel", channel.to_string())), ..figure })
        };
        cell.tallies[0].iter().filter_map(share).collect()
    }
}
