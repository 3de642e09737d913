//! Named cases, one for each find.

use std::time::Duration;

use super::rig::{Disk, Full, line_of, refusal, terms, trouble};
use super::world::{End, World};
use crate::machines::transit::{Found, Holder, Lease, Opened, Terms};
use crate::machines::verdict::Verdict;
use crate::machines::waiters::Until;
use crate::values::fate::{Fate, ShedReason};
use crate::values::ledger::Tally;

const DURABLE: Option<Duration> = Some(Duration::ZERO);

fn world(terms: Terms, rows_max: usize, full: Full) -> World {
    World::new(terms, Disk::new(rows_max, full))
}

fn seal_all(world: &mut World) {
    while world.take_jobs(1) > 0 {
        world.finish_job(0, true);
    }
}

fn store_all(world: &mut World) {
    world.commit_all();
    seal_all(world);
    while world.plan(false) {
        world.finish_trip(End::Answered);
        seal_all(world);
    }
}

/// The batch [1, 5] loses its first points, is made anew as [4, 5], and is known by that number from then on.
fn trimmed() -> World {
    let mut world = world(Terms { points_max: 10, ..terms() }, 100, Full::DropOldest);
    world.push(10);
    seal_all(&mut world);
    world.push(3);
    world.commit_all();
    assert!(!world.plan(false), "it has to be made anew first");
    seal_all(&mut world);
    world
}

#[test]
fn a_trimmed_batch_is_found_again_after_the_answer_of_its_transaction_was_lost() {
    let mut world = trimmed();
    assert!(world.plan(false) && world.lease(0));
    // Settled while it is being stored: only the row's number tells that it was.
    world.answer(0, Verdict::Delivered);
    world.finish_trip(End::AnswerLost);
    world.check();
    world.drain();
}

#[test]
fn a_trimmed_batch_is_not_read_back_beside_itself() {
    let mut world = trimmed();
    store_all(&mut world);
    for _ in 0..12 {
        world.push(5);
        store_all(&mut world);
    }
    assert!(world.transit.beyond.batches > 0);
    world.check();
    world.drain();
}

#[test]
fn a_trimmed_batch_that_is_evicted_leaves_the_window() {
    let mut world = trimmed();
    world.disk.rows_max = 2;
    store_all(&mut world);
    world.push(10);
    store_all(&mut world);
    world.check();
    world.drain();
}

#[test]
fn a_transaction_that_was_asked_for_is_not_slept_over_while_the_spool_is_full() {
    let window = Some(Duration::from_secs(60));
    let mut world = world(Terms { loss_window: window, ..terms() }, 1, Full::Refuse);
    world.push(5);
    store_all(&mut world);
    world.push(5);
    seal_all(&mut world);
    assert!(world.plan(false), "rows are in the spool, so it goes there");
    world.finish_trip(End::Answered);
    assert!(!world.plan(false), "full");
    let due = world.transit.next_commit_at().unwrap();
    assert_eq!(due, world.now + Duration::from_secs(1));
    world.pass_to_next_due();
    world.drain();
}

#[test]
fn a_trimmed_batch_is_asked_for_when_the_spool_that_was_full_is_tried_again() {
    let mut world = world(Terms { loss_window: DURABLE, points_max: 10, ..terms() }, 0, Full::Refuse);
    world.push(10);
    seal_all(&mut world);
    assert!(world.plan(false));
    world.finish_trip(End::Answered);
    world.push(3);
    assert!(!world.plan(false), "full");
    assert_eq!(world.transit.next_commit_at(), Some(world.now + Duration::from_secs(1)));
    world.pass_to_next_due();
    assert!(!world.jobs.is_empty());
    world.disk.rows_max = 100;
    world.drain();
}

#[test]
fn what_a_transaction_dropped_whose_answer_was_lost_is_not_stored_again() {
    let mut world = world(Terms { loss_window: DURABLE, ..terms() }, 2, Full::DropOldest);
    world.push(10);
    world.ask(9, Until::Settled);
    store_all(&mut world);
    world.push(10);
    seal_all(&mut world);
    assert!(world.plan(false));
    world.finish_trip(End::AnswerLost);
    world.check();
    assert_eq!(world.fates[&1], Fate::Shed(ShedReason::SpoolFull));
    world.drain();
}

#[test]
fn a_receipt_is_answered_though_the_answer_that_its_point_was_dropped_is_lost() {
    let mut world = world(Terms { loss_window: DURABLE, ..terms() }, 12, Full::DropOldest);
    world.push(60);
    world.terms.points_max = 100;
    store_all(&mut world);
    world.push(5);
    store_all(&mut world);
    assert!(world.transit.beyond.batches > 0);
    // The rows of the window are in hand, so the first to go is one beyond.
    let beyond = world.transit.read_to + 5;
    world.ask(world.transit.last_seq() - beyond, Until::Settled);
    world.push(40);
    seal_all(&mut world);
    assert!(world.plan(false));
    world.finish_trip(End::AnswerLost);
    world.check();
    world.drain();
}

#[test]
fn a_batch_delivered_while_the_spool_drops_it_is_counted_once() {
    for end in [End::Answered, End::AnswerLost] {
        // The transit believes that there is room enough, so the two may race.
        let wrong = Terms { loss_window: DURABLE, spool_bytes_max: 1 << 40, ..terms() };
        let mut world = world(wrong, 2, Full::DropOldest);
        world.push(10);
        store_all(&mut world);
        world.push(10);
        seal_all(&mut world);
        assert!(world.plan(false) && world.lease(0));
        world.answer(0, Verdict::Delivered);
        world.finish_trip(end);
        world.check();
        world.drain();
    }
}

#[test]
fn what_a_small_spool_may_be_dropping_is_not_sent_meanwhile() {
    // Pages make a file of these sizes fuller than its bodies say.
    for spool_bytes_max in [200 << 10, 400 << 10, 600 << 10] {
        let small = Terms { loss_window: DURABLE, spool_bytes_max, ..terms() };
        let mut world = world(small, 2, Full::DropOldest);
        world.push(10);
        store_all(&mut world);
        world.push(10);
        seal_all(&mut world);
        assert!(world.plan(false) && !world.lease(0));
        world.finish_trip(End::Answered);
        assert!(world.lease(0));
        world.answer(0, Verdict::Delivered);
        world.check();
        world.drain();
    }
}

#[test]
fn a_batch_settled_while_it_was_stored_is_not_read_back() {
    let mut world = world(terms(), 100, Full::DropOldest);
    world.push(5);
    seal_all(&mut world);
    world.commit_all();
    assert!(world.lease(0) && world.plan(false));
    world.answer(0, Verdict::Delivered);
    world.finish_trip(End::Answered);
    world.push(40);
    store_all(&mut world);
    world.check();
    world.drain();
}

#[test]
fn a_row_that_a_repair_could_not_save_is_stored_afresh_and_sent_in_its_place() {
    let mut world = world(Terms { loss_window: DURABLE, points_max: 100, ..terms() }, 100, Full::DropOldest);
    world.push(80);
    store_all(&mut world);
    assert!(world.transit.beyond.batches > 0);
    let mut opened = world.disk.opened();
    opened.backlog.batches -= 1;
    opened.backlog.points -= 5;
    opened.salvaged = true;
    opened.ledger.settle(Fate::Damaged, Tally::new(5, 5 * line_of(6).len() as u64));
    let disk = world.disk.clone();
    let find = |key| if key == 6 { Found::Nothing } else { disk.find(key) };
    world.transit.reopened(&opened, find, world.now);
    assert_eq!(world.transit.pending_points(), 80);
    let books = world.transit.snapshot(world.now).ledger;
    assert_eq!(books.accepted().points, books.settled_points() + 80);
    assert_eq!(books.accepted().points, 80, "lost with its row, but not from memory");
    assert_eq!(books.of(Fate::Damaged).points, 0);
    let plan = world.transit.plan_commit(false, None, world.now).unwrap();
    assert_eq!(plan.appends[0].seqs.first, 6);
    assert_eq!(plan.written_off, [6], "the file counts it as damaged, and takes that back when it is stored");
    let outcome = crate::machines::plan::Committed {
        appended: vec![crate::machines::plan::RowId(1_000)],
        backlog: disk.backlog(),
        ledger: disk.ledger().clone(),
        ..Default::default()
    };
    world.transit.committed(&outcome, world.now);
    let is_read_next = world.transit.wants_read().is_some_and(|read| read.after < 6);
    assert!(
        world.transit.window.contains_key(&6) || is_read_next,
        "it is not left for a read that would not find it"
    );
    assert_eq!(world.transit.pending_points(), 80);
}

#[test]
fn a_disk_without_room_for_a_record_is_tried_again_a_second_later() {
    let mut world = world(Terms { loss_window: DURABLE, ..terms() }, 100, Full::DropOldest);
    world.push(10);
    store_all(&mut world);
    assert!(world.lease(0));
    world.answer(0, Verdict::Delivered);
    world.push(5);
    seal_all(&mut world);
    assert!(world.transit.plan_commit(false, None, world.now).is_some());
    world.transit.commit_found_no_room(world.now);
    assert!(world.transit.plan_commit(false, None, world.now).is_none());
    let again = world.transit.next_commit_at().unwrap();
    assert!(again >= world.now + Duration::from_secs(1));
    let plan = world.transit.plan_commit(false, None, again).unwrap();
    assert_eq!((plan.appends.len(), plan.settle.len()), (1, 1));
}

#[test]
fn a_disk_that_was_full_is_asked_again_though_nothing_waits_for_room() {
    let terms = Terms { ledger_interval: Duration::from_secs(3_600), ..terms() };
    let mut world = world(Terms { loss_window: DURABLE, ..terms }, 0, Full::Refuse);
    world.push(5);
    seal_all(&mut world);
    assert!(world.plan(false));
    world.finish_trip(End::Answered);
    assert!(world.transit.snapshot(world.now).withheld.is_some());
    world.transit.set_terms(Terms { loss_window: Some(Duration::from_secs(3_600)), ..terms }, world.now);
    assert!(world.lease(0));
    world.answer(0, Verdict::Delivered);
    assert_eq!(world.transit.pending_points(), 0);
    assert_eq!(world.transit.next_commit_at(), Some(world.now + Duration::from_secs(1)));
    world.pass_to_next_due();
    world.finish_trip(End::Answered);
    assert_eq!(world.transit.snapshot(world.now).withheld, None);
    world.drain();
}

#[test]
fn a_batch_is_stored_when_three_quarters_of_the_loss_window_have_passed() {
    for (window_ms, due_ms) in [(0, 0), (1_000, 750), (3_000, 2_250)] {
        let loss_window = Some(Duration::from_millis(window_ms));
        let mut world = world(Terms { loss_window, ..terms() }, 100, Full::DropOldest);
        world.push(5);
        seal_all(&mut world);
        let due = world.now + Duration::from_millis(due_ms);
        assert_eq!(world.transit.next_commit_at(), Some(due), "{loss_window:?}");
        if due_ms > 0 {
            world.now = due - Duration::from_nanos(1);
            assert!(!world.plan(false), "{loss_window:?}");
        }
        world.now = due;
        assert!(world.plan(false), "{loss_window:?}");
        world.finish_trip(End::Answered);
        world.drain();
    }
}

#[test]
fn a_transaction_of_nothing_that_failed_is_not_done_again() {
    let mut world = world(Terms { loss_window: DURABLE, ..terms() }, 100, Full::DropOldest);
    assert!(world.transit.plan_commit(true, None, world.now).is_some());
    world.transit.commit_failed(world.now);
    assert_eq!(world.transit.next_commit_at(), None);
}

#[test]
fn what_is_asked_for_is_stored_at_once() {
    let window = Some(Duration::from_secs(3_600));
    let mut world = world(Terms { loss_window: window, ..terms() }, 100, Full::DropOldest);
    world.push(10);
    seal_all(&mut world);
    assert!(world.transit.next_commit_at().is_some_and(|at| at > world.now));
    world.transit.commit_up_to(5);
    assert_eq!(world.transit.next_commit_at(), Some(world.now));
    let plan = world.transit.plan_commit(false, None, world.now).unwrap();
    assert_eq!(plan.appends.len(), 1, "and no more");
}

#[test]
fn a_full_spool_is_asked_again_in_time_or_when_somebody_knows_better() {
    let mut world = world(Terms { loss_window: DURABLE, ..terms() }, 0, Full::Refuse);
    world.push(5);
    seal_all(&mut world);
    assert!(world.plan(false));
    world.finish_trip(End::Answered);
    // A transaction that brings nothing says nothing of the room.
    assert!(world.plan(true));
    world.finish_trip(End::Answered);
    assert!(world.transit.snapshot(world.now).withheld.is_some());
    assert_eq!(world.transit.next_commit_at(), Some(world.now + Duration::from_secs(1)));
    world.disk.rows_max = 100;
    world.transit.retry_appends();
    assert_eq!(world.transit.next_commit_at(), Some(world.now));
    assert!(world.plan(false));
    world.finish_trip(End::Answered);
    assert_eq!(world.transit.snapshot(world.now).withheld, None);
    world.drain();
}

#[test]
fn a_row_that_a_salvage_lost_before_it_was_heard_of_counts_as_damaged_until_it_is_stored_again() {
    for salvaged in [true, false] {
        let mut world = world(Terms { loss_window: DURABLE, ..terms() }, 100, Full::DropOldest);
        world.push(5);
        seal_all(&mut world);
        let plan = world.transit.plan_commit(false, None, world.now).unwrap();
        let opened = Opened { commit_number: plan.number, salvaged, ..world.disk.opened() };
        world.transit.reopened(&opened, |_| Found::Nothing, world.now);
        let plan = world.transit.plan_commit(false, None, world.now).unwrap();
        assert_eq!(plan.appends[0].seqs.first, 1);
        assert_eq!(plan.written_off, if salvaged { vec![1] } else { Vec::new() });
    }
}

#[test]
fn one_request_at_a_time_probes_a_server_that_is_down() {
    let mut world = world(Terms { loss_window: None, ..terms() }, 0, Full::Refuse);
    world.push(20);
    seal_all(&mut world);
    assert!(world.lease(0) && world.lease(1));
    world.answer(1, trouble());
    let Lease::NotBefore(at) = world.transit.lease(Holder::http(1), world.now) else {
        panic!("the link is down")
    };
    world.now = at;
    assert!(!world.lease(1), "the first request is still under way");
    world.answer(0, Verdict::Delivered);
    assert!(world.lease(0) && world.lease(1), "the link is up");
    world.drain();
}

#[test]
fn a_batch_in_work_during_two_panics_is_set_aside() {
    for window in [None, DURABLE, Some(Duration::from_secs(1))] {
        let mut world = world(Terms { loss_window: window, ..terms() }, 100, Full::DropOldest);
        world.push(10);
        if window == DURABLE {
            store_all(&mut world);
        } else {
            seal_all(&mut world);
        }
        for _ in 0..2 {
            assert!(world.lease(0));
            world.die(0, true);
            world.check();
        }
        assert_eq!(world.fates.len(), 5);
        assert!(world.lease(0) && world.leases[&0].batch.seqs.first == 6);
        world.drain();
    }
}

#[test]
fn nothing_is_sent_while_what_was_refused_cannot_be_stored() {
    let mut world = world(Terms { bytes_max: 2_000, ..terms() }, 100, Full::DropOldest);
    let mut refused = 0;
    for _ in 0..100 {
        world.push(10);
        seal_all(&mut world);
        while world.lease(0) {
            world.answer(0, refusal());
            refused += 1;
        }
    }
    assert!(refused > 0 && world.transit.books.unsaved.quarantine_bytes() < 2 * 2_000, "{refused}");
    world.check();
    world.drain();
}

#[test]
fn while_the_server_is_down_points_gather_for_as_long_as_they_can_be_stored() {
    let linger = |world: &World| world.transit.next_seal_at().map(|due| due - world.now);
    let mut world = world(terms(), 100, Full::DropOldest);
    world.push(1);
    assert_eq!(linger(&world), Some(Duration::from_millis(200)));
    world.flush();
    seal_all(&mut world);
    assert!(world.lease(0));
    world.answer(0, trouble());
    world.push(1);
    assert_eq!(linger(&world), Some(Duration::from_millis(500)), "half the loss window");
    world.pass_to_next_due();
    world.drain();
    world.push(1);
    assert_eq!(linger(&world), Some(Duration::from_millis(200)));
}
