//! What one transaction of the spool is asked to do, and what it did: plain data between those who decide and the
//! one place that knows SQL.

use crate::values::batch::Batch;
use crate::values::fate::Fate;
use crate::values::ledger::{Ledger, Tally};
use crate::values::seq::SeqRange;

/// The identity of a row in the spool's batch table. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct RowId(pub(crate) i64);

/// What lies in the spool undelivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Backlog {
    /// Batches, one row each.
    pub batches: u64,
    /// Points in them.
    pub points: u64,
    /// Bytes of their bodies as stored.
    pub bytes: u64,
}

/// One transaction: appended together, settled together, or not at all.
#[derive(Clone, Debug, Default)]
pub(crate) struct CommitPlan {
    /// The number of this transaction, one above that of the last. It is stored with the rest, so that after a lost
    /// answer the file itself can say whether the transaction happened.
    pub(crate) number: u64,
    /// Batches to store, in the order of their numbers.
    pub(crate) appends: Vec<Batch>,
    /// Rows whose points met their fate.
    pub(crate) settle: Vec<SettleRow>,
    /// Fates of points that were never stored.
    pub(crate) direct: Vec<DirectFate>,
    /// What is worth remembering about rows that stay.
    pub(crate) attempts: Vec<AttemptNote>,
    /// First numbers of rows that must be neither evicted nor expired: somebody is sending them.
    pub(crate) leased: Vec<u64>,
    /// The last automatic stamp that was given out, in nanoseconds since 1970.
    pub(crate) stamp_last: Option<i64>,
    /// How many points were refused at push, ever.
    pub(crate) refused: u64,
}

/// A stored batch that met its fate. The row goes; a quarantined one moves.
#[derive(Clone, Debug)]
pub(crate) struct SettleRow {
    pub(crate) row: RowId,
    pub(crate) first_seq: u64,
    pub(crate) fate: Fate,
    pub(crate) status: Option<u16>,
    pub(crate) words: Option<String>,
}

/// Points that met their fate before they were ever stored.
#[derive(Clone, Debug)]
pub(crate) struct DirectFate {
    pub(crate) seqs: SeqRange,
    pub(crate) bytes: u64,
    pub(crate) fate: Fate,
    /// The batch itself, where the fate is quarantine.
    pub(crate) quarantine: Option<Quarantined>,
}

/// A batch for the quarantine, with the server's words.
#[derive(Clone, Debug)]
pub(crate) struct Quarantined {
    pub(crate) batch: Batch,
    pub(crate) status: Option<u16>,
    pub(crate) words: Option<String>,
}

/// How often a stored batch was tried, and what came of it last.
#[derive(Clone, Debug)]
pub(crate) struct AttemptNote {
    pub(crate) row: RowId,
    pub(crate) first_seq: u64,
    pub(crate) attempts: u32,
    pub(crate) panics: u32,
    pub(crate) status: Option<u16>,
    pub(crate) words: Option<String>,
}

/// What a transaction did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Committed {
    /// Rows of the appended batches: a prefix of the plan's, shorter when the spool is full and refuses more.
    pub(crate) appended: Vec<RowId>,
    /// Rows that made room or grew too old.
    pub(crate) evicted: Vec<Evicted>,
    /// Points pushed out of a full quarantine.
    pub(crate) quarantine_evicted: Tally,
    /// What lies in the spool now.
    pub(crate) backlog: Backlog,
    /// The ledger on disk now.
    pub(crate) ledger: Ledger,
}

/// A stored batch that was dropped by the spool's own rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Evicted {
    pub(crate) seqs: SeqRange,
    pub(crate) tally: Tally,
    pub(crate) fate: Fate,
}

/// A row read back.
#[derive(Clone, Debug)]
pub(crate) struct ReadBatch {
    pub(crate) row: RowId,
    pub(crate) attempts: u32,
    pub(crate) panics: u32,
    pub(crate) batch: Result<Batch, DamagedRow>,
}

/// A row whose checksum is wrong: what its columns say it held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DamagedRow {
    pub(crate) seqs: SeqRange,
    pub(crate) bytes: u64,
}
