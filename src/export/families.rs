//! The names of `/metrics`: families that are not figures, what feeds them and what they mean. The figures'
//! own families come from the catalogue of metrics.

use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use std::collections::BTreeMap;

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
        "touchstone_source_newest_event_timestamp_seconds",
        "gauge",
        "input, channel",
        "Newest accepted event time of an input, per channel, as Unix time",
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

/// Families under construction, by name.
#[derive(Default)]
pub(super) struct Families {
    families: BTreeMap<String, MetricFamily>,
}

impl Families {
    fn family(&mut self, name: &str, help: &str, kind: MetricType) -> &mut MetricFamily {
        self.families.entry(name.to_string()).or_insert_with(|| {
            let mut family = MetricFamily::default();
            family.set_name(name.to_string());
            family.set_help(help.to_string());
            family.set_field_type(kind);
            family
        })
    }

    fn help(name: &str) -> &'static str {
        FAMILIES.iter().find(|family| family.name == name).map_or("", |family| family.help)
    }

    /// Adds one value of a gauge that is in [`FAMILIES`].
    pub fn gauge(&mut self, name: &str, labels: Vec<LabelPair>, value: f64) {
        self.gauge_with(name, Families::help(name), labels, value);
    }

    /// Adds one value of a gauge, with its help text.
    pub fn gauge_with(&mut self, name: &str, help: &str, labels: Vec<LabelPair>, value: f64) {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        let mut metric = Metric::from_label(labels);
        metric.set_gauge(gauge);
        self.family(name, help, MetricType::GAUGE).mut_metric().push(metric);
    }

    /// Adds one value of a counter that is in [`FAMILIES`].
    pub fn counter(&mut self, name: &str, labels: Vec<LabelPair>, value: i64) {
        let mut counter = Counter::default();
        counter.set_value(value as f64);
        let mut metric = Metric::from_label(labels);
        metric.set_counter(counter);
        self.family(name, Families::help(name), MetricType::COUNTER).mut_metric().push(metric);
    }

    /// Adds one histogram that is in [`FAMILIES`]: (upper bound, count up to it), the sum and the count of all.
    pub fn histogram(
        &mut self,
        name: &str,
        labels: Vec<LabelPair>,
        buckets: impl Iterator<Item = (f64, u64)>,
        sum: f64,
        count: u64,
    ) {
        let mut histogram = prometheus::proto::Histogram::default();
        histogram.set_sample_count(count);
        histogram.set_sample_sum(sum);
        let buckets = buckets.map(|(bound, up_to)| {
            let mut bucket = prometheus::proto::Bucket::default();
            bucket.set_upper_bound(bound);
            bucket.set_cumulative_count(up_to);
            bucket
        });
        histogram.set_bucket(buckets.collect());
        let mut metric = Metric::from_label(labels);
        metric.set_histogram(histogram);
        self.family(name, Families::help(name), MetricType::HISTOGRAM).mut_metric().push(metric);
    }

    /// Every family that has a value.
    pub fn into_families(self) -> Vec<MetricFamily> {
        self.families.into_values().collect()
    }
}

/// One label.
pub(super) fn label(name: &str, value: impl Into<String>) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_string());
    pair.set_value(value.into());
    pair
}
