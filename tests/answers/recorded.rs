//! Recorded answers, byte for byte, from a server that does nothing else.

use futures_util::future::join_all;
use influx_spool::{Api, Fate, TroubleKind};
use serde_json::Value;

use super::support::scripted::{Script, Scripted, Seen};
use super::{LONG, POINTS, check_held, database, push, retry_slowly, run};

fn fixtures() -> Vec<Value> {
    let text = include_str!("../fixtures/answers.jsonl");
    let cases = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    // What is no response is made for real elsewhere.
    cases.filter(|case| case.get("failure").is_none()).collect()
}

fn script(case: &Value) -> Script {
    let headers: String = case["headers"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| format!("{name}: {}\r\n", value.as_str().unwrap()))
        .collect();
    let status = u16::try_from(case["status"].as_u64().unwrap()).unwrap();
    Script::status(status, &headers, case["body"].as_str().unwrap())
}

/// Which case a request is for: each has a database of its own.
fn number(seen: &Seen) -> Option<usize> {
    let (_, after) = seen.target.split_once("case-")?;
    after.split(|char: char| !char.is_ascii_digit()).next()?.parse().ok()
}

fn builder(case: &Value, number: usize, url: &str) -> influx_spool::DatabaseBuilder {
    let api: Api = serde_json::from_value(case["api"].clone()).unwrap();
    database(&format!("recorded-{number}"), url).database(format!("case-{number}")).configure(|config| {
        config.api = api;
        config.org = (api == Api::V2).then(|| "org".to_owned());
    })
}

#[test]
fn what_says_nothing_about_the_data_holds_it() {
    run(async {
        let cases = fixtures();
        let scripts: Vec<Script> = cases.iter().map(script).collect();
        let server = Scripted::start(move |_, seen| match number(seen) {
            Some(number) => scripts[number].clone(),
            None => Script::status(200, "", ""),
        });
        let url = server.url();
        let held = cases.iter().enumerate().filter_map(|(number, case)| {
            let expect = &case["expect"];
            let kind: TroubleKind = serde_json::from_value(expect.get("hold")?.clone()).unwrap();
            let words = expect["words"].as_str().unwrap_or_default();
            Some(check_held(builder(case, number, &url).configure(retry_slowly), kind, words))
        });
        let held = join_all(held).await;
        assert!(held.len() > 50, "only {} were seen", held.len());
        join_all(held.into_iter().map(super::Held::stop)).await;
    });
}

/// The first answer refuses; whatever is sent then is taken. Whichever points were meant, all have a fate in the end.
#[test]
fn what_refuses_data_ends() {
    run(async {
        let cases = fixtures();
        let scripts: Vec<Script> = cases.iter().map(script).collect();
        let asked = std::sync::Mutex::new(vec![false; cases.len()]);
        let server = Scripted::start(move |_, seen| match number(seen) {
            Some(number) if !std::mem::replace(&mut asked.lock().unwrap()[number], true) => {
                scripts[number].clone()
            }
            _ => Script::status(204, "", ""),
        });
        let url = server.url();
        let refused = cases.iter().enumerate().filter(|(_, case)| case["expect"].get("refused").is_some());
        join_all(refused.map(|(number, case)| check_ends(builder(case, number, &url)))).await;
    });
}

async fn check_ends(builder: influx_spool::DatabaseBuilder) {
    let db = builder.start().unwrap();
    push(&db);
    assert!(db.flush(LONG).await.unwrap().complete, "{}: {:?}", db.name(), db.health());
    let (stats, link) = (db.stats(), db.health().link);
    assert_eq!(link, None, "{}: whoever refuses data is there", db.name());
    assert_eq!(
        (stats.pending.points, stats.ledger.settled_points()),
        (0, POINTS),
        "{}: {stats:?}",
        db.name()
    );
    assert_eq!(stats.failures_total, 0, "{}: {stats:?}", db.name());
    assert!(stats.requests_total <= 2 * POINTS + 4, "{} does not loop: {stats:?}", db.name());
    db.stop(LONG).await.unwrap();
}

#[test]
fn a_204_delivers() {
    run(async {
        let cases = fixtures();
        let scripts: Vec<Script> = cases.iter().map(script).collect();
        let server = Scripted::start(move |_, seen| scripts[number(seen).unwrap_or(0)].clone());
        let url = server.url();
        let written = cases.iter().enumerate().filter(|(_, case)| case["expect"] == "delivered");
        join_all(
            written.map(|(number, case)| super::check_fate(builder(case, number, &url), Fate::Delivered)),
        )
        .await;
    });
}
