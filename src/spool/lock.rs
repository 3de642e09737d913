//! One owner a spool: a lock file beside the database, and a register of what this process holds.
//!
//! The lock is not on the database itself: closing any descriptor of that file drops the POSIX locks SQLite holds on
//! it, whoever opened the descriptor. The lock file is never removed, since a removed file can still be locked by the
//! one while the other locks its successor.

use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::error::{During, SpoolError, SpoolErrorKind};
use super::paths::{self, Paths};
use crate::log;

/// True paths of the databases this process has open. File locks cannot tell two databases of one process apart on
/// every system.
static HELD: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Attempts before the last one, and the pause between them: thirty milliseconds are long for an instant, and short for
/// whoever waits for the error.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(10);

/// Ownership of a spool, given up when dropped or when the process ends in whatever way.
#[derive(Debug)]
pub(crate) struct SpoolLock {
    database: PathBuf,
    // Closing it releases the lock.
    _file: File,
}

impl SpoolLock {
    /// # Errors
    /// [`SpoolErrorKind::Locked`] with the holder's process id, or the lock file cannot be written.
    pub(super) fn acquire(paths: &Paths) -> Result<Self, SpoolError> {
        let during = || format!("lock {}", paths.name());
        if !held().insert(paths.database.clone()) {
            let pid = Some(std::process::id());
            return Err(SpoolError::new(SpoolErrorKind::Locked { pid }, during()));
        }
        match lock_file(paths) {
            Ok(file) => Ok(Self { database: paths.database.clone(), _file: file }),
            Err(error) => {
                held().remove(&paths.database);
                Err(error)
            }
        }
    }
}

impl Drop for SpoolLock {
    fn drop(&mut self) {
        held().remove(&self.database);
    }
}

fn lock_file(paths: &Paths) -> Result<File, SpoolError> {
    let during = || format!("lock {}", paths.name());
    let mut file = paths::create_private(&paths.lock()).during(during())?;
    match try_lock(&file) {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let kind = SpoolErrorKind::Locked { pid: holder(&mut file) };
            return Err(SpoolError::new(kind, during()));
        }
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

fn held() -> MutexGuard<'static, BTreeSet<PathBuf>> {
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
        let (_folder, paths) = paths();
        std::fs::write(paths.lock(), "4711\n").unwrap();
        let other = File::open(paths.lock()).unwrap();
        other.lock().unwrap();
        let error = SpoolLock::acquire(&paths).unwrap_err();
        assert_eq!(error.kind(), SpoolErrorKind::Locked { pid: Some(4711) });
        assert_eq!(error.to_string(), "lock plant.db: in use by process 4711");
        drop(other);
        SpoolLock::acquire(&paths).unwrap();
    }
}
