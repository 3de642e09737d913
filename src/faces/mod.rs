//! Faces: what an application holds in its hands.

pub(crate) mod builder;
pub(crate) mod events;
pub(crate) mod handle;
mod query;
pub(crate) mod registry;
pub(crate) mod series;
#[cfg(feature = "web")]
pub mod web;
