//! How far time has come: per source, and over all sources of a metric set.
//!
//! A watermark is a promise and never goes back (I-5). `None` means that nothing is known yet, and the
//! minimum over sources is `None` while one of them is.

use super::time::END_OF_TIME;

/// How one input's watermark is derived from its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// How far an event may lie behind a newer one without being behind the watermark, in ms.
    pub out_of_orderness_ms: i64,
    /// How long a source must have been silent before its watermark follows the clock, in ms.
    pub idle_timeout_ms: i64,
    /// How far behind the watermark an event is still taken, in ms.
    pub lateness_ms: i64,
    /// A bounded input (files): no watermark until its end, then the end of time. Nothing is late.
    pub bounded: bool,
}

impl Policy {
    /// The watermark after `newest` was accepted.
    pub fn after_event(&self, watermark: Option<i64>, newest: i64) -> Option<i64> {
        if self.bounded {
            return watermark;
        }
        watermark.max(Some(newest.saturating_sub(self.out_of_orderness_ms)))
    }

    /// The watermark after it was proved that at `drained_at` nothing was left to take.
    ///
    /// ```
    /// use touchstone::engine::watermark::Policy;
    /// let policy = Policy { out_of_orderness_ms: 10, idle_timeout_ms: 30, lateness_ms: 0, bounded: false };
    /// assert_eq!(policy.after_silence(Some(50), 100), Some(70));
    /// assert_eq!(policy.after_silence(Some(90), 100), Some(90), "it never goes back");
    /// ```
    pub fn after_silence(&self, watermark: Option<i64>, drained_at: i64) -> Option<i64> {
        if self.bounded || drained_at == END_OF_TIME {
            return Some(END_OF_TIME);
        }
        watermark.max(Some(drained_at.saturating_sub(self.idle_timeout_ms)))
    }

    /// The oldest event time that is not late.
    pub fn horizon(&self, watermark: Option<i64>) -> i64 {
        if self.bounded {
            return i64::MIN;
        }
        watermark.map_or(i64::MIN, |watermark| watermark.saturating_sub(self.lateness_ms))
    }

    /// Up to where windows are final for this source alone: everything that ends at or before it.
    pub fn final_until(&self, watermark: Option<i64>) -> Option<i64> {
        match watermark {
            Some(END_OF_TIME) => Some(END_OF_TIME),
            watermark => watermark.map(|watermark| watermark.saturating_sub(self.lateness_ms)),
        }
    }
}

/// The minimum over sources: `None` while one of them has none, or while there is no source at all.
///
/// ```
/// use touchstone::engine::watermark::minimum;
/// assert_eq!(minimum([Some(3), Some(2)]), Some(2));
/// assert_eq!(minimum([Some(3), None]), None);
/// assert_eq!(minimum([]), None);
/// ```
pub fn minimum(sources: impl IntoIterator<Item = Option<i64>>) -> Option<i64> {
    sources.into_iter().min().flatten()
}
