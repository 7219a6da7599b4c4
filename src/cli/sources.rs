//! `touchstone sources`: what each source has been taken in up to, and what mends one that is halted.

use super::run::{connection, settings};
use super::{Exit, Failure};
use crate::clock::{Clock, SystemClock};
use crate::config::Settings;
use crate::engine::codec::{LEDGER_KEY, MergeMetadata, decode_checkpoint};
use crate::engine::plan::Plan;
use crate::engine::section::Phase;
use crate::engine::time::rfc3339;
use crate::kafka::Connection;
use crate::kafka::offsets::Offsets;
use crate::mapping::this_program;
use crate::pipeline::board::{Board, Condition};
use crate::pipeline::folding::{FoldSettings, Folding};
use crate::pipeline::link::{Link, LinkConfig, LinkError};
use crate::pipeline::sources::{MergeStanding, Standing, accept_gap, adopt, known_epoch, list, mend_merge};
use crate::pipeline::worker::Worker;
use clap::{Args, Subcommand};
use comfy_table::{Table, presets};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What each source has been taken in up to; adopt, retire, accept a gap
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n    touchstone sources --config touchstone.toml\n    touchstone sources --config touchstone.toml accept-gap calls"
)]
pub struct Sources {
    /// The configuration
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    act: Option<Act>,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Show every source and every merge task (the default)
    List,
    /// Make offsets that somebody else has committed ours: the source begins there, under the configured epoch.
    /// Every process of the service must be stopped
    Adopt(Which),
    /// Go on behind records that retention has deleted before they were taken in. Every process of the service must
    /// be stopped
    AcceptGap(Which),
    /// Let a halted merge task go on: at its checkpoint where its offsets are lost, from the deltas where its
    /// changelog is, past what does not follow on where that is accepted. Says what it costs. Every process of the
    /// service must be stopped
    MendMerge {
        /// The deltas partition
        partition: i32,
    },
    /// Let an input say its last word, so that time no longer waits for it. No process of the service may have the
    /// input in its configuration any more; this command's configuration still has it
    Retire {
        /// The input's name
        input: String,
    },
}

#[derive(Debug, Args)]
struct Which {
    /// The input's name
    input: String,
    /// Only this partition; left out: every partition that needs it
    partition: Option<i32>,
}

/// How long an input's partitions may take to say their last word.
const RETIRE_WITHIN: Duration = Duration::from_secs(90);

fn failed(error: LinkError) -> Failure {
    Failure::new(Exit::Failed, anyhow::Error::msg(error.to_string()))
}

impl Sources {
    /// Runs the command.
    ///
    /// # Errors
    /// [`Failure`]: Kafka cannot be reached, or what was asked for cannot be done.
    pub fn run(self) -> Result<(), Failure> {
        let path = self.config.ok_or_else(|| Failure::usage("--config FILE is missing"))?;
        let settings = settings(&path)?;
        let connection = connection(&settings)?;
        match self.act.unwrap_or(Act::List) {
            Act::List => print(&settings, &connection),
            Act::Adopt(which) => amend(&settings, &connection, &which, "adopted", adopt),
            Act::AcceptGap(which) => amend(&settings, &connection, &which, "goes on behind the gap", accept_gap),
            Act::MendMerge { partition } => mend(&settings, &connection, partition),
            Act::Retire { input } => retire(&settings, &connection, input_of(&settings, &input)?),
        }
    }
}

fn input_of(settings: &Settings, name: &str) -> Result<usize, Failure> {
    settings.plan.input(name).ok_or_else(|| {
        let names: Vec<&str> = settings.plan.inputs.iter().map(|input| &*input.name).collect();
        Failure::usage(format!("there is no input {name:?}, only {}", names.join(", ")))
    })
}

/// How every partition of an input stands.
fn standings(settings: &Settings, connection: &Connection, input: usize) -> Result<Vec<Standing>, LinkError> {
    let fold = Offsets::open(connection, &settings.group("fold"))?;
    let merge = Offsets::open(connection, &settings.group("merge"))?;
    let merged = merge.committed(&settings.layout.names.deltas)?;
    let (name, topic) = (&settings.plan.inputs[input].name, &settings.inputs[input].topic);
    let committed = (0..).zip(fold.committed(topic)?);
    let standing = |(partition, committed)| {
        Ok(Standing {
            partition,
            committed,
            bounds: fold.bounds(topic, partition)?,
            first_timestamp: fold.first_timestamp(topic, partition)?,
            known_epoch: known_epoch(&merged, name, partition),
        })
    };
    committed.map(standing).collect()
}

fn print(settings: &Settings, connection: &Connection) -> Result<(), Failure> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "source",
        "state",
        "offset",
        "log",
        "behind",
        "watermark",
        "accepted",
        "covered from",
        "what to do",
    ]);
    for (index, input) in settings.plan.inputs.iter().enumerate() {
        for standing in standings(settings, connection, index).map_err(failed)? {
            let listed = list(input, &standing);
            let memory = listed.memory.unwrap_or_default();
            let offset = standing.committed.as_ref().map(|(offset, _)| *offset);
            let time = |time: Option<i64>| time.map_or("-".to_string(), rfc3339);
            table.add_row([
                format!("{}/{} epoch {}", input.name, standing.partition, input.epoch),
                listed.state,
                offset.map_or("-".into(), |offset| offset.to_string()),
                format!("[{}, {})", standing.bounds.0, standing.bounds.1),
                offset.map_or("-".into(), |offset| (standing.bounds.1 - offset).max(0).to_string()),
                time(memory.watermark),
                memory.totals.accepted.to_string(),
                time(offset.map(|_| memory.covered_from).filter(|from| *from > 0)),
                listed.remedy.unwrap_or_default(),
            ]);
        }
    }
    println!("{table}\n");
    merge_tasks(settings, connection)
}

fn merge_tasks(settings: &Settings, connection: &Connection) -> Result<(), Failure> {
    let merge = Offsets::open(connection, &settings.group("merge")).map_err(failed)?;
    let deltas = &settings.layout.names.deltas;
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["merge task", "state", "offset", "log", "checkpoint", "watermark"]);
    for (partition, committed) in (0..).zip(merge.committed(deltas).map_err(failed)?) {
        let (low, high) = merge.bounds(deltas, partition).map_err(failed)?;
        let memory = committed.as_ref().map(|(_, text)| MergeMetadata::decode(text));
        let state = match &memory {
            None => "nothing committed".to_string(),
            Some(Err(error)) => format!("not ours: {error}"),
            Some(Ok(memory)) => memory.halted.clone().map_or("live".into(), |code| format!("halted: {code}")),
        };
        let memory = memory.and_then(Result::ok).unwrap_or_default();
        let watermark = memory.reach.values().filter_map(|reach| reach.watermark).max();
        table.add_row([
            partition.to_string(),
            state,
            committed.map_or("-".into(), |(offset, _)| offset.to_string()),
            format!("[{low}, {high})"),
            memory.checkpoint.to_string(),
            watermark.map_or("-".into(), rfc3339),
        ]);
    }
    println!("{table}");
    Ok(())
}

/// Judges the metadata beside a committed offset: what it becomes, or why not.
type Judge =
    fn(&crate::engine::plan::InputPlan, &Standing, crate::engine::codec::Format, i64) -> Result<(i64, String), String>;

fn amend(settings: &Settings, connection: &Connection, which: &Which, done: &str, judge: Judge) -> Result<(), Failure> {
    let input = input_of(settings, &which.input)?;
    let now = SystemClock::new().now();
    let offsets = Offsets::open(connection, &settings.group("fold")).map_err(failed)?;
    let mut amended = 0;
    let mut refused = Vec::new();
    for standing in standings(settings, connection, input).map_err(failed)? {
        if which.partition.is_some_and(|partition| partition != standing.partition) {
            continue;
        }
        match judge(&settings.plan.inputs[input], &standing, settings.plan.format, now) {
            Ok((offset, metadata)) => {
                offsets.set(&settings.inputs[input].topic, standing.partition, offset, &metadata).map_err(failed)?;
                println!("{}/{}: offset {offset} {done}", which.input, standing.partition);
                amended += 1;
            }
            Err(reason) => refused.push(reason),
        }
    }
    if amended > 0 {
        return Ok(());
    }
    let reason = if refused.is_empty() { "there is no such partition".into() } else { refused.join("\n") };
    Err(Failure::new(Exit::Failed, anyhow::Error::msg(reason)))
}

fn mend(settings: &Settings, connection: &Connection, partition: i32) -> Result<(), Failure> {
    let names = &settings.layout.names;
    let merge = Offsets::open(connection, &settings.group("merge")).map_err(failed)?;
    let mut committed = merge.committed(&names.deltas).map_err(failed)?;
    let index = usize::try_from(partition).ok().filter(|index| *index < committed.len());
    let index = index.ok_or_else(|| Failure::usage(format!("there is no merge task {partition}")))?;
    let ledger = merge.last_value(&names.changelog, partition, LEDGER_KEY).map_err(failed)?;
    let checkpoint = ledger.map(|bytes| decode_checkpoint(&bytes).map(|checkpoint| checkpoint.offset)).transpose();
    let standing = MergeStanding {
        partition,
        committed: committed.swap_remove(index),
        bounds: merge.bounds(&names.deltas, partition).map_err(failed)?,
        checkpoint: checkpoint.map_err(|error| error.to_string()),
    };
    let judged = mend_merge(&standing, settings.plan.format);
    let (offset, metadata, cost) = judged.map_err(|reason| Failure::new(Exit::Failed, anyhow::Error::msg(reason)))?;
    merge.set(&names.deltas, partition, offset, &metadata).map_err(failed)?;
    println!("merge task {partition}: offset {offset}; at the next start it {cost}");
    Ok(())
}

/// Runs the first stage over one input until every partition of it has said its last word.
fn retire(settings: &Settings, connection: &Connection, input: usize) -> Result<(), Failure> {
    let plan = Plan { inputs: vec![settings.plan.inputs[input].clone()], ..(*settings.plan).clone() };
    let folding = FoldSettings {
        inputs: vec![settings.inputs[input].clone()],
        mapper: Some(this_program()?),
        ..settings.folding()
    };
    let all = settings.fold_link(0);
    let config = LinkConfig {
        subscriptions: vec![all.subscriptions[input].clone()],
        transactional_id: format!("{}-{}-retire", settings.application, settings.instance),
        ..all
    };
    let (name, topic) = (settings.plan.inputs[input].name.to_string(), &settings.inputs[input].topic);
    let fold = Offsets::open(connection, &config.group).map_err(failed)?;
    let partitions = fold.committed(topic).map_err(failed)?.len();
    let board = Board::new();
    let link = Box::new(connection.link(&config).map_err(failed)?) as Box<dyn Link>;
    let stage = Folding::retiring(Arc::new(plan), folding, board.clone());
    let clock = Arc::new(SystemClock::new());
    let mut worker = Worker::new("retire", link, stage, settings.pace, clock, board.clone());
    let deadline = Instant::now() + RETIRE_WITHIN;
    loop {
        worker.step(Duration::from_millis(20)).map_err(|error| Failure::new(Exit::Failed, error))?;
        let sources = board.look().sources;
        if let Some((place, halt)) = sources.iter().find_map(|((_, partition), status)| match &status.condition {
            Condition::Halted(halt) => Some((partition, halt)),
            _ => None,
        }) {
            return Err(Failure::new(Exit::Failed, anyhow::anyhow!("{name}/{place} is halted: {halt}")));
        }
        let retired = sources.values().filter(|status| status.phase == Phase::Retired && status.committed_at > 0);
        if retired.count() == partitions {
            break;
        }
        if Instant::now() > deadline {
            return Err(Failure::new(
                Exit::Failed,
                anyhow::anyhow!(
                    "{name}: not every partition came to this command within {} s; remove the input from the \
                     configuration of every running process first",
                    RETIRE_WITHIN.as_secs()
                ),
            ));
        }
    }
    worker.stop(|| ()).map_err(|error| Failure::new(Exit::Failed, error))?;
    println!("{name}: {partitions} partitions are retired; the input can leave this configuration too");
    Ok(())
}
