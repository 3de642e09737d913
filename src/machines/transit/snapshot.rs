//! One look at everything, under one lock.

use std::time::{Duration, Instant};

use super::books::Unsaved;
use super::{Counters, Transit};
use crate::machines::plan::Withheld;
use crate::values::ledger::Backlog;
use crate::values::ledger::{Ledger, Tally};
use crate::values::trouble::TroubleKind;

/// What there was at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) ledger: Ledger,
    pub(crate) queued: Tally,
    /// Sealed, and only in memory.
    pub(crate) volatile: Tally,
    pub(crate) spooled: Backlog,
    pub(crate) volatile_age: Option<Duration>,
    pub(crate) in_flight: usize,
    pub(crate) trouble: Option<(TroubleKind, String)>,
    pub(crate) failures: u64,
    pub(crate) withheld: Option<Withheld>,
    pub(crate) stopped: bool,
    pub(crate) counters: Counters,
}

impl Transit {
    /// Before which moment nothing is sent, if the link is down.
    pub(crate) fn next_attempt_at(&self, now: Instant) -> Option<Instant> {
        self.link.not_before(now)
    }

    /// Points that nobody would know of if the process ended now: in memory only, or set aside and not stored.
    pub(crate) fn unsaved_points(&self) -> u64 {
        let set_aside = self.books.unsaved.direct.iter().filter(|fate| fate.quarantine.is_some());
        let set_aside: u64 = set_aside.map(|fate| fate.seqs.points()).sum();
        self.queue.held().points + self.volatile.points + set_aside
    }

    /// Points that have met their fate, and the spool's file does not say so yet.
    pub(crate) fn unrecorded_points(&self) -> u64 {
        let Unsaved { settle, direct, .. } = &self.books.unsaved;
        let settled: u64 = settle.iter().map(|(_, tally)| tally.points).sum();
        settled + direct.iter().map(|fate| fate.seqs.points()).sum::<u64>()
    }

    /// Whether somebody is making a body.
    pub(crate) fn is_sealing(&self) -> bool {
        self.window.values().any(|held| held.sealing)
    }

    /// Whether nothing is only in memory.
    pub(crate) fn is_all_stored(&self) -> bool {
        self.oldest_volatile().is_none()
    }

    /// Why points do not arrive, or not by the wire they are meant for.
    fn trouble(&self) -> Option<(TroubleKind, &str)> {
        self.link.trouble().or_else(|| self.udp_link.trouble())
    }

    pub(crate) fn snapshot(&self, now: Instant) -> Snapshot {
        let stored = self.window.values().filter(|held| !held.is_volatile());
        let mut spooled = self.beyond;
        for held in stored {
            spooled.add(held.tally());
        }
        Snapshot {
            ledger: self.books.total().clone(),
            queued: self.queue.held(),
            volatile: self.volatile,
            spooled,
            volatile_age: self.volatile_age(now),
            in_flight: self.in_flight(),
            trouble: self.trouble().map(|(kind, words)| (kind, words.to_owned())),
            failures: self.link.failures_total() + self.udp_link.failures_total(),
            withheld: self.withheld,
            stopped: self.stopped,
            counters: self.counters,
        }
    }
}
