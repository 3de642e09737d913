//! A disk that others fill to the last page: what is delivered is recorded all the same, and the files become small again.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};

use super::disk::SmallDisk;
use super::*;
use crate::spool::page;
use crate::spool::stride::LOG_BYTES_MIN;

/// The pages of the database, its log and its lock together when nothing is in them, at the most, if they are not the smallest.
const NEXT_TO_NOTHING: u64 = 16;

/// Batches that are delivered between two records that are dear: those of ten seconds.
const DEAR: usize = 10;

/// Others, and what they have on the disk.
struct Others {
    file: File,
    /// Whether they take whatever becomes free.
    are_greedy: bool,
}

impl Others {
    fn on(folder: &Path, are_greedy: bool) -> Self {
        Self { file: File::create(folder.join("others")).unwrap(), are_greedy }
    }

    /// Leaves so many bytes free.
    fn fill_but(&mut self, bytes: u64) {
        self.file.seek(SeekFrom::End(0)).unwrap();
        while self.file.write_all(&[1; 4_096]).is_ok() {}
        let full = self.file.metadata().unwrap().len();
        self.file.set_len(full.saturating_sub(bytes)).unwrap();
    }

    fn look(&mut self) {
        if self.are_greedy {
            self.fill_but(0);
        }
    }
}

/// The bench of a spool with such pages.
fn bench_in(folder: &Path, page_bytes: u64) -> Bench {
    let mut bench = Bench::new();
    (bench.options.path, bench.options.page_bytes) = (folder.join("plant.db"), page_bytes);
    bench
}

/// Times the usual page: bodies, disks and what is left of them grow with it.
const fn scale(page_bytes: u64) -> u64 {
    if page_bytes > page::MEDIUM { page_bytes / page::MEDIUM } else { 1 }
}

/// A spool on a disk that is full.
struct Plight {
    bench: Bench,
    others: Others,
    /// Batches that were delivered, and the file does not know.
    unrecorded: Vec<SettleRow>,
    /// Whether records had better be few at some time.
    were_dear: bool,
}

impl Plight {
    /// So many batches of 100 kB or more, in the log only or in the database, and so much left on the disk.
    fn fill(
        folder: &Path,
        page_bytes: u64,
        batches: u64,
        is_copied: bool,
        left: u64,
        are_greedy: bool,
    ) -> (Self, Life) {
        let bench = bench_in(folder, page_bytes);
        let mut others = Others::on(folder, are_greedy);
        let (mut life, _) = bench.open();
        for seed in 0..batches {
            life.append(&[&noise(seed, 100_000 * scale(page_bytes) as usize)]);
            life.spool.maintain(now()).unwrap();
        }
        if is_copied {
            life.spool.empty_log().unwrap();
        }
        assert!(life.spool.ballast.is_whole());
        others.fill_but(left);
        (Self { bench, others, unrecorded: Vec::new(), were_dear: false }, life)
    }

    fn deliver(&mut self, life: &mut Life, rows: &[ReadBatch]) {
        let mut are_dear = false;
        for (number, row) in rows.iter().enumerate() {
            self.unrecorded.push(done(row, Fate::Delivered));
            // As their owner has it then.
            if are_dear && number + 1 < rows.len() && !number.is_multiple_of(DEAR) {
                continue;
            }
            let settle = self.unrecorded.clone();
            let plan = CommitPlan { number: life.number + 1, settle, ..CommitPlan::default() };
            match life.spool.commit(&plan, now()) {
                Ok(committed) => {
                    assert!(committed.settled.iter().all(|settled| *settled));
                    life.number += 1;
                    self.unrecorded.clear();
                    are_dear = committed.records_are_dear;
                    self.were_dear |= are_dear;
                }
                Err(error) => assert_eq!(error.kind(), SpoolErrorKind::DiskFull),
            }
            self.others.look();
            while life.spool.maintain(now()).unwrap().more {
                self.others.look();
            }
            self.others.look();
        }
    }

    fn open(&mut self) -> (Life, Opened) {
        let opened = self.bench.open();
        self.others.look();
        opened
    }

    /// The sizes of the spool's files, without the ballast.
    fn bytes(&self) -> u64 {
        ["", "-wal", ".lock"].map(|part| fs::metadata(self.bench.beside(part)).unwrap().len()).iter().sum()
    }
}

/// In pages of each size, with so many of them left.
fn check_recorded(batches: u64, is_copied: bool, pages_left: u64, are_greedy: bool) {
    for page_bytes in page::SIZES {
        let left = pages_left * page_bytes.max(page::MEDIUM);
        check_recorded_on(16 << 20, page_bytes, batches, is_copied, left, are_greedy);
    }
}

/// Whether records were dear at some time, as far as a disk could be mounted.
fn check_recorded_on(
    disk_bytes: u64,
    page_bytes: u64,
    batches: u64,
    is_copied: bool,
    left: u64,
    are_greedy: bool,
) -> Option<bool> {
    let what = format!(
        "pages of {page_bytes}, {batches} batches, copied: {is_copied}, {left} bytes left, greedy: {are_greedy}"
    );
    let folder = tempfile::tempdir().unwrap();
    let _disk = SmallDisk::of(folder.path(), disk_bytes * scale(page_bytes))?;
    let (mut plight, mut life) =
        Plight::fill(folder.path(), page_bytes, batches, is_copied, left, are_greedy);
    // A process dies in the middle.
    let rows = life.all();
    let half = rows.len() / 2;
    plight.deliver(&mut life, &rows[..half]);
    drop(life);
    let sent_again = std::mem::take(&mut plight.unrecorded).len();
    assert!(sent_again == 0 || !is_copied, "{what}: {sent_again} batches are sent again");
    let (mut life, opened) = plight.open();
    assert_eq!(opened.backlog.batches as usize, rows.len() - half + sent_again, "{what}");
    let rows = life.all();
    plight.deliver(&mut life, &rows);
    assert_eq!(plight.unrecorded, [], "{what}");
    life.close();
    plight.others.look();
    let (life, opened) = plight.open();
    let delivered = opened.ledger.of(Fate::Delivered).points;
    assert_eq!(
        (opened.backlog.batches, delivered, opened.unclean_ends_total),
        (0, 10 * batches, 1),
        "{what}"
    );
    life.close();
    // Where there is room again free pages are kept.
    let kept = if fs4::available_space(folder.path()).unwrap() > page::records_bytes(page_bytes) {
        LOG_BYTES_MIN
    } else {
        2 * page::records_bytes(page_bytes)
    };
    let few = NEXT_TO_NOTHING * page_bytes.max(page::MEDIUM) + kept;
    assert!(plight.bytes() <= few, "{what}: {} bytes", plight.bytes());
    println!("{what}: {sent_again} sent again, {} bytes", plight.bytes());
    Some(plight.were_dear)
}

#[test]
fn what_is_delivered_is_recorded_whatever_is_left_of_the_disk() {
    for pages in [0, 1, 2, 3, 5, 7, 8, 13, 20, 40, 70, 100] {
        for is_copied in [false, true] {
            check_recorded(12, is_copied, pages, false);
        }
    }
}

#[test]
fn what_is_delivered_is_recorded_though_others_take_whatever_becomes_free() {
    for pages in 0..10 {
        for is_copied in [false, true] {
            check_recorded(12, is_copied, pages, true);
        }
    }
    for is_copied in [false, true] {
        check_recorded(60, is_copied, 0, true);
    }
}

/// All of it lies in a log that cannot be copied before nearly all of it is delivered: each record takes some of the last room.
#[test]
fn what_is_delivered_is_recorded_at_last_though_there_is_room_for_few_records() {
    for (page_bytes, are_greedy) in page::SIZES.into_iter().flat_map(|size| [(size, false), (size, true)]) {
        let were_dear = check_recorded_on(256 << 20, page_bytes, 40, false, 0, are_greedy);
        assert!(were_dear.is_none_or(|were_dear| were_dear), "{page_bytes}");
    }
}

/// The log is all there is of the batches, and what the database would grow by there is not.
#[test]
fn an_empty_spool_gives_back_what_it_has_though_the_disk_is_full() {
    page::SIZES.into_iter().for_each(check_given_back);
}

fn check_given_back(page_bytes: u64) {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::of(folder.path(), scale(page_bytes) * (16 << 20)) else { return };
    let (mut plight, mut life) = Plight::fill(folder.path(), page_bytes, 60, false, 0, false);
    let before = plight.bytes();
    // Otherwise there is plenty of room before all of it is given back.
    life.spool.options.free_reserve_bytes = u64::MAX;
    let rows = life.all();
    life.settle(&rows, Fate::Delivered);
    while life.spool.maintain(now()).unwrap().more {}
    // Now there is room for ballast, and the log need not stand in for it.
    life.spool.maintain(now()).unwrap();
    let few = NEXT_TO_NOTHING * page_bytes.max(page::MEDIUM);
    assert!(plight.bytes() <= few, "{page_bytes}: {before} bytes, then {}", plight.bytes());
    assert!(life.spool.ballast.is_whole());
    life.close();
    plight.open().0.close();
    drop(disk);
}

#[test]
fn a_spool_does_not_fill_its_disk_by_itself_however_often_it_is_killed() {
    page::SIZES.into_iter().for_each(check_killed);
}

fn check_killed(page_bytes: u64) {
    let folder = tempfile::tempdir().unwrap();
    let scale = scale(page_bytes);
    let Some(disk) = SmallDisk::of(folder.path(), scale * (12 << 20)) else { return };
    let mut bench = bench_in(folder.path(), page_bytes);
    bench.options.free_reserve_bytes = 500_000;
    let mut stored = 0;
    for _ in 0..60 {
        let (mut life, opened) = bench.open();
        assert_eq!(opened.backlog.batches, stored);
        for seed in 0..3 {
            let appends = vec![life.next_batch(&noise(seed, 300_000 * scale as usize))];
            stored += life.commit(CommitPlan { appends, ..CommitPlan::default() }).appended.len() as u64;
        }
        let free = fs4::available_space(folder.path()).unwrap();
        assert!(free > 300_000 * scale, "{page_bytes}: {free} bytes are free after {stored} batches");
    }
    assert!(stored > 15, "{page_bytes}: {stored}");
    let (mut life, _) = bench.open();
    let rows = life.all();
    life.settle(&rows, Fate::Delivered);
    drop(disk);
}

#[test]
fn an_opening_that_finds_no_room_says_where_and_how_much_there_is() {
    page::SIZES.into_iter().for_each(check_told);
}

fn check_told(page_bytes: u64) {
    let folder = tempfile::tempdir().unwrap();
    let enough = scale(page_bytes) << 19;
    let Some(disk) = SmallDisk::of(folder.path(), 32 * enough) else { return };
    let bench = bench_in(folder.path(), page_bytes);
    let mut others = Others::on(folder.path(), true);
    let check = |bench: &Bench| {
        let error = Spool::open(&bench.options, now()).unwrap_err();
        assert_eq!((error.kind(), error.is_retryable()), (SpoolErrorKind::DiskFull, true));
        let told = format!(" bytes are free in {}, and {enough} are enough", folder.path().display());
        assert!(error.to_string().contains(&told), "{error}");
        println!("{error}");
    };
    others.fill_but(64 << 10);
    check(&bench);
    let free = fs4::available_space(folder.path()).unwrap();
    assert!(free >= 60 << 10 && !bench.path().exists(), "{page_bytes}: what was begun is taken back: {free}");
    others.look();
    check(&bench);
    others.file.set_len(0).unwrap();
    let (mut life, _) = bench.open();
    life.append(&[b"one"]);
    life.close();
    fs::remove_file(bench.beside(".ballast")).ok();
    fs::remove_file(bench.beside("-shm")).ok();
    others.look();
    check(&bench);
    others.file.set_len(others.file.metadata().unwrap().len() - enough).unwrap();
    assert_eq!(bench.open().0.bodies(), ["one"]);
    drop(disk);
}
