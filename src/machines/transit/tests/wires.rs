//! Two wires to one server: what is known of the one while the other carries everything.

use std::sync::Arc;
use std::time::Instant;

use super::rig::{Disk, Full, HERE, terms};
use super::world::World;
use crate::machines::transit::{Answered, Holder, Lease, Load, Terms, UdpTerms};
use crate::machines::verdict::Trouble;
use crate::values::batch::Destination;
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

/// Two batches, and a UDP listener of this database.
fn listening(home: &str, udp: Option<UdpTerms>) -> World {
    let mut world = World::new(Terms { udp, ..terms() }, Disk::new(100, Full::DropOldest));
    world.transit.set_home(Arc::new(Destination::new(home)));
    world.push(10);
    while world.take_jobs(1) > 0 {
        world.finish_job(0, true);
    }
    world
}

/// The first numbers of what is given to the next sender of each wire, HTTP first.
fn given(world: &mut World, number: usize, now: Instant) -> [Option<u64>; 2] {
    [Holder::http(number), Holder::udp(number)].map(|holder| match world.transit.lease(holder, now) {
        Lease::Load(load) => Some(load.key),
        _ => None,
    })
}

const ALONE: Option<UdpTerms> = Some(UdpTerms { http_fallback: false });
const WITH_HTTP: Option<UdpTerms> = Some(UdpTerms { http_fallback: true });

#[test]
fn udp_takes_what_is_for_its_listener_and_http_the_rest() {
    for udp in [ALONE, WITH_HTTP] {
        assert_eq!(given(&mut listening("plant", udp), 0, Instant::now()), [None, Some(1)]);
        assert_eq!(given(&mut listening("office", udp), 0, Instant::now()), [Some(1), None]);
    }
    assert_eq!(given(&mut listening("plant", None), 0, Instant::now()), [Some(1), None], "no listener");
}

#[test]
fn what_no_datagram_holds_goes_by_http() {
    let mut world = listening("plant", WITH_HTTP);
    let now = world.now;
    let load = lease(&mut world, Holder::udp(0), now);
    world.transit.carried(load.key, Some((load.lines().unwrap().lines, vec![2])), now);
    assert_eq!(given(&mut world, 0, now), [Some(1), Some(6)]);
}

#[test]
fn while_nobody_listens_http_takes_all_but_one_batch_when_it_is_time_to_look_again() {
    for udp in [ALONE, WITH_HTTP] {
        let stands_in = udp.is_some_and(|udp| udp.http_fallback);
        let mut world = listening("plant", udp);
        let now = world.now;
        let by_udp = lease(&mut world, Holder::udp(0), now);
        world.transit.not_carried(by_udp.key, &trouble(TroubleKind::Unreachable), 1.0, now);
        assert_eq!(given(&mut world, 0, now), [stands_in.then_some(1), None], "nobody listens");

        let mut world = listening("plant", udp);
        let by_udp = lease(&mut world, Holder::udp(0), now);
        world.transit.not_carried(by_udp.key, &trouble(TroubleKind::Unreachable), 1.0, now);
        let later = now + terms().backoff_max;
        assert_eq!(given(&mut world, 0, later), [None, Some(1)], "time to look again");
        assert_eq!(given(&mut world, 1, later), [stands_in.then_some(6), None], "one does");
    }
}
