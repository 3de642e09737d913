//! Stopping while the server keeps silent.

use std::time::{Duration, Instant};

use influx_spool::{Database, DatabaseHandle, Fate, Point};

use super::support::sick::SickServer;
use super::{LONG, Sickness, check_arrived, quiet};

const DEADLINE: Duration = Duration::from_secs(1);

/// For a loaded machine: a tenth of what the request under way would take.
const GRACE: Duration = Duration::from_secs(3);

const POINTS: u64 = 12_345;

fn push(db: &DatabaseHandle) {
    for number in 1..=POINTS {
        db.push(Point::new("m").field("n", number as i64)).unwrap();
    }
}

#[test]
fn a_stop_beside_a_silent_server_keeps_its_deadline_and_every_point() {
    let _quiet = quiet();
    actix_rt::System::new().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let server = SickServer::start(Sickness::NeverAnswers.script());
        let start = || {
            Database::builder("silent").http(server.url()).spool(folder.path().join("s.db")).start().unwrap()
        };
        let db = start();
        push(&db);
        assert!(server.wait_for_requests(1, LONG));
        let begin = Instant::now();
        let report = db.stop(DEADLINE).await.unwrap();
        let took = begin.elapsed();
        assert!(took < DEADLINE + GRACE, "{took:?}");
        assert!(!report.drained && report.closed && report.unsaved == 0, "{report:?}");
        assert_eq!(report.stats.pending.points, POINTS, "{report:?}");
        println!("stopped after {took:?} of {DEADLINE:?}");

        server.cure();
        let db = start();
        assert!(db.flush(LONG).await.unwrap().complete, "{:?}", db.health());
        let stats = db.stop(LONG).await.unwrap().stats;
        assert_eq!(stats.unclean_ends_total, 0);
        assert_eq!(stats.ledger.accepted().points, POINTS);
        assert_eq!(stats.ledger.of(Fate::Delivered).points, POINTS);
        check_arrived(&server, POINTS, true);
    });
}

#[test]
fn a_stop_without_a_spool_says_what_it_leaves() {
    let _quiet = quiet();
    actix_rt::System::new().block_on(async {
        let server = SickServer::start(Sickness::NeverAnswers.script());
        let db = Database::builder("silent").http(server.url()).start().unwrap();
        push(&db);
        assert!(server.wait_for_requests(1, LONG));
        let begin = Instant::now();
        let report = db.stop(DEADLINE).await.unwrap();
        let took = begin.elapsed();
        assert!(took < DEADLINE + GRACE, "{took:?}");
        assert!(!report.drained && report.unsaved == POINTS, "{report:?}");
    });
}
