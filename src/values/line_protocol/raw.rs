//! Reading one raw line, strictly: what passes here is kept alike by every server.
//!
//! The grammar is the part that the parsers of 1.x, 2.x and 3.x have in common. Each restriction stands for
//! one that some server has: no digit before or behind the point (3.x), `+` (all), a tab between the
//! sections (1.x), `NaN` (all), a backslash before a separator (they differ), a key twice (3.x breaks the table).

use std::ops::Range;

use super::name::{self, Slot};
use super::problem::{Part, Problem};
use super::rules::{Portability, Unsigned};
use super::settings::Settings;
use super::value::STRING_BYTES_MAX;

/// Where the parts of a line lie in the text.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) series: Range<usize>,
    pub(crate) fields: Range<usize>,
    pub(crate) timestamp: Option<Timestamp>,
    /// Where the next line begins.
    pub(crate) end: usize,
    /// How many newlines the strings hold.
    pub(crate) newlines: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Timestamp {
    pub(crate) units: i64,
    pub(crate) nanos: i64,
    pub(crate) digits: Range<usize>,
}

/// What is wrong, in which part, and where it was noticed.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) part: Part,
    pub(crate) problem: Problem,
    pub(crate) at: usize,
}

/// The escaped keys of a line, for finding those that occur twice. Kept between lines to save the allocation.
#[derive(Debug, Default)]
pub(crate) struct Keys<'a> {
    pub(crate) tags: Vec<&'a [u8]>,
    pub(crate) fields: Vec<&'a [u8]>,
}

/// Reads the point that begins at `start`, which is neither blank nor a comment.
pub(crate) fn read<'a>(
    text: &'a [u8],
    start: usize,
    settings: &Settings,
    keys: &mut Keys<'a>,
) -> Result<Parts, Fault> {
    keys.tags.clear();
    keys.fields.clear();
    let mut reader = Reader { text, at: start, settings, newlines: 0 };
    let series = reader.series(keys)?;
    reader.skip_spaces();
    let fields = reader.fields(keys)?;
    reader.skip_spaces();
    let timestamp = reader.timestamp()?;
    let Some(end) = line_end(text, reader.at) else {
        return Err(reader.fault(Part::Timestamp, Problem::InvalidTimestamp));
    };
    Ok(Parts { series, fields, timestamp, end, newlines: reader.newlines })
}

/// Where the next line begins, if the text's end, a newline, or a carriage return before either is at `at`.
#[inline]
pub(crate) fn line_end(text: &[u8], at: usize) -> Option<usize> {
    match text.get(at) {
        None => Some(at),
        Some(b'\n') => Some(at + 1),
        Some(b'\r') => match text.get(at + 1) {
            None => Some(at + 1),
            Some(b'\n') => Some(at + 2),
            Some(_) => None,
        },
        Some(_) => None,
    }
}

/// Where servers see the end of a line that they cannot read: an open quote behind an `=` swallows newlines.
///
/// The rules are those of 1.x, which 3.x has taken over, applied to bytes that may be anything.
pub(crate) fn malformed_line_end(text: &[u8], start: usize) -> usize {
    let mut at = start;
    let (mut in_fields, mut in_quotes) = (false, false);
    let (mut equals, mut commas) = (0_u64, 0_u64);
    while let Some(&byte) = text.get(at) {
        match byte {
            b'\\' if at + 2 < text.len() => at += 1,
            b' ' => in_fields = true,
            b'=' if in_fields && !in_quotes => equals += 1,
            b',' if in_fields && !in_quotes => commas += 1,
            b'"' if in_fields && equals > commas => in_quotes = !in_quotes,
            b'\n' if !in_quotes => return at + 1,
            _ => {}
        }
        at += 1;
    }
    text.len()
}

struct Reader<'a, 's> {
    text: &'a [u8],
    at: usize,
    settings: &'s Settings,
    newlines: u64,
}

impl<'a> Reader<'a, '_> {
    /// `measurement,key=value,…`
    fn series(&mut self, keys: &mut Keys<'a>) -> Result<Range<usize>, Fault> {
        let start = self.at;
        self.name(Slot::Measurement, Part::Measurement)?;
        while self.peek() == Some(b',') {
            self.at += 1;
            let key = self.key(Slot::TagKey, Part::TagKey)?;
            keys.tags.push(key);
            self.name(Slot::TagValue, Part::TagValue)?;
        }
        match self.peek() {
            Some(b' ') => Ok(start..self.at),
            Some(b'=') => Err(self.fault(Part::TagValue, Problem::StraySeparator)),
            _ => Err(self.fault(Part::Fields, Problem::NoFields)),
        }
    }

    /// `key=value,…`
    fn fields(&mut self, keys: &mut Keys<'a>) -> Result<Range<usize>, Fault> {
        let start = self.at;
        if line_end(self.text, start).is_some() {
            return Err(self.fault(Part::Fields, Problem::NoFields));
        }
        loop {
            let key = self.key(Slot::FieldKey, Part::FieldKey)?;
            keys.fields.push(key);
            self.value().map_err(|problem| self.fault(Part::FieldValue, problem))?;
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b' ') => return Ok(start..self.at),
                _ if line_end(self.text, self.at).is_some() => return Ok(start..self.at),
                _ => return Err(self.fault(Part::FieldValue, Problem::InvalidValue)),
            }
        }
    }

    fn timestamp(&mut self) -> Result<Option<Timestamp>, Fault> {
        if line_end(self.text, self.at).is_some() {
            return Ok(None);
        }
        let start = self.at;
        self.skip(b'-');
        if self.digits() == 0 {
            return Err(self.fault(Part::Timestamp, Problem::InvalidTimestamp));
        }
        let digits = start..self.at;
        let (units, nanos) = parsed::<i64>(&self.text[digits.clone()])
            .and_then(|units| self.settings.check_units(units))
            .map_err(|problem| self.fault(Part::Timestamp, problem))?;
        self.skip_spaces();
        Ok(Some(Timestamp { units, nanos, digits }))
    }

    /// A key and the `=` behind it.
    #[inline]
    fn key(&mut self, slot: Slot, part: Part) -> Result<&'a [u8], Fault> {
        let range = self.name(slot, part)?;
        if !self.skip(b'=') {
            return Err(self.fault(part, Problem::NoEquals));
        }
        let key = &self.text[range.clone()];
        name::check_reserved(slot, key).map_err(|problem| Fault { part, problem, at: range.start })?;
        Ok(key)
    }

    /// A name or tag value, up to the first separator that is not escaped.
    #[inline]
    fn name(&mut self, slot: Slot, part: Part) -> Result<Range<usize>, Fault> {
        let start = self.at;
        loop {
            while self.peek().is_some_and(|byte| IS_PLAIN[usize::from(byte)]) {
                self.at += 1;
            }
            match self.peek() {
                Some(b'\\') => {
                    self.backslashes(slot).map_err(|problem| self.fault(part, problem))?;
                }
                Some(b'=') if slot == Slot::Measurement => self.at += 1,
                None | Some(b',' | b' ' | b'=') => break,
                Some(_) if line_end(self.text, self.at).is_some() => break,
                Some(_) => return Err(self.fault(part, Problem::ControlCharacter)),
            }
        }
        if self.at == start {
            return Err(self.fault(part, Problem::Empty));
        }
        Ok(start..self.at)
    }

    /// One backslash that escapes, or any number that are meant.
    fn backslashes(&mut self, slot: Slot) -> Result<(), Problem> {
        let count = self.text[self.at..].iter().take_while(|byte| **byte == b'\\').count();
        let behind = self.at + count;
        let next = if line_end(self.text, behind).is_some() { None } else { Some(self.text[behind]) };
        let escapes = matches!(next, Some(b',' | b' ')) || (next == Some(b'=') && slot != Slot::Measurement);
        if count == 1 && escapes {
            self.at += 2;
            return Ok(());
        }
        if count > 1 && self.settings.portability == Portability::AllVersions {
            return Err(Problem::DoubleBackslash);
        }
        name::check_backslash(slot, next, self.settings.portability)?;
        self.at = behind;
        Ok(())
    }

    fn value(&mut self) -> Result<(), Problem> {
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => self.boolean(),
        }
    }

    fn string(&mut self) -> Result<(), Problem> {
        self.at += 1;
        let start = self.at;
        let mut escapes = 0;
        loop {
            match self.peek() {
                None => return Err(Problem::UnbalancedQuote),
                Some(b'"') => break,
                Some(b'\\') if matches!(self.text.get(self.at + 1), Some(b'"' | b'\\')) => {
                    escapes += 1;
                    self.at += 1;
                }
                Some(b'\n') => self.newlines += 1,
                Some(_) => {}
            }
            self.at += 1;
        }
        let length = self.at - start - escapes;
        self.at += 1;
        if length > STRING_BYTES_MAX && self.settings.portability == Portability::AllVersions {
            return Err(Problem::TooLong { bytes_max: STRING_BYTES_MAX });
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), Problem> {
        let start = self.at;
        let is_negative = self.skip(b'-');
        let digits = self.digits();
        if digits == 0 {
            return Err(Problem::InvalidValue);
        }
        match self.peek() {
            Some(b'i') => {
                let number = &self.text[start..self.at];
                self.at += 1;
                check_range::<i64>(number)
            }
            Some(b'u') if !is_negative => {
                let number = &self.text[start..self.at];
                self.at += 1;
                if self.settings.unsigned == Unsigned::Refuse {
                    return Err(Problem::Unsigned);
                }
                check_range::<u64>(number)
            }
            _ => self.fraction_and_exponent(start),
        }
    }

    fn fraction_and_exponent(&mut self, start: usize) -> Result<(), Problem> {
        if self.skip(b'.') && self.digits() == 0 {
            return Err(Problem::InvalidValue);
        }
        let mut exponent_digits = 0;
        if self.skip(b'e') || self.skip(b'E') {
            let _ = self.skip(b'-') || self.skip(b'+');
            exponent_digits = self.digits();
            if exponent_digits == 0 {
                return Err(Problem::InvalidValue);
            }
        }
        let number = &self.text[start..self.at];
        // At most 200 digits times ten to the 99th is below the greatest float, of 309 digits.
        if number.len() <= 200 && exponent_digits <= 2 {
            return Ok(());
        }
        let is_finite = parsed::<f64>(number).is_ok_and(f64::is_finite);
        if is_finite { Ok(()) } else { Err(Problem::OutOfRange) }
    }

    fn boolean(&mut self) -> Result<(), Problem> {
        const SPELLINGS: [&[u8]; 10] =
            [b"true", b"false", b"t", b"f", b"T", b"F", b"True", b"False", b"TRUE", b"FALSE"];
        let rest = &self.text[self.at..];
        let length = rest.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
        if !SPELLINGS.contains(&&rest[..length]) {
            return Err(Problem::InvalidValue);
        }
        self.at += length;
        Ok(())
    }

    fn skip_spaces(&mut self) {
        while self.skip(b' ') {}
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        self.at - start
    }

    #[inline]
    fn skip(&mut self, byte: u8) -> bool {
        let is_there = self.peek() == Some(byte);
        self.at += usize::from(is_there);
        is_there
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    #[cold]
    fn fault(&self, part: Part, problem: Problem) -> Fault {
        Fault { part, problem, at: self.at }
    }
}

/// Bytes of a name that mean nothing but themselves.
static IS_PLAIN: [bool; 256] = {
    let mut plain = [true; 256];
    let mut byte = 0;
    while byte <= 0x20 {
        plain[byte] = false;
        byte += 1;
    }
    plain[0x7f] = false;
    plain[b',' as usize] = false;
    plain[b'=' as usize] = false;
    plain[b'\\' as usize] = false;
    plain
};

fn check_range<T: std::str::FromStr>(number: &[u8]) -> Result<(), Problem> {
    // Up to 18 digits fit in 64 bits whatever they are.
    if number.len() <= 18 { Ok(()) } else { parsed::<T>(number).map(drop) }
}

/// The number that these digits stand for; the grammar has been checked, so only the range can be wrong.
fn parsed<T: std::str::FromStr>(number: &[u8]) -> Result<T, Problem> {
    std::str::from_utf8(number).ok().and_then(|text| text.parse().ok()).ok_or(Problem::OutOfRange)
}
