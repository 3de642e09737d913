//! States and losses, as they happen.

use std::sync::Weak;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::TryRecvError;

use crate::actors::hearers::Hearers;
use crate::values::health::Event;

/// What a database tells, from the moment of the subscription on.
///
/// Bounded: a subscriber that falls behind by more than 256 events misses the oldest, and is told how many. Nobody
/// waits for a subscriber, and dropping it costs nothing.
#[derive(Debug)]
pub struct Events {
    receiver: broadcast::Receiver<Event>,
    told: Weak<Hearers>,
}

/// The next thing a subscriber gets.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Told {
    /// An event.
    Event(Event),
    /// So many events were missed.
    Missed(u64),
}

impl Events {
    pub(super) fn new((receiver, told): (broadcast::Receiver<Event>, Weak<Hearers>)) -> Self {
        Self { receiver, told }
    }

    /// Waits for the next event; `None` when the database is gone. Needs no particular runtime.
    ///
    /// Cancel safe: an event is taken only by the call that returns it.
    pub async fn next(&mut self) -> Option<Told> {
        loop {
            // Heard before it is looked: what is told in between ends the wait.
            let more = self.told.upgrade().map(|told| told.hear());
            match (self.look(), more) {
                (Ok(told), _) => return Some(told),
                (Err(TryRecvError::Closed), _) | (Err(_), None) => return None,
                // Also when the database goes: then it is looked once more.
                (Err(_), Some(more)) => drop(more.await),
            }
        }
    }

    /// The next event if there is one already.
    pub fn try_next(&mut self) -> Option<Told> {
        self.look().ok()
    }

    fn look(&mut self) -> Result<Told, TryRecvError> {
        match self.receiver.try_recv() {
            Ok(event) => Ok(Told::Event(event)),
            Err(TryRecvError::Lagged(missed)) => Ok(Told::Missed(missed)),
            Err(error) => Err(error),
        }
    }
}
