//! Why an item was rejected: a closed list, in the order in which the reasons are checked.

/// The reasons, in the order of the checks. The name is what counters, headers and reports show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum RejectReason {
    /// The record is larger than `record_bytes_max`.
    TooLarge,
    /// The value is not UTF-8.
    NotUtf8,
    /// Not JSON, or deeper than 64 open brackets, a repeated key, a number that does not fit, a CSV row that is none.
    NotJson,
    /// JSON, but not an object.
    NotObject,
    /// The mapping failed, or made too many or too large outputs.
    MappingFailed,
    /// `specversion` is not 1.0.
    UnsupportedSpecversion,
    /// A required field is absent.
    MissingField,
    /// A field has another JSON type than it should.
    WrongType,
    /// A string is longer than allowed.
    TooLong,
    /// The event type is none of ours.
    UnknownType,
    /// `time` is not RFC 3339.
    BadTime,
    /// `time` is at or before 1970-01-02: a default, not a time.
    SentinelTime,
    /// `time` lies further in the future than `max_future`.
    FutureTime,
    /// A value outside a closed vocabulary.
    UnknownValue,
    /// A dimension equal to `_none` or `_other`.
    ReservedValue,
    /// A number outside its range.
    OutOfRange,
    /// A score or its scale is not an integer.
    NotInteger,
    /// NPS or eNPS on another scale than 0..10.
    WrongScale,
    /// Fields that exclude each other.
    Contradiction,
}

impl RejectReason {
    /// Every reason, in the order of the checks.
    pub const ALL: [RejectReason; 19] = [
        RejectReason::TooLarge,
        RejectReason::NotUtf8,
        RejectReason::NotJson,
        RejectReason::NotObject,
        RejectReason::MappingFailed,
        RejectReason::UnsupportedSpecversion,
        RejectReason::MissingField,
        RejectReason::WrongType,
        RejectReason::TooLong,
        RejectReason::UnknownType,
        RejectReason::BadTime,
        RejectReason::SentinelTime,
        RejectReason::FutureTime,
        RejectReason::UnknownValue,
        RejectReason::ReservedValue,
        RejectReason::OutOfRange,
        RejectReason::NotInteger,
        RejectReason::WrongScale,
        RejectReason::Contradiction,
    ];

    /// The name under which the reason is counted and reported.
    ///
    /// ```
    /// use touchstone::touchpoint::RejectReason;
    /// assert_eq!(RejectReason::NotUtf8.name(), "not_utf8");
    /// ```
    pub const fn name(self) -> &'static str {
        match self {
            RejectReason::TooLarge => "too_large",
            RejectReason::NotUtf8 => "not_utf8",
            RejectReason::NotJson => "not_json",
            RejectReason::NotObject => "not_object",
            RejectReason::MappingFailed => "mapping_failed",
            RejectReason::UnsupportedSpecversion => "unsupported_specversion",
            RejectReason::MissingField => "missing_field",
            RejectReason::WrongType => "wrong_type",
            RejectReason::TooLong => "too_long",
            RejectReason::UnknownType => "unknown_type",
            RejectReason::BadTime => "bad_time",
            RejectReason::SentinelTime => "sentinel_time",
            RejectReason::FutureTime => "future_time",
            RejectReason::UnknownValue => "unknown_value",
            RejectReason::ReservedValue => "reserved_value",
            RejectReason::OutOfRange => "out_of_range",
            RejectReason::NotInteger => "not_integer",
            RejectReason::WrongScale => "wrong_scale",
            RejectReason::Contradiction => "contradiction",
        }
    }

    /// The reason of that name.
    pub fn parse(name: &str) -> Option<RejectReason> {
        RejectReason::ALL.into_iter().find(|reason| reason.name() == name)
    }
}

/// Why one item was rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The first reason that applies.
    pub reason: RejectReason,
    /// Field and value, for a person who mends the sender. At most 256 bytes of the value are quoted.
    pub detail: String,
}

impl Rejection {
    /// A rejection for `reason`, explained by `detail`.
    pub fn new(reason: RejectReason, detail: impl Into<String>) -> Rejection {
        Rejection { reason, detail: detail.into() }
    }
}

/// How much of a value a detail quotes, in bytes.
const QUOTED_BYTES_MAX: usize = 256;

/// A string as a detail shows it: quoted and escaped, so that control characters cannot break a header or a line; cut
/// at a character after 256 bytes, with the full length.
pub(super) fn quote(text: &str) -> String {
    if text.len() <= QUOTED_BYTES_MAX {
        return format!("{text:?}");
    }
    let cut = text.floor_char_boundary(QUOTED_BYTES_MAX);
    format!("{:?}... ({} bytes)", &text[..cut], text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_in_the_order_of_the_checks_and_read_back() {
        for (at, reason) in RejectReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at);
            assert_eq!(RejectReason::parse(reason.name()), Some(reason));
        }
    }

    #[test]
    fn a_long_value_is_cut_at_a_character() {
        assert_eq!(quote("a\nb"), r#""a\nb""#);
        let long = "ä".repeat(200);
        assert_eq!(quote(&long), format!("\"{}\"... (400 bytes)", "ä".repeat(128)));
        let shifted = format!("x{long}");
        assert_eq!(quote(&shifted), format!("\"x{}\"... (401 bytes)", "ä".repeat(127)));
    }
}
