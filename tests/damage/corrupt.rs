//! What may happen to a file.

use std::fmt;

use super::reader::{self, LOG_HEADER};
use super::shapes::Files;

/// One thing that happened, to be printed.
#[derive(Clone, Debug)]
pub(crate) struct Damage {
    pub(crate) kind: Kind,
    pub(crate) file: &'static str,
    pub(crate) at: usize,
    pub(crate) length: usize,
    /// Bytes of a page, and of what it is part of in the file.
    page: usize,
    frame: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    FlippedBit,
    FlippedBits,
    Truncated,
    Emptied,
    ZeroedPage,
    GarbagePage,
    GarbageTail,
    HoleOfZeros,
    TornPage,
    LostLog,
    LostShm,
    LostLogAndShm,
    StaleShm,
}

impl Kind {
    pub(crate) const ALL: [Self; 13] = [
        Self::FlippedBit,
        Self::FlippedBits,
        Self::Truncated,
        Self::Emptied,
        Self::ZeroedPage,
        Self::GarbagePage,
        Self::GarbageTail,
        Self::HoleOfZeros,
        Self::TornPage,
        Self::LostLog,
        Self::LostShm,
        Self::LostLogAndShm,
        Self::StaleShm,
    ];
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, file, at, length, .. } = self;
        let file = if file.is_empty() { "the database" } else { file };
        write!(f, "{kind:?} in {file} at {at}, {length} bytes")
    }
}

/// Damages the files in one of all the ways.
pub(crate) fn corrupt(files: &mut Files, random: &mut fastrand::Rng) -> Damage {
    let has_log = files.get("-wal").is_some_and(|log| !log.is_empty());
    let kind = loop {
        let kind = Kind::ALL[random.usize(..Kind::ALL.len())];
        let wants_log = matches!(kind, Kind::LostLog | Kind::LostLogAndShm | Kind::LostShm | Kind::StaleShm);
        // A database emptied beside no log is a new one: rare, and nothing is left to look at.
        let is_dull = kind == Kind::Emptied && random.u8(..4) > 0;
        if (has_log || !wants_log) && !is_dull {
            break kind;
        }
    };
    let file = if has_log && random.bool() { "-wal" } else { "" };
    let (page, frame) = (reader::page_of(files), reader::frame_of(files));
    let mut damage = Damage { kind, file, at: 0, length: 0, page, frame };
    match kind {
        Kind::LostLog => drop(files.remove("-wal")),
        Kind::LostShm => drop(files.remove("-shm")),
        Kind::LostLogAndShm => files.retain(|part, _| part.is_empty()),
        Kind::StaleShm => {
            let shm = files.entry("-shm").or_insert_with(|| vec![0; 32_768]);
            let cut = random.usize(..shm.len());
            shm[cut..].iter_mut().for_each(|byte| *byte = random.u8(..));
        }
        _ => damage.hit(files.get_mut(file).unwrap(), random),
    }
    damage
}

impl Damage {
    fn hit(&mut self, bytes: &mut Vec<u8>, random: &mut fastrand::Rng) {
        self.at = random.usize(..bytes.len());
        self.length = 1;
        match self.kind {
            Kind::FlippedBit => bytes[self.at] ^= 1 << random.u8(..8),
            Kind::FlippedBits => {
                self.length = random.usize(2..40);
                for _ in 0..self.length {
                    let at = random.usize(..bytes.len());
                    bytes[at] ^= 1 << random.u8(..8);
                }
            }
            Kind::Truncated => {
                if random.bool() {
                    self.at = self.page_begin();
                }
                self.length = bytes.len() - self.at;
                bytes.truncate(self.at);
            }
            Kind::Emptied => {
                (self.at, self.length) = (0, bytes.len());
                bytes.clear();
            }
            Kind::GarbageTail => {
                self.length = random.usize(1..100_000);
                self.at = bytes.len();
                bytes.extend((0..self.length).map(|_| random.u8(..)));
            }
            Kind::ZeroedPage | Kind::GarbagePage => {
                (self.at, self.length) = (self.page_begin(), self.page);
                let is_zero = self.kind == Kind::ZeroedPage;
                self.fill(bytes, || if is_zero { 0 } else { random.u8(..) });
            }
            Kind::HoleOfZeros => {
                self.length = random.usize(1..60_000);
                self.fill(bytes, || 0);
            }
            // A disk writes sectors: some of a page's are old, or nothing.
            Kind::TornPage => {
                let sector = random.usize(1..self.page / 512);
                (self.at, self.length) = if random.bool() {
                    (self.page_begin(), sector * 512)
                } else {
                    (self.page_begin() + sector * 512, self.page - sector * 512)
                };
                let from = random.usize(..bytes.len() / self.page) * self.page;
                let old = bytes[from..from + self.page].to_vec();
                let mut old = old.into_iter();
                self.fill(bytes, || old.next().unwrap_or(0));
            }
            Kind::LostLog | Kind::LostShm | Kind::LostLogAndShm | Kind::StaleShm => {}
        }
    }

    /// Where the page begins that `at` is in, or the frame.
    fn page_begin(&self) -> usize {
        match self.file {
            "-wal" => self.at.saturating_sub(LOG_HEADER) / self.frame * self.frame + LOG_HEADER,
            _ => self.at / self.page * self.page,
        }
    }

    fn fill(&self, bytes: &mut [u8], mut content: impl FnMut() -> u8) {
        bytes.iter_mut().skip(self.at).take(self.length).for_each(|byte| *byte = content());
    }
}
