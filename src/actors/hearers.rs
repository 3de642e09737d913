//! Those who wait for something to happen, each with a sender of its own: a waker that panics keeps no other from being
//! woken, as it would in a list that is woken in one go.

use std::sync::{Mutex, PoisonError};

use tokio::sync::oneshot;

use crate::panics::caught;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Hearers(Mutex<Vec<oneshot::Sender<()>>>);

impl Hearers {
    /// Resolves at the next announcement, or when there will be none any more. Whoever waits for a state looks at it once
    /// more after this, and only then waits.
    pub(crate) fn hear(&self) -> oneshot::Receiver<()> {
        let (hearer, announced) = oneshot::channel();
        let mut hearers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if hearers.len() == hearers.capacity() {
            // Those who gave up leave nothing behind.
            hearers.retain(|hearer| !hearer.is_closed());
        }
        hearers.push(hearer);
        announced
    }

    /// Wakes everyone who waits by now.
    pub(crate) fn announce(&self) {
        let hearers = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for hearer in hearers {
            let _ = caught(|| hearer.send(()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::{Context, Wake, Waker};

    use super::*;

    struct Bomb;
    impl Wake for Bomb {
        fn wake(self: Arc<Self>) {
            std::panic::resume_unwind(Box::new("a bomb"));
        }
    }

    #[test]
    fn everyone_is_woken_though_one_panics_and_the_gone_are_forgotten() {
        let hearers = Hearers::default();
        for _ in 0..1_000 {
            drop(hearers.hear());
        }
        let waits: Vec<_> = (0..3).map(|_| hearers.hear()).collect();
        assert!(hearers.0.lock().unwrap().len() < 20);
        let mut waits: Vec<_> = waits.into_iter().map(Box::pin).collect();
        let bomb = Waker::from(Arc::new(Bomb));
        assert!(waits[1].as_mut().poll(&mut Context::from_waker(&bomb)).is_pending());
        hearers.announce();
        let mut context = Context::from_waker(Waker::noop());
        assert!(waits.iter_mut().all(|wait| wait.as_mut().poll(&mut context).is_ready()));
    }
}
