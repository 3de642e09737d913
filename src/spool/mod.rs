//! The durable buffer: one SQLite file in write-ahead mode per database, and all SQL there is.
//!
//! # Constraints
//!
//! - What a commit answered for is never lost and never counted twice, whatever dies when. With `sync = full` that
//!   holds for a power cut, with `sync = normal` for a kill of the process.
//! - Opening costs the same however much lies in the file.
//! - A full disk, a failed sync, a damaged file are states to come back from, not ends.
//! - The file never grows beyond its bound, and gives space back.
//!
//! # Format
//!
//! `migrations/` holds the schema. A file of an older version is brought to this one where that costs the same however much lies
//! in it. Making the table of batches anew does not: that is done when it is opened without any, and until then its batches are
//! sent, and new ones stored, as the older version had it. Some of the schema is unusual:
//!
//! - A row of `batch` is complete in itself, its destination included, and has a CRC-32 over everything that does not
//!   change, so that it can be salvaged from a file of which nothing else is left.
//! - What does change about a batch is in `attempt`: SQLite writes a row anew as a whole, its 180 kB body included.
//! - A batch lies under its first number, so that the table needs no index and nothing else to keep ids apart.
//! - Sums are kept in the one row of `spool`, in the same transactions, with the ledger, under a checksum: nothing is
//!   counted at start, a flipped bit in a counter is noticed, and all of it is one page.
//! - `fate` remembers what became of which numbers as ranges; in a healthy spool it is one row.
//!
//! # Operations
//!
//! [`Spool::commit`] is the only one that changes data, one transaction a call: fates first, since they free pages, then
//! appends, then what is taken back from quarantine, then what leaves a full quarantine, then the state. Its number is
//! stored with it. [`Spool::read_after`] reads in the order of the numbers. [`Spool::maintain`] is for the time between
//! two commits. Who is sending what is not known here: leases live in memory, and the plan of a commit names them so
//! that none is dropped.
//!
//! A fate can be taken back in one case: what is replayed leaves quarantine with its numbers, and is pending again.
//!
//! # What happens at a crash
//!
//! | when | then |
//! |---|---|
//! | before COMMIT returns | the commit is there as a whole or not at all; the number that [`Opened`] reports says which |
//! | after it | it is there |
//! | numbers were given, nothing committed | the next life begins behind the block that was reserved at open |
//! | sync fails | the spool refuses everything; opening again writes and syncs what the log holds once more, and copies it into the database |
//! | the disk is full | bodies wait; records are made of the log's own bytes, then of the ballast's |
//! | the file is being created | an empty or half made file is begun afresh |
//! | a damaged file is being replaced | a marker beside it names the work, the next open goes on with it |
//! | the file is deleted, replaced or renamed while it is open | noticed before the next transaction, see `place` |
//!
//! # What happens to a damaged file
//!
//! It is set aside when an open, a read or a commit finds it out: a header, a checksum, a sum, a page that SQLite cannot follow, a
//! transaction of the log behind a damaged frame. Opening looks at what costs the same however much there is; [`verify()`]
//! looks at everything. Then every batch whose checksum is right goes into a fresh file, wherever it stands: in the
//! table, on a leaf to which no way leads, in an older version of a page. What the ledger knows of and is not there is damaged.
//!
//! # Files
//!
//! `plant.db`, `plant.db-wal`, `plant.db-shm` are SQLite's; `plant.db.lock` is locked while the spool is open and stays, and
//! so is the database itself, where no lock of SQLite's lies; `plant.db.ballast` is given up for the last transactions on a full
//! disk, see `ballast`;
//! `plant.db.damaged` exists while a damaged file is being replaced; `plant.db.damaged-<milliseconds>` (with its `-wal`
//! and `-shm`) is such a file, and belongs to whoever wants to look at it.

mod again;
mod backlog;
mod ballast;
mod bench;
mod clock;
mod commit;
mod error;
mod export;
mod fates;
mod heritage;
mod inspect;
mod lock;
mod log;
mod maintain;
mod open;
mod options;
mod origin;
mod page;
mod pages;
mod paths;
mod place;
mod quarantine;
mod read;
mod replay;
mod room;
mod row;
mod salvage;
mod schema;
mod set_aside;
mod split;
mod state;
mod steps;
mod stride;
#[cfg(test)]
mod tests;
mod verify;

#[doc(hidden)]
pub use bench::SpoolBench;
pub use error::{SpoolError, SpoolErrorKind};
pub use export::{Export, Exported, export};
pub use inspect::{DestinationBacklog, Inspection, QuarantinedBatch, ReasonQuarantine, inspect};
pub use replay::{ReplayReport, replay};
pub use salvage::SalvageReport;
pub use state::QuarantineSize;
pub use verify::{Checked, Verification, salvage, verify};

#[cfg(test)]
pub(crate) use page::SIZES as PAGE_SIZES;
pub(crate) use {
    heritage::Heritage,
    maintain::Maintained,
    open::{Opened, Spool},
    options::SpoolOptions,
};
