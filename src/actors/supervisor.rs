//! Supervision in OTP's words: children built from factories, restarted within an intensity, in an order.
//!
//! # Constraints
//!
//! A supervisor runs no user code but its listener, so it has nothing to fail at. It is a task of its own on an
//! arbiter; each child is another one, on the same arbiter or on one of its own. Between them pass orders and
//! heartbeats (atomics and a waker) and reports (a channel of the supervisor's), never mailbox messages, so a flood
//! of messages delays neither.
//!
//! # What outlives what
//!
//! | | restart of a child | end of the supervisor |
//! |---|---|---|
//! | address, queued casts, waiting calls | kept | closed; calls get `MailboxError::Closed` |
//! | the message in work | gone; its caller gets `MailboxError::Closed` | gone |
//! | actor, its timers and futures | dropped, rebuilt by the factory | dropped |
//! | `SpawnHandle`s | stay unique, old ones cancel nothing | |
//!
//! # Policy and exit
//!
//! | exit | permanent | transient | temporary |
//! |---|---|---|---|
//! | normal (`ctx.stop()`) | restart | left down | left down |
//! | panicked, stuck, killed | restart | restart | left down |
//! | told to stop | left down, or up again with those it was stopped for | same | left down |
//!
//! A restart comes after a delay drawn evenly from zero to a ceiling, which doubles with each death, up to a cap, and
//! is forgotten once the child has held for the span of the intensity.
//! Past the [`RestartIntensity`] the supervisor escalates or degrades, as [`WhenExceeded`] says.
//!
//! # Order
//!
//! Children start in the order they were added, each when the `started()` of the one before has returned. They stop in
//! reverse order, each when the one after it is down. So a child may use those before it for as long as it lives.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::dev::channel::channel;
use actix::{Actor, Addr, ArbiterHandle};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;

use super::child::{ChildSpec, ChildState, ChildStatus};
use super::context::PriorityContext;
use super::control::Control;
use super::mailbox::Mailbox;
use super::runner::{Reporter, Runner};
use super::supervision::{Child, Listener, Signal, Spawn, Supervision};
use crate::machines::backoff::Backoff;
use crate::machines::policy::{Exit, Strategy, WhenExceeded};
use crate::machines::restart::RestartIntensity;
use crate::machines::tree::{ChildRules, Rules};

/// A supervisor that has not been started: children are added, then [`Self::start`] runs them.
pub struct Supervisor {
    name: Arc<str>,
    intensity: RestartIntensity,
    backoff: (Duration, Duration),
    strategy: Strategy,
    when_exceeded: WhenExceeded,
    listener: Option<Listener>,
    children: Vec<(Child, Option<Strategy>)>,
    signals: (UnboundedSender<Signal>, UnboundedReceiver<Signal>),
}

impl Supervisor {
    /// The name appears in log lines.
    #[must_use]
    pub fn builder(name: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            intensity: RestartIntensity::default(),
            backoff: (Duration::from_millis(100), Duration::from_secs(30)),
            strategy: Strategy::default(),
            when_exceeded: WhenExceeded::default(),
            listener: None,
            children: Vec::new(),
            signals: unbounded_channel(),
        }
    }

    /// How many restarts in how short a time are borne. Default: 5 in 30 s.
    #[must_use]
    pub fn intensity(mut self, intensity: RestartIntensity) -> Self {
        self.intensity = intensity;
        self
    }

    /// The ceiling of the delay before a first restart, and the most it may double to. Default: 0.1 s and 30 s. A
    /// delay that is drawn as zero, or a `base` of zero, restarts at once.
    #[must_use]
    pub fn backoff(mut self, base: Duration, cap: Duration) -> Self {
        self.backoff = (base, cap);
        self
    }

    /// Whom the restart of a child takes along, for those that say nothing themselves. Default: nobody.
    #[must_use]
    pub fn strategy(mut self, strategy: Strategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// What to do when the intensity is used up. Default: [`WhenExceeded::Escalate`].
    #[must_use]
    pub fn when_exceeded(mut self, when_exceeded: WhenExceeded) -> Self {
        self.when_exceeded = when_exceeded;
        self
    }

    /// Hears every event, on the supervisor's arbiter. It should be quick; its panics are caught and logged.
    #[must_use]
    pub fn on_event(mut self, listener: impl FnMut(&SupervisorEvent) + Send + 'static) -> Self {
        self.listener = Some(Box::new(listener));
        self
    }

    /// Adds a child. Its address takes messages from now on, and handles them once it is started; dropping the last
    /// address does not end the child.
    pub fn child<A: Actor<Context = PriorityContext<A>>>(&mut self, spec: ChildSpec<A>) -> Addr<A> {
        let ChildSpec { name, factory, restart, strategy, shutdown, heartbeat, mailbox, arbiter } = spec;
        let (sender, receiver) = channel(mailbox.capacity);
        let control = Arc::new(Control::default());
        let context_control = control.clone();
        let run = move |reporter: Reporter| {
            let context = PriorityContext::new(Mailbox::new(receiver, mailbox), context_control);
            actix_rt::spawn(Runner::supervised(context, factory, reporter));
        };
        let spawn: Spawn = match arbiter {
            None => Box::new(run),
            // When that arbiter has ended the reporter is dropped unused, and says so.
            Some(arbiter) => Box::new(move |reporter| _ = arbiter.spawn_fn(move || run(reporter))),
        };
        let rules = ChildRules { restart, strategy: self.strategy, shutdown };
        self.children.push((Child::new(name, rules, heartbeat, control, spawn), strategy));
        Addr::new(sender)
    }

    /// Starts the supervisor and its children on the current arbiter.
    ///
    /// # Panics
    ///
    /// Outside of an actix system, as an actor's `start` does.
    pub fn start(self) -> SupervisorHandle {
        let (handle, run) = self.prepare();
        run();
        handle
    }

    /// Starts the supervisor and its children on another arbiter. When that one has ended, the handle's
    /// [`wait`](SupervisorHandle::wait) says [`StopReason::Lost`].
    pub fn start_in(self, arbiter: &ArbiterHandle) -> SupervisorHandle {
        let (handle, run) = self.prepare();
        arbiter.spawn_fn(run);
        handle
    }

    fn prepare(self) -> (SupervisorHandle, impl FnOnce() + Send + 'static) {
        let (reports, signals) = self.signals;
        let strategy = self.strategy;
        let children: Vec<Child> = self
            .children
            .into_iter()
            .map(|(child, own)| child.with_strategy(own.unwrap_or(strategy)))
            .collect();
        let backoff = Backoff::new(self.backoff.0, self.backoff.1, BACKOFF_FACTOR);
        let rules = Rules { intensity: self.intensity, when_exceeded: self.when_exceeded, backoff };
        let statuses = children.iter().map(|child| ChildStatus {
            name: child.name.clone(),
            state: ChildState::Waiting,
            restarts_total: 0,
            last_exit: None,
        });
        let statuses = Arc::new(Mutex::new(statuses.collect()));
        let (ended, watch_ended) = watch::channel(None);
        let handle = SupervisorHandle {
            name: self.name.clone(),
            signals: reports.clone(),
            statuses: statuses.clone(),
            ended: watch_ended,
        };
        let (name, listener) = (self.name, self.listener);
        let run = move || {
            let supervision =
                Supervision::new(name, rules, children, reports, signals, statuses, ended, listener);
            actix_rt::spawn(supervision.run());
        };
        (handle, run)
    }
}

/// Delays double: from 0.1 s to 30 s in nine restarts.
const BACKOFF_FACTOR: u32 = 2;

impl std::fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let children: Vec<&str> = self.children.iter().map(|(child, _)| &*child.name).collect();
        f.debug_struct("Supervisor")
            .field("name", &self.name)
            .field("children", &children)
            .finish_non_exhaustive()
    }
}

/// A running supervisor. Clones are equal; dropping one, or all, stops nothing: a supervisor ends when it is told to,
/// when it escalates, or with its arbiter.
#[derive(Clone, Debug)]
pub struct SupervisorHandle {
    name: Arc<str>,
    signals: UnboundedSender<Signal>,
    statuses: Arc<Mutex<Vec<ChildStatus>>>,
    ended: watch::Receiver<Option<Stopped>>,
}

impl SupervisorHandle {
    /// The supervisor's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Stops the children in reverse order, each within its own shutdown time. At the deadline those left are killed,
    /// in the same order. Answers when all are gone, or about a second after each kill that is not answered.
    ///
    /// Cancel safe: the stop goes on when nobody waits for it. On a supervisor that has ended it answers at once.
    pub async fn stop(&self, deadline: Duration) -> Stopped {
        // When nobody receives it, it has ended, and `wait` knows how.
        let _ = self.signals.send(Signal::Stop { deadline });
        self.wait().await
    }

    /// Waits for the end. Cancel safe.
    pub async fn wait(&self) -> Stopped {
        let mut ended = self.ended.clone();
        let outcome = ended.wait_for(Option::is_some).await;
        outcome.ok().and_then(|stopped| stopped.clone()).unwrap_or_else(Stopped::lost)
    }

    /// Whether it has not ended: neither stopped, nor escalated, nor lost with its arbiter.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.ended.borrow().is_none() && self.ended.has_changed().is_ok()
    }

    /// How the children are doing, in start order.
    #[must_use]
    pub fn children(&self) -> Vec<ChildStatus> {
        self.statuses.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Kills a child as if by accident: it is dropped without hooks, and restarted as its spec says. For tests and
    /// for people at a console; a name that does not exist is nobody's.
    pub fn kill_child(&self, name: &str) {
        let _ = self.signals.send(Signal::Kill { child: name.into() });
    }
}

/// How a supervisor ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stopped {
    /// Why.
    pub reason: StopReason,
    /// The children that did not stop in time and were killed, now or earlier.
    pub killed: Vec<Arc<str>>,
    /// The children that did not even answer a kill: their thread is blocked. They end when it comes back.
    pub abandoned: Vec<Arc<str>>,
}

impl Stopped {
    fn lost() -> Self {
        Self { reason: StopReason::Lost, killed: Vec::new(), abandoned: Vec::new() }
    }
}

/// Why a supervisor ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopReason {
    /// It was told to.
    Stopped,
    /// The restart intensity was used up, last by this child; or this child can never be started again.
    Escalated {
        /// Its name.
        child: Arc<str>,
        /// How it ended.
        exit: Exit,
    },
    /// Its arbiter ended before it.
    Lost,
}

/// What a supervisor's listener hears.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SupervisorEvent {
    /// A child's `started()` has returned.
    ChildStarted {
        /// Its name.
        child: Arc<str>,
        /// 1 at first, one more with each restart.
        generation: u64,
    },
    /// A child has ended.
    ChildExited {
        /// Its name.
        child: Arc<str>,
        /// How.
        exit: Exit,
        /// After which time it is started again; `None` if it is not, or not by itself.
        delay: Option<Duration>,
    },
    /// A child is alive and has made no progress. If it can be polled it is killed and restarted; if its thread is
    /// blocked nothing can be done until that comes back.
    ChildStuck {
        /// Its name.
        child: Arc<str>,
    },
    /// A stuck child moves again.
    ChildCameBack {
        /// Its name.
        child: Arc<str>,
    },
    /// A child did not answer a kill: its thread is blocked. A supervisor that stops leaves it behind; any other waits
    /// until it comes back, since a second one beside it could mean two owners of the same thing.
    ChildUnresponsive {
        /// Its name.
        child: Arc<str>,
    },
    /// The restart intensity was used up: all children are stopped, and the supervisor ends.
    Escalated {
        /// The child that used it up.
        child: Arc<str>,
        /// How that one ended.
        exit: Exit,
    },
    /// The restart intensity was used up: all children are stopped, and started again later. Told once, however
    /// often that happens until it recovers.
    Degraded {
        /// The child that used it up.
        child: Arc<str>,
        /// How that one ended.
        exit: Exit,
        /// When all are started again.
        retry_in: Duration,
    },
    /// After a degradation all children have held for the span of the intensity.
    Recovered,
    /// All children are down, and the supervisor ends.
    Stopped,
}
