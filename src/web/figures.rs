//! The figures that a place is shown by: one table for what is kept of its day and for what is said of it.

use super::numbers::Unit;
use super::words::Words;

/// A figure and how it is shown.
pub(super) struct Said {
    pub name: fn(&Words) -> &'static str,
    pub set: &'static str,
    /// By name, or by name and key.
    pub figure: &'static str,
    pub unit: Unit,
}

const fn said(name: fn(&Words) -> &'static str, set: &'static str, figure: &'static str, unit: Unit) -> Said {
    Said { name, set, figure, unit }
}

pub(super) const FIGURES: [Said; 8] = [
    said(|words| words.abandonment, "contacts", "abandonment_ratio", Unit::Share),
    said(|words| words.service_level, "contacts", "service_level_ratio", Unit::Share),
    said(|words| words.waiting_most, "contacts", "queue_wait_quantile_seconds 0.9", Unit::Seconds),
    said(|words| words.waiting, "contacts", "speed_of_answer_seconds", Unit::Seconds),
    said(|words| words.holding, "contacts", "hold_mean_seconds", Unit::Seconds),
    said(|words| words.csat, "csat", "csat_ratio", Unit::Share),
    said(|words| words.nps, "nps", "nps_ratio", Unit::Score),
    said(|words| words.ces, "ces", "ces_ease_ratio", Unit::Share),
];
