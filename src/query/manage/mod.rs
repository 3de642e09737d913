//! Managing: databases and retention policies of 1.x, what 2.x has beside data, databases of 3.x.
//!
//! Names and forms of 2.x are those of its API (influxdata/openapi, `contracts/oss.yml`); what is offered is what the Go client
//! offers, without sessions, which take cookies.

mod authorizations;
mod buckets;
mod databases;
mod members;
mod organizations;
mod resource;
mod retention;
mod setup;
mod users;
mod v3_databases;

pub use authorizations::{
    Authorization, AuthorizationFilter, Authorizations, Permission, PermissionResource,
};
pub use buckets::{Bucket, Buckets, NewBucket, RetentionRule};
pub use databases::Databases;
pub use members::{Member, Members};
pub use organizations::{Organization, Organizations};
pub use retention::{RetentionPolicies, RetentionPolicy};
pub use setup::{Onboarded, Onboarding};
pub use users::{User, Users};
pub use v3_databases::V3Databases;
