//! Makes a failing scenario smaller: leaves out faults and records, in ever smaller portions, while it goes on failing.

use crate::run::run;
use crate::scenario::{Planned, Scenario};

/// The smallest scenario found that still fails at the same place.
pub fn shrink(scenario: &Scenario, failure: &str) -> Scenario {
    let mut smallest = scenario.clone();
    let place = place(failure);
    loop {
        let before = smallest.records.len() + smallest.faults.len();
        fewer(&mut smallest, place, |scenario| &mut scenario.faults);
        fewer(&mut smallest, place, |scenario| &mut scenario.records);
        if smallest.records.len() + smallest.faults.len() == before {
            return smallest;
        }
    }
}

/// Leaves out portions of one list: halves first, single items last.
fn fewer<T: Clone>(smallest: &mut Scenario, place: &str, list: fn(&mut Scenario) -> &mut Vec<Planned<T>>) {
    let mut portion = list(smallest).len().div_ceil(2);
    while portion > 0 {
        let mut at = 0;
        while at < list(smallest).len() {
            let mut candidate = smallest.clone();
            let end = (at + portion).min(list(&mut candidate).len());
            list(&mut candidate).drain(at..end);
            if run(&candidate, false).failure.is_some_and(|failure| failure.ends_with(place)) {
                *smallest = candidate;
            } else {
                at = end;
            }
        }
        portion /= 2;
    }
}

/// The line of code that a failure names at its end.
fn place(failure: &str) -> &str {
    failure.rfind('(').map_or("", |at| &failure[at..])
}
