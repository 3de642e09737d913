//! The mailbox: casts before calls, within a bound.
//!
//! A *cast* is a message sent without waiting for an answer (`do_send`, `try_send`), a *call* one that waits
//! (`send`). All travel through actix's own channel, in the order they were sent. A cast that arrives at the head is
//! handled; a call is parked, and handled when no cast is left or its bound falls due:
//!
//! ```text
//!             actix channel (FIFO)
//!  senders ──▶ c c K c K c c ──▶ head ──▶ cast: handled now
//!                                   └───▶ call: parked ──▶ K K ──▶ handled when the channel is empty,
//!                                                                  or when its bound falls due
//! ```
//!
//! So both kinds keep their order, and a call never overtakes a cast that its sender sent before it. How the head
//! tells them apart: actix asks the context to pack each message, and says whether somebody waits for the answer
//! (`ToEnvelope::pack`). A call is packed twice; "handling" the outer envelope parks the inner one.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use actix::Actor;
use actix::dev::Envelope;
use actix::dev::channel::AddressReceiver;
use futures_util::Stream;
use tokio::time::Instant;

use crate::panics::caught;

/// The bounds of a mailbox.
///
/// ```
/// # use std::time::Duration;
/// use influx_spool::MailboxOptions;
///
/// let strict = MailboxOptions::default().casts_per_call(None).max_call_age(None);
/// let patient = MailboxOptions::default().max_call_age(Some(Duration::from_secs(2)));
/// assert_ne!(strict, patient);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MailboxOptions {
    /// See [`Self::capacity`].
    pub capacity: usize,
    /// See [`Self::casts_per_call`].
    pub casts_per_call: Option<u32>,
    /// See [`Self::max_call_age`].
    pub max_call_age: Option<Duration>,
    /// See [`Self::calls_max`].
    pub calls_max: usize,
    /// See [`Self::budget`].
    pub budget: u32,
}

impl MailboxOptions {
    /// How many messages the channel takes from `try_send` and `send` before they find it full (each clone of the
    /// address may put in one more); `do_send` ignores it, as in actix. 0 is no bound.
    ///
    /// Default: 1,024. A call that finds the channel full waits at its sender, where the order of arrival is not
    /// kept; a thousand callers at once are rare, and their envelopes are some 100 KiB.
    #[must_use]
    pub const fn capacity(mut self, capacity: usize) -> Self {
        self.capacity = capacity;
        self
    }

    /// After how many casts one parked call is handled though more casts are there. `None`: never for that reason;
    /// `Some(0)` counts as 1.
    ///
    /// Default: 4,096. At the few hundred nanoseconds a small cast takes, that is about a millisecond of casts.
    #[must_use]
    pub const fn casts_per_call(mut self, casts: Option<u32>) -> Self {
        self.casts_per_call = casts;
        self
    }

    /// How long a call may be parked, counted from its arrival at the head of the mailbox, until it is handled
    /// though more casts are there. `None`: for ever.
    ///
    /// Default: 250 ms. It matters when casts are slow; a caller that waits for a whole second thinks the actor dead.
    /// What a call waits in the channel before it reaches the head comes on top: the casts sent before it are
    /// never skipped.
    #[must_use]
    pub const fn max_call_age(mut self, age: Option<Duration>) -> Self {
        self.max_call_age = age;
        self
    }

    /// How many calls may be parked. When one more arrives the oldest is handled at once: no call is refused, and
    /// memory stays bounded.
    ///
    /// Default: 65,536, some 6 MiB of envelopes. `usize::MAX` is no bound; 0 makes calls equal to casts.
    #[must_use]
    pub const fn calls_max(mut self, calls: usize) -> Self {
        self.calls_max = calls;
        self
    }

    /// How many messages an actor may handle in one turn before its own timers, streams and futures and the other
    /// actors of its thread get theirs. 0 counts as 1.
    ///
    /// Default: 256. Casts of 3 µs take less than a millisecond then, so a 1 ms timer is on time. A turn costs some
    /// 10 µs, in which the runtime looks after its timers and sockets: 40 ns a message when all are tiny; from
    /// 1,024 on the benchmark sees no difference from actix's own context, which never yields.
    #[must_use]
    pub const fn budget(mut self, budget: u32) -> Self {
        self.budget = budget;
        self
    }
}

impl Default for MailboxOptions {
    fn default() -> Self {
        Self {
            capacity: 1024,
            casts_per_call: Some(4096),
            max_call_age: Some(Duration::from_millis(250)),
            calls_max: 65_536,
            budget: 256,
        }
    }
}

/// The receiving end: gives out what is to be handled next.
pub(super) struct Mailbox<A: Actor> {
    channel: AddressReceiver<A>,
    parked: VecDeque<ParkedCall<A>>,
    /// Casts handled since the last call was, or since the first one was parked.
    casts: u32,
    options: MailboxOptions,
}

struct ParkedCall<A: Actor> {
    envelope: Envelope<A>,
    since: Instant,
}

impl<A: Actor> Mailbox<A> {
    pub(super) fn new(channel: AddressReceiver<A>, options: MailboxOptions) -> Self {
        Self { channel, parked: VecDeque::new(), casts: 0, options }
    }

    /// What to handle next. An envelope that comes fresh from the channel may park itself instead.
    pub(super) fn poll_next(&mut self, task: &mut TaskContext<'_>) -> Poll<Envelope<A>> {
        if self.is_call_due() {
            return self.take_call();
        }
        match Pin::new(&mut self.channel).poll_next(task) {
            Poll::Ready(Some(envelope)) => {
                self.casts = self.casts.saturating_add(1);
                Poll::Ready(envelope)
            }
            // The channel never ends: the receiver here is what would close it.
            Poll::Ready(None) | Poll::Pending => self.take_call(),
        }
    }

    /// A call has arrived at the head.
    pub(super) fn park(&mut self, envelope: Envelope<A>) {
        // It came from the channel and was counted as a cast there.
        self.casts = if self.parked.is_empty() { 0 } else { self.casts.saturating_sub(1) };
        self.parked.push_back(ParkedCall { envelope, since: Instant::now() });
    }

    /// How many calls are parked.
    pub(super) fn parked(&self) -> usize {
        self.parked.len()
    }

    /// Does anybody hold an address?
    pub(super) fn is_connected(&self) -> bool {
        self.channel.connected()
    }

    pub(super) fn channel(&self) -> &AddressReceiver<A> {
        &self.channel
    }

    pub(super) fn options(&self) -> &MailboxOptions {
        &self.options
    }

    fn is_call_due(&self) -> bool {
        let Some(oldest) = self.parked.front() else { return false };
        self.options.casts_per_call.is_some_and(|casts| self.casts >= casts.max(1))
            || self.parked.len() > self.options.calls_max
            || self.options.max_call_age.is_some_and(|age| oldest.since.elapsed() >= age)
    }

    fn take_call(&mut self) -> Poll<Envelope<A>> {
        self.casts = 0;
        self.parked.pop_front().map_or(Poll::Pending, |call| Poll::Ready(call.envelope))
    }
}

impl<A: Actor> Drop for Mailbox<A> {
    /// Messages are dropped one by one: the destructor of one may panic, and the callers behind it would never hear
    /// that nobody is going to answer.
    fn drop(&mut self) {
        let mut task = TaskContext::from_waker(Waker::noop());
        for _ in 0..DRAIN_MAX {
            let Poll::Ready(envelope) = self.poll_next(&mut task) else { break };
            // What it panicked with was somebody else's, and there is nobody left to tell.
            let _ = caught(move || drop(envelope));
        }
    }
}

/// Senders can fill the channel as fast as it is drained until the receiver itself closes it, which also drops
/// what is left; more messages than this do not wait in a mailbox that works.
const DRAIN_MAX: usize = 1_000_000;
