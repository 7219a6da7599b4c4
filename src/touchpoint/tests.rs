//! Decoding as a whole: every reason and its place in the order, both content modes, limits. The laws are apart.

use super::decode::{DecodeContext, Limits, decode, decode_event, decode_slowly};
use super::*;
use crate::record::{Header, Record};
use serde_json::{Value, json};

mod laws;

/// 1999-01-10T00:00:00Z.
const NOW: i64 = 915_926_400_000;

const CONTEXT: DecodeContext =
    DecodeContext { now: NOW, max_future_ms: 300_000, limits: Limits { record_bytes_max: 1 << 20 } };

fn contact() -> Value {
    json!({
        "specversion": "1.0", "id": "evt-1", "source": "/connect/1", "type": "cx.contact.ended.v1",
        "time": "1999-01-03T07:00:00.250Z", "datacontenttype": "application/json", "subject": "contact-1",
        "data": {
            "channel": "voice", "queue": "PS", "team": "north", "agent": null, "region": "", "contact_id": "c-1",
            "customer_id": "cu-1", "outcome": "answered", "queue_wait_seconds": 12.0005, "hold_seconds": 3,
            "hold_count": 1, "talk_seconds": 95.25, "wrapup_seconds": 20, "resolved": true, "transfers": 0,
            "abandon_stage": "hold", "campaign": "k\u{e4}se", "extra": {"deep": [1, 2.5, {"a": "b"}]}
        }
    })
}

fn interaction() -> Value {
    envelope("cx.interaction.v1", json!({"channel": "web", "kind": "visit", "sentiment": -0.5, "rating": 4}))
}

fn customer() -> Value {
    envelope("cx.customer.changed.v1", json!({"customer_id": "cu-1", "state": "churned", "reason": "price"}))
}

fn survey() -> Value {
    let data = json!({
        "metric": "csat", "score": 4, "scale_min": 1, "scale_max": 5, "higher_is_better": true, "has_comment": false,
        "respondent": "customer"
    });
    envelope("cx.survey.responded.v1", data)
}

fn envelope(kind: &str, data: Value) -> Value {
    json!({"specversion": "1.0", "id": "e", "source": "/s", "type": kind, "time": "1999-01-03T07:00:00Z", "data": data})
}

/// The event with the fields at these paths set; `data.x` or `x`.
fn with(mut event: Value, changes: &[(&str, Value)]) -> Value {
    for (path, value) in changes {
        match path.split_once('.') {
            Some((outer, inner)) => event[outer][inner] = value.clone(),
            None => event[*path] = value.clone(),
        }
    }
    event
}

fn rejection(json: &str) -> Rejection {
    let item = decode_event(json, None, &CONTEXT);
    assert_eq!(item, decode_slowly_or_limits(json), "{json}");
    match item {
        Item::Rejected(rejection) => rejection,
        other => panic!("{json} gave {other:?}"),
    }
}

fn decode_slowly_or_limits(json: &str) -> Item<'_> {
    match super::check_limits(json.as_bytes(), CONTEXT.limits) {
        Ok(json) => decode_slowly(json, None, &CONTEXT),
        Err(rejection) => Item::Rejected(rejection),
    }
}

fn touchpoint(json: &str) -> Touchpoint<'_> {
    match decode_event(json, None, &CONTEXT) {
        Item::Touchpoint(touchpoint) => touchpoint,
        other => panic!("{json} gave {other:?}"),
    }
}

#[test]
fn a_contact_is_read_in_full() {
    let json = contact().to_string();
    let touchpoint = touchpoint(&json);
    assert_eq!(touchpoint.kind, Kind::Contact);
    assert_eq!((touchpoint.source.as_ref(), touchpoint.id.as_ref()), ("/connect/1", "evt-1"));
    assert_eq!(touchpoint.time, 915_346_800_250);
    assert_eq!(touchpoint.dimensions.get(Dimension::Channel), Some("voice"));
    assert_eq!(touchpoint.dimensions.get(Dimension::Campaign), Some("käse"));
    assert_eq!(touchpoint.dimensions.get(Dimension::Agent), None);
    assert_eq!(touchpoint.dimensions.get(Dimension::Region), None);
    assert_eq!(touchpoint.contact_id.as_deref(), Some("c-1"));
    assert_eq!(touchpoint.outcome, Some(Outcome::Answered));
    assert!(touchpoint.is_inbound());
    assert_eq!(touchpoint.queue_wait_ms, Some(12_001));
    assert_eq!(touchpoint.hold_ms, Some(3_000));
    assert_eq!(touchpoint.hold_count, Some(1));
    assert_eq!(touchpoint.talk_ms, Some(95_250));
    assert_eq!(touchpoint.wrapup_ms, Some(20_000));
    assert_eq!(touchpoint.first_response_ms, None);
    assert_eq!(touchpoint.resolved, Some(true));
    assert_eq!(touchpoint.abandon_stage, Some(AbandonStage::Hold));
    assert_eq!(touchpoint.transfers, Some(0));
    assert!(matches!(touchpoint.id, Cow::Borrowed(_)), "strings without escapes are not copied");
}

#[test]
fn the_other_types_are_read_in_full() {
    let json = interaction().to_string();
    let found = touchpoint(&json);
    assert_eq!((found.kind, found.interaction.as_deref()), (Kind::Interaction, Some("visit")));
    assert_eq!(found.sentiment_bits.map(f64::from_bits), Some(-0.5));
    assert_eq!(found.rating_bits.map(f64::from_bits), Some(4.0));

    let json = customer().to_string();
    let found = touchpoint(&json);
    assert_eq!((found.kind, found.state), (Kind::Customer, Some(CustomerState::Churned)));
    assert_eq!(found.reason.as_deref(), Some("price"));

    let json = with(survey(), &[("data.higher_is_better", json!(false)), ("data.score", json!(4.0))]).to_string();
    let found = touchpoint(&json);
    assert_eq!((found.kind, found.metric), (Kind::Survey, Some(SurveyMetric::Csat)));
    assert_eq!(found.answer, Some(Answer { scale_min: 1, scale_max: 5, low_is_best: true, score: 4 }));
    assert_eq!((found.has_comment, found.respondent.as_deref()), (Some(false), Some("customer")));
}

#[test]
fn a_field_of_another_type_is_an_unknown_extra_field() {
    let foreign = [("data.score", json!("high")), ("data.state", json!("gone")), ("data.kind", json!("visit"))];
    let json = with(contact(), &foreign).to_string();
    let plain = contact().to_string();
    assert_eq!(touchpoint(&json), touchpoint(&plain));
}

/// One violation of each reason that parsing leaves over, in the order of the reasons; all on a survey or a
/// contact, so that several can be put into one event.
fn violations(of: &Value) -> Vec<(RejectReason, Vec<(&'static str, Value)>)> {
    let long = "x".repeat(300);
    let mut all = vec![
        (RejectReason::UnsupportedSpecversion, vec![("specversion", json!("0.3"))]),
        (RejectReason::MissingField, vec![("id", Value::Null)]),
        (RejectReason::WrongType, vec![("data.topic", json!(7))]),
        (RejectReason::TooLong, vec![("data.customer_id", json!(long))]),
        (RejectReason::UnknownType, vec![("type", json!("cx.contact.ended.v2"))]),
        (RejectReason::BadTime, vec![("time", json!("yesterday"))]),
        (RejectReason::SentinelTime, vec![("time", json!("1970-01-01T00:00:00Z"))]),
        (RejectReason::FutureTime, vec![("time", json!("2099-01-01T00:00:00Z"))]),
    ];
    if of["type"] == "cx.survey.responded.v1" {
        all.extend([
            (RejectReason::UnknownValue, vec![("data.metric", json!("joy"))]),
            (RejectReason::ReservedValue, vec![("data.team", json!("_other"))]),
            (RejectReason::OutOfRange, vec![("data.score", json!(11))]),
            (RejectReason::NotInteger, vec![("data.scale_min", json!(0.5))]),
            (RejectReason::WrongScale, vec![("data.metric", json!("nps"))]),
        ]);
    } else {
        all.extend([
            (RejectReason::UnknownValue, vec![("data.direction", json!("sideways"))]),
            (RejectReason::ReservedValue, vec![("data.queue", json!("_none"))]),
            (RejectReason::OutOfRange, vec![("data.wrapup_seconds", json!(-1))]),
            (RejectReason::NotInteger, vec![("data.transfers", json!(1.5))]),
            (RejectReason::Contradiction, vec![("data.outcome", json!("abandoned"))]),
        ]);
    }
    all
}

#[test]
fn of_two_violations_the_earlier_counts() {
    for event in [contact(), survey()] {
        let violations = violations(&event);
        for (at, (reason, changes)) in violations.iter().enumerate() {
            let alone = with(event.clone(), changes);
            assert_eq!(rejection(&alone.to_string()).reason, *reason, "{alone}");
            for (_, later) in &violations[at..] {
                let both = with(with(event.clone(), later), changes);
                assert_eq!(rejection(&both.to_string()).reason, *reason, "{both}");
            }
        }
    }
}

#[test]
fn the_detail_names_field_and_value() {
    for (event, changes, reason, detail) in [
        (contact(), ("specversion", json!(1.0)), "unsupported_specversion", "specversion: 1.0 is not \"1.0\""),
        (contact(), ("specversion", json!("")), "missing_field", "specversion: is missing"),
        (contact(), ("data.outcome", json!("")), "missing_field", "data.outcome: is missing"),
        (contact(), ("data", Value::Null), "missing_field", "data.contact_id: is missing"),
        (contact(), ("data", json!([1])), "wrong_type", "data: must be an object, is an array"),
        (contact(), ("source", json!(5)), "wrong_type", "source: must be a string, is 5"),
        (contact(), ("data.resolved", json!("yes")), "wrong_type", "data.resolved: must be true or false, is \"yes\""),
        (contact(), ("data.talk_seconds", json!("95")), "wrong_type", "data.talk_seconds: must be a number, is \"95\""),
        (contact(), ("data.talk_seconds", json!("")), "wrong_type", "data.talk_seconds: must be a number, is \"\""),
        (contact(), ("data.test", json!("true")), "wrong_type", "data.test: must be true or false, is \"true\""),
        (
            contact(),
            ("time", json!("1999-01-03")),
            "bad_time",
            "time: \"1999-01-03\" is not an RFC 3339 date-time with an offset",
        ),
        (
            contact(),
            ("data.outcome", json!("lost")),
            "unknown_value",
            "data.outcome: \"lost\" is none of answered, abandoned, flow_out, callback, voicemail, failed",
        ),
        (
            contact(),
            ("data.hold_seconds", json!(604_800.001)),
            "out_of_range",
            "data.hold_seconds: 604800.001 is not within 0..604800 seconds",
        ),
        (contact(), ("data.transfers", json!(1e18)), "out_of_range", "data.transfers: 1e18 is not within 0..1000000"),
        (interaction(), ("data.sentiment", json!(1.01)), "out_of_range", "data.sentiment: 1.01 is not within -1..1"),
        (survey(), ("data.score", json!(0)), "out_of_range", "data.score: 0 is not within 1..5"),
        (survey(), ("data.scale_min", json!(5)), "out_of_range", "data.scale_max: 5 is not above scale_min 5"),
        (survey(), ("data.scale_max", json!(102)), "out_of_range", "data.scale_max: 1..102 is more than 100 steps"),
        (
            survey(),
            ("data.scale_max", json!(1e12)),
            "out_of_range",
            "data.scale_max: 1000000000000.0 is not within -2147483647..2147483647",
        ),
        (survey(), ("data.score", json!(3.5)), "not_integer", "data.score: 3.5 is not an integer"),
        (survey(), ("data.metric", json!("enps")), "wrong_scale", "data.scale_max: enps is asked on 0..10, not 1..5"),
        (
            contact(),
            ("data.abandon_stage", json!("ring")),
            "contradiction",
            "data.abandon_stage: \"ring\" goes with outcome abandoned, not answered",
        ),
        (
            contact(),
            ("data.outcome", json!("abandoned")),
            "contradiction",
            "data.talk_seconds: 95250 ms, though no agent took the abandoned contact",
        ),
    ] {
        let json = with(event, &[changes]).to_string();
        let found = rejection(&json);
        assert_eq!((found.reason.name(), found.detail.as_str()), (reason, detail), "{json}");
    }
}

#[test]
fn stages_go_with_their_outcomes() {
    let quiet = [("data.talk_seconds", Value::Null), ("data.hold_seconds", json!(0.0004))];
    for (stage, outcome, sound) in [
        ("ivr", "abandoned", true),
        ("queue", "abandoned", true),
        ("ring", "abandoned", true),
        ("hold", "abandoned", false),
        ("hold", "answered", true),
        ("queue", "answered", false),
        ("ivr", "flow_out", false),
        ("hold", "failed", false),
    ] {
        let event =
            with(with(contact(), &quiet), &[("data.abandon_stage", json!(stage)), ("data.outcome", json!(outcome))]);
        let json = event.to_string();
        let contradiction = matches!(
            decode_event(&json, None, &CONTEXT),
            Item::Rejected(Rejection { reason: RejectReason::Contradiction, .. })
        );
        assert_eq!(contradiction, !sound, "{stage} {outcome}");
    }
}

#[test]
fn lengths_are_counted_in_bytes_up_to_and_including_the_bound() {
    for (field, max) in
        [("id", 256), ("source", 256), ("data.customer_id", 256), ("data.contact_id", 256), ("data.queue", 128)]
    {
        let at_bound = with(contact(), &[(field, json!("ä".repeat(max / 2)))]).to_string();
        assert!(matches!(decode_event(&at_bound, None, &CONTEXT), Item::Touchpoint(_)), "{field}");
        let over = with(contact(), &[(field, json!("x".repeat(max + 1)))]).to_string();
        assert_eq!(rejection(&over).reason, RejectReason::TooLong, "{field}");
    }
    for field in ["time", "data.outcome", "data.reason", "type"] {
        let event = if field == "data.reason" { customer() } else { contact() };
        let over = with(event, &[(field, json!("x".repeat(257)))]).to_string();
        assert_eq!(rejection(&over).reason, RejectReason::TooLong, "{field}");
    }
}

#[test]
fn the_sentinel_day_is_rejected_to_its_end() {
    for (time, sound) in [
        ("0001-01-01T00:00:00Z", false),
        ("1970-01-02T23:59:59.999Z", false),
        ("1970-01-03T00:00:00+00:01", false),
        ("1970-01-03T00:00:00Z", true),
    ] {
        let json = with(contact(), &[("time", json!(time))]).to_string();
        let touchpoint = matches!(decode_event(&json, None, &CONTEXT), Item::Touchpoint(_));
        assert_eq!(touchpoint, sound, "{time}");
    }
}

#[test]
fn the_future_begins_after_max_future() {
    let at = |time: &str| with(contact(), &[("time", json!(time))]).to_string();
    let in_time = at("1999-01-10T00:05:00Z");
    let future = at("1999-01-10T00:05:00.001Z");
    let is_future = |json: &str, timestamp| {
        matches!(
            decode_event(json, timestamp, &CONTEXT),
            Item::Rejected(Rejection { reason: RejectReason::FutureTime, .. })
        )
    };
    assert!(!is_future(&in_time, None), "without a timestamp the clock is the reference");
    assert!(is_future(&future, None));
    assert!(is_future(&in_time, Some(NOW - 1)), "the record's timestamp is the reference");
    assert!(!is_future(&future, Some(NOW + 1)));
    assert!(is_future(&contact().to_string(), Some(NOW + 300_001)), "the record itself is from the future");
    assert!(!is_future(&contact().to_string(), Some(NOW + 300_000)));
    assert!(is_future(&in_time, Some(i64::MIN)));
    assert!(is_future(&in_time, Some(i64::MAX)));
}

#[test]
fn a_test_event_is_skipped_whatever_else_is_wrong_with_it() {
    let json = with(json!({"data": {}}), &[("data.test", json!(true)), ("id", json!(5))]).to_string();
    assert_eq!(decode_event(&json, None, &CONTEXT), Item::Skipped);
    let json = with(contact(), &[("data.test", json!(true))]).to_string();
    assert_eq!(decode_event(&json, None, &CONTEXT), Item::Skipped);
    let json = with(contact(), &[("data.test", json!(true)), ("specversion", json!("2.0"))]).to_string();
    assert_eq!(rejection(&json).reason, RejectReason::UnsupportedSpecversion);
    let json = with(contact(), &[("data.test", json!(false))]).to_string();
    assert!(matches!(decode_event(&json, None, &CONTEXT), Item::Touchpoint(_)));
}

#[test]
fn what_is_no_event_at_all_is_named() {
    let contact = contact().to_string();
    let repeated = contact.replacen("\"queue\"", "\"team\"", 1);
    let repeated_outside = contact.replacen("\"subject\"", "\"datacontenttype\"", 1);
    let repeated_deep = contact.replacen("\"a\":\"b\"", "\"a\":\"b\",\"\\u0061\":1", 1);
    let overflow = contact.replacen("2.5", "1e999", 1);
    for (json, reason, detail) in [
        ("", RejectReason::NotJson, "EOF"),
        ("{", RejectReason::NotJson, "EOF"),
        ("{} x", RejectReason::NotJson, "trailing"),
        ("{\"a\":NaN}", RejectReason::NotJson, "expected"),
        ("{\"a\":\"\\ud800\"}", RejectReason::NotJson, "line 1 column"),
        (repeated.as_str(), RejectReason::NotJson, "the key \"team\" is repeated"),
        (repeated_outside.as_str(), RejectReason::NotJson, "the key \"datacontenttype\" is repeated"),
        (repeated_deep.as_str(), RejectReason::NotJson, "the key \"a\" is repeated"),
        (overflow.as_str(), RejectReason::NotJson, "number out of range"),
        ("null", RejectReason::NotObject, "null"),
        ("[]", RejectReason::NotObject, "an array"),
        ("\"text\"", RejectReason::NotObject, "\"text\""),
        ("{}", RejectReason::MissingField, "specversion"),
    ] {
        let found = rejection(json);
        assert_eq!(found.reason, reason, "{json}: {}", found.detail);
        assert!(found.detail.contains(detail), "{json}: {}", found.detail);
    }
}

#[test]
fn limits_come_before_everything() {
    fn record(value: Option<&[u8]>) -> Record<'_> {
        Record { offset: 0, timestamp: None, key: None, value, headers: &[] }
    }
    let reason = |value: &[u8], limits| match decode(&record(Some(value)), &DecodeContext { limits, ..CONTEXT }) {
        Item::Rejected(rejection) => Some(rejection.reason),
        _ => None,
    };
    let limits = Limits { record_bytes_max: 8 };
    assert_eq!(reason(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff", limits), Some(RejectReason::TooLarge));
    assert_eq!(reason(b"\xff", limits), Some(RejectReason::NotUtf8));
    // Bad bytes in a field that nobody reads.
    let mut event = contact().to_string().into_bytes();
    let at = event.windows(9).position(|window| window == b"contact-1").expect("the subject");
    event[at] = 0xff;
    assert_eq!(reason(&event, CONTEXT.limits), Some(RejectReason::NotUtf8));
    let Item::Rejected(rejection) = decode(&record(None), &CONTEXT) else { panic!("a tombstone is no event") };
    assert_eq!(rejection.reason, RejectReason::NotJson);
    assert!(rejection.detail.contains("tombstone"));
}

#[test]
fn depth_is_bounded_before_anything_recurses() {
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let in_event = |inner: &str| format!("{{\"x\":{inner}}}");
    assert_eq!(rejection(&in_event(&nested(63))).reason, RejectReason::MissingField);
    assert_eq!(rejection(&in_event(&nested(64))).reason, RejectReason::NotJson);
    assert_eq!(rejection(&nested(100_000)).reason, RejectReason::NotJson);
    assert_eq!(rejection(&"{\"a\":".repeat(100_000)).reason, RejectReason::NotJson);
    // Brackets in strings and brackets that close do not count.
    let text = format!("\\\"{}\\\\", "[{".repeat(1000));
    assert_eq!(rejection(&in_event(&format!("\"{text}\""))).reason, RejectReason::MissingField);
    assert_eq!(rejection(&in_event(&format!("[{}1]", "[],".repeat(1000)))).reason, RejectReason::MissingField);
}

/// The record in binary mode that says the same as this structured event.
fn decode_binary(event: &Value, headers: &mut Vec<(String, Vec<u8>)>) -> String {
    for attribute in ["specversion", "id", "source", "type", "time"] {
        if let Some(text) = event[attribute].as_str() {
            headers.push((format!("Ce_{attribute}"), text.into()));
        }
    }
    headers.push(("content-type".into(), b"application/json".to_vec()));
    event["data"].to_string()
}

#[test]
fn both_content_modes_say_the_same() {
    for event in [contact(), interaction(), customer(), survey()] {
        let structured = event.to_string();
        let expected = decode_event(&structured, Some(NOW), &CONTEXT);
        assert!(matches!(expected, Item::Touchpoint(_)));

        let mut headers = Vec::new();
        let data = decode_binary(&event, &mut headers);
        let headers: Vec<Header<'_>> = headers.iter().map(|(name, value)| (&**name, Some(&**value))).collect();
        let value = Some(data.as_bytes());
        let binary = Record { offset: 0, timestamp: Some(NOW), key: None, value, headers: &headers };
        assert_eq!(decode(&binary, &CONTEXT), expected);

        // The content type decides before the headers do.
        let mut both = headers.clone();
        both.retain(|(name, _)| *name != "content-type");
        both.push(("Content-Type", Some(b"Application/CloudEvents+json; charset=UTF-8")));
        let value = Some(structured.as_bytes());
        for headers in [&both[..], &[]] {
            let record = Record { offset: 0, timestamp: Some(NOW), key: None, value, headers };
            assert_eq!(decode(&record, &CONTEXT), expected);
        }
    }
}

#[test]
fn a_binary_event_is_judged_like_a_structured_one() {
    let headers: [Header<'_>; 2] = [("ce_specversion", Some(b"1.0")), ("ce_id", Some(b"\xff"))];
    let reason = |headers, value| {
        let record = Record { offset: 0, timestamp: None, key: None, value: Some(value), headers };
        match decode(&record, &CONTEXT) {
            Item::Rejected(rejection) => rejection.reason,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(reason(&headers[..], b"{}".as_slice()), RejectReason::NotUtf8);
    assert_eq!(reason(&headers[..1], b"null"), RejectReason::NotObject);
    assert_eq!(reason(&headers[..1], b"{\"a\":1,\"a\":2}"), RejectReason::NotJson);
    assert_eq!(reason(&headers[..1], b"{\"topic\":1}"), RejectReason::MissingField);
    assert_eq!(reason(&[("ce_specversion", Some(b"9"))], b"{}"), RejectReason::UnsupportedSpecversion);
}

#[test]
fn content_tells_a_copy_from_a_conflict() {
    let (event, other) = (contact().to_string(), with(contact(), &[("data.queue", json!("NW"))]).to_string());
    let escaped = event.replace("evt-1", "evt-\\u0031").replace("käse", "k\\u00e4se");
    assert_eq!(content_hash(&touchpoint(&event)), content_hash(&touchpoint(&escaped)));
    assert_ne!(content_hash(&touchpoint(&event)), content_hash(&touchpoint(&other)));
}
