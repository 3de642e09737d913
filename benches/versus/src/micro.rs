//! What one point costs before it is on its way: to encode it, to push it.

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use influx_spool::{Config, Database, Encoder, LineRules, PointRef, Precision, Timestamp, WhenFull};
use nix::time::{ClockId, clock_gettime};
use questdb::ingress::{Buffer, ProtocolVersion};
use serde::{Deserialize, Serialize};

use crate::figures::{Figure, Figures, measured};
use crate::lines::{Mix, Shape, Values, timestamp, values};
use crate::sink::Sink;
use crate::writers::spool::{SeriesOf, flush};
use crate::writers::{Load, batches, questdb::Row};
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

/// Pushes, and measures the threads that do.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Push {
    pub load: Load,
    pub room: Room,
}

/// One point.
struct Drawn {
    which: usize,
    values: Values,
    time: i64,
}

/// How the queue gets room again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Room {
    /// It is emptied by the database's own threads, which seal, send and free. What counts is the CPU time of the threads that
    /// push.
    Drained,
    /// It is full and slides: the thread that pushes frees what leaves, and nobody else has much to do. What counts is the time.
    Slides,
}

/// Points that are drawn before the clock starts, and encoded over and over: too many for a processor to learn what comes next.
const DRAWN_POINTS: u64 = 100_000;

/// Room of a buffer that points are encoded into.
const BUFFER_BYTES: usize = 4 << 20;

/// Points that are pushed before the queue is let run empty: it holds as many, so that nobody waits for room.
const BURST_POINTS: u64 = 200_000;

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
        let tags: Vec<_> = shapes.iter().map(Shape::tag_refs).collect();
        let encoder = Encoder::new(Precision::Nanoseconds, &LineRules::default())?;
        self.measure(
            shapes,
            Vec::with_capacity(BUFFER_BYTES),
            Vec::clear,
            |out, Drawn { which, values, time }| {
                let shape = &shapes[*which];
                let fields = shape.field_refs(*values);
                let timestamp = Some(Timestamp::from_nanos(*time));
                let point = PointRef {
                    measurement: shape.measurement,
                    tags: &tags[*which],
                    fields: &fields,
                    timestamp,
                };
                encoder.encode_ref(&point, || 0, out).map_err(|error| anyhow!("{error}"))?;
                Ok(())
            },
        )
    }

    fn series(&self, shapes: &[Shape]) -> Result<Figures> {
        let encoder = Encoder::new(Precision::Nanoseconds, &LineRules::default())?;
        let prepare = |shape: &Shape| encoder.prepare(&shape.series());
        let series = shapes.iter().map(prepare).collect::<Result<Vec<_>, _>>()?;
        self.measure(
            shapes,
            Vec::with_capacity(BUFFER_BYTES),
            Vec::clear,
            |out, Drawn { which, values, time }| {
                let timestamp = Some(Timestamp::from_nanos(*time));
                series[*which].encode(*values, timestamp, || 0, out).map_err(|error| anyhow!("{error}"))?;
                Ok(())
            },
        )
    }

    fn questdb(&self, shapes: &[Shape]) -> Result<Figures> {
        let rows = shapes.iter().map(Row::new).collect::<Result<Vec<_>>>()?;
        let mut out = Buffer::new(ProtocolVersion::V1);
        out.reserve(BUFFER_BYTES);
        self.measure(shapes, out, Buffer::clear, |out, Drawn { which, values, time }| {
            rows[*which].write(out, *values, *time)
        })
    }

    /// Has `encode` write the points, which were drawn before, into a buffer that is emptied after every body.
    fn measure<B>(
        &self,
        shapes: &[Shape],
        mut out: B,
        clear: impl Fn(&mut B),
        encode: impl Fn(&mut B, &Drawn) -> Result<()>,
    ) -> Result<Figures> {
        let draw = |n| {
            let which = n as usize % shapes.len();
            Drawn { which, values: values(self.mix, &shapes[which], n), time: timestamp(n) }
        };
        let drawn: Vec<_> = (0..self.points.min(DRAWN_POINTS)).map(draw).collect();
        measured(self.points, || {
            // Bodies as they come round, as many as that is points.
            for body in batches(0..self.points, BODY_POINTS) {
                clear(black_box(&mut out));
                let start = body.start as usize % drawn.len();
                let points = &drawn[start..start + (body.end - body.start) as usize];
                points.iter().try_for_each(|point| encode(&mut out, black_box(point)))?;
            }
            Ok(())
        })
    }
}

impl Push {
    pub fn run(&self, sink: &Sink) -> Result<Figures> {
        match self.room {
            Room::Drained => self.drained(sink),
            Room::Slides => self.slides(),
        }
    }

    fn drained(&self, sink: &Sink) -> Result<Figures> {
        let builder = Database::builder("versus").http(sink.url()).gzip(false).when_full(WhenFull::Refuse);
        let roomy =
            |config: &mut Config| config.queue.bytes_max = (1 << 30).try_into().unwrap_or(NonZeroUsize::MAX);
        let db = builder.configure(roomy).start()?;
        let pushing = Mutex::new(Duration::ZERO);
        let mut figures = measured(self.load.points, || {
            batches(0..self.load.points, BURST_POINTS).try_for_each(|burst| {
                let load = Load { points: burst.end - burst.start, ..self.load };
                load.produce(|share| {
                    let series = SeriesOf::new(&db, load.mix)?;
                    let before = thread_time()?;
                    share.into_iter().try_for_each(|n| series.push(burst.start + n))?;
                    let took = thread_time()?.saturating_sub(before);
                    *pushing.lock().unwrap_or_else(PoisonError::into_inner) += took;
                    Ok(())
                })?;
                flush(&db)
            })
        })?;
        let pushing = pushing.into_inner().unwrap_or_else(PoisonError::into_inner);
        figures.insert(Figure::Nanoseconds, pushing.as_secs_f64() * 1e9 / self.load.points as f64);
        Ok(figures)
    }

    fn slides(&self) -> Result<Figures> {
        let db = Database::builder("versus")
            // Nobody listens there.
            .http("http://127.0.0.1:9")
            .gzip(false)
            .linger(Duration::from_secs(3_600))
            .when_full(WhenFull::DropOldest)
            .configure(|config| {
                config.queue.points_max = QUEUE_POINTS.try_into().unwrap_or(NonZeroUsize::MIN);
                config.batch.points_max = NonZeroUsize::MAX;
            })
            .start()?;
        let series = SeriesOf::new(&db, self.load.mix)?;
        (0..2 * QUEUE_POINTS as u64).try_for_each(|n| series.push(n))?;
        let mut figures = measured(self.load.points, || {
            self.load.produce(|share| share.into_iter().try_for_each(|n| series.push(n)))
        })?;
        figures.insert(Figure::MicrosecondsP99, self.slowest(|n| series.push(n))?);
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

/// The CPU time of this thread.
fn thread_time() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}
