//! Who we are: passwords and tokens, in the configuration and in files that change.

use influx_spool::{Api, Auth, Point, Secret, Timestamp, TroubleKind};

use super::support::http::percent_encoded;
use super::support::influxd::Influxd;
use super::support::vm::{Victoria, Vmauth};
use super::{LONG, check_all_delivered, check_delivers, push, run, start, trouble};

/// An influxd whose user `w` with the password `right` may write to the database `auth`.
fn guarded_influxd() -> Option<Influxd> {
    let influxd = Influxd::start_with("auth-enabled = true")?;
    statement(&influxd, "", "CREATE USER admin WITH PASSWORD 'admin' WITH ALL PRIVILEGES");
    let as_admin = "&u=admin&p=admin";
    statement(&influxd, as_admin, "CREATE DATABASE auth");
    statement(&influxd, as_admin, "CREATE USER w WITH PASSWORD 'right'");
    statement(&influxd, as_admin, "GRANT WRITE ON auth TO w");
    Some(influxd)
}

fn statement(influxd: &Influxd, parameters: &str, statement: &str) {
    let target = format!("/query?q={}{parameters}", percent_encoded(statement));
    let answer = influxd.request("POST", &target, b"").unwrap();
    let body = String::from_utf8(answer.body).unwrap();
    assert!(answer.status == 200 && !body.contains("error"), "{statement}: {body}");
}

#[test]
fn a_password_goes_in_a_header_or_in_the_query() {
    let Some(influxd) = guarded_influxd() else { return };
    run(async {
        let (username, password) = ("w".to_owned(), Secret::from("right"));
        let auths = [
            Auth::Basic { username: username.clone(), password: password.clone() },
            Auth::Query { username, password },
        ];
        for auth in auths {
            let db = start("auth", influxd.url(), |config| config.http.auth = auth);
            check_delivers(&db).await;
            db.stop(LONG).await.unwrap();
        }
    });
}

#[test]
fn points_wait_for_the_right_password_and_its_file_is_read_again() {
    let Some(influxd) = guarded_influxd() else { return };
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        let password = Secret::file(&file);
        let auth = Auth::Basic { username: "w".into(), password };
        let db = start("auth", influxd.url(), |config| config.http.auth = auth);
        let mut events = db.subscribe();
        push(&db, 1_000);
        let words = trouble(&mut events, TroubleKind::Misconfigured).await;
        assert!(words.contains("password") && words.contains("No such file"), "{words}");

        std::fs::write(&file, "wrong").unwrap();
        let words = trouble(&mut events, TroubleKind::Unauthorized).await;
        assert!(words.contains("authorization failed") && !words.contains("wrong"), "{words}");
        assert_eq!(db.health().link.unwrap().0, TroubleKind::Unauthorized);

        std::fs::write(&file, "right\n").unwrap();
        check_all_delivered(&db).await;
        db.stop(LONG).await.unwrap();
    });
}

#[test]
fn a_token_goes_to_the_write_interface_of_2_x() {
    let Some(victoria) = Victoria::start() else { return };
    let Some(vmauth) = Vmauth::start("tok123", &victoria.url()) else { return };
    run(async {
        let token = || Secret::from("tok123");
        for (n, auth) in
            [Auth::Token { token: token() }, Auth::Bearer { token: token() }].into_iter().enumerate()
        {
            let db = start("v2", vmauth.url(), |config| {
                config.api = Api::V2;
                config.org = Some("works".into());
                config.http.auth = auth;
            });
            let at = 1_700_000_000 + n as i64;
            db.push(Point::new("m").field("n", 7).timestamp(Timestamp::from_secs(at).unwrap())).unwrap();
            check_all_delivered(&db).await;
            assert_eq!(victoria.values("m_n").last(), Some(&(at * 1_000, 7.0)));
            db.stop(LONG).await.unwrap();
        }
    });
}
