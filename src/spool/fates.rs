//! What became of which numbers, as ranges: neighbours of one fate are one row, so a healthy spool has one row.

use rusqlite::{Connection, OptionalExtension, params};

use super::row::{count, int};
use crate::values::fate::Fate;
use crate::values::seq::SeqRange;

/// Ranges kept. One is about 30 bytes, so they are a few pages; beyond it the oldest are forgotten.
pub(super) const ROWS_MAX: u64 = 4_096;

/// Records that all of `seqs` met `fate`, whatever was recorded before.
pub(super) fn record(conn: &Connection, seqs: SeqRange, fate: Fate) -> rusqlite::Result<()> {
    let mut merged = seqs;
    // Neighbours count too: one that ends just before or begins just after may be of the same fate.
    for old in overlapping(conn, seqs.first.saturating_sub(1), seqs.last.saturating_add(1))? {
        if old.fate == fate.key() {
            merged =
                SeqRange { first: merged.first.min(old.seqs.first), last: merged.last.max(old.seqs.last) };
        }
    }
    for old in overlapping(conn, merged.first, merged.last)? {
        cut(conn, &old, merged)?;
    }
    insert(conn, merged, fate.key())
}

/// Forgets the fates of `seqs`: they have none any more.
pub(super) fn forget(conn: &Connection, seqs: SeqRange) -> rusqlite::Result<()> {
    for old in overlapping(conn, seqs.first, seqs.last)? {
        cut(conn, &old, seqs)?;
    }
    Ok(())
}

/// The recorded fate of a number.
pub(super) fn of(conn: &Connection, number: u64) -> rusqlite::Result<Option<Fate>> {
    let range = conn
        .prepare_cached(
            "SELECT last_seq, fate FROM fate WHERE first_seq <= ?1 ORDER BY first_seq DESC LIMIT 1",
        )?
        .query_row([int(number)], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))
        .optional()?;
    Ok(range.filter(|(last, _)| count(*last) >= number).and_then(|(_, key)| Fate::from_key(&key)))
}

/// Forgets the oldest ranges beyond [`ROWS_MAX`]. Returns the number below which fates are no longer known.
pub(super) fn prune(conn: &Connection) -> rusqlite::Result<Option<u64>> {
    let rows: i64 = conn.prepare_cached("SELECT count(*) FROM fate")?.query_row([], |row| row.get(0))?;
    let excess = count(rows).saturating_sub(ROWS_MAX);
    if excess == 0 {
        return Ok(None);
    }
    // Down to nine tenths, so that this is rare.
    let goners = int(excess + ROWS_MAX / 10);
    let floor: i64 = conn
        .prepare_cached("SELECT first_seq FROM fate ORDER BY first_seq LIMIT 1 OFFSET ?1")?
        .query_row([goners], |row| row.get(0))?;
    conn.prepare_cached("DELETE FROM fate WHERE first_seq < ?1")?.execute([floor])?;
    Ok(Some(count(floor)))
}

/// What is wrong with the records, in words.
pub(super) fn problems(conn: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut problems = Vec::new();
    let mut last = 0;
    for range in overlapping(conn, 0, i64::MAX.unsigned_abs())? {
        let SeqRange { first, last: end } = range.seqs;
        if first <= last || end < first {
            problems.push(format!("the record of fates from {first} to {end} cannot be true"));
        }
        if Fate::from_key(&range.fate).is_none() {
            problems.push(format!("the fate recorded of {first} is none that there is"));
        }
        last = last.max(end);
    }
    let pending: i64 = conn.query_row(
        "SELECT count(*) FROM batch WHERE EXISTS (SELECT 1 FROM fate WHERE fate.first_seq = (SELECT max(first_seq) \
         FROM fate WHERE first_seq <= batch.first_seq) AND last_seq >= batch.first_seq)",
        [],
        |row| row.get(0),
    )?;
    if pending > 0 {
        problems.push(format!("{pending} batches are to be sent and have a fate, both"));
    }
    Ok(problems)
}

struct Range {
    seqs: SeqRange,
    fate: String,
}

fn overlapping(conn: &Connection, first: u64, last: u64) -> rusqlite::Result<Vec<Range>> {
    // The one that begins before `first`, and those that begin inside.
    let mut statement = conn.prepare_cached(
        "SELECT first_seq, last_seq, fate FROM fate WHERE last_seq >= ?1 AND first_seq <= ?2 AND first_seq >= \
         coalesce((SELECT max(first_seq) FROM fate WHERE first_seq <= ?1), 0)",
    )?;
    let rows = statement.query_map([int(first), int(last)], |row| {
        let seqs = SeqRange { first: count(row.get(0)?), last: count(row.get(1)?) };
        Ok(Range { seqs, fate: row.get(2)? })
    })?;
    rows.collect()
}

/// Takes `out` out of a recorded range.
fn cut(conn: &Connection, old: &Range, out: SeqRange) -> rusqlite::Result<()> {
    conn.prepare_cached("DELETE FROM fate WHERE first_seq = ?1")?.execute([int(old.seqs.first)])?;
    if old.seqs.first < out.first {
        insert(conn, SeqRange { first: old.seqs.first, last: out.first - 1 }, &old.fate)?;
    }
    if old.seqs.last > out.last {
        insert(conn, SeqRange { first: out.last + 1, last: old.seqs.last }, &old.fate)?;
    }
    Ok(())
}

fn insert(conn: &Connection, seqs: SeqRange, fate: &str) -> rusqlite::Result<()> {
    conn.prepare_cached("INSERT INTO fate (first_seq, last_seq, fate) VALUES (?1, ?2, ?3)")?
        .execute(params![int(seqs.first), int(seqs.last), fate])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::fate::QuarantineReason;

    fn table() -> Connection {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(include_str!("../../migrations/001_first.sql")).unwrap();
        conn
    }

    fn put(conn: &Connection, first: u64, last: u64, fate: Fate) {
        record(conn, SeqRange { first, last }, fate).unwrap();
    }

    fn rows(conn: &Connection) -> Vec<(u64, u64, String)> {
        let all = overlapping(conn, 0, i64::MAX as u64).unwrap();
        all.into_iter().map(|range| (range.seqs.first, range.seqs.last, range.fate)).collect()
    }

    #[test]
    fn neighbours_of_one_fate_are_one_row() {
        let conn = table();
        put(&conn, 1, 10, Fate::Delivered);
        put(&conn, 21, 30, Fate::Delivered);
        put(&conn, 11, 20, Fate::Delivered);
        put(&conn, 31, 31, Fate::Delivered);
        assert_eq!(rows(&conn), [(1, 31, "delivered".into())]);
    }

    #[test]
    fn a_later_fate_takes_its_place_in_the_middle_of_a_range() {
        let conn = table();
        let quarantined = Fate::Quarantined(QuarantineReason::Refused);
        put(&conn, 1, 30, quarantined);
        put(&conn, 11, 20, Fate::Rejected);
        assert_eq!(of(&conn, 10).unwrap(), Some(quarantined));
        assert_eq!(of(&conn, 11).unwrap(), Some(Fate::Rejected));
        assert_eq!(of(&conn, 20).unwrap(), Some(Fate::Rejected));
        assert_eq!(of(&conn, 21).unwrap(), Some(quarantined));
        assert_eq!(of(&conn, 31).unwrap(), None);
        put(&conn, 1, 10, Fate::Rejected);
        assert_eq!(rows(&conn).len(), 2);
    }

    #[test]
    fn ranges_agree_with_a_plain_map_after_any_order_of_records() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..50 {
            let conn = table();
            let mut model = [None; 101];
            for _ in 0..40 {
                let first = random.u64(1..=100);
                let last = random.u64(first..=100);
                let fate = random.u8(..4).checked_sub(1).map(|index| Fate::ALL[usize::from(index)]);
                match fate {
                    Some(fate) => put(&conn, first, last, fate),
                    None => forget(&conn, SeqRange { first, last }).unwrap(),
                }
                model[first as usize..=last as usize].fill(fate);
            }
            for number in 1..=100 {
                assert_eq!(of(&conn, number).unwrap(), model[number as usize]);
            }
            let rows = rows(&conn);
            let merged = rows.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0 || pair[0].2 != pair[1].2);
            assert!(merged, "{rows:?}");
        }
    }

    #[test]
    fn the_oldest_ranges_are_forgotten_and_said_to_be() {
        let conn = table();
        for number in 0..=ROWS_MAX {
            put(&conn, number * 2 + 1, number * 2 + 1, Fate::Delivered);
        }
        let floor = prune(&conn).unwrap().unwrap();
        assert_eq!(of(&conn, floor - 2).unwrap(), None);
        assert_eq!(of(&conn, floor).unwrap(), Some(Fate::Delivered));
        assert_eq!(prune(&conn).unwrap(), None);
    }
}
