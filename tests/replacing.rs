//! A damaged spool is being replaced, and the process dies: before every single file operation, and at any moment.
#![allow(clippy::unwrap_used, clippy::panic, reason = "the lints do not see that helpers of tests are tests")]

mod support;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fail::FailScenario;
use influx_spool::{Database, DatabaseHandle, Fate, Point, SpoolErrorKind, salvage, verify};
use support::ledger::{check_arrived, check_ledger};
use support::program::Program;
use support::receiver::Receiver;

const LONG: Duration = Duration::from_secs(60);

/// For stopping while no server is there.
const SHORT: Duration = Duration::from_millis(400);

/// Where the crate looks whether a test stops it.
const STEP: &str = "spool::step";

/// Of the header: how many bytes of each page are not used. Something else there has every page read wrongly.
const RESERVED_BYTES_AT: usize = 20;

#[test]
fn whatever_file_operation_is_the_last_one_before_a_crash_the_next_start_goes_on() {
    let scenario = FailScenario::setup();
    let damaged = Damaged::with(1_000);
    let mut steps = 0;
    loop {
        let (_folder, file) = damaged.copy();
        fail::cfg(STEP, &format!("{steps}*off->return")).unwrap();
        let salvaged = salvage(&file);
        fail::remove(STEP);
        match salvaged {
            Err(error) => assert!(error.to_string().contains("stopped by a test"), "{error}"),
            Ok(report) => {
                assert_eq!(report.unwrap().points, damaged.points);
                break;
            }
        }
        damaged.check_goes_on(&file);
        steps += 1;
    }
    println!("stopped before each of {steps} steps");
    assert!(steps >= 18, "{steps}");
    scenario.teardown();
}

#[test]
fn a_crash_while_the_next_start_goes_on_is_taken_up_by_the_one_after() {
    let scenario = FailScenario::setup();
    let damaged = Damaged::with(200);
    let (_folder, file) = damaged.copy();
    // One step further each time, and what was done is not done again: it comes to its end.
    let mut attempts = 0;
    loop {
        fail::cfg(STEP, &format!("{}*off->return", attempts / 2)).unwrap();
        let salvaged = salvage(&file);
        fail::remove(STEP);
        if salvaged.is_ok() {
            break;
        }
        attempts += 1;
        assert!(attempts < 100);
    }
    damaged.check_goes_on(&file);
    scenario.teardown();
}

#[test]
fn a_marker_that_was_torn_while_it_was_written_announces_nothing_false() {
    let _others_wait = FailScenario::setup();
    let damaged = Damaged::with(200);
    let whole = ".damaged-1700000000000";
    for length in 0..=whole.len() {
        let (_folder, file) = damaged.copy();
        std::fs::write(beside(&file, ".damaged"), &whole[..length]).unwrap();
        damaged.check_goes_on(&file);
    }
}

#[test]
fn a_process_that_is_killed_while_it_salvages_leaves_the_rest_to_the_next() {
    let _others_wait = FailScenario::setup();
    let is_long = std::env::var_os("RUN_SLOW_TESTS").is_some();
    let rounds = if is_long { 60 } else { 3 };
    let seed = std::env::var("SEED").map_or_else(|_| fastrand::u64(..1 << 32), |text| text.parse().unwrap());
    println!("SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let damaged = Damaged::with(5_000);
    let (_folder, file) = damaged.copy();
    let begun = Instant::now();
    Program::run(&["salvage", file.to_str().unwrap()], "").check_code(0);
    let takes = begun.elapsed();
    let mut kills = 0;
    for _ in 0..rounds {
        let (_folder, file) = damaged.copy();
        // Until one comes to its end, or has been killed often enough.
        for _ in 0..4 {
            let program = Program::start(&["salvage", file.to_str().unwrap()]);
            // The moment of the kill is what is tried out.
            std::thread::sleep(takes.mul_f64(random.f64() * 1.2));
            drop(program);
            kills += 1;
            if !file.exists() || beside(&file, ".damaged").exists() {
                continue;
            }
            break;
        }
        damaged.check_goes_on(&file);
    }
    println!("{kills} kills within {takes:?} of a start");
}

#[test]
fn a_spool_in_use_is_not_salvaged() {
    let _others_wait = FailScenario::setup();
    let receiver = Receiver::start_down();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plant.db");
    run(async {
        let db = start(&receiver, &file);
        let pid = Some(std::process::id());
        assert_eq!(salvage(&file).unwrap_err().kind(), SpoolErrorKind::Locked { pid });
        push(&db, 0..100).await;
        let verified = verify(&file).unwrap();
        assert_eq!((verified.sound, verified.held_by), (true, pid), "{verified:?}");
        assert_eq!(verified.backlog.good_points, 100);
        db.stop(SHORT).await.unwrap();
    });
    assert_eq!(salvage(&file).unwrap(), None);
}

#[cfg(unix)]
#[test]
fn a_link_to_a_file_that_is_being_replaced_leads_to_where_the_work_is() {
    let scenario = FailScenario::setup();
    let damaged = Damaged::with(200);
    let (folder, file) = damaged.copy();
    let elsewhere = tempfile::tempdir().unwrap();
    let link = elsewhere.path().join("link.db");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    // The database is moved away by then.
    let mut steps = 0;
    while file.exists() {
        fail::cfg(STEP, &format!("{steps}*off->return")).unwrap();
        salvage(&link).unwrap_err();
        fail::remove(STEP);
        steps += 1;
    }
    assert_eq!(salvage(&link).unwrap().unwrap().points, damaged.points);
    damaged.check_goes_on(&file);
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 1);
    drop(folder);
    scenario.teardown();
}

/// A spool left by a kill, with a log, and with a damaged header; every batch is there.
struct Damaged {
    database: Vec<u8>,
    log: Vec<u8>,
    points: u64,
}

impl Damaged {
    fn with(points: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("plant.db");
        let receiver = Receiver::start_down();
        run(async {
            let db = start(&receiver, &file);
            push(&db, 0..points / 2).await;
            db.stop(SHORT).await.unwrap();
            let db = start(&receiver, &file);
            push(&db, points / 2..points).await;
            let (mut database, log) =
                (std::fs::read(&file).unwrap(), std::fs::read(beside(&file, "-wal")).unwrap());
            db.stop(SHORT).await.unwrap();
            // Two pages at the least: the state, and the batch.
            assert!(log.len() > 8_000);
            database[RESERVED_BYTES_AT] = 64;
            Self { database, log, points }
        })
    }

    /// The same files in a folder of their own.
    fn copy(&self) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("plant.db");
        std::fs::write(&file, &self.database).unwrap();
        std::fs::write(beside(&file, "-wal"), &self.log).unwrap();
        std::fs::write(beside(&file, ".lock"), "").unwrap();
        (folder, file)
    }

    /// Starts on what is there: everything arrives, and what was damaged is there as it was.
    fn check_goes_on(&self, file: &Path) {
        let receiver = Receiver::start();
        let stats = run(async {
            let db = start(&receiver, file);
            assert!(db.flush(LONG).await.unwrap().complete);
            db.stop(LONG).await.unwrap().stats
        });
        check_ledger(&stats, self.points, &receiver);
        check_arrived(&receiver, 0..self.points);
        assert_eq!(stats.ledger.of(Fate::Damaged).points, 0);
        let verified = verify(file).unwrap();
        assert!(verified.sound, "{verified:?}");
        let aside = set_aside(file);
        assert!(std::fs::read(&aside).unwrap() == self.database, "the database is not what it was");
        assert!(std::fs::read(beside(&aside, "-wal")).unwrap() == self.log, "the log is not what it was");
        for left in [".damaged", ".salvage", ".salvage-wal"] {
            assert!(!beside(file, left).exists(), "{left} is left");
        }
    }
}

/// The one file that was set aside.
fn set_aside(file: &Path) -> PathBuf {
    let names = std::fs::read_dir(file.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
    let is_aside = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with("plant.db.damaged-") && !name.ends_with("-wal") && !name.ends_with("-shm")
    };
    let aside: Vec<PathBuf> = names.filter(is_aside).collect();
    assert_eq!(aside.len(), 1, "{aside:?}");
    aside.into_iter().next().unwrap()
}

fn start(receiver: &Receiver, file: &Path) -> DatabaseHandle {
    Database::builder("replacing")
        .http(receiver.url())
        .spool(file)
        .configure(|config| {
            config.batch.points_max = 20.try_into().unwrap();
            config.spool.as_mut().unwrap().free_reserve_bytes = 0;
        })
        .start()
        .unwrap()
}

async fn push(db: &DatabaseHandle, numbers: std::ops::Range<u64>) {
    for number in numbers {
        db.push(Point::new("m").field("n", number as i64).timestamp_units(number as i64 + 1)).unwrap();
    }
    db.commit(LONG).await.unwrap();
}

fn beside(file: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", file.display()))
}

fn run<T>(test: impl Future<Output = T>) -> T {
    actix_rt::System::new().block_on(test)
}
