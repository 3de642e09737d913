//! What influxd 1.6.7 answers.

use std::io::{Read, Write};
use std::net::TcpStream;

use influx_spool::{Api, Auth, Fate, QuarantineReason, TroubleKind};

use super::support::influxd::Influxd;
use super::{BEGIN, check_fate, check_held, database, run};

#[test]
fn what_does_not_exist_is_waited_for() {
    let Some(influxd) = Influxd::start() else { return };
    run(async {
        let no_database = database("no-database", &influxd.url()).database("nope");
        let held = check_held(no_database, TroubleKind::NoSuchDatabase, "database not found: \"nope\"").await;
        influxd.create_database("nope");
        held.check_arrives().await;

        influxd.create_database("d");
        let no_policy = database("no-policy", &influxd.url()).database("d").retention_policy("week");
        let held =
            check_held(no_policy, TroubleKind::NoSuchDatabase, "retention policy not found: week").await;
        influxd.query("d", "CREATE RETENTION POLICY week ON d DURATION INF REPLICATION 1");
        held.check_arrives().await;

        let count = |policy: &str| influxd.query("d", &format!("SELECT count(n) FROM {policy}.m"));
        assert_eq!(count("week")["results"][0]["series"][0]["values"][0][1], 3);
    });
}

#[test]
fn an_interface_that_a_server_does_not_have_is_the_wrong_endpoint() {
    let Some(influxd) = Influxd::start() else { return };
    run(async {
        for (name, api) in [("v2-at-1.6", Api::V2), ("v3-at-1.6", Api::V3)] {
            let builder = database(name, &influxd.url()).configure(|config| {
                config.api = api;
                config.org = (api == Api::V2).then(|| "org".to_owned());
            });
            check_held(builder, TroubleKind::WrongEndpoint, "404 page not found").await.stop().await;
        }
    });
}

#[test]
fn credentials_that_are_not_accepted_hold_everything() {
    let Some(influxd) = Influxd::start_with("auth-enabled = true") else { return };
    let as_admin = |statement: &str| {
        let statement = statement.replace(' ', "%20").replace('\'', "%27");
        let target = format!("/query?u=admin&p=s3cret&q={statement}");
        assert_eq!(influxd.request("POST", &target, b"").unwrap().status, 200, "{statement}");
    };
    influxd.query("", "CREATE USER admin WITH PASSWORD 's3cret' WITH ALL PRIVILEGES");
    as_admin("CREATE DATABASE x");
    as_admin("CREATE USER w WITH PASSWORD 'wpw'");
    run(async {
        let with = |name: &str, auth: Auth| {
            database(name, &influxd.url()).database("x").configure(|config| config.http.auth = auth)
        };
        let basic = |password: &str| Auth::Basic { username: "w".into(), password: password.into() };
        let unauthorized = TroubleKind::Unauthorized;

        let none = "unable to parse authentication credentials";
        check_held(with("no-auth", Auth::None), unauthorized, none).await.stop().await;
        let token = Auth::Token { token: "w:wpw".into() };
        check_held(with("token", token), unauthorized, none).await.stop().await;
        let bearer = Auth::Bearer { token: "wpw".into() };
        check_held(with("bearer", bearer), unauthorized, "bearer auth disabld").await.stop().await;
        let wrong = with("wrong-password", basic("wrong"));
        check_held(wrong, unauthorized, "authorization failed").await.stop().await;

        let forbidden = "\"w\" user is not authorized to write to database \"x\"";
        let held = check_held(with("no-right", basic("wpw")), unauthorized, forbidden).await;
        as_admin("GRANT WRITE ON x TO w");
        held.check_arrives().await;
        let query = Auth::Query { username: "w".into(), password: "wpw".into() };
        check_fate(with("query-auth", query), Fate::Delivered).await;
    });
}

#[test]
fn a_server_that_takes_no_more_writes_is_waited_for() {
    let throttled =
        "max-concurrent-write-limit = 1\nmax-enqueued-write-limit = 1\nenqueued-write-timeout = \"100ms\"";
    let Some(influxd) = Influxd::start_with(throttled) else { return };
    influxd.create_database("d");
    // It asks for a body only when the write is under way: from then on the only place is taken.
    let mut slow = TcpStream::connect(influxd.url().trim_start_matches("http://")).unwrap();
    let head = "POST /write?db=d HTTP/1.1\r\nHost: d\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    slow.write_all(head.as_bytes()).unwrap();
    let mut asked_for = [0; 12];
    slow.read_exact(&mut asked_for).unwrap();
    assert_eq!(&asked_for, b"HTTP/1.1 100");
    run(async {
        let builder = database("throttled", &influxd.url()).database("d");
        let held = check_held(builder, TroubleKind::Unavailable, "request throttled, ").await;
        drop(slow);
        held.check_arrives().await;
    });
}

#[test]
fn a_server_that_is_gone_or_mute_is_waited_for() {
    let Some(mut influxd) = Influxd::start() else { return };
    influxd.create_database("d");
    run(async {
        let builder = || database("gone", &influxd.url()).database("d");
        check_fate(builder(), Fate::Delivered).await;
        let builder = builder();
        influxd.kill();
        let held = check_held(builder, TroubleKind::Unreachable, "").await;
        influxd.restart();
        held.check_arrives().await;
    });
}

#[test]
fn points_that_are_too_old_expire() {
    let Some(influxd) = Influxd::start() else { return };
    influxd.query("", "CREATE DATABASE d WITH DURATION 1h");
    run(async {
        let builder = database("too-old", &influxd.url()).database("d");
        check_fate(builder, Fate::Expired).await;
    });
}

#[test]
fn points_of_another_type_go_to_quarantine() {
    let Some(influxd) = Influxd::start() else { return };
    influxd.create_database("d");
    // Of the same time as the points: types are kept for each week.
    let text = format!("m,t=a n=\"text\" {}", *BEGIN);
    assert_eq!(influxd.write("d", text.as_bytes()).status, 204);
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let builder = database("conflict", &influxd.url()).database("d").spool(folder.path().join("s.db"));
        check_fate(builder, Fate::Quarantined(QuarantineReason::TypeConflict)).await;
    });
}

#[test]
fn a_batch_that_is_too_large_is_split() {
    let Some(influxd) = Influxd::start_with("max-body-size = 70") else { return };
    influxd.create_database("d");
    run(async {
        let builder = database("too-large", &influxd.url()).database("d");
        check_fate(builder, Fate::Delivered).await;
        let count = influxd.query("d", "SELECT count(n) FROM m");
        assert_eq!(count["results"][0]["series"][0]["values"][0][1], 3);
    });
}
