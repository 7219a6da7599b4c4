//! The published records against their schemas: real output of every kind is valid, and what is not a record is
//! refused. The schemas are closed, so that a member that nobody described cannot slip out.

use std::collections::BTreeSet;

use jsonschema::Validator;
use libtest_mimic::{Failed, Trial};
use serde_json::Value;
use touchstone::engine::time::{HOUR, MINUTE, SECOND};
use touchstone::metrics::catalogue::FIGURES;
use touchstone::metrics::{Settings, registry};

use crate::events::{json, touchpoint};
use crate::pipeline::Pipeline;
use crate::process;

pub fn tests() -> Vec<Trial> {
    let trial = |name: &str, test: fn() -> Result<(), Failed>| Trial::test(format!("schema::{name}"), test);
    vec![
        trial("holds_what_replay_prints", replayed),
        trial("holds_what_the_service_publishes", published),
        trial("refuses_what_is_no_record", refused),
        trial("names_every_count_and_every_figure_and_no_other", complete),
    ]
}

fn read(name: &str) -> Value {
    let file = format!("{}/schema/{name}.schema.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file}: {error}"));
    serde_json::from_str(&text).expect("a schema is JSON")
}

fn validator(name: &str) -> Validator {
    jsonschema::validator_for(&read(name)).expect("a valid schema")
}

fn valid(validator: &Validator, record: &Value) {
    let errors: Vec<String> =
        validator.iter_errors(record).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?}\n{record}");
}

/// Enough events of every kind, all within three hours, that every figure is there, with its interval.
fn events(start: i64) -> impl Iterator<Item = (i64, String)> {
    (0..3_000i64).map(move |number| {
        let bytes = std::array::from_fn(|place| xxhash_rust::xxh64::xxh64(&number.to_le_bytes(), place as u64) as u8);
        let time = start + number * 3 * SECOND + number % 7 * SECOND;
        (time, json(&touchpoint(&number.to_string(), time, &bytes)))
    })
}

/// The names of the figures in some records.
fn figures(records: &[Value]) -> BTreeSet<String> {
    let figures = records.iter().filter_map(|record| record["figures"].as_object());
    figures.flat_map(|figures| figures.keys().cloned()).collect()
}

fn replayed() -> Result<(), Failed> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("events.ndjson");
    let lines: Vec<String> = events(1_711_843_200_000).map(|(_, line)| line).collect();
    std::fs::write(&file, lines.join("\n"))?;
    let file = file.to_string_lossy();
    let windows = ["total", "calendar_day", "1m", "15m", "1h", "1d", "7d", "28d"];
    let slices = ["all", "channel", "queue", "team", "region", "segment", "agent", "topic"];
    let arguments =
        [&["replay", &*file, "--time-zone", "Europe/Kyiv", "--window"], &windows[..], &["--slice"], &slices];
    let output = process::run(&arguments.concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let records: Vec<Value> =
        String::from_utf8(output.stdout)?.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let validator = validator("cx.aggregate.v1");
    records.iter().for_each(|record| valid(&validator, record));
    let names: BTreeSet<&str> = records.iter().filter_map(|record| record["window"]["name"].as_str()).collect();
    assert_eq!(names, windows.into(), "every window was printed");
    assert!(records.iter().any(|record| record["window"]["zone"] == "Europe/Kyiv"));
    let known: BTreeSet<String> = FIGURES.iter().map(|figure| figure.name.to_string()).collect();
    assert_eq!(figures(&records), known, "every figure was printed");
    Ok(())
}

fn published() -> Result<(), Failed> {
    let start = 1_700_000_000_000;
    let config = "
        [service]
        instance = 'test'
        [topics]
        replication_factor = 1
        [timing]
        publish_interval = '1m'
        [metrics]
        service_level_formula = 5
        [[metrics.queue]]
        queue = 'PS'
        short_abandon = '2s'
        [[windows]]
        name = '15m'
        size = '15m'
        slide = '5m'
        [[windows]]
        name = 'kyiv'
        calendar_day = 'Europe/Kyiv'
        [[input]]
        name = 'calls'
        topic = 'calls'
    ";
    let mut pipeline = Pipeline::new(config, 1, start + 4 * HOUR);
    for (number, (_, line)) in events(start).enumerate() {
        pipeline.produce(0, &line);
        if number % 100 == 0 {
            pipeline.clock.advance(MINUTE);
            pipeline.step();
        }
    }
    pipeline.clock.advance(30 * HOUR);
    pipeline.step_until("a day is final", |pipeline| pipeline.finals().keys().any(|key| key.contains("|kyiv|")));
    let [aggregates, watermarks] = ["cx.aggregate.v1", "cx.watermark.v1"].map(validator);
    let (mut states, mut closed) = (BTreeSet::new(), 0);
    for record in pipeline.topic(&pipeline.settings.layout.names.aggregates) {
        let value: Value = serde_json::from_slice(&record.value.unwrap_or_default())?;
        if record.key.as_deref() == Some(b"_watermark") {
            closed += usize::from(value["metric_sets"].as_object().is_some_and(|sets| !sets.is_empty()));
            valid(&watermarks, &value);
        } else {
            states.insert(value["state"].as_str().unwrap_or_default().to_string());
            valid(&aggregates, &value);
        }
    }
    assert_eq!(states, ["final".to_string(), "provisional".to_string()].into());
    assert!(closed > 5, "{closed} records say how far time is closed");
    Ok(())
}

/// Changes to a valid record that make it none.
fn refused() -> Result<(), Failed> {
    let record: Value = serde_json::from_str(
        r#"{"schema":"cx.aggregate.v1","metric_set":"csat",
            "window":{"name":"1h","start":"1999-01-03T07:00:00Z","end":"1999-01-03T08:00:00Z"},
            "slice":{"by":"channel","values":{"channel":"web"}},"state":"final","samples":2,
            "counts":{"answers":{"1..5":{"4":1,"5":1}}},
            "figures":{"csat_ratio":{"value":1.0,"numerator":2,"denominator":2,"samples":2,"lower":0.3,"upper":1.0,"sufficiency":"thin"}},
            "definitions":{"id":"9f2c01d4"}}"#,
    )?;
    let aggregates = validator("cx.aggregate.v1");
    valid(&aggregates, &record);
    let objects = [
        "",
        "/window",
        "/slice",
        "/slice/values",
        "/counts",
        "/counts/answers",
        "/counts/answers/1..5",
        "/figures",
        "/figures/csat_ratio",
        "/definitions",
    ];
    for object in objects {
        let mut changed = record.clone();
        let object_of = changed.pointer_mut(object).and_then(Value::as_object_mut).ok_or("an object")?;
        object_of.insert("unheard_of".into(), 1.into());
        assert!(!aggregates.is_valid(&changed), "an unknown key in {object:?}");
    }
    let members = ["schema", "metric_set", "window", "slice", "state", "samples", "counts", "figures", "definitions"];
    let inner = [
        "/window/name",
        "/window/start",
        "/window/end",
        "/slice/by",
        "/slice/values",
        "/counts/answers",
        "/definitions/id",
    ];
    let of_figure = ["value", "numerator", "denominator", "samples", "lower", "upper", "sufficiency"];
    let missing = members.map(|member| format!("/{member}")).into_iter();
    let missing =
        missing.chain(inner.map(String::from)).chain(of_figure.map(|member| format!("/figures/csat_ratio/{member}")));
    for path in missing {
        let mut changed = record.clone();
        let (object, member) = path.rsplit_once('/').unwrap_or_default();
        changed
            .pointer_mut(object)
            .and_then(Value::as_object_mut)
            .and_then(|object| object.remove(member))
            .ok_or("a member")?;
        assert!(!aggregates.is_valid(&changed), "without {path}");
    }
    for (path, value) in [
        ("/state", "closed".into()),
        ("/schema", "cx.aggregate.v2".into()),
        ("/metric_set", "nps".into()),
        ("/samples", 2.5.into()),
        ("/samples", (-1).into()),
        ("/counts/answers/1..5/4", "1".into()),
        ("/figures/csat_ratio/value", Value::Null),
        ("/figures/csat_ratio/value", 1.1.into()),
        ("/figures/csat_ratio/denominator", 0.into()),
        ("/figures/csat_ratio/sufficiency", "enough".into()),
        ("/window/start", "yesterday".into()),
        ("/definitions/id", "9f2c".into()),
    ] {
        let mut changed = record.clone();
        *changed.pointer_mut(path).ok_or("a member")? = value;
        assert!(!aggregates.is_valid(&changed), "{path} = {:?}", changed.pointer(path));
    }
    let watermark = r#"{"schema":"cx.watermark.v1","partition":0,"deltas_offset":7,"metric_sets":{"nps":{"watermark":"1999-01-03T07:00:00Z"}}}"#;
    let watermarks = validator("cx.watermark.v1");
    valid(&watermarks, &serde_json::from_str(watermark)?);
    for (from, to) in
        [("\"nps\"", "\"enps\""), ("watermark\":\"", "mark\":\""), ("\"partition\":0,", ""), (":7", ":-7")]
    {
        let changed = watermark.replacen(from, to, 2);
        assert!(!watermarks.is_valid(&serde_json::from_str(&changed)?), "{changed}");
    }
    Ok(())
}

fn complete() -> Result<(), Failed> {
    let schema = read("cx.aggregate.v1");
    let names = |set: &str, of: &str| -> BTreeSet<String> {
        let members = schema["$defs"][set]["properties"][of]["properties"].as_object();
        members.unwrap_or_else(|| panic!("{set} has no {of}")).keys().cloned().collect()
    };
    let sets = registry(&Settings::default());
    let known: Vec<&str> = sets.iter().map(|set| set.name()).collect();
    assert_eq!(schema["properties"]["metric_set"]["enum"], serde_json::json!(known));
    let chosen: Vec<Value> = known.iter().map(|set| serde_json::json!({"if": {"properties": {"metric_set": {"const": set}}}, "then": {"$ref": format!("#/$defs/{set}")}})).collect();
    assert_eq!(schema["allOf"], Value::from(chosen), "each set has its own counts and figures");
    for set in sets {
        let shape = set.shape();
        let counts = shape.counts.iter().filter(|count| count.published).map(|count| count.name);
        let counts = counts.chain(shape.tallies.iter().copied()).chain(shape.distributions.iter().copied());
        assert_eq!(names(set.name(), "counts"), counts.map(String::from).collect(), "counts of {}", set.name());
        let figures = FIGURES.iter().filter(|figure| figure.set == set.name()).map(|figure| figure.name.to_string());
        assert_eq!(names(set.name(), "figures"), figures.collect(), "figures of {}", set.name());
    }
    let watermark = read("cx.watermark.v1");
    let of_watermark = watermark["properties"]["metric_sets"]["properties"].as_object().ok_or("metric sets")?;
    assert_eq!(of_watermark.keys().map(String::as_str).collect::<BTreeSet<_>>(), known.into_iter().collect());
    Ok(())
}
