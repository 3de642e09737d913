//! The edge to the servers: all sockets are here.
//!
//! A [`Transport`] takes a finished batch to a server and brings back what was answered. It judges nothing and retries
//! nothing: a verdict is a matter of `machines::verdict`, and when to try again one of `machines::link`.

mod http;

use std::future::Future;
use std::pin::Pin;

pub(crate) use http::HttpV1;

use crate::machines::verdict::Answer;
use crate::values::batch::Batch;

/// One way to a server.
pub(crate) trait Transport {
    /// Sends one batch and returns what came of it, in bounded time.
    ///
    /// # Cancel safety
    /// Dropping the future may leave the points written or not: as with a timeout, only sending again tells.
    fn send(&self, batch: &Batch) -> Pin<Box<dyn Future<Output = Answer>>>;
}
