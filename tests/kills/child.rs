//! The process that is killed: pushes at a steady rate and says what it was answered.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use influx_spool::{Database, DatabaseHandle, PageSize, Point, Seq, SyncMode, Timestamp};
use serde::{Deserialize, Serialize};

use super::journal::wall_ns;

/// Where the child finds its orders.
pub(crate) const ENVIRONMENT: &str = "INFLUX_SPOOL_KILLS_CHILD";

/// One answer of so many is asked for; a prime, so that all places in a batch have their turn.
const SAMPLE: u64 = 97;

/// Points of a batch, as configured by default: the first and the last of each are asked for too.
const BATCH: u64 = 5_000;

/// Between two slices of the steady stream.
const TICK: Duration = Duration::from_millis(1);

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Orders {
    pub(crate) url: String,
    pub(crate) spool: PathBuf,
    pub(crate) window: Duration,
    pub(crate) sync: SyncMode,
    pub(crate) gzip: bool,
    pub(crate) pages: PageSize,
    pub(crate) round: usize,
    /// Points a second.
    pub(crate) rate: u64,
}

impl Orders {
    pub(crate) fn from_environment() -> Option<Self> {
        let orders = std::env::var(ENVIRONMENT).ok()?;
        Some(serde_json::from_str(&orders).unwrap())
    }
}

/// Runs until it is killed.
pub(crate) fn run(orders: &Orders) {
    actix_rt::System::new().block_on(async {
        let db = Database::builder("kills")
            .http(&orders.url)
            .spool(&orders.spool)
            .loss_window(orders.window)
            .sync(orders.sync)
            .gzip(orders.gzip)
            .configure(|config| config.spool.as_mut().unwrap().page_size = orders.pages)
            .start()
            .unwrap();
        say(format_args!("started"));
        let (asked, mut asking) = tokio::sync::mpsc::unbounded_channel();
        let (pusher, round, rate) = (db.clone(), orders.round, orders.rate);
        std::thread::spawn(move || push(&pusher, round, rate, &asked));
        while let Some((number, seq)) = asking.recv().await {
            let db = db.clone();
            actix_rt::spawn(async move {
                let standing = db.persisted(seq).await;
                match standing {
                    Ok(standing) => say(format_args!("persisted {number} {standing:?}")),
                    Err(error) => say(format_args!("persisted {number} {error:?}")),
                }
            });
        }
    });
}

/// Pushes slice after slice, each announced before it is pushed: `push UP_TO TIME`.
fn push(
    db: &DatabaseHandle,
    round: usize,
    rate: u64,
    asked: &tokio::sync::mpsc::UnboundedSender<(u64, Seq)>,
) {
    let begin = Instant::now();
    let (mut number, mut time) = (0, 0);
    loop {
        let due = begin.elapsed().as_nanos() as u64 / 1_000 * rate / 1_000_000;
        if due > number {
            say(format_args!("push {due} {}", wall_ns()));
        }
        while number < due {
            time = wall_ns().max(time + 1);
            let point = Point::new("numbered")
                .tag("round", round.to_string())
                .field("n", number as i64)
                .timestamp(Timestamp::from_nanos(time));
            let seq = db.push(point).unwrap();
            if number.is_multiple_of(SAMPLE) || matches!(number % BATCH, 0 | 4_999) {
                asked.send((number, seq)).unwrap();
            }
            number += 1;
        }
        std::thread::park_timeout(TICK);
    }
}

/// Writes a line to the pipe at once. It may be the last.
fn say(line: std::fmt::Arguments<'_>) {
    let text = format!("\nkills: {line}.\n");
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).unwrap();
    out.flush().unwrap();
}
