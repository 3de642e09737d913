//! One server is sick: nobody else notices, nothing is lost, and when it is well again everything arrives.
//!
//! Seconds by default, with all sicknesses at once; with `RUN_SLOW_TESTS` one after the other, with the default timeout.
#![allow(clippy::unwrap_used, clippy::panic, reason = "the lints do not see that helpers of tests are tests")]

mod support;

#[path = "isolation/stop.rs"]
mod stop;
#[path = "isolation/stream.rs"]
mod stream;
#[path = "isolation/waiting.rs"]
mod waiting;

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use influx_spool::{Database, DatabaseHandle, Fate, Point};
use stream::{Pushed, Stream};
use support::receiver::Receiver;
use support::scripted::{Read, Script, Step};
use support::sick::{SickServer, numbers};

/// For a loaded machine.
const LONG: Duration = Duration::from_secs(60);

/// Points a second towards all sick servers together.
const SICK_RATE: u64 = 20_000;

/// The promise for a push.
const PUSH_P99_MAX: Duration = Duration::from_millis(1);

/// The part of its rate that is promised to another database.
const RATE_KEPT: f64 = 0.9;

/// What is asked for by default: other tests and builds take turns on the same processors, and a round is short. Whoever waits for
/// the other's disk or server keeps next to nothing.
const RATE_KEPT_LOADED: f64 = 0.25;

/// Points of one round in which a rate is measured: some tenths of a second.
const ROUND_POINTS: i64 = 500_000;

/// Rounds without the sick before they come, and again when they are gone.
const ROUNDS_ALONE: usize = 3;
const ROUNDS_ALONE_SLOW: usize = 30;

/// What is sick with a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sickness {
    NeverAnswers,
    AnswersAByteASecond,
    ClosesInMidAnswer,
    ResetsInMidBody,
}

impl Sickness {
    const ALL: [Self; 4] =
        [Self::NeverAnswers, Self::AnswersAByteASecond, Self::ClosesInMidAnswer, Self::ResetsInMidBody];

    fn script(self) -> Script {
        match self {
            Self::NeverAnswers => Script::steps([Step::Stall]),
            Self::AnswersAByteASecond => Script::steps([Step::Drip(support::scripted::NO_CONTENT.to_vec())]),
            Self::ClosesInMidAnswer => {
                Script::steps([Step::Send(b"HTTP/1.1 204 No Con".to_vec()), Step::Close])
            }
            Self::ResetsInMidBody => Script { read: Read::Bytes(1_000), steps: vec![Step::Reset] },
        }
    }
}

/// Where the points of a database wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeps {
    /// In a spool, with one request at a time.
    Spooled,
    /// In memory, with three.
    InMemory,
}

/// A database and the sick server it writes to.
struct Patient {
    sickness: Sickness,
    keeps: Keeps,
    server: SickServer,
    db: DatabaseHandle,
}

impl Patient {
    fn start(sickness: Sickness, keeps: Keeps, timeout: Option<Duration>, folder: &Path) -> Self {
        let server = SickServer::start(sickness.script());
        let name = format!("{sickness:?}-{keeps:?}");
        let file = folder.join(format!("{name}.db"));
        let builder = Database::builder(name).http(server.url()).configure(|config| {
            if let Some(timeout) = timeout {
                config.http.timeout = timeout;
            }
            if keeps == Keeps::InMemory {
                config.http.in_flight = NonZeroUsize::new(3).unwrap();
                // All that the long version pushes.
                config.queue.points_max = NonZeroUsize::new(10_000_000).unwrap();
                config.queue.bytes_max = NonZeroUsize::new(1 << 30).unwrap();
            }
        });
        let builder = if keeps == Keeps::Spooled { builder.spool(file) } else { builder };
        Self { sickness, keeps, server, db: builder.start().unwrap() }
    }

    /// Everything has arrived as it was pushed, and is counted so.
    async fn check(self, pushed: &mut Pushed) {
        let points = pushed.points();
        let Self { sickness, keeps, server, db } = self;
        let what = format!("{sickness:?}, {keeps:?}");
        assert!(db.flush(LONG).await.unwrap().complete, "{what}: {:?}", db.health());
        let report = db.stop(LONG).await.unwrap();
        assert!(report.drained && report.closed, "{what}: {report:?}");
        let stats = report.stats;
        assert_eq!(stats.ledger.accepted().points, points, "{what}");
        assert_eq!(stats.ledger.of(Fate::Delivered).points, points, "{what}: {stats:?}");
        // The first batch of the long version becomes suspect after ten seconds, and waits for another to be taken first.
        check_arrived(&server, points, keeps == Keeps::Spooled && !is_slow());
        let p99 = pushed.p99();
        println!(
            "{what}: {points} points, push p99 {p99:?}; {} requests, {} failures, {} restarts",
            stats.requests_total, stats.failures_total, stats.restarts_total
        );
        assert!(p99 < PUSH_P99_MAX, "{what}: {p99:?}");
    }
}

/// Each number has arrived; again only where an answer was late. In order, if that is promised.
fn check_arrived(server: &SickServer, points: u64, in_order: bool) {
    let mut seen = std::collections::HashSet::new();
    let mut arrived = numbers(&server.taken());
    arrived.retain(|number| seen.insert(*number));
    if !in_order {
        arrived.sort_unstable();
    }
    assert!(arrived.iter().copied().eq(1..=points), "{} of {points} arrived as pushed", arrived.len());
}

#[test]
fn a_sick_server_is_nobody_elses_trouble() {
    let _quiet = quiet();
    let all: Vec<_> = Sickness::ALL
        .into_iter()
        .flat_map(|sickness| [(sickness, Keeps::Spooled), (sickness, Keeps::InMemory)])
        .collect();
    if is_slow() {
        for pair in all.chunks(2) {
            check_isolation(pair, None, Duration::from_secs(65), RATE_KEPT);
        }
    } else {
        check_isolation(&all, Some(Duration::from_secs(1)), Duration::from_secs(2), RATE_KEPT_LOADED);
    }
}

/// Keeps servers sick for a time at least, and cures them.
fn check_isolation(sick: &[(Sickness, Keeps)], timeout: Option<Duration>, time: Duration, kept: f64) {
    actix_rt::System::new().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        // Rounds alone come before and after, since the machine is shared.
        let rounds_alone = if is_slow() { ROUNDS_ALONE_SLOW } else { ROUNDS_ALONE };
        let mut alone = rates(rounds_alone).await;
        let patients: Vec<Patient> = sick
            .iter()
            .map(|(sickness, keeps)| Patient::start(*sickness, *keeps, timeout, folder.path()))
            .collect();
        let databases: Vec<DatabaseHandle> = patients.iter().map(|patient| patient.db.clone()).collect();
        let stream = Stream::start(databases, SICK_RATE);
        for patient in &patients {
            assert!(patient.server.wait_for_requests(1, LONG), "{:?}", patient.sickness);
        }
        let begin = Instant::now();
        let mut beside = Vec::new();
        // Twice, so that a sender has recovered from the first attempt.
        while begin.elapsed() < time || patients.iter().any(|patient| patient.server.writes() < 2) {
            assert!(begin.elapsed() < time + LONG, "a sender tries again");
            beside.extend(rates(1).await);
        }
        for patient in &patients {
            assert!(patient.db.health().link.is_some(), "{:?}", patient.sickness);
            patient.server.cure();
            // A new configuration is tried at once; without one the next attempt may be half a minute away.
            patient.db.reconfigure(patient.db.config()).await.unwrap();
        }
        let mut pushed = stream.stop();
        for (patient, pushed) in patients.into_iter().zip(&mut pushed) {
            patient.check(pushed).await;
        }
        alone.extend(rates(rounds_alone).await);
        println!("points/s alone {alone:.0?}");
        println!("beside the sick {beside:.0?}");
        let (alone, beside) = (undisturbed(alone), undisturbed(beside));
        println!("{alone:.0} alone, {beside:.0} beside the sick: {:.0} %", beside / alone * 100.0);
        assert!(beside > alone * kept, "{beside:.0} against {alone:.0}");
    });
}

/// What a database of its own delivers, in points a second, so often.
async fn rates(rounds: usize) -> Vec<f64> {
    let mut rates = Vec::new();
    for _ in 0..rounds {
        rates.push(rate().await);
    }
    rates
}

async fn rate() -> f64 {
    let receiver = Receiver::start();
    let db = Database::builder("well").http(receiver.url()).start().unwrap();
    let begin = Instant::now();
    for number in 0..ROUND_POINTS {
        db.push_wait(Point::new("m").field("n", number)).await.unwrap();
    }
    assert!(db.flush(LONG).await.unwrap().complete);
    let rate = ROUND_POINTS as f64 / begin.elapsed().as_secs_f64();
    db.stop(LONG).await.unwrap();
    rate
}

/// The rate that a tenth of the rounds reach: those that other processes disturbed least.
fn undisturbed(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() * 9 / 10]
}

/// One test at a time: what is measured here is not to be disturbed by its neighbours.
fn quiet() -> MutexGuard<'static, ()> {
    static QUIET: Mutex<()> = Mutex::new(());
    QUIET.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_slow() -> bool {
    std::env::var_os("RUN_SLOW_TESTS").is_some()
}
