//! The server: where it is, how it is spoken to, who we are to it.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The server and how it is spoken to.
///
/// Databases on one arbiter (unless they name one: one of two of the crate's own) share connections, each of which carries one request at a time, if `tls`, `proxy`, `headers`,
/// `connect_timeout` and `connection_age_max` are the same: a thousand of them need as many as requests are under way at once.
/// Credentials go with each request. A connection that was idle for 50 to 100 seconds is closed.
///
/// ```
/// use influx_spool::{Auth, HttpConfig, Secret};
/// let section = r#"
///     url = "https://influx.example:8086"
///     auth = { token = { token = { file = "/run/secrets/influx" } } }
///     tls = { ca_file = "/etc/ssl/plant.pem" }
/// "#;
/// let http: HttpConfig = toml::from_str(section)?;
/// assert_eq!(http.auth, Auth::Token { token: Secret::file("/run/secrets/influx") });
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct HttpConfig {
    /// The root of the server: `http://host:8086`.
    pub url: String,
    /// Other roots of the same server or cluster, asked in turn while the one before does not answer. All of them are to
    /// lead to the same data. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallback_urls: Vec<String>,
    /// Who we are. Default: nobody.
    #[serde(default)]
    pub auth: Auth,
    /// Whom we trust, and how we prove who we are. Default: the system's certificate authorities.
    #[serde(default)]
    pub tls: TlsConfig,
    /// The way through a proxy. Default: as the environment says (`HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY`).
    #[serde(default)]
    pub proxy: Proxy,
    /// Headers beside our own, on every request. Their values are treated as secrets. `Host` and `User-Agent` take the place of ours;
    /// those that say how a body is sent (`Content-Length`, `Content-Encoding` and so on) are refused, and so is `Authorization`
    /// beside an `auth` that sets it. Default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// How long one request may take, answer included. Default: 30 s: a busy server takes its time, and giving up
    /// early means writing twice.
    #[serde(default = "defaults::request_timeout", with = "humantime_serde")]
    pub timeout: Duration,
    /// How long a connection may take to be made. Default: 5 s, two lost packets and their repetition.
    #[serde(default = "defaults::connect_timeout", with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// How old a connection may become before another is made in its place, by a name looked up anew. Default: 10
    /// minutes; a server that moved is found by then even if the old address still answers.
    #[serde(default = "defaults::connection_age_max", with = "humantime_serde")]
    pub connection_age_max: Duration,
    /// Requests at once. Default: 1, which keeps the order of points; with more no order is promised. InfluxDB 3
    /// acknowledges once a second a connection, so there it bounds the rate.
    #[serde(default = "defaults::in_flight")]
    pub in_flight: NonZeroUsize,
    /// The shortest range of the delay after a failure. Default: 0.1 s.
    #[serde(default = "defaults::backoff_min", with = "humantime_serde")]
    pub backoff_min: Duration,
    /// The longest. Default: 60 s, so that a server that returns is found within a minute.
    #[serde(default = "defaults::backoff_max", with = "humantime_serde")]
    pub backoff_max: Duration,
}

impl HttpConfig {
    /// A server with every default.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            fallback_urls: Vec::new(),
            auth: Auth::None,
            tls: TlsConfig::default(),
            proxy: Proxy::default(),
            headers: BTreeMap::new(),
            timeout: defaults::request_timeout(),
            connect_timeout: defaults::connect_timeout(),
            connection_age_max: defaults::connection_age_max(),
            in_flight: defaults::in_flight(),
            backoff_min: defaults::backoff_min(),
            backoff_max: defaults::backoff_max(),
        }
    }

    /// The root and those that stand in for it, in the order in which they are tried.
    pub(crate) fn urls(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.url).chain(&self.fallback_urls).map(String::as_str)
    }
}

impl fmt::Debug for HttpConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpConfig")
            .field("url", &self.url)
            .field("fallback_urls", &self.fallback_urls)
            .field("auth", &self.auth)
            .field("tls", &self.tls)
            .field("proxy", &self.proxy)
            .field("headers", &self.headers.keys())
            .field("timeout", &self.timeout)
            .field("connect_timeout", &self.connect_timeout)
            .field("connection_age_max", &self.connection_age_max)
            .field("in_flight", &self.in_flight)
            .field("backoff_min", &self.backoff_min)
            .field("backoff_max", &self.backoff_max)
            .finish()
    }
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
        password: Secret,
    },
    /// The parameters `u` and `p` of InfluxDB 1.x. They win over a header there, and they appear in access logs.
    Query {
        /// The user.
        username: String,
        /// The password.
        password: Secret,
    },
    /// `Authorization: Token …`: InfluxDB 2.x, and 1.8 with `user:password` for a token.
    Token {
        /// The token.
        token: Secret,
    },
    /// `Authorization: Bearer …`: InfluxDB 3.x and InfluxDB Cloud.
    Bearer {
        /// The token.
        token: Secret,
    },
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, username) = match self {
            Self::None => return f.write_str("None"),
            Self::Token { .. } => return f.write_str("Token"),
            Self::Bearer { .. } => return f.write_str("Bearer"),
            Self::Basic { username, .. } => ("Basic", username),
            Self::Query { username, .. } => ("Query", username),
        };
        f.debug_struct(name).field("username", username).finish_non_exhaustive()
    }
}

/// A password or a token: itself, or the file it stands in.
///
/// A file is read when it is first needed, again when it has changed, and after the server has refused what it held;
/// whitespace around the secret is not part of it. In a configuration file a string is the secret itself and
/// `{ file = "…" }` names a file.
///
/// ```
/// use influx_spool::Secret;
/// assert_eq!(format!("{:?}", Secret::from("s3cret")), "Secret");
/// ```
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Secret {
    /// The secret itself.
    Text(String),
    /// Where it stands.
    File {
        /// The file.
        file: PathBuf,
    },
}

impl Secret {
    /// A secret that stands in a file.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::File { file: path.into() }
    }
}

impl<T: Into<String>> From<T> for Secret {
    fn from(text: T) -> Self {
        Self::Text(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("Secret"),
            Self::File { file } => f.debug_struct("Secret").field("file", file).finish(),
        }
    }
}

/// Whom we trust, and how we prove who we are. Files are PEM, and are read again when they have changed and after a
/// handshake has failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct TlsConfig {
    /// Whether the system's certificate authorities are trusted. Default: yes.
    pub system_roots: bool,
    /// Certificate authorities to trust beside them. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Our own certificate, followed by those that lead to its authority. Needs `key_file`. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<PathBuf>,
    /// Its private key. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// Whether the server's certificate is checked. Default: yes. Without it anybody on the way can read and change
    /// everything, the credentials included.
    pub verify: bool,
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self { system_roots: true, ca_file: None, cert_file: None, key_file: None, verify: true }
    }
}

/// The way through a proxy.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Proxy {
    /// As `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` say. The default.
    #[default]
    Environment,
    /// None, whatever the environment says.
    None,
    /// This one, for everything: `http://user:password@proxy:3128`.
    Url(String),
}

impl fmt::Debug for Proxy {
    /// Without the URL: it may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Environment => "Environment",
            Self::None => "None",
            Self::Url(_) => "Url",
        })
    }
}

mod defaults {
    use super::{Duration, NonZeroUsize};

    pub(super) const fn request_timeout() -> Duration {
        Duration::from_secs(30)
    }

    pub(super) const fn connect_timeout() -> Duration {
        Duration::from_secs(5)
    }

    pub(super) const fn connection_age_max() -> Duration {
        Duration::from_secs(600)
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
}
