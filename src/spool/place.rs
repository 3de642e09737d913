//! Whether the files still lie where they were opened, and what is done if they do not.
//!
//! A file that is deleted or replaced while it is open goes on existing, without a name: transactions go well, are called
//! durable, and with the end of the process everything is gone without a word. So who the files are is compared with
//! who they were before each transaction and each tidying up: some microseconds.
//!
//! | what is gone | what is done |
//! |---|---|
//! | the log, or its shared memory | the log, still open, is copied into the database |
//! | the database, or an empty file lies there | the database, still open, is written to a new file in its place |
//! | another file lies there | the database, still open, is written to a file beside it, for whoever wants to look at it |
//! | the whole file system | nothing: it is waited for |
//!
//! In each case the spool is then opened anew, and goes on with what it finds.

use std::fs::{self, File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rusqlite::Connection;

use super::clock;
use super::error::{During, SpoolError, SpoolErrorKind};
use super::open::Spool;
use super::paths::{self, Paths};
use crate::log;

/// Who a file is, whatever it is called. The same for all where the system does not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// The file of this name; `None` if there is none.
    pub(super) fn of(path: &Path) -> io::Result<Option<Self>> {
        match fs::metadata(path) {
            Ok(metadata) => Ok(Some(Self::from(&metadata))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether both lie on one file system. Asked of folders: some systems give files numbers of their own.
    pub(super) fn is_beside(self, other: Self) -> bool {
        self.device == other.device
    }

    pub(super) fn of_open(file: &File) -> io::Result<Self> {
        file.metadata().map(|metadata| Self::from(&metadata))
    }
}

impl From<&Metadata> for FileId {
    #[cfg(unix)]
    fn from(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self { device: metadata.dev(), inode: metadata.ino() }
    }

    #[cfg(not(unix))]
    fn from(_: &Metadata) -> Self {
        Self { device: 0, inode: 0 }
    }
}

/// The files of an open spool, and who they are.
#[derive(Clone, Debug)]
pub(super) struct Place {
    folder: (PathBuf, FileId),
    database: (PathBuf, FileId),
    log: Vec<(PathBuf, FileId)>,
}

/// What is not where it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Displaced {
    FileSystem,
    Log,
    Gone,
    Replaced,
}

impl Place {
    /// Notes who the files are. The log has to be there.
    pub(super) fn of(paths: &Paths) -> io::Result<Self> {
        let known = |path: PathBuf| {
            let id = FileId::of(&path)?.ok_or(io::ErrorKind::NotFound)?;
            Ok::<_, io::Error>((path, id))
        };
        let folder = known(paths.folder().to_owned())?;
        let database = known(paths.database.clone())?;
        let log = [paths.wal(), paths.shared_memory()].into_iter().map(known).collect::<Result<_, _>>()?;
        Ok(Self { folder, database, log })
    }

    /// Where the folder is now known to be.
    pub(super) fn folder(&self) -> FileId {
        self.folder.1
    }

    /// Moves the log out of the way if another database lies there now. SQLite would take it for that one's, and mix the two.
    pub(super) fn part(&self, paths: &Paths) -> io::Result<()> {
        let is_ours = self.log.iter().all(|file| !file.is_displaced());
        if self.database.is_displaced() && paths::len(&paths.database) > 0 && is_ours {
            let now_ms = clock::unix_ms(SystemTime::now());
            fs::rename(paths.wal(), paths.beside(&format!(".stray-wal-{now_ms}")))?;
            paths::remove_if_there(&paths.shared_memory())?;
        }
        Ok(())
    }

    fn displaced(&self) -> Option<Displaced> {
        let (path, _) = &self.database;
        if self.database.is_displaced() {
            let folder = FileId::of(&self.folder.0).ok().flatten();
            if folder.is_none_or(|folder| !folder.is_beside(self.folder.1)) {
                return Some(Displaced::FileSystem);
            }
            return Some(if paths::len(path) == 0 { Displaced::Gone } else { Displaced::Replaced });
        }
        self.log.iter().any(IsDisplaced::is_displaced).then_some(Displaced::Log)
    }
}

trait IsDisplaced {
    fn is_displaced(&self) -> bool;
}

impl IsDisplaced for (PathBuf, FileId) {
    fn is_displaced(&self) -> bool {
        // Where the system cannot tell, what is done next will.
        FileId::of(&self.0).is_ok_and(|found| found != Some(self.1))
    }
}

impl Spool {
    /// Saves what is open if it is not where it was.
    ///
    /// # Errors
    /// [`SpoolErrorKind::Displaced`] if it is not, and is saved as far as could be; [`SpoolErrorKind::DiskFull`] if there
    /// was no room to, so that it is to be tried again.
    pub(super) fn see_to_files(&mut self, during: &str) -> Result<(), SpoolError> {
        let Some(displaced) = self.place.displaced() else { return Ok(()) };
        let file = self.paths.name();
        match (displaced, self.save(displaced)) {
            (_, Err(error)) if error.kind() == SpoolErrorKind::DiskFull => return Err(error),
            (_, Err(error)) => log::error!(
                %file, ?displaced, %error,
                "the spool's file was deleted or replaced while it was in use, and what it held cannot be saved"
            ),
            (Displaced::Replaced, Ok(saved)) => log::error!(
                %file, saved = %saved.display(),
                "the spool's file was replaced by another while it was in use: what it held was saved beside it"
            ),
            (Displaced::FileSystem, Ok(_)) => log::error!(
                %file, "the spool's file system is not mounted any more: it is waited for"
            ),
            (_, Ok(_)) => log::error!(
                %file, ?displaced, "the spool's file was deleted while it was in use: what it held was written anew"
            ),
        }
        self.broken = Some(SpoolErrorKind::Displaced);
        Err(SpoolError::new(SpoolErrorKind::Displaced, during))
    }

    /// Where it is now.
    fn save(&self, displaced: Displaced) -> Result<PathBuf, SpoolError> {
        let during = format!("save {}", self.paths.name());
        let database = self.paths.database.clone();
        match displaced {
            // It goes on existing, files and all.
            Displaced::FileSystem => Ok(database),
            Displaced::Log if copy_log(&self.conn).during(&during)? => Ok(database),
            Displaced::Log | Displaced::Gone => {
                let fresh = self.paths.beside(".rescue");
                self.write_to(&fresh, &during)?;
                self.put_in_place(&fresh).during(during).map(|()| database)
            }
            Displaced::Replaced => {
                let aside = self.paths.beside(&format!(".replaced-{}", clock::unix_ms(SystemTime::now())));
                self.write_to(&aside, &during)?;
                self.place.part(&self.paths).during(during).map(|()| aside)
            }
        }
    }

    /// Writes all that is committed to a new file.
    fn write_to(&self, path: &Path, during: &str) -> Result<(), SpoolError> {
        paths::remove_if_there(path).during(during)?;
        // By ourselves, so that only its owner can read it.
        let file = paths::create_private(path).during(during)?;
        let name = path.to_str().ok_or(io::Error::from(io::ErrorKind::InvalidFilename)).during(during)?;
        self.conn.execute("VACUUM INTO ?1", [name]).during(during)?;
        file.sync_all().during(during)
    }

    fn put_in_place(&self, fresh: &Path) -> io::Result<()> {
        // The log of the old file would be taken for one of the new.
        paths::remove_if_there(&self.paths.wal())?;
        paths::remove_if_there(&self.paths.shared_memory())?;
        fs::rename(fresh, &self.paths.database)?;
        self.paths.sync_folder()
    }
}

/// Copies the whole log into the database; whether all of it could be.
fn copy_log(conn: &Connection) -> rusqlite::Result<bool> {
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| Ok(row.get::<_, i64>(0)? == 0))
}
