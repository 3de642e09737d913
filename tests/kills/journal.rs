//! What the parent knows of the child: what came out of the pipe, and nothing else.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime};

use super::child::{ENVIRONMENT, Orders};

/// A child, and all it has said.
pub(crate) struct Journal {
    child: Child,
    lines: Receiver<String>,
    started: bool,
    /// Before the time of an entry, only points below its number had been pushed by the entries before.
    slices: Vec<(u64, i64)>,
    answers: Vec<(u64, String)>,
}

impl Journal {
    /// Starts the child.
    pub(crate) fn begin(orders: &Orders) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child", "--exact", "--nocapture"])
            .env(ENVIRONMENT, serde_json::to_string(orders).unwrap())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut pipe = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            while pipe.read_line(&mut line).is_ok_and(|length| length > 0) {
                if sender.send(std::mem::take(&mut line)).is_err() {
                    return;
                }
            }
        });
        Self { child, lines, started: false, slices: Vec::new(), answers: Vec::new() }
    }

    /// Reads until the child has opened its spool.
    pub(crate) fn wait_for_start(&mut self, deadline: Duration) -> bool {
        let end = Instant::now() + deadline;
        while !self.started && self.read_one(end) {}
        self.started
    }

    /// Reads on until this moment.
    pub(crate) fn wait_until(&mut self, end: Instant) {
        while self.read_one(end) {}
    }

    /// Kills the child by SIGKILL, and reads what had reached the pipe.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        while let Ok(line) = self.lines.recv() {
            self.note(&line);
        }
    }

    pub(crate) fn has_started(&self) -> bool {
        self.started
    }

    /// Answers to `persisted`: the number and the standing.
    pub(crate) fn answers(&self) -> &[(u64, String)] {
        &self.answers
    }

    /// No more points than this were pushed.
    pub(crate) fn announced(&self) -> u64 {
        self.slices.last().map_or(0, |(up_to, _)| *up_to)
    }

    /// A moment before which the point was not pushed.
    pub(crate) fn pushed_not_before(&self, number: u64) -> i64 {
        self.slices.iter().find(|(up_to, _)| number < *up_to).map_or(0, |(_, at)| *at)
    }

    /// Points a second from the first slice to the last; nothing if that was too short to tell.
    pub(crate) fn rate(&self) -> Option<f64> {
        let ((first, began), (last, ended)) = (self.slices.first()?, self.slices.last()?);
        let seconds = (ended - began) as f64 / 1e9;
        (seconds > 0.2).then(|| (last - first) as f64 / seconds)
    }

    fn read_one(&mut self, end: Instant) -> bool {
        match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                self.note(&line);
                true
            }
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => panic!("the child ended by itself"),
        }
    }

    /// A line that was cut off by the kill was not said.
    fn note(&mut self, line: &str) {
        let Some(said) = line.strip_prefix("kills: ").and_then(|line| line.strip_suffix(".\n")) else {
            return;
        };
        let mut words = said.splitn(3, ' ');
        match (words.next().unwrap(), words.next(), words.next()) {
            ("started", ..) => self.started = true,
            ("push", Some(up_to), Some(at)) => {
                self.slices.push((up_to.parse().unwrap(), at.parse().unwrap()))
            }
            ("persisted", Some(number), Some(standing)) => {
                self.answers.push((number.parse().unwrap(), standing.to_owned()));
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Nanoseconds since 1970, now.
pub(crate) fn wall_ns() -> i64 {
    i64::try_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos()).unwrap()
}
