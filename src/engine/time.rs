//! Instants and lengths of time: signed milliseconds since the Unix epoch, and how they are written.
//!
//! An `i64` is enough: the engine adds and compares, nothing else. Only [`super::window`] knows zones.

/// Milliseconds in a second.
pub const SECOND: i64 = 1_000;
/// Milliseconds in a minute: the finest pane there is.
pub const MINUTE: i64 = 60 * SECOND;
/// Milliseconds in an hour.
pub const HOUR: i64 = 60 * MINUTE;
/// Milliseconds in a day of UTC.
pub const DAY: i64 = 24 * HOUR;

/// After every event: the watermark of a bounded input that has been read to its end.
pub const END_OF_TIME: i64 = i64::MAX;

/// The instant as RFC 3339 in UTC, with milliseconds only where there are some.
///
/// Instants outside of the years -9999..=9999 are written as the nearest one inside.
///
/// ```
/// use touchstone::engine::time::rfc3339;
/// assert_eq!(rfc3339(915_346_800_000), "1999-01-03T07:00:00Z");
/// assert_eq!(rfc3339(915_346_800_500), "1999-01-03T07:00:00.5Z");
/// ```
pub fn rfc3339(instant: i64) -> String {
    let least = jiff::Timestamp::MIN.as_millisecond();
    let greatest = jiff::Timestamp::MAX.as_millisecond();
    jiff::Timestamp::from_millisecond(instant.clamp(least, greatest))
        .expect("the instant was clamped to the range of Timestamp")
        .to_string()
}
