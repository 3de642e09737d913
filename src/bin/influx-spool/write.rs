//! `influx-spool write`: from standard input to the database.

use std::pin::pin;
use std::time::{Duration, Instant};

use anyhow::Context;
use futures_util::future::{Either, FutureExt, select};
use influx_spool::{
    Database, DatabaseHandle, MissingTimestamp, Precision, SpoolFull, Stats, UdpConfig, WhenFull,
};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::args::{Switch, WriteArgs};
use crate::feed::{Fed, Feed};
use crate::input::{End, Input};
use crate::interrupt::Interrupt;
use crate::output;
use crate::progress::Screen;
use crate::refusals::Refusals;
use crate::summary::Summary;

/// What of the deadline is kept for putting on disk what was not sent: at most 64 MiB, in a transaction or two.
const STORING: Duration = Duration::from_millis(500);

/// And never more than this part of it.
const STORING_PART: u32 = 4;

/// Where the deadline leaves less than this for storing, the disk has so long all the same.
const STORE_WITHIN: Duration = Duration::from_secs(2);

/// How long what was read may wait for room after an interruption. While there is none that may take for ever.
const FEED_WITHIN: Duration = Duration::from_secs(10);

/// Runs the command. `true` if every point that was read, and every one that was left from before, was delivered.
///
/// # Errors
/// Nothing could be begun: nothing was read.
pub(crate) fn run(args: &WriteArgs, screen: &Screen) -> anyhow::Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let interrupt = Interrupt::listen().context("listen for signals")?;
    let db = start(args)?;
    let before = db.stats();
    announce(args, &before, screen);
    let feed = Feed::new(db.clone(), args.format, args.precision, Refusals::new(screen.clone()))?;
    let input = Input::read(std::io::stdin()).context("read standard input")?;
    let began = Instant::now();
    screen.show(&db);
    let writing = Writing { db, input, interrupt, screen: screen.clone(), deadline: args.deadline };
    let ended = runtime.block_on(writing.run(feed));
    let seconds = began.elapsed().as_secs_f64();
    screen.clear();
    if let End::Failed(error) = &ended.fed.end {
        screen.say(&format!("influx-spool: read standard input: {error}"));
    }
    let summary = Summary::new(&before, &ended, seconds);
    summary.remark(args.spool.as_deref(), screen);
    output::print(&if args.json { summary.to_json() } else { summary.to_table() });
    Ok(summary.complete)
}

fn start(args: &WriteArgs) -> anyhow::Result<DatabaseHandle> {
    let connection = &args.connection;
    let mut builder = Database::builder(connection.database()?).http(&connection.url);
    if let Some(policy) = &args.retention_policy {
        builder = builder.retention_policy(policy);
    }
    if let Some(file) = &args.spool {
        builder = builder.spool(file);
    }
    let builder = builder.precision(args.precision).gzip(args.gzip == Switch::On).configure(|config| {
        config.api = connection.api.into();
        config.org.clone_from(&connection.org);
        config.create_database = args.create_database;
        config.udp = args.udp.as_ref().map(UdpConfig::new);
        if let Some(udp) = &mut config.udp {
            udp.http_fallback = !args.udp_only;
        }
        connection.configure(&mut config.http);
        // Nothing is dropped for want of room: the input waits instead.
        config.queue.when_full = WhenFull::Refuse;
        if let Some(spool) = &mut config.spool {
            spool.when_full = SpoolFull::Refuse;
            spool.sync = args.sync.into();
        }
        if args.precision != Precision::Nanoseconds {
            config.missing_timestamp = MissingTimestamp::Refuse;
        }
        if let Some(points) = args.batch_points {
            config.batch.points_max = points;
        }
        if let Some(window) = args.loss_window {
            config.loss_window = Some(window);
        }
    });
    builder.start().context("start")
}

fn announce(args: &WriteArgs, before: &Stats, screen: &Screen) {
    let backlog = before.pending.points;
    if let Some(file) = args.spool.as_ref().filter(|_| backlog > 0) {
        screen.say(&format!("{backlog} points of an earlier run are in {}: they go first", file.display()));
    }
}

/// A run of the command.
struct Writing {
    db: DatabaseHandle,
    input: Input,
    interrupt: Interrupt,
    screen: Screen,
    deadline: Duration,
}

/// What it came to.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) fed: Fed,
    pub(crate) interrupted: bool,
    /// Whether the spool was closed in order.
    pub(crate) closed: bool,
    pub(crate) stats: Stats,
}

impl Writing {
    async fn run(mut self, feed: Feed) -> Ended {
        let (told, fed) = oneshot::channel::<()>();
        let fed = fed.map(drop).shared();
        let input = self.input.clone();
        let feeding = std::thread::spawn(move || {
            let _told_when_it_ends = told;
            feed.run(&input)
        });
        let flushed = self.flush(fed.clone()).await;
        let interrupted = flushed.is_none();
        if interrupted {
            self.screen.say("interrupted: no more is read (a second signal ends the program at once)");
            self.input.interrupt();
            // What was read already is pushed; while there is no room for it that may take for ever.
            let _ = timeout(FEED_WITHIN, fed).await;
        }
        let stopped = self.db.stop(Duration::ZERO).await;
        // Nothing more is sent; what is left is on its way to the disk.
        let store_within = flushed.map_or(STORE_WITHIN, |left| left.max(STORE_WITHIN));
        let closed = stopped.is_ok() && self.db.closed(store_within).await.unwrap_or(false);
        // If it still waited for room, it has been told by now that there will be none.
        let fed = feeding.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ended { fed, interrupted, closed, stats: self.db.stats() }
    }

    /// Waits until everything has its fate, or most of the deadline has passed. What is left of it; `None` if it was
    /// interrupted.
    async fn flush(&mut self, fed: impl Future<Output = ()>) -> Option<Duration> {
        let Self { db, interrupt, deadline, .. } = self;
        let flush = async {
            fed.await;
            let begin = Instant::now();
            let storing = (*deadline / STORING_PART).min(STORING);
            let _ = db.flush(*deadline - storing).await;
            deadline.saturating_sub(begin.elapsed())
        };
        match select(pin!(flush), pin!(interrupt.wait())).await {
            Either::Left((left, _)) => Some(left),
            Either::Right(_) => None,
        }
    }
}
