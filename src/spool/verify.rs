//! Reads every byte that matters of a spool file, and says whether it is what was written.

use std::path::Path;

use rusqlite::{Connection, Rows};
use serde::Serialize;

use super::error::{During, SpoolError, SpoolErrorKind, kind_of};
use super::fates;
use super::inspect::{holder, look_into};
use super::lock::SpoolLock;
use super::log::Log;
use super::pages;
use super::paths::{self, Paths};
use super::quarantine;
use super::room;
use super::row::StoredBatch;
use super::salvage::SalvageReport;
use super::schema;
use super::set_aside;
use super::state::State;
use crate::values::fate::{Fate, QuarantineReason};

/// Problems that are told one by one; a file of garbage has as many as it has rows.
const PROBLEMS_MAX: usize = 100;

/// What [`verify`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Verification {
    /// Whether nothing is wrong.
    pub sound: bool,
    /// The process that has the spool open, if one has. Then its log is judged by what SQLite reads of it, since it is
    /// being written.
    pub held_by: Option<u32>,
    /// What is to be sent.
    pub backlog: Checked,
    /// What is in quarantine.
    pub quarantine: Checked,
    /// What is wrong, in words: the first hundred.
    pub problems: Vec<String>,
    /// Problems beyond those.
    pub more_problems: u64,
}

/// Batches whose checksums were computed anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Checked {
    /// Batches that are as they were written.
    pub good_batches: u64,
    /// Their points.
    pub good_points: u64,
    /// Batches that are not. How many points they hold is known to nobody but the ledger.
    pub bad_batches: u64,
}

/// Reads a spool file from end to end and says whether it is sound, without changing it or its log, also while its owner
/// is at work.
///
/// Looked at are the file's structure, its tables and their columns, the checksum of every batch in the backlog and in quarantine, the checksum over the
/// state and the ledger, the sums against the rows, the records of fates, and the log. That takes as long as reading the
/// file twice, in one read transaction: an owner who is at work meanwhile cannot empty its log.
///
/// # Errors
/// It cannot be told: the file is not there ([`SpoolErrorKind::Io`]), cannot be read, is no spool, or was written by a newer
/// version. A damaged file is no error, but a [`Verification`] with problems.
///
/// ```
/// use influx_spool::{SpoolErrorKind, verify};
///
/// assert_eq!(verify("no-such.db").unwrap_err().kind(), SpoolErrorKind::Io);
/// ```
pub fn verify(path: impl AsRef<Path>) -> Result<Verification, SpoolError> {
    let paths = existing(path.as_ref(), "verify")?;
    verify_at(&paths, holder(&paths))
}

/// Does with a damaged spool what the next start would do: sets it aside under a new name, with its log, and puts a fresh file
/// with everything that can be read in its place. Nothing is deleted. `None` if the file is sound; then nothing is changed.
///
/// A start looks only at what it needs to; this looks at everything, as [`verify`] does, so it also finds damage in the
/// quarantine. A spool that is being replaced since a crash is replaced to the end.
///
/// # Errors
/// [`SpoolErrorKind::Locked`] while a process, this one included, has the spool open; otherwise as for [`verify`], and what
/// keeps a file from being written: a second one of the same size has to have room.
///
/// ```
/// use influx_spool::{SpoolErrorKind, salvage};
///
/// assert_eq!(salvage("no-such.db").unwrap_err().kind(), SpoolErrorKind::Io);
/// ```
pub fn salvage(path: impl AsRef<Path>) -> Result<Option<SalvageReport>, SpoolError> {
    let paths = existing(path.as_ref(), "salvage")?;
    // Asked before the lock file is there.
    let is_ours = set_aside::looks_like_ours(&paths).during("salvage")?;
    if !is_ours && !set_aside::is_under_way(&paths) {
        return Err(SpoolError::new(SpoolErrorKind::NotASpool, format!("salvage {}", paths.name())));
    }
    let mut lock = SpoolLock::acquire(&paths)?;
    if paths.database.exists() {
        lock.hold_file(&paths)?;
    }
    if let Some(report) = set_aside::resume(&paths, None)? {
        return Ok(Some(report));
    }
    if verify_at(&paths, None)?.sound {
        return Ok(None);
    }
    set_aside::mark(&paths, std::time::SystemTime::now())?;
    set_aside::resume(&paths, None)
}

/// The paths of a spool of which at least something is there.
fn existing(path: &Path, verb: &str) -> Result<Paths, SpoolError> {
    let during = format!("{verb} {}", path.display());
    let paths = Paths::resolve(path).during(&during)?;
    let is_there = paths.database.exists() || set_aside::is_under_way(&paths);
    if is_there { Ok(paths) } else { Err(SpoolError::io(during, std::io::ErrorKind::NotFound.into())) }
}

fn verify_at(paths: &Paths, held_by: Option<u32>) -> Result<Verification, SpoolError> {
    let during = format!("verify {}", paths.name());
    let mut found = Verification { held_by, ..Verification::default() };
    if set_aside::is_under_way(paths) {
        found.problem("it was found to be damaged, and is being replaced: the next start goes on with that");
    }
    let page_bytes = pages::page_bytes(paths).during(&during)?;
    if held_by.is_none() {
        let hides = Log::open(&paths.wal(), page_bytes).during(&during)?.hides_commits();
        found.note(hides, "a frame of the log is damaged, and there are transactions behind it");
    }
    if paths::len(&paths.database) == 0 {
        found.note(paths::len(&paths.wal()) > 0, "the database is gone, and its log is not");
        if !found.problems.is_empty() {
            return Ok(found);
        }
    }
    // Not beside an owner in this process: closing the file would drop the locks that SQLite holds on it.
    let is_false =
        held_by.is_none() && schema::header_is_false(&paths.database, page_bytes).during(&during)?;
    found.note(is_false, "the header of the file is not as it was written");
    if !is_false {
        let looked =
            look_into(&paths.database, "verify").and_then(|(_, conn)| found.read(&conn).during(&during));
        found.damage(looked)?;
    }
    found.sound = found.problems.is_empty();
    Ok(found)
}

impl Verification {
    fn problem(&mut self, words: impl Into<String>) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(words.into());
        } else {
            self.more_problems += 1;
        }
    }

    fn note(&mut self, is_wrong: bool, words: &str) {
        if is_wrong {
            self.problem(words);
        }
    }

    /// Takes a failure for a problem where it says that the file is damaged.
    fn damage(&mut self, outcome: Result<(), SpoolError>) -> Result<(), SpoolError> {
        match outcome {
            Err(error) if error.kind() == SpoolErrorKind::Damaged => {
                self.problem(error.to_string());
                Ok(())
            }
            other => other,
        }
    }

    /// Every check for itself, in one snapshot: where one finds the file unreadable the next may not.
    fn read(&mut self, conn: &Connection) -> rusqlite::Result<()> {
        let snapshot = conn.unchecked_transaction()?;
        let checks: [fn(&mut Self, &Connection) -> rusqlite::Result<()>; 6] = [
            Self::structure,
            |_, conn| schema::look_at_tables(conn),
            Self::backlog,
            Self::quarantine,
            Self::state,
            Self::fates,
        ];
        for check in checks {
            match check(self, conn) {
                Err(error) if kind_of(&error) == SpoolErrorKind::Damaged => self.problem(error.to_string()),
                other => other?,
            }
        }
        snapshot.finish()
    }

    fn structure(&mut self, conn: &Connection) -> rusqlite::Result<()> {
        let mut statement = conn.prepare(&format!("PRAGMA integrity_check({PROBLEMS_MAX})"))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let words: String = row.get(0)?;
            self.note(words != "ok", &words);
        }
        Ok(())
    }

    fn backlog(&mut self, conn: &Connection) -> rusqlite::Result<()> {
        let mut statement = conn.prepare(
            "SELECT rowid, first_seq, last_seq, points, dest, codec, raw_len, earliest, latest, created_ms, origin, \
             parent, checksum, body FROM batch NOT INDEXED ORDER BY rowid",
        )?;
        let checked = self.rows("batch", statement.query([])?);
        checked.map(|checked| self.backlog = checked)
    }

    fn quarantine(&mut self, conn: &Connection) -> rusqlite::Result<()> {
        let mut statement = conn.prepare(
            "SELECT id, first_seq, last_seq, points, dest, codec, raw_len, earliest, latest, created_ms, origin, \
             parent, checksum, body, reason FROM quarantine NOT INDEXED ORDER BY id",
        )?;
        let checked = self.rows("quarantined batch", statement.query([])?)?;
        self.quarantine = checked;
        let mut reasons = conn.prepare("SELECT reason, count(*) FROM quarantine GROUP BY reason")?;
        let mut rows = reasons.query([])?;
        while let Some(row) = rows.next()? {
            let is_unknown = quarantine::reason(row, 0)?.is_none();
            self.note(is_unknown, "a reason for being in quarantine is none that there is");
        }
        Ok(())
    }

    fn rows(&mut self, what: &str, mut rows: Rows<'_>) -> rusqlite::Result<Checked> {
        let mut checked = Checked::default();
        while let Some(row) = rows.next()? {
            let stored = StoredBatch::from_row(row)?;
            match stored.batch() {
                Some(batch) => {
                    checked.good_batches += 1;
                    checked.good_points += batch.points();
                }
                None => {
                    checked.bad_batches += 1;
                    self.problem(format!("{what} {}: its checksum is wrong", stored.id));
                }
            }
        }
        Ok(checked)
    }

    fn state(&mut self, conn: &Connection) -> rusqlite::Result<()> {
        let Some(state) = State::load(conn)? else {
            self.problem("the checksum over the state and the ledger is wrong");
            return Ok(());
        };
        let backlog = room::measured_backlog(conn)?;
        self.note(backlog != state.backlog, "the sums of the backlog are not those of its rows");
        let size = quarantine::measured_size(conn)?;
        self.note(size != state.quarantine, "the sums of the quarantine are not those of its rows");
        for fate in QuarantineReason::ALL.map(Fate::Quarantined) {
            let is_other = quarantine::measured(conn, fate)? != state.ledger.of(fate);
            self.note(is_other, &format!("the ledger's {} is not what lies there", fate.key()));
        }
        let pending = state.ledger.accepted().points.checked_sub(state.ledger.settled_points());
        self.note(pending != Some(backlog.points), "the ledger does not add up");
        Ok(())
    }

    fn fates(&mut self, conn: &Connection) -> rusqlite::Result<()> {
        for problem in fates::problems(conn)? {
            self.problem(problem);
        }
        Ok(())
    }
}
