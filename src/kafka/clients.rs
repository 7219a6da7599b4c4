//! The settings of every client we make, and how one is let go of in bounded time.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::Consumer;
use rdkafka::topic_partition_list::TopicPartitionList;

use super::Connection;
use super::context::{Named, Quiet};
use super::security::denied;
use crate::pipeline::link::{LinkConfig, LinkError};

/// How long one question to a broker may take.
pub(super) const ASK: Duration = Duration::from_secs(5);

/// How long the first answer of a broker may take.
pub(super) const REACH: Duration = Duration::from_secs(10);

/// Between two looks whether a broker that does not answer has refused us.
const KNOCK: Duration = Duration::from_millis(300);

/// A consumer that hears nothing but what is asked of it.
pub(super) type QuietConsumer = rdkafka::consumer::BaseConsumer<Quiet>;

/// The member of the group.
pub(super) fn member(connection: &Connection, link: &LinkConfig) -> ClientConfig {
    let timings = &connection.timings;
    let mut config = reading(connection, &link.group);
    config
        .set("session.timeout.ms", millis(timings.session))
        .set("heartbeat.interval.ms", millis(timings.heartbeat))
        .set("max.poll.interval.ms", millis(timings.poll_interval))
        .set("topic.metadata.refresh.interval.ms", millis(timings.metadata_refresh));
    if connection.properties.get("group.protocol").is_some_and(|protocol| protocol == "consumer") {
        // Under KIP-848 the broker assigns and keeps the time.
        for key in ["session.timeout.ms", "heartbeat.interval.ms"] {
            config.remove(key);
        }
    } else {
        config.set("partition.assignment.strategy", "cooperative-sticky");
    }
    config
}

/// A read-committed consumer that joins nothing; it names the group only because librdkafka asks for one.
pub(super) fn reading(connection: &Connection, group: &str) -> ClientConfig {
    let mut config = connection.base();
    let defaults = [
        ("queued.max.messages.kbytes", "8192"),
        ("queued.min.messages", "1000000"),
        // Whoever comes first may fill the queue above, and the others wait: with small pieces of each partition they
        // come along together, and merge has less to keep until the last of them has.
        ("fetch.message.max.bytes", "131072"),
        ("fetch.queue.backoff.ms", "5"),
        ("fetch.wait.max.ms", "50"),
        ("check.crcs", "true"),
    ];
    for (key, value) in defaults {
        if config.get(key).is_none() {
            config.set(key, value);
        }
    }
    config
        .set("group.id", group)
        .set("isolation.level", "read_committed")
        .set("auto.offset.reset", "error")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false");
    config
}

/// A client that is only asked where logs end, also beyond open transactions.
pub(super) fn asking(connection: &Connection) -> ClientConfig {
    let mut config = connection.base();
    config.set("isolation.level", "read_uncommitted");
    config
}

/// A client that is only asked what a group has committed, without waiting for what is in an open transaction:
/// librdkafka asks for stable offsets only where it reads committed records.
pub(super) fn looking(connection: &Connection, group: &str) -> ClientConfig {
    let mut config = asking(connection);
    config.set("group.id", group).set("enable.auto.commit", "false");
    config
}

/// How much of a commit waits to be sent; the rest is made while that is.
const QUEUE_BYTES: usize = 32 << 20;

/// The transactional producer.
pub(super) fn writing(connection: &Connection, link: &LinkConfig) -> ClientConfig {
    let mut config = connection.base();
    let defaults = [
        ("compression.type", "lz4"),
        ("linger.ms", "1"),
        ("retry.backoff.ms", "10"),
        ("retry.backoff.max.ms", "200"),
        // A topic that was just created may be unknown for a moment; one that stays unknown must not hold a commit up.
        ("topic.metadata.propagation.max.ms", "3000"),
    ];
    for (key, value) in defaults {
        if config.get(key).is_none() {
            config.set(key, value);
        }
    }
    if config.get("queue.buffering.max.kbytes").is_none() {
        config.set("queue.buffering.max.kbytes", (QUEUE_BYTES.max(2 * link.record_bytes_max) >> 10).to_string());
    }
    let transaction = millis(connection.timings.transaction);
    config
        .set("transactional.id", &link.transactional_id)
        .set("transaction.timeout.ms", &transaction)
        .set("message.timeout.ms", &transaction)
        .set("message.max.bytes", link.record_bytes_max.to_string())
        .set("partitioner", "murmur2_random")
        .set("queue.buffering.max.messages", "0");
    config
}

/// Makes a client; what librdkafka refuses can only be mended in the configuration.
pub(super) fn create<T, C>(config: &ClientConfig, context: C) -> Result<T, LinkError>
where
    T: FromClientConfigAndContext<C>,
    C: rdkafka::ClientContext,
{
    config.create_with_context(context).map_err(|error| LinkError::Fatal(format!("a Kafka client: {error}")))
}

/// A consumer that hears nothing but what is asked of it. It is polled by nobody, so what it needs to be told before it
/// can connect is told here.
pub(super) fn quiet(connection: &Connection, config: &ClientConfig) -> Result<QuietConsumer, LinkError> {
    let consumer: QuietConsumer = create(config, Quiet::new(connection))?;
    serve(connection, &consumer, Duration::from_millis(200));
    Ok(consumer)
}

/// Serves what a consumer without records asks for: tokens, and errors to be heard.
pub(super) fn serve(connection: &Connection, consumer: &QuietConsumer, wait: Duration) {
    if connection.security.by_token() {
        while consumer.poll(wait).is_some() {}
    }
}

/// Whether the cluster lets us into the group: it is asked for what is committed.
pub(super) fn may_join(client: &QuietConsumer, config: &LinkConfig) -> Result<(), LinkError> {
    let Some(subscription) = config.subscriptions.first() else { return Ok(()) };
    let deadline = Instant::now() + ASK;
    loop {
        let list = single(&(subscription.topic.clone(), 0));
        let asked = client.committed_offsets(list, KNOCK).is_ok();
        // Without a coordinator there is no answer, but an error that is heard while it is polled.
        while client.poll(Duration::ZERO).is_some() {}
        if client.context().is_denied() {
            return Err(LinkError::Fatal(denied(&format!("the group {}", config.group))));
        }
        // What else it may be is met again, with more patience.
        if asked || Instant::now() >= deadline {
            return Ok(());
        }
    }
}

/// Waits for the first answer of a broker; one that refuses us is not asked again.
pub(super) fn reach(client: &QuietConsumer, connection: &Connection) -> Result<(), LinkError> {
    let deadline = Instant::now() + REACH;
    loop {
        let Err(error) = client.fetch_metadata(None, KNOCK) else { return Ok(()) };
        // Errors are heard while it is polled.
        while client.poll(Duration::ZERO).is_some() {}
        if let Some(refusal) = client.context().refusal() {
            return Err(LinkError::Fatal(refusal));
        }
        if Instant::now() >= deadline {
            let (address, seconds) = (&connection.bootstrap_servers, REACH.as_secs());
            return Err(LinkError::Unavailable(format!(
                "no Kafka broker answers at {address} within {seconds} s ({error})"
            )));
        }
    }
}

/// Drops a client on a thread of its own and waits for that no longer than `limit`: librdkafka has no bound of its own.
pub(super) fn let_go<T: Send + 'static>(client: T, limit: Duration) {
    let (done, wait) = mpsc::channel();
    std::thread::spawn(move || {
        drop(client);
        // Nobody listens any more when it took longer than the limit.
        let _ = done.send(());
    });
    if wait.recv_timeout(limit).is_err() {
        tracing::warn!(limit_ms = limit.as_millis(), "a Kafka client does not close; it is left behind");
    }
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

/// A list of one partition.
pub(super) fn single((topic, partition): &Named) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(1);
    list.add_partition(topic, *partition);
    list
}
