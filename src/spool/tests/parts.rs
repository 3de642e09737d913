//! Batches whose points met different fates.

use super::*;
use crate::values::fate::{QuarantineReason, Standing};
use crate::values::ledger::Tally;

const MALFORMED: Fate = Fate::Quarantined(QuarantineReason::Malformed);
const CONFLICT: Fate = Fate::Quarantined(QuarantineReason::TypeConflict);
const UNRESOLVED: Fate = Fate::Quarantined(QuarantineReason::Unresolved);

/// Ten points of two bytes each.
const BODY: &[u8] = b"a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n";

/// A part of a batch with [`BODY`] whose first number is 1.
fn part(first: u64, last: u64, fate: Fate) -> DirectFate {
    let body = &BODY[(first as usize - 1) * 2..last as usize * 2];
    let quarantine = matches!(fate, Fate::Quarantined(_)).then(|| Quarantined {
        batch: batch(first, last - first + 1, body),
        status: Some(400),
        words: Some(format!("bad from {first}")),
    });
    DirectFate {
        seqs: SeqRange { first, last },
        bytes: body.len() as u64,
        fate,
        quarantine,
        written_off: false,
    }
}

fn split(read: &ReadBatch, parts: Vec<DirectFate>) -> CommitPlan {
    let settle = vec![SettleRow { parts, ..done(read, Fate::Delivered) }];
    CommitPlan { settle, ..CommitPlan::default() }
}

#[test]
fn each_part_of_a_batch_meets_its_fate_once() {
    let bench = Bench::new();
    let (mut life, _) = bench.open();
    life.append(&[BODY, b"other"]);
    let rows = life.all();
    // The order is the order in which they were found out.
    let parts = vec![
        part(3, 3, MALFORMED),
        part(8, 10, CONFLICT),
        part(1, 2, Fate::Delivered),
        part(4, 6, Fate::Delivered),
        part(7, 7, Fate::Expired),
    ];
    let committed = life.commit(split(&rows[0], parts.clone()));
    assert_eq!(committed.settled, [true]);
    assert_eq!((committed.backlog.batches, committed.backlog.points, committed.backlog.bytes), (1, 10, 5));
    let again = life.commit(split(&rows[0], parts));
    assert_eq!(again.settled, [false]);
    for (fate, points) in [(Fate::Delivered, 5), (MALFORMED, 1), (CONFLICT, 3), (Fate::Expired, 1)] {
        assert_eq!(again.ledger.of(fate), Tally::new(points, points * 2), "{fate:?}");
    }
    drop(life);

    let (mut life, opened) = bench.open();
    assert_eq!(opened.ledger, again.ledger);
    for (number, fate) in
        [(2, Fate::Delivered), (3, MALFORMED), (6, Fate::Delivered), (7, Fate::Expired), (10, CONFLICT)]
    {
        assert_eq!(life.spool.standing(number).unwrap(), Some(Standing::Settled(fate)), "{number}");
    }
    let seen = inspect(bench.path()).unwrap();
    assert!(seen.adds_up);
    let kept: Vec<_> = seen.quarantined.iter().map(|kept| (kept.seqs.first, kept.reason)).collect();
    assert_eq!(kept, [(3, Some(QuarantineReason::Malformed)), (8, Some(QuarantineReason::TypeConflict))]);
    assert_eq!(seen.quarantined[1].words.as_deref(), Some("bad from 8"));
    assert_eq!(parents(&life), [("split".to_owned(), Some(1)), ("split".to_owned(), Some(1))]);
    let mut out = Vec::new();
    let exported = export(bench.path(), Export::Quarantine, &mut out).unwrap();
    assert_eq!((out, exported.damaged_batches), (b"c\nh\ni\nj\n".to_vec(), 0));
}

#[test]
fn a_batch_is_kept_whole_where_its_parts_are_not_exactly_it() {
    let delivered = |first, last| part(first, last, Fate::Delivered);
    let without_body = DirectFate { quarantine: None, ..part(3, 3, MALFORMED) };
    let too_much_body = DirectFate { fate: Fate::Delivered, ..part(3, 3, MALFORMED) };
    let others_body = DirectFate { quarantine: part(4, 4, MALFORMED).quarantine, ..part(3, 3, MALFORMED) };
    let backwards = DirectFate { seqs: SeqRange { first: 3, last: 2 }, ..delivered(3, 3) };
    let endless = DirectFate { seqs: SeqRange { first: 3, last: u64::MAX }, ..delivered(3, 3) };
    let cheap = DirectFate { bytes: 1, ..delivered(3, 3) };
    let dear = DirectFate { bytes: u64::MAX, ..delivered(3, 3) };
    let cases = [
        ("a gap at the start", vec![delivered(2, 10)]),
        ("a gap", vec![delivered(1, 2), delivered(4, 10)]),
        ("a gap at the end", vec![delivered(1, 9)]),
        ("an overlap", vec![delivered(1, 3), delivered(3, 10)]),
        ("all twice", vec![delivered(1, 10), delivered(1, 10)]),
        ("quarantined without a body", vec![delivered(1, 2), without_body, delivered(4, 10)]),
        ("a body of what was delivered", vec![delivered(1, 2), too_much_body, delivered(4, 10)]),
        ("a body of other points", vec![delivered(1, 2), others_body, delivered(4, 10)]),
        ("backwards", vec![delivered(1, 2), backwards, delivered(4, 10)]),
        ("endless", vec![delivered(1, 2), endless]),
        ("bytes missing", vec![delivered(1, 2), cheap, delivered(4, 10)]),
        ("bytes from nowhere", vec![delivered(1, 2), dear, delivered(4, 10)]),
    ];
    for (name, parts) in cases {
        let bench = Bench::new();
        let (mut life, _) = bench.open();
        life.append(&[BODY]);
        let row = life.all().remove(0);
        let committed = life.commit(split(&row, parts));
        assert_eq!(committed.settled, [true], "{name}");
        assert_eq!(committed.ledger.of(UNRESOLVED), Tally::new(10, 20), "{name}");
        assert_eq!(committed.ledger.settled_points(), 10, "{name}");
        assert_eq!(committed.backlog, Backlog::default(), "{name}");
        let mut out = Vec::new();
        export(bench.path(), Export::Quarantine, &mut out).unwrap();
        assert_eq!(out, BODY, "{name}");
    }
}

#[test]
fn a_damaged_row_is_damaged_whatever_its_parts_say() {
    let bench = Bench::new();
    let (mut life, _) = bench.open();
    life.append(&[BODY, b"other"]);
    let rows = life.all();
    let row = SettleRow { parts: vec![part(1, 10, Fate::Delivered)], ..done(&rows[0], Fate::Damaged) };
    let committed = life.commit(CommitPlan { settle: vec![row], ..CommitPlan::default() });
    assert_eq!(committed.ledger.of(Fate::Damaged), Tally::new(10, 20));
    assert_eq!(committed.ledger.settled_points(), 10);
}

/// `origin` and `parent` of what is in quarantine.
fn parents(life: &Life) -> Vec<(String, Option<i64>)> {
    let mut statement = life.spool.conn.prepare("SELECT origin, parent FROM quarantine ORDER BY id").unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.collect::<rusqlite::Result<_>>().unwrap()
}
