//! What holds of a [`World`] at every moment, and at its end.

use std::collections::BTreeSet;

use super::super::rig::line_of;
use super::{End, World};
use crate::machines::verdict::Verdict;
use crate::values::fate::{Fate, Standing};
use crate::values::ledger::Tally;

impl World {
    /// What holds at every moment.
    pub(in super::super) fn check(&mut self) {
        let ledger = self.transit.books.total().clone();
        let pending = self.transit.pending_points();
        assert_eq!(ledger.accepted().points, ledger.settled_points() + pending, "{ledger:?}");
        assert_eq!(pending, self.pending.len() as u64, "pending");
        for fate in Fate::ALL {
            let met = self.fates.iter().filter(|(_, each)| **each == fate).map(|(number, _)| *number);
            let mut expected = self.base.of(fate);
            met.for_each(|number| expected += Tally::new(1, line_of(number).len() as u64));
            assert_eq!(ledger.of(fate), expected, "{fate:?}");
        }
        self.check_window();
        self.check_standings();
        self.check_answers();
    }

    fn check_window(&self) {
        let mut last = 0;
        let (mut volatile, mut stored) = (0, 0);
        for (key, held) in &self.transit.window {
            assert!(*key <= held.seqs.first && held.seqs.first > last, "{key}: {held:?}");
            assert!(held.batch().is_none() || *key == held.seqs.first, "{key}: {held:?}");
            last = held.seqs.last;
            *if held.is_volatile() { &mut volatile } else { &mut stored } += held.seqs.points();
        }
        assert_eq!((volatile, stored), (self.transit.volatile.points, self.transit.stored.points));
        assert!(self.transit.queue.first().is_none_or(|first| first > last));
    }

    fn check_standings(&self) {
        let stored: BTreeSet<u64> = self.disk.stored().collect();
        for number in &self.pending {
            match self.transit.standing(*number) {
                Some(Standing::InMemory) => assert!(!stored.contains(number), "{number} is stored"),
                Some(Standing::Settled(Fate::Damaged)) => assert!(self.damaged.contains(number)),
                Some(Standing::Settled(fate)) => panic!("{number} is pending, not {fate:?}"),
                Some(_) | None => assert!(stored.contains(number), "{number} is nowhere"),
            }
        }
        for (number, fate) in &self.fates {
            match self.transit.standing(*number) {
                Some(standing) if !self.disputed.contains(number) => {
                    assert_eq!(standing, Standing::Settled(*fate), "{number}");
                }
                // Dropped by a transaction whose answer was lost: the file knows.
                None => assert_eq!(self.disk.fates.get(number), Some(fate), "{number}"),
                Some(_) => {}
            }
        }
    }

    fn check_answers(&mut self) {
        if let Some(outbox) = self.transit.take_outbox() {
            outbox.answers.send();
        }
        let mut receipts = std::mem::take(&mut self.receipts);
        receipts.retain_mut(|(number, until, receipt)| {
            let answer = receipt.try_recv().ok();
            assert_eq!(answer.is_some(), self.is_due(*number, *until), "{number} {until:?} {answer:?}");
            answer.is_none()
        });
        self.receipts = receipts;
        let oldest = self.pending.iter().find(|number| !self.damaged.contains(number));
        self.flushes.retain_mut(|(mark, flush)| {
            let answered = flush.try_recv().is_ok();
            assert!(!answered || oldest.is_none_or(|oldest| oldest > mark), "flush to {mark}: {oldest:?}");
            !answered
        });
        let stored: BTreeSet<u64> = self.disk.stored().collect();
        let volatile = self.pending.iter().find(|number| !stored.contains(number));
        self.commits.retain_mut(|(mark, commit)| {
            let answered = commit.try_recv().is_ok();
            assert!(
                !answered || volatile.is_none_or(|oldest| oldest > mark),
                "commit to {mark}: {volatile:?}"
            );
            !answered
        });
    }

    /// The server takes everything and the disk works: everything meets its fate, and nobody is left waiting.
    pub(in super::super) fn drain(&mut self) {
        for _ in 0..10_000 {
            if self.is_at_rest() {
                return self.check_the_end();
            }
            let mut moved = self.look();
            moved |= !self.jobs.is_empty();
            while !self.jobs.is_empty() {
                self.finish_job(0, true);
            }
            moved |= self.trip.is_some();
            self.finish_trip(End::Answered);
            moved |= self.read();
            for holder in 0..4 {
                moved |= self.answer(holder, Verdict::Delivered);
                moved |= self.lease(holder);
            }
            self.check();
            if !moved {
                let link = self.transit.link.not_before(self.now);
                let due = [self.next_due(), link].into_iter().flatten().min();
                self.now =
                    due.unwrap_or_else(|| panic!("stuck with {:?} in {:#?}", self.pending, self.transit));
            }
        }
        panic!("not at rest after 10,000 rounds: {:#?}", self.transit);
    }

    fn is_at_rest(&self) -> bool {
        let idle = self.jobs.is_empty() && self.trip.is_none() && self.leases.is_empty();
        idle && self.pending.is_empty() && !self.transit.is_replaying()
    }

    fn check_the_end(&mut self) {
        self.check();
        assert!(self.flushes.is_empty() && self.commits.is_empty(), "marks are passed");
        for mut replay in self.replays.drain(..) {
            assert!(replay.try_recv().is_ok(), "whoever asked for a replay is answered");
        }
        if self.plan(true) {
            self.finish_trip(End::Answered);
            self.check();
            let (memory, disk) = (self.transit.books.total(), self.disk.ledger());
            for fate in Fate::ALL {
                assert_eq!(memory.of(fate).points, disk.of(fate).points, "{fate:?} on disk");
            }
            assert_eq!(memory.accepted().points, disk.accepted().points, "accepted on disk");
            assert_eq!(self.disk.stored().count(), 0);
        }
    }
}
