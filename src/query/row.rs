//! Rows of an answer, and how they become values of a type of your own.

use std::sync::Arc;

use serde::de::value::{MapDeserializer, SeqDeserializer, StringDeserializer};
use serde::de::{DeserializeOwned, Error as _, IntoDeserializer, Unexpected, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserializer, Serialize, Serializer, forward_to_deserialize_any};

use super::error::QueryError;
use super::rfc3339;
use super::value::Value;

/// One row: values under the names of their columns, in the server's order.
///
/// ```
/// use influx_spool::query::Row;
/// use serde::Deserialize;
///
/// #[derive(Debug, PartialEq, Deserialize)]
/// struct Usage {
///     time: i64,
///     host: String,
///     usage: Option<f64>,
/// }
///
/// let row = Row::new([("time", 5.into()), ("host", "a".into()), ("usage", 1.into())]);
/// assert_eq!(row.get("host").and_then(|host| host.as_str()), Some("a"));
/// assert_eq!(row.to::<Usage>()?, Usage { time: 5, host: "a".into(), usage: Some(1.0) });
/// # Ok::<(), influx_spool::QueryError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    columns: Arc<[String]>,
    values: Vec<Value>,
}

impl Row {
    /// A row of these values.
    pub fn new<N: Into<String>>(cells: impl IntoIterator<Item = (N, Value)>) -> Self {
        let (columns, values): (Vec<_>, _) =
            cells.into_iter().map(|(name, value)| (name.into(), value)).unzip();
        Self { columns: columns.into(), values }
    }

    /// Rows of one table share the names of its columns.
    pub(super) const fn of(columns: Arc<[String]>, values: Vec<Value>) -> Self {
        Self { columns, values }
    }

    /// The names of the columns.
    #[must_use]
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The values, in the order of the columns.
    #[must_use]
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// The value of a column; `None` if there is no such column.
    #[must_use]
    pub fn get(&self, column: &str) -> Option<&Value> {
        self.iter().find(|(name, _)| *name == column).map(|(_, value)| value)
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.columns.iter().map(String::as_str).zip(&self.values)
    }

    /// The row as a value of a type of your own: a struct whose fields are named as the columns are, a map, or a tuple of
    /// all columns in their order.
    ///
    /// Columns that it does not name are passed over; nothing (null) and a column that is not there are `None` of an
    /// `Option`. A moment is nanoseconds to an integer and RFC 3339 to a text.
    ///
    /// # Errors
    /// A value does not fit ([`QueryError::Unreadable`]).
    pub fn to<T: DeserializeOwned>(&self) -> Result<T, QueryError> {
        self.clone().into_typed()
    }

    /// As [`to`](Self::to), without copying texts.
    ///
    /// # Errors
    /// As for [`to`](Self::to).
    pub fn into_typed<T: DeserializeOwned>(self) -> Result<T, QueryError> {
        T::deserialize(RowDeserializer(self)).map_err(|Misfit(words)| QueryError::Unreadable(words))
    }
}

/// As a map, in the order of the columns.
impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.values.len()))?;
        self.iter().try_for_each(|(name, value)| map.serialize_entry(name, value))?;
        map.end()
    }
}

/// A value that does not fit the type asked for.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Misfit(String);

impl serde::de::Error for Misfit {
    fn custom<T: std::fmt::Display>(words: T) -> Self {
        Self(words.to_string())
    }
}

struct RowDeserializer(Row);

impl<'de> Deserializer<'de> for RowDeserializer {
    type Error = Misfit;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        let names = self.0.columns.iter().map(String::as_str);
        visitor.visit_map(MapDeserializer::new(names.zip(self.0.values)))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        let mut values = SeqDeserializer::new(self.0.values.into_iter());
        let read = visitor.visit_seq(&mut values)?;
        // More columns than the tuple has are a mistake: which of them were meant?
        values.end()?;
        Ok(read)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Misfit> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct map
        struct enum identifier ignored_any
    }
}

impl IntoDeserializer<'_, Misfit> for Value {
    type Deserializer = ValueDeserializer;

    fn into_deserializer(self) -> ValueDeserializer {
        ValueDeserializer(self)
    }
}

struct ValueDeserializer(Value);

impl ValueDeserializer {
    /// Text: a moment has one, too.
    fn visit_text<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.0 {
            Value::Time(time) => visitor.visit_string(rfc3339::format(time)),
            _ => self.deserialize_any(visitor),
        }
    }
}

impl<'de> Deserializer<'de> for ValueDeserializer {
    type Error = Misfit;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Boolean(flag) => visitor.visit_bool(flag),
            Value::Integer(number) | Value::Duration(number) => visitor.visit_i64(number),
            Value::Unsigned(number) => visitor.visit_u64(number),
            Value::Float(number) => visitor.visit_f64(number),
            Value::String(text) => visitor.visit_string(text),
            Value::Time(time) => visitor.visit_i64(time.nanos()),
            Value::Bytes(bytes) => visitor.visit_byte_buf(bytes),
            Value::List(values) => visitor.visit_seq(SeqDeserializer::new(values.into_iter())),
            Value::Map(entries) => visitor.visit_map(MapDeserializer::new(entries.into_iter())),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.visit_text(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.visit_text(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.0 {
            // A `Vec<u8>` asks for a sequence.
            Value::Bytes(bytes) => visitor.visit_seq(SeqDeserializer::new(bytes.into_iter())),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        match self.0 {
            Value::String(text) => {
                let text: StringDeserializer<Misfit> = text.into_deserializer();
                text.deserialize_enum(name, variants, visitor)
            }
            other => {
                Err(Misfit::invalid_type(Unexpected::Other(&other.to_string()), &"the name of a variant"))
            }
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct
        map struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;
    use crate::values::precision::Timestamp;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Everything {
        flag: bool,
        small: i8,
        large: u64,
        float: f64,
        text: String,
        at: Timestamp,
        named: String,
        bytes: Vec<u8>,
        none: Option<i64>,
        missing: Option<String>,
        state: State,
        list: Vec<f64>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum State {
        On,
        Off,
    }

    fn row() -> Row {
        let noon = Value::Time(Timestamp::from_nanos(0));
        Row::new([
            ("flag", true.into()),
            ("small", (-128).into()),
            ("large", Value::Unsigned(u64::MAX)),
            ("float", 3.into()),
            ("text", "a\nb".into()),
            ("at", noon.clone()),
            ("named", noon),
            ("bytes", Value::Bytes(vec![0, 255])),
            ("none", Value::Null),
            ("state", "off".into()),
            ("list", Value::List(vec![1.into(), 0.5.into()])),
            ("not asked for", "x".into()),
        ])
    }

    #[test]
    fn every_type_finds_its_value() {
        let expected = Everything {
            flag: true,
            small: i8::MIN,
            large: u64::MAX,
            float: 3.0,
            text: "a\nb".into(),
            at: Timestamp::from_nanos(0),
            named: "1970-01-01T00:00:00Z".into(),
            bytes: vec![0, 255],
            none: None,
            missing: None,
            state: State::Off,
            list: vec![1.0, 0.5],
        };
        assert_eq!(row().to::<Everything>().unwrap(), expected);
    }

    #[test]
    fn a_map_takes_every_column() {
        let row = Row::new([("a", 1.into()), ("b", 2.into())]);
        let map: BTreeMap<String, i64> = row.to().unwrap();
        assert_eq!(map, BTreeMap::from([("a".into(), 1), ("b".into(), 2)]));
        assert_eq!(serde_json::to_string(&row).unwrap(), r#"{"a":1,"b":2}"#);
    }

    #[test]
    fn a_tuple_takes_the_columns_in_their_order() {
        let row = Row::new([("a", 1.into()), ("b", "x".into())]);
        assert_eq!(row.to::<(i64, String)>().unwrap(), (1, "x".into()));
        assert!(row.to::<(i64,)>().is_err());
    }

    #[test]
    fn what_does_not_fit_is_said() {
        #[derive(Debug, Deserialize)]
        struct Small {
            #[expect(dead_code, reason = "it is never read")]
            n: i8,
        }
        let row = Row::new([("n", 128.into())]);
        let QueryError::Unreadable(words) = row.to::<Small>().unwrap_err() else {
            panic!("it is unreadable")
        };
        assert!(words.contains("128") && words.contains("i8"), "{words}");
    }
}
