//! Waiting for room in the queue.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, PoisonError};

use super::hearers::Hearers;
use super::shared::{Look, Shared};
use crate::machines::transit::Transit;

#[derive(Debug, Default)]
pub(super) struct Room {
    pub(super) waiting: AtomicUsize,
    blocking: Condvar,
    async_: Hearers,
}

impl Room {
    pub(super) fn announce(&self) {
        self.blocking.notify_all();
        self.async_.announce();
    }
}

impl Shared {
    /// Waits, blocking the thread, until `act` returns something.
    pub(crate) fn block_until<R>(&self, mut act: impl FnMut(&mut Transit) -> Option<R>) -> R {
        let mut look = self.look();
        self.room.waiting.fetch_add(1, Ordering::AcqRel);
        let result = loop {
            if let Some(result) = act(&mut look.transit) {
                break result;
            }
            look = self.wait_behind(look);
        };
        self.room.waiting.fetch_sub(1, Ordering::AcqRel);
        self.end(look);
        result
    }

    /// Sleeps until there may be room, unless this look has found something that others have to be told first.
    fn wait_behind<'a>(&'a self, look: Look<'a>) -> Look<'a> {
        if look.wake {
            self.end(look);
            return self.look();
        }
        let transit = self.room.blocking.wait(look.transit).unwrap_or_else(PoisonError::into_inner);
        self.look_at(transit)
    }

    /// Waits until `act` returns something. Cancel safe: dropped between two tries it leaves nothing behind.
    pub(crate) async fn wait_until<R>(&self, mut act: impl FnMut(&mut Transit) -> Option<R>) -> R {
        struct Waiting<'a>(&'a AtomicUsize);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::AcqRel);
            }
        }
        if let Some(result) = self.try_for_room(&mut act) {
            return result;
        }
        self.room.waiting.fetch_add(1, Ordering::AcqRel);
        let _waiting = Waiting(&self.room.waiting);
        loop {
            let announced = self.room.async_.hear();
            if let Some(result) = self.try_for_room(&mut act) {
                return result;
            }
            // Also when the sender is gone: then it is to be tried again, too.
            let _ = announced.await;
        }
    }

    /// One try of somebody who waits. Unlike [`Self::with`] it wakes nobody who waits for room, itself above all: a try
    /// that fails makes none.
    fn try_for_room<R>(&self, act: impl FnOnce(&mut Transit) -> R) -> R {
        let mut look = self.look();
        let result = act(&mut look.transit);
        self.end(look);
        result
    }

    /// Wakes whoever waits for room, to find out that there will be none.
    pub(crate) fn wake_the_waiting(&self) {
        self.end(self.look());
        self.room.announce();
    }
}
