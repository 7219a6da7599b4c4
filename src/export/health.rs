//! The service's own health in `/metrics`: the five doors, time, lag, commits, tasks.

use super::Exporter;
use super::families::{Families, Labels, label};
use crate::engine::section::Phase;
use crate::engine::time::END_OF_TIME;
use crate::pipeline::board::{COMMIT_BUCKETS_MS, Condition, Posted, SourceStatus};
use std::collections::BTreeMap;

/// Adds every family of health.
pub(super) fn collect(families: &mut Families, exporter: &Exporter, posted: &Posted, left_out: usize) {
    families.add("touchstone_build_info", &label("version", env!("CARGO_PKG_VERSION")), 1.0);
    families.add("touchstone_series_left_out", &Labels::default(), left_out as f64);
    sources(families, exporter, posted);
    merges(families, exporter, posted);
    workers(families, posted);
}

fn sources(families: &mut Families, exporter: &Exporter, posted: &Posted) {
    let mut newest: BTreeMap<(usize, &str), i64> = BTreeMap::new();
    for ((input, partition), status) in &posted.sources {
        let name = exporter.plan.inputs.get(*input).map_or("", |input| &input.name);
        let labels = label("input", name).and("partition", &partition.to_string());
        condition(families, &format!("fold {name}"), *partition, &status.condition);
        if !matches!(status.condition, Condition::Live) {
            continue;
        }
        doors(families, status, &labels);
        if let Some(watermark) = status.watermark.filter(|watermark| *watermark != END_OF_TIME) {
            let lag = (exporter.clock.now() - watermark) as f64 / 1000.0;
            families.add("touchstone_watermark_lag_seconds", &labels, lag);
        }
        for phase in Phase::ALL {
            let is = f64::from(u8::from(phase == status.phase));
            families.add("touchstone_source_phase", &labels.and("phase", phase.name()), is);
        }
        families.add("touchstone_source_held", &labels, f64::from(u8::from(status.held)));
        if let Some(lag) = status.lag {
            families.add("touchstone_consumer_lag", &labels, lag as f64);
        }
        families.add("touchstone_dedup_ids", &labels, status.ids.0 as f64);
        families.add("touchstone_dedup_pushed_out_total", &labels, status.ids.1 as f64);
        for (channel, time) in &status.newest_by_channel {
            let time_of_all = newest.entry((*input, channel)).or_insert(*time);
            *time_of_all = (*time_of_all).max(*time);
        }
    }
    for ((input, channel), time) in newest {
        let name = exporter.plan.inputs.get(input).map_or("", |input| &input.name);
        let labels = label("input", name).and("channel", channel);
        families.add("touchstone_source_newest_event_timestamp_seconds", &labels, time as f64 / 1000.0);
    }
}

fn doors(families: &mut Families, status: &SourceStatus, labels: &Labels) {
    let totals = &status.totals;
    let doors = [
        ("accepted", totals.accepted),
        ("late", totals.late),
        ("duplicate", totals.duplicate),
        ("rejected", totals.rejected),
        ("skipped", totals.skipped),
    ];
    for (result, count) in doors {
        families.add("touchstone_items_total", &labels.and("result", result), count as f64);
    }
    for (reason, count) in &status.rejected {
        families.add("touchstone_rejected_total", &labels.and("reason", reason.name()), *count as f64);
    }
    families.add("touchstone_records_total", labels, totals.records as f64);
    families.add("touchstone_conflicting_total", labels, totals.conflicting as f64);
}

fn merges(families: &mut Families, exporter: &Exporter, posted: &Posted) {
    let mut times: BTreeMap<usize, (Option<i64>, Option<i64>)> = BTreeMap::new();
    for (partition, status) in &posted.merges {
        condition(families, "merge", *partition, &status.condition);
        if !matches!(status.condition, Condition::Live) {
            continue;
        }
        let labels = label("partition", &partition.to_string());
        families.add("touchstone_sections_dropped_total", &labels, status.dropped as f64);
        for (set, by, slices, panes, overflow) in &status.sizes {
            let plan = &exporter.plan.sets[*set];
            let labels = label("metric_set", plan.set.name()).and("slice", &plan.group_bys[*by].name);
            families.add("touchstone_slices", &labels, *slices as f64);
            families.add("touchstone_cells", &labels, *panes as f64);
            families.add("touchstone_slice_overflow_total", &labels, *overflow as f64);
        }
        for (set, time) in &status.times {
            let seen = times.entry(*set).or_insert((time.watermark, time.final_until));
            // Partitions of one set hear the same sections, each in its time: the slowest counts.
            *seen = (seen.0.min(time.watermark), seen.1.min(time.final_until));
        }
    }
    for (set, (watermark, final_until)) in times {
        let labels = label("metric_set", exporter.plan.sets[set].set.name());
        if let Some(watermark) = watermark.filter(|time| *time != END_OF_TIME) {
            families.add("touchstone_watermark_timestamp_seconds", &labels, watermark as f64 / 1000.0);
        }
        if let Some(until) = final_until.filter(|time| *time != END_OF_TIME) {
            families.add("touchstone_final_until_timestamp_seconds", &labels, until as f64 / 1000.0);
        }
    }
}

fn condition(families: &mut Families, stage: &str, partition: i32, condition: &Condition) {
    let labels = label("stage", stage).and("partition", &partition.to_string());
    match condition {
        Condition::Live => {}
        Condition::Restoring(left) => {
            families.add("touchstone_restore_remaining_records", &labels, *left as f64);
        }
        Condition::Halted(halt) => {
            families.add("touchstone_task_halted", &labels.and("reason", halt.code.name()), 1.0);
        }
    }
}

fn workers(families: &mut Families, posted: &Posted) {
    for (name, status) in &posted.workers {
        let labels = label("worker", name);
        let (sum_ms, count, counts) = &status.commits;
        let mut up_to = 0;
        let buckets = COMMIT_BUCKETS_MS.iter().zip(counts).map(|(bound, count)| {
            up_to += count;
            (bound / 1000.0, up_to)
        });
        let buckets: Vec<(f64, u64)> = buckets.collect();
        families.histogram("touchstone_commit_seconds", &labels, &buckets, sum_ms / 1000.0, *count);
        families.add("touchstone_commit_failures_total", &labels, status.failed_commits as f64);
        families.add("touchstone_worker_unavailable", &labels, f64::from(u8::from(status.unavailable.is_some())));
    }
}
