//! From a log to the engine and back: the ports, the worker loop, alignment and halting.
pub mod link;
