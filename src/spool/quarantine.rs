//! Batches kept for a person to look at: in, out when there are too many.

use rusqlite::{Connection, OptionalExtension, params};

use super::fates;
use super::row::{StoredBatch, count, int};
use super::state::{QuarantineSize, State};
use crate::machines::plan::{Evicted, RowId};
use crate::values::fate::Fate;
use crate::values::ledger::Tally;
use crate::values::seq::SeqRange;

/// Why a batch is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Why<'a> {
    pub(super) fate: Fate,
    pub(super) status: Option<u16>,
    pub(super) words: Option<&'a str>,
    /// How often it was taken back before.
    pub(super) replays: u64,
}

/// Copies a stored batch, body and checksum included. The caller deletes it from the backlog.
pub(super) fn move_row(
    conn: &Connection,
    state: &mut State,
    row: RowId,
    why: Why<'_>,
    now_ms: i64,
) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT INTO quarantine (first_seq, last_seq, points, dest, codec, raw_len, earliest, latest, created_ms, \
         origin, parent, checksum, reason, status, words, since_ms, replays, body) \
         SELECT first_seq, last_seq, points, dest, codec, raw_len, earliest, latest, created_ms, origin, parent, \
         checksum, ?2, ?3, ?4, ?5, ?6, body FROM batch WHERE id = ?1",
    )?
    .execute(params![row.0, why.fate.key(), why.status, why.words, now_ms, int(why.replays)])?;
    let bytes: i64 = conn
        .prepare_cached("SELECT length(body) FROM batch WHERE id = ?1")?
        .query_row([row.0], |found| found.get(0))?;
    state.quarantine.batches += 1;
    state.quarantine.bytes += count(bytes);
    Ok(())
}

/// Stores a batch that never was in the backlog.
pub(super) fn insert(
    conn: &Connection,
    state: &mut State,
    stored: &StoredBatch,
    why: Why<'_>,
    now_ms: i64,
) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT INTO quarantine (first_seq, last_seq, points, dest, codec, raw_len, earliest, latest, created_ms, \
         origin, parent, checksum, reason, status, words, since_ms, replays, body) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)",
    )?
    .execute(params![
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
        why.fate.key(),
        why.status,
        why.words,
        now_ms,
        int(why.replays),
        &stored.body[..],
    ])?;
    state.quarantine.batches += 1;
    state.quarantine.bytes += stored.body.len() as u64;
    Ok(())
}

/// Gives up the longest kept batches until the bodies are within the bound.
pub(super) fn evict(conn: &Connection, state: &mut State, bytes_max: u64) -> rusqlite::Result<Vec<Evicted>> {
    let mut evicted = Vec::new();
    while state.quarantine.bytes > bytes_max {
        let Some((goner, from, body_bytes)) = longest_kept(conn)? else { break };
        conn.prepare_cached("DELETE FROM quarantine WHERE id = ?1")?.execute([goner.row.0])?;
        state.quarantine.batches = state.quarantine.batches.saturating_sub(1);
        state.quarantine.bytes = state.quarantine.bytes.saturating_sub(body_bytes);
        state.ledger.resettle(from, Fate::Rejected, goner.tally);
        fates::record(conn, goner.seqs, Fate::Rejected)?;
        evicted.push(goner);
    }
    Ok(evicted)
}

/// What really lies in quarantine.
pub(super) fn measured_size(conn: &Connection) -> rusqlite::Result<QuarantineSize> {
    conn.query_row("SELECT count(*), coalesce(sum(length(body)), 0) FROM quarantine", [], |row| {
        Ok(QuarantineSize { batches: count(row.get(0)?), bytes: count(row.get(1)?) })
    })
}

/// What is there for this reason, in points and bytes of plain lines.
pub(super) fn measured(conn: &Connection, fate: Fate) -> rusqlite::Result<Tally> {
    conn.query_row(
        "SELECT coalesce(sum(points), 0), coalesce(sum(raw_len), 0) FROM quarantine WHERE reason = ?1",
        [fate.key()],
        |row| Ok(Tally::new(count(row.get(0)?), count(row.get(1)?))),
    )
}

fn longest_kept(conn: &Connection) -> rusqlite::Result<Option<(Evicted, Fate, u64)>> {
    conn.prepare_cached(
        "SELECT id, first_seq, last_seq, points, raw_len, reason, length(body) FROM quarantine ORDER BY id LIMIT 1",
    )?
    .query_row([], |row| {
        let reason = Fate::from_key(row.get_ref(5)?.as_str()?);
        let goner = Evicted {
            row: RowId(row.get(0)?),
            seqs: SeqRange { first: count(row.get(1)?), last: count(row.get(2)?) },
            tally: Tally::new(count(row.get(3)?), count(row.get(4)?)),
            fate: Fate::Rejected,
        };
        Ok((goner, reason.unwrap_or(Fate::Rejected), count(row.get(6)?)))
    })
    .optional()
}
