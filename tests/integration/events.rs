//! Touchpoints for tests: written by hand, or made of a few bytes so that a counterexample shrinks to something a
//! person can read; and as JSON, for what goes through the decoder.

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use touchstone::engine::time::rfc3339;
use touchstone::touchpoint::{
    AbandonStage, Answer, CustomerState, Dimension, Dimensions, Direction, Kind, Outcome, SurveyMetric, Touchpoint,
};

/// How many bytes describe a touchpoint.
pub const BYTES: usize = 12;

/// What a touchpoint is made of.
pub type Bytes = [u8; BYTES];

/// Any touchpoint, without its time.
pub fn bytes() -> impl Strategy<Value = Bytes> + Clone {
    any::<Bytes>()
}

/// The touchpoint that these bytes describe.
pub fn touchpoint(id: &str, time: i64, bytes: &Bytes) -> Touchpoint<'static> {
    let mut event = match bytes[0] % 6 {
        0..=2 => contact_of(bytes),
        3 => interaction(),
        4 => survey_of(bytes),
        _ => customer_of(bytes),
    };
    event.id = id.to_string().into();
    event.time = time;
    let values: [(Dimension, &[&str]); 3] = [
        (Dimension::Channel, &["", "voice", "chat", "e|mail"]),
        (Dimension::Queue, &["", "PS", "a:b", "каса", "_"]),
        (Dimension::Team, &["", "red", "blue"]),
    ];
    for ((dimension, values), byte) in values.into_iter().zip(&bytes[1..]) {
        let value = values[usize::from(*byte) % values.len()];
        event.dimensions.values[dimension as usize] = Some(value).filter(|value| !value.is_empty()).map(Into::into);
    }
    event
}

fn contact_of(bytes: &Bytes) -> Touchpoint<'static> {
    let (outcome, stage) = match bytes[4] % 10 {
        0..=2 => (Outcome::Answered, None),
        3 => (Outcome::Answered, Some(AbandonStage::Hold)),
        4 => (Outcome::Abandoned, None),
        5 => (Outcome::Abandoned, Some(AbandonStage::Queue)),
        6 => (Outcome::Abandoned, Some(AbandonStage::Ivr)),
        7 => (Outcome::FlowOut, None),
        8 => (Outcome::Callback, None),
        _ => (if bytes[4] > 127 { Outcome::Voicemail } else { Outcome::Failed }, None),
    };
    // Every fourth one is unknown; the others reach over every bound that counts.
    let known = |byte: u8, step: i64| (!byte.is_multiple_of(4)).then(|| i64::from(byte / 4) * step);
    let taken = outcome == Outcome::Answered;
    let mut event = contact(outcome);
    event.abandon_stage = stage;
    event.direction = match bytes[5] % 8 {
        0 => Some(Direction::Outbound),
        1 => Some(Direction::Internal),
        2 => Some(Direction::Inbound),
        _ => None,
    };
    event.queue_wait_ms = known(bytes[6], 731);
    event.hold_ms = known(bytes[7], 419).filter(|_| taken);
    event.talk_ms = known(bytes[8], 5_003).filter(|_| taken);
    event.wrapup_ms = known(bytes[9], 977).filter(|_| taken);
    event.first_response_ms = known(bytes[10], 1_009);
    event.resolved = [None, Some(true), Some(false)][usize::from(bytes[11] % 3)];
    event.transfers = [None, Some(0), Some(2)][usize::from(bytes[11] / 3 % 3)];
    event
}

fn survey_of(bytes: &Bytes) -> Touchpoint<'static> {
    let (metric, scale_min, scale_max) = match bytes[4] % 6 {
        0 => (SurveyMetric::Csat, 1, 5),
        1 => (SurveyMetric::Csat, 1, 10),
        2 => (SurveyMetric::Ces, 1, 7),
        3 => (SurveyMetric::Ces, -2, 2),
        4 => (SurveyMetric::Enps, 0, 10),
        _ => (SurveyMetric::Nps, 0, 10),
    };
    let score = scale_min + i32::from(bytes[5]) % (scale_max - scale_min + 1);
    // The net promoter score has one scale.
    let low_is_best = bytes[6] % 4 == 1 && !matches!(metric, SurveyMetric::Nps | SurveyMetric::Enps);
    survey(metric, Answer { scale_min, scale_max, low_is_best, score })
}

fn customer_of(bytes: &Bytes) -> Touchpoint<'static> {
    use CustomerState::{Acquired, Churned, Downgraded, Reactivated, Renewed};
    let state = [Churned, Acquired, Renewed, Downgraded, Reactivated][usize::from(bytes[4] % 5)];
    let reason = ["", "price", "moved | away"][usize::from(bytes[5] % 3)];
    customer(state, Some(reason).filter(|reason| !reason.is_empty()))
}

fn event(kind: Kind) -> Touchpoint<'static> {
    Touchpoint {
        source: "/test".into(),
        id: "1".into(),
        time: 0,
        kind,
        dimensions: Dimensions::default(),
        customer_id: None,
        contact_id: None,
        outcome: None,
        direction: None,
        queue_wait_ms: None,
        hold_ms: None,
        hold_count: None,
        talk_ms: None,
        wrapup_ms: None,
        first_response_ms: None,
        resolved: None,
        abandon_stage: None,
        transfers: None,
        interaction: None,
        sentiment_bits: None,
        rating_bits: None,
        state: None,
        reason: None,
        metric: None,
        answer: None,
        has_comment: None,
        respondent: None,
    }
}

/// A contact that ended so, about which nothing else is known.
pub fn contact(outcome: Outcome) -> Touchpoint<'static> {
    Touchpoint { contact_id: Some("contact".into()), outcome: Some(outcome), ..event(Kind::Contact) }
}

/// A visit.
pub fn interaction() -> Touchpoint<'static> {
    Touchpoint { interaction: Some("visit".into()), ..event(Kind::Interaction) }
}

/// An answer.
pub fn survey(metric: SurveyMetric, answer: Answer) -> Touchpoint<'static> {
    Touchpoint { metric: Some(metric), answer: Some(answer), ..event(Kind::Survey) }
}

/// A customer who came or left.
pub fn customer(state: CustomerState, reason: Option<&'static str>) -> Touchpoint<'static> {
    let customer_id = Some("customer".into());
    Touchpoint { customer_id, state: Some(state), reason: reason.map(Into::into), ..event(Kind::Customer) }
}

/// The event as a producer would write it.
pub fn json(event: &Touchpoint<'_>) -> String {
    let mut data = Map::new();
    let mut put = |name: &str, value: Option<Value>| _ = value.map(|value| data.insert(name.into(), value));
    for dimension in Dimension::ALL {
        put(dimension.name(), event.dimensions.get(dimension).map(Value::from));
    }
    let seconds = |milliseconds: Option<i64>| milliseconds.map(|ms| json!(ms as f64 / 1000.0));
    put("queue_wait_seconds", seconds(event.queue_wait_ms));
    put("hold_seconds", seconds(event.hold_ms));
    put("talk_seconds", seconds(event.talk_ms));
    put("wrapup_seconds", seconds(event.wrapup_ms));
    put("first_response_seconds", seconds(event.first_response_ms));
    put("contact_id", event.contact_id.as_deref().map(Value::from));
    put("customer_id", event.customer_id.as_deref().map(Value::from));
    put("kind", event.interaction.as_deref().map(Value::from));
    put("reason", event.reason.as_deref().map(Value::from));
    put("resolved", event.resolved.map(Value::from));
    put("transfers", event.transfers.map(Value::from));
    // Closed vocabularies are spelled as their variants, in snake case.
    put("outcome", event.outcome.map(|outcome| snake(&format!("{outcome:?}"))));
    put("direction", event.direction.map(|direction| snake(&format!("{direction:?}"))));
    put("abandon_stage", event.abandon_stage.map(|stage| snake(&format!("{stage:?}"))));
    put("state", event.state.map(|state| snake(&format!("{state:?}"))));
    put("metric", event.metric.map(|metric| snake(&format!("{metric:?}"))));
    put("score", event.answer.map(|answer| answer.score.into()));
    put("scale_min", event.answer.map(|answer| answer.scale_min.into()));
    put("scale_max", event.answer.map(|answer| answer.scale_max.into()));
    put("higher_is_better", event.answer.filter(|answer| answer.low_is_best).map(|_| false.into()));
    let kind = match event.kind {
        Kind::Contact => "cx.contact.ended.v1",
        Kind::Interaction => "cx.interaction.v1",
        Kind::Customer => "cx.customer.changed.v1",
        Kind::Survey => "cx.survey.responded.v1",
    };
    let (id, source, time) = (&event.id, &event.source, rfc3339(event.time));
    json!({"specversion": "1.0", "id": id, "source": source, "type": kind, "time": time, "data": data}).to_string()
}

fn snake(variant: &str) -> Value {
    let mut text = String::new();
    for letter in variant.chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.extend(letter.to_lowercase());
    }
    text.into()
}
