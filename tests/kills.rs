//! The process is killed at random moments; nothing that was answered for is missing afterwards.
//!
//! The test runs itself again as a child that pushes numbered points and writes what it was answered to a pipe. The
//! parent reads the pipe, kills the child, opens the same spool, drains it, and compares with what the receiver got:
//! what reached the pipe before the kill is the truth that no spool can talk away.
//!
//! A few rounds by default; with `RUN_SLOW_TESTS` fifty and more, and three hundred against a real server.
#![allow(clippy::unwrap_used, clippy::panic, reason = "the lints do not see that helpers of tests are tests")]

mod support;

#[path = "kills/child.rs"]
mod child;
#[path = "kills/figures.rs"]
mod figures;
#[path = "kills/journal.rs"]
mod journal;
#[path = "kills/server.rs"]
mod server;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use influx_spool::{Database, DatabaseHandle, Fate, PageSize, Point, SpoolHealth, Stats, SyncMode};
use support::receiver::{Manner, Receiver};

use child::Orders;
use figures::Figures;
use journal::{Journal, wall_ns};

/// What the window promises on top of itself.
const GRACE: Duration = Duration::from_millis(100);

/// The window of the rounds that have one: the default.
const WINDOW: Duration = Duration::from_secs(1);

/// A point is pushed this often at least.
const RATE: u64 = 100_000;

const LONG: Duration = Duration::from_secs(60);

/// What the server does while the child lives.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Weather {
    Up,
    Down,
    /// Goes away at a random moment.
    GoesDown,
    /// Keeps what it gets and never says so.
    AnswersGetLost,
}

const WEATHERS: [Weather; 4] = [Weather::Down, Weather::Up, Weather::GoesDown, Weather::AnswersGetLost];

/// One spool through its lives, and what must be in it.
struct Bench {
    folder: tempfile::TempDir,
    window: Duration,
    /// Points of all rounds before that reached the receiver, each counted once.
    arrived: u64,
    /// Points that were pushed at most.
    pushed_max: u64,
    /// Points in quarantine; there are none but those a spool began with.
    quarantined: u64,
    unclean_ends: u64,
    figures: Figures,
}

/// One child, from its start to its kill.
struct Life {
    journal: Journal,
    orders: Orders,
    killed_ns: i64,
}

/// What reached the other end of one life.
#[derive(Clone, Copy, Debug)]
struct Arrived {
    /// Each counted once. There is no gap in them.
    points: u64,
    last_ns: Option<i64>,
}

/// The child's part; nothing when it is run as a test.
#[test]
fn child() {
    if let Some(orders) = Orders::from_environment() {
        child::run(&orders);
    }
}

#[test]
fn what_was_answered_persisted_survives_a_kill_at_any_moment() {
    let rounds = if is_slow() { 50 } else { 6 };
    let mut random = seeded();
    let mut benches = [Bench::new(WINDOW), Bench::new(Duration::ZERO)];
    for round in 0..rounds {
        let weather = WEATHERS[round / 2 % WEATHERS.len()];
        let sync = if (round / 2 + round / 8) % 2 == 0 { SyncMode::Full } else { SyncMode::Normal };
        benches[round % 2].round(round, weather, sync, &mut random);
    }
    for bench in benches {
        bench.figures.report(&format!("window {:?}", bench.window));
    }
}

#[test]
fn a_kill_while_the_spool_is_being_opened_loses_nothing() {
    let rounds = if is_slow() { 60 } else { 6 };
    let mut random = seeded();
    let mut bench = Bench::new(Duration::ZERO);
    for round in 0..rounds {
        if round % 3 == 0 {
            // A file that is being created has more ways to be left half made.
            bench = Bench::new(Duration::ZERO);
        }
        let receiver = Receiver::start();
        let orders = bench.orders(&receiver.url(), round, SyncMode::Full, true);
        let started = Instant::now();
        let mut journal = Journal::begin(&orders);
        journal.wait_until(started + Duration::from_micros(random.u64(0..40_000)));
        journal.kill();
        bench.check(Life { journal, orders, killed_ns: wall_ns() }, &receiver);
    }
}

impl Bench {
    fn new(window: Duration) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            window,
            arrived: 0,
            pushed_max: 0,
            quarantined: 0,
            unclean_ends: 0,
            figures: Figures::default(),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("kills.db")
    }

    fn orders(&self, url: &str, round: usize, sync: SyncMode, gzip: bool) -> Orders {
        Orders {
            url: url.into(),
            spool: self.path(),
            window: self.window,
            sync,
            gzip,
            pages: if gzip { PageSize::Auto } else { PageSize::Large },
            round,
            rate: RATE + RATE / 5,
        }
    }

    fn round(&mut self, round: usize, weather: Weather, sync: SyncMode, random: &mut fastrand::Rng) {
        let receiver = Receiver::start_down();
        if weather != Weather::Down {
            receiver.come_up();
        }
        if weather == Weather::AnswersGetLost {
            receiver.set_manner(Manner::AcceptAndHangUp);
        }
        let orders = self.orders(&receiver.url(), round, sync, random.bool());
        println!("round {round}: {weather:?}, window {:?}, {sync:?}, gzip {}", self.window, orders.gzip);
        let mut journal = Journal::begin(&orders);
        assert!(journal.wait_for_start(LONG), "the child starts");
        let end = Instant::now() + Duration::from_millis(random.u64(20..2_500));
        if weather == Weather::GoesDown {
            journal.wait_until(end - Duration::from_millis(random.u64(0..1_500)).min(end - Instant::now()));
            receiver.go_down();
        }
        journal.wait_until(end);
        let killed_ns = wall_ns();
        journal.kill();
        self.check(Life { journal, orders, killed_ns }, &receiver);
    }

    /// Opens the spool again, drains it, and compares with what was answered.
    fn check(&mut self, life: Life, receiver: &Receiver) {
        let sent_before = receiver.requests().len();
        receiver.set_manner(Manner::Accept);
        receiver.come_up_if_down();
        let drained = self.drain(&receiver.url(), life.orders.sync);
        self.figures.to_first_send.push(receiver.requests()[sent_before] - drained.begin);

        let round = life.orders.round;
        let arrivals = arrivals(receiver, round);
        let points = arrivals.len() as u64;
        assert_eq!(arrivals.keys().next_back().map_or(0, |last| last + 1), points, "a gap in what arrived");
        self.figures.resent += lines_of(receiver, round) - points;
        let last_ns = arrivals.values().next_back().copied();
        self.settle(&[(life, Arrived { points, last_ns })], &drained);
    }

    /// Compares what was answered, what arrived, and what the ledger says.
    fn settle(&mut self, lives: &[(Life, Arrived)], drained: &Drained) {
        let (before, after) = (&drained.before, &drained.after);
        for (life, arrived) in lives {
            self.check_missing(life, *arrived);
            self.pushed_max += life.journal.announced();
            self.arrived += arrived.points;
        }

        // The ledger says nothing false: what it shows after the kill is not above what there was.
        assert!(before.ledger.accepted().points <= self.pushed_max, "{before:?} of {}", self.pushed_max);
        check_sum(before);
        check_sum(after);
        let delivered = after.ledger.of(Fate::Delivered).points;
        // The marker that the drain pushes is among them.
        self.arrived += 1;
        self.pushed_max += 1;
        assert!(delivered <= self.arrived, "{delivered} delivered of {} that arrived", self.arrived);
        if self.window.is_zero() {
            assert_eq!(delivered, self.arrived, "with no window the spool knows of every point");
        } else {
            // What was delivered and not yet counted is the one thing that may be missing from the ledger.
            self.arrived = delivered;
        }
        assert_eq!(after.ledger.settled_points(), delivered + self.quarantined, "no other fate: {after:?}");
        assert_eq!(after.pending.points, 0);

        let ends = before.unclean_ends_total - self.unclean_ends;
        let started = lives.iter().filter(|(life, _)| life.journal.has_started()).count() as u64;
        assert!((started..=lives.len() as u64).contains(&ends), "{ends} unclean ends, {started} started");
        self.unclean_ends = before.unclean_ends_total;
    }

    /// What is missing is one suffix, pushed shortly before the kill, and nothing that was answered is in it.
    fn check_missing(&mut self, life: &Life, arrived: Arrived) {
        let Life { journal, orders, killed_ns } = life;
        let Arrived { points: arrived, last_ns } = arrived;
        let missing: Vec<_> = journal.answers().iter().filter(|(number, _)| *number >= arrived).collect();
        let first = missing.first();
        assert_eq!(first, None, "answered persisted, and {} missing: {arrived} arrived", missing.len());
        let strange = journal.answers().iter().find(|(_, standing)| !is_kept(standing));
        assert_eq!(strange, None, "neither stored nor delivered");

        let announced = journal.announced();
        if announced > arrived {
            // Points come in slices; the first that is missing was pushed after its slice was announced.
            let pushed_ns = journal.pushed_not_before(arrived).max(last_ns.unwrap_or(0));
            let age = Duration::from_nanos((killed_ns - pushed_ns).max(0).unsigned_abs());
            self.figures.oldest_missing = self.figures.oldest_missing.max(age);
            let allowed = orders.window + GRACE;
            if !orders.window.is_zero() {
                assert!(
                    age <= allowed,
                    "the first missing point was {age:?} old: {} missing",
                    announced - arrived
                );
            }
        }
        self.figures.count(journal, arrived);
    }

    /// Opens the spool in this process, and waits until all of it is delivered.
    fn drain(&mut self, url: &str, sync: SyncMode) -> Drained {
        let path = self.path();
        let figures = &mut self.figures;
        actix_rt::System::new().block_on(async move {
            let begin = Instant::now();
            let db = Database::builder("kills").http(url).spool(path).sync(sync).start().unwrap();
            let before = db.stats();
            db.push(Point::new("marker").field("n", 0)).unwrap();
            figures.to_first_push.push(begin.elapsed());
            let to_first_request = until_first_request(&db, begin).await;
            let flushed = db.flush(LONG).await.unwrap();
            assert!(flushed.complete, "{flushed:?}, {:?}", db.health());
            assert_eq!(db.health().spool, SpoolHealth::Ok);
            let report = db.stop(LONG).await.unwrap();
            assert!(report.drained && report.closed, "{report:?}");
            Drained { begin, to_first_request, before, after: report.stats }
        })
    }
}

struct Drained {
    begin: Instant,
    to_first_request: Duration,
    before: Stats,
    after: Stats,
}

/// How long after `begin` the first request was on its way.
async fn until_first_request(db: &DatabaseHandle, begin: Instant) -> Duration {
    while db.stats().requests_total == 0 {
        assert!(begin.elapsed() < LONG, "nothing is sent: {:?}", db.health());
        actix_rt::task::yield_now().await;
    }
    begin.elapsed()
}

fn is_kept(standing: &str) -> bool {
    standing.starts_with("Durable") || standing == "Settled(Delivered)"
}

fn check_sum(stats: &Stats) {
    let ledger = &stats.ledger;
    assert_eq!(ledger.accepted().points, ledger.settled_points() + stats.pending.points, "{stats:?}");
}

/// The numbers of a round that arrived, each once, with the time they carry.
fn arrivals(receiver: &Receiver, round: usize) -> BTreeMap<u64, i64> {
    let head = format!("numbered,round={round} n=");
    let lines = receiver.lines();
    let parsed = lines.iter().filter_map(|line| line.strip_prefix(&head)).map(|rest| {
        let (number, time) = rest.split_once("i ").unwrap();
        (number.parse().unwrap(), time.parse().unwrap())
    });
    parsed.collect()
}

fn lines_of(receiver: &Receiver, round: usize) -> u64 {
    let head = format!("numbered,round={round} ");
    receiver.lines().iter().filter(|line| line.starts_with(&head)).count() as u64
}

/// The same numbers again with the same `SEED`.
fn seeded() -> fastrand::Rng {
    let seed = std::env::var("SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

fn is_slow() -> bool {
    std::env::var_os("RUN_SLOW_TESTS").is_some()
}
