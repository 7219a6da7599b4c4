//! `touchstone topics`: create or compare the topics the service needs, and what it must be allowed to do.

use super::run::{connection, settings};
use super::{Exit, Failure};
use crate::kafka::admin::Admin;
use crate::topics::{acls, table};
use clap::Args;
use std::path::PathBuf;

/// Create or compare the topics it needs
#[derive(Debug, Args)]
#[command(after_help = "Example:\n    touchstone topics --config touchstone.toml --create")]
pub struct Topics {
    /// The configuration
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Create the topics that do not exist; what exists is never changed
    #[arg(long)]
    create: bool,
    /// Print the least access each role needs, and do nothing else
    #[arg(long)]
    acls: bool,
}

impl Topics {
    /// Runs the command.
    ///
    /// # Errors
    /// [`Failure`]: Kafka cannot be reached, or something differs.
    pub fn run(self) -> Result<(), Failure> {
        let settings = settings(&self.config)?;
        if self.acls {
            for acl in acls(&settings.layout, &settings.application) {
                println!("{acl}");
            }
            return Ok(());
        }
        let topics = table(&settings.layout);
        let failed = |error| Failure::new(Exit::Failed, error);
        let admin = Admin::open(&connection(&settings)?).map_err(failed)?;
        if self.create {
            for name in admin.create(&topics).map_err(failed)? {
                println!("created {name}");
            }
        }
        let differences = admin.compare(&topics).map_err(failed)?;
        for difference in &differences {
            println!("{difference}");
        }
        if differences.is_empty() {
            println!("{} topics are as they should be", topics.len());
            return Ok(());
        }
        let advice = if self.create { "" } else { "; --create makes those that are missing" };
        Err(anyhow::anyhow!("{} differences{advice}", differences.len()).into())
    }
}
