//! Points sealed together: a sequence range, a destination, and a body as it will be posted.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::precision::Precision;
use super::seq::SeqRange;

/// Where a batch goes. Sealed into the batch, and posted with these parameters whatever the configuration is later.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Destination {
    /// Which interface the body is written for.
    #[serde(default)]
    pub api: Api,
    /// The database (v1, v3) or the bucket (v2).
    pub database: String,
    /// The organization, by name or identifier (v2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org: Option<String>,
    /// The organization's identifier (v2), where `org` is not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org_id: Option<String>,
    /// The retention policy (v1); the database's default one if none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_policy: Option<String>,
    /// The unit of the timestamps in the body.
    #[serde(default)]
    pub precision: Precision,
    /// How many nodes of a cluster must have the points (v1, enterprise); the server's default if not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consistency: Option<Consistency>,
    /// Whether the server keeps the good lines of a body with bad ones (v3).
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub accept_partial: bool,
    /// Whether the server answers before the points are in its log (v3).
    #[serde(default, skip_serializing_if = "is_no")]
    pub no_sync: bool,
}

impl Destination {
    /// A v1 database, with every default.
    #[must_use]
    pub fn new(database: impl Into<String>) -> Self {
        Self {
            api: Api::V1,
            database: database.into(),
            org: None,
            org_id: None,
            retention_policy: None,
            precision: Precision::default(),
            consistency: None,
            accept_partial: true,
            no_sync: false,
        }
    }
}

/// The HTTP write interface of a destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Api {
    /// `POST /write`, InfluxDB 1.x and whatever is compatible with it.
    #[default]
    V1,
    /// `POST /api/v2/write`, InfluxDB 2.x and InfluxDB Cloud.
    V2,
    /// `POST /api/v3/write_lp`, InfluxDB 3.x.
    V3,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
const fn is_yes(flag: &bool) -> bool {
    *flag
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
const fn is_no(flag: &bool) -> bool {
    !*flag
}

const fn yes() -> bool {
    true
}

/// Write consistency of a 1.x Enterprise cluster; a single node ignores it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Consistency {
    /// Any node, hinted handoff included.
    Any,
    /// At least one data node.
    One,
    /// More than half of the data nodes.
    Quorum,
    /// All data nodes.
    All,
}

impl Consistency {
    /// The word the `consistency` parameter takes.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::One => "one",
            Self::Quorum => "quorum",
            Self::All => "all",
        }
    }
}

/// How a body is encoded: as it lies in the spool, and as it is posted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Codec {
    /// Plain line protocol.
    Identity,
    /// One gzip member (InfluxDB 3.6 reads only the first of several and answers 204).
    #[default]
    Gzip,
}

/// The earliest and the latest timestamp in a batch, in nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TimeSpan {
    /// The earliest timestamp.
    pub earliest: i64,
    /// The latest timestamp.
    pub latest: i64,
}

impl TimeSpan {
    /// The span of a single moment.
    #[must_use]
    pub const fn at(nanos: i64) -> Self {
        Self { earliest: nanos, latest: nanos }
    }

    /// Widens the span to hold `nanos`.
    pub fn include(&mut self, nanos: i64) {
        self.earliest = self.earliest.min(nanos);
        self.latest = self.latest.max(nanos);
    }
}

/// A finished batch. It does not change after it exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    /// The points' numbers; dense, so `seqs.points()` is the number of lines.
    pub(crate) seqs: SeqRange,
    pub(crate) destination: Arc<Destination>,
    pub(crate) codec: Codec,
    /// Bytes of the plain lines.
    pub(crate) raw_len: u64,
    pub(crate) span: TimeSpan,
    /// When the oldest point was pushed: milliseconds since 1970.
    pub(crate) created_ms: i64,
    /// Line protocol, each line ended by a newline, encoded by `codec`.
    pub(crate) body: Bytes,
}

impl Batch {
    pub(crate) const fn points(&self) -> u64 {
        self.seqs.points()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_stored_without_its_defaults_and_comes_back_with_them() {
        let plain = Destination::new("plant");
        assert_eq!(
            serde_json::to_string(&plain).unwrap(),
            r#"{"api":"v1","database":"plant","precision":"ns"}"#
        );
        let partial = Destination { accept_partial: false, ..plain.clone() };
        let hasty = Destination { no_sync: true, ..plain.clone() };
        for destination in [plain, partial, hasty] {
            let text = serde_json::to_string(&destination).unwrap();
            assert_eq!(serde_json::from_str::<Destination>(&text).unwrap(), destination, "{text}");
        }
    }

    #[test]
    fn a_consistency_is_called_the_same_in_a_configuration_and_in_a_request() {
        for consistency in [Consistency::Any, Consistency::One, Consistency::Quorum, Consistency::All] {
            assert_eq!(serde_json::to_value(consistency).unwrap(), consistency.as_str());
        }
    }
}
