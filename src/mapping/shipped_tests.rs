//! The mappings that are shipped: real rows of each data set, one per decision that its comments tell.

use super::*;
use crate::touchpoint::{
    AbandonStage, DecodeContext, Dimension, Item, Outcome, SurveyMetric, Touchpoint, decode_event, parse_rfc3339,
};

const LIMITS: MappingLimits =
    MappingLimits { input: Limits { record_bytes_max: 10_000 }, outputs_max: 10, output_bytes_max: 10_000 };

/// Maps one row and hands each touchpoint to `check`; returns how many there were.
fn map_row(source: &str, file: &str, row: &str, check: &mut dyn FnMut(&Touchpoint<'_>)) -> Result<usize, Rejection> {
    let mapping = Mapping::compile(source).unwrap_or_else(|error| panic!("{error}"));
    let context = DecodeContext { now: 1_800_000_000_000, max_future_ms: 0, limits: LIMITS.input };
    let provenance = Provenance::File { file, row: 7 };
    mapping.map(row.as_bytes(), &provenance, &LIMITS, &mut |event| match decode_event(event, None, &context) {
        Item::Touchpoint(touchpoint) => check(&touchpoint),
        other => panic!("{event} gave {other:?}"),
    })
}

const BANK: &str = include_str!("../../config/mappings/bank_calls_1999.jq");

fn bank_row(changes: &[(&str, &str)]) -> String {
    let mut row = serde_json::json!({
        "vru+line": "AA0101", "call_id": "33118", "customer_id": "27997683", "priority": "2", "type": "PS",
        "date": "990101", "vru_entry": "6:55:20", "vru_exit": "6:55:26", "vru_time": "6", "q_start": "6:55:26",
        "q_exit": "6:55:43", "q_time": "17", "outcome": "AGENT", "ser_start": "6:55:43", "ser_exit": "6:56:37",
        "ser_time": "54", "server": "MICHAL"
    });
    for (name, value) in changes {
        row[*name] = (*value).into();
    }
    row.to_string()
}

fn bank(changes: &[(&str, &str)], check: &mut dyn FnMut(&Touchpoint<'_>)) {
    assert_eq!(map_row(BANK, "january.tsv", &bank_row(changes), check), Ok(1), "{changes:?}");
}

#[test]
fn a_bank_call_counts_when_its_service_ends() {
    bank(&[], &mut |call| {
        assert_eq!(Some(call.time), parse_rfc3339("1999-01-01T06:56:37+02:00"));
        assert_eq!((call.outcome, call.abandon_stage), (Some(Outcome::Answered), None));
        assert_eq!((call.queue_wait_ms, call.talk_ms, call.hold_ms), (Some(17_000), Some(54_000), None));
        assert_eq!(call.dimensions.get(Dimension::Queue), Some("PS"));
        assert_eq!(call.dimensions.get(Dimension::Agent), Some("MICHAL"));
        assert_eq!((call.id.as_ref(), call.customer_id.as_deref()), ("AA0101-33118", Some("27997683")));
    });
    let unserved = [("ser_start", "0:00:00"), ("ser_exit", "0:00:00"), ("ser_time", "0"), ("customer_id", "0")];
    bank(&unserved, &mut |call| {
        assert_eq!(Some(call.time), parse_rfc3339("1999-01-01T06:55:43+02:00"), "no service: the end of the queue");
        assert_eq!((call.talk_ms, call.customer_id.as_deref()), (Some(0), None));
    });
    let past_midnight = [("vru_entry", "23:59:15"), ("date", "990131"), ("ser_exit", "0:03:40")];
    bank(&past_midnight, &mut |call| assert_eq!(Some(call.time), parse_rfc3339("1999-02-01T00:03:40+02:00")));
}

#[test]
fn a_bank_caller_who_hangs_up_has_abandoned_where_they_were() {
    let served = [("outcome", "HANG"), ("ser_exit", "7:04:15"), ("ser_time", "512"), ("server", "NO_SERVER")];
    bank(&served, &mut |call| {
        assert_eq!(Some(call.time), parse_rfc3339("1999-01-01T06:55:43+02:00"), "the customer left the queue then");
        assert_eq!((call.outcome, call.abandon_stage), (Some(Outcome::Abandoned), Some(AbandonStage::Queue)));
        assert_eq!((call.queue_wait_ms, call.talk_ms), (Some(17_000), None));
    });
    let in_menu = [("outcome", "HANG"), ("q_start", "0:00:00"), ("q_exit", "0:00:00"), ("q_time", "0")];
    bank(&in_menu, &mut |call| {
        assert_eq!(Some(call.time), parse_rfc3339("1999-01-01T06:55:26+02:00"));
        assert_eq!((call.abandon_stage, call.queue_wait_ms), (Some(AbandonStage::Ivr), None));
    });
}

#[test]
fn phantom_calls_are_skipped_and_broken_rows_rejected() {
    let mut none = |_: &Touchpoint<'_>| panic!("there is no touchpoint");
    assert_eq!(map_row(BANK, "january.tsv", &bank_row(&[("outcome", "PHANTOM")]), &mut none), Ok(0));
    let short = bank_row(&[]).replace(r#","server":"MICHAL""#, "");
    let rejection = map_row(BANK, "january.tsv", &short, &mut none).unwrap_err();
    assert_eq!(rejection.reason, RejectReason::MappingFailed);
    assert!(map_row(BANK, "january.tsv", &bank_row(&[("outcome", "LOST")]), &mut none).is_err());
}

#[test]
fn a_service_request_is_a_touch_of_its_channel() {
    let mapping = include_str!("../../config/mappings/la311_2017.jq");
    let row = |source: &str, created: &str| {
        serde_json::json!({
            "SRNumber": "1-870704831", "CreatedDate": created, "RequestType": "Bulky Items", "Owner": "BOS",
            "RequestSource": source, "APC": ""
        })
        .to_string()
    };
    for (source, created, channel, time) in [
        ("Call", "12/31/2017 11:59:58 PM", "voice", "2018-01-01T07:59:58Z"),
        ("Mobile App", "12/31/2017 12:00:00 AM", "app", "2017-12-31T08:00:00Z"),
        ("Council's Office", "12/31/2017 12:30:00 PM", "council_office", "2017-12-31T20:30:00Z"),
        ("Walk-in", "12/31/2017 09:05:07 AM", "in_person", "2017-12-31T17:05:07Z"),
    ] {
        let count = map_row(mapping, "la.csv", &row(source, created), &mut |touch| {
            assert_eq!(
                (touch.dimensions.get(Dimension::Channel), Some(touch.time)),
                (Some(channel), parse_rfc3339(time))
            );
            assert_eq!(touch.dimensions.get(Dimension::Region), None);
        });
        assert_eq!(count, Ok(1));
    }
    let mut none = |_: &Touchpoint<'_>| panic!("there is no touchpoint");
    assert_eq!(map_row(mapping, "la.csv", &row("Driver Self Report", "12/31/2017 01:00:00 AM"), &mut none), Ok(0));
    assert!(map_row(mapping, "la.csv", &row("Fax", "12/31/2017 01:00:00 AM"), &mut none).is_err());
    assert!(map_row(mapping, "la.csv", &row("Call", "2017-12-31"), &mut none).is_err());
}

#[test]
fn an_interview_yields_one_event_per_answer() {
    let mapping = include_str!("../../config/mappings/sfo_survey.jq");
    let row =
        r#"{"INTDATE":"5","METH":"2","BAREA":"A","Q7ALL":"BLANK","NETPRO  ":"10","Q14FIND ":"5","Q14PASSTHRU":"6"}"#;
    let mut found = Vec::new();
    let count = map_row(mapping, "x/2018_SFO_Customer_Survey_20250817.csv", row, &mut |answer| {
        assert_eq!(Some(answer.time), parse_rfc3339("2018-05-05T12:00:00-07:00"));
        assert_eq!(answer.dimensions.get(Dimension::Channel), Some("mail"));
        let scale = answer.answer.expect("a survey has an answer");
        found.push((answer.metric, scale.scale_min, scale.scale_max, scale.score, answer.id.to_string()));
    });
    assert_eq!(count, Ok(2));
    let id = |question: &str| format!("x/2018_SFO_Customer_Survey_20250817.csv:7:{question}");
    assert_eq!(
        found,
        [(Some(SurveyMetric::Nps), 0, 10, 10, id("NETPRO")), (Some(SurveyMetric::Ces), 1, 5, 5, id("Q14FIND"))]
    );
    let mut none = |_: &Touchpoint<'_>| panic!("there is no touchpoint");
    assert_eq!(map_row(mapping, "2017_SFO_Customer_Survey.csv", r#"{"INTDATE":"13","NETPRO":"11"}"#, &mut none), Ok(0));
    assert!(map_row(mapping, "survey.csv", row, &mut none).is_err(), "the year must be known");
}

#[test]
fn a_log_line_is_a_touch_and_a_cut_one_is_rejected() {
    let mapping = include_str!("../../config/mappings/web_apache_logs.jq");
    let line = r#"83.149.9.216 - - [17/May/2015:10:05:03 +0200] \"GET /a HTTP/1.1\" 200 - \"-\" \"Googlebot/2.1\""#;
    let count = map_row(mapping, "log", &format!(r#"{{"line":"{line}"}}"#), &mut |hit| {
        assert_eq!(Some(hit.time), parse_rfc3339("2015-05-17T08:05:03Z"));
        assert_eq!(hit.dimensions.get(Dimension::Segment), Some("robot"));
        assert_eq!(hit.id, "log:7");
    });
    assert_eq!(count, Ok(1));
    let cut = format!(r#"{{"line":"{}"}}"#, line.trim_end_matches(r#"\""#));
    let rejection = map_row(mapping, "log", &cut, &mut |_| panic!("there is no touchpoint")).unwrap_err();
    assert_eq!(rejection.detail, "the filter failed: \"not a line of the combined log format\"");
}

#[test]
fn a_rated_review_is_an_answer() {
    let mapping = include_str!("../../config/mappings/reviews_anon.jq");
    let row = r#"{"reviewerId":"3","vendorId":"18","rating":"4","date":"2006-04-07 17:08"}"#;
    let count = map_row(mapping, "reviews.csv", row, &mut |review| {
        assert_eq!(Some(review.time), parse_rfc3339("2006-04-07T17:08:00Z"));
        assert_eq!(review.answer.map(|answer| (answer.scale_min, answer.scale_max, answer.score)), Some((1, 5, 4)));
    });
    assert_eq!(count, Ok(1));
    let unrated = row.replace("\"4\"", "\"0\"");
    assert_eq!(map_row(mapping, "reviews.csv", &unrated, &mut |_| panic!("there is no touchpoint")), Ok(0));
}
