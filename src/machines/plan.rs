//! What one transaction of the spool is to do, and what it did: plain data between those who decide and the one place
//! that knows SQL.

use crate::values::batch::Batch;
use crate::values::fate::{Fate, QuarantineReason};
use crate::values::ledger::{Backlog, Ledger, Tally};
use crate::values::seq::SeqRange;

/// The identity of a stored batch. Never given twice in the life of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
pub(crate) struct RowId(pub(crate) i64);

/// Everything one commit writes. All of it happens, or none.
#[derive(Clone, Debug, Default)]
pub(crate) struct CommitPlan {
    /// One more than the number of the last commit. Stored with it: when no answer came, the number that
    /// [`Opened`](crate::spool::Opened) reports tells whether the commit happened.
    pub(crate) number: u64,
    /// New batches, in the order of their numbers.
    pub(crate) appends: Vec<Batch>,
    /// First numbers of those among them that are [written off](DirectFate::written_off).
    pub(crate) written_off: Vec<u64>,
    /// Stored batches that have met their fate.
    pub(crate) settle: Vec<SettleRow>,
    /// Points that met their fate without having been stored.
    pub(crate) direct: Vec<DirectFate>,
    /// Stored batches that were tried in vain.
    pub(crate) attempts: Vec<AttemptNote>,
    /// First numbers of the stored batches that are in work: none of them is evicted or expires.
    pub(crate) leased: Vec<u64>,
    /// The last automatic timestamp that was given.
    pub(crate) stamp_last: Option<i64>,
    /// The new end of the reserved block of numbers. Never lowers it.
    pub(crate) seq_end: Option<u64>,
    /// The last one before the file is closed: what is in memory would be gone, so appends may go beyond the bounds,
    /// and into most of what is left to others.
    pub(crate) closing: bool,
    /// Batches that are to be taken back from quarantine.
    pub(crate) replay: Option<Replay>,
    /// Points refused so far, over all lives of the spool. Never lowers it.
    pub(crate) refused: u64,
}

/// The end of a stored batch. [`Fate::Quarantined`] keeps it in quarantine, any other fate deletes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SettleRow {
    pub(crate) row: RowId,
    pub(crate) first_seq: u64,
    /// What became of the whole batch, unless `parts` says otherwise.
    pub(crate) fate: Fate,
    pub(crate) status: Option<u16>,
    /// The server's words.
    pub(crate) words: Option<String>,
    /// A batch whose points met different fates: each of its numbers in one part, all its bytes together, and with what
    /// is quarantined its body. Parts that are not exactly the batch are not believed: it is kept whole in quarantine.
    /// Empty for one fate, and not looked at with [`Fate::Damaged`].
    pub(crate) parts: Vec<DirectFate>,
}

/// Which batches of the quarantine become part of the backlog again, the oldest first. None is taken where there is no room
/// for it, and nothing else has to go for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Replay {
    /// Those that are there for this reason; all if none is given.
    pub(crate) only: Option<QuarantineReason>,
    /// So many at most in one transaction.
    pub(crate) batches_max: usize,
    /// Up to this row of the quarantine; up to the newest that is there if none is given. What is refused again is not
    /// replayed for ever, and no clock is asked, which could have been set.
    pub(crate) up_to: Option<RowId>,
    /// Those whose numbers are all below this one: batches are stored in the order of their numbers, and no row may be
    /// younger than what is only in memory.
    pub(crate) below_seq: u64,
}

/// What a replay took back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Replayed {
    pub(crate) backlog: Backlog,
    /// The lowest number among them.
    pub(crate) first_seq: u64,
    /// The numbers of each batch: their fates are forgotten, they have none any more.
    pub(crate) seqs: Vec<SeqRange>,
    /// What could not be read back: now `damaged`.
    pub(crate) damaged: Tally,
    /// Whether there are more.
    pub(crate) more: bool,
    /// The last row of the quarantine that is meant, for the transaction that takes more.
    pub(crate) up_to: Option<RowId>,
    /// Why no more were taken, where that was neither their number nor their size: asking again at once would be in vain.
    pub(crate) withheld: Option<Withheld>,
}

/// The fate of points that were only in memory: they enter `accepted` and the fate at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DirectFate {
    pub(crate) seqs: SeqRange,
    /// Bytes of the plain lines.
    pub(crate) bytes: u64,
    pub(crate) fate: Fate,
    /// What to keep, with [`Fate::Quarantined`].
    pub(crate) quarantine: Option<Quarantined>,
    /// The file has accepted them before and counts them as damaged: their row was lost when it was salvaged, but they
    /// were still in memory. They are taken from there.
    pub(crate) written_off: bool,
}

impl DirectFate {
    pub(crate) fn tally(&self) -> Tally {
        Tally::new(self.seqs.points(), self.bytes)
    }
}

/// A batch to keep, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Quarantined {
    pub(crate) batch: Batch,
    pub(crate) status: Option<u16>,
    pub(crate) words: Option<String>,
}

/// What is remembered of a batch between two attempts, and over a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AttemptNote {
    pub(crate) row: RowId,
    pub(crate) first_seq: u64,
    pub(crate) attempts: u32,
    pub(crate) panics: u32,
    pub(crate) status: Option<u16>,
    pub(crate) words: Option<String>,
}

/// What a commit did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Committed {
    /// The rows of the first so many appends; fewer than were given when `withheld` says why.
    pub(crate) appended: Vec<RowId>,
    /// Why not all appends were stored. Those that are missing must be given again later.
    pub(crate) withheld: Option<Withheld>,
    /// Whether the row was there and is now settled, for each of `settle`.
    pub(crate) settled: Vec<bool>,
    /// Batches that had to go for room or for age.
    pub(crate) evicted: Vec<Evicted>,
    /// What had to leave a full quarantine: now `rejected`.
    pub(crate) quarantine_evicted: Vec<Evicted>,
    /// What was taken back from quarantine.
    pub(crate) replayed: Option<Replayed>,
    pub(crate) backlog: Backlog,
    /// The ledger as it is on disk now.
    pub(crate) ledger: Ledger,
    /// The disk is full, and each transaction takes some of the last room for records: they had better be few.
    pub(crate) records_are_dear: bool,
}

/// Why a batch was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Withheld {
    /// The spool has its size, and nothing may be or can be dropped.
    SpoolFull,
    /// The disk is full, or down to the reserve. Everything else of the plan was done.
    DiskFull,
}

/// A batch that left without being sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Evicted {
    pub(crate) row: RowId,
    pub(crate) seqs: SeqRange,
    pub(crate) tally: Tally,
    pub(crate) fate: Fate,
}

/// A stored batch, and what was remembered of its attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReadBatch {
    pub(crate) row: RowId,
    /// With the row the key to settle it.
    pub(crate) first_seq: u64,
    pub(crate) attempts: u32,
    pub(crate) panics: u32,
    pub(crate) batch: Result<Batch, DamagedRow>,
}

/// A row whose checksum is wrong: to be settled as [`Fate::Damaged`](crate::Fate::Damaged), never to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DamagedRow {
    /// The numbers it claims to hold, if they are possible ones.
    pub(crate) seqs: Option<SeqRange>,
}
