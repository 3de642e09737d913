//! A look at a spool from outside, also while another process owns it.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::SystemTime;

use rusqlite::{Connection, Row};
use serde::Serialize;

use super::clock;
use super::error::{During, SpoolError, SpoolErrorKind};
use super::lock;
use super::paths::{self, Paths};
use super::quarantine;
use super::room;
use super::row::count;
use super::schema;
use super::set_aside;
use super::state::{QuarantineSize, State};
use crate::machines::plan::RowId;
use crate::values::batch::Destination;
use crate::values::fate::{Fate, QuarantineReason};
use crate::values::ledger::Backlog;
use crate::values::ledger::{Ledger, Tally};
use crate::values::seq::{SeqRange, SpoolTag};

/// Quarantined batches listed, the newest. There can be hundreds of thousands of tiny ones.
const LISTED_MAX: u32 = 1_000;

/// What lies in a spool file, at one moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Inspection {
    /// Which spool it is.
    pub spool: SpoolTag,
    /// The process that has the spool open, if one has.
    pub held_by: Option<u32>,
    /// Whether the last owner closed it; `false` while one has it open.
    pub clean_stop: bool,
    /// How often it was left without being closed.
    pub unclean_ends_total: u64,
    /// What became of every point. `accepted` is the sum of the fates and the backlog.
    pub ledger: Ledger,
    /// Points that were refused at push, outside the ledger.
    pub refused: u64,
    /// What lies there undelivered, counted row by row.
    pub backlog: Backlog,
    /// Whether the sums the spool keeps agree with the rows, and the ledger adds up.
    pub adds_up: bool,
    /// The backlog by destination.
    pub destinations: Vec<DestinationBacklog>,
    /// How long ago the oldest undelivered point was pushed, in seconds; `None` if there is none.
    pub oldest_age_seconds: Option<u64>,
    /// How much is in quarantine.
    pub quarantine: QuarantineSize,
    /// The same by reason, in the order of the reasons; without those nothing is there for.
    pub quarantine_reasons: Vec<ReasonQuarantine>,
    /// The batches in quarantine, the newest thousand, oldest first.
    pub quarantined: Vec<QuarantinedBatch>,
    /// Size of the database file.
    pub file_bytes: u64,
    /// Size of its write-ahead log.
    pub wal_bytes: u64,
}

/// The part of the backlog that goes to one destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DestinationBacklog {
    /// Where it goes; `None` if what is stored about it cannot be read.
    pub destination: Option<Destination>,
    /// How much it is.
    pub backlog: Backlog,
}

/// The part of the quarantine that is there for one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ReasonQuarantine {
    /// Why it is there; `None` if what is stored about it cannot be read.
    pub reason: Option<QuarantineReason>,
    /// How many batches.
    pub batches: u64,
    /// Their points and the bytes of their lines.
    pub size: Tally,
}

/// A batch in quarantine, without its body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct QuarantinedBatch {
    /// Its identity within the quarantine.
    pub id: i64,
    /// The numbers of its points.
    pub seqs: SeqRange,
    /// Its points and the bytes of their lines.
    pub size: Tally,
    /// Where it was to go.
    pub destination: Option<Destination>,
    /// Why it is there.
    pub reason: Option<QuarantineReason>,
    /// The server's status code.
    pub status: Option<u16>,
    /// The server's own words, as far as they can be read.
    pub words: Option<String>,
    /// Since when: milliseconds since 1970.
    pub since_ms: i64,
    /// How often it was taken back and came here again.
    pub replays: u64,
}

/// Looks into a spool file without changing it and without disturbing its owner, who may be at work.
///
/// Reads every row but no body, in one short transaction.
///
/// # Errors
/// The file is not there ([`SpoolErrorKind::Io`]), is no spool, was written by a newer version, or is damaged; then
/// nothing is set aside, that is for its owner to do.
///
/// ```
/// use influx_spool::{SpoolErrorKind, inspect};
///
/// let error = inspect("no-such.db").unwrap_err();
/// assert_eq!(error.kind(), SpoolErrorKind::Io);
/// ```
pub fn inspect(path: impl AsRef<Path>) -> Result<Inspection, SpoolError> {
    let (paths, conn) = look_into(path.as_ref(), "inspect")?;
    let during = format!("inspect {}", paths.name());
    let inspection = read_all(&paths, &conn).during(&during)?;
    inspection.ok_or_else(|| SpoolError::new(SpoolErrorKind::Damaged, during))
}

/// Opens a spool to read, if it is one that we can.
pub(super) fn look_into(path: &Path, verb: &str) -> Result<(Paths, Connection), SpoolError> {
    let during = format!("{verb} {}", path.display());
    let paths = Paths::resolve(path).during(&during)?;
    let conn = schema::connect_to_look(&paths.database).during(&during)?;
    let probed = schema::probe(&conn, &during);
    match probed {
        Err(error)
            if error.kind() == SpoolErrorKind::Damaged
                && !set_aside::looks_like_ours(&paths).unwrap_or(true) =>
        {
            Err(SpoolError::new(SpoolErrorKind::NotASpool, during))
        }
        Err(error) => Err(error),
        Ok(schema::Probed::Empty) => Err(SpoolError::new(SpoolErrorKind::NotASpool, during)),
        Ok(schema::Probed::Spool { .. }) => Ok((paths, conn)),
    }
}

fn read_all(paths: &Paths, conn: &Connection) -> rusqlite::Result<Option<Inspection>> {
    // One snapshot for all statements.
    let tx = conn.unchecked_transaction()?;
    let Some(state) = State::load(&tx)? else { return Ok(None) };
    let backlog = room::measured_backlog(&tx)?;
    let oldest_ms: Option<i64> = tx.query_row("SELECT min(created_ms) FROM batch", [], |row| row.get(0))?;
    let destinations = destinations(&tx)?;
    let quarantine_measured = quarantine::measured_size(&tx)?;
    let quarantine_reasons = quarantine_reasons(&tx)?;
    let quarantined = quarantined(&tx)?;
    tx.finish()?;

    let open_points = state.ledger.accepted().points.checked_sub(state.ledger.settled_points());
    let age_ms = oldest_ms.map(|oldest| clock::unix_ms(SystemTime::now()).saturating_sub(oldest));
    Ok(Some(Inspection {
        spool: state.tag(),
        held_by: holder(paths),
        clean_stop: state.clean_stop,
        unclean_ends_total: state.unclean_ends,
        refused: state.refused,
        backlog,
        adds_up: backlog == state.backlog
            && quarantine_measured == state.quarantine
            && open_points == Some(backlog.points),
        ledger: state.ledger,
        destinations,
        oldest_age_seconds: age_ms.map(|age| count(age) / 1_000),
        quarantine: state.quarantine,
        quarantine_reasons,
        quarantined,
        file_bytes: paths::len(&paths.database),
        wal_bytes: paths::len(&paths.wal()),
    }))
}

fn destinations(conn: &Connection) -> rusqlite::Result<Vec<DestinationBacklog>> {
    let mut statement = conn
        .prepare("SELECT dest, count(*), sum(points), sum(raw_len) FROM batch GROUP BY dest ORDER BY dest")?;
    let rows = statement.query_map([], |row| {
        let batches = count(row.get(1)?);
        Ok(DestinationBacklog {
            destination: destination(row, 0)?,
            backlog: Backlog { batches, points: count(row.get(2)?), bytes: count(row.get(3)?) },
        })
    })?;
    rows.collect()
}

fn quarantine_reasons(conn: &Connection) -> rusqlite::Result<Vec<ReasonQuarantine>> {
    let mut statement =
        conn.prepare("SELECT reason, count(*), sum(points), sum(raw_len) FROM quarantine GROUP BY reason")?;
    let rows = statement.query_map([], |row| {
        let size = Tally::new(count(row.get(2)?), count(row.get(3)?));
        Ok(ReasonQuarantine { reason: reason(row, 0)?, batches: count(row.get(1)?), size })
    })?;
    let mut sums: Vec<_> = rows.collect::<rusqlite::Result<_>>()?;
    sums.sort_by_key(|sum| sum.reason);
    Ok(sums)
}

fn quarantined(conn: &Connection) -> rusqlite::Result<Vec<QuarantinedBatch>> {
    let mut statement = conn.prepare(
        "SELECT id, first_seq, last_seq, points, raw_len, dest, reason, status, words, since_ms, replays \
         FROM quarantine ORDER BY id DESC LIMIT ?1",
    )?;
    let rows = statement.query_map([LISTED_MAX], |row| {
        Ok(QuarantinedBatch {
            id: row.get::<_, i64>(0).map(RowId)?.0,
            seqs: SeqRange { first: count(row.get(1)?), last: count(row.get(2)?) },
            size: Tally::new(count(row.get(3)?), count(row.get(4)?)),
            destination: destination(row, 5)?,
            reason: reason(row, 6)?,
            status: row.get(7).unwrap_or_default(),
            words: words(row, 8)?,
            since_ms: row.get(9)?,
            replays: count(row.get(10)?),
        })
    })?;
    let mut list: Vec<_> = rows.collect::<rusqlite::Result<_>>()?;
    list.reverse();
    Ok(list)
}

/// As far as they can be read.
fn words(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<String>> {
    let words = row.get_ref(index)?.as_bytes_or_null().unwrap_or_default();
    Ok(words.map(|words| String::from_utf8_lossy(words).into_owned()))
}

fn destination(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<Destination>> {
    Ok(serde_json::from_str(row.get_ref(index)?.as_str()?).ok())
}

fn reason(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<QuarantineReason>> {
    Ok(match quarantine::reason(row, index)? {
        Some(Fate::Quarantined(reason)) => Some(reason),
        _ => None,
    })
}

/// Who holds the lock; asked with a shared lock, which two who ask do not deny each other.
pub(super) fn holder(paths: &Paths) -> Option<u32> {
    let mut file = File::open(paths.lock()).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => lock::holder(&mut file),
        _ => None,
    }
}
