//! The UDP sender: takes a batch, sends its lines as datagrams at the common pace, and says which it could not send.
//!
//! UDP has no answers. What is known is only when nobody listens: the host refuses the datagrams, and a connected
//! socket hears of it a moment later. So a batch counts as sent only when that moment has passed in silence; one that
//! was refused waits, or goes by HTTP. A host that is down refuses nothing, so where there is HTTP the server is asked
//! now and then whether it is there.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::fut::WrapFuture;
use actix::{Actor, ActorFutureExt, AsyncContext, Handler};

use super::alarm::Alarm;
use super::bell;
use super::context::PriorityContext;
use super::database::udp_sender_name;
use super::drill::{self, Drill};
use super::shared::Shared;
use crate::failpoint::failpoint;
use crate::machines::datagrams::Datagrams;
use crate::machines::division::Lines;
use crate::machines::transit::{Holder, Lease, Load};
use crate::machines::verdict::{TransportError, TransportErrorKind, Trouble};
use crate::transport::{HttpWriter, Transport, UdpWay};
use crate::values::config::{Config, UdpConfig};
use crate::values::trouble::TroubleKind;

/// How long a refusal may take to come back: a round trip on any wire that UDP should be used on.
const REFUSAL_WITHIN: Duration = Duration::from_millis(20);

/// The server is asked this often, while there is something to send, whether it is there.
const ASKED_EVERY: Duration = Duration::from_secs(10);

pub(crate) struct UdpSender {
    shared: Arc<Shared>,
    number: usize,
    socket: Option<Socket>,
    /// The HTTP side of the server, and the configuration it was made from.
    http: Option<(Arc<Config>, Rc<HttpWriter>)>,
    asked: Option<Instant>,
    sending: bool,
    alarm: Alarm,
}

/// A socket, the address it was made for, and since when it is there.
#[derive(Clone)]
struct Socket {
    way: Rc<UdpWay>,
    address: String,
    made: Instant,
}

/// What is needed to send one batch.
struct Errand {
    shared: Arc<Shared>,
    udp: UdpConfig,
    socket: Option<Socket>,
    /// Who is to be asked first whether the server is there.
    ask: Option<Rc<HttpWriter>>,
}

/// What came of it: which lines are too long, or why it could not be sent.
type Carried = Result<Option<(Arc<Lines>, Vec<u32>)>, TransportError>;

impl UdpSender {
    pub(crate) fn new(shared: Arc<Shared>, number: usize) -> Self {
        let alarm = Alarm::default();
        Self { shared, number, socket: None, http: None, asked: None, sending: false, alarm }
    }

    fn send_next(&mut self, ctx: &mut PriorityContext<Self>) {
        if self.sending {
            return;
        }
        match self.shared.with(|transit| transit.lease(Holder::udp(self.number), Instant::now())) {
            Lease::Load(load) => self.send(load, ctx),
            Lease::NotBefore(at) => self.alarm.set(at, ctx, Self::send_next),
            Lease::Unmade => self.shared.batcher.ring(),
            Lease::Oversized { .. } | Lease::Nothing => {}
        }
    }

    fn send(&mut self, load: Load, ctx: &mut PriorityContext<Self>) {
        failpoint!(of self.shared.name, "udp_sender::leased");
        let config = self.shared.config();
        let Some(udp) = config.udp.clone() else { return };
        self.sending = true;
        let fresh = |socket: &Socket| {
            socket.address == udp.address && socket.made.elapsed() < config.http.connection_age_max
        };
        let socket = self.socket.take().filter(fresh);
        let ask = self.http(&config).filter(|_| self.is_to_ask());
        let errand = Errand { shared: Arc::clone(&self.shared), udp, socket, ask };
        let done = async move {
            let (carried, socket) = errand.run(&load).await;
            (load, carried, socket)
        };
        ctx.spawn(done.into_actor(self).map(|(load, carried, socket), this, ctx| {
            this.socket = socket;
            this.sent(&load, carried, ctx);
        }));
    }

    fn sent(&mut self, load: &Load, carried: Carried, ctx: &mut PriorityContext<Self>) {
        failpoint!(of self.shared.name, "udp_sender::sent");
        self.sending = false;
        let now = Instant::now();
        match carried {
            Ok(left) => self.shared.with(|transit| transit.carried(load.key, left, now)),
            Err(error) => {
                // Asked again before the next attempt.
                self.asked = None;
                let trouble = trouble(error);
                self.shared.with(|transit| transit.not_carried(load.key, &trouble, fastrand::f64(), now));
            }
        }
        self.shared.store.ring();
        self.shared.batcher.ring();
        // Some of it, or all, may be for HTTP now.
        self.shared.ring_senders();
        self.send_next(ctx);
    }

    fn is_to_ask(&mut self) -> bool {
        let due = self.asked.is_none_or(|asked| asked.elapsed() >= ASKED_EVERY);
        if due {
            self.asked = Some(Instant::now());
        }
        due
    }

    /// The HTTP side of the server, if there is one.
    fn http(&mut self, config: &Arc<Config>) -> Option<Rc<HttpWriter>> {
        if !config.udp.as_ref()?.http_fallback {
            return None;
        }
        if let Some((_, http)) = self.http.as_ref().filter(|(made_from, _)| Arc::ptr_eq(made_from, config)) {
            return Some(Rc::clone(http));
        }
        let http = Rc::new(HttpWriter::new(&config.http).ok()?);
        self.http = Some((Arc::clone(config), Rc::clone(&http)));
        Some(http)
    }
}

impl Errand {
    async fn run(mut self, load: &Load) -> (Carried, Option<Socket>) {
        let carried = self.carry(load).await;
        // A socket that failed may be bound to a way that is gone.
        let socket = self.socket.filter(|_| carried.is_ok());
        (carried, socket)
    }

    async fn carry(&mut self, load: &Load) -> Carried {
        if let Some(http) = &self.ask {
            if !http.ping().await {
                let words = "the server does not answer by HTTP".to_owned();
                return Err(TransportError { kind: TransportErrorKind::Connect, words });
            }
            self.shared.with(|transit| transit.answers_by_http(Instant::now()));
        }
        let lines = load.lines().map_err(unreadable)?.lines;
        let Datagrams { bodies, left } = Datagrams::of(&lines, self.udp.datagram_bytes_max.get());
        let way = self.way().await?;
        for body in &bodies {
            let wait = self.shared.next_datagram();
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
            way.send(body).await?;
        }
        if !bodies.is_empty() {
            tokio::time::sleep(REFUSAL_WITHIN).await;
            way.refusal()?;
        }
        Ok((!left.is_empty()).then_some((lines, left)))
    }

    async fn way(&mut self) -> Result<Rc<UdpWay>, TransportError> {
        if let Some(socket) = &self.socket {
            return Ok(Rc::clone(&socket.way));
        }
        let way = Rc::new(UdpWay::connect(&self.udp.address).await?);
        let address = self.udp.address.clone();
        self.socket = Some(Socket { way: Rc::clone(&way), address, made: Instant::now() });
        Ok(way)
    }
}

fn unreadable(error: crate::machines::codec::BodyError) -> TransportError {
    TransportError { kind: TransportErrorKind::Local, words: error.to_string() }
}

fn trouble(error: TransportError) -> Trouble {
    let kind = TroubleKind::Unreachable;
    Trouble { kind, status: None, words: error.words, retry_after: None, may_be_data: false }
}

impl Actor for UdpSender {
    type Context = PriorityContext<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        failpoint!(of self.shared.name, "udp_sender::started");
        failpoint!(&format!("{}/udp-{}::started", self.shared.name, self.number));
        self.shared.with(|transit| transit.release_all(Holder::udp(self.number), false, Instant::now()));
        bell::hear(self, ctx, |this| &this.shared.udp_senders[this.number], Self::send_next);
    }

    fn stopping(&mut self, _: &mut Self::Context) -> actix::Running {
        failpoint!(of self.shared.name, "udp_sender::stopping");
        actix::Running::Stop
    }
}

impl Handler<Drill> for UdpSender {
    type Result = ();

    fn handle(&mut self, _: Drill, ctx: &mut Self::Context) {
        drill::play(&udp_sender_name(self.number), &self.shared, ctx);
    }
}
