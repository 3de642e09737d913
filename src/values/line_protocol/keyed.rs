//! The tags and fields of points, whichever way a point has them.

use crate::values::point::{FieldRef, FieldValue, Text};

/// Something with a key: a tag or a field as a point has it, or a field's name alone.
pub(crate) trait Keyed {
    fn key(&self) -> &str;
}

pub(crate) trait Tag: Keyed {
    fn value(&self) -> &str;
}

pub(crate) trait Field: Keyed {
    fn value(&self) -> FieldRef<'_>;
}

impl Keyed for Text {
    #[inline]
    fn key(&self) -> &str {
        self
    }
}

impl<V> Keyed for (Text, V) {
    #[inline]
    fn key(&self) -> &str {
        &self.0
    }
}

impl<V> Keyed for (&str, V) {
    #[inline]
    fn key(&self) -> &str {
        self.0
    }
}

impl Tag for (Text, Text) {
    #[inline]
    fn value(&self) -> &str {
        &self.1
    }
}

impl Tag for (&str, &str) {
    #[inline]
    fn value(&self) -> &str {
        self.1
    }
}

impl Field for (Text, FieldValue) {
    #[inline]
    fn value(&self) -> FieldRef<'_> {
        FieldRef::from(&self.1)
    }
}

impl Field for (&str, FieldRef<'_>) {
    #[inline]
    fn value(&self) -> FieldRef<'_> {
        self.1
    }
}
