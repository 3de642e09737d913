//! What one answer of a server means for one batch.

use std::time::Duration;

use crate::values::batch::Api;
use crate::values::trouble::TroubleKind;

/// What came of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A whole HTTP response.
    Response(Response),
    /// No response, or none that could be read.
    Failed(TransportError),
}

/// The parts of an HTTP response that a verdict looks at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Names in lower case, with their values: those that a verdict may look at. A value that is no text is empty.
    pub(crate) headers: Vec<(String, String)>,
    /// The beginning of the body, as text.
    pub(crate) body: String,
}

impl Response {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(each, _)| each == name).map(|(_, value)| value.as_str())
    }
}

/// Why there was no response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TransportError {
    pub(crate) kind: TransportErrorKind,
    pub(crate) words: String,
}

/// The step at which a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TransportErrorKind {
    /// A file of ours, a secret or a certificate, cannot be read or used. Nothing was sent.
    Local,
    /// No connection: refused, unreachable, no such name.
    Connect,
    /// One side does not trust the other, or they have no encryption in common.
    Tls,
    /// No answer in time. The server may have kept the points all the same.
    Timeout,
    /// The connection was closed before the answer was there.
    Broken,
    /// The connection was reset: in mid-body perhaps, by a server that takes no more of it and whose answer is lost.
    Reset,
    /// What came back was not HTTP. InfluxDB 1.x copies control bytes of a bad line into a header.
    Garbled,
}

/// What is to become of the batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The server has the points. Nothing else ever means delivered.
    Delivered,
    /// The answer says nothing about the data: keep the batch and try again.
    Hold(Trouble),
    /// The server refuses the data.
    Refused(Refusal),
}

/// Why a batch is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) kind: TroubleKind,
    pub(crate) status: Option<u16>,
    pub(crate) words: String,
    pub(crate) retry_after: Option<Duration>,
}

/// What the server said of data that it does not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    /// The server's words, as it sent them.
    pub(crate) words: String,
    pub(crate) cause: Cause,
    pub(crate) blame: Blame,
}

/// What is wrong with the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Malformed,
    TypeConflict,
    /// Older than the retention policy keeps: such points expire.
    TooOld,
    TooLarge,
    Other,
}

/// Which of the points are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Blame {
    /// These, and perhaps others: the server names some only, or those of one kind only.
    Named(Vec<NamedLine>),
    /// Every one of them: the server dropped as many as there were.
    All,
    /// One at least.
    Some,
    /// None by itself; all of them together are too large.
    Size,
}

/// A line as the server names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NamedLine {
    pub(crate) name: LineName,
    pub(crate) cause: Cause,
    /// What the server said of this line.
    pub(crate) words: String,
}

/// How a server names a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LineName {
    /// By its text, as it was sent.
    Text(String),
    /// By its number in the body, from 1 on, where a newline in a string counts as well; with its first bytes, where the
    /// server tells them.
    Number { number: u64, begin: Option<String> },
}

/// What a verdict needs to know of the request that was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) api: Api,
    /// How many points its body held.
    pub(crate) points: u64,
    /// When the answer came, in milliseconds since 1970: a `Retry-After` may be a date.
    pub(crate) wall_ms: i64,
}

/// Judges one answer of a v1 `/write`.
///
/// | answer | verdict |
/// |---|---|
/// | 204 | delivered |
/// | 400, 422 from InfluxDB; 413 | refused: the batch goes to quarantine with the server's words |
/// | 400 `database is required` | hold, no such database |
/// | 401, 403 | hold, unauthorized |
/// | 404 from InfluxDB; 500 `retention policy not found` | hold, no such database |
/// | 404 from elsewhere, 405, 3xx, any other 2xx or 4xx | hold, wrong endpoint |
/// | 408, 425, 429, 5xx | hold, unavailable |
/// | no response | hold, unreachable or timeout |
///
/// InfluxDB 1.x answers a write that it kept with 204 and an empty body and with nothing else, so a 200 (a captive
/// portal, a health page) is no delivery.
pub(crate) fn judge(_asked: Asked, answer: &Answer) -> Verdict {
    let from_influxdb = matches!(answer, Answer::Response(response) if response.headers.iter().any(|(name, _)| name.starts_with("x-influxdb-")));
    let response = match answer {
        Answer::Response(response) => response,
        Answer::Failed(error) => return Verdict::Hold(trouble_of(error)),
    };
    let hold = |kind| {
        Verdict::Hold(Trouble {
            kind,
            status: Some(response.status),
            words: words_of(response),
            retry_after: response
                .header("retry-after")
                .and_then(|text| text.parse().ok())
                .map(Duration::from_secs),
        })
    };
    match response.status {
        204 => Verdict::Delivered,
        400 if response.body.contains("database is required") => hold(TroubleKind::NoSuchDatabase),
        400 | 422 if !from_influxdb => hold(TroubleKind::WrongEndpoint),
        400 | 413 | 422 => Verdict::Refused(Refusal {
            status: response.status,
            words: words_of(response),
            cause: Cause::Other,
            blame: Blame::Some,
        }),
        401 | 403 => hold(TroubleKind::Unauthorized),
        404 if from_influxdb && !response.body.starts_with("404 page not found") => {
            hold(TroubleKind::NoSuchDatabase)
        }
        500 if response.body.contains("retention policy not found") => hold(TroubleKind::NoSuchDatabase),
        408 | 425 | 429 | 500.. => hold(TroubleKind::Unavailable),
        _ => hold(TroubleKind::WrongEndpoint),
    }
}

/// Whether it may be the data that made the server fail, though the answer says nothing about it: poison that panics a
/// handler looks like a connection that breaks, or like any other error. A server that asks for patience (429, 503), a
/// gateway that gave up (504) and a connection that was never made say enough.
pub(crate) fn is_in_doubt(answer: &Answer) -> bool {
    match answer {
        Answer::Response(response) => matches!(response.status, 500..=502),
        Answer::Failed(error) => error.kind != TransportErrorKind::Connect,
    }
}

/// The server's words; its status, if it had none.
fn words_of(response: &Response) -> String {
    if response.body.is_empty() { format!("status {}", response.status) } else { response.body.clone() }
}

fn trouble_of(error: &TransportError) -> Trouble {
    let kind = match error.kind {
        TransportErrorKind::Local => TroubleKind::Misconfigured,
        TransportErrorKind::Connect
        | TransportErrorKind::Tls
        | TransportErrorKind::Broken
        | TransportErrorKind::Reset
        | TransportErrorKind::Garbled => TroubleKind::Unreachable,
        TransportErrorKind::Timeout => TroubleKind::Timeout,
    };
    Trouble { kind, status: None, words: error.words.clone(), retry_after: None }
}
