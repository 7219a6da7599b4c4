//! Touchpoints that look real, from a seed: for `generate`, `demo`, the simulator and the benchmarks.
//!
//! What happens in one minute is a function of the seed, the minute and how many events it has, and each event of
//! it a function of its index besides: any stretch of time can be made anywhere, in any order, without what came
//! before. The same seed gives the same bytes for ever, on every machine: integers only, and no random numbers but
//! our own. JSON is written straight into the caller's buffer; nothing is allocated per event.
//!
//! Unless it is clean, the stream has what real ones have: events out of order by up to [`DISORDER_MS`], some sent
//! twice, some far too late, some malformed.

mod business;
mod event;
mod incident;
mod random;
mod shape;
#[cfg(test)]
mod tests;

pub use incident::{Incident, IncidentKind, Incidents};
pub use shape::{minute_count, spread, weight};

use event::Draft;
use incident::Trouble;
use random::Random;

/// How far an event's time lies from its place in the stream, at most, ms. Two events can so be
/// out of order by twice as much, which is the `out_of_orderness` that inputs have by default.
pub const DISORDER_MS: i64 = 5_000;

/// A stream of touchpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Where all chance comes from. It is part of every event's `source`, so that two streams do not collide.
    pub seed: u64,
    /// No duplicates, no late and no malformed items.
    pub clean: bool,
    /// How far the business's own clock and calendar lie ahead of UTC.
    pub offset_minutes: i64,
    /// What goes wrong, and when.
    pub incidents: Incidents,
}

/// What is known of an event beside its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// When it is sent, ms since the epoch; never before the event that precedes it.
    pub at: i64,
    /// The customer's id: the record's key.
    pub key: [u8; 7],
}

/// One minute of a stream.
#[derive(Debug, Clone)]
pub struct Minute<'a> {
    workload: &'a Workload,
    minute: i64,
    count: u32,
    /// How busy it is, in thousandths.
    busy: u64,
    trouble: Trouble,
    /// The minute as it begins in RFC 3339: `2026-01-05T09:31:`.
    text: String,
}

/// What becomes of the event at an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Ordinary,
    /// An earlier event is sent again in its place.
    Duplicate,
    Late,
    Malformed,
}

impl Workload {
    /// The stream of a seed, with incidents laid by it.
    pub fn new(seed: u64) -> Workload {
        Workload { seed, clean: false, offset_minutes: 0, incidents: Incidents::BySeed }
    }

    /// One minute, counted from the epoch, that has `count` events.
    pub fn minute(&self, minute: i64, count: u32) -> Minute<'_> {
        let busy = shape::busy(minute + self.offset_minutes);
        let trouble = Trouble::of(&self.incidents, self.seed, minute);
        Minute { workload: self, minute, count, busy, trouble, text: minute_text(minute) }
    }
}

impl Minute<'_> {
    /// How many events it has.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// When the event at `index` is sent, ms since the epoch.
    pub fn sent_at(&self, index: u32) -> i64 {
        let within = (2 * u64::from(index) + 1) * 30_000 / u64::from(self.count.max(1));
        self.minute * 60_000 + within.cast_signed()
    }

    /// Writes the event at `index` behind what is in `out`: one CloudEvent in JSON, without a line's end.
    ///
    /// ```
    /// use touchstone::workload::Workload;
    /// let workload = Workload::new(1);
    /// let (minute, mut json) = (workload.minute(29_460_000, 200), Vec::new());
    /// let sent = minute.write(7, &mut json);
    /// assert!(json.starts_with(b"{\"specversion\":\"1.0\",\"id\":\""));
    /// assert_eq!(sent.at, minute.sent_at(7));
    /// ```
    pub fn write(&self, index: u32, out: &mut Vec<u8>) -> Sent {
        let at = self.sent_at(index);
        let (fate, mut random) = self.fate(index);
        let key = match fate {
            Fate::Ordinary => self.draft(index).write(out),
            Fate::Duplicate => self.draft(self.earlier(index, &mut random)).write(out),
            Fate::Late => {
                let minutes_ago = 15 + i64::from(random.below(165));
                Draft { minute_text: &minute_text(self.minute - minutes_ago), ..self.draft(index) }.write(out)
            }
            Fate::Malformed => {
                let begin = out.len();
                let key = self.draft(index).write(out);
                event::damage(&mut random, out, begin);
                key
            }
        };
        Sent { at, key }
    }

    /// What becomes of an event, and the chance that is left of it.
    fn fate(&self, index: u32) -> (Fate, Random) {
        let mut random = Random::at(self.workload.seed, self.minute, index);
        let fate = match random.below(20_000) {
            _ if self.workload.clean => Fate::Ordinary,
            0..20 => Fate::Duplicate,
            20..30 => Fate::Late,
            30..40 => Fate::Malformed,
            _ => Fate::Ordinary,
        };
        (fate, random)
    }

    /// The index of the event that is sent again at `index`; its own where none can be.
    fn earlier(&self, index: u32, random: &mut Random) -> u32 {
        let earlier = index.checked_sub(1 + random.below(20));
        earlier.filter(|earlier| self.fate(*earlier).0 == Fate::Ordinary).unwrap_or(index)
    }

    fn draft(&self, index: u32) -> Draft<'_> {
        let (_, mut random) = self.fate(index);
        let disorder = i64::from(random.below(2 * DISORDER_MS as u32 + 1)) - DISORDER_MS;
        let within = (self.sent_at(index) - self.minute * 60_000 + disorder).clamp(0, 59_999);
        Draft {
            seed: self.workload.seed,
            minute: self.minute,
            index,
            minute_text: &self.text,
            within_ms: within.cast_unsigned(),
            busy: self.busy,
            trouble: self.trouble,
            random,
        }
    }
}

fn minute_text(minute: i64) -> String {
    let instant = jiff::Timestamp::from_second(minute * 60).unwrap_or(jiff::Timestamp::MAX);
    let mut text = instant.to_string();
    text.truncate("2026-01-05T09:31:".len());
    text
}
