//! What a replay prints: the records of 4.1 in their order, as NDJSON, a table or CSV, and the summary.

use super::Tally;
use crate::memory::OwnedRecord;
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Map, Value, json};
use std::io::{self, BufWriter, Write};
use std::time::Duration;

/// Prints records, ordered bytewise by metric set, window, start, group-by and values.
pub(super) fn print(records: Vec<OwnedRecord>, format: &str) -> io::Result<()> {
    let mut lines: Vec<(Vec<Vec<u8>>, Vec<u8>)> =
        records.into_iter().filter_map(|record| Some((order(&record.key?)?, record.value?))).collect();
    lines.sort_unstable();
    let mut out = BufWriter::new(io::stdout().lock());
    match format {
        "table" => writeln!(out, "{}", table(&lines))?,
        "csv" => csv(&lines, &mut out)?,
        _ => {
            for (_, value) in &lines {
                out.write_all(value)?;
                out.write_all(b"\n")?;
            }
        }
    }
    out.flush()
}

/// The parts of a record's key, decoded; `None` for the key of a watermark.
fn order(key: &[u8]) -> Option<Vec<Vec<u8>>> {
    if key == crate::aggregate::WATERMARK_KEY.as_bytes() {
        return None;
    }
    Some(key.split(|byte| *byte == b'|').map(percent_decode).collect())
}

fn percent_decode(part: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(part.len());
    let mut rest = part;
    while let [first, after @ ..] = rest {
        let pair = after.get(..2).filter(|_| *first == b'%').and_then(|pair| std::str::from_utf8(pair).ok());
        match pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                rest = &after[2..];
            }
            None => {
                decoded.push(*first);
                rest = after;
            }
        }
    }
    decoded
}

fn parse(value: &[u8]) -> Map<String, Value> {
    match serde_json::from_slice(value) {
        Ok(Value::Object(record)) => record,
        _ => Map::new(),
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}

/// (name with its key, figure) of every figure of a record.
fn figures(record: &Map<String, Value>) -> Vec<(String, Value)> {
    let mut figures = Vec::new();
    for (name, figure) in record.get("figures").and_then(Value::as_object).into_iter().flatten() {
        if figure.get("value").is_some() {
            figures.push((name.clone(), figure.clone()));
            continue;
        }
        for (key, figure) in figure.as_object().into_iter().flatten() {
            figures.push((format!("{name}[{key}]"), figure.clone()));
        }
    }
    figures
}

fn slice(record: &Map<String, Value>) -> String {
    let slice = &record["slice"];
    let values: Vec<String> = slice["values"].as_object().into_iter().flatten().map(|(_, value)| text(value)).collect();
    if values.is_empty() { text(&slice["by"]) } else { format!("{} {}", text(&slice["by"]), values.join(" / ")) }
}

/// For people: one line per figure, four digits, with its sample and its interval.
fn table(lines: &[(Vec<Vec<u8>>, Vec<u8>)]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["metric set", "window", "start", "slice", "figure", "value", "95 % interval", "n", ""]);
    for (_, value) in lines {
        let record = parse(value);
        let window = &record["window"];
        let place = [text(&record["metric_set"]), text(&window["name"]), text(&window["start"]), slice(&record)];
        let figures = figures(&record);
        if figures.is_empty() {
            let samples = record["samples"].to_string();
            table.add_row(place.iter().cloned().chain([
                String::new(),
                String::new(),
                String::new(),
                samples,
                String::new(),
            ]));
        }
        for (name, figure) in figures {
            let number = |name: &str| figure.get(name).and_then(Value::as_f64).map(|value| format!("{value:.4}"));
            let interval = number("lower").zip(number("upper")).map(|(lower, upper)| format!("{lower} .. {upper}"));
            let rest = [
                name,
                number("value").unwrap_or_default(),
                interval.unwrap_or_default(),
                figure["samples"].to_string(),
                figure.get("sufficiency").map(text).unwrap_or_default(),
            ];
            table.add_row(place.iter().cloned().chain(rest));
        }
    }
    table
}

/// For spreadsheets: one line per count and per figure, nothing rounded.
fn csv(lines: &[(Vec<Vec<u8>>, Vec<u8>)], out: &mut dyn Write) -> io::Result<()> {
    let mut writer = csv::Writer::from_writer(out);
    let columns = [
        "metric_set",
        "window",
        "start",
        "end",
        "slice",
        "kind",
        "name",
        "value",
        "numerator",
        "denominator",
        "samples",
        "lower",
        "upper",
        "sufficiency",
    ];
    writer.write_record(columns)?;
    for (_, value) in lines {
        let record = parse(value);
        let window = &record["window"];
        let place = [
            text(&record["metric_set"]),
            text(&window["name"]),
            text(&window["start"]),
            text(&window["end"]),
            slice(&record),
        ];
        let mut counts = Vec::new();
        flatten("", &record["counts"], &mut counts);
        for (name, count) in counts {
            let rest = ["count".to_string(), name, count];
            writer.write_record(place.iter().cloned().chain(rest).chain(vec![String::new(); 6]))?;
        }
        for (name, figure) in figures(&record) {
            let field = |name: &str| figure.get(name).map(text).unwrap_or_default();
            let rest = ["value", "numerator", "denominator", "samples", "lower", "upper", "sufficiency"].map(field);
            writer.write_record(place.iter().cloned().chain(["figure".to_string(), name]).chain(rest))?;
        }
    }
    writer.flush()
}

fn flatten(prefix: &str, counts: &Value, into: &mut Vec<(String, String)>) {
    for (name, value) in counts.as_object().into_iter().flatten() {
        let name = if prefix.is_empty() { name.clone() } else { format!("{prefix}[{name}]") };
        match value {
            Value::Object(_) => flatten(&name, value, into),
            value => into.push((name, value.to_string())),
        }
    }
}

/// What became of the items, as one line of JSON.
pub(super) fn summary(tally: &Tally, took: Duration) -> String {
    let totals = &tally.totals;
    let by_reason: Map<String, Value> =
        tally.rejected.iter().map(|(reason, count)| (reason.name().to_string(), (*count).into())).collect();
    json!({
        "records": totals.records,
        "items": {
            "consumed": totals.consumed(),
            "accepted": totals.accepted,
            "late": totals.late,
            "duplicate": totals.duplicate,
            "rejected": totals.rejected,
            "skipped": totals.skipped,
        },
        "rejected_by_reason": by_reason,
        "seconds": took.as_secs_f64(),
    })
    .to_string()
}
