//! Points by UDP: what a datagram holds, what HTTP does for it, and how much of it arrives.
//!
//! A hundred thousand points by default; the million of the promise, and ten seconds without a listener, with
//! `RUN_SLOW_TESTS`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "the lints do not see that helpers of tests are tests")]

mod support;

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use influx_spool::{Database, Event, Fate, Point, QuarantineReason, Standing, Timestamp, Told, TroubleKind};
use support::influxd::Influxd;
use support::receiver::Receiver;

const LONG: Duration = Duration::from_secs(60);

/// What the promise asks to arrive of what is sent at the default pace.
const ARRIVES: f64 = 0.999;

fn run<T>(test: impl Future<Output = T>) -> T {
    actix_rt::System::new().block_on(test)
}

fn is_slow() -> bool {
    std::env::var_os("RUN_SLOW_TESTS").is_some()
}

#[test]
fn lines_travel_whole_and_those_that_are_too_long_go_by_http() {
    run(async {
        let listener = Listener::start();
        let receiver = Receiver::start();
        let db = Database::builder("udp").http(receiver.url()).udp(listener.address());
        let db =
            db.configure(|config| config.udp.as_mut().unwrap().datagram_bytes_max = 300.try_into().unwrap());
        let db = db.start().unwrap();
        let mut random = fastrand::Rng::with_seed(5);
        let mut texts = Vec::new();
        for number in 0..2_000_i64 {
            let text: String = (0..random.usize(0..400)).map(|_| random.alphanumeric()).collect();
            let point = Point::new("m")
                .field("n", number)
                .field("text", format!("{text}\n\""))
                .timestamp(Timestamp::from_nanos(number));
            texts.push(format!("m n={number}i,text=\"{text}\n\\\"\" {number}"));
            db.push(point).unwrap();
        }
        assert!(db.flush(LONG).await.unwrap().complete, "{:?}", db.health());
        let is_long = |text: &&String| text.len() > 300;
        let long: BTreeSet<String> = texts.iter().filter(is_long).cloned().collect();
        let short: BTreeSet<String> = texts.iter().filter(|text| !is_long(text)).cloned().collect();
        let datagrams = listener.wait_for(short.len() as u64, LONG);
        assert!(datagrams.iter().all(|datagram| datagram.len() <= 300), "none is too large");
        let split = |text: &str| {
            text.split("\nm n=").map(|line| format!("m n={}", line.trim_start_matches("m n="))).collect()
        };
        let arrived: BTreeSet<String> =
            datagrams.iter().flat_map(|datagram| -> Vec<String> { split(datagram) }).collect();
        assert!(arrived == short, "whole lines, and all of them");
        let by_http: BTreeSet<String> = receiver
            .accepted()
            .iter()
            // A question whether the server is there has none.
            .filter(|body| !body.text.is_empty())
            .flat_map(|body| -> Vec<String> { split(body.text.trim_end()) })
            .collect();
        let (more, fewer) = (by_http.difference(&long).next(), long.difference(&by_http).next());
        assert_eq!((more, fewer), (None, None), "the long ones, and only they");
        let stats = db.stop(LONG).await.unwrap().stats;
        let count = |fate| stats.ledger.of(fate).points;
        assert_eq!(
            (count(Fate::Unconfirmed), count(Fate::Delivered)),
            (short.len() as u64, long.len() as u64)
        );
    });
}

#[test]
fn without_http_a_long_line_is_kept_with_the_reason() {
    run(async {
        let listener = Listener::start();
        let folder = tempfile::tempdir().unwrap();
        let db = Database::builder("alone").udp(listener.address()).spool(folder.path().join("u.db"));
        let db = db.configure(|config| config.udp.as_mut().unwrap().http_fallback = false).start().unwrap();
        let long = db.push(Point::new("m").field("text", "x".repeat(2_000))).unwrap();
        let short = db.push(Point::new("m").field("n", 1)).unwrap();
        let kept = Fate::Quarantined(QuarantineReason::Unsendable);
        assert_eq!(db.delivered(long).await, Ok(Standing::Settled(kept)));
        assert_eq!(db.delivered(short).await, Ok(Standing::Settled(Fate::Unconfirmed)));
        db.stop(LONG).await.unwrap();
    });
}

#[test]
fn while_nobody_listens_everything_goes_by_http_and_nothing_is_lost() {
    let gone_for = Duration::from_secs(if is_slow() { 10 } else { 1 });
    run(async {
        let mut listener = Listener::start();
        let receiver = Receiver::start();
        let folder = tempfile::tempdir().unwrap();
        let db = Database::builder("gap").http(receiver.url()).udp(listener.address());
        let db = db.spool(folder.path().join("g.db")).linger(Duration::from_millis(20));
        let db = db.configure(|config| config.http.backoff_max = Duration::from_millis(500)).start().unwrap();
        let mut events = db.subscribe();
        let stop = Arc::new(AtomicBool::new(false));
        let producer = produce(&db, &stop);
        listener.wait_for(1_000, LONG);
        listener.stop();
        let gone = Instant::now();
        loop {
            match events.next().await {
                Some(Told::Event(Event::LinkDown { kind, .. })) => {
                    break assert_eq!(kind, TroubleKind::Unreachable);
                }
                Some(_) => {}
                None => panic!("the database has gone"),
            }
        }
        assert!(receiver.wait_for_lines(1_000, LONG), "HTTP takes over");
        actix_rt::time::sleep_until((gone + gone_for).into()).await;
        let seen = listener.count();
        listener.restart();
        listener.wait_for(seen + 1_000, LONG);
        stop.store(true, Ordering::Relaxed);
        let pushed = producer.join().unwrap();
        assert!(db.flush(LONG).await.unwrap().complete);
        let stats = db.stop(LONG).await.unwrap().stats;
        let sent = stats.ledger.of(Fate::Unconfirmed).points;
        assert_eq!(sent + stats.ledger.of(Fate::Delivered).points, pushed, "{stats:?}");
        let mut arrived: BTreeSet<u64> = receiver.lines().iter().map(|line| number_of(line)).collect();
        let by_http = arrived.len();
        arrived.extend(listener.datagrams().iter().flat_map(|datagram| datagram.lines()).map(number_of));
        println!("{pushed} pushed, {by_http} by HTTP, {sent} by UDP, {} arrived", arrived.len());
        assert_eq!(arrived.len() as u64, pushed, "every number arrived");
    });
}

#[test]
fn at_the_default_pace_a_real_listener_gets_nearly_everything() {
    let points = if is_slow() { 1_000_000 } else { 100_000 };
    // A quarter of the default where the listener shares two processors with other tests: a pause of 23 ms, which the
    // default bears, is common there.
    let quick = if is_slow() { None } else { Some("1000".to_owned()) };
    let Some(influxd) = Influxd::start() else { return };
    run(async {
        let db =
            Database::builder("udp").http(influxd.url()).udp(format!("127.0.0.1:{}", influxd.udp_port()));
        let db = db.configure(|config| {
            if let Some(rate) = std::env::var("DATAGRAMS_PER_SECOND").ok().or(quick) {
                config.udp.as_mut().unwrap().datagrams_per_second = rate.parse().unwrap();
            }
        });
        let db = db.start().unwrap();
        let begin = Instant::now();
        for number in 0..points {
            let point = Point::new("m")
                .tag("host", "a")
                .field("n", number)
                .timestamp(Timestamp::from_nanos(1_700_000_000_000_000_000 + number));
            db.push_wait(point).await.unwrap();
        }
        assert!(db.flush(LONG * 2).await.unwrap().complete, "{:?}", db.health());
        let took = begin.elapsed();
        let stats = db.stop(LONG).await.unwrap().stats;
        assert_eq!(stats.ledger.of(Fate::Unconfirmed).points, points as u64);
        let wants = (points as f64 * ARRIVES) as i64;
        // It writes what has gathered after 100 ms; nobody is told of it.
        let deadline = Instant::now() + LONG;
        let arrived = loop {
            let answer = influxd.query("udp", "SELECT count(n) FROM m");
            let count = answer["results"][0]["series"][0]["values"][0][1].as_i64().unwrap_or(0);
            if count == points || Instant::now() > deadline {
                break count;
            }
            // Below the mark it may still be on its way; above, a while is enough.
            let last = count;
            actix_rt::time::sleep(Duration::from_millis(300)).await;
            let again = influxd.query("udp", "SELECT count(n) FROM m");
            if again["results"][0]["series"][0]["values"][0][1].as_i64() == Some(last) && last >= wants {
                break last;
            }
        };
        let rate = points as f64 / took.as_secs_f64();
        println!(
            "{arrived} of {points} arrived ({:.3} %), {rate:.0} points/s",
            arrived as f64 / points as f64 * 100.0
        );
        assert!(arrived >= wants, "{arrived} of {points}");
    });
}

fn produce(db: &influx_spool::DatabaseHandle, stop: &Arc<AtomicBool>) -> JoinHandle<u64> {
    let (db, stop) = (db.clone(), Arc::clone(stop));
    std::thread::spawn(move || {
        let begin = Instant::now();
        let mut pushed = 0;
        while !stop.load(Ordering::Relaxed) {
            // 20,000 points a second.
            let due = begin + Duration::from_micros(50) * pushed;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            db.push(Point::new("m").field("n", i64::from(pushed))).unwrap();
            pushed += 1;
        }
        u64::from(pushed)
    })
}

fn number_of(line: &str) -> u64 {
    let (_, rest) = line.split_once("n=").unwrap();
    rest.split_once('i').unwrap().0.parse().unwrap()
}

/// A UDP socket and a thread that collects what comes to it.
struct Listener {
    address: std::net::SocketAddr,
    got: Arc<(Mutex<Got>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Got {
    datagrams: Vec<String>,
    points: u64,
    stopped: bool,
}

impl Listener {
    fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let mut listener = Self { address, got: Arc::default(), thread: None };
        listener.listen(socket);
        listener
    }

    fn address(&self) -> String {
        self.address.to_string()
    }

    fn listen(&mut self, socket: UdpSocket) {
        let got = Arc::clone(&self.got);
        self.thread = Some(std::thread::spawn(move || {
            let mut buffer = [0; 65_536];
            loop {
                let length = socket.recv(&mut buffer).unwrap();
                let (state, changed) = &*got;
                let mut state = state.lock().unwrap();
                if length == 0 && state.stopped {
                    return;
                }
                let text = String::from_utf8(buffer[..length].to_vec()).unwrap();
                state.points += text.matches("m n=").count() as u64;
                state.datagrams.push(text);
                changed.notify_all();
            }
        }));
    }

    fn stop(&mut self) {
        self.got.0.lock().unwrap().stopped = true;
        let waker = UdpSocket::bind("127.0.0.1:0").unwrap();
        waker.send_to(&[], self.address).unwrap();
        self.thread.take().unwrap().join().unwrap();
    }

    fn restart(&mut self) {
        self.got.0.lock().unwrap().stopped = false;
        self.listen(UdpSocket::bind(self.address).unwrap());
    }

    fn count(&self) -> u64 {
        self.got.0.lock().unwrap().points
    }

    fn datagrams(&self) -> Vec<String> {
        self.got.0.lock().unwrap().datagrams.clone()
    }

    fn wait_for(&self, points: u64, deadline: Duration) -> Vec<String> {
        let (state, changed) = &*self.got;
        let short = |got: &mut Got| got.points < points;
        let (got, _) = changed.wait_timeout_while(state.lock().unwrap(), deadline, short).unwrap();
        assert!(got.points >= points, "{} of {points} points", got.points);
        got.datagrams.clone()
    }
}
