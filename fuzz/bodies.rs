//! What is done with the bytes of each fuzz target: nothing may panic, and what is read back is what was meant.
//!
//! `cargo fuzz run decode` and its kind feed them without end; `cargo test` feeds them the corpus and some thousand
//! mutations of it.

use std::path::Path;
use std::sync::{Arc, LazyLock};
use touchstone::config::{self, Raw, Settings};
use touchstone::engine::codec::{
    FoldMetadata, Format, METADATA_BYTES_MAX, MergeMetadata, decode_checkpoint, decode_delta, decode_pane,
    decode_pane_key, encode_checkpoint, encode_delta, encode_pane, encode_pane_key,
};
use touchstone::engine::plan::Plan;
use touchstone::engine::stage::{Fold, Merge, Open, sections};
use touchstone::mapping::{Mapping, MappingLimits, Provenance};
use touchstone::record::{Header, Record};
use touchstone::touchpoint::{DecodeContext, Item, Limits, Touchpoint, decode as decode_record, decode_event};

const LIMITS: Limits = Limits { record_bytes_max: 1 << 20 };

/// 2026-01-05T00:00:00Z.
const NOW: i64 = 1_767_571_200_000;

const CONTEXT: DecodeContext = DecodeContext { now: NOW, max_future_ms: 300_000, limits: LIMITS };

/// One input, every metric set.
static PLAN: LazyLock<Arc<Plan>> = LazyLock::new(|| {
    let raw = config::parse("[[input]]\nname = 'calls'\ntopic = 'calls'\n").expect("it is a configuration");
    Settings::new(raw, Path::new(".")).expect("it is sound").plan
});

/// A record in either content mode: lines `name: value` before an empty line are its headers.
pub fn decode(bytes: &[u8]) {
    let (head, value) = match bytes.windows(2).position(|pair| pair == b"\n\n") {
        Some(end) => (&bytes[..end], &bytes[end + 2..]),
        None => (&[][..], bytes),
    };
    let lines = head.split(|byte| *byte == b'\n').filter_map(|line| {
        let colon = line.windows(2).position(|pair| pair == b": ")?;
        Some((std::str::from_utf8(&line[..colon]).ok()?, Some(&line[colon + 2..])))
    });
    let headers: Vec<Header<'_>> = lines.collect();
    let record = Record { offset: 0, timestamp: Some(NOW), key: None, value: Some(value), headers: &headers };
    let item = decode_record(&record, &CONTEXT);
    assert_eq!(item, decode_record(&record, &CONTEXT), "the same bytes, the same item");
    if let Item::Touchpoint(touchpoint) = &item {
        is_sound(touchpoint);
    }
    let plain = Record { headers: &[], ..record };
    if let Ok(text) = std::str::from_utf8(value) {
        assert_eq!(decode_record(&plain, &CONTEXT), decode_event(text, Some(NOW), &CONTEXT));
    }
    if let Item::Touchpoint(touchpoint) = &item {
        let (mut fold, mut open) = (Fold::first(Arc::clone(&PLAN), 0, 0, 1, 0, 0), Open::new(&PLAN));
        fold.item(touchpoint, 0, &mut open);
        fold.record_done(0);
        let sections = sections(&[&fold], &[&open]);
        assert_eq!(decode_delta(&encode_delta(&sections, Format::LATEST)), Ok(sections));
    }
}

/// What is promised of every accepted touchpoint.
fn is_sound(touchpoint: &Touchpoint<'_>) {
    assert!(!touchpoint.id.is_empty() && touchpoint.id.len() <= 256, "{touchpoint:?}");
    assert!(!touchpoint.source.is_empty() && touchpoint.source.len() <= 256, "{touchpoint:?}");
    assert!(touchpoint.time > 86_400_000 && touchpoint.time <= NOW + CONTEXT.max_future_ms, "{touchpoint:?}");
    for value in touchpoint.dimensions.values.iter().flatten() {
        assert!(!value.is_empty() && value.len() <= 128 && !["_none", "_other"].contains(&&**value), "{touchpoint:?}");
    }
    let week = 0..=604_800_000;
    let times = [
        touchpoint.queue_wait_ms,
        touchpoint.hold_ms,
        touchpoint.talk_ms,
        touchpoint.wrapup_ms,
        touchpoint.first_response_ms,
    ];
    assert!(times.iter().flatten().all(|time| week.contains(time)), "{touchpoint:?}");
    if let Some(answer) = touchpoint.answer {
        assert!((answer.scale_min..=answer.scale_max).contains(&answer.score), "{touchpoint:?}");
    }
}

/// The shipped filters over any value; and any text as a filter, which is compiled but not run.
pub fn mapping(bytes: &[u8]) {
    static FILTERS: LazyLock<Vec<Mapping>> = LazyLock::new(|| {
        [
            include_str!("../config/mappings/bank_calls_1999.jq"),
            include_str!("../config/mappings/la311_2017.jq"),
            include_str!("../config/mappings/reviews_anon.jq"),
            include_str!("../config/mappings/sfo_survey.jq"),
            include_str!("../config/mappings/web_apache_logs.jq"),
        ]
        .map(|source| Mapping::compile(source).expect("it is shipped"))
        .into()
    });
    let bounds = MappingLimits { input: LIMITS, outputs_max: 100, output_bytes_max: 1 << 20 };
    for filter in FILTERS.iter() {
        let mut events = Vec::new();
        let provenance = Provenance::File { file: "calls.tsv", row: 7 };
        match filter.map(bytes, &provenance, &bounds, &mut |event| events.push(event.to_owned())) {
            Ok(count) => assert_eq!(count, events.len()),
            Err(_) => assert!(events.is_empty(), "a record is mapped whole or not at all"),
        }
        for event in &events {
            decode_event(event, None, &CONTEXT);
        }
    }
    if let Ok(source) = std::str::from_utf8(bytes)
        && let Err(error) = Mapping::compile(source)
    {
        assert!(error.line >= 1 && error.column >= 1, "{error}");
    }
}

/// What lies in our own topics: decoded or refused, never misread; and a merge task takes it or halts.
pub fn codec(bytes: &[u8]) {
    let sections = decode_delta(bytes);
    if let Ok(sections) = &sections {
        assert_eq!(decode_delta(&encode_delta(sections, Format::LATEST)).as_ref(), Ok(sections));
    }
    let mut merge = Merge::new(Arc::clone(&PLAN), 0, 0);
    merge.take(0, sections);
    if merge.halted().is_none() {
        merge.prepare(true, true);
        merge.finals().for_each(drop);
        merge.committed();
    }
    if let Ok(checkpoint) = decode_checkpoint(bytes) {
        assert_eq!(decode_checkpoint(&encode_checkpoint(&checkpoint, Format::LATEST)), Ok(checkpoint));
    }
    if let Ok((cell, definitions, _)) = decode_pane(bytes) {
        assert_eq!(
            decode_pane(&encode_pane(&cell, definitions, Format::LATEST)),
            Ok((cell, definitions, Format::LATEST))
        );
    }
    if let Some(key) = decode_pane_key(bytes) {
        assert_eq!(decode_pane_key(&encode_pane_key(&key)), Some(key));
    }
}

/// The metadata of committed offsets, which anybody with access to the group can write.
pub fn metadata(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(memory) = FoldMetadata::decode(text) {
        let encoded = memory.encode(Format::LATEST);
        assert!(encoded.len() <= METADATA_BYTES_MAX, "{} bytes", encoded.len());
        assert_eq!(FoldMetadata::decode(&encoded), Ok(memory));
    }
    if let Ok(memory) = MergeMetadata::decode(text) {
        assert_eq!(MergeMetadata::decode(&memory.encode(Format::LATEST)), Ok(memory));
    }
    if let Ok(memory) = FoldMetadata::decode(text) {
        let behind_gap = memory.gap.unwrap_or(100).max(100);
        let (fold, replay_from) = Fold::resumed(Arc::clone(&PLAN), 0, 0, 1, 100, memory);
        assert!(replay_from <= 100);
        assert_eq!(fold.offset(), behind_gap);
        sections(&[&fold], &[]);
        fold.metadata();
    }
}

/// A configuration is read or refused, and what is read can be printed and read again.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(raw) = config::parse(text) else { return };
    // A file that is named is opened, and it may be any.
    if raw.input.iter().any(|input| !input.mapping.is_empty()) {
        return;
    }
    let printed = toml::to_string(&raw).expect("what was read can be written");
    let again: Raw = config::parse(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"));
    assert!(again == raw || text.contains("nan"), "{printed}");
    if let Err(error) = Settings::new(raw, Path::new(".")) {
        assert!(!error.to_string().is_empty());
    }
}
