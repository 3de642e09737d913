//! What an application can set, with the reason for every default.

mod http;
mod spool;
mod udp;

use std::num::NonZeroUsize;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use http::{Auth, HttpConfig, Proxy, Secret, TlsConfig};
pub use spool::{PageSize, SpoolConfig, SpoolFull, SyncMode};
pub use udp::UdpConfig;

use super::batch::{Api, Consistency, Destination};
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

/// What an IPv4 datagram holds at most: 65,535 bytes less the headers of IP (20) and UDP (8).
const UDP_PAYLOAD_MAX: usize = 65_507;

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
    /// The interface of the server. Default: v1.
    #[serde(default)]
    pub api: Api,
    /// The InfluxDB database, or the bucket (v2). Default: `name`.
    #[serde(default, alias = "bucket", skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// The organization, by name or identifier (v2). Default: none; InfluxDB 2.x needs one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org: Option<String>,
    /// The organization's identifier (v2), where `org` is not set. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org_id: Option<String>,
    /// Whether a missing database is created, with the server's defaults (v1; v3 creates databases by itself). Default: no, the
    /// points wait for it.
    #[serde(default)]
    pub create_database: bool,
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
    /// Whether v3 keeps the good lines of a body with bad ones. Default: yes.
    #[serde(default = "yes")]
    pub accept_partial: bool,
    /// Whether v3 answers before the points are in its log. Default: no. With it a crash of the server loses what it
    /// has acknowledged.
    #[serde(default)]
    pub no_sync: bool,
    /// How long an accepted point may be only in memory and unanswered. Default: 1 s, so that a healthy link never
    /// touches the disk and a kill loses at most the last second; 3 s for v3, which answers once a second. Zero stores every
    /// batch before it is sent, but for what a spool has no room for at a stop.
    #[serde(default, with = "humantime_serde", skip_serializing_if = "Option::is_none")]
    pub loss_window: Option<Duration>,
    /// The server.
    pub http: HttpConfig,
    /// Points by UDP. Default: none, HTTP carries everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udp: Option<UdpConfig>,
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
    /// window, and just that while the server is down.
    #[serde(with = "humantime_serde")]
    pub linger: Duration,
    /// Whether bodies are compressed. Default: those that are worth it. By UDP they never are.
    pub compression: Compression,
}

/// Whether bodies are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Compression {
    /// From a kilobyte on, as the official clients do. The default: a body shrinks to a fifth, on disk and on the wire.
    #[default]
    Auto,
    /// Every body.
    Gzip,
    /// None: for servers or proxies that cannot read them.
    None,
}

const fn yes() -> bool {
    true
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
            compression: Compression::default(),
        }
    }
}

impl Config {
    /// A configuration with every default.
    #[must_use]
    pub fn new(name: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            api: Api::default(),
            database: None,
            org: None,
            org_id: None,
            create_database: false,
            retention_policy: None,
            precision: Precision::default(),
            consistency: None,
            missing_timestamp: MissingTimestamp::default(),
            accept_partial: true,
            no_sync: false,
            loss_window: None,
            http: HttpConfig::new(url),
            udp: None,
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
        if !self.http.urls().all(|url| url.starts_with("http://") || url.starts_with("https://")) {
            return bad("http.url", "must begin with http:// or https://");
        }
        if self.api == Api::V2 && self.org.is_some() && self.org_id.is_some() {
            return bad("org_id", "is not used beside org: set one of them");
        }
        if self.http.tls.cert_file.is_some() != self.http.tls.key_file.is_some() {
            return bad("http.tls.cert_file", "a certificate and its key belong together");
        }
        if self.udp.is_some() && self.api != Api::V1 {
            return bad("udp", "only InfluxDB 1.x listens to UDP: use it with v1");
        }
        if self.udp.as_ref().is_some_and(|udp| udp.datagram_bytes_max.get() > UDP_PAYLOAD_MAX) {
            return bad("udp.datagram_bytes_max", "no datagram holds more than 65,507 bytes");
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
            api: self.api,
            database: self.database.clone().unwrap_or_else(|| self.name.clone()),
            org: self.org.clone(),
            org_id: self.org_id.clone(),
            retention_policy: self.retention_policy.clone(),
            precision: self.precision,
            consistency: self.consistency,
            accept_partial: self.accept_partial,
            no_sync: self.no_sync,
        }
    }

    /// How long an accepted point may be only in memory and unanswered: as set, or as the interface suggests.
    #[must_use]
    pub fn loss_window(&self) -> Duration {
        self.loss_window.unwrap_or(match self.api {
            Api::V3 => Duration::from_secs(3),
            _ => Duration::from_secs(1),
        })
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
