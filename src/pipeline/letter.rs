//! Letters: late and rejected items on their way to their topics, as they came, with headers that say why.
//!
//! A letter must always be writable, or its record would block its partition for ever. A record is as large as its
//! topic allows, with a key and headers of any size. What does not fit is cut and marked with the full length: the key
//! and the headers to a quarter of the room each where they leave the others none, the value to what is left.

use super::link::Output;
use crate::record::{Header, Record};

/// What Kafka adds to a record and its batch, and to a header, at most, bytes.
const RECORD_OVERHEAD: usize = 256;
const HEADER_OVERHEAD: usize = 16;

/// The longest detail, bytes.
const DETAIL_BYTES_MAX: usize = 1_024;

/// Headers of an [`Output`].
type Headers = Vec<(String, Option<Vec<u8>>)>;

/// Why a record leaves here, and where it came from.
pub(super) struct Why<'a> {
    /// A reject reason, or `late`.
    pub reason: &'a str,
    pub detail: &'a str,
    pub topic: &'a str,
    pub partition: i32,
    /// Which of the record's items.
    pub index: usize,
}

/// The letter, and about how many bytes it has.
pub(super) fn letter(to: &str, record: &Record<'_>, why: &Why<'_>, bytes_max: usize) -> (Output, usize) {
    let mut own: Headers = Vec::new();
    let mut add = |name: &str, value: String| own.push((format!("touchstone_{name}"), Some(value.into_bytes())));
    add("reason", why.reason.to_string());
    add("detail", why.detail[..why.detail.floor_char_boundary(DETAIL_BYTES_MAX)].to_string());
    add("topic", why.topic.to_string());
    add("partition", why.partition.to_string());
    add("offset", record.offset.to_string());
    add("index", why.index.to_string());

    let key_bytes = record.key.map_or(0, <[u8]>::len);
    let headers_bytes: usize = record.headers.iter().map(bytes_of).sum();
    let value_bytes = record.value.map_or(0, <[u8]>::len);
    let own_bytes: usize = own.iter().map(|(name, value)| bytes_of(&(name, value.as_deref()))).sum();
    // The marks of what is cut need room too.
    let room = bytes_max.saturating_sub(own_bytes + RECORD_OVERHEAD + 3 * (HEADER_OVERHEAD + 64));
    let key_room = (room / 4).max(room.saturating_sub(headers_bytes + value_bytes));
    let key = record.key.map(|key| &key[..key.len().min(key_room)]);
    let kept_key = key.map_or(0, <[u8]>::len);
    let headers_room = (room / 4).max(room.saturating_sub(kept_key + value_bytes));
    let (mut headers, kept_headers) = cut(record.headers, headers_room);
    let value_room = room.saturating_sub(kept_key + kept_headers);
    let value = record.value.map(|value| &value[..value.len().min(value_room)]);
    let kept_value = value.map_or(0, <[u8]>::len);

    headers.append(&mut own);
    let mut mark = |what: &str, kept: usize, full: usize| {
        if kept < full {
            headers.push((format!("touchstone_truncated{what}"), Some(full.to_string().into_bytes())));
        }
    };
    mark("", kept_value, value_bytes);
    mark("_key", kept_key, key_bytes);
    mark("_headers", kept_headers, headers_bytes);
    let output = Output {
        topic: to.to_string(),
        partition: None,
        key: key.map(<[u8]>::to_vec),
        value: value.map(<[u8]>::to_vec),
        headers,
    };
    (output, own_bytes + kept_key + kept_headers + kept_value)
}

fn bytes_of((name, value): &Header<'_>) -> usize {
    name.len() + value.map_or(0, <[u8]>::len) + HEADER_OVERHEAD
}

/// The headers that fit, in their order, the last of them cut; and how many bytes that is.
fn cut(headers: &[Header<'_>], room: usize) -> (Headers, usize) {
    let mut kept = Vec::new();
    let mut left = room;
    for (name, value) in headers {
        let Some(value_room) = left.checked_sub(name.len() + HEADER_OVERHEAD) else { break };
        let value = value.map(|value| &value[..value.len().min(value_room)]);
        left -= bytes_of(&(name, value));
        kept.push(((*name).to_string(), value.map(<[u8]>::to_vec)));
    }
    (kept, room - left)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHY: Why<'static> = Why { reason: "not_json", detail: "no", topic: "calls", partition: 3, index: 0 };

    fn of(key: usize, headers: &[Header<'_>], value: usize, bytes_max: usize) -> Output {
        let (key, value) = (vec![b'k'; key], vec![b'v'; value]);
        let record = Record { offset: 7, timestamp: None, key: Some(&key), value: Some(&value), headers };
        let (output, _) = letter("dead", &record, &WHY, bytes_max);
        let size = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        let headers: usize = output.headers.iter().map(|(name, value)| name.len() + size(value) + 16).sum();
        assert!(size(&output.key) + size(&output.value) + headers + 200 <= bytes_max, "it fits");
        output
    }

    fn marks(output: &Output) -> Vec<(&str, usize)> {
        let marks = output.headers.iter().filter_map(|(name, value)| {
            let full = std::str::from_utf8(value.as_ref()?).ok()?.parse().ok()?;
            Some((name.strip_prefix("touchstone_truncated")?, full))
        });
        marks.collect()
    }

    fn sizes(output: &Output) -> (usize, usize, usize) {
        let size = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        let theirs = output.headers.iter().filter(|(name, _)| !name.starts_with("touchstone_"));
        (size(&output.key), theirs.map(|(_, value)| size(value)).sum(), size(&output.value))
    }

    #[test]
    fn what_fits_is_not_touched() {
        let output = of(100, &[("a", Some(&[b'h'; 3000])), ("b", None)], 5_000, 10_000);
        assert_eq!((sizes(&output), marks(&output)), ((100, 3000, 5_000), vec![]));
        assert_eq!(output.headers[1], ("b".to_string(), None));
    }

    #[test]
    fn each_part_is_cut_alone_and_marked() {
        let big = vec![b'h'; 50_000];
        let only_value = of(100, &[("a", Some(b"x"))], 50_000, 10_000);
        assert_eq!(marks(&only_value), [("", 50_000)]);
        let only_key = of(50_000, &[("a", Some(b"x"))], 10, 10_000);
        assert_eq!(marks(&only_key), [("_key", 50_000)]);
        assert!(sizes(&only_key).0 > 9_000, "the key has what the others leave");
        let only_headers = of(10, &[("a", Some(&big)), ("b", Some(b"x"))], 10, 10_000);
        // Each is its name, its value and 16 bytes: 1 + 50,000 + 16, and 1 + 1 + 16.
        assert_eq!(marks(&only_headers), [("_headers", 50_035)]);
        assert!(sizes(&only_headers).1 > 9_000, "the headers have what the others leave");
    }

    #[test]
    fn none_takes_all_from_the_others() {
        let big = vec![b'h'; 50_000];
        let output = of(50_000, &[("a", Some(&big))], 50_000, 10_000);
        assert_eq!(marks(&output), [("", 50_000), ("_key", 50_000), ("_headers", 50_017)]);
        let (key, headers, value) = sizes(&output);
        assert!(key > 2_000 && headers > 2_000 && value > 4_000, "{:?}", (key, headers, value));
        let many: Vec<Header<'_>> = (0..5_000).map(|_| ("name", Some(b"value".as_slice()))).collect();
        assert_eq!(marks(&of(0, &many, 50_000, 10_000)), [("", 50_000), ("_headers", 125_000)]);
        // However little room there is.
        of(50_000, &many, 50_000, 1_500);
    }

    #[test]
    fn a_detail_is_cut_between_letters() {
        let detail = "ä".repeat(2_000);
        let record = Record { offset: 7, timestamp: None, key: None, value: None, headers: &[] };
        let (output, _) = letter("dead", &record, &Why { detail: &detail, ..WHY }, 10_000);
        assert_eq!(output.headers[1].1.as_deref(), Some("ä".repeat(512).as_bytes()));
        assert_eq!((output.key, output.value), (None, None));
    }
}
