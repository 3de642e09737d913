//! What is wrong with a point or a line, and where.

use std::fmt;
use std::ops::Range;

use crate::values::point::FieldType;

/// Why a point cannot be written.
///
/// ```
/// use influx_spool::{Encoder, LineRules, Place, Point, Precision, Problem};
/// let encoder = Encoder::new(Precision::Nanoseconds, &LineRules::default())?;
/// let point = Point::new("cpu").tag("path", "C:\\").field("usage", 0.5);
/// let error = encoder.encode(&point, || 0, &mut Vec::new()).unwrap_err();
/// assert_eq!((error.place(), error.problem()), (&Place::TagValue("path".into()), Problem::TrailingBackslash));
/// assert_eq!(error.to_string(), r#"value of tag "path": ends with a backslash, which cannot be written"#);
/// # Ok::<(), influx_spool::PointError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct PointError {
    place: Place,
    problem: Problem,
}

impl PointError {
    pub(crate) const fn new(place: Place, problem: Problem) -> Self {
        Self { place, problem }
    }

    /// Which part of the point is meant.
    #[must_use]
    pub const fn place(&self) -> &Place {
        &self.place
    }

    /// What is wrong with it.
    #[must_use]
    pub const fn problem(&self) -> Problem {
        self.problem
    }
}

/// A part of a point. Keys longer than 64 bytes are cut.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Place {
    /// The measurement's name.
    Measurement,
    /// A tag's key: this one.
    TagKey(Box<str>),
    /// The value of the tag with this key.
    TagValue(Box<str>),
    /// All tags, and the measurement, together with the longest field key.
    Series,
    /// A field's key: this one.
    FieldKey(Box<str>),
    /// The value of the field with this key.
    FieldValue(Box<str>),
    /// All fields together.
    Fields,
    /// The timestamp.
    Timestamp,
}

/// How much of a key an error repeats: enough to find it, bounded since it goes to logs.
const KEY_SHOWN_BYTES: usize = 64;

impl Place {
    pub(crate) fn tag_key(key: &str) -> Self {
        Self::TagKey(shown(key))
    }

    pub(crate) fn tag_value(key: &str) -> Self {
        Self::TagValue(shown(key))
    }

    pub(crate) fn field_key(key: &str) -> Self {
        Self::FieldKey(shown(key))
    }

    pub(crate) fn field_value(key: &str) -> Self {
        Self::FieldValue(shown(key))
    }
}

fn shown(key: &str) -> Box<str> {
    key[..key.floor_char_boundary(KEY_SHOWN_BYTES)].into()
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Keys are quoted by `Debug`, which also keeps control characters out of logs.
        match self {
            Self::Measurement => f.write_str("measurement"),
            Self::TagKey(key) => write!(f, "tag {key:?}"),
            Self::TagValue(key) => write!(f, "value of tag {key:?}"),
            Self::Series => f.write_str("series with its longest field key"),
            Self::FieldKey(key) => write!(f, "field {key:?}"),
            Self::FieldValue(key) => write!(f, "value of field {key:?}"),
            Self::Fields => f.write_str("fields"),
            Self::Timestamp => f.write_str("timestamp"),
        }
    }
}

/// What is wrong with a part of a point or with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// A name or tag value is empty.
    #[error("is empty")]
    Empty,
    /// A name or tag value holds a newline or another control character.
    #[error("holds a control character")]
    ControlCharacter,
    /// A name or tag value ends with a backslash.
    #[error("ends with a backslash, which cannot be written")]
    TrailingBackslash,
    /// A backslash stands before a character that it would escape.
    #[error("has a backslash before a comma, space, equals sign or quote, which servers read differently")]
    AmbiguousBackslash,
    /// Two backslashes stand in a row, of which InfluxDB 3.x keeps one.
    #[error("has two backslashes in a row, which InfluxDB 3.x alters")]
    DoubleBackslash,
    /// The measurement begins with `#`: its lines would be comments.
    #[error("begins with '#', which makes the line a comment")]
    LooksLikeComment,
    /// The name is one that servers keep for themselves: `time`, `_measurement`, `_field`.
    #[error("has a reserved name")]
    ReservedName,
    /// The key occurs twice.
    #[error("occurs twice")]
    Duplicate,
    /// The point has no fields, or none is left.
    #[error("there are none")]
    NoFields,
    /// The float is NaN or infinite.
    #[error("is NaN or infinite")]
    NotFinite,
    /// The number has more digits than its type can hold.
    #[error("is out of range")]
    OutOfRange,
    /// InfluxDB 1.x has no unsigned integers.
    #[error("is an unsigned integer, which InfluxDB 1.x refuses (see the rule `unsigned`)")]
    Unsigned,
    /// The text is longer than servers take.
    #[error("is longer than {bytes_max} bytes")]
    TooLong {
        /// As many they take.
        bytes_max: usize,
    },
    /// The timestamp is finer than the database's precision.
    #[error("is finer than the database's precision (see the rule `sub_precision`)")]
    SubPrecision,
    /// The value is not of the type that the series was prepared with.
    #[error("is of type {found}, the series has type {expected}")]
    WrongType {
        /// The type the series was prepared with.
        expected: FieldType,
        /// The type of the value.
        found: FieldType,
    },
    /// There are more or fewer values than the series has fields.
    #[error("there are {found} values, the series has {expected} fields")]
    WrongCount {
        /// How many fields the series was prepared with.
        expected: usize,
        /// How many values there were.
        found: usize,
    },
    /// A raw line is not UTF-8.
    #[error("is not UTF-8")]
    NotUtf8,
    /// A raw tag or field has no `=`.
    #[error("has no '='")]
    NoEquals,
    /// A raw name or tag value holds an unescaped space, comma or equals sign.
    #[error("holds an unescaped separator")]
    StraySeparator,
    /// A raw field value is no float, integer, boolean or string.
    #[error("is not a valid value")]
    InvalidValue,
    /// A raw string has no closing quote.
    #[error("has no closing quote")]
    UnbalancedQuote,
    /// A raw timestamp is not an integer, or something follows it.
    #[error("is not an integer")]
    InvalidTimestamp,
}

/// Why one raw line is not accepted. The others are not concerned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, byte {column}: {part} {problem}")]
pub struct LineError {
    pub(crate) line: u64,
    pub(crate) column: usize,
    pub(crate) part: Part,
    pub(crate) problem: Problem,
    pub(crate) range: Range<usize>,
}

impl LineError {
    /// The number of the line on which the point begins, from 1.
    #[must_use]
    pub const fn line(&self) -> u64 {
        self.line
    }

    /// The same error told of a longer text, in which `lines` lines stand before the one that was read. Only the
    /// number of the line changes.
    #[must_use]
    pub const fn below(mut self, lines: u64) -> Self {
        self.line += lines;
        self
    }

    /// Where in the text the trouble was noticed, in bytes from the text's start.
    #[must_use]
    pub const fn offset(&self) -> usize {
        self.range.start + self.column - 1
    }

    /// The bytes of the text that are passed over, the newline at the end included.
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    /// What is wrong.
    #[must_use]
    pub const fn problem(&self) -> Problem {
        self.problem
    }

    /// Whether more text could have completed the point: a quote is open at the end of the text.
    ///
    /// Servers let an open quote swallow every line behind it, and so does this: the range reaches to the
    /// end of the text.
    #[must_use]
    pub const fn is_incomplete(&self) -> bool {
        matches!(self.problem, Problem::UnbalancedQuote)
    }
}

/// The part of a raw line that an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Line,
    Measurement,
    TagKey,
    TagValue,
    Series,
    FieldKey,
    FieldValue,
    Fields,
    Timestamp,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Line => "line",
            Self::Measurement => "measurement",
            Self::TagKey => "tag key",
            Self::TagValue => "tag value",
            Self::Series => "series with its longest field key",
            Self::FieldKey => "field key",
            Self::FieldValue => "field value",
            Self::Fields => "fields:",
            Self::Timestamp => "timestamp",
        })
    }
}
