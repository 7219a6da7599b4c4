//! How figures are made from integers: one function per kind of figure, each `None` where the denominator is 0.

use crate::engine::accumulator::Histogram;
use crate::engine::plan::{Figure, Sufficiency};
use crate::statistics;

/// The quantiles that are read out, as (label, per mille).
pub const QUANTILES: [(&str, i64); 4] = [("0.5", 500), ("0.9", 900), ("0.95", 950), ("0.99", 990)];

/// From how many observations on the mean of a duration has an interval.
pub const DURATION_INTERVAL_FROM: i64 = 100;

/// From how many answers on the mean of a score has an interval.
pub const SCORE_INTERVAL_FROM: i64 = 30;

/// A ratio of counts, with Wilson's interval.
pub fn ratio(name: &'static str, numerator: i64, denominator: i64) -> Option<Figure> {
    (denominator > 0).then(|| Figure {
        name,
        key: None,
        value: numerator as f64 / denominator as f64,
        numerator: Some(numerator),
        denominator: Some(denominator),
        samples: denominator,
        interval: statistics::wilson(numerator, denominator),
        sufficiency: Some(Sufficiency::of(denominator)),
    })
}

/// A mean of durations in seconds from sums in milliseconds, with Student's interval from 100 observations.
pub fn mean_seconds(name: &'static str, sum_ms: i64, n: i64, squares_ms: Option<i128>) -> Option<Figure> {
    let value = sum_ms as f64 / n as f64 / 1000.0;
    let interval = squares_ms.filter(|_| n >= DURATION_INTERVAL_FROM).and_then(|squares| {
        // The variance in s^2 from exact moments in ms.
        statistics::mean(value, statistics::variance(n, sum_ms, squares) / 1e6, n)
    });
    (n > 0).then(|| Figure {
        name,
        key: None,
        value,
        numerator: Some(sum_ms),
        denominator: Some(n),
        samples: n,
        interval,
        sufficiency: Some(Sufficiency::of(n)),
    })
}

/// The four quantiles of a histogram, in seconds.
pub fn quantiles(name: &'static str, histogram: &Histogram) -> Vec<Figure> {
    let samples = histogram.total();
    let quantile = |(label, per_mille): (&str, i64)| {
        Some(Figure {
            name,
            key: Some(("q", label.to_string())),
            value: histogram.quantile(per_mille)? / 1000.0,
            numerator: None,
            denominator: None,
            samples,
            interval: None,
            sufficiency: None,
        })
    };
    QUANTILES.into_iter().filter_map(quantile).collect()
}

/// The mean of raw scores on one scale, with Student's interval from 30 answers.
pub fn mean_score(name: &'static str, scale: String, sum: i64, squares: i128, n: i64) -> Figure {
    let value = sum as f64 / n as f64;
    let interval =
        if n >= SCORE_INTERVAL_FROM { statistics::mean(value, statistics::variance(n, sum, squares), n) } else { None };
    Figure {
        name,
        key: Some(("scale", scale)),
        value,
        numerator: Some(sum),
        denominator: Some(n),
        samples: n,
        interval,
        sufficiency: Some(Sufficiency::of(n)),
    }
}
