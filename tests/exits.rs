//! How each part of a database may end, and what comes of it: [`TABLE`].
//!
//! Each row is played under load, on a database of its own that has every kind of child.
#![allow(clippy::unwrap_used, clippy::panic, reason = "the lints do not see that helpers of tests are tests")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fail::FailScenario;
use influx_spool::{Database, DatabaseHandle, Event, Events, Fate, Point, SpoolHealth, Told};
use support::ear::Ear;
use support::mine::Mine;
use support::receiver::Receiver;

const LONG: Duration = Duration::from_secs(60);

/// Longer than a heartbeat.
const HANG: Duration = Duration::from_millis(300);

/// Rows at a time; most of their time they wait.
const AT_ONCE: usize = 6;

/// The actors of the tree, in the order they start.
const ACTORS: [&str; 6] = ["database", "store", "batcher", "http-0", "http-1", "udp-0"];

/// Where they say that they have started.
const STARTS: [&str; 6] = [
    "database::started",
    "store::started",
    "batcher::started",
    "http-0::started",
    "http-1::started",
    "udp-0::started",
];

/// Everything that depends on the store, and it.
const STORE_ON: &[&str] = &["store", "batcher", "http-0", "http-1", "udp-0"];
const ALL: &[&str] = &ACTORS;

/// What ends, or stands still.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Part {
    /// The actor of this name.
    Actor(&'static str),
    /// The supervisor of the database's children.
    Supervisor,
    /// What a worker does for the store, for the batcher.
    DiskWork,
    SealWork,
}
use Part::{Actor, DiskWork, SealWork, Supervisor};

/// How.
#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    Panics,
    /// It stops as an actor may, of its own will.
    Stops,
    /// It waits for something that never comes, and misses its heartbeat.
    Sticks,
    /// It is killed: it did not stop in the time it had.
    IsKilled,
    /// Its thread is blocked for a while, and comes back.
    Hangs,
}
use How::{Hangs, IsKilled, Panics, Sticks, Stops};

/// Whether what is under way may be sent a second time. Points have one place in the server, so nothing is doubled there.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Sent {
    Once,
    PerhapsAgain,
}
use Sent::{Once, PerhapsAgain};

/// One row: what ends, and how; the actors that are built anew; how far `restarts_total` moves, and with it
/// `Event::Restarted`, and of whom that speaks; what becomes of requests under way.
struct Row(Part, How, &'static [&'static str], u64, Option<&'static str>, Sent);

/// In each row nothing is lost, no other counter of the ledger moves, no address is closed, and `health` is well afterwards.
#[rustfmt::skip]
const TABLE: [Row; 31] = [
    Row(Actor("database"), Panics,   ALL,          1, Some("database"), PerhapsAgain),
    Row(Actor("database"), Stops,    ALL,          1, Some("database"), PerhapsAgain),
    Row(Actor("database"), Sticks,   ALL,          1, Some("database"), PerhapsAgain),
    Row(Actor("database"), IsKilled, ALL,          1, Some("database"), PerhapsAgain),
    Row(Actor("database"), Hangs,    &[],          0, None,             Once),
    // The database dies of it: a tree without its supervisor is none.
    Row(Supervisor,        Panics,   ALL,          1, Some("database"), PerhapsAgain),
    Row(Supervisor,        Hangs,    &[],          0, None,             Once),
    // Rest for one: what was started after the store is built anew with it.
    Row(Actor("store"),    Panics,   STORE_ON,     1, Some("store"),    PerhapsAgain),
    Row(Actor("store"),    Stops,    STORE_ON,     1, Some("store"),    PerhapsAgain),
    Row(Actor("store"),    Sticks,   STORE_ON,     1, Some("store"),    PerhapsAgain),
    Row(Actor("store"),    IsKilled, STORE_ON,     1, Some("store"),    PerhapsAgain),
    Row(Actor("store"),    Hangs,    &[],          0, None,             Once),
    Row(Actor("batcher"),  Panics,   &["batcher"], 1, Some("batcher"),  Once),
    Row(Actor("batcher"),  Stops,    &["batcher"], 1, Some("batcher"),  Once),
    Row(Actor("batcher"),  Sticks,   &["batcher"], 1, Some("batcher"),  Once),
    Row(Actor("batcher"),  IsKilled, &["batcher"], 1, Some("batcher"),  Once),
    Row(Actor("batcher"),  Hangs,    &[],          0, None,             Once),
    Row(Actor("http-0"),   Panics,   &["http-0"],  1, Some("http-0"),   PerhapsAgain),
    Row(Actor("http-0"),   Stops,    &["http-0"],  1, Some("http-0"),   PerhapsAgain),
    Row(Actor("http-1"),   Sticks,   &["http-1"],  1, Some("http-1"),   PerhapsAgain),
    Row(Actor("http-1"),   IsKilled, &["http-1"],  1, Some("http-1"),   PerhapsAgain),
    Row(Actor("http-0"),   Hangs,    &[],          0, None,             Once),
    Row(Actor("udp-0"),    Panics,   &["udp-0"],   1, Some("udp-0"),    PerhapsAgain),
    Row(Actor("udp-0"),    Stops,    &["udp-0"],   1, Some("udp-0"),    PerhapsAgain),
    Row(Actor("udp-0"),    Sticks,   &["udp-0"],   1, Some("udp-0"),    PerhapsAgain),
    Row(Actor("udp-0"),    IsKilled, &["udp-0"],   1, Some("udp-0"),    PerhapsAgain),
    Row(Actor("udp-0"),    Hangs,    &[],          0, None,             Once),
    // The store dies with the worker that had its file; the file is opened again.
    Row(DiskWork,          Panics,   STORE_ON,     1, Some("store"),    PerhapsAgain),
    Row(DiskWork,          Hangs,    &[],          0, None,             Once),
    // The batch is made again, by another.
    Row(SealWork,          Panics,   &[],          0, None,             Once),
    Row(SealWork,          Hangs,    &[],          0, None,             Once),
];

#[test]
fn whatever_ends_what_is_said_of_it_happens_and_nothing_else() {
    let _scenario = FailScenario::setup();
    fail::cfg("tree::heartbeat", "return(200)").unwrap();
    fail::cfg("tree::delay_max", "return(20)").unwrap();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(row) = TABLE.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let begin = Instant::now();
                    check(row);
                    println!("{:?} {:?}: {:?}", row.0, row.1, begin.elapsed());
                }
            });
        }
    });
    let ways: BTreeSet<String> = TABLE.iter().map(|row| format!("{:?} {:?}", row.0, row.1)).collect();
    assert_eq!(ways.len(), TABLE.len(), "a row twice");
    for actor in ACTORS {
        assert!(TABLE.iter().any(|row| row.0 == Actor(actor)), "{actor} is in the table");
    }
}

fn check(row: &Row) {
    let Row(part, how, built_anew, restarts, told, sent) = row;
    let what = format!("{part:?} {how:?}");
    actix_rt::System::new().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let ends = Ends::open(part);
        let starts: Vec<Mine> = STARTS.iter().map(|place| Mine::watch(&format!("{what}/{place}"))).collect();
        let db = ends.start(&what, &folder.path().join("s.db"));
        let starts =
            on_another_thread(starts, |starts| starts.iter().for_each(|start| start.wait_for(1))).await;
        let load = Load::start(&db);
        ends.wait_for_some(&db).await;

        let mut events = db.subscribe();
        strike(&db, *part, *how).await;
        let starts = on_another_thread(starts, |starts| {
            for (actor, start) in ACTORS.iter().zip(starts) {
                start.wait_for(1 + u64::from(built_anew.contains(actor)));
            }
        })
        .await;
        let pushed = load.end(&db).await;
        ends.check_arrived(pushed, *sent, &what);
        let started: Vec<u64> = starts.iter().map(Mine::fired).collect();
        let expected = ACTORS.map(|actor| 1 + u64::from(built_anew.contains(&actor)));
        assert_eq!(started, expected, "{what}: starts of {ACTORS:?}");
        // What was sent to it while it was down, or hung, is answered.
        assert!(db.address().send(influx_spool::GetStats).await.is_ok(), "{what}");
        let said = restarted(&mut events);
        assert_eq!(
            said.iter().map(|(actor, _)| &**actor).collect::<Vec<_>>(),
            Vec::from_iter(*told),
            "{what}"
        );
        assert!(said.iter().all(|(_, exit)| exit.starts_with(exit_of(*part, *how))), "{what}: {said:?}");

        // Where UDP has no listener that is trouble of its own.
        let health = db.health();
        let is_well = health.spool == SpoolHealth::Ok && health.volatile.is_none() && !health.degraded;
        assert!(is_well && (health.link.is_none() || *part != Actor("udp-0")), "{what}: {health:?}");
        let report = db.stop(LONG).await.unwrap();
        assert!(report.drained && report.closed && report.unsaved == 0, "{what}: {report:?}");
        let (stats, ledger) = (&report.stats, &report.stats.ledger);
        assert_eq!(stats.restarts_total, *restarts, "{what}");
        let went = ledger.of(Fate::Delivered).points + ledger.of(Fate::Unconfirmed).points;
        assert_eq!((ledger.accepted().points, went), (pushed, pushed), "{what}: nothing is lost");
        assert_eq!(stats.pending.points, 0, "{what}");
        // The next life begins with a clean end, and the same accounts.
        let again = ends.start(&what, &folder.path().join("s.db"));
        assert_eq!(again.stats().ledger, *ledger, "{what}");
        again.stop(LONG).await.unwrap();
    });
}

/// What is said of the exit.
fn exit_of(part: Part, how: How) -> &'static str {
    match (part, how) {
        (Actor(_), Panics) => r#"Panicked("a drill")"#,
        (Supervisor, _) => r#"Panicked("its children died too often")"#,
        (DiskWork, _) => r#"Panicked("a worker of the store panicked")"#,
        (_, Stops) => "Normal",
        (_, Sticks) => "Stuck",
        (_, IsKilled) => "Killed",
        _ => "",
    }
}

/// Has it happen, and waits until it has begun to. The load brings work to the workers, heartbeats turns to the supervisor.
async fn strike(db: &DatabaseHandle, part: Part, how: How) {
    let place = match part {
        Actor(name) => {
            // In place of the panic that the drill asks for.
            let way = match how {
                Panics => "off",
                Stops => "1*return(stop)",
                Sticks => "1*return(stick)",
                IsKilled => "1*return(kill)",
                Hangs => "1*return(hang)",
            };
            fail::cfg(format!("{}/{name}::drill", db.name()), way).unwrap();
            assert!(db.drill(name));
            return;
        }
        Supervisor => "supervision::turn",
        DiskWork => "store::before_commit",
        SealWork => "batcher::seal",
    };
    let place = format!("{}/{place}", db.name());
    let mine = match how {
        Hangs => Mine::lay_with(&place, 1, 1, || std::thread::sleep(HANG)),
        _ => Mine::lay(&place, 1, 1),
    };
    on_another_thread(mine, |mine| mine.wait_for(1)).await;
}

async fn on_another_thread<T: Send + 'static>(thing: T, wait: impl FnOnce(&T) + Send + 'static) -> T {
    let waiting = move || {
        wait(&thing);
        thing
    };
    tokio::task::spawn_blocking(waiting).await.unwrap()
}

fn restarted(events: &mut Events) -> Vec<(String, String)> {
    let told = std::iter::from_fn(|| events.try_next());
    let restarts = told.filter_map(|told| match told {
        Told::Event(Event::Restarted { actor, exit }) => Some((actor.to_string(), exit)),
        _ => None,
    });
    restarts.collect()
}

/// The other ends of both wires.
struct Ends {
    receiver: Receiver,
    ear: Option<Ear>,
}

impl Ends {
    /// UDP has a listener where it is what the row is about; else HTTP carries everything.
    fn open(part: &Part) -> Self {
        Self { receiver: Receiver::start(), ear: (*part == Actor("udp-0")).then(Ear::open) }
    }

    fn start(&self, name: &str, file: &std::path::Path) -> DatabaseHandle {
        // Discarded by every system that has not been told otherwise: nobody listens.
        let address = self.ear.as_ref().map_or("127.0.0.1:9", Ear::address);
        let builder = Database::builder(name).http(self.receiver.url()).udp(address).spool(file);
        let builder = builder.loss_window(Duration::ZERO).linger(Duration::from_millis(1));
        let configure = |config: &mut influx_spool::Config| {
            config.http.in_flight = NonZeroUsize::new(2).unwrap();
            config.http.backoff_max = Duration::from_millis(100);
            config.udp.as_mut().unwrap().senders = NonZeroUsize::MIN;
            // Of a hundred lines, so that it is a worker that makes it.
            config.batch.points_max = NonZeroUsize::new(100).unwrap();
        };
        builder.configure(configure).start().unwrap()
    }

    async fn wait_for_some(&self, db: &DatabaseHandle) {
        let begin = Instant::now();
        while db.stats().ledger.settled_points() < 1_000 {
            assert!(begin.elapsed() < LONG, "{:?}", db.health());
            actix_rt::task::yield_now().await;
        }
    }

    fn check_arrived(&self, pushed: u64, sent: Sent, what: &str) {
        let mut times = BTreeMap::<u64, u64>::new();
        let heard = self.ear.as_ref().map(Ear::lines).unwrap_or_default();
        for line in self.receiver.lines().iter().chain(&heard) {
            let number = line.split("n=").nth(1).and_then(|rest| rest.split('i').next()).unwrap();
            *times.entry(number.parse().unwrap()).or_default() += 1;
        }
        assert!(times.keys().copied().eq(0..pushed), "{what}: {} of {pushed} arrived", times.len());
        let again = times.values().filter(|times| **times > 1).count();
        assert!(sent == PerhapsAgain || again == 0, "{what}: {again} twice");
    }
}

/// Pushes a hundred points, and when they have their fate the next.
struct Load {
    end: std::rc::Rc<std::cell::Cell<bool>>,
    pusher: actix_rt::task::JoinHandle<u64>,
}

impl Load {
    fn start(db: &DatabaseHandle) -> Self {
        let (db, end) = (db.clone(), std::rc::Rc::<std::cell::Cell<bool>>::default());
        let ending = std::rc::Rc::clone(&end);
        let pusher = actix_rt::spawn(async move {
            // A hundred of them are too long to be sealed on the spot.
            let padding = "x".repeat(500);
            let point = |n: u64| Point::new("m").field("n", n as i64).field("padding", padding.clone());
            let mut pushed = 0;
            while !ending.get() {
                let report = db.push_all((pushed..pushed + 100).map(point));
                pushed += report.accepted;
                db.delivered(report.last.unwrap()).await.unwrap();
            }
            pushed
        });
        Self { end, pusher }
    }

    async fn end(self, db: &DatabaseHandle) -> u64 {
        self.end.set(true);
        let pushed = tokio::time::timeout(LONG, self.pusher).await.expect("the load goes on").unwrap();
        assert!(db.flush(LONG).await.unwrap().complete, "{:?}", db.health());
        pushed
    }
}
