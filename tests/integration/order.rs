//! One truth: whatever the order within the lateness, the batching, the number of sources and the way their
//! commits interleave, the final records are the same bytes, and those that the plainest code finds.

use std::collections::BTreeMap;

use libtest_mimic::{Failed, Trial};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;
use touchstone::engine::stage::Judged;
use touchstone::engine::time::{DAY, HOUR, MINUTE, SECOND, rfc3339};
use touchstone::engine::window::{WindowSpec, Zone};
use touchstone::touchpoint::{Dimension, Touchpoint};

use crate::checking::holds;
use crate::events::{self, Bytes, touchpoint};
use crate::oracle::{self, KYIV, LOS_ANGELES};
use crate::stream::{POLICY, Stream, plan};

pub fn tests() -> Vec<Trial> {
    let trial = |name: &str, test: fn() -> Result<(), Failed>| Trial::test(format!("order::{name}"), test);
    vec![
        trial("minutes_and_quarters_are_those_of_the_oracle", minutes),
        trial("hours_and_days_are_those_of_the_oracle", hours),
        trial("windows_off_every_ladder_step_are_those_of_the_oracle", odd_windows),
        trial("local_days_over_a_change_of_clocks_in_kyiv", || days(KYIV)),
        trial("local_days_over_a_change_of_clocks_in_los_angeles", || days(LOS_ANGELES)),
        trial("a_minute_by_hand", by_hand),
        trial("a_record_closes_no_window_that_it_counts_in", closes_nothing_early),
        trial("beyond_the_bound_the_whole_stays_exact", beyond_the_bound),
        trial("a_kept_value_stays_kept_until_its_last_pane_leaves", kept_values),
    ]
}

/// An event, how long after its time it arrives, and in which source.
type Arrival = (Bytes, i64, i64, u8);

/// Events of `span_ms`, each arriving so soon that none is late, over 1 to 4 sources; and what is done when: which
/// source takes how many and whether it commits.
fn traffic(span_ms: i64) -> impl Strategy<Value = (Vec<Arrival>, usize, Vec<u8>)> {
    // Just below the lateness, so that the watermark passes nearly every event's time before it comes.
    let delay = 0..POLICY.lateness_ms;
    let arrival = (events::bytes(), 0..span_ms, delay, any::<u8>());
    (vec(arrival, 1..60), 1..=4usize, vec(any::<u8>(), 1..40))
}

/// The events as each source takes them.
fn by_source(start: i64, arrivals: &[Arrival], sources: usize) -> Vec<Vec<Touchpoint<'static>>> {
    let mut order: Vec<usize> = (0..arrivals.len()).collect();
    order.sort_by_key(|id| arrivals[*id].1 + arrivals[*id].2);
    let mut taken = vec![Vec::new(); sources];
    for id in order {
        let (bytes, time, _, source) = &arrivals[id];
        taken[usize::from(*source) % sources].push(touchpoint(&id.to_string(), start + time, bytes));
    }
    taken
}

/// Takes everything in the order of a schedule: whose turn it is, how many it takes, who commits, who publishes.
fn run(stream: &mut Stream, taken: &[Vec<Touchpoint<'_>>], schedule: &[u8]) {
    let mut next = vec![0; taken.len()];
    for turn in schedule.iter().cycle().map(|turn| usize::from(*turn)) {
        let open: Vec<usize> = (0..taken.len()).filter(|source| next[*source] < taken[*source].len()).collect();
        if open.is_empty() {
            break;
        }
        let source = open[turn % open.len()];
        for event in taken[source].iter().skip(next[source]).take(turn / 16 + 1) {
            assert_eq!(stream.item(source, event), Judged::Accepted, "{event:?}");
            next[source] += 1;
        }
        match turn % 3 {
            0 => {}
            1 => stream.commit(&[source], turn % 5 == 0),
            _ => stream.commit(&(0..taken.len()).collect::<Vec<_>>(), turn % 5 == 0),
        }
    }
    stream.end();
}

fn like_the_oracle(
    cases: u32,
    start: i64,
    span_ms: i64,
    group_bys: &[&str],
    windows: &[WindowSpec],
) -> Result<(), Failed> {
    holds(cases, traffic(span_ms), |(arrivals, sources, schedule)| {
        let taken = by_source(start, &arrivals, sources);
        let partitions = i32::try_from(sources).expect("at most four");
        let mut stream = Stream::new(plan(windows.to_vec(), group_bys), &[partitions]);
        run(&mut stream, &taken, &schedule);
        let expected = oracle::finals(&stream.plan, &taken.concat());
        same(&stream.finals(), &expected);
    })
}

fn same(found: &BTreeMap<String, String>, expected: &BTreeMap<String, String>) {
    let keys = found.keys().chain(expected.keys());
    for key in keys {
        assert_eq!(found.get(key), expected.get(key), "{key}");
    }
}

/// A source that lay behind catches up in one record: the windows that its progress closes hold what it counted, wherever
/// its section stands.
fn closes_nothing_early() -> Result<(), Failed> {
    let start = 1_000_000 * MINUTE;
    for record in [[0, 1], [1, 0]] {
        let mut stream = Stream::new(plan(vec![WindowSpec::span("1m", MINUTE, MINUTE)], &["all"]), &[2]);
        let take = |stream: &mut Stream, source: usize, minute: i64| {
            let event = Touchpoint {
                id: format!("{source}-{minute}").into(),
                time: start + minute * MINUTE,
                ..events::interaction()
            };
            assert_eq!(stream.item(source, &event), Judged::Accepted);
        };
        take(&mut stream, 0, 60);
        stream.commit(&[0], false);
        take(&mut stream, 1, 0);
        take(&mut stream, 1, 60);
        stream.commit(&record, false);
        let finals = stream.finals();
        assert_eq!(finals.len(), 1, "{finals:?}");
        assert!(finals.values().all(|value| value.contains(r#""touches":1"#)), "{finals:?}");
    }
    Ok(())
}

fn minutes() -> Result<(), Failed> {
    let windows = [WindowSpec::span("1m", MINUTE, MINUTE), WindowSpec::span("15m", 15 * MINUTE, MINUTE)];
    like_the_oracle(40, 1_700_000_000_000, 90 * MINUTE, &["all", "queue"], &windows)
}

fn hours() -> Result<(), Failed> {
    let windows = [WindowSpec::span("1h", HOUR, 5 * MINUTE), WindowSpec::span("1d", DAY, HOUR)];
    like_the_oracle(40, 1_700_000_000_000, 50 * HOUR, &["all", "channel"], &windows)
}

/// Slides that no coarse pane divides: windows begin in the middle of panes, in another place each time.
fn odd_windows() -> Result<(), Failed> {
    let windows =
        [WindowSpec::span("21m", 21 * MINUTE, 7 * MINUTE), WindowSpec::span("odd", 1_441 * MINUTE, 1_441 * MINUTE)];
    like_the_oracle(40, 0, 130 * DAY, &["all"], &windows)
}

/// In UTC, in the zone, and hours beside them.
fn days((zone, change, ..): oracle::Change) -> Result<(), Failed> {
    let zone = Zone::new(zone)?;
    let windows = [
        WindowSpec::calendar_day("utc", Zone::utc()),
        WindowSpec::calendar_day("local", zone),
        WindowSpec::span("1h", HOUR, HOUR),
    ];
    like_the_oracle(60, change - 2 * DAY - 5 * HOUR, 4 * DAY, &["all", "channel"], &windows)
}

/// More values than are kept: what is kept and what is not add up to the whole, which is exact.
fn beyond_the_bound() -> Result<(), Failed> {
    let windows = [WindowSpec::span("1h", HOUR, HOUR)];
    holds(40, traffic(5 * HOUR), |(arrivals, sources, schedule)| {
        let taken = by_source(1_700_000_000_000, &arrivals, sources);
        let mut bounded = plan(windows.to_vec(), &["all", "queue"]);
        bounded.values_max = 2;
        let mut stream = Stream::new(bounded, &[i32::try_from(sources).expect("at most four")]);
        run(&mut stream, &taken, &schedule);
        let found = stream.finals();
        let expected = oracle::finals(&stream.plan, &taken.concat());
        let whole = |key: &String| key.starts_with("contacts|") && key.ends_with("|all");
        let wholes = |records: &BTreeMap<String, String>| -> BTreeMap<String, String> {
            records.iter().filter(|(key, _)| whole(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
        };
        same(&wholes(&found), &wholes(&expected));
        let mut queues: BTreeMap<String, (i64, usize)> = BTreeMap::new();
        for (key, value) in found.iter().filter(|(key, _)| key.starts_with("contacts|") && key.contains("|queue|")) {
            let (window, values) = key.split_once("|queue|").expect("it holds that");
            let (offered, own) = queues.entry(format!("{window}|all")).or_default();
            *offered += samples(value);
            *own += usize::from(values != "_other|_other");
        }
        for (key, value) in wholes(&found) {
            let (offered, own) = queues[&key];
            assert_eq!(offered, samples(&value), "{key}: parts add up to the whole");
            assert!(own <= 2, "{key}: {own} values are kept");
        }
    })
}

fn samples(record: &str) -> i64 {
    let record: Value = serde_json::from_str(record).expect("a record is JSON");
    record["samples"].as_i64().expect("a record says its samples")
}

/// One quiet case by hand, so that what the others compare is seen to be something.
fn by_hand() -> Result<(), Failed> {
    let mut stream = Stream::new(plan(vec![WindowSpec::span("1m", MINUTE, MINUTE)], &["all"]), &[1]);
    for (id, time) in [("1", 0), ("2", 59_999), ("3", 60_000)] {
        stream.item(0, &Touchpoint { id: id.into(), time, ..events::interaction() });
    }
    stream.commit(&[0], false);
    assert_eq!(stream.finals(), BTreeMap::new());
    let past = 60_000 + POLICY.lateness_ms + POLICY.out_of_orderness_ms;
    stream.item(0, &Touchpoint { id: "4".into(), time: past - 1, ..events::interaction() });
    stream.commit(&[0], false);
    assert_eq!(stream.finals(), BTreeMap::new(), "1 ms too early");
    stream.item(0, &Touchpoint { id: "5".into(), time: past + SECOND, ..events::interaction() });
    stream.commit(&[0], false);
    let finals = stream.finals();
    assert_eq!(finals.keys().collect::<Vec<_>>(), ["touchpoints|1m|1970-01-01T00:00:00Z|all"]);
    assert_eq!(samples(&finals["touchpoints|1m|1970-01-01T00:00:00Z|all"]), 2);
    Ok(())
}

/// Two values are kept, the first that come. They keep their place while they hold data, and free it after.
fn kept_values() -> Result<(), Failed> {
    let mut bounded = plan(vec![WindowSpec::span("1m", MINUTE, MINUTE)], &["queue"]);
    bounded.values_max = 2;
    let mut stream = Stream::new(bounded, &[1]);
    let mut visits = 0;
    let mut visit = |stream: &mut Stream, queue: &str, minute: i64| {
        let mut event = Touchpoint { id: format!("{visits}").into(), time: minute * MINUTE, ..events::interaction() };
        visits += 1;
        event.dimensions.values[Dimension::Queue as usize] = Some(queue.to_string().into());
        assert_eq!(stream.item(0, &event), Judged::Accepted);
        stream.commit(&[0], false);
    };
    for queue in ["a", "b", "c", "a", "c", "b", "a"] {
        visit(&mut stream, queue, 0);
    }
    // Everything of minute 0 is final and gone.
    stream.folds[0].silent(20 * MINUTE);
    stream.commit(&[0], false);
    for queue in ["c", "a", "b", "c"] {
        visit(&mut stream, queue, 20);
    }
    let overflow: i64 = stream.merges.iter().flat_map(|merge| merge.sizes()).map(|(.., overflow)| overflow).sum();
    stream.end();
    let of = |minute: i64| -> Vec<(String, i64)> {
        let prefix = format!("touchpoints|1m|{}|queue|_none|", rfc3339(minute * MINUTE));
        let finals = stream.finals();
        let other =
            finals.get(&prefix.replace("_none|", "_other|_other")).map(|value| ("_other".into(), samples(value)));
        let own =
            finals.iter().filter_map(|(key, value)| Some((key.strip_prefix(&prefix)?.to_string(), samples(value))));
        own.chain(other).collect()
    };
    let expected = |counts: [(&str, i64); 3]| counts.map(|(queue, count)| (queue.to_string(), count)).to_vec();
    assert_eq!(of(0), expected([("a", 3), ("b", 2), ("_other", 2)]));
    assert_eq!(of(20), expected([("a", 1), ("c", 2), ("_other", 1)]), "c was the first to come then");
    assert_eq!(overflow, 3);
    Ok(())
}
