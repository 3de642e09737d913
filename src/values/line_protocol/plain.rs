//! The fast way for points with nothing special about them.
//!
//! Nearly every point is short, has its tags sorted and needs no escaping. This writes exactly those, and gives up on
//! any other, which is then written, or refused with a reason, by the careful way in [`encoder`](super::encoder).
//! What both can write they write alike; a test compares them.
//!
//! A line is made of some twenty texts, most of them under 16 bytes. A copy of variable length is a call that costs
//! more than such a text takes to write, and a `Vec` keeps its length in memory, where each append waits for the one
//! before. So texts are copied as words of eight bytes into a slice, the end of one overwritten by the next, and the
//! same words are looked at for special bytes on the way; what was found is asked for once, at the end.

use super::encoder::DefaultTag;
use super::keyed::{Field, Tag};
use super::keys;
use super::name::{self, Slot};
use super::rules::Unsigned;
use super::settings::Settings;
use crate::values::point::FieldRef;

/// Room for one line without its timestamp. It is zeroed for each point: twice a common line, and still few
/// nanoseconds.
const LINE_BYTES_MAX: usize = 512;

/// Appends the point as far as its fields; if there is anything special about it, `false`, and `out` is as before.
#[inline]
pub(crate) fn append<T: Tag, F: Field>(
    measurement: &str,
    tags: &[T],
    defaults: &[DefaultTag],
    fields: &[F],
    settings: &Settings,
    out: &mut Vec<u8>,
) -> bool {
    append_with(out, |line| {
        line.measurement(measurement)?;
        line.tags(tags, defaults)?;
        line.fields(fields, settings)
    })
}

/// Appends what `write` writes; if it gives up, `false`, and `out` is as before.
#[inline]
fn append_with(out: &mut Vec<u8>, write: impl FnOnce(&mut PlainLine<'_>) -> Option<()>) -> bool {
    let start = out.len();
    out.resize(start + LINE_BYTES_MAX, 0);
    let mut line = PlainLine { room: &mut out[start..], at: 0, specials: 0 };
    let is_whole = write(&mut line).is_some() && line.specials & repeat(0x80) == 0;
    let end = if is_whole { line.at } else { 0 };
    out.truncate(start + end);
    is_whole
}

/// A line being written. `None` from a method says that the line is not plain.
#[derive(Debug)]
struct PlainLine<'o> {
    room: &'o mut [u8],
    at: usize,
    /// The high bits of its bytes are set if a text held a special byte.
    specials: u64,
}

// Inlined by force: a call would send the position through memory for each text.
impl PlainLine<'_> {
    #[inline(always)]
    fn measurement(&mut self, name: &str) -> Option<()> {
        if name.starts_with('#') {
            return None;
        }
        self.name(name)
    }

    #[inline(always)]
    fn tags<T: Tag>(&mut self, tags: &[T], mut defaults: &[DefaultTag]) -> Option<()> {
        if !tags.is_sorted_by(|a, b| a.key() < b.key()) {
            return None;
        }
        for tag in tags {
            while let Some((default, rest)) = defaults.split_first()
                && default.key.as_str() <= tag.key()
            {
                if default.key != tag.key() {
                    self.copy(&default.escaped)?;
                }
                defaults = rest;
            }
            name::check_reserved(Slot::TagKey, tag.key().as_bytes()).ok()?;
            self.byte(b',')?;
            self.name(tag.key())?;
            self.byte(b'=')?;
            self.name(tag.value())?;
        }
        defaults.iter().try_for_each(|default| self.copy(&default.escaped))
    }

    #[inline(always)]
    fn fields<F: Field>(&mut self, fields: &[F], settings: &Settings) -> Option<()> {
        let start = self.at;
        for field in fields {
            name::check_reserved(Slot::FieldKey, field.key().as_bytes()).ok()?;
            self.byte(b',')?;
            self.name(field.key())?;
            self.byte(b'=')?;
            self.value(field.value(), settings)?;
        }
        if fields.is_empty() || keys::duplicate(fields.len(), |at| fields[at].key()).is_some() {
            return None;
        }
        self.room[start] = b' ';
        Some(())
    }

    #[inline(always)]
    fn value(&mut self, value: FieldRef<'_>, settings: &Settings) -> Option<()> {
        match value {
            FieldRef::Float(value) => self.float(value),
            FieldRef::Integer(value) => self.integer(value),
            FieldRef::Unsigned(value) => self.unsigned(value, settings),
            FieldRef::Boolean(value) => self.boolean(value),
            FieldRef::String(value) => self.string(value),
        }
    }

    #[inline(always)]
    fn float(&mut self, value: f64) -> Option<()> {
        if !value.is_finite() {
            return None;
        }
        self.copy(zmij::Buffer::new().format_finite(value).as_bytes())
    }

    #[inline(always)]
    fn integer(&mut self, value: i64) -> Option<()> {
        self.copy(itoa::Buffer::new().format(value).as_bytes())?;
        self.byte(b'i')
    }

    #[inline(always)]
    fn unsigned(&mut self, value: u64, settings: &Settings) -> Option<()> {
        if settings.unsigned == Unsigned::Refuse {
            return None;
        }
        self.copy(itoa::Buffer::new().format(value).as_bytes())?;
        self.byte(b'u')
    }

    #[inline(always)]
    fn boolean(&mut self, value: bool) -> Option<()> {
        self.byte(if value { b't' } else { b'f' })
    }

    #[inline(always)]
    fn string(&mut self, value: &str) -> Option<()> {
        self.byte(b'"')?;
        self.copy_looking(value.as_bytes(), special_in_strings)?;
        self.byte(b'"')
    }

    /// Copies a name in which nothing needs escaping, whatever it names.
    #[inline(always)]
    fn name(&mut self, name: &str) -> Option<()> {
        if name.is_empty() {
            return None;
        }
        self.copy_looking(name.as_bytes(), special_in_names)
    }

    #[inline(always)]
    fn copy(&mut self, text: &[u8]) -> Option<()> {
        self.copy_looking(text, |_| 0)
    }

    /// Copies a text and notes whether `specials` marks any of it. It must not mark the letter `a`.
    #[inline(always)]
    fn copy_looking(&mut self, text: &[u8], specials: impl Fn(u64) -> u64) -> Option<()> {
        let (Some(first), Some(last)) = (text.first_chunk::<8>(), text.last_chunk::<8>()) else {
            let word = short_word(text);
            *self.room.get_mut(self.at..)?.first_chunk_mut::<8>()? = word.to_le_bytes();
            self.specials |= specials(word | repeat(b'a').unbounded_shl(8 * text.len() as u32));
            self.at += text.len();
            return Some(());
        };
        let room = self.room.get_mut(self.at..self.at + text.len())?;
        if text.len() > 16 {
            let between = &text[8..text.len() - 8];
            self.specials |= specials_of_long(between, &specials);
            room[8..text.len() - 8].copy_from_slice(between);
        }
        // The last word may overlap the first, so that there is no remainder to go through.
        *room.first_chunk_mut::<8>()? = *first;
        *room.last_chunk_mut::<8>()? = *last;
        self.specials |= specials(u64::from_le_bytes(*first)) | specials(u64::from_le_bytes(*last));
        self.at += text.len();
        Some(())
    }

    #[inline(always)]
    fn byte(&mut self, byte: u8) -> Option<()> {
        *self.room.get_mut(self.at)? = byte;
        self.at += 1;
        Some(())
    }
}

/// Marks what needs escaping in some name: control characters, space, `,`, `=`, `\`.
#[inline(always)]
const fn special_in_names(word: u64) -> u64 {
    let low = low_bits(word);
    let controls_and_space = repeat(0x80 + b' ') - low;
    let found =
        controls_and_space | equal(low, b',') | equal(low, b'=') | equal(low, b'\\') | equal(low, 0x7f);
    found & !word
}

/// Marks what needs escaping in a string.
#[inline(always)]
const fn special_in_strings(word: u64) -> u64 {
    let low = low_bits(word);
    (equal(low, b'"') | equal(low, b'\\')) & !word
}

/// The bytes without their high bits, which leaves each byte room to be calculated with on its own. Bytes that had
/// them, those of characters beyond ASCII, are taken out of the result.
#[inline(always)]
const fn low_bits(word: u64) -> u64 {
    word & repeat(0x7f)
}

/// Sets the high bits of the bytes that are `byte`: 0x80 less anything is below 0x80, unless it is zero.
#[inline(always)]
const fn equal(low: u64, byte: u8) -> u64 {
    repeat(0x80) - (low ^ repeat(byte))
}

#[inline]
const fn repeat(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// Fewer than eight bytes in the low bytes of a word; above them zeros.
#[inline(always)]
fn short_word(text: &[u8]) -> u64 {
    // Two halves that overlap agree where they do.
    if let (Some(first), Some(last)) = (text.first_chunk::<4>(), text.last_chunk::<4>()) {
        let last = u64::from(u32::from_le_bytes(*last)) << (8 * (text.len() - 4));
        return u64::from(u32::from_le_bytes(*first)) | last;
    }
    match *text {
        [a, b, c] => u64::from_le_bytes([a, b, c, 0, 0, 0, 0, 0]),
        [a, b] => u64::from_le_bytes([a, b, 0, 0, 0, 0, 0, 0]),
        [a] => u64::from(a),
        _ => 0,
    }
}

#[inline(never)]
fn specials_of_long(text: &[u8], specials: &impl Fn(u64) -> u64) -> u64 {
    let (words, rest) = text.as_chunks::<8>();
    let rest = short_word(rest) | repeat(b'a').unbounded_shl(8 * rest.len() as u32);
    words.iter().fold(specials(rest), |found, word| found | specials(u64::from_le_bytes(*word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_special_byte_is_found_at_every_position_of_every_length() {
        for length in 1..=40 {
            for at in 0..length {
                // Bytes from 0x80 on occur only within characters, and are plain.
                for byte in 0..0x80_u8 {
                    let mut text = vec![b'x'; length];
                    text[at] = byte;
                    let is_plain = byte > b' ' && byte != 0x7f && !b",=\\".contains(&byte);
                    let text = String::from_utf8(text).unwrap();
                    let mut out = vec![7];
                    assert_eq!(append_with(&mut out, |line| line.name(&text)), is_plain, "{byte:#x} at {at}");
                    assert_eq!(&out[1..], if is_plain { text.as_bytes() } else { b"" });
                }
            }
        }
    }

    #[test]
    fn a_line_without_room_is_not_plain() {
        let long = "x".repeat(LINE_BYTES_MAX);
        assert!(append_with(&mut Vec::new(), |line| line.name(&long)));
        assert!(!append_with(&mut Vec::new(), |line| line.name(&format!("{long}x"))));
    }
}
