//! Traffic with a known answer: touchpoints in the order of their event time, which runs faster than the clock, written
//! steadily whatever happens to the broker.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use libtest_mimic::Failed;
use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};

use crate::events;

/// How much faster than the clock event time runs.
pub const SPEED: i64 = 60;

/// Now, in ms since the epoch.
pub fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// What was written, in order: (key, event as JSON).
type Written = Arc<Mutex<Vec<(String, String)>>>;

/// The traffic.
pub struct Feed {
    stop: Arc<AtomicBool>,
    written: Written,
    thread: Option<JoinHandle<Result<i64, String>>>,
}

impl Feed {
    /// Begins to write `rate` events a second; event time begins at `from`.
    pub fn start(address: &str, topic: &str, from: i64, rate: u64) -> Feed {
        let (stop, written) = (Arc::new(AtomicBool::new(false)), Written::default());
        let (address, topic) = (address.to_string(), topic.to_string());
        let (of_thread, into) = (Arc::clone(&stop), Arc::clone(&written));
        let thread = Some(thread::spawn(move || write(&address, &topic, from, rate, &of_thread, &into)));
        Feed { stop, written, thread }
    }

    /// Ends it: when event time ended, and everything that was written.
    pub fn end(mut self) -> Result<(i64, Vec<(String, String)>), Failed> {
        self.stop.store(true, Ordering::SeqCst);
        let thread = self.thread.take().expect("it is ended once");
        let until = thread.join().map_err(|_| "the feed panicked")??;
        let written = std::mem::take(&mut *self.written.lock().expect("no thread panics while it holds this lock"));
        Ok((until, written))
    }
}

fn producer(address: &str) -> Result<ThreadedProducer<DefaultProducerContext>, String> {
    ClientConfig::new()
        .set("bootstrap.servers", address)
        .set("enable.idempotence", "true")
        .set("partitioner", "murmur2_random")
        .set("topic.metadata.refresh.interval.ms", "2000")
        .set("message.timeout.ms", "300000")
        .set("linger.ms", "5")
        .create()
        .map_err(|error| error.to_string())
}

fn write(address: &str, topic: &str, from: i64, rate: u64, stop: &AtomicBool, into: &Written) -> Result<i64, String> {
    let producer = producer(address)?;
    let started = Instant::now();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut number = 0u64;
    let mut now = from;
    while !stop.load(Ordering::SeqCst) {
        let due = u64::try_from(started.elapsed().as_millis()).map_err(|error| error.to_string())? * rate / 1000;
        while number < due {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let elapsed = i64::try_from(number * 1000 / rate).map_err(|error| error.to_string())?;
            now = from + elapsed * SPEED;
            let jitter = i64::try_from(random >> 49).expect("few bits") % 8_000;
            let bytes = std::array::from_fn(|at| random.to_le_bytes()[(at + 3) % 8] ^ number.to_le_bytes()[at % 8]);
            let event = events::json(&events::touchpoint(&format!("e-{number}"), now - jitter, &bytes));
            let key = format!("customer-{}", random >> 54);
            // Now and then one is sent twice.
            let copies = if random.is_multiple_of(97) { 2 } else { 1 };
            for _ in 0..copies {
                send(&producer, topic, &key, &event)?;
                into.lock().map_err(|error| error.to_string())?.push((key.clone(), event.clone()));
            }
            number += 1;
        }
        thread::sleep(Duration::from_millis(5));
    }
    producer.flush(Duration::from_secs(300)).map_err(|error| format!("not everything was written: {error}"))?;
    Ok(now)
}

fn send(
    producer: &ThreadedProducer<DefaultProducerContext>,
    topic: &str,
    key: &str,
    event: &str,
) -> Result<(), String> {
    let mut record = BaseRecord::to(topic).key(key).payload(event);
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(rdkafka::error::RDKafkaErrorCode::QueueFull), back)) => {
                record = back;
                thread::sleep(Duration::from_millis(10));
            }
            Err((error, _)) => return Err(error.to_string()),
        }
    }
}

/// One event in each partition, late enough to close everything before it.
pub fn close(address: &str, topic: &str, partitions: i32, time: i64) -> Result<Vec<String>, String> {
    let producer = producer(address)?;
    let mut events = Vec::new();
    for partition in 0..partitions {
        let event = events::json(&events::touchpoint(&format!("close-{partition}"), time, &[3; events::BYTES]));
        let record = BaseRecord::to(topic).partition(partition).key("close").payload(&event);
        producer.send(record).map_err(|(error, _)| error.to_string())?;
        events.push(event);
    }
    producer.flush(Duration::from_secs(60)).map_err(|error| error.to_string())?;
    Ok(events)
}
