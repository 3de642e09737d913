//! Asking through the handle of a database.

use std::sync::{Arc, Mutex, PoisonError};

use super::handle::DatabaseHandle;
use crate::query::{Answer, Client, InfluxQl, Pong, QueryError};
use crate::values::config::{Config, ConfigError};

/// The client of a database and the configuration it was made by. The lock is held while another is made.
#[derive(Debug, Default)]
pub(super) struct Asking(Mutex<Option<(Arc<Config>, Client)>>);

impl Asking {
    fn client(&self, config: &Arc<Config>) -> Result<Client, ConfigError> {
        let mut asking = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*asking {
            Some((made_by, client)) if Arc::ptr_eq(made_by, config) => Ok(client.clone()),
            _ => Ok(asking.insert((Arc::clone(config), Client::for_config(config)?)).1.clone()),
        }
    }
}

impl DatabaseHandle {
    /// A client of the database's server, which asks about that database. It works while the writer is down, restarting,
    /// degraded or stopped.
    ///
    /// It goes by the configuration as it is now, with connections of its own; those of the writer are not touched.
    ///
    /// # Errors
    /// A setting that cannot be.
    pub fn client(&self) -> Result<Client, ConfigError> {
        self.asking().client(&self.shared().config())
    }

    /// Asks whether the server is there: [`Client::ping`].
    ///
    /// # Errors
    /// No answer, or one that is no success.
    pub async fn ping(&self) -> Result<Pong, QueryError> {
        self.reader()?.ping().await
    }

    /// Asks in InfluxQL and brings the whole answer: [`Client::query`].
    ///
    /// # Errors
    /// As [`QueryError`] says.
    pub async fn query(&self, question: impl Into<InfluxQl>) -> Result<Answer, QueryError> {
        self.reader()?.query(question).await
    }

    /// Has InfluxQL statements run that change something: [`Client::post`].
    ///
    /// # Errors
    /// As [`QueryError`] says.
    pub async fn post(&self, statements: impl Into<InfluxQl>) -> Result<Answer, QueryError> {
        self.reader()?.post(statements).await
    }

    fn reader(&self) -> Result<Client, QueryError> {
        // A running database has a configuration that can be.
        self.client().map_err(|error| QueryError::Unreachable(error.to_string()))
    }
}
