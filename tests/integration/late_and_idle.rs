//! Time: who is late, what moves the watermark, and what a final window means.

use std::collections::BTreeMap;

use libtest_mimic::{Failed, Trial};
use proptest::collection::vec;
use proptest::prelude::*;
use touchstone::engine::dedup::{Ids, Seen};
use touchstone::engine::publish::Shown;
use touchstone::engine::stage::{Fold, Judged, Merge};
use touchstone::engine::time::{MINUTE, SECOND};
use touchstone::engine::watermark::Policy;
use touchstone::engine::window::{Geometry, WindowKind, WindowSpec, Zone};
use touchstone::touchpoint::Touchpoint;

use crate::checking::holds;
use crate::events::{self, interaction};
use crate::pipeline::{Pipeline, Unproved};
use crate::stream::{POLICY, Stream, input, plan};

pub fn tests() -> Vec<Trial> {
    let trial = |name: &str, test: fn() -> Result<(), Failed>| Trial::test(format!("late_and_idle::{name}"), test);
    vec![
        trial("late_is_judged_before_the_watermark_moves", late_before_it_moves),
        trial("late_comes_before_duplicate", late_before_duplicate),
        trial("an_id_is_known_as_long_as_its_event_would_not_be_late", duplicates),
        trial("the_watermark_never_goes_back", never_back),
        trial("silence_moves_time_only_on_proof", only_on_proof),
        trial("a_retry_judges_as_the_first_try", retry),
        trial("an_abort_puts_an_id_back_with_its_offset", abort_of_an_id),
        trial("time_stands_until_every_partition_has_reported", every_partition),
        trial("time_is_that_of_the_slowest_input", slowest_input),
        trial("a_partition_that_joins_later_does_not_turn_time_back", joined_later),
        trial("nothing_follows_a_final_window", nothing_after_final),
        trial("no_pane_leaves_before_its_last_window", no_pane_too_early),
    ]
}

fn at(id: &str, time: i64) -> Touchpoint<'static> {
    Touchpoint { id: id.to_string().into(), time, ..interaction() }
}

fn minute_plan() -> touchstone::engine::plan::Plan {
    plan(vec![WindowSpec::span("1m", MINUTE, MINUTE)], &["all"])
}

const START: i64 = 1_000_000 * MINUTE;
/// How far behind the newest event an event is the last that is on time.
const REACH: i64 = POLICY.lateness_ms + POLICY.out_of_orderness_ms;

fn late_before_it_moves() -> Result<(), Failed> {
    let mut stream = Stream::new(minute_plan(), &[1]);
    assert_eq!(stream.item(0, &at("old", 5)), Judged::Accepted, "without a watermark nothing is late");
    assert_eq!(stream.item(0, &at("new", START)), Judged::Accepted);
    assert_eq!(stream.folds[0].watermark(), Some(START - POLICY.out_of_orderness_ms));
    assert_eq!(stream.item(0, &at("equal", START - REACH)), Judged::Accepted, "equal is on time");
    assert_eq!(stream.item(0, &at("behind", START - REACH - 1)), Judged::Late);
    assert_eq!(stream.folds[0].watermark(), Some(START - POLICY.out_of_orderness_ms), "neither moves it");
    Ok(())
}

fn late_before_duplicate() -> Result<(), Failed> {
    let mut stream = Stream::new(minute_plan(), &[1]);
    stream.item(0, &at("a", START));
    assert_eq!(stream.item(0, &at("a", START)), Judged::Duplicate { conflicting: false });
    stream.item(0, &at("b", START + REACH + 1));
    assert_eq!(stream.item(0, &at("a", START)), Judged::Late, "it is both");
    stream.commit(&[0], false);
    let (totals, _) = stream.folds[0].committed_totals();
    assert_eq!((totals.accepted, totals.late, totals.duplicate), (2, 1, 1));
    Ok(())
}

fn duplicates() -> Result<(), Failed> {
    let mut stream = Stream::new(minute_plan(), &[1]);
    stream.item(0, &at("a", START));
    stream.item(0, &at("b", START + REACH));
    stream.commit(&[0], false);
    let changed = Touchpoint { customer_id: Some("else".into()), ..at("a", START) };
    assert_eq!(stream.item(0, &at("a", START)), Judged::Duplicate { conflicting: false }, "just not late");
    assert_eq!(stream.item(0, &changed), Judged::Duplicate { conflicting: true });
    assert_eq!(stream.item(0, &Touchpoint { source: "/else".into(), ..at("a", START) }), Judged::Accepted);
    Ok(())
}

fn never_back() -> Result<(), Failed> {
    let step = (0..3u8, 0..40 * MINUTE);
    holds(500, vec(step, 1..40), |steps| {
        let mut stream = Stream::new(minute_plan(), &[1]);
        let (mut watermark, mut closed) = (None, None);
        for (id, (what, time)) in steps.into_iter().enumerate() {
            match what {
                0 => _ = stream.item(0, &at(&id.to_string(), START + time)),
                1 => stream.folds[0].silent(START + time),
                _ => stream.commit(&[0], true),
            }
            let time = *stream.merges[0].times().first().expect("there are metric sets");
            assert!(stream.folds[0].watermark() >= watermark && time.final_until >= closed);
            (watermark, closed) = (stream.folds[0].watermark(), time.final_until);
        }
        stream.finals();
    })?;
    let mut fold = Stream::new(minute_plan(), &[1]).folds.remove(0);
    fold.silent(START);
    assert_eq!(fold.watermark(), Some(START - POLICY.idle_timeout_ms), "silence is believed after the idle time");
    Ok(())
}

/// Through the worker: an hour without a record closes windows only when the log says that it has ended.
fn only_on_proof() -> Result<(), Failed> {
    let config = "
        [service]
        instance = 'test'
        [topics]
        replication_factor = 1
        [[input]]
        name = 'calls'
        topic = 'calls'
    ";
    for unproved in [Unproved::NoAnswer, Unproved::MoreToCome] {
        let mut pipeline = Pipeline::new(config, 1, START);
        pipeline.fold_orders.borrow_mut().unproved = Some(unproved);
        pipeline.produce(0, &events::json(&at("a", START)));
        let watermark = |pipeline: &Pipeline| pipeline.board.look().sources.get(&(0, 0)).and_then(|of| of.watermark);
        pipeline.step_until("the event is taken in", |pipeline| watermark(pipeline).is_some());
        for _ in 0..20 {
            pipeline.clock.advance(5 * MINUTE);
            pipeline.step();
        }
        assert_eq!(watermark(&pipeline), Some(START - POLICY.out_of_orderness_ms), "{unproved:?}");
        assert_eq!(pipeline.finals(), BTreeMap::new(), "{unproved:?}");
        pipeline.fold_orders.borrow_mut().unproved = None;
        pipeline.clock.advance(MINUTE);
        pipeline.step_until("the minute is final", |pipeline| !pipeline.finals().is_empty());
    }
    Ok(())
}

/// What was judged since the last commit is judged again after an abort, with the same result.
fn retry() -> Result<(), Failed> {
    let event = (events::bytes(), 0..30 * MINUTE, 0..20u8);
    holds(300, (vec(event, 1..30), any::<prop::sample::Index>()), |(made, cut)| {
        let events: Vec<_> =
            made.iter().map(|(bytes, time, id)| events::touchpoint(&id.to_string(), START + time, bytes)).collect();
        let (before, after) = events.split_at(cut.index(events.len()));
        let mut stream = Stream::new(minute_plan(), &[1]);
        before.iter().for_each(|event| _ = stream.item(0, event));
        stream.commit(&[0], false);
        let judge = |stream: &mut Stream| after.iter().map(|event| stream.item(0, event)).collect::<Vec<_>>();
        let first = judge(&mut stream);
        let section = stream.sections(&[0]);
        let metadata = stream.folds[0].metadata();
        stream.aborted(0);
        assert!(stream.sections(&[0])[0].groups.is_empty(), "nothing is left open");
        assert_eq!(judge(&mut stream), first);
        assert_eq!(stream.sections(&[0]), section);
        assert_eq!(stream.folds[0].metadata(), metadata);
    })
}

/// An id whose time had passed, taken by another event and given back by an abort, is again what a restart must
/// read from its own offset on.
fn abort_of_an_id() -> Result<(), Failed> {
    let (id, time) = (7 << 64, 10 * MINUTE);
    let mut ids = Ids::new(100, true);
    assert_eq!(ids.check(id, time, 1, 5, 0), Seen::New);
    ids.committed(0);
    assert_eq!(ids.check(id, time + 5 * MINUTE, 1, 9, time + 1), Seen::New, "the former one would be late");
    ids.aborted();
    assert_eq!(ids.replay_from(time, 100), 5);
    assert_eq!(ids.check(id, time, 1, 9, time), Seen::Same);
    Ok(())
}

fn every_partition() -> Result<(), Failed> {
    let mut stream = Stream::new(minute_plan(), &[3]);
    for source in [0, 1] {
        stream.item(source, &at("a", START));
        stream.item(source, &at("b", START + 2 * REACH));
        stream.commit(&[source], true);
        assert!(stream.merges.iter().flat_map(Merge::times).all(|time| time.watermark.is_none()));
    }
    assert!(stream.published.is_empty());
    stream.commit(&[2], true);
    assert!(stream.published.is_empty(), "the third one has reported that it knows no time yet");
    stream.item(2, &at("c", START + REACH));
    stream.commit(&[2], false);
    for time in stream.merges.iter().flat_map(Merge::times) {
        assert_eq!(time.watermark, Some(START + POLICY.lateness_ms), "the least of the three");
        assert_eq!(time.final_until, Some(START));
    }
    Ok(())
}

fn slowest_input() -> Result<(), Failed> {
    let mut plan = minute_plan();
    let patient = Policy { lateness_ms: 3 * POLICY.lateness_ms, ..POLICY };
    plan.inputs.push(input("chats", patient));
    // The second input has nothing to do with surveys.
    let csat = plan.sets.iter().position(|set| set.set.name() == "csat").expect("it exists");
    plan.inputs[1].feeds[csat] = false;
    let mut stream = Stream::new(plan, &[1, 1]);
    stream.item(0, &at("a", START));
    stream.item(1, &at("b", START + MINUTE));
    stream.commit(&[0], false);
    stream.commit(&[1], false);
    let times = stream.merges[0].times().to_vec();
    let watermark = START - POLICY.out_of_orderness_ms;
    assert_eq!(times[csat].final_until, Some(watermark - POLICY.lateness_ms));
    assert_eq!(times[0].watermark, Some(watermark), "the least watermark");
    assert_eq!(times[0].final_until, Some(watermark + MINUTE - patient.lateness_ms), "each minus its own lateness");
    Ok(())
}

/// A partition was added: while it joins time stands still, over a restart too, or else windows would become final
/// without it, or a second time.
fn joined_later() -> Result<(), Failed> {
    let mut stream = Stream::new(minute_plan(), &[1]);
    stream.item(0, &at("a", START));
    stream.item(0, &at("b", START + 2 * REACH));
    stream.commit(&[0], false);
    let owner = |stream: &Stream| usize::try_from(stream.plan.partition("touchpoints", "all")).expect("a partition");
    let owner = owner(&stream);
    let closed = stream.merges[owner].times()[0];
    assert!(closed.final_until > Some(START) && stream.finals().len() == 1);

    let resumed = stream.folds[0].metadata();
    let offset = stream.folds[0].offset();
    let plan = std::sync::Arc::clone(&stream.plan);
    let (first, _) = Fold::resumed(std::sync::Arc::clone(&plan), 0, 0, 2, offset, resumed);
    stream.folds[0] = first;
    stream.add(Fold::first(std::sync::Arc::clone(&plan), 0, 1, 2, 0, 0));
    stream.folds[1].join();
    stream.commit(&[1], true);
    stream.folds[0].silent(START + 5 * REACH);
    stream.commit(&[0, 1], true);
    assert_eq!(stream.merges[owner].times()[0].final_until, closed.final_until, "the second one holds it");

    let made = stream.merges[owner].prepare(false, true);
    let mut restored = Merge::new(plan, i32::try_from(owner)?, 0);
    for (key, value) in &made.checkpoint {
        restored.restore(key, value.as_deref());
    }
    restored.base_restored(&made.metadata).map_err(|halt| halt.to_string())?;
    restored.restored(made.offset);
    assert_eq!(restored.times(), stream.merges[owner].times(), "a restart does not turn it back");
    let finals: Vec<Shown> = stream.merges[owner].finals().collect();
    stream.publish(finals.into_iter().chain(made.currents));
    stream.merges[owner] = restored;
    // What it begins with is how far merge has come: an event of a window that is final is late.
    stream.folds[1].silent(START + 9 * REACH);
    assert_eq!(stream.folds[1].watermark(), None, "silence of one that joins says nothing");
    stream.folds[1].joined(closed.watermark, closed.final_until);
    assert_eq!(stream.item(1, &at("too late", closed.final_until.expect("time has come") - 1)), Judged::Late);
    assert_eq!(stream.item(1, &at("in time", closed.final_until.expect("time has come"))), Judged::Accepted);
    stream.folds[1].silent(START + 5 * REACH);
    stream.commit(&[1], true);
    assert_eq!(stream.finals().len(), 3, "each window once, and that of the event that was in time");
    Ok(())
}

/// Whatever comes, is silent and is published: no window that was final changes or is shown again. Without lateness
/// the window that is shown last is final at once.
fn nothing_after_final() -> Result<(), Failed> {
    let step = (0..4u8, 0..2u8, 0..50 * MINUTE);
    let lateness = prop::sample::select(vec![0, MINUTE, POLICY.lateness_ms]);
    holds(300, (vec(step, 1..50), lateness), |(steps, lateness_ms)| {
        let windows = vec![WindowSpec::span("1m", MINUTE, MINUTE), WindowSpec::span("15m", 15 * MINUTE, 5 * MINUTE)];
        let mut plan = plan(windows, &["all"]);
        plan.inputs[0].policy.lateness_ms = lateness_ms;
        let mut stream = Stream::new(plan, &[2]);
        let mut accepted = Vec::new();
        for (id, (what, source, time)) in steps.into_iter().enumerate() {
            let event = at(&id.to_string(), START + time);
            match what {
                0 => stream.folds[usize::from(source)].silent(START + time),
                1 => stream.commit(&[usize::from(source)], true),
                _ if stream.item(usize::from(source), &event) == Judged::Accepted => accepted.push(event),
                _ => {}
            }
        }
        stream.end();
        let expected: BTreeMap<String, String> = crate::oracle::finals(&stream.plan, &accepted);
        assert_eq!(stream.finals(), expected, "also of what was accepted last");
    })
}

/// Whatever windows are configured, each pane that a window takes is kept until the window is final.
fn no_pane_too_early() -> Result<(), Failed> {
    let span = (1..2_000i64, 1..6i64).prop_map(|(slide, times)| (slide * times * MINUTE, slide * MINUTE));
    holds(60, vec(span, 1..3), |spans| {
        let spec = |(at, (size, slide)): (usize, (i64, i64))| WindowSpec::span(at.to_string(), size, slide);
        let geometry = Geometry::new(spans.into_iter().enumerate().map(spec).collect());
        for (window, spec) in geometry.windows().iter().enumerate() {
            let WindowKind::Span { size, slide } = spec.kind else { continue };
            for start in (0..1_500).map(|step| step * slide) {
                for (level, pane) in geometry.panes(window, start) {
                    let last = start + size - 1;
                    assert!(!geometry.expired(level, pane, last), "{spec:?}: pane {pane} of the instance at {start}");
                }
            }
        }
    })?;
    // The longest local day there is: 31 hours.
    for name in ["Pacific/Apia", "Pacific/Kwajalein", "America/Juneau", "Antarctica/Casey", "Europe/Kyiv"] {
        let geometry = Geometry::new(vec![WindowSpec::calendar_day("day", Zone::new(name)?)]);
        let mut start = 0;
        while start < 2_000_000_000 * SECOND {
            let end = geometry.end(0, start);
            for (level, pane) in geometry.panes(0, start) {
                assert!(!geometry.expired(level, pane, end - 1), "{name}: the day at {pane}");
            }
            start = end;
        }
    }
    Ok(())
}
