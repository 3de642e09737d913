//! The organizations of 2.x.

use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::super::client::Client;
use super::super::error::QueryError;
use super::members::Members;
use super::resource::found;

/// An organization.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct Organization {
    /// Its identifier; the server gives it.
    #[serde(skip_serializing)]
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// `active` or `inactive`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// When it was created, as RFC 3339.
    #[serde(skip_serializing)]
    pub created_at: Option<String>,
    /// When it was changed last, as RFC 3339.
    #[serde(skip_serializing)]
    pub updated_at: Option<String>,
}

/// The organizations of a 2.x server. Made by [`Client::organizations`].
#[derive(Clone, Copy, Debug)]
pub struct Organizations<'a>(&'a Client);

impl Client {
    /// The organizations of a 2.x server.
    #[must_use]
    pub const fn organizations(&self) -> Organizations<'_> {
        Organizations(self)
    }

    /// The identifier of the organization that questions are about: what creates something needs it.
    pub(super) async fn org_id(&self) -> Result<String, QueryError> {
        if let (None, Some(id)) = (&self.target.org, &self.target.org_id) {
            return Ok(id.clone());
        }
        let name = self.target.org.as_deref().ok_or(QueryError::Incomplete("it needs an organization"))?;
        let found = self.organizations().find(name).await?;
        found.map(|org| org.id).ok_or(QueryError::Incomplete("there is no such organization"))
    }
}

impl<'a> Organizations<'a> {
    /// All of them that the token may see.
    ///
    /// # Errors
    /// As [`QueryError`] says.
    pub async fn list(&self) -> Result<Vec<Organization>, QueryError> {
        self.0.list(&["orgs"], &[], |listed: Listed| listed.orgs).await
    }

    /// The one of this name, if there is one.
    ///
    /// # Errors
    /// As [`QueryError`] says.
    pub async fn find(&self, name: &str) -> Result<Option<Organization>, QueryError> {
        let listed = found(self.0.get_json::<Listed>(&["orgs"], &[("org", name)]).await)?;
        Ok(listed.and_then(|listed| listed.orgs.into_iter().find(|org| org.name == name)))
    }

    /// The one of this identifier, if there is one.
    ///
    /// # Errors
    /// As [`QueryError`] says.
    pub async fn get(&self, id: &str) -> Result<Option<Organization>, QueryError> {
        found(self.0.get_json(&["orgs", id], &[]).await)
    }

    /// Creates one.
    ///
    /// # Errors
    /// As [`QueryError`] says; one of the name that is there already, too (422).
    pub async fn create(&self, name: &str) -> Result<Organization, QueryError> {
        let org = Organization { name: name.into(), ..Organization::default() };
        self.0.send_json(Method::POST, &["orgs"], &org).await
    }

    /// Changes the name, description and status of the one with this one's identifier.
    ///
    /// # Errors
    /// As [`QueryError`] says.
    pub async fn update(&self, org: &Organization) -> Result<Organization, QueryError> {
        self.0.send_json(Method::PATCH, &["orgs", &org.id], org).await
    }

    /// Deletes one and everything in it.
    ///
    /// # Errors
    /// As [`QueryError`] says.
    pub async fn delete(&self, id: &str) -> Result<(), QueryError> {
        self.0.delete(&["orgs", id]).await
    }

    /// Its members.
    #[must_use]
    pub const fn members(&self, id: &'a str) -> Members<'a> {
        Members { client: self.0, path: ["orgs", id, "members"] }
    }

    /// Its owners.
    #[must_use]
    pub const fn owners(&self, id: &'a str) -> Members<'a> {
        Members { client: self.0, path: ["orgs", id, "owners"] }
    }
}

#[derive(Deserialize)]
struct Listed {
    orgs: Vec<Organization>,
}
