//! What was done to the files of a folder, and what a power cut could have left of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

/// What a disk writes as a whole or not at all.
pub const SECTOR_BYTES: usize = 512;

/// One thing that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Op {
    Create {
        file: String,
    },
    Write {
        file: String,
        at: u64,
        bytes: Vec<u8>,
    },
    Truncate {
        file: String,
        len: u64,
    },
    /// The first sync of a new journal or log syncs its folder, too: which files there are.
    Sync {
        file: String,
        folder: bool,
    },
    /// What was not on disk by then is given up: the system takes it for written, and no later sync writes it.
    SyncFailed {
        file: String,
    },
    Delete {
        file: String,
        folder: bool,
    },
    Mark(u64),
}

/// What a power cut leaves of something that was not synced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    All,
    Nothing,
    /// Of a write, the sectors for which this holds. Of anything else, all.
    Sectors(Vec<bool>),
}

/// The files of a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    files: BTreeMap<String, Vec<u8>>,
}

/// A beginning, and all that was done since.
#[derive(Clone, Debug, Default)]
pub struct History {
    start: Image,
    ops: Vec<Op>,
}

impl Image {
    /// Reads the files of a folder, without its subfolders.
    ///
    /// # Errors
    /// The folder or a file of it cannot be read.
    pub fn load(folder: &Path) -> io::Result<Self> {
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if let (true, Ok(name)) = (entry.file_type()?.is_file(), entry.file_name().into_string()) {
                files.insert(name, fs::read(entry.path())?);
            }
        }
        Ok(Self { files })
    }

    /// Makes the folder hold these files and no others. The shared memory of logs is left out: it does not outlive the
    /// machine.
    ///
    /// # Errors
    /// A file cannot be written or removed.
    pub fn store(&self, folder: &Path) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            fs::remove_file(entry?.path())?;
        }
        for (name, bytes) in self.files.iter().filter(|(name, _)| !name.ends_with("-shm")) {
            fs::write(folder.join(name), bytes)?;
        }
        Ok(())
    }

    /// The content of a file.
    pub fn file(&self, name: &str) -> Option<&[u8]> {
        self.files.get(name).map(Vec::as_slice)
    }

    fn apply(&mut self, op: &Op, kept: &Kept) {
        if *kept == Kept::Nothing {
            return;
        }
        match op {
            Op::Create { file } => _ = self.files.entry(file.clone()).or_default(),
            Op::Write { file, at, bytes } => {
                let content = self.files.entry(file.clone()).or_default();
                for (nth, sector) in sectors(*at, bytes).enumerate() {
                    let is_kept = match kept {
                        Kept::Sectors(sectors) => sectors.get(nth).copied().unwrap_or(false),
                        _ => true,
                    };
                    if is_kept {
                        write_at(content, sector.0, sector.1);
                    }
                }
            }
            Op::Truncate { file, len } => {
                if let Some(content) = self.files.get_mut(file) {
                    content.resize(usize_of(*len), 0);
                }
            }
            Op::Delete { file, .. } => _ = self.files.remove(file),
            Op::Sync { .. } | Op::SyncFailed { .. } | Op::Mark(_) => {}
        }
    }
}

impl History {
    pub(crate) fn beginning_with(start: Image) -> Self {
        Self { start, ops: Vec::new() }
    }

    pub(crate) fn push(&mut self, op: Op) {
        self.ops.push(op);
    }

    /// What was done, in order.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// How many sectors a write touches: what [`Kept::Sectors`] speaks of.
    pub fn sectors(op: &Op) -> usize {
        match op {
            Op::Write { at, bytes, .. } => sectors(*at, bytes).count(),
            _ => 0,
        }
    }

    /// The power fails after the last.
    pub fn last_cut(&self) -> Cut<'_> {
        self.cuts().nth(self.ops.len()).expect("there is one more cut than things that were done")
    }

    /// Visits the cut before each thing that was done, and the one after the last, in order.
    pub fn cuts(&self) -> Cuts<'_> {
        Cuts {
            history: self,
            next: 0,
            durable: self.start.clone(),
            pending: Vec::new(),
            marks: BTreeSet::new(),
        }
    }
}

/// See [`History::cuts`].
#[derive(Debug)]
pub struct Cuts<'a> {
    history: &'a History,
    next: usize,
    durable: Image,
    pending: Vec<Pending<'a>>,
    marks: BTreeSet<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Pending<'a> {
    op: &'a Op,
    fate: Synced,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Synced {
    NotYet,
    /// A sync failed.
    GivenUp,
    /// It is on disk, on top of something that was given up and may be there or not.
    Done,
}

/// The power fails here.
#[derive(Clone, Debug)]
pub struct Cut<'a> {
    /// So many things had been done.
    pub done: usize,
    /// What is on disk for certain.
    pub durable: Image,
    /// What may be on disk or not, each for itself, in order.
    pub pending: Vec<&'a Op>,
    /// The same, and what was synced on top of some of it.
    layers: Vec<Pending<'a>>,
    /// What a test had marked.
    pub marks: BTreeSet<u64>,
}

impl<'a> Iterator for Cuts<'a> {
    type Item = Cut<'a>;

    fn next(&mut self) -> Option<Cut<'a>> {
        self.nth(0)
    }

    /// Passes what lies between without building it: a long history has many cuts.
    fn nth(&mut self, skipped: usize) -> Option<Cut<'a>> {
        for _ in 0..skipped {
            self.pass_next();
        }
        if self.next > self.history.ops.len() {
            return None;
        }
        let cut = Cut {
            done: self.next,
            durable: self.durable.clone(),
            pending: self
                .pending
                .iter()
                .filter(|layer| layer.fate != Synced::Done)
                .map(|layer| layer.op)
                .collect(),
            layers: self.pending.clone(),
            marks: self.marks.clone(),
        };
        self.pass_next();
        Some(cut)
    }
}

impl<'a> Cuts<'a> {
    fn pass_next(&mut self) {
        if let Some(op) = self.history.ops.get(self.next) {
            self.pass(op);
        }
        self.next += 1;
    }

    fn pass(&mut self, op: &'a Op) {
        match op {
            Op::Sync { file, folder } => self.settle(Some(file), *folder),
            Op::SyncFailed { file } => {
                // What was synced on top of something that was given up before stays synced.
                let of_it = |pending: &&mut Pending<'_>| {
                    file_of(pending.op) == Some(file) && pending.fate == Synced::NotYet
                };
                self.pending.iter_mut().filter(of_it).for_each(|pending| pending.fate = Synced::GivenUp);
            }
            Op::Delete { folder: true, .. } => {
                self.pending.push(Pending { op, fate: Synced::NotYet });
                self.settle(None, true);
            }
            Op::Mark(mark) => _ = self.marks.insert(*mark),
            _ => self.pending.push(Pending { op, fate: Synced::NotYet }),
        }
    }

    /// What was done to the file is on disk, and if the folder was synced, which files there are.
    fn settle(&mut self, file: Option<&str>, folder: bool) {
        let mut below = BTreeSet::new();
        let mut pending = Vec::new();
        for mut waiting in self.pending.drain(..) {
            let name = file_of(waiting.op);
            let is_settled = match waiting.op {
                Op::Create { .. } | Op::Delete { .. } => folder,
                _ => file.is_some() && name == file && waiting.fate == Synced::NotYet,
            };
            if is_settled && !below.contains(&name) {
                self.durable.apply(waiting.op, &Kept::All);
                continue;
            }
            if is_settled {
                waiting.fate = Synced::Done;
            }
            if waiting.fate == Synced::GivenUp {
                below.insert(name);
            }
            pending.push(waiting);
        }
        self.pending = pending;
    }
}

impl Cut<'_> {
    /// What is on disk if of each pending thing so much was kept.
    pub fn image(&self, mut kept: impl FnMut(usize, &Op) -> Kept) -> Image {
        let mut image = self.durable.clone();
        let mut nameless = BTreeSet::new();
        let mut nth = 0..;
        for Pending { op, fate } in &self.layers {
            let kept = match fate {
                Synced::Done => Kept::All,
                _ => kept(nth.next().unwrap_or(usize::MAX), op),
            };
            if let (Op::Create { file }, Kept::Nothing) = (op, &kept) {
                nameless.insert(file);
            }
            image.apply(op, &kept);
        }
        // What was written to it is nowhere to be found.
        image.files.retain(|name, _| !nameless.contains(name));
        image
    }
}

fn file_of(op: &Op) -> Option<&str> {
    match op {
        Op::Create { file }
        | Op::Write { file, .. }
        | Op::Truncate { file, .. }
        | Op::Sync { file, .. }
        | Op::SyncFailed { file }
        | Op::Delete { file, .. } => Some(file),
        Op::Mark(_) => None,
    }
}

/// The parts of a write, by sectors of the disk.
fn sectors(at: u64, bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let mut at = at;
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let room = SECTOR_BYTES - usize_of(at % SECTOR_BYTES as u64);
        let (sector, behind) = rest.split_at(room.min(rest.len()));
        let begin = at;
        at += sector.len() as u64;
        rest = behind;
        Some((begin, sector))
    })
}

fn write_at(content: &mut Vec<u8>, at: u64, bytes: &[u8]) {
    let at = usize_of(at);
    let end = at + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[at..end].copy_from_slice(bytes);
}

fn usize_of(number: u64) -> usize {
    usize::try_from(number).expect("files of tests fit into memory")
}
