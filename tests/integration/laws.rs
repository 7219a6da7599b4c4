//! The laws that everything else rests on: merging cells is a commutative group, what is written is what is read,
//! and it does not matter whether an event is counted straight into its slices or by its tuple first.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use libtest_mimic::{Failed, Trial};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use touchstone::aggregate;
use touchstone::engine::accumulator::bounds;
use touchstone::engine::cell::Cell;
use touchstone::engine::codec::{
    Checkpoint, Closed, FoldMetadata, Format, KeptLevel, KeptSeries, KnownSources, METADATA_BYTES_MAX, MergeMetadata,
    PaneKey, SetReach, decode_checkpoint, decode_delta, decode_pane, decode_pane_key, encode_checkpoint, encode_delta,
    encode_pane, encode_pane_key,
};
use touchstone::engine::ledger::{Entry, Ledger};
use touchstone::engine::plan::{MetricSet, SetPlan};
use touchstone::engine::publish::Shown;
use touchstone::engine::section::{Group, Phase, Section, SourceId, Standing, Totals};
use touchstone::engine::slice::{GroupBy, NONE, Values};
use touchstone::engine::time::MINUTE;
use touchstone::engine::window::WindowSpec;
use touchstone::metrics::{Settings, registry};
use touchstone::record::Record;
use touchstone::touchpoint::{DecodeContext, Item, Limits, RejectReason, decode};

use crate::checking::holds;
use crate::events::{self, Bytes, json, touchpoint};
use crate::stream::{Stream, plan};

pub fn tests() -> Vec<Trial> {
    let trial = |name: &str, test: fn() -> Result<(), Failed>| Trial::test(format!("laws::{name}"), test);
    vec![
        trial("merging_cells_is_a_commutative_group", a_commutative_group),
        trial("what_tests_write_is_what_is_decoded", events_come_back),
        trial("delta_records_come_back", deltas_come_back),
        trial("panes_and_their_keys_come_back", panes_come_back),
        trial("checkpoints_come_back", checkpoints_come_back),
        trial("metadata_comes_back", metadata_comes_back),
        trial("any_bytes_are_an_error_or_a_cell_that_can_be_read_out", any_bytes),
        trial("damaged_bytes_are_an_error_or_a_cell_that_can_be_read_out", damaged_bytes),
        trial("what_no_accumulator_writes_is_refused", impossible_cells),
        trial("counting_directly_is_counting_by_tuples", direct_is_expanded),
        trial("keys_tell_slices_apart", keys_are_injective),
    ]
}

/// The cell of these events; `minus` of them are taken back, so that counts may be negative.
fn cell(set: &dyn MetricSet, plus: &[Bytes], minus: &[Bytes]) -> Cell {
    let count = |events: &[Bytes]| {
        let mut cell = Cell::new(set.shape());
        for bytes in events {
            let event = touchpoint("1", 0, bytes);
            if set.feeds(&event) {
                set.add(&event, &mut cell);
                cell.events += 1;
            }
        }
        cell
    };
    let mut taken_back = count(minus);
    taken_back.negate();
    sum(&count(plus), &taken_back)
}

fn sum(left: &Cell, right: &Cell) -> Cell {
    let mut sum = left.clone();
    assert_eq!(sum.merge(right, usize::MAX), 0, "without a bound nothing overflows");
    sum
}

fn some() -> impl Strategy<Value = Vec<Bytes>> {
    vec(events::bytes(), 0..12)
}

fn sets() -> Vec<std::sync::Arc<dyn MetricSet>> {
    registry(&Settings::default())
}

fn a_commutative_group() -> Result<(), Failed> {
    holds(150, (some(), some(), some(), some()), |(a, b, c, d)| {
        for set in sets() {
            let (a, b, c) = (cell(&*set, &a, &d), cell(&*set, &b, &[]), cell(&*set, &c, &a));
            let zero = Cell::new(set.shape());
            assert_eq!(sum(&sum(&a, &b), &c), sum(&a, &sum(&b, &c)), "{}: associative", set.name());
            assert_eq!(sum(&a, &b), sum(&b, &a), "{}: commutative", set.name());
            assert_eq!((sum(&a, &zero), sum(&zero, &a)), (a.clone(), a.clone()), "{}: identity", set.name());
            let mut inverse = a.clone();
            inverse.negate();
            assert_eq!(sum(&a, &inverse), zero, "{}: inverse", set.name());
            assert_eq!(sum(&sum(&b, &a), &inverse), b, "{}: what was added can be taken back", set.name());
        }
    })
}

/// Otherwise a test that goes through the decoder would not test what it says.
fn events_come_back() -> Result<(), Failed> {
    holds(2_000, (events::bytes(), 1_000_000_000_000i64..2_000_000_000_000), |(bytes, time)| {
        let event = touchpoint("id", time, &bytes);
        let json = json(&event);
        let record = Record { offset: 0, timestamp: None, key: None, value: Some(json.as_bytes()), headers: &[] };
        let limits = Limits { record_bytes_max: 10_000 };
        let item = decode(&record, &DecodeContext { now: time, max_future_ms: 0, limits });
        assert_eq!(item, Item::Touchpoint(event), "{json}");
    })
}

fn standing() -> impl Strategy<Value = Standing> {
    (any::<i64>(), any::<Option<i64>>(), any::<i64>()).prop_map(|(offset, watermark, accepted)| Standing {
        offset,
        watermark,
        accepted,
    })
}

fn source() -> impl Strategy<Value = SourceId> {
    (".*", any::<u32>(), 0..i32::MAX).prop_map(|(input, epoch, partition)| {
        let input: String = input;
        SourceId { input: input.into(), epoch, partition }
    })
}

fn values() -> impl Strategy<Value = Values> {
    vec("[|:0-9a%é_~ ]{0,6}|.*", 0..4)
        .prop_filter_map("they are too long", |values: Vec<String>| Values::new(values.iter().map(String::as_str)))
}

/// A group with cells of one metric set.
fn group() -> impl Strategy<Value = Group<'static>> {
    (0..6usize, ".*", any::<u32>(), vec((values(), any::<i64>(), some(), some()), 0..4)).prop_map(
        |(set, group_by, definitions, cells)| {
            let set = sets().swap_remove(set);
            let cells = cells
                .into_iter()
                .map(|(values, pane, plus, minus)| (values, pane, Cow::Owned(cell(&*set, &plus, &minus))));
            Group { set: set.name().into(), group_by, definitions, cells: cells.collect() }
        },
    )
}

fn section() -> impl Strategy<Value = Section<'static>> {
    let who = (source(), phase(), 0..i32::MAX, any::<u32>(), 1..i64::MAX);
    let times = (any::<Option<i64>>(), any::<Option<i64>>(), any::<Option<i64>>(), any::<i64>());
    (who, standing(), standing(), times, vec((".*", any::<i64>()), 0..3), vec(group(), 0..3)).prop_map(
        |((source, phase, partitions, plan, base), from, to, times, events, groups)| {
            let (horizon, newest, oldest, covered_from) = times;
            Section {
                source,
                phase,
                partitions,
                plan,
                base,
                from,
                to,
                horizon,
                newest,
                oldest,
                covered_from,
                events,
                groups,
            }
        },
    )
}

fn phase() -> impl Strategy<Value = Phase> {
    prop::sample::select(Phase::ALL.to_vec())
}

fn format() -> impl Strategy<Value = Format> {
    prop::sample::select(vec![Format::PREVIOUS, Format::LATEST])
}

fn deltas_come_back() -> Result<(), Failed> {
    holds(150, (vec(section(), 0..4), format()), |(sections, format)| {
        assert_eq!(decode_delta(&encode_delta(&sections, format)), Ok(sections));
    })
}

fn panes_come_back() -> Result<(), Failed> {
    holds(
        200,
        (group(), values(), "[^|]*", "[^|]*", "[^|]*", any::<i64>(), format()),
        |(group, values, set, by, level, start, format)| {
            for (_, _, cell) in &group.cells {
                let pane = encode_pane(cell, group.definitions, format);
                assert_eq!(decode_pane(&pane), Ok((cell.clone().into_owned(), group.definitions, format)));
            }
            let key = PaneKey { set, group_by: by, level, start, values };
            assert_eq!(decode_pane_key(&encode_pane_key(&key)), Some(key));
        },
    )
}

fn checkpoints_come_back() -> Result<(), Failed> {
    let horizon = any::<Option<i64>>();
    let entry = (phase(), standing(), 0..i32::MAX, horizon, any::<Option<i64>>(), any::<Option<i64>>(), any::<i64>());
    let entry = entry.prop_map(|(phase, standing, partitions, horizon, newest, oldest, covered_from)| Entry {
        phase,
        standing,
        horizon,
        partitions,
        newest,
        oldest,
        covered_from,
    });
    let level = (".*", any::<i64>(), any::<i64>());
    let level = level.prop_map(|(name, covered_from, kept_from)| KeptLevel { name, covered_from, kept_from });
    let closed = (".*", any::<Option<i64>>(), any::<Option<i64>>(), vec(level, 0..3));
    let closed =
        closed.prop_map(|(set, watermark, final_until, levels)| Closed { set, watermark, final_until, levels });
    let series = (".*", ".*", any::<u32>(), any::<i64>())
        .prop_map(|(set, group_by, definitions, covered_from)| KeptSeries { set, group_by, definitions, covered_from });
    let beside = (vec(closed, 0..4), vec(series, 0..4), any::<Option<u64>>());
    holds(200, (any::<i64>(), vec((source(), entry), 0..5), beside, format()), |(offset, entries, beside, format)| {
        let mut ledger = Ledger::default();
        entries.into_iter().for_each(|(source, entry)| ledger.insert(source, entry));
        let (closed, series, contents) = beside;
        let checkpoint = Checkpoint { offset, ledger, closed, series, contents };
        assert_eq!(decode_checkpoint(&encode_checkpoint(&checkpoint, format)), Ok(checkpoint));
    })
}

fn metadata_comes_back() -> Result<(), Failed> {
    let reasons = vec((0..RejectReason::ALL.len(), 1..1_000_000_000_000i64), 0..8);
    let times = (any::<Option<i64>>(), any::<Option<i64>>(), any::<Option<i64>>(), any::<Option<i64>>());
    let fold = (any::<u32>(), phase(), times, any::<[Option<i64>; 2]>(), any::<[i64; 8]>(), reasons);
    let times = (any::<Option<i64>>(), any::<Option<i64>>());
    let reach = times.prop_filter_map("a set that says nothing is left out", |(watermark, final_until)| {
        (watermark.or(final_until).is_some()).then_some(SetReach { watermark, final_until })
    });
    let known = (any::<u32>(), btree_set(0..60i32, 0..20));
    let known = known.prop_map(|(epoch, partitions)| KnownSources { epoch, partitions });
    let reach = btree_map("[a-z]{1,8}", reach, 0..6);
    let known = btree_map("[A-Za-z0-9._-]{1,20}", known, 0..6);
    let halted = prop::option::of("[a-z_]{1,12}");
    let merge = (any::<i64>(), any::<Option<i64>>(), reach, known, halted, any::<Option<i64>>());
    holds(500, (fold, merge, format()), |(fold, merge, format)| {
        let (epoch, phase, times, [horizon, gap], counts, reasons) = fold;
        let (checkpoint, published, reach, known, halted, accept) = merge;
        let rejected: BTreeMap<RejectReason, i64> =
            reasons.into_iter().map(|(place, count)| (RejectReason::ALL[place], count)).collect();
        let [records, accepted, late, duplicate, conflicting, skipped, covered_from, replay_from] = counts;
        let totals =
            Totals { records, accepted, late, duplicate, conflicting, rejected: rejected.values().sum(), skipped };
        let (watermark_of_fold, newest, oldest, dedup_floor) = times;
        let fold = FoldMetadata {
            epoch,
            phase,
            watermark: watermark_of_fold,
            horizon,
            gap,
            newest,
            oldest,
            covered_from,
            replay_from,
            dedup_floor,
            totals,
            rejected,
        };
        assert_eq!(FoldMetadata::decode(&fold.encode(format)), Ok(fold.clone()));
        let short = FoldMetadata { totals: Totals { rejected: totals.rejected + 1, ..totals }, ..fold };
        assert!(FoldMetadata::decode(&short.encode(format)).is_err(), "an item that was rejected for no reason");
        let merge = MergeMetadata { checkpoint, published, reach, known, halted, accept };
        let text = merge.encode(format);
        assert!(text.len() <= METADATA_BYTES_MAX);
        assert_eq!(MergeMetadata::decode(&text), Ok(merge));
    })
}

/// Reads bytes as everything they could be. A cell that comes out, and fits, must bear being read out and merged.
fn read_as_everything(bytes: &[u8]) {
    let _ = (decode_checkpoint(bytes), decode_pane_key(bytes));
    let text = String::from_utf8_lossy(bytes);
    let _ = (FoldMetadata::decode(&text), MergeMetadata::decode(&text));
    let sections = decode_delta(bytes).unwrap_or_default();
    let cells = sections.into_iter().flat_map(|section| section.groups).flat_map(|group| group.cells);
    let cells = cells.map(|(_, _, cell)| cell.into_owned()).chain(decode_pane(bytes).map(|(cell, ..)| cell));
    for cell in cells {
        for set in sets() {
            if cell.fits(&Cell::new(set.shape())) && cell.events.abs() < 1_000 {
                let figures = set.figures(&cell, &GroupBy::known()[0]);
                assert!(figures.iter().all(|figure| !figure.value.is_nan()), "{}: {figures:?}", set.name());
            }
        }
    }
}

fn any_bytes() -> Result<(), Failed> {
    let text = "touchstone-(fold|merge) [12]( [a-z_.]{1,16}=-?[0-9:,-]{1,25}){0,12}|pane(\\|[a-z0-9:é]{0,6}){0,8}";
    holds(3_000, (vec(any::<u8>(), 0..200), text), |(bytes, text)| {
        read_as_everything(&bytes);
        read_as_everything(text.as_bytes());
    })
}

fn damaged_bytes() -> Result<(), Failed> {
    // Small events, so that sums of what is left do not overflow where they are read out.
    let damage = vec((any::<prop::sample::Index>(), 0u8..=255), 1..4);
    holds(1_500, (vec(section(), 1..2), damage, any::<bool>(), format()), |(mut sections, damage, cut, format)| {
        for section in &mut sections {
            (section.events, section.partitions) = (Vec::new(), 1);
        }
        let mut bytes = encode_delta(&sections, format);
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
            if cut {
                bytes.truncate(place.max(1));
            }
        }
        read_as_everything(&bytes);
    })
}

/// Cells that are well-formed protobuf but could not be read out, or would overflow while they are read.
fn impossible_cells() -> Result<(), Failed> {
    let contacts = sets().into_iter().find(|set| set.name() == "contacts").ok_or("contacts")?;
    let bucket = |index: usize| {
        let mut cell = Cell::new(contacts.shape());
        cell.histograms[0].add_to_bucket(u16::try_from(index).expect("a table is small"), 1);
        encode_pane(&cell, 0, Format::LATEST)
    };
    assert!(decode_pane(&bucket(bounds().len() - 1)).is_ok());
    assert!(decode_pane(&bucket(bounds().len())).is_err(), "a bucket beyond the table");
    // field number << 3 | 2 (length-delimited), length, contents; counts are zigzag varints.
    let field = |number: u8, contents: &[u8]| {
        let length = u8::try_from(contents.len()).expect("short");
        [&[number << 3 | 2, length], contents].concat()
    };
    let most = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    let counts = [&most[..], &[2]].concat();
    let pane = |place: u8, keys: &[u8], counts: &[u8]| {
        let accumulator = [keys, &field(2, counts)].concat();
        let version = [1 << 3, 1]; // field 1, a varint
        decode_pane(&[&version[..], &field(4, &field(place, &accumulator))].concat())
    };
    let [histogram, tally, distribution] = [6, 7, 8];
    let score = |score: u8| [2, 10, 0, score]; // 1..5, high is best
    let [four, five] = [score(8), score(10)];
    assert!(pane(histogram, &field(1, &[1, 2]), &[2, 2]).is_ok());
    assert!(pane(histogram, &field(1, &[1, 1]), &counts).is_err(), "a bucket twice, which would overflow");
    assert!(pane(histogram, &field(1, &[1, 2]), &[2]).is_err(), "a bucket without a count");
    assert!(pane(histogram, &field(1, &[1]), &[0]).is_err(), "a count of nothing");
    let names = |names: [&[u8]; 2]| names.map(|name| field(1, name)).concat();
    assert!(pane(tally, &names([b"a", b"b"]), &[2, 2]).is_ok());
    assert!(pane(tally, &names([b"a", b"a"]), &counts).is_err(), "a name twice");
    assert!(pane(distribution, &field(1, &[four, five].concat()), &[2, 2]).is_ok());
    assert!(pane(distribution, &field(1, &[four, four].concat()), &counts).is_err(), "a score twice");
    assert!(pane(distribution, &field(1, &score(12)), &[2]).is_err(), "a score beside its scale");
    assert!(pane(distribution, &field(1, &[2, 2, 0, 2]), &[2]).is_err(), "a scale of one point");
    Ok(())
}

fn direct_is_expanded() -> Result<(), Failed> {
    let windows = || vec![WindowSpec::span("5m", 5 * MINUTE, 5 * MINUTE)];
    let group_bys = ["all", "channel", "queue", "team"];
    holds(150, vec((events::bytes(), 0..10 * MINUTE), 1..40), |made| {
        let mut stream = Stream::new(plan(windows(), &group_bys), &[1]);
        let events: Vec<_> =
            (0..).zip(&made).map(|(id, (bytes, time))| touchpoint(&format!("{id}"), *time, bytes)).collect();
        events.iter().for_each(|event| _ = stream.item(0, event));
        let groups = stream.sections(&[0]).remove(0).groups;
        let mut expanded = HashMap::new();
        for group in groups {
            for (values, pane, cell) in group.cells {
                let key = (group.set.clone(), group.group_by.clone(), values, pane);
                assert_eq!(expanded.insert(key, cell.into_owned()), None, "each slice has one cell in a pane");
            }
        }
        let mut direct = HashMap::new();
        for event in &events {
            for SetPlan { set, group_bys, .. } in stream.plan.sets.iter().filter(|plan| plan.set.feeds(event)) {
                for by in group_bys {
                    let value = |of: &_| event.dimensions.get(*of).unwrap_or(NONE);
                    let values = Values::new(by.dimensions.iter().map(value)).unwrap();
                    let pane = event.time - event.time % (5 * MINUTE);
                    let key = (set.name().to_string(), by.name.clone(), values, pane);
                    let cell = direct.entry(key).or_insert_with(|| Cell::new(set.shape()));
                    set.add(event, cell);
                    cell.events += 1;
                }
            }
        }
        assert_eq!(expanded, direct);
    })
}

fn keys_are_injective() -> Result<(), Failed> {
    let plan = plan(vec![WindowSpec::span("1m", MINUTE, MINUTE)], &["queue"]);
    let value = || "[|%7Cc._~ -]{0,3}|.{0,3}";
    let key = |channel: &str, queue: &str| {
        let values = Values::new([channel, queue]).unwrap();
        let cell = Cell::new(plan.sets[0].set.shape());
        let (set, by, window, is_final) = (0, 0, 0, true);
        aggregate::key(&plan, &Shown { set, by, values, window, start: 0, end: 1, cell, is_final, covered_from: 0 })
    };
    // What can be read back is told apart.
    let read = |part: &str| {
        let mut bytes = part.bytes();
        let mut value = Vec::new();
        while let Some(byte) = bytes.next() {
            let digits = [bytes.clone().next(), bytes.clone().nth(1)].map(|digit| digit.map_or(' ', char::from));
            value.push(if byte == b'%' { u8::from_str_radix(&String::from_iter(digits), 16).unwrap() } else { byte });
            if byte == b'%' {
                bytes.nth(1);
            }
        }
        String::from_utf8(value).unwrap()
    };
    holds(3_000, (value(), value()), |(a, b)| {
        let key = key(&a, &b);
        let parts: Vec<&str> = key.split('|').collect();
        assert_eq!((parts.len(), parts[3]), (6, "queue"), "{key}");
        assert_eq!((read(parts[4]), read(parts[5])), (a, b), "{key}");
        assert!(key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"|:-._~%".contains(&byte)), "{key}");
    })
}
