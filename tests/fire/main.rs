//! Real Kafka under fire: processes are killed and stopped, brokers too, answers are lost, partitions added; and the
//! final records are those of `replay` over the same events, to the byte.
//!
//! ```text
//! cargo test --test fire                       a short run of each
//! cargo test --test fire -- --cycles 200       kills alone, so many
//! cargo test --test fire -- --minutes 30       a steady load: memory, descriptors, threads
//! cargo test --test fire -- --stalls 20        how long readers wait after a kill inside a commit
//! cargo test --test fire -- --restore 1000000  how long so many panes take to restore
//! cargo test --test fire -- --rolling 1        how long partitions stand still while processes are restarted in turn
//! cargo test --test fire -- --backlog 3        the memory of so many days of backlog, one partition far behind
//! cargo test --test fire -- --strains 300000   so many items past slow readers, throttling, scrapes, uneven traffic
//! ```

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected fails there")]

#[expect(dead_code, reason = "the integration tests use the rest")]
#[path = "../integration/broker.rs"]
mod broker;
mod cluster;
#[path = "../simulation/copied.rs"]
mod copied;
#[expect(dead_code, reason = "the integration tests use the rest")]
#[path = "../integration/events.rs"]
mod events;
mod feed;
mod figures;
#[expect(dead_code, reason = "the integration tests use the rest")]
#[path = "../integration/planted.rs"]
mod planted;
#[expect(dead_code, reason = "the integration tests use the rest")]
#[path = "../integration/process.rs"]
mod process;
mod proxy;
#[expect(dead_code, reason = "the integration tests use the rest")]
#[path = "../integration/setup.rs"]
mod setup;
mod soak;
mod stalls;
mod storm;
mod strains;
mod upgrade;

use libtest_mimic::{Arguments, Failed, Trial};

/// The number behind one of our own arguments, which are taken out.
fn number(arguments: &mut Vec<String>, name: &str) -> Option<usize> {
    let at = arguments.iter().position(|argument| argument == name)?;
    let value = arguments.get(at + 1)?.parse().ok()?;
    arguments.drain(at..=at + 1);
    Some(value)
}

fn main() {
    let mut arguments: Vec<String> = std::env::args().collect();
    let trial = |name: &str, test: Box<dyn FnOnce() -> Result<(), Failed> + Send>| Trial::test(name, test);
    let trials = if let Some(cycles) = number(&mut arguments, "--cycles") {
        vec![trial("fire::kills", Box::new(move || storm::kills(cycles)))]
    } else if let Some(minutes) = number(&mut arguments, "--minutes") {
        vec![trial("fire::steady_load", Box::new(move || soak::steady(minutes)))]
    } else if let Some(stalls) = number(&mut arguments, "--stalls") {
        vec![trial("fire::stalls", Box::new(move || stalls::measure(stalls)))]
    } else if let Some(cells) = number(&mut arguments, "--restore") {
        vec![trial("fire::restore", Box::new(move || figures::restore(cells)))]
    } else if let Some(rounds) = number(&mut arguments, "--rolling") {
        vec![trial("fire::rolling_restart", Box::new(move || figures::rolling(rounds)))]
    } else if let Some(days) = number(&mut arguments, "--backlog") {
        vec![trial("fire::backlog", Box::new(move || figures::backlog(days)))]
    } else if let Some(items) = number(&mut arguments, "--strains") {
        vec![trial("fire::strains", Box::new(move || strains::all(items)))]
    } else {
        vec![
            trial("fire::a_leak_shows", Box::new(soak::a_leak_shows)),
            trial("fire::kills", Box::new(|| storm::kills(4))),
            trial("fire::a_storm_of_everything", Box::new(storm::everything)),
            trial("fire::two_builds_beside_each_other", Box::new(upgrade::two_builds)),
            trial("fire::one_of_three_brokers_is_lost", Box::new(storm::three_brokers)),
        ]
    };
    let trials = trials.into_iter().map(|trial| trial.with_ignored_flag(broker::is_left_out())).collect();
    let mut arguments = Arguments::from_iter(arguments);
    // One at a time: they share two cores, and each has brokers of its own.
    arguments.test_threads = Some(1);
    let conclusion = libtest_mimic::run(&arguments, trials);
    if broker::is_left_out() {
        println!("LEFT OUT: real Kafka under fire, because {}=none\n", broker::VARIABLE);
    }
    conclusion.exit();
}
