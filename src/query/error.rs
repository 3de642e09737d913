//! Why a question was not answered.

use std::borrow::Cow;

use serde::Deserialize;

/// How much of the server's words is kept: as much as InfluxDB 1.x keeps in its own header. A proxy's page is longer.
const WORDS_BYTES_MAX: usize = 1 << 10;

/// A question to a server that was not answered, or a change that was not made.
///
/// Words never hold a secret or a URL with one: those of a connection come without its address, those of a server are
/// what it sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// No connection: refused, unreachable, no such name, no trust, no readable secret. Nothing was done.
    #[error("reach the server: {0}")]
    Unreachable(String),
    /// No whole answer in time. A change may have been made all the same.
    #[error("wait for the answer: {0}")]
    Timeout(String),
    /// The connection broke, or what came back was no HTTP. A change may have been made all the same.
    #[error("hear the answer: {0}")]
    Broken(String),
    /// The server answered with a status that is no success.
    #[error("status {status}: {words}")]
    Refused {
        /// The status.
        status: u16,
        /// The server's own word for the kind of trouble: `not found`, `unauthorized` (2.x only).
        code: Option<String>,
        /// What it said.
        words: String,
    },
    /// The server took the request and refused a statement in it, or gave up half-way.
    #[error("statement {statement}: {words}")]
    Statement {
        /// Which one, from 0 on.
        statement: u32,
        /// What the server said.
        words: String,
    },
    /// The answer is not what such a server answers, or does not fit the type asked for.
    #[error("read the answer: {0}")]
    Unreadable(String),
    /// The answer, or one piece of one that is streamed, is larger than what is borne
    /// ([`Client::with_answer_bytes_max`](super::Client::with_answer_bytes_max)).
    #[error("read the answer: it is larger than {limit} bytes")]
    TooLarge {
        /// The bound.
        limit: usize,
    },
    /// The question lacks something: an organization, a database. Nothing was asked.
    #[error("{0}")]
    Incomplete(&'static str),
}

impl QueryError {
    /// Whether the same question may be answered later. What changes something may have been done already, unless the
    /// server was [unreachable](Self::Unreachable).
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Timeout(_) | Self::Broken(_) => true,
            Self::Refused { status, .. } => matches!(status, 408 | 425 | 429 | 500..=599),
            _ => false,
        }
    }

    /// Whether no whole answer came in time.
    #[must_use]
    pub const fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout(_))
    }

    /// The status of the answer, if it was no success.
    #[must_use]
    pub const fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// What the server said, if it said anything.
    #[must_use]
    pub fn server_words(&self) -> Option<&str> {
        match self {
            Self::Refused { words, .. } | Self::Statement { words, .. } => Some(words),
            _ => None,
        }
    }

    pub(super) fn unreadable(error: impl std::fmt::Display) -> Self {
        Self::Unreadable(error.to_string())
    }

    /// An answer whose status is no success: with the words out of its body, in whatever form they came.
    pub(super) fn refused(status: u16, body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body);
        let told = serde_json::from_str::<Told>(&text).unwrap_or_default();
        let words = told.message.or(told.error).map_or_else(|| text.trim().into(), Cow::Owned);
        let words = if words.is_empty() { "(no words)".into() } else { shortened(&words).to_owned() };
        Self::Refused { status, code: told.code, words }
    }
}

/// The bodies of errors: `{"error"}` of 1.x and 3.x, `{"code","message"}` of 2.x.
#[derive(Default, Deserialize)]
struct Told {
    code: Option<String>,
    message: Option<String>,
    error: Option<String>,
}

fn shortened(words: &str) -> &str {
    &words[..words.floor_char_boundary(WORDS_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, body: &str, code: Option<&str>, words: &str) {
        let expected = QueryError::Refused { status, code: code.map(str::to_owned), words: words.to_owned() };
        assert_eq!(QueryError::refused(status, body.as_bytes()), expected);
    }

    /// Bodies of influxd 1.6.7 and InfluxDB 3.6.0 as measured, of 2.x as its documentation has them.
    #[test]
    fn words_are_found_in_every_form() {
        check(
            400,
            "{\"error\":\"missing required parameter \\\"q\\\"\"}\n",
            None,
            "missing required parameter \"q\"",
        );
        let unauthorized = r#"{"code":"unauthorized","message":"unauthorized access"}"#;
        check(401, unauthorized, Some("unauthorized"), "unauthorized access");
        check(404, "404 page not found\n", None, "404 page not found");
        check(401, "", None, "(no words)");
    }

    #[test]
    fn a_page_is_cut_where_a_character_ends() {
        let QueryError::Refused { words, .. } = QueryError::refused(502, "é".repeat(4_000).as_bytes())
        else {
            panic!("a status is a refusal")
        };
        assert_eq!(words.len(), WORDS_BYTES_MAX);
    }

    #[test]
    fn what_may_be_asked_again_is_known() {
        assert!(QueryError::refused(503, b"").is_retryable());
        assert!(!QueryError::refused(404, b"").is_retryable());
        assert!(!QueryError::Incomplete("x").is_retryable());
    }
}
