//! The client: who is asked, and on whose behalf.

use std::fmt;
use std::time::Duration;

use crate::transport::HttpClient;
use crate::values::config::{Config, ConfigError, HttpConfig};

/// What a host with little memory has to spare: a million rows of a few columns.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Asks a server, and manages it: ping, queries of every kind, databases, buckets, users.
///
/// It needs no running [`Database`](crate::Database) and no particular runtime: its requests run on a thread of their
/// own. What changes something is asked once; what reads, once more where the connection breaks before an answer begins.
/// [`DatabaseHandle::client`](crate::DatabaseHandle::client) gives the one of a database, which works while the writer
/// is down, restarting or stopped.
///
/// Answers that come whole are bounded in time by [`HttpConfig::timeout`] and in size by
/// [`with_answer_bytes_max`](Self::with_answer_bytes_max); those that are streamed have both bounds for each piece. Dropping a
/// future or a stream ends its request; a change may have been made by then. A clone is the same connection.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use influx_spool::{Client, HttpConfig};
/// let client = Client::new(&HttpConfig::new("http://localhost:8086"))?.with_database("plant");
/// println!("answered within {:?}", client.ping().await?.round_trip);
/// for row in client.query("SELECT usage FROM cpu").await?.rows::<(i64, f64)>() {
///     let (time, usage) = row?;
///     println!("{time}: {usage}");
/// }
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Client {
    pub(super) http: HttpClient,
    pub(super) timeout: Duration,
    pub(super) answer_bytes_max: usize,
    pub(super) target: Target,
}

/// What a question is about unless it says so itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Target {
    pub(super) database: Option<String>,
    pub(super) retention_policy: Option<String>,
    /// By name, and by identifier.
    pub(super) org: Option<String>,
    pub(super) org_id: Option<String>,
}

impl Client {
    /// A client of this server.
    ///
    /// # Errors
    /// A setting that cannot be. The server need not be there yet.
    pub fn new(http: &HttpConfig) -> Result<Self, ConfigError> {
        Ok(Self {
            http: HttpClient::new(http)?,
            timeout: http.timeout,
            answer_bytes_max: ANSWER_BYTES_MAX,
            target: Target::default(),
        })
    }

    /// A client of a database's server that asks about that database.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn for_config(config: &Config) -> Result<Self, ConfigError> {
        let destination = config.destination();
        let target = Target {
            database: Some(destination.database),
            retention_policy: destination.retention_policy,
            org: destination.org,
            org_id: destination.org_id,
        };
        Ok(Self { target, ..Self::new(&config.http)? })
    }

    /// The database (1.x, 3.x) that questions are about. Default: none, they name it.
    #[must_use]
    pub fn with_database(mut self, database: impl Into<String>) -> Self {
        self.target.database = Some(database.into());
        self
    }

    /// The organization (2.x) that questions are about, by name. Default: none.
    #[must_use]
    pub fn with_org(mut self, org: impl Into<String>) -> Self {
        self.target.org = Some(org.into());
        self
    }

    /// The organization (2.x) by its identifier, where it has no name set. Default: none.
    #[must_use]
    pub fn with_org_id(mut self, id: impl Into<String>) -> Self {
        self.target.org_id = Some(id.into());
        self
    }

    /// How many bytes an answer may have, or a piece of one that is streamed: what is held in memory. Default: 64 MiB, as
    /// received and unpacked; as values it takes several times as much. A larger one is
    /// [`QueryError::TooLarge`](super::QueryError::TooLarge).
    #[must_use]
    pub const fn with_answer_bytes_max(mut self, bytes: usize) -> Self {
        self.answer_bytes_max = bytes;
        self
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("http", &self.http)
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}
