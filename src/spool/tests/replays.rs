//! Into quarantine, back, and in again.

use super::*;
use crate::values::fate::{Durability, QuarantineReason, ShedReason, Standing};
use crate::values::ledger::Tally;

const REFUSED: Fate = Fate::Quarantined(QuarantineReason::Refused);
const CONFLICT: Fate = Fate::Quarantined(QuarantineReason::TypeConflict);

/// All, now.
const ALL: Replay = Replay { only: None, batches_max: usize::MAX, up_to: None, below_seq: u64::MAX };

fn replay_plan(replay: Replay) -> CommitPlan {
    CommitPlan { replay: Some(replay), ..CommitPlan::default() }
}

/// Appends the bodies and quarantines them, each with its fate.
fn quarantine(life: &mut Life, bodies: &[(&[u8], Fate)]) {
    life.append(&bodies.iter().map(|(body, _)| *body).collect::<Vec<_>>());
    let rows = life.all();
    let settle = rows.iter().rev().take(bodies.len()).rev().zip(bodies);
    let settle = settle.map(|(row, (_, fate))| done(row, *fate)).collect();
    let committed = life.commit(CommitPlan { settle, ..CommitPlan::default() });
    assert!(committed.settled.iter().all(|settled| *settled));
}

#[test]
fn a_replayed_batch_is_pending_again_with_its_numbers_and_knows_how_often() {
    let bench = Bench::new();
    let (mut life, _) = bench.open();
    quarantine(&mut life, &[(b"one", REFUSED), (b"two", CONFLICT)]);
    life.append(&[b"three"]);
    for times in 1..=3 {
        let committed = life.commit(replay_plan(Replay { only: Some(QuarantineReason::Refused), ..ALL }));
        let replayed = committed.replayed.unwrap();
        assert_eq!((replayed.backlog.batches, replayed.backlog.points, replayed.backlog.bytes), (1, 10, 3));
        assert_eq!(
            (replayed.first_seq, replayed.seqs, replayed.more),
            (1, vec![SeqRange { first: 1, last: 10 }], false)
        );
        assert_eq!((replayed.withheld, replayed.damaged), (None, Tally::default()));
        assert_eq!(committed.ledger.accepted(), Tally::new(30, 11));
        assert_eq!(
            (committed.ledger.of(REFUSED), committed.ledger.of(CONFLICT).points),
            (Tally::default(), 10)
        );
        assert_eq!(life.spool.standing(10).unwrap(), Some(Standing::Durable(Durability::Power)));
        assert_eq!(life.spool.standing(11).unwrap(), Some(Standing::Settled(CONFLICT)));
        assert_eq!(life.bodies(), ["one", "three"]);

        let row = life.all().remove(0);
        assert_eq!((row.attempts, row.first_seq), (0, 1));
        life.settle(&[row], REFUSED);
        let seen = inspect(bench.path()).unwrap();
        assert!(seen.adds_up);
        assert_eq!(seen.quarantined.iter().map(|kept| kept.replays).collect::<Vec<_>>(), [0, times]);
    }
    drop(life);
    let (mut life, _) = bench.open();
    let committed = life.commit(replay_plan(ALL));
    assert_eq!(committed.replayed.unwrap().first_seq, 1);
    assert_eq!(life.bodies(), ["one", "two", "three"]);
    let rows = life.all();
    let committed = life.settle(&rows, Fate::Delivered);
    assert_eq!(committed.ledger.of(Fate::Delivered), Tally::new(30, 11));
    assert_eq!(life.commit(replay_plan(ALL)).replayed, Some(Replayed::default()));
}

#[test]
fn a_replay_takes_the_longest_kept_first_and_so_many_at_a_time() {
    let bench = Bench::new();
    let (mut life, _) = bench.open();
    quarantine(&mut life, &[(b"1", CONFLICT), (b"2", REFUSED), (b"3", REFUSED), (b"4", REFUSED)]);
    let some = Replay { only: Some(QuarantineReason::Refused), batches_max: 2, ..ALL };
    let first = life.commit(replay_plan(some)).replayed.unwrap();
    assert_eq!((first.first_seq, first.backlog.batches, first.more), (11, 2, true));
    let last = life.commit(replay_plan(some)).replayed.unwrap();
    assert_eq!((last.first_seq, last.backlog.batches, last.more), (31, 1, false));
    assert_eq!(life.bodies(), ["2", "3", "4"]);
    let nothing = life.commit(replay_plan(Replay { batches_max: 0, ..ALL })).replayed.unwrap();
    assert_eq!((nothing.backlog.batches, nothing.more), (0, true));
}

#[test]
fn what_is_refused_again_is_not_replayed_for_ever() {
    let bench = Bench::new();
    let (mut life, _) = bench.open();
    quarantine(&mut life, &[(b"1", REFUSED), (b"2", REFUSED)]);
    let first = life.commit(replay_plan(Replay { batches_max: 1, ..ALL })).replayed.unwrap();
    assert_eq!((first.first_seq, first.more), (1, true));
    let rows = life.all();
    life.settle(&rows, REFUSED);
    let rest = life.commit(replay_plan(Replay { up_to: first.up_to, ..ALL })).replayed.unwrap();
    assert_eq!((rest.first_seq, rest.backlog.batches, rest.more), (11, 1, false));
    let next = life.commit(replay_plan(ALL)).replayed.unwrap();
    assert_eq!((next.first_seq, next.backlog.batches), (1, 1), "by the next call it is");
}

/// A call that comes in the millisecond of the refusal, or after the clock was set back.
#[test]
fn what_was_set_aside_is_replayed_whatever_the_clock_says() {
    for earlier in [Duration::ZERO, Duration::from_secs(3_600)] {
        let bench = Bench::new();
        let (mut life, _) = bench.open();
        quarantine(&mut life, &[(b"1", REFUSED)]);
        let plan = CommitPlan { number: life.number + 1, ..replay_plan(ALL) };
        let committed = life.spool.commit(&plan, now() - earlier).unwrap();
        assert_eq!(committed.replayed.unwrap().backlog.batches, 1, "{earlier:?} before");
    }
}

#[test]
fn a_part_of_a_batch_is_replayed_alone() {
    let bench = Bench::new();
    let (mut life, _) = bench.open();
    life.append(&[b"a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n"]);
    let row = life.all().remove(0);
    let part = |first, last, fate| DirectFate {
        seqs: SeqRange { first, last },
        bytes: (last - first + 1) * 2,
        fate,
        quarantine: None,
        written_off: false,
    };
    let kept = Quarantined { batch: batch(4, 1, b"d\n"), status: Some(400), words: None };
    let bad = DirectFate { quarantine: Some(kept), ..part(4, 4, REFUSED) };
    let parts = vec![part(1, 3, Fate::Delivered), bad, part(5, 10, Fate::Delivered)];
    let settle = vec![SettleRow { parts, ..done(&row, Fate::Delivered) }];
    life.commit(CommitPlan { settle, ..CommitPlan::default() });

    let committed = life.commit(replay_plan(ALL));
    assert_eq!(committed.replayed.unwrap().seqs, [SeqRange { first: 4, last: 4 }]);
    assert_eq!(life.bodies(), ["d\n"]);
    let standing = |life: &mut Life, number| life.spool.standing(number).unwrap();
    assert_eq!(standing(&mut life, 3), Some(Standing::Settled(Fate::Delivered)));
    assert_eq!(standing(&mut life, 4), Some(Standing::Durable(Durability::Power)));
    assert_eq!(standing(&mut life, 5), Some(Standing::Settled(Fate::Delivered)));
    let rows = life.all();
    let committed = life.settle(&rows, Fate::Delivered);
    assert_eq!(committed.ledger.of(Fate::Delivered), Tally::new(10, 20));
}

#[test]
fn a_crash_before_the_commit_is_known_leaves_it_done_once_or_not_at_all() {
    let bench = Bench::new();
    let (mut life, _) = bench.open();
    quarantine(&mut life, &[(b"one", REFUSED)]);
    // Before the transaction.
    drop(life);
    let (mut life, opened) = bench.open();
    assert_eq!((opened.backlog.batches, opened.ledger.of(REFUSED).points), (0, 10));
    let number = opened.commit_number;
    life.number = number;
    life.commit(replay_plan(ALL));
    // After it: the number says so, and giving the plan again is refused.
    drop(life);
    let (mut life, opened) = bench.open();
    assert_eq!((opened.commit_number, opened.backlog.batches), (number + 1, 1));
    let again = CommitPlan { number: number + 1, ..replay_plan(ALL) };
    assert_eq!(life.spool.commit(&again, now()).unwrap_err().kind(), SpoolErrorKind::OutOfStep);
    assert_eq!(life.bodies(), ["one"]);
}

#[test]
fn a_damaged_row_is_counted_and_never_sent() {
    let changes = [
        "body = x'00'",
        "raw_len = 77",
        "points = 4611686018427387904",
        "last_seq = 3",
        "first_seq = 0",
        "reason = 'quarantined.refuted'",
        "parent = 9",
    ];
    for change in changes {
        let bench = Bench::new();
        let (mut life, _) = bench.open();
        quarantine(&mut life, &[(b"one", REFUSED), (b"two", REFUSED), (b"three", CONFLICT)]);
        life.spool.conn.execute(&format!("UPDATE quarantine SET {change} WHERE id = 2"), []).unwrap();
        let committed = life.commit(replay_plan(ALL));
        let replayed = committed.replayed.unwrap();
        assert_eq!((replayed.damaged, replayed.more), (Tally::new(10, 3), false), "{change}");
        assert_eq!(committed.ledger.of(Fate::Damaged), Tally::new(10, 3), "{change}");
        assert_eq!(committed.ledger.settled_points(), 10, "{change}");
        assert_eq!(life.bodies(), ["one", "three"], "{change}");
        assert_eq!(inspect(bench.path()).unwrap().quarantine.batches, 0, "{change}");
        if change.starts_with("body") {
            assert_eq!(life.spool.standing(15).unwrap(), Some(Standing::Settled(Fate::Damaged)));
        }
    }
}

#[test]
fn a_damaged_row_that_is_given_up_leaves_the_sums_right() {
    for change in
        ["points = 4611686018427387904", "last_seq = 3", "last_seq = 0", "reason = 'x'", "raw_len = -1"]
    {
        let mut bench = Bench::new();
        let (mut life, _) = bench.open();
        quarantine(&mut life, &[(b"one", REFUSED), (b"two", CONFLICT)]);
        life.spool.conn.execute(&format!("UPDATE quarantine SET {change} WHERE id = 1"), []).unwrap();
        life.close();
        bench.options.quarantine_bytes_max = 0;
        let (mut life, _) = bench.open();
        let committed = life.commit(CommitPlan::default());
        assert_eq!(committed.ledger.settled_points(), 20, "{change}");
        assert_eq!(committed.ledger.of(CONFLICT), Tally::default(), "{change}");
        assert_eq!(inspect(bench.path()).unwrap().quarantine, QuarantineSize::default(), "{change}");
    }
}

#[test]
fn a_full_spool_replays_nothing_and_drops_nothing_for_it() {
    let mut bench = Bench::new();
    bench.options.bytes_max = 2 << 20;
    let (mut life, _) = bench.open();
    let bad = noise(99, 100_000);
    quarantine(&mut life, &[(&bad, REFUSED)]);
    let mut seed = 0;
    loop {
        seed += 1;
        let committed = life.append(&[&noise(seed, 100_000)]);
        if !committed.evicted.is_empty() {
            break;
        }
    }
    let backlog = life.all().len();
    let committed = life.commit(replay_plan(ALL));
    let replayed = committed.replayed.unwrap();
    assert_eq!((replayed.withheld, replayed.more), (Some(Withheld::SpoolFull), true));
    assert_eq!((replayed.backlog, committed.evicted), (Backlog::default(), vec![]));
    assert_eq!((life.all().len(), committed.ledger.of(REFUSED).points), (backlog, 10));

    // What is delivered makes room in the same commit.
    let settle = life.all().iter().take(2).map(|row| done(row, Fate::Delivered)).collect();
    let replayed = life.commit(CommitPlan { settle, ..replay_plan(ALL) }).replayed.unwrap();
    assert_eq!((replayed.backlog.batches, replayed.withheld, replayed.more), (1, None, false));
    assert_eq!(life.bodies()[0], bad);
}

#[test]
fn new_points_that_wait_for_room_come_before_a_replay() {
    let mut bench = Bench::new();
    bench.options.bytes_max = 1 << 20;
    bench.options.when_full = SpoolFull::Refuse;
    let (mut life, _) = bench.open();
    quarantine(&mut life, &[(b"bad", REFUSED)]);
    let appends = vec![life.next_batch(&noise(1, 2 << 20))];
    let committed = life.commit(CommitPlan { appends, ..replay_plan(ALL) });
    assert_eq!(committed.withheld, Some(Withheld::SpoolFull));
    assert_eq!(committed.replayed.unwrap().withheld, Some(Withheld::SpoolFull));
}

#[test]
fn a_low_disk_replays_nothing() {
    let mut bench = Bench::new();
    let (mut life, _) = bench.open();
    quarantine(&mut life, &[(b"bad", REFUSED)]);
    life.close();
    bench.options.free_reserve_bytes = u64::MAX;
    let (mut life, _) = bench.open();
    let replayed = life.commit(replay_plan(ALL)).replayed.unwrap();
    assert_eq!((replayed.backlog, replayed.withheld), (Backlog::default(), Some(Withheld::DiskFull)));
    assert!(replayed.more);
}

#[test]
fn what_is_replayed_is_not_given_up_in_the_same_commit() {
    let mut bench = Bench::new();
    let (mut life, _) = bench.open();
    quarantine(&mut life, &[(b"one", REFUSED)]);
    life.close();
    bench.options.quarantine_bytes_max = 0;
    let (mut life, _) = bench.open();
    let committed = life.commit(replay_plan(ALL));
    assert_eq!(committed.replayed.unwrap().backlog.batches, 1);
    assert_eq!((committed.quarantine_evicted, committed.backlog.batches), (vec![], 1));
}

#[test]
fn a_replayed_batch_does_not_expire_and_hides_none_that_does() {
    let later = now() + Duration::from_secs(2_000);
    for age_ms in [0, 1_000_000] {
        let mut bench = Bench::new();
        bench.options.age_max = Some(Duration::from_secs(1_800));
        let (mut life, _) = bench.open();
        let replayed = Batch { created_ms: now_ms() + age_ms, ..life.next_batch(b"one") };
        life.commit(CommitPlan { appends: vec![replayed], ..CommitPlan::default() });
        let rows = life.all();
        life.settle(&rows, REFUSED);
        let behind = Batch { created_ms: now_ms(), ..life.next_batch(b"two") };
        let committed = life.commit(CommitPlan { appends: vec![behind], ..replay_plan(ALL) });
        assert_eq!(committed.backlog.batches, 2);
        life.close();
        // Not by a step of the clock, after which nothing would expire for a while.
        let (mut spool, opened) = Spool::open(&bench.options, later).unwrap();
        let plan = CommitPlan { number: opened.commit_number + 1, ..CommitPlan::default() };
        let committed = spool.commit(&plan, later).unwrap();
        let expired: Vec<u64> = committed.evicted.iter().map(|gone| gone.seqs.first).collect();
        assert_eq!((expired, committed.backlog.batches), (vec![11], 1), "{age_ms} ms younger");
    }
}

#[test]
fn a_replayed_batch_leaves_as_the_oldest_of_a_full_spool() {
    let mut bench = Bench::new();
    bench.options.bytes_max = 2 << 20;
    let (mut life, _) = bench.open();
    quarantine(&mut life, &[(&noise(99, 100_000), REFUSED)]);
    life.commit(replay_plan(ALL));
    let evicted = (0..40).find_map(|seed| life.append(&[&noise(seed, 100_000)]).evicted.first().copied());
    let gone = evicted.unwrap();
    assert_eq!((gone.seqs.first, gone.fate), (1, Fate::Shed(ShedReason::SpoolFull)));
}

#[test]
fn a_file_that_nobody_has_open_is_replayed_by_anyone() {
    let bench = Bench::new();
    let (mut life, _) = bench.open();
    quarantine(&mut life, &[(b"one", REFUSED), (b"two", CONFLICT), (b"three", REFUSED)]);
    let error = super::replay(bench.path(), None).unwrap_err();
    assert_eq!(error.kind(), SpoolErrorKind::Locked { pid: Some(std::process::id()) });
    assert!(error.to_string().contains("in use by process"), "{error}");
    let next = life.next;
    life.close();

    let report = super::replay(bench.path(), Some(QuarantineReason::Refused)).unwrap();
    assert_eq!((report.batches, report.points, report.damaged_points), (2, 20, 0));
    assert!(!report.is_short_of_room);
    let seen = inspect(bench.path()).unwrap();
    assert!(seen.adds_up && seen.clean_stop);
    assert_eq!((seen.backlog.batches, seen.quarantine.batches, seen.unclean_ends_total), (2, 1, 0));
    assert_eq!(
        super::replay(bench.path(), Some(QuarantineReason::Refused)).unwrap(),
        ReplayReport::default()
    );
    let (mut life, opened) = bench.open();
    assert_eq!((opened.seq_next, opened.unclean_end), (next, false));
    assert_eq!(life.bodies(), ["one", "three"]);
}

#[test]
fn what_cannot_be_read_back_is_reported() {
    let bench = Bench::new();
    let (mut life, _) = bench.open();
    quarantine(&mut life, &[(b"one", REFUSED), (b"two", REFUSED), (b"three", REFUSED)]);
    life.spool.conn.execute("UPDATE quarantine SET body = x'00' WHERE id < 3", []).unwrap();
    life.close();
    let report = super::replay(bench.path(), None).unwrap();
    assert_eq!((report.batches, report.points, report.damaged_points), (1, 10, 20));
}

/// More than a quarantine holds by default, and than one transaction takes back.
#[test]
fn a_large_quarantine_is_taken_back_piece_by_piece_and_none_of_it_given_up() {
    const BODY_BYTES: usize = 12 << 20;
    let mut bench = Bench::new();
    bench.options.quarantine_bytes_max = u64::MAX;
    let (mut life, _) = bench.open();
    quarantine(&mut life, &[(b"small", REFUSED)]);
    let kept = |nth: u8| {
        let batch = batch(101 + 10 * u64::from(nth), 10, &vec![nth; BODY_BYTES]);
        let (seqs, bytes) = (batch.seqs, batch.raw_len);
        let quarantine = Some(Quarantined { batch, status: None, words: None });
        DirectFate { seqs, bytes, fate: CONFLICT, quarantine, written_off: false }
    };
    life.commit(CommitPlan { direct: (0..6).map(kept).collect(), ..CommitPlan::default() });
    life.close();
    let report = super::replay(bench.path(), Some(QuarantineReason::Refused)).unwrap();
    assert_eq!((report.batches, inspect(bench.path()).unwrap().quarantine.batches), (1, 6));
    let (mut life, _) = bench.open();
    let replayed = life.commit(replay_plan(ALL)).replayed.unwrap();
    assert_eq!((replayed.backlog.batches, replayed.more), (2, true), "16 MiB, and what goes beyond");
}

#[test]
fn what_is_no_spool_is_not_replayed_and_none_is_made() {
    let bench = Bench::new();
    assert_eq!(super::replay(bench.path(), None).unwrap_err().kind(), SpoolErrorKind::Io);
    assert!(!bench.path().exists());
    std::fs::write(bench.path(), "text").unwrap();
    assert_eq!(super::replay(bench.path(), None).unwrap_err().kind(), SpoolErrorKind::NotASpool);
    assert_eq!(std::fs::read(bench.path()).unwrap(), b"text");
}
