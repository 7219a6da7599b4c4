//! What decoding one structured event costs, and which JSON parser should do it.
//!
//! `floor` parses into nothing, `wire` is the strict reading that every event takes, by either parser, and
//! `decode` is the whole way from bytes to a judged item. Run with `cargo bench --bench decode`.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use serde::de::IgnoredAny;
use std::hint::black_box;
use touchstone::record::Record;
use touchstone::touchpoint::{
    DecodeContext, Item, Limits, RawEvent, content_hash, decode, decode_event, identity_hash,
};

/// Distinct events, so that neither branches nor caches learn one of them by heart.
const EVENTS: usize = 20_000;

fn event(number: usize) -> String {
    let queue = ["PS", "NW", "NE", "IN", "TT"][number % 5];
    let outcome = if number.is_multiple_of(9) { "abandoned" } else { "answered" };
    let served = if number.is_multiple_of(9) {
        String::new()
    } else {
        format!(
            r#""talk_seconds":{}.25,"wrapup_seconds":{},"hold_seconds":{},"resolved":true,"#,
            number % 600,
            number % 31,
            number % 47
        )
    };
    format!(
        concat!(
            r#"{{"specversion":"1.0","id":"evt-{number:08}","source":"/telephony/site-1","type":"cx.contact.ended.v1","#,
            r#""time":"1999-01-03T{hour:02}:{minute:02}:{second:02}.{ms:03}Z","datacontenttype":"application/json","#,
            r#""data":{{"channel":"voice","queue":"{queue}","team":"north","region":"il-3","segment":"gold","#,
            r#""customer_id":"customer-{customer:06}","contact_id":"contact-{number:08}","direction":"inbound","#,
            r#""outcome":"{outcome}","queue_wait_seconds":{wait}.5,{served}"transfers":0}}}}"#
        ),
        number = number,
        hour = number / 3600 % 24,
        minute = number / 60 % 60,
        second = number % 60,
        ms = number % 1000,
        queue = queue,
        customer = number * 7919 % 100_000,
        outcome = outcome,
        wait = number % 120,
        served = served,
    )
}

fn decoding(criterion: &mut Criterion) {
    let events: Vec<String> = (0..EVENTS).map(event).collect();
    let bytes: usize = events.iter().map(String::len).sum();
    println!("{} events of {} bytes on average", events.len(), bytes / events.len());
    let context =
        DecodeContext { now: 915_926_400_000, max_future_ms: 300_000, limits: Limits { record_bytes_max: 1 << 20 } };

    let accepted = |event: &String| matches!(decode_event(event, None, &context), Item::Touchpoint(_));
    assert!(events.iter().all(accepted), "the benchmark is about events that are accepted");

    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(1));
    let mut next = events.iter().cycle();
    let mut each = |name: &str, work: &dyn Fn(&str)| {
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || next.next().expect("the events go round for ever"),
                |event| work(black_box(event)),
                BatchSize::SmallInput,
            );
        });
    };
    each("floor/serde_json", &|event| _ = black_box(serde_json::from_str::<IgnoredAny>(event).is_ok()));
    each("floor/sonic_rs", &|event| _ = black_box(sonic_rs::from_str::<IgnoredAny>(event).is_ok()));
    each("wire/serde_json", &|event| _ = black_box(serde_json::from_str::<RawEvent<'_>>(event).is_ok()));
    each("wire/sonic_rs", &|event| _ = black_box(sonic_rs::from_str::<RawEvent<'_>>(event).is_ok()));
    each("tree/serde_json_value", &|event| _ = black_box(serde_json::from_str::<serde_json::Value>(event).is_ok()));
    each("decode/event", &|event| _ = black_box(decode_event(event, None, &context)));
    each("decode/record", &|event| {
        let record = Record { offset: 0, timestamp: None, key: None, value: Some(event.as_bytes()), headers: &[] };
        black_box(decode(&record, &context));
    });
    each("decode/record_and_hashes", &|event| {
        let record = Record { offset: 0, timestamp: None, key: None, value: Some(event.as_bytes()), headers: &[] };
        if let Item::Touchpoint(touchpoint) = decode(&record, &context) {
            black_box((identity_hash(&touchpoint.source, &touchpoint.id), content_hash(&touchpoint)));
        }
    });
    group.finish();
}

criterion_group!(benches, decoding);
criterion_main!(benches);
