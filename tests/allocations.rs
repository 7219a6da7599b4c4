//! In the steady state no item allocates: not while it is decoded, not while it is judged, not while it is counted.
//!
//! What a commit opens (a first item of a slice in a minute) and writes allocates, once for all of its items.

use std::path::Path;
use std::sync::Arc;

use touchstone::config::{self, Settings};
use touchstone::engine::stage::{Fold, Judged, Open, sections};
use touchstone::record::Record;
use touchstone::touchpoint::{DecodeContext, Item, Limits, decode};

/// Items of one commit.
const COMMIT: usize = 4_000;

const START: i64 = 1_795_305_600_000;

/// Events of every kind of the stream, in 40 slices; all of one commit lie in one minute.
fn event(n: usize) -> String {
    let (minute, slice) = (n / COMMIT, n % 40);
    let time = touchstone::engine::time::rfc3339(START + minute as i64 * 60_000 + (n % COMMIT) as i64);
    let (kind, rest) = match n % 4 {
        0 => (
            "cx.contact.ended.v1",
            format!(
                r#""contact_id":"k-{n}","outcome":"answered","queue_wait_seconds":{}.25,"hold_seconds":3,"talk_seconds":61.5,"resolved":true"#,
                slice
            ),
        ),
        1 => (
            "cx.contact.ended.v1",
            format!(r#""contact_id":"k-{n}","outcome":"abandoned","queue_wait_seconds":{slice}"#),
        ),
        2 => ("cx.interaction.v1", r#""kind":"visit","sentiment":0.5"#.to_owned()),
        _ => (
            "cx.survey.responded.v1",
            format!(r#""metric":"csat","score":{},"scale_min":1,"scale_max":5"#, 1 + slice % 5),
        ),
    };
    format!(
        r#"{{"specversion":"1.0","id":"event-{n}","source":"/test","type":"{kind}","time":"{time}","datacontenttype":"application/json","data":{{"channel":"channel-{}","queue":"queue-{slice}","team":"team-{}","customer_id":"c-{n}",{rest}}}}}"#,
        slice % 4,
        slice % 3,
    )
}

fn take(fold: &mut Fold, open: &mut Open, events: &[String], from: usize) {
    let context = DecodeContext { now: i64::MAX / 2, max_future_ms: 0, limits: Limits { record_bytes_max: 1 << 20 } };
    for (number, event) in events.iter().enumerate() {
        let offset = (from + number) as i64;
        let record = Record { offset, timestamp: None, key: None, value: Some(event.as_bytes()), headers: &[] };
        match decode(&record, &context) {
            Item::Touchpoint(touchpoint) => assert_eq!(fold.item(&touchpoint, offset, open), Judged::Accepted),
            other => panic!("{other:?}"),
        }
        fold.record_done(offset);
    }
}

#[test]
fn no_item_allocates() {
    let raw = config::parse("[[input]]\nname = \"in\"\ntopic = \"in\"\n").expect("valid");
    let plan = Settings::new(raw, Path::new(".")).expect("valid").plan;
    let (mut fold, mut open) = (Fold::first(Arc::clone(&plan), 0, 0, 1, 0, 0), Open::new(&plan));
    // Until ids leave as fast as they come: they count for ten minutes.
    for minute in 0..60 {
        let events: Vec<String> = (minute * COMMIT..(minute + 1) * COMMIT).map(event).collect();
        // The first items open what the others count in.
        let (first, others) = events.split_at(COMMIT / 4);
        take(&mut fold, &mut open, first, minute * COMMIT);
        let measured =
            allocation_counter::measure(|| take(&mut fold, &mut open, others, minute * COMMIT + first.len()));
        // A table of ids may grow, which is once for hundreds of them; whatever an item allocates would be seen in each.
        if minute >= 40 {
            let (allocated, items) = (measured.count_total, others.len() as u64);
            assert!(allocated * 500 <= items, "{allocated} allocations of {items} items in minute {minute}");
        }
        let sections = sections(&[&fold], &[&open]);
        assert!(sections[0].events.iter().map(|(_, events)| events).sum::<i64>() > 0);
        fold.committed();
        open.clear();
    }
}
