//! A spool is damaged in a thousand ways; the database starts on what is left, delivers it, and counts the rest.
//!
//! A reader of the test's own says which batches survived: see `damage/reader.rs`. Sixty rounds by default, a thousand with
//! `RUN_SLOW_TESTS`; `SEED` is the first round's seed (1, or a random one of a long run), `ROUNDS` how many. The files of a round that fails are kept
//! under the target folder's `tmp`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "the lints do not see that helpers of tests are tests")]

mod support;

#[path = "damage/corrupt.rs"]
mod corrupt;
#[path = "damage/reader.rs"]
mod reader;
#[path = "damage/shapes.rs"]
mod shapes;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use corrupt::Damage;
use influx_spool::{Export, Fate, Ledger, Stats, export, inspect, salvage, verify};
use reader::Left;
use shapes::{Files, Shape};
use support::receiver::Receiver;

const LONG: Duration = Duration::from_secs(60);

/// Of the batches that survived, so many in a hundred must arrive.
const ARRIVE_MIN: usize = 99;

#[test]
fn whatever_is_damaged_the_rest_is_delivered_and_what_is_lost_is_counted() {
    let heard = Heard::listen();
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let is_long = std::env::var_os("RUN_SLOW_TESTS").is_some();
    let rounds = number("ROUNDS").unwrap_or(if is_long { 1_000 } else { 60 });
    let first = number("SEED").unwrap_or_else(|| if is_long { fastrand::u64(..1 << 32) } else { 1 });
    println!("SEED={first} ROUNDS={rounds}");
    let shapes = shapes::all();
    let mut sums = Sums::default();
    for seed in first..first + rounds {
        let mut random = fastrand::Rng::with_seed(seed);
        let shape = &shapes[random.usize(..shapes.len())];
        let mut files = shape.files.clone();
        let damage = corrupt::corrupt(&mut files, &mut random);
        heard.forget();
        let round = Round { shape, damage: &damage, files: &files, heard: &heard };
        if let Err(error) = round.run(&mut sums) {
            let kept = keep(seed, shape, &files);
            let said = heard.text.lock().unwrap();
            sums.failed.push(format!(
                "SEED={seed} ROUNDS=1: {}, {damage}: {error}; the files are in {}\n{said}",
                shape.name,
                kept.display()
            ));
        }
    }
    println!("{sums}");
    assert!(sums.failed.is_empty(), "{}", sums.failed.join("\n"));
    assert!(sums.arrived * 100 >= sums.survived * ARRIVE_MIN, "{sums}");
}

/// One damaged spool on its way back.
struct Round<'a> {
    shape: &'a Shape,
    damage: &'a Damage,
    files: &'a Files,
    heard: &'a Heard,
}

impl Round<'_> {
    fn run(&self, sums: &mut Sums) -> Result<(), String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("plant.db");
        shapes::write(self.files, &file);
        let receiver = Receiver::start();
        let stats = run(drain(&file, &receiver))?;
        let pending = stats.pending.points;
        if pending > 0 || stats.ledger.accepted().points != settled(&stats.ledger) {
            return Err(format!("{pending} pending; {}", told(&stats.ledger)));
        }
        let arrived = self.arrived(&receiver)?;
        self.check_set_aside(folder.path(), sums)?;
        // What nobody had to look at, since nobody sends it.
        let salvaged = salvage(&file).map_err(|error| error.to_string())?;
        sums.salvaged_by_hand += u64::from(salvaged.is_some());
        let verified = verify(&file).map_err(|error| error.to_string())?;
        if !verified.sound {
            return Err(format!("not sound: {verified:?}"));
        }
        let ledger = inspect(&file).map_err(|error| error.to_string())?.ledger;
        let lost = self.count(&arrived, &kept(&file)?, sums)?;
        self.check_ledger(&ledger, lost, sums)
    }

    /// How often each number arrived. Whatever arrives is a line that was pushed.
    fn arrived(&self, receiver: &Receiver) -> Result<HashMap<u64, u64>, String> {
        let mut arrived = HashMap::new();
        for line in receiver.lines() {
            let number = line.split(['=', 'i']).find_map(|part| part.parse().ok());
            let number = number.filter(|number| *number < self.shape.pushed && shapes::line(*number) == line);
            let Some(number) = number else { return Err(format!("never pushed: {line:?}")) };
            *arrived.entry(number).or_insert(0) += 1;
        }
        Ok(arrived)
    }

    /// Compares what became of each batch with what is left of it. Returns how many points are gone.
    fn count(
        &self,
        arrived: &HashMap<u64, u64>,
        kept: &HashSet<u64>,
        sums: &mut Sums,
    ) -> Result<u64, String> {
        let (before, after) = (&self.shape.files, self.files);
        let mut lost = 0;
        for batch in &self.shape.batches {
            let is_there = |number: &&u64| kept.contains(number) || arrived.contains_key(number);
            let there = batch.lines.iter().filter(is_there).count() as u64;
            if there > 0 && there < batch.points() {
                return Err(format!("{there} lines of {} of batch {}", batch.points(), batch.first_seq));
            }
            lost += batch.points() - there;
            let survived = batch.left(before, after) == Left::Whole;
            match (survived, there > 0) {
                (true, true) => sums.survived_and_arrived(),
                (true, false) => {
                    sums.survived += 1;
                    let Some(excuse) = batch.excuse(before, after) else {
                        return Err(format!("batch {} survived and is gone", batch.first_seq));
                    };
                    *sums.excused.entry(excuse).or_default() += 1;
                }
                (false, there) => sums.broken += u64::from(!there),
            }
        }
        Ok(lost)
    }

    /// The sums are right; and where the ledger survived, what is gone is known to be damaged.
    fn check_ledger(&self, ledger: &Ledger, lost: u64, sums: &mut Sums) -> Result<(), String> {
        if ledger.accepted().points != settled(ledger) {
            return Err(told(ledger));
        }
        let damaged = ledger.of(Fate::Damaged).points;
        sums.lost_points += lost;
        sums.damaged_points += damaged;
        if ledger.accepted().points == self.shape.accepted {
            if damaged != lost {
                return Err(format!("{lost} points are gone, {damaged} damaged: {}", told(ledger)));
            }
        } else {
            sums.forgotten += 1;
            let log_is_hit =
                !self.damage.file.is_empty() || self.files.get("-wal") != self.shape.files.get("-wal");
            let is_known = self.heard.was_said("damaged_points=Some") && !log_is_hit;
            if is_known {
                return Err(format!("{}, not {}", ledger.accepted().points, self.shape.accepted));
            }
        }
        Ok(())
    }

    /// What was set aside when the file was opened is what was there, byte by byte.
    fn check_set_aside(&self, folder: &Path, sums: &mut Sums) -> Result<(), String> {
        let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        let names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
        let aside = |name: &&String| name.starts_with("plant.db.damaged-") && !name.ends_with("-wal");
        let aside: Vec<&String> = names.iter().filter(aside).filter(|name| !name.ends_with("-shm")).collect();
        let Some(first) = aside.iter().min() else { return Ok(()) };
        sums.set_aside += 1;
        if aside.len() > 1 {
            return Err(format!("set aside more than once: {names:?}"));
        }
        if !self.heard.was_said("setting it aside") {
            sums.set_aside_later += 1;
            return Ok(());
        }
        for (part, bytes) in self.files {
            // SQLite's index of the log is made anew by whoever opens the file.
            let is_data = *part != "-shm";
            if is_data && std::fs::read(folder.join(format!("{first}{part}"))).ok().as_ref() != Some(bytes) {
                return Err(format!("{first}{part} is not what was there: {names:?}"));
            }
        }
        Ok(())
    }
}

/// Starts a database on the file, and stops it when nothing is left to be sent.
async fn drain(file: &Path, receiver: &Receiver) -> Result<Stats, String> {
    let db = shapes::open(file, receiver);
    let flushed = db.flush(LONG).await.unwrap();
    if !flushed.complete {
        return Err(format!("not drained: {flushed:?} {:?}", db.health()));
    }
    let report = db.stop(LONG).await.unwrap();
    if report.closed { Ok(report.stats) } else { Err(format!("not closed: {report:?}")) }
}

fn settled(ledger: &Ledger) -> u64 {
    Fate::ALL.iter().map(|fate| ledger.of(*fate).points).sum()
}

/// The ledger without what is zero.
fn told(ledger: &Ledger) -> String {
    let fates = Fate::ALL.into_iter().map(|fate| (fate.key(), ledger.of(fate).points));
    let fates: Vec<_> = fates.filter(|(_, points)| *points > 0).collect();
    format!("{} accepted, {fates:?}", ledger.accepted().points)
}

/// The numbers in quarantine.
fn kept(file: &Path) -> Result<HashSet<u64>, String> {
    let mut lines = Vec::new();
    let exported = export(file, Export::Quarantine, &mut lines).map_err(|error| error.to_string())?;
    if exported.damaged_batches > 0 {
        return Err(format!("{} batches in quarantine cannot be read", exported.damaged_batches));
    }
    let text = String::from_utf8(lines).unwrap();
    Ok(text.lines().filter_map(|line| line.split(['=', 'i']).find_map(|part| part.parse().ok())).collect())
}

/// What came of all rounds.
#[derive(Default)]
struct Sums {
    survived: usize,
    arrived: usize,
    /// Batches that did not survive, and are gone.
    broken: u64,
    excused: BTreeMap<&'static str, u64>,
    lost_points: u64,
    damaged_points: u64,
    set_aside: u64,
    set_aside_later: u64,
    salvaged_by_hand: u64,
    /// Rounds after which the ledger did not know of all that was ever accepted.
    forgotten: u64,
    failed: Vec<String>,
}

impl Sums {
    fn survived_and_arrived(&mut self) {
        self.survived += 1;
        self.arrived += 1;
    }
}

impl std::fmt::Display for Sums {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "{} batches survived, {} of them arrived; {} did not survive",
            self.survived, self.arrived, self.broken
        )?;
        for (excuse, batches) in &self.excused {
            writeln!(f, "  {batches} survived and are gone: {excuse}")?;
        }
        writeln!(f, "{} points gone, {} counted as damaged", self.lost_points, self.damaged_points)?;
        writeln!(
            f,
            "{} files set aside, {} of them while in use, {} more by hand",
            self.set_aside, self.set_aside_later, self.salvaged_by_hand
        )?;
        write!(f, "{} rounds after which the ledger knew of less than was ever accepted", self.forgotten)
    }
}

/// What the crate logged.
#[derive(Clone, Default)]
struct Heard {
    text: Arc<Mutex<String>>,
}

impl Heard {
    fn listen() -> Self {
        let heard = Self::default();
        let writer = heard.clone();
        tracing_subscriber::fmt()
            .with_ansi(false)
            .with_max_level(tracing::Level::WARN)
            .with_writer(move || writer.clone())
            .init();
        heard
    }

    fn forget(&self) {
        self.text.lock().unwrap().clear();
    }

    fn was_said(&self, words: &str) -> bool {
        self.text.lock().unwrap().contains(words)
    }
}

impl Write for Heard {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.text.lock().unwrap().push_str(&String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Keeps the files of a round that failed.
fn keep(seed: u64, shape: &Shape, files: &Files) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("damage-{seed}"));
    for (name, files) in [("before", &shape.files), ("after", files)] {
        std::fs::create_dir_all(folder.join(name)).unwrap();
        shapes::write(files, &folder.join(name).join("plant.db"));
    }
    folder
}

fn run<T>(test: impl Future<Output = T>) -> T {
    actix_rt::System::new().block_on(test)
}
