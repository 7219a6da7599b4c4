//! Consumer groups in memory: who owns which partition, under which generation, and what is committed.
//!
//! The semantics are those of Kafka's classic protocol with cooperative assignment, made as simple as they can be
//! while every hazard a worker can meet stays possible:
//!
//! - A member that joins, leaves or is put out starts a new generation at once. In librdkafka too the rejoin happens
//!   in the background, so a commit under a generation of which the worker was not yet told is refused.
//! - What a member has to give up it keeps until its next poll tells it so; only then does the next owner get it. A
//!   member that has not polled for `poll_interval_max_ms` of the broker's clock is put out, and what it owned moves
//!   on: from then on it is a zombie whose commits are refused.
//! - A partition whose offset is part of an open transaction is not handed out before that transaction has ended.

use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A topic's index in the broker, and a partition.
pub(super) type Place = (usize, i32);

/// The longest metadata that may stand beside an offset, as Kafka's `offset.metadata.max.bytes`.
pub(super) const METADATA_BYTES_MAX: usize = 4096;

#[derive(Debug)]
struct Member {
    topics: Vec<usize>,
    /// What it was told it owns.
    owned: BTreeSet<Place>,
    /// What it shall own in the present generation.
    target: BTreeSet<Place>,
    /// The generation of which it was told.
    told: i32,
    polled_at: i64,
}

/// What a poll has to tell a member.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// It was put out: everything it owned is gone, and it has to join again.
    pub unknown: bool,
    /// What it gives up.
    pub revoked: Vec<Place>,
    /// What it gets.
    pub assigned: Vec<Place>,
}

/// One consumer group.
#[derive(Debug, Default)]
pub(super) struct Group {
    generation: i32,
    members: BTreeMap<u64, Member>,
    next_member: u64,
    offsets: HashMap<Place, (i64, String)>,
    /// How many open transactions hold an offset of the partition.
    pending: HashMap<Place, u32>,
}

impl Group {
    /// Adds a member; `partitions(topic)` says how many partitions a topic has.
    pub fn join(&mut self, topics: Vec<usize>, now: i64, partitions: &dyn Fn(usize) -> i32) -> u64 {
        self.next_member += 1;
        let member =
            Member { topics, owned: BTreeSet::new(), target: BTreeSet::new(), told: self.generation, polled_at: now };
        self.members.insert(self.next_member, member);
        self.rebalance(partitions);
        self.next_member
    }

    /// Removes a member.
    pub fn leave(&mut self, member: u64, partitions: &dyn Fn(usize) -> i32) {
        if self.members.remove(&member).is_some() {
            self.rebalance(partitions);
        }
    }

    /// Starts a new generation: everyone keeps what it has up to its fair share, the rest is dealt out in order.
    pub fn rebalance(&mut self, partitions: &dyn Fn(usize) -> i32) {
        self.generation += 1;
        let topics: BTreeSet<usize> = self.members.values().flat_map(|member| member.topics.iter().copied()).collect();
        let mut free: BTreeSet<Place> =
            topics.iter().flat_map(|&topic| (0..partitions(topic)).map(move |partition| (topic, partition))).collect();
        let (all, count) = (free.len(), self.members.len().max(1));
        let (share, mut larger_shares) = (all / count, all % count);
        for member in self.members.values_mut() {
            let mut quota = share;
            if larger_shares > 0 && member.owned.len() > share {
                larger_shares -= 1;
                quota += 1;
            }
            member.target = member.owned.iter().filter(|place| free.contains(place)).take(quota).copied().collect();
            member.target.iter().for_each(|place| {
                free.remove(place);
            });
        }
        for member in self.members.values_mut() {
            while member.target.len() < share {
                let Some(place) = free.pop_first() else { return };
                member.target.insert(place);
            }
        }
        for member in self.members.values_mut().filter(|member| member.target.len() == share) {
            let Some(place) = free.pop_first() else { return };
            member.target.insert(place);
        }
    }

    /// What a polling member has to be told: what it loses first, and in a later poll what it gets.
    pub fn poll(&mut self, member: u64, now: i64, interval_max_ms: i64, partitions: &dyn Fn(usize) -> i32) -> Changes {
        let before = self.members.len();
        self.members.retain(|&other, state| other == member || now - state.polled_at <= interval_max_ms);
        if self.members.len() != before {
            self.rebalance(partitions);
        }
        let generation = self.generation;
        let Some(state) = self.members.get_mut(&member) else { return Changes { unknown: true, ..Changes::default() } };
        state.polled_at = now;
        if state.told == generation && state.owned.len() == state.target.len() {
            return Changes::default();
        }
        state.told = generation;
        let revoked: Vec<Place> = state.owned.difference(&state.target).copied().collect();
        if !revoked.is_empty() {
            revoked.iter().for_each(|place| {
                state.owned.remove(place);
            });
            return Changes { revoked, ..Changes::default() };
        }
        let wanted: Vec<Place> = state.target.difference(&state.owned).copied().collect();
        let assigned: Vec<Place> = wanted
            .into_iter()
            .filter(|place| !self.pending.contains_key(place))
            .filter(|place| !self.members.values().any(|other| other.owned.contains(place)))
            .collect();
        if let Some(state) = self.members.get_mut(&member) {
            state.owned.extend(&assigned);
        }
        Changes { assigned, ..Changes::default() }
    }

    /// Takes back everything a member owns, to be handed out again by its next polls.
    pub fn forget_owned(&mut self, member: u64) {
        if let Some(state) = self.members.get_mut(&member) {
            state.owned.clear();
        }
    }

    /// The generation of which the member was told.
    pub fn told(&self, member: u64) -> Option<i32> {
        self.members.get(&member).map(|state| state.told)
    }

    /// Whether a commit of this member under this generation is accepted; else why not.
    pub fn check(&self, member: u64, generation: i32) -> Result<(), String> {
        if !self.members.contains_key(&member) {
            return Err("the member is not known to the group any more".into());
        }
        if generation != self.generation {
            return Err(format!("group generation {generation} has passed, the group is at {}", self.generation));
        }
        Ok(())
    }

    /// Marks an offset as part of an open transaction.
    pub fn hold(&mut self, place: Place) {
        *self.pending.entry(place).or_insert(0) += 1;
    }

    /// The transaction ended: `offset` is set where it was committed.
    pub fn release(&mut self, place: Place, offset: Option<(i64, String)>) {
        if let Some(held) = self.pending.get_mut(&place) {
            *held -= 1;
            if *held == 0 {
                self.pending.remove(&place);
            }
        }
        if let Some(offset) = offset {
            self.offsets.insert(place, offset);
        }
    }

    /// Whether an open transaction holds any offset.
    pub fn holds_offsets(&self) -> bool {
        !self.pending.is_empty()
    }

    /// What is committed.
    pub fn committed(&self, place: Place) -> Option<&(i64, String)> {
        self.offsets.get(&place)
    }

    /// The topic was deleted: what was committed for it goes with it.
    pub fn forget_topic(&mut self, topic: usize) {
        self.offsets.retain(|(of, _), _| *of != topic);
    }

    /// Sets or removes a committed offset from outside any transaction, as an operator's tool does.
    pub fn set_committed(&mut self, place: Place, offset: Option<(i64, String)>) {
        match offset {
            Some(offset) => self.offsets.insert(place, offset),
            None => self.offsets.remove(&place),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn six(_: usize) -> i32 {
        6
    }

    #[test]
    fn a_second_member_gets_nothing_before_the_first_was_told() {
        let mut group = Group::default();
        let first = group.join(vec![0], 0, &six);
        assert_eq!(group.poll(first, 0, 1000, &six).assigned.len(), 6);
        let second = group.join(vec![0], 0, &six);
        assert_eq!(group.poll(second, 0, 1000, &six), Changes::default());
        assert_eq!(group.poll(first, 0, 1000, &six).revoked.len(), 3);
        assert_eq!(group.poll(second, 0, 1000, &six).assigned.len(), 3);
    }

    #[test]
    fn a_member_that_does_not_poll_is_put_out_and_its_commits_are_refused() {
        let mut group = Group::default();
        let first = group.join(vec![0], 0, &six);
        group.poll(first, 0, 1000, &six);
        let told = group.told(first).unwrap();
        let second = group.join(vec![0], 0, &six);
        assert!(group.poll(second, 1000, 1000, &six).assigned.is_empty());
        assert_eq!(group.poll(second, 1001, 1000, &six).assigned.len(), 6);
        assert!(group.check(first, told).is_err());
        assert!(group.poll(first, 1001, 1000, &six).unknown);
    }

    #[test]
    fn shares_differ_by_one_at_most_and_cover_everything() {
        let mut group = Group::default();
        let members: Vec<u64> = (0..4).map(|_| group.join(vec![0, 1], 0, &|_| 5)).collect();
        for _ in 0..3 {
            members.iter().for_each(|&member| drop(group.poll(member, 0, 1000, &|_| 5)));
        }
        let mut sizes: Vec<usize> = group.members.values().map(|member| member.owned.len()).collect();
        sizes.sort_unstable();
        assert_eq!(sizes, [2, 2, 3, 3]);
    }
}
