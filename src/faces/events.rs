//! States and losses, as they happen.

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::values::health::Event;

/// What a database tells, from the moment of the subscription on.
///
/// Bounded: a subscriber that falls behind by more than 256 events misses the oldest, and is told how many. Nobody
/// waits for a subscriber, and dropping it costs nothing.
#[derive(Debug)]
pub struct Events {
    receiver: broadcast::Receiver<Event>,
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
    pub(super) const fn new(receiver: broadcast::Receiver<Event>) -> Self {
        Self { receiver }
    }

    /// Waits for the next event; `None` when the database is gone. Needs no particular runtime.
    ///
    /// Cancel safe: an event is taken only by the call that returns it.
    pub async fn next(&mut self) -> Option<Told> {
        match self.receiver.recv().await {
            Ok(event) => Some(Told::Event(event)),
            Err(RecvError::Lagged(missed)) => Some(Told::Missed(missed)),
            Err(RecvError::Closed) => None,
        }
    }

    /// The next event if there is one already.
    pub fn try_next(&mut self) -> Option<Told> {
        match self.receiver.try_recv() {
            Ok(event) => Some(Told::Event(event)),
            Err(broadcast::error::TryRecvError::Lagged(missed)) => Some(Told::Missed(missed)),
            Err(_) => None,
        }
    }
}
