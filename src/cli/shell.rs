//! `touchstone completions` and `touchstone man`: what shells and manuals know of the commands, made from them.

use super::{Arguments, Failure};
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use std::path::PathBuf;

/// Completion of commands and options for a shell, on standard output
#[derive(Debug, Args)]
#[command(after_help = "Example:\n    touchstone completions bash > /etc/bash_completion.d/touchstone")]
pub struct Completions {
    /// Which shell
    shell: Shell,
}

/// Manual pages, one per command, into a directory
#[derive(Debug, Args)]
#[command(after_help = "Example:\n    touchstone man /usr/local/share/man/man1")]
pub struct Man {
    /// Where to; it must exist
    directory: PathBuf,
}

impl Completions {
    /// Runs the command.
    pub fn run(&self) {
        clap_complete::generate(self.shell, &mut Arguments::command(), "touchstone", &mut std::io::stdout());
    }
}

impl Man {
    /// Runs the command.
    ///
    /// # Errors
    /// The directory cannot be written to.
    pub fn run(&self) -> Result<(), Failure> {
        let written = clap_mangen::generate_to(Arguments::command(), &self.directory);
        Ok(written.map_err(|error| anyhow::anyhow!("{}: {error}", self.directory.display()))?)
    }
}
