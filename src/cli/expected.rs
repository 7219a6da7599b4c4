//! What a load may be expected to take, in memory and in series: from items a second and distinct values.
//!
//! [`memory`](super::memory) bounds what a configuration may take at the worst; this reckons what it takes in the steady
//! state under a load that is named. Its constants were fitted to measured processes (docs/PERFORMANCE.md).

use crate::config::Settings;
use crate::engine::cell::Cell;
use crate::engine::slice::GroupBy;
use crate::engine::window::Level;
use crate::record::Record;
use crate::touchpoint::{DecodeContext, Item, Limits, decode};
use std::collections::BTreeMap;
use std::fmt;

/// The program and its clients, connected, without any load, bytes.
const PROGRAM_BYTES: f64 = 40e6;

/// What is on its way in the queues of the clients and between two commits, for each item a second, bytes.
const FLOWING_BYTES: f64 = 3_000.0;

/// A remembered id: 24 bytes in a table of which three fifths are taken, and a fifth more are held than count.
const ID_BYTES: f64 = 48.0;

/// How many buckets of a histogram durations of one kind are spread over.
const BUCKETS: f64 = 250.0;

/// Names and scores in the maps of a pane.
const NAMES: usize = 3;
const SCORES: usize = 8;

/// An event of each kind and metric: what it feeds is asked of the metric sets themselves.
const KINDS: [(&str, &[&str]); 4] = [
    ("contact", &[r#""type":"cx.contact.ended.v1","data":{"contact_id":"k","outcome":"answered"}"#]),
    ("interaction", &[r#""type":"cx.interaction.v1","data":{"kind":"visit"}"#]),
    ("customer", &[r#""type":"cx.customer.changed.v1","data":{"customer_id":"c","state":"churned"}"#]),
    (
        "survey",
        &[
            r#""type":"cx.survey.responded.v1","data":{"metric":"csat","score":4,"scale_min":1,"scale_max":5}"#,
            r#""type":"cx.survey.responded.v1","data":{"metric":"nps","score":9,"scale_min":0,"scale_max":10}"#,
            r#""type":"cx.survey.responded.v1","data":{"metric":"ces","score":5,"scale_min":1,"scale_max":7}"#,
        ],
    ),
];

/// A load: items a second per kind, and distinct values per group-by.
#[derive(Debug)]
pub(super) struct Load {
    rates: Vec<(usize, f64)>,
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
                let kind = KINDS.iter().position(|(name, _)| *name == kind)?;
                Some((kind, rate.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate >= 0.0)?))
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

    /// Items a second that feed each metric set.
    fn fed(&self, settings: &Settings) -> Vec<f64> {
        let limits = Limits { record_bytes_max: 1 << 20 };
        let context = DecodeContext { now: 0, max_future_ms: i64::MAX, limits };
        let mut fed = vec![0.0; settings.plan.sets.len()];
        for (kind, rate) in &self.rates {
            let events = KINDS[*kind].1;
            for rest in events {
                let head = r#"{"specversion":"1.0","id":"i","source":"/s","time":"2026-01-05T09:30:00Z","#;
                let event = format!("{head}{rest}}}");
                let value = Some(event.as_bytes());
                let record = Record { offset: 0, timestamp: None, key: None, value, headers: &[] };
                let Item::Touchpoint(touchpoint) = decode(&record, &context) else { continue };
                for (fed, set) in fed.iter_mut().zip(&settings.plan.sets) {
                    *fed += if set.set.feeds(&touchpoint) { rate / events.len() as f64 } else { 0.0 };
                }
            }
        }
        fed
    }

    /// How many slices of a group-by there are.
    fn slices(&self, settings: &Settings, group_by: &GroupBy) -> usize {
        let most = settings.plan.slices_max(group_by);
        self.slices.get(&group_by.name).map_or(most, |count| most.min(*count))
    }
}

/// What is expected, bytes.
#[derive(Debug)]
pub(super) struct Expected {
    flowing: f64,
    ids: f64,
    panes: f64,
    series: f64,
}

impl Expected {
    /// Under this load; `series` are those of one slice, per group-by.
    pub fn of(settings: &Settings, load: &Load, series: &BTreeMap<String, (usize, usize)>) -> Expected {
        let policies = || settings.plan.inputs.iter().map(|input| input.policy);
        let dedup = settings.plan.inputs.iter().any(|input| input.dedup);
        let kept = policies().map(|policy| policy.lateness_ms + policy.out_of_orderness_ms).max().unwrap_or(0);
        let seconds = if dedup { kept as f64 / 1e3 } else { 0.0 };
        let bound = settings.plan.inputs.iter().map(|input| input.dedup_ids_max as f64).sum::<f64>() * 64.0;
        let shown = |name: &String| {
            let group_by = GroupBy::parse(name)?;
            Some(load.slices(settings, &group_by) as f64)
        };
        Expected {
            flowing: FLOWING_BYTES * load.all(),
            ids: ID_BYTES * (load.all() * seconds).min(bound),
            panes: panes(settings, load, kept),
            series: series.iter().filter_map(|(name, (each, _))| Some(*each as f64 * shown(name)?)).sum(),
        }
    }
}

/// Every pane of every slice that is held: what windows and lateness keep, with what its items have filled.
fn panes(settings: &Settings, load: &Load, ahead: i64) -> f64 {
    let (plan, fed) = (&settings.plan, load.fed(settings));
    let mut bytes = 0.0;
    for (set, rate) in plan.sets.iter().zip(fed) {
        for group_by in &set.group_bys {
            let slices = load.slices(settings, group_by).max(1) as f64;
            for (index, level) in plan.geometry.levels().iter().enumerate() {
                if !plan.keeps(index, group_by) {
                    continue;
                }
                let (count, seconds) = match level {
                    Level::Ever => (1.0, 86_400.0),
                    _ => {
                        let (start, end) = level.pane(0);
                        let span = plan.geometry.kept_from(index, 0).saturating_neg() + ahead;
                        (span as f64 / (end - start) as f64 + 1.0, (end - start) as f64 / 1e3)
                    }
                };
                let items = rate * seconds / slices;
                // A pane that nothing fell into is not there.
                let there = 1.0 - (-items).exp();
                // A third of the histograms of a set are filled by an item.
                let buckets = BUCKETS * (1.0 - (-items / 3.0 / BUCKETS).exp());
                let each = Cell::bytes(set.set.shape(), buckets.ceil() as usize, NAMES, SCORES);
                bytes += slices * count * there * each as f64;
            }
        }
    }
    bytes
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: f64| bytes / f64::from(1 << 20);
        let page = self.series * super::memory::SERIES_BYTES as f64;
        let all = PROGRAM_BYTES + self.flowing + self.ids + self.panes + page;
        writeln!(f, "# Expected under this load, in the steady state, of a process that reads every partition:")?;
        writeln!(f, "#   series: {:.0}", self.series)?;
        writeln!(
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
        let settings = settings();
        let fed = load(&["contact=100", "survey=30"], &[]).unwrap().fed(&settings);
        let names = settings.plan.sets.iter().map(|set| set.set.name());
        let fed: BTreeMap<&str, f64> = names.zip(fed).collect();
        let expected = [
            ("ces", 10.0),
            ("contacts", 100.0),
            ("csat", 10.0),
            ("customers", 0.0),
            ("nps", 10.0),
            ("touchpoints", 100.0),
        ];
        assert_eq!(fed, BTreeMap::from(expected));
    }

    #[test]
    fn more_of_anything_takes_more() {
        let settings = settings();
        let panes = |rate: &str, slices: &str| panes(&settings, &load(&[rate], &[slices]).unwrap(), 600_000);
        assert_eq!(panes("contact=0", "queue=10"), 0.0);
        assert!(panes("contact=10", "queue=10") < panes("contact=100", "queue=10"));
        assert!(panes("contact=100", "queue=10") < panes("contact=100", "queue=200"));
    }
}
