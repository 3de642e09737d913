//! The program `influx-spool` as a user runs it.

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The program at work. Ended by SIGKILL when dropped.
pub struct Program {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Arc<Said>,
    listener: Option<JoinHandle<()>>,
}

/// What it came to.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

#[derive(Default)]
struct Said {
    text: Mutex<String>,
    changed: Condvar,
}

impl Program {
    /// Starts it with an open standard input.
    pub fn start(args: &[&str]) -> Self {
        Self::start_in(args, &[])
    }

    /// The same, with these in its environment.
    pub fn start_in(args: &[&str], environment: &[(&str, &Path)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_influx-spool"))
            .args(args)
            .env_remove("RUST_LOG")
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program can be run");
        let mut stdout = child.stdout.take().expect("it is piped");
        let mut stderr = child.stderr.take().expect("it is piped");
        let said = Arc::new(Said::default());
        let heard = Arc::clone(&said);
        let listener = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = stderr.read(&mut bytes) {
                heard.text.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..length]));
                heard.changed.notify_all();
            }
        });
        let printed = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            stdout.read_to_end(&mut bytes).expect("standard output can be read");
            bytes
        });
        let stdin = child.stdin.take();
        Self { child, stdin, stdout: Some(printed), stderr: said, listener: Some(listener) }
    }

    /// Runs it to its end, with this input.
    pub fn run(args: &[&str], input: impl AsRef<[u8]>) -> Ended {
        let mut program = Self::start(args);
        program.feed(input);
        program.end()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes to its standard input. That it reads no more is fine.
    pub fn feed(&mut self, input: impl AsRef<[u8]>) {
        let _ = self.stdin.as_mut().expect("its input is open").write_all(input.as_ref());
    }

    /// Takes its standard input, to be written to by another thread.
    pub fn take_stdin(&mut self) -> ChildStdin {
        self.stdin.take().expect("its input is open")
    }

    /// Sends it a signal: `INT`, `TERM`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status();
        assert!(sent.expect("there is a kill").success());
    }

    /// Waits until it has said this on standard error.
    pub fn wait_for_words(&self, words: &str, deadline: Duration) {
        let end = Instant::now() + deadline;
        let mut text = self.stderr.text.lock().unwrap();
        while !text.contains(words) {
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "it said {text:?}, not {words:?}");
            text = self.stderr.changed.wait_timeout(text, left).unwrap().0;
        }
    }

    /// Ends its input and waits for its end.
    pub fn end(mut self) -> Ended {
        drop(self.stdin.take());
        self.wait()
    }

    /// Waits for its end, with the input open.
    pub fn wait(mut self) -> Ended {
        let stdout = self.stdout.take().expect("it is taken once").join().expect("the reader ends");
        self.listener.take().expect("it is taken once").join().expect("the listener ends");
        let status = self.child.wait().expect("it is our child");
        let stderr = std::mem::take(&mut *self.stderr.text.lock().unwrap());
        Ended { status, stdout: String::from_utf8(stdout).expect("it prints UTF-8"), stderr }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    #[track_caller]
    pub fn check_code(&self, code: i32) -> &Self {
        assert_eq!(self.status.code(), Some(code), "{self:?}");
        self
    }

    #[track_caller]
    pub fn check_signal(&self, signal: i32) {
        assert_eq!(self.status.signal(), Some(signal), "{self:?}");
    }

    /// The one JSON object it printed.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        assert_eq!(self.stdout.lines().count(), 1, "{self:?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}
