//! The alerts that are shipped: Prometheus takes them, each fires and stays quiet as its tests say, no guard of them can be
//! taken away unnoticed, they name families that exist, and somebody wrote down what to do.

#[macro_use]
mod subjects;

mod business;
mod health;
mod paging;
mod real;
mod scenario;
mod table;
mod timeline;
mod weekly;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use libtest_mimic::{Failed, Trial};
use touchstone::export::FAMILIES;
use touchstone::metrics::{Settings, catalogue, registry};

use scenario::Scenario;
use subjects::{Subject, subjects};
pub use table::markdown as table;

/// About the data, with tests by hand; about the business, with tests that are made from tables.
const HEALTH: &str = "touchstone-health.rules.yml";
const BUSINESS: &str = "touchstone-cx.rules.yml";

pub fn tests() -> Vec<Trial> {
    vec![
        Trial::test("alerts::prometheus_takes_them", taken),
        Trial::test("alerts::each_about_the_data_fires_and_stays_quiet", health::fire),
        Trial::test("alerts::no_guard_about_the_data_can_be_taken_away", health::guarded),
        Trial::test("alerts::each_about_the_business_fires_and_stays_quiet", fire),
        Trial::test("alerts::no_guard_about_the_business_can_be_taken_away", guarded),
        Trial::test("alerts::the_demo_pages_once_and_names_the_queue", real::demo),
        Trial::test("alerts::a_dead_source_is_told_as_data", real::dead),
        Trial::test("alerts::one_place_is_one_page", paging::once),
        Trial::test("alerts::numbers_that_are_not_live_page_as_data_alone", paging::inhibited),
        // Minutes each: cargo test --test integration -- --ignored alerts::
        Trial::test("alerts::a_bank_in_january", real::bank).with_ignored_flag(true),
        Trial::test("alerts::reviews_at_the_turn_of_the_year", real::reviews).with_ignored_flag(true),
        Trial::test("alerts::they_name_families_that_exist", families),
        Trial::test("alerts::each_has_a_test_and_a_runbook", runbooks),
    ]
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus")
}

fn rules(file: &str) -> Result<String, Failed> {
    Ok(std::fs::read_to_string(directory().join(file))?)
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
    well(&promtool(&["check", "rules", "--lint=all", "--lint-fatal", HEALTH, BUSINESS], &directory())?)
}

/// The rules without one guard of one alert; no alert: of what is recorded.
fn without(rules: &str, alert: &str, guard: &str, left: &str) -> Result<String, Failed> {
    let begin = if alert.is_empty() { 0 } else { rules.find(&format!("- alert: {alert}\n")).ok_or(alert)? };
    let end = match alert {
        "" => rules.len(),
        _ => rules[begin + 1..].find("- alert: ").map_or(rules.len(), |length| begin + 1 + length),
    };
    let part = &rules[begin..end];
    if !part.contains(guard) {
        return Err(format!("{alert} does not hold {guard:?}").into());
    }
    Ok(format!("{}{}{}", &rules[..begin], part.replace(guard, left), &rules[end..]))
}

/// Rules, and the scenarios that are tried under them.
type Attempt = (String, Vec<Scenario>);

/// What promtool says of attempts; each has a Prometheus of its own, which evaluates no more than it needs.
fn tried(attempts: &[Attempt], weekly: bool) -> Result<Output, Failed> {
    let directory = tempfile::tempdir()?;
    // A week is looked at every five minutes.
    let step = if weekly { 5 } else { 1 };
    let mut arguments = vec!["test".to_owned(), "rules".to_owned()];
    for (number, (rules, scenarios)) in attempts.iter().enumerate() {
        let [rules_file, test_file] = ["rules", "test"].map(|kind| format!("{kind}-{number}.yml"));
        std::fs::write(directory.path().join(&rules_file), rules)?;
        std::fs::write(directory.path().join(&test_file), scenario::file(&rules_file, scenarios, step))?;
        arguments.push(test_file);
    }
    promtool(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), directory.path())
}

/// What is recorded, without the alerts.
fn recorded(rules: &str) -> Result<&str, Failed> {
    Ok(&rules[..rules.find("      - alert: ").ok_or("there are no alerts")?])
}

/// What is recorded, and these alerts.
fn with_alerts(recorded: &str, alerts: &[&str]) -> String {
    let alerts = alerts.iter().map(|text| format!("      {}\n", text.trim_end()));
    recorded.to_owned() + &alerts.collect::<String>()
}

fn fire() -> Result<(), Failed> {
    let rules = rules(BUSINESS)?;
    for weekly in [false, true] {
        let attempt = |subject: &'static Subject| {
            let guards = subject.guards.iter().map(|guard| subject.guarded(guard));
            let own = with_alerts(recorded(&rules)?, &[rules_of(&rules, subject.alert)?]);
            Ok((own, subject.life().into_iter().chain(guards).collect()))
        };
        let attempts = subjects().filter(|subject| subject.weekly == weekly).map(attempt);
        well(&tried(&attempts.collect::<Result<Vec<Attempt>, Failed>>()?, weekly)?)?;
    }
    Ok(())
}

/// Without one guard its own scenario goes red. Every guard is taken out of a copy of its alert, and all copies of an alert
/// are tried at once; where it is recorded, what is recorded is broken instead.
fn guarded() -> Result<(), Failed> {
    let rules = rules(BUSINESS)?;
    let recorded = recorded(&rules)?;
    for weekly in [false, true] {
        let mut attempts: Vec<Attempt> = Vec::new();
        for subject in subjects().filter(|subject| subject.weekly == weekly) {
            let text = rules_of(&rules, subject.alert)?;
            let (mut copies, mut scenarios) = (Vec::new(), Vec::new());
            for (number, guard) in subject.guards.iter().enumerate() {
                if !text.contains(guard.text) {
                    let broken = without(recorded, "", guard.text, guard.without)?;
                    attempts.push((with_alerts(&broken, &[text]), vec![subject.unguarded(guard, subject.alert)]));
                    continue;
                }
                let copy = format!("{}Guard{number}", subject.alert);
                copies.push(text.replace(guard.text, guard.without).replace(subject.alert, &copy));
                scenarios.push(subject.unguarded(guard, &copy));
            }
            for (scenario, broken) in subject.general(text) {
                copies.push(broken);
                scenarios.push(scenario);
            }
            let copies: Vec<&str> = copies.iter().map(String::as_str).collect();
            attempts.push((with_alerts(recorded, &copies), scenarios));
            let processes = without(recorded, "", "max without (instance, pod) (", "max without (pod) (")?;
            attempts.push((with_alerts(&processes, &[text]), vec![subject.twice()]));
        }
        well(&tried(&attempts, weekly)?)?;
    }
    Ok(())
}

/// The text of one alert.
fn rules_of<'a>(rules: &'a str, alert: &str) -> Result<&'a str, Failed> {
    let begin = rules.find(&format!("- alert: {alert}\n")).ok_or(format!("there is no alert {alert}"))?;
    let end = rules[begin + 1..].find("- alert: ").map_or(rules.len(), |length| begin + 1 + length);
    Ok(&rules[begin..end])
}

/// The words of the rules.
fn words(rules: &str) -> impl Iterator<Item = &str> {
    rules.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'))
}

/// Those that begin like a family of ours, without what recording adds.
fn named(rules: &str) -> BTreeSet<String> {
    words(rules).filter(|word| word.starts_with("touchstone_") || word.starts_with("cx_")).map(str::to_owned).collect()
}

/// The families of figures and of counts in a window.
pub fn exported() -> BTreeSet<String> {
    let figures = catalogue::FIGURES.iter().map(|figure| format!("cx_{}", figure.name));
    let sets = registry(&Settings::default());
    let counts = sets.iter().flat_map(|set| set.shape().counts.iter().filter(|count| count.published));
    let counts = counts.map(|count| match count.name.strip_suffix("_ms") {
        Some(name) => format!("cx_window_{name}_seconds"),
        None => format!("cx_window_{}", count.name),
    });
    figures.chain(counts).collect()
}

fn families() -> Result<(), Failed> {
    let recorded = ["touchstone_items", "touchstone_rejected"];
    let rules = rules(HEALTH)? + &rules(BUSINESS)?;
    for name in named(&rules) {
        let exists = FAMILIES.iter().any(|family| family.name == name)
            || exported().contains(&name)
            || recorded.contains(&name.as_str());
        assert!(exists, "{name} is no family of the service");
    }
    Ok(())
}

fn runbooks() -> Result<(), Failed> {
    let operations = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/OPERATIONS.md"))?;
    for (file, least) in [(HEALTH, 13), (BUSINESS, 11)] {
        let rules = rules(file)?;
        let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
        assert!(alerts.len() >= least, "{alerts:?}");
        for alert in alerts {
            assert!(
                operations.contains(&format!("\n### {alert}\n")),
                "docs/OPERATIONS.md does not say what to do about {alert}"
            );
            let place = format!("docs/OPERATIONS.md#{}\"", alert.to_lowercase());
            assert!(rules.contains(&place), "{alert} does not name its runbook");
            let is_tried = health::tests_of(alert)? > 0 || subjects().any(|subject| subject.alert == alert);
            assert!(is_tried, "no test looks at {alert}");
        }
    }
    Ok(())
}
