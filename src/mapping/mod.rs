//! Foreign records into events: a jq filter with limits.
//!
//! A [`Mapping`] is compiled once and is then a pure function of a record: it cannot stop the process, see the
//! clock, the environment or other records, or write anywhere. Those functions of jq are not offered, so that a
//! filter that wants one fails to compile. A record is mapped whole before its first event is looked at.
//!
//! What it cannot do is stop a filter that never yields or builds a value without end: jaq has no fuel. The service and
//! `replay` therefore run mappings through a [`Mapper`], in a child process with limits on time and memory.

mod child;
mod frame;
mod functions;
mod mapper;

pub use mapper::{COMMAND, Mapped, Mapper, NoMapper, serve, this_program};

use crate::record::Record;
use crate::touchpoint::{Limits, RejectReason, Rejection, check_json, check_limits};
use jaq_core::data::JustLut;
use jaq_core::load::{self, Arena, File, Loader, lex, parse};
use jaq_core::{Compiler, Ctx, Vars, compile};
use jaq_json::{Map, Val, read, write};
use std::fmt;
use std::io;
use std::ops::Range;

/// A compiled filter. Threads may share it.
pub struct Mapping {
    filter: jaq_core::Filter<JustLut<Val>>,
    source: String,
}

/// How much a mapping may take in and give out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MappingLimits {
    /// The gate for the input, the same as for events.
    pub input: Limits,
    /// The most events that one record may become.
    pub outputs_max: usize,
    /// The most bytes that the events of one record may have together, as JSON.
    pub output_bytes_max: usize,
}

/// What a filter sees as `$record`: where its input came from. Where a source has no id of its own, this makes one.
#[derive(Debug, Clone, Copy)]
pub enum Provenance<'a> {
    /// `{topic, partition, offset, timestamp, key, headers}`. Key and header values are text (what is not UTF-8 in
    /// them becomes U+FFFD), `headers` an object in which the first header of a name counts.
    Log {
        /// The topic it was read from.
        topic: &'a str,
        /// The partition of the topic.
        partition: i32,
        /// The record itself.
        record: &'a Record<'a>,
    },
    /// `{file, row}`.
    File {
        /// The file as it was named on the command line.
        file: &'a str,
        /// The row, from 1; a header row is not counted.
        row: u64,
    },
}

/// A filter that does not compile: where and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappingError {
    /// Line in the source, from 1.
    pub line: usize,
    /// Column in the line, in characters from 1.
    pub column: usize,
    /// What is wrong, and what to do.
    pub message: String,
}

impl fmt::Display for MappingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.message)
    }
}

impl std::error::Error for MappingError {}

impl Mapping {
    /// Compiles a filter.
    ///
    /// ```
    /// use touchstone::mapping::Mapping;
    /// assert!(Mapping::compile(".events[]").is_ok());
    /// assert_eq!(Mapping::compile("{time: now}").err().map(|error| (error.line, error.column)), Some((1, 8)));
    /// ```
    ///
    /// # Errors
    /// The first mistake in the source: it is to be mended there.
    pub fn compile(source: &str) -> Result<Mapping, MappingError> {
        let arena = Arena::default();
        let modules = Loader::new(functions::definitions())
            .load(&arena, File { code: source, path: () })
            .map_err(|errors| describe_load_error(source, errors))?;
        let filter = Compiler::default()
            .with_funs(functions::functions())
            .with_global_vars(["$record"])
            .compile(modules)
            .map_err(|errors| describe_compile_error(source, errors))?;
        Ok(Mapping { filter, source: source.to_owned() })
    }

    /// The filter as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Maps one record: gives each event that the filter yields, as JSON text, to `each`, and returns how many
    /// there were. None means that the record is to be skipped.
    ///
    /// # Errors
    /// The whole record is one rejected item, and `each` is not called: the input is over its limits or not JSON, the
    /// filter failed, or its outputs are over theirs.
    pub fn map(
        &self,
        value: &[u8],
        provenance: &Provenance<'_>,
        limits: &MappingLimits,
        each: &mut dyn FnMut(&str),
    ) -> Result<usize, Rejection> {
        let json = check_limits(value, limits.input)?;
        check_json(json)?;
        let input = read::parse_single(json.as_bytes())
            .map_err(|error| Rejection::new(RejectReason::NotJson, format!("the value is not JSON: {error}")))?;
        let outputs = self.run(input, provenance.to_value(), limits)?;
        let events = outputs.as_strs()?;
        for event in &events {
            each(event);
        }
        Ok(events.len())
    }

    /// Runs the filter lazily: whatever is over a limit is never computed or never written.
    fn run(&self, input: Val, record: Val, limits: &MappingLimits) -> Result<Outputs, Rejection> {
        let context = Ctx::<JustLut<Val>>::new(&self.filter.lut, Vars::new([record]));
        let mut outputs = Outputs { json: Vec::new(), ends: Vec::new(), bytes_max: limits.output_bytes_max };
        for output in self.filter.id.run((context, input)) {
            let output = output.map_err(|exception| match exception.get_err() {
                Ok(error) => failed(format!("the filter failed: {}", Short(&error))),
                Err(_) => failed("the filter stopped without an error"),
            })?;
            if outputs.ends.len() == limits.outputs_max {
                return Err(failed(format!("the filter yields more than outputs_max = {} events", limits.outputs_max)));
            }
            write::write(&mut outputs, &write::Pp::default(), 0, &output).map_err(|_| {
                failed(format!("the filter yields more than output_bytes_max = {} bytes", limits.output_bytes_max))
            })?;
            outputs.ends.push(outputs.json.len());
        }
        Ok(outputs)
    }
}

fn failed(detail: impl Into<String>) -> Rejection {
    Rejection::new(RejectReason::MappingFailed, detail)
}

impl Provenance<'_> {
    fn to_value(self) -> Val {
        let text = |bytes: &[u8]| Val::from(String::from_utf8_lossy(bytes).into_owned());
        match self {
            Provenance::File { file, row } => object([
                ("file", Val::from(file.to_owned())),
                ("row", Val::from(usize::try_from(row).unwrap_or(usize::MAX))),
            ]),
            Provenance::Log { topic, partition, record } => {
                let mut headers = Map::default();
                for (name, value) in record.headers {
                    headers.entry(Val::from((*name).to_owned())).or_insert_with(|| value.map_or(Val::Null, text));
                }
                object([
                    ("topic", Val::from(topic.to_owned())),
                    ("partition", Val::from(partition as isize)),
                    ("offset", Val::from(record.offset as isize)),
                    ("timestamp", record.timestamp.map_or(Val::Null, |timestamp| Val::from(timestamp as isize))),
                    ("key", record.key.map_or(Val::Null, text)),
                    ("headers", Val::obj(headers)),
                ])
            }
        }
    }
}

fn object<const N: usize>(members: [(&str, Val); N]) -> Val {
    Val::obj(members.into_iter().map(|(name, value)| (Val::from(name.to_owned()), value)).collect())
}

/// The outputs of one record, one behind the other, never more bytes than allowed.
struct Outputs {
    json: Vec<u8>,
    ends: Vec<usize>,
    bytes_max: usize,
}

impl Outputs {
    fn as_strs(&self) -> Result<Vec<&str>, Rejection> {
        let mut start = 0;
        let slice = |end: &usize| {
            let output = &self.json[start..*end];
            start = *end;
            std::str::from_utf8(output).map_err(|_| failed("the filter yields text that is not UTF-8"))
        };
        self.ends.iter().map(slice).collect()
    }
}

impl io::Write for Outputs {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.bytes_max - self.json.len() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.json.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The start of a message: an error of jq may hold a whole record.
struct Short<'e>(&'e jaq_json::Error);

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const BYTES_MAX: usize = 256;
        let message = self.0.to_string();
        let cut = message.floor_char_boundary(BYTES_MAX);
        f.write_str(&message[..cut])?;
        if cut < message.len() { write!(f, "... ({} bytes)", message.len()) } else { Ok(()) }
    }
}

fn error_at(source: &str, span: Range<usize>, message: String) -> MappingError {
    let before = &source[..span.start];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    MappingError { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1, message }
}

fn describe_load_error(source: &str, errors: load::Errors<&str, ()>) -> MappingError {
    let first = errors.into_iter().next().map(|(_, error)| error);
    let (part, message) = match first {
        Some(load::Error::Io(paths)) => {
            let path = paths.into_iter().next().map_or("", |(path, _)| path);
            (path, "include and import are not offered: put the definitions into this file".to_owned())
        }
        Some(load::Error::Lex(errors)) => errors.into_iter().next().map_or_else(no_part, describe_lex_error),
        Some(load::Error::Parse(errors)) => errors.into_iter().next().map_or_else(no_part, describe_parse_error),
        None => no_part(),
    };
    error_at(source, span_in(source, part), message)
}

fn no_part<'s>() -> (&'s str, String) {
    ("", "the filter cannot be read".to_owned())
}

fn describe_lex_error((expected, found): lex::Error<&str>) -> (&str, String) {
    (found, format!("expected {}", expected.as_str()))
}

fn describe_parse_error((expected, found): parse::Error<&str>) -> (&str, String) {
    let what = if found.is_empty() { "the end of the filter".to_owned() } else { format!("`{found}`") };
    (found, format!("expected {}, found {what}", expected.as_str()))
}

fn describe_compile_error(source: &str, errors: compile::Errors<&str, ()>) -> MappingError {
    let first = errors.into_iter().flat_map(|(_, errors)| errors).next();
    let Some((name, undefined)) = first else {
        return error_at(source, 0..0, "the filter does not compile".to_owned());
    };
    let what = undefined.as_str();
    let message = if functions::is_taken_away(name) {
        format!("`{name}` is not offered: a mapping is a function of its record alone")
    } else {
        match undefined {
            compile::Undefined::Filter(arity) => format!("no filter `{name}` with {arity} arguments is defined"),
            compile::Undefined::Var => {
                format!("no {what} `{name}` is defined; `$record` says where the input came from")
            }
            _ => format!("no {what} `{name}` is defined"),
        }
    };
    error_at(source, span_in(source, name), message)
}

/// Where `part` lies in `source`; its end, when `part` is no slice of it (the end of the source).
fn span_in(source: &str, part: &str) -> Range<usize> {
    let outer = source.as_bytes().as_ptr_range();
    if part.is_empty() || !outer.contains(&part.as_ptr()) {
        return source.len()..source.len();
    }
    load::span(source, part)
}

#[cfg(test)]
mod shipped_tests;
#[cfg(test)]
mod tests;
