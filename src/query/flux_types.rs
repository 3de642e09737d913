//! The columns of Flux, and what may stand in them.

use std::fmt;

/// A column of a table that Flux answered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FluxColumn {
    /// Its name.
    pub name: String,
    /// What stands in it.
    pub datatype: FluxType,
    /// Whether the tables were grouped by it: then it holds one value in all rows of a table.
    pub is_group: bool,
    /// What an empty cell means; empty itself if it means nothing.
    pub default: String,
}

/// What stands in a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FluxType {
    /// Text.
    String,
    /// A float, NaN and the infinities included.
    Double,
    /// A signed integer.
    Long,
    /// An unsigned integer.
    UnsignedLong,
    /// A boolean.
    Boolean,
    /// A moment.
    Time,
    /// A span of time. One of calendar units (`1mo`, `1y`), which have no fixed length, comes as text.
    Duration,
    /// Bytes.
    Base64Binary,
}

impl FluxType {
    /// The type that an annotation names.
    pub(super) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "string" => Self::String,
            "double" => Self::Double,
            "long" => Self::Long,
            "unsignedLong" => Self::UnsignedLong,
            "boolean" => Self::Boolean,
            "dateTime:RFC3339" | "dateTime:RFC3339Nano" | "dateTime" => Self::Time,
            "duration" => Self::Duration,
            "base64Binary" => Self::Base64Binary,
            _ => return None,
        })
    }
}

/// As annotations spell it.
impl fmt::Display for FluxType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::String => "string",
            Self::Double => "double",
            Self::Long => "long",
            Self::UnsignedLong => "unsignedLong",
            Self::Boolean => "boolean",
            Self::Time => "dateTime:RFC3339",
            Self::Duration => "duration",
            Self::Base64Binary => "base64Binary",
        })
    }
}

/// The nanoseconds of a span such as `1h20m30.13245s`; `None` if it is none, has calendar units, or does not fit.
pub(super) fn duration(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut nanos: i128 = 0;
    while !rest.is_empty() {
        let number = &rest[..rest.find(|c: char| !c.is_ascii_digit() && c != '.')?];
        rest = &rest[number.len()..];
        let unit = &rest[..rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len())];
        rest = &rest[unit.len()..];
        nanos = nanos.checked_add(times(number, nanos_in(unit)?)?)?;
    }
    i64::try_from(sign * nanos).ok().filter(|_| !text.trim_start_matches('-').is_empty())
}

/// `number`, which may have a fraction, times `unit`.
fn times(number: &str, unit: i128) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: i128 = if whole.is_empty() && !fraction.is_empty() { 0 } else { whole.parse().ok()? };
    let digits = fraction.get(..fraction.len().min(18))?;
    let part = if digits.is_empty() { 0 } else { digits.parse::<i128>().ok()? };
    let scale = 10_i128.checked_pow(u32::try_from(digits.len()).ok()?)?;
    whole.checked_mul(unit)?.checked_add(part * unit / scale)
}

const fn nanos_in(unit: &str) -> Option<i128> {
    Some(match unit.as_bytes() {
        b"ns" => 1,
        b"us" | b"\xc2\xb5s" | b"\xce\xbcs" => 1_000,
        b"ms" => 1_000_000,
        b"s" => 1_000_000_000,
        b"m" => 60_000_000_000,
        b"h" => 3_600_000_000_000,
        b"d" => 24 * 3_600_000_000_000,
        b"w" => 7 * 24 * 3_600_000_000_000,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_in_every_unit() {
        assert_eq!(duration("1m1s"), Some(61_000_000_000));
        assert_eq!(duration("1h20m30.13245s"), Some(4_830_132_450_000));
        assert_eq!(duration("-1.5ms"), Some(-1_500_000));
        assert_eq!(duration("1w2d3µs4ns"), Some(9 * 86_400_000_000_000 + 3_004));
        assert_eq!(duration(".5s"), Some(500_000_000));
        assert_eq!(duration("0"), Some(0));
        assert_eq!(duration("-9223372036854775808ns"), Some(i64::MIN));
    }

    #[test]
    fn what_has_no_fixed_length_is_none() {
        for text in [
            "1mo",
            "1y",
            "",
            "-",
            "s",
            "1",
            "1.s.",
            "..s",
            "1h-2m",
            "9223372036854775808ns",
            "99999999999999999999999999w",
        ] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
