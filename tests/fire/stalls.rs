//! How long read-committed readers stand still when a process is killed inside a commit: with its own name it takes its
//! transaction over at once; under another name the transaction's time must run out.

use std::time::{Duration, Instant};

use libtest_mimic::Failed;

use crate::cluster::Cluster;
use crate::feed::{self, Feed};
use crate::process::wait_for;
use crate::setup::{Setup, Shape};

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
    let (stable, all) = (setup.reader("read_committed"), setup.reader("read_uncommitted"));
    let feed = Feed::start(&address, &setup.names["input"], feed::now() - 24 * 3_600_000, 1_000);
    let mut number = 0;
    let mut service = setup.start("p-0");
    for (kind, same) in [("the same name", true), ("another name", false)] {
        let mut stalls = Vec::new();
        let mut kills = 0;
        while stalls.len() < count {
            wait_for("it commits", Duration::from_secs(60), || {
                service.sum("touchstone_commit_seconds_count", "fold") > 30.0
            })
            .map_err(|error| format!("{error}\n{}", service.log()))?;
            std::thread::sleep(Duration::from_millis(7 * (kills % 40)));
            service.kill();
            kills += 1;
            let killed = Instant::now();
            let written = setup.ends(&all, "deltas")?;
            let is_read = || {
                setup
                    .ends(&stable, "deltas")
                    .is_ok_and(|stable| stable.iter().zip(&written).all(|(stable, all)| stable >= all))
            };
            let inside = !is_read();
            number += u64::from(!same);
            service = setup.start(&format!("p-{number}"));
            if inside {
                wait_for("readers go on", Duration::from_secs(60), is_read)
                    .map_err(|error| format!("{error}\n{}", service.log()))?;
                stalls.push(killed.elapsed().as_secs_f64());
            }
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
    feed.end()?;
    Ok(())
}
