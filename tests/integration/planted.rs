//! Secrets and a customer that are planted into the tests, and looked for in everything the program says: each log,
//! each page, each error. None of it may ever be seen.

use std::sync::Mutex;

/// The password of every user of the locked broker.
pub const PASSWORD: &str = "planted-password-9c1f";

/// The password of an encrypted private key.
pub const KEY_PASSWORD: &str = "planted-key-password-77d0";

/// A customer of whom dead letters and late items speak.
pub const CUSTOMER: &str = "planted-customer-5b7e";

static MORE: Mutex<Vec<String>> = Mutex::new(Vec::new());
static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());
static LOOKED: Mutex<usize> = Mutex::new(0);

/// One more secret: a token.
pub fn plant(secret: &str) {
    MORE.lock().unwrap().push(secret.to_owned());
}

/// Looks through something the program has said.
pub fn look(place: &str, text: &str) {
    *LOOKED.lock().unwrap() += text.len();
    let more = MORE.lock().unwrap();
    for secret in [PASSWORD, KEY_PASSWORD, CUSTOMER].into_iter().chain(more.iter().map(String::as_str)) {
        if let Some(at) = text.find(secret) {
            let line = text[..at].rsplit('\n').next().unwrap_or_default();
            SEEN.lock().unwrap().push(format!("{place}: after {line:?}: {secret}"));
        }
    }
}

/// What was seen in the whole run, and how many bytes were looked through.
pub fn report() -> (Vec<String>, usize) {
    (SEEN.lock().unwrap().clone(), *LOOKED.lock().unwrap())
}
