//! What a configuration may take in memory: the formula that `check` prints.
//!
//! Nothing in a process grows with the length of a stream. What it holds is bounded by what it has open between two
//! commits, by the ids it remembers, and by the panes of each slice: those that windows still need, and those that
//! sources may be ahead by ([`max_skew`](crate::config) beyond lateness).

use crate::config::Settings;
use crate::engine::cell::Cell;
use crate::engine::dedup::ID_BYTES;
use crate::engine::window::Level;
use std::collections::BTreeMap;
use std::fmt;

const MIB: usize = 1 << 20;

/// The program, its HTTP pages and the allocator's reserve.
const PROGRAM_BYTES: usize = 64 * MIB;

/// The Kafka clients of one worker, with their queues full.
const WORKER_BYTES: usize = 32 * MIB;

/// How often what is open between two commits exists: as cells, as delta records, as the client's copy of them, and as
/// the way back should the commit fail.
const OPEN_COPIES: usize = 4;

/// What an exported series takes, with its labels, twice while a page is built.
const SERIES_BYTES: usize = 512;

/// What the maps of a pane are reckoned to hold.
const CONTENTS: [(&str, usize); 3] = [("buckets", 64), ("names", 8), ("scores", 12)];

/// The parts of the formula, in bytes.
#[derive(Debug)]
pub(super) struct Memory {
    program: usize,
    workers: (usize, usize),
    open: usize,
    series: usize,
    /// Per input: what each of its partitions takes.
    partitions: Vec<(String, usize)>,
    /// Per group-by: panes and bytes of one slice over all metric sets, and the most slices.
    slices: BTreeMap<String, (usize, usize, usize)>,
}

impl Memory {
    /// The formula of a configuration.
    pub fn of(settings: &Settings) -> Memory {
        let plan = &settings.plan;
        let workers = settings.workers.fold + settings.workers.merge;
        let ids = |input: &crate::engine::plan::InputPlan| if input.dedup { input.dedup_ids_max * ID_BYTES } else { 0 };
        let open = settings.layout.record_bytes_max().max(crate::topics::DELTAS_BYTES_MAX)
            + settings.raw.timing.batch_items_max * ID_BYTES;
        Memory {
            program: PROGRAM_BYTES,
            workers: (workers, WORKER_BYTES),
            open: OPEN_COPIES * open,
            series: settings.http.series_max * SERIES_BYTES,
            partitions: plan.inputs.iter().map(|input| (input.name.to_string(), ids(input))).collect(),
            slices: slices(settings),
        }
    }
}

/// How far panes reach behind what is final and ahead of it, per level; how many that is at most.
fn panes(settings: &Settings, level: usize) -> usize {
    let geometry = &settings.plan.geometry;
    let level_of = &geometry.levels()[level];
    if *level_of == Level::Ever {
        return 1;
    }
    let (start, end) = level_of.pane(0);
    let policies = settings.plan.inputs.iter().map(|input| input.policy);
    let ahead = policies.map(|policy| policy.lateness_ms + policy.out_of_orderness_ms).max().unwrap_or(0);
    let span = geometry.kept_from(level, 0).saturating_neg() + ahead + settings.raw.timing.max_skew.ms();
    // One that has begun at either end, and one that the first pane kept begins before.
    usize::try_from(span / (end - start)).unwrap_or(usize::MAX) + 3
}

fn slices(settings: &Settings) -> BTreeMap<String, (usize, usize, usize)> {
    let plan = &settings.plan;
    let mut slices: BTreeMap<String, (usize, usize, usize)> = BTreeMap::new();
    let [(_, buckets), (_, names), (_, scores)] = CONTENTS;
    for set in &plan.sets {
        let bytes = Cell::bytes(set.set.shape(), buckets, names, scores);
        for group_by in &set.group_bys {
            let levels = (0..plan.geometry.levels().len()).filter(|level| plan.keeps(*level, group_by));
            let panes: usize = levels.map(|level| panes(settings, level)).sum();
            let most = plan.slices_max(group_by);
            let entry = slices.entry(group_by.name.clone()).or_insert((0, 0, most));
            entry.0 += panes;
            entry.1 += panes * bytes;
        }
    }
    slices
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: usize| bytes as f64 / MIB as f64;
        let contents = CONTENTS.map(|(what, count)| format!("{count} {what}")).join(", ");
        writeln!(f, "# Memory of a process, at most, in MiB: the sum of")?;
        writeln!(f, "#   program: {:.1}", mib(self.program))?;
        writeln!(f, "#   workers: {:.1} for each of {}", mib(self.workers.1), self.workers.0)?;
        writeln!(f, "#   open between two commits: {:.1} for each of them", mib(self.open))?;
        writeln!(f, "#   series in /metrics: {:.1}", mib(self.series))?;
        for (input, bytes) in &self.partitions {
            writeln!(f, "#   input {input}: {:.1} for each partition it reads (dedup_ids_max)", mib(*bytes))?;
        }
        for (group_by, (panes, bytes, most)) in &self.slices {
            let each = mib(*bytes);
            writeln!(f, "#   slices by {group_by}: {each:.3} for each of at most {most}, in {panes} panes")?;
        }
        write!(
            f,
            "# reckoned with {contents} in the maps of every pane, and with every deltas partition on this process."
        )
    }
}
