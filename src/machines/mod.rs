//! Pure machines: they take `now` and return a decision. No clock, no socket, no file, no thread.

pub(crate) mod backoff;
pub(crate) mod codec;
pub(crate) mod fates;
pub(crate) mod heartbeat;
pub(crate) mod link;
pub(crate) mod plan;
pub(crate) mod queue;
pub(crate) mod restart;
pub(crate) mod stamp;
pub(crate) mod transit;
pub(crate) mod tree;
pub(crate) mod verdict;
pub(crate) mod waiters;
