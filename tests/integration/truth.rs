//! `replay` of every real data set against an independent computation from its raw rows (tests/data/truth.py,
//! which also reproduces the published truth of each): counts exactly, ratios to 1e-12, quantiles to 0.6 %.

use crate::{data, process};
use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use libtest_mimic::{Failed, Trial};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

pub fn tests() -> Vec<Trial> {
    let sets: [(&str, &[&str], &[&str]); 5] = [
        ("bank_calls_1999", &["january.txt.gz", "october.txt.gz"], &["--input-format", "tsv"]),
        ("la311_2017", &["MyLA311_Service_Request_Data_2017_Subset.csv.gz"], &[]),
        ("sfo_survey", &["2017_SFO_Customer_Survey_20250817.csv", "2018_SFO_Customer_Survey_20250817.csv"], &[]),
        ("web_apache_logs", &["apache_logs.gz"], &["--input-format", "lines"]),
        ("reviews_anon", &["anonreviews.csv.bz2"], &[]),
    ];
    sets.into_iter()
        .map(|(name, files, options)| Trial::test(format!("truth::{name}"), move || compare(name, files, options)))
        .collect()
}

fn compare(name: &str, files: &[&str], options: &[&str]) -> Result<(), Failed> {
    let Some(directory) = data::directory(name) else { return Ok(()) };
    let truth = truth(name, &directory)?;
    let zone = truth["zone"].as_str().unwrap();
    let scratch = tempfile::tempdir()?;
    let summary = scratch.path().join("summary.json");
    let summary = summary.to_string_lossy();
    let mapping = format!("{}/config/mappings/{name}.jq", env!("CARGO_MANIFEST_DIR"));
    let files: Vec<String> = files.iter().map(|file| directory.join(file).to_string_lossy().into_owned()).collect();
    let mut command: Vec<&str> = vec!["replay"];
    command.extend(files.iter().map(String::as_str));
    command.extend(["--mapping", &mapping, "--time-zone", zone, "--summary", &summary]);
    command.extend(options);
    let replayed = process::run(&command);
    assert!(replayed.status.success(), "{}", String::from_utf8_lossy(&replayed.stderr));
    compare_items(&truth["items"], &serde_json::from_str(&std::fs::read_to_string(&*summary)?)?);
    let mut cells = records(&String::from_utf8(replayed.stdout)?, zone);
    let expected = truth["cells"].as_object().unwrap();
    assert!(!expected.is_empty());
    for (key, expected) in expected {
        let found = cells.remove(key).unwrap_or_else(|| panic!("{key} is missing"));
        compare_cell(key, expected, &found);
    }
    assert!(cells.is_empty(), "not in the truth: {:?}", cells.keys().take(5).collect::<Vec<_>>());
    Ok(())
}

fn truth(name: &str, directory: &Path) -> Result<Value, Failed> {
    let program = format!("{}/tests/data/truth.py", env!("CARGO_MANIFEST_DIR"));
    let made = Command::new("python3").arg(program).arg(directory.parent().unwrap()).arg(name).output();
    let made = made.map_err(|error| format!("python3 is needed to compute the truth of {name}: {error}"))?;
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Ok(serde_json::from_slice(&made.stdout)?)
}

fn compare_items(truth: &Value, summary: &Value) {
    for door in ["consumed", "accepted", "skipped"] {
        assert_eq!(summary["items"][door], truth[door], "{door}");
    }
    assert_eq!(summary["rejected_by_reason"], truth["rejected"], "rejected by reason");
    assert_eq!((&summary["items"]["late"], &summary["items"]["duplicate"]), (&0.into(), &0.into()));
}

/// Records by the truth's key: `contacts|calendar_day|1999-01-03|queue|voice|PS`.
fn records(lines: &str, zone: &str) -> BTreeMap<String, Value> {
    let zone = TimeZoneDatabase::bundled().get(zone).unwrap();
    lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|record| (key(&record, &zone), record))
        .collect()
}

fn key(record: &Value, zone: &TimeZone) -> String {
    let text = |value: &Value| value.as_str().unwrap().to_string();
    let window = text(&record["window"]["name"]);
    let mut parts = vec![text(&record["metric_set"]), window.clone()];
    if window == "calendar_day" {
        let start: Timestamp = text(&record["window"]["start"]).parse().unwrap();
        parts.push(zone.to_datetime(start).date().to_string());
    }
    let by = text(&record["slice"]["by"]);
    let values = record["slice"]["values"].as_object().unwrap();
    let dimensions: &[&str] = match by.as_str() {
        "channel" => &["channel"],
        "queue" => &["channel", "queue"],
        _ => &[],
    };
    parts.push(by);
    parts.extend(dimensions.iter().map(|dimension| encode(values[*dimension].as_str().unwrap())));
    parts.join("|")
}

fn encode(value: &str) -> String {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    value
        .bytes()
        .map(|byte| if unreserved(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

fn compare_cell(key: &str, expected: &Value, found: &Value) {
    assert_eq!(found["state"], "final", "{key}");
    assert_eq!(found["samples"], expected["samples"], "{key}: samples");
    assert_eq!(found["counts"], expected["counts"], "{key}: counts");
    let mut figures = found["figures"].as_object().unwrap().clone();
    for (name, ratio) in members(expected, "ratios").into_iter().chain(members(expected, "means")) {
        let figure = figures.remove(&name).unwrap_or_else(|| panic!("{key}: {name} is missing"));
        if ratio.get("value").is_some() {
            compare_figure(&format!("{key} {name}"), &ratio, &figure);
            continue;
        }
        assert_eq!(figure.as_object().unwrap().len(), ratio.as_object().unwrap().len(), "{key} {name}");
        for (of, ratio) in ratio.as_object().unwrap() {
            compare_figure(&format!("{key} {name} {of}"), ratio, &figure[of]);
        }
    }
    for (name, quantiles) in members(expected, "quantiles") {
        let figure = figures.remove(&name).unwrap_or_else(|| panic!("{key}: {name} is missing"));
        for q in ["0.5", "0.9", "0.95", "0.99"] {
            let (truth, value) = (quantiles[q].as_f64().unwrap(), figure[q]["value"].as_f64().unwrap());
            assert!((value - truth).abs() <= 0.006 * truth, "{key} {name} {q}: {value}, truth {truth}");
            assert_eq!(figure[q]["samples"], quantiles["samples"], "{key} {name} {q}");
        }
    }
    assert!(figures.is_empty(), "{key}: figures that the truth does not have: {:?}", figures.keys());
}

fn members(cell: &Value, name: &str) -> Map<String, Value> {
    cell.get(name).and_then(Value::as_object).cloned().unwrap_or_default()
}

fn compare_figure(what: &str, truth: &Value, found: &Value) {
    let value = |figure: &Value| figure["value"].as_f64().unwrap_or_else(|| panic!("{what}: no value in {figure}"));
    let (expected, value) = (value(truth), value(found));
    assert!((value - expected).abs() <= 1e-12 * expected.abs().max(1.0), "{what}: {value}, truth {expected}");
    assert_eq!(found.get("numerator"), truth.get("numerator"), "{what}: numerator");
    assert_eq!(found["denominator"], truth["denominator"], "{what}: denominator");
}
