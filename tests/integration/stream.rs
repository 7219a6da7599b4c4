//! Fold and merge driven by hand, without a worker or a log: the engine alone, its records still through the codec.

use std::collections::BTreeMap;
use std::sync::Arc;

use touchstone::aggregate;
use touchstone::engine::codec::{Format, decode_delta, encode_delta};
use touchstone::engine::plan::{InputPlan, Plan, SetPlan};
use touchstone::engine::publish::Shown;
use touchstone::engine::section::Section;
use touchstone::engine::slice::GroupBy;
use touchstone::engine::stage::{Fold, Judged, Merge, Open, sections};
use touchstone::engine::time::{END_OF_TIME, MINUTE, SECOND};
use touchstone::engine::watermark::Policy;
use touchstone::engine::window::{Geometry, WindowSpec};
use touchstone::metrics::{Settings, registry};
use touchstone::touchpoint::Touchpoint;

/// How time is derived where a test does not say otherwise.
pub const POLICY: Policy =
    Policy { out_of_orderness_ms: 10 * SECOND, idle_timeout_ms: 30 * SECOND, lateness_ms: 10 * MINUTE, bounded: false };

/// An input that feeds every metric set.
pub fn input(name: &str, policy: Policy) -> InputPlan {
    InputPlan { name: name.into(), epoch: 1, policy, dedup: true, dedup_ids_max: 100_000, feeds: vec![true; 6] }
}

/// Every metric set by these group-bys, over these windows, from one input `calls`.
pub fn plan(windows: Vec<WindowSpec>, group_bys: &[&str]) -> Plan {
    let group_bys: Vec<GroupBy> = group_bys.iter().filter_map(|name| GroupBy::parse(name)).collect();
    let sets = registry(&Settings::default()).into_iter().map(|set| SetPlan::new(set, group_bys.clone()));
    Plan {
        sets: sets.collect(),
        geometry: Geometry::new(windows),
        inputs: vec![input("calls", POLICY)],
        values_max: 1_000,
        deltas_partitions: 3,
        ever_everywhere: false,
        format: Format::LATEST,
    }
}

/// Sources, the deltas between, and a merge task per deltas partition.
pub struct Stream {
    pub plan: Arc<Plan>,
    pub folds: Vec<Fold>,
    /// What each of them has counted since its last commit.
    opens: Vec<Open>,
    pub merges: Vec<Merge>,
    /// The next offset of every deltas partition.
    pub next: i64,
    /// Everything published, in order, by key: (whether final, value).
    pub published: BTreeMap<String, Vec<(bool, String)>>,
}

impl Stream {
    /// With so many partitions of each input.
    pub fn new(plan: Plan, partitions: &[i32]) -> Stream {
        let plan = Arc::new(plan);
        let first = |input: usize, partition| Fold::first(Arc::clone(&plan), input, partition, partitions[input], 0, 0);
        let folds = (0..plan.inputs.len()).flat_map(|input| (0..partitions[input]).map(move |p| (input, p)));
        let folds: Vec<Fold> = folds.map(|(input, partition)| first(input, partition)).collect();
        let opens = folds.iter().map(|_| Open::new(&plan)).collect();
        let merges = (0..plan.deltas_partitions).map(|partition| Merge::new(Arc::clone(&plan), partition, 0)).collect();
        Stream { plan, folds, opens, merges, next: 0, published: BTreeMap::new() }
    }

    /// One record with one item.
    pub fn item(&mut self, source: usize, event: &Touchpoint<'_>) -> Judged {
        let fold = &mut self.folds[source];
        let offset = fold.offset();
        let judged = fold.item(event, offset, &mut self.opens[source]);
        fold.record_done(offset);
        judged
    }

    /// One fold commit of these sources, taken in by every merge task, which commits what follows.
    pub fn commit(&mut self, sources: &[usize], publish: bool) {
        let sections = self.sections(sources);
        sources.iter().for_each(|source| self.committed(*source));
        self.deliver(&sections);
        for partition in 0..self.merges.len() {
            assert_eq!(self.merges[partition].halted(), None, "deltas partition {partition}");
            let made = self.merges[partition].prepare(publish, false);
            let finals: Vec<Shown> = self.merges[partition].finals().collect();
            self.publish(finals.into_iter().chain(made.currents));
            self.merges[partition].committed();
        }
    }

    /// One more source.
    pub fn add(&mut self, fold: Fold) {
        self.folds.push(fold);
        self.opens.push(Open::new(&self.plan));
    }

    /// What these sources say in one commit, as its record says it.
    pub fn sections(&self, sources: &[usize]) -> Vec<Section<'static>> {
        let folds: Vec<&Fold> = sources.iter().map(|source| &self.folds[*source]).collect();
        let opens: Vec<&Open> = sources.iter().map(|source| &self.opens[*source]).collect();
        decode_delta(&encode_delta(&sections(&folds, &opens), Format::LATEST)).expect("what was written is read")
    }

    /// The commit of a source is true.
    pub fn committed(&mut self, source: usize) {
        self.folds[source].committed();
        self.opens[source].clear();
    }

    /// The commit of a source certainly did not happen.
    pub fn aborted(&mut self, source: usize) {
        self.folds[source].aborted();
        self.opens[source].clear();
    }

    /// Writes one delta record to every partition, with the cells that it owns, and lets merge take it.
    pub fn deliver(&mut self, sections: &[Section<'_>]) {
        for (partition, merge) in (0..).zip(&mut self.merges) {
            let mut own = sections.to_vec();
            for section in &mut own {
                section.groups.retain(|group| self.plan.partition(&group.set, &group.group_by) == partition);
            }
            merge.take(self.next, decode_delta(&encode_delta(&own, Format::LATEST)));
        }
        self.next += 1;
    }

    /// Keeps what a commit of merge publishes.
    pub fn publish(&mut self, made: impl Iterator<Item = Shown>) {
        for shown in made {
            let record = (shown.is_final, aggregate::value(&self.plan, &shown));
            self.published.entry(aggregate::key(&self.plan, &shown)).or_default().push(record);
        }
    }

    /// Nothing will ever come again: everything is final.
    pub fn end(&mut self) {
        self.folds.iter_mut().for_each(|fold| fold.silent(END_OF_TIME));
        self.commit(&(0..self.folds.len()).collect::<Vec<_>>(), false);
    }

    /// The final records by key.
    ///
    /// # Panics
    /// When one is there twice, or is followed by anything under its key.
    pub fn finals(&self) -> BTreeMap<String, String> {
        let mut finals = BTreeMap::new();
        for (key, records) in &self.published {
            let places: Vec<usize> = (0..records.len()).filter(|at| records[*at].0).collect();
            match places[..] {
                [] => {}
                [place] if place + 1 == records.len() => _ = finals.insert(key.clone(), records[place].1.clone()),
                _ => panic!("{key}: final at {places:?} of {} records", records.len()),
            }
        }
        finals
    }
}
