//! InfluxQL: asking over GET, changing over POST.

use std::fmt;

use reqwest::header::{CONTENT_TYPE, HeaderValue};
use serde_json::{Map, Value as Json};

use super::answer::{Answer, Statement, Told};
use super::client::Client;
use super::error::QueryError;
use super::exchange::Form;
use super::lines::Lines;
use crate::transport::Request;
use crate::values::precision::Precision;

/// Rows in one piece of a streamed answer. Default of the server, too (`chunk_size` of the documentation of 1.x).
const CHUNK_ROWS: usize = 10_000;

/// A question in InfluxQL, or several, separated by semicolons.
///
/// ```
/// use influx_spool::query::InfluxQl;
/// let hosts = InfluxQl::new("SELECT usage FROM cpu WHERE host = $host").bind("host", "it's").database("plant");
/// # let _ = hosts;
/// ```
#[derive(Clone, PartialEq)]
pub struct InfluxQl {
    text: String,
    database: Option<String>,
    retention_policy: Option<String>,
    epoch: Epoch,
    params: Map<String, Json>,
    chunk_rows: usize,
}

/// How the times of an answer are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Epoch {
    /// Integers since 1970 in this unit. The default, in nanoseconds: exact, and no text to read.
    Units(Precision),
    /// Text, exact as well: `2026-11-22T10:00:00.5Z`.
    Rfc3339,
}

impl InfluxQl {
    /// A question, with times in nanoseconds, about the client's database and its default retention policy.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            database: None,
            retention_policy: None,
            epoch: Epoch::Units(Precision::Nanoseconds),
            params: Map::new(),
            chunk_rows: CHUNK_ROWS,
        }
    }

    /// The database it is about. Default: the client's.
    #[must_use]
    pub fn database(mut self, database: impl Into<String>) -> Self {
        self.database = Some(database.into());
        self
    }

    /// The retention policy it is about. Default: the client's, else the database's default one.
    #[must_use]
    pub fn retention_policy(mut self, policy: impl Into<String>) -> Self {
        self.retention_policy = Some(policy.into());
        self
    }

    /// How times are written in the answer. Default: integers of nanoseconds.
    #[must_use]
    pub const fn epoch(mut self, epoch: Epoch) -> Self {
        self.epoch = epoch;
        self
    }

    /// Puts a value in the place of `$name`, so that nothing in it can be taken for a part of the statement. Values
    /// only: names are quoted by [`identifier`](super::identifier).
    #[must_use]
    pub fn bind(mut self, name: impl Into<String>, value: impl Into<Json>) -> Self {
        self.params.insert(name.into(), value.into());
        self
    }

    /// Rows in one piece of a streamed answer at most. Default: 10,000.
    #[must_use]
    pub const fn chunk_rows(mut self, rows: usize) -> Self {
        self.chunk_rows = rows;
        self
    }

    /// The parameters of the request, for a client that asks about `target` by default.
    fn parameters(self, client: &Client) -> Vec<(&'static str, String)> {
        let target = &client.target;
        let mut parameters = vec![("q", self.text)];
        parameters.extend(self.database.or_else(|| target.database.clone()).map(|name| ("db", name)));
        parameters.extend(
            self.retention_policy.or_else(|| target.retention_policy.clone()).map(|name| ("rp", name)),
        );
        if let Epoch::Units(precision) = self.epoch {
            parameters.push(("epoch", epoch_word(precision).to_owned()));
        }
        if !self.params.is_empty() {
            parameters.push(("params", Json::Object(self.params).to_string()));
        }
        parameters
    }
}

/// Without the text and the values, which may hold a password.
impl fmt::Debug for InfluxQl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InfluxQl").field("database", &self.database).finish_non_exhaustive()
    }
}

impl<T: Into<String>> From<T> for InfluxQl {
    fn from(text: T) -> Self {
        Self::new(text)
    }
}

impl Client {
    /// Asks in InfluxQL (`GET /query`), and brings the whole answer. For what reads: a statement that changes something is for
    /// [`post`](Self::post).
    ///
    /// # Errors
    /// As [`QueryError`] says. One statement that was refused is an error even if others were answered.
    pub async fn query(&self, question: impl Into<InfluxQl>) -> Result<Answer, QueryError> {
        self.ask(asked(question.into().parameters(self))).await?.json::<Told>()?.checked()
    }

    /// Has statements run that change something (`POST /query`): `CREATE DATABASE`, `DROP SERIES`, `SELECT … INTO`. Never
    /// made twice.
    ///
    /// # Errors
    /// As for [`query`](Self::query). The statements before the one that was refused have had their effect.
    pub async fn post(&self, statements: impl Into<InfluxQl>) -> Result<Answer, QueryError> {
        self.change(posted(statements.into().parameters(self))).await?.json::<Told>()?.checked()
    }

    /// Asks in InfluxQL and brings the answer piece by piece, each with as many rows as
    /// [`InfluxQl::chunk_rows`] says at most. However large the answer, one piece is in memory, and one or two on their way.
    ///
    /// # Errors
    /// As for [`query`](Self::query), for what is known when the answer begins.
    pub async fn query_chunks(&self, question: impl Into<InfluxQl>) -> Result<Chunks, QueryError> {
        let question = question.into();
        let rows = question.chunk_rows.to_string();
        let mut parameters = question.parameters(self);
        parameters.extend([("chunked", "true".to_owned()), ("chunk_size", rows)]);
        let pieces = self.stream(asked(parameters)).await?;
        Ok(Chunks {
            lines: Lines::new(pieces, self.answer_bytes_max),
            waiting: Vec::new().into_iter(),
            more: false,
        })
    }
}

/// An answer in InfluxQL on its way, made by [`Client::query_chunks`]. Dropping it ends the request.
#[derive(Debug)]
pub struct Chunks {
    lines: Lines,
    waiting: std::vec::IntoIter<Statement>,
    /// Whether the last piece said that there is more.
    more: bool,
}

impl Chunks {
    /// The next piece: a statement's answer or a part of it, which says so ([`Statement::partial`]). `None` at the end.
    ///
    /// # Errors
    /// The statement was refused, the answer broke off or cannot be read. Nothing comes after an error.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Result<Statement, QueryError>> {
        loop {
            if let Some(statement) = self.waiting.next() {
                self.more = statement.partial;
                return Some(Ok(statement));
            }
            match self.lines.next().await {
                Some(Ok(line)) => match read_chunk(&line) {
                    Ok(answer) => self.waiting = answer.statements.into_iter(),
                    Err(error) => return Some(Err(self.lines.end_with(error))),
                },
                Some(Err(error)) => return Some(Err(error)),
                None if std::mem::take(&mut self.more) => {
                    return Some(Err(QueryError::Broken("it ended where more was announced".into())));
                }
                None => return None,
            }
        }
    }
}

fn read_chunk(line: &[u8]) -> Result<Answer, QueryError> {
    serde_json::from_slice::<Told>(line).map_err(QueryError::unreadable)?.checked()
}

/// Parameters in a URL.
fn asked(parameters: Vec<(&'static str, String)>) -> Request {
    let request = Request::get(&["query"]).accept("application/json");
    parameters.into_iter().fold(request, |request, (name, value)| request.query(name, value))
}

/// Parameters in a form: statements that change something may hold passwords, and servers log URLs.
fn posted(parameters: Vec<(&'static str, String)>) -> Request {
    let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
    let urlencoded = HeaderValue::from_static("application/x-www-form-urlencoded");
    Request::post(&["query"]).accept("application/json").header(CONTENT_TYPE, urlencoded).body(form)
}

/// The unit as `epoch` spells it (`n` in 1.6: `ns` is taken too, but documented since 1.8 only).
const fn epoch_word(precision: Precision) -> &'static str {
    match precision {
        Precision::Nanoseconds => "ns",
        Precision::Microseconds => "u",
        Precision::Milliseconds => "ms",
        Precision::Seconds => "s",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::config::HttpConfig;

    fn client() -> Client {
        Client::new(&HttpConfig::new("http://localhost:8086")).unwrap().with_database("plant")
    }

    #[test]
    fn a_question_says_what_the_client_leaves_open() {
        let parameters = |question: InfluxQl| question.parameters(&client());
        let text = ("q", "SELECT 1".to_owned());
        assert_eq!(
            parameters("SELECT 1".into()),
            [text.clone(), ("db", "plant".into()), ("epoch", "ns".into())]
        );
        let question =
            InfluxQl::new("SELECT 1").database("other").retention_policy("week").epoch(Epoch::Rfc3339);
        let other = [text, ("db", "other".into()), ("rp", "week".into()), ("params", r#"{"a":1}"#.into())];
        assert_eq!(parameters(question.bind("a", 1)), other);
    }

    async fn read(pieces: &[&str]) -> Vec<Result<Statement, QueryError>> {
        let lines = Lines::new(super::super::exchange::Pieces::of(pieces), 1 << 10);
        let mut chunks = Chunks { lines, waiting: Vec::new().into_iter(), more: false };
        let mut read = Vec::new();
        while let Some(statement) = chunks.next().await {
            read.push(statement);
        }
        read
    }

    #[tokio::test]
    async fn pieces_are_put_together_to_lines() {
        let read = read(&[
            r#"{"results":[{"statement_id":0,"series":[{"name":"m","columns":["time","v"],"#,
            "\"values\":[[1,2]],\"partial\":true}],\"partial\":true}]}\n{\"results\":[{\"statement_id\":0,",
            r#""series":[{"name":"m","columns":["time","v"],"values":[[3,4]]}]}]}"#,
        ]);
        let rows: Vec<_> = read
            .await
            .into_iter()
            .map(|statement| statement.unwrap().series[0].values[0][1].clone())
            .collect();
        assert_eq!(rows, [2.into(), 4.into()]);
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_is_an_error() {
        let read = read(&["{\"results\":[{\"statement_id\":0,\"series\":[],\"partial\":true}]}\n"]).await;
        assert!(
            read[0].is_ok() && matches!(read[1], Err(QueryError::Broken(_))) && read.len() == 2,
            "{read:?}"
        );
    }

    #[tokio::test]
    async fn an_error_is_the_last_word() {
        let read = read(&["{\"results\":[{\"statement_id\":1,\"error\":\"no\"}]}\n", "{}\n"]).await;
        assert_eq!(read, [Err(QueryError::Statement { statement: 1, words: "no".into() })]);
    }
}
