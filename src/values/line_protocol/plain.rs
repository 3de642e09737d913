//! The fast way for points with nothing unusual about them.
//!
//! Nearly every point is short and good, and most have their tags sorted and need no escaping. Those are written at the first go. It
//! only notes what it finds to be mended: a branch for each text costs a fifteenth of all. A second go sorts, escapes, and leaves blank
//! tags out. What is not plain for that either has another go with more room, and then is written, or refused with a reason, by the
//! careful way in [`encoder`](super::encoder). What both ways can write they write alike; tests compare them.
//!
//! A `Vec` keeps its length in memory, where each append waits for the one before; so a line is written into a slice of fixed length,
//! in the [chunks](super::texts) that its texts are copied in. A slice whose length is not known when this is compiled costs a tenth more.

use wide::u8x16;

use super::digits::{self, Decimal, EIGHT_DIGITS_END};
use super::encoder::{DefaultTag, Encoded};
use super::keyed::{Field, Tag};
use super::keys;
use super::name::Slot;
use super::rules::{Unsigned, Unwritable};
use super::settings::Settings;
use super::texts::{self, Kind, Known, KnownName, Name, Quoted};
use crate::values::point::FieldRef;

/// Room for one line: none that is plain is longer, nor quite as long. It is zeroed for each point: thrice a common line, and still few nanoseconds.
pub(crate) const LINE_BYTES_MAX: usize = 512;

/// Room for a long line: some eighty fields.
const LONG_LINE_BYTES_MAX: usize = 2_048;

/// A point with more fields than this is taken for a long one without trying.
const FIELDS_MAX: usize = 16;

/// The first number of nineteen digits.
const NINETEEN_DIGITS_MIN: i64 = 10_i64.pow(18);

/// Room for the space, the digits of the longest timestamp, with its sign, and the newline.
const TIME_BYTES_MAX: usize = 22;

/// Tags are sorted if there are no more.
const TAGS_SORTED_MAX: usize = 32;

/// Something that can be written as a plain line, at either go.
pub(crate) trait WritePlain: Copy {
    /// Writes all but the time; `None` if it is not plain.
    fn write<const ROOM: usize, const MENDS: bool>(self, line: &mut PlainLine<'_, ROOM, MENDS>)
    -> Option<()>;
}

/// Appends what `point` writes, and behind it the time that `time` gives in units and in nanoseconds. Where the point is not plain, `time` is
/// given back. Of what could not be appended nothing is left in `out`.
#[inline(always)]
pub(crate) fn append<E, T: FnOnce() -> Result<(i64, i64), E>>(
    out: &mut Vec<u8>,
    point: impl WritePlain,
    time: T,
) -> Result<Result<Encoded, E>, T> {
    let start = out.len();
    out.resize(start + LINE_BYTES_MAX, 0);
    let Some(room) = out[start..].first_chunk_mut() else { return Err(time) };
    let at = write::<LINE_BYTES_MAX, false>(point, room).or_else(|| write_mending(point, room));
    let Some((at, room)) = at.and_then(|at| Some((at, room.get_mut(at..)?.first_chunk_mut()?))) else {
        out.truncate(start);
        return Err(time);
    };
    let end = start + at;
    let (encoded, end) = match time() {
        Ok((units, timestamp_nanos)) => (Ok(Encoded { timestamp_nanos }), end + write_time(units, room)),
        Err(error) => (Err(error), start),
    };
    out.truncate(end);
    Ok(encoded)
}

/// Appends what `point` writes, without a time; `None` if it is not plain even with room for a long line. Then nothing is appended.
pub(crate) fn append_long(out: &mut Vec<u8>, point: impl WritePlain) -> Option<()> {
    let start = out.len();
    out.resize(start + LONG_LINE_BYTES_MAX, 0);
    let at = out[start..].first_chunk_mut().and_then(|room| write::<LONG_LINE_BYTES_MAX, true>(point, room));
    out.truncate(start + at.unwrap_or(0));
    at.map(drop)
}

/// Writes all of a point but its time, if it is plain; how many bytes that are.
#[inline(always)]
fn write<const ROOM: usize, const MENDS: bool>(
    point: impl WritePlain,
    room: &mut [u8; ROOM],
) -> Option<usize> {
    let mut line = PlainLine::<ROOM, MENDS> { room, at: 0, specials: u8x16::ZERO };
    point.write(&mut line)?;
    (!line.specials.any()).then_some(line.at)
}

/// The same at the second go.
#[cold]
#[inline(never)]
fn write_mending(point: impl WritePlain, room: &mut [u8; LINE_BYTES_MAX]) -> Option<usize> {
    write::<LINE_BYTES_MAX, true>(point, room)
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

/// A line being written; if it `MENDS`, at the second go. `None` from a method says that the line is not plain.
#[derive(Debug)]
pub(crate) struct PlainLine<'o, const ROOM: usize, const MENDS: bool> {
    room: &'o mut [u8; ROOM],
    /// How many bytes of it are written.
    at: usize,
    /// Not zero if a text has a special byte and is not escaped.
    specials: u8x16,
}

// Inlined by force: a call would send the room through memory for each text.
impl<const ROOM: usize, const MENDS: bool> PlainLine<'_, ROOM, MENDS> {
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
        self.measurement(measurement, settings)?;
        self.tags(tags, defaults, settings)?;
        // Names with spaces are no rarity, and the values behind them take longest.
        if self.specials.any() {
            return None;
        }
        self.fields(fields, settings)
    }

    /// Something that is known to be good, of any length.
    #[inline(always)]
    pub(crate) fn known(&mut self, text: &[u8]) -> Option<()> {
        self.take(text.len())?.copy_from_slice(text);
        Some(())
    }

    #[inline(always)]
    fn measurement(&mut self, name: &str, settings: &Settings) -> Option<()> {
        if name.is_empty() || name.starts_with('#') {
            return None;
        }
        self.copy(name.as_bytes(), Name::new(Slot::Measurement, settings))?;
        Some(())
    }

    #[inline(always)]
    fn tags<T: Tag>(&mut self, tags: &[T], mut defaults: &[DefaultTag], settings: &Settings) -> Option<()> {
        let order = if MENDS { order_of(tags)? } else { [0; TAGS_SORTED_MAX] };
        let tag_at = |place: usize| if MENDS { &tags[usize::from(order[place])] } else { &tags[place] };
        let mut last = 0;
        for place in 0..tags.len() {
            let tag = tag_at(place);
            let (key, value) = (tag.key(), tag.value());
            while let Some((default, rest)) = defaults.split_first()
                && default.key.as_str() <= key
            {
                if default.key != key {
                    self.known(&default.escaped)?;
                }
                defaults = rest;
            }
            let before = self.at;
            let head = self.text(b',', key.as_bytes(), Name::new(Slot::TagKey, settings))?;
            // An empty key is none, too: it does not come after the first of all.
            let is_next = last < head || (last == head && place > 0 && tag_at(place - 1).key() < key);
            if !is_next || may_be_reserved(Slot::TagKey, head) {
                return None;
            }
            last = head;
            if value.is_empty() {
                if !MENDS || settings.blank_tags == Unwritable::Refuse {
                    return None;
                }
                self.at = before;
                continue;
            }
            self.text(b'=', value.as_bytes(), Name::new(Slot::TagValue, settings))?;
        }
        defaults.iter().try_for_each(|default| self.known(&default.escaped))
    }

    /// Whether so many fields are too many for this room.
    #[inline(always)]
    pub(crate) const fn is_for_fewer(fields: usize) -> bool {
        ROOM < LONG_LINE_BYTES_MAX && fields > FIELDS_MAX
    }

    #[inline(always)]
    fn fields<F: Field>(&mut self, fields: &[F], settings: &Settings) -> Option<()> {
        if Self::is_for_fewer(fields.len()) {
            return None;
        }
        let mut separator = b' ';
        let mut marks = 0_u64;
        let mut is_unique = true;
        for field in fields {
            let key = field.key().as_bytes();
            let head =
                self.text(std::mem::replace(&mut separator, b','), key, Name::new(Slot::FieldKey, settings))?;
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
            KnownName::Long(name) => _ = self.text(separator, name, Known)?,
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
                self.text(b'"', value.as_bytes(), Quoted)?;
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
            self.text(b'=', text.as_bytes(), Known)?;
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
            self.text(b'=', itoa::Buffer::new().format(number).as_bytes(), Known)?;
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
    fn text<K: Kind>(&mut self, before: u8, text: &[u8], kind: K) -> Option<u64> {
        // Room for the byte and a short text at once: there is one thing to be asked for.
        if text.len() < 16 {
            let [first, room @ ..]: &mut [u8; 17] = self.next()?;
            *first = before;
            let (head, found) = texts::copy_short::<K>(text, room);
            self.at += 1;
            self.end_text(text, found, kind)?;
            return Some(head);
        }
        self.byte(before)?;
        self.copy_long(text, kind)
    }

    /// Copies a text of any length; its head.
    #[inline(always)]
    fn copy<K: Kind>(&mut self, text: &[u8], kind: K) -> Option<u64> {
        if text.len() < 16 {
            let (head, found) = texts::copy_short::<K>(text, self.next()?);
            self.end_text(text, found, kind)?;
            return Some(head);
        }
        self.copy_long(text, kind)
    }

    /// Copies a text of sixteen bytes or more; its head.
    #[inline(always)]
    fn copy_long<K: Kind>(&mut self, text: &[u8], kind: K) -> Option<u64> {
        let room = self.room.get_mut(self.at..)?.get_mut(..text.len())?;
        let (head, found) = texts::copy_long::<K>(text, room)?;
        self.end_text(text, found, kind)?;
        Some(head)
    }

    /// What was copied is the text, unless a special byte was found in it.
    #[inline(always)]
    fn end_text<K: Kind>(&mut self, text: &[u8], found: u8x16, kind: K) -> Option<()> {
        if MENDS && found.any() {
            self.at = texts::escape(self.room, self.at, text, kind)?;
            return Some(());
        }
        self.specials |= found;
        self.at += text.len();
        Some(())
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

/// The places of tags in the order of their keys.
#[inline(always)]
fn order_of<T: Tag>(tags: &[T]) -> Option<[u8; TAGS_SORTED_MAX]> {
    let mut order = std::array::from_fn(|place| place as u8);
    order.get_mut(..tags.len())?.sort_unstable_by_key(|place| tags[usize::from(*place)].key());
    Some(order)
}

/// Whether a key with this head may be one of those that are reserved. What only begins like one is left to the careful way, too.
#[inline(always)]
fn may_be_reserved(slot: Slot, head: u64) -> bool {
    const TIME: u64 = u64::from_be_bytes(*b"time\0\0\0\0");
    const FIELD: u64 = u64::from_be_bytes(*b"_field\0\0");
    const MEASUREMENT: u64 = u64::from_be_bytes(*b"_measure");
    head == TIME || (slot == Slot::TagKey && (head == FIELD || head == MEASUREMENT))
}

#[cfg(test)]
mod tests;
