//! See `../bodies.rs`.
#![no_main]

#[path = "../bodies.rs"]
#[expect(dead_code, reason = "a target is one of the bodies")]
mod bodies;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::config(bytes));
