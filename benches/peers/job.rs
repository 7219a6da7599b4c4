//! The job that every competitor does: its events, and what must come out.
//!
//! Event `n` is a function of `n` alone, so that a shorter input is the beginning of a longer one. 5,000,000 events are
//! two hours of event time, up to five seconds out of order either way.

use std::collections::BTreeMap;
use std::fmt::Write;

use touchstone::engine::time::rfc3339;

use crate::random::Random;

/// How many channels, and queues of each.
const CHANNELS: [&str; 10] =
    ["voice", "chat", "messaging", "email", "social", "web", "app", "sms", "in_person", "other"];
const QUEUES: u64 = 50;

/// 2026-11-22T00:00:00Z, ms.
const START: i64 = 1_795_305_600_000;

/// Distance of two events in hundredths of a millisecond.
const STEP: i64 = 144;

/// How far an event may lie before or after its place, ms.
const DISORDER: i64 = 5_000;

const MINUTE: i64 = 60_000;

/// The sliding window, minutes.
const SLIDING: i64 = 15;

/// The names of the counts of a cell, in the order of [`Cell::counts`].
pub const COUNTS: [&str; 13] = [
    "touches",
    "offered",
    "answered",
    "abandoned",
    "short",
    "answered_wait_ms",
    "abandoned_wait_ms",
    "hold_ms",
    "csat",
    "csat_satisfied",
    "nps",
    "nps_promoters",
    "nps_detractors",
];

/// Their places.
pub mod count {
    pub const TOUCHES: usize = 0;
    pub const OFFERED: usize = 1;
    pub const ANSWERED: usize = 2;
    pub const ABANDONED: usize = 3;
    pub const SHORT: usize = 4;
    pub const ANSWERED_WAIT: usize = 5;
    pub const ABANDONED_WAIT: usize = 6;
    pub const HOLD: usize = 7;
    pub const CSAT: usize = 8;
    pub const SATISFIED: usize = 9;
    pub const NPS: usize = 10;
    pub const PROMOTERS: usize = 11;
    pub const DETRACTORS: usize = 12;
}

/// Buckets of the histogram of answered waits.
pub const BUCKETS: usize = 64;

/// What one window of one slice must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// See [`COUNTS`].
    pub counts: [i64; COUNTS.len()],
    /// Waits of answered contacts by [`bucket`].
    pub waits: [i64; BUCKETS],
    /// The same with those of abandoned ones: touchstone reads its quantiles from both.
    pub queued: [i64; BUCKETS],
}

impl Default for Cell {
    fn default() -> Cell {
        Cell { counts: [0; COUNTS.len()], waits: [0; BUCKETS], queued: [0; BUCKETS] }
    }
}

impl Cell {
    fn add(&mut self, other: &Cell) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(sum, count)| *sum += count);
        self.waits.iter_mut().zip(&other.waits).for_each(|(sum, count)| *sum += count);
        self.queued.iter_mut().zip(&other.queued).for_each(|(sum, count)| *sum += count);
    }
}

/// Two buckets an octave, by integers alone: every language puts a value into the same one.
pub fn bucket(milliseconds: i64) -> usize {
    let Some(octave) = milliseconds.checked_ilog2().filter(|octave| *octave > 0) else { return 0 };
    let upper_half = (milliseconds >> (octave - 1)) & 1;
    (2 * octave as usize + usize::try_from(upper_half).expect("one bit")).min(BUCKETS - 1)
}

/// Windows by name, start (ms) and slice; only those that hold something.
pub type Truth = BTreeMap<(&'static str, i64, String), Cell>;

/// Exponential with this mean, in ms.
fn exponential(random: &mut Random, mean_seconds: f64) -> i64 {
    let seconds = -mean_seconds * (1.0 - random.unit()).ln();
    (seconds.min(7_200.0) * 1_000.0) as i64
}

/// An event and what it counts.
pub struct Event {
    time: i64,
    channel: usize,
    queue: u64,
    counts: Cell,
    /// The record's key.
    pub key: String,
    /// The record's value: a CloudEvent in structured mode.
    pub json: String,
}

/// Makes events, one after the other, in buffers that are used again.
pub struct Events {
    event: Event,
}

impl Events {
    /// None made yet.
    pub fn new() -> Events {
        let event =
            Event { time: 0, channel: 0, queue: 0, counts: Cell::default(), key: String::new(), json: String::new() };
        Events { event }
    }

    /// Event `n`.
    pub fn make(&mut self, n: u64) -> &Event {
        let Event { time, channel, queue, counts, key, json } = &mut self.event;
        let mut random = Random(n.wrapping_mul(0xD6E8_FEB8_6659_FD93) ^ 1);
        random.next();
        let place = START + i64::try_from(n).expect("a number of events") * STEP / 100;
        *time = (place + random.below(2 * DISORDER as u64 + 1) as i64 - DISORDER).max(START);
        *channel = random.skewed(CHANNELS.len() as u64) as usize;
        *queue = random.skewed(QUEUES);
        *counts = Cell::default();
        let customer = random.below(500_000);
        key.clear();
        json.clear();
        write!(key, "c-{customer:07}").expect("into memory");
        let kind = match random.below(100) {
            0..60 => "cx.contact.ended.v1",
            60..85 => "cx.interaction.v1",
            _ => "cx.survey.responded.v1",
        };
        write!(
            json,
            concat!(
                r#"{{"specversion":"1.0","id":"{:016x}","source":"/cx/site-{}","type":"{}","time":"{}","#,
                r#""datacontenttype":"application/json","data":{{"channel":"{}","queue":"q-{:02}","team":"team-{}","#,
                r#""region":"{}","customer_id":"{}","#
            ),
            random.next(),
            customer % 7,
            kind,
            rfc3339(*time),
            CHANNELS[*channel],
            queue,
            *queue % 8,
            ["emea", "amer", "apac"][customer as usize % 3],
            key
        )
        .expect("into memory");
        match kind {
            "cx.contact.ended.v1" => contact(&mut random, n, counts, json),
            "cx.interaction.v1" => interaction(&mut random, counts, json),
            _ => survey(&mut random, n, counts, json),
        }
        json.push_str("}}");
        &self.event
    }
}

/// `name` as seconds with three decimals, and a comma.
fn seconds(json: &mut String, name: &str, milliseconds: i64) {
    write!(json, r#""{name}":{}.{:03},"#, milliseconds / 1_000, milliseconds % 1_000).expect("into memory");
}

fn contact(random: &mut Random, n: u64, cell: &mut Cell, json: &mut String) {
    let counts = &mut cell.counts;
    counts[count::TOUCHES] = 1;
    counts[count::OFFERED] = 1;
    let outcome = match random.below(1_000) {
        0..880 => "answered",
        880..960 => "abandoned",
        960..975 => "flow_out",
        975..988 => "callback",
        988..996 => "voicemail",
        _ => "failed",
    };
    let wait = exponential(random, if outcome == "abandoned" { 60.0 } else { 35.0 });
    write!(json, r#""contact_id":"k-{n:010}","direction":"inbound","outcome":"{outcome}","#).expect("into memory");
    seconds(json, "queue_wait_seconds", wait);
    match outcome {
        "answered" => {
            let hold = if random.below(10) < 3 { exponential(random, 25.0) } else { 0 };
            counts[count::ANSWERED] = 1;
            counts[count::ANSWERED_WAIT] = wait;
            counts[count::HOLD] = hold;
            cell.waits[bucket(wait)] = 1;
            cell.queued[bucket(wait)] = 1;
            seconds(json, "hold_seconds", hold);
            seconds(json, "talk_seconds", exponential(random, 240.0));
            seconds(json, "wrapup_seconds", exponential(random, 30.0));
            write!(json, r#""resolved":{}"#, random.below(10) < 7).expect("into memory");
        }
        "abandoned" => {
            counts[count::ABANDONED] = 1;
            counts[count::SHORT] = i64::from(wait < 5_000);
            counts[count::ABANDONED_WAIT] = wait;
            cell.queued[bucket(wait)] = 1;
            json.push_str(r#""abandon_stage":"queue","transfers":0"#);
        }
        _ => json.push_str(r#""transfers":1"#),
    }
}

fn interaction(random: &mut Random, cell: &mut Cell, json: &mut String) {
    cell.counts[count::TOUCHES] = 1;
    let kind = ["visit", "app_session", "mention", "comment", "review"][random.below(5) as usize];
    write!(
        json,
        concat!(
            r#""kind":"{}","stage":"consider","segment":"segment-{}","product":"product-{:03}","#,
            r#""campaign":"c-2026-{:02}","sentiment":{:.3}"#
        ),
        kind,
        random.below(5),
        random.below(200),
        random.below(20),
        random.unit() * 2.0 - 1.0
    )
    .expect("into memory");
}

fn survey(random: &mut Random, n: u64, cell: &mut Cell, json: &mut String) {
    let counts = &mut cell.counts;
    let csat = random.below(2) == 0;
    let steps = if csat { 5.0 } else { 11.0 };
    let score = i64::from(csat) + (random.unit().sqrt() * steps) as i64;
    if csat {
        counts[count::CSAT] = 1;
        counts[count::SATISFIED] = i64::from(score >= 4);
    } else {
        counts[count::NPS] = 1;
        counts[count::PROMOTERS] = i64::from(score >= 9);
        counts[count::DETRACTORS] = i64::from(score <= 6);
    }
    let (metric, low, high) = if csat { ("csat", 1, 5) } else { ("nps", 0, 10) };
    write!(
        json,
        concat!(
            r#""metric":"{}","score":{},"scale_min":{},"scale_max":{},"has_comment":{},"#,
            r#""respondent":"r-{:012x}","contact_id":"k-{:010}""#
        ),
        metric,
        score,
        low,
        high,
        random.below(4) == 0,
        random.next() >> 16,
        n.saturating_sub(1_000)
    )
    .expect("into memory");
}

/// What the first `events` events must give, by the plainest fold there is.
pub fn truth(events: u64) -> Truth {
    let mut made = Events::new();
    let mut panes: BTreeMap<(i64, usize, u64), Cell> = BTreeMap::new();
    for n in 0..events {
        let event = made.make(n);
        let pane = event.time.div_euclid(MINUTE) * MINUTE;
        panes.entry((pane, event.channel, event.queue)).or_default().add(&event.counts);
    }
    let mut truth = Truth::new();
    for ((pane, channel, queue), cell) in &panes {
        for slice in ["all".to_owned(), format!("{}|q-{queue:02}", CHANNELS[*channel])] {
            truth.entry(("1m", *pane, slice.clone())).or_default().add(cell);
            for back in 0..SLIDING {
                truth.entry(("15m", pane - back * MINUTE, slice.clone())).or_default().add(cell);
            }
        }
    }
    truth
}
