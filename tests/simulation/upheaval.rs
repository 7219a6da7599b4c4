//! What changes the whole: something is gone for good, or everything is started again with another configuration.
//!
//! What the judge must know of it is written down here: what an epoch of the input had come to when it ended, and what
//! had been counted and published under the definitions that were in force before.

use std::collections::BTreeSet;
use std::rc::Rc;

use touchstone::config::Settings;
use touchstone::engine::section::Totals;
use touchstone::memory::OwnedRecord;

use crate::faults::{Change, Class, Loss};
use crate::node::Node;
use crate::random::Random;
use crate::run::settings;
use crate::world::{INPUT, World};

/// What has been and is no more.
#[derive(Default)]
pub struct History {
    /// Lives of the input that have ended, in their order.
    pub eras: Vec<Era>,
    /// The change of definitions, if there was one.
    pub redefined: Option<Redefined>,
}

/// A life of the input that has ended: its topic was re-created, or its offsets were lost.
pub struct Era {
    /// The epoch it had in the configuration.
    pub epoch: u32,
    /// Everything that could be read then.
    pub raw: Vec<OwnedRecord>,
    /// Per partition up to where it was taken in, and what its counts were.
    pub cuts: Vec<(i64, Totals)>,
    /// How many late items and dead letters there were.
    pub letters: [usize; 2],
}

/// A change of definitions.
pub struct Redefined {
    pub before: Rc<Settings>,
    /// Per partition up to where it had been taken in.
    pub cuts: Vec<i64>,
    /// The final records that had been published.
    pub published: BTreeSet<String>,
}

impl World {
    /// Every process dies, something is gone, and they come back.
    pub fn black_out(&self, loss: Loss) {
        let Some(cuts) = self.all_die() else { return };
        let names = self.settings().layout.names.clone();
        let (fold, merge) = (self.settings().fold_link(0).group, self.settings().merge_link(0).group);
        match loss {
            Loss::MergeOffset(partition) => {
                if self.merge_committed(partition).is_some() {
                    self.broker.set_committed(&merge, &names.deltas, partition, None).expect("it exists");
                    self.grave.borrow_mut().may_halt.insert(partition);
                    self.happened(Class::OffsetsExpiredMerge);
                }
            }
            Loss::Deltas(partition) => {
                let (_, end) = self.broker.bounds(&names.deltas, partition).expect("it exists");
                self.broker.delete_records(&names.deltas, partition, end).expect("it exists");
                self.grave.borrow_mut().may_halt.insert(partition);
                if self.merge_committed(partition) < Some(end) {
                    self.happened(Class::DeltasRetention);
                }
            }
            Loss::FoldOffsets => {
                self.end_era(cuts);
                for partition in 0..self.partitions() {
                    self.broker.set_committed(&fold, INPUT, partition, None).expect("it exists");
                }
                self.happened(Class::OffsetsExpiredFold);
            }
            Loss::Input => {
                self.end_era(cuts);
                self.broker.recreate(INPUT).expect("it exists");
                self.happened(Class::Recreated);
            }
        }
    }

    fn end_era(&self, cuts: Vec<(i64, Totals)>) {
        let names = self.settings().layout.names.clone();
        let count = |topic| self.broker.read_all(topic).expect("it exists").len();
        let letters = [count(&names.late), count(&names.dead_letter)];
        let raw = self.broker.read_all(INPUT).expect("it exists");
        let epoch = self.config.get().epoch;
        self.history.borrow_mut().eras.push(Era { epoch, raw, cuts, letters });
        self.grave.borrow_mut().folds_may_halt = true;
    }

    /// Every process dies and comes back under another configuration.
    pub fn redeploy(&self, change: Change) {
        let Some(cuts) = self.all_die() else { return };
        let before = self.settings();
        if change == Change::Epoch {
            self.end_era(cuts.clone());
        }
        let config = self.config.get().changed(change);
        self.config.set(config);
        *self.settings.borrow_mut() = Rc::new(settings(config));
        match change {
            Change::Epoch => {
                self.grave.borrow_mut().folds_may_halt = false;
                self.happened(Class::EpochRaised);
            }
            Change::Format => self.happened(Class::Reformatted),
            Change::Threshold | Change::GroupBy => {
                let cuts = cuts.into_iter().map(|(offset, _)| offset).collect();
                let published = self.finals().into_iter().map(|(key, ..)| key).collect();
                self.history.borrow_mut().redefined = Some(Redefined { before, cuts, published });
                self.happened(Class::Redefined);
            }
        }
    }

    /// Kills every process; per partition what the fold group has committed. Nothing while faults have ended.
    fn all_die(&self) -> Option<Vec<(i64, Totals)>> {
        let mut random = Random::at(self.scenario.seed, self.now().cast_unsigned());
        let count = self.nodes.borrow().len();
        for node in 0..count {
            if self.nodes.borrow()[node].is_up {
                Node::die(self, node, Class::CrashBetween, random.between(500, 5_000));
            }
        }
        let committed = self.committed().ok()?.into_iter();
        Some(
            committed.map(|of| of.map_or((0, Totals::default()), |(offset, memory)| (offset, memory.totals))).collect(),
        )
    }

    /// Every final record in the order of the log: key, partition, value.
    pub fn finals(&self) -> Vec<(String, i32, String)> {
        let records = self.aggregates().into_iter();
        records.filter(|(_, _, value)| value.contains("\"state\":\"final\"")).collect()
    }

    /// Every published record: key, partition, value.
    pub fn aggregates(&self) -> Vec<(String, i32, String)> {
        let records = self.broker.read_all(&self.settings().layout.names.aggregates).expect("it exists").into_iter();
        let text = |bytes: Option<Vec<u8>>| String::from_utf8(bytes.unwrap_or_default()).expect("UTF-8");
        records.map(|record| (text(record.key), record.partition, text(record.value))).collect()
    }
}
