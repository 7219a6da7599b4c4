//! CSV and TSV: rows of fields, and rows as JSON objects of strings.
//!
//! An own reader, because the usual ones take a broken row for a row: a quote that is never closed would swallow
//! the rest of a file in silence. RFC 4180, with what files in the wild need: CRLF or LF, newlines in quotes, and a
//! quote within an unquoted field taken as itself. Empty lines are passed over.

use super::source::Lines;
use super::{text, write_string};
use crate::touchpoint::{RejectReason, Rejection};
use std::collections::HashSet;
use std::io;

/// Where the fields beyond the named columns go.
const EXTRA: &str = "_extra";

/// The fields of one row, one behind the other, in buffers that are kept.
pub(super) struct Delimited {
    delimiter: u8,
    quoting: bool,
    row_bytes_max: usize,
    /// How many bytes the row has so far, as it is written.
    row_bytes: usize,
    /// The text of the fields, unquoted.
    content: Vec<u8>,
    /// Where each field ends in `content`.
    ends: Vec<usize>,
    /// Why the row is none.
    fault: Option<Rejection>,
}

/// Where in a row the reader stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    FieldStart,
    Unquoted,
    Quoted,
    /// After a quote inside quotes: the end of them, or half of a doubled one.
    QuoteInQuotes,
    /// The row is none; the rest of the line is passed over.
    Faulty,
}

/// One row's fields.
#[derive(Clone, Copy)]
pub(super) struct Fields<'r> {
    content: &'r str,
    ends: &'r [usize],
}

impl<'r> Fields<'r> {
    fn iter(self) -> impl Iterator<Item = &'r str> {
        let mut start = 0;
        self.ends.iter().map(move |end| &self.content[std::mem::replace(&mut start, *end)..*end])
    }
}

impl Delimited {
    pub(super) fn new(delimiter: u8, quoting: bool, row_bytes_max: usize) -> Delimited {
        Delimited {
            delimiter,
            quoting,
            row_bytes_max,
            row_bytes: 0,
            content: Vec::new(),
            ends: Vec::new(),
            fault: None,
        }
    }

    /// Moves on to the next row; false at the end.
    pub(super) fn advance(&mut self, lines: &mut Lines) -> io::Result<bool> {
        loop {
            if !lines.advance()? {
                return Ok(false);
            }
            if !lines.line().is_ok_and(<[u8]>::is_empty) {
                break;
            }
        }
        self.content.clear();
        self.ends.clear();
        self.fault = None;
        self.row_bytes = 0;
        let mut state = State::FieldStart;
        loop {
            // Inside quotes the line's own end belongs to the field.
            state = match lines.raw_line() {
                Ok(line) => self.take_line(line, state),
                Err(rejection) => self.refuse(rejection),
            };
            if state != State::Quoted {
                return Ok(true);
            }
            if !lines.advance()? {
                self.refuse(not_a_row("a quote is opened and never closed"));
                return Ok(true);
            }
        }
    }

    /// The fields of the current row, or why it is none.
    pub(super) fn fields(&mut self) -> Result<Fields<'_>, Rejection> {
        match self.fault.take() {
            Some(fault) => Err(fault),
            None => Ok(Fields { content: text(&self.content)?, ends: &self.ends }),
        }
    }

    fn refuse(&mut self, rejection: Rejection) -> State {
        self.fault.get_or_insert(rejection);
        State::Faulty
    }

    /// Takes one line into the row. `Quoted` as the state afterwards means that the row goes on.
    fn take_line(&mut self, line: &[u8], mut state: State) -> State {
        self.row_bytes += line.len();
        // A line alone is bounded without its end, of two bytes at most.
        if self.row_bytes > self.row_bytes_max + 2 {
            let max = self.row_bytes_max;
            self.refuse(Rejection::new(RejectReason::TooLarge, format!("the row has more than {max} bytes")));
        }
        if self.fault.is_some() {
            // Only what ends the row still matters; its text is no longer kept.
            self.content.clear();
            self.ends.clear();
        }
        let mut rest = line;
        while !rest.is_empty() {
            if is_end_of_line(rest) && state != State::Quoted {
                break;
            }
            (state, rest) = self.take_some(rest, state);
        }
        if state != State::Quoted && state != State::Faulty {
            self.ends.push(self.content.len());
        }
        state
    }

    fn take_some<'l>(&mut self, rest: &'l [u8], state: State) -> (State, &'l [u8]) {
        let (first, after) = (rest[0], &rest[1..]);
        match state {
            State::FieldStart if first == b'"' && self.quoting => (State::Quoted, after),
            State::FieldStart | State::Unquoted => {
                let length = memchr::memchr3(self.delimiter, b'\n', b'\r', rest).unwrap_or(rest.len());
                self.content.extend_from_slice(&rest[..length]);
                let rest = &rest[length..];
                match rest.first() {
                    Some(byte) if *byte == self.delimiter => (self.end_field(), &rest[1..]),
                    Some(b'\r') if !is_end_of_line(rest) => {
                        self.content.push(b'\r');
                        (State::Unquoted, &rest[1..])
                    }
                    _ => (State::Unquoted, rest),
                }
            }
            State::Quoted => {
                let length = memchr::memchr(b'"', rest).unwrap_or(rest.len());
                self.content.extend_from_slice(&rest[..length]);
                if length == rest.len() { (State::Quoted, &[]) } else { (State::QuoteInQuotes, &rest[length + 1..]) }
            }
            State::QuoteInQuotes if first == b'"' => {
                self.content.push(b'"');
                (State::Quoted, after)
            }
            State::QuoteInQuotes if first == self.delimiter => (self.end_field(), after),
            State::QuoteInQuotes => (self.refuse(not_a_row("text follows a closing quote")), &[]),
            State::Faulty => (State::Faulty, &[]),
        }
    }

    fn end_field(&mut self) -> State {
        self.ends.push(self.content.len());
        State::FieldStart
    }
}

fn not_a_row(why: &str) -> Rejection {
    Rejection::new(RejectReason::NotJson, format!("not a CSV row: {why}"))
}

fn is_end_of_line(rest: &[u8]) -> bool {
    matches!(rest, b"\n" | b"\r\n" | b"\r")
}

/// The names of the columns, each written as `"name":` once and for all.
pub(super) struct Columns {
    keys: Vec<Vec<u8>>,
}

impl Columns {
    /// Names the columns by the first row: an empty name becomes `column_N`, a repeated one gets `_2`, `_3`, ...
    pub(super) fn name(header: Fields<'_>) -> Result<Columns, Rejection> {
        let mut taken = HashSet::from([EXTRA.to_owned()]);
        let mut keys = Vec::new();
        for (at, name) in header.iter().enumerate() {
            let wanted = if name.is_empty() { format!("column_{}", at + 1) } else { name.to_owned() };
            let numbered = (2_u64..).map(|number| format!("{wanted}_{number}"));
            let free = std::iter::once(wanted.clone()).chain(numbered).find(|name| !taken.contains(name));
            let name = free.expect("numbers do not run out before columns do");
            let mut key = Vec::new();
            write_string(&name, &mut key);
            key.push(b':');
            keys.push(key);
            taken.insert(name);
        }
        Ok(Columns { keys })
    }

    /// One row as an object: a short row lacks its last keys, a long one has `_extra`, an array.
    pub(super) fn write_row<'j>(&self, fields: Fields<'_>, json: &'j mut Vec<u8>) -> Result<&'j [u8], Rejection> {
        json.clear();
        json.push(b'{');
        let mut fields = fields.iter();
        for (key, field) in self.keys.iter().zip(fields.by_ref()) {
            if json.len() > 1 {
                json.push(b',');
            }
            json.extend_from_slice(key);
            write_string(field, json);
        }
        let mut extra = fields.peekable();
        if extra.peek().is_some() {
            json.extend_from_slice(b",\"_extra\":");
            let list: Vec<&str> = extra.collect();
            serde_json::to_writer(&mut *json, &list).expect("writing strings into memory cannot fail");
        }
        json.push(b'}');
        Ok(json)
    }
}
