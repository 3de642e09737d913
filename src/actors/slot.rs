//! Where the open file of the spool is: here, with a worker, closed.

use std::sync::{MutexGuard, PoisonError};
use std::time::Instant;

use super::shared::{STALLED_AFTER, Shared};
use crate::machines::plan::Withheld;
use crate::spool::Spool;
use crate::values::health::SpoolHealth;

/// Where the open file of the spool is.
#[derive(Debug)]
pub(crate) enum SpoolSlot {
    /// There is no spool.
    InMemory,
    /// Here, with nothing to do.
    Idle(Box<Spool>),
    /// With a worker, since then. `missed` if somebody came for it meanwhile.
    Working { since: Instant, missed: bool },
    /// Nowhere: it failed, for this reason, and has to be opened again.
    Closed(String),
    /// The same, and a worker has been opening it since then.
    Opening(String, Instant),
    /// Closed for good.
    Stopped,
}

impl SpoolSlot {
    pub(crate) const fn working(since: Instant) -> Self {
        Self::Working { since, missed: false }
    }
}

impl Shared {
    /// Takes the open spool to work with, if it is here.
    pub(crate) fn take_spool(&self) -> Option<Box<Spool>> {
        let mut slot = self.slot();
        match std::mem::replace(&mut *slot, SpoolSlot::working(Instant::now())) {
            SpoolSlot::Idle(spool) => Some(spool),
            SpoolSlot::Working { since, .. } => {
                *slot = SpoolSlot::Working { since, missed: true };
                None
            }
            other => {
                *slot = other;
                None
            }
        }
    }

    /// Puts the spool back, or says where it is; whether somebody came for it in vain while it was with a worker.
    pub(crate) fn put_spool(&self, to: SpoolSlot) -> bool {
        let was = std::mem::replace(&mut *self.slot(), to);
        matches!(was, SpoolSlot::Working { missed: true, .. })
    }

    /// Claims the right to open a spool that has failed; `false` if it has not, or somebody is at it.
    pub(crate) fn claim_reopening(&self) -> bool {
        let mut slot = self.slot();
        let SpoolSlot::Closed(why) = &mut *slot else { return false };
        *slot = SpoolSlot::Opening(std::mem::take(why), Instant::now());
        true
    }

    pub(crate) fn spool_is_closed(&self) -> bool {
        matches!(*self.slot(), SpoolSlot::Closed(_))
    }

    /// Whether there is no open spool, here or with a worker.
    pub(crate) fn spool_is_gone(&self) -> bool {
        !matches!(*self.slot(), SpoolSlot::Idle(_) | SpoolSlot::Working { .. } | SpoolSlot::Opening(..))
    }

    pub(super) fn spool_health(&self, withheld: Option<Withheld>) -> SpoolHealth {
        match &*self.slot() {
            SpoolSlot::InMemory => SpoolHealth::InMemory,
            SpoolSlot::Working { since, .. } | SpoolSlot::Opening(_, since)
                if since.elapsed() > STALLED_AFTER =>
            {
                SpoolHealth::Stalled(since.elapsed())
            }
            SpoolSlot::Closed(why) | SpoolSlot::Opening(why, _) => SpoolHealth::Failing(why.clone()),
            _ => match withheld {
                None => SpoolHealth::Ok,
                Some(Withheld::SpoolFull) => SpoolHealth::Full,
                Some(Withheld::DiskFull) => SpoolHealth::DiskFull,
            },
        }
    }

    fn slot(&self) -> MutexGuard<'_, SpoolSlot> {
        self.spool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
