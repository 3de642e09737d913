//! A world: a folder, a server, a clock, one life after the other.

use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use fastrand::Rng;
use faulty_vfs::{Cut, Disk, History, Kept, Op};
use tempfile::TempDir;

use super::account::{Account, Ended};
use super::faults::{Fault, FaultKind, Faults};
use super::figures::Figures;
use super::life::{End, Life, Server};
use crate::actors::keeping::Moment;
use crate::spool::{Opened, PAGE_SIZES, Spool, SpoolErrorKind, SpoolOptions};
use crate::values::config::{Compression, Config, SpoolFull, SyncMode, WhenFull};

/// Senders at most.
const HOLDERS: usize = 3;

/// Pages of a small spool: so few that it is full now and then.
const SMALL_PAGES: u64 = 40;

/// The log is copied from 16 MiB on; one transaction and a slow moment come on top.
const LOG_BYTES_MAX: u64 = 64 << 20;

pub(super) struct World {
    random: Rng,
    pub(super) folder: TempDir,
    disk: Disk,
    faults: Faults,
    pub(super) at: Moment,
    config: Config,
    options: SpoolOptions,
    weather: Weather,
    pub(super) life: Option<Life>,
    pub(super) account: Account,
    pub(super) figures: Figures,
}

/// What a world has to bear.
#[derive(Clone, Copy, Debug)]
struct Weather {
    /// Senders.
    holders: usize,
    /// The spool may be damaged.
    spoils: bool,
    /// The disk works, nobody panics, the clock is right.
    calm: bool,
    /// Each step is told.
    tells: bool,
}

impl World {
    pub(super) fn new(seed: u64, tells: bool) -> Self {
        let mut random = Rng::with_seed(seed);
        let folder = in_memory_folder();
        let config = any_config(&mut random, folder.path());
        let spoils = random.u8(..6) == 0;
        let holders = random.usize(1..=HOLDERS);
        Self::of(random, folder, config, Weather { holders, spoils, calm: false, tells })
    }

    /// A world in which only processes end: for whoever looks at what it wrote. Points are stored before they are sent.
    pub(super) fn calm(seed: u64, sync: SyncMode) -> Self {
        let mut random = Rng::with_seed(seed);
        let folder = in_memory_folder();
        let mut config = any_config(&mut random, folder.path());
        config.loss_window = Some(Duration::ZERO);
        let spool = config.spool.as_mut().unwrap();
        (spool.sync, spool.bytes_max, spool.age_max) = (sync, 1 << 30, None);
        Self::of(random, folder, config, Weather { holders: 1, spoils: false, calm: true, tells: false })
    }

    fn of(mut random: Rng, folder: TempDir, mut config: Config, weather: Weather) -> Self {
        let page_bytes = PAGE_SIZES[random.usize(..PAGE_SIZES.len())];
        let spool = config.spool.as_mut().unwrap();
        if spool.bytes_max < 1 << 30 {
            spool.bytes_max = SMALL_PAGES * page_bytes;
        }
        let options = SpoolOptions { page_bytes, ..SpoolOptions::of(spool, &config.batch) };
        let disk = Disk::watch(folder.path()).unwrap();
        let faults = Faults::on(&disk);
        disk.remember().unwrap();
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let mut world = Self {
            random,
            folder,
            disk,
            faults,
            at: Moment { steady: Instant::now(), wall },
            account: Account::new(options.age_max.is_some() || options.bytes_max < 1 << 30),
            config,
            options,
            weather,
            life: None,
            figures: Figures::default(),
        };
        world.tell(format_args!("{:?}", world.config));
        world.begin(Ended::Never);
        world
    }

    pub(super) fn play(&mut self, steps: usize) {
        self.figures.count("worlds");
        for _ in 0..steps {
            self.step();
        }
        self.finish();
    }

    /// Something happens.
    pub(super) fn step(&mut self) {
        self.figures.count("steps");
        match self.random.u8(..100) {
            0..20 => self.push(),
            20..28 => self.seal(),
            28..38 => self.finish_job(),
            38..53 => self.work(),
            53..56 => self.reopen(),
            56..66 => self.lease(),
            66..76 => self.answer(),
            76..78 => self.lose_sender(),
            78..84 => self.pass_time(),
            84..85 => self.commit_all(),
            85..86 => self.replay(),
            86 => self.stop(),
            87 => self.second_opener(),
            88 if !self.weather.calm => self.step_clock(),
            89..91 => self.crash(),
            91..94 if !self.weather.calm => self.arm(),
            94..96 if self.weather.spoils => self.spoil(),
            _ => self.look(),
        }
        if self.faults.is_dead() {
            self.tell("the process ended in the middle of a call");
            self.figures.count("crashes: in the middle of a call");
            self.end_by_crash();
        }
        self.check();
    }

    fn check(&mut self) {
        let Some(life) = &mut self.life else { return };
        life.hear(&mut self.account, &mut self.figures);
        life.check(&mut self.account);
        let log = len(&self.path("-wal"));
        assert!(log <= LOG_BYTES_MAX, "the log is within its bound: {log}");
    }

    /// The clouds part: the disk works, the server takes everything, and all is brought to its end.
    fn finish(&mut self) {
        self.faults.clear();
        self.drain();
        self.tell("the end");
        let at = self.at;
        assert!(self.life.as_mut().unwrap().stop(at), "it stops, and heals what it finds damaged");
        self.check();
        self.leave(Ended::Cleanly);
        let (mut spool, opened) = Spool::open(&self.options, self.at.wall).unwrap();
        self.account.check_opened(&opened, &mut spool, Ended::Cleanly);
        self.account.check_the_end(&opened, &mut spool);
        let settled = opened.ledger.clone();
        self.count_fates(&settled);
        self.figures.count_many("points", self.account.accepted.len() as u64);
        self.figures.count_many("received", self.account.received.len() as u64);
    }

    fn count_fates(&mut self, ledger: &crate::values::ledger::Ledger) {
        use crate::values::fate::{Fate, ShedReason};
        let expired = ledger.of(Fate::Expired).points;
        let shed = ledger.of(Fate::Shed(ShedReason::SpoolFull)).points;
        let damaged = ledger.of(Fate::Damaged).points;
        for (what, points) in [("expired", expired), ("shed from a full spool", shed), ("damaged", damaged)] {
            if points > 0 {
                self.figures.count_many(what, points);
            }
        }
    }

    fn drain(&mut self) {
        for _ in 0..20_000 {
            let life = self.life.as_mut().unwrap();
            if life.is_at_rest() {
                return;
            }
            let at = self.at;
            let mut moved = life.take_jobs(8, at);
            moved |= life.finish_job(0, true, at);
            moved |= life.reopen(at, &mut self.account, &mut self.figures);
            moved |= life.work(false, End::Answered, at, &mut self.figures);
            for holder in 0..HOLDERS {
                moved |= life.answer(holder, Server::Takes, 0.5, &mut self.account, at);
                moved |= life.lease(holder, &self.account, at);
            }
            self.check();
            if !moved {
                self.pass_to_next_due();
            }
        }
        panic!("it does not come to rest: {:#?}", self.life.as_ref().unwrap().shared);
    }

    fn push(&mut self) {
        let points = self.random.u64(1..14);
        self.tell(format_args!("push {points}"));
        let at = self.at;
        if let Some(life) = &mut self.life {
            (0..points).for_each(|_| life.push(&mut self.account, at));
        }
    }

    fn seal(&mut self) {
        self.tell("seal");
        let (jobs_max, at) = (self.random.usize(1..4), self.at);
        self.with_life(|life| _ = life.take_jobs(jobs_max, at));
    }

    fn finish_job(&mut self) {
        let well = self.weather.calm || self.random.u8(..12) > 0;
        self.tell(format_args!("a body is made: {well}"));
        let (nth, at) = (self.random.usize(..8), self.at);
        self.with_life(|life| _ = life.finish_job(nth, well, at));
    }

    fn work(&mut self) {
        let end = match self.random.u8(..12) {
            0 if !self.weather.calm => End::AnswerLost,
            1 if !self.weather.calm => End::Never,
            _ => End::Answered,
        };
        let force = self.random.u8(..5) == 0;
        self.tell(format_args!("work: {end:?} {force}"));
        let at = self.at;
        if let Some(life) = &mut self.life {
            life.work(force, end, at, &mut self.figures);
        }
    }

    fn reopen(&mut self) {
        let at = self.at;
        let Some(life) = &mut self.life else { return };
        if life.reopen(at, &mut self.account, &mut self.figures) {
            self.tell("the spool is open again");
        }
    }

    fn lease(&mut self) {
        let (holder, at) = (self.random.usize(..self.weather.holders), self.at);
        self.tell(format_args!("sender {holder} asks"));
        if let Some(life) = &mut self.life {
            life.lease(holder, &self.account, at);
        }
    }

    fn answer(&mut self) {
        let server = match self.random.u8(..14) {
            0..5 => Server::Takes,
            5..7 => Server::Down,
            7..9 => Server::TakesUnheard,
            9..12 => Server::Judges,
            12 => Server::Measures,
            _ => Server::Fails,
        };
        let (holder, random, at) = (self.random.usize(..self.weather.holders), self.random.f64(), self.at);
        let Some(life) = &mut self.life else { return };
        if life.answer(holder, server, random, &mut self.account, at) {
            self.tell(format_args!("sender {holder}: {server:?}"));
            if server == Server::TakesUnheard {
                self.figures.count("answers lost on the way");
            }
            if server == Server::Judges {
                self.figures.count("quarantined");
            }
        }
    }

    fn lose_sender(&mut self) {
        let (holder, at) = (self.random.usize(..self.weather.holders), self.at);
        let panicked = !self.weather.calm && self.random.bool();
        self.tell(format_args!("sender {holder} dies: {panicked}"));
        self.with_life(|life| life.release(holder, panicked, at));
    }

    fn pass_time(&mut self) {
        if self.random.bool() {
            self.pass_to_next_due();
        } else {
            let time = Duration::from_millis(self.random.u64(..4_000));
            self.pass(time);
        }
    }

    fn pass_to_next_due(&mut self) {
        let at = self.at;
        if let Some(due) = self.life.as_ref().and_then(|life| life.next_due(at)) {
            self.pass(due - at.steady);
        }
    }

    fn pass(&mut self, time: Duration) {
        self.tell(format_args!("{time:?} pass"));
        self.at.steady += time;
        self.at.wall += time;
    }

    fn commit_all(&mut self) {
        self.tell("commit");
        self.with_life(|life| {
            life.shared.with(|transit| drop(transit.wait_for_commit(transit.last_seq())));
        });
    }

    fn replay(&mut self) {
        self.tell("replay");
        self.figures.count("replays");
        self.with_life(Life::replay);
    }

    /// Everybody looks, as they do when they are woken.
    fn look(&mut self) {
        let at = self.at;
        let Some(life) = &mut self.life else { return };
        life.take_jobs(8, at);
        while life.finish_job(0, true, at) {}
        life.work(false, End::Answered, at, &mut self.figures);
        for holder in 0..self.weather.holders {
            life.lease(holder, &self.account, at);
        }
        self.tell("everybody looks");
    }

    fn stop(&mut self) {
        let at = self.at;
        let Some(life) = &mut self.life else { return };
        self.account.stopping = true;
        let well = life.stop(at);
        life.hear(&mut self.account, &mut self.figures);
        life.check(&mut self.account);
        self.tell(format_args!("stop: {well}"));
        self.figures.count("stops");
        if self.faults.is_dead() {
            return;
        }
        self.faults.clear();
        let ended = if well { Ended::Cleanly } else { Ended::Killed };
        self.leave(ended);
        self.begin(ended);
    }

    /// Nobody else gets the file, and trying changes nothing.
    fn second_opener(&mut self) {
        if self.life.as_ref().is_none_or(|life| life.spool.is_none()) {
            return;
        }
        self.tell("a second opener");
        self.figures.count("second openers");
        let error = Spool::open(&self.options, self.at.wall).unwrap_err();
        assert!(matches!(error.kind(), SpoolErrorKind::Locked { .. }), "{error}");
    }

    fn step_clock(&mut self) {
        let hours = Duration::from_secs(3_600 * self.random.u64(1..100));
        self.at.wall = if self.random.bool() { self.at.wall + hours } else { self.at.wall - hours };
        self.tell(format_args!("the clock is set: {:?}", self.at.wall));
        self.figures.count("clock steps");
    }

    fn arm(&mut self) {
        if self.faults.is_armed() {
            self.tell("the disk works again");
            return self.faults.clear();
        }
        let (kind, what) = match self.random.u8(..5) {
            0 => (FaultKind::Io, "faults: input/output error"),
            1 => (FaultKind::Sync, "faults: failed sync"),
            2 => (FaultKind::Full, "faults: no space"),
            3 => (FaultKind::Torn, "faults: torn write"),
            _ => (FaultKind::Dead, "faults: death in a call"),
        };
        let times = if self.random.bool() { 1 } else { self.random.u32(1..40) };
        let fault = Fault { kind, after: self.random.u32(..20), times };
        self.tell(format_args!("{fault:?}"));
        self.figures.count(what);
        self.faults.arm(fault);
    }

    fn crash(&mut self) {
        self.tell("crash");
        self.end_by_crash();
    }

    /// The process ends, and perhaps the power with it.
    fn end_by_crash(&mut self) {
        let may_cut = self.options.sync == SyncMode::Full && !self.account.damaged && !self.weather.calm;
        let power = may_cut && self.random.bool();
        // Dropped while the disk is as it was when the process ended.
        if let Some(mut life) = self.life.take() {
            life.hear(&mut self.account, &mut self.figures);
        }
        self.faults.clear();
        if power {
            self.figures.count("crashes: power");
            self.cut_power();
            self.begin(Ended::PowerCut);
        } else {
            self.figures.count("crashes: process");
            self.leave(Ended::Killed);
            self.begin(Ended::Killed);
        }
    }

    fn cut_power(&mut self) {
        let history = self.disk.take_history();
        let cut = history.last_cut();
        let image = any_image(&cut, &mut self.random);
        self.tell(format_args!("the power fails, {} things were not synced", cut.pending.len()));
        image.store(self.folder.path()).unwrap();
        self.disk.remember().unwrap();
    }

    /// Damages a file while nobody has it open.
    fn spoil(&mut self) {
        if let Some(mut life) = self.life.take() {
            life.hear(&mut self.account, &mut self.figures);
        }
        self.faults.clear();
        let (suffix, what) = if self.random.bool() { ("", "damage: file") } else { ("-wal", "damage: log") };
        let path = self.path(suffix);
        let bytes = len(&path);
        if bytes > 0 {
            let mut file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
            let at = self.random.u64(..bytes);
            if self.random.u8(..4) == 0 {
                file.set_len(at).unwrap();
            } else {
                let mut byte = [0];
                file.seek(SeekFrom::Start(at)).unwrap();
                file.read_exact(&mut byte).unwrap();
                byte[0] ^= 1 << self.random.u8(..8);
                file.seek(SeekFrom::Start(at)).unwrap();
                file.write_all(&byte).unwrap();
            }
            self.tell(format_args!("{what} at {at} of {bytes}"));
            self.figures.count(what);
            self.account.damaged = true;
        }
        self.begin(Ended::Killed);
    }

    /// The process is gone, and nobody has the file.
    fn leave(&mut self, ended: Ended) {
        self.tell(format_args!("ended: {ended:?}"));
        self.life = None;
        if !self.weather.calm {
            self.disk.remember().unwrap();
        }
    }

    pub(super) fn begin(&mut self, ended: Ended) {
        let (mut spool, opened) = self.open();
        self.tell(format_args!("opened: {opened:?}"));
        if opened.salvaged.is_some() {
            self.figures.count("salvages");
        }
        self.account.check_opened(&opened, &mut spool, ended);
        self.account.check_end(&opened, ended);
        self.life = Some(Life::begin(&self.config, &self.options, spool, &opened));
    }

    fn open(&mut self) -> (Spool, Opened) {
        match Spool::open(&self.options, self.at.wall) {
            Ok(opened) => opened,
            Err(error) => panic!("it does not open: {error}"),
        }
    }

    fn with_life(&mut self, act: impl FnOnce(&mut Life)) {
        if let Some(life) = &mut self.life {
            act(life);
        }
    }

    fn path(&self, suffix: &str) -> PathBuf {
        PathBuf::from(format!("{}{suffix}", self.options.path.display()))
    }

    fn tell(&self, what: impl std::fmt::Display) {
        if self.weather.tells {
            println!("{what}");
        }
    }

    pub(super) fn take_history(&mut self) -> History {
        self.disk.take_history()
    }

    pub(super) fn mark(&self, mark: u64) {
        self.disk.mark(mark);
    }

    pub(super) fn options(&self) -> &SpoolOptions {
        &self.options
    }
}

/// What a power cut leaves: of what was not synced all, nothing, or any part, down to single sectors.
pub(super) fn any_image(cut: &Cut<'_>, random: &mut Rng) -> faulty_vfs::Image {
    let mood = random.u8(..4);
    cut.image(|_, op: &Op| match mood {
        0 => Kept::Nothing,
        1 => Kept::All,
        2 => [Kept::Nothing, Kept::All][random.usize(..2)].clone(),
        _ => {
            let sectors = History::sectors(op);
            match random.u8(..3) {
                0 => Kept::Nothing,
                1 => Kept::All,
                // Up to some sector, or some here and there.
                _ if random.bool() => {
                    let upto = random.usize(..=sectors);
                    Kept::Sectors((0..sectors).map(|nth| nth < upto).collect())
                }
                _ => Kept::Sectors((0..sectors).map(|_| random.bool()).collect()),
            }
        }
    })
}

/// Syncing costs nothing there, and what a sync does is the layer's business.
pub(super) fn in_memory_folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

/// Bounds so small that everything is reached, and loss windows of each kind.
fn any_config(random: &mut Rng, folder: &std::path::Path) -> Config {
    let spool = serde_json::json!({ "path": folder.join("plant.db"), "free_reserve_bytes": 0 });
    let config =
        serde_json::json!({ "name": "plant", "http": { "url": "http://localhost:1" }, "spool": spool });
    let mut config: Config = serde_json::from_value(config).unwrap();
    config.loss_window = Some(Duration::from_millis([0, 1_000, 60_000][random.usize(..3)]));
    config.queue.points_max = random.usize(8..200).try_into().unwrap();
    config.queue.when_full =
        [WhenFull::DropOldest, WhenFull::DropOldest, WhenFull::DropNewest, WhenFull::Refuse]
            [random.usize(..4)];
    config.batch.points_max = random.usize(1..30).try_into().unwrap();
    config.batch.compression = [Compression::None, Compression::Gzip][random.usize(..2)];
    let spool = config.spool.as_mut().unwrap();
    spool.sync = if random.u8(..3) == 0 { SyncMode::Normal } else { SyncMode::Full };
    spool.bytes_max = [1 << 30, SMALL_PAGES << 14][random.usize(..2)];
    spool.when_full = [SpoolFull::DropOldest, SpoolFull::Refuse][random.usize(..2)];
    spool.age_max = (random.u8(..3) == 0).then_some(Duration::from_secs(20));
    spool.quarantine_bytes_max = [1 << 20, 20_000][random.usize(..2)];
    config
}

fn len(path: &std::path::Path) -> u64 {
    std::fs::metadata(path).map_or(0, |found| found.len())
}
