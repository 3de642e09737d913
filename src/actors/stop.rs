//! The ordered end: refuse, store, send while time lasts, close.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;
use tokio::sync::oneshot;

use super::shared::{Shared, SpoolSlot};
use crate::machines::later;
use crate::values::error::CallError;
use crate::values::health::{Event, Stats};

/// Of the time that is left, this part is kept for closing the spool; sending has the rest.
const CLOSING: u32 = 4;

/// And never more than this.
const CLOSING_MAX: Duration = Duration::from_millis(500);

/// What a stop came to.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct StopReport {
    /// Whether every point has its fate.
    pub drained: bool,
    /// Whether the spool was closed in time, with everything that is left in it. Without a spool what is left is lost.
    pub closed: bool,
    /// The counters at the end.
    pub stats: Stats,
}

/// Stops a database. Nothing is lost that has a spool to lie in: what is not sent is stored, and a request that is cut
/// off leaves its batch where it is.
///
/// Needs none of its actors, so it works while they are restarting, or degraded.
///
/// # Errors
/// The database was stopped before.
pub(crate) async fn stop(shared: Arc<Shared>, deadline: Duration) -> Result<StopReport, CallError> {
    let end = later(Instant::now(), deadline);
    if !shared.with(|transit| transit.stop()) {
        return Err(CallError::Stopped);
    }
    shared.wake_the_waiting();
    if !shared.health().link_is_up() {
        // The server may not come back in time: what is only in memory goes to the disk first.
        shared.with(|transit| transit.commit_up_to(transit.last_seq()));
    }
    let reserve = (deadline / CLOSING).min(CLOSING_MAX);
    let drained = drain(&shared, deadline - reserve).await;
    if !drained {
        store(&shared, left(end) / 2).await;
    }
    // The database first: it would start its children again.
    let tree = shared.tree().clone();
    for supervisor in [tree.root, tree.children].into_iter().flatten() {
        supervisor.stop(left(end) / 2).await;
    }
    let closed = close(&shared, left(end)).await;
    shared.with(|transit| transit.dismiss());
    shared.tell(Event::Stopped);
    let stats = shared.stats();
    tracing::info!(database = &*shared.name, drained, closed, pending = stats.pending.points, "stopped");
    Ok(StopReport { drained, closed, stats })
}

fn left(end: Instant) -> Duration {
    end.saturating_duration_since(Instant::now())
}

/// Waits until everything has its fate.
async fn drain(shared: &Shared, time: Duration) -> bool {
    let flushed = shared.with(|transit| transit.wait_for_flush(transit.last_seq()));
    shared.ring_all();
    matches!(tokio::time::timeout(time, flushed).await, Ok(Ok(())))
}

/// Waits until everything is on disk.
async fn store(shared: &Shared, time: Duration) {
    if shared.spool_options.is_some() {
        let stored = shared.with(|transit| transit.wait_for_commit(transit.last_seq()));
        shared.ring_all();
        let _ = tokio::time::timeout(time, stored).await;
    }
}

/// Writes the ledger and closes the file, on the lane where the spool is worked with.
async fn close(shared: &Arc<Shared>, time: Duration) -> bool {
    if shared.spool_options.is_none() {
        return true;
    }
    let (done, closed) = oneshot::channel();
    let closing = Arc::clone(shared);
    shared.disk.run(move || {
        let _ = done.send(close_spool(&closing));
    });
    matches!(tokio::time::timeout(time, closed).await, Ok(Ok(true)))
}

fn close_spool(shared: &Shared) -> bool {
    let Some(mut spool) = shared.take_spool() else { return false };
    shared.put_spool(SpoolSlot::Stopped);
    let stamp_last = shared.stamp_last_nanos();
    let plan = shared.with(|transit| transit.plan_commit(true, stamp_last, Instant::now()));
    if let Some(plan) = plan {
        match spool.commit(&plan, SystemTime::now()) {
            Ok(outcome) => shared.with(|transit| transit.committed(&outcome, Instant::now())),
            Err(error) => {
                tracing::error!(database = &*shared.name, %error, "cannot write the ledger");
                return false;
            }
        }
    }
    let seq_next = shared.with(|transit| transit.next_seq());
    match spool.close(seq_next, stamp_last) {
        Ok(()) => true,
        Err(error) => {
            tracing::error!(database = &*shared.name, %error, "cannot close the spool cleanly");
            false
        }
    }
}
