//! Where a point stands: now, at a later stage, or in an earlier life.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::shared::{Shared, SpoolSlot};
use crate::machines::waiters::Until;
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
        let shared = Arc::clone(self);
        // On the spool's own lane nothing else has the spool in hand.
        self.disk.run(move || {
            let standing = shared.take_spool().map(|mut spool| {
                let standing = spool.standing(number);
                shared.put_spool(SpoolSlot::Idle(spool));
                shared.store.ring();
                standing
            });
            let _ = answer.send(standing);
        });
        match answered.await {
            Ok(Some(Ok(Some(standing)))) if reached(standing, until) => Ok(standing),
            Ok(Some(Ok(Some(_)))) => {
                // It lies in the backlog, and will be read back and settled; or has been meanwhile.
                let answer = self.with(|transit| match transit.standing(number) {
                    Some(standing) if reached(standing, until) => Err(standing),
                    _ => Ok(transit.wait_for(number, until)),
                });
                match answer {
                    Ok(answer) => answer.await.map_err(|_| CallError::Stopped),
                    Err(standing) => Ok(standing),
                }
            }
            Ok(Some(Ok(None))) => Ok(Standing::Lost),
            Ok(None) => Err(CallError::Busy),
            Ok(Some(Err(_))) | Err(_) => Err(CallError::Panicked),
        }
    }
}

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
