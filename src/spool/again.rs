//! The log, written once more before it is believed.
//!
//! What a failed sync did not write the system takes for written all the same: it reads back well, and no later sync writes it
//! (Rebello and others, "Can Applications Recover from fsync Failures?", 2020). Copied into the database such a log would
//! be worse than lost: a power cut during or after the copy leaves newer pages in the database, and on disk the beginning of
//! the log, whose older pages SQLite would put over them. Whether a sync failed is not known to whoever opens the file next. So
//! whatever an unclean end has left is written again as it is, and synced: either it is on disk then, or the opening fails.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// Bytes that are read and written at once.
const CHUNK_BYTES: usize = 1 << 20;

/// Writes a file over itself and syncs it; nothing is done if it is not there, or empty.
///
/// # Errors
/// It cannot be read, written or synced; on a disk that is full and wants room even for this, too. A disk where nothing may be
/// written is left to SQLite to meet, which says so better.
pub(super) fn write_again(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(path);
    match file.and_then(|file| write_over_itself(file, path)) {
        Err(error) => match error.kind() {
            ErrorKind::NotFound | ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Ok(()),
            _ => Err(error),
        },
        done => done,
    }
}

fn write_over_itself(mut file: File, path: &Path) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut at = 0;
    loop {
        file.seek(SeekFrom::Start(at))?;
        let length = file.read(&mut chunk)?;
        if length == 0 {
            break;
        }
        file.seek(SeekFrom::Start(at))?;
        file.write_all(&chunk[..length])?;
        at += length as u64;
    }
    if at > 0 { sync(&file, path) } else { Ok(()) }
}

#[cfg(not(test))]
fn sync(file: &File, _: &Path) -> io::Result<()> {
    file.sync_all()
}

/// Where SQLite's files are watched, this one is, too.
#[cfg(test)]
fn sync(_: &File, path: &Path) -> io::Result<()> {
    faulty_vfs::written_again(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_stays_what_it_is_and_need_not_be_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        write_again(&path).unwrap();
        assert!(!path.exists());
        for length in [0, 1, CHUNK_BYTES, 2 * CHUNK_BYTES + 7] {
            let bytes: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
            std::fs::write(&path, &bytes).unwrap();
            write_again(&path).unwrap();
            assert!(std::fs::read(&path).unwrap() == bytes, "{length}");
        }
    }

    #[test]
    fn what_is_written_again_is_synced_or_the_opening_fails() {
        let dir = tempfile::tempdir().unwrap();
        let disk = faulty_vfs::Disk::watch(dir.path()).unwrap();
        disk.judge(|asked| match asked.call {
            faulty_vfs::Call::Sync => faulty_vfs::Verdict::IoError,
            _ => faulty_vfs::Verdict::Pass,
        });
        let path = dir.path().join("log");
        std::fs::write(&path, "").unwrap();
        write_again(&path).unwrap();
        std::fs::write(&path, "frames").unwrap();
        write_again(&path).unwrap_err();
    }
}
