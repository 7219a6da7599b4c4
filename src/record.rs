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
