//! What a merge task shows: windows that became final, current ones that changed, and the rows of an export.

use super::Merge;
use crate::engine::cell::Cell;
use crate::engine::plan::Plan;
use crate::engine::publish::Shown;
use crate::engine::time::END_OF_TIME;
use crate::engine::window::WindowKind;
use std::hash::BuildHasher;
use std::sync::Arc;

impl Merge {
    /// Windows that end in `(after, until]` are final now.
    pub(super) fn finalize(&mut self, plan: &Plan, index: usize, after: i64, until: i64) {
        let series = &self.series[index];
        for (window, spec) in plan.geometry.windows().iter().enumerate() {
            let total = spec.kind == WindowKind::Total;
            if spec.kind == WindowKind::Ever || (total && until != END_OF_TIME) {
                continue;
            }
            let anchor = plan.geometry.anchor(window);
            let covered_from = self.covered_from(index, window);
            for (values, slice) in &series.slices {
                let mut starts: Vec<i64> = match total {
                    true => vec![i64::MIN],
                    false => slice.panes[anchor]
                        .keys()
                        .flat_map(|pane| plan.geometry.starts(window, *pane, after, until))
                        .collect(),
                };
                starts.sort_unstable();
                starts.dedup();
                for start in starts {
                    let Some(cell) = slice.window(plan, window, start) else { continue };
                    let (start, end) = if total { self.span() } else { (start, plan.geometry.end(window, start)) };
                    let (set, by, values) = (series.set, series.by, values.clone());
                    self.finals.push(Shown { set, by, values, window, start, end, cell, is_final: true, covered_from });
                }
            }
        }
    }

    /// From the oldest to the newest accepted event of all sources.
    fn span(&self) -> (i64, i64) {
        let oldest = self.state.ledger.iter().filter_map(|(_, entry)| entry.oldest).min();
        let newest = self.state.ledger.iter().filter_map(|(_, entry)| entry.newest).max();
        (oldest.unwrap_or(0), newest.map_or(0, |newest| newest + 1))
    }

    /// The current instance of every published window, where it changed since it was last published.
    pub(super) fn currents(&mut self) -> Vec<Shown> {
        let plan = Arc::clone(&self.plan);
        let mut currents = Vec::new();
        for (index, series) in self.series.iter().enumerate() {
            let time = self.state.times[series.set];
            let Some(watermark) = time.watermark.filter(|watermark| *watermark != END_OF_TIME) else { continue };
            for (window, spec) in plan.geometry.windows().iter().enumerate() {
                if matches!(spec.kind, WindowKind::Ever | WindowKind::Total) {
                    continue;
                }
                let (start, end) = plan.geometry.current(window, watermark);
                if time.final_until.is_some_and(|until| end <= until) {
                    continue; // it is final: nothing provisional after it
                }
                for (values, slice) in &series.slices {
                    let name = (index, window, values.clone());
                    if self.looked_at.get(&name) == Some(&(slice.changes, start)) {
                        continue;
                    }
                    self.looked_at.insert(name.clone(), (slice.changes, start));
                    let Some(cell) = slice.window(&plan, window, start) else { continue };
                    let hash = contents(&cell);
                    if self.shown.get(&name) == Some(&(start, hash)) {
                        continue;
                    }
                    self.shown_now.push((name, (start, hash)));
                    let (set, by, values) = (series.set, series.by, values.clone());
                    let covered_from = self.covered_from(index, window);
                    currents.push(Shown { set, by, values, window, start, end, cell, is_final: false, covered_from });
                }
            }
        }
        currents
    }

    /// What is shown of one window now, per slice: for export. `None` watermark shows nothing, but `ever`.
    pub fn rows(&self, set: usize, by: usize, window: usize) -> Vec<Shown> {
        let Some(index) = self.series.iter().position(|series| series.set == set && series.by == by) else {
            return Vec::new();
        };
        let series = &self.series[index];
        let time = self.state.times[set];
        let ever = self.plan.geometry.windows()[window].kind == WindowKind::Ever;
        let (start, end) = match time.watermark {
            _ if ever => (i64::MIN, i64::MAX),
            Some(watermark) if watermark != END_OF_TIME => self.plan.geometry.current(window, watermark),
            _ => return Vec::new(),
        };
        let is_final = !ever && time.final_until.is_some_and(|until| end <= until);
        let covered_from = self.covered_from(index, window);
        let shown = series.slices.iter().filter_map(|(values, slice)| {
            let cell = slice.window(&self.plan, window, start)?;
            Some(Shown { set, by, values: values.clone(), window, start, end, cell, is_final, covered_from })
        });
        shown.collect()
    }
}

fn contents(cell: &Cell) -> u64 {
    foldhash::fast::FixedState::default().hash_one(cell)
}
