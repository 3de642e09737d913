//! How an actor hears that there is something to do.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use actix::Recipient;

/// What an actor is rung with. A cast.
#[derive(Clone, Copy, Debug, actix::Message)]
#[rtype(result = "()")]
pub(crate) enum Wake {
    /// There is something new to look at. One is under way at most.
    Look,
    /// It is to panic: a [drill](super::drill).
    Drill,
}

/// Rings an actor: at most one wake is under way, whoever and however many ring.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    rung: AtomicBool,
    hearer: Mutex<Option<Recipient<Wake>>>,
}

impl Bell {
    /// Wakes the actor, unless a wake is on its way to it already.
    pub(crate) fn ring(&self) {
        if self.rung.load(Ordering::Relaxed) || self.rung.swap(true, Ordering::AcqRel) {
            return;
        }
        let hearer = self.hearer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(hearer) = hearer {
            hearer.do_send(Wake::Look);
        }
    }

    /// Says that the actor is about to look: what rings from now on is new.
    pub(crate) fn answer(&self) {
        self.rung.store(false, Ordering::Release);
        // What was written before a ring that found the bell rung must be seen by the look that follows.
        std::sync::atomic::fence(Ordering::SeqCst);
    }

    /// Has the actor panic; `false` if there is none.
    pub(super) fn drill(&self) -> bool {
        let hearer = self.hearer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        hearer.map(|hearer| hearer.do_send(Wake::Drill)).is_some()
    }

    /// Gives the bell another hearer.
    pub(crate) fn connect(&self, hearer: Option<Recipient<Wake>>) {
        *self.hearer.lock().unwrap_or_else(PoisonError::into_inner) = hearer;
        self.answer();
    }
}
