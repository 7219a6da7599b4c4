//! What a replay is set up with: the service's definitions, other windows, one bounded input.

use super::super::Failure;
use super::Replay;
use crate::config::{self, Settings};
use crate::engine::codec::Format;
use crate::engine::plan::{InputPlan, Plan, SetPlan};
use crate::engine::slice::GroupBy;
use crate::engine::watermark::Policy;
use crate::engine::window::{Geometry, Show, WindowKind, WindowSpec, Zone};
use crate::mapping::{Mapping, this_program};
use crate::memory::Broker;
use crate::pipeline::folding::FoldSettings;
use crate::pipeline::input::InputSettings;
use crate::pipeline::link::{LinkConfig, Start, Subscription};
use crate::pipeline::merging::MergeSettings;
use crate::pipeline::worker::Pace;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(super) const DELTAS: &str = "deltas";
pub(super) const AGGREGATES: &str = "aggregates";
pub(super) const LATE: &str = "late";
pub(super) const DEAD_LETTER: &str = "dead-letter";

/// After how many items the deltas are taken in. Larger batches share more tuples and cost more memory.
const BATCH_ITEMS: usize = 250_000;

/// What is printed unless asked otherwise.
const WINDOWS: [&str; 2] = ["total", "calendar_day"];
const SLICES: [&str; 3] = ["all", "channel", "queue"];

/// Everything a replay is built from.
pub(super) struct Setup {
    pub plan: Arc<Plan>,
    pub input: InputSettings,
    pub partitions: i32,
    pub record_bytes_max: usize,
    /// Where mappers come from.
    pub program: PathBuf,
}

pub(super) fn setup(replay: &Replay) -> Result<Setup, Failure> {
    let settings = settings(replay)?;
    let geometry = Geometry::new(windows(replay, &settings)?);
    let sets = sets(replay, &settings)?;
    // The first input of the configuration says how an input is read; without one, the defaults do.
    let configured = settings.plan.inputs.first();
    let policy = configured.map_or(default_policy(), |input| input.policy);
    let input = InputPlan {
        name: "replay".into(),
        epoch: 1,
        policy: Policy { bounded: !replay.as_live, ..policy },
        dedup: configured.is_none_or(|input| input.dedup),
        dedup_ids_max: configured.map_or(10_000_000, |input| input.dedup_ids_max),
        feeds: vec![true; sets.len()],
    };
    let read = settings.inputs.first();
    let mapping = match &replay.mapping {
        Some(path) => Some(mapping(path)?),
        None => read.and_then(|input| input.mapping.clone()),
    };
    let files = InputSettings::of_files();
    let record_bytes_max = read.map_or(files.record_bytes_max, |input| input.record_bytes_max);
    let max_future_ms = read.map_or(files.max_future_ms, |input| input.max_future_ms);
    let input_settings = InputSettings { mapping, max_future_ms, record_bytes_max, ..files };
    let plan = Plan {
        sets,
        geometry,
        inputs: vec![input],
        values_max: settings.plan.values_max,
        deltas_partitions: 1,
        ever_everywhere: true,
        format: Format::LATEST,
    };
    let program = this_program()?;
    Ok(Setup { plan: Arc::new(plan), input: input_settings, partitions: replay.partitions, record_bytes_max, program })
}

fn settings(replay: &Replay) -> Result<Settings, Failure> {
    let path = replay.config.as_deref().map(|path| path.to_string_lossy().into_owned());
    let raw = config::read(path.as_deref())?;
    let directory = replay.config.as_deref().and_then(Path::parent).unwrap_or(Path::new("."));
    Ok(Settings::new(raw, directory)?)
}

fn default_policy() -> Policy {
    Policy { out_of_orderness_ms: 10_000, idle_timeout_ms: 30_000, lateness_ms: 600_000, bounded: true }
}

pub(in crate::cli) fn mapping(path: &Path) -> Result<Arc<Mapping>, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::usage(format!("mapping {}: {error}", path.display()));
    let source = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
    Mapping::compile(&source).map(Arc::new).map_err(|error| failed(&error))
}

fn windows(replay: &Replay, settings: &Settings) -> Result<Vec<WindowSpec>, Failure> {
    let zone = match &replay.time_zone {
        Some(name) => Some(Zone::new(name).map_err(|error| Failure::usage(format!("--time-zone: {error}")))?),
        None => None,
    };
    let mut known: Vec<WindowSpec> =
        settings.plan.geometry.windows().iter().filter(|window| window.kind != WindowKind::Ever).cloned().collect();
    known.push(WindowSpec { name: "total".into(), kind: WindowKind::Total, show: Show::Open });
    if !known.iter().any(|window| window.name == "calendar_day") {
        known.push(WindowSpec::calendar_day("calendar_day", Zone::utc()));
    }
    if let Some(zone) = zone {
        for window in known.iter_mut().filter(|window| window.name == "calendar_day") {
            window.kind = WindowKind::CalendarDay(zone.clone());
        }
    }
    let default = WINDOWS.map(String::from).to_vec();
    let wanted = if replay.window.is_empty() { &default } else { &replay.window };
    let pick = |name: &String| {
        known.iter().find(|window| window.name == *name).cloned().ok_or_else(|| {
            let names: Vec<&str> = known.iter().map(|window| window.name.as_str()).collect();
            Failure::usage(format!("--window {name}: there is no such window, only {}", names.join(", ")))
        })
    };
    wanted.iter().map(pick).collect()
}

fn sets(replay: &Replay, settings: &Settings) -> Result<Vec<SetPlan>, Failure> {
    let default = SLICES.map(String::from).to_vec();
    let wanted = if replay.slice.is_empty() { &default } else { &replay.slice };
    for name in wanted {
        if GroupBy::parse(name).is_none() {
            let known: Vec<String> = GroupBy::known().into_iter().map(|by| by.name).collect();
            return Err(Failure::usage(format!(
                "--slice {name}: there is no such group-by, only {}",
                known.join(", ")
            )));
        }
    }
    let group_bys: Vec<GroupBy> = wanted.iter().filter_map(|name| GroupBy::parse(name)).collect();
    Ok(settings.plan.sets.iter().map(|set| SetPlan::new(Arc::clone(&set.set), group_bys.clone())).collect())
}

impl Setup {
    pub fn broker(&self) -> Broker {
        let broker = Broker::new(Arc::new(|| 0));
        broker.set_timeouts(i64::MAX, i64::MAX);
        broker.create_topic(AGGREGATES, 1);
        broker.create(&unlimited(DELTAS));
        broker
    }

    pub fn folding(&self) -> FoldSettings {
        FoldSettings {
            inputs: vec![self.input.clone()],
            deltas: DELTAS.into(),
            late: LATE.into(),
            dead_letter: DEAD_LETTER.into(),
            output_bytes_max: usize::MAX / 2,
            delta_bytes_max: 64 << 20,
            batch_items_max: BATCH_ITEMS,
            mapper: Some(self.program.clone()),
            alignment: None,
        }
    }

    pub fn merging(&self) -> MergeSettings {
        MergeSettings {
            deltas: DELTAS.into(),
            changelog: String::new(),
            aggregates: AGGREGATES.into(),
            publish_interval_ms: None,
            checkpoint_interval_ms: None,
            instance: "replay".into(),
            exports: Vec::new(),
            snapshot_interval_ms: i64::MAX / 2,
        }
    }

    pub fn merge_link(&self) -> LinkConfig {
        LinkConfig {
            group: "replay-merge".into(),
            subscriptions: vec![Subscription { topic: DELTAS.into(), start: Start::Beginning }],
            transactional_id: "replay-merge".into(),
            record_bytes_max: usize::MAX / 2,
        }
    }

    /// Commits come by the number of items alone, so that a run does not depend on how fast it is.
    pub fn pace(&self) -> Pace {
        let never = i64::MAX / 2;
        Pace { commit_interval_ms: never, idle_commit_interval_ms: never, poll_records_max: 16_384 }
    }
}

fn unlimited(name: &str) -> crate::topics::Topic {
    crate::topics::Topic {
        name: name.into(),
        purpose: crate::topics::Purpose::Deltas,
        partitions: 1,
        replication_factor: 1,
        config: vec![("max.message.bytes", (usize::MAX / 2).to_string())],
    }
}
