//! Bytes from a file, a compressed file or standard input, line by line.

use crate::touchpoint::{RejectReason, Rejection};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const BUFFER_BYTES: usize = 256 * 1024;

/// A file that was opened, and what its progress can be told by.
pub(super) struct Opened {
    pub(super) reader: Box<dyn BufRead + Send>,
    pub(super) consumed: Arc<AtomicU64>,
    pub(super) bytes_total: Option<u64>,
}

/// Opens `path`, decompressing by its name; `-` is standard input, as it comes.
pub(super) fn open(path: &str) -> io::Result<Opened> {
    let consumed = Arc::new(AtomicU64::new(0));
    let (stored, bytes_total): (Box<dyn Read + Send>, _) = if path == "-" {
        (Box::new(io::stdin()), None)
    } else {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        (Box::new(file), metadata.is_file().then_some(metadata.len()))
    };
    let counted = Counted { stored, consumed: Arc::clone(&consumed) };
    let reader: Box<dyn Read + Send> = match split_compression(path).1 {
        None => Box::new(counted),
        Some(Compression::Gzip) => Box::new(flate2::read::MultiGzDecoder::new(counted)),
        Some(Compression::Bzip2) => Box::new(bzip2::read::MultiBzDecoder::new(counted)),
        Some(Compression::Zstd) => Box::new(zstd::Decoder::new(counted)?),
    };
    Ok(Opened { reader: Box::new(BufReader::with_capacity(BUFFER_BYTES, reader)), consumed, bytes_total })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    Gzip,
    Bzip2,
    Zstd,
}

/// The name without its compression, and which that is.
pub(super) fn split_compression(path: &str) -> (&str, Option<Compression>) {
    let compression = match extension(path).map(str::to_ascii_lowercase).as_deref() {
        Some("gz") => Compression::Gzip,
        Some("bz2") => Compression::Bzip2,
        Some("zst") => Compression::Zstd,
        _ => return (path, None),
    };
    (path.rsplit_once('.').map_or(path, |(name, _)| name), Some(compression))
}

/// What follows the last dot of the file's own name.
pub(super) fn extension(path: &str) -> Option<&str> {
    let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
    name.rsplit_once('.').map(|(_, extension)| extension)
}

/// Counts what is read before it is decompressed.
struct Counted<R> {
    stored: R,
    consumed: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.stored.read(buffer)?;
        self.consumed.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(bytes)
    }
}

/// Lines, lent from the read buffer where they lie in it whole, else gathered in one buffer that is kept.
pub(super) struct Lines {
    reader: Box<dyn BufRead + Send>,
    consumed: Arc<AtomicU64>,
    line_bytes_max: usize,
    at_start: bool,
    place: Place,
    /// A line that began in an earlier buffer.
    gathered: Vec<u8>,
}

/// Where the current line is. What lies in the read buffer is consumed when the next line is asked for.
#[derive(Clone, Copy)]
enum Place {
    Nowhere,
    /// The first `length` bytes of the read buffer, its newline included.
    Buffer {
        length: usize,
    },
    Gathered,
    /// Passed over: it had so many bytes.
    TooLong {
        bytes: u64,
    },
}

impl Lines {
    pub(super) fn new(reader: Box<dyn BufRead + Send>, consumed: Arc<AtomicU64>, line_bytes_max: usize) -> Lines {
        Lines { reader, consumed, line_bytes_max, at_start: true, place: Place::Nowhere, gathered: Vec::new() }
    }

    pub(super) fn bytes_consumed(&self) -> u64 {
        self.consumed.load(Ordering::Relaxed)
    }

    /// Moves on to the next line; false at the end.
    pub(super) fn advance(&mut self) -> io::Result<bool> {
        if let Place::Buffer { length } = self.place {
            self.reader.consume(length);
        }
        self.place = Place::Nowhere;
        if std::mem::take(&mut self.at_start) {
            self.skip_byte_order_mark()?;
        }
        let buffer = fill(&mut self.reader)?;
        if buffer.is_empty() {
            return Ok(false);
        }
        if let Some(newline) = memchr::memchr(b'\n', buffer) {
            self.place = Place::Buffer { length: newline + 1 };
            let bytes = trim_end_of_line(&buffer[..=newline]).len();
            if bytes > self.line_bytes_max {
                self.reader.consume(newline + 1);
                self.place = Place::TooLong { bytes: bytes as u64 };
            }
            return Ok(true);
        }
        self.gather()?;
        Ok(true)
    }

    /// The current line with its newline, if it has one; or why it cannot be had.
    pub(super) fn raw_line(&mut self) -> Result<&[u8], Rejection> {
        match self.place {
            Place::Nowhere => Ok(&[]),
            // The buffer holds the line: this reads nothing, so it cannot fail.
            Place::Buffer { length } => Ok(self.reader.fill_buf().map_or(&[], |buffer| &buffer[..length])),
            Place::Gathered => Ok(&self.gathered),
            Place::TooLong { bytes } => {
                let max = self.line_bytes_max;
                let detail = format!("the row has {bytes} bytes, more than record_bytes_max = {max}");
                Err(Rejection::new(RejectReason::TooLarge, detail))
            }
        }
    }

    /// The current line without its end, `\n` or `\r\n`.
    pub(super) fn line(&mut self) -> Result<&[u8], Rejection> {
        self.raw_line().map(trim_end_of_line)
    }

    pub(super) fn is_blank(&mut self) -> bool {
        self.raw_line().is_ok_and(|line| line.iter().all(u8::is_ascii_whitespace))
    }

    /// Gathers a line that goes beyond the read buffer, and no more of it than may be looked at.
    fn gather(&mut self) -> io::Result<()> {
        self.gathered.clear();
        let mut bytes = 0_u64;
        loop {
            let buffer = fill(&mut self.reader)?;
            let end = memchr::memchr(b'\n', buffer).map_or(buffer.len(), |newline| newline + 1);
            let room = (self.line_bytes_max + 2).saturating_sub(self.gathered.len());
            self.gathered.extend_from_slice(&buffer[..end.min(room)]);
            let at_end = end == 0 || buffer[end - 1] == b'\n';
            bytes += end as u64;
            self.reader.consume(end);
            if at_end {
                break;
            }
        }
        let too_long =
            trim_end_of_line(&self.gathered).len() > self.line_bytes_max || bytes > self.gathered.len() as u64;
        self.place = if too_long { Place::TooLong { bytes } } else { Place::Gathered };
        Ok(())
    }

    fn skip_byte_order_mark(&mut self) -> io::Result<()> {
        const MARK: &[u8] = b"\xef\xbb\xbf";
        // The mark is looked for in the first buffer only: no reader gives fewer than three bytes of a longer file.
        if fill(&mut self.reader)?.starts_with(MARK) {
            self.reader.consume(MARK.len());
        }
        Ok(())
    }
}

/// The read buffer, filled if it was empty. An interruption is no error.
fn fill(reader: &mut Box<dyn BufRead + Send>) -> io::Result<&[u8]> {
    while let Err(error) = reader.fill_buf() {
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    reader.fill_buf()
}

fn trim_end_of_line(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}
