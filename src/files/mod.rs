//! Input files, row by row: what `replay` reads.
//!
//! An [`InputFile`] lends one row after the other as JSON text, from NDJSON, CSV, TSV or plain lines, compressed
//! or not. NDJSON rows are lent straight from the read buffer: nothing is allocated or copied per row. A row that
//! cannot be read as such is lent as a [`Rejection`] and counts as one item; an input that cannot be read on is
//! an error with name and place. No row, however long, takes more memory than the limit for rows.

mod delimited;
mod source;

use crate::touchpoint::{RejectReason, Rejection};
use delimited::{Columns, Delimited};
use source::Lines;
use std::io;
use thiserror::Error;

/// How the rows of a file are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFormat {
    /// One JSON value per line. Empty lines are passed over, as the NDJSON specification allows.
    Ndjson,
    /// Comma-separated, RFC 4180: the first row names the columns, quotes may hold commas and newlines.
    Csv,
    /// Tab-separated: the first row names the columns, there is no quoting.
    Tsv,
    /// Any text: each line is `{"line": ...}`.
    Lines,
}

impl FileFormat {
    /// Every format.
    pub const ALL: [FileFormat; 4] = [FileFormat::Ndjson, FileFormat::Csv, FileFormat::Tsv, FileFormat::Lines];

    /// The name of the format, as `--input-format` takes it.
    pub const fn name(self) -> &'static str {
        match self {
            FileFormat::Ndjson => "ndjson",
            FileFormat::Csv => "csv",
            FileFormat::Tsv => "tsv",
            FileFormat::Lines => "lines",
        }
    }

    /// The format of that name.
    pub fn parse(name: &str) -> Option<FileFormat> {
        FileFormat::ALL.into_iter().find(|format| format.name() == name)
    }

    /// The format that a file name promises, whatever its compression.
    ///
    /// ```
    /// use touchstone::files::FileFormat;
    /// assert_eq!(FileFormat::of_name("calls.TSV.gz"), Some(FileFormat::Tsv));
    /// assert_eq!(FileFormat::of_name("access.log"), None);
    /// ```
    pub fn of_name(path: &str) -> Option<FileFormat> {
        let (name, _) = source::split_compression(path);
        match source::extension(name)?.to_ascii_lowercase().as_str() {
            "ndjson" | "jsonl" | "json" => Some(FileFormat::Ndjson),
            "csv" => Some(FileFormat::Csv),
            "tsv" => Some(FileFormat::Tsv),
            _ => None,
        }
    }
}

/// An input that cannot be read. The message names the file, the place, and what to do.
#[derive(Debug, Error)]
pub enum FileError {
    /// The name does not tell the format: a mistake in the command.
    #[error(
        "{file}: the name does not tell the format (.ndjson .jsonl .json .csv .tsv): say --input-format \
         ndjson|csv|tsv|lines"
    )]
    UnknownFormat {
        /// The file as it was named.
        file: String,
    },
    /// The file cannot be opened.
    #[error("{file}: cannot be opened: {error}")]
    Open {
        /// The file as it was named.
        file: String,
        /// Why.
        error: io::Error,
    },
    /// Reading or decompressing stopped.
    #[error("{file}: cannot be read on after row {rows}, {bytes} bytes into the file: {error}")]
    Read {
        /// The file as it was named.
        file: String,
        /// How many rows had been read.
        rows: u64,
        /// How many bytes of the file, as it is stored, had been read.
        bytes: u64,
        /// Why.
        error: io::Error,
    },
    /// The first row of a CSV or TSV file does not name columns.
    #[error("{file}: the first row must name the columns: {reason}")]
    Header {
        /// The file as it was named.
        file: String,
        /// Why.
        reason: String,
    },
}

/// One row, lent until the next one is asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Row<'r> {
    /// Its number, from 1; the row that names the columns is not counted. In NDJSON and lines, the line.
    pub number: u64,
    /// Its JSON text, not yet checked for NDJSON; or why there is none.
    pub content: Result<&'r [u8], Rejection>,
}

/// An open input.
pub struct InputFile {
    name: String,
    lines: Lines,
    reading: Reading,
    row: u64,
    bytes_total: Option<u64>,
}

/// What the format needs between rows. Buffers are kept and reused.
enum Reading {
    Ndjson,
    Lines { json: Vec<u8> },
    Delimited { delimited: Delimited, columns: Option<Columns>, json: Vec<u8> },
}

impl InputFile {
    /// Opens a file, or standard input for `-`. Without a `format` the name must tell it. `.gz`, `.bz2` and `.zst`
    /// are decompressed, also when they hold several streams. Rows over `row_bytes_max` are rejected unread.
    ///
    /// # Errors
    /// [`FileError::UnknownFormat`]: ask for the option. [`FileError::Open`]: the input cannot be had.
    pub fn open(path: &str, format: Option<FileFormat>, row_bytes_max: usize) -> Result<InputFile, FileError> {
        let unknown = || FileError::UnknownFormat { file: path.to_owned() };
        let format = format.or_else(|| FileFormat::of_name(path)).ok_or_else(unknown)?;
        let opened = source::open(path).map_err(|error| FileError::Open { file: path.to_owned(), error })?;
        let delimited = |delimiter, quoting| Reading::Delimited {
            delimited: Delimited::new(delimiter, quoting, row_bytes_max),
            columns: None,
            json: Vec::new(),
        };
        Ok(InputFile {
            name: path.to_owned(),
            lines: Lines::new(opened.reader, opened.consumed, row_bytes_max),
            reading: match format {
                FileFormat::Ndjson => Reading::Ndjson,
                FileFormat::Lines => Reading::Lines { json: Vec::new() },
                FileFormat::Csv => delimited(b',', true),
                FileFormat::Tsv => delimited(b'\t', false),
            },
            row: 0,
            bytes_total: opened.bytes_total,
        })
    }

    /// The file as it was named.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many bytes have been read of the file as it is stored (compressed).
    pub fn bytes_consumed(&self) -> u64 {
        self.lines.bytes_consumed()
    }

    /// How many bytes the file has as it is stored; none for standard input and pipes.
    pub fn bytes_total(&self) -> Option<u64> {
        self.bytes_total
    }

    /// The next row; none at the end.
    ///
    /// # Errors
    /// The input cannot be read on: what was lent before stands.
    pub fn next_row(&mut self) -> Result<Option<Row<'_>>, FileError> {
        // Errors are made before the row is lent: after it, `self` is borrowed.
        if let Reading::Delimited { columns: None, .. } = self.reading
            && !self.read_header()?
        {
            return Ok(None);
        }
        if !self.advance()? {
            return Ok(None);
        }
        let number = self.row;
        let content = match &mut self.reading {
            Reading::Ndjson => self.lines.line(),
            Reading::Lines { json } => self.lines.line().and_then(|line| wrap_line(line, json)),
            Reading::Delimited { delimited, columns, json } => {
                let columns = columns.as_ref().expect("the header was read before the first row");
                delimited.fields().and_then(|fields| columns.write_row(fields, json))
            }
        };
        Ok(Some(Row { number, content }))
    }

    /// Moves on to the next row; false at the end.
    fn advance(&mut self) -> Result<bool, FileError> {
        let moved = match &mut self.reading {
            Reading::Ndjson => loop {
                match self.lines.advance() {
                    Ok(true) if self.lines.is_blank() => self.row += 1,
                    other => break other,
                }
            },
            Reading::Lines { .. } => self.lines.advance(),
            Reading::Delimited { delimited, .. } => delimited.advance(&mut self.lines),
        };
        let moved = moved.map_err(|error| self.read_error(error))?;
        self.row += u64::from(moved);
        Ok(moved)
    }

    fn read_header(&mut self) -> Result<bool, FileError> {
        let file = || self.name.clone();
        let Reading::Delimited { delimited, columns, .. } = &mut self.reading else { return Ok(true) };
        match delimited.advance(&mut self.lines) {
            Ok(false) => Ok(false),
            Ok(true) => {
                let named = delimited.fields().and_then(Columns::name);
                *columns =
                    Some(named.map_err(|rejection| FileError::Header { file: file(), reason: rejection.detail })?);
                Ok(true)
            }
            Err(error) => Err(self.read_error(error)),
        }
    }

    fn read_error(&self, error: io::Error) -> FileError {
        FileError::Read { file: self.name.clone(), rows: self.row, bytes: self.bytes_consumed(), error }
    }
}

/// A line of text as `{"line": ...}`.
fn wrap_line<'j>(line: &[u8], json: &'j mut Vec<u8>) -> Result<&'j [u8], Rejection> {
    let line = text(line)?;
    json.clear();
    json.extend_from_slice(b"{\"line\":");
    write_string(line, json);
    json.push(b'}');
    Ok(json)
}

fn text(bytes: &[u8]) -> Result<&str, Rejection> {
    std::str::from_utf8(bytes).map_err(|error| {
        let detail = format!("the row is not UTF-8 from byte {}", error.valid_up_to());
        Rejection::new(RejectReason::NotUtf8, detail)
    })
}

/// Appends a JSON string.
fn write_string(text: &str, json: &mut Vec<u8>) {
    serde_json::to_writer(json, text).expect("writing a string into memory cannot fail");
}

#[cfg(test)]
mod tests;
