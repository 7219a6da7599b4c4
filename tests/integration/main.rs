//! The one integration binary: everything that crosses a module's border, most of it against a real Kafka.
//!
//! Each module exports `tests()`. A test module never starts a broker of its own: `broker::address()` starts one when
//! the first test asks, shares it by unique topic names, and it ends with this process, however that ends.
//!
//!     cargo test --test integration -- --breaks          the crate, broken on purpose, turns them red; =NAME for some

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected fails there")]

#[path = "../../fuzz/bodies.rs"]
mod bodies;

#[path = "../simulation/copied.rs"]
mod copied;

mod administration;
mod alerts;
mod board;
mod breaks;
mod broker;
mod checking;
mod commit_latency;
mod conformance;
mod consumers;
mod dashboards;
mod data;
mod demo;
mod deployment;
mod events;
mod generated;
mod golden;
mod halts;
mod late_and_idle;
mod laws;
mod limits;
mod locked;
mod locked_broker;
mod mapper;
mod merge_state;
mod oracle;
mod order;
mod pipeline;
mod planted;
mod poison;
mod process;
mod restart;
mod rig;
mod rules;
mod schema;
mod service;
mod setup;
mod sources;
mod stream;
mod tools;
mod truth;
mod tutorial;

use std::process::ExitCode;

use libtest_mimic::Arguments;

fn main() -> ExitCode {
    if let Some(only) = breaks::asked_for() {
        let code = breaks::act(&only);
        broker::stop();
        return code;
    }
    let mut arguments = Arguments::from_args();
    // Most of them wait for a broker, a browser or a window for half of their time.
    arguments.test_threads.get_or_insert(3);
    let trials = [
        golden::tests(),
        laws::tests(),
        order::tests(),
        late_and_idle::tests(),
        mapper::tests(),
        poison::tests(),
        merge_state::tests(),
        restart::tests(),
        sources::tests(),
        halts::tests(),
        schema::tests(),
        conformance::tests(),
        consumers::tests(),
        deployment::tests(),
        administration::tests(),
        alerts::tests(),
        board::tests(),
        commit_latency::tests(),
        service::tests(),
        limits::tests(),
        locked::tests(),
        truth::tests(),
        tutorial::tests(),
        generated::tests(),
        demo::tests(),
        dashboards::tests(),
        rules::tests(),
    ];
    let trials = trials.into_iter().flatten().collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    broker::stop();
    data::report();
    tools::report();
    if broker::is_left_out() {
        println!("LEFT OUT: every test against a real Kafka, because {}=none\n", broker::VARIABLE);
    }
    let (seen, bytes) = planted::report();
    println!(
        "Looked for planted secrets and customers in {bytes} bytes of logs, pages and errors: {} found",
        seen.len()
    );
    if !seen.is_empty() {
        println!("{}", seen.join("\n"));
        return ExitCode::from(101);
    }
    conclusion.exit_code()
}
