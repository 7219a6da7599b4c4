//! Lines over a day, as the paths of an SVG.

/// The width and the height of a chart, in its own units.
pub(super) const WIDTH: f64 = 320.0;
pub(super) const HEIGHT: f64 = 64.0;

/// Between two points that are further apart than this, ms, there is a gap and no line.
const GAP_MS: i64 = 16 * 60_000;

/// A point: when, what, and the ends of its interval.
pub(super) type Point = (i64, f64, Option<(f64, f64)>);

/// A chart: paths, and what its edges mean.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Chart {
    /// The line through the values.
    pub line: String,
    /// The area between the ends of the intervals.
    pub band: String,
    /// Single points that no line goes through, as places in the chart.
    pub dots: Vec<(String, String)>,
    /// The least and the greatest value that fit.
    pub low: f64,
    pub high: f64,
}

/// The chart of points within a span of time; none without points.
pub(super) fn chart(points: &[Point], from: i64, until: i64) -> Option<Chart> {
    let values = points.iter().flat_map(|(_, value, ends)| {
        let (lower, upper) = ends.unwrap_or((*value, *value));
        [lower, *value, upper]
    });
    let (low, high) = values.fold(None, |range: Option<(f64, f64)>, value| {
        let (low, high) = range.unwrap_or((value, value));
        Some((low.min(value), high.max(value)))
    })?;
    let span = if high > low { high - low } else { 1.0 };
    let x = |at: i64| (at - from) as f64 / (until - from).max(1) as f64 * WIDTH;
    let y = |value: f64| HEIGHT - 2.0 - (value - low) / span * (HEIGHT - 4.0);
    let mut chart = Chart { low, high, ..Chart::default() };
    for run in points.chunk_by(|before, after| after.0 - before.0 <= GAP_MS) {
        if let [(at, value, _)] = run {
            chart.dots.push((format!("{:.1}", x(*at)), format!("{:.1}", y(*value))));
            continue;
        }
        for (place, (at, value, _)) in run.iter().enumerate() {
            let letter = if place == 0 { 'M' } else { 'L' };
            chart.line += &format!("{letter}{:.1} {:.1}", x(*at), y(*value));
        }
        // Where a value has no interval the band ends.
        for part in run.chunk_by(|before, after| before.2.is_some() == after.2.is_some()) {
            let ends: Vec<(f64, f64, f64)> = part
                .iter()
                .filter_map(|(at, _, ends)| ends.map(|(lower, upper)| (x(*at), y(lower), y(upper))))
                .collect();
            if ends.len() > 1 {
                let there = ends.iter().map(|(x, _, upper)| (x, upper));
                let back = ends.iter().rev().map(|(x, lower, _)| (x, lower));
                for (place, (x, y)) in there.chain(back).enumerate() {
                    let letter = if place == 0 { 'M' } else { 'L' };
                    chart.band += &format!("{letter}{x:.1} {y:.1}");
                }
                chart.band.push('Z');
            }
        }
    }
    Some(chart)
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUARTER: i64 = 15 * 60_000;

    #[test]
    fn a_gap_is_a_gap() {
        let points = [(0, 1.0, None), (QUARTER, 2.0, None), (4 * QUARTER, 3.0, None)];
        let chart = chart(&points, 0, 4 * QUARTER).expect("there are points");
        assert_eq!(chart.line, "M0.0 62.0L80.0 32.0", "no line leads over an hour without numbers");
        assert_eq!(chart.dots, [("320.0".to_owned(), "2.0".to_owned())]);
        assert_eq!((chart.low, chart.high), (1.0, 3.0));
    }

    #[test]
    fn the_band_goes_there_and_back() {
        let points = [(0, 0.5, Some((0.0, 1.0))), (QUARTER, 0.5, Some((0.25, 0.75)))];
        let chart = chart(&points, 0, QUARTER).expect("there are points");
        assert_eq!(chart.band, "M0.0 2.0L320.0 17.0L320.0 47.0L0.0 62.0Z");
    }

    #[test]
    fn without_an_interval_there_is_no_band() {
        let sure = Some((0.25, 0.75));
        let points = [(0, 0.5, sure), (QUARTER, 0.5, None), (2 * QUARTER, 0.5, sure), (3 * QUARTER, 0.5, sure)];
        let chart = chart(&points, 0, 3 * QUARTER).expect("there are points");
        assert_eq!(chart.band, "M213.3 2.0L320.0 2.0L320.0 62.0L213.3 62.0Z");
    }

    #[test]
    fn nothing_is_no_chart() {
        assert_eq!(chart(&[], 0, 1), None);
    }
}
