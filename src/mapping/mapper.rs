//! Runs a mapping where it can do no harm: in a process of its own, whose limits the operating system holds.
//!
//! A filter can spin for ever, recurse without end or build a value that takes all memory, and nothing inside a
//! process can stop it. So records go in batches to a child, and when it dies, what it has not answered goes to a new
//! one, answer by answer. **A record is rejected only when a fresh child dies of it as its first**: what the records
//! before it have left behind decides nothing. So a record that kills costs three children, however large its batch.

use super::child;
use super::frame::{self, Answer, Batch, FORM, Foreign, Start};
use super::{Mapping, MappingLimits, Provenance, failed};
use crate::touchpoint::{RejectReason, Rejection, check_limits};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The hidden command of the program that is a mapper.
pub const COMMAND: &str = "mapper";

/// The processor time that one record may take, seconds; a second more is not noticed. It is not the time on a clock:
/// a machine that has no time for us must not decide which records are taken.
const PROCESSOR_SECONDS: u64 = 1;

/// The address space of a mapper: this, and so many times the largest record. The program itself takes a fifth of the
/// former; a record of many small objects becomes fifty times as large.
const MEMORY_BYTES: u64 = 96 << 20;
const MEMORY_RECORDS: u64 = 128;

/// How long a mapper may give no sign of life before it is taken for dead.
const STALL: Duration = Duration::from_secs(15);

/// How often a record is tried when its child dies of something that is not the record's doing: an operator's signal, a
/// machine without memory.
const TRIES: u32 = 3;

/// How often a fresh child must die of a record before that is believed to be the record's doing: once may be chance.
const PROOFS: u32 = 2;

/// What a batch has of time at least, so that one that follows a death comes forward.
const SLICE: Duration = Duration::from_millis(100);

/// What goes over in one batch at most, bytes and records. A single record may have more.
const BATCH_BYTES: usize = 1 << 20;
const BATCH_RECORDS: usize = 1_024;

/// What became of a record: its events as JSON, or why it is rejected whole.
pub type Mapped = Result<Vec<String>, Rejection>;

/// Where a mapping runs.
pub struct Mapper {
    mapping: Arc<Mapping>,
    limits: MappingLimits,
    /// `None`: here, in this process.
    program: Option<PathBuf>,
    child: Option<Child>,
    /// What has gone wrong since a batch was answered whole; a call may end in the middle of it.
    failures: Failures,
    deaths: Vec<String>,
}

/// A mapper process cannot be had: nothing can be mapped, and it is no record's fault.
#[derive(Debug, thiserror::Error)]
#[error("no mapper process can be had from {program}: {reason}")]
pub struct NoMapper {
    program: String,
    reason: String,
}

impl Mapper {
    /// A mapper that runs in this process: for tests, and for those who trust their filter. Nothing stops one that
    /// does not end.
    pub fn here(mapping: Arc<Mapping>, limits: MappingLimits) -> Mapper {
        Mapper { mapping, limits, program: None, child: None, failures: Failures::default(), deaths: Vec::new() }
    }

    /// A mapper in a child process of `program`, which is a binary of this crate. It is started when it is first needed.
    pub fn apart(program: &Path, mapping: Arc<Mapping>, limits: MappingLimits) -> Mapper {
        Mapper { program: Some(program.to_owned()), ..Mapper::here(mapping, limits) }
    }

    /// Maps records in their order: the outcomes of the first of them, of one at least. After `enough` the rest is left
    /// for another call (in this process: never).
    ///
    /// # Errors
    /// [`NoMapper`]: nothing was mapped.
    pub fn map(&mut self, records: &[(&[u8], Provenance<'_>)], enough: Duration) -> Result<Vec<Mapped>, NoMapper> {
        if self.program.is_none() {
            return Ok(records.iter().map(|(value, provenance)| self.map_here(value, provenance)).collect());
        }
        let until = Instant::now() + enough;
        let mut outcomes = Vec::with_capacity(records.len());
        while outcomes.len() < records.len() {
            let rest = &records[outcomes.len()..];
            // What has no chance is not sent.
            if let Err(rejection) = check_limits(rest[0].0, self.limits.input) {
                outcomes.push(Err(rejection));
                continue;
            }
            let left = until.saturating_duration_since(Instant::now()).max(SLICE);
            let batch = self.batch(rest, self.failures.one_by_one, left);
            let before = outcomes.len();
            let fresh = self.child.is_none();
            match self.exchange(&batch, &mut outcomes) {
                // Part of a batch may end before the record it was about.
                Ok(()) if outcomes.len() - before == batch.records.len() => self.failures = Failures::default(),
                Ok(()) => {}
                Err(Trouble::Start(error)) => return Err(error),
                Err(Trouble::Death(death)) => {
                    let answered = outcomes.len() - before;
                    if let Some(detail) = self.failures.note(&death, fresh && answered == 0) {
                        outcomes.push(Err(failed(detail)));
                    }
                    self.deaths.push(death.to_string());
                }
            }
            if Instant::now() >= until && !outcomes.is_empty() {
                break;
            }
        }
        Ok(outcomes)
    }

    /// Why children have died since the last call.
    pub fn take_deaths(&mut self) -> Vec<String> {
        std::mem::take(&mut self.deaths)
    }

    fn map_here(&self, value: &[u8], provenance: &Provenance<'_>) -> Mapped {
        let mut events = Vec::new();
        self.mapping.map(value, provenance, &self.limits, &mut |event| events.push(event.to_owned()))?;
        Ok(events)
    }

    /// As many of the first records as fit. One that is over the limits ends it: its turn comes.
    fn batch(&self, records: &[(&[u8], Provenance<'_>)], one_by_one: bool, enough: Duration) -> Batch {
        let mut bytes = 0;
        let mut batch = Batch { records: Vec::new(), one_by_one, enough_ms: enough.as_millis() as u64 };
        for (value, provenance) in records.iter().take(BATCH_RECORDS) {
            bytes += value.len();
            let full = bytes > BATCH_BYTES || value.len() > self.limits.input.record_bytes_max;
            if full && !batch.records.is_empty() {
                break;
            }
            batch.records.push(Foreign::new(value, provenance));
        }
        batch
    }

    /// Sends a batch and takes its answers in.
    fn exchange(&mut self, batch: &Batch, outcomes: &mut Vec<Mapped>) -> Result<(), Trouble> {
        let mut child = match self.child.take() {
            Some(child) => child,
            None => self.start().map_err(Trouble::Start)?,
        };
        let each = &mut |answer| outcomes.push(outcome(answer));
        match child.ask(frame::frame(batch), self.answer_bytes_max(), each) {
            Ok(_) => {
                self.child = Some(child);
                Ok(())
            }
            Err(fault) => Err(Trouble::Death(child.bury(fault))),
        }
    }

    fn answer_bytes_max(&self) -> usize {
        self.limits.output_bytes_max + 16 * self.limits.outputs_max + (64 << 10)
    }

    fn start(&self) -> Result<Child, NoMapper> {
        let Some(program) = &self.program else { unreachable!("a mapper that runs here starts nothing") };
        let no_mapper = |reason: String| NoMapper { program: program.display().to_string(), reason };
        let size = |bytes: usize| bytes as u64;
        let record_bytes_max = size(self.limits.input.record_bytes_max);
        let start = Start {
            form: FORM,
            filter: self.mapping.source().into(),
            record_bytes_max,
            outputs_max: size(self.limits.outputs_max),
            output_bytes_max: size(self.limits.output_bytes_max),
            memory_bytes_max: MEMORY_BYTES + MEMORY_RECORDS * record_bytes_max,
            processor_seconds: PROCESSOR_SECONDS,
        };
        let start = frame::frame(&start);
        let mut reason = String::new();
        for _ in 0..TRIES {
            let mut child = Child::spawn(program).map_err(|error| no_mapper(error.to_string()))?;
            match child.ask(start.clone(), self.answer_bytes_max(), &mut |_| {}) {
                Ok(refusal) if refusal.is_empty() => return Ok(child),
                Ok(refusal) => return Err(no_mapper(refusal)),
                Err(fault) => reason = child.bury(fault).to_string(),
            }
        }
        Err(no_mapper(reason))
    }
}

fn outcome(answer: Answer) -> Mapped {
    if answer.reason.is_empty() {
        return Ok(answer.events);
    }
    let reason = RejectReason::parse(&answer.reason).unwrap_or(RejectReason::MappingFailed);
    Err(Rejection::new(reason, answer.detail))
}

/// What has gone wrong with the records that are to be mapped next.
#[derive(Default)]
struct Failures {
    one_by_one: bool,
    /// How many fresh children have died, one after the other, of the record that is first now.
    deaths: u32,
}

impl Failures {
    /// A child died, a fresh one of its first record or not. Says why the next record is rejected, if it is.
    fn note(&mut self, death: &Death, at_once: bool) -> Option<String> {
        let alone = std::mem::replace(&mut self.one_by_one, true) && at_once;
        if !alone {
            self.deaths = 0;
            return None;
        }
        self.deaths += 1;
        let cause = death.cause();
        if self.deaths < if cause.is_some() { PROOFS } else { TRIES } {
            return None;
        }
        self.deaths = 0;
        Some(cause.unwrap_or_else(|| format!("the mapper died {TRIES} times: {death}")))
    }
}

enum Trouble {
    /// There is no child.
    Start(NoMapper),
    /// There was one.
    Death(Death),
}

/// How a child ended.
enum Death {
    /// By itself, or by a signal.
    Ended(ExitStatus),
    /// It gave no sign of life, and we ended it.
    Stalled,
    /// It said what cannot be understood, and we ended it.
    Confused(String),
}

impl Death {
    /// What the record has done, where it was the record.
    fn cause(&self) -> Option<String> {
        use rustix::process::Signal;
        let Death::Ended(status) = self else { return None };
        let signal = status.signal().and_then(Signal::from_named_raw);
        match signal {
            Some(Signal::XCPU) => Some(format!("the filter takes more than {PROCESSOR_SECONDS} s of processor time")),
            Some(Signal::ABORT | Signal::SEGV | Signal::BUS) => {
                Some("the filter takes too much memory or recurses without end".into())
            }
            // A panic of the library.
            None => Some("the filter ends the mapper".into()),
            Some(_) => None,
        }
    }
}

impl std::fmt::Display for Death {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Death::Ended(status) => write!(f, "{}", self.cause().unwrap_or_else(|| status.to_string())),
            Death::Stalled => write!(f, "no sign of life for {} s", STALL.as_secs()),
            Death::Confused(what) => f.write_str(what),
        }
    }
}

/// Why a child can be used no more.
enum Fault {
    Gone,
    Stalled,
    Confused(String),
}

/// A running mapper. Dropped, it is killed and reaped.
struct Child {
    process: std::process::Child,
    received: Vec<u8>,
}

impl Child {
    fn spawn(program: &Path) -> io::Result<Child> {
        let mut process = Command::new(program)
            .arg0("touchstone")
            .arg(COMMAND)
            // It needs nothing of ours, least of all secrets.
            .env_clear()
            // An interrupt from the terminal is for us; it ends with its input.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // What a panic says may hold a record.
            .stderr(Stdio::null())
            .spawn()?;
        if let Some(input) = &process.stdin {
            let nonblocking = rustix::io::ioctl_fionbio(input, true);
            if let Err(error) = nonblocking {
                let _ = process.kill();
                let _ = process.wait();
                return Err(error.into());
            }
        }
        Ok(Child { process, received: Vec::new() })
    }

    /// Sends a message and takes answers in until the last one, whose detail is returned. Reading and writing go on side
    /// by side: both pipes may be full.
    fn ask(
        &mut self,
        message: Vec<u8>,
        answer_bytes_max: usize,
        each: &mut dyn FnMut(Answer),
    ) -> Result<String, Fault> {
        let (Some(input), Some(output)) = (&mut self.process.stdin, &mut self.process.stdout) else {
            return Err(Fault::Gone);
        };
        let mut unsent = message.as_slice();
        let mut chunk = vec![0; 64 << 10];
        let mut taken = 0;
        loop {
            while let Some((answer, length)) =
                frame::first::<Answer>(&self.received[taken..], answer_bytes_max).map_err(Fault::Confused)?
            {
                taken += length;
                if answer.last {
                    self.received.drain(..taken);
                    return Ok(answer.detail);
                }
                each(answer);
            }
            self.received.drain(..taken);
            taken = 0;
            let (writable, readable) = ready(input, output, !unsent.is_empty())?;
            if readable {
                match output.read(&mut chunk) {
                    Ok(0) => return Err(Fault::Gone),
                    Ok(length) => self.received.extend_from_slice(&chunk[..length]),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => return Err(Fault::Gone),
                }
            } else if writable {
                match input.write(unsent) {
                    Ok(length) => unsent = &unsent[length..],
                    Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                    // It is gone, but what it has answered before is still to be read.
                    Err(_) => unsent = &[],
                }
            }
        }
    }

    /// Ends it, and says what it died of.
    fn bury(mut self, fault: Fault) -> Death {
        // One that is ending keeps the status it ends with.
        let _ = self.process.kill();
        let waited = self.process.wait();
        match (fault, waited) {
            (Fault::Stalled, _) => Death::Stalled,
            (Fault::Confused(what), _) => Death::Confused(what),
            (Fault::Gone, Ok(status)) => Death::Ended(status),
            (Fault::Gone, Err(error)) => Death::Confused(error.to_string()),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may be buried already: then both calls do nothing.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Waits until one of the pipes can be used: (the input takes more, the output has something).
fn ready(
    input: &std::process::ChildStdin,
    output: &std::process::ChildStdout,
    unsent: bool,
) -> Result<(bool, bool), Fault> {
    let stall = Timespec { tv_sec: STALL.as_secs() as i64, tv_nsec: 0 };
    let mut both = [PollFd::new(output, PollFlags::IN), PollFd::new(input, PollFlags::OUT)];
    let waited = if unsent { &mut both[..] } else { &mut both[..1] };
    match poll(waited, Some(&stall)) {
        Ok(0) => Err(Fault::Stalled),
        Ok(_) => Ok((unsent && !both[1].revents().is_empty(), !both[0].revents().is_empty())),
        Err(rustix::io::Errno::INTR) => Ok((false, false)),
        Err(error) => Err(Fault::Confused(error.to_string())),
    }
}

/// The program that this process runs, for [`Mapper::apart`].
///
/// # Errors
/// The operating system does not tell.
pub fn this_program() -> io::Result<PathBuf> {
    // It can be started even when the file was replaced meanwhile.
    let own = Path::new("/proc/self/exe");
    if own.exists() { Ok(own.to_owned()) } else { std::env::current_exe() }
}

/// Runs this process as a mapper, over standard input and output.
///
/// # Errors
/// The pipes cannot be read or written: the parent is gone.
pub fn serve() -> io::Result<()> {
    child::serve(io::stdin().lock(), io::stdout().lock())
}
