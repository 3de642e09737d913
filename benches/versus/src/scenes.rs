//! What happens in the life of a database beside writing flat out: each measured for influx-spool alone.

pub mod backfill;
pub mod fleet;
pub mod idle;
pub mod latency;
pub mod outage;
pub mod restart;
pub mod steady;

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

/// How often a paced producer wakes. What became due since is pushed at once.
const TICK: Duration = Duration::from_millis(1);

/// Calls `push` with 0, 1, 2, …, so many a second, for so long. Returns how many there were.
fn paced(a_second: u64, duration: Duration, mut push: impl FnMut(u64) -> Result<()>) -> Result<u64> {
    let (start, total) = (Instant::now(), (a_second as f64 * duration.as_secs_f64()) as u64);
    let mut pushed = 0;
    while pushed < total {
        let due = ((start.elapsed().as_secs_f64() * a_second as f64) as u64).min(total);
        while pushed < due {
            push(pushed)?;
            pushed += 1;
        }
        thread::sleep(TICK);
    }
    Ok(total)
}
