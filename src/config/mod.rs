//! Configuration: a file and the environment into checked settings. Read once, at the start.
//!
//! `TOUCHSTONE__SECTION__KEY` in the environment goes over the file. An unknown key is an error in both: a
//! setting that does nothing is worse than none. Every key: config/touchstone.toml and docs/CONFIG.md.

mod duration;
pub mod keys;
mod raw;
mod settings;

pub use duration::Span;
pub use raw::Raw;
pub use settings::{HttpSettings, LogFormat, Settings, Workers};

use crate::secret::Secret;
use config::{Environment, File, FileFormat};

/// Prefix of the environment variables that go over the file.
const PREFIX: &str = "TOUCHSTONE";

/// A configuration that cannot be used. The message names the key, the value and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// Reads a file (none: the defaults) and the environment.
///
/// # Errors
/// [`ConfigError`]: unreadable, not TOML, an unknown key, a value of the wrong kind.
pub fn read(path: Option<&str>) -> Result<Raw, ConfigError> {
    let mut builder = config::Config::builder();
    if let Some(path) = path {
        let text =
            std::fs::read_to_string(path).map_err(|error| ConfigError(format!("configuration {path}: {error}")))?;
        // What the file says is looked at alone: the environment may hold secrets, the file may not.
        parse(&text)
            .map_err(|error| ConfigError(error.0.replacen("configuration", &format!("configuration {path}"), 1)))?;
        builder = builder.add_source(File::from_str(&text, FileFormat::Toml));
    }
    let environment = Environment::with_prefix(PREFIX).prefix_separator("__").separator("__").try_parsing(true);
    let place = path.map_or("configuration".to_string(), |path| format!("configuration {path}"));
    let built = builder.add_source(environment).build().map_err(|error| ConfigError(format!("{place}: {error}")))?;
    let mut raw: Raw = built.try_deserialize().map_err(|error| ConfigError(format!("{place}: {error}")))?;
    // As they are: `007` and `1e5` are no numbers here.
    for (name, secret) in
        [("SASL_PASSWORD", &mut raw.kafka.sasl_password), ("SSL_KEY_PASSWORD", &mut raw.kafka.ssl_key_password)]
    {
        if let Ok(value) = std::env::var(format!("{PREFIX}__KAFKA__{name}")) {
            *secret = Some(Secret::new(value));
        }
    }
    Ok(raw)
}

/// Reads a configuration from text, without the environment.
///
/// # Errors
/// [`ConfigError`], as [`read`].
pub fn parse(text: &str) -> Result<Raw, ConfigError> {
    let builder = config::Config::builder().add_source(File::from_str(text, FileFormat::Toml));
    let built = builder.build().map_err(|error| ConfigError(format!("configuration: {error}")))?;
    let raw: Raw = built.try_deserialize().map_err(|error| ConfigError(format!("configuration: {error}")))?;
    for (name, secret) in
        [("sasl_password", &raw.kafka.sasl_password), ("ssl_key_password", &raw.kafka.ssl_key_password)]
    {
        if secret.is_some() {
            return Err(ConfigError(format!(
                "configuration: kafka.{name} must not be written into the file: write {name}_file, or set {PREFIX}__KAFKA__{} in the environment",
                name.to_uppercase()
            )));
        }
    }
    Ok(raw)
}
