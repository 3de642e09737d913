//! What a spool is opened with.

use std::path::PathBuf;
use std::time::Duration;

use super::schema::{PAGE_BYTES, PAGE_BYTES_COMPRESSED};
use crate::values::config::{SpoolFull, SyncMode};

/// Where the spool lies, and its bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SpoolOptions {
    pub(crate) path: PathBuf,
    pub(crate) sync: SyncMode,
    /// The database file never grows beyond this; the write-ahead log comes on top (16 to 64 MiB, or an eighth of
    /// this or of the disk, and one commit).
    pub(crate) bytes_max: u64,
    /// Batches whose oldest point was pushed longer ago than this expire; never if `None`.
    pub(crate) age_max: Option<Duration>,
    pub(crate) when_full: SpoolFull,
    /// Disk space left to others: nothing is appended while less is free. Deleting what was delivered may use it.
    pub(crate) free_reserve_bytes: u64,
    /// Bytes that the quarantine takes up: bodies as stored, and a share for each batch. Beyond it the oldest are given up,
    /// counted as `rejected`.
    pub(crate) quarantine_bytes_max: u64,
    /// Whether bodies will be compressed, most of them: a file that is made gets smaller pages then. One that is there keeps
    /// its own.
    pub(crate) is_compressed: bool,
}

impl SpoolOptions {
    /// Bytes of a page of a file that is made.
    pub(super) const fn page_bytes(&self) -> u64 {
        if self.is_compressed { PAGE_BYTES_COMPRESSED } else { PAGE_BYTES }
    }

    /// The defaults: `sync = full`, 1 GiB (a day of 1,000 points/s), no age bound, drop oldest, 64 MiB left free
    /// (the log and a few commits), 64 MiB of quarantine.
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            sync: SyncMode::default(),
            bytes_max: 1 << 30,
            age_max: None,
            when_full: SpoolFull::default(),
            free_reserve_bytes: 64 << 20,
            quarantine_bytes_max: 64 << 20,
            is_compressed: false,
        }
    }
}
