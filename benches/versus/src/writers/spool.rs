//! influx-spool itself, from push to the sink's answer.

use std::ops::Range;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use influx_spool::{
    Database, DatabaseBuilder, DatabaseHandle, Fate, PageSize, PointRef, PushError, PushReason, SeriesPusher,
    Timestamp, WhenFull,
};
use serde::{Deserialize, Serialize};

use super::Load;
use crate::figures::{Figure, Figures, measured};
use crate::lines::{Mix, Shape, TagRefs, timestamp, values};
use crate::sink::Sink;
use crate::usage::{Usage, cpu_of_threads};

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub load: Load,
    pub setting: Setting,
}

/// How a database is set. What is not here is left at its default.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    pub gzip: bool,
    pub durability: Durability,
    pub way: Way,
    pub in_flight: usize,
    pub queue_points: usize,
    /// Of a spool whose bodies are not compressed.
    pub page_size: PageSize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Durability {
    /// Every batch is synced to disk before it is sent: `loss_window = 0`, `sync = full`.
    Each,
    /// The default: what is not answered within a second is stored.
    Window,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Way {
    /// Names and tags are encoded once.
    Series,
    /// Every push names all of its point, borrowed.
    Borrowed,
}

/// How long a producer lets a full queue be before it tries again: in less than a batch is made at full speed.
const FULL_QUEUE: Duration = Duration::from_millis(1);

pub const DEADLINE: Duration = Duration::from_secs(300);

impl Default for Setting {
    /// Durable, in order, plain, with pages for that. The queue holds 40 batches: what a disk may hold up while 2.5 million points a second come in
    /// is less than a tenth of a second's worth then.
    fn default() -> Self {
        Self {
            gzip: false,
            durability: Durability::Each,
            way: Way::Series,
            in_flight: 1,
            queue_points: 200_000,
            page_size: PageSize::Large,
        }
    }
}

impl Setting {
    pub fn builder(&self, url: &str, spool: &Path) -> DatabaseBuilder {
        let builder = Database::builder("versus").http(url).spool(spool).gzip(self.gzip);
        let builder = match self.durability {
            Durability::Each => builder.loss_window(Duration::ZERO),
            Durability::Window => builder,
        };
        let setting = *self;
        builder.when_full(WhenFull::Refuse).configure(move |config| {
            if let Some(spool) = config.spool.as_mut().filter(|_| !setting.gzip) {
                spool.page_size = setting.page_size;
            }
            config.http.in_flight = setting.in_flight.try_into().unwrap_or(std::num::NonZeroUsize::MIN);
            config.queue.points_max = setting.queue_points.try_into().unwrap_or(std::num::NonZeroUsize::MIN);
        })
    }
}

impl Run {
    pub fn run(&self, sink: &Sink, dir: &Path) -> Result<Figures> {
        let mut parts = Figures::new();
        let mut figures = measured(self.load.points, || {
            let db = self.setting.builder(&sink.url(), &dir.join("versus.db")).start()?;
            self.load.produce(|share| push(&db, self.load.mix, self.setting.way, share))?;
            flush(&db)?;
            parts = parts_of_cpu(self.load.points)?;
            stop(&db)
        })?;
        figures.append(&mut parts);
        Ok(figures)
    }
}

/// Which threads the CPU time went to so far. Those that push have ended: theirs is what is left.
fn parts_of_cpu(points: u64) -> Result<Figures> {
    let parts = [
        (Figure::CpuSealing, "influx-spool-se"),
        (Figure::CpuStoring, "influx-spool-di"),
        (Figure::CpuSending, "actix-rt"),
    ];
    let mut left = Usage::now()?.cpu;
    let mut figures = Figures::new();
    for (figure, name) in parts {
        let cpu = cpu_of_threads(name)?;
        left = left.saturating_sub(cpu);
        figures.insert(figure, cpu.as_secs_f64() * 1e6 / points as f64);
    }
    figures.insert(Figure::CpuPushing, left.as_secs_f64() * 1e6 / points as f64);
    Ok(figures)
}

/// Pushes the points of a share, waiting while the queue is full.
pub fn push(db: &DatabaseHandle, mix: Mix, way: Way, share: Range<u64>) -> Result<()> {
    let shapes = mix.shapes();
    match way {
        Way::Series => {
            let series =
                shapes.iter().map(|shape| db.series(&shape.series())).collect::<Result<Vec<_>, _>>()?;
            for n in share {
                let which = n as usize % shapes.len();
                until_accepted(|| push_values(&series[which], mix, &shapes[which], n))?;
            }
        }
        Way::Borrowed => {
            let tags: Vec<_> = shapes.iter().map(Shape::tag_refs).collect();
            for n in share {
                let which = n as usize % shapes.len();
                until_accepted(|| push_borrowed(db, mix, &shapes[which], &tags[which], n))?;
            }
        }
    }
    Ok(())
}

pub type Pusher = SeriesPusher<(f64, i64, bool, &'static str)>;

fn push_values(series: &Pusher, mix: Mix, shape: &Shape, n: u64) -> Result<(), PushError<()>> {
    series.push_at(Timestamp::from_nanos(timestamp(n)), values(mix, shape, n)).map(drop)
}

fn push_borrowed(
    db: &DatabaseHandle,
    mix: Mix,
    shape: &Shape,
    tags: &TagRefs<'_>,
    n: u64,
) -> Result<(), PushError<()>> {
    let fields = shape.field_refs(values(mix, shape, n));
    let timestamp = Some(Timestamp::from_nanos(timestamp(n)));
    db.push_ref(&PointRef { measurement: shape.measurement, tags, fields: &fields, timestamp }).map(drop)
}

/// Pushes again and again while the queue is full.
pub fn until_accepted(push: impl Fn() -> Result<(), PushError<()>>) -> Result<()> {
    loop {
        match push() {
            Ok(()) => return Ok(()),
            Err(error) if error.reason == PushReason::Full => thread::sleep(FULL_QUEUE),
            Err(error) => bail!("push: {error}"),
        }
    }
}

/// A prepared series for each shape, on one thread.
pub struct SeriesOf {
    mix: Mix,
    shapes: Vec<Shape>,
    series: Vec<Pusher>,
}

impl SeriesOf {
    pub fn new(db: &DatabaseHandle, mix: Mix) -> Result<Self> {
        let shapes = mix.shapes();
        let series = shapes.iter().map(|shape| db.series(&shape.series())).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { mix, shapes, series })
    }

    /// Pushes point `n`, as soon as there is room.
    pub fn push(&self, n: u64) -> Result<()> {
        let which = n as usize % self.shapes.len();
        until_accepted(|| push_values(&self.series[which], self.mix, &self.shapes[which], n))
    }
}

/// Waits until everything is delivered that another process has left.
pub fn flush_backlog(db: &DatabaseHandle) -> Result<()> {
    let report = wait(db.flush(DEADLINE))??;
    ensure!(report.complete, "{} points are pending after the flush", report.pending);
    Ok(())
}

/// Waits until everything is delivered.
pub fn flush(db: &DatabaseHandle) -> Result<()> {
    let report = wait(db.flush(DEADLINE))??;
    ensure!(report.complete, "{} points are pending after the flush", report.pending);
    let ledger = db.stats().ledger;
    let (accepted, delivered) = (ledger.accepted().points, ledger.of(Fate::Delivered).points);
    ensure!(accepted == delivered, "{delivered} of {accepted} points were delivered");
    Ok(())
}

/// Stops it, the spool's last checkpoint included. What is not delivered by now stays in the spool.
pub fn stop(db: &DatabaseHandle) -> Result<()> {
    wait(db.stop(Duration::ZERO))??;
    ensure!(wait(db.closed(DEADLINE))??, "the spool was not closed");
    Ok(())
}

/// Waits for a call.
pub fn wait<T>(call: impl Future<Output = T>) -> Result<T> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("make a runtime")?;
    Ok(runtime.block_on(call))
}
