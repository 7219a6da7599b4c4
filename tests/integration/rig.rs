//! The two logs behind one face, so that one suite holds both to the same behaviour; and a small worker to drive a link.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use touchstone::kafka::Connection;
use touchstone::memory::{self, Broker, NewRecord};
use touchstone::pipeline::link::{
    Assigned, Commit, Link, LinkConfig, Output, PartitionId, Rebalance, Start, Subscription,
};

use crate::broker;
pub use crate::setup::unique;

/// How long anything may take before a test gives up. Never reached when all is well.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// One of the two logs.
pub enum Rig {
    Memory(Broker),
    Kafka(Box<Connection>),
}

/// A transaction that a test holds open.
pub enum Transaction {
    Memory(memory::Producer),
    Kafka { producer: ThreadedProducer<DefaultProducerContext>, address: String },
}

impl Rig {
    pub fn memory() -> Self {
        let clock = || i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
        Self::Memory(Broker::new(Arc::new(clock)))
    }

    pub fn kafka() -> Result<Self, String> {
        broker::address().map(|address| Self::Kafka(Box::new(Connection::new(&address))))
    }

    /// The same log with time-outs that pass while a test waits.
    pub fn hasty(&self) -> Rig {
        match self {
            Self::Memory(broker) => {
                broker.set_timeouts(2_000, 1_000);
                Self::Memory(broker.clone())
            }
            Self::Kafka(connection) => {
                let mut hasty = connection.clone();
                hasty.timings.session = Duration::from_millis(1_500);
                hasty.timings.heartbeat = Duration::from_millis(300);
                hasty.timings.poll_interval = Duration::from_millis(2_000);
                hasty.timings.metadata_refresh = Duration::from_millis(500);
                Self::Kafka(hasty)
            }
        }
    }

    /// Creates a topic with a unique name.
    pub fn topic(&self, partitions: i32) -> String {
        let name = unique("topic");
        match self {
            Self::Memory(broker) => broker.create_topic(&name, partitions),
            Self::Kafka(connection) => {
                let admin: AdminClient<DefaultClientContext> = client(connection).create().unwrap();
                let topic = NewTopic::new(&name, partitions, TopicReplication::Fixed(1));
                block_on(admin.create_topics([&topic], &AdminOptions::new())).unwrap()[0].as_ref().unwrap();
            }
        }
        name
    }

    pub fn open(&self, config: &LinkConfig) -> Box<dyn Link> {
        match self {
            Self::Memory(broker) => Box::new(broker.link(config).unwrap()),
            Self::Kafka(connection) => Box::new(connection.link(config).unwrap()),
        }
    }

    /// Writes values outside any transaction.
    pub fn produce(&self, topic: &str, partition: i32, values: &[&str]) {
        match self {
            Self::Memory(broker) => {
                for value in values {
                    let value = Some(value.as_bytes());
                    broker
                        .produce(topic, &NewRecord { partition: Some(partition), value, ..Default::default() })
                        .unwrap();
                }
            }
            Self::Kafka(connection) => {
                let producer: ThreadedProducer<DefaultProducerContext> = client(connection).create().unwrap();
                send(&producer, topic, partition, values);
                producer.flush(PATIENCE).unwrap();
            }
        }
    }

    /// Begins a transaction.
    pub fn transaction(&self) -> Transaction {
        let id = unique("transaction");
        match self {
            Self::Memory(broker) => Transaction::Memory(broker.producer(&id)),
            Self::Kafka(connection) => {
                let mut config = client(connection);
                config.set("transactional.id", id).set("transaction.timeout.ms", "60000");
                if connection.timings.poll_interval < Duration::from_secs(10) {
                    config.set("transaction.timeout.ms", "1000");
                }
                let producer: ThreadedProducer<DefaultProducerContext> = config.create().unwrap();
                producer.init_transactions(PATIENCE).unwrap();
                producer.begin_transaction().unwrap();
                Transaction::Kafka { producer, address: connection.bootstrap_servers.clone() }
            }
        }
    }

    /// Deletes a topic of one partition and creates it again.
    pub fn recreate(&self, topic: &str) {
        match self {
            Self::Memory(broker) => broker.recreate(topic).unwrap(),
            Self::Kafka(connection) => {
                let admin: AdminClient<DefaultClientContext> = client(connection).create().unwrap();
                block_on(admin.delete_topics(&[topic], &AdminOptions::new())).unwrap()[0].as_ref().unwrap();
                let new = NewTopic::new(topic, 1, TopicReplication::Fixed(1));
                let deadline = Instant::now() + PATIENCE;
                // Until the old one is gone it exists already.
                while block_on(admin.create_topics([&new], &AdminOptions::new())).unwrap()[0].is_err() {
                    assert!(Instant::now() < deadline, "{topic} cannot be created again");
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
        }
    }

    /// Adds partitions, so that there are `count`.
    pub fn add_partitions(&self, topic: &str, count: i32) {
        match self {
            Self::Memory(broker) => broker.add_partitions(topic, count).unwrap(),
            Self::Kafka(connection) => {
                let admin: AdminClient<DefaultClientContext> = client(connection).create().unwrap();
                let count = usize::try_from(count).unwrap();
                let more = [NewPartitions::new(topic, count)];
                block_on(admin.create_partitions(&more, &AdminOptions::new())).unwrap()[0].as_ref().unwrap();
            }
        }
    }

    /// Deletes the records before an offset, as retention does.
    pub fn delete_before(&self, topic: &str, partition: i32, offset: i64) {
        match self {
            Self::Memory(broker) => broker.delete_records(topic, partition, offset).unwrap(),
            Self::Kafka(connection) => {
                let admin: AdminClient<DefaultClientContext> = client(connection).create().unwrap();
                let mut list = TopicPartitionList::new();
                list.add_partition_offset(topic, partition, Offset::Offset(offset)).unwrap();
                block_on(admin.delete_records(&list, &AdminOptions::new())).unwrap();
            }
        }
    }
}

impl Transaction {
    pub fn send(&self, topic: &str, partition: i32, values: &[&str]) {
        match self {
            Self::Memory(producer) => {
                let outputs: Vec<Output> = values.iter().map(|value| output(topic, partition, value)).collect();
                producer.send(&outputs).unwrap();
            }
            Self::Kafka { producer, .. } => {
                send(producer, topic, partition, values);
                producer.flush(PATIENCE).unwrap();
            }
        }
    }

    /// Adds an offset of a group that has no members.
    pub fn send_offset(&self, group: &str, topic: &str, partition: i32, offset: i64) {
        match self {
            Self::Memory(producer) => producer.send_offset(group, topic, partition, offset, "").unwrap(),
            Self::Kafka { producer, address } => {
                let mut config = ClientConfig::new();
                config.set("bootstrap.servers", address).set("group.id", group);
                let consumer: BaseConsumer = config.create().unwrap();
                let mut list = TopicPartitionList::new();
                list.add_partition_offset(topic, partition, Offset::Offset(offset)).unwrap();
                let metadata = consumer.group_metadata().unwrap();
                producer.send_offsets_to_transaction(&list, &metadata, PATIENCE).unwrap();
            }
        }
    }

    /// Commits; false where the transaction is no longer there to be committed.
    pub fn commits(self) -> bool {
        match self {
            Self::Memory(producer) => producer.end(true).is_ok(),
            Self::Kafka { producer, .. } => producer.commit_transaction(PATIENCE).is_ok(),
        }
    }

    pub fn end(self, committed: bool) {
        match self {
            Self::Memory(producer) => producer.end(committed).unwrap(),
            Self::Kafka { producer, .. } if committed => producer.commit_transaction(PATIENCE).unwrap(),
            Self::Kafka { producer, .. } => producer.abort_transaction(PATIENCE).unwrap(),
        }
    }
}

fn client(connection: &Connection) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &connection.bootstrap_servers);
    config
}

fn send(producer: &ThreadedProducer<DefaultProducerContext>, topic: &str, partition: i32, values: &[&str]) {
    for value in values {
        let record: BaseRecord<'_, [u8], str> = BaseRecord::to(topic).partition(partition).payload(value);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// An output without key and headers.
pub fn output(topic: &str, partition: i32, value: &str) -> Output {
    let (topic, partition, value) = (topic.to_owned(), Some(partition), Some(value.as_bytes().to_vec()));
    Output { topic, partition, value, ..Output::default() }
}

/// A configuration for one topic, from its beginning.
pub fn config(group: &str, topic: &str) -> LinkConfig {
    LinkConfig {
        group: group.to_owned(),
        subscriptions: vec![Subscription { topic: topic.to_owned(), start: Start::Beginning }],
        transactional_id: unique("worker"),
        record_bytes_max: 1_000_000,
    }
}

/// A link with the bookkeeping every test needs. It resumes what it is assigned, at once.
pub struct Worker {
    pub link: Box<dyn Link>,
    pub owned: BTreeMap<PartitionId, Assigned>,
    /// Partition, offset and value of everything taken.
    pub seen: Vec<(i32, i64, String)>,
    pub assignments: usize,
    pub revocations: usize,
    /// Whether assigned partitions are resumed.
    pub resumes: bool,
}

impl Worker {
    pub fn new(link: Box<dyn Link>) -> Self {
        Self { link, owned: BTreeMap::new(), seen: Vec::new(), assignments: 0, revocations: 0, resumes: true }
    }

    /// Polls once; a record of a partition that is not owned is a failure.
    pub fn poll(&mut self, wait_ms: u64) {
        let (owned, seen) = (&self.owned, &mut self.seen);
        let polled = self.link.poll(1000, Duration::from_millis(wait_ms), &mut |id, record| {
            assert!(owned.contains_key(&id), "a record of {id:?}, which is not owned");
            let value = record.value.map(|value| String::from_utf8_lossy(value).into_owned()).unwrap_or_default();
            seen.push((id.partition, record.offset, value));
        });
        for event in polled.unwrap() {
            match event {
                Rebalance::Assigned(list) => {
                    self.assignments += 1;
                    for assigned in list {
                        if self.resumes && assigned.lost.is_none() {
                            self.link.resume(assigned.id, assigned.position).unwrap();
                        }
                        assert!(self.owned.insert(assigned.id, assigned).is_none(), "assigned twice");
                    }
                }
                Rebalance::Revoked(list) => {
                    self.revocations += 1;
                    list.iter().for_each(|id| drop(self.owned.remove(id).expect("revoked without being owned")));
                }
            }
        }
    }

    /// Polls until something holds.
    pub fn poll_until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}; seen {:?}", self.seen);
            self.poll(20);
        }
    }

    /// Polls for a while in which nothing is expected.
    pub fn poll_for(&mut self, duration: Duration) {
        let deadline = Instant::now() + duration;
        while Instant::now() < deadline {
            self.poll(20);
        }
    }

    /// The values taken so far, by partition and offset.
    pub fn values(&self) -> Vec<&str> {
        let mut seen: Vec<_> = self.seen.iter().collect();
        seen.sort_unstable();
        seen.into_iter().map(|(_, _, value)| value.as_str()).collect()
    }
}

/// A commit of one offset of partition 0.
pub fn commit(offset: i64, metadata: &str, outputs: Vec<Output>) -> Commit<'static> {
    Commit {
        outputs: Box::new(outputs.into_iter()),
        offsets: vec![(PartitionId { topic: 0, partition: 0 }, offset, metadata.to_owned())],
    }
}
