//! The dashboards that are shipped: they ask for what the service exports and for all of it, no number stands without its
//! evidence or outlives its data, Prometheus answers every query over the demo, and Grafana's own components draw them.

mod live;
mod promql;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::{Failed, Trial};
use serde_json::Value;
use touchstone::config::{self, Raw};
use touchstone::engine::slice::GroupBy;
use touchstone::export::FAMILIES;
use touchstone::metrics::catalogue::FIGURES;
use touchstone::metrics::{Settings, registry};

use promql::{Selector, asked};

pub fn tests() -> Vec<Trial> {
    vec![
        Trial::test("dashboards::every_panel_says_what_it_shows", panels),
        Trial::test("dashboards::nothing_old_looks_live", live_or_gone),
        Trial::test("dashboards::they_ask_for_what_is_exported", exported),
        Trial::test("dashboards::every_family_is_shown", shown),
        Trial::test("dashboards::every_score_has_its_evidence", evidence),
        Trial::test("dashboards::windows_are_those_that_are_exported", windows),
        Trial::test("dashboards::links_lead_somewhere", links),
        Trial::test("dashboards::build_py_makes_them", fresh),
        Trial::test("dashboards::every_query_answers", live::answers),
        Trial::test("dashboards::drawn", live::drawn),
    ]
}

/// Where the dashboards are, and what makes them.
fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/grafana")
}

/// A dashboard that is shipped.
struct Dashboard {
    name: &'static str,
    json: Value,
}

impl Dashboard {
    fn all() -> Vec<Dashboard> {
        let read = |name| {
            let file = directory().join(format!("dashboards/{name}.json"));
            let json = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
            Dashboard { name, json }
        };
        ["wallboard", "customer-experience", "pipeline-health"].map(read).into()
    }

    /// Rows and panels, each row followed by what it hides.
    fn everything(&self) -> Vec<&Value> {
        let top = list(&self.json["panels"]);
        top.iter().flat_map(|panel| std::iter::once(panel).chain(list(&panel["panels"]))).collect()
    }

    /// The panels, without rows.
    fn panels(&self) -> Vec<&Value> {
        self.everything().into_iter().filter(|panel| panel["type"] != "row").collect()
    }

    /// What is wrong is told with the dashboard's name and the panel's.
    fn place(&self, panel: &Value) -> String {
        format!("{}, {:?}", self.name, text(&panel["title"]))
    }

    fn variables(&self) -> &[Value] {
        list(&self.json["templating"]["list"])
    }

    fn variable(&self, name: &str) -> Option<&Value> {
        self.variables().iter().find(|variable| variable["name"] == name)
    }

    /// What a variable lets one choose, where its choices are fixed: windows, quantiles.
    fn choices(&self, variable: &str) -> Vec<String> {
        let options = self.variable(variable).map_or(&[][..], |variable| list(&variable["options"]));
        options.iter().map(|option| text(&option["value"]).to_owned()).collect()
    }

    /// Every query of every panel: (place, target, query).
    fn queries(&self) -> impl Iterator<Item = (String, &Value, &str)> {
        self.panels().into_iter().flat_map(|panel| {
            list(&panel["targets"]).iter().map(|target| (self.place(panel), target, text(&target["expr"])))
        })
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Every string in it, however deep.
fn strings<'a>(value: &'a Value, into: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => into.push(text),
        Value::Array(values) => values.iter().for_each(|value| strings(value, into)),
        Value::Object(values) => values.values().for_each(|value| strings(value, into)),
        _ => {}
    }
}

fn panels() -> Result<(), Failed> {
    let mut uids = BTreeSet::new();
    for dashboard in Dashboard::all() {
        let json = &dashboard.json;
        assert_eq!((json["schemaVersion"].as_i64(), &json["id"]), (Some(42), &Value::Null), "{}", dashboard.name);
        assert!(uids.insert(text(&json["uid"]).to_owned()), "{}: its uid is another's", dashboard.name);
        let mut ids = BTreeSet::new();
        for panel in dashboard.everything() {
            assert!(ids.insert(panel["id"].as_i64().unwrap()), "{}: its id is another's", dashboard.place(panel));
        }
        for panel in dashboard.panels() {
            let (place, defaults) = (dashboard.place(panel), &panel["fieldConfig"]["defaults"]);
            assert_ne!(text(&panel["title"]), "", "{place}");
            assert!(text(&panel["description"]).len() > 15, "{place}: no description");
            assert_ne!(text(&defaults["unit"]), "", "{place}: no unit");
            assert_eq!(text(&defaults["noValue"]), "no data", "{place}");
            let sources = list(&panel["targets"]).iter().chain([panel]).map(|of| text(&of["datasource"]["uid"]));
            assert!(sources.into_iter().all(|uid| uid == "${datasource}"), "{place}: a fixed data source");
            assert!(!list(&panel["targets"]).is_empty(), "{place}: no query");
            let refs: BTreeSet<&str> = list(&panel["targets"]).iter().map(|target| text(&target["refId"])).collect();
            assert_eq!(refs.len(), list(&panel["targets"]).len(), "{place}: two queries of one name");
        }
        let rows = list(&json["panels"]);
        for siblings in std::iter::once(rows).chain(rows.iter().map(|row| list(&row["panels"]))) {
            apart(&dashboard, siblings);
        }
    }
    Ok(())
}

/// No two panels lie over one another, and none leaves the grid.
fn apart(dashboard: &Dashboard, siblings: &[Value]) {
    let mut taken = BTreeMap::new();
    for panel in siblings {
        let at = |key: &str| panel["gridPos"][key].as_i64().unwrap();
        let place = dashboard.place(panel);
        assert!(at("x") >= 0 && at("x") + at("w") <= 24 && at("w") > 0 && at("h") > 0, "{place}: off the grid");
        for cell in (at("y")..at("y") + at("h")).flat_map(|y| (at("x")..at("x") + at("w")).map(move |x| (x, y))) {
            let there = taken.insert(cell, place.clone());
            assert!(there.is_none(), "{place} lies over {there:?}");
        }
    }
}

/// What says how things are now asks for an instant: over a range it would show the last value of a series that is gone.
/// What shows the past leaves a gap. And the age of the data stands first.
fn live_or_gone() -> Result<(), Failed> {
    for dashboard in Dashboard::all() {
        let panels = dashboard.panels();
        assert_eq!(panels[0]["title"], "Data age", "{}", dashboard.name);
        let stages = list(&panels[0]["fieldConfig"]["defaults"]["thresholds"]["steps"]);
        assert_eq!(stages.last().map(|stage| text(&stage["color"])), Some("red"), "{}", dashboard.name);
        for panel in panels {
            let over_time = matches!(text(&panel["type"]), "timeseries" | "heatmap");
            for target in list(&panel["targets"]) {
                let (instant, range) = (target["instant"] == true, target["range"] == true);
                assert_eq!((instant, range), (!over_time, over_time), "{}", dashboard.place(panel));
            }
            if panel["type"] == "timeseries" {
                let spans = &panel["fieldConfig"]["defaults"]["custom"]["spanNulls"];
                assert_eq!(spans, false, "{}: a line over a gap", dashboard.place(panel));
            }
        }
    }
    Ok(())
}

/// A family of `/metrics`, as the tests of queries need it.
struct Exported {
    /// Beside the dimensions of its slice.
    labels: BTreeSet<&'static str>,
    is_counter: bool,
    help: &'static str,
}

impl Exported {
    fn new(labels: &[&'static str], is_counter: bool, help: &'static str) -> Exported {
        Exported { labels: labels.iter().copied().collect(), is_counter, help }
    }
}

/// Every family, histograms by their three parts.
fn families() -> BTreeMap<String, Exported> {
    let keys: Vec<&str> = FIGURES.iter().filter_map(|figure| figure.key).collect();
    let mut families = BTreeMap::new();
    for family in FAMILIES {
        let mut labels: Vec<&str> = family.labels.split(", ").filter(|label| !label.is_empty()).collect();
        if labels.contains(&"figure") {
            labels.extend(&keys);
        }
        match family.kind {
            "histogram" => {
                for part in ["_sum", "_count", "_bucket"] {
                    labels.extend((part == "_bucket").then_some("le"));
                    families.insert(format!("{}{part}", family.name), Exported::new(&labels, true, family.help));
                }
            }
            kind => {
                families.insert(family.name.into(), Exported::new(&labels, kind == "counter", family.help));
            }
        }
    }
    for figure in FIGURES {
        let labels: Vec<&str> = ["window", "slice"].into_iter().chain(figure.key).collect();
        families.insert(format!("cx_{}", figure.name), Exported::new(&labels, false, figure.help));
    }
    for set in registry(&Settings::default()) {
        for count in set.shape().counts.iter().filter(|count| count.published) {
            let name = count.name.strip_suffix("_ms").map_or(count.name.into(), |name| format!("{name}_seconds"));
            families.insert(format!("cx_window_{name}"), Exported::new(&["window", "slice"], false, count.help));
        }
    }
    families
}

/// Families of a process, not of what it owns: each one's own value is asked for.
const OF_A_PROCESS: [&str; 7] = [
    "touchstone_build_info",
    "touchstone_series_left_out",
    "touchstone_worker_unavailable",
    "touchstone_commit_failures_total",
    "touchstone_commit_seconds_bucket",
    "touchstone_commit_seconds_count",
    "touchstone_commit_seconds_sum",
];

fn exported() -> Result<(), Failed> {
    let families = families();
    let defaults = config::parse("")?;
    let mut known: BTreeSet<&str> = families.values().flat_map(|family| &family.labels).copied().collect();
    known.extend(["job", "instance", "pod", "severity", "alertname", "alertstate"]);
    let group_bys = GroupBy::known();
    known.extend(group_bys.iter().flat_map(|by| &by.dimensions).map(|dimension| dimension.name()));
    for dashboard in Dashboard::all() {
        for (place, target, query) in dashboard.queries() {
            let asked = asked(query);
            assert!(!asked.selectors.is_empty(), "{place}: {query}");
            for selector in &asked.selectors {
                right(&dashboard, &families, &defaults, selector).map_err(|error| format!("{place}: {error}"))?;
                first(&families, selector).map_err(|error| format!("{place}: {error}"))?;
            }
            let legend = text(&target["legendFormat"]);
            let in_legend = legend.split("{{").skip(1).filter_map(|part| part.split("}}").next());
            for label in asked.labels.iter().map(String::as_str).chain(in_legend) {
                assert!(known.contains(label), "{place}: there is no label {label}");
            }
        }
        for variable in dashboard.variables().iter().filter(|variable| variable["type"] == "query") {
            for selector in asked(text(&variable["definition"])).selectors {
                right(&dashboard, &families, &defaults, &selector)?;
            }
        }
    }
    Ok(())
}

/// Whether the family exists and has these labels with values that occur.
fn right(
    dashboard: &Dashboard,
    families: &BTreeMap<String, Exported>,
    defaults: &Raw,
    selector: &Selector,
) -> Result<(), String> {
    let lists = selector.before.ends_with("label_values(");
    if !lists && !selector.matchers.iter().any(|matcher| matcher.label == "job") {
        return Err(format!("{} of which job?", selector.family));
    }
    if ["up", "ALERTS"].contains(&selector.family.as_str()) {
        return Ok(());
    }
    let family = families.get(&selector.family).ok_or_else(|| format!("there is no family {}", selector.family))?;
    let told = |label: &str| selector.matchers.iter().find(|matcher| matcher.label == label);
    let by = told("slice").map(|matcher| matcher.value.as_str());
    let by = match by {
        Some(name) if !defaults.slices.group_by.iter().any(|on| on == name) => {
            return Err(format!("{} has no slice {name} by default", selector.family));
        }
        Some(name) => GroupBy::parse(name),
        None if family.labels.contains("slice") && selector.family.starts_with("cx_") => {
            return Err(format!("{} mixes totals with their parts: which slice?", selector.family));
        }
        None => None,
    };
    for matcher in &selector.matchers {
        let label = matcher.label.as_str();
        let of_slice = by.iter().flat_map(|by| &by.dimensions).any(|dimension| dimension.name() == label);
        if label != "job" && !of_slice && !family.labels.contains(label) {
            return Err(format!("{} has no label {label} there", selector.family));
        }
        let values = chosen(dashboard, &matcher.value);
        let unknown = |known: &dyn Fn(&str) -> bool| values.iter().find(|value| !known(value)).cloned();
        let wrong = match label {
            "figure" => {
                unknown(&|value| FIGURES.iter().any(|figure| figure.name == value && figure.interval != "none"))
            }
            "metric_set" => unknown(&|value| registry(&Settings::default()).iter().any(|set| set.name() == value)),
            "q" => unknown(&|value| ["0.5", "0.9", "0.95", "0.99"].contains(&value)),
            // The help text names every value.
            "result" | "phase" => unknown(&|value| family.help.contains(value)),
            _ => None,
        };
        if let Some(value) = wrong {
            return Err(format!("{} never has {label}={value:?}", selector.family));
        }
    }
    if !family.labels.contains("window") {
        return Ok(());
    }
    let window = told("window");
    let Some(window) = window else {
        // Where the variables ask for the names of slices, any window will do.
        return if lists { Ok(()) } else { Err("which window?".into()) };
    };
    let wide = by.is_some_and(|by| by.is_wide());
    let there = if wide { &defaults.export.wide } else { &defaults.export.narrow };
    let chosen = chosen(dashboard, &window.value);
    match chosen.iter().find(|window| !there.contains(window)) {
        _ if chosen.is_empty() => Err(format!("{} is no variable of windows", window.value)),
        Some(window) => Err(format!("{} has no window {window} there", selector.family)),
        None => Ok(()),
    }
}

/// The values that a condition lets through: those of a variable, or those of `one|another`.
fn chosen(dashboard: &Dashboard, value: &str) -> Vec<String> {
    match value.strip_prefix('$') {
        Some(variable) => dashboard.choices(variable),
        None => value.split('|').map(str::to_owned).collect(),
    }
}

/// Two processes show a partition that moves: one of them is chosen before anything else is done. Counters only as rates.
fn first(families: &BTreeMap<String, Exported>, selector: &Selector) -> Result<(), String> {
    let Some(family) = families.get(&selector.family) else { return Ok(()) };
    let mut before = selector.before.as_str();
    let rated = ["rate(", "increase("].into_iter().find_map(|function| before.strip_suffix(function));
    if family.is_counter != rated.is_some() {
        return Err(format!("{}: a counter is to be rated, and nothing else", selector.family));
    }
    before = rated.unwrap_or(before);
    let chosen = ["max without (instance, pod) (", "min without (instance, pod) ("];
    let is_chosen = chosen.into_iter().any(|chosen| before.ends_with(chosen));
    if is_chosen == OF_A_PROCESS.contains(&selector.family.as_str()) {
        return Err(format!("{}: of whom, where two processes show it?", selector.family));
    }
    Ok(())
}

fn shown() -> Result<(), Failed> {
    let dashboards = Dashboard::all();
    let queries = dashboards.iter().flat_map(Dashboard::queries);
    let asked: BTreeSet<String> =
        queries.flat_map(|(_, _, query)| asked(query).selectors).map(|selector| selector.family).collect();
    let histograms: Vec<&str> =
        FAMILIES.iter().filter(|family| family.kind == "histogram").map(|family| family.name).collect();
    let parts = |name: &str| histograms.iter().any(|histogram| name.strip_prefix(histogram).is_some());
    let missing: Vec<String> = families().into_keys().filter(|name| !parts(name) && !asked.contains(name)).collect();
    assert!(missing.is_empty(), "no dashboard shows {missing:?}");
    for histogram in histograms {
        assert!(asked.contains(&format!("{histogram}_bucket")), "no dashboard shows {histogram}");
    }
    Ok(())
}

/// Scores, shares and means are split by their evidence, or stand beside their n. Shares that add up to all of something
/// have their n in the panel beside them.
fn evidence() -> Result<(), Failed> {
    let adds_up = |name: &str| name == "channel_share_ratio" || name.starts_with("nps_") && name != "nps_ratio";
    let is_score = |family: &str| {
        FIGURES.iter().any(|figure| family.strip_prefix("cx_") == Some(figure.name) && !adds_up(figure.name))
    };
    let no_counts = ["lower", "upper", "covered_ratio", "end_timestamp_seconds", "final"];
    let is_count = |family: &str| family.strip_prefix("cx_window_").is_some_and(|name| !no_counts.contains(&name));
    let mut scores = 0;
    for dashboard in Dashboard::all() {
        for panel in dashboard.panels() {
            let mut counted = false;
            for target in list(&panel["targets"]) {
                let asked = asked(text(&target["expr"])).selectors;
                let has = |is: &dyn Fn(&str) -> bool| asked.iter().any(|selector| is(&selector.family));
                counted |= has(&is_count) && !has(&is_score);
            }
            for target in list(&panel["targets"]) {
                let (query, name) = (text(&target["expr"]), text(&target["refId"]));
                if !asked(query).selectors.iter().any(|selector| is_score(&selector.family)) {
                    continue;
                }
                scores += 1;
                let split = name.starts_with("sure") && query.contains(">= 30")
                    || name.starts_with("thin") && query.contains("unless on");
                assert!(split || counted, "{}: {name} without its n", dashboard.place(panel));
            }
        }
    }
    assert!(scores > 100, "{scores} queries for scores");
    Ok(())
}

fn windows() -> Result<(), Failed> {
    let defaults = config::parse("")?;
    for dashboard in Dashboard::all() {
        for (variable, windows) in [
            ("window", &defaults.export.wide),
            ("survey_window", &defaults.export.wide),
            ("recent", &defaults.export.narrow),
        ] {
            let there = dashboard.choices(variable);
            assert!(there.is_empty() || there == *windows, "{}: {variable} is {there:?}", dashboard.name);
        }
        assert_eq!(dashboard.choices("window").is_empty(), dashboard.name == "pipeline-health");
    }
    Ok(())
}

/// Links name dashboards, variables and runbooks that exist.
fn links() -> Result<(), Failed> {
    let operations = std::fs::read_to_string(directory().join("../../docs/OPERATIONS.md"))?;
    let anchor = |heading: &str| heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
    let anchors: BTreeSet<String> = operations.lines().filter(|line| line.starts_with('#')).map(anchor).collect();
    let dashboards = Dashboard::all();
    let mut runbooks = 0;
    for dashboard in &dashboards {
        let mut found = Vec::new();
        strings(&dashboard.json, &mut found);
        for url in found.into_iter().filter(|text| text.starts_with("/d/") || text.starts_with("${runbook")) {
            if let Some((_, wanted)) = url.split_once("${runbook:raw}#") {
                assert!(anchors.contains(wanted), "{}: no heading of the runbook is {wanted}", dashboard.name);
                runbooks += 1;
            }
            let Some((path, query)) = url.split_once('?') else { continue };
            let target = dashboards.iter().find(|to| path == format!("/d/{}/{}", text(&to.json["uid"]), to.name));
            let target = target.ok_or_else(|| format!("{}: {url} leads nowhere", dashboard.name))?;
            for part in query.split('&').filter(|part| *part != "${__url_time_range}") {
                let whole = part.strip_prefix("${").and_then(|part| part.strip_suffix(":queryparam}"));
                let given = part.strip_prefix("var-").and_then(|part| part.split('=').next());
                assert!(whole.is_none_or(|name| dashboard.variable(name).is_some()), "{}: {part}", dashboard.name);
                let name = whole.or(given).ok_or_else(|| format!("{}: {part} in {url}", dashboard.name))?;
                assert!(target.variable(name).is_some(), "{}: {} has no variable {name}", dashboard.name, target.name);
            }
        }
    }
    assert!(runbooks > 20, "{runbooks} links to runbooks");
    Ok(())
}

fn fresh() -> Result<(), Failed> {
    let made = tempfile::tempdir()?;
    let output = Command::new("python3").arg(directory().join("build.py")).arg("--into").arg(made.path()).output()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory().join("dashboards"))? {
        let name = entry?.file_name();
        let there = std::fs::read_to_string(directory().join("dashboards").join(&name))?;
        let new = std::fs::read_to_string(made.path().join(&name)).unwrap_or_default();
        assert!(there == new, "{name:?} is not what deploy/grafana/build.py makes now: run it");
        names.push(name);
    }
    assert_eq!(names.len(), std::fs::read_dir(made.path())?.count(), "{names:?}");
    Ok(())
}
