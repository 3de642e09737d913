//! From push to a server's 204, durable, with the writer's own CPU time: `cargo bench --bench end_to_end`.
//!
//! The receiving end is a process of its own that reads bodies and answers 204, so that its cost is not the writer's.
//! Yardsticks of the same lines in the same run: `memcpy`, and deflate as the writer uses it. Everything is run in turn,
//! several times, and the median is printed: the machine may be shared, so compare ratios, not absolutes.
//!
//! With `--guard` it takes some twenty seconds and fails if a ratio to a yardstick is twice what it was when it was recorded.
//! With `--verify` the receiver unpacks every body and counts its lines, which must be as many as were pushed.

use std::hint::black_box;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use influx_spool::{
    Database, DatabaseHandle, Encoder, Fate, LineRules, Precision, Series, SeriesBuilder, SeriesPusher,
};

/// Points of one run: a second or two of work.
const POINTS: u64 = 2_000_000;
const ROUNDS: usize = 5;
/// Series that the points belong to.
const HOSTS: usize = 16;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.iter().any(|argument| argument == "--sink") {
        sink(arguments.iter().any(|argument| argument == "--count"));
        return;
    }
    if arguments.iter().any(|argument| argument == "--test") {
        // `cargo test --benches` asks whether it runs, not how fast.
        end_to_end(&Setting { points: 10_000, ..Setting::durable(true, 1) }, true);
        return;
    }
    if arguments.iter().any(|argument| argument == "--guard") {
        guard();
        return;
    }
    let rounds = arguments
        .iter()
        .find_map(|argument| argument.strip_prefix("--rounds="))
        .map_or(ROUNDS, |rounds| rounds.parse().expect("a number of rounds"));
    let only = arguments.iter().find_map(|argument| argument.strip_prefix("--only=")).unwrap_or_default();
    let verify = arguments.iter().any(|argument| argument == "--verify");
    let settings: Vec<_> = [
        ("push, 1 producer", None, Setting::push_only(1)),
        ("push, 2 producers", None, Setting::push_only(2)),
        ("end to end, durable, gzip, 1 producer", Some(true), Setting::durable(true, 1)),
        ("end to end, durable, gzip, 2 producers", Some(true), Setting::durable(true, 2)),
        ("end to end, durable, plain, 1 producer", Some(false), Setting::durable(false, 1)),
        ("end to end, durable, plain, 2 producers", Some(false), Setting::durable(false, 2)),
        ("end to end, 1 s window, gzip, 1 producer", Some(true), Setting::windowed(true, 1)),
        ("end to end, 1 s window, plain, 1 producer", Some(false), Setting::windowed(false, 1)),
    ]
    .into_iter()
    .filter(|(name, ..)| name.contains(only))
    .collect();
    let mut yards = Vec::new();
    let mut results: Vec<Vec<Outcome>> = vec![Vec::new(); settings.len()];
    for _ in 0..rounds {
        yards.push(yardsticks());
        for (outcomes, (_, _, setting)) in results.iter_mut().zip(&settings) {
            outcomes.push(end_to_end(setting, verify));
        }
    }
    let memcpy = median(yards.iter().map(|yard| yard.memcpy_ns));
    let deflate = median(yards.iter().map(|yard| yard.deflate_ns));
    let write = median(yards.iter().map(|yard| yard.write_ns));
    let encode = median(yards.iter().map(|yard| yard.encode_ns));
    println!("{} bytes a line; median of {rounds} rounds", yards[0].line_bytes);
    println!(
        "of a line: memcpy {memcpy:.1} ns, encode (prepared series) {encode:.1} ns, deflate {deflate:.1} ns, \
         write + fdatasync {write:.1} ns"
    );
    println!("{:45} {:>12} {:>14} {:>12} {:>12}", "", "points/s", "CPU s/million", "× deflate", "ns/push");
    for ((name, gzip, _), outcomes) in settings.iter().zip(&results) {
        let rate = median(outcomes.iter().map(|outcome| outcome.points_per_second));
        let cpu = median(outcomes.iter().map(|outcome| outcome.cpu_seconds_per_million));
        let push = median(outcomes.iter().map(|outcome| outcome.push_ns));
        let ratio = gzip.map_or_else(String::new, |_| format!("{:.2}", cpu * 1000.0 / deflate));
        println!("{name:45} {rate:>12.0} {cpu:>14.3} {ratio:>12} {push:>12.1}");
    }
}

/// What a point costs for each nanosecond of a yardstick in the same run, when it was last looked at: the least of all rounds by the
/// least of all rounds, since what else the machine does only ever adds. Twice as much is a gross loss.
///
/// What writing costs is no yardstick for that: it is the file system's, and another's takes a third of it.
const RECORDED: [(&str, f64); 4] = [
    ("encode, prepared series ÷ memcpy", 5.0),
    ("push ÷ encode", 3.5),
    ("durable, gzip: CPU ÷ deflate", 2.2),
    ("durable, plain: CPU ÷ deflate", 1.8),
];

/// Fails on a gross loss.
fn guard() {
    const GUARD_ROUNDS: usize = 8;
    let setting = |setting| Setting { points: 400_000, ..setting };
    let run = |_| {
        let yards = yardsticks();
        let push = end_to_end(&setting(Setting::push_only(1)), false);
        let gzip = end_to_end(&setting(Setting::durable(true, 1)), true);
        let plain = end_to_end(&setting(Setting::durable(false, 1)), true);
        [
            (yards.encode_ns, yards.memcpy_ns),
            (push.push_ns, yards.encode_ns),
            (gzip.cpu_seconds_per_million * 1e3, yards.deflate_ns),
            (plain.cpu_seconds_per_million * 1e3, yards.deflate_ns),
        ]
    };
    let rounds: Vec<_> = (0..GUARD_ROUNDS).map(run).collect();
    let mut lost = Vec::new();
    for (n, (name, recorded)) in RECORDED.iter().enumerate() {
        let least = |part: fn(&(f64, f64)) -> f64| {
            rounds.iter().map(|round| part(&round[n])).fold(f64::MAX, f64::min)
        };
        let ratio = least(|(ours, _)| *ours) / least(|(_, yard)| *yard);
        println!("{name:45} {ratio:>8.2}, recorded {recorded:.2}");
        if ratio > 2.0 * recorded {
            lost.push(name);
        }
    }
    assert!(lost.is_empty(), "more than twice as dear as recorded: {lost:?}");
}

#[derive(Clone)]
struct Setting {
    points: u64,
    producers: u64,
    durable: bool,
    gzip: bool,
    send: bool,
}

impl Setting {
    fn durable(gzip: bool, producers: u64) -> Self {
        Self { points: POINTS, producers, durable: true, gzip, send: true }
    }

    fn windowed(gzip: bool, producers: u64) -> Self {
        Self { durable: false, ..Self::durable(gzip, producers) }
    }

    /// Nothing is sent or stored: the queue takes what it can hold.
    fn push_only(producers: u64) -> Self {
        Self { points: 900_000, producers, durable: false, gzip: false, send: false }
    }
}

#[derive(Clone)]
struct Outcome {
    points_per_second: f64,
    cpu_seconds_per_million: f64,
    push_ns: f64,
}

type Values = (f64, i64, bool, &'static str);

fn end_to_end(setting: &Setting, verify: bool) -> Outcome {
    let sink = Sink::start(verify);
    let dir = disk();
    let mut builder = Database::builder("bench").http(&sink.url).gzip(setting.gzip);
    if setting.send {
        builder = builder.spool(dir.path().join("bench.db"));
    } else {
        builder = builder.http("http://127.0.0.1:9").linger(Duration::from_secs(3600));
        builder = builder.configure(|config| {
            config.batch.bytes_max = (256 << 20).try_into().expect("not zero");
            config.batch.points_max = (1 << 20).try_into().expect("not zero");
        });
    }
    if setting.durable {
        builder = builder.loss_window(Duration::ZERO);
    }
    let builder = builder.configure(|config| {
        config.queue.points_max =
            if setting.send { 200_000 } else { 1_000_000 }.try_into().expect("not zero");
        config.queue.bytes_max = (256 << 20).try_into().expect("not zero");
    });
    let db = builder.start().expect("the database starts");
    let cpu = cpu_seconds();
    let start = Instant::now();
    let pushing = push_all(&db, setting);
    if setting.send {
        let report = actix_rt::System::new().block_on(db.flush(Duration::from_secs(120))).expect("a flush");
        assert!(report.complete, "{report:?}");
    }
    let elapsed = start.elapsed();
    let cpu = cpu_seconds() - cpu;
    let stats = db.stats();
    if setting.send {
        assert_eq!(stats.ledger.of(Fate::Delivered).points, setting.points);
        assert_eq!(stats.pending.points, 0);
    }
    actix_rt::System::new()
        .block_on(db.stop(Duration::from_secs(if setting.send { 10 } else { 0 })))
        .expect("a stop");
    if setting.send && verify {
        assert_eq!(sink.lines(), setting.points, "every point arrived");
    }
    Outcome {
        points_per_second: setting.points as f64 / elapsed.as_secs_f64(),
        cpu_seconds_per_million: cpu * 1e6 / setting.points as f64,
        push_ns: pushing.as_secs_f64() * 1e9 / setting.points as f64,
    }
}

/// Pushes all points, and returns how long a thread was at it.
fn push_all(db: &DatabaseHandle, setting: &Setting) -> Duration {
    let share = setting.points / setting.producers;
    let start = Instant::now();
    std::thread::scope(|scope| {
        for producer in 0..setting.producers {
            scope.spawn(move || {
                let hosts = series(db);
                for n in producer * share..(producer + 1) * share {
                    let values = (n as f64 * 0.001, n as i64, n % 2 == 0, "running");
                    hosts[n as usize % hosts.len()].blocking_push(values).expect("it is accepted");
                }
            });
        }
    });
    start.elapsed()
}

fn series(db: &DatabaseHandle) -> Vec<SeriesPusher<Values>> {
    (0..HOSTS).map(|host| db.series(&machine_state(host)).expect("the series can be written")).collect()
}

fn machine_state(host: usize) -> Series<Values> {
    SeriesBuilder::new("machine_state")
        .tag("host", format!("host-{host:04}.example.com"))
        .tag("region", "eu-central-1")
        .tag("rack", format!("rack-{:02}", host % 7))
        .tag("service", "press line")
        .fields(["temperature", "cycles", "running", "state"])
}

struct Yards {
    line_bytes: usize,
    memcpy_ns: f64,
    encode_ns: f64,
    deflate_ns: f64,
    write_ns: f64,
}

/// What the same lines cost to copy, to encode, to compress, and to write and sync, on one thread.
fn yardsticks() -> Yards {
    const LINES: usize = 200_000;
    const BATCH: usize = 5_000;
    let encoder = Encoder::new(Precision::Nanoseconds, &LineRules::default()).expect("the rules fit");
    let prepare = |host| encoder.prepare(&machine_state(host)).expect("the series can be written");
    let hosts: Vec<_> = (0..HOSTS).map(prepare).collect();
    let mut lines = Vec::new();
    let mut ends = Vec::new();
    let encode = |lines: &mut Vec<u8>, n: usize| {
        let values = (n as f64 * 0.001, n as i64, n.is_multiple_of(2), "running");
        let stamp = || 1_795_000_000_000_000_000 + n as i64 * 1_037;
        hosts[n % hosts.len()].encode(values, None, stamp, lines).expect("a line");
    };
    for n in 0..LINES {
        encode(&mut lines, n);
        ends.push(lines.len());
    }
    let mut scratch = Vec::with_capacity(1 << 20);
    let encode_ns = time(LINES, || {
        for n in 0..LINES {
            if n % BATCH == 0 {
                scratch.clear();
            }
            encode(black_box(&mut scratch), n);
        }
    });
    let mut copy = Vec::with_capacity(1 << 20);
    let memcpy_ns = time(LINES, || {
        let mut start = 0;
        for (n, end) in ends.iter().enumerate() {
            if n % BATCH == 0 {
                copy.clear();
            }
            copy.extend_from_slice(black_box(&lines[start..*end]));
            start = *end;
        }
    });
    let mut compressor = libdeflater::Compressor::new(libdeflater::CompressionLvl::new(1).expect("a level"));
    let mut packed = vec![0; 2 << 20];
    let deflate_ns = time(LINES, || {
        let mut start = 0;
        for end in ends.iter().skip(BATCH - 1).step_by(BATCH) {
            black_box(compressor.gzip_compress(&lines[start..*end], &mut packed).expect("it fits"));
            start = *end;
        }
    });
    let dir = disk();
    let mut file = std::fs::File::create(dir.path().join("yardstick")).expect("a file");
    let write_ns = time(LINES, || {
        let mut start = 0;
        for end in ends.iter().skip(BATCH - 1).step_by(BATCH) {
            file.write_all(&lines[start..*end]).expect("there is room");
            file.sync_data().expect("it is synced");
            start = *end;
        }
    });
    Yards { line_bytes: lines.len() / LINES, memcpy_ns, encode_ns, deflate_ns, write_ns }
}

/// A folder that is gone afterwards, on the disk that has what was compiled: one for temporary files may be memory.
fn disk() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder")
}

fn time(count: usize, work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64() * 1e9 / count as f64
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// User and system time of this process: fields 14 and 15 of `/proc/self/stat`, in hundredths of a second.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 =
        after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    ticks as f64 / 100.0
}

/// The receiving process.
struct Sink {
    child: Child,
    url: String,
    address: String,
}

impl Sink {
    fn start(count: bool) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
        command.arg("--sink").stdout(Stdio::piped());
        if count {
            command.arg("--count");
        }
        let mut child = command.spawn().expect("the sink starts");
        let mut address = String::new();
        BufReader::new(child.stdout.take().expect("it is piped"))
            .read_line(&mut address)
            .expect("its address");
        let address = address.trim().to_owned();
        Self { child, url: format!("http://{address}"), address }
    }

    /// Asks how many lines have arrived.
    fn lines(&self) -> u64 {
        let mut connection = TcpStream::connect(&self.address).expect("the sink listens");
        connection.write_all(b"GET /lines HTTP/1.1\r\n\r\n").expect("it reads");
        let mut answer = String::new();
        BufReader::new(connection).read_line(&mut answer).expect("it answers");
        answer.trim().parse().expect("a number")
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn sink(count: bool) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    println!("{}", listener.local_addr().expect("it is bound"));
    std::io::stdout().flush().expect("somebody reads");
    let lines = Arc::new(AtomicU64::new(0));
    for connection in listener.incoming().flatten() {
        let lines = Arc::clone(&lines);
        std::thread::spawn(move || receive(connection, count, &lines));
    }
}

fn receive(connection: TcpStream, count: bool, lines: &AtomicU64) -> Option<()> {
    connection.set_nodelay(true).ok()?;
    let mut writer = connection.try_clone().ok()?;
    let mut reader = BufReader::with_capacity(256 << 10, connection);
    let mut body = Vec::new();
    loop {
        let (mut line, mut length, mut gzip) = (String::new(), 0, false);
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        if line.starts_with("GET /lines") {
            writeln!(writer, "{}", lines.load(Ordering::SeqCst)).ok()?;
            return Some(());
        }
        while line != "\r\n" {
            line.clear();
            reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
            let header = line.trim_end().to_ascii_lowercase();
            if let Some(value) = header.strip_prefix("content-length: ") {
                length = value.parse().ok()?;
            }
            gzip |= header == "content-encoding: gzip";
        }
        body.resize(length, 0);
        reader.read_exact(&mut body).ok()?;
        if count {
            lines.fetch_add(count_lines(&body, gzip), Ordering::SeqCst);
        }
        writer.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").ok()?;
    }
}

fn count_lines(body: &[u8], gzip: bool) -> u64 {
    let newlines = |text: &[u8]| text.iter().filter(|byte| **byte == b'\n').count() as u64;
    if !gzip {
        return newlines(body);
    }
    let tail = body.last_chunk::<4>().map_or(0, |tail| u32::from_le_bytes(*tail));
    let mut plain = vec![0; tail as usize];
    libdeflater::Decompressor::new().gzip_decompress(body, &mut plain).expect("bodies are gzip");
    newlines(&plain)
}
