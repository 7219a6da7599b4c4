//! TLS and SASL: what is configured, checked and handed to librdkafka; and what a cluster says when it refuses us.
//!
//! A refusal is final until a person mends it: it is told in one sentence that names the keys to look at, and told once.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::client::OAuthToken;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use crate::secret::Secret;

/// How a connection is protected, and who we are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Security {
    /// Whether connections are encrypted.
    pub tls: bool,
    /// Whom we trust; `None`: the system's certificates.
    pub ca_file: Option<PathBuf>,
    /// Our certificate and its key, where the cluster asks for one.
    pub certificate: Option<Certificate>,
    /// How we log in, if we do.
    pub login: Option<Login>,
}

/// A client's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// PEM, with the chain.
    pub file: PathBuf,
    /// PEM.
    pub key_file: PathBuf,
    /// Where the key is encrypted.
    pub key_password: Option<Secret>,
}

/// A SASL login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// PLAIN or SCRAM, by the mechanism's name.
    Password {
        /// `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`.
        mechanism: String,
        /// The user.
        username: String,
        /// The password.
        password: Secret,
    },
    /// OAUTHBEARER with a token (a JWT) that somebody else keeps fresh in a file.
    Token {
        /// Read again whenever the token is about to expire.
        file: PathBuf,
    },
}

impl Security {
    /// Sets what every client has in common.
    pub(super) fn apply(&self, config: &mut ClientConfig) {
        let protocol = match (self.tls, self.login.is_some()) {
            (false, false) => return,
            (false, true) => "sasl_plaintext",
            (true, false) => "ssl",
            (true, true) => "sasl_ssl",
        };
        config.set("security.protocol", protocol);
        if self.tls {
            let ca = self.ca_file.as_ref().map_or("probe".into(), |file| file.to_string_lossy());
            config.set("ssl.ca.location", ca);
        }
        if let Some(Certificate { file, key_file, key_password }) = &self.certificate {
            config.set("ssl.certificate.location", file.to_string_lossy());
            config.set("ssl.key.location", key_file.to_string_lossy());
            if let Some(password) = key_password {
                config.set("ssl.key.password", password.reveal());
            }
        }
        match &self.login {
            Some(Login::Password { mechanism, username, password }) => {
                config.set("sasl.mechanism", mechanism);
                config.set("sasl.username", username).set("sasl.password", password.reveal());
            }
            Some(Login::Token { .. }) => _ = config.set("sasl.mechanism", "OAUTHBEARER"),
            None => {}
        }
    }

    /// Whether clients ask us for tokens.
    pub(super) fn by_token(&self) -> bool {
        matches!(self.login, Some(Login::Token { .. }))
    }
}

/// What one client's context knows: where its tokens come from, and how it was refused last.
#[derive(Debug, Default)]
pub(super) struct Access {
    token_file: Option<PathBuf>,
    refusal: Mutex<Option<(String, Instant)>>,
    denied: AtomicBool,
}

impl Access {
    pub fn new(security: &Security) -> Access {
        let token_file = match &security.login {
            Some(Login::Token { file }) => Some(file.clone()),
            _ => None,
        };
        Access { token_file, refusal: Mutex::default(), denied: AtomicBool::new(false) }
    }

    /// An error that the client has met.
    pub fn heard(&self, error: &KafkaError, reason: &str) {
        if error.rdkafka_error_code().is_some_and(is_denied) {
            self.denied.store(true, Ordering::Release);
        }
        if let Some(refusal) = refusal(error, reason) {
            *self.lock() = Some((refusal, Instant::now()));
        }
    }

    /// Whether an error said that we may not do what we did.
    pub fn is_denied(&self) -> bool {
        self.denied.load(Ordering::Acquire)
    }

    /// The last refusal, while it is fresh: each attempt to connect brings it again.
    pub fn refusal(&self) -> Option<String> {
        self.lock().as_ref().filter(|(_, at)| at.elapsed() < FRESH).map(|(refusal, _)| refusal.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Option<(String, Instant)>> {
        self.refusal.lock().expect("nothing panics while it holds this lock")
    }

    /// The token, as it is in its file now.
    pub fn token(&self) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        let token = self.read_token();
        if let Err(problem) = &token {
            *self.lock() = Some((problem.clone(), Instant::now()));
        }
        token.map_err(Into::into)
    }

    fn read_token(&self) -> Result<OAuthToken, String> {
        let file = self.token_file.as_ref().ok_or("no token is configured")?;
        let text = std::fs::read_to_string(file)
            .map_err(|error| format!("kafka.sasl_token_file {}: {error}", file.display()))?;
        let token = text.trim().to_owned();
        let claims =
            claims(&token).ok_or_else(|| format!("kafka.sasl_token_file {}: it holds no JWT", file.display()))?;
        let expires = claims["exp"].as_f64().unwrap_or(0.0);
        Ok(OAuthToken {
            principal_name: claims["sub"].as_str().unwrap_or("touchstone").to_owned(),
            lifetime_ms: (expires * 1000.0) as i64,
            token,
        })
    }
}

/// The claims of a JWT; its signature is the cluster's to check.
fn claims(token: &str) -> Option<serde_json::Value> {
    let payload = token.split('.').nth(1)?;
    let mut bytes = Vec::with_capacity(payload.len());
    let (mut bits, mut count) = (0u32, 0);
    for byte in payload.trim_end_matches('=').bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'-' | b'+' => 62,
            b'_' | b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    serde_json::from_slice(&bytes).ok()
}

/// The sentence for an error by which a cluster, or we, refuse a connection.
fn refusal(error: &KafkaError, reason: &str) -> Option<String> {
    let reason = plain(reason);
    match error.rdkafka_error_code()? {
        Code::Authentication => Some(format!(
            "Kafka refuses the login ({reason}); check kafka.sasl_mechanism, kafka.sasl_username and the password or token"
        )),
        Code::SSL => Some(format!(
            "no TLS connection to Kafka ({reason}); check kafka.ssl_ca_file, the certificates and their dates"
        )),
        // The broker has looked at our certificate after the handshake was over for us.
        Code::BrokerTransportFailure if reason.contains(" alert ") => Some(format!(
            "Kafka refuses our certificate ({reason}); check kafka.ssl_certificate_file, kafka.ssl_key_file and the dates"
        )),
        _ => None,
    }
}

/// A reason of librdkafka without what differs from one attempt to the next.
fn plain(reason: &str) -> &str {
    reason.split(" (after ").next().unwrap_or(reason).trim_end_matches(": ")
}

/// Whether the error says that we may not do what we did.
pub(super) fn is_denied(code: Code) -> bool {
    matches!(
        code,
        Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
            | Code::ClusterAuthorizationFailed
    )
}

/// The sentence for a right that is missing.
pub(super) fn denied(what: &str) -> String {
    format!("Kafka denies access to {what}; `touchstone topics --acls` prints the access that is needed")
}

/// How long a refusal stands.
const FRESH: Duration = Duration::from_secs(60);

/// What librdkafka has said lately: it says the same at each attempt to connect.
static SAID: Mutex<BTreeMap<String, Instant>> = Mutex::new(BTreeMap::new());

/// How long a line is not repeated.
const ONCE_IN: Duration = Duration::from_secs(600);

/// How many lines are remembered.
const SAID_MAX: usize = 256;

/// Whether a line of librdkafka is news.
pub(super) fn is_news(message: &str) -> bool {
    let mut said = SAID.lock().expect("nothing panics while it holds this lock");
    let message = plain(message);
    if said.get(message).is_some_and(|at| at.elapsed() < ONCE_IN) {
        return false;
    }
    if said.len() >= SAID_MAX {
        said.clear();
    }
    said.insert(message.to_owned(), Instant::now());
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_claims_of_a_token_are_read() {
        // {"sub":"svc-ü?","exp":1767571200}
        let token = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJzdmMtw7w_IiwiZXhwIjoxNzY3NTcxMjAwfQ.";
        let claims = claims(token).unwrap();
        assert_eq!((claims["sub"].as_str(), claims["exp"].as_i64()), (Some("svc-ü?"), Some(1_767_571_200)));
        for none in ["", "abc", "a.b", "a.!.c", "e30.W10."] {
            assert!(super::claims(none).is_none_or(|claims| claims["exp"].is_null()), "{none}");
        }
    }

    #[test]
    fn the_same_line_is_said_once() {
        assert!(is_news("ssl://a:1: handshake failed (after 3ms in state CONNECT)"));
        assert!(!is_news("ssl://a:1: handshake failed (after 5ms in state CONNECT, 3 identical error(s) suppressed)"));
        assert!(is_news("ssl://a:2: handshake failed (after 3ms in state CONNECT)"));
    }
}
