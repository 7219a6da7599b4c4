//! Delta records as protobuf: the sections of one fold commit.

use super::cells::{put_cell, read_cell};
use super::wire::{Fields, once, put_bytes, put_fixed, put_message};
use super::{CodecError, Format};
use crate::engine::section::{Group, Phase, Section, SourceId, Standing};
use prost::Message;
use std::borrow::Cow;

#[derive(Clone, PartialEq, Message)]
struct DeltaWire {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(message, repeated, tag = "2")]
    sections: Vec<SectionWire>,
}

#[derive(Clone, PartialEq, Message)]
struct StandingWire {
    #[prost(sint64, tag = "1")]
    offset: i64,
    #[prost(sint64, optional, tag = "2")]
    watermark: Option<i64>,
    #[prost(sint64, tag = "3")]
    accepted: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SectionWire {
    #[prost(string, tag = "1")]
    input: String,
    #[prost(uint32, tag = "2")]
    epoch: u32,
    #[prost(int32, tag = "3")]
    partition: i32,
    #[prost(int32, tag = "4")]
    partitions: i32,
    #[prost(message, optional, tag = "5")]
    from: Option<StandingWire>,
    #[prost(message, optional, tag = "6")]
    to: Option<StandingWire>,
    #[prost(sint64, optional, tag = "7")]
    newest: Option<i64>,
    #[prost(sint64, optional, tag = "8")]
    oldest: Option<i64>,
    #[prost(sint64, tag = "9")]
    covered_from: i64,
    #[prost(message, repeated, tag = "10")]
    events: Vec<EventsWire>,
    /// Each the fields of a group-by.
    #[prost(bytes = "vec", repeated, tag = "11")]
    groups: Vec<Vec<u8>>,
    /// The place in [`Phase::ALL`].
    #[prost(uint32, tag = "12")]
    phase: u32,
    #[prost(fixed32, tag = "13")]
    plan: u32,
    #[prost(sint64, tag = "14")]
    base: i64,
    #[prost(sint64, optional, tag = "15")]
    horizon: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct EventsWire {
    #[prost(string, tag = "1")]
    set: String,
    #[prost(sint64, tag = "2")]
    events: i64,
}

/// The fields of a group-by: metric set, name, definitions (fixed width), cells.
const SET: u32 = 1;
const GROUP_BY: u32 = 2;
const DEFINITIONS: u32 = 3;
const CELLS: u32 = 4;

/// One delta record: the sections of one fold commit.
pub fn encode_delta(sections: &[Section<'_>], format: Format) -> Vec<u8> {
    let sections = sections.iter().map(|section| section_to_wire(section, format)).collect();
    DeltaWire { version: format.number(), sections }.encode_to_vec()
}

/// The sections of a delta record.
///
/// # Errors
/// [`CodecError`]: the record is of another version, or is none.
pub fn decode_delta(bytes: &[u8]) -> Result<Vec<Section<'static>>, CodecError> {
    let wire = DeltaWire::decode(bytes).map_err(|error| CodecError::Damaged(error.to_string()))?;
    Format::read(wire.version)?;
    wire.sections.into_iter().map(section_from_wire).collect()
}

fn standing_to_wire(standing: &Standing) -> StandingWire {
    StandingWire { offset: standing.offset, watermark: standing.watermark, accepted: standing.accepted }
}

fn standing_from_wire(wire: Option<StandingWire>) -> Result<Standing, CodecError> {
    let wire = wire.ok_or_else(|| CodecError::Damaged("a section without its range".into()))?;
    Ok(Standing { offset: wire.offset, watermark: wire.watermark, accepted: wire.accepted })
}

pub(super) fn section_to_wire(section: &Section<'_>, format: Format) -> SectionWire {
    let phase = Phase::ALL.iter().position(|phase| *phase == section.phase).expect("every phase is listed");
    SectionWire {
        input: section.source.input.to_string(),
        epoch: section.source.epoch,
        partition: section.source.partition,
        partitions: section.partitions,
        from: Some(standing_to_wire(&section.from)),
        to: Some(standing_to_wire(&section.to)),
        newest: section.newest,
        oldest: section.oldest,
        covered_from: section.covered_from,
        events: section.events.iter().map(|(set, events)| EventsWire { set: set.clone(), events: *events }).collect(),
        groups: section.groups.iter().map(|group| group_to_wire(group, format)).collect(),
        phase: u32::try_from(phase).expect("there are few phases"),
        plan: section.plan,
        base: section.base,
        horizon: section.horizon,
    }
}

pub(super) fn section_from_wire(wire: SectionWire) -> Result<Section<'static>, CodecError> {
    let phase = Phase::ALL.get(wire.phase as usize);
    let phase = *phase.ok_or_else(|| CodecError::Damaged(format!("a section of phase {}", wire.phase)))?;
    if wire.base <= 0 || wire.partitions < 0 || wire.partition < 0 {
        return Err(CodecError::Damaged("a section with a pane or a partition that cannot be".into()));
    }
    Ok(Section {
        source: SourceId { input: wire.input.into(), epoch: wire.epoch, partition: wire.partition },
        phase,
        partitions: wire.partitions,
        plan: wire.plan,
        base: wire.base,
        from: standing_from_wire(wire.from)?,
        to: standing_from_wire(wire.to)?,
        horizon: wire.horizon,
        newest: wire.newest,
        oldest: wire.oldest,
        covered_from: wire.covered_from,
        events: wire.events.into_iter().map(|events| (events.set, events.events)).collect(),
        groups: wire.groups.iter().map(|group| group_from_wire(group)).collect::<Result<_, _>>()?,
    })
}

fn group_to_wire(group: &Group<'_>, format: Format) -> Vec<u8> {
    let mut fields = Vec::new();
    let names = [(SET, &group.set), (GROUP_BY, &group.group_by)];
    names
        .iter()
        .filter(|(_, name)| !name.is_empty())
        .for_each(|(tag, name)| put_bytes(&mut fields, *tag, name.as_bytes()));
    if group.definitions != 0 {
        put_fixed(&mut fields, DEFINITIONS, group.definitions);
    }
    for (values, pane, cell) in &group.cells {
        put_message(&mut fields, CELLS, |fields| put_cell(fields, values, *pane, cell, format));
    }
    fields
}

fn group_from_wire(bytes: &[u8]) -> Result<Group<'static>, CodecError> {
    let damaged = || CodecError::Damaged("a group-by whose fields do not fit".into());
    let text = |value: Option<&[u8]>| value.and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
    let (mut set, mut group_by, mut definitions, mut cells) = (None, None, None, Vec::new());
    for field in Fields(bytes) {
        let (tag, value) = field.ok_or_else(damaged)?;
        let put = match tag {
            SET => once(&mut set, text(value.bytes())),
            GROUP_BY => once(&mut group_by, text(value.bytes())),
            DEFINITIONS => once(&mut definitions, value.fixed()),
            CELLS => {
                let (values, pane, cell) = read_cell(value.bytes().ok_or_else(damaged)?)?;
                cells.push((values, pane, Cow::Owned(cell)));
                Some(())
            }
            _ => Some(()),
        };
        put.ok_or_else(damaged)?;
    }
    let (set, group_by) = (set.unwrap_or_default(), group_by.unwrap_or_default());
    Ok(Group { set, group_by, definitions: definitions.unwrap_or_default(), cells })
}
