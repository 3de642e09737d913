//! One transaction: appends, acknowledgements, counters, all or nothing.

use std::collections::BTreeSet;
use std::time::{Instant, SystemTime};

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::clock;
use super::error::{During, SpoolError, SpoolErrorKind};
use super::fates;
use super::open::{Spool, pause_end};
use super::options::SpoolOptions;
use super::origin::{self, Origin};
use super::quarantine::{self, Why};
use super::room;
use super::row::{StoredBatch, count, int};
use super::schema::PAGE_BYTES;
use super::split;
use super::state::State;
use crate::failpoint::failpoint;
use crate::machines::plan::{
    AttemptNote, CommitPlan, Committed, DirectFate, Evicted, Quarantined, RowId, SettleRow, Withheld,
};
use crate::values::config::SpoolFull;
use crate::values::fate::{Fate, ShedReason};
use crate::values::ledger::Tally;
use crate::values::seq::SeqRange;

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
        let now_ms = clock::unix_ms(now);
        let stepped = self.clock.stepped(now_ms, Instant::now());
        let room = if plan.closing { u64::MAX } else { room::disk_room(&self.paths, &self.options) };
        let fitting = room::fitting(&plan.appends, room);
        match self.transact(plan, fitting, now_ms, stepped, &during) {
            // An acknowledgement needs less room than a body: what was delivered must not be sent again and again
            // because the disk is full.
            Err(error) if error.kind() == SpoolErrorKind::DiskFull && fitting > 0 => {
                self.transact(plan, 0, now_ms, stepped, &during)
            }
            other => other,
        }
        .inspect_err(|error| self.note_failure(error))
    }

    fn transact(
        &mut self,
        plan: &CommitPlan,
        appends_max: usize,
        now_ms: i64,
        stepped: bool,
        during: &str,
    ) -> Result<Committed, SpoolError> {
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate).during(during)?;
        let mut work = Work::new(&tx, &self.options, self.state.clone(), plan, now_ms);
        if stepped {
            tracing::warn!(
                "the clock was set: nothing expires from the spool until ages can be trusted again"
            );
            work.state.expiry_after_ms = pause_end(&self.options, now_ms);
        }
        let committed = work.run(plan, appends_max).during(during)?;
        let state = work.state;
        state.store(&tx, Some(&self.state)).during(during)?;
        failpoint!("spool::in_transaction");
        tx.commit().during(during)?;
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
    fn run(&mut self, plan: &CommitPlan, appends_max: usize) -> rusqlite::Result<Committed> {
        let settled = self.settle(&plan.settle)?;
        for fate in &plan.direct {
            self.record_direct(fate)?;
        }
        for note in &plan.attempts {
            self.note(note)?;
        }
        self.expire()?;
        let (appended, withheld) = self.append(plan, appends_max)?;
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
            replayed: None,
            backlog: state.backlog,
            ledger: state.ledger.clone(),
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
        let Some(held) = self.measure(row.row, row.first_seq)? else { return Ok(false) };
        if row.parts.is_empty() {
            return self.settle_whole(row, &held, row.fate, row.words.as_deref());
        }
        match split::in_order(&row.parts, held.seqs, held.tally) {
            Some(parts) => self.settle_parts(row.row, &held, &parts),
            None => {
                tracing::error!(
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
        if !self.delete(row.row)? {
            return Ok(false);
        }
        self.state.backlog.remove(held.tally);
        self.state.ledger.settle(fate, held.tally);
        fates::record(self.conn, held.seqs, fate)?;
        Ok(true)
    }

    fn settle_parts(&mut self, row: RowId, held: &Held, parts: &[&DirectFate]) -> rusqlite::Result<bool> {
        // Before its parts are kept, so that they get its pages.
        if !self.delete(row)? {
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
        let Some(Held { seqs, .. }) = self.measure(row.row, row.first_seq)? else { return Ok(false) };
        if !self.delete(row.row)? {
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
        self.state.ledger.accept(Tally::new(direct.seqs.points(), direct.bytes));
        self.settle_direct(direct, Origin::Live, 0)
    }

    /// The fate of points that are in `accepted` already.
    fn settle_direct(&mut self, direct: &DirectFate, origin: Origin, replays: u64) -> rusqlite::Result<()> {
        self.state.ledger.settle(direct.fate, Tally::new(direct.seqs.points(), direct.bytes));
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
                 SELECT id, ?3, ?4, ?5, ?6 FROM batch WHERE id = ?1 AND first_seq = ?2",
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
            appended.push(self.insert(&stored)?);
            let tally = Tally::new(batch.points(), batch.raw_len);
            self.state.backlog.add(tally);
            self.state.ledger.accept(tally);
        }
        let is_all = appended.len() == plan.appends.len();
        Ok((appended, (!is_all).then_some(Withheld::DiskFull)))
    }

    /// Whether the batch fits, after dropping what may be dropped.
    fn make_room(&mut self, stored: &StoredBatch, oldest_new: u64) -> rusqlite::Result<bool> {
        let needed = room::pages_for(stored);
        if needed.saturating_mul(PAGE_BYTES) > self.options.bytes_max {
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
        self.delete(row)?;
        self.state.backlog.remove(tally);
        self.state.ledger.settle(fate, tally);
        fates::record(self.conn, seqs, fate)?;
        self.evicted.push(Evicted { row, seqs, tally, fate });
        Ok(())
    }

    fn insert(&self, stored: &StoredBatch) -> rusqlite::Result<RowId> {
        self.conn
            .prepare_cached(
                "INSERT INTO batch (first_seq, last_seq, points, dest, codec, raw_len, earliest, latest, created_ms, \
                 origin, parent, checksum, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
            )?
            .insert(params![
                stored.first_seq,
                stored.last_seq,
                stored.points,
                stored.dest,
                stored.codec,
                stored.raw_len,
                stored.earliest,
                stored.latest,
                stored.created_ms,
                stored.origin,
                stored.parent,
                stored.checksum,
                &stored.body[..],
            ])
            .map(RowId)
    }

    /// Without the body: `DELETE … RETURNING` would read all of it.
    fn measure(&self, row: RowId, first_seq: u64) -> rusqlite::Result<Option<Held>> {
        self.conn
            .prepare_cached(
                "SELECT last_seq, points, raw_len, origin FROM batch WHERE id = ?1 AND first_seq = ?2",
            )?
            .query_row(params![row.0, int(first_seq)], |found| {
                Ok(Held {
                    seqs: SeqRange { first: first_seq, last: count(found.get(0)?) },
                    tally: Tally::new(count(found.get(1)?), count(found.get(2)?)),
                    replays: origin::replays(found.get_ref(3)?.as_str()?),
                })
            })
            .optional()
    }

    fn delete(&self, row: RowId) -> rusqlite::Result<bool> {
        self.conn.prepare_cached("DELETE FROM attempt WHERE batch = ?1")?.execute([row.0])?;
        let deleted = self.conn.prepare_cached("DELETE FROM batch WHERE id = ?1")?.execute([row.0])?;
        Ok(deleted == 1)
    }
}

/// What a row of the backlog says it holds.
struct Held {
    seqs: SeqRange,
    tally: Tally,
    /// How often it was taken back from quarantine.
    replays: u64,
}
