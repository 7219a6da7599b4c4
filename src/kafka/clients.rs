//! The settings of every client we make, and how one is let go of in bounded time.

use std::sync::mpsc;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfigAndContext;

use super::Connection;
use super::context::Quiet;
use crate::pipeline::link::{LinkConfig, LinkError};

/// How long one question to a broker may take.
pub(super) const ASK: Duration = Duration::from_secs(5);

/// How long the first answer of a broker may take.
pub(super) const REACH: Duration = Duration::from_secs(10);

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
        // With this and no limit on their number, the queue cannot be full: a commit is bounded by configuration.
        ("queue.buffering.max.kbytes", "2097151"),
    ];
    for (key, value) in defaults {
        if config.get(key).is_none() {
            config.set(key, value);
        }
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
