//! The way in: a point is numbered, counted and appended; when there is no room, the oldest leave.

use std::sync::Arc;
use std::time::Instant;

use super::{Terms, Transit};
use crate::machines::plan::DirectFate;
use crate::machines::queue::{EncodedLine, Milestone};
use crate::values::batch::Destination;
use crate::values::config::WhenFull;
use crate::values::fate::{Fate, ShedReason};
use crate::values::ledger::Tally;
use crate::values::seq::SeqRange;

/// A point is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pushed {
    pub(crate) number: u64,
    /// Whether the batcher has something new to look at.
    pub(crate) wake: bool,
}

/// Why a point is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PushRefusal {
    /// No room, and the policy is to refuse.
    Full,
    /// The line alone is larger than the queue may be.
    TooLarge,
    Stopped,
}

const QUEUE_FULL: Fate = Fate::Shed(ShedReason::QueueFull);

impl Transit {
    /// Accepts one encoded point. `now` is asked only when a segment is opened or a point is lost.
    #[inline]
    pub(crate) fn push(
        &mut self,
        line: EncodedLine<'_>,
        destination: &Arc<Destination>,
        now: impl Fn() -> Instant,
    ) -> Result<Pushed, PushRefusal> {
        let size = Tally::new(1, line.bytes.len() as u64);
        if self.stopped {
            return Err(PushRefusal::Stopped);
        }
        if !self.has_room(size) && !self.make_room(size, &now)? {
            return Ok(self.accept_and_shed(size, &now));
        }
        Ok(self.append(line, destination, now))
    }

    /// Whether the next point, if its line has at most `bytes_max`, can be written where it stays, and pushes no other out.
    #[inline]
    pub(crate) fn has_place(&self, bytes_max: usize, destination: &Arc<Destination>) -> bool {
        !self.stopped
            && self.has_room(Tally::new(1, bytes_max as u64))
            && self.queue.has_place(self.next_seq, bytes_max, destination, self.terms.segment)
    }

    /// Where there is a place: what lies before it. A line is written behind that, and kept or dropped before anything else is done.
    #[inline]
    pub(crate) fn tail(&mut self) -> &mut Vec<u8> {
        self.queue.tail()
    }

    /// Accepts the point that was written to the tail.
    #[inline]
    pub(crate) fn keep_tail(&mut self, timestamp: i64) -> Pushed {
        let number = self.next_seq;
        self.next_seq += 1;
        let (bytes, milestone) = self.queue.keep_tail(timestamp, self.terms.segment);
        self.books.accept(Tally::new(1, bytes));
        Pushed { number, wake: milestone != Milestone::None }
    }

    /// Takes back what was written to the tail.
    pub(crate) fn drop_tail(&mut self) {
        self.queue.drop_tail();
    }

    /// Accepts one encoded point if that pushes no other out; otherwise it is refused, whatever the policy.
    #[inline]
    pub(crate) fn push_if_room(
        &mut self,
        line: EncodedLine<'_>,
        destination: &Arc<Destination>,
        now: impl Fn() -> Instant,
    ) -> Result<Pushed, PushRefusal> {
        let size = Tally::new(1, line.bytes.len() as u64);
        if self.stopped {
            return Err(PushRefusal::Stopped);
        }
        if size.bytes > self.terms.bytes_max {
            return Err(PushRefusal::TooLarge);
        }
        if !self.has_room(size) {
            return Err(PushRefusal::Full);
        }
        Ok(self.append(line, destination, now))
    }

    /// Accepts points that were given the next numbers before, together `size`. Nobody can be told any more that one was refused:
    /// where [`Self::takes_unseen`] was wrong, a bound is passed. Says whether the batcher has something new to look at.
    pub(crate) fn push_staged<'l>(
        &mut self,
        lines: impl Iterator<Item = EncodedLine<'l>>,
        size: Tally,
        to: &Arc<Destination>,
        since: Instant,
    ) -> bool {
        let now = || since;
        let mut wake = false;
        // Counted, and given room, all at once: for each by itself that takes longer than to append it.
        let has_room = self.has_room(size) || self.make_room(size, &now).unwrap_or(true);
        if has_room {
            self.books.accept(size);
        }
        for line in lines {
            let size = Tally::new(1, line.bytes.len() as u64);
            if has_room {
                wake |= self.number_and_queue(line, to, now).wake;
            } else if self.has_room(size) || self.make_room(size, &now).unwrap_or(true) {
                wake |= self.append(line, to, now).wake;
            } else {
                wake |= self.accept_and_shed(size, &now).wake;
            }
        }
        wake
    }

    /// Whether so many points may be accepted before anybody looks at them: none would be refused, and the oldest in the queue is
    /// looked for earlier than they need to be.
    pub(crate) fn takes_unseen(&self, points: u64, bytes: u64) -> bool {
        let Terms { bytes_max, when_full, .. } = self.terms;
        !self.stopped
            && self.queue.held().points > 0
            && bytes <= bytes_max
            && (when_full != WhenFull::Refuse || self.has_room(Tally::new(points, bytes)))
    }

    /// Counts a point that was refused before it came here.
    pub(crate) const fn count_refused(&mut self, points: u64) {
        self.counters.refused += points;
    }

    /// Whether so much would be accepted without pushing another point out.
    #[inline]
    pub(crate) fn has_room(&self, size: Tally) -> bool {
        let queued = self.queue.held();
        queued.points + self.volatile.points + size.points <= self.terms.points_max
            && queued.bytes + self.volatile.bytes + size.bytes <= self.terms.bytes_max
    }

    /// How much would have to go before that.
    fn lacking(&self, size: Tally) -> Tally {
        let queued = self.queue.held();
        let held = Tally::new(queued.points + self.volatile.points, queued.bytes + self.volatile.bytes);
        Tally::new(held.points + size.points, held.bytes + size.bytes)
            .less(Tally::new(self.terms.points_max, self.terms.bytes_max))
    }

    #[inline]
    fn append(
        &mut self,
        line: EncodedLine<'_>,
        to: &Arc<Destination>,
        now: impl FnOnce() -> Instant,
    ) -> Pushed {
        self.books.accept(Tally::new(1, line.bytes.len() as u64));
        self.number_and_queue(line, to, now)
    }

    #[inline]
    fn number_and_queue(
        &mut self,
        line: EncodedLine<'_>,
        to: &Arc<Destination>,
        now: impl FnOnce() -> Instant,
    ) -> Pushed {
        let number = self.next_seq;
        self.next_seq += 1;
        let milestone = self.queue.append(number, line, to, self.terms.segment, now);
        Pushed { number, wake: milestone != Milestone::None }
    }

    /// Makes room for new points, or says that it is they who go.
    #[cold]
    fn make_room(&mut self, size: Tally, now: &impl Fn() -> Instant) -> Result<bool, PushRefusal> {
        if size.bytes > self.terms.bytes_max {
            return Err(PushRefusal::TooLarge);
        }
        match self.terms.when_full {
            WhenFull::Refuse => Err(PushRefusal::Full),
            WhenFull::DropNewest => Ok(false),
            WhenFull::DropOldest => loop {
                let lacking = self.lacking(size);
                if lacking == Tally::default() {
                    return Ok(true);
                }
                if !self.shed_oldest(lacking, now) {
                    return Ok(false);
                }
            },
        }
    }

    fn accept_and_shed(&mut self, size: Tally, now: &impl Fn() -> Instant) -> Pushed {
        let number = self.next_seq;
        self.next_seq += 1;
        self.books.accept(size);
        self.shed(SeqRange::starting_at(number, 1), size, false, now);
        Pushed { number, wake: false }
    }

    /// Sheds the oldest points nobody has in hand; `false` if there are none. Of those that lie together as many go as are lacking. What
    /// is being sent or stored just now cannot be taken back.
    fn shed_oldest(&mut self, lacking: Tally, now: &impl Fn() -> Instant) -> bool {
        let oldest_free = self.window.iter_mut().find(|(_, held)| held.is_free());
        let Some((&key, held)) = oldest_free else {
            let Some((first, tally)) = self.queue.drop_oldest(lacking) else { return false };
            self.shed(SeqRange::starting_at(first, tally.points), tally, false, now);
            return true;
        };
        let written_off = held.written_off;
        let (seqs, tally) = if held.seqs.points() > 1 {
            let shed = held.shed_oldest(lacking);
            self.uncount(true, shed.1);
            shed
        } else {
            let whole = (held.seqs, held.tally());
            self.remove(key);
            whole
        };
        self.shed(seqs, tally, written_off, now);
        true
    }

    fn shed(&mut self, seqs: SeqRange, tally: Tally, written_off: bool, now: &impl Fn() -> Instant) {
        self.note_fate(seqs, tally, QUEUE_FULL);
        let bytes = tally.bytes;
        let shed = DirectFate { seqs, bytes, fate: QUEUE_FULL, quarantine: None, written_off };
        self.record_direct(shed, now);
        self.pass_marks();
    }

    /// Leaves a record of points that met their fate without ever having been stored.
    pub(super) fn record_direct(&mut self, fate: DirectFate, now: impl FnOnce() -> Instant) {
        if self.terms.loss_window.is_some() {
            self.books.unsaved.add_direct(fate, now);
        }
    }
}
