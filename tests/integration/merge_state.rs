//! What merge knows comes back: from an abort whole, from its changelog down to the last pane.

use std::collections::BTreeMap;
use std::sync::Arc;

use libtest_mimic::{Failed, Trial};
use proptest::collection::vec;
use proptest::prelude::*;
use touchstone::engine::codec::{LEDGER_KEY, MergeMetadata, decode_checkpoint};
use touchstone::engine::halt::HaltCode;
use touchstone::engine::section::Section;
use touchstone::engine::stage::{Merge, MergeCommit};
use touchstone::engine::time::MINUTE;
use touchstone::engine::window::WindowSpec;
use touchstone::touchpoint::Touchpoint;

use crate::checking::holds;
use crate::events::{self, Bytes};
use crate::stream::{Stream, plan};

pub fn tests() -> Vec<Trial> {
    vec![
        Trial::test("merge_state::a_commit_that_is_retried_is_the_same", retried),
        Trial::test("merge_state::a_checkpoint_is_everything", restored),
        Trial::test("merge_state::what_was_not_counted_is_missing_up_to_the_newest_of_all_sources", uncovered),
    ]
}

const START: i64 = 1_000_000 * MINUTE;

/// The events of one commit, whether it publishes, whether it is a checkpoint, whether it is disturbed.
type Step = (Vec<(Bytes, i64)>, bool, bool, bool);

fn steps(span_ms: i64) -> impl Strategy<Value = Vec<Step>> {
    let events = vec((events::bytes(), 0..span_ms), 0..12);
    vec((events, any::<bool>(), any::<bool>(), any::<bool>()), 1..8)
}

/// One source, one deltas partition, few values kept.
fn stream() -> Stream {
    let windows = vec![WindowSpec::span("1m", MINUTE, MINUTE), WindowSpec::span("15m", 15 * MINUTE, 5 * MINUTE)];
    let mut plan = plan(windows, &["all", "queue"]);
    (plan.values_max, plan.deltas_partitions) = (3, 1);
    Stream::new(plan, &[1])
}

/// Somebody counts without a group-by that merge has: in it, everything is missing that any source of the record has
/// accepted, whichever of them stands first and holds the cells.
fn uncovered() -> Result<(), Failed> {
    let windows = || vec![WindowSpec::span("1m", MINUTE, MINUTE)];
    let one_partition = |mut plan: touchstone::engine::plan::Plan| {
        plan.deltas_partitions = 1;
        plan
    };
    for record in [[0, 1], [1, 0]] {
        let mut stream = Stream::new(one_partition(plan(windows(), &["all"])), &[2]);
        for (source, time) in [(0, START), (1, START + 30 * MINUTE)] {
            let event = Touchpoint { id: format!("{source}").into(), time, ..events::interaction() };
            stream.item(source, &event);
        }
        let mut merge = Merge::new(Arc::new(one_partition(plan(windows(), &["all", "channel"]))), 0, 0);
        merge.take(0, Ok(stream.sections(&record)));
        assert_eq!(merge.halted(), None);
        let made = merge.prepare(false, true);
        let written = made.checkpoint.into_iter().find(|(key, _)| key == LEDGER_KEY).ok_or("a ledger")?.1;
        let series = decode_checkpoint(&written.ok_or("not a tombstone")?)?.series;
        let from = |group_by: &str| {
            let of = series.iter().find(|series| series.set == "touchpoints" && series.group_by == group_by);
            of.map(|series| series.covered_from)
        };
        assert_eq!(from("channel"), Some(START + 30 * MINUTE + 1), "{record:?}");
        assert_eq!(from("all"), Some(i64::MIN), "what was counted is there");
    }
    Ok(())
}

/// What the source says in a commit.
fn section(stream: &mut Stream, step: usize, made: &[(Bytes, i64)]) -> Vec<Section<'static>> {
    for (number, (bytes, time)) in made.iter().enumerate() {
        stream.item(0, &events::touchpoint(&format!("{step}-{number}"), START + time, bytes));
    }
    let section = stream.sections(&[0]);
    stream.committed(0);
    section
}

/// Two tasks publish and write the same.
fn same((found, of): (&MergeCommit, &Merge), (expected, by): (&MergeCommit, &Merge)) {
    assert!(of.finals().eq(by.finals()));
    assert_eq!(found.checkpoint, expected.checkpoint);
    assert_eq!(found.metadata, expected.metadata);
}

/// Whatever was aborted between, the next commit is that of a task that was never disturbed, down to the sizes that
/// are exported.
fn retried() -> Result<(), Failed> {
    holds(150, steps(40 * MINUTE), |steps| {
        let mut stream = stream();
        let mut disturbed = Merge::new(Arc::clone(&stream.plan), 0, 0);
        for (step, (made, publish, checkpoint, abort)) in steps.into_iter().enumerate() {
            let sections = section(&mut stream, step, &made);
            if abort {
                disturbed.take(stream.next, Ok(sections.clone()));
                disturbed.prepare(publish, checkpoint);
                disturbed.aborted();
            }
            disturbed.take(stream.next, Ok(sections.clone()));
            stream.deliver(&sections);
            let found = disturbed.prepare(publish, checkpoint);
            let expected = stream.merges[0].prepare(publish, checkpoint);
            same((&found, &disturbed), (&expected, &stream.merges[0]));
            assert_eq!(found.currents, expected.currents);
            disturbed.committed();
            stream.merges[0].committed();
            assert_eq!(disturbed.sizes(), stream.merges[0].sizes());
        }
    })
}

/// A task that is made of the changelog alone goes on as the one that wrote it: it holds the same panes, none that
/// had left, and writes the same from then on.
fn restored() -> Result<(), Failed> {
    holds(150, steps(90 * MINUTE), |steps| {
        let mut stream = stream();
        let mut reborn = Merge::new(Arc::clone(&stream.plan), 0, 0);
        let mut changelog: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        for (step, (made, _, checkpoint, dies)) in steps.into_iter().enumerate() {
            let sections = section(&mut stream, step, &made);
            reborn.take(stream.next, Ok(sections.clone()));
            stream.deliver(&sections);
            let made = stream.merges[0].prepare(false, checkpoint);
            let found = reborn.prepare(false, checkpoint);
            same((&found, &reborn), (&made, &stream.merges[0]));
            reborn.committed();
            stream.merges[0].committed();
            for (key, value) in made.checkpoint {
                match value {
                    Some(value) => _ = changelog.insert(key, value),
                    None => assert!(changelog.remove(&key).is_some(), "a tombstone of what was never there"),
                }
            }
            if checkpoint && dies {
                a_lost_record_shows(&stream, &changelog, &made.metadata);
                reborn = Merge::new(Arc::clone(&stream.plan), 0, 0);
                changelog.iter().for_each(|(key, value)| reborn.restore(key, Some(value)));
                assert_eq!(reborn.base_restored(&made.metadata), Ok(stream.next));
                reborn.restored(made.offset);
                // The count of what went under `_other` begins anew with the process.
                let sizes = |merge: &Merge| {
                    let sizes = merge.sizes().into_iter();
                    sizes.map(|(set, by, slices, panes, _)| (set, by, slices, panes)).collect::<Vec<_>>()
                };
                assert_eq!(sizes(&reborn), sizes(&stream.merges[0]));
                assert_eq!((reborn.times(), reborn.ledger()), (stream.merges[0].times(), stream.merges[0].ledger()));
            }
        }
    })
}

/// A changelog that lacks one pane, or holds an older content of it, is not taken for what the checkpoint wrote.
fn a_lost_record_shows(stream: &Stream, changelog: &BTreeMap<Vec<u8>, Vec<u8>>, metadata: &MergeMetadata) {
    let Some(lost) = changelog.keys().find(|key| **key != LEDGER_KEY) else { return };
    let mut restored = Merge::new(Arc::clone(&stream.plan), 0, 0);
    let kept = changelog.iter().filter(|(key, _)| *key != lost);
    kept.for_each(|(key, value)| restored.restore(key, Some(value)));
    let refused = restored.base_restored(metadata).map_err(|halt| halt.code);
    assert_eq!(refused, Err(HaltCode::ChangelogDamaged));
}
