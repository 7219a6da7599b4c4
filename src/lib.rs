//! touchstone: live customer-experience metrics from a stream of touchpoints.
pub mod kafka;
pub mod memory;
pub mod pipeline;
pub mod record;
pub mod topics;
pub mod touchpoint;
