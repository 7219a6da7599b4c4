//! The configuration, checked: what the rest of the program is built from.
//!
//! Everything that can be known to be wrong is found here, before anything is opened: names that do not
//! exist, times that contradict each other, mappings that do not compile.

use super::raw::{Input, Raw, Window};
use super::{ConfigError, Span};
use crate::engine::codec::Format;
use crate::engine::plan::{InputPlan, Plan, SetPlan};
use crate::engine::slice::GroupBy;
use crate::engine::watermark::Policy;
use crate::engine::window::{Geometry, Show, WindowKind, WindowSpec, Zone};
use crate::mapping::Mapping;
use crate::metrics::{self, ServiceLevel, ThresholdTable, Thresholds};
use crate::pipeline::alignment::AlignmentSettings;
use crate::pipeline::folding::FoldSettings;
use crate::pipeline::input::InputSettings;
use crate::pipeline::link::{LinkConfig, Start, Subscription};
use crate::pipeline::merging::MergeSettings;
use crate::pipeline::worker::Pace;
use crate::topics::{DELTAS_BYTES_MAX, Layout, TopicNames};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Kafka's transaction time-out, and what a commit interval must stay well below, ms.
const TRANSACTION_TIMEOUT_MS: i64 = 10_000;

/// The name of the window that has no end.
pub(crate) const EVER: &str = "ever";

/// How many workers each stage has in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Workers {
    /// Workers of the first stage.
    pub fold: usize,
    /// Workers of the second stage.
    pub merge: usize,
}

/// What is served over HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpSettings {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The most series that `/metrics` shows.
    pub series_max: usize,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// The checked configuration.
#[derive(Clone)]
pub struct Settings {
    /// As it was written, with the defaults: what `check` prints.
    pub raw: Raw,
    /// Where the files that it names are looked up.
    pub directory: PathBuf,
    /// Prefix of groups and transactional ids.
    pub application: String,
    /// Which process this is.
    pub instance: String,
    /// How many workers.
    pub workers: Workers,
    /// What is counted, by what, in which windows, from which inputs.
    pub plan: Arc<Plan>,
    /// How the inputs' records are read.
    pub inputs: Vec<InputSettings>,
    /// Where each input begins.
    pub starts: Vec<Start>,
    /// The topics.
    pub layout: Layout,
    /// HTTP.
    pub http: HttpSettings,
    /// (set, group-by, window) that `/metrics` shows.
    pub exports: Vec<(usize, usize, usize)>,
    /// How often a worker commits.
    pub pace: Pace,
    /// Filter of the log.
    pub log_level: String,
    /// Form of the log.
    pub log_format: LogFormat,
}

impl Settings {
    /// Checks a configuration. Mappings are looked up beside the configuration file, `directory`.
    ///
    /// # Errors
    /// [`ConfigError`] for the first thing that is wrong.
    pub fn new(raw: Raw, directory: &Path) -> Result<Settings, ConfigError> {
        check_timing(&raw)?;
        let metrics = metric_settings(&raw)?;
        let windows = windows(raw.windows.as_deref())?;
        let sets = sets(&raw, &metrics)?;
        let mut inputs = Vec::new();
        let mut plans = Vec::new();
        let mut starts = Vec::new();
        for (index, input) in raw.input.iter().enumerate() {
            let key = format!("input {} ({:?})", index + 1, input.name);
            plans.push(input_plan(input, &sets).map_err(|error| ConfigError(format!("{key}: {error}")))?);
            inputs.push(input_settings(input, directory).map_err(|error| ConfigError(format!("{key}: {error}")))?);
            starts.push(start(&input.start).map_err(|error| ConfigError(format!("{key}: {error}")))?);
        }
        unique("input name", raw.input.iter().map(|input| input.name.as_str()))?;
        unique("input topic", raw.input.iter().map(|input| input.topic.as_str()))?;
        let exports = exports(&raw, &windows, &sets)?;
        let values_max = bounded("slices.values_max", raw.slices.values_max, 1, 1_000_000)?;
        let deltas_partitions = raw.topics.deltas_partitions;
        let partitions = usize::try_from(deltas_partitions).unwrap_or(0);
        bounded("topics.deltas_partitions", partitions, 1, 1024)?;
        let plan = Plan {
            sets,
            geometry: Geometry::new(windows),
            inputs: plans,
            values_max,
            deltas_partitions,
            ever_everywhere: false,
            format: Format::read(raw.service.format)
                .map_err(|error| ConfigError(format!("service.format = {}: {error}", raw.service.format)))?,
        };
        Ok(Settings {
            application: name("service.application", &raw.service.application)?,
            instance: instance(&raw.service.instance)?,
            workers: Workers {
                fold: bounded("service.fold_workers", raw.service.fold_workers, 1, 64)?,
                merge: bounded("service.merge_workers", raw.service.merge_workers, 1, 64)?,
            },
            plan: Arc::new(plan),
            inputs,
            starts,
            layout: layout(&raw),
            http: HttpSettings { listen: listen(&raw.export.listen)?, series_max: raw.export.series_max },
            exports,
            pace: Pace {
                commit_interval_ms: raw.timing.commit_interval.ms(),
                idle_commit_interval_ms: raw.timing.idle_commit_interval.ms(),
                ..Pace::default()
            },
            log_level: raw.log.level.clone(),
            log_format: match raw.log.format.as_str() {
                "text" => LogFormat::Text,
                "json" => LogFormat::Json,
                other => return Err(ConfigError(format!("log.format = {other:?}: write \"text\" or \"json\""))),
            },
            directory: directory.to_owned(),
            raw,
        })
    }

    /// What the first stage needs, with mappings in this process.
    pub fn folding(&self) -> FoldSettings {
        FoldSettings {
            inputs: self.inputs.clone(),
            deltas: self.layout.names.deltas.clone(),
            late: self.layout.names.late.clone(),
            dead_letter: self.layout.names.dead_letter.clone(),
            output_bytes_max: self.layout.record_bytes_max(),
            delta_bytes_max: DELTAS_BYTES_MAX,
            batch_items_max: self.raw.timing.batch_items_max,
            mapper: None,
            alignment: Some(AlignmentSettings {
                merge_group: self.group("merge"),
                max_skew_ms: self.raw.timing.max_skew.ms(),
            }),
        }
    }

    /// What the second stage needs.
    pub fn merging(&self) -> MergeSettings {
        let names = &self.layout.names;
        MergeSettings {
            deltas: names.deltas.clone(),
            changelog: names.changelog.clone(),
            aggregates: names.aggregates.clone(),
            publish_interval_ms: Some(self.raw.timing.publish_interval.ms()),
            checkpoint_interval_ms: Some(self.raw.timing.checkpoint_interval.ms()),
            instance: self.instance.clone(),
            exports: self.exports.clone(),
            snapshot_interval_ms: self.raw.timing.snapshot_interval.ms(),
        }
    }

    /// The link of a fold worker.
    pub fn fold_link(&self, worker: usize) -> LinkConfig {
        let inputs = self.inputs.iter().zip(&self.starts);
        let subscriptions = inputs.map(|(input, start)| Subscription { topic: input.topic.clone(), start: *start });
        self.link("fold", worker, subscriptions.collect())
    }

    /// The link of a merge worker.
    pub fn merge_link(&self, worker: usize) -> LinkConfig {
        let deltas = Subscription { topic: self.layout.names.deltas.clone(), start: Start::Beginning };
        self.link("merge", worker, vec![deltas])
    }

    /// The consumer group of a stage.
    pub fn group(&self, stage: &str) -> String {
        format!("{}-{stage}", self.application)
    }

    fn link(&self, stage: &str, worker: usize, subscriptions: Vec<Subscription>) -> LinkConfig {
        LinkConfig {
            group: self.group(stage),
            subscriptions,
            transactional_id: format!("{}-{}-{stage}-{worker}", self.application, self.instance),
            record_bytes_max: self.layout.record_bytes_max().max(DELTAS_BYTES_MAX),
        }
    }
}

fn fail<T>(message: impl Into<String>) -> Result<T, ConfigError> {
    Err(ConfigError(message.into()))
}

fn bounded(key: &str, value: usize, least: usize, greatest: usize) -> Result<usize, ConfigError> {
    if (least..=greatest).contains(&value) {
        Ok(value)
    } else {
        fail(format!("{key} = {value}: write {least} to {greatest}"))
    }
}

fn name(key: &str, value: &str) -> Result<String, ConfigError> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if !value.is_empty() && value.len() <= 128 && value.bytes().all(legal) {
        return Ok(value.to_string());
    }
    fail(format!("{key} = {value:?}: write 1 to 128 letters, digits, dots, underscores or hyphens"))
}

fn unique<'a>(what: &str, names: impl Iterator<Item = &'a str>) -> Result<(), ConfigError> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return fail(format!("the {what} {name:?} is there twice"));
        }
    }
    Ok(())
}

/// The host's name where nothing is configured: stable over restarts on one host.
fn instance(configured: &str) -> Result<String, ConfigError> {
    if !configured.is_empty() {
        return name("service.instance", configured);
    }
    let host = std::env::var("HOSTNAME").ok().filter(|host| !host.is_empty());
    let host = host.or_else(|| std::fs::read_to_string("/etc/hostname").ok());
    let host = host.map(|host| host.trim().to_string()).filter(|host| !host.is_empty());
    name("service.instance (the host's name)", &host.unwrap_or_else(|| "touchstone".into()))
}

fn listen(text: &str) -> Result<SocketAddr, ConfigError> {
    text.parse()
        .or_else(|_| fail(format!("export.listen = {text:?}: write an address and a port, like 127.0.0.1:9464")))
}

fn check_timing(raw: &Raw) -> Result<(), ConfigError> {
    let timing = &raw.timing;
    let commit = timing.commit_interval;
    if commit.ms() < 1 || commit.ms() > TRANSACTION_TIMEOUT_MS / 2 {
        return fail(format!("timing.commit_interval = {commit}: write 1ms to 5s (a transaction is given 10s)"));
    }
    if timing.idle_commit_interval < commit || timing.idle_commit_interval > Span::seconds(10) {
        return fail(format!(
            "timing.idle_commit_interval = {}: write at least commit_interval ({commit}) and at most 10s",
            timing.idle_commit_interval
        ));
    }
    if timing.max_skew < Span::minutes(1) {
        return fail(format!("timing.max_skew = {}: write at least 1m", timing.max_skew));
    }
    bounded("timing.batch_items_max", timing.batch_items_max, 1, 10_000_000).map(drop)
}

fn metric_settings(raw: &Raw) -> Result<metrics::Settings, ConfigError> {
    let metrics = &raw.metrics;
    let number = metrics.service_level_formula;
    let Some(service_level) = ServiceLevel::parse(number) else {
        return fail(format!("metrics.service_level_formula = {number}: write 1 to 5"));
    };
    let share = metrics.satisfied_from;
    if !(0.0..=1.0).contains(&share) {
        return fail(format!("metrics.satisfied_from = {share}: write 0 to 1"));
    }
    let default = Thresholds {
        service_level_ms: metrics.service_level_threshold.ms(),
        short_abandon_ms: metrics.short_abandon.ms(),
    };
    let mut queues = Vec::new();
    for queue in &metrics.queue {
        if queue.queue.is_empty() {
            return fail("metrics.queue: a queue needs the key queue, its name");
        }
        let thresholds = Thresholds {
            service_level_ms: queue.service_level_threshold.map_or(default.service_level_ms, Span::ms),
            short_abandon_ms: queue.short_abandon.map_or(default.short_abandon_ms, Span::ms),
        };
        queues.push((queue.channel.clone(), queue.queue.clone(), thresholds));
    }
    Ok(metrics::Settings { thresholds: ThresholdTable { default, queues }, service_level, satisfied_from: share })
}

/// The windows that are on when none are configured, and `ever`.
fn windows(configured: Option<&[Window]>) -> Result<Vec<WindowSpec>, ConfigError> {
    let span = |name: &str, size: i64, slide: i64| WindowSpec::span(name, size * 60_000, slide * 60_000);
    let mut specs = match configured {
        None => vec![
            span("1m", 1, 1),
            span("15m", 15, 1),
            span("1h", 60, 5),
            span("1d", 1_440, 60),
            span("7d", 10_080, 360),
            span("28d", 40_320, 1_440),
            WindowSpec::calendar_day("calendar_day", Zone::utc()),
        ],
        Some(windows) => windows.iter().map(window).collect::<Result<_, _>>()?,
    };
    if let Some(spec) = specs.iter().find(|spec| [EVER, "total"].contains(&spec.name.as_str())) {
        return fail(format!("the window name {:?} is reserved", spec.name));
    }
    specs.push(WindowSpec { name: EVER.into(), kind: WindowKind::Ever, show: Show::Open });
    unique("window name", specs.iter().map(|spec| spec.name.as_str()))?;
    Ok(specs)
}

fn window(window: &Window) -> Result<WindowSpec, ConfigError> {
    let key = name("a window's name", &window.name)?;
    let mut spec = match (&window.size, &window.calendar_day) {
        (Some(size), None) => WindowSpec::span(&key, size.ms(), window.slide.unwrap_or(*size).ms()),
        (None, Some(zone)) => {
            let zone = Zone::new(zone).map_err(|error| ConfigError(format!("window {key}: {error}")))?;
            WindowSpec::calendar_day(&key, zone)
        }
        _ => return fail(format!("window {key}: write either size (and slide), or calendar_day = \"a time zone\"")),
    };
    match window.show.as_deref() {
        None => {}
        Some("closed") => spec.show = Show::Closed,
        Some("open") => spec.show = Show::Open,
        Some(other) => return fail(format!("window {key}: show = {other:?}: write \"closed\" or \"open\"")),
    }
    spec.fault().map_or(Ok(spec), |fault| fail(format!("window {key} {fault}")))
}

fn sets(raw: &Raw, metrics: &metrics::Settings) -> Result<Vec<SetPlan>, ConfigError> {
    let registry = metrics::registry(metrics);
    let known: Vec<&str> = registry.iter().map(|set| set.name()).collect();
    for set in raw.slices.per_metric_set.keys() {
        if !known.contains(&set.as_str()) {
            return fail(format!(
                "slices.per_metric_set.{set}: there is no such metric set, only {}",
                known.join(", ")
            ));
        }
    }
    let group_bys = |names: &[String]| -> Result<Vec<GroupBy>, ConfigError> {
        unique("group-by", names.iter().map(String::as_str))?;
        names.iter().map(|name| group_by(name)).collect()
    };
    let mut sets = Vec::new();
    for set in registry {
        let names = raw.slices.per_metric_set.get(set.name()).unwrap_or(&raw.slices.group_by);
        sets.push(SetPlan::new(set, group_bys(names)?));
    }
    Ok(sets)
}

fn group_by(name: &str) -> Result<GroupBy, ConfigError> {
    GroupBy::parse(name).ok_or_else(|| {
        let known: Vec<String> = GroupBy::known().into_iter().map(|by| by.name).collect();
        ConfigError(format!("slices: there is no group-by {name:?}, only {}", known.join(", ")))
    })
}

fn input_plan(input: &Input, sets: &[SetPlan]) -> Result<InputPlan, String> {
    let policy = Policy {
        out_of_orderness_ms: input.out_of_orderness.ms(),
        idle_timeout_ms: input.idle_timeout.ms(),
        lateness_ms: input.lateness.ms(),
        bounded: false,
    };
    if input.max_future.ms().saturating_add(policy.out_of_orderness_ms) > policy.lateness_ms {
        return Err(format!(
            "max_future ({}) + out_of_orderness ({}) must be at most lateness ({}): otherwise one clock that is fast makes the others late",
            input.max_future, input.out_of_orderness, input.lateness
        ));
    }
    if policy.idle_timeout_ms < policy.out_of_orderness_ms {
        return Err(format!(
            "idle_timeout ({}) must be at least out_of_orderness ({})",
            input.idle_timeout, input.out_of_orderness
        ));
    }
    if let Some(unknown) = input.metric_sets.iter().find(|name| !sets.iter().any(|set| set.set.name() == **name)) {
        return Err(format!("metric_sets: there is no metric set {unknown:?}"));
    }
    let feeds =
        |set: &SetPlan| input.metric_sets.is_empty() || input.metric_sets.iter().any(|name| name == set.set.name());
    Ok(InputPlan {
        name: name("name", &input.name).map_err(|error| error.0)?.into(),
        epoch: input.epoch,
        policy,
        dedup: input.dedup,
        dedup_ids_max: input.dedup_ids_max.max(1),
        feeds: sets.iter().map(feeds).collect(),
    })
}

fn input_settings(input: &Input, directory: &Path) -> Result<InputSettings, String> {
    let mapping = match input.mapping.as_str() {
        "" => None,
        path => {
            let path = directory.join(path);
            let source =
                std::fs::read_to_string(&path).map_err(|error| format!("mapping {}: {error}", path.display()))?;
            let mapping = Mapping::compile(&source).map_err(|error| format!("mapping {}: {error}", path.display()))?;
            Some(Arc::new(mapping))
        }
    };
    bounded("record_bytes_max", input.record_bytes_max, 1_024, 64 << 20).map_err(|error| error.0)?;
    Ok(InputSettings {
        topic: name("topic", &input.topic).map_err(|error| error.0)?,
        from_files: false,
        mapping,
        max_future_ms: input.max_future.ms(),
        record_bytes_max: input.record_bytes_max,
        from_beginning: input.start == "beginning",
        skip_offsets: input.skip_offsets.iter().map(|text| skip_offset(text)).collect::<Result<_, _>>()?,
    })
}

/// A record to step over: `PARTITION:OFFSET`.
fn skip_offset(text: &str) -> Result<(i32, i64), String> {
    let place =
        text.split_once(':').and_then(|(partition, offset)| Some((partition.parse().ok()?, offset.parse().ok()?)));
    place.ok_or_else(|| format!("skip_offsets: {text:?}: write a partition and an offset, like \"3:4711\""))
}

fn start(text: &str) -> Result<Start, String> {
    match text {
        "beginning" => Ok(Start::Beginning),
        "end" => Ok(Start::End),
        time => crate::touchpoint::parse_rfc3339(time).map(Start::Timestamp).ok_or_else(|| {
            format!("start = {time:?}: write \"beginning\", \"end\" or a time like 2026-01-31T08:00:00Z")
        }),
    }
}

/// What `/metrics` shows: `wide` windows of `all` and `channel`, `narrow` ones of the rest, `ever` of the former.
fn exports(raw: &Raw, windows: &[WindowSpec], sets: &[SetPlan]) -> Result<Vec<(usize, usize, usize)>, ConfigError> {
    let places = |key: &str, names: &[String], default: &[String]| -> Result<Vec<usize>, ConfigError> {
        let place = |name: &String| match windows.iter().position(|window| window.name == *name) {
            Some(place) => Ok(place),
            // A default that names a window which is not configured shows nothing; a written one is a mistake.
            None if names == default => Ok(usize::MAX),
            None => fail(format!("export.{key}: there is no window {name:?}")),
        };
        names.iter().map(place).collect()
    };
    let default = super::raw::Export::default();
    let mut wide = places("wide", &raw.export.wide, &default.wide)?;
    wide.push(windows.len() - 1); // ever
    let narrow = places("narrow", &raw.export.narrow, &default.narrow)?;
    let mut exports = Vec::new();
    for (set, plan) in sets.iter().enumerate() {
        for (by, group_by) in plan.group_bys.iter().enumerate() {
            let windows = if group_by.is_wide() { &wide } else { &narrow };
            exports.extend(windows.iter().filter(|window| **window != usize::MAX).map(|window| (set, by, *window)));
        }
    }
    Ok(exports)
}

fn layout(raw: &Raw) -> Layout {
    let topics = &raw.topics;
    let largest = raw.input.iter().map(|input| input.record_bytes_max).max();
    Layout {
        names: TopicNames {
            aggregates: topics.aggregates.clone(),
            late: topics.late.clone(),
            dead_letter: topics.dead_letter.clone(),
            deltas: topics.deltas.clone(),
            changelog: topics.changelog.clone(),
        },
        inputs: raw.input.iter().map(|input| input.topic.clone()).collect(),
        state_partitions: topics.deltas_partitions,
        aside_partitions: topics.letter_partitions,
        replication_factor: topics.replication_factor,
        input_record_bytes_max: largest.unwrap_or(1_048_576),
    }
}
