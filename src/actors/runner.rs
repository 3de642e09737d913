//! Runs one actor, over as many generations as its supervisor grants.
//!
//! The runner is the task that owns the mailbox, and holds the actor of the current generation, if there is one.
//! Each poll reads the supervisor's order first, and then gives the actor a turn inside one `catch_unwind`:
//!
//! ```text
//!   order ─▶ waits ─▶ owed futures ─▶ messages ─▶ futures ─▶ stop? ─▶ again, until idle or the budget is spent
//!              │ pending: nothing else gets a turn until it is done
//! ```
//!
//! "Owed" are the futures when the messages before were broken off by a `ctx.wait`: without that, a mailbox of
//! messages which each wait a little would never let a timer through.
//!
//! However a generation ends, by itself, by a panic or by an order, the runner drops what is left of it, each thing
//! guarded on its own, reports the exit, and waits. It never decides whether to start again: it holds no clock and
//! no policy. A runner without a supervisor ends with its first generation.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use actix::dev::EnvelopeProxy;
use actix::{Actor, ActorContext, ActorState, AsyncContext, Running};
use tokio::sync::mpsc::UnboundedSender;

use super::context::PriorityContext;
use super::control::{Control, Order, Verb};
use super::supervision::{Report, Signal};
use crate::log;
use crate::machines::policy::Exit;
use crate::panics::{caught, drop_each};

/// The future that runs one actor.
pub(super) struct Runner<A: Actor<Context = PriorityContext<A>>> {
    /// `None` while the actor is down, and while the factory works.
    actor: Option<A>,
    context: PriorityContext<A>,
    factory: Factory<A>,
    control: Arc<Control>,
    reporter: Option<Reporter>,
    life: Life,
    kill_if_waiting: bool,
    futures_owed: bool,
}

/// Builds the actor of each generation.
pub(super) type Factory<A> = Box<dyn FnMut(&mut PriorityContext<A>) -> A>;

/// Where the exits of a supervised child go.
pub(super) struct Reporter {
    pub(super) child: usize,
    pub(super) signals: UnboundedSender<Signal>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Down,
    Up,
    Finished,
}

/// What became of the wish to stop, if there was one.
enum Standing {
    Running,
    Stopped,
    /// `stopping()` said to go on.
    Refused,
    /// The same, of an actor that nobody can reach any more.
    Forgotten,
}

/// How a turn ended.
enum Turn {
    Idle,
    BudgetSpent,
    Stopped,
    Stuck,
}

impl<A: Actor<Context = PriorityContext<A>>> Runner<A> {
    /// Waits for the supervisor's orders.
    pub(super) fn supervised(context: PriorityContext<A>, factory: Factory<A>, reporter: Reporter) -> Self {
        Self::new(context, factory, Some(reporter))
    }

    /// Builds the actor at its first poll, and ends with it.
    pub(super) fn unsupervised<F>(context: PriorityContext<A>, factory: F) -> Self
    where
        F: FnOnce(&mut PriorityContext<A>) -> A + 'static,
    {
        let mut factory = Some(factory);
        let factory: Factory<A> = Box::new(move |context| {
            let factory = factory.take().expect("there is one generation without a supervisor");
            factory(context)
        });
        context.control.order(Verb::Start, 1);
        Self::new(context, factory, None)
    }

    fn new(context: PriorityContext<A>, factory: Factory<A>, reporter: Option<Reporter>) -> Self {
        let control = context.control.clone();
        Self {
            actor: None,
            context,
            factory,
            control,
            reporter,
            life: Life::Down,
            kill_if_waiting: false,
            futures_owed: false,
        }
    }

    fn obey(&mut self, order: Order) {
        let is_up = self.life == Life::Up;
        match order.verb {
            Verb::Start if !is_up => {
                self.context.generation = order.generation;
                self.context.state = ActorState::Started;
                self.life = Life::Up;
            }
            Verb::Stop if is_up => self.context.stop(),
            Verb::Kill if is_up => self.end(Exit::Killed),
            Verb::KillIfWaiting => self.kill_if_waiting = true,
            Verb::Finish => {
                if is_up {
                    self.end(Exit::Killed);
                }
                self.life = Life::Finished;
            }
            // It died while the order was on its way, and is told so for the generation of that order.
            Verb::Stop | Verb::Kill => {
                self.context.generation = order.generation;
                self.report(Report::Exited(Exit::Killed));
            }
            Verb::Start => {}
        }
    }

    /// Gives the actor one turn. May panic anywhere: the caller catches it, and drops what is left of the actor.
    fn turn(&mut self, task: &mut TaskContext<'_>) -> Turn {
        if self.actor.is_none() {
            self.build();
        }
        let mut budget = self.context.mailbox.options().budget.max(1);
        loop {
            if self.poll_waits(task).is_pending() {
                return if self.kill_if_waiting { Turn::Stuck } else { Turn::Idle };
            }
            if std::mem::take(&mut self.futures_owed) {
                self.poll_futures(task);
            }
            let is_drained = self.handle_messages(&mut budget, task);
            self.poll_futures(task);
            match self.settle(is_drained) {
                Standing::Stopped => return Turn::Stopped,
                Standing::Forgotten => return Turn::Idle,
                // New waits and futures have not been polled, so nothing would wake them; refused, the stop may
                // have left anything behind.
                Standing::Running if is_drained && self.is_idle() => return Turn::Idle,
                Standing::Running | Standing::Refused if budget == 0 => return Turn::BudgetSpent,
                Standing::Running | Standing::Refused => budget -= 1,
            }
        }
    }

    fn build(&mut self) {
        let actor = (self.factory)(&mut self.context);
        let actor = self.actor.insert(actor);
        if self.context.state == ActorState::Started {
            self.context.state = ActorState::Running;
        }
        actor.started(&mut self.context);
        self.report(Report::Started);
    }

    /// Polls what the actor waits for, the newest first; ready when it waits for nothing, or is to stop.
    fn poll_waits(&mut self, task: &mut TaskContext<'_>) -> Poll<()> {
        let (Some(actor), context) = (self.actor.as_mut(), &mut self.context) else { return Poll::Ready(()) };
        while !context.state.stopping() {
            let Some((at, mut wait)) = context.waits.take_newest() else { break };
            if wait.as_mut().poll(actor, context, task).is_ready() {
                context.waits.remove(at);
                self.control.advance();
                continue;
            }
            context.waits.put_back(at, wait);
            if !context.waits.has_newer(at) && !context.state.stopping() {
                return Poll::Pending;
            }
        }
        self.control.advance();
        self.control.end_excuse();
        Poll::Ready(())
    }

    /// Handles messages while the budget lasts and none makes the actor wait; true if none is left.
    fn handle_messages(&mut self, budget: &mut u32, task: &mut TaskContext<'_>) -> bool {
        let (Some(actor), context) = (self.actor.as_mut(), &mut self.context) else { return true };
        while *budget > 0 && !context.waiting() {
            let Poll::Ready(mut envelope) = context.mailbox.poll_next(task) else { return true };
            envelope.handle(actor, context);
            *budget -= 1;
        }
        false
    }

    /// Gives every future one turn, unless one of them makes the actor wait or stop: the rest is owed then.
    fn poll_futures(&mut self, task: &mut TaskContext<'_>) {
        let (Some(actor), context) = (self.actor.as_mut(), &mut self.context) else { return };
        for at in context.tasks.begin_pass() {
            if context.waiting() {
                context.tasks.break_off(at);
                self.futures_owed = true;
                return;
            }
            let Some(mut future) = context.tasks.take(at) else { continue };
            let poll = future.as_mut().poll(actor, context, task);
            context.tasks.put_back(at, future, poll);
        }
        context.tasks.end_pass();
    }

    /// Lets the actor stop if it asked for it, or if nobody can reach it any more.
    fn settle(&mut self, is_drained: bool) -> Standing {
        let is_forgotten = is_drained && self.is_forgotten();
        let (Some(actor), context) = (self.actor.as_mut(), &mut self.context) else {
            return Standing::Running;
        };
        if is_forgotten {
            context.stop();
        }
        if context.state.alive() {
            return Standing::Running;
        }
        if context.state == ActorState::Stopping && actor.stopping(context) == Running::Continue {
            context.state = ActorState::Running;
            return if is_forgotten { Standing::Forgotten } else { Standing::Refused };
        }
        context.state = ActorState::Stopped;
        actor.stopped(context);
        Standing::Stopped
    }

    /// A supervised actor is never forgotten: its supervisor may start it again, and hand its address out.
    fn is_forgotten(&self) -> bool {
        self.reporter.is_none()
            && !self.context.mailbox.is_connected()
            && self.context.tasks.is_empty()
            && self.is_idle()
    }

    fn is_idle(&self) -> bool {
        !self.context.waiting() && !self.context.tasks.has_new() && !self.futures_owed
    }

    /// Ends the generation.
    fn end(&mut self, exit: Exit) {
        let exit = match (exit, self.tear_down()) {
            (Exit::Normal, Err(text)) => Exit::Panicked(text),
            (exit, _) => exit,
        };
        self.life = if self.reporter.is_some() { Life::Down } else { Life::Finished };
        if let (None, Exit::Panicked(panic)) = (&self.reporter, &exit) {
            log::error!(actor = std::any::type_name::<A>(), %panic, "unsupervised actor panicked and is gone");
        }
        self.report(Report::Exited(exit));
    }

    /// Drops what is left of a generation. The mailbox and the parked calls stay.
    fn tear_down(&mut self) -> Result<(), Arc<str>> {
        let actor = drop_each(self.actor.take());
        let waits = drop_each(self.context.waits.take_all());
        let futures = drop_each(self.context.tasks.take_all());
        self.context.state = ActorState::Stopped;
        self.control.end_excuse();
        self.futures_owed = false;
        actor.and(waits).and(futures)
    }

    fn report(&self, report: Report) {
        if let Some(Reporter { child, signals }) = &self.reporter {
            // Without a supervisor to read it there is none to need it.
            let _ =
                signals.send(Signal::Report { child: *child, generation: self.context.generation, report });
        }
    }
}

impl<A: Actor<Context = PriorityContext<A>>> Future for Runner<A> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<()> {
        let this = self.get_mut();
        loop {
            this.control.register(task.waker());
            if let Some(order) = this.control.take_order() {
                this.obey(order);
            }
            match this.life {
                Life::Up => {}
                Life::Down => return Poll::Pending,
                Life::Finished => return Poll::Ready(()),
            }
            let turn = caught(|| this.turn(task));
            this.kill_if_waiting = false;
            match turn {
                Ok(Turn::Idle) => return Poll::Pending,
                Ok(Turn::BudgetSpent) => {
                    task.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Ok(Turn::Stopped) => this.end(Exit::Normal),
                Ok(Turn::Stuck) => this.end(Exit::Stuck),
                Err(text) => this.end(Exit::Panicked(text)),
            }
        }
    }
}

impl<A: Actor<Context = PriorityContext<A>>> Unpin for Runner<A> {}

impl<A: Actor<Context = PriorityContext<A>>> Drop for Runner<A> {
    /// The arbiter has ended under a living actor: as in actix it hears of its end.
    fn drop(&mut self) {
        if self.life == Life::Up {
            self.context.terminate();
            // What it panics with has no one left to hear it.
            let _ = caught(|| self.actor.as_mut().map(|actor| actor.stopped(&mut self.context)));
            let _ = self.tear_down();
        }
    }
}

impl Drop for Reporter {
    /// Wherever a runner ends, even one that its arbiter never took in. The runner drops this after its mailbox.
    fn drop(&mut self) {
        let _ = self.signals.send(Signal::Report { child: self.child, generation: 0, report: Report::Gone });
    }
}
