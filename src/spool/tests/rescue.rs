//! What a salvage makes of a quarantine.

use std::collections::BTreeSet;
use std::fs;

use super::*;
use crate::values::fate::{QuarantineReason, Standing};

/// Lines: more than one leaf of the quarantine holds.
const LINES: u64 = 150;

/// Of them the first are replayed and delivered, and some more replayed only.
const DELIVERED: u64 = 90;
const REPLAYED: u64 = 110;

/// Every line was quarantined alone, for one reason or another; the longest kept are not there any more.
fn filled(bench: &Bench) {
    let (mut life, _) = bench.open();
    let direct = (1..=LINES).map(|number| {
        let batch = batch(number, 1, format!("plant n={number}i {number}\n").as_bytes());
        let reason = QuarantineReason::ALL[number as usize % QuarantineReason::ALL.len()];
        DirectFate {
            seqs: batch.seqs,
            bytes: batch.raw_len,
            fate: Fate::Quarantined(reason),
            quarantine: Some(Quarantined { batch, status: Some(400), words: Some("no".repeat(50)) }),
            written_off: false,
        }
    });
    let direct = direct.collect();
    life.next = LINES + 1;
    life.commit(CommitPlan { direct, ..CommitPlan::default() });
    let replay =
        |points| Some(Replay { only: None, batches_max: points as usize, up_to: None, below_seq: u64::MAX });
    life.commit(CommitPlan { replay: replay(DELIVERED), ..CommitPlan::default() });
    let rows = life.all();
    life.settle(&rows, Fate::Delivered);
    life.commit(CommitPlan { replay: replay(REPLAYED - DELIVERED), ..CommitPlan::default() });
    life.close();
}

fn mark_damaged(bench: &Bench) {
    set_aside::mark(&paths::Paths::resolve(bench.path()).unwrap(), now()).unwrap();
}

/// The numbers of the lines in quarantine.
fn kept(bench: &Bench) -> BTreeSet<u64> {
    inspect(bench.path()).unwrap().quarantined.iter().map(|kept| kept.seqs.first).collect()
}

#[test]
fn a_quarantine_is_salvaged_with_every_reason() {
    let bench = Bench::new();
    filled(&bench);
    let before = inspect(bench.path()).unwrap();
    mark_damaged(&bench);
    let (mut life, opened) = bench.open();
    let report = opened.salvaged.unwrap();
    assert_eq!((report.quarantine_batches, report.damaged_points), (LINES - REPLAYED, Some(0)));
    let after = inspect(bench.path()).unwrap();
    assert!(after.adds_up);
    assert_eq!(after.quarantine_reasons.len(), QuarantineReason::ALL.len());
    assert_eq!(after.ledger, before.ledger);
    assert_eq!(after.quarantined, before.quarantined);
    assert_eq!(life.all().len() as u64, REPLAYED - DELIVERED);
}

#[test]
fn a_reason_that_cannot_be_read_is_no_reason_to_lose_the_batch() {
    let bench = Bench::new();
    filled(&bench);
    let (life, _) = bench.open();
    life.spool.conn.execute("UPDATE quarantine SET reason = 'x' WHERE first_seq = 149", []).unwrap();
    assert_eq!(inspect(bench.path()).unwrap().quarantine_reasons[0].reason, None);
    life.close();
    mark_damaged(&bench);
    let (_life, opened) = bench.open();
    let seen = inspect(bench.path()).unwrap();
    let found = seen.quarantined.iter().find(|kept| kept.seqs.first == 149).unwrap();
    assert_eq!(found.reason, Some(QuarantineReason::Unresolved));
    assert!(seen.adds_up);
    assert_eq!(opened.ledger.accepted().points, opened.ledger.settled_points() + opened.backlog.points);
}

#[test]
fn no_lost_page_brings_back_what_left_the_quarantine() {
    let bench = Bench::new();
    filled(&bench);
    let whole = fs::read(bench.path()).unwrap();
    let mut saved = 0;
    for page in 0..whole.len() / 16_384 {
        let bench = Bench::new();
        let mut bytes = whole.clone();
        bytes[page * 16_384..(page + 1) * 16_384].fill(0);
        fs::write(bench.path(), bytes).unwrap();
        fs::write(bench.beside(".lock"), "").unwrap();
        mark_damaged(&bench);
        let (mut life, opened) = bench.open();
        assert!(inspect(bench.path()).unwrap().adds_up, "page {page}");
        let pending: BTreeSet<_> = life.all().iter().map(|row| row.first_seq).collect();
        let kept = kept(&bench);
        assert_eq!(kept.intersection(&pending).count(), 0, "page {page}");
        if life.spool.standing(1).unwrap() == Some(Standing::Settled(Fate::Delivered)) {
            assert!(kept.iter().all(|number| *number > DELIVERED), "page {page}: {kept:?}");
            assert!(pending.iter().all(|number| (DELIVERED + 1..=REPLAYED).contains(number)), "page {page}");
        }
        saved += kept.len() + pending.len();
        drop(opened);

        // Whatever was found, nothing of it breaks the sums when it is replayed.
        let replay = Some(Replay { only: None, batches_max: usize::MAX, up_to: None, below_seq: u64::MAX });
        life.commit(CommitPlan { replay, ..CommitPlan::default() });
        let rows = life.all();
        let committed = life.settle(&rows, Fate::Delivered);
        assert_eq!(committed.backlog, Backlog::default());
        assert!(inspect(bench.path()).unwrap().adds_up, "page {page}");
    }
    assert!(saved as u64 > (LINES - DELIVERED) * (whole.len() as u64 / 16_384 - 4), "{saved}");
}
