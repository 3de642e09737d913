//! The databases of 3.x.

use std::time::Duration;

use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::super::client::Client;
use super::super::error::QueryError;
use super::super::exchange::Form;
use crate::transport::Request;

const PATH: [&str; 4] = ["api", "v3", "configure", "database"];

/// The databases of a 3.x server (`/api/v3/configure/database`). Made by [`Client::v3_databases`].
#[derive(Clone, Copy, Debug)]
pub struct V3Databases<'a>(&'a Client);

impl Client {
    /// The databases of a 3.x server. Writing to one creates it, too.
    #[must_use]
    pub const fn v3_databases(&self) -> V3Databases<'_> {
        V3Databases(self)
    }
}

impl V3Databases<'_> {
    /// Their names.
    ///
    /// # Errors
    /// As [`QueryError`] says.
    pub async fn list(&self) -> Result<Vec<String>, QueryError> {
        let request = Request::get(&PATH).query("format", "json");
        Ok(self.0.ask(request).await?.json::<Listed>()?.names())
    }

    /// Creates one that keeps points for so long; `None` for ever. 3.x Core cannot change that later.
    ///
    /// # Errors
    /// As [`QueryError`] says; one that is there already, too (409).
    pub async fn create(&self, name: &str, retention: impl Into<Option<Duration>>) -> Result<(), QueryError> {
        let retention_period =
            retention.into().map(|retention: Duration| format!("{}s", retention.as_secs()));
        let request = Request::post(&PATH).json(&NewDatabase { db: name, retention_period })?;
        self.0.change(request).await.map(drop)
    }

    /// Deletes one.
    ///
    /// # Errors
    /// As [`QueryError`] says; one that is not there, too (404).
    pub async fn delete(&self, name: &str) -> Result<(), QueryError> {
        self.0.change(Request::new(Method::DELETE, &PATH).query("db", name)).await.map(drop)
    }
}

#[derive(Serialize)]
struct NewDatabase<'a> {
    db: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    retention_period: Option<String>,
}

/// The list as servers send it, and as their documentation has it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Listed {
    Rows(Vec<ListedRow>),
    Names { databases: Vec<String> },
}

#[derive(Deserialize)]
struct ListedRow {
    #[serde(rename = "iox::database")]
    name: String,
}

impl Listed {
    fn names(self) -> Vec<String> {
        match self {
            Self::Rows(rows) => rows.into_iter().map(|row| row.name).collect(),
            Self::Names { databases } => databases,
        }
    }
}
