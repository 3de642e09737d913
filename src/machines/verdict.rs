//! What one answer of a server means for one batch.

use std::time::Duration;

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
    /// Whether the headers say that InfluxDB itself, or something that poses as it, has answered.
    pub(crate) from_influxdb: bool,
    pub(crate) retry_after: Option<Duration>,
    /// The beginning of the body, as text.
    pub(crate) body: String,
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
    /// No connection: refused, unreachable, no such name, TLS.
    Connect,
    /// No answer in time. The server may have kept the points all the same.
    Timeout,
    /// The connection broke, or what came back was not HTTP.
    Broken,
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
    pub(crate) words: String,
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
pub(crate) fn judge(answer: &Answer) -> Verdict {
    let response = match answer {
        Answer::Response(response) => response,
        Answer::Failed(error) => return Verdict::Hold(trouble_of(error)),
    };
    let hold = |kind| {
        Verdict::Hold(Trouble {
            kind,
            status: Some(response.status),
            words: words_of(response),
            retry_after: response.retry_after,
        })
    };
    match response.status {
        204 => Verdict::Delivered,
        400 if response.body.contains("database is required") => hold(TroubleKind::NoSuchDatabase),
        400 | 422 if !response.from_influxdb => hold(TroubleKind::WrongEndpoint),
        400 | 413 | 422 => Verdict::Refused(Refusal { status: response.status, words: words_of(response) }),
        401 | 403 => hold(TroubleKind::Unauthorized),
        404 if response.from_influxdb && !response.body.starts_with("404 page not found") => {
            hold(TroubleKind::NoSuchDatabase)
        }
        500 if response.body.contains("retention policy not found") => hold(TroubleKind::NoSuchDatabase),
        408 | 425 | 429 | 500.. => hold(TroubleKind::Unavailable),
        _ => hold(TroubleKind::WrongEndpoint),
    }
}

/// The server's words; its status, if it had none.
fn words_of(response: &Response) -> String {
    if response.body.is_empty() { format!("status {}", response.status) } else { response.body.clone() }
}

fn trouble_of(error: &TransportError) -> Trouble {
    let kind = match error.kind {
        TransportErrorKind::Connect | TransportErrorKind::Broken => TroubleKind::Unreachable,
        TransportErrorKind::Timeout => TroubleKind::Timeout,
    };
    Trouble { kind, status: None, words: error.words.clone(), retry_after: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer::Response(Response { status, from_influxdb: true, body: body.into(), ..Response::default() })
    }

    fn check_hold(answer: Answer, kind: TroubleKind) {
        match judge(&answer) {
            Verdict::Hold(trouble) => assert_eq!(trouble.kind, kind, "{answer:?}"),
            other => panic!("{answer:?}: {other:?}"),
        }
    }

    // Bodies as influxd 1.6.7 sends them.

    #[test]
    fn only_204_is_delivered() {
        for status in 100..600 {
            assert_eq!(judge(&answer(status, "")) == Verdict::Delivered, status == 204, "{status}");
        }
    }

    #[test]
    fn refused_data_keeps_the_words_of_the_server() {
        let words =
            r#"{"error":"partial write: unable to parse 'mix,i=bad v=zzz 6': invalid boolean dropped=0"}"#;
        let refusal = Refusal { status: 400, words: words.into() };
        assert_eq!(judge(&answer(400, words)), Verdict::Refused(refusal));
        assert!(matches!(judge(&answer(413, "")), Verdict::Refused(_)));
        assert!(matches!(judge(&answer(422, "")), Verdict::Refused(_)));
    }

    #[test]
    fn what_says_nothing_of_the_data_is_held() {
        check_hold(answer(401, r#"{"error":"authorization failed"}"#), TroubleKind::Unauthorized);
        check_hold(answer(403, ""), TroubleKind::Unauthorized);
        check_hold(answer(404, r#"{"error":"database not found: \"nope\""}"#), TroubleKind::NoSuchDatabase);
        check_hold(answer(404, "404 page not found\n"), TroubleKind::WrongEndpoint);
        check_hold(
            answer(500, r#"{"error":"retention policy not found: nope"}"#),
            TroubleKind::NoSuchDatabase,
        );
        check_hold(
            answer(500, r#"{"error":"engine: cache-max-memory-size exceeded: (72008/65536)"}"#),
            TroubleKind::Unavailable,
        );
        check_hold(answer(503, "request throttled, queue full"), TroubleKind::Unavailable);
        for status in [408, 425, 429, 502, 504, 599] {
            check_hold(answer(status, ""), TroubleKind::Unavailable);
        }
        for status in [200, 206, 301, 307, 405, 418] {
            check_hold(answer(status, "<html>"), TroubleKind::WrongEndpoint);
        }
    }

    #[test]
    fn what_is_not_from_influxdb_never_condemns_data() {
        for status in [400, 404, 422] {
            let page = Response { status, body: "<html>".into(), ..Response::default() };
            check_hold(Answer::Response(page), TroubleKind::WrongEndpoint);
        }
        check_hold(answer(400, r#"{"error":"database is required"}"#), TroubleKind::NoSuchDatabase);
    }

    #[test]
    fn no_response_is_held() {
        let failed = |kind| Answer::Failed(TransportError { kind, words: "x".into() });
        check_hold(failed(TransportErrorKind::Connect), TroubleKind::Unreachable);
        check_hold(failed(TransportErrorKind::Broken), TroubleKind::Unreachable);
        check_hold(failed(TransportErrorKind::Timeout), TroubleKind::Timeout);
    }
}
