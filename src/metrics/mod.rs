//! What the business asks: one file per metric set, and the registry.
//!
//! A new metric set is one file here and one line in [`registry`]. From it come the names in records, in
//! Prometheus, in the schema and in the documentation. Definitions and formulas: docs/METRICS.md.

pub mod catalogue;
mod contacts;
mod customers;
pub mod documentation;
mod figures;
mod surveys;
mod touchpoints;

pub use contacts::{Contacts, ServiceLevel, ThresholdTable, Thresholds};
pub use customers::Customers;
pub use surveys::{Ces, Csat, Nps};
pub use touchpoints::Touchpoints;

use crate::engine::plan::MetricSet;
use std::sync::Arc;

/// The settings that metric sets need.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Service level and short abandons.
    pub thresholds: ThresholdTable,
    /// Which of the five service-level formulas is read out.
    pub service_level: ServiceLevel,
    /// From which share of its scale on an answer counts as satisfied, high being good: 0..=1.
    pub satisfied_from: f64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { thresholds: ThresholdTable::default(), service_level: ServiceLevel::Three, satisfied_from: 0.75 }
    }
}

/// Every metric set, in the order in which they are documented.
pub fn registry(settings: &Settings) -> Vec<Arc<dyn MetricSet>> {
    vec![
        Arc::new(Touchpoints),
        Arc::new(Contacts::new(settings.thresholds.clone(), settings.service_level)),
        Arc::new(Csat::new(settings.satisfied_from)),
        Arc::new(Nps),
        Arc::new(Ces),
        Arc::new(Customers),
    ]
}
