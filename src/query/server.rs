//! Is the server there, is it well, is it ready?

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::client::Client;
use super::error::QueryError;
use super::exchange::{Effect, Whole};
use crate::transport::Request;

/// The answer to a ping.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Pong {
    /// The server's version, if it says: `1.6.7`, `v2.7.11`, `3.6.0`.
    pub version: Option<String>,
    /// Its build, if it says: `OSS`, `Core`, `ENT`.
    pub build: Option<String>,
    /// How long it took from the request to the whole answer; the first one makes a connection, too.
    #[serde(serialize_with = "as_seconds")]
    pub round_trip: Duration,
}

/// How a server says it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ServerHealth {
    /// Whether it is well.
    pub status: HealthStatus,
    /// Who it is: `influxdb`.
    #[serde(default)]
    pub name: Option<String>,
    /// What it says of it.
    #[serde(default)]
    pub message: Option<String>,
    /// Its version.
    #[serde(default)]
    pub version: Option<String>,
    /// The commit it was built from.
    #[serde(default)]
    pub commit: Option<String>,
}

/// Whether a server is well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum HealthStatus {
    /// It is.
    Pass,
    /// It is not.
    Fail,
}

/// Since when a server is ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Readiness {
    /// Its word for it: `ready`.
    #[serde(default)]
    pub status: Option<String>,
    /// When it was started, as RFC 3339 (2.x).
    #[serde(default)]
    pub started: Option<String>,
    /// How long it has been up, in its own spelling: `1h2m3s` (2.x).
    #[serde(default)]
    pub up: Option<String>,
}

impl Client {
    /// Asks whether the server is there, and which it is (`GET /ping`, all versions). 1.x and 2.x answer without credentials.
    ///
    /// # Errors
    /// No answer, or one that is no success.
    pub async fn ping(&self) -> Result<Pong, QueryError> {
        let asked = Instant::now();
        let answer = self.ask(Request::get(&["ping"])).await?;
        Ok(pong(&answer, asked.elapsed()))
    }

    /// Asks how the server is (`GET /health`). One that says it is not well is an answer, not an error.
    ///
    /// 2.x tells; 3.x says `OK`; 1.x before 1.8 knows no such question, and is well if it answers a ping.
    ///
    /// # Errors
    /// No answer, or one that has nothing to do with health.
    pub async fn health(&self) -> Result<ServerHealth, QueryError> {
        let answer = self.exchange(Effect::Reads, Request::get(&["health"])).await?;
        if answer.status == 404 {
            return Ok(well(self.ping().await?.version));
        }
        match answer.json::<ServerHealth>() {
            Ok(health) => Ok(health),
            Err(_) => answer.succeeded().map(|answer| well(answer.header("x-influxdb-version"))),
        }
    }

    /// Asks whether the server is ready for requests (`GET /ready`, 2.x). 1.x and 3.x know no such question, and are
    /// ready if they answer a ping.
    ///
    /// # Errors
    /// It is not ready, or did not answer.
    pub async fn ready(&self) -> Result<Readiness, QueryError> {
        let answer = self.exchange(Effect::Reads, Request::get(&["ready"])).await?;
        if answer.status == 404 {
            self.ping().await?;
            return Ok(Readiness { status: Some("ready".into()), started: None, up: None });
        }
        answer.succeeded()?.json()
    }
}

/// 3.x tells in a body what the others tell in headers.
#[derive(Default, Deserialize)]
struct Told {
    version: Option<String>,
}

fn pong(answer: &Whole, round_trip: Duration) -> Pong {
    let told: Told = answer.json().unwrap_or_default();
    Pong {
        version: answer.header("x-influxdb-version").or(told.version),
        build: answer.header("x-influxdb-build"),
        round_trip,
    }
}

const fn well(version: Option<String>) -> ServerHealth {
    ServerHealth { status: HealthStatus::Pass, name: None, message: None, version, commit: None }
}

fn as_seconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}
