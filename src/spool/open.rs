//! Opening and closing: what is checked, reserved and written back.

use std::time::{Instant, SystemTime};

use rusqlite::{Connection, TransactionBehavior};

use super::again::write_again;
use super::ballast::{self, Ballast, Need};
use super::clock::{self, StepWatch};
use super::error::{During, SpoolError, SpoolErrorKind};
use super::heritage::{self, Heritage};
use super::lock::SpoolLock;
use super::log::Log;
use super::maintain::{Tidied, Unseen};
use super::options::{self, SpoolOptions};
use super::page;
use super::pages;
use super::paths::{self, Paths};
use super::place::Place;
use super::room;
use super::salvage::SalvageReport;
use super::schema::{self, Probed};
use super::set_aside;
use super::state::State;
use super::stride::Stride;
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
    pub(super) place: Place,
    pub(super) page_bytes: u64,
    pub(super) stride: Stride,
    pub(super) ballast: Ballast,
    /// Whether the last transaction left bodies out since the disk had no room for them.
    pub(super) lacks_room: bool,
    /// The last transaction that was tidied up after.
    pub(super) tidied: Tidied,
    pub(super) unseen: Unseen,
    pub(super) heritage: Heritage,
    pub(super) lock: SpoolLock,
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
    /// Its sums are not those seen last: it was salvaged, or has lost something since it was open.
    pub(crate) is_fallen: bool,
}

impl Spool {
    /// Opens the file, or creates it, and reserves the next block of numbers on disk.
    ///
    /// The work does not depend on how much lies in the spool, with one exception: a damaged file is set aside and
    /// what can be read of it is copied.
    ///
    /// # Errors
    /// [`SpoolErrorKind::Locked`], [`SpoolErrorKind::NewerSchema`], [`SpoolErrorKind::NotASpool`] and [`SpoolErrorKind::TooSmall`]
    /// leave everything untouched; [`SpoolErrorKind::DiskFull`], which says how much room there is, and [`SpoolErrorKind::Io`] may pass.
    pub(crate) fn open(options: &SpoolOptions, now: SystemTime) -> Result<(Self, Opened), SpoolError> {
        Self::reopen(options, &Heritage::default(), now)
    }

    /// As [`Self::open`], for an owner that had it open before. What the file held then and does not hold now counts as
    /// damaged.
    ///
    /// # Errors
    /// As there, and [`SpoolErrorKind::AnotherSpool`].
    pub(crate) fn reopen(
        options: &SpoolOptions,
        heritage: &Heritage,
        now: SystemTime,
    ) -> Result<(Self, Opened), SpoolError> {
        ballast::opening(options, || Self::try_to_open(options, heritage, now))
    }

    fn try_to_open(
        options: &SpoolOptions,
        heritage: &Heritage,
        now: SystemTime,
    ) -> Result<(Self, Opened), SpoolError> {
        let paths = Paths::resolve(&options.path).during(format!("open {}", options.path.display()))?;
        let during = format!("open {}", paths.name());
        if paths.is_something_else() {
            return Err(SpoolError::new(SpoolErrorKind::NotASpool, during));
        }
        heritage.check_mounted(&paths).during(&during)?;
        let was_ours = set_aside::looks_like_ours(&paths).during(&during)?;
        let mut lock = SpoolLock::acquire(&paths)?;
        heritage.part(&paths).during(&during)?;

        let mut salvaged = set_aside::resume(&paths, Some(options.page_bytes))?;
        // What was salvaged need not know who it was.
        let kin = if salvaged.is_some() { &Heritage::default() } else { heritage };
        let mut found = match open_file(&paths, &mut lock, kin, options, &during) {
            Err(error) if error.kind() == SpoolErrorKind::Damaged && was_ours => {
                log::error!(file = %paths.name(), %error, "the spool is damaged: setting it aside");
                set_aside::mark(&paths, now)?;
                salvaged = set_aside::resume(&paths, Some(options.page_bytes))?;
                open_file(&paths, &mut lock, &Heritage::default(), options, &during)?
            }
            Err(error) if error.kind() == SpoolErrorKind::Damaged => {
                return Err(SpoolError::new(SpoolErrorKind::NotASpool, during));
            }
            other => other?,
        };
        found.is_new |= salvaged.as_ref().is_some_and(|report| report.damaged_points.is_none());
        let is_fallen = found.follow(heritage.last(), &during)? || salvaged.is_some();

        let now_ms = clock::unix_ms(now);
        let page_bytes = room::page_bytes(&found.conn).during(&during)?;
        let mut spool = Self {
            // The log is there: opening reads through it.
            place: Place::of(&paths).during(&during)?,
            ballast: Ballast::find(&paths, page_bytes),
            page_bytes,
            stride: Stride::begin(&found.conn, room::log_bytes_max(&paths, options)).during(&during)?,
            conn: found.conn,
            paths,
            options: options.clone(),
            state: found.state,
            clock: StepWatch::new(now_ms, Instant::now()),
            broken: None,
            lacks_room: false,
            tidied: Tidied::default(),
            unseen: Unseen::default(),
            heritage: heritage.clone(),
            lock,
        };
        let was_salvaged = salvaged.is_some();
        match spool.begin_life(now_ms, salvaged, &during) {
            Ok(mut opened) => {
                opened.is_fallen = is_fallen;
                Ok((spool, opened))
            }
            // Writing may find what looking did not: a damaged page that only a change leads to.
            Err(error) if error.kind() == SpoolErrorKind::Damaged && !was_salvaged => {
                log::error!(file = %spool.paths.name(), %error, "the spool is damaged: setting it aside");
                set_aside::mark(&spool.paths, now)?;
                drop(spool);
                Self::try_to_open(options, heritage, now)
            }
            Err(error) => Err(error),
        }
    }

    /// What is to be known of it when it has to be opened [again](Self::reopen).
    pub(crate) fn heritage(&self) -> Heritage {
        self.heritage.clone()
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
        if let Err(error) = self.write_state(state.clone(), &during) {
            let is_full = error.kind() == SpoolErrorKind::DiskFull;
            if !(is_full && self.ballast.give_up(Need::Last, &self.paths)) {
                return Err(error);
            }
            self.write_state(state, &during)?;
        }
        self.leave().during(&during)
    }

    fn begin_life(
        &mut self,
        now_ms: i64,
        salvaged: Option<SalvageReport>,
        during: &str,
    ) -> Result<Opened, SpoolError> {
        // What a crash or a failed sync left in the log was written again and synced, so that nothing is called durable on the
        // word of a sync that failed. It is copied before anything is written behind it: then the log, too, is one that no
        // failed sync was in. Where the database has no room to grow that waits.
        self.empty_log().during(during)?;
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
        // How far numbers may go is to be in the database itself, so that a lost log does not give them twice. What keeps
        // it from there will be met again, where something is done about it.
        if let Err(error) = self.empty_log() {
            log::warn!(file = %self.paths.name(), %error, "the log was not copied into the database");
        }
        // Most databases of a process that opens thousands write nothing at first.
        self.conn.flush_prepared_statement_cache();
        self.give_pages_up().during(during)?;
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
            is_fallen: false,
        })
    }

    fn write_state(&mut self, state: State, during: &str) -> Result<(), SpoolError> {
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate).during(during)?;
        state.store(&tx).during(during)?;
        tx.commit().during(during)?;
        self.heritage.note(&state, &self.place);
        self.state = state;
        Ok(())
    }
}

/// A file that was opened, and what it says of itself.
pub(super) struct FoundFile {
    conn: Connection,
    state: State,
    /// It was just made, and says nothing.
    is_new: bool,
}

impl FoundFile {
    /// Sees to it that it follows the last state its owner knows. Whether something was lost since.
    fn follow(&mut self, last: Option<State>, during: &str) -> Result<bool, SpoolError> {
        let Some(last) = last.filter(|last| self.is_new || self.state.commit_number < last.commit_number)
        else {
            return Ok(false);
        };
        self.state = heritage::pass_on(&mut self.conn, last, &self.state).during(during)?;
        log::error!(%during, "the spool holds less than it did, what is missing counts as damaged");
        Ok(true)
    }
}

/// When ages can be trusted again: whatever lay in the spool when the clock was set is too old by then.
pub(super) fn pause_end(options: &SpoolOptions, now_ms: i64) -> i64 {
    now_ms.saturating_add(options.age_max.map_or(0, clock::millis))
}

/// Opens the database itself and reads its state, or creates both.
pub(super) fn open_file(
    paths: &Paths,
    lock: &mut SpoolLock,
    heritage: &Heritage,
    options: &SpoolOptions,
    during: &str,
) -> Result<FoundFile, SpoolError> {
    let is_empty = paths::len(&paths.database) == 0;
    if is_empty {
        create_empty(paths).during(during)?;
    }
    lock.hold_file(paths)?;
    if is_empty {
        if paths::len(&paths.wal()) > 0 {
            // SQLite would delete the log of an empty database. A new one has no log yet, so something cut this one off.
            return Err(SpoolError::new(SpoolErrorKind::Damaged, during));
        }
    } else {
        if paths::len(&paths.rollback_journal()) > 0 && paths::len(&paths.database) <= page::LARGE {
            // The process ended while the log of a new file was switched on. Who only looks may not undo that.
            schema::roll_back(&paths.database).during(during)?;
        }
        let page_bytes = pages::page_bytes(paths).during(during)?;
        if schema::header_is_false(&paths.database, page_bytes).during(during)? {
            return Err(SpoolError::new(SpoolErrorKind::Damaged, during));
        }
        let looking = schema::connect_to_look(&paths.database).during(during)?;
        let probed = schema::probe(&looking, during)?;
        if options.sync == SyncMode::Full
            && Log::open(&paths.wal(), page_bytes).during(during)?.hides_commits()
        {
            return Err(SpoolError::new(SpoolErrorKind::Damaged, during));
        }
        let bytes_max_min = options::bytes_max_min(page_bytes);
        if matches!(probed, Probed::Spool { .. }) {
            if options.bytes_max < bytes_max_min {
                return Err(SpoolError::new(SpoolErrorKind::TooSmall { bytes_max_min }, during));
            }
            schema::look_at_tables(&looking).during(during)?;
        }
        if matches!(probed, Probed::Spool { .. }) && !is_new(&looking).during(during)? {
            // Before anything is written: what is set aside shall be what was found, and what is another's left alone.
            heritage.check_kin(&load_checked(&looking, during)?, during)?;
        }
    }
    write_again(&paths.wal()).during(during)?;
    let mut conn =
        schema::connect_to_write(&paths.database, options.sync, options.page_bytes).during(during)?;
    schema::migrate(&mut conn, during)?;
    let is_new = begin_if_new(&mut conn).during(during)?;
    let state = load_checked(&conn, during)?;
    Ok(FoundFile { conn, state, is_new })
}

/// Gives a file without a state its first one, and says whether it had none. Apart from the migration, so a crash may have
/// come between the two.
fn begin_if_new(conn: &mut Connection) -> rusqlite::Result<bool> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let is_new = is_new(&tx)?;
    if is_new {
        State::new().store(&tx)?;
    }
    tx.commit()?;
    Ok(is_new)
}

fn is_new(conn: &Connection) -> rusqlite::Result<bool> {
    conn.query_row(
        "SELECT NOT EXISTS (SELECT 1 FROM spool) AND NOT EXISTS (SELECT 1 FROM batch) \
         AND NOT EXISTS (SELECT 1 FROM quarantine) AND NOT EXISTS (SELECT 1 FROM fate)",
        [],
        |row| row.get(0),
    )
}

/// The state, and a look at both ends of the queue: constant work that finds most of what makes a file unusable.
fn load_checked(conn: &Connection, during: &str) -> Result<State, SpoolError> {
    let damaged = || SpoolError::new(SpoolErrorKind::Damaged, during);
    let state = State::load(conn).during(during)?.ok_or_else(damaged)?;
    let ends: (Option<i64>, Option<i64>) = conn
        .query_row("SELECT (SELECT min(first_seq) FROM batch), (SELECT max(rowid) FROM batch)", [], |row| {
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

/// Copies the whole log into the database and empties it. A reader can keep that from happening; then it stays for
/// the next time.
pub(super) fn checkpoint_all(conn: &Connection) -> rusqlite::Result<()> {
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}
