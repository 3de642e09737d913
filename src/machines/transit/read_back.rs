//! From the spool back into the window, the oldest first.

use std::time::Instant;

use super::Transit;
use super::held::{Content, Held};
use super::save::settle_row;
use crate::machines::plan::{ReadBatch, RowId};
use crate::values::batch::Batch;
use crate::values::fate::Fate;
use crate::values::ledger::{Backlog, Tally};

/// Stored batches kept in memory for the senders. Two would do for one request at a time; the rest hides a slow read.
pub(super) const WINDOW_ROWS_MAX: usize = 8;

/// With fewer stored batches than this in memory the next are read.
const WINDOW_ROWS_MIN: usize = 4;

/// A request to read rows back, the oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReadRequest {
    /// Rows whose first number is above this.
    pub(crate) after: u64,
    pub(crate) rows_max: usize,
}

impl Transit {
    /// What to read back, if the window has room.
    pub(crate) fn wants_read(&self) -> Option<ReadRequest> {
        let rows = self.window.range(..=self.read_to).filter(|(_, held)| !held.is_volatile()).count();
        (self.beyond.batches > self.damaged_rows && rows < WINDOW_ROWS_MIN)
            .then(|| ReadRequest { after: self.read_to, rows_max: WINDOW_ROWS_MAX - rows })
    }

    /// Rows were read back, as was asked for.
    pub(crate) fn read_back(&mut self, asked: ReadRequest, rows: Vec<ReadBatch>, now: Instant) {
        if asked.after != self.read_to {
            // Older ones were taken back from quarantine meanwhile, and have to be read before.
            return;
        }
        if rows.is_empty() {
            // The sums say there are rows and there are none: nothing is left to wait for.
            self.beyond = Backlog::default();
        }
        for read in rows {
            self.counters.rows_read += 1;
            match read.batch {
                // Passed again, after a repair or a replay, and not counted among those beyond.
                Ok(ref batch) if self.is_at_hand(read.row, batch.seqs.first) => {
                    self.read_to = batch.seqs.first;
                }
                Ok(ref batch) => {
                    let batch = batch.clone();
                    // It may come from quarantine.
                    self.books.forget_fate(batch.seqs);
                    self.beyond.remove(Tally::new(batch.points(), batch.raw_len));
                    self.read_to = batch.seqs.first;
                    self.insert(batch.seqs.first, held_from(&read, batch));
                }
                Err(_) if self.is_at_hand(read.row, read.first_seq) => self.read_to = read.first_seq,
                Err(damaged) => {
                    // What it held is known when the transaction that deletes it has compared the sums. Until then
                    // it counts as pending.
                    self.damaged_rows += 1;
                    self.read_to = read.first_seq;
                    let row = settle_row(read.row, read.first_seq, Fate::Damaged);
                    self.books.unsaved.add_settled(row, Tally::default(), now);
                    if let Some(seqs) = damaged.seqs {
                        self.note_fate(seqs, Tally::default(), Fate::Damaged);
                    }
                }
            }
        }
        self.pass_marks();
    }

    /// Whether a row of the file is in the window, or settled and about to be deleted.
    fn is_at_hand(&self, row: RowId, first_seq: u64) -> bool {
        let planned = self.saving.iter().flat_map(|saving| &saving.plan.settle);
        let settled = self.books.unsaved.settle.iter().map(|(settled, _)| settled);
        self.window.contains_key(&first_seq) || planned.chain(settled).any(|settled| settled.row == row)
    }
}

fn held_from(read: &ReadBatch, batch: Batch) -> Held {
    Held {
        seqs: batch.seqs,
        raw_len: batch.raw_len,
        content: Content::Body(batch),
        line_ends: None,
        sealing: false,
        wanted: false,
        row: Some(read.row),
        stored_in: 0,
        written_off: false,
        saving: false,
        leased: None,
        oldest: None,
        attempts: read.attempts,
        panics: read.panics,
        fault: None,
        division: None,
    }
}
