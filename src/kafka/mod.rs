//! The only place that knows librdkafka: the port to a log on Kafka, and the administration of topics.
//!
//! Everything here is bounded in time, and safe code only. What decides the design is that librdkafka must never choose
//! for us: not where to start (`auto.offset.reset=error`), not when to commit, not which generation a commit belongs to.

pub mod admin;
mod assignment;
mod clients;
mod context;
mod error;
pub mod feed;
mod follower;
mod link;
mod message;
pub mod offsets;
mod producer;
mod reader;
pub mod security;

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::ClientConfig;

pub use self::follower::KafkaFollower;
pub use self::link::KafkaLink;
use self::security::Security;
use crate::pipeline::link::{LinkConfig, LinkError};

/// The time-outs of a worker's clients. The configuration checks their relations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timings {
    /// After this long without a heartbeat the group gives our partitions away.
    pub session: Duration,
    /// Between two heartbeats: members hear of a rebalance by the answer, so a partition that moves stands still for one
    /// or two of them.
    pub heartbeat: Duration,
    /// After this long without a poll we give our partitions away.
    pub poll_interval: Duration,
    /// How long a transaction may stay open.
    pub transaction: Duration,
    /// How soon a new partition is seen.
    pub metadata_refresh: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            session: Duration::from_secs(10),
            heartbeat: Duration::from_secs(1),
            poll_interval: Duration::from_secs(60),
            transaction: Duration::from_secs(10),
            metadata_refresh: Duration::from_secs(30),
        }
    }
}

/// How to reach Kafka.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// `host:port`, several separated by commas.
    pub bootstrap_servers: String,
    /// The time-outs.
    pub timings: Timings,
    /// TLS and login.
    pub security: Security,
    /// librdkafka settings from the configuration; they may not touch [`RESERVED`].
    pub properties: BTreeMap<String, String>,
}

/// Settings that carry a guarantee, or that have a key of their own in the configuration.
pub const RESERVED: [&str; 47] = [
    "acks",
    "auto.commit.enable",
    "auto.offset.reset",
    "batch.size",
    "bootstrap.servers",
    "delivery.timeout.ms",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "enable.partition.eof",
    "enable.sasl.oauthbearer.unsecure.jwt",
    "group.id",
    "heartbeat.interval.ms",
    "isolation.level",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "max.poll.interval.ms",
    "message.max.bytes",
    "message.send.max.retries",
    "message.timeout.ms",
    "metadata.broker.list",
    "partition.assignment.strategy",
    "partitioner",
    "plugin.library.paths",
    "queue.buffering.max.messages",
    "request.required.acks",
    "retries",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.config",
    "sasl.password",
    "sasl.username",
    "security.protocol",
    "session.timeout.ms",
    "ssl.ca.location",
    "ssl.ca.pem",
    "ssl.certificate.location",
    "ssl.certificate.pem",
    "ssl.key.location",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.keystore.location",
    "ssl.keystore.password",
    "transaction.timeout.ms",
    "transactional.id",
];

/// A librdkafka setting that may not be overridden.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "[kafka.properties] must not set {key}: exactly-once depends on it, or it has a key of its own under [kafka]; remove it (reserved: {})",
    RESERVED.join(", ")
)]
pub struct ReservedProperty {
    /// Which one.
    pub key: String,
}

impl Connection {
    /// A connection with everything but the address at its default.
    pub fn new(bootstrap_servers: &str) -> Self {
        let (timings, properties) = (Timings::default(), BTreeMap::new());
        let security = Security::default();
        Self { bootstrap_servers: bootstrap_servers.to_owned(), timings, security, properties }
    }

    /// Checks that no property touches a guarantee.
    ///
    /// # Errors
    /// The first one that does.
    ///
    /// ```
    /// let mut connection = touchstone::kafka::Connection::new("localhost:9092");
    /// connection.properties.insert("isolation.level".into(), "read_uncommitted".into());
    /// assert!(connection.check_properties().unwrap_err().to_string().contains("isolation.level"));
    /// ```
    pub fn check_properties(&self) -> Result<(), ReservedProperty> {
        let reserved = self.properties.keys().find(|key| RESERVED.contains(&key.as_str()));
        reserved.map_or(Ok(()), |key| Err(ReservedProperty { key: key.clone() }))
    }

    /// Opens a link: a member of the group, and a transactional producer that fences its predecessor.
    ///
    /// # Errors
    /// [`LinkError::Unavailable`] when no broker answers within about ten seconds, naming the address;
    /// [`LinkError::Fatal`] when librdkafka refuses a setting.
    pub fn link(&self, config: &LinkConfig) -> Result<KafkaLink, LinkError> {
        KafkaLink::open(self, config)
    }

    /// What every client has in common: the address and the user's properties.
    fn base(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        self.properties.iter().for_each(|(key, value)| {
            config.set(key, value);
        });
        config.set("bootstrap.servers", &self.bootstrap_servers);
        self.security.apply(&mut config);
        config
    }
}
