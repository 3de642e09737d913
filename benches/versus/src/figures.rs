//! What a run measured.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::usage::{Usage, peak_memory};

/// One thing that can be measured, with its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Figure {
    PointsPerSecond,
    /// User and system time of the writer's process, producer included, a million points.
    CpuSeconds,
    /// The parts of it that threads of influx-spool took until all was delivered: those that push, that compress, that
    /// write to disk, that run actors and the HTTP client.
    CpuPushing,
    CpuSealing,
    CpuStoring,
    CpuSending,
    /// CPU time of what takes it all the time: a share of one core.
    CpuShare,
    PeakMegabytes,
    /// Kilobytes of memory for each database, under load, at the most.
    KilobytesEach,
    /// The same with nothing to do.
    KilobytesEachIdle,
    /// Bytes written to disk a point.
    WrittenPerPoint,
    /// Bytes written to disk for each byte of bodies.
    WrittenPerBody,
    /// Bytes written while there was nothing to do.
    WrittenIdle,
    /// Bytes of bodies a point.
    BodyPerPoint,
    RequestsPerMillion,
    /// Nanoseconds for one operation.
    Nanoseconds,
    /// The longest that all but one in a hundred took, in microseconds.
    MicrosecondsP99,
    MillisecondsP50,
    MillisecondsP99,
    /// Until the first push was accepted, in milliseconds.
    MillisecondsToPush,
    /// Until the first body had arrived.
    MillisecondsToSend,
    CommitsPerSecond,
    /// Times that a thread went to sleep of its own accord, a minute.
    VoluntarySwitches,
    /// On the thread that pushes, over a million pushes.
    Allocations,
}

pub type Figures = BTreeMap<Figure, f64>;

/// Does the work of `points` points, and measures what it took this process.
pub fn measured(points: u64, work: impl FnOnce() -> Result<()>) -> Result<Figures> {
    let (usage, start) = (Usage::now()?, Instant::now());
    work()?;
    of(points, start.elapsed(), Usage::now()?.since(usage), peak_memory("self")?)
}

/// The figures of a writer that is through.
pub fn of(points: u64, elapsed: Duration, used: Usage, peak: u64) -> Result<Figures> {
    Ok(Figures::from([
        (Figure::PointsPerSecond, points as f64 / elapsed.as_secs_f64()),
        (Figure::CpuSeconds, used.cpu.as_secs_f64() * 1e6 / points as f64),
        (Figure::PeakMegabytes, peak as f64 / 1e6),
        (Figure::WrittenPerPoint, used.written as f64 / points as f64),
    ]))
}

pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        length if length % 2 == 0 => Some((values[middle - 1] + values[middle]) / 2.0),
        _ => Some(values[middle]),
    }
}
