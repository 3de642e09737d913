//! vmagent, of Debian's package `victoria-metrics`: fed with ready lines over HTTP, it forwards what it got by Prometheus'
//! remote write.
//!
//! Only its own process is measured, until the sink has every sample; making the lines and feeding them costs it
//! nothing. It compresses with snappy. Its queue on disk is used only while the receiver does not keep up; what it has taken and
//! not sent is in memory until then. Each numeric field becomes a sample; a string becomes a zero.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::feeder::Feeder;
use super::{Load, batches};
use crate::figures::{self, Figures};
use crate::lines;
use crate::sink::Sink;
use crate::usage::{Usage, peak_memory};

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its producers are connections.
    pub load: Load,
    pub batch_points: u64,
}

/// Fields of a point, each of which becomes a sample.
pub const SAMPLES_PER_POINT: u64 = 4;

/// Longer than it ever took, on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(120);

/// Its name and version, if it is installed. Debian's does not know its version; the package does.
pub fn version() -> Option<String> {
    Command::new("vmagent").arg("-version").output().ok()?;
    let package = Command::new("dpkg-query").args(["-W", "-f", "${Version}", "victoria-metrics"]).output();
    let version =
        package.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    Some(format!("vmagent {}", if version.is_empty() { "of unknown version" } else { &version }))
}

impl Run {
    pub fn run(&self, sink: &Sink, dir: &Path) -> Result<Figures> {
        let bodies = self.bodies()?;
        let agent = Agent::start(sink, dir)?;
        let (before, start) = (agent.usage()?, Instant::now());
        thread::scope(|scope| {
            let feeders: Vec<_> = bodies
                .iter()
                .map(|bodies| {
                    scope.spawn(|| -> Result<()> {
                        let mut feeder = Feeder::connect(&agent.address)?;
                        bodies.iter().try_for_each(|body| feeder.post("/write", body))
                    })
                })
                .collect();
            feeders.into_iter().try_for_each(|feeder| super::joined(feeder.join()))
        })?;
        agent.wait_for(sink, self.load.points * SAMPLES_PER_POINT)?;
        let elapsed = start.elapsed();
        let peak = peak_memory(&agent.child.id().to_string())?;
        figures::of(self.load.points, elapsed, agent.usage()?.since(before), peak)
    }

    /// Ready bodies, for each connection.
    fn bodies(&self) -> Result<Vec<Vec<Vec<u8>>>> {
        let body = |batch: std::ops::Range<u64>| Ok(lines::text(self.load.mix, batch.start, batch.end)?.0);
        self.load.shares().map(|share| batches(share, self.batch_points).map(body).collect()).collect()
    }
}

/// A running vmagent, killed when dropped.
struct Agent {
    child: Child,
    address: String,
}

impl Agent {
    fn start(sink: &Sink, dir: &Path) -> Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let address = format!("127.0.0.1:{port}");
        let log = fs::File::create(dir.join("vmagent.log"))?;
        let child = Command::new("vmagent")
            .arg(format!("-httpListenAddr={address}"))
            .arg(format!("-remoteWrite.url={}/api/v1/write", sink.url()))
            .arg(format!("-remoteWrite.tmpDataPath={}", dir.join("vmagent").display()))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("start vmagent")?;
        let mut agent = Self { child, address };
        let deadline = Instant::now() + PATIENCE;
        while Feeder::connect(&agent.address).is_err() {
            if agent.child.try_wait()?.is_some() || Instant::now() > deadline {
                bail!("vmagent did not start: {}", fs::read_to_string(dir.join("vmagent.log"))?);
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(agent)
    }

    fn usage(&self) -> Result<Usage> {
        Usage::of(self.child.id())
    }

    fn wait_for(&self, sink: &Sink, samples: u64) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while sink.glance()?.samples < samples {
            if Instant::now() > deadline {
                bail!("{} of {samples} samples arrived", sink.glance()?.samples);
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may be gone already; then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
