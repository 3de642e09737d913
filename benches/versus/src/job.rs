//! One measured run, in a process of its own, so that what the kernel counts is this run's alone.

use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::figures::{Figure, Figures};
use crate::scenes::backfill::{Drain, End, Fill};
use crate::scenes::fleet::Fleet;
use crate::scenes::idle::Idle;
use crate::scenes::latency::Latency;
use crate::scenes::outage::Outage;
use crate::scenes::restart::Restart;
use crate::scenes::steady::Steady;
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
    Allocations,
    Fill(Fill),
    Drain(Drain),
    Restart(Restart),
    Outage(Outage),
    Idle(Idle),
    Steady(Steady),
    Latency(Latency),
    Fleet(Fleet),
}

/// What has to be at the sink when a run is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arrival {
    /// Nothing is sent, or the run ends before all is.
    Unchecked,
    Points(u64),
    Samples(u64),
}

impl Job {
    /// Starts a sink and a process that does the work, and checks that every point arrived.
    pub fn run(&self, dir: &Path) -> Result<Figures> {
        let clock = if matches!(self, Self::Latency(_)) { Clock::Read } else { Clock::Ignored };
        let sink = SinkProcess::start(clock)?;
        let dir = tempfile::Builder::new().prefix("run-").tempdir_in(dir)?;
        if let Some(fill) = self.preparation() {
            let (status, _) = Self::Fill(fill).spawn(&sink.sink, dir.path())?;
            ensure!(status.success() || fill.end == End::Kill, "the spool was not filled: {status}");
        }
        let (status, output) = self.spawn(&sink.sink, dir.path())?;
        ensure!(status.success(), "the writer ended with {status}");
        let mut figures: Figures = serde_json::from_slice(&output).context("read the figures")?;
        let tally = sink.sink.tally()?;
        match self.arrival() {
            Arrival::Unchecked => {}
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

    /// Does the work in a process of its own. What it prints is what it measured.
    fn spawn(&self, sink: &Sink, dir: &Path) -> Result<(ExitStatus, Vec<u8>)> {
        let output = Command::new(std::env::current_exe()?)
            .arg("work")
            .arg(serde_json::to_string(self)?)
            .arg(serde_json::to_string(sink)?)
            .arg(dir)
            .stderr(Stdio::inherit())
            .output()
            .context("start the writer's process")?;
        Ok((output.status, output.stdout))
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
            Self::Push(run) => run.run(sink),
            Self::Allocations => allocations(),
            Self::Fill(fill) => fill.run(dir),
            Self::Drain(drain) => drain.run(sink, dir),
            Self::Restart(restart) => restart.run(sink, dir),
            Self::Outage(outage) => outage.run(sink, dir),
            Self::Idle(idle) => idle.run(sink, dir),
            Self::Steady(steady) => steady.run(sink, dir),
            Self::Latency(latency) => latency.run(sink, dir),
            Self::Fleet(fleet) => fleet.run(sink, dir),
        }
    }

    /// The spool it needs.
    const fn preparation(&self) -> Option<Fill> {
        match self {
            Self::Drain(Drain { fill, .. }) | Self::Restart(Restart { fill }) => Some(*fill),
            _ => None,
        }
    }

    fn arrival(&self) -> Arrival {
        match self {
            Self::Spool(run) => Arrival::Points(run.load.points),
            Self::Questdb(run) => Arrival::Points(run.load.points),
            Self::Influxdb(run) => Arrival::Points(run.load.points),
            Self::Influxdb2(run) => Arrival::Points(run.load.points),
            Self::Vmagent(run) => Arrival::Samples(run.load.points * vmagent::SAMPLES_PER_POINT),
            Self::Push(run) if run.room == micro::Room::Drained => Arrival::Points(run.load.points),
            Self::Drain(drain) => Arrival::Points(drain.fill.load.points),
            Self::Outage(outage) => Arrival::Points(outage.load.points),
            Self::Steady(steady) => Arrival::Points(steady.points()),
            Self::Latency(latency) => Arrival::Points(latency.points()),
            Self::Yardstick(_) | Self::Encode(_) | Self::Push(_) | Self::Allocations => Arrival::Unchecked,
            Self::Fill(_) | Self::Restart(_) | Self::Idle(_) | Self::Fleet(_) => Arrival::Unchecked,
        }
    }
}

/// What the sink saw of them.
fn add(figures: &mut Figures, tally: &Tally, points: u64) {
    let points = points as f64;
    figures.insert(Figure::RequestsPerMillion, tally.requests as f64 * 1e6 / points);
    figures.insert(Figure::BodyPerPoint, tally.body_bytes as f64 / points);
    if let Some(written) = figures.get(&Figure::WrittenPerPoint).copied() {
        figures.entry(Figure::WrittenPerBody).or_insert(written * points / tally.body_bytes as f64);
    }
    figures.extend(tally.delay(0.5).map(|delay| (Figure::MillisecondsP50, delay)));
    figures.extend(tally.delay(0.99).map(|delay| (Figure::MillisecondsP99, delay)));
}

/// What the program beside this one counted.
fn allocations() -> Result<Figures> {
    let program = std::env::current_exe()?.with_file_name("allocations");
    let output = Command::new(program).stderr(Stdio::inherit()).output().context("start `allocations`")?;
    ensure!(output.status.success(), "`allocations` ended with {}", output.status);
    let count: f64 = String::from_utf8(output.stdout)?.trim().parse().context("read a number")?;
    Ok(Figures::from([(Figure::Allocations, count)]))
}
