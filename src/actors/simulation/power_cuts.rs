//! Every state that a power cut can leave is opened, and asked for what was answered before.

use std::collections::BTreeMap;

use fastrand::Rng;
use faulty_vfs::{Cut, Disk, History, Image, Kept};
use tempfile::TempDir;

use super::account::{Account, Ended};
use super::number;
use super::world::{World, any_image, in_memory_folder};
use crate::spool::{Spool, SpoolOptions};
use crate::values::config::SyncMode;

/// With more things unsynced than this not every subset of them is tried, but all, none, each alone, and all but each.
const SUBSETS_MAX: usize = 10;

/// One run, what was done to its files, and what had been answered at each mark.
struct Run {
    history: History,
    known: BTreeMap<u64, Account>,
    options: SpoolOptions,
    wall: std::time::SystemTime,
}

impl Run {
    /// Goes on until something was answered or received so many times.
    fn new(seed: u64, sync: SyncMode, marks: usize) -> Self {
        let mut world = World::calm(seed, sync);
        let mut known = BTreeMap::from([(0, Account::default())]);
        for step in 1.. {
            if known.len() > marks {
                break;
            }
            world.step();
            if known.last_key_value().is_none_or(|(_, last)| !last.knows_as_much(&world.account)) {
                world.mark(step);
                known.insert(step, world.account.clone());
            }
        }
        let (options, wall) = (world.options().clone(), world.at.wall);
        Self { history: world.take_history(), known, options, wall }
    }

    fn known_at(&self, cut: &Cut<'_>) -> &Account {
        let mark = cut.marks.last().copied().unwrap_or(0);
        &self.known[&mark]
    }
}

/// Where states are opened.
struct Bench {
    folder: TempDir,
    disk: Disk,
    states: u64,
    lost: u64,
}

impl Bench {
    fn new() -> Self {
        let folder = in_memory_folder();
        let disk = Disk::watch(folder.path()).unwrap();
        Self { folder, disk, states: 0, lost: 0 }
    }

    /// Opens a state. What was answered must be there; how much is not is counted, and with `sync = full` is none.
    fn open(&mut self, run: &Run, cut: &Cut<'_>, image: &Image) {
        image.store(self.folder.path()).unwrap();
        let path = self.folder.path().join("plant.db");
        let options = SpoolOptions { path, ..run.options.clone() };
        let (mut spool, opened) = Spool::open(&options, run.wall).unwrap();
        let account = run.known_at(cut);
        self.states += 1;
        self.lost += account.lost(&mut spool).len() as u64;
        account.check_opened(&opened, &mut spool, Ended::PowerCut);
    }

    /// The power fails again while the state is being opened.
    fn cut_while_opening(&mut self, run: &Run, cut: &Cut<'_>, image: &Image, random: &mut Rng) {
        image.store(self.folder.path()).unwrap();
        self.disk.remember().unwrap();
        let path = self.folder.path().join("plant.db");
        let options = SpoolOptions { path, ..run.options.clone() };
        drop(Spool::open(&options, run.wall).unwrap());
        let opening = self.disk.take_history();
        for _ in 0..3 {
            let again = opening.cuts().nth(random.usize(..=opening.ops().len())).unwrap();
            self.open(run, cut, &any_image(&again, random));
        }
    }
}

#[test]
fn every_power_cut_of_a_short_run_keeps_what_was_answered() {
    let seed = seed();
    let (run, mut bench) = (Run::new(seed, SyncMode::Full, if is_slow() { 8 } else { 3 }), Bench::new());
    let mut cuts = 0;
    for cut in run.history.cuts() {
        cuts += 1;
        for image in images(&cut) {
            bench.open(&run, &cut, &image);
        }
    }
    println!("seed {seed}: {cuts} cuts, {} states, {} points lost", bench.states, bench.lost);
    assert_eq!(bench.lost, 0);
}

#[test]
fn no_power_cut_of_a_long_run_loses_what_was_answered() {
    let seed = seed();
    let bench = sample(seed, SyncMode::Full);
    println!("seed {seed}: {} states, {} points lost", bench.states, bench.lost);
    assert_eq!(bench.lost, 0);
}

/// The test is able to find what it looks for: a commit that was not synced is gone after a power cut, though never
/// torn.
#[test]
fn with_sync_normal_a_power_cut_loses_what_was_answered_and_that_is_seen() {
    let seed = seed();
    let bench = sample(seed, SyncMode::Normal);
    println!("seed {seed}: {} states, {} points lost", bench.states, bench.lost);
    assert!(bench.lost > 100, "{}", bench.lost);
}

fn sample(seed: u64, sync: SyncMode) -> Bench {
    let (runs, states) = if is_slow() { (20, 600) } else { (2, 150) };
    let (mut bench, mut random) = (Bench::new(), Rng::with_seed(seed));
    for nth in 0..runs {
        let run = Run::new(seed + nth, sync, 60);
        let mut places: Vec<usize> = (0..states).map(|_| random.usize(..=run.history.ops().len())).collect();
        places.sort_unstable();
        let (mut cuts, mut next) = (run.history.cuts(), 0);
        for place in places {
            if place < next {
                continue;
            }
            let cut = cuts.nth(place - next).unwrap();
            next = place + 1;
            let image = any_image(&cut, &mut random);
            bench.open(&run, &cut, &image);
            if random.u8(..10) == 0 {
                bench.cut_while_opening(&run, &cut, &image, &mut random);
            }
        }
    }
    bench
}

/// What a cut may leave: each subset of what was not synced, or as many as can be tried; and each write cut off in the
/// middle, with what came before it and without.
fn images<'a>(cut: &'a Cut<'_>) -> impl Iterator<Item = Image> + 'a {
    let pending = cut.pending.len();
    let subsets: Vec<Vec<bool>> = if pending <= SUBSETS_MAX {
        (0..1_u32 << pending).map(|mask| (0..pending).map(|nth| mask >> nth & 1 == 1).collect()).collect()
    } else {
        let but = |but: usize, other: bool| (0..pending).map(|nth| (nth == but) != other).collect();
        (0..=pending).flat_map(|nth| [but(nth, true), but(nth, false)]).collect()
    };
    let whole =
        subsets.into_iter().map(|kept| cut.image(|nth, _| if kept[nth] { Kept::All } else { Kept::Nothing }));
    let torn = (0..pending).flat_map(move |torn| {
        [Kept::All, Kept::Nothing].map(|before| {
            cut.image(|nth, op| match nth.cmp(&torn) {
                std::cmp::Ordering::Less => before.clone(),
                std::cmp::Ordering::Greater => Kept::Nothing,
                std::cmp::Ordering::Equal => {
                    let sectors = History::sectors(op);
                    Kept::Sectors((0..sectors).map(|nth| nth < sectors / 2).collect())
                }
            })
        })
    });
    whole.chain(torn)
}

fn seed() -> u64 {
    number("SEED").unwrap_or_else(|| fastrand::u64(..1 << 40))
}

fn is_slow() -> bool {
    std::env::var_os("RUN_SLOW_TESTS").is_some()
}
