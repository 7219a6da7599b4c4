//! A page of /metrics over rows that hold one cell, for those who measure what a scrape costs.

use std::sync::Arc;

use touchstone::clock::ManualClock;
use touchstone::engine::cell::Cell;
use touchstone::engine::plan::Plan;
use touchstone::engine::publish::Shown;
use touchstone::engine::slice::Values;
use touchstone::export::Exporter;
use touchstone::pipeline::board::{Board, Condition, MergeStatus};

/// Where a plan has the set `contacts`, and in it the group-by `queue`.
pub fn contacts_by_queue(plan: &Plan) -> (usize, usize) {
    let set = plan.sets.iter().position(|set| set.set.name() == "contacts").expect("it is there");
    let by = plan.sets[set].group_bys.iter().position(|by| by.name == "queue").expect("it is there");
    (set, by)
}

/// The values of the `n`-th queue.
pub fn values(n: u64) -> Values {
    Values::new([&*format!("channel-{}", n % 10), &*format!("queue-{n}")]).expect("two short ones")
}

/// An exporter whose page has about so many series: rows of contacts by queue that hold this cell. With it, how many lines
/// a row has.
pub fn exporter(plan: &Arc<Plan>, cell: &Cell, series: u64) -> (Exporter, u64) {
    let (set, by) = contacts_by_queue(plan);
    let exporter = |rows: u64| {
        let row = |n| Shown {
            set,
            by,
            values: values(n),
            window: 1,
            start: 0,
            end: 900_000,
            cell: cell.clone(),
            is_final: false,
            covered_from: 0,
        };
        let board = Board::new();
        let status = MergeStatus {
            condition: Condition::Live,
            rows: Arc::new((0..rows).map(row).collect()),
            sizes: Vec::new(),
            times: Vec::new(),
            offset: 0,
            dropped: 0,
            committed_at: 0,
        };
        board.post(|posted| _ = posted.merges.insert(0, status));
        Exporter::new(Arc::clone(plan), board, Arc::new(ManualClock::new(0)), usize::MAX)
    };
    let each = lines(&exporter(2).metrics()) - lines(&exporter(1).metrics());
    (exporter(series / each), each)
}

/// The lines of a page that are series.
pub fn lines(page: &str) -> u64 {
    page.lines().filter(|line| !line.starts_with('#')).count() as u64
}
