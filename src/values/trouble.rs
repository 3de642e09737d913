//! Why the server does not take points.

/// The kinds of trouble a person would tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TroubleKind {
    /// No connection to the server, or it broke.
    Unreachable,
    /// The server did not answer in time.
    Timeout,
    /// The server said it cannot just now (408, 425, 429, 5xx).
    Unavailable,
    /// The server does not accept the credentials (401, 403).
    Unauthorized,
    /// The database, the bucket, the organization or the retention policy does not exist.
    NoSuchDatabase,
    /// The server does not understand the parameters of the request, or the way the body is encoded.
    Misconfigured,
    /// What answers there is not the write interface of an InfluxDB.
    WrongEndpoint,
}
