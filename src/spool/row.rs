//! One batch as a row: its columns, its checksum, and the way back.

use std::sync::Arc;

use bytes::Bytes;
use rusqlite::Row;
use rusqlite::types::{FromSql, Value};

use super::origin::Origin;
use crate::values::batch::{Batch, Codec, Destination, TimeSpan};
use crate::values::seq::SeqRange;

/// Columns of the tables that hold bodies, by which rows are told apart on a page that belongs to neither.
pub(super) const BATCH_COLUMNS: usize = 13;
pub(super) const QUARANTINE_COLUMNS: usize = 19;
/// Those of `batch` where it has an id of its own: in older files.
pub(super) const BATCH_COLUMNS_BY_ID: usize = 14;

/// A row as it lies in the file, true to its columns whether they make sense or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoredBatch {
    pub(super) id: i64,
    pub(super) first_seq: i64,
    pub(super) last_seq: i64,
    pub(super) points: i64,
    pub(super) dest: String,
    pub(super) codec: String,
    pub(super) raw_len: i64,
    pub(super) earliest: i64,
    pub(super) latest: i64,
    pub(super) created_ms: i64,
    pub(super) origin: String,
    pub(super) parent: Option<i64>,
    pub(super) checksum: i64,
    pub(super) body: Bytes,
}

impl StoredBatch {
    /// The row of a new batch, whose id the table will give. `dest` is the destination as JSON.
    pub(super) fn new(batch: &Batch, dest: &str, origin: Origin) -> Self {
        let mut row = Self {
            id: 0,
            first_seq: int(batch.seqs.first),
            last_seq: int(batch.seqs.last),
            points: int(batch.points()),
            dest: dest.to_owned(),
            codec: codec_name(batch.codec).to_owned(),
            raw_len: int(batch.raw_len),
            earliest: batch.span.earliest,
            latest: batch.span.latest,
            created_ms: batch.created_ms,
            origin: origin.text(),
            parent: origin.parent(),
            checksum: 0,
            body: batch.body.clone(),
        };
        row.checksum = row.computed_checksum();
        row
    }

    /// Reads the row's id and the columns of `batch` in their order. A column of the wrong type is taken as empty: the checksum will tell.
    pub(super) fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            first_seq: lenient(row, 1)?,
            last_seq: lenient(row, 2)?,
            points: lenient(row, 3)?,
            dest: lenient(row, 4)?,
            codec: lenient(row, 5)?,
            raw_len: lenient(row, 6)?,
            earliest: lenient(row, 7)?,
            latest: lenient(row, 8)?,
            created_ms: lenient(row, 9)?,
            origin: lenient(row, 10)?,
            parent: lenient(row, 11)?,
            checksum: lenient(row, 12)?,
            body: row.get_ref(13)?.as_blob().map(Bytes::copy_from_slice).unwrap_or_default(),
        })
    }

    /// The same from the columns of a record, of any table that has them: the body is the last one.
    pub(super) fn from_values(id: i64, values: &[Value]) -> Option<Self> {
        // The number under which it lies stands outside the record.
        let outside = usize::from(values.len() == BATCH_COLUMNS);
        let number = |index: usize| match values.get(index - outside) {
            Some(Value::Integer(number)) => Some(*number),
            _ => None,
        };
        let text = |index: usize| match values.get(index - outside) {
            Some(Value::Text(text)) => Some(text.clone()),
            _ => None,
        };
        let Some(Value::Blob(body)) = values.last() else { return None };
        let (last_seq, points) = (number(2)?, number(3)?);
        Some(Self {
            id,
            first_seq: match outside {
                0 => number(1)?,
                _ => last_seq.checked_sub(points)?.checked_add(1)?,
            },
            last_seq,
            points,
            dest: text(4)?,
            codec: text(5)?,
            raw_len: number(6)?,
            earliest: number(7)?,
            latest: number(8)?,
            created_ms: number(9)?,
            origin: text(10)?,
            parent: number(11),
            checksum: number(12)?,
            body: Bytes::copy_from_slice(body),
        })
    }

    pub(super) fn is_intact(&self) -> bool {
        self.checksum == self.computed_checksum()
    }

    /// The batch, or `None` if the row is not what was stored.
    pub(super) fn batch(&self) -> Option<Batch> {
        if !self.is_intact() {
            return None;
        }
        let seqs = self.seqs()?;
        Some(Batch {
            seqs,
            destination: Arc::new(serde_json::from_str::<Destination>(&self.dest).ok()?),
            codec: codec_from_name(&self.codec)?,
            raw_len: u64::try_from(self.raw_len).ok()?,
            span: TimeSpan { earliest: self.earliest, latest: self.latest },
            created_ms: self.created_ms,
            body: self.body.clone(),
        })
    }

    /// The numbers the row holds, if they are possible ones.
    pub(super) fn seqs(&self) -> Option<SeqRange> {
        let first = u64::try_from(self.first_seq).ok()?;
        let last = u64::try_from(self.last_seq).ok()?;
        let points = u64::try_from(self.points).ok()?;
        (first > 0 && last >= first && last - first + 1 == points).then_some(SeqRange { first, last })
    }

    pub(super) fn computed_checksum(&self) -> i64 {
        let mut crc = crc32fast::Hasher::new();
        let parent = self.parent.unwrap_or(0);
        for number in [
            self.first_seq,
            self.last_seq,
            self.points,
            self.raw_len,
            self.earliest,
            self.latest,
            self.created_ms,
            parent,
        ] {
            crc.update(&number.to_le_bytes());
        }
        for text in [&self.dest, &self.codec, &self.origin] {
            // The length keeps neighbours apart: "ab" + "c" is not "a" + "bc".
            crc.update(&(text.len() as u64).to_le_bytes());
            crc.update(text.as_bytes());
        }
        crc.update(&self.body);
        i64::from(crc.finalize())
    }
}

/// A count as SQLite stores it. Nothing we count reaches 2^63.
pub(super) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A stored count. One that is negative is damage, and counts for nothing.
pub(super) fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

pub(super) const fn codec_name(codec: Codec) -> &'static str {
    match codec {
        Codec::Identity => "identity",
        Codec::Gzip => "gzip",
    }
}

pub(super) fn codec_from_name(name: &str) -> Option<Codec> {
    [Codec::Identity, Codec::Gzip].into_iter().find(|codec| codec_name(*codec) == name)
}

/// What a column holds, or nothing if it holds something of another type. Failures to read the file stay failures.
fn lenient<T: FromSql + Default>(row: &Row<'_>, index: usize) -> rusqlite::Result<T> {
    match row.get(index) {
        Ok(value) => Ok(value),
        Err(rusqlite::Error::SqliteFailure(failure, text)) => {
            Err(rusqlite::Error::SqliteFailure(failure, text))
        }
        Err(_) => Ok(T::default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> StoredBatch {
        let batch = Batch {
            seqs: SeqRange::starting_at(7, 3),
            destination: Arc::new(Destination::new("plant")),
            codec: Codec::Identity,
            raw_len: 6,
            span: TimeSpan::at(5),
            created_ms: 9,
            body: Bytes::from_static(b"a\nb\nc\n"),
        };
        let dest = serde_json::to_string(&*batch.destination).unwrap();
        StoredBatch::new(&batch, &dest, Origin::Live)
    }

    #[test]
    fn the_checksum_covers_every_column_that_does_not_change() {
        type Change = fn(&mut StoredBatch);
        let changes: [Change; 12] = [
            |row| row.first_seq += 1,
            |row| row.last_seq += 1,
            |row| row.points += 1,
            |row| row.dest.push(' '),
            |row| row.codec.push(' '),
            |row| row.raw_len += 1,
            |row| row.earliest += 1,
            |row| row.latest += 1,
            |row| row.created_ms += 1,
            |row| row.origin.push(' '),
            |row| row.parent = Some(1),
            |row| row.body = Bytes::from_static(b"a\nb\nd\n"),
        ];
        assert!(row().is_intact());
        for (index, change) in changes.into_iter().enumerate() {
            let mut changed = row();
            change(&mut changed);
            assert!(!changed.is_intact(), "change {index}");
            assert_eq!(changed.batch(), None, "change {index}");
        }
    }

    #[test]
    fn a_row_gives_back_its_batch() {
        let batch = row().batch().unwrap();
        assert_eq!((batch.seqs.first, batch.points(), &batch.body[..]), (7, 3, &b"a\nb\nc\n"[..]));
    }
}
