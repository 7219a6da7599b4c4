//! How a command fails: what it says, and with which exit code.

use crate::config::ConfigError;
use crate::files::FileError;
use std::process::ExitCode;

/// The exit codes, as promised to scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Something failed.
    Failed = 1,
    /// The command or its configuration is wrong.
    Usage = 2,
    /// An input could not be read.
    Input = 3,
    /// Another process runs as this instance.
    Twin = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// A failure: its exit code and its message.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What is wrong, where, and what to do.
    pub error: anyhow::Error,
}

impl Failure {
    /// A failure with this exit code.
    pub fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Failure {
        Failure { exit, error: error.into() }
    }

    /// A mistake in the command.
    pub fn usage(message: impl Into<String>) -> Failure {
        Failure { exit: Exit::Usage, error: anyhow::Error::msg(message.into()) }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        Failure { exit: Exit::Failed, error }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Failure {
        Failure::new(Exit::Usage, error)
    }
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Failure {
        let exit = if matches!(error, FileError::UnknownFormat { .. }) { Exit::Usage } else { Exit::Input };
        Failure::new(exit, error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure::new(Exit::Failed, error)
    }
}
