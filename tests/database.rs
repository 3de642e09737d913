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
        assert!(numbers(&receiver).into_iter().eq(0..20_000));
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
        assert!(numbers(&receiver).into_iter().eq(0..13_000));
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

#[test]
fn a_stop_without_any_time_loses_nothing() {
    run(async {
        let receiver = Receiver::start();
        receiver.set_manner(Manner::Silence);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.db");
        let db = Database::builder("no-time").http(receiver.url()).spool(&path).start().unwrap();
        push_numbers(&db, 0..30_000);
        let _ = db.stop(Duration::ZERO).await.unwrap();
        assert!(db.push(Point::new("m").field("n", 1)).is_err());

        receiver.set_manner(Manner::Accept);
        // The closing goes on behind a stop that had no time for it, and holds the lock until it is done.
        let db = loop {
            match Database::builder("no-time").http(receiver.url()).spool(&path).start() {
                Ok(db) => break db,
                Err(error) => assert!(
                    error.to_string().contains("locked") || error.to_string().contains("use"),
                    "{error}"
                ),
            }
            tokio::task::yield_now().await;
        };
        assert!(db.flush(LONG).await.unwrap().complete);
        // The request that was cut off was answered after all, so its points may have come twice.
        let arrived: std::collections::BTreeSet<i64> = numbers(&receiver).into_iter().collect();
        assert!(arrived.into_iter().eq(0..30_000));
        db.stop(LONG).await.unwrap();
    });
}

#[test]
fn a_stop_returns_in_time_while_the_server_is_silent() {
    run(async {
        let receiver = Receiver::start();
        receiver.set_manner(Manner::Silence);
        let dir = tempfile::tempdir().unwrap();
        let db =
            Database::builder("silent").http(receiver.url()).spool(dir.path().join("s.db")).start().unwrap();
        push_numbers(&db, 0..30_000);
        let started = std::time::Instant::now();
        let report = db.stop(Duration::from_secs(2)).await.unwrap();
        assert!(started.elapsed() < Duration::from_millis(2_100), "{:?}", started.elapsed());
        assert!(report.closed && !report.drained);
        assert_eq!(report.stats.pending.points, 30_000);
    });
}

#[test]
fn a_database_whose_arbiter_has_ended_still_keeps_what_it_was_given() {
    run(async {
        let receiver = Receiver::start_down();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.db");
        let arbiter = actix_rt::Arbiter::new();
        let builder = Database::builder("orphan").http(receiver.url()).spool(&path).arbiter(arbiter.handle());
        let db = builder.start().unwrap();
        push_numbers(&db, 0..1_000);
        arbiter.stop();
        arbiter.join().unwrap();
        push_numbers(&db, 1_000..30_000);
        assert!(db.health().degraded);
        let moment = Duration::from_millis(100);
        assert_eq!(db.commit(moment).await, Err(influx_spool::CallError::Degraded));
        assert!(!db.flush(moment).await.unwrap().complete);
        let report = db.stop(Duration::from_secs(5)).await.unwrap();
        assert!(report.closed);

        receiver.come_up();
        let db = Database::builder("orphan").http(receiver.url()).spool(&path).start().unwrap();
        assert!(db.flush(LONG).await.unwrap().complete);
        assert!(numbers(&receiver).into_iter().eq(0..30_000));
        db.stop(LONG).await.unwrap();
    });
}

#[test]
fn waiting_for_room_for_a_long_line_leaves_the_thread_to_others() {
    run(async {
        let receiver = Receiver::start();
        receiver.set_manner(Manner::Silence);
        let builder = Database::builder("long-line").http(receiver.url()).configure(|config| {
            config.queue.bytes_max = 4_096.try_into().unwrap();
            config.batch.bytes_max = 4_096.try_into().unwrap();
        });
        // On this very thread: if the wait span, nothing would ever make room.
        let db = builder.arbiter(actix_rt::Arbiter::current()).start().unwrap();
        let long = || Point::new("m").field("text", "x".repeat(3_000));
        db.push_wait(long()).await.unwrap();
        let waited = tokio::time::timeout(Duration::from_millis(50), db.push_wait(long())).await;
        assert!(waited.is_err(), "there is room for a byte, and for no line");
        receiver.set_manner(Manner::Accept);
        db.push_wait(long()).await.unwrap();
        assert!(db.flush(LONG).await.unwrap().complete);
        assert_eq!(db.stats().ledger.of(Fate::Delivered).points, 2);
        assert_eq!(receiver.lines().len(), 2);
        db.stop(LONG).await.unwrap();
    });
}

#[test]
fn a_stop_stores_what_is_in_memory_though_the_spool_is_full_and_refuses() {
    run(async {
        let receiver = Receiver::start_down();
        let dir = tempfile::tempdir().unwrap();
        let start = || {
            let builder = Database::builder("full").http(receiver.url()).spool(dir.path().join("s.db"));
            let builder = builder.gzip(false).configure(|config| {
                let spool = config.spool.as_mut().unwrap();
                spool.bytes_max = 1 << 20;
                spool.when_full = influx_spool::SpoolFull::Refuse;
            });
            builder.start().unwrap()
        };
        let db = start();
        push_numbers(&db, 0..60_000);
        let report = db.stop(Duration::from_secs(3)).await.unwrap();
        assert!(report.closed, "{report:?}");
        assert_eq!(report.unsaved, 0);

        let db = start();
        assert_eq!(db.stats().pending.spooled.points, 60_000);
        receiver.come_up();
        assert!(db.flush(LONG).await.unwrap().complete);
        assert!(numbers(&receiver).into_iter().eq(0..60_000));
        db.stop(LONG).await.unwrap();
    });
}

#[test]
fn a_loss_window_without_end_is_one_that_is_never_over() {
    run(async {
        let receiver = Receiver::start_down();
        let db =
            Database::builder("forever").http(receiver.url()).loss_window(Duration::MAX).start().unwrap();
        push_numbers(&db, 0..1);
        assert!(!db.flush(Duration::from_millis(50)).await.unwrap().complete);
        assert_eq!(db.health().volatile, None);
        receiver.come_up();
        assert!(db.flush(LONG).await.unwrap().complete);
        assert!(db.stop(LONG).await.unwrap().drained);
    });
}

#[test]
fn what_is_not_a_file_is_no_spool_and_nothing_is_put_beside_it() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("folder");
        std::fs::create_dir(&folder).unwrap();
        let error = Database::builder("folder").spool(&folder).start().unwrap_err();
        assert!(error.to_string().ends_with("not a spool file"), "{error}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    });
}

#[test]
fn many_small_batches_are_closed_in_few_transactions() {
    run(async {
        let receiver = Receiver::start();
        receiver.set_manner(Manner::Silence);
        let dir = tempfile::tempdir().unwrap();
        let builder = Database::builder("small").http(receiver.url()).spool(dir.path().join("s.db"));
        let db =
            builder.configure(|config| config.batch.points_max = 50.try_into().unwrap()).start().unwrap();
        push_numbers(&db, 0..20_000);
        let report = db.stop(Duration::ZERO).await.unwrap();
        let commits = report.stats.commits_total;
        assert!(commits < 200, "{commits} transactions for 400 batches");
    });
}
