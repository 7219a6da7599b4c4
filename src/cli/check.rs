//! `touchstone check`: is the configuration right, what is in force, and what does it cost in series and memory?

use super::Failure;
use super::expected::{Expected, Load};
use super::explain::Sample;
use super::memory::Memory;
use super::replay::mapping;
use super::run::{connection, settings};
use crate::config::Settings;
use crate::engine::window::WindowKind;
use crate::metrics::catalogue::FIGURES;
use crate::pipeline::input::InputSettings;
use clap::Args;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Validate the configuration; print what is in force and its cost in series and memory
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n    touchstone check --config touchstone.toml\n    touchstone check --mapping calls.jq --explain calls.csv"
)]
pub struct Check {
    /// The configuration
    #[arg(long, value_name = "FILE", required_unless_present = "mapping")]
    config: Option<PathBuf>,
    /// Print what becomes of the rows of a sample: NDJSON, CSV or TSV as its name says
    #[arg(long, value_name = "FILE")]
    explain: Option<String>,
    /// Explain it with this jq filter instead of that of the configuration
    #[arg(long, value_name = "FILE", requires = "explain")]
    mapping: Option<PathBuf>,
    /// Explain it as a record of this input; left out: of the first one
    #[arg(long, value_name = "NAME", requires = "explain", conflicts_with = "mapping")]
    input: Option<String>,
    /// How many rows are explained
    #[arg(long, value_name = "N", default_value_t = 10, requires = "explain")]
    rows: usize,
    /// A load to reckon with: accepted items a second of a kind (contact, interaction, customer, survey); prints the
    /// memory and the series to expect
    #[arg(long, value_name = "KIND=RATE")]
    rate: Vec<String>,
    /// Distinct values of a group-by under that load; where it is not given, as many as there may be
    #[arg(long, value_name = "GROUP_BY=COUNT", requires = "rate")]
    slices: Vec<String>,
}

/// How many quantiles, channels or scales a keyed figure is reckoned to have.
const KEYS_EACH: usize = 4;

impl Check {
    /// Runs the command.
    ///
    /// # Errors
    /// [`Failure`]: the configuration is wrong.
    pub fn run(self) -> Result<(), Failure> {
        let load = Load::parse(&self.rate, &self.slices).map_err(Failure::usage)?;
        if let Some(file) = &self.explain {
            return self.explain(file);
        }
        let settings = self.settings()?;
        connection(&settings)?;
        let mut raw = settings.raw.clone();
        raw.service.instance.clone_from(&settings.instance);
        for (name, value) in &mut raw.kafka.properties {
            if is_secret(name) {
                *value = "***".into();
            }
        }
        let text = toml::to_string(&raw).map_err(|error| anyhow::anyhow!("printing the configuration: {error}"))?;
        println!("{text}");
        println!("# Series in /metrics, with every figure present (export.series_max = {}):", settings.http.series_max);
        let series = series(&settings);
        for (group_by, (series, most)) in &series {
            println!("#   {group_by}: {series} for each of at most {most} slices");
        }
        println!("\n{}", Memory::of(&settings));
        if !self.rate.is_empty() {
            println!("\n{}", Expected::of(&settings, &load));
        }
        Ok(())
    }

    fn settings(&self) -> Result<Settings, Failure> {
        let missing = || Failure::usage("--config FILE is missing".to_owned());
        settings(self.config.as_deref().ok_or_else(missing)?)
    }

    /// What becomes of the rows of a sample.
    fn explain(&self, file: &str) -> Result<(), Failure> {
        if let Some(path) = &self.mapping {
            let input = InputSettings { mapping: Some(mapping(path)?), ..InputSettings::of_files() };
            return Sample::of(file, self.rows, &input).explain();
        }
        let settings = self.settings()?;
        let index = match &self.input {
            None => 0,
            Some(name) => settings.plan.input(name).ok_or_else(|| {
                let names: Vec<&str> = settings.plan.inputs.iter().map(|input| &*input.name).collect();
                Failure::usage(format!("there is no input {name}; there are {}", names.join(", ")))
            })?,
        };
        Sample::of(file, self.rows, &settings.inputs[index]).explain()
    }
}

/// Whether a setting of librdkafka is not to be shown.
fn is_secret(name: &str) -> bool {
    ["password", "secret", "token", "sasl.username", "sasl.jaas", "pem", "oauthbearer.config"]
        .iter()
        .any(|word| name.to_ascii_lowercase().contains(word))
}

/// Per group-by: series of one slice, and the most slices there can be.
fn series(settings: &Settings) -> BTreeMap<String, (usize, usize)> {
    let plan = &settings.plan;
    let mut series: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for (set, by, window) in &settings.exports {
        if plan.geometry.windows()[*window].kind == WindowKind::Ever {
            continue;
        }
        let set = &plan.sets[*set];
        let figures = FIGURES.iter().filter(|figure| figure.set == set.set.name());
        let figures: usize = figures
            .map(|figure| {
                let each = if figure.interval == "none" { 1 } else { 3 };
                each * if figure.key.is_some() { KEYS_EACH } else { 1 }
            })
            .sum();
        let counts = set.set.shape().counts.iter().filter(|count| count.published).count();
        let group_by = &set.group_bys[*by];
        let most = plan.slices_max(group_by);
        let entry = series.entry(group_by.name.clone()).or_insert((0, most));
        entry.0 += figures + counts + 4;
    }
    series
}
