//! Opening, closing, crashing, locking.

use super::*;
use crate::spool::page;

#[test]
fn a_new_spool_begins_with_number_one_and_is_empty() {
    let bench = Bench::new();
    let (_life, opened) = bench.open();
    assert_eq!((opened.seq_next, opened.commit_number, opened.unclean_end), (1, 0, false));
    assert_eq!(opened.backlog, Backlog::default());
    assert!(opened.ledger.is_empty());
    assert_eq!(opened.salvaged, None);
}

#[test]
fn a_clean_close_goes_on_with_the_very_next_number() {
    let bench = Bench::new();
    let (mut life, first) = bench.open();
    life.append(&[b"one", b"two"]);
    life.spool.close(21, Some(77)).unwrap();
    assert_eq!(std::fs::metadata(bench.beside("-wal")).map_or(0, |log| log.len()), 0);

    let (mut life, opened) = bench.open();
    assert_eq!((opened.seq_next, opened.stamp_last, opened.commit_number), (21, Some(77), 1));
    assert_eq!((opened.unclean_end, opened.unclean_ends_total), (false, 0));
    assert_eq!((opened.backlog.batches, opened.backlog.points, opened.backlog.bytes), (2, 20, 6));
    assert_eq!(opened.ledger.accepted().points, 20);
    assert_eq!(opened.tag, first.tag);
    assert_eq!(life.bodies(), ["one", "two"]);
}

#[test]
fn a_file_whose_creation_was_cut_short_is_begun_afresh() {
    let bench = Bench::new();
    let elsewhere = bench.path().with_file_name("begun.db");
    let conn = rusqlite::Connection::open(&elsewhere).unwrap();
    // More than the cache holds, so that some of it is in the file before the transaction is at its end.
    conn.execute_batch(
        "PRAGMA page_size = 16384; PRAGMA cache_size = 1; BEGIN; CREATE TABLE t (body);
         INSERT INTO t SELECT zeroblob(100000) FROM (VALUES (1), (2), (3), (4), (5), (6), (7), (8))",
    )
    .unwrap();
    std::fs::copy(&elsewhere, bench.path()).unwrap();
    std::fs::copy(elsewhere.with_file_name("begun.db-journal"), bench.beside("-journal")).unwrap();
    let cut = std::fs::OpenOptions::new().write(true).open(bench.path()).unwrap();
    cut.set_len(16 << 10).unwrap();

    let (mut life, opened) = bench.open();
    assert_eq!((opened.seq_next, opened.unclean_end), (1, false));
    life.append(&[b"one"]);
    assert_eq!(life.bodies(), ["one"]);
}

#[test]
fn a_file_with_larger_pages_than_its_bound_allows_is_not_opened() {
    let mut bench = Bench::new();
    let (mut life, _) = bench.open();
    life.append(&[b"one"]);
    life.close();
    let before = std::fs::read(bench.path()).unwrap();
    let bytes_max_min = 20 * page::MEDIUM;
    (bench.options.page_bytes, bench.options.bytes_max) = (page::SMALL, bytes_max_min - 1);
    assert_eq!(bench.options.check(), Ok(()), "by itself it is well");
    let error = Spool::open(&bench.options, now()).unwrap_err();
    assert_eq!(error.kind(), SpoolErrorKind::TooSmall { bytes_max_min });
    assert!(error.to_string().contains("spool.bytes_max") && !error.is_retryable(), "{error}");
    assert_eq!(std::fs::read(bench.path()).unwrap(), before);

    bench.options.bytes_max = bytes_max_min;
    let (mut life, _) = bench.open();
    assert_eq!(life.bodies(), ["one"]);
    assert_eq!(life.append(&[b"two"]).withheld, None);
}

#[test]
fn a_drop_without_close_loses_nothing_committed_and_gives_no_number_twice() {
    let bench = Bench::new();
    let (mut life, first) = bench.open();
    life.append(&[b"one"]);
    drop(life);

    let (mut life, opened) = bench.open();
    assert_eq!(opened.seq_next, first.seq_end);
    assert_eq!((opened.unclean_end, opened.unclean_ends_total), (true, 1));
    assert_eq!(life.bodies(), ["one"]);
    life.close();
    let (_life, opened) = bench.open();
    assert_eq!((opened.unclean_end, opened.unclean_ends_total), (false, 1));
}

#[test]
fn the_commit_number_tells_after_a_reopen_whether_a_commit_happened() {
    let bench = Bench::new();
    let (mut life, _) = bench.open();
    life.append(&[b"one"]);
    life.append(&[b"two"]);
    drop(life);
    let (mut life, opened) = bench.open();
    assert_eq!(opened.commit_number, 2);
    for wrong in [0, 2, 4] {
        let plan = CommitPlan { number: wrong, ..CommitPlan::default() };
        assert_eq!(life.spool.commit(&plan, now()).unwrap_err().kind(), SpoolErrorKind::OutOfStep);
    }
    life.append(&[b"three"]);
}

#[test]
fn a_second_open_is_refused_with_the_holders_pid() {
    let bench = Bench::new();
    let (life, _) = bench.open();
    let error = Spool::open(&bench.options, now()).unwrap_err();
    assert_eq!(error.kind(), SpoolErrorKind::Locked { pid: Some(std::process::id()) });
    assert!(!error.is_retryable());
    drop(life);
    bench.open();
}

#[test]
fn a_newer_schema_is_refused_and_not_touched() {
    let bench = Bench::new();
    let (mut life, _) = bench.open();
    life.append(&[b"one"]);
    life.close();
    let conn = rusqlite::Connection::open(bench.path()).unwrap();
    conn.execute_batch("CREATE TABLE what_comes_next (a)").unwrap();
    conn.pragma_update(None, "user_version", 99).unwrap();
    drop(conn);

    let before = std::fs::read(bench.path()).unwrap();
    let error = Spool::open(&bench.options, now()).unwrap_err();
    assert_eq!(error.kind(), SpoolErrorKind::NewerSchema { found: 99, known: schema::VERSION });
    assert_eq!(std::fs::read(bench.path()).unwrap(), before);
    assert!(!bench.beside(".damaged").exists());
}

#[test]
fn a_file_that_is_no_spool_is_refused_and_not_touched() {
    let bench = Bench::new();
    std::fs::write(bench.path(), "a,b,c\n1,2,3\n").unwrap();
    let error = Spool::open(&bench.options, now()).unwrap_err();
    assert_eq!(error.kind(), SpoolErrorKind::NotASpool);
    assert_eq!(std::fs::read(bench.path()).unwrap(), b"a,b,c\n1,2,3\n");

    let other = Bench::new();
    rusqlite::Connection::open(other.path()).unwrap().execute_batch("CREATE TABLE mine (x)").unwrap();
    let before = std::fs::read(other.path()).unwrap();
    assert_eq!(Spool::open(&other.options, now()).unwrap_err().kind(), SpoolErrorKind::NotASpool);
    assert_eq!(std::fs::read(other.path()).unwrap(), before);
}

#[test]
fn the_file_is_what_the_design_says() {
    let bench = Bench::new();
    let (mut life, _) = bench.open();
    life.append(&[b"one"]);
    let pragma = |sql: &str| life.spool.conn.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(pragma("PRAGMA page_size"), 16_384);
    assert_eq!(pragma("PRAGMA auto_vacuum"), 2);
    assert_eq!(pragma("PRAGMA synchronous"), 2);
    assert_eq!(pragma("PRAGMA application_id"), 0x4953_5031);
    let mode: String = life.spool.conn.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
    assert_eq!(mode, "wal");
}

#[cfg(unix)]
#[test]
fn only_the_owner_can_read_the_files() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::new();
    let (mut life, _) = bench.open();
    life.append(&[b"one"]);
    for suffix in ["", "-wal", "-shm", ".lock"] {
        let mode = std::fs::metadata(bench.beside(suffix)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{suffix}");
    }
}

#[test]
fn a_crash_while_the_file_is_created_leaves_something_that_opens() {
    let bench = Bench::new();
    std::fs::write(bench.path(), "").unwrap();
    bench.open();

    let migrated = Bench::new();
    std::fs::write(migrated.path(), "").unwrap();
    let mut conn = schema::connect_to_write(migrated.path(), SyncMode::Full, super::page::MEDIUM).unwrap();
    schema::migrate(&mut conn, "test").unwrap();
    drop(conn);
    let (_life, opened) = migrated.open();
    assert_eq!((opened.seq_next, opened.salvaged), (1, None));
}
