//! Who has something to do after a change, and when: so that nobody is woken only to find nothing.

use std::time::Instant;

use super::held::Held;
use super::{Transit, Wire};

/// What there is to do. A moment that is not to come any more means at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Agenda {
    /// When a body is to be made.
    pub(crate) seal_at: Option<Instant>,
    /// When the spool is to be worked with.
    pub(crate) store_at: Option<Instant>,
    /// Whether there is a batch that nobody has in hand and that may be sent, by any wire.
    pub(crate) sends: bool,
    /// Batches that somebody has in hand: who brings an answer looks for the next by himself.
    pub(crate) in_hand: usize,
}

impl Transit {
    /// What there is to do, if nothing else happens before.
    pub(crate) fn agenda(&self, now: Instant) -> Agenda {
        Agenda {
            seal_at: self.seal_at(now),
            store_at: self.store_at(now),
            sends: self.first_sendable(Wire::Http, now).is_some()
                || self.terms.udp.is_some() && self.first_sendable(Wire::Udp, now).is_some(),
            in_hand: self.in_flight(),
        }
    }

    fn seal_at(&self, now: Instant) -> Option<Instant> {
        if self.window.values().any(Held::is_to_be_made) {
            return Some(now);
        }
        let lingering = self.next_seal_at()?;
        let is_full = self.queue.has_full_segment(self.terms.segment);
        let is_asked_for = self.queue.first().is_some_and(|first| first <= self.seal_mark);
        Some(if is_full || is_asked_for { now } else { lingering })
    }

    fn store_at(&self, now: Instant) -> Option<Instant> {
        // Whether a replay may begin is found when a transaction is planned.
        let at_once = !self.replays.is_empty() || self.wants_read().is_some();
        if at_once { Some(now) } else { self.next_commit_at() }
    }
}
