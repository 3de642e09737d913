//! What memory makes of a spool that was opened anew: what of it is still there, what is gone, and who is told.

use std::time::Duration;

use super::rig::{Disk, Full, complaint, refusal, terms};
use super::world::{End, World};
use crate::machines::plan::{CommitPlan, RowId};
use crate::machines::transit::{Found, Opened, Terms};
use crate::machines::verdict::{Cause, Verdict};
use crate::machines::waiters::Until;
use crate::values::fate::{Fate, QuarantineReason, Standing};
use crate::values::ledger::{Ledger, Tally};
use crate::values::seq::SeqRange;

const MALFORMED: Fate = Fate::Quarantined(QuarantineReason::Malformed);

/// Nothing is stored unless it is asked for.
fn world() -> World {
    let patient = Terms { points_max: 1_000, loss_window: Some(Duration::from_secs(3_600)), ..terms() };
    World::new(patient, Disk::new(100, Full::DropOldest))
}

fn seal_all(world: &mut World) {
    while world.take_jobs(1) > 0 {
        world.finish_job(0, true);
    }
}

/// Of five points each.
fn store(world: &mut World, batches: u64) {
    for _ in 0..batches {
        world.push(5);
        world.commit_all();
        seal_all(world);
        assert!(world.plan(false));
        world.finish_trip(End::Answered);
    }
}

/// The file lost all its rows, and says of their numbers what `found` is.
fn salvage(world: &mut World, found: Found) {
    let stored = world.disk.backlog();
    let mut ledger: Ledger = world.disk.ledger().clone();
    ledger.settle(Fate::Damaged, Tally::new(stored.points, stored.bytes));
    let opened = Opened { backlog: Default::default(), ledger, salvaged: true, ..world.disk.opened() };
    world.transit.reopened(&opened, |_| found, world.now);
}

/// What is to be written next, be it due or not.
fn next_plan(world: &mut World) -> CommitPlan {
    world.transit.commit_up_to(world.transit.last_seq());
    world.transit.plan_commit(true, None, world.now).unwrap()
}

fn seqs(first: u64, last: u64) -> SeqRange {
    SeqRange { first, last }
}

#[test]
fn what_was_never_stored_is_pending_whatever_the_file_says_of_its_number() {
    for found in [Found::Settled(Fate::Delivered), Found::Lost, Found::Nothing] {
        for salvaged in [true, false] {
            let mut world = world();
            world.push(5);
            seal_all(&mut world);
            let opened = Opened { salvaged, ..world.disk.opened() };
            world.transit.reopened(&opened, |_| found, world.now);
            assert_eq!(world.transit.pending_points(), 5, "{found:?}");
            let plan = next_plan(&mut world);
            assert_eq!((plan.appends.len(), plan.written_off), (1, vec![]), "{found:?}, {salvaged}");
        }
    }
}

#[test]
fn a_lost_row_counts_as_damaged_only_in_a_file_that_has_known_it() {
    for (commit_number, written_off) in [(1, vec![1]), (0, vec![])] {
        let mut world = world();
        store(&mut world, 1);
        let opened = Opened { commit_number, salvaged: true, ..Opened::in_memory() };
        world.transit.reopened(&opened, |_| Found::Nothing, world.now);
        assert_eq!(next_plan(&mut world).written_off, written_off, "a file of transaction {commit_number}");
    }
}

/// Three rows had met their fate: delivered, quarantined, and delivered but for one line.
fn settled() -> World {
    let mut world = world();
    world.bad = |number| number == 13;
    store(&mut world, 3);
    assert!(world.lease(0) && world.answer(0, Verdict::Delivered));
    assert!(world.lease(0) && world.answer(0, refusal()));
    while world.lease(0) {
        world.judge(0, &complaint(Cause::Malformed));
    }
    assert_eq!(world.fates.len(), 15);
    world
}

#[test]
fn what_was_delivered_and_whose_row_was_lost_is_taken_back_from_the_damaged() {
    let mut world = settled();
    salvage(&mut world, Found::Lost);
    let plan = next_plan(&mut world);
    assert!(plan.settle.is_empty());
    let recorded: Vec<_> = plan.direct.iter().map(|direct| (direct.seqs, direct.fate)).collect();
    // The body of [6, 10] was to go from its row to quarantine: it is gone with it.
    assert_eq!(
        recorded,
        [
            (seqs(1, 5), Fate::Delivered),
            (seqs(11, 12), Fate::Delivered),
            (seqs(13, 13), MALFORMED),
            (seqs(14, 15), Fate::Delivered),
        ]
    );
    assert!(plan.direct.iter().all(|direct| direct.written_off), "{:?}", plan.direct);
    let ledger = world.transit.snapshot(world.now).ledger;
    let points = [Fate::Delivered, MALFORMED, Fate::Damaged].map(|fate| ledger.of(fate).points);
    assert_eq!((points, ledger.accepted().points), ([9, 1, 5], 15));
}

#[test]
fn what_the_file_has_settled_or_still_has_is_not_recorded_beside_it() {
    let mut world = settled();
    salvage(&mut world, Found::Settled(Fate::Delivered));
    let plan = next_plan(&mut world);
    assert!(plan.settle.is_empty() && plan.direct.is_empty(), "{plan:?}");

    let mut world = settled();
    salvage(&mut world, Found::Row(RowId(1)));
    let plan = next_plan(&mut world);
    assert_eq!((plan.settle.len(), plan.direct.len()), (3, 0));
}

#[test]
fn what_was_lost_with_its_row_and_is_sent_from_memory_is_taken_back_from_the_damaged() {
    for (bad, parts) in [((|_| false) as fn(u64) -> bool, 1), (|number| number == 3, 3)] {
        let mut world = world();
        world.bad = bad;
        store(&mut world, 1);
        salvage(&mut world, Found::Lost);
        while world.lease(0) {
            world.judge(0, &complaint(Cause::Malformed));
        }
        let direct = next_plan(&mut world).direct;
        assert_eq!(direct.len(), parts);
        assert!(direct.iter().all(|direct| direct.written_off), "{direct:?}");
    }
}

/// What is told to whoever waits for a point, if `found` is what the file says of it.
fn told(number: u64, found: Found, salvaged: bool) -> Option<Standing> {
    let mut world = world();
    store(&mut world, 12);
    assert!(world.transit.standing(58).is_none() && world.transit.standing(3).is_some());
    let mut receipt = world.transit.wait_for(number, Until::Settled);
    let disk = world.disk.clone();
    let find = |key| if key == number { found } else { disk.find(key) };
    world.transit.reopened(&Opened { salvaged, ..disk.opened() }, find, world.now);
    if let Some(outbox) = world.transit.take_outbox() {
        outbox.answers.send();
    }
    receipt.try_recv().ok()
}

#[test]
fn whoever_waits_for_a_point_is_told_what_the_file_knows_of_it() {
    let damaged = Some(Standing::Settled(Fate::Damaged));
    assert_eq!(told(58, Found::Lost, true), damaged, "no salvage has found it");
    assert_eq!(told(58, Found::Lost, false), None, "the file may be behind, and not damaged");
    assert_eq!(told(3, Found::Lost, true), None, "memory has it");
    assert_eq!(told(58, Found::Nothing, true), None);
    assert_eq!(told(58, Found::Row(RowId(12)), true), None);
    for salvaged in [true, false] {
        let delivered = Some(Standing::Settled(Fate::Delivered));
        assert_eq!(told(58, Found::Settled(Fate::Delivered), salvaged), delivered);
    }
}
