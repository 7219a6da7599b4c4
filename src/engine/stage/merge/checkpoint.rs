//! What merge writes into the changelog at a checkpoint, and how it takes it back.
//!
//! The base of a restore: panes, ledger, and how far time was closed. What came after it is replayed from the
//! deltas, silently, by the same code that takes live sections.

use super::{Merge, SetTime, unreadable};
use crate::engine::cell::Cell;
use crate::engine::codec::{
    Checkpoint, Closed, CodecError, KeptLevel, KeptSeries, LEDGER_KEY, MergeMetadata, PaneKey, decode_checkpoint,
    decode_pane, decode_pane_key, encode_checkpoint, encode_pane, encode_pane_key, pane_hash,
};
use crate::engine::halt::{Halt, HaltCode};
use crate::engine::slice::Values;
use crate::engine::stage::store::Series;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What was read of a changelog beside the panes.
#[derive(Debug, Default)]
pub(super) struct Base {
    checkpoint: Option<Checkpoint>,
    /// Keys whose last record is of no use here, and its hash.
    stale: BTreeMap<Vec<u8>, u64>,
    /// Keys whose last record cannot be read, and why.
    damaged: BTreeMap<Vec<u8>, Halt>,
    /// The hashes of every key's last record, added up.
    contents: u64,
}

impl Base {
    /// The last record of a key is no longer the one of this hash.
    fn replaced(&mut self, hash: Option<u64>) {
        self.contents = self.contents.wrapping_sub(hash.unwrap_or(0));
    }

    /// Keeps a record as one of no use.
    fn keep_stale(&mut self, key: &[u8], hash: u64) {
        self.contents = self.contents.wrapping_add(hash);
        self.stale.insert(key.to_vec(), hash);
    }
}

impl Merge {
    /// Passes over one record of a changelog that is not to be trusted; the next checkpoint deletes it.
    pub fn discard(&mut self, key: &[u8], value: Option<&[u8]>) {
        if key == LEDGER_KEY {
            return; // it is written anew by every checkpoint
        }
        let before = self.base.stale.remove(key);
        self.base.replaced(before);
        if let Some(value) = value {
            self.base.keep_stale(key, pane_hash(key, value));
        }
    }

    /// Takes back one record of the changelog. What cannot be read counts only if nothing under its key follows: the
    /// log may still hold what was overwritten since.
    pub fn restore(&mut self, key: &[u8], value: Option<&[u8]>) {
        match self.take_back(key, value) {
            Ok(()) => _ = self.base.damaged.remove(key),
            Err(halt) => _ = self.base.damaged.insert(key.to_vec(), halt),
        }
    }

    fn take_back(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), Halt> {
        let damaged = |what: &str| {
            let detail = format!("changelog key {:?}: {what}", String::from_utf8_lossy(key));
            Halt::new(HaltCode::ChangelogDamaged, detail)
        };
        let unreadable = |error: &CodecError| match error {
            CodecError::Version(_) => unreadable(error, HaltCode::UnknownFormat),
            CodecError::Damaged(_) => damaged(&error.to_string()),
        };
        if key == LEDGER_KEY {
            let value = value.ok_or_else(|| damaged("the ledger has a tombstone"))?;
            self.base.checkpoint = Some(decode_checkpoint(value).map_err(|error| unreadable(&error))?);
            return Ok(());
        }
        let Some(pane) = decode_pane_key(key) else {
            // What has been deleted may have been anything.
            return if value.is_none() { Ok(()) } else { Err(damaged("no pane is called that")) };
        };
        let before = self.base.stale.remove(key);
        self.base.replaced(before);
        let hash = value.map_or(0, |value| pane_hash(key, value));
        let level = self.plan.geometry.levels().iter().position(|level| level.name() == pane.level);
        let series = self.series_of(&pane.set, &pane.group_by);
        let (Some(level), Some(index)) = (level, series) else {
            // A level or a group-by that is no longer configured has nothing to put back.
            if value.is_some() {
                self.base.keep_stale(key, hash);
            }
            return Ok(());
        };
        let series = &mut self.series[index];
        let plan = &self.plan.sets[series.set];
        let mut kept = None;
        if let Some(value) = value {
            let (cell, definitions, format) = decode_pane(value).map_err(|error| unreadable(&error))?;
            let width = plan.group_bys[series.by].dimensions.len();
            if definitions != plan.definitions[series.by] {
                self.base.keep_stale(key, hash);
            } else if !cell.fits(&Cell::new(plan.set.shape())) || pane.values.len() != width {
                return Err(damaged("a pane of another shape"));
            } else {
                kept = Some((cell, format));
            }
        }
        let before = match kept {
            Some((cell, format)) => {
                self.base.contents = self.base.contents.wrapping_add(hash);
                // What is in another format is written anew, or a binary that knows only ours could not go back to it.
                let pane_in_log = (pane.values, level, pane.start);
                series.restore(pane_in_log, cell, hash, format != self.plan.format)
            }
            None => {
                let slice = series.slices.get_mut(&pane.values);
                slice.and_then(|slice| slice.panes[level].remove(&pane.start)).and_then(|pane| pane.stored)
            }
        };
        self.base.replaced(before);
        Ok(())
    }

    /// The changelog has been read to its end. Sections in `[checkpoint, offset)` follow, shown to
    /// [`Merge::take`] before [`Merge::restored`].
    ///
    /// # Errors
    /// A record cannot be read, or the changelog is not of the checkpoint that the committed offset names.
    pub fn base_restored(&mut self, metadata: &MergeMetadata) -> Result<i64, Halt> {
        self.series
            .iter_mut()
            .for_each(|series| series.slices.retain(|_, slice| !slice.panes.iter().all(BTreeMap::is_empty)));
        let Base { checkpoint, stale, mut damaged, contents } = std::mem::take(&mut self.base);
        if let Some((_, halt)) = damaged.pop_first() {
            return Err(halt);
        }
        let found = checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.offset);
        if found != metadata.checkpoint {
            let named = metadata.checkpoint;
            let detail = format!(
                "the committed offset names the checkpoint at deltas offset {named}, the changelog holds {found}"
            );
            return Err(Halt::new(HaltCode::ChangelogLost, detail));
        }
        // A checkpoint writes what changed since the one before: a record that was lost would be missed by all of them.
        if checkpoint.as_ref().is_some_and(|checkpoint| checkpoint.contents.is_some_and(|named| named != contents)) {
            let detail = format!("it does not hold the panes that the checkpoint at deltas offset {found} counts on");
            return Err(Halt::new(HaltCode::ChangelogDamaged, detail));
        }
        self.state.contents = contents;
        self.state.stale = stale.into_iter().collect();
        self.state.published = metadata.published;
        self.state.accept_until = metadata.accept.unwrap_or(i64::MIN);
        self.state.checkpoint = found;
        if let Some(checkpoint) = checkpoint {
            self.state.offset = found;
            self.state.ledger = checkpoint.ledger.clone();
            self.take_back_coverage(&checkpoint);
        }
        for set in 0..self.plan.sets.len() {
            self.state.times[set] = self.time_of(set);
        }
        self.silent = true;
        Ok(self.state.offset)
    }

    /// What is kept now and was not, or was kept less long, is covered only from what came after the checkpoint.
    fn take_back_coverage(&mut self, checkpoint: &Checkpoint) {
        let anew = checkpoint.ledger.newest().map_or(i64::MIN, |newest| newest.saturating_add(1));
        let plan = Arc::clone(&self.plan);
        for (series, covered_from) in self.series.iter().zip(&mut self.state.series_from) {
            let set = &plan.sets[series.set];
            let same = |kept: &&KeptSeries| {
                kept.set == set.set.name()
                    && kept.group_by == set.group_bys[series.by].name
                    && kept.definitions == set.definitions[series.by]
            };
            *covered_from = checkpoint.series.iter().find(same).map_or(anew, |kept| kept.covered_from);
        }
        for (index, set) in plan.sets.iter().enumerate() {
            let Some(closed) = checkpoint.closed.iter().find(|closed| closed.set == set.set.name()) else {
                self.state.levels_from[index].fill(anew);
                continue;
            };
            let Closed { watermark, final_until, ref levels, .. } = *closed;
            self.state.times[index] = SetTime { watermark, final_until, ..SetTime::default() };
            for (level, geometry) in plan.geometry.levels().iter().enumerate() {
                let name = geometry.name();
                self.state.levels_from[index][level] = match levels.iter().find(|kept| kept.name == name) {
                    None => anew,
                    Some(kept) => {
                        let wanted = final_until.map_or(i64::MIN, |until| plan.geometry.kept_from(level, until));
                        if kept.kept_from > wanted { kept.covered_from.max(kept.kept_from) } else { kept.covered_from }
                    }
                };
            }
        }
    }

    /// Everything up to the committed offset has been taken back: goes live there.
    pub fn restored(&mut self, offset: i64) {
        self.state.offset = self.state.offset.max(offset);
        self.silent = false;
        self.closed.clear();
        self.commit_state();
    }

    /// Whether a first start is right: nothing was restored.
    pub fn is_pristine(&self) -> bool {
        self.state.ledger.is_empty() && self.series.iter().all(|series| series.slices.is_empty())
    }

    /// What the changelog must be told: tombstones, every pane that changed since the last time, the ledger.
    pub(super) fn checkpoint(&mut self) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        let plan = Arc::clone(&self.plan);
        let key = |series: &Series, values: &Values, level: usize, start: i64| {
            encode_pane_key(&PaneKey {
                set: plan.sets[series.set].set.name().into(),
                group_by: plan.sets[series.set].group_bys[series.by].name.clone(),
                level: plan.geometry.levels()[level].name(),
                start,
                values: values.clone(),
            })
        };
        let mut records = Vec::new();
        let mut contents = self.state.contents;
        for (key, hash) in &self.state.stale {
            contents = contents.wrapping_sub(*hash);
            records.push((key.clone(), None));
        }
        for (index, values, level, start, hash) in &self.state.gone {
            contents = contents.wrapping_sub(*hash);
            records.push((key(&self.series[*index], values, *level, *start), None));
        }
        self.storing.clear();
        for series in &self.series {
            let definitions = plan.sets[series.set].definitions[series.by];
            for (values, slice) in &series.slices {
                for (level, panes) in slice.panes.iter().enumerate() {
                    for (start, pane) in panes.iter().filter(|(_, pane)| pane.dirty) {
                        let value = encode_pane(&pane.cell, definitions, plan.format);
                        let key = key(series, values, level, *start);
                        let hash = pane_hash(&key, &value);
                        contents = contents.wrapping_sub(pane.stored.unwrap_or(0)).wrapping_add(hash);
                        self.storing.push(hash);
                        records.push((key, Some(value)));
                    }
                }
            }
        }
        (self.state.checkpoint, self.state.contents) = (self.state.offset, contents);
        let closed = plan.sets.iter().enumerate().map(|(index, set)| {
            let SetTime { watermark, final_until, .. } = self.state.times[index];
            let levels = plan.geometry.levels().iter().enumerate().map(|(level, geometry)| KeptLevel {
                name: geometry.name(),
                covered_from: self.state.levels_from[index][level],
                kept_from: final_until.map_or(i64::MIN, |until| plan.geometry.kept_from(level, until)),
            });
            Closed { set: set.set.name().into(), watermark, final_until, levels: levels.collect() }
        });
        let series = self.series.iter().zip(&self.state.series_from).map(|(series, covered_from)| {
            let set = &plan.sets[series.set];
            KeptSeries {
                set: set.set.name().into(),
                group_by: set.group_bys[series.by].name.clone(),
                definitions: set.definitions[series.by],
                covered_from: *covered_from,
            }
        });
        let (offset, ledger) = (self.state.offset, self.state.ledger.clone());
        let (closed, series) = (closed.collect(), series.collect());
        let checkpoint = Checkpoint { offset, ledger, closed, series, contents: Some(contents) };
        records.push((LEDGER_KEY.to_vec(), Some(encode_checkpoint(&checkpoint, plan.format))));
        self.checkpointing = true;
        records
    }
}
