//! `touchstone demo` as a user meets it: numbers with their evidence within seconds, on a page that promtool accepts.

use crate::data;
use crate::process::{self, PROGRAM, Service, wait_for};
use libtest_mimic::{Failed, Trial};
use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

pub fn tests() -> Vec<Trial> {
    vec![
        Trial::test("demo::every_figure_has_its_evidence", evidence),
        Trial::test("demo::a_taken_address_is_told", taken),
        Trial::test("demo::generate_writes_what_replay_takes", generate),
    ]
}

/// The families that must be there, and the metric set each belongs to.
const FAMILIES: [(&str, &str); 5] = [
    ("abandonment_ratio", "contacts"),
    ("hold_mean_seconds", "contacts"),
    ("channel_share_ratio", "touchpoints"),
    ("csat_ratio", "csat"),
    ("nps_ratio", "nps"),
];

/// The windows whose whole span lies in the day of history.
const WINDOWS: [&str; 2] = ["15m", "1h"];

fn evidence() -> Result<(), Failed> {
    let directory = tempfile::tempdir()?;
    let demo = Service::demo(directory.path());
    let mut page = String::new();
    wait_for("the five families with their evidence", Duration::from_secs(60), || {
        page = demo.get("/metrics").map_or(String::new(), |(_, page)| page);
        missing(&page).is_empty()
    })
    .map_err(|error| format!("{error}: {:?}\n{}", missing(&page), demo.log()))?;
    let values = values(&page);
    for (series, value) in &values {
        assert!(value.is_finite(), "{series} is {value}: what is not known is absent");
    }
    for window in WINDOWS {
        for (figure, set) in FAMILIES {
            let here = format!("window=\"{window}\",slice=\"all\"");
            let of = |family: &str, label: &str| {
                values.iter().find(|(series, _)| {
                    series.starts_with(&format!("{family}{{")) && series.contains(&here) && series.contains(label)
                })
            };
            let channel = if figure == "channel_share_ratio" { "channel=\"voice\"" } else { "" };
            let value = *of(&format!("cx_{figure}"), channel).unwrap().1;
            let named = format!("figure=\"{figure}\"");
            let bound = |family| {
                let bounds = values.iter().filter(|(series, _)| {
                    series.starts_with(family) && series.contains(&here) && series.contains(&named)
                });
                *bounds.filter(|(series, _)| series.contains(channel)).map(|(_, value)| value).next().unwrap()
            };
            let (lower, upper) = (bound("cx_window_lower{"), bound("cx_window_upper{"));
            assert!(lower <= value && value <= upper, "{figure} {window}: {lower} {value} {upper}");
            let set = format!("metric_set=\"{set}\"");
            assert!(*of("cx_window_samples", &set).unwrap().1 >= 1.0);
        }
    }
    check(&page)?;
    assert!(demo.stop(), "it ends well at SIGTERM");
    let log = std::fs::read_to_string(directory.path().join("demo.log"))?;
    assert_eq!(log, "", "nothing went wrong, also at the end");
    Ok(())
}

/// What is not on the page yet: figures, or their evidence, or windows that were wholly watched.
fn missing(page: &str) -> Vec<String> {
    let values = values(page);
    let mut missing = Vec::new();
    for window in WINDOWS {
        for (figure, set) in FAMILIES {
            let wanted = [
                (format!("cx_{figure}{{"), String::new()),
                ("cx_window_lower{".into(), format!("figure=\"{figure}\"")),
                ("cx_window_upper{".into(), format!("figure=\"{figure}\"")),
                ("cx_window_samples{".into(), format!("metric_set=\"{set}\"")),
                ("cx_window_covered_ratio{".into(), format!("metric_set=\"{set}\"")),
                ("cx_window_end_timestamp_seconds{".into(), format!("metric_set=\"{set}\"")),
            ];
            let here = format!("window=\"{window}\",slice=\"all\"");
            // The first windows begin before the history does.
            let is_whole = |series: &str, value: f64| !series.starts_with("cx_window_covered_ratio") || value == 1.0;
            missing.extend(wanted.into_iter().filter_map(|(family, label)| {
                let is_it =
                    |series: &&String| series.starts_with(&family) && series.contains(&here) && series.contains(&label);
                let found = values.iter().any(|(series, value)| is_it(&series) && is_whole(series, *value));
                (!found).then(|| format!("{family}{here},{label}}}"))
            }));
        }
    }
    missing
}

/// Series by their name and labels.
fn values(page: &str) -> BTreeMap<String, f64> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(series, value)| (series.to_string(), value.parse().unwrap()))
        .collect()
}

/// Pipes a page through `promtool check metrics`, which must find nothing.
fn check(page: &str) -> Result<(), Failed> {
    let child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        // The README asks for no Prometheus: elsewhere than in CI this is said at the end, not a failure.
        Err(_) if std::env::var_os("CI").is_none() => {
            data::promtool_is_missing();
            return Ok(());
        }
        Err(error) => return Err(format!("promtool: {error}; apt-get install prometheus brings it").into()),
    };
    let mut input = child.stdin.take().unwrap();
    let page = page.to_string();
    let writer = std::thread::spawn(move || input.write_all(page.as_bytes()));
    let output = child.wait_with_output()?;
    writer.join().unwrap()?;
    let said = [output.stdout, output.stderr].concat();
    if output.status.success() && said.is_empty() {
        return Ok(());
    }
    Err(format!("promtool: {}", String::from_utf8_lossy(&said)).into())
}

fn taken() -> Result<(), Failed> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    let output = process::run(&["demo", "--listen", &address]);
    let said = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&address) && said.contains("--listen"), "{said}");
    Ok(())
}

/// What `generate` writes goes through `replay`: every line one item, each through the door it was made for.
fn generate() -> Result<(), Failed> {
    let directory = tempfile::tempdir()?;
    let (file, summary) = (directory.path().join("events.ndjson"), directory.path().join("summary.json"));
    let generated = Command::new(PROGRAM)
        .args(["generate", "--count", "20000", "--seed", "7", "--duration", "2d"])
        .stdout(std::fs::File::create(&file)?)
        .status()?;
    assert!(generated.success());
    let (file, place) = (file.to_string_lossy(), summary.to_string_lossy());
    let replayed = process::run(&["replay", &file, "--summary", &place]);
    assert!(replayed.status.success(), "{}", String::from_utf8_lossy(&replayed.stderr));
    let summary: serde_json::Value = serde_json::from_slice(&std::fs::read(&summary)?)?;
    let items = |name: &str| summary["items"][name].as_i64().unwrap();
    assert_eq!(items("consumed"), 20_000);
    assert!((5..50).contains(&items("duplicate")), "{summary}");
    assert!((2..30).contains(&items("rejected")), "{summary}");
    assert_eq!(items("accepted") + items("duplicate") + items("rejected"), 20_000, "{summary}");
    Ok(())
}
