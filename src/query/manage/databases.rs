//! The databases of 1.x.

use super::super::client::Client;
use super::super::error::QueryError;
use super::super::quoting::identifier;
use super::retention::RetentionPolicy;

/// The databases of a 1.x server. Made by [`Client::databases`].
#[derive(Clone, Copy, Debug)]
pub struct Databases<'a>(&'a Client);

impl Client {
    /// The databases of a 1.x server.
    #[must_use]
    pub const fn databases(&self) -> Databases<'_> {
        Databases(self)
    }
}

impl Databases<'_> {
    /// Their names.
    ///
    /// # Errors
    /// As [`QueryError`] says.
    pub async fn list(&self) -> Result<Vec<String>, QueryError> {
        self.0.query("SHOW DATABASES").await?.rows::<(String,)>().map(|row| row.map(|(name,)| name)).collect()
    }

    /// Creates one, with the server's default retention policy. One that is there already is left as it is.
    ///
    /// # Errors
    /// As [`QueryError`] says.
    pub async fn create(&self, name: &str) -> Result<(), QueryError> {
        self.0.post(format!("CREATE DATABASE {}", identifier(name))).await.map(drop)
    }

    /// Creates one with this as its default retention policy.
    ///
    /// # Errors
    /// As [`QueryError`] says; one that is there already with another policy, too.
    pub async fn create_with(&self, name: &str, policy: &RetentionPolicy) -> Result<(), QueryError> {
        let (name, terms, policy) = (identifier(name), policy.terms(), identifier(&policy.name));
        self.0.post(format!("CREATE DATABASE {name} WITH {terms} NAME {policy}")).await.map(drop)
    }

    /// Deletes one and everything in it. One that is not there is no error.
    ///
    /// # Errors
    /// As [`QueryError`] says.
    pub async fn delete(&self, name: &str) -> Result<(), QueryError> {
        self.0.post(format!("DROP DATABASE {}", identifier(name))).await.map(drop)
    }
}
