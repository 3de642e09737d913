//! The files of one spool: the database and what lies beside it.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// Links followed to a file that is not there, as many as Linux follows.
const LINKS_MAX: u8 = 40;

/// Where the files of a spool are, by their true names, so that two ways to one file are seen to be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Paths {
    pub(super) database: PathBuf,
}

impl Paths {
    /// # Errors
    /// The folder does not exist, or may not be looked into.
    pub(super) fn resolve(path: &Path) -> io::Result<Self> {
        Self::resolve_through(path, LINKS_MAX)
    }

    /// A link may lead to a file that is not there at the moment: while it is being replaced, its true name is where the
    /// work is written down.
    fn resolve_through(path: &Path, links_left: u8) -> io::Result<Self> {
        if let Ok(database) = fs::canonicalize(path) {
            return Ok(Self { database });
        }
        if let (Ok(target), Some(left)) = (fs::read_link(path), links_left.checked_sub(1)) {
            return Self::resolve_through(&path.parent().unwrap_or(Path::new("")).join(target), left);
        }
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        Ok(Self { database: fs::canonicalize(folder)?.join(name) })
    }

    /// Whether there is a folder or a device in its place, beside which nothing should be put.
    pub(super) fn is_something_else(&self) -> bool {
        fs::metadata(&self.database).is_ok_and(|found| !found.is_file())
    }

    pub(super) fn folder(&self) -> &Path {
        self.database.parent().unwrap_or(Path::new("/"))
    }

    pub(super) fn wal(&self) -> PathBuf {
        self.beside("-wal")
    }

    /// What the connections of a database in write-ahead mode share.
    pub(super) fn shared_memory(&self) -> PathBuf {
        self.beside("-shm")
    }

    /// What SQLite keeps beside a database that has no log: ours have none only while they are created.
    pub(super) fn rollback_journal(&self) -> PathBuf {
        self.beside("-journal")
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.beside(".lock")
    }

    /// What is given up for the last transactions on a full disk.
    pub(super) fn ballast(&self) -> PathBuf {
        self.beside(".ballast")
    }

    /// The database's path with `suffix` behind its name.
    pub(super) fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = OsString::from(self.database.as_os_str());
        name.push(suffix);
        PathBuf::from(name)
    }

    /// The file, for messages: where it is, too.
    pub(super) fn name(&self) -> String {
        self.database.display().to_string()
    }

    /// Makes created, renamed and removed names in the folder survive a power cut.
    pub(super) fn sync_folder(&self) -> io::Result<()> {
        // A folder can be opened and synced on Unix only; elsewhere the file system's journal must do.
        if cfg!(unix) { File::open(self.folder())?.sync_all() } else { Ok(()) }
    }
}

/// Creates a file that only its owner can read, or leaves the one that is there.
pub(super) fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

pub(super) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Bytes of a file, 0 if it is not there.
pub(super) fn len(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}
