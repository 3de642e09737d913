//! A server's process of this test's own.

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Seen: ready after 0.03 to 0.3 s; the rest is for a machine busy with other tests.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// Between two looks at a server that is starting; there is no event to wait for.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// A running process, ended by SIGKILL when dropped.
pub struct Process {
    child: Child,
}

impl Process {
    /// Runs a server until something listens on `port`; `None` if it exits instead, as it does when another process has
    /// taken the port.
    pub fn serve(program: &Path, args: &[String], folder: &Path, port: u16) -> Option<Self> {
        let log = File::options().create(true).append(true).open(folder.join("log")).expect("a log file");
        let child = Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle of the log"))
            .stderr(log)
            .spawn()
            .expect("the program can be run");
        let mut process = Self { child };
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            // Looked at first: on a port somebody else has, another server would answer.
            if process.child.try_wait().expect("it is our child").is_some() {
                return None;
            }
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Some(process);
            }
            assert!(Instant::now() < deadline, "{} is not ready after {READY_WITHIN:?}", program.display());
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where a program is. If it is not: `None` and a printed line, but with `CI=true` it must be there.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian keeps servers where an ordinary user's path does not lead.
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let found = folders.map(|folder| folder.join(name)).find(|path| path.is_file());
    if found.is_none() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{name} must be installed where CI=true");
        println!("skipped: {name} not found");
    }
    found
}

/// A port that nobody listened on a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}
