//! A steady load for a long time: memory, descriptors and threads must not grow.

use std::time::{Duration, Instant};

use libtest_mimic::Failed;

use crate::cluster::Cluster;
use crate::feed;
use crate::process::{self, Service};
use crate::setup::{Setup, Shape};

/// Items a second.
const RATE: &str = "20000";

/// What `/proc` says of a process: resident memory in KiB, descriptors, threads.
fn look(id: u32) -> Result<(f64, usize, usize), Failed> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let number = |name: &str| -> Option<f64> {
        status.lines().find(|line| line.starts_with(name))?.split_whitespace().nth(1)?.parse().ok()
    };
    let descriptors = std::fs::read_dir(format!("/proc/{id}/fd"))?.count();
    let (resident, threads) = (number("VmRSS:").ok_or("VmRSS")?, number("Threads:").ok_or("Threads")?);
    Ok((resident, descriptors, threads as usize))
}

/// Least squares: the slope per minute and its standard error.
///
/// Memory is given back in lumps, so looks that follow each other resemble each other. The error is that of as many
/// independent looks as they are worth: n (1 - r) / (1 + r), where r is the correlation of neighbouring residuals (Santer
/// et al. 2000, Journal of Geophysical Research 105 (D6), equation 6), and three at least.
fn slope(points: &[(f64, f64)]) -> (f64, f64) {
    let n = points.len() as f64;
    let (mean_x, mean_y) =
        (points.iter().map(|point| point.0).sum::<f64>() / n, points.iter().map(|point| point.1).sum::<f64>() / n);
    let square: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    let slope = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum::<f64>() / square;
    let residuals: Vec<f64> = points.iter().map(|(x, y)| y - mean_y - slope * (x - mean_x)).collect();
    let rest: f64 = residuals.iter().map(|residual| residual.powi(2)).sum();
    let alike = residuals.windows(2).map(|pair| pair[0] * pair[1]).sum::<f64>() / rest.max(f64::MIN_POSITIVE);
    let worth = (n * (1.0 - alike) / (1.0 + alike)).clamp(3.0, n);
    (slope, (rest / (worth - 2.0) / square).sqrt())
}

/// Whether memory grows by more than a thousandth a minute, beyond what chance makes of a steady one.
fn grows(points: &[(f64, f64)]) -> bool {
    let (slope, error) = slope(points);
    let mean = points.iter().map(|point| point.1).sum::<f64>() / points.len() as f64;
    slope - 1.96 * error > mean / 1000.0
}

/// A leak of 1 MiB a minute shows in looks that go up and down by as much as those of a long run did, and no leak does not.
pub fn a_leak_shows() -> Result<(), Failed> {
    for seed in 0..20u64 {
        let (mut state, mut noise) = (seed * 2_654_435_761 + 1, 0.0);
        let mut look = |leak: f64, number: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let chance = (state >> 11) as f64 / (1u64 << 53) as f64 - 0.5;
            noise = 0.9 * noise + 3_000.0 * chance;
            let minute = number as f64 / 12.0;
            (minute, 280_000.0 + noise + leak * minute)
        };
        let steady: Vec<(f64, f64)> = (0..241).map(|number| look(0.0, number)).collect();
        let leaking: Vec<(f64, f64)> = (0..241).map(|number| look(1024.0, number)).collect();
        assert!(!grows(&steady) && grows(&leaking), "seed {seed}: {:?}, {:?}", slope(&steady), slope(&leaking));
    }
    Ok(())
}

/// Series of the windows on a page.
fn series(page: &str) -> usize {
    page.lines().filter(|line| line.starts_with("cx_") && line.contains("window=\"")).count()
}

/// What `check` expects of this load: series and MiB. The mixture is that of `generate`.
fn expected(setup: &Setup, service: &Service) -> Result<(f64, f64), Failed> {
    let rate: f64 = RATE.parse()?;
    let mut arguments = vec!["check".to_owned()];
    for (kind, share) in [("contact", 0.60), ("interaction", 0.25), ("survey", 0.14), ("customer", 0.01)] {
        arguments.extend(["--rate".to_owned(), format!("{kind}={}", rate * share)]);
    }
    for group_by in ["channel", "queue", "team", "region", "segment"] {
        let slices = service.values("touchstone_slices", &format!("slice=\"{group_by}\""));
        let most = slices.into_iter().fold(0.0, f64::max);
        arguments.extend(["--slices".to_owned(), format!("{group_by}={most}")]);
    }
    let told = setup.command(&arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
    let number = |name: &str| -> Result<f64, Failed> {
        let line = told.lines().find_map(|line| line.strip_prefix(name)).ok_or_else(|| format!("no {name:?}"))?;
        Ok(line.trim().split(' ').next().unwrap_or_default().parse()?)
    };
    Ok((number("#   series:")?, number("#   memory:")?))
}

/// So many minutes of [`RATE`] items a second through one process.
pub fn steady(minutes: usize) -> Result<(), Failed> {
    let cluster = Cluster::start("soak", 1)?;
    let (address, via) = (cluster.address(), cluster.via());
    let setup = Setup::new(&Shape {
        address: &address,
        via: &via,
        replication: 1,
        partitions: 4,
        timing: "",
        input: "lateness = \"2m\"\nmax_future = \"1m\"",
        // What is held is complete when the longest window and lateness have passed once, well within the first third.
        more: "[[windows]]\nname = \"1m\"\nsize = \"1m\"\n[[windows]]\nname = \"5m\"\nsize = \"5m\"\nslide = \"1m\"\n\
               [export]\nwide = [\"5m\"]\nnarrow = [\"5m\"]",
    })?;
    let service = setup.start("one");
    let config = setup.config.to_string_lossy().into_owned();
    // As many events as the time takes, stamped with the time they are made at.
    let seconds = 60 * minutes;
    let start = touchstone::engine::time::rfc3339(feed::now());
    let (count, span) = ((20_000 * seconds).to_string(), format!("{seconds}s"));
    let mut traffic = std::process::Command::new(process::PROGRAM)
        .args(["generate", "--config", &config, "--input", "calls", "--rate", RATE, "--count", &count])
        .args(["--clean", "--start", &start, "--duration", &span])
        .spawn()?;
    let started = Instant::now();
    let mut points = Vec::new();
    let mut looks = Vec::new();
    while started.elapsed() < Duration::from_secs(seconds as u64) {
        std::thread::sleep(Duration::from_secs(5));
        let minute = started.elapsed().as_secs_f64() / 60.0;
        let (resident, descriptors, threads) = look(service.id())?;
        looks.push((minute, descriptors, threads));
        if looks.len() % 24 == 0 {
            let (ids, panes) = (service.sum("touchstone_dedup_ids", ""), service.sum("touchstone_cells", ""));
            println!("    {minute:>5.1} min: {:.0} MiB, {ids} ids, {panes} panes", resident / 1024.0);
        }
        // The first third warms up: windows fill, ids reach back as far as they will.
        if minute > minutes as f64 / 3.0 {
            points.push((minute, resident));
        }
    }
    let _ = traffic.kill();
    let _ = traffic.wait();
    let taken = service.sum("touchstone_items_total", "");
    let (slope, error) = slope(&points);
    let mean = points.iter().map(|point| point.1).sum::<f64>() / points.len() as f64;
    let shown = process::ask(service.address(), "/metrics").map_or(0, |(_, page)| series(&page));
    let (expected_series, expected_memory) = expected(&setup, &service)?;
    println!(
        "    `check` expects {expected_memory:.0} MiB and {expected_series:.0} series; there are {:.0} MiB and {shown}",
        mean / 1024.0
    );
    println!(
        "    {taken} items, {:.0} a second; memory {:.0} MiB, slope {:+.1} +- {:.1} KiB a minute over the last {} looks",
        taken / started.elapsed().as_secs_f64(),
        mean / 1024.0,
        slope,
        1.96 * error,
        points.len()
    );
    let third = looks.len() / 3;
    let most = |looks: &[(f64, usize, usize)]| {
        (looks.iter().map(|look| look.1).max().unwrap_or(0), looks.iter().map(|look| look.2).max().unwrap_or(0))
    };
    println!(
        "    descriptors and threads: {:?} at first, {:?} at last",
        most(&looks[..third]),
        most(&looks[2 * third..])
    );
    assert!(taken > 0.8 * 20_000.0 * seconds as f64, "the load was not taken in: {taken}");
    assert!(!grows(&points), "memory grows");
    let near = |expected: f64, found: f64| (expected / found - 1.0).abs() <= 0.2;
    assert!(near(expected_memory, mean / 1024.0), "the memory is not what `check` expects");
    assert!(near(expected_series, shown as f64), "the series are not what `check` expects");
    let (first, last) = (most(&looks[..third]), most(&looks[2 * third..]));
    assert!(last.0 <= first.0 + 2 && last.1 <= first.1 + 1, "descriptors or threads grow");
    Ok(())
}
