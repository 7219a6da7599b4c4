//! What others see of the service over HTTP: `/metrics`, `/healthz`, `/readyz`, `/debug`.
//!
//! Everything comes from the board, which holds committed state alone; nothing served here changes anything.

mod families;
mod health;
pub mod http;
mod listener;
mod windows;

pub use families::FAMILIES;
pub(crate) use windows::series_of;

use crate::clock::Clock;
use crate::engine::plan::Plan;
use crate::pipeline::board::{Board, Condition, Posted};
use std::sync::Arc;

/// What export needs to know.
#[derive(Clone)]
pub struct Exporter {
    pub(crate) plan: Arc<Plan>,
    pub(crate) board: Board,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) series_max: usize,
}

impl Exporter {
    /// An exporter of what is on `board`. Above `series_max` series whole group-bys are left out, finest first.
    pub fn new(plan: Arc<Plan>, board: Board, clock: Arc<dyn Clock>, series_max: usize) -> Exporter {
        Exporter { plan, board, clock, series_max }
    }

    /// The page `/metrics`, in Prometheus' text format.
    pub fn metrics(&self) -> String {
        let posted = self.look();
        let mut families = families::Families::default();
        let left_out = windows::collect(&mut families, self, &posted);
        health::collect(&mut families, self, &posted, left_out);
        families.into_page()
    }

    /// What is on the board, without what is too old to be shown.
    pub(crate) fn look(&self) -> Posted {
        let mut posted = self.board.look();
        let oldest = self.clock.monotonic() - Board::STALE_AFTER_MS;
        for status in posted.merges.values_mut().filter(|status| status.committed_at < oldest) {
            status.rows = Arc::default();
        }
        posted
    }

    /// Why the service is not healthy, if it is not: a loop that is stuck.
    pub fn unhealthy(&self) -> Option<String> {
        let oldest = self.clock.monotonic() - 2 * Board::STALE_AFTER_MS;
        let workers = self.board.look().workers;
        let stuck = workers.into_iter().find(|(_, status)| status.turned_at < oldest);
        stuck.map(|(name, _)| format!("worker {name} has been stuck for a minute"))
    }

    /// Why the service is not ready, if it is not: not joined, not restored, or something halted.
    pub fn unready(&self) -> Option<String> {
        let posted = self.board.look();
        if posted.workers.is_empty() {
            return Some("starting".into());
        }
        if let Some((name, status)) = posted.workers.iter().find(|(_, status)| status.unavailable.is_some()) {
            return Some(format!("worker {name}: {}", status.unavailable.as_deref().unwrap_or_default()));
        }
        if let Some((name, _)) = posted.workers.iter().find(|(_, status)| !status.joined) {
            return Some(format!("worker {name} has not joined its group yet"));
        }
        let input = |input: usize| self.plan.inputs.get(input).map_or("", |input| &input.name);
        let sources =
            posted.sources.iter().map(|((index, partition), status)| (input(*index), partition, &status.condition));
        let merges = posted.merges.iter().map(|(partition, status)| ("deltas", partition, &status.condition));
        sources.chain(merges).find_map(|(name, partition, condition)| match condition {
            Condition::Live => None,
            Condition::Restoring(left) => Some(format!("{name}/{partition} is restoring, {left} offsets left")),
            Condition::Halted(halt) => Some(format!("{name}/{partition} is halted: {halt}")),
        })
    }
}
