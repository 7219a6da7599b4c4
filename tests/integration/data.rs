//! The real data sets, where they are: beside the checkout, never in it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

static MISSING: AtomicU32 = AtomicU32::new(0);
static PROMTOOL_MISSING: AtomicBool = AtomicBool::new(false);

/// Says where the data sets are.
pub const VARIABLE: &str = "TOUCHSTONE_TEST_DATA";

/// Where the data sets are.
pub fn root() -> PathBuf {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    std::env::var_os(VARIABLE).map_or(beside, PathBuf::from)
}

/// The directory of a data set, if it is there. Where it is not, the end of the run says so.
pub fn directory(name: &str) -> Option<PathBuf> {
    let directory = root().join(name);
    if directory.join("truth.json").exists() {
        return Some(directory);
    }
    MISSING.fetch_add(1, Ordering::SeqCst);
    None
}

/// Notes that the page of `/metrics` was not checked, for the end of the run.
pub fn promtool_is_missing() {
    PROMTOOL_MISSING.store(true, Ordering::SeqCst);
}

/// Says what could not be checked, loudly.
pub fn report() {
    if PROMTOOL_MISSING.load(Ordering::SeqCst) {
        println!("NOT CHECKED: /metrics by promtool, which is not installed (Debian: prometheus)\n");
    }
    let missing = MISSING.load(Ordering::SeqCst);
    if missing > 0 {
        println!("NOT COMPARED: {missing} tests had no data set; put them into ../shared/data or set {VARIABLE}\n");
    }
}
