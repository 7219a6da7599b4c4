//! docs/ALERTS.md: every alert, what it was tried against, and which guard turned which scenario red when it was gone.

use std::fmt::Write as _;

use libtest_mimic::Failed;

use super::business;
use super::subjects::subjects;
use super::{BUSINESS, HEALTH, health, rules, rules_of};

const HEAD: &str = "\
# Alerts

Made from the tests: `cargo test --test integration alerts` runs every line of it. promtool evaluates the shipped rules over each scenario; then
each guard is taken out of the rules, one at a time, and its scenario must turn red.
";

const LIFE: &str = "
## About the business

Every one of them was tried against: the real thing, which fires and ends when it is over; a moment of it; numbers that go missing before it has lasted (it does not
fire), and after it has fired (it does not end); a moment of calm; a restart; a partition that moves to another process; a process that lost its partition and shows old
numbers once; a fresh start of Prometheus. Taken away from each in turn, and seen red: that it waits (`for`), that it goes on for a while (`keep_firing_for`), that
missing numbers keep it, that a place is one place whoever shows it (`max without`).

| alert | severity | stays quiet | because of | without it |
|---|---|---|---|---|
";

/// The document.
pub fn markdown() -> Result<String, Failed> {
    let mut text = String::from(HEAD);
    text.push_str(LIFE);
    let of_business = rules(BUSINESS)?;
    for subject in subjects() {
        let severity = severity(&of_business, subject.alert)?;
        for guard in subject.guards {
            let _ = writeln!(
                text,
                "| `{}` | {severity} | {} | `{}` | fires: red |",
                subject.alert,
                guard.name,
                last_line(guard.text)
            );
        }
    }
    text.push_str(
        "\n## About the data\n\nScenarios by hand: [health.test.yml](../deploy/prometheus/tests/health.test.yml).\n\n",
    );
    text.push_str(
        "| alert | severity | tried against | guards that were taken away, and turned it red |\n|---|---|---|---|\n",
    );
    let of_data = rules(HEALTH)?;
    for alert in of_data.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        let guards: Vec<String> = health::guards_of(alert).map(|guard| format!("`{}`", last_line(guard))).collect();
        let tried = health::scenarios_of(alert)?.join("; ");
        let guards = if guards.is_empty() { "none of its own".to_owned() } else { guards.join(", ") };
        let _ = writeln!(text, "| `{alert}` | {} | {tried} | {guards} |", severity(&of_data, alert)?);
    }
    let recorded: Vec<String> = health::guards_of("").map(|guard| format!("`{}`", last_line(guard))).collect();
    let _ = writeln!(text, "\nTaken away from what they share, and seen red: {}.", recorded.join(", "));
    text.push_str(business::REAL);
    Ok(text)
}

fn severity<'a>(rules: &'a str, alert: &str) -> Result<&'a str, Failed> {
    let text = rules_of(rules, alert)?;
    let line = text.lines().find_map(|line| line.trim().strip_prefix("severity: "));
    Ok(line.ok_or(format!("{alert} has no severity"))?)
}

/// A guard in one line of a table: its last line says most.
fn last_line(guard: &str) -> String {
    let mut lines = guard
        .lines()
        .map(str::trim)
        .filter(|line| !matches!(*line, "or" | "and ignoring (metric_set)" | "and ignoring (window, metric_set)"));
    lines.next_back().unwrap_or_default().replace('|', "\\|")
}
