//! What the spool knows about itself: one row, the ledger in it, under one checksum.

use std::collections::BTreeMap;
use std::fmt::Write;

use rusqlite::{Connection, Row, params};
use serde::Serialize;
use uuid::Uuid;

use super::row::{count, int};
use super::schema;
use crate::values::fate::Fate;
use crate::values::ledger::Backlog;
use crate::values::ledger::{Ledger, Tally};
use crate::values::seq::SpoolTag;

/// Batches kept in quarantine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct QuarantineSize {
    /// How many batches.
    pub batches: u64,
    /// Bytes of their bodies, as stored.
    pub bytes: u64,
}

/// The row of table `spool`. Changed on a copy, and taken over when the transaction is on disk.
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

    /// Reads the state, also of a file of an older version; `None` if its checksum is wrong.
    pub(super) fn load(conn: &Connection) -> rusqlite::Result<Option<Self>> {
        let is_apart = schema::version(conn)? < schema::LEDGER_IN_STATE;
        let ledger = if is_apart { LEDGER_APART } else { "ledger" };
        let (mut state, checksum, ledger) = conn.query_row(
            &format!("SELECT {COLUMNS}, checksum, {ledger} FROM spool WHERE id = 1"),
            [],
            |row| Ok((Self::from_row(row)?, row.get::<_, i64>(17)?, row.get::<_, String>(18)?)),
        )?;
        let Some(ledger) = ledger_from_json(&ledger) else { return Ok(None) };
        state.ledger = ledger;
        Ok((state.checksum() == checksum).then_some(state))
    }

    /// Writes the row anew.
    pub(super) fn store(&self, conn: &Connection) -> rusqlite::Result<()> {
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
            ledger_to_json(&self.ledger),
        ])?;
        Ok(())
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
        for (key, tally) in entries(&self.ledger) {
            crc.update(key.as_bytes());
            crc.update(&tally.points.to_le_bytes());
            crc.update(&tally.bytes.to_le_bytes());
        }
        i64::from(crc.finalize())
    }
}

/// The ledger's key for everything that was ever accepted.
const ACCEPTED: &str = "accepted";

const COLUMNS: &str = "uuid, generation, life_first, seq_end, stamp_last, clean_stop, unclean_ends, commit_number, refused, \
     batches, points, bytes, quarantine_batches, quarantine_bytes, fate_floor, clock_ms, expiry_after_ms";

/// The ledger of a file that has a table for it, as it stands in the row otherwise.
const LEDGER_APART: &str = "(SELECT json_group_object(key, json_array(points, bytes)) FROM ledger)";

const REPLACE: &str = "INSERT OR REPLACE INTO spool (id, uuid, generation, life_first, seq_end, stamp_last, clean_stop, \
     unclean_ends, commit_number, refused, batches, points, bytes, quarantine_batches, quarantine_bytes, fate_floor, \
     clock_ms, expiry_after_ms, checksum, ledger) \
     VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)";

/// What the ledger holds, without the zeros, so that a fate added later does not spoil the checksums of old files.
fn entries(ledger: &Ledger) -> impl Iterator<Item = (&'static str, Tally)> {
    let fates = Fate::ALL.into_iter().map(|fate| (fate.key(), ledger.of(fate)));
    std::iter::once((ACCEPTED, ledger.accepted())).chain(fates).filter(|(_, tally)| !tally.is_zero())
}

/// As in `{"accepted":[7,700],"delivered":[5,500]}`.
fn ledger_to_json(ledger: &Ledger) -> String {
    let mut json = String::with_capacity(256);
    for (key, Tally { points, bytes, .. }) in entries(ledger) {
        let begin = if json.is_empty() { '{' } else { ',' };
        // Keys are plain words, and writing to a string does not fail.
        let _infallible = write!(json, "{begin}\"{key}\":[{points},{bytes}]");
    }
    json.push_str(if json.is_empty() { "{}" } else { "}" });
    json
}

/// `None` if that is no ledger. A key of no fate we know can only come from a damaged file or from a newer version that told
/// us so by its schema number.
fn ledger_from_json(json: &str) -> Option<Ledger> {
    let mut ledger = Ledger::default();
    for (key, (points, bytes)) in serde_json::from_str::<BTreeMap<String, (u64, u64)>>(json).ok()? {
        let tally = Tally::new(points, bytes);
        match Fate::from_key(&key) {
            Some(fate) => ledger.settle(fate, tally),
            None if key == ACCEPTED => ledger.accept(tally),
            None => {}
        }
    }
    Some(ledger)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_is_read_back_from_its_json() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger_to_json(&ledger), "{}");
        assert_eq!(ledger_from_json("{}"), Some(ledger.clone()));
        ledger.accept(Tally::new(7, 700));
        assert_eq!(ledger_to_json(&ledger), r#"{"accepted":[7,700]}"#);
        for (index, fate) in Fate::ALL.into_iter().enumerate() {
            ledger.settle(fate, Tally::new(index as u64, 10));
        }
        assert_eq!(ledger_from_json(&ledger_to_json(&ledger)), Some(ledger));
        for damaged in ["", "{", "[]", r#"{"accepted":7}"#, r#"{"accepted":[-1,0]}"#] {
            assert_eq!(ledger_from_json(damaged), None, "{damaged}");
        }
    }
}
