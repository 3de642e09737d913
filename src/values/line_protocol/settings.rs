//! What an encoder goes by, apart from the default tags; and timestamps, which depend on nothing else.

use super::problem::{Place, PointError, Problem};
use super::rules::{LineRules, Portability, SubPrecision, Unsigned, Unwritable};
use crate::values::point::PointTime;
use crate::values::precision::{Precision, Timestamp};

/// The first and the last nanosecond of 1.x and 2.x; beyond these lie values of 64 bits which they reserve.
pub(crate) const NANOS_MIN: i64 = i64::MIN + 2;
/// See [`NANOS_MIN`].
pub(crate) const NANOS_MAX: i64 = i64::MAX - 1;

/// The rules without the default tags.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) precision: Precision,
    pub(crate) unsigned: Unsigned,
    pub(crate) non_finite: Unwritable,
    pub(crate) blank_tags: Unwritable,
    pub(crate) blank_fields: Unwritable,
    pub(crate) sub_precision: SubPrecision,
    pub(crate) portability: Portability,
}

impl Settings {
    pub(crate) const fn new(precision: Precision, rules: &LineRules) -> Self {
        Self {
            precision,
            unsigned: rules.unsigned,
            non_finite: rules.non_finite,
            blank_tags: rules.blank_tags,
            blank_fields: rules.blank_fields,
            sub_precision: rules.sub_precision,
            portability: rules.portability,
        }
    }

    /// A point's time in units of the precision, and in nanoseconds.
    #[inline]
    pub(crate) fn time(
        &self,
        time: Option<PointTime>,
        stamp: impl FnOnce() -> i64,
    ) -> Result<(i64, i64), PointError> {
        match time {
            None => self.check_units(stamp()),
            Some(PointTime::Units(units)) => self.check_units(units),
            Some(PointTime::Moment { at }) => self.units_of(at),
        }
        .map_err(|problem| PointError::new(Place::Timestamp, problem))
    }

    /// Units of the precision, with the same in nanoseconds, unless servers refuse such a time.
    #[inline]
    pub(crate) fn check_units(&self, units: i64) -> Result<(i64, i64), Problem> {
        match units.checked_mul(self.precision.nanoseconds()) {
            Some(nanos @ NANOS_MIN..=NANOS_MAX) => Ok((units, nanos)),
            _ => Err(Problem::OutOfRange),
        }
    }

    #[inline]
    fn units_of(&self, at: Timestamp) -> Result<(i64, i64), Problem> {
        // The usual case apart, since a division takes as long as a short text.
        if self.precision == Precision::Nanoseconds {
            return self.check_units(at.nanos());
        }
        let unit = self.precision.nanoseconds();
        if self.sub_precision == SubPrecision::Refuse && at.nanos() % unit != 0 {
            return Err(Problem::SubPrecision);
        }
        self.check_units(at.nanos().div_euclid(unit))
    }
}
