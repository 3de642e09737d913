//! Stops in the middle of something: nothing is lost, nothing goes on behind them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "the lints do not see that helpers of tests are tests")]

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use fail::FailScenario;
use influx_spool::{Database, DatabaseHandle, Point, SpoolHealth};
use support::ledger::{check_arrived, check_ledger, numbers};
use support::mine::Mine;
use support::receiver::Receiver;

const LONG: Duration = Duration::from_secs(60);

const POINTS: u64 = 1_000;

struct Bench {
    receiver: Receiver,
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { receiver: Receiver::start_down(), folder: tempfile::tempdir().unwrap() }
    }

    fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("s.db")
    }

    /// Nothing is stored before it is asked for.
    fn start(&self) -> DatabaseHandle {
        start(&self.receiver, &self.file())
    }

    /// It was closed with everything in it, and the next life delivers that.
    async fn check(self, stopped: &DatabaseHandle) {
        // A slow disk may take longer than the deadline.
        assert!(stopped.closed(LONG).await.unwrap(), "everything is stored");
        check_ledger(&stopped.stats(), POINTS, &self.receiver);
        self.receiver.come_up();
        let db = self.start();
        assert!(db.flush(LONG).await.unwrap().complete);
        check_arrived(&self.receiver, 0..POINTS);
        assert_eq!(numbers(&self.receiver).len() as u64, POINTS, "nobody else sends");
        check_ledger(&db.stop(LONG).await.unwrap().stats, POINTS, &self.receiver);
    }
}

fn start(receiver: &Receiver, file: &Path) -> DatabaseHandle {
    let builder = Database::builder("ends").http(receiver.url()).spool(file).arbiter(arbiter());
    builder.loss_window(Duration::from_secs(3_600)).start().unwrap()
}

/// A thread of the test's own, which it may block.
fn arbiter() -> actix_rt::ArbiterHandle {
    static OWN: std::sync::OnceLock<actix_rt::ArbiterHandle> = std::sync::OnceLock::new();
    let start = || {
        let (started, handle) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let system = actix_rt::System::new();
            system.block_on(async { started.send(actix_rt::Arbiter::new().handle()).unwrap() });
            system.run().unwrap();
        });
        handle.recv().unwrap()
    };
    OWN.get_or_init(start).clone()
}

fn push(db: &DatabaseHandle, numbers: std::ops::Range<u64>) {
    let report = db.push_all(numbers.map(|number| Point::new("m").field("n", number as i64)));
    assert!(report.refused.is_empty());
}

async fn until(what: &str, done: impl Fn() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < LONG, "not in time: {what}");
        actix_rt::task::yield_now().await;
    }
}

fn run(test: impl Future<Output = ()>) {
    let _scenario = FailScenario::setup();
    actix_rt::System::new().block_on(test);
}

#[test]
fn a_stop_while_the_children_are_being_replaced_leaves_none_behind() {
    for place in ["ends/database::started", "ends/database::starting_children"] {
        run(async {
            let bench = Bench::new();
            let db = bench.start();
            push(&db, 0..POINTS);
            until("the children are there", || db.drill("batcher")).await;
            let (release, released) = std::sync::mpsc::channel::<()>();
            let released = std::sync::Mutex::new(released);
            let hold =
                Mine::lay_with(place, 1, 1, move || released.lock().unwrap().recv().unwrap_or_default());
            assert!(db.drill("database"));
            until("it is being rebuilt", || hold.fired() == 1).await;
            let stopping = db.clone();
            let stop = std::thread::spawn(move || {
                actix_rt::System::new().block_on(stopping.stop(Duration::from_secs(2)))
            });
            until("the stop has begun", || db.health().stopped).await;
            release.send(()).unwrap();
            tokio::task::spawn_blocking(|| stop.join().unwrap().unwrap()).await.unwrap();
            bench.check(&db).await;
        });
    }
}

#[test]
fn a_stop_of_a_degraded_database_stores_everything() {
    run(async {
        for (limit, value) in [("restarts_a_second", 1), ("delay_max", 1)] {
            fail::cfg(format!("tree::{limit}"), &format!("return({value})")).unwrap();
        }
        let bench = Bench::new();
        let mine = Mine::lay("ends/store::started", 1, u64::MAX);
        let db = bench.start();
        push(&db, 0..POINTS / 2);
        until("it degrades", || db.health().degraded).await;
        push(&db, POINTS / 2..POINTS);
        db.stop(Duration::from_secs(1)).await.unwrap();
        drop(mine);
        bench.check(&db).await;
    });
}

#[test]
fn a_stop_while_the_spool_is_closed_after_a_failure_opens_it_for_the_last_time() {
    run(async {
        let bench = Bench::new();
        let db = bench.start();
        until("the children are there", || db.drill("batcher")).await;
        push(&db, 0..POINTS / 2);
        let mine = Mine::lay("ends/store::before_commit", 1, 1);
        // The worker's panic takes the store along, and no other comes.
        let none = Mine::lay("ends/store::started", 1, u64::MAX);
        let _ = db.commit(Duration::from_millis(100)).await;
        until("the worker panics", || mine.fired() == 1).await;
        until("it is closed", || matches!(db.health().spool, SpoolHealth::Failing(_))).await;
        push(&db, POINTS / 2..POINTS);
        db.stop(Duration::from_secs(2)).await.unwrap();
        drop(none);
        bench.check(&db).await;
    });
}

#[test]
fn a_closing_that_panics_is_tried_again() {
    for place in ["ends/stop::closing", "s.db/spool::in_transaction", "ends/stop::stored"] {
        run(async {
            let bench = Bench::new();
            let db = bench.start();
            push(&db, 0..POINTS);
            let mine = Mine::lay(place, 1, 2);
            db.stop(Duration::from_secs(2)).await.unwrap();
            assert!(db.closed(LONG).await.unwrap(), "{place}");
            assert_eq!(mine.fired(), 2, "{place}");
            bench.check(&db).await;
        });
    }
}
