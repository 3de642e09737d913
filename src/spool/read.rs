//! Reading back: batches in order, and where a number stands.

use rusqlite::{OptionalExtension, params};

use super::backlog;
use super::error::{During, SpoolError, SpoolErrorKind};
use super::fates;
use super::open::Spool;
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
        let read = match read {
            // Rows that the index does not lead to would lie there for ever.
            Ok(rows) if rows.is_empty() && after_first_seq.is_none() && self.state.backlog.batches > 0 => {
                Err(SpoolError::new(SpoolErrorKind::Damaged, during))
            }
            other => other,
        };
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

    fn read_rows(
        &self,
        after_first_seq: Option<u64>,
        rows_max: usize,
        bytes_max: u64,
    ) -> rusqlite::Result<Vec<ReadBatch>> {
        let mut statement = self.conn.prepare_cached(
            "SELECT id, first_seq, last_seq, points, dest, codec, raw_len, earliest, latest, created_ms, origin, \
             parent, checksum, body, attempts, panics FROM batch LEFT JOIN attempt ON attempt.batch = batch.id \
             WHERE first_seq > ?1 ORDER BY first_seq LIMIT ?2",
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
            read.push(ReadBatch {
                row: RowId(stored.id),
                first_seq: count(stored.first_seq),
                attempts: row.get::<_, Option<u32>>(14)?.unwrap_or(0),
                panics: row.get::<_, Option<u32>>(15)?.unwrap_or(0),
                batch: stored.batch().ok_or(DamagedRow { seqs: stored.seqs() }),
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
