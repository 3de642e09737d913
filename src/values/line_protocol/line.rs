//! Lines that others wrote: splitting a text into points, and one point that was found good.

use std::ops::Range;

use super::decode;
use super::encoder::{Encoded, Encoder, KEY_BYTES_MAX, KEY_SEPARATOR_BYTES};
use super::keys;
use super::problem::{LineError, Part, Problem};
use super::raw::{self, Fault, Keys, Parts};
use crate::values::point::Point;

/// The points of a text, one by one, each good or with what is wrong about it. See [`Encoder::lines`].
///
/// ```
/// use influx_spool::{Encoder, LineRules, Precision};
/// let encoder = Encoder::new(Precision::Seconds, &LineRules::default())?;
/// let mut out = Vec::new();
/// let text = b"# a comment\ncpu,host=a usage=0.5 1\r\ncpu usage=high\ncpu note=\"two\nlines\"\n";
/// let mut refused = Vec::new();
/// for line in encoder.lines(text) {
///     match line {
///         Ok(line) => drop(line.write(|| 2, &mut out)),
///         Err(error) => refused.push(error.to_string()),
///     }
/// }
/// assert_eq!(out, b"cpu,host=a usage=0.5 1\ncpu note=\"two\nlines\" 2\n");
/// assert_eq!(refused, ["line 3, byte 11: field value is not a valid value"]);
/// # Ok::<(), influx_spool::PointError>(())
/// ```
#[derive(Debug)]
pub struct Lines<'a> {
    encoder: &'a Encoder,
    text: &'a [u8],
    at: usize,
    line: u64,
    /// Up to here the text is known to be UTF-8, which is found out once for all lines.
    utf8_until: usize,
    keys: Keys<'a>,
}

/// A point of a text that every server takes as it is.
#[derive(Clone, Debug)]
pub struct Line<'a> {
    encoder: &'a Encoder,
    text: &'a [u8],
    series: Range<usize>,
    fields: Range<usize>,
    timestamp: Option<raw::Timestamp>,
    range: Range<usize>,
    number: u64,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(encoder: &'a Encoder, text: &'a [u8]) -> Self {
        let utf8_until = match std::str::from_utf8(text) {
            Ok(_) => text.len(),
            Err(error) => error.valid_up_to(),
        };
        Self { encoder, text, at: 0, line: 1, utf8_until, keys: Keys::default() }
    }

    /// Passes over blank lines and comments; `false` at the end of the text.
    fn find_point(&mut self) -> bool {
        loop {
            while matches!(self.text.get(self.at), Some(b' ' | b'\t')) {
                self.at += 1;
            }
            if self.at == self.text.len() {
                return false;
            }
            if let Some(end) = raw::line_end(self.text, self.at) {
                self.at = end;
            } else if self.text[self.at] == b'#' {
                let rest = &self.text[self.at..];
                let length = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |at| at + 1);
                self.at += length;
            } else {
                return true;
            }
            self.line += 1;
        }
    }

    fn check(&self, start: usize, parts: &Parts) -> Result<(), Fault> {
        let fault = |part, problem| Err(Fault { part, problem, at: start });
        let Keys { tags, fields } = &self.keys;
        // Escaping is unambiguous in what was accepted, so equal keys are equal bytes.
        if !tags.is_sorted_by(|a, b| a < b) && keys::duplicate(tags.len(), |at| tags[at]).is_some() {
            return fault(Part::TagKey, Problem::Duplicate);
        }
        if keys::duplicate(fields.len(), |at| fields[at]).is_some() {
            return fault(Part::FieldKey, Problem::Duplicate);
        }
        if parts.fields.end - start > KEY_BYTES_MAX / 2 && self.key_bytes(&parts.series) > KEY_BYTES_MAX {
            return fault(Part::Series, Problem::TooLong);
        }
        if parts.end > self.utf8_until && std::str::from_utf8(&self.text[start..parts.end]).is_err() {
            return fault(Part::Line, Problem::NotUtf8);
        }
        Ok(())
    }

    /// The length by which servers limit series: with the default tags, and the longest field key.
    fn key_bytes(&self, series: &Range<usize>) -> usize {
        let missing = self.encoder.default_tags().iter().filter(|default| {
            let key = default.escaped_key();
            !self.keys.tags.iter().any(|tag| *tag == key)
        });
        let longest_field = self.keys.fields.iter().map(|key| key.len()).max().unwrap_or(0);
        let defaults: usize = missing.map(|default| default.escaped.len()).sum();
        series.len() + defaults + KEY_SEPARATOR_BYTES + longest_field
    }

    /// Passes over a bad line as far as servers would.
    fn refuse(&mut self, start: usize, fault: Fault) -> LineError {
        let end = match fault.problem {
            Problem::UnbalancedQuote => self.text.len(),
            _ => raw::malformed_line_end(self.text, start),
        };
        let line = self.line;
        self.at = end;
        self.line += self.text[start..end].iter().map(|byte| u64::from(*byte == b'\n')).sum::<u64>();
        let column = fault.at - start + 1;
        LineError { line, column, part: fault.part, problem: fault.problem, range: start..end }
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = Result<Line<'a>, LineError>;

    fn next(&mut self) -> Option<Self::Item> {
        if !self.find_point() {
            return None;
        }
        let start = self.at;
        let parts = raw::read(self.text, start, self.encoder.settings(), &mut self.keys)
            .and_then(|parts| self.check(start, &parts).map(|()| parts));
        let parts = match parts {
            Ok(parts) => parts,
            Err(fault) => return Some(Err(self.refuse(start, fault))),
        };
        let number = self.line;
        self.at = parts.end;
        self.line += 1 + parts.newlines;
        Some(Ok(Line {
            encoder: self.encoder,
            text: self.text,
            series: parts.series,
            fields: parts.fields,
            timestamp: parts.timestamp,
            range: start..parts.end,
            number,
        }))
    }
}

impl Line<'_> {
    /// Appends the line: with the default tags that it has not, a timestamp, and a newline; without blanks at either
    /// end. `stamp` is asked for a timestamp, in units of the precision, if the line has none.
    #[inline]
    pub fn write(&self, stamp: impl FnOnce() -> i64, out: &mut Vec<u8>) -> Encoded {
        out.extend_from_slice(&self.text[self.series.clone()]);
        self.write_default_tags(out);
        out.push(b' ');
        out.extend_from_slice(&self.text[self.fields.clone()]);
        out.push(b' ');
        let timestamp_nanos = match &self.timestamp {
            Some(timestamp) => {
                out.extend_from_slice(&self.text[timestamp.digits.clone()]);
                timestamp.nanos
            }
            None => {
                let units = stamp();
                out.extend_from_slice(itoa::Buffer::new().format(units).as_bytes());
                units.saturating_mul(self.encoder.precision().nanoseconds())
            }
        };
        out.push(b'\n');
        Encoded { timestamp_nanos }
    }

    /// What the line says, as a point. The timestamp stays in the precision of the encoder.
    #[must_use]
    pub fn to_point(&self) -> Point {
        let units = self.timestamp.as_ref().map(|timestamp| timestamp.units);
        decode::point(&self.text[self.series.clone()], &self.text[self.fields.clone()], units)
    }

    /// Whether the line has a timestamp of its own.
    #[must_use]
    pub const fn has_timestamp(&self) -> bool {
        self.timestamp.is_some()
    }

    /// The number of the line on which the point begins, from 1.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// The bytes of the text that the point was read from, the newline at the end included.
    ///
    /// If they reach to the end of the text and end without a newline, more text might have changed the point.
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    fn write_default_tags(&self, out: &mut Vec<u8>) {
        let defaults = self.encoder.default_tags();
        if defaults.is_empty() {
            return;
        }
        let series = &self.text[self.series.clone()];
        for default in defaults {
            if !decode::tags(series).any(|(key, _)| key == default.escaped_key()) {
                out.extend_from_slice(&default.escaped);
            }
        }
    }
}
