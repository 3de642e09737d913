//! What a spool is opened with.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::values::fate::Durability;

/// What a committed batch survives.
///
/// ```
/// use influx_spool::SyncMode;
/// assert_eq!(SyncMode::default(), SyncMode::Full);
/// assert_eq!(serde_json::to_string(&SyncMode::Normal).unwrap(), "\"normal\"");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SyncMode {
    /// Every commit is synced to the disk and survives a power cut. The default: it costs an eighth of the speed.
    #[default]
    Full,
    /// A commit survives the death of the process. A power cut takes back what was committed since the last
    /// checkpoint, never more, and never leaves a damaged file.
    Normal,
}

impl SyncMode {
    pub(crate) const fn durability(self) -> Durability {
        match self {
            Self::Full => Durability::Power,
            Self::Normal => Durability::Process,
        }
    }
}

/// What happens to new points when the spool has reached its size.
///
/// ```
/// use influx_spool::SpoolFull;
/// assert_eq!(SpoolFull::default(), SpoolFull::DropOldest);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SpoolFull {
    /// Whole batches leave, oldest first, counted as `shed.spool_full`; one that is being sent stays. The default:
    /// recent measurements are usually worth more.
    #[default]
    DropOldest,
    /// Nothing more is stored until something was delivered; new points wait in memory.
    Refuse,
}

/// Where the spool lies, and its bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SpoolOptions {
    pub(crate) path: PathBuf,
    pub(crate) sync: SyncMode,
    /// The database file never grows beyond this; the write-ahead log comes on top (`WAL_BYTES`, and one commit).
    pub(crate) bytes_max: u64,
    /// Batches whose oldest point was pushed longer ago than this expire; never if `None`.
    pub(crate) age_max: Option<Duration>,
    pub(crate) when_full: SpoolFull,
    /// Disk space left to others: nothing is appended while less is free. Deleting what was delivered may use it.
    pub(crate) free_reserve_bytes: u64,
    /// Bodies in quarantine, as stored. Beyond it the oldest are given up, counted as `rejected`.
    pub(crate) quarantine_bytes_max: u64,
}

impl SpoolOptions {
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
        }
    }
}
