//! Cases from other projects' test suites, in `../shared/cases` beside the checkout.

use std::path::Path;

use influx_spool::{FieldValue, Point, Precision};
use serde_json::Value;

/// The cases of one file. Without the folder: none and a printed line; but with `CI=true` it must be there.
pub fn load(file: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/cases").join(file);
    let Ok(text) = std::fs::read_to_string(&path) else {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "{} must be there where CI=true",
            path.display()
        );
        println!("skipped: no {}", path.display());
        return Vec::new();
    };
    text.lines().map(|line| serde_json::from_str(line).expect("each line is a JSON object")).collect()
}

/// The precision of a case; minutes and hours, which we do not have, give `None`.
pub fn precision(case: &Value) -> Option<Precision> {
    case["precision"].as_str().and_then(|word| word.parse().ok())
}

/// The text of a decode case.
pub fn input(case: &Value) -> Vec<u8> {
    if let Some(text) = case["input"].as_str() {
        return text.as_bytes().to_vec();
    }
    if let Some(coded) = case["input_b64"].as_str() {
        return base64(coded);
    }
    runs(&case["input_rle"]).into_bytes()
}

/// A text as a case spells it; `None` if it is null or not UTF-8.
pub fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Object(coded) if coded.contains_key("b64") => {
            String::from_utf8(base64(coded["b64"].as_str()?)).ok()
        }
        Value::Object(coded) => Some(runs(&coded["rle"])),
        _ => None,
    }
}

/// A case's point, without what is null. `None` if its texts are not UTF-8: such a point cannot be built.
pub fn point(json: &Value) -> Option<Point> {
    let is_there = |value: &&Value| !value.is_null();
    let mut point =
        Point::new(text(&json["measurement"]).or(json["measurement"].is_null().then(String::new))?);
    for tag in json["tags"].as_array()? {
        if is_there(&&tag[1]) {
            point = point.tag(text(&tag[0])?, text(&tag[1])?);
        }
    }
    for field in json["fields"].as_array()? {
        if is_there(&&field["value"]) {
            point = point.field(text(&field["key"])?, field_value(field)?);
        }
    }
    match json["time"].as_i64() {
        Some(nanos) => Some(point.timestamp(influx_spool::Timestamp::from_nanos(nanos))),
        None => Some(point),
    }
}

fn field_value(field: &Value) -> Option<FieldValue> {
    let value = &field["value"];
    Some(match field["type"].as_str()? {
        "int" => value.as_i64()?.into(),
        "uint" => value.as_u64()?.into(),
        "bool" => value.as_bool()?.into(),
        "string" => text(value)?.into(),
        "float" => match value.as_str() {
            Some(word) => word.parse::<f64>().ok()?.into(),
            None => value.as_f64()?.into(),
        },
        other => panic!("a case has a field of type {other}"),
    })
}

fn runs(runs: &Value) -> String {
    let run = |run: &Value| Some(run[0].as_str()?.repeat(usize::try_from(run[1].as_u64()?).ok()?));
    runs.as_array()
        .into_iter()
        .flatten()
        .map(|each| run(each).expect("a run is a text and a count"))
        .collect()
}

fn base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |byte| DIGITS.iter().position(|digit| *digit == byte).expect("a base64 digit") as u32;
    let mut bytes = Vec::new();
    for group in text.trim_end_matches('=').as_bytes().chunks(4) {
        let bits = group.iter().fold(0, |bits, byte| bits << 6 | digit(*byte)) << (6 * (4 - group.len()));
        bytes.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    bytes
}
