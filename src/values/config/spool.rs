//! The durable buffer: where it is, how large it may become, what it survives.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::values::fate::Durability;

/// The durable buffer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SpoolConfig {
    /// The SQLite file. Its neighbours `-wal`, `-shm` and `.lock` belong to it; `.ballast`, a mebibyte (with [large pages](PageSize) four),
    /// is given up for the last records on a disk that others have filled.
    pub path: PathBuf,
    /// What a stored point survives. Default: [`SyncMode::Full`].
    #[serde(default)]
    pub sync: SyncMode,
    /// The size of the file at most, its log apart. Default: 1 GiB, some five days of 10,000 points/s compressed.
    ///
    /// An empty file takes eight or nine pages of it, and a batch is stored only where eight stay free beside it; with
    /// [small pages](PageSize) these are 32 kB each, with medium ones 130, with large ones 520. With less than that more than a batch takes
    /// (see [`BatchConfig::bytes_max`](crate::BatchConfig::bytes_max)) it is never stored; less than twenty pages are refused. What a stop
    /// would lose is stored beyond this size, too.
    /// Made smaller than what lies in the file, it holds as soon as something is stored: the oldest leave, or, where they may not,
    /// nothing is stored until enough was sent.
    #[serde(default = "defaults::spool_bytes_max")]
    pub bytes_max: u64,
    /// How old an undelivered batch may become. Default: no limit.
    #[serde(default, with = "humantime_serde", skip_serializing_if = "Option::is_none")]
    pub age_max: Option<Duration>,
    /// What happens when the spool is full. Default: the oldest batches leave.
    #[serde(default)]
    pub when_full: SpoolFull,
    /// Disk space that is left to others, but for what a stop would otherwise lose. Default: 64 MiB; 1 MiB is left in any
    /// case (with [large pages](PageSize) 4).
    #[serde(default = "defaults::free_reserve_bytes")]
    pub free_reserve_bytes: u64,
    /// The size of the quarantine at most. Default: 64 MiB; the oldest leave.
    #[serde(default = "defaults::quarantine_bytes_max")]
    pub quarantine_bytes_max: u64,
    /// How long the counters of what never touched the disk may be only in memory. Default: 10 s.
    #[serde(default = "defaults::ledger_interval", with = "humantime_serde")]
    pub ledger_interval: Duration,
    /// The pages of a file that is made; one that is there keeps its own. Whichever they are, `bytes_max` has to hold twenty of them, or
    /// `start` fails. Default: [`PageSize::Auto`].
    #[serde(default)]
    pub page_size: PageSize,
}

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

/// How large the pages of a spool's file are. They are settled when the file is made.
///
/// A transaction writes three to five whole pages beside its bodies. So where little is stored at a time small pages write least: for one
/// point, stored alone, 17 kB, 55 kB or 207 kB. Where much is stored large ones take the least time.
///
/// ```
/// use influx_spool::{PageSize, SpoolConfig};
/// assert_eq!(SpoolConfig::new("plant.db").page_size, PageSize::Auto);
/// assert_eq!(serde_json::to_string(&PageSize::Large).unwrap(), "\"large\"");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PageSize {
    /// Small where bodies are compressed, else medium. The default.
    #[default]
    Auto,
    /// 4 KiB.
    Small,
    /// 16 KiB.
    Medium,
    /// 64 KiB, for bodies of a megabyte that are stored without compression, as fast as the disk takes them: a fifth more points a
    /// second than with medium pages, at a tenth less CPU time.
    Large,
}

impl SpoolConfig {
    /// A spool with every default.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            sync: SyncMode::default(),
            bytes_max: defaults::spool_bytes_max(),
            age_max: None,
            when_full: SpoolFull::default(),
            free_reserve_bytes: defaults::free_reserve_bytes(),
            quarantine_bytes_max: defaults::quarantine_bytes_max(),
            ledger_interval: defaults::ledger_interval(),
            page_size: PageSize::default(),
        }
    }
}

mod defaults {
    use super::Duration;

    pub(super) const fn spool_bytes_max() -> u64 {
        1 << 30
    }

    pub(super) const fn free_reserve_bytes() -> u64 {
        64 << 20
    }

    pub(super) const fn quarantine_bytes_max() -> u64 {
        64 << 20
    }

    pub(super) const fn ledger_interval() -> Duration {
        Duration::from_secs(10)
    }
}
