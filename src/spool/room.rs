//! How much room there is, and who goes when there is none.

use std::collections::BTreeSet;

use rusqlite::{Connection, Row, params};

use super::options::SpoolOptions;
use super::origin;
use super::page;
use super::paths::{self, Paths};
use super::row::{StoredBatch, count, int};
use super::stride::LOG_BYTES_MAX;
use crate::machines::plan::RowId;
use crate::values::batch::Batch;
use crate::values::ledger::Backlog;
use crate::values::ledger::Tally;
use crate::values::seq::SeqRange;

/// Pages a row may need beside those of its body: a split leaf of the table and of the index that older files
/// have, their parents, a pointer map page, and growth of the small tables.
const PAGES_BESIDE_BODY: u64 = 8;

/// With so much beyond the reserve nobody asks what is in the log: four times what that is due to be copied at.
pub(super) const PLENTY_BYTES: u64 = 4 * LOG_BYTES_MAX;

const LOG_SHARE: u64 = 8;

/// Batches that expire in one commit, so that a commit stays short; the next takes the next ones.
const EXPIRED_PER_COMMIT: usize = 64;

/// A batch at the old end of the queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Oldest {
    pub(super) row: RowId,
    pub(super) seqs: SeqRange,
    pub(super) tally: Tally,
}

/// Bytes free on the disk. If the system does not tell, any number.
pub(super) fn free_bytes(paths: &Paths) -> u64 {
    fs4::available_space(paths.folder()).unwrap_or(u64::MAX)
}

/// Of these, those beyond what is left to others, and to deletions: what a transaction without bodies and a slice of giving back may
/// write is left free, whatever is set.
pub(super) fn beyond_reserve(free: u64, reserve_bytes: u64, page_bytes: u64) -> u64 {
    free.saturating_sub(reserve_bytes.max(page::records_bytes(page_bytes)))
}

/// Bytes of bodies that may be written into so much room. Each is written to the log first, and the database has to grow by as much
/// when that is copied; so it has for what the log holds already. Otherwise the log would fill the disk, and could never be emptied.
pub(super) fn for_bodies(conn: &Connection, paths: &Paths, left: u64) -> rusqlite::Result<u64> {
    if left >= PLENTY_BYTES { Ok(left) } else { Ok(left.saturating_sub(growth(conn, paths)?) / 2) }
}

/// How many of the batches, from the first on, may be written into so much room.
pub(super) fn fitting(batches: &[Batch], room: u64) -> usize {
    let mut left = room;
    let fits = |batch: &&Batch| {
        let rest = left.checked_sub(batch.body.len() as u64);
        left = rest.unwrap_or(0);
        rest.is_some() && room > 0
    };
    batches.iter().take_while(fits).count()
}

/// Whether the disk has what the database file will grow by when the log is copied into it. If the system does not
/// tell, it has.
pub(super) fn has_room_to_checkpoint(conn: &Connection, paths: &Paths) -> rusqlite::Result<bool> {
    let growth = growth(conn, paths)?;
    Ok(growth == 0 || free_bytes(paths) > growth)
}

/// Bytes by which the file is shorter than the database in it, some of which is in the log only.
pub(super) fn growth(conn: &Connection, paths: &Paths) -> rusqlite::Result<u64> {
    let length = pragma(conn, "PRAGMA page_count")? * page_bytes(conn)?;
    Ok(length.saturating_sub(paths::len(&paths.database)))
}

/// How far the log of a spool may grow: an eighth of the disk, or of the spool.
pub(super) fn log_bytes_max(paths: &Paths, options: &SpoolOptions) -> u64 {
    let disk = fs4::total_space(paths.folder()).unwrap_or(u64::MAX);
    disk.min(options.bytes_max) / LOG_SHARE
}

/// Whether a second file of the size of this one finds room beside it. If the system does not tell, it does.
pub(super) fn has_room_to_salvage(paths: &Paths, options: &SpoolOptions) -> bool {
    let size = paths::len(&paths.database) + paths::len(&paths.wal());
    let needed = size.saturating_add(options.free_reserve_bytes);
    fs4::available_space(paths.folder()).map_or(true, |free| free > needed)
}

/// Pages behind the end of the database that the file still has: they go when the log is copied.
pub(super) fn pages_cut_off(conn: &Connection, paths: &Paths) -> rusqlite::Result<u64> {
    let pages = paths::len(&paths.database) / page_bytes(conn)?;
    Ok(pages.saturating_sub(pragma(conn, "PRAGMA page_count")?))
}

/// Bytes that storing the row may take at most, in pages of this size.
pub(super) fn bytes_for(stored: &StoredBatch, page_bytes: u64) -> u64 {
    let bytes = (stored.body.len() + stored.dest.len()) as u64;
    (bytes.div_ceil(page_bytes - 4) + PAGES_BESIDE_BODY).saturating_mul(page_bytes)
}

/// Whether so many more bytes keep the file within its size. Free pages inside the file are used before it grows.
pub(super) fn fits(conn: &Connection, bytes: u64, bytes_max: u64) -> rusqlite::Result<bool> {
    let used = used_pages(conn)?.saturating_mul(page_bytes(conn)?);
    Ok(used.saturating_add(bytes) <= bytes_max)
}

/// Bytes of a page of this file.
pub(super) fn page_bytes(conn: &Connection) -> rusqlite::Result<u64> {
    pragma(conn, "PRAGMA page_size")
}

pub(super) fn used_pages(conn: &Connection) -> rusqlite::Result<u64> {
    Ok(pragma(conn, "PRAGMA page_count")?.saturating_sub(free_pages(conn)?))
}

pub(super) fn free_pages(conn: &Connection) -> rusqlite::Result<u64> {
    pragma(conn, "PRAGMA freelist_count")
}

/// The oldest batch that is not in work and is older than `before`.
pub(super) fn oldest(
    conn: &Connection,
    leased: &BTreeSet<u64>,
    before: u64,
) -> rusqlite::Result<Option<Oldest>> {
    let mut statement = conn.prepare_cached(
        "SELECT rowid, first_seq, last_seq, points, raw_len FROM batch WHERE first_seq < ?1 ORDER BY first_seq",
    )?;
    let mut rows = statement.query([int(before)])?;
    while let Some(row) = rows.next()? {
        let oldest = oldest_from(row)?;
        if !leased.contains(&oldest.seqs.first) {
            return Ok(Some(oldest));
        }
    }
    Ok(None)
}

/// Batches at the old end that were pushed before `born_before` and are not in work. Those replayed by hand do not
/// expire, or a replay of old data would be in vain.
pub(super) fn expired(
    conn: &Connection,
    born_before: i64,
    leased: &BTreeSet<u64>,
) -> rusqlite::Result<Vec<Oldest>> {
    let mut statement = conn.prepare_cached(
        "SELECT rowid, first_seq, last_seq, points, raw_len, created_ms, origin FROM batch ORDER BY first_seq LIMIT ?1",
    )?;
    let mut rows = statement.query([int((EXPIRED_PER_COMMIT + leased.len()) as u64)])?;
    let mut expired = Vec::new();
    while let Some(row) = rows.next()? {
        let is_old = row.get::<_, i64>(5)? < born_before;
        let is_replay = origin::replays(row.get_ref(6)?.as_str()?) > 0;
        let oldest = oldest_from(row)?;
        if !is_old && !is_replay {
            break;
        }
        if is_old && !is_replay && !leased.contains(&oldest.seqs.first) {
            expired.push(oldest);
        }
    }
    Ok(expired)
}

/// What the rows really hold. Reads every row but no body.
pub(super) fn measured_backlog(conn: &Connection) -> rusqlite::Result<Backlog> {
    // A flipped bit may have made a column huge; no batch has more than 2^40 of either.
    conn.query_row(
        "SELECT count(*), coalesce(sum(min(points, ?1)), 0), coalesce(sum(min(raw_len, ?1)), 0) FROM batch",
        params![1_i64 << 40],
        |row| {
            Ok(Backlog { batches: count(row.get(0)?), points: count(row.get(1)?), bytes: count(row.get(2)?) })
        },
    )
}

/// The destination as it stands in a row.
pub(super) fn destination_json(batch: &Batch) -> String {
    serde_json::to_string(&*batch.destination)
        .expect("a destination is text and words, which JSON always can hold")
}

fn oldest_from(row: &Row<'_>) -> rusqlite::Result<Oldest> {
    Ok(Oldest {
        row: RowId(row.get(0)?),
        seqs: SeqRange { first: count(row.get(1)?), last: count(row.get(2)?) },
        tally: Tally::new(count(row.get(3)?), count(row.get(4)?)),
    })
}

fn pragma(conn: &Connection, sql: &str) -> rusqlite::Result<u64> {
    conn.prepare_cached(sql)?.query_row([], |row| row.get(0)).map(count)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::super::origin::Origin;
    use super::super::tests::batch;
    use super::*;

    #[test]
    fn batches_are_written_as_long_as_each_finds_room_whole() {
        let batches = [3, 4, 5].map(|bytes| batch(1, 1, &vec![b'x'; bytes]));
        for (room, fits) in [(0, 0), (2, 0), (3, 1), (6, 1), (7, 2), (11, 2), (12, 3), (u64::MAX, 3)] {
            assert_eq!(fitting(&batches, room), fits, "room for {room} bytes");
        }
        let empty = [batch(1, 1, b"")];
        assert_eq!(
            (fitting(&empty, 0), fitting(&empty, 1)),
            (0, 1),
            "no room is none for its columns either"
        );
    }

    const PAGE_BYTES: u64 = 16 << 10;

    /// What an overflow page holds beside the number of the next: <https://www.sqlite.org/fileformat2.html#ovflpgs>.
    const OVERFLOW: usize = PAGE_BYTES as usize - 4;

    #[test]
    fn a_row_is_thought_to_fill_whole_pages_and_some_beside() {
        let dest = "0123456789";
        for (body, pages) in [(1, 9), (OVERFLOW - 10, 9), (OVERFLOW - 9, 10), (2 * OVERFLOW - 10, 10)] {
            let stored = StoredBatch::new(&batch(1, 1, &vec![b'x'; body]), dest, Origin::Live);
            assert_eq!(bytes_for(&stored, PAGE_BYTES), pages * PAGE_BYTES, "a body of {body} bytes");
        }
    }

    /// A database of two pages in use and some that are free.
    fn with_free_pages(conn: &Connection) {
        conn.pragma_update(None, "page_size", PAGE_BYTES as i64).unwrap();
        conn.execute_batch(
            "CREATE TABLE kept (x); CREATE TABLE gone AS SELECT zeroblob(100000) AS x; DROP TABLE gone",
        )
        .unwrap();
    }

    #[test]
    fn free_pages_are_used_before_the_file_grows() {
        let conn = Connection::open_in_memory().unwrap();
        with_free_pages(&conn);
        assert!(free_pages(&conn).unwrap() >= 6);
        assert_eq!(used_pages(&conn).unwrap(), 2);
        for pages in [0, 1, 5] {
            let needed = (2 + pages) * PAGE_BYTES;
            assert!(fits(&conn, pages * PAGE_BYTES, needed).unwrap(), "{pages}");
            assert!(!fits(&conn, pages * PAGE_BYTES, needed - 1).unwrap(), "{pages}");
        }
    }

    #[test]
    fn pages_behind_the_end_of_the_database_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths { database: folder.path().join("plant.db") };
        let conn = Connection::open(&paths.database).unwrap();
        with_free_pages(&conn);
        assert_eq!(pages_cut_off(&conn, &paths).unwrap(), 0);
        let file = File::options().write(true).open(&paths.database).unwrap();
        file.set_len(paths::len(&paths.database) + 3 * PAGE_BYTES).unwrap();
        assert_eq!(pages_cut_off(&conn, &paths).unwrap(), 3);
    }

    #[test]
    fn a_second_file_beside_a_damaged_one_needs_its_size_and_the_reserve() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths { database: folder.path().join("plant.db") };
        let free = fs4::available_space(folder.path()).unwrap();
        // They hold nothing, and take up nothing. Others may use the disk meanwhile: there is a quarter to spare.
        for (eighths, has_room) in
            [([0, 0, 1], true), ([2, 2, 2], true), ([4, 4, 2], false), ([1, 1, 8], false)]
        {
            let [database, log, reserve] = eighths.map(|part| free / 8 * part);
            File::create(&paths.database).unwrap().set_len(database).unwrap();
            File::create(paths.wal()).unwrap().set_len(log).unwrap();
            let options = SpoolOptions { free_reserve_bytes: reserve, ..SpoolOptions::new(&paths.database) };
            assert_eq!(has_room_to_salvage(&paths, &options), has_room, "{eighths:?} of what is free");
        }
    }
}
