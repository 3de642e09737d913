//! From quarantine back into the backlog, once what the batches were refused for is mended.
//!
//! A batch keeps its numbers, so it is sent before everything younger. Its body is written anew, because the checksum
//! covers where the row comes from; there has to be room for that, since nothing goes for the sake of a replay.

use std::path::Path;
use std::time::SystemTime;

use rusqlite::Connection;
use serde::Serialize;

use super::backlog;
use super::error::SpoolError;
use super::fates;
use super::inspect::look_into;
use super::open::{Opened, Spool};
use super::options::SpoolOptions;
use super::origin::Origin;
use super::quarantine::{self, Kept};
use super::room;
use super::row::StoredBatch;
use super::state::State;
use crate::machines::plan::{CommitPlan, Replay, Replayed, RowId, Withheld};
use crate::values::batch::Batch;
use crate::values::fate::{Fate, QuarantineReason};
use crate::values::ledger::Tally;

/// Batches that [`replay`] takes back in one transaction: some tenths of a second of tiny ones. Large ones are bounded
/// by [`BYTES_PER_COMMIT`].
const BATCHES_PER_COMMIT: usize = 4_096;

/// Bodies that are written again in one transaction, whatever number of batches is allowed: what the log holds before
/// it is copied into the database.
const BYTES_PER_COMMIT: u64 = 16 << 20;

/// What [`replay`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ReplayReport {
    /// Batches that are in the backlog again.
    pub batches: u64,
    /// Their points.
    pub points: u64,
    /// Points that could not be read back. They left the quarantine, and count as damaged now.
    pub damaged_points: u64,
    /// Whether some had to stay in quarantine, for want of room in the spool or on the disk.
    pub is_short_of_room: bool,
}

impl ReplayReport {
    pub(crate) fn add(&mut self, replayed: &Replayed) {
        self.batches += replayed.backlog.batches;
        self.points += replayed.backlog.points;
        self.damaged_points += replayed.damaged.points;
        self.is_short_of_room = replayed.withheld.is_some();
    }
}

/// Takes batches back from the quarantine of a spool that nobody has open: all, or those that are there for one reason.
///
/// Nothing is sent: the next database that is started on the file does that, before all else, since these points are
/// older than the rest. They are pending again, and what they were quarantined for is forgotten except how often it
/// happened. What the server refuses once more goes to quarantine once more. The points do not expire
/// (`spool.age_max`), or a replay of old ones would be in vain; a spool that is full drops them first, as the oldest.
///
/// Done in several transactions. After an error some of the batches may be back, and none is lost; the same call goes
/// on with the rest.
///
/// # Errors
/// [`SpoolErrorKind::Locked`](super::SpoolErrorKind::Locked) while a process, this one included, has the spool open:
/// stop its database first. Otherwise as [`inspect`](super::inspect()), and what keeps a spool from being written.
///
/// ```
/// use influx_spool::{QuarantineReason, SpoolErrorKind, replay};
///
/// let error = replay("no-such.db", Some(QuarantineReason::TypeConflict)).unwrap_err();
/// assert_eq!(error.kind(), SpoolErrorKind::Io);
/// ```
pub fn replay(path: impl AsRef<Path>, only: Option<QuarantineReason>) -> Result<ReplayReport, SpoolError> {
    // Opening would create a missing file.
    drop(look_into(path.as_ref(), "replay")?);
    let options = SpoolOptions {
        // Its owner's bounds are not known here. The file hardly grows, and nothing is to be given up.
        bytes_max: u64::MAX,
        quarantine_bytes_max: u64::MAX,
        ..SpoolOptions::new(path.as_ref())
    };
    let (mut spool, opened) = Spool::open(&options, SystemTime::now())?;
    let report = replay_all(&mut spool, &opened, only);
    let closed = spool.close(opened.seq_next, opened.stamp_last);
    report.and_then(|report| closed.map(|()| report))
}

fn replay_all(
    spool: &mut Spool,
    opened: &Opened,
    only: Option<QuarantineReason>,
) -> Result<ReplayReport, SpoolError> {
    let mut wanted = Replay { only, batches_max: BATCHES_PER_COMMIT, up_to: None, below_seq: u64::MAX };
    let mut report = ReplayReport::default();
    let mut number = opened.commit_number;
    loop {
        number += 1;
        let now = SystemTime::now();
        let plan = CommitPlan { number, replay: Some(wanted), ..CommitPlan::default() };
        let replayed = spool.commit(&plan, now)?.replayed.unwrap_or_default();
        report.add(&replayed);
        wanted.up_to = replayed.up_to;
        if !replayed.more || report.is_short_of_room {
            return Ok(report);
        }
        spool.maintain(now)?;
    }
}

/// Where there has to be room for what is taken back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// Points that are not stored at all wait for room already.
    pub(super) withheld: Option<Withheld>,
    /// Bytes of bodies that the disk has room for.
    pub(super) disk_bytes: u64,
    /// The bound of the file.
    pub(super) file_bytes_max: u64,
}

/// Moves what is wanted and finds room from quarantine to the backlog.
pub(super) fn take_back(
    conn: &Connection,
    state: &mut State,
    wanted: Replay,
    room: Room,
) -> rusqlite::Result<Replayed> {
    let up_to = match wanted.up_to {
        None => quarantine::newest(conn)?,
        known => known,
    };
    let Some(newest) = up_to else { return Ok(Replayed::default()) };
    let mut rows = quarantine::wanted(conn, &wanted, newest, wanted.batches_max.saturating_add(1))?;
    let mut replayed = Replayed { more: rows.len() > wanted.batches_max, up_to, ..Replayed::default() };
    rows.truncate(wanted.batches_max);
    let (mut written, mut has_damaged) = (0, false);
    for row in rows {
        let kept = quarantine::read(conn, row)?;
        replayed.withheld = room.withholds(conn, &kept.stored, written)?;
        if replayed.withheld.is_some() || written >= BYTES_PER_COMMIT {
            replayed.more = true;
            break;
        }
        let body_bytes = kept.stored.body.len() as u64;
        quarantine::delete(conn, state, row, body_bytes)?;
        match sendable(conn, row, &kept)? {
            Some(sendable) => {
                sendable.put_back(conn, state, &mut replayed)?;
                written += body_bytes;
            }
            None => {
                has_damaged = true;
                record_damaged(conn, &kept)?;
            }
        }
    }
    if has_damaged {
        replayed.damaged = quarantine::settle_missing(conn, &mut state.ledger)?;
    }
    Ok(replayed)
}

impl Room {
    /// Why the batch has to stay, after `written` bytes of others.
    fn withholds(
        &self,
        conn: &Connection,
        stored: &StoredBatch,
        written: u64,
    ) -> rusqlite::Result<Option<Withheld>> {
        if self.withheld.is_some() {
            return Ok(self.withheld);
        }
        if self.disk_bytes.saturating_sub(written) <= stored.body.len() as u64 {
            return Ok(Some(Withheld::DiskFull));
        }
        // As if its pages were not freed by the same move: in a spool that is full to the brim it would be the oldest,
        // and the next to be dropped.
        let needed = room::bytes_for(stored, room::page_bytes(conn)?);
        let fits = room::fits(conn, needed, self.file_bytes_max)?;
        Ok((!fits).then_some(Withheld::SpoolFull))
    }
}

/// A batch of the quarantine that can be sent again.
struct Sendable {
    reason: Fate,
    batch: Batch,
    dest: String,
    origin: Origin,
}

/// `None` if the row is damaged, or if its numbers are in the backlog already: a salvage finds both where it cannot see
/// which of two rows is the older one, and sending one of them is enough.
fn sendable(conn: &Connection, row: RowId, kept: &Kept) -> rusqlite::Result<Option<Sendable>> {
    let (Some(reason), Some(batch)) = (kept.reason, kept.stored.batch()) else { return Ok(None) };
    if backlog::find(conn, batch.seqs.first)?.is_some() {
        return Ok(None);
    }
    let origin = Origin::Replay { times: kept.replays.saturating_add(1), parent: row };
    Ok(Some(Sendable { reason, batch, dest: kept.stored.dest.clone(), origin }))
}

impl Sendable {
    fn put_back(self, conn: &Connection, state: &mut State, replayed: &mut Replayed) -> rusqlite::Result<()> {
        let seqs = self.batch.seqs;
        let tally = Tally::new(self.batch.points(), self.batch.raw_len);
        backlog::insert(conn, &StoredBatch::new(&self.batch, &self.dest, self.origin))?;
        state.backlog.add(tally);
        let counted = state.ledger.unsettle(self.reason, tally);
        // The ledger can know of less after a salvage only. Then it counts again.
        state.ledger.accept(tally.less(counted));
        fates::forget(conn, seqs)?;
        replayed.backlog.add(tally);
        let lowest = if replayed.seqs.is_empty() { u64::MAX } else { replayed.first_seq };
        replayed.first_seq = seqs.first.min(lowest);
        replayed.seqs.push(seqs);
        Ok(())
    }
}

/// Says of the numbers what became of them, unless the row's columns cannot be true or they are in the backlog, too.
fn record_damaged(conn: &Connection, kept: &Kept) -> rusqlite::Result<()> {
    match kept.stored.seqs() {
        Some(seqs) if backlog::find(conn, seqs.first)?.is_none() => fates::record(conn, seqs, Fate::Damaged),
        _ => Ok(()),
    }
}
