//! Two wires to one server: what is known of the one while the other carries everything.

use std::sync::Arc;
use std::time::Instant;

use super::rig::{Disk, Full, HERE, terms};
use super::world::World;
use crate::machines::transit::{Answered, Holder, Lease, Load, Terms, UdpTerms};
use crate::machines::verdict::Trouble;
use crate::values::trouble::TroubleKind;

fn trouble(kind: TroubleKind) -> Trouble {
    Trouble {
        kind,
        status: None,
        words: "as the test wants it".into(),
        retry_after: None,
        may_be_data: false,
    }
}

fn lease(world: &mut World, holder: Holder, now: Instant) -> Load {
    match world.transit.lease(holder, now) {
        Lease::Load(load) => load,
        other => panic!("{other:?}"),
    }
}

/// Nobody listens by UDP, HTTP stands in for it, and there is trouble there, too. A batch waits for either.
fn cut_off(kind: TroubleKind) -> World {
    let udp = Some(UdpTerms { http_fallback: true });
    let mut world = World::new(Terms { udp, ..terms() }, Disk::new(100, Full::DropOldest));
    world.transit.set_home(Arc::clone(&HERE));
    world.push(5);
    while world.take_jobs(1) > 0 {
        world.finish_job(0, true);
    }
    let now = world.now;
    let by_udp = lease(&mut world, Holder::udp(0), now);
    world.transit.not_carried(by_udp.key, &trouble(TroubleKind::Unreachable), 1.0, now);
    let by_http = lease(&mut world, Holder::http(0), now);
    world.transit.answered(by_http.key, Answered::Hold(trouble(kind)), 1.0, now);
    world
}

/// What is said to be in the way after UDP has carried everything, and the server has answered when it was asked.
fn left_of(kind: TroubleKind) -> Option<TroubleKind> {
    let mut world = cut_off(kind);
    let later = world.now + terms().backoff_max;
    let by_udp = lease(&mut world, Holder::udp(0), later);
    world.transit.answers_by_http(later);
    world.transit.carried(by_udp.key, None, later);
    world.transit.snapshot(later).trouble.map(|(kind, _)| kind)
}

#[test]
fn trouble_by_http_is_over_when_the_server_answers_and_nothing_waits_for_it() {
    for kind in [TroubleKind::Unreachable, TroubleKind::Timeout, TroubleKind::Unavailable] {
        assert_eq!(left_of(kind), None, "{kind:?}");
    }
}

#[test]
fn what_takes_a_person_is_not_over_because_the_server_answers() {
    for kind in [TroubleKind::Unauthorized, TroubleKind::NoSuchDatabase, TroubleKind::WrongEndpoint] {
        assert_eq!(left_of(kind), Some(kind));
    }
}

#[test]
fn while_points_wait_for_http_only_sending_them_tells_that_they_are_taken_again() {
    for kind in [TroubleKind::Timeout, TroubleKind::Unavailable] {
        let mut world = cut_off(kind);
        let now = world.now;
        world.transit.answers_by_http(now);
        assert_eq!(world.transit.snapshot(now).trouble.map(|(kind, _)| kind), Some(kind));
    }
}
