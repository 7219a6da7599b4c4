//! What a merge task shows: windows that became final, current ones that changed, and the rows of an export.

use super::Merge;
use crate::engine::cell::Cell;
use crate::engine::publish::Shown;
use crate::engine::stage::store::{Series, Whole};
use crate::engine::time::END_OF_TIME;
use crate::engine::window::{WindowKind, WindowSpec};
use std::hash::BuildHasher;
use std::rc::Rc;
use std::sync::Arc;

/// Windows of a series that end in `(after, until]`, which became final.
pub(super) struct Closing {
    index: usize,
    after: i64,
    until: i64,
    /// From when the windows of each kind are covered.
    covered_from: Vec<i64>,
}

impl Merge {
    /// Windows of a series that end in `(after, until]` are final now.
    pub(super) fn close(&mut self, index: usize, after: i64, until: i64) {
        let windows = 0..self.plan.geometry.windows().len();
        let covered_from = windows.map(|window| self.covered_from(index, window)).collect();
        self.closed.push(Closing { index, after, until, covered_from });
    }

    /// The windows that became final since the last commit, made one at a time: after a long silence, or while a backlog
    /// is caught up with, there are many.
    pub fn finals(&self) -> impl Iterator<Item = Shown> {
        self.closed.iter().flat_map(|closing| self.finals_of(closing))
    }

    fn finals_of<'m>(&'m self, closing: &'m Closing) -> impl Iterator<Item = Shown> + 'm {
        let wholes = Rc::new(self.series[closing.index].wholes());
        let windows = self.plan.geometry.windows().iter().enumerate();
        let ends = move |(_, spec): &(usize, &WindowSpec)| match spec.kind {
            WindowKind::Span { .. } | WindowKind::CalendarDay(_) => true,
            WindowKind::Total => closing.until == END_OF_TIME,
            WindowKind::Ever => false,
        };
        windows.filter(ends).flat_map(move |(window, _)| {
            let wholes = Rc::clone(&wholes);
            (0..wholes.len()).flat_map(move |at| self.finals_of_slice(closing, window, &wholes[at]))
        })
    }

    fn finals_of_slice(&self, closing: &Closing, window: usize, whole: &Whole<'_>) -> Vec<Shown> {
        let &Closing { index, after, until, ref covered_from } = closing;
        let (plan, Series { set, by, .. }) = (&self.plan, &self.series[index]);
        let mut finals = Vec::new();
        let mut close = |start, (first, end)| {
            finals.extend(whole.window(plan, window, start).map(|cell| Shown {
                set: *set,
                by: *by,
                values: whole.values.clone(),
                window,
                start: first,
                end,
                cell,
                is_final: true,
                covered_from: covered_from[window],
            }));
        };
        if plan.geometry.windows()[window].kind == WindowKind::Total {
            close(i64::MIN, self.span());
            return finals;
        }
        // Panes rise, and so do the windows they lie in: what ends before the last one has been made.
        let mut after = after;
        for pane in whole.starts(plan.geometry.anchor(window)) {
            for start in plan.geometry.starts(window, pane, after, until) {
                let end = plan.geometry.end(window, start);
                close(start, (start, end));
                after = end;
            }
        }
        finals
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
