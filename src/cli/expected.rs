//! What a load may be expected to take, in memory and in series: from items a second and distinct values.
//!
//! [`memory`](super::memory) bounds what a configuration may take at the worst; this reckons what it takes in the steady
//! state under a load that is named. Cells are filled with as many events of the generated traffic as would fall into
//! them, and counted. The other constants were fitted to measured processes (docs/PERFORMANCE.md).

use crate::config::Settings;
use crate::engine::cell::Cell;
use crate::engine::slice::{GroupBy, NONE};
use crate::engine::window::{Level, WindowKind};
use crate::export::series_of;
use crate::record::Record;
use crate::touchpoint::{DecodeContext, Item, Kind, Limits, Touchpoint, decode};
use crate::workload::Workload;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The program and its clients, connected, without any load, bytes.
const PROGRAM_BYTES: f64 = 40e6;

/// What is on its way in the queues of the clients and between two commits, for each item a second, bytes.
const FLOWING_BYTES: f64 = 3_000.0;

/// A remembered id: 24 bytes in a table of which three fifths are taken, and a fifth more are held than count.
const ID_BYTES: f64 = 48.0;

/// Of how many parts of its memory the heap makes use: the rest is lost in between.
const HEAP_USED: f64 = 0.85;

/// What an exported series takes, with its labels, while a page is built.
const SERIES_BYTES: f64 = 512.0;

/// The sampled events: those of a minute of a Monday's busy hour.
const SAMPLES: u32 = 20_000;
const MINUTE: i64 = 29_460_000;

const KINDS: [(&str, Kind); 4] = [
    ("contact", Kind::Contact),
    ("interaction", Kind::Interaction),
    ("customer", Kind::Customer),
    ("survey", Kind::Survey),
];

/// A load: items a second per kind, and distinct values per group-by.
#[derive(Debug)]
pub(super) struct Load {
    rates: Vec<(Kind, f64)>,
    slices: BTreeMap<String, usize>,
}

impl Load {
    /// From `KIND=RATE` and `NAME=COUNT`.
    ///
    /// # Errors
    /// What is wrong with one of them, for people.
    pub fn parse(rates: &[String], slices: &[String]) -> Result<Load, String> {
        let rate = |text: &String| {
            let parsed = text.split_once('=').and_then(|(kind, rate)| {
                let (_, kind) = KINDS.iter().find(|(name, _)| *name == kind)?;
                Some((*kind, rate.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate >= 0.0)?))
            });
            let kinds = KINDS.map(|(name, _)| name).join(", ");
            parsed.ok_or_else(|| format!("--rate {text}: must be KIND=ITEMS_PER_SECOND, with a kind of {kinds}"))
        };
        let count = |text: &String| {
            let parsed = text.split_once('=').and_then(|(name, count)| {
                let name = GroupBy::parse(name).map(|by| by.name)?;
                Some((name, count.parse().ok()?))
            });
            let names = GroupBy::known().into_iter().map(|by| by.name).collect::<Vec<_>>().join(", ");
            parsed.ok_or_else(|| format!("--slices {text}: must be GROUP_BY=COUNT, with a group-by of {names}"))
        };
        Ok(Load {
            rates: rates.iter().map(rate).collect::<Result<_, _>>()?,
            slices: slices.iter().map(count).collect::<Result<_, _>>()?,
        })
    }

    fn all(&self) -> f64 {
        self.rates.iter().map(|(_, rate)| rate).sum()
    }
}

/// What falls into the cells of one group-by of a metric set.
struct Filling<'s> {
    settings: &'s Settings,
    set: usize,
    by: usize,
    /// Sampled events that feed the set.
    events: Vec<&'s Touchpoint<'s>>,
    /// Items a second that feed it, and the slices that they fall into.
    rate: f64,
    slices: f64,
}

impl<'s> Filling<'s> {
    fn new(settings: &'s Settings, load: &Load, samples: &'s [Touchpoint<'s>], set: usize, by: usize) -> Filling<'s> {
        let plan = &settings.plan.sets[set];
        let events: Vec<&Touchpoint<'_>> = samples.iter().filter(|sample| plan.set.feeds(sample)).collect();
        let of =
            |kind: Kind, events: &[&Touchpoint<'_>]| events.iter().filter(|event| event.kind == kind).count() as f64;
        let all: Vec<&Touchpoint<'_>> = samples.iter().collect();
        let rate = load.rates.iter().map(|(kind, rate)| rate * of(*kind, &events) / of(*kind, &all).max(1.0)).sum();
        let group_by = &plan.group_bys[by];
        let most = settings.plan.slices_max(group_by);
        let told = load.slices.get(&group_by.name).map_or(most, |count| most.min(*count));
        // A set whose events lack a dimension has fewer slices than others.
        let distinct = |events: &[&Touchpoint<'_>]| {
            let values = |event: &&Touchpoint<'_>| -> Vec<String> {
                let value = |dimension| event.dimensions.get(dimension).unwrap_or(NONE).to_owned();
                group_by.dimensions.iter().map(|dimension| value(*dimension)).collect()
            };
            events.iter().map(values).collect::<BTreeSet<_>>().len().max(1) as f64
        };
        let slices = (told as f64 * distinct(&events) / distinct(&all)).max(1.0);
        Filling { settings, set, by, events, rate, slices }
    }

    /// What a slice's cell of so many seconds holds, and the share of slices that have one.
    fn cell(&self, seconds: f64) -> (Cell, f64) {
        let set = &self.settings.plan.sets[self.set].set;
        let items = self.rate * seconds / self.slices;
        let there = 1.0 - (-items).exp();
        let mut cell = Cell::new(set.shape());
        let count = if there > 0.0 { (items / there).round() as usize } else { 0 };
        for event in self.events.iter().take(count) {
            set.add(event, &mut cell);
            cell.events += 1;
        }
        (cell, there)
    }

    /// Bytes of the panes of every level: what windows and lateness keep.
    fn panes(&self, ahead: i64) -> f64 {
        let plan = &self.settings.plan;
        let group_by = &plan.sets[self.set].group_bys[self.by];
        let bytes = |(index, level): (usize, &Level)| {
            let (count, seconds) = match level {
                Level::Ever => (1.0, 86_400.0),
                _ => {
                    let (start, end) = level.pane(0);
                    let span = plan.geometry.kept_from(index, 0).saturating_neg() + ahead;
                    (span as f64 / (end - start) as f64 + 1.0, (end - start) as f64 / 1e3)
                }
            };
            let (cell, there) = self.cell(seconds);
            self.slices * count * there * cell.held_bytes() as f64 / HEAP_USED
        };
        let levels = plan.geometry.levels().iter().enumerate();
        levels.filter(|(level, _)| plan.keeps(*level, group_by)).map(bytes).sum()
    }

    /// Series of one of its windows.
    fn series(&self, window: usize) -> f64 {
        let geometry = &self.settings.plan.geometry;
        let seconds = match geometry.windows()[window].kind {
            WindowKind::Span { size, .. } => size as f64 / 1e3,
            WindowKind::CalendarDay(_) => 86_400.0,
            WindowKind::Ever | WindowKind::Total => return 0.0,
        };
        let (cell, there) = self.cell(seconds);
        self.slices * there * series_of(&self.settings.plan.sets[self.set], self.by, &cell) as f64
    }
}

/// What is expected, bytes and series.
#[derive(Debug)]
pub(super) struct Expected {
    flowing: f64,
    ids: f64,
    panes: f64,
    series: f64,
}

impl Expected {
    /// Under this load.
    pub fn of(settings: &Settings, load: &Load) -> Expected {
        let events = events();
        let samples: Vec<Touchpoint<'_>> = events.iter().filter_map(|event| touchpoint(event)).collect();
        let plan = &settings.plan;
        let policies = plan.inputs.iter().map(|input| input.policy);
        let kept = policies.map(|policy| policy.lateness_ms + policy.out_of_orderness_ms).max().unwrap_or(0);
        let dedup = plan.inputs.iter().any(|input| input.dedup);
        let ids = if dedup { load.all() * kept as f64 / 1e3 } else { 0.0 };
        let (mut panes, mut series) = (0.0, 0.0);
        for (set, of) in plan.sets.iter().enumerate() {
            for by in 0..of.group_bys.len() {
                let filling = Filling::new(settings, load, &samples, set, by);
                panes += filling.panes(kept);
                let windows = settings.exports.iter().filter(|export| (export.0, export.1) == (set, by));
                series += windows.map(|(_, _, window)| filling.series(*window)).sum::<f64>();
            }
        }
        Expected { flowing: FLOWING_BYTES * load.all(), ids: ID_BYTES * ids, panes, series }
    }
}

fn events() -> Vec<Vec<u8>> {
    let workload = Workload { clean: true, ..Workload::new(1) };
    let minute = workload.minute(MINUTE, SAMPLES);
    let event = |index| {
        let mut json = Vec::new();
        minute.write(index, &mut json);
        json
    };
    (0..SAMPLES).map(event).collect()
}

fn touchpoint(event: &[u8]) -> Option<Touchpoint<'_>> {
    let context = DecodeContext { now: 0, max_future_ms: i64::MAX, limits: Limits { record_bytes_max: 1 << 20 } };
    match decode(&Record { offset: 0, timestamp: None, key: None, value: Some(event), headers: &[] }, &context) {
        Item::Touchpoint(touchpoint) => Some(touchpoint),
        _ => None,
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: f64| bytes / f64::from(1 << 20);
        let page = self.series * SERIES_BYTES;
        let all = PROGRAM_BYTES + self.flowing + self.ids + self.panes + page;
        writeln!(f, "# Expected under this load, in the steady state, of a process that reads every partition:")?;
        writeln!(f, "#   series: {:.0} of windows", self.series)?;
        write!(
            f,
            "#   memory: {:.0} MiB (program {:.0}, on its way {:.0}, remembered ids {:.0}, panes {:.0}, /metrics {:.0})",
            mib(all),
            mib(PROGRAM_BYTES),
            mib(self.flowing),
            mib(self.ids),
            mib(self.panes),
            mib(page)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use std::path::Path;

    fn settings() -> Settings {
        let raw = config::parse("[[input]]\nname = \"in\"\ntopic = \"in\"\n").unwrap();
        Settings::new(raw, Path::new(".")).unwrap()
    }

    fn load(rates: &[&str], slices: &[&str]) -> Result<Load, String> {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        Load::parse(&owned(rates), &owned(slices))
    }

    #[test]
    fn what_is_wrong_with_a_load_is_named() {
        for (rates, slices, wanted) in [
            (&["calls=3"][..], &[][..], "--rate calls=3: must be KIND=ITEMS_PER_SECOND, with a kind of contact, "),
            (&["contact=many"], &[], "--rate contact=many: must be"),
            (&["contact=-1"], &[], "--rate contact=-1: must be"),
            (&[], &["shelf=3"], "--slices shelf=3: must be GROUP_BY=COUNT, with a group-by of all, "),
            (&[], &["queue"], "--slices queue: must be"),
        ] {
            let error = load(rates, slices).unwrap_err();
            assert!(error.starts_with(wanted), "{error}");
        }
    }

    #[test]
    fn kinds_feed_the_sets_that_count_them() {
        let (settings, events) = (settings(), events());
        let samples: Vec<Touchpoint<'_>> = events.iter().filter_map(|event| touchpoint(event)).collect();
        let load = load(&["contact=100", "survey=30"], &[]).unwrap();
        let rate = |name: &str| {
            let set = settings.plan.sets.iter().position(|set| set.set.name() == name).unwrap();
            Filling::new(&settings, &load, &samples, set, 0).rate
        };
        assert_eq!([rate("touchpoints"), rate("customers")], [100.0, 0.0]);
        // Outbound ones do not count there.
        assert!((80.0..=100.0).contains(&rate("contacts")), "{}", rate("contacts"));
        let surveys = rate("csat") + rate("nps") + rate("ces");
        assert!((surveys - 30.0).abs() < 1e-9, "{surveys}");
    }

    #[test]
    fn more_of_anything_takes_more() {
        let settings = settings();
        let of = |rate: &str, slices: &str| Expected::of(&settings, &load(&[rate], &[slices]).unwrap());
        let [none, few, more, wide] = [
            of("contact=0", "queue=10"),
            of("contact=10", "queue=10"),
            of("contact=100", "queue=10"),
            of("contact=100", "queue=200"),
        ];
        assert_eq!((none.panes, none.series), (0.0, 0.0));
        assert!(few.panes < more.panes && few.ids < more.ids && more.panes < wide.panes, "{few:?} {more:?} {wide:?}");
        assert!(few.series <= more.series && more.series < wide.series);
    }
}
