//! The alerts that are shipped: Prometheus takes them, each fires and stays quiet as its tests say, no guard of them can be
//! taken away unnoticed, they name families that exist, and somebody wrote down what to do.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use libtest_mimic::{Failed, Trial};
use touchstone::export::FAMILIES;

const RULES: &str = "touchstone-health.rules.yml";
const TESTS: &str = "health.test.yml";

pub fn tests() -> Vec<Trial> {
    vec![
        Trial::test("alerts::prometheus_takes_them", taken),
        Trial::test("alerts::each_fires_and_stays_quiet", fire),
        Trial::test("alerts::no_guard_can_be_taken_away", guarded),
        Trial::test("alerts::they_name_families_that_exist", families),
        Trial::test("alerts::each_has_a_test_and_a_runbook", runbooks),
    ]
}

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

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus")
}

fn rules() -> Result<String, Failed> {
    Ok(std::fs::read_to_string(directory().join(RULES))?)
}

fn promtool(arguments: &[&str], directory: &Path) -> Result<Output, Failed> {
    let run = Command::new("promtool").args(arguments).current_dir(directory).output();
    Ok(run.map_err(|error| format!("promtool (Debian: apt-get install prometheus): {error}"))?)
}

fn well(output: &Output) -> Result<(), Failed> {
    let said = [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat();
    if output.status.success() { Ok(()) } else { Err(said.into()) }
}

fn taken() -> Result<(), Failed> {
    well(&promtool(&["check", "rules", "--lint=all", "--lint-fatal", RULES], &directory())?)
}

fn fire() -> Result<(), Failed> {
    well(&promtool(&["test", "rules", TESTS], &directory().join("tests"))?)
}

/// The tests of the alerts, over other rules.
fn tried(rules: &str) -> Result<Output, Failed> {
    let copy = tempfile::tempdir()?;
    let tests = copy.path().join("tests");
    std::fs::create_dir(&tests)?;
    std::fs::write(copy.path().join(RULES), rules)?;
    std::fs::copy(directory().join("tests").join(TESTS), tests.join(TESTS))?;
    promtool(&["test", "rules", TESTS], &tests)
}

fn guarded() -> Result<(), Failed> {
    let rules = rules()?;
    well(&tried(&rules)?)?;
    for (alert, guard, without) in GUARDS {
        let begin = if alert.is_empty() { 0 } else { rules.find(&format!("- alert: {alert}\n")).ok_or(alert)? };
        let end = match alert {
            "" => rules.len(),
            _ => rules[begin + 1..].find("- alert: ").map_or(rules.len(), |length| begin + 1 + length),
        };
        let part = &rules[begin..end];
        if part.matches(guard).count() != 1 {
            return Err(format!("{alert} does not hold {guard:?} once").into());
        }
        let broken = format!("{}{}{}", &rules[..begin], part.replace(guard, without), &rules[end..]);
        if tried(&broken)?.status.success() {
            return Err(format!("{alert}: no test notices that {guard:?} is gone").into());
        }
    }
    Ok(())
}

/// The words of the rules that begin like a family of ours, without what recording adds.
fn named(rules: &str) -> BTreeSet<String> {
    let words = rules.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
    words.filter(|word| word.starts_with("touchstone_") || word.starts_with("cx_")).map(str::to_owned).collect()
}

fn families() -> Result<(), Failed> {
    let recorded = ["touchstone_items", "touchstone_rejected"];
    for name in named(&rules()?) {
        let exists = FAMILIES.iter().any(|family| family.name == name) || recorded.contains(&name.as_str());
        assert!(exists, "{name} is no family of the service");
    }
    Ok(())
}

fn runbooks() -> Result<(), Failed> {
    let rules = rules()?;
    let operations = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/OPERATIONS.md"))?;
    let tests = std::fs::read_to_string(directory().join("tests").join(TESTS))?;
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() >= 13, "{alerts:?}");
    for alert in alerts {
        assert!(
            operations.contains(&format!("\n### {alert}\n")),
            "docs/OPERATIONS.md does not say what to do about {alert}"
        );
        let place = format!("docs/OPERATIONS.md#{}\"", alert.to_lowercase());
        assert!(rules.contains(&place), "{alert} does not name its runbook");
        assert!(tests.contains(&format!("alertname: {alert}\n")), "no test looks at {alert}");
    }
    Ok(())
}
