//! What is told to those who look from outside, and that nobody waits for what will not happen any more.

use std::sync::Arc;
use std::time::Duration;

use super::rig::{Disk, Full, HERE, line_of, refusal, terms, trouble};
use super::world::{End, World};
use crate::machines::link::LinkNews;
use crate::machines::plan::{Committed, Replayed, RowId, Withheld};
use crate::machines::queue::SegmentLimits;
use crate::machines::transit::{Answered, Holder, Lease, News, Terms, UdpTerms, Wire};
use crate::machines::verdict::Verdict;
use crate::machines::waiters::Until;
use crate::values::config::Compression;
use crate::values::fate::QuarantineReason;
use crate::values::ledger::{Backlog, Tally};
use crate::values::seq::SeqRange;

/// Nothing is stored unless it is asked for.
fn patient() -> Terms {
    Terms { points_max: 1_000, loss_window: Some(Duration::from_secs(3_600)), ..terms() }
}

fn world(terms: Terms) -> World {
    World::new(terms, Disk::new(100, Full::DropOldest))
}

fn seal_all(world: &mut World) {
    while world.take_jobs(1) > 0 {
        world.finish_job(0, true);
    }
}

fn store(world: &mut World) {
    world.commit_all();
    seal_all(world);
    while world.plan(false) {
        world.finish_trip(End::Answered);
        seal_all(world);
    }
}

fn news(world: &mut World) -> Vec<News> {
    let Some(outbox) = world.transit.take_outbox() else { return Vec::new() };
    outbox.answers.send();
    outbox.news
}

#[test]
fn a_snapshot_says_where_the_points_are() {
    let mut world = world(patient());
    world.push(5);
    store(&mut world);
    world.push(12);
    seal_all(&mut world);
    assert!(world.lease(0));
    let seen = world.transit.snapshot(world.now);
    let points = [seen.spooled.points, seen.volatile.points, seen.queued.points];
    assert_eq!((points, seen.spooled.batches, seen.in_flight), ([5, 10, 2], 1, 1));
    assert!(!seen.stopped && seen.withheld.is_none());
    assert!(!world.transit.is_stopped() && world.transit.stop());
    assert!(world.transit.is_stopped() && !world.transit.stop(), "once");
    assert!(world.transit.snapshot(world.now).stopped);
    world.drain();
}

#[test]
fn a_snapshot_says_what_is_in_the_way_of_either_wire() {
    let udp = Some(UdpTerms { http_fallback: true });
    let mut world = world(Terms { udp, ..patient() });
    world.transit.set_home(Arc::clone(&HERE));
    world.push(5);
    seal_all(&mut world);
    let Verdict::Hold(refused) = trouble() else { unreachable!() };
    let now = world.now;
    let Lease::Load(load) = world.transit.lease(Holder::udp(0), now) else { panic!("it is for UDP") };
    world.transit.not_carried(load.key, &refused, 1.0, now);
    let seen = world.transit.snapshot(now);
    assert_eq!((seen.failures, seen.trouble), (1, Some((refused.kind, refused.words.clone()))));
    for _ in 0..2 {
        let Lease::Load(load) = world.transit.lease(Holder::http(0), now) else { panic!("UDP is down") };
        world.transit.answered(load.key, Answered::Hold(refused.clone()), 0.0, now);
    }
    assert_eq!(world.transit.snapshot(now).failures, 3);
}

#[test]
fn a_number_stands_nowhere_before_it_is_given() {
    let mut world = world(patient());
    world.push(5);
    assert!(world.transit.standing(0).is_none() && world.transit.standing(6).is_none());
    assert!(world.transit.standing(1).is_some() && world.transit.standing(5).is_some());
}

#[test]
fn what_would_be_lost_is_what_is_in_memory_or_on_its_way_to_quarantine() {
    let mut world = world(patient());
    world.push(17);
    seal_all(&mut world);
    assert!(world.lease(0) && world.answer(0, refusal()));
    assert!(world.lease(0) && world.answer(0, Verdict::Delivered));
    let seen = world.transit.snapshot(world.now);
    assert_eq!((seen.queued.points, seen.volatile.points), (2, 5));
    assert_eq!(world.transit.unsaved_points(), 2 + 5 + 5);
    assert!(!world.transit.is_all_stored());
    store(&mut world);
    assert_eq!(world.transit.unsaved_points(), 0);
    assert!(world.transit.is_all_stored());
}

#[test]
fn whoever_stops_knows_whether_a_body_is_being_made() {
    let mut world = world(patient());
    world.push(5);
    assert!(!world.transit.is_sealing());
    assert_eq!(world.take_jobs(1), 1);
    assert!(world.transit.is_sealing());
    world.finish_job(0, true);
    assert!(!world.transit.is_sealing());
}

#[test]
fn the_batcher_is_told_when_somebody_waits_for_a_body() {
    let mut world = world(Terms { points_max: 10, ..patient() });
    world.push(10);
    seal_all(&mut world);
    // The first batch shrinks, and would have to be made anew.
    world.push(1);
    assert!(!world.transit.wants_seal());
    assert!(matches!(world.transit.lease(Holder::http(0), world.now), Lease::Unmade));
    assert!(world.transit.wants_seal());
}

#[test]
fn work_is_weighed_by_its_plain_lines() {
    let lines: u64 = (1..=5).map(|number| line_of(number).len() as u64).sum();
    let mut world = world(Terms { points_max: 10, ..patient() });
    world.push(10);
    assert_eq!(world.take_jobs(1), 1);
    assert_eq!(world.jobs[0].raw_len(), lines);
    world.finish_job(0, true);
    seal_all(&mut world);
    world.push(1);
    world.lease(0);
    assert_eq!(world.take_jobs(1), 1);
    assert_eq!(world.jobs[0].raw_len(), lines, "all of it has to be looked through");
}

#[test]
fn a_batch_that_is_made_anew_is_encoded_as_is_usual_by_then() {
    let compressed = Terms { points_max: 10, compression: Compression::Gzip, ..patient() };
    let mut world = world(compressed);
    world.push(10);
    seal_all(&mut world);
    world.push(3);
    world.transit.set_terms(Terms { compression: Compression::None, ..compressed }, world.now);
    world.lease(0);
    seal_all(&mut world);
    assert!(world.lease(0));
    let load = &world.leases[&0];
    assert_eq!(
        (load.batch.seqs, load.batch.body.len()),
        (SeqRange { first: 4, last: 5 }, line_of(4).len() + line_of(5).len())
    );
    assert_eq!(load.batch.raw_len, load.batch.body.len() as u64);
    world.drain();
}

#[test]
fn what_happens_to_the_link_and_what_is_set_aside_is_told() {
    let mut world = world(patient());
    world.push(10);
    seal_all(&mut world);
    assert!(world.lease(0));
    world.answer(0, trouble());
    let told = news(&mut world);
    assert!(matches!(told[..], [News::Link(Wire::Http, LinkNews::Down { .. })]), "{told:?}");
    world.transit.try_now(world.now);
    assert!(world.lease(0));
    world.answer(0, Verdict::Delivered);
    let told = news(&mut world);
    assert!(matches!(told[..], [News::Link(Wire::Http, LinkNews::Up { .. })]), "{told:?}");
    assert!(world.lease(0));
    world.answer(0, refusal());
    let told = news(&mut world);
    let [News::Quarantined { seqs, reason, status, words }] = &told[..] else { panic!("{told:?}") };
    assert_eq!((*seqs, *reason), (SeqRange { first: 6, last: 10 }, QuarantineReason::Refused));
    assert_eq!((*status, words.as_str()), (Some(400), "unable to parse"));
}

#[test]
fn losses_are_told_once_until_they_may_be_told_again() {
    let mut world = world(Terms { points_max: 5, ..patient() });
    world.push(5);
    let told = |world: &mut World| {
        world.push(1);
        news(world).len()
    };
    assert_eq!([told(&mut world), told(&mut world)], [1, 0]);
    world.transit.losses_told();
    assert_eq!([told(&mut world), told(&mut world)], [1, 0]);
}

#[test]
fn what_was_delivered_is_no_loss() {
    let mut world = world(patient());
    world.push(5);
    seal_all(&mut world);
    assert!(world.lease(0) && world.answer(0, Verdict::Delivered));
    assert!(news(&mut world).is_empty());
}

/// Whether somebody waits still.
macro_rules! waits {
    ($receiver:expr) => {
        $receiver.try_recv() == Err(tokio::sync::oneshot::error::TryRecvError::Empty)
    };
}

#[test]
fn at_the_end_nobody_waits_any_more() {
    let mut world = world(patient());
    world.push(5);
    let mut receipt = world.transit.wait_for(1, Until::Settled);
    let (mut flush, mut commit) = (world.transit.wait_for_flush(5), world.transit.wait_for_commit(5));
    let mut replay = world.transit.replay(None);
    assert!(news(&mut world).is_empty() && !world.transit.is_dismissed());
    assert!(waits!(receipt) && waits!(flush) && waits!(commit) && waits!(replay));
    world.transit.dismiss();
    assert!(news(&mut world).is_empty() && world.transit.is_dismissed());
    assert!(!waits!(receipt) && !waits!(flush) && !waits!(commit) && !waits!(replay));

    let mut late = world.transit.wait_for(1, Until::Settled);
    news(&mut world);
    assert!(!waits!(late));
    let mut late = world.transit.wait_for_flush(5);
    news(&mut world);
    assert!(!waits!(late));
    let mut late = world.transit.wait_for_commit(5);
    news(&mut world);
    assert!(!waits!(late));
    let mut late = world.transit.replay(None);
    assert!(!waits!(late));
}

/// Twelve stored batches, and what a transaction says that took so much back from quarantine.
fn replaying(world: &mut World, replayed: Replayed) {
    let plan = world.transit.plan_commit(false, None, world.now).unwrap();
    assert!(plan.replay.is_some());
    let (backlog, ledger) = (world.disk.backlog(), world.disk.ledger().clone());
    let outcome = Committed { replayed: Some(replayed), backlog, ledger, ..Committed::default() };
    world.transit.committed(&outcome, world.now);
}

#[test]
fn a_replay_of_several_transactions_is_answered_with_their_sum() {
    let mut world = world(patient());
    let mut answer = world.transit.replay(None);
    for turn in [1, 2] {
        assert!(waits!(answer));
        replaying(
            &mut world,
            Replayed {
                backlog: Backlog { batches: turn, points: 10 * turn, bytes: 100 * turn },
                damaged: Tally::new(3 * turn, 30 * turn),
                more: turn == 1,
                up_to: Some(RowId(7)),
                ..Replayed::default()
            },
        );
        news(&mut world);
        let next = world.transit.next_replay().map(|next| next.up_to);
        assert_eq!(next, (turn == 1).then_some(Some(RowId(7))), "up to the row that was the newest at first");
    }
    let done = answer.try_recv().unwrap();
    assert_eq!((done.backlog.batches, done.backlog.points, done.backlog.bytes), (3, 30, 300));
    assert_eq!(done.damaged, Tally::new(9, 90));
}

#[test]
fn a_replay_that_finds_no_room_ends() {
    let mut world = world(patient());
    let mut answer = world.transit.replay(None);
    let withheld = Some(Withheld::DiskFull);
    replaying(&mut world, Replayed { more: true, withheld, ..Replayed::default() });
    news(&mut world);
    assert_eq!(answer.try_recv().unwrap().withheld, withheld);
    assert!(world.transit.next_replay().is_none());
}

#[test]
fn a_stop_ends_what_is_being_taken_back_and_begins_nothing() {
    let mut world = world(patient());
    let (mut begun, mut waiting) = (world.transit.replay(None), world.transit.replay(None));
    let plan = world.transit.plan_commit(false, None, world.now).unwrap();
    assert!(plan.replay.is_some());
    assert!(world.transit.stop());
    let mut late = world.transit.replay(None);
    news(&mut world);
    assert!(waits!(begun) && !waits!(waiting) && !waits!(late));

    let backlog = Backlog { batches: 1, points: 10, bytes: 100 };
    let replayed = Some(Replayed { backlog, more: true, ..Replayed::default() });
    let (backlog, ledger) = (world.disk.backlog(), world.disk.ledger().clone());
    world.transit.committed(&Committed { replayed, backlog, ledger, ..Committed::default() }, world.now);
    news(&mut world);
    assert_eq!(begun.try_recv().unwrap().backlog.points, 10, "it is told what has come back");
    assert!(world.transit.plan_commit(true, None, world.now).unwrap().replay.is_none());
}

#[test]
fn a_replay_of_nothing_leaves_what_is_in_memory_there() {
    let mut world = world(Terms { loss_window: Some(Duration::ZERO), ..patient() });
    world.push(60);
    store(&mut world);
    let (kept, read_to) = (world.transit.window.len(), world.transit.read_to);
    assert!(kept == 8 && world.transit.beyond.batches > 0, "{kept}");
    let _answer = world.transit.replay(None);
    replaying(&mut world, Replayed::default());
    assert_eq!((world.transit.window.len(), world.transit.read_to), (kept, read_to));
}

#[test]
fn a_replay_waits_for_what_is_older_and_for_nothing_else() {
    let mut world = world(patient());
    world.push(5);
    let _answer = world.transit.replay(None);
    assert!(world.transit.next_replay().is_none(), "what is only in memory is older");
    store(&mut world);
    let _answer = world.transit.replay(None);
    world.push(5);
    assert!(world.transit.next_replay().is_some());
}

#[test]
fn what_is_older_than_what_comes_back_stays_in_memory() {
    let segment = SegmentLimits { points_max: 1, bytes_max: 1 << 16 };
    let mut world = world(Terms { segment, loss_window: Some(Duration::ZERO), ..patient() });
    world.push(12);
    store(&mut world);
    assert!((0..3).all(|holder| world.lease(holder)));
    world.answer(2, refusal());
    world.die(0, false);
    world.die(1, false);
    world.replay();
    while world.plan(false) {
        world.finish_trip(End::Answered);
    }
    let kept: Vec<u64> = world.transit.window.keys().copied().collect();
    assert_eq!((kept, world.transit.read_to), (vec![1, 2], 2), "the third has come back");
    world.drain();
}

/// A salvage numbers the rows of the quarantine anew.
#[test]
fn after_a_salvage_a_replay_asks_anew_which_row_is_the_newest() {
    let mut world = world(patient());
    let _answer = world.transit.replay(None);
    replaying(&mut world, Replayed { more: true, up_to: Some(RowId(7)), ..Replayed::default() });
    assert_eq!(world.transit.next_replay().unwrap().up_to, Some(RowId(7)));
    let (opened, disk) = (world.disk.opened(), world.disk.clone());
    let opened = crate::machines::transit::Opened { salvaged: true, ..opened };
    world.transit.reopened(&opened, |key| disk.find(key), world.now);
    assert_eq!(world.transit.next_replay().unwrap().up_to, None);
}
