//! Measures what a commit costs on the real Kafka. Not part of the ordinary run: `cargo test --release --test
//! integration -- --ignored commit_latency --nocapture`.

use std::time::Instant;

use libtest_mimic::Trial;
use touchstone::pipeline::link::Output;

use crate::broker;
use crate::rig::{Rig, Worker, commit, config, output, unique};

pub fn tests() -> Vec<Trial> {
    vec![Trial::test("kafka::commit_latency", || Ok(measure()?)).with_ignored_flag(true)]
}

fn measure() -> Result<(), String> {
    if broker::is_left_out() {
        return Err("there is nothing to measure without a Kafka".into());
    }
    let rig = Rig::kafka()?;
    let (input, deltas) = (rig.topic(1), rig.topic(16));
    let mut worker = Worker::new(rig.open(&config(&unique("group"), &input)));
    worker.poll_until("assignment", |worker| !worker.owned.is_empty());
    let value = "x".repeat(2000);
    // Without a pause a commit also waits for the markers of the one before it.
    for (pause_ms, commits) in [(0, 300), (100, 50), (100, 100), (250, 60)] {
        let mut millis = Vec::new();
        for number in 0..commits {
            let outputs: Vec<Output> = (0..16).map(|partition| output(&deltas, partition, &value)).collect();
            let begun = Instant::now();
            worker.link.commit(commit(number, "metadata", outputs)).map_err(|error| error.to_string())?;
            millis.push(begun.elapsed().as_secs_f64() * 1e3);
            worker.poll(pause_ms);
        }
        millis.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| millis[((millis.len() - 1) as f64 * share) as usize];
        let (p50, p95, max) = (at(0.5), at(0.95), at(1.0));
        println!("16 outputs of 2 kB, every {pause_ms} ms: p50 {p50:.1} ms, p95 {p95:.1} ms, max {max:.1} ms");
    }
    worker.link.close();
    Ok(())
}
