//! What a server answers to InfluxQL.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::QueryError;
use super::row::Row;
use super::value::Value;

/// The answers to the statements of a question, in their order.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Answer {
    /// One for each statement.
    pub statements: Vec<Statement>,
}

/// The answer to one statement.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[non_exhaustive]
pub struct Statement {
    /// Which one it is, from 0 on.
    #[serde(default, rename = "statement_id")]
    pub id: u32,
    /// What was found, by series; none if nothing was.
    #[serde(default)]
    pub series: Vec<Series>,
    /// What the server had to remark.
    #[serde(default)]
    pub messages: Vec<Message>,
    /// Whether there is more: in the next piece of a streamed answer, or cut off by a limit of the server's.
    #[serde(default)]
    pub partial: bool,
    /// Why it was refused: looked at before anybody sees the statement.
    #[serde(default, skip_serializing)]
    error: Option<String>,
}

/// Rows that share a name and tags.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[non_exhaustive]
pub struct Series {
    /// The measurement, or what the statement is about: `databases`.
    #[serde(default)]
    pub name: String,
    /// The tags it was grouped by.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// The names of the columns.
    #[serde(default)]
    pub columns: Vec<String>,
    /// The rows, each with a value a column.
    #[serde(default)]
    pub values: Vec<Vec<Value>>,
    /// Whether more rows of it follow, or were cut off.
    #[serde(default)]
    pub partial: bool,
}

/// A remark of the server's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[non_exhaustive]
pub struct Message {
    /// How serious it is: `warning`.
    #[serde(default)]
    pub level: String,
    /// What it says.
    #[serde(default)]
    pub text: String,
}

impl Answer {
    /// Every series of every statement.
    pub fn series(&self) -> impl Iterator<Item = &Series> {
        self.statements.iter().flat_map(|statement| &statement.series)
    }

    /// Every row as a value of a type of your own: see [`Row::to`]. Tags are columns, too.
    pub fn rows<T: DeserializeOwned>(&self) -> impl Iterator<Item = Result<T, QueryError>> {
        self.series().flat_map(Series::rows)
    }
}

impl Series {
    /// The rows, with the tags before the other columns.
    pub fn iter(&self) -> impl Iterator<Item = Row> {
        let columns: Arc<[String]> = self.tags.keys().chain(&self.columns).cloned().collect();
        self.values.iter().map(move |values| {
            let tags = self.tags.values().map(|tag| tag.as_str().into());
            Row::of(Arc::clone(&columns), tags.chain(values.iter().cloned()).collect())
        })
    }

    /// Every row as a value of a type of your own: see [`Row::to`]. Tags are columns, too.
    pub fn rows<T: DeserializeOwned>(&self) -> impl Iterator<Item = Result<T, QueryError>> {
        self.iter().map(Row::into_typed)
    }
}

/// An answer as it comes.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Told {
    #[serde(default)]
    results: Vec<Statement>,
    error: Option<String>,
}

impl Told {
    /// # Errors
    /// A statement was refused: the status of the answer does not tell.
    pub(super) fn checked(self) -> Result<Answer, QueryError> {
        if let Some(words) = self.error {
            return Err(QueryError::Statement { statement: 0, words });
        }
        let checked = |mut told: Statement| match told.error.take() {
            Some(words) => Err(QueryError::Statement { statement: told.id, words }),
            None => Ok(told),
        };
        Ok(Answer { statements: self.results.into_iter().map(checked).collect::<Result<_, _>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Answer, QueryError> {
        serde_json::from_str::<Told>(json).map_err(QueryError::unreadable)?.checked()
    }

    #[test]
    fn rows_hold_their_tags() {
        let answer = read(
            r#"{"results":[{"statement_id":0,"series":[
                {"name":"cpu","tags":{"host":"a"},"columns":["time","usage"],"values":[[1,0.5],[2,null]]},
                {"name":"cpu","tags":{"host":"b"},"columns":["time","usage"],"values":[[1,7]]}]}]}"#,
        );
        let rows: Vec<(String, i64, Option<f64>)> = answer.unwrap().rows().map(Result::unwrap).collect();
        assert_eq!(rows, [("a".into(), 1, Some(0.5)), ("a".into(), 2, None), ("b".into(), 1, Some(7.0))]);
    }

    /// Answers of influxd 1.6.7, word for word.
    #[test]
    fn a_refused_statement_is_an_error() {
        let refused = read(r#"{"results":[{"statement_id":0,"error":"database not found: nope"}]}"#);
        let expected = QueryError::Statement { statement: 0, words: "database not found: nope".into() };
        assert_eq!(refused, Err(expected));
    }

    #[test]
    fn remarks_are_kept() {
        let answer = read(
            r#"{"results":[{"statement_id":0,"messages":[{"level":"warning","text":"deprecated use of 'CREATE DATABASE t1get' in a read only context, please use a POST request instead"}]}]}"#,
        );
        assert_eq!(answer.unwrap().statements[0].messages[0].level, "warning");
    }
}
