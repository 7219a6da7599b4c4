//! What the board knows: of each place the newest windows, and of a day the quarters of an hour.
//!
//! It is filled from published records alone. Most of them are passed over by their key, unread, and of windows that
//! overlap only the newest one is read, when somebody looks; what is kept is bounded by places and by time. A record that
//! cannot be read is passed over too: another version may publish more than this one knows, and a page must not end for
//! it.

use super::figures::FIGURES;
use crate::aggregate::WATERMARK_KEY;
use crate::record::Record;
use crate::touchpoint::parse_rfc3339;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The windows that are shown, and their lengths in ms where they are read by the quarter.
pub(super) const WINDOWS: [&str; 3] = ["15m", "1h", "1d"];

/// The group-bys that are shown.
const GROUP_BYS: [&str; 3] = ["all", "channel", "queue"];

/// The group-bys that have a page of their own, where the day is drawn.
const DRAWN_BYS: [&str; 2] = ["all", "queue"];

const QUARTER_MS: i64 = 15 * 60_000;
const DAY_MS: i64 = 24 * 3_600_000;

/// The most places that are kept; what lies beyond is counted, and the page says so.
pub const PLACES_MAX: usize = 2_000;

/// The most records that lie aside unread.
const ASIDE_MAX: usize = 10_000;

/// Over how long it is looked how fast time comes on.
const SPEED_OVER: Duration = Duration::from_secs(2);

/// From which speed on a backlog is taken in: minutes of events a minute.
const CATCHING_UP: f64 = 2.0;

/// A slice: its group-by and its values, in their order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The group-by's name.
    pub by: String,
    /// The values of its dimensions.
    pub values: Vec<String>,
}

impl Place {
    /// The slice that is everything.
    pub fn all() -> Place {
        Place { by: "all".into(), values: Vec::new() }
    }
}

/// A figure as it was published.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Figure {
    /// Its value.
    pub value: f64,
    /// How many observations it is made from.
    #[serde(default)]
    pub samples: i64,
    /// The ends of its 95 % interval, where it has one.
    pub lower: Option<f64>,
    /// The upper one.
    pub upper: Option<f64>,
}

/// A metric set of a place in one window.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Shown {
    pub end: i64,
    pub is_final: bool,
    pub samples: i64,
    pub counts: BTreeMap<String, i64>,
    /// By name, or by name and key: `channel_share_ratio voice`.
    pub figures: BTreeMap<String, Figure>,
}

/// What is known of a place.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// By metric set and window the newest.
    pub newest: BTreeMap<(String, String), Shown>,
    /// By the end of a quarter of an hour what is drawn of it, in the order of [`FIGURES`].
    pub day: BTreeMap<i64, [Option<Figure>; FIGURES.len()]>,
}

/// How far time has come in a metric set, as one partition says.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Time {
    pub watermark: Option<i64>,
    pub final_until: Option<i64>,
}

/// The picture.
#[derive(Debug, Default)]
pub struct Picture {
    pub(super) places: BTreeMap<Place, Known>,
    /// By metric set and partition.
    pub(super) times: BTreeMap<String, BTreeMap<i32, Time>>,
    /// Records of places beyond the bound.
    pub(super) left_out: u64,
    /// Why the topic cannot be read, while they cannot.
    pub(super) trouble: Option<String>,
    /// Whether what was published before it was begun has been read.
    pub(super) is_caught_up: bool,
    /// How far time had come when it was looked at last, and how fast it has come on since the look before: ms a ms.
    came: Option<(Instant, i64)>,
    speed: f64,
    /// Per series the newest record, while nobody has looked at it, with the start of its window.
    aside: BTreeMap<String, (i64, Vec<u8>)>,
    /// The newest end of a window that was seen.
    newest_end: i64,
}

#[derive(Deserialize)]
struct Published {
    metric_set: String,
    window: PublishedWindow,
    slice: PublishedSlice,
    state: String,
    samples: i64,
    counts: Map<String, Value>,
    figures: Map<String, Value>,
}

#[derive(Deserialize)]
struct PublishedWindow {
    name: String,
    end: String,
}

#[derive(Deserialize)]
struct PublishedSlice {
    by: String,
    values: Map<String, Value>,
}

#[derive(Deserialize)]
struct PublishedTimes {
    metric_sets: BTreeMap<String, PublishedTime>,
}

#[derive(Deserialize)]
struct PublishedTime {
    watermark: Option<String>,
    final_until: Option<String>,
}

impl Picture {
    /// What is newest of a metric set at a place.
    pub(super) fn newest(&self, place: &Place, set: &str, window: &str) -> Option<&Shown> {
        self.places.get(place)?.newest.get(&(set.to_owned(), window.to_owned()))
    }

    /// A figure of it.
    ///
    /// ```
    /// use touchstone::web::{Picture, Place};
    /// assert_eq!(Picture::default().figure(&Place::all(), "csat", "1h", "csat_ratio"), None);
    /// ```
    pub fn figure(&self, place: &Place, set: &str, window: &str, name: &str) -> Option<&Figure> {
        self.newest(place, set, window)?.figures.get(name)
    }

    /// How far time has come in a metric set: what all partitions have reached.
    pub(super) fn watermark(&self, set: &str) -> Option<i64> {
        self.times.get(set)?.values().map(|time| time.watermark).min().flatten()
    }

    /// Takes one record of `cx.aggregates`. What may soon be overtaken is laid aside until somebody looks.
    pub(super) fn take(&mut self, partition: i32, record: &Record<'_>) {
        let (Some(key), Some(value)) = (record.key, record.value) else { return };
        let Ok(key) = std::str::from_utf8(key) else { return };
        if key == WATERMARK_KEY {
            self.take_times(partition, value);
            return;
        }
        let Some(wanted) = Wanted::of(key) else { return };
        if wanted.is_quarter {
            self.read(value);
            return;
        }
        if self.aside.len() >= ASIDE_MAX {
            self.settle();
        }
        // Where windows overlap there are many, of which the newest one is shown; a later record of it says more.
        let (start, aside) = self.aside.entry(wanted.series).or_insert((wanted.start, Vec::new()));
        if wanted.start >= *start {
            *start = wanted.start;
            aside.clear();
            aside.extend_from_slice(value);
        }
    }

    /// Reads what was laid aside: before anything is looked at.
    pub(super) fn settle(&mut self) {
        for (_, value) in std::mem::take(&mut self.aside).into_values() {
            self.read(&value);
        }
    }

    /// Looks how fast time comes on: after a portion of records.
    pub(super) fn time_passes(&mut self) {
        // How fast the topic is read back says nothing of how fast time comes on.
        let Some(until) = self.complete_until().filter(|_| self.is_caught_up) else {
            (self.came, self.speed) = (None, 0.0);
            return;
        };
        let (looked, before) = *self.came.get_or_insert((Instant::now(), until));
        if looked.elapsed() >= SPEED_OVER {
            self.speed = (until - before) as f64 / looked.elapsed().as_secs_f64() / 1000.0;
            self.came = Some((Instant::now(), until));
        }
    }

    /// Whether time comes on faster than the clock: a backlog is taken in.
    pub(super) fn is_catching_up(&self) -> bool {
        self.speed > CATCHING_UP
    }

    /// How far time has come in the metric set that is furthest.
    pub(super) fn complete_until(&self) -> Option<i64> {
        self.times.keys().filter_map(|set| self.watermark(set)).max()
    }

    fn read(&mut self, value: &[u8]) {
        if let Ok(published) = serde_json::from_slice::<Published>(value) {
            self.keep(published);
        }
    }

    fn keep(&mut self, published: Published) {
        let Some(end) = parse_rfc3339(&published.window.end) else { return };
        let values = published.slice.values.values().filter_map(|value| value.as_str().map(str::to_owned)).collect();
        let place = Place { by: published.slice.by, values };
        if !self.places.contains_key(&place) && self.places.len() >= PLACES_MAX {
            self.left_out += 1;
            return;
        }
        let (window, set) = (published.window.name, published.metric_set);
        if window == "15m" {
            self.newest_end = self.newest_end.max(end);
        }
        let oldest = self.newest_end - DAY_MS;
        let figures = figures(&published.figures);
        let counts: BTreeMap<String, i64> =
            published.counts.iter().filter_map(|(name, value)| Some((name.clone(), value.as_i64()?))).collect();
        let known = self.places.entry(place).or_default();
        if window == "15m" && end % QUARTER_MS == 0 && end > oldest {
            let quarter = known.day.entry(end).or_default();
            for (said, drawn) in FIGURES.iter().zip(quarter).filter(|(said, _)| said.set == set) {
                *drawn = figures.get(said.figure).cloned();
            }
            while known.day.first_key_value().is_some_and(|(end, _)| *end <= oldest) {
                known.day.pop_first();
            }
        }
        let newest = known.newest.get(&(set.clone(), window.clone()));
        let is_final = published.state == "final";
        // A final window is the last word on it; of an older one nothing is news.
        if newest.is_none_or(|newest| end > newest.end || (end == newest.end && (is_final || !newest.is_final))) {
            let shown = Shown { end, is_final, samples: published.samples, counts, figures };
            known.newest.insert((set, window), shown);
        }
    }

    fn take_times(&mut self, partition: i32, value: &[u8]) {
        let Ok(times) = serde_json::from_slice::<PublishedTimes>(value) else { return };
        for (set, time) in times.metric_sets {
            let read = |text: Option<String>| text.and_then(|text| parse_rfc3339(&text));
            let time = Time { watermark: read(time.watermark), final_until: read(time.final_until) };
            self.times.entry(set).or_default().insert(partition, time);
        }
    }
}

/// What the key of a record that is worth reading says: `contacts|15m|1999-01-03T07:00:00Z|queue|voice|PS`.
struct Wanted {
    /// The key without the start.
    series: String,
    start: i64,
    /// Whether it is one of the quarters that make up the day.
    is_quarter: bool,
}

impl Wanted {
    fn of(key: &str) -> Option<Wanted> {
        let mut parts = key.splitn(5, '|');
        let (set, window, start, by) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        if !WINDOWS.contains(&window) || !GROUP_BYS.contains(&by) {
            return None;
        }
        let start = parse_rfc3339(start)?;
        let series = format!("{set}|{window}|{by}|{}", parts.next().unwrap_or_default());
        let is_drawn = DRAWN_BYS.contains(&by) && FIGURES.iter().any(|said| said.set == set);
        Some(Wanted { series, start, is_quarter: is_drawn && window == "15m" && start % QUARTER_MS == 0 })
    }
}

/// Figures by name, those of one name that differ by a key by both.
fn figures(published: &Map<String, Value>) -> BTreeMap<String, Figure> {
    let mut figures = BTreeMap::new();
    let read = |value: &Value| Figure::deserialize(value).ok();
    for (name, value) in published {
        if let Some(figure) = read(value) {
            figures.insert(name.clone(), figure);
            continue;
        }
        let keyed = value.as_object().into_iter().flatten();
        figures.extend(keyed.filter_map(|(key, value)| Some((format!("{name} {key}"), read(value)?))));
    }
    figures
}

#[cfg(test)]
mod tests {
    use super::*;

    fn give(picture: &mut Picture, key: &str, value: &str) {
        let (key, value) = (Some(key.as_bytes()), Some(value.as_bytes()));
        picture.take(0, &Record { offset: 0, timestamp: None, key, value, headers: &[] });
    }

    fn take(picture: &mut Picture, window: &str, start: &str, end: &str, state: &str, events: i64) {
        let key = format!("contacts|{window}|{start}|queue|voice|PS");
        let value = format!(
            r#"{{"metric_set":"contacts","window":{{"name":"{window}","end":"{end}"}},
            "slice":{{"by":"queue","values":{{"channel":"voice","queue":"PS"}}}},"state":"{state}","samples":{events},
            "counts":{{"offered":{events}}},"figures":{{"abandonment_ratio":{{"value":0.5,"samples":{events}}}}}}}"#
        );
        give(picture, &key, &value);
    }

    fn queue() -> Place {
        Place { by: "queue".into(), values: vec!["voice".into(), "PS".into()] }
    }

    #[test]
    fn of_windows_that_overlap_the_newest_is_shown_and_of_one_its_last_word() {
        let mut picture = Picture::default();
        take(&mut picture, "1h", "2026-11-02T08:10:00Z", "2026-11-02T09:10:00Z", "provisional", 7);
        take(&mut picture, "1h", "2026-11-02T08:10:00Z", "2026-11-02T09:10:00Z", "final", 8);
        take(&mut picture, "1h", "2026-11-02T08:05:00Z", "2026-11-02T09:05:00Z", "final", 9);
        assert_eq!(picture.newest(&queue(), "contacts", "1h"), None, "before it is settled");
        picture.settle();
        let shown = picture.newest(&queue(), "contacts", "1h").unwrap();
        assert_eq!((shown.samples, shown.is_final), (8, true));
        take(&mut picture, "1h", "2026-11-02T08:10:00Z", "2026-11-02T09:10:00Z", "provisional", 1);
        picture.settle();
        assert_eq!(picture.newest(&queue(), "contacts", "1h").unwrap().samples, 8, "nothing comes after the final");
    }

    #[test]
    fn what_nobody_looks_at_is_bounded_and_not_lost() {
        let mut picture = Picture::default();
        for queue in 0..ASIDE_MAX {
            give(&mut picture, &format!("contacts|1h|2026-11-02T08:10:00Z|queue|voice|{queue}"), "{}");
        }
        take(&mut picture, "1h", "2026-11-02T08:10:00Z", "2026-11-02T09:10:00Z", "final", 8);
        for queue in 0..ASIDE_MAX {
            give(&mut picture, &format!("nps|1h|2026-11-02T08:10:00Z|queue|voice|{queue}"), "{}");
            assert!(picture.aside.len() <= ASIDE_MAX);
        }
        assert_eq!(picture.newest(&queue(), "contacts", "1h").unwrap().samples, 8, "read when there was no more room");
    }

    #[test]
    fn the_day_is_made_of_its_quarters_alone() {
        let mut picture = Picture::default();
        for minute in 0..46 {
            let (start, end) = (format!("2026-11-02T08:{minute:02}:00Z"), format!("2026-11-02T09:{minute:02}:00Z"));
            let end =
                if minute < 45 { format!("2026-11-02T08:{:02}:00Z", minute + 15) } else { end.replace(":45", ":00") };
            take(&mut picture, "15m", &start, &end, "final", minute);
        }
        picture.settle();
        let day = &picture.places[&queue()].day;
        let samples: Vec<i64> = day.values().map(|drawn| drawn[0].as_ref().unwrap().samples).collect();
        assert_eq!(samples, [0, 15, 30, 45]);
        assert_eq!(picture.newest(&queue(), "contacts", "15m").unwrap().samples, 45);
    }

    #[test]
    fn time_that_comes_on_faster_than_the_clock_is_catching_up() {
        let mut picture = Picture { is_caught_up: true, ..Picture::default() };
        let watermark = |picture: &mut Picture, text: &str| {
            let value = format!(r#"{{"metric_sets":{{"contacts":{{"watermark":"{text}"}}}}}}"#);
            give(picture, WATERMARK_KEY, &value);
            picture.time_passes();
        };
        let later = |picture: &mut Picture| {
            let (looked, until) = picture.came.unwrap();
            picture.came = Some((looked.checked_sub(SPEED_OVER).unwrap(), until));
        };
        watermark(&mut picture, "2026-11-02T08:00:00Z");
        assert!(!picture.is_catching_up());
        later(&mut picture);
        watermark(&mut picture, "2026-11-02T08:10:00Z");
        assert!(picture.is_catching_up());
        later(&mut picture);
        watermark(&mut picture, "2026-11-02T08:10:02Z");
        assert!(!picture.is_catching_up());
        // Read back at any speed it is not.
        picture.is_caught_up = false;
        later(&mut picture);
        watermark(&mut picture, "2026-11-02T09:10:00Z");
        assert!(!picture.is_catching_up());
    }
}
