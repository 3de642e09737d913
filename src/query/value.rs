//! What stands in a cell of an answer.

use std::fmt;

use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::rfc3339;
use crate::values::precision::Timestamp;

/// A value that a server answered.
///
/// Integers are exact to 64 bits. In the JSON of InfluxQL and SQL a float without a fraction looks like an integer and
/// comes as one; rows of a type of your own ([`Row::to`](super::Row::to)) take either for an `f64`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// Nothing.
    Null,
    /// A boolean.
    Boolean(bool),
    /// An integer.
    Integer(i64),
    /// An integer from Flux's `unsignedLong`, or one that only fits without a sign.
    Unsigned(u64),
    /// A float; Flux also answers NaN and the infinities.
    Float(f64),
    /// Text. Timestamps in JSON are text, unless they are asked for as numbers ([`InfluxQl::epoch`](super::InfluxQl::epoch)).
    String(String),
    /// A moment (Flux).
    Time(Timestamp),
    /// A span of time in nanoseconds (Flux); it may be negative.
    Duration(i64),
    /// Bytes (Flux).
    Bytes(Vec<u8>),
    /// A list (SQL).
    List(Vec<Value>),
    /// Named values in the order in which they came (SQL).
    Map(Vec<(String, Value)>),
}

impl Value {
    /// Whether there is nothing.
    #[must_use]
    pub const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The text, if it is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The integer, if it is one that fits. A moment is its nanoseconds since 1970.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Integer(number) | Self::Duration(number) => Some(*number),
            Self::Unsigned(number) => i64::try_from(*number).ok(),
            Self::Time(time) => Some(time.nanos()),
            _ => None,
        }
    }

    /// The number as a float, if it is a number; an integer beyond 2^53 is rounded.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "said so")]
    pub const fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Float(number) => Some(*number),
            Self::Integer(number) => Some(*number as f64),
            Self::Unsigned(number) => Some(*number as f64),
            _ => None,
        }
    }

    /// The boolean, if it is one.
    #[must_use]
    pub const fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Boolean(flag) => Some(*flag),
            _ => None,
        }
    }
}

/// As it would stand in a cell of a table: text without quotes, nothing as nothing, moments as RFC 3339, bytes in hexadecimal.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => Ok(()),
            Self::Boolean(flag) => flag.fmt(f),
            Self::Integer(number) => number.fmt(f),
            Self::Unsigned(number) => number.fmt(f),
            Self::Float(number) if number.is_finite() => f.write_str(zmij::Buffer::new().format(*number)),
            Self::Float(number) => number.fmt(f),
            Self::String(text) => f.write_str(text),
            Self::Time(time) => f.write_str(&rfc3339::format(*time)),
            Self::Duration(nanos) => write!(f, "{nanos}ns"),
            Self::Bytes(bytes) => bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
            Self::List(_) | Self::Map(_) => {
                f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
            }
        }
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Boolean(flag) => serializer.serialize_bool(*flag),
            Self::Integer(number) | Self::Duration(number) => serializer.serialize_i64(*number),
            Self::Unsigned(number) => serializer.serialize_u64(*number),
            Self::Float(number) => serializer.serialize_f64(*number),
            Self::String(text) => serializer.serialize_str(text),
            Self::Time(time) => serializer.serialize_str(&rfc3339::format(*time)),
            Self::Bytes(bytes) => serializer.serialize_bytes(bytes),
            Self::List(values) => {
                let mut list = serializer.serialize_seq(Some(values.len()))?;
                values.iter().try_for_each(|value| list.serialize_element(value))?;
                list.end()
            }
            Self::Map(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                entries.iter().try_for_each(|(key, value)| map.serialize_entry(key, value))?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Boolean(flag))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Integer(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
        Ok(i64::try_from(number).map_or(Value::Unsigned(number), Value::Integer))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Float(number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Value, E> {
        Ok(Value::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element()? {
            values.push(value);
        }
        Ok(Value::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Value::Map(entries))
    }
}

macro_rules! value_from {
    ($($from:ty => $variant:ident),* $(,)?) => {
        $(impl From<$from> for Value {
            fn from(value: $from) -> Self {
                Self::$variant(value.into())
            }
        })*
    };
}

value_from! {
    bool => Boolean, i64 => Integer, i32 => Integer, u32 => Integer, f64 => Float, &str => String, String => String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, value: Value, shown: &str) {
        assert_eq!(serde_json::from_str::<Value>(json).unwrap(), value);
        assert_eq!(value.to_string(), shown);
    }

    #[test]
    fn numbers_of_json_keep_every_bit() {
        check("-9223372036854775808", Value::Integer(i64::MIN), "-9223372036854775808");
        check("18446744073709551615", Value::Unsigned(u64::MAX), "18446744073709551615");
        check("5e-324", Value::Float(5e-324), "5e-324");
        check("null", Value::Null, "");
        let list = Value::List(vec![1_i64.into(), Value::Map(vec![("a".into(), true.into())])]);
        check("[1,{\"a\":true}]", list, "[1,{\"a\":true}]");
        let Value::Float(zero) = serde_json::from_str("-0").unwrap() else { panic!("minus zero is a float") };
        assert!(zero.is_sign_negative());
    }
}
