//! From a log to the engine and back: the port ([`link`]), the worker loop, and the two stages in it.
//!
//! Everything here works on any log: Kafka, the in-memory broker, files.

pub mod alignment;
mod announcing;
pub mod board;
mod deltas;
pub mod folding;
pub mod input;
mod letter;
pub mod link;
pub mod merging;
pub mod sources;
pub mod stage;
pub mod waiting;
pub mod worker;
