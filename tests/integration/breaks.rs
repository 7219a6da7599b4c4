//! Breaks: the crate, broken on purpose in one place at a time, must turn the tests red that promise that place.
//!
//!     cargo test --test integration -- --breaks          every break; =NAME,.. for those whose name contains one
//!
//! As the simulator's canaries: the sources are copied, every replacement is made at once, which of them is alive is
//! chosen at run time, so the copy is built once. A text that is not found, or found twice, is a failure: the break has
//! to follow the code. A test that is red while nothing is broken would prove nothing: all of them are run so first.

mod board;
mod kafka;
mod mapper;
mod memory;
mod poison;
mod service;
mod sources;

use std::io::{Read, Seek};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};
use std::time::{Duration, Instant};

use crate::copied::{Copied, SWITCH_VARIABLE, add_switch, replace};
use crate::{broker, data};

/// What is broken, by its name, and the tests that must not pass then; one break may need several replacements.
struct Break {
    name: &'static str,
    file: &'static str,
    text: &'static str,
    replacement: &'static str,
    tests: &'static [&'static str],
}

impl Break {
    /// It, and each test that it is shown to.
    fn shown_to(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let name = self.name;
        self.tests.iter().map(move |test| (name, *test))
    }
}

/// A test that has not ended by then hangs, and is as red as one that fails.
const RED_WITHIN: Duration = Duration::from_secs(180);

/// All of them together, with nothing broken.
const HEALTHY_WITHIN: Duration = Duration::from_secs(1_800);

/// How long the broker of a test that was killed may take to clean up behind itself.
const CLEANS_WITHIN: Duration = Duration::from_secs(3);

/// The longest line that is shown of a failure, letters.
const SHOWN: usize = 160;

/// What the copy needs to find its way, whatever is broken: its program is called after it, and a mapper process, which
/// is given no environment, is told all the same what is broken.
const WAYS: [(&str, &str, &str); 2] = [
    ("tests/integration/process.rs", "env!(\"CARGO_BIN_EXE_touchstone\")", "env!(\"CARGO_BIN_EXE_touchstone-breaks\")"),
    (
        "src/mapping/mapper.rs",
        ".env_clear()",
        ".env_clear().envs(std::env::var_os(\"TOUCHSTONE_CANARY\").map(|name| (\"TOUCHSTONE_CANARY\", name)))",
    ),
];

fn breaks() -> impl Iterator<Item = &'static Break> {
    [sources::BREAKS, mapper::BREAKS, poison::BREAKS, memory::BREAKS, kafka::BREAKS, service::BREAKS, board::BREAKS]
        .into_iter()
        .flatten()
}

/// What of the breaks is asked for, if any of them is: those whose name contains one of these, between commas.
pub fn asked_for() -> Option<String> {
    let argument = std::env::args().find(|argument| argument.starts_with("--breaks"))?;
    Some(argument.split_once('=').map_or(String::new(), |(_, only)| only.to_string()))
}

/// Builds the broken crate and shows every break to its test.
pub fn act(only: &str) -> ExitCode {
    match show_all(only) {
        Ok((red, 0)) => {
            println!("{red} passed, 0 failed");
            ExitCode::SUCCESS
        }
        Ok((red, green)) => {
            println!("{red} passed, {green} failed");
            ExitCode::FAILURE
        }
        Err(reason) => {
            println!("{reason}\n0 passed, 1 failed");
            ExitCode::FAILURE
        }
    }
}

/// How many turned their tests red, and how many did not.
fn show_all(only: &str) -> Result<(usize, usize), String> {
    let program = build()?;
    let mut chosen: Vec<(&str, &str)> =
        breaks().filter(|one| only.split(',').any(|part| one.name.contains(part))).flat_map(Break::shown_to).collect();
    chosen.dedup();
    if chosen.is_empty() {
        return Err(format!("no break is called {only}"));
    }
    is_healthy(&program, chosen.iter().map(|(_, test)| *test).collect())?;
    let mut green = 0;
    for (name, test) in &chosen {
        match run(&program, &["--exact", test], name, RED_WITHIN)? {
            (None, _) => println!("{name}: {test} hangs"),
            (Some(status), said) if !status.success() => println!("{name}: {test} is red: {}", failure(&said, test)),
            (Some(_), _) => {
                println!("{name}: {test} STAYS GREEN");
                green += 1;
            }
        }
    }
    Ok((chosen.len() - green, green))
}

/// With nothing broken, the tests must pass.
fn is_healthy(program: &Path, tests: Vec<&str>) -> Result<(), String> {
    let listed = Command::new(program).arg("--list").output().map_err(|error| error.to_string())?;
    let listed = String::from_utf8_lossy(&listed.stdout);
    let all: Vec<&str> = listed.lines().filter_map(|line| line.strip_suffix(": test")).collect();
    if let Some(unknown) = tests.iter().find(|test| !all.contains(test)) {
        return Err(format!("there is no test {unknown}"));
    }
    let others = all.iter().filter(|test| !tests.contains(test)).flat_map(|test| ["--skip", test]);
    let arguments: Vec<&str> = ["--exact"].into_iter().chain(others).collect();
    match run(program, &arguments, "", HEALTHY_WITHIN)? {
        (Some(status), _) if status.success() => Ok(()),
        (_, said) => Err(format!("with nothing broken:\n{said}")),
    }
}

/// Runs the copy's tests with this part broken: how it ended, if it did, and what it said.
fn run(
    program: &Path,
    arguments: &[&str],
    broken: &str,
    within: Duration,
) -> Result<(Option<ExitStatus>, String), String> {
    let kafka = broker::address()?;
    let failed = |error: std::io::Error| format!("{}: {error}", program.display());
    let mut said = tempfile::tempfile().map_err(failed)?;
    let (stdout, stderr) = (said.try_clone().map_err(failed)?, said.try_clone().map_err(failed)?);
    let mut child = Command::new(program)
        .args(arguments)
        .env(SWITCH_VARIABLE, broken)
        .env(broker::VARIABLE, kafka)
        .env(data::VARIABLE, data::root())
        // What it has started is ended with it.
        .process_group(0)
        .stdout(stdout)
        .stderr(stderr)
        .spawn()
        .map_err(failed)?;
    let deadline = Instant::now() + within;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            break Some(status);
        }
        if Instant::now() > deadline {
            child.kill().and_then(|()| child.wait()).map_err(failed)?;
            std::thread::sleep(CLEANS_WITHIN);
            break None;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let group = format!("-{}", child.id());
    // Mostly there is nobody left.
    Command::new("kill").args(["-9", "--", &group]).output().map_err(failed)?;
    let mut text = Vec::new();
    said.rewind().and_then(|()| said.read_to_end(&mut text)).map_err(failed)?;
    Ok((status, String::from_utf8_lossy(&text).into_owned()))
}

/// The first line of why a test failed: of its own, of a secret that was seen, or how the process ended.
fn failure(said: &str, test: &str) -> String {
    let of_test = said.split_once(&format!("---- {test} ----\n")).map(|(_, why)| why);
    let of_secrets = || said.split_once("Looked for planted secrets")?.1.split_once('\n').map(|(_, why)| why);
    let first = |why: &str| why.lines().map(str::trim).find(|line| !line.is_empty()).map(String::from);
    let last = || said.lines().map(str::trim).rfind(|line| !line.is_empty()).map(String::from);
    let line = of_test.or_else(of_secrets).and_then(first).or_else(last).unwrap_or_default();
    line.chars().take(SHOWN).collect()
}

/// The broken crate's integration tests.
fn build() -> Result<PathBuf, String> {
    let copied = Copied {
        name: "breaks",
        directories: &["tests/integration", "tests/simulation"],
        links: &["tests/data", "fuzz", "docs", "schema", "deploy", "tests/board", "examples"],
        targets: &["[[bin]]", "\"integration\""],
        program: "integration",
        cargo: &["test", "--no-run", "--test", "integration"],
        is_idle: false,
    };
    copied.build(|sources| {
        for Break { name, file, text, replacement, .. } in breaks() {
            replace(sources, file, text, replacement).map_err(|error| format!("break {name}: {error}"))?;
        }
        for (file, text, replacement) in WAYS {
            replace(sources, file, text, replacement)?;
        }
        add_switch(sources)
    })
}
