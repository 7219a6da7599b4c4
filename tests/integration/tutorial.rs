//! The commands of docs/TUTORIAL.md, as they stand there, on a machine that has what it asks for.

use std::path::Path;
use std::process::{Command, Stdio};

use libtest_mimic::{Failed, Trial};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;

use crate::process::PROGRAM;
use crate::setup::block_on;
use crate::tools::{self, or_missing, printed, repository};
use crate::{broker, planted};

pub fn tests() -> Vec<Trial> {
    vec![Trial::test("tutorial::every_command_works", works).with_ignored_flag(broker::is_left_out())]
}

/// How long all of it may take, in seconds. Never reached when all is well.
const PATIENCE: &str = "240";

/// The blocks that a reader runs.
fn commands(document: &str) -> String {
    let blocks = document.split("\n```sh\n").skip(1);
    blocks.filter_map(|block| block.split("\n```").next()).map(|block| format!("{block}\n")).collect()
}

fn works() -> Result<(), Failed> {
    let prometheus = printed(Command::new("prometheus").arg("--version"));
    if or_missing("docs/TUTORIAL.md (Debian: prometheus, curl)", prometheus)?.is_none() {
        return Ok(());
    }
    let script = commands(&tools::text("docs/TUTORIAL.md"));
    // The program is built already, and stands elsewhere.
    let built = "cargo build --release\n";
    assert!(script.starts_with(built), "{script}");
    let script = format!("set -eu\n{}", &script[built.len()..]);
    let directory = tempfile::tempdir()?;
    tools::copy(&repository("deploy/prometheus"), &directory.path().join("deploy/prometheus"))?;
    std::fs::create_dir_all(directory.path().join("target"))?;
    let release = Path::new(PROGRAM).parent().ok_or("a program lies in a directory")?;
    std::os::unix::fs::symlink(release, directory.path().join("target/release"))?;
    let address = broker::address()?;
    // The reader's own topic, which only Kafka's own tools make.
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new().set("bootstrap.servers", &address).create()?;
    let calls = NewTopic::new("calls", 1, TopicReplication::Fixed(1));
    block_on(admin.create_topics([&calls], &AdminOptions::new()))?;
    let said = directory.path().join("said");
    let file = std::fs::File::create(&said)?;
    // It ends whatever the script has begun, too.
    let ended = Command::new("timeout")
        .args([PATIENCE, "bash", "-c", &script])
        .current_dir(directory.path())
        .env("KAFKA", &address)
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .status()?
        .success();
    let said = std::fs::read_to_string(&said)?;
    planted::look("the tutorial", &said);
    if !ended {
        return Err(format!("docs/TUTORIAL.md does not come to its end:\n{said}").into());
    }
    for expected in [
        // Satisfaction with its evidence; the explanation; the share of abandoned calls; an alert.
        "cx_window_samples{window=\"1h\",slice=\"all\",metric_set=\"csat\"}",
        "2 would be counted",
        "1 rejected: mapping_failed",
        "\"abandonment_ratio\":{\"value\":0.5,\"numerator\":1,\"denominator\":2,\"samples\":2",
        "No process of touchstone answers.",
    ] {
        assert!(said.contains(expected), "{expected} is not in\n{said}");
    }
    Ok(())
}
