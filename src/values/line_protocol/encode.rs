//! Points of every kind, as whoever pushes them sees them.

use super::encoder::{Encoded, Encoder};
use super::problem::PointError;
use crate::values::point::{Point, PointRef, PointTime};

/// A point, in whatever form, and what encodes it.
pub(crate) trait Encode {
    /// Appends it, if it is [plain](super::plain): a line of at most [`PLAIN_BYTES_MAX`](super::PLAIN_BYTES_MAX) bytes. If it is not, or is
    /// refused, nothing is appended.
    ///
    /// `stamp` is asked for a timestamp if the point has none.
    fn encode_plain(&self, stamp: &dyn Fn() -> i64, out: &mut Vec<u8>) -> Option<Encoded>;

    /// Appends it, whatever it is. On an error nothing is appended.
    fn encode_unplain(&self, stamp: &dyn Fn() -> i64, out: &mut Vec<u8>) -> Result<Encoded, PointError>;

    /// The one or the other.
    #[inline(always)]
    fn encode(&self, stamp: &dyn Fn() -> i64, out: &mut Vec<u8>) -> Result<Encoded, PointError> {
        match self.encode_plain(stamp, out) {
            Some(encoded) => Ok(encoded),
            None => self.encode_unplain(stamp, out),
        }
    }
}

/// A point, and the encoder of its database.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Encoding<'a, P> {
    pub(crate) point: &'a P,
    pub(crate) encoder: &'a Encoder,
}

impl Encode for Encoding<'_, Point> {
    #[inline(always)]
    fn encode_plain(&self, stamp: &dyn Fn() -> i64, out: &mut Vec<u8>) -> Option<Encoded> {
        let Point { measurement, tags, fields, timestamp } = self.point;
        let time = || self.encoder.settings().time(*timestamp, stamp);
        self.encoder.append_plain(measurement, tags, fields, time, out).ok()?.ok()
    }

    #[inline(always)]
    fn encode_unplain(&self, stamp: &dyn Fn() -> i64, out: &mut Vec<u8>) -> Result<Encoded, PointError> {
        let Point { measurement, tags, fields, timestamp } = self.point;
        let time = || self.encoder.settings().time(*timestamp, stamp);
        self.encoder.append_unplain(measurement, tags, fields, time, out)
    }
}

impl Encode for Encoding<'_, PointRef<'_>> {
    #[inline(always)]
    fn encode_plain(&self, stamp: &dyn Fn() -> i64, out: &mut Vec<u8>) -> Option<Encoded> {
        let PointRef { measurement, tags, fields, timestamp } = *self.point;
        let time = || self.encoder.settings().time(timestamp.map(|at| PointTime::Moment { at }), stamp);
        self.encoder.append_plain(measurement, tags, fields, time, out).ok()?.ok()
    }

    #[inline(always)]
    fn encode_unplain(&self, stamp: &dyn Fn() -> i64, out: &mut Vec<u8>) -> Result<Encoded, PointError> {
        let PointRef { measurement, tags, fields, timestamp } = *self.point;
        let time = || self.encoder.settings().time(timestamp.map(|at| PointTime::Moment { at }), stamp);
        self.encoder.append_unplain(measurement, tags, fields, time, out)
    }
}
