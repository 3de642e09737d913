//! How long a point is under way that comes alone.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, anyhow};
use influx_spool::PageSize;
use serde::{Deserialize, Serialize};

use super::paced;
use crate::figures::Figures;
use crate::lines::{Mix, values};
use crate::sink::Sink;
use crate::writers::spool::{self, Durability, Setting};

/// The sink takes the time. Points are stamped when they are pushed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    pub durability: Durability,
    pub points_per_second: u64,
    pub seconds: u64,
}

impl Latency {
    pub const fn points(&self) -> u64 {
        self.points_per_second * self.seconds
    }

    pub fn run(&self, sink: &Sink, dir: &Path) -> Result<Figures> {
        let setting =
            Setting { durability: self.durability, page_size: PageSize::default(), ..Setting::default() };
        let builder = setting.builder(&sink.url(), &dir.join("versus.db")).linger(Duration::ZERO);
        let db = builder.start()?;
        let shape = &Mix::Realistic.shapes()[0];
        let series = db.series(&shape.series())?;
        paced(self.points_per_second, Duration::from_secs(self.seconds), |n| {
            let pushed = series.push(values(Mix::Realistic, shape, n));
            pushed.map(drop).map_err(|error| anyhow!("push: {error}"))
        })?;
        spool::flush(&db)?;
        spool::stop(&db)?;
        Ok(Figures::new())
    }
}
