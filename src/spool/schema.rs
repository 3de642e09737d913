//! The file's format: its mark, its version, its pragmas.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use rusqlite_migration::{M, Migrations};

use super::error::{During, SpoolError, SpoolErrorKind};
use super::page;
use super::room;
use super::stride::{self, Stride};
use crate::log;
use crate::values::config::SyncMode;

/// Bytes of the header that every SQLite database begins with.
const HEADER_BYTES: usize = 100;

/// "ISP1" at offset 68 of the file, for `file(1)` and for us.
pub(super) const APPLICATION_ID: i32 = 0x4953_5031;

const MIGRATIONS: Migrations<'static> = Migrations::from_slice(STEPS);
const STEPS: &[M<'static>] = &[
    M::up(include_str!("../../migrations/001_first.sql")),
    M::up(include_str!("../../migrations/002_one_row.sql")),
    M::up(include_str!("../../migrations/003_batch_by_number.sql")),
];

/// The schema version this crate writes.
pub(super) const VERSION: u32 = STEPS.len() as u32;

/// The first version that keeps the ledger in the row of the state.
pub(super) const LEDGER_IN_STATE: u32 = 2;

/// The first version in which a batch lies under its first number. In the one before, `rowid` is another number; all else
/// that is asked of the table is the same, so its batches are sent from there.
const BATCH_BY_NUMBER: u32 = 3;

/// How long to wait for another program's lock. The only other programs are those that look in for a moment.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);

/// What a file turns out to be, looked at without changing it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Probed {
    /// Nothing in it yet: also what a crash in the middle of creating it leaves.
    Empty,
    /// A spool of this version or an older one.
    Spool { version: u32 },
}

/// Looks whether this is a spool that we may read and write.
///
/// # Errors
/// [`SpoolErrorKind::NewerSchema`], [`SpoolErrorKind::NotASpool`], or the file cannot be read.
pub(super) fn probe(conn: &Connection, during: &str) -> Result<Probed, SpoolError> {
    let number = |pragma: &str| conn.query_row(pragma, [], |row| row.get::<_, i64>(0)).during(during);
    let tables = number("SELECT count(*) FROM sqlite_schema")?;
    let id = number("PRAGMA application_id")?;
    let found = version(conn).during(during)?;
    if tables == 0 && id == 0 && found == 0 {
        return Ok(Probed::Empty);
    }
    if id != i64::from(APPLICATION_ID) {
        // The mark may be what is damaged.
        let kind = if is_ours(conn) { SpoolErrorKind::Damaged } else { SpoolErrorKind::NotASpool };
        return Err(SpoolError::new(kind, during));
    }
    match found {
        0 => Err(SpoolError::new(SpoolErrorKind::Damaged, during)),
        1..=VERSION => Ok(Probed::Spool { version: found }),
        // Each version has tables of its own: with those of one that we know the number is what is damaged.
        _ if is_ours(conn) => Err(SpoolError::new(SpoolErrorKind::Damaged, during)),
        _ => Err(SpoolError::new(SpoolErrorKind::NewerSchema { found, known: VERSION }, during)),
    }
}

/// The tables and their columns, which are the same in all versions, but for that of the state.
const TABLES: [(&str, &str); 4] = [
    (
        "batch",
        "rowid, first_seq, last_seq, points, dest, codec, raw_len, earliest, latest, created_ms, origin, parent, checksum, body",
    ),
    ("attempt", "batch, attempts, panics, status, words"),
    (
        "quarantine",
        "id, first_seq, last_seq, points, dest, codec, raw_len, earliest, latest, created_ms, origin, parent, checksum, reason, \
         status, words, since_ms, replays, body",
    ),
    ("fate", "first_seq, last_seq, fate"),
];

/// Goes to the first row of each table, and asks for all of its columns by name: what a flipped bit in the schema or a lost root page
/// has made unreadable would otherwise be found when it is needed, perhaps never.
pub(super) fn look_at_tables(conn: &Connection) -> rusqlite::Result<()> {
    for (table, columns) in TABLES {
        conn.prepare(&format!("SELECT {columns} FROM {table}"))?;
        conn.prepare(&format!("SELECT 1 FROM {table} NOT INDEXED LIMIT 1"))?.query([])?.next()?;
    }
    Ok(())
}

/// Whether the file's header would have SQLite read every page wrongly, or not write at all: it believes what it says of
/// bytes that no page uses, and of versions. `page_bytes` is what a page has, whatever the header says. Of the format see <https://www.sqlite.org/fileformat2.html#the_database_header>.
pub(super) fn header_is_false(path: &Path, page_bytes: u64) -> io::Result<bool> {
    let mut header = Vec::with_capacity(HEADER_BYTES);
    File::open(path)?.take(HEADER_BYTES as u64).read_to_end(&mut header)?;
    let Some(found) = header.get(16..24) else { return Ok(false) };
    // A new file is switched to write-ahead mode after its first page is written.
    let versions = matches!(found[2..4], [1, 1] | [2, 2]);
    let said = page::bytes_in_header([found[0], found[1]]);
    let is_right = said == page_bytes && versions && found[4..8] == [0, 64, 32, 32];
    // What is no database at all is not for us to judge.
    Ok(header.starts_with(b"SQLite format 3\0") && is_ours_by_mark(&header) && !is_right)
}

/// Whether the header has our mark.
pub(super) fn is_ours_by_mark(header: &[u8]) -> bool {
    header.get(68..72) == Some(&APPLICATION_ID.to_be_bytes())
}

/// Whether the tables are exactly those of a version that we know.
fn is_ours(conn: &Connection) -> bool {
    let known = |version| {
        let mut empty = Connection::open_in_memory()?;
        MIGRATIONS.to_version(&mut empty, version).map_err(|_| rusqlite::Error::InvalidQuery)?;
        tables(&empty)
    };
    tables(conn).is_ok_and(|found| {
        (1..=STEPS.len()).any(|version| known(version).is_ok_and(|tables| tables == found))
    })
}

/// What SQLite keeps of the statements that made the tables.
fn tables(conn: &Connection) -> rusqlite::Result<Vec<String>> {
    conn.prepare("SELECT coalesce(sql, name) FROM sqlite_schema ORDER BY name")?
        .query_map([], |row| row.get(0))?
        .collect()
}

/// Opens without writing to the database or its log, also when this is the last connection to close.
pub(super) fn connect_to_look(path: &Path) -> rusqlite::Result<Connection> {
    let conn = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    keep_log_on_close(&conn)?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    Ok(conn)
}

/// Undoes what a process did not come to the end of. SQLite does so itself at the first read, given leave to write.
pub(super) fn roll_back(path: &Path) -> rusqlite::Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags)?.query_row("PRAGMA schema_version", [], |_| Ok(()))
}

/// Opens the one connection that writes. A file that is empty gets pages of this size.
pub(super) fn connect_to_write(path: &Path, sync: SyncMode, page_bytes: u64) -> rusqlite::Result<Connection> {
    let conn = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    // After a failed sync the log must not be copied in haste: a drop is like a crash, and only `close` tidies up.
    keep_log_on_close(&conn)?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    // Statements of one commit, all kept prepared.
    conn.set_prepared_statement_cache_capacity(64);
    let pages: i64 = conn.query_row("PRAGMA page_count", [], |row| row.get(0))?;
    if pages == 0 {
        // These two are settled when the first page is written, and cannot be changed later; the second would be written
        // again at every opening.
        conn.pragma_update(None, "page_size", page_bytes as i64)?;
        conn.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    }
    let page_bytes = room::page_bytes(&conn)?;
    let _mode: String = conn.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    conn.pragma_update(
        None,
        "synchronous",
        match sync {
            SyncMode::Full => "FULL",
            SyncMode::Normal => "NORMAL",
        },
    )?;
    // On macOS a plain fsync leaves the data in the drive's cache.
    conn.pragma_update(None, "fullfsync", true)?;
    conn.pragma_update(None, "checkpoint_fullfsync", true)?;
    // `maintain` does this outside of commits; this is the net under a caller who never calls it.
    conn.pragma_update(None, "wal_autocheckpoint", (2 * stride::LOG_BYTES_MAX / page_bytes) as i64)?;
    // Cheap checks that find a damaged page when it is read rather than follow it.
    conn.pragma_update(None, "cell_size_check", true)?;
    conn.pragma_update(None, "trusted_schema", false)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    Stride::LEAST.set(&conn)?;
    // A commit is in memory anyway; spilled, its pages would be written to the log twice, and pages that a vacuum is
    // about to cut off would be written at all, on a disk that may be full.
    conn.pragma_update(None, "cache_spill", false)?;
    Ok(conn)
}

/// Brings an empty or an older file to this version, in one transaction; one in which batches lie to the last version in which
/// they lie as they do, until it is opened without any.
pub(super) fn migrate(conn: &mut Connection, during: &str) -> Result<(), SpoolError> {
    let is_new = version(conn).during(during)? == 0;
    let target = newest_at_once(conn).during(during)?;
    migrate_to(&MIGRATIONS, target, conn, during)?;
    // The steps made tables, and dropped them, whose pages were never written: the file would have holes there, which are to be
    // filled when the disk may be full.
    if is_new { cut_off_free_pages(conn).during(during) } else { Ok(()) }
}

fn cut_off_free_pages(conn: &Connection) -> rusqlite::Result<()> {
    let mut statement = conn.prepare("PRAGMA incremental_vacuum")?;
    let mut steps = statement.query([])?;
    while steps.next()?.is_some() {}
    Ok(())
}

/// The newest version that costs the same however much lies in the file.
fn newest_at_once(conn: &Connection) -> rusqlite::Result<u32> {
    let found = version(conn)?;
    let has_batches = (1..BATCH_BY_NUMBER).contains(&found)
        && conn.query_row("SELECT EXISTS (SELECT 1 FROM batch)", [], |row| row.get(0))?;
    Ok(if has_batches { BATCH_BY_NUMBER - 1 } else { VERSION })
}

/// The version a file says it has; 0 if it is new, or damaged.
pub(super) fn version(conn: &Connection) -> rusqlite::Result<u32> {
    conn.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0))
        .map(|number| u32::try_from(number).unwrap_or(0))
}

/// An empty file of an older version.
#[cfg(test)]
pub(super) fn create_old(path: &Path, version: u32) -> Connection {
    File::create(path).unwrap();
    let mut conn = connect_to_write(path, SyncMode::Normal, 16 << 10).unwrap();
    migrate_to(&MIGRATIONS, version, &mut conn, "test").unwrap();
    conn
}

fn migrate_to(
    migrations: &Migrations<'_>,
    target: u32,
    conn: &mut Connection,
    during: &str,
) -> Result<(), SpoolError> {
    match migrations.to_version(conn, target as usize) {
        Ok(()) => Ok(()),
        Err(rusqlite_migration::Error::RusqliteError { err, .. }) => Err(err).during(during),
        Err(error) => {
            log::error!(%error, "the schema could not be brought up to date");
            Err(SpoolError::new(SpoolErrorKind::Damaged, during))
        }
    }
}

fn keep_log_on_close(conn: &Connection) -> rusqlite::Result<()> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_migrations_apply() {
        MIGRATIONS.validate().unwrap();
    }

    #[test]
    fn a_new_file_has_no_free_pages() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plant.db");
        File::create(&path).unwrap();
        let mut conn = connect_to_write(&path, SyncMode::Normal, page::MEDIUM).unwrap();
        migrate(&mut conn, "test").unwrap();
        assert_eq!(room::free_pages(&conn).unwrap(), 0);
    }

    /// What every version's tables are told by, where the number of the version cannot be trusted.
    #[test]
    fn no_two_versions_have_the_same_tables() {
        let mut conn = Connection::open_in_memory().unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for version in 1..=STEPS.len() {
            MIGRATIONS.to_version(&mut conn, version).unwrap();
            assert!(seen.insert(tables(&conn).unwrap()), "version {version}");
            assert!(is_ours(&conn));
        }
    }

    /// A step made up: it rewrites every row, so that it is of many pages.
    const NEXT: &str = "ALTER TABLE batch ADD COLUMN colour TEXT; UPDATE batch SET colour = 'red' || body; \
                        CREATE INDEX batch_colour ON batch (colour);";

    fn with_next() -> Vec<M<'static>> {
        [STEPS, &[M::up(NEXT)]].concat()
    }

    fn number(conn: &Connection, query: &str) -> Option<i64> {
        conn.query_row(query, [], |row| row.get(0)).ok()
    }

    #[test]
    fn a_kill_during_a_migration_leaves_the_old_version_or_the_new_one() {
        check_kills(&with_next(), VERSION, VERSION + 1, 60, |conn, version| {
            let red = number(conn, "SELECT count(*) FROM batch WHERE colour IS NOT NULL");
            assert_eq!(red.unwrap_or(0), if version == VERSION { 0 } else { 60 });
        });
    }

    #[test]
    fn the_ledger_is_in_its_table_or_in_the_state() {
        check_kills(STEPS, 1, LEDGER_IN_STATE, 60, |conn, version| {
            let apart = number(conn, "SELECT points FROM ledger WHERE key = 'accepted'");
            let within = number(conn, "SELECT ledger ->> '$.accepted[0]' FROM spool");
            assert_eq!((apart, within), if version == 1 { (Some(60), None) } else { (None, Some(60)) });
            assert_eq!(number(conn, "SELECT count(*) FROM batch INDEXED BY batch_order"), Some(60));
        });
    }

    #[test]
    fn an_empty_file_of_any_version_gets_the_newest() {
        for version in 1..VERSION {
            check_kills(STEPS, version, VERSION, 0, |conn, found| {
                let has_id = number(conn, "SELECT count(id) FROM batch").is_some();
                assert_eq!(has_id, found < BATCH_BY_NUMBER);
                assert_eq!(number(conn, "SELECT count(*) FROM attempt"), Some(i64::from(has_id)));
            });
        }
    }

    /// Brings a file with so many batches from one version to another. Copies of it as a kill leaves them at some moments have the
    /// one or the other, which `check` looks at, and can be brought to the other.
    fn check_kills(steps: &[M<'static>], from: u32, to: u32, batches: i64, check: fn(&Connection, u32)) {
        let migrations = Migrations::new(steps.to_vec());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plant.db");
        File::create(&path).unwrap();
        let mut conn = connect_to_write(&path, SyncMode::Normal, 16 << 10).unwrap();
        migrate_to(&migrations, from, &mut conn, "test").unwrap();
        let id = if from < BATCH_BY_NUMBER { "?1, " } else { "" };
        for number in 1..=batches {
            let values = "?1, ?1, 1, 'x', 'x', 1, 1, 1, 1, 'x', NULL, 1, zeroblob(5000)";
            conn.execute(&format!("INSERT INTO batch VALUES ({id}{values})"), [number]).unwrap();
        }
        conn.execute("INSERT INTO attempt VALUES (1, 1, 1, 1, 'x')", []).unwrap();
        if from < LEDGER_IN_STATE {
            let state = vec!["0"; 17].join(", ");
            conn.execute(&format!("INSERT INTO spool VALUES (1, 'x', {state})"), []).unwrap();
            conn.execute("INSERT INTO ledger VALUES ('accepted', ?1, 9)", [batches]).unwrap();
        }
        if steps.len() == STEPS.len() {
            assert_eq!(newest_at_once(&conn).unwrap(), to);
        }
        let log = |path: &Path| path.with_file_name("plant.db-wal");
        let before = std::fs::metadata(log(&path)).unwrap().len();
        migrate_to(&migrations, to, &mut conn, "test").unwrap();
        let (database, after) = (std::fs::read(&path).unwrap(), std::fs::read(log(&path)).unwrap());
        assert!(after.len() as u64 > before);

        // A kill, or a power cut, at some moments between the first write and the last.
        let mut found = std::collections::BTreeSet::new();
        let step = ((after.len() - before as usize) / 12).max(1);
        for end in (before as usize..=after.len()).step_by(step).chain([after.len()]) {
            let copy = tempfile::tempdir().unwrap();
            let path = copy.path().join("plant.db");
            std::fs::write(&path, &database).unwrap();
            std::fs::write(log(&path), &after[..end]).unwrap();
            let mut conn = connect_to_write(&path, SyncMode::Normal, 16 << 10).unwrap();
            found.insert(version(&conn).unwrap());
            check(&conn, version(&conn).unwrap());
            migrate_to(&migrations, to, &mut conn, "test").unwrap();
            check(&conn, to);
            let sound: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
            assert_eq!(sound, "ok");
        }
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [from, to]);
    }
}
