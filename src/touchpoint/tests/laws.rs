//! The laws of decoding: the fast reading and the slow one agree on whatever they are given, both content modes say
//! the same, and any input gives a value and never a panic.

use super::*;
use proptest::prelude::*;

/// Any JSON value that could sit in a field.
fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-20_i64..200).prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (-2.0..12.0).prop_map(Value::from),
        ".{0,6}".prop_map(Value::from),
        prop_oneof!["answered", "abandoned", "hold", "ivr", "nps", "churned", "1999-01-03T07:00:00Z", "_none"]
            .prop_map(Value::from),
        (100_usize..300).prop_map(|length| Value::from("x".repeat(length))),
        Just(json!([1, {"a": [null]}])),
        Just(json!({"a": {"b": 1e300}})),
    ]
}

#[rustfmt::skip]
const PATHS: [&str; 46] = [
    "specversion", "id", "source", "type", "time", "data", "subject", "datacontenttype", "data.channel", "data.queue",
    "data.team", "data.agent", "data.topic", "data.stage", "data.region", "data.segment", "data.product",
    "data.campaign", "data.variant", "data.customer_id", "data.contact_id", "data.test", "data.outcome",
    "data.direction", "data.queue_wait_seconds", "data.hold_seconds", "data.hold_count", "data.talk_seconds",
    "data.wrapup_seconds", "data.first_response_seconds", "data.resolved", "data.abandon_stage", "data.transfers",
    "data.kind", "data.sentiment", "data.rating", "data.state", "data.reason", "data.metric", "data.score",
    "data.scale_min", "data.scale_max", "data.higher_is_better", "data.has_comment", "data.respondent", "data.extra",
];

fn any_event() -> impl Strategy<Value = Value> {
    let base = prop_oneof![Just(contact()), Just(interaction()), Just(customer()), Just(survey())];
    (base, prop::collection::vec((prop::sample::select(&PATHS[..]), any_value()), 0..4)).prop_map(|(event, changes)| {
        changes.into_iter().fold(event, |event, change| match &change {
            // Once `data` is no object, nothing can be put into it.
            (path, _) if path.starts_with("data.") && !event["data"].is_object() => event,
            _ => with(event, &[change]),
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn the_fast_reading_and_the_slow_one_agree(event in any_event()) {
        let json = event.to_string();
        prop_assert_eq!(decode_event(&json, None, &CONTEXT), decode_slowly_or_limits(&json));
    }

    #[test]
    fn they_agree_on_damaged_text(event in any_event(), at in any::<prop::sample::Index>(), with in ".{0,3}", cut in 0_usize..4) {
        let json = event.to_string();
        let from = json.floor_char_boundary(at.index(json.len()));
        let to = json.ceil_char_boundary((from + cut).min(json.len()));
        let damaged = format!("{}{with}{}", &json[..from], &json[to..]);
        prop_assert_eq!(decode_event(&damaged, None, &CONTEXT), decode_slowly_or_limits(&damaged));
    }

    #[test]
    fn both_modes_agree_on_any_event(event in any_event()) {
        // What a header cannot say (a number, an absent `data`) has no counterpart.
        let sayable = |attribute: &str| event[attribute].is_string() || event[attribute].is_null();
        prop_assume!(["specversion", "id", "source", "type", "time"].into_iter().all(sayable));
        prop_assume!(event["data"].is_object());
        let mut headers = Vec::new();
        let data = decode_binary(&event, &mut headers);
        let mut headers: Vec<Header<'_>> = headers.iter().map(|(name, value)| (&**name, Some(&**value))).collect();
        headers.push(("ce_subject", None)); // so that some header says "binary"
        let record = Record { offset: 0, timestamp: None, key: None, value: Some(data.as_bytes()), headers: &headers };
        let json = event.to_string();
        prop_assert_eq!(decode(&record, &CONTEXT), decode_event(&json, None, &CONTEXT));
    }

    #[test]
    fn any_bytes_and_headers_give_a_value(
        value in prop::option::of(prop::collection::vec(any::<u8>(), 0..200)),
        headers in prop::collection::vec((".{0,20}|ce_(id|time|type)|content-type", prop::option::of(prop::collection::vec(any::<u8>(), 0..40))), 0..5),
        timestamp in any::<Option<i64>>(),
        now in any::<i64>(),
    ) {
        let headers: Vec<Header<'_>> = headers.iter().map(|(name, value)| (&**name, value.as_deref())).collect();
        let record = Record { offset: 0, timestamp, key: None, value: value.as_deref(), headers: &headers };
        let item = decode(&record, &DecodeContext { now, ..CONTEXT });
        prop_assert!(!matches!(item, Item::Touchpoint(_)));
    }

    #[test]
    fn any_json_like_text_gives_a_value(text in r#"[\[\]{}":,0-9eE+.a-f\\ntrue-]{0,80}"#, timestamp in any::<Option<i64>>()) {
        prop_assert!(!matches!(decode_event(&text, timestamp, &CONTEXT), Item::Touchpoint(_)));
    }
}

/// Pieces on which parsers have been known to differ.
#[rustfmt::skip]
const POISON: [&str; 42] = [
    "", "\u{1}", "\u{c}", "\\", "\\u", "\\ud800", "\\udc00\\ud800", "\\x", "\"", "0", "00", ".", "e", "E+", "-", "-0", "+", ",", ",,",
    ":", "[", "]", "{", "}", "{}", "null", "NaN", "Infinity", "/**/", "//\n", "\u{feff}", "\0", "\t", "\n", "tru", "1e999",
    "1e-999", "1e400", "123456789012345678901234567890", "0.1e", "\u{7f}", "'",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 5000, ..ProptestConfig::default() })]

    #[test]
    fn they_agree_on_what_parsers_differ_on(
        event in any_event(),
        at in any::<prop::sample::Index>(),
        poison in prop::sample::select(&POISON[..]),
        cut in 0_usize..3,
    ) {
        let json = event.to_string();
        let from = json.floor_char_boundary(at.index(json.len()));
        let to = json.ceil_char_boundary((from + cut).min(json.len()));
        let damaged = format!("{}{poison}{}", &json[..from], &json[to..]);
        prop_assert_eq!(decode_event(&damaged, None, &CONTEXT), decode_slowly_or_limits(&damaged));
    }
}
