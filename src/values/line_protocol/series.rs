//! Series prepared once and pushed with values only: the fast way, and a schema.

use std::marker::PhantomData;

use super::encode::Encode;
use super::encoder::{self, Encoded, Encoder};
use super::plain::{self, PlainLine, WritePlain};
use super::problem::{Place, PointError, Problem};
use super::settings::Settings;
use super::texts::KnownName;
use super::value::{self, Written};
use crate::values::point::{FieldRef, FieldType, PointTime, Text};
use crate::values::precision::Timestamp;

/// A measurement with its tags, to which field names are added to make a [`Series`].
///
/// ```
/// use influx_spool::{Encoder, LineRules, Precision, SeriesBuilder};
///
/// let series = SeriesBuilder::new("cpu")
///     .tag("host", "a")
///     .fields::<(f64, i64, Option<&str>)>(["usage", "cores", "note"]);
///
/// let encoder = Encoder::new(Precision::Seconds, &LineRules::default())?;
/// let series = encoder.prepare(&series)?;
/// let mut lines = Vec::new();
/// series.encode((0.5, 8, None), None, || 1, &mut lines)?;
/// series.encode((0.7, 8, Some("hot")), None, || 2, &mut lines)?;
/// assert_eq!(lines, b"cpu,host=a usage=0.5,cores=8i 1\ncpu,host=a usage=0.7,cores=8i,note=\"hot\" 2\n");
/// # Ok::<(), influx_spool::PointError>(())
/// ```
///
/// A value of another type does not compile:
///
/// ```compile_fail,E0308
/// # use influx_spool::{Encoder, LineRules, Precision, SeriesBuilder};
/// # let encoder = Encoder::new(Precision::Seconds, &LineRules::default()).unwrap();
/// let series = encoder.prepare(&SeriesBuilder::new("cpu").fields::<(f64,)>(["usage"])).unwrap();
/// series.encode((1_i64,), None, || 1, &mut Vec::new());
/// ```
#[derive(Clone, Debug)]
pub struct SeriesBuilder {
    measurement: Text,
    tags: Vec<(Text, Text)>,
}

impl SeriesBuilder {
    /// A series of this measurement, without tags.
    #[must_use]
    pub fn new(measurement: impl Into<Text>) -> Self {
        Self { measurement: measurement.into(), tags: Vec::new() }
    }

    /// Adds a tag, in any order.
    #[must_use]
    pub fn tag(mut self, key: impl Into<Text>, value: impl Into<Text>) -> Self {
        self.tags.push((key.into(), value.into()));
        self
    }

    /// Names the fields, whose types are those of the tuple `V`: one to twelve [`FieldKind`]s.
    #[must_use]
    pub fn fields<V: FieldValues>(self, names: V::Names) -> Series<V> {
        let names = names.into_iter().map(Text::Borrowed).collect();
        Series { builder: self, names, schema: V::SCHEMA, values: PhantomData }
    }

    /// Names the fields and their types at run time. Values are then checked when they are pushed.
    ///
    /// ```
    /// use influx_spool::{Encoder, FieldType, LineRules, Precision, SeriesBuilder};
    /// let fields = [("usage", FieldType::Float), ("cores", FieldType::Integer)];
    /// let encoder = Encoder::new(Precision::Seconds, &LineRules::default())?;
    /// let series = encoder.prepare(&SeriesBuilder::new("cpu").dynamic_fields(fields))?;
    ///
    /// let mut lines = Vec::new();
    /// series.encode(&[0.5.into(), 8.into()], None, || 1, &mut lines)?;
    /// assert_eq!(lines, b"cpu usage=0.5,cores=8i 1\n");
    ///
    /// let error = series.encode(&[0.5.into(), "many".into()], None, || 1, &mut lines).unwrap_err();
    /// assert_eq!(error.to_string(), r#"value of field "cores": is of type string, the series has type integer"#);
    /// # Ok::<(), influx_spool::PointError>(())
    /// ```
    #[must_use]
    pub fn dynamic_fields<N: Into<Text>>(
        self,
        fields: impl IntoIterator<Item = (N, FieldType)>,
    ) -> Series<Dynamic> {
        let (names, types): (Vec<_>, Vec<_>) =
            fields.into_iter().map(|(name, field_type)| (name.into(), field_type)).unzip();
        Series { builder: self, names, schema: Dynamic { types }, values: PhantomData }
    }
}

/// A measurement, its tags, and the names and types of its fields. See [`SeriesBuilder`].
#[derive(Clone, Debug)]
pub struct Series<V: Values> {
    builder: SeriesBuilder,
    names: Vec<Text>,
    schema: V::Schema,
    values: PhantomData<fn(V)>,
}

/// A series checked and encoded once for one database. It is cheap to use and can be shared between threads.
#[derive(Clone, Debug)]
pub struct PreparedSeries<V: Values> {
    settings: Settings,
    /// The measurement and all tags.
    series: Vec<u8>,
    /// The names of the fields, escaped.
    keys: Vec<KnownName>,
    /// The same as they are.
    names: Vec<Text>,
    schema: V::Schema,
    values: PhantomData<fn(V)>,
}

impl Encoder {
    /// Checks and encodes the parts of a series that do not change.
    ///
    /// # Errors
    /// A name or tag cannot be written, or occurs twice; no fields are named.
    pub fn prepare<V: Values>(&self, series: &Series<V>) -> Result<PreparedSeries<V>, PointError> {
        let Series { builder, names, schema, .. } = series;
        let mut written = Vec::new();
        self.write_series(&builder.measurement, &builder.tags, &mut written)?;
        let mut keys = Vec::with_capacity(names.len());
        for name in names {
            let mut key = Vec::new();
            encoder::write_field_key(name, self.settings(), &mut key)?;
            keys.push(KnownName::new(&key[1..key.len() - 1]));
        }
        encoder::check_unique(names)?;
        encoder::check_key_bytes(written.len(), names.iter().map(AsRef::as_ref))?;
        if names.is_empty() {
            return Err(encoder::no_fields());
        }
        Ok(PreparedSeries {
            settings: *self.settings(),
            series: written,
            keys,
            names: names.clone(),
            schema: schema.clone(),
            values: PhantomData,
        })
    }
}

impl<V: Values> PreparedSeries<V> {
    /// Appends one point as a line, ended by a newline. On an error `out` is as before.
    ///
    /// `stamp` is asked for a timestamp, in units of the precision, if none is given.
    ///
    /// # Errors
    /// A float is not finite, an unsigned value or the timestamp cannot be written by the encoder's rules, all fields
    /// are left out; for [`Dynamic`] series also: the number or a type of the values is wrong.
    #[inline]
    pub fn encode(
        &self,
        values: V::Of<'_>,
        timestamp: Option<Timestamp>,
        stamp: impl FnOnce() -> i64,
        out: &mut Vec<u8>,
    ) -> Result<Encoded, PointError> {
        V::check(values, &self.schema).map_err(|mismatch| self.mismatch(mismatch))?;
        let time = || self.time(timestamp, stamp);
        match self.append_plain(&values, time, out) {
            Ok(encoded) => encoded,
            Err(time) => self.append_unplain(&values, time, out),
        }
    }

    /// Appends a point whose values were checked if it is plain; otherwise `time` is given back. On an error `out` is as before.
    #[inline(always)]
    fn append_plain<C: FnOnce() -> Result<(i64, i64), PointError>>(
        &self,
        values: &V::Of<'_>,
        time: C,
        out: &mut Vec<u8>,
    ) -> Result<Result<Encoded, PointError>, C> {
        plain::append(out, ValuesOf { series: self, values }, time)
    }

    /// Appends any point whose values were checked, by a go with more room or else carefully, or says what is wrong with it. On an error
    /// `out` is as before.
    #[cold]
    fn append_unplain(
        &self,
        values: &V::Of<'_>,
        time: impl FnOnce() -> Result<(i64, i64), PointError>,
        out: &mut Vec<u8>,
    ) -> Result<Encoded, PointError> {
        encoder::or_as_before(out, |out| {
            if plain::append_long(out, ValuesOf { series: self, values }).is_none() {
                self.write_carefully(values, out)?;
            }
            Ok(encoder::append_time(time()?, out))
        })
    }

    fn write_carefully(&self, values: &V::Of<'_>, out: &mut Vec<u8>) -> Result<(), PointError> {
        out.extend_from_slice(&self.series);
        let fields_start = out.len();
        V::visit(*values, &mut Careful { series: self, out })?;
        *out.get_mut(fields_start).ok_or_else(encoder::no_fields)? = b' ';
        Ok(())
    }

    #[inline(always)]
    fn time(
        &self,
        timestamp: Option<Timestamp>,
        stamp: impl FnOnce() -> i64,
    ) -> Result<(i64, i64), PointError> {
        self.settings.time(timestamp.map(|at| PointTime::Moment { at }), stamp)
    }

    #[cold]
    fn mismatch(&self, mismatch: Mismatch) -> PointError {
        let place = match mismatch.field {
            Some(at) => Place::field_value(&self.names[at]),
            None => Place::Fields,
        };
        PointError::new(place, mismatch.problem)
    }
}

/// One point of a prepared series. Its values are lent: they would be copied sixteen bytes at a time right after they were written eight at
/// a time, and the processor waits for that.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OfSeries<'s, 'v, V: Values> {
    pub(crate) series: &'s PreparedSeries<V>,
    pub(crate) values: &'s V::Of<'v>,
    pub(crate) timestamp: Option<Timestamp>,
}

impl<V: Values> Encode for OfSeries<'_, '_, V> {
    #[inline(always)]
    fn encode_plain(&self, stamp: &dyn Fn() -> i64, out: &mut Vec<u8>) -> Option<Encoded> {
        let Self { series, values, timestamp } = *self;
        V::check(*values, &series.schema).ok()?;
        series.append_plain(values, || series.time(timestamp, stamp), out).ok()?.ok()
    }

    #[inline(always)]
    fn encode_unplain(&self, stamp: &dyn Fn() -> i64, out: &mut Vec<u8>) -> Result<Encoded, PointError> {
        let Self { series, values, timestamp } = *self;
        V::check(*values, &series.schema).map_err(|mismatch| series.mismatch(mismatch))?;
        series.append_unplain(values, || series.time(timestamp, stamp), out)
    }
}

/// Takes the values of a point one by one, each with the place of its field.
#[doc(hidden)]
pub trait FieldSink {
    type Refusal;

    fn value(&mut self, at: usize, value: FieldRef<'_>) -> Result<(), Self::Refusal>;
}

/// All of a point but its time.
struct ValuesOf<'s, 'v, V: Values> {
    series: &'s PreparedSeries<V>,
    values: &'s V::Of<'v>,
}

impl<V: Values> Clone for ValuesOf<'_, '_, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V: Values> Copy for ValuesOf<'_, '_, V> {}

impl<V: Values> WritePlain for ValuesOf<'_, '_, V> {
    #[inline(always)]
    fn write<const ROOM: usize, const MENDS: bool>(
        self,
        line: &mut PlainLine<'_, ROOM, MENDS>,
    ) -> Option<()> {
        line.known(&self.series.series)?;
        let mut plain = Plain { series: self.series, line, separator: b' ' };
        V::visit(*self.values, &mut plain).ok()?;
        (plain.separator == b',').then_some(())
    }
}

struct Plain<'a, 'o, V: Values, const ROOM: usize, const MENDS: bool> {
    series: &'a PreparedSeries<V>,
    line: &'a mut PlainLine<'o, ROOM, MENDS>,
    separator: u8,
}

impl<V: Values, const ROOM: usize, const MENDS: bool> FieldSink for Plain<'_, '_, V, ROOM, MENDS> {
    type Refusal = ();

    #[inline(always)]
    fn value(&mut self, at: usize, value: FieldRef<'_>) -> Result<(), ()> {
        if PlainLine::<ROOM, MENDS>::is_for_fewer(at + 1) {
            return Err(());
        }
        let separator = std::mem::replace(&mut self.separator, b',');
        let Self { series, line, .. } = self;
        line.field(separator, &series.keys[at], value, &series.settings).ok_or(())
    }
}

struct Careful<'a, V: Values> {
    series: &'a PreparedSeries<V>,
    out: &'a mut Vec<u8>,
}

impl<V: Values> FieldSink for Careful<'_, V> {
    type Refusal = PointError;

    fn value(&mut self, at: usize, value: FieldRef<'_>) -> Result<(), PointError> {
        let start = self.out.len();
        self.out.push(b',');
        self.out.extend_from_slice(self.series.keys[at].as_bytes());
        self.out.push(b'=');
        match value::write(value, &self.series.settings, self.out) {
            Ok(Written::Yes) => Ok(()),
            Ok(Written::LeftOut) => {
                self.out.truncate(start);
                Ok(())
            }
            Err(problem) => Err(PointError::new(Place::field_value(&self.series.names[at]), problem)),
        }
    }
}

/// The values of one point of a series: a tuple of [`FieldKind`]s, or [`Dynamic`]. Sealed.
pub trait Values: sealed::Sealed {
    /// What is known of the types apart from the type itself.
    #[doc(hidden)]
    type Schema: Clone + std::fmt::Debug;

    /// What is given to push one point.
    type Of<'v>: Copy;

    /// Whether the values are as many, and of the types, as the series has fields.
    #[doc(hidden)]
    fn check(values: Self::Of<'_>, schema: &Self::Schema) -> Result<(), Mismatch>;

    /// Hands over each value that is not left out, until one is refused.
    #[doc(hidden)]
    fn visit<S: FieldSink>(values: Self::Of<'_>, sink: &mut S) -> Result<(), S::Refusal>;
}

/// Values that a series does not have.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Mismatch {
    /// Which field's value; none if it is their number.
    field: Option<usize>,
    problem: Problem,
}

/// A tuple of one to twelve [`FieldKind`]s. Sealed.
pub trait FieldValues: Values<Schema = ()> {
    /// An array of as many names.
    type Names: IntoIterator<Item = &'static str>;

    #[doc(hidden)]
    const SCHEMA: ();
}

/// A type of field: `f64`, `i64`, `u64`, `bool`, `&str`, or an `Option` of these, whose `None` is left out. Sealed.
pub trait FieldKind: sealed::Sealed {
    /// What is given: the type itself, except that a `&str` may live as short as the call.
    type Of<'v>: Copy;

    /// The value, unless it is left out.
    #[doc(hidden)]
    fn field<'v>(value: Self::Of<'v>) -> Option<FieldRef<'v>>;
}

/// Values whose number and types are checked when they are pushed. See [`SeriesBuilder::dynamic_fields`].
#[derive(Clone, Debug)]
pub struct Dynamic {
    types: Vec<FieldType>,
}

impl Values for Dynamic {
    type Schema = Self;
    type Of<'v> = &'v [FieldRef<'v>];

    #[inline]
    fn check(values: Self::Of<'_>, schema: &Self::Schema) -> Result<(), Mismatch> {
        let (expected, found) = (schema.types.len(), values.len());
        if expected != found {
            return Err(Mismatch { field: None, problem: Problem::WrongCount { expected, found } });
        }
        let wrong =
            values.iter().zip(&schema.types).position(|(value, expected)| value.field_type() != *expected);
        let Some(at) = wrong else { return Ok(()) };
        let (expected, found) = (schema.types[at], values[at].field_type());
        Err(Mismatch { field: Some(at), problem: Problem::WrongType { expected, found } })
    }

    #[inline]
    fn visit<S: FieldSink>(values: Self::Of<'_>, sink: &mut S) -> Result<(), S::Refusal> {
        values.iter().enumerate().try_for_each(|(at, value)| sink.value(at, *value))
    }
}

macro_rules! field_kinds {
    ($($type:ty => $variant:ident;)+) => {$(
        impl FieldKind for $type {
            type Of<'v> = $type;

            #[inline(always)]
            fn field<'v>(value: Self::Of<'v>) -> Option<FieldRef<'v>> {
                Some(FieldRef::$variant(value))
            }
        }
        impl sealed::Sealed for $type {}
    )+};
}

field_kinds! {
    f64 => Float;
    i64 => Integer;
    u64 => Unsigned;
    bool => Boolean;
}

impl FieldKind for &str {
    type Of<'v> = &'v str;

    #[inline(always)]
    fn field<'v>(value: Self::Of<'v>) -> Option<FieldRef<'v>> {
        Some(FieldRef::String(value))
    }
}

impl<K: FieldKind> FieldKind for Option<K> {
    type Of<'v> = Option<K::Of<'v>>;

    #[inline(always)]
    fn field<'v>(value: Self::Of<'v>) -> Option<FieldRef<'v>> {
        value.and_then(K::field)
    }
}

macro_rules! field_values {
    ($($count:literal: $($kind:ident $at:tt),+;)+) => {$(
        impl<$($kind: FieldKind),+> Values for ($($kind,)+) {
            type Schema = ();
            type Of<'v> = ($($kind::Of<'v>,)+);

            #[inline(always)]
            fn check(_: Self::Of<'_>, (): &()) -> Result<(), Mismatch> {
                Ok(())
            }

            #[inline(always)]
            fn visit<Sink: FieldSink>(values: Self::Of<'_>, sink: &mut Sink) -> Result<(), Sink::Refusal> {
                $(if let Some(value) = $kind::field(values.$at) {
                    sink.value($at, value)?;
                })+
                Ok(())
            }
        }
        impl<$($kind: FieldKind),+> FieldValues for ($($kind,)+) {
            type Names = [&'static str; $count];
            const SCHEMA: () = ();
        }
        impl<$($kind: FieldKind),+> sealed::Sealed for ($($kind,)+) {}
    )+};
}

field_values! {
    1: A 0;
    2: A 0, B 1;
    3: A 0, B 1, C 2;
    4: A 0, B 1, C 2, D 3;
    5: A 0, B 1, C 2, D 3, E 4;
    6: A 0, B 1, C 2, D 3, E 4, F 5;
    7: A 0, B 1, C 2, D 3, E 4, F 5, G 6;
    8: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7;
    9: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8;
    10: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9;
    11: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10;
    12: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for &str {}
    impl Sealed for super::Dynamic {}
    impl<K: Sealed> Sealed for Option<K> {}
}
