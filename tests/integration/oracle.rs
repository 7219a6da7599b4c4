//! The plainest code that says what every final window must hold: each event is counted into each instance that
//! contains it, found by walking. It shares with the engine what is counted, and nothing of where it lands.

use std::collections::BTreeMap;

use touchstone::aggregate;
use touchstone::engine::cell::Cell;
use touchstone::engine::plan::Plan;
use touchstone::engine::publish::Shown;
use touchstone::engine::slice::{NONE, Values};
use touchstone::engine::time::{DAY, HOUR};
use touchstone::engine::window::WindowKind;
use touchstone::touchpoint::Touchpoint;

/// One zone around one change of its clocks: (name, instant of the change, offset before, offset after).
pub type Change = (&'static str, i64, i64, i64);

/// 2024-03-31, 03:00 becomes 04:00.
pub const KYIV: Change = ("Europe/Kyiv", 1_711_846_800_000, 2 * HOUR, 3 * HOUR);

/// 2018-11-04, 02:00 becomes 01:00.
pub const LOS_ANGELES: Change = ("America/Los_Angeles", 1_541_322_000_000, -7 * HOUR, -8 * HOUR);

/// The value of every final record by its key.
pub fn finals(plan: &Plan, events: &[Touchpoint<'_>]) -> BTreeMap<String, String> {
    let mut cells: BTreeMap<(usize, usize, usize, i64, i64, Values), Cell> = BTreeMap::new();
    for event in events {
        for (set, of) in plan.sets.iter().enumerate().filter(|(_, of)| of.set.feeds(event)) {
            for (by, group_by) in of.group_bys.iter().enumerate() {
                let dimensions = group_by.dimensions.iter();
                let values =
                    Values::new(dimensions.map(|dimension| event.dimensions.get(*dimension).unwrap_or(NONE))).unwrap();
                for (window, spec) in plan.geometry.windows().iter().enumerate() {
                    for (start, end) in instances(&spec.kind, event.time) {
                        let key = (set, by, window, start, end, values.clone());
                        let cell = cells.entry(key).or_insert_with(|| Cell::new(of.set.shape()));
                        of.set.add(event, cell);
                        cell.events += 1;
                    }
                }
            }
        }
    }
    let record = |((set, by, window, start, end, values), cell)| {
        let shown = Shown { set, by, values, window, start, end, cell, is_final: true, covered_from: 0 };
        (aggregate::key(plan, &shown), aggregate::value(plan, &shown))
    };
    cells.into_iter().map(record).collect()
}

/// Every instance of a window that contains the instant.
fn instances(kind: &WindowKind, time: i64) -> Vec<(i64, i64)> {
    match kind {
        WindowKind::Span { size, slide } => {
            let mut instances = Vec::new();
            let mut start = time - time.rem_euclid(*slide);
            while start + size > time {
                instances.push((start, start + size));
                start -= slide;
            }
            instances
        }
        WindowKind::CalendarDay(zone) => vec![day(zone.name(), time)],
        WindowKind::Ever => Vec::new(), // it is never final
        WindowKind::Total => panic!("not for this oracle"),
    }
}

/// The local day of an instant that is within some months of the change.
fn day(zone: &str, time: i64) -> (i64, i64) {
    let (_, change, before, after) =
        [KYIV, LOS_ANGELES].into_iter().find(|(name, ..)| *name == zone).unwrap_or(("UTC", 0, 0, 0));
    let offset = if time < change { before } else { after };
    let date = (time + offset).div_euclid(DAY);
    // Neither of the two changes falls on a midnight, so that each midnight has one offset.
    let midnight = |date: i64| if date * DAY - before < change { date * DAY - before } else { date * DAY - after };
    (midnight(date), midnight(date + 1))
}
