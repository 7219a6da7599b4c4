//! Two builds beside each other: the version before, which reads and writes one format alone, and this one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use libtest_mimic::Failed;

use crate::copied::{Copied, replace};
use crate::process::PROGRAM;
use crate::storm::Storm;

/// The version before.
fn build_before() -> Result<PathBuf, Failed> {
    // Built for an empty test: so its dependencies are those that are built already, with the features that tests ask for.
    let cargo = ["test", "--no-run", "--test", "simulation"];
    let copied = Copied {
        name: "before",
        directories: &[],
        links: &[],
        targets: &["[[bin]]", "\"simulation\""],
        program: "touchstone-before",
        cargo: &cargo,
        is_idle: true,
    };
    let built = copied.build(|sources| {
        let (latest, before) =
            ("pub const LATEST: Format = Format::V2;", "pub const LATEST: Format = Format::PREVIOUS;");
        sources.insert("tests/simulation/main.rs".into(), "fn main() {}\n".into());
        replace(sources, "src/engine/codec.rs", latest, before)?;
        replace(sources, "src/config/raw.rs", "format: 2,", "format: 1,")
    });
    Ok(built?)
}

/// The version before is upgraded one process after the other, goes back, and is upgraded again, as OPERATIONS.md says.
pub fn two_builds() -> Result<(), Failed> {
    let before = build_before()?;
    let now = Path::new(PROGRAM);
    let mut storm = Storm::prepare("upgrade", 1)?;
    let names = ["process-0", "process-1"];
    names.iter().for_each(|name| storm.launch_as(name, &before, &[]));
    storm.go_on("the version before takes the first events in")?;
    let mut every = |program: &Path, format: Option<&str>, what: &str| -> Result<(), Failed> {
        for name in names {
            storm.stop(name);
            let variable = format.map(|format| ("TOUCHSTONE__SERVICE__FORMAT", format));
            storm.launch_as(name, program, variable.as_slice());
            storm.go_on(&format!("{name}: {what}"))?;
        }
        // Both have their part of the work, and write a checkpoint at least: what OPERATIONS.md has its reader wait for.
        storm.shared()?;
        std::thread::sleep(Duration::from_secs(3));
        Ok(())
    };
    every(now, Some("1"), "up, still in the format before")?;
    every(now, Some("2"), "in the format of now")?;
    every(now, Some("1"), "down: in the format before")?;
    every(&before, None, "the version before again")?;
    every(now, Some("1"), "up again, still in the format before")?;
    every(now, None, "in the format of now")?;
    storm.compare()
}
