//! What is given to whom, and when a failure becomes suspicious.

use std::time::Duration;

use super::rig::{Disk, Full, fault, line_of, terms, trouble};
use super::world::{End, World};
use crate::machines::codec;
use crate::machines::transit::{Answered, Holder, Lease, Load, Terms};
use crate::machines::verdict::{Trouble, Verdict};
use crate::values::config::Compression;
use crate::values::trouble::TroubleKind;

fn world(terms: Terms) -> World {
    World::new(Terms { points_max: 1_000, ..terms }, Disk::new(100, Full::DropOldest))
}

fn seal_all(world: &mut World) {
    while world.take_jobs(1) > 0 {
        world.finish_job(0, true);
    }
}

/// Whether the server is to be asked if it is well, after failures at these seconds.
fn asks(failures: &[(u64, Trouble)]) -> Vec<bool> {
    let mut world = world(Terms { loss_window: None, ..terms() });
    world.push(5);
    seal_all(&mut world);
    let start = world.now;
    let fail = |(second, trouble): &(u64, Trouble)| {
        let now = start + Duration::from_secs(*second);
        let Lease::Load(load) = world.transit.lease(Holder::http(0), now) else { panic!("nothing to send") };
        world.transit.answered(load.key, Answered::Hold(trouble.clone()), 0.0, now)
    };
    failures.iter().map(fail).collect()
}

#[test]
fn a_failure_is_suspicious_when_one_batch_meets_it_three_times_in_ten_seconds() {
    let at = |seconds: &[u64]| seconds.iter().map(|second| (*second, fault())).collect::<Vec<_>>();
    assert_eq!(asks(&at(&[0, 5, 10])), [false, false, true]);
    assert_eq!(asks(&at(&[0, 10, 20])), [false, false, true], "not twice");
    assert_eq!(asks(&at(&[0, 1, 2, 9])), [false; 4], "not in a moment");
    let other = Trouble { kind: TroubleKind::Timeout, words: "timed out".into(), ..fault() };
    assert_eq!(asks(&[(0, fault()), (5, other), (10, fault())]), [false; 3], "not by turns");
    let explained = Trouble { may_be_data: false, ..fault() };
    assert_eq!(asks(&[0, 5, 10].map(|second| (second, explained.clone()))), [false; 3]);
}

#[test]
fn all_rows_in_memory_are_given_out_and_none_behind_those_nobody_has_read() {
    let mut world = world(Terms { loss_window: Some(Duration::ZERO), ..terms() });
    world.push(60);
    seal_all(&mut world);
    while world.plan(false) {
        world.finish_trip(End::Answered);
        seal_all(&mut world);
    }
    assert!(world.transit.beyond.batches > 0);
    for holder in 0..8 {
        assert_eq!(world.transit.snapshot(world.now).in_flight, holder);
        assert!(world.lease(holder), "{holder}");
    }
    assert!(!world.lease(8));
    for holder in 0..8 {
        world.answer(holder, Verdict::Delivered);
    }
    world.drain();
}

#[test]
fn a_part_is_sent_as_its_batch_is_encoded() {
    for compression in [Compression::None, Compression::Gzip] {
        let mut world = world(Terms { loss_window: None, compression, ..terms() });
        world.push(5);
        seal_all(&mut world);
        assert!(world.lease(0));
        let whole = world.leases[&0].clone();
        assert_eq!((whole.points(), whole.body()), (5, (whole.batch.codec, whole.batch.body.clone())));
        let mut part = whole.lines().unwrap();
        part.indexes = [1, 3].into();
        let part = Load { part: Some(part), ..whole };
        let lines = line_of(2) + &line_of(4);
        let (codec, body) = part.body();
        assert_eq!((part.points(), codec), (2, part.batch.codec));
        assert_eq!(codec::decode_body(codec, lines.len() as u64, &body).unwrap(), lines.as_bytes());
        world.drain();
    }
}

#[test]
fn a_batch_that_is_being_found_out_is_not_suspected_again() {
    let mut world = world(Terms { loss_window: None, ..terms() });
    world.push(5);
    seal_all(&mut world);
    let start = world.now;
    let mut asked = 0;
    for second in 0..100 {
        let now = start + Duration::from_secs(second);
        let Lease::Load(load) = world.transit.lease(Holder::http(0), now) else { panic!("nothing to send") };
        if world.transit.answered(load.key, Answered::Hold(fault()), 0.0, now) {
            asked += 1;
            world.transit.suspect(load.key, load.lines().unwrap().lines, now);
        }
    }
    assert_eq!(asked, 1, "nothing of it is taken, and no other batch shows that the server is well");
}

#[test]
fn a_line_that_is_alone_is_sent_however_large_it_is() {
    let mut world = world(Terms { loss_window: None, ..terms() });
    world.push(5);
    seal_all(&mut world);
    while world.lease(0) {
        world.measure(0, 0);
    }
    assert_eq!(world.fates.len(), 5, "not one line is small enough");
    world.push(1);
    world.flush();
    seal_all(&mut world);
    let lease = world.transit.lease(Holder::http(0), world.now);
    assert!(matches!(lease, Lease::Load(Load { part: None, .. })), "{lease:?}");
}

#[test]
fn a_server_that_may_be_well_again_is_asked_at_once() {
    let mut world = world(Terms { loss_window: None, ..terms() });
    world.push(5);
    seal_all(&mut world);
    assert!(world.lease(0));
    world.answer(0, trouble());
    let at = world.transit.next_attempt_at(world.now).unwrap();
    assert!(at > world.now && !world.lease(0));
    world.transit.try_now(world.now);
    assert_eq!(world.transit.next_attempt_at(world.now), None);
    assert!(world.lease(0));
}
