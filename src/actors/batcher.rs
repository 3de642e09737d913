//! The batcher: decides when lines become a batch, and has it made.
//!
//! It owns nothing. What is due is said by the transit; the body is made by a worker, or here if it is small; the
//! result goes back into the transit, from which the store and the senders take it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use actix::{Actor, Handler};

use super::alarm::Alarm;
use super::bell;
use super::context::PriorityContext;
use super::drill::{self, Drill};
use super::shared::{Shared, wall_ms};
use super::workers::{Lanes, SEAL};
use crate::failpoint::failpoint;
use crate::log;
use crate::machines::transit::SealJob;

/// Lines shorter than this are sealed on the spot: handing them to another thread costs more than compressing them.
const SMALL_BYTES: u64 = 32 << 10;

pub(crate) struct Batcher {
    shared: Arc<Shared>,
    alarm: Alarm,
}

impl Batcher {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, alarm: Alarm::default() }
    }

    /// Has everything made that is due, and looks again when the next is.
    fn seal_what_is_due(&mut self, ctx: &mut PriorityContext<Self>) {
        self.shared.batcher.look();
        loop {
            if self.shared.jobs_sealing.load(Ordering::Acquire) >= Lanes::count() {
                // Whatever is due now is due until a worker is free, and that one rings.
                return;
            }
            let jobs = self.shared.with(|transit| transit.take_seal_jobs(1, Instant::now(), wall_ms()));
            let Some(job) = jobs.into_iter().next() else { break };
            let ticket = Ticket::new(Arc::clone(&self.shared), job);
            failpoint!(of self.shared.name, "batcher::drained");
            match SEAL.next() {
                Ok(lane) if ticket.job.raw_len() >= SMALL_BYTES => lane.run(move || ticket.seal()),
                _ => ticket.seal(),
            }
        }
        self.sleep_until_due(ctx);
    }

    fn sleep_until_due(&mut self, ctx: &mut PriorityContext<Self>) {
        if let Some(due) = self.shared.with(|transit| transit.next_seal_at()) {
            self.alarm.set(due, ctx, Self::seal_what_is_due);
            self.shared.batcher.look_again_by(due);
        }
    }
}

impl Actor for Batcher {
    type Context = PriorityContext<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        failpoint!(of self.shared.name, "batcher::started");
        bell::hear(self, ctx, |this| &this.shared.batcher, Self::seal_what_is_due);
    }

    fn stopping(&mut self, _: &mut Self::Context) -> actix::Running {
        failpoint!(of self.shared.name, "batcher::stopping");
        actix::Running::Stop
    }
}

impl Handler<Drill> for Batcher {
    type Result = ();

    fn handle(&mut self, _: Drill, ctx: &mut Self::Context) {
        drill::play("batcher", &self.shared, ctx);
    }
}

/// A body in the making. Whatever ends the work without a body, a panic above all, gives the batch back.
struct Ticket {
    shared: Arc<Shared>,
    job: SealJob,
    done: bool,
}

impl Ticket {
    fn new(shared: Arc<Shared>, job: SealJob) -> Self {
        shared.jobs_sealing.fetch_add(1, Ordering::AcqRel);
        Self { shared, job, done: false }
    }

    fn seal(mut self) {
        failpoint!(of self.shared.name, "batcher::seal");
        match self.job.run() {
            Ok(batch) => {
                failpoint!(of self.shared.name, "batcher::sealed");
                self.done = true;
                self.shared.with(|transit| transit.sealed(self.job.key, batch));
            }
            Err(error) => log::error!(database = &*self.shared.name, %error, "cannot make a body"),
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.done {
            let key = self.job.key;
            self.shared.with(|transit| {
                transit.seal_failed(key, "in work during two panics", Instant::now(), wall_ms())
            });
        }
        self.shared.jobs_sealing.fetch_sub(1, Ordering::AcqRel);
        self.shared.ring_concerned();
    }
}
