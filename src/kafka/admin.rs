//! Creates the topics of the table, and compares what exists with it.
//!
//! It never changes or deletes a topic: a wrong number of partitions would tear the state apart, and retention is the
//! operator's to shorten. What differs is listed with the command that mends it.

use std::cell::OnceCell;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::MetadataTopic;

use super::Connection;
use super::clients::reach;
use super::clients::{self, QuietConsumer, REACH};
use super::context::Quiet;
use super::security::{denied, is_denied};
use crate::pipeline::link::LinkError;
use crate::topics::{Purpose, Topic};

/// How long the cluster may take over one request.
const REQUEST: Duration = Duration::from_secs(15);

/// What can go wrong; each variant is the caller's next step.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// No broker answers: check the address and the network.
    #[error("{0}")]
    Unreachable(String),
    /// The cluster refused: the message says what.
    #[error("{0}")]
    Refused(String),
    /// Topics are missing or have too few partitions; `touchstone topics` creates what is missing.
    #[error("{}", list(.0))]
    Unfit(Vec<Difference>),
}

/// One way in which a topic is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The topic.
    pub topic: String,
    /// `exists`, `partitions`, `replication.factor`, or a setting by Kafka's name.
    pub key: String,
    /// As the table says.
    pub expected: String,
    /// As it is.
    pub found: String,
    /// What mends it.
    pub remedy: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, key, expected, found, remedy } = self;
        write!(f, "topic {topic}: {key} is {found}, should be {expected}; {remedy}")
    }
}

fn list(differences: &[Difference]) -> String {
    differences.iter().map(Difference::to_string).collect::<Vec<_>>().join("\n")
}

/// What the cluster says about one topic.
struct Found {
    partitions: usize,
    replicas: usize,
}

/// A connection that administers topics.
pub struct Admin {
    connection: Connection,
    /// Asks for metadata: it hears why it is refused, which the client below does not.
    asking: QuietConsumer,
    client: OnceCell<AdminClient<Quiet>>,
}

impl Admin {
    /// Connects.
    ///
    /// # Errors
    /// [`AdminError::Unreachable`] when no broker answers within about ten seconds, naming the address.
    pub fn open(connection: &Connection) -> Result<Self, AdminError> {
        connection.check_properties().map_err(|error| AdminError::Refused(error.to_string()))?;
        let failed = |error| match error {
            LinkError::Unavailable(reason) => AdminError::Unreachable(reason),
            LinkError::Lost(reason) | LinkError::Fatal(reason) => AdminError::Refused(reason),
        };
        let asking = clients::quiet(connection, &clients::asking(connection)).map_err(failed)?;
        reach(&asking, connection).map_err(failed)?;
        Ok(Self { connection: connection.clone(), asking, client: OnceCell::new() })
    }

    /// The client that changes and describes.
    fn client(&self) -> Result<&AdminClient<Quiet>, AdminError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        if self.connection.security.by_token() {
            // librdkafka's administrator cannot be handed one.
            let reason = "topics cannot be created or compared with a token (OAUTHBEARER): log in with a password or a certificate for this command";
            return Err(AdminError::Refused(reason.into()));
        }
        let made: Result<AdminClient<Quiet>, LinkError> =
            clients::create(&self.connection.base(), Quiet::new(&self.connection));
        let made = made.map_err(|error| AdminError::Refused(error.to_string()))?;
        Ok(self.client.get_or_init(|| made))
    }

    fn unreachable(&self, error: &dyn fmt::Display) -> AdminError {
        let (address, seconds) = (&self.connection.bootstrap_servers, REACH.as_secs());
        AdminError::Unreachable(format!("no Kafka broker answers at {address} within {seconds} s ({error})"))
    }

    /// Creates the topics that do not exist, except inputs, and returns their names.
    ///
    /// # Errors
    /// See [`AdminError`]; what was created before an error stays.
    pub fn create(&self, topics: &[Topic]) -> Result<Vec<String>, AdminError> {
        let mut missing = Vec::new();
        for topic in topics.iter().filter(|topic| topic.purpose != Purpose::Input) {
            if self.find(&topic.name)?.is_none() {
                missing.push(topic);
            }
        }
        if missing.is_empty() {
            return Ok(Vec::new());
        }
        let new: Vec<NewTopic<'_>> = missing.iter().map(|topic| describe_new(topic)).collect();
        let results =
            block_on(self.client()?.create_topics(&new, &options())).map_err(|error| self.unreachable(&error))?;
        let mut created = Vec::new();
        for result in results {
            match result {
                Ok(name) => created.push(name),
                // Somebody else was quicker.
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((name, code)) if is_denied(code) => {
                    return Err(AdminError::Refused(denied(&format!("the topic {name}, to create it"))));
                }
                Err((name, error)) => {
                    return Err(AdminError::Refused(format!("topic {name} was not created: {error}")));
                }
            }
        }
        self.wait_until_known(&missing)?;
        Ok(created)
    }

    /// A topic that was created is known to every broker only a moment later: whoever looks next must see it.
    fn wait_until_known(&self, topics: &[&Topic]) -> Result<(), AdminError> {
        let deadline = Instant::now() + REQUEST;
        for topic in topics {
            while self.find(&topic.name)?.is_none() {
                if Instant::now() > deadline {
                    let reason = format!("topic {} was created, but no broker shows it", topic.name);
                    return Err(AdminError::Refused(reason));
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Ok(())
    }

    /// Everything in which the cluster differs from the table.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub fn compare(&self, topics: &[Topic]) -> Result<Vec<Difference>, AdminError> {
        let mut differences = Vec::new();
        let mut existing = Vec::new();
        for topic in topics {
            let found = self.find(&topic.name)?;
            differences.extend(shape(topic, found.as_ref()));
            let Some(found) = found else { continue };
            existing.push(topic);
            if topic.purpose != Purpose::Input
                && found.replicas < usize::try_from(topic.replication_factor).unwrap_or(0)
            {
                let remedy = "kafka-reassign-partitions.sh adds replicas".to_owned();
                differences.push(difference(
                    topic,
                    "replication.factor",
                    &topic.replication_factor,
                    &found.replicas,
                    remedy,
                ));
            }
        }
        let specifiers: Vec<ResourceSpecifier<'_>> =
            existing.iter().map(|topic| ResourceSpecifier::Topic(&topic.name)).collect();
        if specifiers.is_empty() {
            return Ok(differences);
        }
        let described = block_on(self.client()?.describe_configs(&specifiers, &options()));
        let described = described.map_err(|error| self.unreachable(&error))?;
        for (topic, config) in existing.into_iter().zip(described) {
            let config = config.map_err(|code| {
                let what = format!("the settings of topic {}", topic.name);
                AdminError::Refused(if is_denied(code) { denied(&what) } else { format!("{what}: {code}") })
            })?;
            differences.extend(settings(topic, &config));
        }
        Ok(differences)
    }

    /// Checks that every topic exists with enough partitions: what `run` needs before it starts.
    ///
    /// # Errors
    /// [`AdminError::Unfit`] names every topic, what is wrong with it, and what mends it.
    pub fn require(&self, topics: &[Topic]) -> Result<(), AdminError> {
        let mut unfit = Vec::new();
        for topic in topics {
            unfit.extend(shape(topic, self.find(&topic.name)?.as_ref()));
        }
        if unfit.is_empty() { Ok(()) } else { Err(AdminError::Unfit(unfit)) }
    }

    fn find(&self, name: &str) -> Result<Option<Found>, AdminError> {
        let metadata = self.asking.fetch_metadata(Some(name), REACH).map_err(|error| self.unreachable(&error))?;
        let error = metadata.topics().first().and_then(|topic| topic.error());
        if error.is_some_and(|error| is_denied(error.into())) {
            return Err(AdminError::Refused(denied(&format!("the topic {name}"))));
        }
        let found = metadata.topics().first().filter(|topic| topic.error().is_none() && !topic.partitions().is_empty());
        Ok(found.map(|topic: &MetadataTopic| Found {
            partitions: topic.partitions().len(),
            replicas: topic.partitions().iter().map(|partition| partition.replicas().len()).min().unwrap_or(0),
        }))
    }
}

/// What is wrong with a topic's existence and partitions. The partitions of our own topics are part of the state: more
/// are as wrong as fewer. An input may have more.
fn shape(topic: &Topic, found: Option<&Found>) -> Option<Difference> {
    let Some(found) = found else {
        let remedy = match topic.purpose {
            Purpose::Input => format!("an input is yours to create: kafka-topics.sh --create --topic {}", topic.name),
            _ => "`touchstone topics` creates it".to_owned(),
        };
        return Some(difference(topic, "exists", &true, &false, remedy));
    };
    let expected = usize::try_from(topic.partitions).unwrap_or(0);
    let fits = match topic.purpose {
        Purpose::Input | Purpose::Late | Purpose::DeadLetter => found.partitions >= expected,
        Purpose::Deltas | Purpose::Changelog | Purpose::Aggregates => found.partitions == expected,
    };
    let remedy = if found.partitions < expected {
        format!(
            "kafka-topics.sh --alter --topic {} --partitions {expected}, before anything is written to it",
            topic.name
        )
    } else {
        "partitions cannot be taken away: set the number in the configuration, or use a new topic".to_owned()
    };
    (!fits).then(|| difference(topic, "partitions", &expected, &found.partitions, remedy))
}

fn settings(topic: &Topic, config: &ConfigResource) -> Vec<Difference> {
    let differing = topic.config.iter().filter_map(|(key, expected)| {
        let found = config.get(key).and_then(|entry| entry.value.clone()).unwrap_or_else(|| "unset".into());
        let same = found == *expected || (*key == "cleanup.policy" && parts(&found) == parts(expected));
        let add = format!("--alter --add-config '{key}=[{expected}]'");
        let remedy = format!("kafka-configs.sh --entity-type topics --entity-name {} {add}", topic.name);
        (!same).then(|| difference(topic, key, expected, &found, remedy))
    });
    differing.collect()
}

/// The parts of a list, whose order means nothing.
fn parts(list: &str) -> Vec<&str> {
    let mut parts: Vec<&str> = list.split(',').map(str::trim).collect();
    parts.sort_unstable();
    parts
}

fn difference(
    topic: &Topic,
    key: &str,
    expected: &dyn fmt::Display,
    found: &dyn fmt::Display,
    remedy: String,
) -> Difference {
    let (topic, key) = (topic.name.clone(), key.to_owned());
    Difference { topic, key, expected: expected.to_string(), found: found.to_string(), remedy }
}

fn describe_new(topic: &Topic) -> NewTopic<'_> {
    let new = NewTopic::new(&topic.name, topic.partitions, TopicReplication::Fixed(topic.replication_factor));
    topic.config.iter().fold(new, |new, (key, value)| new.set(key, value))
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(REQUEST)).operation_timeout(Some(REQUEST))
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for one of the client's answers. They come from its own thread, within the time its options allow.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}
