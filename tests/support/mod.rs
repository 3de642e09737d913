//! What several tests share. Each test compiles it for itself and need not use all of it.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic)]

pub mod cases;
pub mod influxd;
pub mod ledger;
#[cfg(feature = "cli")]
pub mod program;
pub mod proxy;
pub mod receiver;
