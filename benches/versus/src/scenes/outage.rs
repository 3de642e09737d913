//! A server that refuses everything for a while: what is written to disk until all is delivered after all.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::figures::{Figures, measured};
use crate::sink::Sink;
use crate::writers::Load;
use crate::writers::spool::{self, Setting};

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outage {
    pub load: Load,
    pub gzip: bool,
}

impl Outage {
    pub fn run(&self, sink: &Sink, dir: &Path) -> Result<Figures> {
        let setting = Setting { gzip: self.gzip, ..Setting::default() };
        measured(self.load.points, || {
            // Otherwise the run would mostly wait for the next attempt.
            let often = |config: &mut influx_spool::Config| config.http.backoff_max = Duration::from_secs(1);
            let db = setting.builder(&sink.url(), &dir.join("versus.db")).configure(often).start()?;
            sink.refuse()?;
            self.load.produce(|share| spool::push(&db, self.load.mix, setting.way, share))?;
            spool::wait(db.commit(spool::DEADLINE))??;
            sink.accept()?;
            spool::flush(&db)?;
            spool::stop(&db)
        })
    }
}
