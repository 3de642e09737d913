//! The write interfaces of InfluxDB: `/write` of 1.x, `/api/v2/write` of 2.x, `/api/v3/write_lp` of 3.x.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};

use super::Transport;
use super::answer::read;
use super::client::HttpClient;
use super::request::Request;
use crate::machines::verdict::{Answer, Response, TransportErrorKind};
use crate::values::batch::{Api, Codec, Destination};
use crate::values::config::{ConfigError, HttpConfig};
use crate::values::precision::Precision;

/// From this length of a body on an answer may have been lost when the connection was reset.
///
/// A server that answers before it has read a body, 413 mostly, and closes, resets the connection when more of the body arrives.
/// The client fails to write then, and does not look whether there was an answer. A shorter body is in the socket's
/// buffer as a whole: what comes next is reading.
const UNHEARD_BYTES_MIN: usize = 16 << 10;

/// A server that takes longer to say that it is there is no better than one that is not.
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// Writes to a server by HTTP, through the interface that each destination names.
///
/// A connection that is reset while a long body is under way is no answer, but there may have been one: then the request
/// is made once more with its body held back, and the answer is heard.
#[derive(Debug)]
pub(crate) struct HttpWriter {
    client: HttpClient,
}

impl HttpWriter {
    /// # Errors
    /// Names the setting that cannot be.
    pub(crate) fn new(config: &HttpConfig) -> Result<Self, ConfigError> {
        HttpClient::new(config).map(|client| Self { client })
    }
}

impl Transport for HttpWriter {
    fn send(
        &self,
        destination: &Destination,
        codec: Codec,
        body: Bytes,
    ) -> Pin<Box<dyn Future<Output = Answer>>> {
        let client = self.client.clone();
        let is_long = body.len() > UNHEARD_BYTES_MIN;
        let request = write_request(destination, codec).body(body);
        Box::pin(async move {
            match answer(&client, request.clone()).await {
                Answer::Failed(error) if is_long && error.kind == TransportErrorKind::Reset => {
                    answer(&client, request.hold_body()).await
                }
                answered => answered,
            }
        })
    }

    fn ping(&self) -> Pin<Box<dyn Future<Output = bool>>> {
        let client = self.client.clone();
        Box::pin(async move {
            let mut status = status(&client, "ping").await;
            if status == Some(404) {
                // Something else that takes line protocol, perhaps; most of them have this page.
                status = self::status(&client, "health").await;
            }
            status.is_some_and(|status| status < 500)
        })
    }

    fn create_database(&self, database: &str) -> Pin<Box<dyn Future<Output = bool>>> {
        let client = self.client.clone();
        let statement = format!("CREATE DATABASE {}", quoted(database));
        let request = Request::post(&["query"]).query("q", statement);
        Box::pin(
            async move { matches!(answer(&client, request).await, Answer::Response(made) if is_done(&made)) },
        )
    }
}

async fn answer(client: &HttpClient, request: Request) -> Answer {
    match client.send(request).await {
        Ok(reply) => read(reply).await,
        Err(error) => Answer::Failed(error),
    }
}

async fn status(client: &HttpClient, page: &str) -> Option<u16> {
    client.send(Request::get(&[page]).timeout(PING_TIMEOUT)).await.ok().map(|reply| reply.status())
}

fn write_request(destination: &Destination, codec: Codec) -> Request {
    let request = match destination.api {
        Api::V1 => v1(destination),
        Api::V2 => v2(destination),
        Api::V3 => v3(destination),
    };
    let request = request.header(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    match codec {
        Codec::Identity => request,
        Codec::Gzip => request.header(CONTENT_ENCODING, HeaderValue::from_static("gzip")),
    }
}

fn v1(destination: &Destination) -> Request {
    // 1.6 takes an unknown word, `us` and `ns` among them, for nanoseconds and answers 204.
    let precision = match destination.precision {
        Precision::Nanoseconds => "n",
        Precision::Microseconds => "u",
        Precision::Milliseconds => "ms",
        Precision::Seconds => "s",
    };
    let mut request =
        Request::post(&["write"]).query("db", &destination.database).query("precision", precision);
    if let Some(policy) = &destination.retention_policy {
        request = request.query("rp", policy);
    }
    if let Some(consistency) = destination.consistency {
        request = request.query("consistency", consistency.as_str());
    }
    request
}

fn v2(destination: &Destination) -> Request {
    let precision = match destination.precision {
        Precision::Nanoseconds => "ns",
        Precision::Microseconds => "us",
        Precision::Milliseconds => "ms",
        Precision::Seconds => "s",
    };
    let mut request = Request::post(&["api", "v2", "write"]);
    if let Some(org) = &destination.org {
        request = request.query("org", org);
    } else if let Some(id) = &destination.org_id {
        request = request.query("orgID", id);
    }
    request.query("bucket", &destination.database).query("precision", precision)
}

fn v3(destination: &Destination) -> Request {
    // Always said: the server's default is to guess the unit from the size of each number.
    let precision = match destination.precision {
        Precision::Nanoseconds => "nanosecond",
        Precision::Microseconds => "microsecond",
        Precision::Milliseconds => "millisecond",
        Precision::Seconds => "second",
    };
    Request::post(&["api", "v3", "write_lp"])
        .query("db", &destination.database)
        .query("precision", precision)
        .query("accept_partial", destination.accept_partial.to_string())
        .query("no_sync", destination.no_sync.to_string())
}

/// A name as InfluxQL wants it.
fn quoted(name: &str) -> String {
    let escaped = name.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n");
    format!("\"{escaped}\"")
}

/// Whether a statement succeeded: its own error comes in an answer with status 200.
fn is_done(response: &Response) -> bool {
    let Ok(answer) = serde_json::from_str::<serde_json::Value>(&response.body) else { return false };
    let results = answer["results"].as_array();
    response.status == 200
        && results.is_some_and(|results| results.iter().all(|result| result.get("error").is_none()))
}

#[cfg(test)]
mod tests {
    use reqwest::Url;

    use super::*;
    use crate::values::batch::Consistency;

    fn check(destination: &Destination, expected: &str) {
        let url = write_request(destination, Codec::Gzip).url_below(&Url::parse("http://h").unwrap());
        assert_eq!(url.as_str(), expected);
    }

    #[test]
    fn each_interface_has_words_of_its_own() {
        let v1 = Destination {
            retention_policy: Some("week".into()),
            consistency: Some(Consistency::Quorum),
            ..Destination::new("a b&c")
        };
        check(&v1, "http://h/write?db=a+b%26c&precision=n&rp=week&consistency=quorum");
        let v2 = Destination { api: Api::V2, org: Some("my org".into()), ..Destination::new("bucket/1") };
        check(&v2, "http://h/api/v2/write?org=my+org&bucket=bucket%2F1&precision=ns");
        let by_id = Destination { org: None, org_id: Some("03ac".into()), ..v2 };
        check(&by_id, "http://h/api/v2/write?orgID=03ac&bucket=bucket%2F1&precision=ns");
        let v3 = Destination { api: Api::V3, accept_partial: false, no_sync: true, ..Destination::new("d") };
        check(&v3, "http://h/api/v3/write_lp?db=d&precision=nanosecond&accept_partial=false&no_sync=true");
    }

    #[test]
    fn each_interface_spells_units_its_own_way() {
        let cases = [
            (Precision::Nanoseconds, ["n", "ns", "nanosecond"]),
            (Precision::Microseconds, ["u", "us", "microsecond"]),
            (Precision::Milliseconds, ["ms", "ms", "millisecond"]),
            (Precision::Seconds, ["s", "s", "second"]),
        ];
        for (precision, words) in cases {
            for (api, word) in [Api::V1, Api::V2, Api::V3].into_iter().zip(words) {
                let destination = Destination { api, precision, ..Destination::new("d") };
                let url =
                    write_request(&destination, Codec::Gzip).url_below(&Url::parse("http://h").unwrap());
                let found = url.query_pairs().find(|(name, _)| name == "precision").unwrap().1;
                assert_eq!(found, word, "{api:?}");
            }
        }
    }

    #[test]
    fn a_name_is_quoted_as_influxql_wants_it() {
        assert_eq!(quoted("plant"), r#""plant""#);
        assert_eq!(quoted("a\"b\\c\nd"), r#""a\"b\\c\nd""#);
    }

    #[test]
    fn a_statement_that_failed_is_not_done_though_the_status_is_200() {
        let done = |status, body: &str| is_done(&Response { status, body: body.into(), headers: Vec::new() });
        assert!(done(200, r#"{"results":[{"statement_id":0}]}"#));
        assert!(!done(200, r#"{"results":[{"statement_id":0,"error":"invalid name"}]}"#));
        assert!(!done(403, r#"{"error":"error authorizing query"}"#));
        assert!(!done(200, "<html>"));
    }
}
