//! What to do with a point that not every server takes as it is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How points become lines. Without any setting, a line that is written is kept unaltered by every InfluxDB,
/// and a point for which there is no such line is refused.
///
/// ```
/// let rules: influx_spool::LineRules =
///     serde_json::from_str(r#"{"non_finite": "skip_field", "default_tags": {"site": "plant"}}"#)?;
/// assert_eq!(rules.non_finite, influx_spool::NonFinite::SkipField);
/// assert_eq!(rules.unsigned, influx_spool::Unsigned::Refuse);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct LineRules {
    /// Unsigned integers. Default: [`Unsigned::Refuse`].
    pub unsigned: Unsigned,
    /// Fields that are NaN or infinite. Default: [`NonFinite::Refuse`].
    pub non_finite: NonFinite,
    /// Tags without a value, tags and fields without a name. Default: [`Blank::Refuse`].
    pub blank: Blank,
    /// Timestamps finer than the database's precision. Default: [`SubPrecision::Refuse`].
    pub sub_precision: SubPrecision,
    /// Which servers a line must suit. Default: [`Portability::AllVersions`].
    pub portability: Portability,
    /// Tags for every point that does not have them itself. Default: none.
    pub default_tags: BTreeMap<String, String>,
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

/// What to do with a float field that is NaN or infinite: no server has a spelling for these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NonFinite {
    /// Refuse the point. The default: nothing is left out in silence.
    #[default]
    Refuse,
    /// Leave the field out; a point that has no other field is refused.
    SkipField,
}

/// What to do with a tag whose value is empty, and with a tag or field whose name is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Blank {
    /// Refuse the point. The default: an empty name or value is more often a mistake than a wish.
    #[default]
    Refuse,
    /// Leave the tag or field out. To a query, a tag that is missing and one that is empty are the same.
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
    /// them), a tag and a field of one name, and strings above 65,536 bytes (3.x refuses these two).
    V1AndV2,
}
