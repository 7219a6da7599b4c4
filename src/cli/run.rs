//! `touchstone run`: the service on Kafka.

use super::security::security;
use super::service::{OpenLink, Service, stop_at_signals};
use super::{Exit, Failure};
use crate::clock::SystemClock;
use crate::config::{self, LogFormat, Settings};
use crate::kafka::admin::Admin;
use crate::kafka::{Connection, Timings};
use crate::pipeline::link::{Follower, Link};
use crate::telemetry;
use crate::topics;
use crate::web::{Following, OpenFollower};
use clap::Args;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The service
#[derive(Debug, Args)]
#[command(after_help = "Example:\n    touchstone run --config touchstone.toml")]
pub struct Run {
    /// The configuration; every key is in config/touchstone.toml
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// Reads and checks the configuration at `path`.
///
/// # Errors
/// [`Failure`] with the exit code of a wrong configuration.
pub fn settings(path: &Path) -> Result<Settings, Failure> {
    let raw = config::read(Some(&path.to_string_lossy()))?;
    let settings = Settings::new(raw, path.parent().unwrap_or(Path::new(".")))?;
    if settings.inputs.is_empty() {
        return Err(Failure::usage(format!(
            "configuration {}: there is no [[input]]: name at least one topic of touchpoints",
            path.display()
        )));
    }
    Ok(settings)
}

/// How the configured Kafka is reached.
///
/// # Errors
/// [`Failure`]: a property that may not be set, or what is said of TLS and the login is wrong.
pub fn connection(settings: &Settings) -> Result<Connection, Failure> {
    let connection = Connection {
        bootstrap_servers: settings.raw.kafka.bootstrap_servers.clone(),
        timings: Timings::default(),
        security: security(settings)?,
        properties: settings.raw.kafka.properties.clone(),
    };
    connection.check_properties().map_err(|error| Failure::new(Exit::Usage, error))?;
    Ok(connection)
}

impl Run {
    /// Runs the command.
    ///
    /// # Errors
    /// [`Failure`] with its exit code.
    pub fn run(self) -> Result<(), Failure> {
        let settings = settings(&self.config)?;
        telemetry::start(&settings.log_level, settings.log_format == LogFormat::Json)
            .map_err(|error| Failure::usage(format!("log.level: {error}")))?;
        let connection = connection(&settings)?;
        let stop = stop_at_signals()?;
        let admin = Admin::open(&connection).map_err(|error| Failure::new(Exit::Failed, error))?;
        admin.require(&topics::table(&settings.layout)).map_err(|error| Failure::new(Exit::Failed, error))?;
        let beside = connection.clone();
        let follow: OpenFollower = Arc::new(move |topic, since| {
            beside.follow(topic, since).map(|follower| Box::new(follower) as Box<dyn Follower>)
        });
        let open: OpenLink = Arc::new(move |link| connection.link(link).map(|link| Box::new(link) as Box<dyn Link>));
        let service = Service::start(
            &settings,
            &open,
            Following { open: follow, is_kept: true },
            Arc::new(SystemClock::new()),
            stop,
        )?;
        tracing::info!(address = %service.server.address, instance = settings.instance, "running; see /, /metrics, /readyz, /debug");
        service.wait()
    }
}
