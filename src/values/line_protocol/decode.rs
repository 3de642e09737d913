//! From a line that was checked back to its values.

use std::borrow::Cow;

use crate::values::point::{FieldValue, Point, PointTime, Text};

/// The point of a checked line.
pub(crate) fn point(series: &[u8], fields: &[u8], timestamp: Option<i64>) -> Point {
    let (measurement, _) = split_unescaped(series, b',');
    Point {
        measurement: unescaped(measurement, b", "),
        tags: tags(series).map(|(key, value)| (unescaped(key, b", ="), unescaped(value, b", ="))).collect(),
        fields: Fields(fields).map(|(key, value)| (unescaped(key, b", ="), field_value(value))).collect(),
        timestamp: timestamp.map(PointTime::Units),
    }
}

/// The escaped keys and values of a checked series' tags.
pub(crate) fn tags(series: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let (_, mut rest) = split_unescaped(series, b',');
    std::iter::from_fn(move || {
        let (tag, behind) = split_unescaped(rest?, b',');
        rest = behind;
        let (key, value) = split_unescaped(tag, b'=');
        Some((key, value.unwrap_or_default()))
    })
}

struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (key, rest) = split_unescaped(self.0, b'=');
        let rest = rest?;
        let length = match rest {
            [b'"', string @ ..] => string_len(string) + 2,
            _ => rest.iter().position(|byte| *byte == b',').unwrap_or(rest.len()),
        };
        let (value, behind) = rest.split_at(length);
        self.0 = behind.strip_prefix(b",").unwrap_or_default();
        Some((key, value))
    }
}

/// The bytes before the closing quote.
fn string_len(string: &[u8]) -> usize {
    let mut at = 0;
    while at < string.len() && string[at] != b'"' {
        at += 1 + usize::from(string[at] == b'\\' && matches!(string.get(at + 1), Some(b'"' | b'\\')));
    }
    at
}

/// What is before the first `separator` without a backslash, and what is behind it.
fn split_unescaped(text: &[u8], separator: u8) -> (&[u8], Option<&[u8]>) {
    let is_separator = |at: &usize| text[*at] == separator && (*at == 0 || text[*at - 1] != b'\\');
    match (0..text.len()).find(is_separator) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

fn unescaped(text: &[u8], escapable: &[u8]) -> Text {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, behind)) = rest.split_first() {
        let next = behind.first().filter(|next| byte == b'\\' && escapable.contains(next));
        plain.push(*next.unwrap_or(&byte));
        rest = &behind[usize::from(next.is_some())..];
    }
    owned_text(&plain)
}

fn field_value(value: &[u8]) -> FieldValue {
    let number = |suffix: usize| String::from_utf8_lossy(&value[..value.len() - suffix]).into_owned();
    match value {
        [b'"', string @ .., b'"'] => FieldValue::String(unescaped(string, b"\"\\")),
        [b't' | b'T', ..] => FieldValue::Boolean(true),
        [b'f' | b'F', ..] => FieldValue::Boolean(false),
        [.., b'i'] => FieldValue::Integer(number(1).parse().unwrap_or_default()),
        [.., b'u'] => FieldValue::Unsigned(number(1).parse().unwrap_or_default()),
        _ => FieldValue::Float(number(0).parse().unwrap_or(f64::NAN)),
    }
}

fn owned_text(text: &[u8]) -> Text {
    Cow::Owned(String::from_utf8_lossy(text).into_owned())
}
