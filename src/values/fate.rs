//! What finally became of a point, and where it stands meanwhile.

use serde::{Deserialize, Serialize};

/// What finally became of a point. Every accepted point gets exactly one, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Fate {
    /// The server answered that it has the point.
    Delivered,
    /// The point was sent over a wire that has no answers (UDP).
    Unconfirmed,
    /// The point is kept in the spool's quarantine, with the reason, and can be replayed.
    Quarantined(QuarantineReason),
    /// The point was given up for good: pushed out of a full quarantine, or set aside where there is no spool.
    Rejected,
    /// The point was dropped to make room for newer ones.
    Shed(ShedReason),
    /// The point was older than it was allowed to become.
    Expired,
    /// The point's batch could not be read back: its checksum was wrong.
    Damaged,
}

impl Fate {
    /// The key of this fate's counter, in statistics, in the spool's ledger table and in JSON.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Unconfirmed => "unconfirmed",
            Self::Quarantined(QuarantineReason::Malformed) => "quarantined.malformed",
            Self::Quarantined(QuarantineReason::TypeConflict) => "quarantined.type_conflict",
            Self::Quarantined(QuarantineReason::TooLarge) => "quarantined.too_large",
            Self::Quarantined(QuarantineReason::Refused) => "quarantined.refused",
            Self::Quarantined(QuarantineReason::Suspect) => "quarantined.suspect",
            Self::Quarantined(QuarantineReason::Unresolved) => "quarantined.unresolved",
            Self::Quarantined(QuarantineReason::Unsendable) => "quarantined.unsendable",
            Self::Quarantined(QuarantineReason::Panicked) => "quarantined.panicked",
            Self::Rejected => "rejected",
            Self::Shed(ShedReason::QueueFull) => "shed.queue_full",
            Self::Shed(ShedReason::SpoolFull) => "shed.spool_full",
            Self::Expired => "expired",
            Self::Damaged => "damaged",
        }
    }

    /// The fate with this key, if there is one.
    #[must_use]
    pub fn from_key(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fate| fate.key() == key)
    }

    /// Every fate there is, for tables and sums.
    pub const ALL: [Self; 15] = [
        Self::Delivered,
        Self::Unconfirmed,
        Self::Quarantined(QuarantineReason::Malformed),
        Self::Quarantined(QuarantineReason::TypeConflict),
        Self::Quarantined(QuarantineReason::TooLarge),
        Self::Quarantined(QuarantineReason::Refused),
        Self::Quarantined(QuarantineReason::Suspect),
        Self::Quarantined(QuarantineReason::Unresolved),
        Self::Quarantined(QuarantineReason::Unsendable),
        Self::Quarantined(QuarantineReason::Panicked),
        Self::Rejected,
        Self::Shed(ShedReason::QueueFull),
        Self::Shed(ShedReason::SpoolFull),
        Self::Expired,
        Self::Damaged,
    ];
}

/// Why points are in quarantine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum QuarantineReason {
    /// The server cannot read the line.
    Malformed,
    /// A field, a tag or a column of this name exists with another type.
    TypeConflict,
    /// The line alone is larger than the server takes.
    TooLarge,
    /// The server refused the data for another reason.
    Refused,
    /// Whatever held the point made the server fail, again and again, while it took everything else.
    Suspect,
    /// The server refused what these points were sent with, and which of them it meant was not found out: more were bad
    /// than are looked for one by one.
    Unresolved,
    /// The line fits into no datagram, and there is no HTTP to carry it.
    Unsendable,
    /// The batch was in work during two panics.
    Panicked,
}

impl QuarantineReason {
    /// Every reason there is.
    pub const ALL: [Self; 8] = [
        Self::Malformed,
        Self::TypeConflict,
        Self::TooLarge,
        Self::Refused,
        Self::Suspect,
        Self::Unresolved,
        Self::Unsendable,
        Self::Panicked,
    ];

    /// The word for it, in JSON and on the command line.
    ///
    /// ```
    /// use influx_spool::{Fate, QuarantineReason};
    /// for reason in QuarantineReason::ALL {
    ///     assert_eq!(Fate::Quarantined(reason).key(), format!("quarantined.{}", reason.as_str()));
    /// }
    /// ```
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::TypeConflict => "type_conflict",
            Self::TooLarge => "too_large",
            Self::Refused => "refused",
            Self::Suspect => "suspect",
            Self::Unresolved => "unresolved",
            Self::Unsendable => "unsendable",
            Self::Panicked => "panicked",
        }
    }
}

/// Which full buffer a point was shed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ShedReason {
    /// The sliding queue in memory was full.
    QueueFull,
    /// The spool file was full.
    SpoolFull,
}

/// Where an accepted point stands: on the way, or at its [`Fate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Standing {
    /// Accepted, and only in memory so far.
    InMemory,
    /// On disk, not yet delivered.
    Durable(Durability),
    /// Nothing more will happen to the point.
    Settled(Fate),
    /// Not known any more. With a spool: the number belongs to an earlier life which ended uncleanly while the point was
    /// only in memory, or while its fate was: whether it was delivered cannot be known, even if `delivered` had answered so
    /// (fates of points that were never stored are written within
    /// [`ledger_interval`](crate::SpoolConfig::ledger_interval)). Or a damaged file had it: see [`Fate::Damaged`]. Without one:
    /// the point met its fate so long ago that which one is forgotten.
    Lost,
}

/// What a stored point survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Durability {
    /// A kill of the process (`sync = normal`).
    Process,
    /// A power cut (`sync = full`).
    Power,
}
