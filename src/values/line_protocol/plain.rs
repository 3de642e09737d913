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

use wide::bytemuck::cast;
use wide::u8x16;

use super::digits::{self, Decimal, EIGHT_DIGITS_END};
use super::encoder::{DefaultTag, Encoded};
use super::keyed::{Field, Tag};
use super::keys;
use super::name::Slot;
use super::rules::Unsigned;
use super::settings::Settings;
use crate::values::point::FieldRef;

/// Room for one line: none that is plain is longer. It is zeroed for each point: thrice a common line, and still few nanoseconds.
pub(crate) const LINE_BYTES_MAX: usize = 512;

/// The first number of nineteen digits.
const NINETEEN_DIGITS_MIN: i64 = 10_i64.pow(18);

/// Room for the space, the digits of the longest timestamp, with its sign, and the newline.
const TIME_BYTES_MAX: usize = 22;

/// Something that can be written as a plain line. A closure would do, but is not inlined where a line is written in two places.
pub(crate) trait WritePlain {
    /// Writes all but the time; `None` if it is not plain.
    fn write(&self, line: &mut PlainLine<'_>) -> Option<()>;
}

/// Appends what `point` writes, and behind it the time that `time` gives in units and in nanoseconds. Where the point is not plain, `time` is
/// given back. Of what could not be appended nothing is left in `out`.
#[inline(always)]
pub(crate) fn append<E, T: FnOnce() -> Result<(i64, i64), E>>(
    out: &mut Vec<u8>,
    point: &impl WritePlain,
    time: T,
) -> Result<Result<Encoded, E>, T> {
    let start = out.len();
    out.resize(start + LINE_BYTES_MAX, 0);
    let Some(room) = out[start..].first_chunk_mut() else { return Err(time) };
    let mut line = PlainLine { room, at: 0, specials: u8x16::ZERO };
    let is_plain = point.write(&mut line).is_some() && !line.specials.any();
    let end = start + line.at;
    let Some(room) = line.next().filter(|_| is_plain) else {
        out.truncate(start);
        return Err(time);
    };
    let (encoded, end) = match time() {
        Ok((units, timestamp_nanos)) => (Ok(Encoded { timestamp_nanos }), end + write_time(units, room)),
        Err(error) => (Err(error), start),
    };
    out.truncate(end);
    Ok(encoded)
}

/// Writes a space, a time and the newline; how many bytes that are.
#[inline(always)]
fn write_time(units: i64, room: &mut [u8; TIME_BYTES_MAX]) -> usize {
    // Nanoseconds have as many digits from September 2001 on.
    if units >= NINETEEN_DIGITS_MIN {
        let (head, rest) = digits::nineteen_digits(units.unsigned_abs());
        room[..4].copy_from_slice(&[b' ', head[0], head[1], head[2]]);
        room[4..20].copy_from_slice(&rest);
        room[20] = b'\n';
        return 21;
    }
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(units).as_bytes();
    room[0] = b' ';
    room[1..=digits.len()].copy_from_slice(digits);
    room[1 + digits.len()] = b'\n';
    digits.len() + 2
}

/// A name that is escaped and known to be good.
#[derive(Clone, Debug)]
pub(crate) enum KnownName {
    /// Copied as a whole chunk: what is behind the name is overwritten by the next.
    Short {
        length: u8,
        chunk: [u8; 16],
    },
    Long(Box<[u8]>),
}

impl KnownName {
    pub(crate) fn new(name: &[u8]) -> Self {
        let mut chunk = [0; 16];
        match chunk.get_mut(..name.len()) {
            Some(start) => {
                start.copy_from_slice(name);
                Self::Short { length: name.len() as u8, chunk }
            }
            None => Self::Long(name.into()),
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short { length, chunk } => &chunk[..usize::from(*length)],
            Self::Long(name) => name,
        }
    }
}

/// A line being written. `None` from a method says that the line is not plain.
#[derive(Debug)]
pub(crate) struct PlainLine<'o> {
    room: &'o mut [u8; LINE_BYTES_MAX],
    /// How many bytes of it are written.
    at: usize,
    /// Not zero if a text held a special byte.
    specials: u8x16,
}

// Inlined by force: a call would send the room through memory for each text.
impl<'o> PlainLine<'o> {
    /// All of a point but its time.
    #[inline(always)]
    pub(crate) fn point<T: Tag, F: Field>(
        &mut self,
        measurement: &str,
        tags: &[T],
        defaults: &[DefaultTag],
        fields: &[F],
        settings: &Settings,
    ) -> Option<()> {
        self.measurement(measurement)?;
        self.tags(tags, defaults)?;
        self.fields(fields, settings)
    }

    /// Something that is known to be good, of any length.
    #[inline(always)]
    pub(crate) fn known(&mut self, text: &[u8]) -> Option<()> {
        self.take(text.len())?.copy_from_slice(text);
        Some(())
    }

    #[inline(always)]
    fn measurement(&mut self, name: &str) -> Option<()> {
        if name.is_empty() || name.starts_with('#') {
            return None;
        }
        self.copy(name.as_bytes(), special_in_names)?;
        Some(())
    }

    #[inline(always)]
    fn tags<T: Tag>(&mut self, tags: &[T], mut defaults: &[DefaultTag]) -> Option<()> {
        let mut last = 0;
        for (place, tag) in tags.iter().enumerate() {
            let (key, value) = (tag.key(), tag.value());
            while let Some((default, rest)) = defaults.split_first()
                && default.key.as_str() <= key
            {
                if default.key != key {
                    self.known(&default.escaped)?;
                }
                defaults = rest;
            }
            let head = self.text(b',', key.as_bytes(), special_in_names)?;
            // An empty key is none, too: it does not come after the first of all.
            let is_next = last < head || (last == head && place > 0 && tags[place - 1].key() < key);
            if !is_next || may_be_reserved(Slot::TagKey, head) || value.is_empty() {
                return None;
            }
            last = head;
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
            let head = self.text(std::mem::replace(&mut separator, b','), key, special_in_names)?;
            if may_be_reserved(Slot::FieldKey, head) {
                return None;
            }
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
        name: &KnownName,
        value: FieldRef<'_>,
        settings: &Settings,
    ) -> Option<()> {
        match name {
            KnownName::Short { length, chunk } => {
                let [first, room @ ..]: &mut [u8; 17] = self.next()?;
                *first = separator;
                *room = *chunk;
                self.at += 1 + usize::from(*length);
            }
            KnownName::Long(name) => _ = self.text(separator, name, nothing)?,
        }
        self.value(value, settings)
    }

    /// `=` and the value.
    #[inline(always)]
    fn value(&mut self, value: FieldRef<'_>, settings: &Settings) -> Option<()> {
        match value {
            FieldRef::Float(value) => self.float(value)?,
            FieldRef::Integer(value) => {
                self.number(value, value.cast_unsigned(), b'i')?;
            }
            FieldRef::Unsigned(value) if settings.unsigned == Unsigned::Write => {
                self.number(value, value, b'u')?;
            }
            FieldRef::Boolean(value) => self.known(if value { b"=t" } else { b"=f" })?,
            FieldRef::String(value) => {
                self.byte(b'=')?;
                self.text(b'"', value.as_bytes(), special_in_strings)?;
                self.byte(b'"')?;
            }
            FieldRef::Unsigned(_) => return None,
        }
        Some(())
    }

    /// `=` and a float.
    #[inline(always)]
    fn float(&mut self, value: f64) -> Option<()> {
        let Some(decimal) = Decimal::of(value.abs()) else {
            let mut text = zmij::Buffer::new();
            let text = value.is_finite().then(|| text.format_finite(value))?;
            self.text(b'=', text.as_bytes(), nothing)?;
            return Some(());
        };
        let ((whole, before), (fraction, after)) = decimal.digits();
        let sign = usize::from(value.is_sign_negative());
        let room: &mut [u8; 19] = self.next()?;
        room[..2].copy_from_slice(b"=-");
        let room = &mut room[1 + sign..];
        room[..8].copy_from_slice(&whole);
        room[before] = b'.';
        room[before + 1..before + 9].copy_from_slice(&fraction);
        self.at += 1 + sign + before + 1 + after;
        Some(())
    }

    /// `=`, a whole number and the letter behind it; as unsigned, a negative number is a huge one.
    #[inline(always)]
    fn number(&mut self, number: impl itoa::Integer, unsigned: u64, letter: u8) -> Option<()> {
        if unsigned >= EIGHT_DIGITS_END {
            self.text(b'=', itoa::Buffer::new().format(number).as_bytes(), nothing)?;
            return self.byte(letter);
        }
        let (digits, length) = digits::whole(unsigned);
        let room: &mut [u8; 10] = self.next()?;
        room[0] = b'=';
        room[1..9].copy_from_slice(&digits);
        room[1 + length] = letter;
        self.at += 1 + length + 1;
        Some(())
    }

    #[inline(always)]
    fn byte(&mut self, byte: u8) -> Option<()> {
        self.take(1)?[0] = byte;
        Some(())
    }

    /// One byte, and a text of any length. Returns the text's head: its first eight bytes as a number that sorts as they do.
    #[inline(always)]
    fn text(&mut self, before: u8, text: &[u8], specials: impl Fn(u8x16) -> u8x16) -> Option<u64> {
        // Room for the byte and a short text at once: there is one thing to be asked for.
        if text.len() < 16 {
            let mut found = self.specials;
            let [first, room @ ..]: &mut [u8; 17] = self.next()?;
            *first = before;
            let head = copy_short(text, room, specials, &mut found);
            self.specials = found;
            self.at += 1 + text.len();
            return Some(head);
        }
        self.byte(before)?;
        self.copy_long(text, specials)
    }

    /// Copies a text of any length; its head.
    #[inline(always)]
    fn copy(&mut self, text: &[u8], specials: impl Fn(u8x16) -> u8x16) -> Option<u64> {
        if text.len() < 16 {
            let mut found = self.specials;
            let head = copy_short(text, self.next()?, specials, &mut found);
            self.specials = found;
            self.at += text.len();
            return Some(head);
        }
        self.copy_long(text, specials)
    }

    /// Copies a text of sixteen bytes or more; its head.
    #[inline(always)]
    fn copy_long(&mut self, text: &[u8], specials: impl Fn(u8x16) -> u8x16) -> Option<u64> {
        let (first, last) = (text.first_chunk::<16>()?, text.last_chunk::<16>()?);
        let mut found = self.specials;
        let room = self.take(text.len())?;
        if text.len() > 32 {
            let between = &text[16..text.len() - 16];
            found |= specials_of_long(between, &specials);
            room[16..text.len() - 16].copy_from_slice(between);
        }
        // The last chunk may overlap the first, so that there is no remainder to go through.
        *room.first_chunk_mut()? = *first;
        *room.last_chunk_mut()? = *last;
        self.specials = found | specials(u8x16::new(*first)) | specials(u8x16::new(*last));
        text.first_chunk().map(|head| u64::from_be_bytes(*head))
    }

    /// The next so many bytes of the room.
    #[inline(always)]
    fn next<const N: usize>(&mut self) -> Option<&mut [u8; N]> {
        self.room.get_mut(self.at..)?.first_chunk_mut()
    }

    /// The same, which are written now.
    #[inline(always)]
    fn take(&mut self, count: usize) -> Option<&mut [u8]> {
        let taken = self.room.get_mut(self.at..)?.get_mut(..count)?;
        self.at += count;
        Some(taken)
    }
}

/// Copies a text of fewer than sixteen bytes, and notes whether `specials` marks any of it; it must not mark the letter `a`. Behind
/// the text the room is overwritten as well. Returns the text's head.
#[inline(always)]
fn copy_short(text: &[u8], room: &mut [u8; 16], specials: impl Fn(u8x16) -> u8x16, found: &mut u8x16) -> u64 {
    if let (Some(first), Some(last)) = (text.first_chunk::<8>(), text.last_chunk::<8>()) {
        // The last chunk may overlap the first, so that there is no remainder to go through.
        room[..8].copy_from_slice(first);
        room[text.len() - 8..text.len()].copy_from_slice(last);
        *found |= specials(cast([*first, *last]));
        u64::from_be_bytes(*first)
    } else {
        let word = short_word(text);
        room[..8].copy_from_slice(&word.to_le_bytes());
        let filled = word | repeat(b'a').unbounded_shl(8 * text.len() as u32);
        *found |= specials(cast([filled, repeat(b'a')]));
        word.swap_bytes()
    }
}

/// Whether a key with this head may be one of those that are reserved. What only begins like one is left to the careful way, too.
#[inline(always)]
fn may_be_reserved(slot: Slot, head: u64) -> bool {
    const TIME: u64 = u64::from_be_bytes(*b"time\0\0\0\0");
    const FIELD: u64 = u64::from_be_bytes(*b"_field\0\0");
    const MEASUREMENT: u64 = u64::from_be_bytes(*b"_measure");
    head == TIME || (slot == Slot::TagKey && (head == FIELD || head == MEASUREMENT))
}

/// Marks what needs escaping in some name: control characters, space, `,`, `=`, `\`. With the last two it marks what is rare in names and
/// saves a comparison: `<`, `]`, `|`, `}`.
#[inline(always)]
fn special_in_names(text: u8x16) -> u8x16 {
    let controls_and_space = text.min(u8x16::splat(b' ')).simd_eq(text);
    let equals_sign_and_backslash = (text & u8x16::splat(0b1001_1110)).simd_eq(u8x16::splat(0b0001_1100));
    controls_and_space | equals_sign_and_backslash | equal(text, b',') | equal(text, 0x7f)
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
        written_by(|line| line.point::<(&str, &str), _>("m", &[], &[], &fields, &settings), 5)
    }

    struct By<W>(W);

    impl<W: Fn(&mut PlainLine<'_>) -> Option<()>> WritePlain for By<W> {
        fn write(&self, line: &mut PlainLine<'_>) -> Option<()> {
            self.0(line)
        }
    }

    fn written_by(write: impl Fn(&mut PlainLine<'_>) -> Option<()>, units: i64) -> Option<String> {
        let mut out = vec![b'7'];
        match append(&mut out, &By(write), || Ok::<_, ()>((units, -units))) {
            Ok(encoded) => assert_eq!(encoded, Ok(Encoded { timestamp_nanos: -units })),
            Err(_) => {
                assert_eq!(out, b"7");
                return None;
            }
        }
        Some(String::from_utf8(out).unwrap())
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
                    let is_plain = byte > b' ' && !b",<=\\]|}\x7f".contains(&byte);
                    assert_eq!(
                        written(&text, "s"),
                        is_plain.then(|| format!("7m {text}=\"s\" 5\n")),
                        "{byte:#x} at {at}"
                    );
                    let is_plain = !b"\"\\".contains(&byte);
                    assert_eq!(
                        written("f", &text),
                        is_plain.then(|| format!("7m f=\"{text}\" 5\n")),
                        "{byte:#x} at {at}"
                    );
                }
            }
        }
    }

    /// Numbers around every power of ten, of equal digits, and drawn.
    fn numbers() -> impl Iterator<Item = i64> {
        let powers = (0..19).map(|digits| 10_i64.pow(digits));
        let edges = powers.flat_map(|power| [power - 1, power, power + 1, power.saturating_mul(9)]);
        let digits = (0..10).map(|digit| 1_111_111_111_111_111_111_i64.saturating_mul(digit));
        let mut random = fastrand::Rng::with_seed(1);
        let drawn = std::iter::repeat_with(move || random.i64(..) >> random.u32(..64)).take(100_000);
        edges.chain(digits).chain([i64::MIN, i64::MAX]).chain(drawn)
    }

    #[test]
    fn a_time_is_written_with_all_its_digits() {
        for units in numbers() {
            let line = written_by(|line| line.known(b"m f=t"), units.saturating_abs());
            assert_eq!(line.unwrap(), format!("7m f=t {}\n", units.saturating_abs()));
            if units != i64::MIN {
                assert_eq!(written_by(|_| Some(()), units).unwrap(), format!("7 {units}\n"));
            }
        }
    }

    #[test]
    fn a_whole_number_is_written_with_all_its_digits() {
        let settings =
            Settings { unsigned: Unsigned::Write, ..Settings::new(Default::default(), &Default::default()) };
        let written = |value| written_by(|line| line.value(value, &settings), 5).unwrap();
        for number in numbers() {
            let unsigned = number.cast_unsigned();
            assert_eq!(written(FieldRef::Integer(number)), format!("7={number}i 5\n"));
            assert_eq!(written(FieldRef::Unsigned(unsigned)), format!("7={unsigned}u 5\n"));
        }
    }

    #[test]
    fn a_reserved_name_is_not_plain_and_one_like_it_may_be() {
        let settings = Settings::new(Default::default(), &Default::default());
        let tagged = |key: &str| {
            let fields = [("f", FieldRef::Boolean(true))];
            written_by(|line| line.point("m", &[(key, "v")], &[], &fields, &settings), 5).is_some()
        };
        for (key, is_tag, is_field) in [
            ("time", false, false),
            ("_field", false, true),
            ("_measurement", false, true),
            ("tim", true, true),
            ("times", true, true),
            ("Time", true, true),
            ("_fields", true, true),
            ("_measure", false, true),
        ] {
            assert_eq!((tagged(key), written(key, "s").is_some()), (is_tag, is_field), "{key}");
        }
    }

    #[test]
    fn a_time_that_is_none_is_handed_on() {
        let mut out = vec![7];
        let failed =
            append(&mut out, &By(|line: &mut PlainLine<'_>| line.known(b"m f=t")), || Err("no time"));
        assert_eq!((failed.map_err(drop), out), (Ok(Err("no time")), vec![7]));
    }

    #[test]
    fn a_line_without_room_is_not_plain() {
        let lengths: Vec<usize> =
            (1..LINE_BYTES_MAX + 2).filter(|length| written(&"x".repeat(*length), "").is_some()).collect();
        assert!(lengths.is_sorted() && lengths.len() > 400, "{lengths:?}");
        assert_eq!(lengths.last(), Some(&lengths.len()));
    }
}
