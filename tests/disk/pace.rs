//! What a disk that is sick costs: whoever pushes, nothing but memory; databases on other disks, nothing.

use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use influx_spool::{Database, DatabaseHandle, Fate, Health, Point, Seq, Standing};

use super::support::receiver::{Manner, Receiver};
use super::{LONG, is_slow};

/// Databases whose disk is sick, and others beside them: more of each than there are threads for disks.
const SICK: usize = 5;
const WELL: usize = 5;

/// Points of each of the others in a round. All are stored before they are sent.
const ROUND_POINTS: i64 = 20_000;

/// How long it takes before a disk is sick, while it is, and afterwards again: some rounds at least, and so long that what is
/// done again and again on a sick disk is done as rarely as it will be.
const ROUNDS: usize = 3;
const PHASE_SLOW: Duration = Duration::from_secs(3);

/// How often that is done: each time is compared with itself, since the machine is shared and others come and go.
const CYCLES_SLOW: usize = 8;

/// Points for each of the sick in a round.
const SICK_POINTS: usize = 200;

/// The promises.
const RATE_KEPT: f64 = 0.9;
const PUSH_P99_MAX: Duration = Duration::from_millis(1);

/// What is asked for by default: other tests and builds take turns on the same processors, and a round is short. Whoever waits for
/// the other's disk or server keeps next to nothing.
const RATE_KEPT_LOADED: f64 = 0.25;

/// How long pushes took.
#[derive(Default)]
pub(super) struct PushTimes(Vec<Duration>);

impl PushTimes {
    pub(super) fn push(&mut self, db: &DatabaseHandle, n: i64) -> Seq {
        let point = Point::new("m").field("n", n);
        let begin = Instant::now();
        let seq = db.push(point).unwrap();
        self.0.push(begin.elapsed());
        seq
    }

    /// Says what they took, and looks whether that is what was promised.
    pub(super) fn check(mut self, what: &str) {
        self.0.sort_unstable();
        let (p99, max) = (self.0[self.0.len() * 99 / 100], self.0[self.0.len() - 1]);
        println!("{what}: push p99 {p99:?}, max {max:?} of {}", self.0.len());
        assert!(p99 < PUSH_P99_MAX, "{what}: {p99:?}");
    }
}

/// Databases on a disk that will be sick.
pub(super) struct Ward {
    sick: Vec<DatabaseHandle>,
    /// Keeps the sick waiting, so that all they are given has to be stored.
    receiver: Receiver,
    pushed: i64,
    /// Pushed first while the disk was sick: not to be called durable.
    waiting: Vec<Seq>,
}

impl Ward {
    pub(super) fn open(folder: &Path) -> Self {
        let receiver = Receiver::start();
        receiver.set_manner(Manner::Silence);
        let sick = (0..SICK).map(|number| {
            Database::builder(format!("sick-{number}"))
                .http(receiver.url())
                .spool(folder.join(format!("{number}.db")))
                .loss_window(Duration::from_millis(50))
                .configure(|config| config.spool.as_mut().unwrap().free_reserve_bytes = 0)
                .start()
                .unwrap()
        });
        Self { sick: sick.collect(), receiver, pushed: 0, waiting: Vec::new() }
    }

    /// The disk is sick from now on: the databases on it are given something to store, and say what is wrong.
    pub(super) async fn fall_sick(&mut self, is_said: impl Fn(&Health) -> bool) {
        let push = |db: &DatabaseHandle| db.push(Point::new("m").field("n", 0)).unwrap();
        self.waiting = self.sick.iter().map(push).collect();
        self.pushed = 1;
        self.wait_for(is_said).await;
    }

    /// Waits until all have said this of themselves.
    pub(super) async fn wait_for(&self, is_said: impl Fn(&Health) -> bool) {
        for db in &self.sick {
            let mut events = db.subscribe();
            let said = async {
                while !is_said(&db.health()) {
                    events.next().await;
                }
            };
            tokio::time::timeout(LONG, said).await.unwrap_or_else(|_| panic!("{:?}", db.health()));
        }
    }

    /// Pushes, and has the neighbours work, for so long at least. At the end the sick still say what is wrong.
    pub(super) async fn measure(
        &mut self,
        pace: &mut Pace,
        at_least: Duration,
        is_said: impl Fn(&Health) -> bool,
    ) {
        let at_least = at_least.max(phase());
        let (begin, mut rounds) = (Instant::now(), 0);
        while rounds < ROUNDS || begin.elapsed() < at_least {
            for _ in 0..SICK_POINTS {
                for db in &self.sick {
                    pace.pushes.push(db, self.pushed);
                }
                self.pushed += 1;
            }
            let rate = pace.neighbours.work().await;
            pace.beside.push(rate);
            rounds += 1;
        }
        for (db, seq) in self.sick.iter().zip(&self.waiting) {
            let (health, stats) = (db.health(), db.stats());
            assert!(!health.ok && is_said(&health), "{health:?}");
            assert_eq!((stats.pending.spooled.points, stats.pending.points), (0, self.pushed as u64));
            let standing = db.persisted(*seq).now_or_never();
            assert!(standing.is_none(), "{standing:?} while the disk is sick");
        }
    }

    /// The disk is well again. So are its databases, by themselves, and nothing is lost.
    pub(super) async fn close(self) {
        for (db, seq) in self.sick.iter().zip(&self.waiting) {
            let persisted = tokio::time::timeout(LONG, db.persisted(*seq)).await;
            let standing = persisted.unwrap_or_else(|_| panic!("{:?}", db.health())).unwrap();
            assert!(matches!(standing, Standing::Durable(_)), "{standing:?}");
        }
        self.receiver.set_manner(Manner::Accept);
        for db in &self.sick {
            db.reconfigure(db.config()).await.unwrap();
            assert!(db.flush(LONG).await.unwrap().complete, "{:?}", db.health());
            let report = db.stop(LONG).await.unwrap();
            assert!(report.closed && report.drained, "{report:?}");
            let ledger = &report.stats.ledger;
            let (accepted, delivered) = (ledger.accepted().points, ledger.of(Fate::Delivered).points);
            assert_eq!((accepted, delivered), (self.pushed as u64, self.pushed as u64));
        }
    }
}

/// How fast pushes to the sick are, and their neighbours, beside them and alone.
pub(super) struct Pace {
    neighbours: Neighbours,
    pushes: PushTimes,
    /// Points a second, of the time that is being measured.
    alone: Vec<f64>,
    beside: Vec<f64>,
    /// What was left of the rate beside the sick, each time.
    kept: Vec<f64>,
}

impl Pace {
    pub(super) fn start() -> Self {
        Self {
            neighbours: Neighbours::start(),
            pushes: PushTimes::default(),
            alone: Vec::new(),
            beside: Vec::new(),
            kept: Vec::new(),
        }
    }

    /// What the neighbours do while nobody is sick. Due before each time that somebody is.
    pub(super) async fn measure_alone(&mut self) {
        let (begin, mut rounds) = (Instant::now(), 0);
        while rounds < ROUNDS || begin.elapsed() < phase() {
            let rate = self.neighbours.work().await;
            self.alone.push(rate);
            rounds += 1;
        }
    }

    /// Nobody is sick any more.
    pub(super) async fn compare(&mut self) {
        self.measure_alone().await;
        let (alone, beside) =
            (median(std::mem::take(&mut self.alone)), median(std::mem::take(&mut self.beside)));
        println!("points/s: {alone:.0} alone, {beside:.0} beside the sick");
        self.kept.push(beside / alone);
    }

    /// Says what came out, and looks whether it is what was promised.
    pub(super) async fn end(self, what: &str) {
        self.neighbours.stop().await;
        let (times, kept) = (self.kept.len(), median(self.kept));
        println!("beside {SICK} on {what}, {times} times: {:.0} % of the rate alone", kept * 100.0);
        self.pushes.check(what);
        assert!(kept > if is_slow() { RATE_KEPT } else { RATE_KEPT_LOADED }, "{what}: {kept}");
    }
}

/// Databases on a disk that is well.
struct Neighbours {
    databases: Vec<DatabaseHandle>,
    rounds: u64,
    _receiver: Receiver,
    _folder: tempfile::TempDir,
}

impl Neighbours {
    fn start() -> Self {
        let receiver = Receiver::start();
        let folder = tempfile::tempdir().unwrap();
        let databases = (0..WELL).map(|number| {
            Database::builder(format!("well-{number}"))
                .http(receiver.url())
                .spool(folder.path().join(format!("{number}.db")))
                .loss_window(Duration::ZERO)
                .start()
                .unwrap()
        });
        Self { databases: databases.collect(), rounds: 0, _receiver: receiver, _folder: folder }
    }

    /// A round; what they deliver together, in points a second.
    async fn work(&mut self) -> f64 {
        let begin = Instant::now();
        let all = self.databases.iter().map(|db| async {
            for n in 0..ROUND_POINTS {
                db.push_wait(Point::new("well").field("n", n)).await.unwrap();
            }
            assert!(db.flush(LONG).await.unwrap().complete, "{:?}", db.health());
        });
        futures_util::future::join_all(all).await;
        self.rounds += 1;
        WELL as f64 * ROUND_POINTS as f64 / begin.elapsed().as_secs_f64()
    }

    async fn stop(self) {
        for db in &self.databases {
            let stats = db.stop(LONG).await.unwrap().stats;
            assert_eq!(stats.ledger.of(Fate::Delivered).points, self.rounds * ROUND_POINTS as u64);
        }
    }
}

/// How often a disk is sick in a test.
pub(super) fn cycles() -> usize {
    if is_slow() { CYCLES_SLOW } else { 1 }
}

fn phase() -> Duration {
    if is_slow() { PHASE_SLOW } else { Duration::ZERO }
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}
