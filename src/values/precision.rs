//! Timestamps and the unit they are written in.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

/// The unit of the timestamps that a database is written with.
///
/// Default: [`Precision::Nanoseconds`], which loses nothing and is what every InfluxDB stores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Precision {
    /// Nanoseconds since 1970 (`ns`).
    #[default]
    #[serde(rename = "ns")]
    Nanoseconds,
    /// Microseconds since 1970 (`us`).
    #[serde(rename = "us")]
    Microseconds,
    /// Milliseconds since 1970 (`ms`).
    #[serde(rename = "ms")]
    Milliseconds,
    /// Seconds since 1970 (`s`).
    #[serde(rename = "s")]
    Seconds,
}

impl Precision {
    /// How many nanoseconds one unit is.
    #[must_use]
    pub const fn nanoseconds(self) -> i64 {
        match self {
            Self::Nanoseconds => 1,
            Self::Microseconds => 1_000,
            Self::Milliseconds => 1_000_000,
            Self::Seconds => 1_000_000_000,
        }
    }

    /// The common short name: `ns`, `us`, `ms` or `s`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nanoseconds => "ns",
            Self::Microseconds => "us",
            Self::Milliseconds => "ms",
            Self::Seconds => "s",
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Precision {
    type Err = UnknownPrecision;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "ns" | "n" => Ok(Self::Nanoseconds),
            "us" | "u" | "µs" => Ok(Self::Microseconds),
            "ms" => Ok(Self::Milliseconds),
            "s" => Ok(Self::Seconds),
            other => Err(UnknownPrecision(other.to_owned())),
        }
    }
}

/// A word that is none of `ns`, `us`, `ms`, `s`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown precision {0:?}: use ns, us, ms or s")]
pub struct UnknownPrecision(String);

/// A moment, in nanoseconds since 1970-01-01T00:00:00Z.
///
/// ```
/// use influx_spool::Timestamp;
/// assert_eq!(Timestamp::from_millis(1_500), Some(Timestamp::from_nanos(1_500_000_000)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The moment `nanos` nanoseconds after 1970.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// The moment `micros` microseconds after 1970; `None` outside the years 1677 to 2262.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Option<Self> {
        Self::from_units(micros, Precision::Microseconds)
    }

    /// The moment `millis` milliseconds after 1970; `None` outside the years 1677 to 2262.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Option<Self> {
        Self::from_units(millis, Precision::Milliseconds)
    }

    /// The moment `secs` seconds after 1970; `None` outside the years 1677 to 2262.
    #[must_use]
    pub const fn from_secs(secs: i64) -> Option<Self> {
        Self::from_units(secs, Precision::Seconds)
    }

    /// The moment `units` of `precision` after 1970; `None` outside the years 1677 to 2262.
    #[must_use]
    pub const fn from_units(units: i64, precision: Precision) -> Option<Self> {
        match units.checked_mul(precision.nanoseconds()) {
            Some(nanos) => Some(Self(nanos)),
            None => None,
        }
    }

    /// Nanoseconds since 1970.
    #[must_use]
    pub const fn nanos(self) -> i64 {
        self.0
    }
}

impl From<SystemTime> for Timestamp {
    /// A time beyond what 64 bits of nanoseconds can hold becomes the nearest that they can.
    fn from(time: SystemTime) -> Self {
        let nanos = |d: Duration| {
            let seconds = i64::try_from(d.as_secs()).unwrap_or(i64::MAX);
            seconds.saturating_mul(1_000_000_000).saturating_add(i64::from(d.subsec_nanos()))
        };
        match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => Self(nanos(after)),
            Err(before) => Self(-nanos(before.duration())),
        }
    }
}
