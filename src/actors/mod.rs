//! Actors: the only place, with the faces above, that names actix.

pub(crate) mod child;
pub(crate) mod context;
mod control;
pub(crate) mod mailbox;
mod panics;
mod runner;
mod supervision;
pub(crate) mod supervisor;
mod tasks;
