//! Several endpoints: the next one is asked when one fails, and the one that works is kept.

use std::time::Duration;

use super::support::receiver::Receiver;
use super::support::scripted::{NO_CONTENT, Script, Scripted, Step};
use super::{LONG, check_delivers, run, start};

#[test]
fn when_one_endpoint_goes_the_next_is_used_and_kept() {
    run(async {
        let (first, second) = (Receiver::start(), Receiver::start());
        let db = start("failover", first.url(), |config| {
            config.http.fallback_urls = vec![second.url()];
        });
        check_delivers(&db).await;
        assert_eq!((first.lines().len(), second.lines().len()), (10, 0));
        first.go_down();
        check_delivers(&db).await;
        first.come_up();
        check_delivers(&db).await;
        assert_eq!((first.lines().len(), second.lines().len()), (10, 20), "what works is kept");
        second.go_down();
        check_delivers(&db).await;
        assert_eq!((first.lines().len(), second.lines().len()), (20, 20));
        db.stop(LONG).await.unwrap();
    });
}

/// An endpoint that fails in this way is left for the next one.
fn check_leaves(script: Script) {
    run(async {
        let what = format!("{script:?}");
        let (failing, working) =
            (Scripted::playing([script]), Scripted::playing([Script::answer(NO_CONTENT)]));
        let db = start("failover", failing.url(), |config| {
            config.http.fallback_urls = vec![working.url()];
            config.http.timeout = Duration::from_secs(2);
        });
        check_delivers(&db).await;
        check_delivers(&db).await;
        assert_eq!(failing.seen().len(), 1, "{what}");
        db.stop(LONG).await.unwrap();
    });
}

#[test]
fn an_endpoint_that_cannot_or_does_not_answer_is_left() {
    for status in [502, 503, 504] {
        check_leaves(Script::status(status, "", "<html>down</html>"));
    }
    for step in [Step::Stall, Step::Close, Step::Reset] {
        check_leaves(Script::steps([step]));
    }
}

#[test]
fn an_endpoint_that_refuses_is_not_left() {
    run(async {
        let refusing = Script::status(401, "", r#"{"error":"authorization failed"}"#);
        let first = Scripted::playing([refusing.clone(), refusing, Script::answer(NO_CONTENT)]);
        let second = Scripted::playing([Script::answer(NO_CONTENT)]);
        let db = start("failover", first.url(), |config| config.http.fallback_urls = vec![second.url()]);
        check_delivers(&db).await;
        assert_eq!(second.seen().len(), 0);
        db.stop(LONG).await.unwrap();
    });
}
