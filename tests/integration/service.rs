//! The service on a real Kafka, end to end: what it publishes is what `replay` gives, to the byte.

use crate::process::{self, Service, wait_for};
use crate::rig::unique;
use crate::{broker, data};
use libtest_mimic::{Failed, Trial};
use rdkafka::Message;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use touchstone::engine::time::rfc3339;
use touchstone::files::InputFile;
use touchstone::mapping::{Mapping, MappingLimits, Provenance};
use touchstone::touchpoint::{DecodeContext, Item, Limits, decode_event};

pub fn tests() -> Vec<Trial> {
    [
        Trial::test("service::a_month_through_kafka_is_what_replay_gives", a_month),
        Trial::test("service::a_quiet_stream_closes", a_quiet_stream),
        Trial::test("service::generate_writes_to_kafka_what_it_writes_to_a_file", generated),
    ]
    .into_iter()
    .map(|trial| trial.with_ignored_flag(broker::is_left_out()))
    .collect()
}

/// One event: its time, its customer, its JSON.
struct Event {
    time: i64,
    customer: String,
    json: String,
}

/// January of the bank as CloudEvents, sorted by event time.
fn january(directory: &Path) -> Vec<Event> {
    let source = std::fs::read_to_string(repository("config/mappings/bank_calls_1999.jq")).unwrap();
    let mapping = Mapping::compile(&source).unwrap();
    let limits = Limits { record_bytes_max: 1 << 20 };
    let bounds = MappingLimits { input: limits, outputs_max: 10, output_bytes_max: 1 << 20 };
    let context = DecodeContext { now: i64::MAX / 2, max_future_ms: 0, limits };
    let file = directory.join("january.txt.gz");
    let format = touchstone::files::FileFormat::Tsv;
    let mut file = InputFile::open(&file.to_string_lossy(), Some(format), 1 << 20).unwrap();
    let mut events = Vec::new();
    while let Some(row) = file.next_row().unwrap() {
        let provenance = Provenance::File { file: "january.txt.gz", row: row.number };
        let mut add = |json: &str| {
            let Item::Touchpoint(touchpoint) = decode_event(json, None, &context) else { return };
            let customer = touchpoint.customer_id.as_deref().unwrap_or(&touchpoint.id).to_string();
            events.push(Event { time: touchpoint.time, customer, json: json.to_string() });
        };
        mapping.map(row.content.unwrap(), &provenance, &bounds, &mut add).unwrap();
    }
    events.sort_by_key(|event| event.time);
    events
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The names of a service under test, and its configuration file.
struct Setup {
    directory: tempfile::TempDir,
    config: PathBuf,
    names: BTreeMap<&'static str, String>,
    address: String,
}

impl Setup {
    fn new(partitions: i32, timing: &str, input: &str) -> Result<Setup, Failed> {
        let address = broker::address()?;
        let directory = tempfile::tempdir()?;
        let names: BTreeMap<&str, String> = ["input", "aggregates", "late", "dead_letter", "deltas", "changelog"]
            .map(|name| (name, unique(name)))
            .into();
        let config = directory.path().join("touchstone.toml");
        let application = unique("app");
        let text = format!(
            "[service]\napplication = \"{application}\"\n[kafka]\nbootstrap_servers = \"{address}\"\n\
             [topics]\naggregates = \"{}\"\nlate = \"{}\"\ndead_letter = \"{}\"\ndeltas = \"{}\"\nchangelog = \"{}\"\n\
             deltas_partitions = 4\nletter_partitions = 1\nreplication_factor = 1\n\
             [timing]\n{timing}\n[[input]]\nname = \"calls\"\ntopic = \"{}\"\n{input}\n",
            names["aggregates"],
            names["late"],
            names["dead_letter"],
            names["deltas"],
            names["changelog"],
            names["input"],
        );
        std::fs::write(&config, text)?;
        let setup = Setup { directory, config, names, address };
        setup.create_input(partitions);
        let made = process::run(&["topics", "--create", "--config", &setup.config.to_string_lossy()]);
        if !made.status.success() {
            return Err(format!("topics --create: {}", String::from_utf8_lossy(&made.stderr)).into());
        }
        Ok(setup)
    }

    fn create_input(&self, partitions: i32) {
        use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
        let admin: AdminClient<_> = ClientConfig::new().set("bootstrap.servers", &self.address).create().unwrap();
        let topic = NewTopic::new(&self.names["input"], partitions, TopicReplication::Fixed(1))
            .set("message.timestamp.type", "LogAppendTime");
        let made = admin.create_topics([&topic], &AdminOptions::new());
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(made).unwrap();
    }

    fn start(&self, instance: &str) -> Service {
        Service::start(&self.config, instance, self.directory.path())
    }

    fn produce<'a>(&self, events: impl Iterator<Item = (&'a str, &'a str)>) {
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

    /// Every record of a topic, as a read-committed consumer sees it: (key, value), by partition and offset.
    fn read(&self, topic: &str) -> Vec<(String, String)> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.address)
            .set("group.id", unique("reader"))
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "true")
            .set("enable.auto.commit", "false")
            .create()
            .unwrap();
        let topic = &self.names[topic];
        let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(10)).unwrap();
        let partitions = metadata.topics()[0].partitions().len();
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
    fn finals(&self) -> Result<BTreeMap<String, String>, Failed> {
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

fn total(services: &[&Service], family: &str, part: &str) -> f64 {
    services.iter().map(|service| service.sum(family, part)).sum()
}

/// A month of calls through two processes, one of which is killed in the middle, with an event of 2099 and one
/// of 1970 among them: the final records are those of `replay`, byte for byte, and the doors add up.
fn a_month() -> Result<(), Failed> {
    let Some(directory) = data::directory("bank_calls_1999") else { return Ok(()) };
    let events = january(&directory);
    let setup = Setup::new(
        4,
        "commit_interval = \"20ms\"\nbatch_items_max = 150\ncheckpoint_interval = \"500ms\"\npublish_interval = \"500ms\"\nmax_skew = \"1d\"",
        "lateness = \"10s\"\nout_of_orderness = \"2s\"\nidle_timeout = \"4s\"\nmax_future = \"5s\"",
    )?;
    let odd = |id: &str, time: &str| {
        format!(
            "{{\"specversion\":\"1.0\",\"id\":\"{id}\",\"source\":\"/odd\",\"type\":\"cx.interaction.v1\",\
             \"time\":\"{time}\",\"data\":{{\"kind\":\"visit\",\"channel\":\"web\"}}}}"
        )
    };
    let (future, past) = (odd("f", "2099-01-01T00:00:00Z"), odd("p", "1970-01-01T00:00:00Z"));
    let middle = events.len() / 2;
    let pairs = events.iter().map(|event| (event.customer.as_str(), event.json.as_str()));
    let odds = [("odd-1", future.as_str()), ("odd-2", past.as_str())];
    setup.produce(pairs.clone().take(middle).chain(odds).chain(pairs.clone().skip(middle)));
    let produced = (events.len() + 2) as f64;

    let first = setup.start("one");
    let second = setup.start("two");
    // Killed while there is as much before it as behind it.
    wait_for("a third is taken in", Duration::from_secs(60), || {
        total(&[&first, &second], "touchstone_items_total", "") > produced / 3.0
    })
    .map_err(|error| format!("{error}\n{}\n{}", first.log(), second.log()))?;
    let before = total(&[&first, &second], "touchstone_items_total", "");
    first.kill();
    assert!(before < produced, "killed in the middle: {before} of {produced}");
    let first = setup.start("one");
    let services = [&first, &second];
    let taken = || total(&services, "touchstone_items_total", "");
    let newest = events.last().unwrap().time as f64 / 1000.0;
    wait_for("everything is taken in and final", Duration::from_secs(120), || {
        let until = [&first, &second].map(|service| service.values("touchstone_final_until_timestamp_seconds", ""));
        let until: Vec<f64> = until.into_iter().flatten().collect();
        taken() == produced && !until.is_empty() && until.iter().all(|until| *until > newest + 172_800.0)
    })
    .map_err(|error| format!("{error}: {} of {produced}\n{}\n{}", taken(), first.log(), second.log()))?;
    let doors = ["accepted", "rejected", "late", "duplicate", "skipped"]
        .map(|door| total(&services, "touchstone_items_total", &format!("result=\"{door}\"")));
    assert_eq!(doors, [produced - 2.0, 2.0, 0.0, 0.0, 0.0], "the five doors");
    assert!(first.stop() && second.stop(), "both end well at SIGTERM");

    let letters = setup.read("dead_letter");
    let mut letters: Vec<&str> = letters.iter().map(|(_, value)| value.as_str()).collect();
    letters.sort_unstable();
    let mut expected = [past.as_str(), future.as_str()];
    expected.sort_unstable();
    assert_eq!(letters, expected, "the two odd events, untouched");
    compare_with_replay(&setup, &events)
}

fn compare_with_replay(setup: &Setup, events: &[Event]) -> Result<(), Failed> {
    let file = setup.directory.path().join("january.ndjson");
    let lines: Vec<&str> = events.iter().map(|event| event.json.as_str()).collect();
    std::fs::write(&file, lines.join("\n"))?;
    let arguments = ["--window", "1h", "calendar_day", "--slice", "all", "channel", "queue"];
    let config = setup.config.to_string_lossy();
    let file = file.to_string_lossy();
    let mut command = vec!["replay", &file, "--config", &config];
    command.extend(arguments);
    let replayed = process::run(&command);
    assert!(replayed.status.success(), "{}", String::from_utf8_lossy(&replayed.stderr));
    let replayed: BTreeSet<String> = String::from_utf8(replayed.stdout)?.lines().map(String::from).collect();
    let finals = setup.finals()?;
    assert_eq!(finals, setup.finals()?, "two reads see the same");
    let wanted = |key: &str| {
        let parts: Vec<&str> = key.split('|').collect();
        ["1h", "calendar_day"].contains(&parts[1]) && ["all", "channel", "queue"].contains(&parts[3])
    };
    let live: BTreeSet<String> = finals.into_iter().filter(|(key, _)| wanted(key)).map(|(_, value)| value).collect();
    let only_live: Vec<_> = live.difference(&replayed).take(2).collect();
    let only_replayed: Vec<_> = replayed.difference(&live).take(2).collect();
    assert!(
        live == replayed && live.len() > 10_000,
        "{} live, {} replayed; only live {only_live:#?}; only replayed {only_replayed:#?}",
        live.len(),
        replayed.len()
    );
    Ok(())
}

/// The same seed gives a topic and a file the same events; those of one customer lie in one partition, in order.
fn generated() -> Result<(), Failed> {
    let setup = Setup::new(3, "", "")?;
    let config = setup.config.to_string_lossy();
    let arguments = ["generate", "--count", "3000", "--seed", "5", "--duration", "10m", "--clean"];
    let file = process::run(&arguments);
    let made = process::run(&[&arguments[..], &["--config", &config, "--input", "calls", "--rate", "10000"]].concat());
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let by_key = |records: &mut dyn Iterator<Item = (String, String)>| {
        let mut events: BTreeMap<String, Vec<String>> = BTreeMap::new();
        records.for_each(|(key, event)| events.entry(key).or_default().push(event));
        events
    };
    let file = String::from_utf8_lossy(&file.stdout).into_owned();
    let customer = |event: &str| event.split("\"customer_id\":\"").nth(1).unwrap()[..7].to_string();
    let mut lines = file.lines().map(|line| (customer(line), line.to_string()));
    let mut records = setup.read("input").into_iter();
    let (file, topic) = (by_key(&mut lines), by_key(&mut records));
    assert!(file == topic && file.len() > 1_000, "{} customers in the file, {} in the topic", file.len(), topic.len());
    let wrong = process::run(&["generate", "--config", &config, "--input", "nothing"]);
    assert_eq!(wrong.status.code(), Some(2), "{}", String::from_utf8_lossy(&wrong.stderr));
    Ok(())
}

/// With no further traffic the last minute becomes final within its end + idle_timeout + lateness + 5 s.
fn a_quiet_stream() -> Result<(), Failed> {
    let setup = Setup::new(
        2,
        "publish_interval = \"1s\"",
        "lateness = \"3s\"\nout_of_orderness = \"1s\"\nidle_timeout = \"2s\"\nmax_future = \"2s\"",
    )?;
    let service = setup.start("quiet");
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    // An event of the last minute that ended: what remains is the wait for silence.
    let time = now - 2_000;
    let end = (time / 60_000 + 1) * 60_000;
    let json = format!(
        "{{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/quiet\",\"type\":\"cx.interaction.v1\",\
         \"time\":\"{}\",\"data\":{{\"kind\":\"visit\",\"channel\":\"web\"}}}}",
        rfc3339(time)
    );
    setup.produce([("customer", json.as_str())].into_iter());
    let key = format!("touchpoints|1m|{}|all", rfc3339(end - 60_000));
    let deadline = end + 2_000 + 3_000 + 5_000;
    let left = Duration::from_millis(u64::try_from(deadline - now)?);
    let until = || service.values("touchstone_final_until_timestamp_seconds", "metric_set=\"touchpoints\"");
    wait_for("the minute is final at /metrics", left, || until().iter().any(|until| *until >= end as f64 / 1000.0))
        .map_err(|error| format!("{error}\n{}", service.log()))?;
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    let left = Duration::from_millis(u64::try_from((deadline - now).max(0))?);
    wait_for("the minute is final in the topic", left, || setup.finals().unwrap().contains_key(&key))?;
    Ok(())
}
