//! The users of 2.x.

use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::super::client::Client;
use super::super::error::QueryError;
use super::super::exchange::Form;
use super::resource::found;
use crate::transport::Request;

/// A user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct User {
    /// The identifier; the server gives it.
    #[serde(skip_serializing)]
    pub id: String,
    /// The name.
    pub name: String,
    /// `active` or `inactive`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
}

/// The users of a 2.x server. Made by [`Client::users`].
#[derive(Clone, Copy, Debug)]
pub struct Users<'a>(&'a Client);

impl Client {
    /// The users of a 2.x server.
    #[must_use]
    pub const fn users(&self) -> Users<'_> {
        Users(self)
    }
}

impl Users<'_> {
    /// All of them that the token may see.
    ///
    /// # Errors
    /// As [`QueryError`] says.
    pub async fn list(&self) -> Result<Vec<User>, QueryError> {
        self.0.list(&["users"], &[], |listed: Listed| listed.users).await
    }

    /// The one of this name, if there is one.
    ///
    /// # Errors
    /// As [`QueryError`] says.
    pub async fn find(&self, name: &str) -> Result<Option<User>, QueryError> {
        let listed = found(self.0.get_json::<Listed>(&["users"], &[("name", name)]).await)?;
        Ok(listed.and_then(|listed| listed.users.into_iter().find(|user| user.name == name)))
    }

    /// The one of this identifier, if there is one.
    ///
    /// # Errors
    /// As [`QueryError`] says.
    pub async fn get(&self, id: &str) -> Result<Option<User>, QueryError> {
        found(self.0.get_json(&["users", id], &[]).await)
    }

    /// Whose credentials these are.
    ///
    /// # Errors
    /// As [`QueryError`] says.
    pub async fn me(&self) -> Result<User, QueryError> {
        self.0.get_json(&["me"], &[]).await
    }

    /// Creates one, without a password.
    ///
    /// # Errors
    /// As [`QueryError`] says; one of the name that is there already, too (422).
    pub async fn create(&self, name: &str) -> Result<User, QueryError> {
        let user = User { name: name.into(), ..User::default() };
        self.0.send_json(Method::POST, &["users"], &user).await
    }

    /// Changes the name and status of the one with this one's identifier.
    ///
    /// # Errors
    /// As [`QueryError`] says.
    pub async fn update(&self, user: &User) -> Result<User, QueryError> {
        self.0.send_json(Method::PATCH, &["users", &user.id], user).await
    }

    /// Sets a user's password.
    ///
    /// # Errors
    /// As [`QueryError`] says; one that is too short for the server, too.
    pub async fn set_password(&self, id: &str, password: &str) -> Result<(), QueryError> {
        let request = Request::post(&["api", "v2", "users", id, "password"]);
        self.0.change(request.json(&Password { password })?).await.map(drop)
    }

    /// Deletes one.
    ///
    /// # Errors
    /// As [`QueryError`] says.
    pub async fn delete(&self, id: &str) -> Result<(), QueryError> {
        self.0.delete(&["users", id]).await
    }
}

#[derive(Deserialize)]
struct Listed {
    users: Vec<User>,
}

#[derive(Serialize)]
struct Password<'a> {
    password: &'a str,
}
