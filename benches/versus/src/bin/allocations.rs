//! How often pushing a million points allocates on the thread that pushes, once everything is warm. A program of its own,
//! since counting costs something at every allocation.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow};
use influx_spool::{Database, SeriesBuilder, WhenFull};

const WARM_UP: i64 = 1_000_000;
const COUNTED: i64 = 1_000_000;

fn main() -> Result<()> {
    // Nobody listens there; the queue is full and slides.
    let db = Database::builder("allocations")
        .http("http://127.0.0.1:9")
        .gzip(false)
        .linger(Duration::from_secs(3_600))
        .when_full(WhenFull::DropOldest)
        .configure(|config| {
            config.queue.points_max = NonZeroUsize::new(10_000).unwrap_or(NonZeroUsize::MIN);
            config.batch.points_max = NonZeroUsize::MAX;
        })
        .start()?;
    let series = SeriesBuilder::new("machine_state")
        .tag("host", "host-0001.example.com")
        .tag("region", "eu-central-1")
        .tag("rack", "rack-01")
        .tag("service", "press line")
        .fields::<(f64, i64, bool, &str)>(["temperature", "cycles", "running", "state"]);
    let series = db.series(&series)?;
    let mut trouble = None;
    let mut push = |n: i64| {
        if let Err(error) = series.push((n as f64 * 0.001, n, n % 2 == 0, "running")) {
            trouble = Some(anyhow!("push: {error}"));
        }
    };
    // Meanwhile another thread looks, so that the two meet: what a push needs when they do is made then.
    let is_warm = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_warm.load(Ordering::Relaxed) {
                drop(db.stats());
            }
        });
        (0..WARM_UP).for_each(&mut push);
        is_warm.store(true, Ordering::Relaxed);
    });
    let counted = allocation_counter::measure(|| (0..COUNTED).for_each(&mut push));
    println!("{}", counted.count_total);
    trouble.map_or(Ok(()), Err)
}
