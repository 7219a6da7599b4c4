//! What is shown: which instance of a window, of which slice, as provisional or final, covered from when.
//!
//! The engine says what is shown; how it is written is no matter of the engine.

use super::cell::Cell;
use super::slice::Values;

/// One instance of a window for one slice.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    /// Index of the metric set in the plan.
    pub set: usize,
    /// Index of the group-by in the metric set.
    pub by: usize,
    /// The slice's values.
    pub values: Values,
    /// Index of the window in the plan's geometry.
    pub window: usize,
    /// Start of the instance, ms.
    pub start: i64,
    /// End of the instance, ms, exclusive.
    pub end: i64,
    /// What was counted in it.
    pub cell: Cell,
    /// Whether it will never change again.
    pub is_final: bool,
    /// The time from which every source was taken in without a gap, ms.
    pub covered_from: i64,
}

impl Shown {
    /// How much of the window was really watched, 0..=1, up to `watermark` for one that is still open.
    ///
    /// ```
    /// use touchstone::engine::publish::covered_ratio;
    /// assert_eq!(covered_ratio(0, 100, 25), 0.75);
    /// assert_eq!(covered_ratio(0, 100, -5), 1.0);
    /// assert_eq!(covered_ratio(0, 100, 500), 0.0);
    /// ```
    pub fn covered_ratio(&self) -> f64 {
        covered_ratio(self.start, self.end, self.covered_from)
    }
}

/// The share of `[start, end)` that lies at or after `covered_from`.
pub fn covered_ratio(start: i64, end: i64, covered_from: i64) -> f64 {
    if covered_from <= start {
        return 1.0;
    }
    if covered_from >= end {
        return 0.0;
    }
    (end - covered_from) as f64 / (end - start) as f64
}
