//! How an actor hears that there is something to do.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Instant;

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
#[derive(Debug)]
pub(crate) struct Bell {
    rung: AtomicBool,
    /// When the actor looks of its own accord, in nanoseconds since [`EPOCH`].
    looks_at: AtomicU64,
    hearer: Mutex<Option<Recipient<Wake>>>,
}

/// The actor is looking right now, or has not said when it looks again.
const UNKNOWN: u64 = u64::MAX;

static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Default for Bell {
    fn default() -> Self {
        Self { rung: AtomicBool::new(false), looks_at: AtomicU64::new(UNKNOWN), hearer: Mutex::default() }
    }
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

    /// Wakes the actor if it would not look by then anyway. To be called after what it shall see was written.
    pub(crate) fn ring_by(&self, at: Instant) {
        // Either the actor has not looked yet and sees what was written, or it is seen here that it has.
        fence(Ordering::SeqCst);
        if self.looks_at.load(Ordering::Relaxed) > nanos(at) {
            self.ring();
        }
    }

    /// Says that the actor is about to look: what rings from now on is new.
    pub(crate) fn answer(&self) {
        self.rung.store(false, Ordering::Release);
        // What was written before a ring that found the bell rung must be seen by the look that follows.
        self.look();
    }

    /// Says that the actor is about to look though nobody rang.
    pub(crate) fn look(&self) {
        self.looks_at.store(UNKNOWN, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Says that the actor has looked, and has an alarm that has it look again by then.
    pub(crate) fn look_again_by(&self, at: Instant) {
        self.looks_at.store(nanos(at), Ordering::Release);
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

/// What comes before the first bell was made is long past.
fn nanos(at: Instant) -> u64 {
    u64::try_from(at.saturating_duration_since(*EPOCH).as_nanos()).unwrap_or(UNKNOWN - 1)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn who_looks_in_time_is_not_rung() {
        let bell = Bell::default();
        let now = Instant::now();
        let [sooner, later] = [1, 2].map(|minutes| now + Duration::from_secs(60 * minutes));
        let is_rung_by = |at| {
            bell.ring_by(at);
            bell.rung.swap(false, Ordering::Relaxed)
        };
        assert!(is_rung_by(later), "it has not said when it looks");
        bell.look_again_by(sooner);
        assert!(!is_rung_by(sooner) && !is_rung_by(later));
        assert!(is_rung_by(now));
        bell.look();
        assert!(is_rung_by(later), "it may have looked before what it shall see was written");
        bell.look_again_by(sooner);
        bell.connect(None);
        assert!(is_rung_by(later), "another has taken its place");
    }
}
