//! The connection to a server: whoever writes or asks goes through it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::HeaderMap;
use reqwest::{Body, Url};

use super::credentials::Credentials;
use super::endpoints::Endpoints;
use super::failure::failure;
use super::file::LocalError;
use super::held_body::HeldBody;
use super::pool::{Pool, PoolSettings};
use super::request::Request;
use crate::machines::verdict::{TransportError, TransportErrorKind};
use crate::values::config::{ConfigError, HttpConfig};

/// One server, or several that stand in for each other, as the configuration describes them.
///
/// It keeps connections for the next request, gives them up at their age, reads secrets and certificates again when they have
/// changed or were refused, and goes to the next endpoint when one fails. It repeats nothing by itself: what a failed
/// request means, and whether to make it again, is for the caller to say. A clone is the same connection; others on the same thread
/// whose configuration makes connections alike share them.
#[derive(Clone)]
pub(crate) struct HttpClient {
    inner: Arc<Inner>,
}

struct Inner {
    endpoints: Endpoints,
    credentials: Credentials,
    timeout: Duration,
    settings: PoolSettings,
    /// The lock is held while a pool is made.
    pool: Mutex<Option<Arc<Pool>>>,
}

impl HttpClient {
    /// Prepares for a server, which is not asked yet. Files are not looked at: one that cannot be read when it is needed is
    /// waited for.
    ///
    /// # Errors
    /// Names the setting that cannot be.
    pub(crate) fn new(config: &HttpConfig) -> Result<Self, ConfigError> {
        let endpoints = Endpoints::new(config)?;
        Credentials::check(&config.auth)?;
        let inner = Inner {
            credentials: Credentials::new(&config.auth),
            timeout: config.timeout,
            settings: PoolSettings::new(config, &endpoints)?,
            endpoints,
            pool: Mutex::new(None),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Checks a configuration as thoroughly as it can be without asking the server. A secret's file may be missing, since
    /// secrets are often put in place later; a certificate that is missing is a mistake.
    ///
    /// # Errors
    /// Names the setting that cannot be, and why.
    pub(crate) fn check(config: &HttpConfig) -> Result<(), ConfigError> {
        Ok(Self::new(config)?.inner.settings.check()?)
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
        let (pool, request) = self.inner.build(root, request)?;
        match pool.client().execute(request).await {
            Ok(response) => {
                self.inner.note_status(endpoint, response.status().as_u16());
                Ok(Reply { response, endpoint, pool, client: self.clone() })
            }
            Err(error) => Err(self.inner.note_failure(endpoint, &pool, failure(&error))),
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
    pool: Arc<Pool>,
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
        chunk.map_err(|error| self.client.inner.note_failure(self.endpoint, &self.pool, failure(&error)))
    }
}

impl fmt::Debug for Reply {
    /// Without the URL: it may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").field("status", &self.status()).finish_non_exhaustive()
    }
}

impl Inner {
    fn build(&self, root: &Url, request: Request) -> Result<(Arc<Pool>, reqwest::Request), LocalError> {
        let mut url = request.url_below(root);
        self.credentials.add_to_url(&mut url)?;
        let pool = self.pool()?;
        let mut building = pool
            .client()
            .request(request.method, url)
            .timeout(request.timeout.unwrap_or(self.timeout))
            .headers(request.headers);
        if let Some(body) = request.body {
            building = building.body(match request.holds_body {
                false => Body::from(body),
                true => Body::wrap(HeldBody::new(body)),
            });
        }
        let request = self.credentials.add_to_headers(building)?.build();
        Ok((pool, request.map_err(|error| LocalError::new("http", failure(&error).words))?))
    }

    /// The pool of connections; another one when it is too old, or made with files that have changed.
    fn pool(&self) -> Result<Arc<Pool>, LocalError> {
        let mut kept = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        match kept.as_ref().filter(|pool| pool.is_current()) {
            Some(pool) => Ok(Arc::clone(pool)),
            None => Pool::of(&self.settings).map(|pool| Arc::clone(kept.insert(pool))),
        }
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

    fn note_failure(&self, endpoint: usize, pool: &Pool, error: TransportError) -> TransportError {
        if error.kind == TransportErrorKind::Tls {
            pool.distrust();
        }
        self.endpoints.leave(endpoint);
        error
    }
}
