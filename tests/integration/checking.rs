//! Properties over many made-up cases, the same cases in every run; a counterexample is shrunk and printed.

use std::fmt::Debug;

use libtest_mimic::Failed;
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};

/// Checks that `law` panics for none of `cases` values.
pub fn holds<S: Strategy>(cases: u32, values: S, law: impl Fn(S::Value)) -> Result<(), Failed>
where
    S::Value: Debug,
{
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 400, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let checked = runner.run(&values, |value| {
        law(value);
        Ok(())
    });
    checked.map_err(|error| match error {
        TestError::Fail(reason, value) => format!("{reason}\nwith {value:#?}").into(),
        TestError::Abort(reason) => format!("no cases: {reason}").into(),
    })
}
