//! A service under test on a real Kafka: its topics under names of their own, its configuration file, what it reads and
//! what it has published.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use libtest_mimic::Failed;
use rdkafka::Message;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::process::{self, Service};

/// The names of a service under test, and its configuration file.
pub struct Setup {
    pub directory: tempfile::TempDir,
    pub config: PathBuf,
    pub names: BTreeMap<&'static str, String>,
    /// Where the tests reach the broker.
    pub address: String,
    pub application: String,
}

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A name that no other test and no earlier run has used.
pub fn unique(what: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    format!("{what}-{}-{now}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// What a service under test is set up with.
pub struct Shape<'a> {
    /// Where the tests reach the broker.
    pub address: &'a str,
    /// Where the service reaches it.
    pub via: &'a str,
    /// Copies of every partition.
    pub replication: i32,
    /// Partitions of the input.
    pub partitions: i32,
    /// Lines of `[timing]`.
    pub timing: &'a str,
    /// Lines of the `[[input]]`.
    pub input: &'a str,
    /// Further sections.
    pub more: &'a str,
}

impl Setup {
    /// Creates the topics and writes the configuration.
    pub fn new(shape: &Shape<'_>) -> Result<Setup, Failed> {
        let directory = tempfile::tempdir()?;
        let names: BTreeMap<&str, String> = ["input", "aggregates", "late", "dead_letter", "deltas", "changelog"]
            .map(|name| (name, unique(name)))
            .into();
        let config = directory.path().join("touchstone.toml");
        let (address, application) = (shape.address.to_string(), unique("app"));
        let setup = Setup { directory, config, names, address, application };
        setup.configure(shape)?;
        setup.create_input(shape.partitions, shape.replication)?;
        let made = process::run(&["topics", "--create", "--config", &setup.config.to_string_lossy()]);
        if !made.status.success() {
            return Err(format!("topics --create: {}", String::from_utf8_lossy(&made.stderr)).into());
        }
        Ok(setup)
    }

    /// Writes the configuration anew.
    pub fn configure(&self, shape: &Shape<'_>) -> Result<(), Failed> {
        let (names, application) = (&self.names, &self.application);
        let text = format!(
            "[service]\napplication = \"{application}\"\n[kafka]\nbootstrap_servers = \"{}\"\n\
             [topics]\naggregates = \"{}\"\nlate = \"{}\"\ndead_letter = \"{}\"\ndeltas = \"{}\"\nchangelog = \"{}\"\n\
             deltas_partitions = 4\nletter_partitions = 1\nreplication_factor = {}\n\
             [timing]\n{}\n{}\n[[input]]\nname = \"calls\"\ntopic = \"{}\"\n{}\n",
            shape.via,
            names["aggregates"],
            names["late"],
            names["dead_letter"],
            names["deltas"],
            names["changelog"],
            shape.replication,
            shape.timing,
            shape.more,
            names["input"],
            shape.input,
        );
        std::fs::write(&self.config, text)?;
        Ok(())
    }

    /// Creates the input topic.
    pub fn create_input(&self, partitions: i32, replication: i32) -> Result<(), Failed> {
        let admin = self.admin();
        let topic = NewTopic::new(&self.names["input"], partitions, TopicReplication::Fixed(replication))
            .set("message.timestamp.type", "LogAppendTime");
        block_on(admin.create_topics([&topic], &AdminOptions::new()))?
            .remove(0)
            .map_err(|(_, error)| error.to_string())?;
        Ok(())
    }

    /// A client that administers the broker.
    pub fn admin(&self) -> AdminClient<DefaultClientContext> {
        ClientConfig::new().set("bootstrap.servers", &self.address).create().unwrap()
    }

    /// Runs one of the program's commands on the configuration; its output where it succeeds.
    pub fn command(&self, arguments: &[&str]) -> Result<String, String> {
        let config = self.config.to_string_lossy();
        let output = process::run(&[arguments, &["--config", &config]].concat());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// Starts a process of the service.
    pub fn start(&self, instance: &str) -> Service {
        Service::start(&self.config, instance, self.directory.path())
    }

    /// Writes records of the input.
    pub fn produce<'a>(&self, events: impl Iterator<Item = (&'a str, &'a str)>) {
        let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
            .set("bootstrap.servers", &self.address)
            .set("enable.idempotence", "true")
            .set("partitioner", "murmur2_random")
            .create()
            .unwrap();
        for (key, json) in events {
            let mut record = BaseRecord::to(&self.names["input"]).key(key).payload(json);
            while let Err((KafkaError::MessageProduction(_), back)) = producer.send(record) {
                record = back;
                producer.flush(Duration::from_secs(1)).unwrap_or(());
            }
        }
        producer.flush(Duration::from_secs(30)).unwrap();
    }

    /// A consumer that joins no group.
    pub fn reader(&self, isolation: &str) -> BaseConsumer {
        ClientConfig::new()
            .set("bootstrap.servers", &self.address)
            .set("group.id", unique("reader"))
            .set("isolation.level", isolation)
            .set("enable.partition.eof", "true")
            .set("enable.auto.commit", "false")
            .create()
            .unwrap()
    }

    /// Where the partitions of a topic end for a consumer: one of read-committed ends before an open transaction.
    pub fn ends(&self, consumer: &BaseConsumer, topic: &str) -> KafkaResult<Vec<i64>> {
        let (topic, patience) = (&self.names[topic], Duration::from_secs(10));
        // A client that has asked before would deny a partition that was added since.
        let partitions = consumer.fetch_metadata(Some(topic), patience)?.topics()[0].partitions().len();
        (0..partitions).map(|partition| Ok(consumer.fetch_watermarks(topic, partition as i32, patience)?.1)).collect()
    }

    /// Every record of a topic, as a read-committed consumer sees it: (key, value), by partition and offset. What is in
    /// an open transaction when it is asked for is waited for: the end of one is written after it is acknowledged.
    pub fn read(&self, topic: &str) -> Vec<(String, String)> {
        let (consumer, uncommitted) = (self.reader("read_committed"), self.reader("read_uncommitted"));
        let all = self.ends(&uncommitted, topic).unwrap();
        process::wait_for("no transaction is open", Duration::from_secs(60), || {
            self.ends(&consumer, topic).is_ok_and(|stable| stable.iter().zip(&all).all(|(stable, all)| stable >= all))
        })
        .unwrap_or_else(|error| panic!("{topic}: {error:?}"));
        let (topic, partitions) = (&self.names[topic], all.len());
        let mut list = TopicPartitionList::new();
        for partition in 0..partitions {
            list.add_partition_offset(topic, partition as i32, Offset::Beginning).unwrap();
        }
        consumer.assign(&list).unwrap();
        let mut records = Vec::new();
        let mut at_end = BTreeSet::new();
        while at_end.len() < partitions {
            match consumer.poll(Duration::from_secs(10)).expect("a partition comes to its end") {
                Ok(message) => {
                    let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap_or_default().to_vec()).unwrap();
                    records.push((text(message.key()), text(message.payload())));
                }
                Err(KafkaError::PartitionEOF(partition)) => _ = at_end.insert(partition),
                Err(error) => panic!("{error}"),
            }
        }
        records
    }

    /// The final records by key; one that is there twice is a failure.
    pub fn finals(&self) -> Result<BTreeMap<String, String>, Failed> {
        let mut finals = BTreeMap::new();
        let mut closed = BTreeSet::new();
        for (key, value) in self.read("aggregates") {
            if key == "_watermark" {
                continue;
            }
            if closed.contains(&key) {
                return Err(format!("{key}: a record after the final one").into());
            }
            if value.contains("\"state\":\"final\"") {
                closed.insert(key.clone());
                finals.insert(key, value);
            }
        }
        Ok(finals)
    }
}

/// Waits for one of the client's answers.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}
