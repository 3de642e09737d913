//! Who waits for which point: receipts, flushes, commits.

use std::collections::BTreeMap;

use tokio::sync::oneshot;

use crate::machines::plan::Replayed;
use crate::panics::{caught, drop_each};
use crate::values::fate::Standing;
use crate::values::seq::SeqRange;

/// What a receipt waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// The point is on disk, or has met its fate.
    Persisted,
    /// The point has met its fate.
    Settled,
}

/// Answers that are due, to be sent when no lock is held.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    standings: Vec<(oneshot::Sender<Standing>, Standing)>,
    marks: Vec<oneshot::Sender<()>>,
    replays: Vec<(oneshot::Sender<Replayed>, Replayed)>,
    /// Those who will not be answered: dropping what they wait for wakes them, too.
    unanswered: Vec<Unanswered>,
}

type Unanswered = Box<dyn std::fmt::Debug + Send>;

impl Answers {
    pub(crate) const fn is_empty(&self) -> bool {
        self.standings.is_empty()
            && self.marks.is_empty()
            && self.replays.is_empty()
            && self.unanswered.is_empty()
    }

    /// Sends them all. Whoever has stopped waiting is passed over; one whose waker panics is answered, and keeps no other
    /// from it.
    pub(crate) fn send(self) {
        for (waiter, standing) in self.standings {
            let _ = caught(|| waiter.send(standing));
        }
        for waiter in self.marks {
            let _ = caught(|| waiter.send(()));
        }
        for (waiter, replayed) in self.replays {
            let _ = caught(|| waiter.send(replayed));
        }
        let _ = drop_each(self.unanswered);
    }
}

/// Everyone who waits, and the answers that are due, which every push asks for.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Waiters {
    due: Answers,
    receipts: BTreeMap<(u64, u64), (Until, oneshot::Sender<Standing>)>,
    flushes: Vec<(u64, oneshot::Sender<()>)>,
    commits: Vec<(u64, oneshot::Sender<()>)>,
    next_id: u64,
}

impl Waiters {
    pub(crate) fn wait_for(&mut self, number: u64, until: Until) -> oneshot::Receiver<Standing> {
        let (sender, receiver) = oneshot::channel();
        self.forget_the_gone();
        self.next_id += 1;
        self.receipts.insert((number, self.next_id), (until, sender));
        receiver
    }

    /// Waits until no point up to `mark` is without its fate.
    pub(crate) fn wait_for_flush(&mut self, mark: u64) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        self.flushes.push((mark, sender));
        receiver
    }

    /// Waits until no point up to `mark` is in memory only.
    pub(crate) fn wait_for_commit(&mut self, mark: u64) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        self.commits.push((mark, sender));
        receiver
    }

    /// A replay is done.
    pub(crate) fn replayed(&mut self, waiter: oneshot::Sender<Replayed>, replayed: Replayed) {
        self.due.replays.push((waiter, replayed));
    }

    /// Nobody who waits by now will be answered, but for what is due.
    pub(crate) fn dismiss(&mut self) {
        let receipts = std::mem::take(&mut self.receipts).into_values().map(|(_, waiter)| waiter);
        let marks = self.flushes.drain(..).chain(self.commits.drain(..)).map(|(_, waiter)| waiter);
        let unanswered = &mut self.due.unanswered;
        unanswered.extend(receipts.map(|waiter| Box::new(waiter) as Unanswered));
        unanswered.extend(marks.map(|waiter| Box::new(waiter) as Unanswered));
    }

    /// Nor will this one.
    pub(crate) fn dismiss_replay(&mut self, waiter: oneshot::Sender<Replayed>) {
        self.due.unanswered.push(Box::new(waiter));
    }

    /// A range is on disk.
    pub(crate) fn stored(&mut self, seqs: SeqRange, standing: Standing) {
        self.answer(seqs, standing, |until| until == Until::Persisted);
    }

    /// A range has met its fate.
    pub(crate) fn settled(&mut self, seqs: SeqRange, standing: Standing) {
        self.answer(seqs, standing, |_| true);
    }

    /// Answers the flushes and commits whose marks lie below the oldest point that is pending, and the oldest that is
    /// in memory only; `None` if there is none.
    pub(crate) fn passed(&mut self, oldest_pending: Option<u64>, oldest_volatile: Option<u64>) {
        let due = &mut self.due.marks;
        for (marks, oldest) in [(&mut self.flushes, oldest_pending), (&mut self.commits, oldest_volatile)] {
            due.extend(
                marks
                    .extract_if(.., |(mark, _)| oldest.is_none_or(|oldest| *mark < oldest))
                    .map(|(_, waiter)| waiter),
            );
        }
    }

    /// The numbers of the points somebody waits for.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u64> {
        self.receipts.keys().map(|(number, _)| *number)
    }

    /// Whether anyone waits for a mark.
    pub(crate) const fn has_marks(&self) -> bool {
        !self.flushes.is_empty() || !self.commits.is_empty()
    }

    /// Whether any answer is due.
    pub(crate) const fn has_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// Takes the answers that are due.
    pub(crate) fn take_due(&mut self) -> Answers {
        std::mem::take(&mut self.due)
    }

    fn answer(&mut self, seqs: SeqRange, standing: Standing, wanted: impl Fn(Until) -> bool) {
        if self.receipts.is_empty() {
            return;
        }
        let range = (seqs.first, 0)..=(seqs.last, u64::MAX);
        let due = self.receipts.extract_if(range, |_, (until, _)| wanted(*until));
        self.due.standings.extend(due.map(|(_, (_, waiter))| (waiter, standing)));
    }

    /// Receipts nobody waits for any more are dropped now and then, so that callers who give up leave nothing behind.
    fn forget_the_gone(&mut self) {
        if self.next_id.is_multiple_of(1024) {
            self.receipts.retain(|_, (_, waiter)| !waiter.is_closed());
            self.flushes.retain(|(_, waiter)| !waiter.is_closed());
            self.commits.retain(|(_, waiter)| !waiter.is_closed());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::fate::{Durability, Fate};

    const STORED: Standing = Standing::Durable(Durability::Power);
    const DELIVERED: Standing = Standing::Settled(Fate::Delivered);

    fn answered(waiters: &mut Waiters, receiver: &mut oneshot::Receiver<Standing>) -> Option<Standing> {
        waiters.take_due().send();
        receiver.try_recv().ok()
    }

    #[test]
    fn a_receipt_is_answered_at_its_stage_and_not_before() {
        let mut waiters = Waiters::default();
        let mut persisted = waiters.wait_for(5, Until::Persisted);
        let mut settled = waiters.wait_for(5, Until::Settled);
        waiters.settled(SeqRange { first: 1, last: 4 }, DELIVERED);
        waiters.stored(SeqRange { first: 6, last: 9 }, STORED);
        assert_eq!(answered(&mut waiters, &mut persisted), None);
        waiters.stored(SeqRange { first: 1, last: 9 }, STORED);
        assert_eq!(answered(&mut waiters, &mut persisted), Some(STORED));
        assert_eq!(answered(&mut waiters, &mut settled), None);
        waiters.settled(SeqRange { first: 5, last: 5 }, DELIVERED);
        assert_eq!(answered(&mut waiters, &mut settled), Some(DELIVERED));
    }

    #[test]
    fn a_mark_is_passed_when_nothing_at_or_below_it_is_left() {
        let mut waiters = Waiters::default();
        let mut flush = waiters.wait_for_flush(7);
        let mut commit = waiters.wait_for_commit(7);
        waiters.passed(Some(7), Some(8));
        waiters.take_due().send();
        assert!(flush.try_recv().is_err() && commit.try_recv().is_ok());
        waiters.passed(None, None);
        waiters.take_due().send();
        assert!(flush.try_recv().is_ok());
        assert!(!waiters.has_marks());
    }
}
