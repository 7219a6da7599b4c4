//! The command line: arguments into a command, its outcome into an exit code. One file per command.

mod check;
pub mod demo;
mod expected;
mod explain;
mod failure;
mod generate;
mod health;
mod memory;
mod replay;
mod run;
mod security;
pub mod service;
mod shell;
mod sources;
mod topics;

pub use failure::{Exit, Failure};

use crate::mapping;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Live customer-experience metrics from a stream of touchpoints.
///
/// Start with `touchstone demo`: everything in one process, with generated traffic.
#[derive(Debug, Parser)]
#[command(name = "touchstone", version, max_term_width = 100, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Everything in one process: in-memory broker, generated traffic with a day of history
    Demo(demo::Demo),
    /// The service: touchpoints from Kafka into /metrics and aggregates
    Run(run::Run),
    /// Files in, aggregates out: the numbers the service would give, from history
    Replay(Box<replay::Replay>),
    /// Realistic touchpoints to standard output or Kafka, from a seed
    Generate(generate::Generate),
    /// Validate a configuration; print what is in force and its cost in series
    Check(check::Check),
    /// Create or compare the topics the service needs
    Topics(topics::Topics),
    /// What each source has been taken in up to; adopt, retire, accept a gap
    Sources(sources::Sources),
    /// Ask a running process whether it is healthy, for containers
    Health(health::Health),
    /// Completion of commands and options for a shell
    Completions(shell::Completions),
    /// Manual pages, one per command, into a directory
    Man(shell::Man),
    /// Runs a mapping for its parent process; never started by hand
    #[command(name = mapping::COMMAND, hide = true)]
    Mapper,
}

/// Runs the program.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version go to standard output and are no failure.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { ExitCode::SUCCESS };
        }
    };
    let outcome = match arguments.command {
        Command::Demo(demo) => demo.run(),
        Command::Run(run) => run.run(),
        Command::Replay(replay) => replay.run(),
        Command::Generate(generate) => generate.run(),
        Command::Check(check) => check.run(),
        Command::Topics(topics) => topics.run(),
        Command::Mapper => mapping::serve().map_err(Failure::from),
        Command::Sources(sources) => sources.run(),
        Command::Health(health) => health.run(),
        Command::Completions(completions) => {
            completions.run();
            Ok(())
        }
        Command::Man(man) => man.run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("touchstone: {:#}", failure.error);
            failure.exit.into()
        }
    }
}
