//! From chunks of input to points pushed.

use influx_spool::{
    DatabaseHandle, Encoder, LineRules, Point, Precision, PushReason, RefusedItem, RefusedReason,
};

use crate::args::Format;
use crate::carry::{Carry, LINE_BYTES_MAX, Piece};
use crate::input::{End, Input};
use crate::refusals::Refusals;

/// Pushes what the input holds, waiting for room instead of letting anything slide.
#[derive(Debug)]
pub(crate) struct Feed {
    db: DatabaseHandle,
    format: Format,
    /// Tells where points end, as the database's own does.
    encoder: Encoder,
    refusals: Refusals,
    /// Lines taken so far: each is accepted, refused, blank or a comment.
    lines: u64,
}

/// What came of the input.
#[derive(Debug)]
pub(crate) struct Fed {
    /// Lines taken from the input.
    pub(crate) lines: u64,
    /// Points refused among them.
    pub(crate) refused: u64,
    pub(crate) end: End,
}

/// The database takes no more.
#[derive(Debug)]
struct Stopped;

impl Feed {
    /// # Errors
    /// As [`Encoder::new`].
    pub(crate) fn new(
        db: DatabaseHandle,
        format: Format,
        precision: Precision,
        refusals: Refusals,
    ) -> anyhow::Result<Self> {
        let encoder = Encoder::new(precision, &LineRules::default())?;
        Ok(Self { db, format, encoder, refusals, lines: 0 })
    }

    /// Pushes everything. Blocks the thread while there is no input or no room, until the database is stopped.
    pub(crate) fn run(mut self, input: &Input) -> Fed {
        let mut carry = Carry::default();
        let end = loop {
            match input.next_chunk() {
                Ok(chunk) => carry.add(&chunk),
                Err(end) => break end,
            }
            if self.push_whole(&mut carry).is_err() {
                break End::Interrupted;
            }
        };
        // After an interruption the last line is one that was cut off: its beginning could pass for a whole line.
        if !matches!(end, End::Interrupted) {
            let _ = self.push_text(&carry.rest());
        }
        Fed { lines: self.lines, refused: self.refusals.total(), end }
    }

    fn push_whole(&mut self, carry: &mut Carry) -> Result<(), Stopped> {
        let (format, encoder) = (self.format, self.encoder.clone());
        while let Some(piece) = carry.next_piece(|text| whole(format, &encoder, text)) {
            match piece {
                Piece::Lines(text) => self.push_text(&text)?,
                Piece::Overlong => {
                    let line = self.lines + 1;
                    self.refusals.add(format_args!("line {line}: longer than {LINE_BYTES_MAX} bytes"));
                }
            }
        }
        Ok(())
    }

    fn push_text(&mut self, text: &[u8]) -> Result<(), Stopped> {
        match self.format {
            Format::Line => self.push_lines(text)?,
            Format::Json => self.push_json(text)?,
        }
        self.take(text);
        Ok(())
    }

    fn push_lines(&mut self, text: &[u8]) -> Result<(), Stopped> {
        let report = self.db.blocking_push_line(text);
        for RefusedItem { index, reason, .. } in report.refused {
            match reason {
                RefusedReason::Push(PushReason::Stopped) => {
                    self.lines += index as u64;
                    return Err(Stopped);
                }
                RefusedReason::Line(error) => self.refusals.add(error.below(self.lines)),
                other => self.refusals.add(format_args!("line {}: {other}", self.lines + index as u64 + 1)),
            }
        }
        Ok(())
    }

    fn push_json(&mut self, text: &[u8]) -> Result<(), Stopped> {
        for (index, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
            let number = self.lines + 1 + index as u64;
            if line.trim_ascii().is_empty() {
                continue;
            }
            let point: Point = match serde_json::from_slice(line) {
                Ok(point) => point,
                Err(error) => {
                    self.refusals.add(format_args!("line {number}: {error}"));
                    continue;
                }
            };
            match self.db.blocking_push(point).map_err(|error| error.reason) {
                Ok(_) => {}
                Err(PushReason::Stopped) => {
                    self.lines += index as u64;
                    return Err(Stopped);
                }
                Err(reason) => self.refusals.add(format_args!("line {number}: {reason}")),
            }
        }
        Ok(())
    }

    fn take(&mut self, text: &[u8]) {
        let ends = text.iter().map(|byte| u64::from(*byte == b'\n')).sum::<u64>();
        self.lines += ends + u64::from(!text.is_empty() && !text.ends_with(b"\n"));
    }
}

/// How much of a text that ends with a newline holds points that nothing behind it could change.
///
/// A newline may stand within a string, and where a bad line ends may be told by what follows: so if the last line
/// is bad it waits.
fn whole(format: Format, encoder: &Encoder, text: &[u8]) -> usize {
    // Without these two bytes a newline ends a point, and there is no need to read it all twice.
    if format == Format::Json || !(text.contains(&b'"') || text.contains(&b'\\')) {
        return text.len();
    }
    match encoder.lines(text).last() {
        Some(Err(error)) if error.range().end == text.len() => error.range().start,
        _ => text.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_whole(text: &str, expected: &str) {
        let encoder = Encoder::new(Precision::Nanoseconds, &LineRules::default()).unwrap();
        assert_eq!(&text[..whole(Format::Line, &encoder, text.as_bytes())], expected);
    }

    #[test]
    fn a_point_whose_end_is_not_certain_waits() {
        check_whole("m f=1\nm f=2\n", "m f=1\nm f=2\n");
        check_whole("m f=1\nm f=\"a\n", "m f=1\n");
        check_whole("m f=1\nm f=\"a\nb\"\n", "m f=1\nm f=\"a\nb\"\n");
        check_whole("m f=1\nm f=x,g=\"a\n", "m f=1\n");
        check_whole("m f=1\nm,a=b\\\n", "m f=1\n");
        check_whole("m f=x\n# \"\n", "m f=x\n# \"\n");
    }
}
