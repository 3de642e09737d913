//! The ordered end: refuse, store, send while time lasts, close.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::oneshot;

use super::keeping::{self, Moment};
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
    /// Points that were neither delivered nor stored in time. With a spool the closing goes on behind this report, and may
    /// still store them if the process lives on; without one they are lost with it.
    pub unsaved: u64,
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
    let reserve = (deadline / CLOSING).min(CLOSING_MAX);
    let next_attempt = shared.with(|transit| {
        // A server that does not answer may never do so: what is only in memory goes to the disk at once.
        transit.commit_up_to(transit.last_seq());
        transit.next_attempt_at(Instant::now())
    });
    // Nobody sends before the end: because the link is down for longer, or because the actors' arbiter is gone.
    let hopeless = next_attempt.is_some_and(|at| at >= end) || shared.is_orphaned();
    let drained = drain(&shared, if hopeless { Duration::ZERO } else { deadline - reserve }).await;
    // The database first: it would start its children again.
    let tree = shared.tree().clone();
    for supervisor in [tree.root, tree.children].into_iter().flatten() {
        supervisor.stop(left(end) / 2).await;
    }
    let closed = close(&shared, left(end)).await;
    shared.with(|transit| transit.dismiss());
    shared.tell(Event::Stopped);
    let stats = shared.stats();
    let unsaved = shared.with(|transit| transit.unsaved_points());
    let (database, pending) = (&*shared.name, stats.pending.points);
    if unsaved > 0 {
        tracing::error!(
            database,
            drained,
            closed,
            pending,
            unsaved,
            "stopped with points that are only in memory"
        );
    } else {
        tracing::info!(database, drained, closed, pending, "stopped");
    }
    Ok(StopReport { drained, closed, unsaved, stats })
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

/// Writes the ledger and closes the file, on the lane where the spool is worked with.
async fn close(shared: &Arc<Shared>, time: Duration) -> bool {
    if shared.spool_options.is_none() {
        return true;
    }
    let (done, closed) = oneshot::channel();
    close_on_lane(shared, done);
    matches!(tokio::time::timeout(time, closed).await, Ok(Ok(true)))
}

fn close_on_lane(shared: &Arc<Shared>, done: oneshot::Sender<bool>) {
    let closing = Arc::clone(shared);
    shared.disk.run(move || match closing.take_spool() {
        Some(spool) => {
            closing.put_spool(SpoolSlot::Stopped);
            let _ = done.send(keeping::close(&closing, *spool, Moment::now));
        }
        None if closing.spool_is_gone() => {
            let _ = done.send(false);
        }
        // Taken out for work that waits in this lane behind us: next time behind that.
        None => close_on_lane(&closing, done),
    });
}
