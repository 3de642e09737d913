//! Line protocol against the cases of other projects' test suites, judged by the parsers of the servers.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::collections::BTreeMap;

use influx_spool::{Encoder, FieldValue, LineRules, Point, PointError, Precision, Timestamp, Unwritable};
use serde_json::Value;
use support::cases;

#[test]
fn what_servers_agree_about_raw_lines_we_agree_about() {
    let mut counts = BTreeMap::<&str, u64>::new();
    let mut wrong = Vec::new();
    for case in cases::load("decode.jsonl") {
        let reading = Reading::of(&case);
        let is_poison = case["kind"].as_str().is_some_and(|kind| kind.starts_with("poison"));
        let verdict = case["judged"]["influxdb_1x"].as_str().unwrap_or_default();
        let is_read_alike = || is_of_another_opinion(&case) || reading.points == expected(&case);
        let (group, is_right) = match (is_poison, case["agreed"] == true, verdict) {
            // A poison case may hold good lines too; that no server chokes on those is another test.
            (true, ..) => ("poison: refused", reading.refused > 0),
            (_, true, "accept #0") => ("agreed: accepted", reading.refused == 0 && is_read_alike()),
            (_, true, "partial #0") => ("agreed: accepted in part", reading.refused > 0 && is_read_alike()),
            (_, true, "reject") => ("agreed: refused", reading.is_refused()),
            (_, true, other) => panic!("what does {other:?} mean?"),
            (_, false, _) if reading.is_refused() => ("disputed: refused", true),
            (_, false, _) => ("disputed: accepted, at least in part", suits_all(&case, &reading)),
        };
        *counts.entry(group).or_default() += 1;
        if !is_right {
            wrong.push(format!(
                "{group}: {} {:?}\n  {reading:?}\n  judged {}",
                case["name"],
                String::from_utf8_lossy(&cases::input(&case)),
                case["judged"]
            ));
        }
    }
    println!("decode cases: {counts:?}, skipped: 0");
    assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn points_are_kept_or_refused_and_never_altered() {
    let mut counts = BTreeMap::<&str, u64>::new();
    let mut wrong = Vec::new();
    for case in cases::load("encode.jsonl") {
        let is_portable = case["portable"] == true;
        let outcome = encode(&case);
        let (group, is_right) = match (&outcome, is_portable) {
            (Outcome::Kept, true) => ("portable: kept", true),
            (Outcome::Kept, false) => ("not portable: kept", true),
            (Outcome::Refused(_), true) => ("portable: refused", false),
            (Outcome::Refused(_), false) => ("not portable: refused", true),
            (Outcome::Altered(_), _) => ("altered", false),
        };
        *counts.entry(group).or_default() += 1;
        if !is_right {
            wrong.push(format!("{group}: {} {} {outcome:?}", case["name"], case["point"]));
        }
    }
    println!("encode cases: {counts:?}, skipped: 0");
    assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n"));
}

/// What we made of a text.
#[derive(Debug)]
struct Reading {
    points: Vec<Canonical>,
    refused: usize,
    written: Vec<u8>,
}

/// A point in a form that can be compared: order does not matter, and floats are compared by their bits.
type Canonical = (String, BTreeMap<String, String>, BTreeMap<String, String>, Option<i64>);

impl Reading {
    fn of(case: &Value) -> Self {
        // Minutes and hours occur only with lines that have no timestamp.
        let precision = cases::precision(case).unwrap_or(Precision::Seconds);
        let encoder = Encoder::new(precision, &LineRules::default()).unwrap();
        let stamp = default_stamp(case, precision);
        let mut reading = Self { points: Vec::new(), refused: 0, written: Vec::new() };
        for line in encoder.lines(&cases::input(case)) {
            match line {
                Ok(line) => {
                    let start = reading.written.len();
                    line.write(|| stamp, &mut reading.written);
                    let again = only_point(&encoder, &reading.written[start..]);
                    assert_eq!(canonical(&again, precision).2, canonical(&line.to_point(), precision).2);
                    reading.points.push(canonical(&again, precision));
                }
                Err(_) => reading.refused += 1,
            }
        }
        reading
    }

    fn is_refused(&self) -> bool {
        self.refused > 0 && self.points.is_empty()
    }
}

#[derive(Debug)]
enum Outcome {
    Kept,
    Refused(#[allow(dead_code)] Option<PointError>),
    Altered(#[allow(dead_code)] String),
}

fn encode(case: &Value) -> Outcome {
    let Some(point) = cases::point(&case["point"]) else {
        return Outcome::Refused(None);
    };
    let rules = rules_required(case);
    let encoder = Encoder::new(Precision::Nanoseconds, &rules).unwrap();
    let mut line = Vec::new();
    if let Err(error) = encoder.encode(&point, || 5, &mut line) {
        assert!(line.is_empty(), "nothing is left behind by an error");
        return Outcome::Refused(Some(error));
    }
    let plain = Encoder::new(Precision::Nanoseconds, &LineRules::default()).unwrap();
    let read = canonical(&only_point(&plain, &line), Precision::Nanoseconds);
    if read == canonical(&by_the_rules(&point, &rules), Precision::Nanoseconds) {
        Outcome::Kept
    } else {
        Outcome::Altered(String::from_utf8_lossy(&line).into_owned())
    }
}

/// The rules under which a case applies, by what it says an encoder must offer.
fn rules_required(case: &Value) -> LineRules {
    let requires = |what| case["requires"].as_array().is_some_and(|all| all.iter().any(|each| each == what));
    let mut rules = LineRules::default();
    if requires("non-finite float") {
        rules.non_finite = Unwritable::Skip;
    }
    if requires("null field value") {
        rules.blank_fields = Unwritable::Skip;
    }
    for tag in case["point"]["default_tags"].as_array().into_iter().flatten() {
        rules.default_tags.insert(cases::text(&tag[0]).unwrap(), cases::text(&tag[1]).unwrap());
    }
    rules
}

/// The point that the rules say is to be written.
fn by_the_rules(point: &Point, rules: &LineRules) -> Point {
    let mut ruled = Point::new(point.measurement().to_owned());
    for (key, value) in point.tags().filter(|(key, value)| !key.is_empty() && !value.is_empty()) {
        ruled = ruled.tag(key.to_owned(), value.to_owned());
    }
    for (key, value) in &rules.default_tags {
        if point.tags().all(|tag| tag.0 != key) {
            ruled = ruled.tag(key.clone(), value.clone());
        }
    }
    let is_finite = |value: &FieldValue| !matches!(value, FieldValue::Float(value) if !value.is_finite());
    for (key, value) in point.fields().filter(|(key, value)| !key.is_empty() && is_finite(value)) {
        ruled = ruled.field(key.to_owned(), value.clone());
    }
    let time = canonical(point, Precision::Nanoseconds).3.unwrap_or(5);
    ruled.timestamp(Timestamp::from_nanos(time))
}

fn only_point(encoder: &Encoder, line: &[u8]) -> Point {
    let points: Vec<Point> =
        encoder.lines(line).map(|line| line.expect("what we write is good").to_point()).collect();
    let [point] = points.try_into().expect("what we write for one point is one point");
    point
}

fn canonical(point: &Point, precision: Precision) -> Canonical {
    let field = |value: &FieldValue| match value {
        // Zero and minus zero are told apart by some suites only.
        FieldValue::Float(value) => format!("float {:016x}", (value + 0.0).to_bits()),
        other => format!("{other:?}").replace("Borrowed", "Owned"),
    };
    let json = serde_json::to_value(point).unwrap();
    let time = match &json["timestamp"] {
        Value::Object(moment) => moment["ns"].as_i64(),
        units => units.as_i64().map(|units| units * precision.nanoseconds()),
    };
    (
        point.measurement().to_owned(),
        point.tags().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        point.fields().map(|(key, value)| (key.to_owned(), field(value))).collect(),
        time,
    )
}

/// The points that a case says are in its text.
fn expected(case: &Value) -> Vec<Canonical> {
    let points = case["expect"]["points"].as_array().into_iter().flatten();
    points.map(|json| canonical(&cases::point(json).unwrap(), Precision::Nanoseconds)).collect()
}

/// Whether what the case expects is the opinion of its own project, from which the InfluxDB servers differ together:
/// VictoriaMetrics reads strings as numbers, and other suites stop at the first bad line of a text.
fn is_of_another_opinion(case: &Value) -> bool {
    let judged = &case["judged"];
    let is_victoria = case["expect_by"] == "vm" && judged["victoriametrics"] != judged["influxdb_1x"];
    is_victoria || case["expect"].get("points").is_none()
}

fn default_stamp(case: &Value, precision: Precision) -> i64 {
    let nanos = case["default_time"].as_i64().unwrap_or_default();
    let nanos = match case["precision"].as_str() {
        Some("m") => nanos - nanos.rem_euclid(60_000_000_000),
        Some("h") => nanos - nanos.rem_euclid(3_600_000_000_000),
        _ => nanos,
    };
    nanos.div_euclid(precision.nanoseconds())
}

/// Whether what we accepted of a disputed text is what those servers make of it that accept all of it; what they
/// refuse it for must be gone by rewriting: blanks at the ends, CR, comments.
fn suits_all(case: &Value, reading: &Reading) -> bool {
    let servers = ["influxdb_1x", "influxdb_2x", "influxdb3"];
    let verdicts = servers.map(|server| case["judged"][server].as_str().unwrap_or_default());
    let is_rewritten = cases::input(case) != reading.written;
    println!(
        "disputed, accepted: {:?} {verdicts:?} -> {:?}",
        String::from_utf8_lossy(&cases::input(case)).chars().take(120).collect::<String>(),
        String::from_utf8_lossy(&reading.written).chars().take(120).collect::<String>()
    );
    is_rewritten || verdicts.iter().all(|verdict| !verdict.starts_with("reject"))
}
