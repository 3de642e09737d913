//! The file operations of replacing a damaged spool, one by one: a crash may come between any two of them, and a test stops
//! before each.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use super::paths::{self, Paths};
use crate::failpoint::failpoint;

/// Where a test stops. Nothing is tidied up on the way out: what is there then is what a crash would leave.
pub(super) fn step() -> io::Result<()> {
    failpoint!("spool::step", |_| Err(io::Error::other("stopped by a test")));
    Ok(())
}

pub(super) fn create(path: &Path) -> io::Result<File> {
    step()?;
    paths::create_private(path)
}

/// Writes a new file with this text, and makes it survive a power cut.
pub(super) fn write(path: &Path, paths: &Paths, text: &str) -> io::Result<()> {
    let mut file = create(path)?;
    step()?;
    file.write_all(text.as_bytes())?;
    step()?;
    file.sync_all()?;
    sync_folder(paths)
}

pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    step()?;
    fs::rename(from, to)
}

/// Removes a file, if it is there.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    step()?;
    paths::remove_if_there(path)
}

pub(super) fn sync_folder(paths: &Paths) -> io::Result<()> {
    step()?;
    paths.sync_folder()
}
