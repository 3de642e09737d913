//! Asking a real influxd 1.x what the crate wrote to it, and servers that misbehave.

#![allow(clippy::unwrap_used)]

mod support;

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use influx_spool::query::{Epoch, InfluxQl, RetentionPolicy, Value, identifier};
use influx_spool::{Client, Database, DatabaseHandle, HttpConfig, Point, Precision, QueryError, Timestamp};
use serde::Deserialize;
use support::influxd::Influxd;
use support::scripted::{Script, Scripted, Step};

/// For an event that is sure to come; a machine busy with other tests takes its time.
const LONG: Duration = Duration::from_secs(60);

/// Waits for a future without any runtime, as an application without one would.
fn wait<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// A server with a database, and a writer to it.
struct Plant {
    server: Influxd,
    db: DatabaseHandle,
}

impl Plant {
    fn start(name: &str) -> Option<Self> {
        let server = Influxd::start()?;
        server.create_database(name);
        let db = Database::builder(name).http(server.url()).start().unwrap();
        Some(Self { server, db })
    }

    fn write(&self, points: impl IntoIterator<Item = Point>) {
        let pushed = self.db.push_all(points);
        assert!(pushed.refused.is_empty(), "{pushed:?}");
        let report = wait(self.db.flush(LONG)).unwrap();
        assert!(report.complete, "{report:?}");
    }

    fn client(&self) -> Client {
        self.db.client().unwrap()
    }
}

impl Drop for Plant {
    fn drop(&mut self) {
        let _ = wait(self.db.stop(LONG));
    }
}

fn gzipped(plain: &[u8]) -> Vec<u8> {
    let mut compressor = libdeflater::Compressor::new(libdeflater::CompressionLvl::default());
    let mut gzip = vec![0; compressor.gzip_compress_bound(plain.len())];
    let length = compressor.gzip_compress(plain, &mut gzip).unwrap();
    gzip.truncate(length);
    gzip
}

fn client(url: impl Into<String>) -> Client {
    Client::new(&HttpConfig::new(url)).unwrap().with_database("plant")
}

fn at(nanos: i64) -> Timestamp {
    Timestamp::from_nanos(nanos)
}

#[derive(Debug, PartialEq, Deserialize)]
struct Reading {
    time: Timestamp,
    host: String,
    float: Option<f64>,
    integer: Option<i64>,
    flag: Option<bool>,
    text: Option<String>,
}

fn readings() -> Vec<Reading> {
    let floats = [0.0, -0.0, 5e-324, f64::MAX, f64::MIN, 0.1, 1e20, 9_007_199_254_740_992.0, 2.0, -1.5e-7];
    let integers = [i64::MIN, i64::MAX, 0, -1, 9_007_199_254_740_993];
    let texts = ["", "a \"b\" \\ c", "one\ntwo\r\n\tthree", "Ünïcödé 🦀 , = #", "\\\"", "it's", "null", "1i"];
    let times = [-9_223_372_036_854_775_806, -1, 0, 1, 9_223_372_036_854_775_806];
    let empty = |number: usize| Reading {
        time: at(i64::try_from(number).unwrap() + 1_700_000_000_000_000_000),
        host: format!("host {number}, \"ü\" = '\\'x"),
        float: None,
        integer: None,
        flag: None,
        text: None,
    };
    let floats = floats.into_iter().map(|float| Reading { float: Some(float), ..empty(1) });
    let integers = integers.into_iter().map(|integer| Reading { integer: Some(integer), ..empty(2) });
    let texts = texts.into_iter().map(|text| Reading { text: Some(text.into()), ..empty(3) });
    let flags = [true, false].into_iter().map(|flag| Reading { flag: Some(flag), ..empty(4) });
    let times = times.into_iter().map(|time| Reading { time: at(time), flag: Some(true), ..empty(5) });
    let all =
        Reading { float: Some(0.5), integer: Some(7), flag: Some(true), text: Some("x".into()), ..empty(6) };
    let mut readings: Vec<_> = floats.chain(integers).chain(texts).chain(flags).chain([all]).collect();
    for (number, reading) in readings.iter_mut().enumerate() {
        reading.time = at(reading.time.nanos() + 1_000 * i64::try_from(number).unwrap());
    }
    readings.extend(times);
    readings.sort_by_key(|reading| reading.time);
    readings
}

fn point(reading: &Reading) -> Point {
    let mut point = Point::new("a \"reading\"").tag("host", reading.host.clone()).timestamp(reading.time);
    if let Some(float) = reading.float {
        point = point.field("float", float);
    }
    if let Some(integer) = reading.integer {
        point = point.field("integer", integer);
    }
    if let Some(flag) = reading.flag {
        point = point.field("flag", flag);
    }
    if let Some(text) = &reading.text {
        point = point.field("text", text.clone());
    }
    point
}

#[test]
fn what_was_written_is_read_back_typed_and_equal() {
    let Some(plant) = Plant::start("read-back") else { return };
    let readings = readings();
    plant.write(readings.iter().map(point));
    let table = identifier("a \"reading\"");
    let read = |question: String| -> Vec<Reading> {
        wait(plant.db.query(question)).unwrap().rows().map(Result::unwrap).collect()
    };
    // As a column, and as a tag of the series.
    let whole = read(format!("SELECT * FROM {table}"));
    assert_eq!(whole, readings);
    let mut grouped = read(format!("SELECT * FROM {table} GROUP BY *"));
    grouped.sort_by_key(|reading| reading.time);
    assert_eq!(grouped, readings);
    let bits = |readings: &[Reading]| {
        readings.iter().filter_map(|reading| reading.float).map(f64::to_bits).collect::<Vec<_>>()
    };
    assert_eq!(bits(&whole), bits(&readings), "minus zero is not zero");
}

#[test]
fn times_come_in_the_unit_asked_for() {
    let Some(plant) = Plant::start("units") else { return };
    plant.write([Point::new("m").field("v", 1.5).timestamp(at(1_500_000_000_123_456_789))]);
    let time = |epoch| {
        let question = InfluxQl::new("SELECT v FROM m").epoch(epoch);
        wait(plant.db.query(question)).unwrap().rows::<(Value, f64)>().next().unwrap().unwrap().0
    };
    assert_eq!(time(Epoch::Units(Precision::Nanoseconds)), 1_500_000_000_123_456_789_i64.into());
    assert_eq!(time(Epoch::Units(Precision::Microseconds)), 1_500_000_000_123_456_i64.into());
    assert_eq!(time(Epoch::Units(Precision::Milliseconds)), 1_500_000_000_123_i64.into());
    assert_eq!(time(Epoch::Units(Precision::Seconds)), 1_500_000_000_i64.into());
    assert_eq!(time(Epoch::Rfc3339), "2017-07-14T02:40:00.123456789Z".into());
}

#[test]
fn bound_values_cannot_break_out() {
    let Some(plant) = Plant::start("bound") else { return };
    let host = "x' OR ''='";
    let points =
        [host, "other"].map(|host| Point::new("m").tag("host", host).field("v", 1.0).timestamp(at(1)));
    plant.write(points);
    let question = InfluxQl::new("SELECT v, host FROM m WHERE host = $host").bind("host", host);
    let rows: Vec<(i64, f64, String)> =
        wait(plant.db.query(question)).unwrap().rows().map(Result::unwrap).collect();
    assert_eq!(rows, [(1, 1.0, host.to_owned())]);
}

#[test]
fn errors_carry_the_servers_words() {
    let Some(plant) = Plant::start("errors") else { return };
    let client = plant.client();
    let refused = |question: InfluxQl| wait(client.query(question)).unwrap_err();
    let unknown = refused(InfluxQl::new("SELECT v FROM m").database("nope"));
    assert_eq!(unknown, QueryError::Statement { statement: 0, words: "database not found: nope".into() });
    let second = refused(InfluxQl::new("SHOW DATABASES; SHOW TAG KEYS ON nope"));
    assert!(matches!(second, QueryError::Statement { statement: 1, .. }), "{second:?}");
    let nonsense = refused("SELEKT".into());
    assert_eq!(nonsense.status(), Some(400));
    assert!(nonsense.server_words().unwrap().starts_with("error parsing query: found SELEKT"), "{nonsense}");
    let streamed = wait(client.query_chunks("SELEKT")).unwrap_err();
    assert_eq!(streamed, nonsense);
    let mut chunks = wait(client.query_chunks(InfluxQl::new("SELECT v FROM m").database("nope"))).unwrap();
    assert_eq!(wait(chunks.next()), Some(Err(unknown)));
    assert_eq!(wait(chunks.next()), None);
}

#[test]
fn a_hundred_thousand_rows_stream_without_being_held() {
    const ROWS: i64 = 100_000;
    let Some(plant) = Plant::start("many") else { return };
    plant.write((0..ROWS).map(|n| Point::new("m").field("n", n).timestamp(at(n))));
    // Some six megabytes of JSON by a client that bears a quarter of one.
    let client = plant.client().with_answer_bytes_max(256 << 10);
    let whole = wait(client.query("SELECT n, n * 2, n * 3 FROM m"));
    assert_eq!(whole, Err(QueryError::TooLarge { limit: 256 << 10 }));
    let question = InfluxQl::new("SELECT n, n * 2, n * 3 FROM m").chunk_rows(1_000);
    let mut chunks = wait(client.query_chunks(question)).unwrap();
    let (mut rows, mut pieces) = (0, 0);
    while let Some(statement) = wait(chunks.next()) {
        for row in statement.unwrap().series.iter().flat_map(influx_spool::query::Series::rows::<[i64; 4]>) {
            assert_eq!(row.unwrap(), [rows, rows, rows * 2, rows * 3]);
            rows += 1;
        }
        pieces += 1;
    }
    assert_eq!((rows, pieces), (ROWS, 100));
}

#[test]
fn asking_works_while_the_writer_is_stopped() {
    let Some(mut plant) = Plant::start("stopped") else { return };
    plant.write([Point::new("m").field("v", 1.0).timestamp(at(1))]);
    wait(plant.db.stop(LONG)).unwrap();
    let rows = |plant: &Plant| wait(plant.db.query("SELECT v FROM m")).map(|answer| answer.series().count());
    assert_eq!(rows(&plant), Ok(1));
    assert_eq!(wait(plant.db.ping()).unwrap().version.as_deref().map(|version| &version[..2]), Some("1."));
    // A connection that the server has dropped is made anew, also where it is not known to be dropped.
    plant.server.restart();
    assert_eq!(rows(&plant), Ok(1));
    plant.server.kill();
    let down = rows(&plant).unwrap_err();
    assert!(matches!(down, QueryError::Unreachable(_)) && down.is_retryable(), "{down:?}");
}

#[test]
fn a_1x_server_tells_how_it_is() {
    let Some(server) = Influxd::start() else { return };
    let client = client(server.url());
    let pong = wait(client.ping()).unwrap();
    assert_eq!(pong.build.as_deref(), Some("OSS"));
    assert!(pong.round_trip < LONG);
    assert_eq!(wait(client.health()).unwrap().version, pong.version);
    assert_eq!(wait(client.ready()).unwrap().status.as_deref(), Some("ready"));
}

#[test]
fn databases_and_retention_policies_come_and_go() {
    let Some(server) = Influxd::start() else { return };
    let client = client(server.url());
    let name = "pl\"a'nt ü; DROP DATABASE x --";
    let databases = client.databases();
    wait(async {
        databases.create("x").await.unwrap();
        databases.create(name).await.unwrap();
        databases.create(name).await.unwrap();
        assert_eq!(databases.list().await.unwrap(), ["x", name]);

        let policies = client.retention_policies(name);
        let mut week = RetentionPolicy::new("a \"week\"", Duration::from_secs(7 * 86_400));
        week.shard_duration = Some(Duration::from_secs(86_400));
        policies.create(&week).await.unwrap();
        let find =
            async |name: &str| policies.list().await.unwrap().into_iter().find(|policy| policy.name == name);
        assert_eq!(find("a \"week\"").await, Some(week.clone()));
        assert_eq!(find("autogen").await.unwrap().duration, None);
        (week.duration, week.is_default) = (None, true);
        policies.update(&week).await.unwrap();
        assert_eq!(find("a \"week\"").await, Some(week.clone()));
        week.replication = 0;
        let refused = policies.update(&week).await.unwrap_err();
        assert!(refused.server_words().unwrap().contains("must be 1 <="), "{refused}");
        policies.delete("a \"week\"").await.unwrap();
        assert_eq!(policies.list().await.unwrap().len(), 1);

        let day = RetentionPolicy::new("day", Duration::from_secs(86_400));
        databases.create_with("with", &day).await.unwrap();
        let policies = client.retention_policies("with").list().await.unwrap();
        assert_eq!((policies[0].name.as_str(), policies[0].is_default), ("day", true));

        databases.delete(name).await.unwrap();
        databases.delete(name).await.unwrap();
        assert_eq!(databases.list().await.unwrap(), ["x", "with"]);
    });
}

#[test]
fn statements_that_change_are_posted_in_a_body() {
    let Some(plant) = Plant::start("posted") else { return };
    plant.write([Point::new("m").field("v", 1.0).timestamp(at(1))]);
    let answer = wait(plant.db.post("SELECT v INTO copy FROM m; DROP MEASUREMENT m")).unwrap();
    assert_eq!(answer.statements.len(), 2);
    let names: Vec<(String,)> =
        wait(plant.db.query("SHOW MEASUREMENTS")).unwrap().rows().map(Result::unwrap).collect();
    assert_eq!(names, [("copy".to_owned(),)]);

    let server = Scripted::playing([Script::status(200, "", r#"{"results":[]}"#)]);
    wait(client(server.url()).post("CREATE USER u WITH PASSWORD 'a&b'")).unwrap();
    let seen = &server.seen()[0];
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("POST", "/query"));
    assert_eq!(seen.text(), "q=CREATE+USER+u+WITH+PASSWORD+%27a%26b%27&db=plant&epoch=ns");
}

/// An answer whose end is never sent: what has come is handed on, and the rest is given up with the stream.
#[test]
fn the_first_rows_come_before_the_last_are_sent() {
    let line = r#"{"results":[{"statement_id":0,"series":[{"name":"m","columns":["time","v"],"values":[[1,2.5]],"partial":true}],"partial":true}]}"#;
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n";
    let begun = Script::steps([Step::Send(format!("{head}{line}\n").into()), Step::Stall]);
    let server = Scripted::playing([begun]);
    let mut chunks = wait(client(server.url()).query_chunks("SELECT v FROM m")).unwrap();
    let statement = wait(chunks.next()).unwrap().unwrap();
    let rows: Vec<(i64, f64)> = statement.series[0].rows().map(Result::unwrap).collect();
    assert_eq!((rows, statement.partial), (vec![(1, 2.5)], true));
}

#[test]
fn a_server_that_stops_in_the_middle_is_given_up() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n{";
    let server = Scripted::playing([Script::steps([Step::Send(head.to_vec()), Step::Stall])]);
    let mut config = HttpConfig::new(server.url());
    config.timeout = Duration::from_millis(200);
    let client = Client::new(&config).unwrap();
    assert!(wait(client.query("SHOW DATABASES")).unwrap_err().is_timeout());
    let mut chunks = wait(client.query_chunks("SHOW DATABASES")).unwrap();
    assert!(wait(chunks.next()).unwrap().unwrap_err().is_timeout());
    assert!(wait(chunks.next()).is_none());
}

#[test]
fn an_answer_that_never_ends_is_an_error() {
    let flood = || {
        let head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec();
        Script::steps([Step::Send(head), Step::Flood(vec![b' '; 1 << 16])])
    };
    let server = Scripted::start(move |_, _| flood());
    let client = client(server.url()).with_answer_bytes_max(1 << 20);
    let too_large = QueryError::TooLarge { limit: 1 << 20 };
    assert_eq!(wait(client.query("SHOW DATABASES")), Err(too_large.clone()));
    let mut chunks = wait(client.query_chunks("SHOW DATABASES")).unwrap();
    assert_eq!(wait(chunks.next()), Some(Err(too_large)));
}

#[test]
fn an_answer_cut_short_is_an_error() {
    let cut = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"results\":[]}";
    let server = Scripted::playing([Script::steps([Step::Send(cut.into()), Step::Close])]);
    let broken = wait(client(server.url()).query("SHOW DATABASES")).unwrap_err();
    assert!(matches!(broken, QueryError::Broken(_)), "{broken:?}");
}

#[test]
fn compressed_answers_are_asked_for_and_read() {
    let plain = br#"{"results":[{"statement_id":0,"series":[{"name":"databases","columns":["name"],"values":[["plant"]]}]}]}"#;
    let gzip = gzipped(plain);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", gzip.len());
    let server = Scripted::playing([Script::answer([head.as_bytes(), &gzip].concat())]);
    assert_eq!(wait(client(server.url()).databases().list()).unwrap(), ["plant"]);
    assert_eq!(server.seen()[0].header("accept-encoding"), Some("gzip"));
}

/// What a hostile server can pack into a kilobyte is unpacked no further than the bound.
#[test]
fn a_small_answer_cannot_become_a_large_one() {
    let gzip = gzipped(&vec![b' '; 16 << 20]);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", gzip.len());
    let server = Scripted::playing([Script::answer([head.as_bytes(), &gzip].concat())]);
    let client = client(server.url()).with_answer_bytes_max(1 << 20);
    assert_eq!(wait(client.databases().list()), Err(QueryError::TooLarge { limit: 1 << 20 }));
}

#[test]
fn secrets_stay_out_of_errors() {
    let mut config = HttpConfig::new("http://127.0.0.1:1");
    config.auth = influx_spool::Auth::Query { username: "u".into(), password: "s3cret".into() };
    let client = Client::new(&config).unwrap();
    let error = wait(client.post("CREATE USER u WITH PASSWORD 's3cret'")).unwrap_err();
    assert!(!format!("{error} {error:?} {client:?}").contains("s3cret"), "{error:?} {client:?}");
}

#[test]
fn nothing_that_changes_is_asked_twice() {
    let server = Scripted::playing([Script::steps([Step::Close])]);
    let client = client(server.url());
    assert!(matches!(wait(client.post("DROP DATABASE x")), Err(QueryError::Broken(_))));
    assert_eq!(server.seen().len(), 1);
    assert!(matches!(wait(client.buckets().delete("x")), Err(QueryError::Broken(_))));
    assert_eq!(server.seen().len(), 2);
    // What reads may be.
    assert!(matches!(wait(client.query("SHOW DATABASES")), Err(QueryError::Broken(_))));
    assert_eq!(server.seen().len(), 4);
}
