//! Lines that others wrote: splitting a text into points, and one point that was found good.

use std::ops::Range;

use super::decode;
use super::encoder::{Encoded, Encoder, KEY_BYTES_MAX, KEY_SEPARATOR_BYTES, KEY_TOO_LONG};
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
        if self.key_bytes_at_most(start, parts) > KEY_BYTES_MAX
            && self.key_bytes(&parts.series) > KEY_BYTES_MAX
        {
            return fault(Part::Series, KEY_TOO_LONG);
        }
        if parts.end > self.utf8_until && std::str::from_utf8(&self.text[start..parts.end]).is_err() {
            return fault(Part::Line, Problem::NotUtf8);
        }
        Ok(())
    }

    /// What [`key_bytes`](Self::key_bytes) is at most, found without looking at the keys.
    fn key_bytes_at_most(&self, start: usize, parts: &Parts) -> usize {
        let defaults: usize = self.encoder.default_tags().iter().map(|default| default.escaped.len()).sum();
        parts.fields.end - start + defaults + KEY_SEPARATOR_BYTES
    }

    /// The length by which servers limit series: with the default tags, and the longest field key.
    fn key_bytes(&self, series: &Range<usize>) -> usize {
        let missing = self.encoder.default_tags().iter().filter(|default| {
            let key = default.escaped_key();
            !self.keys.tags.contains(&key)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::line_protocol::rules::{LineRules, Portability, Unsigned};
    use crate::values::precision::Precision;

    fn encoder(change: impl FnOnce(&mut LineRules)) -> Encoder {
        let mut rules = LineRules::default();
        change(&mut rules);
        Encoder::new(Precision::Seconds, &rules).unwrap()
    }

    /// The lines written, and the errors, each with a newline.
    fn read(encoder: &Encoder, text: impl AsRef<[u8]>) -> (String, String) {
        let (mut out, mut errors) = (Vec::new(), String::new());
        for line in encoder.lines(text.as_ref()) {
            match line {
                Ok(line) => drop(line.write(|| 7, &mut out)),
                Err(error) => errors += &format!("{error}\n"),
            }
        }
        (String::from_utf8(out).unwrap(), errors)
    }

    #[track_caller]
    fn check_kept(text: &str) {
        assert_eq!(read(&encoder(|_| ()), text), (format!("{text} 7\n"), String::new()));
    }

    #[track_caller]
    fn check_refused(text: impl AsRef<[u8]>, expected: &str) {
        assert_eq!(read(&encoder(|_| ()), text), (String::new(), format!("line 1, byte {expected}\n")));
    }

    #[test]
    fn what_every_server_takes_is_kept() {
        check_kept("m f=1");
        check_kept("m,a=b,c=d f=1i,g=-1.5e-3,h=t,i=\"x\"");
        check_kept("m\\ \\,=\",a\\==\\ b\\\" f\\=\"=1");
        check_kept("m\\x,a\\b=c\\d e\\f=1");
        check_kept("m f=\"a\\\\\",g=\"\\\"\",h=\"\\n\n,= \"");
        check_kept("m f=007i,g=-0,h=1e308,i=1E+5,j=9223372036854775807i,k=-9223372036854775808i");
        for spelling in ["t", "T", "true", "True", "TRUE", "f", "F", "false", "False", "FALSE"] {
            check_kept(&format!("m f={spelling}"));
        }
    }

    #[test]
    fn what_some_server_refuses_or_reads_differently_is_refused() {
        check_refused("m", "2: fields: there are none");
        check_refused("m,a=b", "6: fields: there are none");
        check_refused("m ", "3: fields: there are none");
        check_refused("m 5", "4: field key has no '='");
        check_refused(",a=b f=1", "1: measurement is empty");
        check_refused("m,=b f=1", "3: tag key is empty");
        check_refused("m,a= f=1", "5: tag value is empty");
        check_refused("m,a=b=c f=1", "6: tag value holds an unescaped separator");
        check_refused("m,a f=1", "4: tag key has no '='");
        check_refused("m,a=b,a=c f=1", "1: tag key occurs twice");
        check_refused("m f=1,f=2", "1: field key occurs twice");
        check_refused("m,time=1 f=1", "3: tag key has a reserved name");
        check_refused("m,_field=1 f=1", "3: tag key has a reserved name");
        check_refused("m time=1", "3: field key has a reserved name");
        check_refused("m f=1, g=2", "7: field key is empty");
        for value in
            [".5", "5.", "+1", "1_0", "0x10", "NaN", "Inf", "-inf", "1e", "1.5i", "tRUE", "'x'", "-1u", "--1"]
        {
            let (kept, errors) = read(&encoder(|_| ()), format!("m f={value}"));
            assert_eq!(
                (kept.as_str(), errors.contains("is not a valid value")),
                ("", true),
                "{value}: {errors}"
            );
        }
        check_refused("m f=1e400", "10: field value is out of range");
        check_refused("m f=9223372036854775808i", "25: field value is out of range");
        check_refused(
            "m f=1u",
            "7: field value is an unsigned integer, which InfluxDB 1.x refuses (see the rule `unsigned`)",
        );
        check_refused("m f=1 1.5", "8: timestamp is not an integer");
        check_refused("m f=1 5 5", "9: timestamp is not an integer");
        check_refused("m f=1\t5", "6: field value is not a valid value");
        check_refused("m f=1 9223372037", "17: timestamp is out of range");
        check_refused("m f=\"x", "7: field value has no closing quote");
        check_refused("m\0 f=1", "2: measurement holds a control character");
        check_refused("m,a=b\rc f=1", "6: tag value holds a control character");
        check_refused(b"m\xff f=1", "1: line is not UTF-8");
        check_refused(
            format!("m f=\"{}\"", "x".repeat(65_537)),
            "65544: field value is longer than 65536 bytes",
        );
        check_refused(
            format!("m,a={} f=1", "x".repeat(65_527)),
            "1: series with its longest field key is longer than 65531 bytes",
        );
    }

    #[test]
    fn what_ends_or_wedges_a_server_is_refused() {
        // These end the process of influxd 1.6.7.
        check_refused(r#"0 \\="=""#, "3: field key has two backslashes in a row, which InfluxDB 3.x alters");
        check_refused(r#"m \0=","=3,"=""#, "9: field value is not a valid value");
        let old = encoder(|rules| rules.portability = Portability::V1AndV2);
        assert_eq!(read(&old, r#"0 \\="=""#).0, "");
        // This is answered by 500, whenever it is sent.
        check_refused(format!("m{} f=1", ",a=b".repeat(200)), "1: tag key occurs twice");
    }

    #[test]
    fn blank_lines_comments_and_carriage_returns_are_left_out() {
        let text = "\n  \r\n# x=\"\n\t#y\r\n  m  f=1   5  \r\nm f=2\r";
        assert_eq!(read(&encoder(|_| ()), text), ("m f=1 5\nm f=2 7\n".into(), String::new()));
    }

    #[test]
    fn a_bad_line_ends_where_servers_see_its_end() {
        let text = "m f=1\nm f=x,s=\"a\nb\" 5\nm f=2\nm s=\"\nm f=3\n";
        let (kept, errors) = read(&encoder(|_| ()), text);
        assert_eq!(kept, "m f=1 7\nm f=2 7\n");
        assert_eq!(
            errors,
            "line 2, byte 5: field value is not a valid value\nline 5, byte 13: field value has no closing quote\n"
        );
        let encoder = encoder(|_| ());
        let last = encoder.lines(text.as_bytes()).last().unwrap().unwrap_err();
        assert!(last.is_incomplete());
        assert_eq!(&text[last.range()], "m s=\"\nm f=3\n");
    }

    #[test]
    fn default_tags_are_added_where_a_line_has_none_of_that_key() {
        let encoder = encoder(|rules| {
            rules.default_tags = [("a".into(), "x".into()), ("b ".into(), "y".into())].into();
        });
        assert_eq!(read(&encoder, "m f=1").0, "m,a=x,b\\ =y f=1 7\n");
        assert_eq!(read(&encoder, "m,b\\ =1 f=1").0, "m,b\\ =1,a=x f=1 7\n");
    }

    #[test]
    fn the_rules_widen_what_is_kept() {
        let unsigned = encoder(|rules| rules.unsigned = Unsigned::Write);
        assert_eq!(read(&unsigned, "m f=18446744073709551615u").0, "m f=18446744073709551615u 7\n");
        assert_eq!(read(&unsigned, "m f=18446744073709551616u").0, "");
        let old = encoder(|rules| rules.portability = Portability::V1AndV2);
        assert_eq!(read(&old, r"m,a=\\b f=1").0, "m,a=\\\\b f=1 7\n");
        assert_eq!(read(&old, r"m,a=\\,b f=1").0, "");
    }
}
