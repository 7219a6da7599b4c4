//! The names of `/metrics`: families that are not figures, what feeds them and what they mean. The figures'
//! own families come from the catalogue of metrics.

use std::collections::BTreeMap;
use std::fmt::Write;

/// One family that is no figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// counter, gauge or histogram.
    pub kind: &'static str,
    /// The labels, beside `window`, `slice` and the slice's dimensions where it has those.
    pub labels: &'static str,
    /// What it means, as the help text says it.
    pub help: &'static str,
}

const fn family(name: &'static str, kind: &'static str, labels: &'static str, help: &'static str) -> Family {
    Family { name, kind, labels, help }
}

/// Every family that is no figure and no count of a window, sorted by name.
pub const FAMILIES: &[Family] = &[
    family(
        "cx_contacts_abandoned_total",
        "counter",
        "slice",
        "Offered contacts given up before an agent took them, since ever",
    ),
    family("cx_contacts_answered_total", "counter", "slice", "Offered contacts that an agent took, since ever"),
    family("cx_contacts_offered_total", "counter", "slice", "Contacts that reached a queue, since ever"),
    family("cx_customers_acquired_total", "counter", "slice", "Customers who came, since ever"),
    family("cx_customers_churned_total", "counter", "slice, reason", "Customers who left, since ever"),
    family("cx_hold_seconds", "histogram", "slice", "Time on hold of contacts that were on hold, since ever"),
    family(
        "cx_queue_wait_seconds",
        "histogram",
        "slice",
        "Time in the queue of answered and abandoned contacts, since ever",
    ),
    family("cx_survey_responses_total", "counter", "slice, metric, scale, score", "Survey answers, since ever"),
    family("cx_touchpoints_total", "counter", "slice", "Contacts and interactions, since ever"),
    family(
        "cx_window_covered_ratio",
        "gauge",
        "window, slice, metric_set",
        "Share of the window from which every source was taken in without a gap",
    ),
    family(
        "cx_window_end_timestamp_seconds",
        "gauge",
        "window, slice, metric_set",
        "End of the window that is shown, as Unix time",
    ),
    family(
        "cx_window_final",
        "gauge",
        "window, slice, metric_set",
        "1 when the window that is shown will never change again, else 0",
    ),
    family("cx_window_lower", "gauge", "window, slice, figure", "Lower end of the 95 % interval of a figure"),
    family(
        "cx_window_samples",
        "gauge",
        "window, slice, metric_set",
        "How many observations the metric set has in the window",
    ),
    family("cx_window_upper", "gauge", "window, slice, figure", "Upper end of the 95 % interval of a figure"),
    family("touchstone_build_info", "gauge", "version", "Always 1; the labels say which build runs"),
    family("touchstone_cells", "gauge", "metric_set, slice", "Panes held in memory"),
    family(
        "touchstone_commit_failures_total",
        "counter",
        "worker",
        "Commits that were aborted or whose outcome was unknown",
    ),
    family("touchstone_commit_seconds", "histogram", "worker", "How long commits took"),
    family(
        "touchstone_conflicting_total",
        "counter",
        "input, partition",
        "Duplicates whose content differs from that of the first",
    ),
    family(
        "touchstone_consumer_lag",
        "gauge",
        "input, partition",
        "Offsets that lie beyond what was taken, at the last look",
    ),
    family("touchstone_dedup_ids", "gauge", "input, partition", "Ids remembered to tell duplicates"),
    family(
        "touchstone_dedup_pushed_out_total",
        "counter",
        "input, partition",
        "Ids forgotten before their time because of dedup_ids_max",
    ),
    family(
        "touchstone_final_until_timestamp_seconds",
        "gauge",
        "metric_set",
        "Windows that end at or before this Unix time are final",
    ),
    family(
        "touchstone_items_total",
        "counter",
        "input, partition, result",
        "Items by the door they left through: accepted, late, duplicate, rejected, skipped",
    ),
    family("touchstone_records_total", "counter", "input, partition", "Records taken"),
    family("touchstone_rejected_total", "counter", "input, partition, reason", "Rejected items by reason"),
    family(
        "touchstone_restore_remaining_records",
        "gauge",
        "stage, partition",
        "Offsets that a restoring task still has to read, at most",
    ),
    family(
        "touchstone_sections_dropped_total",
        "counter",
        "partition",
        "Sections of deltas that had been taken in before",
    ),
    family("touchstone_series_left_out", "gauge", "", "Series not shown because of series_max"),
    family(
        "touchstone_slice_overflow_total",
        "counter",
        "metric_set, slice",
        "Events counted under _other because of values_max",
    ),
    family("touchstone_slices", "gauge", "metric_set, slice", "Distinct slices held in memory"),
    family(
        "touchstone_source_held",
        "gauge",
        "input, partition",
        "1 while a partition stands still because it is too far ahead of what has been merged",
    ),
    family(
        "touchstone_source_newest_event_timestamp_seconds",
        "gauge",
        "input, channel",
        "Newest accepted event time of an input, per channel, as Unix time",
    ),
    family(
        "touchstone_source_phase",
        "gauge",
        "input, partition, phase",
        "1 for where a partition is in its life: joining, live, left, retired",
    ),
    family(
        "touchstone_task_halted",
        "gauge",
        "stage, partition, reason",
        "1 for each task that takes nothing any more; /readyz says why",
    ),
    family(
        "touchstone_watermark_lag_seconds",
        "gauge",
        "input, partition",
        "How far the watermark of a source lies behind the clock",
    ),
    family(
        "touchstone_watermark_timestamp_seconds",
        "gauge",
        "metric_set",
        "How far event time has come over all sources, as Unix time",
    ),
    family("touchstone_worker_unavailable", "gauge", "worker", "1 while a worker cannot reach its log"),
];

/// The labels of a series, as they are written: `window="1h",slice="all"`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Labels(String);

impl Labels {
    /// These labels and one more.
    pub fn and(&self, name: &str, value: &str) -> Labels {
        let mut text = String::with_capacity(self.0.len() + name.len() + value.len() + 4);
        text.push_str(&self.0);
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(name);
        text.push_str("=\"");
        for letter in value.chars() {
            match letter {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                letter => text.push(letter),
            }
        }
        text.push('"');
        Labels(text)
    }
}

/// One label alone.
pub(super) fn label(name: &str, value: &str) -> Labels {
    Labels::default().and(name, value)
}

/// Families under construction, by name: Prometheus' text format, written once. (Building the families of the
/// crate `prometheus` and encoding them took five times as long.)
#[derive(Default)]
pub(super) struct Families {
    families: BTreeMap<String, String>,
}

impl Families {
    fn family(&mut self, name: &str, kind: &str, help: &str) -> &mut String {
        if !self.families.contains_key(name) {
            let help = help.replace('\\', "\\\\").replace('\n', "\\n");
            let head = format!("# HELP {name} {help}\n# TYPE {name} {kind}\n");
            self.families.insert(name.to_string(), head);
        }
        self.families.get_mut(name).expect("it was just made")
    }

    fn info(name: &str) -> &'static Family {
        FAMILIES.iter().find(|family| family.name == name).expect("every family that is exported is in the list")
    }

    /// Adds one value of a gauge or a counter that is in [`FAMILIES`].
    pub fn add(&mut self, name: &str, labels: &Labels, value: f64) {
        let info = Families::info(name);
        line(self.family(name, info.kind, info.help), name, labels, value);
    }

    /// Adds one value of a gauge, with its help text.
    pub fn gauge(&mut self, name: &str, help: &str, labels: &Labels, value: f64) {
        line(self.family(name, "gauge", help), name, labels, value);
    }

    /// Adds one histogram that is in [`FAMILIES`]: (upper bound, count up to it), the sum and the count of all.
    pub fn histogram(&mut self, name: &str, labels: &Labels, buckets: &[(f64, u64)], sum: f64, count: u64) {
        let info = Families::info(name);
        let text = self.family(name, info.kind, info.help);
        let (of_bucket, of_sum, of_count) = (format!("{name}_bucket"), format!("{name}_sum"), format!("{name}_count"));
        for (bound, up_to) in buckets {
            line(text, &of_bucket, &labels.and("le", &bound.to_string()), *up_to as f64);
        }
        line(text, &of_bucket, &labels.and("le", "+Inf"), count as f64);
        line(text, &of_sum, labels, sum);
        line(text, &of_count, labels, count as f64);
    }

    /// The page.
    pub fn into_page(self) -> String {
        let mut page = String::with_capacity(self.families.values().map(String::len).sum());
        self.families.values().for_each(|family| page.push_str(family));
        page
    }
}

fn line(text: &mut String, name: &str, labels: &Labels, value: f64) {
    let braces = if labels.0.is_empty() { ("", "") } else { ("{", "}") };
    let written = writeln!(text, "{name}{}{}{} {value}", braces.0, labels.0, braces.1);
    written.expect("writing into memory does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_escaped_and_families_are_told_once() {
        let mut families = Families::default();
        let labels = label("worker", "a\"b\\c\nd");
        families.add("touchstone_worker_unavailable", &labels, 1.0);
        families.add("touchstone_worker_unavailable", &label("worker", "plain"), 0.0);
        families.add("touchstone_series_left_out", &Labels::default(), 0.0);
        assert_eq!(
            families.into_page(),
            "# HELP touchstone_series_left_out Series not shown because of series_max\n\
             # TYPE touchstone_series_left_out gauge\ntouchstone_series_left_out 0\n\
             # HELP touchstone_worker_unavailable 1 while a worker cannot reach its log\n\
             # TYPE touchstone_worker_unavailable gauge\n\
             touchstone_worker_unavailable{worker=\"a\\\"b\\\\c\\nd\"} 1\ntouchstone_worker_unavailable{worker=\"plain\"} 0\n"
        );
    }

    #[test]
    fn a_histogram_ends_with_everything() {
        let mut families = Families::default();
        families.histogram("touchstone_commit_seconds", &label("worker", "w"), &[(0.005, 1), (0.01, 3)], 0.5, 4);
        let page = families.into_page();
        assert!(page.contains("_bucket{worker=\"w\",le=\"0.01\"} 3\n"));
        assert!(page.contains("_bucket{worker=\"w\",le=\"+Inf\"} 4\n") && page.contains("_count{worker=\"w\"} 4\n"));
    }
}
