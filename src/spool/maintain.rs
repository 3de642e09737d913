//! Keeping the files small: the log is copied into the database, and the database gives free pages back.

use std::time::SystemTime;

use super::clock;
use super::error::{During, SpoolError, SpoolErrorKind, kind_of};
use super::open::{Spool, checkpoint_all};
use super::page;
use super::paths;
use super::room;
use super::set_aside;
use super::state::State;
use crate::log;

/// Free pages kept for each page in use, beside as much as gathers in the log at the least (16 MiB, less on a small disk). The
/// newest batches lie at the end of the file, so that in the middle of a backlog each page that is cut off is one that has to be
/// moved, and written twice more. Most of them leave by themselves before: with three kept for each, what was moved after an outage
/// was a tenth of all that was written.
const KEPT_FOR_USED: u64 = 15;

/// Bytes given back in one call, some milliseconds of work.
const BYTES_PER_CALL: u64 = 4 << 20;

/// The same where the disk is low, and so many may have to be moved: the part of what records may write.
const LOW: u64 = 2;

/// Slices given back in a closing: of a gigabyte, a second's work.
const SLICES_AT_LEAVE: usize = 256;

/// How far the log grows beyond where it is due to be copied before a reader that is in the way is no longer spared: then the
/// checkpoint waits for it.
const PATIENCE_BYTES: u64 = 48 << 20;

/// The same for a log that is small, in times its size.
const PATIENCE: u64 = 3;

/// After this time without a transaction, memory that large ones wanted is given back.
const REST_AFTER_MS: i64 = 30_000;

/// A transaction that comes so long after another finds nothing in memory: reading some pages again costs a tenth of what the
/// transaction does, and thousands of spools whose counters are written now and then should not keep them all that time.
const ALONE_MS: i64 = 1_000;

/// Which transaction was the last.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tidied {
    commit_number: u64,
    at_ms: i64,
}

impl Tidied {
    /// Whether there has been another transaction since, long after this one. Notes it.
    fn is_far_from(&mut self, state: &State) -> bool {
        let before =
            std::mem::replace(self, Self { commit_number: state.commit_number, at_ms: state.clock_ms });
        before.commit_number != state.commit_number && state.clock_ms.saturating_sub(before.at_ms) >= ALONE_MS
    }
}

/// Which part of the log may be written before the files are looked at again: to ask for the sizes of the file, of the log and of
/// the free pages takes as long as a small transaction, but for its sync.
const UNSEEN_SHARE: u64 = 8;

/// Pages that a transaction writes beside its bodies, about.
const PAGES_BESIDE: u64 = 8;

/// What was done since the files were last looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Unseen {
    bytes: u64,
    /// It cannot wait: the disk has little room, or the last batch has left and may not be followed by another.
    is_pressing: bool,
    /// What was found then; nothing if that was never.
    found: Option<Maintained>,
}

impl Unseen {
    /// Notes a transaction that wrote and freed so many bytes of bodies.
    pub(super) fn note(&mut self, bytes: u64, page_bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes).saturating_add(PAGES_BESIDE * page_bytes);
    }

    /// Has the files looked at next time, however little was done.
    pub(super) fn press(&mut self) {
        self.is_pressing = true;
    }

    /// What was found last, if too little was done since to look again where the log may grow to so many bytes.
    fn known(&self, log_bytes: u64) -> Option<Maintained> {
        let is_little = self.bytes < log_bytes / UNSEEN_SHARE && !self.is_pressing;
        self.found.filter(|found| is_little && !found.more)
    }
}

/// What a call of [`Spool::maintain`] found and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Maintained {
    pub(crate) file_bytes: u64,
    pub(crate) wal_bytes: u64,
    /// There is more to give back: call again when there is time.
    pub(crate) more: bool,
    /// Something is old enough to expire: the next commit will let it go, an empty one too.
    pub(crate) expiry_due: bool,
}

impl Spool {
    /// A slice of tidying up, short enough to be done after every commit: milliseconds at most, nothing usually.
    ///
    /// # Errors
    /// As for reading. A failed checkpoint loses nothing: the log still has everything.
    pub(crate) fn maintain(&mut self, now: SystemTime) -> Result<Maintained, SpoolError> {
        let during = format!("tidy {}", self.paths.name());
        self.usable(&during)?;
        let now_ms = clock::unix_ms(now);
        let is_alone = self.tidied.is_far_from(&self.state);
        let rests = now_ms.saturating_sub(self.state.clock_ms) >= REST_AFTER_MS;
        if rests && self.stride.rest(&self.conn).during(&during)? {
            self.unseen.press();
        }
        let known = self.known(rests);
        if rests || known.is_none() {
            // Otherwise the transaction has just looked whether they are where they were.
            self.see_to_files(&during)?;
        }
        let tidied = if let Some(known) = known {
            let expiry_due = self.expiry_is_due(now_ms).during(&during);
            expiry_due.map(|expiry_due| Maintained { expiry_due, ..known })
        } else {
            self.unseen = Unseen::default();
            self.tidy(now_ms).during(&during)
        };
        let tidied = tidied.inspect_err(|error| self.note_failure(error))?;
        self.unseen.found = Some(tidied);
        if rests {
            self.conn.flush_prepared_statement_cache();
        }
        if rests || is_alone {
            self.give_pages_up().during(&during)?;
        }
        Ok(tidied)
    }

    /// What the last look at the files found, if nothing can be much different now.
    fn known(&self, rests: bool) -> Option<Maintained> {
        let has_room = self.ballast.is_whole() && !self.lacks_room;
        // Where nothing was done there is time for what had to wait, a reader's log above all. At rest that waits for the next
        // transaction: to look again would be to read pages that the system may have let go of, those of thousands of spools at once.
        let is_as_found =
            || if rests { !self.is_low(room::free_bytes(&self.paths)) } else { self.unseen.bytes > 0 };
        self.unseen.known(self.stride.log_bytes()).filter(|_| has_room && is_as_found())
    }

    /// Lets go of pages that are only kept for the next transaction: they are a read away.
    pub(super) fn give_pages_up(&self) -> rusqlite::Result<()> {
        self.conn.execute_batch("PRAGMA shrink_memory")
    }

    fn tidy(&mut self, now_ms: i64) -> rusqlite::Result<Maintained> {
        self.checkpoint_if_due()?;
        let page_bytes = self.page_bytes;
        let pages_per_call = BYTES_PER_CALL / page_bytes;
        let free = room::free_bytes(&self.paths);
        let has_other_room = self.ballast.see_to(free);
        let more = if self.is_low(free) {
            self.tidy_low()?
        } else {
            let kept = self.stride.log_bytes_least() / page_bytes;
            self.give_back(kept + KEPT_FOR_USED * room::used_pages(&self.conn)?, pages_per_call)?
        };
        // A slice's worth, so that a queue that breathes does not copy its log after every commit.
        let shrinks = !more && room::pages_cut_off(&self.conn, &self.paths)? >= pages_per_call;
        let stood_in = has_other_room && self.log_bytes()? == 0;
        if stood_in || shrinks && self.log_bytes()? > 0 {
            self.empty_log()?;
        }
        Ok(Maintained {
            file_bytes: paths::len(&self.paths.database),
            wal_bytes: paths::len(&self.paths.wal()),
            more,
            expiry_due: self.expiry_is_due(now_ms)?,
        })
    }

    fn is_low(&self, free: u64) -> bool {
        self.lacks_room || room::beyond_reserve(free, self.options.free_reserve_bytes, self.page_bytes) == 0
    }

    /// A slice on a disk that is full; whether there is more.
    fn tidy_low(&mut self) -> rusqlite::Result<bool> {
        let more = match self.give_back_low() {
            // There is no room even for that, so all the more it has to be made below.
            Err(error) if kind_of(&error) == SpoolErrorKind::DiskFull => false,
            other => other?,
        };
        if self.log_bytes()? > 0 {
            // After the pages behind the end are given up, so that the file need not grow for them.
            self.empty_log()?;
        }
        Ok(more)
    }

    /// Gives all back that a spool has in which nothing is, on a disk that is full: nobody may open it for long.
    pub(super) fn leave(&mut self) -> rusqlite::Result<()> {
        let is_empty = self.state.backlog.batches == 0 && self.state.quarantine.batches == 0;
        let is_leaving_room = is_empty && self.is_low(room::free_bytes(&self.paths));
        if is_leaving_room {
            self.lengthen_file()?;
            for _ in 0..SLICES_AT_LEAVE {
                if !self.tidy_low()? {
                    break;
                }
            }
        }
        self.empty_log()?;
        if is_leaving_room {
            // The next opening needs some of what has become free, and others may take it.
            self.ballast.see_to(room::free_bytes(&self.paths));
        }
        Ok(())
    }

    /// Gives the database what it lacks for its log to be copied, when all pages are cut off that can be, from the ballast: a page or
    /// two, for want of which a log of megabytes would stay.
    fn lengthen_file(&mut self) -> rusqlite::Result<()> {
        let free = room::free_pages(&self.conn)? * self.page_bytes;
        let lacking = room::growth(&self.conn, &self.paths)?.saturating_sub(free);
        if lacking > 0
            && self.ballast.give(lacking)
            && let Err(error) = self.lock.lengthen_file(lacking)
        {
            log::debug!(%error, "the database was not lengthened");
        }
        Ok(())
    }

    /// Copies the whole log into the database and empties it, unless the disk has no room for what the database would grow by:
    /// half a copy would use up the space that acknowledgements need, and the log has everything anyway.
    pub(super) fn empty_log(&mut self) -> rusqlite::Result<()> {
        if !room::has_room_to_checkpoint(&self.conn, &self.paths)? {
            return Ok(());
        }
        let log_bytes = paths::len(&self.paths.wal());
        if self.ballast.log_stands_in(log_bytes, &self.paths) {
            return self.conn.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(()));
        }
        checkpoint_all(&self.conn)?;
        self.ballast.replace_log(log_bytes);
        Ok(())
    }

    fn checkpoint_if_due(&mut self) -> rusqlite::Result<()> {
        let live = self.log_bytes()?;
        let due = self.stride.log_bytes();
        if live >= due + PATIENCE_BYTES.min(PATIENCE * due) {
            self.empty_log()?;
        } else if live >= due && room::has_room_to_checkpoint(&self.conn, &self.paths)? {
            self.conn.prepare_cached("PRAGMA wal_checkpoint(PASSIVE)")?.query_row([], |_| Ok(()))?;
        }
        Ok(())
    }

    /// Bytes in the log that are not in the database yet. The file's size does not tell: it is written from the start
    /// again after a checkpoint.
    fn log_bytes(&self) -> rusqlite::Result<u64> {
        let (frames, copied): (i64, i64) = self
            .conn
            .prepare_cached("PRAGMA wal_checkpoint(NOOP)")?
            .query_row([], |row| Ok((row.get(1)?, row.get(2)?)))?;
        Ok(frames.saturating_sub(copied).unsigned_abs() * self.page_bytes)
    }

    /// Cuts off some free pages beyond those to keep; whether there are more.
    fn give_back(&self, kept: u64, pages_max: u64) -> rusqlite::Result<bool> {
        let free = room::free_pages(&self.conn)?;
        if free <= kept {
            return Ok(false);
        }
        let slice = pages_max.min(free - kept);
        // One step gives back one page: the statement must be run to its end.
        let mut statement = self.conn.prepare(&format!("PRAGMA incremental_vacuum({slice})"))?;
        let mut steps = statement.query([])?;
        while steps.next()?.is_some() {}
        Ok(free - slice > kept)
    }

    /// Cuts off free pages of a file on a disk that is full. A page in use that has to be moved for that is written to the log
    /// first, and that must not use up what is left for the deletions.
    fn give_back_low(&self) -> rusqlite::Result<bool> {
        let used = room::used_pages(&self.conn)?;
        let page_bytes = self.page_bytes;
        let (most, few) = (BYTES_PER_CALL / page_bytes, page::records_bytes(page_bytes) / LOW / page_bytes);
        if room::has_room_to_checkpoint(&self.conn, &self.paths)? {
            // No more pages are moved than are in use.
            return self.give_back(0, if used <= few { most } else { few });
        }
        // So that it need not grow by more than there is room for, it has to lose all else that the file does not have yet, or what is
        // moved for that is in vain.
        let beyond = room::growth(&self.conn, &self.paths)?.div_ceil(page_bytes);
        let (moved, room) = (used.min(beyond), room::free_bytes(&self.paths) / page_bytes);
        if moved <= most && room::free_pages(&self.conn)? + room.saturating_sub(moved) >= beyond {
            return self.give_back(0, beyond);
        }
        Ok(false)
    }

    fn expiry_is_due(&self, now_ms: i64) -> rusqlite::Result<bool> {
        let Some(age_max) = self.options.age_max else { return Ok(false) };
        if now_ms < self.state.expiry_after_ms || self.state.backlog.batches == 0 {
            return Ok(false);
        }
        let born_before = now_ms.saturating_sub(clock::millis(age_max));
        Ok(!room::expired(&self.conn, born_before, &std::collections::BTreeSet::new())?.is_empty())
    }

    /// Leaves word for the next open. If even that fails, the damage will be found again.
    pub(super) fn mark_damaged(&self) {
        if let Err(error) = set_aside::mark(&self.paths, SystemTime::now()) {
            log::error!(file = %self.paths.name(), %error, "the spool is damaged, and this could not be written down");
        }
    }
}
