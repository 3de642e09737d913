//! From memory to the spool and back: what the next transaction holds, what it did, what is read back.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::books::{SETTLED_ROWS_MAX, Unsaved};
use super::held::{Content, Held};
use super::{News, Transit};
use crate::machines::later;
use crate::machines::plan::{
    AttemptNote, CommitPlan, Committed, DirectFate, Evicted, Quarantined, ReadBatch, Replay, RowId,
    SettleRow, Withheld,
};
use crate::values::batch::Batch;
use crate::values::fate::{Fate, Standing};
use crate::values::ledger::{Backlog, Ledger, Tally};
use crate::values::seq::SeqRange;

/// Batches in one transaction at the most. Grouping more gains nothing measurable and holds up the acks behind it.
const APPENDS_MAX: usize = 16;

/// When memory is filled to one part in this many, the server does not keep up: batches go to the spool whatever is left
/// of the loss window, so that nothing slides while the disk is idle.
const PRESSURE: u64 = 4;

/// A spool that was full is tried again after this time, or as soon as a row is settled.
const FULL_RETRY: Duration = Duration::from_secs(1);

/// Stored batches kept in memory for the senders. Two would do for one request at a time; the rest hides a slow read.
const WINDOW_ROWS_MAX: usize = 8;

/// With fewer stored batches than this in memory the next are read.
const WINDOW_ROWS_MIN: usize = 4;

/// What a row takes in the file besides its body: columns, destination, index, its share of half-filled pages.
const ROW_BYTES: u64 = 1 << 10;

/// Settled rows wait this long for an append to ride along with.
const SETTLED_LINGER: Duration = Duration::from_millis(100);

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

/// A request to read rows back, the oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReadRequest {
    /// Rows whose first number is above this.
    pub(crate) after: u64,
    pub(crate) rows_max: usize,
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

/// The transaction that is under way.
#[derive(Debug)]
pub(super) struct Saving {
    plan: CommitPlan,
    settled_tallies: Vec<Tally>,
    keys: Vec<u64>,
    /// Batches of `keys` that met their fate meanwhile.
    settled: BTreeMap<u64, Settled>,
}

/// A batch that met its fate while it was being stored: what has to be recorded depends on whether it was.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) held: Held,
    pub(super) end: End,
}

/// What became of a batch.
#[derive(Debug)]
pub(super) enum End {
    /// One fate for all its points.
    Whole { fate: Fate, status: Option<u16>, words: Option<String> },
    /// Different ones.
    Parts(Vec<DirectFate>),
}

impl Transit {
    /// The next transaction, if one is due and none is under way. `force` makes one even of nothing, for
    /// the spool's own housekeeping.
    pub(crate) fn plan_commit(
        &mut self,
        force: bool,
        stamp_last: Option<i64>,
        now: Instant,
    ) -> Option<CommitPlan> {
        let window = self.terms.loss_window?;
        if self.saving.is_some() {
            return None;
        }
        let keys = self.due_appends(window, now);
        let records_due = self.records_due_at().is_some_and(|at| at <= now);
        // Nobody may need room by now, and still the spool is said to have none: an empty transaction tells.
        let room_unknown = self.append_not_before.is_some_and(|at| at <= now);
        let replay = self.next_replay();
        if keys.is_empty() && !force && !records_due && !room_unknown && replay.is_none() {
            return None;
        }
        let plan = self.make_plan(keys, stamp_last, replay);
        self.counters.commits += 1;
        Some(plan)
    }

    /// Appends again at once, though the spool had no room.
    pub(crate) const fn retry_appends(&mut self) {
        self.append_not_before = None;
    }

    /// When a transaction falls due, if nothing else happens before.
    pub(crate) fn next_commit_at(&self) -> Option<Instant> {
        let window = self.terms.loss_window?;
        if self.saving.is_some() {
            return None;
        }
        // One that is being made is heard of when it is. One that was trimmed waits to be asked for.
        let in_the_making = |held: &&Held| held.sealing || held.is_to_be_made();
        let first = self.window.values().find(|held| held.is_volatile()).filter(|held| !in_the_making(held));
        let due = first.and_then(|held| {
            let at_once = self.must_spool(window) || held.seqs.first <= self.commit_mark;
            held.oldest.map(|oldest| if at_once { oldest } else { later(oldest, save_after(window)) })
        });
        let append = due.map(|at| self.append_not_before.map_or(at, |full| at.max(full)));
        [append, self.records_due_at(), self.append_not_before].into_iter().flatten().min()
    }

    /// The transaction under way happened, and did this.
    pub(crate) fn committed(&mut self, outcome: &Committed, now: Instant) {
        let Some(saving) = self.saving.take() else { return };
        let rows = saving.keys.iter().copied().zip(outcome.appended.iter().copied()).collect();
        let asked_for_room = !saving.keys.is_empty() || self.append_not_before.is_none_or(|at| at <= now);
        self.saved(saving, &rows, now);
        for evicted in &outcome.evicted {
            self.evicted(evicted);
        }
        self.replayed(outcome, now);
        if asked_for_room {
            self.note_room(outcome.withheld, now);
        }
        self.beyond = self.rows_unaccounted_for(outcome.backlog);
        self.books.resync(&outcome.ledger, self.written_off());
        self.pass_marks();
    }

    /// The transaction happened, and gave rows to these batches.
    fn saved(&mut self, saving: Saving, rows: &BTreeMap<u64, RowId>, now: Instant) {
        self.commit_number = saving.plan.number;
        self.damaged_rows = 0;
        for key in saving.keys {
            match rows.get(&key) {
                Some(row) => self.stored(key, *row),
                None => self.not_stored(key),
            }
        }
        for (key, settled) in saving.settled {
            self.record_settled(settled, rows.get(&key).copied(), now);
        }
    }

    /// The transaction under way did not happen: all of it is to be done again.
    pub(crate) fn commit_failed(&mut self, now: Instant) {
        let Some(saving) = self.saving.take() else { return };
        for key in &saving.keys {
            self.not_stored(*key);
        }
        for (_, settled) in saving.settled {
            self.record_settled(settled, None, now);
        }
        let later = std::mem::take(&mut self.books.unsaved);
        let unsaved = &mut self.books.unsaved;
        unsaved.since = Some(now);
        unsaved.settle =
            saving.plan.settle.into_iter().zip(saving.settled_tallies).chain(later.settle).collect();
        unsaved.direct = saving.plan.direct;
        for fate in later.direct {
            unsaved.add_direct(fate, now);
        }
        unsaved.notes = saving.plan.attempts.into_iter().map(|note| (note.first_seq, note)).collect();
        unsaved.notes.extend(later.notes);
    }

    /// The transaction under way did not happen, since the disk has room for nothing: not even for records of fates.
    pub(crate) fn commit_found_no_room(&mut self, now: Instant) {
        self.commit_failed(now);
        self.note_room(Some(Withheld::DiskFull), now);
        // They wait as the batches do.
        self.books.unsaved.since = Some(now + FULL_RETRY);
    }

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

    /// How long the oldest point has been only in memory.
    pub(crate) fn volatile_age(&self, now: Instant) -> Option<Duration> {
        let windowed = self.window.values().find(|held| held.is_volatile()).and_then(|held| held.oldest);
        windowed.or_else(|| self.queue.opened()).map(|oldest| now.saturating_duration_since(oldest))
    }

    /// Which volatile batches the next transaction stores: always the oldest, in order, up to the first that is
    /// neither due nor ready.
    fn due_appends(&mut self, window: Duration, now: Instant) -> Vec<u64> {
        let full = self.append_not_before.is_some_and(|at| now < at);
        let room_made =
            !self.books.unsaved.settle.is_empty() && self.records_due_at().is_some_and(|at| at <= now);
        if full && !room_made {
            return Vec::new();
        }
        let everything = self.must_spool(window);
        let mut keys = Vec::new();
        for (key, held) in self.window.iter_mut().filter(|(_, held)| held.is_volatile()).take(APPENDS_MAX) {
            let aged = held.oldest.is_some_and(|oldest| later(oldest, save_after(window)) <= now);
            let asked = held.seqs.first <= self.commit_mark;
            if !(everything || aged || asked) {
                break;
            }
            if held.batch().is_none() {
                held.wanted = true;
                break;
            }
            keys.push(*key);
        }
        keys
    }

    /// Whether new batches go to the spool without waiting for the end of the window: because there is no window,
    /// because rows are in the spool, because an attempt has failed, or because the server does not keep up.
    fn must_spool(&self, window: Duration) -> bool {
        let Tally { points, bytes, .. } = self.queue.held();
        let pressed = (points + self.volatile.points) * PRESSURE > self.terms.points_max
            || (bytes + self.volatile.bytes) * PRESSURE > self.terms.bytes_max;
        window.is_zero()
            || pressed
            || self.beyond.batches > 0
            || self.window.values().any(|held| !held.is_volatile() || held.attempts > 0)
    }

    fn records_due_at(&self) -> Option<Instant> {
        let unsaved = &self.books.unsaved;
        let since = unsaved.since.filter(|_| !unsaved.is_empty())?;
        let wait = if unsaved.quarantine_bytes() > 0 {
            // Bodies, not counters: they are what quarantine is to keep.
            Duration::ZERO
        } else if unsaved.settle.is_empty() {
            self.terms.ledger_interval
        } else if unsaved.settle.len() >= SETTLED_ROWS_MAX {
            Duration::ZERO
        } else {
            SETTLED_LINGER.min(self.terms.ledger_interval)
        };
        Some(later(since, wait))
    }

    fn make_plan(&mut self, keys: Vec<u64>, stamp_last: Option<i64>, replay: Option<Replay>) -> CommitPlan {
        let Unsaved { settle, direct, notes, .. } = std::mem::take(&mut self.books.unsaved);
        let mut appends = Vec::with_capacity(keys.len());
        for key in &keys {
            if let Some(held) = self.window.get_mut(key) {
                held.saving = true;
                held.wanted = false;
                appends.extend(held.batch().cloned());
            }
        }
        let leased = |held: &&Held| held.is_in_work() && !held.is_volatile();
        let (settle, settled_tallies) = settle.into_iter().unzip();
        let plan = CommitPlan {
            number: self.commit_number + 1,
            written_off: self.written_off_of(&keys),
            appends,
            settle,
            direct,
            attempts: notes.into_values().collect(),
            leased: self.window.values().filter(leased).map(|held| held.seqs.first).collect(),
            stamp_last,
            seq_end: None,
            closing: false,
            replay,
            refused: self.counters.refused,
        };
        self.saving = Some(Saving { plan: plan.clone(), settled_tallies, keys, settled: BTreeMap::new() });
        plan
    }

    fn stored(&mut self, key: u64, row: RowId) {
        self.counters.rows_stored += 1;
        let Some(mut held) = self.remove(key) else { return };
        held.saving = false;
        held.row = Some(row);
        held.stored_in = self.commit_number;
        held.written_off = false;
        self.waiters.stored(held.seqs, self.durable());
        // What is being sent stays, and so does all before it: rows beyond are newer than every row in the window. Only
        // a replay brings older ones there; then what is being sent stays alone, and is passed over when they are read.
        let rows = self.window.values().filter(|held| !held.is_volatile()).count();
        let in_work = held.is_in_work();
        let in_hand = in_work || self.window.range(key..).any(|(_, later)| later.is_in_work());
        let is_next = self.beyond.batches == 0 && (rows < WINDOW_ROWS_MAX || in_hand);
        // A row that was lost and is stored afresh is older than those beyond, and is not found behind them.
        let again = key <= self.read_to;
        if is_next {
            self.read_to = self.read_to.max(key);
        }
        if is_next || again || in_work {
            self.insert(key, held);
        } else {
            self.beyond.add(held.tally());
        }
    }

    fn not_stored(&mut self, key: u64) {
        if let Some(held) = self.window.get_mut(&key) {
            held.saving = false;
        }
    }

    /// Leaves a record of a batch that has met its fate: the end of its row, or, where it has none, what its points came
    /// to.
    pub(super) fn record_settled(&mut self, settled: Settled, row: Option<RowId>, now: Instant) {
        let Settled { held, end } = settled;
        let Some(row) = row else { return self.record_unstored(&held, end, now) };
        let settle = match end {
            End::Whole { fate, status, words } => {
                SettleRow { status, words, ..settle_row(row, held.seqs.first, fate) }
            }
            End::Parts(parts) => SettleRow { parts, ..settle_row(row, held.seqs.first, Fate::Delivered) },
        };
        self.books.unsaved.add_settled(settle, held.tally(), now);
    }

    fn record_unstored(&mut self, held: &Held, end: End, now: Instant) {
        let parts = match end {
            End::Whole { fate, status, words } => {
                let kept = matches!(fate, Fate::Quarantined(_)).then(|| held.batch().cloned()).flatten();
                let quarantine = kept.map(|batch| Quarantined { batch, status, words });
                vec![held.met(fate, quarantine)]
            }
            End::Parts(parts) => parts,
        };
        for part in parts {
            self.record_direct(DirectFate { written_off: held.written_off, ..part }, now);
        }
    }

    /// Keeps a batch that meets its fate while it is being stored until it is known whether it was.
    pub(super) fn settle_when_saved(&mut self, key: u64, settled: Settled) {
        if let Some(saving) = &mut self.saving {
            saving.settled.insert(key, settled);
        }
    }

    /// Leaves a note about a stored batch, to be written with whatever is written next.
    pub(super) fn note_attempt(&mut self, note: AttemptNote) {
        self.books.unsaved.notes.insert(note.first_seq, note);
    }

    fn evicted(&mut self, evicted: &Evicted) {
        // It met its fate while the transaction that dropped it was under way. The file has counted it.
        if self.books.unsaved.forget_settled(evicted.row) {
            return;
        }
        match self.window.get(&evicted.seqs.first) {
            Some(held) if !held.is_volatile() => {
                self.remove(evicted.seqs.first);
            }
            _ => self.beyond.remove(evicted.tally),
        }
        self.note_fate(evicted.seqs, evicted.tally, evicted.fate);
    }

    /// Whether the transaction under way may be dropping rows to make room.
    pub(super) fn may_be_evicting(&self) -> bool {
        let Some(saving) = &self.saving else { return false };
        // Plain bytes: more than the file holds if bodies are compressed, which only makes this more careful.
        let appends: u64 = saving.plan.appends.iter().map(|batch| batch.raw_len).sum();
        let rows = self.beyond.batches + (self.window.len() + saving.plan.appends.len()) as u64;
        let filled = self.beyond.bytes + self.stored.bytes + appends + rows * ROW_BYTES;
        filled >= self.terms.spool_bytes_max / 2
    }

    fn note_room(&mut self, withheld: Option<Withheld>, now: Instant) {
        self.append_not_before = withheld.map(|_| now + FULL_RETRY);
        if withheld != self.withheld {
            self.withheld = withheld;
            self.news.push(News::SpoolRoom(withheld));
        }
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
        let (there, gone): (Vec<_>, Vec<_>) = std::mem::take(&mut self.books.unsaved.settle)
            .into_iter()
            .partition(|(row, _)| find(row.first_seq).row().is_some());
        self.books.unsaved.settle = there;
        for (row, tally) in gone.into_iter().filter(|_| salvaged) {
            if matches!(find(row.first_seq), Found::Settled(_)) {
                continue;
            }
            for part in parts_of(row, tally) {
                self.record_direct(DirectFate { written_off: true, ..part }, now);
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

    /// What of the window the file counts as damaged.
    fn written_off(&self) -> Tally {
        let mut sum = Tally::default();
        for held in self.window.values().filter(|held| held.written_off) {
            sum += held.tally();
        }
        sum
    }

    fn written_off_of(&self, keys: &[u64]) -> Vec<u64> {
        let held = keys.iter().filter_map(|key| self.window.get(key));
        held.filter(|held| held.written_off).map(|held| held.seqs.first).collect()
    }

    /// Of the rows in the file: those that are neither in the window nor settled and about to be deleted.
    fn rows_unaccounted_for(&self, mut backlog: Backlog) -> Backlog {
        for held in self.window.values().filter(|held| !held.is_volatile()) {
            backlog.remove(held.tally());
        }
        for (row, tally) in &self.books.unsaved.settle {
            if row.fate != Fate::Damaged {
                backlog.remove(*tally);
            }
        }
        backlog
    }
}

/// A batch is stored when three quarters of its window have passed: the rest is for the transaction itself.
fn save_after(window: Duration) -> Duration {
    window / 4 * 3
}

fn held_from(read: &ReadBatch, batch: Batch) -> Held {
    Held {
        seqs: batch.seqs,
        raw_len: batch.raw_len,
        content: Content::Body(batch),
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

pub(super) fn settle_row(row: RowId, first_seq: u64, fate: Fate) -> SettleRow {
    SettleRow { row, first_seq, fate, status: None, words: None, parts: Vec::new() }
}
