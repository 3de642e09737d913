//! One owner a spool: a lock on a file beside the database, one on the database itself, and a register of what this
//! process holds.
//!
//! The file beside it says who the holder is, and it can be locked before there is a database. It is never removed by us,
//! since a removed file can still be locked by the one while the other locks its successor. But others may remove it, and
//! a database may have several names. So the database itself is locked, too, whatever it is called.
//!
//! # The descriptor of the database
//!
//! Closing any descriptor of a file drops all POSIX locks the process holds on it, those of SQLite included, whoever
//! opened the descriptor. So ours is opened only when the register says that no spool of this process has the file,
//! and closed after SQLite's. Its own lock is one of Linux's *open file description* locks (fcntl(2)), which belong to
//! the descriptor: no other's end drops them. It lies on the last byte that a file can have, far from the 512 from
//! 1 GiB on that SQLite locks, so the two never meet; `flock` would, where a file system makes a lock of the whole file of it,
//! as NFS does. Other systems do without this lock.
//!
//! # Children
//!
//! A process that is forked has every descriptor until it runs another program, and the locks of a description hold until the last
//! descriptor of it is closed. So they are released by name, and not by closing alone: what the application starts in that moment
//! must not keep the spool from being opened again.

use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fs4::FileExt;

use super::error::{During, SpoolError, SpoolErrorKind};
use super::paths::{self, Paths};
use super::place::FileId;
use crate::log;

/// What this process has open. File locks cannot tell two databases of one process apart on every system.
static HELD: Mutex<Held> = Mutex::new(Held { databases: BTreeSet::new(), files: BTreeSet::new() });

/// Attempts before the last one, and the pause between them: thirty milliseconds are long for an instant, and short for
/// whoever waits for the error.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(10);

struct Held {
    /// True paths.
    databases: BTreeSet<PathBuf>,
    files: BTreeSet<FileId>,
}

/// Ownership of a spool, given up when dropped or when the process ends in whatever way.
#[derive(Debug)]
pub(super) struct SpoolLock {
    database: PathBuf,
    file: Option<FileLock>,
    beside: File,
}

impl SpoolLock {
    /// Takes the lock beside the database.
    ///
    /// # Errors
    /// [`SpoolErrorKind::Locked`] with the holder's process id, or the lock file cannot be written.
    pub(super) fn acquire(paths: &Paths) -> Result<Self, SpoolError> {
        let during = || format!("lock {}", paths.name());
        if !held().databases.insert(paths.database.clone()) {
            return Err(locked(Some(std::process::id()), during()));
        }
        match lock_beside(paths) {
            Ok(beside) => Ok(Self { database: paths.database.clone(), file: None, beside }),
            Err(error) => {
                held().databases.remove(&paths.database);
                Err(error)
            }
        }
    }

    /// Locks the database itself as well. To be called again when another file has been put in its place.
    ///
    /// # Errors
    /// [`SpoolErrorKind::Locked`] if it has another name by which somebody has it, or it cannot be opened.
    pub(super) fn hold_file(&mut self, paths: &Paths) -> Result<(), SpoolError> {
        let during = || format!("lock {}", paths.name());
        let Some(id) = FileId::of(&paths.database).during(during())? else {
            return Err(SpoolError::io(during(), io::ErrorKind::NotFound.into()));
        };
        if self.file.as_ref().is_none_or(|file| file.id != id) {
            // The one before is let go of first: nothing of SQLite's is open.
            self.file = None;
            self.file = Some(FileLock::acquire(paths, id, &during())?);
        }
        Ok(())
    }
}

impl SpoolLock {
    /// Gives the database zeros behind its end, which take up space. SQLite does not take them for anything: its header says where
    /// it ends.
    ///
    /// # Errors
    /// There is no room for them.
    pub(super) fn lengthen_file(&self, bytes: u64) -> io::Result<()> {
        let Some(file) = self.file.as_ref().and_then(|held| held.file.as_ref()) else { return Ok(()) };
        file.allocate(file.metadata()?.len() + bytes)
    }
}

impl Drop for SpoolLock {
    fn drop(&mut self) {
        self.file = None;
        // If not, closing it does.
        let _ = self.beside.unlock();
        held().databases.remove(&self.database);
    }
}

/// The lock on a database, by whatever name.
#[derive(Debug)]
struct FileLock {
    id: FileId,
    file: Option<File>,
}

impl FileLock {
    fn acquire(paths: &Paths, id: FileId, during: &str) -> Result<Self, SpoolError> {
        if !held().files.insert(id) {
            return Err(locked(Some(std::process::id()), during));
        }
        Self::lock(paths, id, during).inspect_err(|_| _ = held().files.remove(&id))
    }

    fn lock(paths: &Paths, id: FileId, during: &str) -> Result<Self, SpoolError> {
        let file = File::options().read(true).write(true).open(&paths.database).during(during)?;
        if FileId::of_open(&file).during(during)? != id {
            // Replaced in this very moment: the next attempt will see.
            return Err(locked(None, during));
        }
        match lock_description(&file) {
            Ok(true) => Ok(Self { id, file: Some(file) }),
            // Its owner has another name for it, or our lock file was removed from under its feet: no number is known.
            Ok(false) => Err(locked(None, during)),
            Err(error) => Err(SpoolError::io(during, error)),
        }
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // Closed before another spool of this process can have SQLite open the file.
        if let Some(file) = self.file.take() {
            unlock_description(&file);
        }
        held().files.remove(&self.id);
    }
}

/// Locks the last byte there can be in a file; `false` if somebody has.
#[cfg(target_os = "linux")]
fn lock_description(file: &File) -> io::Result<bool> {
    match set_lock(file, nix::libc::F_WRLCK) {
        Ok(()) => Ok(true),
        Err(nix::Error::EAGAIN | nix::Error::EACCES) => Ok(false),
        // A file system that knows no locks: SQLite will say so.
        Err(nix::Error::EINVAL | nix::Error::ENOLCK | nix::Error::EOPNOTSUPP | nix::Error::ENOSYS) => {
            Ok(true)
        }
        Err(error) => Err(error.into()),
    }
}

/// If it fails, closing the file unlocks it.
#[cfg(target_os = "linux")]
fn unlock_description(file: &File) {
    let _ = set_lock(file, nix::libc::F_UNLCK);
}

#[cfg(target_os = "linux")]
fn set_lock(file: &File, kind: nix::libc::c_int) -> nix::Result<()> {
    use nix::fcntl::{FcntlArg, fcntl};
    use nix::libc;

    let byte = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: libc::off_t::MAX - 1,
        l_len: 1,
        l_pid: 0,
    };
    fcntl(file, FcntlArg::F_OFD_SETLK(&byte)).map(drop)
}

#[cfg(not(target_os = "linux"))]
fn lock_description(_: &File) -> io::Result<bool> {
    Ok(true)
}

#[cfg(not(target_os = "linux"))]
fn unlock_description(_: &File) {}

fn lock_beside(paths: &Paths) -> Result<File, SpoolError> {
    let during = || format!("lock {}", paths.name());
    let mut file = paths::create_private(&paths.lock()).during(during())?;
    match try_lock(&file) {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(locked(holder(&mut file), during())),
        Err(TryLockError::Error(error)) => return Err(SpoolError::io(during(), error)),
    }
    // The number is a courtesy to whoever finds the file locked; the lock holds without it, on a full disk too.
    let written =
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
    if let Err(error) = written {
        log::debug!(%error, file = %paths.name(), "the process id was not written to the lock file");
    }
    Ok(file)
}

/// Who inspects a spool holds a shared lock for an instant, to learn whether it is held: that must not keep an owner
/// from starting.
fn try_lock(file: &File) -> Result<(), TryLockError> {
    for _ in 0..ATTEMPTS {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
            other => return other,
        }
    }
    file.try_lock()
}

/// The process id in a lock file.
pub(super) fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn locked(pid: Option<u32>, during: impl Into<String>) -> SpoolError {
    SpoolError::new(SpoolErrorKind::Locked { pid }, during)
}

fn held() -> MutexGuard<'static, Held> {
    // A set stays a set when a thread dies beside it.
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths() -> (tempfile::TempDir, Paths) {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::resolve(&folder.path().join("plant.db")).unwrap();
        (folder, paths)
    }

    #[test]
    fn a_second_owner_in_the_process_is_refused_by_whatever_name() {
        let (folder, paths) = paths();
        let lock = SpoolLock::acquire(&paths).unwrap();
        let detour = Paths::resolve(&folder.path().join(".").join("plant.db")).unwrap();
        let error = SpoolLock::acquire(&detour).unwrap_err();
        assert_eq!(error.kind(), SpoolErrorKind::Locked { pid: Some(std::process::id()) });
        drop(lock);
        SpoolLock::acquire(&detour).unwrap();
    }

    #[test]
    fn a_lock_of_another_process_is_reported_with_its_pid() {
        let (folder, paths) = paths();
        std::fs::write(paths.lock(), "4711\n").unwrap();
        let other = File::open(paths.lock()).unwrap();
        other.lock().unwrap();
        let error = SpoolLock::acquire(&paths).unwrap_err();
        assert_eq!(error.kind(), SpoolErrorKind::Locked { pid: Some(4711) });
        let place = folder.path().join("plant.db");
        assert_eq!(error.to_string(), format!("lock {}: in use by process 4711", place.display()));
        drop(other);
        SpoolLock::acquire(&paths).unwrap();
    }

    #[test]
    fn a_second_owner_in_the_process_is_refused_by_another_name_of_the_file() {
        let (folder, paths) = paths();
        paths::create_private(&paths.database).unwrap();
        let mut lock = SpoolLock::acquire(&paths).unwrap();
        lock.hold_file(&paths).unwrap();
        let link = folder.path().join("link.db");
        std::fs::hard_link(&paths.database, &link).unwrap();
        let linked = Paths::resolve(&link).unwrap();
        let mut other = SpoolLock::acquire(&linked).unwrap();
        let error = other.hold_file(&linked).unwrap_err();
        assert_eq!(error.kind(), SpoolErrorKind::Locked { pid: Some(std::process::id()) });
        drop(lock);
        other.hold_file(&linked).unwrap();
    }

    #[test]
    fn what_a_child_has_of_it_does_not_keep_the_next_owner_out() {
        let (_folder, paths) = paths();
        paths::create_private(&paths.database).unwrap();
        let mut lock = SpoolLock::acquire(&paths).unwrap();
        lock.hold_file(&paths).unwrap();
        // As a child has them that was forked, and runs no other program yet.
        let of_database = lock.file.as_ref().unwrap().file.as_ref().unwrap().try_clone().unwrap();
        let of_child = (lock.beside.try_clone().unwrap(), of_database);
        drop(lock);
        SpoolLock::acquire(&paths).unwrap().hold_file(&paths).unwrap();
        drop(of_child);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_lock_on_the_database_lets_sqlite_work_and_keeps_another_description_out() {
        let (_folder, paths) = paths();
        paths::create_private(&paths.database).unwrap();
        let mut lock = SpoolLock::acquire(&paths).unwrap();
        lock.hold_file(&paths).unwrap();
        let other = File::options().read(true).write(true).open(&paths.database).unwrap();
        assert!(!lock_description(&other).unwrap());
        let conn = rusqlite::Connection::open(&paths.database).unwrap();
        conn.execute_batch("PRAGMA journal_mode = WAL; BEGIN EXCLUSIVE; CREATE TABLE t (a); COMMIT").unwrap();
        drop(conn);
        assert!(!lock_description(&other).unwrap(), "SQLite has closed the file, and the lock holds");
        drop(lock);
        assert!(lock_description(&other).unwrap());
    }
}
