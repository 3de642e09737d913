//! Several threads that push at once, as fast as they can: everything arrives, in the order of its numbers, with nobody else looking.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use influx_spool::{Database, DatabaseHandle, Fate, Point, Seq, Standing};
use support::ledger::{check_arrived, check_ledger};
use support::receiver::Receiver;

const LONG: Duration = Duration::from_secs(60);
const THREADS: u64 = 4;
const EACH: u64 = 50_000;

/// Every thread pushes its share of the values; what they were and which numbers they were given, by number.
fn push_from_all(db: &DatabaseHandle) -> Vec<(Seq, u64)> {
    let together = &Barrier::new(THREADS as usize);
    let mut pushed = thread::scope(|scope| {
        let pushers: Vec<_> = (0..THREADS)
            .map(|thread| {
                scope.spawn(move || {
                    together.wait();
                    let mine = (0..THREADS * EACH).filter(|n| n % THREADS == thread);
                    let push = |n| (db.push(Point::new("m").field("n", n as i64)).unwrap(), n);
                    mine.map(push).collect::<Vec<_>>()
                })
            })
            .collect();
        let pushed: Vec<_> = pushers.into_iter().map(|pusher| pusher.join().unwrap()).collect();
        assert!(pushed.iter().all(|one| one.is_sorted_by_key(|(seq, _)| seq.number())));
        pushed.concat()
    });
    pushed.sort_unstable_by_key(|(seq, _)| seq.number());
    pushed
}

#[test]
fn the_order_of_numbers_is_the_order_of_arrival() {
    let receiver = Receiver::start();
    let db = Database::builder("producers").http(receiver.url()).start().unwrap();
    let pushed = push_from_all(&db);
    // The last batch is not full, and nobody asks for it.
    assert!(receiver.wait_for_lines((THREADS * EACH) as usize, LONG));
    let first = pushed[0].0.number();
    assert!(pushed.iter().zip(first..).all(|((seq, _), number)| seq.number() == number), "no gap");
    check_arrived(&receiver, pushed.iter().map(|(_, n)| *n));
    let stats = actix_rt::System::new().block_on(db.stop(LONG)).unwrap().stats;
    check_ledger(&stats, THREADS * EACH, &receiver);
}

#[test]
fn receipts_of_all_threads_are_answered() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start();
    let db = Database::builder("receipts")
        .http(receiver.url())
        .spool(folder.path().join("receipts.db"))
        .loss_window(Duration::ZERO)
        .start()
        .unwrap();
    let pushed = push_from_all(&db);
    actix_rt::System::new().block_on(async {
        for (seq, _) in pushed.iter().rev().step_by(997) {
            assert!(matches!(
                db.persisted(*seq).await.unwrap(),
                Standing::Durable(_) | Standing::Settled(Fate::Delivered)
            ));
            assert_eq!(db.delivered(*seq).await.unwrap(), Standing::Settled(Fate::Delivered));
        }
        let stats = db.stop(LONG).await.unwrap().stats;
        check_ledger(&stats, THREADS * EACH, &receiver);
    });
}
