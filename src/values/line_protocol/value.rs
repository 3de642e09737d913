//! Field values: their types, and how each is written.

use super::problem::Problem;
use super::rules::{Portability, Unsigned, Unwritable};
use super::settings::Settings;
use super::texts::{self, Quoted};
use crate::values::point::FieldRef;

/// InfluxDB 3.x refuses longer strings; 1.x and 2.x have no limit of their own.
pub(crate) const STRING_BYTES_MAX: usize = 65_536;

/// Whether a value was written or, under a rule, left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// It was written.
    Yes,
    /// It was left out.
    LeftOut,
}

#[inline]
pub(crate) fn write(value: FieldRef<'_>, settings: &Settings, out: &mut Vec<u8>) -> Result<Written, Problem> {
    match value {
        FieldRef::Float(value) => write_float(value, settings, out),
        FieldRef::Integer(value) => Ok(write_integer(value, out)),
        FieldRef::Unsigned(value) => write_unsigned(value, settings, out),
        FieldRef::Boolean(value) => Ok(write_boolean(value, out)),
        FieldRef::String(value) => write_string(value, settings, out),
    }
}

#[inline]
pub(crate) fn write_float(value: f64, settings: &Settings, out: &mut Vec<u8>) -> Result<Written, Problem> {
    if value.is_finite() {
        out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
        return Ok(Written::Yes);
    }
    match settings.non_finite {
        Unwritable::Refuse => Err(Problem::NotFinite),
        Unwritable::Skip => Ok(Written::LeftOut),
    }
}

#[inline]
pub(crate) fn write_integer(value: i64, out: &mut Vec<u8>) -> Written {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    out.push(b'i');
    Written::Yes
}

#[inline]
pub(crate) fn write_unsigned(value: u64, settings: &Settings, out: &mut Vec<u8>) -> Result<Written, Problem> {
    if settings.unsigned == Unsigned::Refuse {
        return Err(Problem::Unsigned);
    }
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    out.push(b'u');
    Ok(Written::Yes)
}

#[inline]
pub(crate) fn write_boolean(value: bool, out: &mut Vec<u8>) -> Written {
    out.push(if value { b't' } else { b'f' });
    Written::Yes
}

/// Any text is taken, control characters and newlines too: servers keep them, and since what we write is never
/// malformed, no error of theirs quotes a value.
#[inline]
pub(crate) fn write_string(value: &str, settings: &Settings, out: &mut Vec<u8>) -> Result<Written, Problem> {
    if value.len() > STRING_BYTES_MAX && settings.portability == Portability::AllVersions {
        return Err(Problem::TooLong { bytes_max: STRING_BYTES_MAX });
    }
    out.push(b'"');
    let bytes = value.as_bytes();
    let mut copied = 0;
    // Backslashes are doubled even where a server would take a single one: decoders of other
    // projects turn `\n` into a newline.
    while let Some(found) = texts::find::<Quoted>(&bytes[copied..]) {
        out.extend_from_slice(&bytes[copied..copied + found]);
        out.extend_from_slice(&[b'\\', bytes[copied + found]]);
        copied += found + 1;
    }
    out.extend_from_slice(&bytes[copied..]);
    out.push(b'"');
    Ok(Written::Yes)
}
