//! The dashboards over a running service: the demo, scraped by a real Prometheus with our rules.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use serde_json::Value;
use tempfile::TempDir;

use super::{Dashboard, list, text};
use crate::process::{Service, free_address, wait_for};
use crate::tools;

/// How long Prometheus may take for a query of a dashboard.
const QUERY_WITHIN: Duration = Duration::from_millis(500);

/// Filling a day, catching up with the clock, and a few scrapes of what is live then.
const LIVE_WITHIN: Duration = Duration::from_secs(240);

/// What stands for Grafana's own variables here. Prometheus scrapes every second; Grafana takes four scrapes at least.
const BUILT_IN: [(&str, &str); 3] = [("__rate_interval", "5s"), ("__range", "1m"), ("__interval", "5s")];

/// How far back a query over time reaches, and in which steps, in seconds.
const BACK: u64 = 60;
const STEP: u64 = 5;

/// Queries that find nothing while all is well: (dashboard, panel, query, why).
const EMPTY_WHEN_WELL: [(&str, &str, &str, &str); 3] = [
    ("pipeline-health", "Halted tasks and why", "A", "no task has halted"),
    ("pipeline-health", "Restoring", "A", "no task restores once the service has started"),
    ("pipeline-health", "Firing alerts", "A", "no alert fires within a few minutes"),
];

/// The demo and its Prometheus. They end with the last test that looks at them.
struct Scene {
    /// Ended before the demo is, or it would log that its target is gone.
    prometheus: Prometheus,
    _demo: Service,
    _directory: TempDir,
}

struct Prometheus {
    child: Child,
    address: String,
    log: PathBuf,
}

static SCENE: Mutex<Weak<Scene>> = Mutex::new(Weak::new());

impl Scene {
    /// The one that is shown already, or a new one, once its numbers are live.
    fn shown() -> Result<Arc<Scene>, Failed> {
        // Whoever comes second waits here; a start that failed is tried again by them, and told by both.
        let mut shown = SCENE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(scene) = shown.upgrade() {
            return Ok(scene);
        }
        let directory = tempfile::tempdir()?;
        let demo = Service::demo(directory.path());
        let prometheus = Prometheus::start(demo.address(), directory.path())?;
        let scene = Arc::new(Scene { prometheus, _demo: demo, _directory: directory });
        // For ten seconds every metric set has been live: rates have their samples.
        let age = "time() - min(touchstone_watermark_timestamp_seconds{job=\"touchstone\"}) < 60";
        let live = format!("count_over_time(({age})[12s:1s]) >= 10");
        wait_for("live numbers in Prometheus", LIVE_WITHIN, || {
            std::thread::sleep(Duration::from_millis(200));
            scene.prometheus.ask(&live, false).is_ok_and(|series| !series.is_empty())
        })
        .map_err(|error| format!("{error}\n{}", std::fs::read_to_string(&scene.prometheus.log).unwrap_or_default()))?;
        *shown = Arc::downgrade(&scene);
        Ok(scene)
    }
}

impl Prometheus {
    /// Scrapes `target` every second, with the rules that are shipped.
    fn start(target: &str, directory: &Path) -> Result<Prometheus, Failed> {
        let rules = super::directory().join("../prometheus/*.rules.yml");
        let config = directory.join("prometheus.yml");
        std::fs::write(
            &config,
            format!(
                "global: {{scrape_interval: 1s, evaluation_interval: 5s}}\nrule_files: [{rules:?}]\n\
                 scrape_configs: [{{job_name: touchstone, static_configs: [{{targets: [{target:?}]}}]}}]\n"
            ),
        )?;
        let address = free_address();
        let log = directory.join("prometheus.log");
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", directory.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=warn")
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log)?)
            .spawn()
            .map_err(|error| format!("prometheus (Debian: apt-get install prometheus): {error}"))?;
        Ok(Prometheus { child, address, log })
    }

    /// The series that a query finds, each with its labels, and whether it has a value that is a number. Over the last
    /// minute, or at this instant.
    fn ask(&self, query: &str, over_time: bool) -> Result<Vec<Value>, String> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let query = escaped(query);
        let page = if over_time {
            format!("/api/v1/query_range?query={query}&start={}&end={now}&step={STEP}", now - BACK)
        } else {
            format!("/api/v1/query?query={query}")
        };
        let answer = self.get(&page)?;
        let series = list(&answer["data"]["result"]).iter();
        let has_number = |series: &&Value| {
            let values = list(&series["values"]).iter().chain(series.get("value"));
            values.into_iter().any(|value| text(&value[1]).parse().is_ok_and(f64::is_finite))
        };
        Ok(series.filter(has_number).cloned().collect())
    }

    /// What the API answers. HTTP/1.0, so that it comes in one piece.
    fn get(&self, page: &str) -> Result<Value, String> {
        let failed = |error: std::io::Error| format!("prometheus: {error}");
        let mut stream = TcpStream::connect(&self.address).map_err(failed)?;
        write!(stream, "GET {page} HTTP/1.0\r\n\r\n").map_err(failed)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map_err(failed)?;
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let json: Value = serde_json::from_str(body).map_err(|error| format!("prometheus: {error}: {answer}"))?;
        if json["status"] == "success" { Ok(json) } else { Err(json["error"].to_string()) }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// As a part of a URL.
fn escaped(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let byte = |byte: u8| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(byte).collect()
}

impl Dashboard {
    /// What its variables are at first.
    fn at_first(&self) -> BTreeMap<String, String> {
        let mut values: BTreeMap<String, String> =
            BUILT_IN.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        for variable in self.variables() {
            let current = &variable["current"]["value"];
            let value = match current {
                Value::Array(chosen) if *chosen == ["$__all"] => text(&variable["allValue"]),
                current => text(current),
            };
            values.insert(text(&variable["name"]).into(), value.into());
        }
        values
    }
}

/// The query with its variables filled in, those with the longest names first.
fn filled(query: &str, values: &BTreeMap<String, String>) -> String {
    let mut names: Vec<&String> = values.keys().collect();
    names.sort_by_key(|name| std::cmp::Reverse(name.len()));
    names.iter().fold(query.to_owned(), |query, name| query.replace(&format!("${name}"), &values[*name]))
}

/// Every query of every panel, with every window that one may choose, and what the variables list.
pub fn answers() -> Result<(), Failed> {
    let scene = Scene::shown()?;
    let mut wrong = Vec::new();
    let mut asked = 0;
    for dashboard in Dashboard::all() {
        wrong.extend(variables(&dashboard, &scene.prometheus)?);
        for panel in dashboard.panels() {
            // Prometheus may find something on either side of what is split by evidence: `sure` and `thin`.
            let mut found: BTreeMap<(String, String), usize> = BTreeMap::new();
            for target in list(&panel["targets"]) {
                let (name, over_time) = (text(&target["refId"]), target["range"] == true);
                let part = name.strip_prefix("sure").or(name.strip_prefix("thin")).map(|rest| format!("split{rest}"));
                let choices = with_each_window(&dashboard, text(&target["expr"]));
                for (window, at_first, query) in choices {
                    asked += 1;
                    let series = timely(&scene.prometheus, &query, over_time).unwrap_or_else(|error| {
                        wrong.push(format!("{}, {name}, {window}: {error}\n{query}", dashboard.place(panel)));
                        0
                    });
                    // In a short window nothing may be sure; in the one that is shown at first something is.
                    if at_first || part.is_some() || !query.contains(">= 30") {
                        *found.entry((part.clone().unwrap_or_else(|| name.to_owned()), window)).or_insert(0) += series;
                    }
                }
            }
            for ((name, window), series) in found {
                let here = (dashboard.name, text(&panel["title"]), name.as_str());
                let listed = EMPTY_WHEN_WELL.iter().any(|(of, panel, query, _)| (*of, *panel, *query) == here);
                if (series == 0) != listed {
                    let what = if listed { "is listed as empty, but is not" } else { "is empty" };
                    wrong.push(format!("{}, {name}, {window}: {what}", dashboard.place(panel)));
                }
            }
        }
        for annotation in list(&dashboard.json["annotations"]["list"]) {
            if let Some(query) = annotation["expr"].as_str() {
                scene.prometheus.ask(&filled(query, &dashboard.at_first()), true)?;
            }
        }
    }
    assert!(asked > 500, "{asked} queries");
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

/// The query for each choice of the variable of windows that it holds: (window, whether it is the one at first, query).
/// Once, where it holds none.
fn with_each_window(dashboard: &Dashboard, query: &str) -> Vec<(String, bool, String)> {
    let values = dashboard.at_first();
    let variable =
        ["window", "survey_window", "recent"].into_iter().find(|name| query.contains(&format!("\"${name}\"")));
    let Some(variable) = variable else { return vec![(String::new(), true, filled(query, &values))] };
    let with = |window: String| {
        let mut with = values.clone();
        with.insert(variable.into(), window.clone());
        let at_first = window == values[variable];
        (window, at_first, filled(query, &with))
    };
    dashboard.choices(variable).into_iter().map(with).collect()
}

/// How many series it finds, in time. A machine that does other things too may need a second try.
fn timely(prometheus: &Prometheus, query: &str, over_time: bool) -> Result<usize, String> {
    let mut least = Duration::MAX;
    for _ in 0..5 {
        let begun = Instant::now();
        let series = prometheus.ask(query, over_time)?.len();
        least = least.min(begun.elapsed());
        if least <= QUERY_WITHIN {
            return Ok(series);
        }
    }
    Err(format!("takes {least:?}"))
}

/// What is wrong with the variables: each lists something, also what it is at first.
fn variables(dashboard: &Dashboard, prometheus: &Prometheus) -> Result<Vec<String>, Failed> {
    let mut wrong = Vec::new();
    for variable in dashboard.variables().iter().filter(|variable| variable["type"] == "query") {
        let definition = filled(text(&variable["definition"]), &dashboard.at_first());
        let inside = definition.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
        let (selector, label) =
            inside.and_then(|inside| inside.rsplit_once(", ")).ok_or("label_values(series, label)")?;
        let listed = prometheus.get(&format!("/api/v1/label/{label}/values?match[]={}", escaped(selector)))?;
        let listed: BTreeSet<&str> = list(&listed["data"]).iter().map(text).collect();
        let at_first = &dashboard.at_first()[text(&variable["name"])];
        if listed.is_empty() || at_first != ".*" && !listed.contains(at_first.as_str()) {
            wrong.push(format!("{}: {label} is {at_first} at first, of {listed:?}", dashboard.name));
        }
    }
    Ok(wrong)
}

/// What draws: Node.js with Grafana's components installed, and Chromium.
fn drawing() -> Result<PathBuf, String> {
    for (program, install) in [("node", "nodejs"), ("npm", "npm"), ("chromium", "chromium")] {
        let output = tools::printed(Command::new(program).arg("--version"));
        output.map_err(|error| format!("{error} (Debian: apt-get install {install})"))?;
    }
    let [package, lock] = ["package.json", "package-lock.json"].map(|name| format!("tests/grafana/{name}"));
    tools::made_once("grafana", &[&tools::text(&package), &tools::text(&lock)], |place| {
        println!("installing Grafana's components in {}", place.display());
        for file in [&package, &lock] {
            let name = Path::new(file).file_name().unwrap_or_default();
            std::fs::copy(tools::repository(file), place.join(name)).map_err(|error| format!("{file}: {error}"))?;
        }
        tools::printed(Command::new("npm").arg("ci").args(["--no-audit", "--no-fund"]).current_dir(place)).map(drop)
    })
}

/// Every panel is drawn with its title, without an error; the pictures that are kept are no larger than they may be.
pub fn drawn() -> Result<(), Failed> {
    let Some(modules) = tools::or_missing("drawing the dashboards", drawing())? else { return Ok(()) };
    let scene = Scene::shown()?;
    let out = tempfile::tempdir()?;
    let script = tools::repository("tests/grafana/draw.mjs");
    tools::printed(
        Command::new("node")
            .arg(script)
            .args(["--prometheus", &format!("http://{}", scene.prometheus.address), "--scrape", "1", "--last", "2"])
            .args(["--open", "--dom"])
            .arg("--modules")
            .arg(modules.join("node_modules"))
            .arg("--out")
            .arg(out.path()),
    )?;
    for dashboard in Dashboard::all() {
        let drawn = std::fs::read_to_string(out.path().join(format!("{}.html", dashboard.name)))?;
        assert!(!drawn.contains("class=\"script-error\""), "{}: {}", dashboard.name, errors(&drawn));
        let values = dashboard.at_first();
        for panel in dashboard.everything() {
            let title = filled(text(&panel["title"]), &values).replace('&', "&amp;");
            // The name of a row stands behind its arrow; a repeated panel has a channel for `.*`.
            let is_there = match (panel["type"] == "row", title.strip_suffix(".*")) {
                (true, _) => drawn.contains(&format!(" {title}<")) || drawn.contains(&format!(">{title}<")),
                (false, None) => drawn.contains(&format!(">{title}<")),
                (false, Some(begin)) => drawn.contains(&format!(">{begin}")),
            };
            assert!(is_there, "{}: it is not drawn", dashboard.place(panel));
        }
        let name = format!("{}.png", dashboard.name);
        // What is kept is smaller: its closed rows are closed.
        for (picture, bytes_max) in
            [(out.path().join(&name), 2_000_000), (tools::repository("docs/pictures").join(&name), 400_000)]
        {
            let bytes = std::fs::read(&picture).map_err(|error| format!("{}: {error}", picture.display()))?;
            assert!(bytes.starts_with(b"\x89PNG"), "{} is no picture", picture.display());
            assert!((20_000..bytes_max).contains(&bytes.len()), "{}: {} bytes", picture.display(), bytes.len());
        }
    }
    Ok(())
}

fn errors(drawn: &str) -> &str {
    drawn.split("class=\"script-error\"").nth(1).map_or("", |rest| rest.split("</pre>").next().unwrap_or_default())
}
