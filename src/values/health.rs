//! How a database is doing, what it counts, and what it tells.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::fate::QuarantineReason;
use super::ledger::{Backlog, Ledger, Tally};
use super::seq::SeqRange;
use super::trouble::TroubleKind;

/// Everything that is counted, as it was at one moment.
///
/// `ledger.accepted = Σ fates + pending.points`, always.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// What was accepted in the life of the spool, and what became of it.
    pub ledger: Ledger,
    /// What is on its way.
    pub pending: Pending,
    /// Points refused at push, never accepted.
    pub refused_total: u64,
    /// Batches sealed since the start.
    pub batches_sealed_total: u64,
    /// Bytes of their bodies.
    pub body_bytes_sealed_total: u64,
    /// Requests made since the start.
    pub requests_total: u64,
    /// Requests that failed for a reason that says nothing about the data.
    pub failures_total: u64,
    /// Requests under way.
    pub in_flight: usize,
    /// Transactions of the spool since the start.
    pub commits_total: u64,
    /// Batches stored since the start.
    pub rows_stored_total: u64,
    /// Batches read back from the spool since the start.
    pub rows_read_total: u64,
    /// Restarts of actors since the start.
    pub restarts_total: u64,
    /// Times the spool was not closed cleanly before this start: kills, power cuts, and failures after which it was opened
    /// again.
    pub unclean_ends_total: u64,
    /// Times the clock stepped back further than stamps can wait for.
    pub clock_steps_back_total: u64,
}

/// Points without a fate, by where they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Pending {
    /// All of them.
    pub points: u64,
    /// In the queue, not sealed.
    pub queued: Tally,
    /// Sealed, and only in memory.
    pub sealed: Tally,
    /// In the spool.
    pub spooled: Backlog,
}

/// How a database is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Health {
    /// Whether points arrive and are kept as promised: nothing below is amiss.
    pub ok: bool,
    /// Why the server does not take points, and the words for it.
    pub link: Option<(TroubleKind, String)>,
    /// How the spool is doing.
    pub spool: SpoolHealth,
    /// The age of the oldest point that is only in memory, where it is past the loss window by more than a second.
    pub volatile: Option<Duration>,
    /// Actors died more often than is borne; they are tried again every minute. Points are accepted meanwhile.
    pub degraded: bool,
    /// The database was stopped.
    pub stopped: bool,
}

/// How the spool is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SpoolHealth {
    /// There is none: points are only in memory.
    InMemory,
    /// Well.
    Ok,
    /// At its size; new batches wait in memory.
    Full,
    /// No space on the disk, or only the reserve is left; new batches wait in memory.
    DiskFull,
    /// A transaction has not come back for this long.
    Stalled(Duration),
    /// It cannot be opened, or fails; tried again with growing delays.
    Failing(String),
}

/// What a subscriber hears.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// The server stopped taking points, or does so for another reason.
    LinkDown {
        /// Why.
        kind: TroubleKind,
        /// The server's words, or the system's.
        words: String,
    },
    /// The server takes points again.
    LinkUp {
        /// How many requests had failed.
        failures: u64,
        /// How long it was down.
        after: Duration,
    },
    /// A batch was set aside.
    Quarantined {
        /// Its points.
        seqs: SeqRange,
        /// Why.
        reason: QuarantineReason,
        /// The status of the answer, if it was one.
        status: Option<u16>,
        /// The server's words.
        words: String,
    },
    /// Points are being lost; the ledger says how many and why. Told when it begins, then at most once a minute.
    Losing {
        /// Points lost since this was last told.
        points: u64,
    },
    /// The spool is doing worse, or better.
    Spool(SpoolHealth),
    /// An actor was restarted.
    Restarted {
        /// Which.
        actor: Arc<str>,
        /// How it had ended.
        exit: String,
    },
    /// Actors died more often than is borne.
    Degraded,
    /// They have held since.
    Recovered,
    /// The database has stopped.
    Stopped,
}
