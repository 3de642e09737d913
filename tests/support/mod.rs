//! What several tests share. Each test compiles it for itself and need not use all of it.
#![allow(dead_code, unreachable_pub)]

pub mod cases;
pub mod influxd;
pub mod receiver;
