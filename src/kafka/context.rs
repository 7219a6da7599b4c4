//! What librdkafka calls back: rebalances, delivery reports, errors and log lines.
//!
//! A callback records and returns. It never blocks on the network, because it runs inside the worker's poll, and the
//! worker is told of it by what that poll returns.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, ConsumerGroupMetadata};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{DeliveryResult, ProducerContext};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;

use super::Connection;
use super::security::{Access, is_news};

/// A partition by its topic's name, as librdkafka speaks of it.
pub(super) type Named = (String, i32);

/// A rebalance as it was called back.
#[derive(Debug)]
pub(super) enum Called {
    /// These are to be assigned; librdkafka waits until we have done so.
    Assign(Vec<Named>),
    /// These were taken away.
    Revoked(Vec<Named>),
}

struct Heard {
    calls: VecDeque<Called>,
    metadata: Option<Arc<ConsumerGroupMetadata>>,
    /// When the worker's last poll returned.
    polled_at: Instant,
    stale: bool,
}

/// Hears the group consumer's rebalances.
pub(super) struct GroupContext {
    heard: Mutex<Heard>,
    news: AtomicBool,
    session: Duration,
    access: Access,
}

impl GroupContext {
    /// For a consumer of this connection.
    pub fn new(connection: &Connection) -> Self {
        let session = connection.timings.session;
        let heard = Heard { calls: VecDeque::new(), metadata: None, polled_at: Instant::now(), stale: false };
        Self {
            heard: Mutex::new(heard),
            news: AtomicBool::new(false),
            session,
            access: Access::new(&connection.security),
        }
    }

    /// How the cluster has refused us last.
    pub fn refusal(&self) -> Option<String> {
        self.access.refusal()
    }

    /// The worker's poll returns.
    pub fn polled(&self) {
        self.heard().polled_at = Instant::now();
    }

    /// Whether an assignment was heard of so late that the membership behind it may have ended meanwhile. librdkafka
    /// then says "no member, no generation", and brokers let such a commit pass unfenced. We cannot look inside what it
    /// gives us; but a membership cannot have ended within one session time-out of the poll before.
    pub fn take_stale(&self) -> bool {
        std::mem::take(&mut self.heard().stale)
    }

    /// Keeps the membership an assignment was made under, unless it may have ended since.
    fn keep_membership(&self, consumer: &BaseConsumer<Self>) {
        let metadata = consumer.group_metadata().map(Arc::new);
        let mut heard = self.heard();
        heard.stale = heard.polled_at.elapsed() >= self.session;
        heard.metadata = if heard.stale { None } else { metadata };
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().expect("nothing panics while it holds this lock")
    }

    /// Whether a rebalance was called back since the last [`GroupContext::next`] that returned nothing.
    pub fn has_news(&self) -> bool {
        self.news.load(Ordering::Acquire)
    }

    /// The next rebalance, oldest first.
    pub fn next(&self) -> Option<Called> {
        let mut heard = self.heard();
        let next = heard.calls.pop_front();
        self.news.store(!heard.calls.is_empty(), Ordering::Release);
        next
    }

    /// The membership at the last rebalance: what commits are fenced by. `None` while it is lost: a commit under the
    /// consumer's present, empty membership would not be fenced at all.
    pub fn metadata(&self) -> Option<Arc<ConsumerGroupMetadata>> {
        self.heard().metadata.clone()
    }
}

impl ClientContext for GroupContext {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _config: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.access.token()
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        forward(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.access.heard(&error, reason);
        tracing::debug!(%error, reason, "consumer");
    }
}

impl ConsumerContext for GroupContext {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let named: Vec<Named> = list.elements().iter().map(|e| (e.topic().to_owned(), e.partition())).collect();
        if event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.keep_membership(consumer);
            if named.is_empty() {
                // A round in which nothing came to us; only the generation is new.
                report(consumer.incremental_assign(list));
                return;
            }
            self.heard().calls.push_back(Called::Assign(named));
        } else {
            if consumer.assignment_lost() {
                self.heard().metadata = None;
            } else {
                self.keep_membership(consumer);
            }
            if consumer.incremental_unassign(list).is_err() {
                // Some of them were never assigned by us: nothing may stay behind.
                report(consumer.unassign());
            }
            self.heard().calls.push_back(Called::Revoked(named));
        }
        self.news.store(true, Ordering::Release);
    }
}

fn report(result: Result<(), KafkaError>) {
    if let Err(error) = result {
        tracing::warn!(%error, "an assignment was refused");
    }
}

/// For clients from which nothing needs to be heard.
#[derive(Debug)]
pub(super) struct Quiet {
    access: Access,
}

impl Quiet {
    pub fn new(connection: &Connection) -> Self {
        Self { access: Access::new(&connection.security) }
    }

    /// Whether an error said that we may not do what we did.
    pub fn is_denied(&self) -> bool {
        self.access.is_denied()
    }

    /// How the cluster has refused us last.
    pub fn refusal(&self) -> Option<String> {
        self.access.refusal()
    }
}

impl ClientContext for Quiet {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _config: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.access.token()
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        forward(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.access.heard(&error, reason);
        tracing::debug!(%error, reason, "client");
    }
}

impl ConsumerContext for Quiet {}

/// Hears the producer's delivery reports and errors.
pub(super) struct Deliveries {
    access: Access,
    failed: Mutex<Option<(KafkaError, String)>>,
    troubled: AtomicBool,
}

impl Deliveries {
    pub fn new(connection: &Connection) -> Self {
        Self { access: Access::new(&connection.security), failed: Mutex::default(), troubled: AtomicBool::new(false) }
    }

    /// How the cluster has refused us last.
    pub fn refusal(&self) -> Option<String> {
        self.access.refusal()
    }

    /// The first record that was refused since the last call, and where it was to go.
    pub fn take_failure(&self) -> Option<(KafkaError, String)> {
        self.failed.lock().expect("nothing panics while it holds this lock").take()
    }

    /// Whether the client reported an error since the last call.
    pub fn take_trouble(&self) -> bool {
        self.troubled.swap(false, Ordering::AcqRel)
    }
}

impl ClientContext for Deliveries {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _config: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.access.token()
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        forward(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.troubled.store(true, Ordering::Release);
        self.access.heard(&error, reason);
        tracing::debug!(%error, reason, "producer");
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, message)) = result {
            let place = format!("{}-{}", message.topic(), message.partition());
            let mut failed = self.failed.lock().expect("nothing panics while it holds this lock");
            failed.get_or_insert_with(|| (error.clone(), place));
        }
    }
}

fn forward(level: RDKafkaLogLevel, facility: &str, message: &str) {
    // A transaction that failed is told by the commit that it belongs to.
    if facility == "TXNERR" {
        return tracing::debug!(facility, "librdkafka: {message}");
    }
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
            if is_news(message) {
                tracing::warn!(facility, "librdkafka: {message}");
            }
        }
        _ => tracing::debug!(facility, "librdkafka: {message}"),
    }
}
