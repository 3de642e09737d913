//! The server goes away under a steady stream, and comes back.
//!
//! Five seconds by default; the minute of the promise with `RUN_SLOW_TESTS`.
#![allow(clippy::unwrap_used, reason = "the lints do not see that helpers of tests are tests")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use influx_spool::{Database, DatabaseHandle, Fate, Point, Seq, Standing};
use support::receiver::{Manner, Receiver};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// Points a second.
const RATE: u64 = 20_000;

/// Requests that a server which is down may see in the first half minute. Delays grow by four from 0.1 s on, each drawn
/// between nothing and its cap; more than this many is a matter of one run in three hundred.
const REQUESTS_MAX: usize = 8;
const REQUESTS_WITHIN: Duration = Duration::from_secs(30);

const LOG_LINES_MAX: usize = 5;

/// Memory may settle this long after the server went; then it is flat.
const SETTLING: usize = 10;

/// What flat means. The lines of 50 s are 30 MiB: an eighth of that would be kept by a leak worth the name.
const MEMORY_GROWTH_MAX_KIB: u64 = 4 << 10;

/// What the promise allows beside the time that the backlog itself takes.
const DRAIN_GRACE: Duration = Duration::from_secs(1);

const LONG: Duration = Duration::from_secs(120);

#[test]
fn an_outage_is_quiet_and_flat_and_its_backlog_drains_in_order() {
    let slow = std::env::var_os("RUN_SLOW_TESTS").is_some();
    let outage_secs = if slow { 60 } else { 5 };
    let log_lines = Arc::new(AtomicUsize::new(0));
    let counting = tracing_subscriber::registry().with(CountLines(Arc::clone(&log_lines)));
    tracing::subscriber::set_global_default(counting).unwrap();

    let system = actix_rt::System::new();
    let receiver = Receiver::start();
    let folder = tempfile::tempdir().unwrap();
    let db =
        Database::builder("outage").http(receiver.url()).spool(folder.path().join("o.db")).start().unwrap();
    let stream = Stream::start(&db);
    assert!(receiver.wait_for_lines(1, LONG), "the stream flows");

    // Connections are taken and cut, so that every attempt is seen.
    let log_lines_before = log_lines.load(Ordering::Relaxed);
    let requests_before = receiver.requests().len();
    receiver.set_manner(Manner::HangUp);
    let gone = Instant::now();
    let memory: Vec<u64> = (1..=outage_secs)
        .map(|second| {
            // Time itself is what is waited for: this is how long the server is away.
            std::thread::sleep(
                (gone + Duration::from_secs(second)).saturating_duration_since(Instant::now()),
            );
            resident_kib()
        })
        .collect();
    let attempts: Vec<_> = receiver.requests()[requests_before..].iter().map(|at| *at - gone).collect();
    let log_lines = log_lines.load(Ordering::Relaxed) - log_lines_before;

    let bodies_before = receiver.accepted().len();
    let lines_before = receiver.lines().len();
    receiver.set_manner(Manner::Accept);
    let back = Instant::now();
    if !slow {
        // A new configuration is tried at once; without one the next attempt may be half a minute away.
        system.block_on(db.reconfigure(db.config())).unwrap();
    }
    assert!(receiver.wait_for_lines(lines_before + 1, LONG), "the server is found again");
    let mark = stream.last();
    check_delivered(&system, &db, mark);
    let last = stream.stop();
    check_delivered(&system, &db, last);

    let drain = Drain::of(&receiver, bodies_before, mark.number());
    println!(
        "away {outage_secs} s: {} attempts at {attempts:?}, {} in flight at most, {log_lines} log lines, resident \
         {} KiB after {SETTLING} s and {} KiB at the end; found again after {:?}; a backlog of {} points at {:.0}/s, the \
         last of {} new points {:?} after the first success",
        attempts.len(),
        receiver.in_flight_max(),
        memory[SETTLING.min(memory.len() - 1)],
        memory[memory.len() - 1],
        drain.found - back,
        drain.backlog,
        drain.rate,
        last.number() - mark.number(),
        drain.took,
    );
    assert_eq!(receiver.in_flight_max(), 1);
    let early = attempts.iter().filter(|after| **after < REQUESTS_WITHIN).count();
    assert!(early <= REQUESTS_MAX, "{attempts:?}");
    assert!(log_lines <= LOG_LINES_MAX, "{log_lines}");
    check_flat(&memory);
    check_in_order(&receiver, last.number());
    let allowed = Duration::from_secs_f64(drain.points as f64 / drain.rate) + DRAIN_GRACE;
    assert!(drain.took <= allowed, "{:?} of {allowed:?}", drain.took);

    let report = system.block_on(db.stop(LONG)).unwrap();
    assert!(report.drained && report.closed);
    assert_eq!(report.stats.ledger.accepted().points, last.number());
    assert_eq!(report.stats.ledger.of(Fate::Delivered).points, last.number());
}

/// What happened after the first success, as the receiver saw it.
struct Drain {
    found: Instant,
    /// Points that had been pushed when the server was found again.
    backlog: u64,
    /// All points that were delivered from then on.
    points: u64,
    /// Points a second, over the first half of the backlog.
    rate: f64,
    /// From the first success to the last point.
    took: Duration,
}

impl Drain {
    fn of(receiver: &Receiver, bodies_before: usize, mark: u64) -> Self {
        let accepted = receiver.accepted();
        let (before, after) = accepted.split_at(bodies_before);
        let points = |bodies: &[support::receiver::Accepted]| {
            bodies.iter().map(|body| body.text.lines().count() as u64).sum::<u64>()
        };
        let found = after[0].at;
        let backlog = mark - points(before);
        let (mut sum, mut rate) = (0, f64::MAX);
        for body in after {
            sum += body.text.lines().count() as u64;
            if sum * 2 >= backlog {
                rate = sum as f64 / (body.at - found).as_secs_f64();
                break;
            }
        }
        Self { found, backlog, points: points(after), rate, took: after[after.len() - 1].at - found }
    }
}

/// Numbered points at a steady rate, from a thread of their own.
struct Stream {
    shared: Arc<StreamState>,
    thread: JoinHandle<Seq>,
}

#[derive(Default)]
struct StreamState {
    ending: AtomicBool,
    last: std::sync::Mutex<Option<Seq>>,
}

impl Stream {
    fn start(db: &DatabaseHandle) -> Self {
        let shared = Arc::new(StreamState::default());
        let (db, state) = (db.clone(), Arc::clone(&shared));
        let thread = std::thread::spawn(move || push_until_told(&db, &state));
        Self { shared, thread }
    }

    /// The newest point.
    fn last(&self) -> Seq {
        self.shared.last.lock().unwrap().expect("the stream flows")
    }

    fn stop(self) -> Seq {
        self.shared.ending.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        self.thread.join().unwrap()
    }
}

fn push_until_told(db: &DatabaseHandle, state: &StreamState) -> Seq {
    let begin = Instant::now();
    let (mut number, mut last) = (0, None);
    while !state.ending.load(Ordering::Relaxed) || last.is_none() {
        let due = begin.elapsed().as_micros() as u64 * RATE / 1_000_000;
        while number < due {
            number += 1;
            let point = Point::new("stream").tag("host", "plant-1").field("n", number as i64);
            last = Some(db.push(point).unwrap());
        }
        *state.last.lock().unwrap() = last;
        std::thread::park_timeout(Duration::from_millis(1));
    }
    last.unwrap()
}

fn check_delivered(system: &actix_rt::SystemRunner, db: &DatabaseHandle, seq: Seq) {
    let delivered = system.block_on(async { tokio::time::timeout(LONG, db.delivered(seq)).await });
    assert_eq!(delivered.expect("it is delivered in time"), Ok(Standing::Settled(Fate::Delivered)));
}

/// All that was pushed has arrived in the order of its numbers, each number once: nothing was cut off that was kept.
fn check_in_order(receiver: &Receiver, last: u64) {
    let number = |line: &String| -> u64 {
        line.split_once("n=").unwrap().1.split_once('i').unwrap().0.parse().unwrap()
    };
    assert!(receiver.lines().iter().map(number).eq(1..=last), "{last} points in order");
}

/// From the tenth second on, compares the first few seconds with the last few.
fn check_flat(memory: &[u64]) {
    let Some(settled) = memory.get(SETTLING..).filter(|settled| settled.len() >= SETTLING) else { return };
    let middle = |some: &[u64]| {
        let mut some = some.to_vec();
        some.sort_unstable();
        some[some.len() / 2]
    };
    let (begin, end) = (middle(&settled[..5]), middle(&settled[settled.len() - 5..]));
    assert!(end <= begin + MEMORY_GROWTH_MAX_KIB, "from {begin} to {end} KiB: {memory:?}");
}

/// Memory of this process that is really there.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0)
}

/// Counts what an application that logs at `info` would see of us.
struct CountLines(Arc<AtomicUsize>);

impl<S: tracing::Subscriber> Layer<S> for CountLines {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let meta = event.metadata();
        if meta.target().starts_with("influx_spool") && *meta.level() <= tracing::Level::INFO {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}
