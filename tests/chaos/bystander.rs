//! A database in the same process that nothing happens to.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use influx_spool::{Database, DatabaseHandle, Point};

use super::LONG;
use super::support::ledger::{check_arrived, check_ledger, numbers};
use super::support::receiver::Receiver;

/// From a push to its delivery nobody waits for as long, whatever the neighbours do: neighbours block a shared thread for
/// 10 ms at a time, and other tests share the machine.
const LATENCY_MAX: Duration = Duration::from_secs(5);
const LATENCY_P99_MAX: Duration = Duration::from_millis(500);

pub(crate) struct Bystander {
    db: DatabaseHandle,
    receiver: Receiver,
    end: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Duration>>,
}

impl Bystander {
    pub(crate) fn start(folder: &Path) -> Self {
        let receiver = Receiver::start();
        let builder = Database::builder("bystander").http(receiver.url()).spool(folder.join("bystander.db"));
        let db = builder.linger(Duration::from_millis(1)).start().unwrap();
        let (pushing, end) = (db.clone(), Arc::<AtomicBool>::default());
        let ending = Arc::clone(&end);
        let thread = std::thread::spawn(move || {
            actix_rt::System::new().block_on(async {
                let mut latencies = Vec::new();
                while !ending.load(Ordering::Relaxed) {
                    let begin = Instant::now();
                    let point = Point::new("m").field("n", latencies.len() as i64);
                    let seq = pushing.push(point).unwrap();
                    let delivered = tokio::time::timeout(LONG, pushing.delivered(seq)).await;
                    delivered.expect("the bystander is served").unwrap();
                    latencies.push(begin.elapsed());
                }
                latencies
            })
        });
        Self { db, receiver, end, thread }
    }

    pub(crate) fn end(self) {
        self.end.store(true, Ordering::Relaxed);
        let mut latencies = self.thread.join().unwrap();
        let points = latencies.len() as u64;
        latencies.sort_unstable();
        let (p99, max) = (latencies[latencies.len() * 99 / 100], latencies[latencies.len() - 1]);
        println!("bystander: {points} points one after the other, push to delivery p99 {p99:?}, max {max:?}");
        let stats = self.db.stats();
        check_ledger(&stats, points, &self.receiver);
        check_arrived(&self.receiver, 0..points);
        assert_eq!(numbers(&self.receiver).len() as u64, points, "nothing twice");
        assert_eq!((stats.restarts_total, stats.failures_total), (0, 0));
        assert!(p99 < LATENCY_P99_MAX && max < LATENCY_MAX, "p99 {p99:?}, max {max:?}");
    }
}
