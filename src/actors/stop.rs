//! The ordered end: refuse, store, send while time lasts, close.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::keeping::{self, Moment};
use super::shared::{Shared, SpoolSlot};
use crate::machines::later;
use crate::values::error::CallError;
use crate::values::health::{Event, Stats};

/// Of the time that is left, this part is kept for closing the spool; sending has the rest.
const CLOSING: u32 = 4;

/// And never more than this.
const CLOSING_MAX: Duration = Duration::from_millis(500);

/// So long the actors of either supervisor may take to stop, whatever is left: they need a millisecond, and one that is killed
/// instead is something to be told of.
const CLEARING: Duration = Duration::from_millis(25);

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
        // One whose thread is blocked is told, and not waited for.
        let time = (left(end) / 2).max(CLEARING);
        let _ = tokio::time::timeout(time, supervisor.stop(time)).await;
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
        shared.tell_closed(true);
        return true;
    }
    let closing = Arc::clone(shared);
    shared.disk.run(move || close_on_lane(&closing));
    tokio::time::timeout(time, shared.closed()).await.unwrap_or(false)
}

/// Waits until a stop is through with the spool, be it behind its report; whether everything that is left is in it.
pub(crate) async fn closed(shared: Arc<Shared>, deadline: Duration) -> Result<bool, CallError> {
    tokio::time::timeout(deadline, shared.closed()).await.map_err(|_| CallError::Timeout)
}

fn close_on_lane(shared: &Arc<Shared>) {
    if let Some(spool) = shared.take_spool() {
        shared.put_spool(SpoolSlot::Stopped);
        shared.tell_closed(keeping::close(shared, *spool, Moment::now));
    } else if shared.claim_reopening() {
        shared.tell_closed(close_failed(shared));
    } else if shared.spool_is_gone() {
        shared.tell_closed(false);
    } else {
        // Taken out for work that waits in this lane behind us: next time behind that.
        let closing = Arc::clone(shared);
        shared.disk.run(move || close_on_lane(&closing));
    }
}

/// Closes a spool that has failed and waits to be opened again: now or never.
fn close_failed(shared: &Shared) -> bool {
    let Some(options) = &shared.spool_options else { return false };
    let opened = keeping::reopen(shared, options, Moment::now).inspect_err(|error| {
        tracing::error!(database = &*shared.name, %error, "cannot open the spool to store what is left");
    });
    shared.put_spool(SpoolSlot::Stopped);
    opened.is_ok_and(|spool| keeping::close(shared, spool, Moment::now))
}
