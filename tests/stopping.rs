//! A stop keeps its deadline whatever the server and the disk do, says what it leaves, and loses nothing.
//!
//! The promise is a tenth of a second beyond the deadline. By default more is borne, since other tests and builds take
//! turns on the same processors; with `RUN_SLOW_TESTS` the promise is asked for, and the backlog is of a gigabyte.
#![allow(clippy::unwrap_used, clippy::panic, reason = "the lints do not see that helpers of tests are tests")]

mod support;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use faulty_vfs::{Call, Disk, Verdict};
use influx_spool::{
    Database, DatabaseBuilder, DatabaseHandle, Event, Fate, Point, SpoolHealth, StopReport, Told, inspect,
};
use support::gate::Gate;
use support::ledger::{check_arrived, check_ledger, numbers};
use support::receiver::{Manner, Receiver};

const DEADLINE: Duration = Duration::from_secs(2);

/// The promise.
const LATE_MAX: Duration = Duration::from_millis(100);

/// What is borne on a machine that others use.
const LATE_MAX_LOADED: Duration = Duration::from_secs(1);

const LONG: Duration = Duration::from_secs(60);

const POINTS: u64 = 12_345;

/// Bytes of text in a point of the large backlog.
const TEXT_BYTES: usize = 10_000;

#[test]
fn beside_a_server_that_never_answers() {
    let bench = Bench::new();
    run(async {
        let db = bench.start();
        push(&db, 0..POINTS);
        assert!(bench.receiver.wait_for_requests(1, LONG));
        let report = bench.stop(&db).await;
        assert!(!report.drained && report.closed && report.unsaved == 0, "{report:?}");
        assert_eq!(report.stats.pending.points, POINTS, "what was cut off is pending");
        bench.check_the_rest_arrives(POINTS, 0).await;
    });
}

#[test]
fn what_is_under_way_is_waited_for() {
    let bench = Bench::new();
    run(async {
        bench.receiver.set_manner(Manner::Silence);
        let db = bench.start();
        push(&db, 0..POINTS);
        assert!(bench.receiver.wait_for_requests(1, LONG));
        let stopping = actix_rt::spawn({
            let db = db.clone();
            async move { db.stop(LONG).await }
        });
        while db.push(Point::new("m").field("n", -1_i64)).is_ok() {
            tokio::task::yield_now().await;
        }
        // The stop has begun, and has a minute.
        bench.receiver.set_manner(Manner::Accept);
        let report = stopping.await.unwrap().unwrap();
        assert!(report.drained && report.closed, "{report:?}");
        assert_eq!(report.stats.pending.points, 0, "{report:?}");
    });
}

#[test]
fn with_a_large_backlog() {
    let points: u64 = if is_slow() { 100_000 } else { 5_000 };
    let bench = Bench::new();
    run(async {
        let db = bench.start();
        let mut random = fastrand::Rng::with_seed(7);
        for n in 0..points {
            let text: String = (0..TEXT_BYTES).map(|_| random.alphanumeric()).collect();
            db.push_wait(Point::new("m").field("n", n as i64).field("text", text)).await.unwrap();
        }
        db.commit(LONG * 10).await.unwrap();
        let report = bench.stop(&db).await;
        let spooled = report.stats.pending.spooled;
        println!("{} MiB of backlog", spooled.bytes >> 20);
        assert_eq!((report.closed, report.unsaved, spooled.points), (true, 0, points), "{report:?}");

        // While it drains, too: what was sent meanwhile is delivered, the rest is left.
        bench.receiver.set_manner(Manner::Accept);
        let db = bench.start();
        assert!(bench.receiver.wait_for_lines(1, LONG));
        let report = bench.stop(&db).await;
        let delivered = report.stats.ledger.of(Fate::Delivered).points;
        assert!(report.closed && report.unsaved == 0, "{report:?}");
        assert_eq!(delivered + report.stats.pending.points, points);
        println!("{delivered} of {points} points delivered meanwhile");
        bench.check_the_rest_arrives(points, delivered).await;
    });
}

#[test]
fn while_the_disk_hangs_in_a_sync() {
    let bench = Bench::new();
    let disk = Disk::watch(bench.folder()).unwrap();
    let gate = Gate::default();
    let hanging = gate.clone();
    disk.judge(move |asked| {
        if asked.call == Call::Sync {
            hanging.pass();
        }
        Verdict::Pass
    });
    run(async {
        let db = bench.start();
        gate.close();
        push(&db, 0..POINTS);
        assert!(gate.wait_until_hanging(LONG));
        let begin = Instant::now();
        let flushed = db.flush(DEADLINE).await.unwrap();
        check_in_time("flush", begin.elapsed());
        assert_eq!((flushed.complete, flushed.pending), (false, POINTS));
        let report = bench.stop(&db).await;
        assert!(!report.closed && !report.drained, "{report:?}");
        assert_eq!((report.unsaved, report.stats.pending.points), (POINTS, POINTS), "{report:?}");

        gate.open();
        assert_eq!(db.closed(LONG).await, Ok(true), "it went on behind the report");
        assert_eq!(db.stats().pending.spooled.points, POINTS);
        bench.check_the_rest_arrives(POINTS, 0).await;
    });
}

#[test]
fn while_every_sync_fails() {
    let bench = Bench::new();
    let disk = Disk::watch(bench.folder()).unwrap();
    run(async {
        let db = bench.start();
        let mut events = db.subscribe();
        push(&db, 0..1_000);
        db.commit(LONG).await.unwrap();
        disk.judge(|asked| if asked.call == Call::Sync { Verdict::IoError } else { Verdict::Pass });
        push(&db, 1_000..POINTS);
        let failing = async {
            while !matches!(db.health().spool, SpoolHealth::Failing(_)) {
                events.next().await;
            }
        };
        tokio::time::timeout(LONG, failing).await.unwrap();
        let report = bench.stop(&db).await;
        assert!(!report.closed, "{report:?}");
        assert_eq!((report.unsaved, report.stats.pending.points), (POINTS - 1_000, POINTS), "{report:?}");
        // What was on disk before is there. Of the rest, which is said not to be, some may be: it was written, and not synced.
        disk.relent();
        let there = inspect(&bench.file).unwrap().backlog.points;
        assert!((1_000..=POINTS).contains(&there), "{there}");
        bench.check_the_rest_arrives(there, 0).await;
    });
}

#[test]
fn when_the_disk_is_well_again_but_the_spool_not_yet_open() {
    let bench = Bench::new();
    let disk = Disk::watch(bench.folder()).unwrap();
    run(async {
        let db = bench.start();
        let failed = Arc::new(AtomicBool::new(false));
        let failing = Arc::clone(&failed);
        // One sync fails; the next opening is some time away, and the stop does not wait for it.
        disk.judge(move |asked| {
            let fails = asked.call == Call::Sync && !failing.swap(true, Ordering::Relaxed);
            if fails { Verdict::IoError } else { Verdict::Pass }
        });
        push(&db, 0..POINTS);
        let mut events = db.subscribe();
        let heard = async {
            while !matches!(events.next().await, Some(Told::Event(Event::Spool(SpoolHealth::Failing(_))))) {}
        };
        tokio::time::timeout(LONG, heard).await.unwrap();
        bench.check_stop_stores_all(&db).await;
    });
}

#[test]
fn while_degraded() {
    let bench = Bench::new();
    run(async {
        let db = bench.start();
        let mut events = db.subscribe();
        push(&db, 0..1_000);
        let degraded = async {
            while !db.health().degraded {
                if db.drill("database") {
                    events.next().await;
                } else {
                    // Its actors are still being started.
                    actix_rt::task::yield_now().await;
                }
            }
        };
        tokio::time::timeout(LONG, degraded).await.unwrap();
        push(&db, 1_000..POINTS);
        bench.check_stop_stores_all(&db).await;
    });
}

#[test]
fn in_the_middle_of_a_restart() {
    for actor in ["database", "store", "batcher", "http-0"] {
        let bench = Bench::new();
        run(async {
            let db = bench.start();
            push(&db, 0..POINTS);
            assert!(bench.receiver.wait_for_requests(1, LONG));
            assert!(db.drill(actor));
            println!("{actor}");
            bench.check_stop_stores_all(&db).await;
        });
    }
}

#[test]
fn a_flush_keeps_its_deadline_beside_a_server_that_never_answers() {
    let bench = Bench::new();
    run(async {
        let db = bench.start();
        push(&db, 0..POINTS);
        let begin = Instant::now();
        let report = db.flush(DEADLINE).await.unwrap();
        check_in_time("flush", begin.elapsed());
        assert_eq!((report.complete, report.pending), (false, POINTS));
        db.stop(Duration::ZERO).await.unwrap();
        assert!(db.closed(LONG).await.unwrap());
    });
}

#[cfg(feature = "cli")]
mod program {
    use super::support::program::Program;
    use super::*;

    /// The program takes a moment to start, and to read its input.
    const STARTING: Duration = Duration::from_millis(300);

    #[test]
    fn the_program_keeps_its_deadline_beside_a_server_that_never_answers() {
        let bench = Bench::new();
        for (deadline, seconds) in [("0s", 0), ("2s", 2)] {
            let ended = bench.check_program(deadline, Duration::from_secs(seconds));
            assert_eq!((&ended["closed"], &ended["unsaved"]), (&true.into(), &0.into()), "{ended}");
        }
    }

    #[test]
    fn the_program_keeps_its_deadline_on_a_full_disk() {
        let Some(disk) = support::small_disk::SmallDisk::mount() else { return };
        let bench = Bench::at(disk.folder().join("stop.db"));
        let ballast = disk.fill_but(1 << 20);
        let ended = bench.check_program("2s", DEADLINE);
        println!("{} of {POINTS} points unsaved", ended["unsaved"]);
        drop(ballast);
    }

    impl Bench {
        /// Has the program write to the silent server.
        fn check_program(&self, deadline: &str, expected: Duration) -> serde_json::Value {
            let file = self.file.to_str().unwrap();
            let url = self.receiver.url();
            let args = [
                "write",
                "--url",
                &url,
                "--database",
                "plant",
                "--spool",
                file,
                "--deadline",
                deadline,
                "--json",
            ];
            let text = "x".repeat(100);
            let input: String = (0..POINTS).map(|n| format!("m n={n}i,t=\"{text}\" {n}\n")).collect();
            let begin = Instant::now();
            let ended = Program::run(&args, input);
            let took = begin.elapsed();
            println!("the program ended after {took:?} of {deadline}");
            let summary = ended.check_code(2).json();
            let late_max = if is_slow() { LATE_MAX } else { LATE_MAX_LOADED };
            assert!(took < expected + STARTING + late_max, "{took:?} of {deadline}: {summary}");
            summary
        }
    }
}

/// A receiver that never answers, until it is told otherwise, and a place for a spool.
struct Bench {
    receiver: Receiver,
    folder: tempfile::TempDir,
    file: PathBuf,
    // Where the promise is asked for, no test is to be disturbed by its neighbours.
    _quiet: Option<MutexGuard<'static, ()>>,
}

impl Bench {
    fn new() -> Self {
        let bench = Self::at(PathBuf::new());
        Self { file: bench.folder.path().join("stop.db"), ..bench }
    }

    fn at(file: PathBuf) -> Self {
        static QUIET: Mutex<()> = Mutex::new(());
        let _quiet = is_slow().then(|| QUIET.lock().unwrap_or_else(PoisonError::into_inner));
        let receiver = Receiver::start();
        receiver.set_manner(Manner::Silence);
        Self { receiver, folder: tempfile::tempdir().unwrap(), file, _quiet }
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn builder(&self) -> DatabaseBuilder {
        Database::builder("stop").http(self.receiver.url()).spool(&self.file).configure(|config| {
            config.spool.as_mut().unwrap().bytes_max = 4 << 30;
            // The request under way is not what ends the wait.
            config.http.timeout = LONG;
            config.http.backoff_max = Duration::from_millis(500);
        })
    }

    fn start(&self) -> DatabaseHandle {
        self.builder().start().unwrap()
    }

    async fn stop(&self, db: &DatabaseHandle) -> StopReport {
        let begin = Instant::now();
        let report = db.stop(DEADLINE).await.unwrap();
        check_in_time("stop", begin.elapsed());
        report
    }

    /// Stops it in time, with every point on disk, from where all arrive.
    async fn check_stop_stores_all(&self, db: &DatabaseHandle) {
        let report = self.stop(db).await;
        assert!(report.closed && report.unsaved == 0, "{report:?}");
        self.check_the_rest_arrives(POINTS, 0).await;
    }

    /// The file has what was left, and everything has arrived in the end: once, but for what was cut off before.
    async fn check_the_rest_arrives(&self, points: u64, delivered: u64) {
        let left = inspect(&self.file).unwrap();
        assert!(left.adds_up, "{left:?}");
        assert_eq!(left.backlog.points, points - delivered);
        let cut_off = self.receiver.requests().len() as u64;
        self.receiver.set_manner(Manner::Accept);
        let db = self.start();
        assert!(db.flush(LONG * 5).await.unwrap().complete, "{:?}", db.health());
        let stats = db.stop(LONG).await.unwrap().stats;
        check_ledger(&stats, points, &self.receiver);
        assert_eq!(stats.ledger.of(Fate::Delivered).points, points, "{stats:?}");
        let arrived = numbers(&self.receiver);
        let again = arrived.len() as u64 - points;
        // The receiver takes what it has read of requests that were cut off, too.
        assert!(again <= 5_000 * cut_off, "{again} points arrived again, after {cut_off} requests");
        check_arrived(&self.receiver, 0..points);
    }
}

fn check_in_time(what: &str, took: Duration) {
    println!("{what} took {took:?} of {DEADLINE:?}");
    let late_max = if is_slow() { LATE_MAX } else { LATE_MAX_LOADED };
    assert!(took < DEADLINE + late_max, "{what} took {took:?}");
}

fn push(db: &DatabaseHandle, numbers: std::ops::Range<u64>) {
    for n in numbers {
        db.push(Point::new("m").field("n", n as i64)).unwrap();
    }
}

fn run<T>(test: impl Future<Output = T>) -> T {
    actix_rt::System::new().block_on(test)
}

fn is_slow() -> bool {
    std::env::var_os("RUN_SLOW_TESTS").is_some()
}
