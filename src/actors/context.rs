//! An actix context that handles casts before calls, keeps its turns short, and outlives panics.
//!
//! # What it keeps from `actix::Context`
//!
//! `Addr`, `WeakAddr`, `Recipient`, `Handler`, every kind of response, `ctx.wait`, `ctx.spawn`, timers, streams,
//! `notify`, cancelling, the life cycle with `started`, `stopping` and `stopped`.
//!
//! # What differs
//!
//! | | `actix::Context` | [`PriorityContext`] |
//! |---|---|---|
//! | order | as sent | casts first, calls when no cast is left or their bound falls due |
//! | mailbox and own timers | the mailbox is emptied first: timers starve while messages come | both get a turn every [`budget`](MailboxOptions::budget) messages |
//! | order of `notify` | the last one may jump the queue | as notified |
//! | panic | the address is dead, what was queued is lost | under a [`Supervisor`](crate::Supervisor) the actor is rebuilt and goes on with the next message |
//! | handles after a restart | begin again, and may cancel another's future | unique |
//! | `cancel_future` | always true, takes effect later | takes effect at once, true if there was one to cancel |
//!
//! # What happens at a panic
//!
//! In a handler, a future, `started`, `stopping`, `stopped`, the factory or the actor's destructor: the actor and
//! its futures are dropped. Of the messages only the one in work is gone; its caller, if it was a call, gets
//! `MailboxError::Closed`, as does the caller whose answer one of the dropped futures would have given. Messages in
//! the mailbox and parked calls wait for the next generation. Without a supervisor there is none: the mailbox
//! closes.

use std::sync::Arc;
use std::time::Instant;

use actix::dev::channel::channel;
use actix::dev::{Envelope, EnvelopeProxy, OneshotSender, ToEnvelope};
use actix::{
    Actor, ActorContext, ActorFuture, ActorState, Addr, ArbiterHandle, AsyncContext, Handler, Message,
    SpawnHandle,
};

use super::control::Control;
use super::mailbox::{Mailbox, MailboxOptions};
use super::runner::Runner;
use super::tasks::{Tasks, Waits};

/// The context of an actor whose casts go before its calls. See the [comparison](#what-differs) with
/// `actix::Context`.
///
/// ```
/// use actix::prelude::*;
/// use influx_spool::PriorityContext;
///
/// struct Note(u32);
/// impl Message for Note {
///     type Result = ();
/// }
/// struct Sum;
/// impl Message for Sum {
///     type Result = u32;
/// }
///
/// #[derive(Default)]
/// struct Adder(u32);
/// impl Actor for Adder {
///     type Context = PriorityContext<Self>;
/// }
/// impl Handler<Note> for Adder {
///     type Result = ();
///     fn handle(&mut self, note: Note, _: &mut Self::Context) {
///         self.0 += note.0;
///     }
/// }
/// impl Handler<Sum> for Adder {
///     type Result = u32;
///     fn handle(&mut self, _: Sum, _: &mut Self::Context) -> u32 {
///         self.0
///     }
/// }
///
/// System::new().block_on(async {
///     let adder = PriorityContext::start(Adder::default());
///     adder.do_send(Note(1));
///     let sum = adder.send(Sum);
///     adder.do_send(Note(2)); // sent after the call, handled before it
///     assert_eq!(sum.await.unwrap(), 3);
/// });
/// ```
///
/// # What differs
///
/// Casts are handled before calls; timers and futures get their turn every
/// [`budget`](MailboxOptions::budget) messages however many wait; under a [`Supervisor`](crate::Supervisor) a panic
/// costs the actor's state, but neither its address nor what is in its mailbox.
pub struct PriorityContext<A: Actor<Context = Self>> {
    pub(super) mailbox: Mailbox<A>,
    pub(super) tasks: Tasks<A>,
    pub(super) waits: Waits<A>,
    pub(super) state: ActorState,
    pub(super) generation: u64,
    pub(super) control: Arc<Control>,
}

impl<A: Actor<Context = Self>> PriorityContext<A> {
    /// Starts an actor on the current arbiter, unsupervised and with the default options.
    ///
    /// It runs until it stops, or until its last address and its last future are gone; a panic ends it and closes
    /// its mailbox.
    ///
    /// # Panics
    ///
    /// Outside of an actix system, as actix's own `start` does.
    pub fn start(actor: A) -> Addr<A> {
        Self::start_with(MailboxOptions::default(), |_| actor)
    }

    /// As [`Self::start`], for an actor that needs its context or its address to be built.
    ///
    /// # Panics
    ///
    /// Outside of an actix system, as actix's own `create` does. A panic of the factory is the actor's, not yours.
    pub fn start_with<F>(options: MailboxOptions, factory: F) -> Addr<A>
    where
        F: FnOnce(&mut Self) -> A + 'static,
    {
        let (sender, receiver) = channel(options.capacity);
        actix_rt::spawn(Runner::unsupervised(
            Self::new(Mailbox::new(receiver, options), Arc::default()),
            factory,
        ));
        Addr::new(sender)
    }

    /// As [`Self::start_with`], on another arbiter. When that one has ended, the address is closed from the start.
    pub fn start_in<F>(arbiter: &ArbiterHandle, options: MailboxOptions, factory: F) -> Addr<A>
    where
        F: FnOnce(&mut Self) -> A + Send + 'static,
    {
        let (sender, receiver) = channel(options.capacity);
        arbiter.spawn_fn(move || {
            let context = Self::new(Mailbox::new(receiver, options), Arc::default());
            actix_rt::spawn(Runner::unsupervised(context, factory));
        });
        Addr::new(sender)
    }

    /// Says that the actor waits by design until then, in `ctx.wait` or in a handler that does not return: its
    /// heartbeat is not missed before. The declaration ends when the wait does.
    ///
    /// ```
    /// # use std::time::{Duration, Instant};
    /// # use actix::prelude::*;
    /// # use influx_spool::PriorityContext;
    /// # struct Copier;
    /// # impl Actor for Copier { type Context = PriorityContext<Self>; }
    /// # async fn copy_everything() {}
    /// # impl Copier { fn copy(&mut self, ctx: &mut PriorityContext<Self>) {
    /// ctx.declare_waiting(Instant::now() + Duration::from_secs(600));
    /// ctx.wait(copy_everything().into_actor(self));
    /// # } }
    /// ```
    pub fn declare_waiting(&mut self, until: impl Into<Instant>) {
        self.control.excuse_until(until.into());
    }

    /// How often the actor behind this address has been built: 1 at first, one more with each restart.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// How many calls are parked until no cast is left.
    #[must_use]
    pub fn calls_parked(&self) -> usize {
        self.mailbox.parked()
    }

    pub(super) fn new(mailbox: Mailbox<A>, control: Arc<Control>) -> Self {
        Self {
            mailbox,
            tasks: Tasks::new(),
            waits: Waits::new(),
            state: ActorState::Started,
            generation: 0,
            control,
        }
    }
}

impl<A: Actor<Context = Self>> std::fmt::Debug for PriorityContext<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PriorityContext")
            .field("actor", &std::any::type_name::<A>())
            .field("state", &self.state)
            .field("generation", &self.generation)
            .field("calls_parked", &self.mailbox.parked())
            .field("futures", &self.tasks.len())
            .finish()
    }
}

impl<A: Actor<Context = Self>> ActorContext for PriorityContext<A> {
    fn stop(&mut self) {
        if self.state.alive() {
            self.state = ActorState::Stopping;
        }
    }

    fn terminate(&mut self) {
        self.state = ActorState::Stopped;
    }

    fn state(&self) -> ActorState {
        self.state
    }
}

impl<A: Actor<Context = Self>> AsyncContext<A> for PriorityContext<A> {
    fn address(&self) -> Addr<A> {
        Addr::new(self.mailbox.channel().sender())
    }

    fn spawn<F>(&mut self, future: F) -> SpawnHandle
    where
        F: ActorFuture<A, Output = ()> + 'static,
    {
        self.tasks.spawn(Box::pin(future))
    }

    fn wait<F>(&mut self, future: F)
    where
        F: ActorFuture<A, Output = ()> + 'static,
    {
        self.waits.push(Box::pin(future));
    }

    fn waiting(&self) -> bool {
        !self.waits.is_empty() || self.state.stopping()
    }

    fn cancel_future(&mut self, handle: SpawnHandle) -> bool {
        self.tasks.cancel(handle)
    }
}

impl<A, M> ToEnvelope<A, M> for PriorityContext<A>
where
    A: Actor<Context = Self> + Handler<M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn pack(message: M, reply: Option<OneshotSender<M::Result>>) -> Envelope<A> {
        let is_call = reply.is_some();
        let envelope = Envelope::new(message, reply);
        if is_call { Envelope::with_proxy(Box::new(Call { envelope: Some(envelope) })) } else { envelope }
    }
}

/// The outer envelope of a call: to handle it is to park the inner one.
struct Call<A: Actor> {
    envelope: Option<Envelope<A>>,
}

impl<A: Actor<Context = PriorityContext<A>>> EnvelopeProxy<A> for Call<A> {
    fn handle(&mut self, _: &mut A, context: &mut PriorityContext<A>) {
        if let Some(envelope) = self.envelope.take() {
            context.mailbox.park(envelope);
        }
    }
}
