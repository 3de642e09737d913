//! What one answer of a server means for one batch.
//!
//! One pure function, [`judge`], and one table, [`table::TABLE`], whose first row that fits decides. Each row is shown by
//! recorded answers in `tests/fixtures/answers.jsonl`; a row without one fails the tests. The table is printed for users in
//! `src/verdicts.md`, the page `verdicts` of the crate's documentation.
//!
//! ```text
//! answer ─► said: who speaks, which words, which lines ─► table: the first row that fits ─► verdict
//! ```
//!
//! What the rows keep to:
//!
//! - Nothing but a 204 means delivered. A 200 may be a captive portal's.
//! - Only what an InfluxDB says of the data counts against the data. A page of a load balancer, a 401, a full disk, a broken
//!   connection say nothing of it: the batch is kept and sent again.
//! - Phrases are looked for where servers put them, at the beginning, and not anywhere: what follows may quote a line, and a
//!   line can hold any phrase.
//! - Words of a [`Trouble`] are the same each time the trouble is the same, so that "the same answer again" can be seen:
//!   dates, numbers of requests and ports are left out of them, and so are credentials.

mod names;
#[cfg(test)]
mod page;
mod retry_after;
mod said;
mod table;
#[cfg(test)]
mod tests;
mod torn;
mod words;

use std::time::Duration;

use self::said::Said;
use self::table::{Means, Points, Row};
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
    /// Names in lower case, with their values: those that a verdict may look at. What is no text in a value is replaced.
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
    /// What a person should read. The same trouble has the same words each time.
    pub(crate) words: String,
    /// How long the server asks to wait, as it asks: not clamped.
    pub(crate) retry_after: Option<Duration>,
    /// Whether the batch itself may be to blame if the same comes again and again while the server takes others: true of
    /// what breaks or hangs, never of answers that explain themselves (credentials, limits of rate, a full disk).
    pub(crate) may_be_data: bool,
}

/// What the server said of data that it does not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    /// The server's words as a person should read them: decoded, and at most 1 KiB.
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

/// Judges one answer to a write.
///
/// The first row of [`table::TABLE`] that fits decides; the crate's page `verdicts` shows it.
pub(crate) fn judge(asked: Asked, answer: &Answer) -> Verdict {
    look_up(asked, answer).1
}

/// The verdict, and the row it comes from.
fn look_up(asked: Asked, answer: &Answer) -> (&'static Row, Verdict) {
    match answer {
        Answer::Failed(error) => {
            let row = table::row_of_failure(error.kind);
            (row, Verdict::Hold(trouble(row, None, words::steady(&error.words), None)))
        }
        Answer::Response(response) => {
            let said = Said::read(response);
            let row = table::row_of_response(asked.api, response.status, &said);
            let verdict = match row.means {
                Means::Delivered => Verdict::Delivered,
                Means::Hold { .. } => {
                    let wait = retry_after::read(response, asked.wall_ms);
                    let words = said.steady_words(response.status);
                    Verdict::Hold(trouble(row, Some(response.status), words, wait))
                }
                Means::Refused { cause, points } => {
                    Verdict::Refused(refusal(asked, response.status, said, cause, points))
                }
            };
            (row, verdict)
        }
    }
}

fn trouble(row: &Row, status: Option<u16>, words: String, retry_after: Option<Duration>) -> Trouble {
    let (kind, may_be_data) = match row.means {
        Means::Hold { kind, may_be_data } => (kind, may_be_data),
        // No row of a failure means anything else.
        Means::Delivered | Means::Refused { .. } => (TroubleKind::Unreachable, false),
    };
    Trouble { kind, status, words, retry_after, may_be_data }
}

fn refusal(asked: Asked, status: u16, said: Said, cause: Cause, points: Points) -> Refusal {
    let words = said.plain_words(status);
    let (cause, blame) = match points {
        Points::Named => (said.common_cause(), Blame::Named(said.lines)),
        Points::Counted if said.dropped() == Some(asked.points) => (cause, Blame::All),
        Points::Counted | Points::Some => (cause, Blame::Some),
        Points::TooMany => (cause, Blame::Size),
    };
    Refusal { status, words, cause, blame }
}
