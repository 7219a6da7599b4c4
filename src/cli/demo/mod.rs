//! `touchstone demo`: the whole service in one process, on an in-memory broker, with traffic of its own.
//!
//! The service is the one that `run` starts; only the log behind it differs, and where the touchpoints come from.
//! A day of history is taken in at once, then time runs on. Nothing is kept: it ends with the process.

mod feeder;
mod screen;

pub use feeder::{PER_DAY, workload};

use super::service::{OpenLink, Service, stop_at_signals};
use super::{Exit, Failure};
use crate::clock::{Clock, SystemClock};
use crate::config::{self, Settings};
use crate::memory::Broker;
use crate::pipeline::link::{Follower, Link};
use crate::telemetry;
use crate::topics::{Purpose, table};
use crate::web::{Following, OpenFollower};
use clap::Args;
use feeder::Feeder;
use screen::Screen;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::channel;
use std::thread;

/// The service with traffic of its own: nothing needed, nothing kept
///
/// A day of history is taken in at once; then time runs on. Meanwhile a queue gets worse: its customers wait, give up, and
/// become unhappy. After an hour and a half that is over, and comes back every three hours.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n    touchstone demo --listen 127.0.0.1:9464")]
pub struct Demo {
    /// Where to serve /metrics; port 0 takes any that is free
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9464")]
    listen: SocketAddr,
    /// How fast time runs after the machine has slept, until it has reached the clock
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    speed: u32,
    /// Where all chance comes from; another seed gives another day
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

/// The one input: its name and its topic.
const INPUT: &str = "touchpoints";

/// How many partitions it has.
const PARTITIONS: i32 = 4;

/// What the service is configured with. A day is filled in seconds, so a pause in the filling must never be taken
/// for silence: time does not follow the clock. A checkpoint is for the next process, and there is none: nothing is
/// deleted before every worker has its share, and then no partition ever moves to one that would need it. Two workers
/// merge, and of six partitions each has about half of the work. The window of a minute is left out: `/metrics` does not
/// show it, and half of the work of a day would be to publish it.
pub const CONFIGURATION: &str = r#"
[service]
application = "demo"
instance = "demo"
merge_workers = 2
[topics]
deltas_partitions = 6
letter_partitions = 1
replication_factor = 1
[timing]
max_skew = "2d"
commit_interval = "50ms"
idle_commit_interval = "50ms"
publish_interval = "500ms"
checkpoint_interval = "3650d"
[log]
level = "warn"
[metrics]
service_level_threshold = "60s"
[[windows]]
name = "15m"
size = "15m"
slide = "1m"
[[windows]]
name = "1h"
size = "1h"
slide = "5m"
[[windows]]
name = "1d"
size = "1d"
slide = "1h"
[[windows]]
name = "28d"
size = "28d"
slide = "1d"
[[input]]
name = "touchpoints"
topic = "touchpoints"
idle_timeout = "2d"
"#;

/// Longer than any pause of the machine: a laptop that slept is the same instance afterwards.
const NEVER_MS: i64 = i64::MAX / 4;

impl Demo {
    /// Runs the command.
    ///
    /// # Errors
    /// [`Failure`] with its exit code.
    pub fn run(self) -> Result<(), Failure> {
        let settings = settings(self.listen)?;
        telemetry::start(&settings.log_level, false).map_err(|error| Failure::usage(format!("RUST_LOG: {error}")))?;
        is_free(self.listen)?;
        let stop = stop_at_signals()?;
        let clock = Arc::new(SystemClock::new());
        let broker = broker(&settings, &clock);
        let mut feeder = Feeder::new(&self, &settings, broker.clone(), clock.now());
        // Before the service looks: where the log begins is from when on its numbers are covered.
        feeder.begin()?;
        let (beside, read) = (broker.clone(), Arc::clone(&feeder.read));
        let follow: OpenFollower = Arc::new(move |topic, _| {
            beside.follow(topic, Arc::clone(&read)).map(|follower| Box::new(follower) as Box<dyn Follower>)
        });
        // What is read is deleted behind it.
        let following = Following { open: follow, is_kept: false };
        let open: OpenLink = Arc::new(move |link| broker.link(link).map(|link| Box::new(link) as Box<dyn Link>));
        let service =
            Service::start(&settings, &open, following, Arc::clone(&clock) as Arc<dyn Clock>, Arc::clone(&stop))?;
        let (tell, filled) = channel();
        let screen = Screen::new(&settings, service.board.clone(), service.server.address);
        let (board, until) = (service.board.clone(), Arc::clone(&stop));
        let feeding = thread::Builder::new().name("feeder".into()).spawn(move || {
            let outcome = feeder.run(&board, &*clock, &until, &tell);
            // Without traffic there is nothing to show.
            until.store(true, Ordering::SeqCst);
            outcome
        })?;
        let until = Arc::clone(&stop);
        let showing = thread::Builder::new().name("screen".into()).spawn(move || screen.run(&filled, &until))?;
        let outcome = service.wait();
        stop.store(true, Ordering::SeqCst);
        let fed = feeding.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the feeder panicked")));
        let _ = showing.join();
        outcome?;
        Ok(fed?)
    }
}

fn settings(listen: SocketAddr) -> Result<Settings, Failure> {
    let mut raw = config::parse(CONFIGURATION)?;
    raw.export.listen = listen.to_string();
    Ok(Settings::new(raw, Path::new("."))?)
}

/// Says in this command's own words that the address is taken, before any work.
fn is_free(listen: SocketAddr) -> Result<(), Failure> {
    let taken = |error| {
        let advice = "choose another with --listen; port 0 takes any that is free";
        Failure::new(Exit::Failed, anyhow::anyhow!("cannot listen on {listen}: {error}; {advice}"))
    };
    TcpListener::bind(listen).map(drop).map_err(taken)
}

/// A broker with every topic of the table, the input with its partitions.
fn broker(settings: &Settings, clock: &Arc<SystemClock>) -> Broker {
    let clock = Arc::clone(clock);
    let broker = Broker::new(Arc::new(move || clock.now()));
    broker.set_timeouts(NEVER_MS, NEVER_MS);
    for mut topic in table(&settings.layout) {
        if topic.purpose == Purpose::Input {
            topic.partitions = PARTITIONS;
        }
        broker.create(&topic);
    }
    broker
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_configuration_is_right() {
        let settings = settings(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap_or_else(|failure| panic!("{failure:?}"));
        assert_eq!((settings.layout.inputs.as_slice(), settings.plan.inputs.len()), (&[INPUT.to_string()][..], 1));
    }

    #[test]
    fn a_taken_address_is_told() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let failure = is_free(taken.local_addr().unwrap()).unwrap_err();
        assert!(failure.error.to_string().contains("--listen"), "{}", failure.error);
    }
}
