//! The plan: what is counted, by what, in which windows. All that the engine knows of the configuration.
//!
//! A [`MetricSet`] is what the business asks; the engine is handed a registry of them and never names one.

use super::cell::{Cell, Shape};
use super::codec::Format;
use super::slice::{GroupBy, TupleShape, Values};
use super::watermark::Policy;
use super::window::{Geometry, Level};
use crate::touchpoint::Touchpoint;
use std::sync::Arc;
use xxhash_rust::xxh64::xxh64;

/// A set of metrics that are fed by the same events and published in one record.
pub trait MetricSet: Send + Sync {
    /// The name in keys, labels and records.
    fn name(&self) -> &'static str;

    /// Rises when the shape or the meaning of a count changes.
    fn version(&self) -> u32;

    /// The accumulators of its cells.
    fn shape(&self) -> &'static Shape;

    /// Whether an accepted event feeds it.
    fn feeds(&self, touchpoint: &Touchpoint<'_>) -> bool;

    /// Counts an event that feeds it.
    fn add(&self, touchpoint: &Touchpoint<'_>, cell: &mut Cell);

    /// What the set counts first: its sample size.
    fn samples(&self, cell: &Cell) -> i64;

    /// The figures of a cell, in the order of their names; those whose denominator is 0 are left out.
    fn figures(&self, cell: &Cell, group_by: &GroupBy) -> Vec<Figure>;

    /// Whether its answers all lie on one scale, so that they are published per score alone.
    fn one_scale(&self) -> bool {
        false
    }

    /// The thresholds that shape its counts, beyond version and group-by: hashed into the definitions id.
    fn thresholds(&self) -> String {
        String::new()
    }

    /// What is stamped into each record of a slice: settings that a reader must know.
    fn stamps(&self, _group_by: &GroupBy, _values: &Values) -> Vec<(&'static str, Stamp)> {
        Vec::new()
    }
}

/// A setting stamped into a record.
#[derive(Debug, Clone, PartialEq)]
pub enum Stamp {
    /// A number with a fraction.
    Number(f64),
    /// A whole number.
    Integer(i64),
    /// True or false.
    Flag(bool),
    /// Several of them.
    Object(Vec<(&'static str, Stamp)>),
}

/// One figure with its evidence.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// The name, with its unit last.
    pub name: &'static str,
    /// Which one, for figures that come per quantile, channel or scale: the label and its value.
    pub key: Option<(&'static str, String)>,
    /// The value, never NaN.
    pub value: f64,
    /// What was divided, where there is one number of it; in milliseconds for figures in seconds.
    pub numerator: Option<i64>,
    /// What it was divided by.
    pub denominator: Option<i64>,
    /// How many observations stand behind it.
    pub samples: i64,
    /// The 95 % interval, where one is defined for this many samples.
    pub interval: Option<(f64, f64)>,
    /// Whether the sample is large enough to act on; absent for quantiles.
    pub sufficiency: Option<Sufficiency>,
}

/// Whether a sample is large enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sufficiency {
    /// n >= 100.
    Sufficient,
    /// 30 <= n < 100.
    Provisional,
    /// n < 30.
    Thin,
}

impl Sufficiency {
    /// The class of a sample of `n`.
    pub fn of(n: i64) -> Sufficiency {
        match n {
            100.. => Sufficiency::Sufficient,
            30..100 => Sufficiency::Provisional,
            _ => Sufficiency::Thin,
        }
    }

    /// The name in records.
    pub fn name(self) -> &'static str {
        match self {
            Sufficiency::Sufficient => "sufficient",
            Sufficiency::Provisional => "provisional",
            Sufficiency::Thin => "thin",
        }
    }
}

/// One metric set with its group-bys.
#[derive(Clone)]
pub struct SetPlan {
    /// What is counted.
    pub set: Arc<dyn MetricSet>,
    /// By what.
    pub group_bys: Vec<GroupBy>,
    /// The dimensions that events are told apart by before they are expanded.
    pub tuple: TupleShape,
    /// Per group-by the definitions id.
    pub definitions: Vec<u32>,
}

impl SetPlan {
    /// A set and its group-bys.
    pub fn new(set: Arc<dyn MetricSet>, group_bys: Vec<GroupBy>) -> SetPlan {
        let tuple = TupleShape::new(&group_bys);
        let definitions = group_bys.iter().map(|by| definitions_id(&*set, by)).collect();
        SetPlan { set, group_bys, tuple, definitions }
    }
}

/// The definitions id: a hash of the metric set's version, the group-by's own definition and the thresholds.
/// Which other group-bys, windows or exports are on does not enter (I-10).
fn definitions_id(set: &dyn MetricSet, by: &GroupBy) -> u32 {
    let dimensions: Vec<&str> = by.dimensions.iter().map(|dimension| dimension.name()).collect();
    let text = format!("{}/{}|{}({})|{}", set.name(), set.version(), by.name, dimensions.join(","), set.thresholds());
    let hash = xxh64(text.as_bytes(), 0);
    (hash >> 32) as u32
}

/// One input as the engine sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputPlan {
    /// The name in configuration, labels and the ledger.
    pub name: Arc<str>,
    /// Rises when the topic is re-created or its offsets are reset on purpose.
    pub epoch: u32,
    /// How its watermark is derived.
    pub policy: Policy,
    /// Whether its items are told apart by id.
    pub dedup: bool,
    /// The most ids that are remembered per partition; the oldest leave first.
    pub dedup_ids_max: usize,
    /// Per metric set, in the order of [`Plan::sets`], whether this input feeds it.
    pub feeds: Vec<bool>,
}

/// What is counted, by what, in which windows, from which inputs.
#[derive(Clone)]
pub struct Plan {
    /// The metric sets.
    pub sets: Vec<SetPlan>,
    /// The windows and the panes they are made of.
    pub geometry: Geometry,
    /// The inputs.
    pub inputs: Vec<InputPlan>,
    /// The most distinct values per group-by, and keys per map inside a cell.
    pub values_max: usize,
    /// How many deltas partitions there are: fixed for the life of the state.
    pub deltas_partitions: i32,
    /// Whether the pane that holds everything is kept for every group-by, or for `all` and `channel` alone.
    pub ever_everywhere: bool,
    /// The format that is written.
    pub format: Format,
}

impl Plan {
    /// A hash of everything that shapes a delta: every group-by's definitions, and the size of the panes. Two who
    /// have the same count the same; only then must each of a section's group-bys be there.
    pub fn id(&self) -> u32 {
        let mut text = self.geometry.base().to_string();
        for set in &self.sets {
            for (group_by, definitions) in set.group_bys.iter().zip(&set.definitions) {
                text.push_str(&format!("|{}/{}/{definitions:08x}", set.set.name(), group_by.name));
            }
        }
        (xxh64(text.as_bytes(), 0) >> 32) as u32
    }

    /// Whether panes of `level` are kept for this group-by.
    pub fn keeps(&self, level: usize, group_by: &GroupBy) -> bool {
        self.geometry.levels()[level] != Level::Ever || self.ever_everywhere || group_by.is_wide()
    }

    /// The most slices a group-by can have: one, or the most distinct values and those past it together.
    pub fn slices_max(&self, group_by: &GroupBy) -> usize {
        if group_by.dimensions.is_empty() { 1 } else { self.values_max + 1 }
    }

    /// The deltas partition that owns a group-by of a metric set: XXH64 of `set/group-by`.
    pub fn partition(&self, set: &str, group_by: &str) -> i32 {
        let hash = xxh64(format!("{set}/{group_by}").as_bytes(), 0);
        let partitions = u64::try_from(self.deltas_partitions).expect("there is at least one deltas partition");
        i32::try_from(hash % partitions).expect("less than the number of partitions")
    }

    /// The (set, group-by) indices that a deltas partition owns.
    pub fn owned(&self, partition: i32) -> Vec<(usize, usize)> {
        let mut owned = Vec::new();
        for (set, plan) in self.sets.iter().enumerate() {
            for (by, group_by) in plan.group_bys.iter().enumerate() {
                if self.partition(plan.set.name(), &group_by.name) == partition {
                    owned.push((set, by));
                }
            }
        }
        owned
    }

    /// The input of that name.
    pub fn input(&self, name: &str) -> Option<usize> {
        self.inputs.iter().position(|input| &*input.name == name)
    }
}
