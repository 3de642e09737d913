//! Errors of input and output, at every call there is, once and for a while.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use faulty_vfs::{Asked, Call, Disk, Verdict};
use influx_spool::{
    CallError, Database, DatabaseHandle, Event, Fate, Health, Point, SpoolHealth, StartError, Told, inspect,
};

use super::pace::{Pace, Ward, cycles};
use super::support::ledger::{check_arrived, check_ledger, numbers};
use super::support::receiver::Receiver;
use super::{LONG, is_slow, run};

/// Of the calls of a phase the short version lets so many fail, spread out; the long one all, or so many.
const SAMPLES: u64 = 6;
const SAMPLES_SLOW: u64 = 200;

/// Points of each life.
const POINTS: u64 = 300;

/// What a database does while a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Opening,
    Committing,
    /// The log is copied into the database, since it is long.
    Copying,
    Closing,
}

/// Counts what changes files, and lets one of them go wrong.
#[derive(Clone, Default)]
struct Fault {
    calls: Arc<AtomicU64>,
    fails_at: Arc<AtomicU64>,
}

impl Fault {
    /// From now on; `nth` is 1 for the next call, 0 for none.
    fn arm(&self, nth: u64) {
        self.calls.store(0, Ordering::SeqCst);
        self.fails_at.store(nth, Ordering::SeqCst);
    }

    /// How many there were since.
    fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    fn judge(&self, asked: &Asked<'_>, verdict: Verdict) -> Verdict {
        let changes = matches!(asked.call, Call::Write { .. } | Call::Sync | Call::Truncate { .. });
        if !changes {
            return Verdict::Pass;
        }
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        if call == self.fails_at.load(Ordering::SeqCst) { verdict } else { Verdict::Pass }
    }
}

/// A database of which one call fails.
struct Bench {
    receiver: Receiver,
    folder: tempfile::TempDir,
    fault: Fault,
    _disk: Disk,
}

impl Bench {
    fn new(verdict: Verdict) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::watch(folder.path()).unwrap();
        let fault = Fault::default();
        let judging = fault.clone();
        disk.judge(move |asked| judging.judge(asked, verdict));
        Self { receiver: Receiver::start_down(), folder, fault, _disk: disk }
    }

    fn start(&self) -> Result<DatabaseHandle, StartError> {
        Database::builder("errors")
            .http(self.receiver.url())
            .spool(self.folder.path().join("errors.db"))
            .gzip(false)
            .linger(Duration::from_millis(1))
            .configure(|config| config.batch.bytes_max = (1 << 20).try_into().unwrap())
            .start()
    }
}

/// Lets the `nth` call of a phase fail, and looks whether everything is there afterwards. How many calls the phase had;
/// nothing has failed if `nth` is 0.
fn check_nth(phase: Phase, nth: u64, verdict: Verdict) -> u64 {
    let bench = Bench::new(verdict);
    run(async {
        let first = bench.start().unwrap();
        store(&first, 0..POINTS, 0).await;
        first.stop(Duration::ZERO).await.unwrap();
        assert_eq!(first.closed(LONG).await, Ok(true));

        if phase == Phase::Opening {
            bench.fault.arm(nth);
        }
        let started = bench.start();
        let mut calls = bench.fault.calls();
        bench.fault.fails_at.store(0, Ordering::SeqCst);
        let db = match started {
            Ok(db) => db,
            Err(StartError::Spool(error)) if nth > 0 => {
                assert!(error.is_retryable(), "{error}");
                bench.start().unwrap()
            }
            Err(error) => panic!("{phase:?}, call {nth}: {error}"),
        };
        assert_eq!(db.stats().pending.points, POINTS, "{phase:?}, call {nth}");

        if phase == Phase::Committing {
            bench.fault.arm(nth);
        }
        store(&db, POINTS..2 * POINTS, 0).await;
        if phase == Phase::Committing {
            calls = bench.fault.calls();
        }
        check_stored(bench.folder.path(), 2 * POINTS);
        let mut points = 2 * POINTS;
        if phase == Phase::Copying {
            bench.fault.arm(nth);
            // More than the log may hold.
            store(&db, points..points + 400, 50_000).await;
            points += 400;
            calls = bench.fault.calls();
            check_stored(bench.folder.path(), points);
        }
        bench.receiver.come_up();
        db.reconfigure(db.config()).await.unwrap();
        assert!(db.flush(LONG).await.unwrap().complete, "{phase:?}, call {nth}: {:?}", db.health());
        store(&db, points..points + 1, 0).await;
        assert!(db.flush(LONG).await.unwrap().complete);
        if phase == Phase::Closing {
            bench.fault.arm(nth);
        }
        let report = db.stop(LONG).await.unwrap();
        if phase == Phase::Closing {
            calls = bench.fault.calls();
        }
        bench.fault.arm(0);
        check_ledger(&report.stats, points + 1, &bench.receiver);
        assert_eq!(report.stats.ledger.of(Fate::Delivered).points, points + 1);

        let db = bench.start().unwrap();
        assert!(db.flush(LONG).await.unwrap().complete, "{phase:?}, call {nth}");
        let stats = db.stop(LONG).await.unwrap().stats;
        // What was delivered and not yet recorded when the file failed as it was being closed is sent again; the sums on
        // disk are those of the last transaction that came about.
        let again = numbers(&bench.receiver).len() as u64 - (points + 1);
        assert!(phase == Phase::Closing || again == 0, "{phase:?}, call {nth}: {again} points again");
        assert!(stats.pending.points == 0 && stats.ledger.accepted().points <= points + 1, "{stats:?}");
        check_arrived(&bench.receiver, 0..points + 1);
        calls
    })
}

/// Pushes points and waits until all are said to be on disk.
async fn store(db: &DatabaseHandle, numbers: std::ops::Range<u64>, text_bytes: usize) {
    let mut last = None;
    for n in numbers {
        let text: String = (0..text_bytes).map(|_| fastrand::alphanumeric()).collect();
        last = Some(db.push(Point::new("m").field("n", n as i64).field("text", text)).unwrap());
    }
    let mut events = db.subscribe();
    let _ = db.commit(LONG).await;
    let stored = async {
        // Nobody can tell of what lies in a file that is closed just now.
        loop {
            match db.persisted(last.unwrap()).await {
                Err(CallError::Busy) => _ = events.next().await,
                standing => return standing,
            }
        }
    };
    let standing = tokio::time::timeout(LONG, stored).await.unwrap_or_else(|_| panic!("{:?}", db.health()));
    assert!(standing.is_ok(), "{standing:?}");
}

/// What was said to be on disk is in the files as they are.
fn check_stored(folder: &Path, points: u64) {
    let elsewhere = tempfile::tempdir().unwrap();
    for part in ["", "-wal"] {
        let name = format!("errors.db{part}");
        std::fs::copy(folder.join(&name), elsewhere.path().join(&name)).unwrap();
    }
    let found = inspect(elsewhere.path().join("errors.db")).unwrap();
    assert!(found.backlog.points == points && found.adds_up, "{found:?}");
}

/// One call of a phase after the other, until there are no more; in the short version some.
fn check_phase(phase: Phase, verdict: Verdict) {
    let calls = check_nth(phase, 0, verdict);
    assert!(calls > 2, "{phase:?}: {calls} calls");
    let step = calls.div_ceil(if is_slow() { SAMPLES_SLOW } else { SAMPLES });
    let seed: u64 = std::env::var("SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    let mut random = fastrand::Rng::with_seed(seed);
    let mut failed = 0;
    for begin in (1..=calls + 2).step_by(step as usize) {
        check_nth(phase, begin + random.u64(0..step), verdict);
        failed += 1;
    }
    println!("{phase:?}: {calls} calls, {failed} of them failed in turn with {verdict:?} (SEED={seed})");
}

#[test]
fn an_error_at_any_call_while_the_spool_is_opened() {
    check_phase(Phase::Opening, Verdict::IoError);
}

#[test]
fn an_error_at_any_call_while_points_are_stored() {
    check_phase(Phase::Committing, Verdict::IoError);
    check_phase(Phase::Committing, Verdict::Torn(100));
    check_phase(Phase::Committing, Verdict::Full);
}

#[test]
fn an_error_at_any_call_while_the_log_is_copied() {
    check_phase(Phase::Copying, Verdict::IoError);
}

#[test]
fn an_error_at_any_call_while_the_spool_is_closed() {
    check_phase(Phase::Closing, Verdict::IoError);
    check_phase(Phase::Closing, Verdict::Full);
}

#[test]
fn while_every_sync_fails_nothing_is_called_durable_and_afterwards_all_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::watch(folder.path()).unwrap();
    run(async {
        let receiver = Receiver::start_down();
        let db = Database::builder("syncs")
            .http(receiver.url())
            .spool(folder.path().join("errors.db"))
            .linger(Duration::from_millis(1))
            .start()
            .unwrap();
        store(&db, 0..POINTS, 0).await;
        let commits = db.stats().commits_total;
        let attempts = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&attempts);
        disk.judge(move |asked| {
            let fails = asked.call == Call::Sync;
            counted.fetch_add(u64::from(fails), Ordering::SeqCst);
            if fails { Verdict::IoError } else { Verdict::Pass }
        });
        let mut events = db.subscribe();
        for n in POINTS..2 * POINTS {
            db.push(Point::new("m").field("n", n as i64)).unwrap();
        }
        let last = db.push(Point::new("m").field("n", 2 * POINTS as i64)).unwrap();
        let persisted = db.persisted(last);
        tokio::pin!(persisted);
        // It is tried again, and again, and nothing is said to be on disk.
        for _ in 0..3 {
            let failing = async {
                loop {
                    if let Some(Told::Event(Event::Spool(SpoolHealth::Failing(words)))) = events.next().await
                    {
                        return words;
                    }
                }
            };
            tokio::select! {
                words = failing => assert!(words.contains("disk I/O error"), "{words}"),
                standing = &mut persisted => panic!("{standing:?} while every sync fails"),
                () = tokio::time::sleep(LONG) => panic!("{:?}", db.health()),
            }
        }
        let health = db.health();
        assert!(!health.ok && matches!(health.spool, SpoolHealth::Failing(_)), "{health:?}");
        let stats = db.stats();
        assert_eq!((stats.pending.spooled.points, stats.pending.points), (POINTS, 2 * POINTS + 1));
        println!(
            "{} syncs failed, {} commits tried",
            attempts.load(Ordering::SeqCst),
            stats.commits_total - commits
        );

        // The server comes back before the disk does: points arrive all the same, and once.
        receiver.come_up();
        db.reconfigure(db.config()).await.unwrap();
        assert!(db.flush(LONG).await.unwrap().complete, "{:?}", db.health());
        disk.relent();
        let well = async {
            while db.health().spool != SpoolHealth::Ok {
                events.next().await;
            }
        };
        tokio::time::timeout(LONG, well).await.unwrap_or_else(|_| panic!("{:?}", db.health()));
        let report = db.stop(LONG).await.unwrap();
        assert!(report.closed, "{report:?}");
        check_ledger(&report.stats, 2 * POINTS + 1, &receiver);
        assert_eq!(numbers(&receiver).len() as u64, 2 * POINTS + 1, "none twice");
        check_arrived(&receiver, 0..2 * POINTS + 1);
        let left = inspect(folder.path().join("errors.db")).unwrap();
        assert_eq!((left.ledger, left.backlog.points), (report.stats.ledger, 0));
    });
}

#[test]
fn a_disk_on_which_every_sync_fails_is_nobody_elses_trouble() {
    let is_failing = |health: &Health| matches!(&health.spool, SpoolHealth::Failing(words) if words.contains("disk I/O error"));
    run(async {
        let mut pace = Pace::start();
        for _ in 0..cycles() {
            let folder = tempfile::tempdir().unwrap();
            let disk = Disk::watch(folder.path()).unwrap();
            let mut ward = Ward::open(folder.path());
            pace.measure_alone().await;
            disk.judge(|asked| if asked.call == Call::Sync { Verdict::IoError } else { Verdict::Pass });
            ward.fall_sick(is_failing).await;
            ward.measure(&mut pace, Duration::ZERO, is_failing).await;
            disk.relent();
            ward.close().await;
            pace.compare().await;
        }
        pace.end("a disk on which every sync fails").await;
    });
}
