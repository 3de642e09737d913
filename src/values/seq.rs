//! The number a point gets at push.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Identifies one spool file (or one in-memory run), so that a [`Seq`] can say where it belongs.
///
/// The first 32 bits of the spool's UUID: enough to catch a number taken to the wrong database by mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SpoolTag(pub(crate) u32);

/// The number of one accepted point: increasing, dense within a batch, never reused in the life of a spool.
///
/// Returned by every push; pass it to `persisted` or `delivered` to wait for what became of the point.
/// A `Seq` is an ordinary value: it can be stored, sent to another thread, and asked about after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Seq {
    spool: SpoolTag,
    number: u64,
}

impl Seq {
    pub(crate) const fn new(spool: SpoolTag, number: u64) -> Self {
        Self { spool, number }
    }

    /// The number itself. Numbers of one spool order its points by the time they were pushed.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.number
    }

    /// The spool this number was given by.
    #[must_use]
    pub const fn spool(self) -> SpoolTag {
        self.spool
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.number)
    }
}

/// A dense range of sequence numbers, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SeqRange {
    /// The first number of the range.
    pub first: u64,
    /// The last number of the range, never below `first`.
    pub last: u64,
}

impl SeqRange {
    /// A range of `points` numbers from `first` on; `points` is at least 1.
    pub(crate) const fn starting_at(first: u64, points: u64) -> Self {
        debug_assert!(points > 0);
        Self { first, last: first + points - 1 }
    }

    /// How many numbers the range holds.
    #[must_use]
    pub const fn points(self) -> u64 {
        self.last - self.first + 1
    }

    /// Whether `number` lies in the range.
    #[must_use]
    pub const fn contains(self, number: u64) -> bool {
        self.first <= number && number <= self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_says_what_it_is_and_where_from() {
        let seq = Seq::new(SpoolTag(7), 42);
        assert_eq!((seq.number(), seq.spool(), seq.to_string()), (42, SpoolTag(7), "42".to_owned()));
    }

    #[test]
    fn a_range_holds_both_its_ends_and_nothing_beyond() {
        let range = SeqRange::starting_at(5, 3);
        assert_eq!((range, range.points()), (SeqRange { first: 5, last: 7 }, 3));
        assert_eq!([4, 5, 7, 8].map(|number| range.contains(number)), [false, true, true, false]);
    }
}
