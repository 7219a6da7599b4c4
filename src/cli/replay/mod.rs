//! `touchstone replay`: files in, aggregates out, through the same worker loop and engine as the service.
//!
//! A set of files is bounded: nothing is late, no id is forgotten, every window is final at the end. With
//! `--as-live` watermarks move as in the service.

mod link;
mod output;
mod setup;

pub(super) use setup::mapping;

use super::{Exit, Failure};
use crate::clock::SystemClock;
use crate::engine::section::Totals;
use crate::files::FileFormat;
use crate::memory::Broker;
use crate::pipeline::board::{Board, Condition};
use crate::pipeline::folding::Folding;
use crate::pipeline::merging::Merging;
use crate::pipeline::worker::{Worker, WorkerError};
use crate::touchpoint::RejectReason;
use clap::Args;
use link::{FileLink, Letters};
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Files in, aggregates out
#[derive(Debug, Args)]
#[command(after_help = "Example:\n    touchstone replay calls.csv --mapping calls.jq --window 1h --slice queue")]
pub struct Replay {
    /// Files to read, in this order; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,
    /// jq filter that makes touchpoints of foreign records
    #[arg(long, value_name = "FILE")]
    mapping: Option<PathBuf>,
    /// Configuration: thresholds, group-bys and windows of the service
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How the rows are written; by default the name tells
    #[arg(long, value_parser = format_parser())]
    input_format: Option<String>,
    /// How to print: by default a table on a terminal, NDJSON otherwise
    #[arg(long, value_parser = ["ndjson", "table", "csv"])]
    output_format: Option<String>,
    /// Windows to print
    #[arg(long, num_args = 1.., value_name = "NAME")]
    window: Vec<String>,
    /// Group-bys to print
    #[arg(long, num_args = 1.., value_name = "NAME")]
    slice: Vec<String>,
    /// Time zone of calendar_day
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    /// Write what became of the items to this file, as JSON
    #[arg(long, value_name = "FILE")]
    summary: Option<PathBuf>,
    /// Write rejected items to this file, as NDJSON
    #[arg(long, value_name = "FILE")]
    rejected: Option<PathBuf>,
    /// Write late items to this file, as NDJSON
    #[arg(long, value_name = "FILE")]
    late: Option<PathBuf>,
    /// Spread the items by event id over so many partitions
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=1024))]
    partitions: i32,
    /// Move watermarks as the service does: items can be late, ids are forgotten with time
    #[arg(long)]
    as_live: bool,
    /// Fail when an item was rejected
    #[arg(long)]
    strict: bool,
}

fn format_parser() -> clap::builder::PossibleValuesParser {
    FileFormat::ALL.map(FileFormat::name).into()
}

/// What became of everything that was read.
#[derive(Debug, Default)]
struct Tally {
    totals: Totals,
    rejected: BTreeMap<RejectReason, i64>,
}

impl Replay {
    /// Runs the command.
    ///
    /// # Errors
    /// [`Failure`] with its exit code.
    pub fn run(self) -> Result<(), Failure> {
        let started = Instant::now();
        let setup = setup::setup(&self)?;
        let clock = Arc::new(SystemClock::new());
        let broker = setup.broker();
        let letters = Letters::create(self.late.as_deref(), self.rejected.as_deref())?;
        let format = self.input_format.as_deref().and_then(FileFormat::parse);
        let files = FileLink::new(&self.files, format, &setup, broker.clone(), letters)?;
        let trouble = files.trouble();
        let progress = files.progress();
        let board = Board::new();
        let folding = Folding::new(Arc::clone(&setup.plan), setup.folding(), board.clone());
        let mut fold = Worker::new("fold", Box::new(files), folding, setup.pace(), clock.clone(), board.clone());
        let merging = Merging::new(Arc::clone(&setup.plan), setup.merging(), board.clone());
        let deltas = broker.link(&setup.merge_link()).map_err(|error| Failure::new(Exit::Failed, error))?;
        let mut merge = Worker::new("merge", Box::new(deltas), merging, setup.pace(), clock, board.clone());
        let outcome = drive(&mut fold, &mut merge, &broker, &board, &progress);
        if let Some(error) = trouble.take() {
            return Err(error.into());
        }
        outcome.map_err(|error| Failure::new(Exit::Failed, error))?;
        progress.finish();
        let tally = tally(&fold);
        self.print(&broker)?;
        self.report(&tally, started)
    }

    fn print(&self, broker: &Broker) -> Result<(), Failure> {
        let records = broker.read_all(setup::AGGREGATES).map_err(|error| Failure::new(Exit::Failed, error))?;
        let terminal = std::io::stdout().is_terminal();
        let format = self.output_format.as_deref().unwrap_or(if terminal { "table" } else { "ndjson" });
        match output::print(records, format) {
            // Whoever reads our output may stop at any line.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            printed => Ok(printed?),
        }
    }

    fn report(&self, tally: &Tally, started: Instant) -> Result<(), Failure> {
        if let Some(path) = &self.summary {
            let summary = output::summary(tally, started.elapsed());
            let failed = |error| anyhow::anyhow!("summary {}: {error}", path.display());
            std::fs::write(path, summary + "\n").map_err(failed)?;
        }
        let totals = &tally.totals;
        if totals.rejected > 0 {
            let by_reason: Vec<String> =
                tally.rejected.iter().map(|(reason, count)| format!("{} {count}", reason.name())).collect();
            eprintln!(
                "touchstone: {} of {} items rejected: {}",
                totals.rejected,
                totals.consumed(),
                by_reason.join(", ")
            );
            if self.strict {
                return Err(anyhow::anyhow!("--strict: items were rejected").into());
            }
        }
        Ok(())
    }
}

/// Turns both loops until the files are at their end and everything is merged.
fn drive(
    fold: &mut Worker<Folding>,
    merge: &mut Worker<Merging>,
    broker: &Broker,
    board: &Board,
    progress: &link::Progress,
) -> Result<(), WorkerError> {
    loop {
        let step = fold.step(Duration::ZERO)?;
        progress.show();
        if step.committed {
            take_in(merge, broker, board)?;
        }
        if progress.at_end() && step.records == 0 {
            break;
        }
    }
    fold.finish()?;
    take_in(merge, broker, board)
}

/// Lets the second stage take everything that lies in the deltas, and frees it.
fn take_in(merge: &mut Worker<Merging>, broker: &Broker, board: &Board) -> Result<(), WorkerError> {
    let fault = |error| WorkerError::Fatal(format!("deltas: {error}"));
    let (_, end) = broker.bounds(setup::DELTAS, 0).map_err(fault)?;
    while !merge.tasks().any(|task| task.merge().offset() >= end) {
        merge.step(Duration::ZERO)?;
        let condition = board.look().merges.remove(&0).map(|status| status.condition);
        if let Some(Condition::Halted(halt)) = condition {
            return Err(WorkerError::Fatal(halt.to_string()));
        }
    }
    merge.commit()?;
    broker.delete_records(setup::DELTAS, 0, end).map_err(fault)
}

fn tally(fold: &Worker<Folding>) -> Tally {
    let mut tally = Tally::default();
    for task in fold.tasks() {
        let (totals, rejected) = task.fold().committed_totals();
        let sum = &mut tally.totals;
        sum.records += totals.records;
        sum.accepted += totals.accepted;
        sum.late += totals.late;
        sum.duplicate += totals.duplicate;
        sum.conflicting += totals.conflicting;
        sum.rejected += totals.rejected;
        sum.skipped += totals.skipped;
        for (reason, count) in rejected {
            *tally.rejected.entry(*reason).or_insert(0) += count;
        }
    }
    tally
}
