//! How long read-committed readers stand still when a process is killed inside a commit: with its own name it takes its
//! transaction over at once; under another name the transaction's time must run out.

use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::cluster::Cluster;
use crate::process::wait_for;
use crate::setup::{Setup, Shape};

fn consumer(address: &str, isolation: &str) -> BaseConsumer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", address).set("group.id", "stalls").set("isolation.level", isolation);
    config.create().unwrap()
}

/// Whether some deltas partition has an open transaction.
fn is_open(stable: &BaseConsumer, all: &BaseConsumer, topic: &str) -> bool {
    (0..4).any(|partition| {
        let end = |consumer: &BaseConsumer| {
            consumer.fetch_watermarks(topic, partition, Duration::from_secs(10)).map(|(_, end)| end)
        };
        matches!((end(stable), end(all)), (Ok(stable), Ok(all)) if stable < all)
    })
}

/// Kills until so many of each kind were inside a commit; prints how long readers stood still.
pub fn measure(count: usize) -> Result<(), Failed> {
    let cluster = Cluster::start("stalls", 1)?;
    let address = cluster.address();
    let setup = Setup::new(&Shape {
        address: &address,
        via: &address,
        replication: 1,
        partitions: 4,
        timing: "commit_interval = \"1ms\"\nidle_commit_interval = \"1ms\"",
        input: "",
        more: "",
    })?;
    let (stable, all) = (consumer(&address, "read_committed"), consumer(&address, "read_uncommitted"));
    let deltas = setup.names["deltas"].clone();
    for (kind, same) in [("the same name", true), ("another name", false)] {
        let mut stalls = Vec::new();
        let mut number = 0;
        let mut kills = 0;
        while stalls.len() < count {
            let service = setup.start(&format!("p-{number}"));
            wait_for("it commits", Duration::from_secs(60), || {
                service.sum("touchstone_commit_seconds_count", "") > 30.0
            })
            .map_err(|error| format!("{error}\n{}", service.log()))?;
            std::thread::sleep(Duration::from_millis(7 * (kills % 40)));
            service.kill();
            kills += 1;
            let killed = Instant::now();
            if !is_open(&stable, &all, &deltas) {
                continue;
            }
            number += u64::from(!same);
            let next = setup.start(&format!("p-{number}"));
            wait_for("readers go on", Duration::from_secs(60), || !is_open(&stable, &all, &deltas))
                .map_err(|error| format!("{error}\n{}", next.log()))?;
            stalls.push(killed.elapsed().as_secs_f64());
        }
        stalls.sort_by(f64::total_cmp);
        println!(
            "    {kind}: {} kills inside a commit of {kills}; readers stood still for {:.1} s at the median, {:.1} s at most",
            stalls.len(),
            stalls[stalls.len() / 2],
            stalls[stalls.len() - 1]
        );
        let bound = if same { 3.0 } else { 25.0 };
        println!("    bound {bound} s: {}", if stalls[stalls.len() - 1] <= bound { "kept" } else { "NOT KEPT" });
    }
    Ok(())
}
