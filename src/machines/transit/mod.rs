//! Everything that was accepted and has not met its fate: the sliding queue and the list of batches behind it.
//!
//! # Who owns a point
//!
//! This structure, and nobody else, from `push` until the spool, an answer or a loss has been recorded. It belongs to
//! no actor and outlives them all; it lies behind one lock (`actors::shared`). Actors and worker threads hold keys,
//! leases and shared bytes, never the only copy: whichever of them dies, what it worked on is still listed here, and
//! its successor begins by taking the list over.
//!
//! ```text
//!  push ─► queue ─► window: lines ─► body ─► (row) ─► leased ─► fate
//!           ▲                 seal      save       send
//!        sliding              ▲
//!                 beyond ─────┘ read back, oldest first
//! ```
//!
//! - `queue`: encoded lines, in segments. Here points slide.
//! - `window`: batches by first number. A batch is *volatile* while it has no row in the spool.
//! - `beyond`: rows of the spool that are not in the window, known by their sums only. Their numbers are above
//!   `read_to` and below those of every volatile batch: while any row is beyond, what gets a row leaves the window, so the
//!   window and memory stay small however long an outage lasts. A batch that is in work and was read before a
//!   [replay](replay) took older ones back is above `read_to`, too; it waits for them.
//!
//! # Invariants
//!
//! - A number is in at most one of queue, window, beyond; a point that is in none of them has a fate.
//! - `accepted = Σ fates + pending`, where accepted and fates are counted as they happen, and pending is the sum of
//!   what is held: neither is computed from the other.
//! - A transaction is planned here, and its outcome noted here, exactly once: the plan stays in `saving` until the
//!   outcome is known, by the answer, or after a crash of the worker by the transaction's number in the file.
//!
//! Everything takes `now` and returns a decision. Nothing here waits, sleeps or does input or output.

mod agenda;
mod books;
mod held;
mod push;
mod read_back;
mod reopening;
mod replay;
mod save;
mod seal;
mod send;
mod snapshot;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) use agenda::Agenda;
pub(crate) use held::{Holder, SealJob, Wire};
pub(crate) use push::{PushRefusal, Pushed};
#[cfg(test)]
pub(crate) use read_back::ReadRequest;
pub(crate) use reopening::{Found, Opened};
pub(crate) use send::{Answered, Lease, Load};

use self::books::Books;
use self::held::Held;
use self::replay::Replaying;
use self::save::Saving;
use self::send::SizeLearnt;
use super::link::{Link, LinkNews};
use super::plan::Withheld;
use super::queue::{SegmentLimits, SlidingQueue};
use super::waiters::{Answers, Until, Waiters};
use crate::values::batch::Destination;
use crate::values::config::{Compression, WhenFull};
use crate::values::fate::{Durability, Fate, QuarantineReason, Standing};
use crate::values::ledger::{Backlog, Tally};
use crate::values::seq::SeqRange;

/// The bounds and the times it keeps to. May change while it runs. What a push goes by comes first.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Terms {
    /// Bounds of what is only in memory.
    pub(crate) points_max: u64,
    pub(crate) bytes_max: u64,
    pub(crate) when_full: WhenFull,
    pub(crate) segment: SegmentLimits,
    /// How long a point may wait for its batch to fill.
    pub(crate) linger: Duration,
    pub(crate) compression: Compression,
    /// How long a point may be only in memory and unanswered; `None` without a spool.
    pub(crate) loss_window: Option<Duration>,
    /// The bound of the spool file; more than half of it filled is when rows may have to go.
    pub(crate) spool_bytes_max: u64,
    /// How long the counters of what never touched the disk may be only in memory.
    pub(crate) ledger_interval: Duration,
    /// What a stored point survives.
    pub(crate) durability: Durability,
    pub(crate) backoff_min: Duration,
    pub(crate) backoff_max: Duration,
    pub(crate) udp: Option<UdpTerms>,
}

/// What UDP carries and what it does not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UdpTerms {
    /// Whether HTTP carries what UDP cannot.
    pub(crate) http_fallback: bool,
}

/// Something that happened and should be said: to the log and to subscribers.
#[derive(Clone, Debug)]
pub(crate) enum News {
    Link(Wire, LinkNews),
    Quarantined {
        seqs: SeqRange,
        reason: QuarantineReason,
        status: Option<u16>,
        words: String,
    },
    /// Points were lost since the last time this was said; how many is in the ledger.
    Losing,
    /// The spool has no room for more, and why; or has room again.
    SpoolRoom(Option<Withheld>),
}

/// See the [module's documentation](self). What a push touches comes first, side by side.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Transit {
    stopped: bool,
    next_seq: u64,
    /// Of the window: what has no row.
    volatile: Tally,
    queue: SlidingQueue,
    news: Vec<News>,
    terms: Terms,
    waiters: Waiters,
    books: Books,
    window: BTreeMap<u64, Held>,
    /// Of the window: what has one.
    stored: Tally,
    beyond: Backlog,
    /// Of the rows beyond: those read and found damaged, which stay counted until they are deleted.
    damaged_rows: u64,
    /// Rows up to this first number are in the window, or settled.
    read_to: u64,
    saving: Option<Saving>,
    replays: VecDeque<Replaying>,
    commit_number: u64,
    /// Batches up to this number are to be sealed, or stored, without waiting any longer.
    seal_mark: u64,
    commit_mark: u64,
    withheld: Option<Withheld>,
    append_not_before: Option<Instant>,
    /// Whether the disk is full, and has room for few records more.
    records_are_dear: bool,
    dismissed: bool,
    link: Link,
    udp_link: Link,
    /// What the UDP listener's database is.
    home: Option<Arc<Destination>>,
    /// How large a body may be, where the server has refused one for its size.
    size: Option<SizeLearnt>,
    losing_told: bool,
    counters: Counters,
}

/// What is counted besides points.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    pub(crate) batches_sealed: u64,
    pub(crate) body_bytes_sealed: u64,
    pub(crate) requests: u64,
    pub(crate) commits: u64,
    pub(crate) rows_stored: u64,
    pub(crate) rows_read: u64,
    pub(crate) refused: u64,
}

impl Transit {
    /// A transit that begins where the spool left off; `opened` is [`Opened::in_memory`] without one.
    pub(crate) fn new(terms: Terms, opened: &Opened) -> Self {
        Self {
            terms,
            next_seq: opened.seq_next,
            queue: SlidingQueue::default(),
            window: BTreeMap::new(),
            volatile: Tally::default(),
            stored: Tally::default(),
            beyond: opened.backlog,
            damaged_rows: 0,
            read_to: 0,
            books: Books::new(opened.ledger.clone()),
            saving: None,
            replays: VecDeque::new(),
            commit_number: opened.commit_number,
            seal_mark: 0,
            commit_mark: 0,
            withheld: None,
            append_not_before: None,
            records_are_dear: false,
            stopped: false,
            dismissed: false,
            link: Link::new(terms.backoff_min, terms.backoff_max),
            udp_link: Link::new(terms.backoff_min, terms.backoff_max),
            home: None,
            size: None,
            waiters: Waiters::default(),
            news: Vec::new(),
            losing_told: false,
            counters: Counters { refused: opened.refused, ..Counters::default() },
        }
    }

    /// Takes other bounds and times. What is already sealed keeps its form.
    pub(crate) fn set_terms(&mut self, terms: Terms, now: Instant) {
        self.terms = terms;
        // The server may be another, with other bounds.
        self.size = None;
        for link in [&mut self.link, &mut self.udp_link] {
            link.set_delays(terms.backoff_min, terms.backoff_max);
            link.try_now(now);
        }
    }

    /// Has the server asked at once: whatever was in the way is gone.
    pub(crate) fn try_now(&mut self, now: Instant) {
        self.link.try_now(now);
    }

    /// Gives memory back that only waits for the next points.
    pub(crate) fn rest(&self) {
        self.queue.rest();
    }

    /// Says to which database a UDP listener belongs.
    pub(crate) fn set_home(&mut self, home: Arc<Destination>) {
        self.home = Some(home);
    }

    /// Refuses every push from now on; `false` if it did so before.
    pub(crate) fn stop(&mut self) -> bool {
        self.dismiss_replays_to_come();
        !std::mem::replace(&mut self.stopped, true)
    }

    pub(crate) const fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// The number of the newest accepted point; what a flush waits for.
    pub(crate) const fn last_seq(&self) -> u64 {
        self.next_seq - 1
    }

    pub(crate) const fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Points that have no fate yet, counted where they are.
    pub(crate) const fn pending_points(&self) -> u64 {
        self.queue.held().points + self.volatile.points + self.stored.points + self.beyond.points
    }

    /// Asks that everything up to `mark` be sealed without waiting for full batches.
    pub(crate) fn seal_up_to(&mut self, mark: u64) {
        self.seal_mark = self.seal_mark.max(mark);
    }

    /// Asks that everything up to `mark` be stored now.
    pub(crate) fn commit_up_to(&mut self, mark: u64) {
        self.seal_up_to(mark);
        self.commit_mark = self.commit_mark.max(mark);
    }

    /// Where a point stands; `None` if only the spool can tell: it lies in the backlog, is of an earlier life, or its
    /// fate was long ago.
    pub(crate) fn standing(&self, number: u64) -> Option<Standing> {
        if let Some(fate) = self.books.fate_of(number) {
            return Some(Standing::Settled(fate));
        }
        if let Some((_, held)) = self.window.range(..=number).next_back()
            && held.seqs.contains(number)
        {
            return Some(if held.is_volatile() { Standing::InMemory } else { self.durable() });
        }
        let queued = self.queue.first().is_some_and(|first| number >= first) && number < self.next_seq;
        queued.then_some(Standing::InMemory)
    }

    /// Waits for a point to reach a stage.
    pub(crate) fn wait_for(&mut self, number: u64, until: Until) -> tokio::sync::oneshot::Receiver<Standing> {
        let receiver = self.waiters.wait_for(number, until);
        self.dismiss_if_over();
        receiver
    }

    /// Waits until no point up to `mark` is without its fate.
    pub(crate) fn wait_for_flush(&mut self, mark: u64) -> tokio::sync::oneshot::Receiver<()> {
        self.seal_up_to(mark);
        let receiver = self.waiters.wait_for_flush(mark);
        self.pass_marks();
        self.dismiss_if_over();
        receiver
    }

    /// Waits until no point up to `mark` is in memory only.
    pub(crate) fn wait_for_commit(&mut self, mark: u64) -> tokio::sync::oneshot::Receiver<()> {
        self.commit_up_to(mark);
        let receiver = self.waiters.wait_for_commit(mark);
        self.pass_marks();
        self.dismiss_if_over();
        receiver
    }

    /// Takes what is to be said, and the answers that are due, to be dealt with outside the lock.
    #[inline]
    pub(crate) fn take_outbox(&mut self) -> Option<Outbox> {
        let has_any = !self.news.is_empty() || self.waiters.has_due();
        has_any.then(|| Outbox { news: std::mem::take(&mut self.news), answers: self.waiters.take_due() })
    }

    /// Losses may be said again.
    pub(crate) const fn losses_told(&mut self) {
        self.losing_told = false;
    }

    /// Ends every wait: nothing more will happen.
    pub(crate) fn dismiss(&mut self) {
        self.dismissed = true;
        for replaying in self.replays.drain(..) {
            self.waiters.dismiss_replay(replaying.into_answer());
        }
        self.waiters.dismiss();
    }

    /// Nobody waits for what will not happen any more.
    fn dismiss_if_over(&mut self) {
        if self.dismissed {
            self.waiters.dismiss();
        }
    }

    pub(crate) const fn is_dismissed(&self) -> bool {
        self.dismissed
    }

    const fn durable(&self) -> Standing {
        Standing::Durable(self.terms.durability)
    }

    /// Whether somebody waits for a body that has to be made first.
    pub(crate) fn wants_seal(&self) -> bool {
        self.window.values().any(|held| held.wanted)
    }

    /// The oldest point without a fate.
    fn oldest_pending(&self) -> Option<u64> {
        let windowed = self.window.values().next().map(|held| held.seqs.first);
        let beyond = (self.beyond.batches > 0).then_some(self.read_to + 1);
        [windowed, beyond, self.queue.first()].into_iter().flatten().min()
    }

    /// The oldest point that is only in memory.
    fn oldest_volatile(&self) -> Option<u64> {
        let windowed = self.window.values().find(|held| held.is_volatile()).map(|held| held.seqs.first);
        windowed.or_else(|| self.queue.first())
    }

    fn pass_marks(&mut self) {
        if self.waiters.has_marks() {
            let (pending, volatile) = (self.oldest_pending(), self.oldest_volatile());
            self.waiters.passed(pending, volatile);
        }
    }

    /// Notes that points met their fate: in the ledger, in the log of fates, to whoever waits.
    fn note_fate(&mut self, seqs: SeqRange, tally: Tally, fate: Fate) {
        self.books.settle(seqs, tally, fate);
        self.waiters.settled(seqs, Standing::Settled(fate));
        let lost = matches!(fate, Fate::Shed(_) | Fate::Expired | Fate::Damaged | Fate::Rejected);
        if lost && !self.losing_told {
            self.losing_told = true;
            self.news.push(News::Losing);
        }
    }

    fn insert(&mut self, key: u64, held: Held) {
        *self.side_of(held.is_volatile()) += held.tally();
        self.window.insert(key, held);
    }

    fn remove(&mut self, key: u64) -> Option<Held> {
        let held = self.window.remove(&key)?;
        self.uncount(held.is_volatile(), held.tally());
        Some(held)
    }

    fn uncount(&mut self, volatile: bool, tally: Tally) {
        let side = self.side_of(volatile);
        side.points -= tally.points;
        side.bytes -= tally.bytes;
    }

    const fn side_of(&mut self, volatile: bool) -> &mut Tally {
        if volatile { &mut self.volatile } else { &mut self.stored }
    }
}

/// What is to be done once the lock is released.
#[derive(Debug)]
pub(crate) struct Outbox {
    pub(crate) news: Vec<News>,
    pub(crate) answers: Answers,
}
