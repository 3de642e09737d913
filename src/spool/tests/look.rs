//! Looking in from outside.

use super::*;
use crate::machines::codec::encode_body;
use crate::values::fate::QuarantineReason;

const REFUSED: Fate = Fate::Quarantined(QuarantineReason::Refused);

fn line(number: u64) -> String {
    format!("plant value={number} {number}\n")
}

/// Three gzip batches of one line, the second in quarantine.
fn filled(bench: &Bench) -> Life {
    let (mut life, _) = bench.open();
    let appends = (1..=3)
        .map(|number| {
            let lines = line(number);
            let body = encode_body(Codec::Gzip, lines.as_bytes());
            Batch { codec: Codec::Gzip, raw_len: lines.len() as u64, body, ..batch(number, 1, b"") }
        })
        .collect();
    life.next = 4;
    life.commit(CommitPlan { appends, refused: 7, ..CommitPlan::default() });
    let row = life.all().remove(1);
    let settle = vec![SettleRow { status: Some(400), words: Some("no".into()), ..done(&row, REFUSED) }];
    life.commit(CommitPlan { settle, ..CommitPlan::default() });
    life
}

#[test]
fn an_inspection_tells_everything_while_the_owner_is_at_work() {
    let bench = Bench::new();
    let mut life = filled(&bench);
    let seen = inspect(bench.path()).unwrap();
    assert!(seen.adds_up && !seen.clean_stop);
    assert_eq!(seen.held_by, Some(std::process::id()));
    assert_eq!((seen.backlog.batches, seen.backlog.points, seen.refused), (2, 2, 7));
    assert_eq!(seen.destinations.len(), 1);
    assert_eq!(seen.destinations[0].destination.as_ref().unwrap().database, "plant");
    assert_eq!(seen.quarantine.batches, 1);
    let kept = &seen.quarantined[0];
    assert_eq!((kept.seqs.first, kept.status, kept.words.as_deref()), (2, Some(400), Some("no")));
    assert_eq!(kept.reason, Some(QuarantineReason::Refused));
    let sums: Vec<_> = seen.quarantine_reasons.iter().map(|sum| (sum.reason, sum.batches)).collect();
    assert_eq!(sums, [(Some(QuarantineReason::Refused), 1)]);
    assert!(seen.oldest_age_seconds > Some(3_600));
    let json = serde_json::to_value(&seen).unwrap();
    assert_eq!(json["ledger"]["accepted"]["points"], 3);

    // The owner was not disturbed.
    life.append(&[b"more"]);
    life.close();
    let seen = inspect(bench.path()).unwrap();
    assert_eq!((seen.held_by, seen.clean_stop, seen.backlog.batches), (None, true, 3));
}

#[test]
fn an_inspection_of_a_spool_left_by_a_crash_sees_what_is_in_the_log() {
    let bench = Bench::new();
    drop(filled(&bench));
    assert_eq!(inspect(bench.path()).unwrap().backlog.batches, 2);
    assert_eq!(inspect(bench.path()).unwrap().backlog.batches, 2);
}

#[test]
fn an_export_prints_the_lines_of_the_backlog_or_of_the_quarantine() {
    let bench = Bench::new();
    let life = filled(&bench);
    let mut out = Vec::new();
    let exported = export(bench.path(), Export::Backlog, &mut out).unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), line(1) + &line(3));
    assert_eq!((exported.batches, exported.points, exported.damaged_batches), (2, 2, 0));
    let mut out = Vec::new();
    export(bench.path(), Export::Quarantine, &mut out).unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), line(2));
    for (reason, lines) in [(QuarantineReason::Refused, line(2)), (QuarantineReason::Suspect, String::new())]
    {
        let mut out = Vec::new();
        export(bench.path(), Export::QuarantinedFor(reason), &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), lines);
    }

    life.spool.conn.execute("UPDATE batch SET body = x'00' WHERE first_seq = 1", []).unwrap();
    let mut out = Vec::new();
    let exported = export(bench.path(), Export::Backlog, &mut out).unwrap();
    assert_eq!((out, exported.damaged_batches), (line(3).into_bytes(), 1));
}

#[test]
fn what_is_no_spool_cannot_be_looked_into() {
    let bench = Bench::new();
    assert_eq!(inspect(bench.path()).unwrap_err().kind(), SpoolErrorKind::Io);
    assert!(!bench.path().exists());
    std::fs::write(bench.path(), "text").unwrap();
    assert_eq!(inspect(bench.path()).unwrap_err().kind(), SpoolErrorKind::NotASpool);
}
