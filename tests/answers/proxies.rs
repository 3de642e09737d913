//! What stands in front of a server answers: nginx, vmauth, or nobody who speaks HTTP.

use std::time::Duration;

use futures_util::future::join_all;
use influx_spool::{Api, Auth, Fate, TroubleKind};

use super::support::http::request;
use super::support::influxd::Influxd;
use super::support::nginx::Nginx;
use super::support::process::free_port;
use super::support::scripted::{NO_CONTENT, Read, Script, Scripted, Step};
use super::support::vm::{Victoria, Vmauth};
use super::{POINTS, check_fate, check_held, database, run};

/// Each place answers in its own way. `MUTE` is a server that never answers, `GONE` a port where nobody listens.
const HOSTILE: &str = "
limit_req_zone $binary_remote_addr zone=all:1m rate=1r/m;
server {
  listen 127.0.0.1:PORT;
  proxy_read_timeout 1s;
  location /busy/ { add_header Retry-After 1 always; return 503; }
  location /quota/ { limit_req zone=all; limit_req_status 429; error_page 429 = @quota; proxy_pass http://GONE/; }
  location @quota { add_header Retry-After 1 always; default_type application/json;
    return 429 '{\"code\":\"too many requests\",\"message\":\"over quota\"}'; }
  location /wait/ { add_header Retry-After soon always; return 429; }
  location /gone/ { proxy_pass http://GONE/; }
  location /mute/ { proxy_pass http://MUTE/; }
  location /moved/ { return 307 http://elsewhere.example/write$is_args$args; }
  location /portal/ { default_type text/html; return 200 '<html><title>Log in</title></html>'; }
  location /bad/ { return 400; }
  location /denied/ { return 403; }
  location /nowhere/ { return 404; }
  location /static/ { return 405; }
}";

/// The same places, mended.
const MENDED: &str = "
server {
  listen 127.0.0.1:PORT;
  location ~ ^/[a-z]+/(write.*)$ { proxy_pass http://INFLUXD/$1$is_args$args; }
}";

#[test]
fn what_a_proxy_answers_holds_the_data_until_it_is_mended() {
    let Some(influxd) = Influxd::start() else { return };
    influxd.create_database("d");
    let mute = Scripted::playing([Script::steps([Step::Stall])]);
    let root = |url: String| url.trim_start_matches("http://").to_owned();
    let gone = format!("127.0.0.1:{}", free_port());
    let hostile = HOSTILE.replace("MUTE", &root(mute.url())).replace("GONE", &gone);
    let Some(mut nginx) = Nginx::start(&[], &hostile) else { return };
    // One request a minute is let through, to nobody: from now on there are too many.
    let port = nginx.url().rsplit_once(':').unwrap().1.parse().unwrap();
    assert_eq!(request(port, "GET", "/quota/", "", b"").unwrap().status, 502);
    let places = [
        ("busy", TroubleKind::Unavailable, "503 Service Temporarily Unavailable"),
        ("quota", TroubleKind::Unavailable, "over quota"),
        ("wait", TroubleKind::Unavailable, "429 Too Many Requests"),
        ("gone", TroubleKind::Unavailable, "502 Bad Gateway"),
        ("mute", TroubleKind::Unavailable, "504 Gateway Time-out"),
        ("moved", TroubleKind::WrongEndpoint, "redirected to http://elsewhere.example/write"),
        ("portal", TroubleKind::WrongEndpoint, "Log in"),
        ("bad", TroubleKind::WrongEndpoint, "400 Bad Request"),
        ("denied", TroubleKind::Unauthorized, "403 Forbidden"),
        ("nowhere", TroubleKind::WrongEndpoint, "404 Not Found"),
        ("static", TroubleKind::WrongEndpoint, "405 Not Allowed"),
    ];
    run(async {
        let url = nginx.url();
        let at = |place: &str| database(&format!("nginx-{place}"), &format!("{url}/{place}")).database("d");
        let held = places.map(|(place, kind, words)| check_held(at(place), kind, words));
        let held = join_all(held).await;
        nginx.configure(&MENDED.replace("INFLUXD", &root(influxd.url())));
        nginx.restart();
        join_all(held.into_iter().map(super::Held::check_arrives)).await;
        let count = influxd.query("d", "SELECT count(n) FROM m");
        assert_eq!(count["results"][0]["series"][0]["values"][0][1], 3, "eleven times the same points");
    });
}

#[test]
fn a_batch_too_large_for_a_proxy_is_split() {
    let Some(influxd) = Influxd::start() else { return };
    influxd.create_database("d");
    let small =
        "server { listen 127.0.0.1:PORT; client_max_body_size 70; location / { proxy_pass INFLUXD; } }";
    let Some(nginx) = Nginx::start(&[], &small.replace("INFLUXD", &influxd.url())) else { return };
    run(async {
        let builder = database("nginx-small", &nginx.url()).database("d");
        check_fate(builder, Fate::Delivered).await;
    });
}

#[test]
fn vmauth_lets_the_right_token_through() {
    let Some(victoria) = Victoria::start() else { return };
    let Some(vmauth) = Vmauth::start("tok123", &victoria.url()) else { return };
    let gone = format!("http://127.0.0.1:{}", free_port());
    let Some(before_nobody) = Vmauth::start("tok123", &gone) else { return };
    let v2 = |name: &str, url: &str, auth: Auth| {
        database(name, url).configure(|config| {
            config.api = Api::V2;
            config.org = Some("org".into());
            config.http.auth = auth;
        })
    };
    let token = |token: &str| Auth::Token { token: token.into() };
    run(async {
        let unauthorized = TroubleKind::Unauthorized;
        let unknown = v2("vm-unknown-token", &vmauth.url(), token("s3cret-of-another"));
        let held = check_held(unknown, unauthorized, "cannot find the provided auth token").await;
        let (_, words) = held.db.health().link.unwrap();
        assert!(!words.contains("s3cret"), "{words}");
        held.stop().await;
        let none = v2("vm-no-token", &vmauth.url(), Auth::None);
        check_held(none, unauthorized, "missing `Authorization` request header").await.stop().await;
        let nobody = v2("vm-nobody", &before_nobody.url(), token("tok123"));
        check_held(nobody, TroubleKind::Unavailable, "status 502").await.stop().await;
        let v3 = database("vm-v3", &victoria.url()).configure(|config| config.api = Api::V3);
        check_held(v3, TroubleKind::WrongEndpoint, "unsupported path requested").await.stop().await;

        check_fate(v2("vm-token", &vmauth.url(), token("tok123")), Fate::Delivered).await;
        let bearer = Auth::Bearer { token: "tok123".into() };
        check_fate(v2("vm-bearer", &vmauth.url(), bearer), Fate::Delivered).await;
        let times = victoria.values("m_n").into_iter().map(|(at, _)| at);
        let times: std::collections::BTreeSet<i64> = times.collect();
        assert_eq!(times.len() as u64, POINTS);
    });
}

#[test]
fn whoever_does_not_speak_http_is_waited_for() {
    let read_all = |steps: Vec<Step>| Script { read: Read::All, steps };
    let control = b"HTTP/1.1 400 Bad Request\r\nX-Influxdb-Error: unable to parse '\x01'\r\n\r\n".to_vec();
    let manners = [
        ("garbled", TroubleKind::Unreachable, vec![Step::Send(control)]),
        ("no-http", TroubleKind::Unreachable, vec![Step::Send(b"220 mail.example ESMTP\r\n".to_vec())]),
        ("closed", TroubleKind::Unreachable, vec![Step::Close]),
        ("reset", TroubleKind::Unreachable, vec![Step::Reset]),
        ("mute", TroubleKind::Timeout, vec![Step::Stall]),
    ];
    run(async {
        join_all(manners.map(|(name, kind, steps)| async move {
            // Whatever the client tries by itself on a broken connection is not counted here: from the third on, all is well.
            let bad = read_all(steps);
            let good = Script::answer(NO_CONTENT);
            let server = Scripted::playing([bad.clone(), bad.clone(), bad, good]);
            let builder = database(name, &server.url())
                .configure(|config| config.http.timeout = Duration::from_secs(1));
            check_held(builder, kind, "").await.check_arrives().await;
        }))
        .await;
    });
}
