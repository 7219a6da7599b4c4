//! What a service bears besides its load: slow readers, a broker that throttles, many scrapes, uneven traffic. What it
//! takes in a second is printed beside that of the same service unstrained; it must take everything, never stand still,
//! halt nothing, and show on its page how far it is behind.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::TopicPartitionList;

use crate::broker::jars;
use crate::cluster::Cluster;
use crate::feed::now;
use crate::figures::Writer;
use crate::process::{self, Service};
use crate::setup::{Setup, Shape};

const PARTITIONS: i32 = 4;
const QUEUES: usize = 100;

/// The longest that nothing may be taken in while there is something to take.
const STANDSTILL: Duration = Duration::from_secs(10);

/// What a client may read and write in a second where the broker throttles, bytes.
const QUOTA: u64 = 4_000_000;

/// A strain: its name, which partition and queue an item goes to, and what happens beside.
struct Strain {
    name: &'static str,
    place: fn(usize) -> (i32, usize),
    beside: fn(&Setup, &Service, &AtomicBool),
    throttled: bool,
}

const EVEN: fn(usize) -> (i32, usize) = |number| ((number % 4) as i32, number / 4 % QUEUES);

const STRAINS: [Strain; 8] = [
    Strain { name: "none", place: EVEN, beside: |_, _, _| (), throttled: false },
    Strain {
        name: "a reader of the output that takes ten records a second",
        place: EVEN,
        beside: read_slowly,
        throttled: false,
    },
    Strain { name: "ten scrapes a second", place: EVEN, beside: scrape, throttled: false },
    Strain { name: "an open page", place: EVEN, beside: |_, service, ended| look(1, service, ended), throttled: false },
    Strain {
        name: "200 open pages",
        place: EVEN,
        beside: |_, service, ended| look(200, service, ended),
        throttled: false,
    },
    Strain {
        name: "nine tenths in one partition",
        place: |number| (if number % 10 == 0 { 1 + (number / 10 % 3) as i32 } else { 0 }, number % QUEUES),
        beside: |_, _, _| (),
        throttled: false,
    },
    Strain {
        name: "99 of 100 in one queue",
        place: |number| ((number % 4) as i32, if number % 100 == 0 { 1 + number / 100 % (QUEUES - 1) } else { 0 }),
        beside: |_, _, _| (),
        throttled: false,
    },
    Strain {
        name: "a broker that lets a client have 4 MB a second",
        place: EVEN,
        beside: |_, _, _| (),
        throttled: true,
    },
];

/// Every strain, with so many items each.
pub fn all(items: usize) -> Result<(), Failed> {
    let mut plain = None;
    for strain in &STRAINS {
        let cluster = Cluster::start("strain", 1)?;
        let address = cluster.address();
        let setup = Setup::new(&Shape {
            address: &address,
            via: &address,
            replication: 1,
            partitions: PARTITIONS,
            timing: "",
            input: "idle_timeout = \"7d\"\nmax_future = \"5m\"",
            more: "[slices]\ngroup_by = [\"all\", \"channel\", \"queue\"]\n",
        })?;
        let bytes = fill(&setup, strain, items)?;
        if strain.throttled {
            throttle(&address)?;
        }
        let rate = take(&setup, strain, items)?;
        let share = rate / *plain.get_or_insert(rate);
        let limit = if strain.throttled {
            format!("; the quota is {:.0} a second", QUOTA as f64 / bytes)
        } else {
            String::new()
        };
        println!("    {}: {rate:.0} items a second, {share:.2} of the plain one{limit}", strain.name);
    }
    Ok(())
}

/// Writes the items, an hour of event time that has passed; bytes of each on average.
fn fill(setup: &Setup, strain: &Strain, items: usize) -> Result<f64, Failed> {
    let writer = Writer::new(setup)?;
    let begin = now() - 3_600_000;
    for number in 0..items {
        let (partition, queue) = (strain.place)(number);
        let time = begin + (3_000_000 * number / items) as i64;
        writer.contact(partition, &format!("c-{number}"), time, &format!("queue-{queue}"))?;
    }
    writer.flush()?;
    Ok(writer.bytes() as f64 / items as f64)
}

/// Lets the service take the items in: how many a second, from the first tenth on.
fn take(setup: &Setup, strain: &Strain, items: usize) -> Result<f64, Failed> {
    let service = setup.start("one");
    let ended = AtomicBool::new(false);
    let outcome = thread::scope(|scope| {
        scope.spawn(|| (strain.beside)(setup, &service, &ended));
        let outcome = watch(&service, items);
        ended.store(true, Ordering::Relaxed);
        outcome
    });
    let rate = outcome.map_err(|error| format!("{}: {error}\n{}", strain.name, service.log()))?;
    assert_eq!(service.sum("touchstone_task_halted", ""), 0.0, "{}: something is halted", strain.name);
    Ok(rate)
}

fn watch(service: &Service, items: usize) -> Result<f64, String> {
    let (mut since, mut last, mut moved) = (None, 0.0, Instant::now());
    let (mut begun, mut was_behind) = (false, false);
    loop {
        thread::sleep(Duration::from_millis(100));
        let taken = service.sum("touchstone_items_total", "");
        was_behind |= service.sum("touchstone_consumer_lag", "") > 0.0;
        if taken > last {
            (last, moved, begun) = (taken, Instant::now(), true);
        }
        // Before the first item it joins its groups.
        let patience = if begun { STANDSTILL } else { 6 * STANDSTILL };
        if moved.elapsed() > patience {
            return Err(format!("nothing was taken in for {patience:?}, after {taken} items"));
        }
        if taken >= items as f64 / 10.0 && since.is_none() {
            since = Some((Instant::now(), taken));
        }
        if taken >= items as f64 {
            let (at, from) = since.ok_or("all at once")?;
            if !was_behind {
                return Err("it never said that it is behind".into());
            }
            return Ok((taken - from) / at.elapsed().as_secs_f64());
        }
    }
}

fn read_slowly(setup: &Setup, _: &Service, ended: &AtomicBool) {
    let consumer: BaseConsumer = setup.reader("read_committed");
    let mut partitions = TopicPartitionList::new();
    for partition in 0..4 {
        partitions.add_partition(&setup.names["aggregates"], partition);
    }
    consumer.assign(&partitions).unwrap();
    while !ended.load(Ordering::Relaxed) {
        let _ = consumer.poll(Duration::from_millis(100));
        thread::sleep(Duration::from_millis(100));
    }
}

/// Ten Prometheus servers, each of which asks once a second.
fn scrape(_: &Setup, service: &Service, ended: &AtomicBool) {
    thread::scope(|scope| {
        for server in 0..10 {
            scope.spawn(move || {
                thread::sleep(Duration::from_millis(100 * server));
                while !ended.load(Ordering::Relaxed) {
                    let _ = process::ask(service.address(), "/metrics");
                    thread::sleep(Duration::from_secs(1));
                }
            });
        }
    });
}

/// So many pages of the board, open as a browser holds them open: half of them the overview, half of a queue each.
fn look(pages: usize, service: &Service, ended: &AtomicBool) {
    let (renewals, address) = (AtomicUsize::new(0), service.address());
    thread::scope(|scope| {
        for page in 0..pages {
            let renewals = &renewals;
            scope.spawn(move || {
                let of_queue = format!("/live?page=queue&channel=voice&queue=queue-{}", page % QUEUES);
                let path = if page % 2 == 0 { "/live" } else { &of_queue };
                while !ended.load(Ordering::Relaxed) {
                    let Ok(mut stream) = TcpStream::connect(address) else { continue };
                    let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
                    let _ = write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\n\r\n");
                    for line in BufReader::new(stream).lines().map_while(Result::ok) {
                        renewals.fetch_add(usize::from(line.starts_with("event: ")), Ordering::Relaxed);
                        if ended.load(Ordering::Relaxed) {
                            break;
                        }
                    }
                }
            });
        }
    });
    let renewals = renewals.into_inner();
    println!("    {pages} pages were renewed {renewals} times");
    assert!(renewals > 3 * pages, "the pages were not served");
}

/// Gives every client a quota, as an administrator does.
fn throttle(address: &str) -> Result<(), Failed> {
    let output = Command::new("java")
        .args(["-cp", &format!("{}/*", jars()?.display()), "kafka.admin.ConfigCommand", "--bootstrap-server", address])
        .args(["--alter", "--entity-type", "clients", "--entity-default", "--add-config"])
        .arg(format!("consumer_byte_rate={QUOTA},producer_byte_rate={QUOTA}"))
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)).into())
}
