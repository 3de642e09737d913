//! The connection to a server: whoever writes or asks goes through it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use reqwest::{Body, Client, Url};
use rustls::ClientConfig;

use super::credentials::Credentials;
use super::endpoints::Endpoints;
use super::failure::failure;
use super::file::{FileStamp, LocalError};
use super::held_body::HeldBody;
use super::request::Request;
use super::tls::Tls;
use crate::machines::verdict::{TransportError, TransportErrorKind};
use crate::values::config::{ConfigError, HttpConfig, Proxy};

/// Idle connections are given up before the servers do it: VictoriaMetrics closes after 60 s to the second, and a
/// request that meets the closing has to be made twice.
pub(crate) const IDLE_MAX: Duration = Duration::from_secs(50);

/// One server, or several that stand in for each other, as the configuration describes them.
///
/// It keeps connections for the next request, gives them up at their age, reads secrets and certificates again when they have
/// changed or were refused, and goes to the next endpoint when one fails. It repeats nothing by itself: what a failed
/// request means, and whether to make it again, is for the caller to say. A clone is the same connection.
#[derive(Clone)]
pub(crate) struct HttpClient {
    inner: Arc<Inner>,
}

struct Inner {
    config: HttpConfig,
    idle_connections: IdleConnections,
    endpoints: Endpoints,
    credentials: Credentials,
    headers: HeaderMap,
    tls: Tls,
    /// The pool of connections. The lock is held while one is made.
    pool: Mutex<Option<Pool>>,
}

/// Who gives up connections that nobody has used for long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdleConnections {
    /// The pool, with a timer of its own.
    EndByThemselves,
    /// Whoever has the client, by [`HttpClient::rest`].
    EndAtRest,
}

struct Pool {
    client: Client,
    born: Instant,
    tls: ClientConfig,
    stamps: [Option<FileStamp>; 3],
}

impl HttpClient {
    /// Prepares for a server, which is not asked yet. Files are not looked at: one that cannot be read when it is needed is
    /// waited for.
    ///
    /// # Errors
    /// Names the setting that cannot be.
    pub(crate) fn new(config: &HttpConfig, idle_connections: IdleConnections) -> Result<Self, ConfigError> {
        let endpoints = Endpoints::new(config)?;
        Credentials::check(&config.auth)?;
        if let Proxy::Url(url) = &config.proxy {
            proxy(url)?;
        }
        let is_encrypted = endpoints.is_any_encrypted() || is_proxy_encrypted(&config.proxy);
        let tls = if is_encrypted { Tls::Encrypted(config.tls.clone()) } else { Tls::Plain };
        let inner = Inner {
            endpoints,
            credentials: Credentials::new(&config.auth),
            headers: headers(config)?,
            tls,
            pool: Mutex::new(None),
            config: config.clone(),
            idle_connections,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Checks a configuration as thoroughly as it can be without asking the server. A secret's file may be missing, since
    /// secrets are often put in place later; a certificate that is missing is a mistake.
    ///
    /// # Errors
    /// Names the setting that cannot be, and why.
    pub(crate) fn check(config: &HttpConfig) -> Result<(), ConfigError> {
        Self::new(config, IdleConnections::EndAtRest)?.inner.tls.client_config()?;
        Ok(())
    }

    /// Gives up what is only kept for the next request: connections above all. To be called when there has been none for
    /// [`IDLE_MAX`].
    pub(crate) fn rest(&self) {
        *self.inner.pool() = None;
    }

    /// Makes one request, and returns its answer as soon as its headers are there, whatever the status.
    ///
    /// # Errors
    /// No answer came. The words name neither a URL nor a secret.
    ///
    /// # Cancel safety
    /// Dropping the future ends the request; the server may have heard it or not.
    pub(crate) async fn send(&self, request: Request) -> Result<Reply, TransportError> {
        let (endpoint, root) = self.inner.endpoints.current();
        let (client, request) = self.inner.build(root, request)?;
        match client.execute(request).await {
            Ok(response) => {
                self.inner.note_status(endpoint, response.status().as_u16());
                Ok(Reply { response, endpoint, client: self.clone() })
            }
            Err(error) => Err(self.inner.note_failure(endpoint, failure(&error))),
        }
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").field("endpoints", &self.inner.endpoints).finish_non_exhaustive()
    }
}

/// An answer whose body is yet to be read.
pub(crate) struct Reply {
    response: reqwest::Response,
    endpoint: usize,
    client: HttpClient,
}

impl Reply {
    pub(crate) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// The next piece of the body; `None` at its end.
    ///
    /// # Errors
    /// The connection broke, or the request's time is over.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, TransportError> {
        let chunk = self.response.chunk().await;
        chunk.map_err(|error| self.client.inner.note_failure(self.endpoint, failure(&error)))
    }
}

impl fmt::Debug for Reply {
    /// Without the URL: it may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").field("status", &self.status()).finish_non_exhaustive()
    }
}

impl Inner {
    fn build(&self, root: &Url, request: Request) -> Result<(Client, reqwest::Request), LocalError> {
        let mut url = request.url_below(root);
        self.credentials.add_to_url(&mut url)?;
        let client = self.client()?;
        let mut building = client
            .request(request.method, url)
            .timeout(request.timeout.unwrap_or(self.config.timeout))
            .headers(request.headers);
        if let Some(body) = request.body {
            building = building.body(match request.holds_body {
                false => Body::from(body),
                true => Body::wrap(HeldBody::new(body)),
            });
        }
        let request = self.credentials.add_to_headers(building)?.build();
        Ok((client, request.map_err(|error| LocalError::new("http", failure(&error).words))?))
    }

    /// The pool of connections; another one when it is too old, or made with files that have changed.
    fn client(&self) -> Result<Client, LocalError> {
        let stamps = self.tls.stamps();
        let mut pool = self.pool();
        let tls = match pool.take() {
            Some(kept) if kept.stamps == stamps && kept.born.elapsed() < self.config.connection_age_max => {
                return Ok(pool.insert(kept).client.clone());
            }
            Some(old) if old.stamps == stamps => old.tls,
            _ => self.tls.client_config()?,
        };
        let client = self.connect_by(tls.clone())?;
        *pool = Some(Pool { client: client.clone(), born: Instant::now(), tls, stamps });
        Ok(client)
    }

    fn connect_by(&self, tls: ClientConfig) -> Result<Client, LocalError> {
        let builder = Client::builder()
            .tls_backend_preconfigured(tls)
            .default_headers(self.headers.clone())
            .connect_timeout(self.config.connect_timeout)
            .pool_idle_timeout(match self.idle_connections {
                IdleConnections::EndByThemselves => Some(IDLE_MAX),
                IdleConnections::EndAtRest => None,
            })
            // One connection for each request at once, and none for a redirect: where points go is not for a server
            // to say, and a redirected POST may lose its body on the way.
            .pool_max_idle_per_host(self.config.in_flight.get())
            .redirect(reqwest::redirect::Policy::none())
            .tcp_nodelay(true);
        let builder = match &self.config.proxy {
            Proxy::Environment => builder,
            Proxy::None => builder.no_proxy(),
            Proxy::Url(url) => builder.proxy(proxy(url)?),
        };
        builder.build().map_err(|error| LocalError::new("http", failure(&error).words))
    }

    fn pool(&self) -> MutexGuard<'_, Option<Pool>> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_status(&self, endpoint: usize, status: u16) {
        match status {
            // 403: some proxies say it of a token that they do not know.
            401 | 403 => self.credentials.distrust(),
            // What stands in front of a server says that it is not there, or the server that it cannot.
            502..=504 => self.endpoints.leave(endpoint),
            _ => {}
        }
    }

    fn note_failure(&self, endpoint: usize, error: TransportError) -> TransportError {
        if error.kind == TransportErrorKind::Tls {
            // The next request reads the certificates again.
            *self.pool() = None;
        }
        self.endpoints.leave(endpoint);
        error
    }
}

/// What every request carries.
fn headers(config: &HttpConfig) -> Result<HeaderMap, LocalError> {
    let mut headers = HeaderMap::new();
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("influx-spool/", env!("CARGO_PKG_VERSION"))));
    for (name, value) in &config.headers {
        let bad = |what: &str| LocalError::new("http.headers", format!("{name:?} {what}"));
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad("is no name of a header"))?;
        let mut value =
            HeaderValue::from_str(value).map_err(|_| bad("has a value that no header can carry"))?;
        value.set_sensitive(true);
        headers.insert(key, value);
    }
    Ok(headers)
}

/// Whether the way to the proxy itself is encrypted.
fn is_proxy_encrypted(proxy: &Proxy) -> bool {
    let is_https = |url: &str| url.starts_with("https://");
    match proxy {
        Proxy::None => false,
        Proxy::Url(url) => is_https(url),
        Proxy::Environment => ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]
            .iter()
            .any(|name| std::env::var(name).is_ok_and(|url| is_https(&url))),
    }
}

fn proxy(url: &str) -> Result<reqwest::Proxy, LocalError> {
    let bad = |words: &str| LocalError::new("http.proxy", words);
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err(bad("must begin with http:// or https://"));
    }
    reqwest::Proxy::all(url).map_err(|_| bad("is no URL"))
}
