//! A real influxd 1.x of this test's own, on free ports and in a folder of its own.

use std::fs::File;
use std::io;
use std::net::{TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub use super::http::Answer;
use super::http::{percent_encoded, request};

/// Seen: ready after 0.03 to 0.15 s; the rest is for a machine busy with other tests.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// Between two looks at a server that is starting; there is no event to wait for.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// A running influxd, ended by SIGKILL when dropped.
pub struct Influxd {
    folder: TempDir,
    http_port: u16,
    udp_port: u16,
    process: Option<Child>,
}

impl Influxd {
    /// Whether there is an influxd on the path.
    pub fn is_installed() -> bool {
        find_program("influxd").is_some()
    }

    /// Starts influxd, or prints `skipped: influxd not found` and answers `None`. With `CI=true` it must be there.
    pub fn start() -> Option<Self> {
        Self::start_with("")
    }

    /// Starts it with these lines in the section `[http]` of its configuration: `max-body-size = 1000`.
    pub fn start_with(http: &str) -> Option<Self> {
        let Some(program) = find_program("influxd") else {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "influxd must be installed where CI=true");
            println!("skipped: influxd not found");
            return None;
        };
        // Another process may take a port between our look and influxd's: then it exits, and others are tried.
        for _ in 0..5 {
            let mut server = Self::configure(http);
            if server.launch(&program) {
                return Some(server);
            }
        }
        panic!("influxd did not start in five attempts");
    }

    /// Its address: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.http_port)
    }

    /// The UDP port; what arrives there goes to the database `udp`, with timestamps in nanoseconds.
    pub fn udp_port(&self) -> u16 {
        self.udp_port
    }

    pub fn create_database(&self, name: &str) {
        let answer = self.query("", &format!("CREATE DATABASE \"{name}\""));
        assert_eq!(answer["results"][0].get("error"), None, "{answer}");
    }

    /// Runs a statement with `epoch=ns` and gives the answer's JSON.
    pub fn query(&self, database: &str, statement: &str) -> serde_json::Value {
        let target =
            format!("/query?epoch=ns&db={}&q={}", percent_encoded(database), percent_encoded(statement));
        let answer = self.request("POST", &target, b"").expect("influxd answers a query");
        serde_json::from_slice(&answer.body).expect("influxd answers with JSON")
    }

    /// Writes lines with timestamps in nanoseconds.
    pub fn write(&self, database: &str, lines: &[u8]) -> Answer {
        let target = format!("/write?precision=n&db={}", percent_encoded(database));
        self.request("POST", &target, lines).expect("influxd answers a write")
    }

    /// One HTTP request on a connection of its own.
    pub fn request(&self, method: &str, target: &str, body: &[u8]) -> io::Result<Answer> {
        request(self.http_port, method, target, "", body)
    }

    /// Ends the process at once, by SIGKILL. The data stays for [`Influxd::restart`].
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Starts it again with the same data and ports; ends it first if it is running.
    pub fn restart(&mut self) {
        self.kill();
        let program = find_program("influxd").expect("it was found before");
        assert!(self.launch(&program), "influxd starts again: {}", self.log());
    }

    /// What influxd logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn configure(http: &str) -> Self {
        let folder = TempDir::new().expect("a temporary folder can be made");
        let [http_port, rpc_port] = free_tcp_ports();
        let udp_port =
            UdpSocket::bind("127.0.0.1:0").and_then(|s| s.local_addr()).expect("a free port").port();
        let config = CONFIG
            .replace("FOLDER", &folder.path().display().to_string())
            .replace("HTTP_PORT", &http_port.to_string())
            .replace("RPC_PORT", &rpc_port.to_string())
            .replace("UDP_PORT", &udp_port.to_string())
            .replace("HTTP_SETTINGS", http);
        std::fs::write(folder.path().join("influxdb.conf"), config)
            .expect("the configuration can be written");
        Self { folder, http_port, udp_port, process: None }
    }

    /// Runs influxd until it answers; `false` if it exits instead.
    fn launch(&mut self, program: &PathBuf) -> bool {
        let path = self.folder.path();
        let log = File::options().create(true).append(true).open(path.join("log")).expect("a log file");
        let process = Command::new(program)
            .arg("-config")
            .arg(path.join("influxdb.conf"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle of the log"))
            .stderr(log)
            .spawn()
            .expect("influxd can be run");
        let process = self.process.insert(process);
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            // Looked at first: on a port somebody else has, another server would answer the ping.
            if process.try_wait().expect("influxd is our child").is_some() {
                self.process = None;
                return false;
            }
            if ping(self.http_port).is_ok_and(|status| status == 204) {
                return true;
            }
            assert!(Instant::now() < deadline, "influxd is not ready after {READY_WITHIN:?}");
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}

impl Drop for Influxd {
    fn drop(&mut self) {
        self.kill();
    }
}

const CONFIG: &str = r#"
reporting-enabled = false
bind-address = "127.0.0.1:RPC_PORT"
[meta]
  dir = "FOLDER/meta"
[data]
  dir = "FOLDER/data"
  wal-dir = "FOLDER/wal"
[monitor]
  store-enabled = false
[http]
  bind-address = "127.0.0.1:HTTP_PORT"
  log-enabled = false
  HTTP_SETTINGS
[[udp]]
  enabled = true
  bind-address = "127.0.0.1:UDP_PORT"
  database = "udp"
  batch-timeout = "100ms"
"#;

fn find_program(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

/// Both are held until both are known, so that they differ.
fn free_tcp_ports() -> [u16; 2] {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    listeners.map(|listener| listener.local_addr().expect("a bound socket has an address").port())
}

fn ping(port: u16) -> io::Result<u16> {
    request(port, "GET", "/ping", "", b"").map(|answer| answer.status)
}
