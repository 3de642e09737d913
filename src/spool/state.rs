//! What the spool knows about itself: one row, and the ledger, under one checksum.

use rusqlite::{Connection, Row, params};
use serde::Serialize;
use uuid::Uuid;

use super::row::{count, int};
use crate::values::fate::Fate;
use crate::values::ledger::{Ledger, Tally};
use crate::values::seq::SpoolTag;

/// What lies in the spool undelivered.
///
/// ```
/// assert_eq!(influx_spool::Backlog::default().points, 0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Backlog {
    /// How many batches.
    pub batches: u64,
    /// How many points they hold.
    pub points: u64,
    /// Bytes of the points' plain lines.
    pub bytes: u64,
}

impl Backlog {
    pub(super) fn add(&mut self, tally: Tally) {
        self.batches += 1;
        self.points += tally.points;
        self.bytes += tally.bytes;
    }

    /// Saturating: a damaged row may claim more than there is.
    pub(super) fn remove(&mut self, tally: Tally) {
        self.batches = self.batches.saturating_sub(1);
        self.points = self.points.saturating_sub(tally.points);
        self.bytes = self.bytes.saturating_sub(tally.bytes);
    }
}

/// Batches kept in quarantine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct QuarantineSize {
    /// How many batches.
    pub batches: u64,
    /// Bytes of their bodies, as stored.
    pub bytes: u64,
}

/// The row of table `spool`, with the ledger. Changed on a copy, and taken over when the transaction is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    pub(super) uuid: Uuid,
    pub(super) generation: u64,
    /// The first number of this life; what is below and unknown was lost.
    pub(super) life_first: u64,
    pub(super) seq_end: u64,
    pub(super) stamp_last: Option<i64>,
    pub(super) clean_stop: bool,
    pub(super) unclean_ends: u64,
    pub(super) commit_number: u64,
    pub(super) refused: u64,
    pub(super) backlog: Backlog,
    pub(super) quarantine: QuarantineSize,
    /// Fates of numbers below are no longer known.
    pub(super) fate_floor: u64,
    pub(super) clock_ms: i64,
    pub(super) expiry_after_ms: i64,
    pub(super) ledger: Ledger,
}

impl State {
    /// A spool that never held anything. Its first number is 1.
    pub(super) fn new() -> Self {
        Self {
            uuid: Uuid::new_v4(),
            generation: 0,
            life_first: 1,
            seq_end: 1,
            stamp_last: None,
            clean_stop: true,
            unclean_ends: 0,
            commit_number: 0,
            refused: 0,
            backlog: Backlog::default(),
            quarantine: QuarantineSize::default(),
            fate_floor: 1,
            clock_ms: 0,
            expiry_after_ms: i64::MIN,
            ledger: Ledger::default(),
        }
    }

    pub(super) fn tag(&self) -> SpoolTag {
        SpoolTag(self.uuid.as_fields().0)
    }

    /// Reads the state; `None` if its checksum is wrong.
    pub(super) fn load(conn: &Connection) -> rusqlite::Result<Option<Self>> {
        let mut statement = conn.prepare_cached(SELECT)?;
        let (mut state, checksum) =
            statement.query_row([], |row| Ok((Self::from_row(row)?, row.get::<_, i64>(17)?)))?;
        let mut ledger = conn.prepare_cached("SELECT key, points, bytes FROM ledger")?;
        let mut rows = ledger.query([])?;
        while let Some(row) = rows.next()? {
            let tally = Tally::new(count(row.get(1)?), count(row.get(2)?));
            state.count_key(row.get_ref(0)?.as_str()?, tally);
        }
        Ok((state.checksum() == checksum).then_some(state))
    }

    /// Writes the row anew, and of the ledger what differs from `before`.
    pub(super) fn store(&self, conn: &Connection, before: Option<&Self>) -> rusqlite::Result<()> {
        let old = before.map(|state| &state.ledger);
        if old.is_none_or(|old| old.accepted() != self.ledger.accepted()) {
            store_tally(conn, ACCEPTED, self.ledger.accepted())?;
        }
        for fate in Fate::ALL {
            if old.is_none_or(|old| old.of(fate) != self.ledger.of(fate)) {
                store_tally(conn, fate.key(), self.ledger.of(fate))?;
            }
        }
        conn.prepare_cached(REPLACE)?.execute(params![
            self.uuid.to_string(),
            int(self.generation),
            int(self.life_first),
            int(self.seq_end),
            self.stamp_last,
            self.clean_stop,
            int(self.unclean_ends),
            int(self.commit_number),
            int(self.refused),
            int(self.backlog.batches),
            int(self.backlog.points),
            int(self.backlog.bytes),
            int(self.quarantine.batches),
            int(self.quarantine.bytes),
            int(self.fate_floor),
            self.clock_ms,
            self.expiry_after_ms,
            self.checksum(),
        ])?;
        Ok(())
    }

    /// Adds one row of the ledger table. A key of no fate we know can only come from a damaged file or from a newer
    /// version that told us so by its schema number.
    pub(super) fn count_key(&mut self, key: &str, tally: Tally) {
        match Fate::from_key(key) {
            Some(fate) => self.ledger.settle(fate, tally),
            None if key == ACCEPTED => self.ledger.accept(tally),
            None => {}
        }
    }

    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        let number = |index: usize| row.get::<_, i64>(index).map(count);
        Ok(Self {
            uuid: Uuid::try_parse(row.get_ref(0)?.as_str()?).unwrap_or_default(),
            generation: number(1)?,
            life_first: number(2)?,
            seq_end: number(3)?,
            stamp_last: row.get(4)?,
            clean_stop: row.get(5)?,
            unclean_ends: number(6)?,
            commit_number: number(7)?,
            refused: number(8)?,
            backlog: Backlog { batches: number(9)?, points: number(10)?, bytes: number(11)? },
            quarantine: QuarantineSize { batches: number(12)?, bytes: number(13)? },
            fate_floor: number(14)?,
            clock_ms: row.get(15)?,
            expiry_after_ms: row.get(16)?,
            ledger: Ledger::default(),
        })
    }

    /// CRC-32 over every field: SQLite would not notice a flipped bit in a counter.
    pub(super) fn checksum(&self) -> i64 {
        let mut crc = crc32fast::Hasher::new();
        crc.update(self.uuid.as_bytes());
        let stamp = self.stamp_last.map_or([0, 0], |stamp| [1, stamp]);
        for number in [
            int(self.generation),
            int(self.life_first),
            int(self.seq_end),
            stamp[0],
            stamp[1],
            i64::from(self.clean_stop),
            int(self.unclean_ends),
            int(self.commit_number),
            int(self.refused),
            int(self.backlog.batches),
            int(self.backlog.points),
            int(self.backlog.bytes),
            int(self.quarantine.batches),
            int(self.quarantine.bytes),
            int(self.fate_floor),
            self.clock_ms,
            self.expiry_after_ms,
        ] {
            crc.update(&number.to_le_bytes());
        }
        let fates = Fate::ALL.into_iter().map(|fate| (fate.key(), self.ledger.of(fate)));
        for (key, tally) in std::iter::once((ACCEPTED, self.ledger.accepted())).chain(fates) {
            // Without the zeros, so that a fate added later does not spoil the checksums of old files.
            if !tally.is_zero() {
                crc.update(key.as_bytes());
                crc.update(&tally.points.to_le_bytes());
                crc.update(&tally.bytes.to_le_bytes());
            }
        }
        i64::from(crc.finalize())
    }
}

/// The ledger's key for everything that was ever accepted.
pub(super) const ACCEPTED: &str = "accepted";

const SELECT: &str = "SELECT uuid, generation, life_first, seq_end, stamp_last, clean_stop, unclean_ends, commit_number, \
     refused, batches, points, bytes, quarantine_batches, quarantine_bytes, fate_floor, clock_ms, expiry_after_ms, \
     checksum FROM spool WHERE id = 1";

const REPLACE: &str = "INSERT OR REPLACE INTO spool (id, uuid, generation, life_first, seq_end, stamp_last, clean_stop, \
     unclean_ends, commit_number, refused, batches, points, bytes, quarantine_batches, quarantine_bytes, fate_floor, \
     clock_ms, expiry_after_ms, checksum) \
     VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)";

fn store_tally(conn: &Connection, key: &str, tally: Tally) -> rusqlite::Result<()> {
    conn.prepare_cached("INSERT OR REPLACE INTO ledger (key, points, bytes) VALUES (?1, ?2, ?3)")?
        .execute(params![key, int(tally.points), int(tally.bytes)])?;
    Ok(())
}
