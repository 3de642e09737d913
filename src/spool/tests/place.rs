//! Files that are deleted, renamed or replaced while they are in use, and two owners of one file.

use std::fs;

use super::*;
use crate::values::ledger::Tally;

/// An open spool with three batches of ten points, one of them delivered, and what was known of it.
fn begun(bench: &Bench) -> (Life, Opened) {
    let (mut life, opened) = bench.open();
    life.append(&[b"one", b"two"]);
    let rows = life.all();
    life.settle(&rows[..1], Fate::Delivered);
    life.append(&[b"three"]);
    (life, opened)
}

/// The next commit fails once and for all.
fn check_displaced(life: &mut Life) -> Heritage {
    let plan = CommitPlan { number: life.number + 1, ..CommitPlan::default() };
    let heritage = life.spool.heritage();
    for _ in 0..2 {
        let error = life.spool.commit(&plan, now()).unwrap_err();
        assert_eq!((error.kind(), error.is_retryable()), (SpoolErrorKind::Displaced, true));
    }
    assert_eq!(life.spool.maintain(now()).unwrap_err().kind(), SpoolErrorKind::Displaced);
    heritage
}

fn reopen(bench: &Bench, heritage: &Heritage) -> (Life, Opened) {
    let (spool, opened) = Spool::reopen(&bench.options, heritage, now()).unwrap();
    (Life { number: opened.commit_number, next: opened.seq_next, spool }, opened)
}

/// Whatever `harm` does to the files, nothing is lost.
fn check_saved(harm: impl FnOnce(&Bench)) {
    let bench = Bench::new();
    let (mut life, first) = begun(&bench);
    harm(&bench);
    let heritage = check_displaced(&mut life);
    drop(life);
    let (mut life, opened) = reopen(&bench, &heritage);
    assert_eq!((opened.tag, opened.commit_number, opened.is_fallen), (first.tag, 3, false));
    assert_eq!(opened.ledger.of(Fate::Delivered).points, 10);
    assert_eq!(life.bodies(), ["two", "three"]);
    life.append(&[b"four"]);
    life.close();
    let (mut life, opened) = bench.open();
    assert_eq!((life.bodies().len(), opened.salvaged), (3, None));
    assert_eq!(super::super::inspect(bench.path()).unwrap().ledger.accepted().points, 40);
}

#[test]
fn a_file_deleted_while_in_use_is_written_anew() {
    check_saved(|bench| fs::remove_file(bench.path()).unwrap());
    check_saved(|bench| {
        for part in ["", "-wal", "-shm", ".lock"] {
            fs::remove_file(bench.beside(part)).unwrap();
        }
    });
    check_saved(|bench| {
        fs::remove_file(bench.path()).unwrap();
        fs::write(bench.path(), "").unwrap();
    });
    check_saved(|bench| fs::rename(bench.path(), bench.beside(".old")).unwrap());
}

#[test]
fn a_log_deleted_while_in_use_is_copied_into_the_database() {
    check_saved(|bench| fs::remove_file(bench.beside("-wal")).unwrap());
    check_saved(|bench| fs::remove_file(bench.beside("-shm")).unwrap());
    check_saved(|bench| {
        fs::remove_file(bench.beside("-wal")).unwrap();
        fs::write(bench.beside("-wal"), "something else").unwrap();
    });
}

#[cfg(unix)]
#[test]
fn a_file_written_anew_is_private_too() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::new();
    let (mut life, _) = begun(&bench);
    fs::remove_file(bench.path()).unwrap();
    check_displaced(&mut life);
    assert_eq!(fs::metadata(bench.path()).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn another_spool_in_its_place_is_left_alone_and_what_was_there_is_saved_beside_it() {
    let bench = Bench::new();
    let other = Bench::new();
    let (mut stranger, _) = other.open();
    stranger.append(&[b"strange"]);
    stranger.close();
    let (mut life, first) = begun(&bench);
    fs::rename(other.path(), bench.path()).unwrap();
    let heritage = check_displaced(&mut life);
    drop(life);
    let error = Spool::reopen(&bench.options, &heritage, now()).unwrap_err();
    assert_eq!(error.kind(), SpoolErrorKind::AnotherSpool);
    assert_eq!(fs::metadata(bench.beside("-wal")).unwrap().len(), 0, "nothing was written to it");

    let mut names = fs::read_dir(bench.path().parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
    let saved = names.find(|path| path.to_string_lossy().contains(".replaced-")).unwrap();
    assert_eq!(super::super::inspect(&saved).unwrap().backlog.points, 20);
    // Whoever puts it back has everything.
    fs::rename(&saved, bench.path()).unwrap();
    let (mut life, opened) = reopen(&bench, &heritage);
    assert_eq!((life.bodies().len(), opened.tag, opened.is_fallen), (2, first.tag, false));
}

#[test]
fn what_an_earlier_copy_of_the_file_does_not_hold_is_damaged() {
    let bench = Bench::new();
    let (mut life, _) = bench.open();
    life.append(&[b"one"]);
    life.close();
    let copy = bench.beside(".copy");
    fs::copy(bench.path(), &copy).unwrap();
    let (mut life, _) = bench.open();
    life.append(&[b"two", b"three"]);
    let rows = life.all();
    life.settle(&rows[..2], Fate::Delivered);
    let next = life.next;
    fs::rename(&copy, bench.path()).unwrap();
    let heritage = check_displaced(&mut life);
    drop(life);
    let (mut life, opened) = reopen(&bench, &heritage);
    assert!(opened.is_fallen && opened.seq_next >= next, "{opened:?}");
    assert_eq!(life.bodies(), ["one"], "it comes again, and the third is gone");
    assert_eq!(opened.ledger.of(Fate::Delivered), Tally::new(20, 6));
    assert_eq!(opened.ledger.accepted().points, opened.ledger.settled_points() + opened.backlog.points);
    life.append(&[b"four"]);
}

#[test]
fn a_log_is_not_read_as_that_of_a_file_put_in_place_while_it_was_closed() {
    let bench = Bench::new();
    let (mut life, _) = bench.open();
    life.append(&[b"one"]);
    life.close();
    let copy = bench.beside(".copy");
    fs::copy(bench.path(), &copy).unwrap();
    let (mut life, _) = bench.open();
    life.append(&[b"two"]);
    life.append(&[b"three"]);
    let heritage = life.spool.heritage();
    drop(life);
    fs::rename(&copy, bench.path()).unwrap();
    let (mut life, opened) = reopen(&bench, &heritage);
    assert_eq!(life.bodies(), ["one"]);
    assert_eq!((opened.is_fallen, opened.ledger.of(Fate::Damaged)), (true, Tally::new(20, 8)));
    assert_eq!(super::super::inspect(bench.path()).unwrap().ledger.accepted().points, 30);
}

#[test]
fn what_a_file_held_that_was_deleted_while_it_was_closed_is_damaged() {
    let bench = Bench::new();
    let (life, first) = begun(&bench);
    let (heritage, next) = (life.spool.heritage(), life.next);
    drop(life);
    for part in ["", "-wal", "-shm"] {
        fs::remove_file(bench.beside(part)).unwrap();
    }
    let (mut life, opened) = reopen(&bench, &heritage);
    assert!(opened.is_fallen && opened.seq_next >= next, "{opened:?}");
    assert_eq!((opened.tag, opened.commit_number), (first.tag, 3));
    assert_eq!(opened.ledger.accepted().points, 30);
    assert_eq!(opened.ledger.of(Fate::Delivered).points, 10);
    assert_eq!(opened.ledger.of(Fate::Damaged), Tally::new(20, 8));
    life.append(&[b"four"]);
    // Whoever did not have it open begins with what is there.
    life.close();
    let (_, opened) = bench.open();
    assert_eq!((opened.is_fallen, opened.ledger.accepted().points), (false, 40));
}

#[test]
fn a_full_disk_is_waited_for_before_a_deleted_file_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let Some(_disk) = disk::SmallDisk::mount(folder.path()) else {
        println!("skipped: a small disk can be mounted by root only");
        return;
    };
    let mut bench = Bench::new();
    bench.options.path = folder.path().join("plant.db");
    let (mut life, _) = begun(&bench);
    life.append(&[&noise(1, 2 << 20)]);
    fs::remove_file(bench.path()).unwrap();
    let ballast = fs::File::create(folder.path().join("ballast")).unwrap();
    ballast.set_len(0).unwrap();
    let mut filling = &ballast;
    while std::io::Write::write_all(&mut filling, &[0; 4_096]).is_ok() {}
    let plan = CommitPlan { number: life.number + 1, ..CommitPlan::default() };
    for _ in 0..2 {
        assert_eq!(life.spool.commit(&plan, now()).unwrap_err().kind(), SpoolErrorKind::DiskFull);
    }
    ballast.set_len(0).unwrap();
    let heritage = check_displaced(&mut life);
    drop(life);
    let (mut life, opened) = reopen(&bench, &heritage);
    assert_eq!((life.bodies().len(), opened.is_fallen), (3, false));
}

#[test]
fn a_hard_link_admits_no_second_owner() {
    let bench = Bench::new();
    let (mut life, _) = begun(&bench);
    let mut other = Bench::new();
    other.options.path = bench.beside(".link");
    fs::hard_link(bench.path(), other.path()).unwrap();
    let error = Spool::open(&other.options, now()).unwrap_err();
    assert_eq!(error.kind(), SpoolErrorKind::Locked { pid: Some(std::process::id()) });
    // The attempt has not cost the owner its locks.
    life.append(&[b"four"]);
    assert_eq!(life.bodies().len(), 3);
    life.close();
    Spool::open(&other.options, now()).unwrap();
}
