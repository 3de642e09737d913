//! Whole lives of a database, played by a seed: the transit, the work of the store, the real spool on a disk that
//! fails, and a server that does what servers do. No threads, no clock, no chance but the seed.
//!
//! What happens is written down by an [account](account::Account) of its own, which knows only what was pushed, what was
//! answered, and what the server has: it is asked after every step, and after every crash.
//!
//! A world is one seed. `SEED=17` plays that one alone and tells each step; `SECONDS=1800` plays for so long.

mod account;
mod faults;
mod figures;
mod life;
mod power_cuts;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

use figures::Figures;
use world::World;

/// Steps in a world.
const STEPS: usize = 150;

/// Worlds of the short run.
const WORLDS: u64 = 150;

#[test]
fn no_point_is_lost_or_counted_twice_whatever_happens() {
    if let Some(seed) = number("SEED") {
        let mut world = World::new(seed, true);
        world.play(STEPS);
        return println!("seed {seed}: {}", world.figures);
    }
    let first = fastrand::u64(..1 << 40);
    let started = Instant::now();
    let seconds = number("SECONDS").or_else(|| std::env::var_os("RUN_SLOW_TESTS").map(|_| 300));
    let mut figures = Figures::default();
    for seed in first.. {
        figures.add(&play(seed));
        let is_over = match seconds {
            Some(seconds) => started.elapsed() >= Duration::from_secs(seconds),
            None => seed - first + 1 >= WORLDS,
        };
        if is_over {
            break;
        }
    }
    println!("seeds from {first}: {figures}");
    figures.check_that_everything_happened();
}

fn play(seed: u64) -> Figures {
    let played = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(seed, false);
        world.play(STEPS);
        world.figures
    }));
    played.unwrap_or_else(|panic| {
        println!("the world of SEED={seed} failed");
        resume_unwind(panic)
    })
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}
