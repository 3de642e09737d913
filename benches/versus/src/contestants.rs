//! Who takes part, each at its best setting.
//!
//! The settings of the opponents were tried out: bodies of 1,000 to 50,000 points, one to eight bodies under way, three runs of
//! each. What is here had the least CPU time (median), or was no dearer by more than two runs of one setting differ.

use crate::job::Job;
use crate::lines::Mix;
use crate::micro::{Encode, Encoding, Push, Room};
use crate::scenes::backfill::{Drain, End, Fill};
use crate::scenes::fleet::Fleet;
use crate::scenes::idle::Idle;
use crate::scenes::latency::Latency;
use crate::scenes::outage::Outage;
use crate::scenes::restart::Restart;
use crate::scenes::steady::Steady;
use crate::writers::spool::{Durability, Setting, Way};
use crate::writers::{Load, influxdb, influxdb2, questdb, spool, vmagent};
use crate::yardsticks::{self, Yardstick};

/// One setting of one writer or yardstick.
#[derive(Clone, Debug)]
pub struct Contestant {
    /// What it is a setting of. Of several, the better one counts.
    pub family: &'static str,
    pub setting: &'static str,
    pub mix: Mix,
    pub job: Job,
    /// Rounds it takes part in at most, where one takes long.
    pub rounds_max: usize,
}

/// How much of the work is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// A tenth, and nothing that needs time by itself.
    Short,
    Full,
    /// Spools of 10 GB besides.
    Long,
}

/// The writers, as they stand in the tables.
pub const WRITERS: [&str; 9] = [
    SPOOL_GZIP,
    SPOOL_PLAIN,
    SPOOL_BORROWED,
    WINDOW_GZIP,
    WINDOW_PLAIN,
    QUESTDB,
    INFLUXDB2,
    INFLUXDB,
    VMAGENT,
];

pub const YARDSTICKS: [&str; 5] = [COPY_WARM, COPY_COLD, DEFLATE, WRITE_PLAIN, WRITE_GZIP];

pub const SPOOL_GZIP: &str = "influx-spool, durable, gzip";
pub const SPOOL_PLAIN: &str = "influx-spool, durable";
pub const SPOOL_BORROWED: &str = "influx-spool, durable, points borrowed";
pub const WINDOW_GZIP: &str = "influx-spool, default window, gzip";
pub const WINDOW_PLAIN: &str = "influx-spool, default window";
pub const QUESTDB: &str = "questdb-rs";
pub const INFLUXDB2: &str = "influxdb2";
pub const INFLUXDB: &str = "influxdb";
pub const VMAGENT: &str = "vmagent";
pub const COPY_WARM: &str = "memcpy, in the cache";
pub const COPY_COLD: &str = "memcpy, from and to memory";
pub const DEFLATE: &str = "deflate, level 1";
pub const WRITE_PLAIN: &str = "write + fdatasync";
pub const WRITE_GZIP: &str = "write + fdatasync, gzip";
pub const ENCODE_BORROWED: &str = "encode, borrowed";
pub const ENCODE_SERIES: &str = "encode, prepared series";
pub const ENCODE_QUESTDB: &str = "encode, questdb-rs";
pub const ALLOCATIONS: &str = "allocations";
pub const BACKFILL_1: &str = "backfill, 1 in flight";
pub const BACKFILL_4: &str = "backfill, 4 in flight";
pub const BACKFILL_THIRD: &str = "backfill of a third, 1 in flight";
pub const OUTAGE_GZIP: &str = "outage, gzip";
pub const OUTAGE_PLAIN: &str = "outage";
pub const START_CLEAN: &str = "start, stopped before";
pub const START_KILLED: &str = "start, killed before";
pub const IDLE_1: &str = "idle, 1 database";
pub const IDLE_100: &str = "idle, 100 databases";
pub const STEADY: &str = "100,000 points/s";
pub const STEADY_MILLION: &str = "1,000,000 points/s";
pub const FLEET: &str = "1,000 databases";
pub const FLEET_ONE: &str = "1 database, batches of 100";
pub const FLEET_REFUSED: &str = "1,000 databases, server refuses";
pub const FLEET_ONE_REFUSED: &str = "1 database, batches of 250, server refuses";
pub const LATENCY: &str = "latency, default window";
pub const LATENCY_DURABLE: &str = "latency, durable";
pub const PUSH_DRAINED: &str = "push, drained";
pub const PUSH_1: &str = "push, sliding, one producer";
pub const PUSH_2: &str = "push, sliding, two producers";

/// Those who are given the hard points, too.
const HARD: [&str; 9] = [
    SPOOL_GZIP,
    SPOOL_PLAIN,
    SPOOL_BORROWED,
    QUESTDB,
    INFLUXDB2,
    INFLUXDB,
    DEFLATE,
    ENCODE_BORROWED,
    ENCODE_QUESTDB,
];

/// Everybody, in the order of the tables.
pub fn all(size: Size) -> Vec<Contestant> {
    let hard = given(Mix::Hard, size).into_iter().filter(|contestant| HARD.contains(&contestant.family));
    given(Mix::Realistic, size).into_iter().chain(hard).chain(scenes(size)).collect()
}

fn given(mix: Mix, size: Size) -> Vec<Contestant> {
    let scale = |points: u64| if size == Size::Short { points / 10 } else { points };
    let load = |points, producers| Load { mix, points: scale(points), producers };
    let mut all = Vec::new();
    let mut add =
        |family, setting, job| all.push(Contestant { family, setting, mix, job, rounds_max: usize::MAX });

    let each = Durability::Each;
    let (window, series, borrowed) = (Durability::Window, Way::Series, Way::Borrowed);
    let spools = [
        (SPOOL_GZIP, true, each, series),
        (SPOOL_PLAIN, false, each, series),
        (SPOOL_BORROWED, false, each, borrowed),
        (WINDOW_GZIP, true, window, series),
        (WINDOW_PLAIN, false, window, series),
    ];
    for (family, gzip, durability, way) in spools {
        let queue_points = match durability {
            // What waits for the disk is still in the processor's last cache.
            Durability::Each => 50_000,
            Durability::Window => Setting::default().queue_points,
        };
        let setting = Setting { gzip, durability, way, queue_points, ..Setting::default() };
        for (producers, name) in [(1, "1 producer"), (2, "2 producers")] {
            add(family, name, Job::Spool(spool::Run { load: load(4_000_000, producers), setting }));
        }
    }
    for (producers, name) in [(1, "1 producer"), (2, "2 producers")] {
        let run = questdb::Run { load: load(4_000_000, producers), batch_points: 5_000 };
        add(QUESTDB, name, Job::Questdb(run));
    }
    let run = influxdb2::Run { load: load(500_000, 2), batch_points: 20_000 };
    add(INFLUXDB2, "2 tasks", Job::Influxdb2(run));
    let run = influxdb::Run { load: load(500_000, 8), batch_points: 1_000 };
    add(INFLUXDB, "8 tasks", Job::Influxdb(run));
    let run = vmagent::Run { load: load(1_000_000, 2), batch_points: 50_000 };
    add(VMAGENT, "2 connections", Job::Vmagent(run));

    let yardsticks = [
        (COPY_WARM, Yardstick::CopyWarm, 5_000_000),
        (COPY_COLD, Yardstick::CopyCold, 1_000_000),
        (DEFLATE, Yardstick::Deflate, 500_000),
        (WRITE_PLAIN, Yardstick::WritePlain, 1_000_000),
        (WRITE_GZIP, Yardstick::WriteGzip, 1_000_000),
    ];
    for (family, yardstick, points) in yardsticks {
        add(family, "", Job::Yardstick(yardsticks::Run { yardstick, mix, points: scale(points) }));
    }

    let encodings = [
        (ENCODE_BORROWED, Encoding::Borrowed),
        (ENCODE_SERIES, Encoding::Series),
        (ENCODE_QUESTDB, Encoding::Questdb),
    ];
    for (family, by) in encodings {
        add(family, "", Job::Encode(Encode { by, mix, points: scale(2_000_000) }));
    }
    add(ALLOCATIONS, "", Job::Allocations);
    add(PUSH_DRAINED, "", Job::Push(Push { load: load(2_000_000, 1), room: Room::Drained }));
    add(PUSH_1, "", Job::Push(Push { load: load(2_000_000, 1), room: Room::Slides }));
    add(PUSH_2, "", Job::Push(Push { load: load(2_000_000, 2), room: Room::Slides }));
    all
}

/// What happens beside writing flat out. Each takes long, and what it measures hardly depends on what else the machine
/// does: three rounds, or one where a run takes a minute by itself.
fn scenes(size: Size) -> Vec<Contestant> {
    const SOME: usize = 3;
    let mix = Mix::Realistic;
    let (each, window) = (Durability::Each, Durability::Window);
    let scale = |number: u64| if size == Size::Short { number / 10 } else { number };
    let load = |points| Load { mix, points, producers: 1 };
    let mut all = Vec::new();
    let mut add =
        |family, rounds_max, job| all.push(Contestant { family, setting: "", mix, job, rounds_max });

    let fill = |points| Fill { load: load(points), gzip: true, end: End::Stop };
    let backlog = scale(10_000_000);
    add(BACKFILL_1, SOME, Job::Drain(Drain { fill: fill(backlog), in_flight: 1 }));
    add(BACKFILL_4, SOME, Job::Drain(Drain { fill: fill(backlog), in_flight: 4 }));
    add(BACKFILL_THIRD, SOME, Job::Drain(Drain { fill: fill(backlog / 3), in_flight: 1 }));
    add(OUTAGE_GZIP, SOME, Job::Outage(Outage { load: load(scale(2_000_000)), gzip: true }));
    add(OUTAGE_PLAIN, SOME, Job::Outage(Outage { load: load(scale(2_000_000)), gzip: false }));
    // At 167 bytes a line, not compressed: a gigabyte.
    let gigabyte = 6_000_000;
    let points = if size == Size::Long { 10 * gigabyte } else { scale(gigabyte) };
    for (family, end) in [(START_CLEAN, End::Stop), (START_KILLED, End::Kill)] {
        add(family, SOME, Job::Restart(Restart { fill: Fill { load: load(points), gzip: false, end } }));
    }
    for (family, durability) in [(LATENCY, window), (LATENCY_DURABLE, each)] {
        add(family, SOME, Job::Latency(Latency { durability, points_per_second: 100, seconds: scale(20) }));
    }
    if size == Size::Short {
        return all;
    }
    add(IDLE_1, 1, Job::Idle(Idle { databases: 1, seconds: 60 }));
    add(IDLE_100, 1, Job::Idle(Idle { databases: 100, seconds: 60 }));
    let steady = |points_per_second, seconds, idle_seconds| {
        Job::Steady(Steady { mix, points_per_second, seconds, idle_seconds })
    };
    add(STEADY, 1, steady(100_000, 30, 20));
    add(STEADY_MILLION, 1, steady(1_000_000, 60, 0));
    let fleets = [
        (FLEET, 1_000, 5_000, false),
        (FLEET_ONE, 1, 100, false),
        (FLEET_REFUSED, 1_000, 5_000, true),
        (FLEET_ONE_REFUSED, 1, 250, true),
    ];
    for (family, databases, batch_points, refused) in fleets {
        let fleet = Fleet { databases, points_per_second: 500_000, seconds: 10, batch_points, refused };
        add(family, SOME, Job::Fleet(fleet));
    }
    all
}
