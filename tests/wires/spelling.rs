//! What a request looks like, and what is done with connections.

use std::time::Duration;

use influx_spool::{Api, Auth, Compression, Config, Secret, TroubleKind};

use super::support::scripted::{NO_CONTENT, Script, Scripted, Seen};
use super::{LONG, check_delivers, run, start, trouble};

/// Delivers some points with this configuration, and gives the request that was made.
fn request(change: impl FnOnce(&mut Config)) -> Seen {
    run(async {
        let server = Scripted::playing([Script::answer(NO_CONTENT)]);
        let db = start("my db", server.url(), change);
        check_delivers(&db).await;
        db.stop(LONG).await.unwrap();
        server.seen().remove(0)
    })
}

#[test]
fn each_interface_is_spoken_to_as_it_wants() {
    let v1 = request(|config| config.retention_policy = Some("week".into()));
    assert_eq!(v1.target, "/write?db=my+db&precision=n&rp=week");
    assert_eq!(v1.header("content-type"), Some("text/plain; charset=utf-8"));
    assert!(v1.header("user-agent").unwrap().starts_with("influx-spool/"));
    assert_eq!(v1.header("authorization"), None);

    let token = || Secret::from("t0ken");
    let v2 = request(|config| {
        config.api = Api::V2;
        config.org_id = Some("03ac".into());
        config.http.auth = Auth::Token { token: token() };
    });
    assert_eq!(v2.target, "/api/v2/write?orgID=03ac&bucket=my+db&precision=ns");
    assert_eq!(v2.header("authorization"), Some("Token t0ken"));

    let v3 = request(|config| {
        config.api = Api::V3;
        config.http.auth = Auth::Bearer { token: token() };
    });
    assert_eq!(v3.target, "/api/v3/write_lp?db=my+db&precision=nanosecond&accept_partial=true&no_sync=false");
    assert_eq!(v3.header("authorization"), Some("Bearer t0ken"));
}

#[test]
fn bodies_are_compressed_or_not() {
    let gzip = request(|config| config.batch.compression = Compression::Gzip);
    assert_eq!(gzip.header("content-encoding"), Some("gzip"));
    let plain = request(|config| config.batch.compression = Compression::None);
    assert_eq!(plain.header("content-encoding"), None);
    assert_eq!(gzip.text().lines().count(), plain.text().lines().count());
}

#[test]
fn every_request_carries_the_headers_that_are_set() {
    let seen = request(|config| {
        config.http.headers.insert("X-Plant".into(), "north".into());
        config.http.headers.insert("User-Agent".into(), "ours".into());
    });
    assert_eq!(seen.header("x-plant"), Some("north"));
    assert_eq!(seen.header("user-agent"), Some("ours"));
}

#[test]
fn connections_are_kept_until_they_are_too_old() {
    run(async {
        for (age_max, connections) in [(Duration::from_secs(600), 1..=1), (Duration::ZERO, 3..=u64::MAX)] {
            let server = Scripted::playing([Script::answer(NO_CONTENT)]);
            let db = start("age", server.url(), |config| config.http.connection_age_max = age_max);
            for _ in 0..3 {
                check_delivers(&db).await;
            }
            assert!(connections.contains(&server.connections()), "{age_max:?}: {}", server.connections());
            db.stop(LONG).await.unwrap();
        }
    });
}

#[test]
fn databases_that_are_connected_alike_share_connections() {
    run(async {
        let server = Scripted::playing([Script::answer(NO_CONTENT)]);
        let connect_timeouts = [3, 3, 3, 3, 3, 4, 4, 4].map(Duration::from_secs);
        let mut dbs = Vec::new();
        for (number, connect_timeout) in connect_timeouts.into_iter().enumerate() {
            let name = format!("shared-{number}");
            let db = start(&name, server.url(), |config| config.http.connect_timeout = connect_timeout);
            check_delivers(&db).await;
            dbs.push(db);
        }
        // One for each of the two ways to connect, on each of two arbiters at the most.
        assert!((2..=4).contains(&server.connections()), "{}", server.connections());
        for db in dbs {
            db.stop(LONG).await.unwrap();
        }
    });
}

#[test]
fn a_redirect_is_not_followed() {
    run(async {
        let elsewhere = Scripted::playing([Script::answer(NO_CONTENT)]);
        let location = format!("Location: {}/write?db=x\r\n", elsewhere.url());
        let redirecting = Scripted::playing([Script::status(307, &location, "")]);
        let db = start("redirect", redirecting.url(), |_| ());
        let mut events = db.subscribe();
        super::push(&db, 1);
        trouble(&mut events, TroubleKind::WrongEndpoint).await;
        assert_eq!(elsewhere.seen().len(), 0);
        assert_eq!(db.stats().pending.points, 1);
        db.stop(Duration::ZERO).await.unwrap();
    });
}

#[test]
fn a_setting_that_cannot_be_is_named_at_start() {
    let check = |change: fn(&mut Config), setting: &str| {
        let started =
            influx_spool::Database::builder("bad").http("http://localhost").configure(change).start();
        let words = started.map(drop).unwrap_err().to_string();
        assert!(words.contains(setting) && !words.contains("s3cret"), "{words}");
    };
    check(|config| config.http.url = "http://u:s3cret@localhost".into(), "http.url");
    check(|config| config.http.fallback_urls = vec!["http://h/?p=s3cret".into()], "http.url");
    check(|config| _ = config.http.headers.insert("a b".into(), "s3cret".into()), "http.headers");
    check(|config| _ = config.http.headers.insert("x".into(), "s3cret\n".into()), "http.headers");
    check(|config| _ = config.http.headers.insert("content-length".into(), "3".into()), "http.headers");
    check(
        |config| _ = config.http.headers.insert("Transfer-Encoding".into(), "s3cret".into()),
        "http.headers",
    );
    check(
        |config| {
            config.http.auth = Auth::Token { token: "s3cret".into() };
            config.http.headers.insert("Authorization".into(), "s3cret".into());
        },
        "http.headers",
    );
    check(|config| config.http.auth = Auth::Token { token: "s3cret\n\n".into() }, "http.auth");
    check(|config| config.http.proxy = influx_spool::Proxy::Url("ftp://u:s3cret@h".into()), "http.proxy");
}
