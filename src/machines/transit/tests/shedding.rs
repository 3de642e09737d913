//! What leaves when there is no room: exactly the oldest that nobody has in hand.

use super::rig::{Disk, Full, line_of, terms, trouble};
use super::world::{End, QUEUE_FULL, World};
use crate::machines::queue::SegmentLimits;
use crate::machines::transit::Terms;
use crate::machines::verdict::Verdict;
use crate::values::config::WhenFull;
use crate::values::ledger::Tally;

const ROOM: u64 = 1_000;

fn world(terms: Terms) -> World {
    let segment = SegmentLimits { points_max: 50, bytes_max: 1 << 16 };
    World::new(Terms { points_max: ROOM, segment, ..terms }, Disk::new(1_000, Full::DropOldest))
}

/// The points that are pending must be these, and the others shed.
fn check_kept(world: &mut World, kept: impl IntoIterator<Item = u64>) {
    world.check();
    assert!(world.pending.iter().copied().eq(kept), "{:?}", world.pending);
    assert!(world.fates.values().all(|fate| *fate == QUEUE_FULL));
}

#[test]
fn exactly_the_newest_remain() {
    let mut world = world(terms());
    world.push(10 * ROOM);
    check_kept(&mut world, 9 * ROOM + 1..=10 * ROOM);
    world.drain();
}

#[test]
fn exactly_the_newest_remain_though_batches_were_sealed() {
    let mut world = world(terms());
    for _ in 0..10 {
        world.push(ROOM);
        world.take_jobs(usize::MAX);
        while !world.jobs.is_empty() {
            world.finish_job(0, true);
        }
    }
    check_kept(&mut world, 9 * ROOM + 1..=10 * ROOM);
    world.drain();
}

#[test]
fn exactly_the_newest_remain_though_many_come_at_once() {
    for at_once in [1, 7, 64, ROOM, 3 * ROOM] {
        let mut world = world(terms());
        world.push(ROOM);
        for _ in 0..10 {
            world.take_jobs(usize::MAX);
            while !world.jobs.is_empty() {
                world.finish_job(0, true);
            }
            world.push_staged(at_once);
        }
        let last = ROOM + 10 * at_once;
        check_kept(&mut world, last - ROOM + 1..=last);
        world.drain();
    }
}

#[test]
fn exactly_the_newest_remain_though_batches_are_being_sealed() {
    let mut world = world(terms());
    world.push(ROOM);
    assert_eq!(world.take_jobs(3), 3);
    world.push(ROOM - 20);
    check_kept(&mut world, ROOM - 19..=2 * ROOM - 20);
    world.drain();
}

#[test]
fn what_is_being_sent_and_what_is_being_stored_stays() {
    let mut world = world(terms());
    world.push(100);
    world.take_jobs(2);
    world.finish_job(0, true);
    world.finish_job(0, true);
    assert!(world.lease(0));
    world.commit_all();
    assert!(world.plan(false));
    world.push(10 * ROOM);
    check_kept(&mut world, (1..=100).chain(9 * ROOM + 201..=10 * ROOM + 100));
    world.finish_trip(End::Never);
    world.answer(0, trouble());
    world.push(1);
    check_kept(&mut world, (2..=100).chain(9 * ROOM + 201..=10 * ROOM + 101));
    world.drain();
}

#[test]
fn what_leaves_a_sealed_batch_takes_its_bytes_along() {
    let bytes =
        |numbers: std::ops::RangeInclusive<u64>| numbers.map(|number| line_of(number).len() as u64).sum();
    let mut world = world(terms());
    world.push(ROOM);
    world.take_jobs(1);
    world.finish_job(0, true);
    world.push(2);
    let seen = world.transit.snapshot(world.now);
    assert_eq!(seen.ledger.of(QUEUE_FULL), Tally::new(2, bytes(1..=2)));
    assert_eq!(seen.volatile, Tally::new(48, bytes(3..=50)));
    world.drain();
}

#[test]
fn dropping_the_newest_keeps_the_oldest_and_a_gap_keeps_its_number() {
    let mut world = world(Terms { when_full: WhenFull::DropNewest, ..terms() });
    world.push(ROOM + 25);
    check_kept(&mut world, 1..=ROOM);
    world.take_jobs(1);
    world.finish_job(0, true);
    assert!(world.lease(0) && world.answer(0, Verdict::Delivered));
    world.push(10);
    assert!(world.pending.contains(&(ROOM + 26)) && !world.pending.contains(&(ROOM + 25)));
    world.drain();
}

#[test]
fn refusing_keeps_what_is_there_and_gives_no_number() {
    let mut world = world(Terms { when_full: WhenFull::Refuse, ..terms() });
    world.push(ROOM + 25);
    check_kept(&mut world, 1..=ROOM);
    assert_eq!(world.transit.next_seq(), ROOM + 1);
    world.drain();
}

/// Every push takes a point from the oldest batch. Were that made anew with each, nothing would ever leave.
#[test]
fn under_a_steady_overload_batches_leave() {
    let mut world = world(Terms { loss_window: None, ..terms() });
    world.push(2 * ROOM);
    let mut sent = 0;
    for _ in 0..100 {
        world.push(10);
        world.take_jobs(1);
        world.push(10);
        world.finish_job(0, true);
        world.push(10);
        sent += u64::from(world.answer(0, Verdict::Delivered));
        world.lease(0);
        world.check();
    }
    assert!(sent >= 30, "{sent} batches in 100 turns");
    world.drain();
}

/// A batch that nobody waits for is not made anew each time it shrinks.
#[test]
fn a_shrinking_batch_is_left_alone_until_somebody_wants_it() {
    let mut world = world(terms());
    world.push(ROOM);
    world.take_jobs(1);
    world.finish_job(0, true);
    world.push(10);
    while world.take_jobs(1) > 0 {
        world.finish_job(0, true);
    }
    let first = world.transit.window.values().next().unwrap();
    assert!(first.batch().is_none() && !first.sealing, "{first:?}");
    assert!(world.lease(0) && world.take_jobs(1) == 1);
    world.finish_job(0, true);
    assert!(world.lease(0) && world.leases[&0].batch.seqs.first == 11);
    world.drain();
}
