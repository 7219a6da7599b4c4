//! The same job by touchstone, Kafka Streams, Flink and bare librdkafka, on one Apache Kafka, in one run: what an event
//! costs each of them. Every competitor's output is compared with truth, window by window; who is wrong is not listed.
//!
//!     cargo bench --bench peers [-- --events N] [--rounds N] [--only NAME,NAME]
//!
//! It needs Java 17 and Maven, about 4 GB of disk and, with all competitors and 5,000,000 events, an hour and a half.

#[path = "../../tests/integration/broker.rs"]
#[allow(dead_code, reason = "the tests start more brokers than one")]
mod broker;
mod floor;
mod job;
mod judge;
mod log;
mod measure;
#[path = "../parts/random.rs"]
mod random;

use std::path::{Path, PathBuf};
use std::process::Command;

use log::Eye;
use measure::{Finals, Progress, Run};

const TOPIC: &str = "bench-in";
const PARTITIONS: i32 = 12;

/// Everyone, in the order of the table: name, whether it must give an answer, what it is.
const COMPETITORS: [(&str, &str); 12] = [
    ("floor-touch-poll", "librdkafka, one record at a time, every byte touched"),
    ("floor-touch", "librdkafka in batches, every byte touched"),
    ("floor-decode", "the same, decoded by touchstone's decoder: the floor"),
    ("touchstone", "as shipped: exactly once, validation, ids, ledger, commit every 250 ms"),
    ("flink-datastream", "Flink 2.2.1, DataStream, exactly once, checkpoint every second"),
    ("flink-sql", "Flink 2.2.1, SQL, exactly once, checkpoint every second"),
    (
        "streams-rollup",
        "Kafka Streams 4.3.1, EOS v2, `all` rolled up from the queues' table, RocksDB, commit every second",
    ),
    ("streams-rollup-memory", "the same, state in memory"),
    ("streams-dsl", "Kafka Streams 4.3.1, EOS v2, plain DSL, RocksDB, commit every second"),
    ("streams-dsl-memory", "the same, state in memory"),
    ("touchstone-1s", "touchstone, commit every second"),
    ("touchstone-plain", "touchstone without transactions, as its benchmark switch allows: at least once, 250 ms"),
];

struct Bench {
    events: u64,
    broker: String,
    broker_id: u32,
    data: PathBuf,
    work: PathBuf,
    truth: job::Truth,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [mode, how, events, broker] = &arguments[..]
        && mode == "--floor"
    {
        return floor::run(how, events.parse().expect("a number"), broker, TOPIC, PARTITIONS);
    }
    let value = |name: &str| {
        let place = arguments.iter().position(|argument| argument == name)?;
        Some(arguments.get(place + 1).unwrap_or_else(|| panic!("{name} needs a value")).as_str())
    };
    let number = |name: &str, default: u64| {
        value(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} {text} is not a number")))
    };
    let (events, rounds) = (number("--events", 5_000_000), number("--rounds", 3));
    let only: Option<Vec<&str>> = value("--only").map(|names| names.split(',').collect());
    for name in only.iter().flatten() {
        assert!(COMPETITORS.iter().any(|(known, _)| known == name), "nobody is called {name}");
    }
    let runs = |name: &str| only.as_ref().is_none_or(|only| only.contains(&name));
    let bench = Bench::start(events);
    for project in ["kafka-streams", "flink"] {
        let prefix = project.trim_start_matches("kafka-");
        if COMPETITORS.iter().any(|(name, _)| runs(name) && name.starts_with(prefix)) {
            bench.build(project);
        }
    }
    let running: Vec<_> = COMPETITORS.iter().filter(|(name, _)| runs(name)).collect();
    running.iter().for_each(|(name, what)| println!("{name}: {what}"));
    let mut results: Vec<(&str, Vec<(Run, u64)>)> = running.iter().map(|(name, _)| (*name, Vec::new())).collect();
    // Everybody in each round: a machine that is slower for some minutes is so for all of them.
    for round in 1..=rounds {
        for (name, right) in &mut results {
            match bench.compete(name) {
                Ok((run, written)) => {
                    println!(
                        "round {round}, {name}: {:.2} us an event ({:.2} from the start), {:.0} events/s, {:.0} MiB",
                        run.cpu, run.cpu_whole, run.rate, run.memory
                    );
                    right.push((run, written));
                }
                Err(error) => println!("round {round}, {name}: NOT COUNTED: {error}"),
            }
        }
    }
    table(&results, events);
    broker::stop();
}

impl Bench {
    /// Kafka, its topic, and truth.
    fn start(events: u64) -> Bench {
        let work = Path::new(env!("CARGO_TARGET_TMPDIR")).join("peers");
        std::fs::create_dir_all(&work).expect("a directory beside the build");
        let mut kafka = broker::Broker::new("peers-kafka").unwrap_or_else(|error| panic!("{error}"));
        // As it comes: the default collector, and a heap of the usual size.
        kafka.java = "-Xmx1g -Xms1g";
        let (address, data) = (format!("127.0.0.1:{}", kafka.port), kafka.root.join("data"));
        let more = "num.network.threads=3\nnum.io.threads=4\nlog.segment.bytes=268435456\nlog.retention.ms=-1\n\
            offsets.topic.num.partitions=4\ntransaction.state.log.num.partitions=4\n\
            transaction.max.timeout.ms=3600000\nlog.cleaner.dedupe.buffer.size=134217728\n";
        kafka.start(more, &[]).unwrap_or_else(|error| panic!("{error}"));
        let shell = measure::children(std::process::id());
        let java: Vec<u32> = shell.iter().flat_map(|id| measure::children(*id)).collect();
        let broker_id = *java.first().expect("the broker runs below its shell");
        let bytes = log::produce(&address, TOPIC, events);
        println!("{events} events of {:.0} bytes on average in {TOPIC}", bytes as f64 / events as f64);
        let truth = job::truth(events);
        println!("{} windows must come out", truth.len());
        Bench { events, broker: address, broker_id, data, work, truth }
    }

    /// Compiles a Java competitor and fetches what it needs.
    fn build(&self, project: &str) {
        let pom = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers").join(project).join("pom.xml");
        let built = Command::new("mvn")
            .args(["-q", "-B", "-f"])
            .arg(pom)
            .args(["compile", "dependency:copy-dependencies", "-DincludeScope=runtime"])
            .arg(format!("-Dbuild.dir={}", self.work.join(project).display()))
            .arg(format!("-DoutputDirectory={}", self.work.join(project).join("lib").display()))
            .status()
            .expect("Maven runs (Debian: apt-get install maven openjdk-17-jdk-headless)");
        assert!(built.success(), "Maven could not build {project}");
    }

    /// One run of a competitor, its cost and the bytes that it had the broker write; an error when it is not right.
    fn compete(&self, name: &str) -> Result<(Run, u64), String> {
        let before = self.written();
        let run = match name.split_once('-') {
            Some(("floor", how)) => self.floor(how)?,
            Some(("flink", variant)) => self.java("flink", variant)?,
            Some(("streams", variant)) => self.java("kafka-streams", variant)?,
            _ => self.touchstone(if name.ends_with("1s") { "1s" } else { "250ms" }, name.ends_with("plain"))?,
        };
        Ok((run, self.written().saturating_sub(before)))
    }

    /// What lies in the broker's files beside the input.
    fn written(&self) -> u64 {
        measure::bytes_on_disk(&self.data, |directory| !directory.starts_with(TOPIC))
    }

    fn floor(&self, how: &str) -> Result<Run, String> {
        let how = match how {
            "touch-poll" => "touch-poll",
            "touch" => "touch-batch",
            _ => "decode-batch",
        };
        let mut command = Command::new(std::env::current_exe().map_err(|error| error.to_string())?);
        command.args(["--floor", how, &self.events.to_string(), &self.broker]);
        measure::run(command, self.events, &Progress::Told, None, self.broker_id)
    }

    fn java(&self, project: &str, variant: &str) -> Result<Run, String> {
        let output = format!("out-{project}-{variant}");
        log::make(&self.broker, &output, 4);
        let state = self.work.join(format!("state-{project}"));
        let _ = std::fs::remove_dir_all(&state);
        let built = self.work.join(project);
        let mut command = Command::new("java");
        command
            .args(["-Xmx2g", "-cp"])
            .arg(format!("{}:{}/*", built.join("classes").display(), built.join("lib").display()))
            .args(["peers.Main", variant, &self.events.to_string(), "1000", &self.broker, TOPIC, &output])
            .arg(&state);
        let eye = Eye::new(&self.broker, &output, "eye");
        let run = measure::run(command, self.events, &Progress::Told, Some(&eye), self.broker_id)?;
        judge::peer(&self.broker, &output, &self.truth)?;
        Ok(run)
    }

    fn touchstone(&self, commit_interval: &str, plain: bool) -> Result<Run, String> {
        let program = env!("CARGO_BIN_EXE_touchstone");
        let name = format!("bench-{}", std::fs::read_dir(&self.data).map_or(0, Iterator::count));
        let config = self.work.join(format!("{name}.toml"));
        let text = format!(
            r#"
            [service]
            application = "{name}"
            instance = "one"
            [kafka]
            bootstrap_servers = "{}"
            [topics]
            aggregates = "{name}.aggregates"
            late = "{name}.late"
            dead_letter = "{name}.dead-letter"
            deltas = "{name}.deltas"
            changelog = "{name}.changelog"
            replication_factor = 1
            [[input]]
            name = "bench"
            topic = "{TOPIC}"
            idle_timeout = "10s"
            [[windows]]
            name = "1m"
            size = "1m"
            [[windows]]
            name = "15m"
            size = "15m"
            slide = "1m"
            [slices]
            group_by = ["all", "queue"]
            [export]
            listen = "127.0.0.1:0"
            wide = ["15m"]
            narrow = ["15m"]
            [timing]
            commit_interval = "{commit_interval}"
            [log]
            level = "warn"
            "#,
            self.broker
        );
        std::fs::write(&config, text).map_err(|error| error.to_string())?;
        let made = Command::new(program).args(["topics", "--create", "--config"]).arg(&config).output();
        let made = made.map_err(|error| error.to_string())?;
        if !made.status.success() {
            return Err(String::from_utf8_lossy(&made.stdout).into_owned() + &String::from_utf8_lossy(&made.stderr));
        }
        let output = format!("{name}.aggregates");
        let input = Eye::new(&self.broker, TOPIC, &format!("{name}-fold"));
        let eye = Eye::new(&self.broker, &output, "eye");
        let mut command = Command::new(program);
        command.args(["run", "--config"]).arg(&config);
        if plain {
            command.env("TOUCHSTONE_BENCHMARK_WITHOUT_TRANSACTIONS", "yes");
        }
        // The end of the input is proved by silence; the last windows close then.
        let finals = Finals { broker: self.broker.clone(), topic: output.clone(), count: judge::finals(&self.truth) };
        let progress = Progress::Seen(input, finals);
        let run = measure::run(command, self.events, &progress, Some(&eye), self.broker_id)?;
        judge::touchstone(&self.broker, &output, &self.truth)?;
        Ok(run)
    }
}

/// (least, median, greatest).
fn three(runs: &[(Run, u64)], of: impl Fn(&(Run, u64)) -> f64) -> Option<(f64, f64, f64)> {
    let mut values: Vec<f64> = runs.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    Some((*values.first()?, values[values.len() / 2], *values.last()?))
}

fn table(results: &[(&str, Vec<(Run, u64)>)], events: u64) {
    let shown = |runs: &[(Run, u64)], digits: usize, of: &dyn Fn(&(Run, u64)) -> f64| match three(runs, of) {
        Some((least, median, greatest)) => format!("{least:.digits$} / **{median:.digits$}** / {greatest:.digits$}"),
        None => "-".into(),
    };
    println!();
    println!("{events} events. Least / **median** / greatest of the rounds.");
    println!();
    println!(
        "| who | runs | CPU us an event, from 20 % on | CPU us an event, whole run | events/s | peak memory, MiB | \
        commit gap p50, ms | p99, ms | CPU s before the first progress | broker CPU us an event | bytes written an event |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for (name, runs) in results {
        println!(
            "| {name} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            runs.len(),
            shown(runs, 2, &|(run, _)| run.cpu),
            shown(runs, 2, &|(run, _)| run.cpu_whole),
            shown(runs, 0, &|(run, _)| run.rate),
            shown(runs, 0, &|(run, _)| run.memory),
            shown(runs, 0, &|(run, _)| run.gap.map_or(0.0, |gap| gap.0)),
            shown(runs, 0, &|(run, _)| run.gap.map_or(0.0, |gap| gap.1)),
            shown(runs, 2, &|(run, _)| run.start_cpu),
            shown(runs, 2, &|(run, _)| run.broker_cpu),
            shown(runs, 1, &|(_, written)| *written as f64 / events as f64),
        );
    }
    let cpu = |name: &str| {
        let (_, runs) = results.iter().find(|(known, _)| *known == name)?;
        three(runs, |(run, _)| run.cpu).map(|(_, median, _)| median)
    };
    println!();
    if let (Some(floor), Some(own)) = (cpu("floor-decode"), cpu("touchstone")) {
        println!("touchstone costs {:.2} times the floor", own / floor);
    }
    for (name, _) in results.iter().filter(|(name, _)| name.starts_with("flink") || name.starts_with("streams")) {
        if let (Some(peer), Some(own)) = (cpu(name), cpu("touchstone")) {
            println!("{name} costs {:.1} times touchstone", peer / own);
        }
    }
}
