//! Thousands of single lines in quarantine.

use super::*;
use crate::values::fate::QuarantineReason;

const MALFORMED: Fate = Fate::Quarantined(QuarantineReason::Malformed);

/// A line of sixty bytes, with what a server says about it.
fn bad(number: u64) -> DirectFate {
    let line = format!("plant,site=north,line=a{number:08} value=1.5,n=\"bad\" {number:010}\n");
    let words = format!("unable to parse '{}': missing fields", line.trim());
    let batch = batch(number, 1, line.as_bytes());
    DirectFate {
        seqs: batch.seqs,
        bytes: batch.raw_len,
        fate: MALFORMED,
        quarantine: Some(Quarantined { batch, status: Some(400), words: Some(words) }),
        written_off: false,
    }
}

#[test]
fn the_bound_of_the_quarantine_bounds_what_it_takes_of_the_file() {
    let mut bench = Bench::new();
    bench.options.quarantine_bytes_max = 1 << 20;
    let (mut life, _) = bench.open();
    let direct = (1..=5_000).map(bad).collect();
    let committed = life.commit(CommitPlan { direct, ..CommitPlan::default() });
    let gone: u64 = committed.quarantine_evicted.iter().map(|gone| gone.tally.points).sum();
    assert!((3_000..4_000).contains(&gone), "{gone}");
    assert_eq!(committed.ledger.of(Fate::Rejected).points, gone);
    assert_eq!(committed.ledger.of(MALFORMED).points, 5_000 - gone);
    let used = super::super::room::used_pages(&life.spool.conn).unwrap() * 16_384;
    assert!(used < 1 << 20, "{used}");
    let seen = inspect(bench.path()).unwrap();
    assert!(seen.adds_up);
    assert_eq!(seen.quarantined.len(), 1_000);
    assert_eq!(seen.quarantined.last().unwrap().seqs.first, 5_000);
    assert_eq!(seen.quarantine_reasons.len(), 1);
    let sum = seen.quarantine_reasons[0];
    assert_eq!((sum.reason, sum.batches), (Some(QuarantineReason::Malformed), 5_000 - gone));
    assert_eq!(sum.size.points, 5_000 - gone);
}
