//! Peers that misbehave: points wait, nothing is lost, and the sender gets away.

use std::collections::HashSet;
use std::time::Duration;

use influx_spool::{Compression, Event, Point, Told, TroubleKind};

use super::support::influxd::Influxd;
use super::support::scripted::{NO_CONTENT, Read, Script, Scripted, Step};
use super::{LONG, check_all_delivered, push, run, start, trouble};

/// What a server gets that takes a byte a second, or none.
const IMPATIENT: Duration = Duration::from_millis(500);

/// A peer does this to the first request and takes the next: the points wait, for this reason, and arrive.
fn check_survives(script: Script, kind: TroubleKind, words: &str) {
    run(async {
        let what = format!("{:.200}", format!("{script:?}"));
        let server = Scripted::playing([script, Script::answer(NO_CONTENT)]);
        let db = start("hostile", server.url(), |config| config.http.timeout = IMPATIENT);
        let mut events = db.subscribe();
        push(&db, 1_000);
        let found = trouble(&mut events, kind).await;
        assert!(found.contains(words), "{what}: {found}");
        check_all_delivered(&db).await;
        let arrived: HashSet<String> =
            server.seen().iter().flat_map(|seen| seen.text().lines().map(str::to_owned)).collect();
        assert_eq!(arrived.len(), 1_000, "{what}");
        db.stop(LONG).await.unwrap();
    });
}

#[test]
fn silence_and_slowness_end_by_timeout() {
    for steps in [vec![Step::Stall], vec![Step::Drip(NO_CONTENT.to_vec())]] {
        check_survives(Script::steps(steps), TroubleKind::Timeout, "timed out");
    }
}

#[test]
fn a_connection_that_breaks_is_made_anew() {
    check_survives(Script::steps([Step::Close]), TroubleKind::Unreachable, "closed before message completed");
    check_survives(Script::steps([Step::Reset]), TroubleKind::Unreachable, "reset");
    let half = Step::Send(b"HTTP/1.1 204 No Con".to_vec());
    check_survives(Script::steps([half, Step::Close]), TroubleKind::Unreachable, "message");
    let in_mid_body = Script { read: Read::Bytes(10), steps: vec![Step::Reset] };
    check_survives(in_mid_body, TroubleKind::Unreachable, "");
}

#[test]
fn what_is_not_http_is_no_answer() {
    for control in ["\0", "\u{1}", "\u{8}", "\u{b}", "\u{1b}", "\u{7f}"] {
        let answer = format!(
            "HTTP/1.1 400 Bad Request\r\nX-Influxdb-Error: bad {control}\r\nContent-Length: 0\r\n\r\n"
        );
        check_survives(Script::answer(answer), TroubleKind::Unreachable, "invalid HTTP header");
    }
    check_survives(
        Script::answer("SSH-2.0-OpenSSH_9.2\r\n\r\n"),
        TroubleKind::Unreachable,
        "invalid HTTP version",
    );
}

#[test]
fn an_answer_without_an_end_is_cut() {
    let head = |text: &str| Step::Send(text.as_bytes().to_vec());
    let headers = [head("HTTP/1.1 204 No Content\r\n"), Step::Flood(b"X-More: and more\r\n".repeat(100))];
    check_survives(Script::steps(headers), TroubleKind::Unreachable, "too large");
    let body = [head("HTTP/1.1 503 Busy\r\n\r\n"), Step::Flood(b"wait! ".repeat(1_000))];
    check_survives(Script::steps(body), TroubleKind::Unavailable, "wait! wait! ");
}

#[test]
fn a_status_counts_though_its_body_breaks_off_or_stalls() {
    let busy = || Step::Send(b"HTTP/1.1 503 Busy\r\nContent-Length: 1000\r\n\r\nhalf of".to_vec());
    for end in [Step::Close, Step::Reset, Step::Stall] {
        check_survives(Script::steps([busy(), end]), TroubleKind::Unavailable, "half of");
    }
}

#[test]
fn a_page_of_a_load_balancer_is_no_delivery() {
    let page = |status| Script::status(status, "Content-Type: text/html\r\n", "<html>sign in</html>");
    check_survives(page(200), TroubleKind::WrongEndpoint, "sign in");
    check_survives(page(502), TroubleKind::Unavailable, "sign in");
}

/// A server has a bound for bodies and says so before it has read one: its answer is heard although the connection is gone
/// before the body is.
fn check_is_told_too_large(url: String) {
    run(async {
        let db = start("large", url, |config| {
            config.batch.bytes_max = (16 << 20).try_into().unwrap();
            config.batch.compression = Compression::None;
        });
        let mut events = db.subscribe();
        // More than the buffers of two sockets hold.
        let text = "x".repeat(60 << 10);
        for n in 0..200_i64 {
            db.push(Point::new("m").field("n", n).field("s", text.clone())).unwrap();
        }
        assert!(db.flush(LONG).await.unwrap().complete, "{:?}", db.health());
        while let Some(told) = events.try_next() {
            assert!(!matches!(told, Told::Event(Event::LinkDown { .. })), "{told:?}");
        }
        db.stop(LONG).await.unwrap();
    });
}

#[test]
fn a_body_that_influxd_does_not_take_is_answered() {
    let Some(influxd) = Influxd::start_with("max-body-size = 1000000") else { return };
    influxd.create_database("large");
    for _ in 0..2 {
        check_is_told_too_large(influxd.url());
    }
}

#[test]
fn a_refusal_is_heard_though_the_connection_is_reset_with_the_body_on_its_way() {
    for end in [Step::Close, Step::Reset] {
        let answer =
            b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 9\r\n\r\ntoo large".to_vec();
        let script = Script { read: Read::Nothing, steps: vec![Step::Send(answer), end] };
        for _ in 0..3 {
            check_is_told_too_large(Scripted::playing([script.clone()]).url());
        }
    }
}
