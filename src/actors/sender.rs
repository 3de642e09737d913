//! The HTTP sender: takes the first batch that may be sent, sends it, and brings the verdict home.
//!
//! One request at a time each; a database has as many senders as requests may be under way at once. A lease is all a
//! sender ever holds: when it dies in the middle of a request, its supervisor's listener gives the lease back.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use actix::fut::WrapFuture;
use actix::{Actor, ActorFutureExt, AsyncContext, Handler};

use super::alarm::Alarm;
use super::context::PriorityContext;
use super::shared::{Shared, Wake, wall_ms};
use crate::failpoint::failpoint;
use crate::machines::transit::{Holder, Lease, Leased};
use crate::machines::verdict::{Answer, Asked, judge};
use crate::transport::{HttpWriter, Transport};
use crate::values::batch::Batch;
use crate::values::config::Config;

pub(crate) struct HttpSender {
    shared: Arc<Shared>,
    number: Holder,
    /// The way to the server, and the configuration it was made from.
    way: Option<(Arc<Config>, Rc<dyn Transport>)>,
    sending: bool,
    alarm: Alarm,
}

impl HttpSender {
    pub(crate) fn new(shared: Arc<Shared>, number: Holder) -> Self {
        Self { shared, number, way: None, sending: false, alarm: Alarm::default() }
    }

    fn send_next(&mut self, ctx: &mut PriorityContext<Self>) {
        if self.sending {
            return;
        }
        let Some(way) = self.way() else { return };
        match self.shared.with(|transit| transit.lease(self.number, Instant::now())) {
            Lease::Batch(leased) => self.send(leased, &*way, ctx),
            Lease::NotBefore(at) => self.alarm.set(at, ctx, Self::send_next),
            Lease::Unmade => self.shared.batcher.ring(),
            Lease::Nothing => {}
        }
    }

    fn send(&mut self, leased: Leased, way: &dyn Transport, ctx: &mut PriorityContext<Self>) {
        failpoint!("sender::leased");
        failpoint!(&format!("sender::leased::{}", leased.key));
        self.sending = true;
        let request = way
            .send(&leased.batch.destination, leased.batch.codec, leased.batch.body.clone())
            .into_actor(self);
        ctx.spawn(
            request.map(move |answer, this, ctx| this.answered(leased.key, &leased.batch, &answer, ctx)),
        );
    }

    fn answered(&mut self, key: u64, batch: &Batch, answer: &Answer, ctx: &mut PriorityContext<Self>) {
        failpoint!("sender::answered");
        self.sending = false;
        let asked = Asked { api: batch.destination.api, points: batch.points(), wall_ms: wall_ms() };
        let verdict = judge(asked, answer);
        self.shared.with(|transit| transit.answered(key, verdict, fastrand::f64(), Instant::now()));
        failpoint!("sender::acked");
        self.shared.store.ring();
        self.shared.batcher.ring();
        // The answer may have ended an outage, or a batch's turn: then the others have something to do, too.
        if self.shared.senders.len() > 1 {
            self.shared.ring_senders();
        }
        self.send_next(ctx);
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
                tracing::error!(database = &*self.shared.name, %error, "cannot make a client");
                None
            }
        }
    }
}

impl Actor for HttpSender {
    type Context = PriorityContext<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        failpoint!("sender::started");
        self.shared.senders[self.number].answer();
        self.shared.with(|transit| transit.release_all(self.number, false, Instant::now()));
        self.send_next(ctx);
    }

    fn stopping(&mut self, _: &mut Self::Context) -> actix::Running {
        failpoint!("sender::stopping");
        actix::Running::Stop
    }
}

impl Handler<Wake> for HttpSender {
    type Result = ();

    fn handle(&mut self, wake: Wake, ctx: &mut Self::Context) {
        wake.heed();
        self.shared.senders[self.number].answer();
        self.send_next(ctx);
    }
}
