//! Batches whose points part ways, among others that wait behind them.

use std::time::Duration;

use super::rig::{Disk, Full, complaint, fault, refusal, terms, trouble};
use super::world::{End, World};
use crate::machines::transit::{Holder, Terms};
use crate::machines::verdict::{Cause, Trouble, Verdict};
use crate::values::fate::{Fate, QuarantineReason};
use crate::values::trouble::TroubleKind;

const MALFORMED: Fate = Fate::Quarantined(QuarantineReason::Malformed);
const SUSPECT: Fate = Fate::Quarantined(QuarantineReason::Suspect);

/// Three batches, [1, 5], [6, 10] and [11, 15], stored or only in memory.
fn world(loss_window: Option<Duration>, bad: fn(u64) -> bool) -> World {
    let mut world = World::new(Terms { loss_window, ..terms() }, Disk::new(100, Full::DropOldest));
    world.bad = bad;
    world.push(15);
    seal_all(&mut world);
    if loss_window == Some(Duration::ZERO) {
        while world.plan(false) {
            world.finish_trip(End::Answered);
        }
    }
    world
}

fn seal_all(world: &mut World) {
    while world.take_jobs(1) > 0 {
        world.finish_job(0, true);
    }
}

const WINDOWS: [Option<Duration>; 3] = [None, Some(Duration::ZERO), Some(Duration::from_secs(1))];

fn check_fates(world: &World, bad_fate: Fate) {
    let bad_fate = if world.terms.loss_window.is_some() { bad_fate } else { Fate::Rejected };
    for (number, fate) in &world.fates {
        let wants = if (world.bad)(*number) { bad_fate } else { Fate::Delivered };
        assert_eq!(*fate, wants, "{number}");
    }
}

#[test]
fn bad_points_are_found_and_the_batches_behind_keep_their_order() {
    for window in WINDOWS {
        let mut world = world(window, |number| number == 4 || number == 11);
        for _ in 0..100 {
            if world.lease(0) {
                world.judge(0, &complaint(Cause::Malformed));
                world.check();
            }
        }
        assert_eq!(world.fates.len(), 15, "{window:?}");
        check_fates(&world, MALFORMED);
        assert!(world.requests <= 3 + 2 * 6, "{}", world.requests);
        world.drain();
    }
}

#[test]
fn a_server_that_takes_little_is_measured_once() {
    for window in WINDOWS {
        let mut world = world(window, |_| false);
        for _ in 0..100 {
            if world.lease(0) {
                world.measure(0, 2);
                world.check();
            }
        }
        assert_eq!(world.fates.len(), 15);
        check_fates(&world, MALFORMED);
        assert!(world.requests <= 12, "the later ones are not tried whole: {}", world.requests);
        world.drain();
    }
}

#[test]
fn an_outage_during_the_healing_loses_nothing_of_it() {
    for window in WINDOWS {
        let mut world = world(window, |number| number == 4);
        for _ in 0..3 {
            assert!(world.lease(0));
            world.judge(0, &complaint(Cause::Malformed));
        }
        assert!(world.lease(0));
        world.answer(0, trouble());
        world.check();
        for _ in 0..100 {
            world.now += Duration::from_millis(100);
            if world.lease(0) {
                world.judge(0, &complaint(Cause::Malformed));
                world.check();
            }
        }
        check_fates(&world, MALFORMED);
        assert_eq!(world.fates.len(), 15);
        assert!(world.requests <= 14, "it goes on where it was: {}", world.requests);
        world.drain();
    }
}

#[test]
fn a_batch_that_is_stored_while_it_heals_is_settled_in_its_row() {
    for end in [End::Answered, End::AnswerLost, End::Never] {
        let mut world = world(Some(Duration::from_secs(1)), |number| number == 4);
        assert!(world.lease(0));
        world.judge(0, &complaint(Cause::Malformed));
        world.commit_all();
        assert!(world.plan(false));
        while !world.fates.contains_key(&4) {
            assert!(world.lease(0));
            world.judge(0, &complaint(Cause::Malformed));
            world.check();
        }
        world.finish_trip(end);
        world.check();
        check_fates(&world, MALFORMED);
        world.drain();
    }
}

#[test]
fn a_crash_during_the_healing_begins_it_again() {
    let mut world = world(Some(Duration::ZERO), |number| number == 4);
    for _ in 0..5 {
        assert!(world.lease(0));
        world.judge(0, &complaint(Cause::Malformed));
    }
    world.crash();
    world.check();
    world.read();
    while world.fates.len() < 15 {
        assert!(world.lease(0));
        world.judge(0, &complaint(Cause::Malformed));
        world.check();
    }
    check_fates(&world, MALFORMED);
    world.drain();
}

#[test]
fn a_batch_that_is_healing_is_not_evicted() {
    let mut world =
        World::new(Terms { loss_window: Some(Duration::ZERO), ..terms() }, Disk::new(2, Full::DropOldest));
    world.bad = |number| number == 4;
    world.push(10);
    seal_all(&mut world);
    assert!(world.plan(false));
    world.finish_trip(End::Answered);
    assert!(world.lease(0));
    world.judge(0, &complaint(Cause::Malformed));
    world.push(5);
    seal_all(&mut world);
    assert!(world.plan(false));
    world.finish_trip(End::Answered);
    world.check();
    assert!(world.pending.contains(&1) && !world.pending.contains(&6), "the next oldest had to go");
    world.drain();
}

/// Lets time pass until a request may be made, and makes it.
fn next_attempt(world: &mut World) {
    while !world.lease(0) {
        world.now += Duration::from_millis(100);
    }
}

#[test]
fn what_breaks_the_connection_is_suspected_after_three_times_and_ten_seconds() {
    for window in WINDOWS {
        let mut world = world(window, |number| number == 4);
        let begin = world.now;
        let mut first_part = None;
        while world.fates.len() < 15 {
            next_attempt(&mut world);
            let points = world.leases[&0].points();
            if points < 5 && first_part.is_none() {
                first_part = Some((world.now - begin, world.requests));
            }
            world.choke(0, &fault());
            world.check();
        }
        check_fates(&world, SUSPECT);
        let (after, requests) = first_part.unwrap();
        assert!(after >= Duration::from_secs(10) && requests >= 3, "{after:?} {requests}");
        world.drain();
    }
}

#[test]
fn a_batch_that_is_poison_altogether_lets_the_next_one_go_first() {
    let mut world = world(Some(Duration::ZERO), |number| number <= 5);
    while world.fates.len() < 15 {
        next_attempt(&mut world);
        world.choke(0, &fault());
        world.check();
    }
    check_fates(&world, SUSPECT);
    world.drain();
}

#[test]
fn a_server_that_fails_with_everything_condemns_nothing() {
    let mut world = world(Some(Duration::ZERO), |_| false);
    let begin = world.now;
    while world.now - begin < Duration::from_secs(3_600) {
        next_attempt(&mut world);
        world.fail_in_doubt(0, &fault());
        world.check();
        world.now += Duration::from_millis(1);
    }
    assert_eq!(world.fates.len(), 0);
    assert!(world.requests < 2 * 3_600 / 20, "{} requests in an hour", world.requests);
    world.drain();
    check_fates(&world, SUSPECT);
}

/// The moments of the attempts, in milliseconds, while the server answers like this for so long.
fn attempts(world: &mut World, trouble: &Trouble, for_: Duration) -> Vec<u128> {
    let begin = world.now;
    let mut attempts = Vec::new();
    while world.now - begin < for_ {
        if world.lease(0) {
            attempts.push((world.now - begin).as_millis());
            world.answer(0, Verdict::Hold(trouble.clone()));
            world.check();
        }
        world.now += Duration::from_millis(50);
    }
    attempts
}

#[test]
fn ten_minutes_of_401_hold_everything_and_lose_nothing() {
    let mut world = world(Some(Duration::ZERO), |_| false);
    let unauthorized = Trouble {
        kind: TroubleKind::Unauthorized,
        status: Some(401),
        words: "authorization failed".into(),
        retry_after: None,
        may_be_data: false,
    };
    let attempts = attempts(&mut world, &unauthorized, Duration::from_secs(600));
    assert!((10..60).contains(&attempts.len()), "{attempts:?}");
    assert_eq!((world.fates.len(), world.pending.len()), (0, 15));
    world.drain();
    check_fates(&world, SUSPECT);
}

#[test]
fn the_moments_of_the_attempts_follow_what_the_server_asks_for() {
    let busy = |retry_after: Option<u64>| Trouble {
        kind: TroubleKind::Unavailable,
        status: Some(429),
        words: "too many requests".into(),
        retry_after: retry_after.map(Duration::from_secs),
        may_be_data: false,
    };
    let minute = Duration::from_secs(60);
    // The random number is always a half: 0.05 s, 0.2 s, 0.8 s, 3.2 s, 12.8 s, 30 s.
    let asked = attempts(&mut world(None, |_| false), &busy(Some(2)), minute);
    assert_eq!(asked[..6], [0, 2_000, 4_000, 6_000, 9_200, 22_000], "at least what is asked for: {asked:?}");
    let unasked = attempts(&mut world(None, |_| false), &busy(None), minute);
    assert_eq!(unasked[..6], [0, 50, 250, 1_050, 4_250, 17_050], "{unasked:?}");
    let silly = attempts(&mut world(None, |_| false), &busy(Some(u64::MAX)), minute * 11);
    assert_eq!(silly, [0, 600_000], "ten minutes are the most");
}

#[test]
fn what_is_taken_back_from_quarantine_goes_before_everything_younger() {
    for end in [End::Answered, End::AnswerLost, End::Never] {
        let mut world = world(Some(Duration::ZERO), |number| number == 4 || number == 11);
        while world.fates.len() < 15 {
            assert!(world.lease(0));
            world.judge(0, &complaint(Cause::Malformed));
        }
        world.push(20);
        seal_all(&mut world);
        while world.plan(true) {
            world.finish_trip(End::Answered);
            if world.pending.len() == 20 && world.transit.unsaved_points() == 0 {
                break;
            }
        }
        world.bad = |_| false;
        assert!(world.lease(0), "one of the younger is on its way already");
        world.replay();
        assert!(world.plan(false));
        world.finish_trip(end);
        world.check();
        if end == End::Never {
            assert!(world.plan(false), "asked for again");
            world.finish_trip(End::Answered);
        }
        assert!(world.pending.contains(&4) && world.pending.contains(&11));
        world.answer(0, Verdict::Delivered);
        world.read();
        assert!(world.lease(0) && world.leases[&0].batch.seqs.first == 4);
        world.check();
        world.drain();
        check_fates(&world, MALFORMED);
    }
}

#[test]
fn what_is_being_sent_is_not_sent_twice_because_older_points_come_back() {
    let mut world = world(Some(Duration::from_secs(1)), |number| number <= 5);
    for _ in 0..2 {
        assert!(world.lease(0));
        world.answer(0, refusal());
    }
    // [1, 10] are in quarantine, [11, 15] is stored and idle, and the next is being sent as it is stored.
    world.commit_all();
    assert!(world.plan(false));
    world.finish_trip(End::Answered);
    world.push(5);
    seal_all(&mut world);
    assert!(world.lease(0) && world.lease(1));
    assert_eq!(world.leases[&1].batch.seqs.first, 16);
    world.transit.release_all(Holder::http(0), false, world.now);
    world.leases.remove(&0);
    world.replay();
    while world.plan(false) {
        world.finish_trip(End::Answered);
        world.check();
    }
    world.read();
    for first in [1, 6, 11] {
        assert!(world.lease(0) && world.leases[&0].batch.seqs.first == first);
        world.answer(0, Verdict::Delivered);
        world.check();
    }
    assert!(!world.lease(0), "the last is in the other sender's hand");
    world.drain();
}
