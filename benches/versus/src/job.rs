//! One measured run, in a process of its own, so that what the kernel counts is this run's alone.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::figures::{Figure, Figures};
use crate::sink::{Clock, Sink, SinkProcess, Tally};
use crate::writers::{influxdb, influxdb2, questdb, spool, vmagent};
use crate::{micro, yardsticks};

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Job {
    Spool(spool::Run),
    Questdb(questdb::Run),
    Influxdb(influxdb::Run),
    Influxdb2(influxdb2::Run),
    Vmagent(vmagent::Run),
    Yardstick(yardsticks::Run),
    Encode(micro::Encode),
    Push(micro::Push),
}

/// What has to be at the sink when a run is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arrival {
    Nothing,
    Points(u64),
    Samples(u64),
}

impl Job {
    /// Starts a sink and a process that does the work, and checks that every point arrived.
    pub fn run(&self, dir: &Path) -> Result<Figures> {
        let sink = SinkProcess::start(Clock::Ignored)?;
        let dir = tempfile::Builder::new().prefix("run-").tempdir_in(dir)?;
        let output = Command::new(std::env::current_exe()?)
            .arg("work")
            .arg(serde_json::to_string(self)?)
            .arg(serde_json::to_string(&sink.sink)?)
            .arg(dir.path())
            .stderr(Stdio::inherit())
            .output()
            .context("start the writer's process")?;
        ensure!(output.status.success(), "the writer ended with {}", output.status);
        let mut figures: Figures = serde_json::from_slice(&output.stdout).context("read the figures")?;
        let tally = sink.sink.tally()?;
        match self.arrival() {
            Arrival::Nothing => {}
            Arrival::Points(points) => {
                tally.check(points)?;
                add(&mut figures, &tally, points);
            }
            Arrival::Samples(samples) => {
                ensure!(tally.samples == samples, "{} of {samples} samples arrived", tally.samples);
                add(&mut figures, &tally, samples / vmagent::SAMPLES_PER_POINT);
            }
        }
        Ok(figures)
    }

    /// Does the work, in this process.
    pub fn work(&self, sink: &Sink, dir: &Path) -> Result<Figures> {
        match self {
            Self::Spool(run) => run.run(sink, dir),
            Self::Questdb(run) => run.run(sink),
            Self::Influxdb(run) => run.run(sink),
            Self::Influxdb2(run) => run.run(sink),
            Self::Vmagent(run) => run.run(sink, dir),
            Self::Yardstick(run) => run.run(dir),
            Self::Encode(run) => run.run(),
            Self::Push(run) => run.run(),
        }
    }

    fn arrival(&self) -> Arrival {
        match self {
            Self::Spool(run) => Arrival::Points(run.load.points),
            Self::Questdb(run) => Arrival::Points(run.load.points),
            Self::Influxdb(run) => Arrival::Points(run.load.points),
            Self::Influxdb2(run) => Arrival::Points(run.load.points),
            Self::Vmagent(run) => Arrival::Samples(run.load.points * vmagent::SAMPLES_PER_POINT),
            Self::Yardstick(_) | Self::Encode(_) | Self::Push(_) => Arrival::Nothing,
        }
    }
}

/// What the sink saw of them.
fn add(figures: &mut Figures, tally: &Tally, points: u64) {
    let points = points as f64;
    figures.insert(Figure::RequestsPerMillion, tally.requests as f64 * 1e6 / points);
    figures.insert(Figure::BodyPerPoint, tally.body_bytes as f64 / points);
    if let Some(written) = figures.get(&Figure::WrittenPerPoint).copied() {
        figures.insert(Figure::WrittenPerBody, written * points / tally.body_bytes as f64);
    }
}
