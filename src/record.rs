//! A record as any log gives it: Kafka, the in-memory broker, or a file.

/// One header: its name and its value, which may be null.
pub type Header<'a> = (&'a str, Option<&'a [u8]>);

/// One record, borrowed from the buffer it was read into.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Its offset in the partition; in files the row, from 1.
    pub offset: i64,
    /// The record's own timestamp (milliseconds since the epoch), where it has one. Not the event time.
    pub timestamp: Option<i64>,
    /// The key; `None` is a null key.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The headers, in their order.
    pub headers: &'a [Header<'a>],
}

impl Record<'_> {
    /// The value of the first header of that name, compared without regard to case.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).and_then(|(_, value)| *value)
    }
}

/// A record that outlives the buffer it was read into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptRecord {
    offset: i64,
    timestamp: Option<i64>,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

impl KeptRecord {
    /// Copies a record.
    pub fn new(record: &Record<'_>) -> KeptRecord {
        let headers = record.headers.iter().map(|(name, value)| ((*name).to_owned(), value.map(<[u8]>::to_vec)));
        KeptRecord {
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: headers.collect(),
        }
    }

    /// Its offset.
    pub fn offset(&self) -> i64 {
        self.offset
    }

    /// Its headers, for [`KeptRecord::record`].
    pub fn headers(&self) -> Vec<Header<'_>> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect()
    }

    /// The record with these headers, which are its own.
    pub fn record<'a>(&'a self, headers: &'a [Header<'a>]) -> Record<'a> {
        Record {
            offset: self.offset,
            timestamp: self.timestamp,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers,
        }
    }

    /// How many bytes its value has.
    pub fn value_bytes(&self) -> usize {
        self.value.as_ref().map_or(0, Vec::len)
    }
}
