//! A disk that hangs: whoever writes to it waits, and nobody else does.

use std::time::Duration;

use faulty_vfs::{Call, Disk, Verdict};
use influx_spool::{Database, DatabaseHandle, Health, Point, SpoolHealth};

use super::pace::{Pace, Ward, cycles};
use super::support::gate::Gate;
use super::support::ledger::{check_arrived, check_ledger, numbers};
use super::support::receiver::Receiver;
use super::{LONG, run};

/// From then on a transaction is called stalled.
const STALLED_AFTER: Duration = Duration::from_secs(5);

#[test]
fn a_disk_that_hangs_is_nobody_elses_trouble() {
    let is_stalled = |health: &Health| {
        let is_late = health.volatile.is_some_and(|age| age > STALLED_AFTER);
        is_late && matches!(health.spool, SpoolHealth::Stalled(_))
    };
    run(async {
        let mut pace = Pace::start();
        for _ in 0..cycles() {
            let folder = tempfile::tempdir().unwrap();
            let disk = Disk::watch(folder.path()).unwrap();
            let gate = Gate::default();
            let hanging = gate.clone();
            disk.judge(move |asked| {
                if matches!(asked.call, Call::Sync) {
                    hanging.pass();
                }
                Verdict::Pass
            });
            let mut ward = Ward::open(folder.path());
            pace.measure_alone().await;
            gate.close();
            ward.fall_sick(|_| gate.is_anybody_hanging()).await;
            ward.measure(&mut pace, STALLED_AFTER + Duration::from_secs(1), is_stalled).await;
            gate.open();
            ward.close().await;
            pace.compare().await;
        }
        pace.end("a disk that hangs").await;
    });
}

#[test]
fn a_batch_that_was_delivered_while_the_disk_hangs_is_not_sent_again() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::watch(folder.path()).unwrap();
    let gate = Gate::default();
    let hanging = gate.clone();
    disk.judge(move |asked| {
        if matches!(asked.call, Call::Sync) {
            hanging.pass();
        }
        Verdict::Pass
    });
    run(async {
        let receiver = Receiver::start_down();
        let db = Database::builder("hanging")
            .http(receiver.url())
            .spool(folder.path().join("hanging.db"))
            .start()
            .unwrap();
        push(&db, 0..1_000);
        db.commit(LONG).await.unwrap();
        gate.close();
        push(&db, 1_000..2_000);
        assert!(gate.wait_until_hanging(LONG));
        receiver.come_up();
        db.reconfigure(db.config()).await.unwrap();
        let flushed = db.flush(LONG).await.unwrap();
        assert!(flushed.complete, "what is in memory arrives, stored or not: {:?}", db.health());
        gate.open();
        let report = db.stop(LONG).await.unwrap();
        assert!(report.closed, "{report:?}");
        check_ledger(&report.stats, 2_000, &receiver);
        assert_eq!(numbers(&receiver).len(), 2_000, "none twice");
        check_arrived(&receiver, 0..2_000);
    });
}

fn push(db: &DatabaseHandle, numbers: std::ops::Range<i64>) {
    for n in numbers {
        db.push(Point::new("m").field("n", n)).unwrap();
    }
}
