//! What fires on the demo, and on real data sets: every page that they give is named here, and there is no other.

use std::collections::BTreeMap;

use libtest_mimic::Failed;
use touchstone::cli::demo;
use touchstone::engine::time::rfc3339;
use touchstone::files::{FileFormat, InputFile};
use touchstone::mapping::{Mapping, MappingLimits, Provenance};
use touchstone::touchpoint::{Limits, parse_rfc3339};
use touchstone::workload::minute_count;

use super::timeline::{Fired, Timeline};
use crate::data;

const MINUTE_MS: i64 = 60_000;
const DAY_MINUTES: i64 = 1_440;

/// 2026-01-05T12:00:00Z: when the demo is started, in minutes.
const NOW: i64 = 29_461_680;

/// The demo's minutes from a day ago until `until`, looked at by a Prometheus that was started with it; from `dies` on
/// nobody sends anything.
fn demonstrated(until: i64, dies: i64) -> Result<Vec<Fired>, Failed> {
    // What makes the demo quick on two cores makes it slow here, where every step is one after the other.
    let config = demo::CONFIGURATION
        .replace("topic = \"touchpoints\"", &format!("topic = \"{}\"", crate::pipeline::INPUT))
        .replace("publish_interval = \"500ms\"", "publish_interval = \"1s\"")
        .replace("idle_commit_interval = \"50ms\"", "idle_commit_interval = \"1s\"")
        .replace("deltas_partitions = 6", "deltas_partitions = 1");
    let workload = demo::workload(1, NOW);
    let begin = NOW - DAY_MINUTES;
    let mut timeline = Timeline::new(&config, 4, begin * MINUTE_MS - 10_000, 1)?;
    let mut json = Vec::new();
    for minute in begin..NOW + until {
        if minute < NOW + dies {
            // Of the day before a third: it is only compared with.
            let per_day = if minute < NOW - 120 { demo::PER_DAY / 3 } else { demo::PER_DAY };
            let count = minute_count(workload.seed, minute, workload.offset_minutes, per_day);
            let events = workload.minute(minute, count);
            for index in 0..count {
                json.clear();
                let sent = events.write(index, &mut json);
                timeline.send(sent.at, &sent.key, &json)?;
            }
        }
        // What nobody looks at is taken in by greater pieces.
        if minute >= NOW - 15 || minute % 10 == 9 {
            timeline.until((minute + 1) * MINUTE_MS)?;
        }
        if minute >= NOW - 15 {
            timeline.look();
        }
    }
    timeline.fired()
}

fn told(fired: &[Fired]) -> String {
    fired.iter().map(|one| format!("{} {}: {} to {}\n", one.alert, one.place, one.from, one.until)).collect()
}

/// The trouble of the demo pages once for satisfaction, names the queue, and ends after the trouble. What is wider than the
/// queue (its team) comes later, if at all, and is held back by Alertmanager.
pub fn demo() -> Result<(), Failed> {
    let fired = demonstrated(150, i64::MAX / 2)?;
    println!("{}", told(&fired));
    let csat: Vec<&Fired> = fired.iter().filter(|one| one.alert == "CxCsatDropping").collect();
    let queues: Vec<&&Fired> = csat.iter().filter(|one| one.place.starts_with("queue ")).collect();
    assert!(queues.len() == 1 && queues[0].place == "queue voice technical", "{}", told(&fired));
    assert!(csat.iter().all(|one| one.from >= queues[0].from), "{}", told(&fired));
    // The trouble lasts from minute 3 to minute 93 of the looks.
    assert!((10..80).contains(&queues[0].from) && (93..130).contains(&queues[0].until), "{}", told(&fired));
    let elsewhere: Vec<&Fired> = fired.iter().filter(|one| !one.place.ends_with("technical")).collect();
    assert!(elsewhere.is_empty(), "{}", told(&fired));
    Ok(())
}

/// A source that dies before the trouble has shown is told as data, not as business.
pub fn dead() -> Result<(), Failed> {
    let fired = demonstrated(90, -5)?;
    println!("{}", told(&fired));
    let alerts: Vec<&str> = fired.iter().map(|one| one.alert.as_str()).collect();
    assert!(alerts.contains(&"TouchstoneSourceSilent"), "{}", told(&fired));
    assert!(alerts.iter().all(|alert| alert.starts_with("Touchstone")), "{}", told(&fired));
    Ok(())
}

/// The events of a data set, in the order of their times, as its mapping makes them.
fn events(
    set: &str,
    files: &[&str],
    format: Option<FileFormat>,
    days: (&str, &str),
) -> Result<Vec<(i64, String)>, Failed> {
    let Some(directory) = data::directory(set) else { return Ok(Vec::new()) };
    let mapping = std::fs::read_to_string(format!("{}/config/mappings/{set}.jq", env!("CARGO_MANIFEST_DIR")))?;
    let mapping = Mapping::compile(&mapping)?;
    let limits =
        MappingLimits { input: Limits { record_bytes_max: 10_000 }, outputs_max: 10, output_bytes_max: 10_000 };
    let mut events = Vec::new();
    for name in files {
        let path = directory.join(name).to_string_lossy().into_owned();
        let mut file = InputFile::open(&path, format, 10_000)?;
        while let Some(row) = file.next_row()? {
            let (Ok(content), number) = (row.content, row.number) else { continue };
            let provenance = Provenance::File { file: name, row: number };
            // What a mapping refuses is another test's subject.
            let _ = mapping.map(content, &provenance, &limits, &mut |event| {
                let time =
                    event.split("\"time\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
                if (days.0..days.1).contains(&time) {
                    events.push((parse_rfc3339(time).expect("a mapping gives times"), event.to_owned()));
                }
            });
        }
    }
    events.sort();
    Ok(events)
}

/// What fires over a data set, at the pace of its own time, looked at every five minutes: by alert and place the days on
/// which it began. Alerts about the data are no subject of it: these sources are empty at night.
fn lived(config: &str, events: &[(i64, String)]) -> Result<Vec<String>, Failed> {
    const STEP: i64 = 5;
    let config = format!("{config}[[input]]\nname = \"calls\"\ntopic = \"{}\"\n", crate::pipeline::INPUT);
    let begin = events[0].0.div_euclid(STEP * MINUTE_MS) * STEP * MINUTE_MS;
    let mut timeline = Timeline::new(&config, 1, begin - 10_000, 5)?;
    let mut left = events;
    let mut time = begin;
    while !left.is_empty() {
        time += STEP * MINUTE_MS;
        let sent = left.iter().take_while(|(at, _)| *at < time).count();
        for (at, event) in &left[..sent] {
            timeline.send(*at, b"key", event.as_bytes())?;
        }
        left = &left[sent..];
        timeline.until(time)?;
        timeline.look();
    }
    let mut days: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for one in timeline.fired()?.iter().filter(|one| one.alert.starts_with("Cx")) {
        let (from, until) = (begin + i64::from(one.from) * MINUTE_MS, begin + i64::from(one.until) * MINUTE_MS);
        println!("{} {}: {} to {}", one.alert, one.place, rfc3339(from), rfc3339(until));
        days.entry(format!("{} {}", one.alert, one.place)).or_default().push(rfc3339(from)[8..10].to_owned());
    }
    Ok(days.into_iter().map(|(what, days)| format!("{what}: {}", days.join(" "))).collect())
}

fn compare(set: &str, config: &str, events: &[(i64, String)], expected: &[&str]) -> Result<(), Failed> {
    if events.is_empty() {
        return Ok(());
    }
    println!("{set}, {} events", events.len());
    let fired = lived(config, events)?;
    if fired == expected { Ok(()) } else { Err(format!("{set}:\n{}", fired.join("\n")).into()) }
}

/// A bank's calls in January 1999. Within 20 s it answered 54 %, within a minute 71 %: the promise is taken as 80 % in a minute.
pub fn bank() -> Result<(), Failed> {
    let events = events("bank_calls_1999", &["january.txt.gz"], Some(FileFormat::Tsv), ("1999-01-01", "1999-02-01"))?;
    compare("bank_calls_1999", "[metrics]\nservice_level_threshold = \"60s\"\n", &events, &BANK)
}

/// Reviews over a turn of the year.
pub fn reviews() -> Result<(), Failed> {
    let events = events("reviews_anon", &["anonreviews.csv.bz2"], None, ("2006-12-01", "2007-01-15"))?;
    compare("reviews_anon", "", &events, &[])
}

/// What fired, and on which days of January it began. docs/ALERTS.md says why.
const BANK: [&str; 19] = [
    "CxAbandonmentHigh all: 03 04 10 13 14 17 18 20 21 26",
    "CxAbandonmentHigh channel voice: 03 04 10 13 14 17 18 20 21 26",
    "CxAbandonmentHigh queue voice NW: 03 07 10 14 17 19 26 28",
    "CxAbandonmentHigh queue voice PS: 04 18 20 21",
    "CxAbandonmentHigh team _none: 03 04 10 13 14 17 18 20 21 26",
    "CxContactVolumeCollapsed all: 24",
    "CxContactVolumeCollapsed channel voice: 24",
    "CxContactVolumeCollapsed queue voice NW: 24",
    "CxContactVolumeCollapsed team _none: 24",
    "CxContactVolumeExploded all: 13",
    "CxContactVolumeExploded channel voice: 13",
    "CxContactVolumeExploded team _none: 13",
    "CxServiceLevelBurningFast channel voice: 04 07 10 13 18 20 21",
    "CxServiceLevelBurningFast queue voice NW: 03 07 10 14 17 26 28",
    "CxServiceLevelBurningFast queue voice PS: 04 07 10 13 18 20 21",
    "CxServiceLevelBurningSlow channel voice: 07 10 13 18 19 21",
    "CxServiceLevelBurningSlow queue voice NE: 21",
    "CxServiceLevelBurningSlow queue voice NW: 03 04 05 07 10 13 15 17 20 21 26 28 31",
    "CxServiceLevelBurningSlow queue voice PS: 07 10 13 18 19 21",
];
