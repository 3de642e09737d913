//! The tokens of 2.x.

use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::super::client::Client;
use super::super::error::QueryError;
use crate::values::config::Secret;

/// A token and what it may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct Authorization {
    /// Its identifier.
    #[serde(skip_serializing)]
    pub id: String,
    /// The token itself. A server that keeps only its hash tells it once, when it is created.
    #[serde(skip_serializing)]
    pub token: Option<Secret>,
    /// `active` or `inactive`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The organization it belongs to.
    #[serde(rename = "orgID", skip_serializing_if = "Option::is_none")]
    pub org_id: Option<String>,
    /// Whose it is; by default the user's who creates it.
    #[serde(rename = "userID", skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// What it may do.
    pub permissions: Vec<Permission>,
    /// The organization's name.
    #[serde(skip_serializing)]
    pub org: Option<String>,
    /// The user's name.
    #[serde(skip_serializing)]
    pub user: Option<String>,
}

/// One thing that a token may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Permission {
    /// `read` or `write`.
    pub action: String,
    /// What it is about.
    pub resource: PermissionResource,
}

/// What a permission is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct PermissionResource {
    /// The kind of thing: `buckets`, `orgs`, `users`, `tasks`, …
    pub r#type: String,
    /// This one; all of the kind if none is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Those of this organization; of all if none is named.
    #[serde(rename = "orgID", skip_serializing_if = "Option::is_none")]
    pub org_id: Option<String>,
    /// Its name, where the server tells it.
    #[serde(skip_serializing)]
    pub name: Option<String>,
}

impl Permission {
    /// To read all things of a kind, in an organization: `Permission::read("buckets", org_id)`.
    pub fn read(kind: impl Into<String>, org_id: impl Into<String>) -> Self {
        Self::new("read", kind.into(), org_id.into())
    }

    /// To change all things of a kind, in an organization.
    pub fn write(kind: impl Into<String>, org_id: impl Into<String>) -> Self {
        Self::new("write", kind.into(), org_id.into())
    }

    /// The same for one thing alone.
    #[must_use]
    pub fn only(mut self, id: impl Into<String>) -> Self {
        self.resource.id = Some(id.into());
        self
    }

    fn new(action: &str, kind: String, org_id: String) -> Self {
        let resource =
            PermissionResource { r#type: kind, org_id: Some(org_id), ..PermissionResource::default() };
        Self { action: action.into(), resource }
    }
}

/// Which tokens are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthorizationFilter<'a> {
    /// All that may be seen. The default.
    #[default]
    All,
    /// Those of a user, by name.
    User(&'a str),
    /// Those of a user, by identifier.
    UserId(&'a str),
    /// Those of an organization, by name.
    Org(&'a str),
    /// Those of an organization, by identifier.
    OrgId(&'a str),
}

/// The tokens of a 2.x server. Made by [`Client::authorizations`].
#[derive(Clone, Copy, Debug)]
pub struct Authorizations<'a>(&'a Client);

impl Client {
    /// The tokens of a 2.x server.
    #[must_use]
    pub const fn authorizations(&self) -> Authorizations<'_> {
        Authorizations(self)
    }
}

impl Authorizations<'_> {
    /// Those that the filter lets through.
    ///
    /// # Errors
    /// As [`QueryError`] says.
    pub async fn list(&self, filter: AuthorizationFilter<'_>) -> Result<Vec<Authorization>, QueryError> {
        let query = match filter {
            AuthorizationFilter::All => None,
            AuthorizationFilter::User(name) => Some(("user", name)),
            AuthorizationFilter::UserId(id) => Some(("userID", id)),
            AuthorizationFilter::Org(name) => Some(("org", name)),
            AuthorizationFilter::OrgId(id) => Some(("orgID", id)),
        };
        let listed = self.0.get_json::<Listed>(&["authorizations"], query.as_slice()).await?;
        Ok(listed.authorizations)
    }

    /// Creates an active one in the client's organization. The answer holds the token, perhaps for the only time.
    ///
    /// # Errors
    /// As [`QueryError`] says.
    pub async fn create(
        &self,
        description: &str,
        permissions: Vec<Permission>,
    ) -> Result<Authorization, QueryError> {
        let authorization = Authorization {
            status: Some("active".into()),
            description: Some(description.into()),
            org_id: Some(self.0.org_id().await?),
            permissions,
            ..Authorization::default()
        };
        self.create_as(&authorization).await
    }

    /// As [`create`](Self::create), with everything said by the caller: another organization, another user.
    ///
    /// # Errors
    /// As [`QueryError`] says.
    pub async fn create_as(&self, authorization: &Authorization) -> Result<Authorization, QueryError> {
        self.0.send_json(Method::POST, &["authorizations"], authorization).await
    }

    /// Makes one valid or invalid.
    ///
    /// # Errors
    /// As [`QueryError`] says.
    pub async fn set_active(&self, id: &str, is_active: bool) -> Result<Authorization, QueryError> {
        let status = Status { status: if is_active { "active" } else { "inactive" } };
        self.0.send_json(Method::PATCH, &["authorizations", id], &status).await
    }

    /// Deletes one: the token is worth nothing from then on.
    ///
    /// # Errors
    /// As [`QueryError`] says.
    pub async fn delete(&self, id: &str) -> Result<(), QueryError> {
        self.0.delete(&["authorizations", id]).await
    }
}

#[derive(Deserialize)]
struct Listed {
    authorizations: Vec<Authorization>,
}

#[derive(Serialize)]
struct Status {
    status: &'static str,
}
