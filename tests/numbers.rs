//! Numbered lines through the program into a real influxd, which is asked afterwards what it has.
//!
//! With `RUN_SLOW_TESTS` set it is a million of them.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::Write;
use std::process::ChildStdin;
use std::time::{Duration, Instant};

use support::influxd::Influxd;
use support::program::{Ended, Program};
use support::proxy::{Hold, Proxy};

/// For an event that is sure to come; a machine busy with other tests takes its time.
const LONG: Duration = Duration::from_secs(60);

fn count() -> u64 {
    if std::env::var_os("RUN_SLOW_TESTS").is_some() { 1_000_000 } else { 100_000 }
}

#[test]
fn a_real_influxd_has_every_number_once() {
    let Some(server) = influxd() else { return };
    let proxy = Proxy::start(&server.url());
    let began = Instant::now();
    let ended = run(&proxy, |_| ());
    report("undisturbed", began);
    check_delivered(&ended, &server);
    check_order(&proxy);
    assert_eq!(ended.json()["failed_requests"], 0);
}

#[test]
fn a_real_influxd_killed_twice_has_every_number_once() {
    let Some(mut server) = influxd() else { return };
    let proxy = Proxy::start(&server.url());
    let batches = usize::try_from(count() / 5_000).unwrap();
    let began = Instant::now();
    let ended = run(&proxy, |proxy| {
        for (after, hold) in [(batches / 4, Hold::HalfSent), (batches / 2, Hold::Unanswered)] {
            proxy.hold_after(after, hold);
            proxy.wait_for_held(LONG);
            server.kill();
            proxy.release();
            server.restart();
        }
    });
    report("killed twice", began);
    check_delivered(&ended, &server);
    check_order(&proxy);
    let unanswered = proxy.passed().iter().filter(|body| body.status.is_none()).count();
    assert!(unanswered >= 2, "both kills met an open request");
    assert!(ended.json()["failed_requests"].as_u64() >= Some(2));
}

fn influxd() -> Option<Influxd> {
    let server = Influxd::start()?;
    server.create_database("plant");
    Some(server)
}

/// Writes the numbers through the proxy, while `disturb` does what it does.
fn run(proxy: &Proxy, disturb: impl FnOnce(&Proxy)) -> Ended {
    let folder = tempfile::tempdir().unwrap();
    let spool = folder.path().join("plant.db");
    let (url, spool) = (proxy.url(), spool.to_str().unwrap());
    let mut program = Program::start(&[
        "write",
        "--url",
        &url,
        "--database",
        "plant",
        "--spool",
        spool,
        "--deadline",
        "300s",
        "--json",
    ]);
    let input = program.take_stdin();
    let writer = std::thread::spawn(move || write_numbers(input));
    disturb(proxy);
    writer.join().unwrap();
    program.wait()
}

fn write_numbers(mut input: ChildStdin) {
    let mut lines = String::new();
    for number in 0..count() {
        lines += &format!("numbers,sensor=a n={number}i {}\n", 1_700_000_000_000_000_000 + number);
        if lines.len() > 60_000 || number + 1 == count() {
            input.write_all(lines.as_bytes()).expect("the program reads to the end");
            lines.clear();
        }
    }
}

fn check_delivered(ended: &Ended, server: &Influxd) {
    ended.check_code(0);
    let (summary, n) = (ended.json(), count());
    assert_eq!(summary["lines"], n);
    assert_eq!(summary["accepted"], n);
    for (fate, points) in summary["fates"].as_object().unwrap() {
        assert_eq!(points.as_u64().unwrap(), if fate == "delivered" { n } else { 0 }, "{summary}");
    }
    let answer = server.query("plant", "SELECT count(n), sum(n), min(n), max(n) FROM numbers");
    let values = answer["results"][0]["series"][0]["values"][0].as_array().unwrap();
    let numbers: Vec<_> = values[1..].iter().map(|value| value.as_u64().unwrap()).collect();
    assert_eq!(numbers, [n, n * (n - 1) / 2, 0, n - 1], "count, sum, min, max");
}

/// Nothing overtakes: the numbers that bodies begin with do not decrease, and only a resend repeats one.
fn check_order(proxy: &Proxy) {
    let first = |text: &str| -> u64 {
        text.split("n=").nth(1).and_then(|rest| rest.split('i').next()).unwrap().parse().unwrap()
    };
    let passed = proxy.passed();
    let firsts: Vec<_> = passed.iter().map(|body| (first(&body.text), body.status)).collect();
    for pair in firsts.windows(2) {
        let ((before, status), (after, _)) = (pair[0], pair[1]);
        match status {
            Some(204) => assert!(before < after, "{before} was accepted, then came {after}"),
            _ => assert_eq!(before, after, "what failed is what is sent again"),
        }
    }
}

fn report(what: &str, began: Instant) {
    let seconds = began.elapsed().as_secs_f64();
    println!("{what}: {} points in {seconds:.2} s, {:.0} points/s", count(), count() as f64 / seconds);
}
