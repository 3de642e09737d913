//! One transaction: appends, acknowledgements, counters, all or nothing.

use std::collections::BTreeSet;
use std::time::{Instant, SystemTime};

use rusqlite::{Connection, TransactionBehavior, params};

use super::backlog::{self, Held};
use super::ballast::Need;
use super::clock;
use super::error::{During, SpoolError, SpoolErrorKind};
use super::fates;
use super::open::{Spool, pause_end};
use super::options::SpoolOptions;
use super::origin::Origin;
use super::quarantine::{self, Why};
use super::replay;
use super::room;
use super::row::{StoredBatch, int};
use super::split;
use super::state::State;
use crate::failpoint::failpoint;
use crate::log;
use crate::machines::plan::{
    AttemptNote, CommitPlan, Committed, DirectFate, Evicted, Quarantined, Replayed, RowId, SettleRow,
    Withheld,
};
use crate::values::config::SpoolFull;
use crate::values::fate::{Fate, ShedReason};
use crate::values::ledger::Tally;

/// How many commits may pass between two looks at the number of fate ranges; each adds a few at most.
const FATES_PRUNED_EVERY: u64 = 256;

impl Spool {
    /// Does the whole plan in one transaction, which is on disk when this returns (`sync = full`).
    ///
    /// Appends that find no room are left out and the rest is done; see [`Committed::withheld`]. Batches older than
    /// allowed expire here, so an empty plan is how an idle spool lets them go.
    ///
    /// # Errors
    /// Nothing was changed, except that after [`SpoolErrorKind::Io`] only opening again can tell: the spool refuses
    /// everything from then on. [`SpoolErrorKind::DiskFull`] when not even the deletions found room.
    pub(crate) fn commit(&mut self, plan: &CommitPlan, now: SystemTime) -> Result<Committed, SpoolError> {
        let during = format!("commit {} to {}", plan.number, self.paths.name());
        if let Some(kind) = self.broken {
            return Err(SpoolError::new(kind, during));
        }
        if plan.number != self.state.commit_number + 1 {
            return Err(SpoolError::new(SpoolErrorKind::OutOfStep, during));
        }
        self.see_to_files(&during)?;
        let now_ms = clock::unix_ms(now);
        let stepped = self.clock.stepped(now_ms, Instant::now());
        let written = plan.appends.iter().map(|batch| batch.body.len() as u64).sum();
        self.stride.follow(&self.conn, written).during(&during)?;
        let free = room::free_bytes(&self.paths);
        // Points that a closing would lose are stored in what is left to others, too; but not in what the next opening needs.
        let reserve_bytes = if plan.closing { 0 } else { self.options.free_reserve_bytes };
        let left = room::beyond_reserve(free, reserve_bytes, self.page_bytes);
        let room = room::for_bodies(&self.conn, &self.paths, left).during(&during)?;
        let bodies = Bodies::fitting(plan, room);
        let before = self.state.backlog.bytes;
        let mut done = self.transact(plan, bodies, now_ms, stepped, &during);
        // An acknowledgement needs less room than a body: what was delivered must not be sent again and again because the
        // disk is full.
        if is_full(&done) {
            self.unseen.press();
        }
        if is_full(&done) && bodies != Bodies::NONE {
            done = self.transact(plan, Bodies::NONE, now_ms, stepped, &during);
        }
        if is_full(&done) && self.ballast.give_up(self.need_of(plan), &self.paths) {
            done = self.transact(plan, Bodies::NONE, now_ms, stepped, &during);
        }
        let mut committed = done.inspect_err(|error| self.note_failure(error))?;
        self.unseen.note(written + before.abs_diff(self.state.backlog.bytes), self.page_bytes);
        if room < room::PLENTY_BYTES || self.state.backlog.batches == 0 {
            self.unseen.press();
        }
        self.lacks_room = committed.withheld == Some(Withheld::DiskFull);
        committed.records_are_dear = self.records_are_dear().unwrap_or(false);
        Ok(committed)
    }

    /// When nothing is left in the backlog, all pages can go, and then the log; so no more room is needed after that.
    fn need_of(&self, plan: &CommitPlan) -> Need {
        let settles_all = plan.settle.len() as u64 >= self.state.backlog.batches;
        if plan.closing || settles_all { Need::Last } else { Need::Passing }
    }

    /// Whether each transaction takes some of the last room there is, since the log cannot be begun anew.
    fn records_are_dear(&self) -> rusqlite::Result<bool> {
        Ok(!self.ballast.is_whole() && !room::has_room_to_checkpoint(&self.conn, &self.paths)?)
    }

    fn transact(
        &mut self,
        plan: &CommitPlan,
        bodies: Bodies,
        now_ms: i64,
        stepped: bool,
        during: &str,
    ) -> Result<Committed, SpoolError> {
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate).during(during)?;
        let mut work = Work::new(&tx, &self.options, self.state.clone(), plan, now_ms);
        if stepped {
            log::warn!("the clock was set: nothing expires from the spool until ages can be trusted again");
            work.state.expiry_after_ms = pause_end(&self.options, now_ms);
        }
        let committed = work.run(plan, bodies).during(during)?;
        let state = work.state;
        state.store(&tx).during(during)?;
        failpoint!(of self.paths.database.file_name().unwrap_or_default().display(), "spool::in_transaction");
        tx.commit().during(during)?;
        self.heritage.note(&state, &self.place);
        self.state = state;
        Ok(committed)
    }

    /// Decides whether the connection can go on after a failure.
    pub(super) fn note_failure(&mut self, error: &SpoolError) {
        match error.kind() {
            SpoolErrorKind::Io => self.broken = Some(SpoolErrorKind::Io),
            SpoolErrorKind::Damaged => {
                self.broken = Some(SpoolErrorKind::Damaged);
                self.mark_damaged();
            }
            _ => {}
        }
    }
}

fn is_full(done: &Result<Committed, SpoolError>) -> bool {
    done.as_ref().is_err_and(|error| error.kind() == SpoolErrorKind::DiskFull)
}

/// How much of what takes room may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bodies {
    /// So many of the appends.
    appends_max: usize,
    /// Bytes of bodies that may be written again to take them back from quarantine.
    replay_bytes_max: u64,
}

impl Bodies {
    const NONE: Self = Self { appends_max: 0, replay_bytes_max: 0 };

    /// New points first: what is replayed lies safely where it is.
    fn fitting(plan: &CommitPlan, room: u64) -> Self {
        let appends_max = room::fitting(&plan.appends, room);
        let appended: u64 = plan.appends[..appends_max].iter().map(|batch| batch.body.len() as u64).sum();
        let replay_bytes_max = if plan.replay.is_some() { room.saturating_sub(appended) } else { 0 };
        Self { appends_max, replay_bytes_max }
    }
}

/// One transaction at work, on a copy of the state.
struct Work<'a> {
    conn: &'a Connection,
    options: &'a SpoolOptions,
    state: State,
    leased: BTreeSet<u64>,
    now_ms: i64,
    evicted: Vec<Evicted>,
}

impl<'a> Work<'a> {
    fn new(
        conn: &'a Connection,
        options: &'a SpoolOptions,
        state: State,
        plan: &CommitPlan,
        now_ms: i64,
    ) -> Self {
        let leased = plan.leased.iter().copied().collect();
        Self { conn, options, state, leased, now_ms, evicted: Vec::new() }
    }

    /// What frees room comes before what needs it.
    fn run(&mut self, plan: &CommitPlan, bodies: Bodies) -> rusqlite::Result<Committed> {
        let settled = self.settle(&plan.settle)?;
        for fate in &plan.direct {
            self.record_direct(fate)?;
        }
        for note in &plan.attempts {
            self.note(note)?;
        }
        self.expire()?;
        let (appended, withheld) = self.append(plan, bodies.appends_max)?;
        // After all that may evict, so that it is not evicted, and before the quarantine gives up what is wanted back.
        let replayed = self.replay(plan, bodies.replay_bytes_max, withheld)?;
        let quarantine_evicted =
            quarantine::evict(self.conn, &mut self.state, self.options.quarantine_bytes_max)?;
        if plan.number.is_multiple_of(FATES_PRUNED_EVERY)
            && let Some(floor) = fates::prune(self.conn)?
        {
            self.state.fate_floor = floor;
        }

        let state = &mut self.state;
        state.commit_number = plan.number;
        state.stamp_last = state.stamp_last.max(plan.stamp_last);
        state.seq_end = state.seq_end.max(plan.seq_end.unwrap_or(0));
        state.refused = state.refused.max(plan.refused);
        state.clock_ms = self.now_ms;
        Ok(Committed {
            appended,
            withheld,
            settled,
            evicted: std::mem::take(&mut self.evicted),
            quarantine_evicted,
            replayed,
            backlog: state.backlog,
            ledger: state.ledger.clone(),
            records_are_dear: false,
        })
    }

    fn settle(&mut self, rows: &[SettleRow]) -> rusqlite::Result<Vec<bool>> {
        let mut settled = Vec::with_capacity(rows.len());
        // A damaged row cannot be asked how much it held, so those come after all that can.
        for row in rows {
            settled.push(row.fate != Fate::Damaged && self.settle_row(row)?);
        }
        for (row, done) in rows.iter().zip(&mut settled) {
            if row.fate == Fate::Damaged {
                *done = self.settle_damaged(row)?;
            }
        }
        Ok(settled)
    }

    fn settle_row(&mut self, row: &SettleRow) -> rusqlite::Result<bool> {
        let Some(held) = backlog::measure(self.conn, row.row, row.first_seq)? else { return Ok(false) };
        if row.parts.is_empty() {
            return self.settle_whole(row, &held, row.fate, row.words.as_deref());
        }
        match split::in_order(&row.parts, held.seqs, held.tally) {
            Some(parts) => self.settle_parts(row.row, &held, &parts),
            None => {
                log::error!(
                    row = row.row.0,
                    first = held.seqs.first,
                    last = held.seqs.last,
                    "a batch was to be settled in parts that are not exactly it: it is kept whole in quarantine"
                );
                self.settle_whole(row, &held, split::WRONG, Some(split::WRONG_WORDS))
            }
        }
    }

    fn settle_whole(
        &mut self,
        row: &SettleRow,
        held: &Held,
        fate: Fate,
        words: Option<&str>,
    ) -> rusqlite::Result<bool> {
        if let Fate::Quarantined(_) = fate {
            let why = Why { fate, status: row.status, words, replays: held.replays };
            quarantine::move_row(self.conn, &mut self.state, row.row, why, self.now_ms)?;
        }
        if !backlog::delete(self.conn, row.row)? {
            return Ok(false);
        }
        self.state.backlog.remove(held.tally);
        self.state.ledger.settle(fate, held.tally);
        fates::record(self.conn, held.seqs, fate)?;
        Ok(true)
    }

    fn settle_parts(&mut self, row: RowId, held: &Held, parts: &[&DirectFate]) -> rusqlite::Result<bool> {
        // Before its parts are kept, so that they get its pages.
        if !backlog::delete(self.conn, row)? {
            return Ok(false);
        }
        self.state.backlog.remove(held.tally);
        for part in parts {
            self.settle_direct(part, Origin::Split { parent: row }, held.replays)?;
        }
        Ok(true)
    }

    /// What a damaged row held is what the other rows leave of the backlog: its own columns may say anything.
    fn settle_damaged(&mut self, row: &SettleRow) -> rusqlite::Result<bool> {
        let Some(Held { seqs, .. }) = backlog::measure_any(self.conn, row.row)? else { return Ok(false) };
        if !backlog::delete(self.conn, row.row)? {
            return Ok(false);
        }
        let before = self.state.backlog;
        self.state.backlog = room::measured_backlog(self.conn)?;
        let lost = Tally::new(
            before.points.saturating_sub(self.state.backlog.points),
            before.bytes.saturating_sub(self.state.backlog.bytes),
        );
        self.state.ledger.settle(Fate::Damaged, lost);
        if seqs.last >= seqs.first && seqs.points() == lost.points {
            fates::record(self.conn, seqs, Fate::Damaged)?;
        }
        Ok(true)
    }

    fn record_direct(&mut self, direct: &DirectFate) -> rusqlite::Result<()> {
        self.accept(direct.tally(), direct.written_off);
        self.settle_direct(direct, Origin::Live, 0)
    }

    /// Counts points as accepted, unless they have been: what is written off is among the damaged, as far as the ledger
    /// has survived.
    fn accept(&mut self, tally: Tally, written_off: bool) {
        let ledger = &mut self.state.ledger;
        let known = if written_off { ledger.unsettle(Fate::Damaged, tally) } else { Tally::default() };
        ledger.accept(tally.less(known));
    }

    /// The fate of points that are in `accepted` already.
    fn settle_direct(&mut self, direct: &DirectFate, origin: Origin, replays: u64) -> rusqlite::Result<()> {
        self.state.ledger.settle(direct.fate, direct.tally());
        fates::record(self.conn, direct.seqs, direct.fate)?;
        match &direct.quarantine {
            Some(Quarantined { batch, status, words }) => {
                let stored = StoredBatch::new(batch, &room::destination_json(batch), origin);
                let why = Why { fate: direct.fate, status: *status, words: words.as_deref(), replays };
                quarantine::insert(self.conn, &mut self.state, &stored, why, self.now_ms)
            }
            None => Ok(()),
        }
    }

    fn note(&self, note: &AttemptNote) -> rusqlite::Result<()> {
        self.conn
            .prepare_cached(
                "INSERT OR REPLACE INTO attempt (batch, attempts, panics, status, words) \
                 SELECT rowid, ?3, ?4, ?5, ?6 FROM batch WHERE rowid = ?1 AND first_seq = ?2",
            )?
            .execute(params![
                note.row.0,
                int(note.first_seq),
                note.attempts,
                note.panics,
                note.status,
                note.words
            ])?;
        Ok(())
    }

    fn expire(&mut self) -> rusqlite::Result<()> {
        let Some(age_max) = self.options.age_max else { return Ok(()) };
        if self.now_ms < self.state.expiry_after_ms {
            return Ok(());
        }
        let born_before = self.now_ms.saturating_sub(clock::millis(age_max));
        for old in room::expired(self.conn, born_before, &self.leased)? {
            self.evict(old, Fate::Expired)?;
        }
        Ok(())
    }

    fn append(
        &mut self,
        plan: &CommitPlan,
        appends_max: usize,
    ) -> rusqlite::Result<(Vec<RowId>, Option<Withheld>)> {
        let mut appended = Vec::with_capacity(plan.appends.len());
        // No eviction among what this very plan brings: it is the newest.
        let oldest_new = plan.appends.first().map_or(u64::MAX, |batch| batch.seqs.first);
        for batch in plan.appends.iter().take(appends_max) {
            let dest = room::destination_json(batch);
            let stored = StoredBatch::new(batch, &dest, Origin::Live);
            if !self.make_room(&stored, oldest_new)? && !plan.closing {
                return Ok((appended, Some(Withheld::SpoolFull)));
            }
            appended.push(backlog::insert(self.conn, &stored)?);
            let tally = Tally::new(batch.points(), batch.raw_len);
            self.state.backlog.add(tally);
            self.accept(tally, plan.written_off.contains(&batch.seqs.first));
        }
        let is_all = appended.len() == plan.appends.len();
        Ok((appended, (!is_all).then_some(Withheld::DiskFull)))
    }

    fn replay(
        &mut self,
        plan: &CommitPlan,
        bytes_max: u64,
        withheld: Option<Withheld>,
    ) -> rusqlite::Result<Option<Replayed>> {
        let Some(wanted) = plan.replay else { return Ok(None) };
        let room = replay::Room { withheld, disk_bytes: bytes_max, file_bytes_max: self.options.bytes_max };
        replay::take_back(self.conn, &mut self.state, wanted, room).map(Some)
    }

    /// Whether the batch fits, after dropping what may be dropped.
    fn make_room(&mut self, stored: &StoredBatch, oldest_new: u64) -> rusqlite::Result<bool> {
        let needed = room::bytes_for(stored, room::page_bytes(self.conn)?);
        if needed > self.options.bytes_max {
            // It fits into no spool of this size: dropping others for it would be in vain.
            return Ok(false);
        }
        while !room::fits(self.conn, needed, self.options.bytes_max)? {
            if self.options.when_full == SpoolFull::Refuse {
                return Ok(false);
            }
            let Some(goner) = room::oldest(self.conn, &self.leased, oldest_new)? else { return Ok(false) };
            self.evict(goner, Fate::Shed(ShedReason::SpoolFull))?;
        }
        Ok(true)
    }

    fn evict(&mut self, goner: room::Oldest, fate: Fate) -> rusqlite::Result<()> {
        let room::Oldest { row, seqs, tally } = goner;
        backlog::delete(self.conn, row)?;
        self.state.backlog.remove(tally);
        self.state.ledger.settle(fate, tally);
        fates::record(self.conn, seqs, fate)?;
        self.evicted.push(Evicted { row, seqs, tally, fate });
        Ok(())
    }
}
