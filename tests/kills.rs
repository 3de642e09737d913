//! The process is killed at random moments; nothing that was answered for is missing afterwards.
//!
//! The test runs itself again as a child that pushes numbered points and writes what it was answered to a pipe. The
//! parent reads the pipe, kills the child, opens the same spool, drains it, and compares with what the receiver got:
//! what reached the pipe before the kill is the truth that no spool can talk away.
//!
//! Six rounds by default, fifty and more against a real server with `RUN_SLOW_TESTS`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "the lints do not see that helpers of tests are tests")]

mod support;

#[path = "kills/child.rs"]
mod child;
#[path = "kills/journal.rs"]
mod journal;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use influx_spool::{Database, Fate, Point, SpoolHealth, Stats, SyncMode};
use support::influxd::Influxd;
use support::receiver::{Manner, Receiver};

use child::Orders;
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
    unclean_ends: u64,
    figures: Figures,
}

#[derive(Default)]
struct Figures {
    rounds: u64,
    pushed: u64,
    answered: u64,
    missing: u64,
    resent: u64,
    oldest_missing: Duration,
    rate_min: Option<f64>,
    to_first_push: Vec<Duration>,
    to_first_send: Vec<Duration>,
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
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut benches = [Bench::new(WINDOW), Bench::new(Duration::ZERO)];
    for round in 0..rounds {
        let weather = WEATHERS[round / 2 % WEATHERS.len()];
        let sync = if (round / 2 + round / 8) % 2 == 0 { SyncMode::Full } else { SyncMode::Normal };
        benches[round % 2].round(round, weather, sync, &mut random);
    }
    for bench in &benches {
        bench.report();
    }
}

#[test]
fn a_kill_while_the_spool_is_being_opened_loses_nothing() {
    let rounds = if is_slow() { 60 } else { 6 };
    let mut random = fastrand::Rng::new();
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
        bench.check(&journal, &receiver, &orders, wall_ns());
    }
}

#[test]
fn a_real_server_has_what_was_answered_persisted() {
    let Some(server) = Influxd::start() else { return };
    server.create_database("kills");
    let rounds = if is_slow() { 12 } else { 2 };
    let mut random = fastrand::Rng::new();
    let mut benches = [Bench::new(WINDOW), Bench::new(Duration::ZERO)];
    for round in 0..rounds {
        let bench = &mut benches[round % 2];
        // In an outage there is nobody at the other end.
        let outage = Receiver::start_down();
        let url = if round / 2 % 2 == 0 { outage.url() } else { server.url() };
        let orders = bench.orders(&url, round, SyncMode::Normal, true);
        let mut journal = Journal::begin(&orders);
        assert!(journal.wait_for_start(LONG), "the child starts");
        journal.wait_until(Instant::now() + Duration::from_millis(random.u64(50..1_500)));
        let killed_ns = wall_ns();
        journal.kill();

        let stats = bench.drain(&server.url(), SyncMode::Normal, None).after;
        check_sum(&stats);
        let answer = server
            .query("kills", &format!("SELECT count(n), max(n), sum(n) FROM numbered WHERE round='{round}'"));
        let row = &answer["results"][0]["series"][0]["values"][0];
        let arrived = row[1].as_u64().unwrap_or(0);
        let last = server.query(
            "kills",
            &format!("SELECT n FROM numbered WHERE round='{round}' ORDER BY time DESC LIMIT 1"),
        );
        let last_ns = last["results"][0]["series"][0]["values"][0][0].as_i64();
        if arrived > 0 {
            assert_eq!(row[2].as_u64(), Some(arrived - 1), "{answer}");
            assert_eq!(row[3].as_u64(), Some(arrived * (arrived - 1) / 2), "{answer}");
        }
        bench.check_missing(&journal, &orders, arrived, last_ns, killed_ns);
    }
    for bench in &benches {
        bench.report();
    }
}

impl Bench {
    fn new(window: Duration) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            window,
            arrived: 0,
            pushed_max: 0,
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
        self.check(&journal, &receiver, &orders, killed_ns);
    }

    /// Opens the spool again, drains it, and compares with what was answered.
    fn check(&mut self, journal: &Journal, receiver: &Receiver, orders: &Orders, killed_ns: i64) {
        let sent_before = receiver.requests().len();
        receiver.set_manner(Manner::Accept);
        receiver.come_up_if_down();
        let drained = self.drain(&receiver.url(), orders.sync, Some((receiver, sent_before)));
        let (before, after) = (drained.before, drained.after);

        let arrivals = arrivals(receiver, orders.round);
        let arrived = arrivals.len() as u64;
        assert_eq!(arrivals.keys().next_back().map_or(0, |last| last + 1), arrived, "a gap in what arrived");
        self.check_missing(journal, orders, arrived, arrivals.values().next_back().copied(), killed_ns);
        self.figures.resent += lines_of(receiver, orders.round) - arrived;

        // The ledger says nothing false: what it shows after the kill is not above what there was.
        self.pushed_max += journal.announced();
        self.arrived += arrived;
        assert!(before.ledger.accepted().points <= self.pushed_max, "{before:?} of {}", self.pushed_max);
        check_sum(&before);
        check_sum(&after);
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
        assert_eq!(after.ledger.settled_points(), delivered, "no other fate: {after:?}");
        assert_eq!(after.pending.points, 0);

        let ends = before.unclean_ends_total - self.unclean_ends;
        let started = journal.has_started();
        assert!(ends == 1 || (ends == 0 && !started), "{ends} unclean ends, started: {started}");
        self.unclean_ends = before.unclean_ends_total;
    }

    /// What is missing is one suffix, pushed shortly before the kill, and nothing that was answered is in it.
    fn check_missing(
        &mut self,
        journal: &Journal,
        orders: &Orders,
        arrived: u64,
        last_arrived_ns: Option<i64>,
        killed_ns: i64,
    ) {
        let missing: Vec<_> = journal.answers().iter().filter(|(number, _)| *number >= arrived).collect();
        let first = missing.first();
        assert_eq!(first, None, "answered persisted, and {} missing: {arrived} arrived", missing.len());
        let strange = journal.answers().iter().find(|(_, standing)| !is_kept(standing));
        assert_eq!(strange, None, "neither stored nor delivered");

        let announced = journal.announced();
        if announced > arrived {
            // Points come in slices; the first that is missing was pushed after its slice was announced.
            let pushed_ns = journal.pushed_not_before(arrived).max(last_arrived_ns.unwrap_or(0));
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
        self.figures.count(journal, announced, arrived);
    }

    /// Opens the spool in this process, and waits until all of it is delivered.
    fn drain(&mut self, url: &str, sync: SyncMode, receiver: Option<(&Receiver, usize)>) -> Drained {
        let path = self.path();
        let figures = &mut self.figures;
        actix_rt::System::new().block_on(async move {
            let begin = Instant::now();
            let db = Database::builder("kills").http(url).spool(path).sync(sync).start().unwrap();
            let before = db.stats();
            db.push(Point::new("marker").field("n", 0)).unwrap();
            figures.to_first_push.push(begin.elapsed());
            let flushed = db.flush(LONG).await.unwrap();
            assert!(flushed.complete, "{flushed:?}, {:?}", db.health());
            if let Some((receiver, sent_before)) = receiver {
                figures.to_first_send.push(receiver.requests()[sent_before] - begin);
            }
            assert_eq!(db.health().spool, SpoolHealth::Ok);
            let report = db.stop(LONG).await.unwrap();
            assert!(report.drained && report.closed, "{report:?}");
            Drained { before, after: report.stats }
        })
    }

    fn report(&self) {
        let figures = &self.figures;
        let worst = |times: &[Duration]| times.iter().max().copied().unwrap_or_default();
        println!(
            "window {:?}: {} rounds, {} points pushed at {:.0}/s at least, {} answers, {} missing of which answered 0, \
             the oldest {:?} before the kill, {} resent; open to first push {:?} at most, to first request {:?} at most",
            self.window,
            figures.rounds,
            figures.pushed,
            figures.rate_min.unwrap_or_default(),
            figures.answered,
            figures.missing,
            figures.oldest_missing,
            figures.resent,
            worst(&figures.to_first_push),
            worst(&figures.to_first_send),
        );
    }
}

struct Drained {
    before: Stats,
    after: Stats,
}

impl Figures {
    fn count(&mut self, journal: &Journal, announced: u64, arrived: u64) {
        self.rounds += 1;
        self.pushed += announced;
        self.answered += journal.answers().len() as u64;
        self.missing += announced - arrived;
        if let Some(rate) = journal.rate() {
            self.rate_min = Some(self.rate_min.map_or(rate, |least| least.min(rate)));
        }
    }
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

fn is_slow() -> bool {
    std::env::var_os("RUN_SLOW_TESTS").is_some()
}
