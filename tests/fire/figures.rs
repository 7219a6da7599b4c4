//! Figures of restarts and of a long backlog, each measured on a real Kafka.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use touchstone::touchpoint::{Dimension, Outcome};

use crate::cluster::Cluster;
use crate::events::{self, json};
use crate::feed::now;
use crate::process::{Service, wait_for};
use crate::setup::{Setup, Shape};
use crate::storm::Storm;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// Partitions of the input.
const PARTITIONS: i32 = 4;

/// Writes to partitions of our choice.
pub struct Writer<'a> {
    producer: ThreadedProducer<DefaultProducerContext>,
    topic: &'a str,
    bytes: std::cell::Cell<usize>,
}

impl Writer<'_> {
    pub fn new(setup: &Setup) -> Result<Writer<'_>, Failed> {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", &setup.address)
            .set("enable.idempotence", "true")
            .set("linger.ms", "20")
            .create()?;
        Ok(Writer { producer, topic: &setup.names["input"], bytes: std::cell::Cell::new(0) })
    }

    /// An answered contact of a queue.
    pub fn contact(&self, partition: i32, id: &str, time: i64, queue: &str) -> Result<(), Failed> {
        let mut event = events::contact(Outcome::Answered);
        (event.id, event.time) = (id.to_owned().into(), time);
        event.contact_id = Some(id.to_owned().into());
        event.queue_wait_ms = Some(1_000 + time % 60_000);
        event.dimensions.values[Dimension::Queue as usize] = Some(queue.to_owned().into());
        let event = json(&event);
        self.bytes.set(self.bytes.get() + event.len());
        let mut record = BaseRecord::to(self.topic).partition(partition).key("k").payload(&event);
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    thread::sleep(Duration::from_millis(5));
                }
                Err((error, _)) => return Err(error.to_string().into()),
            }
        }
    }

    /// How many bytes were written, without what Kafka adds.
    pub fn bytes(&self) -> usize {
        self.bytes.get()
    }

    pub fn flush(&self) -> Result<(), Failed> {
        Ok(self.producer.flush(Duration::from_secs(60))?)
    }
}

/// The state of a process as `/debug` tells it.
fn state(service: &Service) -> serde_json::Value {
    let page = service.get("/debug").map(|(_, page)| page).unwrap_or_default();
    serde_json::from_str(&page).unwrap_or_default()
}

/// How long a process that holds so many panes takes to restore them, and to say something new.
pub fn restore(cells: usize) -> Result<(), Failed> {
    const QUEUES: usize = 4_000;
    let cluster = Cluster::start("restore", 1)?;
    let address = cluster.address();
    let setup = Setup::new(&Shape {
        address: &address,
        via: &address,
        replication: 1,
        partitions: PARTITIONS,
        timing: "checkpoint_interval = \"2s\"\nmax_skew = \"7d\"\npublish_interval = \"1s\"",
        // Nothing is final, so that every pane is held.
        input: "lateness = \"4d\"\nidle_timeout = \"7d\"\nmax_future = \"5m\"",
        more: "[slices]\ngroup_by = [\"all\", \"queue\"]\nvalues_max = 10000\n[[windows]]\nname = \"1m\"\nsize = \"1m\"\n\
               [[windows]]\nname = \"15m\"\nsize = \"15m\"\nslide = \"5m\"\n",
    })?;
    let writer = Writer::new(&setup)?;
    let begin = now() / DAY * DAY - DAY;
    let mut service = setup.start("one");
    let mut number = 0;
    let held = |service: &Service| service.sum("touchstone_cells", "");
    while held(&service) < cells as f64 {
        let until = number + 8_000;
        while number < until {
            let minute = begin + (number / QUEUES) as i64 * MINUTE;
            let queue = format!("queue-{}", number % QUEUES);
            writer.contact((number % 4) as i32, &format!("c-{number}"), minute + 1, &queue)?;
            number += 1;
        }
        writer.flush()?;
        wait_for("they are taken in", Duration::from_secs(120), || {
            service.sum("touchstone_items_total", "") >= number as f64
        })?;
        thread::sleep(Duration::from_millis(1_500)); // the page is made once a second
    }
    thread::sleep(Duration::from_secs(6)); // a checkpoint
    for (how, orderly) in [("SIGTERM", true), ("kill -9", false)] {
        let before = held(&service);
        if orderly {
            assert!(service.stop(), "it ends well at SIGTERM");
        } else {
            service.kill();
        }
        let stable = setup.reader("read_committed");
        let end = || setup.ends(&stable, "aggregates").map_or(0, |ends| ends.iter().sum::<i64>());
        let published = end();
        let again = number;
        for partition in 0..PARTITIONS {
            number += 1;
            writer.contact(partition, &format!("after-{again}-{partition}"), begin + DAY / 2, "queue-0")?;
        }
        writer.flush()?;
        let started = Instant::now();
        service = setup.start("one");
        let (mut restoring, mut live) = (None, None);
        wait_for("it is live", Duration::from_secs(180), || {
            let state = state(&service);
            let merges = state["merges"].as_array().cloned().unwrap_or_default();
            if restoring.is_none() && merges.iter().any(|merge| merge["condition"] != "live") {
                restoring = Some(Instant::now());
            }
            if merges.len() == 4 && merges.iter().all(|merge| merge["condition"] == "live") {
                live = Some(Instant::now());
            }
            live.is_some()
        })?;
        let (Some(restoring), Some(live)) = (restoring, live) else {
            return Err("its restore was not seen".into());
        };
        wait_for("it says something new", Duration::from_secs(60), || end() > published)?;
        let fresh = started.elapsed();
        thread::sleep(Duration::from_secs(2));
        println!(
            "    {how}: {before} panes, {} after; restored in {:.1} s; first fresh output {:.1} s after the start",
            held(&service),
            (live - restoring).as_secs_f64(),
            fresh.as_secs_f64()
        );
    }
    Ok(())
}

/// Three processes are restarted one after the other: how long each partition stands still.
pub fn rolling(rounds: usize) -> Result<(), Failed> {
    let mut storm = Storm::begin("rolling", 1, 3)?;
    storm.shared()?;
    for round in 0..rounds {
        for index in 0..3 {
            let name = format!("process-{index}");
            let running = AtomicBool::new(true);
            let pauses = thread::scope(|scope| -> Result<BTreeMap<i64, f64>, Failed> {
                let watching = scope.spawn(|| watch(&storm.addresses(), &running));
                thread::sleep(Duration::from_secs(2));
                storm.terminate(&name)?;
                thread::sleep(Duration::from_secs(4));
                running.store(false, Ordering::SeqCst);
                watching.join().map_err(|_| "the watch panicked".into())
            })?;
            println!("    round {round}, {name} leaves: longest pauses {pauses:.2?}");
            storm.stop(&name);
            storm.launch_as(&name, std::path::Path::new(crate::process::PROGRAM), &[]);
            let running = AtomicBool::new(true);
            let joined = Instant::now();
            let pauses = thread::scope(|scope| -> Result<BTreeMap<i64, f64>, Failed> {
                let watching = scope.spawn(|| watch(&storm.addresses(), &running));
                let shared = storm.shared();
                let took = joined.elapsed();
                thread::sleep(Duration::from_secs(2));
                running.store(false, Ordering::SeqCst);
                shared?;
                println!("    {name} has its share {:.1} s after its start", took.as_secs_f64());
                watching.join().map_err(|_| "the watch panicked".into())
            })?;
            println!("    round {round}, {name} joins: longest pauses {pauses:.2?}");
        }
    }
    storm.compare()
}

/// Per partition the longest time in s during which its committed offset, as any process tells it, did not move.
fn watch(addresses: &[String], running: &AtomicBool) -> BTreeMap<i64, f64> {
    let mut moved: BTreeMap<i64, (i64, Instant)> = BTreeMap::new();
    let mut pauses: BTreeMap<i64, f64> = BTreeMap::new();
    while running.load(Ordering::SeqCst) {
        for address in addresses {
            let page = crate::process::ask(address, "/debug").map(|(_, page)| page).unwrap_or_default();
            let state: serde_json::Value = serde_json::from_str(&page).unwrap_or_default();
            for source in state["sources"].as_array().into_iter().flatten() {
                let (Some(partition), Some(offset)) = (source["partition"].as_i64(), source["offset"].as_i64()) else {
                    continue;
                };
                let (last, at) = moved.entry(partition).or_insert((offset, Instant::now()));
                if offset > *last {
                    let pause = pauses.entry(partition).or_default();
                    *pause = pause.max(at.elapsed().as_secs_f64());
                    (*last, *at) = (offset, Instant::now());
                }
            }
        }
        thread::sleep(Duration::from_millis(20));
    }
    for (partition, (_, at)) in moved {
        let pause = pauses.entry(partition).or_default();
        *pause = pause.max(at.elapsed().as_secs_f64());
    }
    pauses
}

/// So many days of backlog, one partition with ten times what the others have: the most memory, beside what `check`
/// says it may be, with the bound on how far sources run ahead and without.
pub fn backlog(days: usize) -> Result<(), Failed> {
    const EACH: usize = 60_000;
    const QUEUES: usize = 200;
    for skew in ["1h", "30d"] {
        let cluster = Cluster::start("backlog", 1)?;
        let address = cluster.address();
        let setup = Setup::new(&Shape {
            address: &address,
            via: &address,
            replication: 1,
            partitions: PARTITIONS,
            timing: &format!("max_skew = \"{skew}\""),
            input: "lateness = \"10m\"\nidle_timeout = \"7d\"\nmax_future = \"5m\"\ndedup_ids_max = 100000",
            more: "[slices]\ngroup_by = [\"all\", \"queue\"]\nvalues_max = 200\n[[windows]]\nname = \"1m\"\nsize = \"1m\"\n\
                   [[windows]]\nname = \"1h\"\nsize = \"1h\"\nslide = \"5m\"\n",
        })?;
        let writer = Writer::new(&setup)?;
        let span = days as i64 * DAY;
        let begin = now() / HOUR * HOUR - span - HOUR;
        for number in 0..10 * EACH {
            for partition in 0..PARTITIONS {
                if partition > 0 && !number.is_multiple_of(10) {
                    continue;
                }
                let time = begin + span * number as i64 / (10 * EACH) as i64;
                let queue = format!("queue-{}", (number / 3) % QUEUES);
                writer.contact(partition, &format!("{partition}-{number}"), time, &queue)?;
            }
        }
        writer.flush()?;
        let bound = formula(&setup.command(&["check"])?)?;
        let count = (13 * EACH) as f64;
        let started = Instant::now();
        let service = setup.start("one");
        let taken = || service.sum("touchstone_items_total", "");
        wait_for("the backlog is taken in", Duration::from_secs(900), || {
            thread::sleep(Duration::from_millis(200));
            taken() >= count
        })
        .map_err(|error| format!("{error}: {}\n{}", taken(), service.log()))?;
        let status = std::fs::read_to_string(format!("/proc/{}/status", service.id()))?;
        let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
        let most: f64 = most.trim().trim_end_matches(" kB").parse()?;
        println!(
            "    max_skew {skew}: {count} items of {days} days in {:.0} s, at most {:.0} MiB; the formula of `check`: {bound:.0} MiB",
            started.elapsed().as_secs_f64(),
            most / 1024.0
        );
        if skew == "1h" {
            assert!(most / 1024.0 <= bound, "more memory than `check` says");
        }
    }
    Ok(())
}

/// What `check` says a process that reads every partition may take, in MiB.
fn formula(check: &str) -> Result<f64, Failed> {
    let mut sum = 0.0;
    let lines = check.lines().skip_while(|line| !line.starts_with("# Memory")).skip(1);
    for line in lines.take_while(|line| line.starts_with("#   ")) {
        let (what, rest) = line[4..].split_once(": ").ok_or("no colon")?;
        let number = |text: &str| text.split(' ').next().unwrap_or_default().trim_end_matches(',').parse::<f64>();
        let each = number(rest)?;
        let times = match what.split(' ').next() {
            Some("workers" | "open") => 2.0,
            Some("input") => f64::from(PARTITIONS),
            Some("slices") => number(rest.split("at most ").nth(1).ok_or("no bound")?)?,
            _ => 1.0,
        };
        sum += each * times;
    }
    Ok(sum)
}
