//! From points to lines.

use super::keyed::{Field, Keyed, Tag};
use super::keys;
use super::line::Lines;
use super::name::{self, Slot};
use super::plain::{self, PlainLine, WritePlain};
use super::problem::{Place, PointError, Problem};
use super::rules::{LineRules, Portability, Unwritable};
use super::settings::Settings;
use super::value::{self, Written};
use crate::values::point::{FieldRef, Point, PointRef, PointTime};
use crate::values::precision::Precision;

/// 1.x and 2.x refuse more for the escaped measurement and tags, one field key, and what they put between the two.
pub(crate) const KEY_BYTES_MAX: usize = 65_535;

/// What 1.x and 2.x put between the series and a field's key: `#!~#`.
pub(crate) const KEY_SEPARATOR_BYTES: usize = 4;

/// What is wrong with series and field keys that are longer.
pub(crate) const KEY_TOO_LONG: Problem = Problem::TooLong { bytes_max: KEY_BYTES_MAX - KEY_SEPARATOR_BYTES };

/// Writes points as line protocol, by one database's precision and rules, and checks lines that others wrote.
///
/// A running database has one of these; alone it is of use for files, tests, and other ways of sending.
///
/// ```
/// use influx_spool::{Encoder, LineRules, Point, Precision};
/// let encoder = Encoder::new(Precision::Seconds, &LineRules::default())?;
/// let mut lines = Vec::new();
/// let encoded = encoder.encode(&Point::new("cpu").tag("host", "a b").field("usage", 0.5), || 5, &mut lines)?;
/// assert_eq!(lines, b"cpu,host=a\\ b usage=0.5 5\n");
/// assert_eq!(encoded.timestamp_nanos, 5_000_000_000);
/// # Ok::<(), influx_spool::PointError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Encoder {
    settings: Settings,
    default_tags: Vec<DefaultTag>,
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Encoded {
    /// The line's timestamp, in nanoseconds since 1970 whatever the precision.
    pub timestamp_nanos: i64,
}

/// A default tag, and its escaped form `,key=value`.
#[derive(Clone, Debug)]
pub(crate) struct DefaultTag {
    pub(crate) key: String,
    pub(crate) escaped: Vec<u8>,
}

impl DefaultTag {
    /// The escaped key.
    pub(crate) fn escaped_key(&self) -> &[u8] {
        // Escaping adds bytes only before characters, so the key's own end is found from the form `,key=`.
        let key = name::escaped_len(self.key.as_bytes());
        &self.escaped[1..=key]
    }
}

impl Encoder {
    /// An encoder for a database with this precision and these rules.
    ///
    /// # Errors
    /// A default tag cannot be written.
    pub fn new(precision: Precision, rules: &LineRules) -> Result<Self, PointError> {
        let settings = Settings::new(precision, rules);
        let mut default_tags = Vec::with_capacity(rules.default_tags.len());
        for (key, value) in &rules.default_tags {
            let mut escaped = Vec::new();
            write_tag(key, value, &settings, &mut escaped)?;
            if !escaped.is_empty() {
                default_tags.push(DefaultTag { key: key.clone(), escaped });
            }
        }
        Ok(Self { settings, default_tags })
    }

    /// Appends the point as one line, ended by a newline. On an error `out` is as before.
    ///
    /// `stamp` is asked for a timestamp, in units of the precision, if the point has none.
    ///
    /// # Errors
    /// The point cannot be written so that every server keeps it; the error names the place and the reason.
    #[inline]
    pub fn encode(
        &self,
        point: &Point,
        stamp: impl FnOnce() -> i64,
        out: &mut Vec<u8>,
    ) -> Result<Encoded, PointError> {
        self.append(&point.measurement, &point.tags, &point.fields, point.timestamp, stamp, out)
    }

    /// As [`encode`](Self::encode), for a point that is not built.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    #[inline]
    pub fn encode_ref(
        &self,
        point: &PointRef<'_>,
        stamp: impl FnOnce() -> i64,
        out: &mut Vec<u8>,
    ) -> Result<Encoded, PointError> {
        let time = point.timestamp.map(|at| PointTime::Moment { at });
        self.append(point.measurement, point.tags, point.fields, time, stamp, out)
    }

    /// Splits a text into its points and checks each: an item is a line that every server takes, or what is wrong
    /// with it. Comments and blank lines are passed over.
    ///
    /// Splitting heeds quotes: a string may hold newlines. CRLF ends a line as LF does.
    #[must_use]
    pub fn lines<'a>(&'a self, text: &'a [u8]) -> Lines<'a> {
        Lines::new(self, text)
    }

    /// The precision that timestamps are written in.
    #[must_use]
    pub const fn precision(&self) -> Precision {
        self.settings.precision
    }

    pub(crate) const fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn default_tags(&self) -> &[DefaultTag] {
        &self.default_tags
    }

    fn append<T: Tag, F: Field>(
        &self,
        measurement: &str,
        tags: &[T],
        fields: &[F],
        time: Option<PointTime>,
        stamp: impl FnOnce() -> i64,
        out: &mut Vec<u8>,
    ) -> Result<Encoded, PointError> {
        let time = || self.settings.time(time, stamp);
        match self.append_plain(measurement, tags, fields, time, out) {
            Ok(encoded) => encoded,
            Err(time) => self.append_unplain(measurement, tags, fields, time, out),
        }
    }

    /// Appends a point if it is plain; otherwise `time` is given back. On an error `out` is as before.
    #[inline(always)]
    pub(super) fn append_plain<T: Tag, F: Field, C: FnOnce() -> Result<(i64, i64), PointError>>(
        &self,
        measurement: &str,
        tags: &[T],
        fields: &[F],
        time: C,
        out: &mut Vec<u8>,
    ) -> Result<Result<Encoded, PointError>, C> {
        plain::append(out, Parts { encoder: self, measurement, tags, fields }, time)
    }

    /// Appends any point, by a go with more room or else carefully, or says what is wrong with it. On an error `out` is as before.
    #[cold]
    pub(super) fn append_unplain<T: Tag, F: Field>(
        &self,
        measurement: &str,
        tags: &[T],
        fields: &[F],
        time: impl FnOnce() -> Result<(i64, i64), PointError>,
        out: &mut Vec<u8>,
    ) -> Result<Encoded, PointError> {
        or_as_before(out, |out| {
            if plain::append_long(out, Parts { encoder: self, measurement, tags, fields }).is_none() {
                self.write_carefully(measurement, tags, fields, out)?;
            }
            Ok(append_time(time()?, out))
        })
    }

    /// Appends any point carefully, as others are compared with.
    #[cfg(test)]
    pub(super) fn append_carefully<T: Tag, F: Field>(
        &self,
        measurement: &str,
        tags: &[T],
        fields: &[F],
        time: impl FnOnce() -> Result<(i64, i64), PointError>,
        out: &mut Vec<u8>,
    ) -> Result<Encoded, PointError> {
        or_as_before(out, |out| {
            self.write_carefully(measurement, tags, fields, out)?;
            Ok(append_time(time()?, out))
        })
    }

    fn write_carefully<T: Tag, F: Field>(
        &self,
        measurement: &str,
        tags: &[T],
        fields: &[F],
        out: &mut Vec<u8>,
    ) -> Result<(), PointError> {
        let start = out.len();
        self.write_series(measurement, tags, out)?;
        let series_bytes = out.len() - start;
        self.write_fields(fields, out)?;
        if out.len() - start > KEY_BYTES_MAX - KEY_SEPARATOR_BYTES {
            check_key_bytes(series_bytes, fields.iter().map(Keyed::key))?;
        }
        Ok(())
    }

    pub(crate) fn write_series<T: Tag>(
        &self,
        measurement: &str,
        tags: &[T],
        out: &mut Vec<u8>,
    ) -> Result<(), PointError> {
        write_measurement(measurement, self.settings.portability, out)?;
        if tags.is_sorted_by(|a, b| a.key() < b.key()) {
            return self.write_tags(tags.iter(), out);
        }
        let mut sorted: Vec<&T> = tags.iter().collect();
        sorted.sort_unstable_by_key(|tag| tag.key());
        if let Some(pair) = sorted.windows(2).find(|pair| pair[0].key() == pair[1].key()) {
            return Err(PointError::new(Place::tag_key(pair[0].key()), Problem::Duplicate));
        }
        self.write_tags(sorted.into_iter(), out)
    }

    /// Writes tags that come sorted and without duplicates, and the default tags among them. A point's own tag wins.
    #[inline]
    fn write_tags<'t, T: Tag + 't>(
        &self,
        tags: impl Iterator<Item = &'t T>,
        out: &mut Vec<u8>,
    ) -> Result<(), PointError> {
        let mut defaults = self.default_tags.as_slice();
        for tag in tags {
            while let Some((default, rest)) = defaults.split_first()
                && default.key.as_str() <= tag.key()
            {
                if default.key != tag.key() {
                    out.extend_from_slice(&default.escaped);
                }
                defaults = rest;
            }
            write_tag(tag.key(), tag.value(), &self.settings, out)?;
        }
        for default in defaults {
            out.extend_from_slice(&default.escaped);
        }
        Ok(())
    }

    fn write_fields<F: Field>(&self, fields: &[F], out: &mut Vec<u8>) -> Result<(), PointError> {
        let start = out.len();
        for field in fields {
            write_field(field.key(), field.value(), &self.settings, out)?;
        }
        // Each field began with a comma; the first one's is the space between series and fields.
        *out.get_mut(start).ok_or_else(no_fields)? = b' ';
        check_unique(fields)
    }
}

/// All of a point but its time.
#[derive(Debug)]
struct Parts<'a, T, F> {
    encoder: &'a Encoder,
    measurement: &'a str,
    tags: &'a [T],
    fields: &'a [F],
}

impl<T, F> Clone for Parts<'_, T, F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, F> Copy for Parts<'_, T, F> {}

impl<T: Tag, F: Field> WritePlain for Parts<'_, T, F> {
    #[inline(always)]
    fn write<const ROOM: usize, const MENDS: bool>(
        self,
        line: &mut PlainLine<'_, ROOM, MENDS>,
    ) -> Option<()> {
        let Self { encoder, measurement, tags, fields } = self;
        line.point(measurement, tags, &encoder.default_tags, fields, &encoder.settings)
    }
}

/// What `append` appends; on an error nothing.
pub(super) fn or_as_before<T, E>(
    out: &mut Vec<u8>,
    append: impl FnOnce(&mut Vec<u8>) -> Result<T, E>,
) -> Result<T, E> {
    let start = out.len();
    let result = append(out);
    if result.is_err() {
        out.truncate(start);
    }
    result
}

/// Appends a space, a time in units, and the newline.
pub(super) fn append_time((units, timestamp_nanos): (i64, i64), out: &mut Vec<u8>) -> Encoded {
    out.push(b' ');
    out.extend_from_slice(itoa::Buffer::new().format(units).as_bytes());
    out.push(b'\n');
    Encoded { timestamp_nanos }
}

fn write_measurement(name: &str, portability: Portability, out: &mut Vec<u8>) -> Result<(), PointError> {
    let result = match name.as_bytes().first() {
        Some(b'#') => Err(Problem::LooksLikeComment),
        _ => name::write(Slot::Measurement, name, portability, out),
    };
    result.map_err(|problem| PointError::new(Place::Measurement, problem))
}

/// Appends `,key=value`.
#[inline]
fn write_tag(key: &str, value: &str, settings: &Settings, out: &mut Vec<u8>) -> Result<(), PointError> {
    if settings.blank_tags == Unwritable::Skip && (key.is_empty() || value.is_empty()) {
        return Ok(());
    }
    out.push(b',');
    name::check_reserved(Slot::TagKey, key.as_bytes())
        .and_then(|()| name::write(Slot::TagKey, key, settings.portability, out))
        .map_err(|problem| PointError::new(Place::tag_key(key), problem))?;
    out.push(b'=');
    name::write(Slot::TagValue, value, settings.portability, out)
        .map_err(|problem| PointError::new(Place::tag_value(key), problem))
}

/// Appends `,key=value`, or nothing if the field is left out.
#[inline]
fn write_field(
    key: &str,
    value: FieldRef<'_>,
    settings: &Settings,
    out: &mut Vec<u8>,
) -> Result<(), PointError> {
    if settings.blank_fields == Unwritable::Skip && key.is_empty() {
        return Ok(());
    }
    let start = out.len();
    write_field_key(key, settings, out)?;
    match value::write(value, settings, out) {
        Ok(Written::Yes) => Ok(()),
        Ok(Written::LeftOut) => {
            out.truncate(start);
            Ok(())
        }
        Err(problem) => Err(PointError::new(Place::field_value(key), problem)),
    }
}

/// Appends `,key=`.
#[inline]
pub(crate) fn write_field_key(key: &str, settings: &Settings, out: &mut Vec<u8>) -> Result<(), PointError> {
    out.push(b',');
    name::check_reserved(Slot::FieldKey, key.as_bytes())
        .and_then(|()| name::write(Slot::FieldKey, key, settings.portability, out))
        .map_err(|problem| PointError::new(Place::field_key(key), problem))?;
    out.push(b'=');
    Ok(())
}

/// Refuses fields with one name.
#[inline]
pub(crate) fn check_unique<K: Keyed>(fields: &[K]) -> Result<(), PointError> {
    match keys::duplicate(fields.len(), |at| fields[at].key()) {
        None => Ok(()),
        Some(key) => Err(PointError::new(Place::field_key(key), Problem::Duplicate)),
    }
}

/// Refuses a series and field key that together are longer than 1.x and 2.x take.
pub(crate) fn check_key_bytes<'k>(
    series_bytes: usize,
    field_keys: impl Iterator<Item = &'k str>,
) -> Result<(), PointError> {
    let longest = field_keys.map(|key| name::escaped_len(key.as_bytes())).max().unwrap_or(0);
    if series_bytes + KEY_SEPARATOR_BYTES + longest > KEY_BYTES_MAX {
        return Err(PointError::new(Place::Series, KEY_TOO_LONG));
    }
    Ok(())
}

pub(crate) fn no_fields() -> PointError {
    PointError::new(Place::Fields, Problem::NoFields)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::rules::{SubPrecision, Unsigned};
    use super::*;
    use crate::values::precision::Timestamp;

    fn encoder(change: impl FnOnce(&mut LineRules)) -> Encoder {
        let mut rules = LineRules::default();
        change(&mut rules);
        Encoder::new(Precision::Milliseconds, &rules).unwrap()
    }

    #[track_caller]
    fn check_written(encoder: &Encoder, point: &Point, expected: &str) {
        let mut out = Vec::new();
        encoder.encode(point, || 5, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[track_caller]
    fn check_refused(encoder: &Encoder, point: &Point, expected: &str) {
        let mut out = b"kept".to_vec();
        assert_eq!(encoder.encode(point, || 5, &mut out).unwrap_err().to_string(), expected);
        assert_eq!(out, b"kept");
    }

    fn point() -> Point {
        Point::new("m").tag("a", "1").field("f", 1)
    }

    #[test]
    fn tags_are_written_sorted() {
        check_written(&encoder(|_| ()), &point().tag("c", "3").tag("b", "2"), "m,a=1,b=2,c=3 f=1i 5\n");
    }

    #[test]
    fn default_tags_are_added_and_a_points_own_win() {
        let encoder = encoder(|rules| {
            rules.default_tags =
                [("a", "x"), ("b", "y z"), ("c", "")].map(|(k, v)| (k.into(), v.into())).into();
        });
        check_written(&encoder, &point(), "m,a=1,b=y\\ z f=1i 5\n");
        check_written(&encoder, &Point::new("m").field("f", 1), "m,a=x,b=y\\ z f=1i 5\n");
        check_written(&encoder, &point().tag("d", "\"").tag("b", ","), "m,a=1,b=\\,,d=\" f=1i 5\n");
    }

    #[test]
    fn minus_zero_and_extreme_floats_keep_their_bits() {
        let point = Point::new("m").field("a", -0.0).field("b", 5e-324).field("c", f64::MAX);
        check_written(&encoder(|_| ()), &point, "m a=-0.0,b=5e-324,c=1.7976931348623157e+308 5\n");
    }

    #[test]
    fn what_cannot_be_written_is_refused_with_its_place() {
        let plain = encoder(|_| ());
        let check = |point: Point, expected: &str| check_refused(&plain, &point, expected);
        check(Point::new(""), "measurement: is empty");
        check(Point::new("#m").field("f", 1), "measurement: begins with '#', which makes the line a comment");
        check(Point::new("m"), "fields: there are none");
        check(point().tag("a", "2"), r#"tag "a": occurs twice"#);
        check(point().tag("time", "2"), r#"tag "time": has a reserved name"#);
        check(point().tag("x", "a\nb"), r#"value of tag "x": holds a control character"#);
        check(point().tag("x\n", "b"), r#"tag "x\n": holds a control character"#);
        check(point().field("f", 1), r#"field "f": occurs twice"#);
        check(point().field("time", 1), r#"field "time": has a reserved name"#);
        check(point().field("", 1), r#"field "": is empty"#);
        check(point().field("x", f64::NAN), r#"value of field "x": is NaN or infinite"#);
        check(
            point().tag("x", "y".repeat(65_600)),
            "series with its longest field key: is longer than 65531 bytes",
        );
        check(point().field("x", "y".repeat(65_537)), r#"value of field "x": is longer than 65536 bytes"#);
        check(point().timestamp_units(i64::MAX), "timestamp: is out of range");
    }

    #[test]
    fn the_rules_widen_what_is_written() {
        let unsigned = encoder(|rules| rules.unsigned = Unsigned::Write);
        check_written(&unsigned, &point().field("u", u64::MAX), "m,a=1 f=1i,u=18446744073709551615u 5\n");
        let skip = encoder(|rules| rules.non_finite = Unwritable::Skip);
        check_written(&skip, &point().field("x", f64::INFINITY), "m,a=1 f=1i 5\n");
        check_refused(&skip, &Point::new("m").field("x", f64::NAN), "fields: there are none");
        let skip = encoder(|rules| rules.blank_fields = Unwritable::Skip);
        check_written(&skip, &point().field("", 1), "m,a=1 f=1i 5\n");
        let refuse = encoder(|rules| rules.blank_tags = Unwritable::Refuse);
        check_written(&encoder(|_| ()), &point().tag("x", ""), "m,a=1 f=1i 5\n");
        check_refused(&refuse, &point().tag("x", ""), r#"value of tag "x": is empty"#);
        let old = encoder(|rules| rules.portability = Portability::V1AndV2);
        check_written(&old, &point().tag("x", r"\\server\share"), "m,a=1,x=\\\\server\\share f=1i 5\n");
    }

    #[test]
    fn a_timestamp_below_the_precision_is_refused_or_rounded_down() {
        let at = |nanos| point().timestamp(Timestamp::from_nanos(nanos));
        let refuse = encoder(|_| ());
        let truncate = encoder(|rules| rules.sub_precision = SubPrecision::Truncate);
        check_written(&refuse, &at(-2_000_000), "m,a=1 f=1i -2\n");
        let message = "timestamp: is finer than the database's precision (see the rule `sub_precision`)";
        check_refused(&refuse, &at(1), message);
        check_written(&truncate, &at(-1_999_999), "m,a=1 f=1i -2\n");
        check_written(&truncate, &at(1_999_999), "m,a=1 f=1i 1\n");
    }

    #[test]
    fn the_longest_series_is_65535_bytes_with_field_key_and_separator() {
        let tag_of = |length: usize| Point::new("m").tag("t", "x".repeat(length)).field("f ", 1);
        // m,t= are four bytes, "f\ " three.
        let longest = KEY_BYTES_MAX - KEY_SEPARATOR_BYTES - 7;
        assert!(encoder(|_| ()).encode(&tag_of(longest), || 5, &mut Vec::new()).is_ok());
        check_refused(
            &encoder(|_| ()),
            &tag_of(longest + 1),
            "series with its longest field key: is longer than 65531 bytes",
        );
    }

    proptest! {
        /// Every byte of a name is drawn from what the two ways must treat alike or leave to the careful one.
        #[test]
        fn the_plain_way_writes_what_the_careful_way_writes(
            names in proptest::collection::vec("[a-zü_]{1,30}|[ab,= \\\\\"#\n]{0,3}|[a-kü]{1,10}([,= \"\\\\]{1,2}[a-k]{1,8}){1,4}", 7),
            float in prop_oneof![any::<f64>(), (any::<i32>(), 0..10).prop_map(|(n, places)| f64::from(n) / 10_f64.powi(places))],
            integer in any::<i64>(), has_defaults in any::<bool>(), units in any::<i64>(),
        ) {
            let encoder = encoder(|rules| {
                if has_defaults {
                    rules.default_tags = [("b".into(), "x".into()), ("kk".into(), "y".into())].into();
                }
            });
            let [measurement, key, value, other, field, text, last]: [String; 7] = names.try_into().unwrap();
            let tags = [(key.as_str(), value.as_str()), (other.as_str(), "v")];
            let fields = [
                (field.as_str(), FieldRef::Float(float)),
                ("n", FieldRef::Integer(integer)),
                (last.as_str(), FieldRef::String(&text)),
            ];
            let (mut plain, mut careful) = (Vec::new(), Vec::new());
            let time = || Ok((units, 7));
            let was_plain = encoder.append_plain(&measurement, &tags, &fields, time, &mut plain);
            let result = encoder.append_carefully(&measurement, &tags, &fields, time, &mut careful);
            if let Ok(encoded) = was_plain {
                prop_assert_eq!(encoded, result);
                prop_assert_eq!(plain, careful);
            } else {
                prop_assert!(plain.is_empty());
            }
        }

        /// Of any number of tags and fields, and strings that are longer than any room.
        #[test]
        fn what_is_not_plain_is_written_as_the_careful_way_writes_it(
            tags in proptest::collection::vec(("[a-z]{1,12}|[a-f ]{1,3}", "[a-z]{0,20}|[a-f, ]{1,9}"), 0..40),
            fields in proptest::collection::vec(("[a-z]{2,16}|[a-z ]{3,9}", 0..5), 0..100),
            text in "[a-z\"]{0,40}|[a-z]{300,700}|[a-z\\\\]{1900,2200}",
            number in any::<i32>(), has_defaults in any::<bool>(), skips in any::<bool>(),
        ) {
            let encoder = encoder(|rules| {
                if has_defaults {
                    rules.default_tags = [("b".into(), "x".into()), ("kk".into(), "y".into())].into();
                }
                if skips {
                    rules.blank_tags = Unwritable::Skip;
                }
            });
            let tags: Vec<_> = tags.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            let value = |kind| match kind {
                0 => FieldRef::Float(f64::from(number) / 1_000.0),
                1 => FieldRef::Integer(number.into()),
                2 => FieldRef::Boolean(true),
                3 => FieldRef::String("short"),
                _ => FieldRef::String(&text),
            };
            let fields: Vec<_> = fields.iter().map(|(key, kind)| (key.as_str(), value(*kind))).collect();
            let (mut unplain, mut careful) = (b"7".to_vec(), b"7".to_vec());
            let time = || Ok((5, 7));
            let result = encoder.append_unplain("m", &tags, &fields, time, &mut unplain);
            prop_assert_eq!(result, encoder.append_carefully("m", &tags, &fields, time, &mut careful));
            prop_assert_eq!(unplain, careful);
        }
    }
}
