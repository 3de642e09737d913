//! The first user, organization, bucket and token of a 2.x server.

use std::fmt;

use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::super::client::Client;
use super::super::error::QueryError;
use super::authorizations::Authorization;
use super::buckets::Bucket;
use super::organizations::Organization;
use super::users::User;

/// What a 2.x server is to begin with.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Onboarding {
    username: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<String>,
    org: String,
    bucket: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    retention_period_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

impl Onboarding {
    /// A first user without a password, an organization, and a bucket that keeps its points for ever.
    pub fn new(username: impl Into<String>, org: impl Into<String>, bucket: impl Into<String>) -> Self {
        Self {
            username: username.into(),
            password: None,
            org: org.into(),
            bucket: bucket.into(),
            retention_period_seconds: None,
            token: None,
        }
    }

    /// The user's password, of eight characters at least. Default: none, the user has only the token.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// How many seconds the bucket keeps its points. Default: for ever.
    #[must_use]
    pub const fn retention_seconds(mut self, seconds: u64) -> Self {
        self.retention_period_seconds = Some(seconds);
        self
    }

    /// The token that may do everything. Default: one that the server draws.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }
}

/// Without the password and the token.
impl fmt::Debug for Onboarding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Onboarding")
            .field("username", &self.username)
            .field("org", &self.org)
            .field("bucket", &self.bucket)
            .field("retention_period_seconds", &self.retention_period_seconds)
            .finish_non_exhaustive()
    }
}

/// What a 2.x server begins with.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Onboarded {
    /// The first user.
    pub user: User,
    /// The first organization.
    pub org: Organization,
    /// The first bucket.
    pub bucket: Bucket,
    /// The first token, which may do everything.
    pub auth: Authorization,
}

impl Client {
    /// Whether a 2.x server was set up already (`GET /api/v2/setup`).
    ///
    /// # Errors
    /// As [`QueryError`] says.
    pub async fn is_setup(&self) -> Result<bool, QueryError> {
        let Allowed { allowed } = self.get_json(&["setup"], &[]).await?;
        Ok(!allowed)
    }

    /// Sets up a new 2.x server (`POST /api/v2/setup`), which takes no credentials. Use the token of the answer from then
    /// on.
    ///
    /// # Errors
    /// As [`QueryError`] says; a server that was set up already, too (422).
    pub async fn setup(&self, onboarding: &Onboarding) -> Result<Onboarded, QueryError> {
        self.send_json(Method::POST, &["setup"], onboarding).await
    }
}

#[derive(Deserialize)]
struct Allowed {
    #[serde(default)]
    allowed: bool,
}
