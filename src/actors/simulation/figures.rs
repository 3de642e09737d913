//! How much happened, so that nobody takes a run for a proof in which nothing did.

use std::collections::BTreeMap;
use std::fmt;

#[derive(Clone, Debug, Default)]
pub(super) struct Figures {
    counts: BTreeMap<&'static str, u64>,
}

/// What has to have happened in any run of some length.
const EXPECTED: [&str; 24] = [
    "worlds",
    "steps",
    "points",
    "persisted",
    "received",
    "commits",
    "answers lost on the way",
    "crashes: process",
    "crashes: in the middle of a call",
    "crashes: power",
    "stops",
    "reopened after a failure",
    "faults: input/output error",
    "faults: no space",
    "faults: torn write",
    "damage: file",
    "damage: log",
    "salvages",
    "second openers",
    "clock steps",
    "commits whose answer was lost",
    "replays",
    "quarantined",
    "expired",
];

impl Figures {
    pub(super) fn count(&mut self, what: &'static str) {
        self.count_many(what, 1);
    }

    pub(super) fn count_many(&mut self, what: &'static str, number: u64) {
        *self.counts.entry(what).or_default() += number;
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (what, number) in &other.counts {
            self.count_many(what, *number);
        }
    }

    pub(super) fn check_that_everything_happened(&self) {
        for what in EXPECTED {
            assert!(self.counts.contains_key(what), "never: {what}");
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, (what, number)) in self.counts.iter().enumerate() {
            write!(f, "{}{number} {what}", if nth == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}
