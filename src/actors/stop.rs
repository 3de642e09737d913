//! The ordered end: refuse, store, send while time lasts, close.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::keeping::{self, Moment};
use super::shared::Shared;
use super::slot::SpoolSlot;
use super::supervisor::SupervisorHandle;
use crate::failpoint::failpoint;
use crate::log;
use crate::machines::later;
use crate::panics::caught;
use crate::spool::Spool;
use crate::values::error::CallError;
use crate::values::health::{Event, Stats};

/// Of the time that is left, this part is kept for closing the spool; sending has the rest.
const CLOSING: u32 = 4;

/// And never more than this.
const CLOSING_MAX: Duration = Duration::from_millis(500);

/// So long the actors of either supervisor may take to stop, whatever is left: they need a millisecond, and one that is killed
/// instead is something to be told of.
const CLEARING: Duration = Duration::from_millis(25);

/// As often closing the spool is tried where it panics. One that panics every time takes milliseconds, and whatever is in memory
/// only has no other chance.
const CLOSINGS: u32 = 10;

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
    /// Points that met their fate, which the spool could not be told in time: on a disk that is full to the last page, or fails. Of
    /// those that lie in it the next start does not know, and sends them again; its counters go on without them.
    pub unrecorded: u64,
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
    // The database first: it would start its children again. Those it has by then are looked up afterwards.
    let root = shared.tree().root.clone();
    stop_supervisor(root, end).await;
    let children = shared.tree().children.clone();
    stop_supervisor(children, end).await;
    let closed = close(&shared, left(end)).await;
    shared.with(|transit| transit.dismiss());
    shared.tell(Event::Stopped);
    let stats = shared.stats();
    let unsaved = shared.with(|transit| transit.unsaved_points());
    // Without a spool there is nothing that does not know.
    let has_spool = shared.spool_options.is_some();
    let unrecorded = if has_spool { shared.with(|transit| transit.unrecorded_points()) } else { 0 };
    let (database, pending) = (&*shared.name, stats.pending.points);
    if unsaved > 0 {
        log::error!(
            database,
            drained,
            closed,
            pending,
            unsaved,
            unrecorded,
            "stopped with points that are only in memory"
        );
    } else if unrecorded > 0 {
        log::warn!(
            database,
            drained,
            pending,
            unrecorded,
            "stopped with fates of which the spool was not told"
        );
    } else {
        log::info!(database, drained, closed, pending, "stopped");
    }
    Ok(StopReport { drained, closed, unsaved, unrecorded, stats })
}

fn left(end: Instant) -> Duration {
    end.saturating_duration_since(Instant::now())
}

/// Half of what is left for each: where a thread is blocked its actors cannot even be killed, and what they could do when it
/// comes back is nothing without the spool.
async fn stop_supervisor(supervisor: Option<SupervisorHandle>, end: Instant) {
    if let Some(supervisor) = supervisor {
        let time = left(end) / 2;
        let _ = tokio::time::timeout(time.max(CLEARING), supervisor.stop(time.max(CLEARING))).await;
    }
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
    let mut spool = match shared.take_spool() {
        Some(spool) => Some(spool),
        // It failed, and nobody has opened it since: now or never.
        None if shared.claim_reopening() => None,
        None if shared.spool_is_gone() => return shared.tell_closed(false),
        None => {
            // Taken out for work that waits in this lane behind us: next time behind that.
            let closing = Arc::clone(shared);
            return shared.disk.run(move || close_on_lane(&closing));
        }
    };
    shared.put_spool(SpoolSlot::Stopped);
    let closed = (0..CLOSINGS).find_map(|_| try_to_close(shared, spool.take()));
    shared.tell_closed(closed.unwrap_or_default());
}

/// Whether it was closed well; nothing if that panicked.
fn try_to_close(shared: &Shared, spool: Option<Box<Spool>>) -> Option<bool> {
    let closed = caught(|| close_spool(shared, spool)).inspect_err(|panic| {
        log::error!(database = &*shared.name, %panic, "closing the spool panicked");
    });
    closed.ok()
}

/// Without an open spool it is opened first: what is only in memory would be lost otherwise.
fn close_spool(shared: &Shared, spool: Option<Box<Spool>>) -> bool {
    let spool = match (spool, &shared.spool_options) {
        (Some(spool), _) => *spool,
        (None, Some(options)) => match keeping::reopen(shared, options, Moment::now) {
            Ok(spool) => spool,
            Err(error) => {
                log::error!(database = &*shared.name, %error, "cannot open the spool to close it");
                return false;
            }
        },
        (None, None) => return true,
    };
    failpoint!(of shared.name, "stop::closing");
    keeping::close(shared, spool, Moment::now)
}
