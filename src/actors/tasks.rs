//! The futures an actor has spawned into its context, and those it waits for.

use std::ops::Range;
use std::pin::Pin;
use std::task::Poll;

use actix::{Actor, ActorFuture, SpawnHandle};

/// A boxed future of an actor.
pub(super) type Task<A> = Pin<Box<dyn ActorFuture<A, Output = ()>>>;

/// Spawned futures, in the order they were spawned.
///
/// A future is taken out of its slot while it is polled, so that its own poll may spawn and cancel.
pub(super) struct Tasks<A: Actor> {
    slots: Vec<(SpawnHandle, Slot<A>)>,
    last_handle: SpawnHandle,
    /// Where the next pass goes on when the last one was broken off.
    cursor: usize,
    /// Something was spawned since the last pass began.
    has_new: bool,
}

enum Slot<A: Actor> {
    Idle(Task<A>),
    Running,
    Gone,
}

impl<A: Actor> Tasks<A> {
    pub(super) fn new() -> Self {
        Self { slots: Vec::new(), last_handle: SpawnHandle::default(), cursor: 0, has_new: false }
    }

    /// Handles are never used twice, not even after [`Self::take_all`]: one that an actor's earlier generation left
    /// somewhere cancels nothing of a later one.
    pub(super) fn spawn(&mut self, task: Task<A>) -> SpawnHandle {
        self.last_handle = self.last_handle.next();
        self.slots.push((self.last_handle, Slot::Idle(task)));
        self.has_new = true;
        self.last_handle
    }

    /// Drops the future at once; false if there is none of that name any more.
    pub(super) fn cancel(&mut self, handle: SpawnHandle) -> bool {
        // Slots are sorted by handle: they are pushed in order and removed in place.
        match self.slots.binary_search_by_key(&handle.into_usize(), |(handle, _)| handle.into_usize()) {
            Ok(at) => !matches!(std::mem::replace(&mut self.slots[at].1, Slot::Gone), Slot::Gone),
            Err(_) => false,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Is there one that no pass has met yet?
    pub(super) fn has_new(&self) -> bool {
        self.has_new
    }

    /// Begins a pass over the slots it returns. What is spawned during the pass waits for the next one, or a future
    /// that spawns another one each time would never let it end.
    pub(super) fn begin_pass(&mut self) -> Range<usize> {
        self.has_new = false;
        self.cursor..self.slots.len()
    }

    /// Takes a future out of its slot to poll it.
    pub(super) fn take(&mut self, at: usize) -> Option<Task<A>> {
        let slot = &mut self.slots.get_mut(at)?.1;
        match std::mem::replace(slot, Slot::Running) {
            Slot::Idle(task) => Some(task),
            gone => {
                *slot = gone;
                None
            }
        }
    }

    /// Puts a polled future back, unless it is done or was cancelled meanwhile.
    pub(super) fn put_back(&mut self, at: usize, task: Task<A>, poll: Poll<()>) {
        let slot = &mut self.slots[at].1;
        *slot = match (&slot, poll) {
            (Slot::Running, Poll::Pending) => Slot::Idle(task),
            _ => Slot::Gone,
        };
    }

    /// Breaks the pass off before this slot, where the next one goes on.
    pub(super) fn break_off(&mut self, at: usize) {
        self.cursor = at;
    }

    /// Ends a pass: forgets the slots of futures that are done.
    pub(super) fn end_pass(&mut self) {
        self.cursor = 0;
        self.slots.retain(|(_, slot)| matches!(slot, Slot::Idle(_)));
    }

    /// Takes all futures out, for their end.
    pub(super) fn take_all(&mut self) -> Vec<Task<A>> {
        (self.cursor, self.has_new) = (0, false);
        self.slots
            .drain(..)
            .filter_map(|(_, slot)| match slot {
                Slot::Idle(task) => Some(task),
                Slot::Running | Slot::Gone => None,
            })
            .collect()
    }
}

/// Futures the actor waits for: a stack, as in actix. The newest is polled first, and what it waits for comes on top.
pub(super) struct Waits<A: Actor> {
    /// The one being polled is taken out, and leaves its place empty.
    stack: Vec<Option<Task<A>>>,
}

impl<A: Actor> Waits<A> {
    pub(super) fn new() -> Self {
        Self { stack: Vec::new() }
    }

    pub(super) fn push(&mut self, task: Task<A>) {
        self.stack.push(Some(task));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.stack.is_empty()
    }

    /// Takes the newest out to poll it, with its place.
    pub(super) fn take_newest(&mut self) -> Option<(usize, Task<A>)> {
        let at = self.stack.len().checked_sub(1)?;
        Some((at, self.stack[at].take()?))
    }

    /// It is not done: back to its place.
    pub(super) fn put_back(&mut self, at: usize, task: Task<A>) {
        self.stack[at] = Some(task);
    }

    /// It is done: its place closes.
    pub(super) fn remove(&mut self, at: usize) {
        self.stack.remove(at);
    }

    /// Did something come on top of that place?
    pub(super) fn has_newer(&self, at: usize) -> bool {
        self.stack.len() > at + 1
    }

    pub(super) fn take_all(&mut self) -> Vec<Task<A>> {
        self.stack.drain(..).flatten().collect()
    }
}
