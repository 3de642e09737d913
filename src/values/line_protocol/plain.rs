//! The fast way for points with nothing special about them.
//!
//! Nearly every point is short, has its tags sorted and needs no escaping. This writes exactly those, and gives up on
//! any other, which is then written, or refused with a reason, by the careful way in [`encoder`](super::encoder).
//! What both can write they write alike; a test compares them.
//!
//! A line is made of some twenty texts, most of them under 16 bytes. A copy of variable length is a call that costs
//! more than such a text takes to write, and a `Vec` keeps its length in memory, where each append waits for the one
//! before. So texts are copied in chunks of eight or sixteen bytes into a slice, the end of one overwritten by the next,
//! and the same chunks are looked at for special bytes on the way; what was found is asked for once, at the end. (Looking
//! at the whole line at once afterwards takes fewer instructions and twice as long: the processor waits until the chunks
//! it wrote can be read back.)

use std::cmp::Ordering;

use wide::bytemuck::cast;
use wide::u8x16;

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

/// The first number of nineteen digits.
const NINETEEN_DIGITS_MIN: i64 = 10_i64.pow(18);

/// The sign and the digits of the longest timestamp.
const TIME_DIGITS_MAX: usize = 20;

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
#[inline(always)]
pub(crate) fn append_with(out: &mut Vec<u8>, write: impl FnOnce(&mut PlainLine<'_>) -> Option<()>) -> bool {
    let start = out.len();
    out.resize(start + LINE_BYTES_MAX, 0);
    let mut line = PlainLine { room: &mut out[start..], at: 0, specials: u8x16::ZERO };
    let is_plain = write(&mut line).is_some() && !line.specials.any();
    let end = if is_plain { line.at } else { 0 };
    out.truncate(start + end);
    is_plain
}

/// Appends a space, a timestamp and the newline.
#[inline]
pub(crate) fn append_time(units: i64, out: &mut Vec<u8>) {
    // As one text: each append to a vector looks after its length and its room.
    if units >= NINETEEN_DIGITS_MIN {
        out.extend_from_slice(&time_of_nineteen_digits(units.unsigned_abs()));
        out.truncate(out.len() - 3);
        return;
    }
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(units).as_bytes();
    let mut text = [b' '; 1 + TIME_DIGITS_MAX + 1];
    text[1..=digits.len()].copy_from_slice(digits);
    text[1 + digits.len()] = b'\n';
    out.extend_from_slice(&text[..digits.len() + 2]);
}

/// The space, nineteen digits, the newline, and three bytes too many. Nanoseconds have so many digits from September 2001 on.
///
/// It is put together in words: the processor waits until bytes that were written one by one can be read back together.
#[inline(always)]
fn time_of_nineteen_digits(units: u64) -> [u8; 24] {
    let (head, rest) = (units / 10_u64.pow(16), units % 10_u64.pow(16));
    // The last three digits of eight, and the space in the place of the zero before them.
    let head = ((eight_digits(head) >> 32) & !0xff) | u64::from(b' ');
    let upper = eight_digits(rest / 10_u64.pow(8));
    let lower = eight_digits(rest % 10_u64.pow(8));
    let newline = u64::from(b'\n');
    let words = [head | (upper << 32), (upper >> 32) | (lower << 32), (lower >> 32) | (newline << 32)];
    cast(words.map(u64::to_le))
}

/// All eight digits of a number below 10^8, found side by side in one word, the first in its lowest byte: Paul Khuong, "How
/// to print integers really fast", 2017,
/// <https://pvk.ca/Blog/2017/12/22/appnexus-common-framework-its-out-also-how-to-print-integers-faster/>.
#[inline(always)]
const fn eight_digits(number: u64) -> u64 {
    // Two numbers of four digits, four of two, eight of one; what is more significant in the lower bytes. The products divide
    // by 100 and by 10, exactly as long as the numbers are as small as here.
    let fours = (number / 10_000) | ((number % 10_000) << 32);
    let hundreds = ((fours * 10_486) >> 20) & 0x7f_0000_007f;
    let twos = hundreds | ((fours - 100 * hundreds) << 16);
    let tens = ((twos * 103) >> 10) & 0x000f_000f_000f_000f;
    let ones = tens | ((twos - 10 * tens) << 8);
    ones | repeat(b'0')
}

/// A line being written. `None` from a method says that the line is not plain.
#[derive(Debug)]
pub(crate) struct PlainLine<'o> {
    room: &'o mut [u8],
    at: usize,
    /// Not zero if a text held a special byte.
    specials: u8x16,
}

// Inlined by force: a call would send the position through memory for each text.
impl PlainLine<'_> {
    /// Something that is known to be good, of any length.
    #[inline(always)]
    pub(crate) fn known(&mut self, text: &[u8]) -> Option<()> {
        self.room.get_mut(self.at..self.at + text.len())?.copy_from_slice(text);
        self.at += text.len();
        Some(())
    }

    #[inline(always)]
    fn measurement(&mut self, name: &str) -> Option<()> {
        if name.is_empty() || name.starts_with('#') {
            return None;
        }
        self.at = self.copy(0, name.as_bytes(), special_in_names)?;
        Some(())
    }

    #[inline(always)]
    fn tags<T: Tag>(&mut self, tags: &[T], mut defaults: &[DefaultTag]) -> Option<()> {
        let mut last = "";
        for tag in tags {
            let (key, value) = (tag.key(), tag.value());
            while let Some((default, rest)) = defaults.split_first()
                && default.key.as_str() <= key
            {
                if default.key != key {
                    self.known(&default.escaped)?;
                }
                defaults = rest;
            }
            // An empty key is none, too: it does not come after the first of all.
            if !is_before(last, key) || value.is_empty() {
                return None;
            }
            last = key;
            name::check_reserved(Slot::TagKey, key.as_bytes()).ok()?;
            self.text(b',', key.as_bytes(), special_in_names)?;
            self.text(b'=', value.as_bytes(), special_in_names)?;
        }
        defaults.iter().try_for_each(|default| self.known(&default.escaped))
    }

    #[inline(always)]
    fn fields<F: Field>(&mut self, fields: &[F], settings: &Settings) -> Option<()> {
        let mut separator = b' ';
        let mut marks = 0_u64;
        let mut is_unique = true;
        for field in fields {
            let key = field.key().as_bytes();
            name::check_reserved(Slot::FieldKey, key).ok()?;
            self.text(std::mem::replace(&mut separator, b','), key, special_in_names)?;
            self.value(field.value(), settings)?;
            // Keys that are equal have equal marks; of those that differ most have marks that do.
            let mark = 1_u64.rotate_left(u32::from(*key.first()?) + 5 * key.len() as u32);
            is_unique &= marks & mark == 0;
            marks |= mark;
        }
        let is_unique = is_unique || keys::duplicate(fields.len(), |at| fields[at].key()).is_none();
        (is_unique && !fields.is_empty()).then_some(())
    }

    /// A field of which the name is known to be good.
    #[inline(always)]
    pub(crate) fn field(
        &mut self,
        separator: u8,
        name: &[u8],
        value: FieldRef<'_>,
        settings: &Settings,
    ) -> Option<()> {
        self.text(separator, name, nothing)?;
        self.value(value, settings)
    }

    /// `=` and the value.
    #[inline(always)]
    fn value(&mut self, value: FieldRef<'_>, settings: &Settings) -> Option<()> {
        match value {
            FieldRef::Float(value) if value.is_finite() => {
                self.text(b'=', zmij::Buffer::new().format_finite(value).as_bytes(), nothing)
            }
            FieldRef::Integer(value) => {
                self.text(b'=', itoa::Buffer::new().format(value).as_bytes(), nothing)?;
                self.byte(b'i')
            }
            FieldRef::Unsigned(value) if settings.unsigned == Unsigned::Write => {
                self.text(b'=', itoa::Buffer::new().format(value).as_bytes(), nothing)?;
                self.byte(b'u')
            }
            FieldRef::Boolean(value) => self.text(b'=', if value { b"t" } else { b"f" }, nothing),
            FieldRef::String(value) => {
                self.byte(b'=')?;
                self.text(b'"', value.as_bytes(), special_in_strings)?;
                self.byte(b'"')
            }
            FieldRef::Float(_) | FieldRef::Unsigned(_) => None,
        }
    }

    /// One byte, and a text of any length.
    #[inline(always)]
    fn text(&mut self, before: u8, text: &[u8], specials: impl Fn(u8x16) -> u8x16) -> Option<()> {
        *self.room.get_mut(self.at)? = before;
        self.at = self.copy(self.at + 1, text, specials)?;
        Some(())
    }

    #[inline(always)]
    fn byte(&mut self, byte: u8) -> Option<()> {
        *self.room.get_mut(self.at)? = byte;
        self.at += 1;
        Some(())
    }

    /// Copies a text and notes whether `specials` marks any of it. It must not mark the letter `a`. Returns where the text ends.
    #[inline(always)]
    fn copy(&mut self, at: usize, text: &[u8], specials: impl Fn(u8x16) -> u8x16) -> Option<usize> {
        let room = self.room.get_mut(at..)?;
        // The last chunk may overlap the first, so that there is no remainder to go through.
        if let (Some(first), Some(last)) = (text.first_chunk::<16>(), text.last_chunk::<16>()) {
            let room = room.get_mut(..text.len())?;
            if text.len() > 32 {
                let between = &text[16..text.len() - 16];
                self.specials |= specials_of_long(between, &specials);
                room[16..text.len() - 16].copy_from_slice(between);
            }
            *room.first_chunk_mut()? = *first;
            *room.last_chunk_mut()? = *last;
            self.specials |= specials(u8x16::new(*first)) | specials(u8x16::new(*last));
        } else if let (Some(first), Some(last)) = (text.first_chunk::<8>(), text.last_chunk::<8>()) {
            let room = room.get_mut(..text.len())?;
            *room.first_chunk_mut()? = *first;
            *room.last_chunk_mut()? = *last;
            self.specials |= specials(cast([*first, *last]));
        } else {
            let word = short_word(text);
            *room.first_chunk_mut()? = word.to_le_bytes();
            let filled = word | repeat(b'a').unbounded_shl(8 * text.len() as u32);
            self.specials |= specials(cast([filled, repeat(b'a')]));
        }
        Some(at + text.len())
    }
}

/// Marks what needs escaping in some name: control characters, space, `,`, `=`, `\`.
#[inline(always)]
fn special_in_names(text: u8x16) -> u8x16 {
    let controls_and_space = text.min(u8x16::splat(b' ')).simd_eq(text);
    controls_and_space | equal(text, 0x7f) | equal(text, b',') | equal(text, b'=') | equal(text, b'\\')
}

/// Marks what needs escaping in a string.
#[inline(always)]
fn special_in_strings(text: u8x16) -> u8x16 {
    equal(text, b'"') | equal(text, b'\\')
}

/// Marks nothing, in texts that are known to be good.
#[inline(always)]
fn nothing(_: u8x16) -> u8x16 {
    u8x16::ZERO
}

#[inline(always)]
fn equal(text: u8x16, byte: u8) -> u8x16 {
    text.simd_eq(u8x16::splat(byte))
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

/// Whether one key sorts before another. Most differ in their first eight bytes, which are compared without a call.
#[inline(always)]
fn is_before(one: &str, other: &str) -> bool {
    match head(one).cmp(&head(other)) {
        Ordering::Less => true,
        Ordering::Greater => false,
        Ordering::Equal => one < other,
    }
}

/// The first eight bytes as a number that sorts as they do.
#[inline(always)]
fn head(key: &str) -> u64 {
    let key = key.as_bytes();
    key.first_chunk().map_or_else(|| short_word(key).swap_bytes(), |head| u64::from_be_bytes(*head))
}

#[inline(never)]
fn specials_of_long(text: &[u8], specials: &impl Fn(u8x16) -> u8x16) -> u8x16 {
    let (chunks, rest) = text.as_chunks::<16>();
    let mut last = [b'a'; 16];
    last[..rest.len()].copy_from_slice(rest);
    chunks.iter().fold(specials(u8x16::new(last)), |found, chunk| found | specials(u8x16::new(*chunk)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written for a point of one field whose name, or whose string, is this text.
    fn written(name: &str, string: &str) -> Option<String> {
        let settings = Settings::new(Default::default(), &Default::default());
        let fields = [(name, FieldRef::String(string))];
        let mut out = vec![b'7'];
        append::<(&str, &str), _>("m", &[], &[], &fields, &settings, &mut out)
            .then(|| String::from_utf8(out).unwrap())
    }

    #[test]
    fn one_special_byte_is_found_at_every_position_of_every_length() {
        for length in 1..=70 {
            for at in 0..length {
                // Bytes from 0x80 on occur only within characters, and are plain.
                for byte in 0..0x80_u8 {
                    let mut text = vec![b'x'; length];
                    text[at] = byte;
                    let text = String::from_utf8(text).unwrap();
                    let is_plain = byte > b' ' && byte != 0x7f && !b",=\\".contains(&byte);
                    assert_eq!(
                        written(&text, "s"),
                        is_plain.then(|| format!("7m {text}=\"s\"")),
                        "{byte:#x} at {at}"
                    );
                    let is_plain = !b"\"\\".contains(&byte);
                    assert_eq!(
                        written("f", &text),
                        is_plain.then(|| format!("7m f=\"{text}\"")),
                        "{byte:#x} at {at}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_time_is_written_with_all_its_digits() {
        let powers = (0..19).map(|digits| 10_i64.pow(digits));
        let edges = powers.flat_map(|power| [power - 1, power, power + 1, power.saturating_mul(9)]);
        let digits = (0..10).map(|digit| 1_111_111_111_111_111_111_i64.saturating_mul(digit));
        let mut random = fastrand::Rng::with_seed(1);
        let drawn = std::iter::repeat_with(|| random.i64(..)).take(100_000);
        for units in edges.chain(digits).chain([i64::MIN, i64::MAX]).chain(drawn) {
            let mut out = b"m f=t".to_vec();
            append_time(units, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), format!("m f=t {units}\n"));
        }
    }

    #[test]
    fn what_is_not_plain_leaves_nothing_behind() {
        let mut out = vec![7];
        assert!(!append_with(&mut out, |line| line.text(b'a', b"b c", special_in_names)));
        assert_eq!(out, [7]);
    }

    #[test]
    fn a_line_without_room_is_not_plain() {
        let lengths: Vec<usize> =
            (1..LINE_BYTES_MAX + 2).filter(|length| written(&"x".repeat(*length), "").is_some()).collect();
        assert!(lengths.is_sorted() && lengths.len() > 400, "{lengths:?}");
        assert_eq!(lengths.last(), Some(&lengths.len()));
    }
}
