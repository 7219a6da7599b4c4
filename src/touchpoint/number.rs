//! A JSON number, and decimal seconds as whole milliseconds.
//!
//! A number is what RFC 8259 calls interoperable: an integer of 64 bits, else a double. Seconds are rounded
//! half up by their decimal digits, not by the double's binary fraction: the digits are those of the shortest
//! decimal that reads back as the same double, so `1.0005` is 1001 ms though the double lies below it.

use std::fmt;

/// One JSON number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Number {
    /// Written as an integer that fits.
    Integer(i64),
    /// Any other.
    Double(f64),
}

impl Number {
    /// The number as a double; integers past 2^53 lose digits, which no range below depends on.
    pub(super) fn as_f64(self) -> f64 {
        match self {
            Number::Integer(integer) => integer as f64,
            Number::Double(double) => double,
        }
    }

    /// The number as an integer; `4.0` is one, `4.5` is none.
    pub(super) fn as_integer(self) -> Option<i64> {
        match self {
            Number::Integer(integer) => Some(integer),
            // Doubles past 2^53 are all whole, but no longer say which integer was meant.
            Number::Double(double) if double.fract() == 0.0 && double.abs() <= 9_007_199_254_740_992.0 => {
                Some(double as i64)
            }
            Number::Double(_) => None,
        }
    }

    /// Decimal seconds as whole milliseconds, rounded half up; `None` unless `0 <= seconds <= seconds_max`.
    pub(super) fn as_milliseconds(self, seconds_max: i64) -> Option<i64> {
        match self {
            Number::Integer(seconds) => (0..=seconds_max).contains(&seconds).then(|| seconds * 1000),
            Number::Double(seconds) if seconds >= 0.0 && seconds <= seconds_max as f64 => Some(round_half_up(seconds)),
            Number::Double(_) => None,
        }
    }
}

impl From<u64> for Number {
    fn from(number: u64) -> Number {
        i64::try_from(number).map_or(Number::Double(number as f64), Number::Integer)
    }
}

impl From<f64> for Number {
    /// Zero has no sign here: parsers do not agree on what `-0` is.
    fn from(number: f64) -> Number {
        if number == 0.0 { Number::Integer(0) } else { Number::Double(number) }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Number::Integer(integer) => integer.fmt(f),
            // Debug writes an exponent where Display would write 300 digits.
            Number::Double(double) => fmt::Debug::fmt(double, f),
        }
    }
}

/// The multiplication is exact to about 1e-7 ms for up to a week, so only what lies nearer to a tie than
/// that needs its digits.
fn round_half_up(seconds: f64) -> i64 {
    const TIE_ZONE_MS: f64 = 1e-6;
    let ms = seconds * 1000.0;
    let below = ms.floor();
    let beyond = ms - below;
    if (beyond - 0.5).abs() > TIE_ZONE_MS { below as i64 + i64::from(beyond > 0.5) } else { round_digits(seconds) }
}

/// Half up by the digits: whole seconds, three more digits, and the fourth decides.
fn round_digits(seconds: f64) -> i64 {
    let digits = seconds.to_string();
    let (whole, fraction) = digits.split_once('.').unwrap_or((&digits, ""));
    let digit = |at: usize| fraction.as_bytes().get(at).map_or(0, |digit| i64::from(digit - b'0'));
    let whole = whole.bytes().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
    whole * 1000 + digit(0) * 100 + digit(1) * 10 + digit(2) + i64::from(digit(3) >= 5)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WEEK: i64 = 604_800;

    #[test]
    fn seconds_are_rounded_half_up_by_their_decimal_digits() {
        for (text, expected) in [
            ("0.0", 0),
            ("0.0004", 0),
            ("0.0005", 1),
            ("0.00049999", 0),
            ("1.0005", 1001), // the double is 1.000499999999999989...
            ("1.0015", 1002),
            ("1.00149", 1001),
            ("2.0005", 2001),
            ("8.5005", 8501),
            ("20.4999", 20_500),
            ("20.49949", 20_499),
            ("20.0004999", 20_000),
            ("1e3", 1_000_000),
            ("1.5e-3", 2),
            ("604799.9995", 604_800_000),
            ("5e-324", 0),
        ] {
            let double: f64 = text.parse().unwrap();
            assert_eq!(Number::Double(double).as_milliseconds(WEEK), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_has_no_milliseconds() {
        for double in [-0.001, 604_800.1, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300] {
            assert_eq!(Number::Double(double).as_milliseconds(WEEK), None, "{double}");
        }
        assert_eq!(Number::Integer(-1).as_milliseconds(WEEK), None);
        assert_eq!(Number::Integer(i64::MAX).as_milliseconds(WEEK), None);
        assert_eq!(Number::Integer(WEEK).as_milliseconds(WEEK), Some(604_800_000));
        assert_eq!(Number::Double(-0.0).as_milliseconds(WEEK), Some(0));
    }

    proptest! {
        #[test]
        fn every_decimal_of_up_to_six_digits_is_exact(whole in 0_i64..604_800, micros in 0_i64..1_000_000) {
            let text = format!("{whole}.{micros:06}");
            let expected = whole * 1000 + (micros + 500) / 1000;
            let number = Number::Double(text.parse().unwrap());
            prop_assert_eq!(number.as_milliseconds(WEEK), Some(expected), "{}", text);
        }

        #[test]
        fn every_tie_goes_up(whole in 0_i64..604_800, ms in 0_i64..1000) {
            let number = Number::Double(format!("{whole}.{ms:03}5").parse().unwrap());
            prop_assert_eq!(number.as_milliseconds(WEEK), Some(whole * 1000 + ms + 1));
        }
    }
}
