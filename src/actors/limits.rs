//! What the tree of a database bears, and for how long: in one place, where a test may shorten it.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use super::supervisor::Supervisor;
use crate::failpoint::failpoint;
use crate::machines::grid::Grid;
use crate::machines::restart::RestartIntensity;

/// When whatever can wait a little is done, for all databases of the process: it is woken once for all of them.
pub(super) static GRID: LazyLock<Grid> = LazyLock::new(|| Grid::new(Instant::now()));

/// How often a degraded database is tried again.
const DEGRADED_RETRY: Duration = Duration::from_secs(60);

/// A child that neither moves nor says why is stuck after this, at the earliest: no wait of ours is as long.
const HEARTBEAT: Duration = Duration::from_secs(60);

/// The ceilings of the first delay before a restart, and of the longest.
const DELAY_MIN: Duration = Duration::from_millis(100);
const DELAY_MAX: Duration = Duration::from_secs(30);

/// A supervisor of the tree.
pub(super) fn supervisor(name: impl Into<std::sync::Arc<str>>) -> Supervisor {
    let delay_max = delay_max();
    Supervisor::builder(name).intensity(intensity()).backoff(DELAY_MIN.min(delay_max), delay_max)
}

pub(super) fn degraded_retry() -> Duration {
    failpoint!("tree::degraded_retry", millis);
    DEGRADED_RETRY
}

pub(super) fn heartbeat() -> Duration {
    failpoint!("tree::heartbeat", millis);
    HEARTBEAT
}

fn delay_max() -> Duration {
    failpoint!("tree::delay_max", millis);
    DELAY_MAX
}

fn intensity() -> RestartIntensity {
    failpoint!("tree::restarts_a_second", |restarts: Option<String>| {
        let restarts = restarts.and_then(|restarts| restarts.parse().ok()).unwrap_or_default();
        RestartIntensity::new(restarts, Duration::from_secs(1))
    });
    RestartIntensity::default()
}

#[cfg(feature = "failpoints")]
fn millis(text: Option<String>) -> Duration {
    Duration::from_millis(text.and_then(|text| text.parse().ok()).unwrap_or_default())
}
