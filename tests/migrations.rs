//! Files of every version there was open, and what lies in them is sent.
#![allow(clippy::unwrap_used, clippy::panic, reason = "the lints do not see that helpers of tests are tests")]

mod support;

use std::path::Path;
use std::time::Duration;

use influx_spool::{
    Database, Fate, Point, QuarantineReason, SpoolErrorKind, Standing, inspect, salvage, verify,
};
use support::receiver::{Manner, Receiver};

const LONG: Duration = Duration::from_secs(30);

/// Points in a fixture that wait to be sent; one more lies in quarantine, and ten were delivered.
const WAITING: u64 = 20;
const DELIVERED: u64 = 10;

#[test]
fn a_spool_of_every_version_opens_and_drains() {
    for version in versions() {
        let path = fixture_path(version);
        let fixture = std::fs::read(&path).unwrap_or_else(|error| {
            panic!("{path}: {error}; `write_the_fixture_of_this_version` writes it before the schema changes")
        });
        assert_eq!(version_in(&support::receiver::gunzip(&fixture)), version);
        check_drains(&fixture);
    }
}

#[test]
fn a_file_of_a_newer_version_is_refused_and_not_touched() {
    let newest = *versions().last().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("new.db");
    std::fs::write(&file, support::receiver::gunzip(&fixture(newest))).unwrap();
    let conn = rusqlite::Connection::open(&file).unwrap();
    conn.execute_batch("CREATE TABLE what_comes_next (a)").unwrap();
    conn.pragma_update(None, "user_version", newest + 1).unwrap();
    drop(conn);
    let bytes = std::fs::read(&file).unwrap();
    assert_eq!(version_in(&bytes), newest + 1);
    let beside = |suffix: &str| folder.path().join(format!("new.db{suffix}"));
    // A log that its owner left: of frames that say nothing, so that nothing of it counts.
    std::fs::write(beside("-wal"), vec![7; 40_000]).unwrap();
    std::fs::write(beside(".lock"), "4711\n").unwrap();
    let receiver = Receiver::start();
    run(async {
        let error = Database::builder("newer").http(receiver.url()).spool(&file).start().unwrap_err();
        let told = format!("(schema {}, this one knows {newest})", newest + 1);
        assert!(error.to_string().contains(&told), "{error}");
    });
    let newer = SpoolErrorKind::NewerSchema { found: newest + 1, known: newest };
    assert_eq!(inspect(&file).unwrap_err().kind(), newer);
    assert_eq!(verify(&file).unwrap_err().kind(), newer);
    assert_eq!(salvage(&file).unwrap_err().kind(), newer);
    assert!(std::fs::read(&file).unwrap() == bytes);
    assert_eq!(std::fs::read(beside("-wal")).unwrap(), vec![7; 40_000]);
    let mut names: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.retain(|name| !name.to_string_lossy().ends_with("-shm"));
    names.sort();
    assert_eq!(names, ["new.db", "new.db-wal", "new.db.lock"]);
}

/// The versions that there are files of: one a migration.
fn versions() -> Vec<u32> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations");
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let number = |name: std::ffi::OsString| name.to_str()?.split('_').next()?.parse().ok();
    let mut versions: Vec<u32> = names.filter_map(number).collect();
    versions.sort_unstable();
    assert!(versions.iter().copied().eq(1..=versions.len() as u32), "{versions:?}");
    versions
}

/// SQLite keeps `user_version` here.
const VERSION_AT: usize = 60;

fn version_in(plain: &[u8]) -> u32 {
    u32::from_be_bytes(plain[VERSION_AT..VERSION_AT + 4].try_into().unwrap())
}

/// Writes the fixture of the present version: once, when the schema changes, before it changes. Run by its name with
/// `--ignored`.
#[test]
#[ignore = "writes tests/fixtures"]
fn write_the_fixture_of_this_version() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fixture.db");
    write(&file);
    let plain = std::fs::read(&file).unwrap();
    let mut compressor = libdeflater::Compressor::new(libdeflater::CompressionLvl::best());
    let mut packed = vec![0; compressor.gzip_compress_bound(plain.len())];
    let length = compressor.gzip_compress(&plain, &mut packed).unwrap();
    std::fs::write(fixture_path(version_in(&plain)), &packed[..length]).unwrap();
}

fn write(file: &Path) {
    run(async {
        let receiver = Receiver::start();
        receiver.set_manner(Manner::RefuseLinesWith("poison".into()));
        let db = Database::builder("fixture").http(receiver.url()).spool(file).start().unwrap();
        let push = |name: &'static str, n: i64| {
            db.push(Point::new(name).tag("site", "north").field("n", n)).unwrap()
        };
        for n in 0..DELIVERED {
            push("sent", n as i64);
        }
        assert!(db.flush(LONG).await.unwrap().complete);
        let refused = db.delivered(push("poison", 0)).await.unwrap();
        assert!(matches!(refused, Standing::Settled(Fate::Quarantined(_))), "{refused:?}");
        receiver.go_down();
        for n in 0..WAITING {
            push("waiting", n as i64);
            if n == WAITING / 2 {
                db.commit(LONG).await.unwrap();
            }
        }
        assert!(db.stop(Duration::from_secs(1)).await.unwrap().closed);
    });
}

fn check_drains(packed: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("old.db");
    std::fs::write(&file, support::receiver::gunzip(packed)).unwrap();
    run(async {
        let receiver = Receiver::start();
        let db = Database::builder("fixture").http(receiver.url()).spool(&file).start().unwrap();
        assert_eq!(db.stats().pending.points, WAITING);
        assert!(db.flush(LONG).await.unwrap().complete);
        let ledger = db.stop(LONG).await.unwrap().stats.ledger;
        assert_eq!(ledger.accepted().points, DELIVERED + 1 + WAITING);
        assert_eq!(ledger.of(Fate::Delivered).points, DELIVERED + WAITING);
        // What the server said has had different names.
        let kept = QuarantineReason::ALL.map(|reason| ledger.of(Fate::Quarantined(reason)).points);
        assert_eq!(kept.iter().sum::<u64>(), 1);
        let expected = (0..WAITING).map(|n| format!("waiting,site=north n={n}i "));
        let lines = receiver.lines();
        assert!(expected.zip(&lines).all(|(head, line)| line.starts_with(&head)), "{lines:?}");
        assert_eq!(lines.len() as u64, WAITING);
        assert_eq!(inspect(&file).unwrap().quarantined.len(), 1);
    });
}

fn fixture(version: u32) -> Vec<u8> {
    std::fs::read(fixture_path(version)).unwrap()
}

fn fixture_path(version: u32) -> String {
    format!("{}/tests/fixtures/version-{version}.db.gz", env!("CARGO_MANIFEST_DIR"))
}

fn run<T>(test: impl Future<Output = T>) -> T {
    actix_rt::System::new().block_on(test)
}
