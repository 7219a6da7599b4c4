//! From the configuration to a protected connection: files are read here, and what contradicts itself is said.

use super::Failure;
use crate::config::Settings;
use crate::kafka::security::{Certificate, Login, Security};
use crate::secret::Secret;
use std::path::PathBuf;

/// The mechanisms that take a user and a password.
const BY_PASSWORD: [&str; 3] = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"];

/// What `[kafka]` says about TLS and the login.
///
/// # Errors
/// [`Failure`] with the exit code of a wrong configuration: which key, and what to write.
pub(super) fn security(settings: &Settings) -> Result<Security, Failure> {
    let (kafka, directory) = (&settings.raw.kafka, &settings.directory);
    let (tls, sasl) = match kafka.security_protocol.to_ascii_lowercase().as_str() {
        "plaintext" => (false, false),
        "ssl" => (true, false),
        "sasl_plaintext" => (false, true),
        "sasl_ssl" => (true, true),
        other => {
            return Err(Failure::usage(format!(
                "kafka.security_protocol = {other:?}: write \"plaintext\", \"ssl\", \"sasl_plaintext\" or \"sasl_ssl\""
            )));
        }
    };
    if (tls || sasl) && !cfg!(feature = "tls") {
        return Err(Failure::usage(format!(
            "kafka.security_protocol = {:?}: this program was built without TLS and logins; build it with cargo's feature tls, as is the default",
            kafka.security_protocol
        )));
    }
    let file = |key: &str, path: &str| -> Result<Option<PathBuf>, Failure> {
        if path.is_empty() {
            return Ok(None);
        }
        let path = directory.join(path);
        std::fs::File::open(&path)
            .map_err(|error| Failure::usage(format!("kafka.{key} {}: {error}", path.display())))?;
        Ok(Some(path))
    };
    let secret = |key: &str, path: &str, given: &Option<Secret>| -> Result<Option<Secret>, Failure> {
        let Some(path) = file(key, path)? else { return Ok(given.clone()) };
        let text = std::fs::read_to_string(&path)
            .map_err(|error| Failure::usage(format!("kafka.{key} {}: {error}", path.display())))?;
        Ok(Some(Secret::new(text.trim_end_matches(['\r', '\n']))))
    };
    let only = |allowed: bool, protocol: &str, keys: &[(&str, bool)]| match keys.iter().find(|(_, set)| *set) {
        Some((key, _)) if !allowed => {
            Err(Failure::usage(format!("kafka.{key} is set, but kafka.security_protocol is not {protocol}")))
        }
        _ => Ok(()),
    };
    only(
        tls,
        "ssl or sasl_ssl",
        &[
            ("ssl_ca_file", !kafka.ssl_ca_file.is_empty()),
            ("ssl_certificate_file", !kafka.ssl_certificate_file.is_empty()),
            ("ssl_key_file", !kafka.ssl_key_file.is_empty()),
        ],
    )?;
    only(
        sasl,
        "sasl_plaintext or sasl_ssl",
        &[
            ("sasl_mechanism", !kafka.sasl_mechanism.is_empty()),
            ("sasl_username", !kafka.sasl_username.is_empty()),
            ("sasl_password_file", !kafka.sasl_password_file.is_empty()),
            ("sasl_token_file", !kafka.sasl_token_file.is_empty()),
        ],
    )?;
    let certificate_file = file("ssl_certificate_file", &kafka.ssl_certificate_file)?;
    let certificate = match (certificate_file, file("ssl_key_file", &kafka.ssl_key_file)?) {
        (None, None) => None,
        (Some(file), Some(key_file)) => {
            let key_password = secret("ssl_key_password_file", &kafka.ssl_key_password_file, &kafka.ssl_key_password)?;
            Some(Certificate { file, key_file, key_password })
        }
        _ => return Err(Failure::usage("kafka.ssl_certificate_file and kafka.ssl_key_file go together: write both")),
    };
    let login = match sasl {
        false => None,
        true if kafka.sasl_mechanism == "OAUTHBEARER" => {
            let Some(file) = file("sasl_token_file", &kafka.sasl_token_file)? else {
                return Err(Failure::usage("kafka.sasl_mechanism = \"OAUTHBEARER\" needs kafka.sasl_token_file"));
            };
            Some(Login::Token { file })
        }
        true if BY_PASSWORD.contains(&kafka.sasl_mechanism.as_str()) => {
            let (mechanism, username) = (kafka.sasl_mechanism.clone(), kafka.sasl_username.clone());
            let password = secret("sasl_password_file", &kafka.sasl_password_file, &kafka.sasl_password)?;
            let Some(password) = password.filter(|_| !username.is_empty()) else {
                return Err(Failure::usage(format!(
                    "kafka.sasl_mechanism = {mechanism:?} needs kafka.sasl_username and kafka.sasl_password_file"
                )));
            };
            Some(Login::Password { mechanism, username, password })
        }
        true => {
            return Err(Failure::usage(format!(
                "kafka.sasl_mechanism = {:?}: write {} or OAUTHBEARER",
                kafka.sasl_mechanism,
                BY_PASSWORD.join(", ")
            )));
        }
    };
    Ok(Security { tls, ca_file: file("ssl_ca_file", &kafka.ssl_ca_file)?, certificate, login })
}
