//! What an answer says, and whether an InfluxDB says it.

use serde_json::{Map, Value};

use super::{Cause, NamedLine, Response, names, torn, words};

/// Who speaks. The more is known of him, the more he is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Speaker {
    /// A load balancer, a captive portal, another service.
    Stranger,
    /// Perhaps an InfluxDB, or something that calls itself compatible: the marks or the form are there, but not both.
    /// Believed if he says something that InfluxDB is known to say.
    Kin,
    /// An InfluxDB, or something that answers as one.
    InfluxDb,
}

/// An answer, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) speaker: Speaker,
    /// Decoded, whole.
    message: String,
    /// The lines that are named.
    pub(super) lines: Vec<NamedLine>,
    /// Where a redirect leads.
    location: Option<String>,
}

/// Phrases that messages are wrapped in. Behind them begins what it is about.
const WRAPPINGS: [&str; 6] = [
    "partial write: ",
    "failure writing points to database: ",
    "unexpected error writing points to database: ",
    "unable to read data: ",
    "write buffer error: ",
    "write failed: ",
];

impl Said {
    pub(super) fn read(response: &Response) -> Self {
        let body = response.body.trim();
        let error = ErrorBody::read(body);
        let speaker = speaker(response, error.as_ref());
        let location = response.header("location").map(words::steady);
        let Some(error) = error else {
            let message = error_header(response).unwrap_or_else(|| words::without_request(body));
            let lines = names::in_words(gist(message));
            return Self { speaker, message: message.to_owned(), lines, location };
        };
        let mut lines = names::in_words(gist(&error.message));
        if lines.is_empty() {
            lines = error.lines;
        }
        Self { speaker, message: error.message, lines, location }
    }

    /// What it is about, without the phrases it is wrapped in.
    pub(super) fn gist(&self) -> &str {
        gist(&self.message)
    }

    /// How many points the server says it has dropped. It stands at the end: what precedes it may quote a line.
    pub(super) fn dropped(&self) -> Option<u64> {
        let (_, count) = self.message.rsplit_once(" dropped=")?;
        let end = count.find(|char: char| !char.is_ascii_digit()).unwrap_or(count.len());
        count[..end].parse().ok()
    }

    /// What is wrong with the lines named: if not the same with all of them, it is something else.
    pub(super) fn common_cause(&self) -> Cause {
        let mut causes = self.lines.iter().map(|line| line.cause);
        let first = causes.next().unwrap_or(Cause::Other);
        if causes.all(|cause| cause == first) { first } else { Cause::Other }
    }

    /// Words on data.
    pub(super) fn plain_words(&self, status: u16) -> String {
        let words = match self.lines.first() {
            // InfluxDB 3 says what is wrong beside its message, which is the same for everything.
            Some(line) if !self.message.contains(&line.words) => format!("{}: {}", self.message, line.words),
            _ if self.speaker == Speaker::Stranger => words::of_stranger(&self.message),
            _ => self.message.clone(),
        };
        if words.is_empty() { status_words(status) } else { words::told(&words) }
    }

    /// Words on trouble: the same each time.
    pub(super) fn steady_words(&self, status: u16) -> String {
        if let Some(location) = self.location.as_ref().filter(|_| (300..400).contains(&status)) {
            return format!("redirected to {location}");
        }
        let words = match self.speaker {
            Speaker::InfluxDb => words::without_tokens(&words::told(&self.message)),
            Speaker::Stranger | Speaker::Kin => words::of_stranger(&self.message),
        };
        if words.is_empty() { status_words(status) } else { words }
    }
}

fn status_words(status: u16) -> String {
    format!("status {status}")
}

fn gist(message: &str) -> &str {
    let mut gist = message;
    loop {
        let unwrapped = WRAPPINGS.iter().find_map(|wrapping| gist.strip_prefix(wrapping));
        let Some(unwrapped) = unwrapped.or_else(|| without_count(gist)) else { return gist };
        gist = unwrapped;
    }
}

/// `[shard 3] …` of 1.x, `partial write error (2 written): …` of Cloud.
fn without_count(message: &str) -> Option<&str> {
    let (before, after) = [("[shard ", "] "), ("partial write error (", " written): ")]
        .into_iter()
        .find_map(|(before, after)| Some((message.strip_prefix(before)?, after)))?;
    let (count, rest) = before.split_once(after)?;
    count.bytes().all(|byte| byte.is_ascii_digit()).then_some(rest)
}

fn speaker(response: &Response, error: Option<&ErrorBody>) -> Speaker {
    let is_marked = response.headers.iter().any(|(name, _)| is_mark(name));
    // A gateway always says what its JSON is; InfluxDB 3.6 never does.
    let is_bare = response.header("content-type").is_none();
    match error {
        Some(error) if is_marked || is_bare || error.has_known_code => Speaker::InfluxDb,
        None if error_header(response).is_some() => Speaker::InfluxDb,
        None if !is_marked => Speaker::Stranger,
        _ => Speaker::Kin,
    }
}

fn is_mark(header: &str) -> bool {
    header.starts_with("x-influx") || header == "x-platform-error-code" || header == "cluster-uuid"
}

/// InfluxDB 1.x repeats its message in a header; some proxies replace the body only.
fn error_header(response: &Response) -> Option<&str> {
    let header = response.header("x-influxdb-error").or_else(|| response.header("x-influx-error"));
    header.or_else(|| response.header("x-platform-error-code")).filter(|text| !text.is_empty())
}

/// A body in the form of InfluxDB's errors: `{"error"}` (1.x, 3.x, with `data`), or `{"code", "message"}` (2.x).
struct ErrorBody {
    message: String,
    lines: Vec<NamedLine>,
    has_known_code: bool,
}

/// The codes of 2.x (`kit/platform/errors/errors.go`), which others use as well.
const CODES: [&str; 13] = [
    "internal error",
    "not implemented",
    "not found",
    "conflict",
    "invalid",
    "unprocessable entity",
    "empty value",
    "unavailable",
    "forbidden",
    "too many requests",
    "unauthorized",
    "method not allowed",
    "request too large",
];

impl ErrorBody {
    fn read(body: &str) -> Option<Self> {
        let json = match serde_json::from_str(body) {
            Ok(json) => json,
            Err(error) if error.is_eof() && !body.is_empty() => torn::mend(body)?,
            Err(_) => return None,
        };
        let Value::Object(body) = json else { return None };
        Self::of_v2(&body).or_else(|| Self::of_v1_or_v3(&body))
    }

    fn of_v1_or_v3(body: &Map<String, Value>) -> Option<Self> {
        let message = body.get("error")?.as_str()?.trim().to_owned();
        let is_ours = body.keys().all(|key| matches!(key.as_str(), "error" | "data"));
        let lines = body.get("data").map(names::in_data).unwrap_or_default();
        is_ours.then_some(Self { message, lines, has_known_code: false })
    }

    fn of_v2(body: &Map<String, Value>) -> Option<Self> {
        let code = body.get("code")?.as_str()?;
        let message = body.get("message")?.as_str()?.trim().to_owned();
        // maxLength: Telegraf; errorId: QuestDB.
        let ours = ["code", "message", "op", "err", "line", "maxLength", "errorId"];
        let is_ours = body.keys().all(|key| ours.contains(&key.as_str()));
        let lines = body.get("line").and_then(Value::as_u64).filter(|number| *number > 0);
        let lines = lines.map(|number| NamedLine {
            name: super::LineName::Number { number, begin: None },
            cause: names::cause_of(gist(&message)),
            words: words::told(&message),
        });
        is_ours.then(|| Self {
            has_known_code: CODES.contains(&code),
            lines: lines.into_iter().collect(),
            message,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_headers_are_of_an_influxdb_only() {
        for mark in ["x-influxdb-version", "x-influxdb-error", "x-platform-error-code", "cluster-uuid"] {
            assert!(is_mark(mark), "{mark}");
        }
        assert!(!is_mark("x-request-id") && !is_mark("content-type"));
    }

    #[test]
    fn a_body_is_mended_where_it_was_cut_and_not_where_it_is_something_else() {
        let message = |body| ErrorBody::read(body).map(|error| error.message);
        assert_eq!(message(r#"{"error":"unable to"#).as_deref(), Some("unable to"));
        assert_eq!(message(r#"{"error":"unable to"} and more"#), None);
        assert_eq!(message(""), None);
    }

    #[test]
    fn lines_are_counted_from_one() {
        let named = |line| {
            let body = format!(r#"{{"code":"invalid","message":"bad","line":{line}}}"#);
            ErrorBody::read(&body).map(|error| error.lines.len())
        };
        assert_eq!((named(0), named(1)), (Some(0), Some(1)));
    }
}
