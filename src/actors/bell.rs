//! How an actor hears that there is something to do.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::task::{Context as TaskContext, Poll};
use std::time::Instant;

use actix::{Actor, ActorFuture, AsyncContext, Recipient};
use futures_util::task::AtomicWaker;

use super::context::PriorityContext;
use super::drill::Drill;

/// Rings an actor: at most one ring is under way, whoever and however many ring. It is a flag and a waker, no message: whoever
/// rings allocates nothing, and a thread that pushes rings for each batch.
#[derive(Debug)]
pub(crate) struct Bell {
    rung: AtomicBool,
    /// When the actor looks of its own accord, in nanoseconds since [`EPOCH`].
    looks_at: AtomicU64,
    hearer: AtomicWaker,
    /// Where to send what makes it panic.
    drilled: Mutex<Option<Recipient<Drill>>>,
}

/// The actor is looking right now, or has not said when it looks again.
const UNKNOWN: u64 = u64::MAX;

static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Default for Bell {
    fn default() -> Self {
        Self {
            rung: AtomicBool::new(false),
            looks_at: AtomicU64::new(UNKNOWN),
            hearer: AtomicWaker::new(),
            drilled: Mutex::default(),
        }
    }
}

impl Bell {
    /// Wakes the actor, unless a ring is on its way to it already.
    pub(crate) fn ring(&self) {
        if self.rung.load(Ordering::Relaxed) || self.rung.swap(true, Ordering::AcqRel) {
            return;
        }
        self.hearer.wake();
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
        let drilled = self.drilled.lock().unwrap_or_else(PoisonError::into_inner).clone();
        drilled.map(|drilled| drilled.do_send(Drill)).is_some()
    }

    /// Gives the bell another actor. It looks as soon as it [hears](hear).
    pub(crate) fn connect(&self, drilled: Option<Recipient<Drill>>) {
        *self.drilled.lock().unwrap_or_else(PoisonError::into_inner) = drilled;
        self.answer();
    }
}

/// Has the actor look now, and whenever the bell is rung, for as long as it lives.
pub(super) fn hear<A: Actor<Context = PriorityContext<A>>>(
    actor: &mut A,
    ctx: &mut PriorityContext<A>,
    bell: fn(&A) -> &Bell,
    look: fn(&mut A, &mut PriorityContext<A>),
) {
    ctx.spawn(Hearing { bell, look });
    bell(actor).answer();
    look(actor, ctx);
}

struct Hearing<A: Actor> {
    bell: fn(&A) -> &Bell,
    look: fn(&mut A, &mut A::Context),
}

impl<A: Actor> ActorFuture<A> for Hearing<A> {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        actor: &mut A,
        ctx: &mut A::Context,
        task: &mut TaskContext<'_>,
    ) -> Poll<()> {
        let bell = (self.bell)(actor);
        // First, so that a ring is either seen here or wakes.
        bell.hearer.register(task.waker());
        if bell.rung.load(Ordering::Acquire) {
            bell.answer();
            (self.look)(actor, ctx);
        }
        Poll::Pending
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
