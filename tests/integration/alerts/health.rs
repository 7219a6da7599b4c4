//! The alerts about the data: their tests are written by hand, in deploy/prometheus/tests.

use super::{HEALTH, directory, promtool, rules, well, without};
use libtest_mimic::Failed;
use std::collections::BTreeSet;
use std::process::Output;

const TESTS: &str = "health.test.yml";

/// A guard: the alert (none: the rules as a whole), its text, and what is left without it.
type Guard = (&'static str, &'static str, &'static str);

const GUARDS: [Guard; 23] = [
    ("TouchstoneAbsent", "absent(up{job=\"touchstone\"} == 1)", "absent(up{job=\"touchstone\"})"),
    ("TouchstoneAbsent", "for: 2m", "for: 0m"),
    ("TouchstoneInstanceDown", "for: 5m", "for: 0m"),
    ("TouchstoneTaskHalted", "for: 1m", "for: 0m"),
    ("TouchstoneWorkerUnavailable", "for: 2m", "for: 0m"),
    (
        "",
        "max without (instance, pod) (touchstone_watermark_timestamp_seconds)",
        "min without (instance, pod) (touchstone_watermark_timestamp_seconds)",
    ),
    ("TouchstoneWatermarkStalled", "for: 5m", "for: 0m"),
    (
        "TouchstoneSourceSilent",
        "max without (channel) (touchstone_source_newest_event_timestamp_seconds:max)",
        "touchstone_source_newest_event_timestamp_seconds:max",
    ),
    ("TouchstoneSourceSilent", "for: 5m", "for: 0m"),
    (
        "TouchstoneSourceBehind",
        "- on (job) group_left ()\n            min by (job) (touchstone_watermark_lag_seconds:min)",
        "",
    ),
    (
        "",
        "min without (instance, pod) (touchstone_watermark_lag_seconds)",
        "max without (instance, pod) (touchstone_watermark_lag_seconds)",
    ),
    ("TouchstoneSourceBehind", "for: 10m", "for: 0m"),
    ("TouchstoneLagGrowing", "> 10000", "> 0"),
    (
        "TouchstoneLagGrowing",
        "and\n            touchstone_consumer_lag:min > touchstone_consumer_lag:min offset 15m",
        "",
    ),
    ("TouchstoneLagGrowing", "for: 15m", "for: 0m"),
    ("TouchstoneLateItems", ">= 100", ">= 0"),
    ("TouchstoneLateItems", "> 0.01", "> 0"),
    ("TouchstoneRejectedItems", ">= 100", ">= 0"),
    ("TouchstoneRejectedItems", "> 0.01", "> 0"),
    ("TouchstoneRestoreSlow", "for: 5m", "for: 0m"),
    ("TouchstoneSeriesLeftOut", "for: 10m", "for: 0m"),
    ("TouchstoneLateItems", "{result=\"late\"}", "{result=\"rejected\"}"),
    ("TouchstoneRejectedItems", "{result=\"rejected\"}", "{result=\"late\"}"),
];

pub fn fire() -> Result<(), Failed> {
    well(&promtool(&["test", "rules", TESTS], &directory().join("tests"))?)
}

/// Their tests, over other rules: of one alert those that look at it.
fn tried(rules: &str, alert: &str) -> Result<Output, Failed> {
    let copy = tempfile::tempdir()?;
    let tests = copy.path().join("tests");
    std::fs::create_dir(&tests)?;
    std::fs::write(copy.path().join(HEALTH), rules)?;
    let text = std::fs::read_to_string(directory().join("tests").join(TESTS))?;
    let mut parts = text.split("\n- name: ");
    let mut own = parts.next().unwrap_or_default().to_owned();
    let looks = format!("alertname: {alert}");
    parts.filter(|part| part.contains(&looks)).for_each(|part| own.extend(["\n- name: ", part]));
    std::fs::write(tests.join(TESTS), own)?;
    promtool(&["test", "rules", TESTS], &tests)
}

pub fn guarded() -> Result<(), Failed> {
    let rules = rules(HEALTH)?;
    for alert in GUARDS.iter().map(|(alert, ..)| *alert).collect::<BTreeSet<_>>() {
        well(&tried(&rules, alert)?)?;
    }
    for (alert, guard, left) in GUARDS {
        if tried(&without(&rules, alert, guard, left)?, alert)?.status.success() {
            return Err(format!("{alert}: no test notices that {guard:?} is gone").into());
        }
    }
    Ok(())
}

/// How many of them look at an alert.
pub fn tests_of(alert: &str) -> Result<usize, Failed> {
    let tests = std::fs::read_to_string(directory().join("tests").join(TESTS))?;
    Ok(tests.matches(&format!("alertname: {alert}\n")).count())
}

/// The guards of an alert that are taken away.
pub fn guards_of(alert: &str) -> impl Iterator<Item = &'static str> {
    GUARDS.iter().filter(move |(of, _, _)| *of == alert).map(|(_, guard, _)| *guard)
}

/// The names of the scenarios that look at an alert.
pub fn scenarios_of(alert: &str) -> Result<Vec<String>, Failed> {
    let tests = std::fs::read_to_string(directory().join("tests").join(TESTS))?;
    let looks = format!("alertname: {alert}\n");
    let scenarios = tests.split("\n- name: ").skip(1).filter(|scenario| scenario.contains(&looks));
    Ok(scenarios
        .filter_map(|scenario| scenario.lines().next())
        .map(|name| name.trim_matches('\'').to_owned())
        .collect())
}
