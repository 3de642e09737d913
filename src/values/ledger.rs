//! The counters that say what became of every accepted point.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::fate::Fate;

/// Points, and the bytes of their plain lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Tally {
    /// How many points.
    pub points: u64,
    /// Bytes of their plain line protocol, newlines included.
    pub bytes: u64,
}

impl Tally {
    pub(crate) const fn new(points: u64, bytes: u64) -> Self {
        Self { points, bytes }
    }

    /// What is left of it without the other; nothing where the other is more.
    pub(crate) const fn less(self, other: Self) -> Self {
        Self::new(self.points.saturating_sub(other.points), self.bytes.saturating_sub(other.bytes))
    }

    pub(crate) const fn is_zero(self) -> bool {
        self.points == 0 && self.bytes == 0
    }
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.points += other.points;
        self.bytes += other.bytes;
    }
}

/// What lies in the spool undelivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Backlog {
    /// How many batches.
    pub batches: u64,
    /// How many points they hold.
    pub points: u64,
    /// Bytes of the points' plain lines.
    pub bytes: u64,
}

impl Backlog {
    pub(crate) const fn add(&mut self, tally: Tally) {
        self.batches += 1;
        self.points += tally.points;
        self.bytes += tally.bytes;
    }

    /// Saturating: a damaged row may claim more than there is.
    pub(crate) const fn remove(&mut self, tally: Tally) {
        self.batches = self.batches.saturating_sub(1);
        self.points = self.points.saturating_sub(tally.points);
        self.bytes = self.bytes.saturating_sub(tally.bytes);
    }
}

/// What was accepted and what became of it, without what is still on its way.
///
/// The same type serves the running total and the part of it that is not on disk yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    accepted: Tally,
    fates: [Tally; Fate::ALL.len()],
}

impl Ledger {
    /// Everything that was ever accepted.
    #[must_use]
    pub const fn accepted(&self) -> Tally {
        self.accepted
    }

    /// What met this fate.
    #[must_use]
    pub fn of(&self, fate: Fate) -> Tally {
        self.fates[index(fate)]
    }

    /// Points that met any fate: `accepted` less these are on their way.
    #[must_use]
    pub fn settled_points(&self) -> u64 {
        self.fates.iter().map(|tally| tally.points).sum()
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.accepted.is_zero() && self.fates.iter().all(|tally| tally.is_zero())
    }

    pub(crate) fn accept(&mut self, tally: Tally) {
        self.accepted += tally;
    }

    pub(crate) fn settle(&mut self, fate: Fate, tally: Tally) {
        self.fates[index(fate)] += tally;
    }

    /// Takes the fates of another ledger and keeps its own count of what was accepted.
    pub(crate) fn take_fates_of(&mut self, other: &Self) {
        self.fates = other.fates;
    }

    pub(crate) const fn take_accepted(&mut self, accepted: Tally) {
        self.accepted = accepted;
    }

    /// Moves what had met one fate to another, as when a quarantined batch is given up. No more than had met it, so that
    /// the sum stays what it is.
    pub(crate) fn resettle(&mut self, from: Fate, to: Fate, tally: Tally) {
        let taken = self.unsettle(from, tally);
        self.settle(to, taken);
    }

    /// Takes back what had met a fate, as when a quarantined batch is to be sent again. Returns how much had met it, of
    /// what is asked for.
    pub(crate) fn unsettle(&mut self, fate: Fate, tally: Tally) -> Tally {
        let before = &mut self.fates[index(fate)];
        let taken = Tally::new(tally.points.min(before.points), tally.bytes.min(before.bytes));
        *before = before.less(taken);
        taken
    }
}

fn index(fate: Fate) -> usize {
    Fate::ALL.iter().position(|each| *each == fate).expect("Fate::ALL lists every fate, a test checks it")
}

impl Serialize for Ledger {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fates = Fate::ALL.into_iter().map(|fate| (fate.key(), self.of(fate)));
        std::iter::once(("accepted", self.accepted))
            .chain(fates)
            .collect::<BTreeMap<_, _>>()
            .serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELIVERED: Fate = Fate::Delivered;

    #[test]
    fn a_ledger_is_empty_until_something_is_counted() {
        let mut accepted = Ledger::default();
        assert!(accepted.is_empty());
        accepted.take_accepted(Tally::new(1, 10));
        assert_eq!((accepted.is_empty(), accepted.accepted()), (false, Tally::new(1, 10)));
        let mut settled = Ledger::default();
        settled.settle(DELIVERED, Tally::new(1, 10));
        assert!(!settled.is_empty(), "a fate alone counts, too");
        assert!(!Tally::new(1, 0).is_zero() && !Tally::new(0, 1).is_zero());
    }

    #[test]
    fn no_more_is_taken_back_than_had_met_the_fate() {
        let mut ledger = Ledger::default();
        ledger.settle(DELIVERED, Tally::new(3, 30));
        assert_eq!(ledger.unsettle(DELIVERED, Tally::new(2, 40)), Tally::new(2, 30));
        assert_eq!(ledger.of(DELIVERED), Tally::new(1, 0));
        ledger.resettle(DELIVERED, Fate::Rejected, Tally::new(5, 50));
        assert_eq!((ledger.of(DELIVERED), ledger.of(Fate::Rejected)), (Tally::default(), Tally::new(1, 0)));
        assert_eq!(ledger.settled_points(), 1);
    }
}
