//! What an operator's command makes of a source's committed offset: judged here, written by the command.
//!
//! The metadata beside a committed offset is the control plane. A foreign offset can be adopted, a gap accepted;
//! nothing else is ever written from outside, and only while no process is a member of the group.

use crate::engine::codec::{CodecError, FoldMetadata, Format, MergeMetadata};
use crate::engine::halt::HaltCode;
use crate::engine::plan::InputPlan;
use crate::engine::section::Phase;

/// A source as its log and its group stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its partition.
    pub partition: i32,
    /// The committed offset and the metadata beside it.
    pub committed: Option<(i64, String)>,
    /// The first offset of the log, and the one after its last record.
    pub bounds: (i64, i64),
    /// Timestamp of the first record of the log.
    pub first_timestamp: Option<i64>,
    /// The epoch under which merge has heard of it, if it has.
    pub known_epoch: Option<u32>,
}

/// What an input's source has come to, as an operator reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Where it is in its life, or what is wrong.
    pub state: String,
    /// What it remembers, where that can be read.
    pub memory: Option<FoldMetadata>,
    /// What is to be done, where something is.
    pub remedy: Option<String>,
}

/// Reads a source's standing.
pub fn list(input: &InputPlan, standing: &Standing) -> Listed {
    let listed = |state: &str, remedy: Option<&str>| Listed {
        state: state.into(),
        memory: None,
        remedy: remedy.map(String::from),
    };
    let Some((offset, text)) = &standing.committed else {
        return match standing.known_epoch.filter(|epoch| *epoch >= input.epoch) {
            None => listed("nothing committed", None),
            Some(_) => listed("offsets_lost", Some("raise the input's epoch to begin anew at its start")),
        };
    };
    let memory = match FoldMetadata::decode(text) {
        Ok(memory) => memory,
        Err(CodecError::Version(_)) => {
            return listed("unknown_format", Some("run the version that wrote it, or a later one"));
        }
        Err(CodecError::Damaged(_)) => {
            return listed("foreign_offsets", Some("raise the input's epoch, then `touchstone sources adopt`"));
        }
    };
    let (low, high) = standing.bounds;
    let position = memory.gap.unwrap_or(*offset).max(*offset);
    let (state, remedy) = if memory.epoch != input.epoch {
        let state = format!("{} under epoch {}", memory.phase.name(), memory.epoch);
        let remedy = (memory.epoch > input.epoch).then(|| format!("set the input's epoch to {}", memory.epoch));
        (state, remedy)
    } else if position > high {
        ("input_lost".into(), Some("the topic was re-created: raise the input's epoch".into()))
    } else if position < low || (memory.replay_from < low && memory.gap.is_none() && memory.replay_from < *offset) {
        ("input_lost".into(), Some("`touchstone sources accept-gap`".into()))
    } else {
        (memory.phase.name().into(), None)
    };
    Listed { state, memory: Some(memory), remedy }
}

/// The metadata that makes a foreign offset ours: the source joins there, under the configured epoch.
///
/// # Errors
/// Why it cannot be, and what to do instead.
pub fn adopt(input: &InputPlan, standing: &Standing, format: Format, now: i64) -> Result<(i64, String), String> {
    let place = format!("{}/{}", input.name, standing.partition);
    let Some((offset, text)) = &standing.committed else {
        return Err(format!(
            "{place}: nothing is committed, so there is nothing to adopt; the service begins at `start`"
        ));
    };
    match FoldMetadata::decode(text) {
        Ok(_) => return Err(format!("{place}: offset {offset} is ours already")),
        Err(error @ CodecError::Version(_)) => return Err(format!("{place}: offset {offset}: {error}")),
        Err(CodecError::Damaged(_)) => {}
    }
    if let Some(known) = standing.known_epoch.filter(|known| *known >= input.epoch) {
        return Err(format!(
            "{place}: it has been taken in under epoch {known}, and what it would send could not follow on: set the \
             input's epoch to {} first",
            known + 1
        ));
    }
    let (low, high) = standing.bounds;
    if *offset < low || *offset > high {
        return Err(format!("{place}: offset {offset} is not in the log, which holds [{low}, {high}); reset it first"));
    }
    let covered_from = if *offset == low { standing.first_timestamp.unwrap_or(now) } else { now };
    let adopted = FoldMetadata {
        epoch: input.epoch,
        phase: Phase::Left,
        covered_from,
        replay_from: *offset,
        ..FoldMetadata::default()
    };
    Ok((*offset, adopted.encode(format)))
}

/// The metadata that lets a source go on behind what its log has lost. The offset stays: the gap becomes a section of
/// its own, so that merge sees it too.
///
/// # Errors
/// Why it cannot be, and what to do instead.
pub fn accept_gap(input: &InputPlan, standing: &Standing, format: Format, now: i64) -> Result<(i64, String), String> {
    let place = format!("{}/{}", input.name, standing.partition);
    let Some((offset, text)) = &standing.committed else {
        return Err(format!("{place}: nothing is committed, so there is no gap"));
    };
    let memory = FoldMetadata::decode(text).map_err(|error| format!("{place}: offset {offset}: {error}"))?;
    if memory.epoch != input.epoch {
        let (was, is) = (memory.epoch, input.epoch);
        return Err(format!("{place}: it has been taken in under epoch {was}, configured is {is}"));
    }
    let (low, high) = standing.bounds;
    if *offset > high {
        return Err(format!(
            "{place}: offset {offset} lies behind the log, which holds [{low}, {high}): the topic was re-created or cut \
             short; raise the input's epoch"
        ));
    }
    if *offset >= low && (memory.replay_from >= low || memory.replay_from >= *offset) {
        return Err(format!("{place}: nothing is missing, the log holds [{low}, {high})"));
    }
    let gap = Some(low.max(*offset));
    let covered_from = standing.first_timestamp.unwrap_or(now).max(memory.covered_from);
    let replay_from = memory.replay_from.max(low);
    Ok((*offset, FoldMetadata { gap, covered_from, replay_from, ..memory }.encode(format)))
}

/// A merge task as its log, its group and its changelog stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergeStanding {
    /// Its deltas partition.
    pub partition: i32,
    /// The committed offset and the metadata beside it.
    pub committed: Option<(i64, String)>,
    /// The first offset of the deltas, and the one after their last record.
    pub bounds: (i64, i64),
    /// The deltas offset of the checkpoint in the changelog: `None` where it is empty, or why it cannot be read.
    pub checkpoint: Result<Option<i64>, String>,
}

/// How a halted merge task can go on: what its committed offset and metadata become, and what that costs.
///
/// # Errors
/// Why nothing can or need be done.
pub fn mend_merge(standing: &MergeStanding, format: Format) -> Result<(i64, String, &'static str), String> {
    let place = format!("merge task {}", standing.partition);
    let (low, high) = standing.bounds;
    let ours = standing.committed.as_ref().and_then(|(offset, text)| {
        let mut memory = MergeMetadata::decode(text).ok()?;
        Some((*offset, memory.halted.take(), memory))
    });
    let Some((offset, halted, memory)) = ours else {
        let Ok(Some(checkpoint)) = standing.checkpoint else {
            return Err(match (&standing.committed, &standing.checkpoint) {
                (None, Ok(_)) => {
                    format!("{place}: nothing is committed and the changelog is empty: it begins anew by itself")
                }
                _ => format!(
                    "{place}: neither the committed offset nor the changelog can be used: delete both (the merge group's \
                     offset and the changelog's records of this partition), and it begins anew from the deltas"
                ),
            });
        };
        let accept = (checkpoint < low).then_some(high);
        let memory = MergeMetadata { checkpoint, accept, ..MergeMetadata::default() };
        let cost = "takes up at its checkpoint; what was published since then is published again, with the same values";
        return Ok((checkpoint.max(low), memory.encode(format), cost));
    };
    let accepted = |offset: i64, checkpoint: i64, accept: i64| {
        (offset, MergeMetadata { checkpoint, accept: Some(accept.max(1)), ..memory.clone() }.encode(format))
    };
    let found = standing.checkpoint.as_ref().map(|checkpoint| checkpoint.unwrap_or(0));
    // The ledger's record alone does not show that a pane is damaged; the task that met it has said so.
    let damaged = halted.is_some_and(|code| code == HaltCode::ChangelogDamaged.name());
    if damaged || found != Ok(memory.checkpoint) {
        let (offset, text) = accepted(offset.max(low), 0, offset.max(low));
        let cost = "is rebuilt from the deltas; windows that reach back before the first of them say from when they are covered";
        return Ok((offset, text, cost));
    }
    // Where all that was lost was the end, the first record that comes is the one that does not follow on.
    let accept = if offset < low { high.max(low.saturating_add(1)) } else { high };
    let (offset, text) = accepted(offset.max(low), memory.checkpoint, accept);
    Ok((offset, text, "goes on; windows say from when they are covered"))
}

/// The epoch under which any merge task has heard of a source.
pub fn known_epoch(merge: &[Option<(i64, String)>], input: &str, partition: i32) -> Option<u32> {
    let metadata = merge.iter().flatten().filter_map(|(_, text)| MergeMetadata::decode(text).ok());
    let known = metadata.filter_map(|metadata| metadata.known.get(input).cloned());
    known.filter(|known| known.partitions.contains(&partition)).map(|known| known.epoch).max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::watermark::Policy;

    fn input(epoch: u32) -> InputPlan {
        let policy = Policy { out_of_orderness_ms: 0, idle_timeout_ms: 0, lateness_ms: 0, bounded: false };
        InputPlan { name: "calls".into(), epoch, policy, dedup: true, dedup_ids_max: 1, feeds: vec![] }
    }

    fn standing(committed: Option<(i64, &str)>, bounds: (i64, i64), known_epoch: Option<u32>) -> Standing {
        let committed = committed.map(|(offset, text)| (offset, text.to_string()));
        Standing { partition: 3, committed, bounds, first_timestamp: Some(77), known_epoch }
    }

    #[test]
    fn a_foreign_offset_is_adopted_under_an_epoch_that_merge_has_not_seen() {
        let foreign = standing(Some((7, "")), (5, 9), Some(1));
        assert_eq!(list(&input(1), &foreign).state, "foreign_offsets");
        assert!(adopt(&input(1), &foreign, Format::LATEST, 99).unwrap_err().contains("epoch to 2"));
        let (offset, text) = adopt(&input(2), &foreign, Format::LATEST, 99).unwrap();
        let memory = FoldMetadata::decode(&text).unwrap();
        assert_eq!((offset, memory.epoch, memory.phase, memory.covered_from), (7, 2, Phase::Left, 99));
        assert!(adopt(&input(2), &standing(Some((7, &text)), (5, 9), None), Format::LATEST, 0).is_err(), "it is ours");
        assert!(adopt(&input(2), &standing(Some((3, "")), (5, 9), None), Format::LATEST, 0).is_err(), "it is gone");
        assert!(adopt(&input(2), &standing(None, (5, 9), None), Format::LATEST, 0).is_err(), "there is none");
    }

    #[test]
    fn a_gap_is_accepted_where_there_is_one() {
        let memory = FoldMetadata { epoch: 1, replay_from: 4, covered_from: 50, ..FoldMetadata::default() };
        let text = memory.encode(Format::LATEST);
        let whole = standing(Some((7, &text)), (4, 9), Some(1));
        assert_eq!(list(&input(1), &whole).state, "live");
        assert!(accept_gap(&input(1), &whole, Format::LATEST, 99).unwrap_err().contains("nothing is missing"));
        // Both what comes next and what is to be learned again may be gone.
        for (bounds, gap, replay_from) in [((12, 20), 12, 12), ((5, 9), 7, 5)] {
            let lost = standing(Some((7, &text)), bounds, Some(1));
            assert_eq!(list(&input(1), &lost).state, "input_lost");
            let (offset, text) = accept_gap(&input(1), &lost, Format::LATEST, 99).unwrap();
            let memory = FoldMetadata::decode(&text).unwrap();
            assert_eq!((offset, memory.gap, memory.replay_from, memory.covered_from), (7, Some(gap), replay_from, 77));
            assert_eq!(list(&input(1), &standing(Some((7, &text)), bounds, Some(1))).remedy, None);
        }
        let shorter = standing(Some((7, &text)), (0, 3), Some(1));
        assert!(accept_gap(&input(1), &shorter, Format::LATEST, 99).unwrap_err().contains("raise the input's epoch"));
    }

    #[test]
    fn a_merge_task_is_mended_by_what_is_left_of_it() {
        let memory = MergeMetadata { checkpoint: 5, halted: Some("x".into()), ..MergeMetadata::default() };
        let text = memory.encode(Format::LATEST);
        let standing = |committed: Option<(i64, &str)>, bounds, checkpoint| MergeStanding {
            partition: 0,
            committed: committed.map(|(offset, text): (i64, &str)| (offset, text.to_string())),
            bounds,
            checkpoint,
        };
        let mended = |standing: &MergeStanding| {
            let (offset, text, _) = mend_merge(standing, Format::LATEST).unwrap();
            let memory = MergeMetadata::decode(&text).unwrap();
            assert_eq!(memory.halted, None);
            (offset, memory.checkpoint, memory.accept)
        };
        // Offsets lost, or somebody else's: the checkpoint says where.
        assert_eq!(mended(&standing(None, (0, 9), Ok(Some(5)))), (5, 5, None));
        assert_eq!(mended(&standing(Some((3, "?")), (7, 9), Ok(Some(5)))), (7, 5, Some(9)));
        assert!(mend_merge(&standing(None, (0, 9), Ok(None)), Format::LATEST).is_err());
        assert!(mend_merge(&standing(None, (0, 9), Err("damaged".into())), Format::LATEST).is_err());
        // The changelog is lost, damaged or another: the deltas have it all.
        for checkpoint in [Ok(None), Ok(Some(4)), Err("damaged".into())] {
            assert_eq!(mended(&standing(Some((8, &text)), (0, 9), checkpoint)), (8, 0, Some(8)));
        }
        let of_damage = MergeMetadata { halted: Some("changelog_damaged".into()), ..memory.clone() };
        let of_damage = of_damage.encode(Format::LATEST);
        assert_eq!(mended(&standing(Some((8, &of_damage)), (0, 9), Ok(Some(5)))), (8, 0, Some(8)));
        // Deltas are lost, or do not follow on.
        assert_eq!(mended(&standing(Some((8, &text)), (6, 9), Ok(Some(5)))), (8, 5, Some(9)));
        assert_eq!(mended(&standing(Some((8, &text)), (20, 30), Ok(Some(5)))), (20, 5, Some(30)));
        // Nothing is left of them: the first that comes does not follow on.
        assert_eq!(mended(&standing(Some((8, &text)), (20, 20), Ok(Some(5)))), (20, 5, Some(21)));
    }

    #[test]
    fn what_was_known_and_has_no_offset_is_lost() {
        assert_eq!(list(&input(1), &standing(None, (0, 3), None)).state, "nothing committed");
        assert_eq!(list(&input(1), &standing(None, (0, 3), Some(1))).state, "offsets_lost");
        assert_eq!(list(&input(2), &standing(None, (0, 3), Some(1))).state, "nothing committed");
    }
}
