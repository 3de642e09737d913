//! A prepared series that pushes itself.

use std::sync::Arc;

use super::handle::DatabaseHandle;
use crate::actors::push::Room;
use crate::actors::shared::Shared;
use crate::values::error::PushError;
use crate::values::line_protocol::series::{OfSeries, PreparedSeries, Values};
use crate::values::precision::Timestamp;
use crate::values::seq::Seq;

/// A series of one database: checked and encoded once, then pushed with values only. The fast way in.
///
/// Made by [`DatabaseHandle::series`]; a clone costs a pointer.
#[derive(Clone, Debug)]
pub struct SeriesPusher<V: Values>(Arc<Prepared<V>>);

/// Side by side, so that a push goes through one pointer to each.
#[derive(Debug)]
struct Prepared<V: Values> {
    shared: Arc<Shared>,
    series: PreparedSeries<V>,
    /// Kept: with its last handle a database may go.
    _database: DatabaseHandle,
}

impl<V: Values> SeriesPusher<V> {
    pub(super) fn new(database: DatabaseHandle, series: PreparedSeries<V>) -> Self {
        Self(Arc::new(Prepared { shared: Arc::clone(database.shared()), series, _database: database }))
    }

    /// Pushes one point of the series, stamped now.
    ///
    /// # Errors
    /// As for [`DatabaseHandle::push`].
    pub fn push(&self, values: V::Of<'_>) -> Result<Seq, PushError<()>> {
        self.push_values(values, None, Room::ByPolicy)
    }

    /// Pushes one point of the series with this timestamp.
    ///
    /// # Errors
    /// As for [`DatabaseHandle::push`].
    pub fn push_at(&self, timestamp: impl Into<Timestamp>, values: V::Of<'_>) -> Result<Seq, PushError<()>> {
        self.push_values(values, Some(timestamp.into()), Room::ByPolicy)
    }

    /// As [`push`](Self::push), but waits for room, blocking the thread, whatever the policy. Not for the thread of an
    /// arbiter.
    ///
    /// # Errors
    /// As for [`DatabaseHandle::blocking_push`].
    pub fn blocking_push(&self, values: V::Of<'_>) -> Result<Seq, PushError<()>> {
        self.push_values(values, None, Room::Blocking)
    }

    /// As [`blocking_push`](Self::blocking_push), with this timestamp.
    ///
    /// ```
    /// use std::time::SystemTime;
    ///
    /// use influx_spool::{Database, SeriesBuilder};
    /// let plant = Database::builder("blocking-push-at-example").start()?;
    /// let cpu = plant.series(&SeriesBuilder::new("cpu").fields::<(f64,)>(["usage"]))?;
    /// std::thread::scope(|scope| scope.spawn(|| cpu.blocking_push_at(SystemTime::now(), (0.5,))).join().unwrap())?;
    /// assert_eq!(plant.stats().ledger.accepted().points, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As there.
    pub fn blocking_push_at(
        &self,
        timestamp: impl Into<Timestamp>,
        values: V::Of<'_>,
    ) -> Result<Seq, PushError<()>> {
        self.push_values(values, Some(timestamp.into()), Room::Blocking)
    }

    fn push_values(
        &self,
        values: V::Of<'_>,
        timestamp: Option<Timestamp>,
        room: Room,
    ) -> Result<Seq, PushError<()>> {
        let Prepared { shared, series, .. } = &*self.0;
        shared
            .push_one(&shared.destination, room, &OfSeries { series, values: &values, timestamp })
            .map_err(|reason| PushError { rejected: (), reason })
    }
}
