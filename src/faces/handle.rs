//! The handle of a running database.

use std::sync::{Arc, Weak};
use std::time::Duration;

use actix::Addr;
use tokio::sync::oneshot;

use super::events::Events;
use super::query::Asking;
use super::registry::Registry;
use super::series::SeriesPusher;
use crate::actors::arbiters;
use crate::actors::database::Database;
use crate::actors::messages::{self, FlushReport};
use crate::actors::push::Room;
use crate::actors::reconfigure;
use crate::actors::shared::Shared;
use crate::actors::stop::{self, StopReport};
use crate::machines::waiters::Until;
use crate::spool::ReplayReport;
use crate::values::batch::Destination;
use crate::values::config::{Config, ConfigError};
use crate::values::error::{CallError, PushError, PushReport};
use crate::values::fate::{QuarantineReason, Standing};
use crate::values::health::{Health, Stats};
use crate::values::line_protocol::problem::PointError;
use crate::values::line_protocol::series::{Series, Values};
use crate::values::point::{Point, PointRef};
use crate::values::seq::Seq;

/// A running database, from any thread, inside or outside an actix system.
///
/// Clones are equal. Dropping one changes nothing for the others, and dropping the last does not stop the database:
/// only [`stop`](Self::stop) does. A process that ends without it loses what a kill would lose: points that were
/// only in memory, at most the last `loss_window` of them.
///
/// *Casts* (`push…`) never wait, but for those that say so. *Calls* (`flush`, `commit`, `stop`, …) are futures that
/// need no particular runtime.
///
/// ```
/// use influx_spool::{Database, Point};
/// # actix_rt::System::new().block_on(async {
/// let plant = Database::builder("handle-example").http("http://localhost:8086").start()?;
/// let seq = plant.push(Point::new("cpu").tag("host", "a").field("usage", 0.5))?;
/// assert_eq!(seq.number(), 1);
/// assert_eq!(plant.stats().pending.points, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct DatabaseHandle(Arc<Running>);

#[derive(Debug)]
struct Running {
    shared: Arc<Shared>,
    address: Addr<Database>,
    asking: Asking,
}

/// A handle that the registry keeps: it does not count as one.
#[derive(Debug)]
pub(super) struct WeakHandle(Weak<Running>);

/// A place points can be pushed to beside the database's own: another retention policy, say, through the same queue
/// and spool. Made by [`DatabaseHandle::destination`].
#[derive(Clone, Debug)]
pub struct PushDestination(Arc<Destination>);

#[expect(clippy::result_large_err, reason = "a push that fails hands the point back, whole")]
impl DatabaseHandle {
    pub(super) fn new(shared: Arc<Shared>, address: Addr<Database>) -> Self {
        Self(Arc::new(Running { shared, address, asking: Asking::default() }))
    }

    /// The name it was started with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared().name
    }

    /// The actor's address, for messages. It stays the same through every restart.
    #[must_use]
    pub fn address(&self) -> Addr<Database> {
        self.0.address.clone()
    }

    /// Pushes a point. Never waits, never panics, does no input or output.
    ///
    /// When the queue is full the oldest point leaves (or as [`WhenFull`](crate::WhenFull) says).
    ///
    /// # Errors
    /// The point cannot be written, is refused by a full queue, or the database is stopped. The point comes back.
    pub fn push(&self, point: Point) -> Result<Seq, PushError<Point>> {
        let shared = self.shared();
        let pushed = shared.push_one(&shared.destination, Room::ByPolicy, &shared.encoding(&point));
        pushed.map_err(|reason| PushError { rejected: point, reason })
    }

    /// Pushes a point that is not built: names and values are borrowed for the call. Saves its allocations.
    ///
    /// # Errors
    /// As for [`push`](Self::push).
    pub fn push_ref(&self, point: &PointRef<'_>) -> Result<Seq, PushError<()>> {
        let shared = self.shared();
        shared
            .push_one(&shared.destination, Room::ByPolicy, &shared.encoding(point))
            .map_err(|reason| PushError { rejected: (), reason })
    }

    /// Pushes a point to another destination. Order is kept across destinations; each change of destination begins a
    /// new batch, so points for one are best pushed together.
    ///
    /// # Errors
    /// As for [`push`](Self::push).
    pub fn push_to(&self, destination: &PushDestination, point: Point) -> Result<Seq, PushError<Point>> {
        let shared = self.shared();
        let pushed = shared.push_one(&destination.0, Room::ByPolicy, &shared.encoding(&point));
        pushed.map_err(|reason| PushError { rejected: point, reason })
    }

    /// A destination like the database's own but for what `change` changes. The precision stays: lines are written
    /// by it.
    #[must_use]
    pub fn destination(&self, change: impl FnOnce(&mut Destination)) -> PushDestination {
        let own = &self.shared().destination;
        let mut other = Destination::clone(own);
        change(&mut other);
        other.precision = own.precision;
        PushDestination(Arc::new(other))
    }

    /// Pushes line protocol: one line or many. Comments and blank lines are passed over; a bad line does not hold up
    /// the others. Never waits.
    ///
    /// Timestamps are in the database's precision; lines without one are stamped.
    pub fn push_line(&self, text: impl AsRef<[u8]>) -> PushReport {
        self.shared().push_text(text.as_ref(), &self.shared().destination, Room::ByPolicy)
    }

    /// As [`push_line`](Self::push_line), but waits for room, blocking the thread, instead of letting the queue slide.
    /// Not for the thread of an arbiter.
    pub fn blocking_push_line(&self, text: impl AsRef<[u8]>) -> PushReport {
        self.shared().push_text(text.as_ref(), &self.shared().destination, Room::Blocking)
    }

    /// Pushes many points, each as by [`push`](Self::push). Never waits; a bad point does not hold up the others. Should
    /// the iterator panic, the panic is its caller's, and the points that it gave before are pushed.
    pub fn push_all(&self, points: impl IntoIterator<Item = Point>) -> PushReport {
        let shared = self.shared();
        shared.push_many(points, &shared.destination, Room::ByPolicy)
    }

    /// Pushes a point as soon as there is room for it, whatever the policy.
    ///
    /// # Errors
    /// As for [`push`](Self::push), except that it is never full.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it has pushed nothing.
    pub async fn push_wait(&self, point: Point) -> Result<Seq, PushError<Point>> {
        let shared = self.shared();
        let pushed = shared.push_when_room(&shared.destination, &shared.encoding(&point)).await;
        pushed.map_err(|reason| PushError { rejected: point, reason })
    }

    /// As [`push_wait`](Self::push_wait), blocking the thread. Not for the thread of an arbiter.
    ///
    /// # Errors
    /// As for [`push_wait`](Self::push_wait).
    pub fn blocking_push(&self, point: Point) -> Result<Seq, PushError<Point>> {
        let shared = self.shared();
        let pushed = shared.push_one(&shared.destination, Room::Blocking, &shared.encoding(&point));
        pushed.map_err(|reason| PushError { rejected: point, reason })
    }

    /// Prepares a series: names and tags are checked and encoded once, then only values are pushed.
    ///
    /// ```
    /// use influx_spool::{Database, SeriesBuilder};
    /// let plant = Database::builder("series-example").start()?;
    /// let cpu = plant.series(&SeriesBuilder::new("cpu").tag("host", "a").fields::<(f64, i64)>(["usage", "cores"]))?;
    /// cpu.push((0.5, 8))?;
    /// assert_eq!(plant.stats().ledger.accepted().points, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// A name or a tag cannot be written.
    pub fn series<V: Values>(&self, series: &Series<V>) -> Result<SeriesPusher<V>, PointError> {
        Ok(SeriesPusher::new(self.clone(), self.shared().encoder.prepare(series)?))
    }

    /// Has everything sent that was pushed before the call, on this or any other thread. Answers when all of it has
    /// its fate, or at the deadline with what is pending.
    ///
    /// # Errors
    /// The database is stopped.
    ///
    /// # Cancel safety
    /// Dropped, it leaves the sending as it is.
    pub async fn flush(&self, deadline: Duration) -> Result<FlushReport, CallError> {
        let mark = self.shared().with(|transit| transit.last_seq());
        self.beside(messages::flush_to(Arc::clone(self.shared()), mark, deadline)).await
    }

    /// Has everything put on disk that was pushed before the call. Answers when it is there or has its fate.
    ///
    /// # Errors
    /// There is no spool; the deadline has passed (it goes on all the same); the database is stopped.
    pub async fn commit(&self, deadline: Duration) -> Result<(), CallError> {
        let mark = self.shared().with(|transit| transit.last_seq());
        self.beside(messages::commit_to(Arc::clone(self.shared()), mark, deadline)).await
    }

    /// Takes batches back from quarantine, all or those that are there for one reason, and has them sent: once what they
    /// were refused for is mended. Answers when they are in the backlog again.
    ///
    /// They keep their numbers and go before everything younger. Only what is in quarantine by then is taken, so
    /// what is refused once more stays there. Nothing else has to go for them: where the spool or the disk has no
    /// room some stay, and the report says so.
    ///
    /// ```
    /// # actix_rt::System::new().block_on(async {
    /// use influx_spool::{CallError, Database};
    /// let plant = Database::builder("replay-example").start()?;
    /// let no_spool = plant.replay(None, std::time::Duration::from_secs(1)).await;
    /// assert_eq!(no_spool, Err(CallError::NoSpool));
    /// # Ok::<(), influx_spool::StartError>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// There is no spool; the deadline has passed (it goes on all the same); the database is stopped, and nothing was taken
    /// back, or of a replay of many batches only a part: `inspect` shows what is in quarantine.
    pub async fn replay(
        &self,
        only: Option<QuarantineReason>,
        deadline: Duration,
    ) -> Result<ReplayReport, CallError> {
        self.beside(messages::replay_to(Arc::clone(self.shared()), only, deadline)).await
    }

    /// Waits until a point is on disk or has its fate, and says which. Waiting forces nothing: see
    /// [`commit`](Self::commit).
    ///
    /// Without a spool it waits for the fate. Also answers for points of an earlier life of the spool.
    ///
    /// # Errors
    /// The number is another spool's, or was never given; the database was stopped before.
    ///
    /// # Cancel safety
    /// Dropped, it leaves nothing behind.
    pub async fn persisted(&self, seq: Seq) -> Result<Standing, CallError> {
        self.shared().await_standing(seq, Until::Persisted).await
    }

    /// Waits until a point has its fate, and says which.
    ///
    /// # Errors
    /// As for [`persisted`](Self::persisted).
    ///
    /// # Cancel safety
    /// Dropped, it leaves nothing behind.
    pub async fn delivered(&self, seq: Seq) -> Result<Standing, CallError> {
        self.shared().await_standing(seq, Until::Settled).await
    }

    /// Every counter, at one moment. Never waits for an actor.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared().stats()
    }

    /// How the database is doing. Never waits for an actor.
    #[must_use]
    pub fn health(&self) -> Health {
        self.shared().health()
    }

    /// States and losses from now on.
    #[must_use]
    pub fn subscribe(&self) -> Events {
        Events::new(self.shared().subscribe())
    }

    /// The configuration as it is now.
    #[must_use]
    pub fn config(&self) -> Config {
        Config::clone(&self.shared().config())
    }

    /// Takes another configuration at once. What is sealed already keeps its form and destination.
    ///
    /// # Errors
    /// A setting that cannot be, or that cannot change while the database runs (the name, the destination, the spool,
    /// how lines are written, what happens to missing timestamps, the number of requests at once and of UDP senders).
    pub async fn reconfigure(&self, config: Config) -> Result<(), ReconfigureError> {
        if self.shared().with(|transit| transit.is_stopped()) {
            return Err(ReconfigureError::Call(CallError::Stopped));
        }
        Ok(reconfigure::apply(self.shared(), config)?)
    }

    /// Makes one of the database's actors panic, as a fire drill: does it come back, is nothing lost, does whoever
    /// watches the service see it? Its name is `database`, `store` (with a spool), `batcher`, `http-0` and so on, or `udp-0`;
    /// `false` if there is none of that name.
    ///
    /// It is a panic like any other: it counts in `restarts_total` and for the restart intensity, and a batch that the
    /// actor has in work during two of them is set aside.
    ///
    /// ```
    /// # actix_rt::System::new().block_on(async {
    /// use influx_spool::{Database, Event, Told};
    /// let plant = Database::builder("drill-example").start()?;
    /// let mut events = plant.subscribe();
    /// // The children are being started as this is called; afterwards one is enough.
    /// while !plant.drill("http-0") {
    ///     actix_rt::task::yield_now().await;
    /// }
    /// let Some(Told::Event(Event::Restarted { actor, .. })) = events.next().await else { panic!("not told") };
    /// assert_eq!(&*actor, "http-0");
    /// assert!(!plant.drill("http-1"), "one request at a time is the default, so there is one sender");
    /// # Ok::<(), influx_spool::StartError>(())
    /// # }).unwrap();
    /// ```
    pub fn drill(&self, actor: &str) -> bool {
        self.shared().drill(actor)
    }

    /// Stops the database: every later push fails, what is in memory is stored, what can be sent until the deadline is
    /// sent, the spool is closed. With a spool nothing is lost; without one what is not sent is.
    ///
    /// # Errors
    /// The database was stopped before.
    ///
    /// # Cancel safety
    /// Dropped after it was polled once, it goes on all the same; before, nothing has happened.
    pub async fn stop(&self, deadline: Duration) -> Result<StopReport, CallError> {
        Registry::remove(self);
        self.beside(stop::stop(Arc::clone(self.shared()), deadline)).await
    }

    /// Waits until a [`stop`](Self::stop) is through with the spool, and says whether everything that was left is in it: what a
    /// stop whose deadline came first did not wait for. `stats` tells the rest.
    ///
    /// ```
    /// # actix_rt::System::new().block_on(async {
    /// use std::time::Duration;
    /// use influx_spool::{Database, Point};
    /// # let folder = tempfile::tempdir()?;
    /// let plant = Database::builder("closed-example").spool(folder.path().join("plant.db")).start()?;
    /// plant.push(Point::new("cpu").field("usage", 0.5))?;
    /// plant.stop(Duration::ZERO).await?;
    /// assert!(plant.closed(Duration::from_secs(10)).await?);
    /// assert_eq!(plant.stats().pending.spooled.points, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// The deadline has passed: the disk is not done, or nobody has stopped the database.
    ///
    /// # Cancel safety
    /// Dropped, it leaves the closing as it is.
    pub async fn closed(&self, deadline: Duration) -> Result<bool, CallError> {
        self.beside(stop::closed(Arc::clone(self.shared()), deadline)).await
    }

    /// Runs a call beside the actors, which may be restarting or degraded, and beside their arbiter, which may be blocked or have
    /// ended if it is the application's.
    async fn beside<T, F>(&self, call: F) -> Result<T, CallError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, CallError>> + Send + 'static,
    {
        let arbiter = arbiters::next().map_err(|_| CallError::Panicked)?;
        let (done, answer) = oneshot::channel();
        arbiter.spawn(async move {
            // Whoever asked may have gone.
            let _ = done.send(call.await);
        });
        answer.await.unwrap_or(Err(CallError::Panicked))
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }

    pub(super) fn asking(&self) -> &Asking {
        &self.0.asking
    }

    pub(super) fn downgrade(&self) -> WeakHandle {
        WeakHandle(Arc::downgrade(&self.0))
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl WeakHandle {
    pub(super) fn upgrade(&self) -> Option<DatabaseHandle> {
        self.0.upgrade().map(DatabaseHandle)
    }
}

/// A configuration that was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReconfigureError {
    /// A setting cannot be.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The database did not answer.
    #[error(transparent)]
    Call(#[from] CallError),
}
