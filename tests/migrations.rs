//! Files of every version there was open, and what lies in them is sent.
#![allow(clippy::unwrap_used, reason = "the lints do not see that helpers of tests are tests")]

mod support;

use std::path::Path;
use std::time::Duration;

use influx_spool::{Database, Fate, Point, QuarantineReason, Standing, inspect};
use support::receiver::{Manner, Receiver};

const LONG: Duration = Duration::from_secs(30);

/// Points in a fixture that wait to be sent; one more lies in quarantine, and ten were delivered.
const WAITING: u64 = 20;
const DELIVERED: u64 = 10;

#[test]
fn a_spool_of_version_1_opens_and_drains() {
    check_drains(&fixture(1));
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
    // SQLite keeps `user_version` here.
    let version = u32::from_be_bytes(plain[60..64].try_into().unwrap());
    std::fs::write(fixture_path(version), &packed[..length]).unwrap();
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
        assert_eq!(refused, Standing::Settled(Fate::Quarantined(QuarantineReason::Refused)));
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
        assert_eq!(ledger.of(Fate::Quarantined(QuarantineReason::Refused)).points, 1);
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
