//! Rounds against a real influxd that counts what it has: each number once.
//!
//! A round is one spool and some lives, each ended by SIGKILL; then it is drained. In half of them there is no server
//! while the children live, or it is killed, too. In the order of [`Moment::ALL`] the last kill comes under full load,
//! while a spool with a full log is opened, while a damaged one is recovered, while one is made, or while one of an
//! earlier version is brought up to date.

use std::path::Path;
use std::time::{Duration, Instant};

use influx_spool::SyncMode;

use super::journal::{Journal, wall_ns};
use super::support::influxd::Influxd;
use super::support::receiver::{Receiver, gunzip};
use super::{Arrived, Bench, LONG, Life, WINDOW, is_slow, seeded};

/// A server of its own for so many: what it keeps in memory grows with what it was sent.
const ROUNDS_PER_SERVER: usize = 50;

/// What waits in the spool of an earlier version, what was delivered from it, and what is in its quarantine.
const OLD_WAITING: u64 = 20;
const OLD_DELIVERED: u64 = 10;
const OLD_QUARANTINED: u64 = 1;

/// When the last child of a round is killed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Moment {
    /// While it pushes as fast as it may.
    Load,
    /// While it opens a spool that was left with a full log.
    Opening,
    /// While it sets a damaged spool aside and salvages it.
    Recovering,
    /// While it makes a spool.
    Creating,
    /// While it opens a spool of an earlier version.
    Migrating,
}

impl Moment {
    const ALL: [Self; 6] =
        [Self::Load, Self::Opening, Self::Recovering, Self::Load, Self::Creating, Self::Migrating];

    /// How long the child lives at the most.
    fn life(self) -> Duration {
        match self {
            Self::Load => Duration::from_millis(1_500),
            // From here on what takes the time is the start of a process, some 10 ms, and what it does with its spool.
            Self::Recovering => Duration::from_millis(200),
            Self::Opening | Self::Creating | Self::Migrating => Duration::from_millis(60),
        }
    }
}

/// The server, as the children see it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Outage {
    No,
    /// Nobody listens.
    Absent,
    /// It is killed while they push.
    Dies,
}

struct Round<'a> {
    moment: Moment,
    outage: Outage,
    sync: SyncMode,
    server: &'a mut Influxd,
    absent: &'a Receiver,
    random: &'a mut fastrand::Rng,
    /// Tells the points of one life from those of the others.
    life_next: &'a mut usize,
}

#[test]
fn a_real_server_has_what_was_answered_persisted() {
    if !Influxd::is_installed() {
        // Says so, or fails where it must be there.
        Influxd::start();
        return;
    }
    let rounds = if is_slow() { 300 } else { Moment::ALL.len() };
    let mut random = seeded();
    let mut benches = [Bench::new(WINDOW), Bench::new(Duration::ZERO)];
    let mut server = None;
    let mut life_next = 0;
    let mut outages = 0;
    let begin = Instant::now();
    for number in 0..rounds {
        if number % ROUNDS_PER_SERVER == 0 {
            server = Influxd::start();
            let server = server.as_ref().unwrap();
            server.create_database("kills");
            server.create_database("fixture");
        }
        let (place, cycle) = (number % Moment::ALL.len(), number / Moment::ALL.len());
        let outage = match ((number + cycle) % 2, cycle % 3) {
            (1, _) => Outage::No,
            (_, 0) => Outage::Dies,
            _ => Outage::Absent,
        };
        outages += usize::from(outage != Outage::No);
        let bench = &mut benches[(place / 2 + cycle / 2) % 2];
        let absent = Receiver::start_down();
        let round = Round {
            moment: Moment::ALL[place],
            outage,
            sync: if random.bool() { SyncMode::Full } else { SyncMode::Normal },
            server: server.as_mut().unwrap(),
            absent: &absent,
            random: &mut random,
            life_next: &mut life_next,
        };
        println!(
            "round {number}: {:?}, {outage:?}, window {:?}, {:?}",
            round.moment, bench.window, round.sync
        );
        round.run(bench);
    }
    println!("{rounds} rounds, {outages} in an outage, {life_next} kills in {:?}", begin.elapsed());
    for bench in benches {
        bench.figures.report(&format!("window {:?}", bench.window));
    }
}

impl Round<'_> {
    fn run(mut self, bench: &mut Bench) {
        if matches!(self.moment, Moment::Load | Moment::Opening) {
            return self.run_on(bench);
        }
        // A file of its own; the figures are those of its window.
        let mut own = Bench::new(bench.window);
        std::mem::swap(&mut own.figures, &mut bench.figures);
        if self.moment == Moment::Migrating {
            self.put_old_spool(&mut own);
        }
        self.run_on(&mut own);
        bench.figures = own.figures;
    }

    fn run_on(mut self, bench: &mut Bench) {
        let mut lives = Vec::new();
        let url = match self.outage {
            Outage::Absent => self.absent.url(),
            Outage::No | Outage::Dies => self.server.url(),
        };
        match self.moment {
            Moment::Load => lives.push(self.live(bench, &url, self.moment.life())),
            Moment::Creating | Moment::Migrating => {}
            Moment::Opening | Moment::Recovering => {
                // Without a server the log gets full.
                let absent = self.absent.url();
                lives.push(self.live(bench, &absent, Moment::Load.life()));
                if self.moment == Moment::Recovering {
                    self.damage(&bench.path());
                }
            }
        }
        if self.moment != Moment::Load {
            for _ in 0..2 {
                lives.push(self.live_shortly(bench, &url));
            }
        }
        if self.outage == Outage::Dies {
            self.server.restart();
        }
        let drained = bench.drain(&self.server.url(), self.sync);
        bench.figures.to_first_send.push(drained.to_first_request);
        let arrived = |life: Life| {
            let arrived = self.arrived(life.orders.round);
            (life, arrived)
        };
        let lives: Vec<_> = lives.into_iter().map(arrived).collect();
        bench.settle(&lives, &drained);
        if self.moment == Moment::Migrating {
            let counted = self.server.query("fixture", "SELECT count(n) FROM waiting");
            assert_eq!(counted["results"][0]["series"][0]["values"][0][1].as_u64(), Some(OLD_WAITING));
        }
    }

    /// A child that is killed after it has opened its spool, and has pushed for a while.
    fn live(&mut self, bench: &Bench, url: &str, at_most: Duration) -> Life {
        let (mut journal, orders) = self.begin(bench, url);
        assert!(journal.wait_for_start(LONG), "the child starts");
        let time = self.random_up_to(at_most);
        if self.outage == Outage::Dies && self.moment == Moment::Load {
            journal.wait_until(Instant::now() + time / 2);
            self.server.kill();
        }
        journal.wait_until(Instant::now() + time);
        let killed_ns = wall_ns();
        journal.kill();
        Life { journal, orders, killed_ns }
    }

    /// A child that is killed at any moment, before its spool is open perhaps.
    fn live_shortly(&mut self, bench: &Bench, url: &str) -> Life {
        let (mut journal, orders) = self.begin(bench, url);
        let end = Instant::now() + self.random_up_to(self.moment.life());
        if self.outage == Outage::Dies {
            self.server.kill();
        }
        journal.wait_until(end);
        let killed_ns = wall_ns();
        journal.kill();
        Life { journal, orders, killed_ns }
    }

    fn begin(&mut self, bench: &Bench, url: &str) -> (Journal, super::Orders) {
        let orders = bench.orders(url, *self.life_next, self.sync, self.random.bool());
        *self.life_next += 1;
        (Journal::begin(&orders), orders)
    }

    fn random_up_to(&mut self, most: Duration) -> Duration {
        most.mul_f64(self.random.f64())
    }

    /// What costs no batch and has to be recovered from all the same: the first page wiped, with the log that may hide it
    /// left in place; or the word of an earlier life that the file is damaged.
    fn damage(&mut self, file: &Path) {
        if self.random.bool() {
            let mut marker = file.as_os_str().to_owned();
            marker.push(".damaged");
            std::fs::write(marker, ".damaged-1").unwrap();
        } else {
            let mut bytes = std::fs::read(file).unwrap();
            // Only the first: a damage that is met after the start has the spool opened twice in one life.
            let page = usize::from(u16::from_be_bytes([bytes[16], bytes[17]]));
            bytes[..page].fill(0);
            std::fs::write(file, bytes).unwrap();
        }
    }

    fn put_old_spool(&mut self, bench: &mut Bench) {
        let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/version-1.db.gz");
        std::fs::write(bench.path(), gunzip(&std::fs::read(fixture).unwrap())).unwrap();
        self.server.query("fixture", "DROP MEASUREMENT waiting");
        bench.arrived = OLD_DELIVERED + OLD_WAITING;
        bench.quarantined = OLD_QUARANTINED;
        bench.pushed_max = bench.arrived + bench.quarantined;
    }

    /// Counts the points of one life: each number once, and none left out.
    fn arrived(&self, life: usize) -> Arrived {
        let ask = |fields: &str, rest: &str| {
            let statement = format!("SELECT {fields} FROM numbered WHERE round='{life}'{rest}");
            let answer = self.server.query("kills", &statement);
            assert_eq!(answer["results"][0].get("error"), None, "{answer}");
            answer["results"][0]["series"][0]["values"][0].clone()
        };
        let sums = ask("count(n), max(n), sum(n)", "");
        let points = sums[1].as_u64().unwrap_or(0);
        if points > 0 {
            assert_eq!(sums[2].as_u64(), Some(points - 1), "{sums}");
            assert_eq!(sums[3].as_u64(), Some(points * (points - 1) / 2), "{sums}");
        }
        Arrived { points, last_ns: ask("n", " ORDER BY time DESC LIMIT 1")[0].as_i64() }
    }
}
