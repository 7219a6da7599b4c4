//! What the demo says in the terminal: where to look, and a few figures with their evidence.

use super::feeder::{Filled, SLOW_QUEUE};
use crate::config::Settings;
use crate::engine::plan::{Figure, Plan};
use crate::engine::publish::Shown;
use crate::engine::time::rfc3339;
use crate::pipeline::board::{Board, Posted};
use comfy_table::{Table, presets};
use indicatif::HumanCount;
use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// The window whose figures are shown.
const WINDOW: &str = "15m";

/// Between two tables on a terminal.
const REFRESH: Duration = Duration::from_secs(2);

/// How soon the screen hears that it is over.
const TURN: Duration = Duration::from_millis(50);

/// How far the ends of the windows in one table may lie apart where only one is printed, ms: the partitions of the
/// second stage are seldom equally far.
const APART_MS_MAX: i64 = 180_000;

/// What is shown: (what it is, figure, group-by, the slice's values, the figure's own key).
type Line = (&'static str, &'static str, &'static str, &'static [&'static str], Option<&'static str>);

const LINES: [Line; 8] = [
    ("abandonment", "abandonment_ratio", "all", &[], None),
    ("abandonment, voice technical", "abandonment_ratio", "queue", &[SLOW_QUEUE.0, SLOW_QUEUE.1], None),
    ("mean hold", "hold_mean_seconds", "all", &[], None),
    ("share of voice", "channel_share_ratio", "all", &[], Some("voice")),
    ("share of chat", "channel_share_ratio", "all", &[], Some("chat")),
    ("CSAT", "csat_ratio", "all", &[], None),
    ("CSAT, voice technical", "csat_ratio", "queue", &[SLOW_QUEUE.0, SLOW_QUEUE.1], None),
    ("NPS", "nps_ratio", "all", &[], None),
];

pub(super) struct Screen {
    plan: Arc<Plan>,
    board: Board,
    address: SocketAddr,
}

impl Screen {
    pub fn new(settings: &Settings, board: Board, address: SocketAddr) -> Screen {
        Screen { plan: Arc::clone(&settings.plan), board, address }
    }

    /// Shows what there is until it is told to stop: a table that is renewed on a terminal, else one table.
    pub fn run(&self, filled: &Receiver<Filled>, stop: &AtomicBool) {
        let filled = loop {
            match filled.recv_timeout(TURN) {
                Ok(filled) => break filled,
                Err(RecvTimeoutError::Timeout) if !stop.load(Ordering::SeqCst) => {}
                Err(_) => return,
            }
        };
        self.tell(&filled);
        let terminal = std::io::stdout().is_terminal();
        let mut lines_before = 0;
        while !stop.load(Ordering::SeqCst) {
            let (table, complete) = self.table(&self.board.look());
            if terminal {
                // Up to where the last table began, and clear from there.
                let up = if lines_before == 0 { String::new() } else { format!("\x1b[{lines_before}A\x1b[J") };
                lines_before = table.lines().count();
                print(&format!("{up}{table}\n"));
                wait(REFRESH, stop);
            } else if complete {
                return print(&format!("{table}\n"));
            } else {
                wait(TURN, stop);
            }
        }
    }

    fn tell(&self, filled: &Filled) {
        let (events, seconds) = (HumanCount(filled.events), filled.took.as_secs_f64());
        let rate = HumanCount((filled.events as f64 / seconds.max(0.001)) as u64);
        print(&format!(
            "A day of touchpoints is in: {events} in {seconds:.1} s ({rate} per second). Now time runs on.\n\n\
             \x20   board     http://{address}/\n\
             \x20   metrics   http://{address}/metrics\n\
             \x20   state     http://{address}/debug\n\n\
             Since a few minutes ago customers of the queue {} ({}) wait four times as long, and are\n\
             unhappy; in an hour and a half it is over, and comes back every three hours. Ctrl-C ends it.\n\n",
            SLOW_QUEUE.1,
            SLOW_QUEUE.0,
            address = self.address,
        ));
    }

    /// The table, and whether every line of it has its figure, all of about the same time.
    fn table(&self, posted: &Posted) -> (String, bool) {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);

        table.set_header(["last 15 minutes", "value", "95 % interval", "n", "window end"]);
        let mut ends = Vec::new();
        for line in &LINES {
            let found = self.find(posted, line);
            ends.extend(found.iter().map(|(_, end)| *end));
            let (value, interval, n, end) = found.map_or_else(Default::default, |(figure, end)| cells(&figure, end));
            table.add_row([line.0.to_string(), value, interval, n, end]);
        }
        let apart = ends.iter().max().zip(ends.iter().min()).map(|(newest, oldest)| newest - oldest);
        (table.to_string(), ends.len() == LINES.len() && apart.is_some_and(|apart| apart <= APART_MS_MAX))
    }

    fn find(&self, posted: &Posted, (_, name, by, values, key): &Line) -> Option<(Figure, i64)> {
        let rows = posted.merges.values().flat_map(|merge| merge.rows.iter());
        let is_it = |row: &&Shown| {
            self.plan.geometry.windows()[row.window].name == WINDOW
                && self.plan.sets[row.set].group_bys[row.by].name == *by
                && row.values.iter().eq(values.iter().copied())
        };
        rows.filter(is_it).find_map(|row| {
            let set = &self.plan.sets[row.set];
            let figures = set.set.figures(&row.cell, &set.group_bys[row.by]);
            let has_key = |figure: &Figure| figure.key.as_ref().map(|(_, key)| key.as_str()) == *key;
            let figure = figures.into_iter().find(|figure| figure.name == *name && has_key(figure))?;
            Some((figure, row.end))
        })
    }
}

fn cells(figure: &Figure, end: i64) -> (String, String, String, String) {
    let write = |value: f64| match figure.name {
        name if name.ends_with("_seconds") => format!("{value:.1} s"),
        "nps_ratio" => format!("{:+.0}", value * 100.0),
        _ => format!("{:.1} %", value * 100.0),
    };
    let interval = figure.interval.map_or_else(String::new, |(low, high)| format!("{} to {}", write(low), write(high)));
    (write(figure.value), interval, figure.samples.to_string(), rfc3339(end))
}

/// Writes to standard output; that nobody reads it is no reason to stop serving.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn wait(limit: Duration, stop: &AtomicBool) {
    let until = Instant::now() + limit;
    while Instant::now() < until && !stop.load(Ordering::SeqCst) {
        thread::sleep(TURN);
    }
}
