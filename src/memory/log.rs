//! One partition in memory: records as bytes in segments, and which of them a reader may see.
//!
//! Every offset has an entry, control records too, so that offsets, gaps and the last stable offset behave as in
//! Kafka. Records lie one after the other in a segment's buffer: appending is a copy, reading a batch is a copy, and
//! nothing is allocated per record.
//!
//! ```text
//! segment   base = 40   entries: [40 visible][41 pending][42 control][43 aborted] ...   at -> byte in `bytes`
//! bytes     | key len, key | value len, value | headers | next record ...
//! ```

use std::collections::{BTreeMap, VecDeque};

use crate::pipeline::link::PartitionId;
use crate::record::{Header, Record};

/// A segment is closed before it would hold more than this, or else with its first record; retention and deletion free
/// whole segments.
const SEGMENT_BYTES: usize = 1024 * 1024;

/// How many freed segments a log keeps for what comes next: memory that is handed back is cleared when it is asked for again.
const SPARE_SEGMENTS: usize = 8;

/// What stands at an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Visible,
    /// Written by a transaction that is still open.
    Pending,
    Aborted,
    /// The end of a transaction.
    Control,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    timestamp: i64,
    at: u32,
    state: State,
}

#[derive(Debug)]
struct Segment {
    base: i64,
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

impl Segment {
    fn record_bytes(&self, index: usize) -> &[u8] {
        let start = self.entries[index].at as usize;
        let end = self.entries.get(index + 1).map_or(self.bytes.len(), |next| next.at as usize);
        &self.bytes[start..end]
    }
}

/// One partition's log.
#[derive(Debug, Default)]
pub(super) struct Log {
    start: i64,
    end: i64,
    segments: VecDeque<Segment>,
    spare: Vec<Segment>,
    /// First offset of each open transaction, by producer.
    open: BTreeMap<u64, i64>,
}

impl Log {
    /// The first offset that still exists.
    pub fn start(&self) -> i64 {
        self.start
    }

    /// The offset after the last record: the high watermark.
    pub fn end(&self) -> i64 {
        self.end
    }

    /// Below this no transaction is open: read-committed readers stop here.
    pub fn last_stable(&self) -> i64 {
        self.open.values().min().copied().unwrap_or(self.end)
    }

    /// Appends a record, as part of the open transaction of `producer` where one is given. Returns its offset.
    pub fn append(&mut self, timestamp: i64, producer: Option<u64>, record: &Record<'_>) -> i64 {
        let state = if producer.is_some() { State::Pending } else { State::Visible };
        let offset = self.push(timestamp, state, encoded_bytes(record));
        encode(&mut self.segments.back_mut().expect("push left a segment").bytes, record);
        if let Some(producer) = producer {
            self.open.entry(producer).or_insert(offset);
        }
        offset
    }

    /// Ends the producer's transaction, which wrote `offsets`; its control record takes an offset of its own.
    pub fn end_transaction(&mut self, timestamp: i64, producer: u64, offsets: &[i64], committed: bool) {
        let state = if committed { State::Visible } else { State::Aborted };
        for &offset in offsets {
            if let Some((segment, index)) = self.find(offset) {
                self.segments[segment].entries[index].state = state;
            }
        }
        self.open.remove(&producer);
        self.push(timestamp, State::Control, 0);
    }

    fn push(&mut self, timestamp: i64, state: State, bytes: usize) -> i64 {
        let is_full = |segment: &Segment| !segment.bytes.is_empty() && segment.bytes.len() + bytes > SEGMENT_BYTES;
        if self.segments.back().is_none_or(is_full) {
            // A log that has filled one segment will fill the next; a small one stays small.
            let expected = if self.segments.is_empty() { 0 } else { SEGMENT_BYTES };
            let new = || Segment { base: 0, bytes: Vec::with_capacity(expected), entries: Vec::new() };
            let segment = self.spare.pop().unwrap_or_else(new);
            self.segments.push_back(Segment { base: self.end, ..segment });
        }
        let segment = self.segments.back_mut().expect("pushed above where there was none");
        let at = u32::try_from(segment.bytes.len()).expect("a segment is closed at a megabyte");
        segment.entries.push(Entry { timestamp, at, state });
        self.end += 1;
        self.end - 1
    }

    fn find(&self, offset: i64) -> Option<(usize, usize)> {
        let segment = self.segments.partition_point(|segment| segment.base <= offset).checked_sub(1)?;
        let index = usize::try_from(offset - self.segments[segment].base).ok()?;
        (index < self.segments[segment].entries.len()).then_some((segment, index))
    }

    /// Copies visible records of `[from, until)` into the batch until it is full; returns the next offset to read.
    pub fn read(&self, id: PartitionId, from: i64, until: i64, batch: &mut Batch) -> i64 {
        let mut offset = from;
        let Some((first, mut index)) = self.find(from) else { return until.max(from) };
        for segment in self.segments.iter().skip(first) {
            while index < segment.entries.len() {
                if offset >= until || batch.is_full() {
                    return offset;
                }
                let entry = segment.entries[index];
                if entry.state == State::Visible {
                    batch.push(id, offset, entry.timestamp, segment.record_bytes(index));
                }
                index += 1;
                offset += 1;
            }
            index = 0;
        }
        offset
    }

    /// Whether a reader at `from` would still be given something.
    pub fn has_visible(&self, from: i64) -> bool {
        (from.max(self.start)..self.end)
            .any(|offset| self.find(offset).is_some_and(|(s, i)| self.segments[s].entries[i].state == State::Visible))
    }

    /// Timestamp of the first visible record.
    pub fn first_timestamp(&self) -> Option<i64> {
        self.entries().find(|(_, entry)| entry.state == State::Visible).map(|(_, entry)| entry.timestamp)
    }

    /// The first offset whose record is of `timestamp` or later; the last stable offset where there is none.
    pub fn offset_for_time(&self, timestamp: i64) -> i64 {
        self.entries().find(|(_, entry)| entry.timestamp >= timestamp).map_or(self.last_stable(), |(offset, _)| offset)
    }

    /// The offset before which everything is older than `timestamp`: what retention may delete.
    pub fn expired_until(&self, timestamp: i64) -> i64 {
        let last = self.last_stable();
        self.entries().find(|(_, entry)| entry.timestamp >= timestamp).map_or(last, |(offset, _)| offset.min(last))
    }

    fn entries(&self) -> impl Iterator<Item = (i64, Entry)> + '_ {
        let all = self.segments.iter().flat_map(|segment| (segment.base..).zip(segment.entries.iter().copied()));
        all.skip_while(|(offset, _)| *offset < self.start)
    }

    /// Moves the log's start up to `offset` and frees whole segments before it.
    pub fn delete_before(&mut self, offset: i64) {
        self.start = self.start.max(offset.min(self.end));
        let is_over = |log: &Log| log.segments.get(1).map_or(log.end, |next| next.base) <= log.start;
        while is_over(self)
            && let Some(mut segment) = self.segments.pop_front()
        {
            if segment.bytes.capacity() >= SEGMENT_BYTES && self.spare.len() < SPARE_SEGMENTS {
                segment.bytes.clear();
                segment.entries.clear();
                self.spare.push(segment);
            }
        }
    }
}

/// Records copied out of logs, so that they are handed over while nothing is locked.
#[derive(Debug, Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    entries: Vec<BatchEntry>,
    max: usize,
}

#[derive(Debug, Clone, Copy)]
struct BatchEntry {
    id: PartitionId,
    offset: i64,
    timestamp: i64,
    start: usize,
}

impl Batch {
    /// Empties the batch and sets how many records it may take.
    pub fn reset(&mut self, max: usize) {
        self.bytes.clear();
        self.entries.clear();
        self.max = max;
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    fn is_full(&self) -> bool {
        self.entries.len() >= self.max || self.bytes.len() >= SEGMENT_BYTES
    }

    fn push(&mut self, id: PartitionId, offset: i64, timestamp: i64, record: &[u8]) {
        self.entries.push(BatchEntry { id, offset, timestamp, start: self.bytes.len() });
        self.bytes.extend_from_slice(record);
    }

    /// Hands every record over, in order.
    pub fn deliver(&self, take: &mut dyn FnMut(PartitionId, Record<'_>)) {
        let mut headers: Vec<Header<'_>> = Vec::new();
        for entry in &self.entries {
            headers.clear();
            let (key, value) = decode(&self.bytes[entry.start..], &mut headers);
            let timestamp = Some(entry.timestamp);
            take(entry.id, Record { offset: entry.offset, timestamp, key, value, headers: &headers });
        }
    }
}

const NULL: u32 = u32::MAX;

/// How many bytes [`encode`] writes.
fn encoded_bytes(record: &Record<'_>) -> usize {
    let part = |part: Option<&[u8]>| size_of::<u32>() + part.map_or(0, <[u8]>::len);
    let headers = record.headers.iter().map(|(name, value)| part(Some(name.as_bytes())) + part(*value));
    part(record.key) + part(record.value) + size_of::<u32>() + headers.sum::<usize>()
}

fn encode(bytes: &mut Vec<u8>, record: &Record<'_>) {
    put(bytes, record.key);
    put(bytes, record.value);
    let count = u32::try_from(record.headers.len()).expect("the record's size was checked");
    bytes.extend_from_slice(&count.to_le_bytes());
    for (name, value) in record.headers {
        put(bytes, Some(name.as_bytes()));
        put(bytes, *value);
    }
}

fn put(bytes: &mut Vec<u8>, part: Option<&[u8]>) {
    let length = part.map_or(NULL, |part| u32::try_from(part.len()).expect("the record's size was checked"));
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(part.unwrap_or_default());
}

fn decode<'a>(bytes: &'a [u8], headers: &mut Vec<Header<'a>>) -> (Option<&'a [u8]>, Option<&'a [u8]>) {
    let mut rest = bytes;
    let key = get(&mut rest);
    let value = get(&mut rest);
    for _ in 0..number(&mut rest) {
        let name = get(&mut rest).expect("a header has a name");
        headers.push((str::from_utf8(name).expect("written from a string"), get(&mut rest)));
    }
    (key, value)
}

fn number(rest: &mut &[u8]) -> u32 {
    let (number, after) = rest.split_first_chunk().expect("written by `encode`");
    *rest = after;
    u32::from_le_bytes(*number)
}

fn get<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = number(rest);
    if length == NULL {
        return None;
    }
    let (part, after) = rest.split_at(length as usize);
    *rest = after;
    Some(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: PartitionId = PartitionId { topic: 0, partition: 0 };

    fn record(value: &[u8]) -> Record<'_> {
        Record { offset: 0, timestamp: None, key: None, value: Some(value), headers: &[] }
    }

    fn visible(log: &Log, from: i64) -> Vec<i64> {
        let mut batch = Batch::default();
        batch.reset(1000);
        log.read(ID, from, log.last_stable(), &mut batch);
        let mut offsets = Vec::new();
        batch.deliver(&mut |_, record| offsets.push(record.offset));
        offsets
    }

    #[test]
    fn an_open_transaction_hides_what_follows_it_until_it_ends() {
        let mut log = Log::default();
        log.append(1, None, &record(b"a"));
        log.append(2, Some(7), &record(b"b"));
        log.append(3, None, &record(b"c"));
        assert_eq!(visible(&log, 0), [0]);
        log.end_transaction(4, 7, &[1], false);
        assert_eq!((visible(&log, 0), log.end()), (vec![0, 2], 4));
        assert!(!log.has_visible(3));
    }

    #[test]
    fn records_survive_segments_and_deletion_from_the_front() {
        let mut log = Log::default();
        let large = vec![1; SEGMENT_BYTES / 2];
        for _ in 0..9 {
            log.append(1, None, &record(&large));
        }
        log.delete_before(5);
        assert_eq!(log.start(), 5);
        assert_eq!(visible(&log, 5).first(), Some(&5));
        assert!(log.segments.len() < 5);
    }

    #[test]
    fn a_segment_that_is_used_again_holds_nothing_of_before() {
        let mut log = Log::default();
        let half = vec![1; SEGMENT_BYTES / 2];
        (0..9).for_each(|_| _ = log.append(1, None, &record(&half)));
        log.delete_before(9);
        assert!(!log.spare.is_empty() && log.spare.len() <= SPARE_SEGMENTS);
        let spare = log.spare.len();
        assert_eq!(log.append(2, None, &record(b"new")), 9);
        assert_eq!((log.spare.len(), visible(&log, 9), log.segments[0].bytes.len()), (spare - 1, vec![9], 15));
        assert_eq!(log.offset_for_time(0), 9);
    }

    #[test]
    fn what_is_written_is_read_back_to_the_byte() {
        let mut log = Log::default();
        let headers = [("h", Some(&b"1"[..])), ("null", None), ("h", Some(&b""[..]))];
        let written = Record { offset: 0, timestamp: Some(9), key: Some(b""), value: None, headers: &headers };
        log.append(9, None, &written);
        let mut batch = Batch::default();
        batch.reset(1);
        log.read(ID, 0, 1, &mut batch);
        batch.deliver(&mut |_, read| {
            assert_eq!((read.key, read.value, read.headers), (written.key, written.value, written.headers));
            assert_eq!((read.offset, read.timestamp), (0, Some(9)));
        });
    }
}
