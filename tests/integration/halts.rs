//! Every halt on a real Kafka: what is lost or not ours is produced, named at `/readyz` and `/metrics`, and cleared by
//! what docs/OPERATIONS.md says.

use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use rdkafka::admin::{AdminOptions, NewPartitions};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use touchstone::engine::halt::HaltCode;
use touchstone::engine::time::rfc3339;

use crate::broker;
use crate::process::{Service, wait_for};
use crate::setup::{Setup, Shape, block_on};

const PATIENCE: Duration = Duration::from_secs(60);

pub fn tests() -> Vec<Trial> {
    let trial = |name: &str, test: fn() -> Result<(), Failed>| {
        Trial::test(format!("halts::{name}"), test).with_ignored_flag(broker::is_left_out())
    };
    vec![
        trial("of_the_first_stage_are_cleared", first_stage),
        trial("of_the_second_stage_are_cleared", second_stage),
        trial("a_topic_that_is_missing_or_has_too_many_partitions", topics),
        trial("every_reason_is_in_the_handbook", handbook),
    ]
}

/// A service whose configuration changes as an operator changes it.
struct Bench {
    setup: Setup,
    epoch: u32,
    input: String,
    more: String,
    events: usize,
}

impl Bench {
    fn new() -> Result<Bench, Failed> {
        let address = broker::address()?;
        let setup = Setup::new(&Bench::shape(&address, "epoch = 1", ""))?;
        Ok(Bench { setup, epoch: 1, input: String::new(), more: String::new(), events: 0 })
    }

    fn shape<'a>(address: &'a str, input: &'a str, more: &'a str) -> Shape<'a> {
        let timing = "commit_interval = \"50ms\"\nidle_commit_interval = \"300ms\"\ncheckpoint_interval = \"500ms\"";
        Shape { address, via: address, replication: 1, partitions: 2, timing, input, more }
    }

    /// Writes the configuration as it is now.
    fn configure(&self) -> Result<(), Failed> {
        let input = format!("epoch = {}\n{}", self.epoch, self.input);
        self.setup.configure(&Bench::shape(&self.setup.address, &input, &self.more))
    }

    fn raise_epoch(&mut self) -> Result<(), Failed> {
        self.epoch += 1;
        self.configure()
    }

    /// Runs until so many more events are taken in; then it is stopped in good order.
    fn run_well(&mut self) -> Result<(), Failed> {
        let service = self.setup.start("one");
        let ready = || service.get("/readyz").is_some_and(|(status, _)| status == 200);
        wait_for("it is ready", PATIENCE, ready)
            .map_err(|error| format!("{error}: {:?}\n{}", service.get("/readyz"), service.log()))?;
        let taken = || service.sum("touchstone_items_total", "");
        let before = taken();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis();
        let now = i64::try_from(now)?;
        let events: Vec<(String, String)> = (0..40)
            .map(|number| {
                let id = self.events + number;
                let event = format!(
                    "{{\"specversion\":\"1.0\",\"id\":\"{id}\",\"source\":\"/s\",\"type\":\"cx.interaction.v1\",\
                     \"time\":\"{}\",\"data\":{{\"kind\":\"visit\",\"channel\":\"web\"}}}}",
                    rfc3339(now - 1_000)
                );
                (format!("key-{id}"), event)
            })
            .collect();
        self.events += events.len();
        self.setup.produce(events.iter().map(|(key, event)| (key.as_str(), event.as_str())));
        wait_for("events are taken in", PATIENCE, || taken() >= before + 40.0)
            .map_err(|error| format!("{error}: {} after {before}\n{}", taken(), service.log()))?;
        // Past a checkpoint.
        std::thread::sleep(Duration::from_millis(900));
        assert!(service.stop(), "it ends well");
        Ok(())
    }

    /// Runs until a task is halted for this reason, and says so everywhere.
    fn run_into(&self, stage: &str, code: HaltCode) -> Result<(), Failed> {
        let service = self.setup.start("one");
        let said = |service: &Service| {
            let ready = service.get("/readyz");
            let part = format!("reason=\"{}\"", code.name());
            let exported = service.values("touchstone_task_halted", &part).len();
            (ready.is_some_and(|(status, body)| status == 503 && body.contains(code.name())), exported)
        };
        wait_for(code.name(), PATIENCE, || matches!(said(&service), (true, 1..))).map_err(|error| {
            let (ready, listed) = (service.get("/readyz"), self.sources(&[]));
            format!("{error}: {ready:?}\n{}\n{}", listed.unwrap_or_default(), service.log())
        })?;
        let elsewhere = service.values("touchstone_task_halted", "").len() - said(&service).1;
        assert_eq!(elsewhere, 0, "{stage}: nothing else is halted\n{}", service.log());
        assert!(service.values("touchstone_task_halted", &format!("stage=\"{stage}\"")).len() == said(&service).1);
        assert!(service.stop(), "it ends well, halted or not");
        Ok(())
    }

    fn group(&self, stage: &str) -> String {
        format!("{}-{stage}", self.setup.application)
    }

    /// What `kafka-consumer-groups.sh --reset-offsets` does.
    fn reset(&self, stage: &str, topic: &str, partition: i32, offset: i64) -> Result<(), Failed> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.setup.address).set("group.id", self.group(stage));
        let consumer: BaseConsumer = config.create()?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.setup.names[topic], partition, Offset::Offset(offset))?;
        consumer.commit(&list, CommitMode::Sync)?;
        Ok(())
    }

    fn delete_group(&self, stage: &str) -> Result<(), Failed> {
        let group = self.group(stage);
        let deleted = block_on(self.setup.admin().delete_groups(&[&group], &AdminOptions::new()))?;
        deleted.into_iter().next().ok_or("an answer")?.map_err(|(group, error)| format!("{group}: {error}"))?;
        Ok(())
    }

    /// Deletes the records before an offset, or all of them.
    fn delete_records(&self, topic: &str, partitions: std::ops::Range<i32>) -> Result<(), Failed> {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition_offset(&self.setup.names[topic], partition, Offset::End)?;
        }
        block_on(self.setup.admin().delete_records(&list, &AdminOptions::new()))?;
        Ok(())
    }

    fn delete_topic(&self, topic: &str) -> Result<(), Failed> {
        let name = self.setup.names[topic].as_str();
        block_on(self.setup.admin().delete_topics(&[name], &AdminOptions::new()))?
            .remove(0)
            .map_err(|(_, e)| e.to_string())?;
        let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", &self.setup.address).create()?;
        wait_for("the topic is gone", PATIENCE, || {
            client
                .fetch_metadata(Some(name), Duration::from_secs(5))
                .is_ok_and(|found| found.topics()[0].partitions().is_empty())
        })?;
        Ok(())
    }

    fn write(&self, topic: &str, partition: i32, key: Option<&str>, value: &[u8]) -> Result<(), Failed> {
        let producer: ThreadedProducer<DefaultProducerContext> =
            ClientConfig::new().set("bootstrap.servers", &self.setup.address).create()?;
        let mut record: BaseRecord<'_, str, [u8]> =
            BaseRecord::to(&self.setup.names[topic]).partition(partition).payload(value);
        record.key = key;
        producer.send(record).map_err(|(error, _)| error)?;
        producer.flush(PATIENCE)?;
        Ok(())
    }

    /// Which deltas partitions have an owner of some group-by: the others hold nothing in the changelog but the ledger.
    fn sources(&self, arguments: &[&str]) -> Result<String, Failed> {
        Ok(self.setup.command(&[&["sources"], arguments].concat())?)
    }
}

fn first_stage() -> Result<(), Failed> {
    let mut bench = Bench::new()?;
    bench.run_well()?;

    bench.reset("fold", "input", 0, 3)?;
    bench.run_into("fold calls", HaltCode::ForeignOffsets)?;
    assert!(bench.sources(&["list"])?.contains("foreign_offsets"));
    assert!(bench.setup.command(&["sources", "adopt", "calls"]).is_err(), "not under the epoch that merge knows");
    bench.raise_epoch()?;
    let adopted = bench.sources(&["adopt", "calls"])?;
    assert!(adopted.contains("calls/0: offset 3 adopted"), "{adopted}");
    bench.run_well()?;

    // Of partition 1 everything that was not taken in yet is deleted.
    bench.write("input", 1, None, b"lost")?;
    bench.write("input", 1, None, b"lost too")?;
    bench.delete_records("input", 1..2)?;
    bench.run_into("fold calls", HaltCode::InputLost)?;
    assert!(bench.sources(&[])?.contains("accept-gap"));
    assert!(bench.sources(&["accept-gap", "calls", "1"])?.contains("goes on behind the gap"));
    bench.run_well()?;

    // With the topic the broker deletes what groups have committed of it.
    bench.delete_topic("input")?;
    bench.setup.create_input(2, 1)?;
    bench.run_into("fold calls", HaltCode::OffsetsLost)?;
    bench.raise_epoch()?;
    bench.run_well()?;

    bench.delete_group("fold")?;
    bench.run_into("fold calls", HaltCode::OffsetsLost)?;
    assert!(bench.sources(&[])?.contains("offsets_lost"));
    bench.raise_epoch()?;
    bench.run_well()?;

    bench.epoch -= 1;
    bench.configure()?;
    bench.run_into("fold calls", HaltCode::EpochBehind)?;
    bench.raise_epoch()?;
    bench.run_well()?;

    assert!(bench.sources(&["retire", "calls"])?.contains("2 partitions are retired"));
    bench.run_into("fold calls", HaltCode::Retired)?;
    bench.raise_epoch()?;
    bench.run_well()
}

fn second_stage() -> Result<(), Failed> {
    let mut bench = Bench::new()?;
    bench.run_well()?;
    let mend = |bench: &mut Bench, partitions: &[&str], says: &str| -> Result<(), Failed> {
        for partition in partitions {
            let said = bench.sources(&["mend-merge", partition])?;
            assert!(said.contains(says), "{said}");
        }
        bench.run_well()
    };
    let all = ["0", "1", "2", "3"];

    bench.delete_group("merge")?;
    bench.run_into("merge", HaltCode::OffsetsLost)?;
    mend(&mut bench, &all, "takes up at its checkpoint")?;

    bench.reset("merge", "deltas", 2, 1)?;
    bench.run_into("merge", HaltCode::ForeignOffsets)?;
    mend(&mut bench, &["2"], "takes up at its checkpoint")?;

    bench.delete_topic("changelog")?;
    bench.setup.command(&["topics", "--create"])?;
    bench.run_into("merge", HaltCode::ChangelogLost)?;
    mend(&mut bench, &all, "is rebuilt from the deltas")?;

    bench.write("changelog", 1, Some("pane|nothing"), b"damage")?;
    bench.run_into("merge", HaltCode::ChangelogDamaged)?;
    mend(&mut bench, &["1"], "is rebuilt from the deltas")?;

    bench.write("deltas", 3, None, b"damage")?;
    bench.run_into("merge", HaltCode::Conservation)?;
    mend(&mut bench, &["3"], "goes on")?;

    // A section that does not follow on: the last word of a source that was never heard of.
    bench.write("deltas", 0, None, &gap(&bench))?;
    bench.run_into("merge", HaltCode::LedgerGap)?;
    mend(&mut bench, &["0"], "goes on")?;

    bench.write("deltas", 0, None, b"never taken")?;
    bench.write("deltas", 0, None, b"nor this")?;
    bench.delete_records("deltas", 0..1)?;
    bench.run_into("merge", HaltCode::DeltasLost)?;
    mend(&mut bench, &["0"], "goes on")?;

    bench.write("deltas", 1, None, &[8, 9])?; // field 1, the format: 9
    bench.run_into("merge", HaltCode::UnknownFormat)?;
    mend(&mut bench, &["1"], "goes on")
}

fn gap(bench: &Bench) -> Vec<u8> {
    use touchstone::engine::codec::{Format, encode_delta};
    use touchstone::engine::section::{Phase, Section, SourceId, Standing};
    let at = |offset| Standing { offset, watermark: Some(1), accepted: offset };
    let section = Section {
        source: SourceId { input: "calls".into(), epoch: bench.epoch, partition: 9 },
        phase: Phase::Retired,
        partitions: 2,
        plan: 0,
        base: 60_000,
        from: at(1_000_000),
        to: at(1_000_000),
        horizon: None,
        newest: None,
        oldest: None,
        covered_from: 0,
        events: Vec::new(),
        groups: Vec::new(),
    };
    encode_delta(&[section], Format::LATEST)
}

/// `cannot_write` and `deltas_partitions`.
fn topics() -> Result<(), Failed> {
    let mut bench = Bench::new()?;
    bench.run_well()?;
    // The topic of dead letters goes while the service runs, and a dead letter comes.
    let service = bench.setup.start("one");
    let ready = || service.get("/readyz").is_some_and(|(status, _)| status == 200);
    wait_for("it is ready", PATIENCE, ready)?;
    bench.delete_topic("dead_letter")?;
    bench.write("input", 1, None, b"no JSON")?;
    let halted = || service.values("touchstone_task_halted", "reason=\"cannot_write\"").len();
    wait_for("the task halts", PATIENCE, || halted() == 1).map_err(|error| format!("{error}\n{}", service.log()))?;
    assert_eq!(service.values("touchstone_task_halted", "").len(), 1, "its neighbour goes on");
    assert!(service.stop());
    bench.setup.command(&["topics", "--create"])?;
    bench.run_well()?;
    assert_eq!(bench.setup.read("dead_letter").len(), 1);

    // More partitions of the deltas: a new start refuses, one that runs halts what came.
    let service = bench.setup.start("one");
    wait_for("it is ready", PATIENCE, || service.get("/readyz").is_some_and(|(status, _)| status == 200))?;
    let deltas = bench.setup.names["deltas"].clone();
    let more = [NewPartitions::new(&deltas, 5)];
    block_on(bench.setup.admin().create_partitions(&more, &AdminOptions::new()))?;
    let halted = || service.values("touchstone_task_halted", "reason=\"deltas_partitions\"").len();
    wait_for("the new task halts", PATIENCE, || halted() > 0).map_err(|error| format!("{error}\n{}", service.log()))?;
    drop(service);
    bench.setup.names.insert("deltas", crate::setup::unique("deltas"));
    bench.setup.names.insert("changelog", crate::setup::unique("changelog"));
    bench.raise_epoch()?;
    bench.setup.command(&["topics", "--create"])?;
    bench.run_well()
}

/// Each code has its row.
fn handbook() -> Result<(), Failed> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/OPERATIONS.md");
    let text = std::fs::read_to_string(path)?;
    for code in HaltCode::ALL {
        assert!(text.contains(&format!("| `{}` |", code.name())), "{}", code.name());
    }
    Ok(())
}
