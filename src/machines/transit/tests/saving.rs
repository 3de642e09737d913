//! When points go to the spool, and what is recorded of them when.

use std::time::{Duration, Instant};

use super::rig::{Disk, Full, HERE, line_of, lines_of, refusal, terms, trouble};
use super::world::{End, World};
use crate::machines::plan::{Committed, DamagedRow, ReadBatch, RowId};
use crate::machines::queue::{EncodedLine, SegmentLimits};
use crate::machines::transit::{Found, Opened, ReadRequest, Terms, Transit};
use crate::machines::verdict::Verdict;
use crate::values::fate::{Fate, QuarantineReason};
use crate::values::seq::SeqRange;

/// Far enough for nothing to be due by itself.
const HOUR: Duration = Duration::from_secs(3_600);

fn patient() -> Terms {
    Terms { points_max: 1_000, loss_window: Some(HOUR), ..terms() }
}

fn eager() -> Terms {
    Terms { loss_window: Some(Duration::ZERO), ..patient() }
}

fn world(terms: Terms) -> World {
    World::new(terms, Disk::new(100, Full::DropOldest))
}

fn seal(world: &mut World, batches: usize) {
    for _ in 0..batches {
        assert_eq!(world.take_jobs(1), 1);
        world.finish_job(0, true);
    }
}

/// Of five points each.
fn store(world: &mut World, batches: u64) {
    for _ in 0..batches {
        world.push(5);
        world.commit_all();
        seal(world, 1);
        assert!(world.plan(false));
        world.finish_trip(End::Answered);
    }
}

fn deliver(world: &mut World) {
    assert!(world.lease(0));
    world.answer(0, Verdict::Delivered);
}

/// Whether a batch that has just been sealed is stored without waiting for the end of the window.
fn goes_at_once(world: &World) -> bool {
    world.transit.next_commit_at().unwrap() == world.now
}

#[test]
fn while_all_is_well_points_wait_for_the_end_of_the_window() {
    let mut world = world(patient());
    world.push(5);
    seal(&mut world, 1);
    assert!(!goes_at_once(&world));
    world.drain();
}

#[test]
fn behind_rows_in_the_spool_points_do_not_wait() {
    let mut world = world(patient());
    store(&mut world, 1);
    world.push(5);
    seal(&mut world, 1);
    assert!(goes_at_once(&world), "behind a row in memory");
    world.crash();
    world.push(5);
    seal(&mut world, 1);
    assert!(world.transit.window.len() == 1 && goes_at_once(&world), "behind rows nobody has read");
    world.drain();
}

#[test]
fn after_a_failed_attempt_points_do_not_wait() {
    let mut world = world(patient());
    world.push(5);
    seal(&mut world, 1);
    assert!(world.lease(0));
    world.answer(0, trouble());
    assert!(goes_at_once(&world));
    world.drain();
}

#[test]
fn when_more_than_a_quarter_of_memory_waits_for_the_server_points_do_not_wait() {
    let line_bytes = lines_of(SeqRange { first: 1, last: 5 }).len() as u64 / 5;
    let by_points = Terms { points_max: 40, ..patient() };
    let by_bytes = Terms { bytes_max: 40 * line_bytes, ..patient() };
    for (terms, what) in [(by_points, "points"), (by_bytes, "bytes")] {
        for (points, sealed, pressed) in
            [(10, 1, false), (10, 2, false), (15, 1, false), (15, 2, false), (15, 3, true), (40, 2, false)]
        {
            let mut world = world(terms);
            world.push(points);
            seal(&mut world, sealed);
            assert_eq!(goes_at_once(&world), pressed, "{points} {what}, {sealed} batches sealed");
        }
    }
}

#[test]
fn when_memory_fills_up_behind_as_many_batches_as_may_wait_points_do_not_wait() {
    let wide = Terms { points_max: 400, ..patient() };
    for (points, pressed) in [(100, false), (101, true)] {
        let mut world = world(wide);
        world.push(points);
        seal(&mut world, 8);
        assert_eq!(goes_at_once(&world), pressed, "{points}");
    }
    let mut world = world(wide);
    world.push(300);
    seal(&mut world, 7);
    assert!(!goes_at_once(&world), "what takes long is to make them");
}

#[test]
fn a_full_spool_is_tried_again_as_soon_as_a_row_is_settled() {
    let mut world = World::new(eager(), Disk::new(1, Full::Refuse));
    store(&mut world, 1);
    world.push(5);
    seal(&mut world, 1);
    assert!(world.plan(false));
    world.finish_trip(End::Answered);
    assert!(world.transit.snapshot(world.now).withheld.is_some());
    deliver(&mut world);
    let plan = world.transit.plan_commit(false, None, world.now).unwrap();
    assert_eq!((plan.settle.len(), plan.appends.len()), (1, 1));
}

#[test]
fn what_finds_no_room_is_sent_at_a_stop_without_being_stored() {
    let mut world = World::new(eager(), Disk::new(0, Full::Refuse));
    world.push(5);
    seal(&mut world, 1);
    assert!(world.plan(false));
    world.finish_trip(End::Answered);
    assert!(!world.lease(0), "it is to be stored first");
    assert!(world.transit.stop() && world.lease(0));
    world.answer(0, Verdict::Delivered);
    assert_eq!(world.transit.pending_points(), 0);
    world.check();
}

#[test]
fn settled_rows_wait_for_an_append_unless_they_are_many() {
    let mut world = world(eager());
    store(&mut world, 32);
    for _ in 0..31 {
        world.read();
        deliver(&mut world);
        assert_eq!(world.transit.next_commit_at(), Some(world.now + Duration::from_millis(100)));
    }
    deliver(&mut world);
    assert_eq!(world.transit.next_commit_at(), Some(world.now));
    world.drain();
}

/// Each batch is one line of so many bytes.
fn appended_of(batches: u64, bytes: usize) -> Vec<usize> {
    let segment = SegmentLimits { points_max: 1, bytes_max: 1 << 30 };
    let mut transit = Transit::new(Terms { bytes_max: 1 << 30, segment, ..eager() }, &Opened::in_memory());
    let now = Instant::now();
    let line = vec![b'x'; bytes];
    let mut appended = Vec::new();
    let mut number = 0;
    for _ in 0..batches {
        transit.push(EncodedLine { bytes: &line, timestamp: 1 }, &HERE, || now).unwrap();
    }
    while appended.iter().sum::<usize>() < batches as usize {
        for job in transit.take_seal_jobs(usize::MAX, now, 0) {
            transit.sealed(job.key, job.run().unwrap());
        }
        let plan = transit.plan_commit(false, None, now).unwrap();
        appended.push(plan.appends.len());
        let rows = plan.appends.iter().map(|batch| RowId(batch.seqs.first as i64)).collect();
        number += 1;
        assert_eq!(plan.number, number);
        transit.committed(&Committed { appended: rows, ..Committed::default() }, now);
    }
    appended
}

#[test]
fn a_transaction_takes_so_many_batches_and_so_many_bytes_of_them() {
    assert_eq!(appended_of(5, 4 << 20), [1; 5], "one is taken however large it is");
    assert_eq!(appended_of(8, 1 << 20), [3, 3, 2]);
    assert_eq!(appended_of(8, 1 << 10), [8]);
}

#[test]
fn a_count_alone_waits_longer_and_a_body_for_quarantine_does_not_wait() {
    let mut world = world(Terms { points_max: 1_000, ..patient() });
    world.push(10);
    seal(&mut world, 2);
    deliver(&mut world);
    let ledger_interval = world.terms.ledger_interval;
    assert!(world.transit.plan_commit(false, None, world.now + ledger_interval / 2).is_none());
    assert!(world.lease(0));
    world.answer(0, refusal());
    assert_eq!(world.transit.next_commit_at(), Some(world.now));
    world.drain();
}

#[test]
fn the_words_of_a_refusal_are_kept_with_a_row_that_was_stored() {
    let mut world = world(eager());
    store(&mut world, 1);
    assert!(world.lease(0));
    world.answer(0, refusal());
    let plan = world.transit.plan_commit(true, None, world.now).unwrap();
    let settle = &plan.settle[0];
    assert_eq!(settle.fate, Fate::Quarantined(QuarantineReason::Refused));
    assert_eq!((settle.status, settle.words.as_deref()), (Some(400), Some("unable to parse")));
}

#[test]
fn points_are_volatile_from_their_push_until_they_are_stored() {
    let mut world = world(patient());
    let age = |world: &World| world.transit.volatile_age(world.now);
    assert_eq!(age(&world), None);
    world.push(5);
    world.now += Duration::from_secs(3);
    assert_eq!(age(&world), Some(Duration::from_secs(3)), "in the queue");
    seal(&mut world, 1);
    assert_eq!(age(&world), Some(Duration::from_secs(3)), "in the window");
    world.commit_all();
    assert!(world.plan(false));
    world.finish_trip(End::Answered);
    assert_eq!(age(&world), None);
    world.drain();
}

#[test]
fn a_damaged_row_that_is_read_again_is_given_up_once() {
    let mut world = world(eager());
    store(&mut world, 12);
    let read = |first_seq| ReadBatch {
        row: RowId(9),
        first_seq,
        attempts: 0,
        panics: 0,
        batch: Err(DamagedRow { seqs: None }),
    };
    for _ in 0..2 {
        let asked = ReadRequest { after: world.transit.read_to, rows_max: 1 };
        world.transit.read_back(asked, vec![read(41)], world.now);
        assert_eq!((world.transit.books.unsaved.settle.len(), world.transit.read_to), (1, 41));
        world.transit.read_anew_from(0);
    }
}

/// Under `sync = normal` a power cut takes rows that were stored, without any damage.
#[test]
fn a_row_that_is_gone_without_damage_is_stored_afresh_and_sent_in_its_place() {
    let mut world = world(eager());
    store(&mut world, 12);
    assert!(world.transit.beyond.batches > 0);
    let backlog = world.disk.backlog();
    let mut opened: Opened = world.disk.opened();
    opened.backlog.batches -= 1;
    opened.backlog.points -= 5;
    opened.backlog.bytes -= 5 * line_of(6).len() as u64;
    let disk = world.disk.clone();
    let find = |key| if key == 6 { Found::Nothing } else { disk.find(key) };
    world.transit.reopened(&opened, find, world.now);
    let plan = world.transit.plan_commit(false, None, world.now).unwrap();
    assert_eq!((plan.appends.len(), plan.appends[0].seqs.first), (1, 6));
    assert!(plan.written_off.is_empty(), "nothing counts as damaged where nothing is");
    let ledger = disk.ledger().clone();
    let outcome = Committed { appended: vec![RowId(1_000)], backlog, ledger, ..Committed::default() };
    world.transit.committed(&outcome, world.now);
    assert!(world.transit.window.contains_key(&6), "no read would find it: those beyond are younger");
    assert_eq!(world.transit.pending_points(), 60);
}

#[test]
fn what_is_known_of_a_stored_batch_that_failed_is_written_with_whatever_comes_next() {
    let mut world = world(eager());
    store(&mut world, 1);
    for attempts in 1..=2 {
        assert!(world.lease(0));
        world.answer(0, trouble());
        world.now += HOUR;
        let plan = world.transit.plan_commit(true, None, world.now).unwrap();
        let [note] = &plan.attempts[..] else { panic!("{:?}", plan.attempts) };
        assert_eq!((note.row, note.first_seq, note.attempts), (RowId(1), 1, attempts));
        assert_eq!((note.status, note.words.as_deref()), (None, Some("refused")));
        let outcome = world.disk.commit(&plan);
        world.transit.committed(&outcome, world.now);
    }
    world.drain();
}

/// Each record takes some of the last room there is.
#[test]
fn records_are_few_while_a_full_disk_has_room_for_few() {
    let mut world = world(eager());
    let interval = world.transit.terms.ledger_interval;
    store(&mut world, 3);
    for records_are_dear in [true, false] {
        let plan = world.transit.plan_commit(true, None, world.now).unwrap();
        let outcome = Committed { records_are_dear, ..world.disk.commit(&plan) };
        world.transit.committed(&outcome, world.now);
        assert!(world.lease(0));
        world.answer(0, Verdict::Delivered);
        let due = world.transit.next_commit_at().unwrap() - world.now;
        assert_eq!(due >= interval, records_are_dear, "{due:?}");
        let before = world.now + due - Duration::from_millis(1);
        assert!(world.transit.plan_commit(false, None, before).is_none());
    }
    world.drain();
}
