//! Kafka as the harness sees it: topics, producing, reading everything back, how far a group and a topic have come.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::job::Events;

const ASK: Duration = Duration::from_secs(10);

/// A consumer that reads what is committed.
fn consumer(broker: &str, group: &str, more: &[(&str, &str)]) -> BaseConsumer {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", broker)
        .set("group.id", group)
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false");
    more.iter().for_each(|(key, value)| _ = config.set(*key, *value));
    config.create().expect("a consumer")
}

/// Makes an empty topic; one of that name is deleted first.
pub fn make(broker: &str, topic: &str, partitions: i32) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", broker).create().expect("an admin client");
    let options = AdminOptions::new().operation_timeout(Some(ASK));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    // Most often it does not exist.
    let _ = runtime.block_on(admin.delete_topics(&[topic], &options));
    let wanted = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    let deadline = Instant::now() + 3 * ASK;
    loop {
        let made = runtime.block_on(admin.create_topics([&wanted], &options)).expect("an answer");
        match &made[0] {
            Ok(_) => return,
            Err((_, error)) => assert!(Instant::now() < deadline, "{topic}: {error}"),
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Writes the first `events` events into a new topic of 12 partitions; says how many bytes their values have.
pub fn produce(broker: &str, topic: &str, events: u64) -> u64 {
    make(broker, topic, 12);
    let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
        .set("bootstrap.servers", broker)
        .set("enable.idempotence", "true")
        .set("compression.type", "lz4")
        .set("linger.ms", "50")
        .set("batch.size", "131072")
        .set("queue.buffering.max.messages", "500000")
        .set("partitioner", "murmur2_random")
        .create()
        .expect("a producer");
    let (mut made, mut bytes) = (Events::new(), 0);
    for n in 0..events {
        let event = made.make(n);
        bytes += event.json.len() as u64;
        let mut record = BaseRecord::to(topic).key(&event.key).payload(&event.json);
        while let Err((error, back)) = producer.send(record) {
            let full = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
            assert_eq!(error, full, "{topic}");
            std::thread::sleep(Duration::from_millis(2));
            record = back;
        }
    }
    producer.flush(Duration::from_secs(60)).expect("everything is written");
    bytes
}

/// A consumer of committed records from a topic's beginning, and how many partitions it has.
fn reader(broker: &str, topic: &str) -> (BaseConsumer, i32) {
    let consumer = consumer(broker, "judge", &[("enable.partition.eof", "true"), ("fetch.queue.backoff.ms", "10")]);
    let partitions = partitions(&consumer, topic);
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        list.add_partition_offset(topic, partition, Offset::Beginning).expect("a partition");
    }
    consumer.assign(&list).expect("assigned");
    (consumer, partitions)
}

/// Whether a record of touchstone's is final.
pub fn is_final(value: &[u8]) -> bool {
    memchr::memmem::find(value, br#""state":"final""#).is_some()
}

/// Returns once the topic holds final records under so many keys.
pub fn count_finals(broker: &str, topic: &str, count: usize) {
    let (consumer, _) = reader(broker, topic);
    let mut keys = HashSet::new();
    while keys.len() < count {
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(500))
            && message.payload().is_some_and(is_final)
        {
            keys.insert(message.key().unwrap_or_default().to_vec());
        }
    }
}

/// Every committed record of a topic, up to its present end.
pub fn read(broker: &str, topic: &str, mut each: impl FnMut(&[u8], Option<&[u8]>)) {
    let (consumer, mut open) = reader(broker, topic);
    while open > 0 {
        match consumer.poll(Duration::from_millis(500)) {
            Some(Ok(message)) => each(message.key().unwrap_or_default(), message.payload()),
            Some(Err(KafkaError::PartitionEOF(_))) => open -= 1,
            Some(Err(error)) => panic!("{topic}: {error}"),
            None => {}
        }
    }
}

fn partitions(consumer: &BaseConsumer, topic: &str) -> i32 {
    let metadata = consumer.fetch_metadata(Some(topic), ASK).expect("metadata");
    i32::try_from(metadata.topics()[0].partitions().len()).expect("a number of partitions")
}

/// Looks at how far a topic has come.
pub struct Eye {
    consumer: BaseConsumer,
    topic: String,
    partitions: i32,
}

impl Eye {
    /// On a topic, and what `group` has committed there.
    pub fn new(broker: &str, topic: &str, group: &str) -> Eye {
        let consumer = consumer(broker, group, &[]);
        let partitions = partitions(&consumer, topic);
        Eye { consumer, topic: topic.to_owned(), partitions }
    }

    /// The sum of the last stable offsets: it moves with each transaction that ends.
    pub fn stable(&self) -> i64 {
        let end = |partition| self.consumer.fetch_watermarks(&self.topic, partition, ASK).map_or(0, |(_, end)| end);
        (0..self.partitions).map(end).sum()
    }

    /// The sum of the committed offsets of the group.
    pub fn committed(&self) -> i64 {
        let mut list = TopicPartitionList::new();
        list.add_partition_range(&self.topic, 0, self.partitions - 1);
        // While a transaction ends there is no answer; the next look has one.
        let Ok(asked) = self.consumer.committed_offsets(list, ASK) else { return 0 };
        asked.elements().iter().filter_map(|element| element.offset().to_raw()).filter(|offset| *offset > 0).sum()
    }
}
