//! How old a number is: from an event that was appended until it is counted on /metrics, and until a consumer of
//! committed records sees it in the output, while a steady load runs beside it.
//!
//! ```text
//! cargo bench --bench latency                                     every rate with every commit interval
//! cargo bench --bench latency -- --rates 1000 --intervals 250ms --seconds 20
//! ```
//!
//! Probes are contacts of a channel of their own, one every tenth of a second and acknowledged by Kafka before their time
//! runs. On /metrics a probe is seen when the channel's counter has risen to its number; in the output when a current
//! window of the channel counts it, with `publish_interval` = 100 ms. Both are looked at every 5 ms: so much too late a
//! figure may be.

#![expect(clippy::unwrap_used, reason = "a benchmark that meets the unexpected ends there")]

#[allow(dead_code, reason = "the integration tests use the rest")]
#[path = "../tests/integration/broker.rs"]
mod broker;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use touchstone::engine::time::rfc3339;

const TOUCHSTONE: &str = env!("CARGO_BIN_EXE_touchstone");

/// Between two probes, and between two looks.
const PROBES: Duration = Duration::from_millis(100);
const LOOK: Duration = Duration::from_millis(5);

/// Seconds before the first probe: partitions are joined, and time flows.
const WARM: u64 = 12;

/// Probes that were sent, and when.
type Sent = Arc<Mutex<Vec<Instant>>>;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let value = |name: &str, default: &str| {
        let place = arguments.iter().position(|argument| argument == name);
        place.and_then(|place| arguments.get(place + 1)).map_or(default.to_string(), String::clone)
    };
    let mut kafka = broker::Broker::new("latency-kafka").unwrap();
    // As it comes: the default collector, and a heap of the usual size.
    kafka.java = "-Xmx1g -Xms1g";
    let address = format!("127.0.0.1:{}", kafka.port);
    kafka.start("", &[]).unwrap();
    let seconds: u64 = value("--seconds", "40").parse().unwrap();
    println!("| events/s | commit interval | seen on | p50, ms | p99, ms | p99.9, ms | most, ms | probes |");
    println!("|---|---|---|---|---|---|---|---|");
    for rate in value("--rates", "1000,50000").split(',') {
        for interval in value("--intervals", "100ms,250ms,1s").split(',') {
            let run = Run::start(&address, rate.parse().unwrap(), interval);
            let (pages, outputs) = run.measure(Duration::from_secs(seconds));
            assert!(
                !pages.is_empty() && !outputs.is_empty(),
                "no probe was seen:\n{}",
                page(run.port).unwrap_or_default()
            );
            for (place, mut waits) in [("/metrics", pages), ("the output", outputs)] {
                waits.sort_by(f64::total_cmp);
                let at = |share: f64| waits[((waits.len() as f64 * share).ceil() as usize).clamp(1, waits.len()) - 1];
                let [p50, p99, p999, most] = [0.5, 0.99, 0.999, 1.0].map(at);
                println!(
                    "| {rate} | {interval} | {place} | {p50:.0} | {p99:.0} | {p999:.0} | {most:.0} | {} |",
                    waits.len()
                );
            }
        }
    }
    broker::stop();
}

/// A service under load.
struct Run {
    address: String,
    topic: String,
    output: String,
    rate: u64,
    service: Child,
    port: u16,
    _work: tempfile::TempDir,
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.service.kill();
        let _ = self.service.wait();
    }
}

impl Run {
    fn start(address: &str, rate: u64, interval: &str) -> Run {
        let name = format!("latency-{rate}-{interval}");
        let work = tempfile::tempdir().unwrap();
        let config = work.path().join("touchstone.toml");
        let port = free_port();
        let text = format!(
            r#"
            [service]
            application = "{name}"
            instance = "one"
            [kafka]
            bootstrap_servers = "{address}"
            [topics]
            aggregates = "{name}.aggregates"
            late = "{name}.late"
            dead_letter = "{name}.dead-letter"
            deltas = "{name}.deltas"
            changelog = "{name}.changelog"
            deltas_partitions = 16
            replication_factor = 1
            [[input]]
            name = "calls"
            topic = "{name}.calls"
            out_of_orderness = "1s"
            idle_timeout = "5s"
            [[windows]]
            name = "15m"
            size = "15m"
            slide = "1m"
            show = "open"
            [slices]
            group_by = ["all", "channel", "queue"]
            [export]
            listen = "127.0.0.1:{port}"
            wide = ["15m"]
            narrow = ["15m"]
            [timing]
            commit_interval = "{interval}"
            publish_interval = "100ms"
            [log]
            level = "warn"
            "#
        );
        std::fs::write(&config, text).unwrap();
        let topic = format!("{name}.calls");
        make(address, &topic, 12);
        let made = command(&config, &["topics", "--create"]).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let service = command(&config, &["run"]).stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let output = format!("{name}.aggregates");
        Run { address: address.to_string(), topic, output, rate, service, port, _work: work }
    }

    /// How long it took until each probe was seen, in ms: on the page, and in the output.
    fn measure(&self, time: Duration) -> (Vec<f64>, Vec<f64>) {
        let ended = Arc::new(AtomicBool::new(false));
        let sent = Sent::default();
        thread::scope(|scope| {
            scope.spawn(|| self.load(&ended));
            let pages = scope.spawn(|| self.watch_page(&sent, &ended));
            let outputs = scope.spawn(|| self.watch_output(&sent, &ended));
            thread::sleep(Duration::from_secs(WARM));
            self.probe(time, &sent);
            // The last ones are still on their way.
            thread::sleep(Duration::from_secs(5));
            ended.store(true, Ordering::Relaxed);
            (pages.join().unwrap(), outputs.join().unwrap())
        })
    }

    fn producer(&self) -> BaseProducer {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.address).set("compression.type", "lz4").set("linger.ms", "2");
        config.create().unwrap()
    }

    /// Events of now, evenly, over 50 queues and all partitions.
    fn load(&self, ended: &AtomicBool) {
        let producer = self.producer();
        let begun = Instant::now();
        let mut number = 0u64;
        while !ended.load(Ordering::Relaxed) {
            let due = (begun.elapsed().as_secs_f64() * self.rate as f64) as u64;
            while number < due {
                let event = contact(&format!("load-{number}"), "voice", &format!("queue-{}", number % 50));
                let record = BaseRecord::<(), str>::to(&self.topic).payload(&event).partition((number % 12) as i32);
                match producer.send(record) {
                    Ok(()) => number += 1,
                    Err(_) => break,
                }
            }
            producer.poll(Duration::from_millis(2));
        }
    }

    fn probe(&self, time: Duration, sent: &Sent) {
        let producer = self.producer();
        let begun = Instant::now();
        let mut number = 0usize;
        while begun.elapsed() < time {
            let event = contact(&format!("probe-{number}"), "probes", "probes");
            let record = BaseRecord::<(), str>::to(&self.topic).payload(&event).partition((number % 12) as i32);
            producer.send(record).map_err(|(error, _)| error).unwrap();
            producer.flush(Duration::from_secs(10)).unwrap();
            sent.lock().unwrap().push(Instant::now());
            number += 1;
            thread::sleep((PROBES * number as u32).saturating_sub(begun.elapsed()));
        }
    }

    fn watch_page(&self, sent: &Sent, ended: &AtomicBool) -> Vec<f64> {
        let mut waits = Vec::new();
        while !ended.load(Ordering::Relaxed) {
            let shown = page(self.port).map_or(0, |page| counter(&page));
            note(sent, &mut waits, shown);
            thread::sleep(LOOK);
        }
        waits
    }

    fn watch_output(&self, sent: &Sent, ended: &AtomicBool) -> Vec<f64> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.address)
            .set("group.id", "latency")
            .set("isolation.level", "read_committed")
            .set("fetch.wait.max.ms", "10")
            .set("auto.offset.reset", "earliest");
        let consumer: BaseConsumer = config.create().unwrap();
        consumer.subscribe(&[&self.output]).unwrap();
        let (mut waits, mut windows) = (Vec::new(), BTreeMap::new());
        while !ended.load(Ordering::Relaxed) {
            let Some(Ok(record)) = consumer.poll(LOOK) else { continue };
            let key = String::from_utf8_lossy(record.key().unwrap_or_default()).into_owned();
            if !key.starts_with("contacts|") || !key.ends_with("|channel|probes") {
                continue;
            }
            let value: serde_json::Value = serde_json::from_slice(record.payload().unwrap()).unwrap();
            let offered = value["counts"]["offered"].as_u64().unwrap() as usize;
            // The window that began first holds every probe; those that began later hold fewer.
            windows.insert(key, offered);
            note(sent, &mut waits, windows.values().copied().max().unwrap_or(0));
        }
        waits
    }
}

/// Takes down how long those took that are seen for the first time, of the first `shown`.
fn note(sent: &Sent, waits: &mut Vec<f64>, shown: usize) {
    let now = Instant::now();
    let sent = sent.lock().unwrap();
    let new = sent.iter().take(shown).skip(waits.len());
    waits.extend(new.map(|at| now.duration_since(*at).as_secs_f64() * 1e3));
}

fn contact(id: &str, channel: &str, queue: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    format!(
        concat!(
            r#"{{"specversion":"1.0","id":"{id}","source":"/latency","type":"cx.contact.ended.v1","time":"{time}","#,
            r#""datacontenttype":"application/json","data":{{"channel":"{channel}","queue":"{queue}","contact_id":"{id}","#,
            r#""direction":"inbound","outcome":"answered","queue_wait_seconds":12.5,"talk_seconds":61,"resolved":true}}}}"#
        ),
        id = id,
        time = rfc3339(now),
        channel = channel,
        queue = queue,
    )
}

fn command(config: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(TOUCHSTONE);
    command.args(arguments).arg("--config").arg(config);
    command
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn page(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

/// The probes that the page counts.
fn counter(page: &str) -> usize {
    let of_probes =
        |line: &&str| line.starts_with("cx_contacts_offered_total{") && line.contains(r#"channel="probes""#);
    let value = |line: &str| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
    page.lines().find(of_probes).and_then(value).unwrap_or(0.0) as usize
}

fn make(address: &str, topic: &str, partitions: i32) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", address).create().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let wanted = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    let made = runtime.block_on(admin.create_topics([&wanted], &AdminOptions::new())).unwrap();
    made.into_iter().for_each(|made| _ = made.unwrap());
}
