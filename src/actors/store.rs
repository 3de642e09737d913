//! The store: has the spool's transactions made, its rows read, its file kept small.
//!
//! # Who has the file
//!
//! The open spool lies in a slot of [`Shared`]. For a piece of work it goes to a thread that may block, and comes back
//! when the work is done, to whichever store is there by then: a store that dies leaves no work undone and no file
//! open twice. While a worker has it, no other store touches it, however long the disk takes.
//!
//! # What happens at a panic of the worker
//!
//! The connection is dropped: SQLite rolls back what was not committed. Whether the transaction happened is known to
//! the file alone, so it is opened again and asked for the number of its last one. The store dies with the worker, so
//! that its supervisor counts what happened and what depends on the store is built anew.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, Addr, AsyncContext, Handler};

use super::alarm::Alarm;
use super::bell;
use super::context::PriorityContext;
use super::drill::{self, Drill};
use super::keeping::{self, Moment, Worked};
use super::limits::GRID;
use super::shared::Shared;
use super::slot::SpoolSlot;
use crate::failpoint::failpoint;
use crate::log;
use crate::machines::backoff::Backoff;
use crate::machines::plan::CommitPlan;
use crate::spool::{Spool, SpoolError};
use crate::values::health::{Event, SpoolHealth};

/// Delays between attempts to open a spool that fails.
const REOPEN_MIN: Duration = Duration::from_millis(100);
const REOPEN_MAX: Duration = Duration::from_secs(30);

/// An idle spool is looked after this often: old batches expire, free pages go back. Without anything to do nothing is
/// written. All spools at once: see [`GRID`].
const TIDY_INTERVAL: Duration = Duration::from_secs(60);

/// Between two slices of giving pages back (4 MiB each): a gigabyte takes half a minute, and the disk is free for others.
const TIDY_PAUSE: Duration = Duration::from_millis(100);

pub(crate) struct Store {
    shared: Arc<Shared>,
    alarm: Alarm,
    reopening: Backoff,
    /// No attempt to open the spool before this moment.
    not_before: Option<Instant>,
    /// When the files are to be looked after, if nothing else happens before: whatever is done ends with that.
    tidy_at: Instant,
    /// Batches are old enough to expire, and only a transaction lets them go.
    expiry_due: bool,
}

/// What is to be done with the spool in one go.
struct Work {
    plan: Option<CommitPlan>,
    /// Whether rows are to be read, whatever else is done.
    reads: bool,
}

/// The spool is back.
#[derive(actix::Message)]
#[rtype(result = "()")]
struct CameHome(Worked);

/// A worker panicked with the spool in hand.
#[derive(actix::Message)]
#[rtype(result = "()")]
struct WorkerPanicked;

/// The spool failed, and is closed.
#[derive(actix::Message)]
#[rtype(result = "()")]
struct SpoolFailed;

impl Store {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let reopening = Backoff::new(REOPEN_MIN, REOPEN_MAX, 2);
        Self {
            shared,
            alarm: Alarm::default(),
            reopening,
            not_before: None,
            tidy_at: next_tidying(),
            expiry_due: false,
        }
    }

    /// Has done what is due, or sleeps until something is.
    fn work(&mut self, ctx: &mut PriorityContext<Self>) {
        self.shared.store.look();
        if self.shared.spool_is_closed() {
            self.reopen(ctx);
            return;
        }
        let Some(spool) = self.shared.take_spool() else { return };
        // From here on: should this panic, the slot says so.
        let trip = Trip::new(&self.shared, ctx.address());
        self.reopening.reset();
        let stamp_last = self.shared.stamp_last_nanos();
        let now = Instant::now();
        let (work, wants_seal) = self.shared.with(|transit| {
            let plan = transit.plan_commit(self.expiry_due, stamp_last, now);
            (Work { plan, reads: transit.wants_read().is_some() }, transit.wants_seal())
        });
        if wants_seal {
            self.shared.batcher.ring();
        }
        let moves = work.plan.is_some() || work.reads;
        let tidies = self.tidy_at <= now;
        if moves {
            self.tidy_at = next_tidying();
            self.shared.disk.run(move || trip.work(spool, &work));
            return;
        }
        trip.stay(spool);
        if tidies {
            self.tidy_at = next_tidying();
            self.tidy(ctx);
        }
        // From tidying nobody comes back with word, if there was nothing to tidy.
        self.sleep_until_due(ctx);
    }

    /// Has the files looked after when it suits. The spool stays where it is until then, for whoever needs it sooner.
    fn tidy(&self, ctx: &PriorityContext<Self>) {
        self.shared.with(|transit| transit.rest());
        let (shared, store) = (Arc::clone(&self.shared), ctx.address());
        self.shared.disk.run_later(move || {
            if let Some(spool) = shared.take_spool() {
                Trip::new(&shared, store).work(spool, &Work { plan: None, reads: false });
            }
        });
    }

    fn reopen(&mut self, ctx: &mut PriorityContext<Self>) {
        if let Some(at) = self.not_before.filter(|at| *at > Instant::now()) {
            self.alarm.set(at, ctx, Self::work);
            return;
        }
        if self.shared.claim_reopening() {
            let trip = Trip::new(&self.shared, ctx.address());
            self.shared.disk.run(move || trip.reopen());
        }
    }

    fn sleep_until_due(&mut self, ctx: &mut PriorityContext<Self>) {
        let commit_at = self.shared.with(|transit| transit.next_commit_at());
        let due = commit_at.map_or(self.tidy_at, |at| at.min(self.tidy_at));
        self.alarm.set(due, ctx, Self::work);
        self.shared.store.look_again_by(due);
    }
}

impl Actor for Store {
    type Context = PriorityContext<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        failpoint!(of self.shared.name, "store::started");
        bell::hear(self, ctx, |this| &this.shared.store, Self::work);
    }

    fn stopping(&mut self, _: &mut Self::Context) -> actix::Running {
        failpoint!(of self.shared.name, "store::stopping");
        actix::Running::Stop
    }
}

impl Handler<Drill> for Store {
    type Result = ();

    fn handle(&mut self, _: Drill, ctx: &mut Self::Context) {
        drill::play("store", &self.shared, ctx);
    }
}

impl Handler<CameHome> for Store {
    type Result = ();

    fn handle(&mut self, CameHome(Worked { left, in_vain, .. }): CameHome, ctx: &mut Self::Context) {
        failpoint!(of self.shared.name, "store::came_home");
        self.tidy_at = if left.more { Instant::now() + TIDY_PAUSE } else { next_tidying() };
        self.expiry_due = left.expiry_due && !in_vain;
        self.work(ctx);
    }
}

impl Handler<WorkerPanicked> for Store {
    type Result = ();

    fn handle(&mut self, _: WorkerPanicked, _: &mut Self::Context) {
        std::panic::resume_unwind(Box::new("a worker of the store panicked"));
    }
}

impl Handler<SpoolFailed> for Store {
    type Result = ();

    fn handle(&mut self, _: SpoolFailed, ctx: &mut Self::Context) {
        self.not_before = Some(Instant::now() + self.reopening.next_delay(fastrand::f64()));
        self.work(ctx);
    }
}

/// When an idle spool is looked after next: half an interval from now at the earliest, so that one which was busy until now
/// has come to rest.
fn next_tidying() -> Instant {
    GRID.at_or_after(Instant::now() + TIDY_INTERVAL / 2, TIDY_INTERVAL)
}

/// A worker's journey with the spool. It ends with the spool in its slot, or with the word that it is closed.
struct Trip {
    shared: Arc<Shared>,
    store: Addr<Store>,
    home: bool,
}

impl Trip {
    fn new(shared: &Arc<Shared>, store: Addr<Store>) -> Self {
        Self { shared: Arc::clone(shared), store, home: false }
    }

    /// There is nothing to be done.
    fn stay(mut self, spool: Box<Spool>) {
        self.home = true;
        self.shared.put_spool(SpoolSlot::Idle(spool));
    }

    fn work(self, mut spool: Box<Spool>, work: &Work) {
        match keeping::work(&self.shared, &mut spool, work.plan.as_ref(), Moment::now) {
            Ok(worked) => self.come_home(spool, worked),
            Err(error) => self.fail(spool, &error),
        }
    }

    fn reopen(self) {
        let Some(options) = &self.shared.spool_options else { return };
        match keeping::reopen(&self.shared, options, Moment::now) {
            Ok(spool) => {
                let shared = Arc::clone(&self.shared);
                self.come_home(Box::new(spool), Worked { moved: true, ..Worked::default() });
                log::info!(database = &*shared.name, "the spool is open again");
                // When it is so, for whoever looks. Before the spool can fail again: that is work on this lane, too.
                shared.tell(Event::Spool(SpoolHealth::Ok));
            }
            Err(error) => self.close(&error),
        }
    }

    fn come_home(mut self, spool: Box<Spool>, worked: Worked) {
        self.home = true;
        let was_missed = self.shared.put_spool(SpoolSlot::Idle(spool));
        if worked.is_nothing() && !was_missed {
            // A thread is woken for nobody: thousands of idle spools may be tidied at once.
            return;
        }
        if was_missed {
            // Perhaps by another store, if the one that sent this worker is gone.
            self.shared.store.ring();
        }
        self.shared.ring_concerned();
        self.store.do_send(CameHome(worked));
    }

    /// A connection that failed is not used again: a second sync is never trusted, and only opening the file anew
    /// tells what is in it.
    fn fail(self, spool: Box<Spool>, error: &SpoolError) {
        drop(spool);
        self.close(error);
    }

    fn close(mut self, error: &SpoolError) {
        self.home = true;
        log::error!(database = &*self.shared.name, %error, "the spool failed, will be opened again");
        let why = error.to_string();
        self.shared.put_spool(SpoolSlot::Closed(why.clone()));
        self.shared.tell(Event::Spool(SpoolHealth::Failing(why)));
        self.store.do_send(SpoolFailed);
    }
}

impl Drop for Trip {
    /// Not home: the worker is unwinding, and the connection is gone already.
    fn drop(&mut self) {
        if !self.home {
            self.shared.put_spool(SpoolSlot::Closed("a worker panicked".into()));
            self.store.do_send(WorkerPanicked);
            self.shared.store.ring();
        }
    }
}
