//! Disks that run full, fail, hang, become read-only, or lose the file: the database goes on by itself when that is over.
//!
//! The short versions take samples; with `RUN_SLOW_TESTS` errors come at every call there is, and rates are measured for
//! longer.
#![allow(clippy::unwrap_used, clippy::panic, reason = "the lints do not see that helpers of tests are tests")]

#[path = "disk/descriptors.rs"]
mod descriptors;
#[path = "disk/errors.rs"]
mod errors;
#[path = "disk/full.rs"]
mod full;
#[path = "disk/hanging.rs"]
mod hanging;
#[path = "disk/owners.rs"]
mod owners;
#[path = "disk/pace.rs"]
mod pace;
#[path = "disk/read_only.rs"]
mod read_only;
mod support;

use std::collections::HashSet;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use faulty_vfs::{Call, Disk, Verdict};
use influx_spool::{
    Database, DatabaseBuilder, DatabaseHandle, Event, Fate, Health, Point, ShedReason, SpoolHealth, Standing,
    Told,
};
use pace::{Pace, Ward, cycles};
use support::receiver::Receiver;
use support::small_disk::SmallDisk;

/// Bytes of the string in a point, of random letters: what does not compress fills a disk quickly.
const TEXT_BYTES: usize = 1_000;

/// A push that takes longer has waited for something. It takes microseconds; the rest is for a busy machine.
const PUSH_MAX: Duration = Duration::from_secs(2);

/// The log is copied into the database from 64 MiB on at the latest; beside that there is room for one transaction of 16 batches of
/// 2 MiB.
const LOG_BYTES_MAX: u64 = 96 << 20;

/// Free pages that a file keeps for the next batches, and some.
const FILE_BYTES_KEPT: u64 = 21 << 20;

const LONG: Duration = Duration::from_secs(60);

#[test]
fn a_spool_that_fills_the_disk_sheds_the_oldest_and_recovers_by_itself() {
    let Some(disk) = SmallDisk::mount() else { return };
    run(async {
        let receiver = Receiver::start_down();
        let db = builder(&disk, &receiver).configure(|config| {
            config.queue.bytes_max = (4 << 20).try_into().unwrap();
            // Three quarters of the disk may be used.
            config.spool.as_mut().unwrap().free_reserve_bytes = 4 << 20;
        });
        let db = db.start().unwrap();
        let mut events = db.subscribe();
        push_numbers(&db, 0..20_000);
        wait_for(&mut events, &SpoolHealth::DiskFull).await;
        push_numbers(&db, 20_000..30_000);
        let health = db.health();
        assert_eq!((health.ok, &health.spool), (false, &SpoolHealth::DiskFull));
        let stats = db.stats();
        assert!(stats.pending.spooled.bytes > 4 << 20, "{stats:?}");
        assert!(stats.ledger.of(Fate::Shed(ShedReason::QueueFull)).points > 0, "{stats:?}");

        receiver.come_up();
        assert!(db.flush(LONG).await.unwrap().complete, "{:?}", db.health());
        // While it drains there may be room for a moment and none again.
        while db.health().spool != SpoolHealth::Ok {
            wait_for(&mut events, &SpoolHealth::Ok).await;
        }
        push_numbers(&db, 30_000..30_100);
        let stats = db.stop(LONG).await.unwrap().stats;
        let shed = stats.ledger.of(Fate::Shed(ShedReason::QueueFull)).points;
        assert_eq!(stats.ledger.accepted().points, 30_100);
        check_arrived_once(&receiver, 30_100 - shed);
        assert_eq!(stats.ledger.of(Fate::Delivered).points, 30_100 - shed);
    });
}

#[test]
fn a_full_disk_is_nobody_elses_trouble() {
    let is_full = |health: &Health| health.spool == SpoolHealth::DiskFull;
    run(async {
        let mut pace = Pace::start();
        for _ in 0..cycles() {
            let Some(disk) = SmallDisk::mount() else { return };
            let mut ward = Ward::open(disk.folder());
            pace.measure_alone().await;
            let ballast = disk.fill_but(0);
            ward.fall_sick(is_full).await;
            ward.measure(&mut pace, Duration::ZERO, is_full).await;
            ballast.set_len(0).unwrap();
            ward.close().await;
            pace.compare().await;
        }
        pace.end("a full disk").await;
    });
}

#[test]
fn the_log_stays_small_in_an_outage_and_the_file_gives_its_space_back_after_it() {
    run(async {
        let receiver = Receiver::start_down();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("disk.db");
        let disk = Disk::watch(folder.path()).unwrap();
        let size_of = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        let db = Database::builder("log").http(receiver.url()).spool(&file).gzip(false).start().unwrap();
        let mut log_max = 0;
        for number in 0..100_000 {
            db.push_wait(Point::new("log").field("n", number).field("text", "x".repeat(TEXT_BYTES)))
                .await
                .unwrap();
            if number % 100 == 0 {
                log_max = log_max.max(size_of(&folder.path().join("disk.db-wal")));
            }
        }
        db.commit(LONG).await.unwrap();
        // What is in the log is not all in the file yet.
        let full = size_of(&file) + size_of(&folder.path().join("disk.db-wal"));
        assert!(full > 80 << 20, "{full}");
        assert!(log_max <= LOG_BYTES_MAX, "{log_max}");

        let (cut_off, mut given_back) = tokio::sync::watch::channel(false);
        disk.judge(move |asked| {
            if let Call::Truncate { len } = asked.call
                && asked.file == "disk.db"
            {
                cut_off.send_replace(len <= FILE_BYTES_KEPT);
            }
            Verdict::Pass
        });
        receiver.come_up();
        db.reconfigure(db.config()).await.unwrap();
        assert!(db.flush(LONG).await.unwrap().complete);
        let waited = tokio::time::timeout(LONG, given_back.wait_for(|given_back| *given_back)).await.is_ok();
        assert!(waited, "{} bytes", size_of(&file));
        assert!(db.stop(LONG).await.unwrap().closed);
        assert!(size_of(&file) <= FILE_BYTES_KEPT, "{} bytes", size_of(&file));
        println!("log {log_max} bytes at most, file and log {full} bytes, then {}", size_of(&file));
    });
}

#[test]
fn a_file_damaged_while_it_is_in_use_is_replaced_and_every_point_is_accounted_for() {
    run(async {
        let receiver = Receiver::start_down();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("damaged.db");
        let start = || {
            let db = Database::builder("damaged").http(receiver.url()).spool(&file).gzip(false);
            db.configure(|config| config.batch.points_max = 100.try_into().unwrap()).start().unwrap()
        };
        let db = start();
        push_numbers(&db, 0..20_000);
        db.stop(LONG / 20).await.unwrap();
        let db = start();
        // The first batches are in memory by then, the others are not.
        let seen = db.push(Point::new("disk").field("n", 20_000)).unwrap();
        db.persisted(seen).await.unwrap();
        let mut damaged = File::options().write(true).open(&file).unwrap();
        damaged.seek(SeekFrom::Start(8 << 20)).unwrap();
        damaged.write_all(&vec![0xa5; 2 << 20]).unwrap();

        receiver.come_up();
        db.reconfigure(db.config()).await.unwrap();
        assert!(db.flush(LONG).await.unwrap().complete, "{:?}", db.health());
        let stats = db.stop(LONG).await.unwrap().stats;
        let (delivered, damaged) =
            (stats.ledger.of(Fate::Delivered).points, stats.ledger.of(Fate::Damaged).points);
        let is_aside = |name: &str| name.starts_with("damaged.db.damaged-");
        let mut names = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(names.any(|name| is_aside(&name.to_string_lossy())), "nothing is deleted");
        assert!((500..5_000).contains(&damaged), "{stats:?}");
        assert_eq!(stats.ledger.accepted().points, 20_001);
        assert_eq!(delivered + damaged, 20_001);
        check_arrived_once(&receiver, delivered);
        assert!(start().stats().ledger == stats.ledger, "the file says the same");
    });
}

#[test]
fn old_batches_expire_from_an_idle_spool() {
    if std::env::var_os("RUN_SLOW_TESTS").is_none() {
        println!("skipped: the spool is looked after once a minute; set RUN_SLOW_TESTS");
        return;
    }
    run(async {
        let receiver = Receiver::start_down();
        let folder = tempfile::tempdir().unwrap();
        let db = Database::builder("expiry").http(receiver.url()).spool(folder.path().join("expiry.db"));
        let db = db
            .configure(|config| config.spool.as_mut().unwrap().age_max = Some(Duration::from_secs(5)))
            .start()
            .unwrap();
        let seq = db.push(Point::new("old").field("n", 1)).unwrap();
        db.commit(LONG).await.unwrap();
        let commits = db.stats().commits_total;
        let expired = tokio::time::timeout(LONG * 2, db.delivered(seq)).await.expect("within two minutes");
        assert_eq!(expired, Ok(Standing::Settled(Fate::Expired)));
        let stats = db.stats();
        assert_eq!((stats.ledger.of(Fate::Expired).points, stats.pending.points), (1, 0));
        // One for the note of the attempts at most, one for the expiry.
        assert!(stats.commits_total <= commits + 2, "{} transactions", stats.commits_total - commits);
        db.stop(LONG).await.unwrap();
    });
}

fn run<T>(test: impl Future<Output = T>) -> T {
    actix_rt::System::new().block_on(test)
}

fn builder(disk: &SmallDisk, receiver: &Receiver) -> DatabaseBuilder {
    Database::builder("disk")
        .http(receiver.url())
        .spool(disk.folder().join("disk.db"))
        .gzip(false)
        .configure(|config| config.http.backoff_max = Duration::from_secs(1))
}

fn push_numbers(db: &DatabaseHandle, numbers: std::ops::Range<i64>) {
    let mut random = fastrand::Rng::with_seed(7);
    for number in numbers {
        let text: String = (0..TEXT_BYTES).map(|_| random.alphanumeric()).collect();
        let point = Point::new("disk").field("n", number).field("text", text);
        let begin = Instant::now();
        db.push(point).unwrap();
        let took = begin.elapsed();
        assert!(took < PUSH_MAX, "a push took {took:?}");
    }
}

/// Waits until the spool is said to be in this state.
async fn wait_for(events: &mut influx_spool::Events, state: &SpoolHealth) {
    let heard = async {
        loop {
            match events.next().await {
                Some(Told::Event(Event::Spool(health))) if health == *state => return,
                Some(_) => {}
                None => panic!("the database has gone"),
            }
        }
    };
    tokio::time::timeout(LONG, heard).await.unwrap_or_else(|_| panic!("not told of {state:?}"));
}

fn check_arrived_once(receiver: &Receiver, points: u64) {
    let lines = receiver.lines();
    let distinct: HashSet<&String> = lines.iter().collect();
    assert_eq!((lines.len() as u64, distinct.len() as u64), (points, points));
}

fn is_slow() -> bool {
    std::env::var_os("RUN_SLOW_TESTS").is_some()
}
