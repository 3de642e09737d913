//! The layer does what it is told, and SQLite cannot tell it from a disk.

use std::path::Path;

use faulty_vfs::{Call, Disk, Image, Kept, Op, Verdict};
use rusqlite::{Connection, ErrorCode};

fn open(folder: &Path) -> Connection {
    let conn = Connection::open(folder.join("a.db")).unwrap();
    conn.pragma_update(None, "journal_mode", "WAL").unwrap();
    conn.pragma_update(None, "synchronous", "FULL").unwrap();
    conn.execute("CREATE TABLE IF NOT EXISTS t (a)", []).unwrap();
    conn
}

fn count(folder: &Path) -> i64 {
    open(folder).query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
}

#[test]
fn a_judged_call_fails_and_the_next_one_passes() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::watch(folder.path()).unwrap();
    let conn = open(folder.path());
    for (verdict, expected) in [
        (Verdict::IoError, ErrorCode::SystemIoFailure),
        (Verdict::Full, ErrorCode::DiskFull),
        (Verdict::Torn(100), ErrorCode::SystemIoFailure),
    ] {
        disk.judge(
            move |asked| if matches!(asked.call, Call::Write { .. }) { verdict } else { Verdict::Pass },
        );
        let error = conn.execute("INSERT INTO t VALUES (1)", []).unwrap_err();
        assert_eq!(error.sqlite_error_code(), Some(expected));
        disk.relent();
        conn.execute("INSERT INTO t VALUES (1)", []).unwrap();
    }
    drop(conn);
    assert_eq!(count(folder.path()), 3);
}

#[test]
fn other_folders_are_left_alone() {
    let (watched, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let disk = Disk::watch(watched.path()).unwrap();
    disk.judge(|_| Verdict::IoError);
    open(other.path()).execute("INSERT INTO t VALUES (1)", []).unwrap();
    assert!(Connection::open(watched.path().join("a.db")).is_err());
}

/// What was answered for is in every state that a power cut may leave, and nothing is there by halves.
#[test]
fn every_power_cut_leaves_what_was_synced() {
    let (folder, after) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let disk = Disk::watch(folder.path()).unwrap();
    let conn = open(folder.path());
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    disk.remember().unwrap();
    for number in 1..=3 {
        conn.execute("INSERT INTO t VALUES (?1)", [number]).unwrap();
        disk.mark(number as u64);
    }
    let history = disk.take_history();
    assert!(history.ops().iter().any(|op| matches!(op, Op::Sync { file, .. } if file == "a.db-wal")));
    let mut states = 0;
    for cut in history.cuts() {
        for mask in 0..1_u32 << cut.pending.len() {
            let kept = |nth: usize, _: &Op| if mask >> nth & 1 == 1 { Kept::All } else { Kept::Nothing };
            cut.image(kept).store(after.path()).unwrap();
            let found = count(after.path()) as u64;
            let marked = cut.marks.last().copied().unwrap_or(0);
            assert!(found == marked || found == marked + 1, "{found} after {marked}");
            states += 1;
        }
    }
    assert!(states > 20);
}

/// What a failed sync gave up is not on disk after the next one, which succeeds.
#[test]
fn no_second_sync_makes_good_what_the_first_did_not() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::watch(folder.path()).unwrap();
    let conn = open(folder.path());
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    disk.remember().unwrap();
    disk.judge(|asked| if asked.call == Call::Sync { Verdict::IoError } else { Verdict::Pass });
    conn.execute("INSERT INTO t VALUES (1)", []).unwrap_err();
    disk.relent();
    conn.execute("INSERT INTO t VALUES (2)", []).unwrap();
    let history = disk.take_history();
    let failed = history.ops().iter().position(|op| matches!(op, Op::SyncFailed { .. })).unwrap();
    let given_up = history.ops()[..failed].iter().filter(|op| matches!(op, Op::Write { .. })).count();
    assert!(given_up > 0);
    assert_eq!(
        history.last_cut().pending.iter().filter(|op| matches!(op, Op::Write { .. })).count(),
        given_up
    );
}

#[test]
fn a_write_is_kept_by_sectors() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::watch(folder.path()).unwrap();
    let conn = open(folder.path());
    disk.remember().unwrap();
    let before = Image::load(folder.path()).unwrap();
    conn.execute("INSERT INTO t VALUES (1)", []).unwrap();
    let history = disk.take_history();
    let nth = history.ops().iter().position(|op| history_sectors(op) >= 8).unwrap();
    let cut = history.cuts().nth(nth + 1).unwrap();
    let image = cut.image(|_, op| match history_sectors(op) {
        sectors if sectors >= 8 => Kept::Sectors((0..sectors).map(|nth| nth == 1).collect()),
        _ => Kept::Nothing,
    });
    let (was, is) = (before.file("a.db-wal").unwrap(), image.file("a.db-wal").unwrap());
    let Op::Write { at, bytes, .. } = &history.ops()[nth] else { unreachable!() };
    let at = *at as usize;
    let first = 512 - at % 512;
    assert_eq!(is.len(), at + first + 512);
    assert_eq!(is[..was.len()], *was);
    assert_eq!(is[at + first..], bytes[first..first + 512]);
    assert!(is[was.len()..at + first].iter().all(|byte| *byte == 0));
}

fn history_sectors(op: &Op) -> usize {
    faulty_vfs::History::sectors(op)
}
