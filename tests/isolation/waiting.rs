//! What only people can mend: points wait for it, however long that takes, and none is given up.

use std::time::Duration;

use influx_spool::{Auth, Database, DatabaseHandle, Event, Fate, Point, Secret, Told, TroubleKind};

use super::support::influxd::Influxd;
use super::support::scripted::{NO_CONTENT, Script, Scripted, Seen};
use super::{LONG, quiet};

const POINTS: u64 = 7_000;

/// So that a test waits for no minute.
const BACKOFF_MAX: Duration = Duration::from_millis(500);

#[test]
fn a_token_that_is_refused_holds_everything_until_its_file_changes() {
    let _quiet = quiet();
    actix_rt::System::new().block_on(async {
        let server = Scripted::start(|_, seen| {
            if seen.header("authorization") == Some("Token right") {
                Script::answer(NO_CONTENT)
            } else {
                let headers = "Content-Type: application/json\r\nX-Influxdb-Version: 1.8.10\r\n";
                Script::status(401, headers, r#"{"error":"authorization failed"}"#)
            }
        });
        let folder = tempfile::tempdir().unwrap();
        let token = folder.path().join("token");
        std::fs::write(&token, "wrong").unwrap();
        let db = Database::builder("guarded")
            .http(server.url())
            .spool(folder.path().join("g.db"))
            .configure(|config| {
                config.http.auth = Auth::Token { token: Secret::file(&token) };
                config.http.backoff_max = BACKOFF_MAX;
            })
            .start()
            .unwrap();
        push(&db);
        // Refused more than once, and asked again all the same.
        assert!(server.wait_for_requests(4, LONG));
        let health = db.health();
        let (kind, words) = health.link.clone().unwrap();
        assert_eq!(kind, TroubleKind::Unauthorized);
        assert!(words.contains("authorization failed") && !format!("{health:?}").contains("wrong"));
        assert_eq!(db.stats().pending.points, POINTS);

        std::fs::write(&token, "right\n").unwrap();
        check_all_delivered(&db).await;
        let is_right = |seen: &&Seen| seen.header("authorization") == Some("Token right");
        let seen = server.seen();
        let refused = seen.iter().filter(|seen| !is_right(seen)).count();
        let arrived: Vec<&str> = seen.iter().filter(is_right).flat_map(|seen| seen.text().lines()).collect();
        println!("{refused} requests refused");
        let expected = (1..=POINTS).map(|number| format!("m n={number}i {number}"));
        assert!(arrived.into_iter().eq(expected), "each once, and in order");
    });
}

#[test]
fn a_missing_database_is_waited_for() {
    let Some(influxd) = Influxd::start() else { return };
    let _quiet = quiet();
    actix_rt::System::new().block_on(async {
        let db = Database::builder("late").http(influxd.url()).start().unwrap();
        let mut events = db.subscribe();
        push(&db);
        loop {
            if let Told::Event(Event::LinkDown { kind, words }) = events.next().await.unwrap() {
                assert_eq!(kind, TroubleKind::NoSuchDatabase);
                assert!(words.contains("database not found: \"late\""), "{words}");
                break;
            }
        }
        influxd.create_database("late");
        check_all_delivered(&db).await;
        assert_eq!(count(&influxd, "late"), POINTS);
    });
}

#[test]
fn a_missing_database_is_created_if_that_is_wanted() {
    let Some(influxd) = Influxd::start() else { return };
    let _quiet = quiet();
    actix_rt::System::new().block_on(async {
        // A name that has to be quoted.
        let name = "new \"plant\"";
        let db = Database::builder(name).http(influxd.url()).create_database().start().unwrap();
        push(&db);
        check_all_delivered(&db).await;
        assert_eq!(count(&influxd, name), POINTS);
    });
}

#[test]
fn a_missing_policy_is_not_mended_by_creating_the_database() {
    let _quiet = quiet();
    actix_rt::System::new().block_on(async {
        let body = r#"{"error":"retention policy not found: missing"}"#;
        let server = Scripted::playing([Script::status(500, "X-Influxdb-Version: 1.6.7\r\n", body)]);
        let db = Database::builder("policy").http(server.url()).create_database();
        let db = db.configure(|config| config.http.backoff_max = BACKOFF_MAX).start().unwrap();
        db.push(Point::new("m").field("n", 1)).unwrap();
        assert!(server.wait_for_requests(3, LONG));
        let seen = server.seen();
        assert!(seen.iter().all(|request| request.target.starts_with("/write")), "{seen:?}");
        assert_eq!(db.health().link.unwrap().0, TroubleKind::NoSuchDatabase);
        db.stop(Duration::ZERO).await.unwrap();
    });
}

fn push(db: &DatabaseHandle) {
    for number in 1..=POINTS {
        let stamp = influx_spool::Timestamp::from_nanos(number as i64);
        db.push(Point::new("m").field("n", number as i64).timestamp(stamp)).unwrap();
    }
}

async fn check_all_delivered(db: &DatabaseHandle) {
    assert!(db.flush(LONG).await.unwrap().complete, "{:?}", db.health());
    let stats = db.stop(LONG).await.unwrap().stats;
    assert_eq!(stats.ledger.accepted().points, POINTS);
    assert_eq!(stats.ledger.of(Fate::Delivered).points, POINTS, "{stats:?}");
}

fn count(influxd: &Influxd, database: &str) -> u64 {
    let answer = influxd.query(database, "SELECT count(n) FROM m");
    answer["results"][0]["series"][0]["values"][0][1].as_u64().unwrap_or(0)
}
