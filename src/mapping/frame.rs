//! What a mapper process and its owner say to each other: protobuf messages behind their length, over two pipes.
//!
//! ```text
//! owner  -> mapper   Start              Batch                                Batch ...
//! mapper -> owner          Answer(last)       Answer Answer .. Answer(last)
//! ```
//!
//! A batch may be answered in part: the answers that come before the last one belong to its first records.

use super::Provenance;
use crate::record::{Header, Record};
use prost::Message;
use std::io::{self, Read, Write};

/// The form of these messages. Both ends are one binary, unless it was replaced while it ran.
pub(super) const FORM: u32 = 1;

/// How many bytes the length takes.
const LENGTH_BYTES: usize = 4;

/// What a mapper is started with.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Start {
    #[prost(uint32, tag = "1")]
    pub form: u32,
    #[prost(string, tag = "2")]
    pub filter: String,
    #[prost(uint64, tag = "3")]
    pub record_bytes_max: u64,
    #[prost(uint64, tag = "4")]
    pub outputs_max: u64,
    #[prost(uint64, tag = "5")]
    pub output_bytes_max: u64,
    #[prost(uint64, tag = "6")]
    pub memory_bytes_max: u64,
    #[prost(uint64, tag = "7")]
    pub processor_seconds: u64,
}

/// Records to be mapped in their order.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Batch {
    #[prost(message, repeated, tag = "1")]
    pub records: Vec<Foreign>,
    /// Give each answer at once: whoever asks wants to know which record is the last that can be answered.
    #[prost(bool, tag = "2")]
    pub one_by_one: bool,
    /// After so long, leave the rest unanswered.
    #[prost(uint64, tag = "3")]
    pub enough_ms: u64,
}

/// One record, and where it came from.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Foreign {
    #[prost(bytes = "vec", tag = "1")]
    pub value: Vec<u8>,
    #[prost(string, optional, tag = "2")]
    pub file: Option<String>,
    #[prost(uint64, tag = "3")]
    pub row: u64,
    #[prost(string, tag = "4")]
    pub topic: String,
    #[prost(int32, tag = "5")]
    pub partition: i32,
    #[prost(int64, tag = "6")]
    pub offset: i64,
    #[prost(int64, optional, tag = "7")]
    pub timestamp: Option<i64>,
    #[prost(bytes = "vec", optional, tag = "8")]
    pub key: Option<Vec<u8>>,
    #[prost(message, repeated, tag = "9")]
    pub headers: Vec<ForeignHeader>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ForeignHeader {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(bytes = "vec", optional, tag = "2")]
    pub value: Option<Vec<u8>>,
}

/// What became of a record: its events, or why it is rejected.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Answer {
    #[prost(string, repeated, tag = "1")]
    pub events: Vec<String>,
    /// Empty: the events hold.
    #[prost(string, tag = "2")]
    pub reason: String,
    #[prost(string, tag = "3")]
    pub detail: String,
    /// The end of a batch; nothing else in here counts.
    #[prost(bool, tag = "4")]
    pub last: bool,
}

impl Foreign {
    pub fn new(value: &[u8], provenance: &Provenance<'_>) -> Foreign {
        let value = value.to_vec();
        match *provenance {
            Provenance::File { file, row } => Foreign { value, file: Some(file.into()), row, ..Foreign::default() },
            Provenance::Log { topic, partition, record } => Foreign {
                value,
                file: None,
                row: 0,
                topic: topic.into(),
                partition,
                offset: record.offset,
                timestamp: record.timestamp,
                key: record.key.map(<[u8]>::to_vec),
                headers: record.headers.iter().map(ForeignHeader::new).collect(),
            },
        }
    }

    /// Shows the record's provenance as the filter is to see it.
    pub fn with_provenance<T>(&self, see: impl FnOnce(&Provenance<'_>) -> T) -> T {
        if let Some(file) = &self.file {
            return see(&Provenance::File { file, row: self.row });
        }
        let headers: Vec<Header<'_>> =
            self.headers.iter().map(|header| (header.name.as_str(), header.value.as_deref())).collect();
        let record = Record {
            offset: self.offset,
            timestamp: self.timestamp,
            key: self.key.as_deref(),
            value: Some(&self.value),
            headers: &headers,
        };
        see(&Provenance::Log { topic: &self.topic, partition: self.partition, record: &record })
    }
}

impl ForeignHeader {
    fn new((name, value): &Header<'_>) -> ForeignHeader {
        ForeignHeader { name: (*name).into(), value: value.map(<[u8]>::to_vec) }
    }
}

/// A message behind its length.
pub(super) fn frame(message: &impl Message) -> Vec<u8> {
    let length = u32::try_from(message.encoded_len()).expect("a batch is bounded far below 4 GiB");
    let mut bytes = Vec::with_capacity(LENGTH_BYTES + message.encoded_len());
    bytes.extend_from_slice(&length.to_le_bytes());
    message.encode_raw(&mut bytes);
    bytes
}

/// Writes a message.
pub(super) fn write(output: &mut impl Write, message: &impl Message) -> io::Result<()> {
    output.write_all(&frame(message))
}

/// Reads a message; `None` at the end of the input.
pub(super) fn read<M: Message + Default>(input: &mut impl Read) -> io::Result<Option<M>> {
    let mut length = [0; LENGTH_BYTES];
    match input.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let mut bytes = vec![0; u32::from_le_bytes(length) as usize];
    input.read_exact(&mut bytes)?;
    M::decode(bytes.as_slice()).map(Some).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// The first whole message in `bytes` and how many bytes it takes; `None` where it is not whole yet.
pub(super) fn first<M: Message + Default>(bytes: &[u8], bytes_max: usize) -> Result<Option<(M, usize)>, String> {
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let length = u32::from_le_bytes(*length) as usize;
    if length > bytes_max {
        return Err(format!("an answer of {length} bytes"));
    }
    let Some(message) = rest.get(..length) else { return Ok(None) };
    let message = M::decode(message).map_err(|error| format!("an answer that cannot be read: {error}"))?;
    Ok(Some((message, LENGTH_BYTES + length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_arrives_with_its_provenance() {
        let headers: [Header<'_>; 2] = [("kind", Some(b"\xff")), ("none", None)];
        let record = Record { offset: 42, timestamp: None, key: Some(b"k"), value: Some(b"{}"), headers: &headers };
        let sent = Foreign::new(b"{}", &Provenance::Log { topic: "calls", partition: 3, record: &record });
        let bytes = frame(&sent);
        let (received, length) = first::<Foreign>(&bytes, 1000).unwrap().unwrap();
        assert_eq!((&received, length), (&sent, bytes.len()));
        received.with_provenance(|provenance| {
            let Provenance::Log { topic: "calls", partition: 3, record } = provenance else { panic!("{provenance:?}") };
            assert_eq!((record.offset, record.timestamp, record.key), (42, None, Some(b"k".as_slice())));
            assert_eq!(record.headers, headers);
        });
        let row = Foreign::new(b"1", &Provenance::File { file: "calls.tsv", row: 7 });
        row.with_provenance(|provenance| assert!(matches!(provenance, Provenance::File { file: "calls.tsv", row: 7 })));
    }

    #[test]
    fn a_message_in_parts_is_waited_for_and_a_huge_one_is_refused() {
        let bytes = frame(&Answer { events: vec!["{}".into()], ..Answer::default() });
        for end in 0..bytes.len() {
            assert_eq!(first::<Answer>(&bytes[..end], 100), Ok(None), "{end}");
        }
        assert!(first::<Answer>(&bytes, 3).is_err());
        assert!(first::<Answer>(&[1, 0, 0, 0, 255], 100).is_err());
        assert_eq!(read::<Answer>(&mut bytes.as_slice()).unwrap().unwrap().events, ["{}"]);
        assert_eq!(read::<Answer>(&mut [].as_slice()).unwrap(), None);
        assert!(read::<Answer>(&mut &bytes[..5]).is_err());
    }
}
