//! A file system that becomes read-only, because somebody remounts it or because the disk fails.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use faulty_vfs::{Call, Disk, Verdict};
use futures_util::FutureExt;
use influx_spool::{Database, DatabaseHandle, Events, Health, Point, Seq, SpoolHealth, StartError};

use super::pace::{Pace, Ward, cycles};
use super::support::ledger::{check_arrived, check_ledger, numbers};
use super::support::receiver::Receiver;
use super::support::small_disk::SmallDisk;
use super::{LONG, run};

const POINTS: u64 = 1_000;

/// Between two attempts at something the system refuses while a file is open, as it is for an instant each time the
/// spool is tried again. Nobody tells when it is not.
const PAUSE: Duration = Duration::from_millis(5);

#[test]
fn a_file_system_remounted_read_only_is_waited_for() {
    let Some(small) = SmallDisk::mount() else { return };
    let disk = Disk::watch(small.folder()).unwrap();
    run(async {
        let receiver = Receiver::start_down();
        let db = start(&small.folder().join("read_only.db"), &receiver).unwrap();
        push(&db, 0..POINTS);
        db.commit(LONG).await.unwrap();
        // No file system that is written to can be made read-only, so the files are closed by a failure first.
        disk.judge(|asked| if asked.call == Call::Sync { Verdict::IoError } else { Verdict::Pass });
        let last = push(&db, POINTS..2 * POINTS);
        let mut events = db.subscribe();
        wait_for_words(&db, &mut events, "disk I/O error").await;
        until(|| small.set_read_only(true));
        disk.relent();
        wait_for_words(&db, &mut events, "Read-only file system").await;
        match start(&small.folder().join("another.db"), &receiver) {
            Err(StartError::Spool(error)) => assert!(error.is_retryable(), "{error}"),
            other => panic!("{other:?}"),
        }
        let mut persisted = Box::pin(db.persisted(last));
        assert_eq!(persisted.as_mut().now_or_never(), None);
        assert!(small.set_read_only(false));
        tokio::time::timeout(LONG, persisted).await.unwrap().unwrap();
        check_end(&db, &receiver).await;
    });
}

#[test]
fn a_file_system_that_its_own_errors_made_read_only_is_waited_for_until_it_is_repaired_and_mounted() {
    let Some(mut disk) = Ext4::mount() else { return };
    run(async {
        let receiver = Receiver::start_down();
        let db = start(&disk.folder().join("read_only.db"), &receiver).unwrap();
        push(&db, 0..POINTS);
        db.commit(LONG).await.unwrap();
        disk.fail();
        let last = push(&db, POINTS..2 * POINTS);
        let mut events = db.subscribe();
        wait_for_words(&db, &mut events, "Read-only file system").await;
        let mut persisted = Box::pin(db.persisted(last));
        assert_eq!(persisted.as_mut().now_or_never(), None);

        until(|| disk.unmount());
        wait_for_words(&db, &mut events, "not mounted").await;
        assert_eq!(std::fs::read_dir(disk.folder()).unwrap().count(), 0, "nothing is begun below it");
        disk.repair();
        disk.mount_again();
        tokio::time::timeout(LONG, persisted).await.unwrap().unwrap();
        check_end(&db, &receiver).await;
    });
}

#[test]
fn a_read_only_file_system_is_nobody_elses_trouble() {
    let is_read_only = |health: &Health| says(health, "Read-only file system");
    run(async {
        let mut pace = Pace::start();
        for _ in 0..cycles() {
            let Some(small) = SmallDisk::mount() else { return };
            let disk = Disk::watch(small.folder()).unwrap();
            let mut ward = Ward::open(small.folder());
            pace.measure_alone().await;
            disk.judge(|asked| if asked.call == Call::Sync { Verdict::IoError } else { Verdict::Pass });
            ward.fall_sick(|health| says(health, "disk I/O error")).await;
            until(|| small.set_read_only(true));
            disk.relent();
            ward.wait_for(is_read_only).await;
            ward.measure(&mut pace, Duration::ZERO, is_read_only).await;
            assert!(small.set_read_only(false));
            ward.close().await;
            pace.compare().await;
        }
        pace.end("a read-only file system").await;
    });
}

fn says(health: &Health, words: &str) -> bool {
    matches!(&health.spool, SpoolHealth::Failing(said) if said.contains(words))
}

/// Everything arrives, once, and the counters are right.
async fn check_end(db: &DatabaseHandle, receiver: &Receiver) {
    receiver.come_up();
    db.reconfigure(db.config()).await.unwrap();
    assert!(db.flush(LONG).await.unwrap().complete, "{:?}", db.health());
    assert!(db.health().ok, "{:?}", db.health());
    let report = db.stop(LONG).await.unwrap();
    assert!(report.closed, "{report:?}");
    check_ledger(&report.stats, 2 * POINTS, receiver);
    assert_eq!(numbers(receiver).len() as u64, 2 * POINTS, "none twice");
    check_arrived(receiver, 0..2 * POINTS);
}

fn start(file: &Path, receiver: &Receiver) -> Result<DatabaseHandle, StartError> {
    let db = Database::builder("read-only").http(receiver.url()).spool(file);
    db.configure(|config| config.spool.as_mut().unwrap().free_reserve_bytes = 0).start()
}

fn push(db: &DatabaseHandle, numbers: std::ops::Range<u64>) -> Seq {
    let points = numbers.map(|n| Point::new("m").field("n", n as i64));
    db.push_all(points).last.unwrap()
}

/// Waits until the spool is said to fail with these words.
async fn wait_for_words(db: &DatabaseHandle, events: &mut Events, words: &str) {
    let failing = async {
        while !says(&db.health(), words) {
            events.next().await;
        }
    };
    tokio::time::timeout(LONG, failing).await.unwrap_or_else(|_| panic!("{:?}, not {words}", db.health()));
}

fn until(mut done: impl FnMut() -> bool) {
    let end = Instant::now() + LONG;
    while !done() {
        assert!(Instant::now() < end);
        std::thread::sleep(PAUSE);
    }
}

/// An ext4 file system in a file, which takes the shape of a disk.
struct Ext4 {
    folder: tempfile::TempDir,
    image: tempfile::TempDir,
}

impl Ext4 {
    /// Mounts one, or prints `skipped: …`: that takes root, and loop devices.
    fn mount() -> Option<Self> {
        let disk = Self { folder: tempfile::tempdir().unwrap(), image: tempfile::tempdir().unwrap() };
        std::fs::File::create(disk.image()).unwrap().set_len(64 << 20).unwrap();
        let made = succeeds(Command::new("mkfs.ext4").arg("-q").arg(disk.image()));
        let mounted = made && disk.try_mount();
        if !mounted {
            println!("skipped: a loop device can be mounted by root only, and not everywhere");
        }
        mounted.then_some(disk)
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn image(&self) -> PathBuf {
        self.image.path().join("ext4")
    }

    fn try_mount(&self) -> bool {
        let mut mount = Command::new("mount");
        succeeds(mount.args(["-o", "loop,errors=remount-ro"]).arg(self.image()).arg(self.folder()))
    }

    /// The file system finds an error in itself: from now on it is read-only, open files and all.
    fn fail(&mut self) {
        let found = Command::new("findmnt").args(["-n", "-o", "SOURCE"]).arg(self.folder()).output().unwrap();
        let device = String::from_utf8(found.stdout).unwrap();
        let device = Path::new(device.trim()).file_name().unwrap().to_owned();
        let trigger = Path::new("/sys/fs/ext4").join(device).join("trigger_fs_error");
        std::fs::write(trigger, "for a test").unwrap();
    }

    fn unmount(&self) -> bool {
        succeeds(Command::new("umount").arg(self.folder()))
    }

    fn repair(&self) {
        // Exit code 1: errors were corrected.
        let repaired = Command::new("e2fsck").arg("-fy").arg(self.image()).output().unwrap();
        assert!(repaired.status.code() <= Some(1), "{repaired:?}");
    }

    fn mount_again(&self) {
        assert!(self.try_mount());
    }
}

impl Drop for Ext4 {
    fn drop(&mut self) {
        let _unmounted = Command::new("umount").arg("-l").arg(self.folder()).output();
    }
}

fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}
