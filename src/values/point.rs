//! A point: measurement, tags, fields, and when.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};

use super::precision::Timestamp;

/// Text of a point: a literal is borrowed and costs nothing, a `String` is taken over.
pub(crate) type Text = Cow<'static, str>;

/// One point: a measurement, tags, fields, and a timestamp or none.
///
/// Building never fails; what cannot be written is refused when the point is pushed, with the place and the
/// reason. Literals are borrowed, so that a point with literal names allocates twice; hand over a `String` for
/// text that is made at run time, or see [`PointRef`], which borrows everything.
///
/// ```
/// use influx_spool::{FieldValue, Point, Timestamp};
///
/// let host = String::from("a");
/// let point = Point::new("cpu")
///     .tag("host", host)
///     .field("usage", 0.5)
///     .field("cores", 8)
///     .field("throttled", false)
///     .field("governor", "performance")
///     .timestamp(Timestamp::from_nanos(1_700_000_000_000_000_000));
/// assert_eq!(point.measurement(), "cpu");
/// assert_eq!(point.tags().collect::<Vec<_>>(), [("host", "a")]);
/// assert_eq!(point.fields().nth(1), Some(("cores", &FieldValue::Integer(8))));
/// ```
///
/// # JSON
///
/// With serde a point has this form; `tags` and `timestamp` may be missing, and a tag or field that is `null` counts
/// as missing. A whole number without a fraction or exponent is an integer, above 2^63 − 1 an unsigned one; any
/// other number is a float, `true` and `false` are booleans. A bare timestamp is in the precision of the database
/// that the point is pushed to, as in a raw line; `{"ns": …}` is in nanoseconds whatever the database has.
///
/// ```
/// # use influx_spool::Point;
/// let json = r#"{"measurement":"cpu","tags":{"host":"a"},"fields":{"usage":0.5},"timestamp":1700000000}"#;
/// let point: Point = serde_json::from_str(json)?;
/// assert_eq!(point, Point::new("cpu").tag("host", "a").field("usage", 0.5).timestamp_units(1_700_000_000));
/// assert_eq!(serde_json::to_string(&point)?, json);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Point {
    pub(crate) measurement: Text,
    #[serde(default, with = "pairs", skip_serializing_if = "Vec::is_empty")]
    pub(crate) tags: Vec<(Text, Text)>,
    #[serde(default, with = "pairs")]
    pub(crate) fields: Vec<(Text, FieldValue)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) timestamp: Option<PointTime>,
}

/// A point's timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum PointTime {
    /// In the precision of whichever database the point is pushed to.
    Units(i64),
    Moment {
        #[serde(rename = "ns")]
        at: Timestamp,
    },
}

impl Point {
    /// A point without tags, fields and timestamp. It needs at least one field to be written.
    #[must_use]
    pub fn new(measurement: impl Into<Cow<'static, str>>) -> Self {
        Self { measurement: measurement.into(), tags: Vec::new(), fields: Vec::new(), timestamp: None }
    }

    /// Adds a tag. The order does not matter: tags are written sorted by key. A second tag with the same key makes
    /// the point be refused.
    #[must_use]
    pub fn tag(mut self, key: impl Into<Cow<'static, str>>, value: impl Into<Cow<'static, str>>) -> Self {
        self.tags.push((key.into(), value.into()));
        self
    }

    /// Adds a field. A second field with the same key makes the point be refused.
    #[must_use]
    pub fn field(mut self, key: impl Into<Cow<'static, str>>, value: impl Into<FieldValue>) -> Self {
        self.fields.push((key.into(), value.into()));
        self
    }

    /// Sets when. Without it the point gets a timestamp when it is pushed.
    #[must_use]
    pub fn timestamp(mut self, timestamp: impl Into<Timestamp>) -> Self {
        self.timestamp = Some(PointTime::Moment { at: timestamp.into() });
        self
    }

    /// Sets when, in the precision of the database that the point is pushed to.
    #[must_use]
    pub fn timestamp_units(mut self, units: i64) -> Self {
        self.timestamp = Some(PointTime::Units(units));
        self
    }

    /// The measurement.
    #[must_use]
    pub fn measurement(&self) -> &str {
        &self.measurement
    }

    /// The tags' keys and values, in the order they were added.
    pub fn tags(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.tags.iter().map(|(key, value)| (key.as_ref(), value.as_ref()))
    }

    /// The fields' keys and values, in the order they were added.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = (&str, &FieldValue)> {
        self.fields.iter().map(|(key, value)| (key.as_ref(), value))
    }

    /// Whether the point has a timestamp of its own.
    #[must_use]
    pub const fn has_timestamp(&self) -> bool {
        self.timestamp.is_some()
    }
}

/// A point that borrows everything: nothing is allocated to build it.
///
/// ```
/// use influx_spool::{PointRef, Timestamp};
///
/// fn sample(host: &str, usage: f64, encoder: &influx_spool::Encoder) -> Result<Vec<u8>, influx_spool::PointError> {
///     let mut line = Vec::new();
///     let point = PointRef {
///         measurement: "cpu",
///         tags: &[("host", host)],
///         fields: &[("usage", usage.into()), ("cores", 8.into())],
///         timestamp: Some(Timestamp::from_nanos(5)),
///     };
///     encoder.encode_ref(&point, || 0, &mut line)?;
///     Ok(line)
/// }
/// # let encoder = influx_spool::Encoder::new(Default::default(), &Default::default())?;
/// assert_eq!(sample("a", 0.5, &encoder)?, b"cpu,host=a usage=0.5,cores=8i 5\n");
/// # Ok::<(), influx_spool::PointError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct PointRef<'a> {
    /// The measurement.
    pub measurement: &'a str,
    /// Tags in any order; sorted by key is fastest.
    pub tags: &'a [(&'a str, &'a str)],
    /// Fields in any order.
    pub fields: &'a [(&'a str, FieldRef<'a>)],
    /// When; without it the point gets a timestamp when it is pushed.
    pub timestamp: Option<Timestamp>,
}

/// The value of a field.
#[derive(Clone, Debug, PartialEq)]
pub enum FieldValue {
    /// A double-precision float. NaN and the infinities cannot be written.
    Float(f64),
    /// A signed integer.
    Integer(i64),
    /// An unsigned integer, which InfluxDB 1.x does not have.
    Unsigned(u64),
    /// A boolean.
    Boolean(bool),
    /// Text; it may hold newlines.
    String(Cow<'static, str>),
}

impl FieldValue {
    /// The value's type.
    #[must_use]
    pub const fn field_type(&self) -> FieldType {
        match self {
            Self::Float(_) => FieldType::Float,
            Self::Integer(_) => FieldType::Integer,
            Self::Unsigned(_) => FieldType::Unsigned,
            Self::Boolean(_) => FieldType::Boolean,
            Self::String(_) => FieldType::String,
        }
    }
}

/// The value of a field, borrowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FieldRef<'a> {
    /// A double-precision float. NaN and the infinities cannot be written.
    Float(f64),
    /// A signed integer.
    Integer(i64),
    /// An unsigned integer, which InfluxDB 1.x does not have.
    Unsigned(u64),
    /// A boolean.
    Boolean(bool),
    /// Text; it may hold newlines.
    String(&'a str),
}

impl FieldRef<'_> {
    /// The value's type.
    #[must_use]
    pub const fn field_type(&self) -> FieldType {
        match self {
            Self::Float(_) => FieldType::Float,
            Self::Integer(_) => FieldType::Integer,
            Self::Unsigned(_) => FieldType::Unsigned,
            Self::Boolean(_) => FieldType::Boolean,
            Self::String(_) => FieldType::String,
        }
    }
}

impl<'a> From<&'a FieldValue> for FieldRef<'a> {
    fn from(value: &'a FieldValue) -> Self {
        match value {
            FieldValue::Float(value) => Self::Float(*value),
            FieldValue::Integer(value) => Self::Integer(*value),
            FieldValue::Unsigned(value) => Self::Unsigned(*value),
            FieldValue::Boolean(value) => Self::Boolean(*value),
            FieldValue::String(value) => Self::String(value),
        }
    }
}

/// The type of a field's value. A server keeps the type that a field was first written with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldType {
    /// A double-precision float.
    Float,
    /// A signed integer of 64 bits.
    Integer,
    /// An unsigned integer of 64 bits.
    Unsigned,
    /// A boolean.
    Boolean,
    /// Text.
    String,
}

impl fmt::Display for FieldType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Float => "float",
            Self::Integer => "integer",
            Self::Unsigned => "unsigned",
            Self::Boolean => "boolean",
            Self::String => "string",
        })
    }
}

macro_rules! from_values {
    ($($kind:ident: $($type:ty),+;)+) => {$($(
        impl From<$type> for FieldValue {
            fn from(value: $type) -> Self {
                Self::$kind(value.into())
            }
        }
        impl From<$type> for FieldRef<'_> {
            fn from(value: $type) -> Self {
                Self::$kind(value.into())
            }
        }
    )+)+};
}

from_values! {
    Float: f64, f32;
    Integer: i64, i32, i16, i8;
    Unsigned: u64, u32, u16, u8;
    Boolean: bool;
}

impl From<&'static str> for FieldValue {
    fn from(value: &'static str) -> Self {
        Self::String(value.into())
    }
}

impl From<String> for FieldValue {
    fn from(value: String) -> Self {
        Self::String(value.into())
    }
}

impl From<Cow<'static, str>> for FieldValue {
    fn from(value: Cow<'static, str>) -> Self {
        Self::String(value)
    }
}

impl<'a> From<&'a str> for FieldRef<'a> {
    fn from(value: &'a str) -> Self {
        Self::String(value)
    }
}

impl Serialize for FieldValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Float(value) => serializer.serialize_f64(*value),
            Self::Integer(value) => serializer.serialize_i64(*value),
            Self::Unsigned(value) => serializer.serialize_u64(*value),
            Self::Boolean(value) => serializer.serialize_bool(*value),
            Self::String(value) => serializer.serialize_str(value),
        }
    }
}

impl<'de> Deserialize<'de> for FieldValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FieldValueVisitor)
    }
}

struct FieldValueVisitor;

impl Visitor<'_> for FieldValueVisitor {
    type Value = FieldValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, a boolean or a string")
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<FieldValue, E> {
        Ok(FieldValue::Float(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<FieldValue, E> {
        Ok(FieldValue::Integer(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<FieldValue, E> {
        Ok(i64::try_from(value).map_or(FieldValue::Unsigned(value), FieldValue::Integer))
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<FieldValue, E> {
        Ok(FieldValue::Boolean(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<FieldValue, E> {
        Ok(FieldValue::String(value.to_owned().into()))
    }
}

/// A list of pairs in the form of a map. Unlike a map it keeps the order, and a key that occurs twice, so that the
/// point is refused instead of losing one of the values.
mod pairs {
    use std::marker::PhantomData;

    use super::*;

    pub(super) fn serialize<V: Serialize, S: Serializer>(
        pairs: &[(Text, V)],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(pairs.len()))?;
        for (key, value) in pairs {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }

    pub(super) fn deserialize<'de, V: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<(Text, V)>, D::Error> {
        deserializer.deserialize_map(PairsVisitor(PhantomData))
    }

    struct PairsVisitor<V>(PhantomData<V>);

    impl<'de, V: Deserialize<'de>> Visitor<'de> for PairsVisitor<V> {
        type Value = Vec<(Text, V)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut pairs = Vec::new();
            while let Some((key, value)) = map.next_entry::<Text, Option<V>>()? {
                pairs.extend(value.map(|value| (key, value)));
            }
            Ok(pairs)
        }
    }
}
