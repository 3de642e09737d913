//! One push, into a queue that slides and into one that refuses, against a copy of the same line.

use std::time::Duration;

use divan::{Bencher, black_box};
use influx_spool::{
    Database, DatabaseHandle, FieldRef, Point, PointRef, PushError, SeriesBuilder, SeriesPusher, WhenFull,
};

fn main() {
    divan::main();
}

/// A database that sends nothing: its server is not there, and its batches are never full.
fn database(when_full: WhenFull) -> DatabaseHandle {
    let builder = Database::builder("bench").http("http://127.0.0.1:9").linger(Duration::from_secs(3600));
    let builder = builder.when_full(when_full).configure(|config| {
        config.queue.points_max = 10_000.try_into().expect("not zero");
        config.batch.points_max = 1_000_000.try_into().expect("not zero");
    });
    builder.start().expect("the database starts")
}

fn series(db: &DatabaseHandle) -> SeriesPusher<(f64, i64, bool, &'static str)> {
    let series = SeriesBuilder::new("machine_state")
        .tag("host", "host-0001.example.com")
        .tag("region", "eu-central-1")
        .tag("rack", "rack-01")
        .tag("service", "press line")
        .fields(["temperature", "cycles", "running", "state"]);
    db.series(&series).expect("the series can be written")
}

/// The queue is full: each push drops the oldest point.
#[divan::bench(threads = [1, 2], sample_size = 10_000)]
fn sliding_series(bencher: Bencher) {
    let db = database(WhenFull::DropOldest);
    let series = series(&db);
    bencher.bench(|| series.push(black_box((21.5, 42, true, "running"))));
}

#[divan::bench(sample_size = 10_000)]
fn sliding_borrowed_point(bencher: Bencher) {
    let db = database(WhenFull::DropOldest);
    bencher.bench(|| {
        let tags = [
            ("host", "host-0001.example.com"),
            ("rack", "rack-01"),
            ("region", "eu-central-1"),
            ("service", "press line"),
        ];
        let fields = [
            ("temperature", FieldRef::Float(21.5)),
            ("cycles", FieldRef::Integer(42)),
            ("running", FieldRef::Boolean(true)),
            ("state", FieldRef::String("running")),
        ];
        db.push_ref(black_box(&PointRef {
            measurement: "machine_state",
            tags: &tags,
            fields: &fields,
            timestamp: None,
        }))
    });
}

#[divan::bench(sample_size = 10_000)]
#[expect(clippy::result_large_err, reason = "a push that fails hands the point back, whole")]
fn sliding_owned_point(bencher: Bencher) {
    let db = database(WhenFull::DropOldest);
    bencher.bench(|| {
        let point = Point::new("machine_state")
            .tag("host", "host-0001.example.com")
            .tag("rack", "rack-01")
            .tag("region", "eu-central-1")
            .tag("service", "press line")
            .field("temperature", 21.5)
            .field("cycles", 42)
            .field("running", true)
            .field("state", "running");
        db.push(black_box(point))
    });
}

/// The queue is full and refuses: what a caller pays to be told.
#[divan::bench(sample_size = 10_000)]
fn refused_series(bencher: Bencher) {
    let db = database(WhenFull::Refuse);
    let series = series(&db);
    while series.push((21.5, 42, true, "running")).is_ok() {}
    bencher.bench(|| -> Result<_, PushError<()>> { series.push(black_box((21.5, 42, true, "running"))) });
}

#[divan::bench(sample_size = 10_000)]
fn memcpy_of_the_line(bencher: Bencher) {
    let line = [b'x'; 175];
    let mut copy = Vec::with_capacity(1 << 20);
    bencher.bench_local(|| {
        if copy.len() + line.len() > copy.capacity() {
            copy.clear();
        }
        copy.extend_from_slice(black_box(&line));
    });
}
