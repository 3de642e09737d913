//! The table, shown by recorded answers.

use std::collections::BTreeSet;
use std::path::Path;

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::Value;

use super::table::{Means, Points, TABLE};
use super::*;

/// One recorded answer: one line of the fixtures.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Recorded {
    /// The row that it is to meet.
    row: String,
    /// Who has answered so, or where it is written that he would.
    origin: String,
    api: Api,
    points: u64,
    status: Option<u16>,
    #[serde(default)]
    headers: serde_json::Map<String, Value>,
    #[serde(default)]
    body: String,
    /// In place of a response.
    failure: Option<String>,
    words: Option<String>,
    expect: Expected,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Expected {
    Delivered(String),
    Hold { hold: TroubleKind, may_be_data: bool, words: Option<String>, retry_after: Option<u64> },
    Refused { refused: String, blame: Value, words: Option<String> },
}

/// 22 November 2026, 04:13:56.
const WALL_MS: i64 = 1_795_320_836_000;

fn recorded() -> Vec<Recorded> {
    let text = include_str!("../../../tests/fixtures/answers.jsonl");
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

impl Recorded {
    fn asked(&self) -> Asked {
        Asked { api: self.api, points: self.points, wall_ms: WALL_MS }
    }

    fn answer(&self) -> Answer {
        let Some(failure) = &self.failure else {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let headers = self.headers.iter().map(|(name, value)| (name.clone(), text(value))).collect();
            return Answer::Response(Response {
                status: self.status.unwrap(),
                headers,
                body: self.body.clone(),
            });
        };
        let kind = match failure.as_str() {
            "local" => TransportErrorKind::Local,
            "connect" => TransportErrorKind::Connect,
            "tls" => TransportErrorKind::Tls,
            "timeout" => TransportErrorKind::Timeout,
            "reset" => TransportErrorKind::Reset,
            "garbled" => TransportErrorKind::Garbled,
            "broken" => TransportErrorKind::Broken,
            other => panic!("no way to fail: {other}"),
        };
        Answer::Failed(TransportError { kind, words: self.words.clone().unwrap_or_default() })
    }
}

fn cause(word: &str) -> Cause {
    match word {
        "malformed" => Cause::Malformed,
        "type_conflict" => Cause::TypeConflict,
        "too_old" => Cause::TooOld,
        "too_large" => Cause::TooLarge,
        "other" => Cause::Other,
        other => panic!("no cause: {other}"),
    }
}

fn blame(value: &Value) -> Blame {
    match value.as_str() {
        Some("all") => Blame::All,
        Some("some") => Blame::Some,
        Some("size") => Blame::Size,
        Some(other) => panic!("no blame: {other}"),
        None => Blame::Named(value.as_array().unwrap().iter().map(named).collect()),
    }
}

fn named(value: &Value) -> NamedLine {
    let text = |key: &str| value[key].as_str().map(str::to_owned);
    let name = match text("text") {
        Some(text) => LineName::Text(text),
        None => LineName::Number { number: value["number"].as_u64().unwrap(), begin: text("begin") },
    };
    NamedLine { name, cause: cause(&text("cause").unwrap()), words: text("words").unwrap() }
}

#[test]
fn each_recorded_answer_meets_its_row_and_verdict() {
    for case in recorded() {
        let (row, verdict) = look_up(case.asked(), &case.answer());
        assert_eq!(row.name, case.row, "{case:#?}\n{verdict:#?}");
        match (&case.expect, &verdict) {
            (Expected::Delivered(word), Verdict::Delivered) => assert_eq!(word, "delivered"),
            (Expected::Hold { hold, may_be_data, words, retry_after }, Verdict::Hold(trouble)) => {
                assert_eq!((trouble.kind, trouble.may_be_data), (*hold, *may_be_data), "{case:#?}");
                assert_eq!(trouble.retry_after.map(|wait| wait.as_secs()), *retry_after, "{case:#?}");
                assert_eq!(trouble.status, case.status);
                assert_eq!(&trouble.words, words.as_ref().unwrap_or(&trouble.words), "{case:#?}");
                assert!(
                    !trouble.words.is_empty() && !trouble.words.contains("secret"),
                    "{case:#?}\n{verdict:#?}"
                );
            }
            (Expected::Refused { refused, blame: whom, words }, Verdict::Refused(refusal)) => {
                assert_eq!((refusal.cause, &refusal.blame), (cause(refused), &blame(whom)), "{case:#?}");
                assert_eq!(refusal.status, case.status.unwrap());
                assert_eq!(&refusal.words, words.as_ref().unwrap_or(&refusal.words), "{case:#?}");
                assert!(
                    !refusal.words.is_empty() && !refusal.words.contains("secret"),
                    "{case:#?}\n{verdict:#?}"
                );
            }
            _ => panic!("{case:#?}\n{verdict:#?}"),
        }
    }
}

#[test]
fn each_row_has_an_answer_that_shows_it() {
    let shown: BTreeSet<String> = recorded().into_iter().map(|case| case.row).collect();
    let rows: BTreeSet<String> = TABLE.iter().map(|row| row.name.to_owned()).collect();
    assert_eq!(rows.len(), TABLE.len(), "two rows have one name");
    assert_eq!(rows.symmetric_difference(&shown).collect::<Vec<_>>(), Vec::<&String>::new());
}

/// The behaviours of the official clients that are about one answer are among the fixtures.
#[test]
fn what_official_clients_do_with_answers_is_agreed_with_or_disagreed_with_in_words() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/cases/behaviours.jsonl");
    let Ok(text) = std::fs::read_to_string(&path) else {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "{} must be there where CI=true",
            path.display()
        );
        println!("skipped: no {}", path.display());
        return;
    };
    let not_about_one_answer = ["retry-zero", "retry-count", "retry-time"];
    let fixtures = recorded();
    for line in text.lines() {
        let behaviour: Value = serde_json::from_str(line).unwrap();
        let id = behaviour["id"].as_str().unwrap();
        let is_about_answers = matches!(behaviour["area"].as_str(), Some("retry" | "retry-after" | "errors"));
        let is_shown = fixtures.iter().any(|case| case.origin.contains(id));
        assert!(!is_about_answers || is_shown || not_about_one_answer.contains(&id), "{id} has no fixture");
    }
}

#[test]
fn the_same_trouble_has_the_same_words() {
    let page = |port: u16, id: u32| Response {
        status: 503,
        headers: vec![("content-type".into(), "text/plain".into())],
        body: format!(
            "remoteAddr: \"127.0.0.1:{port}\"; requestURI: /write?p=secret; request 7f3a9c{id:010}d2 at \
             2026-11-22T04:13:{:02}Z failed",
            id % 60
        ),
    };
    let asked = Asked { api: Api::V1, points: 1, wall_ms: WALL_MS };
    let one = judge(asked, &Answer::Response(page(57_582, 1)));
    assert_eq!(one, judge(asked, &Answer::Response(page(40_001, 59))));
    let Verdict::Hold(trouble) = one else { panic!("{one:?}") };
    assert_eq!(trouble.words, "request … at … failed");
}

/// A megabyte that could end at any place is read in no time: whatever takes longer than a blink would hold up others.
#[test]
fn an_answer_full_of_places_where_a_line_may_end_is_soon_read() {
    let places = "unable to parse 'm s=\"\n".repeat(50_000);
    let body = serde_json::json!({ "error": places }).to_string();
    let response = Response { status: 400, headers: Vec::new(), body };
    let began = std::time::Instant::now();
    judge(Asked { api: Api::V1, points: 50_000, wall_ms: WALL_MS }, &Answer::Response(response));
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}

#[test]
fn long_words_are_cut_between_characters() {
    let long = "ü".repeat(5_000);
    let body = format!(r#"{{"error":"unable to parse '{long}': missing fields"}}"#);
    let asked = Asked { api: Api::V1, points: 1, wall_ms: WALL_MS };
    let response = Response { status: 400, headers: Vec::new(), body };
    let Verdict::Refused(refusal) = judge(asked, &Answer::Response(response)) else { panic!("not refused") };
    assert!(refusal.words.len() <= 1024 && refusal.words.len() > 1000, "{}", refusal.words.len());
    let Blame::Named(named) = refusal.blame else { panic!("{:?}", refusal.blame) };
    assert_eq!(named[0].name, LineName::Text(long), "a name is whole");
}

#[test]
fn whoever_has_the_same_row_means_the_same() {
    for row in TABLE {
        if let Means::Refused { points: Points::Named, .. } = row.means {
            assert!(row.phrases.len() == 1, "{}: only an answer that names lines can blame them", row.name);
        }
        assert!(row.failures.is_empty() || matches!(row.means, Means::Hold { .. }), "{}", row.name);
    }
}

/// Texts that look like answers, whole and torn, with anything between.
fn hostile_text() -> impl Strategy<Value = String> {
    let pieces: Vec<String> =
        recorded().into_iter().map(|case| case.body).filter(|body| !body.is_empty()).collect();
    let phrases = [
        "unable to parse '",
        "': ",
        "\n",
        "\"",
        "\\",
        "{\"error\":\"",
        "\"}",
        "data",
        "[",
        "{",
        "dropped=",
        "<title>",
        "</title>",
        "<",
        ">",
        "metric parse error: ",
        " at 2:",
        "error parsing line ",
        " (1-based): ",
        "remoteAddr: ",
        "; ",
        "Bearer ",
        "?",
        "partial write: ",
        "[shard ",
        "] ",
        "é",
        "\u{fffd}",
        "99999999999999999999",
    ];
    let pieces: Vec<String> = pieces.into_iter().chain(phrases.map(str::to_owned)).collect();
    let piece = prop_oneof![
        4 => prop::sample::select(pieces),
        1 => ".{0,20}",
    ];
    (prop::collection::vec(piece, 0..8), any::<prop::sample::Index>()).prop_map(|(pieces, cut)| {
        let text = pieces.concat();
        text[..text.floor_char_boundary(cut.index(text.len() + 1))].to_owned()
    })
}

fn hostile_answer() -> impl Strategy<Value = Answer> {
    let name = prop::sample::select(vec![
        "content-type",
        "x-influxdb-version",
        "x-influxdb-error",
        "x-platform-error-code",
        "retry-after",
        "date",
        "location",
        "cluster-uuid",
    ]);
    let headers = prop::collection::vec((name.prop_map(str::to_owned), hostile_text()), 0..4);
    let status = prop_oneof![
        3 => prop::sample::select(vec![200_u16, 201, 204, 400, 401, 404, 413, 422, 429, 500, 503]),
        1 => any::<u16>(),
    ];
    (status, headers, hostile_text())
        .prop_map(|(status, headers, body)| Answer::Response(Response { status, headers, body }))
}

proptest! {
    #[test]
    fn no_answer_makes_it_panic_and_only_a_204_delivers(
        answer in hostile_answer(),
        points in any::<u64>(),
        wall_ms in any::<i64>(),
        api in prop::sample::select(vec![Api::V1, Api::V2, Api::V3]),
    ) {
        let Answer::Response(response) = &answer else { unreachable!() };
        let verdict = judge(Asked { api, points, wall_ms }, &answer);
        prop_assert_eq!(verdict == Verdict::Delivered, response.status == 204);
        match verdict {
            Verdict::Hold(trouble) => prop_assert!(!trouble.words.is_empty() && trouble.words.len() <= 4096),
            Verdict::Refused(refusal) => {
                prop_assert!(matches!(response.status, 201 | 400 | 413 | 422 | 500));
                prop_assert!(!refusal.words.is_empty() && refusal.words.len() <= 4096);
                prop_assert!(refusal.blame != Blame::Named(Vec::new()));
            }
            Verdict::Delivered => {}
        }
    }

    /// Lines as 1.x names them come out as they went in, whatever stands in their strings.
    #[test]
    fn every_line_that_is_named_is_found(
        lines in prop::collection::vec(("[a-z]{1,3}", hostile_text()), 1..5),
        partial in any::<bool>(),
    ) {
        let line = |(name, text): &(String, String)| {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"");
            format!("{name} s=\"{text}\",v=zz 6")
        };
        let lines: Vec<String> = lines.iter().map(line).collect();
        let message: Vec<String> =
            lines.iter().map(|line| format!("unable to parse '{line}': invalid boolean")).collect();
        let message = message.join("\n");
        let message = if partial { format!("partial write: {message} dropped=0") } else { message };
        let body = serde_json::json!({ "error": message }).to_string();
        let response = Response { status: 400, headers: Vec::new(), body };
        let asked = Asked { api: Api::V1, points: 10, wall_ms: 0 };
        let Verdict::Refused(refusal) = judge(asked, &Answer::Response(response)) else { panic!("not refused") };
        let Blame::Named(named) = refusal.blame else { panic!("{:?}", refusal.blame) };
        let names: Vec<LineName> = named.into_iter().map(|line| line.name).collect();
        prop_assert_eq!(names, lines.into_iter().map(LineName::Text).collect::<Vec<_>>());
    }
}
