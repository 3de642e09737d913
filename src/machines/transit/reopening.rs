//! What the spool says when it was opened anew, compared with what memory knows: what was stored, what is gone, what has met
//! its fate.

use std::time::Instant;

use super::Transit;
use crate::machines::plan::{DirectFate, RowId, SettleRow};
use crate::values::fate::{Fate, Standing};
use crate::values::ledger::{Backlog, Ledger, Tally};
use crate::values::seq::SeqRange;

/// What a spool said when it was opened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Opened {
    /// The first number this life may give.
    pub(crate) seq_next: u64,
    /// The number of the last transaction in the file.
    pub(crate) commit_number: u64,
    pub(crate) backlog: Backlog,
    pub(crate) ledger: Ledger,
    pub(crate) refused: u64,
    /// The file was damaged, and holds what could be saved of it.
    pub(crate) salvaged: bool,
}

impl Opened {
    /// The beginning of a life without a spool.
    pub(crate) fn in_memory() -> Self {
        Self { seq_next: 1, ..Self::default() }
    }
}

/// What a file that was opened anew knows of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// It is stored.
    Row(RowId),
    /// It is not, having met its fate.
    Settled(Fate),
    /// It is not, and was given its number before the file was opened.
    Lost,
    Nothing,
}

impl Found {
    /// What is to be taken from a row, or from the standing of the batch's first number where there is none.
    pub(crate) fn new(row: Option<RowId>, standing: Option<Standing>) -> Self {
        match (row, standing) {
            (Some(row), _) => Self::Row(row),
            (None, Some(Standing::Settled(fate))) => Self::Settled(fate),
            (None, Some(Standing::Lost)) => Self::Lost,
            (None, _) => Self::Nothing,
        }
    }

    fn row(self) -> Option<RowId> {
        match self {
            Self::Row(row) => Some(row),
            Self::Settled(_) | Self::Lost | Self::Nothing => None,
        }
    }
}

impl Transit {
    /// The numbers that have to be looked up when the spool has been opened anew: of batches, and of points somebody
    /// waits for.
    pub(crate) fn keys_to_find(&self) -> Vec<u64> {
        let saving = self.saving.iter().flat_map(|saving| saving.keys.iter().copied());
        let windowed = self.window.values().map(|held| held.seqs.first);
        let planned = self.saving.iter().flat_map(|saving| &saving.plan.settle);
        let settled = self.books.unsaved.settle.iter().map(|(row, _)| row);
        let settled = planned.chain(settled).map(|row| row.first_seq);
        saving.chain(windowed).chain(settled).chain(self.waiters.numbers()).collect()
    }

    /// The spool was opened anew: after a panic, an I/O error, a repair. Whether the transaction under way happened is
    /// told by its number; `find` says what became of a batch.
    pub(crate) fn reopened(&mut self, opened: &Opened, mut find: impl FnMut(u64) -> Found, now: Instant) {
        match self.saving.take_if(|saving| saving.plan.number == opened.commit_number) {
            Some(saving) => {
                let (stored, lost): (Vec<u64>, Vec<u64>) =
                    saving.keys.iter().partition(|key| find(**key).row().is_some());
                let row = |key: u64| find(key).row().map(|row| (key, row));
                let rows = stored.into_iter().filter_map(row).collect();
                let replay = saving.plan.replay.is_some();
                self.saved(saving, &rows, now);
                for key in lost {
                    // It was stored, and is gone with a damaged page.
                    if let Some(held) = self.window.get_mut(&key) {
                        held.written_off |= opened.salvaged;
                    }
                }
                self.note_room(None, now);
                if replay {
                    self.replayed_unheard();
                }
            }
            None => self.commit_failed(now),
        }
        self.commit_number = opened.commit_number;
        self.match_rows(opened, &mut find, now);
        self.match_settled(opened.salvaged, &mut find, now);
        self.match_receipts(opened.salvaged, &mut find);
        if opened.salvaged {
            // Rows may be there again that were read, and done with, before: their record is what was damaged.
            self.read_anew_from(0);
            self.forget_replayed_rows();
        }
        self.beyond = self.rows_unaccounted_for(opened.backlog);
        self.books.resync(&opened.ledger, self.written_off());
        if opened.salvaged {
            let mut in_memory = self.volatile;
            in_memory += self.queue.held();
            self.books.resync_accepted(&opened.ledger, in_memory, self.written_off());
        }
        self.pass_marks();
    }

    /// After a reopening: a batch whose row is gone is stored afresh, one whose row is there has it, and one that the
    /// file says had to go is gone. The file may have been repaired from an earlier state, so nothing is taken for
    /// granted.
    fn match_rows(&mut self, opened: &Opened, find: &mut impl FnMut(u64) -> Found, now: Instant) {
        let keys: Vec<u64> = self.window.keys().copied().collect();
        for key in keys {
            let Some(mut held) = self.remove(key) else { continue };
            match find(held.seqs.first) {
                Found::Settled(fate) if !held.is_volatile() => {
                    self.note_fate(held.seqs, held.tally(), fate);
                    continue;
                }
                found => {
                    // The file counts as damaged what it knows of and does not have.
                    let is_lost = !held.is_volatile() && held.stored_in <= opened.commit_number;
                    held.written_off |= opened.salvaged && is_lost;
                    held.row = found.row();
                    held.written_off &= held.is_volatile();
                }
            }
            held.oldest.get_or_insert(now);
            self.insert(key, held);
        }
    }

    /// After a reopening: rows that the file has let go, by an eviction whose answer was lost, have been counted there. One
    /// that was lost in a salvage is counted there as damaged, and was delivered all the same.
    fn match_settled(&mut self, salvaged: bool, find: &mut impl FnMut(u64) -> Found, now: Instant) {
        let mut gone = Vec::new();
        for (mut row, tally) in std::mem::take(&mut self.books.unsaved.settle) {
            match find(row.first_seq).row() {
                Some(there) => {
                    row.row = there;
                    self.books.unsaved.settle.push((row, tally));
                }
                None => gone.push((row, tally)),
            }
        }
        for (row, tally) in gone.into_iter().filter(|_| salvaged) {
            if matches!(find(row.first_seq), Found::Settled(_)) {
                continue;
            }
            for part in parts_of(row, tally) {
                self.record_direct(DirectFate { written_off: true, ..part }, || now);
            }
        }
    }

    /// After a reopening: what a transaction dropped whose answer was lost is known to the file alone. So is what a
    /// salvage did not find: what is neither there nor here is lost.
    fn match_receipts(&mut self, salvaged: bool, find: &mut impl FnMut(u64) -> Found) {
        let numbers: Vec<u64> = self.waiters.numbers().collect();
        for number in numbers {
            let fate = match find(number) {
                Found::Settled(fate) => fate,
                Found::Lost if salvaged && self.standing(number).is_none() => Fate::Damaged,
                _ => continue,
            };
            self.waiters.settled(SeqRange::starting_at(number, 1), Standing::Settled(fate));
        }
    }
}

/// What was to be recorded of a row that is not there any more. A body that was to go from there to quarantine is gone with
/// it: that remains damaged.
fn parts_of(row: SettleRow, tally: Tally) -> Vec<DirectFate> {
    match row.fate {
        _ if !row.parts.is_empty() => row.parts,
        Fate::Damaged | Fate::Quarantined(_) => Vec::new(),
        fate => {
            let seqs = SeqRange::starting_at(row.first_seq, tally.points);
            vec![DirectFate { seqs, bytes: tally.bytes, fate, quarantine: None, written_off: true }]
        }
    }
}
