//! Our own log: structured lines on standard error, for state changes only, never one per event.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Starts logging. `filter` is a level (`info`) or a filter as `RUST_LOG` takes it (`touchstone=debug,warn`);
/// an environment variable `RUST_LOG` goes over it.
///
/// # Errors
/// The filter is not one; the message quotes it.
pub fn start(filter: &str, json: bool) -> Result<(), String> {
    let chosen = std::env::var("RUST_LOG").unwrap_or_else(|_| filter.to_string());
    let filter = EnvFilter::try_new(&chosen).map_err(|error| format!("log level {chosen:?}: {error}"))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    // A second start in one process (tests) keeps the first: nothing is lost by that.
    let _ = if json { lines.json().try_init() } else { lines.with_ansi(std::io::stderr().is_terminal()).try_init() };
    Ok(())
}
