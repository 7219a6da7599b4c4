//! From bytes to an item: limits first, then the content mode, then the fast reading, then the rules.
//!
//! ```text
//! bytes -> size? -> UTF-8? -> depth? -> wire (fast, strict) -> judge -> accepted or skipped
//!                                         `----- refused -------`---> tree (slow) -> judge -> Item
//! ```
//!
//! The fast reading may only accept: whatever it refuses, and whatever the rules refuse then, is read again from the
//! start by the tree, which has the last word and the words for it. The two use different parsers (sonic-rs was
//! measured to be the faster one here, serde_json tells better what is wrong); a law in the tests holds them together.
//! Nothing here may panic, whatever the bytes, and nothing reads a clock or writes a log line.

use super::Item;
use super::judge::judge;
use super::reject::{RejectReason, Rejection};
use super::tree::{self, Misfits};
use super::wire::{Attribute, Attributes, RawData, RawEvent};
use crate::record::Record;
use std::borrow::Cow;

/// How many brackets may be open at once. serde_json gives up at 128, others overflow their stack.
const DEPTH_MAX: usize = 64;

/// Limits that hold before anything is parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest value that is looked at, in bytes.
    pub record_bytes_max: usize,
}

/// What decoding must be told: it reads no clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeContext {
    /// The clock, in milliseconds since the epoch: the start of the command for files.
    pub now: i64,
    /// How far an event may lie after its record's timestamp (in files, after `now`), in milliseconds.
    pub max_future_ms: i64,
    /// See [`Limits`].
    pub limits: Limits,
}

/// Decodes one record in either content mode of the CloudEvents Kafka binding: a content type that begins
/// with `application/cloudevents` is structured, else any `ce_` header is binary, else structured.
pub fn decode<'a>(record: &Record<'a>, context: &DecodeContext) -> Item<'a> {
    let Some(value) = record.value else {
        return rejected(RejectReason::NotJson, "the value is null (a tombstone), not an event");
    };
    let json = match check_limits(value, context.limits) {
        Ok(json) => json,
        Err(rejection) => return Item::Rejected(rejection),
    };
    if !is_binary(record) {
        return decode_sound(json, record.timestamp, context);
    }
    let attributes = match read_attributes(record) {
        Ok(attributes) => attributes,
        Err(rejection) => return Item::Rejected(rejection),
    };
    if let Ok(data) = sonic_rs::from_str::<RawData<'_>>(json) {
        let mut event = RawEvent { attributes: attributes.clone(), data };
        let item = judge(&mut event, &Misfits::default(), record.timestamp, context);
        if !matches!(item, Item::Rejected(_)) {
            return item;
        }
    }
    match tree::read_data(json, attributes) {
        Ok((mut event, misfits)) => judge(&mut event, &misfits, record.timestamp, context),
        Err(rejection) => Item::Rejected(rejection),
    }
}

/// Decodes one structured event: the output of a mapping, or a row of a file. `record_timestamp` is that of
/// the Kafka record it came from.
pub fn decode_event<'a>(json: &'a str, record_timestamp: Option<i64>, context: &DecodeContext) -> Item<'a> {
    match check_limits(json.as_bytes(), context.limits) {
        Ok(json) => decode_sound(json, record_timestamp, context),
        Err(rejection) => Item::Rejected(rejection),
    }
}

/// Checks size, encoding and depth, in this order, before anything is parsed. A mapping's input goes through
/// the same gate.
///
/// # Errors
/// `too_large`, `not_utf8` or `not_json`: the item is to be rejected so.
pub fn check_limits(value: &[u8], limits: Limits) -> Result<&str, Rejection> {
    let max = limits.record_bytes_max;
    if value.len() > max {
        let detail = format!("the value has {} bytes, more than record_bytes_max = {max}", value.len());
        return Err(Rejection::new(RejectReason::TooLarge, detail));
    }
    let text = std::str::from_utf8(value).map_err(|error| {
        let detail = format!("the value is not UTF-8 from byte {}", error.valid_up_to());
        Rejection::new(RejectReason::NotUtf8, detail)
    })?;
    if is_too_deep(value) {
        let detail = format!("the value has more than {DEPTH_MAX} open brackets");
        return Err(Rejection::new(RejectReason::NotJson, detail));
    }
    Ok(text)
}

fn rejected(reason: RejectReason, detail: &str) -> Item<'static> {
    Item::Rejected(Rejection::new(reason, detail))
}

fn decode_sound<'a>(json: &'a str, record_timestamp: Option<i64>, context: &DecodeContext) -> Item<'a> {
    if let Ok(mut event) = sonic_rs::from_str::<RawEvent<'_>>(json) {
        let item = judge(&mut event, &Misfits::default(), record_timestamp, context);
        if !matches!(item, Item::Rejected(_)) {
            return item;
        }
    }
    decode_slowly(json, record_timestamp, context)
}

/// The reading that can name everything; also the yardstick of the fast one in the tests.
pub(super) fn decode_slowly<'a>(json: &'a str, record_timestamp: Option<i64>, context: &DecodeContext) -> Item<'a> {
    match tree::read_event(json) {
        Ok((mut event, misfits)) => judge(&mut event, &misfits, record_timestamp, context),
        Err(rejection) => Item::Rejected(rejection),
    }
}

fn is_binary(record: &Record<'_>) -> bool {
    const STRUCTURED: &[u8] = b"application/cloudevents";
    let structured = record
        .header("content-type")
        .and_then(|content_type| content_type.get(..STRUCTURED.len()))
        .is_some_and(|prefix| prefix.eq_ignore_ascii_case(STRUCTURED));
    !structured && record.headers.iter().any(|(name, _)| strip_ce(name).is_some())
}

fn strip_ce(name: &str) -> Option<&str> {
    let (prefix, attribute) = name.split_at_checked(3)?;
    prefix.eq_ignore_ascii_case("ce_").then_some(attribute)
}

/// The attributes of a binary event. A header that comes twice counts once, the first time.
fn read_attributes<'a>(record: &Record<'a>) -> Result<Attributes<'a>, Rejection> {
    let mut attributes = Attributes::default();
    for attribute in Attribute::ALL {
        let named = |name: &str| strip_ce(name).is_some_and(|name| name.eq_ignore_ascii_case(attribute.name()));
        let Some((_, Some(value))) = record.headers.iter().find(|(name, _)| named(name)) else { continue };
        let text = std::str::from_utf8(value).map_err(|_| {
            Rejection::new(RejectReason::NotUtf8, format!("the header ce_{} is not UTF-8", attribute.name()))
        })?;
        attributes.values[attribute as usize] = (!text.is_empty()).then_some(Cow::Borrowed(text));
    }
    Ok(attributes)
}

/// Whether more than [`DEPTH_MAX`] brackets are open anywhere. Counting them all is far cheaper than
/// following them, and settles nearly every event.
fn is_too_deep(json: &[u8]) -> bool {
    count_opening(json) > DEPTH_MAX && depth(json) > DEPTH_MAX
}

/// The number of `[` and `{`, strings included; chunks of less than 256 bytes let it count in bytes.
fn count_opening(json: &[u8]) -> usize {
    // `[` and `{` differ in the bit 0x20 only, and no other byte becomes `{` by it.
    let count = |chunk: &[u8]| chunk.iter().fold(0_u8, |sum, byte| sum + u8::from(byte | 0x20 == b'{'));
    json.chunks(224).map(|chunk| usize::from(count(chunk))).sum()
}

/// The greatest number of brackets open at once, outside strings.
fn depth(json: &[u8]) -> usize {
    let (mut open, mut deepest) = (0_usize, 0);
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => skip_string(&mut bytes),
            b'[' | b'{' => {
                open += 1;
                deepest = deepest.max(open);
            }
            b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

fn skip_string(bytes: &mut std::slice::Iter<'_, u8>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => _ = bytes.next(),
            _ => {}
        }
    }
}
