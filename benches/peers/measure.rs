//! One competitor's process, measured from outside: `/proc` for its time and memory, Kafka for its progress.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::log::{self, Eye};

/// From which share of the events on a competitor is warm: Java has compiled what is hot.
const WARM: f64 = 0.2;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// How long nothing may happen.
const STALLED: Duration = Duration::from_secs(120);

/// How progress is heard of.
pub enum Progress {
    /// The process says `P <events>` and `DONE <events>`, and ends.
    Told,
    /// From the committed offsets of the input, until all are; then the output is read until it holds so many final
    /// records, and the process is ended.
    Seen(Eye, Finals),
}

/// Final records to wait for.
pub struct Finals {
    /// Where Kafka is.
    pub broker: String,
    /// The output topic.
    pub topic: String,
    /// How many there must be.
    pub count: usize,
}

/// What a run has cost.
#[derive(Debug, Clone)]
pub struct Run {
    /// User and system time, us per event, from 20 % of the events to the last commit.
    pub cpu: f64,
    /// The same from the start of the process to the last commit.
    pub cpu_whole: f64,
    /// Events a second from 20 % to the last of them.
    pub rate: f64,
    /// CPU seconds before the first progress.
    pub start_cpu: f64,
    /// CPU of the broker, us per event.
    pub broker_cpu: f64,
    /// The largest resident memory, MiB.
    pub memory: f64,
    /// Time between two commits seen in the output, ms: median and 99th percentile.
    pub gap: Option<(f64, f64)>,
}

struct Mark {
    at: f64,
    events: f64,
    cpu: f64,
    broker: f64,
}

/// Runs a competitor to its end.
pub fn run(
    mut command: Command,
    events: u64,
    progress: &Progress,
    output: Option<&Eye>,
    broker: u32,
) -> Result<Run, String> {
    let started = Instant::now();
    let broker_before = cpu_seconds(broker);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(|error| format!("{command:?}: {error}"))?;
    let lines = lines(&mut child);
    let mut marks: Vec<Mark> = Vec::new();
    let mut memory = 0.0f64;
    let (mut said, mut done) = (0.0f64, false);
    let (mut stable, mut stable_at) = (0, started);
    let mut gaps = Vec::new();
    let mut moved = Instant::now();
    let mut all_final: Option<Receiver<()>> = None;
    loop {
        std::thread::sleep(LOOK);
        let mut ended = child.try_wait().map_err(|error| error.to_string())?.is_some();
        for line in lines.try_iter() {
            match line.split_once(' ') {
                Some(("P", number)) => said = number.trim().parse().unwrap_or(said),
                Some(("DONE", number)) => (said, done) = (number.trim().parse().unwrap_or(said), true),
                _ => println!("    {line}"),
            }
        }
        if let Some(eye) = output {
            let now = eye.stable();
            if now != stable {
                if stable > 0 {
                    gaps.push(stable_at.elapsed().as_secs_f64() * 1e3);
                }
                (stable, stable_at, moved) = (now, Instant::now(), Instant::now());
            }
        }
        if let Progress::Seen(input, finals) = progress {
            said = said.max(input.committed() as f64);
            if said >= events as f64 {
                done = all_final.get_or_insert_with(|| wait_for(finals)).try_recv().is_ok();
            }
        }
        if marks.last().is_none_or(|last| last.events < said) {
            moved = Instant::now();
        }
        if !ended {
            let (cpu, resident) = tree(child.id());
            memory = memory.max(resident);
            marks.push(Mark {
                at: started.elapsed().as_secs_f64(),
                events: said,
                cpu,
                broker: cpu_seconds(broker) - broker_before,
            });
        }
        if done && !ended && matches!(progress, Progress::Seen(..)) {
            terminate(&mut child)?;
            ended = true;
        }
        if ended {
            break;
        }
        if moved.elapsed() > STALLED {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("nothing moved for {STALLED:?} at {said} events"));
        }
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    if !done || !status.success() {
        return Err(format!("it ended at {said} of {events} events, {status}"));
    }
    summarise(&marks, memory, &mut gaps).ok_or_else(|| "too short to be measured".into())
}

/// Tells when all final records are there.
fn wait_for(finals: &Finals) -> Receiver<()> {
    let (tell, told) = channel();
    let (broker, topic, count) = (finals.broker.clone(), finals.topic.clone(), finals.count);
    std::thread::spawn(move || {
        log::count_finals(&broker, &topic, count);
        // Nobody listens any more when the run was given up.
        let _ = tell.send(());
    });
    told
}

fn summarise(marks: &[Mark], memory: f64, gaps: &mut [f64]) -> Option<Run> {
    let all = marks.last()?.events;
    let first = marks.iter().find(|mark| mark.events > 0.0)?;
    let warm = marks.iter().find(|mark| mark.events >= WARM * all)?;
    let full = marks.iter().find(|mark| mark.events >= all)?;
    let end = marks.last()?;
    let steady = all - warm.events;
    gaps.sort_by(f64::total_cmp);
    let quantile = |q: f64| gaps[((gaps.len() as f64 * q) as usize).min(gaps.len() - 1)];
    Some(Run {
        cpu: (end.cpu - warm.cpu) / steady * 1e6,
        cpu_whole: end.cpu / all * 1e6,
        rate: steady / (full.at - warm.at),
        start_cpu: first.cpu,
        broker_cpu: end.broker / all * 1e6,
        memory,
        gap: (!gaps.is_empty()).then(|| (quantile(0.5), quantile(0.99))),
    })
}

fn lines(child: &mut Child) -> Receiver<String> {
    let (tell, lines) = channel();
    let output = child.stdout.take().expect("it is piped");
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if tell.send(line).is_err() {
                break;
            }
        }
    });
    lines
}

/// SIGTERM, and the end of the process.
fn terminate(child: &mut Child) -> Result<(), String> {
    let told = Command::new("kill").arg(child.id().to_string()).status();
    told.map_err(|error| error.to_string())?;
    child.wait().map(drop).map_err(|error| error.to_string())
}

/// User and system seconds of a process and of its children that have ended.
pub fn cpu_seconds(id: u32) -> f64 {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{id}/stat")) else { return 0.0 };
    let Some((_, fields)) = stat.rsplit_once(") ") else { return 0.0 };
    // utime, stime, cutime and cstime: fields 14 to 17 of proc(5), in ticks of 1/100 s.
    let ticks = fields.split(' ').skip(11).take(4).filter_map(|field| field.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}

/// The processes that a process has started.
pub fn children(id: u32) -> Vec<u32> {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{id}/task")) else { return Vec::new() };
    let lists = tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().filter_map(|child| child.parse().ok()).collect::<Vec<u32>>())
        .collect()
}

/// CPU seconds, and the highest resident memory in MiB, of a process and all below it.
fn tree(id: u32) -> (f64, f64) {
    let (mut cpu, mut memory, mut open) = (0.0, 0.0, vec![id]);
    while let Some(id) = open.pop() {
        cpu += cpu_seconds(id);
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse().ok());
        memory += peak.unwrap_or(0.0) / 1024.0;
        open.extend(children(id));
    }
    (cpu, memory)
}

/// Bytes of the files of a broker's topics that `of` names.
pub fn bytes_on_disk(data: &std::path::Path, of: impl Fn(&str) -> bool) -> u64 {
    let Ok(partitions) = std::fs::read_dir(data) else { return 0 };
    let mut bytes = 0;
    for partition in partitions.flatten().filter(|entry| of(&entry.file_name().to_string_lossy())) {
        let Ok(files) = std::fs::read_dir(partition.path()) else { continue };
        let logs = files.flatten().filter(|file| file.path().extension().is_some_and(|extension| extension == "log"));
        bytes += logs.filter_map(|file| file.metadata().ok()).map(|metadata| metadata.len()).sum::<u64>();
    }
    bytes
}
