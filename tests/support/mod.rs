//! What several tests share. Each test compiles it for itself and need not use all of it.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic)]

pub mod cases;
pub mod ear;
pub mod gate;
pub mod http;
pub mod influxd;
pub mod ledger;
#[cfg(feature = "failpoints")]
pub mod mine;
pub mod nginx;
pub mod process;
#[cfg(feature = "cli")]
pub mod program;
pub mod proxy;
pub mod receiver;
pub mod scripted;
pub mod sick;
pub mod small_disk;
pub mod vm;
