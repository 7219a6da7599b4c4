//! What the engine costs: fold per item, merge per cell, codec per cell, restore per pane, scrape per series,
//! each beside a floor that does the least that could be done.
//!
//!     cargo bench --bench engine

#[path = "parts/rows.rs"]
#[allow(dead_code, reason = "another benchmark uses the rest")]
mod rows;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use std::borrow::Cow;
use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;
use touchstone::config::{self, Settings};
use touchstone::engine::cell::Cell;
use touchstone::engine::codec::{Format, PaneKey, decode_delta, encode_delta, encode_pane, encode_pane_key};
use touchstone::engine::plan::Plan;
use touchstone::engine::section::Section;
use touchstone::engine::slice::Values;
use touchstone::engine::stage::{self, Fold, Merge, Open};
use touchstone::touchpoint::{Answer, Dimension, Dimensions, Kind, Outcome, SurveyMetric, Touchpoint};

/// The default plan with one deltas partition, so that one merge task owns everything.
fn plan() -> Arc<Plan> {
    let raw = config::parse("[topics]\ndeltas_partitions = 1\n[[input]]\nname = \"in\"\ntopic = \"in\"\n");
    let settings = Settings::new(raw.expect("valid"), std::path::Path::new(".")).expect("valid");
    settings.plan
}

/// 60 % contacts, 25 % interactions, 15 % surveys over 10 channels and 50 queues, one every 10 ms.
fn touchpoints(count: usize) -> Vec<Touchpoint<'static>> {
    (0..count).map(touchpoint).collect()
}

fn touchpoint(n: usize) -> Touchpoint<'static> {
    let spread = n.wrapping_mul(2_654_435_761) >> 7;
    let queue = (spread % 50).min(spread / 50 % 50);
    let mut dimensions = Dimensions::default();
    let mut set = |dimension: Dimension, value: String| dimensions.values[dimension as usize] = Some(value.into());
    set(Dimension::Channel, format!("channel-{}", queue % 10));
    set(Dimension::Queue, format!("queue-{queue}"));
    set(Dimension::Team, format!("team-{}", queue % 12));
    set(Dimension::Region, format!("region-{}", spread % 5));
    set(Dimension::Segment, format!("segment-{}", spread % 3));
    let kind = match n % 20 {
        0..12 => Kind::Contact,
        12..17 => Kind::Interaction,
        _ => Kind::Survey,
    };
    let contact = kind == Kind::Contact;
    let wait = (spread % 90_000) as i64;
    let answered = !spread.is_multiple_of(11);
    Touchpoint {
        source: "/bench".into(),
        id: format!("event-{n}").into(),
        time: 1_767_571_200_000 + 10 * n as i64,
        kind,
        dimensions,
        customer_id: None,
        contact_id: contact.then(|| format!("contact-{n}").into()),
        outcome: contact.then_some(if answered { Outcome::Answered } else { Outcome::Abandoned }),
        direction: None,
        queue_wait_ms: contact.then_some(wait),
        hold_ms: (contact && answered).then_some(wait / 3),
        hold_count: None,
        talk_ms: (contact && answered).then_some(3 * wait),
        wrapup_ms: (contact && answered).then_some(30_000),
        first_response_ms: None,
        resolved: contact.then_some(answered),
        abandon_stage: None,
        transfers: None,
        interaction: (kind == Kind::Interaction).then(|| "visit".into()),
        sentiment_bits: None,
        rating_bits: None,
        state: None,
        reason: None,
        metric: (kind == Kind::Survey).then_some(SurveyMetric::Csat),
        answer: (kind == Kind::Survey).then_some(Answer {
            scale_min: 1,
            scale_max: 5,
            low_is_best: false,
            score: 1 + (spread % 5) as i32,
        }),
        has_comment: None,
        respondent: None,
    }
}

/// Fold judges and counts by tuple; direct counting looks every slice up for every item.
fn fold(criterion: &mut Criterion) {
    let plan = plan();
    let items = touchpoints(100_000);
    let mut group = criterion.benchmark_group("fold_per_item");
    group.throughput(Throughput::Elements(items.len() as u64)).sample_size(10);
    group.bench_function("tuples, with ids and section", |bencher| {
        bencher.iter_batched(
            || (Fold::first(Arc::clone(&plan), 0, 0, 1, 0, 0), Open::new(&plan)),
            |(mut fold, mut open)| {
                for (offset, item) in items.iter().enumerate() {
                    black_box(fold.item(item, offset as i64, &mut open));
                }
                stage::sections(&[&fold], &[&open]).len()
            },
            BatchSize::LargeInput,
        );
    });
    group.bench_function("floor: direct counting into slices", |bencher| bencher.iter(|| direct(&plan, &items)));
    group.finish();
}

fn direct(plan: &Plan, items: &[Touchpoint<'_>]) -> usize {
    let mut cells: HashMap<(usize, usize, i64, Values), Cell> = HashMap::new();
    for item in items {
        for (index, set) in plan.sets.iter().enumerate().filter(|(_, set)| set.set.feeds(item)) {
            let tuple: Vec<&str> = set.tuple.of(&item.dimensions).collect();
            for by in 0..set.group_bys.len() {
                let key = (index, by, item.time / 60_000, set.tuple.project(by, &tuple));
                let cell = cells.entry(key).or_insert_with(|| Cell::new(set.set.shape()));
                set.set.add(item, cell);
            }
        }
    }
    cells.len()
}

fn sections(plan: &Arc<Plan>) -> (Section<'static>, usize) {
    let (mut fold, mut open) = (Fold::first(Arc::clone(plan), 0, 0, 1, 0, 0), Open::new(plan));
    for (offset, item) in touchpoints(100_000).iter().enumerate() {
        fold.item(item, offset as i64, &mut open);
        fold.record_done(offset as i64);
    }
    let bytes = encode_delta(&stage::sections(&[&fold], &[&open]), Format::LATEST);
    let section = decode_delta(&bytes).expect("ours").remove(0);
    let cells = section.groups.iter().map(|group| group.cells.len()).sum();
    (section, cells)
}

fn codec_and_merge(criterion: &mut Criterion) {
    let plan = plan();
    let (section, cells) = sections(&plan);
    let bytes = encode_delta(std::slice::from_ref(&section), Format::LATEST);
    println!("{cells} cells in {} bytes: {} bytes a cell", bytes.len(), bytes.len() / cells);
    let mut group = criterion.benchmark_group("per_cell");
    group.throughput(Throughput::Elements(cells as u64)).sample_size(10);
    group.bench_function("encode", |bencher| {
        bencher.iter(|| encode_delta(std::slice::from_ref(&section), Format::LATEST))
    });
    group.bench_function("decode", |bencher| bencher.iter(|| decode_delta(&bytes).expect("ours")));
    group.bench_function("floor: copy the bytes", |bencher| bencher.iter(|| black_box(&bytes).to_vec()));
    group.bench_function("merge into every level", |bencher| {
        bencher.iter_batched(
            || (Merge::new(Arc::clone(&plan), 0, 0), vec![section.clone()]),
            |(mut merge, sections)| {
                merge.take(0, Ok(sections));
                assert!(merge.halted().is_none());
                merge
            },
            BatchSize::LargeInput,
        );
    });
    group.bench_function("floor: merge into one cell per group", |bencher| {
        bencher.iter(|| {
            for group in &section.groups {
                let mut sum = group.cells[0].2.clone().into_owned();
                group.cells[1..].iter().for_each(|(_, _, cell)| _ = sum.merge(cell, 1_000));
                black_box(sum);
            }
        });
    });
    let panes: Vec<(Vec<u8>, Vec<u8>)> = section.groups.iter().flat_map(panes).collect();
    group.throughput(Throughput::Elements(panes.len() as u64));
    group.bench_function("restore", |bencher| {
        bencher.iter_batched(
            || Merge::new(Arc::clone(&plan), 0, 0),
            |mut merge| {
                panes.iter().for_each(|(key, value)| merge.restore(key, Some(value)));
                merge
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

fn panes(group: &touchstone::engine::section::Group<'_>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let pane = |(values, start, cell): &(Values, i64, Cow<'_, Cell>)| {
        let key = PaneKey {
            set: group.set.clone(),
            group_by: group.group_by.clone(),
            level: "60000ms".into(),
            start: *start,
            values: values.clone(),
        };
        (encode_pane_key(&key), encode_pane(cell, group.definitions, Format::LATEST))
    };
    group.cells.iter().map(pane).collect()
}

/// /metrics, from the board, with figures computed; the floor writes as many lines.
fn scrape(criterion: &mut Criterion) {
    let plan = plan();
    let (contacts, _) = rows::contacts_by_queue(&plan);
    let mut cell = Cell::new(plan.sets[contacts].set.shape());
    touchpoints(5_000)
        .iter()
        .filter(|item| item.kind == Kind::Contact)
        .for_each(|item| plan.sets[contacts].set.add(item, &mut cell));
    cell.events = 3_000;
    let mut group = criterion.benchmark_group("scrape");
    group.sample_size(10);
    for wanted in [1_000, 10_000, 100_000] {
        let (exporter, _) = rows::exporter(&plan, &cell, wanted);
        let page = exporter.metrics();
        println!("{wanted} series: {} lines, {} bytes", rows::lines(&page), page.len());
        group.bench_function(format!("{wanted} series"), |bencher| bencher.iter(|| exporter.metrics()));
        group.bench_function(format!("floor: {wanted} lines"), |bencher| {
            bencher.iter(|| {
                use std::fmt::Write;
                let mut text = String::with_capacity(page.len());
                for n in 0..wanted {
                    writeln!(text, "cx_window_offered{{window=\"15m\",slice=\"queue\",channel=\"channel-{}\",queue=\"queue-{n}\"}} {}", n % 10, n as f64)
                        .expect("into memory");
                }
                text
            });
        });
    }
    group.finish();
}

criterion_group!(benches, fold, codec_and_merge, scrape);
criterion_main!(benches);
