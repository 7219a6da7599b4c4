//! Line charts as SVG: logarithmic in what grows where it spans more than a factor of twenty, from zero in what it costs.

use std::fmt::Write;

/// A curve and its name.
pub struct Curve {
    pub name: &'static str,
    pub points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 300.0;
/// Left, right, top and bottom of the plot.
const PLOT: (f64, f64, f64, f64) = (64.0, 480.0, 34.0, 250.0);
/// Colours that the colour-blind can tell apart (Okabe and Ito, 2008).
const COLOURS: [&str; 5] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#7f7f7f"];

/// A chart of curves over one axis.
pub fn draw(across: &str, up: &str, curves: &[Curve]) -> String {
    let all = || curves.iter().flat_map(|curve| &curve.points);
    let least = all().map(|(x, _)| *x).fold(f64::MAX, f64::min);
    let most = all().map(|(x, _)| *x).fold(f64::MIN, f64::max);
    let top = ceiling(all().map(|(_, y)| *y).fold(0.0, f64::max));
    let logarithmic = least > 0.0 && most / least > 20.0;
    let share = |x: f64| match logarithmic {
        true => (x / least).ln() / (most / least).ln(),
        false => (x - least) / (most - least),
    };
    let (left, right, upper, lower) = PLOT;
    let at = |x: f64, y: f64| (left + share(x) * (right - left), lower - y / top * (lower - upper));
    let mut svg = format!(
        concat!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}" font-family="sans-serif" font-size="12">"#,
            r#"<title>{} over {}</title><rect width="100%" height="100%" fill="white"/>"#,
            r#"<text x="{}" y="20">{}</text><text x="{}" y="{}" text-anchor="middle">{}</text>"#
        ),
        WIDTH,
        HEIGHT,
        up,
        across,
        left - 40.0,
        up,
        (left + right) / 2.0,
        HEIGHT - 12.0,
        across
    );
    for step in 0..=4 {
        let value = top * f64::from(step) / 4.0;
        let (_, y) = at(least, value);
        let _ = write!(
            svg,
            r##"<line x1="{left}" x2="{right}" y1="{y:.1}" y2="{y:.1}" stroke="#ddd"/><text x="{}" y="{:.1}" text-anchor="end">{}</text>"##,
            left - 6.0,
            y + 4.0,
            thousands(value)
        );
    }
    for (x, _) in &curves[0].points {
        let (place, _) = at(*x, 0.0);
        let _ =
            write!(svg, r#"<text x="{place:.1}" y="{}" text-anchor="middle">{}</text>"#, lower + 16.0, thousands(*x));
    }
    // Names stand at the ends of their curves, and never on one another.
    let mut names: Vec<(f64, &str, &str)> = Vec::new();
    for (curve, colour) in curves.iter().zip(COLOURS) {
        let points: Vec<(f64, f64)> = curve.points.iter().map(|(x, y)| at(*x, *y)).collect();
        let path: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ =
            write!(svg, r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2"/>"#, path.join(" "));
        for (x, y) in &points {
            let _ = write!(svg, r#"<circle cx="{x:.1}" cy="{y:.1}" r="3" fill="{colour}"/>"#);
        }
        names.extend(points.last().map(|(_, y)| (y + 4.0, curve.name, colour)));
    }
    names.sort_by(|one, other| one.0.total_cmp(&other.0));
    let mut free = f64::MIN;
    for (y, name, colour) in names {
        let y = y.max(free);
        free = y + 14.0;
        let _ = write!(svg, r#"<text x="{}" y="{y:.1}" fill="{colour}">{name}</text>"#, right + 10.0);
    }
    svg.push_str("</svg>\n");
    svg
}

/// The least of 1, 2, 2.5, 5 times a power of ten that is not below.
fn ceiling(value: f64) -> f64 {
    let power = 10f64.powf(value.max(1e-9).log10().floor());
    let steps = [1.0, 2.0, 2.5, 5.0, 10.0];
    power * steps.into_iter().find(|step| step * power >= value).unwrap_or(10.0)
}

fn thousands(value: f64) -> String {
    if value < 1_000.0 {
        return format!("{}", (value * 100.0).round() / 100.0);
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
