//! A damaged file is moved out of the way under a new name, and a fresh one takes its place. Nothing is deleted.

use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::time::SystemTime;

use super::clock;
use super::error::{During, SpoolError};
use super::page;
use super::paths::{self, Paths};
use super::salvage::{self, SalvageReport};
use super::schema;
use super::steps;

/// Whether what lies there is ours, so that it may be moved: a lock file or a log beside it, the mark in its header,
/// or the size of whole pages. Must be asked before the lock file is made.
pub(super) fn looks_like_ours(paths: &Paths) -> io::Result<bool> {
    let len = paths::len(&paths.database);
    if page::SIZES.iter().any(|size| len.is_multiple_of(*size))
        || paths.lock().exists()
        || paths.wal().exists()
    {
        return Ok(true);
    }
    let mut header = Vec::with_capacity(100);
    fs::File::open(&paths.database)?.take(100).read_to_end(&mut header)?;
    Ok(schema::is_ours_by_mark(&header))
}

/// Whether a damaged file is being replaced: by who has the lock, or by nobody since a crash.
pub(super) fn is_under_way(paths: &Paths) -> bool {
    paths.beside(MARKER).exists()
}

/// Writes down that the file is to be set aside, and under which name. From here on a crash changes nothing:
/// [`resume`] takes up the work where it stood.
pub(super) fn mark(paths: &Paths, now: SystemTime) -> Result<(), SpoolError> {
    let during = format!("set {} aside", paths.name());
    let marker = paths.beside(MARKER);
    if marker.exists() {
        return Ok(());
    }
    let suffix = free_suffix(paths, clock::unix_ms(now));
    steps::write(&marker, paths, &suffix).during(during)
}

/// Does what [`mark`] announced, if it did: moves the files, salvages into a new one with [such pages](salvage::replace), puts that
/// in place.
pub(super) fn resume(paths: &Paths, page_bytes: Option<u64>) -> Result<Option<SalvageReport>, SpoolError> {
    let during = format!("set {} aside", paths.name());
    let marker = paths.beside(MARKER);
    let suffix = match fs::read_to_string(&marker) {
        Ok(suffix) if is_suffix(&suffix) => suffix,
        // Torn by a crash while it was written: nothing was moved yet, and the damage will be found again.
        Ok(_) => return steps::remove(&marker).map(|()| None).during(during),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).during(during),
    };
    let aside = Paths { database: paths.beside(&suffix) };
    let report = if aside.database.exists() && paths::len(&paths.database) > 0 {
        // The fresh file is renamed into place when it is whole, so it is. An empty one was made by somebody else.
        None
    } else {
        for part in PARTS {
            move_once(&paths.beside(part), &aside.beside(part)).during(&during)?;
        }
        steps::sync_folder(paths).during(&during)?;
        Some(salvage::replace(paths, &aside, page_bytes)?)
    };
    steps::remove(&marker).during(during)?;
    Ok(report)
}

/// Its presence says that the damaged file is being replaced; its text is what the damaged file's name gets behind.
const MARKER: &str = ".damaged";

/// The database last: while it is still there under its own name, the move is not done. A journal of the time before the log
/// was switched on would be played back into the fresh file.
const PARTS: [&str; 4] = ["-shm", "-wal", "-journal", ""];

fn free_suffix(paths: &Paths, now_ms: i64) -> String {
    let mut name = format!("{MARKER}-{now_ms}");
    while paths.beside(&name).exists() {
        name.push('x');
    }
    name
}

fn is_suffix(text: &str) -> bool {
    text.strip_prefix(MARKER).and_then(|rest| rest.strip_prefix('-')).is_some_and(|rest| {
        !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b'x' || byte == b'-')
    })
}

fn move_once(from: &Path, to: &Path) -> io::Result<()> {
    if from.exists() && !to.exists() { steps::rename(from, to) } else { Ok(()) }
}
