//! Makes a failing scenario smaller: leaves out faults and records, in ever smaller portions, while it goes on failing.

use crate::run::run;
use crate::scenario::{Planned, Scenario};

/// The smallest scenario found that still fails. What fails may change on the way: any failure is one to look at.
pub fn shrink(scenario: &Scenario) -> Scenario {
    let mut smallest = scenario.clone();
    loop {
        let before = smallest.records.len() + smallest.faults.len();
        fewer(&mut smallest, |scenario| &mut scenario.faults);
        fewer(&mut smallest, |scenario| &mut scenario.records);
        if smallest.records.len() + smallest.faults.len() == before {
            return smallest;
        }
    }
}

/// Leaves out portions of one list: halves first, single items last.
fn fewer<T: Clone>(smallest: &mut Scenario, list: fn(&mut Scenario) -> &mut Vec<Planned<T>>) {
    let mut portion = list(smallest).len().div_ceil(2);
    while portion > 0 {
        let mut at = 0;
        while at < list(smallest).len() {
            let mut candidate = smallest.clone();
            let end = (at + portion).min(list(&mut candidate).len());
            list(&mut candidate).drain(at..end);
            if run(&candidate, false).failure.is_some() {
                *smallest = candidate;
            } else {
                at = end;
            }
        }
        portion /= 2;
    }
}
