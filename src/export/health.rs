//! The service's own health in `/metrics`: the five doors, time, lag, commits, tasks.

use super::Exporter;
use super::families::{Families, label};
use crate::engine::time::END_OF_TIME;
use crate::pipeline::board::{COMMIT_BUCKETS_MS, Condition, Posted, SourceStatus};
use prometheus::proto::{LabelPair, MetricFamily};
use std::collections::BTreeMap;

/// Every family of health.
pub(super) fn collect(exporter: &Exporter, posted: &Posted, left_out: usize) -> Vec<MetricFamily> {
    let mut families = Families::default();
    let version = vec![label("version", env!("CARGO_PKG_VERSION"))];
    families.gauge("touchstone_build_info", version, 1.0);
    families.gauge("touchstone_series_left_out", Vec::new(), left_out as f64);
    sources(&mut families, exporter, posted);
    merges(&mut families, exporter, posted);
    workers(&mut families, posted);
    families.into_families()
}

fn sources(families: &mut Families, exporter: &Exporter, posted: &Posted) {
    let mut newest: BTreeMap<(usize, &str), i64> = BTreeMap::new();
    for ((input, partition), status) in &posted.sources {
        let name = exporter.plan.inputs.get(*input).map_or("", |input| &input.name);
        let labels = || vec![label("input", name), label("partition", partition.to_string())];
        condition(families, &format!("fold {name}"), *partition, &status.condition);
        if !matches!(status.condition, Condition::Live) {
            continue;
        }
        doors(families, status, &labels);
        if let Some(watermark) = status.watermark.filter(|watermark| *watermark != END_OF_TIME) {
            let lag = (exporter.clock.now() - watermark) as f64 / 1000.0;
            families.gauge("touchstone_watermark_lag_seconds", labels(), lag);
        }
        if let Some(lag) = status.lag {
            families.gauge("touchstone_consumer_lag", labels(), lag as f64);
        }
        families.gauge("touchstone_dedup_ids", labels(), status.ids.0 as f64);
        families.counter("touchstone_dedup_pushed_out_total", labels(), status.ids.1);
        for (channel, time) in &status.newest_by_channel {
            let time_of_all = newest.entry((*input, channel)).or_insert(*time);
            *time_of_all = (*time_of_all).max(*time);
        }
    }
    for ((input, channel), time) in newest {
        let name = exporter.plan.inputs.get(input).map_or("", |input| &input.name);
        let labels = vec![label("input", name), label("channel", channel)];
        families.gauge("touchstone_source_newest_event_timestamp_seconds", labels, time as f64 / 1000.0);
    }
}

fn doors(families: &mut Families, status: &SourceStatus, labels: &dyn Fn() -> Vec<LabelPair>) {
    let totals = &status.totals;
    let doors = [
        ("accepted", totals.accepted),
        ("late", totals.late),
        ("duplicate", totals.duplicate),
        ("rejected", totals.rejected),
        ("skipped", totals.skipped),
    ];
    for (result, count) in doors {
        let mut labels = labels();
        labels.push(label("result", result));
        families.counter("touchstone_items_total", labels, count);
    }
    for (reason, count) in &status.rejected {
        let mut labels = labels();
        labels.push(label("reason", reason.name()));
        families.counter("touchstone_rejected_total", labels, *count);
    }
    families.counter("touchstone_records_total", labels(), totals.records);
    families.counter("touchstone_conflicting_total", labels(), totals.conflicting);
}

fn merges(families: &mut Families, exporter: &Exporter, posted: &Posted) {
    let mut times: BTreeMap<usize, (Option<i64>, Option<i64>)> = BTreeMap::new();
    for (partition, status) in &posted.merges {
        condition(families, "merge", *partition, &status.condition);
        if !matches!(status.condition, Condition::Live) {
            continue;
        }
        families.counter(
            "touchstone_sections_dropped_total",
            vec![label("partition", partition.to_string())],
            status.dropped,
        );
        for (set, by, slices, panes, overflow) in &status.sizes {
            let plan = &exporter.plan.sets[*set];
            let labels =
                || vec![label("metric_set", plan.set.name()), label("slice", plan.group_bys[*by].name.as_str())];
            families.gauge("touchstone_slices", labels(), *slices as f64);
            families.gauge("touchstone_cells", labels(), *panes as f64);
            families.counter("touchstone_slice_overflow_total", labels(), *overflow);
        }
        for (set, time) in &status.times {
            let seen = times.entry(*set).or_insert((time.watermark, time.final_until));
            // Partitions of one set hear the same sections, each in its time: the slowest counts.
            *seen = (seen.0.min(time.watermark), seen.1.min(time.final_until));
        }
    }
    for (set, (watermark, final_until)) in times {
        let labels = || vec![label("metric_set", exporter.plan.sets[set].set.name())];
        if let Some(watermark) = watermark.filter(|time| *time != END_OF_TIME) {
            families.gauge("touchstone_watermark_timestamp_seconds", labels(), watermark as f64 / 1000.0);
        }
        if let Some(until) = final_until.filter(|time| *time != END_OF_TIME) {
            families.gauge("touchstone_final_until_timestamp_seconds", labels(), until as f64 / 1000.0);
        }
    }
}

fn condition(families: &mut Families, stage: &str, partition: i32, condition: &Condition) {
    let labels = || vec![label("stage", stage), label("partition", partition.to_string())];
    match condition {
        Condition::Live => {}
        Condition::Restoring(left) => {
            families.gauge("touchstone_restore_remaining_records", labels(), *left as f64);
        }
        Condition::Halted(reason) => {
            let mut labels = labels();
            labels.push(label("reason", reason.as_str()));
            families.gauge("touchstone_task_halted", labels, 1.0);
        }
    }
}

fn workers(families: &mut Families, posted: &Posted) {
    for (name, status) in &posted.workers {
        let labels = || vec![label("worker", name.as_str())];
        let (sum_ms, count, counts) = &status.commits;
        let mut up_to = 0;
        let buckets = COMMIT_BUCKETS_MS.iter().zip(counts).map(|(bound, count)| {
            up_to += count;
            (bound / 1000.0, up_to)
        });
        families.histogram("touchstone_commit_seconds", labels(), buckets, sum_ms / 1000.0, *count);
        families.counter(
            "touchstone_commit_failures_total",
            labels(),
            i64::try_from(status.failed_commits).unwrap_or(i64::MAX),
        );
        families.gauge("touchstone_worker_unavailable", labels(), f64::from(u8::from(status.unavailable.is_some())));
    }
}
