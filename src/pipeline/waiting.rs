//! Records that wait for their mapping.
//!
//! A mapping runs in a process of its own, and a record at a time would be two switches each. So the records of a portion
//! wait in their task, in their order, and are mapped together before anything else happens to the tasks. A record that
//! takes the mapper's time away must not take the worker's: after two seconds the rest goes on waiting.

use super::input::{FILE_HEADER, InputSettings, ROW_HEADER, refused, text};
use crate::mapping::{Mapped, Mapper, MappingLimits, NoMapper, Provenance};
use crate::record::{Header, KeptRecord, Record};
use crate::touchpoint::Limits;
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The most events that one record may become.
const OUTPUTS_MAX: usize = 1_000;

/// How long one settling may take, as far as the filters are to blame: well below what the group gives a member.
const ENOUGH: Duration = Duration::from_secs(2);

/// What a portion of waiting records should have together at most, bytes.
const PORTION_BYTES: usize = 4 << 20;

/// The most records of a portion.
const PORTION: usize = 256;

/// Between two log lines about mappers that died.
const QUIET: Duration = Duration::from_secs(60);

/// A record, what the clock said when it was taken, and what its mapping made of it, once it has.
pub(super) struct Waiting {
    pub record: KeptRecord,
    pub now: i64,
    pub mapped: Option<Mapped>,
}

/// The mapper of each input that has a mapping.
pub(super) struct Mappers {
    mappers: Vec<Option<Mapper>>,
    /// Which task comes first: another one each time, so that none waits for a neighbour whose filter spins.
    turn: usize,
    /// The largest record of the last portion, as it came or as it was mapped.
    largest: usize,
    told_at: Option<Instant>,
    untold: usize,
}

/// The mapper of an input: in a child process of `program`, else in this process. `None` where it has no mapping.
pub fn mapper(input: &InputSettings, program: Option<&Path>) -> Option<Mapper> {
    let mapping = Arc::clone(input.mapping.as_ref()?);
    let limits = MappingLimits {
        input: Limits { record_bytes_max: input.record_bytes_max },
        outputs_max: OUTPUTS_MAX,
        output_bytes_max: input.record_bytes_max,
    };
    Some(match program {
        Some(program) => Mapper::apart(program, mapping, limits),
        None => Mapper::here(mapping, limits),
    })
}

/// Maps records of one input, each with its partition, in their order: the outcomes of the first of them, of one at
/// least.
///
/// # Errors
/// [`NoMapper`]: the process must end.
pub fn map(
    mapper: &mut Mapper,
    input: &InputSettings,
    records: &[(i32, &KeptRecord)],
    enough: Duration,
) -> Result<Vec<Mapped>, NoMapper> {
    let headers: Vec<Vec<Header<'_>>> = records.iter().map(|(_, record)| record.headers()).collect();
    let records: Vec<(i32, Record<'_>)> =
        records.iter().zip(&headers).map(|((partition, kept), headers)| (*partition, kept.record(headers))).collect();
    // What is known without the mapping does not go there.
    let known = |partition: i32, record: &Record<'_>| match refused(input, record) {
        Some(rejection) => Some(Err(rejection)),
        None => input.skip_offsets.contains(&(partition, record.offset)).then(|| Ok(Vec::new())),
    };
    let readable = records.iter().filter(|(partition, record)| known(*partition, record).is_none());
    let foreign = readable.map(|(partition, record)| {
        let provenance = match input.from_files {
            true => Provenance::File {
                file: text(record.header(FILE_HEADER)),
                row: text(record.header(ROW_HEADER)).parse().unwrap_or(0),
            },
            false => Provenance::Log { topic: &input.topic, partition: *partition, record },
        };
        (record.value.unwrap_or_default(), provenance)
    });
    let mut mapped = mapper.map(&foreign.collect::<Vec<_>>(), enough)?.into_iter();
    let outcome = |(partition, record): &(i32, Record<'_>)| known(*partition, record).or_else(|| mapped.next());
    Ok(records.iter().map_while(outcome).collect())
}

impl Mappers {
    pub fn new(inputs: &[InputSettings], program: Option<&Path>) -> Mappers {
        let mappers = inputs.iter().map(|input| mapper(input, program)).collect();
        Mappers { mappers, turn: 0, largest: 0, told_at: None, untold: 0 }
    }

    /// Whether records of this input wait.
    pub fn has(&self, input: usize) -> bool {
        self.mappers[input].is_some()
    }

    /// How many records may wait together: fewer where they are large.
    pub fn portion(&self) -> usize {
        match self.mappers.iter().any(Option::is_some) {
            true => (PORTION_BYTES / self.largest.max(1)).clamp(1, PORTION),
            false => usize::MAX,
        }
    }

    /// From which task on the next settling goes.
    pub fn next_turn(&mut self) -> usize {
        self.turn = self.turn.wrapping_add(1);
        self.turn
    }

    /// Maps the first of these queues' records, in the order of the queues.
    pub fn map(
        &mut self,
        index: usize,
        input: &InputSettings,
        mut queues: Vec<(i32, &mut VecDeque<Waiting>)>,
    ) -> Result<(), NoMapper> {
        let Some(mapper) = &mut self.mappers[index] else { return Ok(()) };
        let records: Vec<(i32, &KeptRecord)> = queues
            .iter()
            .flat_map(|(partition, queue)| queue.iter().map(move |waiting| (*partition, &waiting.record)))
            .collect();
        if records.is_empty() {
            return Ok(());
        }
        let mapped = map(mapper, input, &records, ENOUGH);
        let deaths = mapper.take_deaths();
        let came = records.iter().map(|(_, record)| record.value_bytes());
        let went = mapped.iter().flatten().flatten().map(|events| events.iter().map(String::len).sum());
        self.largest = came.chain(went).max().unwrap_or(0);
        if let Some(cause) = deaths.last() {
            self.tell(&input.topic, deaths.len(), cause);
        }
        let waiting = queues.iter_mut().flat_map(|(_, queue)| queue.iter_mut());
        waiting.zip(mapped?).for_each(|(waiting, mapped)| waiting.mapped = Some(mapped));
        Ok(())
    }

    /// One line a minute at most: a filter that dies of every record must not fill the log.
    fn tell(&mut self, topic: &str, deaths: usize, cause: &str) {
        self.untold += deaths;
        if self.told_at.is_some_and(|told_at| told_at.elapsed() < QUIET) {
            return;
        }
        tracing::warn!(
            topic,
            deaths = self.untold,
            cause,
            "mapper processes died and were replaced; a record that kills its mapper is rejected as mapping_failed"
        );
        (self.told_at, self.untold) = (Some(Instant::now()), 0);
    }
}
