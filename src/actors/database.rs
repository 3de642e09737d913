//! The database: the actor an application talks to, parent of the store, the batcher and the senders.
//!
//! ```text
//! root supervisor            retries every minute when the intensity is used up: the database is degraded then
//! └─ database                 its mailbox is closed by nothing but stop
//!    └─ children's supervisor  escalates: the database dies and is rebuilt, children and all
//!       ├─ store                rest for one: its death takes the others along
//!       ├─ batcher              one for one
//!       └─ http-0 …             one for one
//! ```
//!
//! Points do not pass through it, except as a [`Push`](super::messages::Push) message. What it does itself is to
//! keep its children, to answer messages, and to speak of losses now and then. Stopping is done [beside it](super::stop).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use actix::fut::WrapFuture;
use actix::{Actor, ActorFutureExt, Addr, ArbiterHandle, AsyncContext, Handler};

use super::batcher::Batcher;
use super::bell;
use super::child::ChildSpec;
use super::context::PriorityContext;
use super::drill::{self, Drill};
use super::limits;
use super::sender::HttpSender;
use super::shared::Shared;
use super::store::Store;
use super::supervisor::{StopReason, SupervisorEvent};
use super::udp_sender::UdpSender;
use crate::failpoint::failpoint;
use crate::log;
use crate::machines::policy::{Exit, Strategy, WhenExceeded};
use crate::machines::transit::Holder;
use crate::values::fate::{Fate, ShedReason};
use crate::values::health::Event;
use crate::values::ledger::Ledger;

/// Losses are spoken of at most this often.
const LOSSES_TOLD_EVERY: Duration = Duration::from_secs(60);

/// And refusals, too.
const REFUSED_TOLD_EVERY: Duration = Duration::from_secs(60);

/// How long the children of a database that died may take to get out of the way.
const CLEAR_AWAY: Duration = Duration::from_secs(1);

/// One InfluxDB database: the actor behind a [`DatabaseHandle`](crate::DatabaseHandle).
///
/// Its address takes the messages of this crate: [`Push`](crate::Push) and [`PushLines`](crate::PushLines) as casts;
/// [`Flush`](crate::Flush), [`Commit`](crate::Commit), [`GetStats`](crate::GetStats), [`GetHealth`](crate::GetHealth),
/// [`Await`](crate::Await), [`Reconfigure`](crate::Reconfigure) and [`Stop`](crate::Stop) as calls.
pub struct Database {
    pub(super) shared: Arc<Shared>,
    lost_before: u64,
    telling: bool,
    /// Points that came as messages and were refused since that was last told, and when it was.
    refused: u64,
    refused_told: Option<Instant>,
}

/// Starts a database on an arbiter, under a supervisor of its own.
pub(crate) fn start(shared: &Arc<Shared>, arbiter: &ArbiterHandle) -> Addr<Database> {
    let (told, built) = (Arc::clone(shared), Arc::clone(shared));
    let mut root = limits::supervisor(format!("{}/root", shared.name))
        .when_exceeded(WhenExceeded::RetryEvery(limits::degraded_retry()))
        .on_event(move |event| root_event(&told, event));
    let spec = child("database", move |_| Database::new(Arc::clone(&built))).shutdown(CLEAR_AWAY);
    let address = root.child(spec);
    shared.tree().root = Some(root.start_in(arbiter));
    address
}

impl Database {
    const fn new(shared: Arc<Shared>) -> Self {
        Self { shared, lost_before: 0, telling: false, refused: 0, refused_told: None }
    }

    fn start_children(&self, ctx: &mut PriorityContext<Self>) {
        let shared = &self.shared;
        failpoint!(of shared.name, "database::starting_children");
        let told = Arc::clone(shared);
        let mut supervisor =
            limits::supervisor(Arc::clone(&shared.name)).on_event(move |event| child_event(&told, event));
        if shared.spool_options.is_some() {
            let built = Arc::clone(shared);
            let spec = child("store", move |_| Store::new(Arc::clone(&built)));
            shared.store.connect(Some(supervisor.child(spec.strategy(Strategy::RestForOne)).recipient()));
        }
        let built = Arc::clone(shared);
        let spec = child("batcher", move |_| Batcher::new(Arc::clone(&built)));
        shared.batcher.connect(Some(supervisor.child(spec).recipient()));
        for (number, bell) in shared.senders.iter().enumerate() {
            let built = Arc::clone(shared);
            let spec = child(sender_name(number), move |_| HttpSender::new(Arc::clone(&built), number));
            bell.connect(Some(supervisor.child(spec).recipient()));
        }
        for (number, bell) in shared.udp_senders.iter().enumerate() {
            let built = Arc::clone(shared);
            let spec = child(udp_sender_name(number), move |_| UdpSender::new(Arc::clone(&built), number));
            bell.connect(Some(supervisor.child(spec).recipient()));
        }
        let handle = supervisor.start();
        self.shared.tree().children = Some(handle.clone());
        let ended = async move { handle.wait().await }.into_actor(self);
        ctx.spawn(ended.map(|stopped, this, _| this.children_ended(&stopped.reason)));
    }

    /// The children died more often than their supervisor bears: the database dies of it, and all is built anew.
    fn children_ended(&self, reason: &StopReason) {
        if matches!(reason, StopReason::Escalated { .. } | StopReason::Lost)
            && !self.shared.with(|t| t.is_stopped())
        {
            std::panic::resume_unwind(Box::new("its children died too often"));
        }
    }

    /// Speaks of points that came as messages and were refused: nobody else hears of it.
    pub(super) fn tell_refused(&mut self, points: u64, error: &dyn std::fmt::Display) {
        self.refused += points;
        if self.refused_told.is_none_or(|told| told.elapsed() >= REFUSED_TOLD_EVERY) {
            let points = std::mem::take(&mut self.refused);
            log::warn!(database = &*self.shared.name, points, %error, "points refused");
            self.refused_told = Some(Instant::now());
        }
    }

    /// Speaks of points that were lost since it last did.
    fn tell_losses(&mut self, ctx: &mut PriorityContext<Self>) {
        if self.telling {
            return;
        }
        let ledger = self.shared.stats().ledger;
        let lost = lost_points(&ledger);
        let points = lost - self.lost_before.min(lost);
        self.lost_before = lost;
        if points == 0 {
            return;
        }
        log::error!(database = &*self.shared.name, points, lost_total = lost, "points are being lost");
        self.shared.tell(Event::Losing { points });
        self.telling = true;
        ctx.run_later(LOSSES_TOLD_EVERY, |this, ctx| {
            this.telling = false;
            this.shared.with(|transit| transit.losses_told());
            this.tell_losses(ctx);
        });
    }
}

impl Actor for Database {
    type Context = PriorityContext<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        failpoint!(of self.shared.name, "database::started");
        self.lost_before = lost_points(&self.shared.stats().ledger);
        self.shared.database.connect(Some(ctx.address().recipient()));
        bell::hear(self, ctx, |this| &this.shared.database, Self::tell_losses);
        // It stays listed until others take its place: a stop that comes in between has to find it.
        let left_over = self.shared.tree().children.clone();
        match left_over {
            None => self.start_children(ctx),
            Some(left_over) => {
                ctx.declare_waiting(Instant::now() + CLEAR_AWAY * 3);
                let cleared = async move { left_over.stop(CLEAR_AWAY).await }.into_actor(self);
                ctx.wait(cleared.map(|_, this, ctx| this.start_children(ctx)));
            }
        }
    }
}

impl Handler<Drill> for Database {
    type Result = ();

    fn handle(&mut self, _: Drill, ctx: &mut Self::Context) {
        drill::play("database", &self.shared, ctx);
    }
}

/// A child of the tree. Whatever ends it, it is started again: what stops the tree is [`stop`](super::stop) alone.
fn child<A, F>(name: impl Into<Arc<str>>, factory: F) -> ChildSpec<A>
where
    A: Actor<Context = PriorityContext<A>>,
    F: FnMut(&mut PriorityContext<A>) -> A + Send + 'static,
{
    ChildSpec::new(name, factory).heartbeat(Some(limits::heartbeat()))
}

/// Points that met a fate nobody wishes for.
fn lost_points(ledger: &Ledger) -> u64 {
    let fates = [
        Fate::Shed(ShedReason::QueueFull),
        Fate::Shed(ShedReason::SpoolFull),
        Fate::Expired,
        Fate::Damaged,
        Fate::Rejected,
    ];
    fates.into_iter().map(|fate| ledger.of(fate).points).sum()
}

pub(super) fn udp_sender_name(number: usize) -> String {
    format!("udp-{number}")
}

pub(super) fn sender_name(number: usize) -> String {
    format!("http-{number}")
}

fn child_event(shared: &Shared, event: &SupervisorEvent) {
    if let SupervisorEvent::ChildExited { child, exit, delay } = event {
        let panicked = matches!(exit, Exit::Panicked(_));
        let by_http = (0..shared.senders.len()).map(|number| (sender_name(number), Holder::http(number)));
        let by_udp =
            (0..shared.udp_senders.len()).map(|number| (udp_sender_name(number), Holder::udp(number)));
        if let Some((_, holder)) = by_http.chain(by_udp).find(|(name, _)| **child == **name) {
            shared.with(|transit| transit.release_all(holder, panicked, Instant::now()));
            shared.ring_senders();
        }
        if delay.is_some() {
            count_restart(shared, child, exit);
        }
    }
}

fn root_event(shared: &Shared, event: &SupervisorEvent) {
    match event {
        SupervisorEvent::ChildExited { child, exit, delay: Some(_) } => count_restart(shared, child, exit),
        SupervisorEvent::Degraded { .. } => {
            shared.degraded.store(true, Ordering::Relaxed);
            shared.tell(Event::Degraded);
        }
        SupervisorEvent::Recovered => {
            shared.degraded.store(false, Ordering::Relaxed);
            shared.tell(Event::Recovered);
        }
        _ => {}
    }
}

fn count_restart(shared: &Shared, child: &Arc<str>, exit: &Exit) {
    shared.restarts.fetch_add(1, Ordering::Relaxed);
    log::warn!(database = &*shared.name, actor = &**child, ?exit, "restarted");
    shared.tell(Event::Restarted { actor: Arc::clone(child), exit: format!("{exit:?}") });
}
