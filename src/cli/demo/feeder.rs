//! The demo's traffic: a day at once, then minute by minute, into the in-memory broker.
//!
//! Event time is the feeder's own: it begins a day ago, runs as fast as the service takes it in until it has reached the
//! clock, and then with it; after a pause of the machine at `speed` until it has reached it again. A record's timestamp
//! is when its event was sent, so nothing lies in the future. What the service has taken in is deleted behind it: memory
//! stays bounded for as long as the demo runs.

use super::{Demo, INPUT, PARTITIONS};
use crate::clock::Clock;
use crate::config::Settings;
use crate::memory::{Broker, NewRecord, Positions};
use crate::pipeline::board::{Board, Condition, Posted};
use crate::topics::TopicNames;
use crate::workload::{Incident, IncidentKind, Incidents, Workload, minute_count};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::VecDeque;
use std::io::IsTerminal;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::thread;
use std::time::{Duration, Instant};

const MINUTE_MS: i64 = 60_000;
const DAY_MINUTES: i64 = 1_440;

/// 1970-01-07 was a Wednesday; half past ten, in minutes since the epoch.
const WEDNESDAY_MORNING: i64 = 6 * DAY_MINUTES + 10 * 60 + 30;

/// How many events an average weekday has: several per second in its busy hours.
pub const PER_DAY: u32 = 200_000;

/// How long ago the first trouble begins, seen from the clock: what it does shows in 15 minutes and in an hour.
const TROUBLE_MINUTES: i64 = 12;

/// How long it lasts, how often it comes back, and how many times.
const TROUBLE_LASTS: i64 = 90;
const TROUBLE_EVERY: i64 = 180;
const TROUBLE_TIMES: i64 = 240;

/// The queue in which customers wait, give up and become unhappy.
pub(super) const SLOW_QUEUE: (&str, &str) = ("voice", "technical");

/// How far the filling may be ahead of what the service has taken in: that much is held in memory. Less, and one stage waits
/// while the other one commits.
const AHEAD_MINUTES: i64 = 180;

/// How many minutes of the input are kept behind what was taken in: more than the service would read again.
const KEPT_MINUTES: usize = 30;

/// Between two looks at how far time has come.
const TICK: Duration = Duration::from_millis(100);

/// The demo's traffic, seen from a minute: trouble in one queue has begun, and comes back.
pub fn workload(seed: u64, this_minute: i64) -> Workload {
    let kind = IncidentKind::slow_queue(SLOW_QUEUE.0, SLOW_QUEUE.1).expect("it is one of the queues");
    let incident = |time: i64| {
        let from = this_minute - TROUBLE_MINUTES + time * TROUBLE_EVERY;
        Incident { minutes: from..from + TROUBLE_LASTS, kind }
    };
    let incidents = Incidents::Given((0..TROUBLE_TIMES).map(incident).collect());
    Workload { seed, clean: false, offset_minutes: to_wednesday(this_minute), incidents }
}

/// What the filling came to.
pub(super) struct Filled {
    pub events: u64,
    pub took: Duration,
}

/// The traffic and where it goes.
pub(super) struct Feeder {
    workload: Workload,
    speed: i64,
    broker: Broker,
    names: TopicNames,
    /// The minute with which the day began.
    first: i64,
    /// The minute that is written next, and the index in it of the event that is.
    minute: i64,
    index: u32,
    events: u64,
    json: Vec<u8>,
    /// Per minute written where the input's partitions ended then.
    ends: VecDeque<[i64; PARTITIONS as usize]>,
    /// How many workers there are.
    workers: usize,
    /// How far the board has read what is published.
    pub read: Positions,
    bar: ProgressBar,
}

impl Feeder {
    pub fn new(demo: &Demo, settings: &Settings, broker: Broker, now: i64) -> Feeder {
        let this_minute = now.div_euclid(MINUTE_MS);
        Feeder {
            workload: workload(demo.seed, this_minute),
            speed: i64::from(demo.speed),
            broker,
            names: settings.layout.names.clone(),
            minute: this_minute - DAY_MINUTES,
            index: 0,
            first: this_minute - DAY_MINUTES,
            events: 0,
            json: Vec::new(),
            ends: VecDeque::new(),
            workers: settings.workers.fold + settings.workers.merge,
            read: Positions::default(),
            bar: bar(),
        }
    }

    /// The first minutes: every partition has a beginning.
    pub fn begin(&mut self) -> anyhow::Result<()> {
        for _ in 0..3 {
            self.whole_minute()?;
        }
        Ok(())
    }

    /// Fills the day, tells that it is done, then runs on until it is told to stop.
    pub fn run(
        mut self,
        board: &Board,
        clock: &dyn Clock,
        stop: &AtomicBool,
        filled: &Sender<Filled>,
    ) -> anyhow::Result<()> {
        self.fill(board, clock, stop)?;
        if stop.load(Ordering::SeqCst) {
            return Ok(());
        }
        let told = Filled { events: self.events, took: self.bar.elapsed() };
        self.bar.finish_and_clear();
        // Nobody listens only when the process ends.
        let _ = filled.send(told);
        self.run_on(board, clock, stop)
    }

    fn fill(&mut self, board: &Board, clock: &dyn Clock, stop: &AtomicBool) -> anyhow::Result<()> {
        while !self.are_there(&board.look()) && !stop.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(1));
        }
        while (self.minute + 1) * MINUTE_MS <= clock.now() && !stop.load(Ordering::SeqCst) {
            self.whole_minute()?;
            self.bar.set_position((self.minute - self.first).unsigned_abs());
            let mut posted = board.look();
            while self.ahead(&posted)? > AHEAD_MINUTES && !stop.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(1));
                posted = board.look();
            }
            if self.minute % 10 == 0 {
                self.sweep(&posted)?;
            }
        }
        self.until(clock.now())?;
        // What is told next is true once all of it has been taken in.
        while self.is_behind(&board.look())? && !stop.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn run_on(&mut self, board: &Board, clock: &dyn Clock, stop: &AtomicBool) -> anyhow::Result<()> {
        let mut reached = clock.now();
        let mut turned = Instant::now();
        let mut swept = self.minute;
        while !stop.load(Ordering::SeqCst) {
            thread::sleep(TICK);
            let passed = i64::try_from(turned.elapsed().as_millis()).unwrap_or(i64::MAX);
            turned = Instant::now();
            reached = reached.saturating_add(passed.saturating_mul(self.speed)).min(clock.now());
            self.until(reached)?;
            if swept != self.minute {
                swept = self.minute;
                self.sweep(&board.look())?;
            }
        }
        Ok(())
    }

    /// Everything that is sent up to that time.
    fn until(&mut self, time: i64) -> anyhow::Result<()> {
        while self.minute <= time.div_euclid(MINUTE_MS) {
            self.rest_of_minute(time)?;
            if time < (self.minute + 1) * MINUTE_MS - 1 {
                break;
            }
            self.minute += 1;
            self.index = 0;
            let ends = self.input_ends()?;
            self.ends.push_back(ends);
        }
        Ok(())
    }

    /// What is left of the current minute, as far as it is sent up to `time`.
    fn rest_of_minute(&mut self, time: i64) -> anyhow::Result<()> {
        let Feeder { workload, broker, json, index, .. } = self;
        let count = minute_count(workload.seed, self.minute, workload.offset_minutes, PER_DAY);
        let minute = workload.minute(self.minute, count);
        while *index < count && minute.sent_at(*index) <= time {
            json.clear();
            let sent = minute.write(*index, json);
            let (key, value) = (Some(&sent.key[..]), Some(&json[..]));
            broker.produce(INPUT, &NewRecord { timestamp: Some(sent.at), key, value, ..NewRecord::default() })?;
            *index += 1;
            self.events += 1;
        }
        Ok(())
    }

    fn whole_minute(&mut self) -> anyhow::Result<()> {
        self.until((self.minute + 1) * MINUTE_MS - 1)
    }

    fn input_ends(&self) -> anyhow::Result<[i64; PARTITIONS as usize]> {
        let mut ends = [0; PARTITIONS as usize];
        for (partition, end) in (0..).zip(&mut ends) {
            *end = self.broker.bounds(INPUT, partition)?.1;
        }
        Ok(ends)
    }

    /// Whether every worker has got its share.
    fn are_there(&self, posted: &Posted) -> bool {
        posted.workers.values().filter(|worker| worker.joined).count() == self.workers
    }

    /// How many minutes lie between what was written and what the second stage has taken in.
    ///
    /// # Errors
    /// A task has halted: nothing more will be taken in.
    fn ahead(&self, posted: &Posted) -> anyhow::Result<i64> {
        let sources = posted.sources.values().map(|source| &source.condition);
        let merges = posted.merges.values().map(|merge| &merge.condition);
        for condition in sources.chain(merges) {
            if let Condition::Halted(reason) = condition {
                anyhow::bail!("the service takes nothing any more: {reason}");
            }
        }
        let times = posted.merges.values().flat_map(|merge| &merge.times);
        let slowest = times.map(|(_, time)| time.watermark.unwrap_or(i64::MIN)).min();
        let taken = slowest.map_or(i64::MIN, |slowest| slowest.div_euclid(MINUTE_MS)).max(self.first);
        Ok(self.minute - taken)
    }

    /// Whether something that was written has not been taken in for certain.
    ///
    /// # Errors
    /// As [`Feeder::ahead`].
    fn is_behind(&self, posted: &Posted) -> anyhow::Result<bool> {
        let waiting = |source: Option<i64>, end: i64| end > source.unwrap_or(0);
        let inputs = (0..).zip(self.input_ends()?);
        let mut inputs = inputs.map(|(partition, end)| (posted.sources.get(&(0, partition)), end));
        // The second stage is one minute behind at most: what is shown are minutes that have ended.
        Ok(inputs.any(|(source, end)| waiting(source.map(|source| source.offset), end)) || self.ahead(posted)? > 1)
    }

    /// Deletes what nobody reads any more.
    fn sweep(&mut self, posted: &Posted) -> anyhow::Result<()> {
        while self.ends.len() > KEPT_MINUTES {
            let Some(ends) = self.ends.pop_front() else { break };
            for (partition, end) in (0..).zip(ends) {
                let taken = posted.sources.get(&(0, partition)).map_or(0, |source| source.offset);
                self.broker.delete_records(INPUT, partition, end.min(taken))?;
            }
        }
        for (partition, merge) in &posted.merges {
            self.broker.delete_records(&self.names.deltas, *partition, merge.offset)?;
        }
        let read = self.read.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for topic in [&self.names.aggregates, &self.names.late, &self.names.dead_letter] {
            for (place, partition) in (0..).enumerate() {
                // Past its last partition a topic has no bounds.
                let Ok((_, end)) = self.broker.bounds(topic, partition) else { break };
                let is_read = *topic == self.names.aggregates;
                let until = if is_read { read.get(place).copied().unwrap_or(0).min(end) } else { end };
                self.broker.delete_records(topic, partition, until)?;
            }
        }
        Ok(())
    }
}

/// How far the business's clock and calendar lie ahead of UTC so that it is Wednesday morning there now, after a
/// whole working day: there is something to see at any hour.
fn to_wednesday(now: i64) -> i64 {
    (WEDNESDAY_MORNING - now).rem_euclid(7 * DAY_MINUTES)
}

fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("taking in a day of touchpoints  {bar:40} {percent:>3} %  {elapsed}");
    let bar = ProgressBar::with_draw_target(Some(DAY_MINUTES.unsigned_abs()), ProgressDrawTarget::stderr());
    if !std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
