//! What a spool is opened with.

use std::path::PathBuf;
use std::time::Duration;

use super::page;
use crate::values::config::{BatchConfig, ConfigError, SpoolConfig, SpoolFull, SyncMode};

/// An empty file takes eight pages or nine, and a batch is stored only where eight stay free beside it.
const FILE_PAGES_MIN: u64 = 20;

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
    /// Of a file that is made, also of one that replaces a damaged one. One that is there keeps its own.
    pub(crate) page_bytes: u64,
}

impl SpoolOptions {
    /// As configured.
    pub(crate) fn of(spool: &SpoolConfig, batch: &BatchConfig) -> Self {
        Self {
            path: spool.path.clone(),
            sync: spool.sync,
            bytes_max: spool.bytes_max,
            age_max: spool.age_max,
            when_full: spool.when_full,
            free_reserve_bytes: spool.free_reserve_bytes,
            quarantine_bytes_max: spool.quarantine_bytes_max,
            page_bytes: page::bytes(spool.page_size, batch.compression),
        }
    }

    /// # Errors
    /// No batch would ever find room in it.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if self.bytes_max >= bytes_max_min(self.page_bytes) {
            return Ok(());
        }
        let reason = format!(
            "holds no batch: {FILE_PAGES_MIN} pages of {} bytes are needed at the least (see spool.page_size)",
            self.page_bytes
        );
        Err(ConfigError::new("spool.bytes_max", reason))
    }

    /// The defaults, with the usual pages: `sync = full`, 1 GiB (a day of 1,000 points/s), no age bound, drop oldest, 64 MiB left free
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
            page_bytes: page::MEDIUM,
        }
    }
}

/// The least bound of a file with such pages in which a batch finds room.
pub(super) const fn bytes_max_min(page_bytes: u64) -> u64 {
    FILE_PAGES_MIN * page_bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spool_in_which_no_batch_finds_room_is_refused() {
        for page_bytes in page::SIZES {
            let of = |bytes_max| SpoolOptions { bytes_max, page_bytes, ..SpoolOptions::new("plant.db") };
            assert_eq!(of(20 * page_bytes).check(), Ok(()));
            let error = of(20 * page_bytes - 1).check().unwrap_err();
            assert_eq!(error.setting(), "spool.bytes_max");
            assert!(error.to_string().contains(&format!("20 pages of {page_bytes} bytes")), "{error}");
        }
    }
}
