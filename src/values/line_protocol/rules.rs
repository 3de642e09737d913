//! What to do with a point that not every server takes as it is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How points become lines. Without any setting, a line that is written is kept unaltered by every InfluxDB,
/// and a point for which there is no such line is refused. What that means is in [`lines`](crate::lines).
///
/// ```
/// let rules: influx_spool::LineRules =
///     serde_json::from_str(r#"{"non_finite": "skip", "default_tags": {"site": "plant"}}"#)?;
/// assert_eq!(rules.non_finite, influx_spool::Unwritable::Skip);
/// assert_eq!(rules.unsigned, influx_spool::Unsigned::Refuse);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct LineRules {
    /// Unsigned integers. Default: [`Unsigned::Refuse`].
    pub unsigned: Unsigned,
    /// Fields that are NaN or infinite. Default: [`Unwritable::Refuse`], since a value would be missing in silence.
    pub non_finite: Unwritable,
    /// Tags whose value or key is empty. Default: [`Unwritable::Skip`], since to every server a tag that is empty and
    /// one that is missing are the same; but it hides the default tag of its key. In raw lines they are refused.
    pub blank_tags: Unwritable,
    /// Fields whose key is empty. Default: [`Unwritable::Refuse`], since a value would be missing in silence. In raw lines and prepared
    /// series they are refused.
    pub blank_fields: Unwritable,
    /// Timestamps finer than the database's precision. Default: [`SubPrecision::Refuse`].
    pub sub_precision: SubPrecision,
    /// Which servers a line must suit. Default: [`Portability::AllVersions`].
    pub portability: Portability,
    /// Tags for every point that does not have them itself, not even blank. Default: none.
    pub default_tags: BTreeMap<String, String>,
}

impl Default for LineRules {
    fn default() -> Self {
        Self {
            unsigned: Unsigned::default(),
            non_finite: Unwritable::Refuse,
            blank_tags: Unwritable::Skip,
            blank_fields: Unwritable::Refuse,
            sub_precision: SubPrecision::default(),
            portability: Portability::default(),
            default_tags: BTreeMap::new(),
        }
    }
}

/// What to do with an unsigned integer field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Unsigned {
    /// Refuse the point. The default: InfluxDB 1.x refuses the whole line for one `1u`.
    #[default]
    Refuse,
    /// Write `1u`, which 2.x and 3.x keep.
    Write,
}

/// What to do with a tag or field that no server has a spelling for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Unwritable {
    /// Refuse the point.
    Refuse,
    /// Leave the tag or field out. A point that has no other field is refused.
    Skip,
}

/// What to do with a timestamp that is finer than the database's precision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SubPrecision {
    /// Refuse the point. The default: two points that differ only below the precision would become one.
    #[default]
    Refuse,
    /// Round down to the precision.
    Truncate,
}

/// Which servers must keep a line as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Portability {
    /// InfluxDB 1.x, 2.x and 3.x. The default: the data can move to another server some day.
    #[default]
    AllVersions,
    /// InfluxDB 1.x and 2.x. What is allowed in addition: two backslashes in a row in a name or tag (3.x makes one of
    /// them), and strings above 65,536 bytes (3.x refuses them).
    V1AndV2,
}
