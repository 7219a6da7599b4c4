//! Whatever comes in: the fuzz targets over their corpus and mutations of it; and any record leaves through one door.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use libtest_mimic::{Failed, Trial};
use proptest::collection::vec;
use proptest::prelude::*;
use touchstone::engine::section::Totals;
use touchstone::engine::time::rfc3339;
use touchstone::mapping::Mapping;
use touchstone::memory::{NewRecord, OwnedRecord};
use touchstone::touchpoint::RejectReason;

use crate::bodies;
use crate::checking::holds;
use crate::pipeline::{INPUT, Pipeline};
use crate::process::PROGRAM;

pub fn tests() -> Vec<Trial> {
    let trial = |name: &str, test: fn() -> Result<(), Failed>| Trial::test(format!("poison::{name}"), test);
    vec![
        trial("decode", || survives("decode", bodies::decode, 3_000)),
        trial("mapping", || survives("mapping", bodies::mapping, 1_000)),
        trial("codec", || written().and_then(|()| survives("codec", bodies::codec, 3_000))),
        trial("metadata", || survives("metadata", bodies::metadata, 3_000)),
        trial("config", || survives("config", bodies::config, 1_000)),
        trial("any_record_leaves_through_one_door", any_record),
        trial("records_of_a_megabyte_leave_through_one_door", megabytes),
        trial("json_a_hundred_thousand_deep_is_rejected", deep),
        trial("values_without_end_are_bounded", values_without_end),
        trial("a_record_of_a_thousand_events_is_bounded", thousands_from_one),
        trial("ids_and_scores_without_end_are_bounded", ids_without_end),
    ]
}

/// Runs a target over its corpus and `mutations` of it, the same in every run.
fn survives(target: &str, body: fn(&[u8]), mutations: usize) -> Result<(), Failed> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(directory)?.map(|entry| entry.unwrap().path()).collect();
    files.sort_unstable();
    let corpus: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
    assert!(corpus.len() >= 5, "the corpus was found");
    let mut dice = Dice(7);
    let mutated = (0..mutations).map(|_| mutate(&corpus, &mut dice));
    for bytes in corpus.iter().cloned().chain(mutated) {
        if catch_unwind(AssertUnwindSafe(|| body(&bytes))).is_err() {
            return Err(format!("{target} panics on {:?}", String::from_utf8_lossy(&bytes)).into());
        }
    }
    Ok(())
}

/// The corpus of `codec` is what our own topics hold after a small run. `TOUCHSTONE_BLESS=1` writes it anew.
fn written() -> Result<(), Failed> {
    if std::env::var_os("TOUCHSTONE_BLESS").is_none() {
        return Ok(());
    }
    let mut pipeline = Pipeline::new(&format!("{CONFIG}    idle_timeout = '10s'"), 2, NOW);
    let survey = |n: i64| {
        format!(
            "{{\"specversion\":\"1.0\",\"id\":\"s{n}\",\"source\":\"/s\",\"type\":\"cx.survey.responded.v1\",\"time\":\"{}\",\
             \"data\":{{\"metric\":\"csat\",\"score\":{n},\"scale_min\":1,\"scale_max\":5}}}}",
            rfc3339(NOW - n * 60_000)
        )
    };
    let records = (1..5).flat_map(|n| [plain(event(&n.to_string(), "q", NOW - n * 1_000)), plain(survey(n))]);
    take_in(&mut pipeline, &records.collect::<Vec<_>>());
    (0..300).for_each(|_| pipeline.step());
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/codec");
    std::fs::create_dir_all(&directory)?;
    let names = &pipeline.settings.layout.names;
    let kept = |topic: &str| pipeline.topic(topic).into_iter().flat_map(|record| [record.key, record.value]).flatten();
    let mut kept: Vec<Vec<u8>> = kept(&names.deltas).chain(kept(&names.changelog)).collect();
    kept.sort_unstable_by_key(|bytes| std::cmp::Reverse(bytes.len()));
    kept.dedup();
    for (number, bytes) in kept.iter().step_by(kept.len() / 24 + 1).enumerate() {
        std::fs::write(directory.join(format!("written_{number:02}")), bytes)?;
    }
    Ok(())
}

struct Dice(u64);

impl Dice {
    /// One of 0 to `sides` - 1.
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides.max(1)
    }
}

/// A file of the corpus with some changes: bytes, pieces moved in from another one, numbers at their edges.
fn mutate(corpus: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    const TOKENS: [&[u8]; 12] = [
        b"null",
        b"-1",
        b"9223372036854775807",
        b"-9223372036854775808",
        b"1e308",
        b"\"\"",
        b"[[[[",
        b"}",
        b"\xff",
        b"\x00",
        b"\\ud800",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    ];
    let mut bytes = corpus[dice.roll(corpus.len())].clone();
    for _ in 0..=dice.roll(4) {
        let at = dice.roll(bytes.len() + 1);
        let end = at + dice.roll((bytes.len() - at).min(24) + 1);
        let other = &corpus[dice.roll(corpus.len())];
        let from = dice.roll(other.len() + 1);
        let to = from + dice.roll((other.len() - from).min(200) + 1);
        match dice.roll(5) {
            0 => drop(bytes.drain(at..end)),
            1 => bytes[at..end].iter_mut().for_each(|byte| *byte ^= 1 << dice.roll(8)),
            2 => drop(bytes.splice(at..end, other[from..to].iter().copied())),
            3 => drop(bytes.splice(at..end, TOKENS[dice.roll(TOKENS.len())].iter().copied())),
            _ => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
    bytes
}

const NOW: i64 = 1_767_571_200_000;

const CONFIG: &str = "
    [service]
    instance = 'test'
    [topics]
    deltas_partitions = 2
    letter_partitions = 1
    replication_factor = 1
    [timing]
    commit_interval = '100ms'
    idle_commit_interval = '300ms'
    publish_interval = '1s'
    [slices]
    values_max = 50
    [[input]]
    name = 'calls'
    topic = 'calls'
";

/// A record as a producer may have made it.
type Poison = (Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Option<Vec<u8>>)>);

fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    let file = |name: &str| {
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/decode").join(name)).unwrap()
    };
    let valid = [file("contact"), file("interaction"), file("survey"), file("customer")];
    prop_oneof![
        vec(any::<u8>(), 0..40),
        "\\PC{0,40}".prop_map(String::into_bytes),
        proptest::sample::select(valid.to_vec()),
        (0..1_000_000u32).prop_map(|id| event(&format!("i{id}"), "voice", NOW - 60_000).into_bytes()),
    ]
}

fn any_record_strategy() -> impl Strategy<Value = Poison> {
    let header = ("(ce_id|ce_type|content-type|[a-z]{0,5})", proptest::option::of(any_bytes()));
    (proptest::option::of(any_bytes()), proptest::option::of(any_bytes()), vec(header, 0..4))
}

fn event(id: &str, queue: &str, time: i64) -> String {
    format!(
        "{{\"specversion\":\"1.0\",\"id\":\"{id}\",\"source\":\"/s\",\"type\":\"cx.interaction.v1\",\"time\":\"{}\",\
         \"data\":{{\"kind\":\"visit\",\"queue\":\"{queue}\"}}}}",
        rfc3339(time)
    )
}

/// Takes records in, and checks that each has left through exactly one door, in one partition each.
fn take_in(pipeline: &mut Pipeline, records: &[Poison]) -> Totals {
    let before: Vec<i64> = (0..2).map(|partition| pipeline.broker.bounds(INPUT, partition).unwrap().1).collect();
    for (index, (key, value, headers)) in records.iter().enumerate() {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
        let partition = Some(i32::from(index % 2 == 1));
        let (key, value) = (key.as_deref(), value.as_deref());
        let record = NewRecord { partition, key, value, headers: &headers, timestamp: Some(NOW) };
        pipeline.broker.produce(INPUT, &record).unwrap();
    }
    let ends: Vec<i64> = (0..2).map(|partition| pipeline.broker.bounds(INPUT, partition).unwrap().1).collect();
    assert_eq!(ends.iter().sum::<i64>() - before.iter().sum::<i64>(), i64::try_from(records.len()).unwrap());
    pipeline.step_until("everything is taken in", |pipeline| {
        let committed = pipeline.committed();
        assert_eq!(pipeline.halted(), BTreeMap::new());
        committed.iter().zip(&ends).all(|(committed, end)| committed.as_ref().map_or(0, |(offset, _)| *offset) == *end)
    });
    let mut totals = Totals::default();
    for (_, metadata) in pipeline.committed().into_iter().flatten() {
        totals.records += metadata.totals.records;
        totals.accepted += metadata.totals.accepted;
        totals.late += metadata.totals.late;
        totals.duplicate += metadata.totals.duplicate;
        totals.rejected += metadata.totals.rejected;
        totals.skipped += metadata.totals.skipped;
    }
    assert_eq!(totals.records, ends.iter().sum::<i64>());
    assert_eq!(totals.consumed(), totals.records, "one item each, one door each: {totals:?}");
    let names = pipeline.settings.layout.names.clone();
    let letters = |topic: &str| i64::try_from(pipeline.topic(topic).len()).unwrap();
    assert_eq!((letters(&names.dead_letter), letters(&names.late)), (totals.rejected, totals.late));
    totals
}

fn any_record() -> Result<(), Failed> {
    holds(150, vec(any_record_strategy(), 1..40), |records| {
        let mut pipeline = Pipeline::new(CONFIG, 2, NOW);
        take_in(&mut pipeline, &records);
        // What was rejected is there as it came.
        let dead = pipeline.topic(&pipeline.settings.layout.names.dead_letter);
        for letter in &dead {
            let (key, value, headers) = &records[origin(letter)];
            assert_eq!((&letter.key, &letter.value), (key, value));
            assert_eq!(&letter.headers[..headers.len()], headers);
        }
    })
}

/// Which of the records a letter is.
fn origin(letter: &OwnedRecord) -> usize {
    let number = |name: &str| {
        let found = letter.headers.iter().rfind(|(header, _)| header == name).and_then(|(_, value)| value.as_ref());
        String::from_utf8(found.unwrap().clone()).unwrap().parse::<usize>().unwrap()
    };
    number("touchstone_offset") * 2 + number("touchstone_partition")
}

/// Around the limits of sizes: the value's, the record's, and keys and headers that alone are too large for our topics.
fn megabytes() -> Result<(), Failed> {
    let mut pipeline = Pipeline::with_input(CONFIG, 2, NOW, 4_000_000);
    let padded = |bytes: usize| {
        let mut value = event(&bytes.to_string(), "q", NOW - 60_000).into_bytes();
        value.resize(bytes, b' ');
        Some(value)
    };
    let big = |bytes: usize| Some(vec![b'\xfe'; bytes]);
    let header = |bytes: usize| vec![("ce_huge".to_string(), big(bytes)), ("b".to_string(), None)];
    let many: Vec<(String, Option<Vec<u8>>)> =
        (0..50_000).map(|n| (format!("h{n}"), Some(b"value".to_vec()))).collect();
    let limit = 1_048_576;
    let records: Vec<Poison> = vec![
        (None, padded(limit), vec![]),
        (None, padded(limit + 1), vec![]),
        (None, padded(1_040_000), header(2_000_000)),
        (big(1_040_000), padded(1_000), vec![]),
        (big(3_000_000), padded(1_001), vec![]),
        (big(3_000_000), None, vec![]),
        (big(10), Some(vec![]), header(1_100_000)),
        (None, Some(vec![]), header(3_900_000)),
        (big(1_300_000), big(1_300_000), header(1_300_000)),
        (big(1_100_000), big(10), many.clone()),
        (None, big(3_000_000), many),
        (big(1_045_000), big(10), vec![]),
    ];
    let totals = take_in(&mut pipeline, &records);
    assert_eq!((totals.accepted, totals.rejected), (3, 9), "what is valid is taken, whatever its key: {totals:?}");
    let dead = pipeline.topic(&pipeline.settings.layout.names.dead_letter);
    let mut cut = BTreeMap::new();
    for letter in &dead {
        let (key, value, headers) = &records[origin(letter)];
        let marked = letter.headers.iter().filter(|(name, _)| name.starts_with("touchstone_truncated"));
        let marks: Vec<&str> = marked.map(|(name, _)| &name["touchstone_truncated".len()..]).collect();
        let theirs = letter.headers.iter().filter(|(name, _)| !name.starts_with("touchstone_"));
        assert_eq!(letter.key != *key, marks.contains(&"_key"));
        assert_eq!(letter.value != *value, marks.contains(&""));
        assert_eq!(theirs.ne(headers.iter()), marks.contains(&"_headers"));
        *cut.entry(marks.join(",")).or_insert(0) += 1;
    }
    assert_eq!(cut.values().sum::<i32>(), 9);
    assert!(["", "_key", "_headers", ",_key,_headers"].iter().all(|marks| cut.contains_key(*marks)), "{cut:?}");
    Ok(())
}

fn deep() -> Result<(), Failed> {
    let mut values: Vec<String> = [("[", "]"), ("{\"a\":", "}"), ("[{\"a\":", "}]")]
        .into_iter()
        .flat_map(|(open, close)| {
            let whole = open.repeat(100_000) + "1" + &close.repeat(100_000);
            let inside = event("1", "q", NOW).replace("\"visit\"", &whole);
            [whole, open.repeat(100_000), close.repeat(100_000), inside]
        })
        .collect();
    // The same brackets in a string are no depth.
    values.push(event("deep", "q", NOW - 60_000).replace("visit", &"[".repeat(100)));
    for mapping in [false, true] {
        let mut pipeline = Pipeline::new(CONFIG, 2, NOW);
        if mapping {
            pipeline.settings.inputs[0].mapping = Some(Arc::new(Mapping::compile(".")?));
            pipeline.mapper = Some(PROGRAM.into());
        }
        let records: Vec<Poison> =
            values.iter().map(|value| (None, Some(value.clone().into_bytes()), vec![])).collect();
        let totals = take_in(&mut pipeline, &records);
        assert_eq!((totals.accepted, totals.rejected), (1, 12), "with a mapping: {mapping}");
        let posted = pipeline.board.look();
        let reasons: Vec<RejectReason> =
            posted.sources.values().flat_map(|source| source.rejected.keys().copied()).collect();
        assert!(reasons.iter().all(|reason| *reason == RejectReason::NotJson), "{reasons:?}");
    }
    Ok(())
}

fn plain(value: String) -> Poison {
    (None, Some(value.into_bytes()), vec![])
}

/// A hundred thousand queues of the longest name, a minute of a hundred thousand different times, reasons without end:
/// at most `values_max` of each are told apart, and the rest is counted as that.
fn values_without_end() -> Result<(), Failed> {
    let mut pipeline = Pipeline::new(&CONFIG.replace("'100ms'", "'5s'").replace("'300ms'", "'5s'"), 2, NOW);
    let queue = |n: usize| format!("{n:06}{}", "q".repeat(122));
    let records: Vec<Poison> =
        (0..100_000).map(|n| plain(event(&n.to_string(), &queue(n), NOW - 60_000 - (n as i64 % 1_000)))).collect();
    let totals = take_in(&mut pipeline, &records);
    assert_eq!(totals.accepted, 100_000);
    let churned = |n: usize| {
        format!(
            "{{\"specversion\":\"1.0\",\"id\":\"c{n}\",\"source\":\"/s\",\"type\":\"cx.customer.changed.v1\",\"time\":\"{}\",\
             \"data\":{{\"customer_id\":\"{n}\",\"state\":\"churned\",\"reason\":\"{}\"}}}}",
            rfc3339(NOW - 60_000),
            queue(n)
        )
    };
    let totals = take_in(&mut pipeline, &(0..100_000).map(|n| plain(churned(n))).collect::<Vec<_>>());
    assert_eq!(totals.accepted, 200_000);
    let end = pipeline.broker.bounds(&pipeline.settings.layout.names.deltas, 0)?.1;
    pipeline.step_until("merge has taken it in", |pipeline| {
        let posted = pipeline.board.look();
        posted.merges.values().all(|merge| merge.offset >= end) && posted.merges.len() == 2
    });
    (0..30).for_each(|_| pipeline.step());
    let posted = pipeline.board.look();
    let sizes: Vec<_> = posted.merges.values().flat_map(|merge| merge.sizes.iter().copied()).collect();
    assert!(sizes.iter().all(|(_, _, slices, ..)| *slices <= 51), "50 values, and _other: {sizes:?}");
    let overflow: i64 = sizes.iter().map(|(.., overflow)| overflow).sum();
    assert!(overflow >= 99_950, "{overflow}");
    let mut largest = 0;
    let mut other = 0;
    for record in pipeline.topic(&pipeline.settings.layout.names.aggregates) {
        largest = largest.max(record.value.map_or(0, |value| value.len()));
        other += usize::from(record.key.is_some_and(|key| key.ends_with(b"|_other")));
    }
    assert!(largest < 20_000 && other > 0, "{largest} bytes, {other} records of _other");
    Ok(())
}

/// Records that become a thousand events each, none like another: what one commit holds stays bounded.
fn thousands_from_one() -> Result<(), Failed> {
    let mut pipeline = Pipeline::new(&CONFIG.replace("'100ms'", "'5s'").replace("'300ms'", "'5s'"), 2, NOW);
    let filter = r#"range(1000) as $i | {specversion: "1.0", id: "\(.)-\($i)", source: "s", type: "cx.customer.changed.v1",
        time: "2026-01-05T00:00:00Z", data: {customer_id: "c", state: "churned", reason: "\(.)-\($i)-\("x" * 110)"}}"#;
    pipeline.settings.inputs[0].mapping = Some(Arc::new(Mapping::compile(filter)?));
    (0..120).for_each(|n| pipeline.produce(n % 2, &n.to_string()));
    pipeline.step_until("everything is taken in", |pipeline| {
        assert_eq!(pipeline.halted(), BTreeMap::new());
        pipeline.committed().iter().all(|committed| committed.as_ref().is_some_and(|(offset, _)| *offset == 60))
    });
    let accepted: i64 = pipeline.committed().iter().flatten().map(|(_, memory)| memory.totals.accepted).sum();
    assert_eq!(accepted, 120_000);
    let deltas = pipeline.topic(&pipeline.settings.layout.names.deltas);
    let largest = deltas.iter().filter_map(|record| record.value.as_ref().map(Vec::len)).max();
    assert!(largest.is_some_and(|bytes| bytes < 6 << 20), "{largest:?}");
    Ok(())
}

/// Ids of the longest kind, and answers on a hundred thousand scales.
fn ids_without_end() -> Result<(), Failed> {
    let config = CONFIG.replace("topic = 'calls'", "topic = 'calls'\n    dedup_ids_max = 1000");
    let config = config.replace("'100ms'", "'5s'").replace("'300ms'", "'5s'");
    let mut pipeline = Pipeline::new(&config, 2, NOW);
    let answer = |n: usize| {
        format!(
            "{{\"specversion\":\"1.0\",\"id\":\"{n:0250}\",\"source\":\"{}\",\"type\":\"cx.survey.responded.v1\",\"time\":\"{}\",\
             \"data\":{{\"metric\":\"csat\",\"score\":{n},\"scale_min\":{n},\"scale_max\":{}}}}}",
            "s".repeat(256),
            rfc3339(NOW - 60_000),
            n + 1 + n % 100
        )
    };
    let records: Vec<Poison> = (0..100_000).map(|n| plain(answer(n))).collect();
    let totals = take_in(&mut pipeline, &records);
    assert_eq!(totals.accepted, 100_000);
    (0..30).for_each(|_| pipeline.step());
    let posted = pipeline.board.look();
    for source in posted.sources.values() {
        assert!(source.ids.0 <= 1_000 && source.ids.1 >= 40_000, "{:?}", source.ids);
    }
    let records = pipeline.topic(&pipeline.settings.layout.names.aggregates);
    let largest = records.iter().filter_map(|record| record.value.as_ref().map(Vec::len)).max();
    assert!(largest.is_some_and(|bytes| bytes < 50_000), "{largest:?}");
    Ok(())
}
