//! What a cell counts with. Every accumulator is made of integers and merges by addition, so merging is
//! exact, commutative, associative and can be undone: order and batching cannot show (I-1).
//!
//! Zero entries are never kept, so that equal contents are equal values.

mod distribution;
mod histogram;
mod tally;

pub use distribution::{Distribution, Scale};
pub use histogram::{Histogram, bounds, bucket};
pub use tally::{OTHER, Tally};
