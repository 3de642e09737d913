//! What passes between a supervisor and the runner of one child, beside the mailbox: atomics and a waker, so that
//! no number of messages can delay it.
//!
//! | written by | field | meaning |
//! |---|---|---|
//! | supervisor | order | what the runner is to do, and for which generation |
//! | runner | progress | grows whenever the actor gets a turn and does not sit in `ctx.wait` |
//! | runner | excuse | until when it waits by design |

use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;

/// What a runner is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    /// Build the actor and run it.
    Start,
    /// Ask the actor to stop.
    Stop,
    /// Drop the actor.
    Kill,
    /// Drop the actor if it sits in a wait; one that has come back is left alone.
    KillIfWaiting,
    /// Drop the actor, close the mailbox, and end.
    Finish,
}

/// An order and the generation it is meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) verb: Verb,
    pub(super) generation: u64,
}

/// Shared by a runner and whoever supervises it.
#[derive(Debug)]
pub(super) struct Control {
    order: AtomicU64,
    progress: AtomicU64,
    excuse: AtomicU64,
    epoch: Instant,
    waker: AtomicWaker,
}

impl Default for Control {
    fn default() -> Self {
        Self {
            order: AtomicU64::new(NO_ORDER),
            progress: AtomicU64::new(0),
            excuse: AtomicU64::new(NO_EXCUSE),
            epoch: Instant::now(),
            waker: AtomicWaker::new(),
        }
    }
}

impl Control {
    /// Gives an order. One that was not yet read is replaced: the newest is what the supervisor wants now.
    pub(super) fn order(&self, verb: Verb, generation: u64) {
        self.order.store(encode(Order { verb, generation }), Ordering::Release);
        self.wake();
    }

    /// Takes the order that waits, if one does.
    pub(super) fn take_order(&self) -> Option<Order> {
        // The plain load keeps the cache line shared: an order comes once in minutes, this read every poll.
        if self.order.load(Ordering::Acquire) == NO_ORDER {
            return None;
        }
        decode(self.order.swap(NO_ORDER, Ordering::AcqRel))
    }

    /// Makes the runner be polled.
    pub(super) fn wake(&self) {
        self.waker.wake();
    }

    /// Names the task to wake. To be called before the order is read.
    pub(super) fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    /// The actor moved.
    pub(super) fn advance(&self) {
        self.progress.fetch_add(1, Ordering::Relaxed);
    }

    /// The actor waits no more, whatever it had declared.
    pub(super) fn end_excuse(&self) {
        if self.excuse.load(Ordering::Relaxed) != NO_EXCUSE {
            self.excuse.store(NO_EXCUSE, Ordering::Relaxed);
        }
    }

    pub(super) fn progress(&self) -> u64 {
        self.progress.load(Ordering::Relaxed)
    }

    /// The actor waits by design until then.
    pub(super) fn excuse_until(&self, until: Instant) {
        let nanos = until.saturating_duration_since(self.epoch).as_nanos();
        self.excuse.store(u64::try_from(nanos).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn excused_until(&self) -> Option<Instant> {
        match self.excuse.load(Ordering::Relaxed) {
            NO_EXCUSE => None,
            nanos => self.epoch.checked_add(Duration::from_nanos(nanos)),
        }
    }
}

const NO_ORDER: u64 = 0;
const NO_EXCUSE: u64 = 0;

/// The verb takes the low bits; 61 bits of generations outlast any process.
const VERB_BITS: u32 = 3;

fn encode(order: Order) -> u64 {
    let verb = match order.verb {
        Verb::Start => 1,
        Verb::Stop => 2,
        Verb::Kill => 3,
        Verb::KillIfWaiting => 4,
        Verb::Finish => 5,
    };
    order.generation << VERB_BITS | verb
}

fn decode(bits: u64) -> Option<Order> {
    let verb = match bits & ((1 << VERB_BITS) - 1) {
        1 => Verb::Start,
        2 => Verb::Stop,
        3 => Verb::Kill,
        4 => Verb::KillIfWaiting,
        5 => Verb::Finish,
        _ => return None,
    };
    Some(Order { verb, generation: bits >> VERB_BITS })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_read_once_and_the_newest_counts() {
        let control = Control::default();
        assert_eq!(control.take_order(), None);
        for verb in [Verb::Start, Verb::Stop, Verb::Kill, Verb::KillIfWaiting, Verb::Finish] {
            control.order(Verb::Start, 1);
            control.order(verb, 1 << 40);
            assert_eq!(control.take_order(), Some(Order { verb, generation: 1 << 40 }));
            assert_eq!(control.take_order(), None);
        }
    }

    #[test]
    fn an_excuse_holds_until_it_is_ended() {
        let control = Control::default();
        assert_eq!(control.excused_until(), None);
        let until = Instant::now() + Duration::from_secs(5);
        control.excuse_until(until);
        assert_eq!(control.excused_until(), Some(until));
        control.end_excuse();
        assert_eq!(control.excused_until(), None);
    }
}
