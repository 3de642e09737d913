//! Buffers of segments that nobody holds any more, to be filled again.
//!
//! First in, first out: the buffer that rested longest is taken. One that another core has just read, to compress or to send it,
//! lies in that core's cache, and each line has to be fetched from there before it can be written. With four buffers a push took a
//! seventh more CPU time than with as many as come back, and one that is not kept costs a page fault for every 4 kB of the next.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};

/// A segment's bytes, and where each of its lines ends.
pub(super) type Buffers = (Vec<u8>, Vec<u32>);

/// How many are kept at the most: about as many batches as are on their way at once.
const BUFFERS_MAX: usize = 16;

/// Bytes of all that are kept at the most. A rare huge batch must not pin its memory.
pub(super) const BYTES_MAX: usize = 16 << 20;

/// The buffers that wait for their next use.
#[derive(Debug)]
pub(super) struct Spares {
    waiting: Receiver<Buffers>,
    home: Home,
}

/// Where buffers are given back, on any thread.
#[derive(Clone, Debug)]
pub(super) struct Home {
    door: SyncSender<Buffers>,
    bytes: Arc<AtomicUsize>,
}

impl Default for Spares {
    fn default() -> Self {
        let (door, waiting) = mpsc::sync_channel(BUFFERS_MAX);
        Self { waiting, home: Home { door, bytes: Arc::default() } }
    }
}

impl Spares {
    /// The one that has waited longest, empty.
    pub(super) fn take(&self) -> Option<Buffers> {
        let buffers = self.waiting.try_recv().ok()?;
        self.home.bytes.fetch_sub(bytes_of(&buffers), Ordering::Relaxed);
        Some(buffers)
    }

    pub(super) const fn home(&self) -> &Home {
        &self.home
    }

    /// Gives their memory back.
    pub(super) fn let_go(&self) {
        while self.take().is_some() {}
    }
}

impl Home {
    /// Keeps the buffers, emptied, unless there are enough or the queue is gone.
    pub(super) fn give(&self, mut buffers: Buffers) {
        buffers.0.clear();
        buffers.1.clear();
        let bytes = bytes_of(&buffers);
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > BYTES_MAX || self.door.try_send(buffers).is_err() {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

fn bytes_of((bytes, ends): &Buffers) -> usize {
    bytes.capacity() + ends.capacity() * size_of::<u32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffers(bytes: usize) -> Buffers {
        (Vec::with_capacity(bytes), Vec::new())
    }

    /// What waits, by its size; nothing waits afterwards.
    fn taken(spares: &Spares) -> Vec<usize> {
        std::iter::from_fn(|| spares.take()).map(|buffers| buffers.0.capacity()).collect()
    }

    #[test]
    fn the_one_that_rested_longest_is_taken_first_and_is_empty() {
        let spares = Spares::default();
        spares.home().give((b"m v=1\n".to_vec(), vec![6]));
        (1..4).for_each(|n| spares.home().give(buffers(100 * n)));
        let (bytes, ends) = spares.take().unwrap();
        assert!(bytes.is_empty() && ends.is_empty() && bytes.capacity() >= 6 && ends.capacity() >= 1);
        assert_eq!(taken(&spares), [100, 200, 300]);
    }

    #[test]
    fn so_many_are_kept_and_so_many_bytes_whatever_went_before() {
        let spares = Spares::default();
        for _ in 0..3 {
            (0..2 * BUFFERS_MAX).for_each(|_| spares.home().give(buffers(100)));
            assert_eq!(taken(&spares).len(), BUFFERS_MAX);
            for bytes in [BYTES_MAX + 1, BYTES_MAX / 2, BYTES_MAX / 2 + 1, BYTES_MAX / 2, 1] {
                spares.home().give(buffers(bytes));
            }
            assert_eq!(taken(&spares), [BYTES_MAX / 2, BYTES_MAX / 2]);
        }
        assert_eq!(spares.home().bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn the_memory_goes_when_it_is_asked_for_and_with_the_queue() {
        let spares = Spares::default();
        spares.home().give(buffers(100));
        spares.let_go();
        assert_eq!((taken(&spares), spares.home().bytes.load(Ordering::Relaxed)), (vec![], 0));
        let home = spares.home().clone();
        drop(spares);
        home.give(buffers(100));
        assert_eq!(home.bytes.load(Ordering::Relaxed), 0);
    }
}
