//! What a process has used so far, as the kernel counts it.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::resource::{UsageWho, getrusage};
use nix::unistd::{SysconfVar, sysconf};

#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// User and system time, of all threads.
    pub cpu: Duration,
    /// Bytes that it caused to be written to disk.
    pub written: u64,
    /// Times that a thread went to sleep of its own accord.
    pub voluntary_switches: u64,
}

impl Usage {
    /// Of this process, to the microsecond.
    pub fn now() -> Result<Self> {
        let usage = getrusage(UsageWho::RUSAGE_SELF)?;
        let time = |value: nix::sys::time::TimeVal| {
            Duration::from_micros((value.tv_sec() * 1_000_000 + value.tv_usec()).unsigned_abs())
        };
        Ok(Self {
            cpu: time(usage.user_time()) + time(usage.system_time()),
            written: written("self")?,
            voluntary_switches: usage.voluntary_context_switches().unsigned_abs(),
        })
    }

    /// Of another process, to a hundredth of a second.
    pub fn of(pid: u32) -> Result<Self> {
        let pid = pid.to_string();
        let (_, cpu) = name_and_cpu(&read(&pid, "stat")?)?;
        Ok(Self { cpu, written: written(&pid)?, voluntary_switches: 0 })
    }

    pub fn since(self, earlier: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(earlier.cpu),
            written: self.written.saturating_sub(earlier.written),
            voluntary_switches: self.voluntary_switches.saturating_sub(earlier.voluntary_switches),
        }
    }
}

/// CPU time of those threads of this process whose names begin so, to a hundredth of a second each.
pub fn cpu_of_threads(name_begin: &str) -> Result<Duration> {
    let mut sum = Duration::ZERO;
    for thread in fs::read_dir("/proc/self/task").context("list threads")? {
        let path = thread?.path().join("stat");
        // One that has ended meanwhile is gone.
        let Ok(stat) = fs::read_to_string(&path) else { continue };
        let (name, cpu) = name_and_cpu(&stat)?;
        if name.starts_with(name_begin) {
            sum += cpu;
        }
    }
    Ok(sum)
}

/// What a `stat` says of a process or a thread: man proc_pid_stat.
fn name_and_cpu(stat: &str) -> Result<(&str, Duration)> {
    // The name, in parentheses, may hold anything. After it, fields 14 and 15 are user and system time.
    let (before, after_name) = stat.rsplit_once(')').context("find the end of the name")?;
    let (_, name) = before.split_once('(').context("find the name")?;
    let ticks: u64 = after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(str::parse::<u64>)
        .sum::<Result<_, _>>()
        .context("read ticks")?;
    let a_second = sysconf(SysconfVar::CLK_TCK)?.context("ask for the length of a tick")?;
    Ok((name, Duration::from_secs_f64(ticks as f64 / a_second as f64)))
}

/// The most memory that a process had at any time, in bytes. `process` is an identifier or `self`.
pub fn peak_memory(process: &str) -> Result<u64> {
    status(process, "VmHWM:")
}

/// The memory that it has now.
pub fn memory(process: &str) -> Result<u64> {
    status(process, "VmRSS:")
}

fn status(process: &str, name: &str) -> Result<u64> {
    let status = read(process, "status")?;
    let line =
        status.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("find {name}"))?;
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse().context("read kilobytes")?;
    Ok(kilobytes * 1024)
}

fn written(process: &str) -> Result<u64> {
    let io = read(process, "io")?;
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes:")).context("find write_bytes")?;
    line.trim().parse().context("read write_bytes")
}

fn read(process: &str, file: &str) -> Result<String> {
    let path = format!("/proc/{process}/{file}");
    fs::read_to_string(&path).with_context(|| format!("read {path}"))
}
