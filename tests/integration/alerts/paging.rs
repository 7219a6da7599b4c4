//! Who is told what: a real Alertmanager with the shipped configuration, and what reaches its receivers.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use libtest_mimic::Failed;
use serde_json::{Value, json};
use touchstone::engine::time::rfc3339;

use crate::process::{ask, free_address, wait_for};
use crate::tools::{or_missing, printed, text};

const CONFIG: &str = "deploy/alertmanager/alertmanager.yml";

/// What reached a receiver: its path, and the notification.
type Told = (String, Value);

struct Alertmanager {
    child: Child,
    address: String,
    told: Receiver<Told>,
    _directory: tempfile::TempDir,
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Alertmanager {
    /// Starts one, with waits of a second in place of minutes; `None` where there is none and that is no failure.
    fn start() -> Result<Option<Alertmanager>, Failed> {
        let there = printed(Command::new("prometheus-alertmanager").arg("--version"));
        if or_missing("deploy/alertmanager (Debian: prometheus-alertmanager)", there)?.is_none() {
            return Ok(None);
        }
        let directory = tempfile::tempdir()?;
        let (receiver, told) = receiver()?;
        let config = text(CONFIG)
            .replace("127.0.0.1:9095", &receiver)
            .replace("group_wait: 1m", "group_wait: 2s")
            .replace("group_interval: 5m", "group_interval: 2s");
        std::fs::write(directory.path().join("alertmanager.yml"), config)?;
        let address = free_address();
        let child = Command::new("prometheus-alertmanager")
            .args(["--config.file=alertmanager.yml", "--storage.path=data", "--cluster.listen-address="])
            .arg(format!("--web.listen-address={address}"))
            .current_dir(directory.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let alertmanager = Alertmanager { child, address, told, _directory: directory };
        wait_for("Alertmanager", Duration::from_secs(20), || {
            ask(&alertmanager.address, "/-/ready").is_some_and(|(status, _)| status == 200)
        })?;
        Ok(Some(alertmanager))
    }

    /// Hands over alerts as a Prometheus does; ended ones with `ended`.
    fn alert(&self, alerts: &[Value], ended: bool) -> Result<(), Failed> {
        // An alert that began before the wait of its group is told at once, whatever comes along with it.
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        let now = rfc3339(i64::try_from(now)?);
        let times = if ended { json!({"startsAt": now, "endsAt": now}) } else { json!({"startsAt": now}) };
        let alert = |labels: &Value| {
            let mut alert = times.clone();
            alert["labels"] = labels.clone();
            alert
        };
        let body = Value::from(alerts.iter().map(alert).collect::<Vec<_>>()).to_string();
        let mut stream = TcpStream::connect(&self.address)?;
        write!(
            stream,
            "POST /api/v2/alerts HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        if answer.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(answer.into()) }
    }

    /// What was told until nothing more came for five seconds.
    fn told(&self) -> Vec<Told> {
        let mut all = Vec::new();
        while let Ok(one) = self.told.recv_timeout(Duration::from_secs(5)) {
            all.push(one);
        }
        all
    }
}

/// Listens for notifications.
fn receiver() -> Result<(String, Receiver<Told>), Failed> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    let (tell, told) = channel();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if let Some(one) = notification(stream) {
                let _ = tell.send(one);
            }
        }
    });
    Ok((address, told))
}

fn notification(stream: TcpStream) -> Option<Told> {
    let mut reader = BufReader::new(stream);
    let (mut path, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim_end();
        if path.is_empty() {
            path = line.split(' ').nth(1)?.to_owned();
        }
        if let Some((name, value)) = line.split_once(": ")
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.parse().ok()?;
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    reader.into_inner().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").ok()?;
    Some((path, serde_json::from_slice(&body).ok()?))
}

fn business(alert: &str, severity: &str, place: &Value) -> Value {
    let mut labels = json!({"alertname": alert, "severity": severity, "job": "touchstone", "window": "1h"});
    for (name, value) in place.as_object().unwrap() {
        labels[name] = value.clone();
    }
    labels
}

/// The alerts that a notification names, with their queues.
fn named(told: &Value) -> Vec<String> {
    let alerts = told["alerts"].as_array().unwrap().iter();
    let mut named: Vec<String> = alerts
        .map(|alert| {
            let label = |name: &str| alert["labels"][name].as_str().unwrap_or_default().to_owned();
            format!("{} {} {}", label("alertname"), label("slice"), label("queue")).trim().to_owned()
        })
        .collect();
    named.sort();
    named
}

/// Alertmanager takes the configuration; a place with trouble is one page that names the narrowest place; it ends once.
pub fn once() -> Result<(), Failed> {
    let checked =
        printed(Command::new("amtool").args(["check-config", CONFIG]).current_dir(env!("CARGO_MANIFEST_DIR")));
    if or_missing("deploy/alertmanager (Debian: prometheus-alertmanager)", checked)?.is_none() {
        return Ok(());
    }
    let Some(alertmanager) = Alertmanager::start()? else { return Ok(()) };
    let queue = json!({"slice": "queue", "channel": "voice", "queue": "technical"});
    let firing = [
        business("CxCsatDropping", "critical", &queue),
        business("CxAbandonmentHigh", "critical", &queue),
        business("CxWaitHigh", "warning", &queue),
        business("CxCsatDropping", "critical", &json!({"slice": "channel", "channel": "voice"})),
        business("CxCsatDropping", "critical", &json!({"slice": "team", "team": "technical"})),
        business("CxCsatDropping", "critical", &json!({"slice": "all"})),
    ];
    alertmanager.alert(&firing, false)?;
    let told = alertmanager.told();
    let pages: Vec<Vec<String>> =
        told.iter().filter(|(path, _)| path == "/pages").map(|(_, told)| named(told)).collect();
    assert_eq!(pages, [["CxAbandonmentHigh queue technical", "CxCsatDropping queue technical"]], "{told:?}");
    let tickets: Vec<Vec<String>> =
        told.iter().filter(|(path, _)| path == "/tickets").map(|(_, told)| named(told)).collect();
    assert_eq!(tickets, [["CxWaitHigh queue technical"]], "{told:?}");
    // Prometheus repeats what fires; nobody is told again.
    alertmanager.alert(&firing, false)?;
    assert_eq!(alertmanager.told(), []);
    // The wider ones end first: what ends in one request ends one by one, and for that moment they would be news.
    let (narrow, wide): (Vec<Value>, Vec<Value>) = firing.into_iter().partition(|alert| alert["slice"] == "queue");
    alertmanager.alert(&wide, true)?;
    alertmanager.alert(&narrow, true)?;
    let ended = alertmanager.told();
    let pages: Vec<&Value> =
        ended.iter().filter(|(path, _)| path == "/pages").map(|(_, told)| &told["status"]).collect();
    assert_eq!(pages, [&json!("resolved")], "{ended:?}");
    Ok(())
}

/// While the numbers are not live the business is not paged; another job's numbers are.
pub fn inhibited() -> Result<(), Failed> {
    let Some(alertmanager) = Alertmanager::start()? else { return Ok(()) };
    let queue = json!({"slice": "queue", "channel": "voice", "queue": "technical"});
    let mut other = business("CxCsatDropping", "critical", &queue);
    other["job"] = json!("touchstone-eu");
    let silent = json!({
        "alertname": "TouchstoneSourceSilent", "severity": "critical", "job": "touchstone", "input": "touchpoints",
    });
    alertmanager.alert(&[silent, business("CxCsatDropping", "critical", &queue), other], false)?;
    let told = alertmanager.told();
    let mut pages: Vec<String> = told.iter().flat_map(|(_, told)| named(told)).collect();
    pages.sort();
    assert_eq!(pages, ["CxCsatDropping queue technical", "TouchstoneSourceSilent"], "{told:?}");
    let business = told.iter().find(|(_, told)| named(told)[0].starts_with("Cx")).unwrap();
    assert_eq!(business.1["commonLabels"]["job"], "touchstone-eu");
    Ok(())
}
