//! What is done with the spool in hand: the steps between what the transit plans and what it is told.
//!
//! Synchronous, and without a clock of its own, so that a test can play every moment of it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use super::shared::{Shared, begin_of};
use crate::failpoint::failpoint;
use crate::log;
use crate::machines::plan::CommitPlan;
use crate::machines::transit::Found;
use crate::spool::{Maintained, Spool, SpoolError, SpoolErrorKind, SpoolOptions};

/// Bodies read in one go, at the most: enough for the senders, and little beside the queue's own bound.
const READ_BYTES_MAX: u64 = 8 << 20;

/// Batches made before each transaction of a closing: what the transit lets wait in memory.
const SEALED_TOGETHER: usize = 8;

/// How long to wait before looking again whether a worker is done.
const WORKERS_LOOK: Duration = Duration::from_millis(1);

/// A moment by both clocks: the steady one for waiting, the wall's for ages that outlive the process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) steady: Instant,
    pub(super) wall: SystemTime,
}

impl Moment {
    pub(super) fn now() -> Self {
        Self { steady: Instant::now(), wall: SystemTime::now() }
    }

    fn wall_ms(self) -> i64 {
        let since = self.wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }
}

/// What a piece of work left.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Worked {
    pub(super) left: Maintained,
    /// Whether a transaction was made that let nothing go. Another would not either: what is left is being sent.
    pub(super) in_vain: bool,
    /// Whether a transaction was made or rows were read: others may go on now.
    pub(super) moved: bool,
}

impl Worked {
    /// Whether it changed nothing for anybody, and leaves nothing to do.
    pub(super) const fn is_nothing(self) -> bool {
        !self.moved && !self.left.more && !self.left.expiry_due
    }
}

/// Makes the planned transaction, reads what the window has room for, and keeps the file small.
///
/// # Errors
/// The spool is not to be used again: only opening it anew tells what is in it.
pub(super) fn work(
    shared: &Shared,
    spool: &mut Spool,
    plan: Option<&CommitPlan>,
    clock: impl Fn() -> Moment,
) -> Result<Worked, SpoolError> {
    let now = clock().wall;
    let in_vain = match plan {
        Some(plan) => !commit(shared, spool, plan, &clock)?,
        None => false,
    };
    failpoint!(of shared.name, "store::before_read");
    // What is to be read first may be another row since the transaction.
    let read = shared.with(|transit| transit.wants_read());
    let moved = plan.is_some() || read.is_some();
    if let Some(read) = read {
        let after = (read.after > 0).then_some(read.after);
        let rows = spool.read_after(after, read.rows_max, READ_BYTES_MAX)?;
        shared.with(|transit| transit.read_back(read, rows, clock().steady));
    }
    failpoint!(of shared.name, "store::before_tidying");
    let left = match spool.maintain(now) {
        // What could not be copied or given back stays where it is: nothing is lost by it.
        Err(error) if error.kind() == SpoolErrorKind::DiskFull => Maintained::default(),
        other => other?,
    };
    Ok(Worked { left, in_vain, moved })
}

/// Makes a transaction; whether it let old batches go. A full disk is no failure of the spool: everything stays in
/// memory, and is tried again.
fn commit(
    shared: &Shared,
    spool: &mut Spool,
    plan: &CommitPlan,
    clock: &impl Fn() -> Moment,
) -> Result<bool, SpoolError> {
    failpoint!(of shared.name, "store::before_commit");
    let outcome = match spool.commit(plan, clock().wall) {
        Err(error) if error.kind() == SpoolErrorKind::DiskFull => {
            shared.with(|transit| transit.commit_found_no_room(clock().steady));
            return Ok(false);
        }
        other => other?,
    };
    failpoint!(of shared.name, "store::after_commit");
    shared.with(|transit| transit.committed(&outcome, clock().steady));
    Ok(!outcome.evicted.is_empty())
}

/// Opens the spool after a failure, and tells the transit what is in it.
///
/// # Errors
/// It cannot be opened, or not be read; nothing was told.
pub(super) fn reopen(
    shared: &Shared,
    options: &SpoolOptions,
    clock: impl Fn() -> Moment,
) -> Result<Spool, SpoolError> {
    failpoint!(of shared.name, "store::reopening");
    let (mut spool, opened) = Spool::reopen(options, &shared.heritage, clock().wall)?;
    let keys = shared.with(|transit| transit.keys_to_find());
    let found = keys.into_iter().map(|key| Ok((key, Found::new(spool.find(key)?, spool.standing(key)?))));
    let rows: BTreeMap<u64, Found> = found.collect::<Result<_, SpoolError>>()?;
    failpoint!(of shared.name, "store::reopened");
    let begin = begin_of(&opened);
    let find = |key| rows.get(&key).copied().unwrap_or(Found::Nothing);
    shared.with(|transit| transit.reopened(&begin, find, clock().steady));
    Ok(spool)
}

/// Stores what is only in memory, writes the ledger and closes the file; whether that went well, and everything is in it.
/// A spool that fails is opened once more: there is no later for what is in memory.
pub(super) fn close(shared: &Shared, spool: Spool, clock: impl Fn() -> Moment) -> bool {
    let stored = store_all(shared, spool, &clock).or_else(|error| {
        log::warn!(database = &*shared.name, %error, "cannot store what is left, will try once more");
        let again = match &shared.spool_options {
            Some(options) => reopen(shared, options, &clock)?,
            None => return Err(error),
        };
        store_all(shared, again, &clock)
    });
    let stored = stored.inspect_err(|error| {
        shared.with(|transit| transit.commit_failed(clock().steady));
        log::error!(database = &*shared.name, %error, "cannot store what is left");
    });
    // Points that die with this process are no clean end, and the file should not say it was.
    let Ok(Some(spool)) = stored else { return false };
    failpoint!(of shared.name, "stop::stored");
    let seq_next = shared.with(|transit| transit.next_seq());
    let closed = spool.close(seq_next, shared.stamp_last_nanos()).inspect_err(|error| {
        log::error!(database = &*shared.name, %error, "cannot close the spool cleanly");
    });
    closed.is_ok()
}

/// The spool with everything in it; none if it has no room for all.
fn store_all(
    shared: &Shared,
    mut spool: Spool,
    clock: &impl Fn() -> Moment,
) -> Result<Option<Spool>, SpoolError> {
    let all = store_what_is_left(shared, &mut spool, clock)?;
    Ok(all.then_some(spool))
}

/// Seals and stores everything that is only in memory, and the ledger, without the help of any actor; whether the spool
/// took it all.
fn store_what_is_left(
    shared: &Shared,
    spool: &mut Spool,
    clock: &impl Fn() -> Moment,
) -> Result<bool, SpoolError> {
    loop {
        let at = clock();
        let (jobs, others_seal) = shared.with(|transit| {
            transit.commit_up_to(transit.last_seq());
            transit.retry_appends();
            let others_seal = transit.is_sealing();
            (transit.take_seal_jobs(SEALED_TOGETHER, at.steady, at.wall_ms()), others_seal)
        });
        for job in jobs {
            match job.run() {
                Ok(batch) => shared.with(|transit| transit.sealed(job.key, batch)),
                Err(error) => {
                    let words = error.to_string();
                    shared.with(|transit| transit.seal_failed(job.key, &words, clock().steady, at.wall_ms()));
                }
            }
        }
        let stamp_last = shared.stamp_last_nanos();
        let Some(mut plan) = shared.with(|transit| transit.plan_commit(true, stamp_last, clock().steady))
        else {
            return Ok(false);
        };
        plan.closing = true;
        let outcome = spool.commit(&plan, clock().wall)?;
        shared.with(|transit| transit.committed(&outcome, clock().steady));
        if shared.with(|transit| transit.is_all_stored()) {
            return Ok(true);
        }
        if outcome.withheld.is_some() {
            return Ok(false);
        }
        if others_seal {
            // A worker is at it still, and will be done in milliseconds.
            std::thread::sleep(WORKERS_LOOK);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use faulty_vfs::{Call, Disk, Verdict};

    use super::*;
    use crate::actors::push::Room;
    use crate::machines::transit::{Answered, Holder, Lease};
    use crate::values::config::{Config, SpoolConfig};
    use crate::values::fate::Fate;
    use crate::values::line_protocol::encoder::Encoder;
    use crate::values::point::Point;

    const POINTS: u64 = 10;

    /// A database whose points are delivered, which its spool does not know yet.
    fn delivered(folder: &std::path::Path, at: Moment) -> (Shared, SpoolOptions) {
        let mut config = Config::new("plant", "http://127.0.0.1:9");
        let spool = SpoolConfig::new(folder.join("plant.db"));
        let options = SpoolOptions::of(&spool, &config.batch);
        config.spool = Some(spool);
        let encoder = Encoder::new(config.precision, &config.lines).unwrap();
        let opened = Spool::open(&options, at.wall).unwrap();
        let shared = Shared::new(config, encoder, Some(opened), Some(options.clone())).unwrap();
        for _ in 0..POINTS {
            let point = Point::new("m").field("f", 1);
            shared.push_one(&shared.destination, Room::ByPolicy, &shared.encoding(&point)).unwrap();
        }
        shared.with(|transit| transit.seal_up_to(u64::MAX));
        for job in shared.with(|transit| transit.take_seal_jobs(usize::MAX, at.steady, at.wall_ms())) {
            let batch = job.run().unwrap();
            shared.with(|transit| transit.sealed(job.key, batch));
        }
        let Lease::Load(load) = shared.with(|transit| transit.lease(Holder::http(0), at.steady)) else {
            panic!("there is a batch to be sent");
        };
        shared.with(|transit| transit.answered(load.key, Answered::Delivered, 0.0, at.steady));
        (shared, options)
    }

    /// Whether it is on disk is not known then. Only the file tells, when it is opened again.
    #[test]
    fn what_a_transaction_recorded_whose_sync_failed_is_counted_once() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::watch(folder.path()).unwrap();
        let at = Moment::now();
        let (shared, options) = delivered(folder.path(), at);
        let mut spool = shared.take_spool().unwrap();
        let plan = shared.with(|transit| transit.plan_commit(true, None, at.steady));
        assert_eq!(plan.as_ref().unwrap().direct.len(), 1);
        // The first is that of the log's head.
        let is_first = AtomicBool::new(true);
        disk.judge(move |asked| match asked.call {
            Call::Sync if !is_first.swap(false, Ordering::Relaxed) => Verdict::IoError,
            _ => Verdict::Pass,
        });
        assert_eq!(work(&shared, &mut spool, plan.as_ref(), || at).unwrap_err().kind(), SpoolErrorKind::Io);
        drop(spool);
        disk.relent();
        let mut spool = reopen(&shared, &options, || at).unwrap();
        let plan = shared.with(|transit| transit.plan_commit(true, None, at.steady));
        assert_eq!(plan.as_ref().unwrap().number, 2, "the first was done after all");
        work(&shared, &mut spool, plan.as_ref(), || at).unwrap();
        let ledger = shared.stats().ledger;
        assert_eq!((ledger.accepted().points, ledger.of(Fate::Delivered).points), (POINTS, POINTS));
        drop(spool);
        let (_, opened) = Spool::open(&options, at.wall).unwrap();
        assert_eq!(opened.ledger, ledger);
    }
}
