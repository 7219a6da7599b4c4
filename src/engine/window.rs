//! Windows and the panes they are built from: geometry only, no data.
//!
//! ```text
//!   1m   | | | | | | | | | | | | | | | | | | | | |      a delta is added to one pane of every level;
//!   5m   |         |         |         |         |      a window takes the fewest panes that tile it
//!   1h   |                                       |
//!   day  |  local day of a zone, 17 to 31 hours long ...
//!   ever |  everything
//! ```
//!
//! An event's cost depends on the number of levels, never on the number of windows. All spans are
//! `[start, end)` in milliseconds since the epoch.

use super::time::{DAY, HOUR, MINUTE};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Timestamp, ToSpan, civil::Date};

/// The fixed pane sizes, finest first. Each divides the next.
const LADDER: [i64; 5] = [MINUTE, 5 * MINUTE, HOUR, 6 * HOUR, DAY];

/// What a window is called, how long it is, and which of its instances counts as the current one.
#[derive(Debug, Clone, PartialEq)]
pub struct WindowSpec {
    /// The name in keys and labels.
    pub name: String,
    /// Its shape.
    pub kind: WindowKind,
    /// Which instance is shown while time goes on.
    pub show: Show,
}

/// The shape of a window.
#[derive(Debug, Clone, PartialEq)]
pub enum WindowKind {
    /// `size` long, a new one every `slide`, aligned to the epoch; tumbling where both are equal.
    Span {
        /// Length in milliseconds, a multiple of `slide`.
        size: i64,
        /// Distance of two starts in milliseconds, a multiple of a minute.
        slide: i64,
    },
    /// The local calendar day of a zone.
    CalendarDay(Zone),
    /// Everything since the first event: never final, not published.
    Ever,
    /// Everything in a bounded input: from its oldest to its newest event; final at its end.
    Total,
}

/// Which instance of a window is the current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// The one with the greatest end at or before the watermark.
    Closed,
    /// The one that ends next: "so far".
    Open,
}

impl WindowSpec {
    /// A window of `size` by `slide` milliseconds, shown closed for slides up to 5 minutes, else open.
    pub fn span(name: impl Into<String>, size: i64, slide: i64) -> WindowSpec {
        let show = if slide <= 5 * MINUTE { Show::Closed } else { Show::Open };
        WindowSpec { name: name.into(), kind: WindowKind::Span { size, slide }, show }
    }

    /// The calendar days of `zone`.
    pub fn calendar_day(name: impl Into<String>, zone: Zone) -> WindowSpec {
        WindowSpec { name: name.into(), kind: WindowKind::CalendarDay(zone), show: Show::Open }
    }

    /// What is wrong with the window, if anything, as the end of a sentence that begins with its name.
    pub fn fault(&self) -> Option<String> {
        let WindowKind::Span { size, slide } = self.kind else { return None };
        if slide < MINUTE || slide % MINUTE != 0 {
            return Some("needs a slide of whole minutes".into());
        }
        if size < slide || size % slide != 0 {
            return Some("needs a size that is a multiple of its slide".into());
        }
        if size > 400 * DAY {
            return Some("is longer than 400 days".into());
        }
        None
    }
}

/// A time zone by its IANA name.
#[derive(Debug, Clone, PartialEq)]
pub struct Zone {
    name: String,
    zone: TimeZone,
}

impl Zone {
    /// The zone of that IANA name, from the bundled database.
    ///
    /// # Errors
    /// A message that names the zone, when the database does not hold it.
    pub fn new(name: &str) -> Result<Zone, String> {
        // The bundled database, so that a day is the same in every image.
        let zone = TimeZoneDatabase::bundled()
            .get(name)
            .map_err(|_| format!("unknown time zone {name:?}: use a name of the IANA database, like Europe/Kyiv"))?;
        Ok(Zone { name: name.to_string(), zone })
    }

    /// UTC, where every day has 24 hours.
    pub fn utc() -> Zone {
        Zone { name: "UTC".into(), zone: TimeZone::UTC }
    }

    /// The IANA name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether this is UTC, whose days are the epoch's own.
    pub fn is_utc(&self) -> bool {
        self.name == "UTC"
    }

    /// The local day that holds `instant`: the one with the greatest start at or before it.
    ///
    /// Days tile the line: the end of one is the start of the next. A date that the zone skipped has no
    /// day; a start off the minute (local mean time) is rounded down to it.
    pub fn day(&self, instant: i64) -> (i64, i64) {
        if self.is_utc() {
            let start = instant.div_euclid(DAY).saturating_mul(DAY);
            return (start, start.saturating_add(DAY));
        }
        // Starts of neighbouring dates are at most 31 hours apart, and the zone's own date of an instant can
        // disagree with "greatest start" only near a transition: five dates around it always suffice.
        let date = self.date(instant);
        let starts: Vec<i64> = (-2i64..=3).filter_map(|days| self.start(date, days)).collect();
        let start = starts.iter().copied().filter(|start| *start <= instant).max();
        let end = starts.iter().copied().filter(|start| *start > instant).min();
        match (start, end) {
            (Some(start), Some(end)) => (start, end),
            // At the very ends of the calendar: fall back to the UTC day, which exists.
            _ => Zone::utc().day(instant),
        }
    }

    fn date(&self, instant: i64) -> Date {
        let range = Timestamp::MIN.as_millisecond()..=Timestamp::MAX.as_millisecond();
        let instant = instant.clamp(*range.start(), *range.end());
        let timestamp = Timestamp::from_millisecond(instant).expect("clamped to the range of Timestamp");
        self.zone.to_datetime(timestamp).date()
    }

    fn start(&self, date: Date, days: i64) -> Option<i64> {
        let date = date.checked_add(days.days()).ok()?;
        let start = date.to_zoned(self.zone.clone()).ok()?.timestamp().as_millisecond();
        Some(start.div_euclid(MINUTE) * MINUTE)
    }
}

/// One level of panes.
#[derive(Debug, Clone, PartialEq)]
pub enum Level {
    /// Panes of a fixed size, aligned to the epoch.
    Fixed(i64),
    /// The local days of a zone.
    Day(Zone),
    /// One pane for everything; it never leaves.
    Ever,
}

impl Level {
    /// The pane of this level that holds `instant`, as `[start, end)`.
    pub fn pane(&self, instant: i64) -> (i64, i64) {
        match self {
            Level::Fixed(size) => {
                let start = instant.div_euclid(*size).saturating_mul(*size);
                (start, start.saturating_add(*size))
            }
            Level::Day(zone) => zone.day(instant),
            Level::Ever => (i64::MIN, i64::MAX),
        }
    }

    /// Whether a pane of `base` ms, aligned to the epoch, always lies in one pane of this level.
    pub fn holds(&self, base: i64) -> bool {
        match self {
            Level::Fixed(size) => size % base == 0,
            Level::Day(zone) => base <= MINUTE || (zone.is_utc() && DAY % base == 0),
            Level::Ever => true,
        }
    }

    /// The name in the changelog, independent of which other levels there are.
    pub fn name(&self) -> String {
        match self {
            Level::Fixed(size) => format!("{size}ms"),
            Level::Day(zone) => format!("day:{}", zone.name()),
            Level::Ever => "ever".into(),
        }
    }
}

/// The levels that a set of windows needs, and how each window is put together from them.
#[derive(Debug, Clone, PartialEq)]
pub struct Geometry {
    windows: Vec<WindowSpec>,
    levels: Vec<Level>,
    /// Per level: how long after its start a pane can still be part of a window that is not final.
    /// `None`: for ever.
    needed_for: Vec<Option<i64>>,
    /// Per window: the level whose panes say which instances hold data.
    anchor: Vec<usize>,
    /// Per window: every level that one of its instances takes panes of.
    takes: Vec<Vec<usize>>,
    base: i64,
}

impl Geometry {
    /// The geometry of these windows. They must have passed [`WindowSpec::fault`].
    pub fn new(windows: Vec<WindowSpec>) -> Geometry {
        let mut levels: Vec<Level> = Vec::new();
        for window in &windows {
            match &window.kind {
                WindowKind::Span { size, slide } => {
                    for step in LADDER.into_iter().filter(|step| slide % step == 0 || size > step) {
                        push(&mut levels, Level::Fixed(step));
                    }
                }
                WindowKind::CalendarDay(zone) => push(&mut levels, Level::Day(zone.clone())),
                WindowKind::Ever | WindowKind::Total => push(&mut levels, Level::Ever),
            }
        }
        levels.sort_by_key(|level| match level {
            Level::Fixed(size) => (0, *size, String::new()),
            Level::Day(zone) => (1, 0, zone.name.clone()),
            Level::Ever => (2, 0, String::new()),
        });
        let anchor = windows.iter().map(|window| anchor(window, &levels)).collect();
        let base = windows.iter().map(base_of).fold(0, gcd).max(MINUTE);
        let takes = vec![Vec::new(); windows.len()];
        let mut geometry = Geometry { windows, needed_for: vec![Some(0); levels.len()], levels, anchor, takes, base };
        geometry.work_out_need();
        geometry.drop_unused_levels();
        geometry
    }

    /// The windows, in the order of the configuration.
    pub fn windows(&self) -> &[WindowSpec] {
        &self.windows
    }

    /// The levels of panes, finest first.
    pub fn levels(&self) -> &[Level] {
        &self.levels
    }

    /// The size of the panes that deltas are counted in, in milliseconds: every pane and every window
    /// boundary lies on a multiple of it.
    pub fn base(&self) -> i64 {
        self.base
    }

    /// Whether a pane of `level` that starts at `start` is of no more use once everything that ends at or
    /// before `final_until` is final.
    pub fn expired(&self, level: usize, start: i64, final_until: i64) -> bool {
        self.needed_for[level].is_some_and(|needed| start.saturating_add(needed) <= final_until)
    }

    /// The time before which panes of `level` are of no more use once everything that ends at or before
    /// `final_until` is final: the first pane that is kept starts there or later.
    pub fn kept_from(&self, level: usize, final_until: i64) -> i64 {
        let Some(needed) = self.needed_for[level] else { return i64::MIN };
        let last_gone = final_until.saturating_sub(needed);
        let (start, end) = self.levels[level].pane(last_gone);
        if start == last_gone { end.max(start.saturating_add(1)) } else { end }
    }

    /// Every level that an instance of the window takes panes of.
    pub fn takes(&self, window: usize) -> &[usize] {
        &self.takes[window]
    }

    /// The level whose panes say which instances of a window hold data.
    pub fn anchor(&self, window: usize) -> usize {
        self.anchor[window]
    }

    /// The end of the instance of a window that starts at `start`.
    pub fn end(&self, window: usize, start: i64) -> i64 {
        match &self.windows[window].kind {
            WindowKind::Span { size, .. } => start.saturating_add(*size),
            WindowKind::CalendarDay(zone) => zone.day(start).1,
            WindowKind::Ever | WindowKind::Total => i64::MAX,
        }
    }

    /// Starts of the instances of a window that hold the anchor pane `[pane, ..)` and end in `(after, until]`.
    pub fn starts(&self, window: usize, pane: i64, after: i64, until: i64) -> Vec<i64> {
        match &self.windows[window].kind {
            WindowKind::Span { size, slide } => {
                // It holds the pane when start <= pane < start + size; a pane may lie anywhere in a slide.
                let least = after.max(pane).saturating_add(1).saturating_sub(*size);
                let greatest = until.saturating_sub(*size).min(pane);
                let mut start = least.div_euclid(*slide) * slide;
                if start < least {
                    start += slide;
                }
                let mut starts = Vec::new();
                while start <= greatest {
                    starts.push(start);
                    start += slide;
                }
                starts
            }
            WindowKind::CalendarDay(zone) => {
                let (start, end) = zone.day(pane);
                if after < end && end <= until { vec![start] } else { Vec::new() }
            }
            WindowKind::Ever | WindowKind::Total => Vec::new(),
        }
    }

    /// The instance of a window that is shown at `watermark`, as `[start, end)`.
    pub fn current(&self, window: usize, watermark: i64) -> (i64, i64) {
        let spec = &self.windows[window];
        match &spec.kind {
            WindowKind::Span { size, slide } => {
                let closed = watermark.div_euclid(*slide).saturating_mul(*slide);
                let end = if spec.show == Show::Closed { closed } else { closed.saturating_add(*slide) };
                (end.saturating_sub(*size), end)
            }
            WindowKind::CalendarDay(zone) => {
                let open = zone.day(watermark);
                if spec.show == Show::Open { open } else { zone.day(open.0 - 1) }
            }
            WindowKind::Ever | WindowKind::Total => (i64::MIN, i64::MAX),
        }
    }

    /// The panes that tile the instance `[start, ..)` of a window: the fewest there are, as (level, start).
    pub fn panes(&self, window: usize, start: i64) -> impl Iterator<Item = (usize, i64)> {
        let (single, tiled) = match &self.windows[window].kind {
            WindowKind::Span { size, .. } => (None, (start, start.saturating_add(*size))),
            WindowKind::CalendarDay(zone) => (Some((self.anchor[window], zone.day(start).0)), (0, 0)),
            WindowKind::Ever | WindowKind::Total => (Some((self.anchor[window], i64::MIN)), (0, 0)),
        };
        single.into_iter().chain(self.tile(tiled.0, tiled.1))
    }

    fn tile(&self, start: i64, end: i64) -> impl Iterator<Item = (usize, i64)> {
        let mut at = start;
        std::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let fits = |level: &Level| matches!(level, Level::Fixed(size) if at.rem_euclid(*size) == 0 && at.saturating_add(*size) <= end);
            let level = self.levels.iter().rposition(fits);
            let level = level.expect("the finest level divides every boundary of a window");
            let pane = (level, at);
            at = self.levels[level].pane(at).1;
            Some(pane)
        })
    }

    /// A pane is needed until the last window that takes it is final. Windows repeat with the least common
    /// multiple of their slide and a day, so one such period shows every way of tiling.
    fn work_out_need(&mut self) {
        let mut needed: Vec<Option<i64>> = vec![Some(0); self.levels.len()];
        for (index, window) in self.windows.iter().enumerate() {
            let anchor = self.anchor[index];
            let mut takes = std::collections::BTreeSet::from([anchor]);
            match &window.kind {
                WindowKind::Span { size, slide } => {
                    raise(&mut needed[anchor], *size);
                    let period = slide / gcd(*slide, DAY) * DAY;
                    for start in (0..period).step_by(*slide as usize) {
                        for (level, pane) in self.tile(start, start + size) {
                            takes.insert(level);
                            raise(&mut needed[level], start + size - pane);
                        }
                    }
                }
                WindowKind::CalendarDay(_) => raise(&mut needed[anchor], 32 * HOUR),
                WindowKind::Ever | WindowKind::Total => needed[anchor] = None,
            }
            self.takes[index] = takes.into_iter().collect();
        }
        self.needed_for = needed;
    }

    fn drop_unused_levels(&mut self) {
        let used: Vec<usize> = (0..self.levels.len()).filter(|level| self.needed_for[*level] != Some(0)).collect();
        let moved = |old: &usize| used.iter().position(|level| level == old).expect("an anchor is used");
        self.anchor = self.anchor.iter().map(moved).collect();
        self.takes = self.takes.iter().map(|takes| takes.iter().map(moved).collect()).collect();
        self.levels = used.iter().map(|level| self.levels[*level].clone()).collect();
        self.needed_for = used.iter().map(|level| self.needed_for[*level]).collect();
    }
}

fn push(levels: &mut Vec<Level>, level: Level) {
    if !levels.contains(&level) {
        levels.push(level);
    }
}

fn raise(needed: &mut Option<i64>, to: i64) {
    if let Some(needed) = needed {
        *needed = (*needed).max(to);
    }
}

/// The coarsest level that lies on every boundary of the window.
fn anchor(window: &WindowSpec, levels: &[Level]) -> usize {
    let wanted = |level: &Level| match (&window.kind, level) {
        (WindowKind::Span { slide, .. }, Level::Fixed(size)) => slide % size == 0,
        (WindowKind::CalendarDay(zone), Level::Day(of)) => zone == of,
        (WindowKind::Ever | WindowKind::Total, Level::Ever) => true,
        _ => false,
    };
    levels.iter().rposition(wanted).expect("every window brought a level it lies on")
}

fn base_of(window: &WindowSpec) -> i64 {
    match &window.kind {
        WindowKind::Span { size, slide } => LADDER.into_iter().rfind(|step| gcd(*size, *slide) % step == 0),
        WindowKind::CalendarDay(zone) if zone.is_utc() => Some(DAY),
        WindowKind::CalendarDay(_) => Some(MINUTE),
        WindowKind::Ever | WindowKind::Total => Some(DAY),
    }
    .expect("every window lies on whole minutes")
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaults() -> Geometry {
        Geometry::new(vec![
            WindowSpec::span("1m", MINUTE, MINUTE),
            WindowSpec::span("15m", 15 * MINUTE, MINUTE),
            WindowSpec::span("1h", HOUR, 5 * MINUTE),
            WindowSpec::span("1d", DAY, HOUR),
            WindowSpec::span("7d", 7 * DAY, 6 * HOUR),
            WindowSpec::span("28d", 28 * DAY, DAY),
            WindowSpec::calendar_day("calendar_day", Zone::utc()),
        ])
    }

    #[test]
    fn panes_tile_every_window_exactly() {
        let geometry = defaults();
        for window in 0..geometry.windows().len() {
            for step in 0..3_000 {
                let start = match &geometry.windows()[window].kind {
                    WindowKind::Span { slide, .. } => step * slide,
                    _ => step * DAY,
                };
                let mut at = start;
                for (level, pane) in geometry.panes(window, start) {
                    assert_eq!(pane, at);
                    at = geometry.levels()[level].pane(pane).1;
                }
                assert_eq!(at, geometry.end(window, start));
            }
        }
    }

    #[test]
    fn a_pane_is_kept_as_long_as_a_window_takes_it() {
        let geometry = defaults();
        for (window, spec) in geometry.windows().iter().enumerate() {
            let WindowKind::Span { slide, .. } = spec.kind else { continue };
            for step in 0..2_000 {
                let start = step * slide;
                let end = geometry.end(window, start);
                for (level, pane) in geometry.panes(window, start) {
                    assert!(!geometry.expired(level, pane, end - 1), "{} {level} {pane}", spec.name);
                }
            }
        }
    }

    #[test]
    fn the_ladder_is_small() {
        let geometry = defaults();
        let panes: i64 = geometry
            .levels()
            .iter()
            .zip(&geometry.needed_for)
            .filter_map(|(level, needed)| match level {
                Level::Fixed(size) => needed.map(|needed| needed / size),
                _ => None,
            })
            .sum();
        assert!(panes <= 129, "{panes} panes a slice");
    }

    #[test]
    fn starts_are_the_windows_that_hold_the_pane() {
        let geometry = defaults();
        let hour = 2;
        let starts = geometry.starts(hour, 3 * HOUR, i64::MIN, i64::MAX);
        assert_eq!(starts.len(), 12);
        assert!(starts.iter().all(|start| *start <= 3 * HOUR && geometry.end(hour, *start) > 3 * HOUR));
        assert_eq!(geometry.starts(hour, 3 * HOUR, 4 * HOUR - 1, 4 * HOUR), vec![3 * HOUR]);
        assert!(geometry.starts(hour, 3 * HOUR, 4 * HOUR, 4 * HOUR).is_empty());
    }

    #[test]
    fn starts_are_found_from_panes_in_the_middle_of_a_slide() {
        // Panes of 5 minutes in windows of 30 by 10 and of 7 days by 7: a pane need not lie on a slide.
        let geometry = Geometry::new(vec![WindowSpec::span("30m", 30 * MINUTE, 10 * MINUTE)]);
        let minutes = |starts: Vec<i64>| starts.into_iter().map(|start| start / MINUTE).collect::<Vec<_>>();
        assert_eq!(minutes(geometry.starts(0, 5 * MINUTE, i64::MIN, i64::MAX)), [-20, -10, 0]);
        let geometry = Geometry::new(vec![WindowSpec::span("7d", 7 * DAY, 7 * DAY)]);
        assert_eq!(geometry.starts(0, 3 * DAY, i64::MIN, i64::MAX), [0]);
    }

    #[test]
    fn the_current_window_is_closed_or_so_far() {
        let geometry = defaults();
        assert_eq!(geometry.current(0, 90_000), (0, 60_000));
        assert_eq!(geometry.current(0, 60_000), (0, 60_000));
        assert_eq!(geometry.current(3, 90_000), (HOUR - DAY, HOUR));
        assert_eq!(geometry.current(6, 90_000), (0, DAY));
    }

    #[test]
    fn the_base_is_as_coarse_as_the_windows_allow() {
        assert_eq!(defaults().base(), MINUTE);
        let replay = vec![
            WindowSpec { name: "total".into(), kind: WindowKind::Total, show: Show::Open },
            WindowSpec::calendar_day("calendar_day", Zone::utc()),
        ];
        assert_eq!(Geometry::new(replay).base(), DAY);
        let hours = Geometry::new(vec![WindowSpec::span("1h", HOUR, 5 * MINUTE)]);
        assert_eq!(hours.base(), 5 * MINUTE);
    }

    #[test]
    fn calendar_days_tile_the_line_in_every_zone() {
        let names: Vec<String> = TimeZoneDatabase::bundled().available().map(|name| name.to_string()).collect();
        assert!(names.len() > 500, "the zone database is bundled");
        for name in names {
            let zone = Zone::new(&name).unwrap();
            // 1970 to 2040: every rule that a zone has ever had repeats after that.
            let mut at = 0i64;
            while at < 70 * 366 * DAY {
                let (start, end) = zone.day(at);
                assert!(start <= at && at < end, "{name} {at}");
                assert!((17 * HOUR..=49 * HOUR).contains(&(end - start)), "{name} {start} {end}");
                assert_eq!(zone.day(end - 1), (start, end), "{name}: the last millisecond is of the same day");
                assert_eq!(zone.day(end).0, end, "{name}: the next day begins where this one ends");
                at = end + 30 * HOUR * i64::from(at % (40 * DAY) > 3 * DAY);
                at = zone.day(at).0;
            }
        }
    }

    #[test]
    fn daylight_saving_days_are_23_and_25_hours_long() {
        let zone = Zone::new("America/Los_Angeles").unwrap();
        let length = |instant: i64| {
            let (start, end) = zone.day(instant);
            (end - start) / HOUR
        };
        assert_eq!(length(1_520_755_200_000), 23); // 2018-03-11
        assert_eq!(length(1_541_318_400_000), 25); // 2018-11-04
    }
}
