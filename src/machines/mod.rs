//! Pure machines: they take `now` and return a decision. No clock, no socket, no file, no thread.

pub(crate) mod backoff;
pub(crate) mod codec;
pub(crate) mod datagrams;
pub(crate) mod division;
pub(crate) mod fates;
pub(crate) mod grid;
pub(crate) mod heartbeat;
pub(crate) mod link;
pub(crate) mod pace;
pub(crate) mod plan;
pub(crate) mod policy;
pub(crate) mod queue;
pub(crate) mod restart;
mod spare;
pub(crate) mod stamp;
pub(crate) mod transit;
pub(crate) mod tree;
pub(crate) mod verdict;
pub(crate) mod waiters;

use std::time::{Duration, Instant};

/// `now` plus a duration that anybody may have set: what lies beyond the clock's range is as far off as it goes.
pub(crate) fn later(now: Instant, after: Duration) -> Instant {
    now.checked_add(after.min(FAR_OFF)).unwrap_or(now)
}

/// Thirty years: no process waits longer, and every clock can count it.
const FAR_OFF: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);
