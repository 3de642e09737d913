//! Commits a second of the spool, against appending the same bytes to a file and syncing it.
//!
//! `cargo bench --bench spool`; `SPOOL_BENCH_DIR` names a folder on the disk to measure, else the temporary one.

#![allow(clippy::unwrap_used, reason = "a bench that cannot run should say so and end")]

use std::fs::File;
use std::io::Write;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use influx_spool::{SpoolBench, SyncMode};
use tempfile::TempDir;

fn main() {
    divan::main();
    for bytes in BODIES {
        print_write_amplification(bytes);
    }
}

/// Bodies as they are: 5,000 lines of telegraf, compressed, and a small batch of a quiet database.
const BODIES: [usize; 2] = [182_000, 4_000];

#[divan::bench(args = BODIES, sample_count = 300, sample_size = 1)]
fn append_and_fdatasync(bencher: Bencher<'_, '_>, bytes: usize) {
    let folder = folder();
    let mut file = File::create(folder.path().join("plain")).unwrap();
    let body = noise(bytes);
    counted(bencher, bytes).bench_local(|| {
        file.write_all(&body).unwrap();
        file.sync_data().unwrap();
    });
}

#[divan::bench(args = BODIES, sample_count = 300, sample_size = 1)]
fn append_only_full(bencher: Bencher<'_, '_>, bytes: usize) {
    commits(bencher, SyncMode::Full, bytes, usize::MAX);
}

#[divan::bench(args = BODIES, sample_count = 300, sample_size = 1)]
fn append_and_settle_full(bencher: Bencher<'_, '_>, bytes: usize) {
    commits(bencher, SyncMode::Full, bytes, 4);
}

#[divan::bench(args = BODIES, sample_count = 300, sample_size = 1)]
fn append_and_settle_normal(bencher: Bencher<'_, '_>, bytes: usize) {
    commits(bencher, SyncMode::Normal, bytes, 4);
}

/// A start after the process was killed with as much in the log as ever gathers there: all of it is read, written once more
/// as it is, copied into the database, and synced.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn open_after_a_kill_with_a_full_log(bencher: Bencher<'_, '_>) {
    let killed = || {
        let folder = folder();
        let mut spool = SpoolBench::open(folder.path(), SyncMode::Full, 5_000, noise(LARGE_BODY)).unwrap();
        for _ in 0..FULL_LOG {
            spool.commit(1, usize::MAX).unwrap();
        }
        // Dropped without being closed.
        drop(spool);
        let log = std::fs::metadata(folder.path().join("bench.db-wal")).unwrap().len();
        assert!((63 << 20..65 << 20).contains(&log), "{log} bytes in the log");
        folder
    };
    bencher.with_inputs(killed).bench_local_refs(|folder| {
        SpoolBench::open(folder.path(), SyncMode::Full, 5_000, Vec::new()).unwrap()
    });
}

/// Bodies with which the log may grow to 64 MiB, and so many of them that it is not copied yet.
const LARGE_BODY: usize = 2_800_000;
const FULL_LOG: usize = 23;

/// Bytes the process had written to the disk, over the bytes of the bodies; Linux only.
fn print_write_amplification(bytes: usize) {
    let folder = folder();
    let mut spool = SpoolBench::open(folder.path(), SyncMode::Full, 5_000, noise(bytes)).unwrap();
    let rounds = (64 << 20) / bytes;
    let Some(before) = written() else { return };
    for _ in 0..rounds {
        spool.commit(1, 4).unwrap();
    }
    let Some(after) = written() else { return };
    let amplification = (after - before) as f64 / (rounds * bytes) as f64;
    println!(
        "append and settle, body of {bytes} bytes: {amplification:.2} bytes written for one of the body"
    );
}

fn written() -> Option<u64> {
    let counters = std::fs::read_to_string("/proc/self/io").ok()?;
    counters.lines().find_map(|line| line.strip_prefix("write_bytes: "))?.parse().ok()
}

fn commits(bencher: Bencher<'_, '_>, sync: SyncMode, bytes: usize, keep: usize) {
    let folder = folder();
    let mut spool = SpoolBench::open(folder.path(), sync, 5_000, noise(bytes)).unwrap();
    for _ in 0..50 {
        spool.commit(1, keep).unwrap();
    }
    counted(bencher, bytes).bench_local(|| spool.commit(1, keep).unwrap());
}

fn counted<'a, 'b>(bencher: Bencher<'a, 'b>, bytes: usize) -> Bencher<'a, 'b> {
    bencher.counter(BytesCount::new(bytes)).counter(ItemsCount::new(1_u32))
}

fn folder() -> TempDir {
    match std::env::var_os("SPOOL_BENCH_DIR") {
        Some(folder) => tempfile::tempdir_in(folder).unwrap(),
        None => tempfile::tempdir().unwrap(),
    }
}

fn noise(bytes: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(1);
    std::iter::repeat_with(|| random.u8(..)).take(bytes).collect()
}
