//! Generated files are fresh: what is in the repository is what the code makes now. `TOUCHSTONE_BLESS=1` writes them.

use crate::alerts;
use libtest_mimic::{Failed, Trial};
use std::path::Path;
use touchstone::config::keys;
use touchstone::export::FAMILIES;
use touchstone::metrics::documentation;

pub fn tests() -> Vec<Trial> {
    vec![
        Trial::test("generated::config_touchstone_toml", || fresh("config/touchstone.toml", &keys::file())),
        Trial::test("generated::docs_config_md", || fresh("docs/CONFIG.md", &keys::markdown())),
        Trial::test("generated::docs_metrics_md", || fresh("docs/METRICS.md", &metrics())),
        Trial::test("generated::docs_alerts_md", || fresh("docs/ALERTS.md", &alerts::table()?)),
    ]
}

fn metrics() -> String {
    let families: Vec<_> =
        FAMILIES.iter().map(|family| (family.name, family.kind, family.labels, family.help)).collect();
    documentation::markdown(&families)
}

fn fresh(path: &str, made: &str) -> Result<(), Failed> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("TOUCHSTONE_BLESS").is_some() {
        std::fs::create_dir_all(file.parent().unwrap())?;
        std::fs::write(&file, made)?;
    }
    let there = std::fs::read_to_string(&file).unwrap_or_default();
    if there == made {
        return Ok(());
    }
    Err(format!("{path} is not what the code makes: run TOUCHSTONE_BLESS=1 cargo test --test integration generated")
        .into())
}
