//! The mapper process: `touchstone mapper`, started by the service and by `replay`, never by a person.
//!
//! It maps what comes in over its standard input and answers over its standard output, and does nothing else. The
//! operating system holds its limits: too much memory or a recursion without end aborts it, too much processor time
//! for one record ends it. It ends with its owner, because its input ends.

use super::frame::{self, Answer, Batch, FORM, Foreign, Start};
use super::{Mapping, MappingLimits};
use crate::touchpoint::Limits;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use std::io::{self, BufWriter, Read, Write};
use std::time::{Duration, Instant};

/// How long answers may lie in the buffer while the next record is mapped.
const LINGER: Duration = Duration::from_millis(50);

/// Serves its owner until the input ends.
///
/// # Errors
/// The pipes are broken: there is nobody to tell.
pub fn serve(mut input: impl Read, output: impl Write) -> io::Result<()> {
    let Some(start) = frame::read::<Start>(&mut input)? else { return Ok(()) };
    let mut output = BufWriter::with_capacity(64 << 10, output);
    let prepared = prepare(&start);
    let detail = prepared.as_ref().err().cloned().unwrap_or_default();
    frame::write(&mut output, &Answer { detail, last: true, ..Answer::default() })?;
    output.flush()?;
    let Ok((mapping, limits)) = prepared else { return Ok(()) };
    let mut allowance = Allowance { seconds: start.processor_seconds, until: Duration::ZERO };
    while let Some(batch) = frame::read::<Batch>(&mut input)? {
        let begun = Instant::now();
        let mut flushed = begun;
        for record in &batch.records {
            allowance.renew()?;
            frame::write(&mut output, &map(&mapping, &limits, record))?;
            let now = Instant::now();
            if batch.one_by_one || now - flushed > LINGER {
                output.flush()?;
                flushed = now;
            }
            if now - begun > Duration::from_millis(batch.enough_ms) {
                break;
            }
        }
        frame::write(&mut output, &Answer { last: true, ..Answer::default() })?;
        output.flush()?;
    }
    Ok(())
}

fn prepare(start: &Start) -> Result<(Mapping, MappingLimits), String> {
    if start.form != FORM {
        return Err("the program was replaced while it ran: restart the service".into());
    }
    // What a core file would hold is personal data.
    limit(Resource::Core, 0).and_then(|()| limit(Resource::As, start.memory_bytes_max)).map_err(|e| e.to_string())?;
    let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    let limits = MappingLimits {
        input: Limits { record_bytes_max: size(start.record_bytes_max) },
        outputs_max: size(start.outputs_max),
        output_bytes_max: size(start.output_bytes_max),
    };
    let mapping = Mapping::compile(&start.filter).map_err(|error| error.to_string())?;
    Ok((mapping, limits))
}

fn map(mapping: &Mapping, limits: &MappingLimits, record: &Foreign) -> Answer {
    let mut events = Vec::new();
    let mapped = record.with_provenance(|provenance| {
        mapping.map(&record.value, provenance, limits, &mut |event| events.push(event.to_owned()))
    });
    match mapped {
        Ok(_) => Answer { events, ..Answer::default() },
        Err(rejection) => {
            Answer { reason: rejection.reason.name().into(), detail: rejection.detail, ..Answer::default() }
        }
    }
}

/// The processor time that the next record may take: a limit of the whole process, moved on as it is used up.
struct Allowance {
    seconds: u64,
    until: Duration,
}

impl Allowance {
    /// Leaves the next record at least `seconds`, and at most one more. The limit counts whole seconds.
    fn renew(&mut self) -> io::Result<()> {
        let used = clock_gettime(ClockId::ProcessCPUTime);
        let used = Duration::new(u64::try_from(used.tv_sec).unwrap_or(0), u32::try_from(used.tv_nsec).unwrap_or(0));
        if used + Duration::from_secs(self.seconds) > self.until {
            let until = used.as_secs() + self.seconds + 1;
            limit(Resource::Cpu, until)?;
            self.until = Duration::from_secs(until);
        }
        Ok(())
    }
}

/// Sets the limit that acts; the one above it stays, for it can only be lowered.
fn limit(resource: Resource, value: u64) -> io::Result<()> {
    let maximum = getrlimit(resource).maximum;
    let current = Some(maximum.map_or(value, |maximum| value.min(maximum)));
    Ok(setrlimit(resource, Rlimit { current, maximum })?)
}
