//! Panics at every named place, under load: nothing is lost, everything goes on.

#![allow(clippy::unwrap_used)]

mod support;

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use fail::FailScenario;
use influx_spool::{
    Config, Database, DatabaseHandle, Event, Fate, Point, QuarantineReason, ShedReason, Standing, SyncMode,
    Told, WhenFull,
};
use support::ledger::{check_arrived, check_ledger};
use support::mine::Mine;
use support::receiver::{Manner, Receiver};

const LONG: Duration = Duration::from_secs(60);

/// How often each place is hit.
const TIMES: u64 = 10;

fn run<T>(test: impl Future<Output = T>) -> T {
    actix_rt::System::new().block_on(test)
}

/// Small batches, so that much happens, and pushes that wait for room.
fn start(receiver: &Receiver, file: &Path, loss_window: Duration) -> DatabaseHandle {
    let configure = |config: &mut Config| {
        config.queue.points_max = NonZeroUsize::new(2_000).unwrap();
        config.batch.points_max = NonZeroUsize::new(20).unwrap();
    };
    Database::builder("failpoints")
        .http(receiver.url())
        .spool(file)
        .sync(SyncMode::Normal)
        .loss_window(loss_window)
        .when_full(WhenFull::Refuse)
        .configure(configure)
        .start()
        .unwrap()
}

fn point(number: u64) -> Point {
    Point::new("m").field("n", number as i64)
}

/// Pushes numbers from another thread until it is told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    pushed: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Load {
    fn on(db: &DatabaseHandle, from: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let pushed = Arc::new(AtomicU64::new(from));
        let (db, told, count) = (db.clone(), Arc::clone(&stop), Arc::clone(&pushed));
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                let number = count.load(Ordering::Relaxed);
                if db.blocking_push(point(number)).is_err() {
                    return;
                }
                count.store(number + 1, Ordering::Release);
            }
        });
        Self { stop, pushed, thread }
    }

    /// How many numbers there are now.
    fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        self.pushed.load(Ordering::Acquire)
    }
}

/// Under load a place panics `TIMES` times, reached by way of a second one that panics, too, if there is one.
fn check_place(place: &str, every: u64, by_way_of: Option<(&str, u64)>, loss_window: Duration) {
    let _scenario = FailScenario::setup();
    // Half a minute in earnest, when deaths follow each other.
    fail::cfg("tree::delay_max", "return(100)").unwrap();
    run(async {
        let receiver = Receiver::start();
        let dir = tempfile::tempdir().unwrap();
        let db = start(&receiver, &dir.path().join("s.db"), loss_window);
        let address = db.address();
        let load = Load::on(&db, 0);
        let mine = Mine::lay(place, every, TIMES);
        let way = by_way_of.map(|(place, every)| Mine::lay(place, every, u64::MAX));
        // The wait is on another thread: this one may be the arbiter of the actors.
        let mine = tokio::task::spawn_blocking(move || {
            mine.wait_for(TIMES);
            mine
        });
        let mine = mine.await.unwrap();
        let deaths = mine.fired() + way.as_ref().map_or(0, Mine::fired);
        drop((mine, way));
        let pushed = load.end();
        assert!(db.flush(LONG).await.unwrap().complete, "{place}");
        check_arrived(&receiver, 0..pushed);
        let stats = address.send(influx_spool::GetStats).await.unwrap().unwrap();
        check_ledger(&stats, pushed, &receiver);
        assert_eq!(stats.ledger.of(Fate::Delivered).points, pushed, "{place}");
        let restarts = stats.restarts_total;
        assert!((1..=deaths + 1).contains(&restarts), "{place}: {deaths} deaths, {restarts} restarts");
        if by_way_of.is_none() {
            assert_eq!(restarts, deaths, "{place}: each death is followed by one restart");
        }
        let report = db.stop(LONG).await.unwrap();
        assert!(report.drained && report.closed, "{place}");

        // And all of it is on disk.
        let db = start(&receiver, &dir.path().join("s.db"), loss_window);
        check_ledger(&db.stats(), pushed, &receiver);
        db.stop(LONG).await.unwrap();
    });
}

const DURABLE: Duration = Duration::ZERO;
const WINDOW: Duration = Duration::from_secs(1);

#[test]
fn after_the_drain() {
    check_place("batcher::drained", 7, None, WINDOW);
}

#[test]
fn during_seal() {
    check_place("batcher::seal", 7, None, WINDOW);
}

#[test]
fn before_the_transaction() {
    check_place("store::before_commit", 7, None, DURABLE);
}

#[test]
fn inside_the_transaction() {
    check_place("spool::in_transaction", 7, None, DURABLE);
}

#[test]
fn after_the_transaction() {
    check_place("store::after_commit", 7, None, DURABLE);
}

#[test]
fn before_the_request() {
    check_place("sender::leased", 7, None, WINDOW);
}

#[test]
fn after_the_204_and_before_the_ack() {
    check_place("sender::answered", 7, None, WINDOW);
    check_place("sender::answered", 7, None, DURABLE);
}

#[test]
fn after_the_ack() {
    check_place("sender::acked", 7, None, WINDOW);
}

#[test]
fn while_a_child_starts() {
    check_place("batcher::started", 2, Some(("batcher::drained", 7)), WINDOW);
    check_place("store::started", 2, Some(("store::before_commit", 7)), DURABLE);
    check_place("sender::started", 2, Some(("sender::leased", 7)), WINDOW);
}

#[test]
fn while_another_child_restarts() {
    check_place("batcher::started", 2, Some(("store::before_commit", 7)), DURABLE);
    check_place("sender::started", 2, Some(("store::before_commit", 7)), DURABLE);
}

#[test]
fn while_a_child_stops() {
    check_place("batcher::stopping", 1, Some(("store::before_commit", 7)), DURABLE);
    check_place("sender::stopping", 1, Some(("store::before_commit", 50)), DURABLE);
}

#[test]
fn while_all_stop() {
    let _scenario = FailScenario::setup();
    run(async {
        let receiver = Receiver::start();
        let dir = tempfile::tempdir().unwrap();
        let mut pushed = 0;
        let places = ["store::stopping", "batcher::stopping", "sender::stopping"];
        let mines = places.map(|place| Mine::lay(place, 1, u64::MAX));
        for _ in 0..TIMES {
            let db = start(&receiver, &dir.path().join("s.db"), WINDOW);
            let load = Load::on(&db, pushed);
            assert!(receiver.wait_for_lines(pushed as usize + 500, LONG));
            // The load ends by itself when its pushes fail.
            let report = db.stop(LONG).await.unwrap();
            pushed = load.end();
            assert!(report.drained && report.closed);
            check_ledger(&report.stats, pushed, &receiver);
        }
        for mine in mines {
            assert!(mine.fired() >= TIMES, "{}: {}", mine.place(), mine.fired());
        }
        check_arrived(&receiver, 0..pushed);
    });
}

#[test]
fn while_the_database_starts() {
    let _scenario = FailScenario::setup();
    run(async {
        let receiver = Receiver::start();
        let dir = tempfile::tempdir().unwrap();
        for round in 0..TIMES / 2 {
            let mine = Mine::lay("database::started", 1, 2);
            let db = start(&receiver, &dir.path().join("s.db"), WINDOW);
            for number in round * 100..(round + 1) * 100 {
                db.push(point(number)).unwrap();
            }
            assert!(db.flush(LONG).await.unwrap().complete);
            assert_eq!((mine.fired(), db.stats().restarts_total), (2, 2));
            let report = db.stop(LONG).await.unwrap();
            check_ledger(&report.stats, (round + 1) * 100, &receiver);
        }
        check_arrived(&receiver, 0..TIMES / 2 * 100);
    });
}

#[test]
fn a_batch_that_panics_at_every_try_is_set_aside_and_the_others_arrive() {
    for loss_window in [WINDOW, DURABLE] {
        let _scenario = FailScenario::setup();
        run(async {
            let receiver = Receiver::start();
            let dir = tempfile::tempdir().unwrap();
            let mine = Mine::lay("sender::leased::1", 1, u64::MAX);
            let db = start(&receiver, &dir.path().join("s.db"), loss_window);
            let poison = db.push(point(0)).unwrap();
            let load = Load::on(&db, 1);
            let panicked = Fate::Quarantined(QuarantineReason::Panicked);
            assert_eq!(db.delivered(poison).await.unwrap(), Standing::Settled(panicked));
            assert_eq!(mine.fired(), 2, "no third try");
            let pushed = load.end();
            assert!(db.flush(LONG).await.unwrap().complete);
            let stats = db.stop(LONG).await.unwrap().stats;
            check_ledger(&stats, pushed, &receiver);
            let aside = stats.ledger.of(panicked).points;
            assert!((1..=20).contains(&aside), "one batch: {aside}");
            assert_eq!(stats.ledger.of(Fate::Delivered).points, pushed - aside);
            check_arrived(&receiver, aside..pushed);
        });
    }
}

#[test]
fn a_child_that_fails_at_every_start_is_no_spin_and_the_database_heals_by_itself() {
    let _scenario = FailScenario::setup();
    // A minute in earnest.
    fail::cfg("tree::degraded_retry", "return(1000)").unwrap();
    run(async {
        let receiver = Receiver::start();
        let dir = tempfile::tempdir().unwrap();
        let mine = Mine::lay("batcher::started", 1, u64::MAX);
        let db = start(&receiver, &dir.path().join("s.db"), WINDOW);
        let mut events = db.subscribe();
        let degraded = async { while events.next().await != Some(Told::Event(Event::Degraded)) {} };
        tokio::time::timeout(LONG * 2, degraded).await.expect("it escalates, and again, and then degrades");
        assert!(db.health().degraded && !db.health().ok);

        let starts = mine.moments();
        // Six starts of the child in each of six lives of the database.
        assert_eq!(starts.len(), 36);
        let took = starts[35] - starts[0];
        assert!(took > Duration::from_secs(2), "delays grow: {took:?}");
        for number in 0..1_000 {
            db.push(point(number)).unwrap();
        }
        check_ledger(&db.stats(), 1_000, &receiver);

        drop(mine);
        assert!(receiver.wait_for_lines(1_000, LONG));
        assert!(db.flush(LONG).await.unwrap().complete, "the address works again");
        let stats = db.stop(LONG).await.unwrap().stats;
        check_ledger(&stats, 1_000, &receiver);
        check_arrived(&receiver, 0..1_000);
    });
}

/// Nothing leaves: the server is silent, and a transaction does not come back. Then exactly the newest remain.
#[test]
fn with_the_senders_and_the_disk_blocked_exactly_the_newest_remain() {
    const ROOM: u64 = 10_000;
    let _scenario = FailScenario::setup();
    run(async {
        let receiver = Receiver::start();
        receiver.set_manner(Manner::Silence);
        let dir = tempfile::tempdir().unwrap();
        fail::cfg("store::before_commit", "pause").unwrap();
        let configure = |config: &mut Config| {
            config.queue.points_max = NonZeroUsize::new(ROOM as usize + 1).unwrap();
        };
        let db = Database::builder("blocked")
            .http(receiver.url())
            .spool(dir.path().join("s.db"))
            .configure(configure)
            .start()
            .unwrap();
        // One point keeps both busy: it is being sent, and stored.
        db.push(point(0)).unwrap();
        assert!(receiver.wait_for_requests(1, LONG));
        assert!(db.commit(Duration::from_millis(100)).await.is_err(), "the disk is blocked");
        for number in 1..=10 * ROOM {
            db.push(point(number)).unwrap();
        }
        let shed = Fate::Shed(ShedReason::QueueFull);
        let stats = db.stats();
        check_ledger(&stats, 10 * ROOM + 1, &receiver);
        assert_eq!((stats.ledger.of(shed).points, stats.pending.points), (9 * ROOM, ROOM + 1));
        fail::remove("store::before_commit");
        receiver.set_manner(Manner::Accept);
        assert!(db.flush(LONG).await.unwrap().complete);
        check_arrived(&receiver, std::iter::once(0).chain(9 * ROOM + 1..=10 * ROOM));
        check_ledger(&db.stop(LONG).await.unwrap().stats, 10 * ROOM + 1, &receiver);
    });
}
