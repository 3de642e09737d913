//! The disk: how much is used, given back, and what happens when it is full.

use std::fs;
use std::io::Write;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use faulty_vfs::{Call, Verdict};

use super::*;
use crate::values::fate::{Durability, Standing};

#[test]
fn the_log_stays_within_its_bound_and_the_file_gives_space_back() {
    let bench = Bench::new();
    let (mut life, _) = bench.open();
    let mut log_max = 0;
    for seed in 0..100 {
        life.append(&[&noise(seed, 1 << 20)]);
        log_max = log_max.max(life.spool.maintain(now()).unwrap().wal_bytes);
    }
    let full = life.spool.maintain(now()).unwrap().file_bytes;
    // Transactions of a mebibyte: two dozen of them, and the one that was too many.
    assert!(log_max <= 26 << 20, "{log_max}");
    let rows = life.all();
    for some in rows.chunks(10) {
        life.settle(some, Fate::Delivered);
    }
    for _ in 0..100 {
        let done = life.spool.maintain(now()).unwrap();
        log_max = log_max.max(done.wal_bytes);
    }
    assert!(!life.spool.maintain(now()).unwrap().more);
    life.close();
    let left = fs::metadata(bench.path()).unwrap().len();
    assert!(full > 60 << 20 && left <= 20 << 20, "{full} {left}");
    assert!(log_max <= 26 << 20, "{log_max}");
}

#[test]
fn nothing_is_appended_into_the_reserve_but_acknowledgements_go_on() {
    let mut bench = Bench::new();
    let (mut life, _) = bench.open();
    life.append(&[b"one"]);
    life.close();
    bench.options.free_reserve_bytes = u64::MAX;
    let (mut life, _) = bench.open();
    let settle = life.all().iter().map(|row| done(row, Fate::Delivered)).collect();
    let appends = vec![life.next_batch(b"two")];
    let committed = life.commit(CommitPlan { settle, appends, ..CommitPlan::default() });
    assert_eq!((committed.appended.len(), committed.withheld), (0, Some(Withheld::DiskFull)));
    assert_eq!(committed.settled, [true]);
    assert_eq!(committed.ledger.of(Fate::Delivered).points, 10);
}

#[test]
fn a_full_disk_holds_appends_keeps_what_is_there_and_goes_on_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(folder.path()) else {
        println!("skipped: a small disk can be mounted by root only");
        return;
    };
    let mut bench = Bench::new();
    bench.options.path = folder.path().join("plant.db");
    bench.options.free_reserve_bytes = 4 << 20;
    let (mut life, _) = bench.open();
    let mut stored = 0;
    let withheld = loop {
        let appends = vec![life.next_batch(&noise(stored, 300_000))];
        let committed = life.commit(CommitPlan { appends, ..CommitPlan::default() });
        match committed.withheld {
            Some(withheld) => break withheld,
            None => stored += 1,
        }
        life.spool.maintain(now()).unwrap();
    };
    assert_eq!(withheld, Withheld::DiskFull);
    assert!(stored > 10, "{stored}");
    let rows = life.all();
    assert_eq!(rows.len() as u64, stored);
    assert_eq!(life.settle(&rows[..5], Fate::Delivered).settled, [true; 5]);
    drop(life);
    let (mut life, opened) = bench.open();
    assert_eq!(opened.backlog.batches, stored - 5);
    let rows = life.all();
    life.settle(&rows, Fate::Delivered);
    while life.spool.maintain(now()).unwrap().more {}
    let body = noise(99, 300_000);
    assert_eq!(life.append(&[&body]).withheld, None);
    life.close();
    drop(disk);
}

#[test]
fn a_disk_filled_by_others_fails_commits_until_there_is_room_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(folder.path()) else {
        println!("skipped: a small disk can be mounted by root only");
        return;
    };
    let mut bench = Bench::new();
    bench.options.path = folder.path().join("plant.db");
    let (mut life, _) = bench.open();
    life.append(&[b"one"]);
    let mut ballast = fs::File::create(folder.path().join("ballast")).unwrap();
    let zeros = [0; 4_096];
    while ballast.write_all(&zeros).is_ok() {}

    let appends = vec![life.next_batch(&noise(1, 100_000))];
    let plan = CommitPlan { number: 2, appends, ..CommitPlan::default() };
    let error = life.spool.commit(&plan, now()).unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (SpoolErrorKind::DiskFull, true));
    ballast.set_len(0).unwrap();
    assert_eq!(life.spool.commit(&plan, now()).unwrap().appended.len(), 1);
    drop(life);
    let (mut life, opened) = bench.open();
    assert_eq!((opened.commit_number, life.all().len()), (2, 2));
    drop(disk);
}

#[test]
fn what_was_delivered_is_recorded_though_the_disk_is_full_before_a_body_is_written() {
    const LOG_BYTES_MAX: u64 = 200_000;
    let bench = Bench::new();
    let disk = faulty_vfs::Disk::watch(bench.path().parent().unwrap()).unwrap();
    let (mut life, _) = bench.open();
    life.append(&[b"one"]);
    // The system says that there is room, and there is none: only the transaction itself finds out.
    disk.judge(|asked| match asked.call {
        Call::Write { at, bytes } if at + bytes.len() as u64 > LOG_BYTES_MAX => Verdict::Full,
        _ => Verdict::Pass,
    });
    let settle = life.all().iter().map(|row| done(row, Fate::Delivered)).collect();
    let appends = vec![life.next_batch(&noise(1, 300_000))];
    let committed = life.commit(CommitPlan { settle, appends, ..CommitPlan::default() });
    assert_eq!((committed.appended.len(), committed.withheld), (0, Some(Withheld::DiskFull)));
    assert_eq!(committed.settled, [true]);
    drop(life);
    disk.relent();
    let (mut life, opened) = bench.open();
    assert_eq!(opened.ledger.of(Fate::Delivered).points, 10);
    assert!(life.all().is_empty());
}

#[test]
fn a_spool_at_rest_is_looked_after_without_being_read() {
    let bench = Bench::new();
    let disk = faulty_vfs::Disk::watch(bench.path().parent().unwrap()).unwrap();
    let (mut life, _) = bench.open();
    life.append(&[b"one", b"two"]);
    let rows = life.all();
    life.settle(&rows, Fate::Delivered);
    let found = life.spool.maintain(now()).unwrap();
    disk.judge(|asked| match asked.call {
        Call::Read { .. } => Verdict::IoError,
        _ => Verdict::Pass,
    });
    for minute in 1..4 {
        assert_eq!(life.spool.maintain(now() + Duration::from_secs(60 * minute)).unwrap(), found);
    }
    fs::remove_file(bench.path()).unwrap();
    let error = life.spool.maintain(now() + Duration::from_secs(300)).unwrap_err();
    assert_eq!(error.kind(), SpoolErrorKind::Displaced);
}

/// What a failed sync has left is not known; only a full disk is told before anything is written.
#[test]
fn a_transaction_whose_sync_failed_is_not_done_again() {
    let bench = Bench::new();
    let disk = faulty_vfs::Disk::watch(bench.path().parent().unwrap()).unwrap();
    let (mut life, _) = bench.open();
    let is_first = AtomicBool::new(true);
    disk.judge(move |asked| match asked.call {
        Call::Sync if is_first.swap(false, Ordering::Relaxed) => Verdict::IoError,
        _ => Verdict::Pass,
    });
    let appends = vec![life.next_batch(b"one")];
    let plan = CommitPlan { number: life.number + 1, appends, ..CommitPlan::default() };
    assert_eq!(life.spool.commit(&plan, now()).unwrap_err().kind(), SpoolErrorKind::Io);
    assert_eq!(life.spool.commit(&plan, now()).unwrap_err().kind(), SpoolErrorKind::Io);
}

#[test]
fn after_a_failed_write_nothing_works_until_the_spool_is_opened_again() {
    let bench = Bench::new();
    let (mut life, _) = bench.open();
    life.append(&[b"one"]);
    let failure = std::io::Error::from(std::io::ErrorKind::Other);
    life.spool.note_failure(&SpoolError::io("sync", failure));
    let plan = CommitPlan { number: 2, ..CommitPlan::default() };
    assert_eq!(life.spool.commit(&plan, now()).unwrap_err().kind(), SpoolErrorKind::Io);
    assert_eq!(life.spool.read_after(None, 1, 1).unwrap_err().kind(), SpoolErrorKind::Io);
    assert_eq!(life.spool.maintain(now()).unwrap_err().kind(), SpoolErrorKind::Io);
    assert_eq!(life.spool.close(11, None).unwrap_err().kind(), SpoolErrorKind::Io);
    let (mut life, opened) = bench.open();
    assert!(opened.unclean_end);
    // What the log held was written to the database anew, and does not depend on the sync that failed.
    let alone = bench.beside(".alone");
    std::fs::copy(bench.path(), &alone).unwrap();
    let alone = rusqlite::Connection::open(alone).unwrap();
    let batches: i64 = alone.query_row("SELECT count(*) FROM batch", [], |row| row.get(0)).unwrap();
    assert_eq!(batches, 1, "it is in the database without its log");
    assert_eq!(life.bodies(), ["one"]);
}

#[test]
fn with_sync_normal_a_stored_point_survives_the_process_only() {
    let mut bench = Bench::new();
    bench.options.sync = SyncMode::Normal;
    let (mut life, _) = bench.open();
    life.append(&[b"one"]);
    assert_eq!(life.spool.standing(1).unwrap(), Some(Standing::Durable(Durability::Process)));
}

/// A tmpfs, of 16 MiB unless said otherwise, unmounted when dropped.
pub(super) struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    pub(super) fn mount(folder: &'a Path) -> Option<Self> {
        Self::of(folder, 16 << 20)
    }

    pub(super) fn of(folder: &'a Path, bytes: u64) -> Option<Self> {
        let size = format!("size={bytes}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder).output();
        let is_mounted = mounted.is_ok_and(|output| output.status.success());
        if !is_mounted {
            println!("skipped: a small disk can be mounted by root only");
        }
        is_mounted.then_some(Self(folder))
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _unmounted = Command::new("umount").arg("-l").arg(self.0).output();
    }
}
