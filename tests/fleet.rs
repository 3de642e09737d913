//! A hundred databases and one dead server: quiet, spread out, and cheap, until it is back.
//!
//! Some ten seconds by default; with `RUN_SLOW_TESTS` a minute for each way of being dead.
#![allow(clippy::unwrap_used, reason = "the lints do not see that helpers of tests are tests")]

mod support;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use influx_spool::{Database, DatabaseHandle, Fate, Point};
use support::process::free_port;
use support::scripted::{Script, Seen, Step};
use support::sick::{SickServer, numbers};

const DATABASES: usize = 100;

/// Each database gets a point in this time, as often as collectors look by default. Each of them is a transaction of
/// its own, half a millisecond of work: with a point a second the disk would have most of what is measured.
const TRICKLE: Duration = Duration::from_secs(10);

/// How long the dead server keeps a request before it hangs up: two of one database that are closer were under way at
/// once.
const HELD_FOR: Duration = Duration::from_millis(50);

/// The promise, of one core. The dead server of the test is part of what is measured, and so are the pushes; the first
/// seconds, with five of the six attempts of the first half minute, are not.
const CPU_MAX: f64 = 0.05;

/// All databases begin in the same moment; after this time they are to be out of step.
const FIRST_SECONDS: Duration = Duration::from_secs(2);

const SPREAD_WINDOW: Duration = Duration::from_millis(100);

/// Of some two attempts on average. By chance there are so many in one window of ten million; a fleet in step makes a
/// hundred.
const ATTEMPTS_A_WINDOW_MAX: usize = 15;

/// Two arbiters, their system, four threads for the disk and one that looks after them, four for compression, and two for a disk
/// that does not answer at once where others use it.
const THREADS_MAX: u64 = 14;

/// A name is looked up on a thread of tokio's, which ends after ten idle seconds. More than these at once would be as
/// many attempts at once.
const LOOKUPS_MAX: u64 = 20;

/// USER_HZ, which Linux never changed on the platforms there are.
const TICKS_PER_SECOND: f64 = 100.0;

const LONG: Duration = Duration::from_secs(60);

#[test]
fn a_fleet_beside_a_dead_server_is_quiet_spread_and_cheap() {
    let slow = std::env::var_os("RUN_SLOW_TESTS").is_some();
    let time = Duration::from_secs(if slow { 60 } else { 8 });
    let server = SickServer::start(Script::steps([Step::Pause(HELD_FOR), Step::Close]));
    check_attempts(&check_fleet(&server, &server.url(), time));
    if slow {
        let nobody = format!("http://localhost:{}", free_port());
        check_fleet(&SickServer::start(Script::steps([])), &nobody, time);
    }
}

/// Lets a fleet write to `dead` for some time, and then to the server, which is well by then; what the server saw before.
fn check_fleet(server: &SickServer, dead: &str, time: Duration) -> Vec<Seen> {
    actix_rt::System::new().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let before = Footprint::now();
        let fleet: Vec<DatabaseHandle> = (0..DATABASES)
            .map(|number| {
                Database::builder(format!("plant-{number}"))
                    .http(dead)
                    // With several senders, one of them is to try and the others to wait.
                    .configure(|config| config.http.in_flight = NonZeroUsize::new(1 + number % 3).unwrap())
                    .spool(folder.path().join(format!("{number}.db")))
                    .start()
                    .unwrap()
            })
            .collect();
        let trickle = Trickle::start(fleet.clone());
        let all_down = fleet.iter().map(|db| async {
            let mut events = db.subscribe();
            while db.health().link.is_none() {
                events.next().await;
            }
        });
        tokio::time::timeout(LONG, futures_util::future::join_all(all_down)).await.unwrap();

        // Time itself is what is waited for: this is how long the server is away.
        tokio::time::sleep(FIRST_SECONDS).await;
        let begin = Footprint::now();
        tokio::time::sleep(time).await;
        let end = Footprint::now();
        let cpu = (end.cpu - begin.cpu).as_secs_f64() / (end.at - begin.at).as_secs_f64();
        // Those of the test among them: that of the trickle, and those of the dead server.
        let threads = end.threads - before.threads;
        let requests: u64 = fleet.iter().map(|db| db.stats().requests_total).sum();
        let commits: u64 = fleet.iter().map(|db| db.stats().commits_total).sum();
        println!(
            "{requests} attempts and {commits} transactions of {DATABASES} databases, {:.1} % of a core over {time:?}; \
             {} KiB a database, {threads} threads",
            cpu * 100.0,
            (end.resident_kib - before.resident_kib) / DATABASES as u64,
        );
        for line in end.threads_since(&begin) {
            println!("  {line}");
        }
        let in_flight = fleet.iter().map(|db| db.stats().in_flight).max();
        assert!(in_flight <= Some(1), "{in_flight:?}");

        let attempts = server.all_writes();
        let pushed = trickle.stop();
        server.cure();
        for db in &fleet {
            let mut config = db.config();
            config.http.url = server.url();
            db.reconfigure(config).await.unwrap();
        }
        for (db, points) in fleet.iter().zip(&pushed) {
            assert!(db.flush(LONG).await.unwrap().complete, "{:?}", db.health());
            let ledger = db.stats().ledger;
            assert_eq!(ledger.accepted().points, *points);
            assert_eq!(ledger.of(Fate::Delivered).points, *points, "{ledger:?}");
        }
        let stops = fleet.iter().map(|db| db.stop(LONG));
        assert!(futures_util::future::join_all(stops).await.into_iter().all(|stop| stop.unwrap().closed));
        check_arrived(&server.taken(), &pushed);
        let lookups_max = if dead.contains("localhost") { LOOKUPS_MAX } else { 0 };
        assert!(threads <= THREADS_MAX + lookups_max, "{threads} threads");
        assert!(cpu < CPU_MAX, "{:.1} %", cpu * 100.0);
        attempts
    })
}

/// Each point has arrived once. Not in order: a batch at which a server hangs up for ten seconds, while it answers pings,
/// waits for another to be taken first.
fn check_arrived(taken: &[Seen], pushed: &[u64]) {
    let mut by_database: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for write in taken {
        by_database.entry(database(write)).or_default().extend(numbers(std::slice::from_ref(write)));
    }
    assert_eq!(by_database.len(), DATABASES);
    for (name, mut arrived) in by_database {
        let turn: usize = name.trim_start_matches("plant-").parse().unwrap();
        arrived.sort_unstable();
        assert!(arrived.iter().copied().eq(1..=pushed[turn]), "{name}: {arrived:?} of {}", pushed[turn]);
    }
}

/// One attempt of each database at a time, and out of step with the others.
fn check_attempts(writes: &[Seen]) {
    let first = writes[0].at;
    let mut by_database: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
    let mut windows: BTreeMap<u128, usize> = BTreeMap::new();
    for write in writes {
        let at = write.at - first;
        by_database.entry(database(write)).or_default().push(at);
        *windows.entry(at.as_millis() / SPREAD_WINDOW.as_millis()).or_default() += 1;
    }
    assert_eq!(by_database.len(), DATABASES);
    for (database, attempts) in &by_database {
        let closest = attempts.windows(2).map(|two| two[1] - two[0]).min().unwrap_or(Duration::MAX);
        assert!(closest >= HELD_FOR, "{database}: two at once: {attempts:?}");
    }
    let begins = FIRST_SECONDS.as_millis() / SPREAD_WINDOW.as_millis();
    let late: Vec<usize> = windows.range(begins..).map(|(_, attempts)| *attempts).collect();
    println!("attempts in windows of {SPREAD_WINDOW:?}: {windows:?}");
    assert!(late.iter().all(|attempts| *attempts <= ATTEMPTS_A_WINDOW_MAX), "{windows:?}");
}

/// Which database a request is for.
fn database(write: &Seen) -> &str {
    let (_, after) = write.target.split_once("db=").unwrap();
    after.split('&').next().unwrap()
}

/// A thread that pushes to one database after the other, so that each gets its point in time.
struct Trickle {
    ending: Arc<AtomicBool>,
    thread: JoinHandle<Vec<u64>>,
}

impl Trickle {
    fn start(fleet: Vec<DatabaseHandle>) -> Self {
        let ending = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ending);
        let thread = std::thread::spawn(move || trickle(&fleet, &told));
        Self { ending, thread }
    }

    /// How many points each database got; they are numbered from 1 on.
    fn stop(self) -> Vec<u64> {
        self.ending.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn trickle(fleet: &[DatabaseHandle], ending: &AtomicBool) -> Vec<u64> {
    let mut pushed = vec![0_u64; fleet.len()];
    let push = |turn: usize, pushed: &mut Vec<u64>| {
        pushed[turn] += 1;
        fleet[turn].push(Point::new("m").field("n", pushed[turn] as i64)).unwrap();
    };
    // All at once to begin with: if anything brings a fleet into step it is this.
    (0..fleet.len()).for_each(|turn| push(turn, &mut pushed));
    let pause = TRICKLE / fleet.len() as u32;
    for turn in (0..fleet.len()).cycle() {
        std::thread::sleep(pause);
        if ending.load(Ordering::Relaxed) {
            break;
        }
        push(turn, &mut pushed);
    }
    pushed
}

/// What this process has used, and uses.
struct Footprint {
    at: Instant,
    cpu: Duration,
    resident_kib: u64,
    threads: u64,
    by_thread: BTreeMap<u64, (String, Duration)>,
}

impl Footprint {
    fn now() -> Self {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let by_thread = tasks.filter_map(|task| {
            let task = task.unwrap();
            let stat = std::fs::read_to_string(task.path().join("stat")).ok()?;
            let number = task.file_name().to_str()?.parse().ok()?;
            Some((number, name_and_cpu(&stat)))
        });
        let (_, cpu) = name_and_cpu(&std::fs::read_to_string("/proc/self/stat").unwrap());
        Self {
            at: Instant::now(),
            cpu,
            resident_kib: status("VmRSS:"),
            threads: status("Threads:"),
            by_thread: by_thread.collect(),
        }
    }

    /// What each thread has used since.
    fn threads_since(&self, before: &Self) -> Vec<String> {
        let used = |(number, (name, cpu)): (&u64, &(String, Duration))| {
            let before = before.by_thread.get(number).map_or(Duration::ZERO, |(_, cpu)| *cpu);
            let used = *cpu - before;
            (!used.is_zero()).then(|| format!("{name}: {used:?}"))
        };
        self.by_thread.iter().filter_map(used).collect()
    }
}

/// From a line of `/proc/…/stat`: fields 2, 14 and 15, see proc(5). The name may hold anything, parentheses too.
fn name_and_cpu(stat: &str) -> (String, Duration) {
    let (name, fields) = stat.rsplit_once(") ").unwrap();
    let fields: Vec<&str> = fields.split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    let name = name.split_once('(').unwrap().1.to_owned();
    (name, Duration::from_secs_f64(ticks as f64 / TICKS_PER_SECOND))
}

fn status(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}
