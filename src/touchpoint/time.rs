//! RFC 3339 to milliseconds since the Unix epoch.
//!
//! An own parser because it is on the path of every event and has to refuse exactly what is not a time.
//! Its decisions: `T` and `Z` in either case, nothing else between date and time; offsets up to 23:59;
//! fractions of any length are cut to whole milliseconds (an instant never moves into the next window);
//! second 60 only where UTC can have one (23:59), where it is the last millisecond of its day.

const DAY_MS: i64 = 86_400_000;
const MINUTE_MS: i64 = 60_000;

/// Milliseconds since the Unix epoch of an RFC 3339 date-time (RFC 3339, section 5.6); `None` if it is none.
///
/// ```
/// use touchstone::touchpoint::parse_rfc3339;
/// assert_eq!(parse_rfc3339("1970-01-01T01:00:00.5+01:00"), Some(500));
/// assert_eq!(parse_rfc3339("2023-02-29T00:00:00Z"), None);
/// ```
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let (date_time, rest) = bytes.split_first_chunk::<19>()?;
    let separators = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
    if separators.iter().any(|&(at, separator)| date_time[at] != separator) || date_time[10] | 0x20 != b't' {
        return None;
    }
    let year = two_digits(date_time, 0)? * 100 + two_digits(date_time, 2)?;
    let month = two_digits(date_time, 5)?;
    let day = two_digits(date_time, 8)?;
    let hour = two_digits(date_time, 11)?;
    let minute = two_digits(date_time, 14)?;
    let second = two_digits(date_time, 17)?;
    if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (fraction_ms, rest) = parse_fraction(rest)?;
    let offset_ms = parse_offset(rest)?;
    let minute_start = days_since_epoch(year, month, day) * DAY_MS + hour * 60 * MINUTE_MS + minute * MINUTE_MS;
    if second == 60 {
        let last_minute_of_utc_day = (minute_start - offset_ms).rem_euclid(DAY_MS) == DAY_MS - MINUTE_MS;
        return last_minute_of_utc_day.then_some(minute_start - offset_ms + MINUTE_MS - 1);
    }
    Some(minute_start - offset_ms + second * 1000 + fraction_ms)
}

fn two_digits(bytes: &[u8; 19], at: usize) -> Option<i64> {
    let (tens, ones) = (bytes[at].wrapping_sub(b'0'), bytes[at + 1].wrapping_sub(b'0'));
    (tens <= 9 && ones <= 9).then(|| i64::from(tens) * 10 + i64::from(ones))
}

/// The milliseconds of an optional `.digits`, and what follows it.
fn parse_fraction(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let Some(digits) = bytes.strip_prefix(b".") else { return Some((0, bytes)) };
    let length = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if length == 0 {
        return None;
    }
    let digit = |at: usize| if at < length { i64::from(digits[at] - b'0') } else { 0 };
    Some((digit(0) * 100 + digit(1) * 10 + digit(2), &digits[length..]))
}

fn parse_offset(bytes: &[u8]) -> Option<i64> {
    match bytes {
        [b'Z' | b'z'] => Some(0),
        &[sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            if ![h1, h2, m1, m2].iter().all(u8::is_ascii_digit) {
                return None;
            }
            let hours = i64::from(h1 - b'0') * 10 + i64::from(h2 - b'0');
            let minutes = i64::from(m1 - b'0') * 10 + i64::from(m2 - b'0');
            let offset = (hours * 60 + minutes) * MINUTE_MS;
            (hours <= 23 && minutes <= 59).then_some(if sign == b'-' { -offset } else { offset })
        }
        _ => None,
    }
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days from 1970-01-01 in the proleptic Gregorian calendar: years that begin in March, so that the leap
/// day comes last (Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`).
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn accepts_what_rfc_3339_allows() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1999-01-03T07:00:00Z", 915_346_800_000),
            ("1999-01-03t09:00:00.000+02:00", 915_346_800_000),
            ("1999-01-03T07:00:00-00:00", 915_346_800_000),
            ("1999-01-03T07:00:00.9999999999Z", 915_346_800_999),
            ("1999-01-03T07:00:00.04Z", 915_346_800_040),
            ("2000-02-29T23:59:59z", 951_868_799_000),
            ("0000-01-01T00:00:00Z", -62_167_219_200_000),
            ("9999-12-31T23:59:59.999Z", 253_402_300_799_999),
            ("1969-12-31T23:59:59.999Z", -1),
            // The leap second of 2016, also as seen from elsewhere.
            ("2016-12-31T23:59:60Z", 1_483_228_799_999),
            ("2017-01-01T00:59:60.5+01:00", 1_483_228_799_999),
        ] {
            assert_eq!(parse_rfc3339(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn refuses_what_it_does_not() {
        for text in [
            "",
            "1999-01-03",
            "1999-01-03T07:00:00",
            "1999-01-03T07:00Z",
            "1999-01-03 07:00:00Z",
            "1999-1-03T07:00:00Z",
            "1999-01-03T7:00:00Z",
            "1999-13-03T07:00:00Z",
            "1999-00-03T07:00:00Z",
            "1999-01-00T07:00:00Z",
            "1999-02-29T07:00:00Z",
            "1900-02-29T07:00:00Z",
            "1999-04-31T07:00:00Z",
            "1999-01-03T24:00:00Z",
            "1999-01-03T07:60:00Z",
            "1999-01-03T07:00:61Z",
            "1999-01-03T07:00:60Z",
            "1999-01-03T07:00:00.Z",
            "1999-01-03T07:00:00,5Z",
            "1999-01-03T07:00:00+0200",
            "1999-01-03T07:00:00+24:00",
            "1999-01-03T07:00:00+02:60",
            "1999-01-03T07:00:00+02:0",
            "1999-01-03T07:00:00ZZ",
            " 1999-01-03T07:00:00Z",
            "1999-01-03T07:00:00Z ",
            "+1999-01-03T07:00:00Z",
            "1999-01-03T07:00:00é",
            "１999-01-03T07:00:00Z",
        ] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_jiff_on_every_instant(ms in -62_167_219_200_000_i64..=253_402_207_200_999) {
            let instant = jiff::Timestamp::from_millisecond(ms).unwrap();
            prop_assert_eq!(parse_rfc3339(&format!("{instant:.3}")), Some(ms));
        }

        #[test]
        fn any_text_gives_a_value(text in ".{0,40}") {
            let _ = parse_rfc3339(&text);
        }
    }
}
