//! `touchstone generate`: realistic touchpoints to standard output or Kafka, from a seed.

use super::run::{connection, settings};
use super::{Exit, Failure};
use crate::config::{Settings, Span};
use crate::kafka::admin::Admin;
use crate::kafka::feed::Feed;
use crate::topics::{Purpose, table};
use crate::touchpoint::parse_rfc3339;
use crate::workload::{Minute, Workload, spread};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{ErrorKind, IsTerminal, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Realistic touchpoints to standard output (NDJSON) or Kafka
///
/// The same arguments give the same bytes. The events follow the hours and days of a business; on each day a queue
/// gets worse for a while, and customers of one channel are unhappy.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n    touchstone generate --count 100000 --duration 1d > events.ndjson")]
pub struct Generate {
    /// How many events
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    count: u64,
    /// Where all chance comes from; another seed gives other events
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// When the first minute begins
    #[arg(long, value_name = "TIME", value_parser = start, default_value = "2026-01-05T00:00:00Z")]
    start: i64,
    /// Over how long the events are spread, in whole minutes
    #[arg(long, value_name = "SPAN", value_parser = Span::parse, default_value = "1d")]
    duration: Span,
    /// No duplicates, no late and no malformed items
    #[arg(long)]
    clean: bool,
    /// Write to Kafka as this configuration reaches it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The input whose topic is written to; by default the first
    #[arg(long, value_name = "NAME", requires = "config")]
    input: Option<String>,
    /// The most events per second to Kafka; by default as fast as it takes them
    #[arg(long, value_name = "N", requires = "config", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
}

/// How much is written to standard output at once.
const CHUNK_BYTES: usize = 256 << 10;

/// After how many events the progress is shown.
const SHOW_EVERY: u64 = 8_192;

/// Why no more is written.
enum End {
    /// Nobody reads any more: `generate | head`.
    Closed,
    Failed(Failure),
}

impl Generate {
    /// Runs the command.
    ///
    /// # Errors
    /// [`Failure`] with its exit code.
    pub fn run(self) -> Result<(), Failure> {
        let bar = self.bar();
        let outcome = match &self.config {
            None => self.write(&mut Lines { chunk: Vec::with_capacity(2 * CHUNK_BYTES) }, &bar),
            Some(path) => {
                let settings = settings(path)?;
                let mut topic = self.topic(&settings)?;
                self.write(&mut topic, &bar)
            }
        };
        bar.finish_and_clear();
        match outcome {
            Ok(()) | Err(End::Closed) => Ok(()),
            Err(End::Failed(failure)) => Err(failure),
        }
    }

    /// Every event into the sink, in the order in which they are sent.
    fn write<S: Sink>(&self, sink: &mut S, bar: &ProgressBar) -> Result<(), End> {
        let workload = Workload { clean: self.clean, ..Workload::new(self.seed) };
        let minutes = (self.duration.ms() + 59_999) / 60_000;
        let mut written = 0;
        for (minute, count) in spread(self.start.div_euclid(60_000), minutes.max(1), self.count) {
            let Ok(count) = u32::try_from(count) else {
                let message =
                    format!("--count {} in {}: a minute holds at most {}", self.count, self.duration, u32::MAX);
                return Err(End::Failed(Failure::usage(message + " events; make --duration longer")));
            };
            let minute = workload.minute(minute, count);
            for index in 0..count {
                sink.event(&minute, index)?;
                written += 1;
                if written % SHOW_EVERY == 0 {
                    bar.set_position(written);
                }
            }
        }
        sink.end()
    }

    fn bar(&self) -> ProgressBar {
        let scrolling = self.config.is_none() && std::io::stdout().is_terminal();
        if scrolling || !std::io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let style = ProgressStyle::with_template("{bar:40} {percent:>3} %  {human_pos} events, {per_sec}  {elapsed}");
        ProgressBar::new(self.count).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
    }

    /// The topic of the chosen input, which must exist.
    fn topic(&self, settings: &Settings) -> Result<Topic, Failure> {
        let names: Vec<&str> = settings.plan.inputs.iter().map(|input| &*input.name).collect();
        let place = match &self.input {
            None => 0,
            Some(name) => names.iter().position(|have| have == name).ok_or_else(|| {
                Failure::usage(format!("--input {name}: the configuration has only {}", names.join(", ")))
            })?,
        };
        let input = &settings.inputs[place];
        if input.mapping.is_some() {
            let name = names[place];
            return Err(Failure::usage(format!(
                "input {name} has a mapping for foreign records, and touchpoints are none; choose another with --input"
            )));
        }
        let failed = |error| Failure::new(Exit::Failed, error);
        let connection = connection(settings)?;
        let is_it = |topic: &crate::topics::Topic| topic.purpose == Purpose::Input && topic.name == input.topic;
        let topics: Vec<_> = table(&settings.layout).into_iter().filter(is_it).collect();
        Admin::open(&connection).map_err(failed)?.require(&topics).map_err(failed)?;
        let feed = Feed::open(&connection, &input.topic).map_err(|error| Failure::new(Exit::Failed, error))?;
        let pace = self.rate.map(|rate| Pace { rate, started: Instant::now(), sent: 0 });
        Ok(Topic { feed: Some(feed), json: Vec::new(), pace })
    }
}

fn start(text: &str) -> Result<i64, String> {
    parse_rfc3339(text).ok_or_else(|| "write a time like 2026-01-31T08:00:00Z".into())
}

/// Where events go.
trait Sink {
    /// One event of a minute.
    fn event(&mut self, minute: &Minute<'_>, index: u32) -> Result<(), End>;

    /// There are no more.
    fn end(&mut self) -> Result<(), End>;
}

/// Standard output, one event per line.
struct Lines {
    chunk: Vec<u8>,
}

impl Lines {
    fn flush(&mut self) -> Result<(), End> {
        let written = std::io::stdout().lock().write_all(&self.chunk);
        self.chunk.clear();
        written.map_err(|error| match error.kind() {
            ErrorKind::BrokenPipe => End::Closed,
            _ => End::Failed(Failure::new(Exit::Failed, anyhow::anyhow!("writing to standard output: {error}"))),
        })
    }
}

impl Sink for Lines {
    fn event(&mut self, minute: &Minute<'_>, index: u32) -> Result<(), End> {
        minute.write(index, &mut self.chunk);
        self.chunk.push(b'\n');
        if self.chunk.len() >= CHUNK_BYTES { self.flush() } else { Ok(()) }
    }

    fn end(&mut self) -> Result<(), End> {
        self.flush()
    }
}

/// A topic of Kafka, at a rate where one is asked for.
struct Topic {
    /// Until the end.
    feed: Option<Feed>,
    json: Vec<u8>,
    pace: Option<Pace>,
}

struct Pace {
    rate: u32,
    started: Instant,
    sent: u64,
}

impl Pace {
    /// Waits until the next event is due.
    fn keep(&mut self) {
        let due = Duration::from_secs_f64(self.sent as f64 / f64::from(self.rate));
        self.sent += 1;
        let ahead = due.saturating_sub(self.started.elapsed());
        if ahead > Duration::from_millis(1) {
            std::thread::sleep(ahead);
        }
    }
}

impl Sink for Topic {
    fn event(&mut self, minute: &Minute<'_>, index: u32) -> Result<(), End> {
        self.pace.iter_mut().for_each(Pace::keep);
        self.json.clear();
        let sent = minute.write(index, &mut self.json);
        let Some(feed) = &mut self.feed else { return Err(End::Closed) };
        feed.send(&sent.key, &self.json).map_err(|error| End::Failed(Failure::new(Exit::Failed, error)))
    }

    fn end(&mut self) -> Result<(), End> {
        let Some(feed) = self.feed.take() else { return Err(End::Closed) };
        feed.finish().map_err(|error| End::Failed(Failure::new(Exit::Failed, error)))
    }
}
