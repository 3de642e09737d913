//! Actors: the only place, with the faces above, that names actix.

mod alarm;
mod announce;
pub(crate) mod arbiters;
mod batcher;
mod bell;
pub(crate) mod child;
pub(crate) mod context;
mod control;
pub(crate) mod database;
mod disk;
mod drill;
pub(crate) mod hearers;
mod keeping;

mod limits;
pub(crate) mod mailbox;
pub(crate) mod messages;
pub(crate) mod push;
mod receipts;
pub(crate) mod reconfigure;
mod room;
mod runner;
mod sender;
pub(crate) mod shared;
#[cfg(test)]
mod simulation;
mod slot;
pub(crate) mod stop;
mod store;
mod stripes;
mod supervision;
pub(crate) mod supervisor;
mod tasks;
mod udp_sender;
mod workers;
