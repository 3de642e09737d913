//! Asking and managing: what an application wants of a server beside writing to it.
//!
//! A [`Client`] asks. [`DatabaseHandle::client`](crate::DatabaseHandle::client) gives the one of a running database, which works
//! whatever the writer is doing; one of its own needs no database.
//!
//! | to | 1.x | 2.x | 3.x |
//! |---|---|---|---|
//! | see whether it is there | [`ping`](Client::ping), [`health`](Client::health), [`ready`](Client::ready) | the same | the same |
//! | ask | [`query`](Client::query), [`query_chunks`](Client::query_chunks) | [`flux`](Client::flux), [`flux_rows`](Client::flux_rows), and as 1.x | [`sql`](Client::sql), [`sql_rows`](Client::sql_rows), and as 1.x |
//! | change data | [`post`](Client::post) | | |
//! | manage | [`databases`](Client::databases), [`retention_policies`](Client::retention_policies) | [`setup`](Client::setup), [`organizations`](Client::organizations), [`buckets`](Client::buckets), [`authorizations`](Client::authorizations), [`users`](Client::users) | [`v3_databases`](Client::v3_databases) |
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use influx_spool::{Client, HttpConfig, query::InfluxQl};
//!
//! #[derive(serde::Deserialize)]
//! struct Usage {
//!     time: i64,
//!     host: String,
//!     usage: Option<f64>,
//! }
//!
//! let client = Client::new(&HttpConfig::new("http://localhost:8086"))?.with_database("plant");
//! let question = InfluxQl::new("SELECT usage FROM cpu WHERE time > $since GROUP BY host").bind("since", "2026-01-01");
//! for row in client.query(question).await?.rows::<Usage>() {
//!     let Usage { time, host, usage } = row?;
//!     println!("{time} {host}: {usage:?}");
//! }
//! # Ok(()) }
//! ```

mod annotated_csv;
mod answer;
mod client;
mod error;
mod exchange;
mod flux;
mod flux_types;
mod influxql;
mod lines;
mod manage;
mod quoting;
mod reactor;
mod rfc3339;
mod row;
mod server;
mod v3;
mod value;

pub use answer::{Answer, Message, Series, Statement};
pub use client::Client;
pub use error::QueryError;
pub use flux::{FluxRows, FluxTable};
pub use flux_types::{FluxColumn, FluxType};
pub use influxql::{Chunks, Epoch, InfluxQl};
pub use manage::{
    Authorization, AuthorizationFilter, Authorizations, Bucket, Buckets, Databases, Member, Members,
    NewBucket, Onboarded, Onboarding, Organization, Organizations, Permission, PermissionResource,
    RetentionPolicies, RetentionPolicy, RetentionRule, User, Users, V3Databases,
};
pub use quoting::{identifier, literal};
pub use row::Row;
pub use server::{HealthStatus, Pong, Readiness, ServerHealth};
pub use v3::{SqlRows, V3Query};
pub use value::Value;
