//! From quarantine back into the backlog.
//!
//! What is taken back keeps its numbers, and is sent before everything younger. It lies in the spool, in places that were
//! read long ago: so the window lets go of the stored batches that nobody has in hand, and is filled again from the
//! oldest on.

use std::time::Instant;

use tokio::sync::oneshot;

use super::Transit;
use crate::machines::plan::{Committed, Replay, Replayed};
use crate::values::fate::QuarantineReason;
use crate::values::ledger::Tally;

/// Batches taken back in one transaction: some hundredths of a second.
const BATCHES_MAX: usize = 256;

/// A replay that somebody waits for.
#[derive(Debug)]
pub(super) struct Replaying {
    wanted: Replay,
    done: Replayed,
    answer: oneshot::Sender<Replayed>,
}

impl Replaying {
    pub(super) fn into_answer(self) -> oneshot::Sender<Replayed> {
        self.answer
    }
}

impl Transit {
    /// Has batches taken back from quarantine, all or those that are there for one reason. One replay follows the other.
    pub(crate) fn replay(&mut self, only: Option<QuarantineReason>) -> oneshot::Receiver<Replayed> {
        let (answer, receiver) = oneshot::channel();
        let below_seq = self.next_seq;
        let wanted = Replay { only, batches_max: BATCHES_MAX, up_to: None, below_seq };
        // Whatever is older than the call and only in memory has to be stored before.
        self.commit_up_to(self.last_seq());
        if !self.stopped && !self.dismissed {
            self.replays.push_back(Replaying { wanted, done: Replayed::default(), answer });
        }
        receiver
    }

    /// What the next transaction is to take back. It waits for what is older than the call and only in memory.
    pub(super) fn next_replay(&self) -> Option<Replay> {
        let wanted = self.replays.front()?.wanted;
        self.oldest_volatile().is_none_or(|oldest| oldest >= wanted.below_seq).then_some(wanted)
    }

    /// Whether somebody waits for a replay.
    #[cfg(test)]
    pub(crate) fn is_replaying(&self) -> bool {
        !self.replays.is_empty()
    }

    /// A transaction took these batches back, before its sums are looked at.
    pub(super) fn replayed(&mut self, outcome: &Committed, now: Instant) {
        let Some(replayed) = &outcome.replayed else { return };
        for seqs in &replayed.seqs {
            self.books.forget_fate(*seqs);
        }
        if replayed.backlog.batches > 0 {
            self.read_anew_from(replayed.first_seq);
        }
        let Some(mut replaying) = self.replays.pop_front() else { return };
        let done = &mut replaying.done;
        done.backlog.batches += replayed.backlog.batches;
        done.backlog.points += replayed.backlog.points;
        done.backlog.bytes += replayed.backlog.bytes;
        done.damaged += replayed.damaged;
        done.withheld = replayed.withheld;
        replaying.wanted.up_to = replayed.up_to;
        if replayed.more && replayed.withheld.is_none() && !self.stopped {
            self.replays.push_front(replaying);
        } else {
            self.waiters.replayed(replaying.answer, replaying.done);
        }
        self.link.try_now(now);
    }

    /// What no transaction is taking back just now stays in quarantine, and whoever waits for it is told.
    pub(super) fn dismiss_replays_to_come(&mut self) {
        let begun = self.saving.as_ref().is_some_and(|saving| saving.plan.replay.is_some());
        for replaying in self.replays.split_off(usize::from(begun).min(self.replays.len())) {
            self.waiters.dismiss_replay(replaying.into_answer());
        }
    }

    /// The file may have been salvaged: its rows are numbered anew.
    pub(super) fn forget_replayed_rows(&mut self) {
        for replaying in &mut self.replays {
            replaying.wanted.up_to = None;
        }
    }

    /// A transaction took batches back, and its answer is lost: the file knows which.
    pub(super) fn replayed_unheard(&mut self) {
        self.books.forget_quarantined();
        self.read_anew_from(0);
    }

    /// Rows from this number on are to be read that are not in the window.
    pub(super) fn read_anew_from(&mut self, first_seq: u64) {
        self.read_to = self.read_to.min(first_seq.saturating_sub(1));
        let idle = |(key, held): (&u64, &super::Held)| {
            (*key > self.read_to && !held.is_volatile() && !held.is_in_work()).then_some(*key)
        };
        let idle: Vec<u64> = self.window.iter().filter_map(idle).collect();
        for key in idle {
            let tally: Option<Tally> = self.remove(key).map(|held| held.tally());
            self.beyond.add(tally.unwrap_or_default());
        }
    }
}
