//! Everything that production brings, one after the other, under steady traffic; then the known answer.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use rdkafka::admin::{AdminOptions, NewPartitions};
use rdkafka::consumer::BaseConsumer;

use crate::cluster::{Cluster, signal};
use crate::feed::{self, Feed};
use crate::process::{self, Service, wait_for};
use crate::setup::{Setup, Shape, block_on};

/// Event time is never late: it runs in order, and silence does not move it, for it is a day old. The lateness is what a
/// partition that is added needs until it is seen, at the pace of the feed.
const INPUT: &str = "lateness = \"2h\"\nout_of_orderness = \"10s\"\nidle_timeout = \"7d\"\nmax_future = \"5m\"";

const TIMING: &str =
    "commit_interval = \"100ms\"\ncheckpoint_interval = \"2s\"\npublish_interval = \"5s\"\nmax_skew = \"4h\"";

const WINDOWS: &str = "[slices]\ngroup_by = [\"all\", \"channel\", \"queue\"]\n[[windows]]\nname = \"1m\"\nsize = \"1m\"\n\
                       [[windows]]\nname = \"15m\"\nsize = \"15m\"\nslide = \"5m\"\n";

/// Events a second.
const RATE: u64 = 500;

/// How long everything may take to be final after the last fault.
const DRAIN: Duration = Duration::from_secs(180);

/// A cluster, processes of the service, and traffic.
pub struct Storm {
    cluster: Cluster,
    setup: Setup,
    services: BTreeMap<String, Service>,
    feed: Feed,
    partitions: i32,
    /// Asks what the input holds.
    probe: BaseConsumer,
}

impl Storm {
    /// So many processes run, and have taken the first events in.
    pub fn begin(name: &str, brokers: usize, processes: usize) -> Result<Storm, Failed> {
        let mut storm = Storm::prepare(name, brokers)?;
        (0..processes).for_each(|index| storm.launch(&format!("process-{index}")));
        storm.go_on("the first events are taken in")?;
        Ok(storm)
    }

    /// The traffic runs, and nobody takes it in yet.
    pub fn prepare(name: &str, brokers: usize) -> Result<Storm, Failed> {
        let cluster = Cluster::start(name, brokers)?;
        let (address, via) = (cluster.address(), cluster.via());
        let replication = i32::try_from(brokers.min(3))?;
        let shape = Shape {
            address: &address,
            via: &via,
            replication,
            partitions: 4,
            timing: TIMING,
            input: INPUT,
            more: WINDOWS,
        };
        let deadline = Instant::now() + Duration::from_secs(60);
        let setup = loop {
            // A controller that was just elected refuses a topic for a moment.
            match Setup::new(&shape) {
                Ok(setup) => break setup,
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_secs(1)),
            }
        };
        let feed = Feed::start(&address, &setup.names["input"], feed::now() - 24 * 3_600_000, RATE);
        let probe = setup.reader("read_uncommitted");
        Ok(Storm { cluster, setup, services: BTreeMap::new(), feed, partitions: 4, probe })
    }

    fn launch(&mut self, name: &str) {
        self.launch_as(name, Path::new(process::PROGRAM), &[]);
    }

    /// Starts a process of another program, or with more variables in its environment.
    pub fn launch_as(&mut self, name: &str, program: &Path, variables: &[(&str, &str)]) {
        let service = Service::start_as(program, &self.setup.config, name, self.setup.directory.path(), variables);
        self.services.insert(name.to_string(), service);
    }

    /// Ends a process in good order.
    pub fn stop(&mut self, name: &str) {
        if let Some(service) = self.services.remove(name) {
            assert!(service.stop(), "{name} ends well at SIGTERM");
        }
    }

    fn kill(&mut self, name: &str) {
        if let Some(service) = self.services.remove(name) {
            service.kill();
        }
    }

    fn taken(&self) -> f64 {
        self.services.values().map(|service| service.sum("touchstone_items_total", "")).sum()
    }

    /// How many records the input holds; `None` while a partition has no leader.
    fn written(&self) -> Option<f64> {
        Some(self.setup.ends(&self.probe, "input").ok()?.iter().sum::<i64>() as f64)
    }

    /// Waits until the traffic goes on, and then until all that it has written is taken in: whatever happened is over.
    pub fn go_on(&self, what: &str) -> Result<(), Failed> {
        let (mut least, mut written) = (None, 0.0);
        wait_for("the traffic goes on", Duration::from_secs(240), || {
            let Some(now) = self.written() else { return false };
            written = now;
            now >= *least.get_or_insert(now + 200.0)
        })?;
        let started = Instant::now();
        wait_for(what, Duration::from_secs(90), || self.taken() >= written)
            .map_err(|error| format!("{error}: {} of {written}\n{}", self.taken(), described(&self.services)))?;
        println!("    {:>5.1} s  {what}", started.elapsed().as_secs_f64());
        Ok(())
    }

    /// Where the processes listen.
    pub fn addresses(&self) -> Vec<String> {
        self.services.values().map(|service| service.address().to_string()).collect()
    }

    /// Tells a process to end.
    pub fn terminate(&self, name: &str) -> Result<(), Failed> {
        signal(&self.services[name].id().to_string(), "TERM")
    }

    /// Waits until every process has sources and merge tasks that are live.
    pub fn shared(&self) -> Result<(), Failed> {
        let live = |service: &Service| {
            let page = service.get("/debug").map(|(_, page)| page).unwrap_or_default();
            let state: serde_json::Value = serde_json::from_str(&page).unwrap_or_default();
            ["sources", "merges"].into_iter().all(|kind| {
                let tasks = state[kind].as_array().cloned().unwrap_or_default();
                !tasks.is_empty() && tasks.iter().all(|task| task["condition"] == "live")
            })
        };
        wait_for("every process has its share", Duration::from_secs(60), || self.services.values().all(live))
            .map_err(|error| format!("{error}\n{}", described(&self.services)).into())
    }

    /// Ends the traffic, closes every window, and compares with `replay`.
    pub fn compare(self) -> Result<(), Failed> {
        let Storm { cluster, setup, services, feed, partitions, .. } = self;
        let (until, written) = feed.end()?;
        let closing = feed::close(&cluster.address(), &setup.names["input"], partitions, until + 5 * 3_600_000)?;
        // A producer that is not transactional may write a record twice when a broker is lost: the topic is what counts.
        let input = setup.read("input");
        let events: BTreeSet<&String> = input.iter().map(|(_, event)| event).collect();
        let sent: BTreeSet<&String> = written.iter().map(|(_, event)| event).chain(&closing).collect();
        assert_eq!(events.len(), sent.len(), "what was sent is in the topic");
        let (produced, copies) = (input.len() as f64, (input.len() - events.len()) as f64);
        let taken =
            |door: &str| -> f64 { services.values().map(|service| service.sum("touchstone_items_total", door)).sum() };
        let bound = touchstone::engine::time::rfc3339(until + 120_000);
        let logs = || described(&services);
        wait_for("everything is taken in and final", DRAIN, || {
            let closed: BTreeSet<i64> = services.values().flat_map(|service| closed(service, &bound)).collect();
            taken("") == produced && closed.len() == 4
        })
        .map_err(|error| {
            format!(
                "{error}: {} of {produced} in the topic, {} sent\n{}",
                taken(""),
                written.len() + closing.len(),
                logs()
            )
        })?;
        let doors =
            ["accepted", "duplicate", "late", "rejected", "skipped"].map(|door| taken(&format!("result=\"{door}\"")));
        assert_eq!(doors, [produced - copies, copies, 0.0, 0.0, 0.0], "the five doors");
        let state = logs();
        for (name, service) in services {
            assert!(service.stop(), "{name} ends well at SIGTERM");
        }
        let finals = setup.finals()?;
        assert_eq!(finals, setup.finals()?, "two reads see the same");
        let replayed = replay(&setup, &written, &closing)?;
        // What the closing events belong to is not final here, and is in the replay.
        let bound = touchstone::engine::time::rfc3339(until + 60_000);
        let end =
            |value: &str| value.split("\"end\":\"").nth(1).and_then(|rest| rest.split('"').next()).map(String::from);
        let closed = |value: &&String| end(value).is_some_and(|end| end <= bound);
        let [mut live, mut replayed] = [finals.into_values().collect::<Vec<_>>(), replayed];
        live.retain(|value| closed(&value));
        replayed.retain(|value| closed(&value));
        live.sort_unstable();
        replayed.sort_unstable();
        if live != replayed || live.len() <= 300 {
            return Err(format!("{}\n{state}", difference(&live, &replayed)).into());
        }
        println!("    {} final records, {produced} items: as replayed, to the byte", live.len());
        Ok(())
    }
}

/// The merge tasks of a process whose every metric set is final up to a time.
fn closed(service: &Service, bound: &str) -> Vec<i64> {
    let page = service.get("/debug").map(|(_, page)| page).unwrap_or_default();
    let state: serde_json::Value = serde_json::from_str(&page).unwrap_or_default();
    let merges = state["merges"].as_array().cloned().unwrap_or_default();
    let is_closed = |merge: &serde_json::Value| {
        let times = merge["times"].as_array().cloned().unwrap_or_default();
        // Seconds are enough, and texts of one length compare.
        let closed =
            |time: &serde_json::Value| time["final_until"].as_str().is_some_and(|until| until[..19] > bound[..19]);
        merge["condition"] == "live"
            && times.iter().all(closed)
            && (!times.is_empty() || merge["owns"] == serde_json::json!([]))
    };
    merges.iter().filter(|merge| is_closed(merge)).filter_map(|merge| merge["partition"].as_i64()).collect()
}

/// What two sorted lists of final records have not in common, in few lines.
fn difference(live: &[String], replayed: &[String]) -> String {
    let only = |these: &[String], those: &[String], whose: &str| {
        let those: BTreeSet<&String> = those.iter().collect();
        let alone: Vec<&String> = these.iter().filter(|record| !those.contains(record)).collect();
        let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
        for record in &alone {
            let record: serde_json::Value = serde_json::from_str(record).unwrap_or_default();
            let kind = [&record["metric_set"], &record["slice"]["by"], &record["window"]["name"]];
            *kinds.entry(kind.map(ToString::to_string).join(" ")).or_default() += 1;
        }
        format!("{} only {whose}: {kinds:?}\nfirst: {:?}\n", alone.len(), alone.first())
    };
    let counts = format!("{} live, {} replayed\n", live.len(), replayed.len());
    counts + &only(live, replayed, "live") + &only(replayed, live, "replayed")
}

/// The logs and the state of every process.
fn described(services: &BTreeMap<String, Service>) -> String {
    let state = |service: &Service| service.get("/debug").map(|(_, page)| page).unwrap_or_default();
    let described =
        |(name, service): (&String, &Service)| format!("--- {name}\n{}\n{}\n", tail(&service.log()), state(service));
    services.iter().map(described).collect()
}

/// The last lines of a log.
fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

fn replay(setup: &Setup, written: &[(String, String)], closing: &[String]) -> Result<Vec<String>, Failed> {
    let file = setup.directory.path().join("written.ndjson");
    let lines: Vec<&str> =
        written.iter().map(|(_, event)| event.as_str()).chain(closing.iter().map(String::as_str)).collect();
    std::fs::write(&file, lines.join("\n"))?;
    let (config, file) = (setup.config.to_string_lossy(), file.to_string_lossy());
    let windows = ["--window", "1m", "15m", "--slice", "all", "channel", "queue"];
    let replayed = process::run(&[&["replay", &file, "--config", &config], &windows[..]].concat());
    if !replayed.status.success() {
        return Err(String::from_utf8_lossy(&replayed.stderr).into_owned().into());
    }
    Ok(String::from_utf8(replayed.stdout)?.lines().map(String::from).collect())
}

/// Kills alone: so many, each at another moment, of any of three processes.
pub fn kills(cycles: usize) -> Result<(), Failed> {
    let mut storm = Storm::begin("kills", 1, 3)?;
    let mut random = 7u64;
    let started = Instant::now();
    for cycle in 0..cycles {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let name = format!("process-{}", (random >> 40) % 3);
        std::thread::sleep(Duration::from_millis(300 + (random >> 33) % 2_500));
        storm.kill(&name);
        std::thread::sleep(Duration::from_millis((random >> 20) % 700));
        storm.launch(&name);
        if cycle % 20 == 19 {
            storm.go_on(&format!("{} kills", cycle + 1))?;
        }
    }
    println!("    {cycles} kills in {:.0} s", started.elapsed().as_secs_f64());
    storm.go_on("the last kill is over")?;
    storm.compare()
}

/// Each fault once.
pub fn everything() -> Result<(), Failed> {
    let mut storm = Storm::begin("storm", 1, 2)?;
    killed_for_good(&mut storm)?;
    paused(&mut storm)?;
    broker_killed(&mut storm)?;
    broker_stopped(&mut storm)?;
    answers_lost(&mut storm)?;
    connections_cut(&mut storm)?;
    rebalances(&mut storm)?;
    partitions_added(&mut storm)?;
    twins(&mut storm)?;
    storm.compare()
}

/// Killed, and another takes its place: what it had open blocks readers until the transaction's time is up.
fn killed_for_good(storm: &mut Storm) -> Result<(), Failed> {
    storm.kill("process-1");
    storm.launch("process-2");
    storm.go_on("kill -9, and a process of another name in its place")
}

/// SIGSTOP for longer than a transaction and a session may take: a zombie wakes up.
fn paused(storm: &mut Storm) -> Result<(), Failed> {
    let id = storm.services["process-0"].id().to_string();
    signal(&id, "STOP")?;
    std::thread::sleep(Duration::from_secs(14));
    signal(&id, "CONT")?;
    storm.go_on("SIGSTOP for 14 s")
}

fn broker_killed(storm: &mut Storm) -> Result<(), Failed> {
    storm.cluster.nodes[0].kill();
    std::thread::sleep(Duration::from_secs(2));
    storm.cluster.nodes[0].launch()?;
    storm.cluster.wait()?;
    storm.go_on("the broker is killed and started again")
}

fn broker_stopped(storm: &mut Storm) -> Result<(), Failed> {
    storm.cluster.nodes[0].signal("STOP")?;
    std::thread::sleep(Duration::from_secs(12));
    storm.cluster.nodes[0].signal("CONT")?;
    storm.go_on("the broker stands still for 12 s")
}

fn answers_lost(storm: &mut Storm) -> Result<(), Failed> {
    let proxy = &storm.cluster.nodes[0].proxy;
    let before = proxy.lost();
    proxy.lose_answers(4);
    wait_for("answers are lost", Duration::from_secs(30), || proxy.lost() >= before + 4)?;
    storm.go_on("four answers to EndTxn are lost")
}

fn connections_cut(storm: &mut Storm) -> Result<(), Failed> {
    for _ in 0..3 {
        assert!(storm.cluster.nodes[0].proxy.cut() > 0);
        std::thread::sleep(Duration::from_millis(700));
    }
    storm.go_on("every connection is cut, three times")
}

fn rebalances(storm: &mut Storm) -> Result<(), Failed> {
    for round in 0..3 {
        storm.launch("guest");
        std::thread::sleep(Duration::from_millis(1_500 + 400 * round));
        storm.stop("guest");
    }
    storm.go_on("a process comes and goes, three times")
}

fn partitions_added(storm: &mut Storm) -> Result<(), Failed> {
    let topic = storm.setup.names["input"].clone();
    storm.partitions = 6;
    let more = [NewPartitions::new(&topic, 6)];
    block_on(storm.setup.admin().create_partitions(&more, &AdminOptions::new()))?;
    let live = || -> f64 {
        storm.services.values().map(|service| service.sum("touchstone_source_phase", "phase=\"live\"")).sum()
    };
    wait_for("the new partitions are taken in", Duration::from_secs(90), || live() >= 6.0)
        .map_err(|error| format!("{error}: {}\n{}", live(), described(&storm.services)))?;
    storm.go_on("two partitions are added")
}

/// Two processes of one name: one of them ends, and says so with its exit code.
fn twins(storm: &mut Storm) -> Result<(), Failed> {
    let mut twin = storm.setup.start("process-0");
    let mut first = storm.services.remove("process-0").expect("it runs");
    let (mut of_twin, mut of_first) = (None, None);
    wait_for("one of the twins ends", Duration::from_secs(120), || {
        of_twin = twin.ended();
        of_first = first.ended();
        of_twin.or(of_first).is_some()
    })?;
    assert_eq!(of_twin.or(of_first), Some(4), "{}\n{}", tail(&twin.log()), tail(&first.log()));
    storm.services.insert("process-0".into(), if of_twin.is_some() { first } else { twin });
    storm.go_on("two processes of one name: one ended with exit code 4")
}

/// Three brokers, everything written to two of them at least: one is lost, and comes back.
pub fn three_brokers() -> Result<(), Failed> {
    let mut storm = Storm::begin("three", 3, 2)?;
    storm.cluster.nodes[1].kill();
    storm.go_on("one of three brokers is lost")?;
    storm.kill("process-0");
    storm.launch("process-0");
    storm.go_on("a process is killed meanwhile")?;
    storm.cluster.nodes[1].launch()?;
    storm.cluster.wait()?;
    storm.go_on("the broker is back")?;
    storm.compare()
}
