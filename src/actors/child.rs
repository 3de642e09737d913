//! What a supervisor is told of a child, and what it tells of it.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ArbiterHandle};

use super::context::PriorityContext;
use super::mailbox::MailboxOptions;
use crate::machines::policy::{Exit, Restart, Strategy};

/// How to build an actor, and what to do when it ends.
pub struct ChildSpec<A: Actor<Context = PriorityContext<A>>> {
    pub(super) name: Arc<str>,
    pub(super) factory: SendFactory<A>,
    pub(super) restart: Restart,
    pub(super) strategy: Option<Strategy>,
    pub(super) shutdown: Duration,
    pub(super) heartbeat: Option<Duration>,
    pub(super) mailbox: MailboxOptions,
    pub(super) arbiter: Option<ArbiterHandle>,
}

pub(super) type SendFactory<A> = Box<dyn FnMut(&mut PriorityContext<A>) -> A + Send>;

impl<A: Actor<Context = PriorityContext<A>>> ChildSpec<A> {
    /// The factory builds each generation afresh; what is to outlive one belongs into what the factory shares. It
    /// runs on the child's arbiter, and may panic: that is an exit like any other.
    pub fn new<F>(name: impl Into<Arc<str>>, factory: F) -> Self
    where
        F: FnMut(&mut PriorityContext<A>) -> A + Send + 'static,
    {
        Self {
            name: name.into(),
            factory: Box::new(factory),
            restart: Restart::Permanent,
            strategy: None,
            shutdown: Duration::from_secs(5),
            heartbeat: Some(Duration::from_secs(60)),
            mailbox: MailboxOptions::default(),
            arbiter: None,
        }
    }

    /// Which exits are followed by a restart. Default: all ([`Restart::Permanent`]).
    #[must_use]
    pub fn restart(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self
    }

    /// Whom its restart takes along. Default: what the supervisor says.
    #[must_use]
    pub fn strategy(mut self, strategy: Strategy) -> Self {
        self.strategy = Some(strategy);
        self
    }

    /// How long it may take to stop before it is killed, that is dropped without `stopping()` and `stopped()`. Zero
    /// kills it at once. Default: 5 s, OTP's for a worker.
    #[must_use]
    pub fn shutdown(mut self, shutdown: Duration) -> Self {
        self.shutdown = shutdown;
        self
    }

    /// How long it may make no progress, which is to sit in `ctx.wait` without a declaration
    /// ([`PriorityContext::declare_waiting`]) or in a handler that does not return. A child that is only busy
    /// makes progress. It is found between one and two and a half of these later. `None`: not watched.
    ///
    /// Default: 60 s, longer than any single wait should be.
    #[must_use]
    pub fn heartbeat(mut self, timeout: Option<Duration>) -> Self {
        self.heartbeat = timeout;
        self
    }

    /// The bounds of its mailbox. Default: [`MailboxOptions::default`].
    #[must_use]
    pub fn mailbox(mut self, options: MailboxOptions) -> Self {
        self.mailbox = options;
        self
    }

    /// Runs it on another arbiter than its supervisor, which can then tell when that thread is blocked. Default: the
    /// supervisor's own.
    #[must_use]
    pub fn arbiter(mut self, arbiter: ArbiterHandle) -> Self {
        self.arbiter = Some(arbiter);
        self
    }
}

impl<A: Actor<Context = PriorityContext<A>>> std::fmt::Debug for ChildSpec<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChildSpec")
            .field("name", &self.name)
            .field("restart", &self.restart)
            .finish_non_exhaustive()
    }
}

/// How a child is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChildStatus {
    /// Its name.
    pub name: Arc<str>,
    /// Where it stands.
    pub state: ChildState,
    /// How often it was started again, for whatever reason.
    pub restarts_total: u64,
    /// How its last generation ended; `None` while the first one runs.
    pub last_exit: Option<Exit>,
}

/// Where a child stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChildState {
    /// Its factory or its `started()` is at work, or its arbiter has not come to it yet.
    Starting,
    /// It runs.
    Up,
    /// It is alive and does not move.
    Stuck,
    /// It was told to stop.
    Stopping,
    /// It is down, and will be started when its delay is over and those before it are up.
    Waiting,
    /// It is down and stays down.
    Down,
    /// It was left behind by a supervisor that ends, or its thread is gone.
    Abandoned,
}
