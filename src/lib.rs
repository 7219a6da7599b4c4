//! touchstone: live customer-experience metrics from a stream of touchpoints.
pub mod files;
pub mod mapping;
pub mod pipeline;
pub mod record;
pub mod touchpoint;
