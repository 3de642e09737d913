//! Numbered points at a steady rate, and how long each push took.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use influx_spool::{DatabaseHandle, Point};

/// A thread that pushes to several databases in turn.
pub(crate) struct Stream {
    ending: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Pushed>>,
}

/// What was pushed to one database: points numbered from 1 on.
#[derive(Clone, Default)]
pub(crate) struct Pushed {
    times: Vec<Duration>,
}

impl Stream {
    /// `rate` is in points a second, over all databases.
    pub(crate) fn start(databases: Vec<DatabaseHandle>, rate: u64) -> Self {
        let ending = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ending);
        let thread = std::thread::spawn(move || push_until_told(&databases, rate, &told));
        Self { ending, thread }
    }

    pub(crate) fn stop(self) -> Vec<Pushed> {
        self.ending.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        self.thread.join().unwrap()
    }
}

impl Pushed {
    pub(crate) fn points(&self) -> u64 {
        self.times.len() as u64
    }

    /// What one push in a hundred took, or longer.
    pub(crate) fn p99(&mut self) -> Duration {
        self.times.sort_unstable();
        self.times[self.times.len() * 99 / 100]
    }
}

fn push_until_told(databases: &[DatabaseHandle], rate: u64, ending: &AtomicBool) -> Vec<Pushed> {
    let begin = Instant::now();
    let mut pushed = vec![Pushed::default(); databases.len()];
    let mut number = 0;
    while !ending.load(Ordering::Relaxed) {
        let due = begin.elapsed().as_micros() as u64 * rate / 1_000_000;
        while number < due {
            let turn = (number % databases.len() as u64) as usize;
            push(&databases[turn], &mut pushed[turn]);
            number += 1;
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
    pushed
}

fn push(db: &DatabaseHandle, pushed: &mut Pushed) {
    // Digits that no compression takes away: a batch is to be longer than what a socket swallows.
    let noise = fastrand::u64(..) as f64 / 1e9;
    let point = Point::new("stream")
        .tag("host", "plant-1")
        .field("n", pushed.times.len() as i64 + 1)
        .field("v", noise);
    let begin = Instant::now();
    db.push(point).unwrap();
    pushed.times.push(begin.elapsed());
}
