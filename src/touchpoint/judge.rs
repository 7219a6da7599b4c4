//! The rules: whether an event that could be read is a touchpoint, and if not, the first reason why not.
//!
//! The order of the checks is the order of [`RejectReason`], and that order is a promise: an event that
//! breaks several rules is counted under the first. So every reason has its function here, they are called
//! one after the other, and none of them looks at what only a later one may judge.

use super::field::{COMMON, Field, FlagField, NumberField, TextField, fields_of, required_of};
use super::reject::{RejectReason, Rejection, quote};
use super::time::parse_rfc3339;
use super::tree::Misfits;
use super::wire::{Attribute, RawData, RawEvent};
use super::{
    AbandonStage, Answer, CustomerState, DecodeContext, Dimensions, Direction, Item, Kind, Outcome, SurveyMetric,
    Touchpoint,
};
use std::fmt;

/// Whoever writes this dimension value could not be told from what we add ourselves.
const RESERVED: [&str; 2] = ["_none", "_other"];
/// For ids, `source` and `type`.
const ID_BYTES_MAX: usize = 256;
/// For every other string.
const TEXT_BYTES_MAX: usize = 128;
/// A longer duration is a mistake of units.
const DURATION_SECONDS_MAX: i64 = 7 * 86_400;
/// More holds or transfers of one contact are a mistake; and sums of them must fit.
const COUNT_MAX: i64 = 1_000_000;
/// A finer scale would make a map of every score.
const STEPS_MAX: f64 = 100.0;
/// Whatever lies on or before this UTC day is a default of somebody's clock: times are before this instant.
const SENTINEL_END_MS: i64 = 2 * 86_400_000;

/// Judges one event, whose texts move into the touchpoint. `record_timestamp` is that of the record that carried it.
pub(super) fn judge<'a>(
    event: &mut RawEvent<'a>,
    misfits: &Misfits,
    record_timestamp: Option<i64>,
    context: &DecodeContext,
) -> Item<'a> {
    if let Err(rejection) = check_specversion(event, misfits) {
        return Item::Rejected(rejection);
    }
    if event.data.flag(FlagField::Test) == Some(true) {
        return Item::Skipped;
    }
    match check_rest(event, misfits, record_timestamp, context) {
        Ok(touchpoint) => Item::Touchpoint(touchpoint),
        Err(rejection) => Item::Rejected(rejection),
    }
}

fn check_rest<'a>(
    event: &mut RawEvent<'a>,
    misfits: &Misfits,
    record_timestamp: Option<i64>,
    context: &DecodeContext,
) -> Result<Touchpoint<'a>, Rejection> {
    let kind = event.attributes.get(Attribute::Type).and_then(Kind::parse);
    check_present(event, misfits, kind)?;
    check_types(misfits, kind)?;
    check_lengths(event, kind)?;
    let kind = kind.ok_or_else(|| unknown_type(event))?;
    let time = check_time(event, record_timestamp, context)?;
    let closed = Closed::read(&event.data, kind)?;
    check_reserved(&event.data)?;
    let measured = Measured::read(&event.data, kind)?;
    check_integers(&event.data, kind)?;
    check_scale(&event.data, &closed)?;
    check_contradictions(&closed, &measured)?;
    Ok(assemble(event, kind, time, closed, measured))
}

/// A detail about a field of `data`.
fn about(reason: RejectReason, field: Field, what: impl fmt::Display) -> Rejection {
    Rejection::new(reason, format!("data.{}: {what}", field.name()))
}

/// Present and another version: an absent one is a missing field.
fn check_specversion(event: &RawEvent<'_>, misfits: &Misfits) -> Result<(), Rejection> {
    let found = match (event.attributes.get(Attribute::Specversion), misfits.attribute(Attribute::Specversion)) {
        (None, None) | (Some("1.0"), _) => return Ok(()),
        (Some(text), _) => quote(text),
        (None, Some(misfit)) => misfit.to_owned(),
    };
    Err(Rejection::new(RejectReason::UnsupportedSpecversion, format!("specversion: {found} is not \"1.0\"")))
}

fn check_present(event: &RawEvent<'_>, misfits: &Misfits, kind: Option<Kind>) -> Result<(), Rejection> {
    for attribute in Attribute::ALL {
        if event.attributes.get(attribute).is_none() && misfits.attribute(attribute).is_none() {
            return Err(Rejection::new(RejectReason::MissingField, format!("{}: is missing", attribute.name())));
        }
    }
    if misfits.data().is_some() {
        // Its fields cannot be looked for: that is a wrong type, not a missing field.
        return Ok(());
    }
    for field in kind.map_or(&[][..], required_of) {
        if !event.data.has(*field) && misfits.field(*field).is_none() {
            return Err(about(RejectReason::MissingField, *field, "is missing"));
        }
    }
    Ok(())
}

fn check_types(misfits: &Misfits, kind: Option<Kind>) -> Result<(), Rejection> {
    if misfits.is_empty() {
        return Ok(());
    }
    for attribute in Attribute::ALL {
        if let Some(found) = misfits.attribute(attribute) {
            let detail = format!("{}: must be a string, is {found}", attribute.name());
            return Err(Rejection::new(RejectReason::WrongType, detail));
        }
    }
    if let Some(found) = misfits.data() {
        return Err(Rejection::new(RejectReason::WrongType, format!("data: must be an object, is {found}")));
    }
    for field in COMMON.iter().chain(kind.map_or(&[][..], fields_of)) {
        if let Some(found) = misfits.field(*field) {
            let what = format_args!("must be {}, is {found}", field.type_name());
            return Err(about(RejectReason::WrongType, *field, what));
        }
    }
    Ok(())
}

fn check_lengths(event: &RawEvent<'_>, kind: Option<Kind>) -> Result<(), Rejection> {
    for attribute in Attribute::ALL {
        let max = match attribute {
            Attribute::Id | Attribute::Source | Attribute::Type => ID_BYTES_MAX,
            Attribute::Specversion | Attribute::Time => TEXT_BYTES_MAX,
        };
        if let Some(text) = event.attributes.get(attribute).filter(|text| text.len() > max) {
            let detail = format!("{}: is longer than {max} bytes: {}", attribute.name(), quote(text));
            return Err(Rejection::new(RejectReason::TooLong, detail));
        }
    }
    for field in COMMON.iter().chain(kind.map_or(&[][..], fields_of)) {
        let Field::Text(text_field) = *field else { continue };
        let max = match text_field {
            TextField::CustomerId | TextField::ContactId => ID_BYTES_MAX,
            _ => TEXT_BYTES_MAX,
        };
        if let Some(text) = event.data.text(text_field).filter(|text| text.len() > max) {
            let what = format_args!("is longer than {max} bytes: {}", quote(text));
            return Err(about(RejectReason::TooLong, *field, what));
        }
    }
    Ok(())
}

fn unknown_type(event: &RawEvent<'_>) -> Rejection {
    let found = quote(event.attributes.get(Attribute::Type).unwrap_or_default());
    Rejection::new(RejectReason::UnknownType, format!("type: {found} is none of {}", Names(Kind::ALL, Kind::name)))
}

fn check_time(event: &RawEvent<'_>, timestamp: Option<i64>, context: &DecodeContext) -> Result<i64, Rejection> {
    let text = event.attributes.get(Attribute::Time).unwrap_or_default();
    let reject = |reason, what: &str| Err(Rejection::new(reason, format!("time: {} {what}", quote(text))));
    let Some(time) = parse_rfc3339(text) else {
        return reject(RejectReason::BadTime, "is not an RFC 3339 date-time with an offset");
    };
    if time < SENTINEL_END_MS {
        return reject(RejectReason::SentinelTime, "is not after 1970-01-02: a default, not a time");
    }
    let future = context.max_future_ms;
    if let Some(timestamp) = timestamp.filter(|timestamp| *timestamp > context.now.saturating_add(future)) {
        let detail = format!("the record's timestamp {timestamp} is more than {future} ms past the clock");
        return Err(Rejection::new(RejectReason::FutureTime, detail));
    }
    let reference = timestamp.unwrap_or(context.now);
    if time > reference.saturating_add(future) {
        return reject(RejectReason::FutureTime, &format!("is more than {future} ms after {reference}"));
    }
    Ok(time)
}

/// The values from closed vocabularies.
struct Closed {
    outcome: Option<Outcome>,
    direction: Option<Direction>,
    abandon_stage: Option<AbandonStage>,
    state: Option<CustomerState>,
    metric: Option<SurveyMetric>,
}

impl Closed {
    fn read(data: &RawData<'_>, kind: Kind) -> Result<Closed, Rejection> {
        use TextField as Text;
        let contact = kind == Kind::Contact;
        Ok(Closed {
            outcome: one_of(data, contact, Text::Outcome, Outcome::parse, Names(Outcome::ALL, Outcome::name))?,
            direction: one_of(
                data,
                contact,
                Text::Direction,
                Direction::parse,
                Names(Direction::ALL, Direction::name),
            )?,
            abandon_stage: one_of(
                data,
                contact,
                Text::AbandonStage,
                AbandonStage::parse,
                Names(AbandonStage::ALL, AbandonStage::name),
            )?,
            state: one_of(
                data,
                kind == Kind::Customer,
                Text::State,
                CustomerState::parse,
                Names(CustomerState::ALL, CustomerState::name),
            )?,
            metric: one_of(
                data,
                kind == Kind::Survey,
                Text::Metric,
                SurveyMetric::parse,
                Names(SurveyMetric::ALL, SurveyMetric::name),
            )?,
        })
    }
}

fn one_of<T: Copy>(
    data: &RawData<'_>,
    applies: bool,
    field: TextField,
    parse: impl Fn(&str) -> Option<T>,
    names: Names<T>,
) -> Result<Option<T>, Rejection> {
    let Some(text) = data.text(field).filter(|_| applies) else { return Ok(None) };
    match parse(text) {
        Some(value) => Ok(Some(value)),
        None => {
            let what = format_args!("{} is none of {names}", quote(text));
            Err(about(RejectReason::UnknownValue, Field::Text(field), what))
        }
    }
}

/// The names of a vocabulary, as a message lists them.
struct Names<T: 'static>(&'static [T], fn(T) -> &'static str);

impl<T: Copy> fmt::Display for Names<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, value) in self.0.iter().enumerate() {
            write!(f, "{}{}", if at == 0 { "" } else { ", " }, self.1(*value))?;
        }
        Ok(())
    }
}

fn check_reserved(data: &RawData<'_>) -> Result<(), Rejection> {
    for field in COMMON {
        let Field::Text(text_field) = field else { continue };
        if matches!(text_field, TextField::CustomerId | TextField::ContactId) {
            continue;
        }
        if let Some(text) = data.text(text_field).filter(|text| RESERVED.contains(text)) {
            let what = format_args!("{} is reserved for what has no value of its own", quote(text));
            return Err(about(RejectReason::ReservedValue, field, what));
        }
    }
    Ok(())
}

/// Durations in milliseconds and real numbers, all in range.
#[derive(Default)]
struct Measured {
    queue_wait_ms: Option<i64>,
    hold_ms: Option<i64>,
    talk_ms: Option<i64>,
    wrapup_ms: Option<i64>,
    first_response_ms: Option<i64>,
    sentiment: Option<f64>,
    rating: Option<f64>,
}

impl Measured {
    /// Reads what is out of range as well, also in counts and scores, whose integers are checked later.
    fn read(data: &RawData<'_>, kind: Kind) -> Result<Measured, Rejection> {
        match kind {
            Kind::Contact => {
                let measured = Measured {
                    queue_wait_ms: duration_ms(data, NumberField::QueueWait)?,
                    hold_ms: duration_ms(data, NumberField::Hold)?,
                    talk_ms: duration_ms(data, NumberField::Talk)?,
                    wrapup_ms: duration_ms(data, NumberField::Wrapup)?,
                    first_response_ms: duration_ms(data, NumberField::FirstResponse)?,
                    ..Measured::default()
                };
                within(data, NumberField::HoldCount, 0.0, COUNT_MAX as f64)?;
                within(data, NumberField::Transfers, 0.0, COUNT_MAX as f64)?;
                Ok(measured)
            }
            Kind::Interaction => Ok(Measured {
                sentiment: within(data, NumberField::Sentiment, -1.0, 1.0)?,
                rating: within(data, NumberField::Rating, f64::MIN, f64::MAX)?,
                ..Measured::default()
            }),
            Kind::Customer => Ok(Measured::default()),
            Kind::Survey => check_score(data).map(|()| Measured::default()),
        }
    }
}

fn duration_ms(data: &RawData<'_>, field: NumberField) -> Result<Option<i64>, Rejection> {
    let Some(number) = data.number(field) else { return Ok(None) };
    let ms = number.as_milliseconds(DURATION_SECONDS_MAX).ok_or_else(|| {
        let what = format_args!("{number} is not within 0..{DURATION_SECONDS_MAX} seconds");
        about(RejectReason::OutOfRange, Field::Number(field), what)
    })?;
    Ok(Some(ms))
}

fn within(data: &RawData<'_>, field: NumberField, min: f64, max: f64) -> Result<Option<f64>, Rejection> {
    let Some(number) = data.number(field) else { return Ok(None) };
    if (min..=max).contains(&number.as_f64()) {
        return Ok(Some(number.as_f64()));
    }
    Err(about(RejectReason::OutOfRange, Field::Number(field), format_args!("{number} is not within {min}..{max}")))
}

/// The score on its scale, as numbers: whether they are integers is judged later.
fn check_score(data: &RawData<'_>) -> Result<(), Rejection> {
    const BOUND: f64 = i32::MAX as f64;
    let min = within(data, NumberField::ScaleMin, -BOUND, BOUND)?.unwrap_or_default();
    let max = within(data, NumberField::ScaleMax, -BOUND, BOUND)?.unwrap_or_default();
    let scale = Field::Number(NumberField::ScaleMax);
    if min >= max {
        let what = format_args!("{max} is not above scale_min {min}");
        return Err(about(RejectReason::OutOfRange, scale, what));
    }
    if max - min > STEPS_MAX {
        let what = format_args!("{min}..{max} is more than {STEPS_MAX} steps");
        return Err(about(RejectReason::OutOfRange, scale, what));
    }
    within(data, NumberField::Score, min, max).map(drop)
}

fn check_integers(data: &RawData<'_>, kind: Kind) -> Result<(), Rejection> {
    let whole: &[NumberField] = match kind {
        Kind::Contact => &[NumberField::HoldCount, NumberField::Transfers],
        Kind::Survey => &[NumberField::Score, NumberField::ScaleMin, NumberField::ScaleMax],
        Kind::Interaction | Kind::Customer => &[],
    };
    for field in whole {
        if let Some(number) = data.number(*field).filter(|number| number.as_integer().is_none()) {
            let what = format_args!("{number} is not an integer");
            return Err(about(RejectReason::NotInteger, Field::Number(*field), what));
        }
    }
    Ok(())
}

fn check_scale(data: &RawData<'_>, closed: &Closed) -> Result<(), Rejection> {
    let Some(metric @ (SurveyMetric::Nps | SurveyMetric::Enps)) = closed.metric else { return Ok(()) };
    let Some(answer) = read_answer(data) else { return Ok(()) };
    if (answer.scale_min, answer.scale_max, answer.low_is_best) == (0, 10, false) {
        return Ok(());
    }
    let low = if answer.low_is_best { " with low as the best" } else { "" };
    let scale =
        format_args!("{} is asked on 0..10, not {}..{}{low}", metric.name(), answer.scale_min, answer.scale_max);
    Err(about(RejectReason::WrongScale, Field::Number(NumberField::ScaleMax), scale))
}

fn check_contradictions(closed: &Closed, measured: &Measured) -> Result<(), Rejection> {
    let Some(outcome) = closed.outcome else { return Ok(()) };
    let reject = |field, what: String| Err(about(RejectReason::Contradiction, field, what));
    if outcome == Outcome::Abandoned {
        for (ms, field) in [(measured.talk_ms, NumberField::Talk), (measured.hold_ms, NumberField::Hold)] {
            if let Some(ms) = ms.filter(|ms| *ms > 0) {
                return reject(Field::Number(field), format!("{ms} ms, though no agent took the abandoned contact"));
            }
        }
    }
    let Some(stage) = closed.abandon_stage else { return Ok(()) };
    let goes_with = match stage {
        AbandonStage::Ivr | AbandonStage::Queue | AbandonStage::Ring => Outcome::Abandoned,
        AbandonStage::Hold => Outcome::Answered,
    };
    if outcome == goes_with {
        return Ok(());
    }
    let what = format!("{:?} goes with outcome {}, not {}", stage.name(), goes_with.name(), outcome.name());
    reject(Field::Text(TextField::AbandonStage), what)
}

fn read_answer(data: &RawData<'_>) -> Option<Answer> {
    let integer = |field| i32::try_from(data.number(field)?.as_integer()?).ok();
    Some(Answer {
        scale_min: integer(NumberField::ScaleMin)?,
        scale_max: integer(NumberField::ScaleMax)?,
        low_is_best: data.flag(FlagField::HigherIsBetter) == Some(false),
        score: integer(NumberField::Score)?,
    })
}

/// Puts together what has been checked. Only the fields of the type are taken.
fn assemble<'a>(event: &mut RawEvent<'a>, kind: Kind, time: i64, closed: Closed, measured: Measured) -> Touchpoint<'a> {
    let data = &mut event.data;
    let is = |wanted: Kind| kind == wanted;
    let count = |data: &RawData<'_>, field| data.number(field).filter(|_| is(Kind::Contact))?.as_integer();
    Touchpoint {
        source: event.attributes.take(Attribute::Source).unwrap_or_default(),
        id: event.attributes.take(Attribute::Id).unwrap_or_default(),
        time,
        kind,
        dimensions: Dimensions { values: data.take_first_texts() },
        customer_id: data.take_text(TextField::CustomerId),
        contact_id: data.take_text(TextField::ContactId),
        outcome: closed.outcome,
        direction: closed.direction,
        queue_wait_ms: measured.queue_wait_ms,
        hold_ms: measured.hold_ms,
        hold_count: count(data, NumberField::HoldCount),
        talk_ms: measured.talk_ms,
        wrapup_ms: measured.wrapup_ms,
        first_response_ms: measured.first_response_ms,
        resolved: data.flag(FlagField::Resolved).filter(|_| is(Kind::Contact)),
        abandon_stage: closed.abandon_stage,
        transfers: count(data, NumberField::Transfers),
        interaction: data.take_text(TextField::Interaction).filter(|_| is(Kind::Interaction)),
        sentiment_bits: measured.sentiment.map(f64::to_bits),
        rating_bits: measured.rating.map(f64::to_bits),
        state: closed.state,
        reason: data.take_text(TextField::Reason).filter(|_| is(Kind::Customer)),
        metric: closed.metric,
        answer: is(Kind::Survey).then(|| read_answer(data)).flatten(),
        has_comment: data.flag(FlagField::HasComment).filter(|_| is(Kind::Survey)),
        respondent: data.take_text(TextField::Respondent).filter(|_| is(Kind::Survey)),
    }
}
