//! Reads the write-ahead log of a damaged database, frame by frame.
//!
//! SQLite takes the first damaged frame for the end of the log, which it is after a power cut. Here what is behind it
//! counts, too: each frame's checksum starts from the one that is written before it, so a damaged one spoils none but itself,
//! or, where what is written of its checksum is damaged, the next.
//! The format is the one of <https://www.sqlite.org/fileformat2.html#walformat>.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;

use super::pages::{array, read_at};

const HEADER_BYTES: u64 = 32;
const FRAME_HEADER_BYTES: usize = 24;

/// Which of the versions of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// The newest one that was committed and is not damaged.
    Newest,
    /// The one in the database's file, whatever the log has.
    InFile,
    /// The one that held when the transaction with this frame was done, be it damaged.
    AsOf(usize),
}

/// A log, or nothing where there is none.
#[derive(Debug, Default)]
pub(super) struct Log {
    file: Option<File>,
    /// Where the newest committed content of a page stands that is not damaged.
    newest: BTreeMap<u32, u64>,
    /// All frames of this log up to the last that ends a transaction, damaged ones whose head can be read included.
    frames: Vec<Frame>,
    /// Of these: the frames in which a page stands.
    places: BTreeMap<u32, Vec<usize>>,
    commits_behind_damage: u64,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    page: u32,
    /// Where its content begins.
    content: u64,
    /// The last frame of its transaction.
    end: usize,
}

impl Log {
    pub(super) fn open(path: &Path, page_bytes: u64) -> io::Result<Self> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        let mut log = Self::default();
        log.index(&mut file, page_bytes)?;
        log.file = Some(file);
        Ok(log)
    }

    /// Whether the log holds commits behind a damaged frame, which SQLite would drop without a word.
    ///
    /// A power cut too can leave the last transaction with a frame missing, its final one being there. Behind a second
    /// transaction it cannot: with `sync = full` the first was synced before the second began.
    pub(super) const fn hides_commits(&self) -> bool {
        self.commits_behind_damage >= 2
    }

    /// Whether none of its transactions has a damaged frame in it or before it.
    pub(super) const fn is_whole(&self) -> bool {
        self.commits_behind_damage == 0
    }

    /// The pages that it has, in their order.
    pub(super) fn pages(&self) -> impl Iterator<Item = u32> {
        self.newest.keys().copied()
    }

    pub(super) fn has(&self, page: u32) -> bool {
        self.newest.contains_key(&page)
    }

    /// Every version of every page. A frame that holds the newest is among them: a row on it may go on in another that is
    /// taken for damaged only because the one before it is, and its checksum with it.
    pub(super) fn versions(&self) -> impl Iterator<Item = (u32, Version)> {
        let frames = self.frames.iter().enumerate();
        frames.map(|(position, frame)| (frame.page, Version::AsOf(position)))
    }

    /// Reads a version of a page; `false` if the log does not have it.
    pub(super) fn read(&mut self, page: u32, version: Version, content: &mut [u8]) -> io::Result<bool> {
        let place = match version {
            Version::Newest => self.newest.get(&page).copied(),
            Version::InFile => None,
            Version::AsOf(position) => self.place_as_of(page, position),
        };
        match place.zip(self.file.as_mut()) {
            Some((offset, file)) => read_at(file, offset, content).map(|()| true),
            None => Ok(false),
        }
    }

    fn place_as_of(&self, page: u32, position: usize) -> Option<u64> {
        let end = self.frames.get(position)?.end;
        // The frame asked for itself, for its own page: a transaction has one frame a page, but not if it is damaged.
        if self.frames[position].page == page {
            return Some(self.frames[position].content);
        }
        let places = self.places.get(&page)?;
        let before = places.partition_point(|place| *place <= end);
        before.checked_sub(1).map(|last| self.frames[places[last]].content)
    }

    fn index(&mut self, file: &mut File, page_bytes: u64) -> io::Result<()> {
        let frame_bytes = FRAME_HEADER_BYTES as u64 + page_bytes;
        let count = file.metadata()?.len().saturating_sub(HEADER_BYTES) / frame_bytes;
        if count == 0 {
            return Ok(());
        }
        let mut header = [0; HEADER_BYTES as usize];
        read_at(file, 0, &mut header)?;
        let mut frame = vec![0; FRAME_HEADER_BYTES + page_bytes as usize];
        read_at(file, HEADER_BYTES, &mut frame)?;
        let is_big_endian = header[3] & 1 == 1;
        let seed = checksum([0, 0], &header[..24], is_big_endian);
        let written = [word(&header, 24), word(&header, 28)];
        // The salts tell this log's frames from what an earlier one left behind. If the header is damaged, its first
        // frame has them too.
        let salts: [u8; 8] = if seed == written { array(&header[16..24]) } else { array(&frame[8..16]) };

        let mut running = written;
        let (mut whole, mut any) = (Vec::new(), Vec::new());
        let mut is_damaged = seed != written;
        for number in 0..count {
            let offset = HEADER_BYTES + number * frame_bytes;
            if read_at(file, offset, &mut frame).is_err() {
                is_damaged = true;
                continue;
            }
            let (head, page) = frame.split_at(FRAME_HEADER_BYTES);
            let sum = checksum(running, &head[..8], is_big_endian);
            let sum = checksum(sum, page, is_big_endian);
            running = [word(head, 16), word(head, 20)];
            let is_ours = head[8..16] == salts;
            let is_whole = is_ours && sum == running;
            let place = (word(head, 0), offset + FRAME_HEADER_BYTES as u64);
            is_damaged |= !is_whole;
            if is_whole {
                whole.push(place);
            }
            if is_ours {
                // A transaction writes a page once, and each writes that of the state: here another began, and where the
                // one before it ended is destroyed.
                let is_next = any.iter().any(|(page, _)| *page == place.0);
                self.commits_behind_damage += u64::from(is_next && is_damaged);
                any.push(place);
            }
            let is_commit = is_ours && word(head, 4) != 0;
            if is_commit {
                // What ends a transaction and is damaged does not make it valid, but says that it was there.
                self.commits_behind_damage += u64::from(is_damaged);
                self.add_transaction(&mut any);
            }
            if is_commit && is_whole {
                self.newest.extend(whole.drain(..));
            }
        }
        Ok(())
    }

    fn add_transaction(&mut self, places: &mut Vec<(u32, u64)>) {
        let end = self.frames.len() + places.len() - 1;
        for (page, content) in places.drain(..) {
            self.places.entry(page).or_default().push(self.frames.len());
            self.frames.push(Frame { page, content, end });
        }
    }
}

pub(super) fn checksum([mut first, mut second]: [u32; 2], bytes: &[u8], is_big_endian: bool) -> [u32; 2] {
    let number = |bytes: &[u8]| {
        if is_big_endian { u32::from_be_bytes(array(bytes)) } else { u32::from_le_bytes(array(bytes)) }
    };
    for pair in bytes.chunks_exact(8) {
        first = first.wrapping_add(number(&pair[..4])).wrapping_add(second);
        second = second.wrapping_add(number(&pair[4..])).wrapping_add(first);
    }
    [first, second]
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(array(&bytes[at..at + 4]))
}
