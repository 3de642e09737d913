//! Thousands of things go wrong with databases under load: whatever can panic, hang or end does so at any moment, also during
//! starts, stops and recoveries, while commits, flushes and receipts are asked for, settings change, servers come and
//! go. Nothing is lost, every call is answered in its time, receipts are true, and at rest all is well by itself.
//!
//! Two databases suffer, one that sends by HTTP and one that sends by UDP; a third beside them has to notice nothing. A few
//! hundred events by default, ten thousand with `RUN_SLOW_TESTS`; the same seed
//! again with `SEED`, and what the databases log with `LOG=influx_spool=warn`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "the lints do not see that helpers of tests are tests")]

mod support;

#[path = "chaos/bystander.rs"]
mod bystander;
#[path = "chaos/calls.rs"]
mod calls;
#[path = "chaos/load.rs"]
mod load;
#[path = "chaos/mines.rs"]
mod mines;
#[path = "chaos/victim.rs"]
mod victim;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bystander::Bystander;
use fail::FailScenario;
use victim::{Victim, Wire};

/// For a loaded machine.
const LONG: Duration = Duration::from_secs(60);

/// Between two events of one's own making.
const TICK: Duration = Duration::from_millis(5);

/// Events between two calms, in which everything is compared.
const EVENTS_PER_CALM: u64 = 500;

/// How often each kind of event has had its effect.
#[derive(Clone, Debug, Default)]
struct Counts(Arc<Mutex<BTreeMap<String, u64>>>);

impl Counts {
    fn add(&self, kind: impl Into<String>) {
        self.add_many(kind, 1);
    }

    fn add_many(&self, kind: impl Into<String>, times: u64) {
        *self.0.lock().unwrap().entry(kind.into()).or_default() += times;
    }

    fn sum(&self) -> u64 {
        self.0.lock().unwrap().values().sum()
    }
}

#[test]
fn nothing_is_lost_and_nothing_hangs_whatever_goes_wrong() {
    let events = if std::env::var_os("RUN_SLOW_TESTS").is_some() { 10_000 } else { 250 };
    let seed = std::env::var("SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("SEED={seed}");
    if let Ok(filter) = std::env::var("LOG") {
        let filter = tracing_subscriber::EnvFilter::new(filter);
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    }
    let mut random = fastrand::Rng::with_seed(seed);
    let _scenario = FailScenario::setup();
    // What takes minutes in earnest takes parts of a second here.
    for (limit, millis) in [("degraded_retry", 100), ("heartbeat", 150), ("delay_max", 20)] {
        fail::cfg(format!("tree::{limit}"), &format!("return({millis})")).unwrap();
    }
    actix_rt::System::new().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let (counts, begin) = (Counts::default(), Instant::now());
        let bystander = Bystander::start(folder.path());
        let mut victims = Vec::new();
        for (name, wire) in [("http", Wire::Http), ("udp", Wire::Udp)] {
            victims.push(Victim::start(name, wire, folder.path(), counts.clone(), &mut random).await);
        }
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut calm_at = EVENTS_PER_CALM;
        while counts.sum() < events {
            tick.tick().await;
            let victim = random.usize(..victims.len());
            victims[victim].suffer(&mut random).await;
            if counts.sum() >= calm_at {
                calm_at = counts.sum() + EVENTS_PER_CALM;
                for victim in &mut victims {
                    victim.calm(&mut random).await;
                }
            }
        }
        for victim in victims {
            victim.end(&mut random).await;
        }
        bystander.end();
        println!("{} events in {:?}", counts.sum(), begin.elapsed());
        for (kind, times) in &*counts.0.lock().unwrap() {
            println!("{times:>7} {kind}");
        }
    });
}
