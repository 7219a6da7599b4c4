//! Numbers and times as they are written in four languages.

use super::words::Language;
use jiff::Timestamp;

/// A space that does not break.
const SPACE: char = '\u{a0}';

/// What a value is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// A share, 0 to 1.
    Share,
    /// The net promoter score, -1 to 1, written -100 to +100.
    Score,
    Seconds,
}

/// A value in its unit.
pub(super) fn value(value: f64, unit: Unit, language: Language) -> String {
    match unit {
        Unit::Share => {
            let space = if language == Language::English { String::new() } else { SPACE.to_string() };
            format!("{}{space}%", decimal(value * 100.0, 1, language))
        }
        Unit::Score => {
            let rounded = (value * 100.0).round();
            let sign = if rounded > 0.0 {
                "+"
            } else if rounded < 0.0 {
                "\u{2212}"
            } else {
                ""
            };
            format!("{sign}{}", decimal(rounded.abs(), 0, language))
        }
        Unit::Seconds => duration(value, language),
    }
}

/// Seconds, above two minutes in minutes, above two hours in hours.
pub(super) fn duration(seconds: f64, language: Language) -> String {
    let words = language.words();
    let (value, unit) = match seconds {
        _ if seconds < 120.0 => (seconds, words.seconds),
        _ if seconds < 7_200.0 => (seconds / 60.0, words.minutes),
        _ => (seconds / 3_600.0, words.hours),
    };
    format!("{}{SPACE}{unit}", decimal(value, usize::from(value < 100.0), language))
}

/// A number with so many decimals.
pub(super) fn decimal(value: f64, decimals: usize, language: Language) -> String {
    let written = format!("{:.decimals$}", value.abs());
    let (whole, rest) = written.split_once('.').unwrap_or((&written, ""));
    let mut text = String::new();
    let is_zero = written.bytes().all(|byte| matches!(byte, b'0' | b'.'));
    if value < 0.0 && !is_zero {
        text.push('\u{2212}');
    }
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place) % 3 == 0 {
            text.push(language.thousands());
        }
        text.push(digit);
    }
    if !rest.is_empty() {
        text.push(language.point());
        text.push_str(rest);
    }
    text
}

/// A whole number.
pub(super) fn whole(value: i64, language: Language) -> String {
    decimal(value as f64, 0, language)
}

/// The time of day of an instant, UTC, to the minute.
pub(super) fn clock(instant: i64) -> String {
    Timestamp::from_millisecond(instant).map_or_else(|_| String::new(), |time| time.strftime("%H:%M").to_string())
}

/// The same to the second.
pub(super) fn clock_seconds(instant: i64) -> String {
    Timestamp::from_millisecond(instant).map_or_else(|_| String::new(), |time| time.strftime("%H:%M:%S").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_each_language_does() {
        let of = |language| {
            [
                value(0.0643, Unit::Share, language),
                value(-0.05, Unit::Score, language),
                whole(1_234_567, language),
                duration(95.04, language),
            ]
        };
        assert_eq!(of(Language::English), ["6.4%", "\u{2212}5", "1,234,567", "95.0\u{a0}s"]);
        assert_eq!(of(Language::German), ["6,4\u{a0}%", "\u{2212}5", "1.234.567", "95,0\u{a0}s"]);
        assert_eq!(of(Language::Russian), ["6,4\u{a0}%", "\u{2212}5", "1\u{a0}234\u{a0}567", "95,0\u{a0}с"]);
        assert_eq!(of(Language::Ukrainian), ["6,4\u{a0}%", "\u{2212}5", "1\u{a0}234\u{a0}567", "95,0\u{a0}с"]);
        assert_eq!(value(-0.0004, Unit::Score, Language::English), "0");
    }

    #[test]
    fn durations_choose_their_unit() {
        let of = |seconds| duration(seconds, Language::English);
        assert_eq!(
            [of(7.0), of(120.0), of(7_200.0), of(500_000.0)],
            ["7.0\u{a0}s", "2.0\u{a0}min", "2.0\u{a0}h", "139\u{a0}h"]
        );
    }
}
