//! Reads the pages of a damaged database without SQLite, which gives up where a single page is wrong.
//!
//! The format is the one of <https://www.sqlite.org/fileformat2.html>; it is stable. Everything read is checked against
//! the page it stands on, and nothing here is trusted: the rows have checksums of their own.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use rusqlite::types::Value;

use super::log::{Log, Version};
use super::page;
use super::paths::Paths;

/// Type bytes of b-tree pages.
const TABLE_INNER: u8 = 0x05;
const TABLE_LEAF: u8 = 0x0d;
const INDEX_LEAF: u8 = 0x0a;

/// Where the b-tree begins on the first page.
const FILE_HEADER_BYTES: usize = 100;
/// Where the header of the file says how many bytes a page has, and where that of the log does.
const SIZE_IN_FILE: u64 = 16;
const SIZE_IN_LOG: u64 = 8;
/// How the pointer map begins, which is on the second page: the third is a root, and so has no parent.
const MAP_BEGIN: [u8; 5] = [1, 0, 0, 0, 0];
/// Rows of a leaf that may go on elsewhere. Each keeps an eighth of a page there, so that there are eight at the most; but a page of
/// garbage may seem to have thousands, and to follow them all, to the end of the file each, would take minutes.
const CHAINS_MAX: usize = 64;
/// What an overflow page begins with: the number of the next.
const OVERFLOW_HEAD: usize = 4;

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

/// A page, and which of its versions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Image {
    number: u32,
    version: Version,
}

/// The pages of a database: from its log, where they are there, else from its file.
pub(super) struct Pages {
    database: File,
    page_bytes: usize,
    in_file: u32,
    log: Log,
}

impl Image {
    /// The version that counts.
    pub(super) const fn newest(number: u32) -> Self {
        Self { number, version: Version::Newest }
    }
}

impl Pages {
    pub(super) fn open(paths: &Paths) -> io::Result<Self> {
        let page_bytes = page_bytes(paths)?;
        let database = File::open(&paths.database)?;
        let in_file = database.metadata()?.len().div_ceil(page_bytes);
        let log = Log::open(&paths.wal(), page_bytes)?;
        let in_file = u32::try_from(in_file).unwrap_or(u32::MAX);
        Ok(Self { database, page_bytes: page_bytes as usize, in_file, log })
    }

    pub(super) const fn page_bytes(&self) -> u64 {
        self.page_bytes as u64
    }

    /// The numbers of all pages but the first. Where the file is damaged the log may have one of any number, far behind the end.
    pub(super) fn numbers(&self) -> Vec<u32> {
        let behind = self.log.pages().filter(|number| *number > self.in_file);
        (2..=self.in_file).chain(behind).collect()
    }

    /// Whether no frame of the log is damaged.
    pub(super) const fn log_is_whole(&self) -> bool {
        self.log.is_whole()
    }

    /// All versions of pages that the log has, and those in the file that it replaces. Where a newer one is lost an older
    /// one may hold what it held, be it on another page.
    pub(super) fn all_images(&self) -> Vec<Image> {
        let replaced = (2..=self.in_file)
            .filter(|number| self.log.has(*number))
            .map(|number| Image { number, version: Version::InFile });
        let logged = self.log.versions().map(|(number, version)| Image { number, version });
        replaced.chain(logged).collect()
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
            match self.page(Image::newest(number)) {
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
    pub(super) fn records(&mut self, leaf: Image) -> (Vec<Record>, bool) {
        let Some(page) = self.page(leaf) else { return (Vec::new(), false) };
        let kind = kind(&page, leaf.number);
        if kind != TABLE_LEAF && kind != INDEX_LEAF {
            return (Vec::new(), false);
        }
        let Some(cells) = cells(&page, leaf.number, 8) else { return (Vec::new(), false) };
        let count = cells.len();
        let mut chains = CHAINS_MAX;
        let records: Vec<Record> = cells
            .into_iter()
            .filter_map(|cell| self.record(&page, leaf, cell, kind == TABLE_LEAF, &mut chains))
            .collect();
        let is_whole = records.len() == count;
        (records, is_whole)
    }

    fn record(
        &mut self,
        page: &[u8],
        leaf: Image,
        cell: usize,
        has_rowid: bool,
        chains: &mut usize,
    ) -> Option<Record> {
        let mut at = Cursor { bytes: page, at: cell };
        // No row is longer than all pages together, so a chain of pages that runs in a circle ends.
        let length_max = (self.in_file as usize + self.log.pages().count()) * self.page_bytes;
        let length = usize::try_from(at.varint()?).ok().filter(|length| *length <= length_max)?;
        let rowid = if has_rowid { at.varint()? } else { 0 };
        let local = local_bytes(length, self.page_bytes);
        let mut payload = at.take(local)?.to_vec();
        if local < length {
            *chains = chains.checked_sub(1)?;
            let mut next = at.u32()?;
            while payload.len() < length {
                let page = self.page(Image { number: next, ..leaf }).filter(|_| next > 1)?;
                let part = (length - payload.len()).min(self.page_bytes - OVERFLOW_HEAD);
                payload.extend_from_slice(page.get(OVERFLOW_HEAD..OVERFLOW_HEAD + part)?);
                next = Cursor { bytes: &page, at: 0 }.u32()?;
            }
        }
        Some(Record { rowid, values: values(&payload)? })
    }

    /// A page's bytes; `None` if it is beyond the end or the disk cannot read it.
    fn page(&mut self, Image { number, version }: Image) -> Option<Vec<u8>> {
        let mut page = vec![0; self.page_bytes];
        if !self.log.read(number, version, &mut page).ok()? {
            let before = number.checked_sub(1).filter(|before| *before < self.in_file)?;
            let offset = u64::from(before) * self.page_bytes();
            read_at(&mut self.database, offset, &mut page).ok()?;
        }
        Some(page)
    }
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

/// Bytes of a page, as the file says. Where nothing says it, the usual.
pub(super) fn page_bytes(paths: &Paths) -> io::Result<u64> {
    Ok(page_bytes_said(paths)?.unwrap_or(page::MEDIUM))
}

/// Bytes of a page, from three places that say it: damage may have hit any of them. SQLite believes the header of the file, and
/// cannot read anything where that is false.
pub(super) fn page_bytes_said(paths: &Paths) -> io::Result<Option<u64>> {
    let mut database = open_if_there(&paths.database)?;
    let begins_map = |size: &u64| bytes_at(&mut database, *size).is_some_and(|found| found == MAP_BEGIN);
    if let Some(marked) = page::SIZES.into_iter().find(begins_map) {
        return Ok(Some(marked));
    }
    let mut log = open_if_there(&paths.wal())?;
    let in_header = bytes_at(&mut database, SIZE_IN_FILE).map(page::bytes_in_header);
    let in_log = bytes_at(&mut log, SIZE_IN_LOG).map(|size| u64::from(u32::from_be_bytes(size)));
    Ok([in_header, in_log].into_iter().flatten().find(|said| page::SIZES.contains(said)))
}

fn open_if_there(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some),
    }
}

/// Zeros behind the end of the file, nothing if it cannot be read.
fn bytes_at<const N: usize>(file: &mut Option<File>, offset: u64) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    read_at(file.as_mut()?, offset, &mut bytes).ok().map(|()| bytes)
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

/// How much of a table's row stands in its leaf.
fn local_bytes(length: usize, page_bytes: usize) -> usize {
    let (max, min) = (page_bytes - 35, (page_bytes - 12) * 32 / 255 - 23);
    if length <= max {
        return length;
    }
    let wanted = min + (length - min) % (page_bytes - OVERFLOW_HEAD);
    if wanted <= max { wanted } else { min }
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

/// The first bytes of a slice that is long enough, as every caller's is.
pub(super) fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[..N]);
    array
}

/// Reads what there is; the rest of the buffer becomes zero, as a truncated file's last page.
pub(super) fn read_at(file: &mut File, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
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

#[cfg(test)]
mod tests {
    use super::super::log::checksum;
    use super::*;

    /// A log with one page, as <https://www.sqlite.org/fileformat2.html#walformat> has it.
    fn log_of(number: u32, page_bytes: u32) -> Vec<u8> {
        let words = |words: &[u32]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
        let mut log = words(&[0x377f_0683, 3_007_000, page_bytes, 0, 7, 8]);
        let sum = checksum([0, 0], &log, true);
        log.extend(words(&sum));
        let head = words(&[number, number]);
        let content = vec![7; page_bytes as usize];
        let sum = checksum(checksum(sum, &head, true), &content, true);
        [log, head, words(&[7, 8]), words(&sum), content].concat()
    }

    #[test]
    fn a_page_far_behind_the_end_does_not_have_those_before_it_looked_for() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths { database: folder.path().join("plant.db") };
        std::fs::write(&paths.database, vec![0; 3 * 4_096]).unwrap();
        std::fs::write(paths.wal(), log_of(4_000_000_000, 4_096)).unwrap();
        let mut pages = Pages::open(&paths).unwrap();
        assert_eq!((pages.page_bytes(), pages.numbers()), (4_096, vec![2, 3, 4_000_000_000]));
        let found = |pages: &mut Pages, number| pages.page(Image::newest(number)).map(|page| page[0]);
        assert_eq!([0, 1, 3, 4].map(|number| found(&mut pages, number)), [None, Some(0), Some(0), None]);
        assert_eq!(found(&mut pages, 4_000_000_000), Some(7));
    }
}
