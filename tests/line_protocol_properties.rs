//! Line protocol with points and bytes made at random.
#![allow(clippy::unwrap_used, clippy::panic)]

use influx_spool::{
    Encoder, FieldRef, FieldType, FieldValue, LineRules, Point, Precision, SeriesBuilder, Timestamp, Unsigned,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// Texts rich in what is special to line protocol.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[a-z]{1,20}",
        2 => r#"[ab ,="\\#\n\r\t]{0,6}"#,
        1 => any::<String>(),
    ]
}

fn field_value() -> impl Strategy<Value = FieldValue> {
    prop_oneof![
        any::<f64>().prop_map(FieldValue::from),
        any::<i64>().prop_map(FieldValue::from),
        any::<u64>().prop_map(FieldValue::from),
        any::<bool>().prop_map(FieldValue::from),
        text().prop_map(FieldValue::from),
    ]
}

fn point() -> impl Strategy<Value = Point> {
    let tags = vec((text(), text()), 0..6);
    let fields = vec((text(), field_value()), 0..6);
    (text(), tags, fields, any::<Option<i64>>()).prop_map(|(measurement, tags, fields, time)| {
        let mut point = Point::new(measurement);
        for (key, value) in tags {
            point = point.tag(key, value);
        }
        for (key, value) in fields {
            point = point.field(key, value);
        }
        match time {
            Some(nanos) => point.timestamp(Timestamp::from_nanos(nanos)),
            None => point,
        }
    })
}

fn encoder() -> Encoder {
    let mut rules = LineRules::default();
    rules.unsigned = Unsigned::Write;
    Encoder::new(Precision::Nanoseconds, &rules).unwrap()
}

/// Tags sorted and without empty ones, fields in order, floats by their bits.
type Comparable<'p> = (String, Vec<(&'p str, &'p str)>, Vec<(&'p str, String)>);

fn comparable(point: &Point) -> Comparable<'_> {
    let mut tags: Vec<_> = point.tags().filter(|(key, value)| !key.is_empty() && !value.is_empty()).collect();
    tags.sort_unstable();
    let value = |value: &FieldValue| match value {
        FieldValue::Float(float) => float.to_bits().to_string(),
        other => serde_json::to_string(other).unwrap() + &other.field_type().to_string(),
    };
    (point.measurement().to_owned(), tags, point.fields().map(|(key, each)| (key, value(each))).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_point_that_encodes_is_read_back_with_the_same_values(point in point()) {
        let encoder = encoder();
        let mut out = b"before\n".to_vec();
        let Ok(encoded) = encoder.encode(&point, || 42, &mut out) else {
            prop_assert_eq!(out, b"before\n");
            return Ok(());
        };
        let lines: Vec<_> = encoder.lines(&out[7..]).collect();
        prop_assert_eq!(lines.len(), 1);
        let read = lines[0].as_ref().expect("what is written is good").to_point();
        prop_assert_eq!(comparable(&read), comparable(&point));
        let end = format!(" {}\n", encoded.timestamp_nanos);
        prop_assert!(out.ends_with(end.as_bytes()));
    }

    #[test]
    fn bytes_at_random_never_panic_and_what_passes_passes_again_unchanged(
        text in vec(prop_oneof![any::<u8>(), proptest::sample::select(b"a1 ,=\"\\\n\r#.-iuteE".to_vec())], 0..80),
    ) {
        let encoder = encoder();
        let mut out = Vec::new();
        let mut end = 0;
        for line in encoder.lines(&text) {
            let range = match &line {
                Ok(line) => line.range(),
                Err(error) => error.range(),
            };
            prop_assert!(end <= range.start && range.start < range.end && range.end <= text.len());
            end = range.end;
            if let Ok(line) = line {
                line.write(|| 42, &mut out);
            }
        }
        let mut again = Vec::new();
        for line in encoder.lines(&out) {
            line.expect("a line that passed passes again").write(|| 43, &mut again);
        }
        prop_assert_eq!(out, again);
    }

    #[test]
    fn lines_made_of_plausible_parts_never_panic_and_pass_again_unchanged(
        parts in vec(proptest::sample::select(vec![
            "m", ",", "k=v", " ", "f=1", "f=1i", "g=\"a\nb\"", "=", "\\", "\"", "\n", "#", "1e400", "9999999999999999999", "-", "\r\n", "ü",
        ]), 0..16),
    ) {
        let encoder = encoder();
        let text = parts.concat();
        let mut out = Vec::new();
        for line in encoder.lines(text.as_bytes()).flatten() {
            line.write(|| 42, &mut out);
        }
        let mut again = Vec::new();
        for line in encoder.lines(&out) {
            line.expect("a line that passed passes again").write(|| 43, &mut again);
        }
        prop_assert_eq!(out, again);
    }

    #[test]
    fn a_prepared_series_writes_what_a_point_would(float in any::<f64>(), integer in any::<i64>(), note in text()) {
        let encoder = encoder();
        let fields = [("x", FieldType::Float), ("n", FieldType::Integer), ("s", FieldType::String)];
        let builder = SeriesBuilder::new("m").tag("b", "2").tag("a", "1 ");
        let dynamic = encoder.prepare(&builder.clone().dynamic_fields(fields)).unwrap();
        let typed = encoder.prepare(&builder.fields::<(f64, i64, &str)>(["x", "n", "s"])).unwrap();
        let point = Point::new("m").tag("b", "2").tag("a", "1 ");
        let point = point.field("x", float).field("n", integer).field("s", note.clone());

        let mut lines = [Vec::new(), Vec::new(), Vec::new()];
        let values = [FieldRef::from(float), integer.into(), note.as_str().into()];
        let results = [
            encoder.encode(&point, || 1, &mut lines[0]),
            typed.encode((float, integer, &note), None, || 1, &mut lines[1]),
            dynamic.encode(&values, None, || 1, &mut lines[2]),
        ];
        prop_assert_eq!(&results[0], &results[1]);
        prop_assert_eq!(&results[0], &results[2]);
        prop_assert_eq!(&lines[0], &lines[1]);
        prop_assert_eq!(&lines[0], &lines[2]);
    }
}

/// Short names are copied as whole chunks, and what needs escaping is longer than it looks.
#[test]
fn a_prepared_series_writes_names_of_every_length() {
    let encoder = encoder();
    for length in 1..=40 {
        for name in ["n".repeat(length), "n ".repeat(length.div_ceil(2))] {
            let names = [name.clone(), format!("{name}x")];
            let fields = names.clone().map(|name| (name, FieldType::Integer));
            let series = encoder.prepare(&SeriesBuilder::new("m").dynamic_fields(fields)).unwrap();
            let [first, second] = names;
            let point = Point::new("m").field(first, 1).field(second, -2);
            let mut lines = [Vec::new(), Vec::new()];
            let written = series.encode(&[1.into(), (-2).into()], None, || 5, &mut lines[0]);
            assert_eq!(written, encoder.encode(&point, || 5, &mut lines[1]));
            assert_eq!(lines[0], lines[1], "{name:?}");
        }
    }
}

/// As many as fit a common line, a long one, and none that is written at one go.
#[test]
fn a_prepared_series_writes_any_number_of_fields() {
    let encoder = encoder();
    let names: Vec<String> = (0..200).map(|n| format!("bytes_of_kind_{:03}", n * 77 % 200)).collect();
    for count in [1, 15, 16, 17, 40, 80, 100, 200] {
        let fields = names[..count].iter().map(|name| (name.clone(), FieldType::Integer));
        let series = encoder.prepare(&SeriesBuilder::new("m").tag("a", "1").dynamic_fields(fields)).unwrap();
        let with_field = |point: Point, n: usize| point.field(names[n].clone(), n as i64);
        let point = (0..count).fold(Point::new("m").tag("a", "1"), with_field);
        let values: Vec<_> = (0..count).map(|n| FieldRef::Integer(n as i64)).collect();
        let mut lines = [Vec::new(), Vec::new()];
        let written = series.encode(&values, None, || 5, &mut lines[0]);
        assert_eq!(written, encoder.encode(&point, || 5, &mut lines[1]));
        assert_eq!(lines[0], lines[1], "{count}");
    }
}
