//! The port to a log, on Kafka.
//!
//! One consumer that is a member of the group, one transactional producer, and two clients beside them: one that asks
//! for the ends of logs beyond open transactions, one that reads without joining. The worker hears of a rebalance from
//! the poll in which it happened, and nothing that follows it is handed over before. Commits carry the membership of the
//! last rebalance the worker heard of, never the consumer's present one: re-reading it after a revoke would let offsets
//! of partitions that now belong to somebody else pass.

mod behind;

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use batch_consumer::BatchConsumer;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::Connection;
use super::assignment::{Placing, committed_of, out_of_range, partition_count, unavailable};
use super::clients::{self, ASK, QuietConsumer, let_go, single};
use super::context::{Called, GroupContext, Named};
use super::error::{consuming, is_out_of_range};
use super::message::{identify, with_batched};
use super::producer::Transactional;
use super::reader::{KafkaReader, Span};
use crate::pipeline::link::{
    Assigned, Commit, CommitError, Link, LinkConfig, LinkError, PartitionId, Reader, Rebalance, Take,
};

/// How long the first attempt to place partitions may block; each further one twice as long, up to eight times.
const FIRST_TRY: Duration = Duration::from_millis(250);

/// How long a seek waits for a partition whose fetcher is just starting.
const SEEK: Duration = Duration::from_secs(5);

/// How long the consumer may take to leave the group.
const LEAVE: Duration = Duration::from_secs(5);

/// How many records are taken from librdkafka together.
const BATCH: usize = 1024;

/// How long a rebalance may go unheard while records are waited for.
const LISTEN: Duration = Duration::from_millis(20);

#[derive(Debug)]
struct Owned {
    /// The next offset to hand over.
    position: i64,
    flows: bool,
    /// The position that the log does not hold.
    lost: Option<i64>,
    /// Nothing but control records lies in `[position, end)`.
    empty: Option<(i64, i64)>,
    /// Since when it stands there.
    stands_since: Instant,
}

/// A worker's connection to Kafka.
pub struct KafkaLink {
    connection: Connection,
    config: LinkConfig,
    /// `None` once closed.
    member: Option<BatchConsumer<GroupContext>>,
    producer: Transactional,
    asking: QuietConsumer,
    aside: Option<QuietConsumer>,
    /// Clients that ask for other groups' offsets.
    groups: HashMap<String, QuietConsumer>,
    owned: BTreeMap<PartitionId, Owned>,
    /// What librdkafka waits for us to assign.
    to_assign: Vec<Named>,
    /// What is assigned and has to be handed out again, after a recycle.
    to_announce: Vec<Named>,
    /// How often placing them has failed, and when it is tried again.
    failures: u32,
    try_at: Instant,
    events: Vec<Rebalance>,
}

impl KafkaLink {
    pub(super) fn open(connection: &Connection, config: &LinkConfig) -> Result<Self, LinkError> {
        connection.check_properties().map_err(|error| LinkError::Fatal(error.to_string()))?;
        let asking = clients::quiet(connection, &clients::asking(connection))?;
        clients::reach(&asking, connection)?;
        for subscription in &config.subscriptions {
            partition_count(&asking, &subscription.topic)?;
        }
        let producer = Transactional::open(connection, config)?;
        let aside = open_aside(connection, &config.group)?;
        clients::may_join(&aside, config)?;
        let aside = Some(aside);
        let member: BaseConsumer<GroupContext> =
            clients::create(&clients::member(connection, config), GroupContext::new(connection))?;
        let member = BatchConsumer::new(member, BATCH);
        subscribe(member.consumer(), config)?;
        Ok(Self {
            connection: connection.clone(),
            config: config.clone(),
            member: Some(member),
            producer,
            asking,
            aside,
            groups: HashMap::new(),
            owned: BTreeMap::new(),
            to_assign: Vec::new(),
            to_announce: Vec::new(),
            failures: 0,
            try_at: Instant::now(),
            events: Vec::new(),
        })
    }

    fn member(&self) -> Result<&BaseConsumer<GroupContext>, LinkError> {
        Ok(self.batches()?.consumer())
    }

    fn batches(&self) -> Result<&BatchConsumer<GroupContext>, LinkError> {
        self.member.as_ref().ok_or_else(closed)
    }

    fn named(&self, id: PartitionId) -> Named {
        (self.config.subscriptions[id.topic].topic.clone(), id.partition)
    }

    fn id(&self, (topic, partition): &Named) -> Option<PartitionId> {
        let topic = self.config.subscriptions.iter().position(|subscription| subscription.topic == *topic)?;
        Some(PartitionId { topic, partition: *partition })
    }

    /// Takes in what was called back: partitions that are gone are forgotten now, new ones wait to be placed.
    fn follow_group(&mut self) -> Result<(), LinkError> {
        while let Some(called) = self.member()?.context().next() {
            match called {
                Called::Assign(named) => self.to_assign.extend(named),
                Called::Revoked(named) => {
                    self.to_assign.retain(|name| !named.contains(name));
                    self.to_announce.retain(|name| !named.contains(name));
                    let ids = named.iter().filter_map(|name| self.id(name)).collect::<Vec<PartitionId>>();
                    let known: Vec<PartitionId> = ids.into_iter().filter(|id| self.owned.contains_key(id)).collect();
                    self.owned.retain(|id, _| !known.contains(id));
                    if !known.is_empty() {
                        self.events.push(Rebalance::Revoked(known));
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether partitions wait to be placed, and it is time to try.
    fn is_due(&self) -> bool {
        !(self.to_assign.is_empty() && self.to_announce.is_empty()) && Instant::now() >= self.try_at
    }

    /// Places what became ours and assigns it, paused. What cannot be placed yet (a predecessor's transaction holds its
    /// offset) is tried again: at first briefly and soon, for meanwhile the other partitions stand still.
    fn settle(&mut self) -> Result<(), LinkError> {
        let patience = FIRST_TRY.saturating_mul(1 << self.failures.min(3));
        let named: Vec<Named> = self.to_assign.iter().chain(&self.to_announce).cloned().collect();
        match self.placing(|placing| placing.place(&named, patience)) {
            Ok(placed) => {
                self.failures = 0;
                self.take_over(placed)
            }
            Err(LinkError::Unavailable(reason)) => {
                self.failures += 1;
                self.try_at = Instant::now() + patience;
                if self.failures == 3 {
                    tracing::info!(reason, partitions = named.len(), "waiting for committed offsets");
                }
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn placing<T>(&mut self, act: impl FnOnce(&Placing<'_>) -> Result<T, LinkError>) -> Result<T, LinkError> {
        let aside = match self.aside.take() {
            Some(aside) => aside,
            None => open_aside(&self.connection, &self.config.group)?,
        };
        let member = self.member()?;
        let done = act(&Placing { config: &self.config, member, asking: &self.asking, aside: &aside });
        self.aside = Some(aside);
        done
    }

    fn take_over(&mut self, placed: Vec<Assigned>) -> Result<(), LinkError> {
        if !self.to_assign.is_empty() {
            let mut list = TopicPartitionList::new();
            for assigned in placed.iter().filter(|assigned| self.to_assign.contains(&self.named(assigned.id))) {
                let (topic, partition) = self.named(assigned.id);
                // A lost offset must not be asked for: librdkafka would report it again and again.
                let offset = if assigned.lost.is_some() { Offset::End } else { Offset::Offset(assigned.position) };
                let added = list.add_partition_offset(&topic, partition, offset);
                added.map_err(|error| LinkError::Fatal(format!("{topic}-{partition}: {error}")))?;
                self.batches()?.divert(&topic, partition);
            }
            let member = self.member()?;
            let taken = member.incremental_assign(&list).and_then(|()| member.pause(&list));
            taken.map_err(|error| unavailable("assignment", &error))?;
        }
        self.to_assign.clear();
        self.to_announce.clear();
        for assigned in &placed {
            let lost = assigned.lost.as_ref().map(|_| assigned.position);
            let stands_since = Instant::now();
            let owned = Owned { position: assigned.position, flows: false, lost, empty: None, stands_since };
            self.owned.insert(assigned.id, owned);
        }
        self.events.push(Rebalance::Assigned(placed));
        Ok(())
    }

    fn own(&mut self, id: PartitionId) -> Result<&mut Owned, LinkError> {
        let (topic, partition) = self.named(id);
        let gone = || LinkError::Unavailable(format!("{topic}-{partition} is not owned any more"));
        self.owned.get_mut(&id).ok_or_else(gone)
    }

    fn seek(&mut self, id: PartitionId, offset: i64) -> Result<(), LinkError> {
        let (topic, partition) = self.named(id);
        let deadline = Instant::now() + SEEK;
        loop {
            match self.member()?.seek(&topic, partition, Offset::Offset(offset), SEEK) {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() >= deadline => {
                    return Err(unavailable(&format!("{topic}-{partition}"), &error));
                }
                // The fetcher of a partition that was just assigned is not there yet.
                Err(_) => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    /// Joins the group anew after a membership that cannot be trusted, once librdkafka has its assignment.
    fn rejoin(&mut self) -> Result<(), LinkError> {
        let member = self.member()?;
        if !self.to_assign.is_empty() || !member.context().take_stale() {
            return Ok(());
        }
        tracing::warn!(group = self.config.group, "not polled for longer than the session: joining anew");
        member.unsubscribe();
        subscribe(member, &self.config)
    }

    /// Hands over what has been fetched until a rebalance, the maximum or the deadline.
    fn take_records(&mut self, max: usize, wait: Duration, take: &mut Take<'_>) -> Result<(), LinkError> {
        let deadline = Instant::now() + wait;
        let (mut taken, mut waits) = (0, Duration::ZERO);
        while taken < max && !self.listen()? {
            let Self { member, config, owned, .. } = self;
            let member = member.as_mut().ok_or_else(closed)?;
            // librdkafka waits for as many as were asked for: where it is to wait at all, it is asked for one.
            let batch = member.batch(if waits.is_zero() { max - taken } else { 1 }, waits);
            let (came, mut failed, now) = (batch.len(), None, Instant::now());
            // All of it is handed over before anything else happens: what was dropped would be read by nobody.
            for message in batch {
                if let Some(code) = message.error() {
                    failed = Some(KafkaError::MessageConsumption(code));
                    continue;
                }
                let Some(id) = identify(config, message.topic(), message.partition()) else { continue };
                let Some(owned) = owned.get_mut(&id).filter(|o| o.flows && message.offset() >= o.position) else {
                    continue;
                };
                (owned.position, owned.stands_since) = (message.offset() + 1, now);
                with_batched(&message, &mut |record| take(id, record));
                taken += 1;
            }
            if let Some(error) = failed {
                return self.fail(&error);
            }
            waits =
                if came == 0 { deadline.saturating_duration_since(Instant::now()).min(LISTEN) } else { Duration::ZERO };
            if came == 0 && (taken > 0 || waits.is_zero()) {
                break;
            }
        }
        Ok(())
    }

    /// Hears what the group and the brokers have to say; says whether there was a rebalance.
    fn listen(&mut self) -> Result<bool, LinkError> {
        match self.member()?.poll(Duration::ZERO) {
            None => {}
            Some(Err(error)) => self.fail(&error)?,
            Some(Ok(message)) => {
                // Partitions are diverted before they are assigned. Should a record come this way all the same, it is
                // read again on the way that records take.
                let id = identify(&self.config, message.topic(), message.partition());
                drop(message);
                if let Some((id, owned)) = id.and_then(|id| Some((id, self.owned.get(&id)?))) {
                    self.seek(id, owned.position)?;
                }
            }
        }
        Ok(self.member()?.context().has_news())
    }

    fn fail(&mut self, error: &KafkaError) -> Result<(), LinkError> {
        if is_out_of_range(error) {
            return self.find_lost();
        }
        consuming(error, self.member()?.context().refusal()).map_or(Ok(()), Err)
    }
}

impl Link for KafkaLink {
    fn poll(&mut self, max: usize, wait: Duration, take: &mut Take<'_>) -> Result<Vec<Rebalance>, LinkError> {
        self.rejoin()?;
        for client in self.aside.iter().chain(self.groups.values()).chain([&self.asking]) {
            clients::serve(&self.connection, client, Duration::ZERO);
        }
        if self.events.is_empty() {
            let wait = if self.is_due() { Duration::ZERO } else { wait };
            self.take_records(max, wait, take)?;
        }
        self.member()?.context().polled();
        self.follow_group()?;
        if self.events.is_empty() && self.is_due() {
            self.settle()?;
        }
        Ok(std::mem::take(&mut self.events))
    }

    fn resume(&mut self, partition: PartitionId, offset: i64) -> Result<(), LinkError> {
        if self.own(partition)?.lost == Some(offset) {
            return Err(LinkError::Lost(format!(
                "{}-{} is lost and does not flow",
                self.named(partition).0,
                partition.partition
            )));
        }
        self.seek(partition, offset)?;
        let list = single(&self.named(partition));
        self.member()?.resume(&list).map_err(|error| unavailable("resume", &error))?;
        let owned = self.own(partition)?;
        (owned.position, owned.flows, owned.lost) = (offset, true, None);
        owned.stands_since = Instant::now();
        Ok(())
    }

    fn rewind(&mut self, partition: PartitionId, offset: i64) -> Result<(), LinkError> {
        self.own(partition)?;
        self.seek(partition, offset)?;
        self.own(partition)?.position = offset;
        Ok(())
    }

    fn pause(&mut self, partition: PartitionId) -> Result<(), LinkError> {
        self.own(partition)?.flows = false;
        let list = single(&self.named(partition));
        self.member()?.pause(&list).map_err(|error| unavailable("pause", &error))
    }

    fn commit(&mut self, commit: Commit<'_>) -> Result<(), CommitError> {
        // Outputs without offsets would not be fenced.
        if commit.offsets.is_empty() {
            return Ok(());
        }
        let member = self.member().map_err(|error| CommitError::Aborted(error.to_string()))?;
        let group = member.context().metadata();
        let group = group.ok_or_else(|| CommitError::Aborted("the membership in the group was lost".into()))?;
        let mut offsets = TopicPartitionList::with_capacity(commit.offsets.len());
        for (id, offset, metadata) in &commit.offsets {
            let topic = &self.config.subscriptions[id.topic].topic;
            // Brokers check the generation, not who owns the partition.
            if !self.owned.contains_key(id) {
                return Err(CommitError::Aborted(format!("{topic}-{} is not owned any more", id.partition)));
            }
            let mut element = offsets.add_partition(topic, id.partition);
            let set = element.set_offset(Offset::Offset(*offset));
            set.map_err(|error| CommitError::Impossible(format!("{topic}-{}@{offset}: {error}", id.partition)))?;
            if !metadata.is_empty() {
                element.set_metadata(metadata);
            }
        }
        if self.producer.is_plain() {
            self.producer.commit(commit.outputs, TopicPartitionList::new(), group)?;
            let member = self.member().map_err(|error| CommitError::Aborted(error.to_string()))?;
            let committed = member.commit(&offsets, CommitMode::Sync);
            return committed.map_err(|error| CommitError::Aborted(error.to_string()));
        }
        self.producer.commit(commit.outputs, offsets, group)
    }

    fn recycle(&mut self) -> Result<(), LinkError> {
        // Without a producer the tasks begin again all the same: the next commit asks for one.
        let renewed = self.producer.renew().map_err(|error| LinkError::Unavailable(error.to_string()));
        let gone: Vec<PartitionId> = self.owned.keys().copied().collect();
        for &id in &gone {
            self.pause(id)?;
        }
        self.to_announce
            .extend(gone.iter().map(|&id| (self.config.subscriptions[id.topic].topic.clone(), id.partition)));
        self.owned.clear();
        if !gone.is_empty() {
            self.events.push(Rebalance::Revoked(gone));
        }
        renewed
    }

    fn drained(&mut self, partition: PartitionId, position: i64) -> Result<(bool, i64), LinkError> {
        self.look_behind(partition, position)
    }

    fn start(&mut self, partition: PartitionId) -> Result<(i64, Option<i64>), LinkError> {
        self.own(partition)?;
        self.placing(|placing| placing.start(partition))
    }

    fn ends(&mut self, topic: &str) -> Result<Vec<i64>, LinkError> {
        let count = partition_count(&self.asking, topic)?;
        let end = |partition| {
            let asked = self.asking.fetch_watermarks(topic, partition, ASK);
            asked.map(|(_, end)| end).map_err(|error| unavailable(&format!("{topic}-{partition}"), &error))
        };
        (0..count).map(end).collect()
    }

    fn committed(&mut self, group: &str, topic: &str) -> Result<Vec<Option<(i64, String)>>, LinkError> {
        let count = partition_count(&self.asking, topic)?;
        let mut list = TopicPartitionList::new();
        list.add_partition_range(topic, 0, count - 1);
        if !self.groups.contains_key(group) {
            let client = clients::quiet(&self.connection, &clients::looking(&self.connection, group))?;
            self.groups.insert(group.to_owned(), client);
        }
        let asked = self.groups[group].committed_offsets(list, ASK).map_err(|error| unavailable(group, &error))?;
        let mut offsets = vec![None; usize::try_from(count).expect("a count is positive")];
        for element in asked.elements() {
            element.error().map_err(|error| unavailable(&format!("{group} at {topic}"), &error))?;
            let index = usize::try_from(element.partition()).expect("asked for from 0");
            offsets[index] = committed_of(&element);
        }
        Ok(offsets)
    }

    fn reader(
        &mut self,
        topic: &str,
        partition: i32,
        from: Option<i64>,
        until: Option<i64>,
    ) -> Result<Box<dyn Reader>, LinkError> {
        let name = format!("{topic}-{partition}");
        if partition >= partition_count(&self.asking, topic)? {
            return Err(LinkError::Lost(format!("{name} does not exist")));
        }
        let bounds = self.asking.fetch_watermarks(topic, partition, ASK);
        let (low, high) = bounds.map_err(|error| unavailable(&name, &error))?;
        let (begin, end) = (from.unwrap_or(low), until.unwrap_or(high));
        for offset in [begin, end] {
            if let Some(lost) = out_of_range(&name, offset, low, high) {
                return Err(LinkError::Lost(lost));
            }
        }
        let span = Span { topic: topic.to_owned(), partition, from: begin, until: end };
        Ok(Box::new(KafkaReader::open(&self.connection, &self.config.group, span, until.is_none())?))
    }

    fn close(&mut self) {
        self.producer.close();
        if let Some(member) = self.member.take().map(BatchConsumer::into_consumer) {
            if !self.to_assign.is_empty() {
                // librdkafka waits for an answer to its last assignment before it lets us leave.
                let _ = member.unassign();
            }
            let_go(member, LEAVE);
        }
        self.owned.clear();
        self.events.clear();
    }
}

impl Drop for KafkaLink {
    fn drop(&mut self) {
        self.close();
    }
}

fn closed() -> LinkError {
    LinkError::Fatal("the link is closed".into())
}

fn subscribe(member: &BaseConsumer<GroupContext>, config: &LinkConfig) -> Result<(), LinkError> {
    let topics: Vec<&str> = config.subscriptions.iter().map(|subscription| subscription.topic.as_str()).collect();
    member.subscribe(&topics).map_err(|error| LinkError::Fatal(error.to_string()))
}

/// A consumer that reads beside the group.
fn open_aside(connection: &Connection, group: &str) -> Result<QuietConsumer, LinkError> {
    let mut config = clients::reading(connection, group);
    config.set("enable.partition.eof", "true").set("fetch.wait.max.ms", "10");
    clients::quiet(connection, &config)
}
