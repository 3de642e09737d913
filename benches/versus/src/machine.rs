//! What all of it ran on, and which versions took part.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::writers::vmagent;

/// Where the time of all processors went since the system was started, in ticks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ticks {
    busy: u64,
    /// When something wanted to run, and the host let other machines run instead.
    stolen: u64,
}

impl Ticks {
    pub fn now() -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let first = stat.lines().next().unwrap_or_default();
        let ticks: Vec<u64> = first.split_whitespace().skip(1).map_while(|word| word.parse().ok()).collect();
        // man proc_stat.
        let [user, nice, system, _idle, _iowait, irq, softirq, stolen, ..] = ticks[..] else {
            return Self::default();
        };
        Self { busy: user + nice + system + irq + softirq, stolen }
    }

    /// The part of the time since then that the host kept from who wanted to run.
    fn share_stolen(self) -> f64 {
        let now = Self::now();
        let stolen = now.stolen.saturating_sub(self.stolen) as f64;
        let asked_for = stolen + now.busy.saturating_sub(self.busy) as f64;
        if asked_for > 0.0 { stolen / asked_for } else { 0.0 }
    }
}

/// As lines of a list.
pub fn description(dir: &Path, begin: Ticks) -> Vec<String> {
    let crates =
        ["questdb-rs", "influxdb2", "influxdb"].map(|name| format!("{name} {}", locked_version(name)));
    let vmagent = vmagent::version().unwrap_or_else(|| "vmagent: absent".to_owned());
    vec![
        format!("{}, {} cores, {} GB of memory", processor(), cores(), memory_gigabytes()),
        format!("{}; spools on {}", said("uname", &["-sr"]), file_system(dir)),
        format!(
            "{}; release build, no link-time optimisation, no instructions of one machine only",
            said("rustc", &["--version"])
        ),
        format!(
            "influx-spool {} ({}); {}; {vmagent}",
            locked_version("influx-spool"),
            commit(),
            crates.join(", ")
        ),
        format!(
            "the host gave {:.0} % of the time that was asked for to other machines",
            100.0 * begin.share_stolen()
        ),
    ]
}

fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or_else(|| "a processor without a name".to_owned(), |(_, name)| name.trim().to_owned())
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(0, usize::from)
}

fn memory_gigabytes() -> u64 {
    let info = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = info.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kilobytes = total.and_then(|total| total.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kilobytes.unwrap_or_default().div_ceil(1 << 20)
}

/// The type of the file system that a folder is on: of all mounts that lead to it, the one with the longest path.
fn file_system(dir: &Path) -> String {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let mount = |line: &str| {
        let mut words = line.split(' ');
        let (_, place, kind) = (words.next()?, words.next()?.to_owned(), words.next()?.to_owned());
        dir.starts_with(&place).then_some((place.len(), kind))
    };
    mounts
        .lines()
        .filter_map(mount)
        .max()
        .map_or_else(|| "an unknown file system".to_owned(), |(_, kind)| kind)
}

/// The version of a crate as this program was built with it.
fn locked_version(name: &str) -> &'static str {
    let lock = include_str!("../Cargo.lock");
    let entry = format!("name = \"{name}\"\nversion = \"");
    lock.split_once(&entry).and_then(|(_, rest)| rest.split_once('"')).map_or("?", |(version, _)| version)
}

fn commit() -> String {
    said("git", &["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty"])
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let said =
        output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    if said.is_empty() { format!("{program} absent") } else { said }
}
