//! The board in a real browser: what it shows is what was published, it says when its source is dead, it asks no other
//! host for anything, anybody can read it, and no name that a customer gives does harm.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};
use touchstone::engine::time::rfc3339;

use crate::broker;
use crate::process::{self, Service, wait_for};
use crate::setup::{Setup, Shape};
use crate::tools::{self, or_missing, printed, repository};

pub fn tests() -> Vec<Trial> {
    let on_kafka = |name: &str, test: fn() -> Result<(), Failed>| {
        Trial::test(format!("board::{name}"), test).with_ignored_flag(broker::is_left_out())
    };
    vec![
        on_kafka("shows_what_was_published_and_says_when_it_ends", published),
        on_kafka("hostile_names_do_no_harm", hostile),
        Trial::test("board::everybody_can_read_the_demo", demo),
        Trial::test("board::two_hundred_open_pages", many),
    ]
}

/// The browser, and the jobs that it is given.
struct Browser {
    child: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Browser {
    /// Starts it; `None` where there is none and that is no failure.
    fn start() -> Result<Option<Browser>, Failed> {
        let sources = tools::sources("tests/board");
        let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
        let made = tools::made_once("board", &sources, |place| {
            tools::copy(&repository("tests/board"), place)?;
            let mut npm = Command::new("npm");
            printed(npm.args(["install", "--silent", "--no-audit", "--no-fund"]).current_dir(place)).map(drop)
        });
        let Some(place) = or_missing("the board in a browser (Debian: nodejs, npm, chromium)", made)? else {
            return Ok(None);
        };
        let chromium = printed(Command::new("chromium").args(["--version", "--no-sandbox"]));
        if or_missing("the board in a browser (Debian: chromium)", chromium)?.is_none() {
            return Ok(None);
        }
        let mut child = Command::new("node")
            .arg("look.mjs")
            .current_dir(place)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let answers = BufReader::new(child.stdout.take().unwrap());
        Ok(Some(Browser { child, answers }))
    }

    /// Looks at one page.
    fn look(&mut self, job: &Value) -> Result<Value, Failed> {
        writeln!(self.child.stdin.as_mut().unwrap(), "{job}")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let seen: Value = serde_json::from_str(&line).map_err(|error| format!("{error}: {line:?}"))?;
        if let Some(error) = seen.get("failed") {
            return Err(format!("{job}: {error}").into());
        }
        Ok(seen)
    }

    /// Looks at one page on which nothing must be wrong, whatever it shows.
    fn well(&mut self, job: &Value) -> Result<Value, Failed> {
        let seen = self.look(job)?;
        assert_eq!(seen["errors"], json!([]), "{job}");
        assert_eq!(seen["violations"], json!([]), "{job}");
        assert_eq!(seen["wide"], json!(false), "nobody scrolls sideways: {job}");
        let hosts = seen["hosts"].as_array().unwrap();
        assert!(hosts.len() == 1 && job["url"].as_str().unwrap().contains(hosts[0].as_str().unwrap()), "{hosts:?}");
        Ok(seen)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

fn setup(more: &str) -> Result<Setup, Failed> {
    let address = broker::address()?;
    Setup::new(&Shape {
        address: &address,
        via: &address,
        replication: 1,
        partitions: 2,
        timing: "commit_interval = \"50ms\"\npublish_interval = \"500ms\"",
        input: "out_of_orderness = \"1s\"\nidle_timeout = \"1h\"",
        more,
    })
}

/// Calls and answers of the last minutes; every fourth call was abandoned, every fifth answer is bad.
fn events(queues: &[String], count: usize, first: usize) -> Vec<(String, String)> {
    let at = |index: usize| now() - 120_000 + i64::try_from(index * 60_000 / count).unwrap();
    let call = |index: usize| {
        let (queue, time) = (json!(queues[index % queues.len()]), rfc3339(at(index)));
        let outcome = if index.is_multiple_of(4) { "abandoned" } else { "answered" };
        let number = first + index;
        format!(
            "{{\"specversion\":\"1.0\",\"id\":\"c-{number}\",\"source\":\"/pbx\",\"type\":\"cx.contact.ended.v1\",\"time\":\"{time}\",\
             \"data\":{{\"channel\":\"voice\",\"queue\":{queue},\"contact_id\":\"{number}\",\"outcome\":\"{outcome}\",\"queue_wait_seconds\":{}}}}}",
            10 + index % 30
        )
    };
    let answer = |index: usize| {
        let time = rfc3339(at(index));
        let (score, number) = (if index.is_multiple_of(5) { 1 } else { 5 }, first + index);
        format!(
            "{{\"specversion\":\"1.0\",\"id\":\"s-{number}\",\"source\":\"/surveys\",\"type\":\"cx.survey.responded.v1\",\"time\":\"{time}\",\
             \"data\":{{\"channel\":\"voice\",\"metric\":\"csat\",\"score\":{score},\"scale_min\":1,\"scale_max\":5}}}}"
        )
    };
    (0..count).flat_map(|index| [(format!("k{index}"), call(index)), (format!("k{index}"), answer(index))]).collect()
}

/// Sends events until it is told to stop: a source that lives.
fn produce(setup: &Setup, events: &[(String, String)]) {
    setup.produce(events.iter().map(|(key, json)| (key.as_str(), json.as_str())));
}

/// A moment that moves the watermark: an event of now.
fn moment(number: usize) -> Vec<(String, String)> {
    let time = rfc3339(now());
    let event = format!(
        "{{\"specversion\":\"1.0\",\"id\":\"m-{number}\",\"source\":\"/web\",\"type\":\"cx.interaction.v1\",\"time\":\"{time}\",\
         \"data\":{{\"channel\":\"web\",\"kind\":\"visit\"}}}}"
    );
    // Both partitions move on.
    (0..8).map(|key| (format!("m{key}"), event.replacen("m-", &format!("m{key}-"), 1))).collect()
}

fn published() -> Result<(), Failed> {
    let Some(mut browser) = Browser::start()? else { return Ok(()) };
    let setup = setup("")?;
    let service = setup.start("board");
    produce(&setup, &events(&["billing".into(), "sales".into()], 400, 0));
    let url = format!("http://{}/?window=1d", service.address());
    let mut number = 0;
    // Until everything is in: the day's window is shown as it stands.
    wait_for("the calls on the board", Duration::from_secs(40), || {
        produce(&setup, &moment(number));
        number += 1;
        service.get("/?window=1d").is_some_and(|(_, page)| page.contains(">400<"))
    })?;
    let seen = browser.well(&json!({"url": url, "wait": ".freshness.live", "within": 20_000}))?;
    assert_eq!(seen["came"], json!(true), "{seen}");
    let value = |name: &str| {
        let tiles = seen["tiles"].as_array().unwrap();
        let tile = tiles.iter().find(|tile| tile[0] == name).unwrap_or_else(|| panic!("{name}: {seen}"));
        (tile[1].as_str().unwrap().to_owned(), tile[2].as_str().unwrap().to_owned())
    };
    // What was published, written by hand as the page writes it.
    let records = setup.read("aggregates");
    let last = |set: &str| {
        let key = records.iter().rev().find(|(key, _)| key.starts_with(&format!("{set}|1d|")) && key.ends_with("|all"));
        serde_json::from_str::<Value>(&key.unwrap().1).unwrap()
    };
    let percent = |number: &Value| format!("{:.1}%", number.as_f64().unwrap() * 100.0);
    for (name, set, figure) in [
        ("Abandonment", "contacts", "abandonment_ratio"),
        ("Service level", "contacts", "service_level_ratio"),
        ("CSAT", "csat", "csat_ratio"),
    ] {
        let record = last(set);
        let published = &record["figures"][figure];
        let (shown, evidence) = value(name);
        assert_eq!(shown, percent(&published["value"]), "{name}");
        let expected = format!(
            "{} – {} · n = {}",
            percent(&published["lower"]),
            percent(&published["upper"]),
            published["samples"]
        );
        assert_eq!(evidence, expected, "{name}");
    }
    let counts = |name: &str| {
        let counts = seen["counts"].as_array().unwrap();
        counts.iter().find(|count| count[0] == name).map(|count| count[1].as_str().unwrap().to_owned()).unwrap()
    };
    assert_eq!(
        (counts("Offered"), counts("Answered"), counts("Abandoned")),
        ("400".into(), "300".into(), "100".into())
    );
    // Without script the same numbers are there.
    let plain = browser.well(&json!({"url": url, "script": false}))?;
    assert_eq!(plain["tiles"], seen["tiles"]);
    through_a_proxy(&mut browser, &service, &seen)?;
    // The source dies: an open page says so within 15 seconds.
    produce(&setup, &moment(number + 1));
    let quiet = browser.well(&json!({"url": url, "wait": ".freshness.quiet", "within": 15_000}))?;
    assert_eq!(quiet["came"], json!(true), "{quiet}");
    // A connection that was lost comes back, and the numbers with it.
    let back = browser.look(&json!({"url": url, "offline": 12_000, "wait": "#lost[hidden]", "within": 5_000}))?;
    assert_eq!((&back["lost"], &back["tiles"]), (&json!(false), &seen["tiles"]));
    // The process dies: so does the page say.
    let killer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(3));
        service.kill();
    });
    let lost = browser.look(&json!({"url": url, "wait": "#lost:not([hidden])", "within": 18_000}))?;
    killer.join().unwrap();
    assert_eq!((&lost["came"], &lost["lost"]), (&json!(true), &json!(true)), "{lost}");
    Ok(())
}

/// Behind a reverse proxy that serves it under a prefix.
fn through_a_proxy(browser: &mut Browser, service: &Service, direct: &Value) -> Result<(), Failed> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let behind = service.address().to_owned();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let behind = behind.clone();
            std::thread::spawn(move || forward(stream, &behind));
        }
    });
    let url = format!("http://{address}/cx/board/?window=1d");
    let seen = browser.well(&json!({"url": url, "wait": ".tile .value"}))?;
    assert_eq!(seen["tiles"], direct["tiles"]);
    let links = seen["links"].as_array().unwrap();
    assert!(
        !links.is_empty() && links.iter().all(|link| link.as_str().unwrap().contains("/cx/board/queue?")),
        "{links:?}"
    );
    let queue = browser.well(&json!({"url": links[0], "wait": ".tile .value"}))?;
    assert!(queue["title"].as_str().unwrap().contains("(voice)"), "{queue}");
    Ok(())
}

/// One connection of the proxy: the prefix is taken away, all else stays.
fn forward(mut stream: TcpStream, behind: &str) -> Option<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).ok()?;
    let Some(head) = head.strip_prefix("GET /cx/board").map(|rest| format!("GET {rest}")) else {
        stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").ok()?;
        return None;
    };
    let mut other = TcpStream::connect(behind).ok()?;
    other.write_all(head.replace("GET  ", "GET ").replace("keep-alive", "close").as_bytes()).ok()?;
    std::io::copy(&mut other, &mut stream).ok()?;
    Some(())
}

/// A thousand queues with long Cyrillic names, and some with what breaks pages.
fn hostile() -> Result<(), Failed> {
    let Some(mut browser) = Browser::start()? else { return Ok(()) };
    let nasty = [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "a/b/../c?d=e&f#g",
        "{{ 7 * 7 }} %3Cb%3E 'single'",
    ];
    let long = |number: usize| format!("отдел по работе с корпоративными клиентами и жалобами, линия {number}");
    let queues: Vec<String> = nasty.iter().map(|name| (*name).to_owned()).chain((0..996).map(long)).collect();
    let setup = setup("[slices]\nvalues_max = 2000\n[export]\nseries_max = 1000")?;
    let service = setup.start("hostile");
    // The nasty ones have calls enough to lead the table; all of each are abandoned.
    let mut calls = events(&queues, 1_000, 0);
    for (number, name) in nasty.iter().enumerate() {
        let queue = [(*name).to_owned()];
        let many = events(&queue, 60, 10_000 + 100 * number).into_iter();
        calls.extend(many.map(|(key, json)| (key, json.replace("\"answered\"", "\"abandoned\""))));
    }
    produce(&setup, &calls);
    let mut number = 0;
    // What one commit published may be read in several portions: the whole first, its queues a little later.
    wait_for("the calls on the board", Duration::from_secs(40), || {
        produce(&setup, &moment(number));
        number += 1;
        let page = service.get("/?window=1d");
        page.is_some_and(|(_, page)| page.contains(">1,240<") && page.contains("<p>+ 900</p>"))
    })?;
    let url = format!("http://{}/?window=1d", service.address());
    let seen = browser.well(&json!({"url": url, "wait": ".tile .value", "axe": true}))?;
    let names: Vec<&str> = seen["rows"].as_array().unwrap().iter().filter_map(|row| row[0].as_str()).collect();
    for name in nasty {
        assert!(names.contains(&name), "{name} stands in the table as it is: {:?}", &names[..8]);
    }
    assert!(names.iter().filter(|name| name.starts_with("отдел") && name.contains("линия")).count() >= 50);
    for link in seen["links"].as_array().unwrap().iter().take(4) {
        let page = browser.well(&json!({"url": link, "wait": ".tile .value"}))?;
        let title = page["title"].as_str().unwrap();
        assert!(nasty.iter().any(|name| title.starts_with(&format!("{name} (voice)"))), "{title}");
        assert_eq!(page["counts"][0], json!(["Offered", "61"]), "{page}");
    }
    Ok(())
}

/// The demo, in every language, in both themes, from a phone to a wall; pictures of it are looked at by people.
fn demo() -> Result<(), Failed> {
    let Some(mut browser) = Browser::start()? else { return Ok(()) };
    let directory = tempfile::tempdir()?;
    let demo = Service::demo(directory.path());
    let address = demo.address().to_owned();
    wait_for("the board", Duration::from_secs(20), || demo.get("/").is_some_and(|(status, _)| status == 200))?;
    let url = |language: &str| format!("http://{address}/?lang={language}");
    // While the day is taken in, numbers are shown as what they are.
    let early = browser.look(&json!({"url": url("en"), "wait": ".freshness.catching-up", "within": 60_000}))?;
    assert_eq!(early["came"], json!(true), "{early}");
    let first =
        browser.well(&json!({"url": url("en"), "wait": ".freshness.live ~ .tiles .sure", "within": 120_000}))?;
    assert_eq!(first["came"], json!(true), "{first}");
    let pictures = std::env::var_os("TOUCHSTONE_PICTURES").map(PathBuf::from);
    for (size, width, height) in [("phone", 390, 844), ("desk", 1_440, 900), ("wall", 2_560, 1_440)] {
        for dark in [false, true] {
            let mut job = json!({
                "url": url("en"), "width": width, "height": height, "dark": dark, "axe": true, "wait": ".tile.sure svg",
            });
            if let Some(pictures) = &pictures {
                let theme = if dark { "dark" } else { "light" };
                job["picture"] = json!(pictures.join(format!("board-{size}-{theme}.png")));
            }
            browser.well(&job)?;
        }
    }
    for (language, name, point) in [
        ("en", "Abandonment", '.'),
        ("de", "Abbruchquote", ','),
        ("ru", "Доля потерянных", ','),
        ("uk", "Частка втрачених", ','),
    ] {
        let seen = browser.well(&json!({"url": url(language), "axe": true, "wait": ".tile.sure .value"}))?;
        assert_eq!(seen["lang"], language);
        assert_eq!(seen["tiles"][0][0], name);
        assert!(seen["tiles"][0][1].as_str().unwrap().contains(point), "{seen}");
        // The browser's own wish counts where nothing is asked for.
        let wished =
            browser.well(&json!({"url": format!("http://{address}/"), "language": language, "wait": ".tile"}))?;
        assert_eq!(wished["lang"], language);
    }
    let mut quality = json!({"url": format!("http://{address}/quality"), "axe": true, "wait": "tbody tr"});
    if let Some(pictures) = &pictures {
        quality["picture"] = json!(pictures.join("board-quality.png"));
    }
    let seen = browser.well(&quality)?;
    assert!(seen["rows"].as_array().unwrap().iter().any(|row| row[0] == "touchpoints"), "{seen}");
    assert!(demo.stop(), "it ends well while pages are open");
    Ok(())
}

/// Two hundred open pages are renewed, and a scrape is answered all the same.
fn many() -> Result<(), Failed> {
    let directory = tempfile::tempdir()?;
    let demo = Service::demo(directory.path());
    wait_for("the board", Duration::from_secs(20), || demo.get("/").is_some_and(|(status, _)| status == 200))?;
    let mut pages = Vec::new();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(demo.address())?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(stream, "GET /live HTTP/1.1\r\nHost: test\r\n\r\n")?;
        pages.push(stream);
    }
    let mut bytes = [0; 4_096];
    for _ in 0..2 {
        for page in &mut pages {
            assert!(page.read(&mut bytes)? > 0, "an open page hears something");
        }
    }
    let asked = Instant::now();
    let (status, page) = demo.get("/metrics").ok_or("no answer")?;
    assert!(status == 200 && page.contains("cx_"), "after {:?}", asked.elapsed());
    assert!(process::ask(demo.address(), "/healthz").is_some_and(|(status, _)| status == 200));
    Ok(())
}
