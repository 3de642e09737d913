//! A thousand databases in one process, idle and in an outage. Fifty by default.

use std::process::Command;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use influx_spool::{Database, DatabaseHandle, Fate, Point, Standing};

use super::sink::Sink;
use super::status;

const DATABASES: u64 = 1_000;
const DATABASES_SHORT: u64 = 50;

/// In the outage each database gets a point in this time, as often as collectors look by default: a hundred transactions a
/// second. So it is in the short version, with fewer databases.
const PERIOD: Duration = Duration::from_secs(10);
const PERIOD_SHORT: Duration = Duration::from_secs(1);

/// So often.
const ROUNDS: u64 = 6;
const ROUNDS_SHORT: u64 = 3;

/// The default, which nobody has changed.
const LOSS_WINDOW: Duration = Duration::from_secs(1);

/// What is borne on a machine that others use.
const LATE_MAX: Duration = Duration::from_secs(2);

/// The spool: its database, log, shared memory, lock, and the lock on the database.
const DESCRIPTORS_EACH: u64 = 5;

/// Arbiters, lanes, what looks after them, and threads of the test.
const THREADS_MAX: u64 = 40;

const MEMORY_EACH_KIB: u64 = 512;

/// What they have in common.
const MEMORY_SHARED_KIB: u64 = 32 << 10;

const LONG: Duration = Duration::from_secs(300);

#[derive(Debug)]
struct Footprint {
    at: Instant,
    cpu: Duration,
    resident_kib: u64,
    threads: u64,
    descriptors: u64,
}

impl Footprint {
    fn now() -> Self {
        // Fields 14 and 15, in ticks of a hundredth, see proc(5).
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Self {
            at: Instant::now(),
            cpu: Duration::from_millis(ticks * 10),
            resident_kib: status("VmRSS:"),
            threads: status("Threads:"),
            descriptors: std::fs::read_dir("/proc/self/fd").unwrap().count() as u64,
        }
    }

    /// Prints what so many databases take beyond what there was before.
    fn print(&self, what: &str, before: &Self, since: &Self, databases: u64) {
        let cpu = (self.cpu - since.cpu).as_secs_f64() / (self.at - since.at).as_secs_f64() * 100.0;
        println!(
            "{what}: {} KiB and {:.2} descriptors a database, {} threads, {cpu:.1} % of a core over {:.0?}",
            (self.resident_kib - before.resident_kib) / databases,
            (self.descriptors - before.descriptors) as f64 / databases as f64,
            self.threads - before.threads,
            self.at - since.at,
        );
    }
}

#[test]
fn a_crowd_of_databases_is_cheap_idle_and_in_an_outage() {
    let _alone = super::alone();
    let slow = std::env::var_os("RUN_SLOW_TESTS").is_some();
    let (databases, rounds, period) = match slow {
        true => (DATABASES, ROUNDS, PERIOD),
        false => (DATABASES_SHORT, ROUNDS_SHORT, PERIOD_SHORT),
    };
    allow_descriptors(databases * (DESCRIPTORS_EACH + 2) + 200);
    let sink = Sink::start_down(databases * rounds);
    let folder = tempfile::tempdir().unwrap();
    actix_rt::System::new().block_on(async {
        let start = |number: u64| {
            let db = Database::builder(format!("crowd-{number}")).http(sink.url());
            db.spool(folder.path().join(format!("{number}.db"))).start().unwrap()
        };
        let before = Footprint::now();
        let crowd: Vec<DatabaseHandle> = (0..databases).map(start).collect();
        println!("{databases} databases started in {:?}", before.at.elapsed());
        let idle = Footprint::now();
        // Time itself is what is waited for.
        tokio::time::sleep(Duration::from_secs(if slow { 30 } else { 1 })).await;
        let after_idle = Footprint::now();
        after_idle.print("idle", &before, &idle, databases);

        let begin = Footprint::now();
        let mut latest = Duration::ZERO;
        for round in 0..rounds {
            let stored = join_all(crowd.iter().zip(0..).map(|(db, number)| async move {
                // One after the other, as collectors do that do not know of each other.
                tokio::time::sleep(period * number / databases as u32).await;
                let pushed = Instant::now();
                let n = round * databases + u64::from(number);
                let seq = db.push(Point::new("crowd").field("n", n as i64)).unwrap();
                let standing = db.persisted(seq).await.unwrap();
                assert!(matches!(standing, Standing::Durable(_)), "{standing:?}");
                pushed.elapsed()
            }));
            let times = tokio::time::timeout(LONG, stored).await.unwrap();
            latest = latest.max(times.into_iter().max().unwrap());
        }
        let outage = Footprint::now();
        outage.print("outage", &before, &begin, databases);
        println!(
            "the latest point was on disk {latest:?} after its push; the loss window is {LOSS_WINDOW:?}"
        );

        sink.come_up();
        for db in &crowd {
            db.reconfigure(db.config()).await.unwrap();
        }
        let drain = Instant::now();
        let flushed = join_all(crowd.iter().map(|db| db.flush(LONG))).await;
        assert!(flushed.into_iter().all(|flushed| flushed.unwrap().complete));
        println!("drained in {:?}", drain.elapsed());
        sink.check_all_once();
        let stop = Instant::now();
        let stops = join_all(crowd.iter().map(|db| db.stop(LONG))).await;
        println!("stopped in {:?}", stop.elapsed());
        for report in stops {
            let report = report.unwrap();
            assert!(report.closed && report.stats.ledger.of(Fate::Delivered).points == rounds, "{report:?}");
        }
        let again = Instant::now();
        let crowd: Vec<DatabaseHandle> = (0..databases).map(start).collect();
        println!("started again in {:?}, from files that are there", again.elapsed());
        join_all(crowd.iter().map(|db| db.stop(LONG))).await;
        drop(crowd);
        let gone = Footprint::now();
        println!("{} descriptors and {} threads left", gone.descriptors, gone.threads);

        for footprint in [&after_idle, &outage] {
            let memory = footprint.resident_kib - before.resident_kib;
            let descriptors = footprint.descriptors - before.descriptors;
            assert!(memory < databases * MEMORY_EACH_KIB + MEMORY_SHARED_KIB, "{memory} KiB");
            assert!(footprint.threads - before.threads <= THREADS_MAX, "{footprint:?}");
            assert!(descriptors <= databases * (DESCRIPTORS_EACH + 1) + 50, "{descriptors}");
        }
        let late_max = if slow { LOSS_WINDOW } else { LATE_MAX };
        assert!(latest < late_max, "{latest:?}");
    });
}

/// Raises the soft limit of this process, if that is allowed; if not, starting will say so.
fn allow_descriptors(count: u64) {
    let (pid, limit) = (std::process::id().to_string(), format!("--nofile={count}:"));
    let _raised = Command::new("prlimit").args(["--pid", &pid, &limit]).output();
}
