//! The lines of a spool as text, to be looked at or taken elsewhere.

use std::io::Write;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;

use super::error::{During, SpoolError};
use super::inspect::look_into;
use super::row::StoredBatch;
use crate::machines::codec::decode_body;
use crate::values::fate::{Fate, QuarantineReason};

/// Which batches to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Export {
    /// What is undelivered, in the order of the points' numbers.
    Backlog,
    /// What is in quarantine, in the order it came there.
    Quarantine,
    /// What is in quarantine for this reason.
    QuarantinedFor(QuarantineReason),
}

/// What was printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Exported {
    /// Batches printed.
    pub batches: u64,
    /// Their points.
    pub points: u64,
    /// Batches left out because they cannot be read back.
    pub damaged_batches: u64,
}

/// Prints line protocol, with the timestamps in the precision each batch was written for.
///
/// Nothing is changed. The owner may be at work meanwhile: no transaction is held while `out` is written to, so what is
/// delivered in between is left out, and what comes is printed too.
///
/// # Errors
/// As [`inspect`](super::inspect()), and what `out` reports.
///
/// ```
/// use influx_spool::{Export, export};
///
/// let mut lines = Vec::new();
/// assert!(export("no-such.db", Export::Backlog, &mut lines).is_err());
/// assert!(lines.is_empty());
/// ```
pub fn export(path: impl AsRef<Path>, what: Export, out: &mut dyn Write) -> Result<Exported, SpoolError> {
    let (paths, conn) = look_into(path.as_ref(), "export")?;
    let during = format!("export {}", paths.name());
    let printing = format!("print what {} holds", paths.name());
    let mut exported = Exported::default();
    let mut after = i64::MIN;
    while let Some((position, stored)) = next(&conn, what, after).during(&during)? {
        after = position;
        match lines(&stored) {
            Some((points, lines)) => {
                out.write_all(&lines).during(&printing)?;
                exported.batches += 1;
                exported.points += points;
            }
            None => exported.damaged_batches += 1,
        }
    }
    out.flush().during(printing)?;
    Ok(exported)
}

/// The first batch behind a position, and its own.
fn next(conn: &Connection, what: Export, after: i64) -> rusqlite::Result<Option<(i64, StoredBatch)>> {
    let reason = match what {
        Export::Backlog => return next_undelivered(conn, after),
        Export::Quarantine => None,
        Export::QuarantinedFor(reason) => Some(Fate::Quarantined(reason).key()),
    };
    conn.prepare_cached(
        "SELECT id, first_seq, last_seq, points, dest, codec, raw_len, earliest, latest, created_ms, origin, \
         parent, checksum, body FROM quarantine WHERE id > ?1 AND (?2 IS NULL OR reason = ?2) ORDER BY id LIMIT 1",
    )?
    .query_row(params![after, reason], |row| StoredBatch::from_row(row).map(|stored| (stored.id, stored)))
    .optional()
}

fn next_undelivered(conn: &Connection, after: i64) -> rusqlite::Result<Option<(i64, StoredBatch)>> {
    conn.prepare_cached(
        "SELECT rowid, first_seq, last_seq, points, dest, codec, raw_len, earliest, latest, created_ms, origin, \
         parent, checksum, body FROM batch WHERE first_seq > ?1 ORDER BY first_seq LIMIT 1",
    )?
    .query_row([after], |row| StoredBatch::from_row(row).map(|stored| (stored.first_seq, stored)))
    .optional()
}

fn lines(stored: &StoredBatch) -> Option<(u64, bytes::Bytes)> {
    let batch = stored.batch()?;
    let lines = decode_body(batch.codec, batch.raw_len, &batch.body).ok()?;
    Some((batch.points(), lines))
}
