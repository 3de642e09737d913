//! `POST /write` of InfluxDB 1.x.

use std::future::Future;
use std::pin::Pin;
use std::sync::Once;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};
use reqwest::{Client, Url};

use super::Transport;
use crate::machines::verdict::{Answer, Response, TransportError, TransportErrorKind};
use crate::values::batch::{Codec, Destination};
use crate::values::config::{Auth, ConfigError, HttpConfig, Secret};
use crate::values::precision::Precision;

/// How much of an answer is read. The server's words fit in it; a page that goes on for ever does not.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Idle connections are given up before the servers do it: VictoriaMetrics closes after 60 s to the second, and a
/// request that meets the closing has to be made twice.
const IDLE_MAX: Duration = Duration::from_secs(50);

/// The v1 write interface of one server.
#[derive(Debug)]
pub(crate) struct HttpV1 {
    client: Client,
    write_url: Url,
    auth: Auth,
    timeout: Duration,
}

impl HttpV1 {
    /// # Errors
    /// The URL cannot be used.
    pub(crate) fn new(config: &HttpConfig) -> Result<Self, ConfigError> {
        let write_url = write_url(&config.url)?;
        install_crypto_provider();
        let mut client = Client::builder();
        if write_url.scheme() == "http" {
            // Loading the system's root certificates takes tens of milliseconds, for nothing here.
            client = client.tls_certs_only([]);
        }
        let mut headers = HeaderMap::new();
        headers.insert(
            USER_AGENT,
            HeaderValue::from_static(concat!("influx-spool/", env!("CARGO_PKG_VERSION"))),
        );
        let client = client
            .default_headers(headers)
            .connect_timeout(config.connect_timeout)
            .pool_idle_timeout(IDLE_MAX)
            // One connection for each request at once, and none for a redirect: where points go is not for a server
            // to say, and a redirected POST may lose its body on the way.
            .pool_max_idle_per_host(config.in_flight.get())
            .redirect(reqwest::redirect::Policy::none())
            .tcp_nodelay(true)
            .build()
            .map_err(|error| ConfigError::new("http", words_of(&error)))?;
        Ok(Self { client, write_url, auth: config.auth.clone(), timeout: config.timeout })
    }

    /// Checks what can be checked without making a client.
    ///
    /// # Errors
    /// The URL cannot be used.
    pub(crate) fn check(config: &HttpConfig) -> Result<(), ConfigError> {
        write_url(&config.url).map(drop)
    }

    fn url_for(&self, destination: &Destination) -> Url {
        let mut url = self.write_url.clone();
        let mut query = url.query_pairs_mut();
        query.append_pair("db", &destination.database);
        query.append_pair("precision", v1_precision(destination.precision));
        if let Some(policy) = &destination.retention_policy {
            query.append_pair("rp", policy);
        }
        if let Some(consistency) = destination.consistency {
            query.append_pair("consistency", consistency.as_str());
        }
        if let Auth::Query { username, password } = &self.auth {
            query.append_pair("u", username).append_pair("p", text_of(password));
        }
        drop(query);
        url
    }
}

impl Transport for HttpV1 {
    fn send(
        &self,
        destination: &Destination,
        codec: Codec,
        body: Bytes,
    ) -> Pin<Box<dyn Future<Output = Answer>>> {
        let mut request = self
            .client
            .post(self.url_for(destination))
            .timeout(self.timeout)
            .header(CONTENT_TYPE, "text/plain; charset=utf-8")
            .body(body);
        if codec == Codec::Gzip {
            request = request.header(CONTENT_ENCODING, "gzip");
        }
        if let Auth::Basic { username, password } = &self.auth {
            request = request.basic_auth(username, Some(text_of(password)));
        }
        Box::pin(async move {
            match request.send().await {
                Ok(response) => read(response).await,
                Err(error) => Answer::Failed(failure(&error)),
            }
        })
    }

    fn ping(&self) -> Pin<Box<dyn Future<Output = bool>>> {
        let request = self.client.get(self.write_url.join("ping").unwrap_or_else(|_| self.write_url.clone()));
        let request = request.timeout(self.timeout);
        Box::pin(async move { request.send().await.is_ok() })
    }

    fn create_database(&self, _: &str) -> Pin<Box<dyn Future<Output = bool>>> {
        Box::pin(async { false })
    }
}

fn text_of(secret: &Secret) -> &str {
    match secret {
        Secret::Text(text) => text,
        Secret::File { .. } => "",
    }
}

/// The unit as v1 spells it: 1.6 takes an unknown word, `us` and `ns` among them, for nanoseconds and answers 204.
const fn v1_precision(precision: Precision) -> &'static str {
    match precision {
        Precision::Nanoseconds => "n",
        Precision::Microseconds => "u",
        Precision::Milliseconds => "ms",
        Precision::Seconds => "s",
    }
}

fn write_url(root: &str) -> Result<Url, ConfigError> {
    let bad = |reason: String| ConfigError::new("http.url", reason);
    let mut url = Url::parse(root).map_err(|error| bad(error.to_string()))?;
    url.path_segments_mut().map_err(|()| bad("cannot be a base".into()))?.pop_if_empty().push("write");
    Ok(url)
}

async fn read(mut response: reqwest::Response) -> Answer {
    let headers = response.headers();
    let headers = headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.to_str().unwrap_or_default().to_owned()));
    let headers = headers.collect();
    let status = response.status().as_u16();
    let mut body = Vec::new();
    // The status has come: a body that breaks off takes nothing from it.
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk[..chunk.len().min(ANSWER_BYTES_MAX - body.len())]);
        if body.len() == ANSWER_BYTES_MAX {
            break;
        }
    }
    let body = String::from_utf8_lossy(&body).trim_end().to_owned();
    Answer::Response(Response { status, headers, body })
}

fn failure(error: &reqwest::Error) -> TransportError {
    let kind = if error.is_connect() {
        TransportErrorKind::Connect
    } else if error.is_timeout() {
        TransportErrorKind::Timeout
    } else {
        TransportErrorKind::Broken
    };
    TransportError { kind, words: words_of(error) }
}

/// The causes of an error, without the URL: it may hold a password.
fn words_of(error: &reqwest::Error) -> String {
    let mut words = Vec::new();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        words.push(error.to_string());
        cause = error.source();
    }
    if words.is_empty() { "request failed".into() } else { words.join(": ") }
}

/// The TLS implementation for the whole process, unless the application has chosen one.
fn install_crypto_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error says that the application has installed its own: just as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::batch::Consistency;

    fn destination() -> Destination {
        Destination {
            retention_policy: Some("week".into()),
            precision: Precision::Microseconds,
            consistency: Some(Consistency::Quorum),
            ..Destination::new("a b&c")
        }
    }

    #[test]
    fn the_destination_is_spelled_as_v1_wants_it() {
        let mut config = HttpConfig::new("http://localhost:8086/influx/");
        config.auth = Auth::Query { username: "w".into(), password: "p w".into() };
        let url = HttpV1::new(&config).unwrap().url_for(&destination());
        assert_eq!(
            url.as_str(),
            "http://localhost:8086/influx/write?db=a+b%26c&precision=u&rp=week&consistency=quorum&u=w&p=p+w"
        );
    }

    #[test]
    fn a_bad_url_is_refused_at_once() {
        assert_eq!(HttpV1::new(&HttpConfig::new("no url")).unwrap_err().setting(), "http.url");
        assert_eq!(HttpV1::new(&HttpConfig::new("mailto:a@b")).unwrap_err().setting(), "http.url");
    }
}
