//! The retention policies of 1.x.

use std::time::Duration;

use serde::Deserialize;

use super::super::client::Client;
use super::super::error::QueryError;
use super::super::flux_types::duration;
use super::super::quoting::identifier;

/// How long points are kept, and in what pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetentionPolicy {
    /// Its name.
    pub name: String,
    /// How long points are kept; `None` for ever. 1.x keeps them an hour at least.
    pub duration: Option<Duration>,
    /// The time that one shard spans; `None` for what the server chooses by the duration.
    pub shard_duration: Option<Duration>,
    /// How many nodes have each point; more than one in a cluster only.
    pub replication: u32,
    /// Whether points go here that name no policy.
    pub is_default: bool,
}

impl RetentionPolicy {
    /// One that keeps points for so long, on one node, and is not the default.
    pub fn new(name: impl Into<String>, duration: impl Into<Option<Duration>>) -> Self {
        let duration = duration.into();
        Self { name: name.into(), duration, shard_duration: None, replication: 1, is_default: false }
    }

    /// What stands after the name in a statement.
    pub(super) fn terms(&self) -> String {
        let duration = self.duration.map_or_else(|| "INF".into(), spelled);
        let shard = self.shard_duration.map(|shard| format!(" SHARD DURATION {}", spelled(shard)));
        format!("DURATION {duration} REPLICATION {}{}", self.replication, shard.unwrap_or_default())
    }

    fn statement(&self, verb: &str, database: &str) -> String {
        let (name, database, terms) = (identifier(&self.name), identifier(database), self.terms());
        let default = if self.is_default { " DEFAULT" } else { "" };
        format!("{verb} RETENTION POLICY {name} ON {database} {terms}{default}")
    }
}

/// The retention policies of a 1.x database. Made by [`Client::retention_policies`].
#[derive(Clone, Copy, Debug)]
pub struct RetentionPolicies<'a> {
    client: &'a Client,
    database: &'a str,
}

impl Client {
    /// The retention policies of a 1.x database.
    #[must_use]
    pub const fn retention_policies<'a>(&'a self, database: &'a str) -> RetentionPolicies<'a> {
        RetentionPolicies { client: self, database }
    }
}

impl RetentionPolicies<'_> {
    /// All of them.
    ///
    /// # Errors
    /// As [`QueryError`] says.
    pub async fn list(&self) -> Result<Vec<RetentionPolicy>, QueryError> {
        let question = format!("SHOW RETENTION POLICIES ON {}", identifier(self.database));
        self.client.query(question).await?.rows::<Shown>().map(|shown| shown?.read()).collect()
    }

    /// Creates one. One that is there already with the same terms is left as it is.
    ///
    /// # Errors
    /// As [`QueryError`] says; one of the name with other terms, too.
    pub async fn create(&self, policy: &RetentionPolicy) -> Result<(), QueryError> {
        self.client.post(policy.statement("CREATE", self.database)).await.map(drop)
    }

    /// Changes the one of that name. A shorter duration deletes points. Not being the default changes nothing: another one
    /// has to become it.
    ///
    /// # Errors
    /// As [`QueryError`] says.
    pub async fn update(&self, policy: &RetentionPolicy) -> Result<(), QueryError> {
        self.client.post(policy.statement("ALTER", self.database)).await.map(drop)
    }

    /// Deletes one and its points. One that is not there is no error.
    ///
    /// # Errors
    /// As [`QueryError`] says.
    pub async fn delete(&self, name: &str) -> Result<(), QueryError> {
        let (name, database) = (identifier(name), identifier(self.database));
        self.client.post(format!("DROP RETENTION POLICY {name} ON {database}")).await.map(drop)
    }
}

/// A row of `SHOW RETENTION POLICIES`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    name: String,
    duration: String,
    shard_group_duration: String,
    replica_n: u32,
    default: bool,
}

impl Shown {
    fn read(self) -> Result<RetentionPolicy, QueryError> {
        let read = |text: &str| {
            let nanos = duration(text).and_then(|nanos| u64::try_from(nanos).ok());
            nanos
                .map(Duration::from_nanos)
                .ok_or_else(|| QueryError::Unreadable(format!("no span of time: {text:?}")))
        };
        // For ever is written as nothing.
        let lasting = Some(read(&self.duration)?).filter(|duration| !duration.is_zero());
        Ok(RetentionPolicy {
            name: self.name,
            duration: lasting,
            shard_duration: Some(read(&self.shard_group_duration)?),
            replication: self.replica_n,
            is_default: self.default,
        })
    }
}

/// A span of time as InfluxQL spells it.
fn spelled(duration: Duration) -> String {
    match duration.subsec_nanos() {
        0 => format!("{}s", duration.as_secs()),
        _ => format!("{}ns", duration.as_nanos()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_spelled_with_every_name_quoted() {
        let mut policy = RetentionPolicy::new("a \"week\"", Duration::from_secs(7 * 86_400));
        assert_eq!(
            policy.statement("CREATE", "pl\\ant"),
            r#"CREATE RETENTION POLICY "a \"week\"" ON "pl\\ant" DURATION 604800s REPLICATION 1"#
        );
        (policy.duration, policy.shard_duration) = (None, Some(Duration::from_millis(3_600_500)));
        (policy.replication, policy.is_default) = (2, true);
        assert_eq!(
            policy.statement("ALTER", "p"),
            r#"ALTER RETENTION POLICY "a \"week\"" ON "p" DURATION INF REPLICATION 2 SHARD DURATION 3600500000000ns DEFAULT"#
        );
    }
}
