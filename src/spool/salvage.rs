//! What can still be read of a damaged file, batch by batch, by checksum, into a fresh one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params_from_iter};
use serde::Serialize;

use super::backlog;
use super::error::{During, SpoolError};
use super::fates;
use super::open::{SEQ_BLOCK, checkpoint_all};
use super::pages::{Image, Pages, Record};
use super::paths::Paths;
use super::quarantine;
use super::room;
use super::row::{BATCH_COLUMNS, BATCH_COLUMNS_BY_ID, QUARANTINE_COLUMNS, StoredBatch, count};
use super::schema;
use super::state::State;
use super::steps;
use crate::log;
use crate::machines::plan::RowId;
use crate::values::batch::Batch;
use crate::values::config::SyncMode;
use crate::values::fate::{Fate, QuarantineReason};
use crate::values::ledger::{Ledger, Tally};
use crate::values::seq::SeqRange;

/// What became of a damaged file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SalvageReport {
    /// Where the damaged file is now; its log is beside it.
    pub set_aside: PathBuf,
    /// Batches of the backlog that were read back and will be sent.
    pub batches: u64,
    /// Their points.
    pub points: u64,
    /// Batches of the quarantine that were read back.
    pub quarantine_batches: u64,
    /// Points that could not be read back, now counted as damaged; `None` if the ledger was among what was lost, so
    /// that nobody can know.
    pub damaged_points: Option<u64>,
}

/// Puts a fresh file in the place of the one set aside, with all that can be read of it.
///
/// The fresh file is built under another name and renamed when it is whole, so that a crash begins it again. Its pages have so many
/// bytes, or as many as those of the old one seem to have: where too little is left of that to tell, they are not what the bounds of
/// the spool are for.
pub(super) fn replace(
    paths: &Paths,
    aside: &Paths,
    page_bytes: Option<u64>,
) -> Result<SalvageReport, SpoolError> {
    let during = format!("salvage {}", aside.name());
    let fresh = Paths { database: paths.beside(".salvage") };
    for part in ["", "-wal", "-shm"] {
        steps::remove(&fresh.beside(part)).during(&during)?;
    }
    steps::create(&fresh.database).during(&during)?;
    let pages = Pages::open(aside).during(&during)?;
    let page_bytes = page_bytes.unwrap_or(pages.page_bytes());
    let mut conn = schema::connect_to_write(&fresh.database, SyncMode::Normal, page_bytes).during(&during)?;
    schema::migrate(&mut conn, &during)?;
    steps::step().during(&during)?;

    let salvage = Salvage {
        conn: &mut conn,
        pages,
        seen: BTreeSet::new(),
        kept: BTreeSet::new(),
        renamed: BTreeMap::new(),
    };
    let report = salvage.run(&aside.database).during(&during)?;
    steps::step().during(&during)?;
    checkpoint_all(&conn).during(&during)?;
    drop(conn);
    for part in ["-wal", "-shm"] {
        steps::remove(&fresh.beside(part)).during(&during)?;
    }
    steps::rename(&fresh.database, &paths.database).during(&during)?;
    steps::sync_folder(paths).during(&during)?;
    log::error!(
        file = %paths.name(), set_aside = %aside.name(), batches = report.batches, points = report.points,
        damaged_points = report.damaged_points, "a damaged spool was replaced by what could be read of it"
    );
    Ok(report)
}

/// Rows in one transaction: the log of the fresh file stays small.
const ROWS_PER_COMMIT: usize = 64;

/// Which column of the quarantine says why.
const REASON_COLUMN: usize = 13;

/// Columns of the state where the ledger has a table of its own.
const STATE_COLUMNS_APART: usize = 19;

/// The page of the schema's own table, and which of its columns are what.
const SCHEMA_ROOT: u32 = 1;
const NAME_COLUMN: usize = 1;
const ROOT_COLUMN: usize = 3;

struct Salvage<'a> {
    conn: &'a mut Connection,
    pages: Pages,
    /// Leaves that were read already.
    seen: BTreeSet<u32>,
    /// First numbers of the batches in the new quarantine, which has no index to ask.
    kept: BTreeSet<u64>,
    /// From the id that a batch had in an older file to the one it has now.
    renamed: BTreeMap<i64, i64>,
}

impl Salvage<'_> {
    fn run(mut self, aside: &Path) -> rusqlite::Result<SalvageReport> {
        self.copy_state()?;
        self.copy_fates()?;
        // A missing or a false row is what we are here for, so neither ends the work.
        let known = State::load(self.conn).unwrap_or(None);

        let batches_whole = self.copy_bodies("batch")?;
        let quarantine_whole = self.copy_bodies("quarantine")?;
        if !batches_whole || !quarantine_whole || !self.pages.log_is_whole() {
            self.copy_strays()?;
        }
        self.copy_attempts()?;
        self.settle_accounts(known, aside)
    }

    fn copy_state(&mut self) -> rusqlite::Result<()> {
        for mut state in self.rows("spool")? {
            if state.values.len() == STATE_COLUMNS_APART {
                state.values.push(Value::Text(self.ledger_apart()?));
            }
            self.insert("spool", state);
        }
        Ok(())
    }

    /// The ledger of a file that has a table for it, as it stands in the state now.
    fn ledger_apart(&mut self) -> rusqlite::Result<String> {
        let rows = self.rows("ledger")?.into_iter().filter_map(|record| match &record.values[..] {
            [Value::Text(key), Value::Integer(points), Value::Integer(bytes)] => {
                Some((key.clone(), [*points, *bytes]))
            }
            _ => None,
        });
        Ok(serde_json::json!(rows.collect::<BTreeMap<_, _>>()).to_string())
    }

    /// No checksum says which are true: those that can be, each as far as the next begins.
    fn copy_fates(&mut self) -> rusqlite::Result<()> {
        let fates = self.rows("fate")?;
        let mut ranges: Vec<_> = fates.into_iter().filter_map(|record| range_of(&record)).collect();
        ranges.sort_by_key(|(seqs, _)| seqs.first);
        ranges.dedup_by_key(|(seqs, _)| seqs.first);
        let nexts = ranges.iter().skip(1).map(|(next, _)| next.first - 1).chain([u64::MAX]);
        let ends: Vec<u64> = nexts.collect();
        for ((seqs, fate), end) in ranges.into_iter().zip(ends) {
            fates::record(self.conn, SeqRange { last: seqs.last.min(end), ..seqs }, fate)?;
        }
        Ok(())
    }

    fn copy_attempts(&mut self) -> rusqlite::Result<()> {
        for mut attempt in self.rows("attempt")? {
            if !self.renamed.is_empty() {
                let Some(id) = self.renamed.get(&attempt.rowid) else { continue };
                attempt.rowid = *id;
            }
            self.insert("attempt", attempt);
        }
        self.conn.execute("DELETE FROM attempt WHERE batch NOT IN (SELECT rowid FROM batch)", [])?;
        Ok(())
    }

    /// The rows of a small table, from wherever it may begin: those of others are refused by it.
    fn rows(&mut self, table: &str) -> rusqlite::Result<Vec<Record>> {
        let mut rows = Vec::new();
        for root in self.roots(table)? {
            for leaf in self.pages.leaves(root).pages {
                rows.extend(self.pages.records(Image::newest(leaf)).0);
            }
        }
        Ok(rows)
    }

    /// Copies a row as it is. One of the wrong shape is refused by the table, and is lost.
    fn insert(&self, table: &str, record: Record) {
        let values = with_rowid(record);
        let marks = vec!["?"; values.len()].join(", ");
        let insert = format!("INSERT OR IGNORE INTO {table} VALUES ({marks})");
        let _refused = self.conn.execute(&insert, params_from_iter(values));
    }

    /// Copies the rows of a table whose checksums are right. Whether every page of it could be read.
    fn copy_bodies(&mut self, table: &str) -> rusqlite::Result<bool> {
        let mut is_whole = true;
        for root in self.roots(table)? {
            let leaves = self.pages.leaves(root);
            is_whole &= leaves.is_whole;
            for leaf in leaves.pages {
                self.seen.insert(leaf);
                is_whole &= self.copy_leaf(Image::newest(leaf))?;
            }
        }
        Ok(is_whole)
    }

    /// Leaves that no way leads to any more, then versions of leaves that newer ones replaced: where a page of the log is
    /// lost, an older version of it, or of its neighbour, has what was on it. Among both are rows that were given up long
    /// ago: they have a fate.
    fn copy_strays(&mut self) -> rusqlite::Result<()> {
        for number in self.pages.numbers() {
            if !self.seen.contains(&number) {
                self.copy_leaf(Image::newest(number))?;
            }
        }
        for image in self.pages.all_images() {
            self.copy_leaf(image)?;
        }
        Ok(())
    }

    fn copy_leaf(&mut self, leaf: Image) -> rusqlite::Result<bool> {
        let (records, is_whole) = self.pages.records(leaf);
        for some in records.chunks(ROWS_PER_COMMIT) {
            let tx = self.conn.transaction()?;
            for record in some {
                copy_body(&tx, &mut self.kept, &mut self.renamed, record)?;
            }
            tx.commit()?;
        }
        Ok(is_whole)
    }

    /// Where a table may begin: where the damaged file says, and where it does in the fresh one, which has the same layout if the
    /// same migrations made both.
    fn roots(&mut self, table: &str) -> rusqlite::Result<BTreeSet<u32>> {
        let fresh = self
            .conn
            .query_row(
                "SELECT rootpage FROM sqlite_schema WHERE type = 'table' AND name = ?1",
                [table],
                |row| row.get(0),
            )
            .optional()?;
        let mut roots: BTreeSet<u32> = fresh.into_iter().collect();
        for leaf in self.pages.leaves(SCHEMA_ROOT).pages {
            for Record { values, .. } in self.pages.records(Image::newest(leaf)).0 {
                if let (Some(Value::Text(name)), Some(Value::Integer(root))) =
                    (values.get(NAME_COLUMN), values.get(ROOT_COLUMN))
                    && name == table
                {
                    roots.extend(u32::try_from(*root).ok());
                }
            }
        }
        Ok(roots)
    }

    fn settle_accounts(&mut self, known: Option<State>, aside: &Path) -> rusqlite::Result<SalvageReport> {
        let is_known = known.is_some();
        let damaged_before = known.as_ref().map_or(0, |state| state.ledger.of(Fate::Damaged).points);
        let mut state = known.unwrap_or_else(State::new);
        state.backlog = room::measured_backlog(self.conn)?;
        state.quarantine = quarantine::measured_size(self.conn)?;
        state.ledger = if is_known { corrected(self.conn, &state)? } else { self.rebuild(&state)? };
        let beyond: i64 = self.conn.query_row(
            "SELECT coalesce(max(last_seq), 0) + 1 FROM (SELECT last_seq FROM batch UNION ALL \
             SELECT last_seq FROM quarantine UNION ALL SELECT last_seq FROM fate)",
            [],
            |row| row.get(0),
        )?;
        state.seq_end = state.seq_end.max(count(beyond));
        if !is_known {
            // How far the numbers went is lost; no block is larger than this.
            state.seq_end = state.seq_end.saturating_add(SEQ_BLOCK);
        }
        let tx = self.conn.transaction()?;
        state.store(&tx)?;
        tx.commit()?;
        Ok(SalvageReport {
            set_aside: aside.to_owned(),
            batches: state.backlog.batches,
            points: state.backlog.points,
            quarantine_batches: state.quarantine.batches,
            damaged_points: is_known.then(|| state.ledger.of(Fate::Damaged).points - damaged_before),
        })
    }

    fn rebuild(&self, state: &State) -> rusqlite::Result<Ledger> {
        let mut ledger = Ledger::default();
        ledger.accept(Tally::new(state.backlog.points, state.backlog.bytes));
        for reason in QuarantineReason::ALL {
            let kept = quarantine::measured(self.conn, Fate::Quarantined(reason))?;
            ledger.accept(kept);
            ledger.settle(Fate::Quarantined(reason), kept);
        }
        Ok(ledger)
    }
}

/// What the ledger says was there and is not, was damaged.
pub(super) fn corrected(conn: &Connection, state: &State) -> rusqlite::Result<Ledger> {
    let mut ledger = state.ledger.clone();
    quarantine::settle_missing(conn, &mut ledger)?;
    for reason in QuarantineReason::ALL {
        // More than the ledger knows of, as below.
        let fate = Fate::Quarantined(reason);
        let kept = quarantine::measured(conn, fate)?;
        ledger.settle(fate, kept.less(ledger.of(fate)));
    }
    let settled = Fate::ALL.into_iter().fold(Tally::default(), |sum, fate| sum_of(sum, ledger.of(fate)));
    let there = sum_of(settled, Tally::new(state.backlog.points, state.backlog.bytes));
    ledger.settle(Fate::Damaged, ledger.accepted().less(there));
    // More than the ledger knows of: rows whose fate was recorded on a page that is lost. They count again.
    ledger.accept(there.less(ledger.accepted()));
    Ok(ledger)
}

fn copy_body(
    conn: &Connection,
    kept: &mut BTreeSet<u64>,
    renamed: &mut BTreeMap<i64, i64>,
    record: &Record,
) -> rusqlite::Result<()> {
    let columns = record.values.len();
    let Some(stored) = StoredBatch::from_values(record.rowid, &record.values) else { return Ok(()) };
    let Some(Batch { seqs, .. }) = stored.batch() else { return Ok(()) };
    match columns {
        // Of one that left the quarantine, or entered it, what it was before may be found, too.
        BATCH_COLUMNS | BATCH_COLUMNS_BY_ID if is_open(conn, seqs)? && !kept.contains(&seqs.first) => {
            let RowId(id) = backlog::insert(conn, &stored)?;
            if columns == BATCH_COLUMNS_BY_ID {
                renamed.insert(record.rowid, id);
            }
        }
        QUARANTINE_COLUMNS if is_kept(conn, seqs)? => {
            kept.insert(seqs.first);
            let mut values = record.values.clone();
            values[0] = Value::Integer(record.rowid);
            make_reason_known(&mut values[REASON_COLUMN]);
            let marks = vec!["?"; columns].join(", ");
            let insert = format!("INSERT OR IGNORE INTO quarantine VALUES ({marks})");
            conn.execute(&insert, params_from_iter(values))?;
        }
        _ => {}
    }
    Ok(())
}

/// The reason is outside the checksum: a flipped bit in it is no reason to lose the batch.
fn make_reason_known(reason: &mut Value) {
    let is_known =
        matches!(reason, Value::Text(key) if matches!(Fate::from_key(key), Some(Fate::Quarantined(_))));
    if !is_known {
        *reason = Value::Text(Fate::Quarantined(QuarantineReason::Unresolved).key().to_owned());
    }
}

/// Whether the batch has no fate yet, and is not in the backlog already.
fn is_open(conn: &Connection, seqs: SeqRange) -> rusqlite::Result<bool> {
    Ok(fates::of(conn, seqs.first)?.is_none()
        && fates::of(conn, seqs.last)?.is_none()
        && backlog::find(conn, seqs.first)?.is_none())
}

/// Whether the batch is still in quarantine. One that was given up or replayed may lie on a page that is free.
fn is_kept(conn: &Connection, seqs: SeqRange) -> rusqlite::Result<bool> {
    match fates::of(conn, seqs.first)? {
        Some(fate) => Ok(matches!(fate, Fate::Quarantined(_))),
        // Forgotten, or on a page that is lost, or in the backlog again.
        None => Ok(backlog::find(conn, seqs.first)?.is_none()),
    }
}

/// Numbers and their fate, if there are such.
fn range_of(record: &Record) -> Option<(SeqRange, Fate)> {
    let [_, Value::Integer(last), Value::Text(key)] = &record.values[..] else { return None };
    let seqs = SeqRange { first: record.rowid.try_into().ok()?, last: (*last).try_into().ok()? };
    (0 < seqs.first && seqs.first <= seqs.last).then_some((seqs, Fate::from_key(key)?))
}

/// In the file the row id stands outside the record, and a null in its place.
fn with_rowid(record: Record) -> Vec<Value> {
    let mut values = record.values;
    if let Some(first) = values.first_mut() {
        *first = Value::Integer(record.rowid);
    }
    values
}

fn sum_of(mut sum: Tally, other: Tally) -> Tally {
    sum += other;
    sum
}
