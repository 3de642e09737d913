//! What an application can be told, and acts on.

use std::fmt;

use super::line_protocol::problem::{LineError, PointError};
use super::seq::Seq;

/// A push that was not accepted. It hands back what was pushed.
#[derive(Clone, Debug, PartialEq)]
pub struct PushError<T> {
    /// What was pushed, unchanged.
    pub rejected: T,
    /// Why it was not accepted.
    pub reason: PushReason,
}

/// Why a push was not accepted. Each point counts as refused, except those that find the database stopped or full:
/// they can be pushed again, there or elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PushReason {
    /// The point cannot be written so that the server keeps it.
    #[error(transparent)]
    Unwritable(#[from] PointError),
    /// The point has no timestamp, and the database is configured to refuse those.
    #[error("no timestamp")]
    NoTimestamp,
    /// The queue is full, and its policy is to refuse.
    #[error("the queue is full")]
    Full,
    /// The line alone is larger than the queue.
    #[error("the line is larger than the queue")]
    TooLarge,
    /// The database was stopped.
    #[error("the database is stopped")]
    Stopped,
}

impl<T> fmt::Display for PushError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

impl<T: fmt::Debug> std::error::Error for PushError<T> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.reason {
            PushReason::Unwritable(error) => Some(error),
            _ => None,
        }
    }
}

/// What became of many points that were pushed together: item by item, since one bad point does not hold up others.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct PushReport {
    /// How many were accepted.
    pub accepted: u64,
    /// The number of the last accepted one.
    pub last: Option<Seq>,
    /// Those that were not.
    pub refused: Vec<RefusedItem>,
}

/// One of many that was not accepted.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RefusedItem {
    /// Which: its place among the points, or the number of its line in the text, both from 0.
    pub index: usize,
    /// Why.
    pub reason: RefusedReason,
}

/// Why one of many was not accepted.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RefusedReason {
    /// As for a single push.
    #[error(transparent)]
    Push(#[from] PushReason),
    /// The raw line is not one that every server takes.
    #[error(transparent)]
    Line(#[from] LineError),
}

/// A call that did not come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// Too many calls are waiting already. Try again later.
    #[error("too many calls are waiting")]
    Busy,
    /// The actor that was to answer panicked; it is being restarted. The call may or may not have had its effect.
    #[error("the actor panicked while it answered")]
    Panicked,
    /// The database was stopped.
    #[error("the database is stopped")]
    Stopped,
    /// The deadline has passed. What was asked for goes on.
    #[error("the deadline has passed")]
    Timeout,
    /// The deadline has passed, and the database's actors, which died more often than is borne, are down: they are tried
    /// again every minute.
    #[error("the database is degraded")]
    Degraded,
    /// The number was given by another spool.
    #[error("the number belongs to another spool")]
    WrongSpool,
    /// The number has not been given yet.
    #[error("no point has this number yet")]
    NoSuchPoint,
    /// There is no spool that could keep anything.
    #[error("the database has no spool")]
    NoSpool,
}

impl CallError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::Busy | Self::Panicked | Self::Timeout | Self::Degraded)
    }
}
