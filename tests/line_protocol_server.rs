//! Line protocol against a real influxd: what we write is what it gives back, and nothing we let through harms it.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::collections::BTreeMap;

use influx_spool::{Encoder, FieldValue, LineRules, Point, Precision, Timestamp};
use serde_json::Value;
use support::cases;
use support::influxd::Influxd;

#[test]
fn a_server_gives_back_exactly_the_points_that_were_written() {
    let Some(server) = Influxd::start() else { return };
    let encoder = Encoder::new(Precision::Nanoseconds, &LineRules::default()).unwrap();
    let cases = cases::load("encode.jsonl");
    let points = cases.iter().filter_map(|case| cases::point(&case["point"])).chain(points_of_our_own());
    let mut kept = 0;
    for (number, point) in points.enumerate() {
        let mut line = Vec::new();
        if encoder.encode(&point, || 7, &mut line).is_err() {
            continue;
        }
        let database = format!("e{number}");
        server.create_database(&database);
        let answer = server.write(&database, &line);
        let text = String::from_utf8_lossy(&line);
        assert_eq!(answer.status, 204, "{text}: {}", String::from_utf8_lossy(&answer.body));
        assert_eq!(read_back(&server, &database), vec![written(&point)], "{text}");
        kept += 1;
    }
    println!("points written and read back unaltered: {kept}");
}

#[test]
fn a_server_takes_every_raw_line_that_passes() {
    let Some(server) = Influxd::start() else { return };
    let encoder = Encoder::new(Precision::Nanoseconds, &LineRules::default()).unwrap();
    let (mut passed, mut refused) = (0, 0);
    for (number, case) in cases::load("decode.jsonl").iter().enumerate() {
        let text = cases::input(case);
        let lines: Vec<_> = encoder.lines(&text).collect();
        refused += lines.iter().filter(|line| line.is_err()).count();
        for (at, line) in lines.iter().flatten().enumerate() {
            let mut out = Vec::new();
            line.write(|| 7, &mut out);
            // A database for each line: two of a case may write the same field with two types.
            let database = format!("d{number}-{at}");
            server.create_database(&database);
            let answer = server.write(&database, &out);
            let text = String::from_utf8_lossy(&out);
            assert_eq!(answer.status, 204, "{text}: {}", String::from_utf8_lossy(&answer.body));
            assert_eq!(read_back(&server, &database), vec![written(&line.to_point())], "{text}");
            passed += 1;
        }
    }
    println!("raw lines written and read back: {passed}, refused: {refused}");
}

/// Tags, fields and time in the words of the answers to queries.
type Answered = (String, BTreeMap<String, String>, BTreeMap<String, Value>, i64);

fn written(point: &Point) -> Answered {
    let json = serde_json::to_value(point).unwrap();
    let time = &json["timestamp"];
    let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    (
        point.measurement().to_owned(),
        point.tags().filter(|(key, value)| !key.is_empty() && !value.is_empty()).map(owned).collect(),
        point.fields().map(|(key, value)| (key.to_owned(), answered_value(value))).collect(),
        time.as_i64().or(time["ns"].as_i64()).unwrap_or(7),
    )
}

/// Go prints a float that is a whole number without a fraction.
fn answered_value(value: &FieldValue) -> Value {
    match value {
        FieldValue::Float(float) => Value::from(*float),
        other => serde_json::to_value(other).unwrap(),
    }
}

fn read_back(server: &Influxd, database: &str) -> Vec<Answered> {
    let answer = server.query(database, "SELECT * FROM /.*/ GROUP BY *");
    let types = server.query(database, "SHOW FIELD KEYS");
    let is_float = |field: &str| {
        let rows = types["results"][0]["series"][0]["values"].as_array();
        rows.into_iter().flatten().any(|row| row[0] == field && row[1] == "float")
    };
    let mut points = Vec::new();
    for series in answer["results"][0]["series"].as_array().into_iter().flatten() {
        let tags: BTreeMap<String, String> =
            serde_json::from_value(series["tags"].clone()).unwrap_or_default();
        let columns: Vec<String> = serde_json::from_value(series["columns"].clone()).unwrap();
        for row in series["values"].as_array().into_iter().flatten() {
            let fields = columns.iter().zip(row.as_array().unwrap()).skip(1);
            let fields = fields.map(|(name, value)| match value.as_f64() {
                Some(float) if is_float(name) => (name.clone(), Value::from(float + 0.0)),
                _ => (name.clone(), value.clone()),
            });
            let name = series["name"].as_str().unwrap().to_owned();
            points.push((name, tags.clone(), fields.collect(), row[0].as_i64().unwrap()));
        }
    }
    points
}

/// Values at the ends of what can be written, and texts that are easily mangled.
fn points_of_our_own() -> Vec<Point> {
    let mut points: Vec<Point> = [i64::MIN + 2, -1, 0, 1, i64::MAX - 1]
        .map(|nanos| Point::new("m").field("f", 1.0).timestamp(Timestamp::from_nanos(nanos)))
        .into();
    points.extend(
        [5e-324, f64::MIN_POSITIVE, 0.1, 1e15, 1e16, 1e21, 1e22, 123_456_789.125, f64::MAX, f64::MIN]
            .map(|float| Point::new("m").field("f", float)),
    );
    points.extend([i64::MIN, -1, 0, i64::MAX].map(|integer| Point::new("m").field("f", integer)));
    points.extend(
        [
            "",
            "\\",
            "\\\\",
            "\"",
            "\\\"",
            "a\nb",
            "a\r\nb",
            "\0",
            "\u{1}\u{7f}\t",
            "ü😀",
            "# x",
            "\\n",
            "a\\\nb",
            "=,\" x=1",
        ]
        .map(|text| Point::new("m").field("f", text).field("g", 1)),
    );
    for name in [" ", ",", "=", "\"", "'", "a\\b", "\\a", "ü😀", "a#", "\"a b\"", ",a=b c=1"] {
        points.push(Point::new(name).tag(name, name).field(format!("{name}f"), 1.5).field("s", "a=\",b"));
        points.push(Point::new("m").tag(name, "v").tag("k", name).field(name, true));
    }
    points.push(Point::new("long").tag("t", "x".repeat(65_000)).field("f", "y".repeat(65_536)));
    points
}
