//! Pure machines: they take `now` and return a decision.

pub(crate) mod backoff;
pub(crate) mod heartbeat;
pub(crate) mod policy;
pub(crate) mod restart;
pub(crate) mod tree;
