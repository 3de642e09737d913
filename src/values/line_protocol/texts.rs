//! Texts, copied in chunks, and escaped where they need it.
//!
//! A line is made of some twenty texts, most of them under 16 bytes. A copy of variable length is a call that costs more than such a
//! text takes to write. So texts are copied in chunks of eight or sixteen bytes, the end of one overwritten by the next, and the same
//! chunks are looked at for special bytes on the way. (Looking at the whole line at once afterwards takes fewer instructions and twice
//! as long: the processor waits until the chunks it wrote can be read back.)

use wide::bytemuck::cast;
use wide::u8x16;

use super::name::{self, Slot};
use super::rules::Portability;
use super::settings::Settings;

/// What is special in a text.
pub(super) trait Kind: Copy {
    /// Marks the bytes that may be special; not the letter `a`.
    fn mark(bytes: u8x16) -> u8x16;

    /// Whether a backslash belongs before the first byte, which is marked; `None` if it cannot be written.
    fn escapes(self, text: &[u8]) -> Option<bool>;
}

/// A name or the value of a tag.
#[derive(Clone, Copy, Debug)]
pub(super) struct Name {
    slot: Slot,
    portability: Portability,
}

impl Name {
    #[inline(always)]
    pub(super) const fn new(slot: Slot, settings: &Settings) -> Self {
        Self { slot, portability: settings.portability }
    }
}

impl Kind for Name {
    /// Control characters, space, `,`, `=`, `\`. With the last two it marks what is rare in names and saves a comparison: `<`, `]`,
    /// `|`, `}`.
    #[inline(always)]
    fn mark(bytes: u8x16) -> u8x16 {
        let controls_and_space = bytes.min(u8x16::splat(b' ')).simd_eq(bytes);
        let equals_sign_and_backslash =
            (bytes & u8x16::splat(0b1001_1110)).simd_eq(u8x16::splat(0b0001_1100));
        controls_and_space | equals_sign_and_backslash | equal(bytes, b',') | equal(bytes, 0x7f)
    }

    #[inline(always)]
    fn escapes(self, text: &[u8]) -> Option<bool> {
        name::escapes(self.slot, *text.first()?, text.get(1).copied(), self.portability).ok()
    }
}

/// A string, between quotes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quoted;

impl Kind for Quoted {
    #[inline(always)]
    fn mark(bytes: u8x16) -> u8x16 {
        equal(bytes, b'"') | equal(bytes, b'\\')
    }

    #[inline(always)]
    fn escapes(self, _text: &[u8]) -> Option<bool> {
        Some(true)
    }
}

/// What is known to be good.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known;

impl Kind for Known {
    #[inline(always)]
    fn mark(_bytes: u8x16) -> u8x16 {
        u8x16::ZERO
    }

    #[inline(always)]
    fn escapes(self, _text: &[u8]) -> Option<bool> {
        Some(false)
    }
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

/// Copies a text of fewer than sixteen bytes as it is. Behind the text the room is overwritten as well. Returns the text's head, its
/// first eight bytes as a number that sorts as they do, and marks if any of its bytes is special.
#[inline(always)]
pub(super) fn copy_short<K: Kind>(text: &[u8], room: &mut [u8; 16]) -> (u64, u8x16) {
    if let (Some(first), Some(last)) = (text.first_chunk::<8>(), text.last_chunk::<8>()) {
        // The last chunk may overlap the first, so that there is no remainder to go through.
        room[..8].copy_from_slice(first);
        room[text.len() - 8..text.len()].copy_from_slice(last);
        (u64::from_be_bytes(*first), K::mark(cast([*first, *last])))
    } else {
        let word = short_word(text);
        room[..8].copy_from_slice(&word.to_le_bytes());
        let filled = word | repeat(b'a').unbounded_shl(8 * text.len() as u32);
        (word.swap_bytes(), K::mark(cast([filled, repeat(b'a')])))
    }
}

/// Copies a text of sixteen bytes or more, as many as there is room for, as it is; the same of it.
#[inline(always)]
pub(super) fn copy_long<K: Kind>(text: &[u8], room: &mut [u8]) -> Option<(u64, u8x16)> {
    let (first, last) = (text.first_chunk::<16>()?, text.last_chunk::<16>()?);
    let mut found = K::mark(u8x16::new(*first)) | K::mark(u8x16::new(*last));
    if text.len() > 32 {
        let between = &text[16..text.len() - 16];
        found |= marks_of_long::<K>(between);
        room[16..text.len() - 16].copy_from_slice(between);
    }
    // The last chunk may overlap the first, so that there is no remainder to go through.
    *room.first_chunk_mut()? = *first;
    *room.last_chunk_mut()? = *last;
    text.first_chunk().map(|head| (u64::from_be_bytes(*head), found))
}

/// Writes a text from `at` on, with backslashes where they belong; where it ends. `None` if there is no room for it, and some to spare,
/// or if it cannot be written.
#[cold]
#[inline(never)]
pub(super) fn escape<K: Kind>(room: &mut [u8], mut at: usize, text: &[u8], kind: K) -> Option<usize> {
    let mut rest = text;
    while !rest.is_empty() {
        let (chunk, count, mut found) = first_chunk::<K>(rest);
        let mut written = 0;
        while found != 0 {
            let next = found.trailing_zeros() as usize;
            found &= found - 1;
            if kind.escapes(&rest[next..])? {
                // Up to the byte, and what comes behind it, which is overwritten.
                *room.get_mut(at..)?.first_chunk_mut()? = (chunk >> (8 * written)).to_le_bytes();
                at += next - written;
                *room.get_mut(at)? = b'\\';
                at += 1;
                written = next;
            }
        }
        *room.get_mut(at..)?.first_chunk_mut()? = (chunk >> (8 * written)).to_le_bytes();
        at += count - written;
        rest = &rest[count..];
    }
    Some(at)
}

/// Where the first byte is that is marked.
#[inline]
pub(super) fn find<K: Kind>(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    while at < text.len() {
        let (_, count, found) = first_chunk::<K>(&text[at..]);
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize);
        }
        at += count;
    }
    None
}

/// The first sixteen bytes of a text, or what there is, in the low bytes; how many; and a bit for each that is marked.
#[inline(always)]
fn first_chunk<K: Kind>(text: &[u8]) -> (u128, usize, u32) {
    let (chunk, count) = match (text.first_chunk(), text.first_chunk(), text.last_chunk()) {
        (Some(chunk), ..) => (u128::from_le_bytes(*chunk), 16),
        (None, Some(first), Some(last)) => {
            let behind = u64::from_le_bytes(*last).unbounded_shr(8 * (16 - text.len()) as u32);
            (u128::from(u64::from_le_bytes(*first)) | u128::from(behind) << 64, text.len())
        }
        _ => (short_word(text).into(), text.len()),
    };
    let marks = K::mark(u8x16::new(chunk.to_le_bytes())).to_bitmask();
    // Behind the text there are zeros, and those are marked.
    (chunk, count, marks & !(u32::MAX << count))
}

#[inline(never)]
fn marks_of_long<K: Kind>(text: &[u8]) -> u8x16 {
    let (chunks, rest) = text.as_chunks::<16>();
    let mut last = [b'a'; 16];
    last[..rest.len()].copy_from_slice(rest);
    chunks.iter().fold(K::mark(u8x16::new(last)), |found, chunk| found | K::mark(u8x16::new(*chunk)))
}

#[inline(always)]
fn equal(bytes: u8x16, byte: u8) -> u8x16 {
    bytes.simd_eq(u8x16::splat(byte))
}

#[inline]
const fn repeat(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// Fewer than eight bytes in the low bytes of a word; above them zeros.
#[inline(always)]
pub(super) fn short_word(text: &[u8]) -> u64 {
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
