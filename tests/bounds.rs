//! An outage and the drain after it: memory, descriptors and the log stay as they are, the file grows with the backlog and
//! gives its space back.
//!
//! Some seconds by default. With `RUN_SLOW_TESTS` it is an hour of outage at 10,000 points a second: the same 36,000,000 points,
//! pushed as fast as the disk takes them, in portions of five seconds' worth, each stored before the next is pushed, so that memory
//! holds what it would at that rate. What depends on points and bytes is the same in less time; what depends on time (attempts,
//! timers) is shown by the fleet's tests. The curve is printed, and written where `BOUNDS_CSV` says; `bounds/outage_hour.csv` is one.
#![allow(clippy::unwrap_used, reason = "the lints do not see that helpers of tests are tests")]

#[path = "bounds/crowd.rs"]
mod crowd;
#[path = "bounds/sink.rs"]
mod sink;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use influx_spool::{Database, DatabaseHandle, Fate, Point};
use sink::Sink;

/// An hour at 10,000 points/s, and what the short version makes of it.
const POINTS: u64 = 36_000_000;
const POINTS_SHORT: u64 = 2_000_000;

/// What is pushed at once: ten full batches.
const PORTION: u64 = 50_000;

/// How many looks are taken at each half, outage and drain.
const LOOKS: u64 = 60;

/// The first part of each half is not looked at: buffers and caches are being filled.
const WARM_UP: f64 = 0.2;

/// What a slope may be: growth over the rest of a half, as a part of what there was, and what the smallest step is. A megabyte
/// is two bodies; the allocator keeps more than that for a while.
const GROWTH_MAX: f64 = 0.10;
const RESIDENT_STEP_KIB: f64 = 8_192.0;

/// The log is filled once before it is written from its start again, which a short outage may take most of its time for.
const LOG_BYTES: f64 = (16 << 20) as f64;

/// The log is copied into the database from 16 MiB on; beside that there is room for one transaction.
const WAL_BYTES_MAX: u64 = 32 << 20;

/// Free pages that a file keeps for the next batches (16 MiB), a slice too small to be cut off (4 MiB), and what an empty file takes.
const FILE_BYTES_KEPT: u64 = 21 << 20;

const LONG: Duration = Duration::from_secs(3_600);

/// What there was at one moment.
#[derive(Clone, Copy, Debug)]
struct Look {
    seconds: f64,
    phase: &'static str,
    pending: u64,
    resident_kib: u64,
    descriptors: usize,
    threads: u64,
    wal_bytes: u64,
    file_bytes: u64,
}

struct Curve {
    begin: Instant,
    file: PathBuf,
    looks: Vec<Look>,
}

impl Curve {
    fn new(file: &Path) -> Self {
        Self { begin: Instant::now(), file: file.to_owned(), looks: Vec::new() }
    }

    fn look(&mut self, phase: &'static str, db: &DatabaseHandle) -> Look {
        let len = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        let look = Look {
            seconds: self.begin.elapsed().as_secs_f64(),
            phase,
            pending: db.stats().pending.points,
            resident_kib: status("VmRSS:"),
            descriptors: std::fs::read_dir("/proc/self/fd").unwrap().count(),
            threads: status("Threads:"),
            wal_bytes: len(Path::new(&format!("{}-wal", self.file.display()))),
            file_bytes: len(&self.file),
        };
        self.looks.push(look);
        look
    }

    fn of(&self, phase: &str) -> Vec<Look> {
        let looks: Vec<Look> = self.looks.iter().filter(|look| look.phase == phase).copied().collect();
        looks[(looks.len() as f64 * WARM_UP) as usize..].to_vec()
    }

    fn csv(&self) -> String {
        let mut csv = String::from(
            "seconds,phase,pending_points,resident_kib,descriptors,threads,wal_bytes,file_bytes\n",
        );
        for look in &self.looks {
            let Look { seconds, phase, pending, resident_kib, descriptors, threads, wal_bytes, file_bytes } =
                look;
            let _ = writeln!(
                csv,
                "{seconds:.1},{phase},{pending},{resident_kib},{descriptors},{threads},{wal_bytes},{file_bytes}"
            );
        }
        csv
    }

    /// Memory, descriptors and the log grow by nothing but noise over a phase.
    fn check_flat(&self, phase: &str) {
        let looks = self.of(phase);
        let seconds = looks.last().unwrap().seconds - looks[0].seconds;
        for (what, step, value) in [
            ("resident KiB", RESIDENT_STEP_KIB, (|look| look.resident_kib as f64) as fn(&Look) -> f64),
            ("descriptors", 2.0, |look| look.descriptors as f64),
            ("WAL bytes", LOG_BYTES, |look| look.wal_bytes as f64),
        ] {
            let (mean, slope) = line_through(&looks, value);
            let growth = slope * seconds;
            println!(
                "{phase}: {what} {mean:.0} on average, {slope:.2} a second, {growth:.0} over {seconds:.0} s"
            );
            assert!(
                growth <= step.max(mean * GROWTH_MAX),
                "{phase}: {what} grow by {growth:.0} from {mean:.0}"
            );
        }
        let wal_max = looks.iter().map(|look| look.wal_bytes).max().unwrap();
        assert!(wal_max <= WAL_BYTES_MAX, "{wal_max}");
    }
}

/// The mean and the slope a second of the straight line that fits best.
fn line_through(looks: &[Look], value: impl Fn(&Look) -> f64) -> (f64, f64) {
    let count = looks.len() as f64;
    let mean_at = looks.iter().map(|look| look.seconds).sum::<f64>() / count;
    let mean = looks.iter().map(&value).sum::<f64>() / count;
    let covariance: f64 = looks.iter().map(|look| (look.seconds - mean_at) * (value(look) - mean)).sum();
    let variance: f64 = looks.iter().map(|look| (look.seconds - mean_at).powi(2)).sum();
    (mean, if variance > 0.0 { covariance / variance } else { 0.0 })
}

#[test]
fn an_hour_of_outage_and_the_drain_after_it_cost_disk_and_nothing_else() {
    let _alone = alone();
    let slow = std::env::var_os("RUN_SLOW_TESTS").is_some();
    let points = if slow { POINTS } else { POINTS_SHORT };
    let sink = Sink::start_down(points);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bounds.db");
    actix_rt::System::new().block_on(async {
        let db = Database::builder("bounds")
            .http(sink.url())
            .spool(&file)
            .configure(|config| {
                config.spool.as_mut().unwrap().bytes_max = 8 << 30;
                config.http.backoff_max = Duration::from_secs(1);
            })
            .start()
            .unwrap();
        let mut curve = Curve::new(&file);
        let every = points / LOOKS;
        for n in 0..points {
            // As a machine speaks: a few tags, two floats, a counter.
            let point = Point::new("machine")
                .tag("site", "north")
                .tag("line", "press-7")
                .field("n", n as i64)
                .field("pressure", 100.0 + (n % 977) as f64 / 7.0)
                .field("speed", (n % 1_009) as f64 / 3.0);
            db.push_wait(point).await.unwrap();
            if n % PORTION == PORTION - 1 {
                db.commit(LONG).await.unwrap();
            }
            if n % every == every - 1 {
                curve.look("outage", &db);
            }
        }
        db.commit(LONG).await.unwrap();
        let full = curve.look("outage", &db);
        assert_eq!(full.pending, points);
        let per_point = full.file_bytes as f64 / points as f64;
        println!("{points} points in {:.0} s, {per_point:.1} bytes of file a point", full.seconds);

        sink.come_up();
        db.reconfigure(db.config()).await.unwrap();
        let flushed = async {
            for left in (0..LOOKS).rev() {
                // The sink tells when so many have arrived.
                let (told, heard) = tokio::sync::oneshot::channel();
                let waiting = sink.clone();
                std::thread::spawn(move || {
                    waiting.wait_for(points - left * every);
                    let _ = told.send(());
                });
                heard.await.unwrap();
                curve.look("drain", &db);
            }
            assert!(db.flush(LONG).await.unwrap().complete);
        };
        tokio::time::timeout(LONG, flushed).await.unwrap();
        let drained = Instant::now();
        while curve.look("given back", &db).file_bytes > FILE_BYTES_KEPT {
            // The file shrinks slice by slice; nobody is told of it.
            tokio::time::sleep(Duration::from_millis(200)).await;
            assert!(drained.elapsed() < LONG, "{:?}", curve.looks.last());
        }
        println!("given back after {:?}", drained.elapsed());
        let stats = db.stop(LONG).await.unwrap().stats;
        assert_eq!(stats.ledger.accepted().points, points);
        assert_eq!(stats.ledger.of(Fate::Delivered).points, points, "{stats:?}");
        sink.check_all_once();

        let csv = curve.csv();
        if let Some(path) = std::env::var_os("BOUNDS_CSV") {
            std::fs::write(path, &csv).unwrap();
        }
        println!("{csv}");
        curve.check_flat("outage");
        curve.check_flat("drain");
        check_grows_with_backlog(&curve, full);
    });
}

/// At each moment of the outage the file has what the backlog takes, and no more than a slice beyond.
fn check_grows_with_backlog(curve: &Curve, full: Look) {
    let per_point = full.file_bytes as f64 / full.pending as f64;
    for look in curve.of("outage") {
        let expected = look.pending as f64 * per_point;
        let slack = WAL_BYTES_MAX as f64 + expected * GROWTH_MAX;
        assert!((look.file_bytes as f64) < expected + slack, "{look:?}: {expected:.0} expected");
    }
}

fn status(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// One test at a time: both measure the process that they share.
fn alone() -> std::sync::MutexGuard<'static, ()> {
    static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
