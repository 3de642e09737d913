//! Many databases in one process, and one that does the same work.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use influx_spool::{Config, DatabaseHandle, SeriesBuilder};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

use super::paced;
use crate::figures::{Figure, Figures};
use crate::lines::{Mix, values};
use crate::sink::Sink;
use crate::usage::{Usage, memory, peak_memory};
use crate::writers::spool::{self, Durability, Setting};

/// Everything at its default but for the size of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fleet {
    pub databases: u64,
    pub points_per_second: u64,
    pub seconds: u64,
    /// One database makes as many batches as many do if they are as small.
    pub batch_points: usize,
    /// Whether the server refuses everything: then every batch is committed.
    pub refused: bool,
}

impl Fleet {
    pub fn run(&self, sink: &Sink, dir: &Path) -> Result<Figures> {
        let alone = start(1, sink, &dir.join("alone"), |_| {})?;
        touch(&alone)?;
        let base = memory("self")?;
        let size = self.batch_points.try_into()?;
        let databases = start(self.databases, sink, dir, |config| config.batch.points_max = size)?;
        touch(&databases)?;
        let idle = memory("self")?.saturating_sub(base);
        if self.refused {
            sink.refuse()?;
        }
        let shape = &Mix::Realistic.shapes()[0];
        let series = databases.iter().map(|db| db.series(&shape.series())).collect::<Result<Vec<_>, _>>()?;
        let commits = || databases.iter().map(|db| db.stats().commits_total).sum::<u64>();
        let (before, start, earlier) = (Usage::now()?, Instant::now(), commits());
        let points = paced(self.points_per_second, Duration::from_secs(self.seconds), |n| {
            let series = &series[n as usize % series.len()];
            spool::until_accepted(|| series.push(values(Mix::Realistic, shape, n)).map(drop))
        })?;
        let elapsed = start.elapsed();
        let mut figures =
            crate::figures::of(points, elapsed, Usage::now()?.since(before), peak_memory("self")?)?;
        figures.insert(Figure::CommitsPerSecond, (commits() - earlier) as f64 / elapsed.as_secs_f64());
        let each = |bytes: u64| bytes as f64 / 1e3 / self.databases as f64;
        figures.insert(Figure::KilobytesEachIdle, each(idle));
        figures.insert(Figure::KilobytesEach, each(peak_memory("self")?.saturating_sub(base)));
        sink.accept()?;
        Ok(figures)
    }
}

/// Databases with a spool each, in this folder.
pub fn start(
    count: u64,
    sink: &Sink,
    dir: &Path,
    change: impl Fn(&mut Config) + Copy,
) -> Result<Vec<DatabaseHandle>> {
    std::fs::create_dir_all(dir)?;
    // Four files and a connection each.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    let setting =
        Setting { gzip: true, durability: Durability::Window, queue_points: 1_000_000, ..Setting::default() };
    let one = |n| {
        let builder = setting.builder(&sink.url(), &dir.join(format!("{n}.db")));
        let named = move |config: &mut Config| {
            config.name = format!("versus-{n}");
            change(config);
        };
        Ok(builder.configure(named).start()?)
    };
    (0..count).map(one).collect()
}

/// Has a point delivered by each, so that all that is made when it is first needed is there.
pub fn touch(databases: &[DatabaseHandle]) -> Result<()> {
    for db in databases {
        let series = SeriesBuilder::new("touch").fields::<(i64,)>(["value"]);
        db.series(&series)?.push((1,)).map_err(|error| anyhow!("push: {error}"))?;
    }
    databases.iter().try_for_each(spool::flush)
}
