//! A process that is out of file descriptors: for sockets, and for the files of the spool.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use influx_spool::{Database, DatabaseHandle, Fate, SpoolHealth, StartError};

use super::pace::PushTimes;
use super::support::ledger::{check_arrived, numbers};
use super::support::receiver::Receiver;
use super::{LONG, run};

/// Names file and URL to the child.
const CHILD_FILE: &str = "DISK_DESCRIPTORS_FILE";
const CHILD_URL: &str = "DISK_DESCRIPTORS_URL";

/// How many descriptors the child may have.
const DESCRIPTORS: &str = "100";

const POINTS: u64 = 1_000;

#[test]
fn out_of_descriptors_points_wait_and_afterwards_all_goes_on() {
    let receiver = Receiver::start_down();
    let folder = tempfile::tempdir().unwrap();
    let mut child = Talk::start(&folder.path().join("descriptors.db"), &receiver.url());
    child.wait_for("exhausted");
    // From here on there is a server, and no socket to reach it.
    receiver.come_up();
    child.tell("the server is there");
    child.wait_for("holding");
    assert_eq!(receiver.lines().len(), 0);
    child.tell("let go");
    let end = child.wait_for("ended");
    assert_eq!(end, format!("ended: {} accepted, {} delivered, 0 pending", 3 * POINTS, 3 * POINTS));
    assert_eq!(numbers(&receiver).len() as u64, 3 * POINTS, "none twice");
    check_arrived(&receiver, 0..3 * POINTS);
    assert!(child.child.wait().unwrap().success());
}

/// Not a test of its own: what the other runs with few descriptors.
#[test]
fn child() {
    let (Some(file), Ok(url)) = (std::env::var_os(CHILD_FILE), std::env::var(CHILD_URL)) else { return };
    run(live(Path::new(&file), &url));
}

async fn live(file: &Path, url: &str) {
    let mut lines = std::io::stdin().lines();
    let db = Database::builder("descriptors")
        .http(url)
        .spool(file)
        .configure(|config| config.http.backoff_max = Duration::from_millis(200))
        .start()
        .unwrap();
    push(&db, 0..POINTS, &mut PushTimes::default());
    db.commit(LONG).await.unwrap();

    let grabber = Grabber::start();
    let mut times = PushTimes::default();
    push(&db, POINTS..2 * POINTS, &mut times);
    // The files are open.
    db.commit(LONG).await.unwrap();
    match Database::builder("another").spool(file.with_file_name("another.db")).start() {
        Err(StartError::Spool(error)) => assert!(error.is_retryable(), "{error}"),
        other => panic!("{other:?}"),
    }
    println!("exhausted");
    lines.next().unwrap().unwrap();

    // Until they have to be opened again.
    std::fs::remove_file(format!("{}-wal", file.display())).unwrap();
    push(&db, 2 * POINTS..3 * POINTS, &mut times);
    let mut events = db.subscribe();
    let words = loop {
        if let SpoolHealth::Failing(words) = db.health().spool
            && (words.contains("Too many open files") || words.contains("unable to open"))
        {
            break words;
        }
        events.next().await;
    };
    while db.health().link.is_none() {
        events.next().await;
    }
    let health = db.health();
    let stats = db.stats();
    assert!(!health.ok && stats.pending.points == 3 * POINTS, "{health:?} {stats:?}");
    let link = health.link.unwrap();
    println!("holding: {words}; {link:?}");
    times.check("out of descriptors");
    lines.next().unwrap().unwrap();

    grabber.stop();
    assert!(db.flush(LONG).await.unwrap().complete, "{:?}", db.health());
    let report = db.stop(LONG).await.unwrap();
    assert!(report.closed, "{report:?}");
    let (ledger, pending) = (report.stats.ledger, report.stats.pending.points);
    let (accepted, delivered) = (ledger.accepted().points, ledger.of(Fate::Delivered).points);
    println!("ended: {accepted} accepted, {delivered} delivered, {pending} pending");
}

/// Takes every descriptor there is, and every one that somebody gives back.
struct Grabber {
    ending: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Grabber {
    fn start() -> Self {
        let mut held = grab();
        assert!(held.len() > 10);
        let ending = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ending);
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                held.extend(grab());
                std::thread::park_timeout(Duration::from_micros(100));
            }
        });
        Self { ending, thread }
    }

    fn stop(self) {
        self.ending.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}

fn grab() -> Vec<File> {
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

fn push(db: &DatabaseHandle, numbers: std::ops::Range<u64>, times: &mut PushTimes) {
    for n in numbers {
        times.push(db, n as i64);
    }
}

/// A process that can be talked to.
struct Talk {
    child: Child,
    said: BufReader<std::process::ChildStdout>,
}

impl Talk {
    fn start(file: &Path, url: &str) -> Self {
        let mut child = Command::new("sh")
            .args(["-c", "ulimit -n \"$0\" && exec \"$@\"", DESCRIPTORS])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "descriptors::child", "--nocapture"])
            .env(CHILD_FILE, file)
            .env(CHILD_URL, url)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        Self { child, said }
    }

    fn tell(&mut self, words: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{words}").unwrap();
    }

    /// The line that begins so.
    fn wait_for(&mut self, beginning: &str) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            assert!(self.said.read_line(&mut line).unwrap() > 0, "it has ended before {beginning:?}");
            if line.starts_with(beginning) {
                print!("{line}");
                return line.trim_end().to_owned();
            }
        }
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
