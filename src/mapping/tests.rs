//! Mappings from outside: what they can do, what they cannot, and where they stop.

use super::*;
use crate::record::Header;

const LIMITS: MappingLimits =
    MappingLimits { input: Limits { record_bytes_max: 1000 }, outputs_max: 10, output_bytes_max: 200 };

const ROW: Provenance<'static> = Provenance::File { file: "calls.tsv", row: 7 };

fn compile(source: &str) -> Mapping {
    Mapping::compile(source).unwrap_or_else(|error| panic!("{source}: {error}"))
}

fn map(source: &str, value: &str) -> Result<Vec<String>, Rejection> {
    let mut events = Vec::new();
    let count = compile(source).map(value.as_bytes(), &ROW, &LIMITS, &mut |event| events.push(event.to_owned()))?;
    assert_eq!(count, events.len());
    Ok(events)
}

fn reason(source: &str, value: &str) -> (RejectReason, String) {
    let rejection = map(source, value).expect_err(source);
    (rejection.reason, rejection.detail)
}

#[test]
fn a_filter_yields_any_number_of_events() {
    assert_eq!(map(".", r#"{"b":1.50,"a":"ä"}"#).unwrap(), [r#"{"b":1.50,"a":"ä"}"#]);
    assert_eq!(map(".[] | {n: .}", "[1,2]").unwrap(), [r#"{"n":1}"#, r#"{"n":2}"#]);
    assert_eq!(map("select(.keep)", r#"{"keep":false}"#).unwrap(), [""; 0]);
}

#[test]
fn a_filter_knows_where_its_input_came_from() {
    assert_eq!(map(r#"{id: "\($record.file):\($record.row)"}"#, "{}").unwrap(), [r#"{"id":"calls.tsv:7"}"#]);

    let headers: [Header<'_>; 3] = [("kind", Some(b"chat")), ("kind", Some(b"voice")), ("none", None)];
    let record =
        Record { offset: 42, timestamp: Some(915_346_800_000), key: Some(b"k\xff"), value: None, headers: &headers };
    let provenance = Provenance::Log { topic: "calls", partition: 3, record: &record };
    let mut events = Vec::new();
    compile("$record").map(b"{}", &provenance, &LIMITS, &mut |event| events.push(event.to_owned())).unwrap();
    let expected = concat!(
        r#"{"topic":"calls","partition":3,"offset":42,"timestamp":915346800000,"#,
        "\"key\":\"k\u{fffd}\",\"headers\":{\"kind\":\"chat\",\"none\":null}}"
    );
    assert_eq!(events, [expected]);
}

#[test]
fn times_are_converted_in_the_filter() {
    assert_eq!(
        map(r#".t | to_utc("Asia/Jerusalem")"#, r#"{"t":"1999-01-03 09:00:00"}"#).unwrap(),
        [r#""1999-01-03T07:00:00Z""#]
    );
    let (found, detail) = reason(r#".t | to_utc("UTC")"#, r#"{"t":"3/1/1999"}"#);
    assert_eq!(found, RejectReason::MappingFailed);
    assert!(detail.contains("3/1/1999") && detail.contains("is not YYYY-MM-DD"), "{detail}");
    assert_eq!(reason(r#".t | to_utc("UTC")"#, r#"{"t":5}"#).0, RejectReason::MappingFailed);
    assert_eq!(reason(r#"to_utc(null)"#, r#""1999-01-03 09:00:00""#).0, RejectReason::MappingFailed);
}

#[test]
fn what_reaches_outside_does_not_compile() {
    for call in [
        "halt",
        "halt(1)",
        "halt_error",
        "halt_error(2)",
        "env",
        "env.HOME",
        "$ENV",
        "$ENV.HOME",
        "now",
        "debug",
        "debug(1)",
        "stderr",
        "input",
        "inputs",
        "input_filename",
        "input_line_number",
        "localtime",
        "strflocaltime(\"%H\")",
        "get_search_list",
        "debug_empty",
        "stderr_empty",
    ] {
        let error = Mapping::compile(&format!("{{a: 1,\n  b: ({call})}}")).err().expect(call);
        assert_eq!((error.line, error.column), (2, 7), "{call}: {error}");
        assert!(error.message.contains("is not offered"), "{call}: {error}");
    }
}

#[test]
fn a_mistake_is_shown_where_it_is() {
    for (source, line, column, message) in [
        ("{a: 1,\n  b: foo(1)}", 2, 6, "no filter `foo` with 1 arguments is defined"),
        ("$nothing", 1, 1, "no variable `$nothing` is defined; `$record` says where the input came from"),
        ("# ä\n{ a: (1 }", 2, 9, "expected closing parenthesis"),
        ("if . then 1", 1, 12, "expected else or end, found the end of the filter"),
        (". | | .", 1, 5, "expected term, found `|`"),
        ("include \"x\"; .", 1, 10, "include and import are not offered: put the definitions into this file"),
    ] {
        let error = Mapping::compile(source).err().expect(source);
        assert_eq!((error.line, error.column, error.message.as_str()), (line, column, message), "{source}");
    }
}

#[test]
fn the_input_goes_through_the_same_gate_as_events() {
    let mapping = compile(".");
    let reason = |value: &[u8]| {
        let rejection = mapping.map(value, &ROW, &LIMITS, &mut |_| panic!("nothing is mapped")).unwrap_err();
        rejection.reason
    };
    assert_eq!(reason(&[b' '; 1001]), RejectReason::TooLarge);
    assert_eq!(reason(b"\"\xff\""), RejectReason::NotUtf8);
    assert_eq!(reason(&[b'['; 1000]), RejectReason::NotJson);
    // What jaq itself would read.
    for value in ["", "{} {}", "NaN", "[1,]", "{a:1}", "b\"x\"", "# comment\n1", "{\"a\":1,\"a\":2}", "[1e999]", "1 2"]
    {
        assert_eq!(reason(value.as_bytes()), RejectReason::NotJson, "{value}");
    }
}

#[test]
fn outputs_are_bounded_and_nothing_is_handed_on_beyond() {
    assert_eq!(map("range(10)", "0").unwrap().len(), 10);
    let (found, detail) = reason("range(infinite)", "0");
    assert_eq!(
        (found, detail.as_str()),
        (RejectReason::MappingFailed, "the filter yields more than outputs_max = 10 events")
    );
    let (found, detail) = reason("\"x\" * 250", "0");
    assert_eq!(
        (found, detail.as_str()),
        (RejectReason::MappingFailed, "the filter yields more than output_bytes_max = 200 bytes")
    );
    assert_eq!(reason("range(3) | \"x\" * 70", "0").0, RejectReason::MappingFailed);
    assert_eq!(map("range(2) | \"x\" * 90", "0").unwrap().len(), 2);
}

#[test]
fn a_failure_after_some_events_rejects_the_record_whole() {
    let mapping = compile("1, 2, error(\"no such queue\")");
    let rejection = mapping.map(b"0", &ROW, &LIMITS, &mut |_| panic!("nothing is handed on")).unwrap_err();
    assert_eq!(rejection, failed("the filter failed: \"no such queue\""));
    let (_, detail) = reason("{a: (\"x\" * 10000)} | error", "0");
    assert!(detail.len() < 400 && detail.contains("bytes)"), "{detail}");
}

#[test]
fn threads_share_a_mapping() {
    fn shared<T: Send + Sync>(_: &T) {}
    shared(&compile("."));
}
