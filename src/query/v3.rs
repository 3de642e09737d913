//! SQL and InfluxQL of 3.x.

use std::sync::Arc;

use serde::de::{Deserialize, MapAccess, Visitor};
use serde::{Deserializer, Serialize};
use serde_json::{Map, Value as Json};

use super::client::Client;
use super::error::QueryError;
use super::exchange::Form;
use super::lines::Lines;
use super::row::Row;
use super::value::Value;
use crate::transport::Request;

/// A question to 3.x, in SQL or InfluxQL. A text alone is SQL.
///
/// ```
/// use influx_spool::query::V3Query;
/// let hosts = V3Query::sql("SELECT usage FROM cpu WHERE host = $host").bind("host", "it's").database("plant");
/// # let _ = hosts;
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct V3Query {
    language: &'static str,
    text: String,
    database: Option<String>,
    params: Map<String, Json>,
}

impl V3Query {
    /// A question in SQL (`/api/v3/query_sql`), about the client's database.
    pub fn sql(text: impl Into<String>) -> Self {
        Self { language: "query_sql", text: text.into(), database: None, params: Map::new() }
    }

    /// A question in InfluxQL (`/api/v3/query_influxql`), about the client's database. Its rows come as those of SQL do; 3.x
    /// also answers [`Client::query`] as 1.x does.
    pub fn influxql(text: impl Into<String>) -> Self {
        Self { language: "query_influxql", ..Self::sql(text) }
    }

    /// The database it is about. Default: the client's.
    #[must_use]
    pub fn database(mut self, database: impl Into<String>) -> Self {
        self.database = Some(database.into());
        self
    }

    /// Puts a value in the place of `$name`, so that nothing in it can be taken for a part of the question.
    #[must_use]
    pub fn bind(mut self, name: impl Into<String>, value: impl Into<Json>) -> Self {
        self.params.insert(name.into(), value.into());
        self
    }
}

impl<T: Into<String>> From<T> for V3Query {
    fn from(text: T) -> Self {
        Self::sql(text)
    }
}

impl Client {
    /// Asks 3.x, in SQL unless the question says otherwise, and brings every row.
    ///
    /// Times come as text without a zone (`2026-11-22T10:00:00.5`), in UTC. A column that holds nothing in a row may be missing from it.
    ///
    /// # Errors
    /// As [`QueryError`] says. No database is known: [`QueryError::Incomplete`].
    pub async fn sql(&self, question: impl Into<V3Query>) -> Result<Vec<Row>, QueryError> {
        let answer = self.ask(self.v3_request(question.into())?).await?;
        let lines = answer.body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
        let mut columns = Columns::default();
        lines.map(|line| columns.read(line)).collect()
    }

    /// As [`sql`](Self::sql), row by row: however large the answer, a few pieces of it are in memory.
    ///
    /// # Errors
    /// As for [`sql`](Self::sql), for what is known when the answer begins.
    pub async fn sql_rows(&self, question: impl Into<V3Query>) -> Result<SqlRows, QueryError> {
        let pieces = self.stream(self.v3_request(question.into())?).await?;
        Ok(SqlRows { lines: Lines::new(pieces, self.answer_bytes_max), columns: Columns::default() })
    }

    fn v3_request(&self, question: V3Query) -> Result<Request, QueryError> {
        let database = question.database.or_else(|| self.target.database.clone());
        let database = database.ok_or(QueryError::Incomplete("a query needs a database"))?;
        // By POST, though it changes nothing: the length of a URL is bounded.
        Request::post(&["api", "v3", question.language]).json(&Question {
            db: database,
            q: question.text,
            // One object a line: the only form that 3.x streams and that can be read as it comes.
            format: "jsonl",
            params: question.params,
        })
    }
}

/// An answer of 3.x on its way, made by [`Client::sql_rows`]. Dropping it ends the request.
#[derive(Debug)]
pub struct SqlRows {
    lines: Lines,
    columns: Columns,
}

impl SqlRows {
    /// The next row; `None` at the end.
    ///
    /// # Errors
    /// The answer broke off or cannot be read. Nothing comes after an error.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Result<Row, QueryError>> {
        let line = match self.lines.next().await? {
            Ok(line) => line,
            Err(error) => return Some(Err(error)),
        };
        Some(self.columns.read(&line).map_err(|error| self.lines.end_with(error)))
    }
}

#[derive(Serialize)]
struct Question {
    db: String,
    q: String,
    format: &'static str,
    #[serde(skip_serializing_if = "Map::is_empty")]
    params: Map<String, Json>,
}

/// The names of the columns of the row before: most rows share them.
#[derive(Debug, Default)]
struct Columns(Option<Arc<[String]>>);

impl Columns {
    fn read(&mut self, line: &[u8]) -> Result<Row, QueryError> {
        let Object { names, values } = serde_json::from_slice(line).map_err(QueryError::unreadable)?;
        let columns = match &self.0 {
            Some(columns) if **columns == *names => Arc::clone(columns),
            _ => Arc::from(names),
        };
        self.0 = Some(Arc::clone(&columns));
        Ok(Row::of(columns, values))
    }
}

/// A JSON object whose order is kept.
struct Object {
    names: Vec<String>,
    values: Vec<Value>,
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(AnyObject)
    }
}

struct AnyObject;

impl<'de> Visitor<'de> for AnyObject {
    type Value = Object;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a row as a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
        let mut object = Object { names: Vec::new(), values: Vec::new() };
        while let Some((name, value)) = map.next_entry()? {
            object.names.push(name);
            object.values.push(value);
        }
        Ok(object)
    }
}

#[cfg(test)]
mod tests {
    use super::super::exchange::Pieces;
    use super::*;

    #[tokio::test]
    async fn rows_keep_the_order_of_their_columns() {
        let pieces = Pieces::of(&[
            "{\"time\":\"2026-01-01T00:00:00\",\"b\":1,\"a\":0.5}\n{\"time\":\"x\",",
            "\"b\":2}\n",
        ]);
        let mut rows = SqlRows { lines: Lines::new(pieces, 1 << 10), columns: Columns::default() };
        let first = rows.next().await.unwrap().unwrap();
        assert_eq!(first.columns(), ["time", "b", "a"]);
        assert_eq!(first.get("a"), Some(&0.5.into()));
        assert_eq!(rows.next().await.unwrap().unwrap().columns(), ["time", "b"]);
        assert!(rows.next().await.is_none());
    }

    #[tokio::test]
    async fn a_line_that_is_no_row_ends_it() {
        let pieces = Pieces::of(&["[1]\n{\"a\":1}\n"]);
        let mut rows = SqlRows { lines: Lines::new(pieces, 1 << 10), columns: Columns::default() };
        assert!(matches!(rows.next().await, Some(Err(QueryError::Unreadable(_)))));
        assert!(rows.next().await.is_none());
    }
}
