//! Values: what a point, a batch, a number, a counter is. No input or output, no clock.

pub(crate) mod batch;
pub(crate) mod config;
pub(crate) mod error;
pub(crate) mod fate;
pub(crate) mod health;
pub(crate) mod ledger;
pub(crate) mod line_protocol;
pub(crate) mod point;
pub(crate) mod precision;
pub(crate) mod seq;
pub(crate) mod trouble;
