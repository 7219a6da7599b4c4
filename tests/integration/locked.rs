//! TLS, logins and access rules against a real Kafka: every way in leads in with the least rights, and whoever is kept out
//! is told why, once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use touchstone::engine::time::rfc3339;

use crate::broker;
use crate::locked_broker::{Locked, Rule, change_rules, locked};
use crate::planted::{CUSTOMER, PASSWORD};
use crate::process::{self, Service, run_with, wait_for};
use crate::rig::unique;

pub fn tests() -> Vec<Trial> {
    let trial = |name: &str, test: fn() -> Result<(), Failed>| {
        Trial::test(format!("locked::{name}"), test).with_ignored_flag(broker::is_left_out())
    };
    vec![
        trial("every_way_in_with_the_least_rights", every_way),
        trial("topics_are_created_with_the_least_rights", least_for_topics),
        trial("whoever_is_refused_is_told_once", refused),
        trial("each_right_that_is_missing_is_named", missing_rights),
        trial("a_right_lost_while_running_is_said_once_and_nothing_is_lost", lost_right),
        trial("secrets_in_the_file_are_refused", in_the_file),
    ]
}

pub const PATIENCE: Duration = Duration::from_secs(40);

/// One service to be: its topics, and how it reaches Kafka.
pub struct Setup {
    pub locked: Locked,
    pub directory: tempfile::TempDir,
    pub names: BTreeMap<&'static str, String>,
    application: String,
}

/// `[kafka]` of each way in, and the principal that Kafka knows it by.
const PLAIN: (&str, &str) =
    ("sasl_mechanism = 'PLAIN'\nsasl_username = 'plain'\nsasl_password_file = 'FILES/password'", "plain");
const SCRAM: (&str, &str) =
    ("sasl_mechanism = 'SCRAM-SHA-512'\nsasl_username = 'scram'\nsasl_password_file = 'FILES/password'", "scram");
const TOKEN: (&str, &str) = ("sasl_mechanism = 'OAUTHBEARER'\nsasl_token_file = 'FILES/token'", "token");
const CERTIFICATE: (&str, &str) =
    ("ssl_certificate_file = 'FILES/client.pem'\nssl_key_file = 'FILES/client.key'", "CN=mutual");

impl Setup {
    /// With the topics there.
    fn new() -> Result<Setup, Failed> {
        let setup = Setup::bare()?;
        let plain = setup.config("plain", &setup.locked.plain.clone(), "");
        let made = process::run(&["topics", "--create", "--config", &plain.to_string_lossy()]);
        if !made.status.success() {
            return Err(String::from_utf8_lossy(&made.stderr).into_owned().into());
        }
        Ok(setup)
    }

    /// With the input alone.
    fn bare() -> Result<Setup, Failed> {
        Setup::with_input(1_048_588)
    }

    /// With the input alone, which takes records of this size.
    pub fn with_input(record_bytes_max: usize) -> Result<Setup, Failed> {
        let locked = locked()?;
        let names = ["input", "aggregates", "late", "dead_letter", "deltas", "changelog"];
        let names: BTreeMap<&str, String> = names.map(|name| (name, unique(name))).into();
        let setup = Setup { locked, directory: tempfile::tempdir()?, names, application: unique("app") };
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", &setup.locked.plain).create()?;
        let bytes = record_bytes_max.to_string();
        let topic =
            NewTopic::new(&setup.names["input"], 2, TopicReplication::Fixed(1)).set("max.message.bytes", &bytes);
        let made = admin.create_topics([&topic], &AdminOptions::new());
        tokio::runtime::Builder::new_current_thread().build()?.block_on(made)?;
        Ok(setup)
    }

    /// A configuration that reaches Kafka at `address` as `kafka` says.
    pub fn config(&self, name: &str, address: &str, kafka: &str) -> PathBuf {
        let names = &self.names;
        let kafka = kafka.replace("FILES", &self.locked.files.display().to_string());
        let text = format!(
            "[service]\napplication = '{}'\n[kafka]\nbootstrap_servers = '{address}'\n{kafka}\n\
             [topics]\naggregates = '{}'\nlate = '{}'\ndead_letter = '{}'\ndeltas = '{}'\nchangelog = '{}'\n\
             deltas_partitions = 2\nletter_partitions = 1\nreplication_factor = 1\n\
             [timing]\ncheckpoint_interval = '500ms'\npublish_interval = '500ms'\n\
             [[input]]\nname = 'calls'\ntopic = '{}'\n",
            self.application,
            names["aggregates"],
            names["late"],
            names["dead_letter"],
            names["deltas"],
            names["changelog"],
            names["input"],
        );
        let path = self.directory.path().join(format!("{name}.toml"));
        std::fs::write(&path, text).unwrap();
        path
    }

    /// The configuration of a login over TLS.
    fn login(&self, way: &str) -> PathBuf {
        self.config(
            "login",
            &self.locked.login,
            &format!("security_protocol = 'sasl_ssl'\nssl_ca_file = 'FILES/ca.pem'\n{way}"),
        )
    }

    /// What `topics --acls` prints for a role, as rules for a principal: one list per printed line.
    fn rules(&self, role: &str, principal: &str) -> Vec<Vec<Rule>> {
        let config = self.config("plain", &self.locked.plain, "");
        let printed = process::run(&["topics", "--acls", "--config", &config.to_string_lossy()]);
        let printed = String::from_utf8(printed.stdout).unwrap();
        let lines = printed.lines().filter_map(|line| line.strip_prefix(role)?.strip_prefix(": "));
        let rules = lines.map(|line| {
            let (operations, resource) = line.split_once(" on ").unwrap();
            let (kind, name, prefixed) = match resource.split_once(' ') {
                Some(("topic", name)) => ("topic", name, false),
                Some(("group", name)) => ("group", name, false),
                Some(("transactional", rest)) => ("transactional", rest.rsplit(' ').next().unwrap(), true),
                Some(("the", "cluster")) => ("cluster", "kafka-cluster", false),
                other => panic!("{other:?}"),
            };
            let rule = |operation: &str| Rule {
                principal: principal.into(),
                operation: operation.into(),
                kind,
                name: name.into(),
                prefixed,
            };
            operations.split(", ").map(rule).collect()
        });
        let rules: Vec<Vec<Rule>> = rules.collect();
        assert!(rules.len() >= 6, "{printed}");
        rules
    }

    /// How many records a topic holds, markers counted.
    fn written(&self, topic: &str) -> i64 {
        let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", &self.locked.plain).create().unwrap();
        let end = |partition| consumer.fetch_watermarks(&self.names[topic], partition, PATIENCE).unwrap().1;
        end(0) + end(1)
    }

    fn allow(&self, principal: &str) {
        change_rules(&self.locked.plain, &self.rules("Service", principal).concat(), true);
    }

    /// Writes events: the odd ones cannot be read, and speak of a customer.
    fn produce(&self, from: usize, count: usize) {
        let producer: ThreadedProducer<DefaultProducerContext> =
            ClientConfig::new().set("bootstrap.servers", &self.locked.plain).create().unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
        for number in from..from + count {
            let kind = if number % 2 == 0 { "\"visit\"" } else { "7" };
            let event = format!(
                "{{\"specversion\":\"1.0\",\"id\":\"{number}\",\"source\":\"/s\",\"type\":\"cx.interaction.v1\",\"time\":\"{}\",\
                 \"data\":{{\"kind\":{kind},\"customer_id\":\"{CUSTOMER}\"}}}}",
                rfc3339(now)
            );
            producer
                .send(BaseRecord::to(&self.names["input"]).key(CUSTOMER).payload(&event))
                .map_err(|(error, _)| error)
                .unwrap();
        }
        producer.flush(PATIENCE).unwrap();
    }
}

/// Waits until so many items are taken in.
pub fn taken(service: &Service, items: usize) -> Result<(), String> {
    wait_for("everything is taken in", PATIENCE, || service.sum("touchstone_items_total", "") == items as f64)
        .map_err(|error| format!("{error}\n{}", service.log()))
}

/// Each way in, with exactly the rules that are printed: a whole run, and a second one that restores.
fn every_way() -> Result<(), Failed> {
    for (way, principal) in [PLAIN, SCRAM, TOKEN, CERTIFICATE] {
        let setup = Setup::new()?;
        setup.allow(principal);
        let config = if principal == CERTIFICATE.1 {
            let kafka = format!("security_protocol = 'ssl'\nssl_ca_file = 'FILES/ca.pem'\n{way}");
            setup.config("mutual", &setup.locked.mutual, &kafka)
        } else {
            setup.login(way)
        };
        for (number, from) in [("one", 0), ("two", 20)] {
            setup.produce(from, 20);
            let service = Service::start(&config, number, setup.directory.path());
            taken(&service, from + 20).map_err(|error| format!("{principal}: {error}"))?;
            wait_for("it is ready", PATIENCE, || service.get("/readyz").is_some_and(|(status, _)| status == 200))
                .map_err(|error| format!("{principal}: {error}\n{}", service.log()))?;
            assert_eq!(service.sum("touchstone_items_total", "result=\"rejected\""), (from + 20) as f64 / 2.0);
            service.get("/debug");
            wait_for("windows are published", PATIENCE, || setup.written("aggregates") > from as i64)
                .map_err(|error| format!("{principal}: {error}\n{}", service.log()))?;
            assert!(service.stop(), "{principal} ends well");
        }
        let checked = process::run(&["check", "--config", &config.to_string_lossy()]);
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    }
    Ok(())
}

/// The administrator's rules suffice to create and to compare.
fn least_for_topics() -> Result<(), Failed> {
    let setup = Setup::bare()?;
    let way = PLAIN.0.replace("'plain'", "'admin'");
    let config = setup.login(&way);
    let config = config.to_string_lossy();
    let denied = process::run(&["topics", "--create", "--config", &config]);
    let said = String::from_utf8_lossy(&denied.stderr).into_owned();
    assert!(denied.status.code() == Some(1) && said.contains("Kafka denies access to the topic"), "{said}");
    change_rules(&setup.locked.plain, &setup.rules("Administrator", "admin").concat(), true);
    let created = process::run(&["topics", "--create", "--config", &config]);
    assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
    let compared = process::run(&["topics", "--config", &config]);
    assert!(compared.status.success(), "{}", String::from_utf8_lossy(&compared.stderr));
    // A token cannot: the message says what can.
    let by_token = process::run(&["topics", "--config", &setup.login(TOKEN.0).to_string_lossy()]);
    assert_eq!(by_token.status.code(), Some(1));
    Ok(())
}

/// Runs the service to its end; it must end by itself, soon, with code 1 and one line that says all of these words.
fn ends_saying(config: &Path, words: &[&str]) -> Result<(), Failed> {
    let begun = Instant::now();
    let output = run_with(
        &["run", "--config", &config.to_string_lossy()],
        &[("TOUCHSTONE__EXPORT__LISTEN", "127.0.0.1:0"), ("TOUCHSTONE__LOG__LEVEL", "error")],
    );
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{words:?}: {said}");
    assert!(begun.elapsed() < Duration::from_secs(20), "{words:?}: {:?}", begun.elapsed());
    assert_eq!(said.lines().count(), 1, "{words:?}: {said}");
    for word in words {
        assert!(said.contains(word), "{word} in {said}");
    }
    println!("==> {}", said.trim());
    Ok(())
}

fn refused() -> Result<(), Failed> {
    let setup = Setup::new()?;
    for (way, user) in [PLAIN, SCRAM] {
        setup.allow(user);
        let wrong = setup.login(&way.replace("FILES/password", "FILES/wrong_password"));
        ends_saying(&wrong, &["Kafka refuses the login", "kafka.sasl_username"])?;
    }
    ends_saying(&setup.login(&TOKEN.0.replace("token'", "old_token'")), &["Kafka refuses the login", "token"])?;
    let over = |address: &str, more: &str| {
        let kafka = format!("security_protocol = 'ssl'\nssl_ca_file = 'FILES/ca.pem'\n{more}");
        setup.config("tls", address, &kafka)
    };
    let Locked { login, mutual, expired, .. } = &setup.locked;
    ends_saying(&over(expired, ""), &["no TLS connection to Kafka", "kafka.ssl_ca_file"])?;
    let old = over(mutual, &CERTIFICATE.0.replace("client", "old_client"));
    ends_saying(&old, &["Kafka refuses our certificate", "kafka.ssl_certificate_file"])?;
    ends_saying(&over(mutual, ""), &["Kafka refuses our certificate", "kafka.ssl_certificate_file"])?;
    let kafka = format!("security_protocol = 'sasl_ssl'\nssl_ca_file = 'FILES/other_ca.pem'\n{}", PLAIN.0);
    ends_saying(&setup.config("other", login, &kafka), &["no TLS connection to Kafka", "kafka.ssl_ca_file"])?;
    Ok(())
}

/// Without one line of the printed rules the service ends at its start, and names what is missing.
fn missing_rights() -> Result<(), Failed> {
    let setup = Setup::new()?;
    let (way, principal) = PLAIN;
    let config = setup.login(way);
    let rules = setup.rules("Service", principal);
    change_rules(&setup.locked.plain, &rules.concat(), true);
    for line in &rules {
        change_rules(&setup.locked.plain, line, false);
        ends_saying(&config, &["Kafka denies access to", line[0].name.as_str(), "touchstone topics --acls"])?;
        change_rules(&setup.locked.plain, line, true);
    }
    setup.produce(0, 4);
    let service = Service::start(&config, "whole", setup.directory.path());
    Ok(taken(&service, 4)?)
}

fn lost_right() -> Result<(), Failed> {
    let setup = Setup::new()?;
    let (way, principal) = PLAIN;
    let rules = setup.rules("Service", principal);
    change_rules(&setup.locked.plain, &rules.concat(), true);
    let input = rules.iter().find(|line| line[0].name == setup.names["input"]).ok_or("the input has a rule")?;
    setup.produce(0, 10);
    // The password comes from the environment.
    let config = setup.login(&way.replace("sasl_password_file = 'FILES/password'", ""));
    let variable = ("TOUCHSTONE__KAFKA__SASL_PASSWORD", PASSWORD);
    let service = Service::start_as(Path::new(process::PROGRAM), &config, "loses", setup.directory.path(), &[variable]);
    taken(&service, 10)?;
    change_rules(&setup.locked.plain, input, false);
    setup.produce(10, 10);
    let said = || service.log().lines().filter(|line| line.contains("Kafka denies access")).count();
    wait_for("it says so", PATIENCE, || said() > 0).map_err(|error| format!("{error}\n{}", service.log()))?;
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(said(), 1, "{}", service.log());
    assert!(service.log().lines().count() < 40, "{}", service.log());
    change_rules(&setup.locked.plain, input, true);
    taken(&service, 20)?;
    assert!(service.stop());
    Ok(())
}

fn in_the_file() -> Result<(), Failed> {
    let directory = tempfile::tempdir()?;
    let config = directory.path().join("touchstone.toml");
    let config_path = config.to_string_lossy();
    let input = "\n[[input]]\nname = 'a'\ntopic = 'a'\n";
    for (kafka, word) in [
        (format!("[kafka]\nsecurity_protocol = 'sasl_ssl'\nsasl_password = '{PASSWORD}'"), "sasl_password_file"),
        (format!("[kafka]\nssl_key_password = '{PASSWORD}'"), "ssl_key_password_file"),
        (format!("[kafka.properties]\n'sasl.password' = '{PASSWORD}'"), "sasl.password"),
        ("[kafka]\nsasl_username = 'a'".into(), "security_protocol"),
        ("[kafka]\nsecurity_protocol = 'tls'".into(), "security_protocol"),
        ("[kafka]\nsecurity_protocol = 'sasl_ssl'\nsasl_mechanism = 'GSSAPI'".into(), "sasl_mechanism"),
        ("[kafka]\nsecurity_protocol = 'ssl'\nssl_ca_file = 'nowhere.pem'".into(), "nowhere.pem"),
        ("[kafka]\nsecurity_protocol = 'ssl'\nssl_key_file = 'touchstone.toml'".into(), "ssl_certificate_file"),
    ] {
        std::fs::write(&config, kafka + input)?;
        let checked = process::run(&["check", "--config", &config_path]);
        let said = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert!(checked.status.code() == Some(2) && said.contains(word), "{word}: {said}");
    }
    // What is printed of a sound one shows no secret.
    std::fs::write(
        &config,
        format!("[kafka]\nsecurity_protocol = 'sasl_ssl'\nsasl_mechanism = 'PLAIN'\nsasl_username = 'u'{input}"),
    )?;
    let checked = run_with(&["check", "--config", &config_path], &[("TOUCHSTONE__KAFKA__SASL_PASSWORD", PASSWORD)]);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    Ok(())
}
