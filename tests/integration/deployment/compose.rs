//! deploy/compose: every file it mounts is there, every name and port that one file says is what another one means, and
//! its settings of Kafka and of touchstone work on a real Kafka. The images themselves are started by nobody here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use serde_json::Value;

use super::{IN_THE_IMAGE, documents, python, texts};
use crate::broker::{self, Broker};
use crate::process::{self, Service, wait_for};
use crate::tools::{printed, repository};

pub fn tests() -> Vec<Trial> {
    let trial = |name: &str, test: fn() -> Result<(), Failed>| Trial::test(format!("deployment::{name}"), test);
    vec![
        trial("compose_keeps_to_its_specification", valid),
        trial("compose_mounts_what_is_there", mounts),
        trial("compose_looks_after_every_service", healthchecks),
        trial("compose_and_prometheus_mean_the_same", addresses),
        trial("compose_sets_keys_that_exist", keys),
        trial("compose_works_on_a_real_kafka", runs).with_ignored_flag(broker::is_left_out()),
    ]
}

/// compose.yaml.
struct Compose {
    python: PathBuf,
    file: Value,
}

impl Compose {
    fn read() -> Result<Option<Compose>, Failed> {
        let Some(python) = python("deploy/compose by PyYAML")? else { return Ok(None) };
        let file = documents(&python, &repository("deploy/compose/compose.yaml"))?.remove(0);
        Ok(Some(Compose { python, file }))
    }

    fn services(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.file["services"].as_object().expect("services").iter()
    }

    fn service(&self, name: &str) -> &Value {
        &self.file["services"][name]
    }

    /// Where a service mounts what: (source, target).
    fn mounts(service: &Value) -> impl Iterator<Item = (&str, &str)> {
        let volumes = texts(&service["volumes"]).into_iter();
        volumes.map(|volume| {
            let mut parts = volume.split(':');
            (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
        })
    }

    /// `service:port` of everything that listens, by what is published of it.
    fn listening(&self) -> BTreeSet<String> {
        let published = self.services().flat_map(|(name, service)| {
            let ports = texts(&service["ports"]).into_iter();
            ports.filter_map(move |port| Some(format!("{name}:{}", port.rsplit_once(':')?.1)))
        });
        published.collect()
    }

    fn environment(&self, service: &str) -> BTreeMap<String, String> {
        let environment = self.service(service)["environment"].as_object().into_iter().flatten();
        environment.map(|(key, value)| (key.clone(), value.as_str().expect("a quoted value").to_string())).collect()
    }

    /// The arguments that a service gives to the program, with the configuration as it lies here.
    fn arguments(&self, service: &str) -> Vec<String> {
        let config = repository("config").to_string_lossy().into_owned();
        texts(&self.service(service)["command"])
            .into_iter()
            .map(|argument| argument.replace("/etc/touchstone", &config))
            .collect()
    }
}

fn here(path: &str) -> PathBuf {
    repository("deploy/compose").join(path)
}

/// By the schema of the Compose specification, which refuses what it does not know.
fn valid() -> Result<(), Failed> {
    let Some(python) = python("deploy/compose by check-jsonschema")? else { return Ok(()) };
    let mut check = Command::new(python.join("check-jsonschema"));
    printed(check.args(["--builtin-schema", "vendor.compose-spec"]).arg(here("compose.yaml")))?;
    Ok(())
}

fn mounts() -> Result<(), Failed> {
    let Some(compose) = Compose::read()? else { return Ok(()) };
    let mut seen = 0;
    for (name, service) in compose.services() {
        for (source, target) in Compose::mounts(service) {
            assert!(target.starts_with('/'), "{name}: {source} is mounted at {target}");
            if source.starts_with('.') {
                assert!(here(source).exists(), "{name} mounts {source}, which is not there");
            } else {
                assert!(compose.file["volumes"].get(source).is_some(), "{name}: there is no volume {source}");
            }
            seen += 1;
        }
        if let Some(build) = service.get("build") {
            let context = here(build["context"].as_str().ok_or("a context")?);
            assert!(context.join("Cargo.lock").exists(), "the context is the repository");
            assert!(context.join(build["dockerfile"].as_str().ok_or("a dockerfile")?).exists());
        }
        let image = service["image"].as_str().ok_or("an image")?;
        let tag = image.rsplit_once(':').map_or("latest", |(_, tag)| tag);
        assert_ne!(tag, "latest", "{name}: the version of {image} is said");
        for port in texts(&service["ports"]) {
            assert!(port.starts_with("127.0.0.1:"), "{name}: {port} is open to other machines");
        }
    }
    assert!(seen >= 9, "{seen} mounts");
    Ok(())
}

fn healthchecks() -> Result<(), Failed> {
    let Some(compose) = Compose::read()? else { return Ok(()) };
    let passing: BTreeSet<&str> =
        compose.services().filter(|(_, service)| service["restart"] == "no").map(|(name, _)| name.as_str()).collect();
    assert_eq!(passing, ["input-topic", "topics"].into());
    for (name, service) in compose.services() {
        let test = texts(&service["healthcheck"]["test"]);
        if passing.contains(name.as_str()) {
            assert!(service["x-no-healthcheck"].as_str().is_some_and(|why| !why.is_empty()), "{name} says why not");
        } else {
            assert!(test.len() > 1 && test[0] == "CMD", "{name} has a healthcheck that needs no shell: {test:?}");
        }
        for (on, how) in service["depends_on"].as_object().into_iter().flatten() {
            let condition =
                if passing.contains(on.as_str()) { "service_completed_successfully" } else { "service_healthy" };
            assert_eq!(how["condition"], condition, "{name} waits for {on}");
            assert!(compose.services().any(|(name, _)| name == on), "{name} waits for {on}, which there is not");
        }
    }
    assert_eq!(texts(&compose.service("touchstone")["healthcheck"]["test"]), ["CMD", IN_THE_IMAGE, "health"]);
    Ok(())
}

/// Every `host:port` of the values under a key, wherever it is.
fn under<'a>(value: &'a Value, key: &str, into: &mut Vec<&'a str>) {
    match value {
        Value::Object(members) => members
            .iter()
            .for_each(|(name, member)| if name == key { into.extend(texts(member)) } else { under(member, key, into) }),
        Value::Array(list) => list.iter().for_each(|member| under(member, key, into)),
        _ => {}
    }
}

/// The files of a folder whose names fit a pattern with one star, or none.
fn fitting(folder: &Path, pattern: &str) -> BTreeSet<String> {
    let (head, tail) = pattern.split_once('*').unwrap_or((pattern, ""));
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .filter(|name| name.starts_with(head) && name.ends_with(tail) && name.len() >= head.len() + tail.len())
        .collect()
}

fn addresses() -> Result<(), Failed> {
    let Some(compose) = Compose::read()? else { return Ok(()) };
    let listening = compose.listening();
    let prometheus = documents(&compose.python, &repository("deploy/prometheus/prometheus.yml"))?.remove(0);
    let mut targets = Vec::new();
    under(&prometheus, "targets", &mut targets);
    let own = |target: &str| target.starts_with("localhost:") || target.starts_with("127.0.0.1:");
    for target in targets.iter().filter(|target| !own(target)) {
        assert!(listening.contains(*target), "prometheus.yml: {target} is none of {listening:?}");
    }
    let port =
        compose.environment("touchstone")["TOUCHSTONE__EXPORT__LISTEN"].rsplit_once(':').ok_or("a port")?.1.to_string();
    let job = prometheus["scrape_configs"].as_array().ok_or("jobs")?.iter().find(|job| job["job_name"] == "touchstone");
    let mut scraped = Vec::new();
    under(job.ok_or("the rules ask for the job touchstone")?, "targets", &mut scraped);
    assert_eq!(scraped, [format!("touchstone:{port}")], "where touchstone listens");
    let mut alerting = Vec::new();
    under(&prometheus["alerting"], "targets", &mut alerting);
    assert_eq!(alerting, ["alertmanager:9093"]);

    // Rules by the paths that they have in the container.
    let folder = repository("deploy/prometheus");
    let mut taken = BTreeSet::new();
    for pattern in texts(&prometheus["rule_files"]) {
        let name = pattern.strip_prefix("/etc/prometheus/").unwrap_or(pattern);
        let found = fitting(&folder, name);
        assert!(!found.is_empty(), "prometheus.yml: {pattern} is no file");
        taken.extend(found);
    }
    assert_eq!(taken, fitting(&folder, "*.rules.yml"), "all rules, and nothing else");

    // What is mounted is what the arguments name.
    for (service, file) in [("prometheus", "prometheus.yml"), ("alertmanager", "alertmanager.yml")] {
        let command = texts(&compose.service(service)["command"]).join(" ");
        let (source, target) = Compose::mounts(compose.service(service)).next().ok_or("a mount")?;
        assert!(command.contains(&format!("--config.file={target}/{file}")), "{service}: {command}");
        assert!(here(source).join(file).exists(), "{service}: {file} is not in {source}");
    }
    grafana(&compose, &listening)
}

/// Grafana's provisioning: its sources are services, and its dashboards lie where they are mounted.
fn grafana(compose: &Compose, listening: &BTreeSet<String>) -> Result<(), Failed> {
    let mounts: BTreeMap<&str, &str> =
        Compose::mounts(compose.service("grafana")).map(|(source, target)| (target, source)).collect();
    let provisioning = here(mounts.get("/etc/grafana/provisioning").ok_or("provisioning is mounted")?);
    let (mut urls, mut paths) = (Vec::new(), Vec::new());
    for kind in ["datasources", "dashboards"] {
        let folder = provisioning.join(kind);
        for name in [fitting(&folder, "*.yaml"), fitting(&folder, "*.yml")].into_iter().flatten() {
            for document in documents(&compose.python, &folder.join(&name))? {
                let mut found = Vec::new();
                under(&document, "url", &mut found);
                urls.extend(found.into_iter().map(String::from));
                let mut found = Vec::new();
                under(&document, "path", &mut found);
                paths.extend(found.into_iter().map(String::from));
            }
        }
    }
    assert!(!urls.is_empty() && !paths.is_empty(), "sources {urls:?} and dashboards {paths:?}");
    for url in urls {
        let address = url.trim_start_matches("http://").trim_end_matches('/');
        assert!(listening.contains(address), "grafana: {url} is none of {listening:?}");
    }
    for path in paths {
        let source = mounts.get(path.as_str()).ok_or_else(|| format!("grafana: {path} is not mounted"))?;
        assert!(!fitting(&here(source), "*.json").is_empty(), "there are dashboards in {source}");
    }
    Ok(())
}

fn keys() -> Result<(), Failed> {
    let Some(compose) = Compose::read()? else { return Ok(()) };
    for service in ["topics", "touchstone"] {
        let environment = compose.environment(service);
        let environment: Vec<(&str, &str)> = environment.iter().map(|(key, value)| (&**key, &**value)).collect();
        let config = repository("config/touchstone.toml");
        let checked = process::run_with(&["check", "--config", &config.to_string_lossy()], &environment);
        assert!(checked.status.success(), "{service}: {}", String::from_utf8_lossy(&checked.stderr));
        let checked = String::from_utf8(checked.stdout)?;
        for (_, value) in environment {
            let there = [format!("= \"{value}\""), format!("= {value}\n")].iter().any(|value| checked.contains(value));
            assert!(there, "{value} is in force:\n{checked}");
        }
    }
    Ok(())
}

/// A broker with compose's settings of Kafka, topics and service by compose's arguments and variables; asked for its health
/// as compose asks.
fn runs() -> Result<(), Failed> {
    let Some(compose) = Compose::read()? else { return Ok(()) };
    let broker = Broker::new("compose")?;
    let (port, outside) = (broker.port, broker::free_port()?);
    let controller = "CONTROLLER://127.0.0.1:CONTROLLER_PORT";
    let mut properties = String::new();
    for (key, value) in compose.environment("kafka").iter().filter(|(key, _)| key.starts_with("KAFKA_")) {
        let key = key["KAFKA_".len()..].to_lowercase().replace('_', ".");
        let value = match key.as_str() {
            // The one broker is told its quorum when its storage is formatted; its data lie in the test's own directory.
            "controller.quorum.voters" | "log.dirs" => continue,
            "listeners" | "advertised.listeners" => {
                assert!(value.starts_with("INSIDE://") && value.contains(",OUTSIDE://"), "{value}");
                format!("INSIDE://127.0.0.1:{port},OUTSIDE://127.0.0.1:{outside},{controller}")
            }
            _ => value.clone(),
        };
        properties.push_str(&format!("{key}={value}\n"));
    }
    broker.start(&properties, &[])?;

    let input = texts(&compose.service("input-topic")["command"]).join(" ");
    let partitions = input.split("--partitions=").nth(1).and_then(|rest| rest.split(' ').next()).ok_or("partitions")?;
    let address = format!("127.0.0.1:{port}");
    create_input(&address, "touchpoints", partitions.parse()?)?;
    assert!(input.contains("--topic=touchpoints ") && input.contains("--replication-factor=1"), "{input}");

    let mut environment = compose.environment("touchstone");
    environment.insert("TOUCHSTONE__KAFKA__BOOTSTRAP_SERVERS".into(), address);
    let topics = compose.arguments("topics");
    printed(Command::new(process::PROGRAM).args(&topics).envs(&environment))?;
    let said = printed(Command::new(process::PROGRAM).args(&topics).envs(&environment))?;
    assert_eq!(said, "6 topics are as they should be\n", "a second time there is nothing to do");

    let directory = tempfile::tempdir()?;
    let run = compose.arguments("touchstone");
    let [_, flag, config] = &run[..] else { return Err("run --config FILE".into()) };
    assert_eq!(flag, "--config");
    let environment: Vec<(&str, &str)> = environment.iter().map(|(key, value)| (&**key, &**value)).collect();
    let service =
        Service::start_as(Path::new(process::PROGRAM), Path::new(config), "compose", directory.path(), &environment);
    let ready = || service.get("/readyz").is_some_and(|(status, _)| status == 200);
    wait_for("it is ready", Duration::from_secs(60), ready).map_err(|error| format!("{error}\n{}", service.log()))?;
    let health = process::run(&["health", "--address", service.address()]);
    assert!(health.status.success(), "{}", String::from_utf8_lossy(&health.stderr));
    assert!(service.stop(), "it ends well at SIGTERM");
    Ok(())
}

/// The input, as its owner makes it.
fn create_input(address: &str, topic: &str, partitions: i32) -> Result<(), Failed> {
    use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
    use rdkafka::client::DefaultClientContext;
    use rdkafka::config::ClientConfig;
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new().set("bootstrap.servers", address).create()?;
    let topic = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    let made = crate::setup::block_on(admin.create_topics([&topic], &AdminOptions::new()))?.remove(0);
    made.map_err(|(_, error)| error.to_string())?;
    Ok(())
}
