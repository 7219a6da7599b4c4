//! `contacts`: what became of the contacts that customers began: answered or not, how long they waited,
//! were on hold, were handled, and whether it helped.
//!
//! A count or a duration that was not given is unknown, not zero. Waiting in the queue and being on hold
//! after an agent answered are two things and never mixed. A contact counts where it ended.

use super::figures::{mean_seconds, quantiles, ratio};
use crate::engine::accumulator::{Histogram, OTHER};
use crate::engine::cell::{Cell, Count, Shape};
use crate::engine::plan::{Figure, MetricSet, Stamp};
use crate::engine::slice::{GroupBy, Values};
use crate::touchpoint::{AbandonStage, Dimension, Kind, Outcome, Touchpoint};

/// Two thresholds of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// The service-level threshold T: answered in time is a wait of at most this.
    pub service_level_ms: i64,
    /// An abandon is short when it waited less than this.
    pub short_abandon_ms: i64,
}

/// The thresholds of every queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThresholdTable {
    /// Where no other are given.
    pub default: Thresholds,
    /// (channel or any, queue, thresholds); the first that matches holds.
    pub queues: Vec<(Option<String>, String, Thresholds)>,
}

impl Default for ThresholdTable {
    /// 20 s and 5 s.
    fn default() -> ThresholdTable {
        ThresholdTable { default: Thresholds { service_level_ms: 20_000, short_abandon_ms: 5_000 }, queues: Vec::new() }
    }
}

impl ThresholdTable {
    fn of(&self, channel: Option<&str>, queue: Option<&str>) -> Thresholds {
        let matches = |(of, name, _): &&(Option<String>, String, Thresholds)| {
            Some(name.as_str()) == queue && of.as_deref().is_none_or(|of| Some(of) == channel)
        };
        self.queues.iter().find(matches).map_or(self.default, |(_, _, thresholds)| *thresholds)
    }
}

/// The five formulas of the service level, in use with different vendors. T is the threshold; only contacts
/// whose wait is known enter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceLevel {
    /// (answered <= T + abandoned <= T) / (answered + abandoned). Source: Cisco, "abandoned calls positively".
    One = 1,
    /// answered <= T / answered.
    Two = 2,
    /// answered <= T / (answered + abandoned). Source: Amazon Connect, "service level"; the strictest.
    Three = 3,
    /// answered <= T / (answered + abandoned > T). Source: Cisco, "abandoned calls ignored"; Bright Pattern.
    Four = 4,
    /// answered <= T / (answered + abandoned - short abandons). Source: Genesys, short abandons left out.
    Five = 5,
}

impl ServiceLevel {
    /// The formula of that number.
    pub fn parse(number: i64) -> Option<ServiceLevel> {
        use ServiceLevel::{Five, Four, One, Three, Two};
        [One, Two, Three, Four, Five].into_iter().find(|formula| *formula as i64 == number)
    }

    fn figure(self, cell: &Cell) -> Option<Figure> {
        let count = |place: usize| cell.counts[place];
        let within = count(ANSWERED_WITHIN);
        let (answered, abandoned) = (count(ANSWERED_WAIT_KNOWN), count(ABANDONED_WAIT_KNOWN));
        let (numerator, denominator) = match self {
            ServiceLevel::One => (within + count(ABANDONED_WITHIN), answered + abandoned),
            ServiceLevel::Two => (within, answered),
            ServiceLevel::Three => (within, answered + abandoned),
            ServiceLevel::Four => (within, answered + abandoned - count(ABANDONED_WITHIN)),
            ServiceLevel::Five => (within, answered + abandoned - count(SHORT_ABANDONED)),
        };
        ratio("service_level_ratio", numerator, denominator)
    }
}

/// Upper bounds (inclusive, seconds) of the histograms that `/metrics` shows; exact counts are kept for them.
pub const BUCKETS_SECONDS: [i64; 8] = [5, 10, 20, 30, 60, 120, 300, 600];

const fn count(name: &'static str, help: &'static str) -> Count {
    Count { name, published: true, help }
}

const fn hidden(name: &'static str) -> Count {
    Count { name, published: false, help: "waits or holds per exported bucket" }
}

// The places of the counts in `SHAPE.counts`.
const OFFERED: usize = 0;
const ANSWERED: usize = 1;
const ABANDONED: usize = 2;
const FLOW_OUT: usize = 3;
const CALLBACK: usize = 4;
const VOICEMAIL: usize = 5;
const FAILED: usize = 6;
const IVR_ABANDONED: usize = 7;
const SHORT_ABANDONED: usize = 8;
const ABANDONED_ON_HOLD: usize = 9;
const ANSWERED_WITHIN: usize = 10;
const ANSWERED_WAIT_KNOWN: usize = 11;
const ABANDONED_WITHIN: usize = 12;
const ABANDONED_WAIT_KNOWN: usize = 13;
const HELD: usize = 14;
const HOLD_POSITIVE: usize = 15;
const HOLD_KNOWN: usize = 16;
const TALK_KNOWN: usize = 17;
const HANDLE_KNOWN: usize = 18;
const FIRST_RESPONSE_KNOWN: usize = 19;
const RESOLVED: usize = 20;
const RESOLUTION_KNOWN: usize = 21;
const TRANSFERS: usize = 22;
const ANSWERED_WAIT_MS: usize = 23;
const ABANDONED_WAIT_MS: usize = 24;
const HOLD_MS: usize = 25;
const TALK_MS: usize = 26;
const WRAPUP_MS: usize = 27;
const HANDLE_MS: usize = 28;
const FIRST_RESPONSE_MS: usize = 29;
/// Eight places each, one per bucket of [`BUCKETS_SECONDS`]; what is longer is in none.
const WAIT_BUCKETS: usize = 30;
const HOLD_BUCKETS: usize = 38;

const SHAPE: Shape = Shape {
    counts: &[
        count("offered", "contacts that reached a queue"),
        count("answered", "offered contacts that an agent took"),
        count("abandoned", "offered contacts given up by the customer before an agent took them"),
        count("flow_out", "offered contacts sent on to another queue or system"),
        count("callback", "offered contacts that ended with a wish to be called back"),
        count("voicemail", "offered contacts that ended at a mailbox"),
        count("failed", "offered contacts that broke for technical reasons"),
        count("ivr_abandoned", "contacts given up in the voice menu; they are not offered"),
        count("short_abandoned", "abandoned contacts that waited less than the short-abandon threshold"),
        count("abandoned_on_hold", "answered contacts given up by the customer while on hold"),
        count("answered_within", "answered contacts that waited at most the service-level threshold"),
        count("answered_wait_known", "answered contacts whose wait is known"),
        count("abandoned_within", "abandoned contacts that waited at most the service-level threshold"),
        count("abandoned_wait_known", "abandoned contacts whose wait is known"),
        count("held", "answered contacts that were on hold, or given up there"),
        count("hold_positive", "answered contacts with a time on hold above 0"),
        count("hold_known", "answered contacts whose time on hold is known, or given up there"),
        count("talk_known", "answered contacts whose talk time is known"),
        count("handle_known", "answered contacts that carry talk or wrap-up time"),
        count("first_response_known", "offered contacts whose first response time is known"),
        count("resolved", "offered contacts that settled the matter"),
        count("resolution_known", "offered contacts of which it is known whether they settled the matter"),
        count("transfers", "times an offered contact was handed on"),
        count("answered_wait_ms", "time answered contacts waited in the queue"),
        count("abandoned_wait_ms", "time abandoned contacts waited in the queue"),
        count("hold_ms", "time answered contacts were on hold"),
        count("talk_ms", "time answered contacts talked"),
        count("wrapup_ms", "time of wrap-up work after answered contacts"),
        count("handle_ms", "talk, hold and wrap-up time of answered contacts that carry talk or wrap-up"),
        count("first_response_ms", "time until the first response to offered contacts"),
        hidden("wait_le_5s"),
        hidden("wait_le_10s"),
        hidden("wait_le_20s"),
        hidden("wait_le_30s"),
        hidden("wait_le_60s"),
        hidden("wait_le_120s"),
        hidden("wait_le_300s"),
        hidden("wait_le_600s"),
        hidden("hold_le_5s"),
        hidden("hold_le_10s"),
        hidden("hold_le_20s"),
        hidden("hold_le_30s"),
        hidden("hold_le_60s"),
        hidden("hold_le_120s"),
        hidden("hold_le_300s"),
        hidden("hold_le_600s"),
    ],
    squares: &["answered_wait_ms2", "abandoned_wait_ms2", "hold_ms2", "handle_ms2", "first_response_ms2"],
    histograms: &["answered_wait_ms", "abandoned_wait_ms", "hold_ms", "first_response_ms"],
    tallies: &[],
    distributions: &[],
};

/// The metric set `contacts`.
pub struct Contacts {
    thresholds: ThresholdTable,
    formula: ServiceLevel,
}

impl Contacts {
    /// Contacts under these thresholds, read out with this formula.
    pub fn new(thresholds: ThresholdTable, formula: ServiceLevel) -> Contacts {
        Contacts { thresholds, formula }
    }

    fn offered(&self, contact: &Touchpoint<'_>, cell: &mut Cell) {
        cell.counts[OFFERED] += 1;
        if let Some(resolved) = contact.resolved {
            cell.counts[RESOLUTION_KNOWN] += 1;
            cell.counts[RESOLVED] += i64::from(resolved);
        }
        cell.counts[TRANSFERS] += contact.transfers.unwrap_or(0);
        if let Some(response) = contact.first_response_ms {
            cell.counts[FIRST_RESPONSE_KNOWN] += 1;
            observe(cell, response, FIRST_RESPONSE_MS, 4, 3);
        }
        let queue = contact.dimensions.get(Dimension::Queue);
        let thresholds = self.thresholds.of(contact.dimensions.get(Dimension::Channel), queue);
        match contact.outcome {
            Some(Outcome::Answered) => answered(contact, &thresholds, cell),
            Some(Outcome::Abandoned) => abandoned(contact, &thresholds, cell),
            Some(Outcome::FlowOut) => cell.counts[FLOW_OUT] += 1,
            Some(Outcome::Callback) => cell.counts[CALLBACK] += 1,
            Some(Outcome::Voicemail) => cell.counts[VOICEMAIL] += 1,
            Some(Outcome::Failed) | None => cell.counts[FAILED] += 1,
        }
    }
}

/// Adds one duration: to its sum, its sum of squares and its histogram.
fn observe(cell: &mut Cell, milliseconds: i64, sum: usize, square: usize, histogram: usize) {
    cell.counts[sum] += milliseconds;
    cell.squares[square] += i128::from(milliseconds) * i128::from(milliseconds);
    cell.histograms[histogram].add(milliseconds, 1);
}

fn count_bucket(cell: &mut Cell, milliseconds: i64, first: usize) {
    if let Some(bucket) = BUCKETS_SECONDS.iter().position(|bound| milliseconds <= bound * 1000) {
        cell.counts[first + bucket] += 1;
    }
}

fn answered(contact: &Touchpoint<'_>, thresholds: &Thresholds, cell: &mut Cell) {
    cell.counts[ANSWERED] += 1;
    if let Some(wait) = contact.queue_wait_ms {
        cell.counts[ANSWERED_WAIT_KNOWN] += 1;
        cell.counts[ANSWERED_WITHIN] += i64::from(wait <= thresholds.service_level_ms);
        observe(cell, wait, ANSWERED_WAIT_MS, 0, 0);
        count_bucket(cell, wait, WAIT_BUCKETS);
    }
    let gave_up_on_hold = contact.abandon_stage == Some(AbandonStage::Hold);
    let hold = contact.hold_ms.filter(|hold| *hold > 0);
    cell.counts[ABANDONED_ON_HOLD] += i64::from(gave_up_on_hold);
    cell.counts[HELD] += i64::from(gave_up_on_hold || hold.is_some());
    cell.counts[HOLD_KNOWN] += i64::from(gave_up_on_hold || contact.hold_ms.is_some());
    if let Some(hold) = hold {
        cell.counts[HOLD_POSITIVE] += 1;
        observe(cell, hold, HOLD_MS, 2, 2);
        count_bucket(cell, hold, HOLD_BUCKETS);
    }
    cell.counts[TALK_KNOWN] += i64::from(contact.talk_ms.is_some());
    cell.counts[TALK_MS] += contact.talk_ms.unwrap_or(0);
    cell.counts[WRAPUP_MS] += contact.wrapup_ms.unwrap_or(0);
    if contact.talk_ms.is_some() || contact.wrapup_ms.is_some() {
        let parts = [contact.talk_ms, contact.hold_ms, contact.wrapup_ms];
        let handle: i64 = parts.into_iter().flatten().sum();
        cell.counts[HANDLE_KNOWN] += 1;
        cell.counts[HANDLE_MS] += handle;
        cell.squares[3] += i128::from(handle) * i128::from(handle);
    }
}

fn abandoned(contact: &Touchpoint<'_>, thresholds: &Thresholds, cell: &mut Cell) {
    cell.counts[ABANDONED] += 1;
    if let Some(wait) = contact.queue_wait_ms {
        cell.counts[ABANDONED_WAIT_KNOWN] += 1;
        cell.counts[ABANDONED_WITHIN] += i64::from(wait <= thresholds.service_level_ms);
        cell.counts[SHORT_ABANDONED] += i64::from(wait < thresholds.short_abandon_ms);
        observe(cell, wait, ABANDONED_WAIT_MS, 1, 1);
        count_bucket(cell, wait, WAIT_BUCKETS);
    }
}

impl MetricSet for Contacts {
    fn name(&self) -> &'static str {
        "contacts"
    }

    fn version(&self) -> u32 {
        1
    }

    fn shape(&self) -> &'static Shape {
        &SHAPE
    }

    fn feeds(&self, touchpoint: &Touchpoint<'_>) -> bool {
        touchpoint.kind == Kind::Contact && touchpoint.is_inbound()
    }

    fn add(&self, touchpoint: &Touchpoint<'_>, cell: &mut Cell) {
        if touchpoint.abandon_stage == Some(AbandonStage::Ivr) {
            cell.counts[IVR_ABANDONED] += 1;
        } else {
            self.offered(touchpoint, cell);
        }
    }

    fn samples(&self, cell: &Cell) -> i64 {
        cell.counts[OFFERED]
    }

    fn figures(&self, cell: &Cell, _group_by: &GroupBy) -> Vec<Figure> {
        let count = |place: usize| cell.counts[place];
        let mean = |name, sum: usize, n: usize, square: usize| {
            mean_seconds(name, count(sum), count(n), Some(cell.squares[square]))
        };
        let short = count(SHORT_ABANDONED);
        let mut waits: Histogram = cell.histograms[0].clone();
        waits.merge(&cell.histograms[1]);
        let mut figures = vec![
            ratio("abandonment_ratio", count(ABANDONED) - short, count(OFFERED) - short),
            mean("first_response_seconds", FIRST_RESPONSE_MS, FIRST_RESPONSE_KNOWN, 4),
            mean("handle_time_seconds", HANDLE_MS, HANDLE_KNOWN, 3),
            ratio("held_contacts_ratio", count(HELD), count(HOLD_KNOWN)),
            ratio("hold_abandonment_ratio", count(ABANDONED_ON_HOLD), count(HELD)),
            mean("hold_mean_seconds", HOLD_MS, HOLD_POSITIVE, 2),
            mean_seconds("hold_per_answered_seconds", count(HOLD_MS), count(HOLD_KNOWN), None),
            ratio("resolution_ratio", count(RESOLVED), count(RESOLUTION_KNOWN)),
            self.formula.figure(cell),
            mean("speed_of_answer_seconds", ANSWERED_WAIT_MS, ANSWERED_WAIT_KNOWN, 0),
            mean("time_to_abandon_seconds", ABANDONED_WAIT_MS, ABANDONED_WAIT_KNOWN, 1),
        ]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>();
        figures.extend(quantiles("first_response_quantile_seconds", &cell.histograms[3]));
        figures.extend(quantiles("hold_quantile_seconds", &cell.histograms[2]));
        figures.extend(quantiles("queue_wait_quantile_seconds", &waits));
        figures
    }

    fn thresholds(&self) -> String {
        format!("{:?}", self.thresholds)
    }

    fn stamps(&self, group_by: &GroupBy, values: &Values) -> Vec<(&'static str, Stamp)> {
        let value = |wanted| {
            let place = group_by.dimensions.iter().position(|dimension| *dimension == wanted)?;
            values.iter().nth(place)
        };
        let queue = value(Dimension::Queue).filter(|queue| *queue != OTHER);
        let varies = queue.is_none() && !self.thresholds.queues.is_empty();
        let thresholds = self.thresholds.of(value(Dimension::Channel), queue);
        let seconds = |milliseconds: i64| Stamp::Number(milliseconds as f64 / 1000.0);
        let service_level = vec![
            ("formula", Stamp::Integer(self.formula as i64)),
            ("threshold_seconds", seconds(thresholds.service_level_ms)),
        ];
        let mut stamps = vec![
            ("service_level", Stamp::Object(service_level)),
            ("short_abandon_seconds", seconds(thresholds.short_abandon_ms)),
        ];
        if varies {
            stamps.push(("varies", Stamp::Flag(true)));
        }
        stamps
    }
}
