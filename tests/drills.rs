//! Actors of a running database that panic because somebody asked for it.

#![allow(clippy::unwrap_used)]

mod support;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use influx_spool::{Database, DatabaseHandle, Event, Events, Fate, Point, Told};
use support::receiver::Receiver;

const LONG: Duration = Duration::from_secs(60);

/// A database under a steady load: a hundred points, and when they have arrived the next hundred.
struct Loaded {
    database: DatabaseHandle,
    on: Rc<Cell<bool>>,
    pusher: actix_rt::task::JoinHandle<i64>,
}

impl Loaded {
    fn start(database: DatabaseHandle) -> Self {
        let (on, pushing) = (Rc::new(Cell::new(true)), database.clone());
        let goes_on = Rc::clone(&on);
        let pusher = actix_rt::spawn(async move {
            let mut pushed = 0;
            while goes_on.get() {
                let points = (pushed..pushed + 100).map(|n| Point::new("m").field("n", n));
                let report = pushing.push_all(points);
                pushed += report.accepted as i64;
                pushing.delivered(report.last.unwrap()).await.unwrap();
            }
            pushed
        });
        Self { database, on, pusher }
    }

    /// Ends the load, has everything delivered, and says how much there was.
    async fn finish(self) -> i64 {
        self.on.set(false);
        let pushed = self.pusher.await.unwrap();
        assert!(self.database.flush(LONG).await.unwrap().complete);
        pushed
    }
}

async fn restarted(events: &mut Events) -> String {
    loop {
        if let Told::Event(Event::Restarted { actor, exit }) = events.next().await.unwrap() {
            assert_eq!(exit, r#"Panicked("a drill")"#);
            return actor.to_string();
        }
    }
}

fn check_drill(actor: &str) {
    actix_rt::System::new().block_on(async {
        let receiver = Receiver::start();
        let dir = tempfile::tempdir().unwrap();
        let database = Database::builder(format!("drill-{actor}"))
            .http(receiver.url())
            .spool(dir.path().join("s.db"))
            .linger(Duration::from_millis(5))
            .start()
            .unwrap();
        let loaded = Loaded::start(database.clone());
        let mut events = database.subscribe();
        // The first point has arrived: all actors are up.
        let first = database.push(Point::new("first").field("m", 1)).unwrap();
        database.delivered(first).await.unwrap();
        assert!(database.drill(actor));
        assert_eq!(tokio::time::timeout(LONG, restarted(&mut events)).await.unwrap(), actor);
        let pushed = loaded.finish().await;

        let number = |line: String| line.split("n=").nth(1)?.split('i').next()?.parse::<i64>().ok();
        let mut numbers: Vec<i64> = receiver.lines().into_iter().filter_map(number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers, (0..pushed).collect::<Vec<_>>(), "everything has arrived");
        let stats = database.stop(LONG).await.unwrap().stats;
        assert_eq!(stats.ledger.of(Fate::Delivered).points, pushed as u64 + 1);
        assert_eq!(stats.ledger.accepted().points, pushed as u64 + 1);
        assert!(stats.restarts_total >= 1);
    });
}

#[test]
fn a_sender_that_panics_loses_nothing() {
    check_drill("http-0");
}

#[test]
fn a_batcher_that_panics_loses_nothing() {
    check_drill("batcher");
}

#[test]
fn a_store_that_panics_loses_nothing() {
    check_drill("store");
}

#[test]
fn a_database_that_panics_loses_nothing() {
    check_drill("database");
}

#[test]
fn a_drill_for_nobody_says_so() {
    let database = Database::builder("drill-nobody").start().unwrap();
    assert!(!database.drill("http-1"), "there is one sender by default");
    assert!(!database.drill("store"), "there is no spool");
}
