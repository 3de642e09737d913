//! Those who are measured: each is given the same points, by the same producers, and has them at the sink in the end.

mod feeder;
pub mod influxdb;
pub mod influxdb2;
pub mod questdb;
pub mod spool;
pub mod vmagent;

use std::ops::Range;
use std::thread;

use anyhow::{Result, anyhow};
use serde::{Deserialize, Serialize};

use crate::lines::Mix;

/// What a writer is given.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Load {
    pub mix: Mix,
    pub points: u64,
    /// Threads that push.
    pub producers: u64,
}

impl Load {
    /// Has each producer, on a thread of its own, make the points of its share.
    pub fn produce(&self, produce: impl Fn(Range<u64>) -> Result<()> + Sync) -> Result<()> {
        thread::scope(|scope| {
            let start = |share| scope.spawn(|| produce(share));
            let threads: Vec<_> = self.shares().map(start).collect();
            threads.into_iter().try_for_each(|thread| joined(thread.join()))
        })
    }

    /// The points of each producer, by their numbers.
    pub fn shares(&self) -> impl Iterator<Item = Range<u64>> + use<> {
        let Self { points, producers, .. } = *self;
        (0..producers).map(move |n| n * points / producers..(n + 1) * points / producers)
    }
}

/// The parts of a range, of this many points each but for the last.
pub fn batches(share: Range<u64>, points: u64) -> impl Iterator<Item = Range<u64>> {
    let end = share.end;
    share.step_by(points as usize).map(move |start| start..end.min(start + points))
}

pub fn joined<T>(end: thread::Result<Result<T>>) -> Result<T> {
    end.unwrap_or_else(|_| Err(anyhow!("a thread panicked")))
}
