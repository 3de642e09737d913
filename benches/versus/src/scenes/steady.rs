//! A healthy link at a steady rate, everything at its default.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use influx_spool::PageSize;
use serde::{Deserialize, Serialize};

use super::{idle, paced};
use crate::figures::{Figure, Figures};
use crate::lines::Mix;
use crate::sink::Sink;
use crate::usage::{Usage, peak_memory};
use crate::writers::spool::{self, Durability, Setting};

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Steady {
    pub mix: Mix,
    pub points_per_second: u64,
    pub seconds: u64,
    /// Seconds without a point afterwards, once the last counters are written.
    pub idle_seconds: u64,
}

impl Steady {
    pub const fn points(&self) -> u64 {
        self.points_per_second * self.seconds
    }

    pub fn run(&self, sink: &Sink, dir: &Path) -> Result<Figures> {
        let setting = Setting {
            gzip: true,
            durability: Durability::Window,
            queue_points: 1_000_000,
            page_size: PageSize::default(),
            ..Setting::default()
        };
        let db = setting.builder(&sink.url(), &dir.join("versus.db")).start()?;
        let pusher = spool::SeriesOf::new(&db, self.mix)?;
        let (start, mut first_second) = (Instant::now(), None);
        let (before, rate) = (Usage::now()?, self.points_per_second);
        let points = paced(rate, Duration::from_secs(self.seconds), |n| {
            if n == rate {
                // A new file has been made by now.
                first_second = Some((Usage::now()?, db.stats().body_bytes_sealed_total));
            }
            pusher.push(n)
        })?;
        spool::flush(&db)?;
        let (elapsed, used) = (start.elapsed(), Usage::now()?);
        let (earlier, bodies) = first_second.context("a run of more than a second")?;
        let bodies = db.stats().body_bytes_sealed_total - bodies;
        ensure!(bodies > 0, "nothing was sealed");
        let mut figures = crate::figures::of(points, elapsed, used.since(before), peak_memory("self")?)?;
        figures.insert(Figure::WrittenPerBody, used.since(earlier).written as f64 / bodies as f64);
        if self.idle_seconds > 0 {
            thread::sleep(idle::SETTLED);
            let before = Usage::now()?;
            thread::sleep(Duration::from_secs(self.idle_seconds));
            figures.insert(Figure::WrittenIdle, Usage::now()?.since(before).written as f64);
        }
        spool::stop(&db)?;
        Ok(figures)
    }
}
