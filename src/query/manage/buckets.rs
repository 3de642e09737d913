//! The buckets of 2.x.

use std::time::Duration;

use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::super::client::Client;
use super::super::error::QueryError;
use super::members::Members;
use super::resource::found;

/// A bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct Bucket {
    /// Its identifier; the server gives it.
    #[serde(skip_serializing)]
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// How long points are kept; without a rule for ever.
    pub retention_rules: Vec<RetentionRule>,
    /// The organization it belongs to.
    #[serde(rename = "orgID", skip_serializing)]
    pub org_id: Option<String>,
    /// `user` or `system`.
    #[serde(skip_serializing)]
    pub r#type: Option<String>,
    /// When it was created, as RFC 3339.
    #[serde(skip_serializing)]
    pub created_at: Option<String>,
    /// When it was changed last, as RFC 3339.
    #[serde(skip_serializing)]
    pub updated_at: Option<String>,
}

/// How long the points of a bucket are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RetentionRule {
    /// `expire`, the only kind there is.
    #[serde(default = "expire")]
    pub r#type: String,
    /// How many seconds points are kept; 0 for ever.
    pub every_seconds: u64,
    /// How many seconds one shard spans; the server chooses by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard_group_duration_seconds: Option<u64>,
}

impl RetentionRule {
    /// Points are kept for so long, in whole seconds.
    #[must_use]
    pub fn expire_after(duration: Duration) -> Self {
        Self { r#type: expire(), every_seconds: duration.as_secs(), shard_group_duration_seconds: None }
    }
}

/// A bucket that is to be created.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NewBucket {
    name: String,
    #[serde(rename = "orgID")]
    org_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    retention_rules: Vec<RetentionRule>,
}

impl NewBucket {
    /// One of this name, in the client's organization, that keeps its points for ever.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// The organization it will belong to, by its identifier. Default: the client's.
    #[must_use]
    pub fn org_id(mut self, id: impl Into<String>) -> Self {
        self.org_id = Some(id.into());
        self
    }

    /// What it is for. Default: nothing is said.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// How long points are kept. Default: for ever.
    #[must_use]
    pub fn retention(mut self, rule: RetentionRule) -> Self {
        self.retention_rules = vec![rule];
        self
    }
}

/// The buckets of a 2.x server. Made by [`Client::buckets`].
#[derive(Clone, Copy, Debug)]
pub struct Buckets<'a>(&'a Client);

impl Client {
    /// The buckets of a 2.x server: those of the client's organization, or all that the token may see.
    #[must_use]
    pub const fn buckets(&self) -> Buckets<'_> {
        Buckets(self)
    }
}

impl<'a> Buckets<'a> {
    /// All of them.
    ///
    /// # Errors
    /// As [`QueryError`] says.
    pub async fn list(&self) -> Result<Vec<Bucket>, QueryError> {
        self.0.list(&["buckets"], &self.scope(), |listed: Listed| listed.buckets).await
    }

    /// The one of this name, if there is one.
    ///
    /// # Errors
    /// As [`QueryError`] says.
    pub async fn find(&self, name: &str) -> Result<Option<Bucket>, QueryError> {
        let mut query = self.scope();
        query.push(("name", name));
        let listed = found(self.0.get_json::<Listed>(&["buckets"], &query).await)?;
        Ok(listed.and_then(|listed| listed.buckets.into_iter().find(|bucket| bucket.name == name)))
    }

    /// The one of this identifier, if there is one.
    ///
    /// # Errors
    /// As [`QueryError`] says.
    pub async fn get(&self, id: &str) -> Result<Option<Bucket>, QueryError> {
        found(self.0.get_json(&["buckets", id], &[]).await)
    }

    /// Creates one.
    ///
    /// # Errors
    /// As [`QueryError`] says; one of the name that is there already, too (422).
    pub async fn create(&self, mut bucket: NewBucket) -> Result<Bucket, QueryError> {
        if bucket.org_id.is_none() {
            bucket.org_id = Some(self.0.org_id().await?);
        }
        self.0.send_json(Method::POST, &["buckets"], &bucket).await
    }

    /// Changes the name, description and retention of the one with this one's identifier. A shorter retention deletes
    /// points.
    ///
    /// # Errors
    /// As [`QueryError`] says.
    pub async fn update(&self, bucket: &Bucket) -> Result<Bucket, QueryError> {
        self.0.send_json(Method::PATCH, &["buckets", &bucket.id], bucket).await
    }

    /// Deletes one and its points.
    ///
    /// # Errors
    /// As [`QueryError`] says.
    pub async fn delete(&self, id: &str) -> Result<(), QueryError> {
        self.0.delete(&["buckets", id]).await
    }

    /// Its members.
    #[must_use]
    pub const fn members(&self, id: &'a str) -> Members<'a> {
        Members { client: self.0, path: ["buckets", id, "members"] }
    }

    /// Its owners.
    #[must_use]
    pub const fn owners(&self, id: &'a str) -> Members<'a> {
        Members { client: self.0, path: ["buckets", id, "owners"] }
    }

    fn scope(&self) -> Vec<(&'static str, &'a str)> {
        match (&self.0.target.org, &self.0.target.org_id) {
            (Some(org), _) => vec![("org", org)],
            (None, Some(id)) => vec![("orgID", id)],
            (None, None) => Vec::new(),
        }
    }
}

#[derive(Deserialize)]
struct Listed {
    buckets: Vec<Bucket>,
}

fn expire() -> String {
    "expire".into()
}
