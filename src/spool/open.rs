//! Opening and closing: what is checked, reserved and written back.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use rusqlite::{Connection, TransactionBehavior};

use super::clock::{self, StepWatch};
use super::error::{During, SpoolError, SpoolErrorKind};
use super::lock::SpoolLock;
use super::log::Log;
use super::options::SpoolOptions;
use super::paths::{self, Paths};
use super::room;
use super::salvage::SalvageReport;
use super::schema::{self, PAGE_BYTES, Probed};
use super::set_aside;
use super::state::State;
use crate::log;
use crate::values::config::SyncMode;
use crate::values::ledger::Backlog;
use crate::values::ledger::Ledger;
use crate::values::seq::SpoolTag;

/// Numbers reserved at a time: ten days at a million points a second, and 2^23 unclean ends before they run out.
pub(super) const SEQ_BLOCK: u64 = 1 << 40;

/// The durable buffer of one database: the only writer of its file.
///
/// Synchronous, for a thread of its own. Dropping it is like a crash: nothing committed is lost, the next open counts
/// an unclean end. [`Spool::close`] is the clean way.
#[derive(Debug)]
pub(crate) struct Spool {
    // Closed before the lock is released: fields drop in this order.
    pub(super) conn: Connection,
    pub(super) paths: Paths,
    pub(super) options: SpoolOptions,
    /// As on disk.
    pub(super) state: State,
    pub(super) clock: StepWatch,
    /// Set when a failure left it open what is on disk; only opening again can tell.
    pub(super) broken: Option<SpoolErrorKind>,
    lock: Arc<SpoolLock>,
}

/// What was found in the file, and what may be handed out.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Opened {
    pub(crate) tag: SpoolTag,
    /// The first number that may be given.
    pub(crate) seq_next: u64,
    /// The end of the reserved block: `seq_next..seq_end` may be given.
    pub(crate) seq_end: u64,
    pub(crate) stamp_last: Option<i64>,
    pub(crate) commit_number: u64,
    pub(crate) ledger: Ledger,
    pub(crate) refused: u64,
    pub(crate) backlog: Backlog,
    /// The last life of the spool did not end with a close.
    pub(crate) unclean_end: bool,
    pub(crate) unclean_ends_total: u64,
    /// The file was damaged and has been replaced.
    pub(crate) salvaged: Option<SalvageReport>,
}

impl Spool {
    /// Opens the file, or creates it, and reserves the next block of numbers on disk.
    ///
    /// The work does not depend on how much lies in the spool, with one exception: a damaged file is set aside and
    /// what can be read of it is copied.
    ///
    /// # Errors
    /// [`SpoolErrorKind::Locked`], [`SpoolErrorKind::NewerSchema`] and [`SpoolErrorKind::NotASpool`] leave everything
    /// untouched; [`SpoolErrorKind::DiskFull`] and [`SpoolErrorKind::Io`] may pass.
    pub(crate) fn open(options: &SpoolOptions, now: SystemTime) -> Result<(Self, Opened), SpoolError> {
        Self::open_with(options, None, now)
    }

    /// As [`Self::open`], by whoever has kept its lock since: in between nobody else could have it.
    ///
    /// # Errors
    /// As for [`Self::open`], but that it cannot be locked.
    pub(crate) fn open_again(
        options: &SpoolOptions,
        lock: Arc<SpoolLock>,
        now: SystemTime,
    ) -> Result<(Self, Opened), SpoolError> {
        Self::open_with(options, Some(lock), now)
    }

    fn open_with(
        options: &SpoolOptions,
        lock: Option<Arc<SpoolLock>>,
        now: SystemTime,
    ) -> Result<(Self, Opened), SpoolError> {
        let name = options.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let during = format!("open {name}");
        let paths = Paths::resolve(&options.path).during(&during)?;
        let was_ours = set_aside::looks_like_ours(&paths).during(&during)?;
        let lock = lock.map_or_else(|| SpoolLock::acquire(&paths).map(Arc::new), Ok)?;

        let mut salvaged = set_aside::resume(&paths)?;
        let (conn, state) = match open_file(&paths, options, &during) {
            Err(error) if error.kind() == SpoolErrorKind::Damaged && was_ours => {
                log::error!(file = %paths.name(), %error, "the spool is damaged: setting it aside");
                set_aside::mark(&paths, now)?;
                salvaged = set_aside::resume(&paths)?;
                open_file(&paths, options, &during)?
            }
            Err(error) if error.kind() == SpoolErrorKind::Damaged => {
                return Err(SpoolError::new(SpoolErrorKind::NotASpool, during));
            }
            other => other?,
        };

        let now_ms = clock::unix_ms(now);
        let mut spool = Self {
            conn,
            paths,
            options: options.clone(),
            state,
            clock: StepWatch::new(now_ms, Instant::now()),
            broken: None,
            lock,
        };
        let opened = spool.begin_life(now_ms, salvaged, &during)?;
        Ok((spool, opened))
    }

    /// What keeps others from the file, for who wants to keep them from it even while it is closed.
    pub(crate) fn lock(&self) -> Arc<SpoolLock> {
        Arc::clone(&self.lock)
    }

    /// Writes back how far the numbers went, marks the stop as clean, and empties the log into the database.
    ///
    /// # Errors
    /// The file cannot be written. The spool is closed all the same, uncleanly: nothing committed is lost.
    pub(crate) fn close(mut self, seq_next: u64, stamp_last: Option<i64>) -> Result<(), SpoolError> {
        let during = format!("close {}", self.paths.name());
        if let Some(kind) = self.broken {
            return Err(SpoolError::new(kind, during));
        }
        let mut state = self.state.clone();
        state.clean_stop = true;
        state.seq_end = seq_next.clamp(state.life_first, state.seq_end);
        state.stamp_last = state.stamp_last.max(stamp_last);
        self.write_state(state, &during)?;
        checkpoint_if_room(&self.conn, &self.paths).during(&during)
    }

    fn begin_life(
        &mut self,
        now_ms: i64,
        salvaged: Option<SalvageReport>,
        during: &str,
    ) -> Result<Opened, SpoolError> {
        let unclean_end = !self.state.clean_stop;
        let mut state = self.state.clone();
        state.generation += 1;
        state.clean_stop = false;
        state.unclean_ends += u64::from(unclean_end);
        state.life_first = state.seq_end;
        state.seq_end = state
            .life_first
            .checked_add(SEQ_BLOCK)
            .filter(|end| i64::try_from(*end).is_ok())
            .ok_or_else(|| SpoolError::new(SpoolErrorKind::Exhausted, during))?;
        if clock::went_back(now_ms, state.clock_ms) {
            state.expiry_after_ms = pause_end(&self.options, now_ms);
        }
        state.clock_ms = now_ms;
        self.write_state(state, during)?;

        // What a crash or a failed sync left in the log is written again and synced in the database, so that nothing
        // is called durable on the word of a sync that failed.
        checkpoint_if_room(&self.conn, &self.paths).during(during)?;
        Ok(Opened {
            tag: self.state.tag(),
            seq_next: self.state.life_first,
            seq_end: self.state.seq_end,
            stamp_last: self.state.stamp_last,
            commit_number: self.state.commit_number,
            ledger: self.state.ledger.clone(),
            refused: self.state.refused,
            backlog: self.state.backlog,
            unclean_end,
            unclean_ends_total: self.state.unclean_ends,
            salvaged,
        })
    }

    fn write_state(&mut self, state: State, during: &str) -> Result<(), SpoolError> {
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate).during(during)?;
        state.store(&tx, Some(&self.state)).during(during)?;
        tx.commit().during(during)?;
        self.state = state;
        Ok(())
    }
}

/// When ages can be trusted again: whatever lay in the spool when the clock was set is too old by then.
pub(super) fn pause_end(options: &SpoolOptions, now_ms: i64) -> i64 {
    now_ms.saturating_add(options.age_max.map_or(0, clock::millis))
}

/// Opens the database itself and reads its state, or creates both.
pub(super) fn open_file(
    paths: &Paths,
    options: &SpoolOptions,
    during: &str,
) -> Result<(Connection, State), SpoolError> {
    if paths::len(&paths.database) == 0 {
        create_empty(paths).during(during)?;
        if paths::len(&paths.wal()) > 0 {
            // SQLite would delete the log of an empty database. A new one has no log yet, so something cut this one off.
            return Err(SpoolError::new(SpoolErrorKind::Damaged, during));
        }
    } else {
        if options.sync == SyncMode::Full && Log::open(&paths.wal()).during(during)?.hides_commits() {
            return Err(SpoolError::new(SpoolErrorKind::Damaged, during));
        }
        if paths::len(&paths.rollback_journal()) > 0 && paths::len(&paths.database) <= PAGE_BYTES {
            // The process ended while the log of a new file was switched on. Who only looks may not undo that.
            schema::roll_back(&paths.database).during(during)?;
        }
        if schema::header_is_false(&paths.database).during(during)? {
            return Err(SpoolError::new(SpoolErrorKind::Damaged, during));
        }
        let looking = schema::connect_to_look(&paths.database).during(during)?;
        let probed = schema::probe(&looking, during)?;
        if probed == (Probed::Spool { version: schema::VERSION }) && !is_new(&looking).during(during)? {
            // Before anything is written: what is set aside shall be what was found.
            load_checked(&looking, during)?;
        }
    }
    let mut conn = schema::connect_to_write(&paths.database, options.sync).during(during)?;
    schema::migrate(&mut conn, during)?;
    begin_if_new(&mut conn).during(during)?;
    let state = load_checked(&conn, during)?;
    Ok((conn, state))
}

/// Gives a file without a state its first one. Apart from the migration, so a crash may have come between the two.
fn begin_if_new(conn: &mut Connection) -> rusqlite::Result<()> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if is_new(&tx)? {
        State::new().store(&tx, None)?;
    }
    tx.commit()
}

fn is_new(conn: &Connection) -> rusqlite::Result<bool> {
    conn.query_row(
        "SELECT NOT EXISTS (SELECT 1 FROM spool) AND NOT EXISTS (SELECT 1 FROM batch) AND NOT EXISTS (SELECT 1 FROM ledger)",
        [],
        |row| row.get(0),
    )
}

/// The state, and a look at both ends of the queue: constant work that finds most of what makes a file unusable.
fn load_checked(conn: &Connection, during: &str) -> Result<State, SpoolError> {
    let damaged = || SpoolError::new(SpoolErrorKind::Damaged, during);
    let state = State::load(conn).during(during)?.ok_or_else(damaged)?;
    let ends: (Option<i64>, Option<i64>) = conn
        .query_row("SELECT (SELECT min(first_seq) FROM batch), (SELECT max(id) FROM batch)", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .during(during)?;
    let is_empty = ends == (None, None);
    if is_empty == (state.backlog.batches == 0) { Ok(state) } else { Err(damaged()) }
}

/// The database's name must be on disk before anything in it is called durable; SQLite sees to the log's only.
fn create_empty(paths: &Paths) -> std::io::Result<()> {
    paths::create_private(&paths.database)?.sync_all()?;
    paths.sync_folder()
}

/// As [`checkpoint_all`], unless the disk has no room for what the database would grow by: half a copy would use up the
/// space that acknowledgements need, and the log has everything anyway.
pub(super) fn checkpoint_if_room(conn: &Connection, paths: &Paths) -> rusqlite::Result<()> {
    if room::has_room_to_checkpoint(conn, paths)? { checkpoint_all(conn) } else { Ok(()) }
}

/// Copies the whole log into the database and empties it. A reader can keep that from happening; then it stays for
/// the next time.
pub(super) fn checkpoint_all(conn: &Connection) -> rusqlite::Result<()> {
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}
