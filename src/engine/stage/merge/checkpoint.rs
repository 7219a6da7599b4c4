//! What merge writes into the changelog at a checkpoint, and how it takes it back.
//!
//! The base of a restore: panes, ledger, and how far time was closed. What came after it is replayed from the
//! deltas, silently, by the same code that takes live sections.

use super::{Merge, SetTime};
use crate::engine::cell::Cell;
use crate::engine::codec::{
    Checkpoint, Closed, CodecError, MergeMetadata, PaneKey, decode_checkpoint, decode_pane, decode_pane_key,
    encode_checkpoint, encode_pane, encode_pane_key,
};
use crate::engine::slice::Values;
use crate::engine::stage::store::Series;
use crate::engine::window::Level;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The key of the ledger's record in the changelog.
const LEDGER_KEY: &[u8] = b"ledger";

impl Merge {
    /// Takes back one record of the changelog.
    ///
    /// # Errors
    /// The record is damaged, of another version, or was counted under other definitions.
    pub fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), CodecError> {
        if key == LEDGER_KEY {
            let value = value.ok_or_else(|| CodecError::Damaged("the ledger has a tombstone".into()))?;
            let checkpoint = decode_checkpoint(value)?;
            self.state.ledger = checkpoint.ledger;
            self.state.checkpoint = checkpoint.offset;
            self.state.offset = checkpoint.offset;
            for Closed { set, watermark, final_until } in checkpoint.closed {
                if let Some(index) = self.plan.sets.iter().position(|plan| plan.set.name() == set) {
                    self.state.times[index] = SetTime { watermark, final_until, ..SetTime::default() };
                }
            }
            return Ok(());
        }
        let damaged = || CodecError::Damaged(format!("changelog key {:?}", String::from_utf8_lossy(key)));
        let key = decode_pane_key(key).ok_or_else(damaged)?;
        // A level or a group-by that is no longer configured has nothing to put back.
        let level = self.plan.geometry.levels().iter().position(|level| level_name(level) == key.level);
        let (Some(level), Some(series)) = (level, self.series_of(&key.set, &key.group_by)) else { return Ok(()) };
        let Some(value) = value else {
            self.series[series]
                .slices
                .entry(key.values)
                .and_modify(|slice| drop(slice.panes[level].remove(&key.start)));
            return Ok(());
        };
        let (cell, definitions) = decode_pane(value)?;
        let series = &mut self.series[series];
        let plan = &self.plan.sets[series.set];
        if definitions != plan.definitions[series.by] || !cell.fits(&Cell::new(plan.set.shape())) {
            return Err(CodecError::Damaged(format!(
                "{}/{} was counted under definitions {definitions:08x}, configured is {:08x}",
                key.set, key.group_by, plan.definitions[series.by]
            )));
        }
        series.restore(key.values, level, key.start, cell);
        Ok(())
    }

    /// The changelog has been read to its end. Sections in `[checkpoint, offset)` follow, shown to
    /// [`Merge::take`] before [`Merge::restored`].
    ///
    /// # Errors
    /// A name for what is wrong: the changelog is not of the checkpoint that the committed offset names.
    pub fn base_restored(&mut self, metadata: &MergeMetadata) -> Result<i64, String> {
        self.series
            .iter_mut()
            .for_each(|series| series.slices.retain(|_, slice| !slice.panes.iter().all(BTreeMap::is_empty)));
        if self.state.checkpoint != metadata.checkpoint {
            return Err(format!(
                "changelog lost or damaged: the committed offset names the checkpoint at deltas offset {}, the changelog holds {}",
                metadata.checkpoint, self.state.checkpoint
            ));
        }
        self.state.published = metadata.published;
        let plan = Arc::clone(&self.plan);
        for set in 0..plan.sets.len() {
            self.state.times[set] = self.time_of(set);
        }
        self.silent = true;
        Ok(self.state.offset)
    }

    /// Everything up to the committed offset has been taken back: goes live.
    pub fn restored(&mut self) {
        self.silent = false;
        self.finals.clear();
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
                level: level_name(&plan.geometry.levels()[level]),
                start,
                values: values.clone(),
            })
        };
        let mut records = Vec::new();
        for (index, values, level, start) in &self.state.gone {
            records.push((key(&self.series[*index], values, *level, *start), None));
        }
        for series in &self.series {
            let definitions = plan.sets[series.set].definitions[series.by];
            for (values, slice) in &series.slices {
                for (level, panes) in slice.panes.iter().enumerate() {
                    for (start, pane) in panes.iter().filter(|(_, pane)| pane.dirty) {
                        let value = encode_pane(&pane.cell, definitions);
                        records.push((key(series, values, level, *start), Some(value)));
                    }
                }
            }
        }
        self.state.checkpoint = self.state.offset;
        let closed = plan.sets.iter().zip(&self.state.times).map(|(plan, time)| Closed {
            set: plan.set.name().into(),
            watermark: time.watermark,
            final_until: time.final_until,
        });
        let (offset, ledger) = (self.state.offset, self.state.ledger.clone());
        let checkpoint = Checkpoint { offset, ledger, closed: closed.collect() };
        records.push((LEDGER_KEY.to_vec(), Some(encode_checkpoint(&checkpoint))));
        self.checkpointing = true;
        records
    }
}

/// The name of a level in the changelog, independent of which other levels there are.
fn level_name(level: &Level) -> String {
    match level {
        Level::Fixed(size) => format!("{size}ms"),
        Level::Day(zone) => format!("day:{}", zone.name()),
        Level::Ever => "ever".into(),
    }
}
