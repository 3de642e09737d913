//! From memory to the spool: what the next transaction holds, and what it did.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::books::{SETTLED_ROWS_MAX, Unsaved};
use super::held::Held;
use super::read_back::WINDOW_ROWS_MAX;
use super::{News, Transit};
use crate::machines::later;
use crate::machines::plan::{
    AttemptNote, CommitPlan, Committed, DirectFate, Evicted, Quarantined, Replay, RowId, SettleRow, Withheld,
};
use crate::values::fate::Fate;
use crate::values::ledger::{Backlog, Tally};

/// Batches in one transaction at the most. Grouping more gains nothing measurable and holds up the acks behind it.
const APPENDS_MAX: usize = 16;

/// With so many bytes of bodies a transaction takes no more: what it holds is copied, summed up and written one after the other, and with
/// more of it it is not in the processor's caches any more. Up to sixteen bodies of 860 kB took 4 % more CPU time, and time, than four;
/// of 1.9 MB two thirds more, and half as much again was written, since more came at once than the window keeps to be sent.
const APPENDED_BYTES: usize = 3 << 20;

/// When memory is filled to one part in this many, and it is the server that does not keep up, batches go to the spool whatever is
/// left of the loss window, so that nothing slides while the disk is idle.
const PRESSURE: u64 = 4;

/// A spool that was full is tried again after this time, or as soon as a row is settled.
const FULL_RETRY: Duration = Duration::from_secs(1);

/// What a row takes in the file beyond its body at the most: the rest of its last page, of the largest there are, and its columns.
const ROW_BYTES: u64 = 65 << 10;

/// What the file takes before it has any row, and what is kept free beside a new one: some ten pages of each.
const FILE_BYTES: u64 = 20 * (64 << 10);

/// Settled rows wait this long for an append to ride along with.
const SETTLED_LINGER: Duration = Duration::from_millis(100);

/// The transaction that is under way.
#[derive(Debug)]
pub(super) struct Saving {
    pub(super) plan: CommitPlan,
    settled_tallies: Vec<Tally>,
    pub(super) keys: Vec<u64>,
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
        self.records_are_dear = outcome.records_are_dear;
        if asked_for_room {
            self.note_room(outcome.withheld, now);
        }
        self.beyond = self.rows_unaccounted_for(outcome.backlog);
        self.books.resync(&outcome.ledger, self.written_off());
        self.pass_marks();
    }

    /// The transaction happened, and gave rows to these batches.
    pub(super) fn saved(&mut self, saving: Saving, rows: &BTreeMap<u64, RowId>, now: Instant) {
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
            unsaved.add_direct(fate, || now);
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
        let (mut keys, mut bytes) = (Vec::new(), 0);
        for (key, held) in self.window.iter_mut().filter(|(_, held)| held.is_volatile()).take(APPENDS_MAX) {
            let aged = held.oldest.is_some_and(|oldest| later(oldest, save_after(window)) <= now);
            let asked = held.seqs.first <= self.commit_mark;
            if !(everything || aged || asked) {
                break;
            }
            let Some(batch) = held.batch() else {
                held.wanted = true;
                break;
            };
            bytes += batch.body.len();
            keys.push(*key);
            if bytes >= APPENDED_BYTES {
                break;
            }
        }
        keys
    }

    /// Whether new batches go to the spool without waiting for the end of the window: because there is no window,
    /// because rows are in the spool, because an attempt has failed, or because the server does not keep up.
    fn must_spool(&self, window: Duration) -> bool {
        window.is_zero()
            || (self.is_pressed() && self.server_lags())
            || self.beyond.batches > 0
            || self.window.values().any(|held| !held.is_volatile() || held.attempts > 0)
    }

    /// Whether memory is filled to a good part.
    fn is_pressed(&self) -> bool {
        let mut held = self.queue.held();
        held += self.volatile;
        self.is_much(held)
    }

    /// Whether it is the server that holds up what is in memory: as many batches as may be wait for it, or much of memory does. If not,
    /// they are made no faster than it takes them, and to store them as well would make that slower still.
    fn server_lags(&self) -> bool {
        let mut finished = Tally::default();
        let waiting = self.window.values().filter(|held| held.is_volatile() && held.batch().is_some());
        waiting.for_each(|held| finished += held.tally());
        !self.has_seal_credit() || self.is_much(finished)
    }

    fn is_much(&self, of_memory: Tally) -> bool {
        of_memory.points * PRESSURE > self.terms.points_max
            || of_memory.bytes * PRESSURE > self.terms.bytes_max
    }

    fn records_due_at(&self) -> Option<Instant> {
        let unsaved = &self.books.unsaved;
        let since = unsaved.since.filter(|_| !unsaved.is_empty())?;
        let wait = if self.records_are_dear {
            // Each takes some of the last room on a full disk, however much is in it.
            self.terms.ledger_interval.max(FULL_RETRY)
        } else if unsaved.quarantine_bytes() > 0 {
            // Bodies, not counters: they are what quarantine is to keep.
            Duration::ZERO
        } else if unsaved.settle.is_empty() {
            self.terms.ledger_interval
        } else if unsaved.settle.len() >= SETTLED_ROWS_MAX || self.withheld == Some(Withheld::SpoolFull) {
            // In a full spool no append comes before there is room for it.
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
            self.record_direct(DirectFate { written_off: held.written_off, ..part }, || now);
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
        let filled = FILE_BYTES + self.beyond.bytes + self.stored.bytes + appends + rows * ROW_BYTES;
        filled >= self.terms.spool_bytes_max / 2
    }

    pub(super) fn note_room(&mut self, withheld: Option<Withheld>, now: Instant) {
        self.append_not_before = withheld.map(|_| now + FULL_RETRY);
        if withheld != self.withheld {
            self.withheld = withheld;
            self.news.push(News::SpoolRoom(withheld));
        }
    }

    /// What of the window the file counts as damaged.
    pub(super) fn written_off(&self) -> Tally {
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
    pub(super) fn rows_unaccounted_for(&self, mut backlog: Backlog) -> Backlog {
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

pub(super) fn settle_row(row: RowId, first_seq: u64, fate: Fate) -> SettleRow {
    SettleRow { row, first_seq, fate, status: None, words: None, parts: Vec::new() }
}
