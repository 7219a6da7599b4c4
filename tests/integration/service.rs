//! The service on a real Kafka, end to end: what it publishes is what `replay` gives, to the byte.

use crate::process::{self, Service, wait_for};
use crate::setup::{Setup, Shape};
use crate::{broker, data};
use libtest_mimic::{Failed, Trial};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use touchstone::engine::time::rfc3339;
use touchstone::files::InputFile;
use touchstone::mapping::{Mapping, MappingLimits, Provenance};
use touchstone::touchpoint::{DecodeContext, Item, Limits, decode_event};

pub fn tests() -> Vec<Trial> {
    [
        Trial::test("service::a_month_through_kafka_is_what_replay_gives", a_month),
        Trial::test("service::a_quiet_stream_closes", a_quiet_stream),
        Trial::test("service::generate_writes_to_kafka_what_it_writes_to_a_file", generated),
    ]
    .into_iter()
    .map(|trial| trial.with_ignored_flag(broker::is_left_out()))
    .collect()
}

/// One event: its time, its customer, its JSON.
struct Event {
    time: i64,
    customer: String,
    json: String,
}

/// January of the bank as CloudEvents, sorted by event time.
fn january(directory: &Path) -> Vec<Event> {
    let source = std::fs::read_to_string(repository("config/mappings/bank_calls_1999.jq")).unwrap();
    let mapping = Mapping::compile(&source).unwrap();
    let limits = Limits { record_bytes_max: 1 << 20 };
    let bounds = MappingLimits { input: limits, outputs_max: 10, output_bytes_max: 1 << 20 };
    let context = DecodeContext { now: i64::MAX / 2, max_future_ms: 0, limits };
    let file = directory.join("january.txt.gz");
    let format = touchstone::files::FileFormat::Tsv;
    let mut file = InputFile::open(&file.to_string_lossy(), Some(format), 1 << 20).unwrap();
    let mut events = Vec::new();
    while let Some(row) = file.next_row().unwrap() {
        let provenance = Provenance::File { file: "january.txt.gz", row: row.number };
        let mut add = |json: &str| {
            let Item::Touchpoint(touchpoint) = decode_event(json, None, &context) else { return };
            let customer = touchpoint.customer_id.as_deref().unwrap_or(&touchpoint.id).to_string();
            events.push(Event { time: touchpoint.time, customer, json: json.to_string() });
        };
        mapping.map(row.content.unwrap(), &provenance, &bounds, &mut add).unwrap();
    }
    events.sort_by_key(|event| event.time);
    events
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn setup(partitions: i32, timing: &str, input: &str) -> Result<Setup, Failed> {
    let address = broker::address()?;
    Setup::new(&Shape { address: &address, via: &address, replication: 1, partitions, timing, input, more: "" })
}

fn total(services: &[&Service], family: &str, part: &str) -> f64 {
    services.iter().map(|service| service.sum(family, part)).sum()
}

/// A month of calls through two processes, one of which is killed in the middle, with an event of 2099 and one
/// of 1970 among them: the final records are those of `replay`, byte for byte, and the doors add up.
fn a_month() -> Result<(), Failed> {
    let Some(directory) = data::directory("bank_calls_1999") else { return Ok(()) };
    let events = january(&directory);
    let setup = setup(
        4,
        "commit_interval = \"20ms\"\nbatch_items_max = 150\ncheckpoint_interval = \"500ms\"\npublish_interval = \"500ms\"\nmax_skew = \"1d\"",
        "lateness = \"10s\"\nout_of_orderness = \"2s\"\nidle_timeout = \"4s\"\nmax_future = \"5s\"",
    )?;
    let odd = |id: &str, time: &str| {
        format!(
            "{{\"specversion\":\"1.0\",\"id\":\"{id}\",\"source\":\"/odd\",\"type\":\"cx.interaction.v1\",\
             \"time\":\"{time}\",\"data\":{{\"kind\":\"visit\",\"channel\":\"web\"}}}}"
        )
    };
    let (future, past) = (odd("f", "2099-01-01T00:00:00Z"), odd("p", "1970-01-01T00:00:00Z"));
    let middle = events.len() / 2;
    let pairs = events.iter().map(|event| (event.customer.as_str(), event.json.as_str()));
    let odds = [("odd-1", future.as_str()), ("odd-2", past.as_str())];
    setup.produce(pairs.clone().take(middle).chain(odds).chain(pairs.clone().skip(middle)));
    let produced = (events.len() + 2) as f64;

    let first = setup.start("one");
    let second = setup.start("two");
    // Killed while there is as much before it as behind it.
    wait_for("a third is taken in", Duration::from_secs(60), || {
        total(&[&first, &second], "touchstone_items_total", "") > produced / 3.0
    })
    .map_err(|error| format!("{error}\n{}\n{}", first.log(), second.log()))?;
    let before = total(&[&first, &second], "touchstone_items_total", "");
    first.kill();
    assert!(before < produced, "killed in the middle: {before} of {produced}");
    let first = setup.start("one");
    let services = [&first, &second];
    let taken = || total(&services, "touchstone_items_total", "");
    let newest = events.last().unwrap().time as f64 / 1000.0;
    wait_for("everything is taken in and final", Duration::from_secs(120), || {
        let until = [&first, &second].map(|service| service.values("touchstone_final_until_timestamp_seconds", ""));
        let until: Vec<f64> = until.into_iter().flatten().collect();
        taken() == produced && !until.is_empty() && until.iter().all(|until| *until > newest + 172_800.0)
    })
    .map_err(|error| format!("{error}: {} of {produced}\n{}\n{}", taken(), first.log(), second.log()))?;
    let doors = ["accepted", "rejected", "late", "duplicate", "skipped"]
        .map(|door| total(&services, "touchstone_items_total", &format!("result=\"{door}\"")));
    assert_eq!(doors, [produced - 2.0, 2.0, 0.0, 0.0, 0.0], "the five doors");
    assert!(first.stop() && second.stop(), "both end well at SIGTERM");

    let letters = setup.read("dead_letter");
    let mut letters: Vec<&str> = letters.iter().map(|(_, value)| value.as_str()).collect();
    letters.sort_unstable();
    let mut expected = [past.as_str(), future.as_str()];
    expected.sort_unstable();
    assert_eq!(letters, expected, "the two odd events, untouched");
    compare_with_replay(&setup, &events)
}

fn compare_with_replay(setup: &Setup, events: &[Event]) -> Result<(), Failed> {
    let file = setup.directory.path().join("january.ndjson");
    let lines: Vec<&str> = events.iter().map(|event| event.json.as_str()).collect();
    std::fs::write(&file, lines.join("\n"))?;
    let arguments = ["--window", "1h", "calendar_day", "--slice", "all", "channel", "queue"];
    let config = setup.config.to_string_lossy();
    let file = file.to_string_lossy();
    let mut command = vec!["replay", &file, "--config", &config];
    command.extend(arguments);
    let replayed = process::run(&command);
    assert!(replayed.status.success(), "{}", String::from_utf8_lossy(&replayed.stderr));
    let replayed: BTreeSet<String> = String::from_utf8(replayed.stdout)?.lines().map(String::from).collect();
    let finals = setup.finals()?;
    assert_eq!(finals, setup.finals()?, "two reads see the same");
    let wanted = |key: &str| {
        let parts: Vec<&str> = key.split('|').collect();
        ["1h", "calendar_day"].contains(&parts[1]) && ["all", "channel", "queue"].contains(&parts[3])
    };
    let live: BTreeSet<String> = finals.into_iter().filter(|(key, _)| wanted(key)).map(|(_, value)| value).collect();
    let only_live: Vec<_> = live.difference(&replayed).take(2).collect();
    let only_replayed: Vec<_> = replayed.difference(&live).take(2).collect();
    assert!(
        live == replayed && live.len() > 10_000,
        "{} live, {} replayed; only live {only_live:#?}; only replayed {only_replayed:#?}",
        live.len(),
        replayed.len()
    );
    Ok(())
}

/// The same seed gives a topic and a file the same events; those of one customer lie in one partition, in order.
fn generated() -> Result<(), Failed> {
    let setup = setup(3, "", "")?;
    let config = setup.config.to_string_lossy();
    let arguments = ["generate", "--count", "3000", "--seed", "5", "--duration", "10m", "--clean"];
    let file = process::run(&arguments);
    let made = process::run(&[&arguments[..], &["--config", &config, "--input", "calls", "--rate", "10000"]].concat());
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let by_key = |records: &mut dyn Iterator<Item = (String, String)>| {
        let mut events: BTreeMap<String, Vec<String>> = BTreeMap::new();
        records.for_each(|(key, event)| events.entry(key).or_default().push(event));
        events
    };
    let file = String::from_utf8_lossy(&file.stdout).into_owned();
    let customer = |event: &str| event.split("\"customer_id\":\"").nth(1).unwrap()[..7].to_string();
    let mut lines = file.lines().map(|line| (customer(line), line.to_string()));
    let mut records = setup.read("input").into_iter();
    let (file, topic) = (by_key(&mut lines), by_key(&mut records));
    assert!(file == topic && file.len() > 1_000, "{} customers in the file, {} in the topic", file.len(), topic.len());
    let wrong = process::run(&["generate", "--config", &config, "--input", "nothing"]);
    assert_eq!(wrong.status.code(), Some(2), "{}", String::from_utf8_lossy(&wrong.stderr));
    Ok(())
}

/// With no further traffic the last minute becomes final within its end + idle_timeout + lateness + 5 s.
fn a_quiet_stream() -> Result<(), Failed> {
    let setup = setup(
        2,
        "publish_interval = \"1s\"",
        "lateness = \"3s\"\nout_of_orderness = \"1s\"\nidle_timeout = \"2s\"\nmax_future = \"2s\"",
    )?;
    let service = setup.start("quiet");
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    // An event of the last minute that ended: what remains is the wait for silence.
    let time = now - 2_000;
    let end = (time / 60_000 + 1) * 60_000;
    let json = format!(
        "{{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/quiet\",\"type\":\"cx.interaction.v1\",\
         \"time\":\"{}\",\"data\":{{\"kind\":\"visit\",\"channel\":\"web\"}}}}",
        rfc3339(time)
    );
    setup.produce([("customer", json.as_str())].into_iter());
    let key = format!("touchpoints|1m|{}|all", rfc3339(end - 60_000));
    let deadline = end + 2_000 + 3_000 + 5_000;
    let left = Duration::from_millis(u64::try_from(deadline - now)?);
    let until = || service.values("touchstone_final_until_timestamp_seconds", "metric_set=\"touchpoints\"");
    wait_for("the minute is final at /metrics", left, || until().iter().any(|until| *until >= end as f64 / 1000.0))
        .map_err(|error| format!("{error}\n{}", service.log()))?;
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    let left = Duration::from_millis(u64::try_from((deadline - now).max(0))?);
    wait_for("the minute is final in the topic", left, || setup.finals().unwrap().contains_key(&key))?;
    Ok(())
}
