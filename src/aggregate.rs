//! The published record: its key, its JSON, and the `_watermark` record. One writer for `cx.aggregates` and
//! for `replay`, so that the same window has the same bytes everywhere (I-9).
//!
//! The value is a function of accepted events and definitions alone. Numbers are never rounded: the shortest
//! decimals that read back the same, always with a point. The schema is in schema/.

use crate::engine::accumulator::OTHER;
use crate::engine::cell::Cell;
use crate::engine::plan::{Figure, Plan, SetPlan, Stamp};
use crate::engine::publish::Shown;
use crate::engine::slice::{GroupBy, Values};
use crate::engine::stage::SetTime;
use crate::engine::time::{END_OF_TIME, rfc3339};
use crate::engine::window::WindowKind;
use std::fmt::Write;

/// The schema that every record names.
pub const SCHEMA: &str = "cx.aggregate.v1";

/// The schema of the `_watermark` record.
pub const WATERMARK_SCHEMA: &str = "cx.watermark.v1";

/// The key of the record that says how far time is closed.
pub const WATERMARK_KEY: &str = "_watermark";

/// The key of a record: `contacts|1h|1999-01-03T07:00:00Z|queue|voice|PS`. Values are percent-encoded
/// outside of the unreserved characters of RFC 3986, so that `|` separates and nothing else does.
pub fn key(plan: &Plan, shown: &Shown) -> String {
    let set = &plan.sets[shown.set];
    let window = &plan.geometry.windows()[shown.window];
    let mut key =
        format!("{}|{}|{}|{}", set.set.name(), window.name, rfc3339(shown.start), set.group_bys[shown.by].name);
    for value in shown.values.iter() {
        key.push('|');
        percent_encode(value, &mut key);
    }
    key
}

/// A value as it stands in a key, and in an address.
pub(crate) fn percent_encoded(value: &str) -> String {
    let mut encoded = String::new();
    percent_encode(value, &mut encoded);
    encoded
}

fn percent_encode(value: &str, into: &mut String) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            into.push(char::from(byte));
        } else {
            let _ = write!(into, "%{byte:02X}");
        }
    }
}

/// The value of a record, as one line of JSON.
pub fn value(plan: &Plan, shown: &Shown) -> String {
    let set = &plan.sets[shown.set];
    let group_by = &set.group_bys[shown.by];
    let window = &plan.geometry.windows()[shown.window];
    let mut json = Json::new();
    json.open('{');
    json.name("schema").string(SCHEMA);
    json.name("metric_set").string(set.set.name());
    json.name("window").open('{');
    json.name("name").string(&window.name);
    json.name("start").string(&rfc3339(shown.start));
    json.name("end").string(&rfc3339(shown.end));
    if let WindowKind::CalendarDay(zone) = &window.kind
        && !zone.is_utc()
    {
        json.name("zone").string(zone.name());
    }
    json.close('}');
    json.name("slice").open('{');
    json.name("by").string(&group_by.name);
    json.name("values").open('{');
    for (dimension, value) in group_by.dimensions.iter().zip(shown.values.iter()) {
        json.name(dimension.name()).string(value);
    }
    json.close('}').close('}');
    json.name("state").string(if shown.is_final { "final" } else { "provisional" });
    json.name("samples").integer(set.set.samples(&shown.cell));
    counts(&mut json, set, &shown.cell);
    figures(&mut json, &set.set.figures(&shown.cell, group_by));
    definitions(&mut json, set, shown.by, group_by, &shown.values);
    json.close('}');
    json.text
}

fn counts(json: &mut Json, set: &SetPlan, cell: &Cell) {
    let shape = set.set.shape();
    json.name("counts").open('{');
    for (count, value) in shape.counts.iter().zip(&cell.counts) {
        if count.published {
            json.name(count.name).integer(*value);
        }
    }
    for (name, tally) in shape.tallies.iter().zip(&cell.tallies) {
        json.name(name).open('{');
        tally.iter().for_each(|(name, count)| _ = json.key(name).integer(count));
        json.close('}');
    }
    for (name, distribution) in shape.distributions.iter().zip(&cell.distributions) {
        json.name(name).open('{');
        for scale in distribution.scales() {
            if !set.set.one_scale() {
                json.key(&scale.to_string()).open('{');
            }
            for (_, score, count) in distribution.iter().filter(|(on, _, _)| *on == scale) {
                json.key(itoa::Buffer::new().format(score)).integer(count);
            }
            if !set.set.one_scale() {
                json.close('}');
            }
        }
        match distribution.other() {
            0 => {}
            other if set.set.one_scale() => _ = json.name(OTHER).integer(other),
            other => _ = json.name(OTHER).open('{').name(OTHER).integer(other).close('}'),
        }
        json.close('}');
    }
    json.close('}');
}

fn figures(json: &mut Json, figures: &[Figure]) {
    json.name("figures").open('{');
    let mut open: Option<&str> = None;
    for figure in figures {
        // Figures of one name come one after the other; keyed ones share an object.
        if open.is_some_and(|name| name != figure.name) {
            json.close('}');
            open = None;
        }
        match &figure.key {
            Some((_, key)) => {
                if open.is_none() {
                    json.name(figure.name).open('{');
                    open = Some(figure.name);
                }
                json.key(key);
            }
            None => _ = json.name(figure.name),
        }
        figure_value(json, figure);
    }
    if open.is_some() {
        json.close('}');
    }
    json.close('}');
}

fn figure_value(json: &mut Json, figure: &Figure) {
    json.open('{').name("value").number(figure.value);
    if let Some(numerator) = figure.numerator {
        json.name("numerator").integer(numerator);
    }
    if let Some(denominator) = figure.denominator {
        json.name("denominator").integer(denominator);
    }
    json.name("samples").integer(figure.samples);
    if let Some((lower, upper)) = figure.interval {
        json.name("lower").number(lower).name("upper").number(upper);
    }
    if let Some(sufficiency) = figure.sufficiency {
        json.name("sufficiency").string(sufficiency.name());
    }
    json.close('}');
}

fn definitions(json: &mut Json, set: &SetPlan, by: usize, group_by: &GroupBy, values: &Values) {
    json.name("definitions").open('{');
    json.name("id").string(&format!("{:08x}", set.definitions[by]));
    set.set.stamps(group_by, values).iter().for_each(|(name, value)| stamp(json.name(name), value));
    json.close('}');
}

fn stamp(json: &mut Json, value: &Stamp) {
    match value {
        Stamp::Number(number) => _ = json.number(*number),
        Stamp::Integer(integer) => _ = json.integer(*integer),
        Stamp::Flag(flag) => _ = json.word(if *flag { "true" } else { "false" }),
        Stamp::Object(members) => {
            json.open('{');
            members.iter().for_each(|(name, value)| stamp(json.name(name), value));
            json.close('}');
        }
    }
}

/// The value of the `_watermark` record of a partition: per metric set how far time has come, at which
/// deltas offset, and which offset the record before it named (a gap shows a lost one).
pub fn watermark_value(partition: i32, offset: i64, previous: Option<i64>, sets: &[(&str, SetTime)]) -> String {
    let mut json = Json::new();
    json.open('{').name("schema").string(WATERMARK_SCHEMA);
    json.name("partition").integer(i64::from(partition));
    json.name("deltas_offset").integer(offset);
    if let Some(previous) = previous {
        json.name("previous_deltas_offset").integer(previous);
    }
    json.name("metric_sets").open('{');
    for (name, time) in sets {
        json.key(name).open('{');
        if let Some(watermark) = time.watermark.filter(|watermark| *watermark != END_OF_TIME) {
            json.name("watermark").string(&rfc3339(watermark));
        }
        if let Some(until) = time.final_until.filter(|until| *until != END_OF_TIME) {
            json.name("final_until").string(&rfc3339(until));
        }
        json.close('}');
    }
    json.close('}').close('}');
    json.text
}

/// The shortest decimals that read back the same, always with a point and never with an exponent.
///
/// ```
/// use touchstone::aggregate::decimal;
/// assert_eq!(decimal(41.0), "41.0");
/// assert_eq!(decimal(0.0000001), "0.0000001");
/// assert_eq!(decimal(-0.0), "0.0");
/// ```
pub fn decimal(number: f64) -> String {
    let mut text = String::new();
    push_decimal(number, &mut text);
    text
}

/// By the standard library's digits: faster libraries choose others where two are equally short and equally near.
fn push_decimal(number: f64, into: &mut String) {
    if let Some(thousandths) = thousandths(number) {
        return push_thousandths(thousandths, into);
    }
    let begin = into.len();
    let _ = write!(into, "{number}");
    if !into[begin..].contains('.') {
        into.push_str(".0");
    }
}

/// The number in thousandths, where it is the one nearest to so many of them: seconds that were counted in milliseconds,
/// all, none. Of up to 15 digits no two decimals have the same nearest number, so these are its shortest ones.
fn thousandths(number: f64) -> Option<i64> {
    const DIGITS_15: f64 = 1e15;
    let thousandths = (number * 1000.0).round();
    (thousandths.abs() < DIGITS_15 && thousandths / 1000.0 == number).then_some(thousandths as i64)
}

fn push_thousandths(thousandths: i64, into: &mut String) {
    let (whole, part) = (thousandths.unsigned_abs() / 1000, thousandths.unsigned_abs() % 1000);
    if thousandths < 0 {
        into.push('-');
    }
    into.push_str(itoa::Buffer::new().format(whole));
    into.push('.');
    // As digits behind a one, so that zeros in front stay; those at the end go, but for the first.
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(1000 + part);
    let end = if part == 0 { 2 } else { digits.trim_end_matches('0').len() };
    into.push_str(&digits[1..end]);
}

/// A writer of compact JSON that puts the commas.
struct Json {
    text: String,
    /// Whether the next member or element needs a comma before it.
    comma: bool,
}

impl Json {
    fn new() -> Json {
        Json { text: String::with_capacity(4096), comma: false }
    }

    fn separate(&mut self) {
        if self.comma {
            self.text.push(',');
        }
        self.comma = false;
    }

    fn open(&mut self, bracket: char) -> &mut Json {
        self.separate();
        self.text.push(bracket);
        self
    }

    fn close(&mut self, bracket: char) -> &mut Json {
        self.text.push(bracket);
        self.comma = true;
        self
    }

    /// A name of ours, which stands for itself.
    fn name(&mut self, name: &'static str) -> &mut Json {
        debug_assert!(stands_for_itself(name), "{name:?} must be quoted");
        self.separate();
        self.text.push('"');
        self.text.push_str(name);
        self.text.push_str("\":");
        self
    }

    /// A name that came from outside.
    fn key(&mut self, name: &str) -> &mut Json {
        self.separate();
        self.quote(name);
        self.text.push(':');
        self
    }

    fn string(&mut self, value: &str) -> &mut Json {
        self.separate();
        self.quote(value);
        self.comma = true;
        self
    }

    fn integer(&mut self, value: i64) -> &mut Json {
        self.word(itoa::Buffer::new().format(value))
    }

    fn number(&mut self, value: f64) -> &mut Json {
        self.separate();
        push_decimal(value, &mut self.text);
        self.comma = true;
        self
    }

    fn word(&mut self, word: &str) -> &mut Json {
        self.separate();
        self.text.push_str(word);
        self.comma = true;
        self
    }

    fn quote(&mut self, value: &str) {
        if stands_for_itself(value) {
            self.text.push('"');
            self.text.push_str(value);
            self.text.push('"');
            return;
        }
        let quoted = serde_json::to_string(value).expect("a string is always JSON");
        self.text.push_str(&quoted);
    }
}

/// Whether a text needs no escapes, as nearly all do.
fn stands_for_itself(text: &str) -> bool {
    !text.bytes().any(|byte| byte < 0x20 || byte == b'"' || byte == b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn of_two_decimals_that_are_equally_near_it_is_the_one_it_always_was() {
        // Exactly between ...420.2 and ...420.3.
        assert_eq!(decimal(-1_066_912_518_011_420.0 - 0.25), "-1066912518011420.3");
    }

    proptest! {
        #[test]
        fn decimals_are_those_of_the_standard_library(
            number in any::<f64>(),
            small in -1e9f64..1e9,
            whole in any::<i32>(),
            thousandths in -2_000_000_000_000_000i64..2_000_000_000_000_000,
        ) {
            let thousandths = thousandths as f64 / 1000.0;
            let next = [thousandths.next_up(), thousandths.next_down()];
            let whole = f64::from(whole);
            for number in [number, small, whole, small / 1e12, whole / 1000.0, thousandths].into_iter().chain(next) {
                let plain = if number == 0.0 { 0.0f64 } else { number }.to_string();
                let expected = if plain.contains('.') { plain } else { format!("{plain}.0") };
                prop_assert_eq!(decimal(number), expected);
            }
        }

        #[test]
        fn texts_are_those_of_serde_json(text in any::<String>()) {
            let mut json = Json::new();
            json.string(&text);
            prop_assert_eq!(json.text, serde_json::to_string(&text).expect("a string is always JSON"));
        }
    }
}
