//! The program from outside, as a user runs it.

#![allow(clippy::unwrap_used)]

#[path = "program/hanging.rs"]
mod hanging;
mod support;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::program::{Ended, Program};
use support::receiver::{Manner, Receiver};
use tempfile::TempDir;

/// For an event that is sure to come; a machine busy with other tests takes its time.
const LONG: Duration = Duration::from_secs(60);

/// Between two looks at a file that another process changes; there is no event to wait for.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

const SIGTERM: i32 = 15;

/// A receiver, a folder for the spool, and the arguments that bring them together.
struct Bench {
    receiver: Receiver,
    url: String,
    folder: TempDir,
}

impl Bench {
    fn up() -> Self {
        Self::with(Receiver::start())
    }

    fn down() -> Self {
        Self::with(Receiver::start_down())
    }

    fn with(receiver: Receiver) -> Self {
        let url = receiver.url();
        Self { receiver, url, folder: tempfile::tempdir().unwrap() }
    }

    fn spool(&self) -> PathBuf {
        self.folder.path().join("plant.db")
    }

    fn start(&self, more: &[&str]) -> Program {
        let spool = self.spool();
        let spool = spool.to_str().unwrap();
        let args = ["write", "--url", &self.url, "--database", "plant", "--spool", spool, "--json"];
        Program::start(&[&args, more].concat())
    }

    fn run(&self, more: &[&str], input: impl AsRef<[u8]>) -> Ended {
        let mut program = self.start(more);
        program.feed(input);
        program.end()
    }

    fn inspect(&self) -> Value {
        Program::run(&["inspect", self.spool().to_str().unwrap(), "--json"], "").check_code(0).json()
    }

    /// Waits until so many points lie in the spool.
    fn wait_for_backlog(&self, points: u64) {
        let end = Instant::now() + LONG;
        while backlog_of(&self.spool()) != Some(points) {
            assert!(Instant::now() < end, "the backlog is {:?}", backlog_of(&self.spool()));
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}

fn backlog_of(spool: &Path) -> Option<u64> {
    influx_spool::inspect(spool).ok().map(|seen| seen.backlog.points)
}

fn numbers(range: std::ops::Range<u64>) -> String {
    range.map(|number| format!("m n={number}i {number}\n")).collect()
}

/// What was ever accepted is where the summary says it is.
#[track_caller]
fn check_sums(summary: &Value) {
    let number = |value: &Value| value.as_u64().unwrap();
    let fates: u64 = summary["fates"].as_object().unwrap().values().map(number).sum();
    let pending = number(&summary["pending"]["points"]);
    assert_eq!(
        number(&summary["backlog_before"]) + number(&summary["accepted"]),
        fates + pending,
        "{summary}"
    );
}

#[test]
fn lines_are_delivered_in_order() {
    let bench = Bench::up();
    let ended = bench.run(&[], numbers(0..20_000));
    let summary = ended.check_code(0).json();
    check_sums(&summary);
    assert_eq!(summary["complete"], true);
    assert_eq!(summary["lines"], 20_000);
    assert_eq!(summary["fates"]["delivered"], 20_000);
    assert_eq!(bench.receiver.lines().join("\n") + "\n", numbers(0..20_000));
}

#[test]
fn verify_tells_a_sound_spool_from_a_damaged_one_and_salvage_mends_it() {
    let bench = Bench::down();
    bench.run(&["--deadline", "0s", "--gzip", "off"], numbers(0..2_000)).check_code(2);
    let spool = bench.spool();
    let file = spool.to_str().unwrap();
    let whole = std::fs::read(&spool).unwrap();
    let sound = Program::run(&["verify", file, "--json"], "");
    let seen = sound.check_code(0).json();
    assert_eq!((&seen["sound"], &seen["backlog"]["good_points"]), (&Value::Bool(true), &Value::from(2_000)));
    assert_eq!(Program::run(&["salvage", file], "").check_code(0).stdout, "sound: nothing was changed\n");
    assert!(std::fs::read(&spool).unwrap() == whole);

    let at = whole.windows(12).position(|bytes| bytes == b"m n=77i 77\nm").unwrap();
    let mut damaged = whole;
    damaged[at] ^= 4;
    std::fs::write(&spool, &damaged).unwrap();
    let found = Program::run(&["verify", file], "");
    assert!(found.check_code(1).stdout.contains("its checksum is wrong"), "{found:?}");
    assert!(std::fs::read(&spool).unwrap() == damaged, "verify changes nothing");
    let salvaged = Program::run(&["salvage", file, "--json"], "");
    let report = salvaged.check_code(2).json();
    assert!(std::fs::read(report["set_aside"].as_str().unwrap()).unwrap() == damaged);
    assert_eq!(report["points"].as_u64().unwrap() + report["damaged_points"].as_u64().unwrap(), 2_000);
    Program::run(&["verify", file], "").check_code(0);
    assert_eq!(Program::run(&["salvage", file, "--json"], "").check_code(0).stdout, "null\n");
}

#[test]
fn verify_says_where_it_cannot_tell() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("notes.txt");
    Program::run(&["verify", file.to_str().unwrap()], "").check_code(2);
    Program::run(&["verify"], "").check_code(2);
    std::fs::write(&file, "notes").unwrap();
    let refused = Program::run(&["verify", file.to_str().unwrap()], "");
    assert!(refused.check_code(2).stderr.contains("not a spool file"), "{refused:?}");
    let refused = Program::run(&["salvage", file.to_str().unwrap()], "");
    assert!(refused.check_code(1).stderr.contains("not a spool file"), "{refused:?}");
    assert_eq!(std::fs::read(&file).unwrap(), b"notes");
}

#[test]
fn without_json_a_table_is_printed() {
    let bench = Bench::up();
    let ended = Program::run(
        &["write", "--url", &bench.url, "--database", "plant", "--gzip", "off"],
        numbers(0..1_234),
    );
    ended.check_code(0);
    assert_eq!(ended.stderr, "");
    let first: Vec<_> = ended.stdout.lines().take(3).map(|line| line.split_whitespace().last()).collect();
    assert_eq!(first, [Some("1,234"); 3], "{}", ended.stdout);
}

#[test]
fn options_reach_the_server() {
    let bench = Bench::up();
    let options = ["--rp", "week", "--precision", "ms", "--batch-points", "10", "--loss-window", "0s"];
    bench.run(&options, numbers(0..25)).check_code(0);
    let accepted = bench.receiver.accepted();
    let sizes: Vec<_> = accepted.iter().map(|body| body.text.lines().count()).collect();
    assert_eq!(sizes, [10, 10, 5]);
    for part in ["db=plant", "rp=week", "precision=ms"] {
        assert!(accepted[0].target.contains(part), "{}", accepted[0].target);
    }
}

#[test]
fn bad_usage_and_what_cannot_begin_exit_with_1() {
    let bench = Bench::up();
    for args in [
        &[][..],
        &["write"],
        &["write", "--url", &bench.url],
        &["write", "--url", "ftp://x", "--database", "plant"],
        &["write", "--url", &bench.url, "--database", "plant", "--deadline", "soon"],
        &["write", "--url", &bench.url, "--database", "plant", "--spool", "/dev/null/x"],
        &["inspect", "no-such.db"],
        &["export", "Cargo.toml"],
    ] {
        let ended = Program::run(args, "");
        ended.check_code(1);
        assert!(ended.stdout.is_empty() && !ended.stderr.is_empty(), "{ended:?}");
    }
    for args in [&["--help"][..], &["write", "--help"], &["--version"]] {
        Program::run(args, "").check_code(0);
    }
}

#[test]
fn what_is_left_is_spooled_and_goes_first_the_next_time() {
    let bench = Bench::down();
    let ended = bench.run(&["--deadline", "0s"], numbers(0..12_000));
    let summary = ended.check_code(2).json();
    check_sums(&summary);
    assert_eq!(summary["pending"]["spooled"]["points"], 12_000);
    assert_eq!((&summary["unsaved"], &summary["complete"]), (&0.into(), &false.into()));
    assert!(ended.stderr.contains("12000 points are left in"), "{}", ended.stderr);

    bench.receiver.come_up();
    let ended = bench.run(&[], numbers(12_000..15_000));
    let summary = ended.check_code(0).json();
    check_sums(&summary);
    assert_eq!((&summary["backlog_before"], &summary["accepted"]), (&12_000.into(), &3_000.into()));
    assert_eq!(bench.receiver.lines().join("\n") + "\n", numbers(0..15_000));
    assert_eq!(bench.inspect()["ledger"]["delivered"]["points"], 15_000);
}

#[test]
fn without_a_spool_what_is_left_is_said_to_be_lost() {
    let bench = Bench::down();
    let args = ["write", "--url", &bench.url, "--database", "plant", "--deadline", "0s", "--json"];
    let ended = Program::run(&args, numbers(0..10));
    assert_eq!(ended.check_code(2).json()["unsaved"], 10);
    assert!(ended.stderr.contains("10 points were neither delivered nor stored"), "{}", ended.stderr);
}

#[test]
fn refused_lines_are_told_by_number_and_do_not_hold_up_the_others() {
    let bench = Bench::up();
    let input = "# a comment\nm f=1 1\n\nbad\nm s=\"two\nlines\" 2\nm f=x 3\r\nm f=4 4";
    let ended = bench.run(&[], input);
    let summary = ended.check_code(2).json();
    check_sums(&summary);
    assert_eq!(
        (&summary["refused"], &summary["accepted"], &summary["lines"]),
        (&2.into(), &3.into(), &8.into())
    );
    assert_eq!(
        ended.stderr,
        "refused: line 4, byte 4: fields: there are none\n\
         refused: line 7, byte 5: field value is not a valid value\n"
    );
    assert_eq!(bench.receiver.accepted()[0].text, "m f=1 1\nm s=\"two\nlines\" 2\nm f=4 4\n");
}

#[test]
fn many_refused_lines_do_not_flood_the_terminal() {
    let bench = Bench::up();
    let began = Instant::now();
    let ended = bench.run(&[], "bad\n".repeat(50_000));
    assert_eq!(ended.check_code(2).json()["refused"], 50_000);
    let said = ended.stderr.lines().count() as u64;
    assert!((20..=22 + began.elapsed().as_secs()).contains(&said), "{said} lines");
}

#[test]
fn a_string_with_newlines_may_arrive_in_pieces() {
    let bench = Bench::up();
    let mut program = bench.start(&[]);
    program.feed("m f=1 1\nm s=\"a\n");
    // The first point goes on without waiting for the end of the second.
    assert!(bench.receiver.wait_for_lines(1, LONG));
    program.feed("m f=7 7\n\" 2\nm f=3 3\n");
    program.end().check_code(0);
    let texts: String = bench.receiver.accepted().into_iter().map(|body| body.text).collect();
    assert_eq!(texts, "m f=1 1\nm s=\"a\nm f=7 7\n\" 2\nm f=3 3\n");
}

#[test]
fn a_line_too_long_for_any_request_is_refused_in_bounded_memory() {
    let bench = Bench::up();
    let long = format!("m f=1 1\nm f=\"{}\" 2\nm f=3 3\n", "x".repeat(5 << 20));
    let ended = bench.run(&[], long);
    let summary = ended.check_code(2).json();
    assert_eq!(
        (&summary["refused"], &summary["accepted"], &summary["lines"]),
        (&1.into(), &2.into(), &3.into())
    );
    assert!(ended.stderr.starts_with("refused: line 2: longer than"), "{}", ended.stderr);
}

#[test]
fn json_points_are_written() {
    let bench = Bench::up();
    let input = concat!(
        r#"{"measurement":"m","tags":{"t":"a b"},"fields":{"f":0.5,"n":1,"s":"x\ny"},"timestamp":5}"#,
        "\n\n{\"measurement\":\"m\"}\nnonsense\n",
        r#"{"measurement":"m","fields":{"b":true},"timestamp":6}"#,
    );
    let ended = bench.run(&["--format", "json"], input);
    let summary = ended.check_code(2).json();
    check_sums(&summary);
    assert_eq!((&summary["refused"], &summary["accepted"]), (&2.into(), &2.into()));
    assert!(
        ended.stderr.starts_with("refused: line 3: fields: there are none\nrefused: line 4: "),
        "{ended:?}"
    );
    assert_eq!(bench.receiver.accepted()[0].text, "m,t=a\\ b f=0.5,n=1i,s=\"x\ny\" 5\nm b=t 6\n");
}

#[test]
fn a_coarse_precision_refuses_lines_without_timestamps() {
    let bench = Bench::up();
    let ended = bench.run(&["--precision", "s"], "m f=1 1\n# x\nm f=2\n");
    assert_eq!(ended.check_code(2).json()["fates"]["delivered"], 1);
    assert_eq!(ended.stderr, "refused: line 3: no timestamp\n");
}

#[test]
fn a_batch_the_server_refuses_is_set_aside_and_can_be_exported() {
    let bench = Bench::up();
    bench.receiver.set_manner(Manner::RefuseLinesWith("poison".into()));
    let ended = bench.run(&["--batch-points", "1"], "m f=1 1\npoison f=2 2\nm f=3 3\n");
    let summary = ended.check_code(2).json();
    check_sums(&summary);
    assert_eq!(summary["fates"]["delivered"], 2);
    assert_eq!(summary["fates"]["quarantined.malformed"], 1);
    let seen = bench.inspect();
    assert_eq!(seen["quarantined"][0]["status"], 400);
    let spool = bench.spool();
    let spool = spool.to_str().unwrap();
    assert_eq!(Program::run(&["export", spool, "--quarantine"], "").check_code(0).stdout, "poison f=2 2\n");
    let other = Program::run(&["export", spool, "--quarantine", "--only-reason", "suspect"], "");
    assert_eq!(other.check_code(0).stdout, "");
    assert_eq!(Program::run(&["export", spool], "").check_code(0).stdout, "");
    assert!(Program::run(&["inspect", spool], "").check_code(0).stdout.contains("partial write"));
}

#[test]
fn points_go_by_udp_and_what_is_too_long_by_http() {
    let bench = Bench::up();
    let listener = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    listener.set_read_timeout(Some(LONG)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let long = format!("m s=\"{}\" 3\n", "x".repeat(2_000));
    let ended = bench.run(&["--udp", &address], format!("m n=1i 1\nm n=2i 2\n{long}"));
    let summary = ended.check_code(0).json();
    check_sums(&summary);
    assert_eq!((&summary["fates"]["unconfirmed"], &summary["fates"]["delivered"]), (&2.into(), &1.into()));
    let mut datagram = [0; 2_000];
    let length = listener.recv(&mut datagram).unwrap();
    assert_eq!(datagram[..length], *b"m n=1i 1\nm n=2i 2");
    assert_eq!(bench.receiver.lines().last(), Some(&long.trim_end().to_owned()));

    let only = bench.run(&["--udp", &address, "--udp-only"], &long);
    assert_eq!(only.check_code(2).json()["fates"]["quarantined.unsendable"], 1);
}

#[test]
fn what_is_in_quarantine_is_replayed_once_its_cause_is_mended() {
    let bench = Bench::up();
    bench.receiver.set_manner(Manner::RefuseLinesWith("poison".into()));
    let refused = bench.run(&["--batch-points", "1"], "m f=1 1\npoison f=2 2\npoison f=3 3\n");
    refused.check_code(2);
    let spool = bench.spool();
    let replay = |options: &[&str]| {
        let args = [&["replay", spool.to_str().unwrap(), "--quarantine"], options].concat();
        Program::run(&args, "")
    };
    replay(&["--only-reason", "cold"]).check_code(1);
    let none = replay(&["--only-reason", "suspect", "--json"]).check_code(0).json();
    assert_eq!(none["points"], 0);
    let replayed = replay(&["--only-reason", "malformed"]);
    assert_eq!(replayed.check_code(0).stdout, "pending again: 2 points in 2 batches\n");
    assert_eq!(bench.inspect()["backlog"]["points"], 2);

    bench.receiver.set_manner(Manner::Accept);
    let ended = bench.run(&[], "");
    assert_eq!(ended.check_code(0).json()["pending"]["points"], 0);
    let lines = bench.receiver.lines();
    assert_eq!(lines[lines.len() - 2..], ["poison f=2 2", "poison f=3 3"]);
    let seen = bench.inspect();
    assert_eq!((&seen["adds_up"], &seen["quarantine"]["batches"]), (&true.into(), &0.into()));
    assert_eq!(seen["ledger"]["delivered"]["points"], 3);
}

#[test]
fn a_signal_stops_the_reading_and_what_was_read_is_delivered() {
    let bench = Bench::up();
    let mut program = bench.start(&[]);
    program.feed(numbers(0..1_000) + "m n=1000i 10");
    assert!(bench.receiver.wait_for_lines(1_000, LONG));
    program.signal("TERM");
    // Its input is still open, and it is not waited for.
    let ended = program.wait();
    let summary = ended.check_code(0).json();
    check_sums(&summary);
    assert_eq!((&summary["interrupted"], &summary["input_ended"]), (&true.into(), &false.into()));
    assert_eq!(summary["lines"], 1_000);
    assert_eq!(bench.receiver.lines().len(), 1_000, "a line that was cut off is not sent");
    assert!(ended.stderr.contains("the first 1000 lines of the input were taken"), "{}", ended.stderr);
}

#[test]
fn a_signal_in_an_outage_leaves_everything_in_the_spool() {
    let bench = Bench::down();
    let mut program = bench.start(&["--loss-window", "1h"]);
    program.feed(numbers(0..5_000));
    // An attempt has failed, so it was read.
    program.wait_for_words("the server takes no points", LONG);
    program.signal("INT");
    let ended = program.wait();
    let summary = ended.check_code(2).json();
    check_sums(&summary);
    assert_eq!((&summary["unsaved"], &summary["closed"]), (&0.into(), &true.into()));
    let taken = summary["lines"].as_u64().unwrap();
    assert_eq!(summary["pending"]["spooled"]["points"], taken);

    bench.receiver.come_up();
    let ended = bench.run(&[], numbers(taken..5_001));
    assert_eq!(ended.check_code(0).json()["backlog_before"], taken);
    assert_eq!(bench.receiver.lines().join("\n") + "\n", numbers(0..5_001));
}

#[test]
fn input_is_read_no_faster_than_it_can_be_kept_and_a_second_signal_ends_it() {
    /// What memory takes by default: `queue.points_max`.
    const QUEUE_POINTS: u64 = 1_000_000;

    let bench = Bench::up();
    bench.receiver.set_manner(Manner::Silence);
    let mut program = Program::start(&["write", "--url", &bench.url, "--database", "plant"]);
    let line = "m n=1i 1\n";
    let (mut input, written) = (program.take_stdin(), Arc::new(AtomicU64::new(0)));
    let counting = Arc::clone(&written);
    let (full, is_full) = mpsc::channel();
    // So much goes into the queue and the pipe behind it, wherever a read ends.
    let held = QUEUE_POINTS + 6_000;
    let writer = std::thread::spawn(move || {
        let lines = line.repeat(1_000);
        while input.write_all(lines.as_bytes()).is_ok() {
            if counting.fetch_add(1_000, Ordering::Relaxed) + 1_000 == held {
                full.send(()).unwrap();
            }
        }
    });
    is_full.recv_timeout(LONG).expect("it takes what memory may hold");
    program.signal("TERM");
    program.wait_for_words("interrupted", LONG);
    program.signal("TERM");
    let ended = program.wait();
    if ended.status.code() == Some(2) {
        // Some of it was still in the pipe at the first signal: what was read had room, and nobody waited for a second.
        let accepted = ended.stdout.lines().find_map(|line| line.strip_prefix("accepted")).unwrap();
        let accepted: u64 = accepted.trim().replace(',', "").parse().unwrap();
        assert!(accepted <= QUEUE_POINTS, "{ended:?}");
    } else {
        ended.check_signal(SIGTERM);
    }
    writer.join().unwrap();
    // On the way: what a pipe holds, one chunk that was read ahead and one that waits for room.
    let on_the_way = 4 * (64 << 10) / line.len() as u64;
    let written = written.load(Ordering::Relaxed);
    assert!(written <= QUEUE_POINTS + on_the_way, "it took {written} lines");
}

#[test]
fn a_spool_can_be_looked_into_while_it_is_in_use() {
    let bench = Bench::down();
    let mut program = bench.start(&["--loss-window", "0s"]);
    program.feed(numbers(0..20_000));
    bench.wait_for_backlog(20_000);
    let seen = bench.inspect();
    assert_eq!(seen["held_by"], program.pid());
    assert_eq!((&seen["adds_up"], &seen["backlog"]["points"]), (&true.into(), &20_000.into()));
    let spool = bench.spool();
    let spool = spool.to_str().unwrap();
    assert_eq!(Program::run(&["export", spool], "").check_code(0).stdout, numbers(0..20_000));
    let table = Program::run(&["inspect", spool], "");
    assert!(table.check_code(0).stdout.contains("20,000"), "{}", table.stdout);

    let ended = bench.run(&[], "");
    ended.check_code(1);
    assert!(ended.stderr.contains(&format!("in use by process {}", program.pid())), "{}", ended.stderr);

    bench.receiver.come_up();
    program.end().check_code(0);
}

#[test]
fn whoever_reads_an_export_may_stop_early() {
    let bench = Bench::down();
    // More than a pipe holds.
    bench.run(&["--deadline", "0s"], numbers(0..50_000)).check_code(2);
    let mut child = Command::new(env!("CARGO_BIN_EXE_influx-spool"))
        .args(["export", bench.spool().to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 9];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(&first, b"m n=0i 0\n");
    let ended = child.wait_with_output().unwrap();
    assert_eq!((ended.status.code(), ended.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn an_export_that_finds_no_room_does_not_blame_the_spool() {
    let bench = Bench::down();
    bench.run(&["--deadline", "0s"], numbers(0..10)).check_code(2);
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let ended = Command::new(env!("CARGO_BIN_EXE_influx-spool"))
        .args(["export", bench.spool().to_str().unwrap()])
        .stdout(full)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let words = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{words}");
    assert!(
        words.starts_with("influx-spool: print what ") && words.contains(" holds: disk full ("),
        "{words}"
    );
    assert_eq!(words.matches("No space left").count(), 1, "{words}");
}

mod asking {
    use super::*;
    use support::influxd::Influxd;
    use support::scripted::{Script, Scripted};

    fn query(url: &str, more: &[&str]) -> Ended {
        Program::run(&[&["query", "--url", url, "--database", "plant"], more].concat(), "")
    }

    fn server() -> Option<Influxd> {
        let server = Influxd::start()?;
        server.create_database("plant");
        let lines = b"cpu,host=a usage=0.5,note=\"x, \\\"y\\\"\" 1\ncpu,host=b usage=1 1500000000000000000\n";
        assert_eq!(server.write("plant", lines).status, 204);
        Some(server)
    }

    #[test]
    fn rows_are_printed_in_every_format() {
        let Some(server) = server() else { return };
        let rows = |more: &[&str]| {
            let ended =
                query(&server.url(), &[&["SELECT usage, note FROM cpu GROUP BY host"], more].concat());
            ended.check_code(0);
            assert_eq!(ended.stderr, "");
            ended.stdout
        };
        assert_eq!(
            rows(&[]),
            "cpu
host  time                            usage  note
a     1970-01-01T00:00:00.000000001Z  0.5    x, \"y\"
b     2017-07-14T02:40:00Z            1
"
        );
        assert_eq!(
            rows(&["--format", "csv", "--time", "ns"]),
            "name,host,time,usage,note\ncpu,a,1,0.5,\"x, \"\"y\"\"\"\ncpu,b,1500000000000000000,1,\n"
        );
        assert_eq!(
            rows(&["--format", "json", "--time", "s"]),
            r#"{"_measurement":"cpu","host":"a","time":0,"usage":0.5,"note":"x, \"y\""}
{"_measurement":"cpu","host":"b","time":1500000000,"usage":1,"note":null}
"#
        );
    }

    #[test]
    fn what_is_refused_is_said_and_exits_with_1() {
        let Some(server) = server() else { return };
        let refused = query(&server.url(), &["SELECT"]);
        refused.check_code(1);
        assert!(refused.stderr.contains("query: status 400: error parsing query: found EOF"), "{refused:?}");
        let unknown = query(&server.url(), &["SELECT v FROM m", "--database", "nope"]);
        // A flag that is given twice is bad usage.
        unknown.check_code(1);
        let down = query("http://127.0.0.1:1", &["SHOW DATABASES"]);
        down.check_code(1);
        assert!(down.stderr.starts_with("influx-spool: query: reach the server: "), "{down:?}");
    }

    #[test]
    fn statements_that_change_are_posted() {
        let Some(server) = server() else { return };
        query(&server.url(), &["--post", "CREATE DATABASE other"]).check_code(0);
        let databases = query(&server.url(), &["SHOW DATABASES", "--format", "csv"]);
        assert_eq!(databases.stdout, "name,name\ndatabases,plant\ndatabases,other\n");
    }

    #[test]
    fn a_ping_tells_the_version() {
        let Some(server) = Influxd::start() else { return };
        let pong = Program::run(&["ping", "--url", &server.url(), "--json"], "");
        assert_eq!(pong.check_code(0).json()["build"], "OSS");
        let pong = Program::run(&["ping", "--url", &server.url()], "");
        assert!(pong.stdout.contains(" (OSS) answered after "), "{pong:?}");
        Program::run(&["ping", "--url", "http://127.0.0.1:1"], "").check_code(1);
    }

    #[test]
    fn each_interface_is_asked_in_its_own_language() {
        let csv = "#datatype,string,long\n#group,false,false\n#default,_result,\n,result,n\n,,7\n";
        let flux = Scripted::playing([Script::status(200, "", csv)]);
        let args = ["from()", "--api", "v2", "--org", "o", "--token", "t", "--format", "json"];
        assert_eq!(query(&flux.url(), &args).stdout, "{\"result\":\"_result\",\"n\":7}\n");
        let seen = &flux.seen()[0];
        assert_eq!(
            (seen.target.as_str(), seen.header("authorization")),
            ("/api/v2/query?org=o", Some("Token t"))
        );

        let sql = Scripted::playing([Script::status(200, "", "{\"n\":7}\n{\"n\":8}\n")]);
        let args = ["SELECT 7", "--api", "v3", "--token", "t", "--format", "csv"];
        assert_eq!(query(&sql.url(), &args).stdout, "n\n7\n8\n");
        let seen = &sql.seen()[0];
        assert_eq!(
            (seen.target.as_str(), seen.header("authorization")),
            ("/api/v3/query_sql", Some("Bearer t"))
        );
    }
}
