//! One bad line among thousands, on each interface: the good ones arrive, the bad one is kept with the reason, and who
//! stands behind waits no longer than that takes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "the lints do not see that helpers of tests are tests")]

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use influx_spool::{
    Api, Database, DatabaseHandle, Destination, Export, Fate, Point, QuarantineReason, SpoolBench, Stats,
    Timestamp, export, inspect,
};
use support::influxd::Influxd;
use support::receiver::{Judgement, Manner, Receiver};

const LONG: Duration = Duration::from_secs(60);

/// 2·log2(n) + 2 for 5,000 lines, rounded up.
const REQUESTS_MAX: u64 = 28;

const LINES: u64 = 5_000;

fn run<T>(test: impl Future<Output = T>) -> T {
    actix_rt::System::new().block_on(test)
}

fn start(name: &str, url: String, file: &Path) -> DatabaseHandle {
    Database::builder(name).http(url).spool(file).start().unwrap()
}

fn quarantined(stats: &Stats) -> u64 {
    QuarantineReason::ALL.iter().map(|reason| stats.ledger.of(Fate::Quarantined(*reason)).points).sum()
}

/// How a server speaks of bad lines: those that hold `bad`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Voice {
    /// 1.x: keeps the good ones and names the bad ones.
    V1Names,
    /// 1.x with a conflict: keeps the good ones and counts the bad ones.
    V1Counts,
    /// 3.x on the interface of 2.x: keeps nothing and says no more than that.
    V2Opaque,
    /// 2.x: keeps nothing, and names the first.
    V2Names,
    /// 3.x: keeps the good ones and numbers the bad ones.
    V3,
    /// 3.x with `accept_partial=false`: keeps nothing and numbers the first.
    V3Whole,
}

const VOICES: [Voice; 6] =
    [Voice::V1Names, Voice::V1Counts, Voice::V2Opaque, Voice::V2Names, Voice::V3, Voice::V3Whole];

impl Voice {
    fn api(self) -> Api {
        match self {
            Self::V1Names | Self::V1Counts => Api::V1,
            Self::V2Opaque | Self::V2Names => Api::V2,
            Self::V3 | Self::V3Whole => Api::V3,
        }
    }

    /// Whether it tells which lines it means.
    fn names(self) -> bool {
        !matches!(self, Self::V1Counts | Self::V2Opaque)
    }

    fn judge(self, text: &str) -> Judgement {
        let lines: Vec<&str> = text.lines().collect();
        let bad: Vec<(usize, &str)> =
            lines.iter().copied().enumerate().filter(|(_, line)| line.contains("bad")).collect();
        if bad.is_empty() {
            return Judgement::taken(text);
        }
        let good: String =
            lines.iter().filter(|line| !line.contains("bad")).map(|line| format!("{line}\n")).collect();
        let version = "X-Influxdb-Version: 1.6.7\r\nContent-Type: application/json\r\n";
        let parse = |(_, line): &(usize, &str)| format!("unable to parse '{line}': invalid boolean");
        let item = |(at, line): &(usize, &str)| {
            serde_json::json!({
                "error_message": "No fields were provided",
                "line_number": at + 1,
                "original_line": &line[..line.len().min(20)],
            })
        };
        match self {
            Self::V1Names => {
                let words = bad.iter().map(parse).collect::<Vec<_>>().join("\n");
                let body = serde_json::json!({ "error": format!("partial write: {words} dropped=0") });
                Judgement::refused(good, 400, version, &body.to_string())
            }
            Self::V1Counts => {
                let words = "field type conflict: input field \"v\" on measurement \"m\" is type float, already exists as type integer";
                let body =
                    serde_json::json!({ "error": format!("partial write: {words} dropped={}", bad.len()) });
                Judgement::refused(good, 400, version, &body.to_string())
            }
            Self::V2Opaque => {
                let body =
                    r#"{"code":"invalid","message":"write buffer error: parsing for line protocol failed"}"#;
                Judgement::refused(String::new(), 400, "", body)
            }
            Self::V2Names => {
                let body = serde_json::json!({ "code": "invalid", "message": parse(&bad[0]) });
                Judgement::refused(
                    String::new(),
                    400,
                    "X-Platform-Error-Code: invalid\r\n",
                    &body.to_string(),
                )
            }
            Self::V3 => {
                let data: Vec<_> = bad.iter().map(item).collect();
                let body =
                    serde_json::json!({ "error": "partial write of line protocol occurred", "data": data });
                Judgement::refused(good, 400, "", &body.to_string())
            }
            Self::V3Whole => {
                let body = serde_json::json!({ "error": "parsing failed for write_lp endpoint", "data": item(&bad[0]) });
                Judgement::refused(String::new(), 400, "", &body.to_string())
            }
        }
    }
}

/// Heals a batch of 5,000 lines of which these are bad; returns the requests it took, and what was quarantined.
async fn heal(voice: Voice, bad: &BTreeSet<u64>) -> (u64, u64) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("h.db");
    let line = |number: u64| {
        if bad.contains(&number) {
            format!("m v=bad{number} {number}\n")
        } else {
            format!("m v={number}i {number}\n")
        }
    };
    let lines: Vec<String> = (0..LINES).map(line).collect();
    let mut destination = Destination::new("h");
    destination.api = voice.api();
    SpoolBench::plant(&file, destination, &lines).unwrap();
    let receiver = Receiver::start();
    receiver.set_manner(Manner::Judge(Arc::new(move |text| voice.judge(text))));
    let db = start("h", receiver.url(), &file);
    assert!(db.flush(LONG).await.unwrap().complete, "{voice:?}: {:?}", db.health());
    let stats = db.stop(LONG).await.unwrap().stats;
    let kept = quarantined(&stats);
    assert_eq!(stats.ledger.of(Fate::Delivered).points + kept, LINES, "{stats:?}");
    let arrived: BTreeSet<String> = receiver.lines().into_iter().collect();
    let mut held = Vec::new();
    export(&file, Export::Quarantine, &mut held).unwrap();
    let held = String::from_utf8(held).unwrap();
    assert_eq!(held.lines().count() as u64, kept);
    let held: BTreeSet<&str> = held.lines().collect();
    for (number, line) in (0..).zip(&lines) {
        let line = line.trim_end();
        let (there, here) = (arrived.contains(line), held.contains(line));
        assert!(there || here, "{voice:?}: {line:?} is lost");
        assert!(here || !bad.contains(&number), "{voice:?}: {line:?} is bad");
    }
    (stats.requests_total, kept)
}

#[test]
fn one_bad_line_of_5_000_is_found_with_28_requests_at_most() {
    run(async {
        for voice in VOICES {
            for place in [0, 1_234, LINES - 1] {
                let (requests, kept) = heal(voice, &BTreeSet::from([place])).await;
                println!("{voice:?}: line {place} with {requests} requests");
                let most = if voice.names() { 2 } else { REQUESTS_MAX };
                assert!(requests <= most && kept == 1, "{voice:?} {place}: {requests} requests, {kept} kept");
            }
        }
    });
}

#[test]
fn fifty_bad_lines_adjacent_and_spread() {
    run(async {
        for voice in VOICES {
            for bad in [(700..750).collect::<BTreeSet<u64>>(), (0..50).map(|n| n * 100 + 9).collect()] {
                let (requests, kept) = heal(voice, &bad).await;
                println!("{voice:?}: 50 lines with {requests} requests");
                assert!(
                    requests <= 50 * REQUESTS_MAX && kept == 50,
                    "{voice:?}: {requests} requests, {kept} kept"
                );
            }
        }
    });
}

#[test]
fn a_hundred_and_one_and_all_of_them() {
    run(async {
        for voice in VOICES {
            let bad: BTreeSet<u64> = (0..101).map(|n| n * 49).collect();
            let (requests, kept) = heal(voice, &bad).await;
            println!("{voice:?}: 101 lines with {requests} requests, {kept} kept");
            assert!(kept >= 101 && (voice.names() || kept < 101 + 100), "{voice:?}: {kept} kept");
            let all: BTreeSet<u64> = (0..LINES).collect();
            let (requests, kept) = heal(voice, &all).await;
            println!("{voice:?}: all with {requests} requests");
            assert!(kept == LINES && requests <= 1_001, "{voice:?}: {requests} requests");
        }
    });
}

#[test]
fn a_conflict_an_old_point_and_a_malformed_line_in_one_batch() {
    let Some(influxd) = Influxd::start() else { return };
    influxd.query("", "CREATE DATABASE short WITH DURATION 2h");
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("s.db");
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
        assert_eq!(influxd.write("short", format!("m v=1i {now}\n").as_bytes()).status, 204);
        let line = |number: u64| match number {
            17 => format!("m v=2.5 {}\n", now + 17),
            18 => format!("m v=zzz {}\n", now + 18),
            4_000 => format!("m v={number}i {}\n", now - 40 * 24 * 3_600_000_000_000),
            _ => format!("m v={number}i {}\n", now + number),
        };
        let lines: Vec<String> = (0..LINES).map(line).collect();
        SpoolBench::plant(&file, Destination::new("short"), &lines).unwrap();
        let db = start("short", influxd.url(), &file);
        assert!(db.flush(LONG).await.unwrap().complete);
        let stats = db.stop(LONG).await.unwrap().stats;
        let count = |fate| stats.ledger.of(fate).points;
        println!("{} requests", stats.requests_total);
        assert_eq!(count(Fate::Delivered), LINES - 3, "{stats:?}");
        assert_eq!(count(Fate::Expired), 1);
        assert_eq!(count(Fate::Quarantined(QuarantineReason::TypeConflict)), 1);
        assert_eq!(count(Fate::Quarantined(QuarantineReason::Malformed)), 1);
        let answer = influxd.query("short", "SELECT count(v) FROM m");
        // The one that was there has the time of the first.
        assert_eq!(answer["results"][0]["series"][0]["values"][0][1], LINES - 3);
        let kept = inspect(&file).unwrap().quarantined;
        let words: Vec<&str> = kept.iter().filter_map(|batch| batch.words.as_deref()).collect();
        assert!(words.iter().any(|words| words.contains("already exists as type integer")), "{words:?}");
        assert!(words.iter().any(|words| words.contains("invalid boolean")), "{words:?}");
    });
}

#[test]
fn one_type_conflict_in_5_000_on_a_real_server() {
    let Some(influxd) = Influxd::start() else { return };
    influxd.create_database("plant");
    assert_eq!(influxd.write("plant", b"m v=1i 1").status, 204);
    run(async {
        for (round, place) in [0, 2_600, 4_999].into_iter().enumerate() {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("c.db");
            let db = start("plant", influxd.url(), &file);
            for number in 0..LINES {
                let stamp = Timestamp::from_nanos((round as i64 * 10_000 + number as i64) + 10);
                let point = Point::new("m").timestamp(stamp);
                let point =
                    if number == place { point.field("v", 2.5) } else { point.field("v", number as i64) };
                db.push(point).unwrap();
            }
            assert!(db.flush(LONG).await.unwrap().complete);
            let stats = db.stop(LONG).await.unwrap().stats;
            println!("line {place} with {} requests", stats.requests_total);
            assert!(
                stats.requests_total <= REQUESTS_MAX + 2,
                "the 5,000 may come in several batches: {stats:?}"
            );
            assert_eq!(stats.ledger.of(Fate::Delivered).points, LINES - 1);
            assert_eq!(stats.ledger.of(Fate::Quarantined(QuarantineReason::TypeConflict)).points, 1);
            let kept = &inspect(&file).unwrap().quarantined[0];
            assert_eq!((kept.status, kept.size.points), (Some(400), 1));
            assert_eq!(kept.seqs.first, place + 1, "the number of the point");
        }
        let answer = influxd.query("plant", "SELECT count(v) FROM m");
        assert_eq!(answer["results"][0]["series"][0]["values"][0][1], 3 * (LINES - 1) + 1);
    });
}

#[test]
fn what_is_replayed_after_its_cause_is_mended_arrives() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("r.db");
        let receiver = Receiver::start();
        receiver.set_manner(Manner::Judge(Arc::new(|text| Voice::V1Counts.judge(text))));
        let db = start("r", receiver.url(), &file);
        for number in 0..100 {
            let name = if number % 10 == 0 { "bad" } else { "good" };
            db.push(Point::new(name).field("n", number)).unwrap();
        }
        assert!(db.flush(LONG).await.unwrap().complete);
        assert_eq!(quarantined(&db.stats()), 10);
        db.commit(LONG).await.unwrap();
        receiver.set_manner(Manner::Accept);
        let other = db.replay(Some(QuarantineReason::Malformed), LONG).await.unwrap();
        assert_eq!(other.points, 0, "none is there for that reason");
        let report = db.replay(Some(QuarantineReason::TypeConflict), LONG).await.unwrap();
        assert_eq!(report.points, 10, "{report:?}");
        assert!(db.flush(LONG).await.unwrap().complete);
        let stats = db.stop(LONG).await.unwrap().stats;
        assert_eq!((quarantined(&stats), stats.ledger.of(Fate::Delivered).points), (0, 100));
        let arrived: BTreeSet<String> = receiver.lines().into_iter().collect();
        assert_eq!(arrived.len(), 100);
        let kept = inspect(&file).unwrap();
        assert!(kept.quarantined.is_empty(), "{kept:?}");
    });
}

#[test]
fn another_database_keeps_its_rate_while_one_heals() {
    run(async {
        let receiver = Receiver::start();
        let rate = |db: DatabaseHandle| async move {
            let begin = Instant::now();
            for number in 0..200_000_i64 {
                db.push_wait(Point::new("m").field("n", number)).await.unwrap();
            }
            assert!(db.flush(LONG).await.unwrap().complete);
            db.stop(LONG).await.unwrap();
            200_000.0 / begin.elapsed().as_secs_f64()
        };
        let other = || Database::builder("other").http(receiver.url()).start().unwrap();
        let sick = Receiver::start();
        sick.set_manner(Manner::Judge(Arc::new(|text| Voice::V2Opaque.judge(text))));
        let healing = Database::builder("sick").http(sick.url()).start().unwrap();
        // Other tests share the machine: the best of three rounds each, by turns.
        let (mut alone, mut beside) = (0.0_f64, 0.0_f64);
        for _ in 0..3 {
            alone = alone.max(rate(other()).await);
            let stop = Arc::new(AtomicBool::new(false));
            let requests = sick.requests().len();
            let producer = make_ill(&healing, &stop);
            assert!(sick.wait_for_requests(requests + 10, LONG));
            beside = beside.max(rate(other()).await);
            stop.store(true, Ordering::Relaxed);
            producer.join().unwrap();
            assert!(healing.flush(LONG).await.unwrap().complete);
        }
        healing.stop(LONG).await.unwrap();
        println!(
            "alone {alone:.0} points/s, beside {} requests of a healing {beside:.0}",
            sick.requests().len()
        );
        assert!(beside > alone * 0.6, "half of two processors is not for it: {beside:.0} against {alone:.0}");
    });
}

/// Pushes a batch of 500 points a tenth of a second, one of them bad.
fn make_ill(db: &DatabaseHandle, stop: &Arc<AtomicBool>) -> JoinHandle<()> {
    let (db, stop) = (db.clone(), Arc::clone(stop));
    std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            for number in 0..500_i64 {
                let name = if number == 99 { "bad" } else { "m" };
                db.push(Point::new(name).field("n", number)).unwrap();
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    })
}
