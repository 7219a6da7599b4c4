//! The floors: a consumer that touches every byte, and one that decodes besides. No group of windows, no output, no
//! commit: what no program of this kind can cost less than.

use std::hint::black_box;
use std::time::{Duration, Instant};

use batch_consumer::BatchConsumer;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message as _;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use touchstone::record::Record;
use touchstone::touchpoint::{DecodeContext, Item, Limits, decode};

/// Reads `events` events of `topic` as `how` says: `touch-poll`, `touch-batch` or `decode-batch`.
pub fn run(how: &str, events: u64, broker: &str, topic: &str, partitions: i32) {
    // As touchstone's consumer is set: a prefetch queue that fits into the cache.
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", broker)
        .set("group.id", "floor")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("check.crcs", "true")
        .set("queued.min.messages", "1000000")
        .set("queued.max.messages.kbytes", "8192")
        .set("fetch.queue.backoff.ms", "5")
        .create()
        .expect("a consumer");
    let mut reader = BatchConsumer::new(consumer, 4096);
    let batched = how != "touch-poll";
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        if batched {
            reader.divert(topic, partition);
        }
        list.add_partition_offset(topic, partition, Offset::Beginning).expect("a partition");
    }
    reader.consumer().assign(&list).expect("assigned");
    let (mut seen, mut said) = (0, Instant::now());
    let context = DecodeContext { now: i64::MAX / 2, max_future_ms: 0, limits: Limits { record_bytes_max: 1 << 20 } };
    println!("P 0");
    while seen < events {
        if batched {
            _ = reader.consumer().poll(Duration::ZERO);
            for message in reader.batch(4096, Duration::from_millis(20)) {
                let value = message.value().expect("every event has a value");
                if how == "decode-batch" {
                    let record = Record {
                        offset: message.offset(),
                        timestamp: None,
                        key: None,
                        value: Some(value),
                        headers: &[],
                    };
                    match decode(&record, &context) {
                        Item::Touchpoint(touchpoint) => _ = black_box(touchpoint),
                        other => panic!("{other:?}"),
                    }
                } else {
                    black_box(touch(value));
                }
                seen += 1;
            }
        } else if let Some(Ok(message)) = reader.consumer().poll(Duration::from_millis(20)) {
            black_box(touch(message.payload().expect("every event has a value")));
            seen += 1;
        }
        if said.elapsed() > Duration::from_millis(50) {
            println!("P {seen}");
            said = Instant::now();
        }
    }
    println!("DONE {seen}");
    // Leaving the group of a consumer is not what is measured.
    std::process::exit(0);
}

fn touch(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let sum = words.iter().fold(0u64, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)));
    rest.iter().fold(sum, |sum, byte| sum.wrapping_add(u64::from(*byte)))
}
