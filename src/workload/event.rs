//! One event, drawn and written: what happens to a customer, as CloudEvents JSON.
//!
//! Values come from our own tables and contain nothing that JSON would have to escape.

use super::business::{
    CES, CHANNELS, CUSTOMERS, Channel, INTERACTIONS, NPS, PRODUCTS, QUEUE_SLOTS, QUEUES, Queue, REASONS, REGION_SLOTS,
    REGIONS, SEGMENT_SLOTS, SEGMENTS, UNHAPPY, VOICE,
};
use super::incident::Trouble;
use super::random::{Random, Slots, slots};
use crate::touchpoint::{AbandonStage, CustomerState, Kind, Outcome, SurveyMetric};

/// The longest wait that is written: what lasts a week or more is no wait.
const WAIT_MS_MAX: u64 = 600_000_000;

const KINDS: [Kind; 4] = [Kind::Contact, Kind::Interaction, Kind::Survey, Kind::Customer];
static KIND_SLOTS: Slots = slots([60, 25, 14, 1]);
const METRICS: [SurveyMetric; 3] = [SurveyMetric::Csat, SurveyMetric::Nps, SurveyMetric::Ces];
static METRIC_SLOTS: Slots = slots([60, 25, 15]);
const STATES: [CustomerState; 5] = [
    CustomerState::Acquired,
    CustomerState::Renewed,
    CustomerState::Downgraded,
    CustomerState::Churned,
    CustomerState::Reactivated,
];
static STATE_SLOTS: Slots = slots([34, 36, 10, 15, 5]);
const TOPICS: [&str; 6] = ["how-to", "fault", "bill", "status", "change", "complaint"];

/// An event that is about to be drawn.
pub(super) struct Draft<'a> {
    pub seed: u64,
    pub minute: i64,
    pub index: u32,
    /// `2026-01-05T09:31:`.
    pub minute_text: &'a str,
    /// When in the minute it happens.
    pub within_ms: u64,
    /// How busy it is, in thousandths.
    pub busy: u64,
    pub trouble: Trouble,
    pub random: Random,
}

/// The key of a field with what stands around it; fields follow one another, so each begins with a comma.
macro_rules! key {
    ($name:literal) => {
        concat!(",\"", $name, "\":")
    };
}

impl Draft<'_> {
    /// Writes the event; returns its customer's id.
    pub fn write(mut self, out: &mut Vec<u8>) -> [u8; 7] {
        out.reserve(1_024);
        let kind = KINDS[self.random.slot(&KIND_SLOTS)];
        let customer = Customer::draw(&mut self.random, self.seed);
        self.envelope(kind, out);
        match kind {
            Kind::Contact => self.contact(out),
            Kind::Interaction => self.interaction(out),
            Kind::Survey => self.survey(out),
            Kind::Customer => self.change(out),
        }
        customer.write(out);
        push(out, "}}");
        customer.id
    }

    /// Everything up to the first field of `data`.
    fn envelope(&self, kind: Kind, out: &mut Vec<u8>) {
        push(out, "{\"specversion\":\"1.0\",\"id\":\"");
        self.name(out);
        push(out, "\",\"source\":\"/touchstone/workload/");
        digits(out, self.seed);
        push(out, "\",\"type\":\"");
        push(out, kind.name());
        push(out, "\",\"time\":\"");
        push(out, self.minute_text);
        if self.within_ms < 10_000 {
            out.push(b'0');
        }
        decimal(out, self.within_ms);
        push(out, "Z\",\"data\":{");
    }

    /// The minute and the place in it: unique in the stream.
    fn name(&self, out: &mut Vec<u8>) {
        hexadecimal(out, self.minute.cast_unsigned());
        out.push(b'-');
        digits(out, u64::from(self.index));
    }

    fn contact(&mut self, out: &mut Vec<u8>) {
        let place = self.random.slot(&QUEUE_SLOTS);
        let (queue, channel) = (&QUEUES[place], &CHANNELS[QUEUES[place].channel]);
        first(out, "\"channel\":", channel.name);
        push(out, key!("contact_id"));
        push(out, "\"k-");
        self.name(out);
        out.push(b'"');
        text(out, key!("topic"), self.random.one_of(&TOPICS));
        match self.random.below(1_000) {
            0..80 => return self.outbound(queue, channel, out),
            80..100 if queue.channel == VOICE => {
                // The customer gave up in the menu: no queue was reached.
                text(out, key!("outcome"), Outcome::Abandoned.name());
                return text(out, key!("abandon_stage"), AbandonStage::Ivr.name());
            }
            100..550 => text(out, key!("direction"), "inbound"),
            _ => {}
        }
        text(out, key!("queue"), queue.name);
        text(out, key!("team"), queue.team.name);
        let slow = if self.trouble.is_slow(place) { 4 } else { 1 };
        let median = channel.wait_ms * (600 + self.busy) / 1_000 * slow;
        let wait = self.random.skewed(median).min(WAIT_MS_MAX);
        let patience = self.random.skewed(channel.patience_ms);
        match self.outcome(queue.channel == VOICE, wait, patience) {
            Outcome::Answered => self.answered(queue, channel, wait, out),
            Outcome::Abandoned => {
                text(out, key!("outcome"), Outcome::Abandoned.name());
                seconds(out, key!("queue_wait_seconds"), patience.min(WAIT_MS_MAX));
                let stage = if self.random.chance(1_000) { AbandonStage::Ring } else { AbandonStage::Queue };
                text(out, key!("abandon_stage"), stage.name());
            }
            other => {
                text(out, key!("outcome"), other.name());
                seconds(out, key!("queue_wait_seconds"), wait);
            }
        }
    }

    /// Who waits longer than they are willing to gives up; who waits for more than a minute may ask to be called.
    fn outcome(&mut self, by_voice: bool, wait: u64, patience: u64) -> Outcome {
        match self.random.below(1_000) {
            _ if wait > patience => Outcome::Abandoned,
            0..12 => Outcome::FlowOut,
            12..20 if by_voice => Outcome::Voicemail,
            20..24 => Outcome::Failed,
            24..110 if by_voice && wait > 60_000 => Outcome::Callback,
            _ => Outcome::Answered,
        }
    }

    fn answered(&mut self, queue: &Queue, channel: &Channel, wait: u64, out: &mut Vec<u8>) {
        seconds(out, key!("queue_wait_seconds"), wait);
        self.conversation(queue, channel, out);
        if channel.first_response_ms > 0 {
            seconds(out, key!("first_response_seconds"), wait + self.random.skewed(channel.first_response_ms));
        }
        let transfers = match self.random.below(100) {
            0..3 => 2,
            3..13 => 1,
            _ => 0,
        };
        integer(out, key!("transfers"), transfers);
        if self.random.chance(7_000) {
            let tired = if wait > 3 * channel.wait_ms { 1_200 } else { 0 };
            let resolved = self.random.chance(8_300 - 1_500 * transfers as u32 - tired);
            flag(out, key!("resolved"), resolved);
        }
    }

    /// The outcome, the agent and how the time was spent; a customer who gives up on hold was answered.
    fn conversation(&mut self, queue: &Queue, channel: &Channel, out: &mut Vec<u8>) {
        text(out, key!("outcome"), Outcome::Answered.name());
        let (first, agents) = queue.team.agents;
        push(out, key!("agent"));
        push(out, "\"a");
        digits(out, u64::from(first + self.random.below(agents)));
        out.push(b'"');
        seconds(out, key!("talk_seconds"), self.random.skewed(channel.talk_ms));
        seconds(out, key!("wrapup_seconds"), self.random.skewed(28_000));
        let Some(held) = channel.held else { return };
        if self.random.chance(held) {
            seconds(out, key!("hold_seconds"), self.random.skewed(42_000));
            integer(out, key!("hold_count"), 1 + u64::from(self.random.below(3) / 2));
            if self.random.chance(300) {
                text(out, key!("abandon_stage"), AbandonStage::Hold.name());
            }
        } else {
            push(out, key!("hold_seconds"));
            push(out, "0");
        }
    }

    /// The company called or wrote: nobody waited in a queue.
    fn outbound(&mut self, queue: &Queue, channel: &Channel, out: &mut Vec<u8>) {
        text(out, key!("direction"), "outbound");
        text(out, key!("team"), queue.team.name);
        if self.random.chance(7_000) {
            self.conversation(queue, channel, out);
        } else {
            text(out, key!("outcome"), Outcome::Failed.name());
        }
    }

    fn interaction(&mut self, out: &mut Vec<u8>) {
        let channel = &CHANNELS[self.random.slot(&INTERACTIONS)];
        let kind = self.random.one_of(channel.kinds);
        first(out, "\"channel\":", channel.name);
        text(out, key!("kind"), kind);
        text(out, key!("product"), self.random.one_of(&PRODUCTS));
        if matches!(kind, "mention" | "comment" | "review" | "message") {
            let sentiment = self.random.below(2_001);
            let sign = if sentiment < 900 { "-" } else { "" };
            push(out, key!("sentiment"));
            push(out, sign);
            decimal(out, u64::from(sentiment.abs_diff(900).min(1_000)));
        }
        if kind == "review" {
            integer(out, key!("rating"), 1 + u64::from(self.random.below(5)));
        }
    }

    fn survey(&mut self, out: &mut Vec<u8>) {
        let metric = METRICS[self.random.slot(&METRIC_SLOTS)];
        let (place, queue) = if self.random.chance(2_500) {
            (self.random.slot(&INTERACTIONS), None)
        } else {
            let place = self.random.slot(&QUEUE_SLOTS);
            (QUEUES[place].channel, Some((place, &QUEUES[place])))
        };
        first(out, "\"channel\":", CHANNELS[place].name);
        if let Some((_, queue)) = queue {
            text(out, key!("queue"), queue.name);
            text(out, key!("team"), queue.team.name);
        }
        let unhappy = self.trouble.is_unhappy(place) || queue.is_some_and(|(queue, _)| self.trouble.is_slow(queue));
        let (answers, min, max) = match metric {
            SurveyMetric::Csat if unhappy => (&UNHAPPY, 1, 5),
            SurveyMetric::Csat => (CHANNELS[place].csat, 1, 5),
            SurveyMetric::Ces => (&CES, 1, 7),
            SurveyMetric::Nps | SurveyMetric::Enps => (&NPS, 0, 10),
        };
        let mut score = self.random.slot(answers);
        if unhappy && metric != SurveyMetric::Csat {
            score = score.min(self.random.slot(answers));
        }
        text(out, key!("metric"), metric.name());
        integer(out, key!("score"), min + score as u64);
        integer(out, key!("scale_min"), min);
        integer(out, key!("scale_max"), max);
        flag(out, key!("has_comment"), self.random.chance(2_000));
    }

    fn change(&mut self, out: &mut Vec<u8>) {
        let state = STATES[self.random.slot(&STATE_SLOTS)];
        first(out, "\"state\":", state.name());
        if matches!(state, CustomerState::Churned | CustomerState::Downgraded) {
            text(out, key!("reason"), self.random.one_of(&REASONS));
        }
        text(out, key!("product"), self.random.one_of(&PRODUCTS));
    }
}

/// Who it happens to: a few customers are heard of often, most of them seldom.
struct Customer {
    id: [u8; 7],
    region: &'static str,
    segment: &'static str,
}

impl Customer {
    fn draw(random: &mut Random, seed: u64) -> Customer {
        let uniform = u64::from(random.below(u32::MAX));
        let number = ((((uniform * uniform) >> 32) * u64::from(CUSTOMERS)) >> 32) as u32;
        // Where customers live and what they are to us stays with them.
        let mut own = Random::at(seed, i64::from(number), u32::MAX - 2);
        let mut id = *b"c000000";
        let mut rest = number;
        for digit in id[1..].iter_mut().rev() {
            *digit += (rest % 10) as u8;
            rest /= 10;
        }
        Customer { id, region: REGIONS[own.slot(&REGION_SLOTS)], segment: SEGMENTS[own.slot(&SEGMENT_SLOTS)] }
    }

    fn write(&self, out: &mut Vec<u8>) {
        push(out, key!("customer_id"));
        out.push(b'"');
        out.extend_from_slice(&self.id);
        out.push(b'"');
        text(out, key!("region"), self.region);
        text(out, key!("segment"), self.segment);
    }
}

/// Breaks the event that begins at `begin`, as real senders do.
pub(super) fn damage(random: &mut Random, out: &mut Vec<u8>, begin: usize) {
    let mut replace = |find: &str, by: &[u8]| {
        let found = out[begin..].windows(find.len()).position(|bytes| bytes == find.as_bytes());
        let at = begin + found.expect("every event has this part");
        out[at..at + by.len()].copy_from_slice(by);
    };
    match random.below(6) {
        0 => replace("\"1.0\"", b"\"0.3\""),
        1 => replace("\"id\"", b"\"no\""),
        2 => replace(".v1\"", b".v9\""),
        3 => replace("T", b" "),
        4 => replace("\"source\":\"/", b"\"source\":\"\xff"),
        _ => out.truncate(begin + (out.len() - begin) * 2 / 3),
    }
}

fn push(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

/// The first field of an object, which no comma precedes.
fn first(out: &mut Vec<u8>, key: &str, value: &str) {
    text(out, key, value);
}

fn text(out: &mut Vec<u8>, key: &str, value: &str) {
    push(out, key);
    out.push(b'"');
    push(out, value);
    out.push(b'"');
}

fn flag(out: &mut Vec<u8>, key: &str, value: bool) {
    push(out, key);
    push(out, if value { "true" } else { "false" });
}

fn integer(out: &mut Vec<u8>, key: &str, value: u64) {
    push(out, key);
    digits(out, value);
}

fn seconds(out: &mut Vec<u8>, key: &str, ms: u64) {
    push(out, key);
    decimal(out, ms);
}

/// Thousandths as a decimal number: 12345 is `12.345`.
fn decimal(out: &mut Vec<u8>, thousandths: u64) {
    digits(out, thousandths / 1_000);
    let rest = thousandths % 1_000;
    let digit = |value: u64| b'0' + (value % 10) as u8;
    out.extend_from_slice(&[b'.', digit(rest / 100), digit(rest / 10), digit(rest)]);
}

fn digits(out: &mut Vec<u8>, value: u64) {
    radix(out, value, 10);
}

fn hexadecimal(out: &mut Vec<u8>, value: u64) {
    radix(out, value, 16);
}

#[inline(always)]
fn radix(out: &mut Vec<u8>, mut value: u64, radix: u64) {
    let mut written = [0; 20];
    let mut at = written.len();
    loop {
        at -= 1;
        written[at] = b"0123456789abcdef"[(value % radix) as usize];
        value /= radix;
        if value == 0 {
            return out.extend_from_slice(&written[at..]);
        }
    }
}
