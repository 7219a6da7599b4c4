//! The two stages: fold counts what one source brings, merge adds up what all sources brought.
//!
//! Both are driven the same way. Items or sections go in; `prepare` gives what a commit makes true;
//! `committed` or `aborted` says whether it did. Between two commits nothing is certain, and an abort takes
//! all of it back.

mod fold;
mod merge;
mod open;
mod store;

pub use fold::{Fold, Judged, sections};
pub use merge::{Merge, MergeCommit, SetTime};
pub use open::Open;
