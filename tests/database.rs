//! A database from outside: what an application sees of it.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use influx_spool::{Database, DatabaseHandle, Fate, Point, Standing};
use support::ledger::check_ledger;
use support::receiver::{Manner, Receiver};

const LONG: Duration = Duration::from_secs(20);

fn run<T>(test: impl Future<Output = T>) -> T {
    actix_rt::System::new().block_on(test)
}

fn push_numbers(db: &DatabaseHandle, numbers: std::ops::Range<i64>) {
    for n in numbers {
        db.push(Point::new("m").tag("t", "a").field("n", n)).unwrap();
    }
}

fn numbers(receiver: &Receiver) -> Vec<i64> {
    let number = |line: String| line.split("n=").nth(1).unwrap().split('i').next().unwrap().parse().unwrap();
    receiver.lines().into_iter().map(number).collect()
}

#[test]
fn points_arrive_in_order_and_the_ledger_adds_up() {
    run(async {
        let receiver = Receiver::start();
        let dir = tempfile::tempdir().unwrap();
        let db =
            Database::builder("arrive").http(receiver.url()).spool(dir.path().join("s.db")).start().unwrap();
        push_numbers(&db, 0..20_000);
        assert!(db.flush(LONG).await.unwrap().complete);
        assert_eq!(numbers(&receiver), (0..20_000).collect::<Vec<_>>());
        let report = db.stop(LONG).await.unwrap();
        assert!(report.drained && report.closed);
        check_ledger(&report.stats, 20_000, &receiver);
        assert_eq!(report.stats.ledger.of(Fate::Delivered).points, 20_000);
        assert_eq!(report.stats.rows_stored_total, 0, "a healthy link never touches the disk");
    });
}

#[test]
fn an_outage_is_spooled_and_survives_a_restart() {
    run(async {
        let receiver = Receiver::start_down();
        let dir = tempfile::tempdir().unwrap();
        let start = |window| {
            Database::builder("outage")
                .http(receiver.url())
                .spool(dir.path().join("s.db"))
                .loss_window(window)
                .start()
                .unwrap()
        };
        let db = start(Duration::ZERO);
        push_numbers(&db, 0..12_345);
        db.commit(LONG).await.unwrap();
        assert_eq!(db.stats().pending.spooled.points, 12_345);
        let report = db.stop(Duration::from_secs(1)).await.unwrap();
        assert!(!report.drained && report.closed);
        check_ledger(&report.stats, 12_345, &receiver);

        let db = start(Duration::from_secs(1));
        assert_eq!(db.stats().pending.points, 12_345);
        push_numbers(&db, 12_345..13_000);
        receiver.come_up();
        assert!(db.flush(LONG).await.unwrap().complete);
        assert_eq!(numbers(&receiver), (0..13_000).collect::<Vec<_>>());
        let stats = db.stop(LONG).await.unwrap().stats;
        check_ledger(&stats, 13_000, &receiver);
        assert_eq!(stats.ledger.of(Fate::Delivered).points, 13_000);
    });
}

#[test]
fn a_refused_batch_is_set_aside_and_does_not_block_the_next() {
    run(async {
        let receiver = Receiver::start();
        receiver.set_manner(Manner::RefuseLinesWith("poison".into()));
        let dir = tempfile::tempdir().unwrap();
        let db =
            Database::builder("refused").http(receiver.url()).spool(dir.path().join("s.db")).start().unwrap();
        let poison = db.push(Point::new("poison").field("n", 0)).unwrap();
        assert!(matches!(db.delivered(poison).await, Ok(Standing::Settled(Fate::Quarantined(_)))));
        let good = db.push(Point::new("good").field("n", 1)).unwrap();
        assert_eq!(db.delivered(good).await, Ok(Standing::Settled(Fate::Delivered)));
        check_ledger(&db.stop(LONG).await.unwrap().stats, 2, &receiver);
    });
}
