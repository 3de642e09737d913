//! Databases that have nothing to do.

use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use influx_spool::DatabaseHandle;
use serde::{Deserialize, Serialize};

use super::fleet;
use crate::figures::{Figure, Figures};
use crate::sink::Sink;
use crate::usage::Usage;
use crate::writers::spool;

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Idle {
    pub databases: u64,
    pub seconds: u64,
}

/// Until the counters of the last points are on disk, too: they are written every ten seconds.
pub const SETTLED: Duration = Duration::from_secs(12);

impl Idle {
    pub fn run(&self, sink: &Sink, dir: &Path) -> Result<Figures> {
        let databases = fleet::start(self.databases, sink, dir, |_| {})?;
        fleet::touch(&databases)?;
        thread::sleep(SETTLED);
        let before = Usage::now()?;
        thread::sleep(Duration::from_secs(self.seconds));
        let used = Usage::now()?.since(before);
        databases.iter().try_for_each(|db: &DatabaseHandle| spool::stop(db))?;
        let seconds = self.seconds as f64;
        Ok(Figures::from([
            (Figure::VoluntarySwitches, used.voluntary_switches as f64 * 60.0 / seconds),
            (Figure::CpuShare, used.cpu.as_secs_f64() / seconds),
            (Figure::WrittenIdle, used.written as f64),
        ]))
    }
}
