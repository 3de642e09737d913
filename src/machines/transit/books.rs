//! The running ledger, the log of fates, and what of both is not on disk yet.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::machines::fates::FateLog;
use crate::machines::plan::{AttemptNote, DirectFate, RowId, SettleRow};
use crate::values::fate::Fate;
use crate::values::ledger::{Ledger, Tally};
use crate::values::seq::SeqRange;

/// How many rows may be settled and not yet deleted before a transaction is made for that alone. Deleting rides along
/// with the next append; a few rows more than are in flight cost nothing but a resend after a crash. With half as many, one and a half
/// hundredths more were written in an outage.
pub(super) const SETTLED_ROWS_MAX: usize = 32;

/// What has been counted, and what of it a transaction still has to record. What a push counts comes first.
#[derive(Debug)]
#[repr(C)]
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

    /// Adds a fate of points that were never stored. Neighbours of one fate are one record. `now` is asked for the first record
    /// only: a queue that slides makes one for every point.
    pub(super) fn add_direct(&mut self, next: DirectFate, now: impl FnOnce() -> Instant) {
        self.since.get_or_insert_with(now);
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::machines::plan::Quarantined;
    use crate::values::batch::{Batch, Codec, Destination, TimeSpan};
    use crate::values::fate::QuarantineReason;

    const REFUSED: Fate = Fate::Quarantined(QuarantineReason::Refused);

    fn met(first: u64, last: u64, fate: Fate) -> DirectFate {
        let seqs = SeqRange { first, last };
        DirectFate { seqs, bytes: 10 * seqs.points(), fate, quarantine: None, written_off: false }
    }

    fn kept(first: u64, body: &'static [u8]) -> DirectFate {
        let fate = met(first, first, REFUSED);
        let batch = Batch {
            seqs: fate.seqs,
            destination: Arc::new(Destination::new("plant")),
            codec: Codec::Identity,
            raw_len: fate.bytes,
            span: TimeSpan::at(0),
            created_ms: 0,
            body: Bytes::from_static(body),
        };
        DirectFate { quarantine: Some(Quarantined { batch, status: None, words: None }), ..fate }
    }

    fn row(id: i64, parts: Vec<DirectFate>) -> SettleRow {
        SettleRow { row: RowId(id), first_seq: 1, fate: Fate::Delivered, status: None, words: None, parts }
    }

    #[test]
    fn neighbours_of_one_fate_are_one_record_and_nothing_else_is() {
        let now = Instant::now();
        let together = |first: DirectFate, second: DirectFate| {
            let mut unsaved = Unsaved::default();
            unsaved.add_direct(first, || now);
            unsaved.add_direct(second, || now);
            unsaved.direct
        };
        let shed = || met(3, 5, Fate::Rejected);
        let one = together(shed(), met(6, 7, Fate::Rejected));
        assert_eq!((one.len(), one[0].seqs, one[0].bytes), (1, SeqRange { first: 3, last: 7 }, 50));
        for (other, why) in [
            (met(6, 7, Fate::Expired), "another fate"),
            (met(7, 7, Fate::Rejected), "a gap"),
            (met(5, 7, Fate::Rejected), "not behind it"),
            (DirectFate { written_off: true, ..met(6, 7, Fate::Rejected) }, "counted as damaged"),
        ] {
            assert_eq!(together(shed(), other).len(), 2, "{why}");
        }
        assert_eq!(together(kept(5, b"a"), kept(6, b"b")).len(), 2, "a body each");
        assert_eq!(together(kept(5, b"a"), met(6, 6, REFUSED)).len(), 2);
        assert_eq!(together(met(5, 5, REFUSED), kept(6, b"b")).len(), 2);
    }

    #[test]
    fn bodies_that_wait_for_quarantine_are_weighed_alone_or_in_parts() {
        let mut unsaved = Unsaved::default();
        assert!(unsaved.is_empty());
        unsaved.add_direct(met(1, 5, Fate::Rejected), Instant::now);
        assert_eq!((unsaved.quarantine_bytes(), unsaved.is_empty()), (0, false));
        unsaved.add_direct(kept(6, b"six"), Instant::now);
        let parts = vec![met(7, 8, Fate::Delivered), kept(9, b"nine")];
        unsaved.add_settled(row(1, parts), Tally::new(3, 30), Instant::now());
        assert_eq!(unsaved.quarantine_bytes(), 7);
    }

    #[test]
    fn a_row_that_is_gone_is_not_deleted_any_more() {
        let mut unsaved = Unsaved::default();
        for id in [1, 2] {
            unsaved.add_settled(row(id, Vec::new()), Tally::new(1, 10), Instant::now());
        }
        assert!(unsaved.forget_settled(RowId(1)) && !unsaved.forget_settled(RowId(1)));
        assert_eq!(unsaved.settle.len(), 1);
        assert!(!unsaved.is_empty() && unsaved.forget_settled(RowId(2)) && unsaved.is_empty());
    }

    #[test]
    fn after_a_salvage_the_file_says_what_was_accepted_but_for_what_it_has_not_seen() {
        let ledger = |accepted: u64, damaged: u64| {
            let mut ledger = Ledger::default();
            ledger.accept(Tally::new(accepted, 10 * accepted));
            ledger.settle(Fate::Damaged, Tally::new(damaged, 10 * damaged));
            ledger
        };
        let mut books = Books::new(ledger(100, 0));
        books.unsaved.add_direct(met(1, 5, Fate::Rejected), Instant::now);
        let written_off = DirectFate { written_off: true, ..met(6, 9, Fate::Delivered) };
        books.unsaved.add_direct(written_off, Instant::now);
        // Of the ten that the file has written off, three are on their way, and four have met their fate.
        books.resync_accepted(&ledger(40, 10), Tally::new(7, 70), Tally::new(3, 30));
        assert_eq!(books.total().accepted(), Tally::new(40 + 7 + 5 + 4 - 7, 490));
    }
}
