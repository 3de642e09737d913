//! A start with a spool in which much lies, and a server that is there.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use super::backfill::{Fill, unlimited};
use crate::figures::{Figure, Figures};
use crate::sink::Sink;
use crate::writers::spool::{self, Setting};

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Restart {
    pub fill: Fill,
}

const PATIENCE: Duration = Duration::from_secs(60);

impl Restart {
    /// The process ends with the spool as it is: what is in it is of no more interest.
    pub fn run(&self, sink: &Sink, dir: &Path) -> Result<Figures> {
        let start = Instant::now();
        let setting = Setting::default();
        let db = setting.builder(&sink.url(), &dir.join("versus.db")).configure(unlimited).start()?;
        let one = self.fill.load;
        spool::push(&db, one.mix, setting.way, one.points..one.points + 1)?;
        let pushed = start.elapsed();
        while sink.glance()?.requests == 0 {
            ensure!(start.elapsed() < PATIENCE, "nothing was sent");
            std::thread::sleep(Duration::from_millis(1));
        }
        let sent = start.elapsed();
        Ok(Figures::from([
            (Figure::MillisecondsToPush, pushed.as_secs_f64() * 1e3),
            (Figure::MillisecondsToSend, sent.as_secs_f64() * 1e3),
        ]))
    }
}
