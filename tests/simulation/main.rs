//! The simulator: one seed drives workload, clock and faults through the real worker loop on the in-memory broker.
//!
//!     cargo test --test simulation                       2,000 seeds
//!     cargo test --test simulation -- --seeds 10000      more; --from N begins elsewhere
//!     cargo test --test simulation -- --seed N           one seed, with its trace; --shrink makes it smaller first
//!     cargo test --test simulation -- --canaries         the crate, broken on purpose, is caught; =NAME for some of it
//!
//! Each seed makes a [`scenario::Scenario`], a plain list of events and faults; [`world::World`] runs it; when the faults
//! have stopped everything must drain, and [`judge`] compares what was published with what the raw input says.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected fails there")]

mod canaries;
mod copied;
#[expect(dead_code, reason = "shared with the integration tests, which use more of it")]
#[path = "../integration/events.rs"]
mod events;
mod faults;
mod judge;
mod link;
mod node;
#[path = "../integration/oracle.rs"]
mod oracle;
mod random;
mod run;
mod scenario;
mod seeds;
mod shrink;
mod trace;
mod upheaval;
mod world;

use std::process::ExitCode;

fn main() -> ExitCode {
    run::keep_panics();
    match seeds::Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => seeds::act(&arguments),
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(2)
        }
    }
}
