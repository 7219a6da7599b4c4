//! The metadata beside a committed offset: the control plane. Text, so that Kafka's own tools show it:
//! `touchstone-fold 1 epoch=1 watermark=915346800000 newest=... accepted=7`.

use super::{CodecError, VERSION};
use crate::engine::section::Totals;
use crate::touchpoint::RejectReason;
use std::collections::BTreeMap;

/// The longest metadata Kafka takes by default (`offset.metadata.max.bytes`).
pub const METADATA_BYTES_MAX: usize = 4096;

/// What a fold task remembers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FoldMetadata {
    /// The input's epoch.
    pub epoch: u32,
    /// The watermark at the offset.
    pub watermark: Option<i64>,
    /// The newest accepted event time.
    pub newest: Option<i64>,
    /// The oldest accepted event time.
    pub oldest: Option<i64>,
    /// From when the source is covered.
    pub covered_from: i64,
    /// The offset after which every remembered id lies.
    pub replay_from: i64,
    /// Ids before this time were pushed out by the bound, if any were.
    pub dedup_floor: Option<i64>,
    /// Lifetime counts.
    pub totals: Totals,
    /// Lifetime rejected items by reason, zeros left out.
    pub rejected: BTreeMap<RejectReason, i64>,
}

impl FoldMetadata {
    /// The text that is stored.
    pub fn encode(&self) -> String {
        let mut text = format!("touchstone-fold {VERSION} epoch={}", self.epoch);
        let mut optional = |name: &str, value: Option<i64>| {
            if let Some(value) = value {
                text.push_str(&format!(" {name}={value}"));
            }
        };
        optional("watermark", self.watermark);
        optional("newest", self.newest);
        optional("oldest", self.oldest);
        optional("dedup_floor", self.dedup_floor);
        optional("covered_from", Some(self.covered_from));
        optional("replay_from", Some(self.replay_from));
        let totals = &self.totals;
        optional("records", Some(totals.records));
        optional("accepted", Some(totals.accepted));
        optional("late", Some(totals.late));
        optional("duplicate", Some(totals.duplicate));
        optional("conflicting", Some(totals.conflicting));
        optional("rejected", Some(totals.rejected));
        optional("skipped", Some(totals.skipped));
        for (reason, count) in &self.rejected {
            optional(&format!("rejected.{}", reason.name()), Some(*count));
        }
        text
    }

    /// What the text says.
    ///
    /// # Errors
    /// [`CodecError`]: it is not ours, or of another version.
    pub fn decode(text: &str) -> Result<FoldMetadata, CodecError> {
        let fields = Fields::parse(text, "touchstone-fold")?;
        let mut rejected = BTreeMap::new();
        for reason in RejectReason::ALL {
            if let Some(count) = fields.get(&format!("rejected.{}", reason.name()))? {
                rejected.insert(reason, count);
            }
        }
        let by_reason = rejected.values().try_fold(0i64, |sum, count| sum.checked_add(*count));
        if by_reason != Some(fields.need("rejected")?) {
            return Err(CodecError::Damaged("the reasons do not add up to the rejected items".into()));
        }
        Ok(FoldMetadata {
            epoch: u32::try_from(fields.need("epoch")?).map_err(|_| CodecError::Damaged("epoch".into()))?,
            watermark: fields.get("watermark")?,
            newest: fields.get("newest")?,
            oldest: fields.get("oldest")?,
            covered_from: fields.need("covered_from")?,
            replay_from: fields.need("replay_from")?,
            dedup_floor: fields.get("dedup_floor")?,
            totals: Totals {
                records: fields.need("records")?,
                accepted: fields.need("accepted")?,
                late: fields.need("late")?,
                duplicate: fields.need("duplicate")?,
                conflicting: fields.need("conflicting")?,
                rejected: fields.need("rejected")?,
                skipped: fields.need("skipped")?,
            },
            rejected,
        })
    }
}

/// What a merge task remembers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MergeMetadata {
    /// The deltas offset of the last checkpoint in the changelog; 0 before the first.
    pub checkpoint: i64,
    /// The greatest watermark over its metric sets, if there is one.
    pub watermark: Option<i64>,
    /// The deltas offset that its last `_watermark` record named.
    pub published: Option<i64>,
}

impl MergeMetadata {
    /// The text that is stored.
    pub fn encode(&self) -> String {
        let mut text = format!("touchstone-merge {VERSION} checkpoint={}", self.checkpoint);
        if let Some(watermark) = self.watermark {
            text.push_str(&format!(" watermark={watermark}"));
        }
        if let Some(published) = self.published {
            text.push_str(&format!(" published={published}"));
        }
        text
    }

    /// What the text says.
    ///
    /// # Errors
    /// [`CodecError`]: it is not ours, or of another version.
    pub fn decode(text: &str) -> Result<MergeMetadata, CodecError> {
        let fields = Fields::parse(text, "touchstone-merge")?;
        Ok(MergeMetadata {
            checkpoint: fields.need("checkpoint")?,
            watermark: fields.get("watermark")?,
            published: fields.get("published")?,
        })
    }
}

struct Fields<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Fields<'a> {
    fn parse(text: &'a str, magic: &str) -> Result<Fields<'a>, CodecError> {
        let mut words = text.split(' ');
        if words.next() != Some(magic) {
            return Err(CodecError::Damaged(format!("does not begin with {magic}: these offsets are not ours")));
        }
        let version = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
        if version != VERSION {
            return Err(CodecError::Version(version));
        }
        Ok(Fields(words.filter_map(|word| word.split_once('=')).collect()))
    }

    fn get(&self, name: &str) -> Result<Option<i64>, CodecError> {
        let Some(text) = self.0.get(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| CodecError::Damaged(format!("{name}={text} is not a number")))
    }

    fn need(&self, name: &str) -> Result<i64, CodecError> {
        self.get(name)?.ok_or_else(|| CodecError::Damaged(format!("{name} is missing")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_comes_back_and_always_fits() {
        let longest_count = i64::MIN / 32; // as many digits as any count of one reason can have
        let longest = FoldMetadata {
            epoch: u32::MAX,
            watermark: Some(i64::MIN),
            newest: Some(i64::MIN),
            oldest: Some(i64::MIN),
            covered_from: i64::MIN,
            replay_from: i64::MIN,
            dedup_floor: Some(i64::MIN),
            totals: Totals {
                records: i64::MIN,
                accepted: i64::MIN,
                late: i64::MIN,
                duplicate: i64::MIN,
                conflicting: i64::MIN,
                rejected: longest_count * i64::try_from(RejectReason::ALL.len()).unwrap(),
                skipped: i64::MIN,
            },
            rejected: RejectReason::ALL.into_iter().map(|reason| (reason, longest_count)).collect(),
        };
        let text = longest.encode();
        assert!(text.len() <= METADATA_BYTES_MAX, "{} bytes", text.len());
        assert_eq!(FoldMetadata::decode(&text), Ok(longest));
        let merge = MergeMetadata { checkpoint: 7, watermark: Some(-3), published: None };
        assert_eq!(MergeMetadata::decode(&merge.encode()), Ok(merge));
    }

    #[test]
    fn foreign_metadata_is_named() {
        assert!(FoldMetadata::decode("").is_err());
        assert!(FoldMetadata::decode("hello").is_err());
        assert_eq!(FoldMetadata::decode("touchstone-fold 9 epoch=1"), Err(CodecError::Version(9)));
        assert!(FoldMetadata::decode("touchstone-fold 1 epoch=1").is_err(), "fields are missing");
    }
}
