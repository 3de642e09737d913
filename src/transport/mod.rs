//! The edge to the servers: all sockets are here.
//!
//! A [`Transport`] takes a finished body to a server and brings back what was answered. It judges nothing and retries
//! nothing: a verdict is a matter of `machines::verdict`, and when to try again one of `machines::link`.
//!
//! ```text
//! HttpWriter        what a write looks like in 1.x, 2.x and 3.x; the answer, read and bounded
//! └─ HttpClient     one server; whoever asks rather than writes uses it, too
//!    ├─ Pool        connections, given up at their age; one for all clients of a thread that make them alike
//!    ├─ Endpoints   which of several servers: the one in use until it fails, then the next
//!    ├─ Credentials and their secrets, read again when a file has changed or the server answers 401
//!    └─ Tls         authorities and certificates, read again when a file has changed or a handshake has failed
//! ```
//!
//! What is wrong with a file of ours is a reason to wait, as an outage is: files are replaced while we run.

mod answer;
mod client;
mod credentials;
mod endpoints;
mod failure;
mod file;
mod held_body;
mod pool;
mod request;
mod secret;
#[cfg(test)]
mod tests;
mod tls;
mod udp;
mod write;

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;

pub(crate) use client::{HttpClient, Reply};
pub(crate) use request::Request;
pub(crate) use udp::UdpWay;
pub(crate) use write::HttpWriter;

use crate::machines::verdict::Answer;
use crate::values::batch::{Codec, Destination};

/// One way to a server.
pub(crate) trait Transport {
    /// Sends one body and returns what came of it, in bounded time.
    ///
    /// # Cancel safety
    /// Dropping the future may leave the points written or not: as with a timeout, only sending again tells.
    fn send(
        &self,
        destination: &Destination,
        codec: Codec,
        body: Bytes,
    ) -> Pin<Box<dyn Future<Output = Answer>>>;

    /// Whether the server answers at all: anything, to a question that has nothing to do with data.
    fn ping(&self) -> Pin<Box<dyn Future<Output = bool>>>;

    /// Has a v1 database created, with the server's defaults; whether it now exists. One that exists already is well.
    fn create_database(&self, database: &str) -> Pin<Box<dyn Future<Output = bool>>>;
}
