//! Room for the last transactions on a disk that others have filled: a file that takes up space, and gives it up for them.
//!
//! What is delivered has to be recorded, or it is sent again. A record needs some pages of the log, and on a disk with no page
//! left there is none. So while there is room a file is laid beside the database that is good for nothing but to be made smaller then
//! (CockroachDB keeps an [emergency ballast](https://www.cockroachlabs.com/docs/stable/cluster-setup-troubleshooting#automatic-ballast-files)
//! for the same reason). Half of it is for records, the other half for what has no later: openings, a closing, the record that
//! leaves nothing in the backlog.
//!
//! Whoever filled the disk may take what becomes free before we do. So what is given up goes to the log in the same breath, as
//! zeros behind its end; and while there is no ballast a log is not cut off after it was copied, but written from its start again.
//!
//! Its content never matters, and nothing of it is synced: a crash at any point leaves a file of any size or none, which is looked
//! at when the spool is opened.

use std::fs::{self, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use fs4::FileExt;

use super::error::{SpoolError, SpoolErrorKind};
use super::lock::SpoolLock;
use super::options::SpoolOptions;
use super::page;
use super::pages;
use super::paths::{self, Paths};
use super::room;
use super::set_aside;
use crate::log;

/// What of it is left to the log's index, and to what a file system notes of a file.
const BESIDE_LOG_BYTES: u64 = 64 << 10;

/// It is laid where so many times its size are free.
const FREE_MIN: u64 = 4;

/// A log of so many times its size that is given up leaves room for the ballast, and for a log as small as they are then.
const ROOM_FOR_BOTH: u64 = 2;

/// The part of it that is kept when a record that can be made later needs room.
const KEPT: u64 = 2;

/// The part that an opening is given: a transaction of some pages, and what is [beside](BESIDE_LOG_BYTES) the log.
const OPENING: u64 = 8;

/// With the room of such a part every opening finds enough: a new database and its log, or one transaction and the log's index.
const ENOUGH: u64 = 2;

/// What a transaction is to somebody who gives up room for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// It can be made later.
    Passing,
    /// It has no later, and is small. Others come after it.
    Opening,
    /// There is no later, or nothing else is needed after it.
    Last,
}

/// The file, and how much of it there is.
#[derive(Debug)]
pub(super) struct Ballast {
    path: PathBuf,
    bytes: u64,
    /// Its size: what records may write.
    whole: u64,
}

impl Ballast {
    /// What an earlier life has left of it, beside a file with such pages.
    pub(super) fn find(paths: &Paths, page_bytes: u64) -> Self {
        let path = paths.ballast();
        let bytes = fs::metadata(&path).map_or(0, |metadata| taken_up(&metadata));
        Self { path, bytes, whole: page::records_bytes(page_bytes) }
    }

    pub(super) const fn is_whole(&self) -> bool {
        self.bytes >= self.whole
    }

    /// Whether a log of this size has to stand in for it, and keep its bytes: little is free, and nothing says that the next
    /// transaction would find as much.
    pub(super) fn log_stands_in(&self, log_bytes: u64, paths: &Paths) -> bool {
        let is_small = log_bytes < ROOM_FOR_BOTH * self.whole;
        !self.is_whole() && is_small && room::free_bytes(paths) < FREE_MIN * self.whole
    }

    /// Lays it in the room that a log of this size has just given up, before others take it.
    pub(super) fn replace_log(&mut self, log_bytes: u64) {
        if log_bytes >= ROOM_FOR_BOTH * self.whole {
            self.lay();
        }
    }

    /// Lays it where there is room for it; whether it was not there before.
    pub(super) fn see_to(&mut self, free: u64) -> bool {
        let is_due = !self.is_whole() && free >= FREE_MIN * self.whole;
        if is_due {
            self.lay();
        }
        is_due && self.is_whole()
    }

    /// Lays it, or leaves nothing. Without it the disk is used as ever, but for the last page.
    fn lay(&mut self) {
        if self.is_whole() {
            return;
        }
        self.bytes = match take_up(&self.path, self.whole) {
            Ok(()) => self.whole,
            Err(error) => {
                log::debug!(file = %self.path.display(), %error, "no ballast was laid");
                let _ = paths::remove_if_there(&self.path);
                0
            }
        };
    }

    /// Gives room to the log; whether there was any to give.
    pub(super) fn give_up(&mut self, need: Need, paths: &Paths) -> bool {
        let freed = self.shrink(need);
        if freed > 0 {
            log::warn!(file = %paths.database.display(), freed, "the disk is full: ballast is given up");
            if let Err(error) = lengthen(&paths.wal(), freed.saturating_sub(BESIDE_LOG_BYTES)) {
                log::debug!(%error, "the log was not lengthened");
            }
        }
        freed > 0
    }

    /// Gives up so much of it, if there is as much; whether it did.
    pub(super) fn give(&mut self, bytes: u64) -> bool {
        self.bytes.checked_sub(bytes).is_some_and(|kept| self.shrink_to(kept) >= bytes)
    }

    /// How many bytes are free now that were not.
    fn shrink(&mut self, need: Need) -> u64 {
        self.shrink_to(match need {
            Need::Passing => self.bytes.min(self.whole / KEPT),
            Need::Opening => self.bytes.saturating_sub(self.whole / OPENING),
            Need::Last => 0,
        })
    }

    fn shrink_to(&mut self, kept: u64) -> u64 {
        let freed = self.bytes - kept;
        if freed == 0 {
            return 0;
        }
        let shrunk = match kept {
            0 => fs::remove_file(&self.path),
            _ => OpenOptions::new().write(true).open(&self.path).and_then(|file| file.set_len(kept)),
        };
        self.bytes = kept;
        if shrunk.is_ok() { freed } else { 0 }
    }
}

/// Opens a spool. On a full disk it is tried once more, with the ballast of an earlier life given up for it.
///
/// # Errors
/// As `open` says; for want of room also where there is how much.
pub(super) fn opening<T>(
    options: &SpoolOptions,
    mut open: impl FnMut() -> Result<T, SpoolError>,
) -> Result<T, SpoolError> {
    let enough = || page::records_bytes(page_bytes(options)) / ENOUGH;
    let lacks_room = |error: &SpoolError| match error.kind() {
        SpoolErrorKind::DiskFull => true,
        // SQLite has no word for a full disk where it makes the index of its log.
        SpoolErrorKind::Io => free_beside(options).is_some_and(|(_, free)| free < enough()),
        _ => false,
    };
    let paths = Paths::resolve(&options.path).ok();
    let was_there = paths.as_ref().is_none_or(is_anything_of);
    let error = match open() {
        Err(error) if lacks_room(&error) => error,
        other => return other,
    };
    let given_up = paths
        .as_ref()
        .is_some_and(|paths| Ballast::find(paths, page_bytes(options)).give_up(Need::Opening, paths));
    let error = match given_up.then(open) {
        None => error,
        Some(Err(error)) if lacks_room(&error) => error,
        Some(other) => return other,
    };
    if let Some(paths) = paths.filter(|_| !was_there) {
        leave_nothing(&paths);
    }
    Err(match free_beside(options) {
        Some((folder, free)) => error.for_want_of_room(&folder, free, enough()),
        None => error,
    })
}

/// Whether anything is there that may hold a batch: a log alone may.
fn is_anything_of(paths: &Paths) -> bool {
    let parts = [paths.database.clone(), paths.wal(), paths.rollback_journal()];
    parts.iter().any(|part| paths::len(part) > 0) || set_aside::is_under_way(paths)
}

/// Takes back what there is of a file that could not be made: it holds nothing, but the room that somebody needs.
fn leave_nothing(paths: &Paths) {
    // Otherwise nothing was begun, and locking it would begin something.
    if !paths.database.exists() {
        return;
    }
    let Ok(_lock) = SpoolLock::acquire(paths) else { return };
    for part in [paths.database.clone(), paths.wal(), paths.beside("-shm"), paths.rollback_journal()] {
        if let Err(error) = paths::remove_if_there(&part) {
            log::debug!(file = %part.display(), %error, "was not taken back");
        }
    }
}

/// Of the file that is there, or of the one that will be. It is read under its lock only: while SQLite has it nobody else may close it.
fn page_bytes(options: &SpoolOptions) -> u64 {
    let said = || {
        let paths = Paths::resolve(&options.path).ok().filter(|paths| paths::len(&paths.database) > 0)?;
        let _lock = SpoolLock::acquire(&paths).ok()?;
        pages::page_bytes_said(&paths).ok()?
    };
    said().unwrap_or(options.page_bytes)
}

fn free_beside(options: &SpoolOptions) -> Option<(PathBuf, u64)> {
    let paths = Paths::resolve(&options.path).ok()?;
    let free = fs4::available_space(paths.folder()).ok()?;
    Some((paths.folder().to_owned(), free))
}

/// Makes the file so long, and each byte of it take up space.
fn take_up(path: &Path, bytes: u64) -> io::Result<()> {
    let mut file = paths::create_private(path)?;
    if let Err(error) = file.allocate(bytes) {
        if error.kind() == io::ErrorKind::StorageFull {
            return Err(error);
        }
        // A file system that does not lay out files ahead. What does not compress takes up space on all of them.
        let noise: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(bytes as usize).collect();
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&noise)?;
    }
    Ok(())
}

/// Gives the log zeros behind its end, which take up space, and which SQLite does not take for anything.
fn lengthen(log: &Path, bytes: u64) -> io::Result<()> {
    let log = OpenOptions::new().write(true).open(log)?;
    log.allocate(log.metadata()?.len() + bytes)
}

/// Bytes of a file for which there is space.
fn taken_up(metadata: &fs::Metadata) -> u64 {
    #[cfg(unix)]
    let allocated = std::os::unix::fs::MetadataExt::blocks(metadata) * 512;
    #[cfg(not(unix))]
    let allocated = metadata.len();
    metadata.len().min(allocated)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    /// Of usual pages.
    const WHOLE: u64 = 1 << 20;

    fn paths() -> (tempfile::TempDir, Paths) {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::resolve(&folder.path().join("plant.db")).unwrap();
        (folder, paths)
    }

    fn size(paths: &Paths) -> u64 {
        fs::metadata(paths.ballast()).map_or(0, |metadata| taken_up(&metadata))
    }

    #[test]
    fn it_takes_up_space_is_found_again_and_is_laid_where_there_is_plenty() {
        let (_folder, paths) = paths();
        for (page_bytes, whole) in [(page::MEDIUM, 1 << 20), (page::LARGE, 4 << 20)] {
            let mut ballast = Ballast::find(&paths, page_bytes);
            let before = size(&paths);
            assert!(!ballast.see_to(4 * whole - 1) && !ballast.is_whole() && size(&paths) == before);
            assert!(ballast.see_to(4 * whole) && ballast.is_whole());
            assert!(Ballast::find(&paths, page_bytes).is_whole());
            assert!(!ballast.see_to(4 * whole), "it is there");
            assert_eq!(size(&paths), whole);
        }
    }

    #[test]
    fn half_of_it_is_kept_for_what_has_no_later_and_the_log_gets_what_is_given_up() {
        let (_folder, paths) = paths();
        fs::write(paths.wal(), "log").unwrap();
        let mut ballast = Ballast::find(&paths, page::MEDIUM);
        assert!(!ballast.give_up(Need::Last, &paths), "there is none");
        ballast.lay();
        let kept = WHOLE / KEPT;
        for (need, given, left) in
            [(Need::Passing, true, kept), (Need::Passing, false, kept), (Need::Last, true, 0)]
        {
            let log_bytes = paths::len(&paths.wal());
            assert_eq!(ballast.give_up(need, &paths), given, "{need:?}");
            assert_eq!((ballast.bytes, size(&paths)), (left, left), "{need:?}");
            let more = if given { kept - BESIDE_LOG_BYTES } else { 0 };
            assert_eq!(paths::len(&paths.wal()), log_bytes + more, "{need:?}");
        }
        assert!(!ballast.give_up(Need::Last, &paths), "it is gone");
        ballast.lay();
        assert!(ballast.is_whole() && size(&paths) == WHOLE);
    }

    /// Others may do what they like with it.
    #[test]
    fn whatever_became_of_the_file_is_no_more_than_no_room() {
        let (_folder, paths) = paths();
        let mut ballast = Ballast::find(&paths, page::MEDIUM);
        ballast.lay();
        fs::remove_file(paths.ballast()).unwrap();
        assert!(!ballast.give_up(Need::Last, &paths));
        File::create(paths.ballast()).unwrap().set_len(WHOLE).unwrap();
        assert_eq!(Ballast::find(&paths, page::MEDIUM).bytes, 0, "a hole takes up nothing");
        fs::remove_file(paths.ballast()).unwrap();
        fs::create_dir(paths.ballast()).unwrap();
        let mut ballast = Ballast::find(&paths, page::MEDIUM);
        ballast.lay();
        assert!(!ballast.is_whole() && !ballast.give_up(Need::Last, &paths));
    }
}
