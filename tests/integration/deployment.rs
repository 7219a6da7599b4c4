//! What is shipped to run the service elsewhere: image, compose, Kubernetes, systemd, topics and access rules.
//!
//! There is no engine and no cluster here. Each file is checked by its own tool where one works offline, what one file
//! says is held against what another one and the program say, and compose's settings are run on a real Kafka.

mod compose;
mod kubernetes;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use serde_json::Value;
use touchstone::config::{self, Settings};
use touchstone::topics::{Purpose, Topic, table};

use crate::process::{self, Service, wait_for};
use crate::tools::{self, or_missing, printed, repository, text};

pub fn tests() -> Vec<Trial> {
    let trial = |name: &str, test: fn() -> Result<(), Failed>| Trial::test(format!("deployment::{name}"), test);
    let mut trials = vec![
        trial("health_asks_a_running_process", asks),
        trial("health_says_what_is_wrong", complains),
        trial("hadolint_takes_the_image", linted),
        trial("the_image_is_small_and_nobody", image),
        trial("the_build_context_is_enough", context),
        trial("systemd_takes_the_unit", unit),
        trial("topics_are_those_of_the_program", topics),
        trial("access_rules_are_those_of_the_program", rules),
    ];
    trials.extend(compose::tests());
    trials.extend(kubernetes::tests());
    trials
}

/// The tools for what is in deploy/.
pub(crate) fn python(what: &str) -> Result<Option<PathBuf>, Failed> {
    or_missing(what, tools::python("deployment", "tests/deployment/requirements.txt"))
}

/// The documents of a YAML file.
pub(crate) fn documents(python: &Path, file: &Path) -> Result<Vec<Value>, Failed> {
    let script = "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))";
    let json = printed(Command::new(python.join("python")).args(["-c", script]).arg(file))?;
    Ok(serde_json::from_str(&json)?)
}

/// The texts of a list, or the one text.
pub(crate) fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
        _ => value.as_str().into_iter().collect(),
    }
}

/// Where the program lies in the image.
pub(crate) const IN_THE_IMAGE: &str = "/usr/local/bin/touchstone";

fn health(address: &str) -> Output {
    process::run(&["health", "--address", address])
}

pub(crate) fn said(output: &Output) -> String {
    [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat()
}

fn asks() -> Result<(), Failed> {
    let directory = tempfile::tempdir()?;
    let demo = Service::demo(directory.path());
    wait_for("it answers", Duration::from_secs(30), || demo.get("/healthz").is_some())?;
    let output = health(demo.address());
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(said(&output), format!("{} is healthy\n", demo.address()));
    let help = process::run(&["health", "--help"]);
    assert!(said(&help).contains("Example:\n    touchstone health --address 127.0.0.1:9464"), "{}", said(&help));
    Ok(())
}

/// One that gives every caller this answer, or says nothing at all.
fn answering(answer: Option<&'static str>) -> Result<String, Failed> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    std::thread::spawn(move || {
        let mut silent = Vec::new();
        for mut stream in listener.incoming().flatten() {
            match answer {
                Some(answer) => {
                    let asked = stream.read(&mut [0; 1024]);
                    assert!(asked.is_ok_and(|length| length > 0), "it asks");
                    stream.write_all(answer.as_bytes()).unwrap();
                }
                None => silent.push(stream),
            }
        }
    });
    Ok(address)
}

fn complains() -> Result<(), Failed> {
    let stuck = "HTTP/1.1 503 Service Unavailable\r\n\r\nworker fold-0 has been stuck for a minute\n";
    let cases = [
        (answering(Some(stuck))?, "is not healthy (503): worker fold-0 has been stuck for a minute"),
        (answering(Some("220 smtp.example ESMTP\r\n"))?, "speaks no HTTP"),
        (answering(None)?, "does not answer: not within 4 s"),
        (process::free_address(), "does not answer"),
    ];
    for (address, sentence) in cases {
        let begun = Instant::now();
        let output = health(&address);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains(sentence) && said(&output).contains(&address), "{}", said(&output));
        assert!(begun.elapsed() < Duration::from_secs(5), "a container's health check is given 5 s");
    }
    let output = health("nowhere");
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("write a host and a port"), "{}", said(&output));
    Ok(())
}

fn linted() -> Result<(), Failed> {
    let Some(python) = python("deploy/docker/Dockerfile by hadolint")? else { return Ok(()) };
    let mut hadolint = Command::new(python.join("hadolint"));
    let said = printed(hadolint.args(["--failure-threshold", "style"]).arg(repository("deploy/docker/Dockerfile")))?;
    assert_eq!(said, "", "it finds nothing");
    Ok(())
}

/// The instructions of a Dockerfile, continued lines joined.
fn instructions(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let joined = lines.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
    let lines = joined.lines().filter_map(|line| line.trim().split_once(' '));
    lines.map(|(word, rest)| (word.to_string(), rest.split_whitespace().collect::<Vec<_>>().join(" "))).collect()
}

fn image() -> Result<(), Failed> {
    let dockerfile = instructions(&text("deploy/docker/Dockerfile"));
    let of = |word: &str| -> Vec<&str> {
        dockerfile.iter().filter(|(is, _)| is == word).map(|(_, rest)| rest.as_str()).collect()
    };
    let toolchain = text("rust-toolchain.toml");
    let version = toolchain.split('"').nth(1).ok_or("a version")?;
    let from = [format!("rust:{version}-bookworm AS build"), "gcr.io/distroless/cc-debian12:nonroot".into()];
    assert_eq!(of("FROM"), from, "the toolchain of the repository, and an image of the same Debian");
    assert_eq!(of("USER"), ["65532:65532"]);
    assert_eq!(of("STOPSIGNAL"), ["SIGTERM"]);
    assert_eq!(of("ENTRYPOINT"), [format!("[\"{IN_THE_IMAGE}\"]")]);
    assert!(
        of("HEALTHCHECK")[0].ends_with(&format!("CMD [\"{IN_THE_IMAGE}\", \"health\"]")),
        "{:?}",
        of("HEALTHCHECK")
    );
    assert!(of("RUN").iter().any(|run| run.contains("cargo build --locked ")), "from the lock file");
    let port = text("config/touchstone.toml");
    assert!(port.contains(&format!(":{}\"", of("EXPOSE")[0])), "the port of export.listen");
    Ok(())
}

/// What .dockerignore lets through is a package that cargo takes, with every file that the program was built from here.
fn context() -> Result<(), Failed> {
    let text = text(".dockerignore");
    let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    assert_eq!(lines[0], "*", "what is not named does not reach the builder");
    let directory = tempfile::tempdir()?;
    for name in lines.iter().filter_map(|line| line.strip_prefix('!')) {
        let (from, to) = (repository(name), directory.path().join(name));
        if from.is_dir() { tools::copy(&from, &to)? } else { _ = std::fs::copy(from, to)? }
    }
    let arguments = ["metadata", "--locked", "--offline", "--no-deps", "--format-version", "1"];
    let metadata = printed(Command::new(env!("CARGO")).args(arguments).current_dir(repository("")))?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    // It builds nothing of a package of which the entry of a test or a benchmark is missing.
    let targets = metadata["packages"].as_array().ok_or("packages")?.iter();
    let targets = targets.flat_map(|package| package["targets"].as_array().into_iter().flatten());
    let entries: Vec<&str> = targets.filter_map(|target| target["src_path"].as_str()).collect();
    // Cargo notes beside what it builds what that was built from.
    let built = Path::new(process::PROGRAM).with_file_name("deps");
    let notes = std::fs::read_dir(built)?.filter_map(|entry| Some(entry.ok()?.path()));
    let notes = notes.filter(|path| path.extension().is_some_and(|end| end == "d"));
    let notes =
        notes.filter_map(|path| Some((path.metadata().ok()?.modified().ok()?, std::fs::read_to_string(path).ok()?)));
    // Copies of the program that other tests build have their notes in the same place; their templates lie elsewhere. What
    // its own tests are built from is more, and is no library to link.
    let template = repository("templates/page.html").to_string_lossy().into_owned();
    let is_library = |line: &str| line.contains(": src/lib.rs ") && line.contains(&template);
    let of_program = notes.filter(|(_, text)| text.lines().next().is_some_and(is_library) && text.contains(".rlib: "));
    let (_, noted) = of_program.max().ok_or("cargo notes what it builds the program from")?;
    let noted = noted.lines().next().unwrap_or_default().to_owned();
    let (_, files) = noted.split_once(": ").ok_or("what it was built from")?;
    let root = repository("");
    let here = |file| match Path::new(file) {
        file if file.is_relative() => Some(file),
        file => file.strip_prefix(&root).ok(),
    };
    let files: Vec<&Path> = files.split_whitespace().chain(entries).filter_map(here).collect();
    assert!(files.len() > 80, "{} files", files.len());
    for file in files {
        assert!(directory.path().join(file).exists(), "{} does not reach the builder", file.display());
    }
    Ok(())
}

/// The worst exposure that is let pass, of 100 (`systemd-analyze security`).
const EXPOSURE_MAX: &str = "20";

fn unit() -> Result<(), Failed> {
    let unit = text("deploy/systemd/touchstone.service");
    let start = format!("ExecStart={IN_THE_IMAGE} run --config /etc/touchstone/touchstone.toml\n");
    assert!(unit.contains(&start), "the same paths everywhere");
    let Some(_) = or_missing(
        "deploy/systemd by systemd-analyze (Debian: systemd)",
        printed(Command::new("systemd-analyze").arg("--version")),
    )?
    else {
        return Ok(());
    };
    // It looks whether the program is there, so it is shown ours.
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("touchstone.service");
    std::fs::write(&file, unit.replace(IN_THE_IMAGE, process::PROGRAM))?;
    let mut verify = Command::new("systemd-analyze");
    // What else is installed on this machine is not judged here.
    let output = verify.args(["verify", "--man=no", "--recursive-errors=no"]).arg(&file).output()?;
    assert!(output.status.success() && !said(&output).contains("touchstone.service:"), "{}", said(&output));
    let mut security = Command::new("systemd-analyze");
    let offline = ["security", "--offline=true", "--no-pager", "--threshold", EXPOSURE_MAX];
    printed(security.args(offline).arg(&file))?;
    Ok(())
}

/// A file that is made by the program's own tables; `TOUCHSTONE_BLESS=1` writes it.
fn fresh(path: &str, made: &str) -> Result<(), Failed> {
    if std::env::var_os("TOUCHSTONE_BLESS").is_some() {
        std::fs::write(repository(path), made)?;
    }
    if std::fs::read_to_string(repository(path)).unwrap_or_default() == made {
        return Ok(());
    }
    let bless = "run TOUCHSTONE_BLESS=1 cargo test --test integration deployment";
    Err(format!("{path} is not what the program's tables say: {bless}").into())
}

/// The topics of config/touchstone.toml.
pub(crate) fn shipped_topics() -> Result<Vec<Topic>, Failed> {
    let raw = config::parse(&text("config/touchstone.toml"))?;
    Ok(table(&Settings::new(raw, &repository("config"))?.layout))
}

fn topics() -> Result<(), Failed> {
    let mut made = String::from(
        "#!/bin/sh
# The topics of config/touchstone.toml, as `touchstone topics --create` makes them: for those who make topics by other means.
# Made from the program's table and held against it by a test. Inputs are not in it: they are yours.
#
#     BOOTSTRAP=kafka-1:9092 COMMAND_CONFIG=admin.properties sh deploy/kafka/topics.sh
set -eu
: \"${BOOTSTRAP:?where Kafka is, host:port}\"

create() {
  \"${KAFKA_BIN:-/opt/kafka/bin}/kafka-topics.sh\" --bootstrap-server \"$BOOTSTRAP\" \\
    ${COMMAND_CONFIG:+--command-config \"$COMMAND_CONFIG\"} --create --if-not-exists \"$@\"
}
",
    );
    for topic in shipped_topics()?.iter().filter(|topic| topic.purpose != Purpose::Input) {
        let shape = format!("--partitions {} --replication-factor {}", topic.partitions, topic.replication_factor);
        made.push_str(&format!("\ncreate --topic {} {shape}", topic.name));
        for (key, value) in &topic.config {
            made.push_str(&format!(" \\\n  --config {key}={value}"));
        }
        made.push('\n');
    }
    fresh("deploy/kafka/topics.sh", &made)
}

fn rules() -> Result<(), Failed> {
    let config = repository("config/touchstone.toml");
    let printed = process::run(&["topics", "--acls", "--config", &config.to_string_lossy()]);
    let printed = String::from_utf8(printed.stdout)?;
    let mut made = String::from(
        "#!/bin/sh
# The least access that each role needs, for config/touchstone.toml: what `touchstone topics --acls` prints, as commands.
# Made from what it prints and held against it by a test. Name a principal for each role that you want rules for.
#
#     BOOTSTRAP=kafka-1:9092 COMMAND_CONFIG=admin.properties SERVICE=User:touchstone CONSUMER=User:reports \\
#       sh deploy/kafka/acls.sh
#
# A consumer that joins a group needs Read on that group besides.
set -eu
: \"${BOOTSTRAP:?where Kafka is, host:port}\"

allow() {
  principal=$1
  shift
  [ -z \"$principal\" ] || \"${KAFKA_BIN:-/opt/kafka/bin}/kafka-acls.sh\" --bootstrap-server \"$BOOTSTRAP\" \\
    ${COMMAND_CONFIG:+--command-config \"$COMMAND_CONFIG\"} --add --force --allow-principal \"$principal\" \"$@\"
}
",
    );
    assert!(printed.lines().count() > 15, "{printed}");
    for line in printed.lines() {
        let (role, rule) = line.split_once(": ").ok_or("a role")?;
        let (operations, resource) = rule.split_once(" on ").ok_or("a resource")?;
        let resource = match resource.rsplit_once(' ') {
            Some(("topic", name)) => format!("--topic {name}"),
            Some(("group", name)) => format!("--group {name}"),
            Some(("the", "cluster")) => "--cluster".to_string(),
            Some((_, prefix)) if resource.starts_with("transactional ids that begin with ") => {
                format!("--transactional-id {prefix} --resource-pattern-type prefixed")
            }
            _ => return Err(format!("a new kind of resource: {line}").into()),
        };
        let operations: Vec<String> =
            operations.split(", ").map(|operation| format!("--operation {operation}")).collect();
        let principal = format!("\"${{{}:-}}\"", role.to_uppercase());
        made.push_str(&format!("\n# {line}\nallow {principal} {} {resource}\n", operations.join(" ")));
    }
    fresh("deploy/kafka/acls.sh", &made)
}
