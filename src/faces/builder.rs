//! From settings to a running database.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use actix::ArbiterHandle;

use super::handle::DatabaseHandle;
use super::registry::Registry;
use crate::actors::arbiters;
use crate::actors::database::{self, Database};
use crate::actors::shared::Shared;
use crate::log;
use crate::spool::{Spool, SpoolError, SpoolOptions};
use crate::transport::HttpClient;
use crate::values::batch::Api;
use crate::values::config::{
    Auth, Compression, Config, ConfigError, MissingTimestamp, Secret, SpoolConfig, SyncMode, UdpConfig,
    WhenFull,
};
use crate::values::line_protocol::encoder::Encoder;
use crate::values::line_protocol::problem::PointError;
use crate::values::precision::Precision;

/// Settings of a database that is about to start. Every setting is a field of [`Config`], where the reason for its
/// default stands; those that most applications touch have a method of their own, the rest is reached with
/// [`configure`](Self::configure).
///
/// ```
/// use influx_spool::{Database, WhenFull};
/// let plant = Database::builder("builder-example")
///     .http("http://localhost:8086")
///     .tag("site", "north")
///     .configure(|config| config.queue.when_full = WhenFull::Refuse)
///     .start()?;
/// assert_eq!(plant.name(), "builder-example");
/// # Ok::<(), influx_spool::StartError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `start`"]
pub struct DatabaseBuilder {
    config: Config,
    arbiter: Option<ArbiterHandle>,
}

/// A database that could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting cannot be.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A default tag cannot be written.
    #[error("setting lines.default_tags: {0}")]
    DefaultTag(#[from] PointError),
    /// The spool cannot be opened.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// A thread cannot be started.
    #[error("start threads: {0}")]
    Threads(#[from] io::Error),
}

impl Database {
    /// Settings for a database of this name. With nothing else set points go to `http://localhost:8086`, into the
    /// InfluxDB database of the same name, and wait in memory only.
    pub fn builder(name: impl Into<String>) -> DatabaseBuilder {
        DatabaseBuilder::from(Config::new(name, "http://localhost:8086"))
    }
}

impl From<Config> for DatabaseBuilder {
    fn from(config: Config) -> Self {
        Self { config, arbiter: None }
    }
}

impl DatabaseBuilder {
    /// The root of the server. Default: `http://localhost:8086`.
    pub fn http(mut self, url: impl Into<String>) -> Self {
        self.config.http.url = url.into();
        self
    }

    /// Sends points by UDP to this listener, `host:8089`, and by HTTP what UDP cannot carry. Default: everything goes by
    /// HTTP.
    pub fn udp(mut self, address: impl Into<String>) -> Self {
        self.config.udp = Some(UdpConfig::new(address));
        self
    }

    /// Speaks to InfluxDB 2.x: this organization (by name or identifier), this bucket.
    pub fn v2(mut self, org: impl Into<String>, bucket: impl Into<String>) -> Self {
        self.config.api = Api::V2;
        self.config.org = Some(org.into());
        self.database(bucket)
    }

    /// Speaks to InfluxDB 3.x.
    pub const fn v3(mut self) -> Self {
        self.config.api = Api::V3;
        self
    }

    /// A token: as `Authorization: Token` on v1 and v2, as `Bearer` on v3, so set the interface first. Default: none.
    pub fn token(mut self, token: impl Into<Secret>) -> Self {
        let token = token.into();
        self.config.http.auth =
            if self.config.api == Api::V3 { Auth::Bearer { token } } else { Auth::Token { token } };
        self
    }

    /// Has a missing database created (v1). Default: points wait until it is there.
    pub const fn create_database(mut self) -> Self {
        self.config.create_database = true;
        self
    }

    /// Keeps undelivered points in this SQLite file. Default: none, points are only in memory.
    pub fn spool(mut self, path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        match &mut self.config.spool {
            Some(spool) => spool.path = path,
            none => *none = Some(SpoolConfig::new(path)),
        }
        self
    }

    /// The InfluxDB database. Default: the name.
    pub fn database(mut self, database: impl Into<String>) -> Self {
        self.config.database = Some(database.into());
        self
    }

    /// The retention policy. Default: the database's own default policy.
    pub fn retention_policy(mut self, policy: impl Into<String>) -> Self {
        self.config.retention_policy = Some(policy.into());
        self
    }

    /// The unit of timestamps. Default: nanoseconds.
    pub const fn precision(mut self, precision: Precision) -> Self {
        self.config.precision = precision;
        self
    }

    /// Lets points without a timestamp collide where the precision is coarser than nanoseconds. Default: such a
    /// database does not start.
    pub const fn allow_time_collisions(mut self) -> Self {
        self.config.missing_timestamp = MissingTimestamp::StampColliding;
        self
    }

    /// Basic authentication. Default: none.
    pub fn basic_auth(mut self, username: impl Into<String>, password: impl Into<Secret>) -> Self {
        self.config.http.auth = Auth::Basic { username: username.into(), password: password.into() };
        self
    }

    /// A tag for every point that does not have it itself. Default: none.
    pub fn tag(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.lines.default_tags.insert(key.into(), value.into());
        self
    }

    /// How long an accepted point may be only in memory and unanswered. Default: 1 s.
    pub const fn loss_window(mut self, window: Duration) -> Self {
        self.config.loss_window = Some(window);
        self
    }

    /// What a stored point survives. Default: a power cut. No effect without a spool, so set that first.
    pub const fn sync(mut self, sync: SyncMode) -> Self {
        if let Some(spool) = &mut self.config.spool {
            spool.sync = sync;
        }
        self
    }

    /// Whether bodies are compressed: all, or none. Default: those that are worth it.
    pub const fn gzip(mut self, gzip: bool) -> Self {
        self.config.batch.compression = if gzip { Compression::Gzip } else { Compression::None };
        self
    }

    /// How long a point may wait for its batch to fill. Default: 200 ms.
    pub const fn linger(mut self, linger: Duration) -> Self {
        self.config.batch.linger = linger;
        self
    }

    /// What happens to a new point when the queue is full. Default: the oldest leaves.
    pub const fn when_full(mut self, when_full: WhenFull) -> Self {
        self.config.queue.when_full = when_full;
        self
    }

    /// Changes any setting.
    pub fn configure(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// Runs the database's actors on this arbiter. Default: on threads of the crate's own.
    ///
    /// When it ends, the actors end with it: points are still accepted and wait in memory, `health` says degraded, and
    /// `stop` stores what is there.
    pub fn arbiter(mut self, arbiter: ArbiterHandle) -> Self {
        self.arbiter = Some(arbiter);
        self
    }

    /// Opens the spool and starts the actors. Works inside and outside an actix system.
    ///
    /// Opening takes milliseconds, and blocks; a damaged file takes as long as it takes to copy what is left of it.
    ///
    /// # Errors
    /// A setting that cannot be, a spool that another process has or that cannot be opened, no threads.
    pub fn start(self) -> Result<DatabaseHandle, StartError> {
        let config = self.config;
        config.check()?;
        HttpClient::check(&config.http)?;
        let encoder = Encoder::new(config.precision, &config.lines)?;
        let options = config.spool.as_ref().map(|spool| SpoolOptions::of(spool, &config.batch));
        options.as_ref().map_or(Ok(()), SpoolOptions::check)?;
        let opened = options.as_ref().map(|options| Spool::open(options, SystemTime::now())).transpose()?;
        let in_memory = opened.is_none();
        let arbiter = self.arbiter.map_or_else(arbiters::next, Ok)?;
        let shared = Arc::new(Shared::new(config, encoder, opened, options)?);
        let backlog = shared.stats().pending.points;
        log::info!(database = &*shared.name, in_memory, backlog, "started");
        let address = database::start(&shared, &arbiter);
        let handle = DatabaseHandle::new(shared, address);
        Registry::add(&handle);
        Ok(handle)
    }
}
