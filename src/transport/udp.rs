//! Datagrams to the UDP listener of an InfluxDB.
//!
//! The socket is connected, so that the refusal of a host where nobody listens (ICMP port unreachable) comes back: as the
//! error of a later call, never of the one it answers.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::{UdpSocket, lookup_host};

use crate::machines::verdict::{TransportError, TransportErrorKind};

/// A connected socket.
#[derive(Debug)]
pub(crate) struct UdpWay(UdpSocket);

impl UdpWay {
    /// Looks up the listener's name and connects to its first address that can be used.
    ///
    /// # Errors
    /// The name is unknown, or no socket can be had.
    pub(crate) async fn connect(address: &str) -> Result<Self, TransportError> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "no address");
        for to in lookup_host(address).await.map_err(|error| unreachable(&error))? {
            match connect_to(to).await {
                Ok(socket) => return Ok(Self(socket)),
                Err(error) => last = error,
            }
        }
        Err(unreachable(&last))
    }

    /// Sends one datagram.
    ///
    /// # Errors
    /// The system refuses it, or a datagram before it was refused.
    pub(crate) async fn send(&self, body: &[u8]) -> Result<(), TransportError> {
        self.0.send(body).await.map(drop).map_err(|error| unreachable(&error))
    }

    /// Whether a datagram was refused since this was last asked.
    ///
    /// # Errors
    /// One was.
    pub(crate) fn refusal(&self) -> Result<(), TransportError> {
        match self.0.take_error() {
            Ok(None) => Ok(()),
            Ok(Some(error)) | Err(error) => Err(unreachable(&error)),
        }
    }
}

async fn connect_to(address: SocketAddr) -> io::Result<UdpSocket> {
    let any = if address.is_ipv4() {
        SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))
    } else {
        SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(address).await?;
    Ok(socket)
}

fn unreachable(error: &io::Error) -> TransportError {
    TransportError { kind: TransportErrorKind::Connect, words: error.to_string() }
}
