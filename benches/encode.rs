//! What it costs to write a point as a line and to check a raw line, against copying the finished line.
//!
//! The point has four tags and four fields of mixed types, as a system monitor would send.
#![allow(clippy::unwrap_used)]

use divan::{Bencher, black_box, counter::BytesCount, counter::ItemsCount};
use influx_spool::{Encoder, FieldRef, LineRules, Point, PointRef, Precision, SeriesBuilder, Timestamp};

/// Lines a sample writes: enough to even out the clock, few enough to stay in the cache.
const LINES: usize = 1_000;

const TAGS: [(&str, &str); 4] =
    [("datacenter", "eu-central-1"), ("host", "server-0042"), ("rack", "r17"), ("service", "ingest-gateway")];

const TIME: i64 = 1_700_000_000_123_456_789;

fn main() {
    divan::main();
}

fn encoder() -> Encoder {
    Encoder::new(Precision::Nanoseconds, &LineRules::default()).unwrap()
}

/// Values with three decimals, which differ from line to line.
fn values(n: usize) -> (f64, i64, bool, &'static str) {
    (n as f64 / 1_000.0 + 17.0, 4_000_000_000 + n as i64, n.is_multiple_of(2), "running")
}

fn fields(n: usize) -> [(&'static str, FieldRef<'static>); 4] {
    let (usage, memory, throttled, state) = values(n);
    [
        ("usage_user", usage.into()),
        ("memory_used", memory.into()),
        ("throttled", throttled.into()),
        ("state", state.into()),
    ]
}

fn write_lines(encoder: &Encoder, out: &mut Vec<u8>) {
    for n in 0..LINES {
        let fields = fields(n);
        let timestamp = Some(Timestamp::from_nanos(TIME + n as i64));
        let point = PointRef { measurement: "cpu_usage", tags: &TAGS, fields: &fields, timestamp };
        encoder.encode_ref(black_box(&point), || 0, out).unwrap();
    }
}

fn text() -> Vec<u8> {
    let mut out = Vec::new();
    write_lines(&encoder(), &mut out);
    out
}

/// Runs `write` for all lines into a buffer that is already large enough.
fn bench_lines(bencher: Bencher<'_, '_>, mut write: impl FnMut(&mut Vec<u8>)) {
    let mut out = Vec::new();
    write(&mut out);
    let bytes = BytesCount::new(out.len());
    bencher.counter(ItemsCount::new(LINES)).counter(bytes).bench_local(move || {
        out.clear();
        write(&mut out);
        black_box(out.len())
    });
}

#[divan::bench]
fn borrowed_point(bencher: Bencher<'_, '_>) {
    let encoder = encoder();
    bench_lines(bencher, |out| write_lines(&encoder, out));
}

#[divan::bench]
fn owned_point_built_and_dropped(bencher: Bencher<'_, '_>) {
    let encoder = encoder();
    bench_lines(bencher, |out| {
        for n in 0..LINES {
            let (usage, memory, throttled, state) = values(n);
            let point = TAGS
                .iter()
                .fold(Point::new("cpu_usage"), |point, (key, value)| point.tag(*key, *value))
                .field("usage_user", usage)
                .field("memory_used", memory)
                .field("throttled", throttled)
                .field("state", state)
                .timestamp(Timestamp::from_nanos(TIME + n as i64));
            encoder.encode(&point, || 0, out).unwrap();
        }
    });
}

#[divan::bench]
fn prepared_series(bencher: Bencher<'_, '_>) {
    let names = ["usage_user", "memory_used", "throttled", "state"];
    let series = TAGS
        .iter()
        .fold(SeriesBuilder::new("cpu_usage"), |series, (key, value)| series.tag(*key, *value))
        .fields::<(f64, i64, bool, &str)>(names);
    let series = encoder().prepare(&series).unwrap();
    bench_lines(bencher, |out| {
        for n in 0..LINES {
            let timestamp = Some(Timestamp::from_nanos(TIME + n as i64));
            series.encode(black_box(values(n)), timestamp, || 0, out).unwrap();
        }
    });
}

#[divan::bench]
fn raw_lines_checked(bencher: Bencher<'_, '_>) {
    let (encoder, text) = (encoder(), text());
    let bytes = BytesCount::new(text.len());
    bencher
        .counter(ItemsCount::new(LINES))
        .counter(bytes)
        .bench_local(|| encoder.lines(black_box(&text)).filter(Result::is_ok).count());
}

#[divan::bench]
fn raw_lines_checked_and_written(bencher: Bencher<'_, '_>) {
    let (encoder, text) = (encoder(), text());
    bench_lines(bencher, |out| {
        for line in encoder.lines(black_box(&text)).flatten() {
            line.write(|| 0, out);
        }
    });
}

/// The yardstick: the same lines, copied one by one.
#[divan::bench]
fn finished_lines_copied(bencher: Bencher<'_, '_>) {
    let text = text();
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    bench_lines(bencher, |out| {
        for line in &lines {
            out.extend_from_slice(black_box(line));
        }
    });
}
