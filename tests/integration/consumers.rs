//! Other services: the example consumers, each killed in the middle and shown duplicates, keep a table that holds exactly
//! the final records; docs/asyncapi.yaml is valid, and says of topics and events what the program says.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Headers, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::{ClientConfig, Message};
use serde_json::Value;
use touchstone::topics::Purpose;

use crate::process::{self, wait_for};
use crate::setup::{Setup, Shape, unique};
use crate::tools::{self, or_missing, printed, repository, text};
use crate::{broker, deployment};

pub fn tests() -> Vec<Trial> {
    let trial = |name: &str, test: fn() -> Result<(), Failed>| Trial::test(format!("consumers::{name}"), test);
    let on_kafka = |name: &str, test| trial(name, test).with_ignored_flag(broker::is_left_out());
    vec![
        on_kafka("python_keeps_a_right_table", || keeps(python)),
        on_kafka("java_keeps_a_right_table", || keeps(java)),
        on_kafka("go_keeps_a_right_table", || keeps(go)),
        on_kafka("what_is_closed_is_read_before_it_is_believed", closed),
        trial("asyncapi_is_valid_and_means_these_topics", asyncapi),
        trial("asyncapi_describes_the_events_that_are_generated", events),
    ]
}

/// How long a consumer may take over all of it. Never reached when all is well.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often each consumer is killed.
const KILLS: usize = 3;

/// A consumer, ready to be run with its arguments; `None` where its language is missing.
type Consumers = fn() -> Result<Option<Vec<String>>, Failed>;

fn python() -> Result<Option<Vec<String>>, Failed> {
    let requirements = "examples/consumers/python/requirements.txt";
    let made = or_missing("examples/consumers/python", tools::python("consumers-python", requirements))?;
    let program = |bin: PathBuf| vec![of(&bin.join("python")), of(&repository("examples/consumers/python/table.py"))];
    Ok(made.map(program))
}

fn java() -> Result<Option<Vec<String>>, Failed> {
    let folder = "examples/consumers/java";
    let sources = tools::sources(folder);
    let made = tools::made_once("consumers-java", &borrowed(&sources), |place| {
        tools::copy(&repository(folder), place)?;
        printed(Command::new("mvn").args(["-q", "-B", "package"]).current_dir(place)).map(drop)
    });
    let made = or_missing("examples/consumers/java (Debian: openjdk-17-jdk-headless, maven)", made)?;
    let program = |place: PathBuf| {
        let target = of(&place.join("target"));
        // Small and quick to start, as a test wants it.
        let java = ["java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx256m", "-cp"].map(String::from);
        let rest = [format!("{target}/classes:{target}/lib/*"), "consumers.Table".into()];
        java.into_iter().chain(rest).collect()
    };
    Ok(made.map(program))
}

fn go() -> Result<Option<Vec<String>>, Failed> {
    let folder = "examples/consumers/go";
    let sources = tools::sources(folder);
    let made = tools::made_once("consumers-go", &borrowed(&sources), |place| {
        let mut build = Command::new("go");
        // As it is locked, by the compiler that is here.
        build.env("GOTOOLCHAIN", "local").env("GOFLAGS", "-mod=readonly");
        printed(build.args(["build", "-o"]).arg(place.join("table")).arg(".").current_dir(repository(folder)))?;
        let mut vet = Command::new("go");
        vet.env("GOTOOLCHAIN", "local").env("GOFLAGS", "-mod=readonly");
        printed(vet.args(["vet", "."]).current_dir(repository(folder))).map(drop)
    });
    let made = or_missing("examples/consumers/go (go 1.26 or later)", made)?;
    Ok(made.map(|place| vec![of(&place.join("table"))]))
}

fn of(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn borrowed(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

/// What the service has published for consumers to read, and what has happened to the topic since.
struct Published {
    address: String,
    topic: String,
    /// The final records by key, as the service wrote them.
    finals: BTreeMap<String, Window>,
}

/// A final record.
struct Window {
    value: String,
    partition: i32,
    metric_set: String,
    /// Without the Z, so that texts are ordered as times are.
    end: String,
}

/// How every consumer prints a window.
fn line(key: &str, window: &Window) -> String {
    format!("{{\"key\":{},\"value\":{}}}", Value::from(key), window.value)
}

fn published() -> Result<&'static Published, Failed> {
    static PUBLISHED: OnceLock<Result<Published, String>> = OnceLock::new();
    let made = PUBLISHED.get_or_init(|| publish().map_err(|error| error.message().unwrap_or_default().to_string()));
    made.as_ref().map_err(|error| error.as_str().into())
}

/// A record of the topic.
struct Record {
    partition: i32,
    key: String,
    value: String,
    headers: Vec<(String, Vec<u8>)>,
}

/// Five thousand touchpoints of four hours through the service, then what may happen to a topic.
fn publish() -> Result<Published, Failed> {
    let address = broker::address()?;
    let setup = Setup::new(&Shape {
        address: &address,
        via: &address,
        replication: 1,
        partitions: 3,
        timing: "commit_interval = \"50ms\"\nbatch_items_max = 100\npublish_interval = \"500ms\"\nmax_skew = \"1d\"",
        input: "lateness = \"10s\"\nout_of_orderness = \"2s\"\nidle_timeout = \"4s\"\nmax_future = \"5s\"",
        more: "[[windows]]\nname = \"1m\"\nsize = \"1m\"\n[[windows]]\nname = \"1h\"\nsize = \"1h\"\nslide = \"15m\"",
    })?;
    let arguments = ["generate", "--count", "5000", "--duration", "4h", "--start", "2026-01-05T08:00:00Z", "--clean"];
    setup.command(&arguments)?;
    let service = setup.start("publisher");
    let end = 1_767_614_400.0; // 2026-01-05T12:00:00Z
    wait_for("everything is final", PATIENCE, || {
        let until = service.values("touchstone_final_until_timestamp_seconds", "");
        let taken = service.sum("touchstone_items_total", "");
        taken == 5_000.0 && until.len() == 6 && until.iter().all(|until| *until > end + 7_200.0)
    })
    .map_err(|error| format!("{error}\n{}", service.log()))?;
    assert!(service.stop(), "it ends well at SIGTERM");
    let once = setup.finals()?;
    let records = records(&setup)?;
    let mut finals = BTreeMap::new();
    for record in records.iter().filter(|record| once.get(&record.key).is_some_and(|value| *value == record.value)) {
        let value: Value = serde_json::from_str(&record.value)?;
        let text = |value: &Value| value.as_str().unwrap_or_default().trim_end_matches('Z').to_string();
        let (metric_set, end) = (text(&value["metric_set"]), text(&value["window"]["end"]));
        let window = Window { value: record.value.clone(), partition: record.partition, metric_set, end };
        finals.insert(record.key.clone(), window);
    }
    assert!(finals.len() == once.len() && once.len() > 8_000, "{} of {} final records", finals.len(), once.len());
    happen(&setup, &records)?;
    Ok(Published { address, topic: setup.names["aggregates"].clone(), finals })
}

/// Every record that is committed, with its headers.
fn records(setup: &Setup) -> Result<Vec<Record>, Failed> {
    let consumer = setup.reader("read_committed");
    let (topic, mut list, partitions) = (&setup.names["aggregates"], TopicPartitionList::new(), 4);
    for partition in 0..partitions {
        list.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&list)?;
    let (mut records, mut ended) = (Vec::new(), 0);
    while ended < partitions {
        match consumer.poll(PATIENCE).ok_or("a partition comes to its end")? {
            Ok(message) => {
                let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
                let headers = message.headers().into_iter().flat_map(Headers::iter);
                let headers = headers.map(|header| (header.key.to_string(), header.value.unwrap_or_default().to_vec()));
                records.push(Record {
                    partition: message.partition(),
                    key: text(message.key()),
                    value: text(message.payload()),
                    headers: headers.collect(),
                });
            }
            Err(KafkaError::PartitionEOF(_)) => ended += 1,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(records)
}

/// How many records of each kind happen.
const EACH: usize = 300;

/// Final records a second time; copies of them that say something else but are older; provisional ones after them; and a
/// transaction of forged ones that is aborted, some under keys that there are not.
fn happen(setup: &Setup, records: &[Record]) -> Result<(), Failed> {
    let is_final = |record: &&Record| record.value.contains("\"state\":\"final\"");
    let step = records.iter().filter(is_final).count() / EACH;
    let chosen: Vec<&Record> = records.iter().filter(is_final).step_by(step.max(1)).take(EACH).collect();
    let other = |record: &Record| {
        let (head, tail) = record.value.split_once("\"samples\":").expect("samples");
        format!("{head}\"samples\":1{tail}")
    };
    let plain = producer(setup, None)?;
    for record in &chosen {
        send(&plain, setup, record, &record.key, &record.value, None)?;
        send(&plain, setup, record, &record.key, &other(record), Some("0"))?;
        let provisional = other(record).replace("\"state\":\"final\"", "\"state\":\"provisional\"");
        send(&plain, setup, record, &record.key, &provisional, Some("9000000000"))?;
    }
    plain.flush(PATIENCE)?;
    let torn = producer(setup, Some(&unique("torn")))?;
    torn.init_transactions(PATIENCE)?;
    torn.begin_transaction()?;
    for record in &chosen {
        send(&torn, setup, record, &record.key, &other(record), Some("9000000000"))?;
        send(&torn, setup, record, &record.key.replace("|1m|", "|2m|"), &other(record), None)?;
    }
    torn.flush(PATIENCE)?;
    torn.abort_transaction(PATIENCE)?;
    Ok(())
}

fn producer(setup: &Setup, transaction: Option<&str>) -> Result<ThreadedProducer<DefaultProducerContext>, Failed> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &setup.address);
    transaction.into_iter().for_each(|id| _ = config.set("transactional.id", id));
    Ok(config.create()?)
}

/// Writes a record where another one lies, with its headers or another revision.
fn send(
    producer: &ThreadedProducer<DefaultProducerContext>,
    setup: &Setup,
    like: &Record,
    key: &str,
    value: &str,
    revision: Option<&str>,
) -> Result<(), Failed> {
    let headers = like.headers.iter().fold(OwnedHeaders::new(), |headers, (name, value)| {
        let revised = revision.filter(|_| name == "revision").map(str::as_bytes);
        headers.insert(Header { key: name, value: Some(revised.unwrap_or(value)) })
    });
    let record = BaseRecord::to(&setup.names["aggregates"]).partition(like.partition).key(key).payload(value);
    producer.send(record.headers(headers)).map_err(|(error, _)| error.to_string())?;
    Ok(())
}

/// A consumer's table.
struct Table<'a> {
    program: &'a [String],
    published: &'a Published,
    file: PathBuf,
}

impl Table<'_> {
    /// The consumer with its arguments. One that does not end is killed.
    fn command(&self, more: &[&str]) -> Command {
        let mut command = Command::new("timeout");
        let from = ["--bootstrap", &self.published.address, "--topic", &self.published.topic];
        command.args(["--signal=KILL", &PATIENCE.as_secs().to_string()]).args(self.program);
        command.args(from).arg("--table").arg(&self.file).args(more);
        command
    }

    /// Reads to the end of what is committed.
    fn read(&self) -> Result<(), Failed> {
        printed(&mut self.command(&["--once"])).map(drop).map_err(Failed::from)
    }

    /// The lines that it prints.
    fn dump(&self) -> Result<Vec<String>, Failed> {
        Ok(printed(&mut self.command(&["--dump"]))?.lines().map(String::from).collect())
    }

    /// Starts it with room for little more than it has: writing fails in the middle of a transaction, and so does it.
    fn run_out_of_room(&self) -> Result<(), Failed> {
        let folder = self.file.parent().ok_or("a folder")?;
        let sizes: Result<Vec<u64>, std::io::Error> =
            std::fs::read_dir(folder)?.map(|entry| Ok(entry?.metadata()?.len())).collect();
        let room = sizes?.into_iter().max().unwrap_or_default() + (1 << 20);
        let mut command = Command::new("prlimit");
        command.arg(format!("--fsize={room}")).arg("timeout").args(self.command(&["--once"]).get_args());
        let output = command.stdin(Stdio::null()).output()?;
        assert!(!output.status.success(), "there is no room for all of it in {room} bytes");
        Ok(())
    }

    /// Starts it, and kills it once it has stored something.
    fn kill(&self) -> Result<(), Failed> {
        let mut running = Running(self.command(&["--once"]).stderr(Stdio::piped()).spawn()?);
        let mut said = BufReader::new(running.0.stderr.take().ok_or("its errors")?);
        let mut line = String::new();
        said.read_line(&mut line)?;
        drop(running);
        if line.starts_with("stored ") {
            return Ok(());
        }
        said.read_to_string(&mut line)?;
        Err(format!("it stored nothing: {line}").into())
    }
}

/// A consumer, and the `timeout` around it, which are killed (-9) when this is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // `timeout` leads a process group of its own.
        let group = format!("-{}", self.0.id());
        let _ = Command::new("kill").args(["-9", "--", &group]).status();
        let _ = self.0.wait();
    }
}

/// Killed and short of room in the middle, again and again, a consumer ends with a table that holds every final record and nothing else.
fn keeps(consumer: Consumers) -> Result<(), Failed> {
    let Some(program) = consumer()? else { return Ok(()) };
    let published = published()?;
    let directory = tempfile::tempdir()?;
    let table = Table { program: &program, published, file: directory.path().join("windows") };
    let all = published.finals.len();
    let mut before = 0;
    for _ in 0..KILLS {
        table.kill()?;
        let kept = table.dump()?.len();
        assert!(before < kept && kept < all, "killed in the middle: {kept} of {all} windows, {before} before");
        before = kept;
        table.run_out_of_room()?;
    }
    table.read()?;
    let expected: Vec<String> = published.finals.iter().map(|(key, window)| line(key, window)).collect();
    let kept = table.dump()?;
    let differing = expected.iter().zip(&kept).find(|(expected, kept)| expected != kept);
    assert!(expected == kept, "{} windows, expected {all}; the first that differs: {differing:#?}", kept.len());
    table.read()?;
    assert_eq!(table.dump()?, kept, "who has read everything changes nothing");
    Ok(())
}

/// What the Python table calls closed has been read: killed at any moment, it calls no window empty that is in the topic.
fn closed() -> Result<(), Failed> {
    let Some(program) = python()? else { return Ok(()) };
    let published = published()?;
    let directory = tempfile::tempdir()?;
    let table = Table { program: &program, published, file: directory.path().join("windows") };
    let query = "import json, sqlite3, sys; table = sqlite3.connect(sys.argv[1]); \
                 print(json.dumps(table.execute('SELECT metric_set, partition, until FROM closed').fetchall()))";
    let mut closed = 0;
    // Each time it has read some hundred records more.
    for _ in 0..4 * KILLS {
        table.kill()?;
        let rows = printed(Command::new(&program[0]).args(["-c", query]).arg(&table.file))?;
        let rows: Vec<(String, i32, Option<String>)> = serde_json::from_str(&rows)?;
        let until: BTreeMap<(&str, i32), &str> =
            rows.iter().filter_map(|(set, place, until)| Some(((&**set, *place), until.as_deref()?))).collect();
        let kept: BTreeSet<String> = table.dump()?.into_iter().collect();
        for (key, window) in &published.finals {
            let until = until.get(&(&window.metric_set, window.partition));
            if until.is_some_and(|until| window.end.as_str() <= *until) {
                assert!(kept.contains(&line(key, window)), "{key} counts as empty, and is not");
                closed += 1;
            }
        }
    }
    assert!(closed > 0, "something was closed");
    Ok(())
}

/// What @asyncapi/parser makes of docs/asyncapi.yaml: what it finds wrong, and the document with its references resolved.
fn parsed() -> Result<Option<Value>, Failed> {
    let folder = "tests/asyncapi";
    let sources = tools::sources(folder);
    let made = tools::made_once("asyncapi", &borrowed(&sources), |place| {
        tools::copy(&repository(folder), place)?;
        let npm = ["ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"];
        printed(Command::new("npm").args(npm).current_dir(place)).map(drop)
    });
    let Some(place) = or_missing("docs/asyncapi.yaml by @asyncapi/parser (node 20 or later, npm)", made)? else {
        return Ok(None);
    };
    let mut node = Command::new("node");
    let json = printed(node.arg(place.join("parse.mjs")).arg(repository("docs/asyncapi.yaml")))?;
    Ok(Some(serde_json::from_str(&json)?))
}

fn asyncapi() -> Result<(), Failed> {
    let Some(parsed) = parsed()? else { return Ok(()) };
    // 0 is an error, 1 a warning. That there is a later version of AsyncAPI is neither.
    let wrong = parsed["diagnostics"].as_array().ok_or("diagnostics")?.iter();
    let wrong: Vec<&Value> =
        wrong.filter(|found| found["severity"].as_i64().is_none_or(|severity| severity < 2)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let document = &parsed["document"];
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let channels = document["channels"].as_object().ok_or("channels")?;
    let topics = deployment::shipped_topics()?;
    assert_eq!(channels.len(), topics.len());
    for topic in &topics {
        let channel = channels.values().find(|channel| channel["address"] == topic.name.as_str());
        let channel = channel.ok_or_else(|| format!("there is no channel {}", topic.name))?;
        let internal = matches!(topic.purpose, Purpose::Deltas | Purpose::Changelog);
        assert_eq!(channel.get("x-internal").is_some_and(|is| is == true), internal, "{}", topic.name);
        let kafka = &channel["bindings"]["kafka"];
        if topic.purpose == Purpose::Input {
            assert!(kafka.get("topicConfiguration").is_none(), "its owner lays it out");
            continue;
        }
        assert_eq!(
            (&kafka["partitions"], &kafka["replicas"]),
            (&topic.partitions.into(), &topic.replication_factor.into())
        );
        let settings = kafka["topicConfiguration"].as_object().ok_or("settings")?;
        let said = settings.iter().map(|(key, value)| {
            let text = match value {
                Value::Array(_) => deployment::texts(value).join(","),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            (key.as_str(), text)
        });
        let (said, expected): (BTreeMap<&str, String>, BTreeMap<&str, String>) =
            (said.collect(), topic.config.iter().cloned().collect());
        assert_eq!(said, expected, "{}", topic.name);
    }
    // What is published is described by the schemas that the service is held to.
    for (message, schema) in [("window", "cx.aggregate.v1"), ("watermark", "cx.watermark.v1")] {
        let payload = &channels["aggregates"]["messages"][message]["payload"];
        let file: Value = serde_json::from_str(&text(&format!("schema/{schema}.schema.json")))?;
        assert_eq!((&payload["$id"], &payload["title"]), (&file["$id"], &file["title"]), "{message}");
        assert_eq!(payload["required"], file["required"], "{message}");
    }
    Ok(())
}

/// Every generated event is as described, and what the program rejects is not, where a schema can say so.
fn events() -> Result<(), Failed> {
    let Some(parsed) = parsed()? else { return Ok(()) };
    let schema = &parsed["document"]["channels"]["touchpoints"]["messages"]["event"]["payload"];
    let validator = jsonschema::validator_for(schema)?;
    let generated = process::run(&["generate", "--count", "3000", "--seed", "11", "--duration", "2d", "--clean"]);
    let generated: Vec<Value> =
        String::from_utf8(generated.stdout)?.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let mut kinds = BTreeMap::new();
    for event in &generated {
        let errors: Vec<String> = validator.iter_errors(event).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}\n{event}");
        kinds.insert(event["type"].as_str().ok_or("a type")?, event);
    }
    assert_eq!(kinds.len(), 4, "every type was generated");
    let [contact, interaction, customer, survey] =
        ["cx.contact.ended.v1", "cx.interaction.v1", "cx.customer.changed.v1", "cx.survey.responded.v1"];
    // (type, member, what it is then; nothing: it is taken away)
    for (kind, member, value) in [
        (contact, "/id", Some(Value::Null)),
        (contact, "/source", None),
        (contact, "/type", Some("cx.contact.begun.v1".into())),
        (contact, "/specversion", Some("0.3".into())),
        (contact, "/time", Some("yesterday".into())),
        (contact, "/data/outcome", Some("lost".into())),
        (contact, "/data/outcome", None),
        (contact, "/data/contact_id", None),
        (interaction, "/data/kind", Some(7.into())),
        (interaction, "/data/channel", Some("_other".into())),
        (customer, "/data/state", Some("gone".into())),
        (customer, "/data/customer_id", None),
        (survey, "/data/score", Some("10".into())),
        (survey, "/data/scale_max", None),
    ] {
        let mut event = (*kinds[kind]).clone();
        let (object, name) = member.rsplit_once('/').ok_or(member)?;
        let object = event.pointer_mut(object).and_then(Value::as_object_mut).ok_or(member)?;
        let before = object.remove(name);
        assert!(before.is_some(), "{kind} has {member}");
        value.into_iter().for_each(|value| _ = object.insert(name.into(), value));
        assert!(!validator.is_valid(&event), "{member} in {event}");
        let directory = tempfile::tempdir()?;
        let (file, summary) = (directory.path().join("event.ndjson"), directory.path().join("summary"));
        std::fs::write(&file, event.to_string())?;
        let replayed = process::run(&["replay", &of(&file), "--summary", &of(&summary)]);
        assert!(replayed.status.success(), "{}", String::from_utf8_lossy(&replayed.stderr));
        let summary: Value = serde_json::from_slice(&std::fs::read(summary)?)?;
        assert_eq!(summary["items"]["rejected"], 1, "{member}: the program rejects it too");
    }
    Ok(())
}
