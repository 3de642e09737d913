//! Reads the pages of a damaged database without SQLite, which gives up where a single page is wrong.
//!
//! The format is the one of <https://www.sqlite.org/fileformat2.html>; it is stable. Everything read is checked against
//! the page it stands on, and nothing here is trusted: the rows have checksums of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use rusqlite::types::Value;

use super::schema::PAGE_BYTES;

/// Type bytes of b-tree pages.
const TABLE_INNER: u8 = 0x05;
const TABLE_LEAF: u8 = 0x0d;
const INDEX_LEAF: u8 = 0x0a;

/// Where the b-tree begins on the first page.
const FILE_HEADER_BYTES: usize = 100;
/// Payload of a table's row that stays on its leaf, and the least of a longer one that does.
const LOCAL_MAX: usize = PAGE_BYTES as usize - 35;
const LOCAL_MIN: usize = (PAGE_BYTES as usize - 12) * 32 / 255 - 23;
/// Payload on an overflow page, behind the number of the next.
const OVERFLOW_BYTES: usize = PAGE_BYTES as usize - 4;

const LOG_HEADER_BYTES: u64 = 32;
const FRAME_HEADER_BYTES: usize = 24;

/// One row as it stands in a leaf: its row id (0 in a table without) and its columns.
pub(super) struct Record {
    pub(super) rowid: i64,
    pub(super) values: Vec<Value>,
}

/// The leaves of a table, as far as the way to them can be followed.
#[derive(Debug, Default)]
pub(super) struct Leaves {
    pub(super) pages: Vec<u32>,
    /// No page on the way was unreadable.
    pub(super) is_whole: bool,
}

/// The newest version of each page: from the log, if it is there, else from the database.
pub(super) struct Pages {
    database: File,
    count: u32,
    log: Option<File>,
    /// Where in the log a page's content is.
    logged: BTreeMap<u32, u64>,
}

impl Pages {
    pub(super) fn open(database: &Path, log: &Path) -> io::Result<Self> {
        let database = File::open(database)?;
        let in_file = database.metadata()?.len().div_ceil(PAGE_BYTES);
        let mut log = match File::open(log) {
            Ok(log) => Some(log),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let logged = log.as_mut().map_or_else(|| Ok(LogIndex::default()), index_log)?.pages;
        let in_log = logged.last_key_value().map_or(0, |(page, _)| *page);
        let count = u32::try_from(in_file).unwrap_or(u32::MAX).max(in_log);
        Ok(Self { database, count, log, logged })
    }

    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Follows a table from its root to its leaves.
    pub(super) fn leaves(&mut self, root: u32) -> Leaves {
        let mut leaves = Leaves { pages: Vec::new(), is_whole: true };
        let mut seen = BTreeSet::new();
        let mut ahead = vec![root];
        while let Some(number) = ahead.pop() {
            if !seen.insert(number) {
                continue;
            }
            match self.page(number) {
                Some(page) if kind(&page, number) == TABLE_INNER => match children(&page, number) {
                    Some(children) => ahead.extend(children.into_iter().rev()),
                    None => leaves.is_whole = false,
                },
                Some(page) if matches!(kind(&page, number), TABLE_LEAF | INDEX_LEAF) => {
                    leaves.pages.push(number)
                }
                _ => leaves.is_whole = false,
            }
        }
        leaves
    }

    /// The rows of a leaf that can be read; nothing if the page is none. `true` if all of them could.
    pub(super) fn records(&mut self, number: u32) -> (Vec<Record>, bool) {
        let Some(page) = self.page(number) else { return (Vec::new(), false) };
        let kind = kind(&page, number);
        if kind != TABLE_LEAF && kind != INDEX_LEAF {
            return (Vec::new(), false);
        }
        let Some(cells) = cells(&page, number, 8) else { return (Vec::new(), false) };
        let count = cells.len();
        let records: Vec<Record> =
            cells.into_iter().filter_map(|cell| self.record(&page, cell, kind == TABLE_LEAF)).collect();
        let is_whole = records.len() == count;
        (records, is_whole)
    }

    fn record(&mut self, page: &[u8], cell: usize, has_rowid: bool) -> Option<Record> {
        let mut at = Cursor { bytes: page, at: cell };
        // No row is longer than all pages together, so a chain of pages that runs in a circle ends.
        let length_max = self.count as usize * PAGE_BYTES as usize;
        let length = usize::try_from(at.varint()?).ok().filter(|length| *length <= length_max)?;
        let rowid = if has_rowid { at.varint()? } else { 0 };
        let local = local_bytes(length);
        let mut payload = at.take(local)?.to_vec();
        if local < length {
            let mut next = at.u32()?;
            while payload.len() < length {
                let page = self.page(next).filter(|_| next > 1)?;
                let part = (length - payload.len()).min(OVERFLOW_BYTES);
                payload.extend_from_slice(page.get(4..4 + part)?);
                next = Cursor { bytes: &page, at: 0 }.u32()?;
            }
        }
        Some(Record { rowid, values: values(&payload)? })
    }

    /// A page's bytes; `None` if it is beyond the end or the disk cannot read it.
    fn page(&mut self, number: u32) -> Option<Vec<u8>> {
        if number == 0 || number > self.count {
            return None;
        }
        let mut page = vec![0; PAGE_BYTES as usize];
        if let Some((offset, log)) = self.logged.get(&number).zip(self.log.as_mut()) {
            read_at(log, *offset, &mut page).ok()?;
        } else {
            read_at(&mut self.database, u64::from(number - 1) * PAGE_BYTES, &mut page).ok()?;
        }
        Some(page)
    }
}

/// Whether the log holds commits behind a damaged frame, which SQLite would drop without a word: it takes such a frame
/// for the end.
///
/// A power cut too can leave the last transaction with a frame missing, its final one being there. Behind a second
/// transaction it cannot: with `sync = full` the first was synced before the second began.
pub(super) fn log_hides_commits(log: &Path) -> io::Result<bool> {
    match File::open(log) {
        Ok(mut log) => Ok(index_log(&mut log)?.commits_behind_damage >= 2),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[derive(Debug, Default)]
struct LogIndex {
    pages: BTreeMap<u32, u64>,
    commits_behind_damage: u64,
}

/// Where the newest committed version of each page stands in the log. A frame that is damaged is left out; those
/// behind it count, since each frame's checksum starts from the one that is written before it.
fn index_log(log: &mut File) -> io::Result<LogIndex> {
    let frame_bytes = FRAME_HEADER_BYTES as u64 + PAGE_BYTES;
    let frames = log.metadata()?.len().saturating_sub(LOG_HEADER_BYTES) / frame_bytes;
    let mut index = LogIndex::default();
    if frames == 0 {
        return Ok(index);
    }
    let mut header = [0; LOG_HEADER_BYTES as usize];
    read_at(log, 0, &mut header)?;
    let mut frame = vec![0; FRAME_HEADER_BYTES + PAGE_BYTES as usize];
    read_at(log, LOG_HEADER_BYTES, &mut frame)?;
    let is_big_endian = header[3] & 1 == 1;
    let seed = log_checksum([0, 0], &header[..24], is_big_endian);
    let written = [word(&header, 24), word(&header, 28)];
    // The salts tell this log's frames from what an earlier one left behind. If the header is damaged, its first
    // frame has them too.
    let salts: [u8; 8] = if seed == written { array(&header[16..24]) } else { array(&frame[8..16]) };

    let mut running = written;
    let mut open = Vec::new();
    let mut is_damaged = seed != written;
    for number in 0..frames {
        let offset = LOG_HEADER_BYTES + number * frame_bytes;
        if read_at(log, offset, &mut frame).is_err() {
            continue;
        }
        let (head, page) = frame.split_at(FRAME_HEADER_BYTES);
        let sum = log_checksum(running, &head[..8], is_big_endian);
        let sum = log_checksum(sum, page, is_big_endian);
        running = [word(head, 16), word(head, 20)];
        if sum != running || head[8..16] != salts {
            is_damaged = true;
            continue;
        }
        open.push((word(head, 0), offset + FRAME_HEADER_BYTES as u64));
        let is_commit = word(head, 4) != 0;
        if is_commit {
            index.pages.extend(open.drain(..));
            index.commits_behind_damage += u64::from(is_damaged);
        }
    }
    Ok(index)
}

fn log_checksum([mut first, mut second]: [u32; 2], bytes: &[u8], is_big_endian: bool) -> [u32; 2] {
    let number = |bytes: &[u8]| {
        if is_big_endian { u32::from_be_bytes(array(bytes)) } else { u32::from_le_bytes(array(bytes)) }
    };
    for pair in bytes.chunks_exact(8) {
        first = first.wrapping_add(number(&pair[..4])).wrapping_add(second);
        second = second.wrapping_add(number(&pair[4..])).wrapping_add(first);
    }
    [first, second]
}

fn kind(page: &[u8], number: u32) -> u8 {
    page[tree_start(number)]
}

fn children(page: &[u8], number: u32) -> Option<Vec<u32>> {
    let mut children = Vec::new();
    for cell in cells(page, number, 12)? {
        children.push(Cursor { bytes: page, at: cell }.u32()?);
    }
    children.push(Cursor { bytes: page, at: tree_start(number) + 8 }.u32()?);
    Some(children)
}

/// Where the cells of a b-tree page begin; `None` if there are more than it can hold.
fn cells(page: &[u8], number: u32, header_bytes: usize) -> Option<Vec<usize>> {
    let start = tree_start(number);
    let count = usize::from(Cursor { bytes: page, at: start + 3 }.u16()?);
    let mut pointers = Cursor { bytes: page, at: start + header_bytes };
    (0..count).map(|_| pointers.u16().map(usize::from)).collect()
}

fn tree_start(number: u32) -> usize {
    if number == 1 { FILE_HEADER_BYTES } else { 0 }
}

fn local_bytes(length: usize) -> usize {
    if length <= LOCAL_MAX {
        return length;
    }
    let wanted = LOCAL_MIN + (length - LOCAL_MIN) % OVERFLOW_BYTES;
    if wanted <= LOCAL_MAX { wanted } else { LOCAL_MIN }
}

/// The columns of a record: a header of types, then their contents.
fn values(payload: &[u8]) -> Option<Vec<Value>> {
    let mut types = Cursor { bytes: payload, at: 0 };
    let header_bytes = usize::try_from(types.varint()?).ok()?;
    let mut contents = Cursor { bytes: payload, at: header_bytes };
    let mut values = Vec::new();
    while types.at < header_bytes {
        values.push(contents.value(types.varint()?)?);
    }
    Some(values)
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(count)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|bytes| u16::from_be_bytes(array(bytes)))
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4).map(|bytes| u32::from_be_bytes(array(bytes)))
    }

    /// Seven bits a byte, the ninth byte whole.
    fn varint(&mut self) -> Option<i64> {
        let mut number: u64 = 0;
        for index in 0..9 {
            let byte = self.take(1)?[0];
            if index == 8 {
                return Some((number << 8 | u64::from(byte)).cast_signed());
            }
            number = number << 7 | u64::from(byte & 0x7f);
            if byte & 0x80 == 0 {
                break;
            }
        }
        Some(number.cast_signed())
    }

    fn integer(&mut self, bytes: usize) -> Option<Value> {
        let taken = self.take(bytes)?;
        let sign = if taken[0] & 0x80 == 0 { 0 } else { -1 };
        Some(Value::Integer(taken.iter().fold(sign, |number, byte| number << 8 | i64::from(*byte))))
    }

    fn value(&mut self, kind: i64) -> Option<Value> {
        match kind {
            0 => Some(Value::Null),
            1..=4 => self.integer(usize::try_from(kind).ok()?),
            5 => self.integer(6),
            6 => self.integer(8),
            8 => Some(Value::Integer(0)),
            9 => Some(Value::Integer(1)),
            12.. => {
                let bytes = self.take(usize::try_from((kind - 12) / 2).ok()?)?.to_vec();
                if kind % 2 == 0 {
                    Some(Value::Blob(bytes))
                } else {
                    String::from_utf8(bytes).ok().map(Value::Text)
                }
            }
            // No column of ours holds a float.
            _ => None,
        }
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(array(&bytes[at..at + 4]))
}

/// The first bytes of a slice that is long enough, as every caller's is.
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[..N]);
    array
}

/// Reads what there is; the rest of the buffer becomes zero, as a truncated file's last page.
fn read_at(file: &mut File, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
    file.seek(SeekFrom::Start(offset))?;
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer[filled..].fill(0);
    Ok(())
}
