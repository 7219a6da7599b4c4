//! The metadata beside a committed offset: the control plane. Text, so that Kafka's own tools show it:
//! `touchstone-fold 2 epoch=1 phase=live watermark=915346800000 horizon=... newest=... accepted=7`.
//!
//! A name that is not known is passed over, so that fields can be added within a format.

use super::{CodecError, Format};
use crate::engine::section::{Phase, Totals};
use crate::touchpoint::RejectReason;
use std::collections::{BTreeMap, BTreeSet};

/// The longest metadata Kafka takes by default (`offset.metadata.max.bytes`).
pub const METADATA_BYTES_MAX: usize = 4096;

/// What a fold task remembers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FoldMetadata {
    /// The input's epoch.
    pub epoch: u32,
    /// Where the source is in its life.
    pub phase: Phase,
    /// The watermark at the offset.
    pub watermark: Option<i64>,
    /// No event before this is accepted any more, whatever the configuration says later.
    pub horizon: Option<i64>,
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
    /// A gap that an operator has accepted: the log goes on at this offset, what lies before it is lost.
    pub gap: Option<i64>,
    /// Lifetime counts.
    pub totals: Totals,
    /// Lifetime rejected items by reason, zeros left out.
    pub rejected: BTreeMap<RejectReason, i64>,
}

impl FoldMetadata {
    /// The text that is stored.
    pub fn encode(&self, format: Format) -> String {
        let phase = self.phase.name();
        let mut text = format!("touchstone-fold {} epoch={} phase={phase}", format.number(), self.epoch);
        let mut optional = |name: &str, value: Option<i64>| {
            if let Some(value) = value {
                text.push_str(&format!(" {name}={value}"));
            }
        };
        optional("watermark", self.watermark);
        optional("horizon", self.horizon);
        optional("gap", self.gap);
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
            phase: fields.phase()?,
            watermark: fields.get("watermark")?,
            horizon: fields.get("horizon")?,
            gap: fields.get("gap")?,
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

/// How far time has come for one metric set: what a joining source begins with, and what alignment measures by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SetReach {
    /// Its watermark.
    pub watermark: Option<i64>,
    /// Windows that end at or before this are final.
    pub final_until: Option<i64>,
}

/// Which sources of one input a merge task has heard of, in the input's latest epoch.
///
/// A source that has committed nothing but is known here has lost its offsets: what it would send could not follow on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KnownSources {
    /// The latest epoch.
    pub epoch: u32,
    /// Its partitions.
    pub partitions: BTreeSet<i32>,
}

impl KnownSources {
    /// As text: `2:0-11,14`.
    fn encode(&self) -> String {
        let mut ranges: Vec<(i32, i32)> = Vec::new();
        for partition in &self.partitions {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == *partition => *last = *partition,
                _ => ranges.push((*partition, *partition)),
            }
        }
        let range = |(first, last): &(i32, i32)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        };
        format!("{}:{}", self.epoch, ranges.iter().map(range).collect::<Vec<_>>().join(","))
    }

    fn decode(text: &str) -> Option<KnownSources> {
        let (epoch, ranges) = text.split_once(':')?;
        let mut partitions = BTreeSet::new();
        for range in ranges.split(',').filter(|range| !range.is_empty()) {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last): (i32, i32) = (first.parse().ok()?, last.parse().ok()?);
            if first < 0 || last < first || last > PARTITION_MAX {
                return None;
            }
            partitions.extend(first..=last);
        }
        Some(KnownSources { epoch: epoch.parse().ok()?, partitions })
    }
}

/// No topic has more partitions than this; it bounds what damaged text can make us hold.
const PARTITION_MAX: i32 = 1_000_000;

/// Up to this many bytes of a merge task's metadata are spent on known sources.
const KNOWN_BYTES_MAX: usize = 2_500;

/// What a merge task remembers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MergeMetadata {
    /// The deltas offset of the last checkpoint in the changelog; 0 before the first.
    pub checkpoint: i64,
    /// The deltas offset that its last `_watermark` record named.
    pub published: Option<i64>,
    /// How far time has come, by the name of the metric set.
    pub reach: BTreeMap<String, SetReach>,
    /// Which sources it has heard of, by the name of the input; as many inputs as there is room for.
    pub known: BTreeMap<String, KnownSources>,
    /// The name of what halted the task, while it is halted.
    pub halted: Option<String>,
    /// Up to this deltas offset an operator has accepted that sections do not follow on.
    pub accept: Option<i64>,
}

impl MergeMetadata {
    /// The text that is stored.
    pub fn encode(&self, format: Format) -> String {
        let mut text = format!("touchstone-merge {} checkpoint={}", format.number(), self.checkpoint);
        for (name, offset) in [("published", self.published), ("accept", self.accept)] {
            if let Some(offset) = offset {
                text.push_str(&format!(" {name}={offset}"));
            }
        }
        for (set, reach) in &self.reach {
            for (name, time) in [("watermark", reach.watermark), ("final_until", reach.final_until)] {
                if let Some(time) = time {
                    text.push_str(&format!(" {name}.{set}={time}"));
                }
            }
        }
        let mut room = KNOWN_BYTES_MAX;
        for (input, known) in &self.known {
            let known = format!(" known.{input}={}", known.encode());
            if known.len() <= room {
                room -= known.len();
                text.push_str(&known);
            }
        }
        if let Some(halted) = &self.halted {
            text.push_str(&format!(" halted={halted}"));
        }
        text
    }

    /// What the text says.
    ///
    /// # Errors
    /// [`CodecError`]: it is not ours, or of another version.
    pub fn decode(text: &str) -> Result<MergeMetadata, CodecError> {
        let fields = Fields::parse(text, "touchstone-merge")?;
        let mut reach: BTreeMap<String, SetReach> = BTreeMap::new();
        let mut known = BTreeMap::new();
        for (name, value) in &fields.0 {
            if let Some(input) = name.strip_prefix("known.") {
                let sources = KnownSources::decode(value);
                let sources = sources.ok_or_else(|| CodecError::Damaged(format!("{name}={value}")))?;
                known.insert(input.to_string(), sources);
            } else if let Some(set) = name.strip_prefix("watermark.") {
                reach.entry(set.to_string()).or_default().watermark = fields.get(name)?;
            } else if let Some(set) = name.strip_prefix("final_until.") {
                reach.entry(set.to_string()).or_default().final_until = fields.get(name)?;
            }
        }
        Ok(MergeMetadata {
            checkpoint: fields.need("checkpoint")?,
            published: fields.get("published")?,
            reach,
            known,
            halted: fields.0.get("halted").map(|code| (*code).to_string()),
            accept: fields.get("accept")?,
        })
    }
}

/// The number of the format that offset metadata of ours is written in; 0 when it is not ours.
pub fn format_of(text: &str) -> u32 {
    text.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0)
}

struct Fields<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Fields<'a> {
    fn parse(text: &'a str, magic: &str) -> Result<Fields<'a>, CodecError> {
        if text.split(' ').next() != Some(magic) {
            return Err(CodecError::Damaged(format!("does not begin with {magic}: these offsets are not ours")));
        }
        Format::read(format_of(text))?;
        let words = text.split(' ').skip(2);
        Ok(Fields(words.filter_map(|word| word.split_once('=')).collect()))
    }

    fn phase(&self) -> Result<Phase, CodecError> {
        let name = self.0.get("phase").copied().unwrap_or_default();
        Phase::parse(name).ok_or_else(|| CodecError::Damaged(format!("phase={name} is none")))
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
            phase: Phase::Joining,
            watermark: Some(i64::MIN),
            horizon: Some(i64::MIN),
            gap: Some(i64::MIN),
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
        let text = longest.encode(Format::LATEST);
        assert!(text.len() <= METADATA_BYTES_MAX, "{} bytes", text.len());
        assert_eq!(FoldMetadata::decode(&text), Ok(longest));
        let reach = SetReach { watermark: Some(-3), final_until: None };
        let merge = MergeMetadata {
            checkpoint: 7,
            published: None,
            reach: [("csat".to_string(), reach)].into(),
            known: [("calls".to_string(), KnownSources { epoch: 2, partitions: [0, 1, 2, 5].into() })].into(),
            halted: Some("ledger_gap".into()),
            accept: Some(9),
        };
        assert_eq!(MergeMetadata::decode(&merge.encode(Format::PREVIOUS)), Ok(merge));
    }

    #[test]
    fn foreign_metadata_is_named() {
        assert!(FoldMetadata::decode("").is_err());
        assert!(FoldMetadata::decode("hello").is_err());
        assert_eq!(FoldMetadata::decode("touchstone-fold 9 epoch=1"), Err(CodecError::Version(9)));
        assert!(FoldMetadata::decode("touchstone-fold 1 epoch=1").is_err(), "fields are missing");
    }
}
