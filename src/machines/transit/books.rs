//! The running ledger, the log of fates, and what of both is not on disk yet.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::machines::fates::FateLog;
use crate::machines::plan::{AttemptNote, DirectFate, RowId, SettleRow};
use crate::values::fate::Fate;
use crate::values::ledger::{Ledger, Tally};
use crate::values::seq::SeqRange;

/// How many rows may be settled and not yet deleted before a transaction is made for that alone. Deleting rides along
/// with the next append; a few rows more than are in flight cost nothing but a resend after a crash.
pub(super) const SETTLED_ROWS_MAX: usize = 8;

/// What has been counted, and what of it a transaction still has to record.
#[derive(Debug)]
pub(super) struct Books {
    total: Ledger,
    fates: FateLog,
    pub(super) unsaved: Unsaved,
}

/// Records for the next transaction.
#[derive(Debug, Default)]
pub(super) struct Unsaved {
    pub(super) settle: Vec<(SettleRow, Tally)>,
    pub(super) direct: Vec<DirectFate>,
    pub(super) notes: BTreeMap<u64, AttemptNote>,
    /// When the first of the records was made.
    pub(super) since: Option<Instant>,
}

impl Unsaved {
    pub(super) const fn is_empty(&self) -> bool {
        self.settle.is_empty() && self.direct.is_empty()
    }

    /// Bytes of the bodies that wait to be put into quarantine.
    pub(super) fn quarantine_bytes(&self) -> u64 {
        let parts = self.settle.iter().flat_map(|(row, _)| &row.parts);
        let kept = self.direct.iter().chain(parts).filter_map(|fate| fate.quarantine.as_ref());
        kept.map(|quarantined| quarantined.batch.body.len() as u64).sum()
    }

    /// Adds a fate of points that were never stored. Neighbours of one fate are one record.
    pub(super) fn add_direct(&mut self, next: DirectFate, now: Instant) {
        self.since.get_or_insert(now);
        if let Some(last) = self.direct.last_mut()
            && last.fate == next.fate
            && last.seqs.last + 1 == next.seqs.first
            && last.quarantine.is_none()
            && next.quarantine.is_none()
            && last.written_off == next.written_off
        {
            last.seqs.last = next.seqs.last;
            last.bytes += next.bytes;
            return;
        }
        self.direct.push(next);
    }

    /// Forgets that a row is to be deleted, because it is gone; `false` if it was not to be.
    pub(super) fn forget_settled(&mut self, gone: RowId) -> bool {
        let before = self.settle.len();
        self.settle.retain(|(row, _)| row.row != gone);
        self.settle.len() < before
    }

    pub(super) fn add_settled(&mut self, row: SettleRow, tally: Tally, now: Instant) {
        self.since.get_or_insert(now);
        self.notes.remove(&row.first_seq);
        self.settle.push((row, tally));
    }
}

impl Books {
    pub(super) fn new(total: Ledger) -> Self {
        Self { total, fates: FateLog::default(), unsaved: Unsaved::default() }
    }

    pub(super) const fn total(&self) -> &Ledger {
        &self.total
    }

    pub(super) fn accept(&mut self, tally: Tally) {
        self.total.accept(tally);
    }

    pub(super) fn settle(&mut self, seqs: SeqRange, tally: Tally, fate: Fate) {
        self.total.settle(fate, tally);
        self.fates.note(seqs, fate);
    }

    /// The points have no fate any more.
    pub(super) fn forget_fate(&mut self, seqs: SeqRange) {
        self.fates.forget(seqs);
    }

    /// Which points are in the file's quarantine is not known any more; only which are still on their way to it.
    pub(super) fn forget_quarantined(&mut self) {
        self.fates.forget_quarantined();
        let Unsaved { settle, direct, .. } = &self.unsaved;
        let parts = settle.iter().flat_map(|(row, _)| &row.parts).chain(direct);
        let whole = settle.iter().filter(|(row, _)| row.parts.is_empty());
        let whole = whole.map(|(row, tally)| (SeqRange::starting_at(row.first_seq, tally.points), row.fate));
        for (seqs, fate) in parts.map(|part| (part.seqs, part.fate)).chain(whole) {
            if matches!(fate, Fate::Quarantined(_)) {
                self.fates.note(seqs, fate);
            }
        }
    }

    pub(super) fn fate_of(&self, number: u64) -> Option<Fate> {
        self.fates.of(number)
    }

    /// Takes the fates the file has counted, together with those it has still to count. The file decides in two cases
    /// only: what it evicted from its quarantine, and a transaction whose answer was lost.
    ///
    /// `written_off` is what it counts as damaged and is on its way.
    pub(super) fn resync(&mut self, on_disk: &Ledger, written_off: Tally) {
        let mut fates = on_disk.clone();
        fates.unsettle(Fate::Damaged, self.all_written_off(written_off));
        let parts = self.unsaved.settle.iter().flat_map(|(row, _)| &row.parts);
        for record in self.unsaved.direct.iter().chain(parts) {
            fates.settle(record.fate, record.tally());
        }
        for (row, tally) in self.unsaved.settle.iter().filter(|(row, _)| row.parts.is_empty()) {
            fates.settle(row.fate, *tally);
        }
        self.total.take_fates_of(&fates);
    }

    /// Takes what the file has accepted, together with what it has not seen yet. After a salvage the file decides here
    /// too, since its ledger may be among what was lost.
    pub(super) fn resync_accepted(&mut self, on_disk: &Ledger, in_memory: Tally, written_off: Tally) {
        let mut accepted = on_disk.accepted();
        accepted += in_memory;
        for record in &self.unsaved.direct {
            accepted += record.tally();
        }
        // What the file has seen already, as far as it remembers.
        let seen = on_disk.clone().unsettle(Fate::Damaged, self.all_written_off(written_off));
        self.total.take_accepted(accepted.less(seen));
    }

    /// What the file counts as damaged and was not lost: what is on its way, and what has met its fate.
    fn all_written_off(&self, on_its_way: Tally) -> Tally {
        let mut sum = on_its_way;
        for record in self.unsaved.direct.iter().filter(|record| record.written_off) {
            sum += record.tally();
        }
        sum
    }
}
