//! Batches from librdkafka's own mock of a cluster. What a group and transactions do with them is tested where the
//! program uses them, against a real Kafka.

use std::time::{Duration, Instant};

use batch_consumer::BatchConsumer;
use rdkafka::consumer::{BaseConsumer, Consumer, DefaultConsumerContext};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

const TOPIC: &str = "records";
const PARTITIONS: i32 = 3;
const RECORDS: i64 = 500;
const SOON: Duration = Duration::from_secs(10);

type Reader = BatchConsumer<DefaultConsumerContext>;

/// A cluster with records in every partition: those whose offset is odd have no value, every third one headers.
fn cluster() -> (MockCluster<'static, rdkafka::producer::DefaultProducerContext>, String) {
    let cluster = MockCluster::new(1).expect("a mock");
    cluster.create_topic(TOPIC, PARTITIONS, 1).expect("a topic");
    let servers = cluster.bootstrap_servers();
    let producer: ThreadedProducer<DefaultProducerContext> =
        ClientConfig::new().set("bootstrap.servers", &servers).set("linger.ms", "20").create().expect("a producer");
    for n in 0..RECORDS {
        for partition in 0..PARTITIONS {
            let (key, value) = (format!("key-{partition}-{n}"), format!("value-{partition}-{n}"));
            let record = BaseRecord::to(TOPIC).partition(partition).key(&key).timestamp(1_000_000 + n);
            let record = if n % 2 == 0 { record.payload(&value) } else { record };
            let headers = OwnedHeaders::new()
                .insert(Header { key: "first", value: Some("1") })
                .insert(Header { key: "empty", value: Some("") })
                .insert(Header::<&str> { key: "null", value: None });
            let record = if n % 3 == 0 { record.headers(headers) } else { record };
            producer.send(record).map_err(|(error, _)| error).expect("room in the queue");
        }
    }
    producer.flush(SOON).expect("written");
    (cluster, servers)
}

fn reader(servers: &str, batch_max: usize) -> Reader {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("group.id", "readers")
        .set("enable.auto.commit", "false")
        .set("fetch.queue.backoff.ms", "5")
        .create()
        .expect("a consumer");
    let reader = BatchConsumer::new(consumer, batch_max);
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        reader.divert(TOPIC, partition);
        list.add_partition_offset(TOPIC, partition, Offset::Beginning).expect("a partition");
    }
    reader.consumer().assign(&list).expect("assigned");
    reader
}

/// Takes batches until each partition has come to its end; says what came, by partition.
fn read(reader: &mut Reader, max: usize, mut until: impl FnMut(&[Vec<i64>]) -> bool) -> Vec<Vec<i64>> {
    let mut offsets = vec![Vec::new(); PARTITIONS as usize];
    let deadline = Instant::now() + SOON;
    while !until(&offsets) {
        assert!(Instant::now() < deadline, "{offsets:?}");
        assert!(reader.consumer().poll(Duration::ZERO).is_none(), "no record comes any other way");
        for message in reader.batch(max, Duration::from_millis(20)) {
            assert_eq!(message.error(), None);
            check(&message);
            offsets[message.partition() as usize].push(message.offset());
        }
    }
    offsets
}

fn check(message: &batch_consumer::Message<'_>) {
    let (n, partition) = (message.offset(), message.partition());
    assert_eq!(message.topic(), TOPIC);
    assert_eq!(message.key(), Some(format!("key-{partition}-{n}").as_bytes()));
    assert_eq!(message.timestamp(), Some(1_000_000 + n));
    let value = format!("value-{partition}-{n}");
    assert_eq!(message.value(), (n % 2 == 0).then_some(value.as_bytes()));
    let mut headers = Vec::new();
    message.headers(&mut headers);
    let wanted = [("first", Some(&b"1"[..])), ("empty", Some(&b""[..])), ("null", None)];
    assert_eq!(headers, if n % 3 == 0 { &wanted[..] } else { &[] });
}

#[test]
fn every_record_comes_once_and_in_order() {
    let (_cluster, servers) = cluster();
    let mut reader = reader(&servers, 64);
    let all: Vec<i64> = (0..RECORDS).collect();
    let offsets = read(&mut reader, usize::MAX, |offsets| offsets.iter().all(|offsets| offsets.len() >= all.len()));
    assert!(offsets.iter().all(|offsets| *offsets == all), "{offsets:?}");
    drop(reader.into_consumer());
}

#[test]
fn a_batch_is_no_larger_than_asked_for_and_may_be_left() {
    let (_cluster, servers) = cluster();
    let mut reader = reader(&servers, 64);
    let mut seen = 0;
    let deadline = Instant::now() + SOON;
    while seen < 100 {
        assert!(Instant::now() < deadline);
        assert!(reader.consumer().poll(Duration::ZERO).is_none());
        let mut batch = reader.batch(7, Duration::from_millis(20));
        assert!(batch.len() <= 7);
        // Two are looked at, the others are dropped with the batch.
        seen += batch.by_ref().take(2).count();
    }
}

#[test]
fn a_partition_that_is_sought_begins_there_and_nothing_older_comes() {
    let (_cluster, servers) = cluster();
    let mut reader = reader(&servers, 4096);
    // Some of everything is in the queue by now.
    read(&mut reader, 5, |offsets| offsets.iter().all(|offsets| !offsets.is_empty()));
    reader.consumer().seek(TOPIC, 1, Offset::Offset(RECORDS - 3), SOON).expect("sought");
    let offsets = read(&mut reader, usize::MAX, |offsets| offsets[1].len() >= 3);
    assert_eq!(offsets[1], [RECORDS - 3, RECORDS - 2, RECORDS - 1]);
}

#[test]
fn nothing_comes_of_a_paused_partition() {
    let (_cluster, servers) = cluster();
    let mut reader = reader(&servers, 4096);
    let before = read(&mut reader, 5, |offsets| !offsets[0].is_empty());
    let mut paused = TopicPartitionList::new();
    paused.add_partition(TOPIC, 0);
    reader.consumer().pause(&paused).expect("paused");
    let rest = RECORDS as usize;
    let offsets = read(&mut reader, usize::MAX, |offsets| {
        (1..3).all(|partition| before[partition].len() + offsets[partition].len() >= rest)
    });
    assert!(offsets[0].is_empty(), "{offsets:?}");
    reader.consumer().resume(&paused).expect("resumed");
    let offsets = read(&mut reader, usize::MAX, |offsets| before[0].len() + offsets[0].len() >= rest);
    assert_eq!(offsets[0].first(), Some(&(before[0].last().expect("some came") + 1)), "it goes on where it stood");
}

#[test]
fn part_of_a_millisecond_is_waited_for_too() {
    let (_cluster, servers) = cluster();
    let mut reader = reader(&servers, 64);
    let mut paused = TopicPartitionList::new();
    (0..PARTITIONS).for_each(|partition| _ = paused.add_partition(TOPIC, partition));
    reader.consumer().pause(&paused).expect("paused");
    let begun = Instant::now();
    (0..20).for_each(|_| assert!(reader.batch(1, Duration::from_micros(300)).is_empty()));
    assert!(begun.elapsed() >= Duration::from_millis(10), "{:?}", begun.elapsed());
}
