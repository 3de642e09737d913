//! Undamaged spools of several shapes, each made by a database at work.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use influx_spool::{Database, DatabaseHandle, Fate, PageSize, Point, Stats};

use super::reader::{self, Batch};
use super::support::receiver::{Manner, Receiver};
use super::{LONG, run};

/// The contents of a spool's files, by what stands behind the database's name.
pub(crate) type Files = BTreeMap<&'static str, Vec<u8>>;

/// Everything that a spool's files are, but the lock, which has no content that matters.
pub(crate) const PARTS: [&str; 3] = ["", "-wal", "-shm"];

/// For stopping while no server is there: nothing is to be sent.
const SHORT: Duration = Duration::from_millis(400);

/// Points in a batch at most.
const BATCH_POINTS: usize = 30;

/// A spool as it is before it is damaged.
pub(crate) struct Shape {
    pub(crate) name: String,
    pub(crate) files: Files,
    /// What lies in it: the backlog and the quarantine.
    pub(crate) batches: Vec<Batch>,
    /// How many lines were ever pushed: their numbers are 0 to this.
    pub(crate) pushed: u64,
    pub(crate) accepted: u64,
}

/// Each shape there is, in pages of each size.
pub(crate) fn all() -> Vec<Shape> {
    run(async {
        let mut all = Vec::new();
        for pages in [PageSize::Small, PageSize::Medium, PageSize::Large] {
            all.push(killed_with_everything_in_the_log(pages).await);
            all.push(closed(pages).await);
            all.push(killed_after_a_second_life(pages).await);
            all.push(quarantined(pages).await);
            all.push(with_history(pages).await);
            all.push(replayed(pages).await);
        }
        all
    })
}

/// The line of a number, as it was pushed and must arrive. Its text differs from every other's.
pub(crate) fn line(number: u64) -> String {
    let mut random = fastrand::Rng::with_seed(number);
    // Some are larger than a page, whatever its size, most are not; batches are of all sizes between.
    let letters = match number {
        _ if number.is_multiple_of(97) => 20_000,
        _ if number.is_multiple_of(89) => 64_000,
        _ => random.usize(50..400),
    };
    let text: String = (0..letters).map(|_| random.alphanumeric()).collect();
    format!("{} n={number}i,text=\"{text}\" {}", mark(number), number + 1)
}

const fn mark(number: u64) -> &'static str {
    if is_poison(number) { "poison" } else { "sound" }
}

/// Poison is refused by the server while the shape is made.
const fn is_poison(number: u64) -> bool {
    number % 10 == 3
}

async fn killed_with_everything_in_the_log(pages: PageSize) -> Shape {
    let mut maker = Maker::start(Receiver::start_down(), pages);
    maker.commit_times(45).await;
    maker.killed("killed, all in the log").await
}

async fn closed(pages: PageSize) -> Shape {
    let mut maker = Maker::start(Receiver::start_down(), pages);
    maker.commit_times(45).await;
    maker.closed("closed").await
}

async fn killed_after_a_second_life(pages: PageSize) -> Shape {
    let mut maker = Maker::start(Receiver::start_down(), pages);
    maker.commit_times(40).await;
    maker.restart().await;
    maker.commit_times(40).await;
    maker.killed("killed in its second life").await
}

async fn quarantined(pages: PageSize) -> Shape {
    let mut maker = Maker::start_with_a_quarantine(pages).await;
    maker.commit_times(40).await;
    maker.closed("closed, with a quarantine").await
}

async fn with_history(pages: PageSize) -> Shape {
    let mut maker = Maker::start_with_a_quarantine(pages).await;
    maker.commit_times(30).await;
    maker.restart().await;
    // What was waiting is delivered, so that pages are freed; some of the rest takes them.
    maker.receiver.come_up();
    maker.db.reconfigure(maker.db.config()).await.unwrap();
    assert!(maker.db.flush(LONG).await.unwrap().complete);
    maker.receiver.go_down();
    maker.commit_times(50).await;
    maker.killed("killed, with a history").await
}

async fn replayed(pages: PageSize) -> Shape {
    let mut maker = Maker::start_with_a_quarantine(pages).await;
    maker.commit_times(20).await;
    let replayed = maker.db.replay(None, LONG).await.unwrap();
    assert!(replayed.batches >= 10, "{replayed:?}");
    maker.killed("killed, with replays").await
}

struct Maker {
    folder: tempfile::TempDir,
    receiver: Receiver,
    pages: PageSize,
    db: DatabaseHandle,
    random: fastrand::Rng,
    begun: std::time::Instant,
    pushed: u64,
}

impl Maker {
    fn start(receiver: Receiver, pages: PageSize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let db = open_in(pages, &folder.path().join("plant.db"), &receiver);
        Self {
            folder,
            receiver,
            pages,
            db,
            random: fastrand::Rng::with_seed(11),
            begun: std::time::Instant::now(),
            pushed: 0,
        }
    }

    /// Some points are delivered, the poison among them is refused, and then the server goes.
    async fn start_with_a_quarantine(pages: PageSize) -> Self {
        let receiver = Receiver::start();
        receiver.set_manner(Manner::RefuseLinesWith("poison".into()));
        let mut maker = Self::start(receiver, pages);
        maker.push_until(300).await;
        assert!(maker.db.flush(LONG).await.unwrap().complete);
        maker.receiver.go_down();
        maker
    }

    /// So many transactions of one to three batches each.
    async fn commit_times(&mut self, times: usize) {
        for _ in 0..times {
            let points = self.random.u64(1..BATCH_POINTS as u64 * 5 / 2);
            self.push(points);
            self.db.commit(LONG).await.unwrap();
        }
    }

    /// Pushes to the number, and has it sent piece by piece.
    async fn push_until(&mut self, number: u64) {
        while self.pushed < number {
            self.push(25.min(number - self.pushed));
            assert!(self.db.flush(LONG).await.unwrap().complete);
        }
    }

    fn push(&mut self, points: u64) {
        for number in self.pushed..self.pushed + points {
            let line = line(number);
            let text = line.split('"').nth(1).unwrap().to_owned();
            let point = Point::new(mark(number)).field("n", number as i64).field("text", text);
            self.db.push(point.timestamp_units(number as i64 + 1)).unwrap();
        }
        self.pushed += points;
    }

    async fn restart(&mut self) {
        assert!(self.db.stop(SHORT).await.unwrap().closed);
        self.db = open_in(self.pages, &self.path(), &self.receiver);
    }

    async fn closed(self, name: &'static str) -> Shape {
        assert!(self.db.stop(SHORT).await.unwrap().closed);
        let stats = self.db.stats();
        let files = read(&self.path());
        assert!(files.get("-wal").is_none_or(Vec::is_empty));
        self.shape(name, files, &stats)
    }

    /// As after a kill: the files are copied while the database is at rest.
    async fn killed(self, name: &'static str) -> Shape {
        self.db.commit(LONG).await.unwrap();
        let stats = self.db.stats();
        let files = read(&self.path());
        assert!(files["-wal"].len() > 100_000);
        // The answer to the commit says that everything is in the log; what is done with it after that is not much.
        let shape = self.shape(name, files, &stats);
        self.db.stop(SHORT).await.unwrap();
        shape
    }

    fn shape(&self, name: &str, files: Files, stats: &Stats) -> Shape {
        let name = format!("{name}, pages of {}", reader::page_of(&files));
        let batches = reader::batches(&files);
        let kept: u64 = batches.iter().map(Batch::points).sum();
        let accepted = stats.ledger.accepted().points;
        assert_eq!(accepted, self.pushed);
        println!(
            "{name}: {} batches, {kept} points of {accepted}; {:?}",
            batches.len(),
            self.begun.elapsed()
        );
        assert!(batches.len() >= 40, "{name}: {} batches", batches.len());
        assert!(stats.ledger.of(Fate::Delivered).points + kept <= accepted);
        Shape { name, files, batches, pushed: self.pushed, accepted }
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("plant.db")
    }
}

/// A database on this file, which has pages of its own.
pub(crate) fn open(file: &Path, receiver: &Receiver) -> DatabaseHandle {
    open_in(PageSize::Auto, file, receiver)
}

/// A database on this file. Bodies are plain, so that a reader can tell what they are.
fn open_in(pages: PageSize, file: &Path, receiver: &Receiver) -> DatabaseHandle {
    Database::builder("damage")
        .http(receiver.url())
        .spool(file)
        .gzip(false)
        .configure(|config| {
            config.batch.points_max = BATCH_POINTS.try_into().unwrap();
            let spool = config.spool.as_mut().unwrap();
            (spool.free_reserve_bytes, spool.page_size) = (0, pages);
        })
        .start()
        .unwrap()
}

/// What is there of a spool's files.
pub(crate) fn read(database: &Path) -> Files {
    let path = |part: &str| format!("{}{part}", database.display());
    PARTS.into_iter().filter_map(|part| Some((part, std::fs::read(path(part)).ok()?))).collect()
}

/// Puts a spool's files there, with the lock file that every spool has.
pub(crate) fn write(files: &Files, database: &Path) {
    for (part, bytes) in files {
        std::fs::write(format!("{}{part}", database.display()), bytes).unwrap();
    }
    std::fs::write(format!("{}.lock", database.display()), "4711\n").unwrap();
}
