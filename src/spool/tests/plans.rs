//! What one commit does, and to whom.

use super::*;
use crate::values::fate::{Durability, QuarantineReason, ShedReason, Standing};
use crate::values::ledger::Tally;

const REFUSED: Fate = Fate::Quarantined(QuarantineReason::Refused);

#[test]
fn a_settled_row_moves_counters_once() {
    let bench = Bench::new();
    let (mut life, _) = bench.open();
    life.append(&[b"one", b"two"]);
    let rows = life.all();
    let committed = life.settle(&rows[..1], Fate::Delivered);
    assert_eq!(committed.settled, [true]);
    let again = life.settle(&rows[..1], Fate::Delivered);
    assert_eq!(again.settled, [false]);
    assert_eq!(again.ledger.of(Fate::Delivered), Tally::new(10, 3));
    let wrong = SettleRow { first_seq: 12, ..done(&rows[1], Fate::Delivered) };
    let committed = life.commit(CommitPlan { settle: vec![wrong], ..CommitPlan::default() });
    assert_eq!(committed.settled, [false]);
    assert_eq!(committed.backlog.batches, 1);
}

#[test]
fn no_row_id_is_given_twice() {
    let bench = Bench::new();
    let (mut life, _) = bench.open();
    let first = life.append(&[b"one"]).appended;
    let rows = life.all();
    life.settle(&rows, Fate::Delivered);
    drop(life);
    let (mut life, _) = bench.open();
    let second = life.append(&[b"two"]).appended;
    assert!(second[0] > first[0]);
}

#[test]
fn batches_are_read_in_order_within_the_bounds() {
    let bench = Bench::new();
    let (mut life, _) = bench.open();
    life.append(&[b"11111", b"22222", b"33333", b"44444"]);
    let firsts = |rows: Vec<ReadBatch>| rows.iter().map(|row| row.first_seq).collect::<Vec<_>>();
    assert_eq!(firsts(life.spool.read_after(None, 2, u64::MAX).unwrap()), [1, 11]);
    assert_eq!(firsts(life.spool.read_after(Some(11), 9, 6).unwrap()), [21, 31]);
    assert_eq!(firsts(life.spool.read_after(Some(11), 9, 0).unwrap()), [21]);
    assert_eq!(life.spool.read_after(Some(31), 9, 9).unwrap(), []);
    assert_eq!(life.spool.find(21).unwrap().unwrap().0, 21);
    assert_eq!(life.spool.find(22).unwrap(), None);
}

#[test]
fn a_batch_comes_back_as_it_was_stored() {
    let bench = Bench::new();
    let (mut life, _) = bench.open();
    let stored = life.next_batch(&noise(1, 200_000));
    life.commit(CommitPlan { appends: vec![stored.clone()], ..CommitPlan::default() });
    drop(life);
    let (mut life, _) = bench.open();
    assert_eq!(life.all()[0].batch, Ok(stored));
}

#[test]
fn attempts_are_remembered_over_a_restart_and_go_with_the_batch() {
    let bench = Bench::new();
    let (mut life, _) = bench.open();
    life.append(&[b"one"]);
    let row = life.all().remove(0);
    let note = |row: RowId, attempts| AttemptNote {
        row,
        first_seq: 1,
        attempts,
        panics: 1,
        status: Some(503),
        words: Some("later".into()),
    };
    life.commit(CommitPlan { attempts: vec![note(row.row, 1)], ..CommitPlan::default() });
    life.commit(CommitPlan { attempts: vec![note(row.row, 2), note(RowId(99), 1)], ..CommitPlan::default() });
    drop(life);
    let (mut life, _) = bench.open();
    let rows = life.all();
    assert_eq!((rows[0].attempts, rows[0].panics), (2, 1));
    life.settle(&rows, Fate::Delivered);
    let left: i64 = life.spool.conn.query_row("SELECT count(*) FROM attempt", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 0);
}

#[test]
fn points_that_were_never_stored_enter_the_ledger_with_their_fate() {
    let bench = Bench::new();
    let (mut life, _) = bench.open();
    let direct = DirectFate {
        seqs: SeqRange { first: 1, last: 50 },
        bytes: 900,
        fate: Fate::Delivered,
        quarantine: None,
        written_off: false,
    };
    let shed = Fate::Shed(ShedReason::QueueFull);
    let lost = DirectFate {
        seqs: SeqRange { first: 51, last: 60 },
        bytes: 100,
        fate: shed,
        quarantine: None,
        written_off: false,
    };
    let committed = life.commit(CommitPlan {
        direct: vec![direct, lost],
        refused: 3,
        stamp_last: Some(5),
        ..CommitPlan::default()
    });
    assert_eq!(committed.ledger.accepted(), Tally::new(60, 1_000));
    assert_eq!(committed.ledger.of(Fate::Delivered), Tally::new(50, 900));
    drop(life);
    let (mut life, opened) = bench.open();
    assert_eq!(opened.ledger, committed.ledger);
    assert_eq!((opened.refused, opened.stamp_last), (3, Some(5)));
    assert_eq!(life.spool.standing(50).unwrap(), Some(Standing::Settled(Fate::Delivered)));
    assert_eq!(life.spool.standing(51).unwrap(), Some(Standing::Settled(shed)));
}

#[test]
fn every_number_has_its_standing_after_a_restart() {
    let bench = Bench::new();
    let (mut life, first) = bench.open();
    life.append(&[b"one", b"two", b"three"]);
    let rows = life.all();
    life.settle(&rows[1..2], Fate::Delivered);
    assert_eq!(life.spool.standing(31).unwrap(), None);
    drop(life);
    let (mut life, _) = bench.open();
    let standing = |life: &mut Life, number| life.spool.standing(number).unwrap();
    assert_eq!(standing(&mut life, 10), Some(Standing::Durable(Durability::Power)));
    assert_eq!(standing(&mut life, 20), Some(Standing::Settled(Fate::Delivered)));
    assert_eq!(standing(&mut life, 21), Some(Standing::Durable(Durability::Power)));
    assert_eq!(standing(&mut life, 31), Some(Standing::Lost));
    assert_eq!(standing(&mut life, first.seq_end), None);
    assert_eq!(standing(&mut life, 0), None);
}

#[test]
fn a_full_spool_drops_the_oldest_but_none_that_is_leased() {
    let mut bench = Bench::new();
    bench.options.bytes_max = 2 << 20;
    let (mut life, _) = bench.open();
    let mut evicted = Vec::new();
    for seed in 0..40 {
        let appends = vec![life.next_batch(&noise(seed, 100_000))];
        let committed = life.commit(CommitPlan { appends, leased: vec![1, 21], ..CommitPlan::default() });
        assert_eq!((committed.appended.len(), committed.withheld), (1, None));
        evicted.extend(committed.evicted.iter().map(|gone| gone.seqs.first));
        assert!(committed.evicted.iter().all(|gone| gone.fate == Fate::Shed(ShedReason::SpoolFull)));
    }
    assert!(evicted.len() > 15, "{evicted:?}");
    assert_eq!(evicted[..3], [11, 31, 41]);
    assert!(evicted.is_sorted());
    let left: Vec<u64> = life.all().iter().map(|row| row.first_seq).collect();
    assert_eq!(left[..2], [1, 21]);
    life.close();
    assert!(std::fs::metadata(bench.path()).unwrap().len() <= 2 << 20);
}

#[test]
fn a_full_spool_that_may_not_drop_holds_the_rest_back() {
    let mut bench = Bench::new();
    bench.options.bytes_max = 1 << 20;
    bench.options.when_full = SpoolFull::Refuse;
    let (mut life, _) = bench.open();
    let appends: Vec<_> = (0..12).map(|seed| life.next_batch(&noise(seed, 100_000))).collect();
    let committed = life.commit(CommitPlan { appends: appends.clone(), ..CommitPlan::default() });
    let stored = committed.appended.len();
    assert!((4..12).contains(&stored), "{stored}");
    assert_eq!(committed.withheld, Some(Withheld::SpoolFull));
    assert_eq!(committed.evicted, []);
    // What was delivered makes room in the same commit.
    let settle = life.all().iter().take(2).map(|row| done(row, Fate::Delivered)).collect();
    let committed = life.commit(CommitPlan {
        settle,
        appends: appends[stored..=stored].to_vec(),
        ..CommitPlan::default()
    });
    assert_eq!((committed.appended.len(), committed.withheld), (1, None));
}

#[test]
fn a_batch_larger_than_the_spool_is_held_and_nothing_new_is_dropped_for_it() {
    let mut bench = Bench::new();
    bench.options.bytes_max = 1 << 20;
    let (mut life, _) = bench.open();
    life.append(&[b"before"]);
    let appends = vec![life.next_batch(b"small"), life.next_batch(&noise(1, 2 << 20))];
    let committed = life.commit(CommitPlan { appends, ..CommitPlan::default() });
    assert_eq!((committed.appended.len(), committed.withheld), (1, Some(Withheld::SpoolFull)));
    assert_eq!(committed.evicted, []);
}

#[test]
fn old_batches_expire_unless_leased_and_an_empty_plan_is_enough() {
    let mut bench = Bench::new();
    let (mut life, _) = bench.open();
    life.append(&[b"one", b"two"]);
    let fresh = Batch { created_ms: now_ms(), ..life.next_batch(b"three") };
    life.commit(CommitPlan { appends: vec![fresh], ..CommitPlan::default() });
    life.close();

    bench.options.age_max = Some(Duration::from_secs(1_800));
    let (mut life, _) = bench.open();
    assert!(life.spool.maintain(now()).unwrap().expiry_due);
    let committed = life.commit(CommitPlan { leased: vec![1], ..CommitPlan::default() });
    assert_eq!(committed.evicted.iter().map(|gone| gone.seqs.first).collect::<Vec<_>>(), [11]);
    let committed = life.commit(CommitPlan::default());
    assert_eq!(committed.evicted.iter().map(|gone| gone.seqs.first).collect::<Vec<_>>(), [1]);
    assert_eq!(committed.ledger.of(Fate::Expired).points, 20);
    assert_eq!(life.bodies(), ["three"]);
    assert!(!life.spool.maintain(now()).unwrap().expiry_due);
}

#[test]
fn as_many_expire_in_one_commit_as_may_though_others_are_leased() {
    let mut bench = Bench::new();
    let (mut life, _) = bench.open();
    life.append(&[b"x".as_slice(); 72]);
    life.close();
    bench.options.age_max = Some(Duration::from_secs(1_800));
    let (mut life, _) = bench.open();
    let leased: Vec<u64> = (0..4).map(|nth| 1 + 10 * nth).collect();
    let expired: Vec<usize> = (0..3)
        .map(|_| life.commit(CommitPlan { leased: leased.clone(), ..CommitPlan::default() }).evicted.len())
        .collect();
    assert_eq!(expired, [64, 4, 0]);
    assert_eq!(life.all().len(), 4);
}

#[test]
fn a_batch_expires_when_it_is_older_than_allowed_and_not_before() {
    let mut bench = Bench::new();
    bench.options.age_max = Some(Duration::from_secs(3_600));
    let (mut life, _) = bench.open();
    let aged = |life: &mut Life, more_ms: i64| {
        let batch = life.next_batch(b"old");
        Batch { created_ms: batch.created_ms - more_ms, ..batch }
    };
    let appends = vec![aged(&mut life, 1), aged(&mut life, 0)];
    life.commit(CommitPlan { appends, ..CommitPlan::default() });
    let gone = life.commit(CommitPlan::default()).evicted;
    assert_eq!(gone.iter().map(|gone| gone.seqs.first).collect::<Vec<_>>(), [1]);
}

#[test]
fn nothing_expires_because_the_clock_was_set() {
    let mut bench = Bench::new();
    bench.options.age_max = Some(Duration::from_secs(7_200));
    let (mut life, _) = bench.open();
    life.append(&[b"one"]);
    let year = Duration::from_secs(365 * 86_400);
    let plan = |number| CommitPlan { number, ..CommitPlan::default() };
    assert_eq!(life.spool.commit(&plan(2), now() + year).unwrap().evicted, []);
    assert!(!life.spool.maintain(now() + year).unwrap().expiry_due);
    assert_eq!(life.spool.commit(&plan(3), now() + year).unwrap().evicted, []);
    drop(life);
    // A restart later than the pause: the batch really is that old now.
    let (mut spool, _) = Spool::open(&bench.options, now() + year + Duration::from_secs(7_201)).unwrap();
    let later = now() + year + Duration::from_secs(7_201);
    assert_eq!(spool.commit(&plan(4), later).unwrap().evicted.len(), 1);
}

#[test]
fn a_quarantined_batch_is_kept_with_the_servers_words_and_given_up_when_there_are_too_many() {
    let mut bench = Bench::new();
    bench.options.quarantine_bytes_max = 2 * (100 + super::super::quarantine::ROW_BYTES);
    let (mut life, _) = bench.open();
    life.append(&[&[b'a'; 100], &[b'b'; 100], &[b'c'; 100]]);
    let rows = life.all();
    let refused = |row| SettleRow { status: Some(400), words: Some("bad".into()), ..done(row, REFUSED) };
    let settle = rows[..2].iter().map(refused).collect();
    let committed = life.commit(CommitPlan { settle, ..CommitPlan::default() });
    assert_eq!(committed.ledger.of(REFUSED), Tally::new(20, 200));
    assert_eq!(committed.quarantine_evicted, []);

    let other = batch(1_001, 10, &[b'd'; 100]);
    let kept = Quarantined { batch: other.clone(), status: None, words: None };
    let direct = DirectFate {
        seqs: other.seqs,
        bytes: 100,
        fate: REFUSED,
        quarantine: Some(kept),
        written_off: false,
    };
    let committed = life.commit(CommitPlan { direct: vec![direct], ..CommitPlan::default() });
    assert_eq!(committed.quarantine_evicted.iter().map(|gone| gone.seqs.first).collect::<Vec<_>>(), [1]);
    assert_eq!(committed.ledger.of(REFUSED), Tally::new(20, 200));
    assert_eq!(committed.ledger.of(Fate::Rejected), Tally::new(10, 100));
    assert_eq!(life.spool.standing(5).unwrap(), Some(Standing::Settled(Fate::Rejected)));
    assert_eq!(life.spool.standing(11).unwrap(), Some(Standing::Settled(REFUSED)));
    assert_eq!(life.spool.standing(1_001).unwrap(), Some(Standing::Settled(REFUSED)));
}

#[test]
fn on_a_full_disk_a_row_with_a_flipped_bit_is_counted_exactly_and_given_up() {
    for column in [
        "body = x'00'",
        "raw_len = 77",
        "points = 4611686018427387904",
        "first_seq = 3000",
        "last_seq = 3",
        "dest = 'x'",
    ] {
        let bench = Bench::new();
        let (mut life, _) = bench.open();
        life.append(&[b"one", b"two", b"three"]);
        life.spool.conn.execute(&format!("UPDATE batch SET {column} WHERE first_seq = 11"), []).unwrap();
        // No room for a second file: what is damaged cannot be set aside.
        life.spool.options.free_reserve_bytes = u64::MAX;
        let rows = life.all();
        life.spool.options.free_reserve_bytes = 0;
        let (bad, good): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.batch.is_err());
        assert_eq!((bad.len(), good.len()), (1, 2), "{column}");
        let committed = life.settle(&bad, Fate::Damaged);
        assert_eq!(committed.settled, [true]);
        assert_eq!(committed.ledger.of(Fate::Damaged), Tally::new(10, 3), "{column}");
        assert_eq!((committed.backlog.points, committed.backlog.bytes), (20, 8), "{column}");
    }
}

#[test]
fn a_row_with_a_flipped_bit_has_the_file_set_aside_and_is_counted_exactly() {
    // Its first number is the one that is written twice.
    let none = (["one", "two", "three"].as_slice(), 0);
    let one = (["one", "three"].as_slice(), 10);
    for (column, (bodies, lost)) in
        [("body = x'00'", one), ("raw_len = 77", one), ("first_seq = 3000", none), ("dest = 'x'", one)]
    {
        let bench = Bench::new();
        let (mut life, _) = bench.open();
        life.append(&[b"one", b"two", b"three"]);
        life.spool.conn.execute(&format!("UPDATE batch SET {column} WHERE first_seq = 11"), []).unwrap();
        let error = life.spool.read_after(None, 10, u64::MAX).unwrap_err();
        assert_eq!(error.kind(), SpoolErrorKind::Damaged, "{column}");
        drop(life);
        let (mut life, opened) = bench.open();
        assert_eq!(life.bodies(), bodies);
        assert_eq!(opened.salvaged.unwrap().damaged_points, Some(lost));
        assert_eq!(opened.ledger.of(Fate::Damaged).points, lost, "{column}");
    }
}

#[test]
fn a_block_of_numbers_can_be_extended() {
    let bench = Bench::new();
    let (mut life, first) = bench.open();
    life.commit(CommitPlan { seq_end: Some(first.seq_end + 100), ..CommitPlan::default() });
    drop(life);
    let (_life, opened) = bench.open();
    assert_eq!(opened.seq_next, first.seq_end + 100);
}

#[test]
fn the_numbers_of_a_damaged_row_are_damaged_if_they_are_as_many_as_were_lost() {
    let damaged = Some(Standing::Settled(Fate::Damaged));
    for (change, standing) in [("body = x'00'", damaged), ("last_seq = 3", None), ("last_seq = 12", None)] {
        let bench = Bench::new();
        let (mut life, _) = bench.open();
        life.append(&[b"one", b"two"]);
        life.spool.conn.execute(&format!("UPDATE batch SET {change} WHERE first_seq = 1"), []).unwrap();
        // No room for a second file: what is damaged cannot be set aside.
        life.spool.options.free_reserve_bytes = u64::MAX;
        let rows = life.all();
        life.spool.options.free_reserve_bytes = 0;
        assert!(rows[0].batch.is_err(), "{change}");
        let committed = life.settle(&rows[..1], Fate::Damaged);
        assert_eq!(committed.ledger.of(Fate::Damaged), Tally::new(10, 3), "{change}");
        assert_eq!(life.spool.standing(2).unwrap(), standing, "{change}");
        assert!(matches!(life.spool.standing(12).unwrap(), Some(Standing::Durable(_))), "{change}");
    }
}
