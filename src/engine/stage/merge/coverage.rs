//! From when windows are covered: what is missing where definitions, windows or a gap came between.
//!
//! Nothing here changes a count. It moves the time from which a window may be believed to hold everything (I-10).

use super::Merge;
use crate::engine::section::Section;

impl Merge {
    /// From when a window of a series is covered: by its sources, under its definitions, in the panes it takes.
    pub(super) fn covered_from(&self, index: usize, window: usize) -> i64 {
        let set = self.series[index].set;
        let levels = self.plan.geometry.takes(window).iter().map(|level| self.state.levels_from[set][*level]);
        let panes = levels.max().unwrap_or(i64::MIN);
        self.state.times[set].covered_from.max(self.state.series_from[index]).max(panes)
    }

    /// Whoever counted had other definitions: what is missing here is missing up to `newest`, the newest event that was
    /// accepted then.
    pub(super) fn uncover(&mut self, section: &Section<'_>, newest: Option<i64>) {
        let Some(from) = newest.map(|newest| newest.saturating_add(1)) else { return };
        for (series, covered_from) in self.series.iter().zip(&mut self.state.series_from) {
            let plan = &self.plan.sets[series.set];
            let (set, by) = (plan.set.name(), &plan.group_bys[series.by].name);
            let definitions = plan.definitions[series.by];
            let fed = section.events.iter().any(|(name, events)| name == set && *events != 0);
            let here = section
                .groups
                .iter()
                .any(|group| group.set == set && group.group_by == *by && group.definitions == definitions);
            if fed && !here {
                *covered_from = (*covered_from).max(from);
            }
        }
        for (level, geometry) in self.plan.geometry.levels().iter().enumerate() {
            if !geometry.holds(section.base) {
                self.state.levels_from.iter_mut().for_each(|levels| levels[level] = levels[level].max(from));
            }
        }
    }

    /// Something is missing of every group-by, up to the newest event that may be.
    pub(super) fn uncover_all(&mut self, newest: Option<i64>) {
        let from = newest.map_or(i64::MIN, |newest| newest.saturating_add(1));
        self.state.series_from.iter_mut().for_each(|covered_from| *covered_from = (*covered_from).max(from));
    }
}
