//! Limits on a real Kafka and over real sockets: records at the very limit of their topic, and clients that mean harm.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use rdkafka::Message;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, Headers, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use touchstone::engine::time::rfc3339;

use crate::broker;
use crate::locked::{PATIENCE, Setup, taken};
use crate::planted::CUSTOMER;
use crate::process::{self, Service, wait_for};

pub fn tests() -> Vec<Trial> {
    vec![
        Trial::test("limits::records_at_the_limit_of_their_topic", at_the_limit)
            .with_ignored_flag(broker::is_left_out()),
        Trial::test("limits::a_thousand_connections_disturb_nothing", a_thousand_connections),
    ]
}

/// Bytes that no compression makes small.
fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    (0..bytes).map(|_| next()).collect()
}

/// Key, one header, value.
type Sizes = (usize, usize, usize);

/// Every record leaves through one door, whatever of it is large; what is too large for our topics is cut and marked.
fn at_the_limit() -> Result<(), Failed> {
    let setup = Setup::with_input(4_000_000)?;
    let config = setup.config("plain", &setup.locked.plain, "");
    // A small limit for values: our own topics must take whole batches of letters all the same.
    let text = std::fs::read_to_string(&config)?.replace("[[input]]", "[[input]]\nrecord_bytes_max = 1024");
    std::fs::write(&config, text)?;
    let made = process::run(&["topics", "--create", "--config", &config.to_string_lossy()]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));

    let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
        .set("bootstrap.servers", &setup.locked.plain)
        .set("message.max.bytes", "4000000")
        .set("batch.num.messages", "500")
        .create()?;
    let topic = &setup.names["input"];
    let mut sizes: Vec<Sizes> = vec![
        (10, 0, 1_048_400),
        (10, 1_048_300, 10),
        (1_048_300, 0, 10),
        (0, 0, 0),
        (3_900_000, 0, 10),
        (10, 3_900_000, 10),
        (10, 0, 3_900_000),
        (1_300_000, 1_300_000, 1_300_000),
    ];
    sizes.extend((0..3_000).map(|_| (10, 0, 900)));
    for (number, (key, header, value)) in sizes.iter().enumerate() {
        let seed = number as u64 * 3;
        let (key, header, value) = (noise(*key, seed), noise(*header, seed + 1), noise(*value, seed + 2));
        let headers = OwnedHeaders::new().insert(Header { key: "big", value: Some(&header) });
        let mut record =
            BaseRecord::to(topic).key(&key).payload(&value).headers(headers).partition((number % 2) as i32);
        while let Err((_, back)) = producer.send(record) {
            record = back;
            producer.flush(Duration::from_secs(1)).unwrap_or(());
        }
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis() as i64;
    for partition in 0..2 {
        let event = format!(
            "{{\"specversion\":\"1.0\",\"id\":\"{partition}\",\"source\":\"/s\",\"type\":\"cx.interaction.v1\",\"time\":\"{}\",\
             \"data\":{{\"kind\":\"visit\",\"customer_id\":\"{CUSTOMER}\"}}}}",
            rfc3339(now)
        );
        producer.send(BaseRecord::to(topic).key(CUSTOMER).payload(&event).partition(partition)).map_err(|(e, _)| e)?;
    }
    producer.flush(PATIENCE)?;

    let service = Service::start(&config, "limits", setup.directory.path());
    taken(&service, sizes.len() + 2)?;
    assert_eq!(service.sum("touchstone_items_total", "result=\"accepted\""), 2.0, "what lies behind them is taken");
    assert_eq!(service.sum("touchstone_items_total", "result=\"rejected\""), sizes.len() as f64);
    assert!(service.stop());

    let letters = letters(&setup, sizes.len())?;
    let mut cut: BTreeMap<String, usize> = BTreeMap::new();
    for (bytes, marks) in letters {
        assert!(bytes <= 1_048_576 + 65_536, "{bytes}");
        *cut.entry(marks).or_insert(0) += 1;
    }
    let expected = [("", 3_004), ("_key", 1), ("_headers", 1), (".", 1), ("._key_headers", 1)];
    assert_eq!(cut, expected.map(|(marks, count)| (marks.to_string(), count)).into());
    Ok(())
}

/// Of each dead letter: how large it is, and what was cut.
fn letters(setup: &Setup, count: usize) -> Result<Vec<(usize, String)>, Failed> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &setup.locked.plain)
        .set("group.id", "letters")
        .set("isolation.level", "read_committed")
        .create()?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&setup.names["dead_letter"], 0, Offset::Beginning)?;
    consumer.assign(&list)?;
    let mut letters = Vec::new();
    while letters.len() < count {
        let message = consumer.poll(PATIENCE).ok_or("no letter comes")??;
        let headers = message.headers().ok_or("a letter has headers")?;
        let (mut bytes, mut marks) =
            (message.key().unwrap_or_default().len() + message.payload().unwrap_or_default().len(), String::new());
        for header in headers.iter() {
            bytes += header.key.len() + header.value.unwrap_or_default().len();
            if let Some(mark) = header.key.strip_prefix("touchstone_truncated") {
                marks += if mark.is_empty() { "." } else { mark };
            }
        }
        letters.push((bytes, marks));
    }
    Ok(letters)
}

/// A thousand connections that say nothing, slow ones, endless headers and large bodies: the pages answer and the pipeline
/// goes on.
fn a_thousand_connections() -> Result<(), Failed> {
    let directory = tempfile::tempdir()?;
    let service = Service::demo(directory.path());
    let items = || service.sum("touchstone_items_total", "");
    wait_for("the demo runs", Duration::from_secs(60), || items() > 0.0)?;
    let before = items();
    let mut held = Vec::new();
    let mut large = Vec::new();
    for number in 0..1_000 {
        let Ok(mut stream) = TcpStream::connect(service.address()) else { continue };
        stream.set_write_timeout(Some(Duration::from_millis(200)))?;
        let _ = match number % 10 {
            0 => stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\nX-Slow: "),
            1 => stream
                .write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
                .and_then(|()| stream.write_all(b"GET /metrics HTTP/1.1")),
            2 => stream.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
            _ => Ok(()),
        };
        if number % 100 == 50 {
            large.push(stream);
        } else {
            held.push(stream);
        }
    }
    assert!(held.len() > 500, "{} connections", held.len());
    let flood = vec![b'x'; 1 << 20];
    for (number, stream) in large.iter_mut().enumerate() {
        let head: &[u8] = if number % 2 == 0 {
            b"GET /metrics HTTP/1.1\r\nHost: a\r\nX-Endless: "
        } else {
            b"POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 104857600\r\n\r\n"
        };
        // It may be thrown out at any moment.
        let _ = stream.write_all(head).and_then(|()| (0..10).try_for_each(|_| stream.write_all(&flood)));
    }
    let answers = |page: &str| service.get(page).is_some_and(|(status, _)| status == 200);
    assert!(answers("/healthz") && answers("/metrics") && answers("/debug"), "{}", service.log());
    wait_for("the pipeline goes on", Duration::from_secs(60), || items() > before)?;
    assert!(answers("/healthz"));
    // Those that hang on were thrown out to let others in, and none of them was given anything large.
    let mut ended = 0;
    for stream in &mut held {
        stream.set_read_timeout(Some(Duration::from_millis(1)))?;
        let mut byte = [0];
        ended += usize::from(
            !matches!(stream.read(&mut byte), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock),
        );
    }
    assert!(ended > 500, "{ended} of {} have ended", held.len());
    assert!(service.stop(), "it ends well");
    Ok(())
}
