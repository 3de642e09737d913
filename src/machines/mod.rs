//! Pure machines: they take `now` and return a decision.

use std::time::{Duration, Instant};

pub(crate) mod backoff;
pub(crate) mod heartbeat;
pub(crate) mod policy;
pub(crate) mod restart;
pub(crate) mod tree;

/// `now` plus a duration that anybody may have set: what lies beyond the clock's range is as far off as it goes.
pub(crate) fn later(now: Instant, after: Duration) -> Instant {
    now.checked_add(after.min(FAR_OFF)).unwrap_or(now)
}

/// Thirty years: no process waits longer, and every clock can count it.
const FAR_OFF: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);
