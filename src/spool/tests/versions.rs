//! Files of older versions: their batches are sent from where they lie.

use super::super::{backlog, origin, room, row, schema, state};
use super::*;
use crate::values::ledger::Tally;

/// A file of version 2, with these batches of ten points, under ids that are not their numbers.
fn with_batches(bench: &Bench, bodies: &[&[u8]]) {
    let conn = schema::create_old(bench.path(), 2);
    conn.execute("INSERT INTO sqlite_sequence VALUES ('batch', 100)", []).unwrap();
    let mut state = state::State::new();
    for (index, body) in bodies.iter().enumerate() {
        let batch = batch(1 + 10 * index as u64, 10, body);
        let tally = Tally::new(10, body.len() as u64);
        let stored = row::StoredBatch::new(&batch, &room::destination_json(&batch), origin::Origin::Live);
        assert_eq!(backlog::insert(&conn, &stored).unwrap(), RowId(101 + index as i64));
        state.backlog.add(tally);
        state.ledger.accept(tally);
        state.seq_end = batch.seqs.last + 1;
    }
    state.store(&conn).unwrap();
}

fn version(life: &Life) -> u32 {
    schema::version(&life.spool.conn).unwrap()
}

fn note(row: &ReadBatch, attempts: u32) -> CommitPlan {
    let first_seq = row.first_seq;
    let note = AttemptNote { row: row.row, first_seq, attempts, panics: 1, status: None, words: None };
    CommitPlan { attempts: vec![note], ..CommitPlan::default() }
}

#[test]
fn an_older_file_is_used_as_it_is_until_it_is_empty() {
    let bench = Bench::new();
    with_batches(&bench, &[b"one", b"two", b"three"]);
    let (mut life, _) = bench.open();
    assert_eq!(version(&life), 2);
    let rows = life.all();
    assert_eq!(rows[1].row, RowId(102));
    life.commit(note(&rows[1], 3));
    let refused = Fate::Quarantined(crate::values::fate::QuarantineReason::Refused);
    life.settle(&rows[..1], refused);
    assert_eq!(life.append(&[b"four"]).appended, [RowId(104)]);
    drop(life);

    // What has batches stays as it is, a replay goes before the rest.
    let (mut life, opened) = bench.open();
    assert_eq!((version(&life), opened.backlog.batches), (2, 3));
    assert_eq!(life.all()[0].attempts, 3);
    assert_eq!(life.spool.find(11).unwrap(), Some(RowId(102)));
    let replay = Replay { only: None, batches_max: 9, up_to: None, below_seq: u64::MAX };
    life.commit(CommitPlan { replay: Some(replay), ..CommitPlan::default() });
    assert_eq!(life.bodies(), ["one", "two", "three", "four"]);
    assert!(verify(bench.path()).unwrap().sound);
    let rows = life.all();
    life.settle(&rows, Fate::Delivered);
    drop(life);

    let (mut life, opened) = bench.open();
    assert_eq!((version(&life), opened.ledger.of(Fate::Delivered).points), (schema::VERSION, 40));
    let first_seq = life.next;
    assert_eq!(life.append(&[b"five"]).appended, [RowId(first_seq as i64)]);
    assert_eq!(life.bodies(), ["five"]);
    life.close();
    assert!(verify(bench.path()).unwrap().sound);
}

#[test]
fn a_damaged_file_of_an_older_version_is_salvaged_into_the_newest() {
    let bench = Bench::new();
    with_batches(&bench, &[b"one", b"two", b"three"]);
    let (mut life, _) = bench.open();
    let rows = life.all();
    life.commit(note(&rows[1], 3));
    life.spool.conn.execute("UPDATE batch SET body = x'00' WHERE id = 103", []).unwrap();
    life.close();
    let report = salvage(bench.path()).unwrap().unwrap();
    assert_eq!((report.batches, report.damaged_points), (2, Some(10)));
    let (mut life, _) = bench.open();
    assert_eq!(version(&life), schema::VERSION);
    let rows = life.all();
    let found = rows.iter().map(|row| (row.row, row.attempts));
    assert_eq!(found.collect::<Vec<_>>(), [(RowId(1), 0), (RowId(11), 3)]);
    assert_eq!(life.bodies(), ["one", "two"]);
}

/// The ledger of version 1 has a table of its own, and is read from its pages.
#[test]
fn the_ledger_of_the_first_version_is_salvaged() {
    let bench = Bench::new();
    let conn = schema::create_old(bench.path(), 1);
    let mut state = state::State::new();
    state.ledger.accept(Tally::new(7, 70));
    state.ledger.settle(Fate::Delivered, Tally::new(5, 50));
    let columns = "uuid, generation, life_first, seq_end, stamp_last, clean_stop, unclean_ends, commit_number, \
                   refused, batches, points, bytes, quarantine_batches, quarantine_bytes, fate_floor, clock_ms, \
                   expiry_after_ms, checksum";
    conn.execute(
        &format!(
            "INSERT INTO spool (id, {columns}) VALUES (1, ?1, 0, 1, 1, NULL, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, ?2, ?3)"
        ),
        rusqlite::params![state.uuid.to_string(), i64::MIN, state.checksum()],
    )
    .unwrap();
    conn.execute(
        "INSERT INTO ledger VALUES ('accepted', 7, 70), ('delivered', 5, 50), ('shed.queue_full', 0, 0)",
        [],
    )
    .unwrap();
    drop(conn);
    // It says that two points are there, and they are not: no state to be believed.
    let report = salvage(bench.path()).unwrap().unwrap();
    assert_eq!(report.damaged_points, Some(2));
    let (_life, opened) = bench.open();
    assert_eq!((opened.ledger.accepted().points, opened.ledger.of(Fate::Delivered).points), (7, 5));
}

#[test]
fn rows_that_the_index_of_an_older_file_does_not_lead_to_are_found_in_a_new_file() {
    let bench = Bench::new();
    with_batches(&bench, &[b"one", b"two", b"three"]);
    let (life, _) = bench.open();
    let conn = &life.spool.conn;
    let index = |sql: &str| {
        conn.pragma_update(None, "writable_schema", true).unwrap();
        conn.execute("UPDATE sqlite_schema SET sql = ?1 WHERE name = 'batch_order'", [sql]).unwrap();
        conn.execute_batch("PRAGMA writable_schema = RESET").unwrap();
    };
    index("CREATE UNIQUE INDEX batch_order ON batch (first_seq) WHERE id < 103");
    conn.execute_batch("REINDEX batch_order").unwrap();
    index("CREATE UNIQUE INDEX batch_order ON batch (first_seq)");
    drop(life);
    let (mut life, _) = bench.open();
    assert_eq!(life.bodies(), ["one", "two"]);
    assert_eq!(life.spool.read_after(Some(11), 10, u64::MAX).unwrap_err().kind(), SpoolErrorKind::Damaged);
    drop(life);
    let (mut life, opened) = bench.open();
    assert_eq!(life.bodies(), ["one", "two", "three"]);
    assert_eq!(opened.salvaged.unwrap().damaged_points, Some(0));
}
