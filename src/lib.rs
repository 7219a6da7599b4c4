//! touchstone: live customer-experience metrics from a stream of touchpoints.
pub mod aggregate;
pub mod cli;
pub mod clock;
pub mod config;
pub mod engine;
pub mod export;
pub mod files;
pub mod kafka;
pub mod mapping;
pub mod memory;
pub mod metrics;
pub mod pipeline;
pub mod record;
pub mod statistics;
pub mod telemetry;
pub mod topics;
pub mod touchpoint;
