//! Names and tag values: which can be written, and how.

use super::problem::Problem;
use super::rules::Portability;

/// Where a name stands; the characters that need escaping differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    Measurement,
    TagKey,
    TagValue,
    FieldKey,
}

impl Slot {
    /// Whether a backslash before a quote is dropped here by 1.x and 2.x, though 3.x keeps it.
    pub(crate) const fn drops_backslash_before_quote(self) -> bool {
        matches!(self, Self::Measurement | Self::FieldKey)
    }
}

/// Appends `name`, escaped. What was appended before an error is left to the caller to take back.
pub(crate) fn write(
    slot: Slot,
    name: &str,
    portability: Portability,
    out: &mut Vec<u8>,
) -> Result<(), Problem> {
    let name = name.as_bytes();
    if name.is_empty() {
        return Err(Problem::Empty);
    }
    let mut copied = 0;
    for (at, &byte) in name.iter().enumerate() {
        if escapes(slot, byte, name.get(at + 1).copied(), portability)? {
            out.extend_from_slice(&name[copied..at]);
            out.push(b'\\');
            copied = at;
        }
    }
    out.extend_from_slice(&name[copied..]);
    Ok(())
}

/// Whether a backslash belongs before a byte of a name, with `next` behind it.
#[inline(always)]
pub(crate) fn escapes(
    slot: Slot,
    byte: u8,
    next: Option<u8>,
    portability: Portability,
) -> Result<bool, Problem> {
    match byte {
        0..0x20 | 0x7f => Err(Problem::ControlCharacter),
        b'\\' => check_backslash(slot, next, portability).map(|()| false),
        b'=' => Ok(slot != Slot::Measurement),
        b',' | b' ' => Ok(true),
        _ => Ok(false),
    }
}

/// How long a key that can be written becomes by escaping.
pub(crate) fn escaped_len(key: &[u8]) -> usize {
    key.len() + key.iter().filter(|byte| matches!(byte, b',' | b' ' | b'=')).count()
}

/// Whether a backslash that is meant as one is kept by every server, with `next` behind it.
pub(crate) fn check_backslash(slot: Slot, next: Option<u8>, portability: Portability) -> Result<(), Problem> {
    match next {
        None => Err(Problem::TrailingBackslash),
        Some(b',' | b' ' | b'=') => Err(Problem::AmbiguousBackslash),
        Some(b'"') if slot.drops_backslash_before_quote() => Err(Problem::AmbiguousBackslash),
        Some(b'\\') if portability == Portability::AllVersions => Err(Problem::DoubleBackslash),
        Some(_) => Ok(()),
    }
}

/// Refuses the names that servers keep for themselves: 1.x drops a field called `time` in silence and refuses such
/// a tag, 2.x refuses tags called `_measurement` and `_field` as well.
#[inline]
pub(crate) fn check_reserved(slot: Slot, key: &[u8]) -> Result<(), Problem> {
    let is_reserved = match key.first() {
        Some(b't') => key == b"time",
        Some(b'_') if slot == Slot::TagKey => key == b"_measurement" || key == b"_field",
        _ => false,
    };
    if is_reserved { Err(Problem::ReservedName) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(slot: Slot, name: &str, portability: Portability) -> Result<String, Problem> {
        let mut out = Vec::new();
        write(slot, name, portability, &mut out).map(|()| String::from_utf8(out).unwrap())
    }

    #[test]
    fn separators_are_escaped_where_servers_need_it() {
        let all = Portability::AllVersions;
        assert_eq!(written(Slot::Measurement, "a b,c=d\"", all), Ok("a\\ b\\,c=d\"".into()));
        for slot in [Slot::TagKey, Slot::TagValue, Slot::FieldKey] {
            assert_eq!(written(slot, "a b,c=d\"", all), Ok("a\\ b\\,c\\=d\"".into()));
        }
    }

    #[test]
    fn a_backslash_is_written_only_where_it_survives() {
        for slot in [Slot::Measurement, Slot::TagKey, Slot::TagValue, Slot::FieldKey] {
            for portability in [Portability::AllVersions, Portability::V1AndV2] {
                assert_eq!(written(slot, "a\\b", portability), Ok("a\\b".into()));
                assert_eq!(written(slot, "a\\", portability), Err(Problem::TrailingBackslash));
                for next in [",", " ", "="] {
                    let name = format!("a\\{next}b");
                    assert_eq!(written(slot, &name, portability), Err(Problem::AmbiguousBackslash));
                }
            }
            assert_eq!(written(slot, "\\\\a", Portability::AllVersions), Err(Problem::DoubleBackslash));
            assert_eq!(written(slot, "\\\\a", Portability::V1AndV2), Ok("\\\\a".into()));
        }
        assert_eq!(written(Slot::TagValue, "\\\"", Portability::AllVersions), Ok("\\\"".into()));
        assert_eq!(
            written(Slot::FieldKey, "\\\"", Portability::AllVersions),
            Err(Problem::AmbiguousBackslash)
        );
    }
}
