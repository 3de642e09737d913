//! What one point costs before it is on its way: to encode it, to push it.

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use influx_spool::{Encoder, FieldRef, LineRules, PointRef, Precision, Timestamp, WhenFull};
use questdb::ingress::{Buffer, ProtocolVersion};
use serde::{Deserialize, Serialize};

use crate::figures::{Figure, Figures, measured};
use crate::lines::{Mix, Shape, timestamp, values};
use crate::writers::spool::Pusher;
use crate::writers::{Load, questdb::Row};
use crate::yardsticks::{BODY_POINTS, per_operation};

/// Encodes points into a buffer that is emptied after every body, on one thread.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Encode {
    pub by: Encoding,
    pub mix: Mix,
    pub points: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Encoding {
    /// influx-spool, all of a point borrowed.
    Borrowed,
    /// influx-spool, a prepared series.
    Series,
    /// questdb-rs' buffer, names checked before.
    Questdb,
}

/// Pushes into a full queue that slides: the thread that pushes also frees what leaves, as a drainer would.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Push {
    pub load: Load,
}

/// Points of the sliding queue: two bodies.
const QUEUE_POINTS: usize = 10_000;

impl Encode {
    pub fn run(&self) -> Result<Figures> {
        let shapes = self.mix.shapes();
        let mut figures = match self.by {
            Encoding::Borrowed => self.borrowed(&shapes),
            Encoding::Series => self.series(&shapes),
            Encoding::Questdb => self.questdb(&shapes),
        }?;
        per_operation(&mut figures);
        Ok(figures)
    }

    fn borrowed(&self, shapes: &[Shape]) -> Result<Figures> {
        let encoder = Encoder::new(Precision::Nanoseconds, &LineRules::default())?;
        let mut out = Vec::with_capacity(4 << 20);
        measured(self.points, || {
            for n in 0..self.points {
                if n % BODY_POINTS == 0 {
                    black_box(&mut out).clear();
                }
                let shape = &shapes[n as usize % shapes.len()];
                let [a, b, c, d] = &shape.tags;
                let tags =
                    [(a.0, a.1.as_str()), (b.0, b.1.as_str()), (c.0, c.1.as_str()), (d.0, d.1.as_str())];
                let (float, integer, boolean, text) = values(self.mix, shape, n);
                let [e, f, g, h] = shape.fields;
                let fields = [
                    (e, FieldRef::Float(float)),
                    (f, FieldRef::Integer(integer)),
                    (g, FieldRef::Boolean(boolean)),
                    (h, FieldRef::String(text)),
                ];
                let timestamp = Some(Timestamp::from_nanos(timestamp(n)));
                let point =
                    PointRef { measurement: shape.measurement, tags: &tags, fields: &fields, timestamp };
                encoder.encode_ref(black_box(&point), || 0, &mut out).map_err(|error| anyhow!("{error}"))?;
            }
            Ok(())
        })
    }

    fn series(&self, shapes: &[Shape]) -> Result<Figures> {
        let encoder = Encoder::new(Precision::Nanoseconds, &LineRules::default())?;
        let prepare = |shape: &Shape| encoder.prepare(&shape.series());
        let series = shapes.iter().map(prepare).collect::<Result<Vec<_>, _>>()?;
        let mut out = Vec::with_capacity(4 << 20);
        measured(self.points, || {
            for n in 0..self.points {
                if n % BODY_POINTS == 0 {
                    black_box(&mut out).clear();
                }
                let which = n as usize % shapes.len();
                let timestamp = Some(Timestamp::from_nanos(timestamp(n)));
                series[which]
                    .encode(black_box(values(self.mix, &shapes[which], n)), timestamp, || 0, &mut out)
                    .map_err(|error| anyhow!("{error}"))?;
            }
            Ok(())
        })
    }

    fn questdb(&self, shapes: &[Shape]) -> Result<Figures> {
        let rows = shapes.iter().map(Row::new).collect::<Result<Vec<_>>>()?;
        let mut out = Buffer::new(ProtocolVersion::V1);
        out.reserve(4 << 20);
        measured(self.points, || {
            for n in 0..self.points {
                if n % BODY_POINTS == 0 {
                    black_box(&mut out).clear();
                }
                rows[n as usize % rows.len()].write(&mut out, self.mix, n)?;
            }
            Ok(())
        })
    }
}

impl Push {
    pub fn run(&self) -> Result<Figures> {
        let db = influx_spool::Database::builder("versus")
            // Nobody listens there.
            .http("http://127.0.0.1:9")
            .gzip(false)
            .linger(Duration::from_secs(3_600))
            .when_full(WhenFull::DropOldest)
            .configure(|config| {
                config.queue.points_max = QUEUE_POINTS.try_into().unwrap_or(std::num::NonZeroUsize::MIN);
                config.batch.points_max = std::num::NonZeroUsize::MAX;
            })
            .start()?;
        let shapes = self.load.mix.shapes();
        let prepare = |shape: &Shape| db.series(&shape.series());
        let series = shapes.iter().map(prepare).collect::<Result<Vec<_>, _>>()?;
        let push = |n: u64| push_one(&series, &shapes, self.load.mix, n);
        (0..2 * QUEUE_POINTS as u64).try_for_each(push)?;
        let mut figures =
            measured(self.load.points, || self.load.produce(|mut share| share.try_for_each(push)))?;
        // Of the threads that push: what the others do meanwhile is not their caller's time.
        let rate = figures.get(&Figure::PointsPerSecond).map(|rate| 1e9 / rate * self.load.producers as f64);
        figures.extend(rate.map(|nanoseconds| (Figure::Nanoseconds, nanoseconds)));
        figures.insert(Figure::MicrosecondsP99, self.slowest(push)?);
        Ok(figures)
    }

    /// How long a push takes, its wait for the lock included, for all but one in a hundred.
    fn slowest(&self, push: impl Fn(u64) -> Result<()> + Sync) -> Result<f64> {
        let timed = |share: std::ops::Range<u64>| {
            let time = |n| {
                let start = Instant::now();
                push(n).map(|()| start.elapsed())
            };
            share.map(time).collect::<Result<Vec<_>>>()
        };
        let mut times = thread::scope(|scope| {
            let threads: Vec<_> = self.load.shares().map(|share| scope.spawn(|| timed(share))).collect();
            threads
                .into_iter()
                .map(|thread| crate::writers::joined(thread.join()))
                .collect::<Result<Vec<_>>>()
        })?
        .concat();
        times.sort_unstable();
        let slow = times.get(times.len() * 99 / 100).copied().unwrap_or_default();
        Ok(slow.as_secs_f64() * 1e6)
    }
}

fn push_one(series: &[Pusher], shapes: &[Shape], mix: Mix, n: u64) -> Result<()> {
    let which = n as usize % shapes.len();
    let pushed = series[which].push_at(Timestamp::from_nanos(timestamp(n)), values(mix, &shapes[which], n));
    pushed.map(drop).map_err(|error| anyhow!("push: {error}"))
}
