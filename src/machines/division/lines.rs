//! A body taken apart into the lines of its points.

use bytes::{Bytes, BytesMut};

use crate::machines::codec::{self, BodyError};
use crate::values::batch::Batch;

/// The plain lines of one batch. The first is the point of the batch's first number, and so on.
#[derive(Debug)]
pub(crate) struct Lines {
    plain: Bytes,
    /// Where each line begins, and where the last one ends.
    starts: Vec<u32>,
}

impl Lines {
    /// # Errors
    /// The body is not what the batch says it is.
    pub(crate) fn of(batch: &Batch) -> Result<Self, BodyError> {
        let plain = codec::decode_body(batch.codec, batch.raw_len, &batch.body)?;
        let mut starts = vec![0];
        let mut at = 0;
        while at < plain.len() {
            at += line_len(&plain[at..]);
            starts.push(u32::try_from(at).map_err(|_| BodyError::Length { expected: batch.raw_len })?);
        }
        let lines = Self { plain, starts };
        if lines.count() as u64 == batch.points() {
            Ok(lines)
        } else {
            Err(BodyError::Length { expected: batch.raw_len })
        }
    }

    pub(crate) const fn count(&self) -> usize {
        self.starts.len() - 1
    }

    /// All of them, by index.
    pub(crate) fn all(&self) -> Vec<u32> {
        (0..).take(self.count()).collect()
    }

    /// One line, its newline included; empty if there is none of this index.
    pub(crate) fn get(&self, index: u32) -> &[u8] {
        &self.plain[self.range(index, index)]
    }

    /// Bytes of these lines.
    pub(crate) fn bytes_of(&self, indexes: &[u32]) -> u64 {
        indexes.iter().map(|index| self.range(*index, *index).len() as u64).sum()
    }

    /// The lines from one to another, both included, without a copy.
    pub(crate) fn slice(&self, first: u32, last: u32) -> Bytes {
        self.plain.slice(self.range(first, last))
    }

    /// These lines in the order given; without a copy if they are neighbours.
    pub(crate) fn gather(&self, indexes: &[u32]) -> Bytes {
        let (Some(&first), Some(&last)) = (indexes.first(), indexes.last()) else { return Bytes::new() };
        if indexes.windows(2).all(|pair| pair[0] + 1 == pair[1]) {
            return self.slice(first, last);
        }
        let mut gathered = BytesMut::new();
        for index in indexes {
            gathered.extend_from_slice(self.get(*index));
        }
        gathered.freeze()
    }

    /// The timestamp of a line, in the unit it is written in; 0 if it has none.
    pub(crate) fn timestamp(&self, index: u32) -> i64 {
        let line = self.get(index).trim_ascii_end();
        let stamp = line.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
        std::str::from_utf8(stamp).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    fn range(&self, first: u32, last: u32) -> std::ops::Range<usize> {
        let start = |index: u32| self.starts.get(index as usize).map_or(self.plain.len(), |at| *at as usize);
        start(first)..start(last.saturating_add(1))
    }
}

/// How long the first line is, its newline included. Lines are normalised, so a newline ends one unless it stands inside
/// the quotes of a string field, and quotes open nothing before the first unescaped space.
pub(crate) fn line_len(lines: &[u8]) -> usize {
    let (mut in_fields, mut in_string) = (false, false);
    let mut at = 0;
    while at < lines.len() {
        match lines[at] {
            b'\\' => at += 1,
            b'"' if in_fields => in_string = !in_string,
            b' ' => in_fields = true,
            b'\n' if !in_string => return at + 1,
            _ => {}
        }
        at += 1;
    }
    lines.len()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::values::batch::{Codec, Destination, TimeSpan};
    use crate::values::seq::SeqRange;

    fn batch(points: u64, body: &'static [u8]) -> Batch {
        Batch {
            seqs: SeqRange::starting_at(1, points),
            destination: Arc::new(Destination::new("plant")),
            codec: Codec::Identity,
            raw_len: body.len() as u64,
            span: TimeSpan::at(1),
            created_ms: 0,
            body: Bytes::from_static(body),
        }
    }

    const TEXT: &[u8] = b"m\\ \"x v=\"a\nb\\\"\nc\" 1\nm v=2 2\nm v=\"\\\\\" -3\n";

    #[test]
    fn lines_are_counted_as_points_not_as_newlines() {
        let lines = Lines::of(&batch(3, TEXT)).unwrap();
        let texts: Vec<&[u8]> = (0..4).map(|index| lines.get(index)).collect();
        assert_eq!(texts[1..], [b"m v=2 2\n" as &[u8], b"m v=\"\\\\\" -3\n", b""]);
        assert_eq!(texts[0].len() + texts[1].len() + texts[2].len(), TEXT.len());
        let stamps: Vec<_> = (0..4).map(|index| lines.timestamp(index)).collect();
        assert_eq!(stamps, [1, 2, -3, 0]);
    }

    #[test]
    fn what_is_gathered_is_those_lines_in_that_order() {
        let lines = Lines::of(&batch(3, TEXT)).unwrap();
        assert_eq!(lines.gather(&[0, 1, 2]), TEXT);
        assert_eq!(lines.gather(&[2, 1]), b"m v=\"\\\\\" -3\nm v=2 2\n" as &[u8]);
        assert_eq!(lines.gather(&[]), b"" as &[u8]);
        assert_eq!(lines.bytes_of(&[1, 2]), 8 + 12);
    }

    #[test]
    fn a_body_with_another_number_of_lines_is_an_error() {
        assert!(Lines::of(&batch(2, TEXT)).is_err());
        assert!(Lines::of(&batch(4, TEXT)).is_err());
    }
}
