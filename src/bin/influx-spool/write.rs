//! `influx-spool write`: from standard input to the database.

use std::pin::pin;
use std::time::{Duration, Instant};

use anyhow::Context;
use futures_util::future::{Either, FutureExt, select};
use influx_spool::{
    Database, DatabaseHandle, MissingTimestamp, Precision, SpoolFull, Stats, StopReport, UdpConfig, WhenFull,
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

/// How long it may take to put on disk what is in memory: at most 64 MiB, on a disk that may be busy.
const STORE_WITHIN: Duration = Duration::from_secs(10);

/// How long the end may take when nothing more is to be sent: the last transaction, and closing the file.
const STOP_WITHIN: Duration = Duration::from_secs(2);

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
    let writing = Writing {
        db,
        input,
        interrupt,
        screen: screen.clone(),
        deadline: args.deadline,
        has_spool: args.spool.is_some(),
    };
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
    has_spool: bool,
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
            let _ = timeout(STORE_WITHIN, fed).await;
        }
        if flushed != Some(true) && self.has_spool {
            // The counters tell what could not be stored.
            let _ = self.db.commit(STORE_WITHIN).await;
        }
        let stopped = self.db.stop(STOP_WITHIN).await;
        // If it still waited for room, it has been told by now that there will be none.
        let fed = feeding.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let (closed, stats) = match stopped {
            Ok(StopReport { closed, stats, .. }) => (closed, stats),
            Err(_) => (false, self.db.stats()),
        };
        Ended { fed, interrupted, closed, stats }
    }

    /// Waits until everything has its fate, and says whether it has; `None` if it was interrupted.
    async fn flush(&mut self, fed: impl Future<Output = ()>) -> Option<bool> {
        let Self { db, interrupt, deadline, .. } = self;
        let flush = async {
            fed.await;
            db.flush(*deadline).await.is_ok_and(|report| report.complete)
        };
        match select(pin!(flush), pin!(interrupt.wait())).await {
            Either::Left((complete, _)) => Some(complete),
            Either::Right(_) => None,
        }
    }
}
