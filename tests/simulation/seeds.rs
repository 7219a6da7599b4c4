//! Many seeds on two threads, one seed with its trace, and what is printed of them.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::faults::{Class, Counts};
use crate::run::{Outcome, run};
use crate::scenario::Scenario;
use crate::shrink::shrink;

/// How many seeds a run without arguments takes.
const SEEDS: u64 = 2_000;

/// After so many failing seeds it is no use going on.
const FAILURES_MAX: usize = 5;

/// One seed of so many is run twice: the same seed must leave the same trace.
const TWICE: u64 = 20;

/// What the command line asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    from: u64,
    seeds: Option<u64>,
    seed: Option<u64>,
    shrink: bool,
    first_failure: bool,
    /// The canaries whose name contains this.
    canaries: Option<String>,
    list: bool,
    /// The test runner's filters leave this one out.
    left_out: bool,
}

/// The name that filters of the test runner are compared with.
const NAME: &str = "simulation";

impl Arguments {
    /// Reads them; what a test runner gives to every test binary is understood or passed over.
    ///
    /// # Errors
    /// A number that is none.
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
        let mut arguments = Arguments::default();
        let (mut filters, mut skipped) = (Vec::new(), false);
        while let Some(word) = words.next() {
            let (name, given) = word.split_once('=').map_or((&*word, None), |(name, value)| (name, Some(value.into())));
            let mut value = || given.clone().or_else(|| words.next()).ok_or_else(|| format!("{name} needs a value"));
            let number = |text: String| text.parse().map_err(|_| format!("{name} {text}: not a number"));
            match name {
                "--seeds" => arguments.seeds = Some(number(value()?)?),
                "--seed" => arguments.seed = Some(number(value()?)?),
                "--from" => arguments.from = number(value()?)?,
                "--shrink" => arguments.shrink = true,
                "--first-failure" => arguments.first_failure = true,
                "--canaries" => arguments.canaries = Some(given.unwrap_or_default()),
                "--list" => arguments.list = true,
                "--ignored" => arguments.left_out = true,
                "--skip" => skipped |= NAME.contains(&value()?),
                "--test-threads" | "--color" | "--format" | "--logfile" | "--report-time" | "-Z" => drop(value()?),
                flag if flag.starts_with('-') => {}
                filter => filters.push(filter.to_string()),
            }
        }
        arguments.left_out |= skipped || !(filters.is_empty() || filters.iter().any(|filter| NAME.contains(filter)));
        Ok(arguments)
    }
}

/// Does what the arguments say.
pub fn act(arguments: &Arguments) -> ExitCode {
    if arguments.list {
        println!("{NAME}: test\n\n1 test, 0 benchmarks");
        return ExitCode::SUCCESS;
    }
    if arguments.left_out {
        println!("0 passed, 0 failed");
        return ExitCode::SUCCESS;
    }
    if let Some(only) = &arguments.canaries {
        return crate::canaries::act(only);
    }
    match arguments.seed {
        Some(seed) => one(seed, arguments.shrink),
        None => many(arguments),
    }
}

fn one(seed: u64, smaller: bool) -> ExitCode {
    let mut scenario = Scenario::new(seed);
    if let Some(failure) = run(&scenario, false).failure.filter(|_| smaller) {
        println!("from {} records and {} faults", scenario.records.len(), scenario.faults.len());
        scenario = shrink(&scenario, &failure);
    }
    let outcome = run(&scenario, true);
    println!("\n{} records, {} faults:", scenario.records.len(), scenario.faults.len());
    for fault in &scenario.faults {
        println!("{:>9.3} {:?}", fault.at as f64 / 1000.0, fault.what);
    }
    println!("trace {:016x}", outcome.trace);
    match outcome.failure {
        None => {
            println!("1 passed, 0 failed");
            ExitCode::SUCCESS
        }
        Some(failure) => {
            println!("seed {seed}: {failure}\n0 passed, 1 failed");
            ExitCode::FAILURE
        }
    }
}

/// Runs a seed, one of [`TWICE`] twice.
fn checked(seed: u64) -> Outcome {
    let scenario = Scenario::new(seed);
    let mut outcome = run(&scenario, false);
    if seed.is_multiple_of(TWICE) && outcome.failure.is_none() {
        let again = run(&scenario, false);
        if again.trace != outcome.trace {
            outcome.failure = Some("the same seed left another trace".into());
        }
    }
    outcome
}

fn many(arguments: &Arguments) -> ExitCode {
    let (from, seeds) = (arguments.from, arguments.seeds.unwrap_or(SEEDS));
    let every_class = arguments.seeds.is_none_or(|seeds| seeds >= SEEDS);
    let failures_max = if arguments.first_failure { 1 } else { FAILURES_MAX };
    let began = Instant::now();
    let (next, done) = (AtomicU64::new(from), AtomicU64::new(0));
    let seen: Mutex<(Counts, Vec<(u64, String)>)> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + seeds || seen.lock().unwrap().1.len() >= failures_max {
                        return;
                    }
                    let outcome = checked(seed);
                    done.fetch_add(1, Ordering::Relaxed);
                    let mut seen = seen.lock().unwrap();
                    outcome.counts.iter().for_each(|(class, count)| *seen.0.entry(*class).or_insert(0) += count);
                    if let Some(failure) = outcome.failure {
                        println!(
                            "seed {seed} failed: {failure}\n  replay: cargo test --test simulation -- --seed {seed}"
                        );
                        seen.1.push((seed, failure));
                    }
                }
            });
        }
    });
    let (counts, failures) = seen.into_inner().unwrap();
    println!("\nhow often each fault really happened");
    let mut absent = Vec::new();
    for class in Class::ALL {
        let count = counts.get(class).copied().unwrap_or(0);
        println!("{count:>9}  {}", class.name());
        if count == 0 {
            absent.push(class.name());
        }
    }
    let done = done.into_inner();
    println!("\n{done} seeds from {from} in {:.1} s", began.elapsed().as_secs_f64());
    let mut code = if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if every_class && !absent.is_empty() {
        println!("never happened: {}", absent.join(", "));
        code = ExitCode::FAILURE;
    }
    println!("{} passed, {} failed", done - failures.len() as u64, failures.len());
    code
}
