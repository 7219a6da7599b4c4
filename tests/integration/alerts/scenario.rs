//! What Prometheus sees over time, in short words, and the test file that promtool reads.
//!
//! A series is named by its family without `cx_` and its window: `csat_ratio 1h`. Evidence names what it is about before
//! the window: `samples csat 1h`, `covered csat 1h`, `lower csat_ratio 1d`, `upper csat_ratio 1h`.

use std::fmt::Write as _;

/// Minutes and the value that is shown in them; none: the series is not there.
pub type Course = Vec<(u32, Option<f64>)>;

/// The labels of the process and the place that scenarios are about, beside the window.
const HERE: &str = "slice=\"queue\",channel=\"voice\",queue=\"billing\"";
/// A figure per channel belongs to a slice without one.
const SHARE: &str = "slice=\"all\",channel=\"voice\"";

/// One series of one process.
#[derive(Clone)]
pub struct Series {
    pub name: String,
    pub instance: &'static str,
    pub course: Course,
}

/// A scenario: its series, and in how many places the alert is firing at which minutes.
#[derive(Clone)]
pub struct Scenario {
    pub name: String,
    pub alert: String,
    pub series: Vec<Series>,
    pub looks: Vec<(u32, u32)>,
}

impl Series {
    /// The series as Prometheus names it.
    fn written(&self, job: &str) -> String {
        let words: Vec<&str> = self.name.split(' ').collect();
        let share = self.name.contains("channel_share_ratio");
        let place = match &words[..] {
            // The evidence of a share is that of the slice it is a figure of.
            [_, "touchpoints", _] => "slice=\"all\"",
            _ if share => SHARE,
            _ => HERE,
        };
        let (family, label, window) = match &words[..] {
            ["samples", set, window] => ("window_samples", format!("metric_set=\"{set}\","), window),
            ["covered", set, window] => ("window_covered_ratio", format!("metric_set=\"{set}\","), window),
            [end @ ("lower" | "upper"), figure, window] => {
                (if *end == "lower" { "window_lower" } else { "window_upper" }, format!("figure=\"{figure}\","), window)
            }
            [family, window] => (*family, String::new(), window),
            _ => panic!("{} is no series", self.name),
        };
        format!("cx_{family}{{job=\"{job}\",instance=\"{}\",{label}window=\"{window}\",{place}}}", self.instance)
    }

    fn values(&self, step: u32) -> String {
        let mut text = String::new();
        for (minutes, value) in self.course.iter().filter(|(minutes, _)| *minutes >= step) {
            let times = minutes / step;
            match value {
                Some(value) => write!(text, "{value}x{} ", times - 1).expect("into memory"),
                // As Prometheus marks a series that has left the page; before the first value there is nothing to mark.
                None if !text.is_empty() && times > 1 => write!(text, "stale _x{} ", times - 1).expect("into memory"),
                None => write!(text, "_x{times} ").expect("into memory"),
            }
        }
        text
    }
}

/// promtool's test file of these scenarios, evaluated every `step` minutes: all in one Prometheus, each a job of its own.
pub fn file(rules: &str, scenarios: &[Scenario], step: u32) -> String {
    let mut series = String::new();
    let mut looks = String::new();
    for (number, scenario) in scenarios.iter().enumerate() {
        let job = format!("{number}: {}", scenario.name);
        for one in &scenario.series {
            let (name, values) = (one.written(&job), one.values(step));
            writeln!(series, "      - {{series: '{name}', values: '{}'}}", values.trim_end()).expect("into memory");
        }
        for (minute, places) in &scenario.looks {
            // How many it is, whatever its labels: a second one of the same place would be a second page.
            let of = format!("ALERTS{{alertname=\"{}\", alertstate=\"firing\", job=\"{job}\"}}", scenario.alert);
            write!(
                looks,
                "      - expr: 'count({of}) or vector(0)'\n        eval_time: {minute}m\n        \
                 exp_samples: [{{labels: '{{}}', value: {places}}}]\n"
            )
            .expect("into memory");
        }
    }
    format!(
        "rule_files: [{rules}]\nevaluation_interval: {step}m\ntests:\n  - interval: {step}m\n    input_series:\n{series}    \
         promql_expr_test:\n{looks}"
    )
}
