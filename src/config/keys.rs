//! Every key, described.
