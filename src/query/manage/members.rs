//! Who belongs to an organization or a bucket.

use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::super::client::Client;
use super::super::error::QueryError;

/// The members or the owners of an organization or a bucket (2.x).
#[derive(Clone, Copy, Debug)]
pub struct Members<'a> {
    pub(super) client: &'a Client,
    /// `orgs`, `buckets`; its identifier; `members`, `owners`.
    pub(super) path: [&'a str; 3],
}

/// One of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Member {
    /// The user's identifier.
    pub id: String,
    /// The user's name.
    pub name: String,
    /// `member` or `owner`.
    pub role: String,
}

impl Members<'_> {
    /// All of them.
    ///
    /// # Errors
    /// As [`QueryError`] says.
    pub async fn list(&self) -> Result<Vec<Member>, QueryError> {
        Ok(self.client.get_json::<Listed>(&self.path, &[]).await?.users)
    }

    /// Adds a user.
    ///
    /// # Errors
    /// As [`QueryError`] says.
    pub async fn add(&self, user_id: &str) -> Result<Member, QueryError> {
        self.client.send_json(Method::POST, &self.path, &Added { id: user_id }).await
    }

    /// Removes a user.
    ///
    /// # Errors
    /// As [`QueryError`] says.
    pub async fn remove(&self, user_id: &str) -> Result<(), QueryError> {
        let [kind, id, role] = self.path;
        self.client.delete(&[kind, id, role, user_id]).await
    }
}

#[derive(Deserialize)]
struct Listed {
    users: Vec<Member>,
}

#[derive(Serialize)]
struct Added<'a> {
    id: &'a str,
}
