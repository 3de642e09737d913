//! Reading back: batches in order, and where a number stands.

use rusqlite::{OptionalExtension, params};

use super::backlog;
use super::error::{During, SpoolError, SpoolErrorKind};
use super::fates;
use super::open::Spool;
use super::room;
use super::row::{StoredBatch, count, int};
use crate::machines::plan::{DamagedRow, ReadBatch, RowId};
use crate::values::fate::Standing;

impl Spool {
    /// The batches behind `after_first_seq` in the order of their numbers: at most `rows_max`, and no more once
    /// `bytes_max` of bodies are reached. At least one if there is one.
    ///
    /// # Errors
    /// [`SpoolErrorKind::Damaged`] when the file itself is; a single row with a wrong checksum is
    /// [`ReadBatch::batch`]'s error.
    pub(crate) fn read_after(
        &mut self,
        after_first_seq: Option<u64>,
        rows_max: usize,
        bytes_max: u64,
    ) -> Result<Vec<ReadBatch>, SpoolError> {
        let during = format!("read from {}", self.paths.name());
        self.usable(&during)?;
        let read = self.read_rows(after_first_seq, rows_max, bytes_max).during(&during);
        let read = read.and_then(|rows| {
            let is_false = self.is_false(&rows, after_first_seq).during(&during)?;
            if is_false { Err(SpoolError::new(SpoolErrorKind::Damaged, during)) } else { Ok(rows) }
        });
        read.inspect_err(|error| self.note_failure(error))
    }

    /// The row of the batch that begins with this number.
    pub(crate) fn find(&mut self, first_seq: u64) -> Result<Option<RowId>, SpoolError> {
        let during = format!("look up {first_seq} in {}", self.paths.name());
        self.usable(&during)?;
        backlog::find(&self.conn, first_seq).during(during).inspect_err(|error| self.note_failure(error))
    }

    /// What the file knows of a number: stored, settled, lost in an earlier life, or nothing. Nothing is known of
    /// numbers of this life that are only in memory, and of fates so many ranges ago that they are forgotten.
    pub(crate) fn standing(&mut self, number: u64) -> Result<Option<Standing>, SpoolError> {
        let during = format!("look up {number} in {}", self.paths.name());
        self.usable(&during)?;
        self.standing_of(number).during(during).inspect_err(|error| self.note_failure(error))
    }

    pub(super) fn usable(&self, during: &str) -> Result<(), SpoolError> {
        self.broken.map_or(Ok(()), |kind| Err(SpoolError::new(kind, during)))
    }

    /// Whether what was read shows that the file is damaged, and is to be set aside.
    ///
    /// A row with a wrong checksum could be left out alone. But where one is wrong others may be, the way to it may be
    /// what is wrong and not the row, and nothing is to be deleted that somebody may want to look at. So the file is set
    /// aside as a whole, unless the disk has no room for a second one.
    fn is_false(&self, rows: &[ReadBatch], after_first_seq: Option<u64>) -> rusqlite::Result<bool> {
        if rows.iter().any(|row| row.batch.is_err()) {
            return Ok(room::has_room_to_salvage(&self.paths, &self.options));
        }
        if !is_in_order(rows, after_first_seq) {
            return Ok(true);
        }
        if !rows.is_empty() || self.state.backlog.batches == 0 {
            return Ok(false);
        }
        // Rows to which no way leads would lie there for ever, and so would what others stand in the place of.
        let missed: i64 = self.conn.query_row(
            "SELECT coalesce(sum(first_seq > ?1), 0) FROM batch NOT INDEXED",
            [after_first_seq.map_or(-1, int)],
            |row| row.get(0),
        )?;
        Ok(missed > 0 || room::measured_backlog(&self.conn)? != self.state.backlog)
    }

    fn read_rows(
        &self,
        after_first_seq: Option<u64>,
        rows_max: usize,
        bytes_max: u64,
    ) -> rusqlite::Result<Vec<ReadBatch>> {
        // The row itself is asked for its number, too, not the index alone that an older file has: either may be damaged.
        let mut statement = self.conn.prepare_cached(
            "SELECT row.rowid, row.first_seq, row.last_seq, row.points, row.dest, row.codec, row.raw_len, \
             row.earliest, row.latest, row.created_ms, row.origin, row.parent, row.checksum, row.body, \
             attempts, panics, entry.first_seq \
             FROM batch AS entry LEFT JOIN batch AS row ON row.rowid = entry.rowid \
             LEFT JOIN attempt ON attempt.batch = row.rowid \
             WHERE entry.first_seq > ?1 ORDER BY entry.first_seq LIMIT ?2",
        )?;
        let after = after_first_seq.map_or(-1, int);
        let mut rows = statement.query(params![after, int(rows_max as u64)])?;
        let mut read = Vec::new();
        let mut bytes = 0;
        while bytes < bytes_max.max(1)
            && let Some(row) = rows.next()?
        {
            let stored = StoredBatch::from_row(row)?;
            bytes += stored.body.len().max(1) as u64;
            let first_seq = row.get(16)?;
            let batch = stored.batch().filter(|_| stored.first_seq == first_seq);
            read.push(ReadBatch {
                row: RowId(stored.id),
                first_seq: count(first_seq),
                attempts: row.get::<_, Option<u32>>(14)?.unwrap_or(0),
                panics: row.get::<_, Option<u32>>(15)?.unwrap_or(0),
                batch: batch.ok_or(DamagedRow { seqs: stored.seqs() }),
            });
        }
        Ok(read)
    }

    fn standing_of(&self, number: u64) -> rusqlite::Result<Option<Standing>> {
        let last: Option<i64> = self
            .conn
            .prepare_cached(
                "SELECT last_seq FROM batch WHERE first_seq <= ?1 ORDER BY first_seq DESC LIMIT 1",
            )?
            .query_row([int(number)], |row| row.get(0))
            .optional()?;
        if last.is_some_and(|last| count(last) >= number) {
            return Ok(Some(Standing::Durable(self.options.sync.durability())));
        }
        if let Some(fate) = fates::of(&self.conn, number)? {
            return Ok(Some(Standing::Settled(fate)));
        }
        let is_past = (self.state.fate_floor..self.state.life_first).contains(&number);
        Ok(is_past.then_some(Standing::Lost))
    }
}

/// Whether each begins behind the end of the one before. SQLite goes through a table as its pages lie, and a page that is not the one
/// it should be may lead back, or past others.
fn is_in_order(rows: &[ReadBatch], after_first_seq: Option<u64>) -> bool {
    let mut last = after_first_seq;
    rows.iter().all(|row| {
        let follows = last.is_none_or(|last| row.first_seq > last);
        last = row.batch.as_ref().map_or(last, |batch| Some(batch.seqs.last));
        follows
    })
}
