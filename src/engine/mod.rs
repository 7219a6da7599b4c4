//! The engine: turns judged items into deltas, deltas into panes, panes into windows. PURE.
//!
//! No clock, I/O, async, thread, global state, log line or random order in here: the engine is told the
//! time, and whatever is wrong with its input is a value (`late`, `drop`, `halt`). It never names a metric;
//! it is handed a [`plan::Plan`] that holds the registry.
//!
//! Reading order: [`time`] and [`window`] (geometry), [`slice`](mod@slice) (group-bys), [`accumulator`] and
//! [`cell`] (what is counted), [`plan`] (all of it together), [`dedup`] and [`ledger`] (what is taken in
//! once), [`halt`] (what cannot be), [`section`] and [`codec`] (what travels), [`stage`] (fold and merge), [`publish`] (what is shown).

pub mod accumulator;
pub mod cell;
pub mod codec;
pub mod dedup;
pub mod halt;
pub mod ledger;
pub mod plan;
pub mod publish;
pub mod section;
pub mod slice;
pub mod stage;
pub mod time;
pub mod watermark;
pub mod window;
