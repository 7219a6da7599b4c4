//! What stands on the pages: the picture, put into words.

use super::chart::{Chart, HEIGHT, Point, WIDTH, chart};
use super::figures::{FIGURES, Said};
use super::numbers::{Unit, clock, clock_seconds, duration, value, whole};
use super::picture::{Figure, Known, Picture, Place, Shown};
use super::words::{Language, Words};
use crate::aggregate::percent_encoded;
use crate::engine::plan::{Plan, Sufficiency};
use crate::export::Exporter;
use crate::pipeline::board::{Condition, Posted};
use crate::touchpoint::RejectReason;
use askama::Template;
use std::collections::BTreeMap;

/// The most queues in the table.
const QUEUES_SHOWN: usize = 100;

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;

/// Without an event for so long it is quiet, ms.
const QUIET_AFTER_MS: i64 = 10_000;

/// When time is so far behind the clock, numbers are not live, ms.
const STALE_AFTER_MS: i64 = MINUTE_MS;

/// The window whose numbers are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Window {
    Quarter,
    Hour,
    Day,
}

impl Window {
    pub const ALL: [Window; 3] = [Window::Quarter, Window::Hour, Window::Day];

    pub fn parse(name: Option<&str>) -> Window {
        Window::ALL.into_iter().find(|window| Some(window.name()) == name).unwrap_or(Window::Quarter)
    }

    pub fn name(self) -> &'static str {
        match self {
            Window::Quarter => "15m",
            Window::Hour => "1h",
            Window::Day => "1d",
        }
    }

    pub fn said(self, words: &Words) -> &'static str {
        match self {
            Window::Quarter => words.quarter,
            Window::Hour => words.hour,
            Window::Day => words.day,
        }
    }

    /// How far behind the watermark the newest window may end and still be the current one, ms. A window in which
    /// nothing happened is not published: then the one before is the newest, and it is not current.
    fn slack(self) -> i64 {
        match self {
            Window::Quarter => 3 * MINUTE_MS,
            Window::Hour => 8 * MINUTE_MS,
            Window::Day => 0,
        }
    }
}

/// A page.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Page {
    Overview,
    Queue { channel: String, queue: String },
    Quality,
}

impl Page {
    /// What stands after the question mark of its address, for a window and a language.
    fn parameters(&self, window: &Window, language: &str) -> String {
        let tail = format!("window={}&lang={language}", window.name());
        match self.queue() {
            Some((channel, queue)) => {
                format!("channel={}&queue={}&{tail}", percent_encoded(channel), percent_encoded(queue))
            }
            None => tail,
        }
    }

    /// Its address.
    pub fn address(&self, window: &Window, language: &str) -> String {
        let name = match self {
            Page::Overview => "./",
            Page::Quality => "quality",
            Page::Queue { .. } => "queue",
        };
        format!("{name}?{}", self.parameters(window, language))
    }

    /// The queue that it is about: its channel and its name.
    pub fn queue(&self) -> Option<(&str, &str)> {
        match self {
            Page::Queue { channel, queue } => Some((channel, queue)),
            _ => None,
        }
    }

    pub fn is_overview(&self) -> bool {
        *self == Page::Overview
    }

    pub fn is_quality(&self) -> bool {
        *self == Page::Quality
    }

    /// The address of the stream that renews it.
    pub fn live(&self, window: &Window, language: &str) -> String {
        let name = match self {
            Page::Overview => "overview",
            Page::Quality => "quality",
            Page::Queue { .. } => "queue",
        };
        format!("live?page={name}&{}", self.parameters(window, language))
    }
}

/// A whole page around its content.
#[derive(Template)]
#[template(path = "page.html")]
pub(super) struct Document<'a> {
    pub words: &'a Words,
    pub lang: &'a str,
    pub page: &'a Page,
    pub window: Window,
    pub content: &'a str,
}

/// A figure with its evidence.
struct Tile {
    name: &'static str,
    value: String,
    /// sure, provisional, thin or none: how it looks.
    evidence: &'static str,
    interval: String,
    samples: String,
    chart: Option<Chart>,
    low: String,
    high: String,
}

struct Count {
    name: &'static str,
    value: String,
}

struct Share {
    channel: String,
    tile: Tile,
    /// The length of its bar, 0 to 100.
    percent: String,
}

struct Row {
    channel: String,
    queue: String,
    address: String,
    offered: String,
    tiles: Vec<Tile>,
}

/// How fresh what is shown is.
struct Freshness {
    /// live, quiet, catching-up, stale or starting.
    class: &'static str,
    said: &'static str,
    detail: String,
}

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview<'a> {
    words: &'a Words,
    freshness: Freshness,
    /// The queue that it is about, if it is not everything.
    queue: Option<(&'a str, &'a str)>,
    is_known: bool,
    counts: Vec<Count>,
    tiles: Vec<Tile>,
    shares: Vec<Share>,
    rows: Vec<Row>,
    more: usize,
    left_out: String,
    width: f64,
    height: f64,
}

struct Source {
    name: String,
    partition: i32,
    state: String,
    class: &'static str,
    behind: String,
    lag: String,
    doors: Vec<String>,
}

struct Reason {
    name: &'static str,
    count: String,
    examples: Vec<String>,
}

struct SetTimes {
    set: String,
    complete: String,
    final_until: String,
}

#[derive(Template)]
#[template(path = "quality.html")]
struct Quality<'a> {
    words: &'a Words,
    freshness: Freshness,
    sources: Vec<Source>,
    reasons: Vec<Reason>,
    times: Vec<SetTimes>,
}

/// Those of the figures that stand in the table of queues, by their places.
const IN_TABLE: [usize; 4] = [0, 1, 2, 5];

/// The content of a page.
pub(super) fn content(
    picture: &Picture,
    exporter: &Exporter,
    page: &Page,
    window: Window,
    language: Language,
) -> String {
    let looks = Looks { picture, window, language, now: exporter.clock.now() };
    let posted = exporter.look();
    let rendered = match page {
        Page::Quality => looks.quality(&posted, &exporter.plan).render(),
        Page::Overview => looks.overview(&posted, None).render(),
        Page::Queue { channel, queue } => looks.overview(&posted, Some((channel, queue))).render(),
    };
    rendered.unwrap_or_else(|error| format!("<p>{error}</p>"))
}

/// A look at the picture.
struct Looks<'a> {
    picture: &'a Picture,
    window: Window,
    language: Language,
    now: i64,
}

impl<'a> Looks<'a> {
    fn words(&self) -> &'static Words {
        self.language.words()
    }

    /// The current window of a metric set at a place; none where nothing happened in it.
    fn current(&self, place: &Place, set: &str) -> Option<&'a Shown> {
        let shown = self.picture.newest(place, set, self.window.name())?;
        let watermark = self.picture.watermark(set).unwrap_or(i64::MIN);
        (shown.end >= watermark.saturating_sub(self.window.slack())).then_some(shown)
    }

    fn tile(&self, place: &Place, index: usize, with_chart: bool) -> Tile {
        let Said { name, set, figure, unit } = FIGURES[index];
        let found = self.current(place, set).and_then(|shown| shown.figures.get(figure));
        let day = self.picture.places.get(place).filter(|_| with_chart);
        let chart = day.and_then(|known| self.chart(known, index));
        let ends =
            chart.as_ref().map(|chart| (value(chart.low, unit, self.language), value(chart.high, unit, self.language)));
        let (low, high) = ends.unwrap_or_default();
        Tile { chart, low, high, ..self.said(name(self.words()), found, unit) }
    }

    fn said(&self, name: &'static str, figure: Option<&Figure>, unit: Unit) -> Tile {
        let words = self.words();
        let Some(figure) = figure else {
            let (interval, samples, low, high) = Default::default();
            return Tile {
                name,
                value: words.nothing.into(),
                evidence: "none",
                interval,
                samples,
                chart: None,
                low,
                high,
            };
        };
        let write = |number: f64| value(number, unit, self.language);
        let evidence = match Sufficiency::of(figure.samples) {
            Sufficiency::Sufficient => "sure",
            Sufficiency::Provisional => "provisional",
            Sufficiency::Thin => "thin",
        };
        let ends = figure.lower.zip(figure.upper);
        Tile {
            name,
            value: write(figure.value),
            evidence,
            interval: ends.map_or_else(String::new, |(lower, upper)| format!("{} – {}", write(lower), write(upper))),
            samples: whole(figure.samples, self.language),
            chart: None,
            low: String::new(),
            high: String::new(),
        }
    }

    fn chart(&self, known: &Known, index: usize) -> Option<Chart> {
        let until = *known.day.last_key_value()?.0;
        let points: Vec<Point> = known
            .day
            .iter()
            .filter_map(|(end, drawn)| {
                let figure = drawn[index].as_ref()?;
                Some((*end, figure.value, figure.lower.zip(figure.upper)))
            })
            .collect();
        chart(&points, until - DAY_MS, until)
    }

    fn overview(&self, posted: &Posted, queue: Option<(&'a str, &'a str)>) -> Overview<'a> {
        let words = self.words();
        let place = match queue {
            None => Place::all(),
            Some((channel, queue)) => Place { by: "queue".into(), values: vec![channel.into(), queue.into()] },
        };
        let contacts = self.current(&place, "contacts");
        let count = |name: &'static str, key: &str| Count {
            name,
            value: contacts
                .and_then(|shown| shown.counts.get(key))
                .map_or_else(|| words.nothing.into(), |count| whole(*count, self.language)),
        };
        let (rows, more) = if queue.is_some() { (Vec::new(), 0) } else { self.rows() };
        Overview {
            words,
            freshness: self.freshness(posted, contacts),
            queue,
            is_known: self.picture.places.contains_key(&place),
            counts: vec![
                count(words.offered, "offered"),
                count(words.answered, "answered"),
                count(words.abandoned, "abandoned"),
            ],
            tiles: (0..FIGURES.len()).map(|index| self.tile(&place, index, true)).collect(),
            shares: if queue.is_some() { Vec::new() } else { self.shares() },
            rows,
            more,
            left_out: match self.picture.left_out {
                0 => String::new(),
                count => whole(i64::try_from(count).unwrap_or(i64::MAX), self.language),
            },
            width: WIDTH,
            height: HEIGHT,
        }
    }

    fn shares(&self) -> Vec<Share> {
        let Some(shown) = self.current(&Place::all(), "touchpoints") else { return Vec::new() };
        let keyed = shown.figures.iter().filter_map(|(name, figure)| {
            let channel = name.strip_prefix("channel_share_ratio ")?;
            Some((channel, figure))
        });
        let mut shares: Vec<(&str, &Figure)> = keyed.collect();
        shares.sort_by(|(_, one), (_, other)| other.value.total_cmp(&one.value));
        let share = |(channel, figure): (&str, &Figure)| Share {
            channel: channel.to_owned(),
            tile: self.said("", Some(figure), Unit::Share),
            percent: format!("{:.1}", figure.value * 100.0),
        };
        shares.into_iter().map(share).collect()
    }

    /// The queues, the surely worst first: by the lower end of the interval of abandonment.
    fn rows(&self) -> (Vec<Row>, usize) {
        let queues = self.picture.places.keys().filter(|place| place.by == "queue" && place.values.len() == 2);
        let mut queues: Vec<(f64, &Place, &Shown)> = queues
            .filter_map(|place| {
                let shown = self.current(place, "contacts")?;
                let abandonment = shown.figures.get("abandonment_ratio").and_then(|figure| figure.lower);
                Some((abandonment.unwrap_or(-1.0), place, shown))
            })
            .collect();
        queues.sort_by(|(one, ..), (other, ..)| other.total_cmp(one));
        let more = queues.len().saturating_sub(QUEUES_SHOWN);
        let row = |(_, place, shown): &(f64, &Place, &Shown)| {
            let (channel, queue) = (place.values[0].clone(), place.values[1].clone());
            let page = Page::Queue { channel: channel.clone(), queue: queue.clone() };
            Row {
                channel,
                queue,
                address: page.address(&self.window, self.language.code()),
                offered: whole(shown.counts.get("offered").copied().unwrap_or(0), self.language),
                tiles: IN_TABLE.iter().map(|index| self.tile(place, *index, false)).collect(),
            }
        };
        (queues.iter().take(QUEUES_SHOWN).map(row).collect(), more)
    }

    fn freshness(&self, posted: &Posted, shown: Option<&Shown>) -> Freshness {
        let words = self.words();
        let watermark = self.picture.complete_until();
        let newest = posted.sources.values().flat_map(|source| source.newest_by_channel.values()).max().copied();
        let Some(time) = newest.or(watermark).filter(|_| self.picture.is_caught_up) else {
            let detail = self.picture.trouble.clone().unwrap_or_default();
            return Freshness { class: "starting", said: words.starting, detail };
        };
        let (class, said) = match watermark {
            _ if self.picture.trouble.is_some() => ("stale", words.stale),
            Some(watermark) if self.now - watermark > STALE_AFTER_MS && self.picture.is_catching_up() => {
                ("catching-up", words.catching_up)
            }
            Some(watermark) if self.now - watermark > STALE_AFTER_MS => ("stale", words.stale),
            _ if self.now - time > QUIET_AFTER_MS => ("quiet", words.quiet),
            _ => ("live", words.live),
        };
        let age = duration((self.now - time).max(0) as f64 / 1000.0, self.language);
        let mut detail = format!("{} {age} {}", words.last_event, words.ago).trim_end().to_owned();
        if let Some(watermark) = watermark {
            detail += &format!(" · {} {} UTC", words.complete_until, clock_seconds(watermark));
        }
        if let Some(shown) = shown {
            detail += &format!(" · {} {} UTC", words.window_until, clock(shown.end));
        }
        if let Some(trouble) = &self.picture.trouble {
            detail += &format!(" · {trouble}");
        }
        Freshness { class, said, detail }
    }

    fn quality(&self, posted: &Posted, plan: &Plan) -> Quality<'a> {
        let words = self.words();
        let source = |((input, partition), status): (&(usize, i32), &crate::pipeline::board::SourceStatus)| {
            let (state, class) = match &status.condition {
                Condition::Halted(halt) => (format!("{}: {}", words.halted, halt.code.name()), "bad"),
                Condition::Restoring(_) => (words.restoring.to_owned(), "waiting"),
                Condition::Live if status.held => (words.held_back.to_owned(), "waiting"),
                Condition::Live => (words.running.to_owned(), "good"),
            };
            let totals = &status.totals;
            let doors = [totals.accepted, totals.late, totals.duplicate, totals.rejected, totals.skipped];
            let behind = status
                .watermark
                .map(|watermark| duration((self.now - watermark).max(0) as f64 / 1000.0, self.language));
            Source {
                name: plan.inputs.get(*input).map_or_else(String::new, |input| input.name.to_string()),
                partition: *partition,
                state,
                class,
                behind: behind.unwrap_or_default(),
                lag: status.lag.map_or_else(String::new, |lag| whole(lag, self.language)),
                doors: doors.iter().map(|count| whole(*count, self.language)).collect(),
            }
        };
        let mut reasons: BTreeMap<RejectReason, (i64, Vec<String>)> = BTreeMap::new();
        for ((input, partition), status) in &posted.sources {
            let name = plan.inputs.get(*input).map_or("", |input| &input.name);
            for (reason, count) in &status.rejected {
                let (total, examples) = reasons.entry(*reason).or_default();
                *total += count;
                let place = status.rejected_at.get(reason);
                examples.extend(place.map(|offset| format!("{name}/{partition} {} {offset}", words.offset)));
            }
        }
        let reason = |(reason, (total, examples)): (RejectReason, (i64, Vec<String>))| Reason {
            name: reason.name(),
            count: whole(total, self.language),
            examples,
        };
        let times = |set: &String| {
            let partitions = &self.picture.times[set];
            let final_until = partitions.values().map(|time| time.final_until).min().flatten();
            let said = |time: Option<i64>| {
                time.map_or_else(|| words.nothing.to_owned(), |time| format!("{} UTC", clock_seconds(time)))
            };
            SetTimes { set: set.clone(), complete: said(self.picture.watermark(set)), final_until: said(final_until) }
        };
        Quality {
            words,
            freshness: self.freshness(posted, None),
            sources: posted.sources.iter().map(source).collect(),
            reasons: reasons.into_iter().map(reason).collect(),
            times: self.picture.times.keys().map(times).collect(),
        }
    }
}
