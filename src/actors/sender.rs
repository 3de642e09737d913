//! The HTTP sender: takes the first load that may be sent, sends it, and brings the verdict home.
//!
//! One request at a time each; a database has as many senders as requests may be under way at once. A lease is all a
//! sender ever holds: when it dies in the middle of a request, its supervisor's listener gives the lease back.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::fut::WrapFuture;
use actix::{Actor, ActorFutureExt, AsyncContext, Handler};

use super::alarm::Alarm;
use super::bell;
use super::context::PriorityContext;
use super::database::sender_name;
use super::drill::{self, Drill};
use super::shared::{Shared, wall_ms};
use crate::failpoint::failpoint;
use crate::log;
use crate::machines::division::{Complaint, Lines};
use crate::machines::transit::{Answered, Holder, Lease, Load};
use crate::machines::verdict::{Answer, Asked, Refusal, Trouble, Verdict, judge};
use crate::transport::{HttpWriter, Transport};
use crate::values::batch::Api;
use crate::values::config::Config;
use crate::values::trouble::TroubleKind;

/// What a 1.x says of a database that does not exist.
const DATABASE_MISSING: &str = "database not found";

/// A database that is still missing after it was created is not where the points go; it is not created again and again.
const CREATED_EVERY: Duration = Duration::from_secs(60);

/// When no client can be made for want of something the system may have later: descriptors, memory.
const CLIENT_RETRY: Duration = Duration::from_secs(1);

pub(crate) struct HttpSender {
    shared: Arc<Shared>,
    number: usize,
    /// The way to the server, and the configuration it was made from.
    way: Option<(Arc<Config>, Rc<dyn Transport>)>,
    sending: bool,
    /// When a missing database was created.
    created: Option<Instant>,
    alarm: Alarm,
}

impl HttpSender {
    pub(crate) fn new(shared: Arc<Shared>, number: usize) -> Self {
        Self { shared, number, way: None, sending: false, created: None, alarm: Alarm::default() }
    }

    fn send_next(&mut self, ctx: &mut PriorityContext<Self>) {
        if self.sending {
            return;
        }
        let Some(way) = self.way() else {
            self.alarm.set(Instant::now() + CLIENT_RETRY, ctx, Self::send_next);
            return;
        };
        loop {
            match self.shared.with(|transit| transit.lease(Holder::http(self.number), Instant::now())) {
                Lease::Load(load) => self.send(load, &*way, ctx),
                Lease::Oversized { key, batch } => {
                    let lines = Lines::of(&batch).ok();
                    self.shared.with(|transit| transit.divide(key, lines));
                    continue;
                }
                Lease::NotBefore(at) => self.alarm.set(at, ctx, Self::send_next),
                Lease::Unmade => self.shared.batcher.ring(),
                Lease::Nothing => {}
            }
            return;
        }
    }

    fn send(&mut self, load: Load, way: &dyn Transport, ctx: &mut PriorityContext<Self>) {
        failpoint!(of self.shared.name, "sender::leased");
        failpoint!(&format!("sender::leased::{}", load.key));
        self.sending = true;
        let (codec, body) = load.body();
        let request = way.send(&load.batch.destination, codec, body).into_actor(self);
        ctx.spawn(request.map(move |answer, this, ctx| this.answered(&load, &answer, ctx)));
    }

    fn answered(&mut self, load: &Load, answer: &Answer, ctx: &mut PriorityContext<Self>) {
        failpoint!(of self.shared.name, "sender::answered");
        self.sending = false;
        let asked = Asked { api: load.batch.destination.api, points: load.points(), wall_ms: wall_ms() };
        let answered = match judge(asked, answer) {
            Verdict::Delivered => Answered::Delivered,
            Verdict::Hold(trouble) => {
                self.create_missing(load, &trouble, ctx);
                Answered::Hold(trouble)
            }
            Verdict::Refused(refusal) => refused(load, refusal),
        };
        let suspect =
            self.shared.with(|transit| transit.answered(load.key, answered, fastrand::f64(), Instant::now()));
        failpoint!(of self.shared.name, "sender::acked");
        if suspect {
            self.ask_whether_well(load.clone(), ctx);
        }
        self.shared.ring_makers();
        // The answer may have ended an outage, or a batch's turn: then the others have something to do, too.
        if self.shared.senders.len() > 1 {
            self.shared.ring_senders();
        }
        self.send_next(ctx);
    }

    /// The same batch fails again and again: asks the server whether it is well. If it is, the batch is suspect.
    fn ask_whether_well(&mut self, load: Load, ctx: &mut PriorityContext<Self>) {
        let Some(way) = self.way() else { return };
        let ping = way.ping().into_actor(self);
        ctx.spawn(ping.map(move |well, this, ctx| {
            if let Some(part) = well.then(|| load.lines().ok()).flatten() {
                this.shared.with(|transit| transit.suspect(load.key, part.lines, Instant::now()));
                this.send_next(ctx);
            }
        }));
    }

    /// Has a missing database created, if that is wanted.
    fn create_missing(&mut self, load: &Load, trouble: &Trouble, ctx: &mut PriorityContext<Self>) {
        let destination = &load.batch.destination;
        // A retention policy may be missing as well, and that is not created.
        let is_missing =
            trouble.kind == TroubleKind::NoSuchDatabase && trouble.words.contains(DATABASE_MISSING);
        let lately = self.created.is_some_and(|at| at.elapsed() < CREATED_EVERY);
        let wanted = self.shared.config().create_database && destination.api == Api::V1;
        let Some(way) = (wanted && is_missing && !lately).then(|| self.way()).flatten() else { return };
        self.created = Some(Instant::now());
        let created = way.create_database(&destination.database).into_actor(self);
        ctx.spawn(created.map(|created, this, ctx| {
            if created {
                this.shared.with(|transit| transit.try_now(Instant::now()));
                this.send_next(ctx);
            }
        }));
    }

    /// The way to the server as it is configured now.
    fn way(&mut self) -> Option<Rc<dyn Transport>> {
        let config = self.shared.config();
        let fresh = |(made_from, _): &&(Arc<Config>, _)| Arc::ptr_eq(made_from, &config);
        if let Some((_, way)) = self.way.as_ref().filter(fresh) {
            return Some(Rc::clone(way));
        }
        match HttpWriter::new(&config.http) {
            Ok(way) => {
                let way: Rc<dyn Transport> = Rc::new(way);
                self.way = Some((config, Rc::clone(&way)));
                Some(way)
            }
            Err(error) => {
                // Checked when the configuration was taken; what fails here is the system.
                log::error!(database = &*self.shared.name, %error, "cannot make a client");
                None
            }
        }
    }
}

/// Finds the lines that are meant. A body that cannot be taken apart is refused whole.
fn refused(load: &Load, refusal: Refusal) -> Answered {
    match load.lines() {
        Ok(part) => {
            let complaint = Complaint::new(&part.lines, &part.indexes, refusal);
            Answered::Refused { complaint, lines: part.lines }
        }
        Err(_) => Answered::RefusedWhole(refusal),
    }
}

impl Actor for HttpSender {
    type Context = PriorityContext<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        failpoint!(of self.shared.name, "sender::started");
        failpoint!(&format!("{}/http-{}::started", self.shared.name, self.number));
        self.shared.with(|transit| transit.release_all(Holder::http(self.number), false, Instant::now()));
        bell::hear(self, ctx, |this| &this.shared.senders[this.number], Self::send_next);
    }

    fn stopping(&mut self, _: &mut Self::Context) -> actix::Running {
        failpoint!(of self.shared.name, "sender::stopping");
        actix::Running::Stop
    }
}

impl Handler<Drill> for HttpSender {
    type Result = ();

    fn handle(&mut self, _: Drill, ctx: &mut Self::Context) {
        drill::play(&sender_name(self.number), &self.shared, ctx);
    }
}
