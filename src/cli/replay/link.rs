//! Files as a log: each row a record, each file after the other. Commits go into the in-memory deltas;
//! late and rejected rows into files of their own, where asked for.

use super::setup::{DELTAS, LATE, Setup};
use crate::files::{FileError, FileFormat, InputFile};
use crate::mapping::{Mapped, Mapper};
use crate::memory::{Broker, NewRecord};
use crate::pipeline::input::{FILE_HEADER, InputSettings, REJECTION_HEADER, ROW_HEADER, items};
use crate::pipeline::link::{
    Assigned, Commit, CommitError, Link, LinkError, Output, PartitionId, Reader, Rebalance, Take,
};
use crate::pipeline::waiting;
use crate::record::{KeptRecord, Record};
use crate::touchpoint::Item;
use indicatif::{ProgressBar, ProgressStyle};
use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;
use xxhash_rust::xxh64::xxh64;

/// How long rows may be mapped before it is looked again.
const MAPPING: Duration = Duration::from_secs(60);

/// Where late and rejected rows go; `None`: nowhere.
pub(super) struct Letters {
    late: Option<BufWriter<File>>,
    rejected: Option<BufWriter<File>>,
}

impl Letters {
    pub fn create(late: Option<&Path>, rejected: Option<&Path>) -> anyhow::Result<Letters> {
        let create = |path: Option<&Path>| -> anyhow::Result<Option<BufWriter<File>>> {
            let Some(path) = path else { return Ok(None) };
            let file = File::create(path).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
            Ok(Some(BufWriter::new(file)))
        };
        Ok(Letters { late: create(late)?, rejected: create(rejected)? })
    }

    /// One line: the headers that say why and where, and the row.
    fn write(&mut self, output: &Output) -> std::io::Result<()> {
        let file = if output.topic == LATE { &mut self.late } else { &mut self.rejected };
        let Some(file) = file else { return Ok(()) };
        let text = |bytes: &Option<Vec<u8>>| String::from_utf8_lossy(bytes.as_deref().unwrap_or_default()).into_owned();
        let mut line = serde_json::Map::new();
        for (name, value) in &output.headers {
            let name = name.trim_start_matches("touchstone_");
            if ["reason", "detail", "index", FILE_HEADER, ROW_HEADER].contains(&name) {
                line.insert(name.to_string(), text(value).into());
            }
        }
        line.insert("value".into(), text(&output.value).into());
        serde_json::to_writer(&mut *file, &line)?;
        file.write_all(b"\n")
    }

    fn flush(&mut self) -> std::io::Result<()> {
        [&mut self.late, &mut self.rejected].into_iter().flatten().try_for_each(Write::flush)
    }
}

/// What stopped the reading, kept with its type beside the port, whose errors are text.
#[derive(Clone, Default)]
pub(super) struct Trouble(Rc<RefCell<Option<FileError>>>);

impl Trouble {
    pub fn take(&self) -> Option<FileError> {
        self.0.borrow_mut().take()
    }
}

/// How far the reading has come.
#[derive(Clone)]
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    bytes: Rc<Cell<u64>>,
    rows: Rc<Cell<u64>>,
    at_end: Rc<Cell<bool>>,
}

impl Progress {
    pub fn show(&self) {
        if let Some(bar) = &self.bar {
            bar.set_position(self.bytes.get());
            bar.set_message(format!("{} rows", self.rows.get()));
        }
    }

    pub fn at_end(&self) -> bool {
        self.at_end.get()
    }

    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// The files of a replay as the log of the first stage.
pub(super) struct FileLink {
    waiting: Vec<InputFile>,
    current: Option<InputFile>,
    names: Vec<String>,
    /// Which of the names is being read.
    file_number: usize,
    row_text: String,
    read_before: u64,
    offset: i64,
    partitions: i32,
    assigned: bool,
    input: InputSettings,
    /// Tells the ids of foreign rows, where they decide the partition.
    mapper: Option<Mapper>,
    /// Rows that wait for it.
    gathered: Vec<KeptRecord>,
    broker: Broker,
    letters: Letters,
    trouble: Trouble,
    progress: Progress,
}

impl FileLink {
    /// Opens every file, so that a name that is wrong is told before any work.
    pub fn new(
        files: &[String],
        format: Option<FileFormat>,
        setup: &Setup,
        broker: Broker,
        letters: Letters,
    ) -> Result<FileLink, FileError> {
        let open = |path: &String| InputFile::open(path, format, setup.record_bytes_max);
        let mut waiting = files.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let total: Option<u64> = waiting.iter().map(InputFile::bytes_total).sum();
        waiting.reverse();
        let style = ProgressStyle::with_template("{bar:40} {percent:>3} %  {msg}  {elapsed} of {duration}");
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new);
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Ok(FileLink {
            waiting,
            current: None,
            names: files.to_vec(),
            file_number: 0,
            row_text: String::new(),
            read_before: 0,
            offset: 0,
            partitions: setup.partitions,
            assigned: false,
            input: setup.input.clone(),
            mapper: waiting::mapper(&setup.input, Some(&setup.program)).filter(|_| setup.partitions > 1),
            gathered: Vec::new(),
            broker,
            letters,
            trouble: Trouble::default(),
            progress: Progress { bar, bytes: Rc::default(), rows: Rc::default(), at_end: Rc::default() },
        })
    }

    pub fn trouble(&self) -> Trouble {
        self.trouble.clone()
    }

    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    fn assign(&mut self) -> Vec<Rebalance> {
        self.assigned = true;
        let assigned = (0..self.partitions).map(|partition| Assigned {
            id: PartitionId { topic: 0, partition },
            committed: None,
            position: 0,
            // A file holds everything it is about.
            first_timestamp: Some(i64::MIN),
            lost: None,
            partitions: self.partitions,
            bounds: (0, i64::MAX),
        });
        vec![Rebalance::Assigned(assigned.collect())]
    }

    /// Hands over one row; false when the current file has none left.
    fn row(&mut self, take: &mut Take<'_>) -> Result<bool, FileError> {
        let FileLink { current, names, file_number, row_text, .. } = self;
        let Some(file) = current else { return Ok(false) };
        let Some(row) = file.next_row()? else { return Ok(false) };
        row_text.clear();
        let _ = write!(row_text, "{}", row.number); // into memory: it cannot fail
        let rejection = row.content.as_ref().err();
        let rejection = rejection.map(|rejection| format!("{}|{}", rejection.reason.name(), rejection.detail));
        let headers = [
            (FILE_HEADER, Some(names[*file_number].as_bytes())),
            (ROW_HEADER, Some(row_text.as_bytes())),
            (REJECTION_HEADER, rejection.as_deref().map(str::as_bytes)),
        ];
        let headers = if rejection.is_some() { &headers[..] } else { &headers[..2] };
        let value = row.content.ok();
        let record = Record { offset: self.offset, timestamp: None, key: None, value, headers };
        if self.mapper.is_some() {
            self.gathered.push(KeptRecord::new(&record));
        } else {
            let partition = if self.partitions == 1 { 0 } else { spread(&self.input, &record, None, self.partitions) };
            take(PartitionId { topic: 0, partition }, record);
        }
        self.offset += 1;
        Ok(true)
    }

    /// Hands over the rows that had to be mapped to know where they belong.
    fn hand_over_gathered(&mut self, take: &mut Take<'_>) -> Result<(), LinkError> {
        let Some(mapper) = &mut self.mapper else { return Ok(()) };
        let rows = std::mem::take(&mut self.gathered);
        let records: Vec<(i32, &KeptRecord)> = rows.iter().map(|row| (0, row)).collect();
        let mut mapped = Vec::with_capacity(rows.len());
        while mapped.len() < rows.len() {
            let more = waiting::map(mapper, &self.input, &records[mapped.len()..], MAPPING);
            mapped.extend(more.map_err(|error| LinkError::Fatal(error.to_string()))?);
        }
        for (row, mapped) in rows.iter().zip(&mapped) {
            let headers = row.headers();
            let record = row.record(&headers);
            let partition = spread(&self.input, &record, Some(mapped), self.partitions);
            take(PartitionId { topic: 0, partition }, record);
        }
        Ok(())
    }
}

/// The partition of a row: by the id of the first event in it, so that copies of an event meet.
fn spread(input: &InputSettings, record: &Record<'_>, mapped: Option<&Mapped>, partitions: i32) -> i32 {
    let mut hash = 0;
    items(input, record, i64::MAX / 2, mapped, &mut |item, index| {
        if let (Item::Touchpoint(touchpoint), 0) = (item, index) {
            hash = xxh64(touchpoint.id.as_bytes(), 0);
        }
    });
    let partitions = u64::try_from(partitions).expect("at least one partition");
    i32::try_from(hash % partitions).expect("less than the number of partitions")
}

impl Link for FileLink {
    fn poll(&mut self, max: usize, _wait: Duration, take: &mut Take<'_>) -> Result<Vec<Rebalance>, LinkError> {
        if !self.assigned {
            return Ok(self.assign());
        }
        let mut taken = 0;
        while taken < max {
            match self.row(take) {
                Ok(true) => taken += 1,
                Ok(false) => {
                    self.read_before += self.current.take().map_or(0, |file| file.bytes_consumed());
                    self.current = self.waiting.pop();
                    self.file_number = self.names.len().saturating_sub(self.waiting.len() + 1);
                    if self.current.is_none() {
                        self.progress.at_end.set(true);
                        break;
                    }
                }
                Err(error) => {
                    let reason = error.to_string();
                    *self.trouble.0.borrow_mut() = Some(error);
                    return Err(LinkError::Fatal(reason));
                }
            }
        }
        self.hand_over_gathered(take)?;
        let read = self.current.as_ref().map_or(0, InputFile::bytes_consumed);
        self.progress.bytes.set(self.read_before + read);
        self.progress.rows.set(u64::try_from(self.offset).unwrap_or(0));
        Ok(Vec::new())
    }

    fn resume(&mut self, _partition: PartitionId, _offset: i64) -> Result<(), LinkError> {
        Ok(())
    }

    fn rewind(&mut self, _partition: PartitionId, _offset: i64) -> Result<(), LinkError> {
        Err(LinkError::Fatal("files are read once".into()))
    }

    fn pause(&mut self, _partition: PartitionId) -> Result<(), LinkError> {
        Ok(())
    }

    fn commit(&mut self, commit: Commit<'_>) -> Result<(), CommitError> {
        let failed = |error: std::io::Error| CommitError::Impossible(error.to_string());
        for output in commit.outputs {
            if output.topic == DELTAS {
                let value = output.value.as_deref();
                let record = NewRecord { partition: output.partition, value, ..NewRecord::default() };
                self.broker.produce(DELTAS, &record)?;
            } else {
                self.letters.write(&output).map_err(failed)?;
            }
        }
        self.letters.flush().map_err(failed)
    }

    fn recycle(&mut self) -> Result<(), LinkError> {
        Err(LinkError::Fatal("files are read once".into()))
    }

    fn drained(&mut self, _partition: PartitionId, _position: i64) -> Result<(bool, i64), LinkError> {
        Ok((false, 0)) // the end of the files is told by `finish`
    }

    fn start(&mut self, _partition: PartitionId) -> Result<(i64, Option<i64>), LinkError> {
        Ok((0, Some(i64::MIN)))
    }

    fn ends(&mut self, _topic: &str) -> Result<Vec<i64>, LinkError> {
        Ok(Vec::new())
    }

    fn committed(&mut self, _group: &str, _topic: &str) -> Result<Vec<Option<(i64, String)>>, LinkError> {
        Ok(Vec::new())
    }

    fn reader(
        &mut self,
        topic: &str,
        _partition: i32,
        _from: Option<i64>,
        _until: Option<i64>,
    ) -> Result<Box<dyn Reader>, LinkError> {
        Err(LinkError::Lost(format!("{topic}: files are read once")))
    }

    fn close(&mut self) {}
}
