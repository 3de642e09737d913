//! Code of the application runs in ours here and there: iterators, subscribers to the log, wakers, handlers of messages,
//! tasks beside ours. What it panics with costs its own call, and no database anything.
#![allow(clippy::unwrap_used, clippy::panic, reason = "the lints do not see that helpers of tests are tests")]

mod support;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use actix::{ActorContext, Handler, Message};
use influx_spool::{
    Database, DatabaseHandle, Fate, Flush, GetStats, Point, PriorityContext, Standing, WhenFull,
};
use support::ledger::{check_arrived, check_ledger};
use support::receiver::{Manner, Receiver};

const LONG: Duration = Duration::from_secs(60);

fn run<T>(test: impl Future<Output = T>) -> T {
    actix_rt::System::new().block_on(test)
}

fn point(number: u64) -> Point {
    Point::new("m").field("n", number as i64)
}

/// Panics without the panic hook, whose page on standard error is for panics that nobody asked for.
fn explode() -> ! {
    resume_unwind(Box::new("on purpose"))
}

struct Bench {
    receiver: Receiver,
    folder: tempfile::TempDir,
    db: DatabaseHandle,
}

impl Bench {
    fn start(name: &str) -> Self {
        let (receiver, folder) = (Receiver::start(), tempfile::tempdir().unwrap());
        let builder = Database::builder(name).http(receiver.url()).spool(folder.path().join("s.db"));
        Self { db: builder.start().unwrap(), receiver, folder }
    }

    /// All is well, all is there, and nothing died.
    async fn check(self, accepted: u64) {
        assert!(self.db.flush(LONG).await.unwrap().complete);
        assert!(self.db.health().ok, "{:?}", self.db.health());
        assert!(self.db.address().send(GetStats).await.is_ok());
        let report = self.db.stop(LONG).await.unwrap();
        assert!(report.drained && report.closed);
        check_ledger(&report.stats, accepted, &self.receiver);
        check_arrived(&self.receiver, 0..accepted);
        assert_eq!(report.stats.restarts_total, 0);
        drop(self.folder);
    }
}

/// Gives so many numbered points, and panics then, or when it is dropped.
struct Explosive {
    next: u64,
    end: u64,
    when_dropped: bool,
}

impl Iterator for Explosive {
    type Item = Point;
    fn next(&mut self) -> Option<Point> {
        if self.next == self.end {
            return if self.when_dropped { None } else { explode() };
        }
        self.next += 1;
        Some(point(self.next - 1))
    }
}

impl Drop for Explosive {
    fn drop(&mut self) {
        if self.when_dropped {
            explode();
        }
    }
}

#[test]
fn what_an_iterator_gave_before_it_panicked_is_pushed() {
    run(async {
        let bench = Bench::start("iterators");
        let mut pushed = 0;
        // Fewer than are put in the queue together, and more.
        for (points, when_dropped) in [(100, false), (10_000, false), (100, true), (10_000, true)] {
            let iterator = Explosive { next: pushed, end: pushed + points, when_dropped };
            let outcome = catch_unwind(AssertUnwindSafe(|| bench.db.push_all(iterator)));
            assert!(outcome.is_err(), "the panic is the caller's");
            pushed += points;
            assert_eq!(bench.db.stats().ledger.accepted().points, pushed);
        }
        // In the middle of a push of another.
        let inner = Explosive { next: pushed + 1, end: pushed + 10, when_dropped: false };
        let mut inner = Some(inner);
        let outer = std::iter::from_fn(|| inner.take().map(|inner| (point(pushed), inner)));
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            bench.db.push_all(outer.map(|(first, inner)| {
                bench.db.push(first).unwrap();
                bench.db.push_all(inner);
                point(0)
            }))
        }));
        assert!(outcome.is_err());
        bench.check(pushed + 10).await;
    });
}

/// A subscriber to the log that panics at every line about one database.
struct Subscriber {
    lines: AtomicU64,
}

/// What the lines must be about.
const LOUD: &str = "subscribers";

impl tracing::Subscriber for Subscriber {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("influx_spool")
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        struct About(bool);
        impl tracing::field::Visit for About {
            fn record_debug(&mut self, _: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                self.0 |= format!("{value:?}").contains(LOUD);
            }
        }
        let mut about = About(false);
        event.record(&mut about);
        if about.0 {
            self.lines.fetch_add(1, Ordering::Relaxed);
            explode();
        }
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn a_subscriber_to_the_log_that_panics_at_every_line_costs_nothing_but_the_lines() {
    let subscriber = Arc::new(Subscriber { lines: AtomicU64::new(0) });
    tracing::subscriber::set_global_default(Arc::clone(&subscriber)).unwrap();
    run(async {
        let bench = Bench::start(LOUD);
        let db = &bench.db;
        let pushed = Cell::new(0);
        let push = |points: u64| {
            let first = pushed.replace(pushed.get() + points);
            db.push_all((first..first + points).map(point)).last.unwrap()
        };
        // Each of these has its lines: restarts, ...
        for actor in ["http-0", "batcher", "store", "database"] {
            db.delivered(push(10)).await.unwrap();
            let restarts = db.stats().restarts_total;
            assert!(db.drill(actor));
            let begin = Instant::now();
            while db.stats().restarts_total == restarts {
                assert!(begin.elapsed() < LONG, "{actor} is restarted");
                actix_rt::task::yield_now().await;
            }
        }
        // ... an outage, with receipts that are given in the same breath, ...
        bench.receiver.go_down();
        let persisted = db.persisted(push(10));
        assert!(matches!(persisted.await.unwrap(), Standing::Durable(_)));
        bench.receiver.come_up();
        db.delivered(push(10)).await.unwrap();
        // ... a batch set aside.
        bench.receiver.set_manner(Manner::RefuseLinesWith(format!("n={}i", pushed.get())));
        let set_aside = db.delivered(push(1)).await.unwrap();
        assert!(matches!(set_aside, Standing::Settled(Fate::Quarantined(_))), "{set_aside:?}");
        bench.receiver.set_manner(Manner::Accept);
        // It is taken back once it is on disk.
        let begin = Instant::now();
        while db.replay(None, LONG).await.unwrap().points == 0 {
            assert!(begin.elapsed() < LONG, "it is in quarantine");
        }
        assert!(db.flush(LONG).await.unwrap().complete);
        let report = db.stop(LONG).await.unwrap();
        assert!(report.drained && report.closed);
        check_ledger(&report.stats, pushed.get(), &bench.receiver);
        assert_eq!(report.stats.restarts_total, 4);
        let lines = subscriber.lines.load(Ordering::Relaxed);
        assert!(lines >= 10, "{lines} lines");
    });
}

async fn in_time<T>(what: &str, answer: impl Future<Output = T>) -> T {
    let answered = tokio::time::timeout(LONG, answer).await;
    answered.unwrap_or_else(|_| panic!("{what}: nobody wakes it"))
}

/// A waker that panics.
struct Bomb(AtomicU64);

impl Wake for Bomb {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
        explode();
    }
}

#[test]
fn a_waker_that_panics_keeps_nobody_from_an_answer() {
    run(async {
        let (receiver, folder) = (Receiver::start(), tempfile::tempdir().unwrap());
        receiver.set_manner(Manner::Silence);
        let hour = Duration::from_secs(3_600);
        let builder = Database::builder("wakers").http(receiver.url()).spool(folder.path().join("s.db"));
        let builder = builder.when_full(WhenFull::Refuse).loss_window(hour).linger(hour);
        let builder = builder.configure(|config| config.queue.points_max = 100.try_into().unwrap());
        let db = builder.start().unwrap();
        let (mut events, mut other_events) = (db.subscribe(), db.subscribe());
        let bombs: Vec<Arc<Bomb>> = (0..7).map(|_| Arc::new(Bomb(AtomicU64::new(0)))).collect();
        let wakers: Vec<Waker> = bombs.iter().map(|bomb| Waker::from(Arc::clone(bomb))).collect();
        {
            // Each waits, first with a waker that panics; behind it another waits for the same.
            let mut tasks = wakers.iter().map(Context::from_waker);
            // A batch is under way, and the others are not made yet: nothing is stored, whatever takes how long.
            assert_eq!(db.push_all((0..20).map(point)).accepted, 20);
            let mut flush = pin!(db.flush(LONG));
            assert!(flush.as_mut().poll(&mut tasks.next().unwrap()).is_pending());
            assert!(receiver.wait_for_requests(1, LONG));
            let last = db.push_all((20..100).map(point)).last.unwrap();
            let mut persisted = pin!(db.persisted(last));
            let mut delivered = pin!(db.delivered(last));
            let mut commit = pin!(db.commit(LONG));
            let mut push = pin!(db.push_wait(point(100)));
            let mut event = pin!(events.next());
            let mut message = pin!(db.address().send(Flush { deadline: LONG }));
            assert!(persisted.as_mut().poll(&mut tasks.next().unwrap()).is_pending());
            assert!(delivered.as_mut().poll(&mut tasks.next().unwrap()).is_pending());
            assert!(push.as_mut().poll(&mut tasks.next().unwrap()).is_pending());
            assert!(event.as_mut().poll(&mut tasks.next().unwrap()).is_pending());
            assert!(message.as_mut().poll(&mut tasks.next().unwrap()).is_pending());
            let others = async {
                tokio::join!(
                    in_time("persisted", db.persisted(last)),
                    in_time("delivered", db.delivered(last)),
                    in_time("push_wait", db.push_wait(point(101))),
                    in_time("an event", other_events.next()),
                )
            };
            let make_it_happen = async {
                actix_rt::task::yield_now().await;
                assert!(commit.as_mut().poll(&mut tasks.next().unwrap()).is_pending());
                receiver.set_manner(Manner::Accept);
                db.reconfigure(db.config()).await.unwrap();
                // Something to be told of.
                while !db.drill("batcher") {
                    actix_rt::task::yield_now().await;
                }
            };
            let both = async { tokio::join!(others, make_it_happen).0 };
            let (persisted_other, delivered_other, pushed_other, told) = both.await;
            assert!(persisted_other.is_ok() && pushed_other.is_ok() && told.is_some());
            assert_eq!(delivered_other.unwrap(), Standing::Settled(Fate::Delivered));
            // They were answered all the same.
            let answered = async {
                assert!(persisted.await.is_ok() && delivered.await.is_ok() && flush.await.is_ok());
                assert!(commit.await.is_ok() && push.await.is_ok() && event.await.is_some());
                // Its waker panicked on the database's own time: then the answer is lost with it, at the most.
                let _ = message.await;
            };
            tokio::time::timeout(LONG, answered).await.expect("each has its answer");
        }
        let woken = bombs.iter().filter(|bomb| bomb.0.load(Ordering::Relaxed) > 0).count();
        assert!(woken >= 4, "{woken} wakers have panicked");
        assert!(db.flush(LONG).await.unwrap().complete);
        let report = db.stop(LONG).await.unwrap();
        assert!(report.drained && report.closed);
        check_ledger(&report.stats, 102, &receiver);
    });
}

/// A message of the application's own to the database.
struct Own(fn(&mut PriorityContext<Database>));

impl Message for Own {
    type Result = ();
}

impl Handler<Own> for Database {
    type Result = ();
    fn handle(&mut self, own: Own, ctx: &mut PriorityContext<Self>) {
        (own.0)(ctx);
    }
}

#[test]
fn a_handler_of_the_applications_own_may_panic_or_stop_the_actor() {
    run(async {
        let bench = Bench::start("handlers");
        let address = bench.db.address();
        for (number, own) in
            [Own(|_| explode()), Own(|ctx| ctx.stop()), Own(|ctx| ctx.terminate())].into_iter().enumerate()
        {
            bench.db.push(point(number as u64)).unwrap();
            let _ = address.send(own).await;
            let stats = tokio::time::timeout(LONG, address.send(GetStats)).await.expect("it comes back");
            assert_eq!(stats.unwrap().unwrap().restarts_total, number as u64 + 1);
        }
        assert!(bench.db.flush(LONG).await.unwrap().complete);
        check_ledger(&bench.db.stop(LONG).await.unwrap().stats, 3, &bench.receiver);
        check_arrived(&bench.receiver, 0..3);
    });
}

#[test]
fn what_else_runs_on_an_arbiter_of_the_application_may_panic_and_block() {
    run(async {
        let (receiver, folder) = (Receiver::start(), tempfile::tempdir().unwrap());
        let arbiter = actix_rt::Arbiter::new();
        let builder = Database::builder("arbiter").http(receiver.url()).spool(folder.path().join("s.db"));
        let db = builder.arbiter(arbiter.handle()).start().unwrap();
        for number in 0..100 {
            db.push(point(number)).unwrap();
            arbiter.spawn_fn(|| explode());
            arbiter.spawn(async { explode() });
        }
        let (release, released) = std::sync::mpsc::channel::<()>();
        arbiter.spawn_fn(move || released.recv().unwrap_or_default());
        // Blocked: pushes are accepted all the same.
        db.push_all((100..200).map(point));
        assert_eq!(db.stats().ledger.accepted().points, 200);
        release.send(()).unwrap();
        Bench { receiver, folder, db }.check(200).await;
    });
}

#[test]
fn a_system_that_ends_takes_nothing_along() {
    let bench = run(async {
        let bench = Bench::start("system");
        bench.db.push_all((0..100).map(point));
        bench
    });
    // The system the database was started in is gone.
    run(async {
        bench.db.push_all((100..200).map(point));
        bench.check(200).await;
    });
}
