//! The table of what is to be sent: one row in, measured, out.

use rusqlite::blob::ZeroBlob;
use rusqlite::{Connection, MAIN_DB, OptionalExtension, params};

use super::origin;
use super::row::{StoredBatch, count, int};
use crate::machines::plan::RowId;
use crate::values::ledger::Tally;
use crate::values::seq::SeqRange;

/// What a row says it holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) seqs: SeqRange,
    pub(super) tally: Tally,
    /// How often it was taken back from quarantine.
    pub(super) replays: u64,
}

/// The body is written into the pages of its row: bound to the statement it would be copied twice before it gets there.
pub(super) fn insert(conn: &Connection, stored: &StoredBatch) -> rusqlite::Result<RowId> {
    let size = i32::try_from(stored.body.len()).map_err(|_| rusqlite::Error::BlobSizeError)?;
    let id = conn
        .prepare_cached(
            "INSERT INTO batch (first_seq, last_seq, points, dest, codec, raw_len, earliest, latest, created_ms, \
             origin, parent, checksum, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        )?
        .insert(params![
        stored.first_seq,
        stored.last_seq,
        stored.points,
        stored.dest,
        stored.codec,
        stored.raw_len,
        stored.earliest,
        stored.latest,
        stored.created_ms,
        stored.origin,
        stored.parent,
        stored.checksum,
        ZeroBlob(size),
    ])?;
    let mut body = conn.blob_open(MAIN_DB, "batch", "body", id, false)?;
    body.write_at(&stored.body, 0)?;
    body.close()?;
    Ok(RowId(id))
}

/// Without the body: `DELETE … RETURNING` would read all of it. `None` if there is no such row, or it is another batch.
pub(super) fn measure(conn: &Connection, row: RowId, first_seq: u64) -> rusqlite::Result<Option<Held>> {
    Ok(measure_any(conn, row)?.filter(|held| held.seqs.first == first_seq))
}

/// The same of a row whose columns may say anything.
pub(super) fn measure_any(conn: &Connection, row: RowId) -> rusqlite::Result<Option<Held>> {
    conn.prepare_cached("SELECT last_seq, points, raw_len, origin, first_seq FROM batch WHERE rowid = ?1")?
        .query_row([row.0], |found| {
            Ok(Held {
                seqs: SeqRange { first: count(found.get(4)?), last: count(found.get(0)?) },
                tally: Tally::new(count(found.get(1)?), count(found.get(2)?)),
                replays: origin::replays(found.get_ref(3)?.as_str()?),
            })
        })
        .optional()
}

/// The row that begins with this number.
pub(super) fn find(conn: &Connection, first_seq: u64) -> rusqlite::Result<Option<RowId>> {
    conn.prepare_cached("SELECT rowid FROM batch WHERE first_seq = ?1")?
        .query_row([int(first_seq)], |row| row.get(0).map(RowId))
        .optional()
}

/// Whether the row was there; what is remembered of its attempts goes with it.
pub(super) fn delete(conn: &Connection, row: RowId) -> rusqlite::Result<bool> {
    conn.prepare_cached("DELETE FROM attempt WHERE batch = ?1")?.execute([row.0])?;
    let deleted = conn.prepare_cached("DELETE FROM batch WHERE rowid = ?1")?.execute([row.0])?;
    Ok(deleted == 1)
}
