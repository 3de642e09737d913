//! A queue of 10,000 points that takes 100,000 while nothing leaves: exactly the newest 10,000 remain.

#![allow(clippy::unwrap_used)]

mod support;

use std::num::NonZeroUsize;
use std::time::Duration;

use influx_spool::{Database, DatabaseHandle, Fate, Point, ShedReason, Standing, WhenFull};
use support::ledger::{check_arrived, check_ledger, numbers};
use support::receiver::{Manner, Receiver};

const LONG: Duration = Duration::from_secs(60);
const ROOM: u64 = 10_000;
const PUSHED: u64 = 100_000;

fn run<T>(test: impl Future<Output = T>) -> T {
    actix_rt::System::new().block_on(test)
}

/// In memory, with room for `ROOM` points besides the one that keeps the only sender busy.
fn start(name: &str, receiver: &Receiver, when_full: WhenFull) -> DatabaseHandle {
    let room = NonZeroUsize::new(ROOM as usize + 1).unwrap();
    let configure = |config: &mut influx_spool::Config| config.queue.points_max = room;
    Database::builder(name).http(receiver.url()).when_full(when_full).configure(configure).start().unwrap()
}

fn point(number: u64) -> Point {
    Point::new("m").field("n", number as i64)
}

/// Blocks the sender with a request that is not answered. Its one point has the number 0.
fn block_the_sender(db: &DatabaseHandle, receiver: &Receiver) {
    receiver.set_manner(Manner::Silence);
    db.push(point(0)).unwrap();
    assert!(receiver.wait_for_requests(1, LONG));
}

async fn unblock_and_check(db: DatabaseHandle, receiver: &Receiver) {
    let shed = Fate::Shed(ShedReason::QueueFull);
    let stats = db.stats();
    check_ledger(&stats, PUSHED + 1, receiver);
    assert_eq!(stats.ledger.of(shed).points, PUSHED - ROOM);
    assert_eq!(stats.pending.points, ROOM + 1);
    receiver.set_manner(Manner::Accept);
    assert!(db.flush(LONG).await.unwrap().complete);
    let report = db.stop(LONG).await.unwrap();
    check_ledger(&report.stats, PUSHED + 1, receiver);
    assert_eq!(report.stats.ledger.of(Fate::Delivered).points, ROOM + 1);
}

#[test]
fn exactly_the_newest_remain_from_one_thread() {
    run(async {
        let receiver = Receiver::start();
        let db = start("newest", &receiver, WhenFull::DropOldest);
        block_the_sender(&db, &receiver);
        let mut seqs = Vec::new();
        for number in 1..=PUSHED {
            seqs.push(db.push(point(number)).unwrap());
        }
        let last_shed = seqs[(PUSHED - ROOM) as usize - 1];
        assert_eq!(
            db.delivered(last_shed).await.unwrap(),
            Standing::Settled(Fate::Shed(ShedReason::QueueFull))
        );
        assert_eq!(db.stats().pending.points, ROOM + 1);
        unblock_and_check(db, &receiver).await;
        check_arrived(&receiver, std::iter::once(0).chain(PUSHED - ROOM + 1..=PUSHED));
    });
}

#[test]
fn exactly_the_newest_remain_of_what_was_sealed_before() {
    run(async {
        let receiver = Receiver::start();
        let db = start("sealed", &receiver, WhenFull::DropOldest);
        block_the_sender(&db, &receiver);
        for number in 1..=ROOM {
            db.push(point(number)).unwrap();
        }
        // The flush cannot end, but it has everything sealed: two full batches.
        while db.stats().pending.sealed.points < ROOM + 1 {
            let _ = db.flush(Duration::from_millis(20)).await;
        }
        for number in ROOM + 1..=PUSHED {
            db.push(point(number)).unwrap();
        }
        unblock_and_check(db, &receiver).await;
        check_arrived(&receiver, std::iter::once(0).chain(PUSHED - ROOM + 1..=PUSHED));
    });
}

#[test]
fn exactly_the_newest_remain_from_four_threads() {
    const THREADS: u64 = 4;
    run(async {
        let receiver = Receiver::start();
        let db = start("threads", &receiver, WhenFull::DropOldest);
        block_the_sender(&db, &receiver);
        let mut pushed = std::thread::scope(|scope| {
            let pushers: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let db = &db;
                    let mine = (1..=PUSHED).filter(move |number| number % THREADS == thread);
                    let push = move |number| (db.push(point(number)).unwrap().number(), number);
                    scope.spawn(move || mine.map(push).collect::<Vec<_>>())
                })
                .collect();
            pushers.into_iter().flat_map(|pusher| pusher.join().unwrap()).collect::<Vec<_>>()
        });
        // The order of the pushes is the order of their numbers.
        pushed.sort_unstable();
        unblock_and_check(db, &receiver).await;
        let newest = pushed[(PUSHED - ROOM) as usize..].iter().map(|(_, number)| *number);
        check_arrived(&receiver, std::iter::once(0).chain(newest));
    });
}

#[test]
fn dropping_the_newest_keeps_the_first() {
    run(async {
        let receiver = Receiver::start();
        let db = start("oldest", &receiver, WhenFull::DropNewest);
        block_the_sender(&db, &receiver);
        for number in 1..=PUSHED {
            db.push(point(number)).unwrap();
        }
        unblock_and_check(db, &receiver).await;
        check_arrived(&receiver, 0..=ROOM);
    });
}

#[test]
fn refusing_hands_the_point_back() {
    run(async {
        let receiver = Receiver::start();
        let db = start("refusing", &receiver, WhenFull::Refuse);
        block_the_sender(&db, &receiver);
        for number in 1..=ROOM {
            db.push(point(number)).unwrap();
        }
        for number in ROOM + 1..ROOM + 100 {
            let refused = db.push(point(number)).unwrap_err();
            assert_eq!(refused.rejected, point(number));
        }
        receiver.set_manner(Manner::Accept);
        assert!(db.flush(LONG).await.unwrap().complete);
        let stats = db.stop(LONG).await.unwrap().stats;
        check_ledger(&stats, ROOM + 1, &receiver);
        check_arrived(&receiver, 0..=ROOM);
    });
}

/// While more is pushed than can be sent, batches go on leaving.
#[test]
fn under_a_steady_overload_points_arrive() {
    run(async {
        let receiver = Receiver::start();
        let db = start("overload", &receiver, WhenFull::DropOldest);
        let pushing = std::thread::spawn({
            let db = db.clone();
            move || {
                let mut number = 0;
                while db.stats().ledger.of(Fate::Delivered).points < 20 * ROOM {
                    for _ in 0..ROOM {
                        db.push(point(number)).unwrap();
                        number += 1;
                    }
                    assert!(number < 100_000_000, "points are pushed and none leave");
                }
                number
            }
        });
        let pushed = pushing.join().unwrap();
        assert!(db.flush(LONG).await.unwrap().complete);
        check_ledger(&db.stop(LONG).await.unwrap().stats, pushed, &receiver);
        assert!(numbers(&receiver).is_sorted());
    });
}

/// What an iterator of points does is the application's business, and nobody else's.
#[test]
fn an_iterator_that_panics_poisons_nothing() {
    run(async {
        let receiver = Receiver::start();
        let db = start("panics", &receiver, WhenFull::DropOldest);
        let explosive = (0..).map(|number| {
            if number == 5_000 {
                std::panic::resume_unwind(Box::new("the iterator's own"));
            }
            point(number)
        });
        let pushed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| db.push_all(explosive)));
        assert!(pushed.is_err());
        let accepted = db.stats().ledger.accepted().points;
        assert!(accepted <= 5_000);
        let report = db.push_all((accepted..6_000).map(point));
        assert_eq!((report.accepted, report.refused.len()), (6_000 - accepted, 0));
        assert!(db.flush(LONG).await.unwrap().complete);
        check_ledger(&db.stop(LONG).await.unwrap().stats, 6_000, &receiver);
        check_arrived(&receiver, 0..6_000);
    });
}
