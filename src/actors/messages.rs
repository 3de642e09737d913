//! The messages a [`Database`] takes: what a handle does, for those who prefer an address.

use std::sync::Arc;
use std::time::Duration;

use actix::{Handler, Message, ResponseFuture};
use serde::Serialize;
use tokio::sync::oneshot;

use super::context::PriorityContext;
use super::database::Database;
use super::push::Room;
use super::shared::Shared;
use super::stop::{self, StopReport};
use crate::machines::waiters::Until;
use crate::spool::ReplayReport;
use crate::values::config::{Config, ConfigError};
use crate::values::error::CallError;
use crate::values::fate::{QuarantineReason, Standing};
use crate::values::health::{Health, Stats};
use crate::values::point::Point;
use crate::values::seq::Seq;

/// A point, as a cast: `address.do_send(Push(point))`. What cannot be accepted is counted and logged.
///
/// A handle's `push` does the same without the way through the mailbox, several times as fast, and says what was
/// wrong with a point.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Push(
    /// The point.
    pub Point,
);

/// Line protocol, one line or many, as a cast. Lines that cannot be accepted are counted and logged.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct PushLines(
    /// The text.
    pub String,
);

/// Has everything sent that was pushed before. Answers when it has its fate, or at the deadline.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<FlushReport, CallError>")]
pub struct Flush {
    /// How long to wait.
    pub deadline: Duration,
}

/// Has everything put on disk that was pushed before. Answers when it is there or has its fate.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<(), CallError>")]
pub struct Commit {
    /// How long to wait.
    pub deadline: Duration,
}

/// Waits for a point.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<Standing, CallError>")]
pub struct Await {
    /// Which.
    pub seq: Seq,
    /// For what.
    pub stage: Stage,
}

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// The point is on disk, or has its fate.
    Persisted,
    /// The point has its fate.
    Delivered,
}

/// Asks for the counters.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<Stats, CallError>")]
pub struct GetStats;

/// Asks how the database is doing.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<Health, CallError>")]
pub struct GetHealth;

/// Changes the configuration.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), ConfigError>")]
pub struct Reconfigure(
    /// The new configuration, whole.
    pub Config,
);

/// Stops the database: refuses pushes, stores and sends while time lasts, closes the spool.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<StopReport, CallError>")]
pub struct Stop {
    /// How long it may take.
    pub deadline: Duration,
}

/// What a flush came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FlushReport {
    /// Whether everything that was to be flushed has its fate.
    pub complete: bool,
    /// Points without a fate now, newer ones included.
    pub pending: u64,
}

impl Handler<Push> for Database {
    type Result = ();

    fn handle(&mut self, Push(point): Push, _: &mut Self::Context) {
        let Self { shared, .. } = self;
        if let Err(error) = shared.push_one(&shared.destination, Room::ByPolicy, &shared.encoding(&point)) {
            self.tell_refused(1, &error);
        }
    }
}

impl Handler<PushLines> for Database {
    type Result = ();

    fn handle(&mut self, PushLines(text): PushLines, _: &mut Self::Context) {
        let report = self.shared.push_text(text.as_bytes(), &self.shared.destination, Room::ByPolicy);
        if let Some(first) = report.refused.first() {
            self.tell_refused(report.refused.len() as u64, &first.reason);
        }
    }
}

impl Handler<Flush> for Database {
    type Result = ResponseFuture<Result<FlushReport, CallError>>;

    fn handle(&mut self, flush: Flush, _: &mut Self::Context) -> Self::Result {
        let mark = self.shared.with(|transit| transit.last_seq());
        Box::pin(flush_to(Arc::clone(&self.shared), mark, flush.deadline))
    }
}

impl Handler<Commit> for Database {
    type Result = ResponseFuture<Result<(), CallError>>;

    fn handle(&mut self, commit: Commit, _: &mut Self::Context) -> Self::Result {
        let mark = self.shared.with(|transit| transit.last_seq());
        Box::pin(commit_to(Arc::clone(&self.shared), mark, commit.deadline))
    }
}

impl Handler<Await> for Database {
    type Result = ResponseFuture<Result<Standing, CallError>>;

    fn handle(&mut self, Await { seq, stage }: Await, _: &mut Self::Context) -> Self::Result {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move { shared.await_standing(seq, stage.until()).await })
    }
}

impl Handler<GetStats> for Database {
    type Result = Result<Stats, CallError>;

    fn handle(&mut self, _: GetStats, _: &mut Self::Context) -> Self::Result {
        Ok(self.shared.stats())
    }
}

impl Handler<GetHealth> for Database {
    type Result = Result<Health, CallError>;

    fn handle(&mut self, _: GetHealth, _: &mut Self::Context) -> Self::Result {
        Ok(self.shared.health())
    }
}

impl Handler<Reconfigure> for Database {
    type Result = Result<(), ConfigError>;

    fn handle(&mut self, Reconfigure(config): Reconfigure, _: &mut Self::Context) -> Self::Result {
        super::reconfigure::apply(&self.shared, config)
    }
}

impl Handler<Stop> for Database {
    type Result = ResponseFuture<Result<StopReport, CallError>>;

    fn handle(&mut self, stop: Stop, _: &mut PriorityContext<Self>) -> Self::Result {
        // Not as a future of this actor, which is stopped on the way.
        let report = actix_rt::spawn(stop::stop(Arc::clone(&self.shared), stop.deadline));
        Box::pin(async move { report.await.map_err(|_| CallError::Panicked)? })
    }
}

impl Stage {
    const fn until(self) -> Until {
        match self {
            Self::Persisted => Until::Persisted,
            Self::Delivered => Until::Settled,
        }
    }
}

/// Waits until everything up to `mark` has its fate. Needs none of the actors to answer.
pub(crate) async fn flush_to(
    shared: Arc<Shared>,
    mark: u64,
    deadline: Duration,
) -> Result<FlushReport, CallError> {
    let flushed = shared.with(|transit| transit.wait_for_flush(mark));
    shared.ring_all();
    let complete = match tokio::time::timeout(deadline, flushed).await {
        Ok(Ok(())) => true,
        Ok(Err(_)) => return Err(CallError::Stopped),
        Err(_) => false,
    };
    Ok(FlushReport { complete, pending: shared.with(|transit| transit.pending_points()) })
}

/// Waits until batches are taken back from quarantine.
pub(crate) async fn replay_to(
    shared: Arc<Shared>,
    only: Option<QuarantineReason>,
    deadline: Duration,
) -> Result<ReplayReport, CallError> {
    if shared.spool_options.is_none() {
        return Err(CallError::NoSpool);
    }
    let replayed = shared.with(|transit| transit.replay(only));
    shared.ring_all();
    let replayed = answer_of(&shared, replayed, deadline).await?;
    let mut report = ReplayReport::default();
    report.add(&replayed);
    Ok(report)
}

/// Waits until everything up to `mark` is on disk or has its fate.
pub(crate) async fn commit_to(shared: Arc<Shared>, mark: u64, deadline: Duration) -> Result<(), CallError> {
    if shared.spool_options.is_none() {
        return Err(CallError::NoSpool);
    }
    let stored = shared.with(|transit| transit.wait_for_commit(mark));
    shared.ring_all();
    answer_of(&shared, stored, deadline).await
}

async fn answer_of<T>(
    shared: &Shared,
    answer: oneshot::Receiver<T>,
    deadline: Duration,
) -> Result<T, CallError> {
    match tokio::time::timeout(deadline, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) => Err(CallError::Stopped),
        Err(_) if shared.health().degraded => Err(CallError::Degraded),
        Err(_) => Err(CallError::Timeout),
    }
}
