//! The application: an actor that pushes numbered points at a steady rate.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use actix::{Actor, AsyncContext, Handler, Message};
use influx_spool::{DatabaseHandle, PriorityContext, SeriesBuilder, SeriesPusher};

use crate::server::Received;

/// A large hall of machines; enough to fill the spool visibly in an outage of seconds.
pub(crate) const POINTS_PER_SECOND: u64 = 30_000;

const TICK: Duration = Duration::from_millis(10);

/// What outlives the press: how much it has pushed.
#[derive(Debug, Default)]
pub(crate) struct Switch {
    pub(crate) accepted: AtomicU64,
}

/// Pushes points numbered from 0. When it is rebuilt it goes on where the one before it left off.
pub(crate) struct Press {
    strokes: SeriesPusher<(i64, f64)>,
    switch: Arc<Switch>,
    began: Instant,
    pushed: u64,
}

/// Makes the press panic.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Misfire;

impl Press {
    pub(crate) fn new(plant: DatabaseHandle, switch: Arc<Switch>) -> Self {
        let strokes =
            SeriesBuilder::new("stroke").tag("hall", "north").tag("press", "7").fields(["n", "force"]);
        let strokes = plant.series(&strokes).expect("the names can be written");
        Self { strokes, switch, began: Instant::now(), pushed: 0 }
    }

    fn push_what_is_due(&mut self) {
        let due =
            u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX) * POINTS_PER_SECOND / 1000;
        while self.pushed < due {
            let number = self.switch.accepted.load(Ordering::Relaxed);
            let force = 20.0 + (number % 100) as f64 / 10.0;
            if let Err(error) = self.strokes.push((number as i64, force)) {
                eprintln!("not accepted: {error}");
                return;
            }
            self.switch.accepted.store(number + 1, Ordering::Relaxed);
            self.pushed += 1;
        }
    }
}

impl Actor for Press {
    type Context = PriorityContext<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(TICK, |this, _| this.push_what_is_due());
    }
}

impl Handler<Misfire> for Press {
    type Result = ();

    fn handle(&mut self, _: Misfire, _: &mut Self::Context) {
        // As `panic!`, without its page on standard error, which would tear the picture.
        std::panic::resume_unwind(Box::new("misfire"));
    }
}

/// What the receiver has if it has everything.
pub(crate) fn expected(pushed: u64) -> Received {
    Received { points: pushed, sum: pushed * pushed.saturating_sub(1) / 2 }
}
