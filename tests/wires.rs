//! Every way to a server that a configuration can ask for, and every way a peer can misbehave.
#![allow(clippy::unwrap_used, clippy::panic, reason = "the lints do not see that helpers of tests are tests")]

mod support;

#[path = "wires/credentials.rs"]
mod credentials;
#[path = "wires/failover.rs"]
mod failover;
#[path = "wires/hostile.rs"]
mod hostile;
#[path = "wires/proxies.rs"]
mod proxies;
#[path = "wires/spelling.rs"]
mod spelling;
#[path = "wires/tls.rs"]
mod tls;

use std::time::Duration;

use influx_spool::{Config, Database, DatabaseHandle, Event, Events, Fate, Point, Proxy, Told, TroubleKind};

/// For a loaded machine.
const LONG: Duration = Duration::from_secs(60);

fn run<T>(test: impl Future<Output = T>) -> T {
    actix_rt::System::new().block_on(test)
}

/// A database of that name in memory, which asks a server that failed again within a tenth of a second.
fn start(name: &str, url: impl Into<String>, change: impl FnOnce(&mut Config)) -> DatabaseHandle {
    let configure = |config: &mut Config| {
        config.http.backoff_min = Duration::from_millis(10);
        config.http.backoff_max = Duration::from_millis(100);
        config.http.proxy = Proxy::None;
        change(config);
    };
    Database::builder(name).http(url).configure(configure).start().unwrap()
}

/// Pushes points with the numbers 0 to `count` for a field.
fn push(db: &DatabaseHandle, count: i64) {
    for n in 0..count {
        db.push(Point::new("m").tag("t", "a").field("n", n)).unwrap();
    }
}

/// Pushes some points, and waits until all that is pushed has been delivered.
async fn check_delivers(db: &DatabaseHandle) {
    push(db, 10);
    check_all_delivered(db).await;
}

async fn check_all_delivered(db: &DatabaseHandle) {
    let flushed = db.flush(LONG).await.unwrap();
    assert!(flushed.complete, "{:?}", db.health());
    let ledger = db.stats().ledger;
    assert_eq!(ledger.of(Fate::Delivered), ledger.accepted());
}

/// Waits until the link is down for this reason, and gives the words for it.
async fn trouble(events: &mut Events, expected: TroubleKind) -> String {
    let found = async {
        loop {
            match events.next().await {
                Some(Told::Event(Event::LinkDown { kind, words })) if kind == expected => return words,
                Some(_) => {}
                None => panic!("the database is gone"),
            }
        }
    };
    tokio::time::timeout(LONG, found).await.unwrap()
}
