//! The windows of `/metrics`: figures, counts and their evidence, and the counters since ever.

use super::Exporter;
use super::families::{Families, Labels, label};
use crate::engine::cell::Cell;
use crate::engine::plan::SetPlan;
use crate::engine::publish::Shown;
use crate::engine::window::WindowKind;
use crate::metrics::catalogue::{self, EverSource};
use crate::pipeline::board::Posted;
use std::collections::BTreeMap;

/// Adds every windowed family; says how many series were left out.
pub(super) fn collect(families: &mut Families, exporter: &Exporter, posted: &Posted) -> usize {
    let rows: Vec<&Shown> = posted.merges.values().flat_map(|status| status.rows.iter()).collect();
    let (kept, left_out) = bound(exporter, rows);
    for row in kept {
        let set = &exporter.plan.sets[row.set];
        if exporter.plan.geometry.windows()[row.window].kind == WindowKind::Ever {
            ever(families, set, row);
        } else {
            window(families, exporter, set, row);
        }
    }
    left_out
}

/// Whole group-bys go when there are too many series: those with the most dimensions first, of them the
/// largest. So what is shown of a group-by is always all of it.
fn bound<'a>(exporter: &Exporter, rows: Vec<&'a Shown>) -> (Vec<&'a Shown>, usize) {
    if rows.len().saturating_mul(ROW_SERIES_USUAL) <= exporter.series_max {
        return (rows, 0);
    }
    let name = |row: &Shown| {
        let group_by = &exporter.plan.sets[row.set].group_bys[row.by];
        (group_by.dimensions.len(), group_by.name.clone())
    };
    let mut series: BTreeMap<(usize, String), usize> = BTreeMap::new();
    for row in &rows {
        *series.entry(name(row)).or_insert(0) += series_of(&exporter.plan.sets[row.set], row.by, &row.cell);
    }
    let mut total: usize = series.values().sum();
    let mut finest: Vec<((usize, String), usize)> = series.into_iter().collect();
    finest.sort_by_key(|((dimensions, _), series)| (*dimensions, *series));
    let mut left_out = Vec::new();
    let mut missing = 0;
    while total > exporter.series_max {
        let Some((group_by, series)) = finest.pop() else { break };
        total -= series;
        missing += series;
        left_out.push(group_by);
    }
    (rows.into_iter().filter(|row| !left_out.contains(&name(row))).collect(), missing)
}

/// Below this many series a row it is not worth counting them: few rows cannot be too many.
const ROW_SERIES_USUAL: usize = 200;

/// How many series a row of a group-by has that holds this cell.
pub(crate) fn series_of(set: &SetPlan, by: usize, cell: &Cell) -> usize {
    let figures = set.set.figures(cell, &set.group_bys[by]);
    let bounds = figures.iter().filter(|figure| figure.interval.is_some()).count();
    let counts = set.set.shape().counts.iter().filter(|count| count.published).count();
    figures.len() + 2 * bounds + counts + 4
}

fn slice_labels(labels: Labels, set: &SetPlan, row: &Shown) -> Labels {
    let group_by = &set.group_bys[row.by];
    let labels = labels.and("slice", &group_by.name);
    let values = group_by.dimensions.iter().zip(row.values.iter());
    values.fold(labels, |labels, (dimension, value)| labels.and(dimension.name(), value))
}

fn window(families: &mut Families, exporter: &Exporter, set: &SetPlan, row: &Shown) {
    let name = &exporter.plan.geometry.windows()[row.window].name;
    let labels = slice_labels(label("window", name), set, row);
    for figure in set.set.figures(&row.cell, &set.group_bys[row.by]) {
        let keyed = figure.key.as_ref().map(|(name, value)| labels.and(name, value));
        let keyed = keyed.as_ref().unwrap_or(&labels);
        let help = catalogue::figure_info(figure.name).map_or("", |info| info.help);
        families.gauge(&format!("cx_{}", figure.name), help, keyed, figure.value);
        if let Some((lower, upper)) = figure.interval {
            let named = keyed.and("figure", figure.name);
            families.add("cx_window_lower", &named, lower);
            families.add("cx_window_upper", &named, upper);
        }
    }
    for (count, value) in set.set.shape().counts.iter().zip(&row.cell.counts).filter(|(count, _)| count.published) {
        let (name, value) = match count.name.strip_suffix("_ms") {
            Some(name) => (format!("cx_window_{name}_seconds"), *value as f64 / 1000.0),
            None => (format!("cx_window_{}", count.name), *value as f64),
        };
        families.gauge(&name, &catalogue::capitalized(count.help), &labels, value);
    }
    let evidence = labels.and("metric_set", set.set.name());
    families.add("cx_window_samples", &evidence, set.set.samples(&row.cell) as f64);
    families.add("cx_window_covered_ratio", &evidence, row.covered_ratio());
    families.add("cx_window_end_timestamp_seconds", &evidence, row.end as f64 / 1000.0);
    families.add("cx_window_final", &evidence, f64::from(u8::from(row.is_final)));
}

/// The counters and histograms since ever, as the catalogue says what feeds them.
fn ever(families: &mut Families, set: &SetPlan, row: &Shown) {
    let labels = slice_labels(Labels::default(), set, row);
    let shape = set.set.shape();
    let count = |name: &str| {
        let place = shape.counts.iter().position(|count| count.name == name);
        place.map_or(0, |place| row.cell.counts[place])
    };
    for (family, of, source) in catalogue::EVER.iter().filter(|(_, of, _)| *of == set.set.name()) {
        match source {
            EverSource::Count(name) => families.add(family, &labels, count(name) as f64),
            EverSource::Tally(name, key) => {
                let place = shape.tallies.iter().position(|tally| tally == name);
                for (value, count) in
                    place.map(|place| &row.cell.tallies[place]).into_iter().flat_map(|tally| tally.iter())
                {
                    families.add(family, &labels.and(key, value), count as f64);
                }
            }
            EverSource::Answers => {
                for (scale, score, count) in row.cell.distributions.iter().flat_map(|answers| answers.iter()) {
                    let labels = labels.and("metric", of).and("scale", &scale.to_string());
                    families.add(family, &labels.and("score", &score.to_string()), count as f64);
                }
            }
            EverSource::Histogram { buckets, sums_ms, counts } => {
                let mut up_to = 0;
                let buckets: Vec<(f64, u64)> = buckets
                    .iter()
                    .map(|(bound, name)| {
                        up_to += count(name);
                        (*bound as f64, u64::try_from(up_to).unwrap_or(0))
                    })
                    .collect();
                let sum: i64 = sums_ms.iter().map(|name| count(name)).sum();
                let all: i64 = counts.iter().map(|name| count(name)).sum();
                let all = u64::try_from(all).unwrap_or(0);
                families.histogram(family, &labels, &buckets, sum as f64 / 1000.0, all);
            }
        }
    }
}
