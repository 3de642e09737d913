//! Two processes and one file, and files that go away under their owner.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use faulty_vfs::{Call, Disk, Verdict};
use futures_util::FutureExt;
use influx_spool::{
    Database, DatabaseHandle, Event, Events, Fate, Point, SpoolErrorKind, SpoolHealth, StartError, Told,
    inspect,
};

use super::support::ledger::{check_arrived, check_ledger, numbers};
use super::support::receiver::Receiver;
use super::{LONG, run};

const POINTS: u64 = 2_000;

/// Names the file to a child.
const CHILD: &str = "DISK_OWNERS_CHILD";

fn start(file: &Path, receiver: &Receiver) -> Result<DatabaseHandle, StartError> {
    Database::builder("owners").http(receiver.url()).spool(file).gzip(false).start()
}

fn push(db: &DatabaseHandle, numbers: std::ops::Range<u64>) {
    for n in numbers {
        db.push(Point::new("m").field("n", n as i64)).unwrap();
    }
}

/// Another process tries to open the file; what it says.
fn open_elsewhere(file: &Path) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "owners::child", "--nocapture"])
        .env(CHILD, file)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Not a test of its own: what [`open_elsewhere`] runs, and what holds the file until it is told to let go.
#[test]
fn child() {
    let Some(file) = std::env::var_os(CHILD) else { return };
    match Database::builder("child").spool(file).start() {
        Ok(_) => {
            println!("opened");
            let _let_go = std::io::stdin().read_line(&mut String::new());
        }
        Err(StartError::Spool(error)) => println!("refused: {:?}", error.kind()),
        Err(error) => println!("failed: {error}"),
    }
}

#[test]
fn another_process_is_refused_by_whatever_name_and_whatever_becomes_of_the_lock_file() {
    run(async {
        let receiver = Receiver::start_down();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("owners.db");
        let db = start(&file, &receiver).unwrap();
        push(&db, 0..100);
        db.commit(LONG).await.unwrap();
        let me = std::process::id();
        let by_name = open_elsewhere(&file);
        assert!(by_name.contains(&format!("refused: Locked {{ pid: Some({me}) }}")), "{by_name}");

        let link = folder.path().join("hard.db");
        std::fs::hard_link(&file, &link).unwrap();
        let symlink = folder.path().join("soft.db");
        std::os::unix::fs::symlink(&file, &symlink).unwrap();
        if cfg!(target_os = "linux") {
            let by_link = open_elsewhere(&link);
            assert!(by_link.contains("refused: Locked"), "{by_link}");
        }
        let by_symlink = open_elsewhere(&symlink);
        assert!(by_symlink.contains("refused: Locked"), "{by_symlink}");
        match start(&link, &receiver) {
            Err(StartError::Spool(error)) => {
                assert_eq!(error.kind(), SpoolErrorKind::Locked { pid: Some(me) });
            }
            other => panic!("{other:?}"),
        }
        std::fs::remove_file(folder.path().join("owners.db.lock")).unwrap();
        if cfg!(target_os = "linux") {
            let without = open_elsewhere(&file);
            assert!(without.contains("refused: Locked"), "{without}");
        }
        push(&db, 100..POINTS);
        db.commit(LONG).await.unwrap();
        receiver.come_up();
        db.reconfigure(db.config()).await.unwrap();
        assert!(db.flush(LONG).await.unwrap().complete);
        let stats = db.stop(LONG).await.unwrap().stats;
        check_ledger(&stats, POINTS, &receiver);
        assert_eq!(numbers(&receiver).len() as u64, POINTS);
        assert!(open_elsewhere(&link).contains("opened"));
    });
}

/// A spool that fails gives up its lock, so that its file system can be unmounted and repaired.
#[test]
fn a_file_taken_while_its_owner_could_not_write_to_it_is_waited_for() {
    run(async {
        let receiver = Receiver::start_down();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("owners.db");
        let disk = Disk::watch(folder.path()).unwrap();
        let db = start(&file, &receiver).unwrap();
        push(&db, 0..POINTS);
        db.commit(LONG).await.unwrap();
        let mut events = db.subscribe();
        disk.judge(|asked| if asked.call == Call::Sync { Verdict::IoError } else { Verdict::Pass });
        push(&db, POINTS..2 * POINTS);
        wait_for_words(&db, &mut events, "disk I/O error").await;
        let other = Holder::start(&file);
        wait_for_words(&db, &mut events, &format!("in use by process {}", other.pid())).await;
        disk.relent();
        push(&db, 2 * POINTS..3 * POINTS);
        let mut persisted =
            Box::pin(db.persisted(db.push(Point::new("m").field("n", 3 * POINTS as i64)).unwrap()));
        assert_eq!(persisted.as_mut().now_or_never(), None);
        other.let_go();
        tokio::time::timeout(LONG, persisted).await.unwrap().unwrap();

        receiver.come_up();
        db.reconfigure(db.config()).await.unwrap();
        assert!(db.flush(LONG).await.unwrap().complete, "{:?}", db.health());
        let report = db.stop(LONG).await.unwrap();
        check_ledger(&report.stats, 3 * POINTS + 1, &receiver);
        assert_eq!(numbers(&receiver).len() as u64, 3 * POINTS + 1, "none twice: the other sent nothing");
        check_arrived(&receiver, 0..3 * POINTS + 1);
    });
}

/// Another process that has the file, taken as soon as it is to be had.
struct Holder {
    child: Child,
    // Open, so that it can say more.
    _said: BufReader<ChildStdout>,
}

impl Holder {
    fn start(file: &Path) -> Self {
        let end = Instant::now() + LONG;
        loop {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "owners::child", "--nocapture"])
                .env(CHILD, file)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut said = BufReader::new(child.stdout.take().unwrap());
            let words = said.by_ref().lines().map_while(Result::ok);
            // It is refused in the instant of each attempt of the first.
            if words.take_while(|line| !line.contains("refused")).any(|line| line.ends_with("opened")) {
                return Self { child, _said: said };
            }
            assert!(child.wait().unwrap().success() && Instant::now() < end);
        }
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn let_go(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }
}

/// Waits until the spool is said to fail with these words.
async fn wait_for_words(db: &DatabaseHandle, events: &mut Events, words: &str) {
    let failing = async {
        while !matches!(db.health().spool, SpoolHealth::Failing(said) if said.contains(words)) {
            events.next().await;
        }
    };
    tokio::time::timeout(LONG, failing).await.unwrap_or_else(|_| panic!("{:?}, not {words}", db.health()));
}

/// Something is done to the files of a database at work, in the middle of an outage; all its points arrive all the same.
async fn check_kept(what: &str, harm: impl FnOnce(&Path)) {
    let receiver = Receiver::start_down();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("owners.db");
    let db = Database::builder("owners")
        .http(receiver.url())
        .spool(&file)
        .configure(|config| config.batch.points_max = 100.try_into().unwrap())
        .start()
        .unwrap();
    // More batches than memory keeps.
    push(&db, 0..POINTS);
    db.commit(LONG).await.unwrap();
    let mut events = db.subscribe();
    harm(&file);
    push(&db, POINTS..2 * POINTS);
    db.commit(LONG).await.unwrap();
    let told = async {
        loop {
            if let Some(Told::Event(Event::Spool(SpoolHealth::Failing(words)))) = events.next().await {
                return words;
            }
        }
    };
    let words = tokio::time::timeout(LONG, told).await.unwrap_or_else(|_| panic!("{what}: nobody was told"));
    assert!(words.contains("deleted or replaced"), "{what}: {words}");
    // On disk, where it belongs, as a reader sees that comes by its name.
    let found = inspect(&file).unwrap();
    assert!(found.backlog.points == 2 * POINTS && found.adds_up, "{what}: {found:?}");
    receiver.come_up();
    db.reconfigure(db.config()).await.unwrap();
    assert!(db.flush(LONG).await.unwrap().complete, "{what}: {:?}", db.health());
    assert!(db.health().ok, "{what}: {:?}", db.health());
    let report = db.stop(LONG).await.unwrap();
    check_ledger(&report.stats, 2 * POINTS, &receiver);
    assert_eq!(report.stats.ledger.of(Fate::Delivered).points, 2 * POINTS, "{what}");
    assert_eq!(numbers(&receiver).len() as u64, 2 * POINTS, "{what}: none twice");
    check_arrived(&receiver, 0..2 * POINTS);
}

#[test]
fn files_deleted_or_renamed_under_a_database_at_work_cost_nothing() {
    fn beside(file: &Path, suffix: &str) -> std::path::PathBuf {
        format!("{}{suffix}", file.display()).into()
    }
    run(async {
        check_kept("the database deleted", |file| std::fs::remove_file(file).unwrap()).await;
        check_kept("all deleted", |file| {
            for part in ["", "-wal", "-shm", ".lock"] {
                std::fs::remove_file(beside(file, part)).unwrap();
            }
        })
        .await;
        check_kept("the log deleted", |file| std::fs::remove_file(beside(file, "-wal")).unwrap()).await;
        check_kept("renamed", |file| std::fs::rename(file, beside(file, ".old")).unwrap()).await;
        check_kept("emptied by another name", |file| {
            std::fs::remove_file(file).unwrap();
            std::fs::write(file, "").unwrap();
        })
        .await;
    });
}

#[test]
fn another_spool_in_the_place_of_the_file_is_waited_for_to_go() {
    run(async {
        let receiver = Receiver::start_down();
        let folder = tempfile::tempdir().unwrap();
        let (file, other) = (folder.path().join("owners.db"), folder.path().join("other.db"));
        let stranger = start(&other, &receiver).unwrap();
        push(&stranger, 0..10);
        stranger.stop(LONG / 20).await.unwrap();
        let db = Database::builder("owners").http(receiver.url()).spool(&file).start().unwrap();
        push(&db, 0..POINTS);
        db.commit(LONG).await.unwrap();
        let mut events = db.subscribe();
        std::fs::rename(&other, &file).unwrap();
        push(&db, POINTS..2 * POINTS);
        let told = async {
            loop {
                match events.next().await {
                    Some(Told::Event(Event::Spool(SpoolHealth::Failing(words))))
                        if words.contains("another spool") =>
                    {
                        return;
                    }
                    _ => {}
                }
            }
        };
        tokio::time::timeout(LONG, told).await.unwrap_or_else(|_| panic!("{:?}", db.health()));
        assert!(!db.health().ok);
        assert_eq!(db.stats().pending.points, 2 * POINTS);
        // A person looks, and puts back what was saved.
        let names = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
        let saved: Vec<_> = names.filter(|path| path.to_string_lossy().contains(".replaced-")).collect();
        assert_eq!(saved.len(), 1, "{saved:?}");
        std::fs::rename(&file, folder.path().join("stranger.db")).unwrap();
        for part in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{part}", file.display()));
        }
        std::fs::rename(&saved[0], &file).unwrap();
        let well = async {
            while db.health().spool != SpoolHealth::Ok {
                events.next().await;
            }
        };
        tokio::time::timeout(LONG, well).await.unwrap_or_else(|_| panic!("{:?}", db.health()));
        receiver.come_up();
        db.reconfigure(db.config()).await.unwrap();
        assert!(db.flush(LONG).await.unwrap().complete, "{:?}", db.health());
        let report = db.stop(Duration::from_secs(10)).await.unwrap();
        check_ledger(&report.stats, 2 * POINTS, &receiver);
        assert_eq!(numbers(&receiver).len() as u64, 2 * POINTS, "none twice");
    });
}
