//! Damaged files: set aside, salvaged, accounted for.

use std::collections::BTreeSet;
use std::fs::{self, File};

use super::*;
use crate::spool::page;
use crate::values::fate::QuarantineReason;

/// Forty batches, two of them delivered, one in quarantine, some in the log only. Returns the bodies still to be sent.
fn filled(bench: &Bench) -> BTreeSet<Vec<u8>> {
    let (mut life, _) = bench.open();
    let bodies: Vec<_> = (0..40).map(|seed| noise(seed, 1_000 + seed as usize * 2_000)).collect();
    for some in bodies[..30].chunks(3) {
        life.append(&some.iter().map(Vec::as_slice).collect::<Vec<_>>());
    }
    let rows = life.all();
    life.settle(&rows[..2], Fate::Delivered);
    life.settle(&rows[2..3], Fate::Quarantined(QuarantineReason::Refused));
    let next = life.next;
    drop(life);
    let (mut life, _) = bench.open();
    assert!(life.next > next);
    for body in &bodies[30..] {
        life.append(&[body]);
    }
    bodies.into_iter().skip(3).collect()
}

fn flip(path: &Path, offset: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[offset] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

/// Opens, checks that what is there is true and accounted for, and returns how many bodies were saved.
fn check_salvaged(bench: &Bench, stored: &BTreeSet<Vec<u8>>) -> (usize, Opened) {
    let (mut life, mut opened) = bench.open();
    let mut rows = life.spool.read_after(None, usize::MAX, u64::MAX);
    if let Err(error) = &rows {
        assert_eq!(error.kind(), SpoolErrorKind::Damaged);
        drop(life);
        (life, opened) = bench.open();
        rows = life.spool.read_after(None, usize::MAX, u64::MAX);
    }
    let mut saved = BTreeSet::new();
    for row in rows.unwrap() {
        if let Ok(batch) = row.batch {
            assert!(stored.contains(&batch.body[..]), "a body that was never stored, or has its fate");
            assert!(saved.insert(batch.body.to_vec()), "a body twice");
        }
    }
    assert_eq!(opened.ledger.accepted().points, opened.ledger.settled_points() + opened.backlog.points);
    life.append(&[b"new"]);
    life.close();
    let (_life, again) = bench.open();
    assert_eq!(again.salvaged, None);
    (saved.len(), opened)
}

/// Where the header has `user_version`: <https://www.sqlite.org/fileformat2.html#the_database_header>.
const VERSION_AT: usize = 60;

#[test]
fn a_version_that_the_tables_belie_is_damage_and_not_a_newer_version() {
    for byte in 0..4 {
        let bench = Bench::new();
        let stored = filled(&bench);
        let (life, _) = bench.open();
        life.close();
        flip(bench.path(), VERSION_AT + byte);
        let (saved, opened) = check_salvaged(&bench, &stored);
        assert_eq!(saved, stored.len(), "byte {byte}");
        assert_eq!(opened.salvaged.unwrap().damaged_points, Some(0), "byte {byte}");
    }
}

#[test]
fn a_wiped_header_costs_no_batch() {
    let bench = Bench::new();
    let stored = filled(&bench);
    let log = fs::read(bench.beside("-wal")).unwrap();
    let mut bytes = fs::read(bench.path()).unwrap();
    bytes[..16_384].fill(0);
    fs::write(bench.path(), &bytes).unwrap();
    // The log still has the first page: take it away, so that the header is really gone.
    fs::remove_file(bench.beside("-wal")).unwrap();
    fs::remove_file(bench.beside("-shm")).unwrap();
    let (saved, opened) = check_salvaged(&bench, &stored);
    assert_eq!(saved, 27);
    let report = opened.salvaged.unwrap();
    assert_eq!(fs::read(&report.set_aside).unwrap(), bytes);
    assert_eq!((report.batches, report.quarantine_batches, report.damaged_points), (27, 1, Some(0)));
    assert_eq!(opened.ledger.of(Fate::Delivered).points, 20);
    assert!(!log.is_empty() && !bench.beside(".damaged").exists());
}

/// Nothing of the old file tells how large its pages were. With larger ones than are asked for no batch would find room in the bound.
#[test]
fn a_file_of_which_nothing_is_left_is_replaced_by_one_that_holds_batches() {
    for page_bytes in page::SIZES {
        let mut bench = Bench::new();
        (bench.options.page_bytes, bench.options.bytes_max) = (page_bytes, 20 * page_bytes);
        let (life, _) = bench.open();
        life.close();
        File::options().write(true).open(bench.path()).unwrap().set_len(16).unwrap();
        let (mut life, opened) = bench.open();
        assert!(opened.salvaged.is_some() && opened.is_fallen);
        assert_eq!(life.spool.page_bytes, page_bytes);
        assert_eq!(life.append(&[b"new"]).withheld, None, "pages of {page_bytes}");
        assert_eq!(life.bodies(), ["new"]);
    }
}

#[test]
fn the_log_is_salvaged_too() {
    let bench = Bench::new();
    let stored = filled(&bench);
    let (life, first) = bench.open();
    drop(life);
    set_aside::mark(&paths::Paths::resolve(bench.path()).unwrap(), now()).unwrap();
    let (saved, opened) = check_salvaged(&bench, &stored);
    assert_eq!((saved, opened.ledger.of(Fate::Damaged).points), (37, 0));
    assert_eq!(opened.tag, first.tag);
    assert!(opened.seq_next >= first.seq_end);
}

#[test]
fn a_log_that_was_never_copied_is_salvaged_from_its_frames() {
    let bench = Bench::new();
    let stored = filled(&bench);
    assert!(paths::len(&bench.beside("-wal")) > 0);
    set_aside::mark(&paths::Paths::resolve(bench.path()).unwrap(), now()).unwrap();
    let (saved, opened) = check_salvaged(&bench, &stored);
    assert_eq!((saved, opened.ledger.of(Fate::Damaged).points), (37, 0));
    assert!(opened.salvaged.unwrap().set_aside.with_extension("").parent().is_some());
}

#[test]
fn commits_behind_a_damaged_frame_of_the_log_are_not_dropped_in_silence() {
    let bench = Bench::new();
    let stored = filled(&bench);
    for offset in [4_000, 40_000] {
        flip(&bench.beside("-wal"), offset);
    }
    let (saved, opened) = check_salvaged(&bench, &stored);
    assert!(opened.salvaged.is_some());
    assert!(saved >= 35, "{saved}");
    assert_eq!(opened.backlog.batches, saved as u64);
}

#[test]
fn a_transaction_torn_by_a_power_cut_is_no_damage() {
    let bench = Bench::new();
    let stored = filled(&bench);
    let end = paths::len(&bench.beside("-wal")) as usize;
    // A frame within the last transaction did not reach the disk, its last one did.
    flip(&bench.beside("-wal"), end - 2 * 16_408 + 9_000);
    let (saved, opened) = check_salvaged(&bench, &stored);
    assert_eq!((saved, opened.salvaged), (36, None));
}

#[test]
fn the_log_of_a_database_that_is_gone_is_salvaged() {
    for is_removed in [false, true] {
        let bench = Bench::new();
        let stored = filled(&bench);
        match is_removed {
            true => fs::remove_file(bench.path()).unwrap(),
            false => fs::write(bench.path(), "").unwrap(),
        }
        let (saved, opened) = check_salvaged(&bench, &stored);
        assert!(saved >= 9, "{saved}");
        assert!(opened.salvaged.is_some());
    }
}

/// Where in the file the first page of a table begins.
fn root_at(bench: &Bench, table: &str) -> usize {
    let conn = rusqlite::Connection::open(bench.path()).unwrap();
    let query = "SELECT rootpage FROM sqlite_schema WHERE name = ?1";
    let root: i64 = conn.query_row(query, [table], |row| row.get(0)).unwrap();
    (root as usize - 1) * 16_384
}

#[test]
fn a_table_whose_root_is_lost_is_found_at_the_start() {
    for table in ["batch", "attempt", "quarantine", "fate", "spool"] {
        let bench = Bench::new();
        let stored = filled(&bench);
        let (life, _) = bench.open();
        life.close();
        let root = root_at(&bench, table);
        let mut bytes = fs::read(bench.path()).unwrap();
        bytes[root..root + 16_384].fill(0);
        fs::write(bench.path(), bytes).unwrap();
        assert!(!verify(bench.path()).unwrap().sound, "{table}");
        let (_, opened) = check_salvaged(&bench, &stored);
        assert!(opened.salvaged.is_some(), "{table}");
        assert!(verify(bench.path()).unwrap().sound, "{table}");
    }
}

#[test]
fn a_column_of_another_name_is_found_at_the_start() {
    for (column, table) in
        [("status", "quarantine"), ("since_ms", "quarantine"), ("panics", "attempt"), ("fate", "fate")]
    {
        let bench = Bench::new();
        let stored = filled(&bench);
        let (life, _) = bench.open();
        life.close();
        let bytes = fs::read(bench.path()).unwrap();
        let at =
            |text: &str, from: usize| from + memchr::memmem::find(&bytes[from..], text.as_bytes()).unwrap();
        let at = at(&format!("    {column} "), at(&format!("CREATE TABLE {table}"), 0)) + 5;
        flip(bench.path(), at);
        assert!(!verify(bench.path()).unwrap().sound, "{column} of {table}");
        let (saved, opened) = check_salvaged(&bench, &stored);
        assert_eq!(
            (saved, opened.salvaged.unwrap().damaged_points),
            (stored.len(), Some(0)),
            "{column} of {table}"
        );
    }
}

#[test]
fn words_that_are_no_text_any_more_hide_nothing_else() {
    let bench = Bench::new();
    filled(&bench);
    let (life, _) = bench.open();
    life.spool.conn.execute("UPDATE quarantine SET words = CAST(x'f4726573' AS TEXT)", []).unwrap();
    let quarantined = inspect(bench.path()).unwrap().quarantined;
    assert_eq!(quarantined[0].words.as_deref(), Some("\u{fffd}res"));
}

#[test]
fn what_cannot_be_read_is_counted_as_damaged() {
    let bench = Bench::new();
    let stored = filled(&bench);
    let (life, _) = bench.open();
    life.close();
    // A leaf in the middle: the batches on it are lost, and only those.
    let root = root_at(&bench, "batch");
    let mut bytes = fs::read(bench.path()).unwrap();
    bytes[root..root + 16_384].fill(0);
    fs::write(bench.path(), bytes).unwrap();
    set_aside::mark(&paths::Paths::resolve(bench.path()).unwrap(), now()).unwrap();
    let (saved, opened) = check_salvaged(&bench, &stored);
    // The root was an inner page, so the leaves are found by looking at every page.
    assert_eq!(saved, 37);
    assert_eq!(opened.ledger.of(Fate::Damaged).points, 0);
}

#[test]
fn a_damage_found_while_running_is_healed_by_the_next_open() {
    let bench = Bench::new();
    let stored = filled(&bench);
    let (life, _) = bench.open();
    life.close();
    // Not the first, which opening looks at.
    let leaf = leaf_at(&bench, 2);
    let mut bytes = fs::read(bench.path()).unwrap();
    bytes[leaf..][..16].fill(0xff);
    fs::write(bench.path(), bytes).unwrap();

    let (mut life, _) = bench.open();
    let error = life.spool.read_after(None, 100, u64::MAX).unwrap_err();
    assert_eq!(error.kind(), SpoolErrorKind::Damaged);
    assert!(error.is_retryable());
    let plan = CommitPlan { number: life.number + 1, ..CommitPlan::default() };
    assert_eq!(life.spool.commit(&plan, now()).unwrap_err().kind(), SpoolErrorKind::Damaged);
    drop(life);
    let (saved, opened) = check_salvaged(&bench, &stored);
    let lost = 37 - saved as u64;
    assert!((1..=8).contains(&lost), "{lost}");
    assert_eq!(opened.ledger.of(Fate::Damaged).points, lost * 10);
    assert_eq!(opened.salvaged.unwrap().damaged_points, Some(lost * 10));
}

/// Where in the file the nth leaf of the backlog begins, from 0.
fn leaf_at(bench: &Bench, nth: usize) -> usize {
    let root = root_at(bench, "batch");
    let bytes = fs::read(bench.path()).unwrap();
    let cell = root + 12 + 2 * nth;
    let cell = usize::from(u16::from_be_bytes([bytes[cell], bytes[cell + 1]]));
    let leaf = u32::from_be_bytes(bytes[root + cell..][..4].try_into().unwrap());
    (leaf as usize - 1) * 16_384
}

/// SQLite reads it well: the rows of one page are passed twice, those of the other never.
#[test]
fn a_page_in_the_place_of_another_is_noticed_however_much_is_read_at_once() {
    for rows_max in [1, 3, usize::MAX] {
        let bench = Bench::new();
        let stored = filled(&bench);
        let (life, _) = bench.open();
        life.close();
        let [leaf, other] = [2, 4].map(|nth| leaf_at(&bench, nth));
        let mut bytes = fs::read(bench.path()).unwrap();
        bytes.copy_within(other..other + 16_384, leaf);
        fs::write(bench.path(), bytes).unwrap();

        let (mut life, _) = bench.open();
        let mut after = None;
        let error = loop {
            match life.spool.read_after(after, rows_max, u64::MAX) {
                Ok(rows) => after = Some(rows.last().expect("it is noticed before the end").first_seq),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), SpoolErrorKind::Damaged);
        drop(life);
        let (saved, opened) = check_salvaged(&bench, &stored);
        let lost = 37 - saved as u64;
        assert!((1..=8).contains(&lost), "{lost}");
        assert_eq!(opened.ledger.of(Fate::Damaged).points, lost * 10);
    }
}

#[test]
fn a_false_counter_is_noticed() {
    let bench = Bench::new();
    let stored = filled(&bench);
    let (life, _) = bench.open();
    life.spool.conn.execute("UPDATE spool SET ledger = json_set(ledger, '$.delivered[0]', 21)", []).unwrap();
    drop(life);
    let (saved, opened) = check_salvaged(&bench, &stored);
    assert_eq!(saved, 37);
    assert_eq!(opened.salvaged.unwrap().damaged_points, None);
    assert_eq!(opened.ledger.accepted().points, 380);
}

/// Where in the head of a b-tree's page the list of its free blocks begins, which only whoever changes the page follows:
/// <https://www.sqlite.org/fileformat2.html#b_tree_pages>.
const FREE_BLOCKS_AT: usize = 1;

#[test]
fn damage_that_only_the_first_change_leads_to_is_healed_at_once() {
    let bench = Bench::new();
    let stored = filled(&bench);
    let (life, _) = bench.open();
    life.close();
    let root = root_at(&bench, "spool");
    let mut bytes = fs::read(bench.path()).unwrap();
    bytes[root + FREE_BLOCKS_AT..][..2].fill(0xff);
    fs::write(bench.path(), &bytes).unwrap();
    assert!(inspect(bench.path()).unwrap().adds_up, "whoever only looks finds nothing");

    let (saved, opened) = check_salvaged(&bench, &stored);
    assert_eq!(saved, stored.len());
    let report = opened.salvaged.unwrap();
    assert_eq!((report.batches, report.damaged_points), (37, Some(0)));
    assert_eq!(fs::read(&report.set_aside).unwrap(), bytes, "as it was found");
}

#[test]
fn any_crash_while_a_file_is_replaced_is_taken_up_by_the_next_open() {
    for moved in 0..=3 {
        let bench = Bench::new();
        let stored = filled(&bench);
        let paths = paths::Paths::resolve(bench.path()).unwrap();
        set_aside::mark(&paths, now()).unwrap();
        let suffix = fs::read_to_string(bench.beside(".damaged")).unwrap();
        for part in ["-shm", "-wal", ""].iter().take(moved) {
            fs::rename(bench.beside(part), bench.beside(&format!("{suffix}{part}"))).unwrap();
        }
        fs::write(bench.beside(".salvage"), "half").unwrap();
        assert_eq!(check_salvaged(&bench, &stored).0, 37, "{moved}");
    }
}

#[test]
fn it_always_starts_whatever_bit_is_flipped_or_page_is_gone() {
    let bench = Bench::new();
    let stored = filled(&bench);
    let database = fs::read(bench.path()).unwrap();
    let log = fs::read(bench.beside("-wal")).unwrap();
    let mut random = fastrand::Rng::with_seed(4);
    let rounds = if std::env::var_os("RUN_SLOW_TESTS").is_some() { 1_000 } else { 60 };
    let mut lost = 0;
    for round in 0..rounds {
        let bench = Bench::new();
        fs::write(bench.path(), &database).unwrap();
        fs::write(bench.beside("-wal"), &log).unwrap();
        fs::write(bench.beside(".lock"), "").unwrap();
        let victim = if random.bool() { bench.path().to_owned() } else { bench.beside("-wal") };
        let mut bytes = fs::read(&victim).unwrap();
        let at = random.usize(..bytes.len());
        match round % 5 {
            0 | 1 => bytes[at] ^= 1 << random.u8(..8),
            2 => bytes.truncate(at),
            3 => bytes[at / 16_384 * 16_384..].iter_mut().take(16_384).for_each(|byte| *byte = 0),
            _ => bytes.extend(noise(round, at % 50_000)),
        }
        fs::write(&victim, bytes).unwrap();
        let (saved, _) = check_salvaged(&bench, &stored);
        lost += stored.len() - saved;
    }
    println!("{lost} batches of {} were not read back", stored.len() * rounds as usize);
}

#[test]
fn a_damaged_file_is_read_in_its_own_pages_whatever_is_wrong_with_what_says_their_size() {
    let said = [[0x10, 0], [0x40, 0], [0, 1]];
    for (number, page_bytes) in page::SIZES.into_iter().enumerate() {
        let (page, other) = (page_bytes as usize, said[(number + 1) % said.len()]);
        let damages: [(usize, &[u8]); 3] = [(16, &other), (16, &[0, 0]), (page, &[0; 5])];
        for (at, bytes) in damages {
            let mut bench = Bench::new();
            bench.options.page_bytes = page_bytes;
            let stored = filled(&bench);
            let mut file = fs::read(bench.path()).unwrap();
            assert_eq!(file[16..18], said[number]);
            file[at..at + bytes.len()].copy_from_slice(bytes);
            fs::write(bench.path(), file).unwrap();
            set_aside::mark(&paths::Paths::resolve(bench.path()).unwrap(), now()).unwrap();
            let (saved, opened) = check_salvaged(&bench, &stored);
            assert_eq!((saved, opened.ledger.of(Fate::Damaged).points), (37, 0), "{page} {at} {bytes:?}");
            assert_eq!(fs::read(bench.path()).unwrap()[16..18], said[number]);
        }
    }
}

#[test]
fn of_fates_that_cannot_be_true_none_is_salvaged() {
    for damage in [
        "UPDATE fate SET fate = 'delivereb' WHERE fate = 'delivered'",
        "UPDATE fate SET last_seq = first_seq - 1",
        "UPDATE fate SET first_seq = -first_seq",
        "INSERT INTO fate SELECT first_seq + 1, last_seq + 1, 'rejected' FROM fate ORDER BY first_seq LIMIT 1",
    ] {
        let bench = Bench::new();
        let stored = filled(&bench);
        let (life, _) = bench.open();
        assert!(life.spool.conn.execute(damage, []).unwrap() > 0, "{damage}");
        life.close();
        assert!(!verify(bench.path()).unwrap().sound, "{damage}");
        salvage(bench.path()).unwrap().unwrap();
        let (saved, _) = check_salvaged(&bench, &stored);
        assert_eq!(saved, 37, "{damage}");
        assert!(verify(bench.path()).unwrap().sound, "{damage}");
    }
}
