//! Every answer meets its verdict: what is held is kept and arrives in the end, what is refused is set aside, and the right
//! counter moves. Against real servers, and against one that answers with recorded bytes.

#![allow(clippy::unwrap_used)]

mod support;

#[path = "answers/influxd.rs"]
mod influxd;
#[path = "answers/proxies.rs"]
mod proxies;
#[path = "answers/recorded.rs"]
mod recorded;

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use influx_spool::{
    Config, Database, DatabaseBuilder, DatabaseHandle, Event, Events, Fate, Point, Stats, Timestamp, Told,
    TroubleKind,
};

/// Far longer than anything takes here.
const LONG: Duration = Duration::from_secs(60);

const POINTS: u64 = 3;

fn run<T>(test: impl Future<Output = T>) -> T {
    actix_rt::System::new().block_on(test)
}

/// A database that tries again soon.
fn database(name: &str, url: &str) -> DatabaseBuilder {
    Database::builder(name).http(url).configure(|config| config.http.backoff_max = Duration::from_secs(1))
}

/// A database that was given points and could not deliver them.
struct Held {
    db: DatabaseHandle,
    events: Events,
}

/// Starts a database, pushes points, and waits until the server's answer holds them for this reason, in words that begin so.
async fn check_held(builder: DatabaseBuilder, kind: TroubleKind, words: &str) -> Held {
    let db = builder.start().unwrap();
    let events = db.subscribe();
    push(&db);
    let mut held = Held { db, events };
    held.check(kind, words).await;
    held
}

impl Held {
    /// Waits until the way to the server is in this trouble. Nothing is lost by it.
    async fn check(&mut self, kind: TroubleKind, words: &str) {
        let name = self.db.name();
        let (seen, said) = down(&mut self.events).await;
        assert_eq!(seen, kind, "{name}: {said}");
        assert!(said.starts_with(words), "{name}: {said:?} does not begin with {words:?}");
        let health = self.db.health();
        assert!(!health.ok && health.link.is_some_and(|(now, _)| now == kind), "{name}");
        let stats = self.db.stats();
        assert_eq!((stats.pending.points, stats.ledger.settled_points()), (POINTS, 0), "{name}: {stats:?}");
        assert!(stats.failures_total > 0 && stats.requests_total < 10, "{name} does not loop: {stats:?}");
    }

    /// What was held arrives once the cause is mended.
    async fn check_arrives(self) {
        let name = self.db.name();
        assert!(self.db.flush(LONG).await.unwrap().complete, "{name}: {:?}", self.db.health());
        assert_eq!(self.db.health().link, None, "{name}");
        assert_all(&self.db.stats(), Fate::Delivered);
        self.stop().await;
    }

    async fn stop(self) {
        self.db.stop(Duration::ZERO).await.unwrap();
    }
}

/// Starts a database, pushes points, and expects all of them to have this fate.
async fn check_fate(builder: DatabaseBuilder, fate: Fate) {
    let db = builder.start().unwrap();
    push(&db);
    assert!(db.flush(LONG).await.unwrap().complete, "{}: {:?}", db.name(), db.health());
    assert_all(&db.stats(), fate);
    db.stop(LONG).await.unwrap();
}

fn assert_all(stats: &Stats, fate: Fate) {
    let ledger = &stats.ledger;
    assert_eq!((ledger.accepted().points, stats.pending.points), (POINTS, 0), "{stats:?}");
    assert_eq!(ledger.of(fate).points, POINTS, "{fate:?}: {stats:?}");
}

fn push(db: &DatabaseHandle) {
    for n in 0..POINTS {
        db.push(point(n)).unwrap();
    }
}

/// The points are of two hours ago: older than a short retention policy keeps, and not in a server's future.
static BEGIN: LazyLock<i64> = LazyLock::new(|| {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    (i64::try_from(now).unwrap() - 7_200) * 1_000_000_000
});

fn point(n: u64) -> Point {
    let n = i64::try_from(n).unwrap();
    Point::new("m").tag("t", "a").field("n", n).timestamp(Timestamp::from_nanos(*BEGIN + n * 1_000_000_000))
}

async fn down(events: &mut Events) -> (TroubleKind, String) {
    let wait = async {
        loop {
            if let Told::Event(Event::LinkDown { kind, words }) = events.next().await.unwrap() {
                return (kind, words);
            }
        }
    };
    tokio::time::timeout(LONG, wait).await.expect("the way to the server goes down")
}

fn retry_slowly(config: &mut Config) {
    config.http.backoff_min = LONG;
    config.http.backoff_max = LONG;
}
