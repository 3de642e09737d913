//! What is bounded besides memory, and what is counted besides points.

use std::time::Duration;

use super::rig::{Disk, Full, terms};
use super::world::{End, World};
use crate::machines::transit::Terms;
use crate::machines::verdict::Verdict;
use crate::values::fate::{Fate, QuarantineReason};

/// Of five points each.
const BATCHES: u64 = 12;

fn world(loss_window: Option<Duration>) -> World {
    World::new(Terms { points_max: 1_000, loss_window, ..terms() }, Disk::new(100, Full::DropOldest))
}

fn store_all(world: &mut World) {
    loop {
        while world.take_jobs(1) > 0 {
            world.finish_job(0, true);
        }
        if !world.plan(false) {
            return;
        }
        world.finish_trip(End::Answered);
    }
}

fn deliver(world: &mut World, batches: usize) {
    for _ in 0..batches {
        assert!(world.lease(0));
        world.answer(0, Verdict::Delivered);
    }
}

#[test]
fn eight_sealed_batches_wait_and_the_rest_stays_in_the_queue() {
    let mut world = world(None);
    world.push(5 * BATCHES);
    assert_eq!(world.take_jobs(usize::MAX), 8);
    assert_eq!(world.transit.next_seal_at(), None);
    while !world.jobs.is_empty() {
        world.finish_job(0, true);
    }
    assert_eq!(world.take_jobs(usize::MAX), 0);
    deliver(&mut world, 1);
    assert!(world.transit.next_seal_at().is_some());
    assert_eq!(world.take_jobs(usize::MAX), 1);
    world.finish_job(0, true);
    world.drain();
}

#[test]
fn eight_rows_are_kept_in_memory_and_the_next_are_read_when_fewer_than_four_are_left() {
    let mut world = world(Some(Duration::ZERO));
    world.push(5 * BATCHES);
    store_all(&mut world);
    assert_eq!(world.transit.window.len(), 8);
    for rows in (4..8).rev() {
        deliver(&mut world, 1);
        assert_eq!((world.transit.window.len(), world.transit.wants_read()), (rows, None));
    }
    deliver(&mut world, 1);
    let read = world.transit.wants_read().unwrap();
    assert_eq!((read.after, read.rows_max), (5 * 8 - 4, 5), "behind the eighth batch, up to eight again");
    world.drain();
    assert_eq!(world.transit.snapshot(world.now).counters.rows_read, BATCHES - 8, "each of them once");
}

#[test]
fn a_batch_whose_making_panics_twice_is_set_aside() {
    for (window, fate) in [
        (None, Fate::Rejected),
        (Some(Duration::from_secs(1)), Fate::Quarantined(QuarantineReason::Panicked)),
    ] {
        let mut world = world(window);
        world.push(10);
        assert_eq!(world.take_jobs(1), 1);
        world.finish_job(0, false);
        assert!(world.fates.is_empty(), "once may be chance");
        assert_eq!(world.take_jobs(1), 1);
        world.finish_job(0, false);
        assert_eq!((world.fates.len(), world.fates[&1]), (5, fate));
        world.drain();
    }
}

#[test]
fn a_batch_is_as_old_as_its_oldest_point() {
    let mut world = world(None);
    world.push(5);
    let later = world.now + Duration::from_millis(150);
    let jobs = world.transit.take_seal_jobs(1, later, 10_000);
    assert_eq!(jobs[0].created_ms, 9_850);
}

#[test]
fn batches_rows_and_transactions_are_counted() {
    let mut world = world(Some(Duration::ZERO));
    for _ in 0..2 {
        world.push(5);
        store_all(&mut world);
    }
    deliver(&mut world, 2);
    let counters = world.transit.snapshot(world.now).counters;
    assert_eq!((counters.batches_sealed, counters.rows_stored, counters.commits), (2, 2, 2));
    assert_eq!((counters.requests, counters.rows_read), (2, 0));
    assert_eq!(counters.body_bytes_sealed, world.transit.books.total().accepted().bytes, "plain bodies");
}
