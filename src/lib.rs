//! touchstone: live customer-experience metrics from a stream of touchpoints.
//!
//! The way of one event: a [`record`] is taken through the port of a worker ([`pipeline`]), mapped where it is
//! foreign ([`mapping`]), decoded and validated ([`touchpoint`]), judged and counted by a fold task ([`engine`]), and
//! committed as part of a delta. A merge task takes the delta in once, adds it to its panes, and shows windows: as
//! records ([`aggregate`]) and over HTTP ([`export`]). What is counted is said in [`metrics`]; how sure it is, in
//! [`statistics`]. Behind the port lie [`kafka`] or [`memory`], laid out by [`topics`]; in front of it all stand
//! [`config`] and [`cli`]. [`workload`] makes traffic, [`files`] reads history.

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
pub mod secret;
pub mod statistics;
pub mod telemetry;
pub mod topics;
pub mod touchpoint;
pub mod web;
pub mod workload;
