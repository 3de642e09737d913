//! Points by UDP: where to, in what portions, how fast.

use std::num::{NonZeroU32, NonZeroUsize};

use serde::{Deserialize, Serialize};

use super::nonzero;

/// An InfluxDB's UDP listener. Such a listener belongs to one database and one precision, as its own configuration
/// says: [`Config::precision`](crate::Config::precision) has to be the same, since a datagram cannot say what its timestamps mean.
///
/// UDP has no answers: what was sent is [`Unconfirmed`](crate::Fate::Unconfirmed).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct UdpConfig {
    /// Host and port of the listener: `host:8089`.
    pub address: String,
    /// Bytes of line protocol in one datagram at most. Default: 1,400, what passes any Ethernet in one piece. Whole lines
    /// only; one that is longer goes by HTTP, or to quarantine.
    #[serde(default = "defaults::datagram_bytes_max")]
    pub datagram_bytes_max: NonZeroUsize,
    /// Sockets, each with an actor of its own. Default: 2.
    #[serde(default = "defaults::senders")]
    pub senders: NonZeroUsize,
    /// Datagrams per second, over all senders. Default: 4,000. A receive buffer as systems have it (212,992 bytes, and one of
    /// these counts for 2,304) then bears a pause of 23 ms; what does not fit in it is lost without a word. Measured on
    /// one machine with two busy processors, a million points to InfluxDB 1.6: everything arrives at 2,000, 99.97 % at 4,000,
    /// 95 to 99.8 % from 8,000 on.
    #[serde(default = "defaults::datagrams_per_second")]
    pub datagrams_per_second: NonZeroU32,
    /// Whether HTTP ([`Config::http`](crate::Config::http)) carries what UDP cannot: lines that are too long, and everything while the
    /// listener is known to be down. Default: yes. Without it the one goes to quarantine and the other waits.
    #[serde(default = "defaults::http_fallback")]
    pub http_fallback: bool,
}

impl UdpConfig {
    /// A listener with every default.
    #[must_use]
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            datagram_bytes_max: defaults::datagram_bytes_max(),
            senders: defaults::senders(),
            datagrams_per_second: defaults::datagrams_per_second(),
            http_fallback: defaults::http_fallback(),
        }
    }
}

mod defaults {
    use super::{NonZeroU32, NonZeroUsize, nonzero};

    pub(super) const fn datagram_bytes_max() -> NonZeroUsize {
        nonzero(1_400)
    }

    pub(super) const fn senders() -> NonZeroUsize {
        nonzero(2)
    }

    pub(super) const fn datagrams_per_second() -> NonZeroU32 {
        NonZeroU32::MIN.saturating_add(3_999)
    }

    pub(super) const fn http_fallback() -> bool {
        true
    }
}
