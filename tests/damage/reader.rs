//! Says which batches of a damaged spool survived, without anything of the crate's: it knows, byte by byte, what a batch
//! looks like in the file, having written down the record as SQLite does (<https://www.sqlite.org/fileformat2.html>), and
//! looks where it stood before the damage.

use std::ops::Range;

use memchr::memmem;
use rusqlite::Connection;
use rusqlite::types::Value;

use super::shapes::{self, Files};

pub(crate) const LOG_HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

/// Bytes of a page, as the head of an undamaged database says it.
pub(crate) fn page_of(files: &Files) -> usize {
    match u16::from_be_bytes(files[""][16..18].try_into().unwrap()) {
        1 => 65_536,
        bytes => bytes.into(),
    }
}

/// Bytes of a frame of its log.
pub(crate) fn frame_of(files: &Files) -> usize {
    FRAME_HEADER + page_of(files)
}

/// What tells a row of the quarantine from one of the backlog.
const QUARANTINE_COLUMNS: usize = 19;

/// The first byte of a page with a table's rows.
const TABLE_LEAF: u8 = 0x0d;

/// One batch of an undamaged spool, and all the places where it stands.
pub(crate) struct Batch {
    pub(crate) first_seq: u64,
    /// The numbers of its lines.
    pub(crate) lines: Vec<u64>,
    copies: Vec<Copy>,
}

/// One way to read a batch: each part of it in any of some places.
struct Copy {
    parts: Vec<Vec<Place>>,
}

/// Some bytes of a file.
#[derive(Clone, Debug)]
struct Place {
    file: &'static str,
    bytes: Range<usize>,
    /// Where the transaction ends that wrote it, if it is in the log.
    needs: usize,
}

/// What is left of a batch.
#[derive(Debug, PartialEq)]
pub(crate) enum Left {
    /// Every byte of it.
    Whole,
    /// Something is missing or changed wherever it stood.
    Broken,
}

impl Batch {
    pub(crate) fn points(&self) -> u64 {
        self.lines.len() as u64
    }

    pub(crate) fn left(&self, before: &Files, after: &Files) -> Left {
        if self.copies.iter().any(|copy| copy.is_whole(before, after)) { Left::Whole } else { Left::Broken }
    }

    /// Why a batch that survived could not be found, if there is a reason for each copy of it that is whole.
    pub(crate) fn excuse(&self, before: &Files, after: &Files) -> Option<&'static str> {
        let log = LogShape::of(before);
        let whole = self.copies.iter().filter(|copy| copy.is_whole(before, after));
        let excuses: Option<Vec<_>> = whole.map(|copy| copy.excuse(&log, before, after)).collect();
        excuses?.first().copied()
    }
}

impl Copy {
    /// Each of its parts stands untouched somewhere.
    fn is_whole(&self, before: &Files, after: &Files) -> bool {
        self.parts.iter().all(|places| places.iter().any(|place| place.is_untouched(before, after)))
    }

    /// Why it could not be found although it is whole, if there is a reason.
    fn excuse(&self, log: &LogShape, before: &Files, after: &Files) -> Option<&'static str> {
        let untouched = |places: &[Place]| -> Vec<Place> {
            places.iter().filter(|place| place.is_untouched(before, after)).cloned().collect()
        };
        let parts: Vec<Vec<Place>> = self.parts.iter().map(|places| untouched(places)).collect();
        let one_part_has_only =
            |is_lost: &dyn Fn(&Place) -> bool| parts.iter().any(|places| places.iter().all(is_lost));
        if !log.is_untouched(log.last_begin..log.end, before, after)
            && one_part_has_only(&|place| place.file == "-wal" && place.bytes.start >= log.last_begin)
        {
            return Some("stands in the last transaction of the log, which is torn");
        }
        if parts[0].iter().all(|place| !place.page_head_is_untouched(before, after)) {
            return Some("the head of its page, which says where its rows are, is damaged");
        }
        if one_part_has_only(&|place| !place.frame_head_is_untouched(before, after)) {
            return Some("the head of a frame, which says which page it is, is damaged");
        }
        if one_part_has_only(&|place| place.file == "-wal")
            && !log.is_untouched(0..LOG_HEADER + frame_of(before), before, after)
        {
            return Some("the head of the log is damaged, and so is its first frame");
        }
        None
    }
}

impl Place {
    fn is_untouched(&self, before: &Files, after: &Files) -> bool {
        let there = |files: &Files| files.get(self.file)?.get(self.bytes.clone()).map(<[u8]>::to_vec);
        let length = after.get(self.file).map_or(0, Vec::len);
        self.needs <= length && there(after).is_some_and(|bytes| Some(bytes) == there(before))
    }

    /// Whether it can be told of which page the frame is, if it is in one.
    fn frame_head_is_untouched(&self, before: &Files, after: &Files) -> bool {
        if self.file.is_empty() {
            return true;
        }
        let frame = frame_of(before);
        let start = (self.bytes.start - LOG_HEADER) / frame * frame + LOG_HEADER;
        let head = |files: &Files| files.get(self.file)?.get(start..start + FRAME_HEADER).map(<[u8]>::to_vec);
        head(before) == head(after)
    }

    fn page_head_is_untouched(&self, before: &Files, after: &Files) -> bool {
        let (page, frame) = (page_of(before), frame_of(before));
        let start = match self.file {
            "-wal" => (self.bytes.start - LOG_HEADER) / frame * frame + LOG_HEADER + FRAME_HEADER,
            _ => self.bytes.start / page * page,
        };
        let Some(page) = before[self.file].get(start..start + 8) else { return false };
        let cells = usize::from(u16::from_be_bytes([page[3], page[4]]));
        let head = start..start + 8 + 2 * cells;
        let there = |files: &Files| files.get(self.file)?.get(head.clone()).map(<[u8]>::to_vec);
        there(after).is_some() && there(after) == there(before)
    }
}

/// Where the last transaction of an undamaged log stands.
struct LogShape {
    last_begin: usize,
    end: usize,
}

impl LogShape {
    fn of(files: &Files) -> Self {
        let ends: Vec<usize> = commit_ends(files);
        let end = ends.last().copied().unwrap_or(0);
        let last_begin = ends.len().checked_sub(2).map_or(0, |index| ends[index]);
        Self { last_begin, end }
    }

    fn is_untouched(&self, range: Range<usize>, before: &Files, after: &Files) -> bool {
        let there = |files: &Files| files.get("-wal")?.get(range.clone()).map(<[u8]>::to_vec);
        there(before) == there(after)
    }
}

/// Offsets behind the last frame of each transaction of the log that is in force.
fn commit_ends(files: &Files) -> Vec<usize> {
    frames(files).filter(|frame| frame.is_commit).map(|frame| frame.end).collect()
}

struct Frame {
    page: u32,
    start: usize,
    end: usize,
    is_commit: bool,
}

/// The frames of an undamaged log that are in force: those that have the salts of its head.
fn frames(files: &Files) -> impl Iterator<Item = Frame> {
    let log = files.get("-wal").map_or(&[][..], Vec::as_slice);
    let number = |at: usize| u32::from_be_bytes(log[at..at + 4].try_into().unwrap());
    let frame = frame_of(files);
    let count = log.len().saturating_sub(LOG_HEADER) / frame;
    (0..count).filter_map(move |index| {
        let start = LOG_HEADER + index * frame;
        (log[16..24] == log[start + 8..start + 16]).then(|| Frame {
            page: number(start),
            start: start + FRAME_HEADER,
            end: start + frame,
            is_commit: number(start + 4) != 0,
        })
    })
}

/// Every batch of undamaged files, as SQLite reads them, each found again in the bytes.
pub(crate) fn batches(files: &Files) -> Vec<Batch> {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("copy.db");
    shapes::write(files, &database);
    let conn = Connection::open(&database).unwrap();
    let images = images(files);
    let mut all = Vec::new();
    for table in ["batch", "quarantine"] {
        let mut statement = conn.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let columns = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let values: Vec<Value> = (0..columns).map(|index| row.get(index).unwrap()).collect();
            let batch = found(&values, &images, files);
            assert_eq!(
                batch.left(files, files),
                Left::Whole,
                "{table}: a batch was not found in the file's bytes"
            );
            all.push(batch);
        }
    }
    all
}

/// A page's content somewhere: its number, and where it begins.
struct Image {
    page: u32,
    file: &'static str,
    start: usize,
    needs: usize,
}

fn images(files: &Files) -> Vec<Image> {
    let (ends, page) = (commit_ends(files), page_of(files));
    let in_database = (0..files[""].len() / page).map(|index| Image {
        page: index as u32 + 1,
        file: "",
        start: index * page,
        needs: 0,
    });
    let in_log = frames(files).filter_map(|frame| {
        let needs = *ends.iter().find(|end| **end >= frame.end)?;
        Some(Image { page: frame.page, file: "-wal", start: frame.start, needs })
    });
    in_database.chain(in_log).collect()
}

fn found(values: &[Value], images: &[Image], files: &Files) -> Batch {
    let integer = |index: usize| match values[index] {
        Value::Integer(number) => number,
        _ => panic!("column {index} is no number"),
    };
    let Some(Value::Blob(body)) = values.last() else { panic!("the last column is no body") };
    let text = std::str::from_utf8(body).unwrap();
    let lines = text.lines().map(|line| line.split(['=', 'i']).find_map(|part| part.parse().ok()).unwrap());
    let record = record(values);
    let page_bytes = page_of(files);
    let local = local_bytes(record.len(), page_bytes);
    let mut cell = [varint(record.len() as u64), varint(integer(0) as u64)].concat();
    cell.extend_from_slice(&record[..local]);
    let mut copies = Vec::new();
    for image in images {
        let page = &files[image.file][image.start..image.start + page_bytes];
        let Some(at) = (page[0] == TABLE_LEAF).then(|| memmem::find(page, &cell)).flatten() else { continue };
        let mut length = cell.len();
        let mut parts = Vec::new();
        if local < record.len() {
            let next = u32::from_be_bytes(page[at + length..at + length + 4].try_into().unwrap());
            length += 4;
            parts = chain(next, &record[local..], images, files);
        }
        parts.insert(0, vec![image.place(at..at + length)]);
        copies.push(Copy { parts });
    }
    // In the backlog a batch lies under its first number, in quarantine under an id.
    let first_seq = integer(usize::from(values.len() == QUARANTINE_COLUMNS));
    Batch { first_seq: first_seq as u64, lines: lines.collect(), copies }
}

/// Where the rest of a record stands: each page of it in any of its versions that has the right content.
fn chain(first: u32, rest: &[u8], images: &[Image], files: &Files) -> Vec<Vec<Place>> {
    let (mut next, mut parts) = (first, Vec::new());
    let page_bytes = page_of(files);
    for chunk in rest.chunks(page_bytes - 4) {
        let mut follower = 0;
        let places = images.iter().filter(|image| image.page == next).filter_map(|image| {
            let page = &files[image.file][image.start..image.start + page_bytes];
            (page[4..4 + chunk.len()] == *chunk).then(|| {
                follower = u32::from_be_bytes(page[..4].try_into().unwrap());
                image.place(0..4 + chunk.len())
            })
        });
        parts.push(places.collect());
        next = follower;
    }
    parts
}

impl Image {
    fn place(&self, within: Range<usize>) -> Place {
        Place {
            file: self.file,
            bytes: self.start + within.start..self.start + within.end,
            needs: self.needs,
        }
    }
}

/// A row as SQLite stores it: a header of types, then the contents. The first column is the row's id, and stands
/// elsewhere.
fn record(values: &[Value]) -> Vec<u8> {
    let (mut types, mut contents) = (varint(0), Vec::new());
    for value in &values[1..] {
        match value {
            Value::Null => types.extend(varint(0)),
            Value::Integer(number) => {
                let (kind, bytes) = integer_type(*number);
                types.extend(varint(kind));
                contents.extend_from_slice(&number.to_be_bytes()[8 - bytes..]);
            }
            Value::Text(text) => {
                types.extend(varint(text.len() as u64 * 2 + 13));
                contents.extend_from_slice(text.as_bytes());
            }
            Value::Blob(bytes) => {
                types.extend(varint(bytes.len() as u64 * 2 + 12));
                contents.extend_from_slice(bytes);
            }
            Value::Real(_) => panic!("no column holds a float"),
        }
    }
    assert!(types.len() < 127, "the header's length is one byte");
    let mut record = varint(types.len() as u64 + 1);
    record.extend(types);
    record.extend(contents);
    record
}

/// The type of a number and its bytes.
fn integer_type(number: i64) -> (u64, usize) {
    let fits = |bits: u32| (-(1_i64 << (bits - 1))..1 << (bits - 1)).contains(&number);
    match number {
        0 => (8, 0),
        1 => (9, 0),
        _ if fits(8) => (1, 1),
        _ if fits(16) => (2, 2),
        _ if fits(24) => (3, 3),
        _ if fits(32) => (4, 4),
        _ if fits(48) => (5, 6),
        _ => (6, 8),
    }
}

fn varint(number: u64) -> Vec<u8> {
    assert!(number < 1 << 56, "eight groups of seven bits");
    let mut bytes = vec![(number & 0x7f) as u8];
    let mut rest = number >> 7;
    while rest > 0 {
        bytes.insert(0, (rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    bytes
}

/// How much of a record stands in its leaf.
fn local_bytes(length: usize, page_bytes: usize) -> usize {
    let (max, min) = (page_bytes - 35, (page_bytes - 12) * 32 / 255 - 23);
    if length <= max {
        return length;
    }
    let wanted = min + (length - min) % (page_bytes - 4);
    if wanted <= max { wanted } else { min }
}
