//! What the actors of one database, its handles and its workers share, and what outlives each of them.
//!
//! # Locks
//!
//! Few, none held across a wait, none while anything is sent or logged, and none while another is taken but for those of
//! [`stripes`](super::stripes):
//!
//! | lock | guards | held for |
//! |---|---|---|
//! | `transit` | every point on its way, the ledger | one push; one decision |
//! | those of `stripes` | what was pushed since the last look at the transit | one push; taking all out |
//! | `spool` | where the open file is | taking it out, putting it back |
//! | `pace` | when the next datagram may leave | booking one |
//! | `config` | the current configuration | a clone of a pointer |
//! | those of `Hearers` | who waits for room, for events | putting one in, taking all out |
//! | `tree`, a bell's `hearer` | addresses of supervisors and actors | a clone of an address |

use std::convert::Infallible;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, TryLockError, Weak};
use std::time::{Instant, SystemTime};

use scopeguard::ScopeGuard;
use tokio::sync::{broadcast, watch};

use super::announce::OncePerMinute;
use super::bell::Bell;
use super::disk::DiskLane;
use super::hearers::Hearers;
use super::room::Room;
use super::slot::SpoolSlot;
use super::stripes::{Staging, Stripes, TurnedOver};
use super::supervisor::SupervisorHandle;
use crate::machines::pace::Pace;
use crate::machines::queue::EncodedLine;
use crate::machines::stamp::Stamper;
use crate::machines::transit::{Agenda, PushRefusal, Pushed, Terms, Transit, UdpTerms};
use crate::spool::{Heritage, Opened, Spool, SpoolOptions};
use crate::values::batch::Destination;
use crate::values::config::{Compression, Config, MissingTimestamp};
use crate::values::health::{Event, Health, Pending, SpoolHealth, Stats};
use crate::values::ledger::Tally;
use crate::values::line_protocol::PLAIN_BYTES_MAX;
use crate::values::line_protocol::encoder::Encoder;
use crate::values::seq::SpoolTag;

/// Events kept for a subscriber that does not keep up; older ones are missed, and counted.
const EVENTS_MAX: usize = 256;

/// A transaction that takes longer is called stalled: fifty times what a slow disk needs.
pub(super) const STALLED_AFTER: std::time::Duration = std::time::Duration::from_secs(5);

/// So often a thread looks whether the transit is free before it sleeps, waiting twice as long each time: some microseconds in
/// all, in which another makes a dozen pushes. The lock of the standard library does not wait once any thread sleeps, so that
/// two that push wake each other for every point.
const LOOKS: u32 = 6;

/// One database, without its actors.
///
/// What a push touches lies side by side: where an application pushes to many databases in turn, most of a push is waiting for
/// memory.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Shared {
    pub(crate) stamper: Stamper,
    pub(crate) destination: Arc<Destination>,
    pub(crate) tag: SpoolTag,
    pub(crate) missing_timestamp: MissingTimestamp,
    /// Made when threads first meet at the transit.
    stripes: OnceLock<Box<Stripes>>,
    /// Whether there was room for any plain line when somebody pushed last. It saves a look at a queue that is full, and slides.
    roomy: AtomicBool,
    pub(super) room: Room,
    transit: Mutex<Transit>,
    pub(crate) encoder: Encoder,
    pub(crate) name: Arc<str>,
    pub(crate) spool_options: Option<SpoolOptions>,
    /// What the spool knew last of itself.
    pub(crate) heritage: Heritage,
    /// Where its spool is worked with.
    pub(crate) disk: DiskLane,
    config: RwLock<Arc<Config>>,
    pub(super) spool: Mutex<SpoolSlot>,
    pub(crate) batcher: Bell,
    pub(crate) store: Bell,
    pub(crate) senders: Vec<Bell>,
    pub(crate) udp_senders: Vec<Bell>,
    /// How fast datagrams leave, over all UDP senders.
    pace: Mutex<Pace>,
    pub(crate) database: Bell,
    /// The supervisors of the tree, for whoever stops it.
    tree: Mutex<Tree>,
    pub(crate) jobs_sealing: AtomicUsize,
    pub(crate) restarts: AtomicU64,
    pub(crate) degraded: AtomicBool,
    unclean_ends: u64,
    pub(super) set_aside: OncePerMinute,
    /// Made with the first subscriber: its room is reserved at once.
    events: OnceLock<broadcast::Sender<Event>>,
    told: Arc<Hearers>,
    /// What a stop came to with the spool, once it is through with it.
    closed: watch::Sender<Option<bool>>,
}

/// A look at the transit, which is locked.
pub(super) struct Look<'a> {
    pub(super) transit: MutexGuard<'a, Transit>,
    /// Whether the batcher has something new to look at.
    pub(super) wake: bool,
}

/// The transit, which is locked, while a line is written to its tail. What is not kept is taken back, also if the writer panics.
pub(super) type Place<'a> = ScopeGuard<MutexGuard<'a, Transit>, fn(MutexGuard<'a, Transit>)>;

/// The supervisors of one database, once they run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree {
    pub(crate) root: Option<SupervisorHandle>,
    pub(crate) children: Option<SupervisorHandle>,
}

impl Shared {
    /// # Errors
    /// A thread cannot be started.
    pub(crate) fn new(
        config: Config,
        encoder: Encoder,
        opened: Option<(Spool, Opened)>,
        spool_options: Option<SpoolOptions>,
    ) -> io::Result<Self> {
        let begin =
            opened.as_ref().map_or_else(crate::machines::transit::Opened::in_memory, |(_, o)| begin_of(o));
        let tag = opened.as_ref().map_or_else(|| SpoolTag(fastrand::u32(..)), |(_, opened)| opened.tag);
        let unit = config.precision.nanoseconds();
        let stamp_last = opened.as_ref().and_then(|(_, opened)| opened.stamp_last).map(|nanos| nanos / unit);
        let unclean_ends = opened.as_ref().map_or(0, |(_, opened)| opened.unclean_ends_total);
        let unique = config.missing_timestamp != MissingTimestamp::StampColliding;
        let mut transit = Transit::new(terms_of(&config), &begin);
        let destination = Arc::new(config.destination());
        if config.udp.is_some() {
            transit.set_home(Arc::clone(&destination));
        }
        let bells = |number: usize| (0..number).map(|_| Bell::default()).collect();
        let senders = bells(config.http.in_flight.get());
        let udp_senders = bells(config.udp.as_ref().map_or(0, |udp| udp.senders.get()));
        let pace = Mutex::new(Pace::new(datagram_rate(&config)));
        Ok(Self {
            name: config.name.as_str().into(),
            tag,
            encoder,
            stamper: Stamper::new(unit, stamp_last, unique),
            missing_timestamp: config.missing_timestamp,
            destination,
            spool_options,
            heritage: opened.as_ref().map(|(spool, _)| spool.heritage()).unwrap_or_default(),
            disk: DiskLane::new()?,
            transit: Mutex::new(transit),
            stripes: OnceLock::new(),
            roomy: AtomicBool::new(true),
            room: Room::default(),
            config: RwLock::new(Arc::new(config)),
            spool: Mutex::new(
                opened.map_or(SpoolSlot::InMemory, |(spool, _)| SpoolSlot::Idle(Box::new(spool))),
            ),
            batcher: Bell::default(),
            store: Bell::default(),
            senders,
            udp_senders,
            pace,
            database: Bell::default(),
            tree: Mutex::default(),
            jobs_sealing: AtomicUsize::new(0),
            restarts: AtomicU64::new(0),
            degraded: AtomicBool::new(false),
            unclean_ends,
            set_aside: OncePerMinute::default(),
            events: OnceLock::new(),
            told: Arc::default(),
            closed: watch::Sender::new(None),
        })
    }

    /// Looks at or changes what is on its way. Whoever waits for what changed is answered once the lock is released.
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut Transit) -> R) -> R {
        let mut look = self.look();
        let result = act(&mut look.transit);
        self.end_with_room(look);
        result
    }

    /// A place for a plain line, if there is one and no other thread is there.
    #[inline]
    pub(super) fn place(&self, destination: &Arc<Destination>) -> Option<Place<'_>> {
        let has_stripes = || self.stripes().is_some_and(Stripes::are_open);
        if has_stripes() || !self.roomy.load(Ordering::Relaxed) {
            return None;
        }
        let transit = self.transit.try_lock().ok()?;
        // Opened meanwhile: what lies in them comes first.
        if has_stripes() {
            return None;
        }
        if !transit.has_place(PLAIN_BYTES_MAX, destination) {
            self.note_room(&transit);
            return None;
        }
        Some(scopeguard::guard(transit, |mut transit| transit.drop_tail()))
    }

    /// Accepts the line that was written to a place.
    #[inline]
    pub(super) fn keep(&self, place: Place<'_>, timestamp: i64) -> Pushed {
        let mut transit = ScopeGuard::into_inner(place);
        let pushed = transit.keep_tail(timestamp);
        self.end_with_room(Look { transit, wake: false });
        pushed
    }

    /// Writes only where that changes: threads that push read it.
    fn note_room(&self, transit: &Transit) {
        let roomy = transit.has_room(Tally::new(1, PLAIN_BYTES_MAX as u64));
        if roomy != self.roomy.load(Ordering::Relaxed) {
            self.roomy.store(roomy, Ordering::Relaxed);
        }
    }

    /// Accepts a line whose fate, if there is no room, is the policy's to say. The line comes in registers: in memory its parts
    /// would be read together right after each was written, and the processor waits for that.
    pub(super) fn push_line(
        &self,
        bytes: &[u8],
        timestamp: i64,
        destination: &Arc<Destination>,
    ) -> Result<Pushed, PushRefusal> {
        let line = EncodedLine { bytes, timestamp };
        if let Some(stripes) = self.open_stripes_to(destination) {
            match stripes.stage(line) {
                Staging::Numbered(number) => return Ok(Pushed { number, wake: false }),
                Staging::Full => return self.push_turning_over(stripes, line),
                Staging::Closed => {}
            }
        }
        let (transit, met) = match self.lock_unless(|| self.staged(line, destination)) {
            Ok(locked) => locked,
            Err(pushed) => return Ok(pushed),
        };
        // Who had the lock has opened them: a look would close them again, and the next who comes would open them, and so on.
        if met && let Some(pushed) = self.staged(line, destination) {
            return Ok(pushed);
        }
        let mut look = self.look_at(transit);
        let pushed = look.transit.push(line, destination, Instant::now);
        if met {
            self.open_stripes(&look.transit);
        }
        self.note_room(&look.transit);
        self.end_with_room(look);
        pushed
    }

    /// The same where this thread's stripe is full. Threads fill theirs alike: while this one waits another may have emptied them all.
    #[cold]
    fn push_turning_over(&self, stripes: &Stripes, line: EncodedLine<'_>) -> Result<Pushed, PushRefusal> {
        let (mut transit, _) = match self.lock_unless(|| self.staged(line, &self.destination)) {
            Ok(locked) => locked,
            Err(pushed) => return Ok(pushed),
        };
        let now = Instant::now();
        let TurnedOver { number, wake } = stripes.turn_over(&mut transit, &self.destination, line, now);
        let pushed = match number {
            Some(number) => Ok(Pushed { number, wake: false }),
            None => transit.push(line, &self.destination, || now),
        };
        self.end_with_room(Look { transit, wake });
        pushed
    }

    /// Puts a line into a stripe, if there is one that takes it.
    fn staged(&self, line: EncodedLine<'_>, destination: &Arc<Destination>) -> Option<Pushed> {
        match self.open_stripes_to(destination)?.stage(line) {
            Staging::Numbered(number) => Some(Pushed { number, wake: false }),
            Staging::Full | Staging::Closed => None,
        }
    }

    /// The stripes, if lines for this destination are put into them now.
    fn open_stripes_to(&self, destination: &Arc<Destination>) -> Option<&Stripes> {
        self.stripes().filter(|stripes| stripes.are_open() && Arc::ptr_eq(destination, &self.destination))
    }

    /// The stripes, if threads have met here before.
    pub(super) fn stripes(&self) -> Option<&Stripes> {
        self.stripes.get().map(|stripes| &**stripes)
    }

    #[cold]
    pub(super) fn open_stripes(&self, transit: &Transit) {
        let now = Instant::now();
        self.stripes.get_or_init(|| Box::new(Stripes::new(now))).open(transit, now);
    }

    /// Locks the transit; everything that was pushed before is in it.
    pub(super) fn look(&self) -> Look<'_> {
        self.look_at(self.lock().0)
    }

    pub(super) fn look_at<'a>(&self, mut transit: MutexGuard<'a, Transit>) -> Look<'a> {
        let wake = self.stripes().is_some_and(|stripes| stripes.close(&mut transit, &self.destination));
        Look { transit, wake }
    }

    /// Releases the lock, and tells whoever waits for what changed.
    pub(super) fn end(&self, look: Look<'_>) {
        let Look { mut transit, wake } = look;
        let outbox = transit.take_outbox();
        drop(transit);
        if wake {
            self.batcher.ring();
        }
        if let Some(outbox) = outbox {
            self.dispatch(outbox);
        }
    }

    /// The same, and tells whoever waits for room.
    fn end_with_room(&self, look: Look<'_>) {
        let room = self.room.waiting.load(Ordering::Acquire) > 0 && look.transit.has_room(Tally::new(1, 1));
        self.end(look);
        if room {
            self.room.announce();
        }
    }

    /// Wakes everyone who may have something to do after a change they cannot see coming.
    pub(crate) fn ring_all(&self) {
        self.batcher.ring();
        self.store.ring();
        self.ring_senders();
    }

    /// Wakes those who have something to do, and would not find it in time by themselves: after a change that others made.
    pub(crate) fn ring_concerned(&self) {
        let agenda = self.ring_makers();
        // One wire: whoever has a batch in hand comes back for the next.
        let busy = self.udp_senders.is_empty() && agenda.in_hand >= self.senders.len();
        if agenda.sends && !busy {
            self.ring_senders();
        }
    }

    /// The same for those who make batches and store them; what else there is to do.
    pub(crate) fn ring_makers(&self) -> Agenda {
        let agenda = self.with(|transit| transit.agenda(Instant::now()));
        if let Some(at) = agenda.seal_at {
            self.batcher.ring_by(at);
        }
        if let Some(at) = agenda.store_at {
            self.store.ring_by(at);
        }
        agenda
    }

    pub(crate) fn ring_senders(&self) {
        for sender in self.senders.iter().chain(&self.udp_senders) {
            sender.ring();
        }
    }

    pub(crate) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Books the next datagram; how long it has to wait.
    pub(crate) fn next_datagram(&self) -> std::time::Duration {
        self.pace().next(Instant::now())
    }

    /// Takes another configuration, already checked.
    pub(crate) fn set_config(&self, config: Config) {
        let terms = terms_of(&config);
        self.pace().set_rate(datagram_rate(&config));
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
        self.with(|transit| transit.set_terms(terms, Instant::now()));
        self.ring_all();
    }

    pub(crate) fn stamp_last_nanos(&self) -> Option<i64> {
        self.stamper.last().map(|units| units.saturating_mul(self.encoder.precision().nanoseconds()))
    }

    /// What is told from now on, and where to hear that there is more.
    pub(crate) fn subscribe(&self) -> (broadcast::Receiver<Event>, Weak<Hearers>) {
        let events = self.events.get_or_init(|| broadcast::Sender::new(EVENTS_MAX));
        (events.subscribe(), Arc::downgrade(&self.told))
    }

    /// Tells subscribers. Nobody listening is fine, and so is one whose waker panics.
    pub(crate) fn tell(&self, event: Event) {
        if let Some(events) = self.events.get() {
            let _ = events.send(event);
        }
        self.told.announce();
    }

    /// Says that a stop is through with the spool, and whether everything that was left is in it.
    pub(crate) fn tell_closed(&self, all: bool) {
        self.closed.send_replace(Some(all));
    }

    /// Waits until that is said.
    pub(crate) async fn closed(&self) -> bool {
        // The sender lives as long as `self`.
        self.closed.subscribe().wait_for(Option::is_some).await.is_ok_and(|closed| *closed == Some(true))
    }

    /// Whether the arbiter of its actors has ended, and they with it.
    pub(crate) fn is_orphaned(&self) -> bool {
        self.tree().root.as_ref().is_some_and(|root| !root.is_running())
    }

    /// The supervisors as they are now.
    pub(crate) fn tree(&self) -> MutexGuard<'_, Tree> {
        self.tree.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn stats(&self) -> Stats {
        let snapshot = self.with(|transit| transit.snapshot(Instant::now()));
        let counters = snapshot.counters;
        let points = snapshot.queued.points + snapshot.volatile.points + snapshot.spooled.points;
        Stats {
            ledger: snapshot.ledger,
            pending: Pending {
                points,
                queued: snapshot.queued,
                sealed: snapshot.volatile,
                spooled: snapshot.spooled,
            },
            refused_total: counters.refused,
            batches_sealed_total: counters.batches_sealed,
            body_bytes_sealed_total: counters.body_bytes_sealed,
            requests_total: counters.requests,
            failures_total: snapshot.failures,
            in_flight: snapshot.in_flight,
            commits_total: counters.commits,
            rows_stored_total: counters.rows_stored,
            rows_read_total: counters.rows_read,
            restarts_total: self.restarts.load(Ordering::Relaxed),
            unclean_ends_total: self.unclean_ends,
            clock_steps_back_total: self.stamper.steps_back_total(),
        }
    }

    pub(crate) fn health(&self) -> Health {
        let snapshot = self.with(|transit| transit.snapshot(Instant::now()));
        let window = self.config().loss_window();
        let spool = self.spool_health(snapshot.withheld);
        let late = |age: &std::time::Duration| *age > window.saturating_add(STALLED_AFTER / 5);
        let volatile = snapshot.volatile_age.filter(late).filter(|_| spool != SpoolHealth::InMemory);
        let orphaned = self.is_orphaned() && !snapshot.stopped;
        let degraded = self.degraded.load(Ordering::Relaxed) || orphaned;
        let kept = matches!(spool, SpoolHealth::Ok | SpoolHealth::InMemory) && volatile.is_none();
        Health {
            ok: snapshot.trouble.is_none() && kept && !degraded && !snapshot.stopped,
            link: snapshot.trouble,
            spool,
            volatile,
            degraded,
            stopped: snapshot.stopped,
        }
    }

    /// Locks the transit as it is; whether another thread had it.
    fn lock(&self) -> (MutexGuard<'_, Transit>, bool) {
        let Ok(locked) = self.lock_unless(|| None::<Infallible>);
        locked
    }

    /// The same, unless there is something else to be had instead while another thread has it.
    fn lock_unless<T>(&self, instead: impl Fn() -> Option<T>) -> Result<(MutexGuard<'_, Transit>, bool), T> {
        for look in 0..LOOKS {
            match self.transit.try_lock() {
                Ok(transit) => return Ok((transit, look > 0)),
                Err(TryLockError::Poisoned(poisoned)) => return Ok((poisoned.into_inner(), look > 0)),
                Err(TryLockError::WouldBlock) => (0..1_u32 << look).for_each(|_| std::hint::spin_loop()),
            }
            if let Some(instead) = instead() {
                return Err(instead);
            }
        }
        Ok((self.transit.lock().unwrap_or_else(PoisonError::into_inner), true))
    }

    /// Everything in the queue, in the order it is sent in. The queue is empty then.
    #[cfg(test)]
    pub(super) fn queued(&self) -> String {
        let jobs = self.with(|transit| {
            transit.seal_up_to(u64::MAX);
            transit.take_seal_jobs(usize::MAX, Instant::now(), 0)
        });
        let body = |body: bytes::Bytes| String::from_utf8(body.to_vec()).expect("lines are UTF-8");
        jobs.iter().map(|job| body(job.run().expect("it compresses nothing").body)).collect()
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Milliseconds since 1970, now.
pub(crate) fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// What the transit needs to know of a spool that was opened.
pub(crate) fn begin_of(opened: &Opened) -> crate::machines::transit::Opened {
    crate::machines::transit::Opened {
        seq_next: opened.seq_next,
        commit_number: opened.commit_number,
        backlog: opened.backlog,
        ledger: opened.ledger.clone(),
        refused: opened.refused,
        salvaged: opened.is_fallen,
    }
}

/// Datagrams a second; no matter without UDP.
fn datagram_rate(config: &Config) -> u32 {
    config.udp.as_ref().map_or(1, |udp| udp.datagrams_per_second.get())
}

fn terms_of(config: &Config) -> Terms {
    let spool = config.spool.as_ref();
    Terms {
        points_max: config.queue.points_max.get() as u64,
        bytes_max: config.queue.bytes_max.get() as u64,
        when_full: config.queue.when_full,
        segment: crate::machines::queue::SegmentLimits {
            points_max: config.batch.points_max.get(),
            bytes_max: config.batch.bytes_max.get(),
        },
        linger: config.batch.linger,
        compression: if config.udp.is_some() { Compression::None } else { config.batch.compression },
        loss_window: spool.map(|_| config.loss_window()),
        spool_bytes_max: spool.map_or(u64::MAX, |spool| spool.bytes_max),
        ledger_interval: spool.map_or(std::time::Duration::MAX, |spool| spool.ledger_interval),
        durability: spool.map_or(crate::values::fate::Durability::Process, |spool| spool.sync.durability()),
        backoff_min: config.http.backoff_min,
        backoff_max: config.http.backoff_max,
        udp: config.udp.as_ref().map(|udp| UdpTerms { http_fallback: udp.http_fallback }),
    }
}
