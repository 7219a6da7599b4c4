//! `customers`: who came, left and came back. Counts only: the ratios need one customer's history.

use crate::engine::cell::{Cell, Count, Shape};
use crate::engine::plan::{Figure, MetricSet};
use crate::engine::slice::{GroupBy, NONE};
use crate::touchpoint::{CustomerState, Kind, Touchpoint};

/// The metric set `customers`.
pub struct Customers;

const fn count(name: &'static str, help: &'static str) -> Count {
    Count { name, published: true, help }
}

const SHAPE: Shape = Shape {
    counts: &[
        count("acquired", "customers who came"),
        count("churned", "customers who left"),
        count("reactivated", "customers who came back"),
        count("renewed", "customers who stayed for another term"),
        count("downgraded", "customers who stayed with less"),
    ],
    squares: &[],
    histograms: &[],
    tallies: &["churned_by_reason"],
    distributions: &[],
};

impl MetricSet for Customers {
    fn name(&self) -> &'static str {
        "customers"
    }

    fn version(&self) -> u32 {
        1
    }

    fn shape(&self) -> &'static Shape {
        &SHAPE
    }

    fn feeds(&self, touchpoint: &Touchpoint<'_>) -> bool {
        touchpoint.kind == Kind::Customer
    }

    fn add(&self, touchpoint: &Touchpoint<'_>, cell: &mut Cell) {
        let place = match touchpoint.state {
            Some(CustomerState::Acquired) => 0,
            Some(CustomerState::Churned) => 1,
            Some(CustomerState::Reactivated) => 2,
            Some(CustomerState::Renewed) => 3,
            Some(CustomerState::Downgraded) => 4,
            None => return,
        };
        cell.counts[place] += 1;
        if touchpoint.state == Some(CustomerState::Churned) {
            cell.tallies[0].add(touchpoint.reason.as_deref().unwrap_or(NONE), 1);
        }
    }

    fn samples(&self, cell: &Cell) -> i64 {
        cell.counts.iter().sum()
    }

    fn figures(&self, _cell: &Cell, _group_by: &GroupBy) -> Vec<Figure> {
        Vec::new()
    }
}
