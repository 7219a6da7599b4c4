//! Which functions of jq a mapping has: all but those that reach outside, and `to_utc`.
//!
//! They are left out of the tables, not forbidden by a check: what is not there cannot be called.

use crate::touchpoint::parse_rfc3339;
use jaq_core::data::JustLut;
use jaq_core::load::parse::Def;
use jaq_core::native::{Fun, bome, run, v};
use jaq_core::{Cv, Error, ValR, ValXs};
use jaq_json::Val;
use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use std::sync::LazyLock;

/// What jq and jaq offer and a mapping does not: the process, the clock, the environment, other inputs, output
/// beside the events, and times in the machine's own zone. Some of them jaq lacks anyway; they are named here so
/// that a message can say that they are missing on purpose.
const TAKEN_AWAY: [&str; 16] = [
    "$ENV",
    "debug",
    "debug_empty",
    "env",
    "get_search_list",
    "halt",
    "halt_error",
    "input",
    "input_filename",
    "input_line_number",
    "inputs",
    "localtime",
    "now",
    "stderr",
    "stderr_empty",
    "strflocaltime",
];

/// The bundled zones, the same on every machine. jiff's own default would ask the system first, since jaq turns
/// that on.
static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// Whether this is missing on purpose.
pub(super) fn is_taken_away(name: &str) -> bool {
    TAKEN_AWAY.contains(&name)
}

/// The functions that are written in jq.
pub(super) fn definitions() -> impl Iterator<Item = Def<&'static str>> {
    let all = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
    all.filter(|definition| !is_taken_away(definition.name))
}

/// The functions that are written in Rust.
pub(super) fn functions() -> impl Iterator<Item = Fun<JustLut<Val>>> {
    let all = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
    let to_utc = run(("to_utc", v(1), |arguments| to_utc(arguments)));
    all.filter(|(name, ..)| !is_taken_away(name)).chain([to_utc])
}

/// `"1999-01-03 09:00:00" | to_utc("Asia/Jerusalem")` is `"1999-01-03T07:00:00Z"`.
fn to_utc<'a>((mut context, civil): Cv<'a, JustLut<Val>>) -> ValXs<'a, Val> {
    let zone = context.pop_var();
    bome(convert_to_utc(&civil, &zone))
}

fn convert_to_utc(civil: &Val, zone: &Val) -> ValR<Val> {
    let civil = text("a local date-time", civil)?;
    let zone = text("the name of a time zone", zone)?;
    let instant = civil_to_utc(civil, zone).map_err(Error::str)?;
    Ok(Val::from(instant.to_string()))
}

fn text<'v>(what: &str, value: &'v Val) -> Result<&'v str, Error<Val>> {
    match value {
        Val::TStr(bytes) => std::str::from_utf8(bytes).map_err(Error::str),
        other => Err(Error::str(format_args!("to_utc: {other} is not {what}"))),
    }
}

/// The instant of a civil date-time in a zone of the bundled database. When clocks go back, an hour comes twice:
/// the earlier one is meant. When they go forward, an hour is missing: a time in it is taken as if they had not
/// (02:30 becomes 03:30), as RFC 5545 has it. Fractions are cut to milliseconds.
fn civil_to_utc(civil: &str, zone: &str) -> Result<Timestamp, String> {
    let date_time = civil.split_once(['T', ' ']);
    let read_as_utc = date_time.and_then(|(date, time)| parse_rfc3339(&format!("{date}T{time}Z")));
    let bad = || format!("to_utc: {civil:?} is not YYYY-MM-DDTHH:MM:SS, with or without a fraction, without an offset");
    let as_utc = Timestamp::from_millisecond(read_as_utc.ok_or_else(bad)?).map_err(|error| error.to_string())?;
    let zone = ZONES.get(zone).map_err(|_| format!("to_utc: no time zone {zone:?}"))?;
    let date_time = as_utc.to_zoned(TimeZone::UTC).datetime();
    zone.to_ambiguous_timestamp(date_time).compatible().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn civil_times_become_instants() {
        for (civil, zone, utc) in [
            ("1999-01-03T09:00:00", "Asia/Jerusalem", "1999-01-03T07:00:00Z"),
            ("1999-10-31 23:59:59.9999", "Asia/Jerusalem", "1999-10-31T21:59:59.999Z"),
            ("2017-12-31T23:59:58", "America/Los_Angeles", "2018-01-01T07:59:58Z"),
            ("2017-07-01T00:00:00.250", "America/Los_Angeles", "2017-07-01T07:00:00.25Z"),
            ("2017-07-01 12:00:00", "UTC", "2017-07-01T12:00:00Z"),
            // Clocks went back from 02:00 to 01:00 on 2017-11-05: the earlier 01:30 is meant.
            ("2017-11-05 01:30:00", "America/Los_Angeles", "2017-11-05T08:30:00Z"),
            // Clocks went forward from 02:00 to 03:00 on 2017-03-12: 02:30 is 03:30.
            ("2017-03-12 02:30:00", "America/Los_Angeles", "2017-03-12T10:30:00Z"),
        ] {
            let found = civil_to_utc(civil, zone).map(|instant| instant.to_string());
            assert_eq!(found.as_deref(), Ok(utc), "{civil} {zone}");
        }
    }

    #[test]
    fn what_is_no_civil_time_is_refused() {
        for civil in [
            "",
            "1999-01-03",
            "1999-01-03T09:00",
            "1999-01-03T9:00:00",
            "1999-02-29T09:00:00",
            "1999-01-03T09:00:00Z",
            "1999-01-03T09:00:00+02:00",
            "1999-01-03  09:00:00",
            "1999-01-03T09:00:00.",
        ] {
            assert!(civil_to_utc(civil, "UTC").is_err(), "{civil}");
        }
        for zone in ["", "Mars/Olympus", "localtime", "/etc/passwd"] {
            assert!(civil_to_utc("1999-01-03T09:00:00", zone).is_err(), "{zone}");
        }
    }
}
