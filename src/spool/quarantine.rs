//! Batches kept for a person to look at: in, out when there are too many.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::fates;
use super::row::{StoredBatch, count, int};
use super::state::{QuarantineSize, State};
use crate::machines::plan::{Evicted, Replay, RowId};
use crate::values::fate::{Fate, QuarantineReason};
use crate::values::ledger::{Ledger, Tally};
use crate::values::seq::SeqRange;

/// What a batch takes up beside its body: its columns, its destination, some words of the server (measured: 290 bytes
/// with a hundred of words). Most batches here are single lines, which else would fill several times the space they are
/// allowed.
pub(super) const ROW_BYTES: u64 = 512;

/// What is kept of the server's words. They name a line and say what is wrong with it; a page of HTML beside each of
/// thousands of lines would be no use to anybody.
const WORDS_BYTES_MAX: usize = 1_024;

/// Why a batch is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Why<'a> {
    pub(super) fate: Fate,
    pub(super) status: Option<u16>,
    pub(super) words: Option<&'a str>,
    /// How often it was taken back before.
    pub(super) replays: u64,
}

impl<'a> Why<'a> {
    fn bounded_words(&self) -> Option<&'a str> {
        self.words.map(|words| &words[..words.floor_char_boundary(WORDS_BYTES_MAX)])
    }
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
         checksum, ?2, ?3, ?4, ?5, ?6, body FROM batch WHERE rowid = ?1",
    )?
    .execute(params![row.0, why.fate.key(), why.status, why.bounded_words(), now_ms, int(why.replays)])?;
    let bytes: i64 = conn
        .prepare_cached("SELECT length(body) FROM batch WHERE rowid = ?1")?
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
        why.bounded_words(),
        now_ms,
        int(why.replays),
        &stored.body[..],
    ])?;
    state.quarantine.batches += 1;
    state.quarantine.bytes += stored.body.len() as u64;
    Ok(())
}

/// A batch and how it came here.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) stored: StoredBatch,
    /// `None` if it is none we know: then the row is damaged.
    pub(super) reason: Option<Fate>,
    pub(super) replays: u64,
}

/// The row that was set aside last. No row is given its number again, be it gone.
pub(super) fn newest(conn: &Connection) -> rusqlite::Result<Option<RowId>> {
    conn.prepare_cached("SELECT max(id) FROM quarantine")?
        .query_row([], |row| Ok(row.get::<_, Option<i64>>(0)?.map(RowId)))
}

/// The batches that are to be taken back, the longest kept first: those up to `newest`, at most `rows_max`.
pub(super) fn wanted(
    conn: &Connection,
    replay: &Replay,
    newest: RowId,
    rows_max: usize,
) -> rusqlite::Result<Vec<RowId>> {
    let reason = replay.only.map(|reason| Fate::Quarantined(reason).key());
    conn.prepare_cached(
        "SELECT id FROM quarantine WHERE id <= ?1 AND (?2 IS NULL OR reason = ?2) AND last_seq < ?3 \
         ORDER BY id LIMIT ?4",
    )?
    .query_map(params![newest.0, reason, int(replay.below_seq), int(rows_max as u64)], |row| {
        row.get(0).map(RowId)
    })?
    .collect()
}

pub(super) fn read(conn: &Connection, row: RowId) -> rusqlite::Result<Kept> {
    conn.prepare_cached(
        "SELECT id, first_seq, last_seq, points, dest, codec, raw_len, earliest, latest, created_ms, origin, \
         parent, checksum, body, reason, replays FROM quarantine WHERE id = ?1",
    )?
    .query_row([row.0], |row| {
        Ok(Kept {
            stored: StoredBatch::from_row(row)?,
            reason: reason(row, 14)?,
            replays: count(row.get(15)?),
        })
    })
}

/// Takes a batch out. What becomes of its points is the caller's to count.
pub(super) fn delete(
    conn: &Connection,
    state: &mut State,
    row: RowId,
    body_bytes: u64,
) -> rusqlite::Result<()> {
    conn.prepare_cached("DELETE FROM quarantine WHERE id = ?1")?.execute([row.0])?;
    state.quarantine.batches = state.quarantine.batches.saturating_sub(1);
    state.quarantine.bytes = state.quarantine.bytes.saturating_sub(body_bytes);
    Ok(())
}

/// Counts as damaged what the ledger says is here and is not: the columns of a damaged row may say anything.
pub(super) fn settle_missing(conn: &Connection, ledger: &mut Ledger) -> rusqlite::Result<Tally> {
    let mut lost = Tally::default();
    for reason in QuarantineReason::ALL {
        let fate = Fate::Quarantined(reason);
        let missing = ledger.of(fate).less(measured(conn, fate)?);
        ledger.resettle(fate, Fate::Damaged, missing);
        lost += missing;
    }
    Ok(lost)
}

/// Gives up the longest kept batches until the rest is within the bound.
pub(super) fn evict(conn: &Connection, state: &mut State, bytes_max: u64) -> rusqlite::Result<Vec<Evicted>> {
    let mut evicted = Vec::new();
    let mut has_damaged = false;
    while taken_up(state.quarantine) > bytes_max {
        let Some((goner, from, body_bytes)) = longest_kept(conn)? else { break };
        delete(conn, state, goner.row, body_bytes)?;
        let is_whole = goner.seqs.last.checked_sub(goner.seqs.first).map(|more| more + 1);
        match from {
            Some(from) if is_whole == Some(goner.tally.points) => {
                state.ledger.resettle(from, Fate::Rejected, goner.tally);
                fates::record(conn, goner.seqs, Fate::Rejected)?;
                evicted.push(goner);
            }
            _ => has_damaged = true,
        }
    }
    if has_damaged {
        settle_missing(conn, &mut state.ledger)?;
    }
    Ok(evicted)
}

/// Bytes that the quarantine takes up in the file, about.
const fn taken_up(size: QuarantineSize) -> u64 {
    size.bytes.saturating_add(size.batches.saturating_mul(ROW_BYTES))
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

fn longest_kept(conn: &Connection) -> rusqlite::Result<Option<(Evicted, Option<Fate>, u64)>> {
    conn.prepare_cached(
        "SELECT id, first_seq, last_seq, points, raw_len, reason, length(body) FROM quarantine ORDER BY id LIMIT 1",
    )?
    .query_row([], |row| {
        let goner = Evicted {
            row: RowId(row.get(0)?),
            seqs: SeqRange { first: count(row.get(1)?), last: count(row.get(2)?) },
            tally: Tally::new(count(row.get(3)?), count(row.get(4)?)),
            fate: Fate::Rejected,
        };
        Ok((goner, reason(row, 5)?, count(row.get(6)?)))
    })
    .optional()
}

/// The reason in a column, if it is one we know.
pub(super) fn reason(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<Fate>> {
    let fate = Fate::from_key(row.get_ref(index)?.as_str()?);
    Ok(fate.filter(|fate| matches!(fate, Fate::Quarantined(_))))
}
