//! The receiving end: a process of its own, so that its cost is not the writer's.
//!
//! It answers 204 to every write and checks that every point arrived. Lines that come plain are read as they come; compressed
//! bodies are kept until somebody asks what has arrived, which is after the run, so that unpacking takes no core from
//! the writer.

mod numbers;
mod remote_write;
mod server;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};

pub use server::serve;

/// What has arrived.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Tally {
    pub requests: u64,
    /// Bytes of bodies, as they came.
    pub body_bytes: u64,
    pub lines: u64,
    /// Points by their numbers: each counts once, however often it came.
    pub distinct: u64,
    /// Samples of Prometheus' remote write.
    pub samples: u64,
    /// How long each point was under way, in nanoseconds from its timestamp to its body's last byte, sorted. Only
    /// where the sink was asked to look at the clock, and of plain bodies.
    pub delays: Vec<i64>,
}

/// Where a sink is, for those who write to it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sink {
    address: String,
}

/// A running sink, killed when dropped.
pub struct SinkProcess {
    child: Child,
    pub sink: Sink,
}

/// Whether the sink looks at the clock for every body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    Ignored,
    /// It compares it with each line's timestamp.
    Read,
}

impl SinkProcess {
    pub fn start(clock: Clock) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("sink").stdout(Stdio::piped());
        if clock == Clock::Read {
            command.arg("--clock");
        }
        let mut child = command.spawn().context("start the sink")?;
        let mut address = String::new();
        let output = child.stdout.take().context("the sink's output")?;
        BufReader::new(output).read_line(&mut address).context("read the sink's address")?;
        Ok(Self { child, sink: Sink { address: address.trim().to_owned() } })
    }
}

impl Drop for SinkProcess {
    fn drop(&mut self) {
        // It may be gone already; then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Sink {
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn tally(&self) -> Result<Tally> {
        Ok(serde_json::from_str(&self.ask("/tally")?)?)
    }

    /// What has arrived, but for compressed bodies, which stay as they are.
    pub fn glance(&self) -> Result<Tally> {
        Ok(serde_json::from_str(&self.ask("/glance")?)?)
    }

    /// Has every write answered with 503 from now on.
    pub fn refuse(&self) -> Result<()> {
        self.ask("/refuse").map(drop)
    }

    /// Has writes answered with 204 again.
    pub fn accept(&self) -> Result<()> {
        self.ask("/accept").map(drop)
    }

    fn ask(&self, path: &str) -> Result<String> {
        let mut connection = TcpStream::connect(&self.address).context("connect to the sink")?;
        write!(connection, "GET {path} HTTP/1.1\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer)?;
        let Some((head, body)) = answer.split_once("\r\n\r\n") else { bail!("the sink said {answer:?}") };
        ensure!(head.starts_with("HTTP/1.1 200"), "the sink said {head:?}");
        Ok(body.to_owned())
    }
}

impl Tally {
    /// Every one of `points` points has arrived, and none twice.
    pub fn check(&self, points: u64) -> Result<()> {
        ensure!(self.distinct == points, "{} of {points} points arrived", self.distinct);
        ensure!(self.lines == points, "{} points came twice", self.lines.saturating_sub(points));
        Ok(())
    }

    /// The delay that all but one in a hundred points were under, or all but one in two, in milliseconds.
    pub fn delay(&self, quantile: f64) -> Option<f64> {
        let last = self.delays.len().checked_sub(1)?;
        let place = (last as f64 * quantile).round() as usize;
        self.delays.get(place).map(|nanos| *nanos as f64 / 1e6)
    }
}
