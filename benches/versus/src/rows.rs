//! What is aimed at, row by row, and what was reached.

use std::iter;

use crate::contestants as who;
use crate::figures::Figure;

/// One thing that a user may care about, with its targets.
#[derive(Clone, Debug)]
pub struct Row {
    pub title: &'static str,
    pub targets: Vec<Target>,
}

#[derive(Clone, Debug)]
pub struct Target {
    pub what: &'static str,
    pub limit: Limit,
    pub measure: Measure,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

#[derive(Clone, Copy, Debug)]
pub enum Measure {
    Of(Side),
    /// The first for each one of the second, within a round.
    Ratio(Side, Side),
}

/// A figure of a family.
#[derive(Clone, Copy, Debug)]
pub struct Side {
    pub family: &'static str,
    pub figure: Figure,
    pub choice: Choice,
}

/// Which setting of a family counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The one with the most points a second, for every figure: our own.
    Fastest,
    /// The one with the least CPU time: the best an opponent can do in what it is compared in.
    Cheapest,
}

use Choice::{Cheapest, Fastest};
use Figure::{
    Allocations, CpuSeconds, CpuShare, KilobytesEach, KilobytesEachIdle, MicrosecondsP99, MillisecondsP50,
    MillisecondsP99, MillisecondsToPush, MillisecondsToSend, Nanoseconds, PeakMegabytes, PointsPerSecond,
    VoluntarySwitches, WrittenIdle, WrittenPerBody,
};
use Limit::{AtLeast, AtMost};

pub fn all() -> Vec<Row> {
    vec![
        Row {
            title: "encode a point",
            targets: vec![
                of("borrowed, ns", AtMost(90.0), fastest(who::ENCODE_BORROWED, Nanoseconds)),
                ratio(
                    "borrowed ÷ questdb-rs' buffer",
                    AtMost(0.35),
                    fastest(who::ENCODE_BORROWED, Nanoseconds),
                    fastest(who::ENCODE_QUESTDB, Nanoseconds),
                ),
                of("prepared series, ns", AtMost(50.0), fastest(who::ENCODE_SERIES, Nanoseconds)),
                of("allocations, a million pushes", AtMost(0.0), fastest(who::ALLOCATIONS, Allocations)),
            ],
        },
        Row {
            title: "push: encode, number, queue",
            targets: vec![
                of(
                    "CPU of the thread that pushes, ns",
                    AtMost(120.0),
                    fastest(who::PUSH_DRAINED, Nanoseconds),
                ),
                ratio(
                    "points/s of two producers ÷ of one",
                    AtLeast(1.6),
                    fastest(who::PUSH_2, PointsPerSecond),
                    fastest(who::PUSH_1, PointsPerSecond),
                ),
                of("p99 of a push, two producers, µs", AtMost(5.0), fastest(who::PUSH_2, MicrosecondsP99)),
            ],
        },
        Row {
            title: "end to end, durable, gzip",
            targets: vec![
                of("points/s", AtLeast(2_500_000.0), fastest(who::SPOOL_GZIP, PointsPerSecond)),
                of("CPU s a million", AtMost(0.65), fastest(who::SPOOL_GZIP, CpuSeconds)),
                ratio(
                    "CPU ÷ deflate alone",
                    AtMost(1.4),
                    fastest(who::SPOOL_GZIP, CpuSeconds),
                    fastest(who::DEFLATE, CpuSeconds),
                ),
            ],
        },
        Row {
            title: "end to end, durable, not compressed",
            targets: vec![
                of("points/s", AtLeast(3_000_000.0), fastest(who::SPOOL_PLAIN, PointsPerSecond)),
                of("CPU s a million", AtMost(0.40), fastest(who::SPOOL_PLAIN, CpuSeconds)),
                ratio(
                    "points/s ÷ write + fdatasync",
                    AtLeast(0.5),
                    fastest(who::SPOOL_PLAIN, PointsPerSecond),
                    fastest(who::WRITE_PLAIN, PointsPerSecond),
                ),
            ],
        },
        Row {
            title: "healthy link, default window",
            targets: vec![
                ratio(
                    "points/s ÷ durable, gzip",
                    AtLeast(1.0),
                    fastest(who::WINDOW_GZIP, PointsPerSecond),
                    fastest(who::SPOOL_GZIP, PointsPerSecond),
                ),
                ratio(
                    "points/s ÷ durable, not compressed",
                    AtLeast(1.0),
                    fastest(who::WINDOW_PLAIN, PointsPerSecond),
                    fastest(who::SPOOL_PLAIN, PointsPerSecond),
                ),
                of("written ÷ bodies, 100,000 points/s", AtMost(0.01), fastest(who::STEADY, WrittenPerBody)),
                of("bytes written at 0 points/s, 20 s", AtMost(0.0), fastest(who::STEADY, WrittenIdle)),
            ],
        },
        Row {
            title: "vmagent, its process alone",
            targets: vec![
                ratio(
                    "its CPU ÷ ours, durable, gzip",
                    AtLeast(2.3),
                    cheapest(who::VMAGENT, CpuSeconds),
                    fastest(who::SPOOL_GZIP, CpuSeconds),
                ),
                ratio(
                    "its CPU ÷ ours, durable",
                    AtLeast(3.0),
                    cheapest(who::VMAGENT, CpuSeconds),
                    fastest(who::SPOOL_PLAIN, CpuSeconds),
                ),
            ],
        },
        Row {
            title: "questdb-rs, which has no buffer",
            targets: vec![
                ratio(
                    "our CPU, durable ÷ its",
                    AtMost(1.0),
                    fastest(who::SPOOL_PLAIN, CpuSeconds),
                    cheapest(who::QUESTDB, CpuSeconds),
                ),
                ratio(
                    "our CPU, points borrowed ÷ its",
                    AtMost(1.0),
                    fastest(who::SPOOL_BORROWED, CpuSeconds),
                    cheapest(who::QUESTDB, CpuSeconds),
                ),
            ],
        },
        Row {
            title: "influxdb2 and influxdb, which have no buffer",
            targets: vec![
                ratio(
                    "influxdb2's CPU ÷ ours, durable",
                    AtLeast(3.0),
                    cheapest(who::INFLUXDB2, CpuSeconds),
                    fastest(who::SPOOL_PLAIN, CpuSeconds),
                ),
                ratio(
                    "influxdb's CPU ÷ ours, durable",
                    AtLeast(3.0),
                    cheapest(who::INFLUXDB, CpuSeconds),
                    fastest(who::SPOOL_PLAIN, CpuSeconds),
                ),
            ],
        },
        Row {
            title: "backfill of 10,000,000 points, read cold",
            targets: vec![
                ratio(
                    "points/s ÷ end to end, 1 in flight",
                    AtLeast(1.0),
                    fastest(who::BACKFILL_1, PointsPerSecond),
                    fastest(who::SPOOL_GZIP, PointsPerSecond),
                ),
                ratio(
                    "points/s ÷ end to end, 4 in flight",
                    AtLeast(1.0),
                    fastest(who::BACKFILL_4, PointsPerSecond),
                    fastest(who::SPOOL_GZIP, PointsPerSecond),
                ),
                ratio(
                    "peak memory ÷ that of a third",
                    AtMost(1.1),
                    fastest(who::BACKFILL_1, PeakMegabytes),
                    fastest(who::BACKFILL_THIRD, PeakMegabytes),
                ),
            ],
        },
        Row {
            title: "written to disk ÷ bodies, batches of 5,000",
            targets: vec![
                of("durable, gzip", AtMost(1.5), fastest(who::SPOOL_GZIP, WrittenPerBody)),
                of("durable", AtMost(1.5), fastest(who::SPOOL_PLAIN, WrittenPerBody)),
                of("in an outage, gzip", AtMost(2.2), fastest(who::OUTAGE_GZIP, WrittenPerBody)),
                of("in an outage", AtMost(2.2), fastest(who::OUTAGE_PLAIN, WrittenPerBody)),
            ],
        },
        Row {
            title: "start with a large spool",
            targets: vec![
                of("to the first push, ms", AtMost(100.0), fastest(who::START_CLEAN, MillisecondsToPush)),
                of(
                    "to the first body sent, ms",
                    AtMost(100.0),
                    fastest(who::START_CLEAN, MillisecondsToSend),
                ),
                of(
                    "after SIGKILL, to the first push, ms",
                    AtMost(500.0),
                    fastest(who::START_KILLED, MillisecondsToPush),
                ),
                of(
                    "after SIGKILL, to the first body sent, ms",
                    AtMost(500.0),
                    fastest(who::START_KILLED, MillisecondsToSend),
                ),
            ],
        },
        Row {
            title: "idle for a minute",
            targets: vec![
                of("1 database, threads woken", AtMost(60.0), fastest(who::IDLE_1, VoluntarySwitches)),
                of("1 database, CPU, share of a core", AtMost(0.001), fastest(who::IDLE_1, CpuShare)),
                of("100 databases, threads woken", AtMost(60.0), fastest(who::IDLE_100, VoluntarySwitches)),
                of("100 databases, CPU, share of a core", AtMost(0.001), fastest(who::IDLE_100, CpuShare)),
            ],
        },
        Row {
            title: "1,000,000 points/s for a minute",
            targets: vec![
                of("points/s", AtLeast(990_000.0), fastest(who::STEADY_MILLION, PointsPerSecond)),
                of(
                    "peak MB, queue of 1,000,000 points or 64 MiB",
                    AtMost(64.0),
                    fastest(who::STEADY_MILLION, PeakMegabytes),
                ),
            ],
        },
        Row {
            title: "500,000 points/s over 1,000 databases",
            targets: vec![
                ratio(
                    "CPU ÷ one with as many batches",
                    AtMost(1.25),
                    fastest(who::FLEET, CpuSeconds),
                    fastest(who::FLEET_ONE, CpuSeconds),
                ),
                ratio(
                    "CPU ÷ one with as many commits",
                    AtMost(1.25),
                    fastest(who::FLEET_REFUSED, CpuSeconds),
                    fastest(who::FLEET_ONE_REFUSED, CpuSeconds),
                ),
                of("kB a database, idle", AtMost(200.0), fastest(who::FLEET, KilobytesEachIdle)),
                of("kB a database, under this load", AtMost(600.0), fastest(who::FLEET, KilobytesEach)),
            ],
        },
        Row {
            title: "latency, push to body, 100 points/s",
            targets: vec![
                of("p50, ms", AtMost(2.0), fastest(who::LATENCY, MillisecondsP50)),
                of("p99, ms", AtMost(10.0), fastest(who::LATENCY, MillisecondsP99)),
                of("durable, p50, ms", AtMost(2.0), fastest(who::LATENCY_DURABLE, MillisecondsP50)),
                of("durable, p99, ms", AtMost(10.0), fastest(who::LATENCY_DURABLE, MillisecondsP99)),
            ],
        },
    ]
}

impl Row {
    /// What it can be selected by.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        iter::once(self.title).chain(self.families())
    }

    /// The families it needs.
    pub fn families(&self) -> impl Iterator<Item = &'static str> {
        self.targets.iter().flat_map(|target| match target.measure {
            Measure::Of(side) => vec![side.family],
            Measure::Ratio(side, other) => vec![side.family, other.family],
        })
    }
}

impl Limit {
    pub fn is_met(self, value: f64) -> bool {
        match self {
            AtMost(limit) => value <= limit,
            AtLeast(limit) => value >= limit,
        }
    }
}

const fn of(what: &'static str, limit: Limit, side: Side) -> Target {
    Target { what, limit, measure: Measure::Of(side) }
}

const fn ratio(what: &'static str, limit: Limit, side: Side, other: Side) -> Target {
    Target { what, limit, measure: Measure::Ratio(side, other) }
}

const fn fastest(family: &'static str, figure: Figure) -> Side {
    Side { family, figure, choice: Fastest }
}

const fn cheapest(family: &'static str, figure: Figure) -> Side {
    Side { family, figure, choice: Cheapest }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contestants::{self, Size};

    #[test]
    fn everybody_who_is_aimed_at_takes_part() {
        let families: Vec<_> =
            contestants::all(Size::Full).iter().map(|contestant| contestant.family).collect();
        for row in all() {
            assert!(row.families().all(|family| families.contains(&family)), "{}", row.title);
        }
    }
}
