//! A file system for SQLite that fails, blocks and remembers, for tests.
//!
//! [`Disk::watch`] puts a layer between SQLite and the operating system for the files of one folder; the rest of the
//! process keeps the system's own. The layer is SQLite's default file system from then on, so the code under test opens
//! its databases as ever, and cannot tell.
//!
//! - What SQLite asks for can be [judged](Disk::judge) call by call: let pass, refused with an error of the system's, done
//!   halfway. A judge that does not return is a disk that hangs.
//! - What was done is [remembered](Disk::remember), so that every state can be [rebuilt](History) that a power cut could have
//!   left: what was synced is there, of the rest any part.
//!
//! Only what SQLite does is seen: files that a program writes, renames or removes by itself are not. The shared memory
//! of the log (`-shm`) passes unseen, too; it means nothing after a power cut.

mod history;
mod vfs;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

pub use history::{Cut, Cuts, History, Image, Kept, Op, SECTOR_BYTES};

/// What SQLite is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Call<'a> {
    /// To open the file, or to create it where it is missing.
    Open,
    Read {
        at: u64,
        len: usize,
    },
    Write {
        at: u64,
        bytes: &'a [u8],
    },
    Truncate {
        len: u64,
    },
    Sync,
    Delete,
}

/// A call, and the file it is for: its name without the folder.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub file: &'a str,
    pub call: Call<'a>,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    /// Nothing is done, and SQLite is told of an input/output error.
    IoError,
    /// Nothing is done, and SQLite is told that the disk is full.
    Full,
    /// So many bytes of a write are done; then an input/output error.
    Torn(usize),
}

type Judge = Arc<dyn Fn(&Asked<'_>) -> Verdict + Send + Sync>;

/// A watched folder; until this is dropped.
#[derive(Debug)]
pub struct Disk {
    watch: Arc<Watch>,
}

/// What the files of a watched folder share.
pub(crate) struct Watch {
    folder: PathBuf,
    judge: RwLock<Option<Judge>>,
    history: Mutex<Option<History>>,
}

/// Folders by their true path.
static WATCHED: RwLock<BTreeMap<PathBuf, Arc<Watch>>> = RwLock::new(BTreeMap::new());

impl Disk {
    /// Watches the files in `folder` that are opened from now on. Everything passes until a judge says otherwise.
    ///
    /// # Errors
    /// The folder is not there, or watched already.
    pub fn watch(folder: &Path) -> io::Result<Self> {
        vfs::register();
        let folder = folder.canonicalize()?;
        let watch = Watch { folder: folder.clone(), judge: RwLock::default(), history: Mutex::default() };
        let watch = Arc::new(watch);
        let mut watched = WATCHED.write().unwrap_or_else(PoisonError::into_inner);
        if watched.contains_key(&folder) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "watched already"));
        }
        watched.insert(folder, Arc::clone(&watch));
        Ok(Self { watch })
    }

    /// Asks `judge` before each call from now on. It is called on SQLite's thread and may block there; calls of other
    /// threads are judged meanwhile.
    pub fn judge(&self, judge: impl Fn(&Asked<'_>) -> Verdict + Send + Sync + 'static) {
        *self.watch.judge.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(judge));
    }

    /// Everything passes again. A judge that is at work is not waited for.
    pub fn relent(&self) {
        *self.watch.judge.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Remembers what is done from now on. What lies in the folder counts as synced.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn remember(&self) -> io::Result<()> {
        let history = History::beginning_with(Image::load(&self.watch.folder)?);
        *self.watch.history() = Some(history);
        Ok(())
    }

    /// Puts a mark into what is remembered: what a test knows to be true from here on.
    pub fn mark(&self, mark: u64) {
        self.watch.note(|| Op::Mark(mark));
    }

    /// What has been done since [`remember`](Self::remember); nothing is remembered any more.
    pub fn take_history(&self) -> History {
        self.watch.history().take().unwrap_or_default()
    }
}

/// Says that a file was written over itself, as it is, and synced, by other means than SQLite's. Judged as a sync, if its folder is
/// watched; otherwise it is synced.
///
/// # Errors
/// The judge says so, or the file cannot be read or synced.
pub fn written_again(path: &Path) -> io::Result<()> {
    let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
    let path = match (folder, path.file_name()) {
        (Some(folder), Some(name)) => folder.join(name),
        _ => path.to_owned(),
    };
    let Some((watch, file)) = Watch::of(&path) else { return std::fs::File::open(path)?.sync_all() };
    let bytes = std::fs::read(&path)?;
    watch.note(|| Op::Write { file: file.clone(), at: 0, bytes });
    match watch.ask(&Asked { file: &file, call: Call::Sync }) {
        Verdict::Pass => {
            watch.note(|| Op::Sync { file, folder: false });
            Ok(())
        }
        Verdict::Full => Err(io::ErrorKind::StorageFull.into()),
        Verdict::IoError | Verdict::Torn(_) => {
            watch.note(|| Op::SyncFailed { file });
            Err(io::Error::other("the judge said so"))
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.relent();
        WATCHED.write().unwrap_or_else(PoisonError::into_inner).remove(&self.watch.folder);
    }
}

impl Watch {
    /// Who watches this file, and its name in the folder.
    pub(crate) fn of(path: &Path) -> Option<(Arc<Self>, String)> {
        let watched = WATCHED.read().unwrap_or_else(PoisonError::into_inner);
        let watch = watched.get(path.parent()?)?;
        Some((Arc::clone(watch), path.file_name()?.to_str()?.to_owned()))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(crate) fn ask(&self, asked: &Asked<'_>) -> Verdict {
        // Not held while the judge thinks: it may never come to an end.
        let judge = self.judge.read().unwrap_or_else(PoisonError::into_inner).clone();
        judge.map_or(Verdict::Pass, |judge| judge(asked))
    }

    pub(crate) fn note(&self, op: impl FnOnce() -> Op) {
        if let Some(history) = &mut *self.history() {
            history.push(op());
        }
    }

    fn history(&self) -> MutexGuard<'_, Option<History>> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("folder", &self.folder).finish_non_exhaustive()
    }
}
