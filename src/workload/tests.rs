//! The stream obeys its laws, and is as real as it is said to be.

use super::*;
use crate::touchpoint::{
    DecodeContext, Dimension, Item, Kind, Limits, Outcome, RejectReason, SurveyMetric, Touchpoint, decode_event,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// 2026-01-05T10:00:00Z, a Monday.
const MONDAY_10: i64 = 29_460_120;

const CONTEXT: DecodeContext =
    DecodeContext { now: i64::MAX / 2, max_future_ms: 0, limits: Limits { record_bytes_max: 1 << 20 } };

fn calm(seed: u64) -> Workload {
    Workload { clean: true, incidents: Incidents::Given(Vec::new()), ..Workload::new(seed) }
}

fn bytes(workload: &Workload, minute: i64, count: u32) -> Vec<u8> {
    let minute = workload.minute(minute, count);
    let mut out = Vec::new();
    for index in 0..count {
        minute.write(index, &mut out);
        out.push(b'\n');
    }
    out
}

/// Every event of some minutes, decoded.
fn each(workload: &Workload, minutes: std::ops::Range<i64>, count: u32, mut act: impl FnMut(&Item<'_>, &Sent)) {
    let mut json = Vec::new();
    for minute in minutes {
        let minute = workload.minute(minute, count);
        for index in 0..count {
            json.clear();
            let sent = minute.write(index, &mut json);
            match std::str::from_utf8(&json) {
                Ok(json) => act(&decode_event(json, None, &CONTEXT), &sent),
                Err(_) => act(&Item::Rejected(crate::touchpoint::Rejection::new(RejectReason::NotUtf8, "")), &sent),
            }
        }
    }
}

fn valid<'a, 'b>(item: &'a Item<'b>) -> &'a Touchpoint<'b> {
    match item {
        Item::Touchpoint(touchpoint) => touchpoint,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_one_others() {
    let bytes = |seed| bytes(&Workload::new(seed), MONDAY_10, 500);
    assert_eq!(bytes(1), bytes(1));
    assert_ne!(bytes(1), bytes(2));
}

/// If this fails, every seed means something else than before: say so in the change log.
#[test]
fn what_a_seed_means_does_not_change() {
    let hash = xxhash_rust::xxh64::xxh64(&bytes(&Workload::new(1), MONDAY_10, 2_000), 0);
    assert_eq!(format!("{hash:016x}"), "cb0ddd9b93a5c699");
}

proptest! {
    #[test]
    fn an_event_depends_on_nothing_before_it(seed: u64, minute in 0_i64..100_000_000, index in 0_u32..300) {
        let workload = Workload::new(seed);
        let all = bytes(&workload, minute, 300);
        let line = all.split(|byte| *byte == b'\n').nth(index as usize).unwrap();
        let mut alone = Vec::new();
        workload.minute(minute, 300).write(index, &mut alone);
        prop_assert_eq!(line, &alone[..]);
    }

    #[test]
    fn every_clean_event_is_valid(seed: u64, minute in 30_000_i64..100_000_000) {
        let workload = Workload { clean: true, ..Workload::new(seed) };
        let mut ids = BTreeSet::new();
        let mut before = i64::MIN;
        each(&workload, minute..minute + 1, 200, |item, sent| {
            let touchpoint = valid(item);
            assert!(ids.insert(touchpoint.id.to_string()), "{} is there twice", touchpoint.id);
            assert_eq!(touchpoint.time.div_euclid(60_000), minute);
            assert!((touchpoint.time - sent.at).abs() <= DISORDER_MS && sent.at >= before);
            assert_eq!(touchpoint.customer_id.as_deref().map(str::as_bytes), Some(&sent.key[..]));
            before = sent.at;
        });
    }
}

#[test]
fn types_channels_and_outcomes_have_their_shares() {
    let mut shares: BTreeMap<String, u32> = BTreeMap::new();
    let mut queues = BTreeSet::new();
    let mut customers = BTreeSet::new();
    each(&calm(3), MONDAY_10..MONDAY_10 + 20, 5_000, |item, sent| {
        let touchpoint = valid(item);
        let mut count = |name: &str| *shares.entry(name.to_string()).or_insert(0) += 1;
        count(touchpoint.kind.name());
        customers.insert(sent.key);
        let dimension = |dimension| touchpoint.dimensions.get(dimension).unwrap_or_default().to_string();
        if touchpoint.kind == Kind::Contact {
            count(&dimension(Dimension::Channel));
            touchpoint.outcome.iter().for_each(|outcome| count(outcome.name()));
            queues.insert((dimension(Dimension::Channel), dimension(Dimension::Queue)));
        }
        touchpoint.metric.iter().for_each(|metric| count(metric.name()));
        if touchpoint.metric == Some(SurveyMetric::Csat) && touchpoint.answer.unwrap().score >= 4 {
            count("satisfied");
        }
    });
    let contact = "cx.contact.ended.v1";
    let all: u32 = Kind::ALL.iter().map(|kind| shares[kind.name()]).sum();
    shares.insert("all".into(), all);
    let share = |name: &str, of: &str| shares[name] as f64 / shares[of] as f64;
    for (name, of, low, high) in [
        (contact, "all", 0.595, 0.605),
        ("cx.interaction.v1", "all", 0.245, 0.255),
        ("cx.survey.responded.v1", "all", 0.137, 0.143),
        ("cx.customer.changed.v1", "all", 0.009, 0.011),
        ("voice", contact, 0.51, 0.57),
        ("chat", contact, 0.18, 0.24),
        ("answered", contact, 0.82, 0.93),
        ("abandoned", contact, 0.05, 0.12),
        ("callback", contact, 0.002, 0.03),
        ("satisfied", "csat", 0.72, 0.82),
    ] {
        assert!((low..high).contains(&share(name, of)), "{name} of {of}: {}", share(name, of));
    }
    // Fifty, and per channel one for contacts that reached none.
    assert!((50..=56).contains(&queues.len()), "{} queues", queues.len());
    assert!((20_000..60_000).contains(&customers.len()), "{} customers", customers.len());
}

#[test]
fn a_few_items_are_sent_twice_late_or_malformed() {
    let workload = Workload { clean: false, ..calm(5) };
    let (mut seen, mut twice, mut late, mut malformed) = (BTreeSet::new(), 0, 0, BTreeMap::new());
    each(&workload, MONDAY_10..MONDAY_10 + 40, 5_000, |item, sent| match item {
        Item::Touchpoint(touchpoint) => {
            twice += u32::from(!seen.insert(touchpoint.id.to_string()));
            let ago = sent.at - touchpoint.time;
            assert!(ago <= 2 * DISORDER_MS || (14 * 60_000..3 * 3_600_000).contains(&ago), "{ago}");
            late += u32::from(ago > 2 * DISORDER_MS);
        }
        Item::Rejected(rejection) => *malformed.entry(rejection.reason).or_insert(0) += 1,
        Item::Skipped => panic!("nothing is a test"),
    });
    assert!((150..250).contains(&twice), "{twice} of 200,000 twice");
    assert!((70..130).contains(&late), "{late} late");
    assert!((70..130).contains(&malformed.values().sum::<u32>()), "{malformed:?}");
    use RejectReason as R;
    let reasons = [R::NotUtf8, R::NotJson, R::UnsupportedSpecversion, R::MissingField, R::UnknownType, R::BadTime];
    assert!(malformed.keys().eq(BTreeSet::from(reasons).iter()), "{malformed:?}");
}

/// Of a queue the share of abandoned contacts and the mean wait, of a channel the share of satisfied answers.
fn figures(workload: &Workload, channel: &str, queue: &str) -> (f64, f64, f64) {
    let (mut offered, mut abandoned, mut wait, mut answers, mut satisfied) = (0.0, 0.0, 0.0, 0.0, 0.0);
    each(workload, MONDAY_10..MONDAY_10 + 20, 5_000, |item, _| {
        let touchpoint = valid(item);
        let is = |dimension, value| touchpoint.dimensions.get(dimension) == Some(value);
        if !is(Dimension::Channel, channel) {
        } else if touchpoint.kind == Kind::Contact && is(Dimension::Queue, queue) {
            offered += 1.0;
            abandoned += f64::from(u8::from(touchpoint.outcome == Some(Outcome::Abandoned)));
            wait += touchpoint.queue_wait_ms.unwrap_or(0) as f64 / 1_000.0;
        } else if touchpoint.metric == Some(SurveyMetric::Csat) {
            answers += 1.0;
            satisfied += f64::from(u8::from(touchpoint.answer.unwrap().score >= 4));
        }
    });
    (abandoned / offered, wait / offered, satisfied / answers)
}

#[test]
fn incidents_show_where_they_are_and_nowhere_else() {
    let minutes = MONDAY_10..MONDAY_10 + 60;
    let given = |kind: Option<IncidentKind>| Workload {
        incidents: Incidents::Given(vec![Incident { minutes: minutes.clone(), kind: kind.unwrap() }]),
        ..calm(9)
    };
    let slow = given(IncidentKind::slow_queue("voice", "technical"));
    let unhappy = given(IncidentKind::unhappy_channel("chat"));
    let before = figures(&calm(9), "voice", "technical");
    let during = figures(&slow, "voice", "technical");
    assert!(during.0 > 3.0 * before.0 && during.1 > 2.0 * before.1, "{before:?}, then {during:?}");
    let other = |workload| figures(workload, "voice", "billing");
    assert_eq!((other(&slow).0, other(&slow).1), (other(&calm(9)).0, other(&calm(9)).1));
    let (before, during) = (figures(&calm(9), "chat", "billing"), figures(&unhappy, "chat", "billing"));
    assert!(before.2 > 0.7 && during.2 < 0.4, "{before:?}, then {during:?}");
    assert_eq!((before.0, before.1), (during.0, during.1));
    assert_eq!(IncidentKind::slow_queue("voice", "nothing"), None);
}

#[test]
fn the_seed_lays_incidents_on_every_day() {
    let workload = Workload::new(11);
    let day = MONDAY_10.div_euclid(1_440) * 1_440;
    let troubled = |minute| Trouble::of(&workload.incidents, 11, minute) != Trouble::default();
    let count = (day..day + 1_440).filter(|minute| troubled(*minute)).count();
    assert!((45..240).contains(&count), "{count} minutes");
    assert_eq!(Trouble::of(&Incidents::Given(Vec::new()), 11, MONDAY_10), Trouble::default());
}
