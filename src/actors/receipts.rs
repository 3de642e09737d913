//! Where a point stands: now, at a later stage, or in an earlier life.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::shared::Shared;
use super::slot::SpoolSlot;
use crate::machines::waiters::Until;
use crate::spool::SpoolError;
use crate::values::error::CallError;
use crate::values::fate::Standing;
use crate::values::seq::Seq;

impl Shared {
    /// Waits until a point has reached a stage, and says where it stands then.
    pub(crate) async fn await_standing(
        self: &Arc<Self>,
        seq: Seq,
        until: Until,
    ) -> Result<Standing, CallError> {
        if seq.spool() != self.tag {
            return Err(CallError::WrongSpool);
        }
        let number = seq.number();
        let found = self.with(|transit| {
            if number >= transit.next_seq() || number == 0 {
                return Found::No;
            }
            match transit.standing(number) {
                Some(standing) if reached(standing, until) => Found::At(standing),
                Some(_) if transit.is_dismissed() => Found::Dismissed,
                Some(_) => Found::Waiting(transit.wait_for(number, until)),
                None => Found::Elsewhere,
            }
        });
        match found {
            Found::No => Err(CallError::NoSuchPoint),
            Found::Dismissed => Err(CallError::Stopped),
            Found::At(standing) => Ok(standing),
            Found::Waiting(answer) => answer.await.map_err(|_| CallError::Stopped),
            Found::Elsewhere => self.ask_spool(number, until).await,
        }
    }

    /// Asks the file about a number that memory does not know: one of an earlier life, or one of the backlog.
    async fn ask_spool(self: &Arc<Self>, number: u64, until: Until) -> Result<Standing, CallError> {
        if self.spool_options.is_none() {
            return Ok(Standing::Lost);
        }
        let (answer, answered) = oneshot::channel();
        self.look_up(number, answer);
        match answered.await {
            Ok(Ok(Some(standing))) if reached(standing, until) => Ok(standing),
            Ok(Ok(Some(_))) => self.wait_for_fate(number).await,
            Ok(Ok(None)) => Ok(Standing::Lost),
            Ok(Err(_)) => Err(CallError::Panicked),
            Err(_) if self.with(|transit| transit.is_dismissed()) => Err(CallError::Stopped),
            Err(_) => Err(CallError::Busy),
        }
    }

    /// Looks a number up on the spool's own lane, where nothing else has the spool in hand. Without an open spool the
    /// answer is dropped.
    fn look_up(self: &Arc<Self>, number: u64, answer: oneshot::Sender<LookedUp>) {
        let shared = Arc::clone(self);
        self.disk.run(move || match shared.take_spool() {
            Some(mut spool) => {
                let standing = spool.standing(number);
                shared.put_spool(SpoolSlot::Idle(spool));
                shared.store.ring();
                let _ = answer.send(standing);
            }
            None if shared.spool_is_gone() => {}
            // Taken out, for work that waits in this lane behind us: next time behind that.
            None => shared.look_up(number, answer),
        });
    }

    /// Waits for the fate of a point of the backlog. It may have been read back and settled since the file was asked.
    async fn wait_for_fate(&self, number: u64) -> Result<Standing, CallError> {
        let found = self.with(|transit| match transit.standing(number) {
            Some(standing) if reached(standing, Until::Settled) => Ok(standing),
            _ => Err(transit.wait_for(number, Until::Settled)),
        });
        match found {
            Ok(standing) => Ok(standing),
            Err(answer) => answer.await.map_err(|_| CallError::Stopped),
        }
    }
}

type LookedUp = Result<Option<Standing>, SpoolError>;

enum Found {
    No,
    Dismissed,
    At(Standing),
    Waiting(oneshot::Receiver<Standing>),
    Elsewhere,
}

const fn reached(standing: Standing, until: Until) -> bool {
    match standing {
        Standing::InMemory => false,
        Standing::Durable(_) => matches!(until, Until::Persisted),
        Standing::Settled(_) | Standing::Lost => true,
    }
}
