//! A length of time as it is written: `250ms`, `10s`, `5m`, `1h`, `28d`.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// A length of time in whole milliseconds, not negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(i64);

const UNITS: [(&str, i64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl Span {
    /// So many milliseconds.
    pub const fn milliseconds(milliseconds: i64) -> Span {
        Span(milliseconds)
    }

    /// So many seconds.
    pub const fn seconds(seconds: i64) -> Span {
        Span(seconds * 1_000)
    }

    /// So many minutes.
    pub const fn minutes(minutes: i64) -> Span {
        Span(minutes * 60_000)
    }

    /// The length in milliseconds.
    pub const fn ms(self) -> i64 {
        self.0
    }

    /// Reads a number and its unit.
    ///
    /// ```
    /// use touchstone::config::Span;
    /// assert_eq!(Span::parse("5m").map(Span::ms), Ok(300_000));
    /// assert!(Span::parse("5").is_err());
    /// ```
    ///
    /// # Errors
    /// What is expected instead.
    pub fn parse(text: &str) -> Result<Span, String> {
        let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
        let unit = UNITS.iter().find(|(unit, _)| *unit == &text[digits..]);
        let number = text[..digits].parse::<i64>().ok();
        let span = number.zip(unit).and_then(|(number, (_, unit))| number.checked_mul(*unit));
        span.map(Span).ok_or_else(|| {
            format!("{text:?} is not a length of time: write a whole number and a unit, like 250ms, 10s, 5m, 1h or 28d")
        })
    }
}

impl fmt::Display for Span {
    /// In the largest unit that leaves no rest.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |unit: i64| self.0 % unit == 0 && self.0 != 0;
        let (name, unit) = UNITS.iter().find(|(_, unit)| fits(*unit)).unwrap_or(&("s", 1_000));
        write!(f, "{}{name}", self.0 / unit)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
        let text = String::deserialize(deserializer)?;
        Span::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for text in ["0s", "1ms", "250ms", "10s", "90s", "5m", "1h", "36h", "28d"] {
            assert_eq!(Span::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "s", "1", "-1s", "1.5s", "1 s", "1w", "9999999999999999d"] {
            assert!(Span::parse(text).is_err(), "{text}");
        }
    }
}
