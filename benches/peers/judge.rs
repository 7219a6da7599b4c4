//! Whether a competitor's output is right: every window, every slice, every count, against [`truth`](crate::job::truth).

use std::collections::BTreeMap;

use serde_json::Value;
use touchstone::touchpoint::parse_rfc3339;

use crate::job::{BUCKETS, COUNTS, Cell, Truth, count};
use crate::log;

/// The metric sets, and what each counts first.
const SETS: [(&str, usize); 4] =
    [("touchpoints", count::TOUCHES), ("contacts", count::OFFERED), ("csat", count::CSAT), ("nps", count::NPS)];

/// How far touchstone's quantiles may lie from the value they stand for.
const QUANTILE_ERROR: f64 = 0.006;

/// Says how many windows there are, or what is wrong with them.
pub fn peer(broker: &str, topic: &str, truth: &Truth) -> Result<usize, String> {
    let mut last = BTreeMap::new();
    log::read(broker, topic, |key, value| _ = last.insert(key.to_vec(), value.map(<[u8]>::to_vec)));
    let mut wrong = Wrong::default();
    let mut seen = 0;
    for (key, value) in &last {
        let name = String::from_utf8_lossy(key);
        let record: Value = serde_json::from_slice(value.as_deref().unwrap_or_default())
            .map_err(|error| format!("{topic}: {name}: {error}"))?;
        let Some(cell) = expected(truth, &record["window"], record["start"].as_i64(), record["slice"].as_str()) else {
            wrong.say(|| format!("{name} is not there in truth"));
            continue;
        };
        seen += 1;
        for (place, count) in COUNTS.iter().enumerate() {
            wrong.compare(&name, count, record[*count].as_i64(), cell.counts[place]);
        }
        let waits: Vec<Option<i64>> = (0..BUCKETS).map(|bucket| record["hist"][bucket].as_i64()).collect();
        if !waits.iter().zip(&cell.waits).all(|(have, want)| *have == Some(*want)) {
            wrong.say(|| format!("{name}: the histogram of waits is {waits:?}, not {:?}", cell.waits));
        }
    }
    wrong.verdict(seen, truth.len())
}

fn expected<'a>(truth: &'a Truth, window: &Value, start: Option<i64>, slice: Option<&str>) -> Option<&'a Cell> {
    let window = ["1m", "15m"].into_iter().find(|name| Some(*name) == window.as_str())?;
    truth.get(&(window, start?, slice?.to_owned()))
}

/// In how many windows something was counted: only there a record is published.
fn windows(truth: &Truth, place: usize) -> usize {
    truth.values().filter(|cell| cell.counts[place] > 0).count()
}

/// How many final records touchstone must publish.
pub fn finals(truth: &Truth) -> usize {
    SETS.iter().map(|(_, place)| windows(truth, *place)).sum()
}

/// The same for the final records of touchstone, which count more and hold no 64 buckets: their quantiles must lie
/// where those say.
pub fn touchstone(broker: &str, topic: &str, truth: &Truth) -> Result<usize, String> {
    let mut last = BTreeMap::new();
    log::read(broker, topic, |key, value| {
        if value.is_some_and(log::is_final) {
            last.insert(key.to_vec(), value.map(<[u8]>::to_vec));
        }
    });
    let mut wrong = Wrong::default();
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for (key, value) in &last {
        let name = String::from_utf8_lossy(key);
        let record: Value = serde_json::from_slice(value.as_deref().unwrap_or_default())
            .map_err(|error| format!("{topic}: {name}: {error}"))?;
        let values = &record["slice"]["values"];
        let slice = match record["slice"]["by"].as_str() {
            Some("all") => "all".to_owned(),
            Some("queue") => format!(
                "{}|{}",
                values["channel"].as_str().unwrap_or_default(),
                values["queue"].as_str().unwrap_or_default()
            ),
            other => return Err(format!("{name}: a slice by {other:?}")),
        };
        let start = record["window"]["start"].as_str().and_then(parse_rfc3339);
        let Some(cell) = expected(truth, &record["window"]["name"], start, Some(&slice)) else {
            wrong.say(|| format!("{name} is not there in truth"));
            continue;
        };
        let counts = &record["counts"];
        let mut same = |what: &str, have: &Value, place: usize| {
            wrong.compare(&name, what, have.as_i64(), cell.counts[place]);
        };
        let set = record["metric_set"].as_str().unwrap_or_default();
        let known = match set {
            "touchpoints" => {
                same("touches", &counts["touches"], count::TOUCHES);
                "touchpoints"
            }
            "contacts" => {
                same("offered", &counts["offered"], count::OFFERED);
                same("answered", &counts["answered"], count::ANSWERED);
                same("abandoned", &counts["abandoned"], count::ABANDONED);
                same("short_abandoned", &counts["short_abandoned"], count::SHORT);
                same("answered_wait_ms", &counts["answered_wait_ms"], count::ANSWERED_WAIT);
                same("abandoned_wait_ms", &counts["abandoned_wait_ms"], count::ABANDONED_WAIT);
                same("hold_ms", &counts["hold_ms"], count::HOLD);
                quantiles(&name, &record["figures"]["queue_wait_quantile_seconds"], &cell.queued, &mut wrong);
                "contacts"
            }
            "csat" => {
                same("samples", &record["samples"], count::CSAT);
                same("satisfied", &record["figures"]["csat_ratio"]["numerator"], count::SATISFIED);
                "csat"
            }
            "nps" => {
                same("samples", &record["samples"], count::NPS);
                let answers = counts["answers"].as_object();
                let scores = |from: i64, to: i64| -> i64 {
                    let in_range = |score: &str| score.parse().is_ok_and(|score: i64| (from..=to).contains(&score));
                    let of = answers.iter().flat_map(|answers| answers.iter());
                    of.filter(|(score, _)| in_range(score)).filter_map(|(_, count)| count.as_i64()).sum()
                };
                wrong.compare(&name, "promoters", Some(scores(9, 10)), cell.counts[count::PROMOTERS]);
                wrong.compare(&name, "detractors", Some(scores(0, 6)), cell.counts[count::DETRACTORS]);
                "nps"
            }
            other => return Err(format!("{name}: a metric set {other}")),
        };
        *seen.entry(known).or_default() += 1;
    }
    // A window is published where its set counted something.
    for (set, place) in
        [("touchpoints", count::TOUCHES), ("contacts", count::OFFERED), ("csat", count::CSAT), ("nps", count::NPS)]
    {
        let want = truth.values().filter(|cell| cell.counts[place] > 0).count();
        let have = seen.get(set).copied().unwrap_or(0);
        if have != want {
            wrong.say(|| format!("{have} final windows of {set}, not {want}"));
        }
    }
    let seen = seen.values().sum();
    wrong.verdict(seen, seen)
}

/// The quantile of rank `ceil(q n)` lies in the bucket that holds the observation of that rank.
fn quantiles(name: &str, figures: &Value, queued: &[i64; BUCKETS], wrong: &mut Wrong) {
    let total: i64 = queued.iter().sum();
    for (label, per_mille) in [("0.5", 500), ("0.9", 900), ("0.95", 950), ("0.99", 990)] {
        if total == 0 {
            continue;
        }
        let rank = (total * per_mille + 999) / 1_000;
        let mut below = 0;
        let bucket = queued.iter().position(|count| {
            below += count;
            below >= rank
        });
        let (low, high) = bounds(bucket.expect("a rank within the total"));
        let value = figures[label]["value"].as_f64().map(|seconds| seconds * 1e3);
        let fits = |value: f64| value >= low * (1.0 - QUANTILE_ERROR) && value <= high * (1.0 + QUANTILE_ERROR);
        if !value.is_some_and(fits) {
            wrong.say(|| format!("{name}: quantile {label} is {value:?} ms, not within {low} to {high}"));
        }
    }
}

/// The least and the greatest value, ms, of a bucket.
fn bounds(bucket: usize) -> (f64, f64) {
    let lowest = |bucket: usize| match (bucket / 2, bucket % 2) {
        (0, _) => 0.0,
        (octave, half) => (1u64 << octave) as f64 * if half == 1 { 1.5 } else { 1.0 },
    };
    let low = lowest(bucket);
    let next = (bucket + 1..).map(lowest).find(|next| *next > low).expect("there is a larger one");
    (low, next)
}

#[derive(Default)]
struct Wrong {
    times: usize,
    first: Vec<String>,
}

impl Wrong {
    fn say(&mut self, what: impl FnOnce() -> String) {
        self.times += 1;
        if self.first.len() < 3 {
            self.first.push(what());
        }
    }

    fn compare(&mut self, name: &str, what: &str, have: Option<i64>, want: i64) {
        // Touchstone leaves out a count where nothing was counted.
        if have.unwrap_or(0) != want {
            self.say(|| format!("{name}: {what} is {have:?}, not {want}"));
        }
    }

    fn verdict(mut self, seen: usize, wanted: usize) -> Result<usize, String> {
        if seen != wanted {
            self.say(|| format!("{seen} windows, not {wanted}"));
        }
        match self.times {
            0 => Ok(seen),
            times => Err(format!("WRONG in {times} places: {}", self.first.join("; "))),
        }
    }
}
