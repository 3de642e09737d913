//! A spool that is filled while no server is there, and emptied by another process, from a disk whose pages are not in memory.

use std::fs::{self, File};
use std::path::Path;

use anyhow::Result;
use influx_spool::Config;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use serde::{Deserialize, Serialize};

use crate::figures::{Figures, measured};
use crate::sink::Sink;
use crate::writers::spool::{self, Setting};
use crate::writers::{Load, joined};

/// Nobody listens there.
pub const NOWHERE: &str = "http://127.0.0.1:9";

/// Fills a spool. Measured is how fast.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fill {
    pub load: Load,
    pub gzip: bool,
    pub end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    Stop,
    /// SIGKILL, while it is being filled further, so that its log is as full as it may be.
    Kill,
}

/// Delivers what is in the spool.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drain {
    pub fill: Fill,
    pub in_flight: usize,
}

impl Fill {
    pub fn run(&self, dir: &Path) -> Result<Figures> {
        let setting = Setting { gzip: self.gzip, ..Setting::default() };
        let db = setting.builder(NOWHERE, &dir.join("versus.db")).configure(unlimited).start()?;
        let push = |load: &Load| load.produce(|share| spool::push(&db, load.mix, setting.way, share));
        let figures = measured(self.load.points, || {
            push(&self.load)?;
            Ok(spool::wait(db.commit(spool::DEADLINE))??)
        })?;
        match self.end {
            End::Stop => spool::stop(&db)?,
            End::Kill => std::thread::scope(|scope| {
                let more = scope.spawn(|| push(&self.load));
                // A quarter of a second of it is many transactions.
                std::thread::sleep(std::time::Duration::from_millis(250));
                nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL)?;
                joined(more.join())
            })?,
        }
        Ok(figures)
    }
}

/// Lets a spool be as large as the disk.
pub fn unlimited(config: &mut Config) {
    if let Some(spool) = &mut config.spool {
        spool.bytes_max = u64::MAX / 2;
    }
}

impl Drain {
    pub fn run(&self, sink: &Sink, dir: &Path) -> Result<Figures> {
        evict(dir)?;
        let setting = Setting { in_flight: self.in_flight, ..Setting::default() };
        measured(self.fill.load.points, || {
            let db = setting.builder(&sink.url(), &dir.join("versus.db")).start()?;
            spool::flush_backlog(&db)?;
            spool::stop(&db)
        })
    }
}

/// Has the system forget the pages of every file in the folder.
fn evict(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let file = File::open(entry?.path())?;
        file.sync_all()?;
        posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
    }
    Ok(())
}
