//! What an application can set, with the reason for every default.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::batch::{Api, Consistency, Destination};
use super::fate::Durability;
use super::line_protocol::rules::LineRules;
use super::precision::Precision;

/// What happens to a new point when the queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WhenFull {
    /// The oldest point leaves, and is counted as shed. The default: recent values are worth more.
    #[default]
    DropOldest,
    /// The new point is accepted, counted as shed, and forgotten.
    DropNewest,
    /// The push fails and hands the point back.
    Refuse,
}

/// What happens to a point without a timestamp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MissingTimestamp {
    /// It gets the time of its push, unique in the database. The default. Needs [`Precision::Nanoseconds`]: a coarser
    /// unit would give many points one stamp, and points of one series with one stamp overwrite each other.
    #[default]
    StampUnique,
    /// It gets the time of its push in the database's precision, though points may collide.
    StampColliding,
    /// It is refused.
    Refuse,
}

/// A whole configuration of one database, as it can stand in an application's own file.
///
/// ```
/// let section = r#"
///     name = "plant"
///     [http]
///     url = "http://localhost:8086"
///     [spool]
///     path = "plant.db"
/// "#;
/// let config: influx_spool::Config = toml::from_str(section)?;
/// assert_eq!(config.batch.points_max.get(), 5_000);
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// The name the registry knows the database by, and the InfluxDB database unless `database` says otherwise.
    pub name: String,
    /// The InfluxDB database. Default: `name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// The retention policy. Default: the database's own default policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_policy: Option<String>,
    /// The unit of timestamps in raw lines and on the wire. Default: nanoseconds, the only one that loses nothing.
    #[serde(default)]
    pub precision: Precision,
    /// Write consistency of an Enterprise cluster. Default: the server's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consistency: Option<Consistency>,
    /// What happens to a point without a timestamp. Default: it is stamped, uniquely.
    #[serde(default)]
    pub missing_timestamp: MissingTimestamp,
    /// How long an accepted point may be only in memory and unanswered. Default: 1 s, so that a healthy link never
    /// touches the disk and a kill loses at most the last second. Zero stores every batch before it is sent.
    #[serde(default = "defaults::loss_window", with = "humantime_serde")]
    pub loss_window: Duration,
    /// The server.
    pub http: HttpConfig,
    /// The queue in memory.
    #[serde(default)]
    pub queue: QueueConfig,
    /// How points are gathered.
    #[serde(default)]
    pub batch: BatchConfig,
    /// The spool. Default: none; points are only in memory then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spool: Option<SpoolConfig>,
    /// How points become lines: what cannot be written as it is, and tags that every point gets.
    #[serde(default)]
    pub lines: LineRules,
}

/// The queue in memory. Its bounds count what is sealed, too, until it is on disk or delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct QueueConfig {
    /// Points at most. Default: 1,000,000, ten seconds of 100,000 points/s.
    pub points_max: NonZeroUsize,
    /// Bytes of line protocol at most. Default: 64 MiB, a size that no application notices twice.
    pub bytes_max: NonZeroUsize,
    /// What happens when it is full. Default: the oldest points leave.
    pub when_full: WhenFull,
}

/// How points are gathered into batches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct BatchConfig {
    /// Points at most. Default: 5,000, what InfluxData advises for a write.
    pub points_max: NonZeroUsize,
    /// Bytes of line protocol at most. Default: 2 MiB, well under the 25 MB that InfluxDB 1.x takes and the 10 MB
    /// that 3.x takes.
    pub bytes_max: NonZeroUsize,
    /// How long a point may wait for its batch to fill. Default: 200 ms. With a spool never more than half the loss
    /// window.
    #[serde(with = "humantime_serde")]
    pub linger: Duration,
    /// Whether bodies are compressed. Default: on; a body shrinks to a fifth, on disk and on the wire.
    pub gzip: bool,
}

/// The server and how it is spoken to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct HttpConfig {
    /// The root of the server: `http://host:8086`.
    pub url: String,
    /// Who we are. Default: nobody.
    #[serde(default)]
    pub auth: Auth,
    /// How long one request may take, answer included. Default: 30 s: a busy server takes its time, and giving up
    /// early means writing twice.
    #[serde(default = "defaults::request_timeout", with = "humantime_serde")]
    pub timeout: Duration,
    /// How long a connection may take to be made. Default: 5 s, two lost packets and their repetition.
    #[serde(default = "defaults::connect_timeout", with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// Requests at once. Default: 1, which keeps the order of points; with more no order is promised.
    #[serde(default = "defaults::in_flight")]
    pub in_flight: NonZeroUsize,
    /// The shortest range of the delay after a failure. Default: 0.1 s.
    #[serde(default = "defaults::backoff_min", with = "humantime_serde")]
    pub backoff_min: Duration,
    /// The longest. Default: 60 s, so that a server that returns is found within a minute.
    #[serde(default = "defaults::backoff_max", with = "humantime_serde")]
    pub backoff_max: Duration,
}

/// Credentials. They never appear in logs, errors or debug output.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Auth {
    /// None.
    #[default]
    None,
    /// HTTP basic authentication.
    Basic {
        /// The user.
        username: String,
        /// The password.
        password: String,
    },
    /// The parameters `u` and `p` of InfluxDB 1.x. They win over a header there, and they appear in access logs.
    Query {
        /// The user.
        username: String,
        /// The password.
        password: String,
    },
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, username) = match self {
            Self::None => return f.write_str("None"),
            Self::Basic { username, .. } => ("Basic", username),
            Self::Query { username, .. } => ("Query", username),
        };
        f.debug_struct(name).field("username", username).finish_non_exhaustive()
    }
}

/// The durable buffer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SpoolConfig {
    /// The SQLite file. Its neighbours `-wal`, `-shm` and `.lock` belong to it.
    pub path: PathBuf,
    /// What a stored point survives. Default: [`SyncMode::Full`].
    #[serde(default)]
    pub sync: SyncMode,
    /// The size of the backlog at most. Default: 1 GiB, some five days of 10,000 points/s compressed.
    #[serde(default = "defaults::spool_bytes_max")]
    pub bytes_max: u64,
    /// How old an undelivered batch may become. Default: no limit.
    #[serde(default, with = "humantime_serde", skip_serializing_if = "Option::is_none")]
    pub age_max: Option<Duration>,
    /// What happens when the spool is full. Default: the oldest batches leave.
    #[serde(default)]
    pub when_full: SpoolFull,
    /// Disk space that is left to others. Default: 64 MiB.
    #[serde(default = "defaults::free_reserve_bytes")]
    pub free_reserve_bytes: u64,
    /// The size of the quarantine at most. Default: 64 MiB; the oldest leave.
    #[serde(default = "defaults::quarantine_bytes_max")]
    pub quarantine_bytes_max: u64,
    /// How long the counters of what never touched the disk may be only in memory. Default: 10 s.
    #[serde(default = "defaults::ledger_interval", with = "humantime_serde")]
    pub ledger_interval: Duration,
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

mod defaults {
    use super::{Duration, NonZeroUsize};

    pub(super) const fn loss_window() -> Duration {
        Duration::from_secs(1)
    }

    pub(super) const fn request_timeout() -> Duration {
        Duration::from_secs(30)
    }

    pub(super) const fn connect_timeout() -> Duration {
        Duration::from_secs(5)
    }

    pub(super) const fn in_flight() -> NonZeroUsize {
        NonZeroUsize::MIN
    }

    pub(super) const fn backoff_min() -> Duration {
        Duration::from_millis(100)
    }

    pub(super) const fn backoff_max() -> Duration {
        Duration::from_secs(60)
    }

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

const fn nonzero(value: usize) -> NonZeroUsize {
    match NonZeroUsize::new(value) {
        Some(value) => value,
        None => NonZeroUsize::MIN,
    }
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self { points_max: nonzero(1_000_000), bytes_max: nonzero(64 << 20), when_full: WhenFull::default() }
    }
}

impl Default for BatchConfig {
    fn default() -> Self {
        Self {
            points_max: nonzero(5_000),
            bytes_max: nonzero(2 << 20),
            linger: Duration::from_millis(200),
            gzip: true,
        }
    }
}

impl HttpConfig {
    /// A server with every default.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            auth: Auth::None,
            timeout: defaults::request_timeout(),
            connect_timeout: defaults::connect_timeout(),
            in_flight: defaults::in_flight(),
            backoff_min: defaults::backoff_min(),
            backoff_max: defaults::backoff_max(),
        }
    }
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
        }
    }
}

impl Config {
    /// A configuration with every default.
    #[must_use]
    pub fn new(name: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            database: None,
            retention_policy: None,
            precision: Precision::default(),
            consistency: None,
            missing_timestamp: MissingTimestamp::default(),
            loss_window: defaults::loss_window(),
            http: HttpConfig::new(url),
            queue: QueueConfig::default(),
            batch: BatchConfig::default(),
            spool: None,
            lines: LineRules::default(),
        }
    }

    /// Checks every value and how they fit together.
    ///
    /// # Errors
    /// Names the first setting that cannot be, and why.
    pub fn check(&self) -> Result<(), ConfigError> {
        let bad = |setting, reason: &str| Err(ConfigError { setting, reason: reason.to_owned() });
        if self.name.is_empty() {
            return bad("name", "must not be empty");
        }
        if self.database.as_deref() == Some("") {
            return bad("database", "must not be empty");
        }
        if !(self.http.url.starts_with("http://") || self.http.url.starts_with("https://")) {
            return bad("http.url", "must begin with http:// or https://");
        }
        if self.missing_timestamp == MissingTimestamp::StampUnique && self.precision != Precision::Nanoseconds
        {
            return bad(
                "missing_timestamp",
                "automatic stamps of this precision would collide: use nanoseconds, or let them collide, or refuse points without a timestamp",
            );
        }
        if self.queue.bytes_max < self.batch.bytes_max {
            return bad("queue.bytes_max", "must hold at least one batch (batch.bytes_max)");
        }
        if self.batch.bytes_max.get() > u32::MAX as usize {
            return bad("batch.bytes_max", "must be under 4 GiB");
        }
        if self.http.timeout.is_zero() || self.http.connect_timeout.is_zero() {
            return bad("http.timeout", "must not be zero");
        }
        if self.http.backoff_min > self.http.backoff_max {
            return bad("http.backoff_min", "must not be above http.backoff_max");
        }
        if self.http.backoff_min.is_zero() {
            return bad("http.backoff_min", "must not be zero: a dead server would be asked without a pause");
        }
        Ok(())
    }

    /// Where points go unless a push says otherwise.
    #[must_use]
    pub fn destination(&self) -> Destination {
        Destination {
            api: Api::V1,
            database: self.database.clone().unwrap_or_else(|| self.name.clone()),
            retention_policy: self.retention_policy.clone(),
            precision: self.precision,
            consistency: self.consistency,
        }
    }
}

/// A setting that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("setting {setting}: {reason}")]
pub struct ConfigError {
    setting: &'static str,
    reason: String,
}

impl ConfigError {
    pub(crate) fn new(setting: &'static str, reason: impl Into<String>) -> Self {
        Self { setting, reason: reason.into() }
    }

    /// The setting, as it is spelled in a file.
    #[must_use]
    pub const fn setting(&self) -> &'static str {
        self.setting
    }
}
